"""Elementwise updates of large parameters, in blocks that stay in the processor's cache: the same
operators on a part after the other, so that what one writes the next still finds there. Threads
share the blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eager.autograd import is_grad_enabled, no_grad
from eager.dispatch import is_compiling
from eager.threads import share

BLOCK = 1 << 16


def in_blocks(update: Callable[..., None], *tensors: Any) -> None:
    """Calls `update(*tensors)`, which must be elementwise and write in place, on one block of all
    tensors after the other. None stays None; tensors that do not lie alike are updated whole."""
    first = tensors[0]
    count = first.numel()
    if is_compiling() or count <= 2 * BLOCK or is_grad_enabled() or not all(
            tensor is None or (tensor.shape == first.shape and tensor.is_contiguous())
            for tensor in tensors):
        update(*tensors)
        return
    flat = [None if tensor is None else tensor.detach().view(-1) for tensor in tensors]
    for tensor in flat:
        if tensor is not None:
            tensor.untyped_storage()  # made here, not by two threads at once

    def work(begin: int, end: int) -> None:
        with no_grad():
            for start in range(begin, end, BLOCK):
                stop = min(start + BLOCK, end)
                update(*(None if one is None else one[start:stop] for one in flat))

    share(work, count, BLOCK)
