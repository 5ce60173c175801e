"""Reading and writing parts of tensors: subscripts, gather and scatter, masks, joining and splitting.

A subscript becomes views where it can and one `index` with index tensors elsewhere; where nothing is recorded it is a single NumPy view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eager import autograd, dispatch
from eager import dtype as dtypes
from eager.fake import DataDependent, FakeTensor
from eager.op import composite, extern, ops
from eager.shape import broadcast_shapes, like_strides, normalize_dim, numel
from eager.spec import Spec
from eager.tensor import Tensor

# -- subscripts ------------------------------------------------------------------------------------


def _is_basic(item: Any) -> bool:
    """Whether an item of a subscript selects by position: an integer, a slice of positive step, None or `...`."""
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


@composite(method=False)
def getitem(input, index):
    """`input[index]`, as in Python. Raises IndexError for places outside the tensor."""
    if not (autograd._MODE.grad and input.requires_grad):
        array = _direct(input, index)
        if array is not None:
            return input._alias(array, getitem, (index,))
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
        if item.ndim == 0 and item.dtype.category == dtypes.INTEGER and not isinstance(item, FakeTensor) and not dispatch.active[0]:
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


_ZERO_DIM = "invalid index of a 0-dim tensor. Use `tensor.item()` in Python to convert a 0-dim tensor to a number"


def _normal(input: Any, index: Any) -> list:
    """The items of a subscript, one for each dimension or None; `...` is spelled out."""
    if isinstance(index, tuple):
        items = list(index)
    elif isinstance(index, list) and any(isinstance(i, (slice, Tensor, type(Ellipsis), type(None))) for i in index):
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
    if len(dots) > 1:  # the first stands for all dimensions that are left; nothing can come after another
        if missing and dots[1] < len(items) - 1 and any(item is not Ellipsis for item in items[dots[1] :]):
            raise IndexError(f"too many indices after a second ellipsis for tensor of dimension {input.ndim}")
        items = [item for n, item in enumerate(items) if item is not Ellipsis or n == dots[0]]
    place = dots[0] if dots else len(items)
    return [*items[:place], *missing, *items[place + 1 :]]


def _basic_part(input: Any, items: list) -> tuple[Any, tuple | None]:
    """Apply the basic items as views; give the view and, if there are index tensors, a tuple of them (None: a whole dimension)."""
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
    parts = [p.__index__() if hasattr(p, "__index__") and not type(p) is int else p for p in (item.start, item.stop, item.step)]
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
    recording = autograd._MODE.grad and (input.requires_grad or (isinstance(value, Tensor) and value.requires_grad))
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
        ops.copy_(view, _fitting(value, view)) if isinstance(value, Tensor) else ops.fill_(view, value)
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
    return not isinstance(value, (Tensor, np.ndarray, list, tuple)) or (isinstance(value, Tensor) and value.ndim == 0)


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
    elif isinstance(value, int) and array.dtype.kind in "iu":
        array[...] = np.asarray(value).astype(array.dtype)
        return
    try:
        array[...] = value
    except ValueError:
        shape = list(np.shape(value))
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {shape} cannot be broadcast to indexing result of shape {list(array.shape)}"
        ) from None


Tensor.__getitem__ = lambda self, index: getitem(self, index)  # type: ignore[method-assign]


# -- index tensors ---------------------------------------------------------------------------------


def _out_of_bounds(value: int, dim: int, size: int, kind: type = IndexError) -> Exception:
    return kind(f"index {value} is out of bounds for dimension {dim} with size {size}")


def _check_range(index: np.ndarray, size: int, dim: int, kind: type = IndexError, negative: bool = True) -> None:
    if not index.size:
        return
    low, high = np.minimum.reduce(index, axis=None), np.maximum.reduce(index, axis=None)
    if high >= size:
        raise _out_of_bounds(int(high), dim, size, kind)
    if low < (-size if negative else 0):
        raise _out_of_bounds(int(low), dim, size, kind)


def _places(input: np.ndarray, indices: Sequence[Any]) -> tuple:
    """Index arrays as NumPy takes them. Raises IndexError for masks that do not fit and for places outside."""
    found, dim = [], 0
    for index in indices:
        if index is None:
            found.append(slice(None))
            dim += 1
            continue
        if index.dtype.kind not in "iub":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        if index.dtype in (np.bool_, np.uint8):
            mask = index if index.dtype == np.bool_ else index != 0
            for i, n in enumerate(mask.shape):
                if dim + i >= input.ndim or n != input.shape[dim + i]:
                    raise IndexError(
                        f"The shape of the mask {list(mask.shape)} at index {i} does not match the "
                        f"shape of the indexed tensor {list(input.shape)} at index {dim + i}"
                    )
            found.extend(mask.nonzero() if mask.ndim else (np.zeros(int(mask), np.int64),))
            dim += mask.ndim
            continue
        if dim >= input.ndim:
            raise IndexError(f"too many indices for tensor of dimension {input.ndim}")
        _check_range(index, input.shape[dim], dim)
        found.append(index)
        dim += 1
    return tuple(found)


def _index_shape(input: Any, indices: Sequence[Any]) -> tuple:
    """The shape of `input[indices]`: the broadcast shape of the index tensors in their place, in front if they are apart."""
    shapes = []
    for index in indices:
        if index is not None and index.dtype in (dtypes.bool_, dtypes.uint8):
            raise DataDependent("the shape of an index by a mask depends on values")
        if index is not None and index.dtype.category > dtypes.INTEGER:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    places = [i for i, index in enumerate(indices) if index is not None]
    shapes = [tuple(indices[i].shape) for i in places]
    try:
        common = broadcast_shapes(*shapes)
    except RuntimeError:
        listed = ", ".join(str(list(s)) for s in shapes)
        raise IndexError(f"shape mismatch: indexing tensors could not be broadcast together with shapes {listed}") from None
    rest = [n for i, n in enumerate(input.shape) if i not in places]
    together = places[-1] - places[0] + 1 == len(places)
    at = places[0] if together else 0
    return (*rest[:at], *common, *rest[at:])


def _index_spec(input, indices):
    return Spec(_index_shape(input, indices), input.dtype, input.device)


def _index_vjp(g, out, input, indices):
    return ops.index_put(ops.zeros(tuple(input.shape), dtype=g.dtype), indices, g, True)


@extern(spec=_index_spec, vjp=(_index_vjp, None), saves="indices", method=False)
def index(input, indices):
    """Elements at places given by index tensors, one per leading dimension; None stands for a whole dimension."""
    if len(indices) == 1 and indices[0].dtype == np.int64 and input.ndim:
        _check_range(indices[0], input.shape[0], 0)
        return np.take(input, indices[0], 0)
    return _plain(input[_broadcast_places(input, indices)])


def _broadcast_places(input: np.ndarray, indices: Sequence[Any]) -> tuple:
    places = _places(input, indices)
    if len(places) == 1:
        return places
    try:
        np.broadcast_shapes(*[p.shape for p in places if not isinstance(p, slice)])
    except ValueError:
        listed = ", ".join(str(list(p.shape)) for p in places if not isinstance(p, slice))
        raise IndexError(f"shape mismatch: indexing tensors could not be broadcast together with shapes {listed}") from None
    return places


def _plain(array: np.ndarray) -> np.ndarray:
    # NumPy may lay the result of advanced indexing out in the order of the index arrays
    return np.ascontiguousarray(array) if array.ndim else array.copy()


_WIDE = 16  # elements per slice from which adding whole slices beats adding single elements


def add_slices(target: np.ndarray, index: np.ndarray, values: np.ndarray) -> None:
    """`target[index[k]] += values[k]` for every k, indices that repeat adding up.

    The first occurrences of all indices are added at once, then the second ones, and so on.
    """
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(index) else order
    lengths = np.diff(np.append(starts, len(index)))
    rank = np.arange(len(index)) - np.repeat(starts, lengths)
    by_rank = order[np.argsort(rank, kind="stable")]
    start = 0
    for count in np.bincount(rank):
        wave = by_rank[start : start + count]
        target[index[wave]] += values[wave]
        start += count


def accumulate_at(target: np.ndarray, places: tuple, values: np.ndarray) -> None:
    """`target[places] += values`, places that repeat adding up (`numpy.add.at`, faster for the usual forms)."""
    first = places[0]
    width = target[0].size if target.ndim and len(target) else 0
    if len(places) == 1 and not isinstance(first, slice) and width >= _WIDE:
        flat = first.reshape(-1)
        rows = np.broadcast_to(values, (*first.shape, *target.shape[1:])).reshape(len(flat), *target.shape[1:])
        add_slices(target, np.where(flat < 0, flat + len(target), flat), rows)
        return
    if len(places) == target.ndim > 1 and target.flags.c_contiguous and not any(isinstance(p, slice) for p in places):
        grid = np.broadcast_arrays(*places)
        flat = np.ravel_multi_index([np.where(p < 0, p + n, p) for p, n in zip(grid, target.shape)], target.shape)
        np.add.at(target.reshape(-1), flat.reshape(-1), np.broadcast_to(values, flat.shape).reshape(-1))
        return
    np.add.at(target, places, values)


def _put(target, indices, values, accumulate):
    places = _broadcast_places(target, indices)
    values = values.astype(target.dtype, copy=False)
    try:
        if accumulate:
            accumulate_at(target, places, values)
        else:
            target[places] = values
    except ValueError:
        shape = list(target[places].shape)
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to indexing result of shape {shape}"
        ) from None


def _put_copy(input, indices, values, accumulate):
    result = input.copy()
    _put(result, indices, values, accumulate)
    return result


def _put_spec(input, indices, values, accumulate=False):
    if values.dtype is not input.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for "
            f"the destination and {values.dtype} for the source."
        )
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


def _put_vjp(g, out, needs, input, indices, values, accumulate):
    to_input = None
    if needs[0]:
        to_input = g if accumulate else ops.index_put(g, indices, ops.zeros((), dtype=g.dtype), False)
    return to_input, None, ops.index(g, indices) if needs[2] else None


@extern(spec=_put_spec, vjp=_put_vjp, joint=True, saves="indices", inplace=_put)
def index_put(input, indices, values, accumulate=False):
    """The input with `values` at the places given by index tensors; with `accumulate` added to what is there."""
    if values.dtype != input.dtype:
        raise ValueError
    return _put_copy(input, indices, values, accumulate)


def _line(index: np.ndarray) -> np.ndarray:
    return index.reshape(1) if index.ndim == 0 else index


def _check_vector(name: str, index: Any) -> None:
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {index.ndim} with index")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index but got: {index.dtype}")


def _select_spec(input, dim, index):
    _check_vector("index_select", index)
    d = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return Spec((), input.dtype, input.device)
    return Spec((*input.shape[:d], index.numel(), *input.shape[d + 1 :]), input.dtype, input.device)


def _select_vjp(g, out, input, dim, index):
    if not input.ndim:
        return g
    return ops.index_add(ops.zeros(tuple(input.shape), dtype=g.dtype), dim, ops.reshape(index, (-1,)), g)


@extern(spec=_select_spec, vjp=(_select_vjp, None, None), saves="index")
def index_select(input, dim, index):
    """The slices along a dimension that a vector of indices names."""
    if index.ndim > 1 or index.dtype.kind != "i":
        raise ValueError
    d = normalize_dim(dim, input.ndim)
    size = input.shape[d] if input.ndim else 1
    if index.size and (index.max() >= size or index.min() < 0):
        raise IndexError("index out of range in self")
    return np.take(input, _line(index), d) if input.ndim else input.copy()


def _gather_spec(input, dim, index, sparse_grad=False):
    d = normalize_dim(dim, input.ndim)
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"gather(): Expected dtype int32/int64 for index, but got {index.dtype}")
    _check_ranks("gather", input, index)
    for i, n in enumerate(index.shape):
        if i != d and n > input.shape[i]:
            raise RuntimeError(
                f"Size does not match at dimension {i} expected index {list(index.shape)} to be no "
                f"larger than self {list(input.shape)} apart from dimension {d}"
            )
    return Spec(index.shape, input.dtype, input.device)


def _check_ranks(name: str, input: Any, index: Any) -> None:
    if (input.ndim or 1) != (index.ndim or 1) and index.numel():
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {'input' if name == 'gather' else 'self'} tensor")


def _gather_vjp(g, out, input, dim, index, sparse_grad):
    return ops.scatter_add(ops.zeros(tuple(input.shape), dtype=g.dtype), dim, index, g)


def _lines(shape: Sequence[int], index: np.ndarray, dim: int) -> tuple:
    """Index arrays for `array[...]` that vary `index` along `dim` and stay in place elsewhere."""
    places = [np.arange(n).reshape((-1,) + (1,) * (index.ndim - i - 1)) for i, n in enumerate(index.shape)]
    places[dim] = index
    return tuple(places)


@extern(spec=_gather_spec, vjp=(_gather_vjp, None, None), saves="index")
def gather(input, dim, index, *, sparse_grad=False):
    """Values along a dimension: `out[i][j] = input[index[i][j]][j]` for dim 0."""
    d = normalize_dim(dim, input.ndim)
    if index.dtype.kind != "i" or (input.ndim or 1) != (index.ndim or 1):
        raise ValueError
    source, places = (input.reshape(1), _line(index)) if input.ndim == 0 else (input, _line(index))
    _check_range(places, source.shape[d], d, RuntimeError, negative=False)
    for i, n in enumerate(places.shape):
        if i != d and n > source.shape[i]:
            raise ValueError
    if all(n == source.shape[i] for i, n in enumerate(places.shape) if i != d):
        return np.take_along_axis(source, places, d).reshape(index.shape)
    return source[_lines(source.shape, places, d)].reshape(index.shape)


def _scatter_check(name: str, input: Any, dim: int, index: Any, src: Any = None) -> int:
    d = normalize_dim(dim, input.ndim)
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    _check_ranks(name, input, index)
    shape = input.shape if input.ndim else (1,)
    for i, n in enumerate(index.shape if index.numel() else ()):
        too_small = src is not None and src.ndim and n > src.shape[i]
        if (i != d and n > shape[i]) or too_small:
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than self {list(input.shape)} apart from dimension {d}"
                + ("" if src is None else f" and to be no larger size than src {list(src.shape)}")
            )
    if src is not None and src.dtype is not input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    return d


def _scatter_places(target: np.ndarray, dim: int, index: np.ndarray) -> tuple[np.ndarray, tuple]:
    d = normalize_dim(dim, target.ndim)
    goal, index = target.reshape(1) if target.ndim == 0 else target, _line(index)
    _check_range(index, goal.shape[d], d, RuntimeError, negative=False)
    return goal, _lines(goal.shape, index, d)


def _part(src: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The part of src that an index of a smaller shape reads."""
    if src.ndim == 0 or src.shape == index.shape:
        return src.reshape(_line(index).shape) if src.ndim == 0 and index.size == 1 else src
    return src[tuple(slice(0, n) for n in index.shape)]


