"""Functionalization: a graph with in-place writes, views and random operators becomes one of pure
functions.

Every storage has a *root*: the node that holds its current value and a version. A write through a
view computes the root anew; a view whose root has moved on is read again from it. Random operators
become their pure twins on a seed tensor. What is left for the call itself is said by `Plan`: which
inputs are written back and which outputs alias an input or each other.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

from aot.recorder import Recorder, flat
from eager import autograd, dispatch
from eager import dtype as dtypes
from eager.fake import FakeTensor, empty
from eager.op import Op, ops
from eager.storage import Storage
from eager.tensor import Tensor
from fx.graph import Graph


class NotFunctional(RuntimeError):
    """The program cannot be written without mutation here; the message says why."""


@dataclass
class Output:
    """Where an output of the program comes from."""

    kind: str  # "value", "input", "input_view", "value_view", "constant"
    index: int = 0  # of the graph's output, or of the input
    chain: tuple = ()  # view operators that lead from there
    value: Any = None


@dataclass
class Plan:
    """What the runtime does around the pure graph."""

    outputs: list[Output] = field(default_factory=list)
    writes: list[tuple[int, int]] = field(default_factory=list)  # (input, graph output)
    unseen: set[int] = field(default_factory=set)  # inputs that are only written unseen by autograd
    random_count: int = 0  # how far the generator's offset moves; 0: no seed input
    returned: int = 0  # how many outputs the pure graph has


class _Root:
    __slots__ = ("value", "version", "input", "seen")

    def __init__(self, value: FakeTensor, number: int | None):
        self.value, self.version, self.input = value, 0, number
        self.seen = False  # whether a write was one that autograd sees


# views whose derivative is their inverse
_BIJECTIVE = frozenset("transpose permute view squeeze unsqueeze alias view_as_real view_as_complex".split())


class Functionalize(Recorder):
    """Runs a graph on fake tensors and writes the pure one."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: dict[int, _Root] = {}
        self.keep: list[Any] = []  # storages are known by id: nothing may die meanwhile
        self.seed: FakeTensor | None = None
        self.random_count = 0

    def make(self, name: str, number: int, source: Any) -> FakeTensor:
        fake = self.input(name, FakeTensor.of(source))
        self.roots[id(fake._storage)] = _Root(fake, number)
        self.keep.append(fake)
        return fake

    # -- reading ---------------------------------------------------------------------------------

    def root(self, tensor: FakeTensor) -> _Root:
        found = self.roots.get(id(tensor._storage))
        if found is None:
            base = tensor if tensor._base is None else tensor._base
            found = self.roots[id(tensor._storage)] = _Root(base, None)  # type: ignore[arg-type]
            self.keep.append(tensor)
        return found

    def read(self, tensor: Any) -> Any:
        """The pure value that a tensor has now."""
        if type(tensor) in (list, tuple):
            return type(tensor)(self.read(t) for t in tensor)
        if not isinstance(tensor, FakeTensor):
            return tensor
        root = self.root(tensor)
        if getattr(tensor, "_read_at", 0) == root.version:
            return tensor.__dict__.get("_pure", tensor)
        value = root.value
        with dispatch.push(self):
            for op, params in tensor._view or ():
                value = self.pure(op, (value, *params))
        tensor._pure, tensor._read_at = value, root.version  # type: ignore[attr-defined]
        return value

    # -- calling ---------------------------------------------------------------------------------

    def call(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is not autograd.gradients:
            return super().call(target, args, kwargs)
        loss, leaves = args
        # a leaf that was written to unseen has the history of the input that it was
        nodes = self.node_of(self.read(loss)), [self.node_of(leaf) for leaf in leaves]
        result = tuple(empty(tuple(leaf.shape), leaf.dtype) for leaf in leaves)
        node = self.graph.call_function(target, nodes)
        node.meta["val"] = result
        for number, value in enumerate(result):
            value._proxy = self.graph.call_function(operator.getitem, (node, number))
            value._proxy.meta["val"] = value
        return result

    def interpret(self, op: Op, args: tuple, kwargs: dict[str, Any]) -> Any:
        bound = op.bind(args, kwargs)
        if op.functional is not None:
            return self.write(op.functional, bound)
        if op.kind == "composite":
            return self.open(op, bound)
        if op.name == "detach":
            return self.alias(bound[0])
        result = self.pure(op, self.read(bound))
        if op.kind == "view" and isinstance(bound[0], FakeTensor):
            return self.view(op, bound, result)
        return result

    def alias(self, tensor: Tensor) -> Tensor:
        """detach: another tensor over the same storage."""
        value = self.pure(ops.detach, (self.read(tensor),))
        if isinstance(tensor, FakeTensor):
            result = tensor._shallow()
            result._view = (tensor._view or ()) + ((ops.detach, ()),)
            result._base = tensor if tensor._base is None else tensor._base
            result._pure, result._read_at = value, self.root(tensor).version  # type: ignore[attr-defined]
            return result
        return value

    def view(self, op: Op, bound: tuple, value: FakeTensor) -> FakeTensor:
        """The aliasing face of a view whose pure value is known."""
        source = bound[0]
        result = op.fake((source, *bound[1:]))
        result._requires_grad = value._requires_grad
        result._proxy = value._proxy
        result._pure, result._read_at = value, self.root(source).version
        return result

    def pure(self, op: Op, bound: tuple) -> Any:
        """Record a pure call. A result made without recording is cut off from its inputs."""
        if op.kind == "composite":
            return self.open(op, bound)
        if op.random:
            return self.draw(op, bound)
        needs = autograd.needs_grad(bound)
        result = self.record(op, bound)
        if op.name == "detach":
            return result
        for value in flat(result):
            if (
                needs
                and autograd.is_grad_enabled()
                and op.vjp is not None
                and value.dtype.category >= dtypes.FLOATING
            ):
                value._requires_grad = True
        if (
            needs
            and not autograd.is_grad_enabled()
            and op.vjp is not None
            and isinstance(result, FakeTensor)
        ):
            return self.record(ops.detach, (result,))
        return result

    def draw(self, op: Any, bound: tuple) -> Any:
        if self.seed is None:
            self.seed = empty((2,), dtypes.int64)
            with self.graph.inserting_before(next(iter(self.graph.nodes), None)):
                self.input("seed", self.seed)
        offset = self.random_count
        self.random_count += op.count(*bound)
        with dispatch.push(self):
            return op.twin(self.seed, offset, *bound)

    # -- writing ---------------------------------------------------------------------------------

    def write(self, functional: Op, bound: tuple) -> Any:
        """An in-place operator: compute the new value and let the root of the storage hold it."""
        target = bound[0]
        if not isinstance(target, FakeTensor):
            raise NotFunctional("the program writes into a tensor that is a constant of the graph")
        _check_leaf(target)
        value = self.pure(functional, self.read(bound))
        if isinstance(value, FakeTensor) and "_pure" in value.__dict__:
            value = self.read(value)
        if tuple(value.shape) != tuple(target.shape):
            raise RuntimeError(
                f"output with shape {list(target.shape)} doesn't match the broadcast shape"
                f" {list(value.shape)}"
            )
        if value.dtype is not target.dtype:
            if value.dtype.category > target.dtype.category:
                raise RuntimeError(
                    f"result type {value.dtype} can't be cast to the desired output type"
                    f" {target.dtype}"
                )
            value = self.pure(ops.convert, (value, target.dtype))
        root = self.root(target)
        before = root.value
        seen = autograd.is_grad_enabled() and all(op.name != "detach" for op, _ in target._view or ())
        root.value = self.put(before, target._view or (), value)
        root.seen = root.seen or seen
        root.version += 1
        if not seen and before._requires_grad:
            root.value = self.unseen(before, root.value)
            return target  # its value is read again, with the history that it keeps
        target._pure, target._read_at = value, root.version  # type: ignore[attr-defined]
        if value._requires_grad and target._base is None:
            target._requires_grad = True
        elif value._requires_grad:
            target._base._requires_grad = True  # type: ignore[union-attr]
        return target

    def unseen(self, before: FakeTensor, after: FakeTensor) -> FakeTensor:
        """A root after a write that autograd does not see: new numbers, the history it had."""
        result = self.record(ops.overwrite, (before, self.record(ops.detach, (after,))))
        result._requires_grad = True
        return result

    def put(self, base: FakeTensor, chain: tuple, value: FakeTensor) -> FakeTensor:
        """`base` with `value` in the place that a chain of views takes."""
        if not chain:
            return value
        (op, params), rest = chain[0], chain[1:]
        inner = value
        if rest:
            inner = self.put(self.pure(op, (base, *params)), rest, value)
        if op.name == "detach":
            return inner
        with dispatch.push(self):
            if op.name in _BIJECTIVE:
                return op.vjp(inner, None, base, *params)
            if op.name == "strided_view":
                return self.pure(ops.strided_view_scatter, (base, inner, base.stride(), *params))
            if op.name in ("real_part", "imag"):
                other = self.pure(ops.imag if op.name == "real_part" else ops.real_part, (base,))
                parts = (inner, other) if op.name == "real_part" else (other, inner)
                return self.pure(ops.complex, parts)
            if op.name == "select":
                return self.pure(ops.select_scatter, (base, inner, *params))
            if op.name == "slice":
                return self.pure(ops.slice_scatter, (base, inner, *params))
            if op.name in ("diagonal", "unfold"):
                place = op.vjp(ops.ones(tuple(inner.shape), dtype=base.dtype), None, base, *params)
                return ops.where(place != 0, op.vjp(inner, None, base, *params), base)
        raise NotFunctional(f"a write through {op.name}() has no pure form")


def _check_leaf(target: FakeTensor) -> None:
    if autograd.is_grad_enabled() and target.__dict__.get("_leaf") and target._requires_grad:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )


