"""Custom autograd functions are captured, forward and backward; what cannot be captured in them ends the graph."""

import numpy as np
import pytest

import flambeau as torch
from dynamo import frame as frames

Function = torch.autograd.Function
X = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)
W = np.linspace(-1, 2, 16, dtype="float32").reshape(4, 4)
SEEN = []


@pytest.fixture(autouse=True)
def fresh():
    frames.reset()
    SEEN.clear()
    yield
    frames.reset()


class Square(Function):
    """A derivative that is wrong on purpose, so that nobody can mistake it for the true one."""

    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return x * x * k

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 20 * x * ctx.k, None


class Several(Function):
    @staticmethod
    def forward(ctx, x, w):
        y = torch.tanh(x @ w)
        count = (y > 0).sum()
        ctx.save_for_backward(y, x, w)
        ctx.mark_non_differentiable(count)
        return y, count, x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gy, gcount, gx):
        y, x, w = ctx.saved_tensors
        t = gy * (1 - y * y)
        first = t @ w.T + gx * 2 if ctx.needs_input_grad[0] else None
        return first, (x.T @ t if ctx.needs_input_grad[1] else None)


class Contextual(Function):
    @staticmethod
    def forward(x):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0] * 3


class Reversed(Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, grad):
        return -grad


class Rounded(Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Printing(Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        SEEN.append("backward")
        return grad * 5


class Unused(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 2, x * 3

    @staticmethod
    def backward(ctx, a, b):
        return a if b is None else a + b


def square(x, w):
    return (Square.apply(x * 1.5, 3) + 1).sum()


def several(x, w):
    y, count, z = Several.apply(x, w)
    return y.sum() * count + (z**2).sum()


def one_of_several(x, w):
    return Several.apply(x, w)[0].sum()


def one_input(x, w):
    return Several.apply(x.detach(), w)[0].sum() + (x * 2).sum()


def mixed(x, w):
    total = Contextual.apply(x).sum() + Reversed.apply(x * 2).sum()
    return total + (Rounded.apply(x * 3) * x).sum()


def without_gradients(x, w):
    with torch.no_grad():
        a = Square.apply(x, 2)
    return (a * x).sum()


def in_a_loop(x, w):
    for k in range(3):
        x = Square.apply(x, k + 1) + w[:3]
    return x.sum()


def changed_afterwards(x, w):
    y = Rounded.apply(x * 3)
    y.mul_(2)
    return (y * x).sum()


CAPTURED = (
    square, several, one_of_several, one_input, mixed, without_gradients, in_a_loop,
    changed_afterwards,
)  # fmt: skip


def run(function):
    x, w = torch.tensor(X, requires_grad=True), torch.tensor(W, requires_grad=True)
    out = function(x, w)
    out.backward()
    zero = np.zeros(1)
    return [t.detach().numpy() if t is not None else zero for t in (out, x.grad, w.grad)]


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
@pytest.mark.parametrize("function", CAPTURED, ids=lambda f: f.__name__)
def test_captured_whole(function, backend):
    wanted = run(function)
    compiled = torch.compile(function, backend=backend, fullgraph=True)
    for _ in range(2):
        for found, expected in zip(run(compiled), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert sum(len(log.captured) for log in frames.logs()) == 1


def printing(x, w):
    return Printing.apply(x + 1).sum()


def unused(x, w):
    return Unused.apply(x + 1)[0].sum()


@pytest.mark.parametrize("function", [printing, unused], ids=lambda f: f.__name__)
def test_what_cannot_be_captured_breaks(function):
    wanted = run(function)
    SEEN.clear()
    compiled = torch.compile(function, backend="eager")
    for found, expected in zip(run(compiled), wanted, strict=True):
        np.testing.assert_allclose(found, expected)
    assert SEEN == (["backward"] if function is printing else [])
    breaks = [b for log in frames.logs() for _, frame in log.captured for b in frame.breaks]
    assert [b.title for b in breaks][:1] == ["Custom autograd function"]
    frames.reset()
    with pytest.raises(Exception, match="Custom autograd function"):
        torch.compile(function, backend="eager", fullgraph=True)(torch.tensor(X, requires_grad=True), None)


def test_twice_differentiable():
    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3 * x**2

    def second(function):
        x = torch.tensor(X, requires_grad=True)
        (first,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
        return torch.autograd.grad(first.sum(), x)[0].numpy()

    compiled = torch.compile(lambda x: Cube.apply(x), backend="eager", fullgraph=True)
    np.testing.assert_allclose(second(compiled), 6 * X, rtol=1e-6)


def test_against_torch():
    torch_ = pytest.importorskip("torch")

    def loss(library, x, w):
        class Gate(library.autograd.Function):
            @staticmethod
            def forward(ctx, x, w):
                ctx.save_for_backward(x, w)
                return library.sigmoid(x) @ w

            @staticmethod
            def backward(ctx, grad):
                x, w = ctx.saved_tensors
                s = library.sigmoid(x)
                return (grad @ w.T) * s * (1 - s) * 2, s.T @ grad

        return (Gate.apply(x, w) ** 2).sum()

    found = run(torch.compile(lambda x, w: loss(torch, x, w), backend="aot_eager"))
    x, w = torch_.tensor(X, requires_grad=True), torch_.tensor(W, requires_grad=True)
    out = loss(torch_, x, w)
    out.backward()
    for a, b in zip(found, (out.detach(), x.grad, w.grad), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-5)
