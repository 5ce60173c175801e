"""Views that name strides: any shape and strides over the storage, and windows along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager.op import composite, extern, ops, view
from eager.shape import normalize_dim
from eager.spec import Spec
from eager.storage import owner
from eager.tensor import Tensor


def _bounds(size: Any, stride: Any, start: Any) -> tuple[Any, Any]:
    """The first and the last place that a view touches."""
    low = high = start
    for n, s in zip(size, stride, strict=True):
        if s < 0:
            raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
        high = high + (n - 1) * s
    return low, high


def _run(input, size, stride, start):
    whole = owner(input)
    first = (input.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // input.itemsize
    low, high = _bounds(size, stride, first + start)
    room = whole.nbytes // input.itemsize
    if 0 not in size and not 0 <= low <= high < room:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {first + start} are out of bounds for "
            f"storage of {room} elements"
        )
    if not input.size or 0 in size:
        return np.lib.stride_tricks.as_strided(input, tuple(size), tuple(s * input.itemsize for s in stride))
    memory = whole.reshape(-1).view(input.dtype)[low:]
    steps = tuple(s * input.itemsize for s in stride)
    return np.lib.stride_tricks.as_strided(memory, tuple(size), steps, writeable=input.flags.writeable)


@view(
    run=_run,
    vjp=lambda g, out, input, size, stride, start: ops.strided_view_backward(
        g, tuple(input.shape), input.stride(), size, stride, start
    ),
    saves="",
    method=False,
)
def strided_view(shape, strides, offset, size, stride, start):
    """Any shape and strides over the storage, `start` elements after the tensor's first one."""
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    _bounds(size, stride, start)
    return tuple(size), tuple(stride), offset + start


@composite
def as_strided(input, size, stride, storage_offset=None):
    """Any shape and strides over the storage. Raises RuntimeError for places outside it."""
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    start = 0 if storage_offset is None else storage_offset - input.storage_offset()
    return ops.strided_view(input, _numbers(size), _numbers(stride), start)


def _numbers(sizes: Any) -> tuple:
    """Sizes that are given as tensors are read."""
    return tuple(n.item() if isinstance(n, Tensor) else n for n in sizes)


def _as_strided_(self: Tensor, size: Any, stride: Any, storage_offset: Any = None) -> Tensor:
    """`as_strided` applied to this tensor object itself."""
    if self.requires_grad:
        raise RuntimeError("as_strided_ on a tensor that requires grad is not supported; use as_strided")
    self._see(ops.as_strided(self, size, stride, storage_offset)._array)
    return self


Tensor.as_strided_ = _as_strided_  # type: ignore[attr-defined]


def _places(size: Any, stride: Any, start: int) -> np.ndarray:
    """Where the elements of a view lie."""
    place = np.full(tuple(size), start, np.int64)
    for axis, (n, s) in enumerate(zip(size, stride, strict=True)):
        place += (np.arange(n) * s).reshape((-1,) + (1,) * (len(size) - axis - 1))
    return place


@extern(
    spec=lambda g, shape, strides, size, stride, start: Spec(shape, g.dtype, g.device),
    vjp=lambda g, out, grad, shape, strides, size, stride, start: ops.strided_view_values(g, strides, size, stride, start),
    saves="",
    method=False,
)
def strided_view_backward(g, shape, strides, size, stride, start):
    """For each element of the viewed tensor the sum of `g` over the places of `strided_view` that are its own. Elements of it that
    share memory share the sum."""
    own, seen = _places(shape, strides, 0), _places(size, stride, start)
    if not own.size:
        return np.zeros(shape, g.dtype)
    total, count = np.zeros(own.max() + 1, g.dtype), np.zeros(own.max() + 1, np.int64)
    inside = (seen >= 0) & (seen < len(total))
    np.add.at(total, seen[inside], g[inside])
    np.add.at(count, own.reshape(-1), 1)
    return (total[own] / count[own]).astype(g.dtype) if count.max() > 1 else total[own]


