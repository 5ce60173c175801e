"""torch.fx: graphs of Python programs. Every name comes from the `fx` floor; the modules here are torch's paths to them."""

from flambeau.fx import (
    graph,
    graph_module,
    immutable_collections,
    interpreter,
    node,
    passes,
    proxy,
    subgraph_rewriter,
)
from flambeau.missing import lookup
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.interpreter import Interpreter
from fx.node import Node, has_side_effect, map_arg
from fx.parser import ParseError, parse
from fx.proxy import Proxy
from fx.rewriter import replace_pattern
from fx.text import PythonCode as CodeGen
from fx.tracer import Tracer, symbolic_trace, wrap
from fx.transformer import Transformer
from fx.verify import VerifyError, verify

__getattr__ = lookup(__name__)
