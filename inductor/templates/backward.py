"""The gradients of attention by its queries, keys and values, and no memory for all the scores.

`backward(problem)` is a kernel (Q, K, V, out, g, sums, dQ, dK, dV, scratch, [mask]) over (batch,
head). With the sums that the forward pass saved, the weights P of a block of rows and columns are
made again in the second cache level, and with them what the scores weigh in the loss:

    P = exp(scale * Q @ K^T + mask - highest) / sum        dV = P^T @ g
    S = scale * P * (g @ V^T - rowsum(g * out))            dQ = S @ K,  dK = S^T @ Q

Blocks of columns are the outer loop, blocks of rows the inner one. Each (batch, head) is one
thread's, and every sum is made in the same order whatever the number of threads. A causal product
leaves out the rows that no column of a block may see, and the panels that no row of a tile sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from inductor.native import vector_bits
from inductor.templates.attention import (
    Attention,
    Factor,
    Strides,
    balanced,
    exponential,
    masked,
    seen,
)
from inductor.templates.emit import I8, I64, POINTER, Emitter, Value
from inductor.templates.problem import ITEMSIZE, Problem
from inductor.templates.template import Template
from inductor.templates.tile import Tile

Q, K, V, OUT, GRADIENT, SUMS, BY_Q, BY_K, BY_V, SCRATCH, MASK = range(11)
"""The kernel's argument words."""

BLOCK = 256  # columns between two visits to a row
ROWS = 128  # rows between two visits to a column


@dataclass(frozen=True)
class Gradient:
    """The attention, and the strides of what only its gradient has."""

    of: Attention
    gradient: Strides
    by_q: Strides
    by_k: Strides
    by_v: Strides


