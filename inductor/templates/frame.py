"""What a kernel for images with their channels last computes: its sizes, and how they are cut into
tiles. An ordinary convolution, one of few channels and the gradient of one are all a `Frame`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace

from inductor.native import vector_bits, vector_registers
from inductor.templates.image import Convolution

MOST_ROWS = 8  # pixels of a tile: each has an address in a register
FIRST = 3  # the argument word with a frame's first pixel
THIN = 12  # channels below which a row of taps is read as one


@dataclass(frozen=True)
class Tile:
    """Pixels and vectors of filters that are kept in registers."""

    rows: int
    vectors: int


def choose_tile(pixels: int, width: int, filters: int, lanes: int, registers: int) -> Tile:
    """The tile that covers `pixels` x `filters` in the fewest cycles per step.

    Bounds are two FMA ports, two load ports (vectors are loaded, and those to come asked for), not
    quite four instructions a cycle, and the latency of an FMA. Rows of an image that are whole tiles
    are preferred, for then a tile can leave out the rows of padding.
    """

    def cycles(rows: int, vectors: int) -> float:
        issued = rows * vectors + rows + 2 * vectors + 3
        return max(rows * vectors / 2, (rows + 2 * vectors) / 2, 1.1 * issued / 4, 4.0)

    best, winner = math.inf, Tile(1, 1)
    for vectors in range(1, 7):
        if vectors > 1 and (vectors - 1) * lanes >= filters:
            continue
        for limit in range(1, MOST_ROWS + 1):
            if limit * vectors + vectors + 1 > registers:
                continue
            tiles = -(-pixels // limit)
            rows = -(-pixels // tiles)
            whole, rest = divmod(-(-filters // lanes), vectors)
            time = tiles * (whole * cycles(rows, vectors) + (cycles(rows, rest) if rest else 0))
            time *= 1 + 0.02 * (pixels % tiles > 0) + 0.08 * (rest > 0)
            time *= 1 + 0.3 * (1 / rows + 1 / vectors)
            time *= 1 + 0.5 / width * (width % rows > 0)
            if time < best:
                best, winner = time, Tile(rows, vectors)
    return winner


@dataclass(frozen=True)
class Frame:
    """What a kernel computes: for every output pixel and filter, the sum over taps and a run of
    elements.

    The image has `pixel` elements per pixel. The window of output pixel (y, x) begins at pixel
    (y, x) * stride + start; each of its `taps` (rows down, columns across) reads `run` elements per
    group. `checked` where a tap can fall outside the image. The output has `filters` elements per
    pixel; where its pixels are only some of an image, `spread` says which: steps of image, row and
    column, counted in pixels, and how many an image has. Which is the `first` a kernel is told when
    it is called, in its argument word FIRST, so that frames that differ in nothing else share one.
    """

    batch: int
    height: int
    width: int
    pixel: int
    rows: int
    columns: int
    filters: int
    run: int
    taps: tuple[tuple[int, int], ...]
    stride: tuple[int, int]
    start: tuple[int, int]
    groups: int
    checked: bool
    dtype: str
    spread: tuple[int, int, int, int] | None = None
    first: int = field(default=0, repr=False, compare=False)

    @property
    def itemsize(self) -> int:
        return 8 if self.dtype == "float64" else 4

    @property
    def pixels(self) -> int:
        """Output pixels of one image."""
        return self.rows * self.columns

    @property
    def flops(self) -> int:
        """Floating point operations, a multiplication and an addition each."""
        return 2 * self.batch * self.pixels * self.filters * self.run * len(self.taps)

    @property
    def plain(self) -> bool:
        """Is the image a matrix, a row for every output pixel?"""
        alone = self.taps == ((0, 0),) and self.stride == (1, 1) and self.start == (0, 0)
        return alone and (self.rows, self.columns) == (self.height, self.width)

    @property
    def empty(self) -> bool:
        """Are all taps above the image, so that the output is zeros?"""
        still = self.stride == (1, 1) and self.start == (0, 0)
        return still and all(down < -self.rows for down, _ in self.taps)

    @property
    def each(self) -> int:
        """Filters of a group."""
        return self.filters // self.groups

    @property
    def depth(self) -> int:
        """Weights of a filter."""
        return 0 if self.empty else len(self.taps) * self.run

    @property
    def lanes(self) -> int:
        return vector_bits() // (8 * self.itemsize)

    @functools.cached_property
    def tile(self) -> Tile:
        pixels = self.batch * self.pixels
        return choose_tile(pixels, self.columns, self.each, self.lanes, vector_registers())

    @property
    def block(self) -> int:
        """Filters of a block, whose weights are packed together."""
        return self.tile.vectors * self.lanes

    @property
    def blocks(self) -> int:
        """Blocks of filters in a group."""
        return -(-self.each // self.block)

    @property
    def packed(self) -> int:
        """Elements of the packed weights."""
        return self.groups * self.blocks * self.depth * self.block


def frame(conv: Convolution) -> Frame:
    """The convolution of an image with its channels last."""
    taps = tuple(
        (y * conv.dilation[0], x * conv.dilation[1])
        for y in range(conv.kernel[0]) for x in range(conv.kernel[1])
    )
    return Frame(
        conv.batch, conv.height, conv.width, conv.channels, conv.out_height, conv.out_width,
        conv.filters, conv.channels // conv.groups, taps, conv.stride,
        (-conv.padding[0], -conv.padding[1]), conv.groups, conv.padding != (0, 0), conv.dtype,
    )


def is_thin(conv: Convolution) -> bool:
    """Are the channels so few that a row of taps had better be read as one?"""
    near = conv.groups == 1 and conv.dilation[1] == 1
    return near and conv.channels < THIN and conv.kernel[1] > 1


def thin_frame(conv: Convolution) -> Frame:
    """The same of an image with its padding in memory: a tap is a row of the kernel."""
    taps = tuple((y * conv.dilation[0], 0) for y in range(conv.kernel[0]))
    return replace(
        frame(conv), height=conv.height + 2 * conv.padding[0],
        width=conv.width + 2 * conv.padding[1], run=conv.kernel[1] * conv.channels, taps=taps,
        start=(0, 0), checked=False,
    )


def gradient_frames(conv: Convolution) -> list[tuple[Frame, tuple[int, ...]]]:
    """The gradient by the image of a convolution: of every stride-th pixel in each direction by
    itself, for they meet the same taps; with each frame the numbers of its taps.
    """
    found = []
    for y in range(min(conv.stride[0], conv.height)):
        for x in range(min(conv.stride[1], conv.width)):
            down, across = _met(conv, 0, y), _met(conv, 1, x)
            rows = -(-(conv.height - y) // conv.stride[0])
            columns = -(-(conv.width - x) // conv.stride[1])
            numbers = tuple(i * conv.kernel[1] + j for i, _ in down for j, _ in across)
            taps = tuple((i, j) for _, i in down for _, j in across)
            # pixels that no tap meets are zeros: a tap far above, see `Frame.empty`
            taps, numbers = taps or ((-rows - 1, 0),), numbers or (0,)
            checked = any(
                not 0 <= i <= conv.out_height - rows or not 0 <= j <= conv.out_width - columns
                for i, j in taps
            )
            size = conv.height * conv.width
            spread = (size, conv.stride[0] * conv.width, conv.stride[1], size)
            found.append((Frame(
                conv.batch, conv.out_height, conv.out_width, conv.filters, rows, columns,
                conv.channels, conv.filters // conv.groups, taps, (1, 1), (0, 0), conv.groups,
                checked, conv.dtype, None if conv.stride == (1, 1) else spread,
                y * conv.width + x,
            ), numbers))
    return found


def _met(conv: Convolution, axis: int, place: int) -> list[tuple[int, int]]:
    """The taps that meet image pixels `place`, `place` + stride, …: the number of each, and how
    far its output pixel is from the first one.
    """
    found = []
    for tap in range(conv.kernel[axis]):
        reach = place + conv.padding[axis] - tap * conv.dilation[axis]
        if reach % conv.stride[axis] == 0:
            found.append((tap, reach // conv.stride[axis]))
    return found
