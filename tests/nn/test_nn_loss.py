"""Losses against torch: every reduction, weights, what is ignored, what is refused."""

import numpy as np
import pytest

CLASSES = np.array([1, 0, 3, -100, 2])
REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes(compare, random, reduction, dtype):
    x, w = random(5, 4, dtype=dtype), np.abs(random(4, dtype=dtype))
    how = dict(reduction=reduction)
    compare(lambda t, x, y: t.F.nll_loss(t.F.log_softmax(x, 1), y, **how), x, CLASSES)
    compare(lambda t, x, y: t.F.cross_entropy(x, y, **how), x, CLASSES)
    compare(lambda t, x, y, w: t.F.cross_entropy(x, y, w.detach(), **how), x, CLASSES, w)
    compare(lambda t, x, y: t.F.cross_entropy(x, y, label_smoothing=0.1, **how), x, CLASSES)
    compare(
        lambda t, x, y, w: t.F.cross_entropy(
            x, y, w.detach(), label_smoothing=0.1, ignore_index=2, **how
        ),
        x,
        CLASSES.clip(0),
        w,
    )
    compare(
        lambda t, x, y: t.F.cross_entropy(x, y.softmax(1), label_smoothing=0.2, **how),
        x,
        random(5, 4, dtype=dtype),
    )
    compare(
        lambda t, x, y, w: t.F.cross_entropy(x, y.softmax(1), w.detach(), **how),
        x,
        random(5, 4, dtype=dtype),
        w,
    )
    images = random(2, 4, 3, 5, dtype=dtype)
    compare(
        lambda t, x, y: t.F.cross_entropy(x, y, **how), images, np.arange(30).reshape(2, 3, 5) % 4
    )
    compare(lambda t, x, y: t.F.cross_entropy(x, y, **how), x[0], np.array(2))