class Backward:
    """Writes the module of one problem."""

    def __init__(self, problem: Gradient) -> None:
        self.problem, p = problem, problem.of
        self.of = p
        self.itemsize = ITEMSIZE[p.dtype]
        self.lanes = vector_bits() // (8 * self.itemsize)
        self.tile = balanced(p.rows, min(2, -(-p.columns // self.lanes)), self.lanes)
        self.panel = self.tile.vectors * self.lanes
        panels = -(-p.columns // self.panel)
        blocks = -(-panels * self.panel // BLOCK)
        self.block = -(-panels // blocks) * self.panel  # columns of a block
        self.line = self.block + self.lanes  # rows begin in different sets of the cache
        tiles = -(-p.rows // self.tile.rows)
        self.tiles = tiles
        self.block_tiles = max(1, min(tiles, ROWS // self.tile.rows))
        self.block_rows = self.block_tiles * self.tile.rows
        self._plan_scratch()

    def _plan_scratch(self) -> None:
        p = self.of
        wide = {n: -(-n // self.lanes) * self.lanes for n in (p.depth, p.width)}
        slack = self.lanes * self.panel
        sizes = [
            self.block * p.depth + slack,  # keys, transposed
            self.block * p.width + slack,  # values, transposed
            (self.line + self.lanes) * wide[p.depth] + slack,  # keys
            (self.block_rows + self.lanes) * wide[p.width] + slack,  # gradients
            (self.block_rows + self.lanes) * wide[p.depth] + slack,  # queries
            self.block_rows * self.line + slack,  # weights
            self.block_rows * self.line + slack,  # gradients of scores
            self.block_rows + self.lanes,  # sums of gradient times result
        ]
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + -(-size // 16) * 16)
        *self.places, self.scratch = starts

    def template(self) -> Template:
        """What is known before the module is written."""
        p = self.of
        work = p.rows * p.columns * (2.0 * (3 * p.depth + 2 * p.width) / 100 + 0.6)
        key = f"attention gradient {self.problem} {BLOCK} {ROWS} {vector_bits()}"
        return Template(
            key, "attention_gradient", self.write, p.batch * p.heads, work / (1 + p.causal), 2,
            self.scratch * self.itemsize, SCRATCH,
        )

    def _factor(
        self, prefix: str, sizes: tuple[int, int, int], a: tuple, b: tuple, c: int, rows: int
    ) -> Factor:
        vectors = min(2, -(-sizes[1] // self.lanes))
        problem = Problem(*sizes, a, b, (c, 1), dtype=self.of.dtype)
        return Factor(self.module, prefix, problem, Tile(rows, vectors))

    def write(self) -> str:
        """The module's text."""
        p, d, line, rows = self.of, self.problem, self.line, self.tile.rows
        self.module = ir.Module("attention_gradient")
        self.main = e = Emitter(self.module, "attention_gradient", dtype=p.dtype)
        self.scores = self._factor(
            "scores_", (p.rows, p.columns, p.depth), (p.q[2], 1), (1, p.k[2]), line, rows
        )
        self.weigh = self._factor(
            "weigh_", (p.rows, p.columns, p.width), (d.gradient[2], 1), (1, p.v[2]), line, rows
        )
        self.by_q = self._factor(
            "by_q_", (p.rows, p.depth, line), (line, 1), (p.k[2], 1), d.by_q[2], rows
        )
        self.sums = self._write_sums()
        self.join = self._write_join()
        self.steps = {height: self._write_step(height) for height in self.scores.heights()}
        rest = p.columns % self.block
        counts = [self.block] * (p.columns >= self.block) + [rest] * (rest > 0)
        self.by_columns = {count: self._columns(count) for count in counts}
        with e.loop(e.arguments[1], e.arguments[2]) as unit:
            self._unit(e, unit.index)
        e.finish()
        return str(self.module)

    def _columns(self, count: int) -> tuple[Factor, Factor]:
        """The products that give dV and dK of a block of so many columns."""
        p, d, line = self.of, self.problem, self.line
        rows = balanced(count, 2, self.lanes).rows
        return (
            self._factor(
                f"by_v_{count}_", (count, p.width, p.rows), (1, line), (d.gradient[2], 1),
                d.by_v[2], rows,
            ),
            self._factor(
                f"by_k_{count}_", (count, p.depth, p.rows), (1, line), (p.q[2], 1), d.by_k[2], rows
            ),
        )

    # -- the driver ---------------------------------------------------------------------------

    def _starts(self, e: Emitter, unit: Value) -> list[Any]:
        """Where a (batch, head) starts in each operand and result, and the mask."""
        p, d = self.of, self.problem
        batch, head = e.divide(unit, p.heads), e.remainder(unit, p.heads)
        sums = (p.heads * p.rows * 2, p.rows * 2)
        strides = (p.q, p.k, p.v, p.out, d.gradient, sums, d.by_q, d.by_k, d.by_v)
        found = []
        for word, steps in enumerate(strides):
            place = e.add(e.multiply(batch, steps[0]), e.multiply(head, steps[1]))
            found.append(e.at(e.pointer(word), place))
        found.append(e.pointer(SCRATCH))
        if p.mask is None:
            return [*found, e.pointer(Q)]
        steps = p.mask.strides
        place = e.add(e.multiply(batch, steps[0]), e.multiply(head, steps[1]))
        kind = I8 if p.mask.dtype == "bool" else None
        return [*found, e.at(e.pointer(MASK), place, kind)]

    def _unit(self, e: Emitter, unit: Value) -> None:
        """One head."""
        p, scores = self.of, self.scores
        words = self._starts(e, unit)
        scratch = [e.at(words[SCRATCH], place) for place in self.places]
        with e.loop(0, p.columns, self.block) as part:
            low = part.index
            count = e.minimum(self.block, e.subtract(p.columns, low))
            self._pack_columns(e, words, scratch, low, count)
            with e.loop(0, self.tiles, self.block_tiles) as rows:
                last = e.minimum(e.add(rows.index, self.block_tiles), self.tiles)
                first = rows.index
                if p.causal:  # a tile has no more rows than this, so none before is left out wrongly
                    first = e.minimum(e.maximum(first, e.divide(low, self.tile.rows)), last)
                begin, end = scores.row(e, first), scores.row(e, last)
                size = e.subtract(end, begin)
                self._pack_rows(e, words, scratch, begin, size)
                e.call(
                    self.sums, e.at(words[OUT], e.multiply(begin, p.out[2])),
                    e.at(words[GRADIENT], e.multiply(begin, self.problem.gradient[2])),
                    scratch[7], size,
                )
                with e.loop(first, last) as tile:
                    given = (
                        *words[: BY_Q + 1], *scratch, words[MASK],
                        begin, scores.row(e, tile.index), low, count,
                    )

                    def step(height: int, given: tuple = given) -> None:
                        e.call(self.steps[height], *given)

                    scores.by_height(e, tile.index, step)
                fresh = e.select(e.compare("==", rows.index, 0), 1, 0)
                self._by_columns(e, words, scratch, (low, count, size, fresh))

    def _pack_columns(
        self, e: Emitter, words: list, scratch: list, low: Value, count: Value
    ) -> None:
        """Keys and values of a block, transposed, and the keys as they are."""
        p = self.of
        first = e.divide(low, self.panel)
        high = e.divide(e.add(e.add(low, count), self.panel - 1), self.panel)
        for factor, source, target, depth in (
            (self.scores, words[K], scratch[0], p.depth), (self.weigh, words[V], scratch[1], p.width)
        ):

            def pack(
                panel: Value, vectors: int, factor: Any = factor, source: Any = source,
                target: Any = target, depth: int = depth,
            ) -> None:
                place = e.multiply(e.subtract(panel, first), self.panel * depth)
                column = e.multiply(panel, self.panel)
                e.call(factor.column_copies[vectors], source, e.at(target, place), column, 0, depth)

            factor.each_panel(e, first, high, pack)
        self._pack(e, self.by_q, (words[K], scratch[2], self.line), low, count)

    def _pack_rows(
        self, e: Emitter, words: list, scratch: list, begin: Value, size: Value
    ) -> None:
        """Gradients and queries of a block of rows."""
        by_v, by_k = next(iter(self.by_columns.values()))
        self._pack(e, by_v, (words[GRADIENT], scratch[3], self.block_rows), begin, size)
        self._pack(e, by_k, (words[Q], scratch[4], self.block_rows), begin, size)

    def _pack(self, e: Emitter, factor: Factor, memory: tuple, first: Value, count: Value) -> None:
        source, target, room = memory

        def pack(panel: Value, vectors: int) -> None:
            place = e.at(target, e.multiply(panel, factor.width * room))
            column = e.multiply(panel, factor.width)
            e.call(factor.column_copies[vectors], source, place, column, first, count)

        factor.each_panel(e, 0, factor.panels, pack)

    def _by_columns(self, e: Emitter, words: list, scratch: list, given: tuple) -> None:
        """dV and dK of a block of columns by a block of rows."""
        low, count, size, fresh = given

        def run(columns: int) -> None:
            for factor, source, packed, word, strides in zip(
                self.by_columns[columns], scratch[5:7], scratch[3:5], (BY_V, BY_K),
                (self.problem.by_v, self.problem.by_k), strict=True,
            ):
                self._product(
                    e, factor, (source, packed, e.at(words[word], e.multiply(low, strides[2]))),
                    size, fresh,
                )

        counts = list(self.by_columns)
        if len(counts) == 1:
            run(counts[0])
            return
        whole = e.compare("==", count, counts[0])
        e.when(whole, lambda: run(counts[0]))
        e.when(e.builder.not_(whole), lambda: run(counts[1]))

    def _product(
        self, e: Emitter, factor: Factor, memory: tuple, size: Value, fresh: Value
    ) -> None:
        """A whole product whose B is packed and whose contraction is the rows of a block."""
        source, packed, out = memory
        p = factor.problem
        with e.loop(0, factor.tiles) as tile:
            row = factor.row(e, tile.index)

            def multiply(height: int) -> None:
                def each(panel: Value, vectors: int) -> None:
                    column = e.multiply(panel, factor.width)
                    columns = e.at(packed, e.multiply(panel, factor.width * self.block_rows))
                    e.call(
                        factor.micros[height, vectors], e.at(source, row), columns, out,
                        e.add(e.multiply(row, p.c[0]), column), size, e.subtract(p.n, column),
                        fresh, packed,
                    )

                factor.each_panel(e, 0, factor.panels, each)

            factor.by_height(e, tile.index, multiply)

    # -- a tile of rows against a block of columns ------------------------------------------------

    def _write_step(self, height: int) -> ir.Function:
        p, d = self.of, self.problem
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 16 + [I64] * 4)
        e = Emitter(self.module, f"step_{height}", kind, p.dtype)
        q, _, _, _, gradient, sums, by_q, *rest = e.arguments
        keys, values, packed, _, _, weights, slopes, deltas, mask, begin, row, low, count = rest
        here = e.multiply(e.subtract(row, begin), self.line)
        weights, slopes = e.at(weights, here), e.at(slopes, here)
        seen = count
        if p.causal:
            seen = e.maximum(e.minimum(count, e.subtract(e.add(row, height), low)), 0)
        first = e.divide(low, self.panel)
        high = e.add(first, e.divide(e.add(seen, self.panel - 1), self.panel))
        for factor, source, stride, columns, target in (
            (self.scores, q, p.q[2], keys, weights),
            (self.weigh, gradient, d.gradient[2], values, slopes),
        ):
            line = e.at(source, e.multiply(row, stride))

            def product(
                panel: Value, vectors: int, factor: Any = factor, line: Any = line,
                columns: Any = columns, target: Any = target,
            ) -> None:
                depth = factor.problem.k
                ordinal = e.subtract(panel, first)
                e.call(
                    factor.micros[height, vectors], line,
                    e.at(columns, e.multiply(ordinal, self.panel * depth)), target,
                    e.multiply(ordinal, self.panel), depth, vectors * self.lanes, 1, line,
                )

            factor.each_panel(e, first, high, product)
        near = e.at(sums, e.multiply(row, 2)), e.at(deltas, e.subtract(row, begin))
        e.call(self.join, weights, slopes, *near, mask, row, height, low, count)
        fresh = e.select(e.compare("==", low, 0), 1, 0)

        def mix(panel: Value, vectors: int) -> None:
            column = e.multiply(panel, self.by_q.width)
            e.call(
                self.by_q.micros[height, vectors], slopes,
                e.at(packed, e.multiply(panel, self.by_q.width * self.line)), by_q,
                e.add(e.multiply(row, d.by_q[2]), column), seen, e.subtract(p.depth, column), fresh,
                packed,
            )

        self.by_q.each_panel(e, 0, self.by_q.panels, mix)
        e.finish()
        return e.function

    def _write_sums(self) -> ir.Function:
        """Rows of gradient times result, added up: (out, gradient, sums, rows)."""
        p, d = self.of, self.problem
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3 + [I64])
        e = Emitter(self.module, "deltas", kind, p.dtype)
        out, gradient, sums, rows = e.arguments
        with e.loop(0, rows) as i:
            a = e.at(out, e.multiply(i.index, p.out[2]))
            b = e.at(gradient, e.multiply(i.index, d.gradient[2]))
            with e.loop(0, p.width, self.lanes, [e.constant(0.0)]) as lane:
                mask = e.mask(e.subtract(p.width, lane.index))
                left, right = (e.load_masked(x, lane.index, mask) for x in (a, b))
                lane.next[0] = e.fma(left, right, lane.values[0])
            e.store(e.horizontal_sum(lane.values[0]), sums, i.index)
        e.finish()
        return e.function

    def _write_join(self) -> ir.Function:
        """Scores become weights, and what the weights weigh becomes what the scores weigh; 0 where
        nothing is seen: (scores, slopes, sums, deltas, mask, row, rows, first column, columns).
        """
        p = self.of
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 5 + [I64] * 4)
        e = Emitter(self.module, "join", kind, p.dtype)
        scores, slopes, sums, deltas, mask, first_row, rows, low, count = e.arguments
        nothing, scale = e.constant(0.0), e.constant(p.scale)
        with e.loop(0, rows) as i:
            row = e.add(first_row, i.index)
            a, b = (e.at(x, e.multiply(i.index, self.line)) for x in (scores, slopes))
            pair = e.at(sums, e.multiply(i.index, 2))
            highest, delta = (e.splat(e.load(x, k)) for x, k in ((pair, 0), (deltas, i.index)))
            share = e.splat(e.builder.fdiv(ir.Constant(e.element, 1.0), e.load(pair, 1)))
            limit = e.minimum(count, e.subtract(e.add(row, 1), low)) if p.causal else count
            with e.loop(0, count, self.lanes) as lane:
                exists = e.mask(e.subtract(limit, lane.index))
                value = e.builder.fmul(e.load_vector(a, lane.index), scale)
                if p.mask is not None:
                    value = masked(e, p.mask, value, mask, row, e.add(low, lane.index), exists)
                weight = e.builder.fmul(exponential(e, e.builder.fsub(value, highest)), share)
                weight = e.builder.select(exists, weight, nothing)
                learns = exists
                if p.plain and p.mask is not None and p.mask.dtype == "bool":
                    # what a number stands for has weight, but nothing to learn
                    place = mask, row, e.add(low, lane.index), exists
                    learns = e.builder.and_(exists, seen(e, p.mask, *place))
                slope = e.builder.fsub(e.load_vector(b, lane.index), delta)
                slope = e.builder.fmul(e.builder.fmul(slope, weight), scale)
                e.store_vector(weight, a, lane.index)
                e.store_vector(e.builder.select(learns, slope, nothing), b, lane.index)
        e.finish()
        return e.function


def backward(problem: Gradient) -> Template:
    """The kernel (Q, K, V, out, gradient, sums, dQ, dK, dV, [mask]) of attention's gradients."""
    return Backward(problem).template()
