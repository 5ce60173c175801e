"""Singular values, eigenvalues and functions of them; the exponential of a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.lapack import lapack, like_real, matrix, naming, square, turned
from eager.op import composite, extern, ops
from eager.results import named
from eager.spec import Spec

_SVD, _OldSVD = named("linalg_svd", "U S Vh"), named("svd", "U S V")
_Eigh, _Eig = named("linalg_eigh", "eigenvalues eigenvectors"), named("linalg_eig", "eigenvalues eigenvectors")


def _svd_spec(A, full_matrices, driver):
    *batch, n, m = matrix("svd", A)
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


def _with_type(x: Any, kind: Any) -> Any:
    return x if x.dtype is kind else ops.convert(x, kind)


def _phase(overlap: Any, S: Any) -> Any:
    """What a complex vector's phase adds on the diagonal."""
    turning = ops.imag(ops.diagonal(overlap, 0, -2, -1)) / S
    return ops.diag_embed(ops.complex(ops.zeros_like(turning), turning))


def _svd_vjp(g, out, A, full_matrices, driver):
    (gU, gS, gV), (U, S, Vh) = g, out
    if full_matrices:  # what the further columns are is free: they have no gradient
        k = S.shape[-1]
        U, Vh = ops.slice(U, -1, 0, k, 1), ops.slice(Vh, -2, 0, k, 1)
        gU = None if gU is None else ops.slice(gU, -1, 0, k, 1)
        gV = None if gV is None else ops.slice(gV, -2, 0, k, 1)
    gaps = _inverse_gaps(S * S)
    row, column = ops.unsqueeze(S, -2), ops.unsqueeze(S, -1)
    middle = ops.diag_embed(gS) if gS is not None else ops.zeros_like(gaps)
    if gU is not None:
        overlap = ops.matmul(turned(U), gU)
        middle = middle + (overlap - turned(overlap)) * gaps * row
        if A.dtype.is_complex:
            middle = middle + _phase(overlap, S)
    if gV is not None:
        overlap = ops.matmul(Vh, turned(gV))
        middle = middle + column * ((overlap - turned(overlap)) * gaps)
    result = ops.matmul(ops.matmul(U, _with_type(middle, A.dtype)), Vh)
    if gU is not None and A.shape[-2] > A.shape[-1]:
        scaled = gU / row
        result = result + ops.matmul(scaled - ops.matmul(U, ops.matmul(turned(U), scaled)), Vh)
    if gV is not None and A.shape[-1] > A.shape[-2]:
        scaled = gV / column
        result = result + ops.matmul(U, scaled - ops.matmul(ops.matmul(scaled, turned(Vh)), Vh))
    return result


@extern(spec=_svd_spec, vjp=_svd_vjp, saves="out", method=False, front=naming(_SVD))
def linalg_svd(A, full_matrices=True, *, driver=None):
    """Singular values S and orthogonal U, Vh with `A = U diag(S) Vh`."""
    if A.ndim < 2:
        raise ValueError
    if driver is not None:
        raise RuntimeError("linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend.")
    return tuple(lapack("svd", lambda a: np.linalg.svd(a, full_matrices), A))


@composite(method=False)
def linalg_svdvals(A, *, driver=None):
    """The singular values, largest first."""
    return ops.linalg_svd(A, False, driver=driver)[1]


@composite
def svd(input, some=True, compute_uv=True):
    """Singular values with V in place of its transpose (the older form); zeros for U and V unless `compute_uv`."""
    U, S, Vh = ops.linalg_svd(input, not some and compute_uv)
    if compute_uv:
        return _OldSVD(U, S, turned(Vh))
    n, m = input.shape[-2:]
    zeros = [ops.zeros((*input.shape[:-2], k, k), dtype=input.dtype) for k in (n, m)]
    return _OldSVD(zeros[0], S, zeros[1])


def _eigh_vjp(g, out, A, UPLO):
    (gw, gv), (w, v) = g, out
    middle = None
    if gw is not None:
        middle = _with_type(ops.diag_embed(gw), A.dtype)
    if gv is not None:
        overlap = ops.matmul(turned(v), gv)
        part = (overlap - turned(overlap)) * 0.5 * _inverse_gaps(w)
        middle = part if middle is None else middle + part
    return ops.matmul(ops.matmul(v, middle), turned(v))


def _eigh_spec(A, UPLO):
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    shape = square("eigh", A)
    return Spec(shape[:-1], A.dtype.to_real(), A.device), Spec(shape, A.dtype, A.device)


@extern(spec=_eigh_spec, vjp=_eigh_vjp, saves="out", method=False, front=naming(_Eigh))
def linalg_eigh(A, UPLO="L"):
    """Eigenvalues (ascending) and eigenvectors of symmetric matrices, of which one triangle is read."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2] or UPLO.upper() not in ("L", "U"):
        raise ValueError
    return tuple(lapack("eigh", lambda a: np.linalg.eigh(a, UPLO.upper()), A))


@composite(method=False)
def linalg_eigvalsh(A, UPLO="L"):
    """The eigenvalues of symmetric matrices."""
    return ops.linalg_eigh(A, UPLO)[0]


def _eig_spec(A):
    shape, found = square("eig", A), A.dtype.to_complex()
    return Spec(shape[:-1], found, A.device), Spec(shape, found, A.device)


def _eig_vjp(g, out, A):
    (gL, gV), (L, V) = g, out
    middle = None if gL is None else ops.diag_embed(gL)
    if gV is not None:
        overlap = ops.matmul(turned(V), gV)
        length = ops.unsqueeze(ops.real(ops.diagonal(overlap, 0, -2, -1)), -2)
        part = (overlap - ops.matmul(turned(V), V * length)) * ops.conj(_inverse_gaps(L))
        middle = part if middle is None else middle + part
    return like_real(ops.linalg_solve(turned(V), ops.matmul(middle, turned(V))), A)


@extern(spec=_eig_spec, method=False, vjp=_eig_vjp, saves="out", front=naming(_Eig))
def linalg_eig(A):
    """Complex eigenvalues and eigenvectors."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ValueError
    if not np.isfinite(A).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    kind = np.complex128 if A.dtype in (np.float64, np.complex128) else np.complex64
    return tuple(np.asarray(x, kind) for x in lapack("eig", np.linalg.eig, A))


