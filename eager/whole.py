"""Calls recorded whole: one node for a composite, which eager has computed at once over arrays.

The node's derivative is `back`, over arrays too, as long as nothing more is to be derived from it. Otherwise
the node runs the composite again on what it saved and differentiates that: the composite stays its own
derivative, and there is one source of truth. `back` of other operators stands for their derivative likewise.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from eager import autograd, dispatch
from eager.mode import _MODE, enable_grad
from eager.node import OpNode, SavedOutput, anomaly, count, node_of, overwritten, trace
from eager.packing import Packed, pack_node, packed_in, packs, unpacked
from eager.registry import ops
from eager.spec import Spec
from eager.tensor import PLAIN, Tensor

_new = object.__new__


def record(op: Any, bound: tuple, wanted: int, result: Tensor, kept: Any) -> None:
    """Give the result of a composite its node; `wanted` is the set of the parameters, by bits, whose gradients are
    wanted, `kept` what `back` reads besides the arguments."""
    node = _new(WholeNode)
    node.op, node.sequence = op, count()
    if anomaly[0]:
        node.traceback = trace()
    keeps = op.keeps.get(wanted)
    if keeps is None:
        keeps = op.keeps[wanted] = _keeping(op, wanted)
    edges: list = []
    versions: list[int] = []
    node.saved = saved = [*bound]
    i = 0
    for value in bound:
        if type(value) in PLAIN:
            base = value._base
            if wanted >> i & 1:
                before = value._node if base is None else node_of(value)
                edges.append(value if before is None else (before, value._output_nr))
            else:
                edges.append(None)
            if keeps[i]:
                storage = (value if base is None else base)._storage
                versions.append(0 if storage is None else storage.version)
            else:
                saved[i] = value._spec()
                versions.append(-1)
        i += 1
    node._edges, node.versions, node.wanted, node.kept = edges, versions, wanted, kept
    if keeps[i]:  # the result
        node.out = (SavedOutput(result, 0),)
    if packed_in[0] and packs():
        pack_node(node)
        node.kept = _packed(kept)
    result._node, result._requires_grad = node, True


def _packed(kept: Any) -> Any:
    """What `back` reads besides, its arrays handed to the hooks of this thread."""
    if isinstance(kept, tuple):
        return tuple(map(_packed, kept))
    return Packed(Tensor._wrap(kept), None) if isinstance(kept, np.ndarray) else kept


def _opened(kept: Any, node: Any) -> Any:
    """What `_packed` was given."""
    if isinstance(kept, tuple):
        return tuple(_opened(one, node) for one in kept)
    return kept.get(node)._array if isinstance(kept, Packed) else kept


def _keeping(op: Any, wanted: int) -> tuple[bool, ...]:
    """For each parameter, then for the result, whether the gradients that are wanted need its values."""
    asked = {name for i, name in enumerate(op.parameters) if wanted >> i & 1}
    names = set()
    for name, _, needed_by in (entry.partition(":") for entry in op.saves):
        if not needed_by or asked.intersection(needed_by.split(",")):
            names.add(name)
    return (*(name in names for name in op.parameters), "out" in names)


@functools.cache
def flags(wanted: int, count: int) -> tuple[bool, ...]:
    """A set of bits as a tuple."""
    return tuple(bool(wanted >> i & 1) for i in range(count))


class WholeNode(OpNode):
    """The derivative of a composite."""

    wanted: int
    kept: Any

    def release(self) -> None:
        self.saved = self.kept = self.out = self.packed = None

    def apply(self, grads: list[Tensor | None], keep: bool) -> list[Tensor | None]:
        if self.saved is None:
            self.refuse()
        saved, g = self.saved if self.packed is None else unpacked(self), grads[0]
        versions, place = self.versions, 0
        values = []
        for value in saved:  # type: ignore[union-attr]
            if isinstance(value, Tensor):
                if self.packed is None and value._version != versions[place]:  # type: ignore[index]
                    what = f"an argument of {self.name()}"
                    raise overwritten(value, value._version, versions[place], what)  # type: ignore[index]
                place += 1
                value = value._array
            elif type(value) is Spec:
                place += 1
            values.append(value)
        kept = _opened(self.kept, self) if self.packed is not None else self.kept
        if self.out is not None:
            kept = self.out[0].get(self)._array
        found: Sequence[Any]
        if _MODE.grad or dispatch.active[0] or type(g) is not Tensor:
            found = self._again(g, saved, kept)  # type: ignore[arg-type]
        else:
            found = self.op.back(g._array, kept, flags(self.wanted, len(values)), *values)
        results: list[Tensor | None] = []
        edges = iter(self._edges)
        for i, value in enumerate(saved):  # type: ignore[arg-type]
            if isinstance(value, (Tensor, Spec)):
                grad = found[i] if next(edges) is not None else None
                if grad is not None and not isinstance(grad, Tensor):
                    grad = Tensor._wrap(grad)
                results.append(grad)
        if not keep:
            self.release()
        return results

    def _again(self, g: Tensor, saved: Sequence[Any], kept: Any) -> list[Tensor | None]:
        """The gradients by the composite itself, which is run once more."""
        bound = list(saved)
        inputs: dict[int, Tensor] = {}
        edges = iter(self._edges)
        with enable_grad():
            for i, value in enumerate(bound):
                if not isinstance(value, (Tensor, Spec)):
                    continue
                edge = next(edges)
                if isinstance(value, Spec):  # whose values do not matter
                    value = ops.zeros(value.shape, dtype=value.dtype, device=value.device)
                    value.requires_grad_(edge is not None)
                bound[i] = value
                if edge is not None:
                    bound[i] = inputs[i] = ops.permute(value, tuple(range(value.ndim)))
            if self.op.again is not None:
                result = self.op.again(kept, *bound)
            else:
                result = self.op.function(*bound)
        found = autograd.grad(result, list(inputs.values()), g, create_graph=_MODE.grad, allow_unused=True)
        grads: list[Tensor | None] = [None] * len(bound)
        for i, grad in zip(inputs, found):
            grads[i] = grad
        return grads
