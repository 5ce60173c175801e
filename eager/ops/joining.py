"""Joining, repeating and reordering tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops
from eager.shape import like_strides, normalize_dim, normalize_dims
from eager.spec import Spec
from eager.tensor import Tensor


def _common(found: Any) -> dtypes.dtype:
    result = found[0]
    for other in found[1:]:
        if other is not result:
            result = dtypes.promote(result, other)
    return result


def _is_skipped(tensor: Any) -> bool:
    """PyTorch lets an empty vector join anything."""
    return tensor.ndim == 1 and tensor.shape[0] == 0


def _cat_spec(tensors, dim=0):
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for place, tensor in enumerate(tensors):
        if not hasattr(tensor, "ndim"):
            raise TypeError(f"expected Tensor as element {place} in argument 0, but got {type(tensor).__name__}")
        if tensor.ndim == 0:
            raise RuntimeError(
                f"zero-dimensional tensor (at position {place}) cannot be concatenated"
            )
    kind = _common([t.dtype for t in tensors])
    real = [t for t in tensors if not _is_skipped(t)] or list(tensors[:1])
    first = real[0]
    d = normalize_dim(dim, first.ndim)
    total = 0
    for place, tensor in enumerate(real):
        if tensor.ndim != first.ndim:
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {first.ndim} and {tensor.ndim}"
            )
        for i, (n, m) in enumerate(zip(first.shape, tensor.shape)):
            if i != d and n != m:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {n} but "
                    f"got size {m} for tensor number {place} in the list."
                )
        total = total + tensor.shape[d]
    shape = (*first.shape[:d], total, *first.shape[d + 1 :])
    return Spec(shape, kind, first.device, like_strides(shape, real))


def _cat_vjp(g, out, tensors, dim):
    grads, start = [], 0
    real = [t for t in tensors if not _is_skipped(t)] or tensors[:1]
    d = normalize_dim(dim, real[0].ndim)
    for tensor in tensors:
        if _is_skipped(tensor):
            grads.append(ops.zeros((0,), dtype=tensor.dtype))
            continue
        size = tensor.shape[d]
        grads.append(ops.slice(g, d, start, start + size, 1))
        start = start + size
    return grads


def _cat_front(call, tensors, dim=0, *, out=None):
    if type(tensors) is list and out is None:
        return call(tensors, dim)
    if isinstance(tensors, Tensor):
        raise TypeError("cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    given = list(tensors) if not isinstance(tensors, (list, tuple)) else tensors
    return call(given, dim, out=out) if out is not None else call(given, dim)


def _cat(tensors: Any, dim: int) -> np.ndarray:
    try:
        if not tensors or 0 in [t.ndim for t in tensors]:
            raise ValueError
    except AttributeError:  # not a tensor: the shape rule says which
        raise ValueError from None
    kind, rank = tensors[0].dtype, tensors[0].ndim
    if rank > 1 and -rank <= dim < rank and all([t.dtype is kind for t in tensors]):
        return np.concatenate(tensors, dim)
    real = [t for t in tensors if not (t.ndim == 1 and t.shape[0] == 0)] or list(tensors[:1])
    for tensor in tensors:
        if tensor.dtype != kind:
            kind = _common([dtypes.from_numpy(t.dtype) for t in tensors]).numpy
            real = [t.astype(kind) for t in real]
            break
    return np.concatenate(real, normalize_dim(dim, real[0].ndim))


@extern(spec=_cat_spec, vjp=_cat_vjp, saves="", method=False, front=_cat_front)
def cat(tensors, dim=0):
    """Tensors joined along a dimension."""
    return _cat(tensors, dim)


@composite(method=False)
def concat(tensors, dim=0):
    """`cat` under NumPy's name."""
    return ops.cat(tensors, dim)


@composite(method=False)
def concatenate(tensors, dim=0):
    """`cat` under NumPy's name."""
    return ops.cat(tensors, dim)


def _stack_spec(tensors, dim=0):
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = tensors[0]
    for place, tensor in enumerate(tensors):
        if tuple(tensor.shape) != tuple(first.shape):
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first.shape)} at "
                f"entry 0 and {list(tensor.shape)} at entry {place}"
            )
    d = normalize_dim(dim, first.ndim + 1)
    return Spec(
        (*first.shape[:d], len(tensors), *first.shape[d:]),
        _common([t.dtype for t in tensors]),
        first.device,
    )


