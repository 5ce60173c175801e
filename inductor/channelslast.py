"""Convolutions of images with their channels last, and their gradients, as steps of generated kernels.

Each goes one of three ways: the direct kernel, Winograd's, or as a product of matrices where the kernel is
1x1; depthwise ones have kernels of their own. Rules choose the way, or timing where the compilation is tuned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fx.node import Node
from inductor.extern import Operand, packed_once, prepared
from inductor.index import channels_last, contiguous_strides
from inductor.loops import Buffer
from inductor.lower import Lowering, Step, Unsupported
from inductor.values import Lazy, Shape, Stored
from inductor.weights import LEAST, keep

FEWEST = 3  # convolutions and gradients of a graph that learns that are worth another order of its images
LEAST_PIXELS = 16  # from which on a convolution by 1x1 may be a product of matrices
LEAST_CHANNELS = 48  # from which on its gradient by the weights is one
FEW_PIXELS, DEEP = 64, 480  # where it is one though its weights are packed once
LEAST_FILTERS = 8  # of a group, below which vectors of filters would be mostly empty


def keeps_channels_last(lowering: Lowering) -> bool:
    """Whether the caller does not see most results of the graph's convolutions: to bring one image into
    another order and back costs more than it saves. A graph that learns must have several.
    """
    if lowering.channels_last is None:
        lowering.channels_last = _pays_channels_last(lowering)
    return lowering.channels_last


def _pays_channels_last(lowering: Lowering) -> bool:
    count = returned = 0
    learns = False
    for node in lowering.graph.nodes:
        name = getattr(node.target, "name", "")
        if name in ("convolution", "convolution_input_grad", "convolution_weight_grad"):
            count += 1
            learns = learns or name == "convolution_weight_grad"
        if name in ("convolution", "convolution_input_grad"):
            returned += _is_seen(lowering, node)
    return count >= (FEWEST if learns else 1) and 3 * returned <= count


def _is_seen(lowering: Lowering, node: Node) -> bool:
    """Whether the caller gets a value, or what is computed of it element by element, in its own order."""
    waiting, met = [node], {node}
    while waiting:
        node = waiting.pop()
        for user in node.users:
            if user.op == "output":
                if node not in lowering.free:
                    return True
            elif getattr(user.target, "kind", "") == "pointwise" and user not in met:
                met.add(user)
                waiting.append(user)
    return False


def convolve(
    lowering: Lowering, shape: Shape, conv: Any, image: Lazy, weight: Stored, bias: Stored | None
) -> Lazy | None:
    """A convolution, where the graph's images have their channels last and there is a kernel for that; else None."""
    if not keeps_channels_last(lowering):
        return None
    from inductor.templates import channelwise

    if channelwise.handles(conv) and conv.out_width > 0 and conv.out_height > 0:
        return _channelwise(lowering, shape, conv, image, weight, bias)
    if conv.groups == 1 or conv.filters // conv.groups >= LEAST_FILTERS:
        return _direct(lowering, shape, conv, image, weight, bias)
    return None


def input_gradient(
    lowering: Lowering, shape: Shape, conv: Any, gradient: Lazy, weight: Stored
) -> Lazy | None:
    """The same for its gradient by the image."""
    if not keeps_channels_last(lowering) or gradient.ndim != 4:
        return None
    from inductor.templates import channelwise

    if channelwise.handles(conv) and conv.batch:
        return _channelwise_spread(lowering, shape, conv, gradient, weight)
    if conv.groups == 1 or conv.channels // conv.groups >= LEAST_FILTERS:
        return _spread(lowering, shape, conv, gradient, weight)
    return None


def weight_gradient(
    lowering: Lowering, shape: Shape, conv: Any, gradient: Lazy, image: Lazy
) -> Lazy | None:
    """The same for its gradient by the weights."""
    if not keeps_channels_last(lowering) or conv.batch * conv.pixels <= 0:
        return None
    from inductor.templates import channelwise

    if channelwise.handles(conv):
        return _channelwise_sums(lowering, shape, conv, gradient, image)
    if conv.groups == 1 or conv.filters // conv.groups >= LEAST_FILTERS:
        return _outer(lowering, shape, conv, gradient, image)
    return None


