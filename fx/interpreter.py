"""Runs a graph node by node. A subclass changes what a node means by overriding one method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fx.graph import Graph
from fx.node import Argument, Node, Target, describe_target, map_aggregate


class Interpreter:
    """Runs the graph of a module on values.

    run(*args)                          all nodes in order, freeing values after their last use
      run_node(node)                    one node
        fetch_args_from_env(node)         its arguments, nodes replaced by their values
        placeholder(target, args, kwargs)     the next argument of run
        get_attr(target, args, kwargs)        fetch_attr(target): an attribute of the module
        call_function(target, args, kwargs)   target(*args, **kwargs)
        call_method(target, args, kwargs)     getattr(args[0], target)(*args[1:], **kwargs)
        call_module(target, args, kwargs)     the submodule's call
        output(target, args, kwargs)          the result of run

    An error names the node and the user's line that made it, as a note on the exception.
    """

    def __init__(
        self, module: Any, garbage_collect_values: bool = True, graph: Graph | None = None
    ) -> None:
        if isinstance(module, Graph):
            module, graph = module.owning_module, module
        self.module = module
        self.graph = module.graph if graph is None else graph
        self.garbage_collect_values = garbage_collect_values
        self.env: dict[Node, Any] = {}
        self.args_iter: Iterator[Any] = iter(())
        self.last_uses = _last_uses(self.graph) if garbage_collect_values else {}

    def run(
        self,
        *args: Any,
        initial_env: dict[Node, Any] | None = None,
        enable_io_processing: bool = True,
    ) -> Any:
        """The graph's result for these arguments; `initial_env` gives values computed already."""
        self.env = {} if initial_env is None else dict(initial_env)
        self.args_iter = iter(args)
        del args  # the iterator owns them: a value may be freed after its last use
        result = None
        for node in self.graph.nodes:
            if node in self.env:
                continue
            try:
                value = self.run_node(node)
            except Exception as error:
                explain(error, node)
                raise
            if node.op == "output":
                result = value
                break
            self.env[node] = value
            del value
            for done in self.last_uses.get(node, ()):
                self.env.pop(done, None)
        self.env = {} if self.garbage_collect_values else self.env
        return result

    def boxed_run(self, args_list: list[Any]) -> Any:
        """As run, and empties `args_list`, so that the caller holds no argument either."""
        args = iter(args_list.copy())
        args_list.clear()
        return self.run(*args)

    def run_node(self, n: Node) -> Any:
        """The value of one node."""
        args, kwargs = self.fetch_args_from_env(n)
        return getattr(self, n.op)(n.target, args, kwargs)

    # -- one method per opcode ---------------------------------------------------------------------

    def placeholder(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        """The next argument of run, or the parameter's default."""
        if isinstance(target, str) and target.startswith("*"):
            return list(self.args_iter)
        try:
            return next(self.args_iter)
        except StopIteration:
            if args:
                return args[0]
            expected = [node.target for node in self.graph.find_nodes(op="placeholder")]
            raise RuntimeError(
                f"Expected positional argument for parameter {target}, but one was not passed in! "
                f"The graph takes {', '.join(map(str, expected))}"
            ) from None

    def get_attr(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        """An attribute of the module."""
        return self.fetch_attr(str(target))

    def call_function(self, target: Any, args: tuple[Argument, ...], kwargs: dict) -> Any:
        """The function's result."""
        return target(*args, **kwargs)

    def call_method(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        """The result of a method of the first argument."""
        owner, *rest = args
        return getattr(owner, str(target))(*rest, **kwargs)

    def call_module(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        """The submodule's result."""
        return self.fetch_attr(str(target))(*args, **kwargs)

    def output(self, target: Target, args: tuple[Argument, ...], kwargs: dict) -> Any:
        """The result of run."""
        return args[0]

    # -- looking up --------------------------------------------------------------------------------

    def fetch_attr(self, target: str) -> Any:
        """The module's attribute at a dotted path. Raises RuntimeError where the path ends."""
        value = self.module
        atoms = target.split(".")
        for index, atom in enumerate(atoms):
            if not hasattr(value, atom):
                raise RuntimeError(
                    f"Node referenced nonexistent target {target!r}: "
                    f"{'.'.join(atoms[:index]) or 'the module'} has no attribute {atom!r}"
                )
            value = getattr(value, atom)
        return value

    def fetch_args_from_env(self, n: Node) -> tuple[tuple, dict]:
        """A node's args and kwargs with every node replaced by its value."""
        return self.map_nodes_to_values(n.args, n), self.map_nodes_to_values(n.kwargs, n)

    def map_nodes_to_values(self, args: Argument, n: Node) -> Argument:
        """`args` with every node replaced by its value."""
        env = self.env

        def value_of(item: Any) -> Any:
            if not isinstance(item, Node):
                return item
            if item not in env:
                raise RuntimeError(
                    f"Node {n} referenced nonexistent value {item}! Run graph.lint() to diagnose"
                )
            return env[item]

        return map_aggregate(args, value_of)


def explain(error: BaseException, node: Node) -> None:
    """Adds a note to an exception: the node that raised, and the user's line that made it."""
    if getattr(error, "_explained", False):
        return
    where = f" ({node.location})" if node.location else ""
    target = describe_target(node.target)
    error.add_note(f"While executing {node.name} = {node.op} {target}{where}")
    if node.stack_trace:
        error.add_note(f"Original traceback:\n{node.stack_trace.rstrip()}")
    try:
        error._explained = True  # type: ignore[attr-defined]
    except AttributeError:
        pass  # exceptions with slots take no attribute; a second note does no harm


def _last_uses(graph: Graph) -> dict[Node, list[Node]]:
    """For each node, the values that nothing needs after it."""
    seen: set[Node] = set()
    last: dict[Node, list[Node]] = {}
    for node in reversed(graph.nodes):
        done = [value for value in (*node.all_input_nodes, node) if value not in seen]
        if done:
            seen.update(done)
            last[node] = done
    return last
