"""The base of distributions: batch and event shapes, validation of parameters and values, sampling through `rsample` or `sample`."""

from __future__ import annotations

from typing import Any

from eager.dtype import get_default_dtype
from eager.mode import no_grad
from eager.registry import ops
from eager.shape import Size, broadcast_shapes
from eager.tensor import Tensor


def tensors(*values: Any) -> tuple:
    """Numbers and tensors as tensors of one shape and, for the numbers, the type of the tensors."""
    kinds = [v.dtype for v in values if isinstance(v, Tensor)]
    kind = kinds[0] if kinds else get_default_dtype()
    made = [v if isinstance(v, Tensor) else ops.full((), float(v), dtype=kind) for v in values]
    shape = broadcast_shapes(*[tuple(v.shape) for v in made])
    return tuple(v.expand(shape) for v in made)


def one_of(first: Any, second: Any, names: str) -> None:
    """Raises ValueError unless exactly one of two parameters is given."""
    if (first is None) == (second is None):
        raise ValueError(f"Either {names} must be specified, but not both.")


class Distribution:
    """A family of random variables: `batch_shape` of them, each of shape `event_shape`.

    Raises ValueError for parameters and values outside of what they may be, unless `validate_args=False`."""

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: dict[str, Any] = {}
    support: Any = None
    _validate_args = True

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        if value not in (True, False):
            raise ValueError(f"expected a bool, got {value}")
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if not self._validate_args:
            return
        for name, constraint in self.arg_constraints.items():
            value = self.__dict__.get(name)
            if value is not None and not bool(constraint.check(value).all()):
                raise ValueError(f"Expected parameter {name} (Tensor of shape {tuple(value.shape)}) of distribution {self!r} to satisfy "
                                 f"the constraint {constraint}, but found invalid values:\n{value}")

    @property
    def batch_shape(self) -> Size:
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        return self._event_shape

    @property
    def mean(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.mean")

    @property
    def mode(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not implement mode")

    @property
    def variance(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.variance")

    @property
    def stddev(self) -> Any:
        return self.variance.sqrt()

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Samples that differentiate by the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no samples that differentiate by its parameters: use sample()")

    @no_grad()
    def sample(self, sample_shape: Any = ()) -> Any:
        """Samples of shape sample_shape + batch_shape + event_shape."""
        return self.rsample(sample_shape)

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density or the probability."""
        raise NotImplementedError(f"{type(self).__name__}.log_prob")

    def cdf(self, value: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.cdf")

    def icdf(self, value: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.icdf")

    def entropy(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.entropy")

    def perplexity(self) -> Any:
        return self.entropy().exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The distribution with its parameters repeated to a larger batch."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        before, batch = len(self._batch_shape), tuple(batch_shape)
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                made.__dict__[name] = value.expand((*batch, *value.shape[before:]))
        made._batch_shape = Size(batch)
        return made

    def _shape(self, sample_shape: Any) -> tuple:
        return (*tuple(sample_shape), *self._batch_shape, *self._event_shape)

    def _check(self, value: Any) -> None:
        if not self._validate_args:
            return
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        rank = len(self._event_shape)
        if rank and tuple(value.shape[value.ndim - rank :]) != tuple(self._event_shape):
            raise ValueError(f"The right-most size of value must match event_shape: {tuple(value.shape)} vs {tuple(self._event_shape)}.")
        if self.support is not None and not bool(self.support.check(value).all()):
            raise ValueError(f"Expected value argument (Tensor of shape {tuple(value.shape)}) to be within the support ({self.support}) of "
                             f"the distribution {self!r}, but found invalid values:\n{value}")

    def __repr__(self) -> str:
        given = {n: self.__dict__[n] for n in self.arg_constraints if n in self.__dict__}
        text = ", ".join(f"{n}: {v if v.numel() == 1 else tuple(v.shape)}" for n, v in given.items())
        return f"{type(self).__name__}({text})"
