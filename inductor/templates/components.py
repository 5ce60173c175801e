"""Gradients of convolutions by 3x3 with stride 1 by their weights, after Winograd.

What `winograd.py` computes component by component, a product of transformed pixels and transformed
weights, has a gradient component by component too: pixels times transformed gradients, added up over
tiles of 2x2 outputs. 16 multiplications stand for 36, as there; the sums are transformed to 3x3 once.
A result that is not finite raises a flag, behind which `outer.py` does everything again.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from inductor.native import vector_bits
from inductor.templates.emit import I32, I64, POINTER, Emitter, Value
from inductor.templates.finish import EXTRA
from inductor.templates.image import Convolution
from inductor.templates.outer import LINE, Outer
from inductor.templates.template import Template
from inductor.templates.winograd import COMPONENTS, HEAVY, MANY, Tiles, tiles

WANTED = 48  # tiles of a block, about
MOST = 64  # tiles that become one block
FLAG = EXTRA - 1  # the argument word with the flag's address


def handles(conv: Convolution) -> bool:
    """Is it of the kind that this way is for, and large enough to win?"""
    square = conv.kernel == (3, 3) and conv.stride == conv.dilation == (1, 1)
    alone = conv.groups == 1 and conv.dtype == "float32" and vector_bits() >= 256
    fewest = 32 if vector_bits() == 512 else 8
    large = min(conv.channels, conv.filters) >= fewest and min(conv.out_height, conv.out_width) >= 6
    # Where tiles are few it is the sums that take the time, and there are 16 in the place of 9.
    heavy = conv.channels * conv.filters > HEAVY and tiles(conv) < MANY and vector_bits() < 512
    return square and alone and large and not heavy


def weight_gradient(conv: Convolution) -> Template:
    """The kernel (image, gradient, weight gradient, flag)."""
    return Components(conv).template()


class Components(Outer):
    """A part is a component."""

    parts_first = True

    def __init__(self, conv: Convolution) -> None:
        self.squares = Tiles(conv, 0)
        total = tiles(conv)
        self.total, self.blocks = total, 1 if total <= MOST else -(-total // WANTED)
        self.share = -(-total // self.blocks)
        self.blocks = -(-total // self.share)
        super().__init__(conv, COMPONENTS, conv.channels)
        self.pixels = COMPONENTS * self.share * self.pitch() + LINE
        self.room = (-(-self.pixels // LINE) * LINE, COMPONENTS * self.share * self.width)
        self.squares.component = self.share * self.pitch()

    def write_parts(self) -> None:
        self.products = self.add_products(0, self.pitch(), 0, 1)
        self.forth = self.squares.forth(self.module)
        self.turn = self._turn()

    def load_block(self, e: Emitter, words: tuple, block: Value) -> Any:
        conv, (image, gradient, pixels, panels, first, last) = self.conv, words
        start = e.multiply(block, self.share)
        count = e.minimum(self.share, e.subtract(self.total, start))

        def clear() -> None:  # what lies between the channels of two tiles, or behind the last, is multiplied, too
            with e.loop(0, self.pixels, e.lanes) as element:
                e.store_vector(e.constant(0.0), pixels, element.index)

        e.when(e.compare("==", block, 0), clear)
        with e.loop(0, count) as tile:
            number = e.add(start, tile.index)
            e.call(self.forth, image, e.at(pixels, e.multiply(tile.index, self.pitch())), number)
            with e.loop(first, last) as panel:
                here = e.subtract(panel.index, first)
                column = e.multiply(panel.index, self.width)
                place = e.add(
                    e.multiply(here, self.room[1]), e.multiply(tile.index, self.width)
                )
                e.call(
                    self.turn, e.at(gradient, column), e.at(panels, place), number,
                    e.subtract(conv.filters, column),
                )
        return count

    def _turn(self) -> ir.Function:
        """(gradients, components of the tile, number of the tile, filters)."""
        conv = self.conv
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64])
        e = Emitter(self.module, "turn", kind)
        source, target, tile, left = e.arguments
        image, row, column = self.squares.corner(e, tile)
        line = e.add(e.multiply(e.add(e.multiply(image, conv.out_height), row), conv.out_width), column)

        def spread(pair: list) -> list:
            a, b = pair
            return [a, e.builder.fadd(a, b), e.builder.fsub(a, b), e.builder.fneg(b)]

        for v in range(self.vectors):
            mask = e.mask(e.subtract(left, v * self.lanes))
            found = []
            for y in range(2):
                for x in range(2):
                    here = mask
                    if y and conv.out_height % 2:
                        inside = e.compare("<", e.add(row, y), conv.out_height)
                        here = e.builder.and_(here, e.splat(inside))
                    if x and conv.out_width % 2:
                        inside = e.compare("<", e.add(column, x), conv.out_width)
                        here = e.builder.and_(here, e.splat(inside))
                    place = e.multiply(e.add(line, y * conv.out_width + x), conv.filters)
                    found.append(e.load_masked(source, e.add(place, v * self.lanes), here))
            columns = [spread([found[x], found[2 + x]]) for x in range(2)]
            for i in range(4):
                for j, value in enumerate(spread([columns[0][i], columns[1][i]])):
                    place = (4 * i + j) * self.share * self.width + v * self.lanes
                    e.store_vector(value, target, place)
        e.finish()
        return e.function

    def multiply(
        self, e: Emitter, part: Value, operands: tuple, sums: Any, fresh: Value, size: Any
    ) -> None:
        data = e.at(operands[0], e.multiply(part, self.share * self.pitch()))
        slopes = e.at(operands[1], e.multiply(part, self.share * self.width))
        e.call(self.products, data, slopes, sums, fresh, e.integer(1), size)

    def settle(self, e: Emitter, sums: Any) -> None:
        """Components to taps, in the places of the first nine."""
        size, b = self.rows * self.width, e.builder
        half = e.constant(0.5)

        def gather(line: list) -> list:
            plus, minus = b.fadd(line[1], line[2]), b.fsub(line[1], line[2])
            return [e.fma(plus, half, line[0]), b.fmul(minus, half), e.fma(plus, half, line[3])]

        with e.loop(0, size, e.lanes, [e.constant(0.0)]) as place:
            parts = [e.load_vector(sums, e.add(place.index, n * size)) for n in range(COMPONENTS)]
            columns = [gather([parts[4 * i + j] for i in range(4)]) for j in range(4)]
            odd = place.values[0]
            for y in range(3):
                for x, value in enumerate(gather([columns[j][y] for j in range(4)])):
                    e.store_vector(value, sums, e.add(place.index, (3 * y + x) * size))
                    odd = e.fma(value, e.constant(0.0), odd)
            place.next[0] = odd
        check = e.horizontal_sum(place.values[0])

        def raise_flag() -> None:
            b.store(ir.Constant(I32, 1), e.pointer(FLAG))

        e.when(b.fcmp_unordered("uno", check, check), raise_flag)
