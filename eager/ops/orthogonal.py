"""Orthogonal matrices: QR, and products of Householder's reflections."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager.lapack import lapack, matrix, naming, same_type, turned
from eager.op import composite, extern, ops
from eager.results import named
from eager.spec import Spec

_QR, _Raw = named("linalg_qr", "Q R"), named("geqrf", "a tau")
_OldQR = named("qr", "Q R")


def _check_mode(mode: str) -> None:
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'")


def _qr_spec(A, mode):
    _check_mode(mode)
    *batch, n, m = matrix("qr", A)
    k = min(n, m)
    like = lambda *shape: Spec(shape, A.dtype, A.device)  # noqa: E731
    if mode == "complete":
        return like(*batch, n, n), like(*batch, n, m)
    return like(0) if mode == "r" else like(*batch, n, k), like(*batch, k, m)


def _symmetric(x: Any) -> Any:
    """The Hermitian matrix of an upper triangle, real on the diagonal."""
    upper = ops.triu(x, 1)
    middle = ops.diagonal(x, 0, -2, -1)
    middle = ops.complex(ops.real(middle), ops.zeros_like(ops.real(middle))) if x.is_complex() else middle
    return upper + turned(upper) + ops.diag_embed(middle)


def _square_vjp(gQ: Any, gR: Any, Q: Any, R: Any) -> Any:
    """The gradient by A of A = Q R where R is square."""
    total = None
    if gR is not None:
        total = ops.matmul(gR, turned(R))
    if gQ is not None:
        part = ops.matmul(turned(Q), gQ)
        total = -part if total is None else total - part
    found = ops.matmul(Q, _symmetric(total))
    if gQ is not None:
        found = found + gQ
    return ops.linalg_solve_triangular(turned(R), found, upper=False, left=False)


def _qr_vjp(g, out, A, mode):
    (gQ, gR), (Q, R) = g, out
    n, m = A.shape[-2:]
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use linalg.qr(A, mode='reduced')"
        )
    if mode == "complete" and n > m:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    if n >= m:
        return _square_vjp(gQ, gR, Q, R)
    # A = [X | Y] = [Q U | Q V]: V = Q^H Y
    U, V = ops.slice(R, -1, 0, n, 1), ops.slice(R, -1, n, m, 1)
    if gR is None:
        gY = ops.zeros_like(V)
        return ops.cat([_square_vjp(gQ, None, Q, U), gY], -1)
    gU, gV = ops.slice(gR, -1, 0, n, 1), ops.slice(gR, -1, n, m, 1)
    through = ops.matmul(ops.matmul(Q, V), turned(gV))
    gX = _square_vjp(through if gQ is None else gQ + through, gU, Q, U)
    return ops.cat([gX, ops.matmul(Q, gV)], -1)


@extern(spec=_qr_spec, vjp=_qr_vjp, saves="out", method=False, front=naming(_QR))
def linalg_qr(A, mode="reduced"):
    """Orthogonal Q and triangular R with `A = Q R`; mode is "reduced", "complete" or "r" (no Q)."""
    if A.ndim < 2 or mode not in ("reduced", "complete", "r"):
        raise ValueError
    found = lapack("qr", lambda a: np.linalg.qr(a, mode), A)
    return (np.zeros(0, A.dtype), np.triu(found)) if mode == "r" else tuple(found)


@composite
def qr(input, some=True):
    """`linalg.qr` under its older name."""
    return _OldQR(*ops.linalg_qr(input, "reduced" if some else "complete"))


def _raw_spec(input):
    *batch, n, m = matrix("geqrf", input)
    return Spec(input.shape, input.dtype, input.device), Spec((*batch, min(n, m)), input.dtype, input.device)


@extern(spec=_raw_spec, front=naming(_Raw))
def geqrf(input):
    """R on and above the diagonal, the reflections whose product is Q below it, and the reflections' factors."""
    if input.ndim < 2:
        raise ValueError
    if not input.size:
        return input.copy(), np.zeros((*input.shape[:-2], min(input.shape[-2:])), input.dtype)
    found, tau = lapack("geqrf", lambda a: np.linalg.qr(a, "raw"), input)
    return np.ascontiguousarray(np.swapaxes(found, -2, -1)), tau


def _reflection(input: Any, i: Any) -> Any:
    """The i-th reflection's vector as columns: zeros, a one, and what lies below the diagonal."""
    n = input.shape[-2]
    below = ops.slice(input, -2, i + 1, n, 1)
    below = ops.slice(below, -1, i, i + 1, 1)
    head = ops.zeros((*input.shape[:-2], i, 1), dtype=input.dtype)
    one = ops.ones((*input.shape[:-2], 1, 1), dtype=input.dtype)
    return ops.cat([head, one, below], -2)


def _factor(tau: Any, i: Any) -> Any:
    return ops.unsqueeze(ops.slice(tau, -1, i, i + 1, 1), -1)


def _check_reflections(name: str, input: Any, tau: Any) -> None:
    if input.ndim < 2:
        raise RuntimeError(f"torch.linalg.{name}: input must have at least 2 dimensions.")
    if input.shape[-2] < input.shape[-1] and name == "householder_product":
        raise RuntimeError(f"torch.linalg.{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if input.shape[-1] < tau.shape[-1]:
        raise RuntimeError(f"torch.linalg.{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if input.ndim - tau.ndim != 1 or tuple(input.shape[:-2]) != tuple(tau.shape[:-1]):
        raise RuntimeError(
            f"torch.linalg.{name}: Expected tau to have one dimension less than input and the same batch, but got tau of shape "
            f"{list(tau.shape)} and input of shape {list(input.shape)}"
        )
    same_type(f"torch.linalg.{name}", tau, input)


@composite(method=False)
def linalg_householder_product(A, tau):
    """The first columns of the product of reflections that `geqrf` gives."""
    _check_reflections("householder_product", A, tau)
    n, m = A.shape[-2:]
    found = ops.copy(A, ops.eye(n, m, dtype=A.dtype))
    for i in reversed(range(tau.shape[-1])):
        v = _reflection(A, i)
        found = found - _factor(tau, i) * ops.matmul(v, ops.matmul(turned(v), found))
    return found


@composite
def orgqr(input, input2):
    """`linalg.householder_product` under its older name."""
    return ops.linalg_householder_product(input, input2)


@composite
def ormqr(input, tau, other, left=True, transpose=False):
    """A matrix multiplied with the product of reflections that `geqrf` gives, or with its conjugate transpose."""
    _check_reflections("ormqr", input, tau)
    n = input.shape[-2]
    if other.ndim < 2 or other.shape[-2 if left else -1] != n:
        raise RuntimeError(
            f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2], but got {list(other.shape)} and {list(input.shape)}"
        )
    if tuple(other.shape[:-2]) != tuple(input.shape[:-2]):
        raise RuntimeError(f"torch.ormqr: batch dimensions of other should be equal to input's, but got {list(other.shape)}")
    same_type("torch.ormqr", input, other)
    found = other
    order = range(tau.shape[-1])
    for i in reversed(order) if left != transpose else order:
        v, factor = _reflection(input, i), _factor(tau, i)
        factor = ops.conj(factor) if transpose and factor.is_complex() else factor
        if left:
            found = found - factor * ops.matmul(v, ops.matmul(turned(v), found))
        else:
            found = found - factor * ops.matmul(ops.matmul(found, v), turned(v))
    return ops.clone(found) if found is other else found
