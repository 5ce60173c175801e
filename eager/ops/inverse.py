"""What solves systems: inverses, determinants, solutions, least squares, pseudo-inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.fake import DataDependent
from eager.lapack import (
    LinAlgError,
    conjugate,
    each,
    is_vector,
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
from eager.shape import broadcast_shapes, normalize_dim, numel
from eager.spec import Spec

_INFO = np.int32


def _zero_pivot(A: np.ndarray) -> int:
    """The place, counted from 1, of the first zero on the diagonal of U in A = P L U; 0 if there is none."""
    A = A.copy()
    for k in range(len(A)):
        best = k + int(np.argmax(np.abs(A[k:, k])))
        if A[best, k] == 0:
            return k + 1
        A[[k, best]] = A[[best, k]]
        A[k + 1 :, k:] -= np.outer(A[k + 1 :, k] / A[k, k], A[k, k:])
    return 0


def _singular(A: np.ndarray) -> np.ndarray:
    info = np.zeros(A.shape[:-2], _INFO)
    for place in np.ndindex(*info.shape):
        info[place] = _zero_pivot(A[place])
    return info


_SINGULAR = "The diagonal element {} is zero, the inversion could not be completed because the input matrix is singular."
_UNSOLVABLE = "The solver failed because the input matrix is singular."
_InvEx, _SolveEx = named("linalg_inv_ex", "inverse info"), named("linalg_solve_ex", "result info")


def _info_spec(name: str, A: Any) -> tuple:
    shape = square(name, A)
    return Spec(shape, A.dtype, A.device), Spec(shape[:-2], dtypes.int32, A.device)


@extern(
    spec=lambda A, check_errors: _info_spec("inv", A),
    vjp=lambda g, out, A, check_errors: None if g[0] is None else -ops.matmul(turned(out[0]), ops.matmul(g[0], turned(out[0]))),
    saves="out0",
    method=False,
    front=naming(_InvEx),
)
def linalg_inv_ex(A, *, check_errors=False):
    """The inverse of square matrices and where each is singular (0: nowhere)."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ValueError("not square")
    try:
        return lapack("inv", np.linalg.inv, A), np.zeros(A.shape[:-2], _INFO)
    except LinAlgError:
        info = _singular(A)
        if check_errors:
            refuse("inv", info, _SINGULAR)
    found = np.full(A.shape, np.nan, A.dtype)
    each(lambda a, out, bad: None if bad else np.copyto(out, np.linalg.inv(a)), A, found, info)
    return found, info


@composite(method=False)
def linalg_inv(A):
    """The inverse of square matrices. Raises LinAlgError for singular ones."""
    return ops.linalg_inv_ex(A, check_errors=True)[0]


@composite
def inverse(input):
    """`linalg.inv`."""
    return ops.linalg_inv(input)


# -- determinants ----------------------------------------------------------------------------------


def _scaled(factor: Any, matrices: Any) -> Any:
    """Each matrix of a batch times its number."""
    return ops.unsqueeze(ops.unsqueeze(factor, -1), -1) * matrices


def _adjugate_vjp(g, out, A):
    # of det(A) * inv(A): singular matrices have a first derivative of the determinant, no second one here
    back = turned(ops.linalg_inv(A))
    along = ops.sum(g * conjugate(out), (-2, -1))
    return _scaled(along, back) - _scaled(conjugate(ops.linalg_det(A)), ops.matmul(back, ops.matmul(g, back)))


@extern(spec=lambda A: Spec(square("det", A), A.dtype, A.device), vjp=_adjugate_vjp, saves="A out", method=False)
def adjugate(A):
    """The transposed cofactors of square matrices: the determinant times the inverse, for singular matrices too."""
    if not A.size:
        return A.copy()
    U, S, Vh = lapack("det", np.linalg.svd, A)
    others = np.stack([np.prod(np.delete(S, i, -1), -1) for i in range(A.shape[-1])], -1)
    sign = np.linalg.det(U) * np.linalg.det(Vh)
    back = np.swapaxes(Vh, -2, -1).conj() * others[..., None, :] @ np.swapaxes(U, -2, -1).conj()
    return (back * sign[..., None, None]).astype(A.dtype)


