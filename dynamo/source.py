"""Where a value came from, so that guards (as text) and new bytecode can read it again.

A source is a chain: a root (an argument, a global, a cell …) and steps (an attribute, an item …).
In guard text `F` is the function being called, `G` its globals, and `L_name` an argument. Sources
compare by value. Promise: `emit` and `expression` read the same object, and neither has an effect
of its own beyond what reading an attribute or item of the user's object has.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar, dataclass_transform

from dynamo import builder
from dynamo.instruction import Instruction

Bind = Callable[[Any], str]
Load = Callable[["Source"], list[Instruction]]


def literal(value: Any) -> str | None:
    """Python text that evaluates to `value`, or None if there is no short one."""
    kind = type(value)
    if kind in (int, str, bytes, bool, type(None)) or kind is float and math.isfinite(value):
        return repr(value)
    if kind is not tuple:
        return None
    items = [literal(item) for item in value]
    if any(item is None for item in items):
        return None
    return f"({', '.join(map(str, items))}{',' if len(items) == 1 else ''})"


def _show(value: Any) -> str:
    return literal(value) or getattr(value, "__qualname__", None) or repr(value)


T = TypeVar("T", bound="Source")


@dataclass_transform(frozen_default=True)
def by_value(kind: type[T]) -> type[T]:
    """A frozen dataclass that computes its hash once: sources are keys everywhere, and a chain hashes all of its links."""
    kind = dataclass(frozen=True)(kind)
    compute: Callable[[T], int] = kind.__hash__

    def __hash__(self: T) -> int:
        known = self.__dict__.get("_hash")
        if known is None:
            known = self.__dict__["_hash"] = compute(self)
        return known

    kind.__hash__ = __hash__  # type: ignore[method-assign, assignment]
    return kind


class Source:
    """How to read a value. `base` is the source this one reads from, None for a root."""

    base: Source | None

    @property
    def name(self) -> str:
        """What to call it in messages: the user's own expression where there is one."""
        raise NotImplementedError(type(self).__name__)

    def step(self, base: str, bind: Bind) -> str:
        """Guard text that reads this from the text of its base; `bind` names an object."""
        raise NotImplementedError(type(self).__name__)

    def emit(self, load: Load | None = None) -> list[Instruction]:
        """Instructions that push the value in the frame of the function; `load` reads the base."""
        raise NotImplementedError(f"{type(self).__name__} cannot be read in the frame")

    def expression(self, bind: Bind = _show) -> str:
        """The whole guard text; objects without a literal are named by `bind`."""
        return self.step(self.base.expression(bind) if self.base else "", bind)

    @property
    def root(self) -> Source:
        """Where the chain begins."""
        return self.base.root if self.base else self


# --- roots ------------------------------------------------------------------------------------


class Root(Source):
    """A source that reads from nothing else."""

    base = None


@by_value
class LocalSource(Root):
    """An argument of the frame; `cell` if the code keeps it in a cell."""

    local: str
    cell: bool = False

    @property
    def name(self) -> str:
        return self.local

    def step(self, base: str, bind: Bind) -> str:
        return f"L_{self.local}" if self.local.isidentifier() else f"L_{self.local[1:]}"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return builder.load_deref(self.local) if self.cell else builder.load_fast(self.local)


@by_value
class GlobalSource(Root):
    """A global variable of the function's module."""

    global_name: str

    @property
    def name(self) -> str:
        return self.global_name

    def step(self, base: str, bind: Bind) -> str:
        return f"G[{self.global_name!r}]"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return builder.load_global(self.global_name)


@by_value
class BuiltinSource(Root):
    """A name that is not a global, found among the builtins."""

    builtin: str

    @property
    def name(self) -> str:
        return self.builtin

    def step(self, base: str, bind: Bind) -> str:
        return f"F.__builtins__[{self.builtin!r}]"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return builder.load_global(self.builtin)


