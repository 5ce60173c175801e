"""The launch program: one native call runs a whole graph.

A `Program` is a table of steps. A step is a function of the native signature `int32 kernel(int64 *arguments, int64 start, int64 stop)`, its
arguments (numbers, and references to inputs, outputs, workspace and constants) and the range of its parallel loop. `launcher.py` generates the one
function that walks the table: it patches the addresses of inputs and outputs into the argument blocks, splits a step's range over threads where
that is worth it, and stops at the first code other than 0. The GIL is released meanwhile; a program that is busy in one Python thread is cloned for
another. Addresses are taken as they are: shapes, dtypes, strides and lifetimes are the caller's promise.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inductor import launcher, pool, threads
from inductor.launcher import Field, Header

ALIGNMENT = 64
KEPT = 1 << 16
"""Bytes of working memory that a program keeps rather than allocates in every call."""
LARGE = 1 << 25
"""Bytes from which on it keeps it too: the allocator would return such memory, and fetch its pages again."""
WORTH = 16_000
"""Nanoseconds of work that are worth a thread of their own, where that is awake."""
WAKING = 60_000
"""Nanoseconds of shared work in a program that are worth waking a thread for, which may take tens of thousands to come."""


@dataclass(frozen=True)
class Reference:
    """An address known when the program runs: `kind` is "input", "output", "workspace" or "constant"."""

    kind: str
    index: int = 0
    offset: int = 0


def input(index: int, offset: int = 0) -> Reference:
    """The data of input `index`, `offset` bytes in."""
    return Reference("input", index, offset)


def output(index: int, offset: int = 0) -> Reference:
    """The data of output `index`, `offset` bytes in."""
    return Reference("output", index, offset)


def workspace(offset: int) -> Reference:
    """Byte `offset` of the program's workspace."""
    return Reference("workspace", 0, offset)


def constant(index: int, offset: int = 0) -> Reference:
    """The data of constant `index`, `offset` bytes in."""
    return Reference("constant", index, offset)


@dataclass(frozen=True)
class Step:
    """One call of a kernel over [0, total).

    `cost` is the estimated time of one item of the range in nanoseconds; it decides about threads. `oversplit` is the number of pieces per
    thread (more balance better, fewer reuse packed data longer). `scratch` bytes of memory of its own are given to each thread, their address
    in argument `scratch_slot`; it lies at `scratch_at` if that is given, `threads_at_most()` times `scratch` rounded up.
    """

    function: int
    arguments: tuple[int | Reference, ...]
    total: int = 1
    cost: float = 0.0
    oversplit: int = 1
    scratch: int = 0
    scratch_slot: int = 0
    name: str = ""
    scratch_at: Reference | None = None

    @property
    def grain(self) -> int:
        """Fewest items of the range that are worth a thread of their own."""
        if self.cost <= 0:
            return max(1, self.total)
        return max(1, min(self.total, int(WORTH / self.cost)))


def aligned(size: int) -> np.ndarray:
    """Fresh memory of `size` bytes that starts at a cache line."""
    return within(np.empty(size + ALIGNMENT, np.uint8), size)


def within(memory: np.ndarray, size: int) -> np.ndarray:
    """The first `size` bytes of an array of bytes that start at a cache line."""
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + size]


def threads_at_most() -> int:
    """How many threads a program that is made now may be run by."""
    return max(threads.get_num_threads(), threads.available())


class _MethodDefinition(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    ]


_METH_O = 8


@functools.cache
def _layout() -> tuple[int, int] | None:
    """Offsets of an array's data pointer and of a tuple's items, or None where they are not as expected."""
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    if sys.implementation.name != "cpython" or not locked:
        return None
    data, items = object.__basicsize__, tuple.__basicsize__
    probe = np.zeros(3)
    pair = (probe, data)
    read = ctypes.c_void_p.from_address
    if read(id(probe) + data).value != probe.__array_interface__["data"][0]:
        return None
    if read(id(pair) + items).value != id(probe) or read(id(pair) + 16).value != 2:
        return None
    return data, items


@functools.cache
def _native() -> Any:
    from inductor.templates.template import Template, load

    layout = _layout()
    text = launcher.text(layout[0] if layout else object.__basicsize__)
    return load(Template(f"launcher {text}", "launch", lambda: text, 1, 0.0))


@functools.cache
def _entry(symbol: str) -> Any:
    return _native().other(symbol)


@functools.cache
def _launch() -> Any:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    return prototype(_native().address)


@functools.cache
def _definition() -> _MethodDefinition:
    return _MethodDefinition(b"launch", _entry("call").address, _METH_O, None)


def _builtin(table: np.ndarray) -> Any:
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return new(ctypes.addressof(_definition()), table, None)


def _python(name: str) -> int:
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


