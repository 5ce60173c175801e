"""Schedules against torch: the rates (and momenta) of every epoch, also through a saved state."""

import pytest

from eager import optim
from eager.construct import tensor
from eager.optim import lr_scheduler

CASES = [
    ("StepLR", dict(step_size=3, gamma=0.5)),
    ("MultiStepLR", dict(milestones=[2, 5, 5, 9], gamma=0.3)),
    ("ExponentialLR", dict(gamma=0.9)),
    ("ConstantLR", dict(factor=0.4, total_iters=4)),
    ("LinearLR", dict(start_factor=0.2, end_factor=0.9, total_iters=6)),
    ("PolynomialLR", dict(total_iters=7, power=2.0)),
    ("CosineAnnealingLR", dict(T_max=5, eta_min=0.01)),
    ("CosineAnnealingWarmRestarts", dict(T_0=3, T_mult=2, eta_min=0.01)),
    ("LambdaLR", dict(lr_lambda=lambda epoch: 0.95**epoch)),
    ("MultiplicativeLR", dict(lr_lambda=lambda epoch: 0.8 + 0.01 * epoch)),
    ("OneCycleLR", dict(max_lr=0.5, total_steps=20)),
    (
        "OneCycleLR",
        dict(
            max_lr=[0.5, 0.7],
            epochs=4,
            steps_per_epoch=5,
            three_phase=True,
            anneal_strategy="linear",
        ),
    ),
    (
        "CyclicLR",
        dict(base_lr=0.01, max_lr=0.2, step_size_up=3, step_size_down=4, mode="triangular2"),
    ),
    ("CyclicLR", dict(base_lr=0.01, max_lr=0.2, step_size_up=3, mode="exp_range", gamma=0.9)),
]
# every process must collect the same names: no addresses of functions in them
NAMES = [f"{name}-{number}" for number, (name, _) in enumerate(CASES)]


def _optimizer(library):
    if library is optim:
        a, b = tensor([1.0], requires_grad=True), tensor([2.0], requires_grad=True)
    else:
        import torch

        a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    return library.SGD([{"params": [a]}, {"params": [b], "lr": 0.3}], lr=0.1, momentum=0.9)


def _run(optimizer, scheduler, count):
    seen = []
    for _ in range(count):
        seen.append([(g["lr"], g["momentum"]) for g in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return [[tuple(map(float, pair)) for pair in row] for row in seen]


def _same(a, b):
    assert [[pytest.approx(pair, rel=1e-9) for pair in row] for row in b] == a


@pytest.mark.parametrize("name, how", CASES, ids=NAMES)
def test_rates(name, how):
    torch = pytest.importorskip("torch")
    ours, theirs = _optimizer(optim), _optimizer(torch.optim)
    mine = getattr(lr_scheduler, name)(ours, **how)
    other = getattr(torch.optim.lr_scheduler, name)(theirs, **how)
    _same(_run(ours, mine, 15), _run(theirs, other, 15))
    assert mine.get_last_lr() == pytest.approx(other.get_last_lr())
    assert mine.last_epoch == other.last_epoch


@pytest.mark.parametrize("name, how", CASES, ids=NAMES)
def test_saved_and_resumed(name, how):
    straight = _optimizer(optim)
    expected = _run(straight, getattr(lr_scheduler, name)(straight, **how), 12)
    optimizer = _optimizer(optim)
    scheduler = getattr(lr_scheduler, name)(optimizer, **how)
    begun = _run(optimizer, scheduler, 6)
    saved = scheduler.state_dict()
    assert "optimizer" not in saved
    twin = getattr(lr_scheduler, name)(_optimizer(optim), **how)
    twin.load_state_dict(saved)
    for group, other in zip(twin.optimizer.param_groups, optimizer.param_groups):
        group.update({k: v for k, v in other.items() if k != "params"})
    _same(begun + _run(twin.optimizer, twin, 6), expected)


def test_sequential_and_chained():
    torch = pytest.importorskip("torch")

    def build(library, schedules, optimizer):
        first = schedules.ConstantLR(optimizer, 0.1, 2)
        second = schedules.ExponentialLR(optimizer, 0.9)
        third = schedules.CosineAnnealingLR(optimizer, 4)
        return schedules.SequentialLR(optimizer, [first, second, third], [3, 7])

    ours, theirs = _optimizer(optim), _optimizer(torch.optim)
    _same(
        _run(ours, build(optim, lr_scheduler, ours), 12),
        _run(theirs, build(torch.optim, torch.optim.lr_scheduler, theirs), 12),
    )

    def chain(schedules, optimizer):
        return schedules.ChainedScheduler(
            [schedules.ConstantLR(optimizer, 0.1, 2), schedules.ExponentialLR(optimizer, 0.9)]
        )

    ours, theirs = _optimizer(optim), _optimizer(torch.optim)
    _same(
        _run(ours, chain(lr_scheduler, ours), 6),
        _run(theirs, chain(torch.optim.lr_scheduler, theirs), 6),
    )


@pytest.mark.parametrize(
    "how",
    [
        dict(patience=1, factor=0.5),
        dict(mode="max", patience=0, cooldown=2, min_lr=0.02),
        dict(patience=1, threshold_mode="abs", threshold=0.5, min_lr=[0.01, 0.2]),
    ],
    ids=str,
)
def test_plateau(how):
    torch = pytest.importorskip("torch")
    ours, theirs = _optimizer(optim), _optimizer(torch.optim)
    mine = lr_scheduler.ReduceLROnPlateau(ours, **how)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **how)
    for metric in [3.0, 2.0, 2.0, 2.0, 2.1, 1.0, 1.0, 1.0, 0.9999, 1.0, 1.2, 1.0]:
        mine.step(metric)
        other.step(metric)
        assert [g["lr"] for g in ours.param_groups] == [g["lr"] for g in theirs.param_groups]


def test_wrong_use():
    optimizer = _optimizer(optim)
    with pytest.raises(TypeError, match="is not an Optimizer"):
        lr_scheduler.StepLR(3, 1)
    with pytest.raises(KeyError, match="initial_lr"):
        lr_scheduler.StepLR(optimizer, 1, last_epoch=3)
    with pytest.raises(ValueError, match="number of milestones"):
        lr_scheduler.SequentialLR(optimizer, [lr_scheduler.StepLR(optimizer, 1)], [1])
    with pytest.raises(ValueError, match="total_steps OR"):
        lr_scheduler.OneCycleLR(optimizer, 0.1)
    scheduler = lr_scheduler.StepLR(_optimizer(optim), 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    cycle = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2)
    optimizer.step()
    cycle.step(), cycle.step()
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        cycle.step()


def test_signatures_are_torchs():
    torch = pytest.importorskip("torch")
    import inspect

    for name in lr_scheduler.__all__:
        mine, theirs = (
            list(inspect.signature(getattr(s, name).__init__).parameters.values())
            for s in (lr_scheduler, torch.optim.lr_scheduler)
        )
        assert [(p.name, p.default) for p in mine] == [(p.name, p.default) for p in theirs], name


class _Scale:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor


def _cyclic(scale):
    optimizer = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.1)
    return lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, scale_fn=scale, cycle_momentum=False)


def test_a_function_is_no_state_of_a_cyclic_schedule():
    assert _cyclic(lambda x: x).state_dict()["_scale_fn_custom"] is None
    saved = _cyclic(_Scale(0.25)).state_dict()
    assert saved["_scale_fn_custom"] == {"factor": 0.25}
    other = _cyclic(_Scale(0.5))
    other.load_state_dict(saved)
    assert other.scale_fn(1.0) == 0.25
