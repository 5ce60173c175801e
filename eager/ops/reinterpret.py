"""Views that read the same memory as another type: complex numbers as pairs, their parts, bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import View, composite, ops
from eager.shape import contiguous_strides
from eager.spec import Spec
from eager.tensor import Tensor


class Reinterpretation(View):
    """A view of another type: `kind(dtype, *params)` says which. Strides and offsets are in elements of that type."""

    def __init__(self, function: Any, *, kind: Any, **given: Any):
        super().__init__(function, method=False, **given)
        self.reads_as = kind

    def fake(self, bound: tuple) -> Any:
        result = super().fake(bound)
        result._dtype = self.reads_as(bound[0].dtype, *bound[1:])
        return result

    def spec(self, bound: tuple) -> Spec:
        base = bound[0]
        strides = base.stride() if isinstance(base, Tensor) else base.strides or contiguous_strides(base.shape)
        shape, strides, _ = self.geometry(tuple(base.shape), strides, 0, *bound[1:])
        return Spec(tuple(shape), self.reads_as(base.dtype, *bound[1:]), base.device, tuple(strides))


def _doubled(strides: Any) -> tuple:
    return tuple(2 * s for s in strides)


def _real_kind(dtype: dtypes.dtype) -> dtypes.dtype:
    if not dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return dtype.to_real()


def _as_pairs(input):
    if input.dtype.kind != "c":
        raise ValueError
    parts = input.real
    return np.lib.stride_tricks.as_strided(parts, (*input.shape, 2), (*input.strides, parts.itemsize), writeable=input.flags.writeable)


def _view_as_real(shape, strides, offset):
    """A complex tensor as a real one with a last dimension of 2."""
    return (*shape, 2), (*_doubled(strides), 1), 2 * offset


view_as_real = Reinterpretation(
    _view_as_real, name="view_as_real", kind=_real_kind, run=_as_pairs, saves="", vjp=lambda g, out, input: ops.view_as_complex(g)
)


def _as_complex(input):
    if input.dtype not in (np.float32, np.float64) or not input.ndim or input.shape[-1] != 2:
        raise ValueError
    size = input.itemsize
    if input.strides[-1] != size or any(s % (2 * size) for s, n in zip(input.strides[:-1], input.shape[:-1]) if n > 1):
        raise ValueError
    kind = np.complex128 if input.dtype == np.float64 else np.complex64
    return np.lib.stride_tricks.as_strided(input.view(kind) if input.size else np.empty(input.shape, kind), input.shape[:-1], input.strides[:-1])


def _complex_kind(dtype: dtypes.dtype) -> dtypes.dtype:
    if dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: {dtype}")
    return dtype.to_complex()


def _view_as_complex(shape, strides, offset):
    """A real tensor with a last dimension of 2 as a complex one."""
    if not shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s, n in zip(strides[:-1], shape[:-1]) if n > 1) or offset % 2:
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return shape[:-1], tuple(s // 2 for s in strides[:-1]), offset // 2


view_as_complex = Reinterpretation(
    _view_as_complex, name="view_as_complex", kind=_complex_kind, run=_as_complex, saves="",
    vjp=lambda g, out, input: ops.view_as_real(g),
)


def _part_kind(dtype: dtypes.dtype) -> dtypes.dtype:
    if not dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return dtype.to_real()


def _part(name: str) -> Any:
    def run(input):
        if input.dtype.kind != "c":
            raise ValueError
        return getattr(input, name)

    return run


def _real_part(shape, strides, offset):
    """The real part of complex numbers, as a view."""
    return shape, _doubled(strides), 2 * offset


def _imag(shape, strides, offset):
    """The imaginary part, as a view."""
    return shape, _doubled(strides), 2 * offset + 1


real_part = Reinterpretation(
    _real_part, name="real_part", kind=_part_kind, run=_part("real"), saves="",
    vjp=lambda g, out, input: ops.complex(g, ops.zeros_like(g)),
)
imag = Reinterpretation(
    _imag, name="imag", kind=_part_kind, run=_part("imag"), saves="",
    vjp=lambda g, out, input: ops.complex(ops.zeros_like(g), g),
)


@composite(method=False)
def real(input):
    """The real part, as a view; real tensors are their own."""
    return ops.real_part(input) if input.is_complex() else input


def _bytes_geometry(old: int, new: int, shape: Any, strides: Any, offset: Any) -> tuple:
    if old == new:
        return shape, strides, offset
    if not shape:
        raise RuntimeError(f"self.dim() cannot be 0 to view elements of {old} bytes as elements of {new} bytes")
    if strides[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 to view elements of {old} bytes as elements of {new} bytes")
    if new < old:
        many = old // new
        return (*shape[:-1], shape[-1] * many), (*(s * many for s in strides[:-1]), 1), offset * many
    many = new // old
    if shape[-1] % many or offset % many or any(s % many for s in strides[:-1]):
        raise RuntimeError(f"sizes, strides and the storage offset must be divisible by {many} to view elements of {old} bytes as {new}")
    return (*shape[:-1], shape[-1] // many), (*(s // many for s in strides[:-1]), 1), offset // many


class Bytes(Reinterpretation):
    """A reinterpretation whose geometry depends on the sizes of the types."""

    def _seen(self, array: np.ndarray, bound: tuple) -> np.ndarray:
        kind, size = bound[1], array.itemsize
        found = _bytes_geometry(size, kind.itemsize, array.shape, tuple(s // size for s in array.strides), 0)
        count = max(1, kind.itemsize // size) if array.size else 0  # of elements that make up one of the new type
        flat = np.lib.stride_tricks.as_strided(array, (count,), (size,)).view(kind.numpy)
        steps = tuple(s * kind.itemsize for s in found[1])
        return np.lib.stride_tricks.as_strided(flat, found[0], steps, writeable=array.flags.writeable)

    def _geometry(self, base: Any, strides: Any, offset: Any, kind: Any) -> tuple:
        return _bytes_geometry(base.dtype.itemsize, kind.itemsize, tuple(base.shape), strides, offset)

    def fake(self, bound: tuple) -> Any:
        base, kind = bound
        result = base._fake_alias(*self._geometry(base, base.stride(), base.storage_offset(), kind), self, bound[1:])
        result._dtype = kind
        return result

    def spec(self, bound: tuple) -> Spec:
        base, kind = bound
        strides = base.stride() if isinstance(base, Tensor) else base.strides or contiguous_strides(base.shape)
        shape, strides, _ = self._geometry(base, strides, 0, kind)
        return Spec(shape, kind, base.device, strides)


def _view_dtype(shape, strides, offset, dtype):
    """The same bytes read as another data type."""
    return shape, strides, offset


view_dtype = Bytes(_view_dtype, name="view_dtype", kind=lambda old, dtype: dtype, saves="")
