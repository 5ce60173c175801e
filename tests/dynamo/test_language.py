"""The language, feature by feature: programs that must be captured whole and behave as in Python."""

# Programs say things the long way on purpose: how they are said is what is tested.
# ruff: noqa: B007, B009, B010, F821, UP031, UP032, B018

import abc
import collections
import contextlib
import copy
import dataclasses
import enum
import functools
import operator
import typing

from dynamo.testing import program
from eager.construct import tensor
from eager.nn import functional as F
from eager.registry import ops
from eager.tensor import Tensor


def vector():
    return (tensor([1.0, 2.0, 3.0]),)


@program(vector)
def test_loop_else_and_break(x):
    found = []
    for i in range(5):
        if i == 3:
            break
        found.append(i)
    else:
        found.append("else")
    for _ in ():
        pass
    else:
        found.append("empty")
    n = 0
    while True:
        n += 1
        if n > 2:
            break
    return x + n, found


@program(vector)
def test_return_inside_with_and_try(x):
    log = []

    @contextlib.contextmanager
    def tracked(name):
        log.append(f"enter {name}")
        try:
            yield name.upper()
        finally:
            log.append(f"leave {name}")

    def work():
        with tracked("a") as a, contextlib.nullcontext(3) as three:
            try:
                return x * three, a
            finally:
                log.append("finally")

    return work(), log


@program(vector)
def test_exception_flow(x):
    log = []

    def f(kind):
        try:
            log.append("body")
            if kind == "value":
                raise ValueError("v")
            if kind == "key":
                return {}["k"]
            if kind == "zero":
                return 1 // 0
        except ValueError as error:
            log.append(repr(error))
            raise TypeError("from") from error
        except (KeyError, ZeroDivisionError) as error:
            log.append(type(error).__name__)
        else:
            log.append("else")
            return "else"
        finally:
            log.append("finally")
        return "end"

    results = [f("none"), f("key"), f("zero")]
    try:
        f("value")
    except TypeError as error:
        results.append((str(error), type(error.__cause__).__name__, error.__context__ is None))
    try:
        try:
            raise KeyError("inner")
        except KeyError:
            raise
    except LookupError as error:
        results.append(error.args)
    try:
        raise StopIteration(4)
    except StopIteration as stop:
        results.append(stop.value)
    return x * 2, results, log


@program(vector)
def test_exception_in_finally_replaces(x):
    log = []
    try:
        try:
            raise ValueError("first")
        finally:
            try:
                int("x")
            except ValueError as error:
                log.append(str(error))
    except ValueError as error:
        log.append(str(error))
    return x + 1, log


class Config:
    defaults = {"a": 1}
    name = "config"

    def __init__(self, **values):
        self.__dict__.update(values)

    def __getattr__(self, name):
        if name in type(self).defaults:
            return self.defaults[name]
        raise AttributeError(name)

    def __getattribute__(self, key):
        if key != "table" and key in super().__getattribute__("table"):
            key = super().__getattribute__("table")[key]
        return super().__getattribute__(key)

    table = {"alias": "b"}


@program(lambda: (tensor([1.0]), Config(b=2)))
def test_getattr_hooks(x, config):
    try:
        config.nothing
    except AttributeError as error:
        missing = str(error)
    return x * config.a * config.b * config.alias, missing, getattr(config, "zz", 7), config.name


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a):
        self.a = a


class Lazy:
    calls = 0

    @functools.cached_property
    def value(self):
        self.calls += 1
        return [self.calls]


class Color(enum.Enum):
    RED = 1
    BLUE = 2

    @property
    def pretty(self):
        return self.name.title()


class Flag(enum.IntFlag):
    A = 1
    B = 2


