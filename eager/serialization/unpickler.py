"""The pickle inside a `.pt` archive to objects: a stack machine that knows plain containers, numbers and an allow-list.

It is not Python's unpickler with a filter: a global that is not on the list, or an instruction that would reach past the list, ends in
`pickle.UnpicklingError`. There is no other way in, so nothing in a file can make this process run what the file brings.
"""

from __future__ import annotations

import pickle
import reprlib
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

MARK = object()


def _encode(text: str, encoding: str) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes are written as latin1 text")
    return text.encode("latin1")


def _bytes(*given: Any) -> bytearray:
    if given and not isinstance(given[0], (bytes, str, list)):  # a number would ask for as much memory
        raise pickle.UnpicklingError("a bytearray is written with its contents")
    return bytearray(*given)


_NODES = 10_000


def _keys(found: Any) -> Any:
    """The same keys of a dict or a set; a tuple that holds another twice, and so on, would take forever to hash."""
    todo, count = [key for key in found if type(key) is tuple], 0
    while todo:
        items = todo.pop()
        count += len(items)
        if count > _NODES:
            raise pickle.UnpicklingError("a key of a dict or a set is too large")
        todo += [item for item in items if type(item) is tuple]
    return found


# Globals of any archive: names in the file -> what they mean here.
PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("__builtin__", "complex"): complex,
    ("builtins", "bytearray"): _bytes,
    ("__builtin__", "bytearray"): _bytes,
    ("_codecs", "encode"): _encode,
}


_COPYING = tuple({id(value): value for value in PLAIN.values() if value is not complex}.values())


def _is(value: Any, known: Iterable[Any]) -> bool:
    return any(value is one for one in known)


