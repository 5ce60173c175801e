"""Autograd: recording operators as nodes, and running the recorded graph backwards.

`apply(op, bound, below)` is what an operator call means by default: `below` computes, and a node is
recorded if gradients are needed. Recorders that want derivatives (aot) call it with their own
`below`. Nodes hold what the derivative reads; a version counter tells when that was overwritten. A
write into a view rebases the history of its root (`CopySlices`).
"""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
import traceback
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.registry import ops
from eager.spec import Spec
from eager.tensor import Tensor


class _Mode(threading.local):
    grad = True
    inference = False


_MODE = _Mode()
_sequence = itertools.count()
# Set by anomaly mode: node -> the stack that recorded it.
anomaly: list[bool] = [False]


def is_grad_enabled() -> bool:
    return _MODE.grad


def set_grad_enabled_(enabled: bool) -> None:
    """Switch recording on or off for this thread (what graphs call; users take the context
    managers).
    """
    _MODE.grad = enabled


class _GradMode(ContextDecorator):
    """Base of the grad mode context managers; usable as decorators, with or without parentheses."""

    wanted = False

    def __new__(cls, function: Any = None) -> Any:
        if cls is not set_grad_enabled and callable(function):
            return object.__new__(cls)(function)
        return object.__new__(cls)

    def __enter__(self) -> None:
        self.previous = _MODE.grad
        set_grad_enabled_(self.wanted)

    def __exit__(self, *error: object) -> None:
        set_grad_enabled_(self.previous)

    def _recreate_cm(self) -> Any:
        return self if type(self) is set_grad_enabled else object.__new__(type(self))

    def clone(self) -> Any:
        return type(self)()


class no_grad(_GradMode):
    """Inside, operations record no gradients."""


class enable_grad(_GradMode):
    """Inside, operations record gradients, even within `no_grad`."""

    wanted = True


class set_grad_enabled(_GradMode):
    """Switch recording on or off at once; as a context manager, until its end."""

    def __init__(self, mode: bool):
        self.wanted = bool(mode)
        self.previous = _MODE.grad
        set_grad_enabled_(self.wanted)

    def __enter__(self) -> None:
        set_grad_enabled_(self.wanted)


class inference_mode(_GradMode):
    """Like `no_grad`, and `is_inference_mode_enabled()` is true inside."""

    def __new__(cls, mode: Any = True) -> Any:
        return object.__new__(cls)(mode) if callable(mode) else object.__new__(cls)

    def __init__(self, mode: bool = True):
        self.mode = mode if isinstance(mode, bool) else True

    def __enter__(self) -> None:
        self.previous, self.before = _MODE.grad, _MODE.inference
        if self.mode:
            set_grad_enabled_(False)
        _MODE.inference = self.mode

    def __exit__(self, *error: object) -> None:
        set_grad_enabled_(self.previous)
        _MODE.inference = self.before

    def _recreate_cm(self) -> inference_mode:
        return inference_mode(self.mode)


def is_inference_mode_enabled() -> bool:
    return _MODE.inference


# -- nodes -----------------------------------------------------------------------------------------


class Saved:
    """A tensor that a derivative reads, with the version it had."""

    __slots__ = ("tensor", "version")

    def __init__(self, tensor: Tensor):
        self.tensor, self.version = tensor, tensor._version

    def get(self, node: Node) -> Tensor:
        now = self.tensor._version
        if now != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an"
                f" inplace operation: [{self.tensor.dtype} {list(self.tensor.shape)}], which is an"
                f" argument of {node.name()}, is at version {now}; expected version {self.version}"
                " instead. Hint: enable anomaly detection to find the operation that failed to"
                " compute its gradient, with torch.autograd.set_detect_anomaly(True)."
            )
        return self.tensor


class SavedOutput:
    """An output that a derivative reads. It keeps the memory, not the tensor, which would be a
    cycle.
    """

    __slots__ = ("alias", "version", "number")

    def __init__(self, tensor: Tensor, number: int):
        self.alias, self.number = tensor._shallow(), number
        self.version = tensor._version

    def get(self, node: Node) -> Tensor:
        if self.alias._version != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an"
                f" inplace operation: [{self.alias.dtype} {list(self.alias.shape)}], which is"
                f" output {self.number} of {node.name()}, is at version {self.alias._version};"
                f" expected version {self.version} instead. Hint: enable anomaly detection to find"
                " the operation that failed to compute its gradient, with"
                " torch.autograd.set_detect_anomaly(True)."
            )
        result = self.alias._shallow()
        result._node, result._output_nr, result._requires_grad = node, self.number, True
        return result


