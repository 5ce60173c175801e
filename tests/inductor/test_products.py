"""Sums of products become one product where that moves less memory, with the same results; what several operators read is stored once."""

import pytest

from eager import nn
from eager.registry import ops
from inductor.codegen.kernel import generate


def shared(weight, *inputs):
    """A weight that is used many times."""
    total = 0
    for x in inputs:
        total = total + ops.tanh(x @ weight).sum()
    return total


def test_the_gradient_of_a_weight_used_many_times_is_one_product(harness):
    weight = harness.tensor(64, 48, grad=True)
    harness.check(shared, weight, *(harness.tensor(4, 64) for _ in range(6)), tolerance=1e-4)
    forward, backward = harness.reports
    assert (forward.templates, backward.templates) == (7, 1)  # the weight is packed once for all


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 5, 16])
def test_a_factor_of_many_products_is_packed_once(harness, rows, dtype):
    """In both orders of memory, with a bias and without, and not for products of many rows."""

    def steps(weight, bias, h, wide):
        for _ in range(4):
            h = ops.tanh(ops.addmm(bias, h, weight.t()))
            h = ops.tanh(ops.mm(h, weight)) + h[:, :1]
        return h, ops.mm(wide, weight)

    weight, bias = harness.tensor(50, 70, dtype=dtype), harness.tensor(50, dtype=dtype)
    h, wide = harness.tensor(rows, 70, dtype=dtype), harness.tensor(40, 50, dtype=dtype)
    harness.check(steps, weight, bias, h, wide, tolerance=1e-4)
    assert harness.reports[0].templates == 8 + 2 + 1


def test_large_factors_are_not_joined(harness):
    """Copying them would move more than the products do."""
    weight = harness.tensor(8, 8, grad=True)
    harness.check(shared, weight, *(harness.tensor(200, 8) for _ in range(3)), tolerance=1e-4)
    assert harness.reports[1].templates == 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_terms_of_all_kinds(harness, dtype):
    """Transposed terms, terms that are no products, products of other sizes, a product that is also a result."""

    def f(a, b, c, d, e, other):
        kept = ops.mm(a, b)
        total = kept + ops.mm(c, d) + other + ops.mm(d.t(), c.t()).t() + ops.mm(a, b).t().t() + ops.mm(e, e.t())
        return total, kept

    a, c = harness.tensor(40, 2, dtype=dtype), harness.tensor(40, 3, dtype=dtype)
    b, d = harness.tensor(2, 40, dtype=dtype), harness.tensor(3, 40, dtype=dtype)
    harness.check(f, a, b, c, d, harness.tensor(40, 5, dtype=dtype), harness.tensor(40, 40, dtype=dtype))
    assert harness.reports[0].templates == 2  # the joined one, and the one that is also a result


def test_the_same_product_twice(harness):
    a, b = harness.tensor(32, 2), harness.tensor(2, 32)

    def f(a, b):
        product = ops.mm(a, b)
        return product + product + ops.mm(a + 1, b) + ops.mm(a + 2, b)

    harness.check(f, a, b)


def test_scaled_terms_stay_as_they_are(harness):
    def f(a, b):
        return ops.add(ops.mm(a, b), ops.mm(b.t(), a.t()).t(), alpha=2)

    harness.check(f, harness.tensor(16, 2), harness.tensor(2, 16))
    assert harness.reports[0].templates == 2


def test_recurrent_networks_learn_alike(harness):
    layer = nn.LSTM(12, 16, num_layers=2, batch_first=True)
    names = [name for name, _ in layer.named_parameters()]

    def f(x, *weights):
        start = (ops.zeros(2, 3, 16), ops.zeros(2, 3, 16))
        out, _, _ = ops.lstm(x, start, list(weights), True, 2, 0.0, True, False, True)
        return out.square().sum()

    assert len(names) == 8
    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    harness.check(f, harness.tensor(3, 9, 12, grad=True), *weights, tolerance=1e-4)
    assert harness.fallbacks == []


def test_what_is_read_through_a_view_by_several_is_computed_once(harness, monkeypatch):
    """The gradient of a loss is read by a sum and by two products through one view."""
    sources = []

    def noted(group):
        sources.append(generate(group))
        return sources[-1]

    monkeypatch.setattr("inductor.compile.generate", noted)

    def f(x, head, bias, target):
        return ops.cross_entropy(ops.linear(x, head, bias).view(-1, 50), target)

    target = harness.tensor(24, dtype="int64", below=50)
    bias = harness.tensor(50, grad=True)
    harness.check(f, harness.tensor(4, 6, 20, grad=True), harness.tensor(50, 20, grad=True), bias, target, tolerance=1e-4)
    assert sum(source.text.count("exp_float32(") for source in sources) == 2  # once forward, once backward
