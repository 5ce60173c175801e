"""Optimizers go on where torch's left off, and torch's where they left off: their states travel as files."""

import warnings

import pytest

import flambeau

torch = pytest.importorskip("torch")

OPTIONS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "ASGD": {"lr": 0.1}, "Adam": {"lr": 0.1, "amsgrad": True}, "AdamW": {"lr": 0.1},
    "Adamax": {"lr": 0.1}, "NAdam": {"lr": 0.1}, "RAdam": {"lr": 0.1}, "Adagrad": {"lr": 0.1}, "Adadelta": {"lr": 1.0},
    "RMSprop": {"lr": 0.1, "momentum": 0.5, "centered": True}, "Rprop": {"lr": 0.1}, "Adafactor": {"lr": 0.1}, "LBFGS": {"lr": 0.5},
}  # fmt: skip


def start(t, name):
    parameter = t.nn.Parameter((t.arange(6.0, dtype=t.float64) * 0.7).sin().reshape(2, 3))
    return parameter, getattr(t.optim, name)([parameter], **OPTIONS[name])


def step(t, parameter, optimizer, times):
    def closure():
        optimizer.zero_grad()
        loss = ((parameter - 0.3) ** 4).sum() + (parameter[0] * parameter[1]).sum()
        loss.backward()
        return loss

    for _ in range(times):
        optimizer.step(closure)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("first", ["flambeau", "torch"])
def test_states_travel(tmp_path, name, first):
    one, other = (flambeau, torch) if first == "flambeau" else (torch, flambeau)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parameter, optimizer = start(one, name)
        step(one, parameter, optimizer, 3)
        file = tmp_path / "state.pt"
        one.save({"parameter": parameter.detach(), "optimizer": optimizer.state_dict()}, file)
        taken, resumed = start(other, name)
        found = other.load(file)
        with other.no_grad():
            taken.copy_(found["parameter"])
        resumed.load_state_dict(found["optimizer"])
        step(one, parameter, optimizer, 4)
        step(other, taken, resumed, 4)
    mine, theirs = parameter.detach().numpy(), taken.detach().numpy()
    assert abs(mine - theirs).max() < 1e-9
