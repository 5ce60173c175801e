"""The compiler of kernel text: what a text computes compiled is what it computes as Python."""

import ctypes
import itertools
import operator

import numpy as np
import pytest

from inductor import native
from inductor.codegen import build, translate

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def compiled(text, *arrays, stop=None):
    """Run the text of a kernel on arrays; what it returns."""
    function = native.load_object(*build.compile_source(text))
    return call(function, arrays, stop)


def plain(text, *arrays, stop=None):
    """The same as Python."""
    return call(build.plain_kernel(text, "<test>"), arrays, stop)


def call(function, arrays, stop):
    words = (ctypes.c_int64 * len(arrays))(*(a.__array_interface__["data"][0] for a in arrays))
    return function(ctypes.addressof(words), 0, len(arrays[0]) if stop is None else stop)


def pointwise(expression, *types):
    """A kernel that stores an expression of `a`, `b`, … into its last argument."""
    names = "abcd"[: len(types) - 1]
    lines = [f"    p{k} = pointer_{t}(arguments[{k}])" for k, t in enumerate(types)]
    loads = [f"        {n} = load(p{k}, i)" for k, n in enumerate(names)]
    return "\n".join([
        "def kernel(arguments, start, stop):", *lines, "    for i in range(start, stop):", *loads,
        f"        store(p{len(names)}, i, {expression})", "    return int32(0)", "",
    ])  # fmt: skip


def body(*lines, result="int64"):
    """A kernel of one element: from `x` to `y`, both of int64 but for the result."""
    return "\n".join([
        "def kernel(arguments, start, stop):", "    into = pointer_int64(arguments[0])",
        f"    out = pointer_{result}(arguments[1])", "    x = load(into, 0)",
        *(f"    {line}" for line in lines), "    store(out, 0, y)", "    return int32(0)", "",
    ])  # fmt: skip


