"""Elementary functions as branch-free scalar code, which LLVM vectorises inside the loops that call
them.

For float32 and float64 each; within a few ULP over the whole range, with the special values of C's
functions of that name. The polynomials are interpolations at Chebyshev nodes, computed in 60 digits
for this file. No function here may be compiled with reassociation: the splittings of constants into
a high and a low part rely on the order of operations. `FUNCTIONS` maps `name_dtype` to the
function: Python in the dialect of kernel text (`codegen/words.py`), which runs as it stands on
NumPy's scalars, and which `codegen/translate.py` compiles into the kernels that call it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inductor.codegen.words import (
    absolute,
    bits,
    float32,
    float64,
    from_bits,
    int32,
    int64,
    polynomial,
    round_down,
    round_even,
    select,
    square_root,
    with_sign,
)

FUNCTIONS: dict[str, Any] = {}
NAN32, INF32 = np.float32(np.nan), np.float32(np.inf)
NAN, INF = np.float64(np.nan), np.float64(np.inf)


def vector(function):
    """Enter into FUNCTIONS. A fused multiply-add is the only liberty that compiling takes."""
    function.contracts = function.inlined = True
    FUNCTIONS[function.__name__] = function
    return function


# exp(r) = 1 + r + r^2 Q(r) for |r| <= log(2) / 2
EXP32 = (0.5, 0.16666573286056519, 0.04166654869914055, 0.008363774046301842, 0.0013926926767453551)
EXP64 = (
    0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333325544, 0.0013888888888883327,
    0.00019841269876864356, 2.4801587327007187e-05, 2.755725283351691e-06, 2.75572718102198e-07,
    2.5106274733573296e-08, 2.0915442297780116e-09,
)
LOG2E = 1.4426950408889634
LN2_HIGH32, LN2_LOW32 = np.float32(0.693359375), np.float32(-2.12194440054690583e-4)
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# adding and subtracting it rounds to an integer, which is then in the low bits
MAGIC32, MAGIC = np.float32(12582912.0), 6755399441055744.0
MAGIC_BITS32, MAGIC_BITS = np.int32(0x4B400000), np.int64(0x4338000000000000)
ONE_BITS32 = np.int32(0x3F800000)
HALF_WAY, DOWN32, UP32 = np.float32(64.0), np.float32(2.0**-64), np.float32(2.0**64)


@vector
def power_of_two_float32(k):
    return from_bits(int32(int32(k + int32(127)) << int32(23)))


@vector
def power_of_two_float64(k):
    return from_bits((k + 1023) << 52)


@vector
def reduced_float32(x, magic):
    """r and 2^(k + n) with x = k log(2) + r, |r| <= log(2) / 2, where `magic` is MAGIC32 + n."""
    shifted = x * float32(LOG2E) + magic
    whole = shifted - magic
    r = (x - whole * LN2_HIGH32) - whole * LN2_LOW32
    # only the lowest bits of `shifted` stay in an exponent
    return r, from_bits(int32(int32(bits(shifted) << int32(23)) + ONE_BITS32))


@vector
def exp_near_float32(r):
    return float32(1.0) + r * (float32(1.0) + r * polynomial(r, EXP32))


@vector
def exp_float32(x):
    # processors take a hundred times as long to round to a subnormal: not for what is 0 anyway, as
    # the weights of masked scores are
    far = x < float32(-104.0)
    clamped = select(far, float32(0.0), x)
    clamped = select(clamped > float32(89.0), float32(89.0), clamped)
    # in two steps, so that neither overflows before the result does and subnormals round once
    below = bits(clamped) < int32(0)
    r, scale = reduced_float32(clamped, select(below, MAGIC32 + HALF_WAY, MAGIC32 - HALF_WAY))
    # NaN stays NaN: it passes both clamps, and whatever the scale is then, NaN times anything is NaN
    value = exp_near_float32(r) * scale * select(below, DOWN32, UP32)
    return select(far, float32(0.0), value)


@vector
def exp_float64(x):
    far = x < -746.0
    clamped = select(far, 0.0, x)
    clamped = select(clamped > 710.0, 710.0, clamped)
    shifted = clamped * LOG2E + MAGIC
    n = shifted - MAGIC
    k = bits(shifted) - MAGIC_BITS
    r = (clamped - n * LN2_HIGH) - n * LN2_LOW
    value = 1.0 + (r + r * r * polynomial(r, EXP64))
    half = k >> 1
    value = value * power_of_two_float64(half) * power_of_two_float64(k - half)
    return select(x != x, x, select(far, 0.0, value))


@vector
def exp2_float32(x):
    far = x < float32(-151.0)
    clamped = select(far, float32(0.0), x)
    clamped = select(clamped > float32(128.5), float32(128.5), clamped)
    n = round_even(clamped)
    k = int32(bits(n + MAGIC32) - MAGIC_BITS32)
    r = (clamped - n) * float32(math.log(2))
    value = float32(1.0) + (r + r * r * polynomial(r, EXP32))
    half = int32(k >> int32(1))
    value = value * power_of_two_float32(half) * power_of_two_float32(int32(k - half))
    return select(x != x, x, select(far, float32(0.0), value))


@vector
def exp2_float64(x):
    far = x < -1076.0
    clamped = select(far, 0.0, x)
    clamped = select(clamped > 1024.5, 1024.5, clamped)
    n = round_even(clamped)
    k = bits(n + MAGIC) - MAGIC_BITS
    r = (clamped - n) * math.log(2)
    value = 1.0 + (r + r * r * polynomial(r, EXP64))
    half = k >> 1
    value = value * power_of_two_float64(half) * power_of_two_float64(k - half)
    return select(x != x, x, select(far, 0.0, value))


@vector
def expm1_float32(x):
    clamped = select(x < float32(-20.0), float32(-20.0), x)
    clamped = select(clamped > float32(89.0), float32(89.0), clamped)
    shifted = clamped * float32(LOG2E) + MAGIC32
    n = shifted - MAGIC32
    k = int32(bits(shifted) - MAGIC_BITS32)
    r = (clamped - n * LN2_HIGH32) - n * LN2_LOW32
    near = r + r * r * polynomial(r, EXP32)
    half = power_of_two_float32(int32(k - int32(1)))
    value = (half * near + (half - float32(0.5))) * float32(2.0)
    value = select(k == int32(0), near, value)
    # keeps NaN, and the sign of zero
    return select((x != x) | (x == float32(0.0)), x, value)


@vector
def expm1_float64(x):
    clamped = select(x < -40.0, -40.0, x)
    clamped = select(clamped > 710.0, 710.0, clamped)
    shifted = clamped * LOG2E + MAGIC
    n = shifted - MAGIC
    k = bits(shifted) - MAGIC_BITS
    r = (clamped - n * LN2_HIGH) - n * LN2_LOW
    near = r + r * r * polynomial(r, EXP64)
    half = power_of_two_float64(k - 1)
    value = (half * near + (half - 0.5)) * 2.0
    value = select(k == 0, near, value)
    return select((x != x) | (x == 0.0), x, value)


# log(1 + f) = f - (h - s (h + z R(z))) with s = f / (2 + f), z = s^2, h = f^2 / 2
LOG32 = (0.6666666865348816, 0.40000125765800476, 0.28550398349761963, 0.23341943323612213)
LOG64 = (
    0.6666666666666666, 0.4000000000000094, 0.2857142857076445, 0.2222222240054776,
    0.181817947008978, 0.15386290534658992, 0.13267418596474884, 0.1310072138350349,
)


@vector
def log_near_float32(f):
    s = f / (float32(2.0) + f)
    z = s * s
    h = float32(0.5) * f * f
    return f - (h - s * (h + z * polynomial(z, LOG32)))


@vector
def log_near_float64(f):
    s = f / (2.0 + f)
    z = s * s
    h = 0.5 * f * f
    return f - (h - s * (h + z * polynomial(z, LOG64)))


# the bits of sqrt(1/2): subtracting them puts the mantissa into [sqrt(1/2), sqrt(2))
ROOT_BITS32, ROOT_BITS = np.int32(0x3F3504F3), np.int64(0x3FE6A09E667F3BCD)


@vector
def exponent_float32(x):
    """k and m with x = 2^k m, m in [sqrt(1/2), sqrt(2)); x positive and finite."""
    tiny = x < float32(1.17549435e-38)
    scaled = select(tiny, x * float32(8388608.0), x)
    raw = int32(bits(scaled) - ROOT_BITS32)
    k = int32(raw >> int32(23))
    m = from_bits(int32(int32(raw & int32(0x7FFFFF)) + ROOT_BITS32))
    return float32(k) - select(tiny, float32(23.0), float32(0.0)), m


@vector
def exponent_float64(x):
    tiny = x < 2.2250738585072014e-308
    scaled = select(tiny, x * 4503599627370496.0, x)
    raw = bits(scaled) - ROOT_BITS
    k = raw >> 52
    m = from_bits((raw & 0xFFFFFFFFFFFFF) + ROOT_BITS)
    return float64(k) - select(tiny, 52.0, 0.0), m


@vector
def log_special_float32(x, value):
    value = select(x == float32(0.0), -INF32, value)
    value = select(x < float32(0.0), NAN32, value)
    return select((x != x) | (x == INF32), x, value)


@vector
def log_special_float64(x, value):
    value = select(x == 0.0, -INF, value)
    value = select(x < 0.0, NAN, value)
    return select((x != x) | (x == INF), x, value)


@vector
def log_float32(x):
    k, m = exponent_float32(x)
    value = k * LN2_HIGH32 + (log_near_float32(m - float32(1.0)) + k * LN2_LOW32)
    return log_special_float32(x, value)


@vector
def log_float64(x):
    k, m = exponent_float64(x)
    value = k * LN2_HIGH + (log_near_float64(m - 1.0) + k * LN2_LOW)
    return log_special_float64(x, value)


@vector
def log2_float32(x):
    k, m = exponent_float32(x)
    return log_special_float32(x, k + log_near_float32(m - float32(1.0)) * float32(LOG2E))


@vector
def log2_float64(x):
    k, m = exponent_float64(x)
    near = log_near_float64(m - 1.0)
    return log_special_float64(x, k + (near * LOG2E))


@vector
def log10_float32(x):
    k, m = exponent_float32(x)
    near = log_near_float32(m - float32(1.0)) * float32(0.4342944819032518)
    value = k * float32(0.30102539) + (near + k * float32(4.6050390e-6))
    return log_special_float32(x, value)


@vector
def log10_float64(x):
    k, m = exponent_float64(x)
    near = log_near_float64(m - 1.0) * 0.4342944819032518
    value = k * 3.01029995663611771306e-01 + (near + k * 3.69423907715893078616e-13)
    return log_special_float64(x, value)


@vector
def log1p_float32(x):
    u = float32(1.0) + x
    k, m = exponent_float32(u)
    small = k == float32(0.0)
    # what rounding 1 + x lost
    lost = select(u > float32(2.0), float32(1.0) - (u - x), x - (u - float32(1.0))) / u
    f = select(small, x, m - float32(1.0))
    near = log_near_float32(f) + select(small, float32(0.0), lost)
    value = k * LN2_HIGH32 + (near + k * LN2_LOW32)
    value = select(x == float32(-1.0), -INF32, value)
    value = select(x < float32(-1.0), NAN32, value)
    return select((x != x) | (x == INF32) | (x == float32(0.0)), x, value)


@vector
def log1p_float64(x):
    u = 1.0 + x
    k, m = exponent_float64(u)
    small = k == 0.0
    lost = select(u > 2.0, 1.0 - (u - x), x - (u - 1.0)) / u
    f = select(small, x, m - 1.0)
    near = log_near_float64(f) + select(small, 0.0, lost)
    value = k * LN2_HIGH + (near + k * LN2_LOW)
    value = select(x == -1.0, -INF, value)
    value = select(x < -1.0, NAN, value)
    return select((x != x) | (x == INF) | (x == 0.0), x, value)


@vector
def tanh_float32(x):
    size = absolute(x)
    r, scale = reduced_float32(float32(2.0) * select(size > float32(10.0), float32(10.0), size), MAGIC32)
    near = r + r * r * polynomial(r, EXP32)
    t = near * scale + (scale - float32(1.0))  # exp(2 |x|) - 1
    return with_sign(t / (t + float32(2.0)), x)


@vector
def tanh_float64(x):
    size = absolute(x)
    t = expm1_float64(2.0 * select(size > 22.0, 22.0, size))
    return select((x != x) | (x == 0.0), x, with_sign(t / (t + 2.0), x))


@vector
def sigmoid_float32(x):
    size = absolute(x)
    far = size > float32(104.0)
    r, scale = reduced_float32(select(far, float32(0.0), -size), MAGIC32 + HALF_WAY)
    # exp(-|x|), NaN of NaN
    e = select(far, float32(0.0), exp_near_float32(r) * scale * DOWN32)
    return select(bits(x) < int32(0), e, float32(1.0)) / (float32(1.0) + e)


@vector
def sigmoid_float64(x):
    e = exp_float64(-absolute(x))
    value = select(x < 0.0, e, 1.0) / (1.0 + e)
    return select(x != x, x, value)


@vector
def sinh_float32(x):
    # (e^x - e^-x) / 2 without cancellation: t + t / (t + 1) with t = expm1(|x|); halved first, for
    # the range
    size = absolute(x)
    t = expm1_float32(select(size > float32(88.0), float32(88.0), size))
    near = float32(0.5) * (t + t / (t + float32(1.0)))
    e = exp_float32(float32(0.5) * size)
    far = (float32(0.5) * e) * e
    value = with_sign(select(size > float32(80.0), far, near), x)
    return select((x != x) | (x == float32(0.0)), x, value)


@vector
def sinh_float64(x):
    size = absolute(x)
    t = expm1_float64(select(size > 709.0, 709.0, size))
    near = 0.5 * (t + t / (t + 1.0))
    e = exp_float64(0.5 * size)
    far = (0.5 * e) * e
    value = with_sign(select(size > 700.0, far, near), x)
    return select((x != x) | (x == 0.0), x, value)


@vector
def cosh_float32(x):
    size = absolute(x)
    e = exp_float32(float32(0.5) * size)
    return select(size > float32(80.0), (float32(0.5) * e) * e,
                  float32(0.5) * (exp_float32(size) + exp_float32(-size)))


@vector
def cosh_float64(x):
    size = absolute(x)
    e = exp_float64(0.5 * size)
    return select(size > 700.0, (0.5 * e) * e, 0.5 * (exp_float64(size) + exp_float64(-size)))


# erf(x) = x P(x^2) / Q(x^2) for |x| <= 4 in single precision, as in eager/algebra.py;
# in double precision x P(x^2) for |x| <= 1, and erfc(x) = exp(G(x) - x^2) above
ERF_TOP32 = (
    1.12837917, 0.185205438, 0.0543169656, 0.00384967127, 0.000379600003, 4.684486e-06,
    -1.32008709e-08,
)
ERF_BELOW32 = (1.0, 0.49746746, 0.11395912, 0.0154621787, 0.00130757017, 6.31078376e-05)
ERF64 = (
    1.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
    0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05,
    1.6461000484121368e-06, -1.6350312701054695e-07, 1.4659775274047436e-08,
    -1.1372848856791674e-09, 5.957176147748911e-11,
)
LOG_ERFC64 = (
    -4.7130127226567855e-07, -1.1283748790830996, 0.36336216501798824, -0.10272603574100231,
    0.019046892540054077, 0.0003102352340121398, -0.0017838817575689615, 0.0006372856412033342,
    -2.9480180607468226e-05, -8.667592809370349e-05, 5.6293158408909706e-05,
    -2.2239758436768475e-05, 6.567414708164434e-06, -1.535977463945416e-06,
    2.9031378001216055e-07, -4.453800142510713e-08, 5.5171285885379745e-09,
    -5.445224205477944e-10, 4.1854432193119475e-11, -2.415426878798561e-12,
    9.845713993184966e-14, -2.5271163276169626e-15, 3.0711608343447995e-17,
)


@vector
def erf_float32(x):
    clamped = select(x < float32(-4.0), float32(-4.0), x)
    clamped = select(clamped > float32(4.0), float32(4.0), clamped)
    z = clamped * clamped
    value = clamped * polynomial(z, ERF_TOP32) / polynomial(z, ERF_BELOW32)
    value = select(value < float32(-1.0), float32(-1.0), value)
    value = select(value > float32(1.0), float32(1.0), value)
    return select(x == float32(0.0), x, value)


@vector
def erf_float64(x):
    size = absolute(x)
    near = x * polynomial(x * x, ERF64)
    far_point = select(size > 6.0, 6.0, size)
    exponent = polynomial(far_point, LOG_ERFC64) - far_point * far_point
    far = with_sign(1.0 - exp_float64(exponent), x)
    return select(x != x, x, select(size < 1.0, near, far))


@vector
def rsqrt_float32(x):
    return float32(1.0) / square_root(x)


@vector
def rsqrt_float64(x):
    return 1.0 / square_root(x)


@vector
def pow_special_float64(x, y, value):
    odd = (y == round_down(y)) & (round_down(y * 0.5) != y * 0.5) & (absolute(y) < 9007199254740992.0)
    whole = y == round_down(y)
    value = select((x < 0.0) & (x != -INF) & (not whole), NAN, value)
    value = select((bits(x) < 0) & odd, -absolute(value), value)
    size = absolute(x)
    huge = select((size > 1.0) == (y > 0.0), INF, 0.0)
    value = select(absolute(y) == INF, huge, value)
    value = select((x != x) | (y != y), NAN, value)
    return select((y == 0.0) | (x == 1.0) | ((x == -1.0) & (absolute(y) == INF)), 1.0, value)


@vector
def pow_float32(x, y):
    # float64 leaves enough digits for the exponent y log(x)
    wide_x, wide_y = float64(x), float64(y)
    value = exp_float64(wide_y * log_float64(absolute(wide_x)))
    return float32(pow_special_float64(wide_x, wide_y, value))


@vector
def log_pair(x):
    """log(x) as a sum of two float64, for x positive and finite."""
    k, m = exponent_float64(x)
    f = m - 1.0
    # s = f / (2 + f) as a pair
    d = 2.0 + f
    d_low = f - (d - 2.0)
    s = f / d
    s_top = from_bits(bits(s) & ~int64(0x7FFFFFF))
    d_top = from_bits(bits(d) & ~int64(0x7FFFFFF))
    s_low = ((f - s_top * d_top) - s_top * ((d - d_top) + d_low)) / d
    s_full = s_top + s_low
    z = s_full * s_full
    # 2 s is exact as a pair; the rest is small
    series = s_full * z * polynomial(z, LOG64)
    # the first term of the series needs a pair too: s^3 2/3
    high = k * LN2_HIGH
    first = high + 2.0 * s_top
    first_low = (high - first) + 2.0 * s_top if absolute(high) > absolute(2.0 * s_top) \
        else (2.0 * s_top - first) + high
    second = (2.0 * s_low + first_low) + (series + k * LN2_LOW)
    total = first + second
    return total, (first - total) + second


@vector
def pow_float64(x, y):
    size = absolute(x)
    safe = select((size == 0.0) | (size == INF) | (x != x), 1.0, size)
    high, low = log_pair(safe)
    # y (high + low), with the product's error by splitting both factors
    y_clamped = select(absolute(y) > 1e300, with_sign(1e300, y), y)
    high_top = from_bits(bits(high) & ~int64(0x7FFFFFF))
    y_top = from_bits(bits(y_clamped) & ~int64(0x7FFFFFF))
    product = y_clamped * high
    error = ((high_top * y_top - product) + high_top * (y_clamped - y_top)
             + (high - high_top) * y_top) + (high - high_top) * (y_clamped - y_top)
    error = error + y_clamped * low
    tame = absolute(product) < 800.0
    value = exp_float64(product)
    value = value + select(tame & (value < INF), value * error, 0.0)
    ends = select((size == 0.0) == (y > 0.0), 0.0, INF)
    value = select((size == 0.0) | (size == INF), ends, value)
    return pow_special_float64(x, y, value)


# Floats as integers in the same order, so that a maximum is one integer instruction; a NaN comes
# out on top
# (of a minimum, at the bottom), whatever its sign.
@vector
def ordered_max_float32(x):
    b = bits(select(x != x, NAN32, x))
    return int32(b ^ int32((b >> int32(31)) & int32(0x7FFFFFFF)))


@vector
def ordered_min_float32(x):
    b = select(x != x, int32(-1), bits(x))
    return int32(b ^ int32((b >> int32(31)) & int32(0x7FFFFFFF)))


@vector
def from_order_float32(k):
    return from_bits(int32(k ^ int32((k >> int32(31)) & int32(0x7FFFFFFF))))


@vector
def ordered_max_float64(x):
    b = bits(select(x != x, NAN, x))
    return b ^ ((b >> 63) & 0x7FFFFFFFFFFFFFFF)


@vector
def ordered_min_float64(x):
    b = select(x != x, int64(-1), bits(x))
    return b ^ ((b >> 63) & 0x7FFFFFFFFFFFFFFF)


@vector
def from_order_float64(k):
    return from_bits(k ^ ((k >> 63) & 0x7FFFFFFFFFFFFFFF))
