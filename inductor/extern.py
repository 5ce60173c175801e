"""Matrix products become steps of generated kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fx.node import Node
from inductor.halves import widened
from inductor.index import Variable, contiguous_strides, split_points, symbol
from inductor.loops import HALF, ITEMSIZE, Buffer, Inspection, TypedAlgebra, Value
from inductor.lower import Lowering, Step, lowers, view
from inductor.values import Computed, Coordinates, Lazy, Stored, Viewed, converted


def _single(*values: Lazy) -> bool:
    """Whether a product of the values is computed in single precision."""
    return all(v.dtype == "float32" or v.dtype in HALF for v in values)


def _suits(value: Stored) -> bool:
    """Whether a product can read it where it lies: one of the last two dimensions contiguous,
    nothing backwards.
    """
    rows, columns = value.strides[-2:]
    if any(s < 0 for s in value.strides) or 1 not in (rows, columns):
        return False
    m, n = value.shape[-2:]
    return (columns == 1 and (rows >= n or m == 1)) or (rows == 1 and (columns >= m or n == 1))


@dataclass(frozen=True)
class Operand:
    """A factor in memory: where it starts, the strides of its last two dimensions, and (size, stride)
    of each of its batch dimensions.
    """

    buffer: Buffer
    offset: int
    strides: tuple[int, int]
    batch: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(value: Stored) -> Operand:
        batch = tuple(zip(value.shape[:-2], value.strides[:-2], strict=True))
        return Operand(value.buffer, value.offset, value.strides[-2:], batch)  # type: ignore[arg-type]


def _folded(value: Lazy) -> Operand | None:
    """A stack of matrices that is two dimensions of strided memory seen as one: heads of a batch."""
    found = value.place() if isinstance(value, Viewed) and value.copy is None else None
    if found is None or value.ndim != 3:
        return None
    buffer, index, (first, *last) = found
    factor = split_points([index], first)
    if factor is None:
        return None
    outer, inner = Variable("outer", first.size // factor), Variable("inner", factor)
    index = index.substitute({first: symbol(outer) * factor + symbol(inner)})
    if not index.is_affine():
        return None
    strides = [index.terms.get(v, 0) for v in (outer, inner, *last)]
    trial = Stored(buffer, (outer.size, factor, *value.shape[1:]), strides, index.constant)
    return Operand.of(trial) if _suits(trial) else None


def _operand(lowering: Lowering, value: Lazy) -> Operand:
    """The value as memory that a product can read."""
    stored = value.stored()
    if stored is not None:
        if _suits(stored):
            return Operand.of(stored)
        return Operand.of(lowering.copy(value, contiguous_strides(value.shape)))
    folded = _folded(value)
    if folded is not None:
        return folded
    strides = lowering.natural_strides(value)
    if not _suits(Stored(Buffer("trial", value.dtype, value.shape, strides), value.shape, strides)):
        strides = contiguous_strides(value.shape)
    return Operand.of(lowering.realize(value, strides=strides))


def _batches(
    lowering: Lowering, a: Operand, b: Operand, factors: tuple[Lazy, Lazy], step: int,
    heads: int,
) -> tuple[Operand, Operand, tuple]:
    """The batch dimensions as (size, stride in a, in b, in the result), both factors split alike."""
    sizes = [tuple(size for size, _ in o.batch) for o in (a, b)]
    if len(sizes[0]) == len(sizes[1]) == 2 and sizes[0] != sizes[1]:
        b = Operand.of(lowering.copy(factors[1], contiguous_strides(factors[1].shape)))
    finest = max(a.batch, b.batch, key=len)
    shape = tuple(size for size, _ in finest)
    if heads and len(shape) == 1 and shape[0] % heads == 0:
        shape = (shape[0] // heads, heads)
    result = contiguous_strides((*shape, step))[:-1]

    def spread(o: Operand) -> tuple[int, ...]:
        if len(o.batch) == len(shape):
            return tuple(stride for _, stride in o.batch)
        return tuple(o.batch[0][1] * s // step for s in result)

    return a, b, tuple(zip(shape, spread(a), spread(b), result, strict=True))


def _heads(node: Node) -> int:
    """How many heads the result is going to be split into and put side by side; 0 for not at all.

    It is then written so at once: (batch, row, head, column) in memory.
    """
    users = list(node.users)
    split = users[0] if len(users) == 1 else None
    if split is None or getattr(split.target, "name", "") != "view" or len(split.users) != 1:
        return 0
    shape = tuple(map(int, split.meta["val"].shape))
    whole = tuple(map(int, node.meta["val"].shape))
    turn = next(iter(split.users))
    name, arguments = getattr(turn.target, "name", ""), turn.args[1:]
    turned = (name == "transpose" and {int(d) % 4 for d in arguments} == {1, 2}) or (  # type: ignore[arg-type]
        name == "permute" and tuple(arguments[0]) == (0, 2, 1, 3)  # type: ignore[arg-type]
    )
    fits = len(shape) == 4 and len(whole) == 3 and shape[2:] == whole[1:]
    return shape[1] if fits and turned and shape[1] > 1 else 0


def product_loop(left: Lazy, right: Lazy, lowering: Lowering, shape: tuple[int, ...]) -> Lazy:
    """A small or unusual product as a plain reduction."""
    depth, rank, dtype = left.shape[-1], len(shape), left.dtype

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        a = left.at(s, (*c[: rank - 1], c[rank]))
        b = right.at(s, (*c[: rank - 2], c[rank], c[rank - 1]))
        return s.mul(a, b)

    whole = Computed((*shape, depth), dtype, body, "product")
    return lowering.reduce(
        whole, (rank,), False, "sum", dtype, dtype, lambda s, v: v, None, "product"
    )


def _keeps(lowering: Lowering, problem: Any, b: Operand) -> bool:
    """Whether B is a parameter of an inference, and worth packing once."""
    from inductor.weights import LEAST

    return lowering.lasts(b.buffer) and not b.batch and problem.n * problem.k >= LEAST


def _tuned(lowering: Lowering, problem: Any, b: Operand) -> Any:
    """The product with the tile that is the quickest, where the compilation is tuned."""
    if not lowering.tuned:
        return problem
    from inductor import tuning, ways
    from inductor.templates.gemm import candidates

    packed = _keeps(lowering, problem, b)
    found = {
        "rules" if p.tile is None else f"{p.tile.rows}x{p.tile.vectors}": p
        for p in candidates(replace(problem, packed=packed))
    }
    timed = [ways.product(name, p) for name, p in found.items()]
    return replace(problem, tile=found[tuning.quickest(f"product {problem} {packed}", timed)].tile)


def packed_once(lowering: Lowering, problem: Any, b: Operand) -> tuple[Any, Operand]:
    """The product with B packed once, where B is a parameter of an inference."""
    from inductor.templates import panels
    from inductor.weights import keep

    if not _keeps(lowering, problem, b):
        return problem, b
    template, size = panels.pack(problem), panels.size(problem)
    buffer = keep(lowering, b.buffer, b.offset, template, size)
    return replace(problem, packed=True), Operand(buffer, 0, b.strides)


def prepared(
    lowering: Lowering, name: str, template: Any, source: Stored | Operand, size: int
) -> Stored:
    """A step of a template (source, target) that fills a buffer of `size` elements."""
    out = Buffer(lowering.name(), source.buffer.dtype, (size,), (1,))

    def make(reference: Any) -> list[Any]:
        place = reference(source.buffer, source.offset)
        return [template.step(place, reference(out), name=name)]

    lowering.emit(Step(name, [source.buffer], [out], make))
    return Stored.whole(out)


FEWEST_ROWS = 8  # of products that had better compute B as they go than read it from memory
FEW_ROWS = 16  # rows of products that cost as much as the reading of B
OFTEN = 4  # such products with the same B that are worth packing it for them


def packed_for_many(
    lowering: Lowering, factor: Any, problem: Any, b: Operand
) -> tuple[Any, Operand]:
    """The product with B packed for all products of few rows that read it: a step in time each."""
    from inductor.templates import panels
    from inductor.weights import LEAST

    products = [u for u in factor.users if getattr(u.target, "name", "") in ("mm", "addmm")]
    alike = [u for u in products if u.args[2 if u.target.name == "addmm" else 1] is factor]
    few = problem.m <= FEW_ROWS and problem.n * problem.k >= LEAST
    if problem.packed or b.batch or not few or len(alike) < OFTEN:
        return problem, b
    key = (b, panels.pack(problem).key)
    if key not in lowering.packed:
        lowering.packed[key] = prepared(
            lowering, "pack_factor", panels.pack(problem), b, panels.size(problem)
        ).buffer
    return replace(problem, packed=True), Operand(lowering.packed[key], 0, b.strides)


def _is_narrow(factor: Lazy, node: Any) -> bool:
    """Whether a factor that only this product reads is computed from much less memory than it would take:
    dequantized, or widened."""
    if factor.stored() is not None or factor.ndim != 2 or len(node.users) > 1:
        return False
    found = Inspection()
    factor.at(found, tuple(symbol(v) for v in factor.variables()))
    whole = [read.buffer for read in found.reads.values() if 2 * read.buffer.size >= factor.numel]
    narrow = 2 * sum(ITEMSIZE[buffer.dtype] for buffer in whole) <= ITEMSIZE[factor.dtype]
    return bool(whole) and narrow  # what is computed of nothing large is work rather than memory


def _biased(product: Lazy, bias: Lazy | None) -> Lazy:
    """Plus a vector over the columns."""
    if bias is None:
        return product
    return Computed(
        product.shape, product.dtype, lambda s, c: s.add(product.at(s, c), bias.at(s, c[-1:])), "add"
    )


@lowers("mm", "bmm")
def lower_product(
    lowering: Lowering, node: Node, bound: tuple, bias: Lazy | None = None
) -> Lazy:
    """A product; `bias`, a vector over the columns, is added where it is made."""
    factors = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    left, right = (widened(lowering, factor) for factor in factors)
    bias = None if bias is None else widened(lowering, bias)
    return converted(_product(lowering, node, bound, left, right, bias), factors[0].dtype)


def _product(
    lowering: Lowering, node: Node, bound: tuple, left: Lazy, right: Lazy, bias: Lazy | None
) -> Lazy:
    from inductor.templates.gemm import build
    from inductor.templates.problem import Problem

    shape = tuple(map(int, node.meta["val"].shape))
    m, n, k = shape[-2], shape[-1], left.shape[-1]
    dtype = left.dtype
    if dtype not in ("float32", "float64") or math.prod(shape) * k == 0:
        return product_loop(left, right, lowering, shape)
    if m <= FEWEST_ROWS and _is_narrow(right, bound[1]):
        return _biased(product_loop(left, right, lowering, shape), bias)
    a, b = _operand(lowering, left), _operand(lowering, right)
    heads = _heads(node) if bias is None and len(shape) == 3 else 0
    a, b, batch = _batches(lowering, a, b, (left, right), m * n, heads)
    extra = lowering.contiguous(bias) if bias is not None else None
    out = Buffer(lowering.name(), dtype, shape, contiguous_strides(shape))
    result: Lazy = Stored.whole(out)
    rows = n
    if heads and len(batch) == 2 and batch[1][0] == heads:
        count = shape[0] // heads
        out = Buffer(out.name, dtype, (count, m, heads, n), contiguous_strides((count, m, heads, n)))
        result = Viewed(Stored.whole(out), shape, lambda c: (c[0] // heads, c[1], c[0] % heads, c[2]))
        rows = heads * n
        batch = ((count, *batch[0][1:3], m * rows), (heads, *batch[1][1:3], n))

    problem = Problem(m, n, k, a.strides, b.strides, (rows, 1), batch, dtype=dtype)
    problem, b = packed_once(lowering, _tuned(lowering, problem, b), b)
    problem, b = packed_for_many(lowering, bound[1], problem, b)

    def make(
        reference: Any, target: Buffer = out, epilogue: Any = None, more: Sequence[Buffer] = ()
    ) -> list[Any]:
        from inductor.templates.finish import bias as add_bias
        from inductor.templates.finish import chain

        parts = [add_bias()] * (extra is not None) + [epilogue] * (epilogue is not None)
        template = build(problem, chain(*parts) if parts else None)
        words = [reference(extra.buffer, extra.offset)] if extra is not None else []
        return [template.step(
            reference(a.buffer, a.offset), reference(b.buffer, b.offset), reference(target),
            *words, *map(reference, more),
            name=f"{node.target.name} {m}x{k}x{n}",  # type: ignore[union-attr]
        )]

    inputs = [a.buffer, b.buffer, *([extra.buffer] if extra is not None else [])]
    images = shape[0] if len(shape) == 3 else 1
    words = int(extra is not None)
    matrix = (images, m, n) if dtype == "float32" and rows == n else None
    lowering.emit(Step(f"mm_{m}x{k}x{n}", inputs, [out], make, matrix, words))
    return result


@lowers("addmm")
def lower_addmm(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    """beta * input + alpha * (mat1 @ mat2), the sum fused into whoever reads it."""
    from inductor.values import broadcast

    input, beta, alpha = lowering.tensor(bound[0]), bound[3], bound[4]
    factors = lowering.tensor(bound[1]), lowering.tensor(bound[2])
    shape = tuple(map(int, node.meta["val"].shape))
    whole = _single(*factors) and 0 not in (*shape, factors[0].shape[1])
    if whole and beta == alpha == 1 and input.shape in ((shape[1],), (1, shape[1])):
        vector = view(input, (shape[1],), (1,), 0)
        return lower_product(lowering, node, (bound[1], bound[2]), vector)
    product = lower_product(lowering, node, (bound[1], bound[2]))
    place = broadcast(input, shape)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        total = product.at(s, c)
        if alpha != 1:
            total = s.mul(total, alpha)
        if beta == 0:
            return total
        extra = input.at(s, place(c))
        return s.add(s.mul(extra, beta) if beta != 1 else extra, total)

    return Computed(shape, product.dtype, body, "addmm")
