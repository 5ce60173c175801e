"""Handlers of raise, try and with."""

from __future__ import annotations

from typing import Any

from dynamo.bytecode import Instruction
from dynamo.unsupported import Raised, unsupported
from dynamo.values.base import NULL, Value
from dynamo.values.container import SequenceValue
from dynamo.values.exception import ExceptionValue

# These methods become part of the machine's `Frame`.
Base: Any = object


class Exceptions(Base):
    def LOAD_ASSERTION_ERROR(self, i: Instruction) -> None:
        self.push(self.wrap(AssertionError))

    def RAISE_VARARGS(self, i: Instruction) -> None:
        if not i.arg:
            if not self.active:
                self.throw(RuntimeError, "No active exception to reraise")
            raise Raised(self.active[-1])
        cause = self.pop() if i.arg == 2 else None
        error = self.as_exception(self.pop())
        if cause is not None and not (cause.is_constant() and cause.unwrap() is None):
            error.cause = self.as_exception(cause)
        raise Raised(error)

    @property
    def active(self) -> list[Value]:
        """Exceptions that are being handled, those of the callers included."""
        frame: Any = self
        while frame is not None and not frame.handled:
            frame = frame.parent
        return [] if frame is None else frame.handled

    def PUSH_EXC_INFO(self, i: Instruction) -> None:
        error = self.pop()
        self.push(self.handled[-1] if self.handled else self.constant(None))
        self.handled.append(error)
        self.push(error)

    def POP_EXCEPT(self, i: Instruction) -> None:
        self.pop()
        if self.handled:
            self.handled.pop()

    def CHECK_EXC_MATCH(self, i: Instruction) -> None:
        kinds = self.pop()
        error: Any = self.stack[-1]
        self.push(self.constant(error.is_a(self._classes(kinds))))

    def _classes(self, kinds: Value) -> tuple:
        if isinstance(kinds, SequenceValue):
            return tuple(kind for item in kinds.all(self) for kind in self._classes(item))
        kind = kinds.unwrap()
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            self.throw(
                TypeError,
                "catching classes that do not inherit from BaseException is not allowed",
            )
        return (kind,)

    def RERAISE(self, i: Instruction) -> None:
        error = self.pop()
        raise Raised(error)

    # -- with --------------------------------------------------------------------------------------

    def BEFORE_WITH(self, i: Instruction) -> None:
        manager = self.pop()
        leave = manager.attribute(self, "__exit__")
        self.push(leave)
        self.push(manager.attribute(self, "__enter__").call(self, [], {}))

    def WITH_EXCEPT_START(self, i: Instruction) -> None:
        error = self.stack[-1]
        assert isinstance(error, ExceptionValue)
        leave = self.stack[-4]
        none = self.constant(None)
        self.push(leave.call(self, [self.wrap(error.kind), error, none], {}))

    def BEFORE_ASYNC_WITH(self, i: Instruction) -> None:
        unsupported("Call of a coroutine", "async with")

    def LOAD_NULL(self, i: Instruction) -> None:
        self.push(NULL)
