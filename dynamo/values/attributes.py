"""`x.__dict__`: the dictionary of an instance or function as a value; what is written goes to the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynamo.values.base import NO_KEYWORDS, Value
from dynamo.values.container import ContainerMethod

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame


class AttributeDictionary(Value):
    """`x.__dict__`: reads and writes go to the instance."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __repr__(self) -> str:
        return f"{self.owner!r}.__dict__"

    def python_type(self) -> type:
        return dict

    def truth(self, m: Frame) -> bool:
        return bool(self.owner.dictionary(m))

    def length(self, m: Frame) -> Value:
        return m.constant(len(self.owner.dictionary(m)))

    def contains(self, m: Frame, item: Value) -> Value:
        return m.constant(self._get(m, item) is not None)

    def _get(self, m: Frame, key: Value) -> Value | None:
        found = self.owner.own(m, key.unwrap())
        if found is None:
            m.guard_missing(self.owner, key.unwrap(), own=True)
        return found

    def item(self, m: Frame, key: Value) -> Value:
        found = self._get(m, key)
        return m.throw(KeyError, key.unwrap()) if found is None else found

    def store_item(self, m: Frame, key: Value, value: Value) -> None:
        self.owner.store_own(m, key.unwrap(), value)

    def delete_item(self, m: Frame, key: Value) -> None:
        self.item(m, key)
        self.owner.plain_delete(m, key.unwrap())

    def iterate(self, m: Frame) -> Value:
        return self._copy(m).iterate(m)

    def _copy(self, m: Frame) -> Value:
        return m.dict_of([(m.constant(n), value) for n, value in self.owner.dictionary(m)])

    def attribute(self, m: Frame, name: str) -> Value:
        return ContainerMethod(self, name)

    def method(
        self, m: Frame, name: str, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        if name in ("get", "pop", "setdefault"):
            found = self._get(m, args[0])
            if name == "pop" and found is not None:
                self.owner.plain_delete(m, args[0].unwrap())
            if name == "setdefault" and found is None:
                self.store_item(m, args[0], args[1])
            if found is None and name == "pop" and len(args) == 1:
                m.throw(KeyError, args[0].unwrap())
            default = args[1] if len(args) > 1 else m.constant(None)
            return default if found is None else found
        if name == "update":
            pairs = [pair for other in args for pair in m.mapping_pairs(other)]
            pairs += [(m.constant(key), value) for key, value in kwargs.items()]
            for key, value in pairs:
                self.store_item(m, key, value)
            return m.constant(None)
        if name == "__setitem__":
            self.store_item(m, args[0], args[1])
            return m.constant(None)
        return self._copy(m).method(m, name, args, kwargs)

    def children(self) -> Sequence[Value]:
        return (self.owner,)

    def rebuild(self, e: Emitter) -> None:
        e.load(self.owner)
        e.load_attr("__dict__")
