"""Random numbers in bulk for eager: the Philox of the kernels fills an array, block by block. Registered by the roof as `eager.rng.filler`."""

from __future__ import annotations

import ctypes
import functools

import numpy as np

_TEXT = """# random numbers in bulk, four to a block
def kernel(arguments, start, stop):
    out = pointer_float32(arguments[0])
    seed, offset = arguments[1], arguments[2]
    for block in range(start, stop):
        lane = 4 * block
        store(out, lane, {draw}(seed, offset, lane))
        store(out, lane + 1, {draw}(seed, offset, lane + 1))
        store(out, lane + 2, {draw}(seed, offset, lane + 2))
        store(out, lane + 3, {draw}(seed, offset, lane + 3))
    return int32(0)
"""


@functools.cache
def _kernel(distribution: str):
    from inductor.codegen import build
    from inductor.compile import open_cache

    loaded = build.kernel(_TEXT.format(draw=f"random_{distribution}_float32"), open_cache())
    return ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(loaded.address)


def fill(distribution: str, seed: int, offset: int, out: np.ndarray) -> int:
    """Draw `distribution` ("uniform" or "normal") into the whole blocks of a contiguous float32 array.

    Returns how many numbers were drawn; the rest of less than a block is the caller's.
    """
    blocks = out.size // 4
    signed = [v - 2**64 if v >= 2**63 else v for v in (seed, offset)]
    arguments = (ctypes.c_int64 * 3)(out.__array_interface__["data"][0], *signed)
    _kernel(distribution)(ctypes.addressof(arguments), 0, blocks)
    return 4 * blocks
