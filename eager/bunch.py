"""Bunch and Kaufman's factorization `A = L D L^T` of one symmetric or Hermitian matrix, in LAPACK's form (sytrf, lower)."""

from __future__ import annotations

from typing import Any

import numpy as np

_ALPHA = (1 + 17**0.5) / 8


def _size(values: np.ndarray) -> np.ndarray:
    return np.abs(values.real) + np.abs(values.imag)


def _pivot(a: np.ndarray, k: int) -> tuple[int, int, bool]:
    """The row to exchange, the size of the pivot block, and whether the column is zero."""
    n = len(a)
    here = _size(a[k, k])
    best: int = k
    top: Any = 0.0
    if k + 1 < n:
        best = k + 1 + int(np.argmax(_size(a[k + 1 :, k])))
        top = _size(a[best, k])
    if max(here, top) == 0:
        return k, 1, True
    if here >= _ALPHA * top:
        return k, 1, False
    row = _size(a[best, k:best]).max()
    if best + 1 < n:
        row = max(row, _size(a[best + 1 :, best]).max())
    if here >= _ALPHA * top * (top / row):
        return k, 1, False
    return best, 1 if _size(a[best, best]) >= _ALPHA * row else 2, False


def _exchange(a: np.ndarray, k: int, p: int, step: int, turn) -> None:
    """Exchange rows and columns `k + step - 1` and `p` of the lower triangle that is left."""
    q = k + step - 1
    if p == q:
        return
    a[p + 1 :, [q, p]] = a[p + 1 :, [p, q]]
    middle = turn(a[q + 1 : p, q].copy())
    a[q + 1 : p, q] = turn(a[p, q + 1 : p])
    a[p, q + 1 : p] = middle
    a[p, q] = turn(a[p, q])
    a[q, q], a[p, p] = a[p, p], a[q, q].copy()
    if step == 2:
        a[k + 1, k], a[p, k] = a[p, k], a[k + 1, k].copy()


def bunch_kaufman(a: np.ndarray, pivots: np.ndarray, info: np.ndarray, hermitian: bool) -> None:
    """Factorize the lower triangle of `a` in place; `info` becomes the place of the first zero of D, counted from 1."""
    n, k = len(a), 0
    turn = np.conj if hermitian else lambda x: x
    while k < n:
        p, step, zero = _pivot(a, k)
        if zero:
            info[...] = info if info.any() else k + 1
        else:
            _exchange(a, k, p, step, turn)
            if hermitian:
                for i in range(k, k + step):
                    a[i, i] = a[i, i].real
            rest = slice(k + step, n)
            block = a[k : k + step, k : k + step].copy()
            if step == 2:
                block[0, 1] = turn(block[1, 0])
            columns = a[rest, k : k + step].copy()
            scaled = np.linalg.solve(block.T, columns.T).T if n > k + step else columns
            a[rest, rest] -= np.tril(scaled @ turn(columns).T)
            a[rest, k : k + step] = scaled
        pivots[k : k + step] = p + 1 if step == 1 else -(p + 1)
        k += step


def bunch_kaufman_solve(a: np.ndarray, pivots: np.ndarray, x: np.ndarray, hermitian: bool) -> None:
    """Solve `A X = B` in place from the factors; `x` holds B."""
    n = len(a)
    turn = np.conj if hermitian else lambda y: y
    blocks, k = [], 0
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        blocks.append((k, step, abs(int(pivots[k])) - 1))
        k += step
    for k, step, p in blocks:
        q = k + step - 1
        x[[q, p]] = x[[p, q]]
        x[k + step :] -= a[k + step :, k : k + step] @ x[k : k + step]
        block = a[k : k + step, k : k + step].copy()
        if step == 2:
            block[0, 1] = turn(block[1, 0])
        x[k : k + step] = np.linalg.solve(block, x[k : k + step])
    for k, step, p in reversed(blocks):
        q = k + step - 1
        x[k : k + step] -= turn(a[k + step :, k : k + step]).T @ x[k + step :]
        x[[q, p]] = x[[p, q]]
