"""Decomposition: operators that the compiler below does not claim are replaced by their definition
in other operators.
"""

from __future__ import annotations

from typing import Any

from aot.recorder import Recorder
from eager import dispatch
from eager.fake import FakeTensor
from eager.op import Op, ops
from eager.shape import infer_size, view_strides
from eager.tensor import Tensor
from fx.graph import Graph


class Decompose(Recorder):
    """Records with every operator opened that has a `decompose` and is not in `keep`."""

    def __init__(self, keep: frozenset[Op]):
        super().__init__()
        self.keep = keep

    def interpret(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> Any:
        bound = op.bind(args, kwargs)
        if op in self.keep:
            return self.record(op, bound)
        if op.kind == "composite":
            return self.open(op, bound)
        if op.decompose is not None:
            with dispatch.push(self):
                result = op.decompose(*bound)
            if result is not NotImplemented:  # a decomposition may decline particular arguments
                return self._as(op, bound, result)
        if op.name in ("detach", "alias"):
            return bound[0]
        if op.name == "view":
            bound = (self._viewable(*bound), bound[1])
        return self.record(op, bound)

    def _viewable(self, input: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The input of `view`, packed if a decomposition laid it out as the operator does not."""
        sizes = infer_size(tuple(shape), input.numel())
        if view_strides(input.shape, input.stride(), sizes) is not None:
            return input
        with dispatch.push(self):
            return ops.clone(input, memory_format="torch.contiguous_format")

    def _as(self, op: Op, bound: tuple, result: Any) -> Any:
        """Decompositions answer for shape and dtype: a wrong one is found here, not in a kernel."""
        expected = op.spec(tuple(self.to_fake(b) for b in bound))
        pairs = (
            zip(result, expected, strict=True)
            if isinstance(expected, tuple)
            else [(result, expected)]
        )
        for value, spec in pairs:
            if tuple(value.shape) != spec.shape or value.dtype is not spec.dtype:
                raise RuntimeError(
                    f"the decomposition of {op.name} gives {value.dtype} {tuple(value.shape)}, "
                    f"the operator {spec.dtype} {spec.shape}"
                )
        return result


def decompose(
    graph: Graph, keep: frozenset[Op], attributes: Any = None
) -> tuple[Graph, dict[str, Tensor]]:
    """The graph with unclaimed operators opened, and the constants met."""
    worker = Decompose(keep)
    inputs: list[Any] = []
    for node in graph.find_nodes(op="placeholder"):
        value = node.meta["val"]
        if isinstance(value, FakeTensor):
            fake = FakeTensor.of(value)
            fake._requires_grad = False
            inputs.append(worker.input(str(node.target), fake))
        else:
            worker.graph.placeholder(str(node.target)).meta["val"] = value
            inputs.append(value)
    results = worker.run(graph, inputs, attributes)
    worker.graph.output(tuple(worker.node_of(r) if isinstance(r, Tensor) else r for r in results))
    return worker.graph, worker.constants
