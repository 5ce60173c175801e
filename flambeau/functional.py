"""torch.functional: the functions of torch that are listed there too, under the same names."""

from typing import Any

from flambeau.missing import lookup

_lookup = lookup(__name__)
_NAMES = frozenset(
    "atleast_1d atleast_2d atleast_3d align_tensors block_diag broadcast_shapes broadcast_tensors cartesian_prod cdist chain_matmul "
    "einsum istft lu meshgrid norm split stft tensordot unique unique_consecutive unravel_index".split()
)


def __getattr__(name: str) -> Any:
    import flambeau

    return getattr(flambeau, name) if name in _NAMES else _lookup(name)
