"""torch.fx.graph_module, with the names that rewriters of graph modules import."""

from __future__ import annotations

from typing import Any

import fx.graph_module as _source
from eager.nn.module import Module
from flambeau.missing import lookup
from fx.graph_module import GraphModule

_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"


class _CodeOnlyModule(Module):
    """A module that is only a bag of attributes."""

    def __init__(self, body: dict[str, Any]):
        super().__init__()
        self.__dict__ = body


def _copy_attr(from_module: Module, to_module: Module, target: str) -> None:
    """Give one module the attribute of another at a dotted path, making the modules on the way."""
    *path, last = target.split(".")
    for name in path:
        source, found = getattr(from_module, name), getattr(to_module, name, None)
        if found is source:
            return
        if found is None:
            found = Module()
            setattr(to_module, name, found)
        from_module, to_module = source, found
    setattr(to_module, last, getattr(from_module, last))


__getattr__ = lookup(__name__, _source)
