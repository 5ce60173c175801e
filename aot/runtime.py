"""The runtime around compiled halves: draws seeds, writes mutations back, makes aliases, and
connects forward and backward in autograd.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aot.functional import Plan
from eager import autograd
from eager.autograd import Node, edge_of
from eager.op import ops
from eager.rng import default_generator
from eager.spec import Spec
from eager.storage import owner
from eager.tensor import Tensor


def seed_tensor(count: int) -> Tensor:
    """The generator's (seed, offset) as int64[2]; the offset moves by `count`, as eager drawing
    would move it.
    """
    seed, offset = default_generator.reserve(count)
    return Tensor._wrap(np.array([seed, offset], np.uint64).view(np.int64))


class CompiledNode(Node):
    """The backward half of one call of a compiled program."""

    def __init__(
        self, program: Training, inputs: Sequence[Any], saved: tuple, outputs: Sequence[Tensor]
    ):
        super().__init__()
        self.program = program
        self.edges = [
            edge_of(inputs[i]) if isinstance(inputs[i], Tensor) else None for i in program.gradients
        ]
        self.saved: tuple | None = saved
        self.versions = tuple(t._version for t in saved)
        self.specs = tuple(Spec.of(o) for o in outputs)

    def name(self) -> str:
        return "CompiledFunctionBackward"

    def release(self) -> None:
        self.saved = None

    def apply(self, grads: list[Tensor | None], keep: bool) -> Sequence[Tensor | None]:
        saved = self.saved
        if saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time: saved values of a compiled"
                " program are freed by backward(). Specify retain_graph=True if you need to"
                " backward through it a second time."
            )
        if autograd.is_grad_enabled():
            raise RuntimeError(
                "a compiled program has no second derivative: call backward() without"
                " create_graph=True, or run the model eagerly"
            )
        for tensor, version in zip(saved, self.versions, strict=True):
            if tensor._version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an"
                    f" inplace operation: [{tensor.dtype} {list(tensor.shape)}], saved by a"
                    f" compiled program, is at version {tensor._version}; expected version"
                    f" {version} instead."
                )
        tangents = [
            _laid_out(g, spec) if g is not None else ops.zeros(spec.shape, dtype=spec.dtype)
            for g, spec in zip(grads, self.specs, strict=True)
        ]
        if not keep:
            self.saved = None
        return self.program.backward((*saved, *tangents), keep)


def _laid_out(grad: Tensor, spec: Spec) -> Tensor:
    """A gradient with the strides that the backward half was compiled for."""
    if grad.stride() == spec.stride() or grad.numel() <= 1:
        return grad
    result = ops.empty_strided(spec.shape, spec.stride(), dtype=spec.dtype)
    np.copyto(result._array, grad._array)
    return result


class Spent(Node):
    """The history of what a program gives out that has run its own backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = []

    def name(self) -> str:
        return "CompiledFunctionBackward"

    def apply(self, grads: list[Tensor | None], keep: bool) -> Sequence[Tensor | None]:
        raise RuntimeError(
            "Trying to backward through the graph a second time: the compiled program that computed"
            " this tensor has called backward() itself, and its saved values are freed."
        )


class Spending:
    """A pure program some of whose results have a history that is spent."""

    def __init__(self, run: Callable, spent: list[int]) -> None:
        self.run, self.spent = run, spent

    def __call__(self, *inputs: Any) -> tuple:
        returned = self.run(*inputs)
        for number in self.spent:
            result = returned[number]
            result._node, result._output_nr, result._requires_grad = Spent(), 0, True
        return returned


class Program:
    """What a call does around the pure graph, by its plan."""

    def __init__(self, plan: Plan):
        self.plan = plan
        # the common case has nothing to do but to hand out values in order
        self.plain = not plan.writes and all(
            o.kind == "value" and o.index == n for n, o in enumerate(plan.outputs)
        )

    def finish(self, inputs: Sequence[Any], returned: Sequence[Tensor]) -> tuple:
        if self.plain:
            return tuple(returned)
        self.write_back(inputs, returned)
        return self.hand_out(inputs, returned)

    def write_back(self, inputs: Sequence[Any], returned: Sequence[Tensor]) -> None:
        for number, slot in self.plan.writes:
            if returned[slot] is inputs[number]:  # the compiler has written in place
                inputs[number]._bump()
                continue
            if number not in self.plan.unseen:
                ops.copy_(inputs[number], returned[slot])
                continue
            with autograd.no_grad():
                ops.copy_(inputs[number], returned[slot])

    def hand_out(self, inputs: Sequence[Any], returned: Sequence[Tensor]) -> tuple:
        results: list[Any] = []
        for output in self.plan.outputs:
            if output.kind == "value":
                results.append(returned[output.index])
            elif output.kind == "input":
                results.append(inputs[output.index])
            elif output.kind == "constant":
                results.append(output.value)
            else:
                source = (
                    inputs[output.index] if output.kind == "input_view" else returned[output.index]
                )
                results.append(
                    autograd.replay(source, output.chain) if output.chain else ops.alias(source)
                )
        return tuple(results)