def _scatter_into(target, dim, index, src):
    goal, places = _scatter_places(target, dim, index)
    goal[places] = _part(src, index)


def _scattered(into):
    def run(input, dim, index, *rest):
        if index.dtype.kind != "i" or (input.ndim or 1) != (index.ndim or 1) and index.size:
            raise ValueError
        result = input.copy()
        if index.size:
            into(result, dim, index, *rest)
        return result

    return run


def _scatter_spec(input, dim, index, src):
    _scatter_check("scatter", input, dim, index, src)
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


def _gathered(g: Any, dim: int, index: Any, src: Any) -> Any:
    """The gradient of src: what lies at the places, zeros where src was not read."""
    found = ops.gather(g, dim, index)
    if tuple(src.shape) == tuple(index.shape):
        return found
    pads = [p for n, m in zip(reversed(src.shape), reversed(index.shape)) for p in (0, n - m)]
    return ops.constant_pad_nd(found, tuple(pads), 0)


def _scatter_vjp(g, out, needs, input, dim, index, src):
    zero = ops.scatter_value(g, dim, index, 0) if needs[0] else None
    return zero, None, None, _gathered(g, dim, index, src) if needs[3] else None


@extern(spec=_scatter_spec, vjp=_scatter_vjp, joint=True, saves="index", inplace=_scatter_into, method=False)
def scatter_src(input, dim, index, src):
    """The input with values of `src` written along a dimension at `index`."""
    if src.dtype != input.dtype:
        raise ValueError
    return _scattered(_scatter_into)(input, dim, index, src)


