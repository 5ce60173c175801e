"""torch.distributions.constraints: conditions on values, each with `check(value)`, a tensor of bool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
real_vector = Constraint("IndependentConstraint(Real(), 1)", lambda value: ops.all(ops.eq(value, value), -1))
positive_integer = Constraint(
    "IntegerGreaterThan(lower_bound=1)", lambda value: ops.logical_and(ops.ge(value, 1), ops.eq(value, ops.floor(value.double())))
)
one_hot = Constraint(
    "OneHot()", lambda value: ops.logical_and(ops.all(ops.logical_or(ops.eq(value, 0), ops.eq(value, 1)), -1), ops.eq(ops.sum(value, -1), 1))
)
lower_triangular = Constraint("LowerTriangular()", lambda value: ops.all(ops.all(ops.eq(value, ops.tril(value)), -1), -1))
lower_cholesky = Constraint(
    "LowerCholesky()",
    lambda value: ops.logical_and(lower_triangular.check(value), ops.all(ops.gt(ops.diagonal(value, dim1=-2, dim2=-1), 0), -1)),
)
corr_cholesky = Constraint(
    "CorrCholesky()",
    lambda value: ops.logical_and(lower_cholesky.check(value), ops.all(ops.lt(ops.abs(ops.norm(value, 2, -1) - 1), 1e-4), -1)),
)
symmetric = Constraint("Symmetric()", _symmetric)


def greater_than(lower_bound: Any) -> Constraint:
    return Constraint(f"GreaterThan(lower_bound={lower_bound})", lambda value: ops.gt(value, lower_bound))


def greater_than_eq(lower_bound: Any) -> Constraint:
    return Constraint(f"GreaterThanEq(lower_bound={lower_bound})", lambda value: ops.ge(value, lower_bound))


def less_than(upper_bound: Any) -> Constraint:
    return Constraint(f"LessThan(upper_bound={upper_bound})", lambda value: ops.lt(value, upper_bound))


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    name = f"Interval(lower_bound={lower_bound}, upper_bound={upper_bound})"
    return Constraint(name, lambda value: ops.logical_and(ops.ge(value, lower_bound), ops.le(value, upper_bound)))


def half_open_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    name = f"HalfOpenInterval(lower_bound={lower_bound}, upper_bound={upper_bound})"
    return Constraint(name, lambda value: ops.logical_and(ops.ge(value, lower_bound), ops.lt(value, upper_bound)))


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    inside, name = interval(lower_bound, upper_bound), f"IntegerInterval(lower_bound={lower_bound}, upper_bound={upper_bound})"
    return Constraint(name, lambda value: ops.logical_and(inside.check(value), ops.eq(value, ops.floor(value))))


def independent(base_constraint: Constraint, reinterpreted_batch_ndims: int) -> Constraint:
    """The condition on all elements of the last dimensions."""
    dims = tuple(range(-reinterpreted_batch_ndims, 0))
    name = f"IndependentConstraint({base_constraint}, {reinterpreted_batch_ndims})"
    return Constraint(name, lambda value: ops.all(base_constraint.check(value), dims) if dims else base_constraint.check(value))


__getattr__ = lookup(__name__)
