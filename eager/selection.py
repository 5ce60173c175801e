"""Selection without a branch per element: `np.where` for a mask and numbers of 4 or 8 bytes, done on their
bits. NumPy's own is several times slower where the mask is irregular."""

from __future__ import annotations

from typing import Any

import numpy as np

_BITS: dict[int, np.dtype] = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}
_LEAST = 256
_BLOCK = 1 << 14


def select(condition: Any, x: Any, y: Any) -> Any:
    """`x` where the condition holds, `y` elsewhere; as `np.where` in every respect but speed."""
    kind = _kind(condition, x, y)
    if kind is None:
        return np.where(condition, x, y)
    bits: np.dtype = _BITS[kind.itemsize]
    first, second = (_bits_of(v, kind, bits) for v in (x, y))
    shape = condition.shape
    parts = [v for v in (condition, first, second) if v.ndim]
    if condition.size <= 2 * _BLOCK or not all(v.flags.c_contiguous for v in parts):
        return _select(condition, first, second, bits).view(kind)
    mask = condition.reshape(-1)
    first, second = (v.reshape(-1) if v.ndim else v for v in (first, second))
    result = np.empty(mask.size, bits)
    for start in range(0, mask.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        result[part] = _select(mask[part], first[part] if first.ndim else first,
                               second[part] if second.ndim else second, bits)
    return result.view(kind).reshape(shape)


def _kind(condition: Any, x: Any, y: Any) -> np.dtype | None:
    """The type of the result where the short way applies: one type, one shape, single numbers aside."""
    if type(condition) is not np.ndarray or condition.dtype != np.bool_:
        return None
    if condition.size < _LEAST:
        return None
    kind = None
    for value in (x, y):
        if type(value) is np.ndarray and value.ndim:
            if value.shape != condition.shape or (kind is not None and value.dtype != kind):
                return None
            kind = value.dtype
    if kind is None or kind.kind not in "fi" or kind.itemsize not in _BITS:
        return None
    for value in (x, y):
        if type(value) is np.ndarray or isinstance(value, np.generic):
            if value.dtype != kind:
                return None
        elif type(value) not in (bool, int) and not (type(value) is float and kind.kind == "f"):
            return None
    return kind


def _bits_of(value: Any, kind: np.dtype, bits: np.dtype) -> np.ndarray:
    return np.asarray(value, kind).view(bits)


def _select(mask: np.ndarray, x: np.ndarray, y: np.ndarray, bits: np.dtype) -> np.ndarray:
    held = mask.astype(bits)
    np.negative(held, out=held)  # all bits where it holds
    if not y.ndim and y == 0:
        return np.bitwise_and(held, x, out=held)
    if not x.ndim and x == 0:
        np.invert(held, out=held)
        return np.bitwise_and(held, y, out=held)
    np.bitwise_and(held, np.bitwise_xor(x, y), out=held)
    return np.bitwise_xor(held, y, out=held)
