"""What an inference computes of its weights alone is computed once, and again where one of them has changed:
scale and shift of batch norms, standardized weights, embedded positions.

Such nodes become a graph of their own, which runs eagerly; its results are further inputs of the graph that is left. A
result is kept where it takes no more memory than what it is computed of, or little. Products, convolutions and their like
are folded where they are of parameters; buffers may change in every call, and are followed then at small cost.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from eager.autograd import no_grad
from eager.tensor import Tensor
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.node import Node
from inductor.weights import Sources, keepers

LITTLE = 1 << 20
"""Bytes of a result that may be kept though what it is computed of is smaller."""


class Folded:
    """The results that stand in for nodes of a graph: what `module` gives of the inputs `numbers`."""

    def __init__(self, module: GraphModule, numbers: Sequence[int], roots: Sequence[Node]):
        self.module, self.numbers, self.count = module, numbers, len(roots)
        self.bytes = sum(root.meta["val"].nbytes for root in roots)
        self.last: tuple[tuple, Sources] | None = None
        keepers.add(self)

    @property
    def nbytes(self) -> int:
        """Bytes that are held now."""
        return self.bytes if self.last is not None else 0

    def get(self, tensors: Sequence[Any]) -> tuple:
        """The results for a call on `tensors`."""
        given = [tensors[number] for number in self.numbers]
        last = self.last
        if last is not None and last[1].same(given):
            return last[0]
        self.last = last = None  # so that the memory may be used again
        sources = Sources(given, self)
        with no_grad():
            found = self.module.forward(*given)
        if sources.known:
            self.last = found, sources
        return found


def fold(module: GraphModule) -> Folded | None:
    """Take what depends on weights alone out of the graph of an inference. None if there is nothing, or the graph is
    not one that only infers.
    """
    graph = module.graph
    if not graph.output_node().meta.get("infers"):
        return None
    roots = _Search(graph).roots
    if not roots:
        return None
    inner, numbers = _extract(module, roots)
    last = graph.find_nodes(op="placeholder")[-1]
    for number, root in enumerate(roots):
        with graph.inserting_after(last):
            last = graph.placeholder(f"folded_{number}")
        last.meta.update(val=root.meta["val"], lasting=True, parameter=roots[root])
        root.replace_all_uses_with(last)
    graph.eliminate_dead_code()
    return Folded(inner, numbers, list(roots))


def _is_view(node: Node) -> bool:
    return getattr(node.target, "kind", "") == "view"


def _is_light(node: Node) -> bool:
    light = ("pointwise", "reduction", "view")
    return node.target is operator.getitem or getattr(node.target, "kind", "") in light


def _are_parameters(weights: Iterable[Node]) -> bool:
    """Parameters seldom change; a buffer may be what a model reads its input from."""
    return all(weight.meta.get("parameter") for weight in weights)


class _Search:
    """Finds the nodes to keep: `roots`, and of each whether all that it is computed of are parameters."""

    def __init__(self, graph: Graph) -> None:
        written = {number for _, number in graph.output_node().meta.get("writes", ())}
        self.weights: dict[Node, frozenset[Node]] = {}  # what nodes that depend on weights alone depend on
        for number, node in enumerate(graph.find_nodes(op="placeholder")):
            if node.meta.get("lasting") and number not in written and isinstance(node.meta["val"], Tensor):
                self.weights[node] = frozenset([node])
        self.returned: set[Node] = set()
        self.roots: dict[Node, bool] = {}
        for node in graph.nodes:
            if node.op == "get_attr":
                self.weights[node] = frozenset()
            elif node.op == "call_function" and all(n in self.weights for n in node.all_input_nodes):
                found = frozenset().union(*(self.weights[n] for n in node.all_input_nodes))
                if _is_light(node) or _are_parameters(found):
                    self.weights[node] = found
        for node in graph.output_node().all_input_nodes:
            self._return(node)
        for node in graph.nodes:
            if node not in self.weights or node in self.returned:
                for needed in node.all_input_nodes:
                    self._consider(needed)

    def _return(self, node: Node) -> None:
        """The caller gets this memory, and may write to it: it is to be new in every call."""
        self.returned.add(node)
        if _is_view(node) or node.target is operator.getitem:
            for base in node.all_input_nodes:
                self._return(base)

    def _consider(self, node: Node) -> None:
        """Keep a node that what changes reads, or else what it is computed of."""
        if not self.weights.get(node) or node.op != "call_function" or node in self.roots:
            return
        if not _is_view(node) and node not in self.returned and self._pays(node):
            self.roots[node] = _are_parameters(self.weights[node])
            return
        for needed in node.all_input_nodes:
            self._consider(needed)

    def _pays(self, node: Node) -> bool:
        value = node.meta["val"]
        if not isinstance(value, Tensor):
            return False  # a tuple, whose parts are considered by themselves
        least = sum(weight.meta["val"].nbytes for weight in self.weights[node])
        return 0 < value.nbytes <= max(least, LITTLE)


def _extract(module: GraphModule, roots: Iterable[Node]) -> tuple[GraphModule, list[int]]:
    """The graph that computes the roots, and the numbers of the inputs that it takes."""
    wanted: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.add(node)
            waiting += node.all_input_nodes
    graph, numbers, inputs = Graph(), [], 0
    copies: dict[Node, Node] = {}
    for node in module.graph.nodes:
        if node in wanted:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if node.op == "placeholder":
                numbers.append(inputs)
        inputs += node.op == "placeholder"
    graph.output(tuple(copies[root] for root in roots))
    return GraphModule(module, graph, "Folded"), numbers
