"""Subscripts: `x[...]` read and written. They become views where they can and one `index` with
index tensors elsewhere; where nothing is recorded a basic subscript is a single NumPy view.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import autograd, dispatch, whole
from eager import dtype as dtypes
from eager.fake import FakeTensor
from eager.op import composite, ops
from eager.tensor import PLAIN, Tensor


def _is_basic(item: Any) -> bool:
    """Whether an item of a subscript selects by position: an integer, a slice of positive step,
    None or `...`."""
    kind = type(item)
    if kind is int or item is None or item is Ellipsis:
        return True
    if kind is slice:
        for part in (item.start, item.stop):
            if part is not None and type(part) is not int:
                return False
        return item.step is None or (type(item.step) is int and item.step > 0)
    return False


def _direct(input: Any, index: Any) -> np.ndarray | None:
    """NumPy's own view for a basic subscript; None where the operators must say what happens."""
    if dispatch.active[0] or isinstance(input, FakeTensor):
        return None
    if type(index) is tuple:
        for item in index:
            if not _is_basic(item):
                return None
    elif not _is_basic(index):
        return None
    try:
        found = input._array[index]
    except IndexError:
        return None
    if type(found) is np.ndarray:
        return found
    # a scalar: the same place as a zero-dimensional view
    return input._array[(*index, ...) if type(index) is tuple else (index, ...)]


def _getitem_back(g: np.ndarray, kept: Any, needs: tuple, input: Any, index: Any) -> tuple:
    result = np.zeros(input.shape, g.dtype)
    result[index] = g
    return result, None


@composite(method=False, saves="", back=_getitem_back,
           again=lambda kept, input, index: _subscript(input, index))
def getitem(input, index):
    """`input[index]`, as in Python. Raises IndexError for places outside the tensor."""
    if not (autograd._MODE.grad and input.requires_grad):
        array = _direct(input, index)
        if array is not None:
            return input._alias(array, getitem, (index,))
    elif type(input) in PLAIN and getitem.back is not None:
        array = _direct(input, index)
        if array is not None:
            result = input._alias(array, getitem, (index,))
            whole.record(getitem, (input, index), 1, result, None)
            result._seen = result._base._node
            return result
    if type(index) is Tensor and index.ndim and index.dtype is dtypes.int64 and input.ndim:
        return ops.index(input, (index,))
    return _subscript(input, index)


def _subscript(input: Any, index: Any) -> Any:
    view, advanced = _basic_part(input, _normal(input, index))
    if advanced is None:
        return ops.alias(input) if view is input else view
    return ops.index(view, advanced)


def _as_item(item: Any) -> Any:
    if isinstance(item, Tensor):
        if (
            item.ndim == 0
            and item.dtype.category == dtypes.INTEGER
            and not isinstance(item, FakeTensor)
            and not dispatch.active[0]
        ):
            return int(item.item())
        return item
    if isinstance(item, np.ndarray):
        return Tensor._wrap(item)
    if isinstance(item, (list, tuple, range)):
        from eager.construct import tensor

        found = tensor(list(item))
        return found if found.numel() else ops.convert(found, dtypes.int64)
    if isinstance(item, (bool, np.bool_)):
        return bool(item)
    if isinstance(item, np.integer):
        return int(item)
    if isinstance(item, (float, str)):
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        )
    return item


_ZERO_DIM = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python to convert a 0-dim tensor "
    "to a number"
)


def _normal(input: Any, index: Any) -> list:
    """The items of a subscript, one for each dimension or None; `...` is spelled out."""
    if isinstance(index, tuple):
        items = list(index)
    elif isinstance(index, list) and any(
        isinstance(i, (slice, Tensor, type(Ellipsis), type(None))) for i in index
    ):
        items = list(index)
    else:
        items = [index]
    items = [_as_item(i) for i in items]
    used = 0
    for item in items:
        if isinstance(item, Tensor) and item.dtype in (dtypes.bool_, dtypes.uint8):
            used += item.ndim
        elif item is not None and item is not Ellipsis and not isinstance(item, bool):
            used += 1
    if used > input.ndim:
        if not input.ndim and used == 1:
            raise IndexError(_ZERO_DIM)
        raise IndexError(f"too many indices for tensor of dimension {input.ndim}")
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    missing = [slice(None)] * (input.ndim - used)
    if (
        len(dots) > 1
    ):  # the first stands for all dimensions that are left; nothing can come after another
        if (
            missing
            and dots[1] < len(items) - 1
            and any(item is not Ellipsis for item in items[dots[1] :])
        ):
            raise IndexError(
                f"too many indices after a second ellipsis for tensor of dimension {input.ndim}"
            )
        items = [item for n, item in enumerate(items) if item is not Ellipsis or n == dots[0]]
    place = dots[0] if dots else len(items)
    return [*items[:place], *missing, *items[place + 1 :]]


