"""The words in which templates are written: loops, addresses and vectors over llvmlite's IR builder.

An `Emitter` writes one function of a module. Sizes and indices are i64 values, memory is addressed by opaque pointers plus element indices, and
a vector is the CPU's widest
of the function's element type. Python integers are accepted wherever an i64 value is, and fold.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from inductor.native import vector_bits

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
F32, F64 = ir.FloatType(), ir.DoubleType()
ELEMENTS = {"float32": F32, "float64": F64}
POINTER = ir.PointerType()
KERNEL = ir.FunctionType(I32, [POINTER, I64, I64])

Value = Any  # an ir.Value, or a Python int that stands for an i64 constant


def splatted(kind: ir.VectorType, number: float) -> ir.Constant:
    """A constant with a number in every lane; written short, for templates have hundreds of them."""
    key = str(kind), repr(number)
    if key not in _splats:
        _splats[key] = _Splat(kind, number)
    return _splats[key]


class _Splat(ir.Constant):
    """A constant in LLVM's short form, which llvmlite's own constants do not have."""

    def __init__(self, kind: ir.VectorType, number: float) -> None:
        self.type, self.constant = kind, number

    def _get_reference(self) -> str:
        element = ir.Constant(self.type.element, self.constant)
        return f"splat ({element.type} {element.get_reference()})"


_splats: dict[tuple[str, str], ir.Constant] = {}


@functools.cache
def _first(lanes: int) -> ir.Constant:
    """The order of a shuffle that takes lane 0 for all."""
    return ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)


class Loop:
    """A counted loop under way: its index, its carried values, and their next values."""

    def __init__(self, index: ir.Value, values: list[ir.Value]) -> None:
        self.index, self.values, self.next = index, values, list(values)


class Emitter:
    """Writes one function: `module.add(name, type)` with a builder and the vocabulary of loops and vectors."""

    def __init__(
        self,
        module: ir.Module,
        name: str,
        kind: ir.FunctionType = KERNEL,
        dtype: str = "float32",
        bits: int | None = None,
    ) -> None:
        self.module = module
        self.element: ir.Type = ELEMENTS[dtype]
        self.itemsize = 8 if self.element is F64 else 4
        self.lanes = (bits or vector_bits()) // (8 * self.itemsize)
        self.vector = ir.VectorType(self.element, self.lanes)
        self.zero = ir.Constant(self.element, 0.0)
        self.function = ir.Function(module, kind, name)
        if kind is not KERNEL:
            self.function.linkage = "internal"
            self.function.attributes.add("noinline")
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.arguments = self.function.args

    # -- integers -----------------------------------------------------------------------------

    def integer(self, value: Value) -> ir.Value:
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def _fold(self, name: str, a: Value, b: Value, rule: Callable[[int, int], int]) -> Value:
        if isinstance(a, int) and isinstance(b, int):
            return rule(a, b)
        return getattr(self.builder, name)(self.integer(a), self.integer(b))

    def add(self, a: Value, b: Value) -> Value:
        if isinstance(a, int) and a == 0:
            return b
        if isinstance(b, int) and b == 0:
            return a
        return self._fold("add", a, b, lambda x, y: x + y)

    def subtract(self, a: Value, b: Value) -> Value:
        return self._fold("sub", a, b, lambda x, y: x - y)

    def multiply(self, a: Value, b: Value) -> Value:
        if isinstance(a, int) and a == 1:
            return b
        if isinstance(b, int) and b == 1:
            return a
        return self._fold("mul", a, b, lambda x, y: x * y)

    def divide(self, a: Value, b: Value) -> Value:
        """The quotient of values that are not negative."""
        if isinstance(b, int) and b == 1:
            return a
        return self._fold("udiv", a, b, lambda x, y: x // y)

    def remainder(self, a: Value, b: Value) -> Value:
        """The remainder of values that are not negative."""
        if isinstance(b, int) and b == 1:
            return 0
        return self._fold("urem", a, b, lambda x, y: x % y)

    def minimum(self, a: Value, b: Value) -> Value:
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        a, b = self.integer(a), self.integer(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def maximum(self, a: Value, b: Value) -> Value:
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        a, b = self.integer(a), self.integer(b)
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def compare(self, relation: str, a: Value, b: Value) -> ir.Value:
        return self.builder.icmp_signed(relation, self.integer(a), self.integer(b))

    def select(self, condition: ir.Value, a: Value, b: Value) -> ir.Value:
        return self.builder.select(condition, self.integer(a), self.integer(b))

    def sum(self, *terms: Value) -> Value:
        total: Value = 0
        for term in terms:
            total = self.add(total, term)
        return total

    # -- control ------------------------------------------------------------------------------

    @contextmanager
    def loop(
        self, start: Value, stop: Value, step: Value = 1, carried: Sequence[ir.Value] = ()
    ) -> Iterator[Loop]:
        """`for index in range(start, stop, step)`; `loop.next` takes the carried values around.

        After the loop, `loop.values` are the final ones.
        """
        builder = self.builder
        before = builder.block
        head = self.function.append_basic_block("head")
        body = self.function.append_basic_block("body")
        done = self.function.append_basic_block("done")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(I64)
        index.add_incoming(self.integer(start), before)
        phis = [builder.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", index, self.integer(stop)), body, done)
        builder.position_at_end(body)
        loop = Loop(index, phis)
        yield loop
        index.add_incoming(builder.add(index, self.integer(step)), builder.block)
        for phi, value in zip(phis, loop.next, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(done)

    def choose(
        self,
        condition: ir.Value,
        then: Callable[[], Sequence[ir.Value]],
        otherwise: Callable[[], Sequence[ir.Value]],
    ) -> list[ir.Value]:
        """Run one of two branches; the values they return are merged."""
        builder = self.builder
        yes = self.function.append_basic_block("then")
        no = self.function.append_basic_block("otherwise")
        end = self.function.append_basic_block("end")
        builder.cbranch(condition, yes, no)
        builder.position_at_end(yes)
        first = list(then())
        yes_end = builder.block
        builder.branch(end)
        builder.position_at_end(no)
        second = list(otherwise())
        no_end = builder.block
        builder.branch(end)
        builder.position_at_end(end)
        merged = []
        for a, b in zip(first, second, strict=True):
            phi = builder.phi(a.type)
            phi.add_incoming(a, yes_end)
            phi.add_incoming(b, no_end)
            merged.append(phi)
        return merged

    def when(self, condition: ir.Value, then: Callable[[], Any]) -> None:
        """Run `then` where the condition holds."""

        def run() -> list[ir.Value]:
            then()
            return []

        self.choose(condition, run, list)

    def call(self, function: ir.Function, *arguments: Value) -> ir.Value:
        return self.builder.call(function, [self.integer(a) for a in arguments])

    def finish(self, value: int | None = None) -> None:
        """End the function: with `value`, or with 0 for a kernel, or without a result."""
        kind = self.function.function_type.return_type
        if isinstance(kind, ir.VoidType):
            self.builder.ret_void()
        else:
            self.builder.ret(ir.Constant(kind, value or 0))

    # -- memory -------------------------------------------------------------------------------

    def argument(self, index: int) -> ir.Value:
        """Word `index` of the kernel's argument block."""
        return self.load(self.arguments[0], index, I64)

    def pointer(self, index: int) -> ir.Value:
        """Word `index` of the kernel's argument block, as an address."""
        return self.builder.inttoptr(self.argument(index), POINTER)

    def at(self, pointer: ir.Value, index: Value, kind: ir.Type | None = None) -> ir.Value:
        """The address of element `index`."""
        kind = kind or self.element
        if isinstance(index, int) and index == 0:
            return pointer
        return self.builder.gep(pointer, [self.integer(index)], source_etype=kind)

    def load(self, pointer: ir.Value, index: Value = 0, kind: ir.Type | None = None) -> ir.Value:
        kind = kind or self.element
        return self.builder.load(self.at(pointer, index, kind), typ=kind)

    def store(self, value: ir.Value, pointer: ir.Value, index: Value = 0) -> None:
        self.builder.store(value, self.at(pointer, index, value.type))

    def intrinsic(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        function = self.module.globals.get(name)
        if function is None:
            function = ir.Function(self.module, kind, name)
        return self.builder.call(function, arguments)

    def prefetch(self, pointer: ir.Value, write: bool = False, locality: int = 3) -> None:
        """Ask for a cache line: locality 3 is the first level, 2 the second."""
        words = [ir.Constant(I32, v) for v in (int(write), locality, 1)]
        self.intrinsic("llvm.prefetch.p0", ir.VoidType(), pointer, *words)

    # -- vectors ------------------------------------------------------------------------------

    def suffix(self, kind: ir.VectorType) -> str:
        element = {F32: "f32", F64: "f64", I8: "i8", I32: "i32", I64: "i64"}[kind.element]
        return f"v{kind.count}{element}"

    def constant(self, value: float, kind: ir.Type | None = None) -> ir.Value:
        """A vector that holds `value` in every lane."""
        kind = kind or self.vector
        if isinstance(kind, ir.VectorType):
            return splatted(kind, value)
        return ir.Constant(kind, value)

    def vector_of(self, element: ir.Type) -> ir.VectorType:
        """As many lanes of another type."""
        return ir.VectorType(element, self.lanes)

    def load_vector(self, pointer: ir.Value, index: Value = 0, width: int | None = None) -> ir.Value:
        kind = self.vector if width is None else ir.VectorType(self.element, width)
        return self.builder.load(self.at(pointer, index), typ=kind, align=self.itemsize)

    def store_vector(self, value: ir.Value, pointer: ir.Value, index: Value = 0) -> None:
        self.builder.store(value, self.at(pointer, index), align=self.itemsize)

    def mask(self, count: Value, lanes: int | None = None) -> ir.Value:
        """Lanes [0, count)."""
        lanes = lanes or self.lanes
        numbers = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
        bounded = self.maximum(self.minimum(count, lanes), 0)
        limit = self.builder.trunc(self.integer(bounded), I32)
        return self.builder.icmp_signed("<", numbers, self.splat(limit, lanes))

    @property
    def whole(self) -> ir.Constant:
        """The mask of all lanes."""
        return splatted(self.vector_of(I1), 1)

    def load_masked(
        self,
        pointer: ir.Value,
        index: Value,
        mask: ir.Value,
        other: ir.Value | None = None,
        kind: ir.Type | None = None,
    ) -> ir.Value:
        """Lanes outside the mask are not read; they are those of `other`, or 0."""
        element = kind or self.element
        vector = ir.VectorType(element, mask.type.count)
        address = self.at(pointer, index, element)
        size = self.itemsize if kind is None else 1

        def load(masked: bool) -> ir.Value:
            if not masked:
                return self.builder.load(address, typ=vector, align=size)
            name = f"llvm.masked.load.{self.suffix(vector)}.p0"
            passed = ir.Constant(vector, None) if other is None else other
            return self.intrinsic(name, vector, address, ir.Constant(I32, size), mask, passed)

        if kind is None and mask is not self.whole:  # AVX2 has masked loads of floats, but none of bytes
            return load(True)
        return self._by_wholeness(mask, lambda masked: [load(masked)])[0]

    def store_masked(
        self, value: ir.Value, pointer: ir.Value, index: Value, mask: ir.Value
    ) -> None:
        """Lanes outside the mask are not written."""
        address = self.at(pointer, index)

        def store(masked: bool) -> list[ir.Value]:
            if not masked:
                self.store_vector(value, address)
                return []
            name = f"llvm.masked.store.{self.suffix(value.type)}.p0"
            self.intrinsic(name, ir.VoidType(), value, address, ir.Constant(I32, self.itemsize), mask)
            return []

        self._by_wholeness(mask, store)

    def _by_wholeness(
        self, mask: ir.Value, access: Callable[[bool], list[ir.Value]]
    ) -> list[ir.Value]:
        """Access memory by a mask, or plainly where all lanes are in it.

        Without AVX-512's mask registers, a masked store takes a dozen times as long as a plain one on
        AMD's processors, and masked bytes are read one by one.
        """
        if mask is self.whole:
            return access(False)
        if vector_bits() == 512:
            return access(True)
        whole = self.intrinsic(f"llvm.vector.reduce.and.v{mask.type.count}i1", I1, mask)
        return self.choose(whole, lambda: access(False), lambda: access(True))

    def gather(self, pointer: ir.Value, steps: ir.Value, mask: ir.Value) -> ir.Value:
        """Elements at `steps` from a pointer; lanes outside the mask are not read and are 0."""
        element = ir.VectorType(self.element, self.lanes)
        address = self.splat(self.builder.ptrtoint(pointer, I64))
        sizes = splatted(steps.type, self.itemsize)
        address = self.builder.add(address, self.builder.mul(steps, sizes))
        pointers = self.builder.inttoptr(address, ir.VectorType(POINTER, self.lanes))
        name = f"llvm.masked.gather.{self.suffix(element)}.v{self.lanes}p0"
        words = (pointers, ir.Constant(I32, self.itemsize), mask, ir.Constant(element, None))
        return self.intrinsic(name, element, *words)

    def splat(self, value: ir.Value, lanes: int | None = None) -> ir.Value:
        """A scalar in every lane."""
        lanes = lanes or self.lanes
        kind = ir.VectorType(value.type, lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, undefined, _first(lanes))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c, rounded once."""
        kind = a.type
        return self.intrinsic(f"llvm.fma.{self.suffix(kind)}", kind, a, b, c)

    def horizontal_sum(self, value: ir.Value) -> ir.Value:
        """The sum of all lanes, pair by pair."""
        kind = value.type
        name = f"llvm.vector.reduce.fadd.{self.suffix(kind)}"
        function = self.module.globals.get(name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(kind.element, [kind.element, kind]), name)
        words = (ir.Constant(kind.element, -0.0), value)
        return self.builder.call(function, words, fastmath=("reassoc",))

    def transpose(self, rows: list[ir.Value]) -> list[ir.Value]:
        """The transpose of a square of vectors: log2 rounds of two-input shuffles."""
        lanes = len(rows)
        width = 1
        while width < lanes:
            rows = self._exchange(rows, width)
            width *= 2
        return rows

    def _exchange(self, rows: list[ir.Value], width: int) -> list[ir.Value]:
        lanes = rows[0].type.count
        result = list(rows)
        kind = ir.VectorType(I32, lanes)
        low = [i if not i & width else lanes + (i ^ width) for i in range(lanes)]
        high = [(i | width) if not i & width else lanes + i for i in range(lanes)]
        for i in range(len(rows)):
            if i & width:
                continue
            a, b = rows[i], rows[i | width]
            result[i] = self.builder.shuffle_vector(a, b, ir.Constant(kind, low))
            result[i | width] = self.builder.shuffle_vector(a, b, ir.Constant(kind, high))
        return result
