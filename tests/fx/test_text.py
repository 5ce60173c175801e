"""The text of a graph: what it says, that it reads back to itself, and that it runs."""

import collections
import math
import operator

import pytest

from eager.construct import tensor
from eager.device import device
from eager.dtype import float32, float64, int64
from eager.fake import FakeTensor
from eager.registry import ops
from eager.spec import Spec
from fx.graph import Graph
from fx.parser import ParseError, parse
from fx.text import execute, print_graph

TEXT = """\
# made by hand
# second line
def graph(self, x: f32[2, 3], w: f32[3:1, 2:3], input: i64[()] = -1, *args, **kwargs):
    input_1 = input
    add: f32[2, 3] = ops.add(x, x)                                # model.py:14  h = x + x
    add_1: f32[2, 3] = add + 1
    pow_1 = (-1) ** add_1
    getitem = add_1[:2, ..., None, -1]                            # model.py:15
    getitem_1 = args[0]
    getitem_2 = add_1[1:,]
    sqrt = math.sqrt(pow_1)
    relu = add.relu(inplace=False)
    layers_0 = getattr(self.layers, "0")(relu, **{'a b': 1})
    weight = self.block.weight
    weight_1 = getattr(self.block, "1").weight
    shape = x.shape
    lt = shape < 2
    neg = -lt
    max_1: (f32[2], i64[2]) = ops.max(x, 1)
    zeros = ops.zeros([2], dtype=f64, device=device('cpu'))
    cuda: f32.cuda[4] = x.cuda()
    symbolic: f32[s0, 2 * s1] = ops.relu(x)
    sum_1 = sum([inf, -inf, nan, (1+2j), "a'b", b'c', None, True, slice(1, 2, None)])
    list_1 = list({'k': (neg,), 3: ...})
    return (zeros, [weight], {'a': input_1})
"""


def test_print_parse_print_is_the_identity():
    graph = parse(TEXT)
    assert print_graph(graph) == TEXT
    assert print_graph(parse(print_graph(graph))) == TEXT
    graph.lint()


def test_what_is_read():
    graph = parse(TEXT)
    nodes = {node.name: node for node in graph.nodes}
    assert graph.title == "made by hand\nsecond line"
    assert nodes["input_1"].op == "placeholder" and nodes["input_1"].target == "input"
    assert nodes["args"].target == "*args" and nodes["kwargs"].target == "**kwargs"
    assert nodes["add"].target is ops.add and nodes["add"].meta["comment"].startswith("model.py:14")
    assert nodes["add_1"].target is operator.add
    assert nodes["getitem"].args == (nodes["add_1"], (slice(None, 2), ..., None, -1))
    assert nodes["getitem_2"].args[1] == (slice(1, None),)
    assert nodes["sqrt"].target is math.sqrt
    assert (nodes["relu"].op, nodes["relu"].kwargs) == ("call_method", {"inplace": False})
    assert (nodes["layers_0"].op, nodes["layers_0"].target) == ("call_module", "layers.0")
    assert (nodes["weight_1"].op, nodes["weight_1"].target) == ("get_attr", "block.1.weight")
    assert nodes["shape"].target is getattr
    assert nodes["zeros"].kwargs == {"dtype": float64, "device": device("cpu")}
    assert nodes["x"].meta["val"].shape == (2, 3) and nodes["x"].meta["val"].dtype is float32
    assert nodes["w"].meta["val"].stride() == (1, 3)
    assert nodes["max_1"].meta["val"][1].dtype is int64
    assert nodes["cuda"].meta["val"].device.type == "cuda"
    assert nodes["symbolic"].meta["type"] == "f32[s0, 2 * s1]"
    assert graph.output_node().args[0][2] == {"a": nodes["input_1"]}


def test_the_text_runs():
    text = """\
def graph(x: f32[3], y: f32[s0, 3]):
    add: f32[s0, 3] = ops.add(y, x)
    relu: f32[s0, 3] = ops.relu(add)
    getitem = relu[0]
    return (relu, getitem * 2)
"""
    text = text.replace("return (relu, getitem * 2)", "mul = getitem * 2\n    return (relu, mul)")
    function = execute(text)
    relu, mul = function(tensor([-2.0, 1.0, 0.5]), tensor([[1.0, 2.0, 3.0]]))
    assert relu.tolist() == [[0.0, 3.0, 3.5]] and mul.tolist() == [0.0, 6.0, 7.0]
    assert print_graph(parse(text)) == text


