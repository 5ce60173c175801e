"""Modules: Python's, whose attributes are globals of another file, and nn.Module instances, whose
parameters become inputs of the graph and whose `forward` is interpreted in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dynamo.values.base import NO_KEYWORDS, RealValue, Value
from dynamo.values.dictionary import DictValue
from dynamo.values.object import MISSING, ObjectValue, lookup

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame

_REGISTRIES = ("_parameters", "_buffers", "_modules")


class PythonModule(RealValue):
    """`import math`, `import flambeau as torch`."""

    def __repr__(self) -> str:
        return f"<module {self.real.__name__}>"

    def attribute(self, m: Frame, name: str) -> Value:
        pending = m.effects.pending_global(vars(self.real), name)
        if pending is not None:
            return pending
        value = m.real_getattr(self.real, name)
        if m.is_stable(self.real, value):
            return m.wrap(value)
        return m.read(value, self.source, name)

    def store_attribute(self, m: Frame, name: str, value: Value) -> None:
        m.effects.store_global(vars(self.real), name, value)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(self.real)


class ModuleValue(ObjectValue):
    """An nn.Module. Its registries are read through the instance, so that no `__getattr__` runs."""

    def __repr__(self) -> str:
        return f"<module {self.kind.__name__}>"

    def find(self, m: Frame, name: str) -> Value | None:
        found = super().find(m, name)
        if found is not None:
            return found
        if self.real is None:
            return self._find_in_new(m, name)
        for registry in _REGISTRIES:
            entries = self.real.__dict__.get(registry)
            if entries is None:
                continue
            tracked = m.capture.known(entries)
            if tracked is not None and m.effects.is_mutated(tracked):
                if name in tracked._items:
                    return tracked.pair(m, name)[1]
            elif name in entries:
                return m.read_child(entries[name], self.source, registry, name)
        return None

    def _find_in_new(self, m: Frame, name: str) -> Value | None:
        """The parameter, buffer or submodule of a module that the frame has made."""
        for registry in _REGISTRIES:
            entries = self.attributes.get(registry)
            if isinstance(entries, DictValue) and name in entries._items:
                return entries.pair(m, name)[1]
        return None

    def plain_attribute(self, m: Frame, name: str) -> Value:
        found = self.find(m, name)
        if found is not None:
            return found
        return super().plain_attribute(m, name)

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        """`module(...)`: straight to `forward` where nothing is hooked around it."""
        if self.real is not None and m.capture.calls_forward(self.real, self.source):
            return self.attribute(m, "forward").call(m, args, kwargs)
        return super().call(m, args, kwargs)

    def truth(self, m: Frame) -> bool:
        if lookup(self.kind, "__len__") is MISSING and lookup(self.kind, "__bool__") is MISSING:
            return True
        return super().truth(m)
