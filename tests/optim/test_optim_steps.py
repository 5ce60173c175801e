"""Optimizers against torch: twenty steps from the same numbers, then the same through a saved
state.
"""

import copy

import numpy as np
import pytest

from eager import dtype as dtypes
from eager import nn, optim
from eager.construct import from_numpy, tensor
from eager.registry import ops

CASES = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, momentum=0.9, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.9, nesterov=True)),
    ("SGD", dict(lr=0.1, momentum=0.9, dampening=0.3, maximize=True)),
    ("Adam", dict(lr=0.05)),
    ("Adam", dict(lr=0.05, weight_decay=0.1, amsgrad=True)),
    ("Adam", dict(lr=0.05, betas=(0.5, 0.7), eps=1e-3, maximize=True)),
    ("AdamW", dict(lr=0.05)),
    ("AdamW", dict(lr=0.05, weight_decay=0.3, amsgrad=True)),
    ("Adamax", dict(lr=0.05, weight_decay=0.1)),
    ("NAdam", dict(lr=0.05)),
    ("NAdam", dict(lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)),
    ("RAdam", dict(lr=0.05)),
    ("RAdam", dict(lr=0.05, weight_decay=0.1)),
    ("RMSprop", dict(lr=0.02)),
    ("RMSprop", dict(lr=0.02, momentum=0.5, centered=True, weight_decay=0.1)),
    ("Rprop", dict(lr=0.02)),
    ("Adagrad", dict(lr=0.1)),
    ("Adagrad", dict(lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.2)),
    ("Adadelta", dict(lr=1.0, weight_decay=0.1)),
    ("ASGD", dict(lr=0.05, t0=5, weight_decay=0.1)),
    ("Adafactor", dict(lr=0.05, weight_decay=0.1)),
]
START = [np.linspace(-1, 1, 6).reshape(2, 3), np.array([0.5, -0.2])]


def _loss(parameters, step):
    """Something with curvature and a gradient that changes its sign."""
    matrix, vector = parameters
    return (
        (matrix * matrix).sum() * 0.5
        + (matrix.sum(0) * (step % 3 - 1)).sum()
        + ((vector - 1) ** 4).sum()
        + (matrix * vector[:, None]).sin().sum()
    )


