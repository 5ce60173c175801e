"""Checks what every pass may rely on. The error says which node and operand, where in the program,
and why."""

from __future__ import annotations

from typing import Any

from fx.graph import Graph
from fx.node import OPCODES, Node, describe_target, map_aggregate


class VerifyError(RuntimeError):
    """A graph that breaks an invariant; one line per defect."""


def verify(graph: Graph, module: Any = None, *, opcodes: frozenset[str] = OPCODES) -> None:
    """Raises VerifyError, naming every defect, unless the graph is well formed.

    `module` (default: the graph's owner) must have what get_attr and call_module name; `opcodes`
    narrows what is allowed, as for graphs below dynamo.
    """
    owner = graph.owning_module if module is None else module
    defects = [f"{_place(node)}: {why}" for node, why in _defects(graph, owner, opcodes)]
    if defects:
        raise VerifyError("the graph is not well formed:\n  " + "\n  ".join(defects))


def _place(node: Node) -> str:
    where = f" ({node.location})" if node.location else ""
    return f"{node.name} = {node.op} {describe_target(node.target)}{where}"


def _defects(graph: Graph, owner: Any, opcodes: frozenset[str]) -> list[tuple[Node, str]]:
    found: list[tuple[Node, str]] = []
    order = {node: index for index, node in enumerate(graph.nodes)}
    names: dict[str, Node] = {}
    started = finished = False
    for node in graph.nodes:
        say = lambda why, node=node: found.append((node, why))  # noqa: E731
        if node.op not in opcodes:
            say(f"opcode {node.op!r} is not one of {', '.join(sorted(opcodes))}")
        if node.graph is not graph:
            say("it belongs to another graph")
        if node.name in names:
            say(f"its name is also the name of an earlier {names[node.name].op}")
        names[node.name] = node
        if finished:
            say("it comes after the output")
        if node.op == "placeholder" and started:
            say("a placeholder comes after a node that is none")
        started = started or node.op != "placeholder"
        finished = finished or node.op == "output"
        for why in (*_operands(node, order), *_users(node, order), *_target(node, owner)):
            say(why)
    return found


def _operands(node: Node, order: dict[Node, int]) -> list[str]:
    found: list[str] = []
    named = [*((f"args[{i}]", a) for i, a in enumerate(node.args)),
             *((f"kwargs[{key!r}]", value) for key, value in node.kwargs.items())]  # fmt: skip
    for operand, value in named:
        for used in _nodes(value):
            if used not in order:
                state = "was erased" if used._erased else "is not in this graph"
                found.append(f"operand {operand} is {used.name}, which {state}")
            elif order[used] >= order[node]:
                found.append(f"operand {operand} is {used.name}, which is defined only later")
            if node not in used.users:
                found.append(f"operand {operand} is {used.name}, which does not list it as a user")
            if used.op == "output":
                found.append(f"operand {operand} is the output")
    return found


def _users(node: Node, order: dict[Node, int]) -> list[str]:
    found = []
    for user in node.users:
        if user not in order:
            found.append(f"its user {user.name} is not in the graph")
        elif node not in user._input_nodes:
            found.append(f"its user {user.name} has no operand {node.name}")
    return found


def _target(node: Node, owner: Any) -> list[str]:
    if node.op == "call_function":
        if not callable(node.target):
            return [f"its target must be callable, not {type(node.target).__name__}"]
        return []
    if not isinstance(node.target, str):
        return [f"its target must be a string, not {type(node.target).__name__}"]
    if node.op == "call_method" and not node.args:
        return ["a call_method needs the object as args[0]"]
    if node.op not in ("get_attr", "call_module") or owner is None:
        return []
    value, path = owner, "the module"
    for atom in node.target.split("."):
        if not hasattr(value, atom):
            return [f"its target {node.target!r}: {path} has no attribute {atom!r}"]
        value, path = getattr(value, atom), atom
    if node.op == "call_module" and not callable(value):
        return [f"its target {node.target!r} is not a module"]
    return []


def _nodes(value: Any) -> list[Node]:
    found: list[Node] = []
    map_aggregate(value, lambda item: found.append(item) if isinstance(item, Node) else None)
    return found
