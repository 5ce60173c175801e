"""Side effects of captured programs on objects from outside: they happen, in order, and aliases see them."""

import collections

from dynamo.testing import program
from eager.construct import tensor


def vector():
    return (tensor([1.0, 2.0, 3.0]),)


@program(lambda: (tensor([1.0]), [1, 2, 3]))
def test_list(x, items):
    items.append(x * 2)
    items[0] = "first"
    items.extend([4, 5])
    del items[1]
    items.insert(1, "in")
    return items.pop(), len(items)


@program(lambda: (tensor([1.0]), {"a": 1, "b": 2}))
def test_dict(x, table):
    table["c"] = x * 2
    table["a"] = "new"
    del table["b"]
    table.setdefault("d", []).append(3)
    return list(table), table.get("zz"), "b" in table


@program(lambda: (tensor([1.0]), {1, 2}))
def test_set(x, items):
    items.add(3)
    items.discard(1)
    return x + len(items)


class Box:
    def __init__(self, **kwargs):
        self.__dict__.update(kwargs)


@program(lambda: (tensor([1.0]), Box(a=1, inner=Box(b=2))))
def test_attributes(x, box):
    old = box.a
    box.a = x * 2
    box.new = [box.a, old]
    box.inner.b += 5
    del box.inner
    return old, box.a + 1, hasattr(box, "inner")


@program(lambda: (tensor([1.0]), Box(a=1)))
def test_swap_reads_before_it_writes(x, box):
    box.a, box.b = x + 1, box.a
    return box.b


class Watched:
    def __init__(self):
        object.__setattr__(self, "log", [])

    def __setattr__(self, name, value):
        self.log.append(name)
        object.__setattr__(self, name, value)


@program(lambda: (tensor([1.0]), Watched()))
def test_custom_setattr(x, watched):
    watched.p = x * 2
    watched.q = 3
    return watched.log


class WithProperty:
    def __init__(self):
        self._x = 1

    @property
    def x(self):
        return self._x

    @x.setter
    def x(self, value):
        self._x = value


@program(lambda: (tensor([1.0]), WithProperty()))
def test_property_setter(x, owner):
    owner.x = x + 1
    owner.x = owner.x * 2
    return owner.x


COUNTER = 0
TABLE = {"calls": 0}


def _reset():
    global COUNTER
    COUNTER = 0
    TABLE["calls"] = 0
    return (tensor([1.0]),)


def test_globals():
    @program(_reset)
    def body(x):
        global COUNTER
        COUNTER = COUNTER + 1
        TABLE["calls"] += 1
        return x + COUNTER, TABLE["calls"]

    body()
    assert COUNTER == 1
    assert TABLE == {"calls": 1}


def test_cell_from_outside():
    count = 0

    def reset():
        nonlocal count
        count = 0
        return (tensor([1.0]),)

    def body(x):
        nonlocal count
        count += 2
        return x * count

    program(reset)(body)()
    assert count == 2


@program(lambda: (lambda x: (x, x))(tensor([1.0, 2.0])))
def test_same_tensor_twice(x, y):
    return x + y, x is y


@program(lambda: (lambda a: (tensor([1.0]), a, [a]))([1]))
def test_aliased_lists(x, a, b):
    a.append(x + 1)
    return b[0], a is b[0]


@program(vector)
def test_in_place_on_input(x):
    x.add_(1)
    y = x * 2
    y.mul_(3)
    return x, y


@program(vector)
def test_in_place_on_view(x):
    y = x.view(3, 1)
    y.add_(1)
    return x, y


@program(vector)
def test_item_store(x):
    y = x * 1
    y[0] = 5
    y[1:] += 1
    return y


@program(lambda: (tensor([1.0]), collections.OrderedDict(a=1, b=2)))
def test_ordered_dict_from_outside(x, d):
    d.move_to_end("a")
    d["c"] = x * 2
    return d


@program(lambda: (tensor([1.0]), []), graphs=2, breaks=1)
def test_effect_before_break(x, log):
    log.append(x + 1)
    print(len(log))
    log.append(x * 2)
    return log
