"""Hooks on what the backward graph saves: a tensor goes through `pack` when a node keeps it, and what that made of it through `unpack`
when the derivative reads it. The tensor that comes back has the place in the graph of the one that was saved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from eager.mode import no_grad
from eager.spec import Spec
from eager.tensor import Tensor


class _Packing(threading.local):
    """The pairs (pack, unpack) of this thread, innermost last; None while a hook runs, a message where hooks are refused."""

    def __init__(self) -> None:
        self.hooks: list[tuple[Callable, Callable] | str | None] = []


packing = _Packing()
# In how many places hooks are set, in all threads: recording reads this instead of the thread's own.
packed_in = [0]


def packs() -> bool:
    """Whether what is saved now goes through a hook."""
    return bool(packing.hooks) and isinstance(packing.hooks[-1], tuple)


class Packed:
    """What a hook made of a saved tensor, and where the gradient of the tensor goes."""

    __slots__ = ("value", "unpack", "edge")

    def __init__(self, tensor: Tensor, edge: Any):
        hooks = packing.hooks[-1]
        assert isinstance(hooks, tuple)
        pack, self.unpack = hooks
        self.edge = edge
        packing.hooks.append(None)  # what the hook computes is not packed again
        try:
            with no_grad():
                self.value = pack(tensor._shallow())
        finally:
            packing.hooks.pop()

    def get(self, node: Any) -> Tensor:
        found = self.unpack(self.value)
        if not isinstance(found, Tensor):
            raise TypeError(f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(found).__name__}")
        result = found._shallow()
        if self.edge is not None:
            result._node, result._output_nr = self.edge
            result._requires_grad = True
        return result


def pack_node(node: Any) -> None:
    """Hand the tensors that a node keeps to the hooks; it keeps their descriptions."""
    node.packed = {}
    saved = node.saved = [*node.saved]
    for (i, j), edge in zip(node.places, node.edges):
        value = saved[i] if j is None else saved[i][j]
        if not isinstance(value, Tensor):
            continue
        node.packed[i, j] = Packed(value, edge)
        saved[i] = value._spec() if j is None else [*saved[i][:j], value._spec(), *saved[i][j + 1 :]]
    if node.out is not None:
        node.out = tuple(o if isinstance(o, Spec) else Packed(o.alias, (node, o.number)) for o in node.out)


def unpacked(node: Any) -> list:
    """The arguments that a node kept, with what the hooks give back."""
    bound = [*node.saved]
    for (i, j), packed in node.packed.items():
        value = packed.get(node)
        bound[i] = value if j is None else [*bound[i][:j], value, *bound[i][j + 1 :]]
    return bound
