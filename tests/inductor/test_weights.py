"""Weights packed once: they are kept while nothing changes them, and never stale."""

import gc

import numpy as np
import pytest

import eager.construct
import eager.nn
import eager.optim
from eager.autograd import no_grad
from eager.nn.parameter import Parameter
from eager.registry import ops
from eager.tensor import Tensor
from inductor import program, weights
from inductor.templates import gemm, panels
from inductor.templates.problem import Problem

SIZES = [(1, 1, 1), (1, 17, 3), (17, 1, 5), (14, 32, 16), (13, 33, 65), (29, 70, 31), (61, 19, 350),
         (8, 130, 900), (530, 50, 40)]  # fmt: skip


def packed_product(a, b, problem):
    buffer = np.full(panels.size(problem), np.nan, problem.dtype)
    step = panels.pack(problem).step(program.input(0), program.output(0))
    program.run_step(step, (b, buffer))
    c = np.full((problem.m, problem.n), np.nan, problem.dtype)
    step = gemm.build(problem).step(program.input(0), program.input(1), program.output(0))
    program.run_step(step, (a, buffer, c))
    return c


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_packed_columns(m, n, k, transposed, dtype):
    random = np.random.default_rng(0)
    a = random.standard_normal((m, k)).astype(dtype)
    b = random.standard_normal((n, k) if transposed else (k, n)).astype(dtype)
    b[0, 0] = np.inf
    strides = (1, k) if transposed else (n, 1)
    c = packed_product(a, b, Problem(m, n, k, (k, 1), strides, (n, 1), dtype=dtype, packed=True))
    want = a.astype(np.float64) @ (b.T if transposed else b).astype(np.float64)
    scale = np.abs(want[np.isfinite(want)]).max(initial=1)
    accuracy = 3e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(c, want, rtol=0, atol=accuracy * scale * k**0.5)


def test_products_of_all_heights_share_a_copy():
    keys = {
        panels.pack(Problem(m, 768, 64, (64, 1), (1, 64), (768, 1))).key for m in (1, 5, 8, 14, 128, 999)
    }
    assert len(keys) == 1


WEIGHT = (40, 48)


@pytest.fixture
def layer(harness):
    """A compiled `x @ w.t()` for a parameter; `check()` calls it and compares."""
    weight = Parameter(harness.tensor(*WEIGHT))
    x = harness.tensor(6, WEIGHT[1])
    with no_grad():
        run = harness.compile(lambda x, w: x @ w.t(), x, weight)

    class Layer:
        def __init__(self):
            self.weight, self.x, self.run, self.report = weight, x, run, harness.reports[0]

        def packings(self):
            """How often the weight has been packed so far."""
            return self.made

        def check(self):
            with no_grad():
                (got,) = run(self.x, self.weight)
            want = self.x._array.astype(np.float64) @ self.weight._array.T.astype(np.float64)
            np.testing.assert_allclose(got._array, want, atol=1e-4)

    made = Layer()
    made.made = 0
    original = weights.Kept._make

    def counted(self, *given):
        made.made += 1
        return original(self, *given)

    patch = pytest.MonkeyPatch()
    patch.setattr(weights.Kept, "_make", counted)
    yield made
    patch.undo()


def test_kept_between_calls(layer):
    before = weights.kept_bytes()
    for _ in range(3):
        layer.check()
    assert layer.packings() == 1
    assert layer.report.kept >= 4 * WEIGHT[0] * WEIGHT[1]
    assert weights.kept_bytes() - before == layer.report.kept


def optimizer_step(w):
    w.grad = ops.ones_like(w)
    eager.optim.SGD([w], lr=0.5).step()


def adam_step(w):
    w.grad = ops.ones_like(w)
    optimizer = eager.optim.AdamW([w], lr=0.5)
    optimizer.step()
    optimizer.step()


def through_numpy(w):
    w.detach().numpy()[3] = 7.0



def in_place(w):
    with no_grad():
        w.mul_(3)


def through_a_view(w):
    with no_grad():
        w.t()[5].fill_(9)


def through_data(w):
    w.data[1] = 4


def other_data(w):
    w.data = ops.ones(WEIGHT)


def loaded(w):
    module = eager.nn.Module()
    module.w = w
    module.load_state_dict({"w": ops.full(WEIGHT, 2.0)})


CHANGES = [
    optimizer_step, adam_step, through_numpy, in_place, through_a_view, through_data, other_data,
    loaded,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_never_stale(layer, change):
    layer.check()
    change(layer.weight)
    layer.check()
    layer.check()
    assert layer.packings() == 2


def test_an_array_that_is_held_is_not_trusted(layer):
    layer.check()
    held = layer.weight.detach().numpy()[4]
    for value in (1.0, 2.0, 3.0):
        held[:] = value
        layer.check()
    del held
    layer.check()
    layer.check()
    assert layer.packings() == 5


def test_memory_of_numpy_is_not_trusted(layer):
    array = np.ones(WEIGHT, np.float32)
    layer.weight.data = eager.construct.from_numpy(array)
    for value in (1.0, 2.0):
        array[0] = value
        layer.check()


def test_another_tensor_in_its_place(layer):
    layer.check()
    first = layer.weight
    layer.weight = Parameter(ops.ones(WEIGHT))
    layer.check()
    layer.weight = first
    layer.check()
    assert layer.packings() == 2


def test_copies_die_with_their_weight(layer):
    gc.collect()
    before = weights.kept_bytes()
    layer.weight = Parameter(ops.ones(WEIGHT))
    layer.check()
    assert weights.kept_bytes() > before
    layer.weight = Parameter(ops.zeros(WEIGHT))
    gc.collect()
    assert weights.kept_bytes() == before


def test_a_weight_laid_out_otherwise_is_packed_when_it_changes(layer):
    array = np.asfortranarray(np.random.default_rng(0).standard_normal(WEIGHT).astype(np.float32))
    layer.weight = Parameter(Tensor._wrap(array))
    layer.check()
    layer.check()
    assert layer.packings() == 1
    in_place(layer.weight)
    layer.check()


def test_training_keeps_nothing(harness):
    weight, x = harness.tensor(*WEIGHT, grad=True), harness.tensor(6, WEIGHT[1], grad=True)
    harness.check(lambda x, w: x @ w.t(), x, weight)
    assert all(report.kept == 0 for report in harness.reports)


def test_linear_with_epilogue_from_a_packed_weight(harness):
    x = harness.tensor(3, 7, 24)
    w, b = (Parameter(harness.tensor(*shape), requires_grad=False) for shape in ((50, 24), (50,)))
    harness.check(lambda x, w, b: ops.gelu(ops.linear(x, w, b)), x, w, b)
    assert harness.kernels == [0] and harness.reports[0].kept > 0
