"""Scaled dot product attention: one operator with a kernel over whole matrices of scores, its
derivative, an operator too, from the recomputed weights, and both in matrix products and softmax.

A row that may attend to nothing gives zeros, as in PyTorch, unless `fill` says what stands for the scores
that a boolean mask takes out (attention written out by hand): rows are plain softmax then.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from eager.blocks import BLOCK, row_sums
from eager.call import FLOATS
from eager.dtype import bfloat16, bool_, float16, float32, float64
from eager.mode import is_grad_enabled
from eager.op import composite, extern
from eager.ops.activation import widen
from eager.registry import ops
from eager.shape import broadcast_shapes
from eager.spec import Spec


def _attention_spec(query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float,
                    fill: float | None = None) -> tuple[Spec, Spec]:
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
    rows = (*batch, query.shape[-2])
    wide = query.dtype if query.dtype in (float32, float64) else float32
    return (Spec((*rows, value.shape[-1]), query.dtype, query.device),
            Spec((*rows, 2), wide, query.device))


def _scores(query: Any, key: Any, mask: Any, causal: bool, scale: float,
            fill: float | None) -> Any:
    scores = ops.matmul(query * scale, ops.transpose(key, -2, -1))
    if causal:
        rows = ops.arange(query.shape[-2], device=query.device).reshape((-1, 1))
        columns = ops.arange(key.shape[-2], device=query.device)
        scores = ops.where(columns <= rows, scores, -math.inf)
    if mask is None:
        return scores
    if mask.dtype == bool_:
        return ops.where(mask, scores, -math.inf if fill is None else fill)
    return scores + mask


def _normalized(scores: Any, mask: Any, fill: float | None) -> Any:
    """Softmax of the scores; without a `fill` zeros for rows where nothing may be attended to."""
    weights = ops.softmax(scores, -1)
    if mask is None or fill is not None:
        return weights
    return ops.where(ops.amax(scores, -1, keepdim=True) == -math.inf, 0, weights)


def _attention_in_operators(query: Any, key: Any, value: Any, mask: Any, causal: bool,
                            scale: float, fill: float | None = None) -> tuple:
    scores = _scores(query, key, mask, causal, scale, fill)
    result = ops.matmul(_normalized(scores, mask, fill), value)
    wide = scores.float() if scores.dtype in (float16, bfloat16) else scores
    highest = ops.amax(wide, -1, keepdim=True)
    empty = highest == -math.inf
    if mask is not None and fill is None:
        highest = ops.where(empty, 0, highest)
    total = ops.exp(wide - highest).sum(-1, keepdim=True)
    if mask is not None and fill is None:
        total = ops.where(empty, math.inf, total)
    return result, ops.cat([highest, total], -1)


def _composed_vjp(gradient: Any, by_sums: Any, needs: tuple, query: Any, key: Any, value: Any,
                  mask: Any, causal: bool, scale: float, fill: float | None) -> tuple:
    """The derivative in operators, from the weights made again."""
    scores = _scores(query, key, mask, causal, scale, fill)
    weights = _normalized(scores, mask, fill)
    by_value = ops.matmul(ops.transpose(weights, -2, -1), gradient) if needs[2] else None
    if not (needs[0] or needs[1] or needs[3]):
        return None, None, by_value, None
    by_weights = ops.matmul(gradient, ops.transpose(value, -2, -1)) * weights
    by_scores = by_weights - weights * by_weights.sum(-1, keepdim=True)
    if by_sums is not None:
        by_scores = by_scores + _sums_vjp(by_sums, scores, weights).to(by_scores.dtype)
    if fill is not None and mask is not None and mask.dtype == bool_:
        by_scores = ops.where(mask, by_scores, 0)  # a number has weight, but nothing to learn
    by_query = ops.matmul(by_scores, key) * scale if needs[0] else None
    by_key = ops.matmul(ops.transpose(by_scores, -2, -1), query) * scale if needs[1] else None
    return by_query, by_key, by_value, by_scores if needs[3] else None


def _sums_vjp(by_sums: Any, scores: Any, weights: Any) -> Any:
    """What the scores weigh in the highest score of a row and in its sum, if the row sees anything."""
    highest = ops.amax(scores, -1, keepdim=True)
    hit = (scores == highest).to(weights.dtype)
    hit = hit / hit.sum(-1, keepdim=True)
    total = ops.exp(scores - highest).sum(-1, keepdim=True)
    found = hit * by_sums[..., :1] + by_sums[..., 1:] * total * (weights - hit)
    return ops.where(highest == -math.inf, 0, found)


def _attention_vjp(g: tuple, out: tuple, needs: tuple, query: Any, key: Any, value: Any, mask: Any,
                   causal: bool, scale: float, fill: float | None) -> tuple:
    gradient, by_sums = g
    if gradient is None:
        gradient = ops.zeros_like(out[0])
    if is_grad_enabled() or needs[3] or by_sums is not None:  # a further derivative, or a rare one
        return _composed_vjp(
            gradient, by_sums, needs, query, key, value, mask, causal, scale, fill)
    found = ops.attention_gradient(gradient, *out, query, key, value, mask, causal, scale, fill)
    return (*(one if wanted else None for one, wanted in zip(found, needs, strict=False)), None)


def _gradient_spec(gradient: Any, out: Any, sums: Any, query: Any, key: Any, value: Any, mask: Any,
                   causal: bool, scale: float, fill: float | None = None) -> tuple:
    batch = out.shape[:-2]
    return tuple(Spec((*batch, *one.shape[-2:]), one.dtype, one.device)
                 for one in (query, key, value))


def _gradient_in_operators(gradient: Any, out: Any, sums: Any, query: Any, key: Any, value: Any,
                           mask: Any, causal: bool, scale: float,
                           fill: float | None = None) -> tuple:
    found = _composed_vjp(
        gradient, None, (True, True, True, False), query, key, value, mask, causal, scale, fill)
    batch = out.shape[:-2]
    return tuple(ops.expand(one, (*batch, *one.shape[-2:])) for one in found[:3])


@extern(spec=_gradient_spec, method=False, decompose=_gradient_in_operators)
def attention_gradient(gradient, out, sums, query, key, value, mask, causal, scale, fill=None):
    """The gradients of attention by query, key and value, each with all batch dimensions. `sums`
    are those that `attention` gave: the weights are made from them again."""
    weights = _masked_scores(query, key, mask, causal, scale, fill)
    weights -= sums[..., :1]
    np.exp(weights, weights)
    weights /= sums[..., 1:]
    given, wide = widen(gradient), widen(query)
    by_value = np.matmul(np.swapaxes(weights, -1, -2), given)
    slopes = np.matmul(given, np.swapaxes(widen(value), -1, -2))
    slopes -= np.multiply(given, widen(out)).sum(-1, keepdims=True)
    slopes *= weights
    if fill is not None and mask is not None and mask.dtype == bool:
        slopes = np.where(mask, slopes, slopes.dtype.type(0))
    slopes *= np.asarray(scale, slopes.dtype)
    found = (np.matmul(slopes, widen(key)), np.matmul(np.swapaxes(slopes, -1, -2), wide), by_value)
    return tuple(one.astype(query.dtype, copy=False) for one in found)


def _masked_scores(query: np.ndarray, key: np.ndarray, mask: np.ndarray | None, causal: bool,
                   scale: float, fill: float | None) -> np.ndarray:
    """Scaled products, -inf (or `fill`) where nothing may be attended to."""
    work = widen(query) * np.asarray(scale, widen(query).dtype)
    scores = np.matmul(work, np.swapaxes(widen(key), -1, -2))
    if causal:
        allowed = np.tri(scores.shape[-2], scores.shape[-1], dtype=bool)
        np.copyto(scores, -np.inf, where=~allowed)
    if mask is not None:
        if mask.dtype == bool:
            scores = np.where(mask, scores, scores.dtype.type(-np.inf if fill is None else fill))
        else:
            scores = scores + mask.astype(scores.dtype, copy=False)
    return scores


@extern(spec=_attention_spec, vjp=_attention_vjp, joint=True,
        saves="query key value mask out0 out1", method=False,
        decompose=_attention_in_operators)
def attention(query, key, value, mask, causal, scale, fill=None):
    """Softmax of the scaled products of queries and keys, times the values; and of each row the
    highest score and the sum of exponentials relative to it, infinite where it may attend to
    nothing.

    With a `fill` a boolean mask puts that number in the place of scores, and softmax is plain: a
    row of which all scores are -inf is not a number.
    """
    if query.dtype != key.dtype or key.dtype != value.dtype:
        raise TypeError("types differ")
    scores = _masked_scores(query, key, mask, causal, scale, fill)
    if scores.size == 0:
        empty = np.zeros((*scores.shape[:-1], value.shape[-1]), query.dtype)
        return empty, np.full((*scores.shape[:-1], 2), np.inf, scores.dtype)
    total, sums = _exponentials(scores, mask is not None and fill is None)
    result = np.matmul(scores, widen(value))
    result /= total
    return np.ascontiguousarray(result).astype(query.dtype, copy=False), sums


def _exponentials(scores: np.ndarray, masked: bool) -> tuple[np.ndarray, np.ndarray]:
    """Turns scores into exponentials relative to the highest of their row, and gives the sums of
    the rows, 1 for a row that is masked as a whole; and side by side the highest scores and the
    sums, infinite for such a row."""
    rows = scores.reshape(-1, scores.shape[-1])
    total = np.empty((len(rows), 1), rows.dtype)
    above = np.empty((len(rows), 1), rows.dtype)
    step = max(1, BLOCK // rows.shape[1])
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        highest = np.maximum.reduce(part, axis=1, keepdims=True)
        if masked:
            highest[highest == -np.inf] = 0
        part -= highest
        np.exp(part, part)
        total[start : start + step] = row_sums(part, True)
        above[start : start + step] = highest
    sums = np.concatenate([above, total], 1)
    if masked:
        sums[total[:, 0] == 0, 1] = np.inf
        total[total == 0] = 1
    shape = scores.shape[:-1]
    return total.reshape(*shape, 1), sums.reshape(*shape, 2)


def _attend_forth(query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: Any,
                  dropout_p: float, causal: bool, scale: Any, enable_gqa: bool) -> tuple | None:
    """The result, and the weights where they are few. Operands of one type; None for what the operators
    have to see to."""
    kind = query.dtype
    if dropout_p or enable_gqa or kind not in FLOATS or not query.ndim == key.ndim == value.ndim > 2:
        return None
    if key.dtype is not kind or value.dtype is not kind or mask is not None or not query.size:
        return None
    if not query.shape[:-2] == key.shape[:-2] == value.shape[:-2] or not key.size or not value.size:
        return None
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    weights = np.matmul(query * kind.type(scale), key.swapaxes(-1, -2))
    if causal:
        np.copyto(weights, -np.inf, where=_future(*weights.shape[-2:]))
    total = _powers(weights)
    result = np.matmul(weights, value)
    result /= total
    return result, (weights, total) if weights.size <= _KEPT else None


def _powers(scores: np.ndarray) -> np.ndarray:
    """Turns scores into exponentials relative to the highest of their row, and gives the rows' sums."""
    if scores.size > BLOCK:
        return _exponentials(scores, False)[0]
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, scores)
    return row_sums(scores)[..., None]


