"""torch's operator database: its entries in order, one label per variant, the family of a name, and what is skipped and why."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

SKIPPED_PREFIXES = {
    "jiterator_": "compiles CUDA source",
    "sparse.": "sparse tensors",
    "to_sparse": "sparse tensors",
    "torch._scaled_mm": "float8 matrix products of CUDA",
    "torch.ops.aten._flash_attention_forward": "a CUDA kernel",
    "torch.ops.aten._efficient_attention_forward": "a CUDA kernel",
    "chalf": "complex numbers of two halves",
}
# What a name's values are is not defined: only the shape and the type are compared.
UNDEFINED_VALUES = frozenset(
    "empty empty_like empty_permuted empty_strided new_empty new_empty_strided resize_ resize_as_".split()
)
# Vectors that are determined up to a phase or a choice of basis.
GAUGES = frozenset("linalg.svd svd linalg.eigh linalg.eig linalg.qr qr svd_lowrank pca_lowrank geqrf".split())
# Of equal elements they may name any: compared is what stands at the indices.
TIES = frozenset("kthvalue topk mode median nanmedian sort argsort".split())
_FILES = {
    "nn.functional": "activation attention convolution ctc dropout embedding interpolate linear loss normalization padding pooling fractional "
    "native recurrent",
    "linalg": "decomposition einsum inverse triangular orthogonal spectrum norms linalg",
    "pointwise": "pointwise copying",
    "reduction": "reduction moments order scan statistics histogram segments",
    "creation": "creation windows",
    "shape": "view joining splitting strided reinterpret copies",
    "indexing": "indexing masking scatter subscript",
    "special": "special bessel polynomial",
    "masked": "masked",
    "fft": "fft stft",
    "signal": "signal",
}
_HOMES = {file: kind for kind, files in _FILES.items() for file in files.split()}


@cache
def entries() -> dict[str, Any]:
    """The database by label: the name, followed by `[variant]` where torch has several entries of one name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    found: dict[str, Any] = {}
    for op in op_db:
        label = f"{op.name}[{op.variant_test_name}]" if op.variant_test_name else op.name
        assert label not in found, label
        found[label] = op
    return found


def skip_reason(name: str) -> str | None:
    """Why torch's entry of this name has no counterpart on this machine; None if it is swept."""
    return next((why for prefix, why in SKIPPED_PREFIXES.items() if name.startswith(prefix)), None)


def family(name: str) -> str:
    """A rough family: the file of the operator of this name, or what the name says."""
    from eager.registry import registry

    for prefix in ("nn.functional", "linalg", "fft", "special", "masked", "signal"):
        if name.startswith(prefix + "."):
            return prefix
    op = registry.get(name) or registry.get(name.strip("_"))
    if op is None:
        return "other"
    home = op.__module__.rpartition(".")[2]
    return _HOMES.get(home, home)
