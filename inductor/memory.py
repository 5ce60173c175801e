"""Where buffers live. Temporaries share one workspace, planned ahead, and whatever else the program
has while it is not in use: the memory of a result before that is first written, and that of a saved
value after it was last read. What has an address of its own at run time is a `Block`.

Buffers are placed in the order of their size, each at the lowest offset where it meets no other
that lives at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


def find(begin: int, end: int, size: int, blocks: Sequence[Block], workspace: Block) -> Place:
    """A place for `size` bytes in steps `begin` to `end`: in the smallest block that has room, or else
    in the workspace. It is taken.
    """
    fits = [b for b in blocks if b.size >= size] if size >= LEAST else []
    for block in (*sorted(fits, key=lambda b: b.size), workspace):
        offset = block.room(begin, end, size)
        if offset is not None:
            block.take(begin, end, offset, size)
            return block, offset
    raise MemoryError(f"no room for {size} bytes")  # the workspace has any


def plan(lives: Sequence[Life], blocks: Sequence[Block], workspace: Block) -> dict[Buffer, Place]:
    """The place of each buffer, in the blocks or in the workspace."""
    ordered = sorted(lives, key=lambda item: (-item.buffer.bytes, item.begin))
    ascending = sorted((b for b in blocks if b.size >= LEAST), key=lambda b: b.size)
    return {
        life.buffer: find(life.begin, life.end, life.buffer.bytes, ascending, workspace)
        for life in ordered
    }
