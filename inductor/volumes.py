"""Convolutions in three dimensions are convolutions in two: the taps along the depth become channels.

An output plane reads as many input planes as the kernel is deep. Side by side as the channels of one image they make a
convolution in two dimensions, for which there are kernels of every kind; its batch are the output planes of all volumes. Where the kernel
is one plane deep nothing is copied. The gradient by the volume is that of the images, each plane the sum of the channels that came from
it; the gradient by the weights is the same as theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inductor.indexing import inside, masked
from inductor.loops import TypedAlgebra, Value
from inductor.values import Computed, Coordinates, Lazy, Shape, Viewed


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
        """Volumes as images: channel (channel, tap) of plane z is that of plane z * stride + tap * dilation - padding."""
        if not self._moved:
            return self.pixels(volume)
        depth = self.volume[2]

        def body(s: TypedAlgebra, c: Coordinates) -> Value:
            number, channel, *place = c
            channel, tap = channel // self.taps, channel % self.taps
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

    def weight(self, weight: Lazy) -> Lazy:
        """Weights of volumes as those of images, which lie alike."""

        def rewrite(c: Coordinates) -> Coordinates:
            return (c[0], c[1] // self.taps, c[1] % self.taps, *c[2:])

        return Viewed(weight, self.kernels, rewrite)

    def gradient(self, weights: Lazy) -> Lazy:
        """The way back, for their gradient."""

        def rewrite(c: Coordinates) -> Coordinates:
            return (c[0], c[1] * self.taps + c[2], *c[3:])

        return Viewed(weights, self.weights, rewrite)

    def summed(self, images: Lazy) -> Lazy:
        """Gradients of the images as those of the volumes: every plane the sum over the output planes that read it."""
        if not self._moved:
            return Viewed(images, self.volume, self._to_plane)
        stop = (self.planes - 1) * self.stride + 1

        def body(s: TypedAlgebra, c: Coordinates) -> Value:
            number, channel, depth, *place = c
            total: Any = None
            for tap in range(self.taps):
                reached = depth + (self.padding - tap * self.dilation)
                condition, plane = inside(s, reached, 0, stop, self.stride)
                source = channel * self.taps + tap
                value = images.at(s, (number * self.planes + plane, source, *place))
                value = masked(s, [] if condition is None else [condition], value, 0, images.dtype)
                total = value if total is None else s.add(total, value)
            return total

        return Computed(self.volume, images.dtype, body, "planes summed")
