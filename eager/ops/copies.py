"""Views as copies (`NAME_copy`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eager import dtype as dtypes
from eager.op import composite, ops
from eager.shape import Size


def _packed(view: Any) -> Any:
    return ops.clone(view, memory_format="torch.contiguous_format")


def _copy(name: str, function: Callable) -> Any:
    """An operator whose result is a copy of what a view shows, or of what several views show."""
    function.__doc__ = f"`{name}` as a copy."
    return composite(function, name=name + "_copy", method=False)


def _all(views: Any) -> tuple:
    return tuple(_packed(v) for v in views)


_copy("alias", lambda input: ops.clone(input))
_copy("detach", lambda input: ops.clone(ops.detach(input)))
_copy("transpose", lambda input, dim0, dim1: _packed(ops.transpose(input, dim0, dim1)))
_copy("t", lambda input: _packed(ops.t(input)))
_copy("permute", lambda input, dims: _packed(ops.permute(input, tuple(dims))))
_copy("expand", lambda input, size, *, implicit=False: _packed(ops.expand(input, tuple(size))))
_copy("unsqueeze", lambda input, dim: _packed(ops.unsqueeze(input, dim)))
_copy("squeeze", lambda input, dim=None: _packed(ops.squeeze(input, dim)))
_copy("select", lambda input, dim, index: _packed(ops.select(input, dim, index)))
_copy("slice", lambda input, dim=0, start=None, end=None, step=1: _packed(ops.slice(input, dim, start, end, step)))
_copy("diagonal", lambda input, offset=0, dim1=0, dim2=1: _packed(ops.diagonal(input, offset, dim1, dim2)))
_copy("unfold", lambda input, dimension, size, step: _packed(ops.unfold(input, dimension, size, step)))
_copy("as_strided", lambda input, size, stride, storage_offset=None: _packed(ops.as_strided(input, size, stride, storage_offset)))
_copy("view_as_real", lambda input: _packed(ops.view_as_real(input)))
_copy("view_as_complex", lambda input: _packed(ops.view_as_complex(input)))
_copy("unbind", lambda input, dim=0: _all(ops.unbind(input, dim)))
_copy("split", lambda input, split_size, dim=0: _all(ops.split(input, split_size, dim)))
_copy("split_with_sizes", lambda input, split_sizes, dim=0: _all(ops.split(input, tuple(split_sizes), dim)))


@composite
def narrow_copy(input, dim, start, length):
    """`narrow` as a copy."""
    if dim >= input.ndim:
        raise RuntimeError(f"narrow_copy(): dimension {dim} is out of range for a tensor of {input.ndim} dimensions")
    return _packed(ops.narrow(input, dim, start, length))


@composite(method=False)
def view_copy(input, size):
    """`view` as a copy."""
    if isinstance(size, dtypes.dtype):
        return _packed(ops.view_dtype(input, size))
    return _packed(ops.view(input, tuple(size) if isinstance(size, (tuple, list, Size)) else (size,)))

