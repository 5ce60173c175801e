"""Gather and scatter: values read and written along a dimension at places that an index tensor
gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops
from eager.ops.indexing import accumulate_at, as_vector, check_range
from eager.shape import like_strides, normalize_dim
from eager.spec import Spec
from eager.tensor import Tensor


def _gather_spec(input, dim, index, sparse_grad=False):
    d = normalize_dim(dim, input.ndim)
    if index.dtype not in (dtypes.int64, dtypes.int32) and index.numel():
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
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as "
            f"{'input' if name == 'gather' else 'self'} tensor"
        )


def _gather_vjp(g, out, input, dim, index, sparse_grad):
    if not index.numel():
        return ops.zeros(tuple(input.shape), dtype=g.dtype)
    return ops.scatter_add(ops.zeros(tuple(input.shape), dtype=g.dtype), dim, index, g)


def _lines(shape: Sequence[int], index: np.ndarray, dim: int) -> tuple:
    """Index arrays for `array[...]` that vary `index` along `dim` and stay in place elsewhere."""
    places = [
        np.arange(n).reshape((-1,) + (1,) * (index.ndim - i - 1)) for i, n in enumerate(index.shape)
    ]
    places[dim] = index
    return tuple(places)


@extern(spec=_gather_spec, vjp=(_gather_vjp, None, None), saves="index")
def gather(input, dim, index, *, sparse_grad=False):
    """Values along a dimension: `out[i][j] = input[index[i][j]][j]` for dim 0."""
    d = normalize_dim(dim, input.ndim)
    if not index.size:
        return np.zeros(index.shape, input.dtype)
    if index.dtype.kind != "i" or (input.ndim or 1) != (index.ndim or 1):
        raise ValueError
    source, places = (
        (input.reshape(1), as_vector(index)) if input.ndim == 0 else (input, as_vector(index))
    )
    check_range(places, source.shape[d], d, RuntimeError, negative=False)
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
                f"Expected index {list(index.shape)} to be no larger than self "
                f"{list(input.shape)} apart from dimension {d}"
                + ("" if src is None else f" and to be no larger size than src {list(src.shape)}")
            )
    if src is not None and src.dtype is not input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    return d


def _scatter_places(target: np.ndarray, dim: int, index: np.ndarray) -> tuple[np.ndarray, tuple]:
    d = normalize_dim(dim, target.ndim)
    goal, index = target.reshape(1) if target.ndim == 0 else target, as_vector(index)
    check_range(index, goal.shape[d], d, RuntimeError, negative=False)
    return goal, _lines(goal.shape, index, d)


def _part(src: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The part of src that an index of a smaller shape reads."""
    if src.ndim == 0 or src.shape == index.shape:
        return src.reshape(as_vector(index).shape) if src.ndim == 0 and index.size == 1 else src
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
    return _padded(ops.gather(g, dim, index), src, index)


def _padded(found: Any, src: Any, index: Any) -> Any:
    if tuple(src.shape) == tuple(index.shape):
        return found
    pads = [p for n, m in zip(reversed(src.shape), reversed(index.shape)) for p in (0, n - m)]
    return ops.constant_pad_nd(found, tuple(pads), 0)


def _scatter_vjp(g, out, needs, input, dim, index, src):
    zero = ops.scatter_value(g, dim, index, 0) if needs[0] else None
    return zero, None, None, _gathered(g, dim, index, src) if needs[3] else None


@extern(
    spec=_scatter_spec,
    vjp=_scatter_vjp,
    joint=True,
    saves="index",
    inplace=_scatter_into,
    method=False,
)
def scatter_src(input, dim, index, src):
    """The input with values of `src` written along a dimension at `index`."""
    if src.dtype != input.dtype:
        raise ValueError
    return _scattered(_scatter_into)(input, dim, index, src)


def _scatter_value_into(target, dim, index, value):
    goal, places = _scatter_places(target, dim, index)
    goal[places] = value


@extern(
    spec=lambda input, dim, index, value: _scatter_value_spec(input, dim, index),
    saves="index",
    method=False,
    vjp=(
        lambda g, out, input, dim, index, value: ops.scatter_value(g, dim, index, 0),
        None,
        None,
        None,
    ),
    inplace=_scatter_value_into,
)
def scatter_value(input, dim, index, value):
    """The input with one number written along a dimension at `index`."""
    return _scattered(_scatter_value_into)(input, dim, index, value)


def _scatter_value_spec(input, dim, index):
    _scatter_check("scatter", input, dim, index)
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


def _scatter_front(call, input, dim, index, src=None, reduce=None, *, value=None, **out):
    return call(input, dim, index, value if src is None else src, reduce, **out)


_REDUCE = {"add": "sum", "multiply": "prod"}


