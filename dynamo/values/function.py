"""Functions of Python code: those that exist, those that the frame makes, bound methods, cells and
partial applications. Calling one interprets its bytecode inside the caller.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynamo.values.attributes import AttributeDictionary
from dynamo.values.base import NO_KEYWORDS, RealValue, Value

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame


_FUNCTION_SLOTS = (
    "__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "__type_params__",
)  # fmt: skip


class CellValue(Value):
    """A cell. `contents` is None while it is empty, `name` its variable in the root frame, if any."""

    def __init__(self, contents: Value | None = None, source: Any = None, real: Any = None) -> None:
        self._contents = contents
        self.source = source
        self.real = real
        self.contents_source: Any = source
        self.name: str | None = None
        self.written = False

    def python_type(self) -> type:
        return types.CellType

    def contents(self, m: Frame) -> Value | None:
        if self._contents is None and self.real is not None and not self.written:
            try:
                found = self.real.cell_contents
            except ValueError:
                return None
            self._contents = m.read_cell(found, self.contents_source)
        return self._contents

    def store(self, m: Frame, value: Value | None) -> None:
        if self.real is not None:
            m.effects.mutate(self)
        self.written = True
        self._contents = value

    def attribute(self, m: Frame, name: str) -> Value:
        contents = self.contents(m)
        if name != "cell_contents":
            return m.throw(AttributeError, f"'cell' object has no attribute '{name}'")
        return m.throw(ValueError, "Cell is empty") if contents is None else contents

    @property
    def final(self) -> Value | None:
        """The contents once interpretation has ended."""
        return self._contents

    def children(self) -> Sequence[Value]:
        if self.name is not None or self._contents is None:
            return ()
        return (self._contents,)

    def rebuild(self, e: Emitter) -> None:
        if self.name is not None and e.owns_cell(self):
            e.load_closure(self.name)
            return
        e.load_const(types.CellType)
        e.prepare_call()
        if self._contents is not None:
            e.load(self._contents)
        e.call(0 if self._contents is None else 1)


class FunctionValue(RealValue):
    """A Python function that exists already."""

    def __init__(self, real: types.FunctionType, source: Any = None) -> None:
        self.real = real
        self.source = source
        self.attributes: dict[str, Value] = {}

    @property
    def code(self) -> types.CodeType:
        return self.real.__code__

    @property
    def name(self) -> str:
        return self.real.__name__

    def globals(self) -> dict[str, Any]:
        return self.real.__globals__

    def closure(self, m: Frame) -> Sequence[CellValue]:
        cells = self.real.__closure__ or ()
        return [m.capture.cell(cell, self.source, index) for index, cell in enumerate(cells)]

    def defaults(self, m: Frame) -> list[Value]:
        values = self.real.__defaults__ or ()
        return [m.read_default(self.source, i, value) for i, value in enumerate(values)]

    def keyword_defaults(self, m: Frame) -> dict[str, Value]:
        values = self.real.__kwdefaults__ or {}
        return {n: m.read_default(self.source, n, value) for n, value in values.items()}

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        return m.call_function(self, args, kwargs)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(self.real)


class CachedFunction(FunctionValue):
    """A function under functools.lru_cache: looked into without the cache, rebuilt with it."""

    def __init__(self, wrapper: Any, source: Any) -> None:
        super().__init__(wrapper.__wrapped__, source)
        self.wrapper = wrapper

    def python_type(self) -> type:
        return type(self.wrapper)

    def unwrap(self) -> Any:
        return self.wrapper

    def identity(self) -> Any:
        return self.wrapper

    def key(self) -> Any:
        return self.wrapper

    def closure(self, m: Frame) -> Sequence[CellValue]:
        cells = self.real.__closure__ or ()
        return [m.capture.cell(cell, None, index) for index, cell in enumerate(cells)]

    def defaults(self, m: Frame) -> list[Value]:
        return [m.wrap(value) for value in self.real.__defaults__ or ()]

    def keyword_defaults(self, m: Frame) -> dict[str, Value]:
        return {n: m.wrap(value) for n, value in (self.real.__kwdefaults__ or {}).items()}

    def attribute(self, m: Frame, name: str) -> Value:
        return m.wrap(m.real_getattr(self.wrapper, name))

    def rebuild(self, e: Emitter) -> None:
        e.load_const(self.wrapper)


class NestedFunction(Value):
    """A function or lambda that the frame has made."""

    def __init__(self, code: types.CodeType, globals_: dict[str, Any]) -> None:
        self.code = code
        self._globals = globals_
        self._defaults: Value | None = None
        self._keyword_defaults: Value | None = None
        self._closure: Value | None = None
        self._annotations: Value | None = None
        self.attributes: dict[str, Value] = {}

    def __repr__(self) -> str:
        return f"<function {self.code.co_qualname}>"

    def python_type(self) -> type:
        return types.FunctionType

    def truth(self, m: Frame) -> bool:
        return True

    @property
    def name(self) -> str:
        return self.code.co_name

    def set(self, flag: int, value: Value) -> None:
        """What MAKE_FUNCTION's flags, or SET_FUNCTION_ATTRIBUTE, attach."""
        names = {1: "_defaults", 2: "_keyword_defaults", 4: "_annotations", 8: "_closure"}
        setattr(self, names[flag], value)

    def globals(self) -> dict[str, Any]:
        return self._globals

    def closure(self, m: Frame) -> Sequence[Any]:
        return () if self._closure is None else self._closure.items(m)

    def defaults(self, m: Frame) -> list[Value]:
        return [] if self._defaults is None else self._defaults.items(m)

    def keyword_defaults(self, m: Frame) -> dict[str, Value]:
        if self._keyword_defaults is None:
            return {}
        return {k.unwrap(): v for k, v in m.mapping_pairs(self._keyword_defaults)}

    def attribute(self, m: Frame, name: str) -> Value:
        if name in self.attributes:
            return self.attributes[name]
        code = self.code
        known = {
            "__name__": code.co_name,
            "__qualname__": code.co_qualname,
            "__code__": code,
            "__module__": self._globals.get("__name__"),
            "__doc__": code.co_consts[0] if code.co_consts else None,
        }
        if name in known:
            value = known[name]
            return m.constant(value if isinstance(value, (str, types.CodeType)) else None)
        if name == "__dict__":
            return AttributeDictionary(self)
        return m.throw(AttributeError, f"'function' object has no attribute '{name}'")

    def store_attribute(self, m: Frame, name: str, value: Value) -> None:
        self.attributes[name] = value

    def own(self, m: Frame, name: str) -> Value | None:
        """An attribute in the function's dictionary."""
        return None if name in _FUNCTION_SLOTS else self.attributes.get(name)

    def store_own(self, m: Frame, name: str, value: Value) -> None:
        self.attributes[name] = value

    def plain_delete(self, m: Frame, name: str) -> None:
        del self.attributes[name]

    def dictionary(self, m: Frame) -> list[tuple[str, Value]]:
        return [(n, value) for n, value in self.attributes.items() if n not in _FUNCTION_SLOTS]

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        return m.inline(self, args, kwargs)

    def children(self) -> Sequence[Value]:
        parts = (self._defaults, self._keyword_defaults, self._closure)
        return [*(part for part in parts if part is not None), *self.attributes.values()]

    def rebuild(self, e: Emitter) -> None:
        e.make_function(self)
        for name, value in self.attributes.items():
            e.copy()
            e.load(value)
            e.swap()
            e.store_attr(name)