def _direct(
    lowering: Lowering, shape: Shape, conv: Any, image: Lazy, weight: Stored, bias: Stored | None
) -> Lazy:
    """A convolution of an image with its channels last."""
    from inductor.templates import direct, packing
    from inductor.templates import frame as frames

    if conv.out_width <= 0 or conv.out_height <= 0:
        raise Unsupported(f"a kernel {conv.kernel} that is larger than the padded image")
    way = _way(lowering, conv, lowering.lasts(weight.buffer))
    if way == "winograd":
        return _winograd(lowering, shape, conv, image, weight, bias)
    if way == "product":
        return _product(lowering, shape, _title("convolution", conv), conv, image, weight, bias)
    thin = frames.is_thin(conv)
    frame = frames.thin_frame(conv) if thin else frames.frame(conv)
    template = packing.pack(frame, packing.weights(conv))
    packed = _packed(lowering, weight, template, frame.packed)
    if thin:
        source = image.stored() or lowering.realize(image)
        outer, inner = source.strides[:2], source.strides[2:]
        strides = (*outer, *inner) if len(inner) == 2 else (*outer, 0, *inner)
        pixels = prepared(
            lowering, "pad", packing.pad(conv, strides), source, packing.padded_size(conv)
        )
    else:
        pixels = lowering.laid_out(image, channels_last(image.shape))

    def kernels(epilogue: Any) -> list[Any]:
        return [direct.kernel(frame, epilogue)]

    return _tiled(lowering, shape, _title("convolution", conv), kernels, pixels, [packed], bias)


def _channelwise(
    lowering: Lowering, shape: Shape, conv: Any, image: Lazy, weight: Stored, bias: Stored | None
) -> Lazy:
    """A depthwise convolution of an image with its channels last."""
    from inductor.templates import channelwise
    from inductor.templates.convolution import transpose

    pixels = lowering.laid_out(image, channels_last(image.shape))
    turn = transpose(conv.filters, conv.taps, conv.dtype)
    weights = _packed(lowering, weight, turn, conv.filters * conv.taps)

    def kernels(epilogue: Any) -> list[Any]:
        return [channelwise.forward(conv, epilogue)]

    name = _title("depthwise convolution", conv)
    return _tiled(lowering, shape, name, kernels, pixels, [weights], bias)


def _channelwise_spread(
    lowering: Lowering, shape: Shape, conv: Any, gradient: Lazy, weight: Stored
) -> Lazy:
    """The same of a depthwise convolution."""
    from inductor.templates import channelwise
    from inductor.templates.convolution import transpose
    from inductor.templates.frame import gradient_frames

    pixels = lowering.laid_out(gradient, channels_last(gradient.shape))
    turn = transpose(conv.filters, conv.taps, conv.dtype)
    weights = _packed(lowering, weight, turn, conv.filters * conv.taps)
    frames = gradient_frames(conv)

    def kernels(epilogue: Any) -> list[Any]:
        return [channelwise.kernel(frame, taps, epilogue) for frame, taps in frames]

    name = _title("depthwise input gradient", conv, len(frames))
    firsts = [frame.first for frame, _ in frames]
    return _tiled(lowering, shape, name, kernels, pixels, [weights] * len(frames), None, firsts)


def _spread(
    lowering: Lowering, shape: Shape, conv: Any, gradient: Lazy, weight: Stored
) -> Lazy:
    """The gradient by an image with its channels last: a transposed convolution."""
    from inductor.templates import direct, packing
    from inductor.templates.frame import gradient_frames

    way = _way(lowering, conv, lowering.lasts(weight.buffer), turn=True)
    if way == "winograd":
        return _winograd(lowering, shape, conv, gradient, weight, None, turn=True)
    if way == "product":
        name = _title("convolution input gradient", conv)
        return _product(lowering, shape, name, conv, gradient, weight, None, turn=True)
    parts = []
    for frame, taps in gradient_frames(conv):
        packed = weight
        if not frame.empty:
            template = packing.pack(frame, packing.gradient_weights(conv, taps))
            packed = _packed(lowering, weight, template, frame.packed)
        parts.append((frame, packed))
    pixels = lowering.laid_out(gradient, channels_last(gradient.shape))

    def kernels(epilogue: Any) -> list[Any]:
        return [direct.kernel(frame, epilogue) for frame, _ in parts]

    name = _title("convolution input gradient", conv, len(parts))
    firsts = [frame.first for frame, _ in parts]
    packs = [packed for _, packed in parts]
    return _tiled(lowering, shape, name, kernels, pixels, packs, None, firsts)


