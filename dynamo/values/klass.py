"""Classes, and what calling one gives: new objects of user classes, containers, exceptions, iterators."""

from __future__ import annotations

import collections
import enum
import functools
import itertools
import operator
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dynamo.unsupported import unsupported
from dynamo.values.base import NO_KEYWORDS, RealValue, Value
from dynamo.values.constant import Constant, is_literal, is_tensor_literal_type
from dynamo.values.container import ListValue, SetValue, SliceValue, TupleValue
from dynamo.values.dictionary import DICT_TYPES, DictValue
from dynamo.values.exception import ExceptionValue
from dynamo.values.function import MethodValue, PartialValue
from dynamo.values.iterator import (
    ChainValue,
    EnumerateValue,
    FilterValue,
    MapValue,
    RealIterator,
    ZipValue,
)
from dynamo.values.object import MISSING, ObjectValue, SuperValue, lookup

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame


class ClassValue(RealValue):
    """A class. Made here only by real code; guarded by identity."""

    def attribute(self, m: Frame, name: str) -> Value:
        member = lookup(self.real, name)
        pending = m.effects.class_attribute(self, name)
        if pending is not None:
            return pending
        if member is MISSING or name in ("__name__", "__dict__", "__class__", "__mro__"):
            return self._of_metaclass(m, name)
        if isinstance(member, classmethod):
            return MethodValue(self, m.wrap(member.__func__))
        if isinstance(member, staticmethod):
            return m.wrap(member.__func__)
        if isinstance(member, (types.FunctionType, property)):
            return m.wrap(member)
        if isinstance(self.real, enum.EnumMeta) or self.source is None:
            return m.wrap(m.real_getattr(self.real, name))
        found = m.real_getattr(self.real, name)
        return m.read(found, self.source, name) if found is member else m.wrap(found)

    def _of_metaclass(self, m: Frame, name: str) -> Value:
        member = lookup(type(self.real), name)
        if isinstance(member, types.FunctionType) and member is not MISSING:
            return MethodValue(self, m.wrap(member))
        found = m.real_getattr(self.real, name)
        if name == "__dict__":
            return m.class_dictionary(self)
        if isinstance(found, types.BuiltinMethodType) and found.__self__ is self.real:
            return ClassMethod(self, name)
        return m.wrap(found)

    def store_attribute(self, m: Frame, name: str, value: Value) -> None:
        m.effects.store_class_attribute(self, name, value)

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        if function.__name__ in ("eq", "ne") and isinstance(other, ClassValue):
            return m.constant((self.real is other.real) == (function.__name__ == "eq"))
        return NotImplemented  # type: ignore[return-value]

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        kind = self.real
        maker = _MAKERS.get(kind)
        if maker is not None:
            return maker(m, *args, **kwargs)
        if kind.__module__ == "itertools":
            return _itertools(m, kind, args, kwargs)
        caller = lookup(type(kind), "__call__")
        if kind.__module__ == "numpy" and issubclass(kind, np.generic):
            return m.call_numpy(self, args, kwargs)
        if isinstance(kind, enum.EnumMeta) or is_tensor_literal_type(kind):
            return m.run(kind, args, kwargs)
        if isinstance(caller, types.FunctionType):
            return m.wrap(caller).call(m, [self, *args], kwargs)
        return self.instantiate(m, args, kwargs)

    def instantiate(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        """What `type.__call__` does: `__new__`, then `__init__`."""
        kind = self.real
        if m.capture.is_tensor_type(kind):
            return m.make_tensor(self, args, kwargs)
        new = lookup(kind, "__new__")
        new = new.__func__ if isinstance(new, staticmethod) else new
        if isinstance(new, types.FunctionType) and not _is_namedtuple(kind, new):
            made = m.wrap(new).call(m, [self, *args], kwargs)
            if not issubclass(made.python_type(), kind):
                return made
        elif _is_namedtuple(kind, new):
            made = _namedtuple(m, kind, args, kwargs)
        else:
            made = self.allocate(m, args, kwargs)
        init = lookup(kind, "__init__")
        if isinstance(init, types.FunctionType):
            m.wrap(init).call(m, [made, *args], kwargs)
        elif isinstance(made, ObjectValue) and isinstance(made.storage, (DictValue, ListValue)):
            made.storage.method(m, "__init__", args, kwargs)
        return made

    def allocate(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value], base: Any = None
    ) -> Value:
        """What the built-in `__new__` of a base class gives."""
        kind = self.real
        if issubclass(kind, BaseException):
            return ExceptionValue(kind, list(args))
        if issubclass(kind, dict):
            storage = DictValue(kind=_storage_kind(kind, DICT_TYPES))
            return ObjectValue(kind, storage=storage)
        if issubclass(kind, list):
            return ObjectValue(kind, storage=ListValue([]))
        if issubclass(kind, tuple):
            return ObjectValue(kind, storage=TupleValue(args[0].items(m) if args else []))
        if base is None:
            base = getattr(lookup(kind, "__new__"), "__self__", None)
        if base is object:
            if kind.__flags__ & (1 << 9):  # a heap type: written in Python
                return m.new_object(kind)
            if is_literal(m.call_real(self, args, kwargs).unwrap()):
                return m.call_real(self, args, kwargs)
        return m.call_real(self, args, kwargs)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(self.real)


