"""Triangular matrices: solving with them, and the factorizations of Cholesky, LU and LDL."""

from __future__ import annotations

import numpy as np

from eager import dtype as dtypes
from eager.bunch import bunch_kaufman, bunch_kaufman_solve
from eager.lapack import (
    LinAlgError,
    each,
    lapack,
    matrix,
    naming,
    refuse,
    same_type,
    square,
    turned,
)
from eager.op import composite, extern, ops
from eager.results import named
from eager.shape import broadcast_shapes
from eager.spec import Spec

_CholeskyEx, _Solved = named("linalg_cholesky_ex", "L info"), named("triangular_solve", "solution cloned_coefficient")
_LDL, _LDLEx = named("linalg_ldl_factor", "LD pivots"), named("linalg_ldl_factor_ex", "LD pivots info")
_Factor, _FactorEx = named("linalg_lu_factor", "LU pivots"), named("linalg_lu_factor_ex", "LU pivots info")
_LU, _Unpacked = named("linalg_lu", "P L U"), named("lu_unpack", "P L U")


# -- solving ---------------------------------------------------------------------------------------

_BLOCK = 32


def _substitute(A: np.ndarray, B: np.ndarray, upper: bool) -> np.ndarray:
    """X of A X = B by substitution, row by row in small blocks; a zero on the diagonal gives infinities, as in BLAS."""
    size = A.shape[-1]
    if size > _BLOCK:
        half = size // 2
        first, last = slice(0, half), slice(half, size)
        if upper:
            first, last = last, first
        X = np.empty(np.broadcast_shapes(A.shape[:-2], B.shape[:-2]) + B.shape[-2:], B.dtype)
        X[..., first, :] = _substitute(A[..., first, first], B[..., first, :], upper)
        X[..., last, :] = _substitute(A[..., last, last], B[..., last, :] - A[..., last, first] @ X[..., first, :], upper)
        return X
    X = np.broadcast_to(B, np.broadcast_shapes(A.shape[:-2], B.shape[:-2]) + B.shape[-2:]).copy()
    for i in reversed(range(size)) if upper else range(size):
        X[..., i, :] /= A[..., i, i, None]
        rest = slice(0, i) if upper else slice(i + 1, size)
        X[..., rest, :] -= A[..., rest, i, None] * X[..., None, i, :]
    return X


def _triangular_spec(A, B, upper, unitriangular):
    shape = square("solve_triangular", A)
    if B.ndim < 2 or B.shape[-2] != shape[-1]:
        raise RuntimeError(
            f"linalg.solve_triangular: Incompatible shapes of A and B for the equation AX = B ({list(shape)} and {list(B.shape)})"
        )
    batch = broadcast_shapes(shape[:-2], B.shape[:-2])
    return Spec((*batch, *B.shape[-2:]), same_type("linalg.solve_triangular", A, B), A.device)


def _triangular_vjp(g, out, needs, A, B, upper, unitriangular):
    back = ops.linalg_triangular(turned(A), g, not upper, unitriangular)
    if not needs[0]:
        return None, back
    grad = -ops.matmul(back, turned(out))
    edge = 1 if unitriangular else 0
    return ops.triu(grad, edge) if upper else ops.tril(grad, -edge), back


@extern(spec=_triangular_spec, vjp=_triangular_vjp, joint=True, saves="A out", method=False)
def linalg_triangular(A, B, upper, unitriangular=False):
    """The solution X of `A X = B` where only a triangle of A counts."""
    size = A.shape[-1]
    if A.ndim < 2 or A.shape[-2] != size or B.ndim < 2 or B.shape[-2] != size or A.dtype != B.dtype or A.dtype.kind not in "fc":
        raise ValueError
    if unitriangular:
        A = np.where(np.eye(size, dtype=bool), np.ones((), A.dtype), A)
    return _substitute(A, B, upper)


