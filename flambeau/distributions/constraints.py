"""torch.distributions.constraints: conditions on values, each with `check(value)`, a tensor of bool."""

from __future__ import annotations

from collections.abc import Callable

from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


class Constraint:
    """A condition."""

    def __init__(self, name: str, test: Callable[[Tensor], Tensor]):
        self.name, self.test = name, test

    def check(self, value: Tensor) -> Tensor:
        return self.test(value)

    def __repr__(self) -> str:
        return self.name


def _symmetric(value: Tensor) -> Tensor:
    flat = ops.isclose(value, value.mT, atol=1e-6)
    return ops.all(ops.all(flat, -1), -1)


real = Constraint("real", lambda value: ops.eq(value, value))
positive = Constraint("positive", lambda value: ops.gt(value, 0))
nonnegative = Constraint("nonnegative", lambda value: ops.ge(value, 0))
unit_interval = Constraint("unit_interval", lambda value: ops.logical_and(ops.ge(value, 0), ops.le(value, 1)))
boolean = Constraint("Boolean()", lambda value: ops.logical_or(ops.eq(value, 0), ops.eq(value, 1)))
nonnegative_integer = Constraint(
    "IntegerGreaterThan(lower_bound=0)", lambda value: ops.logical_and(ops.ge(value, 0), ops.eq(value, ops.floor(value.double())))
)
simplex = Constraint(
    "Simplex()", lambda value: ops.logical_and(ops.all(ops.ge(value, 0), -1), ops.lt(ops.abs(ops.sum(value, -1) - 1), 1e-6))
)
positive_definite = Constraint(
    "positive_definite",
    lambda value: ops.logical_and(_symmetric(value), ops.all(ops.gt(ops.linalg_eigvalsh(value), 0), -1)),
)
__getattr__ = lookup(__name__)
