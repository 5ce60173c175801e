"""Opcode handlers, one method per opcode of CPython 3.11 to 3.13, named as the opcode.

- `variables`: locals, globals, cells, attributes, imports, moving things on the stack
- `operators`: arithmetic, comparison, subscripts, formatting, building containers
- `control`: jumps, loops, calls, functions, return, generators
- `exceptions`: raise, try, with
"""

from __future__ import annotations

from typing import Any

from dynamo.opcodes.control import Control
from dynamo.opcodes.exceptions import Exceptions
from dynamo.opcodes.operators import Operators
from dynamo.opcodes.variables import Variables
from dynamo.unsupported import unsupported


class Opcodes(Variables, Operators, Control, Exceptions):
    """All handlers; an opcode without one ends the graph."""

    def __getattr__(self, name: str) -> Any:
        if not name.isupper():
            raise AttributeError(name)
        return self._unknown

    def _unknown(self, instruction: Any) -> None:
        unsupported(
            "Instruction that is not known",
            f"{instruction.opname} has no handler",
            "async code, class bodies and exception groups are left to Python",
        )
