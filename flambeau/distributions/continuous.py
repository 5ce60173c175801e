"""Distributions of real numbers."""

from __future__ import annotations

import math
from typing import Any

from eager.mode import no_grad
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Distribution, tensors


class _Located(Distribution):
    """A family with a location and a scale."""

    has_rsample = True
    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.loc, self.scale = tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def _unit(self, shape: Any) -> Any:
        return ops.rand(self._shape(shape), dtype=self.loc.dtype)


class Normal(_Located):
    """The normal distribution."""

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def stddev(self) -> Any:
        return self.scale

    @property
    def variance(self) -> Any:
        return self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.loc + self.scale * ops.randn(self._shape(sample_shape), dtype=self.loc.dtype)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return -(((value - self.loc) / self.scale) ** 2) / 2 - self.scale.log() - math.log(2 * math.pi) / 2

    def cdf(self, value: Any) -> Any:
        self._check(value)
        return 0.5 * (1 + ops.erf((value - self.loc) / (self.scale * math.sqrt(2))))

    def icdf(self, value: Any) -> Any:
        return self.loc + self.scale * ops.erfinv(2 * value - 1) * math.sqrt(2)

    def entropy(self) -> Any:
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()


class LogNormal(_Located):
    """The distribution of the exponential of a normal variable."""

    support = constraints.positive

    @property
    def mean(self) -> Any:
        return (self.loc + self.scale**2 / 2).exp()

    @property
    def mode(self) -> Any:
        return (self.loc - self.scale**2).exp()

    @property
    def variance(self) -> Any:
        square = self.scale**2
        return square.expm1() * (2 * self.loc + square).exp()

    def rsample(self, sample_shape: Any = ()) -> Any:
        return (self.loc + self.scale * ops.randn(self._shape(sample_shape), dtype=self.loc.dtype)).exp()

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return Normal(self.loc, self.scale, False).log_prob(value.log()) - value.log()

    def cdf(self, value: Any) -> Any:
        return Normal(self.loc, self.scale, False).cdf(value.log())

    def icdf(self, value: Any) -> Any:
        return Normal(self.loc, self.scale, False).icdf(value).exp()

    def entropy(self) -> Any:
        return Normal(self.loc, self.scale, False).entropy() + self.loc


class Laplace(_Located):
    """The two-sided exponential distribution."""

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Any:
        return 2 * self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Any:
        side = self._unit(sample_shape) - 0.5
        return self.loc - self.scale * side.sign() * ops.log1p(-2 * side.abs())

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return -ops.log(2 * self.scale) - (value - self.loc).abs() / self.scale

    def cdf(self, value: Any) -> Any:
        side = value - self.loc
        return 0.5 - 0.5 * side.sign() * ops.expm1(-side.abs() / self.scale)

    def icdf(self, value: Any) -> Any:
        side = value - 0.5
        return self.loc - self.scale * side.sign() * ops.log1p(-2 * side.abs())

    def entropy(self) -> Any:
        return 1 + ops.log(2 * self.scale)


class Gumbel(_Located):
    """The distribution of the largest of many."""

    @property
    def mean(self) -> Any:
        return self.loc + self.scale * 0.57721566490153286060

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return math.pi**2 / 6 * self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.loc - self.scale * ops.log(-ops.log(self._unit(sample_shape).clamp(1e-30)))

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        far = (self.loc - value) / self.scale
        return far - far.exp() - self.scale.log()

    def cdf(self, value: Any) -> Any:
        return ops.exp(-ops.exp((self.loc - value) / self.scale))

    def icdf(self, value: Any) -> Any:
        return self.loc - self.scale * ops.log(-ops.log(value))

    def entropy(self) -> Any:
        return self.scale.log() + (1 + 0.57721566490153286060)


class Cauchy(_Located):
    """The distribution of the ratio of two normal variables; it has no mean."""

    @property
    def mean(self) -> Any:
        return ops.full_like(self.loc, float("nan"))

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return ops.full_like(self.loc, float("inf"))

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.loc + self.scale * ops.tan(math.pi * (self._unit(sample_shape) - 0.5))

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return -math.log(math.pi) - self.scale.log() - ops.log1p(((value - self.loc) / self.scale) ** 2)

    def cdf(self, value: Any) -> Any:
        return ops.atan((value - self.loc) / self.scale) / math.pi + 0.5

    def icdf(self, value: Any) -> Any:
        return ops.tan(math.pi * (value - 0.5)) * self.scale + self.loc

    def entropy(self) -> Any:
        return math.log(4 * math.pi) + self.scale.log()


