"""Distributions that are others seen through transforms: `TransformedDistribution`, and the families that are best said so."""

from __future__ import annotations

import math
from typing import Any

from eager.mode import no_grad
from eager.nn import functional as F
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.continuous import Cauchy, Exponential, Gamma, Normal, Uniform
from flambeau.distributions.distribution import Distribution, one_of, tensors
from flambeau.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    StickBreakingTransform,
    Transform,
    summed,
)

_EULER = 0.57721566490153286060


class TransformedDistribution(Distribution):
    """The distribution of `transforms(x)` where x has the base distribution."""

    def __init__(self, base_distribution: Distribution, transforms: Any, validate_args: bool | None = None):
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        if not all(isinstance(t, Transform) for t in self.transforms):
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        self.base_dist: Any = base_distribution
        whole = ComposeTransform(self.transforms)
        base = (*base_distribution.batch_shape, *base_distribution.event_shape)
        if len(base) < whole.domain_dim:
            raise ValueError(f"base_distribution needs to have shape with size at least {whole.domain_dim}, but got {base}.")
        shape = whole.forward_shape(base)
        more = max(len(base_distribution.event_shape) - whole.domain_dim, 0)
        self._extra = max(whole.domain_dim - len(base_distribution.event_shape), 0)  # batch dimensions that join the event
        cut = len(shape) - whole.codomain_dim - more
        super().__init__(shape[:cut], shape[cut:], validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_rsample

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        return self._through(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self._through(self.base_dist.rsample(sample_shape))

    def _through(self, value: Any) -> Any:
        for transform in self.transforms:
            value = transform(value)
        return value

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        total: Any = 0.0
        dims, y = len(self._event_shape), value
        for transform in reversed(self.transforms):
            x = transform.inv(y)
            dims += transform.domain_dim - transform.codomain_dim
            total = total - summed(transform.log_abs_det_jacobian(x, y), dims - transform.domain_dim)
            y = x
        return total + summed(self.base_dist.log_prob(y), dims - len(self.base_dist.event_shape))

    def _monotone(self, value: Any) -> Any:
        sign: Any = math.prod((t.sign for t in self.transforms), start=1)
        if isinstance(sign, int) and sign == 1:
            return value
        return sign * (value - 0.5) + 0.5

    def cdf(self, value: Any) -> Any:
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        return self._monotone(self.base_dist.cdf(value))

    def icdf(self, value: Any) -> Any:
        return self._through(self.base_dist.icdf(self._monotone(value)))

    def expand(self, batch_shape: Any, _instance: Any = None) -> TransformedDistribution:
        whole = ComposeTransform(self.transforms)
        shape = whole.inverse_shape((*tuple(batch_shape), *self.event_shape))
        base = shape[: len(shape) - len(self.base_dist.event_shape)]
        made = super().expand(batch_shape)
        made.base_dist = self.base_dist.expand(base)
        return made

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class HalfNormal(TransformedDistribution):
    """The magnitude of a normal variable of mean zero."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    _base: Any = Normal

    def __init__(self, scale: Any, validate_args: bool | None = None):
        from flambeau.distributions.transforms import AbsTransform

        (self.scale,) = tensors(scale)
        super().__init__(self._base(ops.zeros_like(self.scale), self.scale, False), AbsTransform(), validate_args)

    @property
    def mean(self) -> Any:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> Any:
        return ops.zeros_like(self.scale)

    @property
    def variance(self) -> Any:
        return self.scale**2 * (1 - 2 / math.pi)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        found = self.base_dist.log_prob(value) + math.log(2)
        return ops.where(value >= 0, found, -math.inf)

    def cdf(self, value: Any) -> Any:
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: Any) -> Any:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Any:
        return self.base_dist.entropy() - math.log(2)


class HalfCauchy(HalfNormal):
    """The magnitude of a Cauchy variable around zero."""

    _base = Cauchy

    @property
    def mean(self) -> Any:
        return ops.full_like(self.scale, math.inf)

    @property
    def variance(self) -> Any:
        return ops.full_like(self.scale, math.inf)


class Pareto(TransformedDistribution):
    """A power law above `scale`."""

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None):
        self.scale, self.alpha = tensors(scale, alpha)
        base = Exponential(self.alpha, False)
        super().__init__(base, [ExpTransform(), AffineTransform(0, self.scale)], validate_args)
        self.support = constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Any:
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Any:
        return self.scale

    @property
    def variance(self) -> Any:
        a = self.alpha.clamp(min=2)
        return self.scale**2 * a / ((a - 1) ** 2 * (a - 2))

    def entropy(self) -> Any:
        return (self.scale / self.alpha).log() + (1 + 1 / self.alpha)


class Weibull(TransformedDistribution):
    """The distribution of the time to a failure whose rate is a power of time."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None):
        self.scale, self.concentration = tensors(scale, concentration)
        base = Exponential(ops.ones_like(self.scale), False)
        super().__init__(base, [PowerTransform(1 / self.concentration), AffineTransform(0, self.scale)], validate_args)

    def _moment(self, order: int) -> Any:
        return ops.exp(ops.lgamma(1 + order / self.concentration))

    @property
    def mean(self) -> Any:
        return self.scale * self._moment(1)

    @property
    def mode(self) -> Any:
        k = self.concentration
        return self.scale * ((k - 1) / k) ** (1 / k)

    @property
    def variance(self) -> Any:
        return self.scale**2 * (self._moment(2) - self._moment(1) ** 2)

    def entropy(self) -> Any:
        inverse = 1 / self.concentration
        return _EULER * (1 - inverse) + ops.log(self.scale * inverse) + 1


class Kumaraswamy(TransformedDistribution):
    """A distribution of shares much like Beta, with a simple cumulative one."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None):
        self.concentration1, self.concentration0 = tensors(concentration1, concentration0)
        base = Uniform(ops.zeros_like(self.concentration1), ops.ones_like(self.concentration1), False)
        steps = [PowerTransform(1 / self.concentration0), AffineTransform(1.0, -1.0), PowerTransform(1 / self.concentration1)]
        super().__init__(base, steps, validate_args)

    def _moment(self, order: int) -> Any:
        a, b = 1 + order / self.concentration1, self.concentration0
        return ops.exp(b.log() + ops.lgamma(a) + ops.lgamma(b) - ops.lgamma(a + b))

    @property
    def mean(self) -> Any:
        return self._moment(1)

    @property
    def mode(self) -> Any:
        a, b = self.concentration1, self.concentration0
        found = ((a - 1) / (a * b - 1)) ** (1 / a)
        return ops.where((a < 1) | (b < 1), math.nan, found)

    @property
    def variance(self) -> Any:
        return self._moment(2) - self._moment(1) ** 2

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        harmonic = ops.digamma(b + 1) + _EULER
        return (1 - 1 / b) + (1 - 1 / a) * harmonic - a.log() - b.log()


class InverseGamma(TransformedDistribution):
    """The distribution of one over a Gamma variable."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None):
        self.concentration, self.rate = tensors(concentration, rate)
        minus = ops.full((), -1.0, dtype=self.rate.dtype)
        super().__init__(Gamma(self.concentration, self.rate, False), PowerTransform(minus), validate_args)

    @property
    def mean(self) -> Any:
        return ops.where(self.concentration > 1, self.rate / (self.concentration - 1), math.inf)

    @property
    def mode(self) -> Any:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Any:
        a = self.concentration
        return ops.where(a > 2, self.rate**2 / ((a - 1) ** 2 * (a - 2)), math.inf)

    def entropy(self) -> Any:
        a = self.concentration
        return a + self.rate.log() + ops.lgamma(a) - (1 + a) * ops.digamma(a)


class LogisticNormal(TransformedDistribution):
    """Shares of which the logarithms of ratios are normal."""

    support = constraints.simplex

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        base = Normal(loc, scale, validate_args)
        if not base.batch_shape:
            base = base.expand((1,))
        super().__init__(base, StickBreakingTransform(), validate_args)

    @property
    def loc(self) -> Any:
        return self.base_dist.loc

    @property
    def scale(self) -> Any:
        return self.base_dist.scale


def _logits_of(probs: Any, logits: Any) -> Any:
    one_of(probs, logits, "`probs` or `logits`")
    return tensors(logits)[0] if logits is not None else ops.logit(tensors(probs)[0], 1.1920929e-07)


class LogitRelaxedBernoulli(Distribution):
    """The logit of a relaxed Bernoulli variable."""

    has_rsample = True
    support = constraints.real

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        self.temperature, self.logits = temperature, _logits_of(probs, logits)
        super().__init__(self.logits.shape, validate_args=validate_args)

    @property
    def probs(self) -> Any:
        return ops.sigmoid(self.logits)

    def rsample(self, sample_shape: Any = ()) -> Any:
        unit = ops.rand(self._shape(sample_shape), dtype=self.logits.dtype).clamp(1.2e-7, 1 - 1.2e-7)
        return (ops.log(unit) - ops.log1p(-unit) + self.logits) / self.temperature

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        away = self.logits - value * self.temperature
        heat = self.temperature if isinstance(self.temperature, Tensor) else ops.full((), self.temperature, dtype=value.dtype)
        return heat.log() + away - 2 * F.softplus(away)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogitRelaxedBernoulli:
        return LogitRelaxedBernoulli(self.temperature, logits=self.logits.expand(tuple(batch_shape)), validate_args=False)


class RelaxedBernoulli(TransformedDistribution):
    """Numbers between 0 and 1 that a low temperature drives to either; samples differentiate."""

    support = constraints.unit_interval

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        super().__init__(LogitRelaxedBernoulli(temperature, probs, logits), SigmoidTransform(), validate_args)

    temperature = property(lambda self: self.base_dist.temperature)
    logits = property(lambda self: self.base_dist.logits)
    probs = property(lambda self: self.base_dist.probs)


class ExpRelaxedCategorical(Distribution):
    """The logarithm of a relaxed one-hot variable."""

    has_rsample = True
    support = constraints.real_vector

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        one_of(probs, logits, "`probs` or `logits`")
        given: Any = logits if logits is not None else ops.log((probs / probs.sum(-1, keepdim=True)).clamp(1.2e-7, 1 - 1.2e-7))
        self.temperature, self.logits = temperature, ops.log_softmax(given, -1) if logits is not None else given
        super().__init__(self.logits.shape[:-1], self.logits.shape[-1:], validate_args)

    @property
    def probs(self) -> Any:
        return ops.softmax(self.logits, -1)

    def rsample(self, sample_shape: Any = ()) -> Any:
        unit = ops.rand(self._shape(sample_shape), dtype=self.logits.dtype).clamp(1.2e-7, 1 - 1.2e-7)
        return ops.log_softmax((self.logits - ops.log(-ops.log(unit))) / self.temperature, -1)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        count = self.logits.shape[-1]
        heat = self.temperature if isinstance(self.temperature, Tensor) else ops.full((), self.temperature, dtype=value.dtype)
        size = math.lgamma(count) + heat.log() * (count - 1)
        score = self.logits - value * self.temperature
        return (score - ops.logsumexp(score, -1, keepdim=True)).sum(-1) + size

    def expand(self, batch_shape: Any, _instance: Any = None) -> ExpRelaxedCategorical:
        logits = self.logits.expand((*tuple(batch_shape), self.logits.shape[-1]))
        return ExpRelaxedCategorical(self.temperature, logits=logits, validate_args=False)


class RelaxedOneHotCategorical(TransformedDistribution):
    """Shares that a low temperature drives to one class; samples differentiate."""

    support = constraints.simplex

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        super().__init__(ExpRelaxedCategorical(temperature, probs, logits), ExpTransform(), validate_args)

    temperature = property(lambda self: self.base_dist.temperature)
    logits = property(lambda self: self.base_dist.logits)
    probs = property(lambda self: self.base_dist.probs)
