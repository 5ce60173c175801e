"""OptimizedModule: what `compile(module)` returns; the module itself in everything but its calls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from eager.nn.module import Module


class OptimizedModule(Module):
    """Calls the compiled form of `_orig_mod`; attributes, parameters and state are the module's own."""

    def __init__(self, module: Module, optimize: Callable, given: dict[str, Any] | None = None):
        super().__init__()
        object.__setattr__(self, "_given", given or {})  # what `compile` was given
        self._modules["_orig_mod"] = module
        object.__setattr__(self, "_optimize", optimize)
        object.__setattr__(self, "_run", optimize(module))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self._modules["_orig_mod"]
        return getattr(self._modules["_orig_mod"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training" or "_modules" not in self.__dict__ or "_orig_mod" not in self._modules:
            super().__setattr__(name, value)
            return
        setattr(self._modules["_orig_mod"], name, value)

    def __deepcopy__(self, memo: dict) -> OptimizedModule:
        return OptimizedModule(copy.deepcopy(self._modules["_orig_mod"], memo), self._optimize, self._given)

    def __reduce__(self) -> tuple:
        return _compiled_again, (self._modules["_orig_mod"], self._given)

    def __repr__(self) -> str:
        return f"OptimizedModule({self._modules['_orig_mod']!r})"


def _compiled_again(module: Module, given: dict[str, Any]) -> Any:
    """Unpickles: the module, to be compiled when it is first called."""
    from flambeau.compiler import compile

    return compile(module, **given)
