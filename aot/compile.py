"""The pipeline of aot: a captured graph becomes a callable that keeps eager's results, gradients,
mutations and aliases.

    functionalize -> (joint: autograd's derivatives) -> decompose -> simplify -> (partition) ->
    compilers -> runtime

Compilers are given: each takes a pure GraphModule and example inputs and returns a callable over
tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aot.decompose import decompose
from aot.functional import functionalize
from aot.joint import trace_joint
from aot.partition import partition
from aot.runtime import Inference, Program, Training, Unaliased
from eager import autograd
from eager.nn.parameter import Parameter
from eager.op import Op
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
    keep_inferring: frozenset[Op] = frozenset(),
    on_stage: Callable[[str, GraphModule], None] | None = None,
) -> Callable:
    """Compile a captured graph ahead of time, with its backward graph where an input requires a
    gradient.

    `keep` names operators that the compilers take whole, `keep_inferring` those that they take whole
    where no gradient is wanted. `on_stage(name, module)` sees every graph
    on the way. Raises NotFunctional where the program cannot be written without mutation.
    """
    worker, plan = functionalize(module.graph, list(examples), module)
    constants = dict(worker.constants)
    seen = on_stage or (lambda name, stage: None)
    pure = GraphModule(_owner(module, constants), worker.graph, "Functional")
    seen("functional", pure)
    needs = [isinstance(e, Tensor) and e.requires_grad for e in examples]
    if plan.random_count:
        needs = [False, *needs]
    outputs: Any = worker.graph.output_node().args[0]
    training = autograd.is_grad_enabled() and any(needs) and any(_requires(o) for o in outputs)
    if not training:
        whole = keep | keep_inferring
        final = _simplify(*decompose(worker.graph, whole, pure), module, constants)
        _mark_parameters(final, examples)
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
    run_forward = forward_compiler(forward, _examples(forward))
    run_backward = (backward_compiler or forward_compiler)(backward, _examples(backward))
    run_backward = _dropping(run_backward, offset)
    program = Training(plan, run_forward, run_backward, differentiable, gradients)
    return _unaliased(program, module)


def _unaliased(program: Program, module: GraphModule) -> Callable:
    """A program with the check that it needs where it writes to its inputs."""
    return Unaliased(program, module) if program.plan.writes else program  # type: ignore[return-value]


def _mark_parameters(module: GraphModule, examples: Sequence[Any]) -> None:
    """Tell the compiler which inputs are likely to be the same tensor in every call."""
    nodes = module.graph.find_nodes(op="placeholder")
    for node, example in zip(nodes[len(nodes) - len(examples) :], examples, strict=True):
        kept = isinstance(example, Parameter) or getattr(example, "requires_grad", False)
        node.meta["parameter"] = kept


def _dropping(run: Callable, offset: int) -> Callable:
    """The backward half without the gradient of the seed, which is always None."""
    return (lambda *values: run(*values)[offset:]) if offset else run


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