@extern(
    spec=lambda A: Spec(square("det", A)[:-2], A.dtype, A.device),
    vjp=lambda g, out, A: _scaled(g, turned(ops.adjugate(A))),
    saves="A",
    method=False,
)
def linalg_det(A):
    """The determinant of square matrices."""
    return np.asarray(lapack("det", np.linalg.det, A), A.dtype)


@composite
def det(input):
    """`linalg.det`."""
    return ops.linalg_det(input)


def _slogdet_spec(A):
    shape = square("slogdet", A)[:-2]
    return Spec(shape, A.dtype, A.device), Spec(shape, A.dtype.to_real(), A.device)


def _slogdet_vjp(g, out, A):
    factor = g[1]
    if A.dtype.is_complex:
        along = ops.zeros_like(out[1]) if g[0] is None else -ops.imag(ops.conj(g[0]) * out[0])
        factor = ops.complex(ops.zeros_like(along) if g[1] is None else g[1], along)
    return None if factor is None else _scaled(factor, turned(ops.linalg_inv(A)))


_Slogdet = named("slogdet", "sign logabsdet")


@extern(spec=_slogdet_spec, saves="A out0", method=False, front=naming(_Slogdet), vjp=_slogdet_vjp)
def linalg_slogdet(A):
    """The sign and the logarithm of the absolute value of the determinant."""
    sign, log = lapack("slogdet", np.linalg.slogdet, A)
    return np.asarray(sign, A.dtype), np.asarray(log, A.real.dtype)


@composite
def slogdet(input):
    """`linalg.slogdet`."""
    return ops.linalg_slogdet(input)


@composite
def logdet(input):
    """The logarithm of the determinant; NaN where it is negative."""
    sign, log = ops.linalg_slogdet(input)
    if input.is_complex():
        return log + ops.log(sign)
    return ops.where(sign < 0, float("nan"), log)


# -- solutions -------------------------------------------------------------------------------------


def _solve_spec(A, B, left=True, check_errors=False):
    shape = square("solve", A)
    found = same_type("linalg.solve", A, B)
    info = Spec(shape[:-2], dtypes.int32, A.device)
    vector = left and is_vector(A, B)
    if B.ndim == 0 or B.shape[-1 if vector or not left else -2] != shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({list(shape)} and {list(B.shape)})"
        )
    tail = 1 if vector else 2
    batch = broadcast_shapes(shape[:-2], B.shape[:-tail])
    return Spec((*batch, *B.shape[len(B.shape) - tail :]), found, A.device), info


def _solve_vjp(g, out, needs, A, B, left, check_errors):
    if g[0] is None:
        return None, None
    back = ops.linalg_solve(turned(A), g[0], left=left)
    if not needs[0]:
        return None, back
    if left and is_vector(A, B):
        return -ops.matmul(ops.unsqueeze(back, -1), conjugate(ops.unsqueeze(out[0], -2))), back
    return -(ops.matmul(back, turned(out[0])) if left else ops.matmul(turned(out[0]), back)), back


def _turn(array: np.ndarray) -> np.ndarray:
    return np.swapaxes(array, -2, -1)