def _scatter_value_into(target, dim, index, value):
    goal, places = _scatter_places(target, dim, index)
    goal[places] = value


@extern(
    spec=lambda input, dim, index, value: _scatter_value_spec(input, dim, index), saves="index", method=False,
    vjp=(lambda g, out, input, dim, index, value: ops.scatter_value(g, dim, index, 0), None, None, None), inplace=_scatter_value_into,
)
def scatter_value(input, dim, index, value):
    """The input with one number written along a dimension at `index`."""
    return _scattered(_scatter_value_into)(input, dim, index, value)


def _scatter_value_spec(input, dim, index):
    _scatter_check("scatter", input, dim, index)
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


def _scatter_front(call, input, dim, index, src=None, *, value=None, reduce=None):
    return call(input, dim, index, value if src is None else src, reduce)


_REDUCE = {"add": "sum", "multiply": "prod"}


def _scatter(input, dim, index, src, reduce, suffix=""):
    if reduce is not None:
        if reduce not in _REDUCE:
            raise RuntimeError("reduce argument must be either add or multiply.")
        values = src if isinstance(src, Tensor) else ops.full(tuple(index.shape), src, dtype=input.dtype)
        return getattr(ops, "scatter_reduce" + suffix)(input, dim, index, values, _REDUCE[reduce], include_self=True)
    if isinstance(src, Tensor):
        return getattr(ops, "scatter_src" + suffix)(input, dim, index, src)
    return getattr(ops, "scatter_value" + suffix)(input, dim, index, src)


