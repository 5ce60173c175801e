"""Common subexpressions: equal operations on equal arguments are computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fx.graph import Graph
from fx.node import Node


def eliminate_common_subexpressions(
    graph: Graph, may_share: Callable[[Node], bool] | None = None
) -> bool:
    """Later duplicates use the first one's value and are erased; whether there were any.

    Never shared: what changes state or draws random numbers, values that a node writes in place
    and what is computed from them, and calls of modules and methods: nobody knows what they do.
    A composite operator may draw inside, so it is not shared either. `may_share` narrows further.
    """
    written = _written(graph)
    seen: dict[Any, Node] = {}
    before = len(graph.nodes)
    for node in graph.nodes:
        if node.op not in ("call_function", "get_attr") or node.is_impure():
            continue
        if getattr(node.target, "kind", None) == "composite":
            continue
        if node in written or (may_share is not None and not may_share(node)):
            continue
        key = _key(node)
        if key is None:
            continue
        first = seen.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.erase_node(node)
    return len(graph.nodes) < before


def _written(graph: Graph) -> set[Node]:
    """Values that some node writes in place, and everything they may be views of or share with."""
    written: set[Node] = set()
    for node in reversed(graph.nodes):
        if node.is_impure() and node.op != "output":
            written.update(node.all_input_nodes)
        # A view's memory is its input's, and whoever cannot tell views apart says so too.
        if node in written:
            written.update(node.all_input_nodes)
    # What is computed from memory that changes may not be shared across the change either.
    for node in graph.nodes:
        if any(used in written for used in node.all_input_nodes):
            written.add(node)
    return written


def _key(node: Node) -> Any:
    try:
        key = (node.op, node.target, _frozen(node.args), _frozen(node.kwargs))
        hash(key)
    except TypeError:
        return None  # an unhashable argument: nobody can say that two are equal
    return key


def _frozen(value: Any) -> Any:
    """A hashable key, equal only for arguments that mean the same: 1, 1.0 and True differ."""
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(map(_frozen, value))
    if isinstance(value, dict):
        return "dict", tuple((key, _frozen(item)) for key, item in value.items())
    if type(value) is slice:
        return "slice", _frozen((value.start, value.stop, value.step))
    if isinstance(value, float):
        return "float", value, math.copysign(1.0, value)
    return type(value), value
