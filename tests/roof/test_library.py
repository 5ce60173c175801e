"""Operators of a program's own, checkpointing, trees, and the other small modules of the roof."""

import collections

import numpy as np
import pytest

import flambeau as torch
from flambeau.utils import _pytree as pytree
from flambeau.utils.checkpoint import checkpoint, checkpoint_sequential


@pytest.fixture(scope="module")
def cube():
    @torch.library.custom_op("roof_tests::cube", mutates_args=())
    def cube(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy(np.asarray(x.numpy() ** 3 * scale))

    @cube.register_fake
    def _(x, scale=1.0):
        return torch.empty_like(x)

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.scale = inputs[1]

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x * x * ctx.scale * grad, None

    cube.register_autograd(backward, setup_context=setup)
    return cube


def test_custom_op(cube):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = cube(x, 2.0)
    y.sum().backward()
    assert y.tolist() == [2.0, 16.0] and x.grad.tolist() == [6.0, 24.0]
    assert torch.ops.roof_tests.cube(torch.tensor([3.0])).item() == 27


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_custom_op_is_captured(cube, backend):
    op = torch.ops.roof_tests.cube
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = torch.compile(lambda x: torch.sin(op(x)) + 1, backend=backend)(x)
    y.sum().backward()
    z = x.detach().requires_grad_()
    (torch.sin(op(z)) + 1).sum().backward()
    assert torch.allclose(x.grad, z.grad)


def test_custom_op_misuse(cube):
    with pytest.raises(ValueError, match="namespace::name"):
        torch.library.custom_op("cube", lambda x: x)
    with pytest.raises(RuntimeError, match="registered already"):
        torch.library.custom_op("roof_tests::cube", lambda x: x)
    with pytest.raises(RuntimeError, match="write to their arguments"):
        torch.library.custom_op("roof_tests::other", lambda x: x, mutates_args=("x",))
    with pytest.raises(RuntimeError, match="no operator"):
        torch.library.register_autograd("roof_tests::nothing", lambda ctx, g: g)


def test_checkpoint_computes_again():
    calls = []
    w = torch.tensor([2.0], requires_grad=True)

    def f(x, scale=1.0):
        calls.append(1)
        return torch.dropout(torch.sin(x * w) * scale, 0.5, True)

    torch.manual_seed(0)
    x = torch.ones(64, requires_grad=True)
    checkpoint(f, x, use_reentrant=False, scale=3.0).sum().backward()
    assert len(calls) == 2
    found = x.grad.clone(), w.grad.clone()
    torch.manual_seed(0)
    x.grad = w.grad = None
    f(x, scale=3.0).sum().backward()
    assert torch.equal(x.grad, found[0]) and torch.equal(w.grad, found[1])


def test_checkpoint_without_an_input_that_needs_gradients():
    layer = torch.nn.Linear(3, 3)
    checkpoint(layer, torch.ones(2, 3), use_reentrant=False).sum().backward()
    assert layer.weight.grad is not None


def test_checkpoint_sequential():
    layers = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(5)])
    x = torch.randn(2, 3, requires_grad=True)
    assert torch.allclose(checkpoint_sequential(layers, 2, x), layers(x))


Point = collections.namedtuple("Point", "x y")


def test_trees():
    tree = {"a": [1, (2, None)], "b": Point(3, collections.OrderedDict(c=4)), "d": collections.deque([5])}
    leaves, spec = pytree.tree_flatten(tree)
    assert leaves == [1, 2, None, 3, 4, 5]
    assert pytree.tree_unflatten(leaves, spec) == tree
    assert pytree.tree_map(lambda leaf: leaf, tree) == tree
    assert pytree.tree_map_only(int, lambda n: n + 1, tree)["b"] == Point(4, collections.OrderedDict(c=5))
    assert pytree.tree_all(lambda leaf: leaf != 7, tree) and pytree.tree_any(lambda leaf: leaf is None, tree)
    with pytest.raises(ValueError, match="6 leaves"):
        pytree.tree_unflatten([1], spec)


def test_legacy_names():
    assert isinstance(torch.ones(1), torch.FloatTensor) and not isinstance(torch.ones(1), torch.LongTensor)
    assert torch.LongTensor([1, 2]).dtype is torch.int64
    assert isinstance(torch.ones(1), torch.autograd.Variable)
    assert torch.autograd.Variable(torch.ones(1), requires_grad=True).requires_grad
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.nn.init.constant(torch.zeros(2), 1.0)


def test_settings():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
    with pytest.raises(RuntimeError):
        torch.set_num_threads(0)
    with pytest.raises(TypeError):
        torch.set_num_threads("2")
    torch.set_float32_matmul_precision("high")
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    with pytest.raises(RuntimeError, match="precision"):
        torch.set_float32_matmul_precision("none")


def test_kernel_choice_of_attention():
    from flambeau.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        pass
    with pytest.raises(RuntimeError, match="No available kernel"), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        pass


def test_flex_attention():
    from flambeau.nn.attention.flex_attention import flex_attention

    q, k, v = (torch.randn(2, 3, 5, 4) for _ in range(3))
    causal = flex_attention(q, k, v, lambda score, b, h, i, j: torch.where(i >= j, score, -float("inf")))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(causal, expected, atol=1e-5)


def test_weight_norm():
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
    expected = layer(x)
    torch.nn.utils.weight_norm(layer)
    assert torch.allclose(layer(x), expected, atol=1e-6) and set(dict(layer.named_parameters())) == {
        "bias", "weight_g", "weight_v",
    }  # fmt: skip
    layer(x).sum().backward()
    assert layer.weight_g.grad.shape == (2, 1) and layer.weight_v.grad.shape == (2, 3)
    with pytest.raises(RuntimeError, match="two weight_norm hooks"):
        torch.nn.utils.weight_norm(layer)
    torch.nn.utils.remove_weight_norm(layer)
    assert torch.allclose(layer(x), expected, atol=1e-6) and isinstance(layer.weight, torch.nn.Parameter)
    with pytest.raises(ValueError, match="not found"):
        torch.nn.utils.remove_weight_norm(layer)


def test_what_needs_other_devices():
    assert not torch.accelerator.is_available() and torch.accelerator.current_accelerator() is None
    layer = torch.nn.Linear(3, 2)
    assert torch.equal(torch.nn.DataParallel(layer)(torch.ones(1, 3)), layer(torch.ones(1, 3)))
    with pytest.raises(RuntimeError, match="no devices"):
        torch.nn.DataParallel(layer, device_ids=[0])
    assert not isinstance(torch.ones(1), torch.cuda.FloatTensor)
    with pytest.raises(RuntimeError, match="no CUDA device"):
        torch.cuda.FloatTensor(3)


def test_fused_normalization():
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 4, 3).eval(), torch.nn.BatchNorm2d(4).eval()
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 6, 6)
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
    assert torch.allclose(fused(x), norm(conv(x)), atol=1e-5)