@composite(front=_scatter_front)
def scatter(input, dim, index, src, reduce=None):
    """The input with values (a tensor or one number) written along a dimension at `index`."""
    return _scatter(input, dim, index, src, reduce)


@composite(front=_scatter_front, mutates="input")
def scatter_(input, dim, index, src, reduce=None):
    """`scatter` in place."""
    return _scatter(input, dim, index, src, reduce, "_")


def _scatter_add_into(target, dim, index, src):
    goal, places = _scatter_places(target, dim, index)
    accumulate_at(goal, places, _part(src, index))


def _scatter_add_spec(input, dim, index, src):
    _scatter_check("scatter", input, dim, index, src)
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


@extern(
    spec=_scatter_add_spec, saves="index", inplace=_scatter_add_into,
    vjp=(lambda g, out, input, dim, index, src: g, None, None, lambda g, out, input, dim, index, src: _gathered(g, dim, index, src)),
)
def scatter_add(input, dim, index, src):
    """The input with values of `src` added along a dimension at `index`."""
    if src.dtype != input.dtype:
        raise ValueError
    return _scattered(_scatter_add_into)(input, dim, index, src)


_COMBINE = {"sum": np.add, "mean": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


def _neutral(reduce: str, kind: np.dtype) -> Any:
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    low, high = (-np.inf, np.inf) if kind.kind in "fV" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return low if reduce == "amax" else high


def _scatter_reduce_into(target, dim, index, src, reduce, include_self):
    goal, places = _scatter_places(target, dim, index)
    values = _part(src, index)
    if not include_self:
        goal[places] = _neutral(reduce, goal.dtype)
    _COMBINE[reduce].at(goal, places, values)
    if reduce == "mean":
        count = np.ones(goal.shape, np.int64) if include_self else np.zeros(goal.shape, np.int64)
        np.add.at(count, places, 1)
        count = np.maximum(count, 1)
        np.divide(goal, count, out=goal, casting="unsafe") if goal.dtype.kind == "f" else np.floor_divide(goal, count, out=goal, casting="unsafe")


def _scatter_reduce_spec(input, dim, index, src, reduce, include_self):
    if reduce not in _COMBINE:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    _scatter_check("scatter", input, dim, index, src)
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


def _scatter_reduce_vjp(g, out, needs, input, dim, index, src, reduce, include_self):
    zero_places = lambda t: t if include_self else ops.scatter_value(t, dim, index, 0)  # noqa: E731
    if reduce == "sum":
        return zero_places(g), None, None, _gathered(g, dim, index, src)
    ones = ops.ones(tuple(index.shape), dtype=g.dtype)
    if reduce == "mean":
        count = ops.ones_like(input) if include_self else ops.zeros_like(input)
        count = ops.clamp(ops.scatter_add(count, dim, index, ones), 1)
        return zero_places(g / count), None, None, _gathered(g / count, dim, index, src)
    if reduce == "prod":
        # exact where no factor is zero; a zero factor gives a zero gradient for the others, as the quotient would be 0/0
        part = ops.gather(out, dim, index) / src if tuple(src.shape) == tuple(index.shape) else None
        if part is None:
            raise NotImplementedError("the derivative of scatter_reduce(prod) needs src in the shape of index")
        return zero_places(g * out / input), None, None, ops.gather(g, dim, index) * part
    same_self = ops.convert(input == out, g.dtype)
    same_src = ops.convert(src == ops.gather(out, dim, index), g.dtype)
    count = ops.scatter_add(same_self if include_self else ops.zeros_like(same_self), dim, index, same_src)
    share = g / ops.where(count == 0, ops.ones_like(count), count)
    to_self = same_self * share if include_self else ops.scatter_value(g, dim, index, 0)
    return to_self, None, None, same_src * ops.gather(share, dim, index)


@extern(spec=_scatter_reduce_spec, vjp=_scatter_reduce_vjp, joint=True, saves="input index src out", inplace=_scatter_reduce_into)
def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """Values of `src` combined into the input along a dimension: sum, mean, prod, amax or amin."""
    if reduce not in _COMBINE or src.dtype != input.dtype:
        raise ValueError
    return _scattered(_scatter_reduce_into)(input, dim, index, src, reduce, include_self)


# -- whole slices ----------------------------------------------------------------------------------


def _slices(target: np.ndarray, dim: int, index: np.ndarray) -> tuple[np.ndarray, tuple]:
    d = normalize_dim(dim, target.ndim)
    goal = target.reshape(1) if target.ndim == 0 else target
    index = _line(index)
    if index.size and (index.max() >= goal.shape[d] or index.min() < -goal.shape[d]):
        raise IndexError("index out of range in self")
    return goal, (*(slice(None),) * d, index)


def _slices_spec(name: str, input: Any, dim: int, index: Any, source: Any = None) -> Spec:
    d = normalize_dim(dim, input.ndim)
    _check_vector(name, index)
    if source is not None and source.ndim:
        expected = (*input.shape[:d], index.numel(), *input.shape[d + 1 :]) if input.ndim else (index.numel(),)
        if tuple(source.shape) != tuple(expected):
            raise IndexError(
                f"{name}(): Number of indices ({index.numel()}) should be equal to "
                f"source.size(dim) and the other sizes equal: source {list(source.shape)}, expected {list(expected)}"
            )
    if source is not None and source.dtype is not input.dtype:
        raise RuntimeError(f"{name}(): self and source expected to have the same dtype, but got {input.dtype} and {source.dtype}")
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


def _copied(into):
    def run(input, *rest):
        result = input.copy()
        into(result, *rest)
        return result

    return run


def _index_add_into(target, dim, index, source, alpha):
    goal, places = _slices(target, dim, index)
    d = len(places) - 1
    values = source if alpha == 1 else source * np.asarray(alpha, source.dtype)
    accumulate_at(np.moveaxis(goal, d, 0), places[d:], np.moveaxis(values, d, 0) if values.ndim > d else values)


@extern(
    spec=lambda input, dim, index, source, alpha: _slices_spec("index_add", input, dim, index, source), saves="index",
    vjp=(
        lambda g, out, input, dim, index, source, alpha: g, None, None,
        lambda g, out, input, dim, index, source, alpha: ops.reshape(ops.index_select(g, dim, index), source.shape) * alpha,
    ),
    inplace=_index_add_into,
)
def index_add(input, dim, index, source, *, alpha=1):
    """The input with slices of `source` added at `index` along a dimension."""
    if source.dtype != input.dtype or (source.ndim and source.shape[normalize_dim(dim, source.ndim)] != index.size):
        raise ValueError
    return _copied(_index_add_into)(input, dim, index, source, alpha)


def _index_copy_into(target, dim, index, source):
    goal, places = _slices(target, dim, index)
    goal[places] = source


@extern(
    spec=lambda input, dim, index, source: _slices_spec("index_copy", input, dim, index, source), saves="index",
    vjp=(
        lambda g, out, input, dim, index, source: ops.index_fill(g, dim, index, 0), None, None,
        lambda g, out, input, dim, index, source: ops.reshape(ops.index_select(g, dim, index), source.shape),
    ),
    inplace=_index_copy_into,
)
def index_copy(input, dim, index, source):
    """The input with slices of `source` written at `index` along a dimension."""
    if source.dtype != input.dtype or (source.ndim and source.shape[normalize_dim(dim, source.ndim)] != index.size):
        raise ValueError
    return _copied(_index_copy_into)(input, dim, index, source)


def _index_fill_into(target, dim, index, value):
    goal, places = _slices(target, dim, index)
    goal[places] = value


@extern(
    spec=lambda input, dim, index, value: _slices_spec("index_fill", input, dim, index), saves="index",
    vjp=(
        lambda g, out, input, dim, index, value: ops.index_fill(g, dim, index, 0), None, None,
        lambda g, out, input, dim, index, value: ops.sum(ops.index_select(g, dim, index)),
    ),
    inplace=_index_fill_into,
)
def index_fill(input, dim, index, value):
    """The input with one value at `index` along a dimension."""
    return _copied(_index_fill_into)(input, dim, index, value)


@extern(
    spec=lambda input, src, dim, index: Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input])), saves="",
    vjp=(
        lambda g, out, input, src, dim, index: ops.select_scatter(g, ops.zeros(src.shape, dtype=g.dtype), dim, index),
        lambda g, out, input, src, dim, index: ops.select(g, dim, index),
    ),
)
def select_scatter(input, src, dim, index):
    """The input with `src` as the slice that `select` takes."""
    d = normalize_dim(dim, input.ndim)
    if not -input.shape[d] <= index < input.shape[d]:
        raise IndexError(f"index {index} is out of bounds for dimension {d} with size {input.shape[d]}")
    result = input.copy()
    result[(*(slice(None),) * d, index)] = src
    return result


