"""Packed sequences, parametrizations and calls with other parameters, against torch."""

import numpy as np
import pytest

from eager import nn
from eager.autograd import no_grad
from eager.construct import from_numpy, tensor
from eager.nn import parametrization, sequence, stateless
from eager.registry import ops


def _rows(random):
    return [random(n, 3) for n in (2, 5, 3)]


@pytest.mark.parametrize("batch_first", [True, False])
def test_packing(random, batch_first):
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    rows = _rows(random)
    for side in ("left", "right"):
        ours = sequence.pad_sequence([from_numpy(r) for r in rows], batch_first, 7.0, side)
        theirs = rnn.pad_sequence([torch.from_numpy(r) for r in rows], batch_first, 7.0, side)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    how = dict(batch_first=batch_first, enforce_sorted=False)
    mine = sequence.pack_padded_sequence(ours, [2, 5, 3], **how)
    other = rnn.pack_padded_sequence(theirs, [2, 5, 3], **how)
    for a, b in zip(mine, other):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    a, lengths = sequence.pad_packed_sequence(mine, batch_first, -1.0, 6)
    b, _ = rnn.pad_packed_sequence(other, batch_first, -1.0, 6)
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert lengths.tolist() == [2, 5, 3]
    packed = sequence.pack_sequence([from_numpy(r) for r in rows], enforce_sorted=False)
    for a, b in zip(sequence.unpack_sequence(packed), rows):
        np.testing.assert_array_equal(a.numpy(), b)
    with pytest.raises(RuntimeError, match="sorted in decreasing order"):
        sequence.pack_padded_sequence(ours, [2, 5, 3], batch_first)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("start", [True, False])
def test_recurrent_layers_over_packed_sequences(random, name, start):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(3, 4, 2, bidirectional=True)
    mine = getattr(nn, name)(3, 4, 2, bidirectional=True)
    mine.load_state_dict({k: from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    rows, hx = _rows(random), [random(4, 3, 4), random(4, 3, 4)]

    def run(module, library, convert):
        leaves = [convert(r.copy()).requires_grad_() for r in rows]
        states = tuple(convert(h) for h in hx)
        states = None if not start else states if name == "LSTM" else states[0]
        out, last = module(library.pack_sequence(leaves, enforce_sorted=False), states)
        padded = library.pad_packed_sequence(out)[0]
        last = last if isinstance(last, tuple) else (last,)
        (padded.sin().sum() + sum(x.cos().sum() for x in last)).backward()
        return [padded, *last], [x.grad for x in (*leaves, *module.parameters())]

    ours, grads = run(mine, sequence, from_numpy)
    others, other_grads = run(theirs, torch.nn.utils.rnn, torch.from_numpy)
    for a, b in zip([*ours, *grads], [*others, *other_grads], strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=2e-5)


class Symmetric(nn.Module):
    def forward(self, x):
        return ops.triu(x) + ops.triu(x, 1).t()

    def right_inverse(self, x):
        return ops.triu(x)


def test_parametrization_and_its_removal():
    layer = nn.Linear(3, 3)
    parametrization.register_parametrization(layer, "weight", Symmetric())
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer, nn.Linear)
    assert [n for n, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    assert ops.allclose(layer.weight, layer.weight.t())
    layer(ops.ones((1, 3))).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None
    wanted = tensor([[1.0, 2, 3], [2, 4, 5], [3, 5, 6]])
    layer.weight = wanted
    assert layer.weight.tolist() == wanted.tolist()
    with parametrization.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight
    parametrization.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter)
    assert layer.weight.tolist() == wanted.tolist() and not hasattr(layer, "parametrizations")
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrization.register_parametrization(layer, "nothing", Symmetric())


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_normalized_weights(random, kind):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn.utils.parametrizations, kind)(torch.nn.Conv1d(3, 4, 2))
    mine = getattr(parametrization, kind)(nn.Conv1d(3, 4, 2))
    known = {k: from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    assert list(mine.state_dict()) == list(known)
    mine.load_state_dict(known)
    x = random(2, 3, 5)
    for _ in range(2):
        a, b = mine(from_numpy(x)), theirs(torch.from_numpy(x))
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-5)
    a.sin().sum().backward(), b.sin().sum().backward()
    for one, two in zip(mine.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.numpy(), two.grad.numpy(), atol=1e-4)


def test_functional_call():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    eye = ops.eye(2)
    zeros = ops.zeros((2,))
    given = {"0.weight": eye * 2, "0.bias": zeros, "1.bias": zeros}
    before = net[0].weight
    x = ops.ones((1, 2))
    assert stateless.functional_call(net, given, x).tolist() == [[4.0, 4.0]]
    assert net[0].weight is before and net[1].weight is before
    with pytest.raises(KeyError, match="neither a parameter nor a buffer"):
        stateless.functional_call(net, {"0.size": eye}, x)
    with no_grad():
        assert net(x).tolist() != [[4.0, 4.0]]


def test_adaptive_softmax(random):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0, head_bias=True)
    mine = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0, head_bias=True)
    assert repr(mine) == repr(theirs)
    mine.load_state_dict({k: from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    x, y = random(5, 8), np.array([0, 2, 5, 11, 8])
    a, b = mine(from_numpy(x), from_numpy(y)), theirs(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(a.output.detach().numpy(), b.output.detach().numpy(), atol=1e-5)
    assert a.loss.item() == pytest.approx(b.loss.item(), rel=1e-5)
    assert mine.predict(from_numpy(x)).tolist() == theirs.predict(torch.from_numpy(x)).tolist()
    a.loss.backward(), b.loss.backward()
    for one, two in zip(mine.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.numpy(), two.grad.numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="sorted in an increasing order"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 12, [7, 3])
