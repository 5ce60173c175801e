"""Kernel text to LLVM's language: a compiler of the part of Python in which kernels and the library
of vector functions are written.

Functions of numbers and typed pointers: assignments, `for` over `range`, `while`, `if`, `break`,
`return`, arithmetic, comparisons, and calls of words (`intrinsics`) and of functions like
themselves. Types are inferred in the order of the text and are Numba's: int64 and float64 literals,
narrow integers widened by arithmetic. Unlike Python's, `and`, `or` and `x if c else y` compute both
sides, so that loops stay free of branches.

Sources of types and control flow: Numba's documentation ("Types and signatures") and LLVM's
language reference.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from inductor.codegen.intrinsics import EMITTERS, METADATA
from inductor.codegen.types import (
    BOOL,
    INT32,
    INT64,
    Pointer,
    Record,
    Scalar,
    Type,
    Value,
    literal,
)
from inductor.codegen.writer import INFIX, RELATIONS, Writer


class TextError(TypeError):
    """Text outside of the dialect."""


class Compiled:
    """A library function for certain types: its text, and what that refers to."""

    def __init__(self, symbol: str, result: Type, writer: FunctionWriter, inlined: bool) -> None:
        self.symbol, self.result = symbol, result
        self.text = writer.text(symbol, result, "internal ", "alwaysinline " if inlined else "")
        self.declarations, self.tables = writer.declarations, writer.tables
        self.calls = writer.calls


_compiled: dict[tuple[Any, tuple[Type, ...]], Compiled] = {}


class FunctionWriter:
    """Translates one function."""

    def __init__(self, tree: ast.FunctionDef, names: dict[str, Any], types: tuple[Type, ...], flags: str):
        self.tree, self.outside = tree, names
        self.w = Writer(flags)
        self.parameters = [Value(t, f"%{a.arg}") for t, a in zip(types, tree.args.args, strict=True)]
        self.values: dict[str, Value] = {}  # assigned once
        self.rooms: dict[str, Value] = {}  # assigned again
        self.changing = _changing(tree)
        self.result: Type | None = None
        self.ended = False  # nothing can follow in this block
        self.exits: list[str] = []  # where `break` goes
        self.calls: dict[str, Compiled] = {}
        self.tables: dict[str, str] = {}

    @property
    def declarations(self) -> set[str]:
        return self.w.declarations

    def run(self) -> Type:
        """Translate the body; the type of what it returns."""
        for parameter, argument in zip(self.parameters, self.tree.args.args):
            self._assign(argument.arg, parameter)
        self._block(self.tree.body)
        if not self.ended or self.result is None:
            raise TextError(f"{self.tree.name} may end without return")
        return self.result

    def text(self, symbol: str, result: Type, linkage: str = "", attributes: str = "") -> str:
        given = ", ".join(p.typed for p in self.parameters)
        head = f"define {linkage}{result.llvm} @{symbol}({given}) {attributes}nounwind {{"
        return "\n".join([head, "entry:", *self.w.entry, *self.w.lines, "}", ""])

    # -- statements

    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if self.ended:
                return
            handler = getattr(self, f"_{type(statement).__name__}", None)
            if handler is None:
                raise TextError(f"{ast.unparse(statement)}: no statement of the dialect")
            try:
                handler(statement)
            except TextError:
                raise
            except (TypeError, KeyError, ValueError) as error:
                text = ast.unparse(statement).splitlines()[0]
                raise TextError(f"{self.tree.name}: {text}: {error}") from error

    def _label(self, name: str) -> None:
        self.w.lines.append(f"{name[1:]}:")
        self.ended = False

    def _jump(self, name: str) -> None:
        if not self.ended:
            self.w.line(f"br label {name}")
        self.ended = True

    def _branch(self, condition: Value, yes: str, no: str) -> None:
        self.w.line(f"br {condition.typed}, label {yes}, label {no}")
        self.ended = True

    def _Expr(self, statement: ast.Expr) -> None:
        if not isinstance(statement.value, ast.Constant):  # a docstring
            self._value(statement.value)

    def _Assign(self, statement: ast.Assign) -> None:
        (target,) = statement.targets
        if isinstance(target, ast.Name):
            value = self._value(statement.value)
            self._assign(target.id, value)
            return
        assert isinstance(target, ast.Tuple)
        values = self._values(statement.value)
        for name, value in zip(target.elts, values, strict=True):
            assert isinstance(name, ast.Name)
            self._assign(name.id, value)

    def _AugAssign(self, statement: ast.AugAssign) -> None:
        assert isinstance(statement.target, ast.Name)
        old, new = self._read(statement.target.id), self._value(statement.value)
        self._assign(statement.target.id, self.w.operate(INFIX[type(statement.op).__name__], old, new))

    def _assign(self, name: str, value: Value | None) -> None:
        if value is None:
            raise TypeError("the call gives nothing")
        if name not in self.changing:
            self.values[name] = value
            return
        if name not in self.rooms:
            self.rooms[name] = self.w.room(value.type)
        room = self.rooms[name]
        if isinstance(value.type, Scalar):
            element = room.type.element
            if value.type.kind == "f" and element != value.type:
                raise TypeError(f"{name} was {element} and becomes {value.type}")
            value = self.w.convert(value, element)
        self.w.line(f"store {value.typed}, ptr {room.code}")

    def _read(self, name: str) -> Value:
        if name in self.values:
            return self.values[name]
        room = self.rooms[name]
        scalar = room.type.element
        return self.w.emit(scalar, f"load {scalar.llvm}, ptr {room.code}")

    def _For(self, statement: ast.For) -> None:
        assert isinstance(statement.iter, ast.Call) and isinstance(statement.target, ast.Name)
        bounds = [self.w.convert(self._one(b), INT64) for b in statement.iter.args]
        start, stop = bounds if len(bounds) == 2 else (literal(0), bounds[0])
        before, body, latch, exit_ = (self.w.name(n) for n in ("before", "body", "latch", "exit"))
        self._jump(before)
        self._label(before)
        if start.number is None or stop.number is None or start.number >= stop.number:
            some = self.w.compare("lt", start, stop)
            self._branch(some, body, exit_)
        else:
            self._jump(body)
        self._label(body)
        count, following = self.w.name(statement.target.id + "."), self.w.name("next")
        self.w.line(f"{count} = phi i64 [{start.code}, {before}], [{following}, {latch}]")
        self._assign(statement.target.id, Value(INT64, count))
        self.exits.append(exit_)
        self._block(statement.body)
        self.exits.pop()
        self._jump(latch)
        self._label(latch)
        self.w.line(f"{following} = add nsw i64 {count}, 1")
        more = self.w.compare("lt", Value(INT64, following), stop)
        self._branch(more, body, exit_)
        self._label(exit_)

    def _While(self, statement: ast.While) -> None:
        head, body, exit_ = (self.w.name(n) for n in ("head", "body", "exit"))
        self._jump(head)
        self._label(head)
        self._branch(self.w.truth(self._one(statement.test)), body, exit_)
        self._label(body)
        self.exits.append(exit_)
        self._block(statement.body)
        self.exits.pop()
        self._jump(head)
        self._label(exit_)

    def _If(self, statement: ast.If) -> None:
        yes, no, after = (self.w.name(n) for n in ("yes", "no", "after"))
        self._branch(self.w.truth(self._one(statement.test)), yes, no)
        reached = False
        for label, branch in ((yes, statement.body), (no, statement.orelse)):
            self._label(label)
            self._block(branch)
            reached |= not self.ended
            self._jump(after)
        if reached:
            self._label(after)

    def _Break(self, statement: ast.Break) -> None:
        self._jump(self.exits[-1])

    def _Return(self, statement: ast.Return) -> None:
        assert statement.value is not None
        if not isinstance(statement.value, ast.Tuple):
            value = self._one(statement.value)
            if self.result is None:
                self.result = value.type
            assert isinstance(self.result, Scalar)
            self.w.line(f"ret {self.w.convert(value, self.result).typed}")
        else:
            values = self._values(statement.value)
            self.result = record = Record(tuple(v.type for v in values))
            code = "undef"
            for position, value in enumerate(values):
                code = self.w.emit(
                    record, f"insertvalue {record.llvm} {code}, {value.typed}, {position}"
                ).code
            self.w.line(f"ret {record.llvm} {code}")
        self.ended = True

    # -- expressions

    def _one(self, node: ast.expr) -> Value:
        value = self._value(node)
        if not isinstance(value, Value):
            raise TypeError(f"{ast.unparse(node)} is no number")
        return value

    def _values(self, node: ast.expr) -> list[Value]:
        """Several values: a tuple, or a call that returns one."""
        if isinstance(node, ast.Tuple):
            return [self._one(item) for item in node.elts]
        value = self._one(node)
        if not isinstance(value.type, Record):
            raise TypeError(f"{ast.unparse(node)} is one value")
        return [
            self.w.emit(part, f"extractvalue {value.typed}, {position}")
            for position, part in enumerate(value.type.parts)
        ]

    def _value(self, node: ast.expr) -> Any:
        known = self._known(node)
        if known is not None:
            return known
        handler = getattr(self, f"_{type(node).__name__}", None)
        if handler is None:
            raise TypeError("no expression of the dialect")
        return handler(node)

    def _known(self, node: ast.expr) -> Value | None:
        """What needs no instruction: numbers, and arithmetic of Python's own numbers."""
        if isinstance(node, ast.Constant):
            return literal(node.value)
        if isinstance(node, ast.Name) and (node.id in self.values or node.id in self.rooms):
            return None
        if not isinstance(node, ast.Name | ast.Attribute | ast.BinOp | ast.UnaryOp | ast.Call):
            return None
        number = self._number(node)
        return None if number is None else literal(number)

    def _number(self, node: ast.expr) -> Any:
        """The value of an expression of Python's numbers, or None. NumPy's are left alone, but for
        names: what they are joined with decides the type.
        """
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            found = None if node.id in self.values or node.id in self.rooms else self.outside.get(node.id)
            return found if isinstance(found, int | float | np.generic) else None
        if isinstance(node, ast.Attribute):
            module = self.outside.get(node.value.id) if isinstance(node.value, ast.Name) else None
            return getattr(module, node.attr) if isinstance(module, ModuleType) else None
        if isinstance(node, ast.Call):
            function = self._number(node.func) if isinstance(node.func, ast.Attribute) else None
            parts = [self._number(argument) for argument in node.args]
            return function(*parts) if callable(function) and None not in parts else None
        parts = []
        if isinstance(node, ast.UnaryOp):
            parts = [self._number(node.operand)]
        elif isinstance(node, ast.BinOp):
            parts = [self._number(node.left), self._number(node.right)]
        plain = [p for p in parts if isinstance(p, int | float) and not isinstance(p, bool | np.generic)]
        if not parts or len(plain) != len(parts):
            return None
        return _fold(type(node.op), *plain)  # type: ignore[attr-defined]

    def _Name(self, node: ast.Name) -> Value:
        if node.id in self.values or node.id in self.rooms:
            return self._read(node.id)
        raise TypeError(f"{node.id} is not known here")

    def _BinOp(self, node: ast.BinOp) -> Value:
        left, right = self._one(node.left), self._one(node.right)
        return self.w.operate(INFIX[type(node.op).__name__], left, right)

    def _UnaryOp(self, node: ast.UnaryOp) -> Value:
        value = self._one(node.operand)
        if isinstance(node.op, ast.USub):
            return self.w.negate(value)
        if isinstance(node.op, ast.Invert):
            return self.w.invert(value)
        return self.w.emit(BOOL, f"xor {self.w.truth(value).typed}, true")

    def _Compare(self, node: ast.Compare) -> Value:
        left, found = self._one(node.left), None
        for operator, side in zip(node.ops, node.comparators, strict=True):
            right = self._one(side)
            holds = self.w.compare(RELATIONS[type(operator).__name__], left, right)
            found = holds if found is None else self.w.operate("and", found, holds)
            left = right
        assert found is not None
        return found

    def _BoolOp(self, node: ast.BoolOp) -> Value:
        name = "and" if isinstance(node.op, ast.And) else "or"
        truths = [self.w.truth(self._one(value)) for value in node.values]
        return functools.reduce(lambda a, b: self.w.operate(name, a, b), truths)

    def _IfExp(self, node: ast.IfExp) -> Value:
        condition = self.w.truth(self._one(node.test))
        return self.w.choose(condition, self._one(node.body), self._one(node.orelse))

    def _Subscript(self, node: ast.Subscript) -> Value:
        index = self._one(node.slice)
        assert isinstance(node.value, ast.Name)
        if node.value.id in self.values:
            return self.w.load(self.values[node.value.id], index)
        numbers = self.outside[node.value.id]
        if index.number is not None:
            return literal(numbers[index.number])
        return self._table(node.value.id, numbers, index)

    def _table(self, name: str, numbers: tuple, index: Value) -> Value:
        """An element of a constant tuple."""
        items = [literal(number) for number in numbers]
        kind, symbol = items[0].type, f"@{self.tree.name}.{name}"
        listed = ", ".join(item.typed for item in items)
        self.tables[symbol] = f"{symbol} = internal constant [{len(items)} x {kind.llvm}] [{listed}]"
        return self.w.load(Value(Pointer(kind), symbol), index)

    def _Call(self, node: ast.Call) -> Value | None:
        assert isinstance(node.func, ast.Name)
        function = self.outside.get(node.func.id, getattr(builtins, node.func.id, None))
        if function in EMITTERS:
            arguments = [self._argument(argument) for argument in node.args]
            return EMITTERS[function](self.w, *arguments)
        if not isinstance(function, FunctionType):
            raise TypeError(f"{node.func.id} is no function of the dialect")
        given = [self._one(argument) for argument in node.args]
        compiled = library_function(function, tuple(value.type for value in given))
        self.calls[compiled.symbol] = compiled
        arguments_text = ", ".join(value.typed for value in given)
        return self.w.emit(
            compiled.result, f"call {compiled.result.llvm} @{compiled.symbol}({arguments_text})"
        )

    def _argument(self, node: ast.expr) -> Any:
        """A value, or a constant tuple of them."""
        if isinstance(node, ast.Name) and isinstance(self.outside.get(node.id), tuple):
            return tuple(literal(number) for number in self.outside[node.id])
        return self._one(node)


