"""Distributions of counts in several tries, one-hot samples that differentiate, and mixtures."""

from __future__ import annotations

import math
from typing import Any

from eager.mode import no_grad
from eager.nn import functional as F
from eager.registry import ops
from flambeau.distributions import constraints
from flambeau.distributions.discrete import Categorical, OneHotCategorical
from flambeau.distributions.distribution import Distribution, one_of, tensors


class _Tries(Distribution):
    """Counts by `total_count` and one of `probs` and `logits`."""

    def __init__(self, total_count: Any, probs: Any, logits: Any, validate_args: bool | None):
        one_of(probs, logits, "`probs` or `logits`")
        given = probs if probs is not None else logits
        name = "probs" if probs is not None else "logits"
        self.total_count, self.__dict__[name] = tensors(total_count, given)
        super().__init__(self.total_count.shape, validate_args=validate_args)

    def __getattr__(self, name: str) -> Any:
        if name == "probs" and "logits" in self.__dict__:
            return ops.sigmoid(self.logits)
        if name == "logits" and "probs" in self.__dict__:
            return ops.logit(self.probs, 1.1920929e-07)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


class Binomial(_Tries):
    """How many of `total_count` tries succeed."""

    arg_constraints = {"total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval, "logits": constraints.real}
    has_enumerate_support = True

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        super().__init__(total_count, probs, logits, validate_args)
        self.support = constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Any:
        return self.total_count * self.probs

    @property
    def mode(self) -> Any:
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * (1 - self.probs)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        from flambeau.questions import binomial

        shape = self._shape(sample_shape)
        return binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        ways = ops.lgamma(self.total_count + 1) - ops.lgamma(value + 1) - ops.lgamma(self.total_count - value + 1)
        return ways + value * self.logits - self.total_count * F.softplus(self.logits)

    def entropy(self) -> Any:
        total = int(self.total_count.max())
        if not bool((self.total_count == total).all()):
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        found = self.log_prob(self.enumerate_support(False))
        return -(found.exp() * found).sum(0)

    def enumerate_support(self, expand: bool = True) -> Any:
        total = int(self.total_count.max())
        if not bool((self.total_count == total).all()):
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        values = ops.arange(total + 1, dtype=self.probs.dtype).reshape((-1, *[1] * len(self.batch_shape)))
        return values.expand((total + 1, *self.batch_shape)) if expand else values


class NegativeBinomial(_Tries):
    """How many tries succeed before `total_count` fail."""

    arg_constraints = {
        "total_count": constraints.nonnegative, "probs": constraints.half_open_interval(0.0, 1.0), "logits": constraints.real
    }  # fmt: skip
    support = constraints.nonnegative_integer

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        super().__init__(total_count, probs, logits, validate_args)

    @property
    def mean(self) -> Any:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Any:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0)

    @property
    def variance(self) -> Any:
        return self.mean / ops.sigmoid(-self.logits)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        rate = ops.standard_gamma(self.total_count.expand(self._shape(sample_shape))) * self.logits.exp()
        return ops.poisson(rate)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        chance = self.total_count * F.logsigmoid(-self.logits) + value * F.logsigmoid(self.logits)
        ways = ops.lgamma(self.total_count + value) - ops.lgamma(1 + value) - ops.lgamma(self.total_count)
        return chance + ops.where(self.total_count + value == 0, 0.0, ways)


class Multinomial(Distribution):
    """How often each class comes in `total_count` tries."""

    def __init__(self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._classes = Categorical(probs, logits, validate_args)
        super().__init__(self._classes.batch_shape, self._classes.param_shape[-1:], validate_args)

    probs = property(lambda self: self._classes.probs)
    logits = property(lambda self: self._classes.logits)

    @property
    def mean(self) -> Any:
        return self.probs * self.total_count

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * (1 - self.probs)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        drawn = self._classes.sample((self.total_count, *tuple(sample_shape)))
        return F.one_hot(drawn, self.event_shape[0]).sum(0).to(self.probs.dtype)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args and not bool((value.sum(-1) == self.total_count).all()):
            raise ValueError(f"Expected counts that sum to {self.total_count}, but found invalid values:\n{value}")
        logits, value = ops.broadcast_tensors(self.logits, value)
        logits = ops.where((value == 0) & (logits == -math.inf), 0.0, logits)
        return ops.lgamma(value.sum(-1) + 1) - ops.lgamma(value + 1).sum(-1) + (logits * value).sum(-1)

    def entropy(self) -> Any:
        count = float(self.total_count)
        counts = ops.arange(1, self.total_count + 1, dtype=self.probs.dtype).reshape((-1, *[1] * self.probs.ndim))
        chances = Binomial(self.total_count, self.probs, validate_args=False).log_prob(counts).exp()
        return count * self._classes.entropy() - math.lgamma(count + 1) + (chances * ops.lgamma(counts + 1)).sum((0, -1))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Multinomial:
        made = super().expand(batch_shape)
        made._classes = self._classes.expand(batch_shape)
        return made


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot samples with the gradient of the probabilities."""

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class MixtureSameFamily(Distribution):
    """One of several distributions of a family, by chance: the last batch dimension of `component_distribution`."""

    def __init__(self, mixture_distribution: Any, component_distribution: Any, validate_args: bool | None = None):
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an instance of torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution need to be an instance of torch.distributions.Distribution")
        if not component_distribution.batch_shape or component_distribution.batch_shape[-1] != mixture_distribution._num_events:
            raise ValueError(f"`mixture_distribution` component ({mixture_distribution._num_events}) does not equal "
                             f"`component_distribution.batch_shape[-1]` ({tuple(component_distribution.batch_shape)[-1:]})")
        self.mixture_distribution, self.component_distribution = mixture_distribution, component_distribution
        self._rank = len(component_distribution.event_shape)
        super().__init__(component_distribution.batch_shape[:-1], component_distribution.event_shape, validate_args)

    def _shares(self) -> Any:
        probs = self.mixture_distribution.probs
        return probs.reshape((*probs.shape, *[1] * self._rank))

    @property
    def mean(self) -> Any:
        return (self._shares() * self.component_distribution.mean).sum(-1 - self._rank)

    @property
    def variance(self) -> Any:
        parts = self.component_distribution
        away = (parts.mean - self.mean.unsqueeze(-1 - self._rank)) ** 2
        return (self._shares() * (parts.variance + away)).sum(-1 - self._rank)

    def _wide(self, value: Any) -> Any:
        return value.unsqueeze(-1 - self._rank)

    def cdf(self, value: Any) -> Any:
        return (self.component_distribution.cdf(self._wide(value)) * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        parts = self.component_distribution.log_prob(self._wide(value))
        return ops.logsumexp(parts + ops.log_softmax(self.mixture_distribution.logits, -1), -1)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        which = self.mixture_distribution.sample(sample_shape)
        every = self.component_distribution.sample(sample_shape)
        dim = len(tuple(sample_shape)) + len(self.batch_shape)
        index = which.expand((*tuple(sample_shape), *self.batch_shape)).reshape((*every.shape[:dim], 1, *[1] * self._rank))
        return ops.gather(every, dim, index.expand((*every.shape[:dim], 1, *self.event_shape))).squeeze(dim)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
