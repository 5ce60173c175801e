"""The verifier names the node, the operand and the reason."""

import pytest

from eager.registry import ops
from fx.graph import Graph
from fx.parser import parse
from fx.verify import VerifyError, verify

TEXT = """\
def graph(x):
    add = ops.add(x, 1)  # model.py:3
    relu = ops.relu(add)
    return relu
"""


def broken(change):
    graph = parse(TEXT)
    change(graph, {node.name: node for node in graph.nodes})
    with pytest.raises(VerifyError) as caught:
        graph.lint()
    return str(caught.value)


def test_a_good_graph_passes():
    verify(parse(TEXT))


def test_use_before_definition():
    said = broken(lambda graph, n: setattr(n["add"], "args", (n["x"], n["relu"])))
    assert "add = call_function ops.add (model.py:3): operand args[1] is relu" in said
    assert "defined only later" in said


def test_foreign_and_erased_operands():
    other = Graph().placeholder("y")
    said = broken(lambda graph, n: setattr(n["relu"], "kwargs", {"k": [other]}))
    assert "operand kwargs['k'] is y, which is not in this graph" in said

    def erase(graph, n):
        n["relu"].args = (n["x"],)
        graph.erase_node(n["add"])
        n["relu"]._args = (n["add"],)

    assert "operand args[0] is add, which was erased" in broken(erase)


def test_users_that_do_not_agree():
    said = broken(lambda graph, n: n["add"].users.clear())
    assert "operand args[0] is add, which does not list it as a user" in said
    said = broken(lambda graph, n: n["x"].users.update({n["relu"]: None}))
    assert "its user relu has no operand x" in said


def test_order_of_opcodes():
    assert "after the output" in broken(lambda graph, n: graph.call_function(ops.relu, (n["x"],)))

    def late(graph, n):
        with graph.inserting_before(n["relu"]):
            graph.placeholder("late")

    assert "a placeholder comes after" in broken(late)


def test_names_and_targets():
    assert "its name is also the name of" in broken(lambda g, n: setattr(n["relu"], "name", "add"))
    said = broken(lambda graph, n: setattr(n["relu"], "target", "relu"))
    assert "its target must be callable, not str" in said


def test_fewer_opcodes_below_dynamo():
    graph = Graph()
    graph.output(graph.call_method("relu", (graph.placeholder("x"),)))
    verify(graph)
    with pytest.raises(VerifyError, match="opcode 'call_method' is not one of"):
        verify(graph, opcodes=frozenset({"placeholder", "call_function", "output"}))