def functionalize(
    graph: Graph, examples: list[Any], attributes: Any = None
) -> tuple[Functionalize, Plan]:
    """The pure graph (in `.graph`, its output a flat tuple) and the plan of what remains around it.

    Placeholders of the new graph: the seed first if `plan.random_count`, then the old graph's.
    Raises NotFunctional.
    """
    worker = Functionalize()
    placeholders = graph.find_nodes(op="placeholder")
    inputs: list[Any] = []
    for number, (node, example) in enumerate(zip(placeholders, examples, strict=True)):
        if isinstance(example, Tensor):
            fake = worker.make(node.name, number, example)
            fake._requires_grad = example.requires_grad
            fake._leaf = example._node is None if isinstance(example, FakeTensor) else example.is_leaf
        else:
            worker.graph.placeholder(node.name).meta["val"] = example
            fake = example
        inputs.append(fake)
    mode = autograd.is_grad_enabled()
    try:
        result = worker.run(graph, inputs, attributes)
    finally:
        autograd.set_grad_enabled_(mode)
    plan = Plan(random_count=worker.random_count)
    returned = _outputs(worker, plan, flat(result), inputs)
    plan.returned = len(returned)
    worker.graph.output(tuple(worker.node_of(r) for r in returned))
    return worker, plan


def _outputs(worker: Functionalize, plan: Plan, results: list[Any], inputs: list[Any]) -> list[Any]:
    """Decide for each output whether it is a value, an input or a view of one; list what the pure
    graph returns.
    """
    returned: list[Any] = []
    numbers = {id(t): n for n, t in enumerate(inputs) if isinstance(t, FakeTensor)}
    shared: dict[int, int] = {}
    for value in results:
        if isinstance(value, FakeTensor):
            shared[id(value._storage)] = shared.get(id(value._storage), 0) + 1
    slots: dict[int, int] = {}

    def slot(storage: Storage | None, key: int, value: Any) -> int:
        if key not in slots:
            slots[key] = len(returned)
            returned.append(value)
        return slots[key]

    for root in list(worker.roots.values()):
        if root.input is not None and root.version:
            plan.writes.append((root.input, len(returned)))
            if root.seen:
                returned.append(root.value)
                continue
            plan.unseen.add(root.input)
            with dispatch.push(worker):
                returned.append(worker.record(ops.detach, (root.value,)))
    for value in results:
        if not isinstance(value, FakeTensor):
            plan.outputs.append(Output("constant", value=value))
            continue
        root = worker.root(value)
        chain = value._view or ()
        if root.input is not None:
            plan.outputs.append(
                Output(
                    "input_view" if chain or id(value) not in numbers else "input",
                    root.input,
                    chain,
                )
            )
        elif chain and shared[id(value._storage)] > 1:
            plan.outputs.append(
                Output("value_view", slot(None, id(value._storage), root.value), chain)
            )
        elif shared[id(value._storage)] > 1:
            plan.outputs.append(Output("value", slot(None, id(value._storage), root.value)))
        else:
            plan.outputs.append(Output("value", slot(None, id(value), worker.read(value))))
    return returned
