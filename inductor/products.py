"""Sums of products become one product: `A1 B1 + A2 B2 + …` is `[A1 A2 …] [B1; B2; …]`.

The gradient of a weight that is used many times (the steps of a recurrent network, layers that share parameters) is such a sum. Term by
term, every product writes a matrix as large as the weight, and every addition reads two; the factors are small, and joining them costs
less than that. It is done where it does.
"""

from __future__ import annotations

from typing import Any

from eager.registry import ops
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.maker import Maker
from fx.node import Node


def join_products(module: GraphModule) -> None:
    """Rewrite a pure graph in place. Nodes keep `meta["val"]`."""
    graph = module.graph
    roots = [node for node in graph.nodes if _is_sum(node) and not _goes_on(node)]
    if any([_join(graph, root) for root in roots]):
        graph.eliminate_dead_code()


def _join(graph: Graph, root: Node) -> bool:
    """Whether there was something to join in the sum that ends in `root`."""
    terms: list[tuple[Node, bool]] = []
    rest: list[tuple[Node, bool]] = []
    for node, turned in _terms(root):
        alone = node.target is ops.mm and len(node.users) == 1
        (terms if alone else rest).append((node, turned))
    if len(terms) < 2 or not _pays(root, terms):
        return False
    make = Maker(graph, root)
    lefts, rights = [], []
    for mm, turned in terms:
        left, right = mm.args[:2]
        if turned:
            left, right = _transposed(make, right), _transposed(make, left)
        lefts.append(_transposed(make, left))
        rights.append(right)
    total = make(ops.mm, _transposed(make, make(ops.cat, lefts, 0)), make(ops.cat, rights, 0))
    for node, turned in rest:
        total = make(ops.add, total, _transposed(make, node) if turned else node)
    root.replace_all_uses_with(total)
    return True


def _is_sum(node: Node) -> bool:
    if node.target is not ops.add or node.kwargs or len(node.args) != 2:
        return False
    value = node.meta["val"]
    operands = [arg.meta["val"] for arg in node.args if isinstance(arg, Node)]
    return len(operands) == 2 and value.ndim == 2 and value.dtype.is_floating_point and all(
        operand.shape == value.shape and operand.dtype is value.dtype for operand in operands
    )


def _is_turn(node: Node) -> bool:
    return node.target is ops.transpose and node.meta["val"].ndim == 2 and sorted(d % 2 for d in node.args[1:]) == [0, 1]


def _goes_on(node: Node) -> bool:
    """Whether a sum is part of a longer one, transposed or not."""
    while len(node.users) == 1:
        (node,) = node.users
        if _is_sum(node):
            return True
        if not _is_turn(node):
            return False
    return False


def _terms(root: Node) -> list[tuple[Node, bool]]:
    """What a sum adds up, and whether each is transposed on the way."""
    found: list[tuple[Node, bool]] = []
    waiting = [(root, False)]
    while waiting:
        node, turned = waiting.pop()
        single = len(node.users) == 1 or node is root
        if single and _is_sum(node):
            waiting += [(arg, turned) for arg in node.args[::-1] if isinstance(arg, Node)]
        elif single and _is_turn(node):
            waiting.append((node.args[0], not turned))  # type: ignore[arg-type]
        else:
            found.append((node, turned))
    return found


def _pays(root: Node, terms: list[tuple[Node, bool]]) -> bool:
    """Whether copying the factors moves less than writing and adding up the products: three accesses to each."""
    rows, columns = root.meta["val"].shape
    inner = sum(mm.args[0].meta["val"].shape[1] for mm, _ in terms)  # type: ignore[union-attr]
    return 2 * inner * (rows + columns) < 3 * (len(terms) - 1) * rows * columns


def _transposed(make: Maker, node: Any) -> Node:
    return node.args[0] if _is_turn(node) else make(ops.transpose, node, 0, 1)