@extern(
    spec=_stack_spec,
    saves="",
    method=False,
    vjp=lambda g, out, tensors, dim: list(ops.unbind(g, dim)),
    decompose=lambda tensors, dim=0: ops.cat(
        [ops.unsqueeze(t, normalize_dim(dim, tensors[0].ndim + 1)) for t in tensors],
        normalize_dim(dim, tensors[0].ndim + 1),
    ),
    front=lambda call, tensors, dim=0, **given: call(
        tensors if isinstance(tensors, (list, tuple)) else list(tensors), dim, **given
    ),
)
def stack(tensors, dim=0):
    """Tensors of one shape joined along a new dimension."""
    if not tensors:
        raise ValueError
    kinds = {t.dtype for t in tensors}
    if len(kinds) > 1:
        kind = _common([dtypes.from_numpy(t.dtype) for t in tensors]).numpy
        tensors = [t.astype(kind) for t in tensors]
    d = normalize_dim(dim, tensors[0].ndim + 1)
    return np.ascontiguousarray(np.stack(tensors, d))


def _at_least(rank: int) -> Any:
    """`atleast_NAMEd`: of one tensor a tensor, of several or a sequence of them a tuple."""

    def front(call: Any, *tensors: Any) -> Any:
        if len(tensors) == 1:
            one = isinstance(tensors[0], Tensor)
            return call((tensors[0],))[0] if one else call(tuple(tensors[0]))
        return call(tensors)

    def raised(tensors):
        return tuple(_raised(t, rank) for t in tensors)

    raised.__doc__ = f"Tensors with at least {rank} dimension{'s' if rank > 1 else ''}."
    return composite(raised, name=f"atleast_{rank}d", method=False, front=front)


def _not_empty(name: str, tensors: Any) -> None:
    if not len(tensors):
        raise RuntimeError(f"{name} expects a non-empty TensorList")


def _raised(tensor: Any, rank: int) -> Any:
    if tensor.ndim >= rank:
        return tensor
    if rank == 1:
        return ops.reshape(tensor, (1,))
    if rank == 2:
        return ops.reshape(tensor, (1, tensor.numel()))
    return ops.unsqueeze(_raised(tensor, 2) if tensor.ndim < 2 else tensor, -1)


atleast_1d, atleast_2d, atleast_3d = (_at_least(n) for n in (1, 2, 3))


@composite(method=False)
def hstack(tensors):
    """Tensors joined along the second dimension (vectors along the first)."""
    _not_empty("hstack", tensors)
    raised = [_raised(t, 1) for t in tensors]
    return ops.cat(raised, 0 if raised[0].ndim == 1 else 1)


@composite(method=False)
def vstack(tensors):
    """Tensors joined along the first dimension, vectors as rows."""
    _not_empty("vstack", tensors)
    return ops.cat([_raised(t, 2) for t in tensors], 0)


@composite(method=False)
def row_stack(tensors):
    """`vstack` under another name."""
    return ops.vstack(tensors)


@composite(method=False)
def dstack(tensors):
    """Tensors joined along the third dimension."""
    _not_empty("dstack", tensors)
    return ops.cat([_raised(t, 3) for t in tensors], 2)


@composite(method=False)
def column_stack(tensors):
    """Tensors joined along the second dimension, vectors as columns."""
    _not_empty("column_stack", tensors)
    return ops.cat([ops.reshape(t, (t.numel(), 1)) if t.ndim < 2 else t for t in tensors], 1)


@composite(
    method=False,
    front=lambda call, *tensors: call(
        tensors[0] if isinstance(tensors[0], (list, tuple)) else tensors
    ),
)
def block_diag(tensors):
    """Matrices along the diagonal of one large matrix of zeros."""
    raised = [_raised(t, 2) for t in tensors]
    width, rows, start = 0, [], 0
    for t in raised:
        width = width + t.shape[1]
    for t in raised:
        n, m = t.shape
        parts = [
            ops.zeros((n, start), dtype=t.dtype),
            t,
            ops.zeros((n, width - start - m), dtype=t.dtype),
        ]
        rows.append(ops.cat(parts, 1))
        start = start + m
    return ops.cat(rows, 0)


