"""Bytecode of CPython 3.11, 3.12 and 3.13 as a list of `Instruction`s, and back into a code object.

`decode` hides what differs only in encoding: inline caches and EXTENDED_ARG are dropped, the fused
`LOAD_FAST_LOAD_FAST` family of 3.13 is split, 3.13's `LOAD_FAST` of a cell is `LOAD_CLOSURE`
again, and a conditional jump is `POP_JUMP_IF_*` whatever its direction. `assemble` computes all of
it anew, with jumps, the exception table, the location table and the stack size.

Promise: `assemble(decode(code), code)` behaves as `code`. The builders of `dynamo.builder` are
re-exported here. Their call convention is one for all versions: push the callable, then
`push_null()`, then the arguments, then `call(count, names of keywords)`.
"""

from __future__ import annotations

import dis
from collections.abc import Iterable, Sequence
from types import CodeType
from typing import Any

from dynamo.builder import *  # noqa: F403
from dynamo.encoding import (
    Handler,
    Location,
    decode_exceptions,
    encode_exceptions,
    encode_locations,
)
from dynamo.instruction import (
    CACHES,
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    CO_VARARGS,
    CO_VARKEYWORDS,
    EXTENDED_ARG,
    FUSED,
    HAS_ARGUMENT,
    HAS_CONSTANT,
    HAS_LOCAL,
    HAS_NAME,
    JUMPS,
    NAME_FLAG_BITS,
    NEGATED,
    NO_SUCCESSOR,
    OPCODES,
    OPERAND_TEXT,
    PLAIN_NAME,
    SUPPORTED,
    UNCONDITIONAL,
    VERSION,
    ExceptionEntry,
    Instruction,
    argument_count,
    make,
    stack_effect,
)

# --- decode -----------------------------------------------------------------------------------


def decode(code: CodeType) -> list[Instruction]:
    """The instructions of `code`, with targets, handlers and locations resolved.

    Raises ValueError on a Python version without a table, and for code in which one name is both a
    cell and a free variable (an inlined comprehension can make it so).
    """
    if VERSION not in SUPPORTED:
        raise ValueError(f"no bytecode table for Python {VERSION[0]}.{VERSION[1]}")
    twice = set(code.co_cellvars) & set(code.co_freevars)
    if twice:
        raise ValueError(f"{code.co_qualname} has two variables named {', '.join(sorted(twice))}")
    positions = [Location(*position) for position in code.co_positions()]
    instructions: list[Instruction] = []
    at_offset: dict[int, Instruction] = {}
    jumps: list[tuple[Instruction, int]] = []
    starts: list[int] = []
    for start, unit, stop, opname, arg in _units(code.co_code):
        parts = _parts(code, opname, arg)
        for name, part_arg, argval in parts:
            instruction = make(name, part_arg, argval)
            instruction.positions = positions[unit]
            instruction.line = positions[unit].line
            instructions.append(instruction)
            starts.append(unit)
        at_offset[start] = at_offset[unit] = instructions[-len(parts)]
        if parts[0][0] in JUMPS:
            assert arg is not None
            jumps.append((instructions[-1], stop - arg if "BACKWARD" in opname else stop + arg))
    for instruction, offset in jumps:
        instruction.target = at_offset[offset]
    _attach_handlers(code, instructions, starts, at_offset)
    return instructions


def _units(bytecode: bytes) -> Iterable[tuple[int, int, int, str, int | None]]:
    """`(first unit with EXTENDED_ARG, unit, unit after the caches, opname, arg)` of each one."""
    index, start, extended = 0, 0, 0
    while index < len(bytecode) // 2:
        operation, arg = bytecode[2 * index], bytecode[2 * index + 1] | extended
        if operation == EXTENDED_ARG:
            extended = arg << 8
            index += 1
            continue
        name = dis.opname[operation]
        stop = index + 1 + CACHES.get(name, 0)
        yield start, index, stop, name, arg if operation in HAS_ARGUMENT else None
        index = start = stop
        extended = 0


