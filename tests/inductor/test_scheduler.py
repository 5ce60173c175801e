"""How many kernels known programs become, that fusion keeps dependencies, and where memory goes."""

import numpy as np
import pytest

from eager.registry import ops
from inductor.loops import Buffer
from inductor.memory import FOREVER, Block, Life, lifetimes, plan


def count(harness, function, *shapes, grad=False):
    tensors = [harness.tensor(*s, grad=grad) if isinstance(s, tuple) else s for s in shapes]
    harness.check(function, *tensors)
    assert harness.fallbacks == []
    return harness.kernels


def test_pointwise_chains_are_one_kernel(harness):
    assert count(harness, lambda a, b: ops.gelu(a * b + b).tanh() * 2, (64, 8), (8,)) == [1]


def test_siblings_share_a_kernel(harness):
    assert count(harness, lambda a: (a.exp(), a.sin(), a * 2), (64, 8)) == [1]


@pytest.mark.parametrize(
    "name, function, shapes, kernels",
    [
        ("softmax", lambda x: ops.softmax(x, -1), [(16, 64)], [1]),
        ("log_softmax", lambda x: ops.log_softmax(x, -1), [(16, 64)], [1]),
        ("layer_norm", lambda x, w, b: ops.layer_norm(x, (64,), w, b), [(4, 8, 64), (64,), (64,)], [1]),
        ("batch_norm", lambda x, w, b: ops.batch_norm(x, None, None, w, b, True), [(4, 8, 5, 5), (8,), (8,)], [1]),
        ("residual", lambda x, y, w: ops.layer_norm(x + y, (64,), w), [(8, 64), (8, 64), (64,)], [1]),
        ("variance", lambda x: (x.mean(1), x.var(1)), [(8, 64)], [1]),
    ],
)
def test_normalizations_are_one_kernel(harness, name, function, shapes, kernels):
    assert count(harness, function, *shapes) == kernels


@pytest.mark.parametrize(("rows", "together"), [(64, True), (1024, False)])
def test_what_is_larger_than_its_source_does_not_lie_in_memory_early(harness, rows, together):
    """Two products of expanded values: where those are large, each is made right before its product."""

    def products(a, scale, w):
        a = a.sin()
        first = ops.mm((a[:, :, None] * scale).reshape(rows, 384), w)
        second = ops.mm((a[:, :, None] + scale).reshape(rows, 384), w)
        return first + second * first.sum()

    harness.check(products, harness.tensor(rows, 128), harness.tensor(3), harness.tensor(384, 16))
    (run,) = harness.runs
    made = [len([b for b in unit.writes if b.size == rows * 384]) for unit in run.compilation.units]
    assert [n for n in made if n] == ([2] if together else [1, 1])


def test_softmax_forward_and_backward_are_one_kernel_each(harness):
    assert count(harness, lambda x: ops.softmax(x, -1), (16, 64), grad=True) == [1, 1]


def test_cross_entropy_is_few_kernels(harness):
    target = harness.tensor(16, dtype="int64", below=10)
    logits = harness.tensor(16, 10, grad=True)
    harness.check(lambda x, t: ops.cross_entropy(x, t), logits, target)
    assert harness.fallbacks == []
    assert harness.kernels[0] <= 2 and harness.kernels[1] <= 2


