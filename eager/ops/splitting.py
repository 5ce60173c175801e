"""Splitting tensors: their parts along a dimension, as views."""

from __future__ import annotations

from typing import Any

from eager.op import composite, ops
from eager.shape import normalize_dim
from eager.tensor import Tensor


@composite
def unbind(input, dim=0):
    """The slices along a dimension, as views."""
    if input.ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = normalize_dim(dim, input.ndim)
    return tuple([ops.select(input, d, i) for i in range(input.shape[d])])


def _cut(input: Any, dim: int, sizes: Any) -> tuple:
    parts, start = [], 0
    for size in sizes:
        parts.append(ops.slice(input, dim, start, start + size, 1))
        start = start + size
    return tuple(parts)


@composite
def split(input, split_size_or_sections, dim=0):
    """Parts along a dimension, as views: of one size (the last may be smaller), or of the sizes
    given."""
    d = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    total = input.shape[d]
    if isinstance(split_size_or_sections, (list, tuple)):
        if _total(split_size_or_sections) != total:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {total} (input tensor's "
                f"size at dimension {d}), but got split_sizes={list(split_size_or_sections)}"
            )
        return _cut(input, d, split_size_or_sections)
    size = split_size_or_sections
    if size < 0 or (size == 0 and total != 0):
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    count = 1 if total == 0 else (total + size - 1) // size
    return _cut(
        input, d, [size if i < count - 1 else total - size * (count - 1) for i in range(count)]
    )


def _total(sizes: Any) -> Any:
    total = 0
    for n in sizes:
        total = total + n
    return total


@composite
def split_with_sizes(input, split_sizes, dim=0):
    """`split` into parts of given sizes."""
    return ops.split(input, tuple(split_sizes), dim)


@composite
def unsafe_split(input, split_size, dim=0):
    """`split` under another name."""
    return ops.split(input, split_size, dim)


@composite
def unsafe_split_with_sizes(input, split_sizes, dim=0):
    """`split` under another name."""
    return ops.split(input, tuple(split_sizes), dim)


@composite
def unsafe_chunk(input, chunks, dim=0):
    """`chunk` under another name."""
    return ops.chunk(input, chunks, dim)


@composite
def chunk(input, chunks, dim=0):
    """At most `chunks` parts of equal size along a dimension, as views."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    d = normalize_dim(dim, input.ndim)
    size = (input.shape[d] + chunks - 1) // chunks
    if size == 0:
        return _cut(input, d, [0] * chunks)
    return ops.split(input, size, d)


@composite
def tensor_split(input, indices_or_sections, dim=0):
    """Parts along a dimension: a number of nearly equal ones, or cut at the given places."""
    d = normalize_dim(dim, input.ndim)
    total = input.shape[d]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, (list, tuple)):
        places = [None, *indices_or_sections, None]
        return tuple(ops.slice(input, d, a, b, 1) for a, b in zip(places, places[1:]))
    count = indices_or_sections
    if count <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {count}")
    return _cut(input, d, [total // count + (1 if i < total % count else 0) for i in range(count)])


def _check_split(name: str, input: Any, rank: int, sections: Any, dim: int) -> None:
    if input.ndim < rank:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {rank} dimension{'s' if rank > 1 else ''}, but got a tensor with "
            f"{input.ndim} dimensions!"
        )
    if isinstance(sections, int) and (sections <= 0 or input.shape[dim] % sections):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {input.shape[dim]} is not "
            f"divisible by the split_size {sections}!"
        )


@composite
def hsplit(input, indices_or_sections):
    """`tensor_split` along the second dimension (of a vector the first)."""
    _check_split("hsplit", input, 1, indices_or_sections, 0 if input.ndim == 1 else 1)
    return ops.tensor_split(input, indices_or_sections, 0 if input.ndim == 1 else 1)


@composite
def vsplit(input, indices_or_sections):
    """`tensor_split` along the first dimension."""
    _check_split("vsplit", input, 2, indices_or_sections, 0)
    return ops.tensor_split(input, indices_or_sections, 0)


@composite
def dsplit(input, indices_or_sections):
    """`tensor_split` along the third dimension."""
    _check_split("dsplit", input, 3, indices_or_sections, 2)
    return ops.tensor_split(input, indices_or_sections, 2)
