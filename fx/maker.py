"""Writes nodes with their fakes beside a node that they are to replace."""

from __future__ import annotations

from typing import Any

from fx.graph import Graph
from fx.node import Node


class Maker:
    """`maker(op, *args)` is a node before `place`, with `meta["val"]` and the place's stack."""

    def __init__(self, graph: Graph, place: Node) -> None:
        self.graph, self.place = graph, place

    def __call__(self, op: Any, *args: Any) -> Node:
        with self.graph.inserting_before(self.place):
            node = self.graph.call_function(op, args)
        node.meta["val"] = op(*(_value(argument) for argument in args))
        node.meta["stack"] = self.place.meta.get("stack", [])
        return node


def _value(argument: Any) -> Any:
    if isinstance(argument, (list, tuple)):
        return type(argument)(map(_value, argument))
    return argument.meta["val"] if isinstance(argument, Node) else argument
