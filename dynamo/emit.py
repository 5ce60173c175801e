"""Code generation: the bytecode that calls the compiled graph and rebuilds what the program needs of the captured part. Values are loaded from
their sources, from the graph's outputs, or built anew; each is built once, however often it is referred to.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dynamo import builder
from dynamo.bytecode import Instruction, make
from dynamo.source import ConstantSource, LocalSource
from dynamo.unsupported import unsupported
from dynamo.values.base import NULL, Value
from dynamo.values.constant import Constant
from dynamo.values.container import TupleValue
from dynamo.values.function import CellValue, NestedFunction
from dynamo.values.object import DELETED, ObjectValue, lookup
from dynamo.values.tensor import TensorValue

if TYPE_CHECKING:
    from dynamo.translate import RootFrame

_PREFIX = "___"
_FEW = 4  # so many inputs are quicker read one by one


class Emitter:
    """Writes instructions; `values` are those that the code will load, so that uses can be counted."""

    def __init__(self, root: RootFrame, values: Sequence[Value]) -> None:
        self.root = root
        self.capture = root.capture
        self.code: list[Instruction] = []
        self.tail: list[Instruction] = []  # handlers, behind everything
        self.uses: dict[int, int] = {}
        self.outputs: list[TensorValue] = []
        self.sourced: list[Value] = []
        self._places: dict[int, str] = {}
        self._open: set[int] = set()
        self._kept: list[Value] = []
        self._count = 0
        pending = list(values)[::-1]
        while pending:
            self._visit(pending.pop(), pending)

    def _visit(self, value: Value, pending: list[Value]) -> None:
        self.uses[id(value)] = self.uses.get(id(value), 0) + 1
        if self.uses[id(value)] > 1:
            return
        self._kept.append(value)
        if isinstance(value, Constant) or value is NULL:
            return
        if value.source is not None:
            self.sourced.append(value)
        elif isinstance(value, TensorValue):
            self.outputs.append(value)
        else:
            pending.extend(list(value.children())[::-1])

    # -- the graph -----------------------------------------------------------------------------------

    def call_graph(self, compiled: Callable, inputs: Sequence[TensorValue]) -> None:
        """Call the compiled graph and keep its outputs in variables."""
        self.load_const(compiled)
        self.prepare_call()
        self._load_inputs([value.source for value in inputs])
        self.call(len(inputs))
        if not self.outputs:
            self.code += builder.pop_top()
            return
        self.code += builder.unpack_sequence(len(self.outputs))
        for value in self.outputs:
            self.code += builder.store_fast(self._keep(value))

    def _load_inputs(self, sources: Sequence[Any]) -> None:
        """Push the inputs; what several of them are read from is read once."""
        uses: dict[Any, int] = {}
        for source in sources:
            while source.base is not None:
                source = source.base
                uses[source] = uses.get(source, 0) + 1
                if uses[source] > 1:
                    break
        places: dict[Any, str] = {}

        def load(source: Any) -> list[Instruction]:
            if source in places:
                return builder.load_fast(places[source])
            if source.base is None:
                return self._root(source)
            code = source.emit(load)
            if uses.get(source, 0) < 2:
                return code
            place = places[source] = self.temporary()
            return [*code, *builder.copy(), *builder.store_fast(place)]

        for source, gathered in self._runs(sources):
            if gathered:
                self._gather(source, gathered, load)
            else:
                self.code += load(source)

    def _runs(self, sources: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
        """The inputs one by one, but the longest row of those that are read from one object as its root and all of them."""
        best: list[Any] = []
        for _, group in itertools.groupby(sources, key=lambda source: source.root):
            row = list(group)
            constant = isinstance(row[0].root, ConstantSource) or row[0].base is None
            if not constant and len(row) > max(len(best), _FEW):
                best = row
        if not best:
            return [(source, []) for source in sources]
        start = sources.index(best[0])
        runs: list[tuple[Any, list[Any]]] = [(source, []) for source in sources[:start]]
        runs.append((best[0].root, best))
        return runs + [(source, []) for source in sources[start + len(best) :]]

    def _gather(self, root: Any, sources: list[Any], load: Callable) -> None:
        """Push many inputs at once, the last one on top."""
        structure = self.capture.guards.structure(root)
        structure.inputs = sources[::-1]
        self.load_const(structure.gather)
        self.prepare_call()
        self.code += load(root)
        self.call(1)
        self.code += builder.unpack_sequence(len(sources))

    def preload(self) -> None:
        """Read all sources now, because effects are about to change what they lead to."""
        for value in self.sourced:
            if not isinstance(value.source, ConstantSource) and id(value) not in self._places:
                self._load_source(value.source)
                self.code += builder.store_fast(self._keep(value))

    def _keep(self, value: Value) -> str:
        name = self._places[id(value)] = self.temporary()
        return name

    def temporary(self) -> str:
        self._count += 1
        return f"{_PREFIX}{self._count - 1}"

    # -- loading values ------------------------------------------------------------------------------

    def load(self, value: Value) -> None:
        """Push a value."""
        place = self._places.get(id(value))
        if place is not None:
            self.code += builder.load_fast(place)
        elif value is NULL or isinstance(value, Constant):
            value.rebuild(self)
        elif value.source is not None and not (isinstance(value, CellValue) and value.name):
            self._load_source(value.source)
        else:
            self._build(value)

    def _build(self, value: Value) -> None:
        if id(value) in self._open:
            unsupported(
                "Value that contains itself", f"{value!r} is part of itself", "break the cycle"
            )
        self._open.add(id(value))
        value.rebuild(self)
        self._open.discard(id(value))
        if self.uses.get(id(value), 0) > 1 and id(value) not in self._places:
            self.code += builder.copy()
            self.code += builder.store_fast(self._keep(value))

    def _load_source(self, source: Any) -> None:
        self.code += self._root(source) if source.base is None else source.emit()

    def _root(self, source: Any) -> list[Instruction]:
        if isinstance(source, LocalSource) and source.local in self.root.code.co_cellvars:
            return builder.load_deref(source.local)
        return source.emit()

    def load_output(self, value: TensorValue) -> None:
        unsupported("Tensor is not an output of the graph", f"{value!r}")

    def building(self, value: Value) -> Callable[[], None]:
        """How to push a fresh container with the items that `value` has now."""

        def push() -> None:
            saved, value.source = value.source, None
            try:
                value.rebuild(self)
            finally:
                value.source = saved

        return push

    def load_item(self, value: Any, index: int) -> None:
        """An item of a container from outside that nobody has looked at."""
        self._load_source(value.source)
        self.load_const(index)
        self.code += builder.binary_subscr()

    def call_helper(self, function: Callable, *args: Any) -> None:
        """Call a function for its effect on values, on functions that push, or on constants."""
        self.load_const(function)
        self.prepare_call()
        for arg in args:
            if isinstance(arg, Value):
                self.load(arg)
            elif isinstance(arg, types.FunctionType):
                arg()
            else:
                self.load_const(arg)
        self.call(len(args))
        self.code += builder.pop_top()

    # -- objects -------------------------------------------------------------------------------------

    def make_object(self, value: ObjectValue) -> None:
        """A new instance: allocated first, so that its attributes may refer to it."""
        self.load_const(allocate)
        self.prepare_call()
        self.load_const(value.kind)
        if value.storage is not None:
            self.load(value.storage)
        self.call(1 if value.storage is None else 2)
        if not value.attributes:
            return
        place = self._keep(value)
        self.code += builder.store_fast(place)
        plain = not isinstance(lookup(value.kind, "__setattr__"), types.FunctionType)
        for name, part in value.attributes.items():
            if part is not DELETED:
                self.call_helper(setattr if plain else object.__setattr__, value, name, part)
        self.code += builder.load_fast(place)

    def make_function(self, function: NestedFunction) -> None:
        """A nested function, over the cells of the new frame."""
        parts = (function._defaults, function._keyword_defaults, function._closure)
        if function._globals is not self.capture.root_globals:
            self._make_foreign_function(function)
            return
        for part in parts:
            if part is not None:
                self.load(part)
        defaults, keyword_defaults, closure = (part is not None for part in parts)
        self.code += builder.make_function(
            function.code, closure=closure, defaults=defaults, kwdefaults=keyword_defaults
        )

    def _make_foreign_function(self, function: NestedFunction) -> None:
        self.load_const(make_function)
        self.prepare_call()
        self.load_const(function.code)
        self.load_const(function._globals)
        for part in (function._defaults, function._keyword_defaults, function._closure):
            self.load(part) if part is not None else self.load_const(None)
        self.call(5)

    def owns_cell(self, cell: CellValue) -> bool:
        return cell.name is not None and self.root.cells.get(cell.name) is cell

    # -- instructions --------------------------------------------------------------------------------

    def load_const(self, value: Any) -> None:
        self.code += builder.load_const(value)

    def load_attr(self, name: str) -> None:
        self.code += builder.load_attr(name)

    def store_attr(self, name: str) -> None:
        self.code += builder.store_attr(name)

    def load_closure(self, name: str) -> None:
        self.code += builder.load_closure(name)

    def store_global(self, name: str) -> None:
        self.code += builder.store_global(name)

    def push_null(self) -> None:
        self.code.append(make("PUSH_NULL"))

    def prepare_call(self) -> None:
        self.code += builder.push_null()

    def call(self, count: int, keywords: Sequence[str] = ()) -> None:
        self.code += builder.call(count, keywords)

    def copy(self) -> None:
        self.code += builder.copy()

    def swap(self) -> None:
        self.code += builder.swap()

    def build_tuple(self, count: int) -> None:
        self.code += builder.build_tuple(count)

    def build_list(self, count: int) -> None:
        self.code += builder.build_list(count)

    def build_set(self, count: int) -> None:
        self.code += builder.build_set(count)

    def build_map(self, count: int) -> None:
        self.code += builder.build_map(count)

    def build_slice(self, count: int) -> None:
        self.code += builder.build_slice(count)


# -- called by generated code ----------------------------------------------------------------------


def allocate(kind: Any, storage: Any = None) -> Any:
    """An instance without `__init__`, around the list, dict or tuple that it is."""
    if storage is None:
        return object.__new__(kind)
    if isinstance(storage, tuple):
        return tuple.__new__(kind, storage)
    made = kind.__new__(kind)
    if isinstance(storage, list):
        list.extend(made, storage)
        return made
    from dynamo.effects import store_item

    for key, value in storage.items():
        store_item(made, key, value)
    return made


def make_function(
    code: types.CodeType, globals_: dict, defaults: Any, keyword_defaults: Any, closure: Any
) -> types.FunctionType:
    """A function over the globals of another file."""
    function = types.FunctionType(code, globals_, None, defaults, closure)
    function.__kwdefaults__ = keyword_defaults
    return function


def tuple_of(values: Sequence[Value]) -> TupleValue:
    return TupleValue(list(values))
