"""Custom autograd functions in captured code: `forward` is interpreted in place, `backward` into a graph of its own, which becomes the
derivative of the results. What cannot be captured in either ends the graph before the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dynamo.unsupported import Raised, unsupported
from dynamo.values.base import Value
from dynamo.values.builtin import handles
from dynamo.values.klass import ClassValue
from dynamo.values.object import lookup
from dynamo.values.tensor import TensorValue
from eager import autograd
from eager import dtype as dtypes
from eager.fake import FakeTensor
from eager.function import Context, Function
from eager.registry import ops
from eager.tensor import Tensor
from fx.graph import Graph
from fx.interpreter import Interpreter

if TYPE_CHECKING:
    from dynamo.machine import Frame

_TITLE = "Custom autograd function"


class Derivative:
    """The captured backward of one call: gradients of its results in, gradients of its inputs out."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.__name__ = name

    def __repr__(self) -> str:
        return f"<backward of {self.__name__}>"

    def __call__(self, grads: Sequence[Tensor], saved: Sequence[Tensor]) -> list[Tensor | None]:
        return list(Interpreter(None, graph=self.graph).run(*grads, *saved))


@handles(Function.apply.__func__)  # type: ignore[attr-defined]
def _apply(m: Frame, kind: ClassValue, *args: Value, **kwargs: Value) -> Value:
    capture = m.capture
    needs = [isinstance(a, TensorValue) and bool(a.fake.requires_grad) for a in args]
    context = m.wrap(Context).call(m, [], {})
    context.store_attribute(m, "needs_input_grad", m.tuple_of([m.constant(n) for n in needs]))
    recording = autograd.is_grad_enabled() and any(needs)
    mode = autograd.is_grad_enabled()
    if mode:
        capture.set_grad_enabled(False)
    try:
        result = _forward(m, kind, context, args, kwargs)
    except Raised:
        unsupported(_TITLE, f"{kind.real.__name__}.forward raises an exception")
    if mode:
        capture.set_grad_enabled(True)
    if not recording:
        return result
    inputs = [a.fake for a, need in zip(args, needs, strict=True) if need]  # type: ignore[attr-defined]
    several = result.python_type() is tuple
    outputs = result.items(m) if several else [result]
    chosen = _differentiable(m, kind, context, outputs)
    graph, saved = _backward(m, kind, context, outputs, chosen, needs)
    derivative = Derivative(graph, kind.real.__name__)
    results = [outputs[place].fake for place in chosen]  # type: ignore[attr-defined]
    made = capture.execute(
        m, ops.with_derivative, [results, saved, inputs, derivative], {}, kind.real.__name__
    ).items(m)
    for place, value in zip(chosen, made, strict=True):
        outputs[place] = value
    return m.tuple_of(outputs) if several else outputs[0]


def _forward(
    m: Frame, kind: ClassValue, context: Value, args: Sequence[Value], kwargs: dict[str, Value]
) -> Value:
    forward = kind.attribute(m, "forward")
    if lookup(kind.real, "setup_context") is lookup(Function, "setup_context"):
        return forward.call(m, [context, *args], kwargs)
    result = forward.call(m, args, kwargs)
    kind.attribute(m, "setup_context").call(m, [context, m.tuple_of(list(args)), result], {})
    return result


def _differentiable(
    m: Frame, kind: ClassValue, context: Value, outputs: list[Value]
) -> list[int]:
    """The places of the outputs that have a gradient."""
    name = kind.real.__name__
    if context.attribute(m, "_dirty").items(m):
        unsupported(_TITLE, f"{name} marks inputs that it writes to")
    if len(outputs) > 1 and not m.truth(context.attribute(m, "_materialize")):
        unsupported(_TITLE, f"{name} asks for missing gradients as None")
    without = [value.identity() for value in context.attribute(m, "_no_grad").items(m)]
    return [
        place for place, value in enumerate(outputs)
        if isinstance(value, TensorValue) and value.fake.dtype.category >= dtypes.FLOATING
        and not any(value.identity() is other for other in without)
    ]  # fmt: skip


def _backward(
    m: Frame,
    kind: ClassValue,
    context: Value,
    outputs: list[Value],
    chosen: list[int],
    needs: list[bool],
) -> tuple[Graph, list[FakeTensor]]:
    """The graph of `backward`, and the tensors of the outer graph that it reads."""
    name = kind.real.__name__
    effects = m.effects.count()
    mode = autograd.is_grad_enabled()
    with m.capture.inner_graph() as inner:
        grads = [inner.gradient(outputs[place].fake) for place in chosen]  # type: ignore[attr-defined]
        autograd.set_grad_enabled_(False)
        try:
            given: list[Value] = []
            for place, value in enumerate(outputs):
                if place in chosen:
                    given.append(grads[chosen.index(place)])
                elif isinstance(value, TensorValue):
                    fake = value.fake
                    zeros = {"dtype": fake.dtype}
                    given.append(m.capture.execute(m, ops.zeros, [tuple(fake.shape)], zeros, "zeros"))
                else:
                    given.append(m.constant(None))
            found = kind.attribute(m, "backward").call(m, [context, *given], {})
        except Raised:
            unsupported(_TITLE, f"{name}.backward raises an exception")
        finally:
            autograd.set_grad_enabled_(mode)
        parts = found.items(m) if found.python_type() in (tuple, list) else [found]
        if len(parts) < len(needs) or m.effects.count() != effects:
            unsupported(_TITLE, f"{name}.backward changes objects, or gives too few gradients")
        wanted = [part for part, need in zip(parts, needs, strict=False) if need]
        return inner.close([p.fake if isinstance(p, TensorValue) else None for p in wanted])
