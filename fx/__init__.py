"""Graphs: programs as data, in six opcodes, with torch.fx's API.

node          one value: the operation that makes it and the nodes that use it
immutable     the lists and dicts that a node holds
namespace     legal, unique names for values
graph         the list of nodes and what can be done to it
text          prints a graph as Python: the typed form and GraphModule.code
parser        reads the typed form back
verify        says which operand is wrong, where and why
attribute     attributes of modules by dotted path
graph_module  a module whose forward is generated from a graph
interpreter   runs a graph node by node
proxy         a value that records what is done to it
tracer        runs user code on proxies: symbolic_trace
transformer   runs a graph node by node into a new graph
maker         writes nodes with their fakes beside another one
rewriter      replaces one pattern by another
drawing       a graph as SVG or HTML
collector     Python's garbage collector, paused while graphs are made
passes/       one pass per file
"""

from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.interpreter import Interpreter
from fx.node import Node, has_side_effect, map_arg
from fx.proxy import Proxy
from fx.rewriter import replace_pattern
from fx.tracer import Tracer, symbolic_trace, wrap
from fx.transformer import Transformer

__all__ = [
    "Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer",
    "has_side_effect", "map_arg", "replace_pattern", "symbolic_trace", "wrap",
]  # fmt: skip