@composite(method=False, front=lambda call, *tensors: call(tensors))
def cartesian_prod(tensors):
    """All combinations of elements of vectors, one per row."""
    if len(tensors) == 1:
        return tensors[0]
    return ops.stack([ops.reshape(g, (-1,)) for g in ops.meshgrid(*tensors)], 1)


@composite
def combinations(input, r=2, with_replacement=False):
    """All combinations of r elements of a vector, one per row."""
    import itertools

    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = list(choose(range(input.shape[0]), r))
    index = Tensor._wrap(np.array(places, np.int64).reshape(len(places), r))
    return ops.index(input, (index,))


@composite(method=False)
def _chunk_cat(tensors, dim, num_chunks):
    """Each tensor padded and cut into `num_chunks` parts along a dimension, the parts of one number side by side in a row."""
    _not_empty("_chunk_cat", tensors)
    if num_chunks < 1:
        raise RuntimeError(f"_chunk_cat expects positive num_chunks, got {num_chunks}")
    first = tensors[0]
    dim = normalize_dim(dim, first.ndim)
    if any(t.numel() == 0 or t.ndim <= dim for t in tensors):
        raise RuntimeError("_chunk_cat expects non-empty tensors with a dimension `dim`")
    if any(t.dtype is not first.dtype or tuple(t.shape[:dim]) != tuple(first.shape[:dim]) for t in tensors):
        raise RuntimeError("_chunk_cat expects same sizes of 0,...,dim-1 dimensions and one dtype for all tensors")
    rows = []
    for t in tensors:
        size = (t.shape[dim] + num_chunks - 1) // num_chunks
        pads = (0, 0) * (t.ndim - 1 - dim) + (0, size * num_chunks - t.shape[dim])
        rows.append(ops.reshape(ops.constant_pad_nd(t, pads, 0), (*t.shape[:dim], num_chunks, -1)))
    return ops.cat(rows, dim + 1)


# -- repeating -------------------------------------------------------------------------------------


def _repeat_shape(input: Any, sizes: Any) -> tuple:
    if len(sizes) < input.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    for n in sizes:
        if n < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {list(sizes)}"
            )
    shape = (1,) * (len(sizes) - input.ndim) + tuple(input.shape)
    return tuple(n * m for n, m in zip(shape, sizes))


def _repeat_vjp(g, out, input, sizes):
    shape = (1,) * (len(sizes) - input.ndim) + tuple(input.shape)
    split_shape = tuple(x for pair in zip(sizes, shape) for x in pair)
    summed = (
        ops.sum(ops.reshape(g, split_shape), tuple(range(0, 2 * len(sizes), 2))) if sizes else g
    )
    return ops.reshape(summed, tuple(input.shape))


def _repeat_decompose(input, sizes):
    shape = (1,) * (len(sizes) - input.ndim) + tuple(input.shape)
    lifted = ops.reshape(input, tuple(x for n in shape for x in (1, n)))
    grown = ops.expand(lifted, tuple(x for pair in zip(sizes, shape) for x in pair))
    return ops.reshape(grown, _repeat_shape(input, sizes))


@extern(
    spec=lambda input, sizes: Spec(_repeat_shape(input, sizes), input.dtype, input.device),
    vjp=_repeat_vjp,
    saves="",
    method=False,
    decompose=_repeat_decompose,
)
def repeat(input, sizes):
    """The tensor laid out several times along each dimension."""
    if len(sizes) < input.ndim:
        raise ValueError
    return np.tile(input.reshape((1,) * (len(sizes) - input.ndim) + input.shape), tuple(sizes))


@composite(method=False)
def tile(input, dims):
    """`repeat` in NumPy's form: missing leading counts are 1."""
    dims = (dims,) if not isinstance(dims, (tuple, list)) else tuple(dims)
    return ops.repeat(input, (1,) * (input.ndim - len(dims)) + dims)


