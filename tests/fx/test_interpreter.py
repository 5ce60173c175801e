"""Interpreter and Transformer."""

import operator

import pytest

from eager.construct import tensor
from eager.registry import ops
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.interpreter import Interpreter
from fx.parser import parse
from fx.tracer import symbolic_trace
from fx.transformer import Transformer

TEXT = """\
def graph(x, y=2):
    add = ops.add(x, y)
    relu = ops.relu(add)
    mul = relu * 3
    return {'mul': mul, 'all': [relu, (mul,)]}
"""


def test_runs_and_frees():
    seen = []

    class Watch(Interpreter):
        def run_node(self, n):
            seen.append((n.name, sorted(node.name for node in self.env)))
            return super().run_node(n)

    module = GraphModule({}, parse(TEXT))
    result = Watch(module).run(tensor([-5.0, 1.0]), 3)
    assert result["mul"].tolist() == [0.0, 12.0] and type(result["all"]) is list
    assert seen[3:5] == [("relu", ["add"]), ("mul", ["relu"])]
    assert Interpreter(module).run(tensor([1.0]))["mul"].tolist() == [9.0]  # y has a default


def test_boxed_run_takes_the_arguments():
    args = [tensor([1.0])]
    result = Interpreter(GraphModule({}, parse(TEXT))).boxed_run(args)
    assert result["mul"].tolist() == [9.0] and args == []


def test_initial_env_gives_values():
    graph = parse(TEXT)
    known = {node: tensor([7.0]) for node in graph.nodes if node.name == "relu"}
    result = Interpreter(GraphModule({}, graph)).run(tensor([1.0]), initial_env=known)
    assert result["mul"].tolist() == [21.0]


def test_a_subclass_changes_an_opcode():
    class Negate(Interpreter):
        def call_function(self, target, args, kwargs):
            target = ops.neg if target is ops.relu else target
            return super().call_function(target, args, kwargs)

    result = Negate(GraphModule({}, parse(TEXT))).run(tensor([1.0]), 1)
    assert result["mul"].tolist() == [-6.0]


def test_errors_name_the_node_and_the_users_line():
    graph = parse(TEXT)
    node = graph.find_nodes(op="call_function", target=ops.relu)[0]
    node.meta["stack"] = [("model.py", 12, "forward")]
    with pytest.raises(Exception) as caught:
        Interpreter(GraphModule({}, graph)).run("text", "s")
    assert not any("relu" in note for note in getattr(caught.value, "__notes__", []))
    node.target = operator.not_
    node.args = ()
    with pytest.raises(TypeError) as caught:
        Interpreter(GraphModule({}, graph)).run(tensor([1.0]))
    notes = "\n".join(caught.value.__notes__)
    assert "While executing relu = call_function operator.not_ (model.py:12)" in notes
    assert 'File "model.py", line 12, in forward' in notes


def test_missing_arguments_and_attributes_are_named():
    with pytest.raises(RuntimeError, match="Expected positional argument for parameter x"):
        Interpreter(GraphModule({}, parse(TEXT))).run()
    graph = Graph()
    graph.output(graph.get_attr("a.b"))
    module = GraphModule({"a.b": 1}, graph)
    del module.a.b
    with pytest.raises(RuntimeError, match="nonexistent target 'a.b': a has no attribute 'b'"):
        Interpreter(module).run()


def test_transformer_rewrites():
    class Swap(Transformer):
        def call_function(self, target, args, kwargs):
            if target is ops.relu:
                return ops.neg(*args, **kwargs)
            return super().call_function(target, args, kwargs)

        def call_method(self, target, args, kwargs):
            return super().call_method("sigmoid" if target == "tanh" else target, args, kwargs)

    def f(x, y):
        return ops.relu(x).tanh() + y

    module = symbolic_trace(f)
    made = Swap(module).transform()
    lines = made.graph.python_code(verbose=True).src.splitlines()
    assert [line.strip().partition("  #")[0].strip() for line in lines] == [
        "def forward(self, x, y):",
        "neg = ops.neg(x)",
        "sigmoid = neg.sigmoid()",
        "add = sigmoid + y",
        "return add",
    ]
    assert made(tensor([0.0]), 1).tolist() == [1.5]
    neg = made.graph.find_nodes(op="call_function", target=ops.neg)[0]
    assert neg.meta["stack"] == module.graph.find_nodes(op="call_function")[0].meta["stack"]
