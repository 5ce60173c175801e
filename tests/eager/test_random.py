"""Random numbers: Philox's known answers, streams that depend on seed and offset only,
distributions, generators."""

import copy
import pickle

import numpy as np
import pytest

from eager import dtype as dtypes
from eager import rng
from eager.op import ops
from eager.tensor import Tensor

# From the Random123 distribution's kat_vectors: philox4x32 10 rounds; counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
]


@pytest.mark.parametrize("counter, key, result", KNOWN)
def test_known_answers(counter, key, result):
    found = rng.blocks(key[0] | key[1] << 32, counter[0] | counter[1] << 32, 1)[0]
    assert tuple(int(v) for v in found) == result


def plain_philox(seed, offset):
    """The algorithm of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", in Python's
    integers."""
    c = [offset & 0xFFFFFFFF, offset >> 32, 0, 0]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


@pytest.mark.parametrize(
    "seed, offset", [(0, 0), (1, 2), (2**64 - 1, 2**32 - 2), (123456789123456789, 2**40 + 17)]
)
def test_vectorised_is_the_plain_algorithm(seed, offset):
    expected = [plain_philox(seed, offset + i) for i in range(5)]
    np.testing.assert_array_equal(rng.blocks(seed, offset, 5), expected)


def test_chunks_do_not_show():
    count = rng._BLOCKS * 2 + 3
    whole = rng.blocks(5, 7, count)
    np.testing.assert_array_equal(
        whole[rng._BLOCKS + 1 :], rng.blocks(5, 7 + rng._BLOCKS + 1, count - rng._BLOCKS - 1)
    )


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64])
def test_an_element_depends_on_its_place_only(dtype):
    rng.manual_seed(3)
    long = ops.rand(40, dtype=dtype)
    rng.manual_seed(3)
    short = ops.rand(13, dtype=dtype)
    assert short.tolist() == long[:13].tolist()
    per_block = 2 if dtype is dtypes.float64 else 4
    assert rng.default_generator.get_offset() == -(-13 // per_block)
    assert ops.rand(2, dtype=dtype).tolist() == long[per_block * -(-13 // per_block) :][:2].tolist()


def test_seeds_repeat_and_differ():
    rng.manual_seed(1)
    first = ops.randn(100)
    rng.manual_seed(1)
    assert ops.equal(first, ops.randn(100))
    rng.manual_seed(2)
    assert not ops.equal(first, ops.randn(100))
    assert rng.initial_seed() == 2
    drawn = rng.seed()
    assert rng.initial_seed() == drawn


def test_state_is_saved_and_restored():
    rng.manual_seed(1)
    ops.rand(10)
    state = rng.get_rng_state()
    assert state.dtype is dtypes.uint8
    first = ops.rand(5)
    rng.set_rng_state(state)
    assert ops.equal(first, ops.rand(5))
    with rng.fork_rng():
        ops.rand(100)
        rng.manual_seed(99)
    with rng.fork_rng(enabled=False):
        pass
    rng.set_rng_state(state)
    with rng.fork_rng():
        assert ops.equal(first, ops.rand(5))
    assert ops.equal(first, ops.rand(5))


def test_a_generator_is_its_own_stream():
    generator = rng.Generator().manual_seed(7)
    rng.manual_seed(1)
    before = rng.default_generator.get_offset()
    first = ops.rand(3, generator=generator)
    assert rng.default_generator.get_offset() == before
    assert ops.equal(ops.rand(3, generator=rng.Generator().manual_seed(7)), first)
    again = pickle.loads(pickle.dumps(generator))
    assert ops.equal(ops.rand(3, generator=again), ops.rand(3, generator=copy.deepcopy(generator)))
    for bad in (ops.zeros(16), ops.zeros(3, dtype=dtypes.uint8)):
        with pytest.raises((TypeError, RuntimeError)):
            generator.set_state(bad)
    with pytest.raises(RuntimeError):
        generator.manual_seed(2**64)


N = 40_000


def draws(fill):
    rng.manual_seed(11)
    return fill(ops.empty(N)).numpy().astype(np.float64)


@pytest.mark.parametrize(
    "fill, mean, variance",
    [
        (lambda x: x.uniform_(-1, 3), 1.0, 16 / 12),
        (lambda x: x.normal_(2, 3), 2.0, 9.0),
        (lambda x: x.exponential_(0.5), 2.0, 4.0),
        (lambda x: x.bernoulli_(0.3), 0.3, 0.21),
        (lambda x: x.geometric_(0.25), 4.0, 12.0),
        (lambda x: x.random_(10), 4.5, 99 / 12),
        (lambda x: x.log_normal_(0, 0.5), np.exp(0.125), (np.exp(0.25) - 1) * np.exp(0.25)),
        (lambda x: ops.poisson(x.fill_(3.0)), 3.0, 3.0),
    ],
)
def test_moments(fill, mean, variance):
    found = draws(fill)
    assert abs(found.mean() - mean) < 5 * np.sqrt(variance / N)
    assert abs(found.var() - variance) < 0.1 * variance


def test_distribution_of_uniform_and_normal_numbers():
    even = np.sort(draws(lambda x: x.uniform_()))
    assert np.abs(even - (np.arange(N) + 0.5) / N).max() < 1.95 / np.sqrt(
        N
    )  # Kolmogorov and Smirnov, at 0.1 %
    assert even[0] >= 0 and even[-1] < 1
    normal = Tensor._wrap(np.sort(draws(lambda x: x.normal_())))
    share = (ops.erf(normal / 2**0.5) + 1) / 2
    assert np.abs(share.numpy() - (np.arange(N) + 0.5) / N).max() < 1.95 / np.sqrt(N)


def test_integers_and_orders():
    rng.manual_seed(5)
    found = ops.randint(-2, 3, (N,)).numpy()
    assert (
        np.abs(np.bincount(found + 2) / N - 0.2).max() < 0.01
        and found.min() == -2
        and found.max() == 2
    )
    assert sorted(ops.randperm(50).tolist()) == list(range(50))
    assert ops.randperm(0).shape == (0,)
    first = np.bincount([ops.randperm(4)[0].item() for _ in range(400)], minlength=4)
    assert first.min() > 60


def test_choices_follow_the_weights():
    rng.manual_seed(5)
    weights = ops.convert(ops.arange(4), dtypes.float32)
    found = ops.multinomial(weights, N, True).numpy()
    np.testing.assert_allclose(
        np.bincount(found, minlength=4) / N, np.array([0, 1, 2, 3]) / 6, atol=0.01
    )
    first = [ops.multinomial(weights, 3).tolist() for _ in range(300)]
    assert all(sorted(f) == [1, 2, 3] for f in first)
    assert np.bincount([f[0] for f in first], minlength=4)[3] > 110
    assert ops.multinomial(ops.ones(2, 5), 2).shape == (2, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.rand(2, dtype=dtypes.int64),
        lambda: ops.randint(5, 5, (2,)),
        lambda: ops.bernoulli(ops.full((2,), 1.5)),
        lambda: ops.multinomial(ops.ones(2), 3),
        lambda: ops.multinomial(ops.zeros(2), 1),
        lambda: ops.empty(2).normal_(0, -1),
        lambda: ops.empty(2).uniform_(2, 1),
        lambda: ops.randperm(-1),
        lambda: ops.multinomial(ops.ones(2, 2, 2), 1),
    ],
)
def test_wrong_parameters_are_refused(call):
    with pytest.raises(RuntimeError):
        call()


def test_normal_in_its_forms():
    rng.manual_seed(0)
    assert ops.normal(0.0, 1.0, (2, 3)).shape == (2, 3)
    assert ops.normal(ops.zeros(2, 1), ops.ones(3)).shape == (2, 3)
    assert ops.normal(ops.full((1000,), 5.0), 0.1).mean().item() == pytest.approx(5, abs=0.05)
    assert ops.normal(2.0, ops.zeros(3)).tolist() == [2, 2, 2]


def test_half_precision_stays_below_one():
    rng.manual_seed(0)
    for dtype in (dtypes.float16, dtypes.bfloat16):
        found = ops.rand(N, dtype=dtype)
        assert found.dtype is dtype and float(ops.convert(found, dtypes.float32).max()) < 1


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_complex_numbers_have_variance_one_and_their_twins(kind):
    import flambeau

    dtype = getattr(flambeau, kind)
    flambeau.manual_seed(5)
    normal = flambeau.randn(20_000, dtype=dtype)
    assert abs(float(normal.abs().square().mean()) - 1) < 0.03 and abs(float(normal.real.square().mean()) - 0.5) < 0.02
    uniform = flambeau.view_as_real(flambeau.rand(20_000, dtype=dtype))
    assert 0 <= float(uniform.min()) and float(uniform.max()) < 1 and abs(float(uniform.mean()) - 0.5) < 0.01
    draw = lambda: flambeau.randn(4, dtype=dtype) * flambeau.rand(4, dtype=dtype)  # noqa: E731
    flambeau.manual_seed(7)
    eager = [draw(), draw()]
    flambeau.manual_seed(7)
    compiled = flambeau.compile(draw)
    assert all((one == compiled()).all() for one in eager)


def test_a_draw_that_nobody_reads_still_moves_the_stream():
    import flambeau

    def program(x):
        flambeau.nn.functional.dropout(x)
        flambeau.nn.functional.rrelu(x, training=True)
        return x + flambeau.rand(4)

    x = flambeau.ones(4)
    flambeau.manual_seed(11)
    eager = program(x)
    flambeau.manual_seed(11)
    assert (flambeau.compile(program)(x) == eager).all()
