"""The frame evaluator: replaced frames behave as the replacement would, whatever else happens.

Most tests run twice: with frames retargeted in place, and with every replacement forced through the
path that is taken when the data stack's chunk is full.
"""

import asyncio
import contextlib
import dataclasses
import gc
import os
import subprocess
import sys
import textwrap
import threading
import traceback
import types
import weakref

import pytest

from dynamo import evaluator as evaluators
from dynamo import layout as layouts
from dynamo.evaluator import Evaluator, LayoutError, check_replacement, positional

EVALUATOR, REASON = evaluators.load()
pytestmark = pytest.mark.skipif(EVALUATOR is None, reason=REASON)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(params=["in place", "recalled"], autouse=True)
def path(request, monkeypatch):
    """The path, and a clean slate: code objects outlive the call of a test."""
    touched = []
    for name in ("add", "skip"):

        method = getattr(EVALUATOR, name)

        def noting(code, *rest, method=method, **options):
            touched.append(weakref.ref(code))
            method(code, *rest, **options)

        monkeypatch.setattr(EVALUATOR, name, noting)
    EVALUATOR._put("force_recall", int(request.param == "recalled"))
    try:
        yield request.param
    finally:
        EVALUATOR._put("force_recall", 0)
        for code in (reference() for reference in touched):
            if code is not None:
                EVALUATOR.reset(code)


active = EVALUATOR.active if EVALUATOR else None


def replacing(*pairs, seen=None):
    """A callback that replaces the first of each pair by the second, whatever the arguments."""
    codes = {id(old.__code__): new.__code__ for old, new in pairs}

    def callback(function, code, arguments):
        if seen is not None:
            seen.append((code.co_name, arguments))
        if id(code) not in codes:
            EVALUATOR.skip(code)
            return None
        entry = EVALUATOR.make_entry(code, None, codes[id(code)], callback)
        EVALUATOR.add(code, entry)
        return entry

    return callback


def replace(old, new, guard=None):
    """Add an entry that any thread with the callback False runs."""
    EVALUATOR.add(old.__code__, EVALUATOR.make_entry(old.__code__, guard, new.__code__, None))


# --- what a replaced frame sees ---------------------------------------------------------------


def test_every_kind_of_argument():
    def f(a, b=2, /, c=3, *va, d, e=5, **kw):
        return (a, b, c, va, d, e, kw)

    def g(a, b=2, /, c=3, *va, d, e=5, **kw):
        x, y, z = [a, b, c], {"va": va}, (d, e)
        w = dict(kw.items())
        return (a, b, c, va, d, e, w, "new", (lambda: (x, y, z))()[0][0])

    with active(replacing((f, g))):
        assert f(1, d=4) == (1, 2, 3, (), 4, 5, {}, "new", 1)
        assert f(1, 7, 8, 9, 10, d=4, e=6, q=1) == (1, 7, 8, (9, 10), 4, 6, {"q": 1}, "new", 1)
        assert f(*[1, 2], **{"d": 1, "zz": 2}) == (1, 2, 3, (), 1, 5, {"zz": 2}, "new", 1)
        with pytest.raises(TypeError, match="missing 1 required keyword-only argument"):
            f(1)
    assert f(1, d=4) == (1, 2, 3, (), 4, 5, {})


def test_cells_and_free_variables():
    def outer(k):
        def f(a, b):
            nonlocal k
            k += 1
            return (lambda: a + b + k)()

        def g(a, b):
            nonlocal k
            k += 100
            extra = [1, 2, 3]
            h = lambda: (a, b, k, extra)  # noqa: E731
            a = a * 2
            return h()

        return f, g, lambda: k

    f, g, read = outer(10)
    with active(replacing((f, g))):
        assert f(1, 2) == (2, 2, 110, [1, 2, 3])
        assert f(1, 2) == (2, 2, 210, [1, 2, 3])
    assert read() == 210 and f(1, 2) == 1 + 2 + 211


