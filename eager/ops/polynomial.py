"""Orthogonal polynomials of a degree that is itself a tensor, by their three-term recurrences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eager import dtype as dtypes
from eager.op import extern
from eager.ops.special import binary_spec, both


def _recurrence(first: Callable, step: Callable) -> Callable:
    """A kernel: p(0) = 1, p(1) = first(x), p(k + 1) = step(k, x, p(k), p(k - 1)); 0 for negative degrees."""

    def run(x: np.ndarray, n: np.ndarray) -> np.ndarray:
        x, n = np.broadcast_arrays(x, np.trunc(n))
        before, now = np.ones_like(x), first(x)
        result = np.where(n == 0, before, np.where(n < 0, 0.0, now))
        for k in range(1, int(np.max(n, initial=0))):
            before, now = now, step(k, x, now, before)
            result = np.where(n == k + 1, now, result)
        return np.where(np.isnan(n), n, result)

    return run


def _polynomial(name: str, doc: str, first: Callable, step: Callable) -> None:
    kernel = _recurrence(first, step)

    def function(input, n):
        found = np.result_type(*[a.dtype for a in (input, n) if isinstance(a, np.ndarray)])
        if found.kind in "iub":
            found = dtypes.get_default_dtype().numpy
        return kernel(*both(input, n)).astype(found)

    function.__name__, function.__doc__, function.__module__ = f"special_{name}", doc, __name__
    extern(function, spec=binary_spec, method=False)


def _chebyshev(k, x, now, before):
    return 2 * x * now - before


_KINDS = {
    "t": ("first", lambda x: x),
    "u": ("second", lambda x: 2 * x),
    "v": ("third", lambda x: 2 * x - 1),
    "w": ("fourth", lambda x: 2 * x + 1),
}
for _letter, (_kind, _first) in _KINDS.items():
    _polynomial(f"chebyshev_polynomial_{_letter}", f"The Chebyshev polynomial of the {_kind} kind of degree n.", _first, _chebyshev)
    _polynomial(
        f"shifted_chebyshev_polynomial_{_letter}",
        f"The Chebyshev polynomial of the {_kind} kind of degree n at `2 * input - 1`.",
        lambda x, first=_first: first(2 * x - 1),
        lambda k, x, now, before: _chebyshev(k, 2 * x - 1, now, before),
    )
_polynomial("hermite_polynomial_h", "The physicists' Hermite polynomial of degree n.",
    lambda x: 2 * x, lambda k, x, now, before: 2 * (x * now - k * before))  # fmt: skip
_polynomial("hermite_polynomial_he", "The probabilists' Hermite polynomial of degree n.",
    lambda x: x, lambda k, x, now, before: x * now - k * before)  # fmt: skip
_polynomial("laguerre_polynomial_l", "The Laguerre polynomial of degree n.",
    lambda x: 1 - x, lambda k, x, now, before: ((2 * k + 1 - x) * now - k * before) / (k + 1))  # fmt: skip
_polynomial("legendre_polynomial_p", "The Legendre polynomial of degree n.",
    lambda x: x, lambda k, x, now, before: ((2 * k + 1) * x * now - k * before) / (k + 1))  # fmt: skip
