"""Attention in one pass against double precision: sizes, layouts, masks, blocks, special values."""

import numpy as np
import pytest

from eager.registry import ops
from eager.tensor import Tensor
from inductor import program
from inductor.templates import attention
from inductor.templates.attention import Attention, Mask, forward

SIZES = {  # batch, heads, rows, columns, depth, width
    "one": (1, 1, 1, 1, 1, 1),
    "ragged": (1, 2, 5, 7, 3, 4),
    "odd": (2, 3, 37, 37, 16, 16),
    "gpt": (1, 2, 128, 128, 64, 64),
    "wide values": (1, 1, 13, 70, 33, 20),
    "few columns": (2, 2, 30, 16, 8, 50),
    "half a panel": (1, 2, 20, 48, 24, 17),
}
SCALE = 0.3


def expected(q, k, v, mask, causal):
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) * SCALE
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    highest = scores.max(-1, keepdims=True)
    highest[highest == -np.inf] = 0
    weights = np.exp(scores - highest)
    total = weights.sum(-1, keepdims=True)
    return weights @ v / np.where(total == 0, 1, total)


def operands(sizes, kind, dtype):
    batch, heads, rows, columns, depth, width = sizes
    random = np.random.default_rng(0)
    shapes = ((rows, depth), (columns, depth), (columns, width))
    q, k, v = (random.standard_normal((batch, heads, *s)).astype(dtype) for s in shapes)
    mask = None
    if kind == "bool":
        mask = random.random((batch, 1, rows, columns)) < 0.7
        mask[0, 0, min(3, rows - 1)] = False
    if kind == "float":
        mask = random.standard_normal((batch, 1, 1, columns)).astype(dtype)
    return q, k, v, mask


def run(q, k, v, mask, causal):
    out = np.full((*q.shape[:3], v.shape[-1]), np.nan, q.dtype)
    strides = [tuple(n // x.itemsize for n in x.strides[:3]) for x in (q, k, v, out)]
    layout = None
    if mask is not None:
        steps = zip(mask.strides, mask.shape, strict=True)
        steps = tuple(n // mask.itemsize if size > 1 else 0 for n, size in steps)
        layout = Mask(str(mask.dtype), steps)
    sizes = (*q.shape[:3], k.shape[2], q.shape[3], v.shape[3])
    template = forward(Attention(*sizes, *strides, SCALE, causal, layout, str(q.dtype)))
    inputs = [q, k, v] + ([mask] if mask is not None else [])
    words = [program.input(n) for n in range(len(inputs))]
    words.insert(3, program.output(0))
    program.run_step(template.step(*words), (*inputs, out))
    return out


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_kernel(name, causal, kind):
    for dtype, tolerance in (("float32", 3e-6), ("float64", 1e-13)):
        q, k, v, mask = operands(SIZES[name], kind, dtype)
        out = run(q, k, v, mask, causal)
        np.testing.assert_allclose(out, expected(q, k, v, mask, causal), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
@pytest.mark.parametrize("causal", [False, True])
def test_blocks_of_keys_and_rows(monkeypatch, causal, kind):
    monkeypatch.setattr(attention, "BLOCK", 64)
    monkeypatch.setattr(attention, "MOST_ROWS", 40)
    for sizes in ((1, 2, 128, 200, 16, 24), (1, 1, 33, 130, 20, 70)):
        q, k, v, mask = operands(sizes, kind, "float32")
        k[0, 0, 150 % sizes[3]] *= 40  # a later block has a much higher score
        out = run(q, k, v, mask, causal)
        np.testing.assert_allclose(out, expected(q, k, v, mask, causal), rtol=0, atol=1e-5)


def test_large_scores_do_not_overflow():
    q, k, v, _ = operands((1, 1, 9, 40, 8, 8), "none", "float32")
    q *= 1000
    np.testing.assert_allclose(
        run(q, k, v, None, False), expected(q, k, v, None, False), rtol=0, atol=1e-3
    )


def test_what_is_not_a_number_stays_in_its_row_and_what_nobody_sees_does_not_matter():
    q, k, v, _ = operands((1, 1, 40, 40, 8, 8), "none", "float32")
    q[0, 0, 5, 2] = np.nan
    out = run(q, k, v, None, False)
    assert np.isnan(out[0, 0, 5]).all() and np.isfinite(np.delete(out, 5, 2)).all()
    k[0, 0, 39] = np.nan
    out = run(q, k, v, None, True)
    assert np.isfinite(out[0, 0, 6:39]).all() and np.isnan(out[0, 0, 39]).all()


def attend(q, k, v, mask=None, causal=False):
    return ops.scaled_dot_product_attention(q, k, v, mask, 0.0, causal)


def heads_of_a_projection(x):
    q, k, v = (part.view(2, 11, 3, 8).transpose(1, 2) for part in x.split(24, 2))
    return attend(q, k, v, None, True).transpose(1, 2).reshape(2, 11, 24)


GRAPHS = {
    "projection": (heads_of_a_projection, [(2, 11, 72)]),
    "three dimensions": (attend, [(3, 9, 8), (3, 7, 8), (3, 7, 5)]),
    "matrices": (lambda q, k: attend(q, k, k) * 2, [(9, 8), (7, 8)]),
    "broadcast keys": (attend, [(2, 3, 9, 8), (1, 1, 7, 8), (3, 7, 5)]),
    "transposed": (lambda q, k: attend(q.mT, k.mT, k.mT), [(2, 8, 9), (2, 8, 7)]),
    "computed": (lambda q, k, v: attend(q * 2, k + 1, ops.tanh(v)), [(2, 2, 9, 8)] * 3),
    "mask": (attend, [(2, 2, 9, 8), (2, 2, 7, 8), (2, 2, 7, 8), (9, 7)]),
    "truth": (
        lambda q, k, v, m: attend(q, k, v, m > 0), [(2, 2, 9, 8), (2, 2, 7, 8), (2, 2, 7, 8), (2, 1, 9, 7)]
    ),
    "grouped": (
        lambda q, k: ops.scaled_dot_product_attention(q, k, k, enable_gqa=True),
        [(2, 4, 9, 8), (2, 2, 7, 8)],
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GRAPHS)
def test_compiled(harness, name, dtype):
    function, shapes = GRAPHS[name]
    harness.check(function, *[harness.tensor(*shape, dtype=dtype) for shape in shapes])
    assert harness.fallbacks == [] and harness.reports[0].templates == 1


def test_a_projection_is_read_and_written_in_place(harness):
    function, shapes = GRAPHS["projection"]
    harness.check(function, *[harness.tensor(*shape) for shape in shapes])
    assert harness.kernels == [0]


def test_half_precision_is_computed_in_single(harness):
    q, k, v = (harness.tensor(2, 2, 19, 8) for _ in range(3))
    half = [Tensor._wrap(x.numpy().astype(np.float16)) for x in (q, k, v)]
    harness.check(attend, *half, tolerance=2e-3)
    assert harness.fallbacks == []


def test_gradients_are_those_of_the_decomposition(harness):
    q, k, v = (harness.tensor(2, 2, 9, 8, grad=True) for _ in range(3))
    harness.check(lambda q, k, v: attend(q, k, v, None, True), q, k, v)
    assert harness.fallbacks == []