@extern(
    spec=lambda g, strides, size, stride, start: Spec(size, g.dtype, g.device),
    vjp=lambda g, out, grad, strides, size, stride, start: ops.strided_view_backward(
        g, tuple(grad.shape), strides, size, stride, start
    ),
    saves="",
    method=False,
)
def strided_view_values(g, strides, size, stride, start):
    """What `strided_view` shows of a tensor that had the given strides: the mean of elements that share memory, zeros elsewhere."""
    own, seen = _places(g.shape, strides, 0), _places(size, stride, start)
    result = np.zeros(tuple(size), g.dtype)
    if not own.size:
        return result
    total, count = np.zeros(own.max() + 1, g.dtype), np.zeros(own.max() + 1, np.int64)
    np.add.at(total, own.reshape(-1), g.reshape(-1))
    np.add.at(count, own.reshape(-1), 1)
    inside = (seen >= 0) & (seen < len(total))
    result[inside] = (total / np.maximum(count, 1)).astype(g.dtype)[seen[inside]]
    return result


def _scatter_spec(input, src, strides, size, stride, start):
    if tuple(src.shape) != tuple(size):
        raise RuntimeError(f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = {list(size)}")
    return Spec(input.shape, input.dtype, input.device)


@extern(
    spec=_scatter_spec,
    vjp=(
        lambda g, out, input, src, strides, size, stride, start: ops.strided_view_scatter(
            g, ops.zeros(tuple(size), dtype=g.dtype), strides, size, stride, start
        ),
        lambda g, out, input, src, strides, size, stride, start: ops.strided_view_values(g, strides, size, stride, start),
    ),
    saves="",
    method=False,
)
def strided_view_scatter(input, src, strides, size, stride, start):
    """The input, as if it had the given strides, with `src` in the places that `strided_view` shows."""
    if src.shape != tuple(size):
        raise ValueError
    own, seen = _places(input.shape, strides, 0), _places(size, stride, start)
    if not own.size:
        return input.copy()
    memory = np.zeros(own.max() + 1, input.dtype)
    memory[own] = input
    inside = (seen >= 0) & (seen < len(memory))
    memory[seen[inside]] = src[inside]
    return memory[own]


@composite
def as_strided_scatter(input, src, size, stride, storage_offset=None):
    """The input with `src` in the places that `as_strided` shows."""
    start = 0 if storage_offset is None else storage_offset - input.storage_offset()
    ops.strided_view(input, tuple(size), tuple(stride), start)  # raises for places outside the storage
    return ops.strided_view_scatter(input, src, input.stride(), tuple(size), tuple(stride), start)


def _unfold_geometry(shape, strides, offset, dimension, size, step):
    d = normalize_dim(dimension, len(shape))
    have = shape[d] if shape else 1
    if size > have:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {have} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (have - size) // step + 1
    if not shape:
        return (size,), (1,), offset
    return (*shape[:d], count, *shape[d + 1 :], size), (*strides[:d], strides[d] * step, *strides[d + 1 :], strides[d]), offset


@view(vjp=lambda g, out, input, dimension, size, step: ops.unfold_backward(g, tuple(input.shape), dimension, size, step), saves="")
def unfold(shape, strides, offset, dimension, size, step):
    """Windows of `size` every `step` along a dimension, the windows' elements in a new last dimension."""
    return _unfold_geometry(shape, strides, offset, dimension, size, step)


@extern(
    spec=lambda g, shape, dim, size, step: Spec(shape, g.dtype, g.device), method=False, saves="",
    vjp=lambda g, out, grad, shape, dim, size, step: ops.unfold(g, dim, size, step),
)
def unfold_backward(g, shape, dim, size, step):
    """The sum of windows of `unfold`, each at its place."""
    if not shape:
        return np.asarray(g.sum(), g.dtype)
    result = np.zeros(shape, g.dtype)
    moved = np.moveaxis(result, normalize_dim(dim, len(shape)), -1)
    windows = np.moveaxis(g, normalize_dim(dim, len(shape)), -2)
    for i in range(windows.shape[-2]):
        moved[..., i * step : i * step + size] += windows[..., i, :]
    return result


@composite(method=False)
def empty_permuted(size, physical_layout, *, dtype=None, layout=None, device=None,
                   requires_grad=False, pin_memory=False):
    """An uninitialized tensor whose dimensions lie in memory in the order of `physical_layout`."""
    if sorted(physical_layout) != list(range(len(size))):
        raise RuntimeError(f"empty_permuted: physical_layout {list(physical_layout)} must name each of the {len(size)} dimensions once")
    made = ops.empty(tuple(size[d] for d in physical_layout), dtype=dtype, device=device)
    found = ops.permute(made, tuple(physical_layout.index(d) for d in range(len(size))))
    return found.detach().requires_grad_() if requires_grad else found.detach()
