"""Gradients of one step share blocks of memory, as in PyTorch's buckets of DistributedDataParallel:
before a block's gradients are written it is room for temporaries, and large ones fit where many small
blocks would leave gaps.

`output.meta["gradients"]` numbers the results that a captured step stores in `.grad`. The price: who
keeps one of them keeps its neighbours' memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inductor.loops import Buffer
from inductor.memory import LEAST, Block, Place, rounded, spans

if TYPE_CHECKING:
    from inductor.compile import Compilation

MOST = 25 << 20
"""Bytes of a block, unless one gradient is larger: those of PyTorch's buckets."""


def bundle(c: Compilation) -> dict[Buffer, Place]:
    """Places for the gradients: those that are written one after the other share a block."""
    results = c.lowered.results
    buffers = [r.buffer for r in results]
    numbers = c.module.graph.output_node().meta.get("gradients", ())
    written = {b: first for b, (first, _) in spans([((), u.writes) for u in c.units]).items()}
    found: dict[Buffer, Place] = {}
    block, used = Block(0), 0
    wanted = [b for n in numbers if (b := buffers[n]) is not None and b.kind == "output"]
    for buffer in sorted(dict.fromkeys(wanted), key=lambda b: written.get(b, 0)):
        if buffer in c.inplace or buffer in c.homes or buffer.bytes < LEAST:
            continue
        if used and used + rounded(buffer.bytes) > MOST:
            block, used = Block(0), 0
        found[buffer] = block, used
        used += rounded(buffer.bytes)
        block.size = used
    return found
