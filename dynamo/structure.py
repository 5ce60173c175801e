"""What an object looked like when its guards held: a table of memory words, so that the next call asks one native function whether any
of them has changed instead of reading hundreds of attributes. Dictionaries are watched by CPython's version tags, which any change of
a dictionary renews; classes, lists and arrays by their fields; a tensor by its array and by what says that it requires gradients.

Promise: while the words are the same, every guard that was proven holds, and the objects that `gather` gives are those the sources
read. What cannot be proven this way is checked by Python at every call. A changed word proves nothing: the guards are then evaluated.
"""

from __future__ import annotations

import collections
import ctypes
import enum
import struct
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dynamo.source import (
    AttributeSource,
    ChildSource,
    DictItemSource,
    DictKeySource,
    ItemSource,
    KeyedSource,
    Source,
    TypeSource,
)
from dynamo.words import HEADER

_PATIENCE = 64  # slow calls, at most, before a new table is tried
_WORTH = 8  # hits that make a table worth its making
_DICTIONARIES = (dict, collections.OrderedDict, collections.defaultdict)
_LITERALS = (
    int, float, bool, str, bytes, complex, type(None), type(...), type(NotImplemented), range,
)  # fmt: skip
_FIELDS = ("_array", "_requires_grad", "_base")
_SHARED_KEYS = 30  # CPython shares at most so many names among the instances of a class


class Unproven(Exception):
    """Something that no words in memory can vouch for."""


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def is_literal(value: Any) -> bool:
    """Whether an object never changes, so that holding it is all there is to do."""
    kind = type(value)
    if kind in _LITERALS or isinstance(value, enum.Enum):
        return True
    if kind is tuple:
        return all(map(is_literal, value))
    return kind.__module__.startswith("eager.") and kind.__name__ in ("dtype", "device", "Size")


# --- where things are ---------------------------------------------------------------------------


def supported() -> bool:
    """Whether dictionaries and instances are laid out here as this file believes. It tries all it relies on."""
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        return False

    class Probe:
        pass

    probe = Probe()
    probe.x = 1  # type: ignore[attr-defined]
    table = probe.__dict__
    if _word(id(probe) - 24) != id(table) or _word(id(probe) + 8) != id(Probe):
        return False
    row = [probe, table]
    if _word(id(row) + 16) != 2 or _word(_word(id(row) + 24) + 8) != id(table):
        return False
    return _versions_move(probe, table) and _fields_found()


def _versions_move(probe: Any, table: dict) -> bool:
    """Whether each way of changing a dictionary gives it a version that no dictionary had."""

    def store(target: Any, value: int) -> None:
        target.x = value

    ordered: collections.OrderedDict = collections.OrderedDict(a=1)
    missing: collections.defaultdict = collections.defaultdict(int)
    changes: tuple[tuple[dict, Callable[[], Any]], ...] = (
        *((table, lambda n=n: store(probe, n * 1000)) for n in range(64)),  # specialised by now
        (table, lambda: setattr(probe, "y", 1)), (table, lambda: delattr(probe, "y")),
        (table, lambda: table.update(x=-1)), (table, lambda: table.pop("x")),
        (table, lambda: table.setdefault("z", 2)), (table, lambda: table.__ior__({"z": 3})),
        (table, lambda: table.popitem()), (table, lambda: table.update(a=1)), (table, table.clear),
        (ordered, lambda: ordered.update(b=2)), (ordered, lambda: ordered.__setitem__("a", 3)),
        (ordered, lambda: ordered.pop("a")), (ordered, ordered.clear),
        (missing, lambda: missing["a"]), (missing, lambda: missing.update(a=2)),
    )  # fmt: skip
    seen = {_word(id(table) + 24), _word(id(ordered) + 24), _word(id({}) + 24)}
    for target, change in changes:
        change()
        version = _word(id(target) + 24)
        if version in seen:
            return False
        seen.add(version)
    return _word(id(ordered) + 16) == 0


def _fields_found() -> bool:
    class Plain:
        pass

    found = _places(Plain)
    if found is None:
        return False
    sample = Plain()
    sample._requires_grad, sample._array = True, found  # type: ignore[attr-defined]
    inline = _values(sample, {})
    same = _word(inline + 8 * found[0]) == id(found)
    sample.__dict__  # noqa: B018  from now on the instance has a dictionary
    shared = _values(sample, {})
    same &= _word(shared + 8 * found[0]) == id(found) and _word(shared + 8 * found[2]) == 0
    return same and _word(shared + 8 * found[1]) == id(True)


