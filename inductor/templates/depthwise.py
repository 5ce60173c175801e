"""Depthwise convolutions in float32: one image channel per group, so there is no product to block.

A plane at a time is arranged in the thread's scratch memory (padding included, split by stride) and
its rows are swept with vectors along the width. All three passes return a `Plan`, as those of
`convolution.py` do, which sends depthwise sizes here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llvmlite import ir

from inductor.native import vector_bits
from inductor.templates.emit import Emitter, Value
from inductor.templates.finish import SCRATCH, A, B, C, Epilogue, write_finish
from inductor.templates.image import (
    Convolution,
    Layout,
    Plan,
    arrange_plane,
    layout,
    restore_plane,
)
from inductor.templates.template import Template

ROWS = 4  # output rows that share one weight in a register
TAPS = 12  # weight gradients accumulated at a time


def handles(conv: Convolution) -> bool:
    """Is there one image channel per group, and more than one group?"""
    return conv.groups == conv.channels > 1 and conv.taps <= 64


def _template(conv: Convolution, name: str, write: Any, total: int, flops: float, key: str) -> Template:
    out = layout(conv)
    scratch = (out.channel + 64) * conv.itemsize
    cost = out.channel / 2 + flops / 16
    return Template(
        f"depthwise {name} {conv} {vector_bits()} {key}", name, write, total, cost, 2, scratch, SCRATCH
    )


def _start(name: str, dtype: str) -> tuple[ir.Module, Emitter, list[Any]]:
    module = ir.Module(name)
    e = Emitter(module, name, dtype=dtype)
    return module, e, [e.pointer(i) for i in (A, B, C, SCRATCH)]


def forward(conv: Convolution, epilogue: Epilogue | None = None) -> Plan:
    """`steps(image, weight, out, workspace, *extra)`; the range is (image, channel)."""
    template = _template(
        conv, "depthwise", lambda: _write_forward(conv, epilogue), conv.batch * conv.channels,
        conv.flops / max(1, conv.batch * conv.channels), "" if epilogue is None else epilogue.key,
    )
    return Plan(0, lambda image, weight, out, workspace=0, *extra: [
        template.step(weight, image, out, *extra, name="depthwise convolution")
    ])


def _write_forward(conv: Convolution, epilogue: Epilogue | None) -> str:
    module, e, (weights, images, outs, scratch) = _start("depthwise", conv.dtype)
    out, per_channel = layout(conv), conv.filters // conv.channels
    finish = write_finish(module, epilogue, conv.dtype, conv.pixels, conv.pixels)
    with e.loop(e.arguments[1], e.arguments[2]) as plane:
        image = e.at(images, e.multiply(plane.index, conv.height * conv.width))
        arrange_plane(e, out, image, scratch)
        channel = e.remainder(plane.index, conv.channels)
        with e.loop(0, per_channel) as which:
            row = e.add(e.multiply(channel, per_channel), which.index)
            weight = e.at(weights, e.multiply(row, conv.taps))
            number = e.add(e.multiply(plane.index, per_channel), which.index)
            offset = e.multiply(number, conv.pixels)
            _sweep(e, out, scratch, weight, e.at(outs, offset))
            if finish is not None:
                number = e.divide(plane.index, conv.channels)
                e.call(finish, outs, offset, 1, conv.pixels, number, row, 0, e.arguments[0])
    e.finish()
    return str(module)


def _sweep(e: Emitter, out: Layout, plane: Any, weight: Any, target: Any) -> None:
    """All output pixels of one filter."""
    conv = out.conv
    whole = conv.out_height // ROWS * ROWS

    def rows_at(first: Value, count: int) -> None:
        with e.loop(0, conv.out_width, e.lanes) as column:
            mask = e.mask(e.subtract(conv.out_width, column.index))
            start = e.at(plane, e.add(e.multiply(first, out.columns), column.index))
            sums = [e.constant(0.0)] * count
            for tap, place in enumerate(out.taps()):
                value = e.splat(e.load(weight, tap))
                for i in range(count):
                    pixels = e.load_vector(start, place + i * out.columns)
                    sums[i] = e.fma(value, pixels, sums[i])
            for i, total in enumerate(sums):
                pixel = e.add(e.multiply(e.add(first, i), conv.out_width), column.index)
                e.store_masked(total, target, pixel, mask)

    with e.loop(0, whole, ROWS) as block:
        rows_at(block.index, ROWS)
    with e.loop(whole, conv.out_height) as single:
        rows_at(single.index, 1)


def _spread(conv: Convolution) -> tuple[Layout, list[tuple[int, int]]]:
    """The layout of a gradient with a border as wide as taps reach, and each tap's reach."""
    out = layout(conv)
    reaches = [divmod(tap % out.plane, out.columns) for tap in out.taps()]
    rows, columns = max(r for r, _ in reaches), max(c for _, c in reaches)
    bordered = Convolution(
        1, 1, conv.out_height, conv.out_width, 1, (rows + 1, columns + 1), padding=(rows, columns)
    )
    return layout(bordered), reaches


def input_gradient(conv: Convolution) -> Plan:
    """`steps(gradient, weight, image_gradient, workspace)`; the range is (image, channel)."""
    template = _template(
        conv, "depthwise_input", lambda: _write_input(conv), conv.batch * conv.channels,
        conv.flops / max(1, conv.batch * conv.channels), "",
    )
    template = replace(template, scratch=template.scratch + (_spread(conv)[0].channel + 64) * conv.itemsize)
    return Plan(0, lambda gradient, weight, out, workspace=0: [
        template.step(weight, gradient, out, name="depthwise input gradient")
    ])


