"""Programs that are captured whole: control flow, functions, containers, classes. The body is the test."""

# Programs say things the long way on purpose: how they are said is what is tested.
# ruff: noqa: B007, B009, B010, F821, UP031, UP032, B018

import collections
import contextlib
import dataclasses
import functools
import itertools
import math
import operator
import sys
from typing import NamedTuple

from dynamo import frame
from dynamo.testing import program
from eager import nn
from eager.construct import tensor
from eager.registry import ops


def vector():
    return (tensor([1.0, 2.0, 3.0]),)


def pair():
    return tensor([1.0, 2.0, 3.0]), tensor([0.5, -1.0, 2.0])


def leaf():
    return (tensor([1.0, 2.0, 3.0], requires_grad=True),)


@program(vector)
def test_arithmetic(x):
    return -x + 1 - 2 * x / 3 + x**2


@program(pair)
def test_two_inputs(x, y):
    return x * y, y - x


@program(vector)
def test_loop(x):
    for i in range(3):
        x = x * i + 1
    return x


@program(vector)
def test_while(x):
    n = 0
    while n < 3:
        n += 1
        if n == 2:
            continue
        x = x + n
    return x, n


@program(vector)
def test_branch_on_shape(x):
    if x.shape[0] > 2 and x.dim() == 1:
        return x.sum()
    return x


@program(vector)
def test_containers(x):
    a = [x, x + 1]
    a.append(x * 2)
    a += [x]
    b = {"a": a[0], "b": a[-1]}
    b.update(c=x * 3)
    first, *rest = a
    return a, b, (first, rest), a[1:], {1, 2}, frozenset({3}), slice(1, None)


@program(vector)
def test_comprehensions(x):
    a = [x + i for i in range(3) if i != 1]
    b = {k: v for k, v in enumerate(a)}
    c = {i for i in (1, 2, 2)}
    d = tuple(i * 2 for i in a)
    return a, b, c, d


def _helper(x, *args, scale=2.0, **kwargs):
    for arg in args:
        x = x + arg
    return x * scale + kwargs.get("bias", 0)


@program(vector)
def test_inlined_function(x):
    return _helper(x, 1, 2, bias=3) + _helper(x) + _helper(x, scale=1)


@program(vector)
def test_closure_and_lambda(x):
    factor = 3

    def scale(y, by=2):
        return y * by * factor

    return scale(x) + (lambda z: z - 1)(x) + functools.partial(scale, by=5)(x)


@program(vector)
def test_nonlocal(x):
    count = 0

    def step(y):
        nonlocal count
        count += 1
        return y + count

    y = step(step(x))
    return y, count


@program(vector)
def test_returned_closure_shares_cells(x):
    total = x

    def more():
        return total + 1

    total = total * 2
    return more().sum(), more()


class Shape:
    kind = "shape"

    def __init__(self, x, scale=1):
        self.x = x
        self.scale = scale

    @property
    def area(self):
        return self.x.sum() * self.scale

    @classmethod
    def of(cls, x):
        return cls(x, 2)

    @staticmethod
    def double(x):
        return x * 2

    def __add__(self, other):
        return type(self)(self.x + other.x)

    def __call__(self, y):
        return self.x * y

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.x[index]


class Square(Shape):
    def __init__(self, x):
        super().__init__(x, scale=3)
        self.name = f"square of {len(x.shape)} dimensions"

    @property
    def area(self):
        return super().area + 1


@program(vector)
def test_user_classes(x):
    a, b = Shape.of(x), Square(x)
    c = a + Shape(x)
    return a.area, b.area, b.name, c(x), len(a), a[0], Shape.double(x), b.kind, isinstance(b, Shape)


@program(vector, graphs=0)
def test_object_is_returned(x):
    made = Square(x)
    made.extra = [made.x, 1]
    return made


@dataclasses.dataclass
class Output:
    loss: object = None
    logits: object = None
    extras: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.extras.append("made")


class Point(NamedTuple):
    x: object
    y: object = 2


Row = collections.namedtuple("Row", "a b")


