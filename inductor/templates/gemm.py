"""Matrix products: C[m, n] = A[m, k] @ B[k, n] in float32, batched, with a fused epilogue.

`build(...)` returns a `Template`; its kernel takes the arguments (A, B, C, scratch, *extra) and a range of (batch, block of rows, panel of
columns). A tile of C lives in registers while k runs: rows of A are broadcast against vectors of B. B is packed panel by panel and A block by block
into the thread's scratch memory unless they can be read where they lie. Tile heights are even (13 + 13 + 12, not 14 + 14 + 10), so that no tile is
much slower than the others. An epilogue is a function `(emitter, value, row, column, mask, arguments) -> value` that writes IR for one vector of C:
`row` and `column` are the indices of its first lane, `mask` the lanes that exist, `arguments` the kernel's argument block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from inductor.templates.emit import I64, POINTER, Emitter, Value
from inductor.templates.template import Template

A, B, C, SCRATCH, EXTRA = range(5)
"""The kernel's argument words; those of the epilogue start at EXTRA."""

Epilogue = Callable[[Emitter, ir.Value, ir.Value, ir.Value, ir.Value, ir.Value], ir.Value]

BLOCK_ROWS = 256  # rows of A packed together
BLOCK_DEPTH = 320  # k steps between visits to C: a tile of A stays in the first cache level
PACKED_BYTES = 1 << 20  # packed rows of A kept at a time
NEAR = 16  # k steps by which packed columns are brought to the first cache level early
GROUP = 4  # panels of B packed together


@dataclass(frozen=True)
class Tile:
    """Rows and vectors of columns of C that are kept in registers."""

    rows: int
    vectors: int


