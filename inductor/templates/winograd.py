"""Convolutions by 3x3 with stride 1, after Winograd: F(2x2, 3x3), for images with channels last.

A tile of 2x2 outputs needs 4x4 pixels. Both the pixels and the weights are transformed to 16
components, in which a convolution is a product: 16 multiplications a tile where the direct way
takes 36. A block of tiles is transformed into scratch memory, multiplied component by component
with a block of filters, and transformed back, where the epilogue is applied.

An infinite pixel would give NaN where the direct way gives infinity. A result that is not finite
sets a flag, and the direct kernel, which follows behind the flag, does everything again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llvmlite import ir

from inductor import threads
from inductor.native import vector_bits, vector_registers
from inductor.templates.emit import I32, I64, POINTER, Emitter, Value
from inductor.templates.finish import EXTRA, SCRATCH, A, B, C, Epilogue, Place
from inductor.templates.image import Convolution
from inductor.templates.packing import columns
from inductor.templates.template import Template
from inductor.templates.tile import highest_tile

MOST_ROWS = 8  # tiles that a product keeps in registers
FEWEST, MOST = 24, 96  # tiles of a block
MANY = 32  # tiles that are not few
HEAVY = 1 << 16  # weights of a component that are many
NEAR_BYTES = 100 << 10  # transformed pixels of a block of tiles
COMPONENTS = 16
LINE = 16  # elements of a cache line
FLAG = EXTRA  # the argument word with the flag's address; the epilogue's come behind it


def tiles(conv: Convolution) -> int:
    """The number of tiles of 2x2 outputs."""
    return conv.batch * -(-conv.out_height // 2) * -(-conv.out_width // 2)


def pays(conv: Convolution) -> bool:
    """Are the tiles many enough to transform weights for in every call?"""
    many = 100 if vector_bits() == 512 or conv.channels * conv.filters > HEAVY else MANY
    return tiles(conv) >= many


def handles(conv: Convolution) -> bool:
    """Is it of the kind that this way is for, and large enough to win?"""
    square = conv.kernel == (3, 3) and conv.stride == conv.dilation == (1, 1)
    alone = conv.groups == 1 and conv.dtype == "float32" and vector_bits() >= 256
    # Where a multiplication takes twice as long, saving some pays for smaller sizes. For small images
    # of many channels too, but the direct way packs all their weights again where it takes over.
    wide = vector_bits() == 512
    short = 10 if wide or conv.channels * conv.filters > HEAVY else 7
    large = min(conv.channels, conv.filters) >= (32 if wide else 8)
    return square and alone and large and min(conv.out_height, conv.out_width) >= short


class Cut:
    """How a convolution is cut into tiles and blocks."""

    def __init__(self, conv: Convolution) -> None:
        self.lanes = vector_bits() // 32
        self.tiles = tiles(conv)
        self.rows, self.vectors = self._tile(-(-conv.filters // self.lanes))
        self.width = self.vectors * self.lanes
        self.blocks = -(-conv.filters // self.width)
        # Few tiles stay together, so that weights are read once; threads share the filters then.
        together = self.tiles <= FEWEST
        self.parts = min(self.blocks, threads.available()) if together else 1
        rows = self.rows
        share = NEAR_BYTES // (4 * COMPONENTS * conv.channels) // rows * rows
        share = max(FEWEST // rows * rows, min(MOST, share))
        units = 1 if together else max(2, -(-self.tiles // share))
        # rows of a product that do not exist are computed all the same
        self.share = -(-self.tiles // (units * rows)) * rows
        self.units = -(-self.tiles // self.share)
        self.packed = self.blocks * COMPONENTS * conv.channels * self.width
        # Components a power of two apart would share one set of the first cache level.
        self.pixels = self.share * conv.channels + LINE

    def _tile(self, vectors: int) -> tuple[int, int]:
        """Rows and vectors of a product: those that compute least too much, then the squarest."""

        def rows(width: int) -> int:
            return min(MOST_ROWS, highest_tile(width, self.lanes, vector_registers()))

        def cost(width: int) -> float:
            high = rows(width)
            products = -(-vectors // width) * -(-self.tiles // high)
            # a k step multiplies or loads, two at a time
            return products * max(high * width, high + width) * (1 + 0.2 * (1 / high + 1 / width))

        best = min(range(1, min(4, vectors) + 1), key=cost)
        return rows(best), best


def turned(conv: Convolution) -> Convolution:
    """The convolution that gives the gradient by the image, of the weights turned around."""
    return replace(
        conv, channels=conv.filters, filters=conv.channels, height=conv.out_height,
        width=conv.out_width, padding=(2 - conv.padding[0], 2 - conv.padding[1]),
    )


def pack(conv: Convolution, turn: bool = False) -> Template:
    """A kernel (weight, packed): [block of filters][component][channel][filters of the block].

    Weights are those of the convolution, or if `turn` those of the one whose gradient it gives.
    """
    cut = Cut(conv)
    return Template(
        f"winograd weights {conv.channels} {conv.filters} {cut.width} {turn} {vector_bits()}", "pack",
        lambda: _write_pack(conv, cut, turn), cut.blocks * conv.channels, 20.0 * cut.width,
    )


def _write_pack(conv: Convolution, cut: Cut, turn: bool) -> str:
    module = ir.Module("pack")
    e = Emitter(module, "pack")
    source, target = e.pointer(0), e.pointer(1)
    by_filter, by_channel = (9, 9 * conv.filters) if turn else (9 * conv.channels, 9)
    half = e.constant(0.5)
    with e.loop(e.arguments[1], e.arguments[2]) as unit:
        block = e.divide(unit.index, conv.channels)
        channel = e.remainder(unit.index, conv.channels)
        size = COMPONENTS * conv.channels * cut.width
        out = e.at(target, e.add(e.multiply(block, size), e.multiply(channel, cut.width)))
        with e.loop(0, cut.width, e.lanes) as vector:
            first = e.add(e.multiply(block, cut.width), vector.index)
            left = None if conv.filters % cut.width == 0 else e.subtract(conv.filters, first)
            start = e.at(source, e.add(
                e.multiply(first, by_filter), e.multiply(channel, by_channel)
            ))
            found = columns(e, start, by_filter, 9, left)
            order = (2, 1, 0) if turn else (0, 1, 2)
            taps = [[found[3 * y + x] for x in order] for y in order]

            def spread(line: list) -> list:
                ends = e.builder.fadd(line[0], line[2])
                plus = e.builder.fmul(e.builder.fadd(ends, line[1]), half)
                minus = e.builder.fmul(e.builder.fsub(ends, line[1]), half)
                return [line[0], plus, minus, line[2]]

            rows = [spread(list(column)) for column in zip(*taps, strict=True)]
            for i, line in enumerate(zip(*rows, strict=True)):
                for j, value in enumerate(spread(list(line))):
                    place = (4 * i + j) * conv.channels * cut.width
                    e.store_vector(value, e.at(out, vector.index), place)
    e.finish()
    return str(module)


def kernel(conv: Convolution, epilogue: Epilogue | None = None) -> Template:
    """The kernel (image, packed weights, out, scratch, flag, *extra) over blocks of tiles, and parts of the filters."""
    cut = Cut(conv)
    units = cut.units * cut.parts
    elements = COMPONENTS * (cut.pixels + cut.share * cut.width) + 64
    key = None if epilogue is None else epilogue.key
    return Template(
        f"winograd {conv} {cut.share} {cut.parts} {vector_bits()} {key}", "winograd",
        lambda: Winograd(conv, epilogue).write(), units, conv.flops / 150 / units, 1,
        4 * elements, SCRATCH,
    )


class Tiles:
    """Tiles of 2x2 outputs, and the way from their 4x4 pixels to components, which are `component`
    elements apart in memory."""

    def __init__(self, conv: Convolution, component: int) -> None:
        self.conv, self.component = conv, component
        self.down, self.across = -(-conv.out_height // 2), -(-conv.out_width // 2)

    def corner(self, e: Emitter, tile: Value) -> tuple[Value, Value, Value]:
        """Image, row and column of a tile's first output."""
        each = self.down * self.across
        image, inside = e.divide(tile, each), e.remainder(tile, each)
        y, x = e.divide(inside, self.across), e.remainder(inside, self.across)
        return image, e.multiply(y, 2), e.multiply(x, 2)

    def forth(self, module: ir.Module) -> ir.Function:
        """(image, components of the tile, number of the tile)."""
        conv = self.conv
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64])
        e = Emitter(module, "forth", kind)
        image, target, tile = e.arguments
        number, row, column = self.corner(e, tile)
        y, x = e.subtract(row, conv.padding[0]), e.subtract(column, conv.padding[1])
        line = e.add(e.multiply(e.add(e.multiply(number, conv.height), y), conv.width), x)
        start = e.at(image, e.multiply(line, conv.channels))
        zeros = self._zeros(e)

        def within(place: Value, size: int) -> Any:
            return e.builder.and_(e.compare(">=", place, 0), e.compare("<", place, size))

        inner = [within(y, conv.height - 3), within(x, conv.width - 3)]
        steps = [(i * conv.width + j) * conv.channels for i in range(4) for j in range(4)]

        def fast() -> list:
            self._transform(e, [e.at(start, step) for step in steps], target)
            return []

        def careful() -> list:
            rows = [within(e.add(y, i), conv.height) for i in range(4)]
            columns = [within(e.add(x, j), conv.width) for j in range(4)]
            lines = [
                e.builder.select(e.builder.and_(r, c), e.at(start, step), zeros)
                for (r, c), step in zip([(r, c) for r in rows for c in columns], steps, strict=True)
            ]
            self._transform(e, lines, target)
            return []

        e.choose(e.builder.and_(*inner), fast, careful)
        e.finish()
        return e.function

    def _zeros(self, e: Emitter) -> Any:
        kind = ir.ArrayType(e.element, self.conv.channels)
        zeros = ir.GlobalVariable(e.module, kind, "zeros")
        zeros.initializer, zeros.global_constant = ir.Constant(kind, None), True
        zeros.linkage = "internal"
        return zeros

    def _transform(self, e: Emitter, lines: list, target: Any) -> None:
        conv, b = self.conv, e.builder

        def mix(v: list) -> list:
            return [b.fsub(v[0], v[2]), b.fadd(v[1], v[2]), b.fsub(v[2], v[1]), b.fsub(v[1], v[3])]

        def run(channel: Value, mask: Any) -> None:
            pixels = [e.load_masked(line, channel, mask) for line in lines]
            columns = [mix([pixels[4 * i + j] for i in range(4)]) for j in range(4)]
            for i in range(4):
                for j, value in enumerate(mix([columns[j][i] for j in range(4)])):
                    place = e.add(channel, (4 * i + j) * self.component)
                    e.store_masked(value, target, place, mask)

        whole = conv.channels // e.lanes * e.lanes
        with e.loop(0, whole, e.lanes) as channel:
            run(channel.index, e.whole)
        if whole < conv.channels:
            run(e.integer(whole), e.mask(conv.channels - whole))


