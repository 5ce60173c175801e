"""Attention written out by hand becomes the operator, before it is differentiated, so that both its directions
run in one pass and no matrix of weights is kept:

    softmax(scale * (Q @ K^T) [masked or plus a mask], -1) @ V

A mask may be added, or put a number in the place of scores (`masked_fill`, `where`). What else reads the scores or the weights, a mask
that wants a gradient, and dropout leave a program as it is. A row whose scores are all -inf stays not a number, as softmax has it.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

from eager.dtype import bool_
from eager.op import ops
from fx.graph import Graph
from fx.maker import Maker
from fx.node import Node

PRODUCTS = (ops.mm, ops.bmm, ops.matmul_stacks)
MOST_DIMENSIONS = 4  # two of batches, which is what kernels have


@dataclass(frozen=True)
class _Scores:
    """How scores are made; where `turned`, the mask says what is taken out, not what stays."""

    query: Node
    key: Node  # transposed
    scale: float = 1.0
    mask: Node | None = None
    turned: bool = False
    fill: float = float("-inf")


def join_attention(graph: Graph) -> None:
    """Rewrite a functional graph in place."""
    if any([_join(graph, node) for node in list(graph.nodes) if node.target is ops.softmax]):
        graph.eliminate_dead_code()


def _join(graph: Graph, softmax: Node) -> bool:
    mixed = next(iter(softmax.users), None)
    if mixed is None or len(softmax.users) > 1 or mixed.target not in PRODUCTS:
        return False
    weights, value = mixed.args
    scores = _scores(softmax.args[0], softmax) if weights is softmax is not value else None
    if scores is None or not _fits(softmax, scores, value, mixed):
        return False
    make = Maker(graph, mixed)
    mask = scores.mask
    if mask is not None and scores.turned:
        mask = make(ops.logical_not, mask)
    key = make(ops.transpose, scores.key, -2, -1)
    whole = make(ops.attention, scores.query, key, value, mask, False, scores.scale, scores.fill)
    mixed.replace_all_uses_with(make(operator.getitem, whole, 0))
    return True


def _scores(node: Any, reader: Node) -> _Scores | None:
    """What a node that only `reader` reads makes scores of, if it is that."""
    if not isinstance(node, Node) or list(node.users) != [reader] or node.kwargs:
        return None
    target, arguments = node.target, node.args
    if target in PRODUCTS:
        query, key = arguments
        return _Scores(query, key) if query is not key else None  # type: ignore[arg-type]
    if target in (ops.mul, ops.true_divide):
        return _scaled(node, *arguments)
    if target is ops.masked_fill:
        return _masked(node, arguments[0], arguments[1], arguments[2], True)
    if target is ops.select_where:
        condition, kept, other = arguments
        if _number(other) is not None:
            return _masked(node, kept, condition, other, False)
        return _masked(node, other, condition, kept, True)
    if target is ops.add and len(arguments) == 2:
        return _added(node, *arguments) or _added(node, *arguments[::-1])
    return None


def _scaled(node: Node, first: Any, second: Any) -> _Scores | None:
    if node.target is ops.mul and _is_number(first):
        first, second = second, first
    inner = _scores(first, node) if _is_number(second) else None
    if inner is None or inner.mask is not None:
        return None
    if node.target is ops.mul:
        return replace(inner, scale=inner.scale * second)
    return replace(inner, scale=inner.scale / second) if second else None


def _masked(node: Node, first: Any, mask: Any, fill: Any, turned: bool) -> _Scores | None:
    inner, number = _scores(first, node), _number(fill)
    known = isinstance(mask, Node) and mask.meta["val"].dtype is bool_
    if inner is None or inner.mask is not None or number is None or not known:
        return None
    return replace(inner, mask=mask, fill=number, turned=turned)


def _added(node: Node, first: Any, mask: Any) -> _Scores | None:
    inner = _scores(first, node)
    if inner is None or inner.mask is not None or not isinstance(mask, Node):
        return None
    value = mask.meta["val"]
    if value.dtype is not node.meta["val"].dtype or value.requires_grad:
        return None
    return replace(inner, mask=mask)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _number(value: Any) -> float | None:
    """A number, or what a tensor is filled with that has only one element."""
    if _is_number(value):
        return float(value)
    full = isinstance(value, Node) and value.target is ops.full and value.meta["val"].numel() == 1
    return _number(value.args[1]) if full else None


def _fits(softmax: Node, scores: _Scores, value: Any, mixed: Node) -> bool:
    """Whether shapes and types are those of attention throughout."""
    weights, result = softmax.meta["val"], mixed.meta["val"]
    parts = [node.meta["val"] for node in (scores.query, scores.key, value)]
    rank = weights.ndim
    if softmax.args[1] not in (-1, rank - 1) or not 2 <= rank <= MOST_DIMENSIONS:
        return False
    if any(p.dtype is not result.dtype for p in (weights, *parts)):
        return False
    rows, columns = parts[0].shape[-2], parts[1].shape[-1]
    if tuple(weights.shape[-2:]) != (rows, columns) or weights.shape[:-2] != result.shape[:-2]:
        return False
    return result.dtype.is_floating_point and all(p.numel() for p in (*parts, result))
