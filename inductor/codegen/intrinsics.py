"""The words of kernel text as LLVM instructions: an entry for each word of `words.WORDS`.

Loads and stores promise LLVM that what a kernel reads it does not write in the same loop
(`alias.scope`/`noalias`), so that loops over many buffers vectorise without run-time overlap
checks. The scheduler keeps that promise: no output of a kernel shares memory with its inputs, and a
value which a kernel both writes and reads again goes through `load_again`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inductor.codegen.types import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    SCALARS,
    UINT16,
    UINT32,
    Pointer,
    Scalar,
    Value,
    literal,
)
from inductor.codegen.words import WORDS
from inductor.codegen.writer import Writer

METADATA = '!0 = !{!"flambeau"}\n!1 = !{!"inputs", !0}\n!2 = !{!1}\n'
"""What the notes at loads and stores refer to."""
_LOOSE = "reassoc nsz contract "
_INTEGER_OF = {FLOAT32: INT32, FLOAT64: INT64}
_FLOAT_OF = {INT32: FLOAT32, INT64: FLOAT64}

Emitter = Callable[..., Value | None]
_EMITTERS: dict[str, Emitter] = {}


def _says(name: str) -> Callable[[Emitter], Emitter]:
    def enter(emitter: Emitter) -> Emitter:
        _EMITTERS[name] = emitter
        return emitter

    return enter


@_says("load")
def _load(w: Writer, pointer: Value, index: Value) -> Value:
    return w.load(pointer, index, ", !alias.scope !2")


@_says("load_again")
def _load_again(w: Writer, pointer: Value, index: Value) -> Value:
    return w.load(pointer, index)


@_says("store")
def _store(w: Writer, pointer: Value, index: Value, value: Value) -> None:
    w.store(pointer, index, value, ", !noalias !2")


@_says("select")
def _select(w: Writer, condition: Value, yes: Value, no: Value) -> Value:
    return w.choose(w.truth(condition), yes, no)


@_says("bits")
def _bits(w: Writer, value: Value) -> Value:
    integer = _INTEGER_OF[value.type]
    return w.emit(integer, f"bitcast {value.typed} to {integer.llvm}")


@_says("from_bits")
def _from_bits(w: Writer, value: Value) -> Value:
    floating = _FLOAT_OF[value.type]
    return w.emit(floating, f"bitcast {value.typed} to {floating.llvm}")


@_says("polynomial")
def _polynomial(w: Writer, x: Value, coefficients: tuple[Value, ...]) -> Value:
    terms = [w.convert(coefficient, x.type) for coefficient in coefficients]
    total = terms.pop()
    while terms:
        product = w.emit(x.type, f"fmul contract {total.typed}, {x.code}")
        total = w.emit(x.type, f"fadd contract {product.typed}, {terms.pop().code}")
    return total


def _accumulate(name: str, flags: str) -> Emitter:
    def emitter(w: Writer, total: Value, value: Value) -> Value:
        value = w.convert(value, total.type)
        instruction = f"f{name} {flags}" if total.type.kind == "f" else f"{name} "
        return w.emit(total.type, f"{instruction}{total.typed}, {value.code}")

    return emitter


_EMITTERS["add_up"] = _accumulate("add", _LOOSE)
_EMITTERS["multiply_up"] = _accumulate("mul", _LOOSE)
_EMITTERS["add_in_order"] = _accumulate("add", "")


def _extremum(name: str) -> Emitter:
    def emitter(w: Writer, left: Value, right: Value) -> Value:
        left, right = w.together(left, right)
        scalar = left.type
        if scalar.kind == "f":
            return w.call(f"llvm.{name}imum.f{scalar.bits}", scalar, left, right)
        sign = "s" if scalar.kind == "i" else "u"
        return w.call(f"llvm.{sign}{name}.i{scalar.bits}", scalar, left, right)

    return emitter


_EMITTERS["maximum"], _EMITTERS["minimum"] = _extremum("max"), _extremum("min")


def _float_function(name: str) -> Emitter:
    """A function of LLVM that is one instruction on every CPU we run on."""

    def emitter(w: Writer, x: Value, *more: Value) -> Value:
        if x.type.kind != "f":
            raise TypeError(f"{name} of a {x.type}")
        return w.call(f"llvm.{name}.f{x.type.bits}", x.type, x, *more)

    return emitter


_EMITTERS |= {
    "square_root": _float_function("sqrt"), "absolute": _float_function("fabs"),
    "round_down": _float_function("floor"), "round_up": _float_function("ceil"),
    "round_to_zero": _float_function("trunc"), "round_even": _float_function("rint"),
    "with_sign": _float_function("copysign"),
}


def _convert(goal: Scalar) -> Emitter:
    def emitter(w: Writer, value: Value) -> Value:
        if value.type.kind != "f" or goal.kind not in "iu":
            return w.convert(value, goal)
        # through 64 bits, like C on x86: a negative number wraps around in an unsigned type
        wide = INT64 if goal.bits > 32 or goal.kind == "u" else INT32
        return w.convert(w.convert(value, wide), goal)

    return emitter


def _pointer(element: Scalar) -> Emitter:
    def emitter(w: Writer, address: Value) -> Value:
        return w.emit(Pointer(element), f"inttoptr {address.typed} to ptr")

    return emitter


def _scratch(element: Scalar) -> Emitter:
    def emitter(w: Writer, count: Value) -> Value:
        if not isinstance(count.number, int):
            raise TypeError("scratch memory has a size that the text says")
        return w.room(element, count.number)

    return emitter


for _name, _scalar in SCALARS.items():
    _EMITTERS[f"to_{_name}"] = _convert(_scalar)
    _EMITTERS[f"pointer_{_name}"] = _pointer(_scalar)
    _EMITTERS[f"scratch_{_name}"] = _scratch(_scalar)


@_says("multiply_high")
def _multiply_high(w: Writer, left: Value, right: Value) -> Value:
    wide = [w.emit(INT64, f"zext {value.typed} to i64") for value in (left, right)]
    product = w.emit(INT64, f"mul {wide[0].typed}, {wide[1].code}")
    high = w.emit(INT64, f"lshr {product.typed}, 32")
    return w.emit(UINT32, f"trunc {high.typed} to i32")


@_says("from_float16")
def _from_float16(w: Writer, value: Value) -> Value:
    half = w.emit(UINT16, f"bitcast {value.typed} to half")
    return w.emit(FLOAT32, f"fpext half {half.code} to float")


@_says("to_float16")
def _to_float16(w: Writer, value: Value) -> Value:
    half = w.emit(UINT16, f"fptrunc {value.typed} to half")
    return w.emit(UINT16, f"bitcast half {half.code} to i16")


@_says("from_bfloat16")
def _from_bfloat16(w: Writer, value: Value) -> Value:
    wide = w.emit(INT32, f"zext {value.typed} to i32")
    shifted = w.emit(INT32, f"shl {wide.typed}, 16")
    return w.emit(FLOAT32, f"bitcast {shifted.typed} to float")


@_says("to_bfloat16")
def _to_bfloat16(w: Writer, value: Value) -> Value:
    raw = w.emit(INT32, f"bitcast {value.typed} to i32")
    odd = w.emit(INT32, f"and i32 {w.emit(INT32, f'lshr {raw.typed}, 16').code}, 1")
    rounded = w.emit(INT32, f"add i32 {w.emit(INT32, f'add {raw.typed}, 32767').code}, {odd.code}")
    is_nan = w.emit(BOOL, f"fcmp uno {value.typed}, {value.code}")
    quiet = w.emit(INT32, f"or {raw.typed}, 4194304")
    kept = w.emit(INT32, f"select {is_nan.typed}, {quiet.typed}, {rounded.typed}")
    top = w.emit(INT32, f"lshr {kept.typed}, 16")
    return w.emit(UINT16, f"trunc {top.typed} to i16")


def _builtin(relation: str) -> Emitter:
    """min and max of two numbers, the first where they are equal."""

    def emitter(w: Writer, left: Value, right: Value) -> Value:
        left, right = w.together(left, right)
        return w.choose(w.compare(relation, right, left), right, left)

    return emitter


def _size(w: Writer, value: Value) -> Value:
    """abs of an integer."""
    return w.choose(w.compare("lt", value, literal(0, value.type)), w.negate(value), value)


EMITTERS: dict[Any, Emitter] = {
    **{word: _EMITTERS[name] for name, word in WORDS.items() if name in _EMITTERS},
    min: _builtin("lt"), max: _builtin("gt"), abs: _size,
}
"""By the word itself, so that a text may call it what it likes."""
