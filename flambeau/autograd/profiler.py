"""torch.autograd.profiler: of it, the names of regions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau.missing import lookup

__all__ = ["record_function"]


class record_function:
    """Names a region for a profiler that is running; a context manager and a decorator. flambeau has no profiler of its own, so that
    nothing is recorded: Python's profilers see the functions inside."""

    def __init__(self, name: str, args: str | None = None):
        self.name, self.args = name, args

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return run


__getattr__ = lookup(__name__)
