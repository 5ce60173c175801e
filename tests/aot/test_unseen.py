"""Writes that autograd does not see (through `detach()`, under `no_grad`) change the numbers and leave
the history, compiled as in eager."""

import pytest

import flambeau as torch


def through_detach(x):
    y = x.detach()
    y.mul_(2)
    return y + x


def without_grad(x):
    y = x * 1
    with torch.no_grad():
        y.mul_(3)
    return y * y


def to_an_input(x):
    with torch.no_grad():
        x.mul_(3)
    return x * x


def through_a_part(x):
    y = x * 1
    y.detach()[0].add_(3)
    return y * y


def to_a_part_of_an_input(x):
    with torch.no_grad():
        x[0].zero_()
    return x * x


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize(
    "program", [through_detach, without_grad, to_an_input, through_a_part, to_a_part_of_an_input]
)
def test_history_stays(program, backend):
    results = []
    for run in (program, torch.compile(program, backend=backend, fullgraph=True)):
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        out = run(x)
        out.sum().backward()
        results.append((out.tolist(), x.tolist(), x.grad.tolist(), x.is_leaf, x._version))
    assert results[0] == results[1]