def _channelwise_sums(
    lowering: Lowering, shape: Shape, conv: Any, gradient: Lazy, image: Lazy
) -> Lazy:
    """The gradient of a depthwise convolution by its weights."""
    from inductor.templates import channelwise
    from inductor.templates.convolution import transpose

    pixels = lowering.laid_out(image, channels_last(image.shape))
    slopes = lowering.laid_out(gradient, channels_last(gradient.shape))
    dtype = pixels.dtype
    out = Buffer(lowering.name(), dtype, shape, contiguous_strides(shape))
    sums = Buffer(lowering.name(), dtype, (conv.taps, conv.filters), (conv.filters, 1))
    name = _title("depthwise weight gradient", conv)

    def make(reference: Any) -> list[Any]:
        words = [reference(o.buffer, o.offset) for o in (pixels, slopes)]
        turn = transpose(conv.taps, conv.filters, conv.dtype)
        return [
            channelwise.weight_gradient(conv).step(*words, reference(sums), name=name),
            turn.step(reference(sums), reference(out), name="transpose weights"),
        ]

    lowering.emit(Step(name, [pixels.buffer, slopes.buffer], [out, sums], make))
    return Stored.whole(out)


def _outer(lowering: Lowering, shape: Shape, conv: Any, gradient: Lazy, image: Lazy) -> Lazy:
    """The gradient by the weights, of images with their channels last; behind the one after
    Winograd the direct one, as for convolutions.
    """
    from inductor.templates import components, outer, winograd

    pixels = lowering.laid_out(image, channels_last(image.shape))
    slopes = lowering.laid_out(gradient, channels_last(gradient.shape))
    out = Buffer(lowering.name(), pixels.dtype, shape, contiguous_strides(shape))
    flag = Buffer(lowering.name(), "int32", (1,), (1,))
    name = _title("convolution weight gradient", conv)
    way = _sums_way(lowering, conv)
    if way == "product":
        return _product_of_images(lowering, name, slopes, pixels, out)
    quick = way == "winograd"

    def make(reference: Any) -> list[Any]:
        words = [reference(o.buffer, o.offset) for o in (pixels, slopes)] + [reference(out)]
        if not quick:
            return [outer.weight_gradient(conv).step(*words, 0, name=name)]
        raised = reference(flag)
        return [
            winograd.clear().step(raised, name="clear"),
            components.weight_gradient(conv).step(*words, raised, name=name),
            outer.weight_gradient(conv).step_if(raised, *words, 0, name="again"),
        ]

    outputs = [out, flag] if quick else [out]
    lowering.emit(Step(name, [pixels.buffer, slopes.buffer], outputs, make))
    return Stored.whole(out)


def _way(lowering: Lowering, conv: Any, kept: bool, turn: bool = False) -> str:
    """How a convolution, or if `turn` its gradient by the image, is computed: "winograd", "product"
    or "direct". By rules, or where the compilation is tuned by timing.
    """
    from inductor.templates import winograd

    back = winograd.turned(conv) if turn else conv
    square = winograd.handles(conv) and winograd.handles(back)
    if lowering.tuned and conv.groups == 1:
        from inductor import tuning, ways

        possible = ["direct"] + ["winograd"] * square + ["product"] * _is_matrix(conv)
        found = [ways.image(name, conv, kept, turn) for name in possible]
        return tuning.quickest(f"{'input gradient' if turn else 'forward'} {kept} {conv}", found)
    if square and (kept or winograd.pays(back)):
        return "winograd"
    return "product" if _is_product(conv, conv.filters if turn else conv.channels, kept) else "direct"


def _sums_way(lowering: Lowering, conv: Any) -> str:
    """The same for the gradient by the weights."""
    from inductor.templates import components

    if lowering.tuned and conv.groups == 1:
        from inductor import tuning, ways

        square, matrix = components.handles(conv), _is_matrix(conv)
        possible = ["direct"] + ["winograd"] * square + ["product"] * matrix
        return tuning.quickest(f"weight gradient {conv}", [ways.sums(n, conv) for n in possible])
    if _is_matrix(conv) and conv.channels >= LEAST_CHANNELS:
        return "product"
    return "winograd" if components.handles(conv) else "direct"


