"""Python's types where a data type is asked for, as PyTorch takes them."""

import pytest

import flambeau as torch

x = torch.ones(3)
MADE = {
    "ones": lambda t: torch.ones(2, dtype=t),
    "tensor": lambda t: torch.tensor([1, 2], dtype=t),
    "full": lambda t: torch.full((2,), 1, dtype=t),
    "as_tensor": lambda t: torch.as_tensor([1], dtype=t),
    "zeros_like": lambda t: torch.zeros_like(x, dtype=t),
    "new_zeros": lambda t: x.new_zeros(2, dtype=t),
    "sum": lambda t: x.sum(dtype=t),
    "to": lambda t: x.to(t),
    "to_by_name": lambda t: x.to(dtype=t),
    "compiled": lambda t: torch.compile(lambda y: y + torch.ones(3, dtype=t), fullgraph=True)(x.to(t)),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_types_of_python(make):
    for kind, expected in ((int, torch.int64), (float, torch.float64)):
        assert make(kind).dtype is expected
    if make is not MADE["sum"]:
        assert make(bool).dtype is torch.bool


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="no data type"):
        torch.ones(2, dtype=str)