def _fold(operator: type, *numbers: Any) -> Any:
    """Arithmetic of Python's numbers, as Python does it."""
    names = {
        ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__", ast.Div: "__truediv__",
        ast.Pow: "__pow__", ast.USub: "__neg__", ast.Invert: "__invert__", ast.UAdd: "__pos__",
    }
    if operator not in names:
        return None
    if len({type(number) for number in numbers}) > 1:
        numbers = tuple(map(float, numbers))
    return getattr(numbers[0], names[operator])(*numbers[1:])


def _changing(tree: ast.FunctionDef) -> set[str]:
    """Names that need memory: assigned in more than one block. Within a block, what is read is what
    was assigned last; the variable of a `for` is one of its own in every loop.
    """
    blocks: dict[str, set[int]] = {argument.arg: {id(tree.body)} for argument in tree.args.args}

    def visit(block: list[ast.stmt]) -> None:
        for statement in block:
            if isinstance(statement, ast.Assign | ast.AugAssign):
                for node in ast.walk(statement):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        blocks.setdefault(node.id, set()).add(id(block))
            for name in ("body", "orelse"):
                visit(getattr(statement, name, []))

    visit(tree.body)
    return {name for name, found in blocks.items() if len(found) > 1}


@functools.cache
def _definitions(file: str) -> dict[int, ast.FunctionDef]:
    """The functions of a source file by their first lines."""
    tree = ast.parse(Path(file).read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            found[first] = node
    return found


def library_function(function: Callable, types: tuple[Type, ...]) -> Compiled:
    """A function of the library for certain types; translated once in a process."""
    key = (function, types)
    if key not in _compiled:
        code = function.__code__
        tree = _definitions(code.co_filename)[code.co_firstlineno]
        closed = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
        flags = "contract " if getattr(function, "contracts", False) else ""
        writer = FunctionWriter(tree, {**function.__globals__, **closed}, types, flags)
        result = writer.run()
        symbol = ".".join((function.__name__, *map(str, types)))
        _compiled[key] = Compiled(symbol, result, writer, getattr(function, "inlined", False))
    return _compiled[key]


def translate(text: str, names: dict[str, Any]) -> tuple[str, str]:
    """A module in LLVM's language for the text of a kernel, and the kernel's symbol. `names` is what
    the text may name.

    Raises TextError (a TypeError) for text outside the dialect, SyntaxError for no Python.
    """
    (tree,) = ast.parse(text).body
    assert isinstance(tree, ast.FunctionDef)
    types: tuple[Type, ...] = (Pointer(INT64), INT64, INT64)
    writer = FunctionWriter(tree, names, types, "contract ")
    result = writer.run()
    if result != INT32:
        raise TextError(f"a kernel returns int32, not {result}")
    needed = dict(writer.calls)
    waiting = list(needed.values())
    while waiting:
        for symbol, compiled in waiting.pop().calls.items():
            if symbol not in needed:
                needed[symbol] = compiled
                waiting.append(compiled)
    parts: list[Any] = [writer, *needed.values()]
    declarations = sorted(set().union(*(part.declarations for part in parts)))
    tables = {symbol: table for part in parts for symbol, table in part.tables.items()}
    return "\n".join([
        *tables.values(), writer.text("kernel", result), *(c.text for c in needed.values()),
        *declarations, METADATA,
    ]), "kernel"
