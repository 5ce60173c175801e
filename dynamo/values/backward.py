"""`loss.backward()` in captured code: the gradients become values of the graph, and are added to those
of the leaves when it has run. So a whole training step is one graph.

What is not that plain ends the graph before the call: seeds and other options, hooks, history from
outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynamo.source import ConstantSource
from dynamo.unsupported import unsupported
from dynamo.values.base import Value
from dynamo.values.constant import Constant
from dynamo.values.tensor import TensorValue
from eager import autograd
from eager.node import AccumulateGrad, Node
from eager.registry import ops

if TYPE_CHECKING:
    from dynamo.machine import Frame

_HOOKS = ("_hooks", "_post_hooks")


def backward(m: Frame, loss: TensorValue, args: Sequence[Value], kwargs: dict[str, Value]) -> Value:
    """Capture `loss.backward()`."""
    if any(not isinstance(v, Constant) or v.unwrap() for v in (*args, *kwargs.values())):
        _refuse("it is given a gradient, inputs, or what to keep")
    capture, fake = m.capture, loss.fake
    if capture.inner is not None or not autograd.is_grad_enabled():
        _refuse("it is called where no gradients are recorded")
    if loss.real is not None or not fake.requires_grad or fake.numel() != 1:
        _refuse("the tensor is no single number that this program has computed with gradients")
    leaves, passed = _history(fake)
    if capture.spent & passed:
        _refuse("part of its history has been freed by a backward pass before")
    targets = [_target(m, leaf) for leaf in leaves]
    root = m
    while root.parent is not None:
        root = root.parent
    capture.differentiated_at = capture.differentiated_at or root.steps  # type: ignore[attr-defined]
    found = capture.differentiate(m, fake, leaves)
    capture.spent |= passed
    for target, gradient in zip(targets, found, strict=True):
        _accumulate(m, target, gradient)
    return m.constant(None)


def _refuse(why: str) -> None:
    unsupported(
        "Backward pass that is not captured",
        why,
        "it runs as it is, between two graphs; what was compiled has a compiled backward pass",
    )


def _history(loss: Any) -> tuple[list[Any], set[Node]]:
    """The leaves that a fake tensor was computed from, and the nodes on the way."""
    leaves: dict[int, Any] = {}
    passed: set[Node] = set()
    waiting = [autograd.node_of(loss)]
    while waiting:
        node = waiting.pop()
        if node is None or node in passed:
            continue
        if isinstance(node, AccumulateGrad):
            leaves.setdefault(id(node.variable), node.variable)
            continue
        passed.add(node)
        waiting += [edge[0] for edge in node.edges if edge is not None]
    return list(leaves.values()), passed


def _target(m: Frame, leaf: Any) -> TensorValue:
    """The program's value for a leaf whose gradient may be stored."""
    value = m.capture.known(leaf)
    if not isinstance(value, TensorValue) or value.real is None:
        _refuse("a tensor made by this program wants a gradient")
    assert isinstance(value, TensorValue)
    if value.source is None or isinstance(value.source, ConstantSource):
        _refuse("a tensor that belongs to the code wants a gradient")
    if any(getattr(value.real, name) for name in _HOOKS):
        _refuse("a leaf has hooks")
    m.guard("EMPTY", value.source, _HOOKS)
    return value


def _accumulate(m: Frame, target: TensorValue, gradient: TensorValue) -> None:
    old = target.attribute(m, "grad")
    if isinstance(old, Constant):
        target.store_attribute(m, "grad", gradient)
        return
    m.run(_add, [old, gradient])


def _add(old: Any, new: Any) -> Any:
    with autograd.no_grad():
        return ops.add_(old, new)
