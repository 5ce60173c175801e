"""A Transformer runs a graph on proxies, so that every node, or what a subclass puts in its place,
is recorded into a new graph."""

from __future__ import annotations

from typing import Any

from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.interpreter import Interpreter
from fx.node import Argument, Node, Target, map_aggregate
from fx.proxy import Proxy
from fx.tracer import Tracer


class _TransformerTracer(Tracer):
    record_stack_traces = False  # new nodes get the old ones' meta

    def __init__(self, graph: Graph, module: Any) -> None:
        super().__init__()
        self.graph = graph
        self.root = module

    def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
        return True


class Transformer(Interpreter):
    """An Interpreter whose values are proxies; override call_function and so on to rewrite.

    transform()        the new GraphModule
      run_node(node)     as in Interpreter; the new nodes keep the old node's meta
        placeholder, get_attr, call_function, call_method, call_module
                           record the same operation, unless overridden
    """

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.new_graph = Graph()
        self.tracer = _TransformerTracer(self.new_graph, module)

    def transform(self) -> GraphModule:
        """Runs the graph and returns what was recorded, as a module with the same parameters."""
        with self.tracer.recording():
            result = super().run(enable_io_processing=False)
        if result is not None:
            self.new_graph.output(map_aggregate(result, _node_of))
        return GraphModule(self.module, self.new_graph, self.module._class_name)

    def run_node(self, n: Node) -> Any:
        last = self.new_graph._root._prev
        value = super().run_node(n)
        made = last._next
        while made is not self.new_graph._root:
            for key, item in n.meta.items():
                made.meta.setdefault(key, item)
            made = made._next
        return value

    def placeholder(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        return self._record("placeholder", target, args, kwargs)

    def get_attr(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        return self._record("get_attr", target, args, kwargs)

    def call_module(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        return self._record("call_module", target, args, kwargs)

    def call_function(self, target: Any, args: tuple[Argument, ...], kwargs: dict) -> Any:
        return self._record("call_function", target, args, kwargs)

    def call_method(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        return self._record("call_method", target, args, kwargs)

    def _record(self, op: str, target: Target, args: tuple, kwargs: dict) -> Proxy:
        return self.tracer.create_proxy(op, target, args, kwargs)


def _node_of(value: Any) -> Any:
    return value.node if isinstance(value, Proxy) else value
