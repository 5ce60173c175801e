"""torch.fx._compatibility: a mark on functions that says how stable they are; it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compatibility(is_backward_compatible: bool) -> Callable[[Any], Any]:
    """The function unchanged."""
    return lambda function: function
