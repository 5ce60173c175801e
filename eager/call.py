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
from eager.node import OpNode, anomaly, count, node_of, trace
from eager.recording import record_binary, record_unary
from eager.tensor import PLAIN, Tensor

MISSING = object()

_GENERAL = """
def call({header}):
    if active[0] or more{missing}:
        return general(op, ({all},), more)
{fill}
    return eager(({all},))
"""

_COMPOSITE = """
def call({header}):
    if active[0] or more{missing}:
        return general(op, ({all},), more)
{fill}
    return function({all})
"""

_UNARY = """
def call({header}):
    if active[0] or more or type(a0) not in plain:
        return general(op, ({all},), more)
{fill}
    x = a0._array
    if x.dtype not in kinds{other}:
        return eager(({all},))
    found = quick(x)
    result = new(Tensor)
    result._array = found if type(found) is ndarray else asarray(found)
    if recorded and (
        a0._requires_grad or ((base := a0._base) is not None and base._requires_grad)
    ) and mode.grad:
        return record(op, ({all},), result)
    return result
"""

_BINARY = """
def call({header}):
    if active[0]{more}{missing}:
        return general(op, ({all},), {keywords})
{fill}
    first, second = type(a0), type(a1)
    needs = False
    if first in plain:
        x = a0._array
        kind = x.dtype
        needs = a0._requires_grad or ((base := a0._base) is not None and base._requires_grad)
        if second in plain:
            y = a1._array
            if y.dtype is not kind or kind not in kinds{other}:
                return eager(({all},))
            needs = needs or a1._requires_grad or (
                (base := a1._base) is not None and base._requires_grad)
        elif kind in numbers[second]{same}:
            y = a1
        else:
            return eager(({all},))
    elif second in plain and a1._array.dtype in lefts[first]{same}:
        x, y = a0, a1._array
        needs = a1._requires_grad or ((base := a1._base) is not None and base._requires_grad)
    else:
        return eager(({all},))
    try:
        found = quick(x, y)
    except (ValueError, OverflowError):
        return eager(({all},))  # the long way knows the words
    result = new(Tensor)
    result._array = found if type(found) is ndarray else asarray(found)
    if needs and recorded and mode.grad:
        return record(op, ({bound},), result)
    return result
"""

_WRITE = """
def call({header}):
    if active[0]{more}{missing} or type(a0) not in plain:
        return general(op, ({all},), {keywords})
{fill}
    x, second = a0._array, type(a1)
    kind = x.dtype
    needs = a0._requires_grad or ((base := a0._base) is not None and base._requires_grad)
    if second in plain:
        y = a1._array
        if y.dtype is not kind or kind not in kinds{other}:
            return eager(({all},))
        needs = needs or a1._requires_grad or (
            (base := a1._base) is not None and base._requires_grad)
    elif kind in numbers[second]{same}:
        y = a1
    else:
        return eager(({all},))
    if needs and mode.grad or 0 in x.strides:
        return eager(({all},))
    try:
        quick(x, y, x)
    except (ValueError, OverflowError):
        return eager(({all},))
    a0._bump()
    return a0
"""

_VIEW = """
def call({header}):
    if active[0] or more{missing} or type(a0) not in plain:
        return general(op, ({all},), more)
{fill}
    try:
        seen = function(a0._array{rest})
    except (ValueError, TypeError, IndexError):
        return eager(({all},))  # which knows the words
    result = new(Tensor)
    result._array = seen
    base = a0._base
    if base is None:
        result._base, result._view = a0, ((op, ({params})),)
        if not a0._requires_grad:
            return result
    else:
        result._base, result._view = base, a0._view + ((op, ({params})),)
        if not (a0._requires_grad or base._requires_grad):
            return result
    if not (recorded and mode.grad):
        return cut(op, ({all},), result)
    node = new(OpNode)
    node.op, node.sequence = op, count()
    if anomaly[0]:
        node.traceback = trace()
    before = a0._node if base is None else node_of(a0)
    node._edges = [a0 if before is None else (before, a0._output_nr)]
    node.saved = (a0._spec(), {params})
    result._node, result._requires_grad = node, True
    result._seen = result._base._node
    return result
"""

_TEMPLATES = {
    "general": _GENERAL, "composite": _COMPOSITE, "unary": _UNARY, "binary": _BINARY,
    "write": _WRITE, "view": _VIEW,
}