def _parts(code: CodeType, opname: str, arg: int | None) -> list[tuple[str, int | None, Any]]:
    """Split a fused instruction and look its operands up."""
    if arg is None:
        return [(opname, None, None)]
    fused = FUSED.get(opname)
    if fused is not None:
        first, second = _parts(code, fused[0], arg >> 4), _parts(code, fused[1], arg & 15)
        return first + second
    opname = PLAIN_NAME.get(opname, opname)
    if opname in HAS_CONSTANT:
        return [(opname, arg, code.co_consts[arg])]
    if opname in HAS_NAME:
        return [(opname, arg, code.co_names[arg >> NAME_FLAG_BITS.get(opname, 0)])]
    if opname in HAS_LOCAL:
        name = code._varname_from_oparg(arg)  # type: ignore[attr-defined]
        is_cell = name in code.co_cellvars or name in code.co_freevars
        return [("LOAD_CLOSURE" if opname == "LOAD_FAST" and is_cell else opname, arg, name)]
    text = OPERAND_TEXT.get(opname)
    return [(opname, arg, text(arg) if text else None)]


def _attach_handlers(
    code: CodeType,
    instructions: list[Instruction],
    starts: list[int],
    at_offset: dict[int, Instruction],
) -> None:
    handlers = decode_exceptions(code.co_exceptiontable)
    entries = [ExceptionEntry(at_offset[h.target], h.depth, h.lasti) for h in handlers]
    position = 0
    for instruction, start in zip(instructions, starts, strict=True):
        while position < len(handlers) and handlers[position].stop <= start:
            position += 1
        if position < len(handlers) and handlers[position].start <= start:
            instruction.exception_entry = entries[position]


# --- assemble ---------------------------------------------------------------------------------


