"""Pointwise loops in matrix products and convolutions: one step, no kernel, the same numbers."""

import numpy as np
import pytest

from eager.registry import ops

MATRIX = [(20, 24), (24, 37)]
IMAGE = [(2, 6, 9, 8), (10, 6, 3, 3)]


def conv(x, w):
    return ops.conv2d(x, w, None, 1, 1)


FUSED = {
    "relu": (lambda a, b: ops.relu(a @ b), MATRIX),
    "gelu": (lambda a, b: ops.gelu(a @ b), MATRIX),
    "tanh gelu": (lambda a, b: ops.gelu(a @ b, "tanh"), MATRIX),
    "silu": (lambda a, b: ops.silu(a @ b), MATRIX),
    "sigmoid": (lambda a, b: ops.sigmoid(a @ b) * 2 - 1, MATRIX),
    "leaky": (lambda a, b: ops.leaky_relu(a @ b, 0.1), MATRIX),
    "softplus": (lambda a, b: ops.softplus(a @ b), MATRIX),
    "column vector": (lambda a, b, c: (a @ b + c).tanh(), [*MATRIX, (37,)]),
    "row vector": (lambda a, b, c: (a @ b) * c, [*MATRIX, (20, 1)]),
    "scalar tensor": (lambda a, b, c: (a @ b) * c, [*MATRIX, ()]),
    "residual": (lambda a, b, c: ops.relu(a @ b + c), [*MATRIX, (20, 37)]),
    "where": (lambda a, b, c: ops.where(c > 0, a @ b, c * 2), [*MATRIX, (20, 37)]),
    "transposed": (lambda a, b: (a @ b).t() * 2, MATRIX),
    "linear": (lambda x, w, b: ops.gelu(ops.linear(x, w, b)), [(3, 8, 16), (12, 16), (12,)]),
    "batches": (lambda a, b, c: ops.exp((a @ b) * c), [(3, 5, 6), (3, 6, 20), (3, 5, 1)]),
    "image relu": (lambda x, w: ops.relu(conv(x, w)), IMAGE),
    "image bias": (
        lambda x, w, b: ops.silu(ops.conv2d(x, w, b, 2, 1)), [*IMAGE, (10,)]
    ),
    "image scale": (
        lambda x, w, s, b: ops.relu(conv(x, w) * s + b), [*IMAGE, (10, 1, 1), (10, 1, 1)]
    ),
    "image residual": (lambda x, w, y: ops.relu(conv(x, w) + y), [*IMAGE, (2, 10, 9, 8)]),
    "per image": (lambda x, w, y: conv(x, w) * y, [*IMAGE, (2, 1, 1, 1)]),
    "pointwise convolution": (
        lambda x, w, b: ops.relu(ops.conv2d(x, w, b)), [(2, 6, 9, 8), (10, 6, 1, 1), (10,)]
    ),
    "grouped": (
        lambda x, w, b: ops.relu(ops.conv2d(x, w, b, 1, 1, 1, 2)),
        [(2, 6, 9, 8), (10, 3, 3, 3), (10,)],
    ),
    "signal": (
        lambda x, w, b: ops.gelu(ops.conv1d(x, w, b, 2, 1, 1, 2)), [(2, 6, 19), (10, 3, 3), (10,)]
    ),
    "depthwise": (
        lambda x, w, b, y: ops.silu(ops.conv2d(x, w, b, 1, 1, 1, 6) + y),
        [(2, 6, 9, 8), (12, 1, 3, 3), (12,), (2, 12, 9, 8)],
    ),
}


@pytest.mark.parametrize("name", FUSED)
def test_one_step(harness, name):
    function, shapes = FUSED[name]
    harness.check(function, *[harness.tensor(*shape) for shape in shapes])
    assert harness.kernels == [0] and harness.fallbacks == []


KEPT = {
    "two readers": (lambda a, b: (a @ b, ops.relu(a @ b)), 1),
    "across": (lambda a, b, c: a @ b + c.t(), 1),
    "reduced": (lambda a, b, c: ops.relu(a @ b).sum(1), 1),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_cannot_join_stays_a_kernel(harness, name):
    function, kernels = KEPT[name]
    square = [harness.tensor(21, 21) for _ in range(function.__code__.co_argcount)]
    harness.check(function, *square)
    assert harness.kernels == [kernels]


def test_special_values(harness):
    a, b = harness.tensor(4, 5), harness.tensor(5, 40)
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, 89.0, -104.0], np.float32)
    a.numpy()[:], b.numpy()[:] = 0, 0
    a.numpy()[:, 0] = 1
    b.numpy()[0, :8] = values
    for function in (ops.exp, ops.tanh, ops.sigmoid, ops.erf, ops.relu, ops.sqrt, ops.abs):
        with np.errstate(all="ignore"):
            run = harness.compile(lambda a, b, f=function: f(a @ b), a, b)
            (got,), want = run(a, b), function(a @ b)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_convolutions_of_signals_and_in_double_precision(harness, dtype):
    x = harness.tensor(2, 6, 19, grad=True, dtype=dtype)
    w, b = harness.tensor(10, 3, 3, grad=True, dtype=dtype), harness.tensor(10, grad=True, dtype=dtype)
    harness.check(lambda x, w, b: ops.conv1d(x, w, b, 2, 1, 1, 2), x, w, b)
    image = harness.tensor(2, 6, 8, 7, grad=True, dtype=dtype)
    square = harness.tensor(10, 6, 3, 3, grad=True, dtype=dtype)
    harness.check(lambda x, w: ops.relu(conv(x, w)), image, square)
    assert harness.fallbacks == []


def test_transposed_convolutions(harness):
    x, w = harness.tensor(2, 6, 5, 7, grad=True), harness.tensor(6, 4, 3, 3, grad=True)
    harness.check(lambda x, w: ops.conv_transpose2d(x, w, None, 2, 1, 1), x, w)
    assert harness.fallbacks == []


def test_gradients_through_fused_steps(harness):
    x, w = harness.tensor(2, 3, 7, 7, grad=True), harness.tensor(8, 3, 3, 3, grad=True)
    harness.check(lambda x, w: ops.gelu(conv(x, w)), x, w)
