"""The callable that a compiled graph is: it takes the inputs' arrays, allocates results, and runs the
programs and, between them, what only eager knows.

Results lie in blocks, several of them in one where a backward half will use their memory (`pair`).
A block is fresh memory, that of an earlier call's result which nobody holds any more, or adopted:
the memory around an input that was given for that.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eager.storage import Storage, owner
from eager.tensor import Tensor
from inductor import native
from inductor.codegen.kernel import Source
from inductor.loops import ITEMSIZE, Buffer
from inductor.lower import Fallback, Result
from inductor.memory import Block, rounded
from inductor.program import (
    Program,
    Reference,
    aligned,
    constant,
    input,
    within,
    workspace,
)
from inductor.program import Step as ProgramStep
from inductor.weights import Copies, Kept, forgetting

if TYPE_CHECKING:
    from inductor.compile import Compilation, Unit


def title(source: Source) -> str:
    """What a kernel computes, by the operators in it: for profiles."""
    names = [o.split(":")[0] for m in source.members for o in m.loop.origins]
    return "kernel " + "_".join(dict.fromkeys(names))


APART = 1 << 50
"""Where a template sees what it alone uses, before that has a place."""


class Segment:
    """A run of native units: one program."""

    def __init__(self, compiled: Compiled, units: list[Unit], c: Compilation, alone: bool):
        self.compiled = compiled
        # arrays by their place in the program; a segment that is all there is takes them as they come
        self.slots = {n: n for n in range(compiled.count)} if alone else {}
        self.constants: list[np.ndarray] = []
        steps: list[ProgramStep] = []
        self.keep: list[Any] = []
        self.internal: dict[Buffer, int] = {}
        for unit in units:
            steps.extend(self._provided(self._steps(unit, c), c.units.index(unit), c))
        self.arrays = tuple(self.slots)
        self.alone = alone
        size = c.workspace.used
        self.program = Program(steps, len(self.arrays), 0, size, self.constants, self.keep)

    def _steps(self, unit: Unit, c: Compilation) -> list[ProgramStep]:
        if unit.source is not None:
            self.keep.append(unit.function)
            arguments = tuple(map(self.reference, unit.source.arguments, unit.source.offsets))
            cost = 0.0 if c.debug else unit.source.cost  # of no cost is what one thread runs
            return [ProgramStep(
                unit.function.address, arguments, unit.source.rows, cost, name=title(unit.source),
            )]
        assert unit.step is not None
        self.internal = {}
        for buffer in unit.writes[1:]:
            if buffer in self.compiled.places and buffer not in self.compiled.read:
                self.internal[buffer] = APART + sum(rounded(b.bytes) for b in self.internal)
        made = unit.step.make(self._working if self.internal else self.reference)
        if not self.internal:
            return made
        return [replace(s, arguments=tuple(map(self._settled, s.arguments))) for s in made]

    def reference(self, buffer: Buffer, offset: int = 0) -> Reference:
        """Where a buffer is when this program runs; `offset` in elements."""
        shift = offset * ITEMSIZE[buffer.dtype]
        if buffer.kind == "constant":
            self.constants.append(buffer.value)
            return constant(len(self.constants) - 1, shift)
        home = self.compiled.homes.get(buffer)
        if home is None:
            return self._at(*self.compiled.places[buffer], shift)
        number, start = home
        return input(self.slots.setdefault(number, len(self.slots)), start + shift)

    def _at(self, block: Block, start: int, shift: int = 0) -> Reference:
        if block.number < 0:
            return workspace(start + shift)
        return input(self.slots.setdefault(block.number, len(self.slots)), start + shift)

    def _working(self, buffer: Buffer, offset: int = 0) -> Reference:
        """A reference for a template, to which buffers that it alone uses are the workspace."""
        if buffer in self.internal:
            return workspace(self.internal[buffer] + offset * ITEMSIZE[buffer.dtype])
        return self.reference(buffer, offset)

    def _settled(self, argument: int | Reference) -> int | Reference:
        """An argument of such a template, with the true place of what only it uses."""
        if not isinstance(argument, Reference) or argument.kind != "workspace":
            return argument
        for buffer, start in self.internal.items():
            if start <= argument.offset < start + rounded(buffer.bytes):
                return self._at(*self.compiled.places[buffer], argument.offset - start)
        return argument

    def _provided(
        self, steps: list[ProgramStep], position: int, c: Compilation
    ) -> list[ProgramStep]:
        """The steps with scratch memory for their threads."""
        if position not in c.scratch:
            return steps
        scratch = self._at(*c.scratch[position])
        return [replace(s, scratch_at=scratch) if s.scratch else s for s in steps]

    def run(self, arrays: list[Any]) -> None:
        given = tuple(arrays) if self.alone else tuple([arrays[n] for n in self.arrays])
        code, _ = self.program.call(given)
        if code:
            raise_for(code)


def raise_for(code: int) -> None:
    """The exception that eager would have raised for a kernel's error code."""
    if code & native.RAISED:
        native.reraise()
    if code & 1:
        raise IndexError("index out of range in self")
    if code & 2:
        raise RuntimeError("ZeroDivisionError")
    raise RuntimeError(f"a compiled kernel failed with code {code}")


