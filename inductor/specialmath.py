"""Scalar functions that are rarely used: special functions, exact remainders, integer division that
cannot trap.

Written for correctness; most are too long to vectorise. `FUNCTIONS` extends that of vectormath.py:
generated code finds `name_dtype` or, for functions of any type, `name`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inductor import vectormath
from inductor.codegen.words import (
    absolute,
    bits,
    float32,
    float64,
    from_bits,
    int32,
    int64,
    round_down,
    round_to_zero,
    select,
    square_root,
    with_sign,
)
from inductor.trigonometry import sin_float64, tan_float64
from inductor.vectormath import exp_float64, log1p_float64, log_float64

FUNCTIONS: dict[str, Any] = {}
NAN, INF = np.float64(np.nan), np.float64(np.inf)


def scalar(function):
    """Enter into FUNCTIONS."""
    FUNCTIONS[function.__name__] = function
    return function


def _through_float64(name: str, count: int = 1) -> None:
    """The float32 form of a float64 function."""
    wide = FUNCTIONS[f"{name}_float64"]
    if count == 1:

        def function(x):
            return float32(wide(float64(x)))
    else:

        def function(x, y):  # type: ignore[misc]
            return float32(wide(float64(x), float64(y)))

    function.__name__ = f"{name}_float32"
    scalar(function)


@scalar
def asinh_float64(x):
    size = absolute(x)
    square = size * size
    near = log1p_float64(size + square / (1.0 + square_root(square + 1.0)))
    far = log_float64(size) + 0.6931471805599453
    return select((x != x) | (x == 0.0), x, with_sign(select(size > 1e8, far, near), x))


@scalar
def acosh_float64(x):
    t = x - 1.0
    near = log1p_float64(t + square_root(2.0 * t + t * t))
    return select(x < 1.0, NAN, select(x > 1e8, log_float64(x) + 0.6931471805599453, near))


@scalar
def atanh_float64(x):
    size = absolute(x)
    value = 0.5 * log1p_float64(2.0 * size / (1.0 - size))
    value = select(size == 1.0, INF, select(size > 1.0, NAN, value))
    return select((x != x) | (x == 0.0), x, with_sign(value, x))


# W. J. Cody, "Rational Chebyshev approximation for the error function", 1969
CODY_C = (
    5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1, 2.98635138197400131e2,
    8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
)
CODY_D = (
    1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
    3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
)
CODY_P = (3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1, 1.60837851487422766e-2)
CODY_Q = (2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2)


@scalar
def erfc_positive(y):
    if y <= 4.0:
        top, below = 2.15311535474403846e-8 * y, y
        for k in range(7):
            top = (top + CODY_C[k]) * y
            below = (below + CODY_D[k]) * y
        value = (top + 1.23033935479799725e3) / (below + 1.23033935480374942e3)
    else:
        square = 1.0 / (y * y)
        top, below = 1.63153871373020978e-2 * square, square
        for k in range(4):
            top = (top + CODY_P[k]) * square
            below = (below + CODY_Q[k]) * square
        far = square * (top + 6.58749161529837803e-4) / (below + 2.33520497626869185e-3)
        value = (0.56418958354775628695 - far) / y
    split = round_to_zero(y * 16.0) / 16.0
    return value * exp_float64(-split * split) * exp_float64(-(y - split) * (y + split))


erf_float64 = vectormath.FUNCTIONS["erf_float64"]


@scalar
def erfc_float64(x):
    if x != x:
        return x
    if absolute(x) < 0.5:
        return 1.0 - erf_float64(x)
    if x < 0.0:
        return 2.0 - erfc_positive(min(-x, 30.0))
    return erfc_positive(min(x, 30.0))


GILES_NEAR = (
    3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)
GILES_FAR = (
    0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)


@scalar
def erfinv_float64(x):
    # M. Giles' approximation, then two Newton steps
    size = absolute(x)
    if size > 1.0 or x != x:
        return NAN
    if size == 1.0:
        return with_sign(INF, x)
    w = -log1p_float64(-x * x)
    if w < 5.0:
        t, p = w - 2.5, 2.81022636e-08
        for k in range(8):
            p = p * t + GILES_NEAR[k]
    else:
        t, p = square_root(w) - 3.0, -0.000200214257
        for k in range(8):
            p = p * t + GILES_FAR[k]
    y = p * size
    for _ in range(2):
        if size < 0.5:
            error = erf_float64(y) - size
        else:
            error = (1.0 - size) - erfc_float64(y)
        y -= error / (1.1283791670955126 * exp_float64(-y * y))
    return with_sign(y, x)


@scalar
def lgamma_float64(x):
    if x != x:
        return x
    if x == INF or x == -INF or (x <= 0.0 and x == round_down(x)):
        return INF
    if x < 0.5:
        turned = absolute(sin_float64(math.pi * (x - round_down(x))))
        return math.log(math.pi) - log_float64(turned) - lgamma_positive(1.0 - x)
    return lgamma_positive(x)


@scalar
def lgamma_positive(x):
    # recurrence up to 10, then Stirling's series; near 1 and 2 the product is exact enough to keep
    # the zeros
    product = 1.0
    while x < 10.0:
        product *= x
        x += 1.0
    z = 1.0 / (x * x)
    series = (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - z * (1 / 1188 - z * 691 / 360360))))) / x
    return (x - 0.5) * log_float64(x) - x + 0.9189385332046727 + series - log_float64(product)


@scalar
def digamma_float64(x):
    if x == 0.0:
        return with_sign(INF, -x)
    extra = 0.0
    if x < 0.0:
        fraction = x - round_down(x)
        if fraction == 0.0:
            return NAN
        extra = -math.pi / tan_float64(math.pi * fraction)
        x = 1.0 - x
    total = 0.0
    while x < 8.0:
        total -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132)))))
    return total + log_float64(x) - 0.5 / x - series + extra


@scalar
def i0_float64(x):
    size = absolute(x)
    if size < 15.0:
        # the power series; all terms are positive
        term, total, k = 1.0, 1.0, 1.0
        while term > total * 1e-17:
            term *= (0.5 * size / k) * (0.5 * size / k)
            total += term
            k += 1.0
        return total
    term, total, k = 1.0, 1.0, 1.0
    while k < 40.0:
        factor = (2.0 * k - 1.0) * (2.0 * k - 1.0) / (8.0 * size * k)
        if factor >= 1.0 or term < 1e-18:
            break
        term *= factor
        total += term
        k += 1.0
    half = exp_float64(0.5 * size)
    return half * (total / square_root(2.0 * math.pi * size)) * half


@scalar
def fmod_float64(x, y):
    rest, size = absolute(x), absolute(y)
    if not rest < INF or size == 0.0 or y != y:
        return NAN
    if not size < INF:
        return x
    # long division: each step takes away a multiple 2^k y, exactly
    while rest >= size:
        k = ((bits(rest) >> 52) & 0x7FF) - ((bits(size) >> 52) & 0x7FF)
        k = min(max(k, 0), 1000)
        step = size * from_bits((k + 1023) << 52)
        if step > rest:
            step *= 0.5
        if step < size:
            step = size
        rest -= step
    return with_sign(rest, x)


@scalar
def remainder_float64(x, y):
    rest = fmod_float64(x, y)
    if rest != 0.0 and (rest < 0.0) != (y < 0.0):
        rest += y
    return select(rest == 0.0, with_sign(0.0, y), rest)


@scalar
def floor_div_float64(x, y):
    if y == 0.0:
        return x / y
    rest = fmod_float64(x, y)
    quotient = (x - rest) / y
    if rest != 0.0 and (rest < 0.0) != (y < 0.0):
        quotient -= 1.0
    if quotient == 0.0:
        return with_sign(0.0, x / y)
    whole = round_down(quotient)
    return whole + 1.0 if quotient - whole > 0.5 else whole


@scalar
def hypot_float64(x, y):
    a, b = absolute(x), absolute(y)
    large, small = max(a, b), min(a, b)
    if a == INF or b == INF:
        return INF
    if x != x or y != y:
        return NAN
    if large == 0.0:
        return large
    ratio = small / large
    return large * square_root(1.0 + ratio * ratio)


@scalar
def nextafter_float64(x, y):
    if x != x or y != y:
        return NAN
    if x == y:
        return y
    if x == 0.0:
        return with_sign(5e-324, y)
    step = 1 if (y > x) == (x > 0.0) else -1
    return from_bits(bits(x) + step)


@scalar
def nextafter_float32(x, y):
    if x != x or y != y:
        return float32(NAN)
    if x == y:
        return y
    if x == float32(0.0):
        return with_sign(float32(1e-45), y)
    step = 1 if (y > x) == (x > float32(0.0)) else -1
    return from_bits(int32(bits(x) + step))


exp2_float64 = vectormath.FUNCTIONS["exp2_float64"]


@scalar
def ldexp_float64(x, y):
    return x * exp2_float64(y)


@scalar
def erfinv_float32(x):
    return float32(erfinv_float64(float64(x)))


for _name in "asinh acosh atanh erfc lgamma digamma i0".split():
    _through_float64(_name)
for _name in "fmod remainder floor_div hypot ldexp".split():
    _through_float64(_name, 2)


@scalar
def whole_floor_div(x, y):
    """x // y for int64, rounding down; no trap for 0 (gives 0) or the most negative number by -1.
    """
    safe = select((y == 0) | (y == -1), int64(1), y)
    quotient = x // safe
    return select(y == 0, int64(0), select(y == -1, -x, quotient))


@scalar
def whole_int_div(x, y):
    """Rounding towards zero."""
    quotient = whole_floor_div(x, y)
    return quotient + int64((quotient < 0) & (quotient * y != x))


@scalar
def whole_remainder(x, y):
    """With the sign of y."""
    safe = select((y == 0) | (y == -1), int64(1), y)
    return select((y == 0) | (y == -1), int64(0), x % safe)


@scalar
def whole_fmod(x, y):
    """With the sign of x."""
    return select((y == 0) | (y == -1), int64(0), x - whole_int_div(x, y) * y)


@scalar
def whole_gcd(x, y):
    x, y = abs(x), abs(y)
    while y:
        x, y = y, x % y
    return x


@scalar
def whole_lcm(x, y):
    if x == 0 or y == 0:
        return int64(0)
    return abs(x // whole_gcd(x, y) * y)


@scalar
def whole_pow(x, y):
    """By squaring; 0 for negative exponents but of 1 and -1."""
    if y < 0:
        if x == 1:
            return int64(1)
        return select((y & 1) == 1, int64(-1), int64(1)) if x == -1 else int64(0)
    result, base = int64(1), x
    while y:
        if y & 1:
            result *= base
        base *= base
        y >>= 1
    return result


@scalar
def whole_left_shift(x, y):
    return select((y < 0) | (y > 63), int64(0), x << (y & 63))


@scalar
def whole_right_shift(x, y):
    return x >> select((y < 0) | (y > 63), int64(63), y)
