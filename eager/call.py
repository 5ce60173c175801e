"""How an operator is called: one Python function for each, with as many parameters, so that Python
binds arguments and defaults, and no more stands between a call and its kernel than must.

`straight(op)` makes it, from a template for the number of parameters. What is positional stays so for
interpreters, and what is given by name too. Calls that are out of the ordinary go to `general`:
under an interpreter, with arguments by name, with too few of them. Elementwise operators that name a `quick` function
have it called in the template itself on operands of one type.
"""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any

import numpy as np

from eager import autograd, dispatch
from eager.mode import _MODE
from eager.node import record
from eager.tensor import PLAIN, Tensor

MISSING = object()

_GENERAL = """
def call({all}, /, **more):
    if active[0] or more{missing}:
        return general(op, ({all},), more)
{fill}
    return eager(({all},))
"""

_COMPOSITE = """
def call({all}, /, **more):
    if active[0] or more{missing}:
        return general(op, ({all},), more)
{fill}
    return function({all})
"""

_UNARY = """
def call({all}, /, **more):
    if active[0] or more or type(a0) not in plain:
        return general(op, ({all},), more)
{fill}
    x = a0._array
    if x.dtype not in kinds{other}:
        return eager(({all},))
    found = quick(x)
    result = new(Tensor)
    result._array = found if type(found) is ndarray else asarray(found)
    if recorded:
        base = a0._base
        if (a0._requires_grad or (base is not None and base._requires_grad)) and mode.grad:
            return record(op, ({all},), result)
    return result
"""

_BINARY = """
def call({all}, /, **more):
    if active[0] or more{missing}:
        return general(op, ({all},), more)
{fill}
    first, second = type(a0), type(a1)
    if first in plain:
        x = a0._array
        kind = x.dtype
        if second in plain:
            y = a1._array
            if y.dtype is not kind or kind not in kinds{other}:
                return eager(({all},))
        elif kind in numbers[second]{same}:
            y = a1
        else:
            return eager(({all},))
    elif second in plain and a1._array.dtype in lefts[first]{same}:
        x, y = a0, a1._array
    else:
        return eager(({all},))
    try:
        found = quick(x, y)
    except (ValueError, OverflowError):
        return eager(({all},))  # the long way knows the words
    result = new(Tensor)
    result._array = found if type(found) is ndarray else asarray(found)
    if recorded and mode.grad and needs_grad((a0, a1)):
        return record(op, ({all},), result)
    return result
"""

_TEMPLATES = {"general": _GENERAL, "composite": _COMPOSITE, "unary": _UNARY, "binary": _BINARY}

_F32, _F64, _I64 = (np.dtype(t) for t in (np.float32, np.float64, np.int64))
FLOATS = frozenset((_F32, _F64))
NUMBERS = frozenset((_F32, _F64, _I64, np.dtype(np.int32)))
INTEGERS = frozenset((_I64, np.dtype(np.int32), np.dtype(np.uint8), np.dtype(np.bool_)))


class _Scalars(dict):
    """For the type of a Python number, the array types that it joins without changing them."""

    def __init__(self, kinds: frozenset):
        super().__init__({float: kinds & FLOATS, int: kinds & {_F32, _F64, _I64}})

    def __missing__(self, kind: type) -> frozenset:
        return frozenset()


scalars = functools.cache(_Scalars)


@functools.cache
def _code(form: str, arity: int, required: int) -> types.CodeType:
    names = [f"a{i}" for i in range(arity)]
    rest = names[1 if form == "unary" else 2 :]
    differ = [f"{name} is not {name}_default" for name in rest]
    same = [f"{name} is {name}_default" for name in rest]
    fill = [f"    if {name} is MISSING: {name} = {name}_default" for name in names[required:]]
    source = _TEMPLATES[form].format(
        all=", ".join(names),
        fill="\n".join(fill),
        missing=f" or a{required - 1} is MISSING" if required else "",
        other="".join(f" or {text}" for text in differ),
        same="".join(f" and {text}" for text in same),
    )
    found: dict[str, Any] = {}
    exec(compile(source, __file__, "exec"), found)
    return found["call"].__code__


def straight(op: Any) -> Any:
    """The function that calls an operator."""
    form, function = "general", op.function
    quick, required = getattr(op, "quick", None), op.required
    if op.kind == "composite" and op.run is None:
        form = "composite"
    elif quick is not None:
        form = "unary" if required == 1 else "binary"
    kinds = op.kinds if quick is not None else frozenset()
    space: dict[str, Any] = {
        "__name__": __name__, "op": op, "active": dispatch.active, "general": general,
        "eager": op.eager, "function": function, "MISSING": MISSING, "plain": PLAIN,
        "kinds": kinds, "quick": quick, "new": object.__new__, "Tensor": Tensor,
        "ndarray": np.ndarray, "asarray": np.asarray, "recorded": op.recorded, "mode": _MODE,
        "record": record, "needs_grad": autograd.needs_grad,
        "numbers": getattr(op, "scalars", None), "lefts": getattr(op, "lefts", None),
    }
    for i, value in enumerate(op.defaults):
        space[f"a{i}_default"] = value
    code = _code(form, op.arity, required)
    code = code.replace(co_varnames=(*op.parameters, *code.co_varnames[op.arity :]),
                        co_name=op.name)
    made = types.FunctionType(code, space, op.name, (MISSING,) * op.arity)
    made.__doc__, made.__module__, made.__qualname__ = op.__doc__, op.__module__, op.name
    made.op = op  # type: ignore[attr-defined]
    return made


def general(op: Any, given: tuple, more: dict[str, Any]) -> Any:
    """A call with arguments by name, or out of the ordinary: `given` stands for the parameters one by
    one, `MISSING` for those that are not among the positional arguments."""
    if more and not dispatch.active[0]:
        bound, places = list(given), op.places
        for name, value in more.items():
            place = places.get(name)
            if place is None or bound[place] is not MISSING or type(value) is type:
                break
            bound[place] = value
        else:
            for place, default in enumerate(op.defaults):
                if bound[place] is MISSING:
                    bound[place] = default
            if op.required == 0 or bound[op.required - 1] is not MISSING:
                return op.eager(tuple(bound))
    end = op.arity
    while end and given[end - 1] is MISSING:
        end -= 1
    return op.call(given[:end], more)


def is_default(value: Any, default: Any) -> bool:
    """Whether an argument says what its absence would."""
    if value is default:
        return True
    return type(value) is type(default) and not isinstance(value, Tensor) and value == default


def signature(op: Any) -> inspect.Signature:
    """The signature of an operator, from its parameters."""
    empty, parameter = inspect.Parameter.empty, inspect.Parameter
    return inspect.Signature([
        parameter(
            name,
            parameter.POSITIONAL_OR_KEYWORD if i < op.positionals else parameter.KEYWORD_ONLY,
            default=empty if default is MISSING else default,
        )
        for i, (name, default) in enumerate(zip(op.parameters, op.defaults))
    ])
