"""Convolutions and their gradients against NumPy in double precision."""

import dataclasses
import itertools

import numpy as np
import pytest

from inductor import program, threads
from inductor.templates import convolution, finish, gemm
from inductor.templates.convolution import Convolution


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def make(batch, channels, height, width, filters, kernel, stride=1, padding=0, dilation=1, groups=1):
    sizes = (pair(kernel), pair(stride), pair(padding), pair(dilation))
    return Convolution(batch, channels, height, width, filters, *sizes, groups)


def patches(conv, y, x):
    """Where tap (y, x) reads the padded image: a pair of slices."""
    row, column = y * conv.dilation[0], x * conv.dilation[1]
    return (
        slice(row, row + (conv.out_height - 1) * conv.stride[0] + 1, conv.stride[0]),
        slice(column, column + (conv.out_width - 1) * conv.stride[1] + 1, conv.stride[1]),
    )


def reference(conv, image, weight, gradient):
    """Output, image gradient and weight gradient, tap by tap."""
    n, g = conv.batch, conv.groups
    (top, left), split = conv.padding, (n, g, conv.channels // g)
    padded = np.pad(image.astype(np.float64), ((0, 0), (0, 0), (top, top), (left, left)))
    padded = padded.reshape(*split, *padded.shape[2:])
    weight = weight.astype(np.float64).reshape(g, conv.filters // g, -1, *conv.kernel)
    gradient = gradient.astype(np.float64).reshape(n, g, -1, conv.out_height, conv.out_width)
    out = np.zeros_like(gradient)
    image_gradient, weight_gradient = np.zeros_like(padded), np.zeros_like(weight)
    for y, x in itertools.product(range(conv.kernel[0]), range(conv.kernel[1])):
        where = (..., *patches(conv, y, x))
        out += np.einsum("gfc,ngchw->ngfhw", weight[..., y, x], padded[where])
        image_gradient[where] += np.einsum("gfc,ngfhw->ngchw", weight[..., y, x], gradient)
        weight_gradient[..., y, x] = np.einsum("ngfhw,ngchw->gfc", gradient, padded[where])
    image_gradient = image_gradient.reshape(n, conv.channels, *padded.shape[3:])
    image_gradient = image_gradient[:, :, top : top + conv.height, left : left + conv.width]
    return (
        out.reshape(n, conv.filters, conv.out_height, conv.out_width),
        image_gradient,
        weight_gradient.reshape(conv.filters, -1, *conv.kernel),
    )


def data(conv):
    rng = np.random.default_rng(0)
    shapes = (
        (conv.batch, conv.channels, conv.height, conv.width),
        (conv.filters, conv.channels // conv.groups, *conv.kernel),
        (conv.batch, conv.filters, conv.out_height, conv.out_width),
    )
    return [rng.standard_normal(shape, dtype=np.dtype(conv.dtype)) for shape in shapes]


def run(plan, first, second, shape, *extra):
    out = np.full(shape, np.nan, first.dtype)
    words = [program.input(i + 2) for i in range(len(extra))]
    steps = plan.steps(program.input(0), program.input(1), program.output(0), 64, *words)
    table = program.Program(steps, 2 + len(extra), 1, plan.workspace + program.KEPT + 64)
    memory = program.aligned(table.needs)
    memory[:] = 255  # not a number: nothing may depend on what was there
    assert table.call((first, second, *extra, out), memory) == (0, 0)
    return out


def close(actual, expected):
    scale = max(1.0, np.abs(expected).max())
    tolerance = 1e-5 if actual.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


CASES = [
    make(1, 1, 1, 1, 1, 1),
    make(2, 3, 9, 11, 5, 3),
    make(2, 16, 14, 14, 20, 3, 1, 1),
    make(1, 16, 7, 7, 35, 3, 1, 1),
    make(3, 4, 8, 8, 6, 1),
    make(2, 4, 9, 8, 6, 1, 2),
    make(1, 4, 6, 3, 8, 1, 1, 2),
    make(1, 3, 23, 21, 8, 7, 2, 3),
    make(2, 6, 13, 17, 8, (3, 5), (2, 3), (1, 2), (2, 1), 2),
    make(1, 8, 5, 5, 8, 5, 1, 4),
    make(1, 3, 32, 32, 4, 16, 16),
    make(1, 3, 5, 6, 4, (5, 6)),
    make(2, 6, 10, 10, 6, 3, 1, 1, 1, 6),
    make(2, 6, 11, 10, 12, 5, 2, 2, 1, 6),
    make(2, 5, 19, 18, 15, 3, 2, 1, 1, 5),
    make(1, 4, 20, 33, 4, 7, 1, 3, 1, 4),
    make(1, 4, 9, 9, 4, 3, 3, 0, 2, 4),
    make(1, 2, 6, 40, 3, (1, 3), 1, (0, 1), (1, 4)),
    make(1, 40, 4, 4, 17, 3, 1, 1),
]


@pytest.mark.parametrize("conv", CASES, ids=str)
def test_forward_and_gradients(conv):
    image, weight, gradient = data(conv)
    out, image_gradient, weight_gradient = reference(conv, image, weight, gradient)
    close(run(convolution.forward(conv), image, weight, out.shape), out)
    plan = convolution.input_gradient(conv)
    close(run(plan, gradient, weight, image.shape), image_gradient)
    plan = convolution.weight_gradient(conv)
    close(run(plan, image, gradient, weight.shape), weight_gradient)


@pytest.mark.parametrize("conv", [c for c in CASES if c.batch > 1], ids=str)
def test_small_images_are_merged(conv, monkeypatch):
    monkeypatch.setattr(convolution, "MERGED_FROM", 0)
    image, weight, gradient = data(conv)
    out, image_gradient, _ = reference(conv, image, weight, gradient)
    bias = np.linspace(-2, 2, conv.filters, dtype=np.float32)
    plan = convolution.forward(conv, finish.chain(finish.bias(by_rows=True), finish.relu))
    expected = np.maximum(out + bias[:, None, None], 0)
    close(run(plan, image, weight, out.shape, bias), expected)
    plan = convolution.input_gradient(conv)
    close(run(plan, gradient, weight, image.shape), image_gradient)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("stride", [1, 2])
def test_double_precision(groups, stride):
    conv = make(2, 6, 15, 14, 12, 3, stride, 1, 1, groups)
    conv = dataclasses.replace(conv, dtype="float64")
    image, weight, gradient = data(conv)
    out, image_gradient, weight_gradient = reference(conv, image, weight, gradient)
    close(run(convolution.forward(conv), image, weight, out.shape), out)
    plan = convolution.input_gradient(conv)
    close(run(plan, gradient, weight, image.shape), image_gradient)
    plan = convolution.weight_gradient(conv)
    close(run(plan, image, gradient, weight.shape), weight_gradient)


def test_long_reductions_are_cut(monkeypatch):
    monkeypatch.setattr(gemm, "BLOCK_DEPTH", 64)
    monkeypatch.setattr(gemm, "PACKED_BYTES", 1 << 12)
    for conv in (make(2, 130, 9, 9, 33, 3, 1, 1), make(1, 36, 20, 20, 30, 3, 1, 1)):
        image, weight, gradient = data(conv)
        out, image_gradient, weight_gradient = reference(conv, image, weight, gradient)
        close(run(convolution.forward(conv), image, weight, out.shape), out)
        plan = convolution.input_gradient(conv)
        close(run(plan, gradient, weight, image.shape), image_gradient)
        plan = convolution.weight_gradient(conv)
        close(run(plan, image, gradient, weight.shape), weight_gradient)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("channels", "kernel"), [(8, 3), (8, 1), (4, 3)])
def test_bias_residual_and_relu_are_fused(groups, channels, kernel):
    conv = make(2, channels, 12, 12, 20, kernel, 1, kernel // 2, 1, groups)
    image, weight, gradient = data(conv)
    bias = np.linspace(-9, 9, 20, dtype=np.float32)
    residual = np.random.default_rng(5).standard_normal(gradient.shape, dtype=np.float32)
    epilogue = finish.chain(finish.bias(by_rows=True), finish.add(finish.EXTRA + 1), finish.relu)
    plan = convolution.forward(conv, epilogue)
    out = run(plan, image, weight, gradient.shape, bias, residual)
    expected = reference(conv, image, weight, gradient)[0] + bias[:, None, None] + residual
    close(out, np.maximum(expected, 0))


def test_threads_do_not_change_the_result():
    conv = make(2, 8, 30, 30, 24, 3, 1, 1)
    image, weight, gradient = data(conv)
    before, results = threads.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            results.append(run(convolution.forward(conv), image, weight, gradient.shape))
    finally:
        threads.set_num_threads(before)
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


def test_not_a_number_reaches_exactly_the_patches_that_hold_it():
    conv = make(1, 3, 12, 12, 5, 3, 1, 1)
    image, weight, gradient = data(conv)
    image[0, 1, 4, 7] = np.nan
    out = run(convolution.forward(conv), image, weight, gradient.shape)
    expected = np.zeros((12, 12), bool)
    expected[3:6, 6:9] = True
    assert (np.isnan(out) == expected).all()


def test_sizes_that_do_not_fit_say_so():
    with pytest.raises(ValueError, match="larger than the padded image"):
        convolution.forward(make(1, 1, 2, 2, 1, 3))
    with pytest.raises(ValueError, match="groups"):
        make(1, 3, 5, 5, 4, 3, groups=2)


def test_against_torch():
    torch = pytest.importorskip("torch")
    conv = make(2, 12, 15, 18, 8, 3, 2, 1, 1, 4)
    image, weight, gradient = data(conv)
    tensors = [torch.from_numpy(v).requires_grad_() for v in (image, weight)]
    out = torch.nn.functional.conv2d(*tensors, stride=2, padding=1, groups=4)
    out.backward(torch.from_numpy(gradient))
    close(run(convolution.forward(conv), image, weight, out.shape), out.detach().numpy())
    plan = convolution.input_gradient(conv)
    close(run(plan, gradient, weight, image.shape), tensors[0].grad.numpy())
    plan = convolution.weight_gradient(conv)
    close(run(plan, image, gradient, weight.shape), tensors[1].grad.numpy())
