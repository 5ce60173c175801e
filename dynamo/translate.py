"""From a frame to compiled code: interprets the frame's bytecode symbolically and writes the bytecode that replaces it. Where something cannot be
captured, the translation starts again with a break planned at that instruction: the graph ends there, Python executes the
instruction, and a resume function goes on. Nothing is undone, because nothing was done: interpretation has no effects.
"""

from __future__ import annotations

import sys
import time
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dynamo import builder
from dynamo.bytecode import (
    ExceptionEntry,
    Instruction,
    argument_count,
    assemble,
    make,
    stack_effect,
)
from dynamo.capture import Capture
from dynamo.emit import Emitter
from dynamo.guard import GuardSet
from dynamo.machine import Frame, instructions_of
from dynamo.resume import (
    copy_body,
    copy_entry,
    cover,
    in_loop,
    live_variables,
    passed_names,
    resume_code,
    stack_names,
)
from dynamo.source import ClosureSource, LocalSource
from dynamo.unsupported import (
    BackendCompilerFailed,
    Break,
    Position,
    Raised,
    Unsupported,
    WantedHistory,
    unsupported,
)
from dynamo.values.base import NULL, Value
from dynamo.values.function import CellValue
from eager import autograd
from fx.graph_module import GraphModule

# Instructions that only move values: nothing in them can end a graph.
_QUIET = frozenset(
    ("RESUME", "NOP", "COPY_FREE_VARS", "MAKE_CELL", "PUSH_NULL", "POP_TOP", "SWAP", "COPY",
     "KW_NAMES", "PRECALL", "STORE_FAST", "LOAD_FAST_AND_CLEAR", "END_FOR", "PUSH_EXC_INFO",
     "POP_EXCEPT", "JUMP_FORWARD", "JUMP_BACKWARD", "LOAD_CLOSURE", "MAKE_FUNCTION",
     "SET_FUNCTION_ATTRIBUTE", "RETURN_GENERATOR", "CACHE", "END_SEND", "DELETE_FAST")
)  # fmt: skip


@dataclass
class CompiledFrame:
    """What translation gives: the code to run while the guards hold, and what there is to tell about it."""

    code: types.CodeType
    guards: GuardSet
    graphs: list[GraphModule] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    operator_counts: dict[str, int] = field(default_factory=dict)
    name: str = ""
    translate_time: float = 0.0
    backend_time: float = 0.0
    instructions: int = 0
    resumed: list[types.CodeType] = field(default_factory=list)


def translate_frame(
    func: types.FunctionType,
    code: types.CodeType,
    args: Sequence[Any],
    backend: Callable,
    *,
    fullgraph: bool = False,
    break_at: int | None = None,
    varying: Callable[[Any], bool] | None = None,
    **options: Any,
) -> CompiledFrame | None:
    """Translate a frame of `func` that is about to run `code` with these argument slots.

    None for the frame of a comprehension, whose iterator only Python can read. Raises Unsupported
    where nothing can be captured (the frame is then run as it is), and with `fullgraph=True` where
    anything cannot; BackendCompilerFailed where the backend fails. `break_at` asks for a break before that step of the frame, for tests.
    `varying` says of a number's source that it changes from call to call.
    """
    if code.co_varnames[:1] == (".0",):
        return None
    _check_frame(code)
    began = time.perf_counter()
    mode = autograd.is_grad_enabled()
    planned: tuple[int, Unsupported] | None = None
    if break_at is not None:
        planned = break_at, Unsupported("Break that was asked for")
    while True:
        root = RootFrame(func, code, args, backend, planned, fullgraph, varying)
        try:
            result = root.translate()
        except Unsupported as error:
            if not error.stack:
                error.stack = root.positions()
            if isinstance(error, WantedHistory) and not fullgraph:
                planned = root.capture.differentiated_at, error
                continue
            if fullgraph or planned is not None:
                raise
            planned = (root.break_step(), error)
        else:
            result.translate_time = time.perf_counter() - began - result.backend_time
            return result
        finally:
            autograd.set_grad_enabled_(mode)
            root.release()


