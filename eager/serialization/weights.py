"""The safetensors format: a JSON header with names, types, shapes and offsets, then the bytes of the tensors.

A header is believed only after it has been checked against the size of the file, so a lying header or a truncated file is a ValueError and
no memory is taken for it. Data is mapped copy-on-write: opening costs no copy, and writing to a tensor never writes to the file.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from eager import dtype as dtypes

HEADER_LIMIT = 100_000_000
TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_CODES = {name: code for code, name in TYPES.items()}


def load_safetensors(path: str | os.PathLike, mmap: bool = True) -> dict[str, Any]:
    """The tensors of a safetensors file by name; with `mmap` they are mapped from the file, else read at once.

    Raises ValueError, saying what is wrong, for a file that is not what its header claims.
    """
    header, start, size = _header(path)
    data = np.memmap(path, np.uint8, "c", start, (size,)).view(np.ndarray) if size else np.empty(0, np.uint8)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = _array(name, entry, data[begin:end])
        tensors[name] = _tensor(array if mmap else array.copy())
    return tensors


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The `__metadata__` of a safetensors file: text by text, empty if there is none. Raises ValueError as `load_safetensors`."""
    found: dict[str, str] = {}
    _header(path, found)
    return found


def save_safetensors(
    tensors: Mapping[str, Any], path: str | os.PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name. The file appears whole or not at all. Raises ValueError for types the format does not have."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    chunks, offset = [], 0
    # widest types first: then every tensor starts at a multiple of its item size
    order = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, tensor in order:
        code = _CODES.get(tensor.dtype.name)
        if code is None:
            raise ValueError(f"tensor {name!r}: safetensors has no type {tensor.dtype}")
        array = np.ascontiguousarray(tensor._array).reshape(tuple(tensor.shape))
        entries[name] = {
            "dtype": code,
            "shape": [int(size) for size in array.shape],
            "data_offsets": [offset, offset + array.nbytes],
        }
        chunks.append(array)
        offset += array.nbytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    part = f"{os.fspath(path)}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for array in chunks:
                file.write(array.reshape(-1).view(np.uint8).data)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def _header(path: str | os.PathLike, metadata: dict | None = None) -> tuple[dict, int, int]:
    """The checked header, where the data starts, and how many bytes of data there are."""
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        first = file.read(8)
        if len(first) < 8:
            raise ValueError(f"{path} has {total} bytes: too short for a safetensors header")
        (length,) = struct.unpack("<Q", first)
        if length > min(HEADER_LIMIT, total - 8):
            raise ValueError(f"{path} claims a header of {length} bytes; the file has {total}")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: the header is not a JSON object")
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise ValueError(f"{path}: __metadata__ must map text to text")
    if metadata is not None:
        metadata.update(notes)
    size = total - 8 - length
    _check(path, header, size)
    return header, 8 + length, size


def _unique(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice in the header")
    return found


def _check(path: Any, header: dict, size: int) -> None:
    """Every entry is well formed, and the entries tile the data without holes or overlaps."""
    spans = []
    for name, entry in header.items():
        where = f"{path}: tensor {name!r}"
        if not isinstance(entry, dict) or {"dtype", "shape", "data_offsets"} - entry.keys():
            raise ValueError(f"{where} needs dtype, shape and data_offsets")
        if entry["dtype"] not in TYPES:
            raise ValueError(f"{where} has a type flambeau does not have (yet): {entry['dtype']}")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
            raise ValueError(f"{where}: shape and data_offsets must be lists of non-negative integers")
        begin, end = offsets
        expected = math.prod(shape) * dtypes.from_name(TYPES[entry["dtype"]]).itemsize
        if not begin <= end <= size:
            raise ValueError(f"{where}: data_offsets {offsets} lie outside the {size} bytes of data")
        if end - begin != expected:
            raise ValueError(f"{where}: {entry['dtype']} {shape} takes {expected} bytes, not {end - begin}")
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise ValueError(f"{path}: tensors overlap or leave a hole at byte {min(begin, at)} of the data")
        at = end
    if at != size:
        raise ValueError(f"{path}: {size - at} bytes of data belong to no tensor")


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _array(name: str, entry: dict, data: np.ndarray) -> np.ndarray:
    kind = dtypes.from_name(TYPES[entry["dtype"]])
    if kind.name == "bool" and data.size and data.max() > 1:
        raise ValueError(f"tensor {name!r}: a bool must be 0 or 1")
    shape = tuple(entry["shape"])
    if not data.size:
        return np.empty(shape, kind.numpy)
    if data.ctypes.data % kind.numpy.alignment:
        data = data.copy()
    return data.view(kind.numpy).reshape(shape)


def _tensor(array: np.ndarray) -> Any:
    from eager.tensor import Tensor

    return Tensor._wrap(array)