class MethodValue(Value):
    """A function bound to its first argument."""

    def __init__(self, owner: Value, function: Value, source: Any = None) -> None:
        self.owner = owner
        self.function = function
        self.source = source

    def __repr__(self) -> str:
        return f"<bound method {self.function!r}>"

    def python_type(self) -> type:
        return types.MethodType

    def unwrap(self) -> Any:
        return types.MethodType(self.function.unwrap(), self.owner.unwrap())

    def key(self) -> Any:
        return self.owner.key(), self.function.key()

    def truth(self, m: Frame) -> bool:
        return True

    def attribute(self, m: Frame, name: str) -> Value:
        if name == "__self__":
            return self.owner
        if name == "__func__":
            return self.function
        return self.function.attribute(m, name)

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        return self.function.call(m, [self.owner, *args], kwargs)

    def binary(self, m: Frame, function: Any, other: Value) -> Value:
        if function.__name__ in ("eq", "ne") and isinstance(other, MethodValue):
            equal = self.owner.identity() is other.owner.identity()
            equal = equal and self.function.identity() is other.function.identity()
            return m.constant(equal == (function.__name__ == "eq"))
        return super().binary(m, function, other)

    def children(self) -> Sequence[Value]:
        return (self.owner, self.function)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(types.MethodType)
        e.prepare_call()
        e.load(self.function)
        e.load(self.owner)
        e.call(2)


class PartialValue(Value):
    """functools.partial."""

    def __init__(
        self, function: Value, args: list[Value], kwargs: dict[str, Value], source: Any = None
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.source = source

    def __repr__(self) -> str:
        return f"<partial {self.function!r}>"

    def python_type(self) -> type:
        return functools.partial

    def truth(self, m: Frame) -> bool:
        return True

    def attribute(self, m: Frame, name: str) -> Value:
        if name == "func":
            return self.function
        if name == "args":
            return m.tuple_of(self.args)
        if name == "keywords":
            return m.dict_of([(m.constant(k), v) for k, v in self.kwargs.items()])
        if name == "__class__":
            return m.wrap(functools.partial)
        return m.throw(AttributeError, f"'functools.partial' object has no attribute '{name}'")

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        return self.function.call(m, [*self.args, *args], {**self.kwargs, **kwargs})

    def children(self) -> Sequence[Value]:
        return [self.function, *self.args, *self.kwargs.values()]

    def rebuild(self, e: Emitter) -> None:
        e.load_const(functools.partial)
        e.prepare_call()
        e.load(self.function)
        for value in [*self.args, *self.kwargs.values()]:
            e.load(value)
        e.call(1 + len(self.args) + len(self.kwargs), tuple(self.kwargs))