def test_a_file_with_a_header_runs_by_itself():
    text = """\
# first
def graph(x: f32[2]):
    relu: f32[2] = ops.relu(x)
    item = relu.tolist()
    sum_1 = math.fsum(item)
    return sum_1
"""
    file = print_graph(parse(text), header=True)
    assert print_graph(parse(file)) == text
    namespace = {}
    exec(compile(file, "graph.py", "exec"), namespace)
    assert namespace["graph"](tensor([1.5, -2.0])) == 1.5


def test_types_of_values():
    graph = Graph()
    x = graph.placeholder("x")
    x.meta["val"] = FakeTensor.of(Spec((2, 1, 3), float32, strides=(3, 99, 1)))
    pair = graph.call_function(ops.max, (x, 1))
    pair.meta["val"] = (FakeTensor.of(Spec((), float32)), None)
    size = graph.call_method("size", (x, 0))
    size.meta["val"] = 2
    graph.output(size)
    lines = print_graph(graph).splitlines()
    assert lines[0] == "def graph(x: f32[2, 1, 3]):"  # the stride of a size 1 means nothing
    assert lines[1].startswith("    max_1: (f32[()], None) = ops.max(x, 1)")
    assert lines[2].startswith("    size: int = x.size(0)")


def test_the_users_line_is_the_comment():
    graph = Graph()
    x = graph.placeholder("x")
    here = [(__file__, 1, "f")]
    for _ in range(2):
        x = graph.call_function(ops.neg, (x,))
        x.meta["stack"] = here
    graph.output(x)
    comments = [line.partition("  # ")[2] for line in print_graph(graph).splitlines()[1:-1]]
    assert comments[0].startswith('test_text.py:1  """The text of a graph')
    assert comments[1] == ""  # the same line is said once
    assert print_graph(parse(print_graph(graph))) == print_graph(graph)


Pair = collections.namedtuple("Pair", "a b")


def test_functions_and_objects_without_a_name_are_globals():
    def local(x):
        return x + 1

    class Thing:
        pass

    thing = Thing()
    graph = Graph()
    x = graph.placeholder("x")
    one = graph.call_function(local, (x,), {"thing": [thing, thing]})
    two = graph.call_function(len, (Pair(x, one),))
    graph.output((two, Thing))
    code = graph.python_code()
    extra = {key: value for key, value in code.globals.items() if value in (local, thing, Thing)}
    assert len(extra) == 3
    text = print_graph(graph)
    assert print_graph(parse(text, code.globals)) == text
    with pytest.raises(ParseError, match="is not defined: pass it in `namespace`"):
        parse(text)


def test_parameters_do_not_hide_what_the_program_calls():
    graph = Graph()
    nodes = [graph.placeholder(name) for name in ("ops", "len", "max")]
    total = graph.call_function(ops.add, (nodes[0], nodes[2]))
    graph.output((graph.call_function(len, (nodes[1],)), total))
    text = print_graph(graph)
    assert text.startswith("def graph(ops_1, len_1, max):\n    max_1 = max\n")
    assert print_graph(parse(text)) == text
    count, total = execute(text)(tensor([1.0]), "four", tensor([2.0]))
    assert count == 4 and total.tolist() == [3.0]


@pytest.mark.parametrize(
    "text, error",
    [
        ("x = 1", "expected one function definition, found 0"),
        ("def graph(x):\n    return (", "not Python"),
        ("def graph(x):\n    if x:\n        return x\n", r"line 2: 'if x:': expected `name: type"),
        ("def graph(x):\n    y = ops.no_such_op(x)", "no operator ops.no_such_op is registered"),
        ("def graph(x):\n    y = relu(x)", "'relu' is not defined"),
        ("def graph(x):\n    y = x + x * 2", "an operation needs a line of its own"),
        ("def graph(x):\n    x = -x", "the name 'x' is assigned twice"),
        ("def graph(x):\n    a, b = x", "expected one name on the left"),
        ("def graph(x):\n    y = 3", "expected a call, an operator"),
        ("def graph(x):\n    y = nowhere.f(x)", "nowhere.f cannot be found"),
    ],
)
def test_errors_say_where_and_what_was_expected(text, error):
    with pytest.raises(ParseError, match=error):
        parse(text)
