"""The part of torch.jit that plain model code touches. There is no TorchScript here: a scripted function runs as the Python that it is,
which computes the same; what only TorchScript can do (scripting modules, tracing, saving programs) is refused.

annotations.py  names that typed model code imports
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flambeau.missing import lookup

__all__ = [
    "Final", "annotate", "export", "ignore", "interface", "is_scripting", "is_tracing", "isinstance", "script", "script_if_tracing",
    "unused",
]  # fmt: skip

_isinstance = isinstance


def is_scripting() -> bool:
    """Always False: Python runs."""
    return False


def is_tracing() -> bool:
    """Always False: flambeau has no TorchScript tracer."""
    return False


def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """A function or class, unchanged. Raises RuntimeError for a module: use `flambeau.compile`."""
    from eager.nn.module import Module

    if _isinstance(obj, Module):
        raise RuntimeError(
            f"flambeau does not have TorchScript (yet), so {type(obj).__name__} cannot become a ScriptModule: "
            "use flambeau.compile(model)"
        )
    return obj


def script_if_tracing(fn: Callable) -> Callable:
    """The function, unchanged: nothing is ever traced."""
    return fn


_script_if_tracing = script_if_tracing


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """A mark for TorchScript: the function stays what it is."""
    return drop if callable(drop) else lambda fn: fn


def unused(fn: Any) -> Any:
    """A mark for TorchScript: the function stays what it is."""
    return fn


def export(fn: Callable) -> Callable:
    """A mark for TorchScript: the function stays what it is."""
    return fn


def interface(obj: Any) -> Any:
    """A mark for TorchScript: the class stays what it is."""
    return obj


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value; the type is for TorchScript."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Python's own check."""
    return _isinstance(obj, target_type)


def _overload_method(func: Callable) -> Callable:
    return func


def _overload(func: Callable) -> Callable:
    return func


__getattr__ = lookup(__name__)
