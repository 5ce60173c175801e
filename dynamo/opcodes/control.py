"""Handlers of jumps, loops, calls, functions that are made, return and yield."""

from __future__ import annotations

from typing import Any

from dynamo.bytecode import VERSION, Instruction
from dynamo.unsupported import Raised, unsupported
from dynamo.values.base import NULL, Value
from dynamo.values.container import TupleValue
from dynamo.values.function import NestedFunction
from dynamo.values.iterator import GeneratorValue

# These methods become part of the machine's `Frame`.
Base: Any = object


class Control(Base):
    # -- jumps -------------------------------------------------------------------------------------

    def JUMP_FORWARD(self, i: Instruction) -> None:
        self.jump(i.target)

    JUMP_BACKWARD = JUMP_FORWARD
    JUMP_BACKWARD_NO_INTERRUPT = JUMP_FORWARD

    def POP_JUMP_IF_TRUE(self, i: Instruction) -> None:
        if self.truth(self.pop()):
            self.jump(i.target)

    def POP_JUMP_IF_FALSE(self, i: Instruction) -> None:
        if not self.truth(self.pop()):
            self.jump(i.target)

    def JUMP_IF_TRUE_OR_POP(self, i: Instruction) -> None:
        if self.truth(self.stack[-1]):
            self.jump(i.target)
        else:
            self.pop()

    def JUMP_IF_FALSE_OR_POP(self, i: Instruction) -> None:
        if self.truth(self.stack[-1]):
            self.pop()
        else:
            self.jump(i.target)

    def POP_JUMP_IF_NONE(self, i: Instruction) -> None:
        if self._is_none(self.pop()):
            self.jump(i.target)

    def POP_JUMP_IF_NOT_NONE(self, i: Instruction) -> None:
        if not self._is_none(self.pop()):
            self.jump(i.target)

    def _is_none(self, value: Value) -> bool:
        return value.is_constant() and value.python_type() is type(None)

    # -- loops -------------------------------------------------------------------------------------

    def GET_ITER(self, i: Instruction) -> None:
        self.push(self.pop().iterate(self))

    def GET_YIELD_FROM_ITER(self, i: Instruction) -> None:
        if not isinstance(self.stack[-1], GeneratorValue):
            self.GET_ITER(i)

    def FOR_ITER(self, i: Instruction) -> None:
        try:
            self.push(self.stack[-1].next(self))
        except Raised as raised:
            if not raised.value.is_a(StopIteration):
                raise
            self.capture.frame = self
            if VERSION < (3, 12):
                self.pop()
            else:
                # END_FOR takes the iterator, and in 3.12 an item that is not there, off the stack.
                if VERSION < (3, 13):
                    self.push(NULL)
                else:
                    self.push(NULL)
            self.jump(i.target)

    def END_FOR(self, i: Instruction) -> None:
        self.pop()
        if VERSION < (3, 13):
            self.pop()

    # -- calls -------------------------------------------------------------------------------------

    def KW_NAMES(self, i: Instruction) -> None:
        self.keywords = i.argval

    def CALL(self, i: Instruction) -> None:
        args = self.pop_many(i.arg or 0)
        names, self.keywords = self.keywords, ()
        self._call(args, names)

    def CALL_KW(self, i: Instruction) -> None:
        names = self.pop().unwrap()
        self._call(self.pop_many(i.arg or 0), names)

    def _call(self, args: list[Value], names: tuple[str, ...]) -> None:
        upper, lower = self.pop(), self.pop()
        if VERSION >= (3, 13):
            function = lower
            if upper is not NULL:
                args = [upper, *args]
        elif lower is NULL:
            function = upper
        else:
            function, args = lower, [upper, *args]
        split = len(args) - len(names)
        kwargs = dict(zip(names, args[split:], strict=True))
        self.push(function.call(self, args[:split], kwargs))

    def CALL_FUNCTION_EX(self, i: Instruction) -> None:
        kwargs: dict[str, Value] = {}
        if (i.arg or 0) & 1:
            for key, value in self.mapping_pairs(self.pop()):
                kwargs[key.unwrap()] = value
        args = self.pop().items(self)
        if VERSION >= (3, 13):
            self.pop()
            function = self.pop()
        else:
            function = self.pop()
            self.pop()
        self.push(function.call(self, args, kwargs))

    # -- functions ---------------------------------------------------------------------------------

    def MAKE_FUNCTION(self, i: Instruction) -> None:
        function = NestedFunction(self.pop().unwrap(), self.globals)
        flags = i.arg or 0
        for flag in (8, 4, 2, 1):
            if flags & flag and VERSION < (3, 13):
                function.set(flag, self.pop())
        self.push(function)

    def SET_FUNCTION_ATTRIBUTE(self, i: Instruction) -> None:
        function, value = self.pop(), self.pop()
        assert isinstance(function, NestedFunction)
        function.set(i.arg or 0, value)
        self.push(function)

    def RETURN_VALUE(self, i: Instruction) -> None:
        self.finish(self.pop())

    def RETURN_CONST(self, i: Instruction) -> None:
        self.finish(self.constant_of(i.argval))

    def finish(self, value: Value) -> None:
        """The frame returns; the root frame overrides this to emit code."""
        self.result: Value | None = value

    # -- generators --------------------------------------------------------------------------------

    def RETURN_GENERATOR(self, i: Instruction) -> None:
        self.push(NULL)

    def YIELD_VALUE(self, i: Instruction) -> None:
        if self.parent is None:
            unsupported("Generator as the compiled function", "the frame itself yields")
        self.yielded = self.pop()

    def SEND(self, i: Instruction) -> None:
        """`yield from`: hand what was sent to the inner iterator."""
        sent = self.pop()
        iterator = self.stack[-1]
        try:
            if isinstance(iterator, GeneratorValue):
                self.push(iterator.send(self, sent))
            elif self._is_none(sent):
                self.push(iterator.next(self))
            else:
                self.push(iterator.method(self, "send", [sent]))
        except Raised as raised:
            if not raised.value.is_a(StopIteration):
                raise
            self.capture.frame = self
            args = raised.value.args
            result = args[0] if args else self.constant(None)
            if VERSION < (3, 12):
                self.pop()
            self.push(result)
            self.jump(i.target)

    def END_SEND(self, i: Instruction) -> None:
        value = self.pop()
        self.pop()
        self.push(value)

    def CLEANUP_THROW(self, i: Instruction) -> None:
        raise Raised(self.pop())

    def values_of(self, values: list[Value]) -> TupleValue:
        return TupleValue(values)