def edges(kind):
    info = np.iinfo(kind)
    return np.array(sorted({info.min, info.min + 1, 0, 1, 2, 3, 7, info.max // 3, info.max - 1, info.max}
                           | ({-1, -2, -7} if info.min else set())), kind)  # fmt: skip


OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_, "|": operator.or_,
    "^": operator.xor, "//": operator.floordiv, "%": operator.mod, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("sign", OPERATORS)
def test_integer_operators_are_those_of_whole_numbers_cut_to_the_type(sign, kind):
    values = edges(kind)
    pairs = [
        (x, y) for x, y in itertools.product(values, values)
        if not (sign in ("//", "%") and (y == 0 or int(x) // int(y) > np.iinfo(kind).max))
    ]
    a, b = (np.array(side, kind) for side in zip(*pairs, strict=True))
    result = "bool" if sign[0] in "=!<>" else kind
    out = np.zeros(len(a), result)
    assert compiled(pointwise(f"to_{result}(a {sign} b)", kind, kind, result), a, b, out) == 0
    want = [OPERATORS[sign](int(x), int(y)) for x, y in pairs]
    if result != "bool":
        want = [w % 2 ** (8 * a.itemsize) for w in want]
        out = out.view(f"u{a.itemsize}")
    assert out.tolist() == want


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 64, -1, -3])
def test_division_by_a_number_of_the_text_rounds_down(divisor):
    x = np.concatenate([np.arange(-200, 200), [2**63 - 1, -(2**62)]]).astype(np.int64)
    out, rest = np.zeros_like(x), np.zeros_like(x)
    compiled(pointwise(f"a // {divisor}", "int64", "int64"), x, out)
    compiled(pointwise(f"a % {divisor}", "int64", "int64"), x, rest)
    assert out.tolist() == [int(v) // divisor for v in x]
    assert rest.tolist() == [int(v) % divisor for v in x]


@pytest.mark.parametrize("target", (*INTEGERS, "float32", "float64", "bool"))
@pytest.mark.parametrize("source", (*INTEGERS, "float32", "float64", "bool"))
def test_conversions_are_those_of_the_words(source, target):
    if source == "bool":
        values = np.array([False, True])
    elif source.startswith("f"):
        values = np.array([0, -0.0, 1.5, -1.5, 100.7, 3e4, 1e-40], source)
    else:
        values = edges(source)
    text = pointwise(f"to_{target}(a)", source, target)
    out, want = np.zeros(len(values), target), np.ones(len(values), target)
    assert compiled(text, values, out) == 0 and plain(text, values, want) == 0
    np.testing.assert_array_equal(out, want)


def test_shifts_are_of_the_left_side_s_sign():
    x = np.array([-(2**40), -1, 0, 5, 2**62], np.int64)
    out = np.zeros_like(x)
    compiled(pointwise("a >> 3", "int64", "int64"), x, out)
    assert out.tolist() == [int(v) >> 3 for v in x]
    unsigned = x.view(np.uint64)
    compiled(pointwise("a >> uint64(3)", "uint64", "uint64"), unsigned, out.view(np.uint64))
    assert out.view(np.uint64).tolist() == [int(v) >> 3 for v in unsigned]


NAN_COMPARISONS = {"<": 0, "<=": 0, ">": 0, ">=": 0, "==": 0, "!=": 1}


@pytest.mark.parametrize("sign", NAN_COMPARISONS)
def test_comparisons_with_nan(sign):
    x, out = np.array([np.nan, 1.0], np.float32), np.zeros(2, bool)
    compiled(pointwise(f"a {sign} float32(nan)", "float32", "bool"), x, out)
    assert out.tolist() == [NAN_COMPARISONS[sign]] * 2


CONTROL = {
    "gcd": ["y, z = abs(x), int64(360)", "while z:", "    y, z = z, y % z"],
    "break": ["y = int64(0)", "for k in range(100):", "    if k * k > x:", "        break", "    y = k"],
    "else": ["if x < 10:", "    y = int64(1)", "else:", "    y = int64(2)"],
    "elif": ["y = int64(0)", "if x < 10:", "    y = 1", "elif x < 40:", "    y = 2", "else:", "    y = 3"],
    "bounds": ["y = int64(0)", "for k in range(x - 20, x):", "    y += k"],
    "never": ["y = int64(5)", "for k in range(x, 3):", "    y = k"],
    "nested": ["y = int64(0)", "for i in range(4):", "    for j in range(5):", "        y += i * j + x"],
    "again": ["y = x", "for i in range(3):", "    y += i", "for i in range(4):", "    y *= i + 1"],
    "straight": ["y = x", "y = y // 7", "y = y * y"],
    "swap": ["y, z = x, x + 1", "y, z = z, y", "y = y * 10 + z"],
    "choice": ["y = x if x > 20 else -x"],
    "logic": ["y = int64((x > 3 and x < 50) or not x)"],
    "chain": ["y = int64(3 < x <= 42)"],
    "extremes": ["y = min(max(x, 10), 20) + abs(-x)"],
    "folded": ["y = x + int64(2 ** 5 - -3 * 4)"],
}


@pytest.mark.parametrize("x", [0, 6, 42, 1000])
@pytest.mark.parametrize("name", CONTROL)
def test_control_flow(name, x):
    text = body(*CONTROL[name])
    argument = np.array([x], np.int64)
    out, want = np.zeros(1, np.int64), np.ones(1, np.int64)
    assert compiled(text, argument, out) == 0 and plain(text, argument, want) == 0
    assert out[0] == want[0]


def test_the_code_of_an_error_is_returned():
    text = pointwise("a", "int64", "int64").replace("return int32(0)", "return int32(error)")
    text = text.replace("    for i", "    error = int64(0)\n    for i")
    text = text.replace("        store", "        error |= select(a > 5, 2, 0)\n        store")
    x = np.arange(9)
    assert compiled(text, x, np.zeros_like(x)) == 2
    assert compiled(text, x, np.zeros_like(x), stop=3) == 0


@pytest.mark.parametrize("name", sorted(build.library()))
def test_a_library_function_compiled_is_the_python_that_it_is(name):
    function = build.library()[name]
    count = function.__code__.co_argcount
    kind = "float32" if name.endswith("float32") else "float64"
    random = np.random.default_rng(0)
    if name.startswith(("whole_", "random_")):
        columns = [random.integers(1, 60, 50) for _ in range(count)]
    elif name.startswith(("power_of_two", "from_order")):
        columns = [random.integers(-100, 100, 50).astype(kind.replace("float", "int"))]
    elif name == "quadrant_float64":
        columns = [random.integers(0, 4, 50), random.uniform(-0.7, 0.7, 50), np.zeros(50, np.int64)]
    else:
        columns = [random.uniform(-0.99, 3, 50).astype(kind) for _ in range(count)]
    if name == "reduced_float32":
        columns[1][:] = build.library()[name].__globals__["MAGIC32"]
    pair = name in ("log_pair", "reduce_float64", "reduced_float32", "exponent_float32", "exponent_float64")
    result = kind
    if name.startswith(("whole_", "random_integer")):
        result = "int64"
    if name.startswith("ordered_"):
        result = kind.replace("float", "int")
    call_text = f"{name}({', '.join('abcdefg'[:count])})"
    names = "abcdefg"[:count]
    lines = ["def kernel(arguments, start, stop):"]
    lines += [f"    p{k} = pointer_{c.dtype}(arguments[{k}])" for k, c in enumerate(columns)]
    lines += [f"    out = pointer_{result}(arguments[{count}])", "    for i in range(start, stop):"]
    lines += [f"        {n} = load(p{k}, i)" for k, n in enumerate(names)]
    if pair:
        lines += [f"        high, low = {call_text}", "        store(out, i, high + low)"]
    else:
        lines += [f"        store(out, i, {call_text})"]
    text = "\n".join([*lines, "    return int32(0)", ""])
    out, want = np.zeros(50, result), np.ones(50, result)
    assert compiled(text, *columns, out, stop=50) == 0
    assert plain(text, *columns, want, stop=50) == 0
    tolerance = 2e-6 if kind == "float32" else 1e-13
    np.testing.assert_allclose(out, want, rtol=tolerance, atol=tolerance)


WRONG = {
    "nothing is not known": (["y = nothing"], "nothing is not known here"),
    "no function": (["y = launch(x)"], "launch is no function of the dialect"),
    "two signs": (["y = x + uint64(x)"], "int64 and uint64 have no common integer type"),
    "a pointer": (["y = into + 1"], "pointer_int64 is no number"),
    "another type": (["y = x", "for k in range(3):", "    y = float64(k)"], "y was int64 and becomes float64"),
    "a list": (["y = [x]"], "y = [x]: no expression of the dialect"),
    "a statement": (["with x:", "    y = x"], "no statement of the dialect"),
    "scratch": (["z = scratch_int64(x)", "y = x"], "a size that the text says"),
    "three of two": (["y, z, w = x, x"], "y, z, w = (x, x)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_text_outside_the_dialect_says_what_and_where(name):
    lines, message = WRONG[name]
    with pytest.raises(translate.TextError) as raised:
        build.compile_source(body(*lines))
    assert message in str(raised.value)


def test_a_kernel_returns_int32():
    with pytest.raises(translate.TextError, match="returns int32, not int64"):
        build.compile_source("def kernel(arguments, start, stop):\n    return stop\n")
    with pytest.raises(translate.TextError, match="may end without return"):
        build.compile_source("def kernel(arguments, start, stop):\n    x = stop\n")
