"""Gradients of attention in one pass: sizes, masks, layouts, special values, threads; the operator in
eager and its second derivative. Judged by torch in double precision."""

import numpy as np
import pytest

import flambeau
from inductor import threads

torch = pytest.importorskip("torch")

SIZES = {  # batch, heads, rows, columns, depth, width
    "one": (1, 1, 1, 1, 1, 1),
    "ragged": (2, 3, 5, 7, 4, 6),
    "square": (1, 2, 33, 33, 16, 16),
    "tall": (2, 1, 70, 40, 64, 64),
    "blocks": (1, 2, 130, 300, 20, 33),
    "many blocks": (1, 1, 300, 530, 8, 8),
}
CASES = [
    *(("ragged", kind) for kind in ("none", "causal", "bool", "float", "row")),
    ("one", "none"), ("square", "causal"), ("tall", "bool"), ("blocks", "causal"),
    ("many blocks", "float"),
]


def operands(sizes, kind, seed=0):
    batch, heads, rows, columns, depth, width = sizes
    random = np.random.default_rng(seed)
    lengths = ((rows, depth), (columns, depth), (columns, width), (rows, width))
    given = [random.standard_normal((batch, heads, *s)) for s in lengths]
    mask = None
    if kind == "bool":
        mask = random.random((batch, 1, rows, columns)) < 0.7
        mask[0, 0, min(3, rows - 1)] = False
    if kind == "float":
        mask = random.standard_normal((batch, 1, 1, columns))
    if kind == "row":
        mask = random.standard_normal((rows, 1))
    return given, mask


def gradients(library, given, mask, dtype, run=None, **options):
    """The result and the gradients; `run` may wrap the function."""
    *inputs, gradient = (library.tensor(x.astype(dtype)) for x in given)
    for x in inputs:
        x.requires_grad_()
    if mask is not None:
        mask = library.tensor(mask if mask.dtype == bool else mask.astype(dtype))

    def attend(q, k, v):
        sdpa = library.nn.functional.scaled_dot_product_attention
        return sdpa(q, k, v, attn_mask=mask, **options)

    out = (run(attend) if run else attend)(*inputs)
    out.backward(gradient)
    return [out.detach().numpy(), *(x.grad.numpy() for x in inputs)]


def check(found, expected, tolerance):
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name, kind", CASES)
def test_gradients(steps, name, kind):
    given, mask = operands(SIZES[name], kind)
    options = {"is_causal": kind == "causal"}
    expected = gradients(torch, given, mask, np.float64, **options)
    check(gradients(flambeau, given, mask, np.float64, **options), expected, 1e-12)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        if dtype is np.float64 and "block" in name:
            continue  # code of its own, which takes long to compile
        found = gradients(flambeau, given, mask, dtype, flambeau.compile, **options)
        check(found, expected, tolerance)
    assert any(step.startswith("attention_gradient") for step in steps)


def test_grouped_queries_and_three_dimensions(steps):
    given, _ = operands((2, 4, 9, 11, 8, 8), "none")
    given[1], given[2] = given[1][:, :2], given[2][:, :2]
    expected = gradients(torch, given, None, np.float64, enable_gqa=True)
    run = flambeau.compile
    check(gradients(flambeau, given, None, np.float64, run, enable_gqa=True), expected, 1e-12)
    given = [x[:, 0] for x in operands((3, 1, 9, 11, 8, 8), "none")[0]]
    expected = gradients(torch, given, None, np.float64)
    check(gradients(flambeau, given, None, np.float64, run), expected, 1e-12)
    assert sum(step.startswith("attention_gradient") for step in steps) == 2


def test_heads_are_read_and_written_in_place(steps):
    """What a projection gives is split into heads, and its gradient is written side by side."""
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, 10, 24)), random.standard_normal((24, 72)) / 5

    def run(library, wrap=lambda f: f):
        def block(x, w):
            q, k, v = (
                part.view(2, 10, 3, 8).transpose(1, 2) for part in (x @ w).split(24, 2)
            )
            y = library.nn.functional.scaled_dot_product_attention(q, k, v)
            return y.transpose(1, 2).reshape(2, 10, 24)

        inputs = [library.tensor(a, requires_grad=True) for a in (x, w)]
        wrap(block)(*inputs).square().sum().backward()
        return [a.grad.numpy() for a in inputs]

    check(run(flambeau, flambeau.compile), run(torch), 1e-11)
    assert sum(step.startswith("attention") for step in steps) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_values(value):
    given, _ = operands((1, 1, 20, 40, 8, 8), "none")
    given[0][0, 0, 5, 2] = value
    given[1][..., 2] = np.abs(given[1][..., 2]) + 1  # all scores of the row go the same way
    expected = gradients(torch, given, None, np.float64)
    for run in (None, flambeau.compile):
        found = gradients(flambeau, given, None, np.float64, run)
        assert np.isnan(found[0][0, 0, 5]).all() == np.isnan(expected[0][0, 0, 5]).all()
        np.testing.assert_allclose(
            np.delete(found[1], 5, 2), np.delete(expected[1], 5, 2), rtol=0, atol=1e-12
        )
        assert np.isnan(found[2]).any() == np.isnan(expected[2]).any()


def test_a_mask_that_wants_a_gradient():
    given, mask = operands(SIZES["ragged"], "float")

    def run(library, wrap=lambda f: f):
        inputs = [library.tensor(x, requires_grad=True) for x in (*given[:3], mask)]
        attend = wrap(library.nn.functional.scaled_dot_product_attention)
        attend(*inputs).backward(library.tensor(given[3]))
        return [x.grad.numpy() for x in inputs]

    expected = run(torch)
    check(run(flambeau), expected, 1e-12)
    check(run(flambeau, flambeau.compile), expected, 1e-12)


def test_threads_do_not_change_the_result():
    given, _ = operands((2, 3, 70, 90, 16, 16), "none")
    before = threads.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            threads.set_num_threads(count)
            results.append(gradients(flambeau, given, None, np.float32, flambeau.compile))
    finally:
        threads.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_second_derivative():
    given, _ = operands((1, 2, 4, 5, 3, 3), "none")
    inputs = tuple(flambeau.tensor(x, requires_grad=True) for x in given[:3])
    attend = flambeau.nn.functional.scaled_dot_product_attention
    assert flambeau.autograd.gradgradcheck(attend, inputs)


def test_nothing_wanted_of_some():
    given, _ = operands(SIZES["ragged"], "none")
    for wanted in ((0,), (2,), (0, 1)):
        results = []
        for library in (torch, flambeau):
            inputs = [library.tensor(x, requires_grad=n in wanted) for n, x in enumerate(given[:3])]
            attend = library.nn.functional.scaled_dot_product_attention
            run = flambeau.compile(attend) if library is flambeau else attend
            run(*inputs).backward(library.tensor(given[3]))
            assert all((x.grad is not None) == (n in wanted) for n, x in enumerate(inputs))
            results.append([inputs[n].grad.numpy() for n in wanted])
        check(*results, 1e-12)
