"""A compiled model through its life: modes, seeds, new shapes, optimizer steps, loading, copying, hooks, buffers. Compiled is eager."""

import collections
import copy
import threading

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F


class Net(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        # a bias before a norm has a gradient of rounding errors, which Adam would make steps of
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(4 * 4 * 4, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        x = F.max_pool2d(x, 2)
        return self.head(self.drop(torch.flatten(x, 1)))


def build(dropout=0.0, seed=0):
    torch.manual_seed(seed)
    return Net(dropout)


def batch(n=5, seed=1):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.standard_normal((n, 1, 8, 8)).astype(np.float32))
    return images, torch.from_numpy(rng.integers(0, 3, n))


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def steps(model, call, optimizer, count=4, seed=0):
    losses = []
    for step in range(count):
        x, y = batch(seed=seed + step)
        optimizer.zero_grad()
        loss = F.cross_entropy(call(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_train_and_eval(backend, same):
    model, other = build(0.5), build(0.5)
    compiled = torch.compile(model, backend=backend)
    x, _ = batch()
    for mode in (True, False, True, False):
        compiled.train(mode)
        other.train(mode)
        assert model.training == mode
        torch.manual_seed(3)
        got = compiled(x)
        torch.manual_seed(3)
        same(got, other(x))
        same(state(model), state(other))


def test_dropout_draws_what_eager_draws(backend, same):
    model = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.3), nn.Linear(50, 50), nn.Dropout(0.6))
    compiled = torch.compile(model, backend=backend)
    x = torch.randn(7, 6)

    def sequence(call):
        torch.manual_seed(11)
        found = [call(x) for _ in range(3)]
        return found, torch.rand(4)  # the generator moved on alike

    expected = sequence(model)
    same(sequence(compiled), expected)
    same(sequence(compiled), expected)
    assert not np.array_equal(expected[0][0].detach().numpy(), expected[0][1].detach().numpy())


def test_dropout_gradient(backend, same):
    model = nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.5), nn.Linear(9, 2))
    compiled = torch.compile(model, backend=backend)
    x = torch.randn(7, 6)

    def gradients(call):
        torch.manual_seed(5)
        model.zero_grad()
        call(x).sum().backward()
        return [p.grad.clone() for p in model.parameters()]

    same(gradients(compiled), gradients(model))


def test_random_functions_under_compile(backend, same):
    def f(x):
        noise = torch.rand_like(x) + torch.randn(x.shape) * 2
        pick = torch.bernoulli(torch.full(x.shape, 0.5))
        whole = torch.randint(0, 10, x.shape)
        return x + noise * pick + whole, torch.randperm(5)

    x = torch.zeros(4, 3)
    compiled = torch.compile(f, backend=backend)
    for seed in (0, 1):
        torch.manual_seed(seed)
        expected = [f(x), f(x)]
        torch.manual_seed(seed)
        same([compiled(x), compiled(x)], expected)


def test_new_shapes_compile_again(backend, same):
    model = build()
    model.eval()
    compiled = torch.compile(model, backend=backend)
    for n in (1, 4, 1, 7, 4, 2):
        x, _ = batch(n)
        same(compiled(x), model(x))