def _is_matrix(conv: Any) -> bool:
    """Is a convolution a product of matrices, with a row for every pixel?"""
    return conv.taps == conv.groups == 1 and conv.stride == (1, 1) and conv.padding == (0, 0)


def _is_product(conv: Any, depth: int, kept: bool) -> bool:
    """Whether a convolution by 1x1 had better be computed as a product. Of few pixels its tiles are
    taller, of deep ones too, and it packs what is not kept as it goes; the direct kernel changes its
    results before they leave the registers.
    """
    pixels = conv.batch * conv.pixels
    if not _is_matrix(conv) or pixels < LEAST_PIXELS:
        return False
    return not kept or pixels <= FEW_PIXELS or depth >= DEEP


def _product(
    lowering: Lowering, shape: Shape, name: str, conv: Any, image: Lazy, weight: Stored,
    bias: Stored | None, turn: bool = False,
) -> Lazy:
    """A convolution by 1x1, or if `turn` its gradient by the image: pixels times weight."""
    from inductor.templates.finish import bias as add_bias
    from inductor.templates.finish import chain
    from inductor.templates.gemm import build
    from inductor.templates.problem import Problem

    n, k = (conv.channels, conv.filters) if turn else (conv.filters, conv.channels)
    pixels = lowering.laid_out(image, channels_last(image.shape))
    images = conv.batch if lowering.lasts(weight.buffer) else 1
    m = conv.batch * conv.pixels // images
    batch = ((images, m * k, 0, m * n),) if images > 1 else ()
    b = Operand(weight.buffer, weight.offset, (n, 1) if turn else (1, k))
    problem = Problem(m, n, k, (k, 1), b.strides, (n, 1), batch, dtype=conv.dtype)
    problem, b = packed_once(lowering, problem, b)
    out = Buffer(lowering.name(), pixels.dtype, shape, channels_last(shape))
    inputs = [pixels.buffer, b.buffer] + ([bias.buffer] if bias is not None else [])

    def make(
        reference: Any, target: Buffer = out, epilogue: Any = None, more: Sequence[Buffer] = ()
    ) -> list[Any]:
        parts = [add_bias()] * (bias is not None) + [epilogue] * (epilogue is not None)
        template = build(problem, chain(*parts) if parts else None)
        words = [reference(bias.buffer, bias.offset)] if bias is not None else []
        return [template.step(
            reference(pixels.buffer, pixels.offset), reference(b.buffer, b.offset),
            reference(target), *words, *map(reference, more), name=name,
        )]

    matrix = (images, m, n) if out.dtype == "float32" else None
    lowering.emit(Step(name, inputs, [out], make, matrix, int(bias is not None)))
    return Stored.whole(out)


def _product_of_images(
    lowering: Lowering, name: str, slopes: Stored, pixels: Stored, out: Buffer
) -> Lazy:
    """The gradient by the weights of a convolution by 1x1: sums over pixels of outer products."""
    from inductor.templates.gemm import build
    from inductor.templates.problem import Problem

    m, n = out.shape[:2]
    k = math.prod(slopes.shape) // m
    problem = Problem(m, n, k, (1, m), (n, 1), (n, 1), dtype=out.dtype)

    def make(reference: Any) -> list[Any]:
        words = [reference(o.buffer, o.offset) for o in (slopes, pixels)]
        return [build(problem).step(*words, reference(out), name=name)]

    lowering.emit(Step(name, [slopes.buffer, pixels.buffer], [out], make))
    return Stored.whole(out)


def _title(name: str, conv: Any, parts: int = 1) -> str:
    """The name of a step, for profiles."""
    (height, width), size = conv.kernel, f"{conv.out_height}x{conv.out_width}"
    return (
        f"{name} {conv.channels} to {conv.filters} by {height}x{width}/{conv.stride[0]}, {size},"
        f" {conv.flops / parts / 1e6:.1f} MFLOP"
    )


