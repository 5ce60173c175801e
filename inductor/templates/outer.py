"""Gradients of convolutions by their weights, for images with their channels last.

Every weight is a sum over pixels of an output's gradient times what a tap saw: for each tap a sum of
outer products. A tile of channels and vectors of filters lives in registers while the pixels of a
block pass; the block, some rows of an image or a few small images, is copied with its padding to the
nearest cache levels, where taps only begin at other pixels. The sums of a tile wait in scratch memory
from block to block and are turned into PyTorch's order, [filter][channel][tap], after the last one.
A unit of work is a slice of the filters, whose pixels it goes through alone and in order: the result
does not depend on threads.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from inductor import threads
from inductor.native import vector_bits, vector_registers
from inductor.templates.emit import I64, POINTER, Emitter, Value
from inductor.templates.finish import EXTRA, A, B, C
from inductor.templates.frame import is_thin
from inductor.templates.image import Convolution, table
from inductor.templates.template import Template

WANTED = 128  # pixels of a block, about: enough to outweigh loading and storing the sums
MOST = 256  # pixels of small images that become one block
WAITING = {512: 5 << 20, 256: 2 << 20, 128: 2 << 20}
"""By the bits of vectors, the bytes of sums that wait, about: in the last cache level, with all else there."""
SCRATCH = EXTRA  # the argument word with the thread's scratch memory
LINE = 64  # bytes of a cache line


def weight_gradient(conv: Convolution) -> Template:
    """The kernel (image, gradient, weight gradient, -)."""
    return Direct(conv).template()


class Outer:
    """Writes a module of sums of outer products: what all ways of doing it have in common.

    A part is a tap or whatever else has sums of its own; `parts` of them, each with `run` elements
    of the image by the filters of a group.
    """

    def __init__(self, conv: Convolution, parts: int, run: int) -> None:
        self.conv, self.parts, self.run = conv, parts, run
        self.lanes = vector_bits() // (8 * conv.itemsize)
        self.each = conv.filters // conv.groups
        self.channels = conv.channels // conv.groups
        self._choose_tile()
        self.width = self.vectors * self.lanes
        self.panels = -(-self.each // self.width)
        self.tiles = -(-run // self.rows)
        self.sums = parts * self.rows * self.width  # elements of a tile's sums
        wanted = 1 if threads.available() == 1 else -(-2 * threads.available() // conv.groups)
        if self._waits():
            wanted = max(wanted, -(-self.panels * self.tiles * self.sums * conv.itemsize // WAITING[vector_bits()]))
        self.slice = -(-self.panels // min(self.panels, wanted))
        self.slices = -(-self.panels // self.slice)

    def _choose_tile(self) -> None:
        """Narrow and tall: gradients are loaded as vectors, and two for a dozen channels are few."""
        highest = 13 if vector_bits() == 512 else 6
        self.vectors = min(2, -(-self.each // self.lanes))
        self.rows = -(-self.run // -(-self.run // highest))

    # -- what each way says -------------------------------------------------------------------

    blocks: int
    room: tuple[int, int]  # elements of a block of the image, and of a panel of gradients
    parts_first = False  # does every part have a block of its own?

    def write_parts(self) -> None:
        """Write the functions that the driver calls for a block."""
        raise NotImplementedError

    def load_block(self, e: Emitter, words: tuple, block: Value) -> Any:
        """Bring a block of the image and of the gradients to the scratch memory; what it gives goes
        to `multiply`."""
        raise NotImplementedError

    def multiply(
        self, e: Emitter, part: Value, operands: tuple, sums: Any, fresh: Value, size: Any
    ) -> None:
        """Add up the outer products of a part of a block."""
        raise NotImplementedError

    def settle(self, e: Emitter, sums: Any) -> None:
        """What becomes of a tile's sums before they are written."""

    def source(self, element: int) -> int:
        """Where in a tile's sums element channel * taps + tap of the result is."""
        channel, tap = divmod(element, self.conv.taps)
        return (tap * self.rows + channel) * self.width

    # -- the module ---------------------------------------------------------------------------

    def template(self) -> Template:
        """What is known before the module is written."""
        units = self.conv.groups * self.slices
        cost = self.conv.flops / max(1, units) / 80 + 20
        return Template(
            f"{type(self).__name__} {self.conv} {self.rows} {self.vectors} {self.slice}"
            f" {self.blocks} {self.room} {vector_bits()}",
            "outer", self.write, units, cost, 1, self._scratch() * self.conv.itemsize, SCRATCH,
        )

    def _waits(self) -> bool:
        """Do the sums of all tiles wait for the next block or part?"""
        return self.blocks > 1 or self.parts_first

    def _scratch(self) -> int:
        tiles = self.slice * self.tiles if self._waits() else 1
        return self.room[0] + self.slice * self.room[1] + tiles * self.sums + 64

    def write(self) -> str:
        """The module's text."""
        self.module = ir.Module("outer")
        e = Emitter(self.module, "outer", dtype=self.conv.dtype)
        self.write_parts()
        self.store = self._store()
        image, gradient, out, scratch = (e.pointer(i) for i in (A, B, C, SCRATCH))
        panels = e.at(scratch, self.room[0])
        waiting = e.at(panels, self.slice * self.room[1])
        with e.loop(e.arguments[1], e.arguments[2]) as unit:
            group, piece = e.divide(unit.index, self.slices), e.remainder(unit.index, self.slices)
            first = e.multiply(piece, self.slice)
            last = e.minimum(e.add(first, self.slice), self.panels)
            places = (
                e.at(image, e.multiply(group, self.channels)),
                e.at(gradient, e.multiply(group, self.each)), scratch, panels, first, last,
            )
            size = self.each * self.channels * self.conv.taps
            target = e.at(out, e.multiply(group, size))
            with e.loop(0, self.blocks) as block:
                found = self.load_block(e, places, block.index)
                self._each_tile(e, (scratch, panels, waiting, target), first, last, block, found)
        e.finish()
        return str(self.module)

    def _each_tile(
        self, e: Emitter, memory: tuple, first: Value, last: Value, block: Any, found: Any
    ) -> None:
        pixels, panels, waiting, target = memory
        fresh = e.builder.zext(e.compare("==", block.index, 0), I64)
        final = e.compare("==", block.index, self.blocks - 1)

        def add(panel: Value, tile: Value, part: Value) -> None:
            here = e.subtract(panel, first)
            slopes = e.at(panels, e.multiply(here, self.room[1]))
            data = e.at(pixels, e.multiply(tile, self.rows))
            sums = e.at(self._sums(e, waiting, here, tile), e.multiply(part, self.rows * self.width))
            self.multiply(e, part, (data, slopes), sums, fresh, found)

        def finish(panel: Value, tile: Value) -> None:
            sums = self._sums(e, waiting, e.subtract(panel, first), tile)
            self.settle(e, sums)
            self._finish(e, panel, tile, sums, target)

        if self.parts_first:
            with e.loop(0, self.parts) as part, e.loop(first, last) as panel:
                with e.loop(0, self.tiles) as tile:
                    add(panel.index, tile.index, part.index)
            start = e.select(final, first, last)
            with e.loop(start, last) as panel, e.loop(0, self.tiles) as tile:
                finish(panel.index, tile.index)
            return
        with e.loop(first, last) as panel, e.loop(0, self.tiles) as tile:
            with e.loop(0, self.parts) as part:
                add(panel.index, tile.index, part.index)
            e.when(final, lambda: finish(panel.index, tile.index))

    def _sums(self, e: Emitter, waiting: Any, panel: Value, tile: Value) -> Any:
        """Where the sums of a tile are; those of one are at work at a time where nothing waits."""
        if self.blocks == 1 and not self.parts_first:
            return waiting
        return e.at(waiting, e.multiply(e.add(e.multiply(panel, self.tiles), tile), self.sums))

    def _finish(self, e: Emitter, panel: Value, tile: Value, sums: Any, target: Any) -> None:
        taps = self.conv.taps
        row, column = e.multiply(tile, self._whole()), e.multiply(panel, self.width)
        line = e.multiply(column, self.channels * taps)
        out = e.at(target, e.add(line, e.multiply(row, taps)))
        count = e.multiply(e.minimum(e.subtract(self.channels, row), self._whole()), taps)
        e.call(self.store, sums, out, e.subtract(self.each, column), count)

    def _whole(self) -> int:
        """Channels of a tile."""
        return self.rows if self.run == self.channels else self.channels

    def _store(self) -> ir.Function:
        """(sums, out, filters, elements): sums side by side by filter become rows of a filter."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64])
        e = Emitter(self.module, "store", kind, self.conv.dtype)
        sums, out, filters, count = e.arguments
        length, lanes = self._whole() * self.conv.taps, self.lanes
        room = -(-length // lanes) * lanes
        places = table(e, [self.source(min(k, length - 1)) for k in range(room)])
        line = self.channels * self.conv.taps
        with e.loop(0, self.vectors) as vector:
            first = e.multiply(vector.index, lanes)
            with e.loop(0, count, lanes) as element:
                mask = e.mask(e.subtract(count, element.index))
                square = [
                    e.load_vector(sums, e.add(places(e.add(element.index, i)), first))
                    for i in range(lanes)
                ]
                for i, row in enumerate(e.transpose(square)):
                    here = e.add(first, i)
                    place = e.add(e.multiply(here, line), element.index)

                    def put(row: Any = row, place: Value = place) -> None:
                        e.store_masked(row, out, place, mask)

                    e.when(e.compare("<", here, filters), put)
        e.finish()
        return e.function

    # -- what they share ----------------------------------------------------------------------

    def add_products(self, pixel: int, line: int, image: int, inner: int) -> ir.Function:
        """A function (pixels, gradients, sums, fresh, images, lines): sums = or += over images of
        lines of `inner` pixels, whose distances in memory are given; gradients are contiguous.
        """
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3 + [I64] * 3)
        e = Emitter(self.module, "products", kind, self.conv.dtype)
        pixels, slopes, sums, fresh, images, lines = e.arguments
        grid = [(i, v) for i in range(self.rows) for v in range(self.vectors)]
        places = [i * self.width + v * self.lanes for i, v in grid]
        values = e.choose(
            e.compare("!=", fresh, 0), lambda: [e.constant(0.0)] * len(grid),
            lambda: [e.load_vector(sums, place) for place in places],
        )
        with e.loop(0, images, 1, values) as outer, e.loop(0, lines, 1, outer.values) as middle:
            number = e.add(e.multiply(outer.index, lines), middle.index)
            start = e.add(e.multiply(outer.index, image), e.multiply(middle.index, line))
            data = e.at(pixels, start)
            slope = e.at(slopes, e.multiply(number, inner * self.width))
            with e.loop(0, inner, 1, middle.values) as loop:
                here = e.at(slope, e.multiply(loop.index, self.width))
                columns = [e.load_vector(here, v * self.lanes) for v in range(self.vectors)]
                there = e.at(data, e.multiply(loop.index, pixel))
                for i in range(self.rows):
                    value = e.splat(e.load(there, i))
                    for v in range(self.vectors):
                        slot = i * self.vectors + v
                        loop.next[slot] = e.fma(value, columns[v], loop.next[slot])
            middle.next = loop.values
            outer.next = middle.values
        for place, value in zip(places, outer.values, strict=True):
            e.store_vector(value, sums, place)
        e.finish()
        return e.function

    def copy_gradients(self, e: Emitter, words: tuple, pixel: Value, count: Value) -> None:
        """Panels of the gradients of `count` pixels, which are neighbours in memory."""
        _, gradient, _, panels, first, last = words
        with e.loop(first, last) as panel, e.loop(0, count) as place:
            here = e.subtract(panel.index, first)
            column = e.multiply(panel.index, self.width)
            source = e.at(gradient, e.add(
                e.multiply(e.add(pixel, place.index), self.conv.filters), column
            ))
            target = e.at(panels, e.add(
                e.multiply(here, self.room[1]), e.multiply(place.index, self.width)
            ))
            left = e.subtract(self.each, column)
            for v in range(self.vectors):
                mask = e.mask(e.subtract(left, v * self.lanes))
                e.store_vector(e.load_masked(source, v * self.lanes, mask), target, v * self.lanes)

    def pitch(self) -> int:
        """Elements from one pixel of a block to the next: an odd number of cache lines, so that a
        column of pixels is spread over the whole first cache level."""
        line = LINE // self.conv.itemsize
        return (-(-self.channels // line) | 1) * line


class Direct(Outer):
    """A part is a tap, or a row of taps where the channels are few."""

    def __init__(self, conv: Convolution) -> None:
        run = conv.kernel[1] * conv.channels
        self.thin = is_thin(conv) and run + 3 <= vector_registers()
        parts = conv.kernel[0] if self.thin else conv.taps
        self.step = conv.channels if self.thin else 0
        run = run if self.thin else conv.channels // conv.groups
        self._cut(conv)
        super().__init__(conv, parts, run)
        self.step = self.step or self.pitch()
        down, across = self.padded
        pixels = self.images * down * across * self.step + self.rows + LINE
        # panels begin at a cache line
        self.room = (-(-pixels // LINE) * LINE, self.images * self.lines * conv.out_width * self.width)

    def _choose_tile(self) -> None:
        super()._choose_tile()
        if self.thin:
            most = max(1, (vector_registers() - 2) // (self.run + 1))
            self.rows, self.vectors = self.run, min(most, -(-self.each // self.lanes))

    def _cut(self, conv: Convolution) -> None:
        """Rows of an image, or whole small images, that make a block."""
        if conv.pixels <= MOST:
            self.images = max(1, min(conv.batch, MOST // conv.pixels))
            self.images = -(-conv.batch // -(-conv.batch // self.images))
            self.lines, self.pieces = conv.out_height, 1
            self.blocks = -(-conv.batch // self.images)
        else:
            lines = max(1, round(WANTED / conv.out_width))
            self.images, self.pieces = 1, -(-conv.out_height // lines)
            self.lines = -(-conv.out_height // self.pieces)
            self.pieces = -(-conv.out_height // self.lines)
            self.blocks = conv.batch * self.pieces
        reach = (conv.kernel[0] - 1) * conv.dilation[0]
        down = (self.lines - 1) * conv.stride[0] + reach + 1
        self.padded = down, conv.width + 2 * conv.padding[1]

    def source(self, element: int) -> int:
        if not self.thin:
            return super().source(element)
        channel, tap = divmod(element, self.conv.taps)
        y, x = divmod(tap, self.conv.kernel[1])
        return (y * self.rows + x * self.conv.channels + channel) * self.width

    def write_parts(self) -> None:
        line = self.padded[1] * self.step
        down, across = self.conv.stride
        self.products = self.add_products(
            across * self.step, down * line, self.padded[0] * line, self.conv.out_width
        )
        self.line = self._copy_line()

    def _copy_line(self) -> ir.Function:
        """(line of the image, line of the block, whether it exists)."""
        conv, step = self.conv, self.step
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64])
        e = Emitter(self.module, "line", kind, conv.dtype)
        source, target, exists = e.arguments
        width = self.padded[1] * step

        def clear(low: int, high: int) -> None:
            with e.loop(low, high, self.lanes) as element:
                mask = e.mask(e.subtract(high, element.index))
                e.store_masked(e.constant(0.0), target, element.index, mask)

        def copy(source: Any, target: Any, count: int, room: int) -> None:
            """Elements, and zeros up to `room`."""
            with e.loop(0, room, self.lanes) as element:
                here = e.load_masked(source, element.index, e.mask(e.subtract(count, element.index)))
                mask = e.mask(e.subtract(room, element.index))
                e.store_masked(here, target, element.index, mask)

        def fill() -> list:
            low = conv.padding[1] * step
            high = low + conv.width * step
            clear(0, low)
            if step == conv.channels:
                copy(source, e.at(target, low), conv.width * step, conv.width * step)
            else:
                with e.loop(0, conv.width) as pixel:
                    copy(
                        e.at(source, e.multiply(pixel.index, conv.channels)),
                        e.at(target, e.add(low, e.multiply(pixel.index, step))),
                        self.channels, step,
                    )
            clear(high, width)
            return []

        def leave() -> list:
            clear(0, width)
            return []

        e.choose(e.compare("!=", exists, 0), fill, leave)
        e.finish()
        return e.function

    def load_block(self, e: Emitter, words: tuple, block: Value) -> Any:
        conv = self.conv
        image, _, pixels = words[:3]
        number = e.divide(block, self.pieces)
        first = e.multiply(e.remainder(block, self.pieces), self.lines)
        start = e.multiply(number, self.images)
        images = e.minimum(self.images, e.subtract(conv.batch, start))
        lines = e.minimum(self.lines, e.subtract(conv.out_height, first))
        top = e.subtract(e.multiply(first, conv.stride[0]), conv.padding[0])
        down, across = self.padded
        with e.loop(0, images) as which, e.loop(0, down) as line:
            y = e.add(top, line.index)
            exists = e.builder.and_(e.compare(">=", y, 0), e.compare("<", y, conv.height))
            row = e.add(e.multiply(e.add(start, which.index), conv.height), y)
            place = e.add(e.multiply(which.index, down), line.index)
            e.call(
                self.line, e.at(image, e.multiply(row, conv.width * conv.channels)),
                e.at(pixels, e.multiply(place, across * self.step)),
                e.builder.zext(exists, I64),
            )
        pixel = e.add(e.multiply(start, conv.pixels), e.multiply(first, conv.out_width))
        count = e.multiply(e.multiply(images, lines), conv.out_width)
        self.copy_gradients(e, words, pixel, count)
        return images, lines

    def multiply(
        self, e: Emitter, part: Value, operands: tuple, sums: Any, fresh: Value, size: Any
    ) -> None:
        conv, (data, slopes) = self.conv, operands
        across = 1 if self.thin else conv.kernel[1]
        y, x = e.divide(part, across), e.remainder(part, across)
        line = e.multiply(y, conv.dilation[0] * self.padded[1] * self.step)
        place = e.add(line, e.multiply(x, conv.dilation[1] * self.step))
        e.call(self.products, e.at(data, place), slopes, sums, fresh, *size)
