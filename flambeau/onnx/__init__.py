"""torch.onnx. There is no exporter (yet): what libraries register for one at import is kept, and exporting is missing."""

from __future__ import annotations

from collections.abc import Callable

from flambeau.missing import lookup
from flambeau.onnx import operators, symbolic_helper, symbolic_opset11

_symbolics: dict[tuple[str, int], Callable] = {}


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Callable, opset_version: int) -> None:
    """Keep the function for an exporter to come."""
    _symbolics[symbolic_name, opset_version] = symbolic_fn


def is_in_onnx_export() -> bool:
    return False


__getattr__ = lookup(__name__)
