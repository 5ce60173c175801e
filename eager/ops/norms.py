"""Norms of matrices, condition numbers, and torch.linalg's names for products and diagonals."""

from __future__ import annotations

import math
from typing import Any

from eager import dtype as dtypes
from eager.lapack import conjugate, square
from eager.op import composite, ops
from eager.shape import normalize_dim


def _matrix_dims(A: Any, dim: Any) -> tuple[int, int]:
    if A.ndim < 2:
        raise RuntimeError(f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions. Got {A.ndim}")
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    a, b = (normalize_dim(d, A.ndim) for d in dim)
    if a == b:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({a}, {b})")
    return a, b


def _typed(name: str, A: Any, dtype: Any) -> Any:
    if A.dtype.category < dtypes.FLOATING:
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {A.dtype}")
    if dtype is None:
        return A
    if dtype.category < dtypes.FLOATING or dtype.is_complex != A.is_complex() or dtypes.promote(A.dtype, dtype) is not dtype:
        raise RuntimeError(f"linalg.{name}: the dtype of the input ({A.dtype}) should be convertible without narrowing to {dtype}")
    return ops.convert(A, dtype)


def _extreme(values: Any, ord: Any, dim: int, keepdim: bool) -> Any:
    """The largest of non-negative values (0 of none) for a positive order, the smallest for a negative one."""
    if ord < 0:
        return ops.amin(values, dim, keepdim)
    return ops.amax(values, dim, keepdim) if values.shape[dim] else ops.sum(values, dim, keepdim)


@composite(method=False)
def linalg_matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """Norms of matrices: "fro", "nuc", 1, -1, 2, -2, inf, -inf."""
    a, b = _matrix_dims(A, dim)
    if isinstance(ord, str) and ord not in ("fro", "nuc") or not isinstance(ord, str) and abs(ord) not in (1, 2, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    A = _typed("matrix_norm", A, dtype)
    if ord == "fro":
        return ops.linalg_vector_norm(A, 2, (a, b), keepdim)
    if ord in ("nuc", 2, -2):
        values = ops.linalg_svdvals(ops.movedim(A, (a, b), (-2, -1)))
        found = ops.sum(values, -1) if ord == "nuc" else _extreme(values, ord, -1, False)
    else:
        summed, other = (a, b) if abs(ord) == 1 else (b, a)
        lines = ops.linalg_vector_norm(A, 1, summed, True)
        found = ops.squeeze(_extreme(lines, ord, other, True), (a, b))
    if not keepdim:
        return found
    return ops.reshape(found, tuple(1 if i in (a, b) else n for i, n in enumerate(A.shape)))


@composite(method=False)
def linalg_norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """Vector norms, and matrix norms where two dimensions and an order are given."""
    two = isinstance(dim, (tuple, list)) and len(dim) == 2
    if ord is None:
        return ops.linalg_vector_norm(_typed("norm", A, dtype), 2, dim, keepdim)
    if dim is None and A.ndim not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D.")
    if isinstance(ord, str) and not two and dim is not None or isinstance(ord, str) and A.ndim < 2:
        raise RuntimeError(f"linalg.norm: order {ord!r} needs two dimensions, but got dim={dim}")
    if two or dim is None and A.ndim == 2:
        return ops.linalg_matrix_norm(A, ord, (0, 1) if dim is None else tuple(dim), keepdim, dtype=dtype)
    return ops.linalg_vector_norm(_typed("norm", A, dtype), ord, dim, keepdim)


@composite(method=False)
def linalg_cond(A, p=None):
    """The condition number of matrices."""
    if A.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor A must have at least 2 dimensions.")
    if p in (None, 2, -2):
        values = ops.linalg_svdvals(A)
        first, last = ops.select(values, -1, 0), ops.select(values, -1, -1)
        return last / first if p == -2 else first / last
    square("cond", A)
    inverted, _ = ops.linalg_inv_ex(A)
    found = ops.linalg_matrix_norm(A, p) * ops.linalg_matrix_norm(inverted, p)
    return ops.where(ops.isnan(found), math.inf, found)  # of singular matrices


@composite(method=False)
def linalg_matrix_power(A, n):
    """`matrix_power`."""
    return ops.matrix_power(A, n)


@composite(method=False)
def linalg_matmul(input, other):
    """`matmul`."""
    return ops.matmul(input, other)


@composite(method=False)
def linalg_vecdot(x, y, *, dim=-1):
    """Inner products along a dimension, the first factor conjugated."""
    return ops.sum(conjugate(x) * y, dim)


@composite(method=False)
def linalg_diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """`diagonal` of the last two dimensions."""
    return ops.diagonal(A, offset, dim1, dim2)


@composite(method=False)
def linalg_vander(x, *, N=None):
    """Rising powers of the elements of vectors as the columns of matrices."""
    x = ops.reshape(x, (1,)) if x.ndim == 0 else x
    count = x.shape[-1] if N is None else N
    if N is not None and N <= 1:
        raise RuntimeError("N must be greater than 1.")
    if x.dtype is dtypes.bool_:
        raise RuntimeError('"linalg.vander" not implemented for \'Bool\'')
    x = ops.convert(x, dtypes.int64) if x.dtype.category < dtypes.FLOATING else x
    column = ops.unsqueeze(x, -1)
    ones = ops.ones_like(column)
    if count == 1:
        return ones
    return ops.cat([ones, ops.cumprod(ops.expand(column, (*x.shape, count - 1)), -1)], -1)


@composite(method=False, front=lambda call, *matrices: call(matrices[0] if isinstance(matrices[0], (tuple, list)) else matrices))
def chain_matmul(matrices):
    """`linalg.multi_dot` under its older name: `chain_matmul(a, b, c)`."""
    return matrices[0] if len(matrices) == 1 else ops.linalg_multi_dot(matrices)


@composite(method=False)
def frobenius_norm(input, dim=(), keepdim=False):
    """The square root of the sum of squares, over all dimensions if none are named."""
    return ops.linalg_vector_norm(input, 2, tuple(dim) or None, keepdim)


@composite(method=False)
def nuclear_norm(input, dim=(-2, -1), keepdim=False):
    """The sum of the singular values of matrices."""
    return ops.linalg_matrix_norm(input, "nuc", tuple(dim), keepdim)


def _chain(tensors: list) -> Any:
    """The product in the order that takes the fewest multiplications (dynamic programming over splits)."""
    count = len(tensors)
    sizes = [t.shape[0] for t in tensors] + [tensors[-1].shape[1]]
    cost = {(i, i): 0 for i in range(count)}
    cut: dict[tuple[int, int], int] = {}
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            options = [cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)]
            cost[i, j] = min(options)
            cut[i, j] = i + options.index(cost[i, j])

    def product(i: int, j: int) -> Any:
        return tensors[i] if i == j else ops.mm(product(i, cut[i, j]), product(cut[i, j] + 1, j))

    return product(0, count - 1)


@composite(method=False)
def linalg_multi_dot(tensors):
    """The product of several matrices in the cheapest order; the first and the last may be vectors."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    given = list(tensors)
    if given[0].ndim not in (1, 2) or given[-1].ndim not in (1, 2):
        raise RuntimeError("multi_dot(): the first and the last tensor must be 1D or 2D")
    if any(t.ndim != 2 for t in given[1:-1]):
        raise RuntimeError("multi_dot(): tensors between the first and the last must be 2D")
    if any(t.dtype is not given[0].dtype for t in given):
        raise RuntimeError("multi_dot(): all tensors must have the same dtype")
    first, last = given[0].ndim == 1, given[-1].ndim == 1
    given[0] = ops.unsqueeze(given[0], 0) if first else given[0]
    given[-1] = ops.unsqueeze(given[-1], -1) if last else given[-1]
    for place, (a, b) in enumerate(zip(given, given[1:])):
        if a.shape[-1] != b.shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {place} and {place + 1} with shapes {list(a.shape)} and {list(b.shape)} cannot be multiplied")
    found = _chain(given)
    shape = (*(() if first else (found.shape[0],)), *(() if last else (found.shape[1],)))
    return ops.reshape(found, shape)

