"""partition: forward then backward give what the joint graph gives, and save what is worth it."""

import random

import pytest

from aot.partition import partition
from eager.construct import tensor
from eager.registry import ops
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.interpreter import Interpreter
from fx.parser import parse
from fx.passes.shape import ShapeProp


def values(count, seed=0, rows=4, columns=4):
    draw = random.Random(seed)
    return [
        tensor([[draw.uniform(0.1, 1.0) for _ in range(columns)] for _ in range(rows)])
        for _ in range(count)
    ]


def joint_of(text, inputs):
    module = GraphModule({}, parse(text))
    ShapeProp(module).propagate(*inputs)
    return module


def check(module, inputs, forward_outputs, **options):
    """Runs both ways and compares; the names of what was saved, and the two halves."""
    expected = Interpreter(module).run(*inputs)
    tangents = sum(str(n.target).startswith("tangents") for n in module.graph.nodes)
    primals = inputs[: len(inputs) - tangents]
    forward, backward = partition(module, forward_outputs, **options)
    for half in (forward, backward):
        half.graph.lint()
        assert all("val" in n.meta for n in half.graph.nodes if n.op != "output")
    results = forward(*primals)
    outputs, saved = results[:forward_outputs], results[forward_outputs:]
    gradients = backward(*saved, *inputs[len(primals) :])
    for got, wanted in zip((*outputs, *gradients), expected, strict=True):
        assert (got is None) == (wanted is None)
        assert got is None or got.tolist() == wanted.tolist()
    names = [str(item) for item in forward.graph.output_node().args[0][forward_outputs:]]
    read = [n.target for n in backward.graph.find_nodes(op="placeholder")]
    assert read[: len(saved)] == names and len(read) == len(saved) + tangents
    return set(names), forward, backward


def called(module):
    return [n.target for n in module.graph.nodes if n.op == "call_function"]


SIGMOID = """\
def joint(x, w, tangents_1):
    mm = ops.matmul(x, w)
    neg = ops.neg(mm)
    exp = ops.exp(neg)
    add = ops.add(exp, 1.0)
    sigmoid = ops.reciprocal(add)
    rsub = ops.sub(1.0, sigmoid)
    slope = ops.mul(sigmoid, rsub)
    grad = ops.mul(tangents_1, slope)
    xt = ops.t(x)
    grad_w = ops.matmul(xt, grad)
    wt = ops.t(w)
    grad_x = ops.matmul(grad, wt)
    return (sigmoid, grad_x, grad_w)
"""


def test_outputs_and_primals_are_saved_before_anything_else():
    inputs = values(3)
    saved, forward, backward = check(joint_of(SIGMOID, inputs), inputs, 1)
    assert saved == {"x", "w", "sigmoid"}
    assert ops.exp not in called(backward) and ops.t not in called(forward)
    assert forward.graph.title == "made by partition (forward)"


CHAIN = """\
def joint(x, tangents_1):
    cos = ops.cos(x)
    exp = ops.exp(cos)
    sin = ops.sin(exp)
    sum_1 = ops.sum(sin)
    expand = ops.expand(tangents_1, [4, 4])
    cos_1 = ops.cos(exp)
    mul = ops.mul(expand, cos_1)
    mul_1 = ops.mul(mul, exp)
    sin_1 = ops.sin(x)
    neg = ops.neg(sin_1)
    grad = ops.mul(mul_1, neg)
    return (sum_1, grad)
"""


@pytest.mark.parametrize(
    "budget, kept", [(None, {"x"}), (12, {"x"}), (1, {"x", "exp"}), (0, {"x", "exp"})]
)
def test_cheap_values_are_computed_again_within_the_budget(budget, kept):
    inputs = [values(1)[0], tensor(2.0)]
    saved, forward, backward = check(joint_of(CHAIN, inputs), inputs, 1, recompute_budget=budget)
    assert saved == kept
    # What only the backward half needs is computed there.
    assert called(forward) == [ops.cos, ops.exp, ops.sin, ops.sum]


def test_products_and_reductions_are_not_computed_again():
    text = """\
def joint(x, w, tangents_1):
    mm = ops.matmul(x, w)
    total = ops.sum(mm, 1, True)
    square = ops.mul(total, total)
    out = ops.mul(square, mm)
    a = ops.mul(tangents_1, mm)
    b = ops.mul(a, total)
    return (out, b)
"""
    inputs = values(3)
    saved, _, backward = check(joint_of(text, inputs), inputs, 1)
    assert saved == {"mm", "total"}
    assert called(backward) == [ops.mul, ops.mul]


def test_what_both_halves_write_for_a_product_is_saved():
    text = """\
def joint(x, w, v, tangents_1):
    mm = ops.matmul(x, w)
    act = ops.exp(mm)
    out = ops.matmul(act, v)
    act_t = ops.t(act)
    grad_v = ops.matmul(act_t, tangents_1)
    v_t = ops.t(v)
    grad_act = ops.matmul(tangents_1, v_t)
    grad_mm = ops.mul(grad_act, act)
    x_t = ops.t(x)
    grad_w = ops.matmul(x_t, grad_mm)
    return (out, None, grad_w, grad_v)
"""
    inputs = values(4)
    saved, _, backward = check(joint_of(text, inputs), inputs, 1)
    assert saved == {"x", "v", "act"}