def _is_tensor(value: Any) -> bool:
    from eager.tensor import Tensor

    return isinstance(value, Tensor)


def _values(instance: Any, rows: dict[int, int]) -> int:
    """The address of an instance's attribute values in the order of its class; adds the words that lead there.

    Raises Unproven if it keeps them in a dictionary of its own.
    """
    place = id(instance) - 24
    found = _word(place)
    if sys.version_info >= (3, 12) and found & 1:
        rows[place] = found
        return found + 1
    if found:
        values = _word(found + 40)
        rows[place], rows[found + 40] = found, values
    else:
        values = _word(place - 8)
        rows[place], rows[place - 8] = found, values
    if not values:
        raise Unproven(f"the attributes of a {type(instance).__name__} are in a dictionary")
    return values


_known_places: weakref.WeakKeyDictionary[type, tuple[int, ...] | None] = (
    weakref.WeakKeyDictionary()
)


def _places(kind: type) -> tuple[int, ...] | None:
    """Where instances of a class keep the fields of a tensor, found with a probe."""
    if kind not in _known_places:
        marks = [object() for _ in _FIELDS]
        try:
            probe: Any = object.__new__(kind)
            for name, mark in zip(_FIELDS, marks, strict=True):
                object.__setattr__(probe, name, mark)
            start = _values(probe, {})
        except (TypeError, Unproven):
            _known_places[kind] = None
            return None
        found: dict[int, int] = {}
        for index in range(_SHARED_KEYS):
            found[_word(start + 8 * index)] = index
            if all(id(mark) in found for mark in marks):
                break
        places = tuple(found[id(mark)] for mark in marks if id(mark) in found)
        _known_places[kind] = places if len(places) == len(marks) else None
    return _known_places[kind]


# --- proofs -------------------------------------------------------------------------------------