class Uniform(Distribution):
    """The uniform distribution over [low, high)."""

    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None):
        self.low, self.high = tensors(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        if self._validate_args and not bool((self.low < self.high).all()):
            raise ValueError("Uniform is not defined when low>= high")

    @property
    def mean(self) -> Any:
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Any:
        return self.high * float("nan")

    @property
    def variance(self) -> Any:
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.low + (self.high - self.low) * ops.rand(self._shape(sample_shape), dtype=self.low.dtype)

    def log_prob(self, value: Any) -> Any:
        inside = (value >= self.low) & (value < self.high)
        return ops.log(inside.to(self.low.dtype)) - ops.log(self.high - self.low)

    def cdf(self, value: Any) -> Any:
        return ((value - self.low) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, value: Any) -> Any:
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Any:
        return ops.log(self.high - self.low)

    def __repr__(self) -> str:
        return f"Uniform(low: {self.low}, high: {self.high})"


class Exponential(Distribution):
    """The distribution of waiting times."""

    has_rsample = True
    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, rate: Any, validate_args: bool | None = None):
        (self.rate,) = tensors(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return 1 / self.rate

    @property
    def mode(self) -> Any:
        return ops.zeros_like(self.rate)

    @property
    def variance(self) -> Any:
        return self.rate**-2

    def rsample(self, sample_shape: Any = ()) -> Any:
        return -ops.log1p(-ops.rand(self._shape(sample_shape), dtype=self.rate.dtype)) / self.rate

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: Any) -> Any:
        return -ops.expm1(-self.rate * value)

    def icdf(self, value: Any) -> Any:
        return -ops.log1p(-value) / self.rate

    def entropy(self) -> Any:
        return 1 - self.rate.log()


class Gamma(Distribution):
    """The Gamma distribution. Its samples do not differentiate by the parameters."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None):
        self.concentration, self.rate = tensors(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.concentration / self.rate

    @property
    def mode(self) -> Any:
        return (self.concentration - 1).clamp(min=0) / self.rate

    @property
    def variance(self) -> Any:
        return self.concentration / self.rate**2

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        return ops.standard_gamma(self.concentration.expand(self._shape(sample_shape))) / self.rate

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        shape, rate = self.concentration, self.rate
        return ops.xlogy(shape, rate) + ops.xlogy(shape - 1, value) - rate * value - ops.lgamma(shape)

    def cdf(self, value: Any) -> Any:
        self._check(value)
        return ops.igamma(self.concentration, self.rate * value)

    def entropy(self) -> Any:
        shape = self.concentration
        return shape - self.rate.log() + ops.lgamma(shape) + (1 - shape) * ops.digamma(shape)


class Dirichlet(Distribution):
    """The distribution of shares that add up to one. Its samples do not differentiate by the parameters."""

    support = constraints.simplex

    def __init__(self, concentration: Any, validate_args: bool | None = None):
        if concentration.ndim < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)
        if self._validate_args and not bool((concentration > 0).all()):
            raise ValueError(f"Expected parameter concentration of distribution Dirichlet to be positive, but found:\n{concentration}")

    @property
    def mean(self) -> Any:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def variance(self) -> Any:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        found = ops.standard_gamma(self.concentration.expand(self._shape(sample_shape)))
        return found / found.sum(-1, keepdim=True)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        a = self.concentration
        return ops.xlogy(a - 1.0, value).sum(-1) + ops.lgamma(a.sum(-1)) - ops.lgamma(a).sum(-1)

    def entropy(self) -> Any:
        a, k = self.concentration, self.concentration.shape[-1]
        total = a.sum(-1)
        return ops.lgamma(a).sum(-1) - ops.lgamma(total) - (k - total) * ops.digamma(total) - ((a - 1) * ops.digamma(a)).sum(-1)


class Beta(Distribution):
    """The distribution of a share. Its samples do not differentiate by the parameters."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None):
        self.concentration1, self.concentration0 = tensors(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    def _shares(self) -> Dirichlet:
        return Dirichlet(ops.stack([self.concentration1, self.concentration0], -1), False)

    @property
    def mean(self) -> Any:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Any:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total**2 * (total + 1))

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        return self._shares().sample(sample_shape)[..., 0]

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return self._shares().log_prob(ops.stack([value, 1.0 - value], -1))

    def entropy(self) -> Any:
        return self._shares().entropy()


class MultivariateNormal(Distribution):
    """The normal distribution of vectors, by a covariance matrix, its inverse, or its Cholesky factor."""

    has_rsample = True

    def __init__(self, loc: Any, covariance_matrix: Any = None, precision_matrix: Any = None, scale_tril: Any = None,
                 validate_args: bool | None = None):
        if sum(m is not None for m in (covariance_matrix, precision_matrix, scale_tril)) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        if loc.ndim < 1:
            raise ValueError("loc must be at least one-dimensional.")
        if scale_tril is None:
            matrix = covariance_matrix if covariance_matrix is not None else ops.linalg_inv(precision_matrix)
            scale_tril = ops.linalg_cholesky(matrix)
        self.loc, self.scale_tril = loc, scale_tril
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args)

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def covariance_matrix(self) -> Any:
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self) -> Any:
        return ops.linalg_inv(self.covariance_matrix)

    @property
    def variance(self) -> Any:
        return (self.scale_tril**2).sum(-1).expand(self.loc.shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        noise = ops.randn(self._shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def _size(self) -> Any:
        return ops.diagonal(self.scale_tril, dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        away = ops.linalg_solve_triangular(self.scale_tril, (value - self.loc).unsqueeze(-1), upper=False).squeeze(-1)
        return -0.5 * (self.loc.shape[-1] * math.log(2 * math.pi) + (away * away).sum(-1)) - self._size()

    def entropy(self) -> Any:
        return 0.5 * self.loc.shape[-1] * (1 + math.log(2 * math.pi)) + self._size()
