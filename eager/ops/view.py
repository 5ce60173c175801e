"""Views: other shapes and strides over the same memory. Each is a map of geometry; NumPy's own view is named where it is quicker."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops, placed, view
from eager.shape import (
    Size,
    broadcast_shapes,
    infer_size,
    normalize_dim,
    normalize_dims,
    numel,
    view_strides,
)
from eager.spec import Spec
from eager.tensor import PLAIN, Tensor


def _sizes(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)


def _transpose(input, dim0, dim1):
    return input.swapaxes(dim0, dim1) if input.ndim else input.view()


@view(run=_transpose, vjp=lambda g, out, input, dim0, dim1: ops.transpose(g, dim0, dim1), saves="")
def transpose(shape, strides, offset, dim0, dim1):
    """Two dimensions exchanged."""
    a, b = normalize_dim(dim0, len(shape)), normalize_dim(dim1, len(shape))
    order = list(range(len(shape)))
    if order:
        order[a], order[b] = order[b], order[a]
    return tuple(shape[i] for i in order), tuple(strides[i] for i in order), offset


@composite
def swapaxes(input, dim0, dim1):
    """`transpose` under NumPy's name."""
    return ops.transpose(input, dim0, dim1)


@composite
def swapdims(input, dim0, dim1):
    """`transpose` under another name."""
    return ops.transpose(input, dim0, dim1)


@composite
def t(input):
    """A matrix transposed; vectors and scalars as they are."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return ops.transpose(input, 0, 1) if input.ndim == 2 else ops.alias(input)


@composite
def adjoint(input):
    """The last two dimensions exchanged, and conjugated if complex."""
    return ops.conj(input.mT) if input.is_complex() else input.mT


def _inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(dims)
    back = [0] * rank
    for i, d in enumerate(dims):
        back[d % rank] = i
    return tuple(back)


@view(
    run=lambda input, dims: input.transpose(dims) if len(dims) == input.ndim else _bad_permutation(input, dims),
    vjp=lambda g, out, input, dims: ops.permute(g, _inverse(tuple(dims))), saves="", method=False,
)
def permute(shape, strides, offset, dims):
    """Dimensions in another order."""
    if len(dims) != len(shape):
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {len(shape)} is not equal to len(dims) = {len(dims)}"
        )
    order = [normalize_dim(d, len(shape)) for d in dims]
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return tuple(shape[d] for d in order), tuple(strides[d] for d in order), offset


def _bad_permutation(input, dims):
    raise ValueError("wrong number of dimensions")


def _move(input, source, destination):
    rank = input.ndim
    src = [normalize_dim(d, rank) for d in _sizes(source)]
    dst = [normalize_dim(d, rank) for d in _sizes(destination)]
    if len(src) != len(dst):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({source} dims) should contain the same number of dims as "
            f"destination ({destination} dims)"
        )
    for what, dims, given in (("source", src, source), ("destination", dst, destination)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{what}` ({given})")
    if not rank:
        return ops.alias(input)
    rest = [d for d in range(rank) if d not in src]
    order: list[int] = [-1] * rank
    for a, b in zip(src, dst, strict=True):
        order[b] = a
    remaining = iter(rest)
    return ops.permute(input, tuple(next(remaining) if o == -1 else o for o in order))


@composite
def movedim(input, source, destination):
    """Dimensions moved to other places, the rest in order."""
    return _move(input, source, destination)


@composite
def moveaxis(input, source, destination):
    """`movedim` under NumPy's name."""
    return _move(input, source, destination)


def _expand_shape(shape, sizes):
    extra = len(sizes) - len(shape)
    if extra < 0:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(sizes)}) must be greater or equal to the "
            f"number of dimensions in the tensor ({len(shape)})"
        )
    result = []
    for i, n in enumerate(sizes):
        have = shape[i - extra] if i >= extra else None
        if n == -1:
            if have is None:
                raise RuntimeError(
                    f"expand: the expanded size of the tensor ({n}) isn't allowed in a leading, non-existing dimension {i}"
                )
            n = have
        elif have is not None and have != 1 and have != n:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton dimension {i}.  "
                f"Target sizes: {list(sizes)}.  Tensor sizes: {list(shape)}"
            )
        result.append(n)
    return tuple(result)


