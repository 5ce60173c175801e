"""Clipping and vectors of parameters against torch."""

import numpy as np
import pytest

from eager.construct import from_numpy
from eager.nn import utils

GRADIENTS = [np.linspace(-2, 3, 6).reshape(2, 3), np.array([10.0, -4.0])]


def _with_gradients(make):
    parameters = []
    for gradient in GRADIENTS:
        parameter = make(np.zeros_like(gradient)).requires_grad_()
        parameter.grad = make(gradient.copy())
        parameters.append(parameter)
    return parameters


@pytest.mark.parametrize("norm", [1.0, 2.0, float("inf"), 3.0])
@pytest.mark.parametrize("limit", [1.0, 1000.0])
def test_clip_norm(norm, limit):
    torch = pytest.importorskip("torch")
    mine, theirs = _with_gradients(from_numpy), _with_gradients(torch.from_numpy)
    total = utils.clip_grad_norm_(mine, limit, norm)
    assert total.item() == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, limit, norm).item())
    for a, b in zip(mine, theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-6)


def test_clip_value_and_nonfinite():
    mine = _with_gradients(from_numpy)
    utils.clip_grad_value_(mine, 1.5)
    assert max(abs(p.grad.numpy()).max() for p in mine) == 1.5
    mine[0].grad[0, 0] = float("nan")
    with pytest.raises(RuntimeError, match="non-finite"):
        utils.clip_grad_norm_(mine, 1.0, error_if_nonfinite=True)


def test_vectors():
    mine = _with_gradients(from_numpy)
    vector = utils.parameters_to_vector(mine)
    assert vector.shape == (8,)
    utils.vector_to_parameters(vector.detach() + 1, mine)
    assert mine[0].tolist() == [[1.0] * 3] * 2 and mine[1].tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match="expected torch.Tensor"):
        utils.vector_to_parameters([1.0], mine)
