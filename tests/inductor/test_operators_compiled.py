"""Generated: every pointwise operator and every reduction, compiled from its declaration, gives what
eager gives; all of a signature in one graph, so that few kernels cover them.
"""

import numpy as np
import pytest

from eager.registry import registry
from eager.tensor import Tensor

WHOLE = set(
    "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift bitwise_not gcd lcm"
    .split()
)
# outside the interval from which the values below are drawn
ELSEWHERE = {"acosh", "arccosh"}


def pointwise(count):
    """Operators whose required parameters are `count` operands and nothing else."""
    return [
        op for op in registry.values()
        if op.kind == "pointwise" and op.required == len(op.operands) == count
        and op.name not in ELSEWHERE and not op.mutates and not op.random
    ]


def usable(ops, examples):
    """Those that eager runs on the examples, with a real result."""
    found = []
    for op in ops:
        try:
            result = op(*examples)
        except (TypeError, RuntimeError, NotImplementedError):
            continue
        if isinstance(result, Tensor) and not result.is_complex():
            found.append(op)
    return found


def compare(harness, ops, examples, tolerance):
    run = harness.compile(lambda *xs: tuple(op(*xs) for op in ops), *examples)
    for op, got, want in zip(ops, run(*examples), [op(*examples) for op in ops], strict=True):
        assert got.dtype is want.dtype and tuple(got.shape) == tuple(want.shape), op
        np.testing.assert_allclose(
            got.numpy().astype(float), want.numpy().astype(float), rtol=tolerance,
            atol=tolerance, err_msg=op.name,
        )
    return harness


def values(harness, shape, low, high):
    array = harness.random.uniform(low, high, shape).astype(np.float32)
    return Tensor._wrap(array)


@pytest.mark.parametrize("count", [1, 2])
def test_pointwise_operators_of_floats(harness, count):
    examples = [values(harness, (5, 7), 0.3, 0.9), values(harness, (7,), 0.35, 0.95)][:count]
    ops = usable([op for op in pointwise(count) if op.name not in WHOLE], examples)
    assert len(ops) > 15
    compare(harness, ops, examples, 3e-5)
    assert harness.fallbacks == []


@pytest.mark.parametrize("count", [1, 2])
def test_pointwise_operators_of_integers(harness, count):
    examples = [harness.tensor(5, 7, dtype="int64", below=6) for _ in range(count)]
    for example in examples:
        example.numpy()[...] += 1
    ops = usable([op for op in pointwise(count) if op.promote != "float"], examples)
    assert len(ops) > 10
    compare(harness, ops, examples, 1e-6)
    assert harness.fallbacks == []


def reductions():
    return [op for op in registry.values() if op.kind == "reduction" and op.required == 1]


@pytest.mark.parametrize("dims", [(), (1,), ((0, 2), True)])
def test_reductions(harness, dims):
    x = values(harness, (4, 6, 5), -1, 1)
    ops = [op for op in reductions() if not (op.promote == "index" and len(dims) == 2)]
    assert len(ops) > 7
    run = harness.compile(lambda x: tuple(op(x, *dims) for op in ops), x)
    for op, got in zip(ops, run(x), strict=True):
        want = op(x, *dims)
        assert got.dtype is want.dtype and tuple(got.shape) == tuple(want.shape), op
        np.testing.assert_allclose(
            got.numpy().astype(float), want.numpy().astype(float), rtol=1e-5, atol=1e-5,
            err_msg=op.name,
        )
    assert harness.fallbacks == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_behaves_as_in_eager(harness, bad):
    x = values(harness, (4, 33), -1, 1)
    x.numpy()[1, 5] = bad
    names = "relu gelu silu tanh sigmoid softplus elu exp abs sign isnan isinf isfinite".split()
    ops = [registry[name] for name in names if name in registry]
    tests = ops + [
        lambda x: registry["amax"](x, 1), lambda x: registry["amin"](x, 1),
        lambda x: registry["sum"](x, 1), lambda x: registry["argmax"](x, 1),
        lambda x: registry["maximum"](x, x * 0), lambda x: registry["softmax"](x, -1),
    ]
    run = harness.compile(lambda x: tuple(test(x) for test in tests), x)
    for test, got in zip(tests, run(x), strict=True):
        np.testing.assert_allclose(
            got.numpy().astype(float), test(x).numpy().astype(float), rtol=1e-5, atol=1e-5,
            err_msg=str(test),
        )
