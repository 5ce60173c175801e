"""Guards: the conditions under which a compiled frame may run again, as one Python function.

Each guard has a kind, the source of the value it looks at, a payload, the reason why it is there
and the user's line that caused it. `GuardSet.compile` writes straight-line text, one guard per
line; a prefix that several guards read is read once. Promise: the function returns exactly True
when every guard holds, and False otherwise; an exception while reading counts as a failed guard.

A cache entry is invisible to the cyclic garbage collector, so guards hold user objects weakly.
"""

from __future__ import annotations

import math
import re
import sys
import types
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dynamo.instruction import VERSION, argument_count
from dynamo.source import (
    AttributeSource,
    ChildSource,
    GlobalSource,
    GlobalsSource,
    Source,
    literal,
)


class TensorSpec(NamedTuple):
    """What a compiled graph relies on in a tensor; None in `shape` or `strides` is any size."""

    kind: type
    dtype: Any
    shape: tuple[int | None, ...]
    strides: tuple[int | None, ...] | None
    device: Any
    requires_grad: bool

    @staticmethod
    def of(tensor: Any) -> TensorSpec:
        """The exact description of a tensor; strides in bytes, as its array has them."""
        array = tensor._array
        return TensorSpec(
            type(tensor), tensor.dtype, tuple(array.shape), tuple(array.strides),
            tensor.device, tensor.requires_grad,
        )  # fmt: skip


@dataclass(frozen=True)
class Guard:
    """One condition. `payload` depends on the kind; see `_CHECKS`."""

    kind: str
    source: Source | None
    payload: Any
    reason: str
    user_line: str

    @property
    def name(self) -> str:
        """What the guard is about, for messages."""
        return self.source.name if self.source else "global state"


class GuardSet:
    """The guards of one compiled frame. `code` is the code object that they protect."""

    def __init__(self, code: types.CodeType) -> None:
        self.code = code
        self.guards: list[Guard] = []
        self.source_text = ""
        self.function: types.FunctionType | None = None
        self._seen: set[Any] = set()
        self._locate: Callable[..., int] | None = None
        self._writer: _Writer | None = None

    def __len__(self) -> int:
        return len(self.guards)

    def add(
        self,
        kind: str,
        source: Source | None,
        payload: Any = None,
        reason: str = "",
        user_line: Any = "",
    ) -> None:
        """Require something of a value; a guard that is there already is not added again.

        Raises ValueError for an unknown kind.
        """
        if kind not in _CHECKS:
            raise ValueError(f"unknown guard kind {kind!r}; the kinds are {', '.join(_CHECKS)}")
        key = (kind, source, _payload_key(payload))
        if key in self._seen:
            return
        self._seen.add(key)
        self.guards.append(Guard(kind, source, payload, reason, str(user_line or "")))

    def compile(self, matcher: Callable[..., Any] | None = None) -> types.FunctionType:
        """The function `guard(function, *argument slots) -> bool`.

        `matcher(type number, shape, strides)` makes a fast check of an array, if there is one.
        """
        if self.function is not None:
            return self.function
        writer = _Writer(self, matcher)
        self.source_text = writer.text("return False", "True")
        self.function = _define(self.source_text, writer.objects)
        self._writer = writer
        self.guards = [_loosened(guard) for guard in self.guards]
        self._seen.clear()
        writer.guards, writer.kinds = self.guards, {}
        return self.function

    def failing(self, function: Any, slots: Sequence[Any]) -> Guard | None:
        """The first guard that does not hold for these arguments."""
        if self._locate is None:
            if self._writer is None:
                self.compile()
            assert self._writer is not None
            writer = self._writer
            text = writer.text("return {index}", "-1", trace=True)
            self._locate = _define(text, writer.objects)
        index = self._locate(function, *slots)
        return None if index < 0 else self.guards[index]

    def explain_failure(self, function: Any, slots: Sequence[Any]) -> str:
        """Which guard fails, what it wanted, and why it is there; "" if all hold."""
        guard = self.failing(function, slots)
        if guard is None:
            return ""
        assert self._writer is not None
        condition = self._writer.expand(self._writer.conditions[self.guards.index(guard)])
        found = _describe_found(guard, self.code, function, slots)
        parts = [f"{guard.name}: {guard.kind} expected {_describe_payload(guard)}"]
        if found:
            parts.append(f"found {found}")
        text = ", ".join(parts) + f" [{condition}]"
        if guard.reason:
            text += f"; needed because {guard.reason}"
        if guard.user_line:
            text += f" ({guard.user_line})"
        return text

    def describe(self) -> list[str]:
        """Each guard as the condition that is checked, with the reason behind it."""
        if self.function is None:
            self.compile()
        rows = []
        assert self._writer is not None
        expanded = map(self._writer.expand, self._writer.conditions)
        for guard, condition in zip(self.guards, expanded, strict=True):
            why = "  # ".join(part for part in (guard.reason, guard.user_line) if part)
            rows.append(f"{condition}  # {why}" if why else condition)
        return rows