def test_more_shapes_than_the_recompile_limit(backend, same):
    model = nn.Linear(3, 2)
    compiled = torch.compile(model, backend=backend)
    for n in range(1, 14):
        x = torch.randn(n, 3)
        same(compiled(x), model(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
        lambda p: torch.optim.Adam(p, lr=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
        lambda p: torch.optim.RMSprop(p, lr=0.01),
        lambda p: torch.optim.Adagrad(p, lr=0.01),
    ],
    ids=["sgd", "adam", "adamw", "rmsprop", "adagrad"],
)
def test_optimizer_steps_between_calls(backend, same, make):
    model, other = build(), build()
    compiled = torch.compile(model, backend=backend)
    got = steps(model, compiled, make(model.parameters()))
    want = steps(other, other, make(other.parameters()))
    np.testing.assert_allclose(got, want, rtol=1e-4)
    same(state(model), state(other), rtol=1e-3, atol=1e-4)


def test_scheduler_and_clipping(backend):
    def run(call_of):
        model = build()
        call = call_of(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.1)
        losses = []
        for step in range(5):
            x, y = batch(seed=step)
            optimizer.zero_grad()
            loss = F.cross_entropy(call(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        return losses

    got = run(lambda model: torch.compile(model, backend=backend))
    np.testing.assert_allclose(got, run(lambda model: model), rtol=1e-4)


def test_load_state_dict_after_compile(backend, same):
    model, other = build(seed=0), build(seed=9)
    compiled = torch.compile(model, backend=backend)
    x, _ = batch()
    model.eval(), other.eval()
    compiled(x)
    model.load_state_dict(other.state_dict())
    same(compiled(x), other(x))
    named = {f"_orig_mod.{name}": value for name, value in build(seed=4).state_dict().items()}
    assert list(compiled.state_dict()) == list(named)
    compiled.load_state_dict(named)
    same(compiled(x), build(seed=4).eval()(x))


def test_state_dict_of_the_compiled_model(backend, tmp_path, same):
    model = build()
    compiled = torch.compile(model, backend=backend)
    compiled(batch()[0])
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = build(seed=5)
    other.load_state_dict(torch.load(tmp_path / "model.pt"))
    same(state(other), state(model))


def test_new_parameter_object(backend, same):
    model = nn.Linear(3, 2)
    compiled = torch.compile(model, backend=backend)
    x = torch.randn(4, 3)
    compiled(x)
    model.weight = nn.Parameter(torch.randn(2, 3))
    same(compiled(x), model(x))
    model.weight.data = torch.randn(2, 3)
    same(compiled(x), model(x))
    with torch.no_grad():
        model.weight.zero_()
    same(compiled(x), model(x))
    model.bias = None
    same(compiled(x), model(x))


def test_freezing_a_layer(backend, same):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    compiled = torch.compile(model, backend=backend)
    x = torch.randn(5, 3)
    for frozen in (False, True, False):
        for p in model[0].parameters():
            p.requires_grad_(not frozen)
        found = []
        for call in (compiled, model):
            model.zero_grad()
            call(x).sum().backward()
            found.append([p.grad.clone() if p.grad is not None else None for p in model.parameters()])
        assert (found[0][0] is None) == frozen
        same(found[0], found[1])


def test_deepcopy(backend, same):
    model = build().eval()
    compiled = torch.compile(model, backend=backend)
    x, _ = batch()
    before = compiled(x).detach().clone()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(1.0)
    twin_compiled = torch.compile(twin, backend=backend)
    same(twin_compiled(x), twin(x))
    same(compiled(x).detach(), before)
    whole = copy.deepcopy(compiled)
    with torch.no_grad():
        for p in whole.parameters():
            p.mul_(0.0)
    same(compiled(x).detach(), before)
    assert whole(x).abs().sum().item() == 0


def test_many_instances_of_one_class(backend, same):
    x = torch.randn(2, 3)
    for seed in range(12):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        same(torch.compile(model, backend=backend)(x), model(x))


def test_hooks(backend, same):
    def run(wrap):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
        seen = []
        model[0].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
        model[1].register_forward_hook(lambda m, args, out: seen.append(tuple(out.shape)))
        model[1][1].register_forward_hook(lambda m, args, out: out + 1)
        model.register_forward_hook(lambda m, args, out: seen.append("end"))
        call = wrap(model)
        x = torch.ones(2, 3).requires_grad_()
        out = call(x)
        out.sum().backward()
        second = call(x)
        return out, second, x.grad, seen

    same(run(lambda model: torch.compile(model, backend=backend)), run(lambda model: model))


def test_hooks_added_and_removed_after_compile(backend, same):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    compiled = torch.compile(model, backend=backend)
    x = torch.randn(2, 3)
    same(compiled(x), model(x))
    handle = model[0].register_forward_hook(lambda m, args, out: out * 3)
    same(compiled(x), model(x))
    handle.remove()
    same(compiled(x), model(x))


def test_tensor_and_backward_hooks(backend, same):
    def run(wrap):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        seen = []
        model[0].weight.register_hook(lambda grad: grad * 10)
        model[2].bias.register_hook(lambda grad: seen.append(float(grad.sum())))
        call = wrap(model)
        call(torch.ones(2, 3)).sum().backward()
        return [p.grad for p in model.parameters()], seen

    same(run(lambda model: torch.compile(model, backend=backend)), run(lambda model: model))


def test_batch_norm_statistics(backend, same):
    model, other = build(), build()
    compiled = torch.compile(model, backend=backend)
    for step in range(4):
        x, _ = batch(seed=step)
        same(compiled(x), other(x), rtol=1e-4, atol=1e-5)
    same(state(model), state(other))
    assert model.norm.num_batches_tracked.item() == 4
    model.eval(), other.eval()
    same(compiled(x), other(x))


def test_own_buffers_are_mutated(backend, same):
    class Average(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))
            self.register_buffer("window", torch.zeros(4, 3))

        def forward(self, x):
            self.count += 1
            self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
            self.window[1:] = self.window[:-1].clone()
            self.window[0] = x[0]
            self.last = x.detach()
            return x - self.mean

    model, other = Average(), Average()
    compiled = torch.compile(model, backend=backend)
    for seed in range(5):
        torch.manual_seed(seed)
        x = torch.randn(2, 3)
        same(compiled(x), other(x))
        same(state(model), state(other))
        same(model.last, other.last)


def test_inputs_are_mutated(backend, same):
    def f(x, y, out):
        x.add_(1)
        view = y[1:]
        view.mul_(2)
        out.copy_(x.sum() + y.sum())
        return x * y, view

    def run(call):
        x, y, out = torch.arange(3.0), torch.arange(3.0), torch.zeros(2)
        result = call(x, y, out)
        result[1].add_(100)  # the view that came out is a view of y
        return result, x, y, out

    compiled = torch.compile(f, backend=backend)
    for _ in range(2):
        same(run(compiled), run(f))


def test_input_given_twice(backend, same):
    def f(x, y):
        x.add_(1)
        return x * y

    def run(call):
        a, b = torch.ones(3), torch.ones(3)
        return call(a, b), call(a, a), call(a[:2], a[1:]), call(a[:1], a[1:]), a

    compiled = torch.compile(f, backend=backend)
    with pytest.warns(UserWarning, match="shares memory"):
        same(run(compiled), run(f))


def test_output_is_the_input(backend):
    def f(x):
        y = x * 2
        return x, y, y, x.view(-1)

    x = torch.ones(2, 2)
    compiled = torch.compile(f, backend=backend)
    for _ in range(2):
        a, b, c, d = compiled(x)
        assert a is x and b is c
        d.add_(1)
        assert x[0, 0].item() == 2 or x.sum().item() > 0
        assert d.data_ptr() == x.data_ptr()


def test_results_are_not_overwritten_by_the_next_call(backend, same):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))
    compiled = torch.compile(model, backend=backend)
    xs = [torch.randn(2, 3) for _ in range(4)]
    results = [compiled(x) for x in xs]
    for x, result in zip(xs, results):
        same(result, model(x))


