"""Linear maps as layers use them: `linear` and `bilinear`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager.blocks import column_sums
from eager.call import FLOATS
from eager.dtype import float32
from eager.op import composite
from eager.ops.activation import HALF
from eager.registry import ops


def _linear_at_once(input: np.ndarray, weight: np.ndarray, bias: Any) -> np.ndarray | None:
    """Operands of one floating type; None for what the operators have to see to."""
    kind = input.dtype
    if kind not in FLOATS or weight.dtype is not kind or weight.ndim != 2 or input.ndim < 2:
        return None
    # rows of one matrix: over more dimensions NumPy's `dot` multiplies vector by vector
    rows = input if input.ndim == 2 else input.reshape(-1, input.shape[-1])
    product = rows.dot(weight.T)
    if bias is not None:
        if bias.dtype is not kind or bias.ndim != 1 or bias.shape[0] not in (1, weight.shape[0]):
            return None
        product += bias
    return product if input.ndim == 2 else product.reshape(*input.shape[:-1], weight.shape[0])


def _linear_back(g: np.ndarray, kept: Any, needs: tuple, input: Any, weight: Any, bias: Any) -> tuple:
    rows = g if g.ndim == 2 else g.reshape(-1, g.shape[-1])
    by_input = by_weight = by_bias = None
    if needs[0]:
        by_input = rows.dot(weight)
        by_input = by_input if g.ndim == 2 else by_input.reshape(*g.shape[:-1], weight.shape[1])
    if needs[1]:
        by_weight = rows.T.dot(input if input.ndim == 2 else input.reshape(-1, input.shape[-1]))
    if needs[2]:
        by_bias = column_sums(rows)
        if bias.shape[0] != rows.shape[1]:
            by_bias = by_bias.sum(keepdims=True)
    return by_input, by_weight, by_bias


@composite(method=False, run=_linear_at_once, back=_linear_back, saves="input:weight weight:input")
def linear(input, weight, bias=None):
    """The input times the transposed weight, plus the bias."""
    product = ops.matmul(input, ops.t(weight))
    return product if bias is None else product + bias


@composite(method=False)
def bilinear(input1, input2, weight, bias=None):
    """`input1 @ weight[k] @ input2` for every output feature k, plus the bias."""
    outputs, left, right = weight.shape
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(f"bilinear(): input batch dimensions do not match: got "
                           f"{tuple(input1.shape)} and {tuple(input2.shape)}")
    if input1.shape[-1] != left or input2.shape[-1] != right:
        raise RuntimeError(
            f"bilinear(): input sizes do not match weight sizes: got {input1.shape[-1]} and "
            f"{input2.shape[-1]} but expected {left} and {right}")
    kind = input1.dtype
    if kind in HALF:  # sums of products of three
        input1, input2, weight = (t.to(float32) for t in (input1, input2, weight))
    first = ops.matmul(input1.reshape(-1, left), weight.permute(1, 0, 2).reshape(left, -1))
    product = first.reshape(-1, outputs, right) * input2.reshape(-1, 1, right)
    result = product.sum(-1, dtype=product.dtype).reshape((*input1.shape[:-1], outputs)).to(kind)
    return result if bias is None else result + bias
