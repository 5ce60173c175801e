"""Instructions of one function in LLVM's language, line by line; conversions and arithmetic by the
types of kernel text.
"""

from __future__ import annotations

from typing import Any

from inductor.codegen.types import (
    BOOL,
    FLOAT64,
    INT64,
    UINT64,
    Pointer,
    Scalar,
    Value,
    literal,
    unify,
)

INFIX = {
    "Add": "add", "Sub": "sub", "Mult": "mul", "Div": "div", "FloorDiv": "floordiv", "Mod": "mod",
    "BitAnd": "and", "BitOr": "or", "BitXor": "xor", "LShift": "shl", "RShift": "shr",
}
"""Python's operators by the names of their classes in `ast`."""
RELATIONS = {"Eq": "eq", "NotEq": "ne", "Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge"}


class Writer:
    """The body of a function. `flags` go to additions, subtractions and products of floats."""

    def __init__(self, flags: str = "") -> None:
        self.flags = flags
        self.entry: list[str] = []  # what must stand in the first block
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.names = 0

    def name(self, prefix: str = "v") -> str:
        self.names += 1
        return f"%{prefix}{self.names}"

    def emit(self, scalar: Any, instruction: str) -> Value:
        """An instruction that gives a value."""
        name = self.name()
        self.lines.append(f"  {name} = {instruction}")
        return Value(scalar, name)

    def line(self, instruction: str) -> None:
        self.lines.append(f"  {instruction}")

    def call(self, name: str, scalar: Scalar, *arguments: Value) -> Value:
        """One of LLVM's own functions."""
        kinds = ", ".join(argument.type.llvm for argument in arguments)
        self.declarations.add(f"declare {scalar.llvm} @{name}({kinds})")
        given = ", ".join(argument.typed for argument in arguments)
        return self.emit(scalar, f"call {scalar.llvm} @{name}({given})")

    # -- conversions

    def convert(self, value: Value, goal: Scalar) -> Value:
        """The value in another type; integers wrap around, floats are cut towards zero."""
        source = value.type
        if source == goal:
            return value
        if not isinstance(source, Scalar):
            raise TypeError(f"a {source} is no number")
        if value.number is not None and not (source.kind == "f" and goal.kind != "f"):
            return literal(value.number, goal)
        if goal.kind == "b":
            if source.kind == "f":
                return self.emit(BOOL, f"fcmp une {value.typed}, 0.0")
            return self.emit(BOOL, f"icmp ne {value.typed}, 0")
        return self.emit(goal, f"{_conversion(source, goal)} {value.typed} to {goal.llvm}") \
            if source.llvm != goal.llvm else Value(goal, value.code)

    def together(self, left: Value, right: Value) -> tuple[Value, Value]:
        """Both in their common type; a literal that is not negative joins an unsigned number."""
        for one, other in ((left, right), (right, left)):
            wide = isinstance(one.type, Scalar) and one.type == UINT64
            if wide and other.type == INT64 and other.number is not None and other.number >= 0:
                return self.convert(left, UINT64), self.convert(right, UINT64)
        for value in (left, right):
            if not isinstance(value.type, Scalar):
                raise TypeError(f"a {value.type} is no number")
        common = unify(left.type, right.type)
        return self.convert(left, common), self.convert(right, common)

    def truth(self, value: Value) -> Value:
        """Whether a number is not zero."""
        return self.convert(value, BOOL)

    # -- operators

    def operate(self, name: str, left: Value, right: Value) -> Value:
        """One of `INFIX`. Narrow integers become 64 bits wide first, as Numba has it."""
        if name in ("shl", "shr"):
            return self._shift(name, self._widened(left), self._widened(right))
        left, right = self.together(left, right)
        scalar = left.type
        if name in ("and", "or", "xor") and scalar == BOOL:
            return self.emit(BOOL, f"{name} i1 {left.code}, {right.code}")
        if scalar.kind != "f":
            left, right = self._widened(left), self._widened(right)
            if name == "div":
                left, right = self.convert(left, FLOAT64), self.convert(right, FLOAT64)
            elif name in ("floordiv", "mod"):
                return self._divide(name, left, right)
            else:
                return self.emit(left.type, f"{name} {left.typed}, {right.code}")
        if name not in ("add", "sub", "mul", "div"):
            raise TypeError(f"{name} of floats: call the function of that name")
        flags = self.flags if name != "div" else ""
        return self.emit(left.type, f"f{name} {flags}{left.typed}, {right.code}")

    def _widened(self, value: Value) -> Value:
        scalar = value.type
        if not isinstance(scalar, Scalar) or scalar.kind == "f":
            raise TypeError(f"a {scalar} is no integer")
        return self.convert(value, UINT64 if scalar.kind == "u" else INT64)

    def _shift(self, name: str, left: Value, right: Value) -> Value:
        if name == "shr":
            name = "ashr" if left.type.kind == "i" else "lshr"
        return self.emit(left.type, f"{name} {left.typed}, {right.code}")

    def _divide(self, name: str, left: Value, right: Value) -> Value:
        """Rounding down, and the remainder with the divisor's sign."""
        scalar = left.type
        if scalar.kind == "u":
            instruction = "udiv" if name == "floordiv" else "urem"
            return self.emit(scalar, f"{instruction} {left.typed}, {right.code}")
        rest = self.emit(scalar, f"srem {left.typed}, {right.code}")
        if right.number is not None and right.number > 0:
            wrong = self.emit(BOOL, f"icmp slt {rest.typed}, 0")
        else:
            signs = self.emit(scalar, f"xor {rest.typed}, {right.code}")
            differ = self.emit(BOOL, f"icmp slt {signs.typed}, 0")
            some = self.emit(BOOL, f"icmp ne {rest.typed}, 0")
            wrong = self.emit(BOOL, f"and {differ.typed}, {some.code}")
        if name == "mod":
            moved = self.emit(scalar, f"add {rest.typed}, {right.code}")
            return self.choose(wrong, moved, rest)
        quotient = self.emit(scalar, f"sdiv {left.typed}, {right.code}")
        one = self.convert(wrong, scalar)
        return self.emit(scalar, f"sub {quotient.typed}, {one.code}")

    def compare(self, relation: str, left: Value, right: Value) -> Value:
        """One of `RELATIONS`; with NaN all but "ne" are false."""
        left, right = self.together(left, right)
        kind = left.type.kind
        if kind == "f":
            name = "une" if relation == "ne" else f"o{relation}"
            return self.emit(BOOL, f"fcmp {name} {left.typed}, {right.code}")
        if relation not in ("eq", "ne"):
            relation = ("s" if kind == "i" else "u") + relation
        return self.emit(BOOL, f"icmp {relation} {left.typed}, {right.code}")

    def negate(self, value: Value) -> Value:
        if value.number is not None and value.type.kind != "b":
            return literal(-value.number, value.type)
        if value.type.kind == "f":
            return self.emit(value.type, f"fneg {value.typed}")
        value = self._widened(value)
        return self.emit(value.type, f"sub {value.type.llvm} 0, {value.code}")

    def invert(self, value: Value) -> Value:
        """All bits of an integer turned."""
        value = self._widened(value)
        return self.emit(value.type, f"xor {value.typed}, -1")

    def choose(self, condition: Value, yes: Value, no: Value) -> Value:
        """One of two values that are both there."""
        yes, no = self.together(yes, no)
        return self.emit(yes.type, f"select {condition.typed}, {yes.typed}, {no.typed}")

    # -- memory

    def room(self, scalar: Scalar, count: int = 0) -> Value:
        """Memory on the stack, of the whole function: of a variable, or of so many elements."""
        name = self.name("room")
        if not count:
            self.entry.append(f"  {name} = alloca {scalar.llvm}")
        else:
            self.entry.append(f"  {name} = alloca [{count} x {scalar.memory}], align 64")
        return Value(Pointer(scalar), name)

    def address(self, pointer: Value, index: Value) -> str:
        """Where an element is."""
        if not isinstance(pointer.type, Pointer):
            raise TypeError(f"a {pointer.type} is no pointer")
        index = self.convert(index, INT64)
        element = pointer.type.element.memory
        return self.emit(pointer.type, f"getelementptr {element}, {pointer.typed}, {index.typed}").code

    def load(self, pointer: Value, index: Value, note: str = "") -> Value:
        place, element = self.address(pointer, index), pointer.type.element
        if element == BOOL:
            byte = self.emit(BOOL, f"load i8, ptr {place}{note}")
            return self.emit(BOOL, f"icmp ne i8 {byte.code}, 0")
        return self.emit(element, f"load {element.llvm}, ptr {place}{note}")

    def store(self, pointer: Value, index: Value, value: Value, note: str = "") -> None:
        place, element = self.address(pointer, index), pointer.type.element
        value = self.convert(value, element)
        if element == BOOL:
            value = Value(BOOL, self.emit(BOOL, f"zext {value.typed} to i8").code)
        self.line(f"store {element.memory} {value.code}, ptr {place}{note}")


def _conversion(source: Scalar, goal: Scalar) -> str:
    """LLVM's instruction from one type to another."""
    if source.kind == "f":
        if goal.kind == "f":
            return "fpext" if goal.bits > source.bits else "fptrunc"
        return "fptosi"
    if goal.kind == "f":
        return "sitofp" if source.kind == "i" else "uitofp"
    if goal.bits < source.bits:
        return "trunc"
    return "sext" if source.kind == "i" else "zext"