def test_super_and_class_cell():
    class A:
        def m(self):
            return 1

    class B(A):
        def m(self):
            return super().m() + 1

        def m2(self):
            q = [super().m(), __class__.__name__]
            return q

    with active(replacing((B.m, B.m2))):
        assert B().m() == [1, "B"]
    assert B().m() == 2


def test_guards_choose_between_entries():
    def f(a, b=1):
        return "original"

    def g(a, b=1):
        return ("int", a, b)

    def h(a, b=1):
        c = b
        return ("str", a, c)

    replace(f, g, lambda fn, a, b: type(a) is int)
    replace(f, h, lambda fn, a, b: type(a) is str)
    with active(False):
        assert f(1) == ("int", 1, 1) and f("x") == ("str", "x", 1) and f(1.0) == "original"


def test_entries_belong_to_their_callback():
    def f(a):
        return a

    def g(a):
        return ("g", a)

    def h(a):
        return ("h", a)

    one, two = replacing((f, g)), replacing((f, h))
    for _ in range(2):
        with active(one):
            assert f(1) == ("g", 1)
            with active(two):
                assert f(1) == ("h", 1)
            assert f(1) == ("g", 1)
    assert len(EVALUATOR.entries(f.__code__)) == 2


def test_the_guard_is_given_the_function():
    def make(k):
        def f(a):
            return ("original", a, k)

        def g(a):
            z = k
            return ("new", a, z)

        return f, g

    (f1, g1), (f2, _) = make(1), make(2)
    replace(f1, g1, lambda fn, a: fn.__closure__[0].cell_contents == 1)
    with active(False):
        assert f1(7) == ("new", 7, 1) and f2(7) == ("original", 7, 2)


# --- exceptions -------------------------------------------------------------------------------


def test_traceback_of_a_replaced_frame():
    def f(x):
        return x

    def g(x):
        y = x
        raise ValueError("boom", y)

    def caller():
        return f(3)

    with active(replacing((f, g))):
        for _ in range(3):
            with pytest.raises(ValueError, match="boom") as error:
                caller()
            frames = traceback.extract_tb(error.value.__traceback__)
            assert [z.name for z in frames][-2:] == ["caller", "g"]
            last = error.value.__traceback__.tb_next.tb_next
            assert last.tb_frame.f_locals == {"x": 3, "y": 3}
            assert last.tb_frame.f_back.f_code.co_name == "caller"


def test_exception_state_around_a_handler():
    def f(x):
        return x

    def g(x):
        try:
            1 / x
        except ZeroDivisionError:
            return sys.exc_info()[0].__name__
        finally:
            x = None

    with active(replacing((f, g))):
        try:
            raise KeyError("outer")
        except KeyError:
            assert f(0) == "ZeroDivisionError"
            assert sys.exc_info()[0] is KeyError


def test_errors_of_guard_and_callback_reach_the_caller():
    class Token:
        pass

    def f(x, y):
        return x

    def g(x, y):
        q = y
        return x, q

    def guard(fn, x, y):
        raise RuntimeError("guard broke")

    def callback(function, code, arguments):
        if code is f.__code__:
            raise OSError("callback broke")
        EVALUATOR.skip(code)

    token = Token()
    reference = weakref.ref(token)
    replace(f, g, guard)
    with active(False):
        for _ in range(50):
            with pytest.raises(RuntimeError, match="guard broke") as error:
                f(token, [token])
            assert error.value.__traceback__.tb_next.tb_frame.f_code.co_name == "guard"
    EVALUATOR.reset(f.__code__)
    with active(callback):
        for _ in range(50):
            with pytest.raises(OSError, match="callback broke"):
                f(token, [token])
    del token, error
    gc.collect()
    assert reference() is None and f(1, 2) == 1


# --- memory -----------------------------------------------------------------------------------