def choose_tile(m: int, n: int, lanes: int) -> Tile:
    """The tile with the fewest cycles per k step, by the throughput of two FMA and two load ports."""
    registers = 32 if lanes == 16 else 16
    best, winner = math.inf, Tile(1, 1)
    for vectors in (2, 3, 4, 1, 6, 8):
        highest = min(lanes, (registers - 1 - vectors) // vectors)
        if highest < 1 or (vectors > 1 and (vectors - 1) * lanes >= n):
            continue
        tiles = -(-m // highest)
        rows = -(-m // tiles)
        per_tile = max(rows * vectors / 2, (rows + vectors) / 2, 4.0)
        cycles = tiles * per_tile * -(-n // (vectors * lanes))
        if cycles < best * 0.98:
            best, winner = cycles, Tile(rows, vectors)
    return winner


@dataclass(frozen=True)
class Problem:
    """Sizes and element strides. `batch` holds (size, stride of A, of B, of C) per batch dimension."""

    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    c: tuple[int, int]
    batch: tuple[tuple[int, int, int, int], ...] = ()
    accumulate: bool = False

    @property
    def count(self) -> int:
        return math.prod(size for size, *_ in self.batch)

    def transposed(self) -> Problem:
        """The same product as C' = B' A'."""
        batch = tuple((size, b, a, c) for size, a, b, c in self.batch)
        swap = lambda s: (s[1], s[0])  # noqa: E731
        return Problem(
            self.n, self.m, self.k, swap(self.b), swap(self.a), swap(self.c), batch, self.accumulate
        )


class _Gemm:
    """Writes the module of one problem."""

    def __init__(self, problem: Problem, epilogue: Epilogue | None) -> None:
        self.problem, self.epilogue = problem, epilogue
        self.module = ir.Module("gemm")
        self.main = Emitter(self.module, "gemm")
        self.lanes = self.main.lanes
        p = problem
        self.tile = choose_tile(p.m, p.n, self.lanes)
        self.width = self.tile.vectors * self.lanes
        self.panels = -(-p.n // self.width)
        self.blocks = max(1, -(-p.m // BLOCK_ROWS))
        tiles = -(-p.m // self.tile.rows)
        self.block_tiles = -(-tiles // self.blocks)
        self.blocks = -(-tiles // self.block_tiles)
        self.tiles = tiles
        # `tall` tiles of tile.rows rows come first, then tiles with one row less.
        self.tall = p.m - tiles * (self.tile.rows - 1)
        depths = max(1, -(-p.k // BLOCK_DEPTH))
        self.depth = max(1, -(-p.k // depths))
        block_rows = self.block_tiles * self.tile.rows
        spans = max(1, -(-p.k * block_rows * 4 // PACKED_BYTES))
        self.span = self.depth * max(1, -(-p.k // (spans * self.depth)))
        self.a_by_rows = p.a[1] == 1
        self.b_by_rows = p.b[1] == 1
        self.pack_a = not self.a_by_rows or self.panels >= 8 or self._collides()
        self.pack_b = not self.b_by_rows or tiles > 1
        # While one block of B is multiplied, the next is brought to the second cache level.
        self.ahead = self.pack_b and self.b_by_rows and tiles >= self.tile.vectors
        self.a_bytes = (block_rows * self.span + 16 * self.lanes) * 4 if self.pack_a else 0
        self.b_bytes = (GROUP * self.depth + self.lanes) * self.width * 4 if self.pack_b else 0

    def _collides(self) -> bool:
        """Would the rows of a tile, read in place, throw one another out of the first cache level?"""
        lines = max(1, self.depth * 4 // 64)
        sets = [0] * 64
        for row in range(self.tile.rows):
            first = row * self.problem.a[0] * 4 // 64
            for line in range(lines):
                sets[(first + line) % 64] += 1
        return max(sets) > 5

    # -- the parts ----------------------------------------------------------------------------

    def heights(self) -> list[int]:
        """The tile heights in use."""
        rows = self.tile.rows
        return [h for h, used in ((rows, self.tall > 0), (rows - 1, self.tall < self.tiles)) if used]

    def micro(self, rows: int) -> ir.Function:
        """One tile: c = or += a @ b over `k` steps, then the epilogue after the last."""
        kind = ir.FunctionType(
            ir.VoidType(), [POINTER] * 3 + [I64] * 6 + [POINTER, POINTER, I64]
        )
        e = Emitter(self.module, f"tile_{rows}", kind)
        a, b, c, k, columns, first, last, row, column, block, ahead, stride = e.arguments
        vectors = self.tile.vectors
        masks = [e.mask(e.subtract(columns, v * self.lanes)) for v in range(vectors)]
        ldc = self.problem.c[0]
        for i in range(rows):
            for v in range(vectors):
                e.prefetch(e.at(c, i * ldc + v * self.lanes), write=True)
        zeros = [e.constant(0.0)] * (rows * vectors)
        # A large tile hides the loop's own instructions; a small one is unrolled.
        step = max(1, 24 // (rows * vectors))
        whole = e.multiply(e.divide(k, step), step)
        with e.loop(0, whole, step, zeros) as rest:
            for u in range(step):
                self._multiply(e, rest, a, b, e.add(rest.index, u), rows, masks)
                if self.ahead:
                    later = e.at(ahead, e.multiply(e.add(rest.index, u), stride))
                    e.prefetch(later, locality=2)
        if step > 1:
            with e.loop(whole, k, 1, rest.values) as rest:
                self._multiply(e, rest, a, b, rest.index, rows, masks)
        starts, ends = e.compare("!=", first, 0), e.compare("!=", last, 0)
        sums = e.choose(
            starts,
            lambda: rest.values,
            lambda: [
                e.builder.fadd(value, e.load_masked(c, i * ldc + v * self.lanes, masks[v]))
                for (i, v), value in zip(self._grid(rows), rest.values, strict=True)
            ],
        )
        if self.epilogue is not None:
            sums = e.choose(
                ends,
                lambda: [
                    self.epilogue(
                        e, value, e.add(row, i), e.add(column, v * self.lanes), masks[v], block
                    )
                    for (i, v), value in zip(self._grid(rows), sums, strict=True)
                ],
                lambda: sums,
            )
        for (i, v), value in zip(self._grid(rows), sums, strict=True):
            e.store_masked(value, c, i * ldc + v * self.lanes, masks[v])
        e.finish()
        return e.function

    def _grid(self, rows: int) -> list[tuple[int, int]]:
        return [(i, v) for i in range(rows) for v in range(self.tile.vectors)]

    def _multiply(
        self, e: Emitter, loop: Any, a: ir.Value, b: ir.Value, k: Value, rows: int, masks: list
    ) -> None:
        """One k step: `rows` broadcasts against the vectors of B."""
        vectors, lda = self.tile.vectors, self.problem.a[0]
        line = e.at(b, e.multiply(k, self.width if self.pack_b else self.problem.b[0]))
        masked = not self.pack_b and self.problem.n % self.width != 0
        loaded = [
            e.load_masked(line, v * self.lanes, masks[v])
            if masked
            else e.load_vector(line, v * self.lanes)
            for v in range(vectors)
        ]
        if self.pack_b:
            for v in range(vectors):
                e.prefetch(e.at(line, NEAR * self.width + v * self.lanes))
        start = e.at(a, e.multiply(k, rows) if self.pack_a else k)
        for i in range(rows):
            value = e.splat(e.load(start, i if self.pack_a else i * lda))
            for v in range(vectors):
                slot = i * vectors + v
                loop.next[slot] = e.fma(value, loaded[v], loop.next[slot])

    def copy_a(self, rows: int) -> ir.Function:
        """Pack `rows` rows of A over `k` steps: k after k, the rows side by side."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64])
        e = Emitter(self.module, f"pack_a_{rows}", kind)
        source, target, k = e.arguments
        if not self.a_by_rows:
            mask = e.mask(rows)
            with e.loop(0, k) as loop:
                value = e.load_masked(source, e.multiply(loop.index, self.problem.a[1]), mask)
                e.store_vector(value, target, e.multiply(loop.index, rows))
            e.finish()
            return e.function
        pad = [e.constant(0.0)] * (self.lanes - rows)
        with e.loop(0, k, self.lanes) as loop:
            mask = e.mask(e.subtract(k, loop.index))
            block = [
                e.load_masked(source, e.add(loop.index, i * self.problem.a[0]), mask)
                for i in range(rows)
            ]
            # Each store reaches past its own rows; the next one, a k step later, puts that right.
            for j, vector in enumerate(e.transpose(block + pad)):
                e.store_vector(vector, target, e.multiply(e.add(loop.index, j), rows))
        e.finish()
        return e.function

    def copy_b(self) -> ir.Function:
        """Pack one panel of B over `k` steps; columns that do not exist are 0 or a repetition."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64])
        e = Emitter(self.module, "pack_b", kind)
        source, target, k, columns = e.arguments
        vectors = self.tile.vectors
        if self.b_by_rows:
            masks = [e.mask(e.subtract(columns, v * self.lanes)) for v in range(vectors)]
            with e.loop(0, k) as loop:
                line = e.at(source, e.multiply(loop.index, self.problem.b[0]))
                for v in range(vectors):
                    value = e.load_masked(line, v * self.lanes, masks[v])
                    e.store_vector(
                        value, target, e.add(e.multiply(loop.index, self.width), v * self.lanes)
                    )
            e.finish()
            return e.function
        for v in range(vectors):
            with e.loop(0, k, self.lanes) as loop:
                mask = e.mask(e.subtract(k, loop.index))
                block = []
                for j in range(v * self.lanes, (v + 1) * self.lanes):
                    column = e.minimum(j, e.subtract(columns, 1)) if self.problem.n % self.width else j
                    offset = e.multiply(column, self.problem.b[1])
                    block.append(e.load_masked(source, e.add(offset, loop.index), mask))
                for j, vector in enumerate(e.transpose(block)):
                    line = e.multiply(e.add(loop.index, j), self.width)
                    e.store_vector(vector, target, e.add(line, v * self.lanes))
        e.finish()
        return e.function

    # -- the driver ---------------------------------------------------------------------------

    def write(self) -> Template:
        p, e = self.problem, self.main
        self.tiles_of = {h: self.micro(h) for h in self.heights()}
        self.packs_of = {h: self.copy_a(h) for h in self.heights()} if self.pack_a else {}
        self.pack_panel = self.copy_b() if self.pack_b else None
        _, start, stop = e.arguments
        pointers = [e.pointer(i) for i in (A, B, C, SCRATCH)]
        slot = e.builder.alloca(I64)
        e.builder.store(start, slot)
        # Runs of panels that share their rows of A: [unit, end).
        with e.loop(e.divide(start, self.panels), e.divide(e.add(stop, self.panels - 1), self.panels)) as run:
            begin = e.multiply(run.index, self.panels)
            low = e.subtract(e.maximum(start, begin), begin)
            high = e.subtract(e.minimum(stop, e.add(begin, self.panels)), begin)
            block = e.remainder(run.index, self.blocks)
            a, b, c = self._batch(e, pointers, e.divide(run.index, self.blocks))
            self._run(e, a, b, c, pointers[3], block, low, high)
        e.finish()
        flops = 2.0 * min(p.m, self.block_tiles * self.tile.rows) * self.width * p.k
        units = p.count * self.blocks * self.panels
        scratch = self.a_bytes + self.b_bytes + 64
        return Template(
            str(self.module), "gemm", units, flops / 100 + 20, 1, scratch, SCRATCH
        )

    def _batch(self, e: Emitter, pointers: list, index: Value) -> list:
        offsets: list[Value] = [0, 0, 0]
        for size, *strides in reversed(self.problem.batch):
            here = e.remainder(index, size)
            index = e.divide(index, size)
            offsets = [e.add(o, e.multiply(here, s)) for o, s in zip(offsets, strides, strict=True)]
        return [e.at(q, o) for q, o in zip(pointers, offsets, strict=False)]

    def _run(
        self, e: Emitter, a: Any, b: Any, c: Any, scratch: Any, block: Value, low: Value, high: Value
    ) -> None:
        """Panels [low, high) of one block of rows."""
        p = self.problem
        first_tile = e.multiply(block, self.block_tiles)
        last_tile = e.minimum(e.add(first_tile, self.block_tiles), self.tiles)
        packed_b = e.at(scratch, self.a_bytes // 4)
        with e.loop(0, max(p.k, 1), self.span) as span:
            span_end = e.minimum(e.add(span.index, self.span), p.k)
            if self.pack_a:
                self._pack_rows(e, a, scratch, first_tile, last_tile, span.index, span_end)
            with e.loop(low, high, GROUP) as group:
                group_end = e.minimum(e.add(group.index, GROUP), high)
                with e.loop(span.index, e.maximum(span_end, e.add(span.index, 1)), self.depth) as depth:
                    k = e.subtract(e.minimum(e.add(depth.index, self.depth), span_end), depth.index)
                    if self.pack_b:
                        self._pack_columns(e, b, packed_b, group.index, group_end, depth.index, k)
                    with e.loop(first_tile, last_tile) as tile:
                        ahead = self._ahead(e, b, group, depth, span.index, span_end, k, tile)
                        self._panels(
                            e, a, b, c, scratch, packed_b, tile.index, first_tile, group.index,
                            group_end, span.index, depth.index, k, ahead,
                        )

    def _ahead(
        self, e: Emitter, b: Any, group: Any, depth: Any, span: Value, span_end: Value, k: Value, tile: Any
    ) -> tuple[Value, Value]:
        """What the next block of B holds in the line that is this tile's to fetch, and the step between rows."""
        if not self.ahead:
            return b, 0
        row_stride = self.problem.b[0]
        more = e.compare("<", e.add(depth.index, k), span_end)
        next_k = e.select(more, e.add(depth.index, k), span)
        next_group = e.select(more, group.index, e.add(group.index, GROUP))
        ordinal = e.remainder(tile.index, self.block_tiles)
        wanted = e.compare("<", ordinal, self.tile.vectors)
        place = e.sum(
            e.multiply(next_k, row_stride),
            e.multiply(next_group, self.width),
            e.multiply(ordinal, self.lanes),
        )
        return e.at(b, e.select(wanted, place, 0)), e.select(wanted, row_stride, 0)

    def _first_row(self, e: Emitter, tile: Value) -> Value:
        """The row at which a tile starts."""
        short = self.tile.rows - 1
        return e.add(e.multiply(tile, short), e.minimum(tile, self.tall))

    def _by_height(self, e: Emitter, tile: Value, action: Callable[[int], Any]) -> None:
        heights = self.heights()
        if len(heights) == 1:
            action(heights[0])
            return

        def run(h: int) -> list:
            action(h)
            return []

        e.choose(e.compare("<", tile, self.tall), lambda: run(heights[0]), lambda: run(heights[1]))

    def _packed_row(self, e: Emitter, row: Value, first_tile: Value, k: Value, from_k: Value, size: Value) -> Value:
        """Offset of a tile in the packed block: depth after depth, tile after tile."""
        rows = e.subtract(row, self._first_row(e, first_tile))
        return e.add(e.multiply(e.subtract(k, from_k), self._rows_in_block(e, first_tile)), e.multiply(rows, size))

    def _rows_in_block(self, e: Emitter, first_tile: Value) -> Value:
        last = e.minimum(e.add(first_tile, self.block_tiles), self.tiles)
        return e.subtract(self._first_row(e, last), self._first_row(e, first_tile))

    def _pack_rows(
        self, e: Emitter, a: Any, scratch: Any, first_tile: Value, last_tile: Value, k0: Value, k1: Value
    ) -> None:
        row_stride, k_stride = self.problem.a
        with e.loop(k0, k1, self.depth) as depth:
            size = e.subtract(e.minimum(e.add(depth.index, self.depth), k1), depth.index)
            with e.loop(first_tile, last_tile) as tile:
                row = self._first_row(e, tile.index)
                offset = e.add(e.multiply(row, row_stride), e.multiply(depth.index, k_stride))
                target = self._packed_row(e, row, first_tile, depth.index, k0, size)
                source, target = e.at(a, offset), e.at(scratch, target)
                self._by_height(
                    e, tile.index, lambda h, s=source, t=target, n=size: e.call(self.packs_of[h], s, t, n)
                )

    def _pack_columns(
        self, e: Emitter, b: Any, packed: Any, low: Value, high: Value, k: Value, size: Value
    ) -> None:
        k_stride, column_stride = self.problem.b
        with e.loop(low, high) as panel:
            column = e.multiply(panel.index, self.width)
            source = e.at(b, e.add(e.multiply(k, k_stride), e.multiply(column, column_stride)))
            target = e.at(packed, e.multiply(e.subtract(panel.index, low), e.multiply(size, self.width)))
            e.call(self.pack_panel, source, target, size, e.subtract(self.problem.n, column))

    def _panels(
        self, e: Emitter, a: Any, b: Any, c: Any, scratch: Any, packed_b: Any, tile: Value,
        first_tile: Value, low: Value, high: Value, span: Value, k: Value, size: Value,
        ahead: tuple[Value, Value],
    ) -> None:
        """One tile of rows against every panel of the group."""
        p = self.problem
        row = self._first_row(e, tile)
        if self.pack_a:
            rows = e.at(scratch, self._packed_row(e, row, first_tile, k, span, size))
        else:
            rows = e.at(a, e.add(e.multiply(row, p.a[0]), k))
        first = 0 if p.accumulate else e.builder.zext(e.compare("==", k, 0), I64)
        last = e.builder.zext(e.compare(">=", e.add(k, size), p.k), I64)

        def run(h: int) -> None:
            with e.loop(low, high) as panel:
                column = e.multiply(panel.index, self.width)
                if self.pack_b:
                    offset = e.multiply(e.subtract(panel.index, low), e.multiply(size, self.width))
                    columns = e.at(packed_b, offset)
                else:
                    columns = e.at(b, e.add(e.multiply(k, p.b[0]), column))
                target = e.at(c, e.add(e.multiply(row, p.c[0]), column))
                e.call(
                    self.tiles_of[h], rows, columns, target, size, e.subtract(p.n, column),
                    first, last, row, column, e.arguments[0],
                    e.at(ahead[0], e.multiply(e.subtract(panel.index, low), self.width)), ahead[1],
                )

        self._by_height(e, tile, run)


def build(problem: Problem, epilogue: Epilogue | None = None) -> Template:
    """The kernel of one product; arguments (A, B, C, *extra), the epilogue's words from `EXTRA` on.

    Raises ValueError where neither stride of an operand is 1, or C's columns are not contiguous.
    """
    if not (problem.m and problem.n and problem.count):
        problem = replace(problem, m=1, n=1, batch=((0, 0, 0, 0),))
    problem = _normalized(problem)
    for name in "ab":
        if 1 not in getattr(problem, name):
            raise ValueError(f"gemm: operand {name} needs a stride of 1, got {getattr(problem, name)}")
    if problem.c[1] != 1:
        raise ValueError(f"gemm: the columns of c must be contiguous, got strides {problem.c}")
    return _Gemm(problem, epilogue).write()


def _normalized(problem: Problem) -> Problem:
    """Strides of dimensions of size one do not matter: make them convenient."""

    def tidy(strides: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
        if columns <= 1:
            return strides[0], 1
        if rows <= 1 and strides[1] != 1:
            return 1, strides[1]
        return strides

    p = problem
    return replace(p, a=tidy(p.a, p.m, p.k), b=tidy(p.b, p.k, p.n), c=tidy(p.c, p.m, p.n))


def step(
    m: int, n: int, k: int, trans_a: bool = False, trans_b: bool = False, batch: int = 1,
    epilogue: Epilogue | None = None, accumulate: bool = False,
) -> Template:
    """The kernel for contiguous operands; a transposed one is stored [k, m] or [n, k]."""
    a = (1, m) if trans_a else (k, 1)
    b = (1, k) if trans_b else (n, 1)
    batches: Sequence[tuple[int, int, int, int]] = ((batch, m * k, k * n, m * n),) if batch != 1 else ()
    return build(Problem(m, n, k, a, b, (n, 1), tuple(batches), accumulate), epilogue)


def bias(argument: int = EXTRA, by_rows: bool = False) -> Epilogue:
    """Add a vector over n (or over m), whose address is argument word `argument`."""

    def emit(e: Emitter, value: Any, row: Any, column: Any, mask: Any, block: Any) -> Any:
        address = e.builder.inttoptr(e.load(block, argument, I64), POINTER)
        if by_rows:
            return e.builder.fadd(value, e.splat(e.load(address, row)))
        return e.builder.fadd(value, e.load_masked(address, column, mask))

    return emit


def relu(e: Emitter, value: Any, row: Any, column: Any, mask: Any, block: Any) -> Any:
    """max(value, 0); NaN stays NaN."""
    negative = e.builder.fcmp_ordered("<", value, e.constant(0.0))
    return e.builder.select(negative, e.constant(0.0), value)


def chain(*epilogues: Epilogue) -> Epilogue:
    """One epilogue after another."""

    def emit(e: Emitter, value: Any, *where: Any) -> Any:
        for epilogue in epilogues:
            value = epilogue(e, value, *where)
        return value

    return emit
