"""Bessel functions of orders 0 and 1 and Airy's Ai, in float64 inside: power series near 0, recurrences and integrals further out,
asymptotic expansions far away. Each is accurate to about 1e-13 of the function's size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eager.op import ops
from eager.ops.special import elementwise

_GAMMA = 0.5772156649015329
_NEAR, _FAR, _TERMS = 2.0, 30.0, 70


def _expansion(order: float, x: np.ndarray, count: int = 24) -> list[np.ndarray]:
    """The terms `a_k(order) / x**k` of Hankel's asymptotic expansions."""
    term = np.ones_like(x)
    found = [term]
    for k in range(1, count):
        term = term * ((4 * order * order - (2 * k - 1) ** 2) / (8 * k)) / x
        found.append(term)
    return found


def _alternating(terms: list[np.ndarray], start: int) -> np.ndarray:
    return sum(((-1) ** i * t for i, t in enumerate(terms[start::2])), np.zeros_like(terms[0]))


def _harmonic(n: int) -> float:
    return math.fsum(1 / k for k in range(1, n + 1))


def _near(order: int, x: np.ndarray, sign: float, weight: Any = lambda k: 1.0, count: int = 18) -> np.ndarray:
    """`sum(weight(k) * (sign * x**2 / 4)**k / (k! (k + order)!))`."""
    square = sign * x * x / 4
    total, power = np.zeros_like(x), np.ones_like(x)
    for k in range(count):
        total = total + weight(k) / (math.factorial(k) * math.factorial(k + order)) * power
        power = power * square
    return total