@extern(
    spec=lambda input, src, dim, start, end, step: Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input])),
    saves="",
    vjp=(
        lambda g, out, input, src, dim, start, end, step: ops.slice_scatter(g, ops.zeros(src.shape, dtype=g.dtype), dim, start, end, step),
        lambda g, out, input, src, dim, start, end, step: ops.slice(g, dim, start, end, step),
    ),
)
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """The input with `src` as the part that `slice` takes."""
    d = normalize_dim(dim, input.ndim)
    result = input.copy()
    result[(*(slice(None),) * d, slice(start, end, step))] = src
    return result


@composite
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """The input with `src` on a diagonal."""
    ones = ops.ones(tuple(src.shape), dtype=dtypes.bool_)
    shape = tuple(input.shape)
    mask = ops.diagonal_backward(ones, shape, offset, dim1, dim2)
    return ops.where(mask, ops.diagonal_backward(src, shape, offset, dim1, dim2), input)


# -- masks -----------------------------------------------------------------------------------------


def _check_mask(name: str, mask: Any) -> None:
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"{name} only supports boolean masks, but got mask with dtype {mask.dtype}")


def _masked_fill_spec(input, mask, value):
    _check_mask("masked_fill", mask)
    shape = broadcast_shapes(input.shape, mask.shape)
    if hasattr(value, "shape") and value.ndim:
        raise RuntimeError(
            f"masked_fill only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    full = [t for t in (input, mask) if tuple(t.shape) == tuple(shape)]
    return Spec(shape, input.dtype, input.device, like_strides(shape, full[:1] or [input]))


def _mask_fill_into(target, mask, value):
    np.copyto(target, value, where=mask, casting="unsafe")


def _masked_fill_decompose(input, mask, value):
    filler = value if isinstance(value, Tensor) else ops.full((), value, dtype=input.dtype)
    return ops.select_where(mask, filler if filler.dtype is input.dtype else ops.convert(filler, input.dtype), input)


@extern(
    spec=_masked_fill_spec, saves="mask", inplace=_mask_fill_into, decompose=_masked_fill_decompose,
    vjp=(
        lambda g, out, input, mask, value: ops.masked_fill(g, mask, 0), None,
        lambda g, out, input, mask, value: ops.sum(ops.where(mask, g, ops.zeros_like(g))),
    ),
)
def masked_fill(input, mask, value):
    """The input with one value where the mask holds."""
    if mask.dtype != np.bool_:
        raise ValueError
    shape = np.broadcast_shapes(input.shape, mask.shape)
    result = input.copy(order="K") if input.shape == shape else np.broadcast_to(input, shape).copy()
    np.copyto(result, value, where=mask, casting="unsafe")
    return result


def _data_dependent(name: str) -> Any:
    def spec(*bound):
        raise DataDependent(f"the shape of {name}() depends on values")

    return spec


def _masked_select_vjp(g, out, input, mask):
    shape = broadcast_shapes(input.shape, mask.shape)
    return ops.masked_scatter(ops.zeros(shape, dtype=g.dtype), ops.expand(mask, shape), g)


def _masked_select_spec(input, mask):
    _check_mask("masked_select: expected BoolTensor for mask;", mask)
    raise DataDependent("the shape of masked_select() depends on values")


@extern(spec=_masked_select_spec, vjp=(_masked_select_vjp, None), saves="mask")
def masked_select(input, mask):
    """A vector of the elements where the mask holds."""
    if mask.dtype != np.bool_:
        raise ValueError
    values, where = np.broadcast_arrays(input, mask)
    return values[where]


def _masked_scatter_into(target, mask, source):
    where = np.broadcast_to(mask, target.shape)
    count = int(where.sum())
    if source.size < count:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes and "
                           f"enough elements in source: {count} wanted, {source.size} given")
    target[where] = source.reshape(-1)[:count]


