"""Where buffers live. Temporaries share one workspace, planned ahead, and whatever else the program
has while it is not in use: the memory of a result before that is first written, and that of a saved
value after it was last read. What has an address of its own at run time is a `Block`.

A buffer lies at the lowest offset where it meets no other that lives at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from inductor.loops import Buffer

ALIGNMENT = 64
FOREVER = 1 << 60
LEAST = 8192
"""Bytes from which on a temporary goes into a block: smaller ones are in the workspace, which is hot."""


def rounded(size: int) -> int:
    """Bytes up to the next place where a buffer may begin."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Life:
    """A buffer is written at step `begin` and last read at step `end`."""

    buffer: Buffer
    begin: int
    end: int


@dataclass(eq=False)
class Block:
    """Memory of a size, and when which bytes of it are taken: (first step, last step, start, stop).
    The workspace is one of any size.

    A block that a program is given lies around an input: `adopted` is the input's number and the
    byte at which it lies in the block. `number` is the block's place among the program's arrays.
    """

    size: int = FOREVER
    adopted: tuple[int, int] | None = None
    taken: list[tuple[int, int, int, int]] = field(default_factory=list)
    number: int = -1

    def take(self, begin: int, end: int, start: int, size: int) -> None:
        """Steps `begin` to `end` have `size` bytes at `start`."""
        self.taken.append((begin, end, start, start + rounded(size)))

    def room(self, begin: int, end: int, size: int) -> int | None:
        """The lowest offset of `size` bytes that are free in steps `begin` to `end`, if there is one."""
        meeting = sorted((a, z) for first, last, a, z in self.taken if first <= end and begin <= last)
        offset = 0
        for start, stop in meeting:
            if offset + size <= start:
                break
            offset = max(offset, stop)
        return offset if offset + size <= self.size else None


    @property
    def used(self) -> int:
        """Bytes up to the last one that is ever taken."""
        return max((stop for *_, stop in self.taken), default=0)


Place = tuple[Block, int]
"""A block, and an offset in bytes."""

Steps = Sequence[tuple[Sequence[Buffer], Sequence[Buffer]]]


def spans(steps: Steps) -> dict[Buffer, tuple[int, int]]:
    """The first and the last step that use each buffer, from (reads, writes) of every step."""
    found: dict[Buffer, tuple[int, int]] = {}
    for position, (reads, writes) in enumerate(steps):
        for buffer in (*reads, *writes):
            found[buffer] = found.get(buffer, (position, position))[0], position
    return found


def lifetimes(steps: Steps) -> list[Life]:
    """The lives of temporaries, from (reads, writes) of every step in order."""
    return [Life(b, *span) for b, span in spans(steps).items() if b.kind == "temporary"]


def plan(lives: Sequence[Life], blocks: Sequence[Block], workspace: Block) -> dict[Buffer, Place]:
    """The place of each buffer, in the blocks or in the workspace; of several plans the one whose
    workspace is the smallest.
    """
    best: _Plan | None = None
    goal = NEAR * _least(lives, blocks)
    for way in WAYS:
        found = _Plan(lives, blocks, *way)
        if best is None or found.workspace.used < best.workspace.used:
            best = found
        if best.workspace.used <= max(goal, SMALL):
            break
    assert best is not None
    for block, used in zip(blocks, best.blocks, strict=True):
        block.taken[:] = used.taken
    workspace.taken[:] = best.workspace.taken
    homes = {id(copy): block for copy, block in zip(best.blocks, blocks, strict=True)}
    return {
        buffer: (homes.get(id(copy), workspace), offset)
        for buffer, (copy, offset) in best.places.items()
    }


NEAR, SMALL = 1.01, 1 << 16
"""How near to the least, or how small in bytes, a workspace is that is good enough."""

Priority = Callable[[Life], tuple]
WAYS: tuple[tuple[Priority, bool], ...] = (
    (lambda life: (-life.buffer.bytes, life.begin), True),
    (lambda life: (-life.buffer.bytes, life.begin), False),
    (lambda life: (life.end - life.begin, -life.buffer.bytes), True),
    (lambda life: (life.end - life.begin, -life.buffer.bytes), False),
    (lambda life: (-(life.end - life.begin + 1) * life.buffer.bytes,), True),
)
"""Which buffers go to blocks first, and whether the smallest block comes first."""


class _Plan:
    """One plan. Where most memory is wanted decides: of what lives at that step one buffer after the
    other goes into a block that has room, until none has. What is left goes to the workspace.
    """

    def __init__(
        self, lives: Sequence[Life], blocks: Sequence[Block], priority: Priority, ascending: bool
    ) -> None:
        self.blocks = [Block(b.size, taken=list(b.taken)) for b in blocks]
        self.workspace = Block()
        self.places: dict[Buffer, Place] = {}
        self.wanted = _profile(lives)
        order = sorted(self.blocks, key=lambda b: b.size if ascending else -b.size)
        self.order = [b for b in order if b.size >= LEAST]
        left = dict.fromkeys(sorted((i for i in lives if i.buffer.bytes >= LEAST), key=priority))
        while self._relieve(left):
            pass
        for life in sorted(lives, key=lambda i: (-i.buffer.bytes, i.begin)):
            if life.buffer not in self.places:
                self._take(life, self.workspace)

    def _relieve(self, left: dict[Life, None]) -> bool:
        """Bring a buffer that lives where most is wanted into a block; False where none has room."""
        if not len(self.wanted) or not self.order:
            return False
        peak = int(self.wanted.argmax())
        for life in [i for i in left if i.begin <= peak <= i.end]:
            del left[life]
            if any(self._take(life, b) for b in self.order if b.size >= life.buffer.bytes):
                self.wanted[life.begin : life.end + 1] -= rounded(life.buffer.bytes)
                return True
        return False

    def _take(self, life: Life, block: Block) -> bool:
        offset = block.room(life.begin, life.end, life.buffer.bytes)
        if offset is None:
            return False
        block.take(life.begin, life.end, offset, life.buffer.bytes)
        self.places[life.buffer] = block, offset
        return True


def _profile(lives: Sequence[Life]) -> np.ndarray:
    """Bytes that live at each step."""
    found = np.zeros(max((life.end + 1 for life in lives), default=0), np.int64)
    for life in lives:
        found[life.begin : life.end + 1] += rounded(life.buffer.bytes)
    return found


def _least(lives: Sequence[Life], blocks: Sequence[Block]) -> int:
    """A workspace cannot be smaller: what lives at a step less what is free in the blocks."""
    wanted = _profile(lives)
    for block in blocks:
        if block.size < LEAST:
            continue
        wanted -= block.size
        for first, last, start, stop in block.taken:
            wanted[max(first, 0) : last + 1] += stop - start
    return max(0, int(wanted.max(initial=0)))
