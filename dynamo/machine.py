"""The symbolic machine: a frame that interprets bytecode over values instead of objects. `Frame` holds the stack, the variables and
the loop; opcode handlers come from `opcodes/`. An inlined call is a frame of its own, a generator a frame that is run piece by piece.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynamo.bytecode import Instruction, decode
from dynamo.calls import bind_arguments
from dynamo.opcodes import Opcodes
from dynamo.services import Services
from dynamo.unsupported import Position, Raised, Unsupported, unsupported
from dynamo.values.base import Value
from dynamo.values.function import CellValue
from dynamo.values.iterator import GeneratorValue

if TYPE_CHECKING:
    from dynamo.capture import Capture

_MAXIMAL_DEPTH = 60
_MAXIMAL_STEPS = 2_000_000
# Equal code objects may come from different files, so the file is part of the key.
_CODES: dict[tuple[types.CodeType, str], tuple[list[Instruction], dict[Instruction, int]]] = {}

CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200


def instructions_of(code: types.CodeType) -> tuple[list[Instruction], dict[Instruction, int]]:
    """The decoded instructions of a code object, and their places; kept, since calls repeat."""
    found = _CODES.get((code, code.co_filename))
    if found is None or found[0] is None:
        try:
            instructions = decode(code)
        except ValueError as error:
            unsupported("Code that cannot be taken apart", str(error))
        found = instructions, {inst: index for index, inst in enumerate(instructions)}
        if len(_CODES) > 4096:
            _CODES.clear()
        _CODES[code, code.co_filename] = found
    return found


class Frame(Opcodes, Services):
    """One activation of a code object."""

    def __init__(
        self,
        capture: Capture,
        code: types.CodeType,
        variables: dict[str, Value],
        globals_: dict[str, Any],
        closure: Sequence[CellValue],
        parent: Frame | None = None,
    ) -> None:
        self.capture = capture
        self.effects = capture.effects
        self.code = code
        self.variables = variables
        self.globals = globals_
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.instructions, self.places = instructions_of(code)
        self.stack: list[Value] = []
        self.ip = 0
        self.current = self.instructions[0]
        self.handled: list[Value] = []
        self.keywords: tuple[str, ...] = ()
        self.result: Value | None = None
        self.yielded: Value | None = None
        self.cells: dict[str, CellValue] = dict(zip(code.co_freevars, closure, strict=True))
        if self.depth > _MAXIMAL_DEPTH:
            unsupported(
                "Calls are nested too deeply to be inlined",
                f"more than {_MAXIMAL_DEPTH} calls deep in {code.co_qualname}",
                "recursion over data is better left outside the compiled region",
            )

    # -- the loop ----------------------------------------------------------------------------------

    def run_to_end(self) -> Value:
        """Interpret until the frame returns."""
        while self.result is None:
            self.step()
        return self.result

    def step(self) -> None:
        """Interpret one instruction; an exception of the program goes to its handler, if it has one."""
        instruction = self.current = self.instructions[self.ip]
        self.ip += 1
        capture = self.capture
        capture.steps += 1
        if capture.steps > _MAXIMAL_STEPS:
            unsupported("The program runs too long to be unrolled", f"{_MAXIMAL_STEPS} instructions")
        capture.frame = self
        try:
            getattr(self, instruction.opname)(instruction)
        except Raised as raised:
            capture.frame = self
            self.handle(instruction, raised)
        except Unsupported as error:
            if not error.stack:
                error.stack = self.positions()
            raise

    def handle(self, instruction: Instruction, raised: Raised) -> None:
        """Continue at the exception handler of an instruction, or leave the frame."""
        entry = instruction.exception_entry
        if entry is None:
            raise raised
        if self.handled and raised.value.context is None and self.handled[-1] is not raised.value:
            raised.value.context = self.handled[-1]
        del self.stack[entry.depth :]
        if entry.lasti:
            self.push(self.constant(self.places[instruction]))
        self.push(raised.value)
        self.jump(entry.target)

    # -- the stack ---------------------------------------------------------------------------------

    def push(self, value: Value) -> None:
        self.stack.append(value)

    def pop(self) -> Value:
        return self.stack.pop()

    def pop_many(self, count: int) -> list[Value]:
        if not count:
            return []
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def jump(self, target: Instruction | None) -> None:
        assert target is not None
        self.ip = self.places[target]

    # -- where we are ------------------------------------------------------------------------------

    def position(self) -> Position:
        code = self.code
        return Position(code.co_filename, self.line(), code.co_qualname)

    def line(self) -> int | None:
        index = self.places.get(self.current, 0)
        while index >= 0:
            line = self.instructions[index].line
            if line is not None:
                return line
            index -= 1
        return self.code.co_firstlineno

    def positions(self) -> tuple[Position, ...]:
        """The user's frames, outermost first; those of the tensor library are left out."""
        frames = []
        frame: Frame | None = self
        while frame is not None:
            if not self.capture.is_library_file(frame.code.co_filename) or frame.parent is None:
                frames.append(frame.position())
            frame = frame.parent
        return tuple(frames[::-1])

    # -- calls -------------------------------------------------------------------------------------

    def inline(self, function: Any, args: Sequence[Value], kwargs: dict[str, Value]) -> Value:
        """Call a FunctionValue or NestedFunction by interpreting it; generators start suspended."""
        code = function.code
        if code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR):
            unsupported("Call of a coroutine", f"{code.co_qualname} is an async function")
        capture = self.capture
        variables = bind_arguments(self, function, code, args, kwargs)
        closure = function.closure(self)
        if code.co_flags & CO_GENERATOR:
            frame = GeneratorFrame(capture, code, variables, function.globals(), closure, self)
            generator = GeneratorValue(frame, function, list(args), dict(kwargs))
            capture.generators.append(generator)
            return generator
        callee = InlineFrame(capture, code, variables, function.globals(), closure, self)
        result = callee.run_to_end()
        capture.frame = self
        return result

    # -- variables ---------------------------------------------------------------------------------

    def variable(self, name: str) -> Value | None:
        return self.variables.get(name)

    def cell(self, name: str) -> CellValue:
        return self.cells[name]


class InlineFrame(Frame):
    """A call that is interpreted inside its caller."""


class GeneratorFrame(Frame):
    """The frame of a generator: interpreted up to the next `yield`, again and again."""

    def advance(self, m: Frame, sent: Value, first: bool, error: Value | None) -> Value | None:
        """The next value yielded, or None once the generator has returned."""
        self.parent = m
        self.depth = m.depth + 1
        self.yielded = None
        if error is not None:
            self.handle(self.current, Raised(error))
        elif not first:
            self.push(sent)
        while self.result is None and self.yielded is None:
            self.step()
        m.capture.frame = m
        return self.yielded

    def returned_arguments(self) -> list[Any]:
        """What StopIteration carries."""
        if self.result is None or (self.result.is_constant() and self.result.unwrap() is None):
            return []
        return [self.result]