@composite(method=False)
def linalg_eigvals(A):
    """The eigenvalues of square matrices."""
    return ops.linalg_eig(A)[0]


# -- low rank --------------------------------------------------------------------------------------


def _low_rank(A: Any, q: int, niter: int, M: Any) -> tuple:
    """Halko, Martinsson and Tropp's algorithms 4.4 and 5.1: a random basis of the range, and the singular values in it."""
    A = A if M is None else A - ops.expand(M, tuple(A.shape))
    flipped = A.shape[-2] < A.shape[-1]
    A = turned(A) if flipped else A
    Q = ops.linalg_qr(ops.matmul(A, _normal((*A.shape[:-2], A.shape[-1], q), A.dtype)))[0]
    for _ in range(niter):
        Q = ops.linalg_qr(ops.matmul(turned(A), Q))[0]
        Q = ops.linalg_qr(ops.matmul(A, Q))[0]
    U, S, Vh = ops.linalg_svd(ops.matmul(turned(Q), A), False)
    left, right = ops.matmul(Q, U), turned(Vh)
    return (right, S, left) if flipped else (left, S, right)


def _normal(shape: tuple, kind: Any) -> Any:
    real = ops.randn(shape, dtype=kind.to_real())
    return ops.complex(real, ops.randn(shape, dtype=kind.to_real())) if kind.is_complex else real


@composite(method=False)
def svd_lowrank(A, q=6, niter=2, M=None):
    """About the `q` largest singular values of A (of A - M), by a random projection."""
    matrix("svd_lowrank", A)
    if not 0 <= q <= min(A.shape[-2:]):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(A.shape[-2:])}")
    return _low_rank(A, q, niter, M)


@composite(method=False)
def pca_lowrank(A, q=None, center=True, niter=2):
    """About the `q` (6) largest principal components of the rows of A, by a random projection."""
    *_, n, m = matrix("pca_lowrank", A)
    q = min(6, n, m) if q is None else q
    if not 0 <= q <= min(n, m):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(n, m)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return _low_rank(A - ops.mean(A, -2, True) if center else A, q, niter, None)


# -- the exponential -------------------------------------------------------------------------------

# the numerator of the Padé approximation of order 13, and the norm up to which it is exact in double precision
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0, 10559470521600.0,
    670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_RADIUS = 5.371920351148152


def _exponential(A: np.ndarray) -> np.ndarray:
    wide = A.astype(np.complex128 if A.dtype.kind == "c" else np.float64)
    norm = np.abs(wide).sum(-2).max(-1, initial=0.0)
    if not np.isfinite(norm).all():
        return np.full(A.shape, np.nan, A.dtype)
    times = np.maximum(np.ceil(np.log2(np.maximum(norm, 1e-300) / _RADIUS)), 0).astype(int)
    X = wide / (2.0**times)[..., None, None]
    b, one = _PADE, np.eye(A.shape[-1])
    X2 = X @ X
    X4, X6 = X2 @ X2, X2 @ X2 @ X2
    odd = X @ (X6 @ (b[13] * X6 + b[11] * X4 + b[9] * X2) + b[7] * X6 + b[5] * X4 + b[3] * X2 + b[1] * one)
    even = X6 @ (b[12] * X6 + b[10] * X4 + b[8] * X2) + b[6] * X6 + b[4] * X4 + b[2] * X2 + b[0] * one
    found = np.linalg.solve(even - odd, even + odd)
    for step in range(int(times.max(initial=0))):
        found = np.where((step < times)[..., None, None], found @ found, found)
    return found.astype(A.dtype)


def _exponential_vjp(g, out, input):
    # the derivative stands in the corner of the exponential of [[A^H, g], [0, A^H]]
    n = input.shape[-1]
    A = turned(input)
    top, low = ops.cat([A, g], -1), ops.cat([ops.zeros_like(A), A], -1)
    found = ops.matrix_exp(ops.cat([top, low], -2))
    return ops.slice(ops.slice(found, -2, 0, n, 1), -1, n, 2 * n, 1)


def _exponential_spec(input):
    if input.dtype.category < dtypes.FLOATING or input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise RuntimeError(
            f"linalg.matrix_exp: expected batches of square matrices of a floating type, but got {list(input.shape)} of {input.dtype}"
        )
    return Spec(input.shape, input.dtype, input.device)


@extern(spec=_exponential_spec, vjp=_exponential_vjp, saves="input")
def matrix_exp(input):
    """The exponential of square matrices, by scaling, Padé's approximation and squaring."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2] or input.dtype.kind in "biu":
        raise ValueError
    return _exponential(input)


@composite(method=False)
def linalg_matrix_exp(A):
    """`matrix_exp`."""
    return ops.matrix_exp(A)