_F32, _F64, _I64 = (np.dtype(t) for t in (np.float32, np.float64, np.int64))
SINGLE, FLOATS = frozenset((_F32,)), frozenset((_F32, _F64))
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
def _code(form: str, arity: int, required: int, header: str = "") -> types.CodeType:
    """A template's code; with a `header`, for an operator symbol, which takes two operands."""
    names = [f"a{i}" for i in range(arity)]
    rest = names[1 if form == "unary" else 2 :]
    given = names[:2] if header else names
    fill = [f"    if {name} is MISSING: {name} = {name}_default" for name in names[required:]]
    missing = f" or a{required - 1} is MISSING" if required and not header else ""
    source = _TEMPLATES[form].format(
        header=header or ", ".join(names) + ", /, **more",
        all=", ".join(given),
        bound=", ".join([*names[:2], *(f"{name}_default" for name in names[2:])])
        if header else ", ".join(names),
        fill="" if header else "\n".join(fill),
        missing=missing,
        rest="".join(f", {name}" for name in names[1:]),
        params="".join(f"{name}, " for name in names[1:]),
        more="" if header else " or more",
        keywords="{}" if header else "more",
        other="" if header else "".join(f" or {name} is not {name}_default" for name in rest),
        same="" if header else "".join(f" and {name} is {name}_default" for name in rest),
    )
    found: dict[str, Any] = {}
    # a place in this file: capture does not enter the library's own code
    exec(compile(source, f"{__file__}:{form}", "exec"), found)
    return found["call"].__code__


def _space(op: Any, of: Any) -> dict[str, Any]:
    """The names that a template finds; `of` is the operator whose `quick` is called."""
    quick = getattr(of, "quick", None)
    kinds = of.kinds if quick is not None else frozenset()
    space: dict[str, Any] = {
        "__name__": __name__, "op": op, "active": dispatch.active, "general": general,
        "eager": op.eager, "function": op.function, "MISSING": MISSING, "plain": PLAIN,
        "kinds": kinds, "quick": quick, "new": object.__new__, "Tensor": Tensor,
        "ndarray": np.ndarray, "asarray": np.asarray, "recorded": op.recorded and getattr(of, "promote", "") != "bool", "mode": _MODE,
        "record": record_unary if op.required == 1 else record_binary,
        "numbers": getattr(of, "scalars", None), "lefts": getattr(of, "lefts", None),
    }
    for i, value in enumerate(op.defaults):
        space[f"a{i}_default"] = value
    return space


def straight(op: Any) -> Any:
    """The function that calls an operator."""
    form, of = "general", op.functional if op.kind == "inplace" else op
    quick, required = getattr(of, "quick", None), op.required
    if op.kind == "composite" and op.run is None:
        form = "composite"
    elif op.kind == "view" and op.run is not None:
        form = "view"
    elif quick is not None and op.kind == "inplace":
        form = "write" if required == 2 and type(quick) is np.ufunc else "general"
    elif quick is not None:
        form = "unary" if required == 1 else "binary"
    code = _code(form, op.arity, required)
    code = code.replace(co_varnames=(*op.parameters, *code.co_varnames[op.arity :]),
                        co_name=op.name)
    space = _space(op, of)
    if form == "view":
        space.update(function=op.run, recorded=op.vjp is not None, cut=autograd.finish_view,
                     OpNode=OpNode, count=count, anomaly=anomaly, trace=trace, node_of=node_of)
    made = types.FunctionType(code, space, op.name, (MISSING,) * op.arity)
    made.__doc__, made.__module__, made.__qualname__ = op.__doc__, op.__module__, op.name
    made.op = op  # type: ignore[attr-defined]
    return made


def symbol(op: Any, name: str, slow: Any, swapped: bool = False) -> Any:
    """What `+` and the like do: `op` on operands that need no conversion, elsewhere `slow`, a method.
    """
    form, of = ("write", op.functional) if op.kind == "inplace" else ("binary", op)
    if form == "write" and type(of.quick) is not np.ufunc:
        return slow  # it does not write into an array
    space = _space(op, of)
    if swapped:
        space["general"] = lambda op, operands, more: slow(operands[1], operands[0])
        space["eager"] = lambda operands: slow(operands[1], operands[0])
    else:
        space["general"] = lambda op, operands, more: slow(*operands)
        space["eager"] = lambda operands: slow(*operands)
    code = _code(form, op.arity, 2, "a1, a0" if swapped else "a0, a1")
    made = types.FunctionType(code.replace(co_name=name), space, name)
    made.__doc__, made.__qualname__ = op.__doc__, f"Tensor.{name}"
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
