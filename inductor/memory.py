"""Where temporary buffers live: one workspace, planned ahead; memory is used again as soon as its
last reader has run.

Buffers are placed in the order of their size, each at the lowest offset where it meets no other
that lives at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inductor.loops import Buffer

ALIGNMENT = 64


@dataclass(frozen=True)
class Life:
    """A buffer is written at step `begin` and last read at step `end`."""

    buffer: Buffer
    begin: int
    end: int


def lifetimes(steps: Sequence[tuple[Sequence[Buffer], Sequence[Buffer]]]) -> list[Life]:
    """The lives of temporaries, from (reads, writes) of every step in order."""
    begin: dict[Buffer, int] = {}
    end: dict[Buffer, int] = {}
    for position, (reads, writes) in enumerate(steps):
        for buffer in (*reads, *writes):
            if buffer.kind != "temporary":
                continue
            begin.setdefault(buffer, position)
            end[buffer] = position
    return [Life(buffer, first, end[buffer]) for buffer, first in begin.items()]


def plan(lives: Sequence[Life]) -> tuple[dict[Buffer, int], int]:
    """The offset of each buffer in the workspace, and the workspace's size in bytes."""
    offsets: dict[Buffer, int] = {}
    placed: list[tuple[Life, int, int]] = []
    total = 0
    for life in sorted(lives, key=lambda item: (-item.buffer.bytes, item.begin)):
        size = -(-life.buffer.bytes // ALIGNMENT) * ALIGNMENT
        taken = sorted(
            (start, stop) for other, start, stop in placed
            if other.begin <= life.end and life.begin <= other.end
        )
        offset = 0
        for start, stop in taken:
            if offset + size <= start:
                break
            offset = max(offset, stop)
        offsets[life.buffer] = offset
        placed.append((life, offset, offset + size))
        total = max(total, offset + size)
    return offsets, total
