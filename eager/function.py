"""Custom differentiable functions: `Function` with `forward`, `backward`, `setup_context`, as in
torch.autograd.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from eager import autograd
from eager import dtype as dtypes
from eager.autograd import Node, Saved, edge_of
from eager.packing import Packed, packs
from eager.spec import Spec
from eager.tensor import Tensor


class Context:
    """What `forward` leaves for `backward`."""

    def __init__(self) -> None:
        self._to_save: tuple = ()
        self._dirty: tuple = ()
        self._no_grad: tuple = ()
        self._materialize = True
        self.needs_input_grad: tuple[bool, ...] = ()
        self._node: FunctionNode | None = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        self._to_save = tensors

    save_for_forward = save_for_backward

    @property
    def saved_tensors(self) -> tuple:
        if self._node is None:
            return self._to_save
        return self._node.unpack()

    def mark_dirty(self, *tensors: Tensor) -> None:
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        self._no_grad = tensors

    def set_materialize_grads(self, value: bool) -> None:
        self._materialize = value


class FunctionNode(Node):
    """The backward of one call of a custom function."""

    def __init__(self, function: type[Function], context: Context, inputs: tuple):
        super().__init__()
        self.function, self.context = function, context
        self.count = len(inputs)
        self.places = [i for i, v in enumerate(inputs) if isinstance(v, Tensor)]
        self.edges = [edge_of(inputs[i]) for i in self.places]
        self.inputs = [Spec.of(inputs[i]) for i in self.places]
        self.saved: list | None = None

    def name(self) -> str:
        return f"{self.function.__name__}Backward"

    def keep(self, outputs: Sequence[Any]) -> None:
        self.saved = []
        for tensor in self.context._to_save:
            number = next(
                (n for n, o in enumerate(outputs) if o is tensor and tensor is not None), None
            )
            if tensor is None:
                self.saved.append(None)
            elif number is not None:
                self.saved.append(autograd.SavedOutput(tensor, number))
            elif packs():
                self.saved.append(Packed(tensor, edge_of(tensor)))
            else:
                self.saved.append(Saved(tensor))
        self.context._to_save = ()
        self.context._node = self

    def unpack(self) -> tuple:
        if self.saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved"
                " tensors after they have already been freed). Specify retain_graph=True if you"
                " need to backward through the graph a second time."
            )
        return tuple(None if s is None else s.get(self) for s in self.saved)

    def release(self) -> None:
        self.saved = None

    def apply(self, grads: list[Tensor | None], keep: bool) -> list[Tensor | None]:
        if self.context._materialize:
            from eager.registry import ops

            grads = [
                ops.zeros(spec.shape, dtype=spec.dtype) if g is None else g
                for g, spec in zip(grads, self.specs, strict=True)
            ]
        found = self.function.backward(self.context, *grads)
        if not keep:
            self.release()
        found = found if isinstance(found, (tuple, list)) else (found,)
        if len(found) < self.count:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected"
                f" {self.count}, got {len(found)})"
            )
        return [
            None if found[i] is None else autograd.fit(found[i], s)
            for i, s in zip(self.places, self.inputs, strict=True)
        ]


class Function:
    """Base of custom differentiable functions; call `Sub.apply(*args)`.

    Example:
        >>> import flambeau as torch
        >>> class Double(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         return 2 * x
        ...     @staticmethod
        ...     def backward(ctx, grad):
        ...         return 2 * grad
        >>> x = torch.ones(2, requires_grad=True)
        >>> Double.apply(x).sum().backward()
        >>> x.grad
        tensor([2., 2.])
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> Any:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError(
            "You must implement the backward function for your custom autograd.Function."
        )

    vjp = backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        context = Context()
        context.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        recording = autograd.is_grad_enabled() and any(context.needs_input_grad)
        node = FunctionNode(cls, context, args) if recording else None
        with autograd.no_grad():
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(context, args, result)
            else:
                result = cls.forward(context, *args, **kwargs)
        if node is None:
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        return _connect(node, context, args, outputs, isinstance(result, tuple))


def _connect(
    node: FunctionNode, context: Context, args: tuple, outputs: tuple, several: bool
) -> Any:
    fresh = []
    dirty = {id(t) for t in context._dirty}
    passed = {id(a) for a in args if isinstance(a, Tensor)}
    for out in outputs:
        # an input handed back unchanged needs an identity of its own
        fresh.append(
            out._shallow()
            if isinstance(out, Tensor) and id(out) in passed and id(out) not in dirty
            else out
        )
    node.specs = tuple(
        Spec.of(o) if isinstance(o, Tensor) else Spec((), dtypes.float32) for o in fresh
    )
    without = {id(t) for t in context._no_grad}
    for number, out in enumerate(fresh):
        if (
            isinstance(out, Tensor)
            and id(out) not in without
            and out.dtype.category >= dtypes.FLOATING
        ):
            if id(out) in dirty:
                out._bump()
            out._base = out._view = None
            out._node, out._output_nr, out._requires_grad = node, number, True
    node.keep(fresh)
    return tuple(fresh) if several else fresh[0]


def once_differentiable(function: Callable) -> Callable:
    """Decorates a `backward` that is not itself differentiable."""

    @functools.wraps(function)
    def run(ctx: Any, *grads: Any) -> Any:
        with autograd.no_grad():
            return function(ctx, *grads)

    return run
