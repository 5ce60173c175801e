"""The vector math library against long double references: error in ULP over the range, special
values, and that it vectorises.
"""

import ctypes
import re

import numpy as np
import pytest

from inductor import native
from inductor.codegen import build, translate

LONG = np.longdouble
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 2, -2, 1e-40, -1e-40, 1e30, -1e30, 1e-10]


def loop(expression, kinds, result):
    """The text of a kernel that stores an expression of x0, x1, ... for every element."""
    lines = [f"    p{k} = pointer_{kind}(arguments[{k}])" for k, kind in enumerate(kinds)]
    loads = [f"        x{k} = load(p{k}, i)" for k in range(len(kinds))]
    return "\n".join([
        "def kernel(arguments, start, stop):", *lines,
        f"    out = pointer_{result}(arguments[{len(kinds)}])", "    for i in range(start, stop):",
        *loads, f"        store(out, i, {expression})", "    return int32(0)", "",
    ])  # fmt: skip


def evaluate(expression, *arrays, result=None):
    """The expression over arrays, and the loop's assembly."""
    out = np.empty(len(arrays[0]), result or arrays[0].dtype)
    text = loop(expression, [a.dtype for a in arrays], out.dtype)
    module = translate.translate(text, build._namespace())
    words = [a.__array_interface__["data"][0] for a in (*arrays, out)]
    function = native.load_object(native.object_of(*module), module[1])
    assert function(ctypes.addressof((ctypes.c_int64 * len(words))(*words)), 0, len(out)) == 0
    return out, native.assembly_of(*module)


def run(name, *arrays):
    """The function over arrays, and the loop's assembly."""
    names = ", ".join(f"x{k}" for k in range(len(arrays)))
    return evaluate(f"{name}({names})", *map(np.ascontiguousarray, arrays))


def points(low, high, kind, count=8000, seed=0):
    """Even over the range, and over the exponents, subnormals included."""
    random = np.random.default_rng(seed)
    even = random.uniform(low, high, count)
    top = min(np.log10(max(abs(low), abs(high))), 300)
    tiny = -44 if kind is np.float32 else -300
    spread = 10 ** random.uniform(tiny, top, count) * random.choice([-1, 1], count)
    near = random.uniform(0.7, 1.5, count)
    found = np.concatenate([even, spread, near])
    return found[(found >= low) & (found <= high)].astype(kind)


