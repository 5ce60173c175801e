"""Lists, tuples, sets and slices. Items of a container that came in from outside are wrapped, and
guarded, when they are first looked at. A mutated container is written back after the graph.
"""

from __future__ import annotations

import builtins
import collections
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dynamo.unsupported import NotConcrete, unsupported
from dynamo.values.base import NO_KEYWORDS, Value
from eager.tensor import Tensor

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame

_INPLACE = {operator.iadd: operator.add, operator.imul: operator.mul}
_PLAIN = (int, float, bool, str, bytes, type(None), dict, set, list, tuple)
_COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


class SequenceValue(Value):
    """A tuple, list or deque of values."""

    kind: type = tuple
    maxlen: int | None = None  # of a deque

    def __init__(
        self, items: list, source: Any = None, real: Any = None, kind: type | None = None
    ) -> None:
        self._items = items
        self.source = source
        self.real = real
        self.kind = kind or type(self).kind

    def __repr__(self) -> str:
        return f"<{self.kind.__name__} of {len(self._items)}>"

    def python_type(self) -> type:
        return self.kind

    def get(self, m: Frame, index: int) -> Value:
        value = self._items[index]
        if not isinstance(value, Value):
            if index < 0:
                index += len(self._items)
            value = self._items[index] = m.read_item(value, self.source, index)
        return value

    def all(self, m: Frame) -> list[Value]:
        return [self.get(m, index) for index in range(len(self._items))]

    def items(self, m: Frame) -> list[Value]:
        return self.all(m)

    def identity(self) -> Any:
        return self if self.real is None or self.kind is not tuple else self.real

    def realize(self, m: Frame) -> None:
        for item in self.all(m):
            item.realize(m)

    def unwrap(self) -> Any:
        items = []
        for item in self._items:
            if not isinstance(item, Value):
                raise NotConcrete(self)
            items.append(item.unwrap())
        return self.kind(items) if self.maxlen is None else collections.deque(items, self.maxlen)

    def is_constant(self) -> bool:
        return self.kind is tuple and all(
            isinstance(item, Value) and item.is_constant() for item in self._items
        )

    def length(self, m: Frame) -> Value:
        return m.constant(len(self._items))

    def truth(self, m: Frame) -> bool:
        return bool(self._items)

    def iterate(self, m: Frame) -> Value:
        from dynamo.values.iterator import SequenceIterator

        return SequenceIterator(self)

    def item(self, m: Frame, key: Value) -> Value:
        if isinstance(key, SliceValue) or key.python_type() is slice:
            return self.like(self.all(m)[m.index_of(key)])
        index = m.index_of(key)
        if not -len(self._items) <= index < len(self._items):
            m.throw(IndexError, f"{self.kind.__name__} index out of range")
        return self.get(m, index)

    def like(self, items: list[Value]) -> SequenceValue:
        value = type(self)(items, kind=self.kind)
        value.maxlen = self.maxlen
        return value

    def contains(self, m: Frame, item: Value) -> Value:
        return m.constant(any(m.same(own, item) for own in self.all(m)))

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        other = getattr(other, "storage", None) or other
        if function in (operator.add, operator.iadd) and isinstance(other, SequenceValue):
            if other.kind is not self.kind and function is operator.add:
                return NotImplemented  # type: ignore[return-value]
            return self.like(self.all(m) + other.all(m))
        if function in (operator.mul, operator.imul) and other.python_type() in (int, bool):
            return self.like(self.all(m) * m.index_of(other))
        if function in _COMPARISONS and isinstance(other, SequenceValue):
            return self._compare(m, function, other)
        if function in (operator.eq, operator.ne):
            if not isinstance(other, SequenceValue) and issubclass(other.python_type(), self.kind):
                return NotImplemented  # type: ignore[return-value]
            if other.python_type() not in _PLAIN:
                return NotImplemented  # type: ignore[return-value]
            return m.constant(function is operator.ne)
        return NotImplemented  # type: ignore[return-value]

    def reflected(self, m: Frame, function: Callable, other: Value) -> Value:
        if function in (operator.mul, operator.imul):
            return self.binary(m, operator.mul, other)
        return NotImplemented  # type: ignore[return-value]

    def _compare(self, m: Frame, function: Callable, other: SequenceValue) -> Value:
        if not issubclass(self.kind, other.kind) and not issubclass(other.kind, self.kind):
            if function in (operator.eq, operator.ne):
                return m.constant(function is operator.ne)
            return NotImplemented  # type: ignore[return-value]
        mine, others = self.all(m), other.all(m)
        if function in (operator.eq, operator.ne) and len(mine) != len(others):
            return m.constant(function is operator.ne)
        for left, right in zip(mine, others, strict=False):
            if not m.same(left, right):
                if function in (operator.eq, operator.ne):
                    return m.constant(function is operator.ne)
                return m.binary(function, left, right)
        return m.constant(function(len(mine), len(others)))

    def attribute(self, m: Frame, name: str) -> Value:
        if name == "__class__":
            return m.wrap(self.kind)
        if name == "maxlen" and self.kind is collections.deque:
            return m.constant(self.maxlen)
        if not hasattr(self.kind, name):
            kind = self.kind.__name__
            m.throw(AttributeError, f"'{kind}' object has no attribute '{name}'")
        return ContainerMethod(self, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        handler = getattr(self, f"method_{name.strip('_')}", None)
        if handler is None:
            unsupported(
                "Container method that is not known", f"{self.kind.__name__}.{name} is called"
            )
        result = handler(m, *args, **{k: v for k, v in kwargs.items()})
        return m.constant(None) if result is None else result

    def method_getitem(self, m: Frame, key: Value) -> Value:
        return self.item(m, key)

    def method_len(self, m: Frame) -> Value:
        return self.length(m)

    def method_contains(self, m: Frame, item: Value) -> Value:
        return self.contains(m, item)

    def method_iter(self, m: Frame) -> Value:
        return self.iterate(m)

    def method_add(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.add, other)

    def method_eq(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.eq, other)

    def method_ne(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.ne, other)

    def method_lt(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.lt, other)

    def method_le(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.le, other)

    def method_gt(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.gt, other)

    def method_ge(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.ge, other)

    def method_mul(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.mul, other)

    def method_rmul(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.mul, other)

    def method_reversed(self, m: Frame) -> Value:
        return TupleValue(self.all(m)[::-1]).iterate(m)

    def method_index(self, m: Frame, item: Value, start: Value | None = None) -> Value:
        first = m.index_of(start) if start is not None else 0
        for index, own in enumerate(self.all(m)):
            if index >= first and m.same(own, item):
                return m.constant(index)
        return m.throw(ValueError, f"{item!r} is not in {self.kind.__name__}")

    def method_count(self, m: Frame, item: Value) -> Value:
        return m.constant(sum(m.same(own, item) for own in self.all(m)))

    def children(self) -> Sequence[Value]:
        return [item for item in self._items if isinstance(item, Value)]

    def build(self, e: Emitter) -> None:
        """Load the items and build a fresh container of them."""
        for index, item in enumerate(self._items):
            e.load(item) if isinstance(item, Value) else e.load_item(self, index)

    def rebuild(self, e: Emitter) -> None:
        self.build(e)
        e.build_tuple(len(self._items))


class TupleValue(SequenceValue):
    """A tuple; of a subclass of it, `kind` is the class."""

    kind = tuple

    def key(self) -> Any:
        return tuple(item.key() if isinstance(item, Value) else item for item in self._items)

    def method_hash(self, m: Frame) -> Value:
        return m.run(hash, [self])

    def unwrap(self) -> Any:
        items = super().unwrap() if self.kind is tuple else None
        if items is None:
            items = self.kind([item.unwrap() for item in self._items])
        return items


class ListValue(SequenceValue):
    """A list or a deque."""

    kind = list

    def key(self) -> Any:
        raise TypeError(f"unhashable type: '{self.kind.__name__}'")

    def changed(self, m: Frame) -> None:
        m.check_owner(self)
        m.effects.mutate(self)
        self.all(m)

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        if function is operator.iadd:
            self.method_extend(m, other)
            return self
        if function is operator.imul:
            self.changed(m)
            self._items = self._items * m.index_of(other)
            self._forget_first()
            return self
        return super().binary(m, function, other)

    def store_item(self, m: Frame, key: Value, value: Value) -> None:
        self.changed(m)
        index = m.index_of(key)
        if isinstance(index, slice):
            self._items[index] = value.items(m)
            return
        if not -len(self._items) <= index < len(self._items):
            m.throw(IndexError, f"{self.kind.__name__} assignment index out of range")
        self._items[index] = value

    def delete_item(self, m: Frame, key: Value) -> None:
        self.changed(m)
        m.evaluate(operator.delitem, self._items, m.index_of(key))

    def method_setitem(self, m: Frame, key: Value, value: Value) -> None:
        self.store_item(m, key, value)

    def method_delitem(self, m: Frame, key: Value) -> None:
        self.delete_item(m, key)

    def method_append(self, m: Frame, item: Value) -> None:
        self.changed(m)
        self._items.append(item)
        self._forget_first()

    def method_appendleft(self, m: Frame, item: Value) -> None:
        self.changed(m)
        self._items.insert(0, item)
        if self.maxlen is not None:
            del self._items[self.maxlen :]

    def _forget_first(self) -> None:
        """Drop what a deque with a maximum length has no room for."""
        if self.maxlen is not None:
            del self._items[: max(len(self._items) - self.maxlen, 0)]

    def method_popleft(self, m: Frame) -> Value:
        return self.method_pop(m, m.constant(0))

    def method_init(self, m: Frame, items: Value | None = None) -> None:
        self.changed(m)
        self._items = items.items(m) if items is not None else []

    def method_extend(self, m: Frame, other: Value) -> None:
        items = other.items(m)
        self.changed(m)
        self._items.extend(items)
        self._forget_first()

    def method_iadd(self, m: Frame, other: Value) -> Value:
        self.method_extend(m, other)
        return self

    def method_insert(self, m: Frame, index: Value, item: Value) -> None:
        if len(self._items) == self.maxlen:
            m.throw(IndexError, "deque already at its maximum size")
        self.changed(m)
        self._items.insert(m.index_of(index), item)

    def method_pop(self, m: Frame, index: Value | None = None) -> Value:
        self.changed(m)
        return m.evaluate(self._items.pop, -1 if index is None else m.index_of(index))

    def method_remove(self, m: Frame, item: Value) -> None:
        index = m.index_of(self.method_index(m, item))
        self.changed(m)
        del self._items[index]

    def method_clear(self, m: Frame) -> None:
        self.changed(m)
        self._items = []

    def method_reverse(self, m: Frame) -> None:
        self.changed(m)
        self._items.reverse()

    def method_copy(self, m: Frame) -> Value:
        return self.like(self.all(m))

    def method_sort(self, m: Frame, key: Value | None = None, reverse: Value | None = None) -> None:
        self.changed(m)
        self._items = m.sorted(self.all(m), key, reverse)

    def rebuild(self, e: Emitter) -> None:
        if self.kind is not list:
            e.load_const(self.kind)
            e.prepare_call()
        self.build(e)
        e.build_list(len(self._items))
        if self.maxlen is not None:
            e.load_const(self.maxlen)
        if self.kind is not list:
            e.call(1 if self.maxlen is None else 2)


def _names_tensor(name: Any) -> bool:
    return isinstance(name, Tensor) or (type(name) is tuple and any(map(_names_tensor, name)))


def refuse_tensor(container: Value, key: Value) -> None:
    """A container from outside holds tensors themselves, not what stands for them while capturing."""
    if container.source is not None and _names_tensor(key.key()):
        unsupported(
            "Lookup by a tensor",
            f"a tensor is a key of {container!r}, which the program has from outside",
            "look it up outside the compiled region, or by a name",
        )


class SetValue(Value):
    """A set or frozenset: values by their keys, in order of insertion."""

    def __init__(self, items: dict, source: Any = None, kind: type = set) -> None:
        self._items: dict[Any, Value] = items
        self.source = source
        self.kind = kind

    @classmethod
    def of(cls, values: Sequence[Value], kind: type = set) -> SetValue:
        return cls({value.key(): value for value in values}, kind=kind)

    def __repr__(self) -> str:
        return f"<{self.kind.__name__} of {len(self._items)}>"

    def python_type(self) -> type:
        return self.kind

    def key(self) -> Any:
        if self.kind is set:
            raise TypeError("unhashable type: 'set'")
        return frozenset(self._items)

    def unwrap(self) -> Any:
        return self.kind([item.unwrap() for item in self._items.values()])

    def is_constant(self) -> bool:
        return self.kind is frozenset and all(i.is_constant() for i in self._items.values())

    def items(self, m: Frame) -> list[Value]:
        if all(value.is_constant() for value in self._items.values()):
            # Python's own order, which is not that of insertion.
            order: set[Any] = set()
            order.update(self._items)
            return [self._items[key] for key in order]
        return list(self._items.values())

    def iterate(self, m: Frame) -> Value:
        from dynamo.values.iterator import SequenceIterator

        return SequenceIterator(TupleValue(self.items(m)))

    def length(self, m: Frame) -> Value:
        return m.constant(len(self._items))

    def truth(self, m: Frame) -> bool:
        return bool(self._items)

    def contains(self, m: Frame, item: Value) -> Value:
        key = m.evaluate(item.key)
        refuse_tensor(self, item)
        return m.constant(key in self._items)

    def attribute(self, m: Frame, name: str) -> Value:
        if not hasattr(self.kind, name):
            kind = self.kind.__name__
            m.throw(AttributeError, f"'{kind}' object has no attribute '{name}'")
        return ContainerMethod(self, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if name in _SET_OPERATORS:
            result: Any = self if args else self.method_copy(m)
            for other in args:
                result = result._combine(m, _SET_OPERATORS[name], other)
            return result
        handler = getattr(self, f"method_{name.strip('_')}", None)
        if handler is None:
            unsupported("Container method that is not known", f"set.{name} is called")
        result = handler(m, *args, **kwargs)
        return m.constant(None) if result is None else result

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        name = getattr(function, "__name__", "")
        if not isinstance(other, SetValue) and other.python_type() not in _KEYS_TYPES:
            if function in (operator.eq, operator.ne):
                return m.constant(function is operator.ne)
            return NotImplemented  # type: ignore[return-value]
        if name in _SET_SYMBOLS:
            return self._combine(m, _SET_SYMBOLS[name], other)
        if name in _SET_INPLACE:
            result = self._combine(m, _SET_INPLACE[name], other)
            if self.kind is not set:
                return result
            m.effects.mutate(self)
            self._items = result._items
            return self
        if function in _COMPARISONS:
            mine, others = set(self._items), {value.key() for value in other.items(m)}
            return m.constant(function(mine, others))
        return NotImplemented  # type: ignore[return-value]

    def _combine(self, m: Frame, name: str, other: Value) -> SetValue:
        others = {value.key(): value for value in other.items(m)}
        mine = self._items
        if name == "union":
            items = {**mine, **{k: v for k, v in others.items() if k not in mine}}
        elif name == "intersection":
            items = {k: v for k, v in mine.items() if k in others}
        elif name == "difference":
            items = {k: v for k, v in mine.items() if k not in others}
        else:
            items = {k: v for k, v in mine.items() if k not in others}
            items |= {k: v for k, v in others.items() if k not in mine}
        return SetValue(items, kind=self.kind)

    def method_add(self, m: Frame, item: Value) -> None:
        key = m.evaluate(item.key)
        refuse_tensor(self, item)
        m.effects.mutate(self)
        self._items.setdefault(key, item)

    def method_discard(self, m: Frame, item: Value) -> None:
        refuse_tensor(self, item)
        m.effects.mutate(self)
        self._items.pop(item.key(), None)

    def method_remove(self, m: Frame, item: Value) -> None:
        refuse_tensor(self, item)
        if item.key() not in self._items:
            m.throw(KeyError, m.formattable(item).unwrap())
        self.method_discard(m, item)

    def method_pop(self, m: Frame) -> Value:
        if not self._items:
            m.throw(KeyError, "pop from an empty set")
        item = self.items(m)[0]
        self.method_discard(m, item)
        return item

    def method_clear(self, m: Frame) -> None:
        m.effects.mutate(self)
        self._items = {}

    def method_update(self, m: Frame, *others: Value) -> None:
        m.effects.mutate(self)
        for other in others:
            for item in other.items(m):
                self._items.setdefault(item.key(), item)

    def method_copy(self, m: Frame) -> Value:
        return SetValue(dict(self._items), kind=self.kind)

    def method_contains(self, m: Frame, item: Value) -> Value:
        return self.contains(m, item)

    def method_len(self, m: Frame) -> Value:
        return self.length(m)

    def method_iter(self, m: Frame) -> Value:
        return self.iterate(m)

    def method_issubset(self, m: Frame, other: Value) -> Value:
        return m.constant(set(self._items) <= {value.key() for value in other.items(m)})

    def method_issuperset(self, m: Frame, other: Value) -> Value:
        return m.constant(set(self._items) >= {value.key() for value in other.items(m)})

    def method_isdisjoint(self, m: Frame, other: Value) -> Value:
        return m.constant(set(self._items).isdisjoint({v.key() for v in other.items(m)}))

    def children(self) -> Sequence[Value]:
        return list(self._items.values())

    def rebuild(self, e: Emitter) -> None:
        if self.kind is not set:
            e.load_const(self.kind)
            e.prepare_call()
        for item in self._items.values():
            e.load(item)
        e.build_set(len(self._items))
        if self.kind is not set:
            e.call(1)


_KEYS_TYPES: tuple = (type({}.keys()), type({}.items()))
_SET_OPERATORS = {
    name: name for name in ("union", "intersection", "difference", "symmetric_difference")
}
_SET_SYMBOLS = {
    "or_": "union", "and_": "intersection", "sub": "difference", "xor": "symmetric_difference"
}  # fmt: skip
_SET_INPLACE = {
    "ior": "union", "iand": "intersection", "isub": "difference", "ixor": "symmetric_difference"
}  # fmt: skip


class SliceValue(Value):
    """A slice whose bounds are values."""

    def __init__(self, start: Value, stop: Value, step: Value) -> None:
        self.bounds = (start, stop, step)

    def __repr__(self) -> str:
        return f"slice{self.bounds!r}"

    def python_type(self) -> type:
        return slice

    def unwrap(self) -> Any:
        return slice(*[bound.unwrap() for bound in self.bounds])

    def attribute(self, m: Frame, name: str) -> Value:
        if name in ("start", "stop", "step"):
            return self.bounds[("start", "stop", "step").index(name)]
        return ContainerMethod(self, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        return m.run(getattr(self.unwrap(), name), args, kwargs)

    def children(self) -> Sequence[Value]:
        return self.bounds

    def rebuild(self, e: Emitter) -> None:
        for bound in self.bounds:
            e.load(bound)
        e.build_slice(3)


class ContainerMethod(Value):
    """A method of a container, bound: `append = items.append`."""

    def __init__(self, owner: Value, name: str) -> None:
        self.owner = owner
        self.name = name

    def __repr__(self) -> str:
        return f"{self.owner!r}.{self.name}"

    def python_type(self) -> type:
        return type([].append)

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        return self.owner.method(m, self.name, args, kwargs)

    def children(self) -> Sequence[Value]:
        return (self.owner,)

    def rebuild(self, e: Emitter) -> None:
        e.load(self.owner)
        e.load_attr(self.name)


SEQUENCES: dict[type, builtins.type[SequenceValue]] = {
    tuple: TupleValue,
    list: ListValue,
    collections.deque: ListValue,
}