def _loosened(guard: Guard) -> Guard:
    """A written guard no longer needs its object; what describes it must not keep it alive."""
    if guard.kind not in ("TYPE", "ID", "FUNCTION") or _is_permanent(guard.payload):
        return guard
    try:
        return replace(guard, payload=weakref.ref(guard.payload))
    except TypeError:
        return guard


def _payload_key(payload: Any) -> Any:
    try:
        hash(payload)
    except TypeError:
        return id(payload)
    # 1, 1.0 and True are equal, and so are 0.0 and -0.0; they are different payloads.
    return type(payload), payload, repr(payload) if type(payload) in (float, tuple) else None


def _fields(source: Source) -> tuple[str, ...]:
    """The keys that lead from the dictionary of the base to the value."""
    if type(source) is AttributeSource:
        return (source.attribute,)
    if type(source) is ChildSource:
        return (source.table, source.child)
    return ()


def _is_module_class(kind: type) -> bool:
    from eager.nn.module import Module

    return issubclass(kind, Module) and kind.__getattr__ is Module.__getattr__


def _define(text: str, objects: dict[str, Any]) -> Any:
    scope = dict(objects)
    exec(compile(text, "<guards>", "exec"), scope)
    return scope["guard"]


# --- writing ----------------------------------------------------------------------------------


