"""Iterators: over sequences, zip, enumerate, map, filter, the functions of itertools, generators, and
iterators of user classes. Each gives one value at a time, and raises StopIteration in the program.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dynamo.unsupported import Raised, unsupported
from dynamo.values.base import NO_KEYWORDS, Value
from dynamo.values.constant import Constant
from dynamo.values.container import ContainerMethod, SequenceValue, TupleValue

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame


class IteratorValue(Value):
    """The base of all iterators."""

    kind: type = type(iter(()))

    def python_type(self) -> type:
        return self.kind

    def truth(self, m: Frame) -> bool:
        return True

    def iterate(self, m: Frame) -> Value:
        return self

    def attribute(self, m: Frame, name: str) -> Value:
        if name not in ("__next__", "__iter__", "__class__"):
            m.throw(AttributeError, f"'{self.kind.__name__}' object has no attribute '{name}'")
        return ContainerMethod(self, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if name == "__next__":
            return self.next(m)
        if name == "__iter__":
            return self
        return self.attribute(m, name).call(m, args, kwargs)

    def contains(self, m: Frame, item: Value) -> Value:
        return m.constant(any(m.same(own, item) for own in m.walk(self)))


class SequenceIterator(IteratorValue):
    """An iterator over a sequence (whose later changes it sees, as Python's does) or a range."""

    def __init__(self, sequence: Value) -> None:
        self.sequence = sequence
        self.index = 0

    def __repr__(self) -> str:
        return f"<iterator over {self.sequence!r}>"

    def python_type(self) -> type:
        if isinstance(self.sequence, SequenceValue):
            return type(iter(self.sequence.kind()))
        return type(iter(range(0)))

    def next(self, m: Frame) -> Value:
        sequence = self.sequence
        index = self.index
        if isinstance(sequence, SequenceValue):
            if index >= len(sequence._items):
                m.throw(StopIteration)
            self.index += 1
            return sequence.get(m, index)
        assert isinstance(sequence, Constant)
        if index >= len(sequence.value):
            m.throw(StopIteration)
        self.index += 1
        return m.wrap(sequence.value[index])

    def children(self) -> Sequence[Value]:
        return (self.sequence,)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(_advanced)
        e.prepare_call()
        e.load(self.sequence)
        e.load_const(self.index)
        e.call(2)


def _advanced(sequence: Any, count: int) -> Iterator:
    """An iterator over `sequence` that has given `count` items already."""
    iterator = iter(sequence)
    if hasattr(iterator, "__setstate__") and count:
        iterator.__setstate__(count)
        return iterator
    return itertools.islice(iterator, count, None) if count else iterator


class CombinedIterator(IteratorValue):
    """zip, enumerate, map, filter and reversed: rebuilt from the iterators below."""

    def __init__(self, kind: type, parts: list[Value]) -> None:
        self.kind = kind
        self.parts = parts

    def __repr__(self) -> str:
        return f"<{self.kind.__name__}>"

    def children(self) -> Sequence[Value]:
        return self.parts

    def arguments(self) -> tuple[list[Value], dict[str, Value]]:
        return self.parts, {}

    def rebuild(self, e: Emitter) -> None:
        args, kwargs = self.arguments()
        e.load_const(self.kind)
        e.prepare_call()
        for value in [*args, *kwargs.values()]:
            e.load(value)
        e.call(len(args) + len(kwargs), tuple(kwargs))


class ZipValue(CombinedIterator):
    def __init__(self, parts: list[Value], strict: bool = False) -> None:
        super().__init__(zip, parts)
        self.strict = strict

    def next(self, m: Frame) -> Value:
        if not self.parts:
            m.throw(StopIteration)
        items: list[Value] = []
        for index, part in enumerate(self.parts):
            try:
                items.append(part.next(m))
            except Raised as raised:
                if self.strict and index and raised.value.is_a(StopIteration):
                    m.throw(ValueError, f"zip() argument {index + 1} is shorter than argument 1")
                raise
        return TupleValue(items)

    def arguments(self) -> tuple[list[Value], dict[str, Value]]:
        return self.parts, {"strict": Constant(True)} if self.strict else {}


class EnumerateValue(CombinedIterator):
    def __init__(self, part: Value, count: int) -> None:
        super().__init__(enumerate, [part])
        self.count = count

    def next(self, m: Frame) -> Value:
        item = self.parts[0].next(m)
        self.count += 1
        return TupleValue([m.constant(self.count - 1), item])

    def arguments(self) -> tuple[list[Value], dict[str, Value]]:
        return [self.parts[0], Constant(self.count)], {}


class MapValue(CombinedIterator):
    def __init__(self, function: Value, parts: list[Value]) -> None:
        super().__init__(map, [function, *parts])

    def next(self, m: Frame) -> Value:
        function, *parts = self.parts
        return function.call(m, [part.next(m) for part in parts], {})


class FilterValue(CombinedIterator):
    def __init__(self, function: Value, part: Value) -> None:
        super().__init__(filter, [function, part])

    def next(self, m: Frame) -> Value:
        function, part = self.parts
        while True:
            item = part.next(m)
            keep = item
            if not (isinstance(function, Constant) and function.value is None):
                keep = function.call(m, [item], {})
            if m.truth(keep):
                return item


class ChainValue(IteratorValue):
    """itertools.chain over an iterator of iterables, one after the other, lazily."""

    kind = itertools.chain

    def __init__(self, outer: Value) -> None:
        self.outer = outer
        self.current: Value | None = None

    def next(self, m: Frame) -> Value:
        while True:
            if self.current is None:
                self.current = self.outer.next(m).iterate(m)
            try:
                return self.current.next(m)
            except Raised as raised:
                if not raised.value.is_a(StopIteration):
                    raise
                self.current = None

    def children(self) -> Sequence[Value]:
        return [self.outer, *([] if self.current is None else [self.current])]

    def rebuild(self, e: Emitter) -> None:
        e.load_const(_rest_of_chain)
        e.prepare_call()
        e.load(self.outer)
        e.load(self.current if self.current is not None else TupleValue([]))
        e.call(2)


def _rest_of_chain(outer: Iterator, current: Any) -> Iterator:
    return itertools.chain(current, itertools.chain.from_iterable(outer))


class RealIterator(IteratorValue):
    """A real iterator of itertools running over values as opaque objects; count, repeat, product."""

    def __init__(self, real: Iterator) -> None:
        self.real = real
        self.kind = type(real)

    def next(self, m: Frame) -> Value:
        try:
            item = next(self.real)
        except StopIteration:
            m.throw(StopIteration)
        return m.wrap_values(item)


class GeneratorValue(IteratorValue):
    """A generator of a Python function: a frame that is run up to its next `yield`."""

    kind = types.GeneratorType

    def __init__(self, frame: Any, function: Value, args: list[Value], kwargs: dict) -> None:
        self.frame = frame
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.started = False
        self.finished = False
        self.running = False

    def __repr__(self) -> str:
        return f"<generator {self.frame.code.co_qualname}>"

    @property
    def needs_cleanup(self) -> bool:
        """Whether it is suspended inside `try` or `with`, so that Python would close it at some time."""
        if not self.started or self.finished:
            return False
        entry = self.frame.current.exception_entry
        # Since 3.12 the whole body is under a handler that only turns StopIteration into an error.
        return entry is not None and entry.target.opname != "CALL_INTRINSIC_1"

    def next(self, m: Frame) -> Value:
        return self.send(m, m.constant(None))

    def send(self, m: Frame, value: Value) -> Value:
        if self.finished:
            m.throw(StopIteration)
        return self._advance(m, value, None)

    def throw_in(self, m: Frame, error: Value) -> Value:
        if self.finished or not self.started:
            self.finished = True
            raise Raised(error)
        return self._advance(m, m.constant(None), error)

    def _advance(self, m: Frame, value: Value, error: Value | None) -> Value:
        if self.running:
            m.throw(ValueError, "generator already executing")
        first, self.started, self.running = not self.started, True, True
        try:
            yielded = self.frame.advance(m, value, first, error)
        except Raised as raised:
            self.finished = True
            if raised.value.is_a(StopIteration):
                m.throw(RuntimeError, "generator raised StopIteration")
            raise
        finally:
            self.running = False
        if yielded is None:
            self.finished = True
            m.throw(StopIteration, *self.frame.returned_arguments())
        return yielded

    def close(self, m: Frame) -> Value:
        from dynamo.values.exception import ExceptionValue

        if self.started and not self.finished:
            try:
                self.throw_in(m, ExceptionValue(GeneratorExit, []))
            except Raised as raised:
                if not raised.value.is_a((GeneratorExit, StopIteration)):
                    raise
            else:
                m.throw(RuntimeError, "generator ignored GeneratorExit")
        self.finished = True
        return m.constant(None)

    def attribute(self, m: Frame, name: str) -> Value:
        if name in ("send", "throw", "close"):
            return ContainerMethod(self, name)
        return super().attribute(m, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if name == "send":
            return self.send(m, args[0])
        if name == "close":
            return self.close(m)
        if name == "throw":
            error = args[1] if len(args) > 1 and m.is_exception(args[1]) else args[0]
            return self.throw_in(m, m.as_exception(error))
        return super().method(m, name, args, kwargs)

    def children(self) -> Sequence[Value]:
        if self.started:
            return ()
        return [self.function, *self.args, *self.kwargs.values()]

    def rebuild(self, e: Emitter) -> None:
        if self.finished:
            e.load_const(_nothing)
            e.prepare_call()
            e.call(0)
            return
        if self.started:
            unsupported(
                "A running generator cannot be rebuilt after a graph",
                f"{self!r} is suspended where the graph would end",
                "consume generators before the break, or make a list of them",
            )
        e.load(self.function)
        e.prepare_call()
        for value in [*self.args, *self.kwargs.values()]:
            e.load(value)
        e.call(len(self.args) + len(self.kwargs), tuple(self.kwargs))


def _nothing() -> Iterator:
    return (item for item in list[Any]())
