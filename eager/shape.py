"""Arithmetic on shapes and strides (in elements): broadcasting, contiguity, dimensions, views.
Sizes are just numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Size(tuple):
    """The shape of a tensor: a tuple that prints as `torch.Size([2, 3])` and counts elements."""

    __slots__ = ()

    def numel(self) -> int:
        count = 1
        for n in self:
            count = count * n
        return count

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: tuple) -> Size:  # type: ignore[override]
        return Size(tuple.__add__(self, tuple(other)))


def numel(shape: Sequence[int]) -> int:
    count = 1
    for n in shape:
        count = count * n
    return count


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step = step * max(n, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    step = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n == 0:
            return True
        if n != 1:
            if s != step:
                return False
            step = step * n
    return True


def channels_last_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of memory_format=channels_last for 4 dimensions (channels_last_3d for 5)."""
    order = [0, *range(2, len(shape)), 1]
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step = step * max(shape[d], 1)
    return tuple(strides)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The common shape. Raises RuntimeError with PyTorch's words where two sizes do not agree."""
    rank = max((len(s) for s in shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for i, n in enumerate(shape, start=rank - len(shape)):
            if n == 1 or n == result[i]:
                continue
            if result[i] != 1:
                raise RuntimeError(
                    f"The size of tensor a ({result[i]}) must match the size of tensor b ({n}) "
                    f"at non-singleton dimension {i}"
                )
            result[i] = n
    return tuple(result)


def common_shape(*shapes: Any) -> Size:
    """`torch.broadcast_shapes`: the common shape; a number stands for a shape of one dimension."""
    given = [s if isinstance(s, (tuple, list)) else (s,) for s in shapes]
    for shape in given:
        for n in shape:
            if n < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({n}): ({n})")
    return Size(broadcast_shapes(*given))


def like_strides(shape: Sequence[int], tensors: Sequence[Any]) -> tuple[int, ...] | None:
    """The strides that NumPy gives an elementwise result: the operands' order of dimensions,
    packed. None: contiguous.
    """
    full = [t for t in tensors if tuple(t.shape) == tuple(shape)] or list(tensors)
    layouts = [t.stride() for t in full if len(t.shape) == len(shape)]
    if not layouts or all(is_contiguous(t.shape, t.stride()) for t in full):
        return None
    order = list(range(len(shape)))
    for i in range(1, len(order)):  # a stable insertion sort: outermost (largest stride) first
        j = i
        while j > 0 and _inside(order[j - 1], order[j], layouts, shape):
            order[j - 1], order[j] = order[j], order[j - 1]
            j -= 1
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step = step * max(shape[d], 1)
    return tuple(strides)


def _inside(a: int, b: int, layouts: Sequence[Sequence[int]], shape: Sequence[int]) -> bool:
    """Whether dimension a varies faster in memory than b and so belongs after it."""
    for strides in layouts:
        x, y = abs(strides[a]), abs(strides[b])
        if x == 0 or y == 0 or shape[a] == 1 or shape[b] == 1:
            continue
        if x != y:
            return x < y
    return False


def normalize_dim(dim: int, rank: int) -> int:
    """A dimension counted from the front. Raises IndexError with PyTorch's words."""
    limit = rank if rank > 0 else 1
    if not -limit <= dim < limit:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got"
            f" {dim})"
        )
    return dim % limit


def normalize_dims(dim: Any, rank: int) -> tuple[int, ...]:
    """Sorted dimensions counted from the front; None and () mean all. Raises IndexError, or
    RuntimeError for a repeated one.
    """
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(rank))
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    found = sorted(normalize_dim(d, rank) for d in dims)
    for a, b in zip(found, found[1:], strict=False):
        if a == b:
            raise RuntimeError(f"dim {a} appears multiple times in the list of dims")
    return tuple(found) if rank else ()


def infer_size(shape: Sequence[int], count: int) -> tuple[int, ...]:
    """A shape whose -1, if any, is worked out from the number of elements. Raises RuntimeError if
    it does not fit.
    """
    holes = [i for i, n in enumerate(shape) if n == -1]
    if len(holes) > 1:
        raise RuntimeError("only one dimension can be inferred")
    known = 1
    for n in shape:
        if n < -1:
            raise RuntimeError(f"invalid shape dimension {n}")
        if n != -1:
            known = known * n
    if holes:
        if known == 0:
            raise RuntimeError(
                f"cannot reshape tensor of {count} elements into shape {list(shape)} because the"
                " unspecified dimension size -1 can be any value and is ambiguous"
            )
        if count % known == 0:
            return tuple(count // known if i == holes[0] else n for i, n in enumerate(shape))
    if known != count:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {count}")
    return tuple(shape)


def view_strides(
    shape: Sequence[int], strides: Sequence[int], new: Sequence[int]
) -> tuple[int, ...] | None:
    """Strides of a view with another shape over the same memory, or None where it needs a copy."""
    if numel(shape) == 0:
        return contiguous_strides(new)
    # blocks of old dimensions that lie contiguously, innermost first
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    blocks: list[list[int]] = []
    for n, s in reversed(old):
        if blocks and s == blocks[-1][1] * blocks[-1][0]:
            blocks[-1][0] = blocks[-1][0] * n
        else:
            blocks.append([n, s])
    result: list[int] = []
    block, step, left = -1, 1, 1
    for n in reversed(new):
        if n == 1:
            result.append(step if result or blocks else 1)
            continue
        if left == 1:
            block += 1
            if block >= len(blocks):
                return None
            left, step = blocks[block]
        if left % n:
            return None
        result.append(step)
        step, left = step * n, left // n
    return tuple(reversed(result)) if left == 1 else None
