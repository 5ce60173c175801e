"""Bodies of several steps over large arrays, a block at a time, so that what one step writes the next
finds in the processor's cache. NumPy alone would send every step through memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from eager.algebra import NUMPY

BLOCK = 1 << 14


def in_blocks(body: Callable) -> Callable[..., Any]:
    """A kernel that runs a scalar body; arrays that are large and lie alike go through in blocks."""

    def run(*values: Any) -> Any:
        arrays = [v for v in values if type(v) is np.ndarray and v.ndim]
        if not arrays or arrays[0].size < 4 * BLOCK:
            return body(NUMPY, *values)
        shape = arrays[0].shape
        if any(a.shape != shape or not a.flags.c_contiguous for a in arrays):
            return body(NUMPY, *values)
        flat = [v.reshape(-1) if type(v) is np.ndarray and v.ndim else v for v in values]
        split = [type(v) is np.ndarray and v.ndim == 1 for v in flat]
        result = None
        for start in range(0, arrays[0].size, BLOCK):
            stop = start + BLOCK
            part = body(NUMPY, *(v[start:stop] if s else v for v, s in zip(flat, split)))
            if result is None:
                result = np.empty(arrays[0].size, np.asarray(part).dtype)
            result[start:stop] = part
        return result.reshape(shape)  # type: ignore[union-attr]

    return run