def _tiled(
    lowering: Lowering, shape: Shape, name: str, kernels: Any, pixels: Stored,
    weights: Sequence[Stored], bias: Stored | None, firsts: Sequence[int] = (0,),
) -> Lazy:
    """A step of templates (image, weights, out, first, *extra) whose rows are pixels; each has
    weights of its own and fills a part of the output, from the pixels `firsts` on.
    """
    from inductor.templates.finish import bias as add_bias
    from inductor.templates.finish import chain

    out = Buffer(lowering.name(), pixels.dtype, shape, channels_last(shape))
    operands = [pixels, *weights] + ([bias] if bias is not None else [])

    def make(
        reference: Any, target: Buffer = out, epilogue: Any = None, more: Sequence[Buffer] = ()
    ) -> list[Any]:
        parts = [add_bias()] * (bias is not None) + [epilogue] * (epilogue is not None)
        templates = kernels(chain(*parts) if parts else None)
        image, *packed = [reference(o.buffer, o.offset) for o in operands]
        words = [*packed[len(templates) :], *map(reference, more)]
        return [
            template.step(image, weights, reference(target), first, *words, name=name)
            for template, weights, first in zip(
                templates, packed[: len(templates)], firsts, strict=True
            )
        ]

    matrix = (shape[0], math.prod(shape[2:]), shape[1]) if out.dtype == "float32" else None
    lowering.emit(Step(
        name, [o.buffer for o in operands], [out], make, matrix, int(bias is not None)
    ))
    return Stored.whole(out)


def _winograd(
    lowering: Lowering, shape: Shape, conv: Any, image: Lazy, weight: Stored, bias: Stored | None,
    turn: bool = False,
) -> Lazy:
    """A convolution by 3x3 after Winograd, or if `turn` its gradient by the image; behind it the
    direct one for results that are not finite.
    """
    from inductor.templates import direct, packing, winograd
    from inductor.templates.finish import EXTRA, Bias, chain
    from inductor.templates.frame import frame as frame_of
    from inductor.templates.frame import gradient_frames

    name = _title("convolution input gradient" if turn else "convolution", conv)
    frame, found = frame_of(conv), packing.weights(conv)
    if turn:
        ((frame, taps),) = gradient_frames(conv)
        found, conv = packing.gradient_weights(conv, taps), winograd.turned(conv)
    kept = _packed(lowering, weight, winograd.pack(conv, turn), winograd.Cut(conv).packed)
    pixels = lowering.laid_out(image, channels_last(image.shape))
    out = Buffer(lowering.name(), pixels.dtype, shape, channels_last(shape))
    flag = Buffer(lowering.name(), "int32", (1,), (1,))
    packed = Buffer(lowering.name(), pixels.dtype, (frame.packed,), (1,))
    inputs = [pixels, kept, weight] + ([bias] if bias is not None else [])

    def make(
        reference: Any, target: Buffer = out, epilogue: Any = None, more: Sequence[Buffer] = ()
    ) -> list[Any]:
        parts = [Bias(EXTRA + 1)] * (bias is not None) + [epilogue] * (epilogue is not None)
        last = chain(*parts) if parts else None
        data, transformed, plain, *words = [reference(i.buffer, i.offset) for i in inputs]
        result, raised = reference(target), reference(flag)
        words += map(reference, more)
        return [
            winograd.clear().step(raised, name="clear"),
            winograd.kernel(conv, last).step(data, transformed, result, raised, *words, name=name),
            packing.pack(frame, found).step_if(raised, plain, reference(packed), name="pack again"),
            direct.kernel(frame, last).step_if(
                raised, data, reference(packed), result, 0, 0, *words, name="again"
            ),
        ]

    matrix = (shape[0], math.prod(shape[2:]), shape[1])
    lowering.emit(Step(
        name, [i.buffer for i in inputs], [out, flag, packed], make, matrix,
        1 + (bias is not None),
    ))
    return Stored.whole(out)


def _packed(lowering: Lowering, weight: Stored, template: Any, size: int) -> Stored:
    """A weight as a template (weight, packed) lays it out: once, where it is a parameter of an
    inference, and else in every call.
    """
    if lowering.lasts(weight.buffer) and size >= LEAST:
        return Stored.whole(keep(lowering, weight.buffer, weight.offset, template, size))
    return prepared(lowering, "pack_weights", template, weight, size)
