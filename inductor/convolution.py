"""Convolutions become steps of generated kernels.

Three dimensions are folded into two (`volumes.py`), half precision is widened (`halves.py`). Most graphs
keep their images with channels last (`channelslast.py`); here is the order of PyTorch, for what is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fx.node import Node
from inductor import channelslast, volumes
from inductor.halves import widened
from inductor.index import channels_last, contiguous_strides
from inductor.loops import Buffer
from inductor.lower import Lowering, Step, Unsupported, lowers
from inductor.values import Lazy, Shape, Stored, converted


def _convolution(
    image: tuple, filters: int, kernel: tuple, how: tuple, tensors: Sequence[Lazy]
) -> Any:
    """The sizes for the templates: one dimension is an image of height 1.

    Raises Unsupported for other types than float32 and float64 (see `halves.py`).
    """
    from inductor.templates.convolution import Convolution

    dtype = tensors[0].dtype
    known = dtype in ("float32", "float64") and all(t.dtype == dtype for t in tensors)
    if not known:
        raise Unsupported(f"a convolution in {dtype}")
    stride, padding, dilation, groups = how

    def pair(values: Sequence[int], filler: int) -> tuple[int, int]:
        first, last = values if len(values) == 2 else (filler, *values)
        return first, last

    height, width = pair(image[2:], 1)
    return Convolution(
        image[0], image[1], height, width, filters, pair(kernel, 1), pair(stride, 1),
        pair(padding, 0), pair(dilation, 1), groups, dtype,
    )


def _fits(conv: Any, gradient: Lazy) -> None:
    """Raises Unsupported where a gradient is not of the size of the convolution's output."""
    if (conv.out_height, conv.out_width)[4 - gradient.ndim :] != tuple(gradient.shape[2:]):
        raise Unsupported("the gradient's size is not the convolution's")


