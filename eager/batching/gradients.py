"""Gradients for a batch of cotangents at once: `torch.autograd.grad(..., is_grads_batched=True)`."""

from __future__ import annotations

from typing import Any

from eager import autograd, dispatch
from eager.batching.interpreter import Batching
from eager.batching.tensor import Batched


def batched(outputs: Any, inputs: Any, grad_outputs: Any, retain: bool | None, create: bool, unused: bool | None) -> tuple:
    """One gradient for each of the cotangents, whose first dimension numbers them; raises RuntimeError where there are none."""
    given = autograd._tuple(grad_outputs) if grad_outputs is not None else ()
    present = [g for g in given if g is not None]
    if not present or any(g.ndim == 0 for g in present):
        raise RuntimeError("is_grads_batched=True needs grad_outputs with a leading batch dimension")
    level = Batching(present[0].shape[0], 1, "same")
    hidden = [None if g is None else Batched(g, level) for g in given]
    with dispatch.push(level):
        found = autograd.grad(outputs, inputs, hidden, retain, create, unused)
    return tuple(None if g is None else level.front(g) for g in found)
