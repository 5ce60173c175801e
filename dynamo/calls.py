"""The arguments of a call that is inlined become the callee's local variables, as Python binds them."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynamo.values.base import Value
from dynamo.values.container import TupleValue
from dynamo.values.dictionary import DictValue

if TYPE_CHECKING:
    from dynamo.machine import Frame

CO_VARARGS, CO_VARKEYWORDS = 0x04, 0x08


def bind_arguments(
    m: Frame,
    function: Any,
    code: types.CodeType,
    args: Sequence[Value],
    kwargs: dict[str, Value],
) -> dict[str, Value]:
    """Local variables of a call. Raises TypeError in the program where Python would."""
    name = function.name
    names = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    position = code.co_argcount + code.co_kwonlyargcount
    variables: dict[str, Value] = dict(zip(names, args, strict=False))
    if code.co_flags & CO_VARARGS:
        variables[code.co_varnames[position]] = TupleValue(list(args[len(names) :]))
        position += 1
    elif len(args) > len(names):
        m.throw(
            TypeError,
            f"{name}() takes {len(names)} positional arguments but {len(args)} were given",
        )
    positional_only = set(names[: code.co_posonlyargcount])
    extra: list[tuple[Value, Value]] = []
    for key, value in kwargs.items():
        known = key in keyword_only or (key in names and key not in positional_only)
        if known and key not in variables:
            variables[key] = value
        elif known:
            m.throw(TypeError, f"{name}() got multiple values for argument '{key}'")
        elif code.co_flags & CO_VARKEYWORDS:
            extra.append((m.constant(key), value))
        else:
            m.throw(TypeError, f"{name}() got an unexpected keyword argument '{key}'")
    if code.co_flags & CO_VARKEYWORDS:
        variables[code.co_varnames[position]] = DictValue.of(extra)
    _fill_defaults(m, function, names, keyword_only, variables)
    return variables


def _fill_defaults(
    m: Frame,
    function: Any,
    names: tuple[str, ...],
    keyword_only: tuple[str, ...],
    variables: dict[str, Value],
) -> None:
    missing = [name for name in names if name not in variables]
    if missing:
        defaults = function.defaults(m)
        by_name = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
        for name in missing:
            if name not in by_name:
                _missing(m, function.name, "positional", name)
            variables[name] = by_name[name]
    missing = [name for name in keyword_only if name not in variables]
    if missing:
        by_name = function.keyword_defaults(m)
        for name in missing:
            if name not in by_name:
                _missing(m, function.name, "keyword-only", name)
            variables[name] = by_name[name]


def _missing(m: Frame, function: str, kind: str, name: str) -> None:
    m.throw(TypeError, f"{function}() missing 1 required {kind} argument: '{name}'")
