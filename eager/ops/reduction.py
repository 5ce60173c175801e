"""Reductions: sums, products, extrema, truth, statistics, norms. A derivative sees its gradient
with the reduced dimensions kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.blocks import sums
from eager.op import composite, extern, ops, reduction
from eager.results import named
from eager.shape import normalize_dim, normalize_dims
from eager.spec import Spec
from eager.tensor import Tensor


def _wide(array: np.ndarray) -> np.ndarray:
    """Half precision is summed in float32."""
    return (
        array.astype(np.float32)
        if array.dtype.itemsize == 2 and array.dtype.kind in "fV"
        else array
    )


_GROUP, _TALL = 64, 4096


def _total(array: np.ndarray, axes: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """Sums. NumPy adds one row of the first dimension after the other, which loses digits where
    there are many: their sums in groups come first."""
    tall = array.ndim and 0 in axes and array.ndim - 1 not in axes and array.dtype.kind in "fc"
    if not tall or len(array) <= _TALL:
        return sums(array, axes, keepdim)
    while len(array) > _GROUP:
        whole = len(array) - len(array) % _GROUP
        groups = np.add.reduce(array[:whole].reshape(-1, _GROUP, *array.shape[1:]), axis=1)
        if whole < len(array):
            groups = np.concatenate([groups, np.add.reduce(array[whole:], axis=0, keepdims=True)])
        array = groups
    return sums(array, axes, keepdim)


def _sum(array, axes, keepdim, dtype):
    return _total(_wide(array), axes, keepdim)


@reduction(
    combine="sum",
    promote="sum",
    saves="",
    run=_sum,
    vjp=lambda g, out, input, dim, keepdim, dtype: ops.expand(g, tuple(input.shape)),
)
def sum(s, input, dim=None, keepdim=False, *, dtype=None):
    """The sum; integers and bools sum to int64."""
    return input


def _count(shape: Any, dims: Any) -> Any:
    count = 1
    for d in dims:
        count = count * shape[d]
    return count


def _mean(array, axes, keepdim, dtype):
    count = _count(array.shape, axes)
    if count == 0:
        return np.full(np.add.reduce(array, axis=axes, keepdims=keepdim).shape, np.nan)
    return _total(_wide(array), axes, keepdim) / count


def _mean_vjp(g, out, input, dim, keepdim, dtype):
    count = _count(input.shape, normalize_dims(dim, input.ndim))
    return ops.expand(g / count, tuple(input.shape))


@reduction(
    combine="sum",
    promote="float",
    saves="",
    run=_mean,
    vjp=_mean_vjp,
    finish=lambda s, total, count: total / count,
)
def mean(s, input, dim=None, keepdim=False, *, dtype=None):
    """The arithmetic mean. Raises RuntimeError for integers unless `dtype` is a float."""
    return input


def _prod_others_kernel(input, dim):
    """Products of all other elements along a dimension: prefix products times suffix products."""
    moved = np.moveaxis(input, dim, -1)
    left, right = np.ones_like(moved), np.ones_like(moved)
    if moved.shape[-1] > 1:
        left[..., 1:] = np.cumprod(moved[..., :-1], -1)
        right[..., :-1] = np.cumprod(moved[..., :0:-1], -1)[..., ::-1]
    return np.ascontiguousarray(np.moveaxis(left * right, -1, dim))


def _prod_others_vjp(g, out, input, dim):
    # d out[i] / d input[k] is the product of all but i and k: the same operator over copies in
    # which element i is 1
    d = normalize_dim(dim, input.ndim)
    rows = ops.movedim(input, d, -1)
    size = rows.shape[-1]
    same = ops.eye(size, dtype=dtypes.bool_)
    copies = ops.where(same, ops.ones((), dtype=input.dtype), ops.unsqueeze(rows, -2))
    slopes = ops.where(same, ops.zeros((), dtype=input.dtype), ops.prod_others(copies, -1))
    grads = ops.sum(ops.unsqueeze(ops.movedim(g, d, -1), -1) * ops.conj(slopes), -2)
    return ops.movedim(grads, -1, d)


@extern(
    spec=lambda input, dim: Spec(input.shape, input.dtype, input.device),
    vjp=_prod_others_vjp,
    method=False,
)
def prod_others(input, dim):
    """At each place along a dimension the product of the elements at all other places."""
    return _prod_others_kernel(input, dim)


def _prod_vjp(g, out, input, dim, keepdim, dtype):
    dims = normalize_dims(dim, input.ndim)
    if len(dims) == 1:
        return g * ops.conj(ops.prod_others(input, dims[0]))
    if not dims:
        return g
    rest = [i for i in range(input.ndim) if i not in dims]
    order = (*rest, *dims)
    moved = ops.permute(input, order)
    shape = tuple(moved.shape)
    others = ops.prod_others(
        ops.reshape(moved, (*shape[: len(rest)], _count(input.shape, dims))), -1
    )
    back = [0] * len(order)
    for i, d in enumerate(order):
        back[d] = i
    return g * ops.conj(ops.permute(ops.reshape(others, shape), tuple(back)))


@reduction(
    combine="prod",
    promote="sum",
    saves="input",
    vjp=_prod_vjp,
    run=lambda a, axes, keepdim, dtype: np.multiply.reduce(_wide(a), axis=axes, keepdims=keepdim),
)
def prod(s, input, dim=None, keepdim=False, *, dtype=None):
    """The product; integers and bools multiply to int64."""
    return input


# -- extrema ---------------------------------------------------------------------------------------


def _extremum_vjp(g, out, input, dim, keepdim):
    """Equal extrema share the gradient evenly."""
    chosen = ops.convert(input == out, g.dtype)
    return g * chosen / ops.sum(chosen, normalize_dims(dim, input.ndim), True)


@reduction(combine="max", empty=False, saves="input out", vjp=_extremum_vjp, takes="ordered")
def amax(s, input, dim=None, keepdim=False):
    """The largest value; NaN if there is one."""
    return input


@reduction(combine="min", empty=False, saves="input out", vjp=_extremum_vjp, takes="ordered")
def amin(s, input, dim=None, keepdim=False):
    """The smallest value; NaN if there is one."""
    return input


def _arg(function):
    def run(array, axes, keepdim):
        if array.ndim > 1 and len(axes) == array.ndim:
            result = function(array)
            return np.reshape(result, (1,) * array.ndim) if keepdim else result
        return function(array, axis=axes[0] if axes else None, keepdims=keepdim)

    return run


@reduction(combine="argmax", promote="index", empty=False, run=_arg(np.argmax), takes="ordered")
def argmax(s, input, dim=None, keepdim=False):
    """The index of the first largest value, along a dimension or in the flattened tensor."""
    return input


@reduction(combine="argmin", promote="index", empty=False, run=_arg(np.argmin), takes="ordered")
def argmin(s, input, dim=None, keepdim=False):
    """The index of the first smallest value, along a dimension or in the flattened tensor."""
    return input


def along(input: np.ndarray, dim: int) -> tuple[np.ndarray, int]:
    """The array and the dimension, zero-dimensional arrays taken as one element. Raises IndexError
    for a wrong dimension."""
    d = normalize_dim(dim, input.ndim)
    return (input.reshape(1), 0) if input.ndim == 0 else (input, d)


def reduced_shape(input: Any, dim: int, keepdim: bool) -> tuple:
    d = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return ()
    return tuple(1 if i == d else n for i, n in enumerate(input.shape) if keepdim or i != d)


def pair_spec(input: Any, dim: int, keepdim: bool) -> tuple[Spec, Spec]:
    """The shape rule of operators that give values and their indices along a dimension."""
    shape = reduced_shape(input, dim, keepdim)
    return Spec(shape, input.dtype, input.device), Spec(shape, dtypes.int64, input.device)


def place_gradient(g: Any, indices: Any, input: Any, dim: int, keepdim: bool) -> Any:
    """The gradient of values taken along a dimension at `indices`, sent back to where they came
    from."""
    if input.ndim == 0:
        return g
    if not keepdim:
        g, indices = ops.unsqueeze(g, dim), ops.unsqueeze(indices, dim)
    return ops.scatter_add(ops.zeros(tuple(input.shape), dtype=g.dtype), dim, indices, g)


def pair_vjp(g, out, input, dim, keepdim):
    return None if g[0] is None else place_gradient(g[0], out[1], input, dim, keepdim)


def _arg_pair(function, combine, name):
    def run(input, dim, keepdim):
        array, d = along(input, dim)
        if array.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
        indices = function(array, axis=d, keepdims=keepdim)
        values = combine.reduce(array, axis=d, keepdims=keepdim)
        return np.reshape(values, np.shape(indices) if input.ndim else ()), np.reshape(
            indices, np.shape(indices) if input.ndim else ()
        )

    return run


_max_pair, _min_pair = (
    _arg_pair(np.argmax, np.maximum, "max"),
    _arg_pair(np.argmin, np.minimum, "min"),
)
_Max, _Min = named("max", "values indices"), named("min", "values indices")


@extern(spec=pair_spec, vjp=pair_vjp, saves="out1", method=False, takes="ordered")
def max_dim(input, dim, keepdim=False):
    """The largest values along a dimension and their indices."""
    return _max_pair(input, dim, keepdim)


@extern(spec=pair_spec, vjp=pair_vjp, saves="out1", method=False, takes="ordered")
def min_dim(input, dim, keepdim=False):
    """The smallest values along a dimension and their indices."""
    return _min_pair(input, dim, keepdim)


def _extremum_front(call, *args, **kwargs):
    if "other" in kwargs:
        kwargs["dim"] = kwargs.pop("other")
    return call(*args, **kwargs)


def _whole(name: str, input: Any) -> None:
    if input.numel() == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument."
        )


@composite(front=_extremum_front)
def max(input, dim=None, keepdim=False):
    """The largest value; along a dimension, values and indices; of two tensors, `maximum`."""
    if not isinstance(input, Tensor):
        raise TypeError(f"max(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    if dim is None:
        _whole("max", input)
        return ops.amax(input)
    return (
        ops.maximum(input, dim)
        if isinstance(dim, Tensor)
        else _Max(*ops.max_dim(input, dim, keepdim))
    )


@composite(front=_extremum_front)
def min(input, dim=None, keepdim=False):
    """The smallest value; along a dimension, values and indices; of two tensors, `minimum`."""
    if not isinstance(input, Tensor):
        raise TypeError(f"min(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    if dim is None:
        _whole("min", input)
        return ops.amin(input)
    return (
        ops.minimum(input, dim)
        if isinstance(dim, Tensor)
        else _Min(*ops.min_dim(input, dim, keepdim))
    )


_Aminmax = named("aminmax", "min max")


@composite
def aminmax(input, *, dim=None, keepdim=False):
    """The smallest and the largest value."""
    if dim is not None and input.ndim and input.shape[normalize_dim(dim, input.ndim)] == 0:
        raise IndexError(f"aminmax: Expected reduction dim {dim} to have non-zero size.")
    if input.numel() == 0 and dim is None:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    return _Aminmax(ops.amin(input, dim, keepdim), ops.amax(input, dim, keepdim))


# -- truth -----------------------------------------------------------------------------------------


def _truth(function):
    def run(array, axes, keepdim):
        return function(
            array if array.dtype == np.bool_ else array != 0, axis=axes, keepdims=keepdim
        )

    return run


@reduction(combine="any", promote="bool", run=_truth(np.logical_or.reduce))
def any(s, input, dim=None, keepdim=False):
    """Whether any element is non-zero."""
    return s.ne(input, 0)


@reduction(combine="all", promote="bool", run=_truth(np.logical_and.reduce))
def all(s, input, dim=None, keepdim=False):
    """Whether all elements are non-zero."""
    return s.ne(input, 0)


@composite
def count_nonzero(input, dim=None):
    """How many elements are not zero."""
    return ops.sum(input != 0, dim)


# -- statistics ------------------------------------------------------------------------------------


def _spread_front(call, input, *args, **kwargs):
    """The forms `(input, unbiased)`, `(input, dim, unbiased, keepdim)`, `(input, dim, *,
    correction, keepdim)`."""
    if args and isinstance(args[0], bool) or "unbiased" in kwargs and not args:
        given: Any = kwargs.pop("unbiased", None)
        kwargs["correction"] = float(args[0] if given is None else given)
        args = ()
    elif len(args) > 1 or "unbiased" in kwargs:
        given = args[1] if len(args) > 1 else kwargs.pop("unbiased")
        kwargs["correction"] = float(given)
        if len(args) > 2:
            kwargs["keepdim"] = args[2]
        args = args[:1]
    dim = kwargs.pop("dim", args[0] if args else None)
    correction, keepdim = kwargs.pop("correction", 1), kwargs.pop("keepdim", False)
    if kwargs and "out" not in kwargs:
        raise TypeError(f"got an unexpected keyword argument {next(iter(kwargs))!r}")
    return call(input, dim, 1 if correction is None else correction, keepdim, **kwargs)


def _spread_spec(input, dim, correction, keepdim):
    if input.dtype.category < dtypes.FLOATING:
        raise RuntimeError(
            f"std and var only support floating point and complex dtypes, got {input.dtype}"
        )
    dims = normalize_dims(dim, input.ndim)
    shape = tuple(
        1 if i in dims else n for i, n in enumerate(input.shape) if keepdim or i not in dims
    )
    return Spec(shape, input.dtype.to_real(), input.device)


def _variance(input, dim, correction, keepdim, with_mean=False):
    if input.dtype.kind in "iub":
        raise ValueError
    axes = normalize_dims(dim, input.ndim)
    wide, count = _wide(input), _count(input.shape, axes)
    center = np.add.reduce(wide, axis=axes, keepdims=True) / (count or np.nan)
    apart = wide - center
    squares = (
        (apart * apart.conj()).real if apart.dtype.kind == "c" else np.square(apart, out=apart)
    )
    left = count - correction if count - correction > 0 else 0
    total = np.add.reduce(squares, axis=axes, keepdims=keepdim)
    variance = total / wide.real.dtype.type(left)
    kind = input.real.dtype if input.dtype.kind == "c" else input.dtype
    variance = np.asarray(variance).astype(kind, copy=False)
    if not with_mean:
        return variance
    return variance, np.asarray(center if keepdim else center.squeeze(axes)).astype(
        input.dtype, copy=False
    )


def _kept(g: Any, input: Any, dim: Any, keepdim: bool) -> Any:
    if keepdim:
        return g
    dims = normalize_dims(dim, input.ndim)
    return ops.reshape(g, tuple(1 if i in dims else n for i, n in enumerate(input.shape)))


def _variance_vjp(g, input, dim, correction, keepdim):
    dims = normalize_dims(dim, input.ndim)
    left = _count(input.shape, dims) - correction
    scale = 2.0 / left if left > 0 else float("nan")
    return _kept(g, input, dim, keepdim) * (input - ops.mean(input, dims, True)) * scale


def _mean_part(g, input, dim, keepdim):
    dims = normalize_dims(dim, input.ndim)
    return ops.expand(_kept(g, input, dim, keepdim) / _count(input.shape, dims), tuple(input.shape))


def _var_decompose(input, dim=None, correction=1, keepdim=False):
    dims = normalize_dims(dim, input.ndim)
    apart = input - ops.mean(input, dims, True)
    left = _count(input.shape, dims) - correction
    return ops.sum(apart * apart, dims, keepdim) / (left if left > 0 else 0.0)


@extern(
    spec=_spread_spec,
    front=_spread_front,
    decompose=_var_decompose,
    saves="input",
    vjp=lambda g, out, input, dim, correction, keepdim: _variance_vjp(
        g, input, dim, correction, keepdim
    ),
)
def var(input, dim=None, correction=1, keepdim=False):
    """The variance: squared distances from the mean over (count - correction)."""
    return _variance(input, dim, correction, keepdim)


def _std_vjp(g, out, input, dim, correction, keepdim):
    half = g / (out * 2)
    return _variance_vjp(
        ops.where(out == 0, ops.zeros_like(half), half), input, dim, correction, keepdim
    )


@extern(
    spec=_spread_spec,
    front=_spread_front,
    saves="input out",
    vjp=_std_vjp,
    decompose=lambda input, dim=None, correction=1, keepdim=False: ops.sqrt(
        _var_decompose(input, dim, correction, keepdim)
    ),
)
def std(input, dim=None, correction=1, keepdim=False):
    """The standard deviation: the square root of `var`."""
    return np.sqrt(_variance(input, dim, correction, keepdim))


def _var_mean_spec(input, dim, correction, keepdim):
    found = _spread_spec(input, dim, correction, keepdim)
    return found, Spec(found.shape, input.dtype, input.device)


def _var_mean_vjp(g, out, input, dim, correction, keepdim):
    first = None if g[0] is None else _variance_vjp(g[0], input, dim, correction, keepdim)
    second = None if g[1] is None else _mean_part(g[1], input, dim, keepdim)
    return second if first is None else first if second is None else first + second


def _var_mean_decompose(input, dim=None, correction=1, keepdim=False):
    dims = normalize_dims(dim, input.ndim)
    center = ops.mean(input, dims, True)
    apart = input - center
    left = _count(input.shape, dims) - correction
    variance = ops.sum(apart * apart, dims, keepdim) / (left if left > 0 else 0.0)
    return variance, center if keepdim else ops.reshape(center, tuple(variance.shape))


@extern(
    spec=_var_mean_spec,
    front=_spread_front,
    decompose=_var_mean_decompose,
    saves="input",
    vjp=_var_mean_vjp,
    method=False,
)
def var_mean(input, dim=None, correction=1, keepdim=False):
    """Variance and mean in one."""
    return _variance(input, dim, correction, keepdim, True)


@composite(method=False, front=_spread_front)
def std_mean(input, dim=None, correction=1, keepdim=False):
    """Standard deviation and mean."""
    variance, center = ops.var_mean(input, dim, correction=correction, keepdim=keepdim)
    return ops.std(input, dim, correction=correction, keepdim=keepdim), center


@composite
def nansum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum, NaN counted as 0."""
    clean = (
        input
        if input.dtype.category < dtypes.FLOATING
        else ops.where(ops.isnan(input), ops.zeros_like(input), input)
    )
    return ops.sum(clean, dim, keepdim, dtype=dtype)


