"""Autograd: accumulation, views, in-place writes, hooks, double backward, custom functions, against
torch where it is installed.
"""

import gc
import weakref

import numpy as np
import pytest

from eager import autograd
from eager.construct import tensor
from eager.function import Function
from eager.op import ops
from eager.tensor import Tensor


def leaf(*values):
    return tensor(list(values), requires_grad=True)


def test_backward_accumulates():
    x = leaf(1.0, 2.0)
    y = ops.sum(x * x)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]


def test_graph_is_freed_after_backward():
    x = leaf(1.0, 2.0)
    y = ops.sum(x * x)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_gradients_of_two_leaves_do_not_share_memory():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    ops.sum(x + y).backward()
    x.grad.add_(1)
    assert y.grad.tolist() == [1.0, 1.0]


def test_broadcast_gradient_is_summed():
    x = tensor([[1.0], [2.0]], requires_grad=True)
    y = tensor([1.0, 2.0, 3.0], requires_grad=True)
    ops.sum(x * y).backward()
    assert x.grad.tolist() == [[6.0], [6.0]]
    assert y.grad.tolist() == [3.0, 3.0, 3.0]


def test_no_reference_cycle_keeps_a_graph_alive():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = ops.tanh(ops.exp(x))
        alive = weakref.ref(y)
        del y
        assert alive() is None
    finally:
        gc.enable()


def test_modified_in_place_error():
    x = leaf(1.0, 2.0)
    y = x * 2
    z = ops.sum(y * y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_in_place_on_what_is_not_saved_is_fine():
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y + 1
    y.mul_(3)
    (ops.sum(z) + ops.sum(y)).backward()
    assert x.grad.tolist() == [8.0, 8.0]


def test_division_in_place_by_what_depends_on_the_target():
    x = leaf(1.0, 3.0)
    y = x * 2
    y.div_(y.sum())  # x / (x1 + x2)
    y.select(0, 0).backward()
    assert x.grad.tolist() == [0.1875, -0.0625]


def test_values_of_topk_may_be_changed():
    x = leaf(1.0, 4.0, 2.0)
    values, _ = ops.topk(x * 1.0, 2)
    values.mul_(3)
    values.sum().backward()
    assert x.grad.tolist() == [0.0, 3.0, 3.0]


def test_leaf_in_place_is_refused():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        x[0].add_(1)
    with autograd.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0]


def test_write_through_a_view_reaches_the_root():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    y[1:].mul_(10)
    ops.sum(y * tensor([1.0, 2.0, 3.0])).backward()
    assert x.grad.tolist() == [2.0, 40.0, 60.0]


def test_write_into_the_root_reaches_a_view():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    v = y[1:]
    y.mul_(10)
    ops.sum(v).backward()
    assert v.tolist() == [40.0, 60.0]
    assert x.grad.tolist() == [0.0, 20.0, 20.0]


def test_write_of_a_differentiable_value_into_a_buffer():
    x = leaf(1.0, 2.0)
    buffer = ops.zeros(4)
    buffer[1:3] = x * 3
    assert buffer.requires_grad
    ops.sum(buffer * buffer).backward()
    assert x.grad.tolist() == [18.0, 36.0]


def test_hooks_replace_gradients_and_can_be_removed():
    x = leaf(1.0, 2.0)
    y = x * 2
    handle = y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    ops.sum(y).backward(retain_graph=True)
    assert x.grad.tolist() == [21.0, 21.0]
    handle.remove()
    x.grad = None
    ops.sum(y).backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_retain_grad():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    ops.sum(y * y).backward()
    assert y.grad.tolist() == [4.0, 8.0]


def test_double_backward():
    x = leaf(1.0, 2.0)
    (first,) = autograd.grad(ops.sum(ops.tanh(x) * x), x, create_graph=True)
    (second,) = autograd.grad(ops.sum(first * first), x)
    torch = pytest.importorskip("torch")
    p = torch.tensor([1.0, 2.0], requires_grad=True)
    (q,) = torch.autograd.grad((torch.tanh(p) * p).sum(), p, create_graph=True)
    (r,) = torch.autograd.grad((q * q).sum(), p)
    np.testing.assert_allclose(second.numpy(), r.numpy(), rtol=1e-5)


def test_grad_of_unused_input():
    x, y = leaf(1.0), leaf(1.0)
    with pytest.raises(RuntimeError, match="not have been used"):
        autograd.grad(ops.sum(x), y)
    assert autograd.grad(ops.sum(x * 1), y, allow_unused=True) == (None,)


def test_grad_with_respect_to_a_non_leaf():
    x = leaf(1.0, 2.0)
    y = x * 2
    (g,) = autograd.grad(ops.sum(y * y), y)
    assert g.tolist() == [4.0, 8.0]
    assert x.grad is None


def test_no_grad_and_enable_grad():
    x = leaf(1.0)
    with autograd.no_grad():
        assert not (x * 2).requires_grad
        with autograd.enable_grad():
            assert (x * 2).requires_grad

    @autograd.no_grad()
    def f():
        return x * 2

    assert not f().requires_grad
    assert (x * 2).requires_grad


def test_detach_shares_memory_and_version():
    x = leaf(1.0, 2.0)
    y = x * 1
    d = y.detach()
    z = ops.sum(y * y)
    d.add_(1)
    assert y.tolist() == [2.0, 3.0]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x


def test_custom_function_and_its_second_derivative():
    x = leaf(2.0)
    (g,) = autograd.grad(ops.sum(Cube.apply(x)), x, create_graph=True)
    assert g.item() == 12.0
    (h,) = autograd.grad(ops.sum(g), x)
    assert h.item() == 12.0


def test_reduction_gradients_with_and_without_kept_dims():
    x = Tensor._wrap(np.arange(6.0).reshape(2, 3)).requires_grad_()
    ops.sum(ops.sum(x, 1) * tensor([1.0, 2.0], dtype=x.dtype)).backward()
    assert x.grad.tolist() == [[1.0] * 3, [2.0] * 3]


def test_scalar_gradient_only():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        ops.sum(tensor([1.0])).backward()
