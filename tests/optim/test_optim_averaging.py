"""Averaged models and the schedule that goes with them, against torch."""

import pytest

import flambeau
from flambeau.optim import swa_utils

torch = pytest.importorskip("torch")


def model(t):
    made = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.BatchNorm1d(4), t.nn.ReLU(), t.nn.Linear(4, 2))
    with t.no_grad():
        for number, parameter in enumerate(made.parameters()):
            values = (t.arange(parameter.numel()).float() * 0.37 + number).sin().reshape(parameter.shape)
            parameter.copy_(values)
    return made


def trained(t, how, use_buffers):
    utils = t.optim.swa_utils
    given = {"ema": {"avg_fn": utils.get_ema_avg_fn(0.9)}, "multi": {"multi_avg_fn": utils.get_ema_multi_avg_fn(0.9)}, "swa": {}}[how]
    network = model(t)
    average = utils.AveragedModel(network, use_buffers=use_buffers, **given)
    optimizer = t.optim.SGD(network.parameters(), 0.1)
    x = (t.arange(15).float() * 0.7).cos().reshape(5, 3)
    for _ in range(4):
        optimizer.zero_grad()
        network(x).square().mean().backward()
        optimizer.step()
        average.update_parameters(network)
    utils.update_bn([x, x * 2], average)
    return {name: value.tolist() for name, value in average.state_dict().items()}


@pytest.mark.parametrize("how", ["swa", "ema", "multi"])
@pytest.mark.parametrize("use_buffers", [False, True])
def test_averages_are_those_of_torch(how, use_buffers):
    mine, theirs = trained(flambeau, how, use_buffers), trained(torch, how, use_buffers)
    assert list(mine) == list(theirs)
    for name, value in mine.items():
        assert torch.allclose(torch.tensor(value, dtype=torch.float64), torch.tensor(theirs[name], dtype=torch.float64), atol=1e-5), name


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 3])
def test_the_rate_anneals_as_in_torch(strategy, epochs):
    def rates(t):
        first, second = (t.nn.Parameter(t.ones(1)) for _ in range(2))
        optimizer = t.optim.SGD([{"params": [first], "lr": 0.5}, {"params": [second], "lr": 0.1}], lr=0.3)
        schedule = t.optim.swa_utils.SWALR(optimizer, [0.05, 0.02], epochs, strategy)
        found = []
        for _ in range(6):
            optimizer.step()
            schedule.step()
            found.append(schedule.get_last_lr())
        return found

    for mine, theirs in zip(rates(flambeau), rates(torch)):
        assert mine == pytest.approx(theirs)


def test_what_is_refused():
    optimizer = flambeau.optim.SGD([flambeau.nn.Parameter(flambeau.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match="anneal_strategy"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="step")
    with pytest.raises(ValueError, match="Invalid decay value"):
        swa_utils.get_ema_avg_fn(2)
    with pytest.raises(AssertionError, match="Only one of"):
        swa_utils.AveragedModel(model(flambeau), avg_fn=lambda *a: a, multi_avg_fn=lambda *a: a)
