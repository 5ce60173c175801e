"""Convolutions of images whose channels lie side by side in memory (channels last).

A tile of output pixels and vectors of filters lives in registers while the taps and channels run:
each step broadcasts one scalar per pixel against vectors of weights. Pixels are read where they
lie; for taps that fall into the padding a pixel's address is that of a row of zeros, and a tap that
no pixel of the tile meets is left out. Weights come packed by `packing.pack`, [group][block of
filters][tap][channel][filters of the block], a part of which stays in the nearest cache levels
while the tiles of a block of pixels pass.

The epilogue changes a tile in registers, or where it is long once it is stored (see `finish.py`);
its rows are output pixels and its columns filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from inductor import threads
from inductor.native import vector_bits
from inductor.templates.emit import I32, I64, POINTER, Emitter, Loop, Value, splatted
from inductor.templates.finish import A, B, C, Epilogue, Place, write_finish
from inductor.templates.frame import FIRST, MOST_ROWS, Frame
from inductor.templates.image import table
from inductor.templates.template import READ, Template

NEAR_BYTES = 96 << 10  # packed weights that tiles share in the nearest cache levels
BLOCK_BYTES = 64 << 10  # results that tiles visit again for the next part of the weights
AHEAD = 12  # steps by which weights are brought to the first cache level early
IN_REGISTERS = 700  # operations of an epilogue that are written out for a tile in registers


@dataclass
class _Part:
    """Values of the driver at work on a part of the weights: taps [first, last), channels
    [low, high) of each, and whether it is the first part and the last."""

    first: Value
    last: Value
    low: Value
    high: Value
    fresh: Value
    final: Value


class Direct:
    """Writes the module of one convolution: arguments (image, packed weights, out, -, *extra)."""

    def __init__(
        self, frame: Frame, epilogue: Epilogue | None = None
    ) -> None:
        self.frame, self.epilogue = frame, epilogue
        self.tile, self.lanes = frame.tile, frame.lanes
        self.pixels = frame.batch * frame.pixels
        self.tiles = -(-self.pixels // self.tile.rows)
        self.tall = self.pixels - self.tiles * (self.tile.rows - 1)
        self.rest = -(-(frame.each % frame.block) // self.lanes)
        self._choose_parts()
        self._choose_block()
        self.short = epilogue is None or self._work(epilogue) <= IN_REGISTERS

    def _work(self, epilogue: Epilogue) -> int:
        return epilogue.key.count("\n") * self.tile.rows * self.tile.vectors

    def _choose_parts(self) -> None:
        """Whole taps, or an even share of the channels of one."""
        near = max(16, NEAR_BYTES // (self.frame.block * self.frame.itemsize))
        channels, taps = self.frame.run, len(self.frame.taps)
        if self.frame.empty:
            self.taps, self.span = 1, channels
        elif channels <= near * 1.3:
            parts = -(-taps // max(1, near // channels))
            self.taps, self.span = -(-taps // parts), channels
        else:
            parts = -(-channels // near)
            self.taps, self.span = 1, -(-channels // parts)
        self.single = self.taps >= taps and self.span >= channels

    def _choose_block(self) -> None:
        """Tiles that share a part of the weights, in enough blocks for all threads."""
        most = max(1, BLOCK_BYTES // (self.tile.rows * self.frame.block * self.frame.itemsize))
        wanted = -(-4 * threads.available() // (self.frame.blocks * self.frame.groups))
        count = max(-(-self.tiles // most), min(self.tiles, wanted))
        self.share = -(-self.tiles // count)
        self.count = -(-self.tiles // self.share)

    def template(self) -> Template:
        """What is known before the module is written."""
        frame = self.frame
        units = frame.groups * frame.blocks * self.count
        # of few pixels it costs what it costs to read the weights
        reading = frame.depth * frame.block * frame.itemsize / READ
        cost = max(frame.flops / max(1, units) / 80, reading)
        return Template(self.key(), "direct", self.write, units, cost + 20, 2)

    def key(self) -> str:
        """Everything the text depends on."""
        epilogue = None if self.epilogue is None else self.epilogue.key
        limits = (NEAR_BYTES, BLOCK_BYTES, IN_REGISTERS, AHEAD, self.share)
        return f"direct {self.frame} {self.tile} {limits} {vector_bits()} {epilogue}"

    def heights(self) -> list[int]:
        """The tile heights in use."""
        rows = self.tile.rows
        return [rows] * (self.tall > 0) + [rows - 1] * (self.tall < self.tiles)

    def widths(self) -> list[int]:
        """The vectors of a block of filters, and of the last one where it is narrower."""
        whole = self.frame.each >= self.frame.block
        narrow = 0 < self.rest < self.tile.vectors
        return [self.tile.vectors] * (whole or not narrow) + [self.rest] * narrow

    # -- one tile -----------------------------------------------------------------------------

    def micro(self, rows: int, vectors: int) -> ir.Function:
        """One tile: out = or += over a part of the weights."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3 + [I64] * 9 + [POINTER])
        e = Emitter(self.module, f"tile_{rows}_{vectors}", kind, self.frame.dtype)
        image, weights, out, pixel, column, number, *words, block = e.arguments
        part = _Part(*words)
        masks = self._masks(e, number, vectors)
        grid = [(i, v) for i in range(rows) for v in range(vectors)]
        first = place_of(self.frame, e, pixel, block)
        pixels = [self._place(e, pixel, first, i, block) for i in range(rows)]
        lines = [e.add(e.multiply(place, self.frame.filters), column) for place in pixels]
        places = [e.add(lines[i], v * self.lanes) for i, v in grid]
        target = out
        zeros = [e.constant(0.0)] * len(grid)
        sums = self._sum(e, image, weights, pixel, part, rows, vectors, zeros)
        if not self.single:
            def add_previous() -> list[ir.Value]:
                return [
                    e.builder.fadd(self._read(e, target, p, masks[v]), value)
                    for p, (_, v), value in zip(places, grid, sums, strict=True)
                ]

            sums = e.choose(e.compare("!=", part.fresh, 0), lambda: sums, add_previous)
        if self.epilogue is not None and self.short:
            def change() -> list[ir.Value]:
                return self._change(e, sums, grid, masks, (pixels, column, places), block)

            sums = change() if self.single else e.choose(
                e.compare("!=", part.final, 0), change, lambda: sums
            )
        for p, (_, v), value in zip(places, grid, sums, strict=True):
            self._write(e, value, target, p, masks[v])
        e.finish()
        return e.function

    def _change(
        self, e: Emitter, sums: list, grid: list, masks: list, at: tuple, block: Any
    ) -> list[ir.Value]:
        """The epilogue of a tile in registers."""
        assert self.epilogue is not None
        pixels, column, places = at
        size = whole_image(self.frame)
        result: list[ir.Value] = []
        shared: Any = None
        for (i, v), value, offset in zip(grid, sums, places, strict=True):
            image, row = e.divide(pixels[i], size), e.remainder(pixels[i], size)
            mask = e.whole if masks[v] is None else masks[v]
            place = Place(e, image, row, e.add(column, v * self.lanes), offset, mask, block)
            if v == 0:
                shared = self.epilogue.for_row(e, place)
            result.append(self.epilogue(e, value, place, shared))
        return result

    def _place(self, e: Emitter, pixel: Value, first: Value, row: int, block: Any) -> Value:
        if self.frame.spread is None or row == 0:
            return e.add(first, row)
        return place_of(self.frame, e, e.add(pixel, row), block)

    def _masks(self, e: Emitter, number: Value, vectors: int) -> list:
        """Per vector the filters that exist, or None where all do."""
        if self.frame.each % self.lanes == 0 or (vectors == self.tile.vectors and
                                                  0 < self.rest < self.tile.vectors):
            return [None] * vectors
        return [e.mask(e.subtract(number, v * self.lanes)) for v in range(vectors)]

    def _read(self, e: Emitter, pointer: Any, index: Value, mask: Any) -> ir.Value:
        if mask is None:
            return e.load_vector(pointer, index)
        return e.load_masked(pointer, index, mask)

    def _write(self, e: Emitter, value: Any, pointer: Any, index: Value, mask: Any) -> None:
        if mask is None:
            e.store_vector(value, pointer, index)
        else:
            e.store_masked(value, pointer, index, mask)

    def _sum(
        self, e: Emitter, image: Any, weights: Any, pixel: Value, part: _Part, rows: int,
        vectors: int, sums: list,
    ) -> list[ir.Value]:
        frame = self.frame
        if frame.empty:
            return sums
        if frame.plain:
            start = e.at(image, e.multiply(pixel, frame.pixel))
            lines = [e.at(start, i * frame.pixel) for i in range(rows)]
            return self._run(e, lines, weights, part, vectors, sums)
        windows = _Windows(frame, e, image, pixel, rows)
        low, high = part.low, part.high
        with e.loop(part.first, part.last, 1, sums) as tap:
            steps = e.multiply(e.subtract(tap.index, part.first), e.subtract(high, low))
            line = e.at(weights, e.multiply(steps, frame.block))
            addresses, met = windows.at(tap.index)

            def run(addresses: list = addresses, line: Any = line, tap: Loop = tap) -> list:
                return self._run(e, addresses, line, part, vectors, tap.values)

            if met is None:
                tap.next = run()
            else:
                tap.next = e.choose(met, run, lambda: tap.values)
        return tap.values

    def _run(
        self, e: Emitter, lines: list, weights: Any, part: _Part, vectors: int, sums: list
    ) -> list[ir.Value]:
        """The channels of one tap: `lines` are the pixels' addresses."""
        rows, width = len(lines), self.frame.block
        weights = e.at(weights, e.multiply(e.subtract(0, part.low), width))
        step = max(1, 24 // (rows * vectors), 2)
        whole = e.add(part.low, e.multiply(e.divide(e.subtract(part.high, part.low), step), step))

        def multiply(loop: Loop, k: Value) -> None:
            line = e.at(weights, e.multiply(k, width))
            columns = [e.load_vector(line, v * self.lanes) for v in range(vectors)]
            for v in range(vectors if AHEAD else 0):
                e.prefetch(e.at(line, AHEAD * width + v * self.lanes))
            for i in range(rows):
                value = e.splat(e.load(lines[i], k))
                for v in range(vectors):
                    slot = i * vectors + v
                    loop.next[slot] = e.fma(value, columns[v], loop.next[slot])

        with e.loop(part.low, whole, step, sums) as loop:
            for u in range(step):
                multiply(loop, e.add(loop.index, u))
        with e.loop(whole, part.high, 1, loop.values) as rest:
            multiply(rest, rest.index)
        return rest.values

    # -- the driver ---------------------------------------------------------------------------

    def write(self) -> str:
        """The module's text."""
        self.module = ir.Module("direct")
        e = Emitter(self.module, "direct", dtype=self.frame.dtype)
        self.micros = {(h, v): self.micro(h, v) for h in self.heights() for v in self.widths()}
        self.finish = None if self.short else write_finish(
            self.module, self.epilogue, self.frame.dtype, self.frame.filters, self.frame.each
        )
        _, start, stop = e.arguments
        image, weights, out = e.pointer(A), e.pointer(B), e.pointer(C)
        with e.loop(start, stop) as unit:
            share = e.remainder(unit.index, self.count)
            block = e.divide(unit.index, self.count)  # of filters, through all groups
            group, inner = e.divide(block, self.frame.blocks), e.remainder(block, self.frame.blocks)
            column = e.multiply(inner, self.frame.block)
            first = e.multiply(share, self.share)
            last = e.minimum(e.add(first, self.share), self.tiles)
            words = (
                e.at(image, e.multiply(group, self.frame.run)),
                e.at(weights, e.multiply(block, self.frame.depth * self.frame.block)), out,
            )
            column = e.add(e.multiply(group, self.frame.each), column)
            number = e.subtract(self.frame.each, e.multiply(inner, self.frame.block))
            self._each_width(e, inner, lambda vectors: self._block(
                e, words, (column, number), first, last, vectors
            ))
        e.finish()
        return str(self.module)

    def _each_width(self, e: Emitter, block: Value, action: Any) -> None:
        widths = self.widths()
        if len(widths) == 1:
            action(widths[0])
            return
        whole = e.compare("<", block, self.frame.blocks - 1)
        e.choose(whole, lambda: action(widths[0]) or [], lambda: action(widths[1]) or [])

    def _block(
        self, e: Emitter, words: tuple, at: tuple, first: Value, last: Value, vectors: int
    ) -> None:
        """Tiles [first, last), a part of the weights after the other."""
        image, weights, out = words
        taps, channels = len(self.frame.taps), self.frame.run
        with e.loop(0, taps, self.taps) as tap, e.loop(0, channels, self.span) as low:
            after = e.minimum(e.add(tap.index, self.taps), taps)
            high = e.minimum(e.add(low.index, self.span), channels)
            fresh = e.builder.zext(e.compare("==", e.add(tap.index, low.index), 0), I64)
            final = e.builder.zext(e.builder.and_(
                e.compare("==", after, taps), e.compare("==", high, channels)
            ), I64)
            part = (tap.index, after, low.index, high, fresh, final)
            steps = e.add(e.multiply(tap.index, channels), low.index)
            here = e.at(weights, e.multiply(steps, self.frame.block))
            with e.loop(first, last) as tile:
                pixel = e.add(
                    e.multiply(tile.index, self.tile.rows - 1), e.minimum(tile.index, self.tall)
                )

                def run(
                    height: int, here: Any = here, pixel: Value = pixel, part: tuple = part
                ) -> list:
                    e.call(
                        self.micros[height, vectors], image, here, out, pixel, *at, *part,
                        e.arguments[0],
                    )
                    if self.finish is not None:
                        self._finish(e, height, vectors, (out, pixel, *at), part[-1])
                    return []

                heights = self.heights()
                if len(heights) == 1:
                    run(heights[0])
                else:
                    tall = e.compare("<", tile.index, self.tall)
                    e.choose(tall, lambda: run(heights[0]), lambda: run(heights[1]))

    def _finish(self, e: Emitter, height: int, vectors: int, at: tuple, final: Value) -> None:
        """A long epilogue, pixel by pixel: a tile may reach into the next image."""
        out, pixel, column, number = at
        columns = e.minimum(number, vectors * self.lanes)

        def change() -> None:
            with e.loop(0, height) as i:
                here = place_of(self.frame, e, e.add(pixel, i.index), e.arguments[0])
                size = whole_image(self.frame)
                image, row = e.divide(here, size), e.remainder(here, size)
                offset = e.add(e.multiply(here, self.frame.filters), column)
                e.call(self.finish, out, offset, 1, columns, image, row, column, e.arguments[0])

        e.when(e.compare("!=", final, 0), change)


class _Windows:
    """The windows of a tile's pixels: where each begins, and its addresses for a tap."""

    def __init__(self, frame: Frame, e: Emitter, image: Any, pixel: Value, rows: int) -> None:
        self.frame, self.e, self.rows = frame, e, rows
        builder = e.builder
        number, y, x = positions(frame, e, pixel)

        def window(place: Any, axis: int) -> Any:
            moved = builder.mul(place, _constant(frame.stride[axis], I32))
            return builder.add(moved, _constant(frame.start[axis], I32))

        self.y, self.x = window(y, 0), window(x, 1)
        steps = (frame.height * frame.width, frame.width, 1)
        element = _linear(e, (number, self.y, self.x), steps)
        start = e.splat(builder.ptrtoint(image, I64), MOST_ROWS)
        step = frame.pixel * frame.itemsize
        self.start = builder.add(start, builder.mul(element, _constant(step, I64)))
        self.down, self.across = (table(e, [tap[axis] for tap in frame.taps]) for axis in (0, 1))
        self.shift = table(e, [(y * frame.width + x) * step for y, x in frame.taps])
        if frame.checked:
            kind = ir.ArrayType(e.element, frame.run)
            zeros = ir.GlobalVariable(e.module, kind, f"zeros{len(e.module.globals)}")
            zeros.initializer, zeros.global_constant = ir.Constant(kind, None), True
            zeros.linkage = "internal"
            self.zeros = e.splat(builder.ptrtoint(zeros, I64), MOST_ROWS)

    def at(self, tap: Value) -> tuple[list, Any]:
        """The pixels' addresses for a tap, and whether any of them is inside the image."""
        e, builder, frame = self.e, self.e.builder, self.frame
        address = builder.add(self.start, e.splat(self.shift(tap), MOST_ROWS))
        met = None
        if frame.checked:
            def within(start: Any, shift: Value, size: int) -> ir.Value:
                moved = builder.add(start, e.splat(builder.trunc(shift, I32), MOST_ROWS))
                return builder.icmp_unsigned("<", moved, _constant(size, I32))

            inside = builder.and_(
                within(self.y, self.down(tap), frame.height),
                within(self.x, self.across(tap), frame.width),
            )
            address = builder.select(inside, address, self.zeros)
            bits = builder.bitcast(inside, ir.IntType(MOST_ROWS))
            mine = builder.and_(bits, ir.Constant(bits.type, (1 << self.rows) - 1))
            met = builder.icmp_unsigned("!=", mine, ir.Constant(bits.type, 0))
        found = [
            builder.inttoptr(builder.extract_element(address, ir.Constant(I32, i)), POINTER)
            for i in range(self.rows)
        ]
        return found, met


def whole_image(frame: Frame) -> int:
    """Pixels of a whole image of the output."""
    return frame.pixels if frame.spread is None else frame.spread[-1]


def place_of(frame: Frame, e: Emitter, pixel: Value, block: Any) -> Value:
    """Which pixel of the whole output the kernel's pixel is; `block` are the kernel's arguments."""
    if frame.spread is None:
        return pixel
    image, row, column, _ = frame.spread
    first = e.load(block, FIRST, I64)
    number, inside = e.divide(pixel, frame.pixels), e.remainder(pixel, frame.pixels)
    y, x = e.divide(inside, frame.columns), e.remainder(inside, frame.columns)
    return e.sum(
        e.multiply(number, image), e.multiply(y, row), e.multiply(x, column), first
    )


def _constant(number: int, kind: ir.Type) -> ir.Constant:
    """A number for every pixel of a tile."""
    return splatted(ir.VectorType(kind, MOST_ROWS), number)


def positions(frame: Frame, e: Emitter, pixel: Value) -> tuple[Any, Any, Any]:
    """Image, row and column of the pixels of a tile that starts at `pixel`."""
    builder = e.builder
    lanes = ir.Constant(ir.VectorType(I32, MOST_ROWS), list(range(MOST_ROWS)))
    narrow = builder.trunc(e.integer(pixel), I32)
    places = builder.add(e.splat(narrow, MOST_ROWS), lanes)
    inside = builder.urem(places, _constant(frame.pixels, I32))
    columns = _constant(frame.columns, I32)
    return (
        builder.udiv(places, _constant(frame.pixels, I32)),
        builder.udiv(inside, columns), builder.urem(inside, columns),
    )


def _linear(e: Emitter, places: tuple, steps: tuple[int, ...]) -> Any:
    """The sum of places times steps, in 64 bits."""
    total = _constant(0, I64)
    for place, step in zip(places, steps, strict=True):
        wide = e.builder.sext(place, ir.VectorType(I64, MOST_ROWS))
        total = e.builder.add(total, e.builder.mul(wide, _constant(step, I64)))
    return total


def kernel(frame: Frame, epilogue: Epilogue | None = None) -> Template:
    """The kernel (image, packed weights, out, first pixel, *extra) of a frame."""
    return Direct(frame, epilogue).template()