@by_value
class GlobalsSource(Root):
    """The dictionary of the function's globals."""

    @property
    def name(self) -> str:
        return "globals()"

    def step(self, base: str, bind: Bind) -> str:
        return "G"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return [*builder.load_const(globals_of_caller), *builder.push_null(), *builder.call(0)]


def globals_of_caller() -> dict[str, Any]:
    """The globals of the frame that calls this."""
    return sys._getframe(1).f_globals


@by_value
class FunctionSource(Root):
    """The function being called. It can be guarded, but not be read in its own frame."""

    @property
    def name(self) -> str:
        return "the function"

    def step(self, base: str, bind: Bind) -> str:
        return "F"


@by_value
class CellSource(Root):
    """The cell of a free variable, itself."""

    free: str

    @property
    def name(self) -> str:
        return f"<cell {self.free}>"

    def step(self, base: str, bind: Bind) -> str:
        return f"F.__closure__[F.__code__.co_freevars.index({self.free!r})]"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return builder.load_closure(self.free)


@by_value
class ClosureSource(Root):
    """What the cell of a free variable holds."""

    free: str

    @property
    def name(self) -> str:
        return self.free

    @property
    def cell(self) -> CellSource:
        return CellSource(self.free)

    def step(self, base: str, bind: Bind) -> str:
        return f"{self.cell.step('', bind)}.cell_contents"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return builder.load_deref(self.free)


@by_value
class ModuleSource(Root):
    """A module; the object itself, which stays what it is when it leaves `sys.modules`."""

    module: ModuleType

    @property
    def name(self) -> str:
        return self.module.__name__

    def step(self, base: str, bind: Bind) -> str:
        return bind(self.module)

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return builder.load_const(self.module)


@dataclass(frozen=True, eq=False)
class ConstantSource(Root):
    """An object that the replaced code owns; it needs no guard."""

    value: Any

    @property
    def name(self) -> str:
        return _show(self.value)

    def step(self, base: str, bind: Bind) -> str:
        return literal(self.value) or bind(self.value)

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return builder.load_const(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConstantSource) and other.value is self.value

    def __hash__(self) -> int:
        return hash((ConstantSource, id(self.value)))


# --- steps ------------------------------------------------------------------------------------


@by_value
class AttributeSource(Source):
    """`base.attribute`"""

    base: Source
    attribute: str

    @property
    def name(self) -> str:
        return f"{self.base.name}.{self.attribute}"

    def step(self, base: str, bind: Bind) -> str:
        return f"{base}.{self.attribute}"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return [*_read(self.base, load), *builder.load_attr(self.attribute)]


@by_value
class ItemSource(Source):
    """`base[key]`; the key is a literal or any hashable object."""

    base: Source
    key: Any

    @property
    def name(self) -> str:
        return f"{self.base.name}[{_show(self.key)}]"

    def step(self, base: str, bind: Bind) -> str:
        return f"{base}[{literal(self.key) or bind(self.key)}]"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return [*_read(self.base, load), *builder.load_const(self.key), *builder.binary_subscr()]


@by_value
class DictItemSource(ItemSource):
    """The item of a dict (or a subclass with its own `__getitem__`), read as dict reads it."""

    def step(self, base: str, bind: Bind) -> str:
        return f"dict.__getitem__({base}, {literal(self.key) or bind(self.key)})"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return _call(dict.__getitem__, _read(self.base, load), builder.load_const(self.key))


@by_value
class KeyedSource(Source):
    """`base[key]` of a dict whose key is an object that is read as well: a tensor, which is found by identity."""

    base: Source
    key: Source

    @property
    def name(self) -> str:
        return f"{self.base.name}[{self.key.name}]"

    @property
    def root(self) -> Source:
        """A root of its own where dict and key come from different ones."""
        return self.base.root if self.base.root == self.key.root else self

    def step(self, base: str, bind: Bind) -> str:
        return self.read(base, self.key.expression(bind))

    def read(self, base: str, key: str) -> str:
        return f"dict.__getitem__({base}, {key})"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return _call(dict.__getitem__, _read(self.base, load), _read(self.key, load))


