"""Scaled dot product attention: one operator with a kernel over whole matrices of scores, its
derivative from the recomputed weights, and its decomposition into matrix products and softmax.

A row that may attend to nothing gives zeros, as in PyTorch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eager.blocks import BLOCK, row_sums
from eager.dtype import bool_
from eager.op import composite, extern
from eager.ops.activation import widen
from eager.registry import ops
from eager.shape import broadcast_shapes
from eager.spec import Spec


def _attention_spec(query: Any, key: Any, value: Any, mask: Any, causal: bool,
                    scale: float) -> Spec:
    for tensor in (query, key, value):
        if len(tensor.shape) < 2:
            raise RuntimeError("scaled_dot_product_attention: Expected query, key and value to all "
                               f"be at least 2 dimensional, but got shape {list(tensor.shape)}")
    if not query.dtype == key.dtype == value.dtype:
        raise RuntimeError("Expected query, key, and value to have the same dtype, but got "
                           f"query.dtype: {query.dtype} key.dtype: {key.dtype} and value.dtype: "
                           f"{value.dtype} instead.")
    if query.shape[-1] != key.shape[-1]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied: query has "
                           f"{query.shape[-1]} features, key {key.shape[-1]}")
    if key.shape[-2] != value.shape[-2]:
        raise RuntimeError(f"key has {key.shape[-2]} positions, value {value.shape[-2]}")
    batch = broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    if mask is not None:
        broadcast_shapes(mask.shape, (*batch, query.shape[-2], key.shape[-2]))
    return Spec((*batch, query.shape[-2], value.shape[-1]), query.dtype, query.device)


def _scores(query: Any, key: Any, mask: Any, causal: bool, scale: float) -> Any:
    scores = ops.matmul(query * scale, ops.transpose(key, -2, -1))
    if causal:
        rows = ops.arange(query.shape[-2], device=query.device).reshape((-1, 1))
        columns = ops.arange(key.shape[-2], device=query.device)
        scores = ops.where(columns <= rows, scores, -math.inf)
    if mask is None:
        return scores
    return ops.where(mask, scores, -math.inf) if mask.dtype == bool_ else scores + mask


def _weights(query: Any, key: Any, mask: Any, causal: bool, scale: float) -> Any:
    """Softmax of the scores, with zeros for rows where nothing may be attended to."""
    scores = _scores(query, key, mask, causal, scale)
    weights = ops.softmax(scores, -1)
    if mask is None:
        return weights
    return ops.where(ops.amax(scores, -1, keepdim=True) == -math.inf, 0, weights)


def _attention_vjp(g: Any, out: Any, needs: tuple, query: Any, key: Any, value: Any, mask: Any,
                   causal: bool, scale: float) -> tuple:
    weights = _weights(query, key, mask, causal, scale)
    by_value = ops.matmul(ops.transpose(weights, -2, -1), g) if needs[2] else None
    if not (needs[0] or needs[1] or needs[3]):
        return None, None, by_value, None
    by_weights = ops.matmul(g, ops.transpose(value, -2, -1)) * weights
    by_scores = by_weights - weights * by_weights.sum(-1, keepdim=True)
    by_query = ops.matmul(by_scores, key) * scale if needs[0] else None
    by_key = ops.matmul(ops.transpose(by_scores, -2, -1), query) * scale if needs[1] else None
    return by_query, by_key, by_value, by_scores if needs[3] else None


@extern(spec=_attention_spec, vjp=_attention_vjp, joint=True, saves="query key value mask",
        method=False, decompose=lambda query, key, value, mask, causal, scale: ops.matmul(
            _weights(query, key, mask, causal, scale), value))
def attention(query, key, value, mask, causal, scale):
    """Softmax of the scaled products of queries and keys, times the values."""
    if query.dtype != key.dtype or key.dtype != value.dtype:
        raise TypeError("types differ")
    work = widen(query) * np.asarray(scale, widen(query).dtype)
    scores = np.matmul(work, np.swapaxes(widen(key), -1, -2))
    if causal:
        allowed = np.tri(scores.shape[-2], scores.shape[-1], dtype=bool)
        np.copyto(scores, -np.inf, where=~allowed)
    if mask is not None:
        if mask.dtype == bool:
            scores = np.where(mask, scores, scores.dtype.type(-np.inf))
        else:
            scores = scores + mask.astype(scores.dtype, copy=False)
    if scores.size == 0:
        return np.zeros((*scores.shape[:-1], value.shape[-1]), query.dtype)
    total = _exponentials(scores, mask is not None)
    result = np.matmul(scores, widen(value))
    result /= total
    return np.ascontiguousarray(result).astype(query.dtype, copy=False)


def _exponentials(scores: np.ndarray, masked: bool) -> np.ndarray:
    """Turns scores into exponentials relative to the highest of their row, and gives the sums of
    the rows; 1 for a row that is masked as a whole."""
    rows = scores.reshape(-1, scores.shape[-1])
    total = np.empty((len(rows), 1), rows.dtype)
    step = max(1, BLOCK // rows.shape[1])
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        highest = np.maximum.reduce(part, axis=1, keepdims=True)
        if masked:
            highest[highest == -np.inf] = 0
        part -= highest
        np.exp(part, part)
        total[start : start + step] = row_sums(part, True)
    if masked:
        total[total == 0] = 1
    return total.reshape(*scores.shape[:-1], 1)


@composite(method=False)
def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False,
                                 scale=None, enable_gqa=False):
    """Attention over (…, positions, features). A boolean mask says where to attend, another is
    added to the scores."""
    if is_causal and attn_mask is not None:
        raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if enable_gqa:
        key = ops.repeat_interleave(key, query.shape[-3] // key.shape[-3], -3)
        value = ops.repeat_interleave(value, query.shape[-3] // value.shape[-3], -3)
    if attn_mask is not None and attn_mask.dtype not in (bool_, query.dtype):
        raise RuntimeError("Expected attn_mask dtype to be bool or float or to match query dtype, "
                           f"but got attn_mask.dtype: {attn_mask.dtype} and query.dtype: "
                           f"{query.dtype} instead.")
    if dropout_p == 0:
        return ops.attention(query, key, value, attn_mask, is_causal, scale)
    weights = _weights(query, key, attn_mask, is_causal, scale)
    return ops.matmul(ops.dropout(weights, dropout_p, True), value)