@program(vector)
def test_dataclass_and_namedtuple(x):
    out = Output(loss=x.sum(), logits=x * 2)
    point = Point(x)
    row = Row(b=1, a=x)
    changed = dataclasses.replace(out, loss=None) if False else out
    return changed, point, row._replace(b=2) if False else row, point.x + row.a, Point(y=1, x=x)


@program(vector)
def test_builtins(x):
    a = [3, 1, 2]
    b = sorted(a), sorted(a, reverse=True), sorted(a, key=lambda i: -i), min(a), max(1, 2), sum(a)
    c = list(zip(a, "abc")), list(enumerate(a, 1)), list(map(str, a)), list(filter(None, [0, 1]))
    d = any(i > 2 for i in a), all(a), next(iter(a)), list(reversed(a)), divmod(7, 2), abs(-1)
    e = isinstance(x, object), hasattr(x, "shape"), hasattr(x, "nope"), callable(len)
    f = getattr(x, "nope", 5), round(2.567, 1), int("3"), float("2.5"), bool([]), str(4), repr("a")
    return x + sum(b[0]), b, c, d, e, f, math.sqrt(4), math.pi, operator.add(1, 2)


@program(vector)
def test_itertools(x):
    a = list(itertools.chain([1], (2, 3))), list(itertools.product([1, 2], "ab"))
    b = list(itertools.islice(itertools.count(3), 2)), list(itertools.accumulate([1, 2, 3]))
    c = list(itertools.zip_longest([1, 2], [3])), list(itertools.chain.from_iterable([[1], [2]]))
    d = functools.reduce(lambda p, q: p * q, [1, 2, 3])
    return x * d, a, b, c


@program(vector)
def test_strings(x):
    name = "layer"
    a = f"{name}.{x.shape[0]:03d}.{name!r}", "%s-%d" % (name, 3), "{} {a}".format(1, a=2)
    b = name.upper(), name.split("y"), "-".join(["a", "b"]), name.startswith("la"), "a" in name
    return x + len(a), a, b


@program(vector)
def test_generator(x):
    def numbers(n):
        for i in range(n):
            got = yield x + i
            if got:
                yield got
        return 7

    def outer():
        value = yield from numbers(2)
        yield value

    it = numbers(3)
    return list(outer()), next(it), it.send("sent"), [v for v in it], list(v for v in numbers(1))


@program(vector)
def test_exceptions(x):
    trace = []
    try:
        trace.append("try")
        if x.shape[0] == 3:
            raise ValueError("three")
    except (KeyError, ValueError) as error:
        trace.append(str(error))
        trace.append(error.args)
    else:
        trace.append("else")
    finally:
        trace.append("finally")
    try:
        {}["missing"]
    except LookupError as error:
        trace.append(type(error).__name__)
    try:
        [1][3]
    except IndexError as error:
        trace.append(str(error))
    return x + 1, trace


