"""Matrix products: C[m, n] = A[m, k] @ B[k, n], batched, with a fused epilogue.

`build(problem)` and `step(m, n, k, ...)` return a `Template`: its kernel takes the arguments
(A, B, C, scratch, *extra) and a range of (batch, block of rows, panel of columns). A tile of C lives
in registers while k runs: rows of A are broadcast against vectors of B. B is packed panel by panel
and A block by block into the thread's scratch memory, unless they can be read where they lie, or B
comes packed as a whole (`panels.py`): the weights of an inference. Tile
heights are even (13 + 13 + 12, not 14 + 14 + 10), so no tile is much slower than the others.

An epilogue (see `finish.py`) changes C tile by tile, while it is in the first cache level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from inductor import threads
from inductor.native import vector_bits, vector_registers
from inductor.templates.emit import I64, POINTER, Emitter, Loop, Value
from inductor.templates.finish import SCRATCH, A, B, C, Epilogue, write_finish
from inductor.templates.problem import ITEMSIZE, Problem, normalized
from inductor.templates.template import READ, Template
from inductor.templates.tile import Tile, choose_tile, packed_tile, possible_tiles

BLOCK_ROWS = 512  # rows of A that share packed columns
BLOCK_DEPTH = 192  # k steps between visits to C: a tile of A stays in the first cache level
PACKED_DEPTH = 800  # the same where B comes packed: a panel of it stays in the second
PACKED_BYTES = 1 << 18  # packed rows of A kept at a time, in the second level with the columns
AMORTIZED = 512  # columns that pay for packing the rows of A
NEAR = 16  # k steps by which packed columns are brought to the first cache level early
GROUP = 2  # panels of B packed together
PACE = 4  # k steps between requests for the next block of B
CHUNK = 16  # k steps of rows of A packed together, where those lie side by side
STOP = 16  # and at least as many between requests for rows of C


@dataclass(frozen=True)
class Ahead:
    """Which lines of the next block of B a tile asks for.

    Tile t starts at column (t % `across`) * `column` plus (t // `across`) * `part`; at every stop
    there are `lines` of them, `between` elements apart.
    """

    across: int
    column: int
    part: int
    lines: int
    between: int


@dataclass
class _Run:
    """Values of the driver while it works on one run of panels over one block of rows."""

    a: Any
    b: Any
    c: Any  # the start of C
    offset: Value  # where this batch starts in C
    fresh: Value  # 1 to overwrite C, 0 to add to it
    image: Value  # what the epilogue calls this product, and its row 0
    row: Value
    scratch: Any
    packed: Any  # packed columns
    first_tile: Value
    last_tile: Value


class Gemm:
    """Writes the module of one problem; convolutions override how columns are packed."""

    gathered = False  # True where B is not a matrix in memory
    prefix = ""  # of its functions' names, where a module has several products

    def __init__(self, problem: Problem, epilogue: Epilogue | None = None) -> None:
        self.problem, self.epilogue = problem, epilogue
        self.itemsize = ITEMSIZE[problem.dtype]
        self.lanes = vector_bits() // (8 * self.itemsize)
        self._choose_columns()
        self._choose_rows()
        self._choose_depth()
        self._choose_packing()

    def _choose_columns(self) -> None:
        p = self.problem
        choose = packed_tile if p.packed else choose_tile
        self._use_tile(p.tile or choose(p.m, p.n, self.lanes, vector_registers()))

    def _use_tile(self, tile: Tile) -> None:
        p, self.tile = self.problem, tile
        self.tiles = -(-p.m // tile.rows)
        # `tall` tiles of `rows` rows come first, then tiles with one row less.
        self.tall = p.m - self.tiles * (tile.rows - 1)
        self.width = self.tile.vectors * self.lanes
        self.panels = -(-p.n // self.width)
        rest = -(-(p.n % self.width) // self.lanes)
        # The last panel has kernels of its own where it is narrower by a vector or more.
        self.full_panels = self.panels - 1 if 0 < rest < self.tile.vectors else self.panels
        self.tail = rest if self.full_panels < self.panels else 0

    def _choose_rows(self) -> None:
        m, rows = self.problem.m, self.tile.rows
        # Enough pieces for every thread, where there are few panels.
        wanted = -(-2 * threads.available() // max(1, self.panels * self.problem.count))
        # Short rows: more of them fit, and columns are packed less often.
        short = BLOCK_ROWS * self.problem.k * self.itemsize <= PACKED_BYTES
        most = 2 * BLOCK_ROWS if short and not self.gathered else BLOCK_ROWS
        blocks = max(1, -(-m // most), min(self.tiles, wanted))
        self.block_tiles = -(-self.tiles // blocks)
        self.blocks = -(-self.tiles // self.block_tiles)
        self.block_rows = self.block_tiles * rows

    def _choose_depth(self) -> None:
        k = self.problem.k
        most = PACKED_DEPTH if self.problem.packed else BLOCK_DEPTH
        self.depth = max(1, -(-k // max(1, -(-k // most))))

    def _choose_packing(self) -> None:
        p = self.problem
        self.a_by_rows, self.b_by_rows = p.a[1] == 1, p.b[1] == 1
        crowded = self._crowded()
        self.pack_a = not self.a_by_rows or crowded > 8 or self._amortized(crowded)
        self.pack_b = self.gathered or not self.b_by_rows or self.tiles > 1 or p.packed
        spans = max(1, -(-p.k * self.block_rows * self.itemsize // PACKED_BYTES)) if self.pack_a else 1
        self.span = self.depth * max(1, -(-p.k // (spans * self.depth)))
        self.group = 1 if p.packed else GROUP
        self.ahead = self._plan_ahead() if self.pack_b and not self.gathered else None
        a_size = self.block_rows * self.span + 16 * self.lanes
        b_size = (self.group * self.depth + self.lanes) * self.width
        self.a_bytes = -(-a_size * self.itemsize // 64) * 64 * self.pack_a
        self.b_bytes = b_size * self.itemsize * (self.pack_b and not p.packed)

    def _amortized(self, crowded: int) -> bool:
        """Is it worth packing rows that could be read in place?"""
        return self.problem.n >= AMORTIZED and crowded > (2 if self.problem.packed else 1)

    def _plan_ahead(self) -> Ahead | None:
        """How the tiles of one block of B bring the next one to the second cache level.

        Each tile asks for its share, a line every few k steps: all at once would keep what the tiles
        themselves read waiting.
        """
        line = 64 // self.itemsize
        if self.problem.packed:
            share = -(-self.depth * self.width // (line * self.block_tiles))
            lines = -(-share * PACE // self.depth)
            return Ahead(1, 0, share * line, lines, line) if lines < PACE else None
        if self.b_by_rows:
            columns = max(1, self.width // line)
            parts = self.block_tiles // columns
            if parts == 0:
                return None
            rows = -(-self.depth // parts)
            lines = -(-rows * PACE // self.depth)
            return Ahead(columns, line, rows * self.problem.b[0], lines, self.problem.b[0])
        lines = -(-(-(-self.depth // line)) // self.block_tiles)
        return Ahead(1, 0, lines * line, lines, line)

    def _crowded(self) -> int:
        """How many rows of a tile share one set of the first cache level when read in place."""
        sets = [0] * 64
        for row in range(self.tile.rows):
            sets[row * self.problem.a[0] * self.itemsize // 64 % 64] += 1
        return max(sets)

    def heights(self) -> list[int]:
        """The tile heights in use."""
        rows = self.tile.rows
        return [rows] * (self.tall > 0) + [rows - 1] * (self.tall < self.tiles)

    # -- tiles --------------------------------------------------------------------------------

    def micro(self, rows: int, vectors: int) -> ir.Function:
        """One tile: C = or += A @ B over `k` steps."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3 + [I64] * 4 + [POINTER])
        e = Emitter(self.module, f"{self.prefix}tile_{rows}_{vectors}", kind, self.problem.dtype)
        a, b, start, offset, k, columns, first, ahead = e.arguments
        ldc = self.problem.c[0]
        masks = self._masks(e, columns, vectors)
        grid = [(i, v) for i in range(rows) for v in range(vectors)]
        c = e.at(start, offset)
        # A large tile hides the loop's own instructions; a small one is unrolled.
        step = max(2, 24 // (rows * vectors))
        whole = e.multiply(e.divide(k, step), step)
        # C is asked for some rows at a time: all at once would hold up what the steps read.
        share = -(-rows // max(1, min(rows, self.depth // STOP)))
        stops = -(-rows // share)
        part = e.multiply(e.divide(k, step * (stops + 1)), step)
        with e.loop(0, stops + 1, 1, [e.constant(0.0)] * len(grid)) as stop:
            line = e.at(c, e.multiply(stop.index, share * ldc))
            for i in range(share):
                for v in range(vectors):
                    e.prefetch(e.at(line, i * ldc + v * self.lanes), write=True)
            begin = e.multiply(stop.index, part)
            end = e.select(e.compare("==", stop.index, stops), whole, e.add(begin, part))
            with e.loop(begin, end, step, stop.values) as loop:
                for u in range(step):
                    self._multiply(e, loop, a, b, e.add(loop.index, u), rows, masks)
                if self.ahead is not None:
                    self._ask(e, ahead, loop.index)
            stop.next = loop.values
        with e.loop(whole, k, 1, stop.values) as loop:
            self._multiply(e, loop, a, b, loop.index, rows, masks)

        def add_previous() -> list[ir.Value]:
            return [
                e.builder.fadd(self._read(e, c, i * ldc + v * self.lanes, masks[v]), value)
                for (i, v), value in zip(grid, loop.values, strict=True)
            ]

        sums = e.choose(e.compare("!=", first, 0), lambda: loop.values, add_previous)
        for (i, v), value in zip(grid, sums, strict=True):
            self._write(e, value, c, i * ldc + v * self.lanes, masks[v])
        e.finish()
        return e.function

    def _ask(self, e: Emitter, ahead: Any, k: Value) -> None:
        """Ask for lines of the next block, at every PACE-th k step for others."""
        assert self.ahead is not None
        lines, between = self.ahead.lines, self.ahead.between
        whole = self.b_by_rows or self.problem.packed
        step = lines * between if whole else self.problem.b[1]
        stop = e.multiply(e.divide(k, PACE), step)
        for i in range(lines):
            e.prefetch(e.at(ahead, e.add(stop, i * between)), locality=2)

    def _masks(self, e: Emitter, columns: Value, vectors: int) -> list:
        """Per vector the lanes that exist, or None where all do."""
        if self.problem.n % self.lanes == 0 or (self.tail and vectors != self.tail):
            return [None] * vectors
        return [e.mask(e.subtract(columns, v * self.lanes)) for v in range(vectors)]

    def _read(self, e: Emitter, pointer: Any, index: Value, mask: Any) -> ir.Value:
        if mask is None:
            return e.load_vector(pointer, index)
        return e.load_masked(pointer, index, mask)

    def _write(self, e: Emitter, value: Any, pointer: Any, index: Value, mask: Any) -> None:
        if mask is None:
            e.store_vector(value, pointer, index)
        else:
            e.store_masked(value, pointer, index, mask)

    def _multiply(
        self, e: Emitter, loop: Loop, a: Any, b: Any, k: Value, rows: int, masks: list
    ) -> None:
        """One k step: `rows` broadcasts against the vectors of B."""
        vectors = len(masks)
        width = vectors * self.lanes
        line = e.at(b, e.multiply(k, width if self.pack_b else self.problem.b[0]))
        if self.pack_b:
            columns = [e.load_vector(line, v * self.lanes) for v in range(vectors)]
            for v in range(vectors):
                e.prefetch(e.at(line, NEAR * width + v * self.lanes))
        else:
            columns = [self._read(e, line, v * self.lanes, masks[v]) for v in range(vectors)]
        start = e.at(a, e.multiply(k, rows if self.pack_a else self.problem.a[1]))
        for i in range(rows):
            value = e.splat(e.load(start, i if self.pack_a else i * self.problem.a[0]))
            for v in range(vectors):
                slot = i * vectors + v
                loop.next[slot] = e.fma(value, columns[v], loop.next[slot])

    # -- packing ------------------------------------------------------------------------------

    def copy_rows(self, rows: int) -> ir.Function:
        """Pack `rows` rows of A over `k` steps: k after k, the rows side by side."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64])
        e = Emitter(self.module, f"pack_rows_{rows}", kind, self.problem.dtype)
        source, target, k = e.arguments
        row_stride, k_stride = self.problem.a
        if not self.a_by_rows:
            mask = e.mask(rows)
            with e.loop(0, k) as loop:
                value = e.load_masked(source, e.multiply(loop.index, k_stride), mask)
                e.store_masked(value, target, e.multiply(loop.index, rows), mask)
            e.finish()
            return e.function
        # Each store reaches past its own rows; the next one, a k step later, puts that right.
        pad = [e.constant(0.0)] * (self.lanes - rows)
        with e.loop(0, k, self.lanes) as loop:
            mask = e.mask(e.subtract(k, loop.index))
            block = [
                e.load_masked(source, e.add(loop.index, i * row_stride), mask) for i in range(rows)
            ]
            for j, vector in enumerate(e.transpose(block + pad)):
                e.store_vector(vector, target, e.multiply(e.add(loop.index, j), rows))
        e.finish()
        return e.function

    def copy_columns(self, vectors: int) -> ir.Function:
        """Pack one panel of B: (B, packed, first column, first k, k steps)."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64, I64])
        e = Emitter(self.module, f"{self.prefix}pack_columns_{vectors}", kind, self.problem.dtype)
        b, target, column, first, k = e.arguments
        k_stride, column_stride = self.problem.b
        place = e.add(e.multiply(first, k_stride), e.multiply(column, column_stride))
        self._copy(e, e.at(b, place), target, k, e.subtract(self.problem.n, column), vectors)
        e.finish()
        return e.function

    def _copy(self, e: Emitter, source: Any, target: Any, k: Any, columns: Any, vectors: int) -> None:
        k_stride, column_stride = self.problem.b
        width = vectors * self.lanes
        if self.b_by_rows:
            masks = self._masks(e, columns, vectors)
            with e.loop(0, k) as loop:
                line = e.at(source, e.multiply(loop.index, k_stride))
                for v in range(vectors):
                    value = self._read(e, line, v * self.lanes, masks[v])
                    e.store_vector(value, target, e.add(e.multiply(loop.index, width), v * self.lanes))
            return
        ragged = self.problem.n % self.lanes != 0
        with e.loop(0, width, self.lanes) as lane, e.loop(0, k, self.lanes) as loop:
            mask = e.mask(e.subtract(k, loop.index))
            block = []
            for j in range(self.lanes):
                column = e.add(lane.index, j)
                if ragged:  # a column that does not exist repeats the last one; it is never stored
                    column = e.minimum(column, e.subtract(columns, 1))
                offset = e.multiply(column, column_stride)
                block.append(e.load_masked(source, e.add(offset, loop.index), mask))
            for j, vector in enumerate(e.transpose(block)):
                line = e.multiply(e.add(loop.index, j), width)
                e.store_vector(vector, target, e.add(line, lane.index))

    # -- the driver ---------------------------------------------------------------------------

    def template(self) -> Template:
        """What is known before the module is written."""
        p = self.problem
        columns = min(self.width, p.n)
        flops = 2.0 * min(p.m, self.block_rows) * columns * p.k
        # of few rows a product costs what it costs to read B
        cost = max(flops / 100, columns * p.k * self.itemsize / READ)
        units = p.count * self.blocks * self.panels
        scratch = self.a_bytes + self.b_bytes + 64
        # Pieces that need no packed rows may be small, which evens out busy cores.
        pieces = 1 if self.pack_a else 4
        return Template(
            self.key(), "gemm", self.write, units, cost + 20, pieces, scratch, SCRATCH
        )

    def key(self) -> str:
        """Everything the text depends on."""
        limits = (CHUNK, BLOCK_ROWS, BLOCK_DEPTH, PACKED_BYTES, AMORTIZED, NEAR, GROUP, PACE, STOP, PACKED_DEPTH)
        epilogue = None if self.epilogue is None else self.epilogue.key
        return f"{type(self).__name__} {self.problem} {epilogue} {limits} {self.blocks} {vector_bits()}"

    def write(self) -> str:
        """The module's text."""
        p = self.problem
        self.module = ir.Module("gemm")
        self.main = Emitter(self.module, "gemm", dtype=p.dtype)
        widths = [self.tile.vectors] * (self.full_panels > 0) + [self.tail] * (self.tail > 0)
        self.micros = {(h, v): self.micro(h, v) for h in self.heights() for v in widths}
        self.row_copies = {h: self.copy_rows(h) for h in self.heights()} if self.pack_a else {}
        self.column_copies = {v: self.copy_columns(v) for v in widths} if self.pack_b else {}
        self.finish = write_finish(self.module, self.epilogue, p.dtype, p.c[0], p.n)
        e = self.main
        _, start, stop = e.arguments
        words = [e.pointer(i) for i in (A, B, C, SCRATCH)]
        end = e.divide(e.add(stop, self.panels - 1), self.panels)
        with e.loop(e.divide(start, self.panels), end) as run:  # panels that share rows of A
            begin = e.multiply(run.index, self.panels)
            low = e.subtract(e.maximum(start, begin), begin)
            high = e.subtract(e.minimum(stop, e.add(begin, self.panels)), begin)
            block = e.remainder(run.index, self.blocks)
            product = e.divide(run.index, self.blocks)
            a, b, c = self._batch(e, product)
            first = e.multiply(block, self.block_tiles)
            last = e.minimum(e.add(first, self.block_tiles), self.tiles)
            self._run(e, _Run(
                e.at(words[A], a), e.at(words[B], b), words[C], c,
                e.integer(int(not p.accumulate)),
                *self.place(e, product), words[SCRATCH],
                e.at(words[SCRATCH], self.a_bytes // self.itemsize), first, last,
            ), low, high)
        e.finish()
        return str(self.module)

    def place(self, e: Emitter, product: Value) -> tuple[Value, Value]:
        """What the epilogue calls a product, and its first row."""
        return product, 0

    def _batch(self, e: Emitter, index: Value) -> list[Value]:
        """Where product `index` starts in A, B and C."""
        offsets: list[Value] = [0, 0, 0]
        for size, *strides in reversed(self.problem.batch):
            here = e.remainder(index, size)
            index = e.divide(index, size)
            offsets = [e.add(o, e.multiply(here, s)) for o, s in zip(offsets, strides, strict=True)]
        return offsets

    def _run(self, e: Emitter, run: _Run, low: Value, high: Value) -> None:
        """Panels [low, high) of one block of rows."""
        k_total = self.problem.k
        with e.loop(0, max(k_total, 1), self.span) as span:
            end = e.minimum(e.add(span.index, self.span), k_total)
            if self.pack_a:
                self._pack_rows(e, run, span.index, end)
            with e.loop(low, high, self.group) as group:
                group_end = e.minimum(e.add(group.index, self.group), high)
                with e.loop(span.index, e.maximum(end, e.add(span.index, 1)), self.depth) as depth:
                    k = e.subtract(e.minimum(e.add(depth.index, self.depth), end), depth.index)
                    if self.pack_b and not self.problem.packed:
                        self._pack_columns(e, run, group.index, group_end, depth.index, k)
                    with e.loop(run.first_tile, run.last_tile) as tile:
                        ahead = self._ahead(e, run, group, depth, (span.index, end, k), tile)
                        ks = (span.index, depth.index, k)
                        self._row_of_tiles(e, run, tile.index, group.index, group_end, ks, ahead)

    def _ahead(
        self, e: Emitter, run: _Run, group: Loop, depth: Loop, ks: tuple, tile: Loop
    ) -> Value:
        """Where the lines begin that this tile is to ask for."""
        if self.ahead is None:
            return 0
        span, end, k = ks
        k_stride, panel = self._strides()
        more = e.compare("<", e.add(depth.index, k), end)
        next_k = e.select(more, e.add(depth.index, k), span)
        next_group = e.select(more, group.index, e.add(group.index, self.group))
        ordinal = e.subtract(tile.index, run.first_tile)
        return e.sum(
            e.multiply(next_k, k_stride),
            e.multiply(next_group, panel),
            e.multiply(e.remainder(ordinal, self.ahead.across), self.ahead.column),
            e.multiply(e.divide(ordinal, self.ahead.across), self.ahead.part),
        )

    def _strides(self) -> tuple[int, int]:
        """The elements of B from one k step to the next, and from one panel to the next."""
        if self.problem.packed:
            return self.width, self.width * self.problem.k
        return self.problem.b[0], self.width * self.problem.b[1]

    def _first_row(self, e: Emitter, tile: Value) -> Value:
        """The row at which a tile starts."""
        return e.add(e.multiply(tile, self.tile.rows - 1), e.minimum(tile, self.tall))

    def _by_height(self, e: Emitter, tile: Value, action: Callable[[int], Any]) -> None:
        heights = self.heights()
        if len(heights) == 1:
            action(heights[0])
            return
        tall = e.compare("<", tile, self.tall)
        e.choose(tall, lambda: action(heights[0]) or [], lambda: action(heights[1]) or [])

    def _packed_tile(self, e: Emitter, run: _Run, tile: Value, ks: tuple) -> Value:
        """Where a tile lies in the packed rows: depth after depth, tile after tile."""
        span, k, size = ks
        before = self._first_row(e, run.first_tile)
        rows = e.subtract(self._first_row(e, run.last_tile), before)
        here = e.subtract(self._first_row(e, tile), before)
        return e.add(e.multiply(e.subtract(k, span), rows), e.multiply(here, size))

    def _pack_rows(self, e: Emitter, run: _Run, start: Value, stop: Value) -> None:
        row_stride, k_stride = self.problem.a
        # Where rows lie side by side, some k steps of all of them: memory is read in its order.
        share = self.depth if self.a_by_rows else CHUNK
        with e.loop(start, stop, self.depth) as depth:
            size = e.subtract(e.minimum(e.add(depth.index, self.depth), stop), depth.index)
            with e.loop(0, size, share) as chunk, e.loop(run.first_tile, run.last_tile) as tile:
                row = self._first_row(e, tile.index)
                k = e.add(depth.index, chunk.index)
                place = e.add(e.multiply(row, row_stride), e.multiply(k, k_stride))
                packed = self._packed_tile(e, run, tile.index, (start, depth.index, size))
                count = e.minimum(share, e.subtract(size, chunk.index))

                def pack(height: int, place: Value = place, packed: Value = packed,
                         chunk: Loop = chunk, count: Value = count) -> None:
                    target = e.add(packed, e.multiply(chunk.index, height))
                    words = e.at(run.a, place), e.at(run.scratch, target), count
                    e.call(self.row_copies[height], *words)

                self._by_height(e, tile.index, pack)

    def _each_panel(
        self, e: Emitter, low: Value, high: Value, action: Callable[[Value, int], Any]
    ) -> None:
        """Panels [low, high): the full ones, then the narrower last one if it is among them."""
        with e.loop(low, e.minimum(high, self.full_panels)) as panel:
            action(panel.index, self.tile.vectors)
        if self.tail:
            has_tail = e.compare(">", high, self.full_panels)
            e.when(has_tail, lambda: action(e.integer(self.full_panels), self.tail))

    def _pack_columns(
        self, e: Emitter, run: _Run, low: Value, high: Value, k: Value, size: Value
    ) -> None:
        def pack(panel: Value, vectors: int) -> None:
            place = e.multiply(e.subtract(panel, low), e.multiply(size, self.width))
            column = e.multiply(panel, self.width)
            e.call(
                self.column_copies[vectors], run.b, e.at(run.packed, place), column, k, size
            )

        self._each_panel(e, low, high, pack)

    def _row_of_tiles(
        self, e: Emitter, run: _Run, tile: Value, low: Value, high: Value, ks: tuple, ahead: Value
    ) -> None:
        """One tile of rows against every panel of the group."""
        p = self.problem
        _, k, size = ks
        row = self._first_row(e, tile)
        if self.pack_a:
            rows = e.at(run.scratch, self._packed_tile(e, run, tile, ks))
        else:
            rows = e.at(run.a, e.add(e.multiply(row, p.a[0]), k))
        first = e.select(e.compare("==", k, 0), run.fresh, 0)
        last = e.compare(">=", e.add(k, size), p.k)

        def multiply(height: int, panel: Value, vectors: int) -> None:
            column = e.multiply(panel, self.width)
            ordinal = e.subtract(panel, low)
            if p.packed:
                start = e.multiply(panel, self.width * p.k)
                columns = e.at(run.b, e.add(start, e.multiply(k, vectors * self.lanes)))
            elif self.pack_b:
                columns = e.at(run.packed, e.multiply(ordinal, e.multiply(size, self.width)))
            else:
                columns = e.at(run.b, e.add(e.multiply(k, p.b[0]), column))
            offset = e.sum(run.offset, e.multiply(row, p.c[0]), column)
            e.call(
                self.micros[height, vectors], rows, columns, run.c, offset, size,
                e.subtract(p.n, column), first,
                e.at(run.b, e.add(ahead, e.multiply(ordinal, self._strides()[1]))),
            )
            if self.finish is not None:
                here = e.minimum(e.subtract(p.n, column), vectors * self.lanes)
                words = (run.c, offset, height, here, run.image, e.add(run.row, row), column)
                e.when(last, lambda: e.call(self.finish, *words, e.arguments[0]))

        def run_height(height: int) -> None:
            self._each_panel(e, low, high, lambda panel, v: multiply(height, panel, v))

        self._by_height(e, tile, run_height)


def build(problem: Problem, epilogue: Epilogue | None = None) -> Template:
    """The kernel of one product; arguments (A, B, C, *extra), the epilogue's words from EXTRA on.

    Raises ValueError where neither stride of A or B is 1, or C's columns are not contiguous.
    """
    if not (problem.m and problem.n and problem.count):
        problem = replace(problem, m=1, n=1, batch=((0, 0, 0, 0),))
    problem = normalized(problem)
    for name, strides in (("a", problem.a), ("b", problem.b)):
        if 1 not in strides:
            raise ValueError(f"gemm: operand {name} needs a stride of 1, got {strides}")
    if problem.c[1] != 1:
        raise ValueError(f"gemm: the columns of c must be contiguous, got strides {problem.c}")
    return Gemm(problem, epilogue).template()


def candidates(problem: Problem) -> list[Problem]:
    """The problem as the rules would compute it, and with other tiles."""
    found = Gemm(normalized(problem))
    tiles = possible_tiles(problem.m, problem.n, found.lanes, vector_registers())
    return [problem, *(replace(problem, tile=tile) for tile in tiles if tile != found.tile)]


def step(
    m: int,
    n: int,
    k: int,
    trans_a: bool = False,
    trans_b: bool = False,
    batch: int = 1,
    epilogue: Epilogue | None = None,
    accumulate: bool = False,
    dtype: str = "float32",
) -> Template:
    """The kernel for contiguous operands; a transposed one is stored [k, m] or [n, k]."""
    a = (1, m) if trans_a else (k, 1)
    b = (1, k) if trans_b else (n, 1)
    batches = ((batch, m * k, k * n, m * n),) if batch != 1 else ()
    return build(Problem(m, n, k, a, b, (n, 1), batches, accumulate, dtype), epilogue)
