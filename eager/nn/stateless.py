"""Calling a module with other parameters and buffers than its own: `functional_call`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from eager.nn.module import Module


def _place(module: Module, name: str) -> tuple[dict, str]:
    """The registry that holds a dotted name, and the name in it."""
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    for registry in (owner._parameters, owner._buffers):
        if last in registry:
            return registry, last
    raise KeyError(f"{name!r} is neither a parameter nor a buffer of {type(module).__name__}")


def _tied(module: Module, names: Mapping[str, Any]) -> dict[str, Any]:
    """The given tensors, also under the other names of the parameters that they replace."""
    groups: dict[int, list[str]] = {}
    members = (*module.named_parameters(remove_duplicate=False),
               *module.named_buffers(remove_duplicate=False))
    for name, tensor in members:
        groups.setdefault(id(tensor), []).append(name)
    found = dict(names)
    for group in groups.values():
        given = [name for name in group if name in names]
        if len({id(names[name]) for name in given}) > 1:
            raise ValueError(f"functional_call got multiple values for keys {sorted(given)}, which "
                             "are tied. Consider using tie_weights=False")
        if given:
            found |= {name: names[given[0]] for name in group}
    return found


@contextmanager
def _replaced(module: Module, tensors: Mapping[str, Any], strict: bool) -> Iterator[None]:
    if strict:
        own = {*dict(module.named_parameters(remove_duplicate=False)),
               *dict(module.named_buffers(remove_duplicate=False))}
        if own != set(tensors):
            raise RuntimeError(f"missing keys: {sorted(own - set(tensors))}, unexpected keys: "
                               f"{sorted(set(tensors) - own)}")
    before = []
    try:
        for name, tensor in tensors.items():
            registry, last = _place(module, name)
            before.append((registry, last, registry[last]))
            registry[last] = tensor
        yield
    finally:
        for registry, last, tensor in reversed(before):
            registry[last] = tensor


def functional_call(module: Module, parameter_and_buffer_dicts: Any, args: Any = None,
                    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True,
                    strict: bool = False) -> Any:
    """Calls a module with the given tensors in place of those of the same names.

    Raises KeyError for a name that it does not have, ValueError for tied names that differ."""
    given = parameter_and_buffer_dicts
    if isinstance(given, Sequence) and not isinstance(given, Mapping):
        merged: dict[str, Any] = {}
        for one in given:
            repeated = sorted(set(merged) & set(one))
            if repeated:
                raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of "
                                 "functional call is ambiguous")
            merged |= one
        given = merged
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    tensors = _tied(module, given) if tie_weights else given
    with _replaced(module, tensors, strict):
        return module(*arguments, **(kwargs or {}))
