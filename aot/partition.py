"""One graph becomes two: the joint graph of outputs and gradients is cut into a forward and a
backward half. What the backward half needs is saved or computed again, whichever moves fewer bytes.

The choice is a minimum cut. Every value that does not depend on a tangent is an edge whose capacity
is what saving it costs; from the source flow the values that the forward half computes anyway and
that are too dear to compute twice; into the sink flow the values that the backward half reads. The
cut edges are the values to save; all between them and the backward half is computed again.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.node import Node, leaves, map_arg

RECOMPUTE_BUDGET = 12  # operations that are computed again in a row for one value


def partition(
    joint: Graph | GraphModule,
    forward_outputs: int,
    *,
    primals: int | None = None,
    recompute_budget: int | None = RECOMPUTE_BUDGET,
) -> tuple[GraphModule, GraphModule]:
    """Cuts a joint graph into `forward(*primals) -> (*outputs, *saved)` and
    `backward(*saved, *tangents) -> gradients`.

    The joint graph takes the primals and then the tangents (`primals`: how many are primals;
    default: the placeholders whose target does not begin with "tangents"), and returns one tuple,
    the `forward_outputs` outputs and then the gradients, of which any may be None. Every node has
    meta["val"]. Its dead code goes. `saved`, in the order of the joint graph, may hold primals and
    outputs as they are. `recompute_budget` is the longest chain of operations that is computed
    again for one value: 0 repeats nothing but views, None has no limit.
    Raises ValueError where an output depends on a tangent.
    """
    graph = joint.graph if isinstance(joint, GraphModule) else joint
    graph.eliminate_dead_code()
    parts = _Parts(graph, forward_outputs, primals)
    saved = _Cut(parts, recompute_budget).saved()
    owner: Any = joint if isinstance(joint, GraphModule) else (graph.owning_module or {})
    outputs = (*parts.outputs, *saved)
    forward = _extract(graph, parts.primals, outputs, parts.forward)
    backward = _extract(graph, [*saved, *parts.tangents], parts.gradients, parts.backward)
    forward.title, backward.title = "made by partition (forward)", "made by partition (backward)"
    return GraphModule(owner, forward, "Forward"), GraphModule(owner, backward, "Backward")


class _Parts:
    """The joint graph's nodes by the half that they belong to."""

    def __init__(self, graph: Graph, forward_outputs: int, primals: int | None) -> None:
        self.graph = graph
        placeholders = graph.find_nodes(op="placeholder")
        if primals is None:
            primals = sum(not str(node.target).startswith("tangents") for node in placeholders)
        self.primals, self.tangents = placeholders[:primals], placeholders[primals:]
        results = list(graph.output_node().args[0])
        self.outputs, self.gradients = results[:forward_outputs], results[forward_outputs:]
        self.backward = _dependents(graph, self.tangents)
        self.forward = _dependencies(self.outputs)
        for node in self.outputs:
            if node in self.backward:
                raise ValueError(
                    f"partition: forward output {node.name} depends on a tangent: are the first "
                    f"{forward_outputs} results of the joint graph really its outputs?"
                )
        wanted = {leaf for leaf in leaves(self.gradients) if isinstance(leaf, Node)}
        # The backward half reads these; a gradient that is a forward value is read by its output.
        self.read = [
            node
            for node in graph.nodes
            if node not in self.backward
            and (node in wanted or any(user in self.backward for user in node.users))
        ]


def _dependents(graph: Graph, sources: Iterable[Node]) -> set[Node]:
    """What depends on any of the sources, and they themselves."""
    found = set(sources)
    for node in graph.nodes:
        if node.op != "output" and any(used in found for used in node.all_input_nodes):
            found.add(node)
    return found


def _dependencies(results: Iterable[Any]) -> set[Node]:
    """What the results need, themselves included."""
    waiting = [leaf for leaf in leaves(list(results)) if isinstance(leaf, Node)]
    found: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found


