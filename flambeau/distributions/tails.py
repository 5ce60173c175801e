"""Further distributions of real numbers: Student's, chi-squared, F, von Mises, continuous Bernoulli, generalized Pareto; the normal
distribution of vectors with a covariance of low rank.
"""

from __future__ import annotations

import math
from typing import Any

from eager.dtype import float64
from eager.mode import no_grad
from eager.registry import ops
from flambeau.distributions import constraints
from flambeau.distributions.continuous import Gamma
from flambeau.distributions.distribution import Distribution, one_of, tensors


class StudentT(Distribution):
    """The mean of few normal variables over its estimated deviation. Its samples do not differentiate by the degrees of freedom."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None):
        self.df, self.loc, self.scale = tensors(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return ops.where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        found = self.scale**2 * self.df / (self.df - 2)
        return ops.where(self.df > 2, found, ops.where(self.df > 1, math.inf, ops.full_like(found, math.nan)))

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        shape = self._shape(sample_shape)
        square = 2 * ops.standard_gamma((self.df / 2).expand(shape))
        return self.loc + self.scale * ops.randn(shape, dtype=self.df.dtype) * ops.rsqrt(square / self.df)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        away, half = (value - self.loc) / self.scale, self.df / 2
        size = self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + ops.lgamma(half) - ops.lgamma(half + 0.5)
        return -0.5 * (self.df + 1) * ops.log1p(away**2 / self.df) - size

    def entropy(self) -> Any:
        half = self.df / 2
        beta = ops.lgamma(half) + math.lgamma(0.5) - ops.lgamma(half + 0.5)
        return self.scale.log() + (half + 0.5) * (ops.digamma(half + 0.5) - ops.digamma(half)) + 0.5 * self.df.log() + beta


class Chi2(Gamma):
    """The sum of squares of normal variables."""

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None):
        (self.df,) = tensors(df)
        super().__init__(0.5 * self.df, ops.full_like(self.df, 0.5), validate_args)


class FisherSnedecor(Distribution):
    """The ratio of two chi-squared variables over their degrees of freedom."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None):
        self.df1, self.df2 = tensors(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return ops.where(self.df2 > 2, self.df2 / (self.df2 - 2), math.nan)

    @property
    def mode(self) -> Any:
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return ops.where(self.df1 > 2, found, math.nan)

    @property
    def variance(self) -> Any:
        a, b = self.df1, self.df2
        return ops.where(b > 4, 2 * b**2 * (a + b - 2) / (a * (b - 2) ** 2 * (b - 4)), math.nan)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        above, below = (ops.standard_gamma((df / 2).expand(self._shape(sample_shape))) / df for df in (self.df1, self.df2))
        return above / below

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        a, b, ratio = self.df1 / 2, self.df2 / 2, self.df1 / self.df2
        size = ops.lgamma(a + b) - ops.lgamma(a) - ops.lgamma(b)
        return size + a * ratio.log() + (a - 1) * value.log() - (a + b) * ops.log1p(ratio * value)


class VonMises(Distribution):
    """The normal distribution of angles."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.concentration = tensors(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Any:
        k = self.concentration
        return 1 - ops.special_i1e(k) / ops.special_i0e(k)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        """By rejection: Best and Fisher's wrapped Cauchy envelope, computed in double precision."""
        shape = self._shape(sample_shape)
        k = self.concentration.to(float64).expand(shape)
        tau = 1 + ops.sqrt(1 + 4 * k**2)
        rho = (tau - ops.sqrt(2 * tau)) / (2 * k)
        r = ops.where(k < 1e-5, 1 / k + k, (1 + rho**2) / (2 * rho))
        found, done = ops.zeros(shape, dtype=float64), ops.zeros(shape).bool()
        while not bool(done.all()):
            first, second, third = ops.rand((3, *shape), dtype=float64)
            z = ops.cos(math.pi * first)
            f = (1 + r * z) / (r + z)
            c = k * (r - f)
            fits = (c * (2 - c) - second > 0) | ((c / second).log() + 1 - c >= 0)
            found = ops.where(fits & ~done, (third - 0.5).sign() * ops.acos(f.clamp(-1, 1)), found)
            done = done | fits
        return (ops.remainder(found + math.pi + self.loc, 2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        k = self.concentration
        return k * (ops.cos(value - self.loc) - 1) - math.log(2 * math.pi) - ops.log(ops.special_i0e(k))


class ContinuousBernoulli(Distribution):
    """The density over [0, 1] that goes like `p**x * (1 - p)**(1 - x)`."""

    has_rsample = True
    arg_constraints = {"probs": constraints.unit_interval}
    support = constraints.unit_interval

    def __init__(self, probs: Any = None, logits: Any = None, lims: tuple = (0.499, 0.501), validate_args: bool | None = None):
        one_of(probs, logits, "`probs` or `logits`")
        self.logits = tensors(logits)[0] if probs is None else ops.logit(tensors(probs)[0], 1.1920929e-07)
        self._lims = lims
        super().__init__(self.logits.shape, validate_args=validate_args)
        if self._validate_args and probs is not None and not bool(constraints.unit_interval.check(tensors(probs)[0]).all()):
            raise ValueError("The parameter probs has invalid values")

    @property
    def probs(self) -> Any:
        return ops.sigmoid(self.logits)

    def _flat(self) -> Any:
        """Where the density is nearly uniform, and formulas would divide by zero."""
        return (self.probs > self._lims[0]) & (self.probs <= self._lims[1])

    def _safe(self) -> Any:
        return ops.where(self._flat(), self._lims[0], self.probs)

    def _log_normalizer(self) -> Any:
        p, x = self._safe(), self.probs - 0.5
        found = ops.log((ops.log1p(-p) - p.log()).abs()) - ops.log((1 - 2 * p).abs())
        return ops.where(self._flat(), math.log(2) + (4 / 3 + 104 / 45 * x**2) * x**2, found)

    @property
    def mean(self) -> Any:
        p, x = self._safe(), self.probs - 0.5
        return ops.where(self._flat(), 0.5 + (1 / 3 + 16 / 45 * x**2) * x, p / (2 * p - 1) + 1 / (ops.log1p(-p) - p.log()))

    @property
    def variance(self) -> Any:
        p, square = self._safe(), (self.probs - 0.5) ** 2
        found = p * (p - 1) / (1 - 2 * p) ** 2 + 1 / (ops.log1p(-p) - p.log()) ** 2
        return ops.where(self._flat(), 1 / 12 - (1 / 15 - 128 / 945 * square) * square, found)

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.icdf(ops.rand(self._shape(sample_shape), dtype=self.logits.dtype))

    def icdf(self, value: Any) -> Any:
        p = self._safe()
        found = (ops.log1p(-p + value * (2 * p - 1)) - ops.log1p(-p)) / (p.log() - ops.log1p(-p))
        return ops.where(self._flat(), value, found)

    def cdf(self, value: Any) -> Any:
        p = self._safe()
        found = (p**value * (1 - p) ** (1 - value) + p - 1) / (2 * p - 1)
        found = ops.where(self._flat(), value, found)
        return ops.where(value <= 0, 0.0, ops.where(value >= 1, 1.0, found))

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return value * self.logits - ops.softplus(self.logits) + self._log_normalizer()

    def entropy(self) -> Any:
        first, second = ops.log1p(-self.probs), self.probs.log()
        return self.mean * (first - second) - self._log_normalizer() - first


class GeneralizedPareto(Distribution):
    """What exceeds a high threshold."""

    has_rsample = True
    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.scale, self.concentration = tensors(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)
        self.support = constraints.greater_than_eq(self.loc)

    def _thin(self) -> Any:
        return ops.isclose(self.concentration, ops.zeros_like(self.concentration))

    def _safe(self) -> Any:
        return ops.where(self._thin(), 1.0, self.concentration)

    @property
    def mean(self) -> Any:
        c = self.concentration
        return ops.where(c < 1, self.loc + self.scale / (1 - c), math.inf)

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        c = self.concentration
        return ops.where(c < 0.5, self.scale**2 / ((1 - c) ** 2 * (1 - 2 * c)), math.inf)

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.icdf(ops.rand(self._shape(sample_shape), dtype=self.loc.dtype))

    def icdf(self, value: Any) -> Any:
        thin, c = -ops.log1p(-value), self._safe()
        return self.loc + self.scale * ops.where(self._thin(), thin, ops.expm1(c * thin) / c)

    def cdf(self, value: Any) -> Any:
        return -ops.expm1(self._log_survival(value))

    def _log_survival(self, value: Any) -> Any:
        away, c = (value - self.loc) / self.scale, self._safe()
        return ops.where(self._thin(), -away, -ops.log1p(c * away) / c)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        c = ops.where(self._thin(), 0.0, self.concentration)
        return (1 + c) * self._log_survival(value) - self.scale.log()

    def entropy(self) -> Any:
        return self.scale.log() + self.concentration + 1


class LowRankMultivariateNormal(Distribution):
    """The normal distribution of vectors with the covariance `W W.T + diag(D)`."""

    has_rsample = True
    support = constraints.real_vector

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any, validate_args: bool | None = None):
        if loc.ndim < 1:
            raise ValueError("loc must be at least one-dimensional.")
        if cov_factor.ndim < 2 or cov_factor.shape[-2] != loc.shape[-1]:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {loc.shape[-1]} x m")
        if cov_diag.shape[-1:] != loc.shape[-1:]:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {tuple(loc.shape[-1:])}")
        self.loc, self.cov_factor, self.cov_diag = loc, cov_factor, cov_diag
        scaled = cov_factor.mT / cov_diag.unsqueeze(-2)
        inner = scaled @ cov_factor + ops.eye(cov_factor.shape[-1], dtype=loc.dtype)
        self._capacitance = ops.linalg_cholesky(inner)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args)

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Any:
        return ((self.cov_factor**2).sum(-1) + self.cov_diag).expand(self.loc.shape)

    @property
    def covariance_matrix(self) -> Any:
        return self.cov_factor @ self.cov_factor.mT + ops.diag_embed(self.cov_diag)

    @property
    def precision_matrix(self) -> Any:
        return ops.linalg_inv(self.covariance_matrix)

    @property
    def scale_tril(self) -> Any:
        return ops.linalg_cholesky(self.covariance_matrix)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._shape(sample_shape)
        inner = ops.randn((*shape[:-1], self.cov_factor.shape[-1]), dtype=self.loc.dtype)
        noise = ops.randn(shape, dtype=self.loc.dtype)
        return self.loc + (self.cov_factor @ inner.unsqueeze(-1)).squeeze(-1) + self.cov_diag.sqrt() * noise

    def _log_det(self) -> Any:
        return 2 * ops.diagonal(self._capacitance, dim1=-2, dim2=-1).log().sum(-1) + self.cov_diag.log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        away = value - self.loc
        turned = ((self.cov_factor.mT / self.cov_diag.unsqueeze(-2)) @ away.unsqueeze(-1))
        inner = ops.linalg_solve_triangular(self._capacitance, turned, upper=False).squeeze(-1)
        square = (away**2 / self.cov_diag).sum(-1) - (inner * inner).sum(-1)
        return -0.5 * (self.loc.shape[-1] * math.log(2 * math.pi) + self._log_det() + square)

    def entropy(self) -> Any:
        return 0.5 * (self.loc.shape[-1] * (1 + math.log(2 * math.pi)) + self._log_det())
