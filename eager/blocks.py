"""Bodies of several steps over large arrays, a block at a time, so that what one step writes the next
finds in the processor's cache. NumPy alone would send every step through memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from eager.algebra import NUMPY
from eager.threads import share

BLOCK = 1 << 16


_SHORT = 1 << 14  # elements of a block for single ufuncs
_CONSTANTS: dict[tuple, np.ndarray] = {}


def constant(value: float, kind: np.dtype) -> np.ndarray:
    """A block of one value."""
    found = _CONSTANTS.get((value, kind))
    if found is None:
        found = _CONSTANTS[value, kind] = np.full(_SHORT, value, kind)
    return found


def against(ufunc: np.ufunc, x: np.ndarray, value: float) -> np.ndarray:
    """`ufunc(x, value)`: large arrays meet a block of the value, for NumPy's loops are quicker over
    two arrays than over an array and a number."""
    block = constant(value, x.dtype)
    if not x.flags.c_contiguous:
        return ufunc(x, block[0])
    if x.size <= _SHORT:
        return ufunc(x, block[: x.size].reshape(x.shape)) if x.size > 256 else ufunc(x, block[0])
    result = np.empty_like(x)
    flat, filled = x.reshape(-1), result.reshape(-1)
    whole = flat.size - flat.size % _SHORT
    ufunc(flat[:whole].reshape(-1, _SHORT), block, out=filled[:whole].reshape(-1, _SHORT))
    ufunc(flat[whole:], block[: flat.size - whole], out=filled[whole:])
    return result


def steps(function: Callable[..., Any], x: np.ndarray, *more: np.ndarray) -> np.ndarray:
    """A new array that `function(part, …, result)` fills, a block at a time where arrays are large; all
    have one shape and type."""
    if more:
        return _steps_of_several(function, *map(np.ascontiguousarray, (x, *more)))
    result = np.empty_like(x)
    if x.size <= BLOCK or not x.flags.c_contiguous:
        function(x, result)
        return result
    flat, filled = x.reshape(-1), result.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        function(flat[start : start + BLOCK], filled[start : start + BLOCK])
    return result


def weigh(ufunc: np.ufunc, target: np.ndarray, other: np.ndarray, alpha: float) -> None:
    """`ufunc(target, other * alpha)` into the target, of one type; threads share what is large."""
    if target.size <= 2 * BLOCK or not (
        target.shape == other.shape
        and target.flags.c_contiguous
        and other.flags.c_contiguous
        and not np.may_share_memory(target, other)
    ):
        ufunc(target, other * alpha, out=target)
        return
    flat, added = target.reshape(-1), other.reshape(-1)

    def work(begin: int, end: int) -> None:
        scaled = np.empty(BLOCK, flat.dtype)
        for start in range(begin, end, BLOCK):
            stop = min(start + BLOCK, end)
            part = np.multiply(added[start:stop], alpha, out=scaled[: stop - start])
            ufunc(flat[start:stop], part, out=flat[start:stop])

    share(work, flat.size, BLOCK)


def _steps_of_several(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    result = np.empty_like(arrays[0])
    if result.size <= BLOCK:
        function(*arrays, result)
        return result
    flat = [array.reshape(-1) for array in (*arrays, result)]
    for start in range(0, result.size, BLOCK):
        function(*[array[start : start + BLOCK] for array in flat])
    return result


def row_sums(x: np.ndarray, keepdim: bool = False) -> np.ndarray:
    """Sums along the last dimension, by BLAS where the rows are of a size that it adds up well."""
    length = x.shape[-1] if x.ndim else 0
    if 2 <= length <= 4096 and x.flags.c_contiguous and x.dtype.kind == "f" and x.itemsize > 2:
        if x.ndim == 2 and not keepdim:
            return x.dot(_ones(length, x.dtype))
        found = x.reshape(-1, length).dot(_ones(length, x.dtype))
        return found.reshape((*x.shape[:-1], 1) if keepdim else x.shape[:-1])
    return np.asarray(np.add.reduce(x, axis=-1, keepdims=keepdim))  # type: ignore[call-overload]


@functools.lru_cache(64)
def places(count: int) -> np.ndarray:
    """The numbers below `count`."""
    return np.arange(count)


@functools.lru_cache(64)
def _ones(length: int, kind: np.dtype) -> np.ndarray:
    return np.ones(length, kind)


def row_maxima(x: np.ndarray) -> np.ndarray:
    """The largest elements of the rows of a matrix, as a column; rows of a middling length are searched faster for
    the place than for the value."""
    if 32 <= x.shape[1] <= 512 and x.flags.c_contiguous:
        return x[places(len(x)), x.argmax(axis=1), None]
    return np.maximum.reduce(x, axis=1, keepdims=True)


def column_sums(x: np.ndarray) -> np.ndarray:
    """Sums over the first of two dimensions, by BLAS where there are many."""
    if x.size >= 1024 and x.dtype.kind == "f" and x.itemsize > 2 and len(x) <= 1 << 16:
        return _ones(len(x), x.dtype).dot(x)
    return np.asarray(np.add.reduce(x, axis=0))


def sums(x: np.ndarray, axes: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """Sums over dimensions."""
    count, rank = len(axes), x.ndim
    if rank and axes == tuple(range(rank - count, rank)) and (x.size >= 1024 or count == 1):
        if count == 1:
            return row_sums(x, keepdim)
        if x.flags.c_contiguous and x.dtype.kind == "f":
            return _tail_sums(x, axes, keepdim)
    axis: Any = axes if count != 1 else axes[0]
    return np.asarray(np.add.reduce(x, axis=axis, keepdims=keepdim))  # type: ignore[call-overload]


def _tail_sums(x: np.ndarray, axes: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """Sums over the last dimensions of packed memory: rows first, then the sums of rows."""
    lead = x.shape[: x.ndim - len(axes)]
    rows = x.reshape(*lead, -1)
    length = rows.shape[-1]
    found = None
    for width in (2048, 1024, 1000, 512, 256, 125, 128, 64) if length > 4096 else ():
        if length % width == 0:
            found = np.add.reduce(row_sums(rows.reshape(*lead, -1, width)), -1)
            break
    if found is None:
        found = row_sums(rows)
    return np.asarray(found).reshape(lead + (1,) * len(axes)) if keepdim else found


def _is_half(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.itemsize == 2 and value.dtype.kind in "fV"


def in_blocks(body: Callable) -> Callable[..., Any]:
    """A kernel that runs a scalar body; arrays that are large and lie alike go through in blocks. The
    steps on half precision are computed in float32: the caller rounds once."""

    def run(*values: Any) -> Any:
        first = values[0]
        if type(first) is np.ndarray and first.dtype.itemsize == 2 and first.dtype.kind in "fV":
            return run(*[v.astype(np.float32) if _is_half(v) else v for v in values])
        if type(first) is np.ndarray and first.size < 2 * BLOCK:
            return body(NUMPY, *values)
        arrays = [v for v in values if type(v) is np.ndarray and v.ndim]
        if not arrays or arrays[0].size < 2 * BLOCK:
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