class _Pool:
    """A tuple being built: gives each distinct item one index."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self.items: list[Any] = []
        self.index: dict[Any, int] = {}
        for item in items:
            self.items.append(item)
            self.index.setdefault(_constant_key(item), len(self.items) - 1)

    def find(self, item: Any) -> int:
        key = _constant_key(item)
        if key not in self.index:
            self.index[key] = len(self.items)
            self.items.append(item)
        return self.index[key]


def _constant_key(value: Any) -> Any:
    """Equal keys only for constants that are the same in type, value and sign of zero."""
    kind = type(value)
    if kind in (str, int, bytes, bool, type(None)):
        return kind, value
    if kind in (float, complex):
        return kind, repr(value)
    if kind is tuple:
        return kind, tuple(map(_constant_key, value))
    return kind, id(value)


def assemble(
    instructions: Sequence[Instruction],
    template: CodeType,
    *,
    varnames: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    consts: Sequence[Any] | None = None,
    freevars: Sequence[str] | None = None,
    cellvars: Sequence[str] | None = None,
    argcount: int | None = None,
    posonlyargcount: int | None = None,
    kwonlyargcount: int | None = None,
    flags: int | None = None,
    name: str | None = None,
    qualname: str | None = None,
    firstlineno: int | None = None,
) -> CodeType:
    """A code object of `instructions`; what is not given comes from `template`.

    `varnames`, `names` and `consts` are where the tables begin; what the instructions use is added.
    By default they begin with the template's arguments, nothing, and the docstring's constant. With
    `argcount` the template's positional-only, keyword-only and starred arguments are gone unless
    they are given as well. Raises ValueError for a variable or a jump target that does not exist.
    """
    instructions = _expand_conditionals(instructions)
    if flags is None:
        flags = template.co_flags
        if argcount is not None:
            flags &= ~(CO_VARARGS | CO_VARKEYWORDS)
    if argcount is not None:
        posonlyargcount, kwonlyargcount = posonlyargcount or 0, kwonlyargcount or 0
    cellvars = tuple(template.co_cellvars if cellvars is None else cellvars)
    freevars = tuple(template.co_freevars if freevars is None else freevars)
    if varnames is None:
        varnames = template.co_varnames[: argument_count(template)]
    local_names = _local_names(instructions, varnames, {*cellvars, *freevars})
    variables = _Pool(dict.fromkeys((*local_names, *cellvars, *freevars)))
    constants = _Pool(template.co_consts[:1] if consts is None else consts)
    name_pool = _Pool(() if names is None else names)
    arguments = [_argument(i, constants, name_pool, variables, freevars) for i in instructions]
    encoded, starts = _encode(instructions, arguments)
    first_line = template.co_firstlineno if firstlineno is None else firstlineno
    depth = stack_size(instructions)
    if flags & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR):
        # What SEND and CLEANUP_THROW leave is not in the tables; no generator is built anew.
        depth = max(depth, template.co_stacksize)
    changes: dict[str, Any] = {
        "co_argcount": argcount,
        "co_posonlyargcount": posonlyargcount,
        "co_kwonlyargcount": kwonlyargcount,
        "co_name": name,
        "co_qualname": name if qualname is None else qualname,
    }
    return template.replace(
        co_code=encoded,
        co_consts=tuple(constants.items),
        co_names=tuple(name_pool.items),
        co_varnames=local_names,
        co_nlocals=len(local_names),
        co_cellvars=cellvars,
        co_freevars=freevars,
        co_flags=flags,
        co_firstlineno=first_line,
        co_stacksize=depth,
        co_linetable=_location_table(instructions, starts, first_line),
        co_exceptiontable=_exception_table(instructions, starts),
        **{key: value for key, value in changes.items() if value is not None},
    )


def copy_all(instructions: Sequence[Instruction]) -> list[Instruction]:
    """Copies whose targets and handlers are among the copies."""
    copies = {instruction: instruction.copy() for instruction in instructions}
    entries: dict[ExceptionEntry, ExceptionEntry] = {}
    for instruction in copies.values():
        if instruction.target is not None:
            instruction.target = copies[instruction.target]
        entry = instruction.exception_entry
        if entry is None:
            continue
        if entry not in entries:
            entries[entry] = ExceptionEntry(copies[entry.target], entry.depth, entry.lasti)
        instruction.exception_entry = entries[entry]
    return list(copies.values())


def _expand_conditionals(instructions: Sequence[Instruction]) -> list[Instruction]:
    """Since 3.12 conditional jumps only go forward: lead a backward one around a plain jump."""
    index = {instruction: i for i, instruction in enumerate(instructions)}
    backward = [
        i
        for i, instruction in enumerate(instructions)
        if instruction.opname in PLAIN_NAME.values()
        and instruction.target is not None
        and index.get(instruction.target, i + 1) <= i
    ]
    if VERSION < (3, 12) or not backward:
        return list(instructions)
    out = copy_all(instructions)
    for i in reversed(backward):
        conditional = out[i]
        condition = NEGATED[conditional.opname.removeprefix("POP_JUMP_IF_")]
        turned = make(f"POP_JUMP_IF_{condition}")
        back, over = make("JUMP_BACKWARD", target=conditional.target), make("NOP")
        for extra in (back, over):
            extra.line, extra.positions = conditional.line, conditional.positions
            extra.exception_entry = conditional.exception_entry
        conditional.opcode, conditional.opname = turned.opcode, turned.opname
        conditional.target = over
        out[i + 1 : i + 1] = [back, over]
    return out


def _local_names(
    instructions: Sequence[Instruction], varnames: Sequence[str], cells: set[str]
) -> tuple[str, ...]:
    """CPython numbers locals, then cells that are not among them, then free variables."""
    used = (i.argval for i in instructions if i.opname in HAS_LOCAL and i.argval not in cells)
    return tuple(dict.fromkeys((*varnames, *used)))


def _argument(
    instruction: Instruction,
    constants: _Pool,
    names: _Pool,
    variables: _Pool,
    freevars: tuple[str, ...],
) -> int:
    """The numeric argument; jumps get theirs in `_encode`."""
    opname = instruction.opname
    if opname in HAS_CONSTANT:
        return constants.find(instruction.argval)
    if opname in HAS_NAME:
        bits = NAME_FLAG_BITS.get(opname, 0)
        return names.find(instruction.argval) << bits | (instruction.arg or 0) & (1 << bits) - 1
    if opname in HAS_LOCAL:
        return variables.find(instruction.argval)
    if opname == "COPY_FREE_VARS":
        return len(freevars)
    return 0 if opname in JUMPS else instruction.arg or 0


def _encode(
    instructions: list[Instruction], arguments: list[int]
) -> tuple[bytes, list[int]]:
    """Bytecode, and the first code unit of each instruction followed by the total."""
    index = {instruction: i for i, instruction in enumerate(instructions)}
    opnames = [_directed(instruction, i, index) for i, instruction in enumerate(instructions)]
    caches = [CACHES.get(opname, 0) for opname in opnames]
    starts = _starts(arguments, caches)
    while True:
        for i, instruction in enumerate(instructions):
            if instruction.opname in JUMPS:
                assert instruction.target is not None
                distance = starts[index[instruction.target]] - starts[i + 1]
                arguments[i] = abs(distance)
        new_starts = _starts(arguments, caches)
        if new_starts == starts:
            break
        starts = new_starts
    out = bytearray()
    for opname, argument, cache in zip(opnames, arguments, caches, strict=True):
        for shift in (24, 16, 8):
            if argument >> shift:
                out += bytes((EXTENDED_ARG, argument >> shift & 255))
        out += bytes((OPCODES[opname], argument & 255))
        out += bytes(2 * cache)
    return bytes(out), starts


def _starts(arguments: list[int], caches: list[int]) -> list[int]:
    starts = [0]
    for argument, cache in zip(arguments, caches, strict=True):
        extended = max(0, (argument.bit_length() - 1) // 8)
        starts.append(starts[-1] + extended + 1 + cache)
    return starts


def _directed(instruction: Instruction, position: int, index: dict[Instruction, int]) -> str:
    """The opcode that is written: this version's form, and the direction of a jump."""
    opname = instruction.opname
    if opname == "LOAD_CLOSURE" and VERSION >= (3, 13):
        return "LOAD_FAST"
    if opname not in JUMPS:
        return opname
    if instruction.target not in index:
        raise ValueError(f"the target of {instruction!r} is not among the instructions")
    backward = index[instruction.target] <= position
    if opname in UNCONDITIONAL:
        if not backward:
            return "JUMP_FORWARD"
        return opname if opname.startswith("JUMP_BACKWARD") else "JUMP_BACKWARD"
    if opname.startswith("POP_JUMP_IF_") and VERSION < (3, 12):
        return opname.replace("JUMP_IF", "JUMP_BACKWARD_IF" if backward else "JUMP_FORWARD_IF")
    if backward:
        raise ValueError(f"{opname} cannot jump backward")
    return opname