def test_references_balance():
    class Token:
        pass

    live = weakref.WeakSet()

    def f(a, b, *c, d=None, **e):
        return a

    def g(a, b, *c, d=None, **e):
        z = [a, b, c, d, e]
        return a if (lambda: (z, b)) else None

    def token():
        made = Token()
        live.add(made)
        return made

    def counts():
        things = (f, f.__code__, g.__code__, EVALUATOR.entries(f.__code__), EVALUATOR._stub, None)
        return [sys.getrefcount(thing) for thing in things[:-1]]

    with active(replacing((f, g))):
        f(token(), token())
        before = counts()
        for _ in range(2000):
            f(token(), token(), token(), d=token(), q=token())
        after = counts()
    gc.collect()
    assert len(live) == 0
    assert all(abs(a - b) <= 1 for a, b in zip(before, after, strict=True)), (before, after)


def test_references_balance_when_guards_fail_or_raise():
    class Token:
        pass

    def f(a):
        return None

    def g(a):
        x = a
        return x and None

    outcome = [False]

    def guard(fn, a):
        if outcome[0] is None:
            raise KeyError
        return outcome[0]

    replace(f, g, guard)
    token = Token()
    with active(False):
        for outcome[0] in (False, True, None, 7):
            before = sys.getrefcount(token)
            for _ in range(500):
                with contextlib.suppress(KeyError):
                    f(token)
            assert abs(sys.getrefcount(token) - before) <= 1, outcome


def test_entries_die_with_the_code():
    scope = {}
    exec("def f(a): return a\ndef g(a): return (a, 1)", scope)
    f, g = scope["f"], scope["g"]

    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    replace(f, g, eval("lambda fn, a, t=t: True", {"t": thing}))
    del thing
    with active(False):
        assert f(1) == (1, 1)
    assert reference() is not None
    del f, g, scope
    gc.collect()
    assert reference() is None


def test_frame_objects_survive_their_frames():
    kept = []

    def f(a):
        return kept

    def g(a):
        b = [a]
        c = lambda: b  # noqa: E731
        kept.append(sys._getframe())
        return locals(), c

    with active(replacing((f, g))):
        for i in range(20):
            values, _ = f(i)
            assert values["a"] == i and values["b"] == [i]
    for i, frame in enumerate(kept):
        assert frame.f_code.co_name == "g" and frame.f_locals["b"] == [i]
        frame.clear()


def test_function_dies_in_the_callback():
    box = {}

    def make():
        def f(a):
            return a

        return f

    def g(a):
        z = [a]
        return ("g", a, z)

    def callback(function, code, arguments):
        if code.co_name != "f":
            EVALUATOR.skip(code)
            return None
        box.clear()
        gc.collect()
        return EVALUATOR.make_entry(code, None, g.__code__, callback)

    box["f"] = make()
    with active(callback):
        assert box["f"](7) == ("g", 7, [7])


def test_code_reassigned_in_the_callback():
    def f(a):
        return ("f", a)

    def g(a):
        z = a
        return ("g", z)

    def h(a):
        return ("h", a)

    old = f.__code__

    def callback(function, code, arguments):
        if code is not old:
            EVALUATOR.skip(code)
            return None
        f.__code__ = h.__code__
        return EVALUATOR.make_entry(code, None, g.__code__, callback)

    with active(callback):
        assert f(1) == ("g", 1)
    assert f(1) == ("h", 1)


# --- which frames are seen --------------------------------------------------------------------


def test_nested_frames_reach_the_callback():
    """Also from call sites that were specialised before the evaluator was in place."""

    class P:
        def __getitem__(self, i):
            return i

        @property
        def prop(self):
            return 5

        def __add__(self, o):
            return 1

        def __call__(self):
            return 2

        def method(self):
            return 3

    def leaf(x):
        return x

    def run(p):
        return leaf(p[0]), p.prop, p + p, p(), p.method(), sorted([2, 1], key=leaf), [
            leaf(i) for i in range(2)
        ]

    for _ in range(50):
        run(P())
    seen = []
    with active(replacing(seen=seen)):
        result = run(P())
    names = {name for name, _ in seen}
    assert {"run", "leaf", "prop", "__add__", "__call__", "method"} <= names
    assert result[:5] == (0, 5, 1, 2, 3)


