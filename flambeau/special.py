"""torch.special: the operators that are registered as `special_NAME`, or are torch functions under a name of their own here."""

from typing import Any

from eager.registry import registry
from flambeau.missing import lookup

_PLAIN = frozenset(
    "digamma erf erfc erfinv exp2 expm1 log1p log_softmax logit logsumexp round sinc softmax xlogy i0 "
    "gammaln psi expit gammainc gammaincc multigammaln".split()
)
_OTHER = {"gammaln": "lgamma", "psi": "digamma", "expit": "sigmoid", "gammainc": "igamma", "gammaincc": "igammac", "multigammaln": "mvlgamma"}
_lookup = lookup(__name__)


def __getattr__(name: str) -> Any:
    found = registry.get(f"special_{name}")
    if found is None and name in _PLAIN:
        found = registry.get(_OTHER.get(name, name))
    return _lookup(name) if found is None else found
