"""Dropout and initial values: their distributions, their seeds, and that evaluation leaves things
alone.
"""

import math

import numpy as np
import pytest

from eager import nn
from eager.nn import functional as F
from eager.nn import init
from eager.registry import ops
from eager.rng import manual_seed


def test_dropout_drops_and_scales():
    manual_seed(0)
    x = ops.ones((100, 100)).requires_grad_()
    y = F.dropout(x, 0.3)
    values = np.unique(y.detach().numpy())
    np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-6)
    assert abs((y == 0).float().mean().item() - 0.3) < 0.02
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    manual_seed(0)
    np.testing.assert_array_equal(F.dropout(x, 0.3).detach().numpy(), y.detach().numpy())


def test_dropout_edges():
    x = ops.ones((4, 4))
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 1.0).sum().item() == 0
    assert F.dropout(x, 0.0).sum().item() == 16
    y = x.clone()
    assert F.dropout(y, 0.5, inplace=True) is y and set(y.unique().tolist()) <= {0.0, 2.0}
    with pytest.raises(ValueError, match="between 0 and 1"):
        F.dropout(x, 1.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(-0.1)


def test_channels_drop_together():
    manual_seed(1)
    y = nn.Dropout2d(0.5)(ops.ones((8, 16, 3, 3)))
    flat = y.reshape(128, 9).numpy()
    assert ((flat == flat[:, :1]).all()) and 0.2 < (flat[:, 0] == 0).mean() < 0.8
    line = nn.Dropout1d(0.5)(ops.ones((16, 5))).numpy()
    assert (line == line[:, :1]).all()


def test_alpha_dropout_keeps_the_moments():
    manual_seed(2)
    y = nn.AlphaDropout(0.2)(ops.randn((200, 200)))
    assert abs(y.mean().item()) < 0.03 and abs(y.std().item() - 1) < 0.03


def _weight(*shape):
    return nn.Parameter(ops.empty(shape))


@pytest.mark.parametrize(
    "fill, low, high, std",
    [
        (lambda w: init.uniform_(w, -2, 3), -2, 3, 5 / math.sqrt(12)),
        (lambda w: init.normal_(w, 0, 2), -20, 20, 2),
        (
            lambda w: init.xavier_uniform_(w, 2.0),
            -2 * math.sqrt(6 / 500),
            2 * math.sqrt(6 / 500),
            2 * math.sqrt(2 / 500),
        ),
        (lambda w: init.xavier_normal_(w), -10, 10, math.sqrt(2 / 500)),
        (
            lambda w: init.kaiming_uniform_(w, nonlinearity="relu"),
            -math.sqrt(6 / 300),
            math.sqrt(6 / 300),
            math.sqrt(2 / 300),
        ),
        (
            lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
            -10,
            10,
            math.sqrt(2 / 200),
        ),
        (lambda w: init.trunc_normal_(w, 0, 1, -1, 1), -1, 1, 0.5396),
    ],
)
def test_distributions(fill, low, high, std):
    manual_seed(3)
    weight = _weight(200, 300)
    assert fill(weight) is weight and weight.requires_grad and weight.is_leaf
    numbers = weight.detach().numpy()
    assert numbers.min() >= low and numbers.max() <= high
    assert abs(numbers.std() / std - 1) < 0.02


def test_structured_values():
    weight = init.orthogonal_(_weight(5, 8), 2.0).detach()
    np.testing.assert_allclose((weight @ weight.t()).numpy(), 4 * np.eye(5), atol=1e-5)
    assert init.eye_(_weight(3, 4)).trace().item() == 3
    kernel = init.dirac_(_weight(3, 3, 3, 3))
    x = ops.randn((1, 3, 5, 5))
    np.testing.assert_allclose(
        F.conv2d(x, kernel, padding=1).detach().numpy(), x.numpy(), atol=1e-6
    )
    assert (init.sparse_(_weight(10, 4), 0.3) == 0).sum(0).tolist() == [3] * 4
    assert init.constant_(_weight(2), 7.0).tolist() == [7, 7]
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(math.sqrt(2 / 1.04))
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        init.calculate_gain("none")
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        init.xavier_normal_(_weight(3))


def test_layers_start_as_torchs_do():
    manual_seed(0)
    layer = nn.Linear(400, 300)
    bound = 1 / 20
    assert layer.weight.abs().max().item() <= bound and layer.bias.abs().max().item() <= bound
    assert abs(layer.weight.std().item() * math.sqrt(3) / bound - 1) < 0.02
    conv = nn.Conv2d(8, 300, 3)
    assert conv.weight.abs().max().item() <= 1 / math.sqrt(72)
    table = nn.Embedding(500, 40, padding_idx=3)
    assert abs(table.weight.std().item() - 1) < 0.02 and table.weight[3].abs().sum().item() == 0
