"""What every value of the symbolic machine can do. A `Value` stands for a Python object while a frame is being interpreted; the methods
here are Python's protocols. Those that a kind of value does not override run for real on the Python objects behind the values, where there are any,
and otherwise say that they are not supported.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dynamo.unsupported import NotConcrete, unsupported

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame

NO_KEYWORDS: dict[str, Any] = {}


class Value:
    """One Python object as the machine knows it. `source` says how to read it again at run time, None if it was made here."""

    source: Any = None

    # -- what it is --------------------------------------------------------------------------------

    def python_type(self) -> type:
        """The type that the object has, or will have, at run time."""
        raise NotImplementedError(type(self).__name__)

    def unwrap(self) -> Any:
        """A Python object to run real code on. Raises NotConcrete where there is none."""
        raise NotConcrete(self)

    def realize(self, m: Frame) -> None:
        """Read what is inside and has not been looked at yet, before `unwrap`."""

    def is_constant(self) -> bool:
        """Whether this is an immutable literal."""
        return False

    def key(self) -> Any:
        """What stands for this value among the keys of a dict or the items of a set."""
        return IdentityKey(self)

    def identity(self) -> Any:
        """An object that is the same one for two values exactly if `is` would say so."""
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    # -- Python's protocols ------------------------------------------------------------------------

    def attribute(self, m: Frame, name: str) -> Value:
        if name == "__class__":
            return m.wrap(self.python_type())
        return m.run(getattr, [self, m.constant(name)])

    def store_attribute(self, m: Frame, name: str, value: Value) -> None:
        unsupported("Attribute store on an object that cannot be tracked", f"{self!r}.{name} = {value!r}")

    def delete_attribute(self, m: Frame, name: str) -> None:
        unsupported("Attribute store on an object that cannot be tracked", f"del {self!r}.{name}")

    def call(self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value]) -> Value:
        unsupported("Call of an object that cannot be traced", f"{self!r} is called")

    def method(self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS) -> Value:
        return self.attribute(m, name).call(m, args, kwargs)

    def item(self, m: Frame, key: Value) -> Value:
        return m.run(operator.getitem, [self, key])

    def store_item(self, m: Frame, key: Value, value: Value) -> None:
        m.run(operator.setitem, [self, key, value])

    def delete_item(self, m: Frame, key: Value) -> None:
        m.run(operator.delitem, [self, key])

    def contains(self, m: Frame, item: Value) -> Value:
        return m.run(operator.contains, [self, item])

    def length(self, m: Frame) -> Value:
        return m.run(len, [self])

    def truth(self, m: Frame) -> bool:
        return m.run(bool, [self]).unwrap()

    def iterate(self, m: Frame) -> Value:
        """What `iter()` gives."""
        from dynamo.values.iterator import SequenceIterator

        return SequenceIterator(m.expand_concrete(self))

    def next(self, m: Frame) -> Value:
        """The next item; raises StopIteration in the program at the end."""
        return m.throw(TypeError, f"'{self.python_type().__name__}' object is not an iterator")

    def items(self, m: Frame) -> list[Value]:
        """All items that iteration gives."""
        return list(m.walk(self.iterate(m)))

    def unary(self, m: Frame, function: Callable) -> Value:
        return m.run(function, [self])

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        """`self OP other`; NotImplemented leaves it to the other operand and then to real execution."""
        return NotImplemented  # type: ignore[return-value]

    def beside(self, tensor: Value) -> Value:
        """What stands for this value in arithmetic with a tensor."""
        return self

    def reflected(self, m: Frame, function: Callable, other: Value) -> Value:
        """`other OP self`, where other did not know how."""
        return NotImplemented  # type: ignore[return-value]

    # -- code generation ---------------------------------------------------------------------------

    def children(self) -> Sequence[Value]:
        """The values that `rebuild` loads."""
        return ()

    def rebuild(self, e: Emitter) -> None:
        """Emit code that makes the object and leaves it on the stack."""
        unsupported("Value cannot be rebuilt after a graph", f"{self!r} would have to outlive the graph",
                    "keep such objects inside the captured region, or return something simpler")


class IdentityKey:
    """A dict key for values that are compared by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value.identity())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdentityKey) and self.value.identity() is other.value.identity()


class RealValue(Value):
    """An object that exists already, is known by identity, is always true and is never changed by the
    machine: functions, classes, modules of Python."""

    real: Any

    def __init__(self, real: Any, source: Any = None) -> None:
        self.real = real
        self.source = source

    def __repr__(self) -> str:
        return f"<{type(self.real).__name__} {getattr(self.real, '__qualname__', self.real)}>"

    def python_type(self) -> type:
        return type(self.real)

    def unwrap(self) -> Any:
        return self.real

    def identity(self) -> Any:
        return self.real

    def key(self) -> Any:
        return self.real

    def truth(self, m: Frame) -> bool:
        return True

    def attribute(self, m: Frame, name: str) -> Value:
        return m.wrap(m.real_getattr(self.real, name))


class NullValue(Value):
    """The NULL that calls and cleared locals leave on the stack."""

    def rebuild(self, e: Emitter) -> None:
        e.push_null()


NULL = NullValue()


def unwrap_all(values: Sequence[Value]) -> list[Any]:
    return [value.unwrap() for value in values]


def flatten(values: Sequence[Value]) -> Iterator[Value]:
    """Every value reachable through `children`, each once, parents first."""
    seen: set[int] = set()
    pending = list(values)[::-1]
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        pending.extend(list(value.children())[::-1])
