"""Convolutions in three dimensions are convolutions in two: the taps along the depth become channels.

An output plane reads as many input planes as the kernel is deep. Side by side as the channels of one image they make a
convolution in two dimensions, for which there are kernels of every kind; its batch are the output planes of all volumes. Where the kernel
is one plane deep nothing is copied. The gradient by the volume is that of the images, each plane the sum of the channels that came from
it; the gradient by the weights is the same as theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inductor.index import contiguous_strides
from inductor.indexing import inside, masked
from inductor.loops import TypedAlgebra, Value
from inductor.lower import Lowering
from inductor.values import Computed, Coordinates, Lazy, Shape, Stored, Viewed


@dataclass(frozen=True)
class Fold:
    """One convolution: sizes of volume (batch, channels, depth, height, width), weights and output, and along the depth how it
    runs; `how` is that of the two other dimensions.
    """

    volume: Shape
    weights: Shape
    out: Shape
    stride: int
    padding: int
    dilation: int
    how: tuple

    @staticmethod
    def of(volume: Shape, weights: Shape, out: Shape, how: tuple) -> Fold:
        """From shapes and (stride, padding, dilation, groups), each of the first three in three dimensions."""
        *steps, groups = how
        stride, padding, dilation = (int(step[0]) for step in steps)
        rest = (*(tuple(step[1:]) for step in steps), groups)
        return Fold(tuple(volume), tuple(weights), tuple(out), stride, padding, dilation, rest)

    @property
    def taps(self) -> int:
        """Planes that an output plane reads."""
        return self.weights[2]

    @property
    def planes(self) -> int:
        """Output planes of a volume."""
        return self.out[2]

    @property
    def images(self) -> Shape:
        """The shape of the images that take the place of volumes."""
        batch, channels, _, height, width = self.volume
        return batch * self.planes, self.taps * channels, height, width

    @property
    def result(self) -> Shape:
        """The shape of the images that take the place of output volumes."""
        batch, filters, planes, height, width = self.out
        return batch * planes, filters, height, width

    @property
    def kernels(self) -> Shape:
        """The shape of the weights in two dimensions."""
        filters, channels, taps, height, width = self.weights
        return filters, taps * channels, height, width

    @property
    def _moved(self) -> bool:
        """Whether output planes read other planes than their own."""
        return (self.taps, self.stride, self.padding) != (1, 1, 0)

    def image(self, volume: Lazy) -> Lazy:
        """Volumes as images: channel (group, tap, channel of the group) of plane z is that of plane z * stride + tap * dilation -
        padding."""
        if not self._moved:
            return self.pixels(volume)
        depth, each = self.volume[2], self.weights[1]

        def body(s: TypedAlgebra, c: Coordinates) -> Value:
            number, channel, *place = c
            tap = channel // each % self.taps
            channel = channel // (each * self.taps) * each + channel % each
            plane = number % self.planes * self.stride + tap * self.dilation - self.padding
            condition, plane = inside(s, plane, 0, depth)
            value = volume.at(s, (number // self.planes, channel, plane, *place))
            return masked(s, [] if condition is None else [condition], value, 0, volume.dtype)

        return Computed(self.images, volume.dtype, body, "planes")

    def pixels(self, volume: Lazy) -> Lazy:
        """Output volumes as images, their planes by themselves."""
        batch, channels, planes, *sizes = volume.shape

        def rewrite(c: Coordinates) -> Coordinates:
            return (c[0] // planes, c[1], c[0] % planes, *c[2:])

        return Viewed(volume, (batch * planes, channels, *sizes), rewrite)

    def unfolded(self, images: Lazy) -> Lazy:
        """The way back."""
        return Viewed(images, self.out, self._to_plane)

    def _to_plane(self, c: Coordinates) -> Coordinates:
        return (c[0] * self.planes + c[2], c[1], *c[3:])

    def weight(self, lowering: Lowering, weight: Lazy) -> Lazy:
        """Weights [filter][channel][tap] as [filter][tap][channel]; a parameter's copy is kept."""
        each = self.weights[1]
        stored = weight.stored()
        turned = self.taps > 1 and each > 1
        if turned and stored is not None and lowering.lasts(stored.buffer):
            return self._kept(lowering, lowering.contiguous(weight))

        def rewrite(c: Coordinates) -> Coordinates:
            return (c[0], c[1] % each, c[1] // each, *c[2:])

        return Viewed(weight, self.kernels, rewrite)

    def _kept(self, lowering: Lowering, weight: Stored) -> Lazy:
        from inductor.templates import packing
        from inductor.weights import keep

        filters, each, taps, height, width = self.weights
        template = packing.turn(filters, each, taps, height * width, weight.dtype)
        size = filters * each * taps * height * width
        buffer = keep(lowering, weight.buffer, weight.offset, template, size)
        return Stored(buffer, self.kernels, contiguous_strides(self.kernels))

    def turned(self, weights: Lazy) -> Lazy:
        """Gradients of the weights as [filter][channel][tap]."""
        each = self.weights[1]

        def rewrite(c: Coordinates) -> Coordinates:
            return (c[0], c[2] * each + c[1], *c[3:])

        return Viewed(weights, self.weights, rewrite)

    def summed(self, images: Lazy) -> Lazy:
        """Gradients of the images as those of the volumes: every plane the sum over the output planes that read it."""
        if not self._moved:
            return Viewed(images, self.volume, self._to_plane)
        each, stop = self.weights[1], (self.planes - 1) * self.stride + 1

        def body(s: TypedAlgebra, c: Coordinates) -> Value:
            number, channel, depth, *place = c
            total: Any = None
            for tap in range(self.taps):
                reached = depth + (self.padding - tap * self.dilation)
                condition, plane = inside(s, reached, 0, stop, self.stride)
                source = (channel // each * self.taps + tap) * each + channel % each
                value = images.at(s, (number * self.planes + plane, source, *place))
                value = masked(s, [] if condition is None else [condition], value, 0, images.dtype)
                total = value if total is None else s.add(total, value)
            return total

        return Computed(self.volume, images.dtype, body, "planes summed")
