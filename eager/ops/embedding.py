"""Embedding: rows of a table by number, alone or reduced in bags; and one-hot vectors. Promises an
IndexError, never foreign memory, for a number out of range.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eager.blocks import column_sums
from eager.dtype import INTEGER, float32, int64
from eager.op import composite, extern
from eager.ops.activation import HALF
from eager.registry import ops
from eager.spec import Spec


def _row(padding_idx: int | None, rows: Any) -> Any:
    return -1 if padding_idx is None else padding_idx + rows if padding_idx < 0 else padding_idx


def _embedding_spec(input: Any, weight: Any, padding_idx: int | None, *rest: Any) -> Spec:
    if input.dtype.category != INTEGER:
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following "
                           f"scalar types: Long, Int; but got {input.dtype} instead")
    if len(weight.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    return Spec((*input.shape, weight.shape[1]), weight.dtype, weight.device)


def _embedding_vjp(g: Any, out: Any, input: Any, weight: Any, padding_idx: int | None,
                   scale_grad_by_freq: bool) -> Any:
    return ops.embedding_weight_grad(g, input, weight.shape[0], padding_idx, scale_grad_by_freq)


@extern(spec=_embedding_spec, vjp=(None, _embedding_vjp), saves="input", method=False,
        decompose=lambda input, weight, *rest: ops.index_select(
            weight, 0, input.reshape((-1,))).reshape((*input.shape, weight.shape[1])))
def embedding(input, weight, padding_idx=None, scale_grad_by_freq=False):
    """The rows of `weight` with these numbers; the row `padding_idx` gets no gradient."""
    if input.dtype.kind not in "iu" or weight.ndim != 2:
        raise TypeError("expected integer numbers and a table")
    if input.size and np.minimum.reduce(input, None) < 0:
        raise IndexError("index out of range in self")
    try:
        return weight.take(input, 0)
    except IndexError:
        raise IndexError("index out of range in self") from None


def _weight_grad_vjp(u: Any, out: Any, g: Any, indices: Any, rows: Any, padding_idx: int | None,
                     scale_grad_by_freq: bool) -> Any:
    if scale_grad_by_freq:
        raise RuntimeError("embedding: double backward is not supported with scale_grad_by_freq")
    found = ops.embedding(indices, u)
    if padding_idx is None:
        return found
    return ops.where((indices == _row(padding_idx, rows)).unsqueeze(-1), 0, found)


@extern(spec=lambda g, indices, rows, *rest: Spec((rows, g.shape[-1]), g.dtype, g.device),
        vjp=_weight_grad_vjp, saves="indices", method=False)
def embedding_weight_grad(g, indices, rows, padding_idx, scale_grad_by_freq):
    """The gradients of looked-up rows added up per row of the table."""
    result = np.zeros((rows, g.shape[-1]), g.dtype)
    flat, values = indices.reshape(-1), g.reshape(-1, g.shape[-1])
    if padding_idx is not None:
        kept = flat != _row(padding_idx, rows)
        flat, values = flat[kept], values[kept]
    if flat.size == 0:
        return result
    order = np.argsort(flat, kind="stable")
    numbers, starts, counts = np.unique(flat[order], return_index=True, return_counts=True)
    _add_rows(result, values, order, numbers, starts, counts)
    if scale_grad_by_freq:
        result[numbers] /= counts[:, None]
    return result


def _add_rows(result: np.ndarray, values: np.ndarray, order: np.ndarray, numbers: np.ndarray,
              starts: np.ndarray, counts: np.ndarray) -> None:
    """Adds up the rows of each number: the first row of every number, then the second, and so on; the
    rows of a number that has many at once."""
    result[numbers] = values[order[starts]]
    few = counts <= 16
    for place in range(1, int(counts[few].max(initial=0))):
        some = few & (counts > place)
        result[numbers[some]] += values[order[starts[some] + place]]
    for number, start, count in zip(numbers[~few], starts[~few], counts[~few]):
        result[number] = column_sums(values[order[start : start + count]])


@extern(spec=lambda input, num_classes: Spec((*input.shape, num_classes), int64, input.device),
        method=False, decompose=lambda input, num_classes: ops.scatter_value(
            ops.zeros((*input.shape, num_classes), dtype=int64, device=input.device), -1,
            input.unsqueeze(-1), 1))  # scattering, because it refuses numbers out of range
def one_hot_of(input, num_classes):
    """`one_hot` with a known number of classes."""
    if input.dtype != np.int64:
        raise TypeError("one_hot is only applicable to index tensor of type LongTensor.")
    if input.size and input.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if input.size and input.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return (input[..., None] == np.arange(num_classes)).astype(np.int64)


@composite(method=False)
def one_hot(input, num_classes=-1):
    """Vectors of zeros with a one at each class number; -1 counts the classes itself."""
    if num_classes == -1:
        if input.numel() == 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(input.max().item()) + 1
    return ops.one_hot_of(input, num_classes)


def _bag_numbers(offsets: Any, count: Any, include_last_offset: bool) -> tuple:
    """Which bag each of `count` numbers is in, and how many bags there are."""
    bags = offsets.shape[0]
    if include_last_offset:
        bags = bags - 1
        offsets = offsets[:bags]
    position = ops.arange(count, device=offsets.device)
    return (position.unsqueeze(1) >= offsets.unsqueeze(0)).to(int64).sum(1) - 1, bags


@composite(method=False)
def embedding_bag(input, weight, offsets=None, max_norm=None, norm_type=2.0,
                  scale_grad_by_freq=False, mode="mean", sparse=False, per_sample_weights=None,
                  include_last_offset=False, padding_idx=None):
    """Rows of a table reduced over bags: the rows of a 2-D input, or the parts of a 1-D one from
    each offset."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights was not None. It is only "
                                  f"supported for mode='sum' (got mode='{mode}').")
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(f"embedding_bag: If per_sample_weights "
                         f"({tuple(per_sample_weights.shape)}) is not None, then it must have the "
                         f"same shape as the input ({tuple(input.shape)})")
    if max_norm is not None:
        raise RuntimeError("embedding_bag: call F.embedding_bag for max_norm")
    if len(input.shape) == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated as "
                             "a mini-batch of fixed length sequences.")
        bags, length = input.shape
        bag = ops.arange(bags, device=input.device).unsqueeze(1).expand((bags, length))
        bag = bag.reshape((-1,))
    elif len(input.shape) == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        bag, bags = _bag_numbers(offsets, input.shape[0], include_last_offset)
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension "
                         f"{len(input.shape)}")
    flat = input.reshape((-1,))
    rows = ops.embedding(flat, weight, padding_idx, scale_grad_by_freq)
    rows = rows.to(float32) if weight.dtype in HALF and mode != "max" else rows
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape((-1, 1))
    found = _reduce_bags(rows, flat, bag, bags, mode, _row(padding_idx, weight.shape[0]))
    return found.to(weight.dtype)


def _reduce_bags(rows: Any, flat: Any, bag: Any, bags: Any, mode: str, padding: Any) -> Any:
    counted = (flat != padding).to(rows.dtype)
    empty = ops.zeros((bags, rows.shape[1]), dtype=rows.dtype, device=rows.device)
    if mode == "max":
        index = bag.unsqueeze(1).expand(rows.shape)
        lowest = ops.where(counted.unsqueeze(1) > 0, rows, float("-inf"))
        found = ops.scatter_reduce(empty, 0, index, lowest, "amax", include_self=False)
        return ops.where(found == float("-inf"), 0, found)
    total = ops.index_add(empty, 0, bag, rows * counted.unsqueeze(1))
    if mode == "sum":
        return total
    none = ops.zeros((bags,), dtype=rows.dtype, device=rows.device)
    return total / ops.clamp_min(ops.index_add(none, 0, bag, counted), 1).unsqueeze(1)