def _interleave_front(call, input, repeats=None, dim=None, *, output_size=None):
    if repeats is None:  # the form that turns counts into indices
        return ops.repeat_interleave(ops.arange(input.shape[0]), input)
    return call(input, repeats, dim, output_size=output_size)


@composite(front=_interleave_front)
def repeat_interleave(input, repeats, dim=None, *, output_size=None):
    """Each slice along a dimension repeated; `repeats` is one count or a tensor of one count per
    slice."""
    if dim is None:
        input, dim = ops.reshape(input, (-1,)), 0
    d = normalize_dim(dim, input.ndim)
    if not isinstance(repeats, Tensor):
        grown = ops.expand(
            ops.unsqueeze(input, d + 1), (*input.shape[: d + 1], repeats, *input.shape[d + 1 :])
        )
        shape = (*input.shape[:d], input.shape[d] * repeats, *input.shape[d + 1 :])
        return ops.reshape(ops.clone(grown, memory_format="torch.contiguous_format"), shape)
    counts = repeats
    if counts.ndim == 0 or counts.numel() == 1:
        counts = ops.expand(ops.reshape(counts, (1,)), (input.shape[d],))
    if counts.shape[0] != input.shape[d]:
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got "
            f"repeats.size(0) = {counts.shape[0]} and input.size({d}) = {input.shape[d]}"
        )
    places = np.repeat(np.arange(input.shape[d]), counts.detach()._array)
    return ops.index_select(input, d, Tensor._wrap(places))


# -- reordering ------------------------------------------------------------------------------------


def _like_spec(input, *rest):
    return Spec(input.shape, input.dtype, input.device)


def _flip_dims(dims: Any) -> tuple:
    return tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)


@extern(
    spec=lambda input, dims: _flip_spec(input, dims),
    vjp=lambda g, out, input, dims: ops.flip(g, dims),
    saves="",
    method=False,
)
def flip(input, dims):
    """The order of elements reversed along dimensions (a copy)."""
    axes = normalize_dims(_flip_dims(dims), input.ndim) if _flip_dims(dims) else ()
    return np.ascontiguousarray(np.flip(input, axes)) if input.ndim else input.copy()


def _flip_spec(input, dims):
    normalize_dims(_flip_dims(dims), input.ndim)
    return _like_spec(input)


@composite
def fliplr(input):
    """`flip` of the second dimension."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return ops.flip(input, (1,))


@composite
def flipud(input):
    """`flip` of the first dimension."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return ops.flip(input, (0,))


def _roll_args(input: Any, shifts: Any, dims: Any) -> tuple[tuple, tuple]:
    shifts = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    dims = tuple(dims) if isinstance(dims, (tuple, list)) else () if dims is None else (dims,)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) != 1:
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    if dims and len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    if dims and not input.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return shifts, tuple(normalize_dim(d, input.ndim) for d in dims)


def _roll_spec(input, shifts, dims):
    _roll_args(input, shifts, dims)
    return _like_spec(input)


def _roll_vjp(g, out, input, shifts, dims):
    back = tuple(-s for s in shifts) if isinstance(shifts, (tuple, list)) else -shifts
    return ops.roll(g, back, dims)


@extern(spec=_roll_spec, vjp=_roll_vjp, saves="")
def roll(input, shifts, dims=None):
    """Elements moved along dimensions, those that fall off coming in at the other end."""
    shifts, axes = _roll_args(input, shifts, dims)
    return (
        np.ascontiguousarray(np.roll(input, shifts, axes) if axes else np.roll(input, shifts[0]))
        if input.ndim
        else input.copy()
    )


@composite
def rot90(input, k=1, dims=(0, 1)):
    """A quarter turn, k times, in the plane of two dimensions."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = dims
    if a == b or abs(a - b) == input.ndim:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}")
    for d in dims:
        if not -input.ndim <= d < input.ndim:
            raise RuntimeError(f"Rotation dims out of range, dim = {d}")
    if k % 4 == 0:
        return ops.clone(input)
    if k % 4 == 2:
        return ops.flip(input, (a, b))
    if k % 4 == 1:
        return ops.flip(ops.transpose(input, a, b), (a,))
    return ops.flip(ops.transpose(input, a, b), (b,))
