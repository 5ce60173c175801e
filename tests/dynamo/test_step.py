"""Training steps as one graph: `backward()` in captured code, and what keeps it out."""

import numpy as np
import pytest

import flambeau as torch
from dynamo.frame import statistics
from flambeau import nn

BACKENDS = ["eager", "aot_eager", "inductor"]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def data():
    random = np.random.default_rng(0)
    x = torch.tensor(random.standard_normal((5, 6), dtype=np.float32))
    return x, torch.tensor([0, 2, 1, 1, 0])


def pair(make):
    """The same thing twice, and everything compiled forgotten."""
    torch.compiler.reset()
    return make(), make()


def same(mine, theirs):
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert np.allclose(p.detach().numpy(), q.detach().numpy(), 1e-5, 1e-6)
        assert (p.grad is None) == (q.grad is None)
        assert p.grad is None or np.allclose(p.grad.numpy(), q.grad.numpy(), 1e-4, 1e-6)


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_whole_step(backend, optimizer):
    mine, theirs = pair(network)

    def stepper(model):
        updates = OPTIMIZERS[optimizer](model.parameters())

        def step(x, y):
            updates.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            updates.step()
            return loss

        return step

    eager, compiled = stepper(theirs), stepper(mine)
    compiled = torch.compile(compiled, backend=backend, fullgraph=True)
    x, y = data()
    held = []
    for _ in range(4):
        found, wanted = compiled(x, y), eager(x, y)
        assert np.allclose(found.item(), wanted.item(), 1e-5)
        assert found.requires_grad and not found.is_leaf
        same(mine, theirs)
        held.append((mine[0].weight.grad, mine[0].weight.grad.numpy().copy()))
    assert all((grad.numpy() == then).all() for grad, then in held)  # what is held stays as it is
    assert statistics()["captured"] <= (1 if optimizer == "SGD" else 3)
    with pytest.raises(RuntimeError, match="second time"):
        found.backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_add_up(backend):
    mine, theirs = pair(network)
    x, y = data()

    def learn(model):
        def run(x, y):
            nn.functional.cross_entropy(model(x), y).backward()

        return run

    compiled, eager = torch.compile(learn(mine), backend=backend, fullgraph=True), learn(theirs)
    for _ in range(3):
        before = mine[0].weight.grad
        compiled(x, y)
        eager(x, y)
        same(mine, theirs)
        assert before is None or mine[0].weight.grad is before
    mine.zero_grad(set_to_none=False)
    theirs.zero_grad(set_to_none=False)
    compiled(x, y)
    eager(x, y)
    same(mine, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_share_no_memory(backend):
    torch.compiler.reset()
    a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    x = torch.tensor([1.0, 2.0, 3.0])

    @torch.compile(backend=backend, fullgraph=True)
    def run(x):
        ((a + b) * x).sum().backward()

    run(x)
    a.grad.mul_(10)
    assert b.grad.tolist() == x.tolist() == [1, 2, 3] and a.grad.tolist() == [10, 20, 30]


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_losses(backend):
    def make():
        return nn.ModuleList([network(), network(1)])

    mine, theirs = pair(make)
    x, y = data()

    def learner(models):
        first, second = models

        def run(x, y):
            models.zero_grad()
            made = first(x)
            nn.functional.cross_entropy(made.detach() * second(x), y).backward()
            nn.functional.cross_entropy(first(x) + made, y).backward()
            return made.detach()

        return run

    compiled, eager = torch.compile(learner(mine), backend=backend), learner(theirs)
    for _ in range(2):
        assert np.allclose(compiled(x, y).numpy(), eager(x, y).numpy(), 1e-5, 1e-6)
        same(mine, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_steps_in_one_function(backend):
    mine, theirs = pair(network)
    x, y = data()

    def learner(model):
        updates = torch.optim.SGD(model.parameters(), lr=0.1)

        def run(x, y):
            for _ in range(2):
                updates.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                updates.step()
            return loss

        return run

    compiled = torch.compile(learner(mine), backend=backend, fullgraph=True)
    eager = learner(theirs)
    for _ in range(3):
        assert np.allclose(compiled(x, y).item(), eager(x, y).item(), 1e-5)
        same(mine, theirs)


def test_statistics_and_random_numbers():
    def make():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))

    mine, theirs = pair(make)
    x, y = data()

    def learner(model):
        def run(x, y):
            model.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        return run

    compiled, eager = torch.compile(learner(mine), fullgraph=True), learner(theirs)
    for seed in range(3):
        found = []
        for run in (compiled, eager):
            torch.manual_seed(seed)
            found.append(run(x, y).item())
        assert np.allclose(*found, 1e-5)
        same(mine, theirs)
        assert np.allclose(mine[1].running_mean.numpy(), theirs[1].running_mean.numpy(), 1e-5)


