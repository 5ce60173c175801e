"""Guards: they hold for what they were made from, fail for what differs, and say why."""

import enum
import gc
import types
import weakref

import numpy as np
import pytest

from dynamo.evaluator import load
from dynamo.guard import GuardSet, TensorSpec
from dynamo.source import (
    AttributeSource,
    BuiltinSource,
    CallSource,
    CellContentsSource,
    ChildSource,
    ClosureSource,
    ConstantSource,
    DefaultSource,
    DictItemSource,
    DictKeySource,
    FunctionSource,
    GlobalSource,
    ItemSource,
    LocalSource,
    ModuleSource,
    TypeSource,
)

X, Y = LocalSource("x"), LocalSource("y")


def f(x, y=None): ...


def guards(*rows, code=f.__code__, matcher=None):
    out = GuardSet(code)
    for kind, source, payload in rows:
        out.add(kind, source, payload, reason="the test says so", user_line="model.py:3")
    out.compile(matcher)
    return out


def matchers():
    """The checks of arrays in Python, and the generated one where there is an evaluator."""
    evaluator, _ = load()
    return [None, evaluator.matcher] if evaluator else [None]


def holds(kind, source, payload, x, y=None):
    return guards((kind, source, payload)).function(f, x, y)


class Thing:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "others"),
    [
        (3, [4, True, 3.0, "3", None]),
        (1, [True, 1.0]),
        (True, [1, False, "x"]),
        (0.0, [-0.0, 0, False]),
        (-0.0, [0.0]),
        (1.5, [1.25, np.float64(1.5)]),
        (NAN, [0.0, None]),
        ("a", ["b", None, b"a"]),
        ((1, "x"), [(1, "y"), [1, "x"], (1, "x", 2)]),
        (None, [0, False]),
        (..., [None]),
        (Colour.RED, [Colour.BLUE, 1]),
        (range(3), [range(4), [0, 1, 2]]),
    ],
)
def test_constant(value, others):
    assert holds("CONSTANT", X, value, value) is True
    assert [holds("CONSTANT", X, value, other) for other in others] == [False] * len(others)


def test_kinds_of_objects():
    thing, other = Thing(a=1), Thing(a=1)
    assert holds("ID", X, thing, thing) and not holds("ID", X, thing, other)
    assert holds("TYPE", X, Thing, thing) and not holds("TYPE", X, object, thing)
    assert holds("LENGTH", X, 2, [1, 2]) and not holds("LENGTH", X, 2, [1])
    assert not holds("LENGTH", X, 2, None)
    assert holds("DICT_KEYS", X, ("a", "b"), {"a": 1, "b": 2})
    assert not holds("DICT_KEYS", X, ("a", "b"), {"b": 1, "a": 2})
    assert holds("DICT_CONTAINS", X, ("a", True), {"a": 1})
    assert not holds("DICT_CONTAINS", X, ("a", False), {"a": 1})
    assert holds("HASATTR", X, ("a", True), thing) and holds("HASATTR", X, ("b", False), thing)
    assert holds("NONE", X, None, None) and holds("NONE", X, False, 1)
    assert not holds("NONE", X, False, None)
    assert holds("DUPLICATE_INPUT", X, Y, thing, thing)
    assert not holds("DUPLICATE_INPUT", X, Y, thing, other)
    assert holds("NO_TENSOR_ALIASING", None, (X, Y), thing, other)
    assert not holds("NO_TENSOR_ALIASING", None, (X, Y), thing, thing)
    assert holds("NO_TENSOR_ALIASING", None, (X, Y, TypeSource(X)), thing, other)
    assert holds("EXPRESSION", None, ("{0} * 2 == {1}", (X, Y)), 3, 6)
    assert not holds("EXPRESSION", None, ("{0} * 2 == {1}", (X, Y)), 3, 7)


def test_functions_of_one_code_object_are_equal():
    def make(k):
        return lambda: k

    assert holds("FUNCTION", X, make(1), make(2))
    assert not holds("FUNCTION", X, make(1), lambda: 1)
    assert not holds("FUNCTION", X, make(1), 3)


@pytest.mark.parametrize("matcher", matchers(), ids=["python", "native"][: len(matchers())])
def test_tensor(matcher):
    from eager.tensor import Tensor

    def tensor(array):
        return Tensor._wrap(array)

    base = tensor(np.ones((2, 3), np.float32))
    check = guards(("TENSOR", X, TensorSpec.of(base)), matcher=matcher)
    assert check.function(f, tensor(np.zeros((2, 3), np.float32)), None) is True
    wrong = [
        np.zeros((3, 2), np.float32),
        np.zeros((2, 3), np.float64),
        np.zeros((3, 2), np.float32).T,
        np.zeros((2, 3, 1), np.float32),
    ]
    for array in wrong:
        assert check.function(f, tensor(array), None) is False
    grad = tensor(np.zeros((2, 3), np.float32))
    grad._requires_grad = True
    assert check.function(f, grad, None) is False
    assert guards(("TENSOR", X, TensorSpec.of(grad))).function(f, grad, None) is True
    assert check.function(f, wrong[0], None) is False
    message = check.explain_failure(f, (tensor(wrong[0]), None))
    assert "L_x" not in message
    assert "x: TENSOR expected Tensor torch.float32 [2, 3]" in message
    assert "found Tensor torch.float32 [3, 2]" in message and "(model.py:3)" in message