def _plan_step(
    lowering: Lowering, shape: Shape, name: str, build: Any, first: Stored, second: Stored,
    extra: Stored | None = None, fusible: bool = False,
) -> Lazy:
    try:
        plan = build(None)
    except ValueError as error:
        raise Unsupported(str(error)) from None
    out = Buffer(lowering.name(), first.dtype, shape, contiguous_strides(shape))
    outputs = [out]
    if plan.workspace:
        size = -(-plan.workspace // 4)
        outputs.append(Buffer(lowering.name(), "float32", (size,), (1,)))

    def make(
        reference: Any, target: Buffer = out, epilogue: Any = None, more: Sequence[Buffer] = ()
    ) -> list[Any]:
        workspace = reference(outputs[1]).offset if plan.workspace else 0
        chosen = plan if epilogue is None else build(epilogue)
        return chosen.steps(
            reference(first.buffer, first.offset), reference(second.buffer, second.offset),
            reference(target), workspace,
            *([reference(extra.buffer, extra.offset)] if extra is not None else []),
            *map(reference, more),
        )

    inputs = [first.buffer, second.buffer, *([extra.buffer] if extra is not None else [])]
    fusible = fusible and first.dtype == "float32"
    matrix = (shape[0], shape[1], math.prod(shape[2:])) if fusible else None
    lowering.emit(Step(name, inputs, outputs, make, matrix, int(extra is not None)))
    return Stored.whole(out)


def _shape(node: Node) -> Shape:
    return tuple(map(int, node.meta["val"].shape))


def _arranged(lowering: Lowering, volume: Lazy) -> Stored:
    """A volume in memory, in the order of the graph's images."""
    last = channelslast.keeps_channels_last(lowering)
    return lowering.laid_out(
        volume, channels_last(volume.shape) if last else contiguous_strides(volume.shape)
    )


@lowers("convolution")
def lower_convolution(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    given = lowering.tensor(bound[0])
    image, weight = widened(lowering, given), widened(lowering, lowering.tensor(bound[1]))
    bias = None
    if bound[2] is not None:
        bias = lowering.contiguous(widened(lowering, lowering.tensor(bound[2])))
    return converted(_folded(lowering, _shape(node), image, weight, bias, bound[3:]), given.dtype)


def _folded(
    lowering: Lowering, shape: Shape, image: Lazy, weight: Lazy, bias: Stored | None, how: tuple
) -> Lazy:
    if image.ndim != 5:
        return _forward(lowering, shape, image, weight, bias, how)
    fold = volumes.Fold.of(image.shape, weight.shape, shape, how)
    out = _forward(
        lowering, fold.result, fold.image(_arranged(lowering, image)),
        fold.weight(weight), bias, fold.how,
    )
    return fold.unfolded(out)


def _forward(
    lowering: Lowering, shape: Shape, image: Lazy, weight: Lazy, bias: Stored | None, how: tuple
) -> Lazy:
    conv = _convolution(image.shape, weight.shape[0], weight.shape[2:], how, (image, weight))
    from inductor.templates.convolution import forward
    from inductor.templates.finish import bias as add_bias
    from inductor.templates.finish import chain

    weight = lowering.contiguous(weight)
    found = channelslast.convolve(lowering, shape, conv, image, weight, bias)
    if found is not None:
        return found

    def build(epilogue: Any) -> Any:
        parts = [add_bias(by_rows=True)] * (bias is not None) + [epilogue] * (epilogue is not None)
        return forward(conv, chain(*parts) if parts else None)

    return _plan_step(
        lowering, shape, "convolution", build, lowering.contiguous(image), weight, bias,
        fusible=True,
    )


@lowers("convolution_input_grad")
def lower_input_grad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    given = lowering.tensor(bound[0])
    gradient, weight = widened(lowering, given), widened(lowering, lowering.tensor(bound[1]))
    shape, how = _shape(node), bound[3:]
    if gradient.ndim != 5:
        return converted(_input_gradient(lowering, shape, gradient, weight, how), given.dtype)
    fold = volumes.Fold.of(shape, weight.shape, gradient.shape, how)
    found = _input_gradient(
        lowering, fold.images, fold.pixels(_arranged(lowering, gradient)),
        fold.weight(weight), fold.how,
    )
    return converted(fold.summed(found), given.dtype)


def _input_gradient(
    lowering: Lowering, shape: Shape, gradient: Lazy, weight: Lazy, how: tuple
) -> Lazy:
    conv = _convolution(shape, weight.shape[0], weight.shape[2:], how, (gradient, weight))
    _fits(conv, gradient)
    weight = lowering.contiguous(weight)
    found = channelslast.input_gradient(lowering, shape, conv, gradient, weight)
    if found is not None:
        return found
    from inductor.templates.convolution import input_gradient

    return _plan_step(
        lowering, shape, "convolution_input_grad", lambda epilogue: input_gradient(conv),
        lowering.contiguous(gradient), weight,
    )


@lowers("convolution_weight_grad")
def lower_weight_grad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    given = lowering.tensor(bound[0])
    gradient, image = widened(lowering, given), widened(lowering, lowering.tensor(bound[1]))
    shape, how = _shape(node), bound[3:]
    if image.ndim != 5:
        return converted(_weight_gradient(lowering, shape, gradient, image, how), given.dtype)
    fold = volumes.Fold.of(image.shape, shape, gradient.shape, how)
    found = _weight_gradient(
        lowering, fold.kernels, fold.pixels(_arranged(lowering, gradient)),
        fold.image(_arranged(lowering, image)), fold.how,
    )
    return converted(fold.gradient(found), given.dtype)


def _weight_gradient(
    lowering: Lowering, shape: Shape, gradient: Lazy, image: Lazy, how: tuple
) -> Lazy:
    conv = _convolution(image.shape, shape[0], shape[2:], how, (gradient, image))
    _fits(conv, gradient)
    found = channelslast.weight_gradient(lowering, shape, conv, gradient, image)
    if found is not None:
        return found
    from inductor.templates.convolution import weight_gradient

    return _plan_step(
        lowering, shape, "convolution_weight_grad", lambda epilogue: weight_gradient(conv),
        lowering.contiguous(image), lowering.contiguous(gradient),
    )
