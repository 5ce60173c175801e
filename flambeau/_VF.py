"""torch._VF: operators with the parameters that `torch.NAME` has, where they differ from the operator's own, which are those of
torch.nn.functional. What is not here is the operator itself.
"""

from __future__ import annotations

from typing import Any

from eager.nn import functional as _functional
from eager.registry import ops, registry
from flambeau.missing import lookup


def batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float, cudnn_enabled: bool
) -> Any:
    return ops.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    return ops.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enable: bool = True) -> Any:
    return ops.layer_norm(input, normalized_shape, weight, bias, eps)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True) -> Any:
    return ops.group_norm(input, num_groups, weight, bias, eps)


def embedding(weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False) -> Any:
    """Rows of `weight`; a negative `padding_idx` is none. Raises RuntimeError for sparse gradients."""
    padding = None if padding_idx < 0 else padding_idx
    return _functional.embedding(indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)


def embedding_renorm_(self: Any, indices: Any, max_norm: float, norm_type: float) -> Any:
    """Scales the rows that `indices` names down to the norm, in place."""
    import flambeau

    with flambeau.no_grad():
        _functional.embedding(indices, self, None, max_norm, norm_type)
    return self


def dropout_(input: Any, p: float, train: bool) -> Any:
    return input.copy_(ops.dropout(input, p, train)) if train else input


def alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    return input.copy_(ops.alpha_dropout(input, p, train)) if train else input


def feature_dropout_(input: Any, p: float, train: bool) -> Any:
    return input.copy_(ops.feature_dropout(input, p, train)) if train else input


def feature_alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    return input.copy_(ops.feature_alpha_dropout(input, p, train)) if train else input


def rrelu_(input: Any, lower: float = 0.125, upper: float = 1.0 / 3, training: bool = False) -> Any:
    return _functional.rrelu(input, lower, upper, training, inplace=True)


def detach_(input: Any) -> Any:
    return input.detach_()


_lookup = lookup(__name__)
# The operator has the order of torch.nn.functional, and torch.embedding_bag gives four results: it is not here.
_OTHER = frozenset({"embedding_bag"})


def __getattr__(name: str) -> Any:
    found = None if name.startswith("__") or name in _OTHER else registry.get(name)
    return _lookup(name) if found is None else found
