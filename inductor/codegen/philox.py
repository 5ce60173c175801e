"""Random bits inside a kernel: Philox 4x32-10, as eager/rng.py draws them."""

from __future__ import annotations

import math

from inductor.codegen.words import (
    float32,
    float64,
    int64,
    multiply_high,
    select,
    square_root,
    uint32,
    uint64,
)
from inductor.trigonometry import cos_float32, sin_float32
from inductor.vectormath import log_float32


def inlined(function):
    """To be part of the loop that calls it."""
    function.inlined = True
    return function


@inlined
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


@inlined
def unit(word):
    """24 of 32 bits as a number in [0, 1)."""
    return float32(int64(word) >> 8) * float32(2.0**-24)


@inlined
def random_uniform_float32(seed, offset, lane):
    return unit(random_bits(seed, offset, lane))


@inlined
def random_uniform_float64(seed, offset, lane):
    high = int64(random_bits(seed, offset, 2 * lane))
    low = int64(random_bits(seed, offset, 2 * lane + 1))
    return float64((high << 21) | (low >> 11)) * 2.0**-53


@inlined
def random_normal_float32(seed, offset, lane):
    even = lane & ~1
    radius = unit(random_bits(seed, offset, even)) + float32(2.0**-24)
    angle = unit(random_bits(seed, offset, even + 1)) * float32(2 * math.pi)
    size = square_root(log_float32(radius) * float32(-2.0))
    return size * select(even == lane, cos_float32(angle), sin_float32(angle))


@inlined
def random_integer(seed, offset, lane, low, span):
    high_word = uint64(random_bits(seed, offset, 2 * lane))
    word = (high_word << uint64(32)) | uint64(random_bits(seed, offset, 2 * lane + 1))
    return int64(word % uint64(span)) + low


NAMES = {
    f.__name__: f for f in
    (random_uniform_float32, random_uniform_float64, random_normal_float32, random_integer)
}