class ClassMethod(Value):
    """A method that `type` itself gives to a class: `__subclasses__`, `mro`, `__call__`."""

    def __init__(self, owner: ClassValue, name: str) -> None:
        self.owner = owner
        self.name = name

    def python_type(self) -> type:
        return types.BuiltinMethodType

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if self.name == "__call__":
            return self.owner.instantiate(m, args, kwargs)
        if self.name == "__new__":
            return new_object(m, self.owner, args, kwargs)
        kind = self.owner.real
        if self.name in ("fromkeys",) and kind in DICT_TYPES:
            default = args[1] if len(args) > 1 else m.constant(None)
            return DictValue.of([(key, default) for key in args[0].items(m)], kind)
        from dynamo.values.builtin import handler_of

        handler = handler_of(getattr(kind, self.name))
        if handler is not None:
            return handler(m, *args, **kwargs)
        return m.run(getattr(kind, self.name), args, kwargs)

    def children(self) -> Sequence[Value]:
        return (self.owner,)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(getattr(self.owner.real, self.name))


def new_object(
    m: Frame, owner: Value, args: Sequence[Value], kwargs: dict[str, Value]
) -> Value:
    """`X.__new__(cls, ...)` where it is built in."""
    kind = args[0] if args else owner
    if not isinstance(kind, ClassValue):
        unsupported("Call of an object that cannot be traced", f"__new__ of {kind!r}")
    if kind.real in _MAKERS:
        return _MAKERS[kind.real](m, *args[1:], **kwargs)
    if _is_namedtuple(kind.real, lookup(kind.real, "__new__")) and len(args) > 2:
        return _namedtuple(m, kind.real, args[1:], kwargs)
    return kind.allocate(m, args[1:], kwargs, owner.unwrap())


def _storage_kind(kind: type, kinds: Sequence[type]) -> type:
    return next((base for base in kind.__mro__ if base in kinds), kinds[0])


def _is_namedtuple(kind: type, new: Any) -> bool:
    new = new.__func__ if isinstance(new, staticmethod) else new
    if not issubclass(kind, tuple) or not hasattr(kind, "_fields"):
        return False
    return isinstance(new, types.FunctionType) and new.__code__.co_filename.startswith("<string>")


def _namedtuple(
    m: Frame, kind: Any, args: Sequence[Value], kwargs: dict[str, Value]
) -> Value:
    names = list(kind._fields)
    values = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names or name in values:
            m.throw(TypeError, f"{kind.__name__}.__new__() got an unexpected argument '{name}'")
        values[name] = value
    for name in names:
        if name not in values:
            if name not in kind._field_defaults:
                m.throw(TypeError, f"{kind.__name__}.__new__() missing argument: '{name}'")
            values[name] = m.wrap(kind._field_defaults[name])
    if len(args) > len(names):
        m.throw(TypeError, f"{kind.__name__}.__new__() takes {len(names)} arguments")
    return ObjectValue(kind, storage=TupleValue([values[name] for name in names]))


