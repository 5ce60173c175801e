"""Masks: filling, selecting and scattering where a condition holds, and finding the places."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.fake import DataDependent
from eager.op import composite, extern, ops
from eager.shape import broadcast_shapes, like_strides, numel
from eager.spec import Spec
from eager.tensor import Tensor


def _check_mask(name: str, mask: Any) -> None:
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(
            f"{name} only supports boolean masks, but got mask with dtype {mask.dtype}"
        )


def _masked_fill_spec(input, mask, value):
    _check_mask("masked_fill", mask)
    shape = broadcast_shapes(input.shape, mask.shape)
    if hasattr(value, "shape") and value.ndim:
        raise RuntimeError(
            "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    kind = value.dtype if hasattr(value, "dtype") else None
    if (isinstance(value, complex) or kind is not None and kind.is_complex) and not input.dtype.is_complex:
        raise RuntimeError(f"value cannot be converted to type {input.dtype} without overflow")
    full = [t for t in (input, mask) if tuple(t.shape) == tuple(shape)]
    return Spec(shape, input.dtype, input.device, like_strides(shape, full[:1] or [input]))


def _mask_fill_into(target, mask, value):
    if type(value) in (int, float):
        value = dtypes.fitting(value, dtypes.from_numpy(target.dtype))
    if target.shape == mask.shape and type(value) in (int, float):
        np.putmask(target, mask, value)
        return
    np.copyto(target, value, where=mask, casting="unsafe")


_mask_fill_into.sure = lambda target, mask, value: (  # type: ignore[attr-defined]
    target.shape == mask.shape and mask.dtype == np.bool_ and type(value) in (int, float)
    and target.dtype.kind == "f"
)


def _masked_fill_decompose(input, mask, value):
    filler = value if isinstance(value, Tensor) else ops.full((), value, dtype=input.dtype)
    return ops.select_where(
        mask, filler if filler.dtype is input.dtype else ops.convert(filler, input.dtype), input
    )


@extern(
    spec=_masked_fill_spec,
    saves="mask",
    inplace=_mask_fill_into,
    decompose=_masked_fill_decompose,
    vjp=(
        lambda g, out, input, mask, value: ops.masked_fill(g, mask, 0),
        None,
        lambda g, out, input, mask, value: ops.sum(ops.where(mask, g, ops.zeros_like(g))),
    ),
)
def masked_fill(input, mask, value):
    """The input with one value where the mask holds."""
    if mask.dtype != np.bool_ or getattr(value, "ndim", 0) or (np.iscomplexobj(value) and input.dtype.kind != "c"):
        raise ValueError
    if type(value) in (int, float):
        value = dtypes.fitting(value, dtypes.from_numpy(input.dtype))
    if input.shape == mask.shape and type(value) in (int, float):
        result = input.copy(order="K")
        np.putmask(result, mask, value)
        return result
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
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes and "
            f"enough elements in source: {count} wanted, {source.size} given"
        )
    target[where] = source.reshape(-1)[:count]


def _masked_scatter_spec(input, mask, source):
    _check_mask("masked_scatter_", mask)
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    return Spec(broadcast_shapes(input.shape, mask.shape), input.dtype, input.device)


def _masked_scatter_vjp(g, out, needs, input, mask, source):
    to_source = None
    if needs[2]:
        # the k-th place where the mask holds read element k; the places where it does not read one more
        size = numel(source.shape)
        held = ops.reshape(ops.expand(mask, tuple(g.shape)), (-1,))
        element = ops.where(held, ops.cumsum(held, 0) - 1, size)
        total = ops.scatter_add(ops.zeros((size + 1,), dtype=g.dtype), 0, element, ops.reshape(g, (-1,)))
        to_source = ops.reshape(ops.slice(total, 0, 0, size, 1), source.shape)
    return ops.masked_fill(g, mask, 0) if needs[0] else None, None, to_source


@extern(
    spec=_masked_scatter_spec,
    saves="mask",
    vjp=_masked_scatter_vjp,
    joint=True,
    inplace=_masked_scatter_into,
)
def masked_scatter(input, mask, source):
    """The input with the elements of `source`, in order, where the mask holds."""
    if mask.dtype != np.bool_ or source.dtype != input.dtype:
        raise ValueError
    result = np.broadcast_to(input, np.broadcast_shapes(input.shape, mask.shape)).copy()
    _masked_scatter_into(result, mask, source)
    return result


@extern(spec=_data_dependent("nonzero"), method=False, name="nonzero_rows")
def _nonzero_rows(input):
    """The places of the non-zero elements, one row each."""
    return (
        np.argwhere(input != 0 if input.dtype != np.bool_ else input)
        if input.ndim
        else np.zeros((int(bool(input)), 0), np.int64)
    )


@composite
def nonzero(input, *, as_tuple=False):
    """The places of non-zero elements: one row each, or (`as_tuple`) one vector per dimension."""
    rows = ops.nonzero_rows(input)
    if not as_tuple:
        return rows
    if input.ndim == 0:
        return (ops.zeros((rows.shape[0],), dtype=dtypes.int64),)
    return tuple(ops.unbind(rows, 1))


@extern(
    spec=lambda input, size, fill_value: Spec((size, input.ndim), dtypes.int64, input.device),
)
def nonzero_static(input, *, size, fill_value=-1):
    """The first `size` places of non-zero elements, one row each, filled up with `fill_value`."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, but got {size}")
    found = np.argwhere(input != 0)[:size]
    result = np.full((size, input.ndim), fill_value, np.int64)
    result[: len(found)] = found
    return result


@composite
def argwhere(input):
    """`nonzero` as rows."""
    return ops.nonzero(input)


def _within(input: Any, indices: Any) -> tuple:
    """Indices brought into the range of the dimensions that they are for."""
    return tuple(None if i is None else ops.clamp(i, -n, n - 1) for i, n in zip(indices, input.shape))


@composite(method=False)
def _unsafe_masked_index(input, mask, indices, fill):
    """`input[indices]` where the mask holds, `fill` elsewhere; there indices may point outside."""
    if not input.numel():
        return ops.new_full(input, tuple(mask.shape) + tuple(input.shape[len(indices) :]), fill)
    found = ops.index(input, _within(input, indices))
    return ops.masked_fill(found, ~mask, fill)


@composite(method=False)
def _unsafe_masked_index_put_accumulate(input, mask, indices, values):
    """The input with `values` added at `indices` where the mask holds."""
    if not input.numel():
        return ops.clone(input)
    return ops.index_put(input, _within(input, indices), ops.masked_fill(values, ~mask, 0), True)