@extern(spec=_solve_spec, vjp=_solve_vjp, joint=True, saves="A out0", method=False, front=naming(_SolveEx))
def linalg_solve_ex(A, B, *, left=True, check_errors=False):
    """The solution X of `A X = B` (or `X A = B`) and where each A is singular (0: nowhere)."""
    if A.dtype != B.dtype:
        raise ValueError
    vector = left and is_vector(A, B)
    first, second = (A, B[..., None] if vector else B) if left else (_turn(A), _turn(B))
    info = np.zeros(A.shape[:-2], _INFO)
    try:
        found = lapack("solve", np.linalg.solve, first, second)
    except LinAlgError:
        info = _singular(A)
        if check_errors:
            refuse("solve", info, _UNSOLVABLE)
        batch = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
        first, second = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (first, second))
        bad = np.broadcast_to(info, batch)
        found = np.full((*batch, *second.shape[-2:]), np.nan, A.dtype)
        each(lambda a, b, out, no: None if no else np.copyto(out, np.linalg.solve(a, b)), first, second, found, bad)
    return np.ascontiguousarray(found[..., 0] if vector else found if left else _turn(found)), info


@composite(method=False)
def linalg_solve(A, B, *, left=True):
    """The solution X of `A X = B` (or `X A = B`). Raises LinAlgError if A is singular."""
    return ops.linalg_solve_ex(A, B, left=left, check_errors=True)[0]


@composite(method=False)
def linalg_tensorsolve(A, B, dims=None):
    """The solution X of `tensordot(A, X, X.ndim) = B`; `dims` of A are moved to its end before."""
    if dims is not None:
        moved = [normalize_dim(d, A.ndim) for d in dims]
        A = ops.movedim(A, tuple(moved), tuple(range(A.ndim - len(moved), A.ndim)))
    inner = tuple(A.shape[B.ndim :])
    if numel(inner) != numel(A.shape[: B.ndim]):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but got "
            f"{numel(inner)} != {numel(A.shape[: B.ndim])}"
        )
    found = ops.linalg_solve(ops.reshape(A, (numel(inner), numel(inner))), ops.reshape(B, (-1,)))
    return ops.reshape(found, inner)


@composite(method=False)
def linalg_tensorinv(A, ind=2):
    """The inverse of A as a map of its last dimensions to its first `ind`."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    outer, inner = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if numel(outer) != numel(inner):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{numel(inner)} != {numel(outer)}"
        )
    return ops.reshape(ops.linalg_inv(ops.reshape(A, (numel(outer), numel(inner)))), (*inner, *outer))


# -- pseudo-inverses and least squares -------------------------------------------------------------


def _cut(values: np.ndarray, atol: Any, rtol: Any, size: int) -> np.ndarray:
    """The bound under which singular values count as zeros, by torch's defaults."""
    if rtol is None:
        rtol = 0.0 if atol is not None and np.any(np.asarray(atol) > 0) else size * np.finfo(values.dtype).eps
    top = np.max(values, -1, initial=0.0)
    return np.maximum(0.0 if atol is None else atol, np.asarray(rtol) * top)[..., None]


def _spectrum(name: str, A: np.ndarray, hermitian: bool) -> tuple:
    if hermitian:
        values, U = lapack(name, np.linalg.eigh, A)
        return U, np.abs(values), np.swapaxes(U * np.where(values < 0, -1, 1)[..., None, :].astype(A.dtype), -2, -1).conj()
    return tuple(lapack(name, lambda a: np.linalg.svd(a, False), A))


def _pinv_spec(A, atol, rtol, hermitian):
    shape = square("pinv", A) if hermitian else matrix("pinv", A)
    return Spec((*shape[:-2], shape[-1], shape[-2]), A.dtype, A.device)


def pinv_gradient(g: Any, out: Any, A: Any) -> Any:
    """The gradient by A of its pseudo-inverse `out`, by Golub and Pereyra's formula (A's rank does not change nearby)."""
    gh, back = turned(g), turned(out)
    if A.shape[-2] <= A.shape[-1]:
        K = ops.matmul(gh, out)
        right = ops.matmul(K, back)
        rest = ops.matmul(ops.matmul(back, out), gh - ops.matmul(K, A))
        return right - ops.matmul(ops.matmul(A, out), right) + rest - turned(ops.matmul(out, K))
    K = ops.matmul(out, gh)
    left = ops.matmul(back, K)
    rest = ops.matmul(ops.matmul(gh - ops.matmul(A, K), out), back)
    return left - ops.matmul(ops.matmul(left, out), A) + rest - turned(ops.matmul(K, out))


