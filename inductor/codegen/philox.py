"""Random bits inside a kernel: Philox 4x32-10, as eager/rng.py draws them. Importing this module imports numba."""

from __future__ import annotations

from numba import int64, njit, uint32, uint64

from inductor.codegen.intrinsics import multiply_high, select


@njit(error_model="numpy", no_cpython_wrapper=True, forceinline=True)
def random_bits(seed, offset, lane):
    """Word `lane % 4` of the block with counter `offset + lane // 4`."""
    counter = uint64(offset + (lane >> 2))
    a, b = uint32(counter), uint32(counter >> uint64(32))
    c, d = uint32(0), uint32(0)
    k, m = uint32(uint64(seed)), uint32(uint64(seed) >> uint64(32))
    for _ in range(10):
        high_a, low_a = multiply_high(uint32(0xD2511F53), a), uint32(uint32(0xD2511F53) * a)
        high_c, low_c = multiply_high(uint32(0xCD9E8D57), c), uint32(uint32(0xCD9E8D57) * c)
        a, b = uint32(high_c ^ b ^ k), low_c
        c, d = uint32(high_a ^ d ^ m), low_a
        k, m = uint32(k + uint32(0x9E3779B9)), uint32(m + uint32(0xBB67AE85))
    word = int64(lane & 3)
    return select(word == 0, a, select(word == 1, b, select(word == 2, c, d)))
