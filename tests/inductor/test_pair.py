"""Forward and backward half of a step share memory: what is saved is overwritten, but only where nobody wants it."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.nn import functional as F
from inductor.compiled import Compiled
from inductor.loops import Buffer
from inductor.memory import FOREVER
from inductor.pair import Saved, assign
from inductor.program import KEPT, Program


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 256), torch.nn.LayerNorm(256),
        torch.nn.ReLU(), torch.nn.Linear(256, 300),
    )


def gradients(net, x, loss):
    net.zero_grad()
    x.grad = None
    loss()
    return [np.array(p.grad.numpy()) for p in (*net.parameters(), x)]


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_retained_graph_gives_the_same_gradients(again):
    net, x = network(), torch.randn(64, 64, requires_grad=True)
    compiled = torch.compile(net)

    def loss(model):
        y = model(x).square().mean()
        for turn in range(again):
            y.backward(retain_graph=turn + 1 < again)

    expected = gradients(net, x, lambda: loss(net))
    for _ in range(3):
        for a, b in zip(expected, gradients(net, x, lambda: loss(compiled)), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-7)


def test_two_forwards_before_their_backwards():
    net = network()
    first, second = (torch.randn(64, 64, requires_grad=True) for _ in range(2))
    compiled = torch.compile(net)

    def loss(model, order):
        losses = [model(first).square().mean(), model(second).mean()]
        for n in order:
            losses[n].backward()

    for order in ((0, 1), (1, 0)):
        expected = gradients(net, first, lambda order=order: loss(net, order))
        for a, b in zip(expected, gradients(net, first, lambda order=order: loss(compiled, order)), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-7)


def test_results_that_are_saved_stay_the_callers():
    w = torch.randn(128, 128, requires_grad=True)
    x = torch.randn(128, 128)

    def function(x, w):
        y = F.softmax(x @ w, -1)
        return y, (y @ w).tanh()

    compiled = torch.compile(function)
    y, z = compiled(x, w)
    before = y.detach().clone(), z.detach().clone()
    (y * z).sum().backward()
    assert torch.equal(y, before[0]) and torch.equal(z, before[1])
    found, w.grad = w.grad, None
    y, z = function(x, w)
    (y * z).sum().backward()
    torch.testing.assert_close(found, w.grad, rtol=1e-4, atol=1e-5)


def test_saved_values_wait_in_gradients_that_come_late():
    sizes = [(40_000, 5), (30_000, 1), (20_000, 7)]
    buffers = [Buffer(f"b{k}", "uint8", (n,), (1,)) for k, (n, _) in enumerate(sizes)]
    values = [Saved(k, b, b, last) for (k, b), (_, last) in zip(enumerate(buffers), sizes, strict=True)]
    early, late = (Buffer(name, "uint8", (64_000,), (1,), "output") for name in ("early", "late"))
    blocks = assign(values, [(2, early), (6, late)])
    where = {saved.number: (shared.heir, offset) for shared in blocks for saved, offset in shared.values}
    assert where == {0: (late, 0), 1: (early, 0), 2: (None, 0)}


def test_halves_take_little_more_than_what_they_save_and_give(monkeypatch):
    torch.compiler.reset()
    halves = []
    link = Compiled.link
    monkeypatch.setattr(Compiled, "link", lambda self: (halves.append(self), link(self))[1])
    net, x = network(), torch.randn(64, 64, requires_grad=True)
    torch.compile(net)(x).sum().backward()
    forward, backward = halves[-2:]
    assert [b.adopted for b in forward.compilation.blocks] == [None] * len(forward.compilation.blocks)
    adopted = [b for b in backward.compilation.blocks if b.adopted]
    inherited = [b for b in adopted if any(last == FOREVER for _, last, _, _ in b.taken)]
    assert adopted and inherited
    assert len(adopted) <= len(inherited) + 1


def test_a_program_holds_little_between_calls():
    small, big = (Program([], 0, 0, workspace=size) for size in (KEPT // 2, KEPT + 1))
    assert 0 < small.scratch_bytes() <= KEPT + 128
    assert big.scratch_bytes() == 0 and big.needs > KEPT
