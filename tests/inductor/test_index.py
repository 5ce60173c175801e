"""Index expressions: whatever is simplified has the value of what was written; views come out
affine.
"""

import random

import pytest

from inductor.index import (
    Variable,
    constant,
    contiguous_strides,
    delinearize,
    evaluate,
    linear,
    split_points,
    symbol,
)

I, J, K = Variable("i", 4), Variable("j", 6), Variable("k", 10)


def build(depth, choose):
    """A random expression twice: simplified, and as a Python function."""
    if depth == 0:
        index = constant(choose.choice([0, 0, 1, 3, -2]))
        for v in (I, J, K):
            index = index + symbol(v) * choose.choice([0, 1, 2, 3, 6, 10, 60, -1])
        return index, lambda values: evaluate(index, values)
    a, f = build(depth - 1, choose)
    n = choose.choice([2, 3, 4, 6, 10, 60, 7])
    kind = choose.choice("dmas")
    if kind == "d":
        return a // n, lambda values: f(values) // n
    if kind == "m":
        return a % n, lambda values: f(values) % n
    if kind == "s":
        return (a // n) * (2 * n) + (a % n) * 2, lambda values: f(values) * 2
    b, g = build(depth - 1, choose)
    return a * n + b, lambda values: f(values) * n + g(values)


@pytest.mark.parametrize("seed", range(6))
def test_simplification_keeps_the_value(seed):
    choose = random.Random(seed)
    for _ in range(300):
        index, function = build(choose.choice([1, 2, 3]), choose)
        low, high = index.bounds()
        for _ in range(5):
            values = {v: choose.randrange(v.size) for v in (I, J, K)}
            expected = function(values)
            assert evaluate(index, values) == expected
            assert low <= expected <= high
            assert eval(str(index), {v.name: n for v, n in values.items()}) == expected


def test_coordinates_of_a_split_shape_need_no_division():
    whole = symbol(I) * 60 + symbol(J) * 10 + symbol(K)
    assert delinearize(whole, (4, 6, 10)) == (symbol(I), symbol(J), symbol(K))
    assert delinearize(whole, (24, 10)) == (symbol(I) * 6 + symbol(J), symbol(K))


def test_a_view_and_its_inverse_cancel():
    whole = symbol(I) * 60 + symbol(J) * 10 + symbol(K)
    there = delinearize(whole, (12, 20))
    assert linear(there, contiguous_strides((12, 20))) == whole


def test_terms_too_small_to_matter_drop_out_of_a_division():
    row = Variable("row", 6)
    index = symbol(row) * 16 + symbol(Variable("c", 16))
    assert str(index // 48) == "(row // 3)"


def test_a_variable_is_split_where_that_removes_a_remainder():
    v = Variable("v", 768)
    assert split_points([symbol(v) // 64, symbol(v) % 64], v) == 64
    assert split_points([symbol(v) * 3], v) is None
