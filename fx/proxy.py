"""A Proxy stands for a value of a program that is being traced: whatever is done to it becomes a
node of the graph."""

from __future__ import annotations

import dis
import linecache
import operator
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from fx.node import Node

if TYPE_CHECKING:
    from fx.tracer import Tracer

_FX, _EAGER = (
    os.path.dirname(os.path.abspath(sys.modules[name].__file__ or "")) + os.sep
    for name in ("fx", "eager")
)


class TraceError(ValueError):
    """Something was asked of a traced value that only a real one could answer."""


class Proxy:
    """Records operators, methods, attributes and subscripts; iteration, truth and length raise."""

    def __init__(self, node: Node, tracer: Tracer) -> None:
        self.node = node
        self.tracer = tracer

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"a traced value has no attribute {name!r}")
        return Attribute(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        number = _unpacked(sys._getframe(1))
        if number is None:
            return self.tracer.iter(self)
        item: Any = operator.getitem
        return iter([item(self, index) for index in range(number)])

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def keys(self) -> Any:
        """As `dict.keys`, when a traced value is spread by `**`."""
        return self.tracer.keys(self)

    def __len__(self) -> int:
        raise RuntimeError(
            f"'len' is not supported in symbolic tracing by default {user_location()}. To record "
            "this call, say fx.wrap('len') at the top of the module"
        )

    def __contains__(self, item: object) -> bool:
        raise refuse("the operator `in`")

    def __int__(self) -> int:
        raise refuse("int()")

    def __float__(self) -> float:
        raise refuse("float()")

    def __index__(self) -> int:
        raise refuse("a use as an index or a range")

    def __hash__(self) -> int:
        return id(self)


class Attribute(Proxy):
    """`proxy.name`: a method call if it is called, otherwise a node that reads the attribute."""

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root = root
        self.attr = attr
        self.tracer = root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        if self._node is None:
            made = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {})
            self._node = made.node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


def refuse(what: str) -> TraceError:
    """The error for a question that a traced value cannot answer, naming the user's line."""
    return TraceError(
        f"symbolically traced variables cannot be used as inputs to control flow: {what} of a "
        f"traced value {user_location()}. Pass what decides it through concrete_args, or hide the "
        "code in a leaf module or behind fx.wrap"
    )


def user_location() -> str:
    """`at file:line: source` of the user's innermost frame."""
    frames = user_frames()
    if not frames:
        return ""
    file, line, function = frames[-1]
    return f"at {file}:{line} in {function}: {linecache.getline(file, line).strip()!r}"


def user_frames(limit: int = 64) -> list[tuple[str, int, str]]:
    """The user's frames as (file, line, function), innermost last, out to where the trace began;
    those of eager's own modules where there are no others."""
    found: list[tuple[str, int, str]] = []
    inner: list[tuple[str, int, str]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < limit:
        code = frame.f_code
        if code.co_filename.startswith(_FX):
            if code.co_name == "trace" and code.co_filename.endswith("tracer.py"):
                break
        else:
            frames = inner if code.co_filename.startswith(_EAGER) else found
            frames.append((code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return found[::-1] or inner[::-1]


def _unpacked(frame: FrameType) -> int | None:
    """How many values the caller's instruction unpacks, if that is why it iterates."""
    for instruction in dis.get_instructions(frame.f_code):
        if instruction.offset == frame.f_lasti:
            return instruction.arg if instruction.opname == "UNPACK_SEQUENCE" else None
    return None


def _record(function: Any) -> Any:
    def method(self: Proxy, *args: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, *args), {})

    return method


def _record_reflected(function: Any) -> Any:
    def method(self: Proxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (other, self), {})

    return method


_UNARY = "neg pos invert abs"
_BINARY = "add sub mul truediv floordiv mod pow matmul lshift rshift and_ or_ xor"
_COMPARE = "lt le gt ge eq ne getitem"
for _name in f"{_UNARY} {_BINARY} {_COMPARE}".split():
    setattr(Proxy, f"__{_name.rstrip('_')}__", _record(getattr(operator, _name)))
for _name in _BINARY.split():
    _method = _record_reflected(getattr(operator, _name))
    setattr(Proxy, f"__r{_name.rstrip('_')}__", _method)
