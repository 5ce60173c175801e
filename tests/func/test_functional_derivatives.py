"""torch.autograd.functional, hooks on saved tensors and anomaly mode, against torch."""

import warnings

import numpy as np
import pytest

import flambeau
import flambeau.autograd.functional

torch = pytest.importorskip("torch")
RANDOM = np.random.default_rng(3)
ARRAYS = [RANDOM.standard_normal(3), RANDOM.standard_normal(2)]


def flat(value):
    return [x for v in value for x in flat(v)] if isinstance(value, (tuple, list)) else [value.detach().numpy()]


def both(function):
    mine = flat(function(flambeau, flambeau.autograd.functional, *map(flambeau.tensor, ARRAYS)))
    theirs = flat(function(torch, torch.autograd.functional, *map(torch.tensor, ARRAYS)))
    assert len(mine) == len(theirs)
    for found, wanted in zip(mine, theirs):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def curved(t):
    return lambda x, y: (t.sin(x) * y.sum() + x[0], t.outer(x, y).exp())


def bowl(t):
    return lambda x, y: (x**3).sum() * y[0] + (x[:2] * y).sum()


def test_products_with_the_jacobian():
    both(lambda t, f, x, y: f.vjp(lambda v: t.tanh(v) * v[0], x, x * 2))
    both(lambda t, f, x, y: f.vjp(curved(t), (x, y), (x, t.ones(3, 2, dtype=x.dtype))))
    both(lambda t, f, x, y: f.jvp(lambda v: t.tanh(v) * v[0], x, x * 2))
    both(lambda t, f, x, y: f.jvp(curved(t), (x, y), (x + 1, y - 1)))
    both(lambda t, f, x, y: f.vjp(lambda v: v.sum(), x))


@pytest.mark.parametrize("vectorize", [False, True])
def test_jacobians_and_hessians(vectorize):
    both(lambda t, f, x, y: f.jacobian(lambda v: t.tanh(v) * v[0], x, vectorize=vectorize))
    both(lambda t, f, x, y: f.jacobian(curved(t), (x, y), vectorize=vectorize))
    both(lambda t, f, x, y: f.jacobian(lambda a, b: a * 2, (x, y), vectorize=vectorize))
    both(lambda t, f, x, y: f.hessian(lambda v: (v**3).sum() * v[1], x, vectorize=vectorize))
    both(lambda t, f, x, y: f.hessian(bowl(t), (x, y), vectorize=vectorize))


def test_products_with_the_hessian():
    both(lambda t, f, x, y: f.vhp(bowl(t), (x, y), (x, y)))
    both(lambda t, f, x, y: f.hvp(bowl(t), (x, y), (x, y)))


def test_history_and_strictness():
    x = flambeau.tensor(ARRAYS[0]).requires_grad_()
    f = flambeau.autograd.functional
    assert not f.jacobian(flambeau.sin, x).requires_grad
    f.jacobian(flambeau.sin, x, create_graph=True).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), -np.sin(ARRAYS[0]))
    with pytest.raises(RuntimeError, match="independent of input 1"):
        f.jacobian(lambda a, b: a * 2, (x, x * 1), strict=True)
    with pytest.raises(RuntimeError, match="single Tensor of a single element"):
        f.hessian(lambda a: a * 2, x)
    with pytest.raises(TypeError, match="must be either a Tensor or a tuple of Tensors"):
        f.vjp(lambda a: a, [x])


def packed(t):
    """How often hooks pack and unpack in a small network, its gradients, and second gradients."""
    counts = [0, 0]

    def pack(tensor):
        counts[0] += 1
        assert not tensor.requires_grad or t is torch
        return tensor.detach().numpy().copy()

    def unpack(array):
        counts[1] += 1
        return t.tensor(array)

    x = t.tensor(ARRAYS[0]).requires_grad_()
    w = t.tensor(np.outer(ARRAYS[0], ARRAYS[1])).requires_grad_()
    with t.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (t.tanh(x @ w) * (x.exp().sum() / 2)).sum()
    grads = t.autograd.grad(y, (x, w), create_graph=True)
    second = t.autograd.grad(grads[0].sum(), (x, w))
    return counts, [g.detach().numpy() for g in (*grads, *second)]


def test_hooks_on_saved_tensors():
    mine, theirs = packed(flambeau), packed(torch)
    assert mine[0][0] > 3 and mine[0][1] >= mine[0][0]
    for found, wanted in zip(mine[1], theirs[1]):
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_hooks_on_what_a_function_saves():
    class Square(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    seen = []
    x = flambeau.tensor([1.0, 3.0], requires_grad=True)
    with flambeau.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t) or t * 2, lambda t: t / 2):
        y = Square.apply(x)
    y.sum().backward()
    assert len(seen) == 1 and x.grad.tolist() == [2.0, 6.0]


def test_hooks_are_refused_where_they_are_disabled():
    graph = flambeau.autograd.graph
    with graph.disable_saved_tensors_hooks("no hooks here"), pytest.raises(RuntimeError, match="no hooks here"):
        with graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            pass
    x = flambeau.ones(2, requires_grad=True)
    with graph.save_on_cpu():
        y = x.exp()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(2, np.e), rtol=1e-6)
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = x.exp()
    with pytest.raises(TypeError, match="unpack_hook expected to be a Tensor"):
        y.sum().backward()


def test_hooks_on_several_gradients():
    x, y = (flambeau.ones(2, requires_grad=True) for _ in range(2))
    seen = []
    handle = flambeau.autograd.graph.register_multi_grad_hook([x, y], seen.append)
    (x * 2 + y * 3).sum().backward()
    assert [g.tolist() for g in seen[0]] == [[2.0, 2.0], [3.0, 3.0]]
    handle.remove()
    (x * 2 + y * 3).sum().backward()
    assert len(seen) == 1


def test_anomaly_mode_names_the_forward_call():
    x = flambeau.tensor([0.0], requires_grad=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with flambeau.autograd.detect_anomaly():
            y = x.sqrt() * 0
            with pytest.raises(RuntimeError, match="SqrtBackward0' returned nan values"):
                y.backward()
    assert "Anomaly Detection has been enabled" in str(caught[0].message)
    with flambeau.autograd.set_detect_anomaly(True, check_nan=False):
        (x.sqrt() * 0).backward()
    assert x.grad.isnan().all() and not flambeau.autograd.anomaly_mode.is_anomaly_enabled()