class Program:
    """Steps over inputs, outputs, one workspace and constants; `call` runs them.

    `keep` holds whatever must outlive the program (loaded code, for one). Workspace and scratch
    memory of more than `KEPT` bytes and up to `LARGE` are allocated by each call.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        inputs: int,
        outputs: int,
        workspace: int = 0,
        constants: Sequence[np.ndarray] = (),
        keep: Any = None,
    ) -> None:
        self.steps = tuple(steps)
        self.inputs, self.outputs, self.workspace = inputs, outputs, workspace
        self.constants, self.keep = tuple(constants), keep
        self._clones: list[Program] = []
        self._held: np.ndarray | None = None
        self._lock = threading.Lock()
        self._capacity = threads_at_most()
        self._build()

    def _build(self) -> None:
        """Lay header, steps, patches and argument blocks out in native memory."""
        own = (s.scratch for s in self.steps if s.scratch_at is None)
        scratch = -(-max(own, default=0) // ALIGNMENT) * ALIGNMENT
        start = -(-self.workspace // ALIGNMENT) * ALIGNMENT
        self.needs = start + scratch * self._capacity
        self._memory = aligned(self.needs + ALIGNMENT) if self.needs <= KEPT else None
        self._blocks = np.zeros(sum(len(s.arguments) for s in self.steps) + 1, np.int64)
        self._table = np.zeros((len(self.steps), Field.SIZE), np.int64)
        self._count = self.inputs + self.outputs + (self._memory is None)
        self._pointers = np.zeros(self._count + 1, np.int64)
        patches: list[tuple[int, int, int]] = []
        position = self._blocks.ctypes.data
        for row, step in zip(self._table, self.steps, strict=True):
            row[Field.FUNCTION] = step.function
            row[Field.ARGUMENTS] = position
            row[Field.ARGUMENT_COUNT] = len(step.arguments)
            row[Field.TOTAL] = step.total
            row[Field.GRAIN] = step.grain
            row[Field.OVERSPLIT] = step.oversplit
            row[Field.SCRATCH_SLOT] = step.scratch_slot
            row[Field.SCRATCH_STRIDE] = -(-step.scratch // ALIGNMENT) * ALIGNMENT
            if step.scratch:
                slot = row.ctypes.data + 8 * Field.SCRATCH_BASE
                self._place(slot, step.scratch_at or workspace(start), patches)
            for argument in step.arguments:
                self._place(position, argument, patches)
                position += 8
        self._patches = np.array(patches or [(0, 0, 0)], np.int64)
        self._header = self._fill_header(len(patches))
        self._addresses = (self._header.ctypes.data, self._pointers.ctypes.data)
        self._call = _builtin(self._header) if _layout() else self._call_slowly

    def _shared(self) -> float:
        """Nanoseconds of the steps that are worth sharing."""
        return sum(step.total * step.cost for step in self.steps if step.total > step.grain)

    def _place(
        self, slot: int, argument: int | Reference, patches: list[tuple[int, int, int]]
    ) -> None:
        if not isinstance(argument, Reference):
            value = int(argument)
        elif argument.kind in ("input", "output"):
            bound = self.inputs if argument.kind == "input" else self.outputs
            if not 0 <= argument.index < bound:
                raise IndexError(f"program: {argument} but there are {bound} {argument.kind}s")
            index = argument.index + (self.inputs if argument.kind == "output" else 0)
            patches.append((slot, index, argument.offset))
            return
        elif argument.kind == "workspace":
            if not 0 <= argument.offset <= max(self.workspace, self.needs):
                raise IndexError(f"program: {argument} but the workspace has {self.workspace} bytes")
            if self._memory is None:
                patches.append((slot, self._count - 1, argument.offset))
                return
            value = self._memory.ctypes.data + argument.offset
        else:
            value = self.constants[argument.index].ctypes.data + argument.offset
        ctypes.c_int64.from_address(slot).value = value

    def _fill_header(self, patches: int) -> np.ndarray:
        header = np.zeros(Header.SIZE, np.int64)
        data, items = _layout() or (0, 0)
        words = {
            Header.PATCHES: self._patches.ctypes.data,
            Header.PATCH_COUNT: patches,
            Header.STEPS: self._table.ctypes.data,
            Header.LAST: len(self.steps),
            Header.POOL: pool.address(self._capacity - 1, _entry("helper")) if self._shared() else 0,
            Header.WAKE: self._shared() >= WAKING,
            Header.THREADS: threads.cell_address(),
            Header.CAPACITY: self._capacity,
            Header.POINTERS: self._pointers.ctypes.data,
            Header.POINTER_COUNT: self._count,
            Header.TUPLE_TYPE: id(tuple),
            Header.ARRAY_TYPE: id(np.ndarray),
            Header.TUPLE_ITEMS: items,
            Header.ARRAY_DATA: data,
            Header.SAVE_THREAD: _python("PyEval_SaveThread"),
            Header.RESTORE_THREAD: _python("PyEval_RestoreThread"),
            Header.FROM_LONG_LONG: _python("PyLong_FromLongLong"),
            Header.YIELD: _python("sched_yield") if sys.platform == "linux" else 0,
        }
        for word, value in words.items():
            header[word] = value
        return header

    def call(
        self, arrays: tuple[np.ndarray, ...], memory: np.ndarray | None = None
    ) -> tuple[int, int]:
        """Run on the data of `arrays`, inputs before outputs; the result is (code, step), (0, 0) for success.

        `memory` is what a program that keeps none is to work in, `needs` bytes, rather than in fresh memory.
        Raises TypeError unless `arrays` is a tuple of as many NumPy arrays as the program has inputs and outputs.
        """
        given = arrays
        if self._memory is None and isinstance(arrays, tuple):
            memory = self._room() if memory is None else memory
            given = (*arrays, memory)
        result = self._call(given)
        if self.needs >= LARGE:
            self._held = memory
        if result == 0:
            return (0, 0)
        if result == launcher.BUSY:
            return self._elsewhere(arrays)
        if result == launcher.MISMATCH:
            count = self.inputs + self.outputs
            raise TypeError(f"program: expected a tuple of {count} arrays, got {_describe(arrays)}")
        return result & 0xFFFFFFFF, result >> 32

    def _room(self) -> np.ndarray:
        """Memory to work in: that of the call before, where it was kept and no other call has it."""
        held, self._held = self._held, None
        return aligned(self.needs) if held is None else held

    def run(self, pointers: Sequence[int]) -> tuple[int, int]:
        """Run on raw addresses, inputs before outputs; not to be entered by two threads at once."""
        memory = aligned(self.needs) if self._memory is None else None
        self._pointers[: len(pointers)] = pointers
        if memory is not None:
            self._pointers[self._count - 1] = memory.ctypes.data
        result = _launch()(*self._addresses)
        return result & 0xFFFFFFFF, result >> 32

    def _call_slowly(self, arrays: tuple[np.ndarray, ...]) -> int:
        # Where the interpreter's layouts are not the known ones: the same answers through ctypes.
        fits = isinstance(arrays, tuple) and len(arrays) == self._count
        if not fits or any(type(array) is not np.ndarray for array in arrays):
            return launcher.MISMATCH
        with self._lock:
            if self._header[Header.BUSY]:
                return launcher.BUSY
            self._header[Header.BUSY] = 1
        self._pointers[: self._count] = [a.__array_interface__["data"][0] for a in arrays]
        result = _launch()(*self._addresses)
        self._header[Header.BUSY] = 0
        return result

    def _elsewhere(self, arrays: tuple[np.ndarray, ...]) -> tuple[int, int]:
        """Run on a clone with a workspace of its own, because another thread is in this one."""
        with self._lock:
            clone = self._clones.pop() if self._clones else self._clone()
        try:
            return clone.call(arrays)
        finally:
            with self._lock:
                self._clones.append(clone)

    def _clone(self) -> Program:
        return Program(
            self.steps, self.inputs, self.outputs, self.workspace, self.constants, self.keep
        )

    def profile(
        self, arrays: tuple[np.ndarray, ...], clock: Callable[[], float] = time.perf_counter
    ) -> list[tuple[str, float]]:
        """Run step by step; the result is (name, seconds by the clock) for each."""
        result = []
        memory = self._room()  # steps leave each other what they made
        for index, step in enumerate(self.steps):
            self._header[Header.FIRST], self._header[Header.LAST] = index, index + 1
            begin = clock()
            self.call(arrays, memory)
            result.append((step.name, clock() - begin))
        self._header[Header.FIRST], self._header[Header.LAST] = 0, len(self.steps)
        return result

    def scratch_bytes(self) -> int:
        """Bytes of native memory that this program holds between calls, for workspace and scratch memory."""
        return sum(m.nbytes for m in (self._memory, self._held) if m is not None)


def _describe(arrays: object) -> str:
    if not isinstance(arrays, tuple):
        return type(arrays).__name__
    return f"({', '.join(type(array).__name__ for array in arrays)})"


def run_step(step: Step, arrays: tuple[np.ndarray, ...], outputs: int = 1) -> None:
    """Run one step alone on arrays, inputs before outputs: for tests and measurements.

    Raises RuntimeError with the step's code where it fails.
    """
    code, _ = Program([replace(step)], len(arrays) - outputs, outputs).call(arrays)
    if code:
        raise RuntimeError(f"step {step.name!r} returned {code}")
