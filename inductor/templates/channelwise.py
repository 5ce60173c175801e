"""Depthwise convolutions of images whose channels lie side by side in memory: a filter per channel.

Vectors run along the channels. A tile is a few neighbouring output pixels of a row, so that what
they read in common is loaded once; pixels whose window reaches over the left or right edge are done
one by one, with the taps that are inside. Weights come as [tap][channel]. The epilogue's rows are
output pixels and its columns channels, as in `direct.py`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from inductor.native import vector_bits
from inductor.templates.emit import I1, Emitter, Value
from inductor.templates.finish import A, B, C, Epilogue, Place
from inductor.templates.image import Convolution
from inductor.templates.template import Template


def handles(conv: Convolution) -> bool:
    """Is there one filter per channel?"""
    return conv.groups == conv.channels == conv.filters and conv.taps <= 128


def forward(conv: Convolution, epilogue: Epilogue | None = None) -> Template:
    """The kernel (image, weights, out, -, *extra); its range is rows of output pixels."""
    key = None if epilogue is None else epilogue.key
    flops = 2 * conv.out_width * conv.filters * conv.taps
    return Template(
        f"channelwise {conv} {vector_bits()} {key}", "channelwise",
        lambda: Channelwise(conv, epilogue).write(), conv.batch * conv.out_height,
        flops / 25 + 20, 2,
    )


class Channelwise:
    """Writes the module of one convolution."""

    def __init__(self, conv: Convolution, epilogue: Epilogue | None) -> None:
        self.conv, self.epilogue = conv, epilogue
        most = 8 if vector_bits() == 512 else 4
        reach = (conv.kernel[1] - 1) * conv.dilation[1]
        pad, stride = conv.padding[1], conv.stride[1]
        # columns [low, high) have all their taps inside the image
        self.low = min(-(-pad // stride), conv.out_width)
        inner = (conv.width - 1 + pad - reach) // stride + 1
        self.high = max(self.low, min(inner, conv.out_width))
        count = self.high - self.low
        self.tiles = -(-count // most)
        self.most = -(-count // max(1, self.tiles))
        self.tall = count - self.tiles * (self.most - 1)

    def write(self) -> str:
        """The module's text."""
        self.module = ir.Module("channelwise")
        e = Emitter(self.module, "channelwise", dtype=self.conv.dtype)
        conv = self.conv
        image, self.weights, self.out = e.pointer(A), e.pointer(B), e.pointer(C)
        with e.loop(e.arguments[1], e.arguments[2]) as unit:
            self.number = e.divide(unit.index, conv.out_height)
            self.row = e.remainder(unit.index, conv.out_height)
            top = e.subtract(e.multiply(self.row, conv.stride[0]), conv.padding[0])
            taps = _inside(e, top, conv.height, conv.kernel[0], conv.dilation[0])
            line = e.add(e.multiply(self.number, conv.height), top)
            start = e.at(image, e.multiply(line, conv.width * conv.channels))
            with e.loop(0, self.low) as column:
                self._edge(e, start, column.index, taps)
            self._tiles(e, start, taps)
            with e.loop(self.high, conv.out_width) as column:
                self._edge(e, start, column.index, taps)
        e.finish()
        return str(self.module)

    def _tiles(self, e: Emitter, start: Any, taps: tuple) -> None:
        for count, tiles, first in (
            (self.most, self.tall, self.low),
            (self.most - 1, self.tiles - self.tall, self.low + self.tall * self.most),
        ):
            if count == 0 or tiles <= 0:
                continue
            with e.loop(first, first + tiles * count, count) as column:
                self._tile(e, start, column.index, count, taps)

    def _each_vector(self, e: Emitter, action: Any) -> None:
        """Vectors of channels: the full ones, then what is left."""
        channels = self.conv.channels
        whole = channels // e.lanes * e.lanes
        full = ir.Constant(ir.VectorType(I1, e.lanes), [1] * e.lanes)
        if whole:
            with e.loop(0, whole, e.lanes) as channel:
                action(channel.index, full)
        if whole < channels:
            action(e.integer(whole), e.mask(channels - whole))

    def _tile(self, e: Emitter, start: Any, column: Value, count: int, taps: tuple) -> None:
        """`count` pixels from `column` on, none of which reaches over an edge."""
        conv = self.conv
        stride, dilation = conv.stride[1], conv.dilation[1]
        left = e.subtract(e.multiply(column, stride), conv.padding[1])
        pixels = e.at(start, e.multiply(left, conv.channels))

        def run(channel: Value, mask: Any) -> None:
            with e.loop(taps[0], taps[1], 1, [e.constant(0.0)] * count) as y:
                line = e.at(pixels, e.add(channel, e.multiply(
                    y.index, conv.dilation[0] * conv.width * conv.channels
                )))
                weights = e.at(self.weights, e.add(channel, e.multiply(
                    y.index, conv.kernel[1] * conv.channels
                )))
                loaded: dict[int, Any] = {}
                for x in range(conv.kernel[1]):
                    weight = e.load_masked(weights, x * conv.channels, mask)
                    for i in range(count):
                        place = i * stride + x * dilation
                        if place not in loaded:
                            loaded[place] = e.load_masked(line, place * conv.channels, mask)
                        y.next[i] = e.fma(loaded[place], weight, y.next[i])
            self._store(e, column, channel, y.values, mask)

        self._each_vector(e, run)

    def _edge(self, e: Emitter, start: Any, column: Value, taps: tuple) -> None:
        """A pixel that reaches over an edge."""
        conv = self.conv
        left = e.subtract(e.multiply(column, conv.stride[1]), conv.padding[1])
        across = _inside(e, left, conv.width, conv.kernel[1], conv.dilation[1])
        pixel = e.at(start, e.multiply(left, conv.channels))

        def run(channel: Value, mask: Any) -> None:
            with e.loop(taps[0], taps[1], 1, [e.constant(0.0)]) as y:
                line = e.at(pixel, e.add(channel, e.multiply(
                    y.index, conv.dilation[0] * conv.width * conv.channels
                )))
                weights = e.at(self.weights, e.add(channel, e.multiply(
                    y.index, conv.kernel[1] * conv.channels
                )))
                with e.loop(across[0], across[1], 1, y.values) as x:
                    place = e.multiply(x.index, conv.dilation[1] * conv.channels)
                    weight = e.load_masked(weights, e.multiply(x.index, conv.channels), mask)
                    x.next[0] = e.fma(e.load_masked(line, place, mask), weight, x.next[0])
                y.next = x.values
            self._store(e, column, channel, y.values, mask)

        self._each_vector(e, run)

    def _store(self, e: Emitter, column: Value, channel: Value, sums: list, mask: Any) -> None:
        conv, result = self.conv, []
        first = e.add(e.multiply(self.row, conv.out_width), column)
        start = e.add(e.multiply(self.number, conv.pixels), first)
        for i, value in enumerate(sums):
            pixel = e.add(first, i)
            offset = e.add(e.multiply(e.add(start, i), conv.channels), channel)
            if self.epilogue is not None:
                place = Place(e, self.number, pixel, channel, offset, mask, e.arguments[0])
                shared = self.epilogue.for_row(e, place)
                value = self.epilogue(e, value, place, shared)
            result.append((offset, value))
        for offset, value in result:
            e.store_masked(value, self.out, offset, mask)


def _inside(e: Emitter, first: Value, size: int, taps: int, dilation: int) -> tuple[Value, Value]:
    """The taps [low, high) of a window that begins at `first` that are inside the image."""
    low = e.divide(e.maximum(e.subtract(dilation - 1, first), 0), dilation)
    last = e.subtract(size - 1, first)
    count = e.add(e.divide(e.maximum(last, 0), dilation), 1)
    high = e.minimum(e.select(e.compare("<", last, 0), 0, count), taps)
    return low, high
