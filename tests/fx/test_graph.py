"""Nodes and graphs: names, uses, insertion points, erasing, copying."""

import operator

import pytest

from eager.registry import ops
from fx.graph import Graph
from fx.immutable import immutable_list


def chain():
    graph = Graph()
    x = graph.placeholder("x")
    add = graph.call_function(ops.add, (x, x))
    relu = graph.call_function(ops.relu, (add,))
    graph.output(relu)
    return graph, x, add, relu


def names(graph):
    return [node.name for node in graph.nodes]


def test_names_come_from_what_made_them():
    graph = Graph()
    x = graph.placeholder("x")
    assert graph.call_function(ops.add, (x, 1)).name == "add"
    assert graph.call_function(operator.add, (x, 1)).name == "add_1"
    assert graph.call_method("relu_", (x,)).name == "relu_"
    assert graph.call_module("layers.0.linear", (x,)).name == "layers_0_linear"
    assert graph.get_attr("0.weight").name == "_0_weight"
    assert graph.placeholder("input").name == "input_1"  # a builtin's name is not taken
    assert graph.placeholder("lambda").name == "lambda_1"
    assert graph.placeholder("ops").name == "ops_1"
    assert graph.call_function(ops.add, (x, 2), name="add_1").name == "add_2"
    assert graph.create_node("placeholder", "*args").name == "args"


def test_uses_are_exact():
    graph, x, add, relu = chain()
    assert list(x.users) == [add] and add.all_input_nodes == [x]
    relu.args = (x,)
    assert list(add.users) == [] and list(x.users) == [add, relu]
    relu.kwargs = {"other": [add, (add, slice(None, add))]}
    assert list(add.users) == [relu] and relu.all_input_nodes == [x, add]
    relu.update_kwarg("other", None)
    assert not add.users


def test_arguments_cannot_change_behind_the_users_back():
    graph = Graph()
    x = graph.placeholder("x")
    cat = graph.call_function(ops.add, ([x, x], {"a": x}))
    assert isinstance(cat.args[0], immutable_list) and cat.args[0] == [x, x]
    with pytest.raises(NotImplementedError, match="cannot be modified in place"):
        cat.args[0].append(x)
    with pytest.raises(NotImplementedError):
        cat.args[1]["b"] = x


def test_replace_all_uses_with():
    graph, x, add, relu = chain()
    with graph.inserting_after(x):
        neg = graph.call_function(ops.neg, (x,))
    changed = x.replace_all_uses_with(neg, lambda user: user is not neg)
    assert changed == [add] and add.args == (neg, neg) and list(x.users) == [neg]
    add.meta["val"] = 1
    with graph.inserting_after(add):
        other = graph.call_function(ops.neg, (neg,))
    add.replace_all_uses_with(other, propagate_meta=True)
    assert relu.args == (other,) and other.meta == {"val": 1}


def test_arguments_by_place():
    graph, x, add, relu = chain()
    add.update_arg(1, 2.0)
    assert add.args == (x, 2.0)
    add.insert_arg(0, 1)
    assert add.args == (1, x, 2.0)
    with pytest.raises(ValueError, match="outside 0..3"):
        add.insert_arg(4, x)
    relu.replace_input_with(add, x)
    assert relu.args == (x,)


def test_insertion_points():
    graph, x, add, relu = chain()
    with graph.inserting_before(relu):
        graph.placeholder("a")
        with graph.inserting_after(x):
            graph.placeholder("b")
            graph.placeholder("c")
        graph.placeholder("d")
    graph.placeholder("e")
    with graph.inserting_before():
        graph.placeholder("f")
    assert names(graph) == ["f", "x", "b", "c", "add", "a", "d", "relu", "output", "e"]
    with pytest.raises(AssertionError, match="not in this graph"):
        graph.inserting_before(Graph().placeholder("x"))


def test_moving():
    graph, x, add, relu = chain()
    add.append(x)
    assert names(graph) == ["add", "x", "relu", "output"]
    add.prepend(relu)
    relu.prepend(relu)
    relu.append(relu)
    relu.append(add)
    assert names(graph) == ["relu", "add", "x", "output"] and add.prev is relu and add.next is x
    with pytest.raises(AssertionError, match="different graphs"):
        add.append(Graph().placeholder("y"))


def test_walking_while_erasing_and_backwards():
    graph, x, add, relu = chain()
    assert [n.name for n in reversed(graph.nodes)] == ["output", "relu", "add", "x"]
    assert [n.name for n in reversed(reversed(graph.nodes))] == names(graph)
    for node in reversed(graph.nodes):
        graph.erase_node(node)
    assert len(graph.nodes) == 0 and names(graph) == []


def test_erasing_what_is_used_raises():
    graph, x, add, relu = chain()
    with pytest.raises(RuntimeError, match=r"erase Node add .* 1 users in the graph: \[relu\]"):
        graph.erase_node(add)


def test_making_what_cannot_be_raises():
    graph = Graph()
    with pytest.raises(AssertionError, match="unknown opcode"):
        graph.create_node("call", "x")
    with pytest.raises(AssertionError, match="belongs to another graph"):
        graph.call_function(ops.relu, (Graph().placeholder("x"),))


def test_find_nodes():
    graph, x, add, relu = chain()
    assert graph.find_nodes(op="call_function") == [add, relu]
    assert graph.find_nodes(op="call_function", target=ops.relu) == [relu]
    assert graph.output_node().args == (relu,)
    with pytest.raises(RuntimeError, match="no output node"):
        Graph().output_node()


def test_graph_copy_and_node_copy():
    graph, x, add, relu = chain()
    add.meta["val"] = [1]
    other = Graph()
    y = other.placeholder("y")
    values = {x: y}
    result = other.graph_copy(graph, values)
    assert result is values[relu] and names(other) == ["y", "add", "relu"]
    assert values[add].args == (y, y) and values[add].meta == {"val": [1]}
    copy = other.node_copy(relu, lambda node: values[node])
    assert copy.name == "relu_1"


def test_deepcopy_is_independent():
    import copy

    graph, x, add, relu = chain()
    twin = copy.deepcopy(graph)
    assert str(twin) == str(graph)
    for node in reversed(twin.nodes):
        twin.erase_node(node)
    assert len(graph.nodes) == 4


def test_dead_code_goes_and_effects_stay():
    graph = Graph()
    x = graph.placeholder("x")
    dead = graph.call_function(ops.relu, (x,))
    graph.call_function(ops.add, (dead, dead))
    graph.call_function(ops.add_, (x, 1))
    graph.call_function(print, (x,))
    graph.call_method("mul_", (x, 2))
    graph.call_method("mul", (x, 2))
    graph.output(x)
    assert graph.eliminate_dead_code() and not graph.eliminate_dead_code()
    assert names(graph) == ["x", "add_", "print_1", "mul_", "output"]
    assert graph.eliminate_dead_code(lambda node: node.target is not print)
    assert "print_1" not in names(graph)


def test_format_node_and_tabular(capsys):
    graph, x, add, relu = chain()
    assert (
        add.format_node()
        == "%add : [num_users=1] = call_function[target=ops.add](args = (%x, %x), kwargs = {})"
    )
    assert x.format_node() == "%x : [num_users=1] = placeholder[target=x]"
    assert graph.output_node().format_node() == "return %relu"
    graph.print_tabular()
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["opcode", "name", "target", "args", "kwargs"] and len(rows) == 6
