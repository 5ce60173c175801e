"""Random numbers: Philox 4x32-10 in NumPy, and generators, which are a seed and an offset.

Element i of a random operator is lane `i % 4` of the block whose counter is `offset + i // 4` and
whose key is the seed, so each element is a function of (seed, offset, i): a compiled kernel that
follows the same rule draws the same numbers. Numbers of 64 bits take two lanes each. `uniform` lies
in [0, 1); `normal` is Box and Muller's transform of two lanes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from eager.device import CPU, device
from eager.tensor import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_BLOCKS = 4096  # per chunk: the ten rounds stay in the cache
_MASK = 2**64 - 1


def blocks(seed: int, offset: int, count: int) -> np.ndarray:
    """`count` blocks of four 32-bit words from the counter `offset` on: uint32[count, 4]."""
    result = np.empty((count, 4), np.uint32)
    for start in range(0, count, _BLOCKS):
        _rounds(seed & _MASK, (offset + start) & _MASK, result[start : start + _BLOCKS])
    return result


def _rounds(seed: int, offset: int, out: np.ndarray) -> None:
    # counters: 64 bits of the offset in words 0 and 1, zeros in words 2 and 3; uint64 arrays hold
    # 32-bit words
    counter = np.arange(len(out), dtype=np.uint64) + np.uint64(offset)
    c0, c1 = counter & _LOW, counter >> _HALF
    c2, c3 = np.zeros_like(c0), np.zeros_like(c0)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    first, second = (np.uint64(m) for m in MULTIPLIERS)
    for _ in range(ROUNDS):
        high = c0 * first
        low = c2 * second
        c0 = (low >> _HALF) ^ c1 ^ np.uint64(k0)
        c2 = (high >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = low & _LOW, high & _LOW
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = c0, c1, c2, c3


class _Window(threading.local):
    """Blocks drawn ahead for many small draws in a row: the next ones of the stream."""

    seed, start, size = 0, 0, 0
    kept = np.empty((0, 4), np.uint32)


_window = _Window()
_SMALL = 1024  # blocks of a draw that may come from the window


def _ahead(seed: int, offset: int, count: int) -> np.ndarray:
    """`blocks` for a small draw. One that goes on where the last ended draws ever more ahead."""
    at, window = offset - _window.start, _window
    if seed == window.seed and 0 <= at and at + count <= len(window.kept):
        window.size = at + count
        return window.kept[at : at + count]
    follows = seed == window.seed and at == window.size and window.size > 0
    ahead = min(max(2 * len(window.kept), 4 * count), _BLOCKS) if follows else count
    window.kept = blocks(seed, offset, max(ahead, count))
    window.kept.flags.writeable = False
    window.seed, window.start, window.size = seed, offset, count
    return window.kept[:count]


def words(seed: int, offset: int, count: int) -> np.ndarray:
    """The first `count` 32-bit words."""
    number = -(-count // 4)
    found = blocks(seed, offset, number) if number > _SMALL else _ahead(seed, offset, number)
    return found.reshape(-1)[:count]


def long_words(seed: int, offset: int, count: int) -> np.ndarray:
    """The first `count` 64-bit words: lane 0 (or 2) is the high half, lane 1 (or 3) the low one."""
    pairs = blocks(seed, offset, -(-count // 2)).reshape(-1, 2)[:count].astype(np.uint64)
    return (pairs[:, 0] << _HALF) | pairs[:, 1]


def is_wide(kind: np.dtype) -> bool:
    """Whether numbers of this type take 64 bits of randomness."""
    return kind == np.float64


def advance(count: Any, wide: bool) -> Any:
    """By how much drawing `count` numbers moves the offset."""
    return (count + 1) // 2 if wide else (count + 3) // 4


# A floor above may register a compiled generator: filler(distribution, seed, offset, float32 array)
# -> numbers drawn.
filler: Callable[[str, int, int, np.ndarray], int] | None = None
_BULK = 1 << 18  # numbers from which on loading it pays


def _in_bulk(distribution: str, seed: int, offset: int, count: int, rest: Callable) -> np.ndarray:
    """float32 numbers from the compiled generator, the last block from NumPy."""
    result = np.empty(count, np.float32)
    done = filler(distribution, seed & _MASK, offset & _MASK, result)  # type: ignore[misc]
    result[done:] = rest(seed, offset + done // 4, count - done, result.dtype)
    return result


def _pairs(draw: Callable, seed: int, offset: int, count: int, kind: np.dtype) -> np.ndarray:
    """Complex numbers of two real ones each."""
    real = np.dtype(np.float64 if kind == np.complex128 else np.float32)
    return draw(seed, offset, 2 * count, real).view(kind)


def uniform(seed: int, offset: int, count: int, kind: np.dtype) -> np.ndarray:
    """`count` numbers in [0, 1): 24 random bits in float32 and below, 53 in float64. Complex numbers have such
    parts."""
    if kind.kind == "c":
        return _pairs(uniform, seed, offset, count, kind)
    if filler is not None and count >= _BULK and kind == np.float32:
        return _in_bulk("uniform", seed, offset, count, uniform)
    if is_wide(kind):
        return (long_words(seed, offset, count) >> np.uint64(11)) * np.float64(2.0**-53)
    found = _unit(words(seed, offset, count))
    if kind == np.float32:
        return found
    # rounding to half precision must not reach 1
    narrow = found.astype(kind)
    return np.where(
        narrow >= 1, np.asarray(1 - 2.0 ** -(11 if kind == np.float16 else 8), kind), narrow
    )


def _unit(found: np.ndarray) -> np.ndarray:
    """32-bit words as float32 numbers in [0, 1) of 24 bits."""
    return (found >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def normal(seed: int, offset: int, count: int, kind: np.dtype) -> np.ndarray:
    """`count` standard normal numbers: lanes (0, 1) and (2, 3) give two each. Complex numbers have variance 1."""
    if kind.kind == "c":
        return _pairs(normal, seed, offset, count, kind) * kind.type(np.sqrt(0.5))
    if filler is not None and count >= _BULK and kind == np.float32:
        return _in_bulk("normal", seed, offset, count, normal)
    if is_wide(kind):
        pairs = long_words(seed, offset, count + count % 2).reshape(-1, 2)
        radius = ((pairs[:, 0] >> np.uint64(11)) + 1) * np.float64(2.0**-53)
        angle = (pairs[:, 1] >> np.uint64(11)) * np.float64(2 * np.pi * 2.0**-53)
    else:
        pairs = blocks(seed, offset, -(-count // 4)).reshape(-1, 2)
        radius = _unit(pairs[:, 0]) + np.float32(2.0**-24)  # in (0, 1]: the logarithm is finite
        angle = _unit(pairs[:, 1]) * np.float32(2 * np.pi)
    radius = np.sqrt(np.log(radius) * radius.dtype.type(-2))
    result = np.empty((len(pairs), 2), radius.dtype)
    np.multiply(radius, np.cos(angle), out=result[:, 0])
    np.multiply(radius, np.sin(angle), out=result[:, 1])
    flat = result.reshape(-1)[:count]
    return flat if flat.dtype == kind else flat.astype(kind)


class Generator:
    """A stream of random numbers: a seed and the offset of the next number (`torch.Generator`)."""

    def __init__(self, device: device | str = CPU):
        self.device = device if not isinstance(device, str) else globals()["device"](device)
        self._seed, self._offset = 67280421310721, 0
        self._lock = threading.Lock()

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of a seed. Raises RuntimeError for a seed of more than 64 bits."""
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise RuntimeError("Overflow when unpacking long: the seed must fit into 64 bits")
        self._seed, self._offset = seed & _MASK, 0
        return self

    def seed(self) -> int:
        """Start the stream of a seed that the system draws; returns it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little") >> 1)
        return self._seed

    def initial_seed(self) -> int:
        return self._seed

    def reserve(self, count: int) -> tuple[int, int]:
        """Take `count` blocks: gives the seed and the offset of the first."""
        with self._lock:
            offset = self._offset
            self._offset = (offset + count) & _MASK
        return self._seed, offset

    def get_state(self) -> Tensor:
        """Seed and offset as the bytes of a uint8 tensor."""
        return Tensor._wrap(np.array([self._seed, self._offset], np.uint64).view(np.uint8).copy())

    def set_state(self, new_state: Tensor) -> Generator:
        """Go back to what `get_state` gave. Raises TypeError or RuntimeError for what is not a
        state."""
        array = new_state.numpy()
        if array.dtype != np.uint8:
            raise TypeError("expected a torch.ByteTensor, but got " + str(new_state.dtype))
        if array.size != 16:
            raise RuntimeError("RNG state is wrong size")
        self._seed, self._offset = (int(v) for v in np.ascontiguousarray(array).view(np.uint64))
        return self

    def clone_state(self) -> Generator:
        return Generator(self.device).set_state(self.get_state())

    def get_offset(self) -> int:
        return self._offset

    def set_offset(self, offset: int) -> None:
        self._offset = int(offset)

    def __getstate__(self) -> dict:
        return {"device": self.device, "_seed": self._seed, "_offset": self._offset}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Generator seed={self._seed} offset={self._offset}>"


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Start the default generator at a seed; returns it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Start the default generator at a seed that the system draws; returns it."""
    return default_generator.seed()


def initial_seed() -> int:
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **unused: Any) -> Iterator[None]:
    """Inside, random numbers are drawn as usual; afterwards the default generator is where it was
    before."""
    state = default_generator.get_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            default_generator.set_state(state)
