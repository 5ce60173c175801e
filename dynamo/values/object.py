"""Objects of user classes, existing or made in the frame. Attribute access follows Python's own rules
(descriptors, instance dictionary, `__getattr__`); stores are kept here until they are replayed.
"""

from __future__ import annotations

import functools
import operator
import types
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dynamo.source import CallSource, ConstantSource
from dynamo.unsupported import NotConcrete, unsupported
from dynamo.values.attributes import AttributeDictionary
from dynamo.values.base import NO_KEYWORDS, Value
from dynamo.values.container import ContainerMethod
from dynamo.values.function import MethodValue

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame

DELETED = object()
MISSING = object()
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_BUILTIN_METHODS = (
    types.WrapperDescriptorType, types.MethodDescriptorType, types.BuiltinFunctionType,
    types.ClassMethodDescriptorType,
)  # fmt: skip


def lookup(kind: type, name: str) -> Any:
    """The raw attribute of a class or its bases, without binding; MISSING if there is none."""
    for base in kind.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return MISSING


class ObjectValue(Value):
    """An instance of a class. `storage` is the list, dict or tuple inside an instance of a subclass of one."""

    def __init__(
        self, kind: type, real: Any = None, source: Any = None, storage: Value | None = None
    ) -> None:
        self.kind = kind
        self.real = real
        self.source = source
        self.storage = storage
        self.attributes: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<{self.kind.__name__} object>"

    def python_type(self) -> type:
        return self.kind

    def identity(self) -> Any:
        return self if self.real is None else self.real

    def unwrap(self) -> Any:
        if self.real is not None and self.constant_like and not self.attributes:
            return self.real
        raise NotConcrete(self)

    @property
    def constant_like(self) -> bool:
        """Whether real code may see the object itself: it cannot change while it is looked at."""
        return lookup(self.kind, "__dict__") is MISSING and self.storage is None

    def key(self) -> Any:
        hasher = lookup(self.kind, "__hash__")
        if hasher is not object.__hash__ and self.real is not None and not self.attributes:
            return self.real
        if hasher is None:
            raise TypeError(f"unhashable type: '{self.kind.__name__}'")
        if hasher is not object.__hash__ and self.storage is None:
            unsupported(
                "Hash of an object made in the frame",
                f"{self.kind.__name__} brings its own __hash__",
                "such objects are keys only in plain Python",
            )
        if self.storage is not None and hasher is not object.__hash__:
            return self.storage.key()
        return super().key() if self.real is None else self.real

    # -- attributes --------------------------------------------------------------------------------

    def attribute(self, m: Frame, name: str) -> Value:
        getter = lookup(self.kind, "__getattribute__")
        if isinstance(getter, types.FunctionType) and not m.is_library_code(getter):
            return m.wrap_class_member(getter, self, "__getattribute__").call(
                m, [self, m.constant(name)], {}
            )
        return self.plain_attribute(m, name)

    def plain_attribute(self, m: Frame, name: str) -> Value:
        """What `object.__getattribute__` gives, then `__getattr__`."""
        if name == "__class__":
            return m.wrap(self.kind)
        found = self.find(m, name)
        if found is not None:
            return found
        hook = lookup(self.kind, "__getattr__")
        if isinstance(hook, types.FunctionType):
            function = m.wrap_class_member(hook, self, "__getattr__")
            return function.call(m, [self, m.constant(name)], {})
        return m.throw(
            AttributeError, f"'{self.kind.__name__}' object has no attribute '{name}'"
        )

    def find(self, m: Frame, name: str) -> Value | None:
        """The attribute by the descriptor protocol; None if there is none."""
        member = lookup(self.kind, name)
        if member is not MISSING and _is_data_descriptor(member):
            return self.bind(m, member, name)
        own = self.own(m, name)
        if own is not None:
            return own
        if member is MISSING:
            return None
        return self.bind(m, member, name)

    def own(self, m: Frame, name: str) -> Value | None:
        """The attribute in the instance's dictionary."""
        if name in self.attributes:
            value = self.attributes[name]
            return None if value is DELETED else value
        if self.real is None:
            return None
        attributes = getattr(self.real, "__dict__", {})
        if name not in attributes:
            return None
        return m.read(attributes[name], self.source, name)

    def bind(self, m: Frame, member: Any, name: str) -> Value:
        """A member of the class as it is seen through this instance."""
        return bind(m, self, self.kind, member, name)

    def store_attribute(self, m: Frame, name: str, value: Value) -> None:
        setter = lookup(self.kind, "__setattr__")
        if isinstance(setter, types.FunctionType):
            function = m.wrap_class_member(setter, self, "__setattr__")
            function.call(m, [self, m.constant(name), value], {})
            return
        self.plain_store(m, name, value)

    def plain_store(self, m: Frame, name: str, value: Value) -> None:
        """What `object.__setattr__` does."""
        member = lookup(self.kind, name)
        if isinstance(member, property):
            if member.fset is None:
                m.throw(
                    AttributeError,
                    f"property '{name}' of '{self.kind.__name__}' object has no setter",
                )
            m.wrap_class_member(member.fset, self, name).call(m, [self, value], {})
            return
        kind = type(member)
        if member is not MISSING and isinstance(lookup(kind, "__set__"), types.FunctionType):
            m.wrap(member).method(m, "__set__", [self, value])
            return
        if member is MISSING and lookup(self.kind, "__dict__") is MISSING:
            m.throw(
                AttributeError, f"'{self.kind.__name__}' object has no attribute '{name}'"
            )
        self.store_own(m, name, value)

    def store_own(self, m: Frame, name: str, value: Value) -> None:
        """Put a value into the instance's dictionary or slot."""
        m.effects.mutate(self)
        self.attributes.pop(name, None)
        self.attributes[name] = value

    def delete_attribute(self, m: Frame, name: str) -> None:
        setter = lookup(self.kind, "__delattr__")
        if isinstance(setter, types.FunctionType):
            function = m.wrap_class_member(setter, self, "__delattr__")
            function.call(m, [self, m.constant(name)], {})
            return
        self.plain_delete(m, name)

    def plain_delete(self, m: Frame, name: str) -> None:
        """What `object.__delattr__` does."""
        if self.own(m, name) is None and not isinstance(lookup(self.kind, name), _SLOTS):
            m.throw(
                AttributeError, f"'{self.kind.__name__}' object has no attribute '{name}'"
            )
        m.effects.mutate(self)
        self.attributes.pop(name, None)
        if self.real is not None and m.has_own(self.real, name):
            self.attributes[name] = DELETED

    def dictionary(self, m: Frame) -> list[tuple[str, Value]]:
        """All instance attributes in order."""
        names = list(getattr(self.real, "__dict__", ())) if self.real is not None else []
        names += [name for name in self.attributes if name not in names]
        found = ((name, self.own(m, name)) for name in names)
        return [(name, value) for name, value in found if value is not None]

    # -- protocols: user-defined special methods first, then the storage inside ----------------------

    def special(self, m: Frame, name: str, args: Sequence[Value] = ()) -> Value | None:
        """Call a special method of the class; None if the class has none."""
        member = lookup(self.kind, name)
        if member is MISSING or member is None or member is object.__dict__.get(name):
            return None
        return self.bind(m, member, name).call(m, list(args), {})

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if self.kind.__name__ in _NUMPY_FUNCTIONS and self.kind.__module__ == "numpy":
            return m.call_numpy(self, args, kwargs)
        getter = _GETTERS.get(self.kind)
        if getter is not None:
            return getter(m, self.real, *args)
        if self.kind is weakref.ReferenceType and not isinstance(self.source, ConstantSource | None):
            return m.wrap(self.real(), CallSource(self.source, dereference))
        member = lookup(self.kind, "__call__")
        if member is MISSING:
            if self.constant_like:
                return m.call_real(self, args, kwargs)
            m.throw(TypeError, f"'{self.kind.__name__}' object is not callable")
        if isinstance(member, types.WrapperDescriptorType) and self.real is not None:
            return m.call_real(self, args, kwargs)
        return self.bind(m, member, "__call__").call(m, args, kwargs)

    def item(self, m: Frame, key: Value) -> Value:
        found = self.special(m, "__getitem__", [key])
        return super().item(m, key) if found is None else found

    def store_item(self, m: Frame, key: Value, value: Value) -> None:
        if self.special(m, "__setitem__", [key, value]) is None:
            super().store_item(m, key, value)

    def delete_item(self, m: Frame, key: Value) -> None:
        if self.special(m, "__delitem__", [key]) is None:
            super().delete_item(m, key)

    def contains(self, m: Frame, item: Value) -> Value:
        found = self.special(m, "__contains__", [item])
        if found is not None:
            return m.constant(m.truth(found))
        return m.constant(any(m.same(own, item) for own in m.walk(self.iterate(m))))

    def length(self, m: Frame) -> Value:
        found = self.special(m, "__len__")
        if found is None:
            m.throw(TypeError, f"object of type '{self.kind.__name__}' has no len()")
        return found

    def truth(self, m: Frame) -> bool:
        found = self.special(m, "__bool__")
        if found is None:
            found = self.special(m, "__len__")
        return True if found is None else m.truth(found)

    def iterate(self, m: Frame) -> Value:
        found = self.special(m, "__iter__")
        if found is not None:
            return found
        if lookup(self.kind, "__getitem__") is not MISSING:
            return self._iterate_items(m)
        return m.throw(TypeError, f"'{self.kind.__name__}' object is not iterable")

    def _iterate_items(self, m: Frame) -> Value:
        from dynamo.unsupported import Raised

        items: list[Value] = []
        while True:
            try:
                items.append(self.item(m, m.constant(len(items))))
            except Raised as raised:
                if raised.value.is_a(IndexError):
                    return m.tuple_of(items).iterate(m)
                raise

    def next(self, m: Frame) -> Value:
        found = self.special(m, "__next__")
        return super().next(m) if found is None else found

    def unary(self, m: Frame, function: Callable) -> Value:
        found = self.special(m, f"__{function.__name__.strip('_')}__")
        return super().unary(m, function) if found is None else found

    def binary(self, m: Frame, function: Callable, other: Value) -> Value:
        name = function.__name__.strip("_")
        found = self.special(m, f"__{name}__", [other])
        if _is_not_implemented(found) and name.startswith("i") and name[1:] in _OPERATORS:
            found = self.special(m, f"__{name[1:]}__", [other])
        if not _is_not_implemented(found):
            assert found is not None
            return found
        if function in (operator.eq, operator.ne):
            if function is operator.ne:
                found = self.special(m, "__eq__", [other])
                if not _is_not_implemented(found):
                    assert found is not None
                    return m.constant(not m.truth(found))
            if self.constant_like and self.real is not None:
                return NotImplemented  # type: ignore[return-value]
            if other.identity() is self.identity():
                return m.constant(function is operator.eq)
        return NotImplemented  # type: ignore[return-value]

    def reflected(self, m: Frame, function: Callable, other: Value) -> Value:
        name = function.__name__.strip("_")
        if name.startswith("i") and name[1:] in _OPERATORS:
            name = name[1:]
        reflected = _SWAPPED.get(name, f"r{name}")
        found = self.special(m, f"__{reflected}__", [other])
        if _is_not_implemented(found):
            return NotImplemented  # type: ignore[return-value]
        assert found is not None
        return found

    # -- code generation ---------------------------------------------------------------------------

    def children(self) -> Sequence[Value]:
        values = [value for value in self.attributes.values() if isinstance(value, Value)]
        return values if self.storage is None else [self.storage, *values]

    def rebuild(self, e: Emitter) -> None:
        e.make_object(self)


