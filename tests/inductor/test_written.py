"""Attention written out by hand becomes the operator where it is that, in both directions, and stays what it is elsewhere. Judged by
torch in double precision, on the same source."""

import math

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")

BATCH, HEADS, ROWS, COLUMNS, DEPTH, WIDTH = 2, 3, 21, 37, 8, 5
CAUSAL = np.tri(ROWS, COLUMNS, 4, dtype=bool)


def plain(t, q, k, v, m):
    return t.softmax(q @ k.transpose(-2, -1), dim=-1) @ v


def divided_and_added(t, q, k, v, m):
    scores = t.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.size(-1))
    weights = t.nn.functional.dropout(t.nn.functional.softmax(scores + m, dim=-1), 0.1, training=False)
    return t.matmul(weights, v).permute(0, 2, 1, 3).contiguous()


def added_first(t, q, k, v, m):
    return t.softmax(m + 0.5 * (q @ k.transpose(-2, -1)), 3) @ v


def query_scaled(t, q, k, v, m):
    return t.softmax(t.matmul(q * 0.3, k.permute(0, 1, 3, 2)), -1).matmul(v)


def filled(t, q, k, v, m):
    scores = (q @ k.transpose(-2, -1)) * 0.25
    return t.softmax(scores.masked_fill(m == 0, float("-inf")), -1) @ v


def filled_finitely(t, q, k, v, m):
    scores = (q @ k.transpose(-2, -1)) * 0.25
    return t.softmax(scores.masked_fill(m == 0, -1e9), -1) @ v


def filled_lowest(t, q, k, v, m):
    scores = q @ k.transpose(-2, -1)
    return t.softmax(scores.masked_fill(~m, t.finfo(scores.dtype).min), -1) @ v


def where(t, q, k, v, m):
    return t.softmax(t.where(m, q @ k.transpose(-2, -1) / 3, -1e4), -1) @ v


def where_tensor(t, q, k, v, m):
    scores = q @ k.transpose(-2, -1)
    return t.softmax(t.where(m, scores, t.full([], -1e4, dtype=scores.dtype)), -1) @ v


def where_turned(t, q, k, v, m):
    return t.softmax(t.where(~m, -5.0, q @ k.transpose(-2, -1)), -1) @ v


def stacked(t, q, k, v, m):
    q, k, v = (x.reshape(BATCH * HEADS, *x.shape[2:]) for x in (q, k, v))
    return t.bmm(t.softmax(t.bmm(q, k.transpose(1, 2)), dim=2), v)


def single(t, q, k, v, m):
    return t.softmax(t.mm(q[0, 0], k[0, 1].t()) / 2, dim=1).mm(v[1, 0])


FLOAT, BOOL, NUMBERS = "float", "bool", "numbers"
PATTERNS = [
    (plain, None), (divided_and_added, FLOAT), (added_first, FLOAT), (query_scaled, None), (filled, NUMBERS),
    (filled_finitely, NUMBERS), (filled_lowest, BOOL), (where, BOOL), (where_tensor, BOOL), (where_turned, BOOL),
    (stacked, None), (single, None),
]


def operands(mask, seed=0):
    random = np.random.default_rng(seed)
    sizes = ((ROWS, DEPTH), (COLUMNS, DEPTH), (COLUMNS, WIDTH))
    given = [random.standard_normal((BATCH, HEADS, *s)) for s in sizes]
    found = {
        None: np.zeros(1), FLOAT: random.standard_normal((BATCH, 1, 1, COLUMNS)), BOOL: CAUSAL,
        NUMBERS: CAUSAL.astype(np.float64)[None, None],
    }[mask]
    return given, found


def run(library, function, given, mask, dtype, compiled=False, training=True):
    """The result, and the gradients of all but the mask."""
    inputs = [library.tensor(x.astype(dtype)) for x in given]
    mask = library.tensor(mask if mask.dtype == bool else mask.astype(dtype))
    for x in inputs:
        x.requires_grad_(training)

    def program(q, k, v, m):
        return function(library, q, k, v, m)

    out = (flambeau.compile(program, fullgraph=True) if compiled else program)(*inputs, mask)
    if not training:
        return [out.detach().numpy()]
    random = np.random.default_rng(1)
    out.backward(library.tensor(random.standard_normal(tuple(out.shape)).astype(dtype)))
    return [out.detach().numpy(), *(np.zeros(1) if x.grad is None else x.grad.numpy() for x in inputs)]


def count(steps, start):
    return sum(name.startswith(start) for name in steps)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(("function", "mask"), PATTERNS, ids=[f.__name__ for f, _ in PATTERNS])
def test_it_becomes_the_operator(steps, function, mask, training):
    given, extra = operands(mask)
    mine = run(flambeau, function, given, extra, "float32", True, training)
    assert count(steps, "attention_gradient") == training
    assert count(steps, "attention") == 1 + training and count(steps, "mm_") == 0
    theirs = run(torch, function, given, extra, "float64", False, training)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