_KEPT = 1 << 23  # weights of one call that are kept for its derivative


@functools.lru_cache(8)
def _future(rows: int, columns: int) -> np.ndarray:
    """Where a position may not look: at those that follow."""
    return ~np.tri(rows, columns, dtype=bool)


def _attend_at_once(*values: Any) -> np.ndarray | None:
    found = _attend_forth(*values)
    return None if found is None else found[0]


def _attend_back(g: np.ndarray, kept: Any, needs: tuple, query: np.ndarray, key: np.ndarray,
                 value: np.ndarray, mask: Any, dropout_p: float, causal: bool, scale: Any,
                 enable_gqa: bool) -> tuple:
    scale = query.dtype.type(1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if kept is None:
        weights = np.matmul(query * scale, key.swapaxes(-1, -2))
        if causal:
            np.copyto(weights, -np.inf, where=_future(*weights.shape[-2:]))
        weights /= _powers(weights)
    else:
        weights = kept[0] / kept[1]
    by_value = np.matmul(weights.swapaxes(-1, -2), g) if needs[2] else None
    by_query = by_key = None
    if needs[0] or needs[1]:
        by_scores = np.matmul(g, value.swapaxes(-1, -2))
        by_scores -= np.vecdot(by_scores, weights)[..., None]
        by_scores *= weights
        by_scores *= scale
        if needs[0]:
            by_query = np.matmul(by_scores, key)
        if needs[1]:
            by_key = np.matmul(by_scores.swapaxes(-1, -2), query)
    return by_query, by_key, by_value, *(None,) * 5


@composite(method=False, run=_attend_at_once, forth=_attend_forth, back=_attend_back,
           saves="query key value")
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
        return ops.attention(query, key, value, attn_mask, is_causal, scale)[0]
    weights = _normalized(_scores(query, key, attn_mask, is_causal, scale, None), attn_mask, None)
    return ops.matmul(ops.dropout(weights, dropout_p, True), value)