def _scatter(input, dim, index, src, reduce, suffix=""):
    if reduce is not None:
        if reduce not in _REDUCE:
            raise RuntimeError("reduce argument must be either add or multiply.")
        values = (
            src if isinstance(src, Tensor) else ops.full(tuple(index.shape), src, dtype=input.dtype)
        )
        return getattr(ops, "scatter_reduce" + suffix)(
            input, dim, index, values, _REDUCE[reduce], include_self=True
        )
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
    spec=_scatter_add_spec,
    saves="index",
    inplace=_scatter_add_into,
    vjp=(
        lambda g, out, input, dim, index, src: g,
        None,
        None,
        lambda g, out, input, dim, index, src: _gathered(g, dim, index, src),
    ),
)
def scatter_add(input, dim, index, src):
    """The input with values of `src` added along a dimension at `index`."""
    if src.dtype != input.dtype:
        raise ValueError
    return _scattered(_scatter_add_into)(input, dim, index, src)


_COMBINE = {
    "sum": np.add,
    "mean": np.add,
    "prod": np.multiply,
    "amax": np.maximum,
    "amin": np.minimum,
}


def _neutral(reduce: str, kind: np.dtype) -> Any:
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if kind.kind == "b":
        return reduce == "amin"
    low, high = (-np.inf, np.inf) if kind.kind in "fV" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return low if reduce == "amax" else high


def _scatter_reduce_into(target, dim, index, src, reduce, include_self):
    if target.dtype.itemsize == 2 and target.dtype.kind in "fV":  # rounded once
        wide = target.astype(np.float32)
        _scatter_reduce_into(wide, dim, index, src.astype(np.float32), reduce, include_self)
        target[...] = wide
        return
    goal, places = _scatter_places(target, dim, index)
    values = _part(src, index)
    if not include_self:
        goal[places] = _neutral(reduce, goal.dtype)
    _COMBINE[reduce].at(goal, places, values)
    if reduce == "mean":
        count = np.ones(goal.shape, np.int64) if include_self else np.zeros(goal.shape, np.int64)
        np.add.at(count, places, 1)
        count = np.maximum(count, 1)
        goal[...] = np.floor_divide(goal, count) if goal.dtype.kind in "iub" else (goal / count).astype(goal.dtype)


def _scatter_reduce_spec(input, dim, index, src, reduce, include_self):
    if reduce not in _COMBINE:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
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
    read = _read(src, index)
    if reduce == "prod":
        to_self, to_read = _product_slopes(g, out, input, dim, index, read, include_self)
        return zero_places(to_self), None, None, _padded(to_read, src, index)
    src, given = read, src
    same_self = ops.convert(input == out, g.dtype)
    same_src = ops.convert(src == ops.gather(out, dim, index), g.dtype)
    count = ops.scatter_add(
        same_self if include_self else ops.zeros_like(same_self), dim, index, same_src
    )
    share = g / ops.where(count == 0, ops.ones_like(count), count)
    to_self = same_self * share if include_self else ops.scatter_value(g, dim, index, 0)
    return to_self, None, None, _padded(same_src * ops.gather(share, dim, index), given, index)


def _product_slopes(g, out, input, dim, index, read, include_self):
    """The gradients of the factors of products. A factor that is the only zero has that of the product without it."""
    one = ops.ones((), dtype=g.dtype)
    positive = ops.where(input == 0, one, input)
    without = ops.scatter_reduce(positive, dim, index, read, "prod", include_self=include_self)
    to_self = g * without / positive
    zero = read == 0
    zeros = ops.scatter_add(ops.zeros_like(input), dim, index, ops.convert(zero, g.dtype))
    single = zero & (ops.gather(zeros, dim, index) == 1)
    filled = ops.where(single, one, read)
    rest = ops.scatter_reduce(input, dim, index, filled, "prod", include_self=include_self)
    through = ops.gather(g * rest, dim, index)
    plain = ops.gather(g * out, dim, index) / ops.where(zero, one, read)
    return to_self, ops.where(single, through, plain)


def _read(src: Any, index: Any) -> Any:
    """The part of src that an index of a smaller shape reads."""
    for d, n in enumerate(index.shape):
        src = ops.slice(src, d, 0, n, 1) if src.shape[d] != n else src
    return src


@extern(
    spec=_scatter_reduce_spec,
    vjp=_scatter_reduce_vjp,
    joint=True,
    saves="input index src out",
    inplace=_scatter_reduce_into,
)
def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """Values of `src` combined into the input along a dimension: sum, mean, prod, amax or amin."""
    if reduce not in _COMBINE or src.dtype != input.dtype:
        raise ValueError
    return _scattered(_scatter_reduce_into)(input, dim, index, src, reduce, include_self)