def _get_items(m: Frame, getter: Any, owner: Value) -> Value:
    """operator.itemgetter"""
    found = [owner.item(m, m.wrap(key)) for key in getter.__reduce__()[1]]
    return found[0] if len(found) == 1 else m.tuple_of(found)


def _get_attributes(m: Frame, getter: Any, owner: Value) -> Value:
    """operator.attrgetter"""
    found = []
    for path in getter.__reduce__()[1]:
        value = owner
        for name in path.split("."):
            value = value.attribute(m, name)
        found.append(value)
    return found[0] if len(found) == 1 else m.tuple_of(found)


def dereference(reference: weakref.ref) -> Any:
    return reference()


_NUMPY_FUNCTIONS = ("ufunc", "_ArrayFunctionDispatcher")
_GETTERS = {operator.itemgetter: _get_items, operator.attrgetter: _get_attributes}
_OPERATORS = frozenset(
    ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
     "lshift", "rshift")
)  # fmt: skip
_SWAPPED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}


def _is_not_implemented(value: Value | None) -> bool:
    return value is None or (value.is_constant() and value.unwrap() is NotImplemented)


def _is_data_descriptor(member: Any) -> bool:
    kind = type(member)
    return hasattr(kind, "__get__") and (hasattr(kind, "__set__") or hasattr(kind, "__delete__"))


