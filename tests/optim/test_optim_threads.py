"""Large updates are shared between threads: the results are those of one thread, bit for bit."""

import numpy as np
import pytest

import flambeau as torch
from eager import threads

SIZE = 300_001


@pytest.fixture
def two_threads():
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(before)


def trained(make, count):
    threads.set_num_threads(count)
    torch.manual_seed(0)
    param = torch.nn.Parameter(torch.randn(SIZE))
    optimizer = make([param])
    for _ in range(3):
        param.grad = torch.sin(param.detach() * 3)
        optimizer.step()
    return param, optimizer


@pytest.mark.parametrize("name, options", [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("AdamW", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01}),
])
def test_optimizers_do_not_depend_on_threads(two_threads, name, options):
    results = [
        trained(lambda params: getattr(torch.optim, name)(params, **options), count)[0]
        for count in (1, 2)
    ]
    np.testing.assert_array_equal(results[0].detach().numpy(), results[1].detach().numpy())


def test_a_weighted_sum_in_place(two_threads):
    x, y = torch.arange(SIZE).float(), torch.ones(SIZE)
    version = x._version
    assert x.add_(y, alpha=0.5) is x and x._version > version
    np.testing.assert_array_equal(x.numpy(), np.arange(SIZE, dtype=np.float32) + np.float32(0.5))
    x.sub_(y.reshape(1, -1)[0], alpha=0.5)
    np.testing.assert_array_equal(x.numpy(), np.arange(SIZE, dtype=np.float32))


def test_operands_that_overlap(two_threads):
    x = torch.arange(SIZE).double()
    x[1:].add_(x[:-1], alpha=2.0)
    expected = np.arange(SIZE, dtype=np.float64)
    expected[1:] += 2 * np.arange(SIZE - 1)
    np.testing.assert_array_equal(x.numpy(), expected)


def test_what_a_part_raises_is_raised(two_threads):
    def work(start, stop):
        if start == 0:
            raise ValueError("the first part")

    with pytest.raises(ValueError, match="the first part"):
        threads.share(work, 10, 1)


def test_parts_cover_everything_once(two_threads):
    seen = []
    threads.share(lambda start, stop: seen.append((start, stop)), 11, 3)
    assert sorted(seen) == [(0, 5), (5, 11)]
    seen.clear()
    threads.share(lambda start, stop: seen.append((start, stop)), 5, 3)
    assert seen == [(0, 5)]