def _masked_scatter_vjp(g, out, needs, input, mask, source):
    to_source = None
    if needs[2]:
        taken = ops.masked_select(g, ops.expand(mask, tuple(g.shape)))
        size = numel(source.shape)
        padded = ops.cat([taken, ops.zeros((size - taken.numel(),), dtype=g.dtype)]) if size != taken.numel() else taken
        to_source = ops.reshape(padded, source.shape)
    return ops.masked_fill(g, mask, 0) if needs[0] else None, None, to_source


@extern(
    spec=lambda input, mask, source: Spec(broadcast_shapes(input.shape, mask.shape), input.dtype, input.device), saves="mask",
    vjp=_masked_scatter_vjp, joint=True, inplace=_masked_scatter_into,
)
def masked_scatter(input, mask, source):
    """The input with the elements of `source`, in order, where the mask holds."""
    result = np.broadcast_to(input, np.broadcast_shapes(input.shape, mask.shape)).copy()
    _masked_scatter_into(result, mask, source)
    return result


@extern(spec=_data_dependent("nonzero"), method=False, name="nonzero_rows")
def _nonzero_rows(input):
    """The places of the non-zero elements, one row each."""
    return np.argwhere(input != 0 if input.dtype != np.bool_ else input) if input.ndim else np.zeros((int(bool(input)), 0), np.int64)