def test_a_residual_is_saved_rather_than_what_it_is_made_of():
    text = """\
def joint(x, w, v, tangents_1):
    mm = ops.matmul(x, w)
    residual = ops.add(x, mm)
    act = ops.exp(residual)
    mm_1 = ops.matmul(act, v)
    out = ops.add(residual, mm_1)
    cos = ops.cos(residual)
    grad = ops.mul(tangents_1, cos)
    return (out, grad)
"""
    inputs = values(4)
    saved, _, backward = check(joint_of(text, inputs), inputs, 1)
    assert saved == {"residual"} and called(backward) == [ops.cos, ops.mul]


def test_narrow_values_are_preferred():
    text = """\
def joint(x, y, tangents_1):
    wide = ops.mul(x, y)
    big = ops.matmul(wide, y)
    mask = ops.gt(big, 0.5)
    out = ops.where(mask, big, x)
    grad = ops.where(mask, tangents_1, 0.0)
    return (out, grad)
"""
    inputs = values(3)
    saved, _, backward = check(joint_of(text, inputs), inputs, 1)
    assert saved == {"mask"}


def test_recomputed_values_come_right_before_their_use():
    inputs = [values(1)[0], tensor(2.0)]
    _, _, backward = check(joint_of(CHAIN, inputs), inputs, 1)
    names = [node.name for node in backward.graph.nodes]
    assert names.index("sin_1") > names.index("mul_1")


def test_tuples_are_saved_by_their_parts():
    text = """\
def joint(x, tangents_1):
    pair = ops.max(x, 1)
    first = pair[0]
    second = pair[1]
    scaled = ops.mul(first, tangents_1)
    index = ops.add(second, 1)
    return (first, scaled, index)
"""
    inputs = [values(1)[0], values(1, rows=1)[0][0]]
    saved, forward, _ = check(joint_of(text, inputs), inputs, 1)
    assert saved == {"first", "second"}
    assert forward.graph.output_node().args[0][0].name == "first"


def test_gradients_that_are_constants_or_forward_values():
    text = """\
def joint(x, tangents_1):
    ones = ops.ones([2])
    out = ops.exp(x)
    return (out, None, ones, out, x, tangents_1)
"""
    inputs = values(2)
    saved, forward, backward = check(joint_of(text, inputs), inputs, 1)
    assert saved == {"x"} and called(forward) == [ops.exp]  # x is read anyway
    assert called(backward) == [ops.ones, ops.exp]


def test_random_numbers_are_drawn_again_from_their_seed():
    text = """\
def joint(x, seed, tangents_1):
    draw = ops.philox_uniform(seed, (4, 4), f32)
    keep = ops.gt(draw, 0.5)
    mm = ops.matmul(x, x)
    out = ops.mul(mm, keep)
    grad = ops.mul(tangents_1, keep)
    return (out, grad)
"""
    inputs = [values(1)[0], tensor([7, 3]), values(1, 5)[0]]
    saved, _, backward = check(joint_of(text, inputs), inputs, 1)
    assert saved == {"seed"} and ops.philox_uniform in called(backward)


def test_nothing_to_save():
    text = """\
def joint(x, tangents_1):
    y = ops.neg(x)
    g = ops.neg(tangents_1)
    return (y, g)
"""
    inputs = values(2)
    saved, *_ = check(joint_of(text, inputs), inputs, 1)
    assert saved == set()


def test_an_output_that_depends_on_a_tangent_is_refused():
    text = "def joint(x, tangents_1):\n    y = ops.mul(x, tangents_1)\n    return (y,)\n"
    with pytest.raises(ValueError, match="forward output y depends on a tangent"):
        partition(joint_of(text, values(2)), 1)


def random_joint(seed):
    """A random joint graph: forward values, then values that mix tangents in."""
    draw = random.Random(seed)
    graph = Graph()
    forward = [graph.placeholder(f"primals_{i}") for i in range(draw.randint(1, 3))]
    tangents = [graph.placeholder(f"tangents_{i}") for i in range(draw.randint(1, 2))]
    unary, binary = [ops.neg, ops.sin, ops.exp, ops.t], [ops.add, ops.mul, ops.matmul, ops.maximum]

    def grow(pool, sources):
        if draw.random() < 0.6:
            node = graph.call_function(draw.choice(unary), (draw.choice(sources),))
            node = graph.call_function(ops.tanh, (node,))
        else:
            pair = (draw.choice(sources[-4:]), draw.choice(pool[-6:]))
            node = graph.call_function(draw.choice(binary), pair)
            node = graph.call_function(ops.tanh, (node,))
        return node

    for _ in range(draw.randint(1, 14)):
        forward.append(grow(forward, forward))
    backward = list(tangents)
    for _ in range(draw.randint(1, 14)):
        backward.append(grow(forward + backward, backward))
    outputs = draw.sample(forward, min(2, len(forward)))
    graph.output((*outputs, *draw.sample(backward, min(3, len(backward))), draw.choice(forward)))
    return graph, len(forward), len(tangents), len(outputs)


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(seed):
    graph, _, _, outputs = random_joint(seed)
    inputs = values(len(graph.find_nodes(op="placeholder")), seed)
    module = GraphModule({}, graph)
    ShapeProp(module).propagate(*inputs)
    for budget in (None, 12, 2, 0):
        check(module, inputs, outputs, recompute_budget=budget)
