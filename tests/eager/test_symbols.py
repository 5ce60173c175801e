"""Operator symbols that write in place give what the symbols that do not write give."""

import operator

import pytest

from eager.construct import tensor

SYMBOLS = "add sub mul truediv floordiv mod pow".split()
OPERANDS = {
    "tensor": tensor([2.0, 3.0]),
    "integer": 2,
    "number": 2.5,
    "row": tensor([[2.0], [3.0]]),
    "long": tensor([2, 3]),
}


@pytest.mark.parametrize("name", SYMBOLS)
@pytest.mark.parametrize("kind", OPERANDS)
def test_in_place_symbol_is_the_symbol(name, kind):
    start = tensor([[5.0, 7.0], [1.5, -2.0]])
    expected = getattr(operator, name)(start, OPERANDS[kind])
    found = start.clone()
    assert getattr(operator, "i" + name)(found, OPERANDS[kind]) is found
    assert str(found.tolist()) == str(expected.tolist())
