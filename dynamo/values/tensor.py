"""Tensors: a fake with shape, strides and dtype, whose operations are recorded in the graph.
Methods and attributes are not listed anywhere: they run for real on the fake, under the recorder.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynamo.source import ConstantSource
from dynamo.unsupported import unsupported
from dynamo.values.base import NO_KEYWORDS, RealValue, Value
from dynamo.values.constant import Constant

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame


_ARITHMETIC = frozenset(("add", "sub", "mul", "div", "add_", "sub_", "mul_", "div_"))


class TensorValue(Value):
    """A tensor of the program. `real` is the tensor itself for an input, None for a result."""

    def __init__(self, fake: Any, kind: type, real: Any = None, source: Any = None) -> None:
        self.fake = fake
        self.kind = kind
        self.real = real
        self.source = source
        self.gradient: Value | None = None  # what the program has stored as `.grad`
        self.cleared = False  # whether it did without looking at the one before
        self._was_read = False

    def __repr__(self) -> str:
        shape = ", ".join(map(str, self.fake.shape))
        return f"<tensor {self.fake.dtype}[{shape}]>"

    def python_type(self) -> type:
        return self.kind

    def unwrap(self) -> Any:
        return self.fake

    def key(self) -> Any:
        return self.fake

    def identity(self) -> Any:
        return self.fake

    def attribute(self, m: Frame, name: str) -> Value:
        if name == "__class__":
            return m.wrap(self.kind)
        if name == "grad":
            return self._gradient(m)
        found = getattr(type(self.fake), name, None)
        if isinstance(found, types.FunctionType) or (found is not None and callable(found)):
            return TensorMethod(self, name)
        if self.real is not None and name in getattr(self.real, "__dict__", ()):
            if not hasattr(self.fake, name) or name not in m.capture.tensor_slots:
                return m.read(self.real.__dict__[name], self.source, name)
        if found is None and self.real is not None and hasattr(self.kind, name):
            return m.class_attribute(self, self.kind, name)
        return m.run(getattr, [self, m.constant(name)])

    def _gradient(self, m: Frame) -> Value:
        if self.gradient is not None:
            return self.gradient
        if self.source is None:
            return m.constant(None)
        self._was_read = True
        return m.read(self.real.grad, self.source, "grad")

    def store_attribute(self, m: Frame, name: str, value: Value) -> None:
        if name == "grad" and self._takes(value):
            if self.gradient is None and isinstance(value, Constant):
                self.cleared = not self._was_read
            self.gradient = value
            m.effects.mutate(self)
            return
        unsupported(
            "Attribute store on a tensor",
            f"`.{name}` of a tensor is assigned",
            "set attributes of tensors outside the compiled region",
        )

    def _takes(self, value: Value) -> bool:
        """Whether a value can be stored as the gradient: None, or a tensor of the same kind."""
        if self.source is None or isinstance(self.source, ConstantSource):
            return False
        if isinstance(value, Constant):
            return value.unwrap() is None
        if not isinstance(value, TensorValue):
            return False
        mine, its = self.fake, value.fake
        return (mine.shape, mine.dtype) == (its.shape, its.dtype)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        return TensorMethod(self, name).call(m, args, kwargs)

    def iterate(self, m: Frame) -> Value:
        from dynamo.values.iterator import SequenceIterator

        return SequenceIterator(m.run(_unbind, [self]))

    def truth(self, m: Frame) -> bool:
        return m.run(bool, [self]).unwrap()

    def contains(self, m: Frame, item: Value) -> Value:
        return m.run(operator.contains, [self, item])

    def rebuild(self, e: Emitter) -> None:
        e.load_output(self)


def _unbind(tensor: Any) -> Any:
    if tensor.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return tensor.unbind(0)


class TensorMethod(Value):
    """A method of a tensor, bound."""

    def __init__(self, owner: TensorValue, name: str) -> None:
        self.owner = owner
        self.name = name

    def __repr__(self) -> str:
        return f"{self.owner!r}.{self.name}"

    def python_type(self) -> type:
        return types.MethodType

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        name = self.name
        if name in _ARITHMETIC and args:
            args = [args[0].beside(self.owner), *args[1:]]

        def call_method(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(tensor, name)(*args, **kwargs)

        if name == "backward":
            from dynamo.values.backward import backward

            return backward(m, self.owner, args, kwargs)
        m.capture.check_tensor_method(self.owner, name)
        return m.run(call_method, [self.owner, *args], kwargs, what=f"Tensor.{name}")

    def children(self) -> Sequence[Value]:
        return (self.owner,)

    def rebuild(self, e: Emitter) -> None:
        e.load(self.owner)
        e.load_attr(self.name)


class ToolValue(RealValue):
    """A function of the tensor library: an operator, or a function of it that runs for real."""

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        return m.call_library(self, args, kwargs)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(self.real)