def test_backward_after_the_next_forward(backend, same):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4))
    compiled = torch.compile(model, backend=backend)
    xs = [torch.randn(2, 3) for _ in range(3)]

    def gradients(call):
        model.zero_grad()
        outputs = [call(x).square().sum() for x in xs]
        for output in reversed(outputs):
            output.backward()
        return [p.grad.clone() for p in model.parameters()]

    same(gradients(compiled), gradients(model))


def test_gradients_accumulate(backend, same):
    model = nn.Linear(3, 2)
    compiled = torch.compile(model, backend=backend)
    x = torch.randn(4, 3)

    def gradients(call):
        model.zero_grad()
        for _ in range(3):
            call(x).sum().backward()
        return [p.grad.clone() for p in model.parameters()]

    same(gradients(compiled), gradients(model))


def test_only_some_outputs_are_used(backend, same):
    def f(x, w):
        h = x @ w
        return h.sin(), h.cos(), (h > 0)

    def run(call):
        torch.manual_seed(0)
        x, w = torch.randn(3, 3), torch.randn(3, 3).requires_grad_()
        a, b, c = call(x, w)
        assert not c.requires_grad
        b.sum().backward()
        return a, w.grad

    same(run(torch.compile(f, backend=backend)), run(f))


def test_gradients_by_autograd_grad_and_retain(backend, same):
    def f(x):
        return (x.sin() * x).sum()

    def run(call):
        x = torch.arange(4.0).requires_grad_()
        y = call(x)
        (first,) = torch.autograd.grad(y, x, retain_graph=True)
        (second,) = torch.autograd.grad(y, x)
        return first, second

    same(run(torch.compile(f, backend=backend)), run(f))


