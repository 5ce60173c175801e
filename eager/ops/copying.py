"""Operators that move values without computing: conversion, clone, detach, copy, fill."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import Extern, Pointwise, composite, extern, ops, pointwise, view
from eager.shape import broadcast_shapes
from eager.spec import Spec
from eager.tensor import PLAIN, Tensor


def _convert(input, dtype):
    if input.dtype.kind == "c" and dtype.category < dtypes.COMPLEX:
        input = input.real
    return input.astype(dtype.numpy)


class Convert(Pointwise):
    """Conversion promotes nothing."""

    def compute(self, bound):
        return Tensor._wrap(_convert(bound[0]._array, bound[1]))


def _converted(s, input, dtype):
    """The values in another data type, always a new tensor."""
    return s.cast(input, dtype)


convert = Convert(
    _converted, name="convert", operands="input", result=lambda input, dtype: dtype, saves="", run=_convert, inplace=False, method=False,
    vjp=lambda g, out, input, dtype: ops.convert(g, input.dtype),
)



def _clone(input, memory_format):
    if memory_format is None:
        return input.copy(order="K")
    if memory_format is not None and "channels_last" in str(memory_format) and input.ndim in (4, 5):
        order = (0, *range(2, input.ndim), 1)
        back = np.argsort(order)
        return np.ascontiguousarray(input.transpose(order)).transpose(back)
    contiguous = "contiguous" in str(memory_format)
    return input.copy(order="C" if contiguous else "K")


def _clone_strides(input, memory_format):
    from eager.shape import channels_last_strides, like_strides

    text = str(memory_format)
    if memory_format is not None and "channels_last" in text:
        strides = channels_last_strides(input.shape)
    elif memory_format is not None and "contiguous" in text:
        strides = None
    else:
        strides = like_strides(input.shape, [input])
    return Spec(input.shape, input.dtype, input.device, strides)


@extern(
    spec=_clone_strides, vjp=lambda g, out, input, memory_format: g, saves="",
)
def clone(input, *, memory_format=None):
    """A copy with the same strides (or in `memory_format`)."""
    return _clone(input, memory_format)


@composite
def contiguous(input, memory_format=None):
    """The tensor itself if its memory is row-major, else such a copy."""
    if memory_format is None and type(input) in PLAIN:
        if input._array.flags.c_contiguous:
            return input
        return clone.straight(input, "torch.contiguous_format")
    if input.is_contiguous(memory_format):
        return input
    return ops.clone(input, memory_format=memory_format or "torch.contiguous_format")


@view(name="alias", run=lambda input: input.view(), vjp=lambda g, out, input: g, saves="", method=False)
def alias(shape, strides, offset):
    """Another tensor over the same memory."""
    return shape, strides, offset


class Detach(Extern):
    """A view that autograd does not follow: it shares the storage and has no base."""

    def compute(self, bound):
        return bound[0]._shallow()

    fake = compute


def _detach(input):
    """A tensor over the same memory, cut off from the gradient graph."""
    return input


detach = Detach(_detach, name="detach", spec=Spec.of, saves="", method=False)


def _overwritten(input, values):
    return np.array(np.broadcast_to(values, np.broadcast_shapes(input.shape, values.shape)))


@pointwise(vjp=(lambda g, out, input, values: g, None), saves="", promote="keep", method=False,
           inplace=False, run=_overwritten)
def overwrite(s, input, values):
    """The numbers of `values` with the gradient history of `input`: what a tensor is after a write
    that autograd did not see."""
    return values


def _copy_spec(input, src, non_blocking):
    broadcast_shapes(input.shape, src.shape)
    if broadcast_shapes(input.shape, src.shape) != tuple(input.shape):
        raise RuntimeError(
            f"The expanded size of the tensor ({list(input.shape)}) must match the existing size ({list(src.shape)})"
        )
    return Spec(input.shape, input.dtype, input.device, input.stride())


def _copy_decompose(input, src, non_blocking=False):
    value = src if src.dtype is input.dtype else ops.convert(src, input.dtype)
    return value if tuple(value.shape) == tuple(input.shape) else ops.clone(ops.expand(value, tuple(input.shape)))


def _copy_into(target, src, non_blocking):
    np.copyto(target, src.real if src.dtype.kind == "c" and target.dtype.kind != "c" else src, casting="unsafe")


_copy_into.sure = lambda target, src, *rest: (  # type: ignore[attr-defined]
    target.shape == src.shape and target.dtype.kind != "V" and src.dtype.kind in "fiub"
)


@extern(
    spec=_copy_spec, decompose=_copy_decompose, method=False, inplace=_copy_into, saves="",
    vjp=(lambda g, out, input, src, non_blocking: ops.zeros_like(g), lambda g, out, input, src, non_blocking: g),
)
def copy(input, src, non_blocking=False):
    """`src` broadcast to the shape and converted to the type of `input`."""
    result = np.empty_like(input)
    _copy_into(result, src, non_blocking)
    return result


def _fill_into(target, value):
    target[...] = _held(value, target)


def _held(value: Any, target: np.ndarray) -> Any:
    """A number that the target's type can hold, or that becomes infinite in half precision; what is no number as it is."""
    if type(value) not in (int, float) or target.dtype.itemsize == 2 and target.dtype.kind in "fV":
        return value
    return dtypes.fitting(value, dtypes.from_numpy(target.dtype))


def _fill_spec(input, value):
    if hasattr(value, "shape") and value.ndim:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.")
    return Spec(input.shape, input.dtype, input.device, input.stride())


@extern(
    spec=_fill_spec,
    saves="",
    inplace=_fill_into,
    decompose=lambda input, value: (
        ops.full_like(input, value)
        if not isinstance(value, Tensor)
        else ops.clone(ops.expand(ops.convert(value, input.dtype), tuple(input.shape)))
    ),
    vjp=(lambda g, out, input, value: ops.zeros_like(g), lambda g, out, input, value: ops.sum(g)),
)
def fill(input, value):
    """A tensor like `input` with one value."""
    return np.full_like(input, _held(value, input))


@composite(inplace=True, method=False)
def zero(input):
    """Zeros like `input` (for `zero_`)."""
    return ops.zeros_like(input)


def _zero_(self):
    return ops.fill_(self, 0)


Tensor.zero_ = _zero_  # type: ignore[attr-defined]
