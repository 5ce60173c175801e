"""aot: functional graphs, joint graphs and their runtime give what eager gives: values, gradients,
mutations, aliases.
"""

import numpy as np
import pytest

from aot.compile import compile as aot_compile
from eager import autograd, dispatch
from eager.fake import FakeTensor
from eager.op import ops
from eager.tensor import Tensor
from fx.graph import Graph
from fx.graph_module import GraphModule


class Capture(dispatch.Interpreter):
    """A recorder of whole operators, as a front end has: mutation and composites stay."""

    def __init__(self):
        self.graph, self.alive = Graph(), []

    def interpret(self, op, args, kwargs):
        result = (
            op.fake(op.bind(args, kwargs))
            if op.functional is None
            else self._write(op, args, kwargs)
        )
        node = self.graph.call_function(
            op, self._nodes(args), {k: self._nodes(v) for k, v in kwargs.items()}
        )
        self.alive.append(result)
        if isinstance(result, (tuple, list)):
            import operator

            for i, r in enumerate(result):
                r._node_here = self.graph.call_function(operator.getitem, (node, i))
        else:
            result._node_here = node
        return result

    def _write(self, op, args, kwargs):
        return op.fake(op.bind(args, kwargs))

    def _nodes(self, value):
        if isinstance(value, Tensor):
            return value._node_here
        if type(value) in (list, tuple):
            return type(value)(self._nodes(v) for v in value)
        return value


def capture(function, examples):
    recorder = Capture()
    fakes = []
    for number, example in enumerate(examples):
        fake = FakeTensor.of(example)
        fake._node_here = recorder.graph.placeholder(f"x{number}")
        fakes.append(fake)
    with dispatch.push(recorder):
        result = function(*fakes)
    result = result if isinstance(result, tuple) else (result,)
    recorder.graph.output(tuple(r._node_here for r in result))
    return GraphModule({}, recorder.graph)


def array(*shape, seed=0):
    return Tensor._wrap(np.random.default_rng(seed).standard_normal(shape))


def check(function, *inputs, grad=True):
    """Run eagerly and compiled on copies; compare outputs, mutated inputs, gradients."""
    eager = [Tensor._wrap(i._array.copy()) for i in inputs]
    ours = [Tensor._wrap(i._array.copy()) for i in inputs]
    for t, u, i in zip(eager, ours, inputs, strict=True):
        t._requires_grad = u._requires_grad = i._requires_grad
    compiled = aot_compile(capture(function, ours), ours)
    expected = function(*eager)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = compiled(*ours)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a._array, b._array, rtol=1e-10)
        assert a.requires_grad == b.requires_grad
    for a, b in zip(ours, eager, strict=True):
        np.testing.assert_allclose(a._array, b._array, rtol=1e-10)
    if grad and any(o.requires_grad for o in expected):
        for outs in (expected, found):
            total = None
            for n, o in enumerate(outs):
                if o.requires_grad:
                    part = ops.sum(o * (n + 1) * o)
                    total = part if total is None else total + part
            total.backward()
        for a, b in zip(ours, eager, strict=True):
            assert (a.grad is None) == (b.grad is None)
            if a.grad is not None:
                np.testing.assert_allclose(a.grad._array, b.grad._array, rtol=1e-9)
    return compiled, ours, found


def leaf(*shape, seed=0):
    return array(*shape, seed=seed).requires_grad_()


def test_values_and_gradients():
    check(lambda x, w: ops.tanh(ops.matmul(x, w)) + x[:, :3], leaf(4, 5), leaf(5, 3, seed=1))


def test_softmax_composite():
    check(lambda x: ops.softmax(x, -1) * x, leaf(3, 4))


def test_mutation_of_an_input_is_written_back():
    def f(x, buffer):
        buffer.add_(1)
        buffer[1:].mul_(2)
        return x * buffer

    check(f, leaf(4), array(4, seed=1))


def test_intermediate_written_through_a_view():
    def f(x):
        y = x * 2
        y[1:3].add_(10)
        z = y.view(2, 2)
        z.mul_(3)
        return y + 1, z.T

    check(f, leaf(4))


def test_output_that_is_an_input_keeps_its_identity():
    compiled, inputs, found = check(lambda x, y: (x, y + 1, x[1:]), array(4), array(4, seed=1))
    assert found[0] is inputs[0]
    assert np.shares_memory(found[2]._array, inputs[0]._array)


def test_outputs_that_share_memory_still_do():
    _, _, found = check(
        lambda x: ((y := x * 2), y[1:], y.T if y.ndim == 2 else y.view(2, 2)), array(4)
    )
    assert np.shares_memory(found[0]._array, found[1]._array)


def test_no_grad_region():
    def f(x, running):
        autograd_off()
        running.mul_(0.9)
        running.add_(ops.mean(x, 0) * 0.1)
        autograd_on()
        return (x - running) * 2

    def autograd_off():
        autograd.set_grad_enabled_(False)

    def autograd_on():
        autograd.set_grad_enabled_(True)

    x, running = leaf(5, 3), array(3, seed=2)
    eager_running = Tensor._wrap(running._array.copy())
    graph = Graph()
    a, b = graph.placeholder("x"), graph.placeholder("running")
    graph.call_function(autograd.set_grad_enabled_, (False,))
    graph.call_function(ops.mul_, (b, 0.9))
    m = graph.call_function(ops.mean, (a, 0))
    graph.call_function(ops.add_, (b, graph.call_function(ops.mul, (m, 0.1))))
    graph.call_function(autograd.set_grad_enabled_, (True,))
    d = graph.call_function(ops.sub, (a, b))
    graph.output((graph.call_function(ops.mul, (d, 2)),))
    compiled = aot_compile(GraphModule({}, graph), [x, running])
    (found,) = compiled(x, running)
    y = Tensor._wrap(x._array.copy()).requires_grad_()
    expected = f(y, eager_running)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy())
    np.testing.assert_allclose(running.numpy(), eager_running.numpy())
    ops.sum(found * found).backward()
    ops.sum(expected * expected).backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy())


def test_random_numbers_are_eager_ones():
    from eager import rng

    x = leaf(8, 8)
    f = lambda x: ops.dropout(x, 0.5, True) + ops.rand((8, 8), dtype=x.dtype)  # noqa: E731
    compiled = aot_compile(capture(f, [x]), [x])
    rng.manual_seed(3)
    expected = [f(x), f(x)]
    rng.manual_seed(3)
    for e in expected:
        (found,) = compiled(x)
        np.testing.assert_array_equal(found._array, e._array)


def test_modified_saved_value_is_an_error():
    x = leaf(4)
    y = x * 1
    compiled = aot_compile(capture(lambda a: ops.exp(a) * a, [y]), [y])
    (found,) = compiled(y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        ops.sum(found).backward()


def test_second_backward_is_an_error():
    x = leaf(4)
    compiled = aot_compile(capture(lambda a: ops.exp(a) * a, [x]), [x])
    (found,) = compiled(x)
    total = ops.sum(found)
    total.backward()
    with pytest.raises(RuntimeError, match="second time"):
        total.backward()
