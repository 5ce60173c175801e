"""Convolutions against torch: every option, one to three dimensions, forwards, backwards and twice
backwards.
"""

import numpy as np
import pytest

CASES = [
    dict(),
    dict(stride=2, padding=1),
    dict(padding=2, dilation=2),
    dict(groups=2),
    dict(stride=2, padding=1, groups=2, dilation=2),
    dict(padding="same"),
    dict(padding="valid"),
]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("how", CASES, ids=str)
def test_convolution(compare, random, rank, how):
    size = (9, 7, 5)[:rank]
    groups = how.get("groups", 1)
    x, w, b = random(2, 4, *size), random(6, 4 // groups, *(3,) * rank), random(6)
    compare(lambda t, x, w, b: getattr(t.F, f"conv{rank}d")(x, w, b, **how), x, w, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_kernels(compare, random, dtype):
    x = random(2, 6, 8, 8, dtype=dtype)
    compare(
        lambda t, x, w, b: t.F.conv2d(x, w, b),
        x,
        random(5, 6, 1, 1, dtype=dtype),
        random(5, dtype=dtype),
    )
    compare(lambda t, x, w: t.F.conv2d(x, w, stride=2), x, random(5, 6, 1, 1, dtype=dtype))
    compare(
        lambda t, x, w: t.F.conv2d(x, w, padding=1, groups=6), x, random(6, 1, 3, 3, dtype=dtype)
    )
    compare(
        lambda t, x, w: t.F.conv2d(x, w, padding=1, stride=2, groups=6),
        x,
        random(6, 1, 3, 3, dtype=dtype),
    )
    compare(lambda t, x, w: t.F.conv2d(x, w, groups=6), x, random(12, 1, 3, 3, dtype=dtype))
    compare(
        lambda t, x, w: t.F.conv2d(x, w, padding=(0, 1), stride=(2, 1), dilation=(1, 2)),
        x,
        random(3, 6, 2, 3, dtype=dtype),
    )
    compare(lambda t, x, w: t.F.conv2d(x, w, padding="same"), x, random(3, 6, 2, 4, dtype=dtype))


def test_unbatched_strided_and_empty(compare, random):
    compare(lambda t, x, w: t.F.conv2d(x, w), random(3, 8, 8), random(4, 3, 3, 3))
    compare(
        lambda t, x, w: t.F.conv2d(x.permute(0, 3, 1, 2), w, padding=1),
        random(2, 8, 8, 3),
        random(4, 3, 3, 3),
    )
    compare(
        lambda t, x, w: t.F.conv2d(x[:, :, ::2], w.transpose(2, 3)),
        random(2, 3, 16, 8),
        random(4, 3, 2, 3),
    )
    compare(
        lambda t, x, w: t.F.conv2d(x, w), np.zeros((0, 3, 8, 8), np.float32), random(4, 3, 3, 3)
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "how",
    [
        dict(),
        dict(stride=2),
        dict(stride=2, padding=1, output_padding=1),
        dict(groups=2),
        dict(stride=3, padding=1, dilation=2, output_padding=2),
    ],
    ids=str,
)
def test_transposed(compare, random, rank, how):
    size, groups = (5, 4, 3)[:rank], how.get("groups", 1)
    x, w, b = (
        random(2, 4, *size),
        random(4, 6 // groups, *(3,) * rank),
        random(6 // groups * groups),
    )
    compare(lambda t, x, w, b: getattr(t.F, f"conv_transpose{rank}d")(x, w, b, **how), x, w, b)


@pytest.mark.parametrize("transposed", [False, True])
def test_second_derivative(compare, random, transposed):
    def function(t, x, w):
        op = t.F.conv_transpose2d if transposed else t.F.conv2d
        y = op(x, w, stride=2, padding=1)
        grad = (
            __import__("eager.autograd", fromlist=["grad"]).grad
            if not hasattr(t, "torch")
            else t.torch.autograd.grad
        )
        gx, gw = grad((y * y).sum(), (x, w), create_graph=True)
        return gx.sin().sum() + gw.cos().sum()

    compare(function, random(2, 4, 6, 6, dtype=np.float64), random(4, 4, 3, 3, dtype=np.float64))


def test_half_precision(ours):
    x, w = np.ones((1, 2, 4, 4), np.float16), np.ones((3, 2, 3, 3), np.float16)
    found = ours.F.conv2d(ours.tensor(x), ours.tensor(w))
    assert found.dtype.name == "float16" and (found.numpy() == 18).all()


@pytest.mark.parametrize(
    "x, w, match",
    [
        ((1, 4, 8, 8), (6, 3, 3, 3), "to have 3 channels, but got 4 channels instead"),
        ((1, 3, 2, 2), (6, 3, 3, 3), "Kernel size can't be greater than actual input size"),
        ((3, 8), (6, 3, 3, 3), "Expected 3D"),
    ],
)
def test_what_does_not_fit(ours, random, x, w, match):
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError, match=match):
        torch.conv2d(torch.zeros(x), torch.zeros(w))
    with pytest.raises(RuntimeError, match=match):
        ours.F.conv2d(ours.tensor(random(*x)), ours.tensor(random(*w)))


def test_types_must_agree(ours, random):
    with pytest.raises(RuntimeError, match="should be the same"):
        ours.F.conv2d(
            ours.tensor(random(1, 3, 8, 8)), ours.tensor(random(1, 3, 3, 3, dtype=np.float64))
        )


def test_unfold_and_fold(compare, random):
    compare(lambda t, x: t.F.unfold(x, (2, 3), dilation=1, padding=1, stride=2), random(2, 3, 6, 7))
    compare(lambda t, x: t.F.fold(x, (4, 5), (2, 2)), random(2, 12, 12))
