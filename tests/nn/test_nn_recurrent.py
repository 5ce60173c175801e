"""Recurrent layers against torch, with torch's own weights."""

import numpy as np
import pytest

from eager import nn
from eager.construct import from_numpy


def _pair(name, *args, **kwargs):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    mine = getattr(nn, name)(*args, **kwargs)
    found = mine.load_state_dict({k: from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    assert not found.missing_keys and repr(mine) == repr(theirs)
    return torch, mine, theirs


def _flat(result):
    return (
        [result] if not isinstance(result, tuple) else [x for part in result for x in _flat(part)]
    )


@pytest.mark.parametrize(
    "how",
    [
        dict(),
        dict(num_layers=2),
        dict(bidirectional=True, num_layers=2),
        dict(batch_first=True),
        dict(bias=False),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_layers(random, name, how):
    torch, mine, theirs = _pair(name, 4, 3, **how)
    x = random(5, 2, 4)
    a, b = from_numpy(x.copy()).requires_grad_(), torch.from_numpy(x.copy()).requires_grad_()
    ours, other = _flat(mine(a)), _flat(theirs(b))
    for one, two in zip(ours, other, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), two.detach().numpy(), atol=1e-5)
    sum(t.sin().sum() for t in ours).backward()
    sum(t.sin().sum() for t in other).backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-5)
    for one, two in zip(mine.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.numpy(), two.grad.numpy(), atol=1e-4)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projection_states_and_single(random):
    torch, mine, theirs = _pair("LSTM", 4, 5, proj_size=3, bidirectional=True)
    h, c = random(2, 2, 3), random(2, 2, 5)
    x = random(6, 2, 4)
    ours = _flat(mine(from_numpy(x), (from_numpy(h), from_numpy(c))))
    other = _flat(theirs(torch.from_numpy(x), (torch.from_numpy(h), torch.from_numpy(c))))
    for one, two in zip(ours, other, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), two.detach().numpy(), atol=1e-5)
    torch, mine, theirs = _pair("GRU", 4, 3)
    one, two = mine(from_numpy(x[:, 0])), theirs(torch.from_numpy(x[:, 0]))
    np.testing.assert_allclose(one[0].detach().numpy(), two[0].detach().numpy(), atol=1e-5)
    assert one[1].shape == two[1].shape


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(random, name):
    torch, mine, theirs = _pair(name, 4, 3)
    x, h = random(2, 4), random(2, 3)
    state = (h, random(2, 3)) if name == "LSTMCell" else h
    convert = lambda f: tuple(map(f, state)) if isinstance(state, tuple) else f(state)  # noqa: E731
    for one, two in zip(
        _flat(mine(from_numpy(x), convert(from_numpy))),
        _flat(theirs(torch.from_numpy(x), convert(torch.from_numpy))),
    ):
        np.testing.assert_allclose(one.detach().numpy(), two.detach().numpy(), atol=1e-5)
    assert _flat(mine(from_numpy(x[0])))[0].shape == (3,)


def test_wrong_sizes(random):
    lstm = nn.LSTM(4, 3)
    with pytest.raises(RuntimeError, match="input.size\\(-1\\) must be equal to input_size"):
        lstm(from_numpy(random(5, 2, 5)))
    with pytest.raises(RuntimeError, match="Expected hidden"):
        nn.GRU(4, 3)(from_numpy(random(5, 2, 4)), from_numpy(random(1, 3, 3)))
    with pytest.raises(ValueError, match="hidden_size"):
        nn.RNN(4, 0)
