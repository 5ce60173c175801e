"""A node: one value of a graph, the operation that makes it, and the nodes that use it. Every
assignment to args and kwargs keeps the users exact."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fx.immutable import immutable_dict, immutable_list

if TYPE_CHECKING:
    from fx.graph import Graph

Target = str | Callable[..., Any]
Argument = Any

OPCODES = frozenset(
    {"placeholder", "get_attr", "call_function", "call_method", "call_module", "output"}
)
_side_effectful_functions: set[Callable[..., Any]] = {builtins.print, builtins.setattr}


def has_side_effect(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declares that calls of `function` must not be removed though nothing uses their result."""
    _side_effectful_functions.add(function)
    return function


def map_aggregate(
    value: Argument, function: Callable[[Argument], Argument], *, frozen: bool = False
) -> Argument:
    """`value` with `function` applied to every leaf of its tuples, lists, dicts and slices.

    Lists and dicts become immutable ones if `frozen`, as they are in a node.
    """
    kind = type(value)
    if isinstance(value, (tuple, list)):
        items = [map_aggregate(item, function, frozen=frozen) for item in value]
        if kind is tuple:
            return tuple(items)
        if isinstance(value, list):
            return immutable_list(items) if frozen else items
        return kind(*items) if hasattr(value, "_fields") else kind(items)
    if isinstance(value, dict):
        pairs = {key: map_aggregate(item, function, frozen=frozen) for key, item in value.items()}
        return immutable_dict(pairs) if frozen else pairs
    if kind is slice:
        bounds = (value.start, value.stop, value.step)
        return slice(*[map_aggregate(bound, function, frozen=frozen) for bound in bounds])
    return function(value)


def map_arg(
    value: Argument, function: Callable[[Node], Argument], *, frozen: bool = False
) -> Argument:
    """`value` with `function` applied to every Node in it; see map_aggregate."""
    return map_aggregate(
        value, lambda item: function(item) if isinstance(item, Node) else item, frozen=frozen
    )


