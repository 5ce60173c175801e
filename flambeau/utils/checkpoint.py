"""Activation checkpointing: the forward keeps only the inputs of a function, the backward runs it again and derives it then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from eager.autograd import backward, enable_grad, is_grad_enabled
from eager.function import Function
from eager.rng import get_rng_state, set_rng_state
from eager.tensor import Tensor
from flambeau.autograd.graph import saved_tensors_hooks
from flambeau.compiler import is_compiling
from flambeau.missing import lookup
from flambeau.utils._pytree import tree_flatten, tree_unflatten


class _Recompute(Function):
    """The function without a record of its inside; backward records it and runs through it."""

    @staticmethod
    def forward(ctx: Any, run: Callable, keep_random: bool, *leaves: Any) -> Any:
        ctx.run, ctx.random = run, get_rng_state() if keep_random else None
        ctx.leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        ctx.places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        ctx.save_for_backward(*(leaf for leaf in leaves if isinstance(leaf, Tensor)))
        return run(*leaves)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple:
        leaves = list(ctx.leaves)
        inputs = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in ctx.saved_tensors]
        for place, tensor in zip(ctx.places, inputs):
            leaves[place] = tensor
        now = get_rng_state()
        if ctx.random is not None:
            set_rng_state(ctx.random)
        with enable_grad():
            outputs = ctx.run(*leaves)
        set_rng_state(now)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [
            (output, grad)
            for output, grad in zip(outputs, grads)
            if isinstance(output, Tensor) and output.requires_grad and grad is not None
        ]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([output for output, _ in pairs], [grad for _, grad in pairs])
        found: list = [None] * len(leaves)
        for place, tensor in zip(ctx.places, inputs):
            found[place] = tensor.grad
        return None, None, *found


class CheckpointError(RuntimeError):
    """The function did not save in its second run what it saved in its first."""


class _Again:
    """What one checkpoint saved: nothing but its order and its descriptions, until the backward asks and the function runs again."""

    def __init__(self, run: Callable, keep_random: bool, contexts: tuple, check: bool):
        self.run, self.contexts, self.check = run, contexts, check
        self.random = get_rng_state() if keep_random else None
        self.specs: list = []
        self.found: dict[int, Tensor] = {}

    def pack(self, tensor: Tensor) -> int:
        self.specs.append((tuple(tensor.shape), tensor.dtype))
        return len(self.specs) - 1

    def unpack(self, number: int) -> Tensor:
        if number not in self.found:
            self._recompute()
        return self.found.pop(number)

    def _recompute(self) -> None:
        saved: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            saved.append(tensor)
            return tensor

        now = get_rng_state()
        if self.random is not None:
            set_rng_state(self.random)
        with enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor), self.contexts[1]:
            self.run()
        set_rng_state(now)
        if len(saved) != len(self.specs):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and recomputation.\n"
                f"Number of tensors saved during forward: {len(self.specs)}\nNumber of tensors saved during recomputation: {len(saved)}"
            )
        for number, (tensor, (shape, kind)) in enumerate(zip(saved, self.specs)):
            if self.check and (tuple(tensor.shape) != shape or tensor.dtype is not kind):
                raise CheckpointError(
                    "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than during the forward "
                    f"pass.\ntensor at position {number}: saved {shape} {kind}, recomputed {tuple(tensor.shape)} {tensor.dtype}"
                )
            self.found[number] = tensor


def noop_context_fn() -> tuple:
    """Two contexts that do nothing: what `context_fn` is by default."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, whose inside is computed again in the backward instead of being kept.

    With `use_reentrant=False` what would be saved is recorded by its order only; that works with `torch.autograd.grad` and with inputs
    that need no gradient. Otherwise a backward within the backward accumulates the gradients of what the function closes over, and at
    least one argument must require a gradient. `context_fn` gives contexts for both runs. In a compiled program the compiler decides
    what is kept. Raises CheckpointError in the backward if the second run saves other tensors than the first."""
    if is_compiling():
        return function(*args, **kwargs)
    if use_reentrant is False:
        contexts = context_fn()
        if not is_grad_enabled():
            return function(*args, **kwargs)
        again = _Again(lambda: function(*args, **kwargs), preserve_rng_state, contexts, determinism_check != "none")
        with saved_tensors_hooks(again.pack, again.unpack), contexts[0]:
            return function(*args, **kwargs)
    if context_fn is not noop_context_fn or debug:
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    leaves, spec = tree_flatten((args, kwargs))

    def run(*values: Any) -> Any:
        found_args, found_kwargs = tree_unflatten(values, spec)
        return function(*found_args, **found_kwargs)

    needed = any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves)
    if not is_grad_enabled() or not needed:
        return run(*leaves)  # nothing to save: either no backward comes, or only the plain way reaches the parameters
    return _Recompute.apply(run, preserve_rng_state, *leaves)


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """A sequence of modules in `segments` checkpoints; the last segment is kept."""
    layers: Sequence[Callable] = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = max(len(layers) // segments, 1)

    def chain(part: Sequence[Callable]) -> Callable:
        def run(value: Any) -> Any:
            for layer in part:
                value = layer(value)
            return value

        return run

    last = (segments - 1) * size
    for start in range(0, last, size):
        input = checkpoint(chain(layers[start : start + size]), input, use_reentrant=use_reentrant, **kwargs)
    return chain(layers[last:])(input)


__getattr__ = lookup(__name__)
