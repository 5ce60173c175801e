"""From a graph of operators to loops: one method per kind of operator.

Pointwise operators become computations that are inlined into their readers; reductions become loops
of their own; views only rewrite coordinates. Externs are looked up by name: in `indexing.py` those
that are loops all the same (gather, cat, arange, …), in `native_steps.py` those with a template
(matrix products, convolutions, pooling). What is left runs as a *fallback*: the eager kernel,
called from Python between two native segments, counted and reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from eager.op import Op, coerce, ops
from fx.graph_module import GraphModule
from fx.node import Node
from inductor.index import (
    Index,
    contiguous_strides,
    dense_strides,
    stride_order,
)
from inductor.loops import (
    ITEMSIZE,
    Buffer,
    Loop,
    TypedAlgebra,
    Value,
    pointwise,
    reduction,
)
from inductor.pieces import pieces_of
from inductor.values import Computed, Coordinates, Lazy, Stored, Viewed, broadcast, frozen, view


@dataclass(eq=False)
class Step:
    """A node of the schedule that is no loop: a template or a BLAS call. `make` gives program steps
    from references.

    Where `matrix` (images, rows, columns) says what the first output is, a loop may join as an
    epilogue: `make(reference, target, epilogue, more)` then fills `target` instead, with `more`
    buffers as the epilogue's words after the first `words`.
    """

    name: str
    inputs: list[Buffer]
    outputs: list[Buffer]
    make: Callable[..., Any]
    matrix: tuple[int, int, int] | None = None
    words: int = 0


@dataclass(eq=False)
class Fallback:
    """An operator that runs as its eager kernel. `arguments` are bound, with `Stored` in the place
    of tensors.
    """

    op: Op
    arguments: tuple
    inputs: list[Buffer]
    outputs: list[Buffer]
    results: list[tuple[tuple[int, ...], tuple[int, ...]]]
    reason: str = ""


@dataclass(eq=False)
class Result:
    """One output of the program: memory of a buffer, an input passed through, or a constant."""

    buffer: Buffer | None = None
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    offset: int = 0
    input: int = -1
    constant: Any = None


@dataclass
class Lowered:
    """What lowering gives: buffers, operations in order, results, and what could not be compiled.
    """

    inputs: list[Buffer] = field(default_factory=list)
    operations: list[Any] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    fallbacks: list[tuple[str, str]] = field(default_factory=list)


class Unsupported(Exception):
    """Raised by a lowering that does not apply; the operator becomes a fallback, with this reason.
    """


Lowerer = Callable[["Lowering", Node, tuple], Any]
LOWERINGS: dict[str, Lowerer] = {}


L = TypeVar("L", bound=Lowerer)


def lowers(*names: str) -> Callable[[L], L]:
    """Declare a function `(lowering, node, bound) -> Lazy` for externs of these names."""

    def declare(function: L) -> L:
        for name in names:
            LOWERINGS[name] = function
        return function

    return declare


def _readers(node: Node) -> int:
    """How many nodes read a value, itself or through views."""
    views = [user for user in node.users if getattr(user.target, "kind", "") == "view"]
    return len(node.users) - len(views) + sum(map(_readers, views))


class Lowering:
    """Lowers one graph."""

    def __init__(self, module: GraphModule, tuned: bool = False):
        self.module, self.graph = module, module.graph
        self.tuned = tuned  # ways are chosen by timing
        self.result = Lowered()
        self.values: dict[Node, Any] = {}
        self.names = 0
        self.node: Node | None = None
        self.wanted: dict[int, tuple[int, ...]] = {}
        self.parameters: set[Buffer] = set()  # inputs that are the same tensor in every call
        self.kept: dict[Any, Buffer] = {}
        self.packed: dict[Any, Buffer] = {}  # factors packed for many products of this program
        self.widened: dict[Any, tuple[Lazy, Lazy]] = {}  # values of half precision in single precision
        self.free: set[Node] = set()  # results whose strides nobody minds
        self.channels_last: bool | None = None  # the order of images, once a convolution has asked

    # -- driver

    def run(self) -> Lowered:
        self._find_results()
        for node in self.graph.nodes:
            self.node = node
            if node.op == "placeholder":
                self.values[node] = self.placeholder(node)
            elif node.op == "get_attr":
                self.values[node] = self.constant(node)
            elif node.op == "call_function" and node not in self.values:
                self.values[node] = self.settle(node, self.call(node))
            elif node.op == "output":
                self.output(node)
        return self.result

    def _find_results(self) -> None:
        """Nodes that are returned, and the strides that they must have."""
        for node in self.graph.nodes:
            if node.op == "output":
                results = _flat(node.args[0])
                self.free = {results[n] for n in node.meta.get("free", ())}
                for argument in results:
                    if argument in self.free:
                        continue
                    if isinstance(argument, Node) and hasattr(argument.meta.get("val"), "stride"):
                        value = argument.meta["val"]
                        self.wanted[id(argument)] = tuple(int(n) for n in value.stride())

    def placeholder(self, node: Node) -> Any:
        value = node.meta["val"]
        place = len(self.result.inputs)
        if not hasattr(value, "stride"):
            self.result.inputs.append(Buffer(f"input{place}", "int64", (), (), "input"))
            return value
        shape, strides = tuple(map(int, value.shape)), tuple(map(int, value.stride()))
        buffer = Buffer(f"input{place}", value.dtype.name, shape, strides, "input")
        self.result.inputs.append(buffer)
        if node.meta.get("parameter"):
            self.parameters.add(buffer)
        return Stored(buffer, shape, strides)

    def constant(self, node: Node) -> Any:
        value: Any = self.module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        array = value.detach().numpy()
        strides = tuple(s // array.itemsize for s in array.strides)
        buffer = Buffer(
            f"constant_{node.name}", value.dtype.name, array.shape, strides, "constant", value=array
        )
        return Stored(buffer, array.shape, strides)

    def call(self, node: Node) -> Any:
        target = node.target
        if not isinstance(target, Op):
            container = self.argument(node.args[0])
            return container[node.args[1]]
        bound = target.bind(tuple(node.args), dict(node.kwargs))
        try:
            lower = LOWERINGS.get(target.name)
            if _has_complex(node):
                raise Unsupported("complex numbers")
            if _has_empty(node):
                raise Unsupported("a tensor without elements")
            if lower is not None:
                return lower(self, node, bound)
            kind = getattr(self, f"lower_{target.kind}", None)
            if kind is None:
                raise Unsupported("no lowering")
            return kind(node, target, bound)
        except (Unsupported, NotImplementedError) as reason:
            return self.fallback(node, target, bound, str(reason) or type(reason).__name__)

    def argument(self, argument: Any) -> Any:
        """A node's value; lists and tuples of them; anything else as it is."""
        if isinstance(argument, Node):
            return self.values[argument]
        if isinstance(argument, (list, tuple)):
            return [self.argument(a) for a in argument]
        return argument

    def tensor(self, argument: Any) -> Lazy:
        value = self.argument(argument)
        if not isinstance(value, Lazy):
            raise Unsupported(f"a tensor was expected, not {type(value).__name__}")
        return value

    def lasts(self, buffer: Buffer) -> bool:
        """Whether a buffer is a weight, copies of which may be kept from call to call."""
        return buffer in self.parameters or buffer.kind == "kept"

    def name(self) -> str:
        self.names += 1
        return f"buffer{self.names}"

    # -- kinds

    def lower_pointwise(self, node: Node, op: Any, bound: tuple) -> Lazy:
        """The body over the operands, broadcast and converted to the common type."""
        fakes = tuple(_fake(a) for a in bound)
        target = op.compute_dtype(fakes)
        value = node.meta["val"]
        shape, dtype = tuple(map(int, value.shape)), value.dtype.name
        operands: list[Any] = []
        compute = target.name
        for place, argument in enumerate(bound):
            if isinstance(argument, Node) and hasattr(argument.meta["val"], "shape"):
                lazy = self.tensor(argument)
                self.realize_if_repeated(lazy, shape)
                kind = compute if place in op.operands else lazy.dtype
                operands.append(Operand(lazy, broadcast(lazy, shape), kind))
            elif place in op.operands and argument is not None:
                operands.append(coerce(self.argument(argument), target))
            else:
                operands.append(self.argument(argument))

        def body(s: TypedAlgebra, coordinates: Coordinates) -> Value:
            values = [o.at(s, coordinates) if isinstance(o, Operand) else o for o in operands]
            return s.cast_to(op.body(s, *values), dtype)

        return Computed(shape, dtype, body, op.name)

    def lower_reduction(self, node: Node, op: Any, bound: tuple) -> Lazy:
        fakes = tuple(_fake(a) for a in bound)
        source = self.tensor(bound[0])
        dims, keepdim = op.dims(fakes), bool(bound[2])
        accumulate = op.compute_dtype(fakes).name
        count = math.prod(source.shape[d] for d in dims)
        rest = bound[3:]

        def prepare(s: TypedAlgebra, value: Value) -> Value:
            return op.body(s, s.cast_to(value, accumulate), dims, keepdim, *rest)

        finish = None
        if op.finish is not None:
            def finish(s: TypedAlgebra, value: Value) -> Value:
                return op.finish(s, value, count)

        return self.reduce(
            source, dims, keepdim, op.combine, accumulate, node.meta["val"].dtype.name, prepare,
            finish, op.name,
        )

    def lower_view(self, node: Node, op: Any, bound: tuple) -> Lazy:
        base = self.tensor(bound[0])
        if op.name == "strided_view":
            return self._as_strided(node, op, bound, base)
        parameters = tuple(self.argument(a) for a in bound[1:])
        shape, strides, offset = op.geometry(
            base.shape, contiguous_strides(base.shape), 0, *parameters
        )
        return view(base, shape, strides, offset)

    def _as_strided(self, node: Node, op: Any, bound: tuple, base: Lazy) -> Lazy:
        """Means memory as the captured program saw it: only where it lies just so."""
        value = bound[0].meta["val"]
        stored = base.stored()
        strides = tuple(map(int, value.stride()))
        if stored is None or stored.strides != strides or stored.buffer.kind == "input":
            if strides != contiguous_strides(base.shape):
                raise Unsupported("as_strided of memory that is laid out differently")
        return view(base, *op.geometry(base.shape, strides, 0, *bound[1:]))

    # -- reductions

    def reduce(
        self, source: Lazy, dims: Sequence[int], keepdim: bool, combine: str, accumulate: str,
        dtype: str, prepare: Any, finish: Any, name: str,
    ) -> Lazy:
        """Combine over dimensions; a loop of its own, or two where it is long and gives little."""
        kept = [d for d in range(source.ndim) if d not in dims]
        full = tuple(1 if d in dims else n for d, n in enumerate(source.shape))
        shape = tuple(source.shape[d] for d in kept)
        over = tuple(source.shape[d] for d in dims)
        accumulate = "float32" if accumulate in ("float16", "bfloat16") else accumulate
        pieces = pieces_of(self, source, dims, combine)
        if pieces > 1:
            dims = sorted(dims, key=lambda d: source.shape[d] % pieces > 0)
            source, dims, over = self._partial(
                source, kept, dims, combine, accumulate, prepare, name, pieces
            )
            kept = list(range(len(shape)))
            prepare = None

        def body(s: TypedAlgebra, coordinates: Coordinates) -> Value:
            place: list[Any] = [None] * source.ndim
            for d, c in zip([*kept, *dims], coordinates, strict=True):
                place[d] = c
            value = source.at(s, tuple(place))
            return prepare(s, value) if prepare is not None else value

        target = Buffer(self.name(), dtype, shape, contiguous_strides(shape))
        self.emit(reduction(
            target, over, combine, body, accumulate="bool" if combine in ("any", "all") else accumulate,
            finish=finish, origins=self._origins(name),
        ))
        result = Stored.whole(target)
        return view(result, full, contiguous_strides(full), 0) if keepdim else result

    def _partial(
        self, source: Lazy, kept: list[int], dims: Sequence[int], combine: str, accumulate: str,
        prepare: Any, name: str, pieces: int,
    ) -> tuple[Lazy, tuple[int, ...], tuple[int, ...]]:
        """The first step: each piece of the outermost reduced dimension combined by itself."""
        first = dims[0]
        part = source.shape[first] // pieces
        shape = tuple(source.shape[d] for d in kept)
        over = (part, *(source.shape[d] for d in dims[1:]))

        def body(s: TypedAlgebra, coordinates: Coordinates) -> Value:
            piece, results, inside = coordinates[0], coordinates[1 : 1 + len(kept)], coordinates[1 + len(kept) :]
            place: list[Any] = [None] * source.ndim
            for d, c in zip(kept, results, strict=True):
                place[d] = c
            for d, c in zip(dims, inside, strict=True):
                place[d] = c
            place[first] = piece * part + inside[0]
            return prepare(s, source.at(s, tuple(place)))

        whole = "bool" if combine in ("any", "all") else accumulate
        target = Buffer(self.name(), whole, (pieces, *shape), contiguous_strides((pieces, *shape)))
        self.emit(reduction(
            target, over, combine, body, accumulate=whole, origins=self._origins(name)
        ))
        turned = view(
            Stored.whole(target), (*shape, pieces),
            (*target.strides[1:], target.strides[0]), 0,
        )
        return turned, (len(shape),), (pieces,)

    # -- realizing

    def emit(self, operation: Any) -> None:
        self.result.operations.append(operation)

    def _origins(self, name: str) -> tuple[str, ...]:
        return (f"{name}:{self.node.name}" if self.node is not None else name,)

    def settle(self, node: Node, value: Any) -> Any:
        """Decide whether what a node gave is stored now or inlined into its readers."""
        if isinstance(value, Computed) and value.realized is None:
            inspection = value.inspect()
            reads, weight = len(inspection.reads), inspection.weight
            large = sum(2 * r.buffer.size >= value.numel for r in inspection.reads.values())
            many = _readers(node) > 1
            if (many and (large > 1 or weight > 5)) or reads > 12 or weight > 200:
                self.realize(value, strides=self._output_strides(node, value))
        return value

    def _output_strides(self, node: Node, value: Lazy) -> tuple[int, ...] | None:
        """The strides that a returned node must have, if they are packed."""
        wanted = self.wanted.get(id(node))
        if wanted is None or node.meta["val"].dtype.name != value.dtype:
            return None
        if dense_strides(value.shape, stride_order(wanted, value.shape)) != wanted:
            return None
        return wanted

    def realize_if_repeated(self, value: Lazy, shape: Sequence[int]) -> None:
        """Store what would be computed many times over because it is broadcast."""
        source = value.source() if isinstance(value, Viewed) else value
        if not isinstance(source, Computed) or source.realized is not None:
            return
        if math.prod(shape) >= 4 * max(source.numel, 1) and source.inspect().weight > 8:
            self.realize(source)

    def realize(self, value: Lazy, strides: tuple[int, ...] | None = None) -> Stored:
        """The value as memory: what it is already, or a new buffer that a new loop fills."""
        found = value.stored()
        if found is not None:
            return found
        strides = strides or self.natural_strides(value)
        target = Buffer(self.name(), value.dtype, value.shape, strides)
        self.emit(pointwise(
            target, frozen(value),
            origins=self._origins(getattr(value, "name", "")),
        ))
        stored = Stored.whole(target)
        if isinstance(value, Computed):
            value.realized = stored
        elif isinstance(value, Viewed):
            value.copy = stored
        return stored

    def natural_strides(self, value: Lazy) -> tuple[int, ...]:
        """Packed strides in the order of dimensions of what the value is mostly computed from."""
        from inductor.index import symbol
        from inductor.loops import Inspection

        if isinstance(value, Computed) and value.order is not None:
            return dense_strides(value.shape, value.order)
        inspection = Inspection()
        variables = value.variables()
        value.at(inspection, tuple(symbol(v) for v in variables))
        best, order = 0, list(range(value.ndim))
        for read in inspection.reads.values():
            steps = [read.index.stride(v) for v in variables]
            if any(s is None for s in steps) or read.buffer.size <= best:
                continue
            if any(s == 0 and v.size > 1 for s, v in zip(steps, variables, strict=True)):
                continue
            best = read.buffer.size
            order = stride_order([s or 0 for s in steps], value.shape)
        return dense_strides(value.shape, order)

    def contiguous(self, value: Lazy) -> Stored:
        """The value as row-major memory."""
        found = value.stored()
        if found is not None and found.strides == contiguous_strides(found.shape):
            return found
        return self.copy(value, contiguous_strides(value.shape))

    def laid_out(self, value: Lazy, strides: tuple[int, ...]) -> Stored:
        """The value as memory with these strides: it is stored so, or copied if it is stored
        already.
        """
        found = value.stored()
        if found is None:
            return self.realize(value, strides=strides)
        return found if _same_strides(found, strides) else self.copy(value, strides)

    def copy(self, value: Lazy, strides: tuple[int, ...], kind: str = "temporary") -> Stored:
        """A new buffer with these strides that holds the value."""
        if value.dtype.startswith("complex"):  # kernels have no complex numbers
            return self._copy_by_eager(value, strides)
        target = Buffer(self.name(), value.dtype, value.shape, strides, kind)
        self.emit(pointwise(target, frozen(value), origins=self._origins("copy")))
        return Stored.whole(target)

    def _copy_by_eager(self, value: Lazy, strides: tuple[int, ...]) -> Stored:
        """`copy` as an eager call: the dimensions in the order in which they lie in memory."""
        source, order = self.realize(value), tuple(stride_order(strides, value.shape))
        shape = tuple(value.shape[d] for d in order)
        target = Buffer(self.name(), value.dtype, shape, contiguous_strides(shape))
        inner = [(shape, target.strides)]
        self.emit(Fallback(ops.permute, (source, order), [source.buffer], [target], inner, "complex numbers"))
        return Stored(target, value.shape, strides)

    # -- fallbacks and results

    def fallback(self, node: Node, op: Op, bound: tuple, reason: str) -> Any:
        """Call the eager kernel from Python."""
        self.result.fallbacks.append((op.name, reason))
        inputs: list[Buffer] = []

        def convert(argument: Any) -> Any:
            if isinstance(argument, (list, tuple)):
                return type(argument)(convert(a) for a in argument) if type(argument) in (list, tuple) \
                    else [convert(a) for a in argument]
            value = self.argument(argument)
            if isinstance(value, Lazy):
                stored = self.realize(value)
                inputs.append(stored.buffer)
                return stored
            return value

        arguments = tuple(convert(a) for a in bound)
        values = node.meta["val"]
        many = isinstance(values, (tuple, list))
        outputs, results = [], []
        for value in values if many else [values]:
            shape, strides = tuple(map(int, value.shape)), tuple(map(int, value.stride()))
            outputs.append(Buffer(self.name(), value.dtype.name, shape, contiguous_strides(shape)))
            results.append((shape, strides))
        self.emit(Fallback(op, arguments, inputs, outputs, results, reason))
        stored = [Stored.whole(b) for b in outputs]
        return stored if many else stored[0]

    def output(self, node: Node) -> None:
        """Every returned value as memory of its own with the strides that the graph promises."""
        taken: dict[Buffer, Node] = {}
        done: dict[Node, Result] = {}
        for argument in _flat(node.args[0]):
            if not isinstance(argument, Node):
                self.result.results.append(Result(constant=argument))
                continue
            if argument not in done:
                done[argument] = self._result(argument, taken)
            self.result.results.append(done[argument])

    def _free_result(self, node: Node, value: Lazy, taken: dict[Buffer, Node]) -> Result:
        """A result in the strides that it has or that suit it, as long as it is packed."""
        stored = self.realize(value)
        order = stride_order(stored.strides, stored.shape)
        packed = dense_strides(stored.shape, order)
        free = stored.buffer.kind == "temporary" and stored.buffer not in taken
        if not free or stored.strides != packed or stored.buffer.size > 2 * max(value.numel, 1):
            stored = self.copy(value, packed)
        stored.buffer.kind = "output"
        taken[stored.buffer] = node
        return Result(stored.buffer, value.shape, stored.strides, stored.offset)

    def _result(self, node: Node, taken: dict[Buffer, Node]) -> Result:
        value = self.values[node]
        if not isinstance(value, Lazy):
            return Result(constant=value)
        if node.op == "placeholder":
            return Result(input=self.result.inputs.index(value.buffer))  # type: ignore[attr-defined]
        if node in self.free:
            return self._free_result(node, value, taken)
        fake = node.meta["val"]
        wanted = tuple(map(int, fake.stride()))
        if dense_strides(value.shape, stride_order(wanted, value.shape)) != wanted:
            wanted = contiguous_strides(value.shape)
        stored = value.stored()
        free = stored is not None and stored.buffer.kind == "temporary" and stored.buffer not in taken
        if stored is None and isinstance(value, Computed):
            stored, free = self.realize(value, strides=wanted), True
        if not free or not _same_strides(stored, wanted) or stored.buffer.size > 2 * max(value.numel, 1):  # type: ignore[union-attr]
            stored = self.copy(value, wanted)
        assert stored is not None
        stored.buffer.kind = "output"
        taken[stored.buffer] = node
        return Result(stored.buffer, value.shape, wanted, stored.offset)


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor among the operands of a pointwise operator: broadcast, and converted to `dtype`."""

    value: Lazy
    place: Callable[[Coordinates], Coordinates]
    dtype: str

    def at(self, s: TypedAlgebra, coordinates: Coordinates) -> Value:
        return s.cast_to(self.value.at(s, self.place(coordinates)), self.dtype)


def _same_strides(stored: Stored | None, wanted: Sequence[int]) -> bool:
    return stored is not None and all(
        n == 1 or a == b for n, a, b in zip(stored.shape, stored.strides, wanted, strict=True)
    )


def _fake(argument: Any) -> Any:
    if isinstance(argument, Node):
        return argument.meta["val"]
    if isinstance(argument, (list, tuple)):
        return [_fake(a) for a in argument]
    return argument


def _flat(argument: Any) -> list[Any]:
    if isinstance(argument, (list, tuple)):
        return [item for a in argument for item in _flat(a)]
    return [argument]


def _touched(node: Node) -> Iterator[Any]:
    """What a node gives and takes."""
    for each in (node, *node.all_input_nodes):
        value = each.meta.get("val")
        yield from value if isinstance(value, (tuple, list)) else (value,)


def _has_complex(node: Node) -> bool:
    return any(getattr(getattr(v, "dtype", None), "is_complex", False) for v in _touched(node))


def _has_empty(node: Node) -> bool:
    return any(0 in getattr(v, "shape", ()) for v in _touched(node))


__all__ = [
    "Fallback", "Index", "ITEMSIZE", "Loop", "Lowered", "Lowering", "Result", "Step", "Unsupported",
    "lowers", "view",
]