# -- what calling a built-in class gives -----------------------------------------------------------


def _make_tuple(m: Frame, items: Value | None = None) -> Value:
    if items is not None and items.python_type() is tuple:
        return items
    return TupleValue([] if items is None else items.items(m))


def _make_list(m: Frame, items: Value | None = None) -> Value:
    return ListValue([] if items is None else list(items.items(m)))


def _make_deque(m: Frame, items: Value | None = None, maxlen: Value | None = None) -> Value:
    value = ListValue([], kind=collections.deque)
    value.maxlen = None if maxlen is None else maxlen.unwrap()
    if items is not None:
        value._items = list(items.items(m))
        value._forget_first()
    return value


def _make_set(m: Frame, items: Value | None = None) -> Value:
    return SetValue.of([] if items is None else _hashable(m, items.items(m)))


def _make_frozenset(m: Frame, items: Value | None = None) -> Value:
    return SetValue.of([] if items is None else _hashable(m, items.items(m)), frozenset)


def _hashable(m: Frame, values: list[Value]) -> list[Value]:
    for value in values:
        m.evaluate(value.key)
    return values


def _dict_maker(kind: type) -> Callable:
    def make(m: Frame, *args: Value, **kwargs: Value) -> Value:
        made = DictValue(kind=kind)
        if kind is collections.defaultdict and args:
            factory, *rest = args
            made.factory = None if factory.is_constant() else factory
            args = tuple(rest)
        made.method_update(m, *args, **kwargs)
        return made

    return make


def _make_slice(m: Frame, *bounds: Value) -> Value:
    none = m.constant(None)
    if len(bounds) == 1:
        return SliceValue(none, bounds[0], none)
    return SliceValue(bounds[0], bounds[1], bounds[2] if len(bounds) > 2 else none)


def _make_type(m: Frame, value: Value, *rest: Value, **kwargs: Value) -> Value:
    if rest:
        unsupported("Class made in the frame", "type(name, bases, dict) is called")
    return value.attribute(m, "__class__") if value.source is None else m.class_of(value)


def _make_bool(m: Frame, value: Value | None = None) -> Value:
    return m.constant(value is not None and m.truth(value))


def _make_zip(m: Frame, *parts: Value, strict: Value | None = None) -> Value:
    return ZipValue([part.iterate(m) for part in parts], strict is not None and m.truth(strict))


def _make_enumerate(m: Frame, part: Value, start: Value | None = None) -> Value:
    return EnumerateValue(part.iterate(m), 0 if start is None else m.index_of(start))


def _make_map(m: Frame, function: Value, *parts: Value) -> Value:
    return MapValue(function, [part.iterate(m) for part in parts])


def _make_filter(m: Frame, function: Value, part: Value) -> Value:
    return FilterValue(function, part.iterate(m))


def _make_reversed(m: Frame, sequence: Value) -> Value:
    if isinstance(sequence, ObjectValue):
        found = sequence.special(m, "__reversed__")
        if found is not None:
            return found
        count = m.index_of(sequence.length(m))
        items = [sequence.item(m, m.constant(i)) for i in range(count - 1, -1, -1)]
        return TupleValue(items).iterate(m)
    return TupleValue(sequence.items(m)[::-1]).iterate(m)


def _make_super(m: Frame, *args: Value) -> Value:
    if not args:
        return m.zero_argument_super()
    after, owner = args
    kind = owner.real if isinstance(owner, ClassValue) else owner.python_type()
    return SuperValue(after.unwrap(), owner, kind)


def _make_object(m: Frame) -> Value:
    return ObjectValue(object)


def _make_partial(m: Frame, function: Value, *args: Value, **kwargs: Value) -> Value:
    if isinstance(function, PartialValue):
        return PartialValue(
            function.function, [*function.args, *args], {**function.kwargs, **kwargs}
        )
    return PartialValue(function, list(args), dict(kwargs))


def _make_str(m: Frame, *args: Value, **kwargs: Value) -> Value:
    if len(args) == 1 and not kwargs:
        return m.text(args[0], str)
    return m.run(str, args, kwargs)


