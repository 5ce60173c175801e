"""Python numbers that change from call to call: read at every call where they only meet arithmetic and tensors, else compiled in."""

import numpy as np
import pytest

import flambeau as torch
from dynamo import frame as frames
from flambeau import nn


@pytest.fixture(autouse=True)
def fresh():
    frames.reset()
    yield
    frames.reset()


X = torch.tensor(np.linspace(-2, 2, 6, dtype="float32"))


def captured():
    return sum(len(log.captured) for log in frames.logs())


def scaled(x, k):
    return x * k + 1


def computed(x, k):
    j = k * 2 + 1
    j -= 0.5
    return (j / 4 - x) * (3 + k), j


def subtracted(x, k):
    x = x * 1
    x += k
    x /= k + 1
    return k - x, 2 / (x + 10 + k)


def of_integers(x, k):
    y = (x * 10).to(torch.int32)
    return y + k, y / (k + 1), k * y


def in_containers(x, k):
    parts = {"a": [k, k + 1]}
    return [x * part for part in parts["a"]], parts


GENERAL = (scaled, computed, subtracted, in_containers)


def same(found, wanted):
    if isinstance(wanted, torch.Tensor):
        assert found.dtype is wanted.dtype and found.shape == wanted.shape
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        same(list(found.values()), list(wanted.values()))
    elif isinstance(wanted, (tuple, list)):
        assert type(found) is type(wanted) and len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b)
    else:
        assert type(found) is type(wanted) and found == wanted


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("values", [range(1, 13), [0.1 * i for i in range(1, 13)]], ids=["int", "float"])
@pytest.mark.parametrize("function", GENERAL, ids=lambda f: f.__name__)
def test_compiled_twice(function, values, backend):
    compiled = torch.compile(function, backend=backend)
    for value in values:
        same(compiled(X, value), function(X, value))
    assert captured() == 2


def test_kernels_take_numbers():
    compiled = torch.compile(scaled)
    for value in (2, 3, 0.1, 1e-3, 7, 1e30):
        np.testing.assert_allclose(compiled(X, value), scaled(X, value), rtol=1e-6)
    assert captured() == 3  # a constant, an int, a float


def test_integer_tensors():
    compiled = torch.compile(of_integers, backend="eager")
    for value in range(10):
        same(compiled(X, value), of_integers(X, value))
    assert captured() == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_types(dtype):
    x = X.to(dtype)
    compiled = torch.compile(scaled, backend="eager")
    for value in (0.1, 0.2, 0.3, 3.7):
        same(compiled(x, value), scaled(x, value))


def test_a_scalar_tensor_keeps_its_type():
    compiled = torch.compile(scaled, backend="eager")
    for value in (0.1, 0.2, 0.3):
        same(compiled(X[0], value), scaled(X[0], value))


def test_a_counter_in_a_module():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = 0

        def forward(self, x):
            self.steps += 1
            return x / self.steps

    m, plain = Counting(), Counting()
    compiled = torch.compile(m, backend="eager")
    for _ in range(12):
        same(compiled(X), plain(X))
        assert m.steps == plain.steps
    assert captured() <= 3


def branching(x, k):
    if k > 3:
        return x + k
    return x - k


def looping(x, k):
    for i in range(k):
        x = x + i
    return x[:k], f"{k}", x ** k


def dividing(x, k):
    try:
        return x * (6 / k)
    except ZeroDivisionError:
        return x


@pytest.mark.parametrize("function", [branching, looping, dividing], ids=lambda f: f.__name__)
def test_whose_value_is_needed(function):
    compiled = torch.compile(function, backend="eager")
    for value in (2, 3, 4, 5, 0, 3, 2, 0, 1):
        same(compiled(X, value), function(X, value))


def test_across_a_break():
    def broken(x, k):
        y = x * k
        print(end="")
        return y + k * 2, k + 1

    compiled = torch.compile(broken, backend="eager")
    for value in range(12):
        same(compiled(X, value), broken(X, value))
    assert captured() == 4


def test_gradients():
    def loss(x, k):
        return ((x * k + k) ** 2).sum()

    compiled = torch.compile(loss, backend="aot_eager")
    for value in (1.5, 2.5, 3.5, 4.5):
        grads = []
        for function in (loss, compiled):
            x = X.clone().requires_grad_()
            function(x, value).backward()
            grads.append(x.grad)
        np.testing.assert_allclose(grads[1], grads[0], rtol=1e-6)
    assert captured() == 2


def test_dynamic_from_the_first_call():
    compiled = torch.compile(scaled, backend="eager", dynamic=True)
    for value in range(5):
        same(compiled(X, value), scaled(X, value))
    assert captured() == 1


def test_never_dynamic():
    compiled = torch.compile(scaled, backend="eager", dynamic=False)
    for value in range(5):
        same(compiled(X, value), scaled(X, value))
    assert captured() == 5


def test_numbers_too_large_for_a_tensor():
    compiled = torch.compile(lambda x, k: (x * 1, k * 2), backend="eager")
    for value in (1, 2, 2**70, 2**80):
        assert compiled(X, value)[1] == value * 2
    assert captured() == 2


def test_an_error_is_raised_where_it_belongs():
    def inverse(x, k):
        return x * (1 / k)

    compiled = torch.compile(inverse, backend="eager")
    for value in (1, 2, 4):
        compiled(X, value)
    with pytest.raises(ZeroDivisionError):
        compiled(X, 0)