@extern(
    spec=_pinv_spec,
    vjp=(lambda g, out, A, atol, rtol, hermitian: pinv_gradient(g, out, A), None, None, None),
    saves="A out",
    method=False,
)
def pseudo_inverse(A, atol, rtol, hermitian):
    """The Moore-Penrose inverse; singular values up to max(atol, rtol * the largest) count as zeros."""
    if A.ndim < 2:
        raise ValueError
    if not A.size:
        return np.zeros((*A.shape[:-2], A.shape[-1], A.shape[-2]), A.dtype)
    U, S, Vh = _spectrum("pinv", A, hermitian)
    keep = S > _cut(S, atol, rtol, max(A.shape[-2:]))
    inverted = np.where(keep, 1 / np.where(keep, S, 1), 0).astype(A.dtype)
    return np.ascontiguousarray(_turn(Vh).conj() @ (inverted[..., None] * _turn(U).conj()))


@composite(method=False)
def linalg_pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The Moore-Penrose inverse: singular values up to max(atol, rtol * the largest) count as zeros."""
    return ops.pseudo_inverse(A, atol, rcond if rtol is None else rtol, hermitian)


@composite
def pinverse(input, rcond=1e-15):
    """`linalg.pinv`."""
    return ops.linalg_pinv(input, rcond)


def _rank_spec(A, tol, hermitian, atol, rtol):
    return Spec((square if hermitian else matrix)("matrix_rank", A)[:-2], dtypes.int64, A.device)


@extern(spec=_rank_spec, method=False)
def linalg_matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None):
    """The number of singular values above max(atol, rtol * the largest)."""
    if A.ndim < 2:
        raise ValueError
    if not A.size:
        return np.zeros(A.shape[:-2], np.int64)
    if tol is not None:
        atol, rtol = tol, 0.0
    if hermitian:
        S = np.abs(lapack("matrix_rank", np.linalg.eigvalsh, A))
    else:
        S = lapack("matrix_rank", lambda a: np.linalg.svd(a, compute_uv=False), A)
    return np.asarray((S > _cut(S, atol, rtol, max(A.shape[-2:]))).sum(-1))


_Lstsq = named("linalg_lstsq", "solution residuals rank singular_values")
_DRIVERS = (None, "gels", "gelsy", "gelsd", "gelss")
_RANKED = ("gelsd", "gelss")  # the drivers with singular values, and residuals where the rank is full


def _lstsq_shapes(A: Any, B: Any, driver: str | None) -> tuple:
    """The batch and the number of right-hand sides. Raises RuntimeError with PyTorch's words."""
    if driver not in _DRIVERS:
        raise RuntimeError(f"torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss) but got {driver}")
    if A.ndim < 2:
        raise RuntimeError("torch.linalg.lstsq: input must have at least 2 dimensions.")
    if B.ndim < 1:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    vector = is_vector(A, B)
    if not vector and (A.ndim - B.ndim not in (0, 1) and B.ndim < 2):
        raise RuntimeError("torch.linalg.lstsq: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1")
    if B.shape[-1 if vector else -2] != A.shape[-2]:
        raise RuntimeError(f"torch.linalg.lstsq: input.size(-2) should match other.size({-1 if vector else -2})")
    batch = broadcast_shapes(A.shape[:-2], B.shape[: -1 if vector else -2])
    return batch, vector, 1 if vector else B.shape[-1]