def test_clipping_between_backward_and_step():
    mine, theirs = pair(network)
    x, y = data()

    def learner(model):
        updates = torch.optim.SGD(model.parameters(), lr=0.1)

        def run(x, y):
            updates.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            updates.step()
            return norm

        return run

    compiled, eager = torch.compile(learner(mine)), learner(theirs)
    for _ in range(3):
        assert np.allclose(compiled(x, y).item(), eager(x, y).item(), 1e-4)
        same(mine, theirs)


def test_hooks_are_called():
    torch.compiler.reset()
    weight, x = torch.ones(3, requires_grad=True), torch.tensor([1.0, 2.0, 3.0])

    @torch.compile
    def run(x):
        weight.grad = None
        (weight * x).sum().backward()

    run(x)
    assert weight.grad.tolist() == [1, 2, 3]
    handle = weight.register_hook(lambda grad: grad * 2)
    run(x)
    assert weight.grad.tolist() == [2, 4, 6]
    handle.remove()
    run(x)
    assert weight.grad.tolist() == [1, 2, 3]


def options(x, weight):
    loss = (weight * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()


def seeded(x, weight):
    (weight * x).backward(torch.tensor([1.0, 0.0, 2.0]))


def again(x, weight):
    loss = (weight * x).sum()
    other = loss * 2
    loss.backward(retain_graph=True)
    return other


def inputs(x, weight):
    ((weight * x).sum() + x.sum()).backward()


@pytest.mark.parametrize("program", [options, seeded, again, inputs])
def test_what_is_not_captured_is_right(program):
    torch.compiler.reset()
    compiled = torch.compile(program)
    results = []
    for run in (compiled, compiled, program):
        weight = torch.ones(3, requires_grad=True)
        x = torch.tensor([1.0, 2.0, 3.0], requires_grad=program is inputs)
        out = run(x, weight)
        if out is not None:
            out.backward()
        results.append((weight.grad.tolist(), x.grad is not None and x.grad.tolist()))
    assert results[0] == results[1] == results[2]


def test_history_that_is_still_wanted_stays():
    torch.compiler.reset()
    weight, x = torch.ones(3, requires_grad=True), torch.tensor([1.0, 2.0, 3.0])

    @torch.compile
    def run(x):
        weight.grad = None
        (weight * x).sum().backward()
        return (weight * weight * x).sum()

    for _ in range(2):
        other = run(x)
        other.backward()
        assert weight.grad.tolist() == [3, 6, 9]
    assert statistics()["captured"] == 2 and not statistics()["skipped"]  # before and after the pass


@pytest.mark.parametrize("backend", BACKENDS)
def test_adversaries(backend):
    """Two optimizers in turn, whose second pass goes through what the first has written."""

    def make():
        return nn.ModuleList([network(), nn.Linear(3, 1)])

    mine, theirs = pair(make)
    x, y = data()

    def learner(models):
        maker, critic = models
        first = torch.optim.SGD(critic.parameters(), lr=0.1)
        second = torch.optim.SGD(maker.parameters(), lr=0.1)

        def run(x):
            made = maker(x)
            first.zero_grad()
            loss = critic(made.detach()).sigmoid().mean()
            loss.backward()
            first.step()
            second.zero_grad()
            other = critic(made).sigmoid().log().mean()
            other.backward()
            second.step()
            return loss.detach() + other.detach()

        return run

    compiled = torch.compile(learner(mine), backend=backend, fullgraph=True)
    eager = learner(theirs)
    for _ in range(3):
        assert np.allclose(compiled(x).item(), eager(x).item(), 1e-4)
        same(mine, theirs)
    assert statistics()["captured"] == 1


@pytest.mark.parametrize("loss", [lambda w, x: w * x, lambda w, x: (w.detach() * x).sum()])
def test_errors_are_eager_ones(loss):
    torch.compiler.reset()
    weight, x = torch.ones(3, requires_grad=True), torch.tensor([1.0, 2.0, 3.0])

    def run(x):
        loss(weight, x).backward()

    messages = []
    for call in (run, torch.compile(run)):
        with pytest.raises(RuntimeError) as error:
            call(x)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
