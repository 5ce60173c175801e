"""What programs do with the tensor library besides calling operators: contexts, decorators, constants, randomness, checks."""

import functools
import math

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from dynamo.explain import explain
from dynamo.testing import program
from dynamo.unsupported import BackendCompilerFailed


def vector():
    return (torch.tensor([1.0, 2.0, 3.0]),)


def leaf():
    return (torch.tensor([1.0, 2.0, 3.0], requires_grad=True),)


@torch.no_grad()
def _without(x):
    return x * 2


@program(leaf)
def test_no_grad_decorator_and_nesting(x):
    with torch.no_grad():
        a = x * 2
        with torch.enable_grad():
            b = x * 3
        c = torch.is_grad_enabled()
    with torch.set_grad_enabled(False):
        d = x + 1
    return a, b, c, d, _without(x), torch.is_grad_enabled(), x * 4


@program(leaf)
def test_inference_mode(x):
    with torch.inference_mode():
        y = x * 2
    return y.requires_grad, x * 3


@program(leaf, graphs=None, breaks=None)
def test_grad_mode_left_changed_by_a_call(x):
    torch.set_grad_enabled(False)
    y = x * 2
    torch.set_grad_enabled(True)
    return y, x * 3


@program(vector)
def test_constants_made_in_the_program(x):
    a = torch.tensor([1.0, 2.0, 3.0])
    b = torch.zeros(3), torch.ones_like(x), torch.full((2,), 3.0), torch.arange(3), torch.eye(2)
    a += x
    return a * x, b, torch.tensor(2), torch.tensor([[1, 2]]).dtype


@program(vector)
def test_constant_is_new_at_every_call(x):
    a = torch.tensor([1.0])
    a.add_(x.sum())
    return a


def test_random_numbers_are_those_of_eager():
    def f(x):
        return F.dropout(x, 0.5), torch.rand(2), torch.randn_like(x)

    def seeded():
        torch.manual_seed(3)
        return (torch.ones(8),)

    program(seeded)(f)()


@program(vector)
def test_type_questions(x):
    found = []
    if torch.is_tensor(x) and not torch.jit.is_scripting() and not torch.jit.is_tracing():
        found.append("tensor")
    if x.dtype == torch.float32 and x.dtype.is_floating_point and x.device.type == "cpu":
        found.append(str(x.dtype))
    return x * torch.finfo(x.dtype).eps, found, torch.iinfo(torch.int32).max, x.dtype is torch.float32


@program(lambda: (torch.arange(24.0).reshape(2, 3, 4),))
def test_shapes(x):
    b, *rest = x.shape
    y = x.view(b, -1).unsqueeze(1).permute(0, 2, 1)
    z = torch.einsum("bij,bkj->bik", x, x)
    size = x.size()[1:] + (1,)
    return y, z, x.reshape(*x.shape[:-1], 2, 2), tuple(rest), list(size), x.flatten(1).shape


@program(lambda: (torch.arange(6.0).reshape(2, 3), torch.tensor([1, 0])))
def test_advanced_indexing(x, index):
    y = x.clone()
    y[index] = y[index] * 2
    y[:, 0] = 7.0
    mask = x > 2
    return y, x[index], x.masked_fill(mask, 0.0), torch.where(mask, x, -x), x[:, [0, 2]]


@program(vector, graphs=2, breaks=1)
def test_nonzero_is_data_dependent(x):
    y = x * 2
    return y[y > 3].sum() + 1


@program(vector, graphs=2, breaks=None)
def test_numpy_round_trip(x):
    y = x + 1
    array = np.sqrt(y.numpy())
    return torch.from_numpy(array) * 2


@program(vector)
def test_numpy_scalars(x):
    return x * np.float32(2.0) + np.pi, np.int64(3) + 1, np.prod(x.shape), np.sqrt(4.0), np.ceil(2.5)


@program(vector)
def test_out_and_keyword_forms(x):
    return torch.add(x, 1, alpha=2), torch.sum(x, dim=0, keepdim=True), x.std(unbiased=False)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


@program(leaf, graphs=None, breaks=None)
def test_custom_function(x):
    return Double.apply(x + 1) * 3


@program(leaf, graphs=None, breaks=None)
def test_backward_inside(x):
    y = (x * x).sum()
    y.backward()
    return x.grad * 2


@program(leaf)
def test_detach_and_requires_grad(x):
    y = x.detach() * 2
    return y, y.requires_grad, x.requires_grad, (x * 2).requires_grad, x.grad is None


@program(lambda: (torch.nn.LayerNorm(4), torch.nn.Conv2d(1, 2, 3), torch.ones(1, 1, 4, 4)))
def test_layers(norm, conv, x):
    with torch.no_grad():
        conv.weight.fill_(0.5)
        conv.bias.zero_()
    return norm(x), conv(x).shape, F.max_pool2d(conv(x), 2)


@program(lambda: (torch.nn.MultiheadAttention(8, 2, dropout=0.0, batch_first=True).eval(), torch.ones(1, 3, 8)))
def test_attention_layer(layer, x):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(0.1)
    out, weights = layer(x, x, x)
    return out, weights