def _location_table(
    instructions: list[Instruction], starts: list[int], first_line: int
) -> bytes:
    spans = []
    current = Location(first_line)
    for i, instruction in enumerate(instructions):
        if instruction.positions is not None:
            current = instruction.positions
        elif instruction.line is not None:
            current = Location(instruction.line)
        spans.append((starts[i + 1] - starts[i], current))
    return encode_locations(spans, first_line)


def _exception_table(instructions: list[Instruction], starts: list[int]) -> bytes:
    index = {instruction: i for i, instruction in enumerate(instructions)}
    handlers: list[Handler] = []
    for i, instruction in enumerate(instructions):
        entry = instruction.exception_entry
        if entry is None:
            continue
        if entry.target not in index:
            raise ValueError(f"the handler {entry.target!r} is not among the instructions")
        rest = (starts[index[entry.target]], entry.depth, entry.lasti)
        if handlers and handlers[-1].stop == starts[i] and handlers[-1][2:] == rest:
            handlers[-1] = handlers[-1]._replace(stop=starts[i + 1])
        else:
            handlers.append(Handler(starts[i], starts[i + 1], *rest))
    return encode_exceptions(handlers)


def stack_size(instructions: Sequence[Instruction]) -> int:
    """The deepest stack on any path, handlers included."""
    index = {instruction: i for i, instruction in enumerate(instructions)}
    depths: dict[int, int] = {}
    pending = [(0, 0)]
    deepest = 1
    while pending:
        i, depth = pending.pop()
        while i < len(instructions) and depths.get(i, -1) < depth:
            depths[i] = depth
            instruction = instructions[i]
            entry = instruction.exception_entry
            if entry is not None:
                pending.append((index[entry.target], entry.depth + entry.lasti + 1))
            if instruction.target is not None:
                after = depth + stack_effect(instruction, jump=True)
                pending.append((index[instruction.target], after))
                deepest = max(deepest, after)
            if instruction.opname in NO_SUCCESSOR:
                break
            depth += stack_effect(instruction, jump=False)
            deepest = max(deepest, depth)
            i += 1
        deepest = max(deepest, depth)
    return deepest


def text(instructions: Sequence[Instruction]) -> str:
    """A listing for people: number, line, name and operand of each instruction."""
    index = {instruction: i for i, instruction in enumerate(instructions)}
    rows = []
    for i, instruction in enumerate(instructions):
        operand = "" if instruction.arg is None else str(instruction.arg)
        if instruction.argval is not None:
            operand = repr(instruction.argval)
        if instruction.target is not None:
            operand = f"to {index.get(instruction.target, '?')}"
        line = "" if instruction.line is None else str(instruction.line)
        entry = instruction.exception_entry
        handler = f"  except to {index.get(entry.target, '?')} [{entry.depth}]" if entry else ""
        rows.append(f"{i:4d} {line:>5s}  {instruction.opname:24s} {operand}{handler}".rstrip())
    return "\n".join(rows)
