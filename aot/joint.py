"""The joint graph: a pure graph is run on fake tensors that require gradients, with autograd above
the recorder; then autograd's own backward pass runs and is recorded behind it.
"""

from __future__ import annotations

from typing import Any

from aot.recorder import Recorder
from eager import autograd, dispatch
from eager.fake import FakeTensor
from eager.op import Op
from eager.tensor import Tensor
from fx.graph import Graph


class Joint(Recorder):
    """Records below autograd."""

    def interpret(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> Any:
        bound = op.bind(args, kwargs)
        if op.kind == "composite":
            return self.open(op, bound)
        if op.functional is not None:
            raise RuntimeError(f"{op.name} writes in place: a pure graph was expected")
        # the engine calls back into operators while this interpreter is off the stack
        return autograd.apply(op, bound, self.record)


class Step(Joint):
    """Runs the backward passes that a graph itself asks for."""

    def call(self, target: Any, args: Any, kwargs: Any) -> Any:
        result = super().call(target, args, kwargs)
        if target is not autograd.gradients:
            return result
        return tuple([value.contiguous() for value in result])


def asks_for_gradients(graph: Graph) -> bool:
    """Whether a graph has a backward pass in it."""
    return any(node.target is autograd.gradients for node in graph.nodes)


def trace_step(
    graph: Graph, needs: list[bool], attributes: Any = None
) -> tuple[Graph, dict[str, Tensor]]:
    """A pure graph with backward passes in it, written out; with the constants met."""
    worker = Step()
    placeholders = graph.find_nodes(op="placeholder")
    inputs = _primals(worker, placeholders, needs)
    mode = autograd.is_grad_enabled()
    autograd.set_grad_enabled_(True)
    try:
        outputs = worker.run(graph, inputs, attributes)
    finally:
        autograd.set_grad_enabled_(mode)
    worker.graph.output(tuple(worker.node_of(o) for o in outputs))
    return worker.graph, worker.constants


def _primals(worker: Recorder, placeholders: list[Any], needs: list[bool]) -> list[Any]:
    """The inputs of a pure graph, as fake tensors of which some want gradients."""
    inputs: list[Any] = []
    for node, wanted in zip(placeholders, needs, strict=True):
        value = node.meta["val"]
        if not isinstance(value, FakeTensor):
            worker.graph.placeholder(node.name).meta["val"] = value
            inputs.append(value)
            continue
        fake = FakeTensor.of(value)
        fake._requires_grad = wanted
        inputs.append(worker.input(node.name, fake))
    return inputs


def trace_joint(
    graph: Graph, needs: list[bool], attributes: Any = None
) -> tuple[Graph, list[int], list[bool], dict[str, Tensor]]:
    """The joint graph of a pure graph: `(primals…, tangents…) -> (outputs…, gradients of
    primals…)`.

    `needs[i]` says whether placeholder i requires a gradient. Returns the graph, the numbers of the
    outputs that have a tangent, for each primal whether its gradient is not None, and the constants
    met.
    """
    worker = Joint()
    placeholders = graph.find_nodes(op="placeholder")
    inputs = _primals(worker, placeholders, needs)
    mode = autograd.is_grad_enabled()
    autograd.set_grad_enabled_(True)
    try:
        outputs = list(worker.run(graph, inputs, attributes))
        differentiable = [
            n for n, o in enumerate(outputs) if isinstance(o, FakeTensor) and o.requires_grad
        ]
        tangents: list[FakeTensor] = []
        for n in differentiable:
            tangent = FakeTensor(
                outputs[n].shape, outputs[n].stride(), outputs[n].dtype, outputs[n].device
            )
            tangents.append(worker.input(f"tangents_{len(tangents)}", tangent))
        wanted_inputs = [t for t, w in zip(inputs, needs, strict=True) if w]
        with dispatch.push(worker):
            found = autograd.grad(
                [outputs[n] for n in differentiable], wanted_inputs, tangents, allow_unused=True
            )
    finally:
        autograd.set_grad_enabled_(mode)
    grads = iter(found)
    per_primal = [next(grads) if w else None for w in needs]
    _placeholders_first(worker.graph)
    worker.graph.output(
        (
            *[worker.node_of(o) for o in outputs],
            *[None if g is None else worker.node_of(g) for g in per_primal],
        )
    )
    return worker.graph, differentiable, [g is not None for g in per_primal], worker.constants


def _placeholders_first(graph: Graph) -> None:
    """Tangents were met after the forward half was written; a graph lists its inputs first."""
    late = graph.find_nodes(op="placeholder")
    first = next(iter(graph.nodes))
    if first in late:
        first = late[0]
    seen_other = None
    for node in list(graph.nodes):
        if node.op != "placeholder":
            seen_other = seen_other or node
        elif seen_other is not None:
            seen_other.prepend(node)
