"""Matrix products against NumPy in double precision: ragged sizes, layouts, batches, epilogues."""

import numpy as np
import pytest

from inductor import program, threads
from inductor.templates import finish, gemm
from inductor.templates.problem import Problem


def operands(m, n, k, trans_a, trans_b, batch, dtype=np.float32):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((batch, k, m) if trans_a else (batch, m, k), dtype=dtype)
    b = rng.standard_normal((batch, n, k) if trans_b else (batch, k, n), dtype=dtype)
    return a, b


def product(a, b, trans_a, trans_b):
    a = a.astype(np.float64).swapaxes(-1, -2) if trans_a else a.astype(np.float64)
    return a @ (b.astype(np.float64).swapaxes(-1, -2) if trans_b else b.astype(np.float64))


def run(template, *arrays):
    words = [program.input(i) for i in range(len(arrays) - 1)]
    step = template.step(words[0], words[1], program.output(0), *words[2:])
    program.run_step(step, arrays)
    return arrays[-1]


def close(actual, expected, k):
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * scale * max(1, k) ** 0.5)


LAYOUTS = [(False, False), (False, True), (True, False), (True, True)]
SIZES = [(1, 1, 1), (1, 17, 3), (17, 1, 5), (14, 32, 16), (13, 33, 65), (29, 70, 31), (61, 19, 350)]


@pytest.mark.parametrize(("trans_a", "trans_b"), LAYOUTS)
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_ragged(m, n, k, trans_a, trans_b):
    a, b = operands(m, n, k, trans_a, trans_b, 1)
    c = np.full((1, m, n), np.nan, np.float32)
    run(gemm.step(m, n, k, trans_a, trans_b), a, b, c)
    close(c, product(a, b, trans_a, trans_b), k)


@pytest.mark.parametrize(("trans_a", "trans_b"), LAYOUTS)
def test_double_precision(trans_a, trans_b):
    a, b = operands(61, 83, 350, trans_a, trans_b, 2, np.float64)
    c = np.full((2, 61, 83), np.nan)
    run(gemm.step(61, 83, 350, trans_a, trans_b, batch=2, dtype="float64"), a, b, c)
    np.testing.assert_allclose(c, product(a, b, trans_a, trans_b), rtol=0, atol=1e-12)


def test_blocks_of_rows_and_depths_and_threads():
    a, b = operands(530, 300, 700, False, False, 1)
    c = np.full((1, 530, 300), np.nan, np.float32)
    before = threads.get_num_threads()
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            run(gemm.step(530, 300, 700), a, b, c)
            close(c, product(a, b, False, False), 700)
    finally:
        threads.set_num_threads(before)


def test_long_reduction_is_packed_in_spans(monkeypatch):
    monkeypatch.setattr(gemm, "PACKED_BYTES", 1 << 14)
    a, b = operands(40, 300, 1000, False, True, 1)
    c = np.empty((1, 40, 300), np.float32)
    run(gemm.step(40, 300, 1000, False, True), a, b, c)
    close(c, product(a, b, False, True), 1000)


@pytest.mark.parametrize(("trans_a", "trans_b"), LAYOUTS)
def test_batches(trans_a, trans_b):
    a, b = operands(20, 40, 24, trans_a, trans_b, 5)
    c = np.empty((5, 20, 40), np.float32)
    run(gemm.step(20, 40, 24, trans_a, trans_b, batch=5), a, b, c)
    close(c, product(a, b, trans_a, trans_b), 24)


def test_strided_heads():
    """Attention scores straight from a [tokens, 3 * heads * size] projection."""
    tokens, heads, size = 37, 3, 16
    qkv = np.random.default_rng(1).standard_normal((tokens, 3, heads, size), dtype=np.float32)
    out = np.empty((heads, tokens, tokens), np.float32)
    row = 3 * heads * size
    batch = ((heads, size, size, tokens * tokens),)
    problem = Problem(tokens, tokens, size, (row, 1), (1, row), (tokens, 1), batch)
    step = gemm.build(problem).step(
        program.input(0), program.input(0, heads * size * 4), program.output(0)
    )
    program.run_step(step, (qkv, out))
    q, k = qkv[:, 0].transpose(1, 0, 2), qkv[:, 1].transpose(1, 2, 0)
    close(out, q.astype(np.float64) @ k.astype(np.float64), size)


def test_a_broadcast_batch():
    a, b = operands(9, 11, 6, False, False, 4)
    c = np.empty((4, 9, 11), np.float32)
    problem = Problem(9, 11, 6, (6, 1), (11, 1), (11, 1), ((4, 54, 0, 99),))
    run(gemm.build(problem), a, b[:1].copy(), c)
    close(c, a.astype(np.float64) @ b[:1].astype(np.float64), 6)


