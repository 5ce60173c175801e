"""Special functions beyond the algebra's: the gamma function's relatives, zeta, the normal distribution's, entropies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops, pointwise
from eager.results import named
from eager.shape import broadcast_shapes, like_strides
from eager.spec import Spec
from eager.tensor import Tensor

# -- declaring them --------------------------------------------------------------------------------


def _unary_spec(input):
    found = input.dtype if input.dtype.category >= dtypes.FLOATING else dtypes.get_default_dtype()
    return Spec(input.shape, found, input.device, like_strides(input.shape, [input]))


def elementwise(name: str, doc: str, kernel: Any, vjp: Any = None, saves: str = "input") -> Any:
    """Declare `special_NAME` of one real tensor; its kernel sees float64."""

    def function(input):
        if input.dtype.kind == "c":
            raise TypeError(f"special.{name}() takes real numbers, not {input.dtype}")
        found = input.dtype if input.dtype.kind not in "iub" else dtypes.get_default_dtype().numpy
        result = np.empty_like(input, found)
        result[...] = kernel(input.astype(np.float64))
        return result

    function.__name__, function.__doc__, function.__module__ = f"special_{name}", doc, __name__
    return extern(function, spec=_unary_spec, vjp=vjp, saves=saves, method=False)


def binary_spec(input, other):
    """The shape rule of a function of two operands, of which one may be a number; integers become the default float."""
    found = dtypes.result_type(input, other)
    found = found if found.category >= dtypes.FLOATING else dtypes.get_default_dtype()
    tensors = [t for t in (input, other) if hasattr(t, "shape")]
    if not tensors:
        raise TypeError("received an invalid combination of arguments: at least one must be a Tensor")
    shape = broadcast_shapes(*[t.shape for t in tensors])
    return Spec(shape, found, tensors[0].device, like_strides(shape, tensors))


def both(*operands: Any) -> list[np.ndarray]:
    return [np.asarray(x).astype(np.float64) for x in operands]


# -- gamma and zeta --------------------------------------------------------------------------------

# B(2k) / (2k)! of the Bernoulli numbers, for Euler and Maclaurin's sum
_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000)
_TERMS = 10


def _zeta(order: Any, x: np.ndarray) -> np.ndarray:
    """The Hurwitz zeta function `sum((x + k) ** -order)`: ten terms, then Euler and Maclaurin's."""
    order = np.asarray(order, np.float64)
    total = np.zeros(np.broadcast_shapes(order.shape, x.shape))
    count = _TERMS + int(np.ceil(-np.min(x, initial=0)))
    for k in range(count):
        total = total + (x + k) ** -order
    end = x + count
    total = total + end ** (1.0 - order) / (order - 1) + 0.5 * end**-order
    factor = order
    for k, weight in enumerate(_BERNOULLI):
        total = total + weight * factor * end ** -(order + 2 * k + 1)
        factor = factor * (order + 2 * k + 1) * (order + 2 * k + 2)
    return total


def _hurwitz(order: np.ndarray, q: np.ndarray) -> np.ndarray:
    """`_zeta` everywhere: infinite at the pole and at integers below 1, NaN where the sum does not converge."""
    with np.errstate(all="ignore"):
        fine = (order > 1) & ((q > 0) | ((q > -1e4) & (q != np.floor(q)) & (order == np.floor(order))))
        found = _zeta(np.where(fine, order, 2.0), np.where(fine, q, 1.0))
    found = np.where(fine, found, np.where((order == 1) | ((order > 1) & (q == np.floor(q))), np.inf, np.nan))
    return np.where(np.isnan(order) | np.isnan(q), np.nan, found)


def _number_type(input: Any, other: Any) -> np.dtype:
    """The result's type as `binary_spec` has it, from arrays and numbers."""
    from eager.tensor import Tensor

    spec = binary_spec(*[Tensor._wrap(x) if isinstance(x, np.ndarray) else x for x in (input, other)])
    return spec.dtype.numpy


@extern(
    spec=binary_spec,
    vjp=(None, lambda g, out, x, q: g * -x * ops.special_zeta(x + 1.0, q)),
    saves="input other",
    method=False,
)
def special_zeta(input, other):
    """The Hurwitz zeta function of `input` at `other`: the sum of `(other + k) ** -input` over k = 0, 1, …"""
    return _hurwitz(*both(input, other)).astype(_number_type(input, other))


