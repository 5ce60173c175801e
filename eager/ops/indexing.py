"""Reading and writing at places that index tensors give: elements, whole slices, places of the
flattened tensor.

Places outside a tensor raise IndexError before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.fake import DataDependent
from eager.op import composite, extern, ops, require
from eager.shape import broadcast_shapes, like_strides, normalize_dim, numel
from eager.spec import Spec


def _out_of_bounds(value: int, dim: int, size: int, kind: type = IndexError) -> Exception:
    return kind(f"index {value} is out of bounds for dimension {dim} with size {size}")


def check_range(
    index: np.ndarray, size: int, dim: int, kind: type = IndexError, negative: bool = True
) -> None:
    if not index.size:
        return
    low, high = np.minimum.reduce(index, axis=None), np.maximum.reduce(index, axis=None)
    if high >= size:
        raise _out_of_bounds(int(high), dim, size, kind)
    if low < (-size if negative else 0):
        raise _out_of_bounds(int(low), dim, size, kind)


def _places(input: np.ndarray, indices: Sequence[Any]) -> tuple:
    """Index arrays as NumPy takes them. Raises IndexError for masks that do not fit and for places
    outside."""
    found: list[Any] = []
    dim = 0
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
        check_range(index, input.shape[dim], dim)
        found.append(index)
        dim += 1
    return tuple(found)


def _index_shape(input: Any, indices: Sequence[Any]) -> tuple:
    """The shape of `input[indices]`: the broadcast shape of the index tensors in their place, in
    front if they are apart."""
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
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {listed}"
        ) from None
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
    """Elements at places given by index tensors, one per leading dimension; None stands for a whole
    dimension."""
    if len(indices) == 1 and indices[0].dtype == np.int64 and input.ndim:
        check_range(indices[0], input.shape[0], 0)
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
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {listed}"
        ) from None
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
    """`target[places] += values`, places that repeat adding up (`numpy.add.at`, faster for the
    usual forms). Half precision adds up in float32."""
    if target.dtype.itemsize == 2 and target.dtype.kind in "fV":
        wide = target.astype(np.float32)
        accumulate_at(wide, places, values.astype(np.float32))
        target[...] = wide
        return
    first = places[0]
    width = target[0].size if target.ndim and len(target) else 0
    if len(places) == 1 and not isinstance(first, slice) and width >= _WIDE:
        flat = first.reshape(-1)
        rows = np.broadcast_to(values, (*first.shape, *target.shape[1:])).reshape(
            len(flat), *target.shape[1:]
        )
        add_slices(target, np.where(flat < 0, flat + len(target), flat), rows)
        return
    if (
        len(places) == target.ndim > 1
        and target.flags.c_contiguous
        and not any(isinstance(p, slice) for p in places)
    ):
        grid = np.broadcast_arrays(*places)
        flat = np.ravel_multi_index(
            [np.where(p < 0, p + n, p) for p, n in zip(grid, target.shape)], target.shape
        )
        np.add.at(
            target.reshape(-1), flat.reshape(-1), np.broadcast_to(values, flat.shape).reshape(-1)
        )
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
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to "
            f"indexing result of shape {shape}"
        ) from None


def _put_copy(input, indices, values, accumulate):
    result = input.copy()
    _put(result, indices, values, accumulate)
    return result


def _check_values(given, shape):
    """Raises RuntimeError unless values of shape `given` can be written to places of `shape`."""
    try:
        fits = broadcast_shapes(given, shape) == tuple(shape)
    except RuntimeError:
        fits = False
    if not fits:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(given)} cannot be broadcast to indexing"
            f" result of shape {list(shape)}"
        )


def _put_spec(input, indices, values, accumulate=False):
    if values.dtype is not input.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for "
            f"the destination and {values.dtype} for the source."
        )
    if not any(i is not None and i.dtype in (dtypes.bool_, dtypes.uint8) for i in indices):
        _check_values(values.shape, _index_shape(input, indices))
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


def _put_vjp(g, out, needs, input, indices, values, accumulate):
    to_input = None
    if needs[0]:
        to_input = (
            g if accumulate else ops.index_put(g, indices, ops.zeros((), dtype=g.dtype), False)
        )
    if not needs[2]:
        return to_input, None, None
    masks = [i for i in indices if i is not None and i.dtype in (dtypes.bool_, dtypes.uint8)]
    if len(masks) == 1 == sum(i is not None for i in indices):
        return to_input, None, _masked_gradient(g, indices.index(masks[0]), masks[0], values)
    return to_input, None, ops.index(g, indices)


def _masked_gradient(g, dim, mask, values):
    """The gradient of values at the places of a mask. How many they are is what `values` says, or they share one."""
    rank = g.ndim - mask.ndim + 1
    at = values.ndim - (rank - dim)
    mask = mask if mask.dtype is dtypes.bool_ else mask != 0
    if at >= 0 and values.shape[at] != 1:
        rows = ops.nonzero_static(mask, size=values.shape[at])
        return ops.index(g, (*(None,) * dim, *ops.unbind(rows, 1)))
    over = ops.reshape(mask, (*mask.shape, *(1,) * (g.ndim - dim - mask.ndim)))
    dims = tuple(range(dim, dim + mask.ndim))
    summed = ops.sum(ops.where(over, g, ops.zeros((), dtype=g.dtype)), dims)
    return ops.unsqueeze(summed, dim)


@extern(spec=_put_spec, vjp=_put_vjp, joint=True, saves="indices", inplace=_put)
def index_put(input, indices, values, accumulate=False):
    """The input with `values` at the places given by index tensors; with `accumulate` added to what
    is there."""
    if values.dtype != input.dtype:
        raise ValueError
    return _put_copy(input, indices, values, accumulate)


def as_vector(index: np.ndarray) -> np.ndarray:
    return index.reshape(1) if index.ndim == 0 else index


def _check_vector(name: str, index: Any) -> None:
    if index.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {index.ndim} with index"
        )
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            f"{name}(): Expected dtype int32 or int64 for index but got: {index.dtype}"
        )


def _select_spec(input, dim, index):
    _check_vector("index_select", index)
    d = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return Spec((), input.dtype, input.device)
    return Spec((*input.shape[:d], index.numel(), *input.shape[d + 1 :]), input.dtype, input.device)


def _select_vjp(g, out, input, dim, index):
    if not input.ndim:
        return g
    return ops.index_add(
        ops.zeros(tuple(input.shape), dtype=g.dtype), dim, ops.reshape(index, (-1,)), g
    )


@extern(spec=_select_spec, vjp=(_select_vjp, None, None), saves="index")
def index_select(input, dim, index):
    """The slices along a dimension that a vector of indices names."""
    if index.ndim > 1 or index.dtype.kind != "i":
        raise ValueError
    d = normalize_dim(dim, input.ndim)
    size = input.shape[d] if input.ndim else 1
    if index.size and (index.max() >= size or index.min() < 0):
        raise IndexError("index out of range in self")
    return np.take(input, as_vector(index), d) if input.ndim else input.copy()


def _slices(target: np.ndarray, dim: int, index: np.ndarray) -> tuple[np.ndarray, tuple]:
    d = normalize_dim(dim, target.ndim)
    goal = target.reshape(1) if target.ndim == 0 else target
    index = as_vector(index)
    if index.size and (index.max() >= goal.shape[d] or index.min() < -goal.shape[d]):
        raise IndexError("index out of range in self")
    return goal, (*(slice(None),) * d, index)


def _slices_spec(name: str, input: Any, dim: int, index: Any, source: Any = None) -> Spec:
    d = normalize_dim(dim, input.ndim)
    _check_vector(name, index)
    if source is not None and source.ndim:
        expected = (
            (*input.shape[:d], index.numel(), *input.shape[d + 1 :])
            if input.ndim
            else (index.numel(),)
        )
        if d < source.ndim and source.shape[d] != index.numel():
            raise IndexError(
                f"{name}(): Number of indices ({index.numel()}) should be equal to source.size(dim): ({source.shape[d]}), for dim: {dim}"
            )
        if tuple(source.shape) != tuple(expected):
            raise RuntimeError(
                "source tensor shape must match self tensor shape, excluding the specified dimension. Got "
                f"self.shape = {list(input.shape)} source.shape = {list(source.shape)}"
            )
    if source is not None and source.dtype is not input.dtype:
        raise RuntimeError(
            f"{name}(): self and source expected to have the same dtype, but got {input.dtype} "
            f"and {source.dtype}"
        )
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
    values = source if alpha == 1 else source * np.asarray(alpha).astype(source.dtype)
    accumulate_at(
        np.moveaxis(goal, d, 0),
        places[d:],
        np.moveaxis(values, d, 0) if values.ndim > d else values,
    )


@extern(
    spec=lambda input, dim, index, source, alpha: _slices_spec(
        "index_add", input, dim, index, source
    ),
    saves="index",
    vjp=(
        lambda g, out, input, dim, index, source, alpha: g,
        None,
        None,
        lambda g, out, input, dim, index, source, alpha: (
            ops.reshape(ops.index_select(g, dim, index), source.shape) * alpha
        ),
    ),
    inplace=_index_add_into,
)
def index_add(input, dim, index, source, *, alpha=1):
    """The input with slices of `source` added at `index` along a dimension."""
    if source.dtype != input.dtype or (
        source.ndim and (source.ndim != max(input.ndim, 1) or source.shape[normalize_dim(dim, source.ndim)] != index.size)
    ):
        raise ValueError
    return _copied(_index_add_into)(input, dim, index, source, alpha)


@composite(inplace=True)
def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """Slices of `source` combined into the input at `index` along a dimension: prod, mean, amax or amin."""
    require("index_reduce", "ordered", input.dtype)
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    _slices_spec("index_reduce", input, dim, index, source)
    if not input.ndim:
        lines = (ops.reshape(x, (-1,)) for x in (index, source))
        return ops.reshape(ops.scatter_reduce(ops.reshape(input, (1,)), 0, *lines, reduce, include_self=include_self), ())
    d = normalize_dim(dim, input.ndim)
    line = ops.reshape(index, tuple(-1 if i == d else 1 for i in range(input.ndim)))
    places = ops.convert(ops.expand(line, tuple(source.shape)), dtypes.int64)
    return ops.scatter_reduce(input, dim, places, source, reduce, include_self=include_self)


@composite(method=False)
def unravel_index(indices, shape):
    """The coordinates of places that are counted over a flattened tensor of `shape`: one tensor for each dimension."""
    if indices.dtype.category != dtypes.INTEGER:
        raise ValueError(f"expected 'indices' to be an integer tensor, but got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(not isinstance(n, int) for n in sizes):
        raise ValueError(f"expected 'shape' sequence to contain integers, but got {shape}")
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    indices = ops.convert(indices, dtypes.int64)
    found, step = [], 1
    for n in reversed(sizes):
        found.append(ops.remainder(ops.floor_divide(indices, step), n))
        step = step * n
    return tuple(reversed(found))


def _index_copy_into(target, dim, index, source):
    goal, places = _slices(target, dim, index)
    goal[places] = source


@extern(
    spec=lambda input, dim, index, source: _slices_spec("index_copy", input, dim, index, source),
    saves="index",
    vjp=(
        lambda g, out, input, dim, index, source: ops.index_fill(g, dim, index, 0),
        None,
        None,
        lambda g, out, input, dim, index, source: ops.reshape(
            ops.index_select(g, dim, index), source.shape
        ),
    ),
    inplace=_index_copy_into,
)
def index_copy(input, dim, index, source):
    """The input with slices of `source` written at `index` along a dimension."""
    if source.dtype != input.dtype or (
        source.ndim and source.shape[normalize_dim(dim, source.ndim)] != index.size
    ):
        raise ValueError
    return _copied(_index_copy_into)(input, dim, index, source)


def _index_fill_into(target, dim, index, value):
    goal, places = _slices(target, dim, index)
    goal[places] = value


@extern(
    spec=lambda input, dim, index, value: _slices_spec("index_fill", input, dim, index),
    saves="index",
    vjp=(
        lambda g, out, input, dim, index, value: ops.index_fill(g, dim, index, 0),
        None,
        None,
        lambda g, out, input, dim, index, value: ops.sum(g - ops.index_fill(g, dim, index, 0)),
    ),
    inplace=_index_fill_into,
)
def index_fill(input, dim, index, value):
    """The input with one value at `index` along a dimension."""
    return _copied(_index_fill_into)(input, dim, index, value)


@extern(
    spec=lambda input, src, dim, index: Spec(
        input.shape, input.dtype, input.device, like_strides(input.shape, [input])
    ),
    saves="",
    vjp=(
        lambda g, out, input, src, dim, index: ops.select_scatter(
            g, ops.zeros(src.shape, dtype=g.dtype), dim, index
        ),
        lambda g, out, input, src, dim, index: ops.select(g, dim, index),
    ),
)
def select_scatter(input, src, dim, index):
    """The input with `src` as the slice that `select` takes."""
    d = normalize_dim(dim, input.ndim)
    if not -input.shape[d] <= index < input.shape[d]:
        raise IndexError(
            f"index {index} is out of bounds for dimension {d} with size {input.shape[d]}"
        )
    result = input.copy()
    result[(*(slice(None),) * d, index)] = src
    return result


@extern(
    spec=lambda input, src, dim, start, end, step: Spec(
        input.shape, input.dtype, input.device, like_strides(input.shape, [input])
    ),
    saves="",
    vjp=(
        lambda g, out, input, src, dim, start, end, step: ops.slice_scatter(
            g, ops.zeros(src.shape, dtype=g.dtype), dim, start, end, step
        ),
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


def _take_vjp(g, out, input, index):
    flat = ops.zeros((numel(input.shape),), dtype=g.dtype)
    return ops.reshape(ops.put(flat, index, g, True), input.shape)


@extern(
    spec=lambda input, index: Spec(index.shape, input.dtype, input.device),
    vjp=(_take_vjp, None),
    saves="index",
)
def take(input, index):
    """The elements of the flattened input at `index`."""
    if index.dtype != np.int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    if index.size and (index.max() >= input.size or index.min() < -input.size):
        raise IndexError(
            f"take(): out of range: tried to access index {int(index.max())} on a tensor of "
            f"{input.size} elements."
        )
    return np.take(input, index)


def _put_flat_into(target, index, source, accumulate):
    if index.size and (index.max() >= target.size or index.min() < -target.size):
        raise IndexError(
            f"put_(): out of range: tried to access index {int(index.max())} on a tensor of "
            f"{target.size} elements."
        )
    if not target.ndim:
        target = target.reshape(1)
    places = np.unravel_index(np.where(index < 0, index + target.size, index), target.shape)
    if accumulate:
        np.add.at(target, places, source.reshape(index.shape))
    else:
        target[places] = source.reshape(index.shape)


@extern(
    spec=lambda input, index, source, accumulate: Spec(input.shape, input.dtype, input.device),
    saves="index",
    inplace=_put_flat_into,
    vjp=(
        lambda g, out, input, index, source, accumulate: (
            g if accumulate else ops.put(g, index, ops.zeros(source.shape, dtype=g.dtype), False)
        ),
        None,
        lambda g, out, input, index, source, accumulate: ops.reshape(
            ops.take(g, index), source.shape
        ),
    ),
)
def put(input, index, source, accumulate=False):
    """The input with `source` at places of its flattened form."""
    return _copied(_put_flat_into)(input, index, source, accumulate)


@composite
def take_along_dim(input, indices, dim=None):
    """`gather` with broadcasting; without `dim` over the flattened input. Negative indices count from the end."""
    if indices.dtype is not dtypes.int64:
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype}")
    if dim is None:
        input, indices, dim = ops.reshape(input, (-1,)), ops.reshape(indices, (-1,)), 0
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    d = normalize_dim(dim, input.ndim)
    size = input.shape[d] if input.ndim else 1
    indices = ops.where(indices < 0, indices + size, indices)
    shape = broadcast_shapes(
        *([1 if i == d else n for i, n in enumerate(t.shape)] for t in (input, indices))
    )
    expanded = ops.expand(
        input, tuple(input.shape[d] if i == d else n for i, n in enumerate(shape))
    )
    places = ops.expand(
        indices, tuple(indices.shape[d] if i == d else n for i, n in enumerate(shape))
    )
    return ops.gather(expanded, d, places)
