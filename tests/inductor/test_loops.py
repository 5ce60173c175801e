"""Loops made by hand: their source, what it computes, and that every primitive of the algebra has
code.
"""

import numpy as np
import pytest

from eager.algebra import BINARY, NUMPY, PRIMITIVES, UNARY
from inductor.codegen import build
from inductor.codegen.kernel import Member, Plan, generate
from inductor.index import Variable, symbol
from inductor.loops import Inspection, TypedAlgebra, pointwise, reduction, temporary


def run(source, **arrays):
    function = build.kernel(source.text)
    assert not any(source.offsets)
    words = np.array([arrays[b.name].ctypes.data for b in source.arguments], np.int64)
    return function(words.ctypes.data, 0, source.rows)


def single(loop):
    """A pointwise loop over one dimension as a kernel of its own."""
    at = {v: symbol(v) for v in loop.dims}
    return generate(Plan([Member(loop, at)], loop.dims, (), frozenset(), {loop.target}))


def rows(loops, results, reduced, stores):
    p, r = Variable("i0", results), Variable("r0", reduced)
    members = [
        Member(loop, dict(zip((*loop.dims, *loop.reduced), (symbol(p), symbol(r)), strict=False)))
        for loop in loops
    ]
    return generate(Plan(members, (p,), (r,), frozenset((r,)), stores))


def test_a_fused_pointwise_kernel_is_readable_and_right():
    a, b, c, out = (temporary(n, "float32", (1000,)) for n in ("a", "b", "c", "out"))

    def body(s, i):
        x = s.load(a, i[0]) * s.load(b, i[0]) + s.load(c, i[0])
        return 0.5 * x * (1 + s.erf(x * 0.7071067811865476))

    source = single(pointwise(out, body))
    assert source.text.splitlines()[:3] == [
        "def kernel(arguments, start, stop):",
        "    in0 = pointer_float32(arguments[0])",
        "    in1 = pointer_float32(arguments[1])",
    ]
    assert "t7 = erf_float32(t6)" in source.text
    random = np.random.default_rng(0)
    arrays = {n: random.standard_normal(1000).astype(np.float32) for n in ("a", "b", "c", "out")}
    assert run(source, **arrays) == 0
    x = arrays["a"].astype(float) * arrays["b"] + arrays["c"]
    np.testing.assert_allclose(arrays["out"], 0.5 * x * (1 + NUMPY.erf(x / np.sqrt(2))), atol=2e-6)


@pytest.mark.parametrize("shape", [(7, 128), (3, 5), (2, 1), (4, 20_000)])
def test_softmax_in_one_kernel(shape):
    p, r = shape
    x, e, out = (temporary(n, "float32", shape) for n in ("x", "e", "out"))
    top, total = (temporary(n, "float32", (p,)) for n in ("top", "total"))
    loops = [
        reduction(top, (r,), "max", lambda s, i: s.load(x, x.index(i))),
        pointwise(e, lambda s, i: s.exp(s.load(x, x.index(i)) - s.load(top, i[0]))),
        reduction(total, (r,), "sum", lambda s, i: s.load(e, e.index(i))),
        pointwise(out, lambda s, i: s.load(e, e.index(i)) / s.load(total, i[0])),
    ]
    source = rows(loops, p, r, {out})
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    data[0, 0] = np.nan
    result, spill = np.empty_like(data), np.empty_like(data)
    assert run(source, x=data, out=result, e=spill) == 0
    want = np.exp(data - data.max(1, keepdims=True))
    want /= want.sum(1, keepdims=True)
    np.testing.assert_allclose(result, want, rtol=2e-6)


def test_results_that_are_contiguous_are_accumulated_side_by_side():
    x, out = temporary("x", "float32", (50, 64)), temporary("out", "float32", (64,))
    loop = reduction(out, (50,), "sum", lambda s, i: s.load(x, x.index((i[1], i[0]))))
    lane, r = Variable("j0", 64), Variable("r0", 50)
    at = {loop.dims[0]: symbol(lane), loop.reduced[0]: symbol(r)}
    source = generate(Plan([Member(loop, at)], (), (r, lane), frozenset((r,)), {out}))
    data = np.random.default_rng(0).standard_normal((50, 64)).astype(np.float32)
    result = np.empty(64, np.float32)
    assert run(source, x=data, out=result) == 0
    np.testing.assert_allclose(result, data.sum(0, dtype=float), rtol=1e-5, atol=1e-5)