def _between(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """J0, J1 and Neumann's sums for Y0 and Y1, for 2 <= x <= 30: the recurrence from high orders down (Miller)."""
    later, now = np.zeros_like(x), np.full_like(x, 1e-150)
    norm, even, odd = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for n in range(80, 0, -1):
        half, sign = n // 2, -1.0 if (n // 2) % 2 else 1.0
        if n % 2 == 0:
            norm, even = norm + 2 * now, even + sign / half * now
        elif half:
            odd = odd + sign * n / (half * (half + 1)) * now
        later, now = now, 2 * n / x * now - later
    norm = norm + now
    return now / norm, later / norm, even / norm, odd / norm


def _first_kind(order: int, x: np.ndarray) -> np.ndarray:
    size = np.abs(x)
    near, middle, far = np.minimum(size, _NEAR), np.clip(size, _NEAR, _FAR), np.maximum(size, _FAR)
    small = (near / 2) ** order * _near(order, near, -1.0)
    result = np.where(size < _NEAR, small, _between(middle)[order])
    terms, phase = _expansion(order, far), far - (order / 2 + 0.25) * math.pi
    wave = np.sqrt(2 / (math.pi * far)) * (_alternating(terms, 0) * np.cos(phase) - _alternating(terms, 1) * np.sin(phase))
    result = np.where(size > _FAR, np.where(np.isinf(size), 0.0, wave), result)
    return np.where(np.isnan(x), x, np.where(x < 0, -result, result) if order else result)


def _second_kind(order: int, x: np.ndarray) -> np.ndarray:
    near, middle, far = np.clip(x, 1e-300, _NEAR), np.clip(x, _NEAR, _FAR), np.maximum(x, _FAR)
    log, first = np.log(near / 2), (near / 2) ** order * _near(order, near, -1.0)
    if order == 0:
        small = 2 / math.pi * ((log + _GAMMA) * first - _near(0, near, -1.0, _harmonic))
    else:
        digammas = lambda k: _harmonic(k) + _harmonic(k + 1) - 2 * _GAMMA
        small = (-2 / near + 2 * log * first - near / 2 * _near(1, near, -1.0, digammas)) / math.pi
    j0, j1, even, odd = _between(middle)
    log = np.log(middle / 2) + _GAMMA
    large = log * j0 - 2 * even if order == 0 else (log - 1) * j1 - j0 / middle - odd
    large = 2 / math.pi * large
    terms, phase = _expansion(order, far), far - (order / 2 + 0.25) * math.pi
    wave = np.sqrt(2 / (math.pi * far)) * (_alternating(terms, 0) * np.sin(phase) + _alternating(terms, 1) * np.cos(phase))
    result = np.where(x < _NEAR, small, np.where(x > _FAR, np.where(np.isinf(x), 0.0, wave), large))
    return np.where(x > 0, result, np.where(x == 0, -np.inf, np.nan))


def modified(order: int, x: np.ndarray) -> np.ndarray:
    """`exp(-|x|) I(x)`, the modified function of the first kind."""
    size = np.abs(x)
    near, far = np.minimum(size, _FAR), np.maximum(size, _FAR)
    small = np.exp(-near) * (near / 2) ** order * _near(order, near, 1.0, count=_TERMS)
    large = sum((-1) ** k * t for k, t in enumerate(_expansion(order, far))) / np.sqrt(2 * math.pi * far)
    result = np.where(size < _FAR, small, large)
    return np.where(np.isnan(x), x, np.where(x < 0, -result, result) if order else result)


def _integral(order: float, x: np.ndarray) -> np.ndarray:
    """`exp(x) K(x)` for x >= 2: the trapezoidal rule over `exp(-x (cosh t - 1)) cosh(order t)`, which decays doubly exponentially."""
    end, steps = np.arccosh(1 + 40 / x), 40
    total = np.full_like(x, 0.5)
    for k in range(1, steps + 1):
        t = end * (k / steps)
        total = total + np.exp(-2 * x * np.sinh(t / 2) ** 2) * np.cosh(order * t)
    return total * end / steps


def _modified_second(order: int, x: np.ndarray) -> np.ndarray:
    """`exp(x) K(x)`, the modified function of the second kind."""
    near, far = np.clip(x, 1e-300, _NEAR), np.clip(x, _NEAR, 1e300)
    log, first = np.log(near / 2), (near / 2) ** order * _near(order, near, 1.0)
    if order == 0:
        small = -(log + _GAMMA) * first + _near(0, near, 1.0, _harmonic)
    else:
        digammas = lambda k: _harmonic(k) + _harmonic(k + 1) - 2 * _GAMMA
        small = 1 / near + log * first - near / 4 * _near(1, near, 1.0, digammas)
    result = np.where(x < _NEAR, np.exp(near) * small, _integral(order, far))
    return np.where(x > 0, result, np.where(x == 0, np.inf, np.nan))


def _airy(x: np.ndarray) -> np.ndarray:
    near = np.clip(x, -8.0, 2.0)
    cube = near**3
    first, second = np.ones_like(x), near.copy()
    a, b = first, second
    for k in range(1, 60):
        first, second = first * cube / ((3 * k - 1) * 3 * k), second * cube / (3 * k * (3 * k + 1))
        a, b = a + first, b + second
    result = a * (3 ** (-2 / 3) / math.gamma(2 / 3)) - b * (3 ** (-1 / 3) / math.gamma(1 / 3))
    right = np.maximum(x, 2.0)
    zeta = 2 / 3 * right**1.5
    decaying = np.sqrt(right / 3) / math.pi * _integral(1 / 3, np.maximum(zeta, 1.8)) * np.exp(-zeta)
    left = np.maximum(-x, 8.0)
    zeta = 2 / 3 * left**1.5
    # |Ai(-x)| is the wave of the Bessel functions of orders 1/3 and -1/3, whose expansions agree
    terms, phase = _expansion(1 / 3, zeta), zeta - math.pi / 4
    wave = (_alternating(terms, 0) * np.cos(phase) - _alternating(terms, 1) * np.sin(phase)) / (math.sqrt(math.pi) * left**0.25)
    found = np.where(x > 2, np.where(np.isinf(x), 0.0, decaying), np.where(x < -8, wave, result))
    return np.where(np.isnan(x) | (x == -np.inf), np.nan, found)


_plain = lambda kernel, *given: lambda x: kernel(*given, x)
_grown = lambda order: lambda x: modified(order, x) * np.exp(np.abs(x))
_decayed = lambda order: lambda x: _modified_second(order, x) * np.exp(-x)


def _over(value: Any, x: Any, limit: float) -> Any:
    """`value / x`, at 0 its limit."""
    zero = x == 0
    return ops.where(zero, limit, value / ops.where(zero, ops.ones_like(x), x))


elementwise("bessel_j0", "The Bessel function of the first kind of order 0.", _plain(_first_kind, 0),
    lambda g, out, x: -g * ops.special_bessel_j1(x))  # fmt: skip
elementwise("bessel_j1", "The Bessel function of the first kind of order 1.", _plain(_first_kind, 1),
    lambda g, out, x: g * (ops.special_bessel_j0(x) - _over(out, x, 0.5)), "input out")  # fmt: skip
elementwise("bessel_y0", "The Bessel function of the second kind of order 0.", _plain(_second_kind, 0),
    lambda g, out, x: -g * ops.special_bessel_y1(x))  # fmt: skip
elementwise("bessel_y1", "The Bessel function of the second kind of order 1.", _plain(_second_kind, 1),
    lambda g, out, x: g * (ops.special_bessel_y0(x) - out / x), "input out")  # fmt: skip
elementwise("i0e", "The modified Bessel function `i0` times `exp(-|input|)`.", _plain(modified, 0),
    lambda g, out, x: g * (ops.special_i1e(x) - ops.sign(x) * out), "input out")  # fmt: skip
elementwise("i1", "The modified Bessel function of the first kind of order 1.", _grown(1),
    lambda g, out, x: g * (ops.i0(x) - _over(out, x, 0.5)), "input out")  # fmt: skip
elementwise("i1e", "The modified Bessel function `i1` times `exp(-|input|)`.", _plain(modified, 1),
    lambda g, out, x: g * (ops.special_i0e(x) - out * ops.sign(x) - _over(out, x, 0.5)), "input out")  # fmt: skip
elementwise("modified_bessel_i0", "The modified Bessel function of the first kind of order 0.", _grown(0),
    lambda g, out, x: g * ops.special_i1(x))  # fmt: skip
elementwise("modified_bessel_i1", "The modified Bessel function of the first kind of order 1.", _grown(1),
    lambda g, out, x: g * (ops.i0(x) - _over(out, x, 0.5)), "input out")  # fmt: skip
elementwise("modified_bessel_k0", "The modified Bessel function of the second kind of order 0.", _decayed(0),
    lambda g, out, x: -g * ops.special_modified_bessel_k1(x))  # fmt: skip
elementwise("modified_bessel_k1", "The modified Bessel function of the second kind of order 1.", _decayed(1),
    lambda g, out, x: -g * (ops.special_modified_bessel_k0(x) + out / x), "input out")  # fmt: skip
elementwise("scaled_modified_bessel_k0", "`modified_bessel_k0` times `exp(input)`.", _plain(_modified_second, 0),
    lambda g, out, x: g * (out - ops.special_scaled_modified_bessel_k1(x)), "input out")  # fmt: skip
elementwise("scaled_modified_bessel_k1", "`modified_bessel_k1` times `exp(input)`.", _plain(_modified_second, 1),
    lambda g, out, x: g * (out - ops.special_scaled_modified_bessel_k0(x) - out / x), "input out")  # fmt: skip
elementwise("airy_ai", "Airy's function Ai.", _airy)
