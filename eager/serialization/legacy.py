"""Files that torch.save wrote before PyTorch 1.6: five pickles, one after the other, and then the storages, each after its number of
elements. They are only read. The pickle of the object comes before the sizes of what it points to are known, so it is read twice: once
over empty storages, which says how long each is, and once over the file's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_PROTOCOL = 1001


def recognize(file: str | os.PathLike | IO[bytes]) -> bool:
    """Whether a file begins as these files do; its position is left where it was."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            return opened.read(len(MAGIC)) == MAGIC
    file.seek(0)
    found = file.read(len(MAGIC)) == MAGIC
    file.seek(0)
    return found


class Outline:
    """Storages of zeros that remember their sizes. Raises RuntimeError for more than the file can hold."""

    swapped = False

    def __init__(self, room: int):
        self.room, self.sizes = room, dict[str, int]()

    def storage(self, key: str, size: int) -> np.ndarray:
        self.sizes[key] = size
        if size < 0 or sum(self.sizes.values()) > self.room:
            raise RuntimeError(f"storage {key} claims {size} bytes, more than the file of {self.room} bytes holds")
        return np.zeros(size, np.uint8)


class Legacy:
    """The storages of such a file by key, and in `text` and `start` the pickle of its object. `read(text, start, archive)` gives a
    pickle's object and where it ends. Raises RuntimeError for a damaged file."""

    def __init__(self, file: str | os.PathLike | IO[bytes], read: Callable[[bytes, int, Any], tuple]):
        if isinstance(file, (str, os.PathLike)):
            with open(file, "rb") as opened:
                self.text = opened.read()
        else:
            file.seek(0)
            self.text = file.read()
        outline = Outline(len(self.text))
        protocol, place = read(self.text, len(MAGIC), outline)
        system, self.start = read(self.text, place, outline)
        if protocol != _PROTOCOL or not isinstance(system, dict):
            raise RuntimeError(f"this is a file of PyTorch's protocol {_PROTOCOL} by its first bytes, but not by what follows")
        self.swapped = system.get("little_endian", True) is False
        _, place = read(self.text, self.start, outline)
        keys, place = read(self.text, place, outline)
        self.storages = self._find(keys, place, outline.sizes)

    def _find(self, keys: Any, place: int, sizes: dict[str, int]) -> dict[str, np.ndarray]:
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(sizes):
            raise RuntimeError("the file's list of storages is not that of its tensors: it is damaged")
        found: dict[str, np.ndarray] = {}
        form = ">q" if self.swapped else "<q"
        for key in keys:
            header = self.text[place : place + 8]
            data = self.text[place + 8 : place + 8 + sizes[key]]
            if len(header) < 8 or len(data) != sizes[key] or not _fits(struct.unpack(form, header)[0], sizes[key]):
                raise RuntimeError(f"storage {key} should have {sizes[key]} bytes; the file is truncated or damaged")
            found[key] = np.frombuffer(bytearray(data), np.uint8)
            place += 8 + sizes[key]
        return found

    def storage(self, key: str, size: int) -> np.ndarray:
        """The bytes of a storage."""
        return self.storages[key]


def _fits(count: int, size: int) -> bool:
    """Whether a storage of `size` bytes may have `count` elements."""
    return count == size == 0 or (count > 0 and size % count == 0 and size // count in (1, 2, 4, 8, 16))
