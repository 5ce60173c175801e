"""torch.overrides. flambeau does not dispatch on `__torch_function__`: nothing overrides, and these questions answer so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau.missing import lookup


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    return False


def has_torch_function_unary(obj: Any) -> bool:
    return False


def has_torch_function_variadic(*args: Any) -> bool:
    return False


def is_tensor_like(inp: Any) -> bool:
    from eager.tensor import Tensor

    return isinstance(inp, Tensor)


__getattr__ = lookup(__name__)
