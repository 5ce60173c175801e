"""The scalar algebra: the primitives that bodies of pointwise operators may use, and NumPy's
interpretation of them.

A body is a function `body(s, *values)`: `s` is an algebra, values overload the Python operators. An
algebra that emits code (the inductor's) implements the same names; `PRIMITIVES` is the whole list,
and a test holds every algebra to it. A value may be NaN or infinite; each primitive says what it
gives then by being IEEE 754's or NumPy's function of that name.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eager.selection import select

# Functions of one value that round like their namesakes in C.
UNARY = (
    "exp exp2 expm1 log log1p log2 log10 sqrt rsqrt reciprocal sin cos tan asin acos atan sinh cosh"
    " tanh asinh acosh atanh erf erfc erfinv lgamma digamma floor ceil round trunc abs sign neg"
    " sigmoid isnan isinf isfinite signbit logical_not bitwise_not conj real imag angle square i0"
).split()
BINARY = (
    "add sub mul div floor_div remainder fmod pow atan2 maximum minimum fmax fmin hypot copysign"
    " nextafter ldexp eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and bitwise_or"
    " bitwise_xor left_shift right_shift gcd lcm int_div"
).split()
OTHER = "where cast constant".split()
PRIMITIVES = (*UNARY, *BINARY, *OTHER)

# erf(x) / x for |x| <= 4 as a quotient of polynomials in x**2, fitted by weighted least squares to a
# relative error of 2e-9: less than rounding adds.
_ERF_TOP = (
    1.12837917, 0.185205438, 0.0543169656, 0.00384967127, 0.000379600003, 4.684486e-06,
    -1.32008709e-08,
)
_ERF_BELOW = (1.0, 0.49746746, 0.11395912, 0.0154621787, 0.00130757017, 6.31078376e-05)
_ERF_BLOCK = 1 << 14


def _horner(z: np.ndarray, coefficients: tuple, result: np.ndarray) -> None:
    """The polynomial in z, lowest coefficient first, into `result`."""
    result.fill(coefficients[-1])
    for c in coefficients[-2::-1]:
        result *= z
        result += c


def _erf(x: Any) -> np.ndarray:
    """The error function: in single precision by one quotient, a block at a time."""
    x = np.asarray(x)
    if x.dtype.kind != "f" or x.dtype.itemsize > 4:
        return _cody(x, False)
    flat = np.ascontiguousarray(x, np.float32).reshape(-1)
    found = np.empty_like(flat)
    top, below = (np.empty(min(_ERF_BLOCK, flat.size), np.float32) for _ in range(2))
    for start in range(0, flat.size, _ERF_BLOCK):
        part = np.clip(flat[start : start + _ERF_BLOCK], -4, 4)
        square, n = part * part, part.size
        _horner(square, _ERF_TOP, top[:n])
        _horner(square, _ERF_BELOW, below[:n])
        part *= top[:n]
        part /= below[:n]
        # rounding must not carry it past 1, where 1 + erf(-x) would turn negative
        np.clip(part, -1, 1, out=found[start : start + _ERF_BLOCK])
    result = np.empty_like(x)
    result[...] = found.reshape(x.shape)
    return result


def _real_function(function):
    """A NumPy ufunc for a function of Python's math module, computed in float64."""
    vector = np.frompyfunc(function, 1, 1)

    def run(x):
        x = np.asarray(x)
        return np.asarray(vector(x.astype(np.float64)), np.float64).astype(x.dtype)

    return run


# Abramowitz-Stegun-free erf: W. J. Cody, "Rational Chebyshev approximation for the error function",
# 1969.
_CODY_A = (
    3.16112374387056560e0,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
    1.85777706184603153e-1,
)
_CODY_B = (
    2.36012909523441209e1,
    2.44024637934444173e2,
    1.28261652607737228e3,
    2.84423683343917062e3,
)
_CODY_C = (
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
    2.15311535474403846e-8,
)
_CODY_D = (
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)
_CODY_P = (
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
    1.63153871373020978e-2,
)
_CODY_Q = (
    2.56852019228982242e0,
    1.87295284992346725e0,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)


def scaled_erfc(y: np.ndarray) -> np.ndarray:
    """`exp(y * y) * erfc(y)` for y >= 0.46875 in float64."""
    middle = _CODY_C[8] * y
    below = y.copy(order="K")
    for c, d in zip(_CODY_C[:7], _CODY_D[:7], strict=True):
        middle = (middle + c) * y
        below = (below + d) * y
    middle = (middle + _CODY_C[7]) / (below + _CODY_D[7])
    if not y.size or not y.max() <= 4.0:
        return np.where(y <= 4.0, middle, _erfc_far(y))
    return middle