@composite
def nonzero(input, *, as_tuple=False):
    """The places of the non-zero elements: one row each, or (`as_tuple`) one vector per dimension."""
    rows = ops.nonzero_rows(input)
    if not as_tuple:
        return rows
    if input.ndim == 0:
        return (ops.zeros((rows.shape[0],), dtype=dtypes.int64),)
    return tuple(ops.unbind(rows, 1))


@composite
def argwhere(input):
    """`nonzero` as rows."""
    return ops.nonzero(input)


# -- flat places -----------------------------------------------------------------------------------


def _take_vjp(g, out, input, index):
    flat = ops.zeros((numel(input.shape),), dtype=g.dtype)
    return ops.reshape(ops.put(flat, index, g, True), input.shape)


@extern(spec=lambda input, index: Spec(index.shape, input.dtype, input.device), vjp=(_take_vjp, None), saves="index")
def take(input, index):
    """The elements of the flattened input at `index`."""
    if index.dtype != np.int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    if index.size and (index.max() >= input.size or index.min() < -input.size):
        raise IndexError(f"take(): out of range: tried to access index {int(index.max())} on a tensor of {input.size} elements.")
    return np.take(input, index)


def _put_flat_into(target, index, source, accumulate):
    if index.size and (index.max() >= target.size or index.min() < -target.size):
        raise IndexError(f"put_(): out of range: tried to access index {int(index.max())} on a tensor of {target.size} elements.")
    places = np.unravel_index(np.where(index < 0, index + target.size, index), target.shape)
    if accumulate:
        np.add.at(target, places, source.reshape(index.shape))
    else:
        target[places] = source.reshape(index.shape)


