"""Dead code elimination: what nothing uses and what changes nothing goes."""

from __future__ import annotations

from collections.abc import Callable

from fx.graph import Graph
from fx.node import Node


def eliminate_dead_code(graph: Graph, is_impure: Callable[[Node], bool] | None = None) -> bool:
    """Erases dead nodes, last first so that whole chains go at once; whether there were any."""
    keep = is_impure or Node.is_impure
    before = len(graph.nodes)
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output") and not keep(node):
            graph.erase_node(node)
    return len(graph.nodes) < before