@composite
def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean of the elements that are not NaN."""
    count = ops.sum(~ops.isnan(input), dim, keepdim)
    return ops.nansum(input, dim, keepdim, dtype=dtype) / count


# -- norms -----------------------------------------------------------------------------------------


@composite
def logsumexp(input, dim, keepdim=False):
    """`log(sum(exp(input)))` without overflow."""
    if input.dtype.category < dtypes.FLOATING:
        input = ops.convert(input, dtypes.get_default_dtype())
    top = ops.detach(ops.amax(ops.real(input), dim, True))
    top = ops.where(ops.isinf(top), ops.zeros_like(top), top)
    total = ops.log(ops.sum(ops.exp(input - top), dim, True)) + top
    if keepdim:
        return total
    dims = normalize_dims(dim, input.ndim)
    return ops.reshape(total, tuple(n for i, n in enumerate(total.shape) if i not in dims))


def _norm_two_vjp(g, out, input, dim, keepdim):
    # at the origin the subgradient 0
    slope = input / ops.where(out == 0, ops.ones_like(out), out)
    return g * slope


def _norm_two(array, axes, keepdim):
    wide = _wide(array)
    squares = (
        np.square(wide.real) + np.square(wide.imag) if wide.dtype.kind == "c" else np.square(wide)
    )
    return np.sqrt(np.add.reduce(squares, axis=axes, keepdims=keepdim))


@reduction(
    combine="sum",
    promote="float",
    saves="input out",
    vjp=_norm_two_vjp,
    run=_norm_two,
    method=False,
    finish=lambda s, total, count: s.sqrt(total),
)
def euclidean_norm(s, input, dim=None, keepdim=False):
    """The square root of the sum of squares."""
    return input * input


@composite(method=False)
def linalg_vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """The `ord`-norm of the elements along dimensions (all of them if None)."""
    if dtype is not None:
        x = ops.convert(x, dtype)
    if x.dtype.category < dtypes.FLOATING:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{x.dtype}"
        )
    if x.dtype.itemsize == 2:  # powers of halves leave their range
        found = ops.linalg_vector_norm(ops.convert(x, dtypes.float32), ord, dim, keepdim)
        return ops.convert(found, x.dtype)
    if x.is_complex():
        x = ops.abs(x)
    if ord == 2:
        return ops.euclidean_norm(x, dim, keepdim)
    size = ops.abs(x)
    if ord == float("inf"):
        return ops.amax(size, dim, keepdim)
    if ord == -float("inf"):
        return ops.amin(size, dim, keepdim)
    if ord == 0:
        return ops.sum(ops.copy(x, x != 0), dim, keepdim)  # flat, but with a gradient
    if ord == 1:
        return ops.sum(size, dim, keepdim)
    # at zero the subgradient 0: zeros are kept away from the powers
    zero = size == 0
    powers = ops.pow(ops.where(zero, ops.ones((), dtype=size.dtype), size), ord)
    total = ops.sum(ops.where(zero, 0.0 if ord > 0 else float("inf"), powers), dim, keepdim)
    nothing = total == 0
    root = ops.pow(ops.where(nothing, ops.ones((), dtype=size.dtype), total), 1 / ord)
    return ops.where(nothing, 0.0 if ord > 0 else float("inf"), root)


@composite
def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """The p-norm of the elements (`"fro"`: 2); `"nuc"` the sum of singular values."""
    if p == "nuc":
        return ops.sum(ops.linalg_svdvals(input), -1, keepdim)
    return ops.linalg_vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


@composite
def dist(input, other, p=2):
    """The p-norm of the difference."""
    return ops.linalg_vector_norm(input - other, p)


@composite(inplace=True)
def renorm(input, p, dim, maxnorm):
    """Slices along a dimension scaled down to a p-norm of at most `maxnorm`."""
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    if p <= 0:
        raise RuntimeError("renorm: non-positive norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    others = tuple(i for i in range(input.ndim) if i != normalize_dim(dim, input.ndim))
    size = ops.linalg_vector_norm(input, p, others, True)
    return input * ops.where(size > maxnorm, maxnorm / (size + 1e-7), ops.ones_like(size))
