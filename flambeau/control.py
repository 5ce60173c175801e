"""Branches and loops that depend on values, as functions: `cond` and `while_loop`. Eagerly they are Python's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eager.tensor import Tensor


def cond(pred: Any, true_fn: Callable, false_fn: Callable, operands: tuple | list = ()) -> Any:
    """What `true_fn` or `false_fn` makes of the operands. Raises RuntimeError for a predicate of more than one element."""
    if not isinstance(pred, (bool, int, Tensor)):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    if isinstance(pred, Tensor) and pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(f"Expect operands to be a tuple of tensors, but got {operands}.")
    return true_fn(*operands) if bool(pred) else false_fn(*operands)


def while_loop(cond_fn: Callable, body_fn: Callable, carried_inputs: tuple | list) -> tuple:
    """`body_fn` on what it gave before, as long as `cond_fn` holds. Raises RuntimeError for functions that give something else."""
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError("Expect cond_fn and body_fn to be callable.")
    if not isinstance(carried_inputs, (tuple, list)):
        raise RuntimeError(f"Expect carried_inputs to be a tuple, but got {type(carried_inputs)}.")
    values = tuple(carried_inputs)
    while True:
        go = cond_fn(*values)
        if not isinstance(go, bool) and not (isinstance(go, Tensor) and go.numel() == 1):
            raise RuntimeError(f"cond_fn must return a boolean scalar tensor or a boolean but got {go}")
        if not bool(go):
            return values
        found = body_fn(*values)
        if not isinstance(found, (tuple, list)) or len(found) != len(values):
            raise RuntimeError(f"body_fn should return a tuple of {len(values)} values, as many as it takes, but got {found}")
        values = tuple(found)
