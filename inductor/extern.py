"""Operators with a template: matrix products and convolutions become steps of generated kernels."""

from __future__ import annotations

import math
from typing import Any

from fx.node import Node

from inductor.index import contiguous_strides
from inductor.loops import Buffer, TypedAlgebra, Value
from inductor.lower import Lowering, Step, Unsupported, lowers
from inductor.values import Computed, Coordinates, Lazy, Stored

SMALL_PRODUCT = 64**3


def _float32(*values: Lazy) -> bool:
    return all(v.dtype == "float32" for v in values)


def _operand(lowering: Lowering, value: Lazy) -> Stored:
    """Memory in which one of the last two dimensions is contiguous and nothing runs backwards."""
    stored = value.stored()
    if stored is not None:
        rows, columns = stored.strides[-2:]
        tidy = all(s >= 0 for s in stored.strides)
        if tidy and ((columns == 1 and rows >= stored.shape[-1]) or (rows == 1 and columns >= stored.shape[-2])):
            return stored
        if tidy and 1 in stored.shape[-2:] and 1 in (rows, columns):
            return stored
        return lowering.copy(value, contiguous_strides(value.shape))
    return lowering.realize(value, strides=contiguous_strides(value.shape))


def product_loop(left: Lazy, right: Lazy, lowering: Lowering, node: Node) -> Lazy:
    """A small or unusual product as a plain reduction."""
    depth = left.shape[-1]
    shape = tuple(map(int, node.meta["val"].shape))
    rank = len(shape)
    dtype = node.meta["val"].dtype.name

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        a = left.at(s, (*c[: rank - 1], c[rank]))
        b = right.at(s, (*c[: rank - 2], c[rank], c[rank - 1]))
        return s.mul(a, b)

    whole = Computed((*shape, depth), dtype, body, "product")
    return lowering.reduce(
        whole, (rank,), False, "sum", dtype, dtype, lambda s, v: v, None, "product"
    )


@lowers("mm", "bmm")
def lower_product(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    left, right = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    shape = tuple(map(int, node.meta["val"].shape))
    m, n, k = shape[-2], shape[-1], left.shape[-1]
    if not _float32(left, right):
        if math.prod(shape) * k <= SMALL_PRODUCT or left.dtype not in ("float64",):
            return product_loop(left, right, lowering, node)
        raise Unsupported(f"a matrix product of {left.dtype}")
    if math.prod(shape) * k == 0:
        return product_loop(left, right, lowering, node)
    a, b = _operand(lowering, left), _operand(lowering, right)
    out = Buffer(lowering.name(), "float32", shape, contiguous_strides(shape))
    batch = ((shape[0], a.strides[0], b.strides[0], m * n),) if len(shape) == 3 else ()

    def make(reference: Any) -> list[Any]:
        from inductor.templates.gemm import Problem, build

        problem = Problem(m, n, k, a.strides[-2:], b.strides[-2:], (n, 1), batch)
        template = build(problem)
        return [template.step(
            reference(a.buffer, a.offset), reference(b.buffer, b.offset), reference(out),
            name=f"{node.target.name} {m}x{k}x{n}",  # type: ignore[union-attr]
        )]

    lowering.emit(Step(f"mm_{m}x{k}x{n}", [a.buffer, b.buffer], [out], make))
    return Stored.whole(out)


@lowers("addmm")
def lower_addmm(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    """beta * input + alpha * (mat1 @ mat2), the sum fused into whoever reads it."""
    from inductor.values import broadcast

    input, beta, alpha = lowering.tensor(bound[0]), bound[3], bound[4]
    product = lower_product(lowering, node, (bound[1], bound[2]))
    shape = product.shape
    place = broadcast(input, shape)

    def body(s: TypedAlgebra, c: Coordinates) -> Value:
        total = product.at(s, c)
        if alpha != 1:
            total = s.mul(total, alpha)
        if beta == 0:
            return total
        extra = input.at(s, place(c))
        return s.add(s.mul(extra, beta) if beta != 1 else extra, total)

    return Computed(shape, product.dtype, body, "addmm")


def _convolution(node: Node, image: tuple, filters: int, kernel: tuple, how: tuple) -> Any:
    from inductor.templates.convolution import Convolution

    stride, padding, dilation, groups = how
    return Convolution(
        image[0], image[1], image[2], image[3], filters, tuple(kernel), tuple(stride),
        tuple(padding), tuple(dilation), groups,
    )


def _plan_step(
    lowering: Lowering, node: Node, name: str, build: Any, first: Stored, second: Stored
) -> Lazy:
    shape = tuple(map(int, node.meta["val"].shape))
    try:
        plan = build()
    except ValueError as error:
        raise Unsupported(str(error)) from None
    out = Buffer(lowering.name(), "float32", shape, contiguous_strides(shape))
    outputs = [out]
    if plan.workspace:
        size = -(-plan.workspace // 4)
        outputs.append(Buffer(lowering.name(), "float32", (size,), (1,)))

    def make(reference: Any) -> list[Any]:
        workspace = reference(outputs[1]).offset if plan.workspace else 0
        return plan.steps(
            reference(first.buffer, first.offset), reference(second.buffer, second.offset),
            reference(out), workspace,
        )

    lowering.emit(Step(name, [first.buffer, second.buffer], outputs, make))
    return Stored.whole(out)


@lowers("convolution")
def lower_convolution(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    image, weight = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    if image.ndim != 4 or not _float32(image, weight):
        raise Unsupported(f"a convolution of {image.ndim - 2} dimensions in {image.dtype}")
    conv = _convolution(node, image.shape, weight.shape[0], weight.shape[2:], bound[3:])
    from inductor.templates.convolution import forward

    result = _plan_step(
        lowering, node, "convolution", lambda: forward(conv), lowering.contiguous(image),
        lowering.contiguous(weight),
    )
    if bound[2] is None:
        return result
    bias = lowering.tensor(bound[2])
    return Computed(
        result.shape, "float32", lambda s, c: s.add(result.at(s, c), bias.at(s, (c[1],))), "bias"
    )


@lowers("convolution_input_grad")
def lower_input_grad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    gradient, weight = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    if gradient.ndim != 4 or not _float32(gradient, weight):
        raise Unsupported(f"a convolution of {gradient.ndim - 2} dimensions in {gradient.dtype}")
    shape = tuple(map(int, node.meta["val"].shape))
    conv = _convolution(node, shape, weight.shape[0], weight.shape[2:], bound[3:])
    if (conv.out_height, conv.out_width) != tuple(gradient.shape[2:]):
        raise Unsupported("the gradient's size is not the convolution's")
    from inductor.templates.convolution import input_gradient

    return _plan_step(
        lowering, node, "convolution_input_grad", lambda: input_gradient(conv),
        lowering.contiguous(gradient), lowering.contiguous(weight),
    )


@lowers("convolution_weight_grad")
def lower_weight_grad(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    gradient, image = lowering.tensor(bound[0]), lowering.tensor(bound[1])
    if gradient.ndim != 4 or not _float32(gradient, image):
        raise Unsupported(f"a convolution of {gradient.ndim - 2} dimensions in {gradient.dtype}")
    conv = _convolution(node, image.shape, gradient.shape[1], tuple(bound[2]), bound[3:])
    if (conv.out_height, conv.out_width) != tuple(gradient.shape[2:]):
        raise Unsupported("the gradient's size is not the convolution's")
    from inductor.templates.convolution import weight_gradient

    return _plan_step(
        lowering, node, "convolution_weight_grad", lambda: weight_gradient(conv),
        lowering.contiguous(image), lowering.contiguous(gradient),
    )