class _Writer:
    """Turns guards into text; `objects` are the names that the text needs."""

    def __init__(self, guards: GuardSet, matcher: Callable[..., Any] | None = None) -> None:
        self.matcher = matcher
        self.readable: list[str] | None = None  # what a check means, where its text does not say
        self.guards = guards.guards
        self.code = guards.code
        self.objects: dict[str, Any] = {"__name__": "<guards>"}
        self._names: dict[int, str] = {}
        self.variables: dict[Source, str] = {}
        self._kept: dict[str, Source] = {}  # the same, the other way round
        self.kinds = {g.source: g.payload for g in self.guards if g.kind == "TYPE" and g.source}
        self._uses = self._count_uses()
        self.lines: list[tuple[int, str]] = []  # (index of the guard or -1, text)
        self.reads_globals = False
        self.conditions: list[str] = []
        for index, guard in enumerate(self.guards):
            start = len(self.lines)
            for condition in _CHECKS[guard.kind](self, guard):
                self.lines.append((index, condition))
            written = self.readable or [text for owner, text in self.lines[start:] if owner >= 0]
            self.readable = None
            self.conditions.append(" and ".join(written))

    def expand(self, text: str) -> str:
        """A condition with the user's expressions in place of the variables v0, v1, …"""
        text = re.sub(r"\bv\d+\b", self._show_variable, text)
        text = re.sub(r"\bc\d+\b(\(\))?", self._show_object, text)
        return re.sub(r"\bL_(\w+)", r"\1", text)

    def _show_variable(self, found: re.Match) -> str:
        if not self._kept:
            self._kept = {variable: source for source, variable in self.variables.items()}
        source = self._kept.get(found[0])
        return found[0] if source is None else source.name

    def _show_object(self, found: re.Match) -> str:
        value = self.objects.get(found[0].removesuffix("()"))
        if isinstance(value, weakref.ref):
            value = value()
        elif found[1]:
            return f"{getattr(value, '__name__', value)}()"
        return getattr(value, "__qualname__", None) or _short(value)

    def _count_uses(self) -> dict[Source, int]:
        uses: dict[Source, int] = {}
        for guard in self.guards:
            weight = 2 if guard.kind in _READS_TWICE else 1
            for source in _sources(guard):
                while source is not None:
                    uses[source] = uses.get(source, 0) + weight
                    if uses[source] > weight:
                        break
                    source, weight = source.base, 1
        return uses

    def bind(self, value: Any) -> str:
        """A name for an object, held strongly."""
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"c{len(self._names)}"
            self.objects[name] = value
        return name

    def hold(self, value: Any) -> str:
        """Text that evaluates to an object which the guard does not keep alive."""
        if _is_permanent(value):
            return self.bind(value)
        try:
            return f"{self.bind(weakref.ref(value))}()"  # one reference object per referent
        except TypeError:
            return self.bind(value)

    def read(self, source: Source) -> str:
        """Text that reads a source; what is read more than once gets a variable."""
        variable = self.variables.get(source)
        if variable is not None:
            return variable
        if source.base is None:
            text = self._root(source)
            if text.isidentifier():
                return text
        else:
            base = self.shortcut(source)
            text = source.step(self.read(source.base), self.bind) if base is None else base
        if self._uses.get(source, 0) < 2:
            return text
        return self.keep(source, text)

    def shortcut(self, source: Source) -> str | None:
        """Text that reads a field of a module from its dictionary.

        Modules have `__getattr__`, which keeps CPython before 3.13 from specialising the reading of
        their attributes. Only names that the class does not have are read so; the class is guarded.
        """
        if VERSION >= (3, 13):
            return None
        assert source.base is not None
        kind = self.kinds.get(source.base)
        names = _fields(source)
        if kind is None or not names or hasattr(kind, names[0]) or not _is_module_class(kind):
            return None
        fields = AttributeSource(source.base, "__dict__")
        if fields not in self.variables:
            self.keep(fields, f"{self.read(source.base)}.__dict__")
        return self.variables[fields] + "".join(f"[{name!r}]" for name in names)

    def keep(self, source: Source, text: str) -> str:
        """Give a source a variable."""
        variable = self.variables[source] = f"v{len(self.variables)}"
        self.lines.append((-1, f"{variable} = {text}"))
        return variable

    def _root(self, source: Source) -> str:
        """Closure cells are read by their place, which is known now."""
        text = source.step("", self.bind)
        self.reads_globals |= isinstance(source, GlobalSource | GlobalsSource)
        for position, free in enumerate(self.code.co_freevars):
            text = text.replace(f"[F.__code__.co_freevars.index({free!r})]", f"[{position}]")
        return text

    def text(self, failure: str, success: str, trace: bool = False) -> str:
        """The guard function. With `trace`, `i` says which guard is being looked at."""
        count = argument_count(self.code)
        slots = ", ".join(f"L_{name.lstrip('.')}" for name in self.code.co_varnames[:count])
        out = [f"def guard(F{', ' + slots if slots else ''}):"]
        if self.reads_globals:
            out.append("    G = F.__globals__")
        out += ["    i = 0", "    try:"] if trace else ["    try:"]
        for position, (index, line) in enumerate(self.lines):
            if index < 0:
                following = next((n for n, _ in self.lines[position:] if n >= 0), 0)
                out += [f"        i = {following}"] if trace else []
                out.append(f"        {line}")
                continue
            out += [f"        i = {index}"] if trace else []
            out.append(f"        if not ({line}): {failure.format(index=index)}")
        out.append("        pass" if not self.lines else f"        return {success}")
        out += ["    except Exception:", f"        return {'i' if trace else 'False'}"]
        if not self.lines:
            out.append(f"    return {success}")
        return "\n".join(out) + "\n"


def _is_permanent(value: Any) -> bool:
    """Objects that live as long as the process: a strong reference to them is no leak."""
    if value is None or isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        return True
    if isinstance(value, type) and not value.__flags__ & 1 << 9:  # not a heap type
        return True
    if not isinstance(value, type | types.FunctionType) or value.__module__ == "__main__":
        return False
    module = sys.modules.get(value.__module__)
    return getattr(module, value.__qualname__, None) is value


# --- checks by kind ---------------------------------------------------------------------------


def _type(w: _Writer, guard: Guard) -> list[str]:
    """payload: the class"""
    return [f"type({w.read(_source(guard))}) is {w.hold(guard.payload)}"]


def _identity(w: _Writer, guard: Guard) -> list[str]:
    """payload: the object"""
    return [f"{w.read(_source(guard))} is {w.hold(guard.payload)}"]