@composite(method=False)
def special_polygamma(n, input):
    """The n-th derivative of `digamma`."""
    return ops.polygamma(n, input)


def _cotangent(order: int, x: np.ndarray) -> np.ndarray:
    """The derivative of this order of `pi * cot(pi * x)`, as a polynomial in the cotangent."""
    slope = np.polynomial.Polynomial([0.0, math.pi])  # of c = cot(pi x); dc/dx = -pi (1 + c * c)
    for _ in range(order):
        slope = slope.deriv() * np.polynomial.Polynomial([-math.pi, 0.0, -math.pi])
    return slope(1 / np.tan(math.pi * x))


def _polygamma(n: int, input: np.ndarray) -> np.ndarray:
    from eager.algebra import NUMPY

    if n == 0:
        return NUMPY.digamma(input)
    x = input.astype(np.float64)
    sign = -1.0 if n % 2 == 0 else 1.0
    with np.errstate(all="ignore"):
        below = x <= 0
        # reflection: psi_n(1 - y) - (-1)^n psi_n(y) = (-1)^n d^n/dy^n (pi cot(pi y)), y = 1 - x
        found = sign * math.factorial(n) * _zeta(n + 1, np.where(below, 1 - x, x))
        if below.any():
            found = np.where(below, -sign * found - _cotangent(n, x), found)
            found = np.where(below & (x == np.floor(x)), np.inf if n % 2 else np.nan, found)
    return found.astype(input.dtype)


def _polygamma_spec(n, input):
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    found = input.dtype if input.dtype.is_floating_point else dtypes.get_default_dtype()
    return Spec(input.shape, found, input.device, like_strides(input.shape, [input]))


def _polygamma_vjp(g, out, n, input):
    return g * ops.polygamma(n + 1, input)


@extern(spec=_polygamma_spec, vjp=(None, _polygamma_vjp), saves="input", method=False)
def polygamma(n, input):
    """The n-th derivative of `digamma`."""
    if n < 0:
        raise ValueError
    if input.dtype.kind in "iub":
        input = input.astype(dtypes.get_default_dtype().numpy)
    return _polygamma(n, input)


def _method(self: Any, n: int) -> Any:
    """The n-th derivative of `digamma`."""
    return ops.polygamma(n, self)


def _method_in_place(self: Any, n: int) -> Any:
    """The n-th derivative of `digamma`, written into this tensor."""
    found = ops.polygamma(n, self)
    if found.dtype.category > self.dtype.category:
        raise RuntimeError(f"result type {found.dtype} can't be cast to the desired output type {self.dtype}")
    return ops.copy_(self, found)


Tensor.polygamma, Tensor.polygamma_ = _method, _method_in_place  # type: ignore[attr-defined]


@composite(inplace=True)
def mvlgamma(input, p):
    """The logarithm of the multivariate gamma function of dimension p."""
    x = input if input.dtype.category >= dtypes.FLOATING else ops.convert(input, dtypes.get_default_dtype())
    shift = ops.arange(p, dtype=x.dtype) * -0.5
    total = ops.sum(ops.lgamma(ops.unsqueeze(x, -1) + shift), -1)
    return total + p * (p - 1) / 4 * math.log(math.pi)


