"""A graph: nodes in the order in which they run, and the methods that make, move, copy and erase
them. The API is torch.fx's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fx.namespace import Namespace
from fx.node import (
    OPCODES,
    Argument,
    Node,
    Target,
    describe_target,
    leaves,
    map_arg,
    target_name,
)

if TYPE_CHECKING:
    from fx.text import PythonCode


class _InsertPoint:
    """Restores the previous insertion point on leaving a `with` block."""

    def __init__(self, graph: Graph, insert: Callable[[Node], None]) -> None:
        self.graph = graph
        self.previous, graph._insert = graph._insert, insert

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: Any) -> None:
        self.graph._insert = self.previous


class NodeList:
    """The nodes of a graph as a sequence that may be walked while it is changed."""

    def __init__(self, graph: Graph, direction: str = "_next") -> None:
        self.graph = graph
        self.direction = direction

    def __len__(self) -> int:
        return self.graph._length

    def __iter__(self) -> Iterator[Node]:
        root, direction = self.graph._root, self.direction
        node = getattr(root, direction)
        while node is not root:
            if not node._erased:
                yield node
            node = getattr(node, direction)

    def __reversed__(self) -> NodeList:
        return NodeList(self.graph, "_prev" if self.direction == "_next" else "_next")

    def __contains__(self, node: object) -> bool:
        return isinstance(node, Node) and node.graph is self.graph and not node._erased

    def __repr__(self) -> str:
        return repr(list(self))


class Graph:
    """A program in six opcodes: placeholder, get_attr, call_function, call_method, call_module,
    output.

    New nodes are put at the end, or where `inserting_before` or `inserting_after` says.
    """

    def __init__(
        self,
        owning_module: Any = None,
        tracer_cls: type | None = None,
        tracer_extras: dict[str, Any] | None = None,
    ) -> None:
        self._root = Node(self, "", "root", "", (), {})
        self._insert: Callable[[Node], None] = self._root.prepend
        self._length = 0
        self._namespace = Namespace()
        self.owning_module = owning_module
        self._tracer_cls = tracer_cls
        self._tracer_extras = tracer_extras
        self.title = ""  # the comment above the printed program: who made it

    # -- reading -----------------------------------------------------------------------------------

    @property
    def nodes(self) -> NodeList:
        """All nodes in order; `reversed(graph.nodes)` walks backwards."""
        return NodeList(self)

    def find_nodes(self, *, op: str, target: Target | None = None, sort: bool = True) -> list[Node]:
        """The nodes of opcode `op`, with this target where one is given, in order."""
        return [
            node
            for node in self.nodes
            if node.op == op and (target is None or node.target == target)
        ]

    def output_node(self) -> Node:
        """The output node. Raises RuntimeError when the graph has none yet."""
        last = self._root._prev
        if last.op == "output":
            return last
        for node in reversed(self.nodes):
            if node.op == "output":
                return node
        raise RuntimeError("this graph has no output node: call graph.output(result) first")

    # -- making nodes ------------------------------------------------------------------------------

    def create_node(
        self,
        op: str,
        target: Target,
        args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None,
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Makes a node at the insertion point, named from its target unless a name is given.

        Raises AssertionError for an unknown opcode, or arguments that belong to another graph.
        """
        if op not in OPCODES:
            raise AssertionError(f"unknown opcode {op!r}: it must be one of {sorted(OPCODES)}")
        args = () if args is None else tuple(args)
        kwargs = {} if kwargs is None else kwargs
        for leaf in leaves((args, kwargs)):
            if isinstance(leaf, Node) and leaf.graph is not self:
                raise AssertionError(
                    f"argument {leaf.name} of {op} {describe_target(target)} belongs to another "
                    "graph: copy it with node_copy or graph_copy"
                )
        name = self._namespace.create_name(name or _candidate(op, target))
        node = Node(self, name, op, target, args, kwargs, type_expr)
        self._insert(node)
        self._length += 1
        return node

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """A parameter of the program; `default_value` makes it optional."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """Reads a parameter, buffer, submodule or other attribute of the owning module."""
        from fx.attribute import has

        if self.owning_module is not None and not has(self.owning_module, qualified_name):
            warnings.warn(
                f"get_attr: the owning module has no attribute {qualified_name!r}; the graph will "
                "not run until it has",
                stacklevel=2,
            )
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_function(
        self,
        the_function: Callable[..., Any],
        args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None,
        type_expr: Any = None,
        name: str | None = None,
    ) -> Node:
        """Calls a function or an operator."""
        return self.create_node("call_function", the_function, args, kwargs, name, type_expr)

    def call_method(
        self,
        method_name: str,
        args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Calls the method `method_name` of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_module(
        self,
        module_name: str,
        args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Calls the submodule of the owning module at the dotted path `module_name`."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def output(self, result: Argument, type_expr: Any = None) -> Node:
        """Returns `result`: a node, or constants and nodes in tuples, lists and dicts."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    # -- where new nodes go ------------------------------------------------------------------------

    def inserting_before(self, node: Node | None = None) -> _InsertPoint:
        """New nodes go before `node` (None: at the start of the graph); a context manager too."""
        if node is None:
            return self.inserting_after(self._root)
        self._check_own(node)
        return _InsertPoint(self, node.prepend)

    def inserting_after(self, node: Node | None = None) -> _InsertPoint:
        """New nodes go after `node`, in order (None: at the end); a context manager too."""
        if node is None:
            return self.inserting_before(self._root)
        self._check_own(node)
        last = node

        def insert(new: Node) -> None:
            nonlocal last
            (node if last._erased else last).append(new)
            last = new

        return _InsertPoint(self, insert)

    def _check_own(self, node: Node) -> None:
        if node.graph is not self:
            raise AssertionError(f"node {node.name} is not in this graph")

    # -- erasing and copying -----------------------------------------------------------------------

    def erase_node(self, to_erase: Node) -> None:
        """Takes an unused node out. Raises RuntimeError while anything uses it."""
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase.name} but it still had {len(to_erase.users)} users "
                f"in the graph: {list(to_erase.users)}!"
            )
        self._check_own(to_erase)
        if to_erase._erased:
            warnings.warn(f"erase_node({to_erase.name}): it is erased already", stacklevel=2)
            return
        to_erase._unlink()
        to_erase._erased = True
        self._length -= 1
        to_erase._assign((), {})

    def node_copy(
        self, node: Node, arg_transform: Callable[[Node], Argument] = lambda node: node
    ) -> Node:
        """Copies a node, usually of another graph; `arg_transform` gives this graph's arguments."""
        copy = self.create_node(
            node.op,
            node.target,
            map_arg(node.args, arg_transform),
            map_arg(node.kwargs, arg_transform),
            node.name,
            node.type,
        )
        copy.meta = dict(node.meta)
        return copy

    def graph_copy(
        self, g: Graph, val_map: dict[Node, Node], return_output_node: bool = False
    ) -> Argument:
        """Copies all nodes of `g` here and returns what its output becomes.

        `val_map` says which nodes of `g` are here already, and receives the others.
        """
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                result = map_arg(node.args[0], lambda item: val_map[item])
                return (result, node) if return_output_node else result
            val_map[node] = self.node_copy(node, lambda item: val_map[item])
        return None

    def __deepcopy__(self, memo: dict | None = None) -> Graph:
        copy = Graph(self.owning_module, self._tracer_cls, self._tracer_extras)
        copy.title = self.title
        values: dict[Node, Node] = {}
        result = copy.graph_copy(self, values, return_output_node=True)
        if result is not None:
            argument, old = result
            new = copy.create_node("output", "output", (argument,), None, old.name, old.type)
            new.meta = dict(old.meta)
        return copy

    # -- whole-graph services ----------------------------------------------------------------------

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Erases nodes that nothing uses and that change nothing; whether there were any."""
        from fx.passes.dead import eliminate_dead_code

        return eliminate_dead_code(self, is_impure_node)

    def lint(self) -> None:
        """Raises RuntimeError saying which operand is wrong, where and why (see fx/verify.py)."""
        from fx.verify import verify

        verify(self)

    def python_code(self, root_module: str = "self", *, verbose: bool = False) -> PythonCode:
        """The graph as the source of a method `forward`, with the globals that it needs."""
        from fx.text import write

        return write(self, name="forward", root=root_module, typed=verbose, free=not verbose)

    def print_tabular(self) -> None:
        """Prints one row per node."""
        head = ["opcode", "name", "target", "args", "kwargs"]
        rows = [
            [node.op, node.name, describe_target(node.target), str(node.args), str(node.kwargs)]
            for node in self.nodes
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in [head, ["-" * width for width in widths], *rows]:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            print("  ".join(cells).rstrip())

    def __str__(self) -> str:
        from fx.text import print_graph

        return print_graph(self)


def _candidate(op: str, target: Target) -> str:
    name = target_name(target)
    if op in ("placeholder", "get_attr", "call_module", "output"):
        return name.lstrip("*")
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
