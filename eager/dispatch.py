"""The one dispatch point: a stack of interpreters. While it is empty an operator call goes straight
to autograd and its kernel.

An interpreter sees every operator that is called while it is on top, and is popped while it handles
one, so that what it calls goes to the interpreter below. The stack belongs to the thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eager.op import Op


class Interpreter:
    """Gives operator calls another meaning than "compute now"."""

    def interpret(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.interpret")


class _State(threading.local):
    def __init__(self) -> None:
        self.stack: list[Interpreter] = []


_STATE = _State()
# How many interpreters are pushed in all threads: the hot path reads this instead of the thread-
# local.
active = [0]


def stack() -> list[Interpreter]:
    return _STATE.stack


def is_compiling() -> bool:
    """Whether the code that asks is being captured: False when Python runs it; capture answers True by itself."""
    return False


@contextmanager
def push(interpreter: Interpreter) -> Iterator[Interpreter]:
    """Put an interpreter on top of this thread's stack for the duration of a `with` block."""
    _STATE.stack.append(interpreter)
    active[0] += 1
    try:
        yield interpreter
    finally:
        active[0] -= 1
        _STATE.stack.pop()


@contextmanager
def suspended() -> Iterator[None]:
    """Compute for real inside the block, whatever is on the stack."""
    kept, _STATE.stack = _STATE.stack, []
    try:
        yield
    finally:
        _STATE.stack = kept


def interpret(op: Op, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Hand a call to the top interpreter, which is off the stack meanwhile. The stack must not be
    empty.
    """
    current = _STATE.stack
    top = current.pop()
    try:
        return top.interpret(op, args, kwargs)
    finally:
        current.append(top)
