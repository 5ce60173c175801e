"""One instruction, and what the tables of CPython 3.11, 3.12 and 3.13 say about it.

The names here are those of `dis`, with two liberties that hide a difference of encoding: a
conditional jump is `POP_JUMP_IF_*` whatever its direction, and taking a cell is `LOAD_CLOSURE`
everywhere.
"""

from __future__ import annotations

import dis
import opcode
import sys
from dataclasses import dataclass
from types import CodeType
from typing import Any

from dynamo.encoding import Location

VERSION = sys.version_info[:2]
SUPPORTED = ((3, 11), (3, 12), (3, 13))

CO_VARARGS, CO_VARKEYWORDS = 0x04, 0x08
CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200

OPCODES = dict(dis.opmap)
EXTENDED_ARG = dis.EXTENDED_ARG
HAS_ARGUMENT = frozenset(getattr(dis, "hasarg", range(dis.HAVE_ARGUMENT, 256)))
HAS_CONSTANT = frozenset(dis.opname[op] for op in dis.hasconst)
HAS_NAME = frozenset(dis.opname[op] for op in dis.hasname)
HAS_LOCAL = frozenset(dis.opname[op] for op in (*dis.haslocal, *dis.hasfree)) | {"LOAD_CLOSURE"}

# Opcodes whose argument holds a name's index above this many flag bits.
NAME_FLAG_BITS = {"LOAD_GLOBAL": 1}
if VERSION >= (3, 12):
    NAME_FLAG_BITS |= {"LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 2}

# COMPARE_OP: where the operator's index begins.
COMPARE_SHIFT = {(3, 11): 0, (3, 12): 4, (3, 13): 5}.get(VERSION, 5)

FUSED = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
}

PLAIN_NAME = {
    f"POP_JUMP_{direction}_IF_{condition}": f"POP_JUMP_IF_{condition}"
    for direction in ("FORWARD", "BACKWARD")
    for condition in ("TRUE", "FALSE", "NONE", "NOT_NONE")
}
NEGATED = {"TRUE": "FALSE", "FALSE": "TRUE", "NONE": "NOT_NONE", "NOT_NONE": "NONE"}
JUMPS = frozenset(PLAIN_NAME.get(dis.opname[op], dis.opname[op]) for op in dis.hasjrel)
UNCONDITIONAL = frozenset(("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"))
NO_SUCCESSOR = UNCONDITIONAL | {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"}

OPERAND_TEXT = {
    "BINARY_OP": lambda arg: opcode._nb_ops[arg][1],  # type: ignore[attr-defined]
    "COMPARE_OP": lambda arg: dis.cmp_op[arg >> COMPARE_SHIFT],
    "IS_OP": lambda arg: "is not" if arg else "is",
    "CONTAINS_OP": lambda arg: "not in" if arg else "in",
}


def _cache_counts() -> dict[str, int]:
    """Inline cache entries per opcode name; the interpreter's own table has changed shape."""
    table = opcode._inline_cache_entries  # type: ignore[attr-defined]
    if isinstance(table, dict):
        return dict(table)
    return {dis.opname[op]: count for op, count in enumerate(table) if count}


CACHES = _cache_counts()


@dataclass(eq=False)
class ExceptionEntry:
    """Where an exception raised by an instruction continues, and what stays on the stack."""

    target: Instruction
    depth: int
    lasti: bool


@dataclass(eq=False)
class Instruction:
    """One instruction; compared by identity, because jumps and handlers point at it.

    `argval` counts for constants, names and variables, `target` for jumps, and `arg` for everything
    else; its low bits are also the flags of `LOAD_GLOBAL`, `LOAD_ATTR` and `LOAD_SUPER_ATTR`.
    Without `positions` and `line`, an instruction belongs to the line before it.
    """

    opcode: int
    opname: str
    arg: int | None = None
    argval: Any = None
    target: Instruction | None = None
    line: int | None = None
    positions: Location | None = None
    exception_entry: ExceptionEntry | None = None

    def __repr__(self) -> str:
        operand = ""
        if self.target is not None:
            operand = f" -> {self.target.opname}"
        elif self.argval is not None or self.arg is not None:
            operand = f" {self.argval!r}" if self.argval is not None else f" {self.arg}"
        return f"<{self.opname}{operand} line {self.line}>"

    def copy(self) -> Instruction:
        """The same instruction as a new object, with the same target and handler."""
        return Instruction(
            self.opcode, self.opname, self.arg, self.argval, self.target, self.line,
            self.positions, self.exception_entry,
        )  # fmt: skip


def make(
    opname: str,
    arg: int | None = None,
    argval: Any = None,
    target: Instruction | None = None,
    line: int | None = None,
) -> Instruction:
    """An instruction by name. Raises ValueError for a name that this Python does not have."""
    opcode = OPCODES.get(opname)
    if opcode is None:
        opcode = OPCODES.get(opname.replace("POP_JUMP_IF", "POP_JUMP_FORWARD_IF"))
    if opcode is None:
        raise ValueError(f"Python {VERSION[0]}.{VERSION[1]} has no instruction {opname}")
    return Instruction(opcode, opname, arg, argval, target, line)


def argument_count(code: CodeType) -> int:
    """Number of argument slots: positional, keyword-only, `*args` and `**kwargs`."""
    flags = code.co_flags
    stars = bool(flags & CO_VARARGS) + bool(flags & CO_VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + stars


def stack_effect(instruction: Instruction, jump: bool) -> int:
    """How the stack's depth changes when the instruction falls through (or jumps)."""
    opcode, arg = instruction.opcode, instruction.arg
    if instruction.opname in PLAIN_NAME.values():
        return -1
    if instruction.opname in ("LOAD_CLOSURE", "RETURN_GENERATOR"):
        return 1  # the first is no real opcode on 3.13; the tables of 3.11 and 3.12 omit the second
    if arg is None and opcode in HAS_ARGUMENT:
        arg = 0
    return dis.stack_effect(opcode, arg, jump=jump)
