"""Constant folding: what depends on attributes and constants only is computed now and kept as a
buffer."""

from __future__ import annotations

import operator
from collections.abc import Callable

from eager.autograd import no_grad
from eager.nn.parameter import Parameter
from eager.tensor import Tensor
from fx.attribute import fetch
from fx.graph_module import GraphModule
from fx.interpreter import Interpreter
from fx.node import Node, is_operator

PREFIX = "_folded"


def fold_constants(
    module: GraphModule,
    is_constant: Callable[[Node], bool] | None = None,
    limit: int = 1 << 24,
) -> int:
    """Replaces constant nodes by buffers of their values; the number of nodes that went.

    `is_constant(node)` says which get_attr nodes may be taken as constant (default: attributes that
    are not parameters); what a node writes in place never is. Results above `limit` bytes stay.
    Only operators are folded, none that is random or impure. The module is recompiled.
    """
    graph = module.graph
    chosen = _constants(module, is_constant or (lambda node: _is_buffer(module, node)))
    before = len(graph.nodes)
    runner = Interpreter(module, garbage_collect_values=False)
    with no_grad():
        for node in list(graph.nodes):
            if node not in chosen:
                continue
            value = runner.env[node] = runner.run_node(node)
            ends = node.op != "get_attr" and any(user not in chosen for user in node.users)
            if ends and isinstance(value, Tensor) and _size(value) <= limit:
                _replace(module, node, value)
    graph.eliminate_dead_code()
    module.recompile()
    return before - len(graph.nodes)


def _constants(module: GraphModule, is_constant: Callable[[Node], bool]) -> set[Node]:
    written = {
        used
        for node in module.graph.nodes
        if node.is_impure() and node.op != "output"
        for used in node.all_input_nodes
    }
    chosen: set[Node] = set()
    for node in module.graph.nodes:
        if node in written or node.op not in ("get_attr", "call_function"):
            continue
        if node.op == "get_attr":
            known = is_constant(node)
        else:
            # An operator is a function of its arguments, except that a composite may draw inside.
            known = is_operator(node.target) and node.target.kind != "composite"  # type: ignore[union-attr]
            known = known or node.target is operator.getitem
            known = known and all(used in chosen for used in node.all_input_nodes)
        if known and not node.is_impure():
            chosen.add(node)
    return chosen


def _is_buffer(module: GraphModule, node: Node) -> bool:
    value = fetch(module, str(node.target))
    return not isinstance(value, Parameter) and not getattr(value, "requires_grad", False)


def _size(value: Tensor) -> int:
    return value.numel() * value.dtype.itemsize


def _replace(module: GraphModule, node: Node, value: Tensor) -> None:
    number = 0
    while hasattr(module, f"{PREFIX}_{number}"):
        number += 1
    name = f"{PREFIX}_{number}"
    module.register_buffer(name, value)
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    node.replace_all_uses_with(constant, propagate_meta=True)
