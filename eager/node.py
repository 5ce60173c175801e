"""The backward graph: one node for each recorded call, made in `eager.recording` and `eager.whole`.

A node keeps the arguments of its call: tensors where the derivative reads their values, a `Spec`
elsewhere; and with each kept tensor the version that it had, which tells when it was overwritten.
Recording is in the way of every forward pass, so that a node makes little: a leaf stands for its
own edge until someone walks the graph.
"""

from __future__ import annotations

import itertools
import sys
import traceback
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from eager import dispatch
from eager import dtype as dtypes
from eager.mode import _MODE, enable_grad
from eager.packing import Packed, pack_node, packs, unpacked
from eager.registry import ops
from eager.spec import Spec
from eager.storage import Storage
from eager.tensor import Tensor

count = itertools.count().__next__  # numbers nodes in the order of their calls
# Set by anomaly mode: nodes then keep the stack that recorded them; and whether NaN gradients raise.
anomaly: list[bool] = [False, True]


def overwritten(tensor: Tensor, now: int, was: int, what: str) -> RuntimeError:
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace"
        f" operation: [{tensor.dtype} {list(tensor.shape)}], which is {what}, is at version"
        f" {now}; expected version {was} instead. Hint: enable anomaly detection to find the"
        " operation that failed to compute its gradient, with"
        " torch.autograd.set_detect_anomaly(True)."
    )


class Saved:
    """A tensor that a derivative reads, with the version it had."""

    __slots__ = ("tensor", "version")

    def __init__(self, tensor: Tensor):
        self.tensor, self.version = tensor, tensor._version

    def get(self, node: Node) -> Tensor:
        now = self.tensor._version
        if now != self.version:
            raise overwritten(self.tensor, now, self.version, f"an argument of {node.name()}")
        return self.tensor


class SavedOutput:
    """An output that a derivative reads. It keeps the memory, not the tensor, which would be a
    cycle.
    """

    __slots__ = ("array", "fake", "storage", "version", "number")

    def __init__(self, tensor: Tensor, number: int):
        self.number = number
        if type(tensor) is not Tensor:
            self.array, self.fake, self.version = None, tensor._shallow(), tensor._version
            self.storage = self.fake.untyped_storage()
            return
        base = tensor if tensor._base is None else tensor._base
        storage = base._storage
        if storage is None:
            storage = base._storage = Storage(base._array)
        self.array, self.storage, self.version = tensor._array, storage, storage.version

    @property
    def alias(self) -> Tensor:
        """The output without its history."""
        if self.array is None:
            return self.fake._shallow()
        alias = object.__new__(Tensor)
        alias._array, alias._storage = self.array, self.storage
        return alias

    def check(self, node: Node) -> None:
        """RuntimeError if the output was written to since."""
        now = self.storage.version
        if now != self.version:
            what = f"output {self.number} of {node.name()}"
            raise overwritten(self.alias, now, self.version, what)

    def get(self, node: Node) -> Tensor:
        self.check(node)
        result = self.alias
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
        self.sequence = count()
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
    base = grad._base
    if type(base) is Tensor and _is_only_for(base, array) and array.flags.c_contiguous:
        return Tensor._wrap(array)
    return Tensor._wrap(array.copy(order="C"))


def _is_only_for(base: Tensor, view: np.ndarray) -> bool:
    """Whether nobody but this view of it holds a tensor and its memory."""
    owner = base._array
    # References: `grad._base`, the callers' and this function's variables, getrefcount's own; and
    # `base._array`, `view.base`, `owner`, getrefcount's own.
    return (
        base._storage is None and base._node is None and base._base is None
        and view.base is owner and owner.base is None
        and sys.getrefcount(base) <= 4 and sys.getrefcount(owner) <= 4
    )


def accumulator(leaf: Tensor) -> AccumulateGrad:
    """The node where the gradients of a leaf end; the same one as long as anyone holds it."""
    found = leaf._accumulator() if leaf._accumulator is not None else None
    if found is None:
        found = AccumulateGrad(leaf)
        leaf._accumulator = weakref.ref(found)
    return found


# -- edges -----------------------------------------------------------------------------------------


def node_of(tensor: Tensor) -> Node | None:
    """The node whose output this tensor is, made anew for a view whose root was written to."""
    base = tensor._base
    if base is not None and base._node is not tensor._seen and tensor._view is not None:
        if base.requires_grad and (
            tensor._seen is not None or tensor._node is None or base._node is not None
        ):
            with enable_grad():
                fresh = replay(base, tensor._view)
            tensor._node, tensor._output_nr = fresh._node, fresh._output_nr
            tensor._requires_grad, tensor._seen = True, base._node
    return tensor._node


def replay(base: Tensor, chain: tuple) -> Tensor:
    """The view of `base` that a chain of view operators gives."""
    for op, params in chain:
        base = op(base, *params)
    return base


def edge_of(tensor: Tensor) -> tuple[Node, int] | None:
    """Where the gradient of a tensor goes; None if it needs none."""
    if not tensor.requires_grad:
        return None
    node = node_of(tensor)
    return (accumulator(tensor), 0) if node is None else (node, tensor._output_nr)