def _write_input(conv: Convolution) -> str:
    module, e, (weights, gradients, images, scratch) = _start("depthwise_input", conv.dtype)
    out, per_channel = layout(conv), conv.filters // conv.channels
    spread, reaches = _spread(conv)
    bordered = e.at(scratch, out.channel + 64)
    with e.loop(e.arguments[1], e.arguments[2]) as plane:
        with e.loop(0, out.channel, e.lanes) as pixel:
            e.store_vector(e.constant(0.0), scratch, pixel.index)
        channel = e.remainder(plane.index, conv.channels)
        with e.loop(0, per_channel) as which:
            row = e.add(e.multiply(channel, per_channel), which.index)
            weight = e.at(weights, e.multiply(row, conv.taps))
            number = e.add(e.multiply(plane.index, per_channel), which.index)
            gradient = e.at(gradients, e.multiply(number, conv.pixels))
            arrange_plane(e, spread, gradient, bordered)
            phases = sorted({tap // out.plane for tap in out.taps()})
            for phase in phases:
                taps = [t for t, tap in enumerate(out.taps()) if tap // out.plane == phase]
                target = e.at(scratch, phase * out.plane)
                _collect(e, out, spread, bordered, weight, target, [(t, reaches[t]) for t in taps])
        image = e.at(images, e.multiply(plane.index, conv.height * conv.width))
        restore_plane(e, out, image, scratch)
    e.finish()
    return str(module)


def _collect(
    e: Emitter, out: Layout, spread: Layout, gradient: Any, weight: Any, target: Any, taps: list
) -> None:
    """Add to every pixel of one phase what the outputs it went into send back."""
    border_rows, border_columns = spread.conv.padding
    whole = out.rows // ROWS * ROWS

    def rows_at(first: Value, count: int) -> None:
        with e.loop(0, out.columns, e.lanes) as column:
            mask = e.mask(e.subtract(out.columns, column.index))
            start = e.at(gradient, e.add(e.multiply(first, spread.columns), column.index))
            line = e.at(target, e.add(e.multiply(first, out.columns), column.index))
            sums = [e.load_masked(line, i * out.columns, mask) for i in range(count)]
            for tap, (row, place) in taps:
                factor = e.splat(e.load(weight, tap))
                shift = (border_rows - row) * spread.columns + border_columns - place
                for i in range(count):
                    values = e.load_vector(start, shift + i * spread.columns)
                    sums[i] = e.fma(factor, values, sums[i])
            for i, total in enumerate(sums):
                e.store_masked(total, line, i * out.columns, mask)

    with e.loop(0, whole, ROWS) as block:
        rows_at(block.index, ROWS)
    with e.loop(whole, out.rows) as single:
        rows_at(single.index, 1)


def weight_gradient(conv: Convolution) -> Plan:
    """`steps(image, gradient, weight_gradient, workspace)`; the range is the channels."""
    template = _template(
        conv, "depthwise_weight", lambda: _write_weight(conv), conv.channels,
        conv.flops / max(1, conv.channels), "",
    )
    return Plan(0, lambda image, gradient, out, workspace=0: [
        template.step(gradient, image, out, name="depthwise weight gradient")
    ])


def _write_weight(conv: Convolution) -> str:
    module, e, (gradients, images, outs, scratch) = _start("depthwise_weight", conv.dtype)
    out, per_channel = layout(conv), conv.filters // conv.channels
    taps = out.taps()
    with e.loop(e.arguments[1], e.arguments[2]) as channel:
        target = e.at(outs, e.multiply(channel.index, per_channel * conv.taps))
        with e.loop(0, per_channel * conv.taps) as element:
            e.store(e.zero, target, element.index)
        with e.loop(0, conv.batch) as image:
            plane = e.add(e.multiply(image.index, conv.channels), channel.index)
            arrange_plane(
                e, out, e.at(images, e.multiply(plane, conv.height * conv.width)), scratch
            )
            with e.loop(0, per_channel) as which:
                number = e.add(e.multiply(plane, per_channel), which.index)
                gradient = e.at(gradients, e.multiply(number, conv.pixels))
                weights = e.at(target, e.multiply(which.index, conv.taps))
                for first in range(0, conv.taps, TAPS):
                    _correlate(e, out, gradient, scratch, weights, first, taps[first : first + TAPS])
    e.finish()
    return str(module)


def _correlate(
    e: Emitter, out: Layout, gradient: Any, plane: Any, weights: Any, first: int, taps: list[int]
) -> None:
    """Add to each tap's weight gradient the products of pixels and gradients."""
    conv = out.conv
    zeros = [e.constant(0.0)] * len(taps)
    with e.loop(0, conv.out_height, 1, zeros) as row:
        with e.loop(0, conv.out_width, e.lanes, row.values) as column:
            mask = e.mask(e.subtract(conv.out_width, column.index))
            pixel = e.add(e.multiply(row.index, conv.out_width), column.index)
            value = e.load_masked(gradient, pixel, mask)
            start = e.at(plane, e.add(e.multiply(row.index, out.columns), column.index))
            for i, place in enumerate(taps):
                column.next[i] = e.fma(value, e.load_masked(start, place, mask), column.values[i])
        row.next = column.values
    for i, total in enumerate(row.values):
        before = e.load(weights, first + i)
        e.store(e.builder.fadd(before, e.horizontal_sum(total)), weights, first + i)
