"""Convolutions in float32, NCHW as users see it: forward, input gradient, weight gradient.

All three are implicit matrix products: `Gemm` with columns that are gathered from the image while
they are packed, so that no matrix of patches is ever written. Each function returns a `Plan`, whose
`steps(...)` make the steps of a launch program; some need workspace, for the image laid out with its
padding and split by stride (so that taps read contiguous memory), or for transposed weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from inductor.native import vector_bits
from inductor.program import Reference, Step
from inductor.templates import depthwise, gemm
from inductor.templates.emit import I32, I64, POINTER, Emitter, Value
from inductor.templates.finish import A, C, Epilogue, write_finish
from inductor.templates.gemm import Gemm
from inductor.templates.image import (
    Convolution,
    Layout,
    Plan,
    arrange,
    inside,
    is_plain,
    layout,
    table,
)
from inductor.templates.problem import ITEMSIZE, Problem
from inductor.templates.template import Template

__all__ = ["Convolution", "Plan", "forward", "input_gradient", "weight_gradient"]


SCATTERED_BELOW = 64  # pixels for which large weights are not worth transposing
MERGED_BELOW = 200  # pixels of an output below which a batch is one product
MERGED_FROM = 2e6  # operations that are worth the step that separates the images again

# -- gathered columns ------------------------------------------------------------------------


class _Pixels(Gemm):
    """A product per image and group: columns are pixels, rows are the filters of a group."""

    def __init__(self, conv: Convolution, problem: Problem, epilogue: Epilogue | None) -> None:
        self.conv, self.image = conv, layout(conv)
        super().__init__(problem, epilogue)

    def key(self) -> str:
        return f"{super().key()} {self.image}"

    def place(self, e: Emitter, product: Value) -> tuple[Value, Value]:
        groups = self.conv.groups
        row = e.multiply(e.remainder(product, groups), self.conv.filters // groups)
        return e.divide(product, groups), row


class _Patches(_Pixels):
    """Columns are output pixels, rows are (channel, tap), or (tap, channel) if `taps_first`."""

    gathered = True
    taps_first = False

    def __init__(self, conv: Convolution, problem: Problem, epilogue: Epilogue | None) -> None:
        self.channels = conv.channels // conv.groups
        super().__init__(conv, problem, epilogue)

    def _choose_depth(self) -> None:
        # A block of k steps covers whole channels (or whole taps, or an even part of a tap).
        inner = self.channels if self.taps_first else self.conv.taps
        self.part = inner
        if inner <= gemm.BLOCK_DEPTH * 1.3:
            super()._choose_depth()
            self.depth = inner * max(1, round(self.depth / inner))
            return
        if self.taps_first:
            parts = [d for d in range(64, gemm.BLOCK_DEPTH + 1) if inner % d == 0]
            self.part = max(parts, default=inner)
        self.depth = self.part

    def copy_columns(self, vectors: int) -> ir.Function:
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64, I64])
        e = Emitter(self.module, f"pack_pixels_{vectors}", kind, self.conv.dtype)
        image, target, column, first, k = e.arguments
        taps = table(e, self.image.taps())
        lines = [self._segments(e, e.add(column, v * self.lanes)) for v in range(vectors)]
        if self.taps_first:
            self._by_taps(e, image, target, lines, taps, first, k)
        else:
            self._by_channels(e, image, target, lines, taps, first, k)
        e.finish()
        return e.function

    def _by_channels(
        self, e: Emitter, image: Any, target: Any, lines: list, taps: Any, first: Value, k: Value
    ) -> None:
        """k = channel * taps + tap."""
        count = self.conv.taps
        start = e.divide(first, count)
        with e.loop(0, e.divide(k, count)) as channel:
            plane = e.at(image, e.multiply(e.add(start, channel.index), self.image.channel))
            with e.loop(0, count) as tap:
                row = e.add(e.multiply(channel.index, count), tap.index)
                self._fetch(e, e.at(plane, taps(tap.index)), target, row, lines)

    def _by_taps(
        self, e: Emitter, image: Any, target: Any, lines: list, taps: Any, first: Value, k: Value
    ) -> None:
        """k = tap * channels + channel."""
        with e.loop(0, k, self.part) as part:
            position = e.add(first, part.index)
            tap = taps(e.divide(position, self.channels))
            channel = e.remainder(position, self.channels)
            start = e.at(image, e.add(tap, e.multiply(channel, self.image.channel)))
            with e.loop(0, self.part) as inner:
                plane = e.at(start, e.multiply(inner.index, self.image.channel))
                self._fetch(e, plane, target, e.add(part.index, inner.index), lines)

    def _segments(self, e: Emitter, column: Value) -> list[tuple[Value, Any]]:
        """For 16 pixels from `column` on: where each output row they lie on is read, and by which lanes.

        Lane j of a segment reads element base + j.
        """
        width, height = self.conv.out_width, self.conv.out_height
        row, place = e.divide(column, width), e.remainder(column, width)
        lanes = ir.Constant(ir.VectorType(I32, self.lanes), list(range(self.lanes)))
        count = (self.lanes + width - 2) // width + 1
        left = e.subtract(self.problem.n, column)
        size = self.conv.channels * self.image.channel
        result = []
        for segment in range(count):
            low = e.subtract(segment * width, place)
            high = e.minimum(e.subtract((segment + 1) * width, place), left)
            mask = e.mask(high)
            if segment:
                start = e.splat(e.builder.trunc(e.integer(low), I32))
                mask = e.builder.and_(mask, e.builder.icmp_signed(">=", lanes, start))
            here = e.add(row, segment)
            # Rows are counted through all images, where they are merged.
            base = e.add(
                e.multiply(e.divide(here, height), size),
                e.multiply(e.remainder(here, height), self.image.columns),
            )
            result.append((e.subtract(base, low), mask))
        return result

    def _fetch(self, e: Emitter, plane: Any, target: Any, row: Value, lines: list) -> None:
        width = len(lines) * self.lanes
        for v, segments in enumerate(lines):
            value = e.constant(0.0)
            for base, mask in segments:
                value = e.load_masked(plane, base, mask, value)
            e.store_vector(value, target, e.add(e.multiply(row, width), v * self.lanes))


class _PatchesByTaps(_Patches):
    taps_first = True


class _Taps(Gemm):
    """Columns are (channel, tap), rows are output pixels: the right side of a weight gradient."""

    gathered = True

    def __init__(self, conv: Convolution, problem: Problem) -> None:
        self.conv, self.image = conv, layout(conv)
        super().__init__(problem, None)

    def key(self) -> str:
        return f"{super().key()} {self.image} {self.conv.batch}"

    def _choose_depth(self) -> None:
        # A block of k steps covers whole rows of output pixels.
        super()._choose_depth()
        width = self.conv.out_width
        self.depth = width * max(1, round(self.depth / width))

    def copy_columns(self, vectors: int) -> ir.Function:
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64, I64])
        e = Emitter(self.module, f"pack_taps_{vectors}", kind, self.conv.dtype)
        image, target, column, first, k = e.arguments
        taps = table(e, self.image.taps())
        count, width = self.conv.taps, self.conv.out_width
        start = e.divide(first, width)
        with e.loop(0, vectors * self.lanes, self.lanes) as group:
            places = []
            for lane in range(self.lanes):
                # A column that does not exist repeats the last one; it is never stored.
                n = e.minimum(e.sum(column, group.index, lane), self.problem.n - 1)
                plane = e.multiply(e.divide(n, count), self.image.channel)
                places.append(e.add(plane, taps(e.remainder(n, count))))
            with e.loop(0, e.divide(k, width)) as row:
                line = e.at(image, e.multiply(e.add(start, row.index), self.image.columns))
                with e.loop(0, width, self.lanes) as pixel:
                    mask = e.mask(e.subtract(width, pixel.index))
                    pixels = e.at(line, pixel.index)
                    block = [e.load_masked(pixels, place, mask) for place in places]
                    k0 = e.add(e.multiply(row.index, width), pixel.index)
                    for j, vector in enumerate(e.transpose(block)):
                        # What reaches past the row's end is overwritten by the next row.
                        position = e.multiply(e.add(k0, j), vectors * self.lanes)
                        e.store_vector(vector, target, e.add(position, group.index))
        e.finish()
        return e.function

    def _amortized(self, crowded: int) -> bool:
        # Rows would be packed again for every few panels: see _run.
        return crowded > 4

    def _run(self, e: Emitter, run: Any, low: Value, high: Value) -> None:
        """A few panels at a time, which stay in the second cache level, for one image after another."""
        image_size = self.conv.channels * self.image.channel
        with e.loop(low, high, self.group) as group:
            end = e.minimum(e.add(group.index, self.group), high)
            with e.loop(0, self.conv.batch) as image:
                fresh = e.builder.zext(e.compare("==", image.index, 0), I64)
                here = replace(
                    run,
                    a=e.at(run.a, e.multiply(image.index, self.conv.filters * self.conv.pixels)),
                    b=e.at(run.b, e.multiply(image.index, image_size)),
                    fresh=fresh,
                )
                super()._run(e, here, group.index, end)


# -- plans -----------------------------------------------------------------------------------


def forward(conv: Convolution, epilogue: Epilogue | None = None) -> Plan:
    """`steps(image, weight, out, workspace, *extra)`.

    In the epilogue, rows are the filters and columns the output pixels.
    Raises ValueError where the output would be empty.
    """
    if conv.pixels <= 0 or conv.out_height <= 0:
        raise ValueError(f"convolution: kernel {conv.kernel} is larger than the padded image")
    if depthwise.handles(conv):
        return depthwise.forward(conv, epilogue)
    arranger = None if is_plain(conv) else arrange(conv)
    work = _pass(conv, _Patches if conv.taps > 1 or _merges(conv) else _Pixels, layout(conv), epilogue)
    arranged_bytes = _rounded(layout(conv).bytes) if arranger else 0

    def steps(image: Any, weight: Any, out: Any, workspace: int = 0, *extra: Any) -> list[Step]:
        result = []
        if arranger is not None:
            arranged = Reference("workspace", 0, workspace)
            result.append(arranger.step(image, arranged, name="arrange"))
            image = arranged
        place = workspace + arranged_bytes
        return result + work.steps("convolution", weight, image, out, place, extra)

    return Plan(arranged_bytes + work.bytes, steps)


def _rounded(size: int) -> int:
    """Up to a whole cache line."""
    return -(-size // 64) * 64


def _merges(conv: Convolution) -> bool:
    """Are images so small that vectors had better run on from one into the next?"""
    return conv.batch > 1 and conv.pixels < MERGED_BELOW and conv.flops >= MERGED_FROM


@dataclass(frozen=True)
class _Pass:
    """A product over patches, and where images were merged the step that separates the results."""

    product: Template
    separate: Template | None
    bytes: int

    def steps(
        self, name: str, weights: Any, image: Any, out: Any, workspace: int, extra: tuple = ()
    ) -> list[Step]:
        if self.separate is None:
            return [self.product.step(weights, image, out, *extra, name=name)]
        merged = Reference("workspace", 0, workspace)
        return [
            self.product.step(weights, image, merged, name=name),
            self.separate.step(merged, 0, out, 0, *extra, name="separate images"),
        ]


def _pass(
    conv: Convolution, kind: type[_Pixels], image: Layout, epilogue: Epilogue | None
) -> _Pass:
    """The product of weights, a row per filter, and patches of an image in its layout."""
    filters, channels = conv.filters // conv.groups, conv.channels // conv.groups
    k, merged = channels * conv.taps, _merges(conv)
    n = conv.pixels * (conv.batch if merged else 1)
    groups = (conv.groups, filters * k, channels * image.channel, filters * n)
    images = (conv.batch, 0, conv.channels * image.channel, conv.filters * n)
    b = (image.channel, 1) if kind is _Pixels else (1, 1)
    batch = (groups,) if merged else (images, groups)
    problem = Problem(filters, n, k, (k, 1), b, (n, 1), batch, dtype=conv.dtype)
    writer = kind(conv, problem, None if merged else epilogue)
    writer.image = image
    if not merged:
        return _Pass(writer.template(), None, 0)
    size = _rounded(conv.filters * n * conv.itemsize)
    return _Pass(writer.template(), _separate(conv, epilogue), size)


def _separate(conv: Convolution, epilogue: Epilogue | None) -> Template:
    """A kernel (merged, -, images, -, *extra): rows over all images to images; per (image, row)."""
    key = None if epilogue is None else epilogue.key
    return Template(
        f"separate {conv} {key} {vector_bits()}", "separate",
        lambda: _write_separate(conv, epilogue), conv.batch * conv.filters,
        conv.pixels * (0.5 if epilogue is None else 1.0) + 5, 2,
    )


def _write_separate(conv: Convolution, epilogue: Epilogue | None) -> str:
    module = ir.Module("separate")
    finish = write_finish(module, epilogue, conv.dtype, conv.pixels, conv.pixels)
    e = Emitter(module, "separate", dtype=conv.dtype)
    source, target = e.pointer(A), e.pointer(C)
    with e.loop(e.arguments[1], e.arguments[2]) as unit:
        image = e.divide(unit.index, conv.filters)
        row = e.remainder(unit.index, conv.filters)
        offset = e.multiply(unit.index, conv.pixels)
        place = e.add(e.multiply(row, conv.batch * conv.pixels), e.multiply(image, conv.pixels))
        line, out = e.at(source, place), e.at(target, offset)
        with e.loop(0, conv.pixels, e.lanes) as pixel:
            mask = e.mask(e.subtract(conv.pixels, pixel.index))
            e.store_masked(e.load_masked(line, pixel.index, mask), out, pixel.index, mask)
        if finish is not None:
            e.call(finish, target, offset, 1, conv.pixels, image, row, 0, e.arguments[0])
    e.finish()
    return str(module)


def transpose(rows: int, columns: int, dtype: str) -> Template:
    """A kernel (source, target) that transposes a matrix; its range is blocks of rows."""
    lanes = vector_bits() // (8 * ITEMSIZE[dtype])
    return Template(
        f"transpose {rows} {columns} {dtype} {vector_bits()}", "transpose", lambda: _write_transpose(rows, columns, dtype),
        -(-rows // lanes), columns * lanes / 2.0,
    )


def _write_transpose(rows: int, columns: int, dtype: str) -> str:
    module = ir.Module("transpose")
    e = Emitter(module, "transpose", dtype=dtype)
    source, target = e.pointer(0), e.pointer(1)
    with e.loop(e.arguments[1], e.arguments[2]) as block:
        first = e.multiply(block.index, e.lanes)
        across = e.mask(e.subtract(rows, first))
        with e.loop(0, columns, e.lanes) as column:
            down = e.mask(e.subtract(columns, column.index))
            lines = []
            for i in range(e.lanes):
                row = e.minimum(e.add(first, i), rows - 1)
                lines.append(e.load_masked(source, e.add(e.multiply(row, columns), column.index), down))
            for j, vector in enumerate(e.transpose(lines)):
                line = e.add(column.index, j)

                def put(line: Any = line, vector: Any = vector) -> None:
                    e.store_masked(vector, target, e.add(e.multiply(line, rows), first), across)

                if columns % e.lanes:
                    e.when(e.compare("<", line, columns), put)
                else:
                    put()
    e.finish()
    return str(module)


def input_gradient(conv: Convolution) -> Plan:
    """`steps(gradient, weight, image_gradient, workspace)`."""
    if depthwise.handles(conv):
        return depthwise.input_gradient(conv)
    reach = [d * (k - 1) - p for d, k, p in zip(conv.dilation, conv.kernel, conv.padding, strict=True)]
    if conv.taps == 1 and conv.stride == (1, 1) and conv.padding == (0, 0):
        return _pointwise_input_gradient(conv)
    few = conv.batch * conv.pixels < SCATTERED_BELOW and conv.filters * conv.channels > 1 << 16
    if conv.stride == (1, 1) and min(reach) >= 0 and conv.groups == 1 and not few:
        return _convolved_input_gradient(conv, (reach[0], reach[1]))
    return _scattered_input_gradient(conv)


def _pointwise_input_gradient(conv: Convolution) -> Plan:
    filters, channels = conv.filters // conv.groups, conv.channels // conv.groups
    batch = (
        (conv.batch, 0, conv.filters * conv.pixels, conv.channels * conv.pixels),
        (conv.groups, filters * channels, filters * conv.pixels, channels * conv.pixels),
    )
    line = (conv.pixels, 1)
    product = gemm.build(Problem(channels, conv.pixels, filters, (1, channels), line, line, batch, dtype=conv.dtype))
    return Plan(0, lambda gradient, weight, out, workspace=0: [
        product.step(weight, gradient, out, name="convolution input gradient")
    ])


def _convolved_input_gradient(conv: Convolution, padding: tuple[int, int]) -> Plan:
    """A convolution of the gradient with the weights turned around and transposed."""
    back = replace(
        conv, channels=conv.filters, filters=conv.channels, height=conv.out_height,
        width=conv.out_width, padding=padding,
    )
    image = layout(back)
    # Transposed weights are [channel][tap][filter]; the taps are met in reverse order.
    reversed_image = _Reversed(image.conv, image.phases, image.rows, image.columns)
    work = _pass(back, _PatchesByTaps, reversed_image, None)
    turn = transpose(conv.filters, conv.channels * conv.taps, conv.dtype)
    turned = _rounded(conv.filters * conv.channels * conv.taps * conv.itemsize)
    arranger = None if is_plain(back) else arrange(back)
    arranged_bytes = _rounded(image.bytes) if arranger else 0

    def steps(gradient: Any, weight: Any, out: Any, workspace: int = 0) -> list[Step]:
        weights = Reference("workspace", 0, workspace)
        result = [turn.step(weight, weights, name="transpose weights")]
        if arranger is not None:
            arranged = Reference("workspace", 0, workspace + turned)
            result.append(arranger.step(gradient, arranged, name="arrange"))
            gradient = arranged
        place = workspace + turned + arranged_bytes
        name = "convolution input gradient"
        return result + work.steps(name, weights, gradient, out, place)

    return Plan(turned + arranged_bytes + work.bytes, steps)


class _Reversed(Layout):
    def taps(self) -> list[int]:
        return super().taps()[::-1]


def _scattered_input_gradient(conv: Convolution) -> Plan:
    """The general way: gradients of all patches by a matrix product, then added up per pixel."""
    filters, channels = conv.filters // conv.groups, conv.channels // conv.groups
    rows = channels * conv.taps
    batch = (
        (conv.batch, 0, conv.filters * conv.pixels, conv.groups * rows * conv.pixels),
        (conv.groups, filters * rows, filters * conv.pixels, rows * conv.pixels),
    )
    line = (conv.pixels, 1)
    product = gemm.build(Problem(rows, conv.pixels, filters, (1, rows), line, line, batch, dtype=conv.dtype))
    collect = _collect(conv)

    def steps(gradient: Any, weight: Any, out: Any, workspace: int = 0) -> list[Step]:
        patches = Reference("workspace", 0, workspace)
        return [
            product.step(weight, gradient, patches, name="convolution input gradient"),
            collect.step(patches, out, name="collect patches"),
        ]

    return Plan(conv.batch * conv.channels * conv.taps * conv.pixels * conv.itemsize, steps)


def _collect(conv: Convolution) -> Template:
    """A kernel (patches, image) that adds patches up where they came from, plane by plane."""
    cost = conv.taps * conv.pixels / 2 + conv.height * conv.width / 8
    return Template(
        f"collect {conv} {vector_bits()}", "collect", lambda: _write_collect(conv),
        conv.batch * conv.channels, cost, 2,
    )


def _write_collect(conv: Convolution) -> str:
    module = ir.Module("collect")
    e = Emitter(module, "collect", dtype=conv.dtype)
    source, target = e.pointer(0), e.pointer(1)
    plane_size = conv.height * conv.width
    with e.loop(e.arguments[1], e.arguments[2]) as plane:
        image = e.at(target, e.multiply(plane.index, plane_size))
        with e.loop(0, plane_size, e.lanes) as pixel:
            mask = e.mask(e.subtract(plane_size, pixel.index))
            e.store_masked(e.constant(0.0), image, pixel.index, mask)
        start = e.at(source, e.multiply(plane.index, conv.taps * conv.pixels))
        with e.loop(0, conv.kernel[0]) as y, e.loop(0, conv.kernel[1]) as x:
            tap = e.add(e.multiply(y.index, conv.kernel[1]), x.index)
            patch = e.at(start, e.multiply(tap, conv.pixels))
            _add_tap(e, conv, patch, image, y.index, x.index)
    e.finish()
    return str(module)


def _add_tap(e: Emitter, conv: Convolution, patch: Any, image: Any, y: Value, x: Value) -> None:
    row_shift = e.subtract(e.multiply(y, conv.dilation[0]), conv.padding[0])
    column_shift = e.subtract(e.multiply(x, conv.dilation[1]), conv.padding[1])
    first, last = inside(e, conv.height, conv.out_height, conv.stride[0], row_shift)
    low, high = inside(e, conv.width, conv.out_width, conv.stride[1], column_shift)
    with e.loop(first, last) as row:
        here = e.add(e.multiply(row.index, conv.stride[0]), row_shift)
        line = e.at(image, e.add(e.multiply(here, conv.width), column_shift))
        values = e.at(patch, e.multiply(row.index, conv.out_width))
        if conv.stride[1] == 1:
            with e.loop(low, high, e.lanes) as column:
                mask = e.mask(e.subtract(high, column.index))
                total = e.builder.fadd(
                    e.load_masked(line, column.index, mask),
                    e.load_masked(values, column.index, mask),
                )
                e.store_masked(total, line, column.index, mask)
        else:
            with e.loop(low, high) as column:
                place = e.multiply(column.index, conv.stride[1])
                total = e.builder.fadd(e.load(line, place), e.load(values, column.index))
                e.store(total, line, place)


def weight_gradient(conv: Convolution) -> Plan:
    """`steps(image, gradient, weight_gradient, workspace)`; the sum over images runs in order.

    Raises ValueError where there are no images.
    """
    if not conv.batch:
        raise ValueError("convolution: a weight gradient of no images")
    if depthwise.handles(conv):
        return depthwise.weight_gradient(conv)
    filters, channels = conv.filters // conv.groups, conv.channels // conv.groups
    n = channels * conv.taps
    image = layout(conv)
    batch = ((conv.groups, filters * conv.pixels, channels * image.channel, filters * n),)
    line = (conv.pixels, 1)
    problem = Problem(filters, n, conv.pixels, line, (1, 1), (n, 1), batch, dtype=conv.dtype)
    product = _Taps(conv, problem).template()
    product = replace(product, cost=product.cost * conv.batch)
    arranger = None if is_plain(conv) else arrange(conv)

    def steps(data: Any, gradient: Any, out: Any, workspace: int = 0) -> list[Step]:
        result = []
        if arranger is not None:
            arranged = Reference("workspace", 0, workspace)
            result.append(arranger.step(data, arranged, name="arrange"))
            data = arranged
        result.append(product.step(gradient, data, out, name="convolution weight gradient"))
        return result

    return Plan(image.bytes if arranger else 0, steps)