@pytest.mark.parametrize("matcher", matchers(), ids=["python", "native"][: len(matchers())])
def test_dynamic_sizes(matcher):
    from eager.tensor import Tensor

    spec = TensorSpec.of(Tensor._wrap(np.ones((2, 3), np.float32)))._replace(
        shape=(None, 3), strides=None
    )
    check = guards(("TENSOR", X, spec), matcher=matcher).function
    assert check(f, Tensor._wrap(np.ones((7, 3), np.float32)), None)
    assert not check(f, Tensor._wrap(np.ones((7, 4), np.float32)), None)
    assert not check(f, Tensor._wrap(np.ones((7, 3, 1), np.float32)), None)


def test_the_generated_check_of_arrays():
    evaluator, reason = load()
    if evaluator is None:
        pytest.skip(reason)
    base = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    arrays = [base, base.T, base[::-1], base[:, ::2], base[0], base[0, 0, 0, 0, ...], base[:0],
              base.astype(np.float64), base.astype(">f4"), base[None], base[..., ::-1]]  # fmt: skip
    for one in arrays:
        number = one.dtype.num
        check = evaluator.array_check(number, one.shape, one.strides)
        for other in arrays:
            same = (number, one.shape, one.strides) == (other.dtype.num, other.shape, other.strides)
            assert check(other) is same
        assert check(None) is False and check(1.5) is False
        assert evaluator.array_check(number, (None,) * one.ndim, None)(one) is True
    with pytest.raises(TypeError):
        check()


def test_global_state():
    from eager import autograd, dispatch

    check = guards(("GRAD_MODE", None, True), ("DISPATCH_EMPTY", None, None)).function
    assert check(f, 1, 2) is True
    with autograd.no_grad():
        assert check(f, 1, 2) is False
    with dispatch.push(dispatch.Interpreter()):
        assert check(f, 1, 2) is False


setting = {"depth": 3}


def with_closure(k):
    def inner(x, *, flag=4):
        return k, setting, len(x)

    return inner


def test_sources_read_what_they_say():
    inner = with_closure([10, 20])
    thing = Thing(_modules={"fc": 5, "0": 6}, child=Thing(n=7))
    mapping = {"a": 1, Colour.RED: 2}
    rows = [
        (X, thing),
        (ClosureSource("k"), [10, 20]),
        (ItemSource(ClosureSource("k"), 1), 20),
        (ItemSource(GlobalSource("setting"), "depth"), 3),
        (BuiltinSource("len"), len),
        (AttributeSource(AttributeSource(X, "child"), "n"), 7),
        (ChildSource(X, "_modules", "fc"), 5),
        (TypeSource(X), Thing),
        (DefaultSource(FunctionSource(), "flag"), 4),
        (CellContentsSource(FunctionSource(), 0), [10, 20]),
        (ModuleSource(np), np),
        (CallSource(ClosureSource("k"), tuple), (10, 20)),
        (ItemSource(ConstantSource(mapping), Colour.RED), 2),
        (DictItemSource(ConstantSource(mapping), "a"), 1),
        (DictKeySource(ConstantSource(mapping), 1), Colour.RED),
    ]
    for source, expected in rows:
        kind = "CONSTANT" if type(expected) in (int, tuple, Colour) else "ID"
        expected = inner.__closure__[0].cell_contents if type(expected) is list else expected
        check = guards((kind, source, expected), code=inner.__code__)
        assert check.function(inner, thing, 4) is True, check.source_text
        check = guards((kind, source, Thing()), code=inner.__code__)
        assert check.function(inner, thing, 4) is False


def test_names_are_the_users():
    layers = ChildSource(X, "_modules", "layers")
    source = AttributeSource(ChildSource(layers, "_modules", "0"), "p")
    assert source.name == "x.layers[0].p"
    assert ItemSource(GlobalSource("table"), "k").name == "table['k']"
    assert TypeSource(X).name == "type(x)"


def test_prefixes_are_read_once():
    reads = []

    class Counting:
        @property
        def a(self):
            reads.append("a")
            return Thing(b=1, c=2)

    a = AttributeSource(X, "a")
    check = guards(
        ("CONSTANT", AttributeSource(a, "b"), 1),
        ("CONSTANT", AttributeSource(a, "c"), 2),
        ("CONSTANT", AttributeSource(a, "b"), 1),
    )
    assert len(check) == 2
    assert check.function(f, Counting(), None) is True
    assert reads == ["a"]
    assert check.describe()[1].startswith("type(x.a.c) is int and x.a.c == 2  # the test says so")


