"""Autograd: recording operators as nodes, and running the recorded graph backwards.

`apply(op, bound, below)` is what an operator call means by default: `below` computes, and a node is
recorded if gradients are needed. Recorders that want derivatives (aot) call it with their own
`below`. Nodes hold what the derivative reads; a version counter tells when that was overwritten. A
write into a view rebases the history of its root (`CopySlices`).
"""

from __future__ import annotations

import heapq
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.mode import (
    _MODE,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
    set_grad_enabled_,
)
from eager.node import (
    AccumulateGrad,
    CopySlices,
    Handle,
    Node,
    OpNode,
    Saved,
    SavedOutput,
    anomaly,
    edge_of,
    fit,
    node_of,
    replay,
    sum_to,
)
from eager.packing import packed_in
from eager.recording import record, record_view
from eager.registry import ops
from eager.tensor import Tensor

__all__ = [
    "AccumulateGrad", "Handle", "Node", "OpNode", "Saved", "SavedOutput", "anomaly", "apply",
    "backward", "edge_of", "enable_grad", "fit", "grad", "inference_mode", "is_grad_enabled",
    "is_inference_mode_enabled", "no_grad", "node_of", "record", "replay", "set_grad_enabled", "set_grad_enabled_",
    "sum_to",
]


# -- recording -------------------------------------------------------------------------------------


def needs_grad(bound: Iterable[Any]) -> bool:
    """Whether any tensor among the arguments, in lists too, requires a gradient."""
    for value in bound:
        if isinstance(value, Tensor):
            if value._requires_grad:
                return True
            base = value._base
            if base is not None and base._requires_grad:
                return True
        elif (type(value) is list or type(value) is tuple) and holds_tensors(value):
            if needs_grad([v for v in value if isinstance(v, Tensor)]):
                return True
    return False


def holds_tensors(values: Sequence[Any]) -> bool:
    """Whether a list may hold tensors: the first element of one of numbers tells."""
    return not values or type(values[0]) is not int


def apply(op: Any, bound: tuple, below: Callable[[Any, tuple], Any]) -> Any:
    """Call an operator with gradients: `below` computes, a node is recorded if any argument
    requires one.
    """
    kind = op.kind
    if kind == "composite":
        return op.function(*bound)
    if kind == "inplace":
        return apply_in_place(op, bound, below)
    result = below(op, bound)
    if kind == "view":
        return finish_view(op, bound, result)
    if op.recorded and _MODE.grad and needs_grad(bound):
        return record(op, bound, result)
    return result


def finish_view(op: Any, bound: tuple, result: Tensor) -> Tensor:
    """A view with its history, or cut off from that of its base where that is not followed."""
    base = bound[0]
    if not base.requires_grad:
        return result
    if op.vjp is None or not _MODE.grad:
        result._storage = base.untyped_storage()
        result._base = result._view = None
        return result
    return record_view(op, bound, result)


def apply_in_place(op: Any, bound: tuple, below: Callable) -> Tensor:
    target, functional = bound[0], op.functional
    recording = _MODE.grad and needs_grad(bound)
    if recording and target.requires_grad:
        root = target if target._base is None else target._base
        if root._node is None and root._requires_grad and node_of(target) is target._node:
            what = (
                "a leaf Variable that requires grad"
                if root is target
                else "a view of a leaf Variable that requires grad"
            )
            raise RuntimeError(f"{what} is being used in an in-place operation.")
    if functional.kind == "composite":
        # what it is made of may save what is about to be overwritten
        source = ops.clone(target) if recording else target
        result = functional.function(source, *bound[1:])
        op.check(bound, result.shape, result.dtype)
        return ops.copy_(target, result)
    node = OpNode(functional, bound) if recording and functional.vjp is not None else None
    if node is not None and node.keeps.parameters[0]:
        # the derivative reads what is about to be overwritten
        node.replace(0, apply(ops.clone, ops.clone.bind((target,), {}), below))
    below(op, bound)
    target._bump()
    if node is None:
        return target
    if target.dtype.category < dtypes.FLOATING:
        return target
    node.set_output(target)
    if packed_in[0]:
        node.pack()
    base = target._base
    if base is None:
        target._node, target._output_nr, target._requires_grad = node, 0, True
        return target
    through = edge_of(base)
    copied = CopySlices(base, target._view, node, through)  # type: ignore[arg-type]
    base._node, base._output_nr, base._requires_grad = copied, 0, True
    target._requires_grad = True
    target._seen = object()  # its own node is stale: made anew from the root when asked for
    return target