class Node:
    """A step of the backward graph: from gradients of outputs to one gradient per edge."""

    edges: list[tuple[Node, int] | None]
    specs: tuple[Spec, ...] = ()  # of the outputs
    hooks: OrderedDict | None = None  # after: hook(grad_inputs, grad_outputs)
    prehooks: OrderedDict | None = None
    tensor_hooks: dict[int, OrderedDict] | None = None
    retained: dict[int, weakref.ref] | None = None
    traceback: str | None = None

    def __init__(self) -> None:
        self.sequence = next(_sequence)
        if anomaly[0]:
            self.traceback = "".join(traceback.format_stack(limit=12)[:-3])

    @property
    def metadata(self) -> dict:
        return self.__dict__.setdefault("_metadata", {})

    def name(self) -> str:
        return type(self).__name__

    @property
    def next_functions(self) -> tuple:
        return tuple((None, 0) if e is None else e for e in self.edges)

    def apply(self, grads: list[Tensor | None], keep: bool) -> Sequence[Tensor | None]:
        raise NotImplementedError

    def release(self) -> None:
        """Forget what was saved."""

    def register_hook(self, hook: Callable) -> Handle:
        self.hooks = OrderedDict() if self.hooks is None else self.hooks
        return Handle(self.hooks, hook)

    def register_prehook(self, hook: Callable) -> Handle:
        self.prehooks = OrderedDict() if self.prehooks is None else self.prehooks
        return Handle(self.prehooks, hook)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


class Handle:
    """Removes a hook; also a context manager."""

    _next = itertools.count()

    def __init__(self, hooks: dict, hook: Callable):
        self.id = next(Handle._next)
        self.hooks = hooks
        hooks[self.id] = hook

    def remove(self) -> None:
        self.hooks.pop(self.id, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class AccumulateGrad(Node):
    """The end of a path: adds to a leaf's `grad`."""

    def __init__(self, variable: Tensor):
        super().__init__()
        self.variable, self.edges = variable, []
        self.specs = (Spec.of(variable),)

    def accumulate(self, grad: Tensor, create_graph: bool) -> None:
        variable = self.variable
        old = variable.grad
        if old is None:
            variable.grad = grad if create_graph else _own(grad)
        elif create_graph or not hasattr(type(old), "_wrap") or type(old).__name__ == "FakeTensor":
            variable.grad = ops.add(old, grad)
        else:
            np.add(old._array, grad._array, out=old._array, casting="unsafe")
            old._bump()
        for hook in list((variable._post_hooks or {}).values()):
            hook(variable)


def _own(grad: Tensor) -> Tensor:
    """The gradient as a tensor that nobody else writes to: a copy if it is shared."""
    if type(grad) is not Tensor:
        return grad.detach()
    array = grad._array
    # References seen here: the engine's list, the caller's and this function's variable,
    # getrefcount's own.
    if sys.getrefcount(grad) <= 5 and grad._storage is None and grad._node is None:
        fresh = grad._exclusive or (array.base is None and sys.getrefcount(array) <= 3)
        if fresh and array.flags.c_contiguous:
            return grad
    return Tensor._wrap(array.copy(order="C"))


class OpNode(Node):
    """The derivative of one operator call."""

    out: list[Any] | None = None
    single = True

    def __init__(self, op: Any, bound: tuple):
        super().__init__()
        self.op = op
        edges: list = []
        places: list = []
        for i, value in enumerate(bound):
            if isinstance(value, Tensor):
                edges.append(edge_of(value))
                places.append((i, None))
            elif type(value) in (list, tuple):
                for j, v in enumerate(value):
                    if isinstance(v, Tensor):
                        edges.append(edge_of(v))
                        places.append((i, j))
        self.edges, self.places = edges, places
        wanted = [p[0] for p, e in zip(places, edges, strict=True) if e is not None]
        self.saves = saves = op.saved_for(
            tuple(wanted) if len(wanted) == 1 else tuple(dict.fromkeys(wanted))
        )
        self.saved: list | None = list(bound)
        for i, j in places:
            if j is None:
                self.saved[i] = Saved(bound[i]) if op.parameters[i] in saves else bound[i]._spec()
        if any(j is not None for _, j in places):
            self._save_lists(op, saves)

    def _save_lists(self, op: Any, saves: frozenset[str]) -> None:
        for i in {i for i, j in self.places if j is not None}:
            keep: Any = Saved if op.parameters[i] in saves else Spec.of
            self.saved[i] = [keep(v) if isinstance(v, Tensor) else v for v in self.saved[i]]  # type: ignore[index]

    def _input_spec(self, place: tuple) -> Spec:
        i, j = place
        kept = self.saved[i] if j is None else self.saved[i][j]  # type: ignore[index]
        return kept if type(kept) is Spec else kept.tensor._spec()

    def set_outputs(self, outputs: tuple[Tensor, ...]) -> None:
        self.specs = tuple([o._spec() for o in outputs])
        if len(outputs) != 1:
            self.single = False
        saves = self.saves
        if "out" in saves:
            self.out = [SavedOutput(o, n) for n, o in enumerate(outputs)]
        elif not self.single and any(f"out{n}" in saves for n in range(len(outputs))):
            self.out = [
                SavedOutput(o, n) if f"out{n}" in saves else self.specs[n]
                for n, o in enumerate(outputs)
            ]

    def name(self) -> str:
        return "".join(w.title() for w in self.op.name.split("_")) + "Backward0"

    def release(self) -> None:
        self.saved = self.out = None

    def apply(self, grads: list[Tensor | None], keep: bool) -> list[Tensor | None]:
        if self.saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved"
                " tensors after they have already been freed). Saved intermediate values of the"
                " graph are freed when you call .backward() or autograd.grad(). Specify"
                " retain_graph=True if you need to backward through the graph a second time or if"
                " you need to access saved tensors after calling backward."
            )
        bound = [self._load(s) for s in self.saved]
        out = (
            self.specs
            if self.out is None
            else tuple(o if type(o) is Spec else o.get(self) for o in self.out)
        )
        found = self._derive(grads, out, bound)
        inputs = [self._input_spec(p) for p in self.places]
        if not keep:
            self.release()
        results: list[Tensor | None] = []
        for (i, j), edge, spec in zip(self.places, self.edges, inputs, strict=True):
            grad = found[i] if edge is not None and i < len(found) else None
            if j is not None and grad is not None:
                grad = grad[j]
            results.append(None if grad is None else _fit(grad, spec))
        return results

    def _load(self, value: Any) -> Any:
        if isinstance(value, Saved):
            return value.get(self)
        if type(value) is list:
            return [self._load(v) for v in value]
        return value

    def _derive(self, grads: list, out: tuple, bound: list) -> Sequence[Any]:
        op = self.op
        g: Any = grads[0] if self.single else tuple(grads)
        o: Any = out[0] if self.single else out
        if op.kind == "reduction" and not bound[2]:
            g, o = _keep_dims(op, g, o, bound)
        if op.vjp is None:
            raise NotImplementedError(f"derivative for {op.name} is not implemented")
        if op.joint:
            needs = [False] * len(bound)
            for (i, _), edge in zip(self.places, self.edges, strict=True):
                needs[i] = needs[i] or edge is not None
            return op.vjp(g, o, tuple(needs), *bound)
        if not isinstance(op.vjp, tuple):
            return (op.vjp(g, o, *bound),)
        wanted = {
            i for (i, _), edge in zip(self.places, self.edges, strict=True) if edge is not None
        }
        return [
            f(g, o, *bound) if f is not None and i in wanted else None for i, f in enumerate(op.vjp)
        ]


