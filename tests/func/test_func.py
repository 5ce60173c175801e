"""torch.func over flambeau against torch's own: vmap by kind of operator, derivatives, and all of them nested."""

import warnings

import numpy as np
import pytest

import flambeau
from flambeau import func

torch = pytest.importorskip("torch")
RANDOM = np.random.default_rng(7)


def array(*shape):
    return RANDOM.standard_normal(shape)


def both(function, *arrays):
    """A function of (library, transforms, *tensors) in flambeau and in torch, as arrays."""

    def flat(value):
        if isinstance(value, dict):
            value = list(value.values())
        return [x for v in value for x in flat(v)] if isinstance(value, (tuple, list)) else [value.detach().numpy()]

    mine = flat(function(flambeau, func, *map(flambeau.tensor, arrays)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = flat(function(torch, torch.func, *map(torch.tensor, arrays)))
    assert len(mine) == len(theirs)
    for found, wanted in zip(mine, theirs):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


SAMPLES = {
    "pointwise": lambda t, x: t.sin(x) * 2 + x,
    "broadcast": lambda t, x: x[0] * x + x.sum() * x[:, :1],
    "comparison": lambda t, x: t.where(x > 0, x, 0.5),
    "promotion": lambda t, x: x.sum() + t.ones(2, dtype=t.float32),
    "sum": lambda t, x: (x.sum(), x.sum(0), x.mean(-1, keepdim=True), x.sum((0, 1), keepdim=True), x.sum(0).sum(0).sum()),
    "extrema": lambda t, x: (x.amax(), x.max(0)[0], x.argmax(), x.argmin(1, keepdim=True)),
    "spread": lambda t, x: (x.var(), x.std(1), x.norm(), x.logsumexp(0)),
    "views": lambda t, x: (x.T, x.reshape(-1), x[1], x[:, 1:3], x[..., None], x.unsqueeze(-1).squeeze(), x.permute(1, 0), x.flatten()),
    "diagonal": lambda t, x: (x.diagonal(), t.diag_embed(x[0]), x.tril(), x.triu(1)),
    "expand": lambda t, x: x[0].expand(2, 4) + x.unsqueeze(0).expand(2, 3, 4).sum(1),
    "unfold": lambda t, x: x.unfold(1, 2, 1),
    "matmul": lambda t, x: (x @ x.T, x @ x[0], x[0] @ x[0], t.outer(x[0], x[1]), t.einsum("ij,kj->ik", x, x)),
    "softmax": lambda t, x: (t.softmax(x, -1), t.log_softmax(x, 0), x.cumsum(1), t.logcumsumexp(x, 0)),
    "order": lambda t, x: (x.sort(0)[0], x.topk(2)[1], x.kthvalue(2)[0], x.median(), x.flip(0), x.roll(1, 0)),
    "joining": lambda t, x: (t.cat([x, x * 2], 1), t.stack([x, x]), t.hstack([x, x]), x.repeat(2, 1), x.chunk(2, 1)[0]),
    "indices": lambda t, x: (x.gather(1, t.tensor([[0], [1], [2]])), x[t.tensor([2, 0])], x[:, t.tensor([0, 3])]),
    "selection": lambda t, x: x.index_select(1, t.tensor([1, 1])),
    "own indices": lambda t, x: (x[x.argmax(0)], x.gather(0, x.argmax(0, keepdim=True)), x.index_select(0, x.argmax(0))),
    "scatter": lambda t, x: t.zeros(3, 4, dtype=x.dtype).scatter_add(1, t.tensor([[0, 0], [1, 1], [2, 3]]), x),
    "masked": lambda t, x: (x.masked_fill(x > 0, 1.0), x.masked_fill(t.tensor([True, False, True, False]), 2.0)),
    "linalg": lambda t, x: (t.linalg.inv(x @ x.T + t.eye(3, dtype=x.dtype)), t.linalg.det(x[:, :3]), t.linalg.solve(x[:, :3], x[:, 3])),
    "norms": lambda t, x: (t.nn.functional.layer_norm(x, (4,)), t.nn.functional.layer_norm(x, (4,), x[0], x[1]), t.nn.functional.normalize(x)),
    "convolution": lambda t, x: (
        t.nn.functional.conv1d(x[None], t.ones(2, 3, 2, dtype=x.dtype)),
        t.nn.functional.conv1d(x[None], x[None, :, :2], x[0, :1]),
        t.nn.functional.conv_transpose1d(x[None], x[:, None, :2]),
    ),
    "pooling": lambda t, x: (t.nn.functional.max_pool1d(x, 2), t.nn.functional.avg_pool1d(x, 2), t.nn.functional.adaptive_avg_pool1d(x, 2)),
    "padding": lambda t, x: (t.nn.functional.pad(x, (1, 2)), t.nn.functional.pad(x, (1, 2), "reflect")),
    "losses": lambda t, x: (
        t.nn.functional.cross_entropy(x, t.tensor([0, 1, 2])), t.nn.functional.mse_loss(x, x * 2), t.nn.functional.gelu(x),
    ),
    "attention": lambda t, x: t.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None]),
    "fft": lambda t, x: (t.view_as_real(t.fft.fft(x)), t.fft.irfft(t.fft.rfft(x[0]), n=4)),
    "creation": lambda t, x: (t.zeros_like(x), x.new_ones(2, 2) * x[0, 0], t.arange(4) * x, t.full_like(x, 2.0)),
    "inside": lambda t, x: x.clone().mul_(2).add_(x)[0].contiguous(),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_vmap_is_what_a_loop_gives(name):
    both(lambda t, f, x: f.vmap(lambda sample: SAMPLES[name](t, sample))(x), array(5, 3, 4))


@pytest.mark.parametrize("name", ["pointwise", "sum", "matmul", "convolution", "views", "softmax", "linalg"])
def test_gradients_inside_vmap_are_those_of_samples(name):
    def total(t, value):
        return sum(v.square().sum() for v in value) if isinstance(value, tuple) else value.square().sum()

    both(lambda t, f, x: f.vmap(f.grad(lambda sample: total(t, SAMPLES[name](t, sample))))(x), array(2, 3, 4))


def test_dimensions_of_inputs_and_outputs():
    both(lambda t, f, x, y: f.vmap(lambda a, b: a * b, in_dims=(1, None), out_dims=1)(x, y), array(3, 5), array(3))
    both(lambda t, f, x, y: f.vmap(lambda d: d["a"] + d["b"], in_dims=({"a": 0, "b": -1},))({"a": x, "b": y}), array(4, 2), array(2, 4))
    both(lambda t, f, x, y: f.vmap(lambda a, b: (a @ b, b), out_dims=(0, None), in_dims=(0, None))(x, y), array(4, 2, 3), array(3, 2))
    both(lambda t, f, x: f.vmap(lambda a: a.sin().sum(), chunk_size=2)(x), array(5, 2))
    both(lambda t, f, x, y: f.vmap(f.vmap(lambda a, b: a * b.sum(), in_dims=(0, None)), in_dims=(None, 0))(x, y), array(3, 2), array(4, 2))


def test_what_vmap_refuses():
    x = flambeau.ones(3, 2)
    with pytest.raises(ValueError, match="same size in the mapped dimension"):
        func.vmap(lambda a, b: a + b)(x, flambeau.ones(2, 2))
    with pytest.raises(ValueError, match="in_dims"):
        func.vmap(lambda a: a, in_dims=None)(x)
    with pytest.raises(ValueError, match="must only return Tensors"):
        func.vmap(lambda a: 3)(x)
    with pytest.raises(RuntimeError, match=r"vmap: the values.*\.item\(\)"):
        func.vmap(lambda a: a if a.sum() > 0 else -a)(x)
    with pytest.raises(RuntimeError, match="out-of-place"):
        shared = flambeau.zeros(2)
        func.vmap(lambda a: shared.add_(a))(x)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        func.vmap(lambda a: a + flambeau.rand(2))(x)


def test_randomness():
    x = flambeau.zeros(4, 2)
    same = func.vmap(lambda a: a + flambeau.rand(2), randomness="same")(x)
    different = func.vmap(lambda a: a + flambeau.rand(2), randomness="different")(x)
    assert (same == same[0]).all() and not (different == different[0]).all()
    dropped = func.vmap(lambda a: flambeau.nn.functional.dropout(a + 1), randomness="different")(flambeau.zeros(8, 64))
    assert set(dropped.unique().tolist()) == {0.0, 2.0} and not (dropped == dropped[0]).all()


def test_derivatives():
    cube = lambda t: lambda x: (x**3).sum()  # noqa: E731
    both(lambda t, f, x: f.grad(cube(t))(x), array(4))
    both(lambda t, f, x: f.grad(f.grad(lambda v: v**3))(x[0]), array(4))
    both(lambda t, f, x: f.grad_and_value(cube(t))(x), array(4))
    both(lambda t, f, x, y: f.grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(x, y), array(4), array(4))
    both(lambda t, f, x: f.grad(lambda v: (v.exp().sum(), v * 2), has_aux=True)(x), array(3))
    both(lambda t, f, x, y: f.vjp(t.sin, x)[1](y), array(3), array(3))
    both(lambda t, f, x, y: f.jvp(t.sin, (x,), (y,)), array(3), array(3))
    both(lambda t, f, x, y: f.jvp(lambda v: (v.sum(), v @ v), (x,), (y,)), array(3), array(3))


def test_jacobians():
    function = lambda t: lambda x, y: t.sin(x) * y.sum() + x[0]  # noqa: E731
    for name in ("jacrev", "jacfwd"):
        both(lambda t, f, x, y: getattr(f, name)(function(t))(x, y), array(3), array(2))
        both(lambda t, f, x, y: getattr(f, name)(function(t), argnums=(0, 1))(x, y), array(3), array(2))
        both(lambda t, f, x: getattr(f, name)(lambda v: {"a": v.sum(), "b": t.outer(v, v)})(x), array(3))
        both(lambda t, f, x: f.vmap(getattr(f, name)(lambda v: t.tanh(v) * v.sum()))(x), array(4, 3))
    both(lambda t, f, x: f.hessian(lambda v: (v**3).sum() * v[0])(x), array(3))
    both(lambda t, f, x: f.vmap(f.hessian(lambda v: (v.sin() * v.roll(1, 0)).sum()))(x), array(4, 3))
    both(lambda t, f, x: f.jacrev(f.jacrev(lambda v: (v.sin() * v[0]).sum()))(x), array(3))


def test_gradients_of_shared_parameters_by_sample():
    def run(t, f, weight, x, y):
        loss = lambda params, a, b: (t.tanh(a @ params["weight"]) - b).square().mean()  # noqa: E731
        return f.vmap(f.grad(loss), in_dims=(None, 0, 0))({"weight": weight}, x, y)

    both(run, array(3, 2), array(5, 3), array(5, 2))


def test_ensembles_of_modules():
    models = [flambeau.nn.Sequential(flambeau.nn.Linear(3, 4), flambeau.nn.Tanh(), flambeau.nn.Linear(4, 2)) for _ in range(3)]
    parameters, buffers = func.stack_module_state(models)
    x = flambeau.randn(5, 3)
    found = func.vmap(lambda p, b, v: func.functional_call(models[0], (p, b), (v,)), in_dims=(0, 0, None))(parameters, buffers, x)
    assert flambeau.allclose(found, flambeau.stack([model(x) for model in models]), atol=1e-6)


def test_a_gradient_keeps_its_history_only_where_it_is_asked_for():
    x = flambeau.tensor([1.0, 2.0])
    assert not func.grad(lambda v: (v**3).sum())(x).requires_grad
    x.requires_grad_()
    found = func.grad(lambda v: (v**3).sum())(x)
    found.sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]
    with flambeau.no_grad():
        assert not func.grad(lambda v: (v**3).sum())(x).requires_grad


def test_gradients_for_a_batch_of_cotangents():
    def run(t, f, x, g):
        x.requires_grad_()
        return t.autograd.grad((x**2)[1:], x, g, is_grads_batched=True)

    both(run, array(3), array(4, 2))
