"""Sine, cosine, tangent and their inverses, branch-free, in the manner of vectormath.py, whose table they enter."""

from __future__ import annotations

import math

from inductor.codegen.words import (
    absolute,
    bits,
    float32,
    float64,
    from_bits,
    int64,
    polynomial,
    round_even,
    select,
    square_root,
    with_sign,
)
from inductor.vectormath import INF, NAN, NAN32, vector

# sin(r) = r + r z S(z), cos(r) = 1 - z/2 + z^2 C(z) for |r| <= pi/4, z = r^2
SIN32 = (-0.1666666716337204, 0.008333331905305386, -0.00019839989545289427, 2.7237576887273462e-06)
COS32 = (0.0416666679084301, -0.00138888880610466, 2.4800519895507023e-05, -2.7290653292766365e-07)
SIN64 = (
    -0.16666666666666666, 0.008333333333333331, -0.0001984126984126402, 2.7557319218542833e-06,
    -2.5052105961377e-08, 1.605848950955874e-10, -7.584263996034166e-13,
)
COS64 = (
    0.041666666666666664, -0.0013888888888888887, 2.4801587301584066e-05, -2.755731922096008e-07,
    2.087675564036913e-09, -1.1470437475266499e-11, 4.7445191096480046e-14,
)
# pi/2 in three parts; the first two have 33 bits, so that their products with n < 2^20 are exact
HALF_PI_1, HALF_PI_2 = 1.57079632673412561417e00, 6.07710050630396597660e-11
HALF_PI_3 = 2.02226624871116645580e-21


@vector
def quadrant_float64(n, r, sign_bit):
    z = r * r
    sine = r + r * (z * polynomial(z, SIN64))
    cosine = 1.0 - (0.5 * z - z * z * polynomial(z, COS64))
    value = select((n & 1) == 0, sine, cosine)
    return from_bits(bits(value) ^ (((n & 2) << 62) ^ sign_bit))


@vector
def reduce_float64(x):
    """n and r with |x| = n pi/2 + r, |r| <= pi/4: exact for |x| < 2^30, worse and worse beyond."""
    size = absolute(x)
    n = round_even(size * 0.6366197723675814)
    r = size - n * HALF_PI_1
    # the second product is split, for results next to a multiple of pi/2
    w = n * HALF_PI_2
    high = r - w
    low = (r - high) - w
    return int64(n), high + (low - n * HALF_PI_3)


@vector
def sin_float64(x):
    n, r = reduce_float64(x)
    value = quadrant_float64(n, r, bits(x) & int64(-0x8000000000000000))
    return select((x != x) | (x == 0.0), x, value)


@vector
def cos_float64(x):
    n, r = reduce_float64(x)
    return quadrant_float64(n + 1, r, int64(0))


@vector
def sin_float32(x):
    wide = float64(x)
    n, r = reduce_float64(wide)
    r32 = float32(r)
    z = r32 * r32
    sine = r32 + r32 * (z * polynomial(z, SIN32))
    cosine = float32(1.0) - (float32(0.5) * z - z * z * polynomial(z, COS32))
    value = select((n & 1) == 0, sine, cosine)
    value = select((n & 2) == 0, value, -value)
    value = select(x < float32(0.0), -value, value)
    return select((x != x) | (x == float32(0.0)), x, value)


@vector
def cos_float32(x):
    wide = float64(x)
    n, r = reduce_float64(wide)
    r32 = float32(r)
    z = r32 * r32
    sine = r32 + r32 * (z * polynomial(z, SIN32))
    cosine = float32(1.0) - (float32(0.5) * z - z * z * polynomial(z, COS32))
    value = select((n & 1) == 0, cosine, sine)
    return select(((n + 1) & 2) == 0, value, -value)


@vector
def tan_float32(x):
    return sin_float32(x) / cos_float32(x)


@vector
def tan_float64(x):
    return sin_float64(x) / cos_float64(x)