# -- running backwards -----------------------------------------------------------------------------


def _run(
    roots: list[tuple[Node, int]],
    grads: list[Tensor],
    keep: bool,
    create_graph: bool,
    captures: dict[tuple[Node, int], list[int]] | None,
    found: list[Tensor | None],
    accumulate: bool,
) -> None:
    buffers: dict[Node, list[Tensor | None]] = {}
    heap: list[tuple[int, Node]] = []
    wanted = _on_path(roots, captures) if captures is not None else None

    def send(node: Node, number: int, grad: Tensor) -> None:
        if wanted is not None and not wanted.get(node, False):
            return
        buffer = buffers.get(node)
        if buffer is None:
            buffer = buffers[node] = [None] * max(len(node.specs), 1)
            order = -node.sequence if not isinstance(node, AccumulateGrad) else 1
            heapq.heappush(heap, (order, id(node), node))  # type: ignore[misc]
        old = buffer[number]
        buffer[number] = grad if old is None else ops.add(old, grad)

    for (node, number), grad in zip(roots, grads, strict=True):
        send(node, number, grad)
    while heap:
        node = heapq.heappop(heap)[-1]
        _step(node, buffers.pop(node), send, keep, create_graph, captures, found, accumulate)


def _on_path(roots: list[tuple[Node, int]], captures: dict) -> dict[Node, bool]:
    """Which nodes lead to a captured edge."""
    targets = {node for node, _ in captures}
    order: list[Node] = []
    seen: set[Node] = set()
    stack = [n for n, _ in roots]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        order.append(node)
        stack.extend(e[0] for e in node.edges if e is not None)
    wanted: dict[Node, bool] = {}
    for node in sorted(order, key=lambda n: -1 if isinstance(n, AccumulateGrad) else n.sequence):
        wanted[node] = node in targets or any(
            e is not None and wanted.get(e[0], False) for e in node.edges
        )
    return wanted


def _step(
    node: Node,
    grads: list,
    send: Callable,
    keep: bool,
    create_graph: bool,
    captures: Any,
    found: list,
    accumulate: bool,
) -> None:
    if isinstance(node, AccumulateGrad):
        for hook in list((node.variable._hooks or {}).values()):
            grads[0] = _hooked(hook(grads[0]), grads[0])
    else:
        for number, hooks in (node.tensor_hooks or {}).items():
            for hook in list(hooks.values()):
                if grads[number] is not None:
                    grads[number] = _hooked(hook(grads[number]), grads[number])
        for number, reference in (node.retained or {}).items():
            tensor = reference()
            if tensor is not None and grads[number] is not None:
                tensor.grad = (
                    grads[number] if tensor.grad is None else ops.add(tensor.grad, grads[number])
                )
    if captures is not None:
        for number in range(len(grads)):
            for slot in captures.get((node, number), ()):
                found[slot] = grads[number]
    if isinstance(node, AccumulateGrad):
        if accumulate and (captures is None or (node, 0) in captures):
            grad = grads.pop()
            node.accumulate(grad, create_graph)
        return
    for hook in list((node.prehooks or {}).values()):
        grads = list(hook(tuple(grads)) or grads)
    results = _derive(node, grads, keep)
    for hook in list((node.hooks or {}).values()):
        results = hook(tuple(results), tuple(grads)) or results
    for edge, grad in zip(node.edges, results, strict=True):
        if edge is not None and grad is not None:
            send(edge[0], edge[1], grad)


def _derive(node: Node, grads: list, keep: bool) -> Sequence[Tensor | None]:
    try:
        results = node.apply(grads, keep)
    except Exception as error:
        if node.traceback:
            error.add_note(f"The forward call that recorded {node.name()}:\n{node.traceback}")
        raise
    if anomaly[0] and anomaly[1]:
        for number, grad in enumerate(results):
            if type(grad) is Tensor and np.isnan(grad._array).any():
                raise RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {number}th"
                    f" output.\n{node.traceback}"
                )
    return results


def _hooked(result: Any, grad: Tensor) -> Tensor:
    if result is None:
        return grad
    if not isinstance(result, Tensor):
        raise TypeError(f"a tensor hook must return a Tensor or None, got {type(result).__name__}")
    return result if result.dtype is grad.dtype else ops.convert(result, grad.dtype)


def _tuple(value: Any) -> tuple:
    return (value,) if isinstance(value, Tensor) or value is None else tuple(value)