def bind(m: Frame, owner: Value, kind: type, member: Any, name: str) -> Value:
    """A class member seen through an instance: methods are bound, properties are called."""
    if isinstance(member, types.FunctionType):
        return MethodValue(owner, m.wrap_class_member(member, owner, name))
    if isinstance(member, property):
        if member.fget is None:
            m.throw(AttributeError, f"property '{name}' has no getter")
        return m.wrap_class_member(member.fget, owner, name).call(m, [owner], {})
    if isinstance(member, staticmethod):
        return m.wrap_class_member(member.__func__, owner, name)
    if isinstance(member, classmethod):
        function = m.wrap_class_member(member.__func__, owner, name)
        return MethodValue(m.wrap(kind), function)
    if isinstance(member, functools.cached_property):
        value = m.wrap(member.func).call(m, [owner], {})
        if isinstance(owner, ObjectValue):
            owner.plain_store(m, member.attrname or name, value)
        return value
    if isinstance(member, functools.partialmethod):
        return m.wrap(member.__get__(None, kind)).call(m, [owner], {})
    if isinstance(member, _BUILTIN_METHODS):
        return BuiltinMember(owner, member, name)
    if type(member).__name__ == "_tuplegetter":
        index = member.__reduce__()[1][0]
        storage = getattr(owner, "storage", None) or owner
        return storage.item(m, m.constant(index))
    if isinstance(member, _SLOTS):
        return _slot(m, owner, member, name)
    if isinstance(member, functools._lru_cache_wrapper):
        return MethodValue(owner, m.wrap(member))
    getter = lookup(type(member), "__get__")
    if isinstance(getter, types.FunctionType):
        return m.wrap(member).method(m, "__get__", [owner, m.wrap(kind)])
    if getter is not MISSING and not isinstance(member, type):
        real = getattr(owner, "real", None)
        if real is None:
            unsupported("Descriptor that is not Python code", f"{kind.__name__}.{name} is read")
        return m.wrap(m.real_getattr(real, name))
    return m.class_attribute(owner, kind, name)