@program(lambda: (tensor([1.0]), Slotted(3), Color.RED))
def test_slots_cached_property_enum(x, slotted, color):
    slotted.b = slotted.a + 1
    new = Slotted(1)
    new.b = 2
    lazy = Lazy()
    first = lazy.value
    flags = Flag.A | Flag.B
    return (
        x * slotted.b, new.a + new.b, lazy.value is first, lazy.calls, color is Color.RED,
        Color(2).pretty, Color["RED"] == color, [c.value for c in Color], flags, Flag.A in flags,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: int
    b: typing.Any = None


@dataclasses.dataclass(order=True)
class Ordered:
    n: int
    names: list = dataclasses.field(default_factory=list, compare=False)


@program(vector)
def test_dataclasses(x):
    a = Frozen(1, x)
    b = dataclasses.replace(a, a=2)
    try:
        a.a = 3
    except dataclasses.FrozenInstanceError as error:
        text = str(error)
    names = [field.name for field in dataclasses.fields(a)]
    order = Ordered(1) < Ordered(2), Ordered(1) == Ordered(1), max(Ordered(3), Ordered(4)).n
    return a.b * b.a, a == Frozen(1, x), text, names, order, Ordered(5)


class Base(abc.ABC):
    registry: typing.ClassVar[dict] = {}

    @abc.abstractmethod
    def run(self, x): ...

    @classmethod
    def make(cls, *args, **kwargs):
        return cls(*args, **kwargs)


class Left(Base):
    def __init__(self, scale=1):
        super().__init__()
        self.scale = scale

    def run(self, x):
        return x * self.scale


class Right:
    def run(self, x):
        return x + 100


class Both(Left, Right):
    def run(self, x):
        return super().run(x) + super(Base, self).run(x) + Right.run(self, x)

    @classmethod
    def make(cls, *args, **kwargs):
        made = super().make(*args, **kwargs)
        made.made = True
        return made


@program(vector)
def test_inheritance(x):
    both = Both.make(scale=3)
    return both.run(x), both.made, isinstance(both, Base), issubclass(Both, Right), type(both) is Both


class Money:
    def __init__(self, n):
        self.n = n

    def __eq__(self, other):
        return isinstance(other, Money) and self.n == other.n

    def __hash__(self):
        return hash(self.n)

    def __lt__(self, other):
        return self.n < other.n

    def __add__(self, other):
        if not isinstance(other, Money):
            return NotImplemented
        return Money(self.n + other.n)

    def __radd__(self, other):
        return Money(self.n + other)

    def __iadd__(self, other):
        self.n += other.n
        return self

    def __neg__(self):
        return Money(-self.n)

    def __bool__(self):
        return self.n != 0

    def __contains__(self, item):
        return item == self.n

    def __iter__(self):
        yield from range(self.n)

    def __repr__(self):
        return f"Money({self.n})"

    def __format__(self, spec):
        return f"<{self.n:{spec}}>"


@program(vector)
def test_operators_of_user_classes(x):
    a, b = Money(2), Money(3)
    c = a
    c += b
    total = sum([Money(1), Money(2)])
    checks = a == Money(5), a != b, a > b, sorted([b, a])[0] is b, bool(Money(0)), 5 in a
    text = str(b), repr([a]), f"{b!r}"
    return x * total.n, checks, list(b), text, (-a).n, b in [Money(3)], c is a


def decorate(scale):
    def decorator(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs) * scale

        return wrapper

    return decorator


@decorate(3)
def _decorated(x, *, add=0):
    return x + add


@functools.lru_cache
def _cached(n):
    return n * 2


def _factorial(n):
    return 1 if n < 2 else n * _factorial(n - 1)


@program(vector)
def test_functions(x):
    def defaults(a, /, b=2, *, c=3, **rest):
        return a, b, c, rest

    adders = [lambda y, n=n: y + n for n in range(3)]
    late = [lambda: n for n in range(3)]
    partial = functools.partial(defaults, 1, c=5)
    return (
        _decorated(x, add=1), _cached(4), _factorial(5), defaults(1, c=4, d=x), partial(7, e=8),
        [add(x) for add in adders], [get() for get in late], partial.func is defaults,
        functools.reduce(operator.mul, [1, 2, 3]), (lambda *a, **k: (a, k))(1, b=2),
        _decorated.__name__,
    )  # fmt: skip


@program(vector)
def test_closures_over_cells(x):
    def counter():
        n = 0

        def step():
            nonlocal n
            n += 1
            return n

        return step, lambda: n

    step, read = counter()
    step()
    step()
    values = []
    for i in range(2):
        values.append(lambda i=i: x * i)
    return x + read(), [value() for value in values]


@program(vector)
def test_generators_with_cleanup(x):
    log = []

    def numbers():
        try:
            for i in range(3):
                got = yield i
                log.append(got)
        except KeyError as error:
            log.append(f"key {error}")
            yield "caught"
        finally:
            log.append("closed")

    g = numbers()
    first = next(g), g.send("a")
    caught = g.throw(KeyError("k"))
    rest = next(g, "end")
    h = numbers()
    next(h)
    h.close()

    def delegates():
        result = yield from inner()
        yield result

    def inner():
        yield 1
        return "returned"

    a, *b = delegates()
    pairs = dict((k, v) for k, v in zip("ab", (i * i for i in range(2))))
    return x * 1, first, caught, rest, log, a, b, pairs, log


@program(vector)
def test_collections(x):
    d = dict.fromkeys("ab", 0)
    d |= {"c": x}
    e = collections.Counter("abca")
    q = collections.deque([1, 2, 3])
    q.appendleft(0)
    q.append(q.popleft())
    nested = {"k": [1, {"z": (x, 2)}]}
    shallow, deep = copy.copy(nested), copy.deepcopy({"a": [1]})
    shallow["k"].append(3)
    a, (b, *c), d["e"] = 1, [2, 3, 4], 5
    del d["a"]
    lists = [3, 1, 2]
    lists.sort(key=lambda v: -v)
    lists.reverse()
    lists *= 2
    return (
        d, list(e.items()), e["z"], list(q), nested["k"][1]["z"][0] * 2, nested, deep, a, b, c,
        lists, lists.index(3), lists.count(1), (1, 2) + (3,), [0] * 3, (1, 2) < (1, 3), [1] == [1],
        {1: 2}.items() >= {(1, 2)}, {1, 2}.isdisjoint({3}), [*range(3)][::-1], "abc"[1:], {}.get(1),
    )  # fmt: skip


@program(vector)
def test_text(x):
    n, name, value = 7, "näme", 3.14159
    parts = f"{n:>4}|{value:.2f}|{name!r:>8}|{n=}|{{}}|{'a' 'b'}", "%03d %s %r" % (n, name, value)
    methods = name.encode(), "a,b".split(","), " x ".strip(), "x".join("ab"), "abc".find("c")
    more = "a-b_c".replace("-", "_").split("_", 1), "Hello".swapcase(), "x" * 3, "b" > "a", ord("a")
    return x + len(parts[0]), parts, methods, more, str(x.shape), f"{x.dtype}", repr((1, "a", None))


@program(vector)
def test_numbers(x):
    a, b = 7, 2
    ints = a // b, a % b, a**b, -a >> 1, a & b, a | b, a ^ b, ~a, divmod(a, b), a / b
    calls = round(2.5), abs(-3), pow(2, 3, 5), int(3.9), float("1e3"), bool(0), complex(1, 2).real
    more = max([1, 5, 2]), min(3, 1, key=lambda v: -v), sum([0.5, 1]), hash(1), (5).bit_length()
    return x * a + b, ints, calls, more, isinstance(True, int), type(a) is int, a is not None


class Thing:
    kind = "thing"


@program(lambda: (tensor([1.0]), Thing()))
def test_attribute_functions(x, thing):
    setattr(thing, "a", x * 2)
    thing.__dict__["b"] = 3
    delattr(thing, "a")
    has = hasattr(thing, "a"), hasattr(thing, "b"), getattr(thing, "kind"), "b" in thing.__dict__
    return has, vars(thing)["b"], thing.__class__.__name__, x + 1, sorted(thing.__dict__)


@program(vector)
def test_tensor_methods(x):
    y = x.view(3, 1).expand(3, 2).transpose(0, 1).contiguous()
    z = ops.cat([y, y * 2], dim=1)
    a, b = z.chunk(2, dim=1)
    c = x.new_zeros(2, 2) + x.sum()
    d = x.clone().fill_(2).add(1, alpha=2)
    e = F.softmax(x, dim=-1), x.softmax(0), x.to(x.dtype), x.float(), x.long().dtype, x.mean()
    return y.shape, z, a, b, c, d, e, x > 1, (x > 1) & (x < 3), ~(x > 1), 2 - x, x @ x, x == x


@program(vector)
def test_tensor_type_checks(x):
    checks = isinstance(x, Tensor), type(x) is Tensor, x is x, x is not None, x in [x]
    sizes = len(x), x.size(), x.shape == (3,), tuple(x.shape), list(x.shape), x.shape[-1], x.ndim
    return x * 2, checks, sizes, x.is_floating_point(), x.requires_grad, x.shape.numel()


@program(vector)
def test_itemgetter_and_attrgetter(x):
    rows = [{"n": 2}, {"n": 1}]
    return x + 1, sorted(rows, key=operator.itemgetter("n")), operator.attrgetter("kind")(Thing)


@program(vector)
def test_delete_and_rebind(x):
    y = x + 1
    del y
    try:
        y  # noqa: B018
    except UnboundLocalError as error:
        return x * 2, str(error)


@program(vector)
def test_empty_and_nested_comprehensions(x):
    grid = [[x * i * j for j in range(2)] for i in range(2)]
    flat = [v for row in grid for v in row if v is not None]
    table = {(i, j): grid[i][j] for i in range(2) for j in range(2)}
    y = 10
    captured = [y + i for i in range(2)]
    return flat, table[1, 1], captured, [*(), *[1]], {**{}, "a": 1}, {*[1, 2]}, [i for i in []]


class Model(typing.NamedTuple):
    a: Tensor
    b: int = 3

    def total(self):
        return self.a * self.b


@program(vector)
def test_named_tuple_methods(x):
    m = Model(x)
    a, b = m
    n = m._replace(b=4)
    return m.total(), n.b, a, b, m[0], len(m), n._asdict(), Model._fields, m == Model(x)


class Tracked(dict):
    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(f"seen_{key}", True)

    def __getattr__(self, name):
        return self[name]


@program(vector)
def test_dict_subclass(x):
    t = Tracked()
    t["a"] = x * 2
    t.update(b=1)
    return t, t.a, t.seen_a, len(t), list(t), t.get("zz"), "a" in t


@program(lambda: (tensor([1.0]), Tracked(a=1)))
def test_dict_subclass_from_outside(x, t):
    t["c"] = x + t["a"]
    return t.c, dict(t)


@program(vector, breaks=None, graphs=None)
def test_objects_with_their_own_hash_as_keys(x):
    table = {Money(1): "one"}
    return x * 2, table[Money(1)], Money(1) in table