# -- calls of operators ----------------------------------------------------------------------------


class Keeping(NamedTuple):
    """What a node keeps of a call."""

    parameters: tuple[bool, ...]  # whether values of a parameter are read
    out: bool
    outs: tuple[bool, ...] | None  # of several outputs


def keeping(op: Any, wanted: int) -> Keeping:
    """What the derivatives of the parameters in the bit set `wanted` read."""
    names = op.saved_for(tuple(i for i in range(len(op.parameters)) if wanted >> i & 1))
    numbered = [n for n in names if n.startswith("out") and n[3:].isdigit()]
    count = 1 + max((int(n[3:]) for n in numbered), default=-1)
    outs = tuple(f"out{n}" in names for n in range(count)) if numbered else None
    found = Keeping(tuple(p in names for p in op.parameters), "out" in names, outs)
    op.keeps[wanted] = found
    return found


def trace() -> str:
    return "".join(traceback.format_stack(limit=13)[:-4])


# Among what a node keeps of an elementwise call: an operand of the shape and type of the result, whose
# values are not read. Its gradient tells the rest.
LIKE_RESULT = Spec((), dtypes.float32)


class OpNode(Node):
    """The derivative of one operator call."""

    out: tuple | None = None  # saved outputs, a `Spec` for one that is not read
    single = True
    # Of each saved tensor in turn, 0 for one that is only described; None: none is saved.
    versions: list[int] | None = None
    packed: dict[tuple[int, int | None], Packed] | None = None  # by places of arguments
    saved: Any  # a list or a tuple; None once released
    keeps: Any = None
    _edges: list

    def __init__(self, op: Any, bound: tuple):
        self.op = op
        self.sequence = count()
        if anomaly[0]:
            self.traceback = trace()
        edges: list = []
        self._edges = edges
        wanted, bit = 0, 1
        for value in bound:
            if isinstance(value, Tensor):
                base = value._base
                if value._requires_grad or (base is not None and base._requires_grad):
                    node = value._node if base is None else node_of(value)
                    edges.append(value if node is None else (node, value._output_nr))
                    wanted |= bit
                else:
                    edges.append(None)
            elif (type(value) is list or type(value) is tuple) and self._enter(value):
                wanted |= bit
            bit += bit
        self.keeps = keeps = op.keeps.get(wanted) or keeping(op, wanted)
        self._save(bound, keeps.parameters)

    def _enter(self, values: Sequence[Any]) -> bool:
        """The tensors of a list; whether any requires a gradient."""
        found = False
        for value in values:
            if isinstance(value, Tensor):
                if value.requires_grad:
                    node, found = node_of(value), True
                    self._edges.append(value if node is None else (node, value._output_nr))
                else:
                    self._edges.append(None)
        return found

    def _save(self, bound: tuple, keep: tuple[bool, ...]) -> None:
        self.saved = saved = [*bound]
        versions: list[int] = []
        some = False
        for i, value in enumerate(bound):
            if isinstance(value, Tensor):
                if keep[i]:
                    some = True
                    storage = (value if value._base is None else value._base)._storage
                    versions.append(0 if storage is None else storage.version)
                else:
                    saved[i] = value._spec()
                    versions.append(0)
            elif type(value) is list or type(value) is tuple:
                tensors = [v for v in value if isinstance(v, Tensor)]
                some = some or (keep[i] and bool(tensors))
                versions += [v._version if keep[i] else 0 for v in tensors]
                if tensors and not keep[i]:
                    saved[i] = [v._spec() if isinstance(v, Tensor) else v for v in value]
        if some:
            self.versions = versions

    @property
    def places(self) -> list[tuple[int, int | None]]:
        """Where the tensors are among the arguments: a parameter, or a parameter and a place in
        its list."""
        found: list[tuple[int, int | None]] = []
        for i, value in enumerate(self.saved or ()):
            if isinstance(value, (Spec, Tensor)):
                found.append((i, None))
            elif type(value) is list or type(value) is tuple:
                found += [(i, j) for j, v in enumerate(value) if isinstance(v, (Spec, Tensor))]
        return found

    @property
    def edges(self) -> list:  # type: ignore[override]
        edges = self._edges
        for number, edge in enumerate(edges):
            if edge is not None and type(edge) is not tuple:
                edges[number] = (accumulator(edge), 0)
        return edges

    @edges.setter
    def edges(self, edges: list) -> None:
        self._edges = edges

    def replace(self, number: int, value: Tensor) -> None:
        """Keep another tensor in the place of a saved argument."""
        place = self.places.index((number, None))
        self.saved = [*self.saved]
        self.saved[number] = value
        self.versions[place] = value._version  # type: ignore[index]

    def pack(self) -> None:
        """Hand what is saved to the hooks of this thread."""
        if packs():
            pack_node(self)

    def set_output(self, result: Tensor) -> None:
        """One output needs no description: its gradient tells."""
        if self.keeps.out:
            self.out = (SavedOutput(result, 0),)

    def set_outputs(self, outputs: tuple[Tensor, ...]) -> None:
        self.specs = tuple([o._spec() for o in outputs])
        self.single = len(outputs) == 1
        if self.keeps.out:
            self.out = tuple(SavedOutput(o, n) for n, o in enumerate(outputs))
        elif self.keeps.outs is not None:
            kept = self.keeps.outs
            self.out = tuple(
                SavedOutput(o, n) if n < len(kept) and kept[n] else self.specs[n]
                for n, o in enumerate(outputs)
            )

    def name(self) -> str:
        return "".join(w.title() for w in self.op.name.split("_")) + "Backward0"

    def release(self) -> None:
        if self.versions is not None or self.out is not None:
            self.saved = self.out = self.packed = None

    def refuse(self) -> NoReturn:
        """What was saved is gone."""
        raise RuntimeError(
            "Trying to backward through the graph a second time (or directly access saved"
            " tensors after they have already been freed). Saved intermediate values of the"
            " graph are freed when you call .backward() or autograd.grad(). Specify"
            " retain_graph=True if you need to backward through the graph a second time or if"
            " you need to access saved tensors after calling backward."
        )

    def apply(self, grads: list[Tensor | None], keep: bool) -> list[Tensor | None]:
        if self.saved is None:
            self.refuse()
        places = self.places
        if self.versions is not None:
            self._check_versions(places)
        bound = self.saved if self.packed is None else unpacked(self)
        out: tuple = self.specs or (grads[0]._spec(),)  # type: ignore[union-attr]
        bound = [out[0] if value is LIKE_RESULT else value for value in bound]
        if self._is_over_arrays(grads):
            found: Sequence[Any] = self._over_arrays(grads[0], bound, places)
        else:
            if self.out is not None:
                out = tuple([o if type(o) is Spec else o.get(self) for o in self.out])
            found = self._derive(grads, out, bound, places)
        results: list[Tensor | None] = []
        for (i, j), edge in zip(places, self._edges):
            grad = found[i] if edge is not None and i < len(found) else None
            if j is not None and grad is not None:
                grad = grad[j]
            if grad is not None:
                grad = fit(grad, bound[i] if j is None else bound[i][j])
            results.append(grad)
        if not keep:
            self.release()
        return results

    def _is_over_arrays(self, grads: list[Tensor | None]) -> bool:
        """Whether `back` gives the gradients: nothing more is derived from them."""
        return (
            self.op.back is not None and type(grads[0]) is Tensor
            and not _MODE.grad and not dispatch.active[0]
        )

    def _over_arrays(self, g: Any, bound: Sequence[Any], places: list) -> list:
        kept = None
        if self.out is not None:
            kept = self.out[0].get(self)._array
        needs = [False] * len(bound)
        for (i, _), edge in zip(places, self._edges):
            needs[i] = edge is not None
        values = [value._array if isinstance(value, Tensor) else value for value in bound]
        found = self.op.back(g._array, kept, tuple(needs), *values)
        return [None if one is None else Tensor._wrap(one) for one in found]

    def _check_versions(self, places: list) -> None:
        for (i, j), was in zip(places, self.versions):  # type: ignore[arg-type]
            value = self.saved[i] if j is None else self.saved[i][j]  # type: ignore[index]
            if type(value) is not Spec and value._version != was:
                what = f"an argument of {self.name()}"
                raise overwritten(value, value._version, was, what)

    def _derive(self, grads: list, out: tuple, bound: list, places: list) -> Sequence[Any]:
        op = self.op
        g: Any = grads[0] if self.single else tuple(grads)
        o: Any = out[0] if self.single else out
        if op.kind == "reduction" and not bound[2]:
            g, o = _keep_dims(op, g, o, bound)
        vjp = op.vjp
        if vjp is None:
            raise NotImplementedError(f"derivative for {op.name} is not implemented")
        if not op.joint and not isinstance(vjp, tuple):
            return (vjp(g, o, *bound),)
        needs = [False] * len(bound)
        for (i, _), edge in zip(places, self._edges):
            if edge is not None:
                needs[i] = True
        if op.joint:
            return vjp(g, o, tuple(needs), *bound)
        return [f(g, o, *bound) if f is not None and needs[i] else None for i, f in enumerate(vjp)]


def _keep_dims(op: Any, g: Tensor, out: Any, bound: list) -> tuple:
    """Reductions hand g and out to their derivatives with the reduced dimensions kept."""
    dims = op.dims(bound)
    shape = tuple(1 if i in dims else n for i, n in enumerate(bound[0].shape))
    kept = (
        ops.reshape(out, shape) if isinstance(out, Tensor) else Spec(shape, out.dtype, out.device)
    )
    return ops.reshape(g, shape), kept


def fit(grad: Tensor, like: Any) -> Tensor:
    """A gradient in the shape and type of what it is the gradient of: broadcast dimensions are
    summed.
    """
    if grad.dtype is not like.dtype:
        if grad.dtype.is_complex and not like.dtype.is_complex:
            grad = ops.real(grad)
        if grad.dtype is not like.dtype:
            grad = ops.convert(grad, like.dtype)
    return grad if grad.shape == like.shape else sum_to(grad, tuple(like.shape))


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
