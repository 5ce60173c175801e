"""Whether autograd records, for each thread: `no_grad`, `enable_grad`, `set_grad_enabled`,
`inference_mode`, usable as context managers and as decorators.
"""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from typing import Any


class _Mode(threading.local):
    grad = True
    inference = False


_MODE = _Mode()


def is_grad_enabled() -> bool:
    return _MODE.grad


def set_grad_enabled_(enabled: bool) -> None:
    """Switch recording on or off for this thread (what graphs call; users take the context
    managers).
    """
    _MODE.grad = enabled


class _GradMode(ContextDecorator):
    """Base of the grad mode context managers; usable as decorators, with or without parentheses."""

    wanted = False

    def __new__(cls, function: Any = None) -> Any:
        if cls is not set_grad_enabled and callable(function):
            return object.__new__(cls)(function)
        return object.__new__(cls)

    def __enter__(self) -> None:
        self.previous = _MODE.grad
        set_grad_enabled_(self.wanted)

    def __exit__(self, *error: object) -> None:
        set_grad_enabled_(self.previous)

    def _recreate_cm(self) -> Any:
        return self if type(self) is set_grad_enabled else object.__new__(type(self))

    def clone(self) -> Any:
        return type(self)()


class no_grad(_GradMode):
    """Inside, operations record no gradients."""


class enable_grad(_GradMode):
    """Inside, operations record gradients, even within `no_grad`."""

    wanted = True


class set_grad_enabled(_GradMode):
    """Switch recording on or off at once; as a context manager, until its end."""

    def __init__(self, mode: bool):
        self.wanted = bool(mode)
        self.previous = _MODE.grad
        set_grad_enabled_(self.wanted)

    def __enter__(self) -> None:
        set_grad_enabled_(self.wanted)


class inference_mode(_GradMode):
    """Like `no_grad`, and `is_inference_mode_enabled()` is true inside."""

    def __new__(cls, mode: Any = True) -> Any:
        return object.__new__(cls)(mode) if callable(mode) else object.__new__(cls)

    def __init__(self, mode: bool = True):
        self.mode = mode if isinstance(mode, bool) else True

    def __enter__(self) -> None:
        self.previous, self.before = _MODE.grad, _MODE.inference
        if self.mode:
            set_grad_enabled_(False)
        _MODE.inference = self.mode

    def __exit__(self, *error: object) -> None:
        set_grad_enabled_(self.previous)
        _MODE.inference = self.before

    def _recreate_cm(self) -> inference_mode:
        return inference_mode(self.mode)


def is_inference_mode_enabled() -> bool:
    return _MODE.inference