class Unaliased:
    """A program that writes to inputs, for calls in which no written input shares memory with
    another. Other calls run the captured graph as it is, and say so once.
    """

    def __init__(self, program: Program, original: Callable):
        self.program, self.original = program, original
        self.written = sorted({number for number, _ in program.plan.writes})
        self.warned = False

    def __call__(self, *inputs: Any) -> tuple:
        if not _overlapping(inputs, self.written):
            return self.program(*inputs)  # type: ignore[operator]
        if not self.warned:
            self.warned = True
            warnings.warn(
                "a compiled program writes to an input that shares memory with another input: such"
                " calls run uncompiled. Pass one of them, and make views of it inside.",
                stacklevel=2,
            )
        return tuple(self.original(*inputs))


def _overlapping(inputs: Sequence[Any], written: Sequence[int]) -> bool:
    """Whether the memory of a written input is also another input's."""
    arrays = {n: t._array for n, t in enumerate(inputs) if isinstance(t, Tensor)}
    owners = {id(a) if a.base is None else id(owner(a)) for a in arrays.values()}
    if len(owners) == len(arrays):
        return False
    return any(
        number != n and np.may_share_memory(arrays[number], array)
        for number in written
        for n, array in arrays.items()
    )


class Inference(Program):
    """A program without gradients."""

    def __init__(self, plan: Plan, forward: Callable):
        super().__init__(plan)
        self.forward = forward

    def __call__(self, *inputs: Any) -> tuple:
        if self.plan.random_count:
            returned = self.forward(seed_tensor(self.plan.random_count), *inputs)
        else:
            returned = self.forward(*inputs)
        if self.plain:
            return returned
        with autograd.no_grad():
            self.write_back(inputs, returned)
        # Views of inputs are views for autograd too, where the caller records.
        return self.hand_out(inputs, returned)


class Training(Program):
    """A program with a backward half: `forward(*primals) -> (*returned, *saved)`, `backward(*saved,
    *tangents)`; where it `consumes` what is saved, it takes `keep=True` to work on a copy.
    """

    def __init__(
        self,
        plan: Plan,
        forward: Callable,
        backward: Callable,
        differentiable: list[int],
        gradients: list[int],
        consumes: bool = False,
    ):
        super().__init__(plan)
        self.forward, self.differentiable, self.gradients = forward, differentiable, gradients
        self._backward, self.consumes = backward, consumes
        # gradients that are not None, by primal number without the seed
        self.offset = 1 if plan.random_count else 0

    def backward(self, values: Sequence[Tensor], keep: bool) -> Sequence[Tensor | None]:
        if keep and self.consumes:
            return self._backward(*values, keep=True)
        return self._backward(*values)

    def __call__(self, *inputs: Any) -> tuple:
        count = self.plan.returned
        if self.offset:
            produced = self.forward(seed_tensor(self.plan.random_count), *inputs)
        else:
            produced = self.forward(*inputs)
        returned, saved = list(produced[:count]), produced[count:]
        if autograd.is_grad_enabled():
            self._connect(inputs, returned, saved)
        return self.finish(inputs, returned)

    def _connect(
        self, inputs: Sequence[Any], returned: list[Tensor], saved: Sequence[Tensor]
    ) -> None:
        own = {id(t) for t in returned}
        # an output that is also saved would hold its own node: keep its memory under another
        # identity
        kept = tuple(t._shallow() if id(t) in own else t for t in saved)
        node = CompiledNode(self, inputs, kept, [returned[n] for n in self.differentiable])
        inside = {id(t) for t in inputs if isinstance(t, Tensor)}
        for number, n in enumerate(self.differentiable):
            out = returned[n]
            if id(out) in inside:
                out = returned[n] = out._shallow()
            out._node, out._output_nr, out._requires_grad = node, number, True