@composite(method=False)
def linalg_solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """The solution X of `A X = B` (or `X A = B`) for a triangular A."""
    if left:
        return ops.linalg_triangular(A, B, upper, unitriangular)
    flipped = ops.linalg_triangular(ops.transpose(A, -2, -1), ops.transpose(B, -2, -1), not upper, unitriangular)
    return ops.transpose(flipped, -2, -1)


@composite
def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False):
    """The solution of a triangular system and a copy of A (the older form)."""
    given = turned(A) if transpose else A
    return _Solved(ops.linalg_triangular(given, b, upper != transpose, unitriangular), ops.clone(A))


# -- Cholesky --------------------------------------------------------------------------------------


def _cholesky_vjp(g, out, A, upper, check_errors):
    if g[0] is None:
        return None
    L, gL = (turned(out[0]), turned(g[0])) if upper else (out[0], g[0])
    part = ops.tril(ops.matmul(turned(L), gL))
    phi = part - ops.diag_embed(ops.diagonal(part, 0, -2, -1)) * 0.5
    grad = ops.linalg_triangular(turned(L), phi, True)
    grad = ops.linalg_solve_triangular(L, grad, upper=False, left=False)
    return (grad + turned(grad)) * 0.5


def _cholesky_spec(A, upper, check_errors):
    shape = square("cholesky", A)
    return Spec(shape, A.dtype, A.device), Spec(shape[:-2], dtypes.int32, A.device)


def _minors(A: np.ndarray, L: np.ndarray, info: np.ndarray) -> None:
    """Cholesky's algorithm column by column; `info` becomes the order of the first minor that is not positive."""
    L[...] = np.tril(A)
    for k in range(len(A)):
        if not L[k, k].real > 0:
            info[...] = k + 1
            return
        L[k:, k] /= np.sqrt(L[k, k].real)
        L[k + 1 :, k + 1 :] -= np.tril(np.outer(L[k + 1 :, k], L[k + 1 :, k].conj()))


