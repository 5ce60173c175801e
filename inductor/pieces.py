"""Which reductions are done in two steps: pieces of the first reduced dimension by themselves, then
together. For threads, for accuracy, and so that memory is gone through in its order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inductor.lower import Lowering
    from inductor.values import Lazy

SPLIT_FROM = 16_384
"""A reduction of at least so many elements to few results is done in two steps."""
COLUMNS_FROM = 100_000
"""Likewise one whose results lie side by side in memory, of so many elements in all."""
NUMBERS = (16, 8, 32, 4, 12, 24, 14, 28, 10, 20, 7, 5, 6, 9, 3, 2)
"""The numbers of pieces to choose from, the best first."""


def pieces_of(lowering: Lowering, source: Lazy, dims: Sequence[int], combine: str) -> int:
    """Into how many pieces to cut one of the dimensions; 0 for not at all."""
    over = [source.shape[d] for d in dims]
    count = math.prod(over)
    results = source.numel // max(count, 1)
    if combine.startswith("arg") or results > 4096 or count < 512:
        return 0
    strides = lowering.natural_strides(source)
    inner = min((d for d in range(source.ndim) if source.shape[d] > 1), key=lambda d: strides[d])
    if inner in dims and (results >= 16 or count < SPLIT_FROM):
        return 0
    # results side by side: each piece is gone through once, instead of all for each cache line
    if inner not in dims and source.numel < COLUMNS_FROM:
        return 0
    for size in over:
        for pieces in NUMBERS:
            if size % pieces == 0 and count // pieces >= 128:
                return pieces
    return 0
