"""Activations against torch: values and gradients, at the kinks too."""

import numpy as np
import pytest

POINTS = np.array(
    [-6.5, -3.0, -2.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 6.0, 25.0, 90.0]
)

PLAIN = {
    "relu": lambda t, x: t.F.relu(x),
    "relu6": lambda t, x: t.F.relu6(x),
    "gelu": lambda t, x: t.F.gelu(x),
    "gelu_tanh": lambda t, x: t.F.gelu(x, approximate="tanh"),
    "silu": lambda t, x: t.F.silu(x),
    "mish": lambda t, x: t.F.mish(x),
    "elu": lambda t, x: t.F.elu(x, 1.3),
    "selu": lambda t, x: t.F.selu(x),
    "celu": lambda t, x: t.F.celu(x, 0.7),
    "leaky_relu": lambda t, x: t.F.leaky_relu(x, 0.2),
    "hardtanh": lambda t, x: t.F.hardtanh(x, -2.0, 3.0),
    "hardswish": lambda t, x: t.F.hardswish(x),
    "hardsigmoid": lambda t, x: t.F.hardsigmoid(x),
    "softplus": lambda t, x: t.F.softplus(x, 2.0, 10.0),
    "softsign": lambda t, x: t.F.softsign(x),
    "logsigmoid": lambda t, x: t.F.logsigmoid(x),
    "tanhshrink": lambda t, x: t.F.tanhshrink(x),
    "threshold": lambda t, x: t.F.threshold(x, 0.5, 7.0),
    "hardshrink": lambda t, x: t.F.hardshrink(x, 0.5),
    "softshrink": lambda t, x: t.F.softshrink(x, 0.5),
    "sigmoid": lambda t, x: t.F.sigmoid(x),
    "tanh": lambda t, x: t.F.tanh(x),
    "rrelu": lambda t, x: t.F.rrelu(x, 0.1, 0.3),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PLAIN)
def test_activation(compare, random, name, dtype):
    compare(PLAIN[name], POINTS.astype(dtype))
    compare(PLAIN[name], random(3, 4, dtype=dtype))
    compare(lambda t, x: PLAIN[name](t, x.transpose(0, 1)[::1, 1:]), random(4, 3, dtype=dtype))
    compare(PLAIN[name], np.zeros((0, 3), dtype))


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "relu6",
        "silu",
        "elu",
        "leaky_relu",
        "hardtanh",
        "selu",
        "hardswish",
        "celu",
        "mish",
        "hardsigmoid",
    ],
)
def test_in_place(compare, random, name):
    def function(t, x):
        y = x * 2
        z = getattr(t.F, name)(y, inplace=True)
        assert z is y
        return z

    compare(function, random(3, 4))


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_softmax(compare, random, name, dim):
    function = lambda t, x: getattr(t.F, name)(x, dim=dim)  # noqa: E731
    compare(function, random(3, 4, 5))
    compare(function, random(3, 4, 5, dtype=np.float64) * 50)
    compare(function, np.zeros((0, 4, 5), np.float32))
    compare(lambda t, x: getattr(t.F, name)(x.transpose(0, 2), dim=dim), random(3, 4, 5))


def test_softmax_of_a_number_and_in_another_type(compare, random):
    compare(lambda t, x: t.F.softmax(x.sum(), dim=0), random(3))
    compare(lambda t, x: t.F.log_softmax(x, dim=1, dtype=x.double().dtype), random(3, 4))


def test_softmax_refuses_integers(ours):
    with pytest.raises(RuntimeError, match="not implemented"):
        ours.F.softmax(ours.tensor(np.arange(3)), dim=0)
    with pytest.raises(IndexError, match="Dimension out of range"):
        ours.F.softmax(ours.tensor(np.zeros(3, np.float32)), dim=2)


def test_half_precision_softmax_keeps_its_type(ours):
    found = ours.F.softmax(ours.tensor(np.ones((2, 3000), np.float16)), dim=1)
    assert found.dtype.name == "float16"
    np.testing.assert_allclose(found.numpy().astype(np.float64), 1 / 3000, rtol=1e-3)


def test_prelu_and_glu(compare, random):
    compare(lambda t, x, w: t.F.prelu(x, w), random(2, 3, 4), random(3))
    compare(lambda t, x, w: t.F.prelu(x, w), random(2, 3, 4), random(1))
    compare(lambda t, x: t.F.glu(x, 1), random(2, 6, 3))


def test_glu_of_odd_size(ours, random):
    with pytest.raises(RuntimeError, match="must be even"):
        ours.F.glu(ours.tensor(random(2, 3)))
