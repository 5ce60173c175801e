"""Calls recorded whole: what `back` gives over arrays is what the composite's own derivative gives, and a node made for
a whole call behaves in every other way as the nodes of its parts would."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from eager.packing import packed_in
from eager.registry import registry
from eager.samples import floats as f
from eager.samples import integers, samples
from eager.tensor import Tensor

F = torch.nn.functional


def call(*args, **kwargs):
    return args, kwargs


def _statistics():
    return f(3), f(3, low=0.5)


SAMPLES = {
    "linear": lambda: [
        call(f(2, 3), f(4, 3), f(4)), call(f(2, 5, 3), f(4, 3)), call(f(2, 3, 2).mT, f(3, 4).mT, f(1)),
        call(f(0, 3), f(4, 3), f(4)), call(f(40, 30), f(20, 30), f(20)), call(f(3), f(4, 3), f(4)),
    ],
    "layer_norm": lambda: [
        call(f(2, 3), (3,)), call(f(2, 5, 3), (3,), f(3), f(3)), call(f(3, 2).mT, (3,), None, f(3)),
        call(f(2, 5, 3), (5, 3), f(5, 3)), call(f(300, 300), [300], f(300), f(300)), call(f(0, 3), (3,)),
    ],
    "batch_norm": lambda: [
        call(f(4, 3), *_statistics(), f(3), f(3), training, 0.1, 1e-5) for training in (True, False)
    ] + [
        call(f(2, 3, 4, 5), None, None, f(3), f(3), True), call(f(2, 3, 4), *_statistics(), None, None, True),
        call(f(2, 3, 4), *_statistics()), call(f(2, 4, 3).mT, *_statistics(), f(3), None, False),
        call(f(2, 4, 3).mT, *_statistics(), None, f(3), True),
    ],
    "cross_entropy": lambda: [
        call(f(5, 4), integers(5, high=4)), call(f(5, 4), integers(5, high=4), reduction="sum"),
        call(f(300, 300), integers(300, high=300)), call(f(5, 4), integers(5, high=4), reduction="none"),
        call(f(5, 4), integers(5, high=4), ignore_index=2), call(f(5, 4), integers(5, high=4), f(4, low=0.1)),
    ],
    **{f"conv{n}d": lambda n=n: [
        call(f(2, 4, *(5,) * n), f(6, 4, *(3,) * n), f(6), 1, 1), call(f(2, 4, *(6,) * n), f(6, 2, *(2,) * n), None, 2, 1, 2, 2),
        call(f(1, 4, *(5,) * n), f(4, 1, *(3,) * n), f(4), 1, "same", 1, 4), call(f(2, 3, *(4,) * n), f(2, 3, *(1,) * n), f(2)),
        call(f(3, *(5,) * n), f(2, 3, *(3,) * n)),
    ] for n in (1, 2, 3)},
    **{f"max_pool{n}d": lambda n=n: [
        call(f(2, 3, *(6,) * n), 2), call(f(2, 3, *(7,) * n), 3, 2, 1), call(f(3, *(7,) * n), 3, 2, 1, 1, True),
        call(f(2, 3, *(7,) * n), 2, 1, 0, 2),
    ] for n in (1, 2, 3)},
    **{f"avg_pool{n}d": lambda n=n: [
        call(f(2, 3, *(6,) * n), 2), call(f(2, 3, *(7,) * n), 3, 2, 1), call(f(3, *(7,) * n), 3, 2, 1, True),
        call(f(2, 3, *(7,) * n), 2, 1, 1, False, False),
    ] for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": lambda n=n: [
        call(f(2, 3, *(6,) * n), 1), call(f(2, 3, *(6,) * n), 3), call(f(3, *(7,) * n), 2),
    ] for n in (1, 2, 3)},
    "scaled_dot_product_attention": lambda: [
        call(f(2, 3, 4), f(2, 5, 4), f(2, 5, 2)), call(f(1, 2, 3, 4), f(1, 2, 3, 4), f(1, 2, 3, 4), None, 0.0, True),
        call(f(2, 3, 4), f(2, 3, 4), f(2, 3, 4), f(3, 3)), call(f(3, 4), f(5, 4), f(5, 4), scale=0.7),
        call(f(1, 2, 200, 4), f(1, 2, 200, 4), f(1, 2, 200, 4), None, 0.0, True),
    ],
    "matmul": lambda: [
        call(f(2, 3), f(3, 4)), call(f(3, 2).mT, f(4, 3).mT), call(f(2, 5, 3), f(3, 4)), call(f(2, 5, 3), f(4, 3).mT),
        call(f(2, 5, 3), f(2, 3, 4)), call(f(2, 1, 5, 3), f(2, 3, 3, 4)), call(f(3), f(3, 4)), call(f(2, 0), f(0, 3)),
        call(f(2, 0, 3), f(3, 2)),
    ],
    "pad": lambda: [
        call(f(2, 3), (0, 1)), call(f(2, 3, 4), (1, 2, -1, 1)), call(f(2, 3), (1, 1, 2, 0), "constant", 1.5),
        call(f(2, 3, 4), (1, 2), "reflect"),
    ],
}
NAMES = [name for name, op in registry.items() if op.back is not None and not op.random]


def _given(name):
    op = registry[name]
    return SAMPLES[name]() if name in SAMPLES else samples(op)


CASES = [(name, number) for name in NAMES for number in range(len(_given(name)))]


def _with_leaves(name, number):
    """Arguments whose floating tensors are leaves that require gradients, and the leaves."""
    op = registry[name]
    args, kwargs = _given(name)[number]
    leaves = []

    def leaf(place, value):
        if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
            return value
        if op.parameters[place] in op.mutates:
            return value
        leaves.append(value.detach().requires_grad_())
        return leaves[-1]

    bound = [leaf(place, value) for place, value in enumerate(args)]
    named = {key: leaf(op.parameters.index(key), value) for key, value in kwargs.items()}
    return bound, named, leaves


def _close(found, expected):
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.shape == expected.shape and found.dtype is expected.dtype
        np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_every_operator_with_a_derivative_over_arrays_is_sampled():
    assert [name for name in NAMES if not _given(name)] == []


@pytest.mark.parametrize("name, number", CASES, ids=[f"{name}-{number}" for name, number in CASES])
def test_gradients_are_those_of_the_parts(name, number, monkeypatch):
    op = registry[name]
    args, kwargs, leaves = _with_leaves(name, number)
    running = [a.clone() for p, a in zip(op.parameters, args) if p in op.mutates and a is not None]
    result = op(*args, **kwargs)
    after = [a.clone() for p, a in zip(op.parameters, args) if p in op.mutates and a is not None]
    g = f(*result.shape) if result.ndim else f(1)[0]
    found = torch.autograd.grad(result, leaves, g, retain_graph=True, allow_unused=True)
    again = torch.autograd.grad(result, leaves, g, create_graph=True, allow_unused=True)
    for a, p in zip([a for p, a in zip(op.parameters, args) if p in op.mutates and a is not None], after):
        _close(a, p)  # differentiating does not write
    monkeypatch.setattr(op, "back", None)  # records the parts
    for a, p in zip([a for p, a in zip(op.parameters, args) if p in op.mutates and a is not None], running):
        a.copy_(p)
    apart = op(*args, **kwargs)
    assert op.kind != "composite" or getattr(apart.grad_fn, "op", None) is not op
    _close(result, apart)
    for a, p in zip([a for p, a in zip(op.parameters, args) if p in op.mutates and a is not None], after):
        _close(a, p)
    expected = torch.autograd.grad(apart, leaves, g, allow_unused=True)
    for one, two, three in zip(found, again, expected):
        _close(one, three)
        _close(two, three)


SINGLE = {
    "gelu": lambda x: F.gelu(x), "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "relu": F.relu,
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softmax": lambda x: F.softmax(x, -1), "softmax_first": lambda x: F.softmax(x, 0),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]), "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "max_pool1d": lambda x: F.max_pool1d(x[None], 3, 2, 1), "avg_pool1d": lambda x: F.avg_pool1d(x[None], 2),
}


@pytest.mark.parametrize("shape", [(7, 11), (300, 301)], ids=str)
@pytest.mark.parametrize("name", list(SINGLE))
def test_single_precision_is_near_double(name, shape):
    values = 3 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    given = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    found = []
    for kind in (np.float32, np.float64):
        x = torch.from_numpy(values.astype(kind)).requires_grad_()
        y = SINGLE[name](x)
        g = torch.from_numpy(np.resize(given, y.shape).astype(kind))
        y.backward(g, retain_graph=kind == np.float64)
        found.append((y.detach(), x.grad))
    for one, two in zip(*found):
        assert one.dtype is torch.float32
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=2e-5, atol=2e-5)
    again = torch.autograd.grad(y, x, g, create_graph=True)[0]
    np.testing.assert_allclose(again.detach().numpy(), found[1][1].numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.complex64])
def test_gradients_of_other_types_are_those_of_the_operators(kind):
    for function in (torch.sigmoid, torch.tanh):
        x = torch.tensor([0.5, -1.0, 2.0]).to(kind).requires_grad_()
        y, g = function(x), torch.tensor([1.0, 2.0, -1.0]).to(kind)
        found = torch.autograd.grad(y, x, g, retain_graph=True)[0]
        expected = torch.autograd.grad(y, x, g, create_graph=True)[0].detach()
        assert found.dtype is kind
        assert torch.allclose(found.to(torch.complex64), expected.to(torch.complex64), atol=0.02 if kind is torch.bfloat16 else 2e-3)


@pytest.mark.parametrize("name", list(SINGLE)[:6])
def test_special_values(name):
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, 1e15, -1e15, 90.0, -90.0], requires_grad=True)
    y = SINGLE[name](x)
    found = torch.autograd.grad(y, x, torch.ones(8), retain_graph=True)[0].tolist()
    wide = x.detach().double().requires_grad_()
    expected = torch.autograd.grad(SINGLE[name](wide), wide, torch.ones(8).double(), create_graph=True)[0].tolist()
    for one, two in list(zip(found, expected))[3:]:
        assert one == pytest.approx(two, abs=1e-6)
    assert np.isnan(found[0]) == np.isnan(expected[0])


@pytest.mark.parametrize("name", [name for name in NAMES if registry[name].kind == "composite"])
def test_some_call_is_recorded_whole(name):
    args, kwargs, _ = _with_leaves(name, 0)
    assert type(registry[name](*args, **kwargs).grad_fn).__name__ == "WholeNode"


def test_dropout_differentiates_by_the_zeros_it_drew():
    x = torch.ones(100, requires_grad=True)
    y = F.dropout(x, 0.5)
    assert type(y.grad_fn).__name__ == "WholeNode" and set(y.tolist()) == {0.0, 2.0}
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == y.tolist()
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()


def test_dropout_draws_what_its_parts_draw(monkeypatch):
    x = torch.randn(7, 9)
    found = []
    for recorded in (False, True):
        torch.manual_seed(3)
        found.append((F.dropout(x.requires_grad_(recorded), 0.3).detach(), torch.rand(2)))
    torch.manual_seed(3)
    monkeypatch.setattr(registry["dropout"], "back", None)
    found.append((F.dropout(x, 0.3).detach(), torch.rand(2)))
    for y, following in found[1:]:
        np.testing.assert_allclose(y.numpy(), found[0][0].numpy(), rtol=1e-6)
        assert following.tolist() == found[0][1].tolist()


def test_second_derivatives():
    x, w, b = (t.detach().requires_grad_() for t in (f(2, 3), f(4, 3), f(4)))
    assert torch.autograd.gradgradcheck(F.linear, (x, w, b))
    assert torch.autograd.gradgradcheck(lambda x, w: F.layer_norm(x, (3,), w), (x, b[:3].detach().requires_grad_()))
    image = f(2, 3, 4).detach().requires_grad_()
    mean, var = _statistics()
    for training in (True, False):
        assert torch.autograd.gradgradcheck(lambda x: F.batch_norm(x, mean, var, None, None, training, 0.0), (image,))


def test_what_was_overwritten_is_told():
    x, w = f(2, 3).detach().requires_grad_(), f(4, 3).detach().requires_grad_()
    y = F.linear(x * 1, w)
    with torch.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.*expected version 0"):
        y.sum().backward()


def test_what_is_not_read_may_be_overwritten():
    x, w, b = (t.detach().requires_grad_() for t in (f(2, 3), f(4, 3), f(4)))
    y = F.linear(x.detach(), w.detach(), b)
    with torch.no_grad():
        w.add_(1), x.add_(1), b.add_(1)
    y.sum().backward()
    assert b.grad.tolist() == [2.0] * 4


def test_running_statistics_of_a_layer_used_twice():
    layer = torch.nn.BatchNorm1d(3)
    x = torch.randn(4, 3, requires_grad=True)
    layer(layer(x)).sum().backward()
    assert x.grad is not None and layer.num_batches_tracked == 2


def test_a_freed_graph_is_told():
    x, w = f(2, 3).detach().requires_grad_(), f(4, 3).detach()
    y = F.linear(x, w).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_hooks_see_the_whole():
    x, w = f(2, 3).detach().requires_grad_(), f(4, 3).detach()
    y = F.linear(x, w)
    seen = []
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append((len(inputs), len(outputs))))
    y.register_hook(lambda g: g * 2)
    y.sum().backward()
    assert seen == [(2, 1)]
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.broadcast_to(w.numpy().sum(0), (2, 3)))


def test_what_is_saved_is_packed():
    x, w = f(2, 3).detach().requires_grad_(), f(4, 3).detach().requires_grad_()
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.shape) or t, lambda t: t):
        assert packed_in[0]
        F.linear(x, w).sum().backward()
    assert [tuple(shape) for shape in packed] == [(2, 3), (4, 3)] and x.grad is not None
    packed.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.shape) or t, lambda t: t * 2):
        F.dropout(x, 0.5).sum().backward()  # the factors
    assert [tuple(shape) for shape in packed] == [(2, 3)]


def test_anomaly_mode_names_the_call():
    x = torch.zeros(2, 3, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):
        y = F.linear(x, torch.full((4, 3), float("nan")))
        with pytest.raises(RuntimeError, match="LinearBackward0.*nan"):
            y.sum().backward()


def test_a_view_that_was_written_to_keeps_its_history():
    x, w = f(2, 3).detach().requires_grad_(), f(4, 3).detach()
    base = x * 1
    part = base[:, :]
    part.mul_(2)
    F.linear(base, w).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.broadcast_to(w.numpy().sum(0), (2, 3)))


def test_subscripts_are_recorded_as_views():
    x = f(3, 4).detach().requires_grad_()
    for index in ((slice(None), slice(0, 2)), 1, (..., None, 2), (slice(0, 3, 2), 1), (1, 2)):
        y = x[index]
        g = f(*y.shape) if y.ndim else f(1)[0]
        found = torch.autograd.grad(y, x, g, retain_graph=True)[0]
        again = torch.autograd.grad(y, x, g.requires_grad_(), create_graph=True)[0]
        expected = np.zeros((3, 4))
        expected[index] = g.detach().numpy()
        assert found.tolist() == again.tolist() == expected.tolist()
        (back,) = torch.autograd.grad(again, g, torch.ones(3, 4).double())
        assert back.tolist() == np.ones((3, 4))[index].tolist()
    base = x * 1
    part = base[1:]
    part[:, 0] = 5.0
    part.mul_(3)
    (base * base).sum().backward()
    expected = 2 * x.detach().numpy()
    expected[1:] *= 9
    expected[1:, 0] = 0
    np.testing.assert_allclose(x.grad.numpy(), expected)


def test_joined_tensors_get_their_parts():
    x, y, z = f(2, 3).detach().requires_grad_(), f(2, 1), f(2, 2).detach().requires_grad_()
    for join in (lambda: torch.cat([x, y, z], 1), lambda: torch.cat((x.T, y.T, z.T))):
        result = join()
        g = f(*result.shape)
        a, b = torch.autograd.grad(result, (x, z), g)
        whole = g if result.shape[0] == 2 else g.T
        assert a.tolist() == whole[:, :3].tolist() and b.tolist() == whole[:, 4:].tolist()
