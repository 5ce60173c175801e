"""Parts of a capture: a graph inside the graph, whose inputs are tensors of the outer one, and scalars whose values are known because they
are computed from constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynamo.unsupported import unsupported
from dynamo.values.tensor import TensorValue
from eager import autograd
from eager.fake import FakeTensor
from eager.op import Op
from eager.spec import Spec
from eager.tensor import Tensor
from fx.graph import Graph
from fx.node import Node

if TYPE_CHECKING:
    from dynamo.capture import Capture

# Besides elementwise operators: what gives the same result for the same arguments.
_FOLDED = frozenset(("clone", "div", "to", "scalar_tensor"))


class InnerGraph:
    """A graph inside the graph: what is recorded while it is open, over gradients and tensors from outside."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.graph = Graph()
        self.nodes: dict[int, Node] = {}
        self.lifted: list[Any] = []
        self._last: Node | None = None

    def gradient(self, of: FakeTensor) -> TensorValue:
        """A new input: the gradient of a tensor."""
        fake = FakeTensor.of(Spec.of(of))
        self._placeholder(fake, f"gradient_{len(self.nodes)}")
        return TensorValue(fake, Tensor)

    def lift(self, tensor: Any) -> Node:
        """An input for a tensor from outside."""
        known = self.capture.known(tensor)
        tensor = tensor if known is None else known.fake
        if not isinstance(tensor, FakeTensor):
            unsupported("Tensor of unknown origin", "a backward function makes it from data")
        if id(tensor) not in self.nodes:
            self._placeholder(tensor, f"saved_{len(self.lifted)}")
            self.lifted.append(tensor)
        return self.nodes[id(tensor)]

    def _placeholder(self, fake: Any, name: str) -> None:
        graph, last = self.graph, self._last
        with graph.inserting_after(last) if last is not None else graph.inserting_before(None):
            node = self._last = self.nodes[id(fake)] = graph.placeholder(name)
        node.meta.update(val=fake, stack=[])
        self.capture.hold(fake)

    def close(self, results: Sequence[Any]) -> tuple[Graph, list[Any]]:
        """The graph with these outputs, and the tensors from outside that it reads."""
        self.graph.output(tuple(None if r is None else self.capture.node_of(r) for r in results))
        for node in list(self.graph.nodes):
            if node.target is autograd.set_grad_enabled_:
                self.graph.erase_node(node)
            elif node.op == "call_function" and is_effect(node):
                unsupported(
                    "Custom autograd function",
                    f"its backward calls {node.target}, which draws random numbers or writes in place",
                )
        return self.graph, self.lifted


def is_effect(node: Node) -> bool:
    """Whether a node does something besides giving a value."""
    target = node.target
    if target is autograd.set_grad_enabled_:
        return True
    return bool(getattr(target, "mutates", ())) or getattr(target, "random", False)


def fold(op: Op, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
    """Compute a scalar of scalars that are known, so that the program may ask for its value; forget what is written to."""
    if op.mutates:
        for value in args[:1]:
            while isinstance(value, FakeTensor):
                value._known, value = None, value._base
        return
    if not isinstance(result, FakeTensor) or result.ndim:
        return
    if op.kind != "pointwise" and op.name not in _FOLDED:
        return
    tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
    if any(not isinstance(t, FakeTensor) or t._known is None for t in tensors):
        return
    found = op(*map(_real, args), **{name: _real(value) for name, value in kwargs.items()})
    result._known = found._array.copy()


def _real(value: Any) -> Any:
    return Tensor._wrap(value._known) if isinstance(value, FakeTensor) else value