class Unpickler:
    """Reads one object.

    `globals` maps `(module, name)` to what may be called or referred to; `trusted` holds those of them that are classes whose
    instances may be made and given state; `persistent` resolves a persistent id.
    """

    def __init__(
        self,
        data: bytes,
        globals: dict[tuple[str, str], Any],
        trusted: set,
        persistent: Callable[[Any], Any],
        start: int = 0,
    ):
        self.data, self.at = data, start
        self.copied = 0  # elements that calls have taken
        self.globals, self.trusted, self.persistent = globals, trusted, persistent
        self.stack: list = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object. Raises `pickle.UnpicklingError` for damaged data and for globals that are not allowed."""
        try:
            while True:
                opcode = self.take(1)[0]
                if opcode == STOP:
                    return self.stack.pop()
                action = ACTIONS.get(opcode)
                if action is None:
                    raise pickle.UnpicklingError(f"opcode {opcode} at byte {self.at - 1} is not allowed")
                action(self)
        except (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise pickle.UnpicklingError(
                f"damaged data near byte {self.at}: {type(error).__name__}: {error}"
            ) from error

    # reading

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise pickle.UnpicklingError("the pickle is truncated")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise pickle.UnpicklingError("the pickle is truncated")
        text = self.take(end - self.at).decode()
        self.at += 1
        return text

    def marked(self) -> list:
        """What lies above the last mark; both are taken off the stack."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is MARK:
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise pickle.UnpicklingError("a mark is missing")

    # containers

    def extend(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise pickle.UnpicklingError(f"cannot append to a {type(target).__name__}")
        target.extend(items)

    def assign(self, items: list) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise pickle.UnpicklingError(f"cannot set items of a {type(target).__name__}")
        target.update(zip(_keys(items[::2]), items[1::2], strict=True))

    def add(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise pickle.UnpicklingError(f"cannot add to a {type(target).__name__}")
        target.update(_keys(items))

    # globals and calls

    def look_up(self, module: str, name: str) -> Any:
        try:
            return self.globals[module, name]
        except (KeyError, TypeError):
            raise pickle.UnpicklingError(
                f"Unsupported global: {module}.{name} is not an allowed global. If you trust the class, allow it with "
                f"`flambeau.serialization.add_safe_globals([{name}])`"
            ) from None

    def reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if type(arguments) is not tuple or not self.allowed(function):
            raise pickle.UnpicklingError(f"a call of {reprlib.repr(function)} is not allowed")
        if _is(function, _COPYING):
            self.spend(arguments)
        self.stack[-1] = function(*arguments)

    def spend(self, arguments: tuple) -> None:
        """Count what calls copy: what a file says once and has copied many times must not fill the memory."""
        for argument in arguments:
            if isinstance(argument, (list, tuple, dict, set, frozenset)):
                pairs = (key for item in argument for key in (item if isinstance(item, (list, tuple)) else ())[:1])
                _keys([*argument, *pairs])
            self.copied += len(argument) if hasattr(argument, "__len__") else 1
        if self.copied > len(self.data) + _NODES:
            raise pickle.UnpicklingError("the file copies more than it holds")

    def make(self, arguments: tuple, keywords: dict) -> None:
        kind = self.stack.pop()
        if not isinstance(kind, type) or not self.allowed(kind) or type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"an instance of {reprlib.repr(kind)} is not allowed")
        self.stack.append(kind.__new__(kind, *arguments, **keywords))

    def allowed(self, function: Any) -> bool:
        return callable(function) and _is(function, self.globals.values())

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is OrderedDict and isinstance(state, dict):
            target.__dict__.update(state)  # a state_dict carries `_metadata` this way
        elif type(target) not in self.trusted:
            raise pickle.UnpicklingError(f"a {type(target).__name__} cannot be given state by a file")
        elif hasattr(target, "__setstate__"):
            target.__setstate__(state)
        elif isinstance(state, dict):
            target.__dict__.update(state)
        else:
            raise pickle.UnpicklingError(f"state of a {type(target).__name__} must be a dict")

    # memory

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def fold(self, count: int) -> None:
        """The top `count` values become a tuple."""
        if count > len(self.stack):
            raise pickle.UnpicklingError("the stack is empty")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        if MARK in items:
            raise pickle.UnpicklingError("a mark inside a tuple")
        self.stack.append(items)

    def decimal(self, line: str) -> Any:
        """INT of protocol 0: 00 and 01 are the truth values."""
        return {"00": False, "01": True}.get(line, None) if line in ("00", "01") else int(line)


def _long(machine: Unpickler, form: str) -> int:
    return int.from_bytes(machine.take(machine.number(form)), "little", signed=True)


def _text(machine: Unpickler, form: str) -> str:
    return machine.take(machine.number(form)).decode("utf-8", "surrogatepass")


def _binary(machine: Unpickler, form: str) -> bytes:
    return machine.take(machine.number(form))


def _stack_global(machine: Unpickler) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.push(machine.look_up(module, name))


def _new_extended(machine: Unpickler) -> None:
    keywords, arguments = machine.stack.pop(), machine.stack.pop()
    machine.make(arguments, keywords)


STOP = pickle.STOP[0]
ACTIONS: dict[int, Callable[[Unpickler], Any]] = {
    pickle.PROTO[0]: lambda m: m.take(1),
    pickle.FRAME[0]: lambda m: m.take(8),
    pickle.MARK[0]: lambda m: m.push(MARK),
    pickle.POP[0]: lambda m: m.stack.pop(),
    pickle.POP_MARK[0]: lambda m: m.marked(),
    pickle.DUP[0]: lambda m: m.push(m.stack[-1]),
    pickle.NONE[0]: lambda m: m.push(None),
    pickle.NEWTRUE[0]: lambda m: m.push(True),
    pickle.NEWFALSE[0]: lambda m: m.push(False),
    pickle.INT[0]: lambda m: m.push(m.decimal(m.line())),
    pickle.BININT[0]: lambda m: m.push(m.number("i")),
    pickle.BININT1[0]: lambda m: m.push(m.number("B")),
    pickle.BININT2[0]: lambda m: m.push(m.number("H")),
    pickle.LONG1[0]: lambda m: m.push(_long(m, "B")),
    pickle.LONG4[0]: lambda m: m.push(_long(m, "i")),
    pickle.BINFLOAT[0]: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    pickle.BINUNICODE[0]: lambda m: m.push(_text(m, "I")),
    pickle.SHORT_BINUNICODE[0]: lambda m: m.push(_text(m, "B")),
    pickle.BINUNICODE8[0]: lambda m: m.push(_text(m, "Q")),
    pickle.BINBYTES[0]: lambda m: m.push(_binary(m, "I")),
    pickle.SHORT_BINBYTES[0]: lambda m: m.push(_binary(m, "B")),
    pickle.BINBYTES8[0]: lambda m: m.push(_binary(m, "Q")),
    pickle.SHORT_BINSTRING[0]: lambda m: m.push(_binary(m, "B").decode("latin1")),
    pickle.BINSTRING[0]: lambda m: m.push(_binary(m, "i").decode("latin1")),
    pickle.EMPTY_TUPLE[0]: lambda m: m.push(()),
    pickle.TUPLE[0]: lambda m: m.push(tuple(m.marked())),
    pickle.TUPLE1[0]: lambda m: m.fold(1),
    pickle.TUPLE2[0]: lambda m: m.fold(2),
    pickle.TUPLE3[0]: lambda m: m.fold(3),
    pickle.EMPTY_LIST[0]: lambda m: m.push([]),
    pickle.LIST[0]: lambda m: m.push(m.marked()),
    pickle.APPEND[0]: lambda m: m.extend([m.stack.pop()]),
    pickle.APPENDS[0]: lambda m: m.extend(m.marked()),
    pickle.EMPTY_DICT[0]: lambda m: m.push({}),
    pickle.SETITEM[0]: lambda m: m.assign([m.stack.pop(-2), m.stack.pop()]),
    pickle.SETITEMS[0]: lambda m: m.assign(m.marked()),
    pickle.EMPTY_SET[0]: lambda m: m.push(set()),
    pickle.ADDITEMS[0]: lambda m: m.add(m.marked()),
    pickle.FROZENSET[0]: lambda m: m.push(frozenset(_keys(m.marked()))),
    pickle.GLOBAL[0]: lambda m: m.push(m.look_up(m.line(), m.line())),
    pickle.STACK_GLOBAL[0]: _stack_global,
    pickle.REDUCE[0]: lambda m: m.reduce(),
    pickle.NEWOBJ[0]: lambda m: m.make(m.stack.pop(), {}),
    pickle.NEWOBJ_EX[0]: _new_extended,
    pickle.BUILD[0]: lambda m: m.build(),
    pickle.BINPERSID[0]: lambda m: m.push(m.persistent(m.stack.pop())),
    pickle.BINPUT[0]: lambda m: m.put(m.number("B")),
    pickle.LONG_BINPUT[0]: lambda m: m.put(m.number("I")),
    pickle.MEMOIZE[0]: lambda m: m.put(len(m.memo)),
    pickle.BINGET[0]: lambda m: m.get(m.number("B")),
    pickle.LONG_BINGET[0]: lambda m: m.get(m.number("I")),
}
