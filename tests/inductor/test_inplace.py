"""What a call writes to its inputs is computed in their memory, where nothing else needs the old values."""

import numpy as np
import pytest

import flambeau as torch
from inductor.compiled import Compiled


def scale(x, y):
    x.mul_(2).add_(y)


def turn(x, y):
    x.copy_(x.flip(0) + y)


def early(x, y):
    total = (x * y).sum()
    x.add_(y)
    return total


def late(x, y):
    old = x.clone()
    x.add_(y)
    return old + 1


def sums(x, y):
    x.copy_(x.sum(0) + y)


def product(x, y):
    x.copy_(x @ y)


def both(x, y):
    x.add_(y)
    y.add_(x)


def seen(x, y):
    old = x.clone().t()
    x.add_(y)
    return old


PROGRAMS = {
    "scale": (scale, {1}), "turn": (turn, {0}), "early": (early, {0, 1}), "late": (late, {0, 1}),
    "sums": (sums, {0, 1}), "product": (product, {0}), "both": (both, {0, 1, 2}), "seen": (seen, {0, 1}),
}  # fmt: skip
"""Each with how many results may be written in place."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_are_those_of_eager(name, monkeypatch):
    function, allowed = PROGRAMS[name]
    made = []
    link = Compiled.link
    monkeypatch.setattr(Compiled, "link", lambda self: (made.append(self), link(self))[1])
    torch.compiler.reset()
    random = np.random.default_rng(0)
    given = [random.standard_normal((33, 33), dtype=np.float32) for _ in range(2)]
    compiled = torch.compile(function, fullgraph=True)
    mine = [torch.tensor(a) for a in given]
    theirs = [torch.tensor(a) for a in given]
    arrays = [t._array for t in mine]
    for _ in range(2):
        versions = [t._version for t in mine]
        found, wanted = compiled(*mine), function(*theirs)
        assert mine[0]._version > versions[0]
        for a, b in zip((*mine, found), (*theirs, wanted), strict=True):
            assert b is None or np.allclose(a.numpy(), b.numpy(), 1e-5, 1e-4)
    assert all(t._array is a for t, a in zip(mine, arrays, strict=True))
    assert len(made[-1].compilation.inplace) in allowed


def test_other_strides_are_written_back():
    torch.compiler.reset()
    compiled = torch.compile(scale, fullgraph=True)
    compiled(torch.ones(4, 6), torch.ones(4, 6))
    x = torch.ones(6, 4).t()
    compiled(x, torch.ones(4, 6))
    assert x.tolist() == [[3.0] * 6] * 4


def test_optimizer_writes_in_place(monkeypatch):
    made = []
    link = Compiled.link
    monkeypatch.setattr(Compiled, "link", lambda self: (made.append(self), link(self))[1])
    torch.compiler.reset()
    weights = [torch.nn.Parameter(torch.ones(40, 50)) for _ in range(3)]
    for w in weights:
        w.grad = torch.ones(40, 50)
    optimizer = torch.optim.SGD(weights, lr=0.5)
    step = torch.compile(optimizer.step)
    step()
    step()
    assert [w[0, 0].item() for w in weights] == [0.0] * 3
    assert len(made[-1].compilation.inplace) == 3
