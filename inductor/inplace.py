"""Results that take the memory of an input: what a call writes back to its inputs (parameters after
an optimizer's step, running statistics) is written there at once, where nobody can tell.

`output.meta["writes"]` names such results, (number of the result, number of the input). One may be
written in place if the loop that computes it is the last to read the input, and reads it at no other
element than the one it writes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from inductor.loops import Buffer

if TYPE_CHECKING:
    from inductor.compile import Compilation, Unit


def find(c: Compilation) -> dict[Buffer, Buffer]:
    """For every result that may be written in place the input whose memory it takes."""
    results, inputs = c.lowered.results, c.lowered.inputs
    buffers = [r.buffer for r in results]
    returned = {r.input for r in results if r.buffer is None}
    found: dict[Buffer, Buffer] = {}
    for slot, number in c.module.graph.output_node().meta.get("writes", ()):
        result, old = results[slot], inputs[number]
        new = result.buffer
        if new is None or new.kind != "output" or buffers.count(new) > 1:
            continue
        if number in returned or old in buffers:
            continue
        alike = (new.dtype, new.shape, new.strides) == (old.dtype, old.shape, old.strides)
        whole = not result.offset and tuple(result.strides) == tuple(new.strides)
        dense = old.size == math.prod(old.shape)
        if alike and whole and dense and _is_last(c.units, new, old):
            found[new] = old
    return found


def _is_last(units: list[Unit], new: Buffer, old: Buffer) -> bool:
    """Whether one pointwise loop writes the result, element by element what it read."""
    writers = [n for n, unit in enumerate(units) if new in unit.writes]
    if len(writers) != 1:
        return False
    if any(old in unit.reads for unit in units[writers[0] + 1 :]):
        return False
    source = units[writers[0]].source
    if source is None:
        return False
    for member in source.members:
        loop = member.loop
        if loop.target is not new:
            if _reads(loop, old):
                return False
        elif loop.is_reduction or loop.scatter or any(i != loop.write for i in _reads(loop, old)):
            return False
    return True


def _reads(loop: Any, buffer: Buffer) -> list[Any]:
    """The indices at which a loop reads a buffer."""
    return [read.index for read in loop.inspect().reads.values() if read.buffer is buffer]
