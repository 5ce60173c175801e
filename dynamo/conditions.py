"""Guards as text: each kind of guard as the conditions that are checked, written as straight lines in which a prefix that several
guards read is read once. What the text needs beyond literals is held weakly where it belongs to the user.
"""

from __future__ import annotations

import math
import re
import sys
import types
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dynamo.instruction import VERSION, argument_count
from dynamo.source import (
    AttributeSource,
    ChildSource,
    GlobalSource,
    GlobalsSource,
    KeyedSource,
    Source,
    literal,
)

if TYPE_CHECKING:
    from dynamo.guard import Guard, TensorSpec

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


def define(text: str, objects: dict[str, Any]) -> Any:
    scope = dict(objects)
    exec(compile(text, "<guards>", "exec"), scope)
    return scope["guard"]


class Writer:
    """Turns guards into text; `objects` are the names that the text needs."""

    def __init__(
        self,
        guards: list[Guard],
        code: types.CodeType,
        matcher: Callable[..., Any] | None = None,
        root: Source | None = None,
        sources: Sequence[Source] = (),
    ) -> None:
        self.matcher = matcher
        self.readable: list[str] | None = None  # what a check means, where its text does not say
        self.guards = guards
        self.code = code
        self.root = root  # the one argument, if the text is not that of a whole guard function
        self.objects: dict[str, Any] = {"__name__": "<guards>"}
        self._names: dict[int, str] = {}
        self.variables: dict[Source, str] = {}
        self._kept: dict[str, Source] = {}  # the same, the other way round
        self.kinds = {g.source: g.payload for g in self.guards if g.kind == "TYPE" and g.source}
        self._uses = self._count_uses(sources)
        self.lines: list[tuple[int, str]] = []  # (index of the guard or -1, text)
        self.reads_globals = False
        self.conditions: list[str] = []
        for index, guard in enumerate(self.guards):
            start = len(self.lines)
            for condition in CHECKS[guard.kind](self, guard):
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
        return getattr(value, "__qualname__", None) or short(value)

    def _count_uses(self, sources: Sequence[Source]) -> dict[Source, int]:
        uses: dict[Source, int] = {}
        reads: list[tuple[int, Source | None]] = [(1, source) for source in sources]
        for guard in self.guards:
            twice = guard.kind in _READS_TWICE
            reads += [(2 if twice else 1, source) for source in sources_of(guard)]
        for weight, source in reads:
            while source is not None:
                uses[source] = uses.get(source, 0) + weight
                if uses[source] > weight:
                    break
                if isinstance(source, KeyedSource):
                    reads.append((1, source.key))
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
        if is_permanent(value):
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
        if source == self.root:
            return "R"
        if source.base is None:
            text = self._root(source)
            if text.isidentifier():
                return text
        else:
            text = self.shortcut(source) or self._step(source, self.read(source.base))
        if self._uses.get(source, 0) < 2:
            return text
        return self.keep(source, text)

    def _step(self, source: Source, base: str) -> str:
        if isinstance(source, KeyedSource):
            return source.read(base, self.read(source.key))
        return source.step(base, self.bind)

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
        out = [f"def guard({self._parameters()}):"]
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


    def _parameters(self) -> str:
        if self.root is not None:
            return "R"
        names = self.code.co_varnames[: argument_count(self.code)]
        return ", ".join(["F", *(f"L_{name.lstrip('.')}" for name in names)])

    def require(self, condition: str) -> None:
        """One more condition, about no guard in particular."""
        self.lines.append((0, condition))


def reader(
    sources: Sequence[Source], root: Source, code: types.CodeType, kinds: dict[Source, Any]
) -> Callable[[Any], tuple]:
    """A function that reads sources from their common root."""
    writer = Writer([], code, None, root, sources)
    writer.kinds = kinds
    texts = [writer.read(source) for source in sources]
    lines = [f"    {line}" for _, line in writer.lines]
    text = "\n".join(["def guard(R):", *lines, f"    return ({', '.join(texts)},)", ""])
    return define(text, writer.objects)


def is_permanent(value: Any) -> bool:
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


def _type(w: Writer, guard: Guard) -> list[str]:
    """payload: the class"""
    return [f"type({w.read(_source(guard))}) is {w.hold(guard.payload)}"]


def _identity(w: Writer, guard: Guard) -> list[str]:
    """payload: the object"""
    return [f"{w.read(_source(guard))} is {w.hold(guard.payload)}"]


def _constant(w: Writer, guard: Guard) -> list[str]:
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


def _tensor(w: Writer, guard: Guard) -> list[str]:
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


def _length(w: Writer, guard: Guard) -> list[str]:
    """payload: the length"""
    return [f"len({w.read(_source(guard))}) == {guard.payload}"]