def _number_maker(kind: type) -> Callable:
    names = {int: ("__int__", "__index__", "__trunc__"), float: ("__float__", "__index__")}

    def make(m: Frame, *args: Value, **kwargs: Value) -> Value:
        if len(args) == 1 and isinstance(args[0], ObjectValue):
            for name in names.get(kind, ()):
                found = args[0].special(m, name)
                if found is not None:
                    return found
        return m.run(kind, args, kwargs)

    return make


def _make_range(m: Frame, *args: Value) -> Value:
    return Constant(m.evaluate(range, *[m.index_of(arg) for arg in args]))


def _make_method(m: Frame, function: Value, owner: Value) -> Value:
    return MethodValue(owner, function)


def _make_getter(kind: Any) -> Callable:
    def make(m: Frame, *keys: Value) -> Value:
        return m.wrap(kind(*[key.unwrap() for key in keys]))

    return make


def _make_proxy(m: Frame, mapping: Value) -> Value:
    assert isinstance(mapping, DictValue)
    view = DictValue(mapping._items, mapping.source, mapping.real, types.MappingProxyType)
    view._items = mapping._items
    return view


_MAKERS: dict[Any, Callable] = {
    tuple: _make_tuple,
    list: _make_list,
    set: _make_set,
    frozenset: _make_frozenset,
    collections.deque: _make_deque,
    **{kind: _dict_maker(kind) for kind in DICT_TYPES},
    slice: _make_slice,
    type: _make_type,
    bool: _make_bool,
    int: _number_maker(int),
    float: _number_maker(float),
    complex: _number_maker(complex),
    str: _make_str,
    range: _make_range,
    zip: _make_zip,
    enumerate: _make_enumerate,
    map: _make_map,
    filter: _make_filter,
    reversed: _make_reversed,
    super: _make_super,
    object: _make_object,
    functools.partial: _make_partial,
    types.MethodType: _make_method,
    types.MappingProxyType: _make_proxy,
    operator.itemgetter: _make_getter(operator.itemgetter),
    operator.attrgetter: _make_getter(operator.attrgetter),
}


def _itertools(
    m: Frame, kind: Any, args: Sequence[Value], kwargs: dict[str, Value]
) -> Value:
    """itertools run for real over values as opaque objects, where no value is compared or called."""
    if kind is itertools.chain:
        return ChainValue(TupleValue(list(args)).iterate(m))
    numbers = {name: value.unwrap() for name, value in kwargs.items() if name != "fillvalue"}
    if kind is itertools.count:
        return RealIterator(kind(*[arg.unwrap() for arg in args], **numbers))
    if kind in (itertools.islice, itertools.combinations, itertools.permutations):
        limits = [arg.unwrap() for arg in args[1:]]
        return RealIterator(kind(m.walk(args[0].iterate(m)), *limits, **numbers))
    if kind in (itertools.zip_longest, itertools.product, itertools.pairwise, itertools.cycle):
        if "fillvalue" in kwargs or kind is itertools.zip_longest:
            numbers["fillvalue"] = kwargs.get("fillvalue", m.constant(None))
        return RealIterator(kind(*[arg.items(m) for arg in args], **numbers))
    if kind is itertools.repeat:
        return RealIterator(kind(args[0], *[arg.unwrap() for arg in args[1:]], **numbers))
    if kind is itertools.starmap:
        parts = [args[0].call(m, item.items(m), {}) for item in args[1].items(m)]
        return TupleValue(parts).iterate(m)
    if kind is itertools.accumulate:
        return TupleValue(_accumulate(m, *args, **kwargs)).iterate(m)
    if kind in (itertools.takewhile, itertools.dropwhile, itertools.filterfalse):
        return RealIterator(
            kind(lambda item: m.truth(args[0].call(m, [item], {})), args[1].items(m))
        )
    return unsupported("Function of itertools", f"itertools.{kind.__name__} is called")


def _accumulate(
    m: Frame, items: Value, function: Value | None = None, initial: Value | None = None
) -> list[Value]:
    def combine(left: Value, right: Value) -> Value:
        if function is None or (function.is_constant() and function.unwrap() is None):
            return m.binary(operator.add, left, right)
        return function.call(m, [left, right], {})

    return list(itertools.accumulate(items.items(m), combine, initial=initial))
