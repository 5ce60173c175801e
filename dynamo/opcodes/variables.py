"""Handlers of what reads and writes variables and attributes, and of what moves values on the stack."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

from dynamo.bytecode import VERSION, Instruction
from dynamo.source import AttributeSource, ConstantSource, GlobalSource, ModuleSource
from dynamo.unsupported import unsupported
from dynamo.values.base import NULL, Value
from dynamo.values.function import CellValue
from dynamo.values.object import SuperValue
from eager import dispatch

# These methods become part of the machine's `Frame`.
Base: Any = object


class Variables(Base):
    # -- nothing to do -----------------------------------------------------------------------------

    def NOP(self, i: Instruction) -> None:
        pass

    RESUME = NOP
    CACHE = NOP
    PRECALL = NOP
    COPY_FREE_VARS = NOP
    SETUP_ANNOTATIONS = NOP
    END_FOR_MARK = NOP

    # -- the stack ---------------------------------------------------------------------------------

    def POP_TOP(self, i: Instruction) -> None:
        self.pop()

    def PUSH_NULL(self, i: Instruction) -> None:
        self.push(NULL)

    def COPY(self, i: Instruction) -> None:
        self.push(self.stack[-(i.arg or 1)])

    def SWAP(self, i: Instruction) -> None:
        depth = i.arg or 2
        self.stack[-1], self.stack[-depth] = self.stack[-depth], self.stack[-1]

    def LOAD_CONST(self, i: Instruction) -> None:
        self.push(self.constant_of(i.argval))

    def constant_of(self, value: Any) -> Value:
        if type(value) is tuple:
            return self.tuple_of([self.constant_of(item) for item in value])
        return self.wrap(value)

    # -- locals ------------------------------------------------------------------------------------

    def LOAD_FAST(self, i: Instruction) -> None:
        name = i.argval
        value = self.variable(name)
        if value is None:
            if name in self.cells:
                self.push(self.cells[name])
                return
            self.throw(
                UnboundLocalError,
                f"cannot access local variable '{name}' where it is not associated with a value",
            )
        self.push(value)

    LOAD_FAST_CHECK = LOAD_FAST

    def LOAD_FAST_AND_CLEAR(self, i: Instruction) -> None:
        value = self.variable(i.argval)
        if value is None and i.argval in self.cells:
            value = self.cells.pop(i.argval)
        self.push(NULL if value is None else value)
        self.variables.pop(i.argval, None)

    def STORE_FAST(self, i: Instruction) -> None:
        value = self.pop()
        if value is NULL:
            self.variables.pop(i.argval, None)
        elif isinstance(value, CellValue) and i.argval in self.code.co_cellvars:
            self.cells[i.argval] = value
            self.variables.pop(i.argval, None)
        else:
            self.variables[i.argval] = value

    def DELETE_FAST(self, i: Instruction) -> None:
        if self.variable(i.argval) is None:
            self.throw(
                UnboundLocalError,
                f"cannot access local variable '{i.argval}' where it is not associated with a value",
            )
        del self.variables[i.argval]

    # -- globals -----------------------------------------------------------------------------------

    def LOAD_GLOBAL(self, i: Instruction) -> None:
        value = self.global_value(i.argval)
        if VERSION >= (3, 13):
            self.push(value)
            if (i.arg or 0) & 1:
                self.push(NULL)
            return
        if (i.arg or 0) & 1:
            self.push(NULL)
        self.push(value)

    def LOAD_NAME(self, i: Instruction) -> None:
        self.push(self.global_value(i.argval))

    def global_value(self, name: str) -> Value:
        pending = self.effects.pending_global(self.globals, name)
        if pending is not None:
            return pending
        if name in self.globals:
            real = self.globals[name]
            if self.globals is self.capture.root_globals:
                return self.wrap(real, GlobalSource(name))
            return self._foreign_global(real, name)
        if not hasattr(builtins, name):
            self.throw(NameError, f"name '{name}' is not defined")
        return self.wrap(getattr(builtins, name))

    def _foreign_global(self, real: Any, name: str) -> Value:
        """A global of another file: its code is taken as fixed, its data is guarded."""
        module_name = self.globals.get("__name__")
        module = sys.modules.get(module_name) if isinstance(module_name, str) else None
        if isinstance(real, (types.FunctionType, type, types.ModuleType)):
            return self.wrap(real)
        if module is None or vars(module) is not self.globals:
            return self.wrap(real)
        if self.is_stable(module, real):
            return self.wrap(real)
        return self.wrap(real, AttributeSource(ModuleSource(module), name))

    def STORE_GLOBAL(self, i: Instruction) -> None:
        if self.parent is not None and self.capture.is_library_file(self.code.co_filename):
            unsupported(
                "State of the library is changed",
                f"{self.code.co_qualname} sets {i.argval}",
                "call it outside the compiled region",
            )
        self.effects.store_global(self.globals, i.argval, self.pop())

    def DELETE_GLOBAL(self, i: Instruction) -> None:
        unsupported("Deletion of a global", f"del {i.argval}")

    # -- cells -------------------------------------------------------------------------------------

    def MAKE_CELL(self, i: Instruction) -> None:
        self.make_cell(i.argval)

    def make_cell(self, name: str) -> None:
        cell = CellValue(self.variables.pop(name, None))
        cell.written = True
        if self.parent is None:
            cell.name = name
        self.cells[name] = cell

    def LOAD_CLOSURE(self, i: Instruction) -> None:
        """The cell; inside an inlined comprehension the slot may hold a plain value instead."""
        if i.argval in self.cells:
            self.push(self.cell(i.argval))
        else:
            self.LOAD_FAST(i)

    def LOAD_DEREF(self, i: Instruction) -> None:
        value = self.cell(i.argval).contents(self)
        if value is None:
            self.throw(
                NameError,
                f"cannot access free variable '{i.argval}' where it is not associated with a value "
                "in enclosing scope",
            )
        self.push(value)

    LOAD_CLASSDEREF = LOAD_DEREF

    def STORE_DEREF(self, i: Instruction) -> None:
        self.cell(i.argval).store(self, self.pop())

    def DELETE_DEREF(self, i: Instruction) -> None:
        self.cell(i.argval).store(self, None)

    # -- attributes --------------------------------------------------------------------------------

    def LOAD_ATTR(self, i: Instruction) -> None:
        if VERSION >= (3, 12) and (i.arg or 0) & 1:
            self.LOAD_METHOD(i)
            return
        self.push(self.pop().attribute(self, i.argval))

    def LOAD_METHOD(self, i: Instruction) -> None:
        bound = self.pop().attribute(self, i.argval)
        if VERSION >= (3, 13):
            self.push(bound)
            self.push(NULL)
        else:
            self.push(NULL)
            self.push(bound)

    def STORE_ATTR(self, i: Instruction) -> None:
        owner = self.pop()
        value = self.pop()
        owner.store_attribute(self, i.argval, value)

    def DELETE_ATTR(self, i: Instruction) -> None:
        self.pop().delete_attribute(self, i.argval)

    def LOAD_SUPER_ATTR(self, i: Instruction) -> None:
        owner, kind, _ = self.pop(), self.pop(), self.pop()
        after = kind.unwrap()
        mro = owner.unwrap() if isinstance(getattr(owner, "real", None), type) else None
        found = SuperValue(after, owner, mro or owner.python_type()).attribute(self, i.argval)
        if not (i.arg or 0) & 1:
            self.push(found)
        elif VERSION >= (3, 13):
            self.push(found)
            self.push(NULL)
        else:
            self.push(NULL)
            self.push(found)

    # -- imports -----------------------------------------------------------------------------------

    def IMPORT_NAME(self, i: Instruction) -> None:
        """Imports for real, as the program is about to: what is loaded already is only looked up."""
        names, level = self.pop().unwrap(), self.pop().unwrap()
        with dispatch.suspended():
            module = self.evaluate(
                builtins.__import__, i.argval, self.globals, None, names, level
            )
        self.push(self.wrap(module, ConstantSource(module)))

    def IMPORT_FROM(self, i: Instruction) -> None:
        self.push(self.stack[-1].attribute(self, i.argval))
