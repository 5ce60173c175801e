"""Distributions of counts and classes, and distributions whose batch dimensions become those of an event."""

from __future__ import annotations

from typing import Any

from eager.mode import no_grad
from eager.nn import functional as F
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Distribution, one_of, tensors


class Bernoulli(Distribution):
    """One with a probability, else zero."""

    has_enumerate_support = True
    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        one_of(probs, logits, "`probs` or `logits`")
        if probs is not None:
            (self.probs,) = tensors(probs)
        else:
            (self.logits,) = tensors(logits)
        super().__init__((self.probs if probs is not None else self.logits).shape, validate_args=validate_args)

    def __getattr__(self, name: str) -> Any:
        if name == "probs" and "logits" in self.__dict__:
            return ops.sigmoid(self.logits)
        if name == "logits" and "probs" in self.__dict__:
            return ops.logit(self.probs, 1.1920929e-07)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def mode(self) -> Any:
        return ops.where(self.probs == 0.5, float("nan"), (self.probs >= 0.5).to(self.probs.dtype))

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        return ops.bernoulli(self.probs.expand(self._shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        logits, value = ops.broadcast_tensors(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Any:
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Any:
        values = ops.arange(2, dtype=self.probs.dtype).reshape((2, *[1] * len(self.batch_shape)))
        return values.expand((2, *self.batch_shape)) if expand else values


class Geometric(Distribution):
    """How many failures come before the first success."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        one_of(probs, logits, "`probs` or `logits`")
        (self.probs,) = tensors(probs if probs is not None else ops.sigmoid(tensors(logits)[0]))
        super().__init__(self.probs.shape, validate_args=validate_args)

    @property
    def logits(self) -> Any:
        return ops.logit(self.probs, 1.1920929e-07)

    @property
    def mean(self) -> Any:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Any:
        return ops.zeros_like(self.probs)

    @property
    def variance(self) -> Any:
        return (1 / self.probs - 1) / self.probs

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        unit = ops.rand(self._shape(sample_shape), dtype=self.probs.dtype)
        return (ops.log1p(-unit) / ops.log1p(-self.probs)).floor()

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return value * ops.log1p(-self.probs) + self.probs.log()

    def entropy(self) -> Any:
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs


class Poisson(Distribution):
    """How many events come in a time."""

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None):
        (self.rate,) = tensors(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.rate

    variance = mean

    @property
    def mode(self) -> Any:
        return self.rate.floor()

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        return ops.poisson(self.rate.expand(self._shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return ops.xlogy(value, self.rate) - self.rate - ops.lgamma(value + 1)


class Categorical(Distribution):
    """A class number with a probability for each class."""

    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        one_of(probs, logits, "`probs` or `logits`")
        given: Any = probs if probs is not None else logits
        if given.ndim < 1:
            raise ValueError("`probs` parameter must be at least one-dimensional." if probs is not None else
                             "`logits` parameter must be at least one-dimensional.")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = ops.log_softmax(given, -1)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)
        if self._validate_args and probs is not None and not bool((probs >= 0).all()):
            raise ValueError(f"Expected parameter probs of distribution Categorical to satisfy the constraint Simplex(), but found "
                             f"invalid values:\n{probs}")

    def __getattr__(self, name: str) -> Any:
        if name == "probs" and "logits" in self.__dict__:
            return ops.softmax(self.logits, -1)
        if name == "logits" and "probs" in self.__dict__:
            tiny = 1.1920928955078125e-07 if self.probs.element_size() < 8 else 2.220446049250313e-16
            return self.probs.clamp(tiny, 1 - tiny).log()
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def param_shape(self) -> Any:
        return (self.probs if "probs" in self.__dict__ else self.logits).shape

    @property
    def mean(self) -> Any:
        return ops.full(tuple(self.batch_shape), float("nan"), dtype=self.probs.dtype)

    variance = mean

    @property
    def mode(self) -> Any:
        return ops.argmax(self.probs, -1)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        count = 1
        for n in tuple(sample_shape):
            count = count * n
        rows = ops.multinomial(self.probs.reshape((-1, self._num_events)), count, True)
        return rows.t().reshape(self._shape(sample_shape))

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        wanted = value.long().unsqueeze(-1)
        shape = tuple(ops.broadcast_tensors(wanted, self.logits[..., :1])[0].shape[:-1])
        logits = self.logits.expand((*shape, self._num_events))
        return ops.gather(logits, -1, wanted.expand((*shape, 1))).squeeze(-1)

    def entropy(self) -> Any:
        tiny = -3.4028234663852886e38
        return -(self.logits.clamp(min=tiny) * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        values = ops.arange(self._num_events).reshape((-1, *[1] * len(self.batch_shape)))
        return values.expand((self._num_events, *self.batch_shape)) if expand else values

    def _check(self, value: Any) -> None:
        super()._check(value)
        if self._validate_args and not bool(((value >= 0) & (value < self._num_events)).all()):
            raise ValueError(f"Expected value argument to be within the support (IntegerInterval(lower_bound=0, upper_bound="
                             f"{self._num_events - 1})) of the distribution Categorical, but found invalid values:\n{value}")

    def __repr__(self) -> str:
        name = "probs" if "probs" in self.__dict__ else "logits"
        return f"Categorical({name}: {tuple(self.param_shape)})"


class OneHotCategorical(Distribution):
    """A class as a vector of zeros with a one."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        self._classes = Categorical(probs, logits, validate_args)
        super().__init__(self._classes.batch_shape, self._classes.param_shape[-1:], validate_args)

    @property
    def probs(self) -> Any:
        return self._classes.probs

    @property
    def logits(self) -> Any:
        return self._classes.logits

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def mode(self) -> Any:
        return F.one_hot(self._classes.mode, self.event_shape[0]).to(self.probs.dtype)

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        return F.one_hot(self._classes.sample(sample_shape), self.event_shape[0]).to(self.probs.dtype)

    def log_prob(self, value: Any) -> Any:
        self._check(value)
        return self._classes.log_prob(ops.argmax(value, -1))

    def entropy(self) -> Any:
        return self._classes.entropy()

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneHotCategorical:
        made = super().expand(batch_shape)
        made._classes = self._classes.expand(batch_shape)
        return made


class Independent(Distribution):
    """Another distribution, whose last batch dimensions are taken as those of one event."""

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: bool | None = None):
        if reinterpreted_batch_ndims > len(base_distribution.batch_shape):
            raise ValueError("Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                             f"{reinterpreted_batch_ndims} vs {len(base_distribution.batch_shape)}")
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, reinterpreted_batch_ndims
        shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        cut = len(base_distribution.batch_shape) - reinterpreted_batch_ndims
        super().__init__(shape[:cut], shape[cut:], validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def mean(self) -> Any:
        return self.base_dist.mean

    @property
    def mode(self) -> Any:
        return self.base_dist.mode

    @property
    def variance(self) -> Any:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Any:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self.base_dist.rsample(sample_shape)

    def _summed(self, value: Any) -> Any:
        dims = tuple(range(-self.reinterpreted_batch_ndims, 0))
        return value.sum(dims) if dims else value

    def log_prob(self, value: Any) -> Any:
        return self._summed(self.base_dist.log_prob(value))

    def entropy(self) -> Any:
        return self._summed(self.base_dist.entropy())

    def expand(self, batch_shape: Any, _instance: Any = None) -> Independent:
        inner = self.event_shape[: self.reinterpreted_batch_ndims]
        return Independent(self.base_dist.expand((*tuple(batch_shape), *inner)), self.reinterpreted_batch_ndims, False)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"
