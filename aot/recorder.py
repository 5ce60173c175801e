"""Recording operators below autograd: an interpreter that runs shape rules on fake tensors and
writes a graph.

A fake tensor carries the node that computes it in `_proxy`. Composite operators are opened, so a
graph written here has pointwise operators, reductions, views and externs only.
"""

from __future__ import annotations

import operator
from typing import Any

from eager import dispatch
from eager.fake import FakeTensor
from eager.op import Op
from eager.tensor import Tensor
from fx.graph import Graph
from fx.node import Node, map_arg


class Recorder(dispatch.Interpreter):
    """Writes every operator call into `graph`; subclasses say what happens above (`interpret`)."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.stack: Any = None  # the user's source lines, for the nodes that are written now
        self.constants: dict[str, Tensor] = {}  # real tensors met on the way, by attribute name

    def input(self, name: str, value: FakeTensor) -> FakeTensor:
        """A placeholder for a fake tensor."""
        node = self.graph.placeholder(name)
        node.meta["val"] = value
        value._proxy = node
        return value

    def node_of(self, value: Tensor) -> Node:
        """The node that computes a tensor; a real tensor becomes a constant of the graph."""
        node = getattr(value, "_proxy", None)
        if node is not None and node.graph is self.graph:
            return node
        if isinstance(value, FakeTensor):
            raise RuntimeError(
                f"a fake tensor of shape {tuple(value.shape)} was not made by this graph"
            )
        for name, known in self.constants.items():
            if known is value:
                return self.graph.find_nodes(op="get_attr", target=name)[0]
        name = f"_constant{len(self.constants)}"
        self.constants[name] = value
        with self.graph.inserting_before(next(iter(self.graph.nodes), None)):
            node = self.graph.get_attr(name)
        node.meta["val"] = FakeTensor.of(value)
        return node

    def argument(self, value: Any) -> Any:
        """Nodes instead of tensors, in sequences too."""
        if isinstance(value, Tensor):
            return self.node_of(value)
        if type(value) in (list, tuple):
            return type(value)(self.argument(v) for v in value)
        return value

    def record(self, op: Op, bound: tuple) -> Any:
        """Write a call and give its fake result."""
        fakes = tuple(self.to_fake(b) for b in bound)
        result = op.fake(fakes)
        node = self.graph.call_function(op, op.trim(tuple(self.argument(b) for b in bound)))
        node.meta["val"] = result
        if self.stack:
            node.meta["stack"] = self.stack
        if type(result) is tuple:
            for number, value in enumerate(result):
                item = self.graph.call_function(operator.getitem, (node, number))
                item.meta["val"] = value
                value._proxy = item
        else:
            result._proxy = node
        return result

    def to_fake(self, value: Any) -> Any:
        if isinstance(value, Tensor) and not isinstance(value, FakeTensor):
            return FakeTensor.of(value)
        if type(value) in (list, tuple):
            return type(value)(self.to_fake(v) for v in value)
        return value

    def open(self, op: Op, bound: tuple) -> Any:
        """Run a composite operator's definition under this recorder."""
        with dispatch.push(self):
            return op.function(*bound)

    def run(self, graph: Graph, inputs: list[Any], attributes: Any = None) -> Any:
        """Interpret a graph under this recorder; returns its output structure."""
        values: dict[Node, Any] = {}
        given = iter(inputs)
        result = None
        with dispatch.push(self):
            for node in graph.nodes:
                if node.op == "placeholder":
                    values[node] = next(given)
                elif node.op == "get_attr":
                    values[node] = _attribute(attributes, str(node.target))
                elif node.op == "output":
                    result = map_arg(node.args[0], lambda n: values[n])
                else:
                    self.stack = node.meta.get("stack")
                    args = map_arg(node.args, lambda n: values[n])
                    kwargs = map_arg(node.kwargs, lambda n: values[n])
                    values[node] = self.call(node.target, args, kwargs)
        self.stack = None
        return result

    def call(self, target: Any, args: Any, kwargs: Any) -> Any:
        return target(*args, **kwargs)


def _attribute(owner: Any, path: str) -> Any:
    for part in path.split("."):
        owner = getattr(owner, part)
    return owner


def flat(structure: Any) -> list[Any]:
    """The leaves of nested tuples and lists."""
    if type(structure) in (tuple, list):
        return [leaf for item in structure for leaf in flat(item)]
    return [structure]
