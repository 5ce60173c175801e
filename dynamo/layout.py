"""Where CPython 3.11, 3.12 and 3.13 keep the fields that the frame evaluator reads and writes.

The table alone is never trusted: `verify_static` compares it with code, function and tuple objects
whose contents are known, `verify_extra` with a code object's extra slot, and `verify_frames` with
what a probe evaluator saw in live frames. Promise: a wrong offset is refused with LayoutError
before anything is written through it.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FRAME_WORDS = 24  # how much of a frame the probe copies


class LayoutError(RuntimeError):
    """This interpreter is not laid out as the table says, or there is no table for it."""


@dataclass(frozen=True)
class Layout:
    """Offsets in bytes. The defaults are those of 3.12 and 3.13."""

    # _PyInterpreterFrame
    frame_function: int = 16
    frame_code: int = 0
    frame_globals: int = 24
    frame_instruction: int = 56
    frame_stacktop: int = 64
    frame_owner: int = 70
    frame_locals: int = 72
    frame_specials: int = 9  # words of a frame that are neither locals nor stack
    instruction_bias: int = -2  # from the first code unit to the initial instruction pointer
    callee_clears: bool = True  # whether the evaluator, not its caller, clears the frame
    # PyThreadState
    chunk: int = 232
    chunk_top: int = 240
    chunk_limit: int = 248
    recursion: int | None = None  # c_recursion_remaining, right after py_recursion_limit
    # PyCodeObject, PyFunctionObject, PyTupleObject
    code_flags: int = 48
    code_arguments: int = 52
    code_keywords: int = 60
    code_stack: int = 64
    code_locals: int = 72
    code_framesize: int | None = 76  # None: locals + stack + specials
    code_extra: int = 184
    code_units: int = 192
    function_code: int = 48
    function_closure: int = 72
    tuple_items: int = 24


TABLE = {
    (3, 11): Layout(
        frame_function=0,
        frame_code=32,
        frame_globals=8,
        frame_owner=69,
        callee_clears=False,
        chunk=296,
        chunk_top=304,
        chunk_limit=312,
        code_arguments=56,
        code_keywords=64,
        code_stack=68,
        code_locals=76,
        code_framesize=None,
        code_extra=176,
        code_units=184,
    ),
    (3, 12): Layout(recursion=36),
    (3, 13): Layout(recursion=52, instruction_bias=0, code_extra=192, code_units=200),
}


def current() -> Layout:
    """The row for the running interpreter. Raises LayoutError if there is none."""
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.implementation.name != "cpython":
        raise LayoutError(f"{sys.implementation.name} is not CPython")
    if ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        raise LayoutError("only 64-bit little-endian machines have a table")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise LayoutError("free-threaded builds have no table")
    layout = TABLE.get(sys.version_info[:2])
    if layout is None:
        raise LayoutError(f"Python {version} has no table")
    return layout


def _expect(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise LayoutError(f"{what} reads {found}, expected {expected}")


def _int32(address: int) -> int:
    return ctypes.c_int32.from_address(address).value


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def _samples() -> list[Any]:
    """Functions that differ in every field the table names."""
    captured = 1

    def many(a, b, /, c, *rest, d, e=3, **others):
        z = (a, b, c, d)
        return [x + captured for x in z]

    def none():
        return None

    def generator(x, y=2, *, z):
        yield x

    return [many, none, generator, verify_static, _expect]


def local_slots(code: types.CodeType) -> int:
    """Locals, cells and free variables; an argument that is a cell has one slot."""
    return len({*code.co_varnames, *code.co_cellvars}) + len(code.co_freevars)


def verify_static(layout: Layout) -> None:
    """Check the offsets into tuples, code objects and functions."""
    items = [object(), object(), object()]
    row = tuple(items)
    address = id(row) + layout.tuple_items
    _expect("the length of a tuple", _word(id(row) + 16), 3)
    found = [_word(address + 8 * i) for i in range(3)]
    _expect("the items of a tuple", found, [id(item) for item in items])
    _expect("the size of a code object's header", types.CodeType.__basicsize__, layout.code_units)
    for function in _samples():
        code, at = function.__code__, id(function.__code__)
        slots = local_slots(code)
        wanted = {
            "code_flags": code.co_flags,
            "code_arguments": code.co_argcount,
            "code_keywords": code.co_kwonlyargcount,
            "code_stack": code.co_stacksize,
            "code_locals": slots,
            "code_framesize": slots + code.co_stacksize + layout.frame_specials,
        }
        for name, value in wanted.items():
            offset = getattr(layout, name)
            if offset is not None:
                _expect(f"{name} of {function.__name__}", _int32(at + offset), value)
        closure = 0 if function.__closure__ is None else id(function.__closure__)
        _expect("function_code", _word(id(function) + layout.function_code), at)
        _expect("function_closure", _word(id(function) + layout.function_closure), closure)


def verify_extra(layout: Layout, index: int, set_extra: Callable[[Any, int, int], int]) -> None:
    """Check the extra slot of a code object: `{Py_ssize_t size; void *extras[size]}`."""

    def fresh(): ...

    at = id(fresh.__code__) + layout.code_extra
    _expect("the extra slot of a fresh code object", _word(at), 0)
    set_extra(fresh.__code__, index, 1)
    extra = _word(at)
    if not extra or extra & 7:
        raise LayoutError("the extra slot holds no pointer after it was set")
    size = _word(extra)
    if not index < size <= 255:
        raise LayoutError(f"the extra slot says that it has {size} items")
    _expect("the extra item", _word(extra + 8 + 8 * index), 1)
    set_extra(fresh.__code__, index, 0)


@dataclass
class Snapshot:
    """What the probe evaluator saw when it was called for one frame."""

    frame: int
    thread: int
    frame_words: list[int]
    thread_words: list[int]

    def frame_byte(self, offset: int) -> int:
        return self.frame_words[offset // 8] >> offset % 8 * 8 & 0xFF

    def frame_int(self, offset: int) -> int:
        return self.frame_words[offset // 8] >> offset % 8 * 8 & 0xFFFFFFFF

    def aligned(self, words: list[int], offset: int) -> int:
        if offset % 8:
            raise LayoutError(f"offset {offset} of a pointer is not aligned")
        return words[offset // 8]


def verify_frames(
    layout: Layout,
    snapshot: Snapshot,
    function: types.FunctionType,
    arguments: tuple,
    generator: Snapshot,
) -> None:
    """Check the frame of a call `function(*arguments)`, and the owner of a generator's frame."""
    code = function.__code__
    for name, value in (
        ("frame_code", id(code)),
        ("frame_function", id(function)),
        ("frame_globals", id(function.__globals__)),
        ("frame_instruction", id(code) + layout.code_units + layout.instruction_bias),
    ):
        offset = getattr(layout, name)
        _expect(name, snapshot.aligned(snapshot.frame_words, offset), value)
    slots = local_slots(code)
    _expect("frame_stacktop", snapshot.frame_int(layout.frame_stacktop), slots)
    _expect("frame_owner", snapshot.frame_byte(layout.frame_owner), 0)
    _expect("frame_owner of a generator", generator.frame_byte(layout.frame_owner), 1)
    values = [id(argument) for argument in arguments] + [0] * (slots - len(arguments))
    for i, value in enumerate(values):
        offset = layout.frame_locals + 8 * i
        _expect(f"local {i}", snapshot.aligned(snapshot.frame_words, offset), value)
    size = slots + code.co_stacksize + layout.frame_specials
    _verify_thread(layout, snapshot, snapshot.frame + 8 * size)


def _verify_thread(layout: Layout, snapshot: Snapshot, frame_end: int) -> None:
    words = snapshot.thread_words
    limit, chunk = layout.chunk_limit, layout.chunk
    top, limit, chunk = (snapshot.aligned(words, o) for o in (layout.chunk_top, limit, chunk))
    _expect("chunk_top", top, frame_end)
    size = limit - chunk
    if not chunk < snapshot.frame < top <= limit or size > 1 << 24 or size % 4096:
        raise LayoutError("the limits of the data stack's chunk are not around the frame")
    _expect("the size in the data stack's chunk", _word(chunk + 8), size)
    if layout.recursion is not None:
        before = _int32(snapshot.thread + layout.recursion - 4)
        _expect("the recursion limit in the thread state", before, sys.getrecursionlimit())
