"""replace_pattern: what matches, what does not, and what comes out."""

import pytest

from eager import nn
from eager.construct import tensor
from eager.registry import ops
from fx.graph_module import GraphModule
from fx.parser import parse
from fx.rewriter import replace_pattern, replace_pattern_with_filters
from fx.text import print_graph
from fx.tracer import symbolic_trace


def rewritten(before, pattern, replacement, **options):
    module = GraphModule({}, parse(before))
    found = replace_pattern_with_filters(module, pattern, replacement, **options)
    module.graph.lint()
    lines = print_graph(module.graph).splitlines()
    return [line.strip() for line in lines[1:]], found


def relu_of_add(a, b):
    return ops.relu(ops.add(a, b))


def test_every_match_is_replaced():
    lines, found = rewritten(
        """\
def graph(x, y):
    add = ops.add(x, y)
    relu = ops.relu(add)
    add_1 = ops.add(relu, 2)
    relu_1 = ops.relu(add_1)
    return relu_1
""",
        relu_of_add,
        lambda a, b: ops.maximum(a, b),
    )
    assert lines == [
        "maximum = ops.maximum(x, y)",
        "maximum_1 = ops.maximum(maximum, 2)",
        "return maximum_1",
    ]
    assert len(found) == 2 and found[0].replacements[0].name == "maximum"


def test_a_match_used_from_outside_stays():
    text = """\
def graph(x, y):
    add = ops.add(x, y)
    relu = ops.relu(add)
    return (relu, add)
"""
    lines, found = rewritten(text, relu_of_add, lambda a, b: ops.maximum(a, b))
    assert found == [] and lines == [line.strip() for line in text.splitlines()[1:]]


def test_defaults_and_keywords_match():
    lines, found = rewritten(
        """\
def graph(x, y):
    a = ops.add(x, other=y, alpha=1)
    b = ops.relu(input=a)
    return b
""",
        relu_of_add,
        lambda a, b: ops.maximum(a, b),
    )
    assert len(found) == 1


def test_constants_must_be_equal_unless_ignored():
    text = "def graph(x):\n    a = ops.add(x, 1)\n    b = ops.add(x, 2)\n    return (a, b)\n"

    def plus_two(x):
        return ops.add(x, 2)

    lines, found = rewritten(text, plus_two, lambda x: ops.neg(x))
    assert lines == ["a = ops.add(x, 1)", "neg = ops.neg(x)", "return (a, neg)"]
    assert len(rewritten(text, plus_two, lambda x: ops.neg(x), ignore_literals=True)[1]) == 2


def test_the_same_parameter_must_be_the_same_value():
    text = "def graph(x, y):\n    a = ops.mul(x, x)\n    b = ops.mul(x, y)\n    return (a, b)\n"
    lines, found = rewritten(text, lambda x: ops.mul(x, x), lambda x: ops.square(x))
    assert lines == ["square = ops.square(x)", "b = ops.mul(x, y)", "return (square, b)"]


def test_several_results():
    text = """\
def graph(x, y):
    a = ops.relu(x)
    b = ops.neg(a)
    c = ops.exp(a)
    d = ops.add(b, c)
    return d
"""

    def two(x):
        a = ops.relu(x)
        return ops.neg(a), ops.exp(a)

    lines, found = rewritten(text, two, lambda x: (ops.sin(x), ops.cos(x)))
    assert lines == ["sin = ops.sin(x)", "cos = ops.cos(x)", "d = ops.add(sin, cos)", "return d"]


def test_filters():
    text = "def graph(x):\n    a = ops.relu(x)\n    b = ops.relu(a)\n    return b\n"
    lines, found = rewritten(
        text,
        lambda x: ops.relu(x),
        lambda x: ops.neg(x),
        match_filters=[lambda match, graph, pattern: match.anchor.name == "b"],
    )
    assert lines == ["a = ops.relu(x)", "neg = ops.neg(a)", "return neg"]


def test_methods_operators_and_brought_modules():
    class Net(nn.Module):
        def forward(self, x):
            return (x + 1).tanh()

    class Replacement(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(x)

    module = symbolic_trace(Net())
    matches = replace_pattern(module, lambda x: (x + 1).tanh(), symbolic_trace(Replacement()))
    assert matches[0].anchor.name == "tanh" and isinstance(module.act, nn.ReLU)
    assert module(tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


def test_mistakes_are_named():
    module = symbolic_trace(lambda x: ops.relu(x))
    with pytest.raises(ValueError, match="different parameters"):
        replace_pattern(module, lambda x: ops.relu(x), lambda x, y: x)
    with pytest.raises(ValueError, match="computes nothing"):
        replace_pattern(module, lambda x: x, lambda x: ops.relu(x))
    with pytest.raises(ValueError, match="1 results, the replacement 2"):
        replace_pattern(module, lambda x: ops.relu(x), lambda x: (x, x))