def _constant(w: _Writer, guard: Guard) -> list[str]:
    """payload: the value; type and value must be equal"""
    value, text = guard.payload, w.read(_source(guard))
    kind = type(value)
    if value is None or kind is bool:
        return [f"{text} is {value}"]
    if kind is type(...) or kind is type(NotImplemented):
        return [f"{text} is {w.bind(value)}"]
    shown = literal(value) or w.bind(value)
    equal = f"{text} == {shown}"
    if kind in (float, complex) and (value != value or not value):
        equal = f"repr({text}) == {repr(value)!r}"
    w.readable = [f"type({text}) is {w.hold(kind)}", equal]
    # Nearly always it is the very object; that is the quick answer.
    return [f"{text} is {w.bind(value)} or type({text}) is {w.hold(kind)} and {equal}"]


def _tensor(w: _Writer, guard: Guard) -> list[str]:
    """payload: a TensorSpec"""
    spec: TensorSpec = guard.payload
    text = w.read(_source(guard))
    array = f"{text}._array"
    out = [f"type({text}) is {w.hold(spec.kind)}"]
    if spec.requires_grad:
        out.append(f"({text}._requires_grad or {text}.requires_grad)")
    else:
        out.append(f"not {text}._requires_grad")
        out.append(f"({text}._base is None or not {text}.requires_grad)")
    if str(spec.device) != "cpu":
        out.append(f"{text}.device == {w.bind(spec.device)}")
    number, variable = spec.dtype.numpy.num, f"a{len(w.lines)}"
    plain = [f"({variable} := {array}).dtype.num == {number}"]
    plain += _sizes(f"{variable}.shape", spec.shape)
    if spec.strides is not None:
        plain += _sizes(f"{variable}.strides", spec.strides)[-1:]
    named = [line.replace(f"({variable} := {array})", array) for line in plain]
    w.readable = out + [line.replace(f"{variable}.", f"{array}.") for line in named]
    if w.matcher is None:
        return out + plain
    return [*out, f"{w.bind(w.matcher(number, spec.shape, spec.strides))}({array})"]


def _sizes(text: str, sizes: tuple[int | None, ...]) -> list[str]:
    if None not in sizes:
        return [f"{text} == {sizes!r}"]
    out = [f"len({text}) == {len(sizes)}"]
    out += [f"{text}[{i}] == {n}" for i, n in enumerate(sizes) if n is not None]
    return out


def _length(w: _Writer, guard: Guard) -> list[str]:
    """payload: the length"""
    return [f"len({w.read(_source(guard))}) == {guard.payload}"]


def _dict_keys(w: _Writer, guard: Guard) -> list[str]:
    """payload: a tuple of the keys, in order"""
    keys = tuple(guard.payload)
    return [f"tuple({w.read(_source(guard))}) == {literal(keys) or w.bind(keys)}"]


def _dict_contains(w: _Writer, guard: Guard) -> list[str]:
    """payload: (key, whether it is there)"""
    key, present = guard.payload
    word = "in" if present else "not in"
    return [f"{literal(key) or w.bind(key)} {word} {w.read(_source(guard))}"]


def _has_attribute(w: _Writer, guard: Guard) -> list[str]:
    """payload: (attribute, whether it is there)"""
    attribute, present = guard.payload
    check = f"hasattr({w.read(_source(guard))}, {attribute!r})"
    return [check if present else f"not {check}"]


def _none(w: _Writer, guard: Guard) -> list[str]:
    """payload: False if the value must not be None"""
    word = "is not" if guard.payload is False else "is"
    return [f"{w.read(_source(guard))} {word} None"]


def _function(w: _Writer, guard: Guard) -> list[str]:
    """payload: a function; another one over the same code object will do"""
    function, text = guard.payload, w.read(_source(guard))
    keep = w.bind if _is_permanent(function) else w.hold
    return [f"type({text}) is {w.bind(type(function))}",
            f"{text}.__code__ is {keep(function.__code__)}"]  # fmt: skip


def _grad_mode(w: _Writer, guard: Guard) -> list[str]:
    """payload: whether gradients are being recorded"""
    from eager import autograd

    mode = w.bind(autograd._MODE)
    return [f"{mode}.grad" if guard.payload else f"not {mode}.grad"]


