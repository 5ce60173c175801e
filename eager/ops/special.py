"""Special functions beyond the algebra's: derivatives of the logarithm of the gamma function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops
from eager.shape import like_strides
from eager.spec import Spec
from eager.tensor import Tensor

# B(2k) / (2k)! of the Bernoulli numbers, for Euler and Maclaurin's sum
_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000)
_TERMS = 10


def _zeta(order: int, x: np.ndarray) -> np.ndarray:
    """The Hurwitz zeta function `sum((x + k) ** -order)`: ten terms, then Euler and Maclaurin's."""
    total = np.zeros_like(x)
    for k in range(_TERMS):
        total = total + (x + k) ** -float(order)
    end = x + _TERMS
    total = total + end ** (1.0 - order) / (order - 1) + 0.5 * end ** -float(order)
    factor = float(order)
    for k, weight in enumerate(_BERNOULLI):
        total = total + weight * factor * end ** -float(order + 2 * k + 1)
        factor *= (order + 2 * k + 1) * (order + 2 * k + 2)
    return total


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


Tensor.polygamma = _method  # type: ignore[attr-defined]


@composite(inplace=True)
def mvlgamma(input, p):
    """The logarithm of the multivariate gamma function of dimension p."""
    shift = ops.arange(p, dtype=input.dtype) * -0.5
    total = ops.sum(ops.lgamma(ops.unsqueeze(input, -1) + shift), -1)
    return total + p * (p - 1) / 4 * math.log(math.pi)