def _expand(input, sizes):
    have, steps = input.shape, input.strides
    extra = len(sizes) - len(have)
    shape = list(sizes)
    strides = [0] * extra
    for i, n in enumerate(have):
        wanted = shape[i + extra] if extra >= 0 else None
        if wanted == n or wanted == -1:
            shape[i + extra] = n
            strides.append(steps[i])
        elif n == 1 and wanted is not None:
            strides.append(0)
        else:
            raise ValueError("sizes do not fit")
    if extra > 0 and min(shape[:extra]) < 0:
        raise ValueError("a new dimension has no size to keep")
    return placed(input, shape, strides)


@view(
    run=_expand,
    vjp=lambda g, out, input, sizes: g,
    saves="",
    method=False,
)
def expand(shape, strides, offset, sizes):
    """Dimensions of size 1 repeated without copying, and new leading dimensions; -1 keeps a size."""
    result = _expand_shape(shape, sizes)
    extra = len(result) - len(shape)
    steps = tuple(
        0 if i < extra or (shape[i - extra] == 1 and n != 1) else strides[i - extra] for i, n in enumerate(result)
    )
    return result, steps, offset


@composite
def expand_as(input, other):
    """`expand` to the shape of another tensor."""
    return ops.expand(input, tuple(other.shape))


@composite
def broadcast_to(input, size):
    """`expand` under NumPy's name."""
    return ops.expand(input, _sizes(size))


@composite(
    method=False,
    front=lambda call, *tensors: call(tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors),
)
def broadcast_tensors(tensors):
    """Tensors expanded to their common shape."""
    shape = broadcast_shapes(*[t.shape for t in tensors])
    return tuple(ops.expand(t, shape) for t in tensors)