# atan(x) = x + x z A(z) for |x| <= tan(pi/8); asin(x) = x + x z B(z) for |x| <= 1/2
ATAN32 = (
    -0.3333333134651184, 0.19999505579471588, -0.14262762665748596, 0.10730962455272675,
    -0.06410031020641327,
)
ATAN64 = (
    -0.3333333333333333, 0.1999999999999999, -0.14285714285710904, 0.11111111110684228,
    -0.09090909062842414, 0.07692306591154152, -0.0666663883871149, 0.05881879385683107,
    -0.05257601519257803, 0.04716613053756817, -0.0409330555298999, 0.030380353197859884,
    -0.01366237779213753,
)
ASIN32 = (
    0.1666666567325592, 0.07500100135803223, 0.04459730163216591, 0.031127668917179108,
    0.017009904608130455, 0.03393895924091339,
)
ASIN64 = (
    0.16666666666666669, 0.07499999999998203, 0.04464285714683096, 0.03038194410041065,
    0.022372174512465433, 0.017352354733918707, 0.013971793108030603, 0.011473366495702205,
    0.01036151628584757, 0.005287748208059138, 0.017871852416757577, -0.015600740177237823,
    0.029277666708692415,
)


@vector
def atan_float64(x):
    size = absolute(x)
    large, middle = size > 2.414213562373095, size > 0.4142135623730951
    top = select(large, -1.0, select(middle, size - 1.0, size))
    bottom = select(large, size, select(middle, size + 1.0, 1.0))
    base = select(large, math.pi / 2, select(middle, math.pi / 4, 0.0))
    rest = select(large, 6.123233995736766e-17, select(middle, 3.061616997868383e-17, 0.0))
    t = top / bottom
    z = t * t
    value = with_sign(base + (t + (t * (z * polynomial(z, ATAN64)) + rest)), x)
    return select((x != x) | (x == 0.0), x, value)


@vector
def atan_float32(x):
    size = absolute(x)
    large, middle = size > float32(2.4142135), size > float32(0.41421357)
    one, zero = float32(1.0), float32(0.0)
    top = select(large, -one, select(middle, size - one, size))
    bottom = select(large, size, select(middle, size + one, one))
    base = select(large, float32(math.pi / 2), select(middle, float32(math.pi / 4), zero))
    t = top / bottom
    z = t * t
    value = with_sign(base + (t + t * (z * polynomial(z, ATAN32))), x)
    return select((x != x) | (x == zero), x, value)


@vector
def atan2_float64(y, x):
    size_x, size_y = absolute(x), absolute(y)
    both = (size_x == INF) & (size_y == INF)
    ratio = select(both, 1.0, select(size_y == 0.0, 0.0, size_y / size_x))
    angle = atan_float64(ratio)
    angle = select(bits(x) < 0, math.pi - (angle - 1.2246467991473532e-16), angle)
    return select((x != x) | (y != y), NAN, with_sign(angle, y))


@vector
def atan2_float32(y, x):
    return float32(atan2_float64(float64(y), float64(x)))


@vector
def asin_float64(x):
    size = absolute(x)
    far = size > 0.5
    z = select(far, 0.5 * (1.0 - size), size * size)
    t = select(far, square_root(z), size)
    series = t + t * (z * polynomial(z, ASIN64))
    value = with_sign(select(far, math.pi / 2 - (2.0 * series - 6.123233995736766e-17), series), x)
    return select(x == 0.0, x, select(size > 1.0, NAN, value))


@vector
def asin_float32(x):
    size = absolute(x)
    far = size > float32(0.5)
    z = select(far, float32(0.5) * (float32(1.0) - size), size * size)
    t = select(far, square_root(z), size)
    series = t + t * (z * polynomial(z, ASIN32))
    value = with_sign(select(far, float32(math.pi / 2) - float32(2.0) * series, series), x)
    return select(x == float32(0.0), x, select(size > float32(1.0), NAN32, value))


@vector
def acos_float64(x):
    size = absolute(x)
    far = size > 0.5
    z = select(far, 0.5 * (1.0 - size), x * x)
    t = select(far, square_root(z), x)
    series = t + t * (z * polynomial(z, ASIN64))
    middle = math.pi / 2 - (series - 6.123233995736766e-17)
    outer = select(x < 0.0, math.pi - (2.0 * series - 1.2246467991473532e-16), 2.0 * series)
    return select(size > 1.0, NAN, select(far, outer, middle))


@vector
def acos_float32(x):
    size = absolute(x)
    far = size > float32(0.5)
    z = select(far, float32(0.5) * (float32(1.0) - size), x * x)
    t = select(far, square_root(z), x)
    series = t + t * (z * polynomial(z, ASIN32))
    middle = float32(math.pi / 2) - (series - float32(-4.3711388e-8))
    outer = select(x < float32(0.0), float32(math.pi) - (float32(2.0) * series - float32(-8.742278e-8)),
                   float32(2.0) * series)
    return select(size > float32(1.0), NAN32, select(far, outer, middle))