def _basic_part(input: Any, items: list) -> tuple[Any, tuple | None]:
    """Apply the basic items as views; give the view and, if there are index tensors, a tuple of
    them (None: a whole dimension)."""
    view, dim = input, 0
    advanced: list[Any] = []
    for item in items:
        if item is None:
            view = ops.unsqueeze(view, dim)
            advanced.append(None)
            dim += 1
        elif isinstance(item, bool):
            view = ops.unsqueeze(view, dim)
            advanced.append(ops.zeros((1 if item else 0,), dtype=dtypes.int64))
            dim += 1
        elif isinstance(item, slice):
            view = _sliced(view, dim, item)
            advanced.append(None)
            dim += 1
        elif isinstance(item, Tensor):
            advanced.append(item)
            dim += item.ndim if item.dtype in (dtypes.bool_, dtypes.uint8) else 1
        else:
            if view.ndim == 0:
                raise IndexError(_ZERO_DIM)
            view = ops.select(view, dim, item)
    if not any(isinstance(a, Tensor) for a in advanced):
        return view, None
    while advanced[-1] is None:
        advanced.pop()
    return view, tuple(advanced)


def _sliced(view: Any, dim: int, item: slice) -> Any:
    parts = [
        p.__index__() if hasattr(p, "__index__") and type(p) is not int else p
        for p in (item.start, item.stop, item.step)
    ]
    start, stop, step = parts
    if step is None:
        step = 1
    if step <= 0:
        raise ValueError("step must be greater than zero")
    if (start is None or start == 0) and stop is None and step == 1:
        return view
    return ops.slice(view, dim, start, stop, step)


@composite(method=False, mutates="input")
def setitem(input, index, value):
    """`input[index] = value`, as in Python. Raises IndexError for places outside the tensor."""
    recording = autograd._MODE.grad and (
        input.requires_grad or (isinstance(value, Tensor) and value.requires_grad)
    )
    if not recording and not dispatch.active[0] and not isinstance(value, FakeTensor):
        array = _direct(input, index)
        if array is not None and array.flags.writeable:
            _assign(array, value)
            input._bump()
            return
    items = _normal(input, index)
    if len(items) == 1 and _is_mask(items[0]) and items[0].ndim == input.ndim and _is_single(value):
        ops.masked_fill_(input, items[0], value)
        return
    view, advanced = _basic_part(input, items)
    if advanced is None:
        ops.copy_(view, _fitting(value, view)) if isinstance(value, Tensor) else ops.fill_(
            view, value
        )
        return
    if len(advanced) == 1 and _is_mask(advanced[0]) and not isinstance(value, Tensor):
        mask = advanced[0]
        extra = view.ndim - mask.ndim
        ops.masked_fill_(view, ops.reshape(mask, (*mask.shape, *(1,) * extra)), value)
        return
    given = value if isinstance(value, Tensor) else ops.full((), value, dtype=view.dtype)
    given = given if given.dtype is view.dtype else ops.convert(given, view.dtype)
    while given.ndim > 1 and given.shape[0] == 1 and given.ndim > view.ndim:
        given = ops.squeeze(given, 0)
    ops.index_put_(view, advanced, given, False)


def _is_mask(item: Any) -> bool:
    return isinstance(item, Tensor) and item.dtype is dtypes.bool_ and item.ndim > 0


def _is_single(value: Any) -> bool:
    return not isinstance(value, (Tensor, np.ndarray, list, tuple)) or (
        isinstance(value, Tensor) and value.ndim == 0
    )


def _fitting(value: Any, view: Any) -> Any:
    """The value without leading dimensions of size 1 that the place does not have."""
    extra = value.ndim - view.ndim
    if extra > 0 and all(n == 1 for n in value.shape[:extra]):
        return ops.reshape(value, tuple(value.shape[extra:]))
    return value


def _assign(array: np.ndarray, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value._array
        if value.dtype.kind == "c" and array.dtype.kind != "c":
            value = value.real
    elif type(value) in (int, float):
        value = dtypes.fitting(value, dtypes.from_numpy(array.dtype))
    try:
        array[...] = value
    except ValueError:
        shape = list(np.shape(value))
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {shape} cannot be broadcast to indexing "
            f"result of shape {list(array.shape)}"
        ) from None


Tensor.__getitem__ = lambda self, index: getitem(self, index)  # type: ignore[method-assign]
