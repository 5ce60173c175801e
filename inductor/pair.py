"""The two halves of a training step share memory: what the forward half saves lies where the backward
half will write gradients, as far as it has been read by then, and where it needs temporaries.

A saved value goes into the block of a gradient that is first written after the value was last read
(`heirs`), or else into a block that waits for the next step. The forward half allocates these
blocks, the backward half adopts them, and both plan their temporaries around what lies in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inductor.loops import Buffer
from inductor.memory import LEAST, Block, rounded, spans

if TYPE_CHECKING:
    from inductor.compile import Compilation


@dataclass(eq=False)
class Saved:
    """A value on its way from one half to the other; `last` is the step that reads it last."""

    number: int  # among the inputs of the backward half
    written: Buffer
    read: Buffer
    last: int


@dataclass(eq=False)
class Shared:
    """A block of both halves: the saved values in it, and the gradient that inherits it, if any."""

    size: int
    heir: Buffer | None = None
    first: int = 0  # the step that first writes the gradient
    values: list[tuple[Saved, int]] = field(default_factory=list)
    used: int = 0

    def add(self, saved: Saved) -> None:
        self.values.append((saved, self.used))
        self.used += rounded(saved.read.bytes)


def share(forward: Compilation, backward: Compilation, returned: int) -> bool:
    """Place both halves anew around the blocks that they share; False where there is nothing to."""
    from inductor.compile import place

    values = saved_values(forward, backward, returned)
    if not values:
        return False
    blocks = assign(values, heirs(backward))
    for c in (forward, backward):
        c.blocks, c.homes = [], {}
    for shared in blocks:
        first, start = shared.values[0]
        front = Block(shared.size)
        back = Block(shared.size, (first.number, start))
        for saved, offset in shared.values:
            forward.homes[saved.written] = front, offset
            backward.homes[saved.read] = back, offset
            back.take(-1, saved.last, offset, saved.read.bytes)
        if shared.heir is not None:
            backward.homes[shared.heir] = back, 0
        backward.blocks.append(back)
    for c in (forward, backward):
        place(c)
    return True


def saved_values(forward: Compilation, backward: Compilation, returned: int) -> list[Saved]:
    """What only the backward half sees, whole and once, and does not itself return."""
    results, inputs = forward.lowered.results, backward.lowered.inputs
    buffers = [r.buffer for r in results]
    passed = {r.input for r in backward.lowered.results}
    steps = spans([(u.reads, u.writes) for u in backward.units])
    found = []
    for number, result in enumerate(results[returned:]):
        buffer, read = result.buffer, inputs[number]
        if buffer is None or buffer.kind != "output" or buffers.count(buffer) > 1:
            continue
        if result.offset or buffer.bytes != read.bytes or not read.bytes or number in passed:
            continue
        found.append(Saved(number, buffer, read, steps.get(read, (0, 0))[1]))
    return found


def heirs(backward: Compilation) -> list[tuple[int, Buffer]]:
    """Gradients with memory of their own that are worth sharing, by the step that first writes them."""
    buffers = [r.buffer for r in backward.lowered.results if not r.offset]
    steps = spans([(u.reads, u.writes) for u in backward.units])
    found = [
        (steps[b][0], b) for b in buffers
        if b is not None and b.kind == "output" and b.bytes >= LEAST and buffers.count(b) == 1
    ]
    return sorted(found, key=lambda item: item[0])


def assign(values: list[Saved], gradients: list[tuple[int, Buffer]]) -> list[Shared]:
    """Every saved value in a block: that of the first gradient that waits for it and has room."""
    waiting = [Shared(b.bytes, b, first) for first, b in gradients]
    rest = Shared(0)
    # what is read last has the smallest choice
    for saved in sorted(values, key=lambda v: (-v.last, -v.read.bytes)):
        size = rounded(saved.read.bytes)
        for shared in waiting:
            if shared.first > saved.last and shared.used + size <= shared.size:
                shared.add(saved)
                break
        else:
            rest.add(saved)
            rest.size = rest.used
    return [shared for shared in (*waiting, rest) if shared.values]
