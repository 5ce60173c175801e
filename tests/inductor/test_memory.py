"""Plans of memory: nothing overlaps that lives at the same time, and what is free of results is used."""

import numpy as np
import pytest

import flambeau as fl
from inductor.loops import Buffer
from inductor.memory import FOREVER, LEAST, Block, Life, plan, rounded

UNIT = LEAST


def buffer(size):
    return Buffer("b", "uint8", (size,), (1,))


def check(lives, blocks, workspace, places):
    """Every buffer has a place inside its block, apart from all that lives meanwhile."""
    assert set(places) == {life.buffer for life in lives}
    for block in (*blocks, workspace):
        for i, (first, last, start, stop) in enumerate(block.taken):
            assert stop <= block.size
            for other_first, other_last, other_start, other_stop in block.taken[:i]:
                apart = last < other_first or other_last < first
                assert apart or stop <= other_start or other_stop <= start
    for life in lives:
        block, offset = places[life.buffer]
        taken = life.begin, life.end, offset, offset + rounded(life.buffer.bytes)
        assert taken in block.taken


@pytest.mark.parametrize("seed", range(6))
def test_plans(seed):
    random = np.random.default_rng(seed)
    lives, blocks = [], []
    for _ in range(60):
        begin = int(random.integers(0, 50))
        size = int(random.integers(1, 40 * UNIT)) if random.random() < 0.8 else int(random.integers(0, 99))
        lives.append(Life(buffer(size), begin, begin + int(random.integers(0, 20))))
    for _ in range(int(random.integers(0, 9))):
        block = Block(int(random.integers(UNIT, 60 * UNIT)) // 64 * 64)
        first = int(random.integers(-1, 60))
        block.take(first, FOREVER if random.random() < 0.7 else first + 9, 0, block.size)
        blocks.append(block)
    workspace = Block()
    places = plan(lives, blocks, workspace)
    check(lives, blocks, workspace, places)
    alive = [sum(rounded(i.buffer.bytes) for i in lives if i.begin <= t <= i.end) for t in range(70)]
    assert workspace.used <= 1.5 * max(alive)


def test_nothing_to_place():
    workspace = Block()
    assert plan([], [Block(100)], workspace) == {} and workspace.used == 0


def test_temporaries_lie_where_results_are_written_later():
    early, late = Life(buffer(8 * UNIT), 0, 3), Life(buffer(8 * UNIT), 5, 8)
    result = Block(8 * UNIT)
    result.take(4, FOREVER, 0, 8 * UNIT)
    workspace = Block()
    places = plan([early, late], [result], workspace)
    assert places[early.buffer] == (result, 0) and places[late.buffer] == (workspace, 0)


def step_of(model):
    optimizer = fl.optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def test_gradients_of_a_step_share_a_block_and_are_apart():
    fl.manual_seed(0)
    layers = [fl.nn.Linear(64, 64), fl.nn.ReLU(), fl.nn.Linear(64, 64), fl.nn.Linear(64, 64)]
    model = fl.nn.Sequential(*layers)
    x = fl.randn(32, 64)
    loss = fl.compile(step_of(model), fullgraph=True)(x)
    weights = [layer.weight for layer in layers if hasattr(layer, "weight")]
    places = sorted(w.grad.data_ptr() for w in weights)
    assert places[-1] - places[0] == 2 * 64 * 64 * 4  # one behind the other
    found = [w.grad.numpy().copy() for w in weights]
    assert np.isfinite(loss.item()) and all(np.abs(f).sum() > 0 for f in found)
    for i, w in enumerate(weights):  # writing to one leaves the others alone
        w.grad.zero_()
        for other, kept in zip(weights[i + 1 :], found[i + 1 :], strict=True):
            np.testing.assert_array_equal(other.grad.numpy(), kept)


def test_a_gradient_that_is_kept_is_not_overwritten_by_the_next_step():
    fl.manual_seed(0)
    model = fl.nn.Sequential(fl.nn.Linear(64, 64), fl.nn.Tanh(), fl.nn.Linear(64, 64))
    step = fl.compile(step_of(model), fullgraph=True)
    x = fl.randn(32, 64)
    step(x)
    kept = model[0].weight.grad
    before = kept.numpy().copy()
    for _ in range(3):
        step(x)
    np.testing.assert_array_equal(kept.numpy(), before)
    assert not np.array_equal(model[0].weight.grad.numpy(), before)


def test_steps_use_the_memory_of_the_last_ones_gradients():
    fl.manual_seed(0)
    model = fl.nn.Sequential(fl.nn.Linear(64, 64), fl.nn.Tanh(), fl.nn.Linear(64, 64))
    step = fl.compile(step_of(model), fullgraph=True)
    x = fl.randn(32, 64)
    seen = set()
    for _ in range(6):
        step(x)
        seen.add(model[0].weight.grad.data_ptr())
    assert len(seen) <= 2