def leaves(value: Argument) -> Iterator[Argument]:
    """The leaves of nested tuples, lists, dicts and slices, in order."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif type(value) is slice:
        yield from leaves((value.start, value.stop, value.step))
    else:
        yield value


class Node:
    """One operation of a graph.

    op        args, kwargs        target
    placeholder    (default,) or ()    the parameter's name
    get_attr       ()                  a dotted path in the owning module
    call_function  as called           the function
    call_method    (self, *args)       the method's name
    call_module    as called           a dotted path in the owning module
    output         (result,)           "output"
    """

    def __init__(
        self,
        graph: Graph,
        name: str,
        op: str,
        target: Target,
        args: tuple[Argument, ...],
        kwargs: dict[str, Argument],
        type: Any = None,
    ) -> None:
        self.graph = graph
        self.name = name
        self.op = op
        self.target = target
        self.type = type
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._input_nodes: dict[Node, None] = {}
        self._args: tuple[Argument, ...] = ()
        self._kwargs: dict[str, Argument] = {}
        self._prev: Node = self
        self._next: Node = self
        self._erased = False
        self._assign(args, kwargs)

    # -- arguments ---------------------------------------------------------------------------------

    @property
    def args(self) -> tuple[Argument, ...]:
        """Positional arguments: constants, nodes, and tuples, lists, dicts and slices of them."""
        return self._args

    @args.setter
    def args(self, args: tuple[Argument, ...]) -> None:
        self._assign(args, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Argument]:
        """Keyword arguments, as args."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Argument]) -> None:
        self._assign(self._args, kwargs)

    @property
    def all_input_nodes(self) -> list[Node]:
        """Every node among the arguments, once, in the order of first appearance."""
        return list(self._input_nodes)

    def _assign(self, args: tuple[Argument, ...], kwargs: dict[str, Argument]) -> None:
        for node in self._input_nodes:
            node.users.pop(self, None)
        inputs: dict[Node, None] = {}
        self._input_nodes = inputs

        def note(node: Node) -> Node:
            inputs[node] = None
            node.users[self] = None
            return node

        self._args = map_arg(tuple(args), note, frozen=True)
        self._kwargs = dict(map_arg(dict(kwargs), note, frozen=True))

    def update_arg(self, index: int, argument: Argument) -> None:
        """Replaces the positional argument at `index`."""
        args = list(self._args)
        args[index] = argument
        self.args = tuple(args)

    def insert_arg(self, index: int, argument: Argument) -> None:
        """Inserts a positional argument before `index`."""
        if not 0 <= index <= len(self._args):
            raise ValueError(
                f"insert_arg: index {index} is outside 0..{len(self._args)} of node {self.name}"
            )
        self.args = (*self._args[:index], argument, *self._args[index:])

    def update_kwarg(self, key: str, argument: Argument) -> None:
        """Sets the keyword argument `key`."""
        self.kwargs = {**self._kwargs, key: argument}

    def replace_input_with(self, old: Node, new: Node) -> None:
        """Every mention of `old` among the arguments becomes `new`."""
        self._assign(
            map_arg(self._args, lambda node: new if node is old else node),
            map_arg(self._kwargs, lambda node: new if node is old else node),
        )

    def replace_all_uses_with(
        self,
        replace_with: Node,
        delete_user_cb: Callable[[Node], bool] = lambda user: True,
        *,
        propagate_meta: bool = False,
    ) -> list[Node]:
        """Users of this node use `replace_with` instead; returns the users that were changed."""
        if propagate_meta:
            if replace_with.meta:
                raise ValueError(
                    f"replace_all_uses_with(propagate_meta=True): {replace_with.name} has meta "
                    "already; copy what you need yourself"
                )
            replace_with.meta.update(self.meta)
        changed = [user for user in self.users if delete_user_cb(user)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    # -- place in the graph ------------------------------------------------------------------------

    @property
    def next(self) -> Node:
        """The node after this one; the graph's root after the last."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before this one; the graph's root before the first."""
        return self._prev

    def prepend(self, node: Node) -> None:
        """Puts `node` directly before this one, taking it from where it was."""
        if node.graph is not self.graph:
            raise AssertionError(
                f"cannot move node {node.name} next to {self.name}: they are in different graphs"
            )
        if node is self:
            return
        node._unlink()
        before = self._prev
        before._next, node._prev = node, before
        node._next, self._prev = self, node

    def append(self, node: Node) -> None:
        """Puts `node` directly after this one, taking it from where it was."""
        if node is not self and node is not self._next:
            self._next.prepend(node)

    def _unlink(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    # -- what it is --------------------------------------------------------------------------------

    @property
    def stack_trace(self) -> str | None:
        """The user's frames that made this node, as Python prints a traceback."""
        frames = self.meta.get("stack")
        if not frames:
            return self.meta.get("stack_trace")
        return "".join(
            f'  File "{file}", line {line}, in {function}\n' for file, line, function in frames
        )

    @property
    def location(self) -> str:
        """The user's innermost line as `file:line`, or what a parsed text said, or nothing."""
        frames = self.meta.get("stack")
        if frames:
            file, line = frames[-1][:2]
            return f"{file}:{line}"
        return self.meta.get("comment", "")

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether removing this node, were it unused, would change what the program does."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            return self.target in _side_effectful_functions or _changes_state(
                self.target, impure_random
            )
        if self.op == "call_method":
            name = str(self.target)
            return name.endswith("_") and not name.endswith("__") or name == "__setitem__"
        if self.op == "call_module":
            return _module_changes_state(self.graph.owning_module, str(self.target))
        return False

    def format_node(self, placeholder_names: list[str] | None = None, **_: Any) -> str | None:
        """One line for this node, as torch.fx prints it; None for a placeholder or output that
        `placeholder_names` collects or that has nothing to say."""
        kind = f" : {self.type}" if self.type is not None else ""
        users = f"[num_users={len(self.users)}]"
        target = describe_target(self.target)
        if self.op == "placeholder" and placeholder_names is not None:
            placeholder_names.append(f"{self.target}{kind}")
            return None
        if self.op == "output":
            return f"return {_percent(self._args[0])}" if self._args else "return"
        text = f"%{self.name}{kind or ' :'} {users} = {self.op}[target={target}]"
        if self.op == "get_attr":
            return text
        if self.op == "placeholder":
            return text + (f"(default={_percent(self._args[0])})" if self._args else "")
        return text + f"(args = {_percent(self._args)}, kwargs = {_percent(self._kwargs)})"

    def __repr__(self) -> str:
        return self.name


def describe_target(target: Target) -> str:
    """A target as a reader would write it: `ops.add`, `operator.getitem`, or a string as it is."""
    if isinstance(target, str):
        return target
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    if is_operator(target):
        return f"ops.{target_name(target)}"
    module = getattr(target, "__module__", None)
    if module == "_operator":
        module = "operator"
    if name is None:
        return repr(target)
    return name if module in (None, "builtins") else f"{module}.{name}"


def target_name(target: Target) -> str:
    """The name that a value made by `target` starts from."""
    if isinstance(target, str):
        return target.replace(".", "_")
    name = getattr(target, "__name__", None) or getattr(target, "name", None)
    return str(name) if name else type(target).__name__


def is_operator(target: Any) -> bool:
    """Whether a target is one of eager's operators."""
    from eager.op import Op

    return isinstance(target, Op)


def _changes_state(target: Any, impure_random: bool) -> bool:
    if getattr(target, "mutates", None):
        return True
    if impure_random and getattr(target, "random", False):
        return True
    return target in _INPLACE


def _module_changes_state(owner: Any, path: str) -> bool:
    if owner is None:
        return True  # nobody can tell, so it stays
    module = owner.get_submodule(path)
    if getattr(module, "_is_impure", False):
        return True
    # Running statistics: a BatchNorm in training writes its buffers.
    return module.training and any(True for _ in module.buffers())


_INPLACE = frozenset(
    getattr(operator, name)
    for name in (
        "iadd iand iconcat ifloordiv ilshift imatmul imod imul ior ipow irshift isub itruediv ixor "
        "setitem delitem"
    ).split()
)


def _percent(value: Argument) -> str:
    if isinstance(value, Node):
        return f"%{value.name}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_percent, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(_percent, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_percent(item)}" for key, item in value.items()) + "}"
    return repr(value)
