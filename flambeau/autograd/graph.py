"""torch.autograd.graph: the nodes that autograd records, and hooks on what they save."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import eager.autograd as _autograd
from eager.autograd import Node, edge_of
from eager.packing import packed_in, packing
from eager.tensor import Tensor
from flambeau.missing import lookup

__all__ = [
    "GradientEdge", "Node", "disable_saved_tensors_hooks", "get_gradient_edge", "increment_version", "register_multi_grad_hook",
    "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip


class GradientEdge(NamedTuple):
    """Where a gradient goes: a node, and the number of its output."""

    node: Node
    output_nr: int


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of a tensor goes. Raises RuntimeError if it needs none."""
    edge = edge_of(tensor)
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(*edge)


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Tell autograd that a tensor was written without its knowledge."""
    for one in [tensor] if isinstance(tensor, Tensor) else tensor:
        one._bump()


class saved_tensors_hooks:
    """Inside, what the backward will read goes through `pack_hook` when it is saved, and through `unpack_hook` when it is read."""

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if packing.hooks and isinstance(packing.hooks[-1], str):
            raise RuntimeError(packing.hooks[-1])
        packing.hooks.append((self.pack_hook, self.unpack_hook))
        packed_in[0] += 1

    def __exit__(self, *error: object) -> None:
        packing.hooks.pop()
        packed_in[0] -= 1


class save_on_cpu(saved_tensors_hooks):
    """Inside, what is saved is copied to the CPU, where every tensor of flambeau is: a copy of its own."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(lambda tensor: (tensor.device, tensor.clone()), lambda packed: packed[1].to(packed[0]))


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside, setting hooks on saved tensors is an error with this message."""
    packing.hooks.append(error_message)
    try:
        yield
    finally:
        packing.hooks.pop()


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable, *, mode: str = "all") -> Any:
    """Call `fn` with the gradients of all tensors when the last of those on the way has come, or with the first one that comes.

    Raises ValueError for another mode than "all" and "any"."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    tensors = list(tensors)
    found: dict[int, Tensor] = {}

    def came(number: int, grad: Tensor) -> None:
        if mode == "any":
            if not found:
                fn(grad)
            found[number] = grad
            return
        found[number] = grad
        if len(found) == len(tensors):
            grads = [found[i] for i in range(len(tensors))]
            found.clear()
            fn(grads)

    handles = [tensor.register_hook(lambda grad, number=number: came(number, grad)) for number, tensor in enumerate(tensors)]

    class Several:
        def remove(self) -> None:
            for handle in handles:
                handle.remove()

    return Several()


__getattr__ = lookup(__name__, _autograd)
