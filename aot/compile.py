"""The pipeline of aot: a captured graph becomes a callable that keeps eager's results, gradients,
mutations and aliases.

    functionalize -> attention -> (joint: autograd's derivatives) -> decompose -> simplify ->
    (partition) -> compilers -> runtime

Compilers are given: each takes a pure GraphModule and example inputs and returns a callable over
tensors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from aot.attention import join_attention
from aot.decompose import decompose
from aot.functional import functionalize
from aot.joint import asks_for_gradients, trace_joint, trace_step
from aot.partition import partition
from aot.runtime import Inference, Program, Spending, Training, Unaliased
from eager import autograd
from eager.fake import FakeTensor
from eager.nn.parameter import Parameter
from eager.op import Op, ops
from eager.tensor import Tensor
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.passes.dead import eliminate_dead_code
from fx.passes.duplicate import eliminate_common_subexpressions

Compiler = Callable[[GraphModule, Sequence[Any]], Callable]


def interpret(module: GraphModule, examples: Sequence[Any]) -> Callable:
    """The compiler that compiles nothing: the graph runs operator by operator (backend
    `aot_eager`).
    """

    def run(*values: Any) -> tuple:
        with autograd.no_grad():
            result = module(*values)
        return result if isinstance(result, tuple) else tuple(result)

    return run


def compile(
    module: GraphModule,
    examples: Sequence[Any],
    *,
    forward_compiler: Compiler = interpret,
    backward_compiler: Compiler | None = None,
    inference_compiler: Compiler | None = None,
    keep: frozenset[Op] = frozenset(),
    on_stage: Callable[[str, GraphModule], None] | None = None,
) -> Callable:
    """Compile a captured graph ahead of time, with its backward graph where an input requires a
    gradient.

    `keep` names operators that the compilers take whole. `on_stage(name, module)` sees every graph
    on the way. Raises NotFunctional where the program cannot be written without mutation.
    """
    worker, plan = functionalize(module.graph, list(examples), module)
    constants = dict(worker.constants)
    if ops.attention in keep:
        join_attention(worker.graph)
    seen = on_stage or (lambda name, stage: None)
    pure = GraphModule(_owner(module, constants), worker.graph, "Functional")
    seen("functional", pure)
    needs = [isinstance(e, Tensor) and e.requires_grad for e in examples]
    if plan.random_count:
        needs = [False, *needs]
    outputs: Any = worker.graph.output_node().args[0]
    if asks_for_gradients(worker.graph):
        graph, more = trace_step(worker.graph, needs, pure)
        step = GraphModule(_owner(pure, {**constants, **more}), graph, "Step")
        seen("joint", step)
        final = _simplify(*decompose(graph, keep, step), module, {**constants, **more})
        _mark_writes(final, plan, examples)
        _mark_inputs(final, module, examples)
        final.graph.output_node().meta["gradients"] = [
            n for n, o in enumerate(outputs) if _is_gradient(o)
        ]
        seen("inference", final)
        run = (inference_compiler or forward_compiler)(final, _examples(final))
        spent = [n for n, o in enumerate(outputs) if _requires(o)]
        return _unaliased(Inference(plan, Spending(run, spent) if spent else run), module)
    training = autograd.is_grad_enabled() and any(needs) and any(_requires(o) for o in outputs)
    if not training:
        final = _simplify(*decompose(worker.graph, keep, pure), module, constants)
        _mark_inputs(final, module, examples, infers=True)
        _mark_writes(final, plan, examples)
        final.graph.output_node().meta["infers"] = True
        seen("inference", final)
        run = (inference_compiler or forward_compiler)(final, _examples(final))
        return _unaliased(Inference(plan, run), module)
    graph, differentiable, wanted, more = trace_joint(worker.graph, needs, pure)
    joint = GraphModule(_owner(pure, {**constants, **more}), graph, "Joint")
    seen("joint", joint)
    joint = _simplify(*decompose(graph, keep, joint), module, {**constants, **more})
    seen("decomposed", joint)
    primals = len(needs)
    forward, backward = partition(joint, plan.returned, primals=primals)
    seen("forward", forward)
    seen("backward", backward)
    offset = 1 if plan.random_count else 0
    gradients = [i - offset for i in range(offset, primals)]
    _free_layouts(forward, backward, plan.returned)
    _mark_inputs(forward, module, examples)
    run_forward = forward_compiler(forward, _examples(forward))
    _take_layouts(forward, backward, plan.returned, getattr(run_forward, "strides", ()))
    run_backward = (backward_compiler or forward_compiler)(backward, _examples(backward))
    pair = getattr(run_forward, "pair", None)  # halves of a compiler that lets them share memory
    consumes = pair is not None and pair(run_backward, plan.returned)
    run_backward = _dropping(run_backward, offset)
    program = Training(plan, run_forward, run_backward, differentiable, gradients, consumes)
    return _unaliased(program, module)


def _free_layouts(forward: GraphModule, backward: GraphModule, returned: int) -> None:
    """Tell the forward compiler which results only the backward half sees: any strides will do.

    Not those whose memory the backward half reads by strides, nor what the caller has too.
    """
    output = forward.graph.output_node()
    results: Any = output.args[0]
    seen = {id(node) for node in results[:returned]}
    free = set()
    for number, mirror in enumerate(backward.graph.find_nodes(op="placeholder")):
        place = returned + number
        if place >= len(results):
            break
        by_strides = any(getattr(u.target, "name", "") == "strided_view" for u in mirror.users)
        if id(results[place]) not in seen and not by_strides:
            free.add(place)
    output.meta["free"] = frozenset(free)


def _take_layouts(
    forward: GraphModule, backward: GraphModule, returned: int, strides: Sequence[Any]
) -> None:
    """Tell the backward compiler the strides that the forward half gives to what is saved."""
    free = forward.graph.output_node().meta["free"]
    mirrors = backward.graph.find_nodes(op="placeholder")
    for place, found in enumerate(strides):
        if place not in free or found is None:
            continue
        node = mirrors[place - returned]
        value = node.meta["val"]
        node.meta["val"] = FakeTensor(value.shape, found, value.dtype, value.device)


def _unaliased(program: Program, module: GraphModule) -> Callable:
    """A program with the check that it needs where it writes to its inputs."""
    return Unaliased(program, module) if program.plan.writes else program  # type: ignore[return-value]


def _mark_inputs(
    final: GraphModule, module: GraphModule, examples: Sequence[Any], infers: bool = False
) -> None:
    """Tell the compiler which inputs live as long as the model, by what the front end says of them; and where
    the graph only infers, which are weights, that seldom change.
    """
    captured = module.graph.find_nodes(op="placeholder")
    nodes = final.graph.find_nodes(op="placeholder")
    for node, source, example in zip(
        nodes[len(nodes) - len(examples) :], captured, examples, strict=True
    ):
        weight = isinstance(example, Parameter)
        node.meta["lasting"] = weight or source.meta.get("lasting", False)
        node.meta["parameter"] = infers and (weight or getattr(example, "requires_grad", False))


def _mark_writes(module: GraphModule, plan: Any, examples: Sequence[Any]) -> None:
    """Tell the compiler which results the runtime writes to inputs, where autograd need not know."""
    offset = 1 if plan.random_count else 0
    module.graph.output_node().meta["writes"] = [
        (slot, number + offset) for number, slot in plan.writes
        if number in plan.unseen or not getattr(examples[number], "requires_grad", False)
    ]


def _dropping(run: Callable, offset: int) -> Callable:
    """The backward half without the gradient of the seed, which is always None."""
    return (lambda *values, **how: run(*values, **how)[offset:]) if offset else run


def _is_gradient(node: Any) -> bool:
    """Whether a backward pass in the graph gives this value."""
    source = node.args[0] if getattr(node, "target", None) is operator.getitem else None
    return getattr(source, "target", None) is autograd.gradients


def _requires(node: Any) -> bool:
    value = getattr(node, "meta", {}).get("val")
    return isinstance(value, Tensor) and value.requires_grad


def _owner(module: GraphModule, constants: dict[str, Tensor]) -> dict[str, Any]:
    """The attributes that a graph's get_attr nodes read."""
    found: dict[str, Any] = dict(constants)
    for node in module.graph.find_nodes(op="get_attr"):
        value: Any = module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        found.setdefault(str(node.target), value)
    return found


def _simplify(
    graph: Graph, constants: dict[str, Tensor], module: GraphModule, before: dict[str, Tensor]
) -> GraphModule:
    eliminate_dead_code(graph)
    eliminate_common_subexpressions(graph)
    eliminate_dead_code(graph)
    return GraphModule({**before, **constants}, graph, "Graph")


def _examples(module: GraphModule) -> list[Any]:
    return [node.meta["val"] for node in module.graph.find_nodes(op="placeholder")]
