"""The graph that is being captured, shared by all frames of one translation: the recorder that turns operator calls into nodes, the graph's
inputs, the guards, and what is known about objects that were met. Interpretation runs library code for real under the recorder,
on fake tensors; nothing of it computes, draws random numbers or changes the user's tensors.
"""

from __future__ import annotations

import functools
import operator
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import eager
from dynamo.effects import Effects
from dynamo.guard import GuardSet, TensorSpec
from dynamo.inner import InnerGraph, fold, is_effect
from dynamo.source import AttributeSource, ChildSource, ConstantSource, ItemSource, NumberSource
from dynamo.unsupported import Position, Raised, Unsupported, WantedHistory, unsupported
from dynamo.values.base import Value
from dynamo.values.constant import Constant
from dynamo.values.tensor import TensorValue
from eager import autograd, dispatch
from eager import dtype as dtypes
from eager.fake import DataDependent, FakeTensor
from eager.nn.hooks import RemovableHandle, everywhere
from eager.nn.module import Module
from eager.nn.parameter import Buffer, Parameter
from eager.op import Op
from eager.tensor import Tensor
from fx.graph import Graph
from fx.node import Node, map_aggregate

if TYPE_CHECKING:
    from dynamo.machine import Frame

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(eager.__file__)))
_LIBRARY = tuple(
    os.path.join(_ROOT, package) + os.sep
    for package in ("eager", "fx", "aot", "inductor", "dynamo", "flambeau")
)
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
# Files of the library whose functions compute on tensors and touch nothing else: they run for real.
_TOOLS = ("eager.ops.", "eager.op.", "eager.tensor.", "eager.construct.", "eager.nn.functional.")
# Methods that change a tensor object instead of computing with it.
_METHODS_WITH_EFFECTS = frozenset(
    ("register_hook", "register_post_accumulate_grad_hook", "retain_grad",
     "requires_grad_", "share_memory_", "set_", "resize_", "pin_memory")
)  # fmt: skip


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class FakeMode(dispatch.Interpreter):
    """Gives every operator its fake result, whatever its arguments; composites are looked into."""

    def interpret(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> Any:
        return autograd.apply(op, op.bind(args, kwargs), self.below)

    def below(self, op: Op, bound: tuple) -> Any:
        if op.kind != "composite":
            return op.fake(bound)
        with dispatch.push(self):
            return op.fake(bound)


class Recorder(dispatch.Interpreter):
    """Adds a node for every operator that library or user code calls, whole."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.fake = FakeMode()

    def interpret(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> Any:
        return self.capture.record(op, args, kwargs, self.fake)


class Capture:
    """The state of one attempt at translating a frame."""

    def __init__(
        self,
        code: types.CodeType,
        root_globals: dict[str, Any],
        varying: Callable[[Any], bool] | None = None,
    ) -> None:
        self.varying = varying or _never  # of a number's source: whether it changes between calls
        self._scalars: dict[Any, TensorValue] = {}
        self.graph = Graph()
        self.guards = GuardSet(code)
        self.effects = Effects()
        self.root_globals = root_globals
        self.recorder = Recorder(self)
        self.frame: Frame | None = None
        self.steps = 0
        self.inputs: list[TensorValue] = []
        self.generators: list[Any] = []
        self.inner: InnerGraph | None = None
        self.entry_mode = autograd.is_grad_enabled()
        self.tensor_slots = frozenset(vars(FakeTensor)) | frozenset(Tensor.__annotations__)
        self.differentiated_at = 0  # the step of the root frame that ran a backward pass first
        self.spent: set[Any] = set()  # nodes of autograd that a captured backward pass has freed
        self._last_placeholder: Node | None = None
        self._nodes: dict[int, Node] = {}
        self._memo: dict[int, tuple[Any, Value]] = {}
        self._held: list[Any] = []
        self._cells: dict[int, Any] = {}
        self._storages: dict[int, Any] = {}
        self._stack_key: Any = None
        self._stack: tuple = ()
        self.guards.add("GRAD_MODE", None, self.entry_mode, "grad mode at entry")
        default = ItemSource(ConstantSource(dtypes._DEFAULT), 0)
        self.guards.add("ID", default, dtypes.get_default_dtype(), "default dtype at entry")

    # -- what is known about objects -----------------------------------------------------------------

    def known(self, real: Any) -> Any:
        """The value that already stands for an object."""
        found = self._memo.get(id(real))
        return None if found is None else found[1]

    def remember(self, real: Any, value: Value) -> None:
        """Keep the object alive, so that its id stays its own, and its value."""
        self._memo[id(real)] = (real, value)

    def hold(self, real: Any) -> None:
        self._held.append(real)

    def guard(self, kind: str, source: Any, payload: Any, position: Position) -> None:
        where = f"{position.file}:{position.line}"
        self.guards.add(kind, source, payload, position.text, where)

    def cell(self, real: Any, function_source: Any, index: int) -> Any:
        """The value of an existing closure cell."""
        from dynamo.source import CellContentsSource
        from dynamo.values.function import CellValue

        found = self._cells.get(id(real))
        if found is None:
            constant = function_source is None or isinstance(function_source, ConstantSource)
            found = CellValue(None, None, real)
            if constant:
                found.contents_source = None
                found.source = ConstantSource(real)
            else:
                found.contents_source = CellContentsSource(function_source, index)
                found.source = ItemSource(AttributeSource(function_source, "__closure__"), index)
            self._cells[id(real)] = found
            self.hold(real)
        return found

    def remember_cell(self, real: Any, value: Any) -> None:
        self._cells[id(real)] = value

    # -- kinds of objects ----------------------------------------------------------------------------

    def is_tensor(self, real: Any) -> bool:
        return isinstance(real, Tensor)

    def is_tensor_type(self, kind: type) -> bool:
        return issubclass(kind, Tensor)

    def is_plain_tensor_type(self, kind: type) -> bool:
        return issubclass(kind, Tensor) and not issubclass(kind, (Parameter, Buffer))

    def is_module_type(self, kind: type) -> bool:
        return issubclass(kind, Module)

    def is_tool(self, real: Any) -> bool:
        """Whether this is an operator, or a function of the library that only computes."""
        if isinstance(real, Op):
            return True
        if not isinstance(real, types.FunctionType):
            return False
        if real is autograd.set_grad_enabled_ or real is autograd.is_grad_enabled:
            return True
        module = real.__module__ or ""
        return f"{module}.".startswith(_TOOLS) and is_library_file(real.__code__.co_filename)

    def special_tool(self, real: Any) -> Callable | None:
        return _set_grad_enabled if real is autograd.set_grad_enabled_ else None

    def asks_for_capture(self, function: types.FunctionType) -> bool:
        """Whether this is `is_compiling`, which is true for code that is being captured."""
        return function is dispatch.is_compiling

    def is_library_file(self, filename: str) -> bool:
        return is_library_file(filename)

    def is_standard(self, module: types.ModuleType) -> bool:
        """Whether a module belongs to Python's own library."""
        return module.__name__.partition(".")[0] in sys.stdlib_module_names

    def is_installed(self, module: types.ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return file is None or file.startswith(_INSTALLED)

    def check_call(self, function: types.FunctionType) -> None:
        """End the graph before calls that must not be looked into."""
        module = function.__module__ or ""
        name = function.__qualname__
        if getattr(function, "_flambeau_disabled", False):
            unsupported(
                "Call of a disabled function",
                f"{name} is marked with disable",
                "it runs as it is, between two graphs",
            )
        if module in ("warnings", "logging"):
            unsupported(
                "Call that warns or logs",
                f"{module}.{name} is an effect outside the graph",
                "the effect is kept: the graph ends before the call and the next begins after it",
            )
        if module == "eager.rng":
            unsupported(
                "Use of the random generator's state",
                f"{name} reads or sets the seed or the offset",
                "random operators are captured; set the seed outside the compiled region",
            )
        if module == "eager.autograd" and name in ("backward", "grad"):
            unsupported(
                "Backward pass in the compiled region",
                f"autograd.{name} is called",
                "compile the forward pass; its backward is compiled with it",
            )

    def check_tensor_method(self, owner: TensorValue, name: str) -> None:
        if name in _METHODS_WITH_EFFECTS:
            unsupported(
                "Tensor method that is not an operator",
                f"Tensor.{name} changes the tensor object",
                "call it outside the compiled region",
            )

    def calls_forward(self, module: Any, source: Any) -> bool:
        """Whether calling a module is calling its `forward` and nothing else; it must stay so."""
        kind = type(module)
        if kind.__call__ is not Module.__call__ or kind._call_impl is not Module._call_impl:
            return False
        if any(getattr(module, name) for name in _HOOKS) or everywhere.around_call():
            return False
        if RemovableHandle.next_id == 0:
            # No hook has ever been registered in this process: one condition for all modules.
            handles = AttributeSource(ConstantSource(RemovableHandle), "next_id")
            self.guards.add("EXPRESSION", None, ("{0} == 0", (handles,)), "no module has hooks")
        elif not isinstance(source, ConstantSource):
            around = (ConstantSource(everywhere),)
            self.guards.add("EXPRESSION", None, ("not {0}.around_call()", around), "no hooks")
            self.guards.add("EMPTY", source, _HOOKS, "the module has no hooks")
        return True

    # -- inputs --------------------------------------------------------------------------------------

    def input(self, m: Any, real: Any, source: Any) -> TensorValue:
        """A tensor met for the first time: a result of the recorder, or one from outside."""
        if isinstance(real, FakeTensor):
            return TensorValue(real, Tensor)
        if not isinstance(source, ConstantSource):
            m.guard("TENSOR", source, TensorSpec.of(real))
        fake = FakeTensor.of(real, self._storages)
        if real.requires_grad and real._node is not None:
            fake._node = _foreign_history()
        value = TensorValue(fake, type(real), real, source)
        self.hold(real.untyped_storage())
        self.remember(fake, value)
        return value

    def number(self, m: Any, real: Any, source: Any) -> Value | None:
        """A number that is read at every call; None for one that is taken as a constant."""
        from dynamo.values.number import NumberValue

        if type(real) not in (int, float) or not self.varying(source):
            return None
        m.guard("TYPE", source, type(real))
        return NumberValue(self, real, source, ((source, real),))

    def specialize(self, source: Any, value: Any) -> None:
        """The value of a number is needed."""
        assert self.frame is not None
        self.frame.guard("CONSTANT", source, value)

    def scalar(self, number: Any) -> TensorValue:
        """A number as an input of the graph."""
        from dynamo.values.number import as_tensor

        source = NumberSource(number.source, as_tensor)
        if source not in self._scalars:
            real = as_tensor(number.example)
            fake = FakeTensor.of(real)
            value = self._scalars[source] = TensorValue(fake, Tensor, real, source)
            self.remember(fake, value)
        return self._scalars[source]

    def fresh(self, m: Any, real: Tensor) -> Value:
        """A tensor that library code has just made from constants: a new one at every call."""
        from eager.registry import ops

        value = self.input(m, real, ConstantSource(real))
        self.remember(real, value)
        if not real.ndim:
            value.fake._known = real._array.copy()
        return self.execute(m, ops.clone, [value.fake], {}, "clone")

    @contextmanager
    def inner_graph(self) -> Iterator[InnerGraph]:
        """Record into a graph of its own; tensors of the outer one become inputs of it."""
        outer = self.graph, self._nodes, self.inner
        inner = self.inner = InnerGraph(self)
        self.graph, self._nodes = inner.graph, inner.nodes
        try:
            yield inner
        finally:
            self.graph, self._nodes, self.inner = outer

    def node_of(self, tensor: Any) -> Node:
        """The node of a tensor; an input becomes a placeholder when it is first used."""
        node = self._nodes.get(id(tensor))
        if node is not None:
            return node
        if self.inner is not None:
            return self.inner.lift(tensor)
        value = self.known(tensor)
        if value is None and not isinstance(tensor, FakeTensor):
            value = self.input(self.frame, tensor, ConstantSource(tensor))
            self.remember(tensor, value)
        if value is None or value.real is None:
            unsupported("Tensor of unknown origin", "a fake tensor was made outside the recorder")
        tensor = value.fake
        if id(tensor) in self._nodes:
            return self._nodes[id(tensor)]
        node = self._placeholder(value)
        self._nodes[id(tensor)] = node
        self.inputs.append(value)
        return node

    def _placeholder(self, value: TensorValue) -> Node:
        last, graph = self._last_placeholder, self.graph
        with graph.inserting_after(last) if last is not None else graph.inserting_before(None):
            node = self.graph.placeholder(_identifier(value.source))
        node.target = node.name
        self._last_placeholder = node
        node.meta["val"] = value.fake
        node.meta["source"] = value.source.name
        node.meta["lasting"] = isinstance(value.source, ChildSource)  # a parameter or a buffer
        node.meta["stack"] = []
        return node

    # -- recording -----------------------------------------------------------------------------------

    def execute(
        self, m: Any, function: Callable, args: Sequence[Any], kwargs: dict[str, Any], what: str
    ) -> Value:
        """Call real code under the recorder."""
        try:
            with dispatch.push(self.recorder):
                result = function(*args, **kwargs)
        except (Unsupported, Raised):
            raise
        except DataDependent as error:
            _data_dependent(what or getattr(function, "__name__", ""), error)
        except Exception as error:
            raise Raised(m.exception_of(error)) from None
        self.frame = m
        if isinstance(result, Tensor) and not isinstance(result, FakeTensor):
            known = self.known(result)
            return known if known is not None else self.fresh(m, result)
        return m.wrap_result(result)

    def record(self, op: Op, args: tuple, kwargs: dict[str, Any], fake: FakeMode) -> Any:
        args = tuple(map(_sizes, _numbers(op, args)))
        node_args = map_aggregate(args, self._argument)
        node_kwargs = {name: map_aggregate(value, self._argument) for name, value in kwargs.items()}
        args = map_aggregate(args, self._fake_of)
        kwargs = {name: map_aggregate(value, self._fake_of) for name, value in kwargs.items()}
        if op.mutates:
            self._check_mutation(op, args, kwargs)
        args, kwargs = _plain(args), {name: _plain(value) for name, value in kwargs.items()}
        result = fake.interpret(op, args, kwargs)
        fold(op, args, kwargs, result)
        if isinstance(result, FakeTensor):
            if id(result) in self._nodes and not op.mutates:
                return result
            if self.known(result) is not None and not op.mutates:
                return result
        node = self.graph.call_function(op, node_args, node_kwargs)
        node.meta["val"] = result
        node.meta["stack"] = self._positions()
        self._attach(node, result)
        return result

    def differentiate(self, m: Any, loss: FakeTensor, leaves: list[FakeTensor]) -> list[Any]:
        """The gradients of a loss by leaves, as values of the graph."""
        from eager.registry import ops

        with autograd.no_grad():
            result = tuple(self.recorder.fake.interpret(ops.zeros_like, (f,), {}) for f in leaves)
        nodes = self.node_of(loss), [self.node_of(leaf) for leaf in leaves]
        node = self.graph.call_function(autograd.gradients, nodes)
        node.meta["val"] = result
        node.meta["stack"] = self._positions()
        self._attach(node, result)
        self.frame = m
        return [m.wrap_result(fake) for fake in result]

    def _attach(self, node: Node, result: Any) -> None:
        if isinstance(result, FakeTensor):
            if self.known(result) is None:
                self._nodes[id(result)] = node
                self.hold(result)
            return
        if isinstance(result, (tuple, list)):
            for index, item in enumerate(result):
                if isinstance(item, FakeTensor):
                    part = self.graph.call_function(operator.getitem, (node, index))
                    part.meta["val"] = item
                    part.meta["stack"] = node.meta["stack"]
                    self._attach(part, item)

    def _argument(self, value: Any) -> Any:
        return self.node_of(value) if isinstance(value, Tensor) else value

    def _fake_of(self, value: Any) -> Any:
        if isinstance(value, Tensor) and not isinstance(value, FakeTensor):
            return self.known(value).fake
        return value

    def _check_mutation(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> None:
        for name in op.mutates:
            place = op.parameters.index(name)
            target = args[place] if place < len(args) else kwargs.get(name)
            value = self.known(target)
            if value is not None and isinstance(value.source, ConstantSource):
                unsupported(
                    "In-place change of a constant tensor",
                    f"{op.name} writes into a tensor that belongs to the code",
                )

    def _positions(self) -> list[Position]:
        frame = self.frame
        if frame is None:
            return []
        key = (id(frame), frame.ip)
        if key != self._stack_key:
            self._stack_key, self._stack = key, frame.positions()
        return list(self._stack)

    def set_grad_enabled(self, enabled: bool) -> None:
        """Switch grad mode for the interpretation and in the graph."""
        node = self.graph.call_function(autograd.set_grad_enabled_, (enabled,))
        node.meta["val"] = None
        node.meta["stack"] = self._positions()
        autograd.set_grad_enabled_(enabled)

    # -- the end -------------------------------------------------------------------------------------

    def check_generators(self) -> None:
        """Raises Unsupported if a generator was left where Python would still run its cleanup."""
        for generator in self.generators:
            if generator.needs_cleanup:
                unsupported(
                    "Generator left inside try or with",
                    f"{generator!r} is not finished, and what follows its yield has to run",
                    "finish or close generators that clean up",
                )

    def finish(self, outputs: Sequence[TensorValue]) -> bool:
        """Close the graph with these outputs; whether there is anything to run."""
        if autograd.is_grad_enabled() != self.entry_mode:
            node = self.graph.call_function(autograd.set_grad_enabled_, (self.entry_mode,))
            node.meta.update(val=None, stack=[])
        self._check_histories(outputs)
        results = tuple(self.node_of(value.fake) for value in outputs)
        node = self.graph.output(results)
        node.meta["val"] = tuple(value.fake for value in outputs)
        self._remove_dead_code()
        self._guard_aliases()
        return any(node.op == "call_function" for node in self.graph.nodes)

    def _check_histories(self, outputs: Sequence[TensorValue]) -> None:
        """A graph with a backward pass gives out no tensor that another could begin at."""
        for value in outputs if self.spent else ():
            if value.real is None and value.fake.requires_grad:
                if autograd.node_of(value.fake) not in self.spent:
                    raise WantedHistory(
                        "History behind a backward pass",
                        f"{value!r} leaves the graph with a history that is still wanted",
                        "detach it, or return it from another function",
                    )

    def _remove_dead_code(self) -> None:
        for node in reversed(self.graph.nodes):
            if node.op == "call_function" and not node.users and not is_effect(node):
                self.graph.erase_node(node)
        used: list[TensorValue] = []
        for value in self.inputs:
            node = self._nodes[id(value.fake)]
            if node.users:
                used.append(value)
            else:
                self.graph.erase_node(node)
        self.inputs = used
        mode, last = self.entry_mode, None
        for node in self.graph.nodes:
            if node.target is autograd.set_grad_enabled_:
                if node.args[0] == mode:
                    self.graph.erase_node(node)
                    continue
                if last is not None:
                    self.graph.erase_node(last)
                    last = None
                    mode = not mode
                    self.graph.erase_node(node)
                    continue
                mode, last = node.args[0], node
            elif node.op == "call_function":
                last = None

    def _guard_aliases(self) -> None:
        """Different inputs must stay different objects, where any of them is written to."""
        made = (ConstantSource, NumberSource)
        sources = [v.source for v in self.inputs if not isinstance(v.source, made)]
        arguments = sources if self.writes() else [s for s in sources if s.base is None]
        if len(arguments) > 1:
            self.guards.add("NO_TENSOR_ALIASING", None, tuple(arguments), "inputs are different")

    def writes(self) -> bool:
        """Whether the graph changes tensors in place."""
        return any(getattr(node.target, "mutates", ()) for node in self.graph.nodes)

    def release(self) -> None:
        """Let go of the user's objects at once, without waiting for the garbage collector."""
        self.frame = None
        self.inputs = []
        self.generators = []
        for table in (self._memo, self._cells, self._nodes, self._storages, self._scalars):
            table.clear()
        self._held.clear()

    def operator_counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in self.graph.nodes:
            if node.op == "call_function":
                name = getattr(node.target, "__name__", str(node.target))
                counts[name] = counts.get(name, 0) + 1
        return counts


def is_library_file(filename: str) -> bool:
    """Whether a file belongs to this library."""
    return filename.startswith(_LIBRARY)


def _numbers(op: Op, args: tuple) -> tuple:
    """Where an operator wants places and sizes, a tensor is read."""
    if op.parameters[:1] == ("size",):
        first = 0
    elif op.kind == "view" or op.name == "narrow":
        first = 1
    else:
        return args
    return (*args[:first], *(a.item() if isinstance(a, Tensor) else a for a in args[first:]))


def _sizes(value: Any) -> Any:
    """Among numbers, a tensor is a size too, and is read."""
    if type(value) not in (tuple, list) or not any(type(item) is int for item in value):
        return value
    if not any(isinstance(item, Tensor) for item in value):
        return value
    return type(value)(item.item() if isinstance(item, Tensor) else item for item in value)


def _plain(value: Any) -> Any:
    """Arguments with ordinary lists and dicts instead of the graph's immutable ones."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if type(value) is tuple:
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


@functools.cache
def _foreign_history() -> autograd.Node:
    """Stands for the history of an input that is not a leaf."""
    node = autograd.Node()
    node.edges = []
    return node


def _never(source: Any) -> bool:
    return False


def _identifier(source: Any) -> str:
    name = "".join(c if c.isalnum() else "_" for c in source.name).strip("_")
    return name if name.isidentifier() and name != "F" else f"constant_{name}"[:40].rstrip("_")


def _set_grad_enabled(m: Any, enabled: Value) -> Value:
    m.capture.set_grad_enabled(m.truth(enabled))
    return Constant(None)


def _data_dependent(what: str, error: Exception) -> None:
    if what == "bool":
        unsupported(
            "Data-dependent branch",
            "a condition depends on the values of a tensor",
            "use where(), or keep the branch outside the compiled region",
        )
    unsupported(
        "Value of a tensor is needed",
        f"{what or 'real code'}: {error}",
        "keep numbers in tensors, or move the read outside the compiled region",
    )


def loaded(name: str) -> bool:
    return name in sys.modules
