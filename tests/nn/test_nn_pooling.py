"""Pooling against torch: values, indices, gradients."""

import numpy as np
import pytest


@pytest.mark.parametrize(
    "how",
    [
        dict(kernel_size=2),
        dict(kernel_size=3, stride=2, padding=1),
        dict(kernel_size=3, stride=1, dilation=2),
        dict(kernel_size=3, stride=2, ceil_mode=True),
        dict(kernel_size=2, stride=3, padding=1, ceil_mode=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool(compare, random, rank, how):
    x = random(2, 3, *(9, 8, 7)[:rank])
    compare(lambda t, x: getattr(t.F, f"max_pool{rank}d")(x, **how), x)
    compare(lambda t, x: getattr(t.F, f"max_pool{rank}d")(x, return_indices=True, **how), x)


def test_max_pool_of_equal_and_strided_values(compare, random):
    x = np.round(random(2, 3, 8, 8))
    compare(lambda t, x: t.F.max_pool2d(x, 3, 2, 1), x)
    compare(lambda t, x: t.F.max_pool2d(x.transpose(1, 3)[:, :, ::2], 2), x)
    compare(lambda t, x: t.F.max_pool2d(x, 2), random(3, 8, 8, dtype=np.float64))
    compare(lambda t, x: t.F.max_pool2d(x, 2), np.zeros((0, 3, 8, 8), np.float32))


@pytest.mark.parametrize(
    "how",
    [
        dict(kernel_size=2),
        dict(kernel_size=3, stride=2, padding=1),
        dict(kernel_size=3, stride=2, padding=1, count_include_pad=False),
        dict(kernel_size=3, stride=2, ceil_mode=True),
        dict(kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    ],
    ids=str,
)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_avg_pool(compare, random, rank, how):
    compare(
        lambda t, x: getattr(t.F, f"avg_pool{rank}d")(x, **how), random(2, 3, *(9, 8, 7)[:rank])
    )


def test_divisor(compare, random):
    compare(lambda t, x: t.F.avg_pool2d(x, 3, divisor_override=5), random(2, 3, 9, 9))


@pytest.mark.parametrize("size", [1, 2, 4, 5, 7])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive(compare, random, kind, size):
    for rank in (1, 2, 3):
        compare(
            lambda t, x, rank=rank: getattr(t.F, f"adaptive_{kind}_pool{rank}d")(x, size),
            random(2, 3, *(8, 10, 6)[:rank]),
        )
    compare(lambda t, x: getattr(t.F, f"adaptive_{kind}_pool2d")(x, (None, size)), random(3, 8, 9))


def test_adaptive_max_indices(compare, random):
    compare(
        lambda t, x: t.F.adaptive_max_pool2d(x, (3, 2), return_indices=True), random(2, 3, 8, 7)
    )


def test_lp_pool_and_unpool(compare, random):
    compare(lambda t, x: t.F.lp_pool2d(x.abs(), 3.0, 2), random(2, 3, 8, 8))
    compare(lambda t, x: t.F.lp_pool1d(x.abs(), 2.0, 3, stride=2), random(2, 3, 9))

    def unpool(t, x):
        values, where = t.F.max_pool2d(x, 2, return_indices=True)
        return t.F.max_unpool2d(values, where, 2)

    compare(unpool, random(2, 3, 8, 8))


def test_second_derivative(compare, random):
    def function(t, x):
        grad = (
            __import__("eager.autograd", fromlist=["grad"]).grad
            if not hasattr(t, "torch")
            else t.torch.autograd.grad
        )
        y = t.F.max_pool2d(x, 3, 2, 1) + t.F.avg_pool2d(x, 3, 2, 1) + t.F.adaptive_avg_pool2d(x, 4)
        return grad((y * y).sum(), x, create_graph=True)[0].sin()

    compare(function, random(2, 3, 7, 7, dtype=np.float64))


def test_windows_that_do_not_fit(ours, random):
    with pytest.raises(RuntimeError, match="pad should be at most half"):
        ours.F.max_pool2d(ours.tensor(random(1, 1, 4, 4)), 2, padding=2)
    with pytest.raises(RuntimeError, match="too small"):
        ours.F.max_pool2d(ours.tensor(random(1, 1, 2, 2)), 3)