@program(lambda: (torch.nn.LSTM(3, 4), torch.ones(2, 1, 3)), graphs=None, breaks=None)
def test_recurrent_layer(layer, x):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(0.1)
    out, (h, c) = layer(x)
    return out, h, c


@program(vector)
def test_partial_of_operators(x):
    scale = functools.partial(torch.mul, other=2)
    steps = [torch.relu, F.gelu, scale, lambda v: v / math.sqrt(v.shape[0])]
    return functools.reduce(lambda v, step: step(v), steps, x)


@program(vector)
def test_is_compiling(x):
    return x * 1


def test_is_compiling_is_true_inside():
    def f(x):
        return x + 1, torch.compiler.is_compiling()

    assert f(torch.ones(1))[1] is False
    assert torch.compile(f, backend="eager")(torch.ones(1))[1] is True


def test_placeholders_come_first():
    explanation = explain(lambda x: torch.arange(3) + x)(torch.ones(3))
    kinds = [node.op for node in explanation.graphs[0].graph.nodes]
    assert kinds == ["placeholder", "call_function", "call_function", "output"]


def _failing(graph_module, example_inputs):
    raise ValueError("no such luck")


@pytest.mark.parametrize("backend", [_failing, lambda graph_module, example_inputs: 3])
def test_failing_backend_is_an_error(backend):
    with pytest.raises(BackendCompilerFailed) as caught:
        torch.compile(lambda x: x + 1, backend=backend)(torch.ones(1))
    assert caught.value.inner_exception is not None


def test_same_tuple_twice_is_not_required():
    shared = (3, 1)

    def f(x, a, b):
        return x.view(a) + x.view(b).sum(), a is b

    program(lambda: (torch.arange(3.0), shared, shared))(f)()
    program(lambda: (torch.arange(3.0), tuple([3, 1]), tuple([3, 1])))(f)()


def test_default_dtype_is_guarded():
    compiled = torch.compile(lambda x: torch.zeros(2) + x, backend="eager")
    x = torch.ones(2)
    assert compiled(x).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert compiled(x).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@program(vector, graphs=None, breaks=2)
def test_default_dtype_changed_inside(x):
    torch.set_default_dtype(torch.float64)
    y = torch.zeros(3) + x
    torch.set_default_dtype(torch.float32)
    return y, torch.zeros(1)


def test_views_of_inputs_keep_their_history():
    def f(x):
        return x.view(-1), x.t()

    x = torch.ones(2, 3, requires_grad=True)
    flat, turned = torch.compile(f, backend="aot_eager")(x)
    assert flat.requires_grad and turned.requires_grad
    (flat.sum() + turned.sum()).backward()
    assert x.grad.tolist() == [[2.0] * 3] * 2


@program(vector)
def test_numbers_computed_as_tensors(x):
    half = torch.div(x.shape[0], 2, rounding_mode="trunc") + 1
    y = x.as_strided((2, half), (1, 1)) + x.new_zeros(half) + torch.zeros(2, half)
    y = y + x.narrow(0, 0, half) + x[:1].expand(half)
    if torch.tensor(3) > half:
        y = y * half
    return y.reshape(half, -1), torch.tensor(2.5).item()


@program(vector, graphs=2, breaks=1)
def test_numbers_that_are_written_to(x):
    step = torch.tensor(1)
    part = step.view(1)
    part.add_(1)
    return x * step, x[: step.item()]


class Called:
    def __call__(self, x):
        return x.relu() + 1


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (F.relu, 1), (torch.relu, 1), (torch.Tensor.relu, 1), (F.linear, 2), (torch.matmul, 2), (F.scaled_dot_product_attention, 3),
        (functools.partial(F.softmax, dim=-1), 1), (torch.ones(3, 3).add, 1), (Called(), 1),
    ],
    ids=["functional", "operator", "method", "composite", "product", "attention", "partial", "bound", "callable"],
)
def test_what_has_no_frame_of_its_own_is_captured(function, count):
    """Functions of the library and operators, compiled by themselves; each time anew."""
    values = [torch.arange(9.0).reshape(1, 3, 3)[0] / (n + 1) - 1 for n in range(count)]
    for _ in range(2):
        graphs = []

        def backend(graph, examples, graphs=graphs):
            graphs.append(graph)
            return graph.forward

        found = torch.compile(function, backend=backend, fullgraph=True)(*values)
        assert len(graphs) == 1
        np.testing.assert_allclose(found.numpy(), function(*values).numpy(), rtol=1e-6)
        torch.compiler.reset()


def test_compiled_twice():
    """A compiled function has one graph still, and one that is not to be captured has none."""
    graphs = []

    def backend(graph, examples):
        graphs.append(graph)
        return graph.forward

    inner = torch.compile(lambda x: x + 1, backend=backend)
    assert torch.compile(inner, backend=backend)(torch.ones(2)).tolist() == [2, 2]
    assert len(graphs) == 1
    disabled = torch.compile(torch.compiler.disable(lambda x: x * 2), backend=backend)
    assert disabled(torch.ones(2)).tolist() == [2, 2]
    assert len(graphs) == 1