class Failure(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code


def _fails(x):
    try:
        raise Failure(3)
    finally:
        x = x + 1


@program(vector)
def test_exception_from_callee(x):
    try:
        _fails(x)
    except Failure as failure:
        return x + failure.code, str(failure)


class Manager:
    def __init__(self, log):
        self.log = log

    def __enter__(self):
        self.log.append("enter")
        return self

    def __exit__(self, kind, error, trace):
        self.log.append("exit" if kind is None else kind.__name__)
        return kind is ValueError


@program(vector)
def test_user_context_manager(x):
    log = []
    with Manager(log) as manager:
        x = x + 1
    with manager:
        raise ValueError("swallowed")
    return x, log


@program(vector, graphs=0)
def test_tensor_attributes(x):
    return x.T if x.dim() == 2 else x.shape, x.dtype, x.ndim, x.numel(), x.size(0), x.device, x.stride()


@program(lambda: (tensor([[1.0, 2.0], [3.0, 4.0]]),))
def test_indexing(x):
    return x[0], x[:, 1], x[..., None], x[0, 1], x[x.shape[0] - 1 :], x[None].shape, x[-1:]


@program(lambda: (tensor([[1.0, 2.0], [3.0, 4.0]]),))
def test_unpack_tensor(x):
    a, b = x
    (c, d), (e, f) = x.unbind(1), x.shape
    return a + b, c, d, e, f, [row * 2 for row in x]


@program(leaf)
def test_requires_grad(x):
    y = x * 2
    return y, y.requires_grad, y.detach(), x.is_leaf


@program(vector, graphs=0)
def test_ordered_dict(x):
    d = collections.OrderedDict(a=x, b=1)
    d.move_to_end("a")
    e = collections.defaultdict(list)
    e["k"].append(x)
    return d, e, list(d.items()), "a" in d, d.get("z", 3), d.pop("b"), len(d)


@program(vector, graphs=0)
def test_set_operations(x):
    a = {1, 2, 3}
    a.add(4)
    a.discard(1)
    return x, a | {9}, a & {2, 3}, a - {2}, a ^ {2, 8}, a <= {1, 2, 3, 4}, 3 in a


@program(vector)
def test_chained_comparison_and_ternary(x):
    n = x.shape[0]
    return x + (1 if 0 < n <= 3 else 2), n is not None, not n, n == 3 or n, n and "yes"


@program(vector, graphs=0)
def test_star_calls(x):
    def f(a, b, *c, d=1, **e):
        return a, b, c, d, e

    args, kwargs = [1, x], {"d": 4, "z": 5}
    return f(*args, 3, **kwargs), f(*args, *args), {**kwargs, "y": x}, [*args, *args]


@program(vector, graphs=0)
def test_match(x):
    found = []
    for item in [1, [1, 2], {"k": 3}, "s", Point(1, 2)]:
        match item:
            case 1:
                found.append("one")
            case Point(x=a, y=b):
                found.append(("point", a, b))
            case [a, b]:
                found.append((a, b))
            case {"k": v}:
                found.append(v)
            case _:
                found.append("other")
    return x, found


@program(vector)
def test_assert_and_walrus(x):
    assert x.shape[0] == 3, "three"
    if (n := x.shape[0]) > 2:
        x = x * n
    return x


@program(vector)
def test_global_functions_of_ops(x):
    return ops.cat([x, x]), ops.stack((x, x), 0).shape, ops.where(x > 1, x, -x)


@program(lambda: (tensor([3.0, 1.0, 2.0]),))
def test_multiple_results(x):
    first, rest = x.split([1, 2])
    values, indices = x.max(0)
    return first, rest, values, indices


@program(vector)
def test_class_methods_of_builtin_classes(x):
    return list(dict.fromkeys([1, 1, 2])), int.from_bytes(b"\x01", "little"), x + 1


@program(vector)
def test_chain_of_maps(x):
    chain = collections.ChainMap({"a": 1}, {"a": 2, "b": 5})
    return x * chain["a"] + chain["b"] + len(chain) + chain.get("z", 7)


@contextlib.contextmanager
def pushed(box, value):
    box.append(value)
    try:
        yield value
    finally:
        box.pop()


@program(vector)
def test_stack_of_contexts(x):
    box = []
    with contextlib.ExitStack() as stack:
        for value in range(3):
            x = x * (1 + stack.enter_context(pushed(box, value)))
        x = x + len(box)
        stack.callback(box.append, 9)
    return x + len(box) + sum(box)


@program(vector)
def test_nobody_handles_an_exception(x):
    return x * 2 if sys.exc_info()[0] is None and sys.exception() is None else x


@program(vector)
def test_the_exception_that_is_handled(x):
    try:
        raise ValueError("three")
    except ValueError:
        return x * len(str(sys.exception()))


def test_code_without_a_file():
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.up = nn.ModuleList([nn.Linear(8, 4) for _ in range(3)])

    def forward(self, x):
        kept = []
        for layer in self.down:
            x = ops.relu(layer(x))
            kept.append(x)
        for layer, skip in zip(self.up, reversed(kept)):
            x = layer(ops.cat([x, skip], 1))
        return x
"""
    scope = {"nn": nn, "ops": ops, "__name__": "made_by_exec"}
    exec(source, scope)
    model = scope["Net"]()
    frame.reset()
    callback = []

    def backend(module, inputs):
        callback.append(module)
        return module.forward

    x = ops.ones((2, 4))
    compiled = frame.optimize(backend)(model)
    assert compiled(x).tolist() == model(x).tolist()
    assert len(callback) == 1
