"""Attention in one pass: softmax(scale * Q @ K^T + mask) @ V, and no memory for all the scores.

`forward(problem)` is a kernel (Q, K, V, out, scratch, [mask], [sums]) over (batch, head, block of rows). Keys and
values are packed block by block; a tile of rows is multiplied with a block of keys into the first cache
level, where its softmax is taken as of what is known so far: each row has its highest score and its
total, and what was added up before is scaled when a later block has a higher one (an "online" softmax).
A causal product leaves out the blocks and panels of columns that no row of a tile may see.

For the gradient (`backward.py`) `sums` takes of each row the highest score and the sum of exponentials relative to it: the
logarithm of the sum alone would lose the digits that tell large scores apart.
A row that may see nothing gives zeros, and an infinite sum there, if softmax is not to be plain; what is not a number in the scores
of a row makes the row so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from inductor import threads
from inductor.native import vector_bits, vector_registers
from inductor.templates.emit import I8, I64, POINTER, Emitter, Value
from inductor.templates.gemm import Gemm
from inductor.templates.problem import ITEMSIZE, Problem
from inductor.templates.template import Template
from inductor.templates.tile import Tile, even_rows, highest_tile

Q, K, V, OUT, SCRATCH, MASK = range(6)
"""The kernel's argument words."""

BLOCK = 512  # keys between two visits to a row
MOST_ROWS = 256  # rows that share packed keys and values

Strides = tuple[int, int, int]  # of batch, head and row; columns are contiguous


@dataclass(frozen=True)
class Mask:
    """What is added to the scores, or says which exist: its type, strides of batch, head, row and
    column (0 or 1), and what stands for a score that does not exist.
    """

    dtype: str
    strides: tuple[int, int, int, int]
    fill: float = -math.inf


@dataclass(frozen=True)
class Attention:
    """Sizes and element strides."""

    batch: int
    heads: int
    rows: int
    columns: int
    depth: int  # of queries and keys
    width: int  # of values
    q: Strides
    k: Strides
    v: Strides
    out: Strides
    scale: float
    causal: bool = False
    mask: Mask | None = None
    dtype: str = "float32"
    sums: bool = False
    plain: bool = False  # a row all of whose scores are -inf is not a number, instead of zeros


class Factor(Gemm):
    """One product of several in a module, whose driver is written elsewhere; B is packed."""

    def __init__(self, module: ir.Module, prefix: str, problem: Problem, tile: Tile) -> None:
        self.module, self.prefix, self.problem = module, prefix, problem
        self.epilogue = self.ahead = None
        self.itemsize = ITEMSIZE[problem.dtype]
        self.lanes = vector_bits() // (8 * self.itemsize)
        self.a_by_rows, self.b_by_rows = problem.a[1] == 1, problem.b[1] == 1
        self.pack_a, self.pack_b, self.depth = False, True, problem.k
        self._use_tile(tile)
        widths = [self.tile.vectors] * (self.full_panels > 0) + [self.tail] * (self.tail > 0)
        self.micros = {(h, v): self.micro(h, v) for h in self.heights() for v in widths}
        self.column_copies = {v: self.copy_columns(v) for v in widths}

    def each_panel(self, e: Emitter, low: Value, high: Value, action: Any) -> None:
        """`action(panel, vectors)` for panels [low, high)."""
        self._each_panel(e, low, high, action)

    def row(self, e: Emitter, tile: Value) -> Value:
        """The row at which a tile starts."""
        return self._first_row(e, tile)

    def by_height(self, e: Emitter, tile: Value, action: Any) -> None:
        """`action(height)` for a tile."""
        self._by_height(e, tile, action)


def balanced(rows: int, vectors: int, lanes: int) -> Tile:
    """The highest tile of so many vectors, evened out over the rows."""
    return Tile(even_rows(rows, max(1, highest_tile(vectors, lanes, vector_registers()))), vectors)


