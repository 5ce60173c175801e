"""An image as a convolution reads it: sizes, and the layout in which every tap reads contiguous memory.

The layout carries the padding along and keeps pixels apart by their position modulo the stride, so
that the pixels which neighbouring outputs read through one tap are neighbours in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from inductor.native import vector_bits
from inductor.program import Step
from inductor.templates.emit import I64, Emitter, Value
from inductor.templates.template import Template


@dataclass(frozen=True)
class Convolution:
    """The sizes of a two-dimensional convolution, in PyTorch's terms."""

    batch: int
    channels: int
    height: int
    width: int
    filters: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.channels % self.groups or self.filters % self.groups:
            raise ValueError(
                f"convolution: {self.channels} channels and {self.filters} filters"
                f" cannot be split into {self.groups} groups"
            )

    def out(self, axis: int) -> int:
        """Output size along an axis."""
        size = (self.height, self.width)[axis] + 2 * self.padding[axis]
        return (size - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1

    @property
    def itemsize(self) -> int:
        return 8 if self.dtype == "float64" else 4

    @property
    def out_height(self) -> int:
        return self.out(0)

    @property
    def out_width(self) -> int:
        return self.out(1)

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def pixels(self) -> int:
        """Output pixels of one image."""
        return self.out_height * self.out_width

    @property
    def flops(self) -> int:
        """Floating point operations of one pass, a multiplication and an addition each."""
        per_pixel = self.filters * self.channels // self.groups * self.taps
        return 2 * self.batch * self.pixels * per_pixel


@dataclass(frozen=True)
class Plan:
    """Steps to be made once the addresses are known.

    `steps(first, second, result, workspace, *extra)` wants a workspace offset where
    `workspace` bytes are free, or 0.
    """

    workspace: int
    steps: Callable[..., list[Step]]


@dataclass(frozen=True)
class Layout:
    """Where a tap finds its pixels: element (channel, y, x) of `phase`s of `rows` x `columns`.

    For a stride s, pixels are kept by their position modulo s, so that neighbouring outputs read
    neighbouring elements; only the phases that some tap reads are kept.
    """

    conv: Convolution
    phases: tuple[tuple[int, ...], tuple[int, ...]]
    rows: int
    columns: int

    @property
    def plane(self) -> int:
        """Elements of one phase."""
        return self.rows * self.columns

    @property
    def channel(self) -> int:
        """Elements of one channel."""
        return self.plane * len(self.phases[0]) * len(self.phases[1])

    @property
    def bytes(self) -> int:
        # The last taps are read by whole vectors, which may reach past the end.
        return (self.conv.batch * self.conv.channels * self.channel + 64) * self.conv.itemsize

    def tap(self, y: int, x: int) -> int:
        """Offset of tap (y, x) for output pixel (0, 0)."""
        conv = self.conv
        (row, row_phase) = divmod(y * conv.dilation[0], conv.stride[0])
        (column, column_phase) = divmod(x * conv.dilation[1], conv.stride[1])
        plane = self.phases[0].index(row_phase) * len(self.phases[1])
        plane += self.phases[1].index(column_phase)
        return plane * self.plane + row * self.columns + column

    def taps(self) -> list[int]:
        """Offsets of all taps."""
        height, width = self.conv.kernel
        return [self.tap(y, x) for y in range(height) for x in range(width)]


def layout(conv: Convolution) -> Layout:
    """The layout in which taps are contiguous."""

    def axis(i: int) -> tuple[tuple[int, ...], int]:
        reach = [tap * conv.dilation[i] for tap in range(conv.kernel[i])]
        phases = sorted({r % conv.stride[i] for r in reach})
        return tuple(phases), conv.out(i) + reach[-1] // conv.stride[i]

    (row_phases, rows), (column_phases, columns) = axis(0), axis(1)
    return Layout(conv, (row_phases, column_phases), rows, columns)


def is_plain(conv: Convolution) -> bool:
    """Is the image in that layout as it is?"""
    return conv.stride == (1, 1) and conv.padding == (0, 0)


def table(e: Emitter, values: list[int]) -> Callable[[Value], Value]:
    """A constant table of integers in the module."""
    name = f"taps{len(e.module.globals)}"
    kind = ir.ArrayType(I64, len(values))
    table = ir.GlobalVariable(e.module, kind, name)
    table.initializer = ir.Constant(kind, values)
    table.global_constant, table.linkage = True, "internal"
    return lambda index: e.load(table, index, I64)


def inside(e: Emitter, size: int, out: int, stride: int, shift: Value) -> tuple[Value, Value]:
    """Output positions [low, high) whose input position * stride + shift lies in [0, size)."""
    low = e.divide(e.maximum(e.subtract(stride - 1, shift), 0), stride)
    last = e.subtract(size - 1, shift)
    count = e.select(e.compare("<", last, 0), 0, e.add(e.divide(e.maximum(last, 0), stride), 1))
    return low, e.minimum(count, out)


def arrange(conv: Convolution) -> Template:
    """A kernel (image, arranged) that writes the layout; its range is (batch, channel)."""
    out = layout(conv)
    return Template(
        f"arrange {conv} {vector_bits()}", "arrange", lambda: _write_arrange(conv, out),
        conv.batch * conv.channels, out.channel / 2 + 10, 2,
    )


def _write_arrange(conv: Convolution, out: Layout) -> str:
    module = ir.Module("arrange")
    e = Emitter(module, "arrange", dtype=conv.dtype)
    source, target = e.pointer(0), e.pointer(1)
    with e.loop(e.arguments[1], e.arguments[2]) as plane:
        image = e.at(source, e.multiply(plane.index, conv.height * conv.width))
        arrange_plane(e, out, image, e.at(target, e.multiply(plane.index, out.channel)))
    e.finish()
    return str(module)


def arrange_plane(e: Emitter, out: Layout, image: Any, target: Any) -> None:
    """Write one channel of an image in the layout."""
    _each_row(e, out, image, target, _arrange_row)


def restore_plane(e: Emitter, out: Layout, image: Any, source: Any) -> None:
    """The way back: every pixel of a channel from the layout; those no phase holds become 0."""
    conv = out.conv
    size = conv.height * conv.width
    with e.loop(0, size, e.lanes) as pixel:
        e.store_masked(e.constant(0.0), image, pixel.index, e.mask(e.subtract(size, pixel.index)))
    _each_row(e, out, image, source, _restore_row)


def _each_row(e: Emitter, out: Layout, image: Any, arranged: Any, action: Any) -> None:
    conv = out.conv
    rows, columns = (table(e, list(phases)) for phases in out.phases)
    with e.loop(0, len(out.phases[0])) as y, e.loop(0, len(out.phases[1])) as x:
        phase = e.add(e.multiply(y.index, len(out.phases[1])), x.index)
        first = e.at(arranged, e.multiply(phase, out.plane))
        row_phase, shift = rows(y.index), e.subtract(columns(x.index), conv.padding[1])
        with e.loop(0, out.rows) as row:
            line = e.at(first, e.multiply(row.index, out.columns))
            here = e.add(e.multiply(row.index, conv.stride[0]), row_phase)
            here = e.subtract(here, conv.padding[0])
            exists = e.builder.and_(e.compare(">=", here, 0), e.compare("<", here, conv.height))
            # Columns [low, high) of the line belong to the image, the others to the padding.
            low, high = inside(e, conv.width, out.columns, conv.stride[1], shift)
            low = e.select(exists, e.minimum(low, out.columns), out.columns)
            high = e.select(exists, e.maximum(low, high), out.columns)
            pixels = e.at(image, e.add(e.multiply(here, conv.width), shift))
            action(e, out, pixels, line, low, high)


def _arrange_row(e: Emitter, out: Layout, pixels: Any, line: Any, low: Value, high: Value) -> None:
    with e.loop(0, low) as column:
        e.store(e.zero, line, column.index)
    _copy_row(e, out.conv.stride[1], 1, pixels, line, low, high)
    with e.loop(high, out.columns) as column:
        e.store(e.zero, line, column.index)


def _restore_row(e: Emitter, out: Layout, pixels: Any, line: Any, low: Value, high: Value) -> None:
    _copy_row(e, 1, out.conv.stride[1], line, pixels, low, high)


def _copy_row(
    e: Emitter, read: int, write: int, source: Any, target: Any, low: Value, high: Value
) -> None:
    """target[i * write] = source[i * read] for i in [low, high)."""
    if read == write == 1:
        with e.loop(low, high, e.lanes) as column:
            mask = e.mask(e.subtract(high, column.index))
            e.store_masked(e.load_masked(source, column.index, mask), target, column.index, mask)
        return
    with e.loop(low, high) as column:
        value = e.load(source, e.multiply(column.index, read))
        e.store(value, target, e.multiply(column.index, write))