def test_equal_payloads_of_other_types_are_kept():
    check = guards(("CONSTANT", X, 0.0), ("CONSTANT", X, 0), ("CONSTANT", X, False))
    assert len(check) == 3


def test_failure_names_the_first_guard():
    check = guards(
        ("TYPE", X, Thing),
        ("CONSTANT", AttributeSource(X, "training"), True),
        ("LENGTH", Y, 2),
    )
    assert check.explain_failure(f, (Thing(training=True), [1, 2])) == ""
    message = check.explain_failure(f, (Thing(training=False), [1, 2]))
    assert message.startswith("x.training: CONSTANT expected True, found False")
    assert "[x.training is True]" in message
    assert "needed because the test says so (model.py:3)" in message
    assert "found 3" in check.explain_failure(f, (Thing(training=True), [1, 2, 3]))
    message = check.explain_failure(f, (Thing(), [1]))
    assert "AttributeError" in message and message.startswith("x.training")
    assert check.explain_failure(f, (3, [1])).startswith("x: TYPE expected Thing, found int")


def test_an_exception_is_no_hit():
    class Hostile:
        @property
        def a(self):
            raise RuntimeError("no")

        def __len__(self):
            raise ValueError

    assert holds("CONSTANT", AttributeSource(X, "a"), 1, Hostile()) is False
    assert holds("LENGTH", X, 1, Hostile()) is False
    assert holds("CONSTANT", ItemSource(X, 5), 1, [1]) is False

    class Strange:
        def __eq__(self, other):
            return np.array([True, True])

    assert holds("DICT_KEYS", X, ("a",), Strange()) is False


def test_no_guards_and_no_arguments():
    def none(): ...

    empty = GuardSet(none.__code__)
    assert empty.compile()(none) is True and empty.explain_failure(none, ()) == ""


def test_star_arguments():
    def star(a, *rest, flag, **others): ...

    check = guards(
        ("LENGTH", LocalSource("rest"), 1),
        ("DICT_KEYS", LocalSource("others"), ("z",)),
        code=star.__code__,
    )
    assert check.function(star, 1, True, (2,), {"z": 1}) is True
    assert check.function(star, 1, True, (2, 3), {"z": 1}) is False


def test_user_objects_are_held_weakly():
    class Local:
        pass

    thing = Local()
    kept = guards(("ID", X, thing), ("TYPE", X, Local))
    check = kept.function
    assert check(f, thing, None) is True
    assert "x: ID expected <" in kept.explain_failure(f, (None, None))
    references = weakref.ref(thing), weakref.ref(Local)
    del thing, Local
    gc.collect()
    assert [r() for r in references] == [None, None]
    assert check(f, Thing(), None) is False and check(f, None, None) is False
    assert "x: ID expected None" in kept.explain_failure(f, (3, None))


def test_unknown_kind():
    with pytest.raises(ValueError, match="unknown guard kind 'MOOD'; the kinds are TYPE"):
        GuardSet(f.__code__).add("MOOD", X)


def test_the_text_is_readable():
    check = guards(("CONSTANT", X, 3), ("TYPE", Y, list))
    assert "def guard(F, L_x, L_y):" in check.source_text
    assert "if not (type(L_y) is c2): return False" in check.source_text
    assert check.describe()[0].startswith("type(x) is int and x == 3  # the test says so")
    assert isinstance(check.function, types.FunctionType)


def test_fields_of_modules():
    """Read from the dictionary of the module on older Pythons; never a name the class has."""
    from eager.nn.linear import Linear

    def g(m): ...

    module = Linear(2, 3)
    m = LocalSource("m")
    rows = [
        ("TYPE", m, Linear),
        ("CONSTANT", AttributeSource(m, "training"), True),
        ("CONSTANT", AttributeSource(m, "in_features"), 2),
        ("ID", AttributeSource(m, "__class__"), Linear),
        ("TENSOR", ChildSource(m, "_parameters", "weight"), TensorSpec.of(module.weight)),
        ("TENSOR", ChildSource(m, "_parameters", "bias"), TensorSpec.of(module.bias)),
    ]
    check = guards(*rows, code=g.__code__)
    assert check.function(g, module) is True
    assert check.describe()[1].startswith("m.training is True")
    assert check.function(g, Linear(2, 4)) is False and check.function(g, Linear(2, 3)) is True
    module.eval()
    assert check.function(g, module) is False
    assert check.explain_failure(g, (module,)).startswith("m.training: CONSTANT expected True")
    module.train()
    module.weight.requires_grad_(False)
    assert check.explain_failure(g, (module,)).startswith("m.weight: TENSOR")
