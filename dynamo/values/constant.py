"""Immutable literals: numbers, strings, None, dtypes, sizes, enum members, numpy scalars, ranges.
Everything on them is computed for real while the frame is interpreted, and burnt into the graph.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dynamo.values.base import NO_KEYWORDS, Value

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame

_LITERALS = (
    int, float, bool, str, bytes, complex, type(None), type(...), type(NotImplemented), range,
    types.CodeType,
)  # fmt: skip


def is_literal(value: Any) -> bool:
    """Whether a Python object is one of the immutable literals."""
    kind = type(value)
    if kind in _LITERALS or isinstance(value, enum.Enum):
        return True
    if kind.__module__ == "numpy" and hasattr(value, "item") and not hasattr(value, "__setitem__"):
        return getattr(value, "ndim", 1) == 0
    if kind in (tuple, frozenset):
        return False
    return _is_tensor_literal(value)


def _is_tensor_literal(value: Any) -> bool:
    """dtypes, devices and sizes: the immutable objects of the tensor library."""
    kind = type(value)
    if kind.__module__.partition(".")[0] != "eager" or callable(value):
        return False
    if isinstance(value, tuple):
        return all(type(item) in (int, bool, float) for item in value)
    return is_tensor_literal_type(kind)


def is_tensor_literal_type(kind: type) -> bool:
    """Whether a class of the tensor library makes immutable literals."""
    names = ("dtype", "device", "layout", "memory_format", "finfo", "iinfo", "Size")
    return kind.__name__ in names and kind.__module__.startswith("eager.")


class Constant(Value):
    """An immutable literal; equality is its guard."""

    def __init__(self, value: Any, source: Any = None) -> None:
        self.value = value
        self.source = source

    def __repr__(self) -> str:
        return repr(self.value)

    def python_type(self) -> type:
        return type(self.value)

    def unwrap(self) -> Any:
        return self.value

    def is_constant(self) -> bool:
        return True

    def key(self) -> Any:
        return self.value

    def identity(self) -> Any:
        return self.value

    def attribute(self, m: Frame, name: str) -> Value:
        if isinstance(self.value, enum.Enum) and name not in ("name", "value"):
            return m.wrap(m.real_getattr(self.value, name))
        found = m.real_getattr(self.value, name)
        if callable(found) and not isinstance(found, type):
            return ConstantMethod(self, name)
        return m.wrap(found)

    def truth(self, m: Frame) -> bool:
        return m.evaluate(bool, self.value)

    def iterate(self, m: Frame) -> Value:
        from dynamo.values.iterator import SequenceIterator

        if isinstance(self.value, range):
            return SequenceIterator(self)
        return SequenceIterator(m.expand_concrete(self))

    def rebuild(self, e: Emitter) -> None:
        e.load_const(self.value)


class ConstantMethod(Value):
    """A bound method of a literal."""

    def __init__(self, owner: Constant, name: str) -> None:
        self.owner = owner
        self.name = name

    def __repr__(self) -> str:
        return f"{self.owner!r}.{self.name}"

    def python_type(self) -> type:
        return types.BuiltinMethodType

    def unwrap(self) -> Any:
        return getattr(self.owner.value, self.name)

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        method: Callable = getattr(self.owner.value, self.name)
        if self.name == "join" and len(args) == 1:
            return m.run(method, [m.list_of(args[0].items(m))])
        if self.name == "format":
            args = [m.formattable(arg) for arg in args]
            kwargs = {name: m.formattable(arg) for name, arg in kwargs.items()}
        return m.run(method, args, kwargs)

    def children(self) -> Sequence[Value]:
        return (self.owner,)

    def rebuild(self, e: Emitter) -> None:
        e.load(self.owner)
        e.load_attr(self.name)