def test_two_kernels_of_one_process_do_not_share_scratch_memory():
    for width in (64, 192, 64):
        test_results = np.random.default_rng(width).standard_normal((9, width)).astype(np.float32)
        x, out = temporary("x", "float32", (9, width)), temporary("out", "float32", (width,))
        loop = reduction(out, (9,), "sum", lambda s, i, x=x: s.load(x, x.index((i[1], i[0]))))
        lane, r = Variable("j0", width), Variable("r0", 9)
        at = {loop.dims[0]: symbol(lane), loop.reduced[0]: symbol(r)}
        source = generate(Plan([Member(loop, at)], (), (r, lane), frozenset((r,)), {out}))
        result = np.empty(width, np.float32)
        assert run(source, x=test_results, out=result) == 0
        np.testing.assert_allclose(result, test_results.sum(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("index, code", [([0, 3, 9, 2], 0), ([0, 3, 10, 2], 1), ([0, -1, 2, 3], 1)])
def test_indices_are_checked_in_the_kernel(index, code):
    table, where = temporary("table", "float32", (10,)), temporary("where", "int64", (4,))
    out = temporary("out", "float32", (4,))

    def body(s, i):
        return s.load(table, s.indirect(s.load(where, i[0]), 10))

    result = np.full(4, 7, np.float32)
    data = np.arange(10, dtype=np.float32)
    assert run(single(pointwise(out, body)), table=data, where=np.array(index), out=result) == code
    if code == 0:
        np.testing.assert_array_equal(result, data[index])


def test_division_of_integers_by_zero_is_an_error():
    a, b, out = (temporary(n, "int64", (3,)) for n in ("a", "b", "out"))
    source = single(pointwise(out, lambda s, i: s.load(a, i[0]) // s.load(b, i[0])))
    a_data, result = np.array([7, -7, 7]), np.empty(3, np.int64)
    assert run(source, a=a_data, b=np.array([2, 2, -2]), out=result) == 0
    assert result.tolist() == [3, -4, -4]
    assert run(source, a=a_data, b=np.array([2, 0, 1]), out=result) == 2


def test_every_primitive_has_code_and_no_more():
    for name in PRIMITIVES:
        assert callable(getattr(TypedAlgebra, name, None)), name
    sugar = {"load", "index", "indirect", "clamped", "random", "literal", "operation", "convert",
             "once", "cast_to", "common"}
    public = {n for n in dir(TypedAlgebra) if not n.startswith("_")}
    assert public - sugar == set(PRIMITIVES)


INTEGERS = "bitwise_and bitwise_or bitwise_xor bitwise_not left_shift right_shift gcd lcm int_div".split()
WHOLE = (
    "add sub mul floor_div remainder fmod maximum minimum fmax fmin eq ne lt le gt ge logical_and logical_or logical_xor "
    "logical_not bitwise_and bitwise_or bitwise_xor bitwise_not left_shift right_shift gcd lcm int_div pow abs sign neg "
    "square floor ceil round trunc div isnan isfinite"
).split()
LOGICAL = (
    "add mul maximum minimum eq ne lt le gt ge logical_and logical_or logical_xor logical_not bitwise_and bitwise_or "
    "bitwise_xor bitwise_not"
).split()


def operands(dtype):
    random = np.random.default_rng(3)
    if dtype.startswith("float"):
        return random.uniform(0.1, 0.9, 64).astype(dtype), random.uniform(0.2, 2, 64).astype(dtype)
    low, high = (0, 2) if dtype == "bool" else (1, 9)
    return random.integers(low, high, 64).astype(dtype), random.integers(low, high, 64).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_primitives_compute_what_numpy_does(dtype):
    """All primitives of a type in one kernel, against the algebra that eager runs."""
    names = [*UNARY, *BINARY]
    if dtype.startswith("float"):
        left_out = set(INTEGERS) | {"angle", "acosh", "nextafter" if dtype == "float32" else ""}
        names = [n for n in names if n not in left_out]
    else:
        names = LOGICAL if dtype == "bool" else WHOLE
    x, y = operands(dtype)
    a, b = temporary("a", dtype, (64,)), temporary("b", dtype, (64,))
    want, loops, results = {}, [], {}
    for name in names:
        with np.errstate(all="ignore"):
            found = getattr(NUMPY, name)(*((x, y) if name in BINARY else (x,)))
        want[name] = np.asarray(found)
        results[name] = np.empty(64, want[name].dtype)

        def body(s, i, name=name):
            values = [s.load(a, i[0]), s.load(b, i[0])]
            return getattr(s, name)(*values[: 2 if name in BINARY else 1])

        loops.append(pointwise(temporary(name, results[name].dtype.name, (64,)), body))
    i0 = Variable("i0", 64)
    members = [Member(loop, {loop.dims[0]: symbol(i0)}) for loop in loops]
    source = generate(Plan(members, (i0,), (), frozenset(), {loop.target for loop in loops}))
    assert run(source, a=x, b=y, **results) == 0
    tolerance = 1e-10 if dtype == "float64" else 2e-5
    for name in names:
        np.testing.assert_allclose(
            results[name], want[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


def test_an_inspection_lists_reads_and_counts_work():
    a, out = temporary("a", "float32", (8,)), temporary("out", "float32", (8,))
    found = Inspection()
    loop = pointwise(out, lambda s, i: s.exp(s.load(a, i[0])) + s.exp(s.load(a, i[0])))
    loop.element(found, {})
    assert [r.buffer for r in found.reads.values()] == [a]
    assert found.weight == 13  # one exponential, one sum: equal parts are one


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    a, out = temporary("a", dtype, (64,)), temporary("out", dtype, (64,))
    x = np.random.default_rng(0).standard_normal(64).astype(kind)
    result = np.zeros(64, kind)
    source = single(pointwise(out, lambda s, i: s.exp(s.load(a, i[0])) * 2))
    assert run(source, a=x, out=result) == 0
    np.testing.assert_array_equal(result, (np.exp(x.astype(np.float32)) * 2).astype(kind))
