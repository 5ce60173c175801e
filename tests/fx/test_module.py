"""GraphModule: generated forward, attributes, recompiling, copying, pickling, errors."""

import copy
import pickle

import pytest

from eager import nn
from eager.construct import tensor
from eager.registry import ops
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.parser import parse
from fx.tracer import symbolic_trace

TEXT = """\
def graph(self, x):
    lin = self.lin(x)
    weight = self.weight
    mul = ops.mul(lin, weight)
    relu = ops.relu(mul)
    return relu
"""


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 2)
        self.weight = nn.Parameter(tensor([2.0, -1.0]))
        self.unused = nn.Linear(1, 1)

    def forward(self, x):
        return ops.relu(self.lin(x) * self.weight)


def test_forward_is_generated():
    block = Block()
    module = GraphModule(block, parse(TEXT))
    x = tensor([[1.0, 2.0, 3.0]])
    assert module(x).tolist() == block(x).tolist()
    assert (
        module.code == "def forward(self, x):\n"
        "    lin = self.lin(x);  x = None\n"
        "    weight = self.weight\n"
        "    mul = ops.mul(lin, weight);  lin = weight = None\n"
        "    relu = ops.relu(mul);  mul = None\n"
        "    return relu\n"
    )
    assert module.lin is block.lin and module.weight is block.weight
    assert not hasattr(module, "unused")
    assert {name for name, _ in module.named_parameters()} == {"weight", "lin.weight", "lin.bias"}


def test_recompile_after_a_change():
    module = GraphModule(Block(), parse(TEXT))
    before = module.code
    for node in module.graph.find_nodes(op="call_function", target=ops.relu):
        node.target = ops.neg
    assert module.code == before
    module.recompile()
    assert "ops.neg(mul)" in module.code
    twin = GraphModule(Block(), parse(TEXT))
    assert twin.code == before and type(twin) is not type(module)


def test_root_may_be_a_dict():
    weight, lin = tensor([2.0, 3.0]), nn.Linear(3, 2)
    module = GraphModule({"weight": weight, "lin": lin}, parse(TEXT))
    assert module.weight is weight and "weight" in dict(module.named_buffers())
    with pytest.raises(RuntimeError, match="reads 'weight', which the given dict does not have"):
        GraphModule({"lin": lin}, parse(TEXT))
    with pytest.raises(RuntimeError, match="reads '.*', but Module has no attribute"):
        GraphModule(nn.Module(), parse(TEXT))


def test_nested_targets():
    text = """\
def graph(self, x):
    y = getattr(self.a, "0")(x)
    z = self.a.b.w
    return y
"""
    module = GraphModule({"a.0": nn.ReLU(), "a.b.w": tensor([1.0])}, parse(text))
    assert module(tensor([-1.0, 1.0])).tolist() == [0.0, 1.0]
    assert dict(module.named_buffers()).keys() == {"a.b.w"}


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_independent(twin):
    module = GraphModule(Block(), parse(TEXT))
    other = twin(module)
    x = tensor([[1.0, 2.0, 3.0]])
    assert other.code == module.code and other(x).tolist() == module(x).tolist()
    assert other.weight is not module.weight and other.lin is not module.lin
    for node in other.graph.find_nodes(op="call_function", target=ops.relu):
        node.target = ops.neg
    other.recompile()
    assert "relu" in module.code and other.graph.owning_module is other


def test_errors_name_the_node_and_line():
    graph = parse(TEXT)
    graph.find_nodes(op="call_function", target=ops.mul)[0].meta["stack"] = [("m.py", 7, "forward")]
    module = GraphModule({"lin": nn.Linear(3, 2), "weight": tensor([1.0] * 5)}, graph)
    with pytest.raises(RuntimeError) as caught:
        module(tensor([[1.0, 2.0, 3.0]]))
    assert "While executing mul = call_function ops.mul (m.py:7)" in caught.value.__notes__[0]


def test_submodules():
    module = GraphModule(Block(), parse(TEXT))
    assert module.add_submodule("a.b", nn.ReLU()) and isinstance(module.a.b, nn.ReLU)
    assert module.delete_submodule("a.b") and not module.delete_submodule("a.b")
    module.delete_all_unused_submodules()
    assert [name for name, _ in module.named_modules()] == ["", "lin"]


def test_print_readable(capsys):
    inner = symbolic_trace(lambda x: ops.relu(x))
    graph = Graph()
    graph.output(graph.call_module("inner", (graph.placeholder("x"),)))
    text = GraphModule({"inner": inner}, graph).print_readable()
    assert capsys.readouterr().out == text
    assert "inner = self.inner(x)" in text and "# self.inner" in text and "ops.relu(x)" in text


def test_train_and_eval_are_kept():
    block = Block().eval()
    assert not GraphModule(block, parse(TEXT)).training
