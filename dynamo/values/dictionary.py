"""Dicts: plain, ordered, default and counting ones, module dictionaries, and their views. A dict from outside is
guarded by the keys that were asked for, or by all of them once it is walked or changed.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dynamo.source import ConstantSource
from dynamo.unsupported import NotConcrete, unsupported
from dynamo.values.base import NO_KEYWORDS, Value
from dynamo.values.container import ContainerMethod, SetValue, TupleValue, refuse_tensor
from eager.tensor import Tensor

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame

_UNREAD = object()


class DictValue(Value):
    """A dict: `(key, value)` by hashable key, in order of insertion."""

    def __init__(
        self,
        items: dict[Any, tuple[Value, Value]] | None = None,
        source: Any = None,
        real: Any = None,
        kind: type = dict,
    ) -> None:
        self._items: dict[Any, Any] = {} if items is None else items
        self.source = source
        self.real = real
        self.kind = kind
        self.factory: Value | None = None
        self.keys_guarded = source is None
        self.read_only = kind not in DICT_TYPES
        # What is to be written back: keys in order of their last store, keys that went, or everything.
        self.stored: dict[Any, None] = {}
        self.removed: dict[Any, Value] = {}
        self.rewritten = False
        self.tensors: dict[int, Value] = {}  # keys that are tensors from outside, by identity
        if real is not None:
            self._items = dict.fromkeys(real, _UNREAD)

    @classmethod
    def of(cls, pairs: Sequence[tuple[Value, Value]], kind: type = dict) -> DictValue:
        items: dict[Any, tuple[Value, Value]] = {}
        for key, value in pairs:
            name = key.key()
            items[name] = (items[name][0] if name in items else key, value)
        return cls(items, kind=kind)

    def __repr__(self) -> str:
        return f"<{self.kind.__name__} of {len(self._items)}>"

    def python_type(self) -> type:
        return self.kind

    def key(self) -> Any:
        raise TypeError("unhashable type: 'dict'")

    # -- reading -----------------------------------------------------------------------------------

    def name(self, m: Frame, key: Value) -> Any:
        """What stands for a key among the items: in a dict from outside a tensor from outside stands for itself.

        Raises Unsupported for a tensor that the program has computed, which is another one in every call, for a tensor in a tuple,
        and for a dict that is walked as well: which of its keys the tensor is may change.
        """
        name = m.evaluate(key.key)
        real = getattr(key, "real", None)
        if self.source is None or not isinstance(real, Tensor):
            refuse_tensor(self, key)
            return name
        # What the replaced code owns has no guards, and where all keys are guarded nobody says which one this is.
        if key.source is None or self.keys_guarded or isinstance(self.source.root, ConstantSource):
            refuse_tensor(self, key)
        self.tensors[id(real)] = key
        return real

    def pair(self, m: Frame, name: Any) -> tuple[Value, Value]:
        found = self._items[name]
        if found is _UNREAD:
            key = self.tensors.get(id(name))
            if key is None:
                value = m.read_item(self._real_item(name), self.source, name, is_dict=True)
                key = m.wrap(name)
            else:
                value = m.read_keyed(self._real_item(name), self.source, key)
            found = self._items[name] = (key, value)
        return found

    def _real_item(self, name: Any) -> Any:
        return dict.__getitem__(self.real, name) if isinstance(self.real, dict) else self.real[name]

    def pairs(self, m: Frame) -> list[tuple[Value, Value]]:
        self.guard_keys(m)
        return [self.pair(m, name) for name in list(self._items)]

    def has(self, m: Frame, key: Value) -> bool:
        name = self.name(m, key)
        found = name in self._items
        if not self.keys_guarded:
            if id(name) in self.tensors:
                m.guard("TENSOR_KEY", self.source, (key.source, name in self.real))
            elif type(name).__hash__ is object.__hash__ and not isinstance(name, type):
                self.guard_keys(m)
            else:
                m.guard("DICT_CONTAINS", self.source, (name, name in self.real))
        return found

    def guard_keys(self, m: Frame) -> None:
        if not self.keys_guarded:
            for key in self.tensors.values():
                refuse_tensor(self, key)
            self.keys_guarded = True
            m.guard("DICT_KEYS", self.source, tuple(self.real))

    def realize(self, m: Frame) -> None:
        for _, value in self.pairs(m):
            value.realize(m)

    def unwrap(self) -> Any:
        out = {}
        for pair in self._items.values():
            if pair is _UNREAD:
                raise NotConcrete(self)
            out[pair[0].unwrap()] = pair[1].unwrap()
        return out if self.kind is dict else self.kind(out)

    def length(self, m: Frame) -> Value:
        self.guard_keys(m)
        return m.constant(len(self._items))

    def truth(self, m: Frame) -> bool:
        self.guard_keys(m)
        return bool(self._items)

    def contains(self, m: Frame, item: Value) -> Value:
        return m.constant(self.has(m, item))

    def item(self, m: Frame, key: Value) -> Value:
        if self.has(m, key):
            return self.pair(m, self.name(m, key))[1]
        if self.factory is not None:
            value = self.factory.call(m, [], {})
            self.store_item(m, key, value)
            return value
        if self.kind is collections.Counter:
            return m.constant(0)
        return m.throw(KeyError, m.formattable(key).unwrap())

    def items(self, m: Frame) -> list[Value]:
        return [key for key, _ in self.pairs(m)]

    def iterate(self, m: Frame) -> Value:
        from dynamo.values.iterator import SequenceIterator

        return SequenceIterator(TupleValue(self.items(m)))

    # -- writing -----------------------------------------------------------------------------------

    def changed(self, m: Frame) -> None:
        if self.read_only:
            unsupported("Mutation of a read-only mapping", f"{self!r} is changed")
        m.check_owner(self)
        m.effects.mutate(self)

    def store_item(self, m: Frame, key: Value, value: Value) -> None:
        name = self.name(m, key)
        self.changed(m)
        old = self._items.get(name, _UNREAD)
        self._items[name] = (key if old is _UNREAD else old[0], value)
        self.stored.pop(name, None)
        self.stored[name] = None

    def delete_item(self, m: Frame, key: Value) -> None:
        if not self.has(m, key):
            m.throw(KeyError, m.formattable(key).unwrap())
        self.changed(m)
        name = self.name(m, key)
        del self._items[name]
        self.stored.pop(name, None)
        if self.real is not None and name in self.real:
            self.removed[name] = key

    def _rewrite(self, m: Frame) -> None:
        """Note that order or everything changes, so that all of it is written back."""
        self.changed(m)
        self.pairs(m)
        self.rewritten = True

    # -- methods -----------------------------------------------------------------------------------

    def attribute(self, m: Frame, name: str) -> Value:
        if name == "default_factory" and self.factory is not None:
            return self.factory
        if name == "__class__":
            return m.wrap(self.kind)
        if not hasattr(self.kind, name):
            kind = self.kind.__name__
            m.throw(AttributeError, f"'{kind}' object has no attribute '{name}'")
        return ContainerMethod(self, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if name in ("update", "__init__"):
            self.method_update(m, *args, **kwargs)
            return m.constant(None)
        handler = getattr(self, f"method_{name.strip('_')}", None)
        if handler is None:
            unsupported("Container method that is not known", f"dict.{name} is called")
        result = handler(m, *args, **kwargs)
        return m.constant(None) if result is None else result

    def method_getitem(self, m: Frame, key: Value) -> Value:
        return self.item(m, key)

    def method_setitem(self, m: Frame, key: Value, value: Value) -> None:
        self.store_item(m, key, value)

    def method_delitem(self, m: Frame, key: Value) -> None:
        self.delete_item(m, key)

    def method_contains(self, m: Frame, key: Value) -> Value:
        return self.contains(m, key)

    def method_len(self, m: Frame) -> Value:
        return self.length(m)

    def method_iter(self, m: Frame) -> Value:
        return self.iterate(m)

    def method_eq(self, m: Frame, other: Value) -> Value:
        return self.binary(m, operator.eq, other)

    def method_get(self, m: Frame, key: Value, default: Value | None = None) -> Value:
        if self.has(m, key):
            return self.pair(m, self.name(m, key))[1]
        return m.constant(None) if default is None else default

    def method_setdefault(self, m: Frame, key: Value, default: Value | None = None) -> Value:
        if not self.has(m, key):
            self.store_item(m, key, m.constant(None) if default is None else default)
        return self.item(m, key)

    def method_pop(self, m: Frame, key: Value, default: Value | None = None) -> Value:
        if not self.has(m, key):
            if default is None:
                m.throw(KeyError, m.formattable(key).unwrap())
            return default
        value = self.pair(m, self.name(m, key))[1]
        self.delete_item(m, key)
        return value

    def method_popitem(self, m: Frame, last: Value | None = None) -> Value:
        if not self.truth(m):
            m.throw(KeyError, "popitem(): dictionary is empty")
        names = list(self._items)
        name = names[-1 if last is None or last.truth(m) else 0]
        key, value = self.pair(m, name)
        self.delete_item(m, key)
        return TupleValue([key, value])

    def method_move_to_end(self, m: Frame, key: Value, last: Value | None = None) -> None:
        self._rewrite(m)
        name = self.name(m, key)
        pair = self._items.pop(name)
        if last is None or last.truth(m):
            self._items[name] = pair
        else:
            self._items = {name: pair, **self._items}

    def method_clear(self, m: Frame) -> None:
        self._rewrite(m)
        self._items = {}

    def method_update(self, m: Frame, *others: Value, **kwargs: Value) -> None:
        for other in others:
            if self.kind is collections.Counter:
                self._count(m, other)
                continue
            for key, value in m.mapping_pairs(other):
                self.store_item(m, key, value)
        for name, value in kwargs.items():
            self.store_item(m, m.constant(name), value)

    def _count(self, m: Frame, other: Value) -> None:
        pairs: list[tuple[Value, Value]] = [(item, m.constant(1)) for item in other.items(m)]
        if isinstance(other, DictValue):
            pairs = other.pairs(m)
        for key, count in pairs:
            self.store_item(m, key, m.binary(operator.add, self.item(m, key), count))

    def method_keys(self, m: Frame) -> Value:
        return DictView(self, "keys")

    def method_values(self, m: Frame) -> Value:
        return DictView(self, "values")

    def method_items(self, m: Frame) -> Value:
        return DictView(self, "items")

    def method_copy(self, m: Frame) -> Value:
        copy = DictValue.of(self.pairs(m), self.kind if self.kind in DICT_TYPES else dict)
        copy.factory = self.factory
        return copy

    def method_reversed(self, m: Frame) -> Value:
        return TupleValue(self.items(m)[::-1]).iterate(m)

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        if isinstance(other, DictValue):
            if function is operator.or_:
                return DictValue.of(self.pairs(m) + other.pairs(m), self.kind)
            if function is operator.ior:
                self.method_update(m, other)
                return self
            if function in (operator.eq, operator.ne):
                equal = self._equal(m, other)
                return m.constant(equal if function is operator.eq else not equal)
        elif function in (operator.eq, operator.ne):
            return m.constant(function is operator.ne)
        return NotImplemented  # type: ignore[return-value]

    def _equal(self, m: Frame, other: DictValue) -> bool:
        mine, others = self.pairs(m), other.pairs(m)
        if len(mine) != len(others):
            return False
        for key, value in mine:
            name = other.name(m, key)
            if name not in other._items or not m.same(value, other.pair(m, name)[1]):
                return False
        return True

    # -- code generation ---------------------------------------------------------------------------

    def children(self) -> Sequence[Value]:
        values = [part for pair in self._items.values() if pair is not _UNREAD for part in pair]
        return [*values, self.factory] if self.factory is not None else values

    def build(self, e: Emitter) -> None:
        for pair in self._items.values():
            e.load(pair[0])
            e.load(pair[1])
        e.build_map(len(self._items))

    def rebuild(self, e: Emitter) -> None:
        if self.kind is dict:
            self.build(e)
            return
        e.load_const(self.kind)
        e.prepare_call()
        count = 1
        if self.factory is not None:
            e.load(self.factory)
            count = 2
        self.build(e)
        e.call(count)


DICT_TYPES = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)


class DictView(Value):
    """`keys()`, `values()` or `items()` of a dict."""

    def __init__(self, owner: DictValue, name: str) -> None:
        self.owner = owner
        self.name = name

    def __repr__(self) -> str:
        return f"{self.owner!r}.{self.name}()"

    def python_type(self) -> type:
        return type(getattr(self.owner.kind(), self.name)())

    def unwrap(self) -> Any:
        return getattr(self.owner.unwrap(), self.name)()

    def items(self, m: Frame) -> list[Value]:
        pairs = self.owner.pairs(m)
        if self.name == "items":
            return [TupleValue(list(pair)) for pair in pairs]
        return [pair[self.name == "values"] for pair in pairs]

    def iterate(self, m: Frame) -> Value:
        from dynamo.values.iterator import SequenceIterator

        return SequenceIterator(TupleValue(self.items(m)))

    def length(self, m: Frame) -> Value:
        return self.owner.length(m)

    def truth(self, m: Frame) -> bool:
        return self.owner.truth(m)

    def contains(self, m: Frame, item: Value) -> Value:
        if self.name == "keys":
            return self.owner.contains(m, item)
        return m.constant(any(m.same(own, item) for own in self.items(m)))

    def attribute(self, m: Frame, name: str) -> Value:
        return ContainerMethod(self, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if name == "__iter__":
            return self.iterate(m)
        if name == "__len__":
            return self.length(m)
        if name == "__contains__":
            return self.contains(m, args[0])
        return SetValue.of(self.items(m)).method(m, name, args, kwargs)

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        if self.name == "values":
            return NotImplemented  # type: ignore[return-value]
        if isinstance(other, DictView):
            other = SetValue.of(other.items(m))
        return SetValue.of(self.items(m)).binary(m, function, other)

    def children(self) -> Sequence[Value]:
        return (self.owner,)

    def rebuild(self, e: Emitter) -> None:
        e.load(self.owner)
        e.load_attr(self.name)
        e.prepare_call()
        e.call(0)
