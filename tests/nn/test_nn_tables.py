"""Embedding, padding, resizing, linear maps and shuffles against torch."""

import numpy as np
import pytest

NUMBERS = np.array([[1, 0, 3], [3, 3, 5]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_embedding(compare, random, dtype):
    table = random(6, 4, dtype=dtype)
    compare(lambda t, i, w: t.F.embedding(i, w), NUMBERS, table)
    compare(lambda t, i, w: t.F.embedding(i, w, padding_idx=3), NUMBERS, table)
    compare(lambda t, i, w: t.F.embedding(i, w, padding_idx=-1), NUMBERS, table)
    compare(lambda t, i, w: t.F.embedding(i, w, scale_grad_by_freq=True), NUMBERS, table)
    compare(lambda t, i, w: t.F.embedding(i, w), np.zeros((0, 2), np.int64), table)
    compare(lambda t, i, w: t.F.embedding(i[0, 0], w), NUMBERS, table)
    compare(lambda t, i, w: t.F.embedding(i, w), NUMBERS.astype(np.int32), table)


def test_embedding_with_limited_norm(compare, random):
    def function(t, i, w):
        table = (w * 1).detach()
        return t.F.embedding(i, table, max_norm=0.5), table

    compare(function, NUMBERS, random(6, 4), tolerance=1e-4)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(compare, random, mode):
    table = random(6, 4)
    flat, offsets = np.array([1, 0, 3, 3, 5, 2]), np.array([0, 2, 2, 5])
    compare(lambda t, i, w: t.F.embedding_bag(i, w, mode=mode), NUMBERS, table)
    compare(lambda t, i, o, w: t.F.embedding_bag(i, w, o, mode=mode), flat, offsets, table)
    compare(
        lambda t, i, o, w: t.F.embedding_bag(i, w, o, mode=mode, padding_idx=3),
        flat,
        offsets,
        table,
    )


def test_weighted_bags(compare, random):
    compare(
        lambda t, i, w, s: t.F.embedding_bag(i, w, mode="sum", per_sample_weights=s),
        NUMBERS,
        random(6, 4),
        random(2, 3),
    )


def test_out_of_range(ours, random):
    table = ours.tensor(random(6, 4))
    for bad in (6, -1):
        with pytest.raises(IndexError, match="index out of range"):
            ours.F.embedding(ours.tensor(np.array([0, bad])), table)
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        ours.F.one_hot(ours.tensor(np.array([0, 4])), 3)


def test_one_hot(compare):
    compare(lambda t, i: t.F.one_hot(i), NUMBERS)
    compare(lambda t, i: t.F.one_hot(i, 8), NUMBERS)


@pytest.mark.parametrize(
    "mode, widths",
    [
        ("constant", (1, 2)),
        ("constant", (1, 0, 2, 1)),
        ("constant", (-1, 2, 1, -2)),
        ("reflect", (1, 2)),
        ("reflect", (2, 1, 1, 3)),
        ("replicate", (3, 2, 1, 4)),
        ("circular", (1, 2, 3, 1)),
    ],
)
def test_padding(compare, random, mode, widths):
    value = 1.5 if mode == "constant" else None
    shape = (2, 3, 5, 6) if len(widths) == 4 or value else (2, 3, 6)
    compare(lambda t, x: t.F.pad(x, widths, mode, value), random(*shape))


def test_bool_and_integer_padding(compare):
    compare(lambda t, x: t.F.pad(x, (1, 1)), np.array([[True, False]]))
    compare(lambda t, x: t.F.pad(x, (1, 1), value=3), NUMBERS)


def test_too_wide_reflection(ours, random):
    with pytest.raises(RuntimeError, match="less than the corresponding input dimension"):
        ours.F.pad(ours.tensor(random(1, 1, 3)), (3, 0), "reflect")


RESIZES = [
    dict(size=(7, 9)),
    dict(scale_factor=2),
    dict(scale_factor=0.7),
    dict(size=(2, 3)),
    dict(scale_factor=(1.5, 2.5)),
    dict(scale_factor=1.3, recompute_scale_factor=True),
]


@pytest.mark.parametrize("how", RESIZES, ids=str)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_interpolate(compare, random, mode, how):
    compare(lambda t, x: t.F.interpolate(x, mode=mode, **how), random(2, 3, 4, 5), tolerance=1e-4)
    if mode in ("bilinear", "bicubic"):
        compare(
            lambda t, x: t.F.interpolate(x, mode=mode, align_corners=True, **how),
            random(2, 3, 4, 5),
            tolerance=1e-4,
        )


def test_interpolate_other_ranks(compare, random):
    compare(lambda t, x: t.F.interpolate(x, scale_factor=2, mode="linear"), random(2, 3, 5))
    compare(
        lambda t, x: t.F.interpolate(x, size=(4, 5, 6), mode="trilinear"), random(1, 2, 3, 3, 3)
    )
    compare(lambda t, x: t.nn.UpsamplingBilinear2d(scale_factor=2)(x), random(2, 3, 4, 5))


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("align", [True, False])
def test_grid_sample(compare, random, mode, padding_mode, align):
    compare(
        lambda t, x, g: t.F.grid_sample(
            x, g.detach() if mode == "nearest" else g, mode, padding_mode, align
        ),
        random(2, 3, 4, 5, dtype=np.float64),
        random(2, 3, 6, 2, dtype=np.float64),
        tolerance=1e-6,
    )


def test_affine_grid(compare, random):
    compare(lambda t, a: t.F.affine_grid(a, (2, 3, 4, 5), align_corners=False), random(2, 2, 3))
    compare(lambda t, a: t.F.affine_grid(a, (2, 3, 4, 5), align_corners=True), random(2, 2, 3))


def test_linear_and_bilinear(compare, random):
    compare(lambda t, x, w, b: t.F.linear(x, w, b), random(2, 3, 4), random(5, 4), random(5))
    compare(lambda t, x, w: t.F.linear(x, w), random(4), random(5, 4))
    compare(lambda t, x, w: t.F.linear(x, w), np.zeros((0, 4), np.float32), random(5, 4))
    compare(
        lambda t, x, y, w, b: t.F.bilinear(x, y, w, b),
        random(2, 3, 4),
        random(2, 3, 5),
        random(6, 4, 5),
        random(6),
    )


def test_shuffles(compare, random):
    compare(lambda t, x: t.F.pixel_shuffle(x, 2), random(2, 8, 3, 4))
    compare(lambda t, x: t.F.pixel_unshuffle(x, 2), random(2, 3, 4, 6))
    compare(lambda t, x: t.F.channel_shuffle(x, 2), random(2, 6, 3, 4))
    compare(lambda t, x: t.nn.Unflatten(1, (2, 3))(t.nn.Flatten(1, 2)(x)), random(2, 2, 3, 4))