def _train(parameters, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        _loss(parameters, step).backward()
        optimizer.step()
    return [p.detach().numpy().copy() for p in parameters]


def _ours(dtype):
    return [from_numpy(a.astype(dtype)).requires_grad_() for a in START]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, how", CASES, ids=str)
def test_twenty_steps(name, how, dtype):
    torch = pytest.importorskip("torch")
    mine = _ours(dtype)
    theirs = [torch.from_numpy(a.astype(dtype)).requires_grad_() for a in START]
    ours, other = getattr(optim, name)(mine, **how), getattr(torch.optim, name)(theirs, **how)
    tolerance = 2e-5 if dtype == np.float32 else 1e-9
    for a, b in zip(_train(mine, ours, range(20)), _train(theirs, other, range(20))):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    saved, known = ours.state_dict(), other.state_dict()
    assert saved["state"].keys() == known["state"].keys()
    for number in known["state"]:
        assert saved["state"][number].keys() == known["state"][number].keys()
    assert saved["param_groups"][0].keys() == known["param_groups"][0].keys()


@pytest.mark.parametrize("name, how", CASES, ids=str)
def test_going_on_from_a_saved_state(name, how):
    straight = _ours(np.float64)
    expected = _train(straight, getattr(optim, name)(straight, **how), range(8))
    first = _ours(np.float64)
    optimizer = getattr(optim, name)(first, **how)
    _train(first, optimizer, range(4))
    second = [p.detach().clone().requires_grad_() for p in first]
    resumed = getattr(optim, name)(second, lr=123.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for a, b in zip(_train(second, resumed, range(4, 8)), expected):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs(line_search):
    torch = pytest.importorskip("torch")

    def solve(parameters, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = _loss(parameters, 1)
            loss.backward()
            return loss

        for _ in range(5):
            optimizer.step(closure)
        return [p.detach().numpy() for p in parameters]

    mine = _ours(np.float64)
    theirs = [torch.from_numpy(a.copy()).requires_grad_() for a in START]
    how = dict(lr=0.5, max_iter=4, line_search_fn=line_search)
    for a, b in zip(
        solve(mine, optim.LBFGS(mine, **how)), solve(theirs, torch.optim.LBFGS(theirs, **how))
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_groups_and_their_errors():
    layer = nn.Linear(2, 2)
    optimizer = optim.SGD([{"params": [layer.weight], "lr": 0.5}, {"params": [layer.bias]}], lr=0.1)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.1]
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": layer.weight})
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([], lr=0.1)
    with pytest.raises(TypeError, match="iterable of Tensors"):
        optim.SGD(layer.weight, lr=0.1)
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        optim.SGD([3], lr=0.1)
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([layer.weight * 2], lr=0.1)
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        optim.Adam(layer.parameters(), lr=-1)
    with pytest.raises(ValueError, match="Invalid beta parameter at index 1"):
        optim.AdamW(layer.parameters(), betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="Nesterov"):
        optim.SGD(layer.parameters(), lr=0.1, nesterov=True)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optim.SGD(layer.parameters()).load_state_dict(optimizer.state_dict())


def test_printed_form_is_torchs():
    torch = pytest.importorskip("torch")
    mine = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.1)
    assert repr(mine) == repr(torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1))


def test_signatures_are_torchs():
    torch = pytest.importorskip("torch")
    import inspect

    for name in optim.__all__:
        if name not in ("Optimizer", "lr_scheduler"):
            mine, theirs = (
                list(inspect.signature(getattr(o, name).__init__).parameters.values())
                for o in (optim, torch.optim)
            )
            assert [(p.name, p.kind) for p in mine] == [(p.name, p.kind) for p in theirs], name
            assert [p.default for p in mine] == [p.default for p in theirs], name


def test_named_parameters_hooks_and_closures():
    layer = nn.Linear(2, 1)
    optimizer = optim.SGD(layer.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    seen = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("after"))

    def closure():
        seen.append("closure")
        optimizer.zero_grad()
        loss = layer(ops.ones((1, 2))).sum()
        loss.backward()
        return loss

    before = layer.weight.detach().clone()
    assert optimizer.step(closure).requires_grad
    assert seen == ["before", "closure", "after"]
    np.testing.assert_allclose((before - layer.weight.detach()).numpy(), 0.1, rtol=1e-5)


def test_zero_grad_and_rate_as_tensor():
    parameter = tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([parameter], lr=tensor(0.5))
    (parameter * 3).sum().backward()
    optimizer.step()
    assert parameter.item() == -0.5
    optimizer.zero_grad(set_to_none=False)
    assert parameter.grad.item() == 0
    optimizer.zero_grad()
    assert parameter.grad is None


def test_state_is_cast_to_the_parameter():
    single = tensor([1.0], requires_grad=True)
    optimizer = optim.Adam([single])
    single.sum().backward()
    optimizer.step()
    double = tensor([1.0], dtype=dtypes.float64, requires_grad=True)
    other = optim.Adam([double])
    other.load_state_dict(optimizer.state_dict())
    state = other.state[double]
    assert state["exp_avg"].dtype is dtypes.float64 and state["step"].dtype is dtypes.float32


@pytest.mark.parametrize(
    "how", [dict(), dict(nesterov=False, adjust_lr_fn="match_rms_adamw")], ids=str
)
@pytest.mark.parametrize("shape", [(2, 3), (5, 3)])
def test_muon(how, shape):
    torch = pytest.importorskip("torch")
    start = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    mine, theirs = from_numpy(start.copy()).requires_grad_(), torch.from_numpy(start.copy())
    theirs.requires_grad_()
    ours, other = optim.Muon([mine], lr=0.02, **how), torch.optim.Muon([theirs], lr=0.02, **how)
    for _ in range(5):
        for parameter, optimizer in ((mine, ours), (theirs, other)):
            optimizer.zero_grad()
            ((parameter * parameter).sum() + parameter.sin().sum()).backward()
            optimizer.step()
    # the update is rounded to bfloat16
    np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), atol=2e-3)
    with pytest.raises(ValueError, match="only supports 2D"):
        optim.Muon([tensor([1.0], requires_grad=True)])


@pytest.mark.parametrize("name, how", [CASES[3], CASES[5], CASES[8], CASES[15], CASES[18]], ids=str)
def test_large_parameters_are_updated_in_blocks(name, how):
    from eager.optim.blocks import BLOCK

    start = np.random.default_rng(0).standard_normal((3, BLOCK + 7))
    whole = from_numpy(start.copy()).requires_grad_()
    parts = [
        from_numpy(start[:, i : i + 5000].copy()).requires_grad_()
        for i in range(0, BLOCK + 7, 5000)
    ]
    for parameters in ([whole], parts):
        optimizer = getattr(optim, name)(parameters, **how)
        for _ in range(3):
            optimizer.zero_grad()
            for parameter in parameters:
                (parameter.sin().sum() + (parameter * parameter).sum()).backward()
            optimizer.step()
    found = np.concatenate([part.detach().numpy() for part in parts], 1)
    np.testing.assert_allclose(whole.detach().numpy(), found, rtol=1e-12)


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam", "AdamW"])
def test_fused_and_foreach_exclude_each_other(name):
    weight = tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        getattr(optim, name)([weight], fused=True, foreach=True)
    with pytest.raises(RuntimeError, match="differentiable"):
        getattr(optim, name)([weight], fused=True, differentiable=True)


def test_representation_is_torchs():
    torch = pytest.importorskip("torch")
    mine = [tensor([1.0], requires_grad=True) for _ in range(2)]
    theirs = [torch.ones(1, requires_grad=True) for _ in range(2)]
    groups = lambda weights: [dict(params=[weights[0]]), dict(params=[weights[1]], lr=0.5)]  # noqa: E731
    assert repr(optim.Adam(groups(mine))) == repr(torch.optim.Adam(groups(theirs)))
