"""What a template hands over: the text of a module, and how its kernel is to be called.

`load(template)` compiles it once per process (the text is the key, so equal templates share their code); `template.step(...)` makes the step of a
launch program. A cache passes its own `compiler` to `load`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from inductor.native import NativeFunction, compile_ir
from inductor.program import Reference, Step

_loaded: dict[str, NativeFunction] = {}


@dataclass(frozen=True)
class Template:
    """A generated kernel before compilation; the fields are those of `program.Step`."""

    text: str = field(repr=False)
    symbol: str
    total: int
    cost: float
    oversplit: int = 1
    scratch: int = 0
    scratch_slot: int = 0

    def step(self, *arguments: int | Reference, name: str = "") -> Step:
        """A step that runs this kernel on `arguments` (without the scratch memory, which is put in its slot)."""
        words = list(arguments)
        if self.scratch:
            words.insert(self.scratch_slot, 0)
        return Step(
            load(self).address, tuple(words), self.total, self.cost, self.oversplit,
            self.scratch, self.scratch_slot, name or self.symbol,
        )


def _compile(text: str, symbol: str) -> NativeFunction:
    return compile_ir(text, symbol, vectorize=False)


def load(
    template: Template, compiler: Callable[[str, str], NativeFunction] = _compile
) -> NativeFunction:
    """The template's machine code, compiled at most once per process."""
    function = _loaded.get(template.text)
    if function is None:
        function = _loaded[template.text] = compiler(template.text, template.symbol)
    return function