class Proof:
    """The words that vouch for what is read from one root object. `held` keeps what must not make room for another."""

    def __init__(self, root: Source, real: Any) -> None:
        self.root = root
        self.rows: dict[int, int] = {}
        self.held: list[Any] = []
        self._known: dict[Source, Any] = {root: real}

    def word(self, address: int) -> None:
        if address not in self.rows:
            self.rows[address] = _word(address)

    def words(self, address: int, count: int) -> None:
        found = struct.unpack(f"<{count}Q", ctypes.string_at(address, 8 * count))
        for index, word in enumerate(found):
            self.rows[address + 8 * index] = word

    def value(self, source: Source) -> Any:
        """What a source reads. Raises Unproven if it could change without any word changing."""
        try:
            return self._known[source]
        except KeyError:
            found = self._known[source] = self._read(source)
            return found

    def _read(self, source: Source) -> Any:
        kind, base = type(source), source.base
        if base is None:
            raise Unproven("another root")
        owner = self.value(base)
        if isinstance(source, AttributeSource) and kind is AttributeSource:
            return self.attribute(owner, source.attribute)
        if isinstance(source, ChildSource):
            return self.item(self.attribute(owner, source.table), source.child)
        if isinstance(source, ItemSource) and kind in (ItemSource, DictItemSource):
            return self.item(owner, source.key)
        if isinstance(source, KeyedSource):
            # The dict keeps its key alive: nothing else can come to lie there while it does not change.
            self.version(owner)
            return dict.__getitem__(owner, self.value(source.key))
        if isinstance(source, DictKeySource):
            self.version(owner)
            return list(owner)[source.index]
        if isinstance(source, TypeSource):
            self.word(id(owner) + 8)
            return type(owner)
        raise Unproven(kind.__name__)

    def attribute(self, owner: Any, name: str) -> Any:
        """An attribute from the dictionary of an instance."""
        if type(owner) is types.MethodType and name in ("__self__", "__func__"):
            return getattr(owner, name)
        table = self.instance(owner)
        if name == "__dict__":
            return table
        kind = type(getattr(type(owner), name, None))
        if name not in table or hasattr(kind, "__set__") or hasattr(kind, "__delete__"):
            raise Unproven(f"{name} is not in the dictionary of the instance")
        return table[name]

    def instance(self, owner: Any) -> dict:
        """The dictionary of an instance, watched."""
        try:
            table = object.__getattribute__(owner, "__dict__")
        except AttributeError:
            raise Unproven(f"a {type(owner).__name__} has no dictionary") from None
        if type(table) is not dict or _word(id(owner) - 24) != id(table):
            raise Unproven(f"the dictionary of a {type(owner).__name__} is somewhere else")
        self.word(id(owner) + 8)
        self.word(id(owner) - 24)
        self.word(id(table) + 24)
        return table

    def version(self, table: Any) -> None:
        """Any change of a dictionary."""
        if type(table) not in _DICTIONARIES:
            raise Unproven(f"a {type(table).__name__} is no plain dictionary")
        self.word(id(table) + 8)
        self.word(id(table) + 24)

    def item(self, owner: Any, key: Any) -> Any:
        """An item of a tuple, dictionary or list."""
        if type(owner) is tuple:
            return owner[key]
        if type(owner) in _DICTIONARIES:
            self.version(owner)
            return dict.__getitem__(owner, key)
        if type(owner) is not list:
            raise Unproven(f"items of a {type(owner).__name__}")
        found = owner[key]
        self.word(id(owner) + 16)
        self.word(id(owner) + 24)
        self.word(_word(id(owner) + 24) + 8 * (key % len(owner)))
        # A list has no version: another object might come to lie where this one lay.
        if is_literal(found):
            self.held.append(found)
            return found
        self.word(id(found) + 8)
        if type(found) in _DICTIONARIES:
            self.version(found)
        elif type(found) is not list and not _is_tensor(found):
            self.instance(found)
        return found

    def tensor(self, found: Any) -> None:
        """The class, the array and the need of a gradient of a tensor."""
        places = _places(type(found)) if _is_tensor(found) else None
        if places is None:
            raise Unproven("not the tensor that it was")
        self.word(id(found) + 8)
        values = _values(found, self.rows)
        array = found._array
        fields = [values + 8 * place for place in places]
        for address in fields:
            self.word(address)
        if self.rows[fields[0]] != id(array) or self.rows[fields[2]] not in (0, id(None)):
            raise Unproven("a view, which asks its base")
        if self.rows[fields[1]] not in (0, id(True), id(False)):
            raise Unproven("what says whether it requires a gradient")
        self.array(array)

    def array(self, array: Any) -> None:
        """Type, sizes and strides of an array."""
        start = id(array)
        for offset in (8, 24, 32, 40, 56):
            self.word(start + offset)
        if array.ndim:
            self.words(self.rows[start + 32], array.ndim)
            self.words(self.rows[start + 40], array.ndim)

    def check(self, guard: Any) -> None:
        """Add the words that vouch for a guard. Raises Unproven."""
        check = _CHECKS.get(guard.kind)
        if check is None:
            raise Unproven(guard.kind)
        check(self, guard)

    def table(self, inputs: Iterable[Source]) -> bytes:
        """The table, as `words` wants it; the rows that lead to the inputs come first."""
        known, rows = self._known[self.root], self.rows
        self.rows = {}
        objects = [id(self.value(source)) for source in self._again(inputs)]
        chain = len(self.rows)
        self.rows.update((at, word) for at, word in rows.items() if at not in self.rows)
        flat = [number for row in self.rows.items() for number in row]
        header = (id(known), 0, chain, len(self.rows), len(objects))
        return struct.pack(f"<{HEADER + len(flat) + len(objects)}Q", *header, *flat, *objects)

    def _again(self, inputs: Iterable[Source]) -> list[Source]:
        """The inputs, with nothing known but the root, so that reading them adds their words again."""
        self._known = {self.root: self._known[self.root]}
        return list(inputs)


def _check_type(proof: Proof, guard: Any) -> None:
    found = proof.value(guard.source)
    proof.word(id(found) + 8)


def _check_constant(proof: Proof, guard: Any) -> None:
    found = proof.value(guard.source)
    if not is_literal(found):
        proof.word(id(found) + 8)
        if guard.kind != "NONE":
            raise Unproven("a constant that can change")


def _check_identity(proof: Proof, guard: Any) -> None:
    proof.value(guard.source)
    base = guard.source.base
    if base is not None and type(proof.value(base)) is list:
        raise Unproven("a list may hold another object at the same place")


def _check_length(proof: Proof, guard: Any) -> None:
    found = proof.value(guard.source)
    if type(found) is tuple:
        return
    if type(found) is list:
        proof.word(id(found) + 8)
        proof.word(id(found) + 16)
        return
    proof.version(found)


def _check_dictionary(proof: Proof, guard: Any) -> None:
    proof.version(proof.value(guard.source))


def _check_tensor_key(proof: Proof, guard: Any) -> None:
    proof.version(proof.value(guard.source))
    proof.value(guard.payload[0])