def _dispatch_empty(w: _Writer, guard: Guard) -> list[str]:
    """no interpreter is pushed, so that operators compute"""
    from eager import dispatch

    return [f"not {w.bind(dispatch.active)}[0] or not {w.bind(dispatch.stack)}()"]


def _duplicate(w: _Writer, guard: Guard) -> list[str]:
    """payload: the source of the same object"""
    return [f"{w.read(_source(guard))} is {w.read(guard.payload)}"]


def _no_aliasing(w: _Writer, guard: Guard) -> list[str]:
    """payload: sources of objects which are all different"""
    texts = [w.read(source) for source in guard.payload]
    if len(texts) == 2:
        return [f"{texts[0]} is not {texts[1]}"]
    ids = ", ".join(f"id({text})" for text in texts)
    return [f"len({{{ids}}}) == {len(texts)}"]


def _expression(w: _Writer, guard: Guard) -> list[str]:
    """payload: (text with {0}, {1} …, a tuple of their sources)"""
    text, sources = guard.payload
    return [text.format(*(w.read(source) for source in sources))]


_CHECKS: dict[str, Callable[[_Writer, Guard], list[str]]] = {
    "TYPE": _type,
    "ID": _identity,
    "CONSTANT": _constant,
    "TENSOR": _tensor,
    "LENGTH": _length,
    "DICT_KEYS": _dict_keys,
    "DICT_CONTAINS": _dict_contains,
    "HASATTR": _has_attribute,
    "NONE": _none,
    "FUNCTION": _function,
    "GRAD_MODE": _grad_mode,
    "TRAINING": _constant,
    "DISPATCH_EMPTY": _dispatch_empty,
    "DUPLICATE_INPUT": _duplicate,
    "NO_TENSOR_ALIASING": _no_aliasing,
    "EXPRESSION": _expression,
}
_READS_TWICE = ("CONSTANT", "TRAINING", "TENSOR", "FUNCTION")


def _source(guard: Guard) -> Source:
    if guard.source is None:
        raise ValueError(f"a guard of kind {guard.kind} needs a source")
    return guard.source


def _sources(guard: Guard) -> list[Source | None]:
    out = [guard.source]
    if guard.kind == "DUPLICATE_INPUT":
        out.append(guard.payload)
    elif guard.kind == "NO_TENSOR_ALIASING":
        out += guard.payload
    elif guard.kind == "EXPRESSION":
        out += guard.payload[1]
    return out


# --- explaining -------------------------------------------------------------------------------


def _describe_payload(guard: Guard) -> str:
    payload = guard.payload
    if isinstance(payload, weakref.ref):
        payload = payload()
    if isinstance(payload, TensorSpec):
        return _tensor_text(payload)
    if guard.kind == "NO_TENSOR_ALIASING":
        return "all different: " + ", ".join(source.name for source in payload)
    if guard.kind == "DUPLICATE_INPUT":
        return f"the same object as {payload.name}"
    if guard.kind == "EXPRESSION":
        return payload[0].format(*(source.name for source in payload[1]))
    if isinstance(payload, type):
        return payload.__qualname__
    return _short(payload)


def _tensor_text(spec: TensorSpec) -> str:
    grad = ", requires_grad" if spec.requires_grad else ""
    return f"{spec.kind.__name__} {spec.dtype} {list(spec.shape)} strides {spec.strides}{grad}"


def _describe_found(guard: Guard, code: types.CodeType, function: Any, slots: Any) -> str:
    """What the value is now; reading it may fail, which is then the finding."""
    if guard.source is None:
        return ""
    names = [f"L_{name.lstrip('.')}" for name in code.co_varnames[: argument_count(code)]]
    scope = dict(zip(names, slots, strict=True))
    scope.update(F=function, G=function.__globals__)

    def bind(value: Any) -> str:
        scope[f"c{len(scope)}"] = value
        return f"c{len(scope) - 1}"

    try:
        value = eval(guard.source.expression(bind), scope)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if guard.kind == "TYPE":
        return type(value).__qualname__
    if guard.kind == "LENGTH":
        return str(len(value))
    if guard.kind == "TENSOR":
        kind = getattr(value, "_array", None)
        return type(value).__qualname__ if kind is None else _tensor_text(TensorSpec.of(value))
    if guard.kind in ("DICT_CONTAINS", "HASATTR"):
        return "not there" if guard.payload[1] else "there"
    return _short(value)


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, float) or math.isfinite(value) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
