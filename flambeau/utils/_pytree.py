"""Trees of Python containers: flatten to leaves and a spec, map, and put together again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from flambeau.missing import lookup

PyTree = Any
Context = Any


class NodeDef(NamedTuple):
    """How a container comes apart into (children, context), and together again."""

    flatten: Callable[[Any], tuple[list, Any]]
    unflatten: Callable[[Iterable, Any], Any]


SUPPORTED_NODES: dict[type, NodeDef] = {}


def register_pytree_node(
    cls: type, flatten_fn: Callable, unflatten_fn: Callable, *, serialized_type_name: str | None = None, **kwargs: Any
) -> None:
    """Make a class a container of trees. Raises ValueError if it is one already."""
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(flatten_fn, unflatten_fn)


def _register_pytree_node(cls: type, flatten_fn: Callable, unflatten_fn: Callable, *args: Any, **kwargs: Any) -> None:
    register_pytree_node(cls, flatten_fn, unflatten_fn)


register_pytree_node(tuple, lambda t: (list(t), None), lambda items, _: tuple(items))
register_pytree_node(list, lambda t: (list(t), None), lambda items, _: list(items))
register_pytree_node(deque, lambda t: (list(t), t.maxlen), lambda items, size: deque(items, size))
register_pytree_node(
    dict, lambda t: (list(t.values()), list(t)), lambda items, keys: dict(zip(keys, items))
)
register_pytree_node(
    OrderedDict, lambda t: (list(t.values()), list(t)), lambda items, keys: OrderedDict(zip(keys, items))
)
register_pytree_node(
    defaultdict,
    lambda t: (list(t.values()), (t.default_factory, list(t))),
    lambda items, context: defaultdict(context[0], zip(context[1], items)),
)
register_pytree_node(
    namedtuple, lambda t: (list(t), type(t)), lambda items, kind: kind(*items)  # type: ignore[arg-type]
)


@dataclass(frozen=True)
class TreeSpec:
    """The shape of a tree: the container's type, its context, and the specs of its children. A leaf has the type None."""

    type: Any
    context: Context
    children_specs: tuple

    @property
    def num_leaves(self) -> int:
        return 1 if self.type is None else sum(child.num_leaves for child in self.children_specs)

    @property
    def num_children(self) -> int:
        return len(self.children_specs)

    def is_leaf(self) -> bool:
        return self.type is None

    def unflatten(self, leaves: Iterable) -> PyTree:
        return tree_unflatten(leaves, self)


def LeafSpec() -> TreeSpec:
    return _LEAF


_LEAF = TreeSpec(None, None, ())


def _kind(tree: Any) -> Any:
    kind = type(tree)
    if kind in SUPPORTED_NODES:
        return kind
    return namedtuple if issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def tree_flatten(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list, TreeSpec]:
    """The leaves from left to right, and the spec that puts them together again."""
    leaves: list = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree: PyTree, leaves: list, is_leaf: Callable[[Any], bool] | None) -> TreeSpec:
    kind = None if is_leaf is not None and is_leaf(tree) else _kind(tree)
    if kind is None:
        leaves.append(tree)
        return _LEAF
    children, context = SUPPORTED_NODES[kind].flatten(tree)
    return TreeSpec(kind, context, tuple(_flatten(child, leaves, is_leaf) for child in children))


def tree_unflatten(leaves: Iterable, treespec: TreeSpec) -> PyTree:
    """The tree of these leaves. Raises ValueError if there are too many or too few."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(f"the spec has {treespec.num_leaves} leaves, got {len(leaves)}")
    return _unflatten(iter(leaves), treespec)


def _unflatten(leaves: Any, spec: TreeSpec) -> PyTree:
    if spec.type is None:
        return next(leaves)
    children = [_unflatten(leaves, child) for child in spec.children_specs]
    return SUPPORTED_NODES[spec.type].unflatten(children, spec.context)


def tree_leaves(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> list:
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable, tree: PyTree, *rests: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> PyTree:
    """The tree with `func` applied to its leaves, and to those of further trees of the same shape beside them."""
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves, *(tree_flatten(rest, is_leaf)[0] for rest in rests)]
    return tree_unflatten([func(*items) for items in zip(*columns, strict=True)], spec)


def tree_map_(func: Callable, tree: PyTree, *rests: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> PyTree:
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(kind: Any, func: Callable, tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> PyTree:
    """`tree_map` over the leaves that are instances of `kind`, or that a predicate accepts."""
    test = kind if callable(kind) and not isinstance(kind, type) else lambda leaf: isinstance(leaf, kind)
    return tree_map(lambda leaf: func(leaf) if test(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree) -> bool:
    return all(map(pred, tree_leaves(tree)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree) -> bool:
    return any(map(pred, tree_leaves(tree)))


__getattr__ = lookup(__name__)