def _check_frame(code: types.CodeType) -> None:
    """Raises Unsupported for a frame that looks at its own variables: a new frame has others."""
    for instruction in instructions_of(code)[0]:
        name = instruction.argval
        if (instruction.opname == "LOAD_GLOBAL" and name in ("locals", "eval", "exec")) or (
            instruction.opname in ("LOAD_ATTR", "LOAD_METHOD")
            and name in ("_getframe", "currentframe")
        ):
            place = Position(code.co_filename, instruction.line, code.co_qualname)
            raise Unsupported(
                "Frame that looks at its own variables",
                f"{name} is used",
                "move what needs it into a function of its own",
                (place,),
            )


class RootFrame(Frame):
    """The frame being translated. It breaks the graph at the planned step, and emits the new code at its end."""

    def __init__(
        self,
        func: types.FunctionType,
        code: types.CodeType,
        args: Sequence[Any],
        backend: Callable,
        planned: tuple[int, Unsupported] | None,
        fullgraph: bool,
        varying: Callable[[Any], bool] | None = None,
    ) -> None:
        capture = Capture(code, func.__globals__, varying)
        super().__init__(capture, code, {}, func.__globals__, _closure(capture, func, code))
        self.func = func
        self.backend = backend
        self.planned = planned
        self.fullgraph = fullgraph
        self.steps = 0
        self.raised_at = 0
        self.resumed: list[types.CodeType] = []
        names = code.co_varnames[: argument_count(code)]
        self.unread: dict[str, Any] = dict(zip(names, args, strict=True))
        self.output: CompiledFrame | None = None

    def release(self) -> None:
        """Let go of the user's objects, which cycles between frames and values would keep."""
        self.capture.release()
        self.stack.clear()
        for table in (self.variables, self.unread, self.cells):
            table.clear()

    # -- variables -----------------------------------------------------------------------------------

    def variable(self, name: str) -> Value | None:
        value = self.variables.get(name)
        if value is None and name in self.unread:
            real = self.unread.pop(name)
            value = self.wrap(real, LocalSource(name, name in self.code.co_cellvars))
            self.variables[name] = value
        return value

    def make_cell(self, name: str) -> None:
        if name in self.unread and not isinstance(self.unread[name], types.CellType):
            self.variable(name)
        super().make_cell(name)

    def STORE_FAST(self, i: Instruction) -> None:
        self.unread.pop(i.argval, None)
        super().STORE_FAST(i)

    def LOAD_FAST_AND_CLEAR(self, i: Instruction) -> None:
        super().LOAD_FAST_AND_CLEAR(i)
        self.unread.pop(i.argval, None)

    def LOAD_FAST(self, i: Instruction) -> None:
        super().LOAD_FAST(i)

    # -- the loop ------------------------------------------------------------------------------------

    def break_step(self) -> int:
        """Where to break: here, or, inside an `except` block, at the instruction that raised.

        Python then raises for real, and its own handler runs.
        """
        return self.raised_at if self.handled else self.steps

    def handle(self, instruction: Instruction, raised: Raised) -> None:
        if not self.handled:
            self.raised_at = self.steps
        super().handle(instruction, raised)

    def translate(self) -> CompiledFrame:
        planned = self.planned[0] if self.planned is not None else -1
        while self.output is None:
            self.steps += 1
            if self.steps == planned:
                assert self.planned is not None
                self.current = self.instructions[self.ip]
                self.capture.frame = self
                self.break_graph(self.instructions[self.ip], self.planned[1])
                break
            try:
                self.step()
            except Raised as raised:
                self._uncaught(raised)
            except (Unsupported, BackendCompilerFailed, RecursionError):
                raise
            except Exception as error:
                self._internal(error)
        assert self.output is not None
        return self.output

    def _uncaught(self, raised: Raised) -> None:
        unsupported(
            "Exception leaves the frame",
            f"{raised.value!r} is raised",
            "the instruction is executed by Python, which raises it for real",
        )

    def _internal(self, error: Exception) -> None:
        if self.fullgraph:
            raise error
        last = traceback.extract_tb(error.__traceback__)[-1]
        frame = self.capture.frame or self
        problem = Unsupported(
            "The compiler failed",
            f"{type(error).__name__}: {error} ({last.filename.rpartition('/')[2]}:{last.lineno}, "
            f"at {frame.current.opname})",
            "please report this; the program runs as it is",
            frame.positions(),
        )
        raise problem from error

    # -- the end of the frame ------------------------------------------------------------------------

    def finish(self, value: Value) -> None:
        """The frame returns: emit the code that returns the value."""
        e = self._emitter([value])
        compiled, seconds = self._compile(e)
        self._begin(e, compiled)
        e.load(value)
        self._effects(e)
        self._grad_mode(e)
        e.code += builder.return_value()
        self._assemble(e, [], seconds, compiled)
        self.result = value

    def _emitter(self, values: Sequence[Value]) -> Emitter:
        wanted = list(values)
        for cell in self.cells.values():
            if cell.written and cell.final is not None:
                wanted.append(cell.final)
        wanted += self.effects.operands()
        return Emitter(self, wanted)

    def _compile(self, e: Emitter) -> tuple[GraphModule | None, float]:
        """Close the graph and hand it to the backend."""
        self.capture.check_generators()
        if not self.capture.finish(e.outputs):
            if e.outputs:
                unsupported("Output without a graph", "a tensor was made by no operation")
            return None, 0.0
        began = time.perf_counter()
        module = GraphModule({}, self.capture.graph)
        module.graph.title = f"captured from {self.code.co_qualname}"
        module.meta["frame"] = self.code.co_qualname
        self._compiled = self._call_backend(module)
        return module, time.perf_counter() - began

    def _call_backend(self, module: GraphModule) -> Callable:
        example_inputs = [value.real for value in self.capture.inputs]
        mode = autograd.is_grad_enabled()
        autograd.set_grad_enabled_(self.capture.entry_mode)
        try:
            compiled = self.backend(module, example_inputs)
        except Exception as error:
            raise BackendCompilerFailed(self.backend, error) from error
        finally:
            autograd.set_grad_enabled_(mode)
        if not callable(compiled):
            problem = TypeError(f"it returned {compiled!r}, which cannot be called")
            raise BackendCompilerFailed(self.backend, problem)
        from dynamo.frame import shield

        return shield(compiled)

    def _begin(self, e: Emitter, module: GraphModule | None) -> None:
        if module is not None:
            self.effects.prepare(e)
            start = len(e.code)
            e.call_graph(self._compiled, self.capture.inputs)
            if not self.capture.writes():
                e.tail = self._replay_on_error(e.code[start:])
        if self.effects:
            e.preload()

    def _replay_on_error(self, call: list[Instruction]) -> list[Instruction]:
        """If the graph raises, run the frame as Python: it raises at the right line, inside the right `try`.

        Nothing has happened before the call, so that the frame can begin again.
        """
        first = next(n for n, i in enumerate(self.instructions) if i.opname == "RESUME") + 1
        body, copies = copy_body(self.code, first)
        handler, reraise = make("PUSH_EXC_INFO"), make("SWAP", 2)
        start = copies[self.instructions[first]]
        for instruction in call:
            instruction.exception_entry = ExceptionEntry(handler, 0, False)
        return [
            handler,
            *builder.load_const(Exception),
            make("CHECK_EXC_MATCH"),
            make("POP_JUMP_IF_FALSE", target=reraise),
            *builder.pop_top(),
            make("POP_EXCEPT"),
            *([] if body[0] is start else builder.jump(start)),
            *body,
            reraise,
            make("POP_EXCEPT"),
            make("RERAISE", 0),
        ]

    def _effects(self, e: Emitter) -> None:
        """Replay what changed, cells of this frame last."""
        self.effects.replay(e, self.capture.root_globals)
        stores: list[str] = []
        for name, cell in self.cells.items():
            if not cell.written or not self._is_shared(name, cell):
                continue
            if cell.final is None:
                continue
            e.load(cell.final)
            stores.append(name)
        for name in reversed(stores):
            e.code += builder.store_deref(name)

    def _is_shared(self, name: str, cell: CellValue) -> bool:
        """Whether the cell of the new frame does not hold the right value already."""
        final = cell.final
        source = None if final is None else final.source
        return not (isinstance(source, LocalSource) and source.local == name)

    def _grad_mode(self, e: Emitter) -> None:
        mode = autograd.is_grad_enabled()
        if mode != self.capture.entry_mode:
            e.call_helper(autograd.set_grad_enabled_, mode)

    def _assemble(
        self, e: Emitter, breaks: list[Break], seconds: float, module: GraphModule | None
    ) -> None:
        prologue = builder.prefix(self.code.co_cellvars, self.code.co_freevars)
        instructions = [*prologue, *e.code, *e.tail]
        for instruction in instructions:
            if instruction.line is None and instruction.positions is None:
                instruction.line = self.code.co_firstlineno
        code = assemble(instructions, self.code)
        self.output = CompiledFrame(
            code,
            self.capture.guards,
            [] if module is None else [module],
            breaks,
            self.capture.operator_counts() if module is not None else {},
            self.code.co_qualname,
            backend_time=seconds,
            instructions=self.capture.steps,
            resumed=self.resumed,
        )

    # -- graph breaks --------------------------------------------------------------------------------

    def break_graph(self, instruction: Instruction, reason: Unsupported) -> None:
        """End the graph before an instruction, let Python execute it, and continue after it."""
        index = self.places[instruction]
        if self.handled or self._has_moved_cells() or instruction.opname in _QUIET:
            raise reason
        resumable = not in_loop(self.code, index)
        if not resumable and not any(n.op == "call_function" for n in self.capture.graph.nodes):
            raise reason
        live = [name for name in self._live(index) if name in self.variables]
        values = [self.variables[name] for name in live]
        e = self._emitter([*self.stack, *values])
        compiled, seconds = self._compile(e)
        self._begin(e, compiled)
        for value in self.stack:
            e.load(value)
        self._store_variables(e, live, values)
        self._grad_mode(e)
        if resumable:
            self._execute_and_resume(e, instruction, index)
        else:
            self._continue_here(e, instruction, index)
        broken = Break.of(reason, resumable, self.code.co_qualname)
        self._assemble(e, [broken], seconds, compiled)

    def _has_moved_cells(self) -> bool:
        """Inside a comprehension that 3.12 has inlined, a cell may have made room for its variable."""
        names = self.code.co_cellvars
        return any(name in self.variables or name not in self.cells for name in names) or any(
            isinstance(value, CellValue) for value in self.stack
        )

    def _live(self, index: int) -> list[str]:
        live = live_variables(self.code)[index]
        names = [name for name in self.code.co_varnames if name in live]
        first = passed_names(self.code, names)
        if first and first[0] not in self.code.co_cellvars:
            self.variable(first[0])
        return first

    def _store_variables(self, e: Emitter, names: list[str], values: list[Value]) -> None:
        """Load everything first: sources are read from variables that are about to change."""
        stored = []
        for name, value in zip(names, values, strict=True):
            if value.source == LocalSource(name):
                continue
            e.load(value)
            stored.append(name)
        self._effects(e)
        for name in reversed(stored):
            e.code += builder.store_fast(name)

    def _execute_and_resume(self, e: Emitter, instruction: Instruction, index: int) -> None:
        copies: dict[Instruction, Instruction] = {}
        handlers: list[Instruction] = []
        if instruction.exception_entry is not None:
            target = self.places[instruction.exception_entry.target]
            handlers, copies = copy_body(self.code, target)
        executed, pushed = self._executed(instruction)
        for part in executed:
            part.positions, part.line = instruction.positions, self.line()
            part.exception_entry = copy_entry(instruction.exception_entry, copies, {})
        if executed[0].exception_entry is not None:
            e.code.append(cover(executed[0].exception_entry))
        e.code += executed
        depth = len(self.stack) + self._effect(instruction)
        if instruction.target is not None:
            other = make("NOP")
            executed[-1].target = other
            self._resume(e, index + 1, depth, pushed)
            e.code.append(other)
            depth = len(self.stack) + stack_effect(instruction, jump=True)
            self._resume(e, self.places[instruction.target], depth, pushed)
        elif instruction.opname in ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"):
            pass
        else:
            self._resume(e, index + 1, depth, pushed)
        e.code += handlers

    def _effect(self, instruction: Instruction) -> int:
        """The change of the stack's depth; 3.11 splits that of a call over two instructions."""
        effect = stack_effect(instruction, jump=False)
        if instruction.opname == "CALL" and sys.version_info < (3, 12):
            effect -= instruction.arg or 0
        return effect

    def _executed(self, instruction: Instruction) -> tuple[list[Instruction], list[bool]]:
        """The instruction as Python is to execute it, and which of what it pushes is NULL."""
        name, arg = instruction.opname, instruction.arg or 0
        if name in ("LOAD_METHOD", "LOAD_ATTR", "LOAD_SUPER_ATTR"):
            single = instruction.copy()
            method = name == "LOAD_METHOD" or bool(arg & 1 and sys.version_info >= (3, 12))
            if not method:
                return [single], [False]
            if name == "LOAD_METHOD":
                single = builder.load_attr(instruction.argval)[0]
            single.arg = arg & ~1 if name == "LOAD_SUPER_ATTR" else 0
            after = sys.version_info >= (3, 13)
            return [single, *builder.push_null()], [False, True] if after else [True, False]
        if name in ("CALL", "PRECALL"):
            out = []
            if self.keywords:
                out.append(make("KW_NAMES", argval=self.keywords))
            if sys.version_info < (3, 12):
                out.append(make("PRECALL", arg))
            return [*out, make("CALL", arg)], [False]
        copy = instruction.copy()
        effect = stack_effect(instruction, jump=False)
        if name == "LOAD_GLOBAL" and arg & 1:
            return [copy], [False, True] if sys.version_info >= (3, 13) else [True, False]
        if name == "UNPACK_SEQUENCE":
            return [copy], [False] * arg
        if name == "UNPACK_EX":
            return [copy], [False] * (effect + 1)
        if name in ("BEFORE_WITH",):
            return [copy], [False, False]
        silent = ("STORE_", "DELETE_", "POP_", "LIST_APPEND", "LIST_EXTEND", "SET_", "MAP_ADD",
                  "DICT_", "RAISE", "RERAISE", "RETURN", "JUMP")  # fmt: skip
        return [copy], [] if name.startswith(silent) and name != "SET_FUNCTION_ATTRIBUTE" else [
            False
        ]

    def _resume(self, e: Emitter, index: int, depth: int, pushed: list[bool]) -> None:
        """Call the function that continues at `index` with the stack and the live variables."""
        below = [value is NULL for value in self.stack]
        nulls = [*below[: depth - len(pushed)], *pushed] if pushed else below[:depth]
        live = live_variables(self.code)[index]
        names = [n for n in self.code.co_varnames if n in live and self._is_bound(n)]
        names = [n for n in passed_names(self.code, names) if self._is_bound(n)]
        code = resume_code(self.code, index, nulls, names)
        self.resumed.append(code)
        places = [e.temporary() for _ in nulls]
        for place in reversed(places):
            e.code += builder.store_fast(place)
        freevars = code.co_freevars
        for name in freevars:
            e.load_closure(name)
        if freevars:
            e.build_tuple(len(freevars))
        e.code += builder.make_function(code, closure=bool(freevars))
        e.prepare_call()
        for name in names:
            e.code += builder.load_fast(name)
        for place, is_null in zip(places, nulls, strict=True):
            if not is_null:
                e.code += builder.load_fast(place)
        e.call(len(names) + len(stack_names(nulls)))
        e.code += builder.return_value()

    def _is_bound(self, name: str) -> bool:
        if name in self.code.co_cellvars:
            return False
        return name in self.variables or name in self.unread

    def _continue_here(self, e: Emitter, instruction: Instruction, index: int) -> None:
        """Inside a loop: the rest of the frame goes on as Python, right here."""
        body, copies = copy_body(self.code, index)
        keywords = self.keywords
        if keywords:
            e.code.append(make("KW_NAMES", argval=keywords))
        start = copies[instruction]
        if body[0] is not start:
            e.code += builder.jump(start)
        e.code += body


def _closure(
    capture: Capture, func: types.FunctionType, code: types.CodeType
) -> list[CellValue]:
    """The free variables of the frame: real cells whose contents are read and written by name."""
    cells = []
    for name, real in zip(code.co_freevars, func.__closure__ or (), strict=True):
        cell = CellValue(None, None, real)
        cell.contents_source = ClosureSource(name)
        cell.name = name
        capture.remember_cell(real, cell)
        cells.append(cell)
    return cells
