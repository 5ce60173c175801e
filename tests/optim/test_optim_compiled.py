"""Compiled steps of optimizers: one graph without breaks, one native call, the numbers of eager steps; a rate that a scheduler changes
is read at every call.
"""

import numpy as np
import pytest

import flambeau as torch
from aot.compile import compile as aot_compile
from dynamo import frame as frames
from flambeau import nn, optim
from inductor.compile import compile_graph, keep
from tests.optim.test_optim_steps import CASES

IN_GRAPH = [case for case in CASES if case[0] != "Adafactor"]  # its step depends on values: norms


@pytest.fixture(autouse=True)
def fresh():
    frames.reset()
    yield
    frames.reset()


def train(name, how, wrap, steps, decay=1.0):
    """Parameters after some steps, the rate multiplied by `decay` after each."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = getattr(optim, name)(model.parameters(), **how)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, decay)
    step = wrap(optimizer.step)
    x = torch.linspace(-1, 1, 20).reshape(5, 4)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        step()
        scheduler.step()
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def captured():
    return [graph for log in frames.logs() for graph in log.captured]


def compiled(step):
    return torch.compile(step, fullgraph=True)


@pytest.mark.parametrize("name,how", IN_GRAPH)
def test_a_step_is_one_graph(name, how):
    expected = train(name, how, lambda step: step, 8, 0.9)
    found = train(name, how, compiled, 8, 0.9)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    # The first step makes the state; the rate is a constant at first, then it is read.
    assert len(captured()) <= 4
    assert not any(log.exhausted for log in frames.logs())


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "ASGD", "Adadelta", "Rprop"])
def test_capturable_steps_are_eager_ones(name):
    expected = train(name, {"lr": 0.05}, lambda step: step, 8)
    found = train(name, {"lr": 0.05, "capturable": True}, lambda step: step, 8)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def test_a_step_is_one_native_call():
    reports = []

    def compiler(graph_module, fakes):
        made = compile_graph(graph_module, fakes)
        reports.append(made.report)
        return made

    def backend(graph_module, inputs):
        return aot_compile(graph_module, inputs, forward_compiler=compiler, keep=keep())

    train("AdamW", {"lr": 0.01}, lambda step: torch.compile(step, backend=backend, fullgraph=True), 3)
    assert [(report.segments, report.fallbacks) for report in reports] == [(1, [])] * 2


def test_states_are_told_apart():
    """The same code with another optimizer, and with parameters that came later."""
    torch.manual_seed(0)
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    step = torch.compile(lambda optimizer: optimizer.step(), fullgraph=True)
    optimizers = [optim.Adam(layer.parameters(), lr=0.1) for layer in (first, second)]
    twins = [nn.Linear(2, 2) for _ in optimizers]
    for twin, layer in zip(twins, (first, second)):
        twin.load_state_dict(layer.state_dict())
    eager = [optim.Adam(layer.parameters(), lr=0.1) for layer in twins]
    for number in range(6):
        which = number % 2
        if number == 4:
            for group, layer in ((optimizers[0], second), (eager[0], twins[1])):
                group.add_param_group({"params": [layer.weight], "lr": 0.01})
        for layer, run in ((optimizers[which], step), (eager[which], lambda o: o.step())):
            layers = (first, second) if run is step else twins
            for one in layers:
                one.zero_grad()
            sum(one(torch.ones(1, 2) * (number + 1)).sum() for one in layers).backward()
            run(layer)
    for twin, layer in zip(twins, (first, second)):
        np.testing.assert_allclose(layer.weight.detach(), twin.weight.detach(), rtol=1e-5, atol=1e-6)