def _erfc_positive(y: np.ndarray) -> np.ndarray:
    """erfc for y >= 0.46875 in float64."""
    split = np.trunc(y * 16.0) / 16.0
    scale = np.exp(-split * split) * np.exp(-(y - split) * (y + split))
    return scaled_erfc(y) * scale


def _erfc_far(y: np.ndarray) -> np.ndarray:
    """erfc over its exponential for y > 4."""
    square = 1.0 / np.maximum(y * y, 1e-300)
    top = _CODY_P[5] * square
    under = square.copy(order="K")
    for p, q in zip(_CODY_P[:4], _CODY_Q[:4], strict=True):
        top = (top + p) * square
        under = (under + q) * square
    far = square * (top + _CODY_P[4]) / (under + _CODY_Q[4])
    return (0.56418958354775628695 - far) / np.maximum(y, 1e-300)


def _cody(x: Any, complement: bool) -> np.ndarray:
    """erf, or erfc, block by block: its many temporaries then stay in the cache."""
    x = np.asarray(x)
    if x.size <= _BLOCK:
        return _cody_block(x, complement)
    x = np.ascontiguousarray(x)
    result, source = np.empty_like(x), x.reshape(-1)
    target = result.reshape(-1)
    for start in range(0, x.size, _BLOCK):
        target[start : start + _BLOCK] = _cody_block(source[start : start + _BLOCK], complement)
    return result


_BLOCK = 1 << 13


def _cody_block(x: np.ndarray, complement: bool) -> np.ndarray:
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        y = np.abs(wide)
        clipped = np.minimum(y, 30.0)
        tail = _erfc_positive(np.maximum(clipped, 0.46875))
        square = np.where(y > 1.11e-16, np.minimum(clipped, 0.5) ** 2, 0.0)
        top, under = _CODY_A[4] * square, square.copy(order="K")
        for a, b in zip(_CODY_A[:3], _CODY_B[:3], strict=True):
            top = (top + a) * square
            under = (under + b) * square
        near = wide * (top + _CODY_A[3]) / (under + _CODY_B[3])
        if complement:
            result = np.where(y <= 0.46875, 1.0 - near, np.where(wide < 0, 2.0 - tail, tail))
        else:
            result = np.where(y <= 0.46875, near, np.copysign(1.0 - tail, wide))
        return np.where(np.isnan(wide), wide, result).astype(x.dtype)


def _sigmoid(x: Any) -> Any:
    result = np.asarray(np.exp(np.negative(x)))  # infinite where the sigmoid is zero
    result += 1
    return np.reciprocal(result, out=result)


def _erfinv(x: Any) -> np.ndarray:
    """Giles' rational start, then two Newton steps in float64."""
    x = np.asarray(x)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        w = -np.log1p(-wide * wide)
        small, large = w - 2.5, np.sqrt(np.maximum(w, 5.0)) - 3.0
        p = np.full_like(wide, 2.81022636e-08)
        for c in (
            3.43273939e-07,
            -3.5233877e-06,
            -4.39150654e-06,
            0.00021858087,
            -0.00125372503,
            -0.00417768164,
            0.246640727,
            1.50140941,
        ):
            p = p * small + c
        q = np.full_like(wide, -0.000200214257)
        for c in (
            0.000100950558,
            0.00134934322,
            -0.00367342844,
            0.00573950773,
            -0.0076224613,
            0.00943887047,
            1.00167406,
            2.83297682,
        ):
            q = q * large + c
        y = np.where(w < 5.0, p, q) * wide
        for _ in range(2):
            error = np.where(
                np.abs(wide) < 0.5,
                _cody(y, False) - wide,
                (1 - np.abs(wide) - _cody(np.abs(y), True)) * np.sign(wide),
            )
            y = y - error / (1.1283791670955126 * np.exp(-y * y))
        y = np.where(
            np.abs(wide) == 1, np.copysign(np.inf, wide), np.where(np.abs(wide) > 1, np.nan, y)
        )
        return y.astype(x.dtype)


def _digamma(x: Any) -> np.ndarray:
    """Reflection for negative arguments, recurrence up to 8, then the asymptotic series."""
    x = np.asarray(x)
    z = x.astype(np.float64)
    with np.errstate(all="ignore"):
        negative = z < 0
        pole = negative & (z == np.floor(z))
        reflection = np.where(
            negative, -np.pi / np.tan(np.pi * np.where(negative, z - np.floor(z), 0.5)), 0.0
        )
        z = np.where(negative, 1 - z, z)
        total = np.zeros_like(z)
        for _ in range(8):
            low = z < 8
            total = total - np.where(low, 1 / z, 0.0)
            z = np.where(low, z + 1, z)
        square = 1 / (z * z)
        series = square * (
            1 / 12
            - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square * (1 / 132))))
        )
        result = total + np.log(z) - 0.5 / z - series + reflection
        result = np.where(
            x == 0, np.copysign(np.inf, -x.astype(np.float64)), np.where(pole, np.nan, result)
        )
        return result.astype(x.dtype)


