"""What an inference computes of weights alone is kept, follows the weights, and is nobody else's. Judged by eager, or by NumPy."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

import flambeau
from inductor import folding, weights
from inductor.compiled import Compiled

nn, ops = flambeau.nn, flambeau
RANDOM = np.random.default_rng(5)


def tensor(*shape):
    return flambeau.tensor(RANDOM.standard_normal(shape).astype("float32"))


@pytest.fixture
def compiled(monkeypatch):
    """All compiled graphs of the test, and how often what is folded was computed."""
    found = []
    original = Compiled.__init__

    def made(self, c):
        original(self, c)
        found.append(self)

    monkeypatch.setattr(Compiled, "__init__", made)
    flambeau.compiler.reset()
    return found


@pytest.fixture
def computed(monkeypatch):
    """What is folded, once for every time that it was computed."""
    found = []
    original = folding.Folded.__init__

    def made(self, module, numbers, roots):
        original(self, module, numbers, roots)
        run = module.forward

        def counted(*tensors):
            found.append(roots)
            return run(*tensors)

        self.module = SimpleNamespace(forward=counted)

    monkeypatch.setattr(folding.Folded, "__init__", made)
    return found


class Standardized(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return flambeau.nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Attending(nn.Module):
    """Positions embedded, a buffer, a weight that is a product of weights."""

    def __init__(self):
        super().__init__()
        self.positions, self.outer, self.inner = nn.Embedding(9, 8), nn.Parameter(tensor(8, 3)), nn.Parameter(tensor(3, 8))
        self.register_buffer("shift", tensor(8))

    def forward(self, x):
        x = x + self.positions(flambeau.arange(x.shape[1])) + self.shift.exp()
        return x @ (self.outer @ self.inner).t()


def normalized():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))
    with flambeau.no_grad():
        for norm in (model[1], model[4]):
            norm.running_mean.copy_(tensor(norm.num_features))
            norm.running_var.copy_(tensor(norm.num_features).square() + 0.5)
            norm.weight.copy_(tensor(norm.num_features))
    return model.eval(), tensor(2, 3, 9, 11)


def standardized():
    layers = [Standardized(4, 16, 3, padding=1), Standardized(16, 32, 3, padding=1), Standardized(32, 8, 3)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]), tensor(2, 4, 8, 8)


MODELS = {
    "batch norm": normalized,
    "standardized": standardized,
    "attending": lambda: (Attending(), tensor(2, 5, 8)),
}


def check(run, model, x):
    with flambeau.no_grad():
        want = model(x).numpy()
        np.testing.assert_allclose(run(x).numpy(), want, rtol=0, atol=1e-4 * np.abs(want).max())


def scaled(model):
    with flambeau.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.mul_(1.5)


def loaded(model):
    model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})


def replaced(model):
    for parameter in model.parameters():
        parameter.data = parameter.data * 2


def through_numpy(model):
    for parameter in model.parameters():
        parameter.detach().numpy()[...] += 0.25


def swapped(model):
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.detach() * 3))


@pytest.mark.parametrize("change", [scaled, loaded, replaced, through_numpy, swapped])
@pytest.mark.parametrize("name", MODELS)
def test_it_is_computed_once_and_follows_the_weights(compiled, computed, name, change):
    model, x = MODELS[name]()
    run = flambeau.compile(model)
    for _ in range(3):
        check(run, model, x)
    assert len(computed) == 1 and compiled[-1].report.folded
    change(model)
    for _ in range(2):
        check(run, model, x)
    assert len(computed) == 2


def test_a_batch_norm_leaves_nothing_but_the_convolutions(compiled):
    model, x = normalized()
    check(flambeau.compile(model), model, x)
    (run,) = compiled
    assert run.report.kernels == 0 and run.report.folded == 4 * 2 * (16 + 8)


def test_a_weight_that_is_computed_is_packed_once(compiled):
    model, x = MODELS["standardized"]()
    run = flambeau.compile(model)
    check(run, model, x)
    assert compiled[-1].report.kept >= 4 * 16 * 32 * 9
    packed = weights.kept_bytes()
    scaled(model)
    check(run, model, x)
    gc.collect()
    assert weights.kept_bytes() == packed


def test_what_numpy_may_write_to_is_computed_in_every_call(compiled, computed):
    model, x = MODELS["attending"]()
    seen = model.outer.detach().numpy()
    run = flambeau.compile(model)
    for number in range(3):
        seen[0] = number
        check(run, model, x)
    assert len(computed) == 3


def test_what_the_caller_gets_is_new_in_every_call(compiled):
    weight = nn.Parameter(tensor(5, 4))
    with flambeau.no_grad():
        run = flambeau.compile(lambda x: (weight.exp(), weight.exp().t(), x * weight.exp()))
        x, want = tensor(5, 4), np.exp(weight.detach().numpy())
        for _ in range(2):
            first, second, third = run(x)
            np.testing.assert_allclose(second.numpy(), want.T, rtol=1e-6)
            np.testing.assert_allclose(third.numpy(), x.numpy() * want, rtol=1e-6)
            first.zero_()
            second.zero_()


@pytest.mark.parametrize(("columns", "kept"), [(70, True), (700, False)])
def test_what_is_much_larger_than_its_weights_is_not_kept(compiled, columns, kept):
    scale, codes = nn.Parameter(tensor(1000, 1)), flambeau.randint(-128, 127, (1000, columns), dtype=flambeau.int8)
    module = nn.Module()
    module.scale = scale
    module.register_buffer("codes", codes)
    module.forward = lambda x: x @ (module.codes.float() * module.scale)
    x = tensor(3, 1000)
    with flambeau.no_grad():
        found = flambeau.compile(module.forward)(x)
    assert bool(compiled[-1].report.folded) == kept
    np.testing.assert_allclose(found.numpy(), module.forward(x).detach().numpy(), rtol=0, atol=0.1)


def test_a_graph_that_learns_folds_nothing(compiled):
    model, x = MODELS["standardized"]()
    flambeau.compile(model)(x).sum().backward()
    assert compiled and not any(run.report.folded for run in compiled)


def test_a_buffer_that_the_graph_writes_is_read_in_every_call(compiled):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", flambeau.zeros(4))

        def forward(self, x):
            result = x + (self.count * 2).exp()
            self.count.add_(1)
            return result

    model, other, x = Counting(), Counting(), tensor(4)
    run = flambeau.compile(model)
    for _ in range(3):
        with flambeau.no_grad():
            np.testing.assert_allclose(run(x).numpy(), other(x).numpy(), rtol=1e-6)
    assert compiled and not any(one.report.folded for one in compiled)


def test_an_input_is_no_weight_though_it_wants_a_gradient(compiled):
    model, x = MODELS["attending"]()
    run = flambeau.compile(model)
    check(run, model, x.requires_grad_())
    assert 0 < compiled[-1].report.folded < 4 * 8 * 20


def test_a_network_over_a_buffer_is_compiled(compiled, computed):
    """A model that finds its input in a buffer, new in every call."""

    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)
            self.register_buffer("input", tensor(4, 8))

        def forward(self):
            return self.second(self.first(self.input.exp()).relu())

    model = Reading()
    run = flambeau.compile(model)
    for _ in range(3):
        model.input.copy_(tensor(4, 8))
        with flambeau.no_grad():
            np.testing.assert_allclose(run().numpy(), model().numpy(), rtol=1e-5, atol=1e-5)
    assert compiled[-1].report.templates == 2
    assert [[root.target.name for root in roots] for roots in computed] == [["exp"]] * 3


def test_it_dies_with_the_model(compiled):
    model, x = MODELS["standardized"]()
    gc.collect()
    before = weights.kept_bytes()
    run = flambeau.compile(model)
    check(run, model, x)
    assert weights.kept_bytes() > before
    compiled.clear()
    del model, run
    gc.collect()
    assert weights.kept_bytes() == before
