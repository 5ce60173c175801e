"""`make_tensor`: tensors of random values to test with."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.registry import ops
from eager.tensor import Tensor


def _range(kind: dtypes.dtype, low: Any, high: Any) -> tuple:
    if kind is dtypes.bool_:
        return 0, 2
    if kind.category == dtypes.INTEGER:
        least = 0 if kind.numpy.kind == "u" else -9
        low, high = (least if low is None else int(np.ceil(low))), (10 if high is None else int(np.ceil(high)))
        bounds = np.iinfo(kind.numpy)
        return max(low, int(bounds.min)), min(high, int(bounds.max) + 1)
    return (-9.0 if low is None else float(low)), (9.0 if high is None else float(high))


def make_tensor(
    *shape: Any, dtype: dtypes.dtype, device: Any = "cpu", low: float | None = None, high: float | None = None, requires_grad: bool = False,
    noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of values drawn evenly from [low, high): by default [-9, 9), from -9 or 0 to 10 for integers.

    Raises ValueError for an empty range, or for integers that require gradients."""
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)
    if noncontiguous and memory_format is not None:
        raise ValueError(f"The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got {noncontiguous=} and {memory_format=}")
    if requires_grad and dtype.category < dtypes.FLOATING:
        raise ValueError(f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype=}")
    least, most = _range(dtype, low, high)
    if least > most or (least == most and dtype.category < dtypes.FLOATING):
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    doubled = noncontiguous and len(sizes) > 0 and ops.zeros(sizes).numel() > 1
    drawn = (*sizes[:-1], 2 * sizes[-1]) if doubled else sizes
    if dtype.category < dtypes.FLOATING:
        result = ops.randint(least, most, drawn).to(dtype)
    elif dtype.is_complex:
        part = dtype.to_real()
        real, imaginary = (ops.rand(drawn, dtype=part) * (most - least) + least for _ in range(2))
        result = ops.complex(real, imaginary)
    else:
        result = (ops.rand(drawn, dtype=dtypes.float64) * (most - least) + least).to(dtype)
    if doubled:
        result = result[..., ::2]
    if exclude_zero:
        tiny = 1 if dtype.category < dtypes.FLOATING else float(dtypes.finfo(dtype.to_real()).tiny)
        result = ops.where(result == 0, ops.full((), tiny, dtype=dtype), result) if not doubled else result.masked_fill_(result == 0, tiny)
    if memory_format is not None:
        result = result.clone(memory_format=memory_format)
    return result.requires_grad_() if requires_grad else result