def test_attention(harness):
    def attention(x, wq, wo):
        batch, length, width = x.shape
        q, k, v = ops.linear(x, wq).split(width, -1)
        heads = [part.view(batch, length, 4, width // 4).transpose(1, 2) for part in (q, k, v)]
        mixed = ops.scaled_dot_product_attention(*heads, None, 0.0, True)
        return ops.linear(mixed.transpose(1, 2).reshape(batch, length, width), wo)

    # heads are read and written where they lie
    for batch in (1, 3):
        assert count(harness, attention, (batch, 8, 16), (48, 16), (16, 16)) == [0]
        assert harness.reports[0].templates == 3


def test_layers_share_kernels(harness):
    def layers(x, w):
        for _ in range(4):
            x = ops.layer_norm(ops.gelu(x @ w) + x, (16,))
        return x

    count(harness, layers, (8, 16), (16, 16))
    assert harness.reports[0].kernels == 4 and harness.reports[0].distinct_kernels == 1


def test_a_value_read_at_other_places_is_not_fused_wrongly(harness):
    def shifted(x):
        y = ops.softmax(x, -1)
        return y[:, 1:] - y[:, :-1], y.transpose(0, 1) + y

    harness.check(shifted, harness.tensor(8, 8))


def test_a_path_around_a_group_prevents_fusion(harness):
    """exp, then a product, then a sum with the first: the sum cannot join the kernel that the
    product waits for.
    """

    def around(x, w):
        y = ops.exp(x * 2)
        return ops.cumprod(y @ w, 1) + y

    harness.check(around, harness.tensor(8, 8), harness.tensor(8, 8))
    assert harness.kernels == [2]


def test_long_reductions_are_split(harness):
    harness.check(lambda x: (x.sum(), x.mean(), x.amax()), harness.tensor(512, 300), tolerance=1e-4)
    harness.check(lambda x: x.sum(0), harness.tensor(4096, 48), tolerance=1e-4)
    harness.check(lambda x: x.argmax(), harness.tensor(512, 300))


def test_memory_is_used_again():
    a, b, c = (Buffer(n, "float32", (1000,), (1,)) for n in "abc")
    lives = lifetimes([((), (a,)), ((a,), (b,)), ((b,), (c,))])
    assert lives == [Life(a, 0, 1), Life(b, 1, 2), Life(c, 2, 2)]
    workspace = Block()
    places = plan(lives, [], workspace)
    assert places[a] == places[c] != places[b]
    assert workspace.used == 2 * 4032


def test_results_and_saved_values_lend_their_memory():
    a, b, c = (Buffer(n, "float32", (5000,), (1,)) for n in "abc")
    lives = [Life(a, 0, 2), Life(b, 2, 5), Life(c, 4, 6)]
    result, saved = Block(20000), Block(30000)
    result.take(3, FOREVER, 0, 20000)
    saved.take(-1, 3, 0, 30000)
    workspace = Block()
    places = plan(lives, [result, saved], workspace)
    assert places[a] == (result, 0) and places[c] == (saved, 0) and places[b] == (workspace, 0)
    assert workspace.used == 20032


def test_lives_that_meet_never_share_memory():
    random = np.random.default_rng(0)
    lives = []
    for k in range(60):
        begin = int(random.integers(0, 40))
        size = int(random.integers(1, 5000))
        buffer = Buffer(f"b{k}", "float32", (size,), (1,))
        lives.append(Life(buffer, begin, begin + int(random.integers(0, 10))))
    workspace = Block()
    places = plan(lives, [], workspace)
    total = workspace.used
    offsets = {buffer: start for buffer, (_, start) in places.items()}
    for one in lives:
        assert offsets[one.buffer] % 64 == 0
        assert offsets[one.buffer] + one.buffer.bytes <= total
        for two in lives:
            if one is two or one.end < two.begin or two.end < one.begin:
                continue
            a, b = offsets[one.buffer], offsets[two.buffer]
            assert a + one.buffer.bytes <= b or b + two.buffer.bytes <= a


def test_inputs_outputs_and_constants_are_not_in_the_workspace():
    temporary, result = Buffer("t", "float32", (8,), (1,)), Buffer("r", "float32", (8,), (1,), "output")
    given = Buffer("i", "float32", (8,), (1,), "input")
    assert [life.buffer for life in lifetimes([((given,), (temporary,)), ((temporary,), (result,))])] == [temporary]


def test_steps_in_time_share_their_kernels(harness):
    """What differs only in where it reads is compiled once."""

    def recurrence(x, h, w):
        for t in range(x.shape[0]):
            forget, update = (x[t] + ops.mm(h, w)).chunk(2, -1)
            h = ops.sigmoid(forget) * h + ops.tanh(update)
        return h

    distinct = []
    for steps in (5, 11):
        x, h = harness.tensor(steps, 4, 64, grad=True), harness.tensor(4, 32, grad=True)
        harness.check(recurrence, x, h, harness.tensor(32, 64, grad=True), tolerance=1e-4)
        distinct.append([report.distinct_kernels for report in harness.reports])
    assert harness.kernels[1] > 2 * distinct[1][1]
    assert distinct[0] == distinct[1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "float16"])
def test_what_lies_across_is_read_by_tiles(harness, dtype):
    """Sides that the tile divides and that it does not; one operand turned, one not; a short last side."""
    for rows, columns in ((64, 96), (36, 40), (516, 72), (12, 1048)):
        below = 50 if dtype == "int64" else None
        x, y = harness.tensor(rows, columns, dtype=dtype, below=below), harness.tensor(columns, rows, dtype=dtype, below=below)
        harness.check(lambda x: x.t().contiguous(), x)
        harness.check(lambda x, y: x.t() * 2 + y, x, y)
        assert harness.kernels == [1]
    stacked = harness.tensor(3, 64, 128)
    harness.check(lambda x: (x.transpose(1, 2) + 1).contiguous(), stacked)
    harness.check(lambda x: ops.stack([x, x + 1], -1), harness.tensor(40, 30))