def _incomplete_gamma(a: np.ndarray, x: np.ndarray, upper: bool) -> np.ndarray:
    """The regularized lower (upper) incomplete gamma function: its series for small x, Legendre's continued fraction else."""
    from eager.algebra import NUMPY

    a, x = (v.copy() for v in np.broadcast_arrays(a, x))
    with np.errstate(all="ignore"):
        bad = (a < 0) | (x < 0) | np.isnan(a) | np.isnan(x) | (np.isinf(a) & np.isinf(x)) | ((a == 0) & (x == 0))
        plain = ~bad & (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
        p, y = np.where(plain, a, 1.0), np.where(plain, x, 1.0)
        scale = np.exp(p * np.log(y) - y - NUMPY.lgamma(p))
        low = y < p + 1
        found = np.where(low, scale * _gamma_series(p, np.where(low, y, 0.5 * p)), 1 - scale * _gamma_fraction(p, np.where(low, p + 2, y)))
        tail = np.where(low, 1 - found, scale * _gamma_fraction(p, np.where(low, p + 2, y)))
        edge = np.where((a == 0) | (np.isinf(x) & np.isfinite(a)), 1.0, 0.0)
    result = np.where(plain, tail if upper else found, 1 - edge if upper else edge)
    return np.where(bad, np.nan, result)


def _gamma_series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    term = 1 / a
    total = term
    for k in range(1, 10000):
        term = term * x / (a + k)
        total = total + term
        if np.all(term <= total * 1e-17):
            break
    return total


def _gamma_fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - …))` by Lentz's method."""
    below = x + 1 - a
    c, d = np.full_like(x, 1e300), 1 / below
    found = d
    for k in range(1, 10000):
        top = -k * (k - a)
        below = below + 2
        d, c = 1 / (top * d + below), below + top / c
        found = found * (d * c)
        if np.all(np.abs(d * c - 1) < 1e-15):
            break
    return found


def _gamma_slope(sign: float) -> Any:
    """The derivative by x; PyTorch has none by the order either."""

    def slope(g, out, a, x):
        order = ops.convert(a, g.dtype) if isinstance(a, Tensor) else a
        return g * (ops.exp((order - 1) * ops.log(x) - x - ops.lgamma(order)) * sign)

    return slope


def _gamma_spec(input, other):
    for place, (name, value) in enumerate((("input", input), ("other", other)), 1):
        if not hasattr(value, "shape"):
            raise TypeError(f"igamma(): argument '{name}' (position {place}) must be Tensor, not {type(value).__name__}")
    return binary_spec(input, other)


def _no_order(g, out, a, x):
    raise NotImplementedError("the derivative of the incomplete gamma functions by their order (input) is not implemented")


@extern(spec=_gamma_spec, vjp=(_no_order, _gamma_slope(1.0)), saves="input other", inplace=True)
def igamma(input, other):
    """The regularized lower incomplete gamma function of order `input` at `other`."""
    if not isinstance(input, np.ndarray) or not isinstance(other, np.ndarray):
        raise ValueError
    return _incomplete_gamma(*both(input, other), False).astype(_number_type(input, other))


@extern(spec=_gamma_spec, vjp=(_no_order, _gamma_slope(-1.0)), saves="input other", inplace=True)
def igammac(input, other):
    """The regularized upper incomplete gamma function of order `input` at `other`: `1 - igamma(input, other)`."""
    if not isinstance(input, np.ndarray) or not isinstance(other, np.ndarray):
        raise ValueError
    return _incomplete_gamma(*both(input, other), True).astype(_number_type(input, other))


# -- parts of numbers -------------------------------------------------------------------------------

_Frexp = named("frexp", "mantissa exponent")


def _frexp_spec(input):
    if not input.dtype.is_floating_point:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    strides = like_strides(input.shape, [input])
    return Spec(input.shape, input.dtype, input.device, strides), Spec(input.shape, dtypes.int32, input.device, strides)


def _frexp_vjp(g, out, input):
    return None if g[0] is None else g[0] * ops.convert(ops.pow(2.0, ops.neg(ops.convert(out[1], input.dtype))), input.dtype)


@extern(spec=_frexp_spec, vjp=_frexp_vjp, saves="out1", front=lambda call, *a, **k: _Frexp(*call(*a, **k)))
def frexp(input):
    """The mantissa, of magnitude in [0.5, 1), and the exponent of 2 of each number."""
    if input.dtype.kind not in "fV":
        raise ValueError
    mantissa, exponent = np.frexp(input if input.dtype.kind == "f" else input.astype(np.float32))
    return np.asarray(mantissa).astype(input.dtype, copy=False), np.asarray(exponent, np.int32)


# -- the normal distribution, entropies -------------------------------------------------------------

_ROOT_HALF = math.sqrt(0.5)
_ROOT_TWO_PI = math.sqrt(2 * math.pi)


def _erfcx(x: np.ndarray) -> np.ndarray:
    from eager.algebra import NUMPY, scaled_erfc

    size = np.abs(x)
    with np.errstate(all="ignore"):
        near = np.minimum(size, 0.5)
        positive = np.where(size < 0.46875, np.exp(near * near) * NUMPY.erfc(near), scaled_erfc(np.maximum(size, 0.46875)))
        return np.where(x < 0, 2 * np.exp(x * x) - positive, positive)


def _log_ndtr(x: np.ndarray) -> np.ndarray:
    from eager.algebra import NUMPY

    with np.errstate(all="ignore"):
        low = np.minimum(x, -1.0)
        left = np.log(_erfcx(-low * _ROOT_HALF) / 2) - low * low / 2
        return np.where(x < -1, left, np.log1p(-NUMPY.erfc(np.maximum(x, -1.0) * _ROOT_HALF) / 2))


def _ndtri(p: np.ndarray) -> np.ndarray:
    """Newton's method on the logarithm of the distribution function, in the lower half."""
    with np.errstate(all="ignore"):
        low = np.where(p > 0.5, 1 - p, p)
        aim = np.log(low)
        x = -np.sqrt(np.maximum(-2 * aim - np.log(np.maximum(-4 * math.pi * aim, 1.0)), 0.0))
        for _ in range(12):
            slope = math.sqrt(2 / math.pi) / _erfcx(-x * _ROOT_HALF)
            x = np.minimum(x - (_log_ndtr(x) - aim) / slope, 0.0)
        x = np.where(p == 0.5, 0.0, np.where(p > 0.5, -x, x))
        return np.where((p < 0) | (p > 1) | np.isnan(p), np.nan, np.where(p == 0, -np.inf, np.where(p == 1, np.inf, x)))


elementwise("erfcx", "`exp(input ** 2) * erfc(input)`, without overflow or underflow.", _erfcx,
    lambda g, out, x: g * (x * 2 * out - 2 / math.sqrt(math.pi)), "input out")  # fmt: skip
elementwise("log_ndtr", "The logarithm of `ndtr`, accurate far below 0.", _log_ndtr,
    lambda g, out, x: g * (math.sqrt(2 / math.pi) / ops.special_erfcx(x * -_ROOT_HALF)))  # fmt: skip
elementwise("ndtri", "The argument at which `ndtr` has this value.", _ndtri,
    lambda g, out, p: g * (ops.exp(out * out * 0.5) * _ROOT_TWO_PI), "out")  # fmt: skip


@pointwise(
    promote="float", method=False, inplace=False, saves="input",
    vjp=lambda g, out, x: g * (ops.exp(x * x * -0.5) / _ROOT_TWO_PI),
)  # fmt: skip
def special_ndtr(s, input):
    """The distribution function of the standard normal distribution."""
    return s.erfc(input * -_ROOT_HALF) * 0.5


def _entr_vjp(g, out, x):
    return g * ops.where(x > 0, -ops.log(ops.where(x > 0, x, ops.ones_like(x))) - 1, ops.where(x == 0, math.inf, math.nan))


@pointwise(promote="float", method=False, inplace=False, saves="input", vjp=_entr_vjp, takes="ordered")
def special_entr(s, input):
    """`-input * log(input)`; 0 at 0, minus infinity below."""
    logarithm = s.log(s.where(input > 0, input, 1.0))
    found = s.where(input > 0, -input * logarithm, s.where(input == 0, 0.0, -math.inf))
    return s.where(s.isnan(input), input, found)


@pointwise(promote="float", method=False, inplace=False)
def special_spherical_bessel_j0(s, input):
    """`sin(input) / input`, 1 at 0."""
    found = s.div(s.sin(input), s.where(input == 0, 1.0, input))
    return s.where(input == 0, 1.0, s.where(s.isinf(input), 0.0, found))


def _log1p_slope(g, out, a, b):
    a = ops.where(ops.isnan(b) | (a != 0), ops.log1p(b), ops.zeros_like(g))
    return g * a


@pointwise(
    promote="float", method=False, inplace=False, saves="input other", numbers="one",
    vjp=(_log1p_slope, lambda g, out, a, b: g * (a / (b + 1))),
    takes="ordered",
)  # fmt: skip
def special_xlog1py(s, input, other):
    """`input * log1p(other)`; 0 where the input is 0, whatever the logarithm."""
    return s.where((input == 0) & s.logical_not(s.isnan(other)), 0.0, input * s.log1p(other))
