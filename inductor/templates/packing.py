"""Copies that convolutions with channels last need: weights in the order in which a kernel reads
them, and images with their padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from inductor.native import vector_bits
from inductor.templates.emit import I1, I32, I64, Emitter, Value
from inductor.templates.frame import Frame
from inductor.templates.image import Convolution, table
from inductor.templates.template import Template

WIDENED = 4096  # elements of a unit of work


@dataclass(frozen=True)
class Weights:
    """Where the weights of a frame are found: strides of group, filter and element of a run, and
    the place of every tap."""

    group: int
    filter: int
    run: int
    taps: tuple[int, ...]


def weights(conv: Convolution) -> Weights:
    """Those of a convolution, [filter][channel][tap] in memory."""
    each = conv.channels // conv.groups * conv.taps
    return Weights(conv.filters // conv.groups * each, each, conv.taps, tuple(range(conv.taps)))


def gradient_weights(conv: Convolution, taps: tuple[int, ...]) -> Weights:
    """The same for the gradient by the image: filters and channels change places."""
    each = conv.channels // conv.groups * conv.taps
    return Weights(conv.filters // conv.groups * each, conv.taps, each, taps)


def pack(work: Frame, found: Weights) -> Template:
    """A kernel (weight, packed) for a frame."""
    return Template(
        f"pack weights {work} {found} {vector_bits()}", "pack",
        lambda: _write_pack(work, found), work.groups * work.blocks, work.depth * work.block / 4,
    )


def _has_rows(work: Frame, found: Weights) -> bool:
    """Are the weights of a filter contiguous, taps of a channel side by side?"""
    # An element of a run is a tap of a channel where rows of taps are read as one.
    taps = len(found.taps)
    return found.filter == work.depth and found.run == taps and found.taps == tuple(range(taps))


def _write_pack(work: Frame, found: Weights) -> str:
    module = ir.Module("pack")
    e = Emitter(module, "pack", dtype=work.dtype)
    source, target = e.pointer(0), e.pointer(1)
    write = _pack_rows if _has_rows(work, found) else _pack_elements
    with e.loop(e.arguments[1], e.arguments[2]) as unit:
        group, block = e.divide(unit.index, work.blocks), e.remainder(unit.index, work.blocks)
        out = e.at(target, e.multiply(unit.index, work.depth * work.block))
        first = e.multiply(block, work.block)
        start = e.add(e.multiply(group, found.group), e.multiply(first, found.filter))
        write(e, work, found, e.subtract(work.each, first), e.at(source, start), out)
    e.finish()
    return str(module)


def _pack_rows(e: Emitter, work: Frame, found: Weights, left: Value, source: Any, out: Any) -> None:
    """A filter's weights are contiguous: squares of them are transposed."""
    taps, channels = len(found.taps), work.depth // len(found.taps)
    with e.loop(0, work.block, e.lanes) as vector, e.loop(0, work.depth, e.lanes) as k:
        mask = e.mask(e.subtract(work.depth, k.index))
        line = e.at(source, e.multiply(vector.index, found.filter))
        lines = []
        for i in range(e.lanes):
            # filters that do not exist are zeros: what is computed of them is not stored
            exists = e.compare(">", left, e.add(vector.index, i))
            here = e.builder.and_(mask, e.splat(exists))
            lines.append(e.load_masked(line, e.add(i * found.filter, k.index), here))
        for j, column in enumerate(e.transpose(lines)):
            place = e.add(k.index, j)
            channel, tap = e.divide(place, taps), e.remainder(place, taps)
            step = e.add(e.multiply(tap, channels), channel)

            def put(step: Value = step, column: Any = column) -> None:
                e.store_vector(column, out, e.add(e.multiply(step, work.block), vector.index))

            e.when(e.compare("<", place, work.depth), put)


def _pack_elements(
    e: Emitter, work: Frame, found: Weights, left: Value, source: Any, out: Any
) -> None:
    """Filters lie side by side, or nearly so; all taps of an element are read at once."""
    places = table(e, list(found.taps))
    run = work.depth // len(found.taps)
    wide = ir.VectorType(I64, e.lanes)
    steps = ir.Constant(wide, [i * found.filter for i in range(e.lanes)])
    with e.loop(0, run) as element, e.loop(0, work.block, e.lanes) as vector:
        line = e.at(source, e.multiply(element.index, found.run))
        filters = e.at(line, e.multiply(vector.index, found.filter))
        some = e.subtract(left, vector.index)

        def put(value: Any, tap: Value) -> None:
            step = e.add(e.multiply(tap, run), element.index)
            e.store_vector(value, out, e.add(e.multiply(step, work.block), vector.index))

        if found.filter == 1:
            put(e.load_masked(filters, 0, e.mask(some)), 0)
        elif found.filter <= 4 * e.lanes:
            exact = work.each % work.block == 0
            taps = columns(e, filters, found.filter, found.filter, None if exact else some)
            for place, number in enumerate(found.taps):
                put(taps[number], place)
        else:
            with e.loop(0, len(found.taps)) as tap:
                mask = e.mask(some)
                put(e.gather(e.at(filters, places(tap.index)), steps, mask), tap.index)