def test_frames_of_a_replacement_reach_the_callback():
    def after(x):
        return ("after", x)

    def f(x):
        return after and x

    def g(x):
        y = after(x)
        return y

    def better(x):
        z = x
        return ("better", z)

    with active(replacing((f, g), (after, better))):
        assert f(1) == ("better", 1)
        assert f(2) == ("better", 2)


def test_callback_is_off_in_callback_and_guards():
    seen = []

    def inner():
        return 1

    def f(a):
        return a

    def g(a):
        b = a
        return ("g", b)

    def guard(fn, a):
        inner()
        return True

    def callback(function, code, arguments):
        inner()
        seen.append(code.co_name)
        if code is f.__code__:
            EVALUATOR.add(code, EVALUATOR.make_entry(code, guard, g.__code__, callback))
        return None

    with active(callback):
        assert f(1) == 1 and f(1) == ("g", 1)
    assert seen.count("f") == 1 and "inner" not in seen


def test_generators_coroutines_and_classes_are_left_alone():
    seen = []

    def generator(n):
        yield from range(n)

    async def coroutine(n):
        await asyncio.sleep(0)
        return n

    async def asynchronous(n):
        for i in range(n):
            yield i

    async def main():
        return [x async for x in asynchronous(3)] + [await coroutine(5)]

    def callback(function, code, arguments):
        seen.append(code.co_name)

    with active(callback):
        assert list(generator(4)) == [0, 1, 2, 3]
        started = generator(2)
        next(started)
        with pytest.raises(ValueError):
            started.throw(ValueError("x"))
        assert asyncio.run(main()) == [0, 1, 2, 5]

        class K:
            def m(self):
                return [i for i in range(3)]

        exec("zz = 1\ndef q(): pass\nq()", {})
        assert K().m() == [0, 1, 2]
    assert not {"generator", "K", "<module>", "asynchronous", "coroutine", "main"} & set(seen)
    assert {"m", "q"} <= set(seen)


def test_skip_marks():
    seen = []

    def leaf():
        return 1

    def f():
        return leaf()

    def callback(function, code, arguments):
        seen.append(code.co_name)

    EVALUATOR.skip(f.__code__)
    with active(callback):
        f()
    assert "f" not in seen and "leaf" in seen and EVALUATOR.skipped(f.__code__)
    seen.clear()
    EVALUATOR.skip(f.__code__, recursive=True)
    with active(callback):
        f()
        leaf()
    assert seen.count("leaf") == 1 and "f" not in seen
    EVALUATOR.reset(f.__code__)
    assert not EVALUATOR.skipped(f.__code__)


def test_run_only_never_calls_back():
    def f(a):
        return a

    before = EVALUATOR.statistics()["callback"]
    with active(False):
        assert f(1) == 1
    assert EVALUATOR.statistics()["callback"] == before


def test_the_evaluator_is_in_place_only_while_active():
    assert not EVALUATOR.installed
    with active(False):
        assert EVALUATOR.installed
        with EVALUATOR.removed():
            assert not EVALUATOR.installed
        assert EVALUATOR.installed
        with active(None):
            assert not EVALUATOR.installed
        assert EVALUATOR.installed
    assert not EVALUATOR.installed
    with EVALUATOR.removed():
        assert not EVALUATOR.installed


def test_set_callback_gives_back_what_was_set():
    def one(*arguments): ...

    assert EVALUATOR.set_callback(one) is None
    assert EVALUATOR.set_callback(False) is one
    assert EVALUATOR.set_callback(None) is False
    assert EVALUATOR.set_callback(None) is None


# --- depth ------------------------------------------------------------------------------------


def test_recursion_through_replacements():
    def f(n):
        return f

    def g(n):
        a = b = n
        return 1 + f(n - 1) if a == b and n else 0

    def endless(n):
        return endless

    def endless2(n):
        q = [n]
        return endless(n + 1), q

    with active(replacing((f, g), (endless, endless2))):
        assert f(300) == 300
        for _ in range(3):
            with pytest.raises(RecursionError):
                endless(0)
        assert f(300) == 300