class Forward:
    """Writes the module of one problem."""

    def __init__(self, problem: Attention) -> None:
        p = self.problem = problem
        self.itemsize = ITEMSIZE[p.dtype]
        self.lanes = vector_bits() // (8 * self.itemsize)
        self.tile = balanced(p.rows, min(2, -(-p.columns // self.lanes)), self.lanes)
        self.panel = self.tile.vectors * self.lanes
        self.panels = -(-p.columns // self.panel)
        self.block = min(self.panels, max(1, BLOCK // self.panel))
        self.line = self.block * self.panel  # room for a row of scores
        self.single = self.panels <= self.block
        self.tiles = -(-p.rows // self.tile.rows)
        wanted = -(-2 * threads.available() // (p.batch * p.heads))
        blocks = max(-(-p.rows // MOST_ROWS), min(self.tiles, wanted))
        self.block_tiles = -(-self.tiles // blocks)
        self.blocks = -(-self.tiles // self.block_tiles)
        self._plan_scratch()

    def _plan_scratch(self) -> None:
        p = self.problem
        values = -(-p.width // self.lanes) * self.lanes
        slack = self.lanes * self.panel
        sizes = [
            self.line * p.depth + slack,  # keys
            (self.line + self.lanes) * values + slack,
            self.tile.rows * self.line + self.lanes,  # scores
            2 * self.block_tiles * self.tile.rows,  # highest scores and totals
        ]
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + -(-size // 16) * 16)
        self.keys, self.values, self.scores, self.state, self.scratch = starts

    def template(self) -> Template:
        """What is known before the module is written."""
        p = self.problem
        rows = min(p.rows, self.block_tiles * self.tile.rows)
        work = rows * p.columns * (2.0 * (p.depth + p.width) / 100 + 0.3) + p.columns * p.width / 4
        return Template(
            self.key(), "attention", self.write, p.batch * p.heads * self.blocks,
            work / (1 + p.causal), 2, self.scratch * self.itemsize, SCRATCH,
        )

    def key(self) -> str:
        """Everything the text depends on."""
        return f"attention {self.problem} {BLOCK} {MOST_ROWS} {self.blocks} {vector_bits()}"

    def write(self) -> str:
        """The module's text."""
        p = self.problem
        self.module = ir.Module("attention")
        self.main = e = Emitter(self.module, "attention", dtype=p.dtype)
        self.product = Factor(
            self.module, "scores_",
            Problem(p.rows, p.columns, p.depth, (p.q[2], 1), (1, p.k[2]), (self.line, 1), dtype=p.dtype),
            self.tile,
        )
        vectors = min(2, -(-p.width // self.lanes))
        self.mixed = Factor(
            self.module, "values_",
            Problem(p.rows, p.width, self.line, (self.line, 1), (p.v[2], 1), (p.out[2], 1), dtype=p.dtype),
            Tile(self.tile.rows, vectors),
        )
        self.softmax = self._write_softmax()
        self.steps = {height: self._write_step(height) for height in self.product.heights()}
        self.finish = self._write_finish()
        with e.loop(e.arguments[1], e.arguments[2]) as unit:
            self._unit(e, unit.index)
        e.finish()
        return str(self.module)

    # -- the driver ---------------------------------------------------------------------------

    def _places(self, e: Emitter, index: Value) -> list[Value]:
        """Where a (batch, head) starts in Q, K, V, out and the mask."""
        p = self.problem
        batch, head = e.divide(index, p.heads), e.remainder(index, p.heads)
        strides = [p.q, p.k, p.v, p.out] + ([p.mask.strides] if p.mask is not None else [])
        return [e.add(e.multiply(batch, s[0]), e.multiply(head, s[1])) for s in strides]

    def _unit(self, e: Emitter, unit: Value) -> None:
        """One block of rows of one head."""
        p, product = self.problem, self.product
        places = self._places(e, e.divide(unit, self.blocks))
        q, k, v = (e.at(e.pointer(word), places[word]) for word in (Q, K, V))
        out, scratch = e.pointer(OUT), e.pointer(SCRATCH)
        first = e.multiply(e.remainder(unit, self.blocks), self.block_tiles)
        last = e.minimum(e.add(first, self.block_tiles), self.tiles)
        begin, end = product.row(e, first), product.row(e, last)
        seen = e.minimum(end, p.columns) if p.causal else p.columns
        stop = e.divide(e.add(seen, self.panel - 1), self.panel)
        keys, values = e.at(scratch, self.keys), e.at(scratch, self.values)
        mask = e.pointer(0) if p.mask is None else self._mask_start(e, places[4])
        with e.loop(0, stop, self.block) as part:
            high = e.minimum(e.add(part.index, self.block), stop)
            low = e.multiply(part.index, self.panel)
            self._pack(e, (k, keys), (v, values), part.index, high)
            with e.loop(first, last) as tile:
                row = product.row(e, tile.index)
                state = e.at(scratch, e.add(self.state, e.multiply(e.subtract(row, begin), 2)))
                line = e.at(q, e.multiply(row, p.q[2]))
                target = e.add(places[OUT], e.multiply(row, p.out[2]))

                def step(
                    height: int, part: Value = part.index, high: Value = high, low: Value = low,
                    row: Value = row, state: Any = state, line: Any = line, target: Value = target,
                ) -> None:
                    limit = e.minimum(e.add(row, height), p.columns) if p.causal else p.columns
                    count = e.subtract(e.minimum(limit, e.multiply(high, self.panel)), low)
                    words = (line, keys, values, e.at(scratch, self.scores), state, out, mask)
                    e.when(e.compare(">", count, 0), lambda: e.call(
                        self.steps[height], *words, target, row, part, count
                    ))

                product.by_height(e, tile.index, step)
        rows = e.subtract(end, begin)
        target = e.add(places[OUT], e.multiply(begin, p.out[2]))
        sums = out
        if p.sums:
            rows_before = e.multiply(e.divide(unit, self.blocks), p.rows)
            place = e.multiply(e.add(rows_before, begin), 2)
            sums = e.at(e.pointer(MASK + (p.mask is not None)), place)
        e.call(self.finish, out, e.at(scratch, self.state), target, rows, sums)

    def _mask_start(self, e: Emitter, place: Value) -> Any:
        assert self.problem.mask is not None
        return e.at(e.pointer(MASK), place, I8 if self.problem.mask.dtype == "bool" else None)

    def _pack(self, e: Emitter, keys: tuple, values: tuple, low: Value, high: Value) -> None:
        """Panels [low, high) of keys, and the values that belong to them."""
        p, product, mixed = self.problem, self.product, self.mixed

        def pack_keys(panel: Value, vectors: int) -> None:
            place = e.multiply(e.subtract(panel, low), self.panel * p.depth)
            column = e.multiply(panel, self.panel)
            e.call(product.column_copies[vectors], keys[0], e.at(keys[1], place), column, 0, p.depth)

        product.each_panel(e, low, high, pack_keys)
        start = e.multiply(low, self.panel)
        count = e.subtract(e.minimum(e.multiply(high, self.panel), p.columns), start)

        def pack_values(panel: Value, vectors: int) -> None:
            place = e.at(values[1], e.multiply(panel, mixed.width * self.line))
            column = e.multiply(panel, mixed.width)
            e.call(mixed.column_copies[vectors], values[0], place, column, start, count)

        mixed.each_panel(e, 0, mixed.panels, pack_values)

    def _write_step(self, height: int) -> ir.Function:
        """A tile of rows against a block of keys and values."""
        p, product, mixed = self.problem, self.product, self.mixed
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 7 + [I64] * 4)
        e = Emitter(self.module, f"step_{height}", kind, p.dtype)
        q, keys, values, scores, state, out, mask, target, row, part, count = e.arguments
        high = e.add(part, e.divide(e.add(count, self.panel - 1), self.panel))

        def score(panel: Value, vectors: int) -> None:
            ordinal = e.subtract(panel, part)
            columns = e.at(keys, e.multiply(ordinal, self.panel * p.depth))
            # Columns that do not exist are computed too: a row of scores has room for them.
            e.call(
                product.micros[height, vectors], q, columns, scores, e.multiply(ordinal, self.panel),
                p.depth, vectors * self.lanes, 1, q,
            )

        product.each_panel(e, part, high, score)
        first = e.select(e.compare("==", part, 0), 1, 0)
        low = e.multiply(part, self.panel)
        words = (scores, state, out, mask, target, row, height, low, count, first)
        e.call(self.softmax, *words)

        def mix(panel: Value, vectors: int) -> None:
            column = e.multiply(panel, mixed.width)
            e.call(
                mixed.micros[height, vectors], scores,
                e.at(values, e.multiply(panel, mixed.width * self.line)), out, e.add(target, column),
                count, e.subtract(p.width, column), first, values,
            )

        mixed.each_panel(e, 0, mixed.panels, mix)
        e.finish()
        return e.function

    # -- softmax ------------------------------------------------------------------------------

    def _write_softmax(self) -> ir.Function:
        """Scores to weights, row by row, and the rows' state.

        Arguments: scores, state, out, mask, where the tile starts in out, its first row, its rows, the
        first column, the columns, and 1 for the first block.
        """
        p = self.problem
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 4 + [I64] * 6)
        e = Emitter(self.module, "softmax", kind, p.dtype)
        scores, states, out, mask, target, first_row, rows, low, count, first = e.arguments
        lowest = ir.Constant(e.element, -math.inf)
        with e.loop(0, rows) as i:
            row = e.add(first_row, i.index)
            line = e.at(scores, e.multiply(i.index, self.line))
            state = e.at(states, e.multiply(i.index, 2))
            limit = e.minimum(count, e.subtract(e.add(row, 1), low)) if p.causal else count
            block = self._highest(e, line, mask, row, low, limit, count)
            old = lowest if self.single else e.builder.select(
                e.compare("!=", first, 0), lowest, e.load(state)
            )
            higher = e.builder.fcmp_ordered(">", block, old)
            new = e.builder.select(higher, block, old)
            nothing = e.builder.fcmp_ordered("==", new, lowest)
            high = e.splat(e.builder.select(nothing, e.zero, new))
            total = self._exponentials(e, line, high, count)
            if not self.single:
                total = self._rescale(e, state, out, (target, i.index), (old, high, total), first)
            e.store(new, state)
            e.store(total, state, 1)
        e.finish()
        return e.function

    def _highest(
        self, e: Emitter, line: Any, mask: Any, row: Value, low: Value, limit: Value, count: Value
    ) -> ir.Value:
        """Scale and mask a row of scores in place; the result is the highest."""
        p, lowest = self.problem, e.constant(-math.inf)
        ragged = p.causal or p.columns % self.lanes != 0
        with e.loop(0, count, self.lanes, [lowest]) as lane:
            value = e.builder.fmul(e.load_vector(line, lane.index), e.constant(p.scale))
            exists = e.mask(e.subtract(limit, lane.index)) if ragged else None
            if p.mask is not None:
                value = masked(e, p.mask, value, mask, row, e.add(low, lane.index), exists)
            if exists is not None:
                value = e.builder.select(exists, value, lowest)
            e.store_vector(value, line, lane.index)
            higher = e.builder.fcmp_ordered(">", value, lane.values[0])
            lane.next[0] = e.builder.select(higher, value, lane.values[0])
        name = f"llvm.vector.reduce.fmax.{e.suffix(e.vector)}"
        return e.intrinsic(name, e.element, lane.values[0])

    def _exponentials(self, e: Emitter, line: Any, high: Any, count: Value) -> ir.Value:
        """exp(score - highest) in place; the result is their sum."""
        with e.loop(0, count, self.lanes, [e.constant(0.0)]) as lane:
            value = e.builder.fsub(e.load_vector(line, lane.index), high)
            weight = exponential(e, value)
            e.store_vector(weight, line, lane.index)
            lane.next[0] = e.builder.fadd(lane.values[0], weight)
        return e.horizontal_sum(lane.values[0])

    def _rescale(
        self, e: Emitter, state: Any, out: Any, place: tuple, values: tuple, first: Value
    ) -> ir.Value:
        """Bring what was added up before to the new highest score; the result is the new total."""
        p = self.problem
        (target, i), (old, high, total) = place, values

        def scale() -> list[ir.Value]:
            factor = exponential(e, e.builder.fsub(e.splat(old), high))
            start = e.add(target, e.multiply(i, p.out[2]))
            with e.loop(0, p.width, self.lanes) as lane:
                mask = e.mask(e.subtract(p.width, lane.index))
                here = e.add(start, lane.index)
                value = e.builder.fmul(e.load_masked(out, here, mask), factor)
                e.store_masked(value, out, here, mask)
            return [e.builder.fadd(e.builder.fmul(e.load(state, 1), _first(e, factor)), total)]

        return e.choose(e.compare("!=", first, 0), lambda: [total], scale)[0]

    def _write_finish(self) -> ir.Function:
        """Divide rows of the result by their totals: (out, state, place, rows, sums)."""
        p = self.problem
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64, POINTER])
        e = Emitter(self.module, "finish", kind, p.dtype)
        out, states, target, rows, sums = e.arguments
        with e.loop(0, rows) as i:
            state = e.at(states, e.multiply(i.index, 2))
            total = e.load(state, 1)
            empty = e.builder.fcmp_ordered("==", total, e.zero)
            one = total if p.plain else ir.Constant(e.element, 1.0)
            divisor = e.splat(e.builder.select(empty, one, total))
            start = e.add(target, e.multiply(i.index, p.out[2]))
            with e.loop(0, p.width, self.lanes) as lane:
                mask = e.mask(e.subtract(p.width, lane.index))
                here = e.add(start, lane.index)
                e.store_masked(e.builder.fdiv(e.load_masked(out, here, mask), divisor), out, here, mask)
            if p.sums:
                highest = e.load(state)
                if not p.plain:
                    highest = e.builder.select(empty, e.zero, highest)
                    infinite = ir.Constant(e.element, math.inf)
                    total = e.builder.select(empty, infinite, total)
                pair = e.at(sums, e.multiply(i.index, 2))
                e.store(highest, pair)
                e.store(total, pair, 1)
        e.finish()
        return e.function


def masked(
    e: Emitter, layout: Mask, value: Any, mask: Any, row: Value, column: Value, exists: Any
) -> ir.Value:
    """A vector of scores with its part of the mask."""
    if layout.dtype != "bool":
        return e.builder.fadd(value, _mask(e, layout, mask, row, column, exists))
    return e.builder.select(
        seen(e, layout, mask, row, column, exists), value, e.constant(layout.fill)
    )


def seen(e: Emitter, layout: Mask, mask: Any, row: Value, column: Value, exists: Any) -> ir.Value:
    """Which scores of a vector a boolean mask leaves."""
    found = _mask(e, layout, mask, row, column, exists)
    return e.builder.icmp_unsigned("!=", found, ir.Constant(found.type, None))


def _mask(e: Emitter, layout: Mask, mask: Any, row: Value, column: Value, exists: Any) -> ir.Value:
    kind = I8 if layout.dtype == "bool" else e.element
    *_, row_stride, column_stride = layout.strides
    place = e.add(e.multiply(row, row_stride), e.multiply(column, column_stride))
    if column_stride:
        there = exists if exists is not None else e.mask(e.lanes)
        return e.load_masked(mask, place, there, kind=I8 if kind is I8 else None)
    return e.splat(e.load(mask, place, kind))


def _first(e: Emitter, value: ir.Value) -> ir.Value:
    """The first lane of a vector."""
    return e.builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def exponential(e: Emitter, value: ir.Value) -> ir.Value:
    """exp of a vector, by the math library of generated kernels."""
    return function(e, "exp", value)


def function(e: Emitter, name: str, value: ir.Value) -> ir.Value:
    """A function of the math library, of a vector."""
    from inductor.templates.lanes import Lanes, run

    name += "_float64" if e.itemsize == 8 else "_float32"
    return run(e, f"result = {name}(x)", {"x": Lanes(e, value)})["result"].value


def forward(problem: Attention) -> Template:
    """The kernel (Q, K, V, out, [mask], [sums]) of attention."""
    return Forward(problem).template()