def _check_attribute(proof: Proof, guard: Any) -> None:
    from eager.nn.module import Module

    owner = proof.value(guard.source)
    proof.instance(owner)
    kind = type(owner)
    if isinstance(owner, Module) and kind.__getattr__ is Module.__getattr__:
        for name in ("_parameters", "_buffers", "_modules"):
            proof.version(proof.attribute(owner, name))
    elif hasattr(kind, "__getattr__") or kind.__getattribute__ is not object.__getattribute__:
        raise Unproven("the class has its own rules")


def _check_tensor(proof: Proof, guard: Any) -> None:
    proof.tensor(proof.value(guard.source))


def _check_empty(proof: Proof, guard: Any) -> None:
    owner = proof.value(guard.source)
    for name in guard.payload:
        table = proof.attribute(owner, name)
        if type(table) not in _DICTIONARIES:
            raise Unproven("hooks that are no dictionary")
        proof.word(id(table) + 16)


def _check_same(proof: Proof, guard: Any) -> None:
    proof.value(guard.source)
    proof.value(guard.payload)


def _check_different(proof: Proof, guard: Any) -> None:
    for source in guard.payload:
        proof.value(source)


_CHECKS: dict[str, Callable[[Proof, Any], None]] = {
    "TYPE": _check_type,
    "CONSTANT": _check_constant,
    "TRAINING": _check_constant,
    "NONE": _check_constant,
    "ID": _check_identity,
    "LENGTH": _check_length,
    "DICT_KEYS": _check_dictionary,
    "DICT_CONTAINS": _check_dictionary,
    "TENSOR_KEY": _check_tensor_key,
    "HASATTR": _check_attribute,
    "TENSOR": _check_tensor,
    "EMPTY": _check_empty,
    "DUPLICATE_INPUT": _check_same,
    "NO_TENSOR_ALIASING": _check_different,
}


# --- at run time --------------------------------------------------------------------------------


def _never(root: Any) -> None:
    """In place of a table where there is none."""


class Structure:
    """The guards and graph inputs that are read from one root, with the table that spares reading them."""

    def __init__(self, root: Source) -> None:
        self.root = root
        self.inputs: list[Source] = []  # what `gather` gives, in this order
        self.guards: list[Any] = []
        # Does the table hold, the inputs by the table, and the identities of inputs that no other may be.
        self.cell: list[Any] = [_never, _never, frozenset()]
        self.holds: Callable[[Any], bool] = bool
        self.read: Callable[[Any], tuple] | None = None
        self.apart: Callable[[Any], tuple] | None = None
        self._watch: Any = None
        self._table = b""
        self._held: list[Any] = []
        self._wait = self._patience = 1
        self.gather = _gatherer(self)

    def prove(self, real: Any, guards: Sequence[Any]) -> list[Any]:
        """The guards, of those given, that words can vouch for."""
        proof = Proof(self.root, real)
        proven = []
        for guard in guards:
            try:
                proof.check(guard)
            except (Unproven, AttributeError, KeyError, IndexError, TypeError):
                continue
            proven.append(guard)
        return proven

    def watch(self, watch: Any) -> None:
        """From now on keep a table; `watch(table)` makes its two builtins."""
        self._watch = watch

    def refresh(self, real: Any) -> bool:
        """Whether the guards hold; called when the table does not say so."""
        if not self.holds(real):
            return False
        if self.apart is not None:
            self.cell[2] = frozenset(map(id, self.apart(real)))
        self._wait -= 1
        if self._watch is None or self._wait > 0:
            return True
        hits = struct.unpack_from("<q", self._table, 8)[0] if self._table else _WORTH
        self._patience = 1 if hits >= _WORTH else min(2 * self._patience, _PATIENCE)
        self._wait = self._patience
        proof = Proof(self.root, real)
        try:
            for guard in self.guards:
                proof.check(guard)
            table = proof.table(self.inputs)
        except (Unproven, AttributeError, KeyError, IndexError, TypeError):
            return True
        if not self.holds(real):  # changed by another thread while it was looked at
            return False
        self._table, self._held = table, proof.held
        self.cell[:2] = self._watch(table)
        return True


def _gatherer(structure: Structure) -> Callable[[Any], tuple]:
    cell = structure.cell

    def gather(root: Any) -> tuple:
        found = cell[1](root)
        if found is not None:
            return found
        assert structure.read is not None
        return structure.read(root)

    return gather