@extern(spec=_cholesky_spec, vjp=_cholesky_vjp, saves="out0", method=False, front=naming(_CholeskyEx))
def linalg_cholesky_ex(A, *, upper=False, check_errors=False):
    """The triangular L with `A = L L^H` and the order of the first minor of A that is not positive (0: none)."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ValueError
    info = np.zeros(A.shape[:-2], np.int32)
    lower = np.swapaxes(A, -2, -1).conj() if upper else A
    try:
        found = lapack("cholesky", np.linalg.cholesky, lower)
    except LinAlgError:
        found = np.empty_like(A)
        each(_minors, lower, found, info[..., None])
        if check_errors:
            refuse("cholesky", info, "The input is not positive-definite (its leading minor of order {} is not).")
    return np.ascontiguousarray(np.swapaxes(found, -2, -1).conj()) if upper else found, info


@composite(method=False)
def linalg_cholesky(A, *, upper=False):
    """The triangular L with `A = L L^H`. Raises LinAlgError if A is not positive definite."""
    return ops.linalg_cholesky_ex(A, upper=upper, check_errors=True)[0]


@composite
def cholesky(input, upper=False):
    """`linalg.cholesky`."""
    return ops.linalg_cholesky(input, upper=upper)


@composite
def cholesky_solve(B, L, upper=False):
    """The solution of `A X = B` for the Cholesky factor of A."""
    if B.ndim < 2 or L.ndim < 2:
        which, rank = ("b", B.ndim) if B.ndim < 2 else ("u", L.ndim)
        raise RuntimeError(f"{which} should have at least 2 dimensions, but has {rank} dimensions instead")
    lower = turned(L) if upper else L
    return ops.linalg_triangular(turned(lower), ops.linalg_triangular(lower, B, False), True)


@composite
def cholesky_inverse(L, upper=False):
    """The inverse of a matrix from its Cholesky factor."""
    square("cholesky_inverse", L)
    return ops.cholesky_solve(ops.eye(L.shape[-1], dtype=L.dtype), L, upper)


# -- LU --------------------------------------------------------------------------------------------


def _check_pivot(name: str, pivot: bool) -> None:
    if not pivot:
        raise RuntimeError(f"linalg.{name}: LU without pivoting is not implemented on the CPU")


def _factor_spec(A, pivot, check_errors):
    shape = matrix("lu_factor", A)
    _check_pivot("lu_factor", pivot)
    ints = lambda *s: Spec((*shape[:-2], *s), dtypes.int32, A.device)  # noqa: E731
    return Spec(shape, A.dtype, A.device), ints(min(shape[-2:])), ints()


def _factor_vjp(g, out, A, pivot, check_errors):
    if g[0] is None:
        return None
    LU, (n, m) = out[0], A.shape[-2:]
    k = min(n, m)
    L, U = ops.slice(LU, -1, 0, k, 1), ops.slice(LU, -2, 0, k, 1)
    gL, gU = ops.tril(ops.slice(g[0], -1, 0, k, 1), -1), ops.triu(ops.slice(g[0], -2, 0, k, 1))
    L1, U1 = ops.slice(L, -2, 0, k, 1), ops.slice(U, -1, 0, k, 1)
    strict = ops.tril(L1, -1)
    g1L, g1U = ops.slice(gL, -2, 0, k, 1), ops.slice(gU, -1, 0, k, 1)
    rest = None
    if m > n:  # U2 = L^-1 A2
        rest = ops.linalg_triangular(turned(L1), ops.slice(gU, -1, k, m, 1), True, True)
        g1L = g1L - ops.matmul(rest, turned(ops.slice(U, -1, k, m, 1)))
    if n > m:  # L2 = A2 U^-1
        rest = ops.linalg_solve_triangular(turned(ops.triu(U1)), ops.slice(gL, -2, k, n, 1), upper=False, left=False)
        g1U = g1U - ops.matmul(turned(ops.slice(L, -2, k, n, 1)), rest)
    middle = ops.tril(ops.matmul(turned(strict), g1L) + g1L, -1) + ops.triu(ops.matmul(g1U, turned(ops.triu(U1))))
    found = ops.linalg_triangular(turned(L1), middle, True, True)
    found = ops.linalg_solve_triangular(turned(ops.triu(U1)), found, upper=False, left=False)
    if rest is not None:
        found = ops.cat([found, rest], -1 if m > n else -2)
    return ops.matmul(ops.permutation_matrix(out[1], n, LU.dtype), found)


def _factorize(A: np.ndarray) -> tuple:
    """LU with the rows exchanged for the largest pivots, over a batch at once."""
    *batch, n, m = A.shape
    flat = A.reshape(-1, n, m).copy()
    k = min(n, m)
    pivots, info = np.zeros((len(flat), k), np.int32), np.zeros(len(flat), np.int32)
    rows = np.arange(len(flat))
    for i in range(k):
        column = flat[:, i:, i]
        best = i + np.argmax(np.abs(column.real) + np.abs(column.imag), 1) if len(flat) else rows
        pivots[:, i] = best + 1
        flat[rows, i], flat[rows, best] = flat[rows, best], flat[rows, i].copy()
        head = flat[:, i, i]
        info = np.where((info == 0) & (head == 0), i + 1, info)
        flat[:, i + 1 :, i] /= np.where(head == 0, 1, head)[:, None]
        flat[:, i + 1 :, i + 1 :] -= flat[:, i + 1 :, i, None] * flat[:, None, i, i + 1 :]
    return flat.reshape(A.shape), pivots.reshape(*batch, k), info.astype(np.int32).reshape(batch)


@extern(spec=_factor_spec, vjp=_factor_vjp, saves="out0 out1", method=False, front=naming(_FactorEx))
def linalg_lu_factor_ex(A, *, pivot=True, check_errors=False):
    """L (below the diagonal) and U of `A = P L U` in one matrix, the exchanges of rows, and where U has a zero (0: nowhere)."""
    if A.ndim < 2 or A.dtype.kind not in "fc" or A.dtype.itemsize < 4 or not pivot:
        raise ValueError
    LU, pivots, info = _factorize(A)
    if check_errors:
        refuse("lu_factor", info, "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero.")
    return LU, pivots, info


@composite(method=False)
def linalg_lu_factor(A, *, pivot=True):
    """L and U of `A = P L U` in one matrix, and the exchanges of rows. Raises LinAlgError for singular A."""
    return _Factor(*ops.linalg_lu_factor_ex(A, pivot=pivot, check_errors=True)[:2])


@composite(method=False)
def linalg_lu(A, *, pivot=True):
    """The factors of `A = P L U`: a permutation, a lower triangle with ones on its diagonal, an upper triangle."""
    matrix("lu", A)
    _check_pivot("lu", pivot)
    LU, pivots, _ = ops.linalg_lu_factor_ex(A)
    return _LU(*ops.lu_unpack(LU, pivots))


@composite
def lu(input, pivot=True, get_infos=False):
    """`linalg.lu_factor`, with the places of zero pivots if `get_infos` (the older form)."""
    found = ops.linalg_lu_factor_ex(input, pivot=pivot, check_errors=not get_infos)
    return found if get_infos else tuple(found[:2])


def _exchanged(pivots: np.ndarray, size: int) -> np.ndarray:
    """Which row of A each row of L U is."""
    rows = np.arange(size)
    for i, j in enumerate(pivots):
        rows[i], rows[j - 1] = rows[j - 1], rows[i]
    return rows


@extern(
    spec=lambda pivots, size, dtype: Spec((*pivots.shape[:-1], size, size), dtype, pivots.device),
    saves="",
    method=False,
)
def permutation_matrix(pivots, size, dtype):
    """P of `A = P L U` from the exchanges of rows."""
    if pivots.size and (pivots.min() < 1 or pivots.max() > size):
        raise RuntimeError("lu_unpack: LU_pivots is expected to hold the numbers of rows, counted from 1")
    result = np.zeros((*pivots.shape[:-1], size, size), dtype.numpy)
    for place in np.ndindex(*pivots.shape[:-1]):
        result[place][_exchanged(pivots[place], size), np.arange(size)] = 1
    return result


@composite(method=False)
def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True):
    """P, L and U of `A = P L U` from what `lu_factor` gives."""
    if LU_pivots.dtype is not dtypes.int32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype. Note: this function is "
            "intended to be used with the output produced by torch.linalg.lu_factor"
        )
    n, m = LU_data.shape[-2:]
    k = min(n, m)
    none = ops.empty((0,), dtype=LU_data.dtype)
    P, L, U = none, none, none
    if unpack_pivots:
        P = ops.permutation_matrix(LU_pivots, n, LU_data.dtype)
    if unpack_data:
        L = ops.tril(ops.slice(LU_data, -1, 0, k, 1), -1) + ops.eye(n, k, dtype=LU_data.dtype)
        U = ops.triu(ops.slice(LU_data, -2, 0, k, 1))
    return _Unpacked(P, L, U)


@composite(method=False)
def linalg_lu_solve(LU, pivots, B, *, left=True, adjoint=False):
    """The solution X of `A X = B` (or `X A = B`, or with A^H) from what `lu_factor` gives for A."""
    shape = square("lu_solve", LU)
    if pivots.dtype is not dtypes.int32:
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    if B.ndim < 2 or B.shape[-2 if left else -1] != shape[-1]:
        raise RuntimeError(f"linalg.lu_solve: Incompatible shapes of A and B for the equation AX = B ({list(shape)} and {list(B.shape)})")
    if tuple(pivots.shape) != shape[:-1]:
        raise RuntimeError("linalg.lu_solve: Number of pivots per batch should be same as the dimension of the matrix")
    P = ops.permutation_matrix(pivots, shape[-1], LU.dtype)
    if not left:  # X A = B is A^H X^H = B^H
        return turned(ops.linalg_lu_solve(LU, pivots, turned(B), adjoint=not adjoint))
    if adjoint:
        found = ops.linalg_triangular(turned(LU), B, False)
        return ops.matmul(P, ops.linalg_triangular(turned(LU), found, True, True))
    found = ops.linalg_triangular(LU, ops.matmul(ops.transpose(P, -2, -1), B), False, True)
    return ops.linalg_triangular(LU, found, True)


@composite
def lu_solve(b, LU_data, LU_pivots):
    """`linalg.lu_solve` with its arguments in another order."""
    return ops.linalg_lu_solve(LU_data, LU_pivots, b)


# -- LDL -------------------------------------------------------------------------------------------


def _ldl_spec(A, hermitian, check_errors):
    shape = square("ldl_factor_ex", A)
    ints = lambda *s: Spec((*shape[:-2], *s), dtypes.int32, A.device)  # noqa: E731
    return Spec(shape, A.dtype, A.device), ints(shape[-1]), ints()


@extern(spec=_ldl_spec, method=False, front=naming(_LDLEx))
def linalg_ldl_factor_ex(A, *, hermitian=False, check_errors=False):
    """The factors of `A = L D L^T` (L^H if hermitian) in one matrix, by Bunch and Kaufman's pivots, and where D is singular."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2] or A.dtype.kind not in "fc" or A.dtype.itemsize < 4:
        raise ValueError
    LD, pivots, info = np.tril(A), np.zeros(A.shape[:-1], np.int32), np.zeros(A.shape[:-2], np.int32)
    each(lambda a, p, i: bunch_kaufman(a, p, i, hermitian), LD, pivots, info[..., None])
    if check_errors:
        refuse("ldl_factor_ex", info, "The D factor is singular: its element {0},{0} is zero.")
    return LD, pivots, info


