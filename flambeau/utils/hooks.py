"""torch.utils.hooks: the handle that removes a hook."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from eager.nn.hooks import RemovableHandle
from flambeau.missing import lookup

__all__ = ["RemovableHandle", "unserializable_hook", "warn_if_has_hooks"]


def unserializable_hook(function: Callable) -> Callable:
    """Mark a hook that is not saved with its tensor."""
    function.__torch_unserializable__ = True  # type: ignore[attr-defined]
    return function


def warn_if_has_hooks(tensor: Any) -> None:
    """Warn that the hooks of a tensor are not saved with it."""
    for hook in (tensor._hooks or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(f"backward hook {hook!r} on tensor will not be serialized.  If this is expected, you can decorate the function "
                          "with @torch.utils.hooks.unserializable_hook to suppress this warning", stacklevel=2)


__getattr__ = lookup(__name__)
