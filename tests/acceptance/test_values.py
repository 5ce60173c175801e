"""Unusual values through compiled programs: dtypes, empty tensors, NaN and infinities, strides of every kind."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.nn import functional as F

FLOATS = [torch.float32, torch.float64]
INTEGERS = [torch.int64, torch.int32, torch.uint8]
ODD = [0.0, -0.0, 1.0, -1.5, float("inf"), -float("inf"), float("nan"), 1e-38, 3e38, 1e-45, 88.8]


def check(f, *inputs, backend, same, rtol=1e-5, atol=1e-6):
    compiled = torch.compile(f, backend=backend, fullgraph=True)
    same(compiled(*inputs), f(*inputs), rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_arithmetic(backend, same, dtype):
    def f(x, y):
        return x + y, x * y - 3, x / y, x // y, x % y, -x, x > y, (x == y) | (x < 2), x**2, abs(x)

    x = torch.tensor([[7, 2, 3], [9, 0, 200]]).to(dtype)
    y = torch.tensor([[2, 2, 1], [4, 5, 3]]).to(dtype)
    check(f, x, y, backend=backend, same=same)


def test_integer_division_is_floor_and_remainder_has_the_divisors_sign(backend, same):
    def f(x, y):
        return x // y, x % y, torch.fmod(x, y), torch.div(x, y, rounding_mode="trunc")

    values = [-7, -6, -1, 1, 6, 7]
    x = torch.tensor([[a for a in values] for _ in (0, 1)])
    y = torch.tensor([[2] * 6, [-3] * 6])
    check(f, x, y, backend=backend, same=same)
    check(f, x.double(), y.double(), backend=backend, same=same)


def test_bool(backend, same):
    def f(a, b):
        return a & b, a | b, ~a, a ^ b, a.sum(), a.any(), a.all(0), a * 2, a + b, torch.where(a, b, ~b)

    a = torch.tensor([[True, False], [True, True]])
    b = torch.tensor([[False, False], [True, False]])
    check(f, a, b, backend=backend, same=same)


def test_promotion(backend, same):
    def f(i, x, d, b):
        return i + x, x + d, i + b, b * x, i / 2, i * 2.5, x * 2, i + True, torch.where(b, i, x)

    i, x = torch.arange(3), torch.arange(3.0)
    check(f, i, x, x.double(), i > 1, backend=backend, same=same)


def test_double_precision_is_kept(backend, same):
    def f(x, w):
        h = torch.tanh(x @ w)
        return F.softmax(h, -1).log().sum(), h.exp().mean(0), torch.erf(h), F.gelu(h)

    torch.manual_seed(0)
    x, w = torch.randn(5, 4, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    check(f, x, w, backend=backend, same=same, rtol=1e-13, atol=1e-14)


def test_double_precision_gradients(backend, same):
    def run(call):
        torch.manual_seed(0)
        x = torch.randn(5, 4, dtype=torch.float64)
        w = torch.randn(4, 6, dtype=torch.float64).requires_grad_()
        call(x, w).sum().backward()
        return w.grad

    def f(x, w):
        return F.layer_norm(torch.tanh(x @ w), (6,)).pow(3)

    compiled = torch.compile(f, backend=backend, fullgraph=True)
    same(run(compiled), run(f), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)], ids=str)
def test_empty(backend, same, shape):
    def f(x):
        y = torch.relu(x) * 2 + 1
        return y, y.sum(), y.sum(-1), y.reshape(-1), torch.cat([y, y]), y.transpose(0, -1) + 1

    check(f, torch.ones(*shape), backend=backend, same=same)


def test_empty_products(backend, same):
    def f(a, b):
        return a @ b, b @ a, torch.relu(a @ b) + 1

    check(f, torch.ones(3, 0), torch.ones(0, 3), backend=backend, same=same)


def test_empty_batch_through_layers(backend, same):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.GELU())

    def run(call):
        x = torch.ones(0, 3).requires_grad_()
        model.zero_grad()
        out = call(x)
        out.sum().backward()
        return out, x.grad, [p.grad.clone() for p in model.parameters()]

    same(run(torch.compile(model, backend=backend)), run(model))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nan_and_infinity_elementwise(backend, same, dtype):
    def f(x, y):
        return (
            x + y, x * y, x / y, torch.maximum(x, y), torch.minimum(x, y), x > y, x == y, x != x,
            torch.relu(x), torch.clamp(x, -1, 1), torch.clamp(x, min=0), F.leaky_relu(x),
            x.isnan(), x.isinf(), torch.where(x > 0, x, y), x.sign(), x.abs(), x.floor(),
            torch.nan_to_num(x), torch.logical_and(x, y), torch.fmod(x, y), x % y,
        )  # fmt: skip

    values = torch.tensor(ODD, dtype=dtype)
    x, y = values.repeat(len(ODD)), values.repeat_interleave(len(ODD))
    check(f, x, y, backend=backend, same=same)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "name",
    "exp log sqrt rsqrt sin cos tanh sigmoid erf log1p expm1 atan sinh cosh tan asin acos log2 log10"
    " exp2 reciprocal trunc round ceil".split(),
)
def test_nan_and_infinity_in_functions(backend, same, dtype, name):
    """Each special value, alone and in a vector of all."""
    function = getattr(torch, name)

    def f(x):
        return function(x), function(x * 0.5) * 2

    values = [*ODD, 0.3, -0.3, 5.5, 1e-8, -20.0, 700.0, 1e6]
    if name in ("sin", "cos", "tan"):  # compiled, they are exact up to 2^30
        values.remove(3e38)
    x = torch.tensor(values, dtype=dtype)
    check(f, x, backend=backend, same=same, rtol=3e-6 if dtype is torch.float32 else 1e-12, atol=0)


def test_nan_in_reductions(backend, same):
    def f(x):
        return (
            x.sum(1), x.mean(1), x.amax(1), x.amin(1), x.max(1), x.min(1), x.argmax(1), x.argmin(1), x.prod(1),
            F.softmax(x, 1), F.log_softmax(x, 1), x.logsumexp(1), x.var(1), (x > 0).any(1),
        )  # fmt: skip

    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[1.0, nan, 3.0], [inf, 1.0, 2.0], [-inf, 1.0, 0.0], [inf, -inf, 0.0], [1.0, 2.0, 3.0]])
    check(f, x, backend=backend, same=same)


def test_ties_in_reductions(backend, same):
    def f(x):
        return x.max(1), x.argmax(1), x.argmin(1), x.min(1), F.max_pool1d(x, 2)

    check(f, torch.tensor([[1.0, 3.0, 3.0, 1.0], [0.0, -0.0, 0.0, 0.0]]), backend=backend, same=same)


def strided():
    base = torch.arange(120.0).reshape(2, 3, 4, 5)
    yield "transposed", base.transpose(0, 3)
    yield "permuted", base.permute(2, 0, 3, 1)
    yield "step", base[:, ::2, 1::2, ::3]
    yield "offset", base[1, 1:, :, 2:]
    yield "expanded", base[:1].expand(3, 3, 4, 5)
    yield "flipped", torch.from_numpy(base.numpy()[:, ::-1, :, ::-2])
    yield "diagonal", base.reshape(10, 12).diagonal()
    yield "overlapping", torch.arange(10.0).unfold(0, 3, 1)
    yield "scalar", base[0, 0, 0, 1]
    yield "channels last", base.contiguous(memory_format=torch.channels_last)
    yield "column", base.reshape(24, 5)[:, 2:3]


@pytest.mark.parametrize("name,x", list(strided()), ids=[name for name, _ in strided()])
def test_strided_inputs(backend, same, name, x):
    def f(x):
        y = x * 2 + 1
        return y, y.sum(-1) if x.ndim else y.sum(), x.reshape(-1) * 3, x.sum(), F.softmax(x, 0), x.contiguous()

    check(f, x, backend=backend, same=same)


def test_result_layout_is_eagers(backend):
    def f(x):
        return x * 2, torch.relu(x), x + x

    base = torch.arange(24.0).reshape(2, 3, 4)
    compiled = torch.compile(f, backend=backend)
    for x in (base, base.permute(2, 0, 1), base.transpose(1, 2)):
        for mine, want in zip(compiled(x), f(x)):
            assert mine.stride() == want.stride()


def test_strided_product(backend, same):
    def f(a, b):
        return a @ b, a.t() @ a, b.mT @ b, F.linear(a, b.t())

    a, b = torch.randn(8, 10)[:, ::2], torch.randn(7, 5).t()
    check(f, a, b, backend=backend, same=same, atol=1e-5)


def test_strides_change_between_calls(backend, same):
    def f(x):
        return (x + 1).sum(0), x @ x.t()

    compiled = torch.compile(f, backend=backend)
    base = torch.randn(6, 6)
    for x in (base, base.t(), base[:, :3], base[::2], base[:3].expand(3, 6), base):
        same(compiled(x), f(x), atol=1e-5)


def test_offset_changes_between_calls(backend, same):
    """Inputs that are views at other places, aligned or not, of one buffer."""

    def f(x):
        return torch.tanh(x) * 2

    compiled = torch.compile(f, backend=backend)
    base = torch.randn(64)
    for start in range(9):
        x = base[start : start + 33]
        same(compiled(x), f(x))


def test_numpy_memory_that_is_read_only_is_not_written(backend, same):
    array = np.arange(6.0)
    x = torch.from_numpy(array)

    def f(x):
        return x.mul(2), x.clone().add_(1)

    compiled = torch.compile(f, backend=backend)
    same(compiled(x), f(x))
    assert array.tolist() == list(range(6))


def test_large_and_odd_sizes(backend, same):
    def f(x):
        return (x * 2 + 1).sum(), torch.tanh(x), x.cumsum(0)

    for n in (1, 7, 17, 1025, 100_003):
        x = torch.linspace(-1, 1, n)
        compiled = torch.compile(f, backend=backend)
        same(compiled(x), f(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(backend, same, dtype):
    def f(x, w):
        return x * 2 + 1, torch.relu(x), (x @ w).float(), x.float().exp().to(x.dtype)

    torch.manual_seed(0)
    x, w = torch.randn(4, 3).to(dtype), torch.randn(3, 2).to(dtype)
    check(f, x, w, backend=backend, same=same, rtol=1e-2, atol=1e-2)


def test_integer_overflow_wraps(backend, same):
    def f(x):
        return x + 1, x * 2, -x

    check(f, torch.tensor([127, -128, 5], dtype=torch.int8), backend=backend, same=same)
    check(f, torch.tensor([255, 0, 128], dtype=torch.uint8), backend=backend, same=same)
    check(f, torch.tensor([2**63 - 1, -(2**63)]), backend=backend, same=same)


def test_casts(backend, same):
    def f(x):
        return x.int(), x.long(), x.bool(), x.double(), x.half(), x.to(torch.uint8), x.int().float()

    check(f, torch.tensor([0.0, 1.9, -1.9, 100.5]).abs(), backend=backend, same=same)
    check(f, torch.tensor([0, 1, 250]), backend=backend, same=same)


def test_complex_numbers(backend, same):
    def f(x):
        z = torch.complex(x, x * 2)
        return z.abs() + 1, (z * z.conj()).real, torch.view_as_real(z) * 2

    check(f, torch.tensor([[1.0, -2.0], [0.5, 3.0]]), backend=backend, same=same)


@pytest.mark.parametrize("name, wanted", [
    ("relu", [2, 2, 0, 0, 2]), ("relu6", [2, 2, 0, 0, 0]), ("hardtanh", [2, 0, 0, 2, 0]),
])
def test_gradient_where_the_input_is_no_number(backend, name, wanted):
    """It is let through, as in torch, so that it does not go unnoticed."""
    function = getattr(torch.nn.functional, name)
    for run in (function, torch.compile(lambda x: function(x), backend=backend)):
        x = torch.tensor([float("nan"), 1.0, -1.0, 0.0, float("inf")], requires_grad=True)
        run(x).backward(torch.full((5,), 2.0))
        assert x.grad.tolist() == wanted