def errors(got, want):
    """The largest error in ULP; infinities must be where they belong."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        fine = np.isfinite(rounded) & np.isfinite(got)
        wrong = ~fine & ~((np.isnan(rounded) & np.isnan(got)) | (rounded == got))
        assert not wrong.any()
        unit = np.spacing(np.abs(rounded[fine])).astype(LONG)
        return float((np.abs(got[fine].astype(LONG) - want[fine].astype(LONG)) / unit).max())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# name: reference, range in float32, range in float64, ULP allowed
CASES = {
    "exp": (np.exp, (-110, 90), (-750, 711), 2),
    "exp2": (np.exp2, (-152, 129), (-1080, 1025), 2),
    "expm1": (np.expm1, (-30, 90), (-50, 711), 2),
    "log": (np.log, (0, 3e38), (0, 1e300), 2),
    "log2": (np.log2, (0, 3e38), (0, 1e300), 2),
    "log10": (np.log10, (0, 3e38), (0, 1e300), 2.5),
    "log1p": (np.log1p, (-1, 3e38), (-1, 1e300), 2),
    "tanh": (np.tanh, (-12, 12), (-25, 25), 3),
    "sigmoid": (sigmoid, (-110, 30), (-745, 50), 3),
    "sinh": (np.sinh, (-90, 90), (-712, 712), 3),
    "cosh": (np.cosh, (-90, 90), (-712, 712), 3),
    "sin": (np.sin, (-1e5, 1e5), (-1e4, 1e4), 2),
    "cos": (np.cos, (-1e5, 1e5), (-1e4, 1e4), 2),
    "tan": (np.tan, (-100, 100), (-100, 100), 4),
    "rsqrt": (lambda x: 1 / np.sqrt(x), (0, 3e38), (0, 1e300), 2),
    "atan": (np.arctan, (-100, 100), (-100, 100), 3),
    "asin": (np.arcsin, (-1, 1), (-1, 1), 3),
    "acos": (np.arccos, (-1, 1), (-1, 1), 2),
}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_accuracy_and_vectorisation(name, kind):
    reference, *ranges, allowed = CASES[name]
    low, high = ranges[kind is np.float64]
    x = points(low, high, kind)
    got, assembly = run(f"{name}_{kind.__name__}", x)
    with np.errstate(all="ignore"):
        want = reference(x.astype(LONG))
    assert errors(got, want) <= allowed
    suffix = "ps" if kind is np.float32 else "pd"
    if "zmm" in assembly or "ymm" in assembly:  # a CPU with wide vectors
        assert re.search(rf"v(add|mul|div|fmadd)\w*{suffix}\s.*%[yz]mm", assembly)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_special_values(name, kind):
    periodic = name in ("sin", "cos", "tan")
    x = np.array([v for v in SPECIAL if not (periodic and 1e9 < abs(v) < np.inf)], kind)
    got, _ = run(f"{name}_{kind.__name__}", x)
    with np.errstate(all="ignore"):
        want = CASES[name][0](x.astype(LONG)).astype(kind)
        same = (np.isnan(got) & np.isnan(want)) | (got == want)
        near = np.abs(got - want) <= 4 * np.spacing(np.abs(want))
    signs = np.isnan(want) | (np.signbit(got) == np.signbit(want))
    assert ((same | near) & signs).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_erf(kind):
    import math

    x = np.concatenate([points(-5, 5, kind, 1500), np.array([0.0, -0.0, 6, -6, 30], kind)])
    got, _ = run(f"erf_{kind.__name__}", x)
    want = np.array([math.erf(float(v)) for v in x])
    assert errors(got, want.astype(LONG)) <= 5
    special, _ = run(f"erf_{kind.__name__}", np.array([np.inf, -np.inf, np.nan], kind))
    assert special[0] == 1 and special[1] == -1 and np.isnan(special[2])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_pow(kind):
    random = np.random.default_rng(1)
    x = np.exp(random.uniform(-10, 10, 20000)).astype(kind)
    y = random.uniform(-9, 9, 20000).astype(kind)
    got, _ = run(f"pow_{kind.__name__}", x, y)
    assert errors(got, np.power(x.astype(LONG), y.astype(LONG))) <= 3
    values = np.array([0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, np.inf, -np.inf, np.nan, 1e30], kind)
    a, b = (m.ravel().copy() for m in np.meshgrid(values, values))
    got, _ = run(f"pow_{kind.__name__}", a, b)
    with np.errstate(all="ignore"):
        want = np.power(a.astype(np.float64), b.astype(np.float64)).astype(kind)
        same = (np.isnan(got) & np.isnan(want)) | (
            (np.isclose(got, want, rtol=1e-6, atol=0)) & (np.signbit(got) == np.signbit(want))
        )
    assert same.all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_atan2(kind):
    values = np.array([0.0, -0.0, 1, -1, 2, -2, np.inf, -np.inf, np.nan], kind)
    y, x = (m.ravel().copy() for m in np.meshgrid(values, values))
    got, _ = run(f"atan2_{kind.__name__}", y, x)
    want = np.arctan2(y, x)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert (np.signbit(got) == np.signbit(want))[~np.isnan(want)].all()


@pytest.mark.parametrize(
    "name, reference",
    [("fmod", np.fmod), ("remainder", np.remainder), ("floor_div", np.floor_divide), ("hypot", np.hypot)],
)
def test_binary_special_functions(name, reference):
    random = np.random.default_rng(2)
    x = (random.standard_normal(4000) * 10 ** random.uniform(-3, 12, 4000)).astype(np.float64)
    y = (random.standard_normal(4000) * 10 ** random.uniform(-3, 3, 4000)).astype(np.float64)
    got, _ = run(f"{name}_float64", x, y)
    np.testing.assert_allclose(got, reference(x, y), rtol=1e-13, atol=1e-12)


def test_integer_division_does_not_trap():
    lowest = np.iinfo(np.int64).min
    x = np.array([7, -7, 7, -7, lowest, 5], np.int64)
    y = np.array([2, 2, -2, -2, -1, 0], np.int64)
    assert run("whole_floor_div", x, y)[0].tolist() == [3, -4, -4, 3, lowest, 0]
    assert run("whole_int_div", x, y)[0].tolist() == [3, -3, -3, 3, lowest, 0]
    assert run("whole_remainder", x, y)[0].tolist()[:4] == [1, 1, -1, -1]


def test_special_functions_against_eager():
    from eager.algebra import NUMPY

    x = np.linspace(0.05, 12, 400)
    for name in ("lgamma", "digamma", "asinh", "erfc"):
        got, _ = run(f"{name}_float64", x)
        np.testing.assert_allclose(got, getattr(NUMPY, name)(x), rtol=1e-11, atol=1e-13)
    inside = np.linspace(-0.999, 0.999, 401)
    for name in ("erfinv", "atanh"):
        got, _ = run(f"{name}_float64", inside)
        np.testing.assert_allclose(got, getattr(NUMPY, name)(inside), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run("acosh_float64", x + 1)[0], np.arccosh(x + 1), rtol=1e-12)
    np.testing.assert_allclose(run("i0_float64", x)[0], np.i0(x), rtol=1e-11)


def test_ordered_integers_compare_like_floats():
    x = np.array([-np.inf, -1, -1e-40, -0.0, 0.0, 1e-40, 1, np.inf], np.float32)
    keys, _ = evaluate("ordered_max_float32(x0)", x, result=np.int32)
    back, _ = evaluate("from_order_float32(ordered_max_float32(x0))", x)
    assert (np.diff(keys) > 0).all()
    np.testing.assert_array_equal(back, x)
    nans = np.array([0x7FC00000, 0xFFC00000], np.uint32).view(np.float32)
    keys, _ = evaluate("ordered_max_float32(x0)", nans, result=np.int32)
    back, _ = evaluate("from_order_float32(x0)", keys, result=np.float32)
    assert (keys > 0x7F800000).all() and np.isnan(back).all()
