"""What stops capture: `Unsupported` says what could not be captured, where, why, and what to try; `Raised` carries an exception
of the user's program through the symbolic machine. Titles are constants, so that breaks can be counted and searched for.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn


class Position(NamedTuple):
    """A place in the user's program."""

    file: str
    line: int | None
    function: str

    def __str__(self) -> str:
        return f'File "{self.file}", line {self.line}, in {self.function}'

    @property
    def text(self) -> str:
        """The source line, or "" where there is none."""
        return linecache.getline(self.file, self.line or 0).strip()


class Unsupported(Exception):
    """Raised by translation when something cannot be captured; with `fullgraph=True` the user sees it.

    `title` is constant per kind of break, `why` has the particulars, `hint` says what to try, `stack` holds the user's frames, innermost last.
    """

    def __init__(self, title: str, why: str = "", hint: str = "", stack: tuple[Position, ...] = ()) -> None:
        super().__init__(title, why, hint)
        self.title = title
        self.why = why
        self.hint = hint
        self.stack = stack

    @property
    def where(self) -> Position | None:
        """The innermost user frame."""
        return self.stack[-1] if self.stack else None

    def __str__(self) -> str:
        lines = [self.title]
        if self.why:
            lines.append(f"  why:   {self.why}")
        if self.hint:
            lines.append(f"  hint:  {self.hint}")
        for position in self.stack:
            lines.append(f"  {position}")
            if position.text:
                lines.append(f"    {position.text}")
        return "\n".join(lines)


class BackendCompilerFailed(RuntimeError):
    """A backend raised while it compiled a graph; what it raised is the cause."""

    def __init__(self, backend: Any, error: BaseException) -> None:
        name = getattr(backend, "__name__", None) or repr(backend)
        super().__init__(f"backend={name!r} raised:\n{type(error).__name__}: {error}")
        self.backend_name = name
        self.inner_exception = error


class WantedHistory(Unsupported):
    """A graph with a captured backward pass would give out a tensor with a history: the pass has to run between two graphs."""


def unsupported(title: str, why: str = "", hint: str = "") -> NoReturn:
    """Raises Unsupported; the machine adds the place."""
    raise Unsupported(title, why, hint)


class Raised(Exception):
    """An exception of the user's program, on its way through the symbolic machine; `value` is its ExceptionValue."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


class NotConcrete(Exception):
    """This value has no Python object that could be handed to real code."""

    def __init__(self, value: Any) -> None:
        super().__init__(repr(value))
        self.value = value


@dataclass(frozen=True)
class Break:
    """A graph break as it is reported: where one graph ended and Python went on by itself."""

    title: str
    why: str
    hint: str
    stack: tuple[Position, ...] = ()
    resumed: bool = True
    frame: str = field(default="", compare=False)

    @property
    def file(self) -> str:
        return self.stack[-1].file if self.stack else ""

    @property
    def line(self) -> int | None:
        return self.stack[-1].line if self.stack else None

    @property
    def reason(self) -> str:
        return f"{self.title}: {self.why}" if self.why else self.title

    @classmethod
    def of(cls, error: Unsupported, resumed: bool, frame: str) -> Break:
        return cls(error.title, error.why, error.hint, error.stack, resumed, frame)
