"""Numbers that change from call to call: an int or float of the program that is read when the compiled code runs, not while it is made.
Arithmetic on it stays Python's own; next to a tensor it becomes a scalar input of the graph. Whoever needs its value gets that of this
call, and a guard.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dynamo.source import ConstantSource, OperationSource
from dynamo.unsupported import Raised
from dynamo.values.base import Value
from dynamo.values.constant import Constant
from dynamo.values.tensor import TensorValue
from eager import dtype as dtypes
from eager.tensor import Tensor

if TYPE_CHECKING:
    from dynamo.capture import Capture
    from dynamo.machine import Frame

_ARITHMETIC = {
    operator.add: operator.add, operator.iadd: operator.add, operator.sub: operator.sub,
    operator.isub: operator.sub, operator.mul: operator.mul, operator.imul: operator.mul,
    operator.truediv: operator.truediv, operator.itruediv: operator.truediv,
}  # fmt: skip


def as_tensor(number: Any) -> Tensor:
    """A number as a scalar, which takes part in promotion as the number does next to tensors that are none."""
    kind = np.int64 if type(number) is int else np.float64
    return Tensor._wrap(np.array(number, dtype=kind))


class NumberValue(Value):
    """A number that may be another one in the next call; `example` is what it is in this one."""

    def __init__(self, capture: Capture, example: Any, source: Any, leaves: tuple) -> None:
        self.capture = capture
        self.example = example
        self.source = source
        self.leaves = leaves  # the numbers that it is computed from: (source, value)

    def __repr__(self) -> str:
        return f"<number {self.source.name}>"

    def python_type(self) -> type:
        return type(self.example)

    def unwrap(self) -> Any:
        for source, value in self.leaves:
            self.capture.specialize(source, value)
        return self.example

    def truth(self, m: Frame) -> bool:
        return bool(self.unwrap())

    def key(self) -> Any:
        return self.unwrap()

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        return self._combine(m, function, self, other)

    def reflected(self, m: Frame, function: Callable, other: Value) -> Value:
        return self._combine(m, function, other, self)

    def _combine(self, m: Frame, function: Callable, left: Value, right: Value) -> Value:
        other = right if left is self else left
        if function not in _ARITHMETIC:
            return NotImplemented  # type: ignore[return-value]
        if isinstance(other, TensorValue):
            scalar = self.beside(other)
            if scalar is self:
                return NotImplemented  # type: ignore[return-value]
            return m.run(function, [scalar, other] if left is self else [other, scalar])
        parts = [_part(left), _part(right)]
        if None in parts:
            return NotImplemented  # type: ignore[return-value]
        function = _ARITHMETIC[function]
        (a, first, mine), (b, second, others) = parts  # type: ignore[misc]
        try:
            result = m.evaluate(function, a, b)
        except Raised:
            # whether it raises depends on the value
            return NotImplemented  # type: ignore[return-value]
        source = OperationSource(function, first, second)
        return NumberValue(self.capture, result, source, (*mine, *others))

    def beside(self, tensor: Value) -> Value:
        takes_part = isinstance(tensor, TensorValue) and self._takes_part(tensor)
        return self.capture.scalar(self) if takes_part else self

    def _takes_part(self, tensor: TensorValue) -> bool:
        """Whether a scalar tensor would mean the same as the number next to this tensor."""
        found, size = tensor.fake.dtype.category, tensor.fake.dtype.itemsize
        if not tensor.fake.ndim:
            return tensor.fake.dtype is dtypes.float64
        if found < dtypes.INTEGER:
            return False
        if found >= dtypes.FLOATING and size < 4:
            return False  # half types compute with numbers in more digits than they have
        return type(self.example) is int or found >= dtypes.FLOATING


def _part(value: Value) -> tuple[Any, Any, tuple] | None:
    """Value, source and leaves of an operand of plain arithmetic."""
    if isinstance(value, NumberValue):
        return value.example, value.source, value.leaves
    if isinstance(value, Constant) and type(value.value) in (int, float):
        return value.value, ConstantSource(value.value), ()
    return None