@pytest.mark.parametrize("fill", [float("-inf"), -1e9, -1e4])
def test_rows_that_may_see_nothing_are_softmax(steps, fill):
    """Not a number for -inf, the mean for numbers: what the source says, not what the function of the library gives."""
    given, mask = operands(NUMBERS)
    mask = np.broadcast_to(mask, (BATCH, 1, ROWS, COLUMNS)).copy()
    mask[1, 0, 5] = 0

    def function(t, q, k, v, m):
        return t.softmax((q @ k.transpose(-2, -1)).masked_fill(m == 0, fill), -1) @ v

    mine = run(flambeau, function, given, mask, "float32", True)
    assert count(steps, "attention") == 2
    theirs = run(torch, function, given, mask, "float32")
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5, equal_nan=True)
    assert np.isnan(mine[0][1, :, 5]).all() == (fill == float("-inf"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [plain, filled])
def test_special_values(steps, function, value):
    given, mask = operands(NUMBERS)
    given[0][0, 1, 3, 2] = value
    given[1][1, 0, 30] = np.abs(given[1][1, 0, 30]) * value
    with np.errstate(invalid="ignore"):
        mine = run(flambeau, function, given, mask, "float32", True)
    theirs = run(torch, function, given, mask, "float32")
    assert count(steps, "attention") == 2
    np.testing.assert_allclose(mine[0], theirs[0], rtol=0, atol=2e-5, equal_nan=True)


def weights_too(t, q, k, v, m):
    weights = t.softmax(q @ k.transpose(-2, -1), -1)
    return weights @ v + weights.sum()


def scores_too(t, q, k, v, m):
    scores = q @ k.transpose(-2, -1)
    return t.softmax(scores, -1) @ v + scores.mean()


def other_dimension(t, q, k, v, m):
    return t.softmax(q @ k.transpose(-2, -1), -2) @ v


def scaled_after(t, q, k, v, m):
    return t.softmax((q @ k.transpose(-2, -1) + m) * 0.5, -1) @ v


def two_masks(t, q, k, v, m):
    return t.softmax(q @ k.transpose(-2, -1) + m + m, -1) @ v


def turned(t, q, k, v, m):
    return v.transpose(-2, -1) @ t.softmax(q @ k.transpose(-2, -1), -1).transpose(-2, -1)


def test_a_mask_of_more_batches(steps):
    """The mask may repeat queries and keys, whose gradients are sums over it then."""
    random = np.random.default_rng(0)
    given = [random.standard_normal((batch, 6, 4)) for batch in (1, 1, 3)]
    mask = random.standard_normal((3, 6, 6))

    def function(t, q, k, v, m):
        return t.bmm(t.softmax(t.bmm(q, k.transpose(1, 2)) + m, dim=-1), v)

    mine = run(flambeau, function, given, mask, "float32", True)
    assert count(steps, "attention") == 2
    theirs = run(torch, function, given, mask, "float64")
    for a, b in zip(mine, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


@pytest.mark.parametrize("function", [weights_too, scores_too, other_dimension, scaled_after, two_masks, turned])
def test_it_stays_what_it_is(steps, function):
    given, mask = operands(FLOAT)
    mine = run(flambeau, function, given, mask, "float32", True)
    assert count(steps, "attention") == 0
    theirs = run(torch, function, given, mask, "float64")
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-5)


def test_a_mask_that_learns_has_its_gradient(steps):
    """As relative positions have: what the scores weigh is wanted whole, so nothing is to be gained."""
    given, mask = operands(FLOAT)

    def gradients(library, dtype, compiled):
        q, k, v, m = (library.tensor(x.astype(dtype)).requires_grad_() for x in (*given, mask))

        def program(q, k, v, m):
            return added_first(library, q, k, v, m).square().sum()

        (flambeau.compile(program, fullgraph=True) if compiled else program)(q, k, v, m).backward()
        return [x.grad.numpy() for x in (q, k, v, m)]

    mine = gradients(flambeau, "float32", True)
    assert count(steps, "attention") == 0
    for a, b in zip(mine, gradients(torch, "float64", False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_dropout_draws_as_eager_does(steps):
    given, mask = operands(None)

    def function(t, q, k, v, m):
        weights = t.softmax(q @ k.transpose(-2, -1), -1)
        return t.nn.functional.dropout(weights, 0.5, training=True) @ v

    results = []
    for compiled in (True, False):
        flambeau.manual_seed(3)
        results.append(run(flambeau, function, given, mask, "float32", compiled))
    assert count(steps, "attention") == 0
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


def test_a_captured_step_has_both_directions(steps):
    given, mask = operands(NUMBERS)
    q, k, v, m = (flambeau.tensor(x.astype("float32")) for x in (*given, mask))
    weight = flambeau.nn.Parameter(flambeau.ones(DEPTH))

    @flambeau.compile(fullgraph=True)
    def step(q, k, v, m):
        weight.grad = None
        filled(flambeau, q * weight, k, v, m).square().sum().backward()

    step(q, k, v, m)
    assert count(steps, "attention") == 2 and count(steps, "attention_gradient") == 1
    found = weight.grad.numpy()
    other = torch.ones(DEPTH, dtype=torch.float64, requires_grad=True)
    q, k, v, m = (torch.tensor(x) for x in (*given, mask))
    filled(torch, q * other, k, v, m).square().sum().backward()
    np.testing.assert_allclose(found, other.grad.numpy(), rtol=1e-4, atol=1e-4)