@composite(method=False)
def linalg_ldl_factor(A, *, hermitian=False):
    """The factors of `A = L D L^T` (L^H if hermitian) in one matrix, and the exchanges of rows."""
    return _LDL(*ops.linalg_ldl_factor_ex(A, hermitian=hermitian, check_errors=True)[:2])


def _ldl_solve_spec(LD, pivots, B, hermitian):
    shape = square("ldl_solve", LD)
    if B.ndim < 2:
        raise RuntimeError(f"torch.linalg.ldl_solve: Expected B to have at least 2 dimensions, but it has {B.ndim} dimensions instead")
    if B.shape[-2] != shape[-1] or tuple(pivots.shape) != shape[:-1]:
        raise RuntimeError("torch.linalg.ldl_solve: Expected LD.shape[:-1] to be the same as pivots.shape and B to have as many rows")
    if pivots.dtype not in (dtypes.int32, dtypes.int64):
        raise RuntimeError(f"torch.linalg.ldl_solve: Expected pivots to be integers. Got {pivots.dtype}")
    batch = broadcast_shapes(shape[:-2], B.shape[:-2])
    return Spec((*batch, *B.shape[-2:]), same_type("torch.linalg.ldl_solve", LD, B), LD.device)


@extern(spec=_ldl_solve_spec, method=False)
def linalg_ldl_solve(LD, pivots, B, *, hermitian=False):
    """The solution X of `A X = B` from what `ldl_factor` gives for A."""
    if B.ndim < 2 or pivots.shape != LD.shape[:-1] or LD.dtype != B.dtype or pivots.dtype.kind != "i":
        raise ValueError
    batch = np.broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    found = np.broadcast_to(B, (*batch, *B.shape[-2:])).copy()
    LD, pivots = np.broadcast_to(LD, (*batch, *LD.shape[-2:])), np.broadcast_to(pivots, (*batch, pivots.shape[-1]))
    each(lambda a, p, x: bunch_kaufman_solve(a, p, x, hermitian), LD, pivots, found)
    return found
