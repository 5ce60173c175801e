"""Side effects on Python objects. While interpreting they stay in the values; here is the journal of what changed, in order, and the
functions with which generated code replays it after the graph has run.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from dynamo.source import ConstantSource
from dynamo.unsupported import unsupported
from dynamo.values.base import Value
from dynamo.values.container import ListValue, SetValue
from dynamo.values.dictionary import DictValue
from dynamo.values.function import CellValue
from dynamo.values.object import DELETED, ObjectValue, lookup
from dynamo.values.tensor import TensorValue

if TYPE_CHECKING:
    from dynamo.emit import Emitter


class Effects:
    """The journal of one translation."""

    def __init__(self) -> None:
        self._mutated: dict[int, Value] = {}
        self._globals: dict[tuple[int, str], tuple[dict[str, Any], Value]] = {}
        self._classes: dict[tuple[int, str], tuple[Value, Value]] = {}

    def mutate(self, value: Value) -> None:
        """Note that a value has changed; what was made in the frame is simply built changed."""
        if value.source is not None or isinstance(value, CellValue):
            self._mutated.setdefault(id(value), value)

    def is_mutated(self, value: Value) -> bool:
        return id(value) in self._mutated

    def store_global(self, globals_: dict[str, Any], name: str, value: Value) -> None:
        self._globals[id(globals_), name] = (globals_, value)

    def pending_global(self, globals_: dict[str, Any], name: str) -> Value | None:
        if not self._globals:
            return None
        found = self._globals.get((id(globals_), name))
        return None if found is None else found[1]

    def store_class_attribute(self, owner: Value, name: str, value: Value) -> None:
        self._classes[id(owner), name] = (owner, value)

    def class_attribute(self, owner: Value, name: str) -> Value | None:
        if not self._classes:
            return None
        found = self._classes.get((id(owner), name))
        return None if found is None else found[1]

    def count(self) -> int:
        """How many things have changed."""
        return len(self._mutated) + len(self._globals) + len(self._classes)

    def __bool__(self) -> bool:
        return bool(self._mutated or self._globals or self._classes)

    # -- replaying -----------------------------------------------------------------------------------

    def operands(self) -> list[Value]:
        """Every value that replaying loads."""
        out: list[Value] = []
        for value in self._mutated.values():
            if not isinstance(value, CellValue) or value.name is None:
                out.append(value)
            out.extend(_operands(value))
        out.extend(value for _, value in self._globals.values())
        for owner, value in self._classes.values():
            out += [owner, value]
        return out

    def prepare(self, e: Emitter) -> None:
        """Emit what comes before the graph: gradients that are forgotten unseen make room for new ones."""
        cleared = [v for v in self._mutated.values() if isinstance(v, TensorValue) and v.cleared]
        if cleared:
            e.call_helper(clear_gradients, *cleared)

    def replay(self, e: Emitter, root_globals: dict[str, Any]) -> None:
        """Emit code that brings all objects up to date."""
        for value in self._mutated.values():
            _replay(e, value)
        for (_, name), (globals_, value) in self._globals.items():
            if globals_ is root_globals:
                e.load(value)
                e.store_global(name)
            else:
                e.call_helper(store_item, globals_, name, value)
        for (_, name), (owner, value) in self._classes.items():
            e.call_helper(setattr, owner, name, value)


def _operands(value: Value) -> list[Value]:
    if isinstance(value, DictValue):
        if value.rewritten:
            return list(value.children())
        names = list(value.stored)
        parts = [part for name in names if name in value._items for part in value._items[name]]
        return parts + list(value.removed.values())
    if isinstance(value, CellValue):
        return [] if value.final is None or value.name is not None else [value.final]
    if isinstance(value, TensorValue):
        return [] if value.gradient is None else [value.gradient]
    if isinstance(value, ObjectValue):
        return [part for part in value.attributes.values() if part is not DELETED]
    return list(value.children())


def _replay(e: Emitter, value: Value) -> None:
    if isinstance(value, ListValue):
        e.call_helper(replace_list, value, e.building(value))
    elif isinstance(value, SetValue):
        e.call_helper(replace_set, value, e.building(value))
    elif isinstance(value, DictValue):
        _replay_dict(e, value)
    elif isinstance(value, CellValue):
        if value.name is None:
            e.call_helper(store_cell, value, value.final)
    elif isinstance(value, TensorValue):
        e.call_helper(store_gradient, value, value.gradient)
    elif isinstance(value, ObjectValue):
        plain = not isinstance(lookup(value.kind, "__setattr__"), types.FunctionType)
        for name, part in value.attributes.items():
            if part is DELETED:
                e.call_helper(object.__delattr__, value, name)
            else:
                e.call_helper(setattr if plain else store_attribute, value, name, part)
    else:
        unsupported("Effect that cannot be replayed", f"{value!r} has changed")


def _replay_dict(e: Emitter, value: DictValue) -> None:
    if value.rewritten:
        e.call_helper(replace_dict, value, e.building(value))
        return
    for key in value.removed.values():
        e.call_helper(delete_item, value, key)
    for name in value.stored:
        if name in value._items:
            key, part = value._items[name]
            e.call_helper(store_item, value, key, part)


# -- called by generated code ----------------------------------------------------------------------


def replace_list(target: Any, items: Any) -> None:
    if isinstance(target, list):
        list.__setitem__(target, slice(None), items)
        return
    target.clear()
    target.extend(items)


def replace_set(target: set, items: set) -> None:
    set.clear(target)
    set.update(target, items)


def replace_dict(target: dict, items: dict) -> None:
    target.clear()
    for key, value in items.items():
        store_item(target, key, value)


def store_item(target: Any, key: Any, value: Any) -> None:
    """The item store of the built-in dict, whatever a subclass adds to it."""
    _built_in(target).__setitem__(target, key, value)


def delete_item(target: Any, key: Any) -> None:
    _built_in(target).__delitem__(target, key)


def _built_in(target: Any) -> Any:
    """The class of the standard library that an object's class comes from."""
    known = ("builtins", "collections")
    return next(base for base in type(target).__mro__ if base.__module__ in known)


def store_cell(cell: Any, value: Any) -> None:
    cell.cell_contents = value


def clear_gradients(*tensors: Any) -> None:
    for tensor in tensors:
        tensor.grad = None


def store_gradient(target: Any, value: Any) -> None:
    """What the engine does with the first gradient of a leaf: nobody else writes to it."""
    if value is not None and not value._exclusive:
        value = value.detach().clone()
    target.grad = value


def store_attribute(target: Any, name: str, value: Any) -> None:
    """What `object.__setattr__` does: the class's own `__setattr__` has been interpreted."""
    object.__setattr__(target, name, value)


__all__ = ["ConstantSource", "Effects"]
