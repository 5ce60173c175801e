"""Guards: the conditions under which a compiled frame may run again, as one Python function.

Each guard has a kind, the source of the value it looks at, a payload, the reason why it is there
and the user's line that caused it. `GuardSet.compile` writes straight-line text, one guard per
line; a prefix that several guards read is read once. Promise: the function returns exactly True
when every guard holds, and False otherwise; an exception while reading counts as a failed guard.

A cache entry is invisible to the cyclic garbage collector, so guards hold user objects weakly.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dynamo.conditions import CHECKS, Writer, define, is_permanent, reader, short, sources_of
from dynamo.source import ConstantSource, Source
from dynamo.structure import Structure

_FEW = 5  # so many guards are quicker evaluated than watched


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
    """One condition. `payload` depends on the kind; see `CHECKS`."""

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
        self._writer: Writer | None = None
        self.structures: dict[Source, Structure] = {}

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
        if kind not in CHECKS:
            raise ValueError(f"unknown guard kind {kind!r}; the kinds are {', '.join(CHECKS)}")
        key = (kind, source, _payload_key(payload))
        if key in self._seen:
            return
        self._seen.add(key)
        self.guards.append(Guard(kind, source, payload, reason, str(user_line or "")))

    def structure(self, root: Source) -> Structure:
        """What is known about the object that a root reads; made when it is first asked for."""
        return self.structures.setdefault(root, Structure(root))

    def compile(
        self,
        matcher: Callable[..., Any] | None = None,
        watch: Callable[[bytes], Any] | None = None,
        function: Any = None,
        slots: Sequence[Any] = (),
    ) -> types.FunctionType:
        """The function `guard(function, *argument slots) -> bool`.

        `matcher(type number, shape, strides)` makes a fast check of an array, if there is one. `watch(table)` makes what watches
        memory; then the guards of the function and arguments given that memory can vouch for are evaluated only after it changed.
        """
        if self.function is not None:
            return self.function
        writer = self._writer = Writer(self.guards, self.code, matcher)
        self.source_text = writer.text("return False", "True")
        kinds = writer.kinds
        for structure in self.structures.values():
            structure.read = reader(structure.inputs, structure.root, self.code, kinds)
        quick = None
        if watch is not None and function is not None and len(self.guards) > _FEW:
            split = _Split(self, matcher, self._scope(function, slots))
            quick = split.writer(watch, kinds)
        if quick is None:
            self.function = define(self.source_text, writer.objects)
        else:
            self.function = define(quick.text("return False", "True"), quick.objects)
        self.guards = [_loosened(guard) for guard in self.guards]
        self._seen.clear()
        writer.guards, writer.kinds = self.guards, {}
        return self.function

    def _scope(self, function: Any, slots: Sequence[Any]) -> dict[str, Any]:
        """What the names of a guard function stand for in a call."""
        names = [f"L_{name.lstrip('.')}" for name in self.code.co_varnames[: len(slots)]]
        scope = dict(zip(names, slots, strict=True))
        return scope | {"F": function, "G": function.__globals__}

    def failing(self, function: Any, slots: Sequence[Any]) -> Guard | None:
        """The first guard that does not hold for these arguments."""
        if self._locate is None:
            if self._writer is None:
                self.compile()
            assert self._writer is not None
            writer = self._writer
            text = writer.text("return {index}", "-1", trace=True)
            self._locate = define(text, writer.objects)
        index = self._locate(function, *slots)
        return None if index < 0 else self.guards[index]

    def explain_failure(self, function: Any, slots: Sequence[Any]) -> str:
        """Which guard fails, what it wanted, and why it is there; "" if all hold."""
        guard = self.failing(function, slots)
        if guard is None:
            return ""
        assert self._writer is not None
        condition = self._writer.expand(self._writer.conditions[self.guards.index(guard)])
        found = _describe_found(guard, self._scope(function, slots))
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


class _Split:
    """Guards told apart: those that a `Structure` vouches for, and those that are evaluated at every call."""

    def __init__(self, owner: GuardSet, matcher: Any, scope: dict[str, Any]) -> None:
        self.owner, self.matcher, self.scope = owner, matcher, scope
        self.always: list[Guard] = []
        self.groups: dict[Source, list[Guard]] = {}
        self.apart: tuple[Source, list[Source]] | None = None
        for guard in owner.guards:
            if guard.kind == "NO_TENSOR_ALIASING":
                self._divide(guard)
            else:
                self._place(guard)

    def _place(self, guard: Guard) -> None:
        roots = {source.root for source in sources_of(guard) if source is not None}
        root = roots.pop() if len(roots) == 1 else None
        if root is None or isinstance(root, ConstantSource):
            self.always.append(guard)
        else:
            self.groups.setdefault(root, []).append(guard)

    def _divide(self, guard: Guard) -> None:
        """Inputs of one object differ from each other as long as it does not change; the others must differ from them."""
        sources = [source for source in guard.payload if source.base is not None]
        roots = {source.root for source in sources}
        if len(roots) != 1 or len(sources) < _FEW:
            self.always.append(guard)
            return
        others = [source for source in guard.payload if source.base is None]
        self.groups.setdefault(sources[0].root, []).append(replace(guard, payload=tuple(sources)))
        if others:
            self.apart = sources[0].root, others
        if len(others) > 1:
            self.always.append(replace(guard, payload=tuple(others)))

    def writer(self, watch: Any, kinds: dict[Source, Any]) -> Writer | None:
        """The text with a question to each structure in place of its guards; None if there are none."""
        calls = []
        for root, guards in self.groups.items():
            structure = self._structure(root, guards) if len(guards) > _FEW else None
            if structure is None:
                self.always += guards
                continue
            proven = {id(guard) for guard in structure.guards}
            self.always += [guard for guard in guards if id(guard) not in proven]
            covered = Writer(structure.guards, self.owner.code, self.matcher, root)
            structure.holds = define(covered.text("return False", "True"), covered.objects)
            structure.watch(watch)
            calls.append(structure)
            if self.apart is not None and self.apart[0] == root:
                self._keep_apart(structure, kinds)
        if not calls:
            return None
        out = Writer(self.always, self.owner.code, self.matcher)
        for structure in calls:
            text = out.read(structure.root)
            out.require(f"{out.bind(structure.cell)}[0]({text}) or {out.bind(structure.refresh)}({text})")
        if self.apart is not None:
            ids = "".join(f"id({out.read(source)}), " for source in self.apart[1])
            known = out.bind(self.owner.structures[self.apart[0]].cell)
            out.require(f"{known}[2].isdisjoint(({ids}))")
        return out

    def _structure(self, root: Source, guards: list[Guard]) -> Structure | None:
        real = read_in(root, self.scope)
        structure = self.owner.structures.get(root) or Structure(root)
        structure.guards = structure.prove(real, guards)
        divided = self.apart is not None and self.apart[0] == root
        aliasing = any(guard.kind == "NO_TENSOR_ALIASING" for guard in structure.guards)
        if len(structure.guards) <= _FEW or (divided and not aliasing):
            return None
        self.owner.structures[root] = structure
        return structure

    def _keep_apart(self, structure: Structure, kinds: dict[Source, Any]) -> None:
        sources = next(g.payload for g in structure.guards if g.kind == "NO_TENSOR_ALIASING")
        structure.apart = reader(sources, structure.root, self.owner.code, kinds)


def read_in(source: Source, scope: dict[str, Any]) -> Any:
    """What a source reads where the names of a guard function stand for these objects."""
    scope = dict(scope)

    def bind(value: Any) -> str:
        scope[f"c{len(scope)}"] = value
        return f"c{len(scope) - 1}"

    return eval(source.expression(bind), scope)


def _loosened(guard: Guard) -> Guard:
    """A written guard no longer needs its object; what describes it must not keep it alive."""
    if guard.kind not in ("TYPE", "ID", "FUNCTION") or is_permanent(guard.payload):
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
    return short(payload)


def _tensor_text(spec: TensorSpec) -> str:
    grad = ", requires_grad" if spec.requires_grad else ""
    return f"{spec.kind.__name__} {spec.dtype} {list(spec.shape)} strides {spec.strides}{grad}"


def _describe_found(guard: Guard, scope: dict[str, Any]) -> str:
    """What the value is now; reading it may fail, which is then the finding."""
    if guard.source is None:
        return ""
    try:
        value = read_in(guard.source, scope)
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
    return short(value)
