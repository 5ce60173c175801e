"""Inverses, determinants, factorizations and norms of matrices, by LAPACK through NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.fake import DataDependent
from eager.op import composite, extern, ops
from eager.ops.linalg import conjugate, same_type, turned
from eager.results import named
from eager.shape import broadcast_shapes, normalize_dim
from eager.spec import Spec


def _square(name: str, input: Any) -> tuple:
    if input.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if input.shape[-1] != input.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {input.shape[-2]} "
            f"by {input.shape[-1]} matrices"
        )
    return tuple(input.shape)


def _lapack(name: str, function: Any, *arrays: np.ndarray) -> Any:
    """Call numpy.linalg. Raises RuntimeError (as torch's LinAlgError is one) for what LAPACK
    refuses."""
    try:
        return function(*arrays)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {error}") from None


class LinAlgError(RuntimeError):
    """A matrix that has no such decomposition, e.g. a singular one."""


def _inv_vjp(g, out, A):
    return -ops.matmul(turned(out), ops.matmul(g, turned(out)))


@extern(
    spec=lambda A: Spec(_square("inv", A), A.dtype, A.device),
    vjp=_inv_vjp,
    saves="out",
    method=False,
)
def linalg_inv(A):
    """The inverse of square matrices. Raises LinAlgError for singular ones."""
    return _lapack("inv", np.linalg.inv, A)


@composite
def inverse(input):
    """`linalg.inv`."""
    return ops.linalg_inv(input)


def _det_vjp(g, out, A):
    return ops.unsqueeze(ops.unsqueeze(g * conjugate(out), -1), -1) * turned(ops.linalg_inv(A))


@extern(
    spec=lambda A: Spec(_square("det", A)[:-2], A.dtype, A.device),
    vjp=_det_vjp,
    saves="A out",
    method=False,
)
def linalg_det(A):
    """The determinant of square matrices."""
    return np.asarray(np.linalg.det(A), A.dtype)


@composite
def det(input):
    """`linalg.det`."""
    return ops.linalg_det(input)


def _slogdet_spec(A):
    shape = _square("slogdet", A)[:-2]
    return Spec(shape, A.dtype, A.device), Spec(shape, A.dtype.to_real(), A.device)


_Slogdet = named("slogdet", "sign logabsdet")


@extern(
    spec=_slogdet_spec,
    saves="A",
    method=False,
    front=lambda call, A: _Slogdet(*call(A)),
    vjp=lambda g, out, A: (
        None
        if g[1] is None
        else ops.unsqueeze(ops.unsqueeze(g[1], -1), -1) * turned(ops.linalg_inv(A))
    ),
)
def linalg_slogdet(A):
    """The sign and the logarithm of the absolute value of the determinant."""
    sign, log = np.linalg.slogdet(A)
    return np.asarray(sign, A.dtype), np.asarray(log, A.real.dtype)


@composite
def slogdet(input):
    """`linalg.slogdet`."""
    return ops.linalg_slogdet(input)


@composite
def logdet(input):
    """The logarithm of the determinant; NaN where it is negative."""
    sign, log = ops.linalg_slogdet(input)
    return ops.where(sign < 0, float("nan"), log)


def _is_vector(A: Any, B: Any) -> bool:
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))


def _solve_spec(A, B):
    shape = _square("solve", A)
    if _is_vector(A, B):
        if B.shape[-1] != shape[-1]:
            raise RuntimeError(
                "linalg.solve: Incompatible shapes of A and B for the equation AX = B "
                f"({list(shape)} and {list(B.shape)})"
            )
        return Spec(
            (*broadcast_shapes(shape[:-2], B.shape[:-1]), shape[-1]),
            same_type("linalg.solve", A, B),
            A.device,
        )
    if B.shape[-2] != shape[-1]:
        raise RuntimeError(
            "linalg.solve: Incompatible shapes of A and B for the equation AX = B "
            f"({shape[-2]}x{shape[-1]} and {B.shape[-2]}x{B.shape[-1]})"
        )
    batch = broadcast_shapes(shape[:-2], B.shape[:-2])
    return Spec((*batch, *B.shape[-2:]), same_type("linalg.solve", A, B), A.device)


def _solve_vjp(g, out, needs, A, B):
    adjoint = ops.linalg_solve_plain(turned(A), g)
    if not needs[0]:
        return None, adjoint
    if _is_vector(A, B):
        return -ops.matmul(ops.unsqueeze(adjoint, -1), conjugate(ops.unsqueeze(out, -2))), adjoint
    return -ops.matmul(adjoint, turned(out)), adjoint


@extern(spec=_solve_spec, vjp=_solve_vjp, joint=True, saves="A out", method=False)
def linalg_solve_plain(A, B):
    """The solution X of A X = B."""
    vector = _is_vector(A, B)
    result = _lapack("solve", np.linalg.solve, A, B[..., None] if vector else B)
    return result[..., 0] if vector else result


@composite(method=False)
def linalg_solve(A, B, *, left=True):
    """The solution X of `A X = B` (or `X A = B`). Raises LinAlgError if A is singular."""
    if left:
        return ops.linalg_solve_plain(A, B)
    return ops.transpose(
        ops.linalg_solve_plain(ops.transpose(A, -2, -1), ops.transpose(B, -2, -1)), -2, -1
    )


def _cholesky_vjp(g, out, A, upper):
    L = turned(out) if upper else out
    gL = turned(g) if upper else g
    inner_part = ops.tril(ops.matmul(turned(L), gL))
    phi = inner_part - ops.diag_embed(ops.diagonal(inner_part, 0, -2, -1)) * 0.5
    inverse_L = ops.linalg_inv(L)
    grad = ops.matmul(turned(inverse_L), ops.matmul(phi, inverse_L))
    return (grad + turned(grad)) * 0.5


@extern(
    spec=lambda A, upper: Spec(_square("cholesky", A), A.dtype, A.device),
    vjp=_cholesky_vjp,
    saves="out",
    method=False,
)
def linalg_cholesky(A, *, upper=False):
    """The triangular L with `A = L L^H`. Raises LinAlgError if A is not positive definite."""
    found = _lapack("cholesky", np.linalg.cholesky, A)
    return np.ascontiguousarray(np.swapaxes(found, -2, -1).conj()) if upper else found


@composite
def cholesky(input, upper=False):
    """`linalg.cholesky`."""
    return ops.linalg_cholesky(input, upper=upper)


_QR, _SVD, _Eigh, _Eig = (
    named("qr", "Q R"),
    named("svd", "U S Vh"),
    named("eigh", "eigenvalues eigenvectors"),
    named("eig", "eigenvalues eigenvectors"),
)


def _qr_spec(A, mode):
    *batch, n, m = A.shape
    k = min(n, m)
    if mode == "complete":
        return Spec((*batch, n, n), A.dtype, A.device), Spec((*batch, n, m), A.dtype, A.device)
    return Spec((*batch, n, k), A.dtype, A.device), Spec((*batch, k, m), A.dtype, A.device)


def _qr_vjp(g, out, A, mode):
    if mode != "reduced" or A.shape[-2] < A.shape[-1]:
        raise NotImplementedError(
            "the derivative of qr is implemented for mode='reduced' and at least as many rows as "
            "columns"
        )
    (gQ, gR), (Q, R) = g, out
    total = ops.zeros_like(R)
    if gR is not None:
        total = total + ops.matmul(R, turned(gR))
    if gQ is not None:
        total = total - ops.matmul(turned(gQ), Q)
    low = ops.tril(total, -1)
    sym = low + turned(low) + ops.diag_embed(ops.diagonal(total, 0, -2, -1))
    inner_part = ops.matmul(Q, sym)
    if gQ is not None:
        inner_part = inner_part + gQ
    return ops.matmul(inner_part, turned(ops.linalg_inv(R)))


@extern(
    spec=_qr_spec,
    vjp=_qr_vjp,
    saves="out",
    method=False,
    front=lambda call, *a, **k: _QR(*call(*a, **k)),
)
def linalg_qr(A, mode="reduced"):
    """Orthogonal Q and triangular R with `A = Q R`."""
    return tuple(np.linalg.qr(A, mode))


def _svd_spec(A, full_matrices):
    *batch, n, m = A.shape
    k = min(n, m)
    return (
        Spec((*batch, n, n if full_matrices else k), A.dtype, A.device),
        Spec((*batch, k), A.dtype.to_real(), A.device),
        Spec((*batch, m if full_matrices else k, m), A.dtype, A.device),
    )


def _inverse_gaps(values: Any) -> Any:
    """1 / (v[j] - v[i]) off the diagonal, 0 on it."""
    gap = ops.unsqueeze(values, -2) - ops.unsqueeze(values, -1)
    same = ops.eye(values.shape[-1], dtype=dtypes.bool_)
    return ops.where(same, ops.zeros_like(gap), 1 / ops.where(same, ops.ones_like(gap), gap))


def _svd_vjp(g, out, A, full_matrices):
    if full_matrices:
        raise NotImplementedError("the derivative of svd needs full_matrices=False")
    (gU, gS, gV), (U, S, Vh) = g, out
    gaps = _inverse_gaps(S * S)
    row, column = ops.unsqueeze(S, -2), ops.unsqueeze(S, -1)
    middle = ops.diag_embed(gS) if gS is not None else ops.zeros_like(gaps)
    if gU is not None:
        skew = ops.matmul(turned(U), gU)
        middle = middle + (skew - turned(skew)) * gaps * row
    if gV is not None:
        skew = ops.matmul(Vh, turned(gV))
        middle = middle + column * ((skew - turned(skew)) * gaps)
    result = ops.matmul(ops.matmul(U, middle), Vh)
    if gU is not None and A.shape[-2] > A.shape[-1]:
        scaled = gU / row
        result = result + ops.matmul(scaled - ops.matmul(U, ops.matmul(turned(U), scaled)), Vh)
    if gV is not None and A.shape[-1] > A.shape[-2]:
        scaled = gV / column
        result = result + ops.matmul(U, scaled - ops.matmul(ops.matmul(scaled, turned(Vh)), Vh))
    return result


@extern(
    spec=_svd_spec,
    vjp=_svd_vjp,
    saves="out",
    method=False,
    front=lambda call, *a, **k: _SVD(*call(*a, **k)),
)
def linalg_svd(A, full_matrices=True):
    """Singular values S and orthogonal U, Vh with `A = U diag(S) Vh`."""
    return tuple(_lapack("svd", lambda a: np.linalg.svd(a, full_matrices), A))


@composite(method=False)
def linalg_svdvals(A):
    """The singular values, largest first."""
    return ops.linalg_svd(A, False)[1]


@composite
def svd(input, some=True, compute_uv=True):
    """Singular values with V in place of its transpose (the older form)."""
    U, S, Vh = ops.linalg_svd(input, not some)
    return named("svd", "U S V")(U, S, turned(Vh))


def _eigh_vjp(g, out, A, UPLO):
    (gw, gv), (w, v) = g, out
    middle = ops.diag_embed(gw) if gw is not None else ops.zeros_like(v)
    if gv is not None:
        skew = ops.matmul(turned(v), gv)
        middle = middle + (skew - turned(skew)) * 0.5 * _inverse_gaps(w)
    return ops.matmul(ops.matmul(v, middle), turned(v))


@extern(
    spec=lambda A, UPLO: (
        Spec(_square("eigh", A)[:-1], A.dtype.to_real(), A.device),
        Spec(A.shape, A.dtype, A.device),
    ),
    vjp=_eigh_vjp,
    saves="out",
    method=False,
    front=lambda call, *a, **k: _Eigh(*call(*a, **k)),
)
def linalg_eigh(A, UPLO="L"):
    """Eigenvalues (ascending) and eigenvectors of symmetric matrices."""
    return tuple(_lapack("eigh", lambda a: np.linalg.eigh(a, UPLO), A))


@composite(method=False)
def linalg_eigvalsh(A, UPLO="L"):
    """The eigenvalues of symmetric matrices."""
    return ops.linalg_eigh(A, UPLO)[0]


def _eig_spec(A):
    found = A.dtype.to_complex()
    return Spec(_square("eig", A)[:-1], found, A.device), Spec(A.shape, found, A.device)


@extern(spec=_eig_spec, method=False, front=lambda call, A: _Eig(*call(A)))
def linalg_eig(A):
    """Complex eigenvalues and eigenvectors."""
    kind = (
        np.complex128
        if A.dtype.itemsize // (2 if A.dtype.kind == "c" else 1) == 8
        else np.complex64
    )
    return tuple(np.asarray(x, kind) for x in _lapack("eig", np.linalg.eig, A))


@extern(
    spec=lambda A, rtol: Spec((*A.shape[:-2], A.shape[-1], A.shape[-2]), A.dtype, A.device),
    method=False,
)
def linalg_pinv(A, rtol=1e-15):
    """The Moore-Penrose inverse."""
    return np.linalg.pinv(A, rtol)


@composite
def pinverse(input, rcond=1e-15):
    """`linalg.pinv`."""
    return ops.linalg_pinv(input, rcond)


@extern(spec=lambda A, tol: Spec(A.shape[:-2], dtypes.int64, A.device), method=False)
def linalg_matrix_rank(A, tol=None):
    """The number of singular values that are not negligible."""
    return np.asarray(np.linalg.matrix_rank(A, tol))


_Lstsq = named("lstsq", "solution residuals rank singular_values")


def _lstsq_spec(A, B, rcond):
    *batch, n, m = A.shape
    k = B.shape[-1]
    spec = Spec((*batch, m, k), A.dtype, A.device)
    raise DataDependent(f"the residuals of linalg.lstsq() depend on values (solution {spec})")


def _lstsq_front(call, A, B, rcond=None, *, driver=None):
    return _Lstsq(*call(A, B, rcond))


@extern(spec=_lstsq_spec, method=False, front=_lstsq_front)
def linalg_lstsq(A, B, rcond=None):
    """The least squares solution of one system `A X = B`, its residuals, the rank of A and its
    singular values."""
    return tuple(np.asarray(x) for x in np.linalg.lstsq(A, B, rcond))


@extern(
    spec=lambda A, B, upper, unitriangular: _solve_spec_of(A, B),
    vjp=lambda g, out, needs, A, B, upper, unitriangular: _triangular_vjp(
        g, out, A, upper, unitriangular
    ),
    joint=True,
    saves="A out",
    method=False,
)
def linalg_triangular(A, B, upper, unitriangular=False):
    """The solution X of `A X = B` where only a triangle of A counts."""
    size = A.shape[-1]
    if A.shape[-2] != size or B.shape[-2] != size:
        raise ValueError
    part = np.triu(A) if upper else np.tril(A)
    if unitriangular:
        part = part * (1 - np.eye(size, dtype=A.dtype)) + np.eye(size, dtype=A.dtype)
    return _lapack("solve_triangular", np.linalg.solve, part, B)


def _solve_spec_of(A, B):
    shape = _square("solve_triangular", A)
    if B.ndim < 2 or B.shape[-2] != shape[-1]:
        raise RuntimeError(
            "linalg.solve_triangular: Incompatible shapes of A and B for the equation AX = B "
            f"({list(shape)} and {list(B.shape)})"
        )
    batch = broadcast_shapes(shape[:-2], B.shape[:-2])
    return Spec((*batch, *B.shape[-2:]), same_type("linalg.solve_triangular", A, B), A.device)


def _triangular_vjp(g, out, A, upper, unitriangular):
    back = ops.linalg_triangular(turned(A), g, not upper, unitriangular)
    grad = -ops.matmul(back, turned(out))
    edge = 1 if unitriangular else 0
    return ops.triu(grad, edge) if upper else ops.tril(grad, -edge), back


@composite(method=False)
def linalg_solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """The solution X of `A X = B` (or `X A = B`) for a triangular A."""
    if left:
        return ops.linalg_triangular(A, B, upper, unitriangular)
    flipped = ops.linalg_triangular(
        ops.transpose(A, -2, -1), ops.transpose(B, -2, -1), not upper, unitriangular
    )
    return ops.transpose(flipped, -2, -1)


@composite
def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False):
    """The solution of a triangular system and A itself (the older form)."""
    matrix = ops.transpose(A, -2, -1) if transpose else A
    return ops.linalg_triangular(matrix, b, upper != transpose, unitriangular), A


@composite
def cholesky_solve(B, L, upper=False):
    """The solution of `A X = B` for the Cholesky factor of A."""
    lower = turned(L) if upper else L
    return ops.linalg_triangular(turned(lower), ops.linalg_triangular(lower, B, False), True)


@composite
def cholesky_inverse(L, upper=False):
    """The inverse of a matrix from its Cholesky factor."""
    return ops.cholesky_solve(ops.eye(L.shape[-1], dtype=L.dtype), L, upper)


@composite(method=False)
def linalg_eigvals(A):
    """The eigenvalues of square matrices."""
    return ops.linalg_eig(A)[0]


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
def linalg_cond(A, p=None):
    """The condition number of matrices."""
    if p in (None, 2, -2):
        values = ops.linalg_svdvals(A)
        ratio = ops.amax(values, -1) / ops.amin(values, -1)
        return 1 / ratio if p == -2 else ratio
    return ops.linalg_matrix_norm(A, p) * ops.linalg_matrix_norm(ops.linalg_inv(A), p)


@composite(method=False)
def linalg_matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False):
    """Norms of matrices: "fro", "nuc", 1, -1, 2, -2, inf, -inf."""
    a, b = (normalize_dim(d, A.ndim) for d in dim)
    if ord == "fro":
        return ops.linalg_vector_norm(A, 2, (a, b), keepdim)
    if ord in ("nuc", 2, -2):
        values = ops.linalg_svdvals(ops.movedim(A, (a, b), (-2, -1)))
        found = (
            ops.sum(values, -1)
            if ord == "nuc"
            else ops.amax(values, -1)
            if ord == 2
            else ops.amin(values, -1)
        )
    elif ord in (1, -1, math.inf, -math.inf):
        summed, other = (a, b) if abs(ord) == 1 else (b, a)
        lines = ops.sum(ops.abs(A), summed, True)
        found = ops.squeeze((ops.amax if ord > 0 else ops.amin)(lines, other, True), (a, b))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return (
        found
        if not keepdim
        else ops.reshape(found, tuple(1 if i in (a, b) else n for i, n in enumerate(A.shape)))
    )


@composite(method=False)
def linalg_norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """Vector norms, and matrix norms where two dimensions and an order are given."""
    if dtype is not None:
        A = ops.convert(A, dtype)
    two = (isinstance(dim, (tuple, list)) and len(dim) == 2) or (
        dim is None and ord is not None and A.ndim == 2
    )
    if ord is None or not two:
        return ops.linalg_vector_norm(A, 2 if ord is None else ord, dim, keepdim)
    return ops.linalg_matrix_norm(A, ord, (-2, -1) if dim is None else tuple(dim), keepdim)


@composite(method=False)
def linalg_multi_dot(tensors):
    """The product of several matrices, from left to right."""
    result = tensors[0]
    for matrix in tensors[1:]:
        result = ops.matmul(result, matrix)
    return result