def _dict_keys(w: Writer, guard: Guard) -> list[str]:
    """payload: a tuple of the keys, in order"""
    keys = tuple(guard.payload)
    return [f"tuple({w.read(_source(guard))}) == {literal(keys) or w.bind(keys)}"]


def _dict_contains(w: Writer, guard: Guard) -> list[str]:
    """payload: (key, whether it is there)"""
    key, present = guard.payload
    word = "in" if present else "not in"
    return [f"{literal(key) or w.bind(key)} {word} {w.read(_source(guard))}"]


def _tensor_key(w: Writer, guard: Guard) -> list[str]:
    """payload: (source of the key, whether it is there)"""
    key, present = guard.payload
    word = "in" if present else "not in"
    return [f"{w.read(key)} {word} {w.read(_source(guard))}"]


def _has_attribute(w: Writer, guard: Guard) -> list[str]:
    """payload: (attribute, whether it is there)"""
    attribute, present = guard.payload
    check = f"hasattr({w.read(_source(guard))}, {attribute!r})"
    return [check if present else f"not {check}"]


def _none(w: Writer, guard: Guard) -> list[str]:
    """payload: False if the value must not be None"""
    word = "is not" if guard.payload is False else "is"
    return [f"{w.read(_source(guard))} {word} None"]


def _function(w: Writer, guard: Guard) -> list[str]:
    """payload: a function; another one over the same code object will do"""
    function, text = guard.payload, w.read(_source(guard))
    keep = w.bind if is_permanent(function) else w.hold
    return [f"type({text}) is {w.bind(type(function))}",
            f"{text}.__code__ is {keep(function.__code__)}"]  # fmt: skip


def _grad_mode(w: Writer, guard: Guard) -> list[str]:
    """payload: whether gradients are being recorded"""
    from eager import autograd

    mode = w.bind(autograd._MODE)
    return [f"{mode}.grad" if guard.payload else f"not {mode}.grad"]


def _dispatch_empty(w: Writer, guard: Guard) -> list[str]:
    """no interpreter is pushed, so that operators compute"""
    from eager import dispatch

    return [f"not {w.bind(dispatch.active)}[0] or not {w.bind(dispatch.stack)}()"]


def _duplicate(w: Writer, guard: Guard) -> list[str]:
    """payload: the source of the same object"""
    return [f"{w.read(_source(guard))} is {w.read(guard.payload)}"]


def _no_aliasing(w: Writer, guard: Guard) -> list[str]:
    """payload: sources of objects which are all different"""
    texts = [w.read(source) for source in guard.payload]
    if len(texts) == 2:
        return [f"{texts[0]} is not {texts[1]}"]
    ids = ", ".join(f"id({text})" for text in texts)
    return [f"len({{{ids}}}) == {len(texts)}"]


def _empty(w: Writer, guard: Guard) -> list[str]:
    """payload: names of attributes that hold nothing"""
    text = w.read(_source(guard))
    return [f"not ({' or '.join(f'{text}.{name}' for name in guard.payload)})"]


def _expression(w: Writer, guard: Guard) -> list[str]:
    """payload: (text with {0}, {1} …, a tuple of their sources)"""
    text, sources = guard.payload
    return [text.format(*(w.read(source) for source in sources))]


CHECKS: dict[str, Callable[[Writer, Guard], list[str]]] = {
    "TYPE": _type,
    "ID": _identity,
    "CONSTANT": _constant,
    "TENSOR": _tensor,
    "LENGTH": _length,
    "DICT_KEYS": _dict_keys,
    "DICT_CONTAINS": _dict_contains,
    "TENSOR_KEY": _tensor_key,
    "HASATTR": _has_attribute,
    "NONE": _none,
    "FUNCTION": _function,
    "GRAD_MODE": _grad_mode,
    "TRAINING": _constant,
    "DISPATCH_EMPTY": _dispatch_empty,
    "DUPLICATE_INPUT": _duplicate,
    "NO_TENSOR_ALIASING": _no_aliasing,
    "EMPTY": _empty,
    "EXPRESSION": _expression,
}
_READS_TWICE = ("CONSTANT", "TRAINING", "TENSOR", "FUNCTION", "EMPTY")


def _source(guard: Guard) -> Source:
    if guard.source is None:
        raise ValueError(f"a guard of kind {guard.kind} needs a source")
    return guard.source


def sources_of(guard: Guard) -> list[Source | None]:
    out = [guard.source]
    if guard.kind == "DUPLICATE_INPUT":
        out.append(guard.payload)
    elif guard.kind == "NO_TENSOR_ALIASING":
        out += guard.payload
    elif guard.kind == "TENSOR_KEY":
        out.append(guard.payload[0])
    elif guard.kind == "EXPRESSION":
        out += guard.payload[1]
    return out


def short(value: Any) -> str:
    text = repr(value) if not isinstance(value, float) or math.isfinite(value) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