def test_no_grad_inference_mode_and_detach(backend, same):
    model = nn.Linear(3, 2)
    compiled = torch.compile(model, backend=backend)
    x = torch.randn(4, 3)
    with torch.no_grad():
        out = compiled(x)
        assert not out.requires_grad
    assert compiled(x).requires_grad
    with torch.inference_mode():
        assert not compiled(x).requires_grad
    same(out, model(x).detach())


def test_weights_shared_between_layers(backend, same):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(7, 4)
            self.out = nn.Linear(4, 7, bias=False)
            self.out.weight = self.emb.weight

        def forward(self, i):
            return self.out(self.emb(i))

    model = Tied()
    compiled = torch.compile(model, backend=backend, fullgraph=True)

    def gradients(call):
        model.zero_grad()
        out = call(torch.tensor([[1, 2], [3, 1]]))
        out.square().sum().backward()
        return out, model.emb.weight.grad.clone()

    same(gradients(compiled), gradients(model))


def test_threads_share_a_compiled_model(backend, same):
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    compiled = torch.compile(model, backend=backend)
    xs = [torch.randn(n % 3 + 1, 3) for n in range(6)]
    found, errors = {}, []

    def work(n):
        try:
            with torch.no_grad():
                for _ in range(5):
                    found[n] = compiled(xs[n])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for n, result in found.items():
        same(result, model(xs[n]).detach())


def test_keyword_arguments_defaults_and_containers(backend, same):
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
            self.scales = nn.ParameterList([nn.Parameter(torch.ones(3) * i) for i in range(2)])

        def forward(self, x, *more, scale=1.0, mask=None, **options):
            for name, layer in self.layers.items():
                x = layer(x) * options.get(name, 1.0)
            for extra in more:
                x = x + extra
            if mask is not None:
                x = x.masked_fill(mask, 0.0)
            return {"x": x * scale, "s": [s * x for s in self.scales]}

    model = Many()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    x = torch.randn(2, 3)
    same(compiled(x), model(x))
    same(compiled(x, x, x, scale=2.0), model(x, x, x, scale=2.0))
    same(compiled(x, mask=x > 0, a=3.0), model(x, mask=x > 0, a=3.0))


def test_decorator_and_methods(backend, same):
    class Holder:
        def __init__(self):
            self.w = torch.randn(3)

        @torch.compile(backend=backend)
        def run(self, x):
            return x * self.w

    holder, x = Holder(), torch.randn(3)
    same(holder.run(x), x * holder.w)
    holder.w = torch.randn(3)
    same(holder.run(x), x * holder.w)


def test_numbers_as_inputs(backend, same):
    def f(x, n, s, flag):
        return x * n + s if flag else x - n

    x = torch.arange(3.0)
    compiled = torch.compile(f, backend=backend)
    for n, s, flag in ((1, 0.5, True), (2, 0.5, True), (2, 1.5, False), (True, 2, True)):
        same(compiled(x, n, s, flag), f(x, n, s, flag))


def test_deque_with_a_maximum_length(backend, same):
    def f(x):
        recent = collections.deque([1, 2], maxlen=2)
        recent.append(x.shape[0])
        print("between")
        recent.appendleft(9)
        recent.extend([7, 8, 9])
        other = recent.copy()
        other.append(5)
        return x * 2, list(recent), list(other), recent.maxlen

    compiled = torch.compile(f, backend=backend)
    for _ in range(2):
        same(compiled(torch.ones(3)), f(torch.ones(3)))


def test_history_kept_in_a_deque(backend, same):
    class Recent(nn.Module):
        def __init__(self):
            super().__init__()
            self.history = collections.deque(maxlen=2)

        def forward(self, x):
            self.history.append(x * 2)
            return sum(self.history), len(self.history)

    model, other = Recent(), Recent()
    compiled = torch.compile(model, backend=backend)
    for n in range(4):
        x = torch.full((2,), float(n))
        same(compiled(x), other(x))
    assert model.history.maxlen == 2