PAIRS = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": dict(beta=0.5),
    "huber_loss": dict(delta=0.7),
    "poisson_nll_loss": dict(log_input=True),
    "soft_margin_loss": {},
    "kl_div": dict(log_target=True),
    "multilabel_soft_margin_loss": {},
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.filterwarnings("ignore:reduction")
def test_pairs(compare, random, name, reduction):
    compare(
        lambda t, x, y: getattr(t.F, name)(x, y.detach(), reduction=reduction, **PAIRS[name]),
        random(4, 3),
        random(4, 3),
    )


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_likelihoods(compare, random, reduction):
    how = dict(reduction=reduction)
    compare(
        lambda t, x, y: t.F.kl_div(t.F.log_softmax(x, 1), t.F.softmax(y, 1), **how),
        random(4, 3),
        random(4, 3),
    )
    compare(
        lambda t, x, y: t.F.poisson_nll_loss(
            x.abs() + 1, (y.detach() * 3).abs().round(), log_input=False, **how
        ),
        random(4, 3),
        random(4, 3),
    )
    compare(
        lambda t, x, y, v: t.F.gaussian_nll_loss(x, y, v.abs(), full=True, **how),
        random(4, 3),
        random(4, 3),
        random(4, 3),
    )
    compare(
        lambda t, x, y: t.F.binary_cross_entropy(t.sigmoid(x), t.sigmoid(y).detach(), **how),
        random(4, 3),
        random(4, 3),
    )
    compare(
        lambda t, x, y, w, p: t.F.binary_cross_entropy_with_logits(
            x, t.sigmoid(y), w.detach().abs(), pos_weight=p.detach().abs(), **how
        ),
        random(4, 3),
        random(4, 3),
        random(3),
        random(3),
    )
    compare(
        lambda t, x, y: t.F.binary_cross_entropy_with_logits(x * 100, t.sigmoid(y), **how),
        random(4, 3),
        random(4, 3),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_margins(compare, random, reduction):
    how, signs = dict(reduction=reduction), np.array([1.0, -1, 1, -1], np.float32)
    compare(lambda t, x, y: t.F.hinge_embedding_loss(x, y.detach(), **how), random(4), signs)
    compare(
        lambda t, a, b, y: t.F.margin_ranking_loss(a, b, y.detach(), margin=0.2, **how),
        random(4),
        random(4),
        signs,
    )
    compare(
        lambda t, a, b, y: t.F.cosine_embedding_loss(a, b, y.detach(), margin=0.1, **how),
        random(4, 3),
        random(4, 3),
        signs,
    )
    compare(
        lambda t, a, b, c: t.F.triplet_margin_loss(a, b, c, swap=True, **how),
        random(4, 3),
        random(4, 3),
        random(4, 3),
    )
    numbers = np.array([1, 0, 2, 2])
    compare(lambda t, x, y: t.F.multi_margin_loss(x, y, **how), random(4, 3), numbers)
    compare(
        lambda t, x, y: t.F.multi_margin_loss(x, y, p=2, margin=0.5, **how), random(4, 3), numbers
    )
    labels = np.array([[1, -1, 0], [0, 2, -1], [2, 1, 0], [-1, 0, 1]])
    compare(lambda t, x, y: t.F.multilabel_margin_loss(x, y, **how), random(4, 3), labels)


def test_distances(compare, random):
    compare(lambda t, a, b: t.F.cosine_similarity(a, b, dim=1), random(4, 3), random(4, 3))
    compare(lambda t, a, b: t.F.pairwise_distance(a, b), random(4, 3), random(4, 3))
    compare(
        lambda t, a, b: t.nn.PairwiseDistance(p=1, keepdim=True)(a, b), random(4, 3), random(4, 3)
    )


MODULES = ["L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss", "SoftMarginLoss"]


@pytest.mark.parametrize("name", MODULES)
def test_modules(compare, random, name):
    compare(lambda t, x, y: getattr(t.nn, name)()(x, y.detach()), random(4, 3), random(4, 3))


def test_what_is_refused(ours, random):
    x = ours.tensor(random(3, 4))
    with pytest.raises(IndexError, match="Target 7 is out of bounds"):
        ours.F.cross_entropy(x, ours.tensor(np.array([1, 7, 0])))
    with pytest.raises(ValueError, match="batch_size"):
        ours.F.nll_loss(x, ours.tensor(np.array([1, 0])))
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        ours.F.mse_loss(x, x, reduction="median")
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        ours.F.binary_cross_entropy(x, x)
    with pytest.warns(UserWarning, match="target size"):
        ours.F.mse_loss(x, ours.tensor(random(4)))
    with pytest.warns(UserWarning, match="reduction='sum'"):
        ours.F.l1_loss(x, x, size_average=False)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("flat", [True, False])
def test_ctc(compare, random, reduction, flat):
    labels = np.array([[1, 2, 2], [3, 1, 0], [2, 2, 2], [1, 1, 1]])
    lengths, counts = np.array([7, 5, 6, 4]), np.array([3, 2, 0, 3])
    if flat:
        labels = np.concatenate([row[:n] for row, n in zip(labels, counts)])
    compare(
        lambda t, x, y, n, m: t.F.ctc_loss(
            x.log_softmax(-1), y, n, m, reduction=reduction, zero_infinity=True
        ),
        random(7, 4, 5, dtype=np.float64),
        labels,
        lengths,
        counts,
        tolerance=1e-8,
    )


def test_ctc_of_one_sample_and_of_the_impossible(compare, random):
    compare(
        lambda t, x, y: t.nn.CTCLoss(blank=2)(x.log_softmax(-1), y, (6,), (3,)),
        random(6, 5),
        np.array([1, 3, 3]),
    )
    compare(
        lambda t, x, y: t.F.ctc_loss(x.log_softmax(-1).detach(), y, (2, 2), (3, 1)),
        random(2, 2, 5),
        np.array([[1, 1, 1], [2, 2, 2]]),
    )
