"""Exceptions as values: those that the program raises, catches, chains and inspects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynamo.unsupported import unsupported
from dynamo.values.base import NO_KEYWORDS, Value
from dynamo.values.container import ContainerMethod, TupleValue
from dynamo.values.object import MISSING, bind, lookup

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame


class ExceptionValue(Value):
    """An instance of an exception class. `real` is the exception that real code raised, if any."""

    def __init__(self, kind: type, args: list[Value], real: Any = None) -> None:
        self.kind = kind
        self.args = args
        self.real = real
        self.attributes: dict[str, Value] = {}
        self.cause: Value | None = None
        self.context: Value | None = None

    def __repr__(self) -> str:
        return f"{self.kind.__name__}({', '.join(map(repr, self.args))})"

    def is_a(self, kinds: Any) -> bool:
        return issubclass(self.kind, kinds)

    def python_type(self) -> type:
        return self.kind

    def unwrap(self) -> Any:
        return _make(self.kind, *[arg.unwrap() for arg in self.args])

    def truth(self, m: Frame) -> bool:
        return True

    def attribute(self, m: Frame, name: str) -> Value:
        if name in self.attributes:
            return self.attributes[name]
        if name == "args":
            return TupleValue(list(self.args))
        if name == "__class__":
            return m.wrap(self.kind)
        if name in ("__cause__", "__context__"):
            return getattr(self, name.strip("_")) or m.constant(None)
        if name == "__traceback__":
            unsupported("Traceback of an exception", "a traceback exists only in plain Python")
        if name == "value" and self.is_a(StopIteration):
            return self.args[0] if self.args else m.constant(None)
        if name in ("with_traceback", "add_note"):
            return ContainerMethod(self, name)
        if self.real is not None and name in getattr(self.real, "__dict__", ()):
            return m.wrap(getattr(self.real, name))
        member = lookup(self.kind, name)
        if member is MISSING:
            m.throw(AttributeError, f"'{self.kind.__name__}' object has no attribute '{name}'")
        return bind(m, self, self.kind, member, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if name == "with_traceback":
            return self
        if name == "__init__" and not kwargs:
            self.args = list(args)
            return m.constant(None)
        if name in ("__str__", "__repr__"):
            return m.run(str if name == "__str__" else repr, [self])
        if name == "__setattr__":
            self.store_attribute(m, args[0].unwrap(), args[1])
            return m.constant(None)
        if hasattr(BaseException, name):
            unsupported("Method of an exception", f"{name} is called")
        return self.attribute(m, name).call(m, args, kwargs)

    def store_attribute(self, m: Frame, name: str, value: Value) -> None:
        if name in ("__cause__", "__context__"):
            setattr(self, name.strip("_"), value)
        elif name == "args":
            self.args = value.items(m)
        elif name not in ("__traceback__", "__suppress_context__"):
            self.attributes[name] = value

    def binary(self, m: Frame, function: Any, other: Value) -> Value:
        if function.__name__ in ("eq", "ne"):
            return m.constant((other is self) == (function.__name__ == "eq"))
        return NotImplemented  # type: ignore[return-value]

    def children(self) -> Sequence[Value]:
        return [*self.args, *self.attributes.values()]

    def rebuild(self, e: Emitter) -> None:
        e.load_const(_make)
        e.prepare_call()
        e.load_const(self.kind)
        for value in [*self.args, *self.attributes.values()]:
            e.load(value)
        names = tuple(self.attributes)
        e.call(1 + len(self.args) + len(names), names)


def _make(kind: type, /, *args: Any, **attributes: Any) -> Any:
    error: Any = kind.__new__(kind, *args)  # type: ignore[call-overload]
    error.args = args
    for name, value in attributes.items():
        setattr(error, name, value)
    return error
