"""Attributes of modules by the dotted paths that get_attr and call_module name."""

from __future__ import annotations

from typing import Any

from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.tensor import Tensor


def has(module: Any, target: str) -> bool:
    """Whether a dotted path leads to an attribute."""
    for atom in target.split("."):
        if not hasattr(module, atom):
            return False
        module = getattr(module, atom)
    return True


def fetch(root: Module | dict[str, Any], target: str) -> Any:
    """The attribute at a dotted path of a module, or at a key of a dict.

    Raises RuntimeError that says where the path ends."""
    if isinstance(root, dict):
        if target not in root:
            raise RuntimeError(
                f"the graph reads {target!r}, which the given dict does not have; it has "
                f"{', '.join(root) or 'nothing'}"
            )
        return root[target]
    value: Any = root
    for atom in target.split("."):
        if not hasattr(value, atom):
            raise RuntimeError(
                f"the graph reads {target!r}, but {type(value).__name__} has no attribute {atom!r}"
            )
        value = getattr(value, atom)
    return value


def assign(owner: Any, target: str, value: Any) -> None:
    """Sets the attribute at a dotted path, making modules on the way. Tensors become buffers."""
    *prefix, name = target.split(".")
    for atom in prefix:
        if not isinstance(getattr(owner, atom, None), Module):
            owner.add_module(atom, Module())
        owner = getattr(owner, atom)
    if getattr(owner, name, None) is value and hasattr(owner, name):
        return
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        owner.register_buffer(name, value)
    else:
        setattr(owner, name, value)