class Compiled:
    """The callable: checks inputs, allocates outputs, runs the segments."""

    def __init__(self, c: Compilation):
        self.report, self.compilation = c.report, c
        lowered = c.lowered
        self.results, self.folded = lowered.results, c.folded
        # for who compiles what reads the results: the strides of each, or None for an input
        self.strides = [None if r.buffer is None else r.strides for r in lowered.results]
        self.expected = [
            (np.dtype(_numpy(b.dtype)), b.shape, tuple(s * ITEMSIZE[b.dtype] for s in b.strides))
            for b in lowered.inputs
        ]
        self._sort_inputs(c)
        self.link()

    def _sort_inputs(self, c: Compilation) -> None:
        """Which inputs are read, and which of those are a module's, that come again in every call."""
        inputs, placeholders = c.lowered.inputs, c.module.graph.find_nodes(op="placeholder")
        used = {b for u in c.units for b in (*u.reads, *u.writes)}
        used |= {*c.inplace.values(), *(r.buffer for r in self.results if r.buffer is not None)}
        packed = {b.value.number for b in used if b.kind == "kept"}
        self.used = [n for n, buffer in enumerate(inputs) if buffer in used or n in packed]
        lasting = {n for n, p in enumerate(placeholders) if p.meta.get("lasting")}
        self.varying = [n for n in self.used if n not in lasting]
        folded = set(self.folded.numbers) if self.folded is not None else set()
        given = len(inputs) - (self.folded.count if self.folded is not None else 0)
        self.lasting = sorted(n for n in lasting & (folded | set(self.used)) if n < given)
        self.steady = packed | folded <= lasting  # whether all that is kept was made of those
        self.last: tuple[object, list[int], list[Any], list[Any]] | None = None

    def link(self) -> None:
        """Make the programs, for where the buffers have been placed."""
        c = self.compilation
        inputs = c.lowered.inputs
        self.fresh = [b for b in c.blocks if b.adopted is None]
        self.adopted = [b for b in c.blocks if b.adopted is not None]
        for number, block in enumerate((*self.fresh, *self.adopted), len(inputs)):
            block.number = number
        self.homes = {buffer: (number, 0) for number, buffer in enumerate(inputs)}
        for buffer, (home, offset) in c.homes.items():
            if buffer not in self.homes:
                self.homes[buffer] = home.number, offset
        for buffer, old in c.inplace.items():
            self.homes[buffer] = self.homes[old]
        self.overwritten = {self.homes[old][0] for old in c.inplace.values()}
        self.kept: list[Kept] = []
        used = dict.fromkeys(b for u in c.units for b in u.reads if b.kind == "kept")
        for number, buffer in enumerate(used, len(inputs) + len(c.blocks)):
            self.homes[buffer] = number, 0
            self.kept.append(buffer.value)
        self.copies = Copies(self.kept)
        self.count = len(inputs) + len(c.blocks) + len(self.kept)
        c.report.kept = sum(kept.bytes for kept in self.kept)
        self.places = c.places
        self.read = {b for u in c.units for b in u.reads}
        self.blocks: list[np.ndarray | None] = [None] * len(self.fresh)
        self.segments: list[Any] = []
        self._cut(c)
        c.report.workspace = c.workspace.used
        self.views = [self._view(r) for r in self.results]
        # results that see memory which no other result sees
        seen = [None if r.buffer is None else self.homes[r.buffer] for r in self.results]
        counts = Counter(seen)
        self.exclusive = [
            home is not None and home[0] >= len(inputs) and counts[home] == 1 for home in seen
        ]
        c.report.segments = sum(isinstance(s, Segment) for s in self.segments)

    def pair(self, backward: Any, returned: int) -> bool:
        """Share memory with the backward half, to which results from number `returned` on go and to
        nobody else; whether it now overwrites them, unless it is called with `keep`.
        """
        from inductor.pair import share

        if not isinstance(backward, Compiled):
            return False
        if not share(self.compilation, backward.compilation, returned):
            return False
        self.link()
        backward.link()
        return True

    def _cut(self, c: Compilation) -> None:
        """Split the units at fallbacks into segments."""
        alone = all(unit.fallback is None for unit in c.units)
        run: list[Unit] = []
        for unit in c.units:
            if unit.fallback is None:
                run.append(unit)
                continue
            if run:
                self.segments.append(Segment(self, run, c, alone))
                run = []
            self.segments.append(unit.fallback)
        if run:
            self.segments.append(Segment(self, run, c, alone))

    def _view(self, result: Result) -> Any:
        """How a result is made from the arrays: (number, dtype, shape, byte strides, byte offset).
        """
        if result.buffer is None:
            return result
        size = ITEMSIZE[result.buffer.dtype]
        dtype = np.dtype(_numpy(result.buffer.dtype))
        strides = tuple(s * size for s in result.strides)
        number, start = self.homes[result.buffer]
        return number, dtype, result.shape, strides, start + result.offset * size

    def __call__(self, *tensors: Any, keep: bool = False) -> tuple:
        """Run on tensors. With `keep`, what is adopted is a copy: its values are wanted again."""
        arrays = self._remembered(tensors) or self._gathered(tensors)
        for k in range(len(self.fresh)):
            arrays[len(self.expected) + k] = self._memory(k)
        if self.adopted:
            self._adopt(tensors, arrays, keep)
        for segment in self.segments:
            if isinstance(segment, Segment):
                segment.run(arrays)
            else:
                self._fall_back(segment, arrays)
        return tuple([
            self._result(view, exclusive, tensors, arrays)
            for view, exclusive in zip(self.views, self.exclusive)
        ])

    def _memory(self, number: int) -> np.ndarray:
        """Fresh memory for results: that of an earlier call's, where nobody holds it any more."""
        block = self.blocks[number]
        # views made by NumPy hold the memory's owner, calls under way hold the block
        if block is None or sys.getrefcount(block) > 3 or sys.getrefcount(block.base) > 2:
            block = self.blocks[number] = aligned(self.fresh[number].size)
        return block

    def _adopt(self, tensors: tuple, arrays: list[Any], keep: bool) -> None:
        """The blocks in which some inputs lie; with `keep` copies of them, and the inputs moved there.
        """
        moved: dict[int, np.ndarray] = {}
        for block in self.adopted:
            assert block.adopted is not None
            memory = within(owner(tensors[block.adopted[0]]._array), block.size)
            if keep:
                copy = aligned(block.size)
                copy[...] = memory
                moved[block.number] = memory = copy
            arrays[block.number] = memory
        if not keep:
            return
        for buffer, (home, offset) in self.compilation.homes.items():
            number = self.homes[buffer][0]
            if home.number in moved and number < len(tensors):
                dtype, shape, strides = self.expected[number]
                arrays[number] = np.ndarray(shape, dtype, moved[home.number].data, offset, strides)

    def _remembered(self, tensors: tuple) -> list[Any] | None:
        """The arrays by number, those that last as the call before found them. None where one may have
        changed: that is seen without a look at the tensors, which would have to come from memory.
        """
        last = self.last
        if last is None or last[0] is not Storage.changes:
            return None
        if last[1] != list(map(id, map(tensors.__getitem__, self.lasting))):
            return None
        arrays = last[3].copy()
        for number in self.varying:
            arrays[number] = self._array(tensors[number], self.expected[number])
        return arrays

    def _gathered(self, tensors: tuple) -> list[Any]:
        """The arrays by number, with nothing in the place of blocks and of inputs that are not read."""
        self.last, changes = None, Storage.changes
        given = tensors if self.folded is None else tensors + self.folded.get(tensors)
        arrays: list[Any] = [_NOTHING] * self.count
        for number in self.used:
            arrays[number] = self._array(given[number], self.expected[number])
        if self.kept:
            arrays[-len(self.kept) :] = self.copies.get(given, arrays)
        if self._may_remember(given, arrays):
            lasting = arrays.copy()
            for number in self.varying:
                lasting[number] = _NOTHING
            self.last = changes, *self._identities(tensors), lasting
        return arrays

    def _identities(self, tensors: tuple) -> tuple[list[int], list[Any]]:
        """Numbers that are those of the inputs that last, and what keeps them so: if one dies, all is forgotten."""
        forget = forgetting(self)
        lasting = [tensors[number] for number in self.lasting]
        return [id(tensor) for tensor in lasting], [weakref.ref(tensor, forget) for tensor in lasting]

    def _may_remember(self, given: tuple, arrays: list[Any]) -> bool:
        """Whether the next call may take over what this one found: nothing of it is a copy made for this call."""
        if not self.steady or self.kept and self.copies.last is None:
            return False
        if self.folded is not None and self.folded.last is None:
            return False
        return all(arrays[n] is given[n]._array for n in self.used if n not in self.varying)

    def _array(self, tensor: Any, expected: tuple) -> Any:
        """The input's array, laid out as it was compiled for."""
        if not isinstance(tensor, Tensor):
            return np.asarray(tensor)
        array = tensor._array
        dtype, shape, strides = expected
        if array.strides == strides and array.shape == shape and array.dtype == dtype:
            return array
        if array.shape != shape or array.dtype != dtype:
            raise RuntimeError(
                f"a compiled graph was called with a tensor of {array.dtype} {list(array.shape)} where it was "
                f"compiled for {dtype} {list(shape)}"
            )
        if all(n == 1 or a == b for n, a, b in zip(shape, array.strides, strides, strict=True)):
            return array
        laid_out = _strided(aligned(_bytes(dtype, shape, strides)), dtype, shape, strides, 0)
        laid_out[...] = array
        return laid_out

    def _result(self, how: Any, exclusive: bool, tensors: tuple, arrays: list[Any]) -> Any:
        if isinstance(how, Result):
            return tensors[how.input] if how.input >= 0 else how.constant
        number, dtype, shape, strides, offset = how
        if number in self.overwritten and arrays[number] is tensors[number]._array:
            return tensors[number]
        result = Tensor._wrap(_strided(arrays[number], dtype, shape, strides, offset))
        result._exclusive = exclusive
        return result

    def _fall_back(self, fallback: Fallback, arrays: list[Any]) -> None:
        """The eager kernel on views of our memory, its results copied into our buffers."""

        def convert(argument: Any) -> Any:
            if isinstance(argument, (list, tuple)):
                return type(argument)(convert(a) for a in argument)
            if not hasattr(argument, "buffer"):
                return argument
            buffer = argument.buffer
            size = ITEMSIZE[buffer.dtype]
            dtype = np.dtype(_numpy(buffer.dtype))
            strides = tuple(s * size for s in argument.strides)
            offset = argument.offset * size
            if buffer.kind == "constant":
                return Tensor._wrap(_strided(buffer.value, dtype, argument.shape, strides, offset))
            number, start = self.homes[buffer]
            return Tensor._wrap(
                _strided(arrays[number], dtype, argument.shape, strides, start + offset)
            )

        from eager.autograd import no_grad

        with no_grad():
            values = fallback.op.compute(tuple(convert(a) for a in fallback.arguments))
        for buffer, value in zip(
            fallback.outputs, values if isinstance(values, tuple) else (values,), strict=True
        ):
            dtype = np.dtype(_numpy(buffer.dtype))
            strides = tuple(s * dtype.itemsize for s in buffer.strides)
            number, start = self.homes[buffer]
            array = _strided(arrays[number], dtype, buffer.shape, strides, start)
            array[...] = value._array


_NOTHING = np.empty(0)  # in the place of an input


def _numpy(dtype: str) -> Any:
    from eager.dtype import from_name

    return from_name(dtype).numpy


def _bytes(dtype: np.dtype, shape: Sequence[int], strides: Sequence[int]) -> int:
    if 0 in shape:
        return 1
    return dtype.itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


def _strided(
    array: np.ndarray, dtype: np.dtype, shape: Sequence[int], strides: Sequence[int], offset: int
) -> np.ndarray:
    """A typed view of raw memory (or of another array's)."""
    if array.dtype == np.uint8 and array.ndim == 1 and array.flags.c_contiguous:
        return np.ndarray(shape, dtype, array.data, offset, strides)
    view = np.lib.stride_tricks.as_strided(array, tuple(shape), tuple(strides))
    return view if not offset else np.ndarray(shape, dtype, array, offset, strides)
