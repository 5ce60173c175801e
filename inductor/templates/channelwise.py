"""Depthwise convolutions of images whose channels lie side by side in memory: a filter per channel.

Vectors run along the channels. A tile is a few neighbouring output pixels of a row, so that what
they read in common is loaded once; pixels whose window reaches over the left or right edge are done
one by one, with the taps that are inside. Weights come as [tap][channel]. The epilogue's rows are
output pixels and its columns channels, as in `direct.py`. The gradient by the image is a convolution
for every residue of the stride (`frame.gradient_frames`); that by the weights, [tap][channel] too,
is added up row by row of output pixels.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from llvmlite import ir

from inductor import threads
from inductor.native import vector_bits
from inductor.templates import direct
from inductor.templates.emit import Emitter, Value
from inductor.templates.finish import A, B, C, Epilogue, Place
from inductor.templates.frame import Frame, frame
from inductor.templates.image import Convolution, table
from inductor.templates.template import Template

MOST = 7  # neighbouring pixels of a tile; the sizes of many images are multiples of it
REACH = 32  # columns from the first to the last tap, or of padding
CHAINS = 10  # sums under way at a time, so that additions do not wait for each other


def handles(conv: Convolution) -> bool:
    """Is there one filter per channel, and do windows reach few tiles far over the edges, each of which is text?"""
    reach = max(conv.padding[1], conv.dilation[1] * (conv.kernel[1] - 1))
    return conv.groups == conv.channels == conv.filters and conv.taps <= 128 and reach <= REACH


def forward(conv: Convolution, epilogue: Epilogue | None = None) -> Template:
    """The kernel (image, weights, out, -, *extra); its range is rows of output pixels."""
    return kernel(frame(conv), tuple(range(conv.taps)), epilogue)


def kernel(work: Frame, numbers: tuple[int, ...], epilogue: Epilogue | None = None) -> Template:
    """The kernel of a frame whose taps have weights of these numbers."""
    key = None if epilogue is None else epilogue.key
    flops = 2 * work.columns * work.filters * len(work.taps)
    return Template(
        f"channelwise {work} {numbers} {vector_bits()} {key}", "channelwise",
        lambda: Channelwise(work, numbers, epilogue).write(), work.batch * work.rows,
        flops / 25 + 20, 2,
    )


class Channelwise:
    """Writes the module of one convolution, whose taps are all pairs of some rows and columns."""

    def __init__(
        self, work: Frame, numbers: tuple[int, ...], epilogue: Epilogue | None
    ) -> None:
        self.frame, self.epilogue = work, epilogue
        self.across = list(dict.fromkeys(x for _, x in work.taps))
        self.down = [y for y, _ in work.taps[:: len(self.across)]]
        self.firsts = [n - numbers[0] for n in numbers[: len(self.across)]]
        self.lines = list(numbers[:: len(self.across)])
        start, stride = work.start[1], work.stride[1]
        # columns [low, high) have all their taps inside the image
        self.low = -((start + min(self.across)) // stride)
        self.high = (work.width - 1 - start - max(self.across)) // stride + 1

    def write(self) -> str:
        """The module's text."""
        self.module = ir.Module("channelwise")
        e = Emitter(self.module, "channelwise", dtype=self.frame.dtype)
        work = self.frame
        image, self.weights, self.out = e.pointer(A), e.pointer(B), e.pointer(C)
        self.tables = table(e, self.down), table(e, self.lines)
        with e.loop(e.arguments[1], e.arguments[2]) as unit:
            self.number = e.divide(unit.index, work.rows)
            self.row = e.remainder(unit.index, work.rows)
            self.top = e.add(e.multiply(self.row, work.stride[0]), work.start[0])
            line = e.add(e.multiply(self.number, work.height), self.top)
            start = e.at(image, e.multiply(line, work.width * work.pixel))
            self._tiles(e, start)
        e.finish()
        return str(self.module)

    def _tiles(self, e: Emitter, start: Any) -> None:
        """A row of output pixels, in tiles as even as they go; those at an edge are written one by one."""
        columns = self.frame.columns
        count = -(-columns // MOST)
        sizes = [columns // count + (i < columns % count) for i in range(count)] if columns else []
        first = 0
        for size, alike in groupby(sizes):
            end = first + size * len(list(alike))
            places = range(first, end, size)
            inner = []
            for column in places:
                if self.low <= column and column + size <= self.high:
                    inner.append(column)
                else:
                    self._tile(e, start, column, size)
            if inner:
                with e.loop(inner[0], inner[-1] + 1, size) as tile:
                    self._tile(e, start, tile.index, size)
            first = end

    def _each_row(self, e: Emitter, sums: list, pixels: Any, channel: Value, action: Any) -> list:
        """`action(sums, line, weights)` for every row of taps that is inside the image."""
        work = self.frame
        with e.loop(0, len(self.down), 1, sums) as y:
            shift, number = self.tables[0](y.index), self.tables[1](y.index)
            here = e.add(self.top, shift)
            exists = e.builder.and_(e.compare(">=", here, 0), e.compare("<", here, work.height))

            def run() -> list:
                place = e.multiply(shift, work.width * work.pixel)
                line = e.at(pixels, e.add(channel, place))
                weights = e.at(self.weights, e.add(channel, e.multiply(number, work.filters)))
                return action(list(y.values), line, weights)

            y.next = e.choose(exists, run, lambda: y.values)
        return y.values

    def _tile(self, e: Emitter, start: Any, column: Value, count: int) -> None:
        """`count` pixels from `column` on. Where that is a number, taps may lie outside the image."""
        work, stride = self.frame, self.frame.stride[1]
        left = e.add(e.multiply(column, stride), work.start[1])
        pixels = e.at(start, e.multiply(left, work.pixel))

        def exists(place: int) -> bool:
            return not isinstance(left, int) or 0 <= left + place < work.width

        def run(channel: Value, mask: Any) -> None:
            def add(sums: list, line: Any, weights: Any) -> list:
                loaded: dict[int, Any] = {}
                for shift, number in zip(self.across, self.firsts, strict=True):
                    places = {i: i * stride + shift for i in range(count)}
                    places = {i: place for i, place in places.items() if exists(place)}
                    if not places:
                        continue
                    weight = e.load_masked(weights, number * work.filters, mask)
                    for i, place in places.items():
                        if place not in loaded:
                            loaded[place] = e.load_masked(line, place * work.pixel, mask)
                        sums[i] = e.fma(loaded[place], weight, sums[i])
                return sums

            zeros = [e.constant(0.0)] * count
            self._store(e, column, channel, self._each_row(e, zeros, pixels, channel, add), mask)

        each_vector(e, work.filters, run)

    def _store(self, e: Emitter, column: Value, channel: Value, sums: list, mask: Any) -> None:
        work, result = self.frame, []
        first = e.add(e.multiply(self.row, work.columns), column)
        whole = e.add(e.multiply(self.number, work.pixels), first)
        size = direct.whole_image(work)
        for i, value in enumerate(sums):
            there = direct.place_of(work, e, e.add(whole, i), e.arguments[0])
            offset = e.add(e.multiply(there, work.filters), channel)
            if self.epilogue is not None:
                pixel = e.subtract(there, e.multiply(self.number, size))
                place = Place(e, self.number, pixel, channel, offset, mask, e.arguments[0])
                shared = self.epilogue.for_row(e, place)
                value = self.epilogue(e, value, place, shared)
            result.append((offset, value))
        for offset, value in result:
            e.store_masked(value, self.out, offset, mask)


def each_vector(e: Emitter, channels: int, action: Any) -> None:
    """`action(channel, mask)` for vectors of channels: the full ones, then what is left."""
    whole = channels // e.lanes * e.lanes
    if whole:
        with e.loop(0, whole, e.lanes) as channel:
            action(channel.index, e.whole)
    if whole < channels:
        action(e.integer(whole), e.mask(channels - whole))


# -- gradients by the weights ----------------------------------------------------------------


def weight_gradient(conv: Convolution) -> Template:
    """The kernel (image, gradient, weight gradient as [tap][channel]); its range is blocks of
    channels, each of which sums all pixels in their order.
    """
    lanes = vector_bits() // (8 * conv.itemsize)
    vectors = -(-conv.channels // lanes)
    share = 1 if threads.available() == 1 else 2 * threads.available()
    block = -(-vectors // min(share, vectors)) * lanes
    units = -(-conv.channels // block)
    return Template(
        f"channelwise weight gradient {conv} {block} {vector_bits()}", "slopes",
        lambda: _write_slopes(conv, block), units, conv.flops / units / 20 + 20, 1,
    )


def _write_slopes(conv: Convolution, block: int) -> str:
    module = ir.Module("slopes")
    e = Emitter(module, "slopes", dtype=conv.dtype)
    image, gradient, out = e.pointer(A), e.pointer(B), e.pointer(C)
    channels = conv.channels
    with e.loop(e.arguments[1], e.arguments[2]) as unit:
        first = e.multiply(unit.index, block)
        last = e.minimum(e.add(first, block), channels)
        with e.loop(0, conv.taps) as tap, e.loop(first, last, e.lanes) as channel:
            place = e.add(e.multiply(tap.index, channels), channel.index)
            e.store_masked(e.constant(0.0), out, place, e.mask(e.subtract(last, channel.index)))
        with e.loop(0, conv.batch * conv.out_height) as line:
            number = e.divide(line.index, conv.out_height)
            row = e.remainder(line.index, conv.out_height)
            top = e.subtract(e.multiply(row, conv.stride[0]), conv.padding[0])
            low, high = _inside(e, top, conv.height, conv.kernel[0], conv.dilation[0])
            pixels = e.add(e.multiply(number, conv.height), top)
            data = e.at(image, e.multiply(pixels, conv.width * channels))
            slopes = e.at(gradient, e.multiply(line.index, conv.out_width * channels))
            with e.loop(first, last, e.lanes) as channel, e.loop(low, high) as y:
                mask = e.mask(e.subtract(last, channel.index))
                shift = e.multiply(y.index, conv.dilation[0] * conv.width * channels)
                sums = e.at(out, e.multiply(y.index, conv.kernel[1] * channels))
                _add_row(
                    e, conv, e.at(data, e.add(shift, channel.index)),
                    e.at(slopes, channel.index), e.at(sums, channel.index), mask,
                )
    e.finish()
    return str(module)


def _add_row(e: Emitter, conv: Convolution, data: Any, slopes: Any, sums: Any, mask: Any) -> None:
    """The products of a row of gradients and of pixels, for a row of taps."""
    channels, taps, stride = conv.channels, conv.kernel[1], conv.stride[1]
    pad, dilation = conv.padding[1], conv.dilation[1]
    low = min(-(-pad // stride), conv.out_width)
    inner = (conv.width - 1 + pad - (taps - 1) * dilation) // stride + 1
    high = max(low, min(inner, conv.out_width))
    sets = max(1, CHAINS // taps)
    tile = sets * max(1, 4 // sets)
    whole = low + (high - low) // tile * tile
    for start in range(0, taps, CHAINS):
        some = range(start, min(start + CHAINS, taps))
        zeros = [e.constant(0.0)] * (len(some) * sets)
        with e.loop(low, whole, tile, zeros) as column:
            line = e.at(data, e.multiply(
                e.subtract(e.multiply(column.index, stride), pad), channels
            ))
            slope = e.at(slopes, e.multiply(column.index, channels))
            loaded: dict[int, Any] = {}
            for i in range(tile):
                factor = e.load_masked(slope, i * channels, mask)
                for number, x in enumerate(some):
                    place = i * stride + x * dilation
                    if place not in loaded:
                        loaded[place] = e.load_masked(line, place * channels, mask)
                    slot = number * sets + i % sets
                    column.next[slot] = e.fma(loaded[place], factor, column.next[slot])
        for number, x in enumerate(some):
            total = e.load_masked(sums, x * channels, mask)
            for value in column.values[number * sets : number * sets + sets]:
                total = e.builder.fadd(total, value)
            e.store_masked(total, sums, x * channels, mask)
    for begin_at, end_at in ((0, low), (whole, conv.out_width)):
        with e.loop(begin_at, end_at) as column:
            left = e.subtract(e.multiply(column.index, stride), pad)
            factor = e.load_masked(slopes, e.multiply(column.index, channels), mask)
            begin, end = _inside(e, left, conv.width, taps, dilation)
            with e.loop(begin, end) as tap:
                here = e.add(left, e.multiply(tap.index, dilation))
                pixel = e.load_masked(data, e.multiply(here, channels), mask)
                there = e.multiply(tap.index, channels)
                total = e.fma(pixel, factor, e.load_masked(sums, there, mask))
                e.store_masked(total, sums, there, mask)


def _inside(e: Emitter, first: Value, size: int, taps: int, dilation: int) -> tuple[Value, Value]:
    """The taps [low, high) of a window that begins at `first` that are inside the image."""
    low = e.divide(e.maximum(e.subtract(dilation - 1, first), 0), dilation)
    last = e.subtract(size - 1, first)
    count = e.add(e.divide(e.maximum(last, 0), dilation), 1)
    high = e.minimum(e.select(e.compare("<", last, 0), 0, count), taps)
    return low, high
