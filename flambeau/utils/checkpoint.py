"""Activation checkpointing: the forward keeps only the inputs of a function, the backward runs it again and derives it then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eager.autograd import backward, enable_grad, is_grad_enabled
from eager.function import Function
from eager.rng import get_rng_state, set_rng_state
from eager.tensor import Tensor
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


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Any = None,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, whose inside is computed again in the backward instead of being kept.

    Gradients of what the function closes over (parameters) accumulate as usual; at least one argument must require a gradient
    for the backward to come by, as with torch's reentrant form.
    """
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
        input = checkpoint(chain(layers[start : start + size]), input, **kwargs)
    return chain(layers[last:])(input)


__getattr__ = lookup(__name__)
