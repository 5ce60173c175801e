"""Passes, text to text."""

import pytest

from eager import nn
from eager.construct import tensor
from eager.dtype import float32, int64
from eager.fake import FakeTensor
from eager.registry import ops
from fx.graph_module import GraphModule
from fx.parser import parse
from fx.passes.dead import eliminate_dead_code
from fx.passes.duplicate import eliminate_common_subexpressions
from fx.passes.fold import fold_constants
from fx.passes.shape import ShapeProp
from fx.text import print_graph
from fx.tracer import symbolic_trace


def test_dead():
    graph = parse("""\
def graph(x, y):
    a = ops.add(x, y)
    b = ops.mul(a, a)
    c = ops.relu(x)
    d = ops.neg(b)
    return c
""")
    assert eliminate_dead_code(graph)
    assert (
        print_graph(graph)
        == """\
def graph(x, y):
    c = ops.relu(x)
    return c
"""
    )


def test_duplicates():
    graph = parse("""\
def graph(x, y):
    a = ops.add(x, 1)
    b = ops.add(x, 1)
    c = ops.add(x, 1.0)
    d = ops.add(x, True)
    e = ops.relu(a)
    f = ops.relu(b)
    g = ops.add(x, -0.0)
    h = ops.add(x, 0.0)
    return (a, b, c, d, e, f, g, h)
""")
    assert eliminate_common_subexpressions(graph)
    assert (
        print_graph(graph)
        == """\
def graph(x, y):
    a = ops.add(x, 1)
    c = ops.add(x, 1.0)
    d = ops.add(x, True)
    e = ops.relu(a)
    g = ops.add(x, -0.0)
    h = ops.add(x, 0.0)
    return (a, a, c, d, e, e, g, h)
"""
    )
    assert not eliminate_common_subexpressions(graph)


def test_duplicates_around_a_write_stay():
    text = """\
def graph(x):
    a = ops.relu(x)
    b = ops.t(x)
    c = ops.mul_(b, 2)
    d = ops.relu(x)
    e = ops.relu(x)
    return (a, d, e)
"""
    graph = parse(text)
    assert not eliminate_common_subexpressions(graph)
    assert print_graph(graph) == text


def test_constants_fold():
    graph = parse("""\
def graph(self, x):
    scale = self.scale
    weight = self.weight
    neg = ops.neg(scale)
    exp = ops.exp(neg)
    mul = ops.mul(x, exp)
    neg_1 = ops.neg(weight)
    add = ops.add(mul, neg_1)
    return add
""")
    weight = nn.Parameter(tensor([1.0, 1.0]))
    module = GraphModule({"scale": tensor([0.0, 0.0]), "weight": weight}, graph)
    expected = module(tensor([2.0, 3.0])).tolist()
    assert fold_constants(module) == 2
    assert (
        print_graph(module.graph)
        == """\
def graph(self, x):
    weight = self.weight
    _folded_0 = self._folded_0
    mul = ops.mul(x, _folded_0)
    neg_1 = ops.neg(weight)
    add = ops.add(mul, neg_1)
    return add
"""
    )
    assert module(tensor([2.0, 3.0])).tolist() == expected
    assert module._folded_0.tolist() == [1.0, 1.0]


def test_what_is_written_is_no_constant():
    graph = parse("""\
def graph(self, x):
    count = self.count
    add = ops.add_(count, 1)
    neg = ops.neg(count)
    return neg
""")
    module = GraphModule({"count": tensor([0.0])}, graph)
    assert fold_constants(module) == 0 and module.count.tolist() == [0.0]


def test_shapes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 3)
            self.scale = nn.Parameter(tensor([1.0, 2.0, 3.0]))

        def forward(self, x):
            return ops.relu(self.lin(x) * self.scale).t().max(1)

    module = symbolic_trace(Net())
    result = ShapeProp(module).propagate(tensor([[1.0] * 4] * 2))
    assert isinstance(result[0], FakeTensor)
    lines = [line.partition("  #")[0].strip() for line in print_graph(module.graph).splitlines()]
    assert lines == [
        "def graph(self, x: f32[2, 4]):",
        "lin: f32[2, 3] = self.lin(x)",
        "scale: f32[3] = self.scale",
        "mul: f32[2, 3] = lin * scale",
        "relu: f32[2, 3] = ops.relu(mul)",
        "t: f32[3:1, 2:3] = relu.t()",
        "max_1: (f32[3], i64[3]) = t.max(1)",
        "return max_1",
    ]
    metadata = module.graph.find_nodes(op="call_method")[1].meta["tensor_meta"]
    assert [m.dtype for m in metadata] == [float32, int64] and metadata[0].shape == (3,)


def test_shape_errors_name_the_node():
    module = symbolic_trace(lambda x, y: ops.add(x, y))
    with pytest.raises(RuntimeError) as caught:
        ShapeProp(module).propagate(tensor([1.0, 2.0]), tensor([1.0, 2.0, 3.0]))
    assert "While executing add = call_function ops.add" in caught.value.__notes__[0]
