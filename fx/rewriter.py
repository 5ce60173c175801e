"""Replaces every place of a graph that looks like a pattern. Both sides are ordinary functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fx.attribute import assign, fetch, has
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.node import Argument, Node, is_operator, leaves
from fx.tracer import symbolic_trace

Pattern = Callable[..., Any] | Graph | GraphModule


class Match(NamedTuple):
    """Where a pattern was found: its first result, and what each of its nodes stands for."""

    anchor: Node
    nodes_map: dict[Node, Any]


@dataclass
class ReplacedPatterns:
    """A match and the nodes that took its place."""

    anchor: Node
    nodes_map: dict[Node, Any]
    replacements: list[Node] = field(default_factory=list)


def replace_pattern(gm: GraphModule, pattern: Pattern, replacement: Pattern) -> list[Match]:
    """Puts `replacement` wherever `pattern` matches, and recompiles; the matches.

    A parameter of the pattern stands for any value. Matches do not overlap, the first one wins, and
    nothing outside a match may use what is inside it, except the pattern's results.
    """
    replaced = replace_pattern_with_filters(gm, pattern, replacement)
    return [Match(found.anchor, found.nodes_map) for found in replaced]


def replace_pattern_with_filters(
    gm: GraphModule,
    pattern: Pattern,
    replacement: Pattern,
    match_filters: list[Callable[[Match, Graph, Graph], bool]] | None = None,
    ignore_literals: bool = False,
) -> list[ReplacedPatterns]:
    """As replace_pattern, for the matches that every filter `f(match, graph, pattern)` accepts.

    With `ignore_literals`, constants of the pattern match any constant.
    """
    before, after = _graph(pattern), _graph(replacement)
    if len(before.find_nodes(op="placeholder")) != len(after.find_nodes(op="placeholder")):
        raise ValueError("replace_pattern: pattern and replacement take different parameters")
    filters = match_filters or []
    matches = [
        match
        for match in _Matcher(gm.graph, before, ignore_literals).matches()
        if all(accept(match, gm.graph, before) for accept in filters)
    ]
    _copy_attributes(gm, replacement, after)
    renamed: dict[Node, Any] = {}
    replaced = [_replace(gm.graph, match, before, after, renamed) for match in matches]
    gm.recompile()
    return replaced


def _graph(pattern: Pattern) -> Graph:
    if isinstance(pattern, Graph):
        return pattern
    return (pattern if isinstance(pattern, GraphModule) else symbolic_trace(pattern)).graph


def _results(graph: Graph) -> list[Node]:
    return [leaf for leaf in leaves(graph.output_node().args) if isinstance(leaf, Node)]


# -- finding ---------------------------------------------------------------------------------------


class _Matcher:
    def __init__(self, graph: Graph, pattern: Graph, ignore_literals: bool) -> None:
        self.graph, self.pattern, self.ignore_literals = graph, pattern, ignore_literals
        self.anchors = list(dict.fromkeys(_results(pattern)))
        self.order = {node: index for index, node in enumerate(graph.nodes)}
        if not any(anchor.op != "placeholder" for anchor in self.anchors):
            raise ValueError("replace_pattern: the pattern computes nothing")

    def matches(self) -> Iterator[Match]:
        """Matches that do not overlap, in the order of the graph."""
        taken: set[Node] = set()
        first, *rest = [anchor for anchor in self.anchors if anchor.op != "placeholder"]
        for node in self.graph.nodes:
            for found in self._extend({}, first, node, rest):
                inside = _inside(found)
                if inside & taken or not self._fits(found, inside):
                    continue
                taken |= inside
                yield Match(node, found)
                break

    def _extend(
        self, known: dict[Node, Any], anchor: Node, node: Node, rest: list[Node]
    ) -> Iterator[dict[Node, Any]]:
        """Every way to match `anchor` at `node` and the other results of the pattern anywhere."""
        found = dict(known)
        if not self._match(anchor, node, found):
            return
        if not rest:
            yield found
            return
        following, *others = rest
        if following in found:
            yield from self._extend(found, following, found[following], others)
            return
        for candidate in self.graph.nodes:
            yield from self._extend(found, following, candidate, others)

    def _match(self, wanted: Node, node: Any, found: dict[Node, Any]) -> bool:
        """Whether the pattern's node can stand for a value; extends what was `found` before."""
        if wanted in found:
            known = found[wanted]
            return known is node or (not isinstance(node, Node) and _equal(known, node))
        if wanted.op == "placeholder":
            found[wanted] = node
            return True
        if not isinstance(node, Node) or node.op != wanted.op or node.target != wanted.target:
            return False
        if any(known is node for key, known in found.items() if key.op != "placeholder"):
            return False
        found[wanted] = node
        wanted_args, args = _arguments(wanted), _arguments(node)
        return self._match_argument(wanted_args, args, found)

    def _match_argument(self, wanted: Argument, value: Argument, found: dict[Node, Any]) -> bool:
        if isinstance(wanted, Node):
            return self._match(wanted, value, found)
        if isinstance(value, Node):
            return False
        if isinstance(wanted, (tuple, list)):
            same = isinstance(value, (tuple, list)) and len(wanted) == len(value)
            return same and all(map(lambda w, v: self._match_argument(w, v, found), wanted, value))
        if isinstance(wanted, dict):
            same = isinstance(value, dict) and wanted.keys() == value.keys()
            return same and all(self._match_argument(wanted[k], value[k], found) for k in wanted)
        return self.ignore_literals or _equal(wanted, value)

    def _fits(self, found: dict[Node, Any], inside: set[Node]) -> bool:
        """Whether only results are used outside, and these only after every input is known."""
        results = {found[anchor] for anchor in self.anchors if isinstance(found[anchor], Node)}
        for node in inside - results:
            if any(user not in inside for user in node.users):
                return False
        inputs = [v for k, v in found.items() if k.op == "placeholder" and isinstance(v, Node)]
        return _place(results, inside, inputs, self.order) is not None