def _slot(m: Frame, owner: Value, member: Any, name: str) -> Value:
    if name == "__dict__":
        return AttributeDictionary(owner)
    if name == "__class__":
        return m.wrap(owner.python_type())
    if isinstance(owner, ObjectValue):
        if name in owner.attributes and owner.attributes[name] is not DELETED:
            return owner.attributes[name]
        if owner.real is not None and name not in owner.attributes:
            return m.read(m.real_getattr(owner.real, name), owner.source, name)
    return m.throw(AttributeError, name)


class BuiltinMember(Value):
    """A method written in C, bound to an instance: of `object`, or of the storage inside."""

    def __init__(self, owner: Value, member: Any, name: str) -> None:
        self.owner = owner
        self.member = member
        self.name = name

    def __repr__(self) -> str:
        return f"<method {self.name} of {self.owner!r}>"

    def python_type(self) -> type:
        return types.MethodWrapperType

    def attribute(self, m: Frame, name: str) -> Value:
        if name == "__self__":
            return self.owner
        return m.wrap(m.real_getattr(self.member, name))

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        owner = self.owner
        home = getattr(self.member, "__objclass__", None)
        storage = getattr(owner, "storage", None)
        if storage is not None and home is not object:
            found = storage.method(m, self.name, args, kwargs)
            return m.constant(NotImplemented) if found is NotImplemented else found
        if home is object or home is None:
            return object_method(m, owner, self.name, args, kwargs)
        if not isinstance(owner, ObjectValue):
            return owner.method(m, self.name, args, kwargs)
        if owner.real is None:
            return object_method(m, owner, self.name, args, kwargs)
        return m.call_real_method(owner, self.name, args, kwargs)

    def children(self) -> Sequence[Value]:
        return (self.owner,)

    def rebuild(self, e: Emitter) -> None:
        e.load(self.owner)
        e.load_attr(self.name)