def _floor_div(x: Any, y: Any) -> Any:
    if np.asarray(x).dtype.kind in "iub" and np.asarray(y).dtype.kind in "iub":
        if np.any(np.asarray(y) == 0):
            raise RuntimeError("ZeroDivisionError")
    return np.floor_divide(x, y)


def _remainder(x: Any, y: Any) -> Any:
    if np.asarray(x).dtype.kind in "iub" and np.any(np.asarray(y) == 0):
        raise RuntimeError("ZeroDivisionError")
    return np.remainder(x, y)


def _int_div(x: Any, y: Any) -> Any:
    """Division of integers that truncates towards zero."""
    if np.any(np.asarray(y) == 0):
        raise RuntimeError("ZeroDivisionError")
    quotient = np.floor_divide(x, y)
    return quotient + ((quotient < 0) & (quotient * y != x)).astype(np.asarray(quotient).dtype)


class NumpyAlgebra:
    """Bodies over arrays: what eager runs."""

    exp, exp2, expm1, log, log1p, log2, log10 = (
        np.exp,
        np.exp2,
        np.expm1,
        np.log,
        np.log1p,
        np.log2,
        np.log10,
    )
    sqrt, sin, cos, tan, asin, acos, atan = (
        np.sqrt,
        np.sin,
        np.cos,
        np.tan,
        np.arcsin,
        np.arccos,
        np.arctan,
    )
    sinh, cosh, tanh, asinh, acosh, atanh = (
        np.sinh,
        np.cosh,
        np.tanh,
        np.arcsinh,
        np.arccosh,
        np.arctanh,
    )
    floor, ceil, trunc, round, abs, neg = np.floor, np.ceil, np.trunc, np.rint, np.abs, np.negative
    sign, square, conj, angle = np.sign, np.square, np.conj, staticmethod(np.angle)
    real, imag = staticmethod(np.real), staticmethod(np.imag)
    isnan, isinf, isfinite, signbit = np.isnan, np.isinf, np.isfinite, np.signbit
    logical_not, bitwise_not = np.logical_not, np.invert
    i0 = staticmethod(lambda x: np.i0(x).astype(np.asarray(x).dtype))
    rsqrt = staticmethod(lambda x: 1 / np.sqrt(x))
    reciprocal = staticmethod(lambda x: 1 / x)
    erf = staticmethod(_erf)
    erfc = staticmethod(lambda x: _cody(x, True))
    erfinv = staticmethod(_erfinv)
    lgamma = staticmethod(
        _real_function(
            lambda v: math.inf if math.isinf(v) or (v <= 0 and v == int(v)) else math.lgamma(v)
        )
    )
    digamma = staticmethod(_digamma)
    sigmoid = staticmethod(_sigmoid)
    add, sub, mul, div, pow, atan2 = (
        np.add,
        np.subtract,
        np.multiply,
        np.true_divide,
        np.power,
        np.arctan2,
    )
    floor_div, remainder = staticmethod(_floor_div), staticmethod(_remainder)
    int_div, fmod = staticmethod(_int_div), np.fmod
    maximum, minimum, fmax, fmin = np.maximum, np.minimum, np.fmax, np.fmin
    hypot, copysign, nextafter, ldexp = (
        np.hypot,
        np.copysign,
        np.nextafter,
        staticmethod(lambda x, y: x * np.exp2(y)),
    )
    eq, ne, lt, le, gt, ge = (
        np.equal,
        np.not_equal,
        np.less,
        np.less_equal,
        np.greater,
        np.greater_equal,
    )
    logical_and, logical_or, logical_xor = np.logical_and, np.logical_or, np.logical_xor
    bitwise_and, bitwise_or, bitwise_xor = np.bitwise_and, np.bitwise_or, np.bitwise_xor
    left_shift, right_shift, gcd, lcm = np.left_shift, np.right_shift, np.gcd, np.lcm
    where = staticmethod(select)

    @staticmethod
    def cast(x: Any, dtype: Any) -> Any:
        """The value in another data type (`eager.dtype.dtype`)."""
        return np.asarray(x).astype(dtype.numpy, copy=False)

    @staticmethod
    def constant(value: Any, dtype: Any) -> Any:
        """A Python number as a value of a data type."""
        return dtype.numpy.type(value)


NUMPY = NumpyAlgebra()