def _arguments(node: Node) -> tuple[Argument, ...]:
    """Arguments in one form: those of an operator in signature order, defaults filled in."""
    if is_operator(node.target):
        return node.target.bind(node.args, node.kwargs)  # type: ignore[union-attr]
    return (node.args, node.kwargs)


def _equal(wanted: Any, value: Any) -> bool:
    return type(wanted) is type(value) and wanted == value


def _inside(found: dict[Node, Any]) -> set[Node]:
    """The graph's nodes that a match replaces."""
    return {node for wanted, node in found.items() if wanted.op != "placeholder"}


def _place(
    results: set[Node], inside: set[Node], inputs: list[Node], order: dict[Node, int]
) -> Node | None:
    """The node before which a replacement goes: after all inputs, before every use of a result."""
    users = [user for node in results for user in node.users if user not in inside]
    first = min(results & inside, key=order.__getitem__)
    for place in (first, *(sorted(users, key=order.__getitem__)[:1])):
        if all(order[value] < order[place] for value in inputs):
            return place
    return None


# -- replacing -------------------------------------------------------------------------------------


def _replace(
    graph: Graph, match: Match, before: Graph, after: Graph, renamed: dict[Node, Any]
) -> ReplacedPatterns:
    found, inside = match.nodes_map, _inside(match.nodes_map)
    order = {node: index for index, node in enumerate(graph.nodes)}
    old_results = [found[node] for node in _results(before)]
    values: dict[Node, Any] = {}
    parameters = before.find_nodes(op="placeholder"), after.find_nodes(op="placeholder")
    for wanted, parameter in zip(*parameters, strict=True):
        value = found.get(wanted)
        # What an earlier replacement took away lives on under its new name.
        values[parameter] = renamed.get(value, value) if isinstance(value, Node) else value
    inputs = [value for value in values.values() if isinstance(value, Node)]
    place = _place(set(old_results) & inside, inside, inputs, order)
    made: list[Node] = []
    with graph.inserting_before(place):
        for node in after.nodes:
            if node.op in ("placeholder", "output"):
                continue
            values[node] = copy = graph.node_copy(node, lambda used: values[used])
            for key in ("stack", "comment"):  # the user's line is the one that was replaced
                copy.meta.pop(key, None)
                if key in match.anchor.meta:
                    copy.meta[key] = match.anchor.meta[key]
            made.append(copy)
    new_results = [values[node] for node in _results(after)]
    if len(new_results) != len(old_results):
        raise ValueError(
            f"replace_pattern: the pattern has {len(old_results)} results, the replacement "
            f"{len(new_results)}"
        )
    for old, new in zip(old_results, new_results, strict=True):
        if old in inside:
            old.replace_all_uses_with(new, lambda user: user not in made)
            renamed[old] = new
    for node in sorted(inside, key=order.__getitem__, reverse=True):
        graph.erase_node(node)
    return ReplacedPatterns(match.anchor, found, made)


def _copy_attributes(gm: GraphModule, replacement: Pattern, after: Graph) -> None:
    """Modules and parameters that the replacement brings along."""
    owner = replacement if isinstance(replacement, GraphModule) else after.owning_module
    for node in after.nodes:
        target = str(node.target)
        if node.op in ("call_module", "get_attr") and owner is not None and not has(gm, target):
            assign(gm, target, fetch(owner, target))