def test_plain_recursion_keeps_its_depth():
    def r(n):
        return 1 + r(n - 1) if n else 0

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        # pytest's own frames take some of the thousand.
        with active(lambda *arguments: None):
            assert r(800) == 800
        with active(False):
            assert r(800) == 800
        sys.setrecursionlimit(20000)
        assert r(15000) == 15000
    finally:
        sys.setrecursionlimit(limit)


def test_the_end_of_a_chunk_is_met_naturally(path):
    body = "".join(f"    v{i} = n\n" for i in range(150))
    scope = {}
    exec(f"def big(n, f):\n{body}    return 1 + f(n - 1, f) if n else 0\n", scope)

    def f(n, f):
        return 0

    before = EVALUATOR.statistics()
    with active(replacing((f, scope["big"]))):
        for depth in range(1, 120):
            assert f(depth, f) == depth
    after = EVALUATOR.statistics()
    assert after["recall"] > before["recall"] and after["refused"] == before["refused"]

    def small(n, f):
        return 0

    EVALUATOR.reset(scope["big"].__code__)
    with active(replacing((scope["big"], small))):
        for _ in range(100):
            assert scope["big"](5, f) == 0


# --- tracing ----------------------------------------------------------------------------------


def test_trace_and_profile_see_only_the_replacement():
    events = []
    names = ("f", "g", "<discarded frame>", "guard", "callback")

    def f(a):
        return a

    def g(a):
        b = a
        return (b, "n")

    def guard(fn, a):
        return True

    def listen(frame, event, arg):
        if frame.f_code.co_name in names:
            events.append((event, frame.f_code.co_name))
        return listen

    replace(f, g, guard)
    with active(False):
        before = sys.gettrace()
        sys.settrace(listen)
        try:
            result = f(2)
        finally:
            sys.settrace(before)
    assert result == (2, "n")
    calls = [event for event in events if event[0] in ("call", "return")]
    assert calls == [("call", "g"), ("return", "g")]
    events.clear()
    with active(False):
        sys.setprofile(listen)
        try:
            f(2)
        finally:
            sys.setprofile(None)
    assert events == [("call", "g"), ("return", "g")]
    events.clear()
    EVALUATOR.mute(False)
    try:
        with active(False):
            sys.setprofile(listen)
            try:
                f(2)
            finally:
                sys.setprofile(None)
    finally:
        EVALUATOR.mute(True)
    assert ("call", "guard") in events


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is new in 3.12")
def test_monitoring_sees_only_the_replacement():
    monitoring, events = sys.monitoring, []

    def f(a):
        return a

    def g(a):
        b = a
        return b

    monitoring.use_tool_id(3, "test")
    starts = monitoring.events.PY_START | monitoring.events.PY_RETURN
    for event in ("PY_START", "PY_RETURN"):
        monitoring.register_callback(
            3, getattr(monitoring.events, event),
            lambda code, *rest, e=event: events.append((e, code.co_name)),
        )  # fmt: skip
    try:
        with active(replacing((f, g))):
            monitoring.set_events(3, starts)
            f(1)
            monitoring.set_events(3, 0)
    finally:
        monitoring.free_tool_id(3)
    mine = [event for event in events if event[1] in ("f", "g", "<discarded frame>")]
    assert mine == [("PY_START", "g"), ("PY_RETURN", "g")]


# --- threads ----------------------------------------------------------------------------------


def test_callbacks_belong_to_threads():
    def f(a):
        return ("f", a)

    def g(a):
        b = a
        return ("g", b)

    results = []
    with active(replacing((f, g))):
        thread = threading.Thread(target=lambda: results.append(f(1)))
        thread.start()
        thread.join()
        results.append(f(1))
    assert results == [("f", 1), ("g", 1)]


def test_many_threads_replace_at_once():
    def f(a):
        return ("f", a)

    def g(a):
        b = [a]
        return ("g", b[0])

    failures = []

    def work():
        callback = replacing((f, g))
        try:
            for i in range(300):
                with active(callback):
                    assert f(i) == ("g", i)
                assert f(i) == ("f", i)
                if i % 50 == 0:
                    EVALUATOR.reset(f.__code__)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert not failures and not EVALUATOR.installed


