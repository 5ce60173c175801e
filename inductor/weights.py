"""Weights in the order in which kernels read them, made once and kept while the weight is unchanged.

A program of an inference reads a parameter through a `Kept`: a copy of it that a template packs, which
lies with the parameter's storage and dies with it. Every call compares the storage's `stamp`: an
optimizer's step, `copy_`, `load_state_dict` or another array under `.data` give another one, and the
copy is made anew; while NumPy holds the memory, and could write to it unseen, it is made anew in every
call. Programs for other shapes share a copy that is laid out alike. The price is memory: as much again
as the weights that are packed (`kept_bytes`).
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from inductor.loops import ITEMSIZE, Buffer
from inductor.program import ALIGNMENT, Program, aligned, input, output, workspace
from inductor.templates.template import Template

LEAST = 1024
"""Elements of a weight that is worth a copy."""


class Copy:
    """A weight's copy: its memory, and of what it was made."""

    __slots__ = ("memory", "array", "stamp", "__weakref__")

    def __init__(self, memory: np.ndarray):
        self.memory = memory
        self.array: np.ndarray | None = None
        self.stamp: int | None = None

    @property
    def nbytes(self) -> int:
        return self.memory.nbytes


keepers: weakref.WeakSet[Any] = weakref.WeakSet()
"""What holds memory for as long as weights do not change, `nbytes` each."""
_programs: dict[tuple, Program] = {}


def kept_bytes() -> int:
    """Bytes of all copies of weights there are, and of what is computed of them once."""
    return sum(keeper.nbytes for keeper in keepers)


class Kept:
    """Input number `input` of a program as the kernel of `template` (weight, packed) lays it out; or if
    `before`, as it lays out what that gives.
    """

    def __init__(
        self, number: int, template: Template, size: int, itemsize: int, offset: int = 0,
        before: Kept | None = None,
    ):
        self.number, self.bytes = number, size * itemsize
        self.template, self.offset, self.before = template, offset * itemsize, before
        self.key: tuple = (template.key, offset, None if before is None else before.key)

    @property
    def program(self) -> Program:
        """The program (weight, packed), one for all weights that are packed alike."""
        if self.key not in _programs:
            steps, room, source = [], 0, input(0)
            for stage in self.stages:
                target = output(0) if stage is self else workspace(room)
                given = replace(source, offset=source.offset + stage.offset)
                steps.append(stage.template.step(given, target))
                source = target
                if stage is not self:
                    room += -(-stage.bytes // ALIGNMENT) * ALIGNMENT
            _programs[self.key] = Program(steps, 1, 1, room)
        return _programs[self.key]

    @property
    def stages(self) -> list[Kept]:
        """What is done to the weight, one after the other."""
        return [*([] if self.before is None else self.before.stages), self]

    def get(self, tensor: Any, array: np.ndarray) -> np.ndarray:
        """The packed copy of `tensor`, whose memory is seen as `array`."""
        storage = tensor.untyped_storage()
        derived = storage.derived
        if derived is None:
            derived = storage.derived = {}
        copy = derived.get(self.key)
        if copy is None:
            copy = derived[self.key] = Copy(aligned(self.bytes))
            keepers.add(copy)
        memory = copy.memory
        stamp = storage.stamp()
        if stamp is None or copy.stamp != stamp or copy.array is not array:
            memory = self._make(copy, array)
            copy.memory, copy.array, copy.stamp = memory, array, stamp
        return memory

    def _make(self, copy: Copy, array: np.ndarray) -> np.ndarray:
        """Pack, into memory that no other call is reading."""
        copy.stamp = None
        memory = copy.memory
        # held by the copy, by `get` and here; calls under way in other threads hold it too
        if sys.getrefcount(memory) > 4:
            memory = aligned(self.bytes)
        code, _ = self.program.call((array, memory))
        if code:
            raise RuntimeError(f"packing a weight failed with code {code}")
        return memory


def forgetting(keeper: Any) -> Callable[[Any], None]:
    """For weak references: what `keeper` has in `last` is forgotten when their object dies."""
    me = weakref.ref(keeper)

    def forget(dead: Any) -> None:
        found = me()
        if found is not None:
            found.last = None

    return forget


class Sources:
    """The tensors that `keeper` has something of in its `last`, as they are now; that is forgotten where one of them
    dies. `known` is false while NumPy could write to one unseen.
    """

    def __init__(self, tensors: Sequence[Any], keeper: Any):
        self.arrays = [tensor._array for tensor in tensors]
        storages = [tensor.untyped_storage() for tensor in tensors]
        for storage in storages:
            if storage.derived is None:
                storage.derived = {}
        forget = forgetting(keeper)
        self.stamps = [(weakref.ref(storage, forget), storage.stamp()) for storage in storages]
        self.known = all(stamp is not None for _, stamp in self.stamps)

    def same(self, tensors: Sequence[Any]) -> bool:
        """Whether these are the tensors, with the values that they had."""
        for (storage_of, stamp), array, tensor in zip(self.stamps, self.arrays, tensors, strict=True):
            storage = storage_of()
            if storage is None or storage.stamp() != stamp or tensor._array is not array:
                return False
        return True


class Copies:
    """The copies that a program reads, and what the last call found."""

    def __init__(self, kept: list[Kept]):
        self.kept = kept
        # one value, for threads take it as it is
        self.last: tuple[list[np.ndarray], Sources] | None = None

    def get(self, tensors: Any, arrays: list[Any]) -> list[np.ndarray]:
        """The packed copies for a call on `tensors`, whose memory is seen as `arrays`."""
        given = [tensors[kept.number] for kept in self.kept]
        last = self.last
        if last is not None and last[1].same(given):
            return last[0]
        self.last = last = None  # so that copies are not held while they are made again
        sources = Sources(given, self)
        found = [kept.get(tensor, arrays[kept.number]) for kept, tensor in zip(self.kept, given, strict=True)]
        if sources.known:
            self.last = found, sources
        return found


def keep(
    lowering: Any, weight: Buffer, offset: int, template: Template, size: int, dtype: str | None = None
) -> Buffer:
    """What stands in a graph for a parameter as a kernel of `template` (weight, packed) lays it out, in
    its type or `dtype`; the parameter may be one that is kept already, in another order or type."""
    dtype = dtype or weight.dtype
    key = (weight, offset, template.key)
    if key not in lowering.kept:
        before = weight.value if weight.kind == "kept" else None
        number = lowering.result.inputs.index(weight) if before is None else before.number
        kept = Kept(number, template, size, ITEMSIZE[dtype], offset, before)
        name = f"kept{len(lowering.kept)}"
        lowering.kept[key] = Buffer(name, dtype, (size,), (1,), "kept", value=kept)
    return lowering.kept[key]
