"""Lowering by kind: each operator compiled gives what eager gives, gradients included, and nothing
falls back that need not.
"""

import numpy as np
import pytest

from eager import rng
from eager.registry import ops
from inductor.index import symbol
from inductor.indexing import filled
from inductor.loops import Inspection, temporary
from inductor.lower import view
from inductor.values import Stored


def t(harness, *shape, **how):
    return harness.tensor(*shape, grad=how.pop("grad", True), **how)


PROGRAMS = {
    "broadcast": (lambda a, b: ops.gelu(a * b + 1), [(8, 5), (5,)]),
    "where": (lambda a, b: ops.where(a > 0, a, b * 2), [(6, 7), (7,)]),
    "powers": (lambda a: (a**2, a.abs() ** 1.5, a**3), [(6, 7)]),
    "softmax": (lambda a: ops.softmax(a, -1), [(6, 33)]),
    "layer_norm": (lambda x, w, b: ops.layer_norm(x, (16,), w, b), [(2, 3, 16), (16,), (16,)]),
    "batch_norm": (
        lambda x, w, b: ops.batch_norm(x, None, None, w, b, True, 0.1, 1e-5), [(4, 8, 5, 5), (8,), (8,)]
    ),
    "reductions": (lambda a: (a.sum(), a.mean(0), a.amax(1), a.std(1), a.var()), [(9, 11)]),
    "keepdim": (lambda a: a - a.mean((0, 2), keepdim=True), [(3, 4, 5)]),
    "views": (lambda a: (a[:, 1:5] * 2, a[1], a[::2], a.transpose(0, 1).reshape(-1)), [(6, 7)]),
    "transpose": (lambda a: a.transpose(1, 2).contiguous() * 2, [(2, 48, 40)]),
    "expand": (lambda a: a.expand(4, 3, 5) * 2, [(3, 1)]),
    "cat": (lambda a, b: ops.cat([a * 2, b.exp()], 1), [(4, 3), (4, 5)]),
    "stack": (lambda a, b: ops.stack([a, b], 1) * 2, [(4, 3), (4, 3)]),
    "pad": (lambda a: ops.constant_pad_nd(a * 2, (1, 2, 0, 1), 3.0), [(4, 3)]),
    "flip": (lambda a: ops.flip(a, (0, 1)) * 2, [(4, 3)]),
    "triangle": (lambda a: ops.tril(a) + ops.triu(a, 1), [(5, 5)]),
    "mm": (lambda a, b: ops.relu(a @ b), [(5, 6), (6, 7)]),
    "linear": (lambda x, w, b: ops.linear(x, w, b), [(3, 4, 8), (6, 8), (6,)]),
    "bmm": (lambda a, b: (a * 2) @ b.transpose(1, 2), [(3, 4, 5), (3, 6, 5)]),
    "convolution": (lambda x, w, b: ops.relu(ops.conv2d(x, w, b, 1, 1)), [(2, 3, 6, 6), (4, 3, 3, 3), (4,)]),
    "grouped": (lambda x, w, b: ops.conv2d(x, w, b, 2, 1, 1, 3), [(2, 3, 6, 6), (6, 1, 3, 3), (6,)]),
    "max_pool": (lambda x: ops.max_pool2d(x, 3, 2, 1), [(2, 3, 7, 7)]),
    "avg_pool": (lambda x: ops.avg_pool2d(x, 3, 2, 1), [(2, 3, 7, 7)]),
    "adaptive": (lambda x: ops.adaptive_avg_pool2d(x, 1), [(2, 3, 6, 6)]),
    "roll": (lambda x: (ops.roll(x, 2, 1), ops.roll(x, (1, -2), (0, 1)), ops.roll(x, 3)), [(4, 5)]),
    "select_scatter": (lambda x, y: ops.select_scatter(x * 2, y, 1, 2), [(4, 5), (4,)]),
    "slice_scatter": (lambda x, y: ops.slice_scatter(x * 2, y, 1, 1, 5, 2), [(4, 5), (4, 2)]),
    "diagonal": (lambda x: ops.diagonal(x, 1, 0, 1) * 2, [(4, 5)]),
    "adaptive_4": (lambda x: ops.adaptive_avg_pool2d(x, (2, 3)), [(2, 3, 4, 6)]),
    "running": (lambda x: (ops.cumsum(x * 2, 1), ops.cumsum(x, 0), ops.cumsum(x, 2)), [(3, 4, 5)]),
    "sorted": (lambda x: ops.max_dim(x, 1)[0], [(4, 9)]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(harness, name):
    function, shapes = PROGRAMS[name]
    harness.check(function, *[t(harness, *shape) for shape in shapes])
    assert harness.fallbacks == []


INDEXED = {
    "embedding": (lambda w, i: ops.embedding(i, w) * 2, (10, 8), (4, 3), 10),
    "index_select": (lambda a, i: ops.index_select(a, 1, i) * 2, (4, 9), (5,), 9),
    "gather": (lambda a, i: ops.gather(a, 1, i) * 2, (4, 9), (4, 5), 9),
    "index": (lambda a, i: a[i] + 1, (6, 7), (4,), 6),
    "cross_entropy": (lambda a, i: ops.cross_entropy(a, i), (8, 10), (8,), 10),
}


@pytest.mark.parametrize("name", INDEXED)
def test_indices(harness, name):
    function, shape, places, below = INDEXED[name]
    values = t(harness, *shape)
    harness.check(function, values, harness.tensor(*places, dtype="int64", below=below))
    assert harness.fallbacks == []


def test_scatter(harness):
    index = harness.tensor(4, 5, dtype="int64", below=9)
    a, b = t(harness, 4, 9), t(harness, 4, 5)
    harness.check(lambda a, b, i: ops.scatter_add(a, 1, i, b) * 2, a, b, index)
    rows = harness.tensor(6, dtype="int64", below=4)
    harness.check(lambda a, b, i: ops.index_add(a, 0, i, b), a, t(harness, 6, 9), rows)
    assert harness.fallbacks == []


@pytest.mark.parametrize("bad", [10, -1])
def test_an_index_out_of_range_is_eagers_error(harness, bad):
    weight, index = harness.tensor(10, 4), harness.tensor(3, dtype="int64", below=10)
    run = harness.compile(lambda w, i: ops.embedding(i, w) + 1, weight, index)
    run(weight, index)
    index.numpy()[1] = bad
    with pytest.raises(IndexError):
        ops.embedding(index, weight)
    with pytest.raises(IndexError):
        run(weight, index)
    index.numpy()[1] = 9
    run(weight, index)  # and the program still works


def test_integers(harness):
    a = harness.tensor(50, dtype="int64", below=100)
    b = harness.tensor(50, dtype="int64", below=5)
    b.numpy()[:] += 1
    harness.check(lambda a, b: (a // b, a % b, a + b, a * b, a / b, a & b, a << b), a, b)
    run = harness.compile(lambda a, b: a // b, a, b)
    b.numpy()[3] = 0
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run(a, b)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool"])
def test_types(harness, dtype):
    a = harness.tensor(6, 7, dtype=dtype, below=2 if dtype == "bool" else 9 if dtype == "int32" else None)
    tolerance = 2e-3 if dtype == "float16" else 1e-5
    harness.check(lambda a: (a + a, a > 0, a.sum(1), ops.tanh(a)), a, tolerance=tolerance)


def test_products_in_double_precision_and_of_integers(harness):
    a, b = (harness.tensor(*s, dtype="float64", grad=True) for s in ((3, 40, 50), (3, 50, 60)))
    harness.check(lambda a, b: (a @ b).tanh(), a, b)
    assert harness.fallbacks == [] and harness.reports[0].templates == 1
    whole = [harness.tensor(5, 5, dtype="int64", below=9) for _ in range(2)]
    harness.check(lambda a, b: a @ b, *whole)
    assert harness.fallbacks == []


def test_random_numbers_are_eagers(harness):
    x = t(harness, 33, 7)
    run = harness.compile(lambda x: (ops.dropout(x, 0.4, True), x + ops.rand((33, 7)), ops.randn_like(x)), x)
    for _ in range(2):
        state = rng.get_rng_state()
        got = run(x)
        rng.set_rng_state(state)
        want = (ops.dropout(x, 0.4, True), x + ops.rand((33, 7)), ops.randn_like(x))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=2e-6)
    assert harness.fallbacks == []


def test_strided_inputs(harness):
    a = harness.tensor(6, 8)
    for made in (a.transpose(0, 1), a[::2], a[:, 1:5], a[0].expand(6, 8)):
        harness.check(lambda x: (x * 2, x.sum(0)), made)


def test_other_strides_than_the_examples_are_laid_out_anew(harness):
    a = harness.tensor(6, 6)
    run = harness.compile(lambda x: x * 2, a)
    turned = a.transpose(0, 1)
    np.testing.assert_array_equal(run(turned)[0].numpy(), turned.numpy() * 2)
    with pytest.raises(RuntimeError, match="compiled"):
        run(harness.tensor(6, 7))


def test_empty_and_scalar_tensors(harness):
    harness.check(lambda x: (x * 2, x.sum()), harness.tensor(0, 4))
    harness.check(lambda x: (x.exp(), x.sum()), harness.tensor())


def test_what_has_no_lowering_is_counted_and_still_right(harness):
    x = t(harness, 5, 6)
    harness.check(lambda x: ops.cumprod(x * 2, 1) * 3, x)
    assert "cumprod" in harness.fallbacks
    assert harness.reports[0].segments == 2


def test_an_output_never_shares_memory_with_an_input(harness):
    x = harness.tensor(4, 4)
    run = harness.compile(lambda x: (x.clone(), x.transpose(0, 1).clone()), x)
    for result in run(x):
        assert not np.shares_memory(result.numpy(), x.numpy())


def test_results_are_aligned_and_not_overwritten_by_the_next_call(harness):
    x = harness.tensor(100)
    run = harness.compile(lambda x: x + 1, x)
    first = run(x)[0]
    kept = first.numpy().copy()
    x.numpy()[:] += 5
    second = run(x)[0]
    assert first.numpy().ctypes.data % 64 == 0 and second.numpy().ctypes.data % 64 == 0
    np.testing.assert_array_equal(first.numpy(), kept)


def test_views_rewrite_coordinates_and_make_no_loop():
    base = Stored.whole(temporary("x", "float32", (4, 6)))
    turned = view(base, (6, 4), (1, 6), 0)
    assert turned.stored().strides == (1, 6)
    flat = view(turned, (24,), (1,), 0)
    assert flat.stored() is None  # not strided any more, but still no copy
    found = Inspection()
    flat.at(found, tuple(symbol(v) for v in flat.variables()))
    assert len(found.reads) == 1


def test_a_constant_reads_nothing():
    found = Inspection()
    filled((3,), "float32", 2).at(found, tuple(symbol(v) for v in filled((3,), "float32", 2).variables()))
    assert not found.reads