def _keep_dims(op: Any, g: Tensor, out: Any, bound: list) -> tuple:
    """Reductions hand g and out to their derivatives with the reduced dimensions kept."""
    dims = op.dims(bound)
    shape = tuple(1 if i in dims else n for i, n in enumerate(bound[0].shape))
    kept = (
        ops.reshape(out, shape) if isinstance(out, Tensor) else Spec(shape, out.dtype, out.device)
    )
    return ops.reshape(g, shape), kept


def _fit(grad: Tensor, spec: Spec) -> Tensor:
    """A gradient in the shape and type of what it is the gradient of: broadcast dimensions are
    summed.
    """
    if grad.dtype is not spec.dtype:
        if grad.dtype.is_complex and not spec.dtype.is_complex:
            grad = ops.real(grad)
        if grad.dtype is not spec.dtype:
            grad = ops.convert(grad, spec.dtype)
    return grad if tuple(grad.shape) == spec.shape else sum_to(grad, spec.shape)


def sum_to(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo broadcasting: sum over the dimensions that `shape` lacks or has as 1."""
    extra = grad.ndim - len(shape)
    dims = [
        *range(extra),
        *(i + extra for i, n in enumerate(shape) if n == 1 and grad.shape[i + extra] != 1),
    ]
    if dims:
        grad = ops.sum(grad, tuple(dims), True)
    return ops.reshape(grad, shape) if extra else grad


class CopySlices(Node):
    """The history of a root after a write through one of its views."""

    def __init__(
        self, base: Tensor, chain: tuple, inner: OpNode, through_base: tuple[Node, int] | None
    ):
        super().__init__()
        self.chain, self.inner = chain, inner
        self.specs = (Spec.of(base),)
        self.edges = [through_base, *inner.edges[1:]]

    def release(self) -> None:
        self.inner.release()

    def apply(self, grads: list[Tensor | None], keep: bool) -> list[Tensor | None]:
        whole = grads[0]
        part = replay(whole, self.chain)  # type: ignore[arg-type]
        inner_edges = self.inner.edges
        self.inner.edges = [self.edges[0], *inner_edges[1:]]
        found = list(self.inner.apply([part], keep))
        self.inner.edges = inner_edges
        if self.edges[0] is None:
            return [None, *found[1:]]
        rest = ops.clone(whole)
        old = found[0] if found[0] is not None else ops.zeros_like(part)
        ops.copy_(replay(rest, self.chain), old)
        return [rest, *found[1:]]


def replay(base: Tensor, chain: tuple) -> Tensor:
    """The view of `base` that a chain of view operators gives."""
    for op, params in chain:
        base = op(base, *params)
    return base


# -- recording -------------------------------------------------------------------------------------


def node_of(tensor: Tensor) -> Node | None:
    """The node whose output this tensor is, made anew for a view whose root was written to."""
    base = tensor._base
    if base is not None and base._node is not tensor._seen and tensor._view is not None:
        if base.requires_grad and (
            tensor._seen is not None or tensor._node is None or base._node is not None
        ):
            with enable_grad():
                fresh = replay(base, tensor._view)
            tensor._node, tensor._output_nr, tensor._requires_grad = (
                fresh._node,
                fresh._output_nr,
                True,
            )
            tensor._seen = base._node
    return tensor._node


def edge_of(tensor: Tensor) -> tuple[Node, int] | None:
    """Where the gradient of a tensor goes; None if it needs none."""
    if not tensor.requires_grad:
        return None
    node = node_of(tensor)
    if node is not None:
        return node, tensor._output_nr
    found = tensor._accumulator() if tensor._accumulator is not None else None
    if found is None:
        found = AccumulateGrad(tensor)
        tensor._accumulator = weakref.ref(found)
    return found, 0


def needs_grad(bound: Iterable[Any]) -> bool:
    """Whether any tensor among the arguments, in lists too, requires a gradient."""
    for value in bound:
        if isinstance(value, Tensor):
            if value._requires_grad or (value._base is not None and value._base._requires_grad):
                return True
        elif type(value) in (list, tuple) and needs_grad(v for v in value if isinstance(v, Tensor)):
            return True
    return False


def apply(op: Any, bound: tuple, below: Callable[[Any, tuple], Any]) -> Any:
    """Call an operator with gradients: `below` computes, a node is recorded if any argument
    requires one.
    """
    kind = op.kind
    if kind == "composite":
        return op.function(*bound)
    if kind == "inplace":
        return _apply_in_place(op, bound, below)
    result = below(op, bound)
    if kind == "view":
        return _finish_view(op, bound, result)
    if (op.vjp is None and not op.saves) or not _MODE.grad or not needs_grad(bound):
        return result
    node = OpNode(op, bound)
    if type(result) is tuple:
        node.set_outputs(result)
        for number, tensor in enumerate(result):
            if tensor.dtype.category >= dtypes.FLOATING:
                tensor._node, tensor._output_nr, tensor._requires_grad = node, number, True
        return result
    if result.dtype.category >= dtypes.FLOATING:
        node.set_outputs((result,))
        result._node, result._requires_grad = node, True
    return result


def _finish_view(op: Any, bound: tuple, result: Tensor) -> Tensor:
    base = bound[0]
    if op.vjp is None or not _MODE.grad:
        if base.requires_grad:  # a view that autograd does not follow
            result._storage = base.untyped_storage()
            result._base = result._view = None
        return result
    if base.requires_grad:
        node = OpNode(op, bound)
        node.set_outputs((result,))
        result._node, result._requires_grad = node, True
        result._seen = result._base._node if result._base is not None else None
    return result


def _apply_in_place(op: Any, bound: tuple, below: Callable) -> Tensor:
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
        return ops.copy_(target, functional.function(*bound))
    node = OpNode(functional, bound) if recording and functional.vjp is not None else None
    if node is not None and isinstance(node.saved[0], Saved):  # type: ignore[index]
        # the derivative reads what is about to be overwritten
        node.saved[0] = Saved(apply(ops.clone, ops.clone.bind((target,), {}), below))  # type: ignore[index]
    below(op, bound)
    target._bump()
    if node is None:
        return target
    if target.dtype.category < dtypes.FLOATING:
        return target
    node.set_outputs((target,))
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
    if anomaly[0]:
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
    return result


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