def _lstsq_spec(A, B, rcond, driver):
    batch, vector, count = _lstsq_shapes(A, B, driver)
    found = same_type("torch.linalg.lstsq", A, B)
    matrix("lstsq", A)
    n, m = A.shape[-2:]
    if n > m and driver in _RANKED:
        raise DataDependent(f"the residuals of linalg.lstsq(driver={driver!r}) depend on values")
    tail = () if vector else (count,)
    ranks = A.shape[:-2] if driver != "gels" else (0,)
    values = (*A.shape[:-2], min(n, m)) if driver in _RANKED else (0,)
    return (
        Spec((*batch, m, *tail), found, A.device),
        Spec((*batch, *tail) if n > m and driver == "gels" else (0,), found.to_real(), A.device),
        Spec(ranks, dtypes.int64, A.device),
        Spec(values, found.to_real(), A.device),
    )


def _lstsq_vjp(g, out, needs, A, B, rcond, driver):
    vector = is_vector(A, B)
    back = ops.linalg_pinv(A, rcond)
    right = ops.unsqueeze(B, -1) if vector else B
    total_A: Any = None
    total_B: Any = None
    if g[0] is not None:
        gX = ops.unsqueeze(g[0], -1) if vector else g[0]
        total_B = ops.matmul(turned(back), gX)
        if needs[0]:
            total_A = pinv_gradient(ops.matmul(gX, turned(right)), back, A)
    if g[1] is not None and g[1].shape != (0,):
        # the squared length of R = B - A X, whose derivative by X vanishes
        rest = right - ops.matmul(A, ops.matmul(back, right))
        slope = ops.unsqueeze(ops.unsqueeze(g[1], -1) if vector else g[1], -2) * rest * 2
        total_B = slope if total_B is None else total_B + slope
        if needs[0]:
            part = -ops.matmul(slope, turned(ops.matmul(back, right)))
            total_A = part if total_A is None else total_A + part
    return total_A, ops.squeeze(total_B, -1) if vector and total_B is not None else total_B


def _lstsq_front(call, A, B, rcond=None, driver=None):
    *found, values = call(A, B, rcond, driver=driver)
    return _Lstsq(*found, ops.detach(values))  # they have no derivative here


@extern(spec=_lstsq_spec, method=False, vjp=_lstsq_vjp, joint=True, saves="A B", front=_lstsq_front)
def linalg_lstsq(A, B, rcond=None, *, driver=None):
    """The least squares solutions of `A X = B`, the squares of their residuals where A has more rows than columns and full rank,
    the rank of A and its singular values (empty where the driver does not compute them)."""
    batch, vector, count = _lstsq_shapes(A, B, driver)
    if A.dtype != B.dtype:
        raise ValueError
    n, m = A.shape[-2:]
    right = np.broadcast_to(B[..., None] if vector else B, (*batch, n, count))
    real = A.real.dtype
    if not A.size:
        U, S, Vh = np.zeros((*A.shape[:-2], n, 0)), np.zeros((*A.shape[:-2], 0), real), np.zeros((*A.shape[:-2], 0, m))
    else:
        U, S, Vh = lapack("lstsq", lambda a: np.linalg.svd(a, False), A)
    keep = S > _cut(S, None, rcond, max(n, m))
    ranks = keep.sum(-1)
    inverted = np.where(keep, 1 / np.where(keep, S, 1), 0).astype(A.dtype)
    found = (_turn(Vh).conj() @ (inverted[..., None] * (_turn(U).conj() @ right))).astype(A.dtype)
    residuals = np.zeros((0,), real)
    if n > m and (driver == "gels" or driver in _RANKED and np.all(ranks == m)):
        rest = right - A @ found
        residuals = (rest.real**2 + rest.imag**2).sum(-2).astype(real)
        residuals = residuals[..., 0] if vector else residuals
    return (
        np.ascontiguousarray(found[..., 0] if vector else found),
        residuals,
        np.zeros((0,), np.int64) if driver == "gels" else np.asarray(ranks, np.int64),
        S if driver in _RANKED else np.zeros((0,), real),
    )