@pytest.mark.parametrize(("m", "n", "k"), [(0, 5, 3), (5, 0, 3), (5, 6, 0)])
def test_nothing(m, n, k):
    a, b = np.ones((1, m, k), np.float32), np.ones((1, k, n), np.float32)
    c = np.full((1, m, n), 7, np.float32)
    run(gemm.step(m, n, k), a, b, c)
    assert not c.any()


def test_nothing_to_reduce_leaves_the_accumulator():
    c = np.full((1, 5, 6), 7, np.float32)
    a, b = np.ones((1, 5, 0), np.float32), np.ones((1, 0, 6), np.float32)
    assert (run(gemm.step(5, 6, 0, accumulate=True), a, b, c) == 7).all()


def test_accumulate():
    a, b = operands(30, 50, 400, False, False, 1)
    c = np.ones((1, 30, 50), np.float32)
    run(gemm.step(30, 50, 400, accumulate=True), a, b, c)
    close(c, product(a, b, False, False) + 1, 400)


@pytest.mark.parametrize("by_rows", [False, True])
def test_bias_and_relu(by_rows):
    a, b = operands(30, 50, 700, False, True, 1)
    vector = np.random.default_rng(3).standard_normal(30 if by_rows else 50, dtype=np.float32) * 20
    c = np.empty((1, 30, 50), np.float32)
    epilogue = finish.chain(finish.bias(by_rows=by_rows), finish.relu)
    run(gemm.step(30, 50, 700, False, True, epilogue=epilogue), a, b, vector, c)
    expected = product(a, b, False, True) + (vector[:, None] if by_rows else vector)
    close(c, np.maximum(expected, 0), 700)


def test_not_a_number_and_infinity_stay_where_they_belong():
    m, n, k = 20, 50, 40
    a, b = operands(m, n, k, False, False, 1)
    a[0, 3, 5], b[0, 7, 49], a[0, 19, 0] = np.nan, np.inf, -np.inf
    c = np.empty((1, m, n), np.float32)
    run(gemm.step(m, n, k, epilogue=finish.relu), a, b, c)
    with np.errstate(invalid="ignore"):
        expected = product(a, b, False, False)
    expected = np.where(expected < 0, 0, expected)
    assert (np.isnan(c) == np.isnan(expected)).all()
    assert (np.isinf(c) == np.isinf(expected)).all()
    finite = np.isfinite(expected)
    np.testing.assert_allclose(c[finite], expected[finite], atol=1e-4)


def test_neighbours_are_not_touched():
    a, b = operands(5, 19, 8, False, False, 1)
    wide = np.full((7, 40), 9, np.float32)
    problem = Problem(5, 19, 8, (8, 1), (19, 1), (40, 1))
    step = gemm.build(problem).step(
        program.input(0), program.input(1), program.output(0, (40 + 10) * 4)
    )
    program.run_step(step, (a, b, wide))
    close(wide[1:6, 10:29], product(a, b, False, False)[0], 8)
    wide[1:6, 10:29] = 9
    assert (wide == 9).all()


def test_layouts_that_are_not_supported_say_so():
    with pytest.raises(ValueError, match="operand a"):
        gemm.build(Problem(4, 4, 4, (8, 2), (4, 1), (4, 1)))
    with pytest.raises(ValueError, match="contiguous"):
        gemm.build(Problem(4, 4, 4, (4, 1), (4, 1), (1, 4)))


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_tiles_fit_the_registers(lanes):
    for m in (1, 2, 5, 14, 15, 128, 1000):
        for n in (1, 16, 33, 1000):
            registers = 32 if lanes == 16 else 16
            tile = gemm.choose_tile(m, n, lanes, registers)
            used = tile.rows * tile.vectors + tile.vectors + 1
            assert 1 <= tile.rows <= min(m, lanes) and used <= registers


@pytest.mark.parametrize("bits", [128, 256])
def test_narrower_vectors(bits, monkeypatch):
    for module in ("emit", "gemm"):
        monkeypatch.setattr(f"inductor.templates.{module}.vector_bits", lambda: bits)
    for trans_a, trans_b in LAYOUTS:
        a, b = operands(23, 37, 45, trans_a, trans_b, 2)
        c = np.full((2, 23, 37), np.nan, np.float32)
        run(gemm.step(23, 37, 45, trans_a, trans_b, batch=2), a, b, c)
        close(c, product(a, b, trans_a, trans_b), 45)