PROGRAM = """
import os, sys, threading
sys.path.insert(0, {root!r})
from dynamo.evaluator import Evaluator
e = Evaluator()
def f(a): return a
def g(a):
    z = [a]
    return z
e.add(f.__code__, e.make_entry(f.__code__, lambda fn, a: True, g.__code__, None))
class D:
    def __del__(self): f(1)
d = D(); sys.modules["zz"] = d; cycle = [d]; cycle.append(cycle)
e.set_callback(False)
assert f(3) == [3]
{mode}
"""


@pytest.mark.parametrize(
    "mode",
    [
        "pass",
        "sys.exit(0)",
        "pid = os.fork()\nassert f(4) == [4]\n"
        "if pid: os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
        "t = threading.Thread(target=lambda: (e.set_callback(False), f(2)))\nt.start()\nt.join()",
    ],
    ids=["return", "exit", "fork", "thread"],
)
def test_the_process_ends_while_active(mode, path):
    if path == "recalled":
        pytest.skip("the program sets its own path")
    program = PROGRAM.format(root=ROOT, mode=mode)
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- what is refused --------------------------------------------------------------------------


def test_replacements_are_checked():
    def f(a):
        return a

    def generator(a):
        yield a

    def two(a, b):
        return a

    def named(b):
        return b

    def starred(*a):
        return a

    for bad in (generator, two, named, starred):
        with pytest.raises(ValueError, match="test_replacements_are_checked"):
            check_replacement(f.__code__, bad.__code__)
    with pytest.raises(ValueError, match="only the code of functions"):
        check_replacement(compile("a", "x", "exec"), compile("a", "x", "exec"))


def test_positional_twin():
    def f(a, /, b, *c, d, **e):
        return a, b, c, d, e

    twin = types.FunctionType(positional(f.__code__), globals())
    # Starred arguments come last among the slots.
    assert twin(1, 2, 4, (3,), {"k": 5}) == (1, 2, (3,), 4, {"k": 5})


def _mutations():
    for field in dataclasses.fields(layouts.Layout):
        value = getattr(layouts.TABLE.get(sys.version_info[:2]), field.name, None)
        if value is None or isinstance(value, bool):
            continue
        steps = (-1, 1) if field.name == "frame_owner" else (-8, -4, 4, 8)
        steps = (-1, 1) if field.name == "frame_specials" else steps
        yield from ((field.name, value, value + step) for step in steps if value + step >= 0)


def test_wrong_offsets_are_refused(path):
    """Each offset is moved a little, in one child process; none may pass, and none may crash."""
    if path == "recalled":
        pytest.skip("no frame is replaced here")
    program = textwrap.dedent(f"""
        import dataclasses, sys
        sys.path.insert(0, {ROOT!r})
        from dynamo.evaluator import Evaluator, LayoutError
        from dynamo import layout
        accepted = []
        for name, value, wrong in {list(_mutations())!r}:
            changed = dataclasses.replace(layout.current(), **{{name: wrong}})
            try:
                Evaluator(changed)
                accepted.append((name, value, wrong))
            except LayoutError:
                pass
        print(accepted)
    """)
    command = [sys.executable, "-X", "faulthandler", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_unknown_versions_are_refused(monkeypatch):
    monkeypatch.setattr(layouts, "TABLE", {})
    with pytest.raises(LayoutError, match="has no table"):
        Evaluator()


def test_load_gives_the_reason(monkeypatch):
    monkeypatch.setenv("FLAMBEAU_EVALUATOR", "0")
    assert evaluators._load() == (None, "switched off by FLAMBEAU_EVALUATOR")
    monkeypatch.delenv("FLAMBEAU_EVALUATOR")
    monkeypatch.setattr(layouts, "TABLE", {})
    evaluator, reason = evaluators._load()
    assert evaluator is None and reason.startswith("LayoutError: Python 3.")