def widen(size: int, dtype: str) -> Template:
    """A kernel (weight, widened): float16 or bfloat16 becomes float32."""
    units = -(-size // WIDENED)
    return Template(
        f"widen {size} {dtype}", "widen", lambda: _write_widen(size, dtype), units, WIDENED / 8
    )


def _write_widen(size: int, dtype: str) -> str:
    module = ir.Module("widen")
    e = Emitter(module, "widen")
    source, target = e.pointer(0), e.pointer(1)
    first = e.multiply(e.arguments[1], WIDENED)
    last = e.minimum(e.multiply(e.arguments[2], WIDENED), size)
    with e.loop(first, last) as element:
        bits = e.load(source, element.index, ir.IntType(16))
        if dtype == "float16":
            value = e.builder.fpext(e.builder.bitcast(bits, ir.HalfType()), e.element)
        else:  # the upper half of a float32
            wide = e.builder.shl(e.builder.zext(bits, I32), ir.Constant(I32, 16))
            value = e.builder.bitcast(wide, e.element)
        e.store(value, target, element.index)
    e.finish()
    return str(module)


def columns(e: Emitter, start: Any, step: int, count: int, left: Value | None) -> list:
    """The columns of a matrix of as many rows as a vector has lanes, `step` elements apart, of which
    `left` exist (None: all)."""
    found: list[Any] = []
    for low in range(0, count, e.lanes):
        width = min(e.lanes, count - low)
        whole = ir.Constant(ir.VectorType(I1, e.lanes), [int(i < width) for i in range(e.lanes)])
        lines = []
        for i in range(e.lanes):
            mask = whole
            if left is not None:
                mask = e.builder.and_(whole, e.splat(e.compare(">", left, i)))
            lines.append(e.load_masked(start, i * step + low, mask))
        found += e.transpose(lines)[:width]
    return found


def padded(conv: Convolution) -> tuple[int, int]:
    """Rows and columns of an image with its padding."""
    return conv.height + 2 * conv.padding[0], conv.width + 2 * conv.padding[1]


def pad(conv: Convolution, strides: tuple[int, ...]) -> Template:
    """A kernel (image, padded): an image in any strides becomes channels last with its padding."""
    height, width = padded(conv)
    return Template(
        f"pad {conv} {strides}", "pad", lambda: _write_pad(conv, strides), conv.batch * height,
        width * conv.channels / 1.5,
    )


def padded_size(conv: Convolution) -> int:
    """Elements of the padded image."""
    height, width = padded(conv)
    return conv.batch * height * width * conv.channels


def _write_pad(conv: Convolution, strides: tuple[int, ...]) -> str:
    module = ir.Module("pad")
    e = Emitter(module, "pad", dtype=conv.dtype)
    source, target = e.pointer(0), e.pointer(1)
    (up, left), channels = conv.padding, conv.channels
    height, width = padded(conv)
    with e.loop(e.arguments[1], e.arguments[2]) as unit:
        image, y = e.divide(unit.index, height), e.remainder(unit.index, height)
        line = e.at(target, e.multiply(unit.index, width * channels))
        here = e.subtract(y, up)
        exists = e.builder.and_(e.compare(">=", here, 0), e.compare("<", here, conv.height))
        start = e.at(source, e.add(e.multiply(image, strides[0]), e.multiply(here, strides[2])))
        first = e.select(exists, left, width)
        last = e.select(exists, left + conv.width, width)
        for low, high in ((0, first), (last, width)):
            with e.loop(e.multiply(low, channels), e.multiply(high, channels)) as element:
                e.store(e.zero, line, element.index)
        copy = _interleave if channels <= e.lanes and strides[3] == 1 else _copy_pixels
        pixels = e.at(line, e.multiply(first, channels))
        copy(e, start, strides, pixels, e.subtract(last, first), channels)
    e.finish()
    return str(module)


def _copy_pixels(
    e: Emitter, source: Any, strides: tuple[int, ...], target: Any, count: Value, channels: int
) -> None:
    """Pixels of a line, an element at a time."""
    with e.loop(0, channels) as channel:
        out = e.at(target, channel.index)
        plane = e.at(source, e.multiply(channel.index, strides[1]))
        with e.loop(0, count) as x:
            value = e.load(plane, e.multiply(x.index, strides[3]))
            e.store(value, out, e.multiply(x.index, channels))


def _interleave(
    e: Emitter, source: Any, strides: tuple[int, ...], target: Any, count: Value, channels: int
) -> None:
    """The same where each channel's pixels are contiguous: as many vectors of all channels as there are
    channels."""
    kind = ir.VectorType(I32, e.lanes)
    with e.loop(0, count, e.lanes) as x:
        left = e.subtract(count, x.index)
        planes = [
            e.load_masked(source, e.add(c * strides[1], x.index), e.mask(left))
            for c in range(channels)
        ]
        out = e.at(target, e.multiply(x.index, channels))
        for k in range(channels):
            found = [divmod(k * e.lanes + j, channels) for j in range(e.lanes)]  # pixel, channel
            value = planes[0]
            for c in range(channels):
                lanes = [e.lanes + p if here == c else j for j, (p, here) in enumerate(found)]
                value = e.builder.shuffle_vector(value, planes[c], ir.Constant(kind, lanes))
            exist = e.subtract(e.multiply(left, channels), k * e.lanes)
            e.store_masked(value, out, k * e.lanes, e.mask(exist))