class Winograd:
    """Writes the module of one convolution."""

    def __init__(self, conv: Convolution, epilogue: Epilogue | None) -> None:
        self.conv, self.epilogue, self.cut = conv, epilogue, Cut(conv)
        self.tiles = Tiles(conv, self.cut.pixels)

    def write(self) -> str:
        """The module's text."""
        conv, cut = self.conv, self.cut
        self.module = ir.Module("winograd")
        e = Emitter(self.module, "winograd")
        multiply, back = self._multiply(), self._back()
        forth = self.tiles.forth(self.module)
        image, weights, out, pixels = (e.pointer(i) for i in (A, B, C, SCRATCH))
        products = e.at(pixels, COMPONENTS * cut.pixels)
        with e.loop(e.arguments[1], e.arguments[2]) as unit:
            first = e.multiply(e.divide(unit.index, cut.parts), cut.share)
            part = e.remainder(unit.index, cut.parts)
            low, high = (
                e.divide(e.multiply(p, cut.blocks), cut.parts) for p in (part, e.add(part, 1))
            )
            count = e.minimum(cut.share, e.subtract(cut.tiles, first))
            with e.loop(0, count) as tile:
                place = e.at(pixels, e.multiply(tile.index, conv.channels))
                e.call(forth, image, place, e.add(first, tile.index))
            with e.loop(low, high) as block, e.loop(0, COMPONENTS) as component:
                number = e.add(e.multiply(block.index, COMPONENTS), component.index)
                b = e.at(weights, e.multiply(number, conv.channels * cut.width))
                a = e.at(pixels, e.multiply(component.index, cut.pixels))
                c = e.at(products, e.multiply(component.index, cut.share * cut.width))
                with e.loop(0, count, cut.rows) as row:
                    e.call(
                        multiply, e.at(a, e.multiply(row.index, conv.channels)), b,
                        e.at(c, e.multiply(row.index, cut.width)),
                    )
                last = e.compare("==", component.index, COMPONENTS - 1)

                def finish(block: Value = block.index) -> None:
                    column = e.multiply(block, cut.width)
                    with e.loop(0, count) as tile:
                        line = e.at(products, e.multiply(tile.index, cut.width))
                        e.call(back, line, out, e.add(first, tile.index), column, e.arguments[0])

                e.when(last, finish)
        e.finish()
        return str(self.module)

    # -- products -----------------------------------------------------------------------------

    def _multiply(self) -> ir.Function:
        """(pixels, weights, products): a few tiles of one component by a block of filters."""
        conv, cut, rows, vectors = self.conv, self.cut, self.cut.rows, self.cut.vectors
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3)
        e = Emitter(self.module, "multiply", kind)
        a, b, c = e.arguments
        step = 2 if conv.channels % 2 == 0 else 1
        with e.loop(0, conv.channels, step, [e.constant(0.0)] * (rows * vectors)) as k:
            for u in range(step):
                line = e.at(b, e.multiply(e.add(k.index, u), cut.width))
                columns = [e.load_vector(line, v * e.lanes) for v in range(vectors)]
                for v in range(vectors):
                    e.prefetch(e.at(line, 12 * cut.width + v * e.lanes))
                for i in range(rows):
                    value = e.splat(e.load(a, e.add(k.index, i * conv.channels + u)))
                    for v in range(vectors):
                        slot = i * vectors + v
                        k.next[slot] = e.fma(value, columns[v], k.next[slot])
        for i in range(rows):
            for v in range(vectors):
                e.store_vector(k.values[i * vectors + v], c, i * cut.width + v * e.lanes)
        e.finish()
        return e.function

    # -- components to results ----------------------------------------------------------------

    def _back(self) -> ir.Function:
        """(components of the tile, out, number of the tile, first filter, argument block)."""
        conv, cut = self.conv, self.cut
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64, POINTER])
        e = Emitter(self.module, "back", kind)
        source, out, tile, first, block = e.arguments
        image, row, column = self.tiles.corner(e, tile)
        with e.loop(0, cut.width, e.lanes, [e.constant(0.0)]) as vector:
            left = e.subtract(conv.filters, e.add(first, vector.index))
            mask = e.whole if conv.filters % cut.width == 0 else e.mask(left)
            line = e.at(source, vector.index)
            places, values = [], []
            for number, value in enumerate(self._mixed(e, line)):
                vector.next[0] = e.fma(value, e.constant(0.0), vector.next[0])
                y, x = e.add(row, number // 2), e.add(column, number % 2)
                here = self._exists(e, mask, y, x, number)
                pixel = e.add(e.multiply(y, conv.out_width), x)
                channel = e.add(first, vector.index)
                offset = e.add(e.multiply(
                    e.add(e.multiply(image, conv.pixels), pixel), conv.filters
                ), channel)
                if self.epilogue is not None:
                    place = Place(e, image, pixel, channel, offset, here, block)
                    value = self.epilogue(e, value, place, self.epilogue.for_row(e, place))
                places.append((offset, here))
                values.append(value)
            for (offset, here), value in zip(places, values, strict=True):
                e.store_masked(value, out, offset, here)
        check = e.horizontal_sum(vector.values[0])
        odd = e.builder.fcmp_unordered("uno", check, check)

        def raise_flag() -> None:
            flag = e.builder.inttoptr(e.load(block, FLAG, I64), POINTER)
            e.builder.store(ir.Constant(I32, 1), flag)

        e.when(odd, raise_flag)
        e.finish()
        return e.function

    def _mixed(self, e: Emitter, line: Any) -> list:
        """The four results of a tile, for a vector of filters."""
        cut, b = self.cut, e.builder
        size = cut.share * cut.width
        parts = [e.load_vector(line, n * size) for n in range(COMPONENTS)]

        def mix(v: list) -> list:
            plus, minus = b.fadd(v[1], v[2]), b.fsub(v[1], v[2])
            return [b.fadd(v[0], plus), b.fsub(minus, v[3])]

        columns = [mix([parts[4 * i + j] for i in range(4)]) for j in range(4)]
        rows = [mix([columns[j][i] for j in range(4)]) for i in range(2)]
        return [*rows[0], *rows[1]]

    def _exists(self, e: Emitter, mask: Any, y: Value, x: Value, number: int) -> Any:
        """The mask, empty where a result lies outside the output."""
        conv = self.conv
        if number // 2 and conv.out_height % 2:
            mask = e.builder.and_(mask, e.splat(e.compare("<", y, conv.out_height)))
        if number % 2 and conv.out_width % 2:
            mask = e.builder.and_(mask, e.splat(e.compare("<", x, conv.out_width)))
        return mask


def clear() -> Template:
    """A kernel (flag) that lowers the flag."""

    def write() -> str:
        module = ir.Module("clear")
        e = Emitter(module, "clear")
        e.builder.store(ir.Constant(I32, 0), e.pointer(0))
        e.finish()
        return str(module)

    return Template("winograd clear", "clear", write, 1, 0.0)