# -- what a node is --------------------------------------------------------------------------------


def _kind(node: Node) -> str:
    """pointwise, reduction, view, creation, constant or heavy."""
    if node.op == "get_attr":
        return "constant"
    if node.op != "call_function":
        return "heavy"
    if node.target is operator.getitem:
        return "view"
    kind = getattr(node.target, "kind", None)
    if getattr(node.target, "mutates", ()) or getattr(node.target, "random", False):
        return "heavy"  # a second run would write or draw again
    if kind in ("pointwise", "reduction", "view"):
        return str(kind)
    # Values made from numbers alone, `zeros` or `arange`, cost no more to make than to load.
    return "creation" if kind is not None and not node.all_input_nodes else "heavy"


def _is_pure_random(node: Node) -> bool:
    """A draw from a seed tensor, which gives the same numbers again."""
    return getattr(node.target, "parameters", ())[:1] == ("seed",)


def _bytes(node: Node) -> int | None:
    """The size of a value as it would be saved; None for several values, or none at all."""
    value = node.meta.get("val")
    if value is None or isinstance(value, (tuple, list)):
        return None
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return 8  # a number
    count = 1
    for size in value.shape:
        count *= int(size)
    return count * value.dtype.itemsize


# -- the cut ---------------------------------------------------------------------------------------


