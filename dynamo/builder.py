"""Builders: instruction sequences that do the same on 3.11, 3.12 and 3.13.

Each returns a list of fresh `Instruction`s. One call convention for all versions: push the
callable, then `push_null()`, then the arguments, then `call(count, names of keywords)`. What is on
the stack is named bottom to top in the docstrings. `dynamo.bytecode` re-exports everything here.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType
from typing import Any

from dynamo.instruction import VERSION, Instruction, make


def load_const(value: Any) -> list[Instruction]:
    """-> value"""
    return [make("LOAD_CONST", argval=value)]


def load_fast(name: str, check: bool = False) -> list[Instruction]:
    """-> the local variable; from 3.12 on, one that may be unbound crashes without `check`"""
    return [make("LOAD_FAST_CHECK" if check and VERSION >= (3, 12) else "LOAD_FAST", argval=name)]


def store_fast(name: str) -> list[Instruction]:
    """value ->"""
    return [make("STORE_FAST", argval=name)]


def delete_fast(name: str) -> list[Instruction]:
    """Unbind a local variable."""
    return [make("DELETE_FAST", argval=name)]


def load_global(name: str, push_null: bool = False) -> list[Instruction]:
    """-> the global or builtin, with `push_null` ready for arguments and `call`"""
    return [make("LOAD_GLOBAL", arg=int(push_null), argval=name)]


def store_global(name: str) -> list[Instruction]:
    """value ->"""
    return [make("STORE_GLOBAL", argval=name)]


def delete_global(name: str) -> list[Instruction]:
    """Unbind a global."""
    return [make("DELETE_GLOBAL", argval=name)]


def load_attr(name: str) -> list[Instruction]:
    """object -> attribute"""
    return [make("LOAD_ATTR", arg=0, argval=name)]


def store_attr(name: str) -> list[Instruction]:
    """value, object ->"""
    return [make("STORE_ATTR", argval=name)]


def delete_attr(name: str) -> list[Instruction]:
    """object ->"""
    return [make("DELETE_ATTR", argval=name)]


def load_method(name: str) -> list[Instruction]:
    """object -> bound method, ready for arguments and `call`"""
    if VERSION < (3, 12):
        return [make("LOAD_METHOD", argval=name)]
    return [make("LOAD_ATTR", arg=1, argval=name)]


def load_deref(name: str) -> list[Instruction]:
    """-> contents of the cell"""
    return [make("LOAD_DEREF", argval=name)]


def store_deref(name: str) -> list[Instruction]:
    """value ->"""
    return [make("STORE_DEREF", argval=name)]


def delete_deref(name: str) -> list[Instruction]:
    """Empty a cell."""
    return [make("DELETE_DEREF", argval=name)]


def load_closure(name: str) -> list[Instruction]:
    """-> the cell itself"""
    return [make("LOAD_CLOSURE", argval=name)]


def push_null() -> list[Instruction]:
    """callable -> callable, ready for arguments and `call` or `call_ex`"""
    if VERSION < (3, 13):
        return [make("PUSH_NULL"), make("SWAP", 2)]
    return [make("PUSH_NULL")]


def call(count: int, keywords: Sequence[str] = ()) -> list[Instruction]:
    """callable and null, `count` arguments (the last ones by keyword) -> result"""
    if VERSION >= (3, 13):
        if keywords:
            return [make("LOAD_CONST", argval=tuple(keywords)), make("CALL_KW", count)]
        return [make("CALL", count)]
    out = [make("KW_NAMES", argval=tuple(keywords))] if keywords else []
    if VERSION < (3, 12):
        out.append(make("PRECALL", count))
    return [*out, make("CALL", count)]


def call_ex(keywords: bool = False) -> list[Instruction]:
    """callable and null, tuple, dict if `keywords` -> result"""
    return [make("CALL_FUNCTION_EX", int(keywords))]


def pop_top() -> list[Instruction]:
    """value ->"""
    return [make("POP_TOP")]


def copy(depth: int = 1) -> list[Instruction]:
    """Push the item at `depth` again (1 is the top)."""
    return [make("COPY", depth)]


def swap(depth: int = 2) -> list[Instruction]:
    """Exchange the top with the item at `depth` (1 is the top)."""
    return [make("SWAP", depth)]


def rot(count: int) -> list[Instruction]:
    """Move the top item below the `count - 1` items under it."""
    return [make("SWAP", depth) for depth in range(count, 1, -1)]


def build_tuple(count: int) -> list[Instruction]:
    """`count` items -> tuple"""
    return [make("BUILD_TUPLE", count)]


def build_list(count: int) -> list[Instruction]:
    """`count` items -> list"""
    return [make("BUILD_LIST", count)]


def build_set(count: int) -> list[Instruction]:
    """`count` items -> set"""
    return [make("BUILD_SET", count)]


def build_map(count: int) -> list[Instruction]:
    """`count` pairs of key and value -> dict"""
    return [make("BUILD_MAP", count)]


def build_slice(count: int) -> list[Instruction]:
    """start, stop, and step if `count` is 3 -> slice"""
    return [make("BUILD_SLICE", count)]


def unpack_sequence(count: int) -> list[Instruction]:
    """sequence -> its items, the first one on top"""
    return [make("UNPACK_SEQUENCE", count)]


def binary_subscr() -> list[Instruction]:
    """container, key -> item"""
    return [make("BINARY_SUBSCR")]


def store_subscr() -> list[Instruction]:
    """value, container, key ->"""
    return [make("STORE_SUBSCR")]


def delete_subscr() -> list[Instruction]:
    """container, key ->"""
    return [make("DELETE_SUBSCR")]


def is_op(invert: bool = False) -> list[Instruction]:
    """left, right -> bool"""
    return [make("IS_OP", int(invert))]


def return_value() -> list[Instruction]:
    """value ->"""
    return [make("RETURN_VALUE")]


def jump(target: Instruction) -> list[Instruction]:
    """Go to `target`, wherever it will stand."""
    return [make("JUMP_FORWARD", target=target)]


def jump_if_true(target: Instruction) -> list[Instruction]:
    """value -> ; go to `target` if it is true"""
    return [*_to_bool(), make("POP_JUMP_IF_TRUE", target=target)]


def jump_if_false(target: Instruction) -> list[Instruction]:
    """value -> ; go to `target` if it is false"""
    return [*_to_bool(), make("POP_JUMP_IF_FALSE", target=target)]


def jump_if_none(target: Instruction) -> list[Instruction]:
    """value -> ; go to `target` if it is None"""
    return [make("POP_JUMP_IF_NONE", target=target)]


def jump_if_not_none(target: Instruction) -> list[Instruction]:
    """value -> ; go to `target` if it is not None"""
    return [make("POP_JUMP_IF_NOT_NONE", target=target)]


def _to_bool() -> list[Instruction]:
    return [make("TO_BOOL")] if VERSION >= (3, 13) else []


def make_function(
    code: CodeType, closure: bool = False, defaults: bool = False, kwdefaults: bool = False
) -> list[Instruction]:
    """tuple of defaults, dict of keyword defaults, tuple of cells (those named) -> function"""
    flags = [flag for flag, given in ((1, defaults), (2, kwdefaults), (8, closure)) if given]
    if VERSION < (3, 13):
        return [make("LOAD_CONST", argval=code), make("MAKE_FUNCTION", sum(flags))]
    setters = [make("SET_FUNCTION_ATTRIBUTE", flag) for flag in reversed(flags)]
    return [make("LOAD_CONST", argval=code), make("MAKE_FUNCTION"), *setters]


def prefix(cellvars: Sequence[str] = (), freevars: Sequence[str] = ()) -> list[Instruction]:
    """How a function begins: take the closure over, make cells, RESUME."""
    out = [make("COPY_FREE_VARS", len(freevars))] if freevars else []
    out += [make("MAKE_CELL", argval=name) for name in cellvars]
    return [*out, make("RESUME", 0)]