def _view_run(input, shape):
    if input.flags.c_contiguous:
        for n in shape:
            if n < -1:
                raise ValueError("invalid shape dimension")
        return input.reshape(shape)
    sizes = infer_size(shape, input.size)
    steps = view_strides(input.shape, tuple(s // input.itemsize for s in input.strides), sizes)
    if steps is None:
        raise ValueError("not viewable")
    return np.lib.stride_tricks.as_strided(input, sizes, tuple(s * input.itemsize for s in steps))


@view(name="view", run=_view_run, vjp=lambda g, out, input, shape: ops.reshape(g, input.shape), saves="", method=False)
def _view(shape, strides, offset, size):
    """Another shape over the same memory. Raises RuntimeError if the strides do not allow it."""
    sizes = infer_size(_sizes(size), numel(shape))
    steps = view_strides(shape, strides, sizes)
    if steps is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return sizes, steps, offset


@composite(method=False)
def reshape(input, shape):
    """Another shape, a view where the strides allow it and a copy elsewhere."""
    if type(input) in PLAIN and input._array.flags.c_contiguous and type(shape) is tuple:
        return _view.straight(input, shape)
    sizes = infer_size(_sizes(shape), input.numel())
    if input._is_packed() or view_strides(input.shape, input.stride(), sizes) is not None:
        return ops.view(input, sizes)
    return ops.view(ops.clone(input, memory_format="torch.contiguous_format"), sizes)


@composite
def reshape_as(input, other):
    """`reshape` to the shape of another tensor."""
    return ops.reshape(input, tuple(other.shape))


@composite
def resolve_conj(input):
    """The tensor itself: conjugates are computed at once here."""
    return input


@composite
def resolve_neg(input):
    """The tensor itself: negatives are computed at once here."""
    return input


@composite
def view_as(input, other):
    """`view` with the shape of another tensor."""
    return ops.view(input, tuple(other.shape))


@composite
def flatten(input, start_dim=0, end_dim=-1):
    """Consecutive dimensions merged into one."""
    if type(input) in PLAIN and end_dim == -1 and input._array.flags.c_contiguous:
        shape = input._array.shape
        if 0 <= start_dim < len(shape) - 1 and input._array.size:
            return _view.straight(input, (*shape[:start_dim], -1))
    if input.ndim == 0:
        return ops.reshape(input, (1,))
    start, end = normalize_dim(start_dim, input.ndim), normalize_dim(end_dim, input.ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end:
        return input
    shape = input.shape
    return ops.reshape(input, (*shape[:start], numel(shape[start : end + 1]), *shape[end + 1 :]))


@composite
def ravel(input):
    """All dimensions merged into one; a copy unless the memory is row-major."""
    return ops.view(ops.contiguous(input), (-1,))


@composite
def unflatten(input, dim, sizes):
    """One dimension split into several."""
    d = normalize_dim(dim, input.ndim)
    inner = infer_size(_sizes(sizes), input.shape[d])
    return ops.view(input, (*input.shape[:d], *inner, *input.shape[d + 1 :]))


_WHOLE = slice(None)
_INSERT = tuple((*(_WHOLE,) * d, None, ...) for d in range(8))


def _unsqueeze(input, dim):
    rank = input.ndim + 1
    if not -rank <= dim < rank or rank > 8:
        return np.expand_dims(input, dim)
    return input[_INSERT[dim if dim >= 0 else dim + rank]]


@view(run=_unsqueeze, vjp=lambda g, out, input, dim: ops.squeeze(g, dim), saves="", inplace=False)
def unsqueeze(shape, strides, offset, dim):
    """A dimension of size 1 inserted."""
    d = normalize_dim(dim, len(shape) + 1)
    step = shape[d] * strides[d] if d < len(shape) else 1
    return (*shape[:d], 1, *shape[d:]), (*strides[:d], step, *strides[d:]), offset


def _squeeze(input, dim):
    if dim is None:
        return input.squeeze()
    if type(dim) is int and -input.ndim <= dim < input.ndim:
        return input.squeeze(dim) if input.shape[dim] == 1 else input.view()
    return input.squeeze(tuple(_squeezed(input.shape, dim)))


def _squeezed(shape, dim):
    dims = range(len(shape)) if dim is None else normalize_dims(dim, len(shape)) if dim != () else ()
    return [d for d in dims if shape[d] == 1]


@view(
    run=_squeeze, saves="",
    vjp=lambda g, out, input, dim: ops.reshape(g, input.shape),
)
def squeeze(shape, strides, offset, dim=None):
    """Dimensions of size 1 removed: all of them, or those named if their size is 1."""
    gone = _squeezed(shape, dim)
    keep = [i for i in range(len(shape)) if i not in gone]
    return tuple(shape[i] for i in keep), tuple(strides[i] for i in keep), offset


def _in_place_view(name: str) -> None:
    def method(self, *args):
        result = getattr(ops, name)(self, *args)
        if self.requires_grad:
            raise RuntimeError(f"{name}_ on a tensor that requires grad is not supported; use {name}")
        self._see(result._array)
        return self

    method.__name__, method.__doc__ = name + "_", f"`{name}` applied to this tensor object itself."
    setattr(Tensor, name + "_", method)


for _name in ("unsqueeze", "squeeze", "transpose", "t", "swapaxes", "swapdims"):
    _in_place_view(_name)


def _index_in(index: int, size: int, dim: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")
    return index + size if index < 0 else index


_PLACES = tuple((_WHOLE,) * d for d in range(8))


def _select_run(input, dim, index):
    rank = input.ndim
    if type(dim) is int and type(index) is int and 0 <= dim < rank <= 8:
        if not -input.shape[dim] <= index < input.shape[dim]:
            raise IndexError
        return input[(*_PLACES[dim], index, ...)]
    d = normalize_dim(dim, rank)
    if rank == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    return input[(*(_WHOLE,) * d, _index_in(int(index), input.shape[d], d), ...)]


@view(run=_select_run, vjp=lambda g, out, input, dim, index: ops.select_backward(g, tuple(input.shape), dim, index), saves="")
def select(shape, strides, offset, dim, index):
    """One slice along a dimension, without that dimension."""
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = normalize_dim(dim, len(shape))
    i = _index_in(index, shape[d], d)
    return (*shape[:d], *shape[d + 1 :]), (*strides[:d], *strides[d + 1 :]), offset + i * strides[d]


def _range(start: Any, end: Any, size: int) -> tuple[int, int]:
    low = 0 if start is None else start
    high = size if end is None else end
    low = max(low + size, 0) if low < 0 else min(low, size)
    high = max(high + size, 0) if high < 0 else min(high, size)
    return low, max(high, low)


def _slice_run(input, dim, start, end, step):
    d = normalize_dim(dim, input.ndim)
    return input[(*(_WHOLE,) * d, slice(*_range(start, end, input.shape[d]), step))]


@view(
    name="slice",
    method=False,
    saves="",
    run=_slice_run,
    vjp=lambda g, out, input, dim, start, end, step: ops.slice_backward(
        g, tuple(input.shape), dim, start, end, step
    ),
)
def _slice(shape, strides, offset, dim=0, start=None, end=None, step=1):
    """`input[start:end:step]` along a dimension."""
    d = normalize_dim(dim, len(shape))
    if step <= 0:
        raise ValueError("step must be greater than zero")
    low, high = _range(start, end, shape[d])
    count = (high - low + step - 1) // step
    return (*shape[:d], count, *shape[d + 1 :]), (*strides[:d], strides[d] * step, *strides[d + 1 :]), offset + low * strides[d]


def _select_backward(g, shape, dim, index):
    result = np.zeros(shape, g.dtype)
    result[(*(slice(None),) * normalize_dim(dim, len(shape)), index)] = g
    return result


@extern(
    spec=lambda g, shape, dim, index: Spec(shape, g.dtype, g.device), method=False, saves="",
    vjp=lambda g, out, grad, shape, dim, index: ops.select(g, dim, index),
)
def select_backward(g, shape, dim, index):
    """Zeros of `shape` with `g` in the place that `select` takes."""
    return _select_backward(g, shape, dim, index)


@extern(
    spec=lambda g, shape, dim, start, end, step: Spec(shape, g.dtype, g.device), method=False, saves="",
    vjp=lambda g, out, grad, shape, dim, start, end, step: ops.slice(g, dim, start, end, step),
)
def slice_backward(g, shape, dim, start, end, step):
    """Zeros of `shape` with `g` in the place that `slice` takes."""
    result = np.zeros(shape, g.dtype)
    d = normalize_dim(dim, len(shape))
    result[(*(slice(None),) * d, slice(*_range(start, end, shape[d]), step))] = g
    return result


@composite
def narrow(input, dim, start, length):
    """`length` elements along a dimension, from `start`."""
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if isinstance(start, Tensor) and (start.ndim or start.dtype.category != dtypes.INTEGER):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    size = input.shape[normalize_dim(dim, input.ndim)]
    begin = int(start) + size if start < 0 else int(start)
    if not -size <= start <= size:
        raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {start})")
    if begin + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return ops.slice(input, dim, begin, begin + length, 1)


def _diagonal_geometry(shape, strides, offset, step, dim1, dim2):
    a, b = normalize_dim(dim1, len(shape)), normalize_dim(dim2, len(shape))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    count = min(shape[a], shape[b] - step) if step >= 0 else min(shape[a] + step, shape[b])
    count = max(count, 0)
    start = offset + (step * strides[b] if step >= 0 else -step * strides[a]) if count else offset
    keep = [i for i in range(len(shape)) if i not in (a, b)]
    return (*[shape[i] for i in keep], count), (*[strides[i] for i in keep], strides[a] + strides[b]), start


@view(
    run=lambda input, step, dim1, dim2: _writable(np.diagonal(input, step, dim1, dim2), input), saves="",
    vjp=lambda g, out, input, step, dim1, dim2: ops.diagonal_backward(g, tuple(input.shape), step, dim1, dim2),
)
def diagonal(shape, strides, start, offset=0, dim1=0, dim2=1):
    """The diagonal of two dimensions, as the last one."""
    return _diagonal_geometry(shape, strides, start, offset, dim1, dim2)


def _writable(result, source):
    return (
        np.lib.stride_tricks.as_strided(
            result, result.shape, result.strides, writeable=source.flags.writeable
        )
        if result.base is None
        else _flagged(result, source)
    )


def _flagged(result, source):
    result.flags.writeable = source.flags.writeable
    return result


@extern(
    spec=lambda g, shape, offset, dim1, dim2: Spec(shape, g.dtype, g.device), method=False, saves="",
    vjp=lambda g, out, grad, shape, offset, dim1, dim2: ops.diagonal(g, offset, dim1, dim2),
)
def diagonal_backward(g, shape, offset, dim1, dim2):
    """Zeros of `shape` with `g` on the diagonal."""
    result = np.zeros(shape, g.dtype)
    place = np.diagonal(result, offset, dim1, dim2)
    place.flags.writeable = True
    place[...] = g
    return result


def _view_method(self: Tensor, *size: Any, **given: Any) -> Tensor:
    """`view(*shape)`: another shape over the same memory; `view(dtype)`: the same bytes as another type."""
    if len(size) > 1 or (size and type(size[0]) is int):
        return _view.straight(self, size)
    size = size or tuple(given.values())
    if len(size) == 1 and isinstance(size[0], dtypes.dtype):
        return ops.view_dtype(self, size[0]) if size[0] is not self.dtype else self
    if len(size) == 1 and isinstance(size[0], (tuple, list, Size)):
        size = tuple(size[0])
    return ops.view(self, size)


Tensor.view = _view_method  # type: ignore[attr-defined]