@by_value
class ChildSource(Source):
    """`base.child` of a module that keeps it in a table: `_parameters`, `_buffers`, `_modules`."""

    base: Source
    table: str
    child: str

    @property
    def name(self) -> str:
        if self.child.isidentifier():
            return f"{self.base.name}.{self.child}"
        return f"{self.base.name}[{int(self.child) if self.child.isdigit() else self.child!r}]"

    def step(self, base: str, bind: Bind) -> str:
        return f"{base}.{self.table}[{self.child!r}]"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return [
            *_read(self.base, load),
            *builder.load_attr(self.table),
            *builder.load_const(self.child),
            *builder.binary_subscr(),
        ]


@by_value
class DictKeySource(Source):
    """The key at a position of a dict, in insertion order."""

    base: Source
    index: int

    @property
    def name(self) -> str:
        return f"list({self.base.name})[{self.index}]"

    def step(self, base: str, bind: Bind) -> str:
        return f"list({base})[{self.index}]"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return [
            *_call(list, _read(self.base, load)),
            *builder.load_const(self.index),
            *builder.binary_subscr(),
        ]


@by_value
class TypeSource(Source):
    """`type(base)`"""

    base: Source

    @property
    def name(self) -> str:
        return f"type({self.base.name})"

    def step(self, base: str, bind: Bind) -> str:
        return f"type({base})"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return _call(type, _read(self.base, load))


@by_value
class DefaultSource(Source):
    """The default value of a positional (by index) or keyword-only (by name) argument."""

    base: Source
    key: int | str

    @property
    def name(self) -> str:
        return f"{self.base.name}.{self._table}[{self.key!r}]"

    @property
    def _table(self) -> str:
        return "__defaults__" if isinstance(self.key, int) else "__kwdefaults__"

    def step(self, base: str, bind: Bind) -> str:
        return f"{base}.{self._table}[{self.key!r}]"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return [
            *_read(self.base, load),
            *builder.load_attr(self._table),
            *builder.load_const(self.key),
            *builder.binary_subscr(),
        ]


@by_value
class CellContentsSource(Source):
    """What a cell holds; with an `index`, the cell at that place of the closure of a function."""

    base: Source
    index: int | None = None

    @property
    def name(self) -> str:
        place = "" if self.index is None else f".__closure__[{self.index}]"
        return f"{self.base.name}{place}.cell_contents"

    def step(self, base: str, bind: Bind) -> str:
        place = "" if self.index is None else f".__closure__[{self.index}]"
        return f"{base}{place}.cell_contents"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        out = _read(self.base, load)
        if self.index is not None:
            out += builder.load_attr("__closure__")
            out += [*builder.load_const(self.index), *builder.binary_subscr()]
        return [*out, *builder.load_attr("cell_contents")]


@by_value
class CallSource(Source):
    """`function(base)` for a function without effects that the compiler chose."""

    base: Source
    function: Callable[[Any], Any]

    @property
    def name(self) -> str:
        return f"{_show(self.function)}({self.base.name})"

    def step(self, base: str, bind: Bind) -> str:
        return f"{bind(self.function)}({base})"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return _call(self.function, _read(self.base, load))


@by_value
class NumberSource(CallSource):
    """A number as a scalar tensor, made anew at every call."""


@by_value
class OperationSource(Root):
    """Arithmetic on two numbers. It is read, never guarded: what it is computed from is."""

    function: Callable[[Any, Any], Any]
    left: Source
    right: Source

    @property
    def name(self) -> str:
        return f"{self.function.__name__}({self.left.name}, {self.right.name})"

    def emit(self, load: Load | None = None) -> list[Instruction]:
        return _call(self.function, self.left.emit(), self.right.emit())


def _read(source: Source, load: Load | None) -> list[Instruction]:
    return source.emit() if load is None else load(source)


def _call(function: Any, *arguments: list[Instruction]) -> list[Instruction]:
    out = [*builder.load_const(function), *builder.push_null()]
    for argument in arguments:
        out += argument
    return [*out, *builder.call(len(arguments))]