class _Cut:
    """Which values to save.

    saved()        the values on the cut
      must_not()     what is never computed again
        chains()       values at the end of a chain as long as the budget
      cost()         what saving a value costs: more if it is written only for that, less if held
    """

    def __init__(self, parts: _Parts, budget: int | None) -> None:
        self.parts = parts
        self.budget = budget
        needed = _dependencies(parts.read)
        self.nodes = [node for node in parts.graph.nodes if node in needed]
        self.heavy_forward = self._read_by_heavy(lambda user: user in parts.forward)
        self.heavy_backward = self._read_by_heavy(lambda user: user in parts.backward)
        self.lasting = self._lasting()
        self.distance = self._distance()

    def saved(self) -> list[Node]:
        """The values to save, in the order of the graph."""
        if not self.parts.read:
            return []
        import networkx

        network = networkx.DiGraph()
        kept = self.must_not()
        for node in self.nodes:
            cost = self.cost(node)
            # An edge without a capacity is never cut.
            capacity = {} if cost is None else {"capacity": cost}
            network.add_edge((node, "in"), (node, "out"), **capacity)
            if node in kept:
                network.add_edge("source", (node, "in"))
            for user in node.users:
                if user not in self.parts.backward and user.op != "output":
                    network.add_edge((node, "out"), (user, "in"))
        for node in self.parts.read:
            network.add_edge((node, "out"), "sink")
        if "source" not in network:
            return []
        flow = networkx.algorithms.flow.boykov_kolmogorov
        try:
            _, (above, below) = networkx.minimum_cut(network, "source", "sink", flow_func=flow)
        except networkx.NetworkXUnbounded:
            raise ValueError(
                "partition: the backward half reads a value that cannot be saved: a tuple that is "
                "not taken apart by getitem, or a node without meta['val']"
            ) from None
        return [node for node in self.nodes if (node, "in") in above and (node, "out") in below]

    def must_not(self) -> set[Node]:
        """Values that the forward half has and the backward half must not compute again."""
        kept = set(self.parts.primals)
        for node in self.nodes:
            if node not in self.parts.forward:
                continue  # only the backward half needs it: it is computed once wherever that is
            kind = _kind(node)
            if _is_pure_random(node) or kind in ("view", "constant", "creation"):
                continue
            if kind in ("heavy", "reduction"):
                kept.add(node)
            elif node in self.heavy_forward and node in self.heavy_backward:
                kept.add(node)  # it is written to memory for one and would be again for the other
        return kept | self.chains(kept)

    def chains(self, kept: set[Node]) -> set[Node]:
        """Where a chain of repeated operations would become longer than the budget."""
        if self.budget is None:
            return set()
        length: dict[Node, int] = {}
        ends: set[Node] = set()
        for node in self.nodes:
            own = _kind(node) == "pointwise" and node in self.parts.forward
            inputs = (length[used] for used in node.all_input_nodes)
            length[node] = 0 if node in kept else max(inputs, default=0) + own
            if own and length[node] > self.budget:
                ends.add(node)
                length[node] = 0
        return ends

    def cost(self, node: Node) -> int | None:
        """What saving a value costs, in tenths of bytes; None for what cannot be saved."""
        size = _bytes(node)
        if size is None or node.op == "get_attr":
            return None
        size = max(size, 1)
        if node in self.parts.primals or node in self.parts.outputs:
            return 1 + size // 10  # the caller holds it anyway
        # What is saved further from its use is followed by more work that is done twice.
        size += size * min(self.distance[node], 20) // 20
        if _kind(node) == "view":
            return 11 * size  # if it must be, then rather what it views
        written = _kind(node) in ("heavy", "reduction") or node in self.heavy_forward
        # What fusion would keep in registers is written only in order to be saved.
        return 10 * size if written or node in self.lasting else 20 * size

    def _lasting(self) -> set[Node]:
        """Values that the forward half uses again behind an operation that does not fuse, as a
        residual is: they are in memory anyway."""
        level: dict[Node, int] = {}
        found: set[Node] = set()
        for node in self.parts.graph.nodes:
            if node not in self.parts.forward:
                continue
            own = [level[used] + (_kind(used) == "heavy") for used in node.all_input_nodes]
            level[node] = max(own, default=0)
            found.update(
                used
                for used, reached in zip(node.all_input_nodes, own, strict=True)
                if reached < level[node]
            )
        return found

    def _distance(self) -> dict[Node, int]:
        """How many operations, views not counted, lie between a value and the backward half."""
        read = set(self.parts.read)
        found: dict[Node, int] = {}
        for node in reversed(self.nodes):
            steps = [
                found[user] + (_kind(user) not in ("view", "constant"))
                for user in node.users
                if user in found
            ]
            found[node] = 0 if node in read else min(steps)
        return found

    def _read_by_heavy(self, counts: Any) -> set[Node]:
        """Values read, through views at most, by an operation that does not fuse with inputs."""
        found: set[Node] = set()
        for node in reversed(self.parts.graph.nodes):
            for user in node.users:
                kind = "view" if user.op == "output" else _kind(user)
                if (kind == "heavy" and counts(user)) or (kind == "view" and user in found):
                    found.add(node)
        return found


# -- the halves ------------------------------------------------------------------------------------


def _extract(
    graph: Graph, inputs: Iterable[Node], results: Iterable[Any], steady: set[Node]
) -> Graph:
    """The program that computes `results` from `inputs`. Nodes that are `steady` keep their order,
    the others come right before their first use, so that their values live briefly."""
    made = Graph(graph.owning_module)
    values: dict[Node, Node] = {}
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in inputs:
        name = str(node.target) if node.op == "placeholder" else node.name
        values[node] = made.create_node("placeholder", name, name=node.name)
        values[node].meta = dict(node.meta)
    results = list(results)
    wanted = sorted(_needed(results, values), key=order.__getitem__)
    steps: list[list[Any]] = [[node] for node in wanted if node in steady]
    for step in [*steps, results]:
        for needed in sorted(_needed(step, values), key=order.__getitem__):
            values[needed] = made.node_copy(needed, values.__getitem__)
    output = made.output(tuple(map_arg(result, values.__getitem__) for result in results))
    output.meta = dict(graph.output_node().meta)
    return made


def _needed(results: list[Any], known: dict[Node, Node]) -> set[Node]:
    waiting = [leaf for leaf in leaves(results) if isinstance(leaf, Node)]
    found: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node not in found and node not in known:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found