@extern(
    spec=lambda input, index, source, accumulate: Spec(input.shape, input.dtype, input.device), saves="index", inplace=_put_flat_into,
    vjp=(
        lambda g, out, input, index, source, accumulate: g if accumulate else ops.put(g, index, ops.zeros(source.shape, dtype=g.dtype), False),
        None, lambda g, out, input, index, source, accumulate: ops.reshape(ops.take(g, index), source.shape),
    ),
)
def put(input, index, source, accumulate=False):
    """The input with `source` at places of its flattened form."""
    return _copied(_put_flat_into)(input, index, source, accumulate)


@composite
def take_along_dim(input, indices, dim=None):
    """`gather` with broadcasting; without `dim` over the flattened input."""
    if dim is None:
        return ops.gather(ops.reshape(input, (-1,)), 0, ops.reshape(indices, (-1,)))
    d = normalize_dim(dim, input.ndim)
    shape = broadcast_shapes(*([1 if i == d else n for i, n in enumerate(t.shape)] for t in (input, indices)))
    expanded = ops.expand(input, tuple(input.shape[d] if i == d else n for i, n in enumerate(shape)))
    places = ops.expand(indices, tuple(indices.shape[d] if i == d else n for i, n in enumerate(shape)))
    return ops.gather(expanded, d, places)