def object_method(
    m: Frame, owner: Value, name: str, args: Sequence[Value], kwargs: dict[str, Value]
) -> Value:
    """The methods that every object inherits from `object`."""
    if name in ("__init__", "__init_subclass__"):
        return m.constant(None)
    if name == "__setattr__" and len(args) == 2:
        store = getattr(owner, "plain_store", owner.store_attribute)
        store(m, args[0].unwrap(), args[1])
        return m.constant(None)
    if name == "__delattr__" and len(args) == 1:
        getattr(owner, "plain_delete", owner.delete_attribute)(m, args[0].unwrap())
        return m.constant(None)
    if name == "__getattribute__" and len(args) == 1:
        plain = getattr(owner, "plain_attribute", owner.attribute)
        return plain(m, args[0].unwrap())
    if name in ("__eq__", "__ne__") and len(args) == 1:
        same = owner.identity() is args[0].identity()
        if same:
            return m.constant(name == "__eq__")
        return m.constant(NotImplemented)
    if name == "__hash__":
        return m.constant(hash(owner.key()))
    if name == "__class__":
        return m.wrap(owner.python_type())
    if name in ("__repr__", "__str__", "__format__", "__reduce_ex__", "__dir__", "__sizeof__"):
        unsupported(
            "Text of an object",
            f"{name} of {owner!r} is asked for",
            "the default text of an object holds its address",
        )
    if isinstance(owner, ObjectValue):
        return unsupported("Method of a built-in class", f"{name} of {owner!r} is called")
    return ContainerMethod(owner, name).call(m, args, kwargs)


class SuperValue(Value):
    """super(): attribute lookup that starts after a class in the MRO of an object."""

    def __init__(self, after: type, owner: Value, kind: type) -> None:
        self.after = after
        self.owner = owner
        self.kind = kind

    def __repr__(self) -> str:
        return f"<super {self.after.__name__}>"

    def python_type(self) -> type:
        return super

    def attribute(self, m: Frame, name: str) -> Value:
        mro = self.kind.__mro__
        for base in mro[mro.index(self.after) + 1 :]:
            if name not in base.__dict__:
                continue
            member = base.__dict__[name]
            if self.owner.python_type() is self.kind:
                return bind(m, self.owner, self.kind, member, name)
            return self._of_class(m, member, name)
        return m.throw(AttributeError, f"'super' object has no attribute '{name}'")

    def _of_class(self, m: Frame, member: Any, name: str) -> Value:
        """`super()` inside a classmethod or `__new__`: the owner is a class itself."""
        if isinstance(member, classmethod):
            return MethodValue(self.owner, m.wrap(member.__func__))
        if isinstance(member, staticmethod):
            return m.wrap(member.__func__)
        return m.wrap(member)

    def children(self) -> Sequence[Value]:
        return (self.owner,)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(super)
        e.prepare_call()
        e.load_const(self.after)
        e.load(self.owner)
        e.call(2)
