"""After a graph break: which variables are still needed, and the function that continues where Python left off. A resume function is the original
bytecode behind a prologue that restores the stack and jumps to the instruction; it is an ordinary frame, captured in its turn.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

from dynamo import builder
from dynamo.bytecode import Instruction, argument_count, assemble, make
from dynamo.machine import instructions_of

_READS = frozenset(("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_AND_CLEAR", "DELETE_FAST"))
_WRITES = frozenset(("STORE_FAST", "DELETE_FAST", "LOAD_FAST_AND_CLEAR"))
_NO_SUCCESSOR = frozenset(
    ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD",
     "JUMP_BACKWARD_NO_INTERRUPT")
)  # fmt: skip
_PROLOGUE = frozenset(("COPY_FREE_VARS", "MAKE_CELL"))
_LIVENESS: dict[types.CodeType, list[frozenset[str]]] = {}
_RESUMED: dict[Any, types.CodeType] = {}


def successors(
    instructions: Sequence[Instruction], places: dict[Instruction, int], index: int
) -> list[int]:
    """Where control can go from an instruction, its exception handler included."""
    instruction = instructions[index]
    out = []
    if instruction.opname not in _NO_SUCCESSOR and index + 1 < len(instructions):
        out.append(index + 1)
    if instruction.target is not None:
        out.append(places[instruction.target])
    if instruction.exception_entry is not None:
        out.append(places[instruction.exception_entry.target])
    return out


def live_variables(code: types.CodeType) -> list[frozenset[str]]:
    """The locals that may still be read, before each instruction."""
    found = _LIVENESS.get(code)
    if found is not None:
        return found
    instructions, places = instructions_of(code)
    live: list[set[str]] = [set() for _ in instructions]
    changed = True
    while changed:
        changed = False
        for index in range(len(instructions) - 1, -1, -1):
            instruction = instructions[index]
            now: set[str] = set()
            for after in successors(instructions, places, index):
                now |= live[after]
            if instruction.opname in _WRITES:
                now.discard(instruction.argval)
            if instruction.opname in _READS:
                now.add(instruction.argval)
            if now != live[index]:
                live[index] = now
                changed = True
    result = [frozenset(names) for names in live]
    _LIVENESS[code] = result
    return result


def in_loop(code: types.CodeType, index: int) -> bool:
    """Whether an instruction may run again: some jump behind it leads back to it or before it."""
    instructions, places = instructions_of(code)
    for place in range(index, len(instructions)):
        target = instructions[place].target
        if target is not None and places[target] <= index and places[target] < place:
            return reachable_from(instructions, places, index, place)
    return False


def reachable_from(
    instructions: Sequence[Instruction], places: dict[Instruction, int], start: int, goal: int
) -> bool:
    seen = {start}
    pending = [start]
    while pending:
        index = pending.pop()
        if index == goal:
            return True
        for after in successors(instructions, places, index):
            if after not in seen:
                seen.add(after)
                pending.append(after)
    return False


def copy_body(
    code: types.CodeType, start: int
) -> tuple[list[Instruction], dict[Instruction, Instruction]]:
    """Copies of the instructions reachable from `start`, in order, and the map from the originals."""
    instructions, places = instructions_of(code)
    seen = {start}
    pending = [start]
    while pending:
        for after in successors(instructions, places, pending.pop()):
            if after not in seen:
                seen.add(after)
                pending.append(after)
    kept = [instructions[index] for index in sorted(seen)]
    copies = {instruction: instruction.copy() for instruction in kept}
    entries: dict[int, Any] = {}
    for copy in copies.values():
        if copy.target is not None:
            copy.target = copies[copy.target]
        copy.exception_entry = copy_entry(copy.exception_entry, copies, entries)
    body = list(copies.values())
    first = copies[instructions[start]]
    if first.exception_entry is not None:
        body.insert(body.index(first), cover(first.exception_entry))
    return body, copies


def cover(entry: Any) -> Instruction:
    """A NOP under a handler, to stand before the first instruction under it.

    When a called frame raises, 3.13 looks for the handler one unit before the call.
    """
    nop = make("NOP")
    nop.exception_entry = entry
    return nop


def copy_entry(entry: Any, copies: dict[Instruction, Instruction], memo: dict[int, Any]) -> Any:
    """An exception entry that leads to the copy of its handler."""
    if entry is None:
        return None
    if id(entry) not in memo:
        memo[id(entry)] = type(entry)(copies[entry.target], entry.depth, entry.lasti)
    return memo[id(entry)]


def stack_names(stack: Sequence[bool]) -> list[str]:
    """Parameters of a resume function for the stack; NULLs need none."""
    return [f"___stack{i}" for i, is_null in enumerate(stack) if not is_null]


def resume_code(
    code: types.CodeType, index: int, stack: Sequence[bool], names: Sequence[str]
) -> types.CodeType:
    """Code that continues at an instruction. `stack` says which slots are NULL, `names` are the variables passed."""
    key = (code, code.co_filename, index, tuple(stack), tuple(names))
    found = _RESUMED.get(key)
    if found is not None:
        return found
    body, copies = copy_body(code, index)
    instructions, _ = instructions_of(code)
    freevars = (*code.co_cellvars, *code.co_freevars)
    start = copies[instructions[index]]
    prologue = builder.prefix(freevars=freevars)
    position = 0
    for is_null in stack:
        if is_null:
            prologue.append(make("PUSH_NULL"))
        else:
            prologue += builder.load_fast(stack_names(stack)[position])
            position += 1
    if body[0] is not start:
        prologue += builder.jump(start)
    line = next((i.line for i in instructions[index:] if i.line is not None), code.co_firstlineno)
    for instruction in prologue:
        instruction.line = line
    arguments = [*names, *stack_names(stack)]
    result = assemble(
        [*prologue, *(i for i in body)],
        code,
        varnames=arguments,
        freevars=freevars,
        cellvars=(),
        argcount=len(arguments),
        name=code.co_name,
        qualname=f"{code.co_qualname.partition('.<resume')[0]}.<resume at line {line}>",
        firstlineno=line,
    )
    _RESUMED[key] = result
    return result


def passed_names(code: types.CodeType, live: Sequence[str]) -> list[str]:
    """Variables to hand over: the first argument first, because `super()` looks there."""
    count = argument_count(code)
    first = code.co_varnames[:1] if count and "__class__" in code.co_freevars else ()
    return [*first, *(name for name in live if name not in first)]