def _seeds(outputs: tuple, grads: tuple) -> tuple[list, list]:
    """The edges where backward starts and the gradients given there."""
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    roots, seeds = [], []
    for out, grad in zip(outputs, grads, strict=True):
        if not out.requires_grad:
            raise RuntimeError(
                "element 0 of tensors does not require grad and does not have a grad_fn"
            )
        if grad is None:
            if out.numel() != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            grad = ops.ones_like(out)
        elif tuple(grad.shape) != tuple(out.shape):
            raise RuntimeError(
                f"Mismatch in shape: grad_output[0] has a shape of {grad.shape} and output[0] has a"
                f" shape of {out.shape}."
            )
        elif grad.dtype is not out.dtype:
            grad = ops.convert(grad, out.dtype)
        roots.append(edge_of(out))
        seeds.append(grad)
    return roots, seeds


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate gradients of `tensors` into the leaves (`torch.autograd.backward`).

    Raises RuntimeError for tensors without history, for non-scalars without a gradient, and for a
    graph already freed.
    """
    outputs = _tuple(tensors)
    given = _tuple(grad_tensors) if grad_tensors is not None else (None,) * len(outputs)
    roots, seeds = _seeds(outputs, given)
    captures: dict | None = None
    if inputs is not None:
        captures = {}
        for tensor in _tuple(inputs):
            edge = edge_of(tensor)
            if edge is None:
                raise RuntimeError("One of the differentiated Tensors does not require grad")
            captures.setdefault(edge, [])
            if not isinstance(edge[0], AccumulateGrad):
                retain_grad(tensor)
    keep = create_graph if retain_graph is None else retain_graph
    with set_grad_enabled(create_graph) if _MODE.grad != create_graph else _unchanged:
        _run(roots, seeds, keep, create_graph, captures, [], True)


class _Unchanged:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None


_unchanged = _Unchanged()


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of `outputs` with respect to `inputs` (`torch.autograd.grad`); nothing is
    accumulated.

    Raises RuntimeError for an input that the outputs do not depend on, unless `allow_unused` or
    `materialize_grads`.
    """
    if is_grads_batched:
        from eager.batching.gradients import batched

        return batched(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused)
    outs, ins = _tuple(outputs), _tuple(inputs)
    given = _tuple(grad_outputs) if grad_outputs is not None else (None,) * len(outs)
    roots, seeds = _seeds(outs, given)
    captures: dict[tuple[Node, int], list[int]] = {}
    for slot, tensor in enumerate(ins):
        edge = edge_of(tensor)
        if edge is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        captures.setdefault(edge, []).append(slot)
    found: list[Tensor | None] = [None] * len(ins)
    keep = create_graph if retain_graph is None else retain_graph
    with set_grad_enabled(create_graph) if _MODE.grad != create_graph else _unchanged:
        _run(roots, seeds, keep, create_graph, captures, found, False)
    for slot, value in enumerate(found):
        if value is None and materialize_grads:
            found[slot] = ops.zeros_like(ins[slot])
        elif value is None and not allow_unused:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. Set"
                " allow_unused=True if this is the desired behavior."
            )
    return tuple(found)


def gradients(loss: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What `loss.backward()` adds to the gradients of leaves: the call that stands for it in graphs."""
    return grad([loss], list(leaves))  # type: ignore[return-value]


# -- hooks on tensors ------------------------------------------------------------------------------


def register_tensor_hook(tensor: Tensor, hook: Callable) -> Handle:
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node = node_of(tensor)
    if node is None:
        tensor._hooks = OrderedDict() if tensor._hooks is None else tensor._hooks
        return Handle(tensor._hooks, hook)
    if node.tensor_hooks is None:
        node.tensor_hooks = {}
    return Handle(node.tensor_hooks.setdefault(tensor._output_nr, OrderedDict()), hook)


def register_post_accumulate_hook(tensor: Tensor, hook: Callable) -> Handle:
    if node_of(tensor) is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    tensor._post_hooks = OrderedDict() if tensor._post_hooks is None else tensor._post_hooks
    return Handle(tensor._post_hooks, hook)


def retain_grad(tensor: Tensor) -> None:
    """Keep the gradient of a non-leaf in its `grad`."""
    if not tensor.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    node = node_of(tensor)
    if node is None:
        return
    tensor._retains = True
    if node.retained is None:
        node.retained = {}
    node.retained[tensor._output_nr] = weakref.ref(tensor)
