"""From a call to an entry: entries, recompiles and their limit, skip rules, disable, the fallback.

The symbolic machine is replaced by one that captures a frame as "return what the frame was given".
"""

import functools
import sys
import sysconfig
import threading
import types
import warnings

import pytest

import dynamo
from dynamo import backends, evaluator, fallback, frame
from dynamo import bytecode as bc
from dynamo.guard import GuardSet
from dynamo.source import LocalSource
from dynamo.unsupported import Unsupported

EVALUATOR, REASON = evaluator.load()


class Machine:
    """Stands in for `dynamo.translate`: captures frames whose function has a first argument `x`."""

    def __init__(self):
        self.calls = []
        self.raises = None
        self.sleep = None

    def translate_frame(self, function, code, arguments, backend, *, fullgraph, **options):
        self.calls.append(code.co_name)
        if self.sleep:
            self.sleep()
        if self.raises and code.co_name == "f":
            raise self.raises
        if code.co_varnames[:1] != ("x",):
            return None
        body = [
            *([bc.make("COPY_FREE_VARS", 0)] if code.co_freevars else []),
            bc.make("RESUME", 0),
            *bc.load_const(("captured", code.co_name)),
            *bc.load_fast("x"),
            *bc.build_tuple(2),
            *bc.return_value(),
        ]
        guards = GuardSet(code)
        guards.add("CONSTANT", LocalSource("x"), arguments[0], "x was looked at", "here.py:1")
        replacement = bc.assemble(body, code, cellvars=())
        return types.SimpleNamespace(code=replacement, guards=guards, graphs=[None], breaks=[])


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(dynamo, "translate", made, raising=False)
    frame.reset()
    yield made
    frame.reset()


@pytest.fixture(params=["evaluator", "fallback"])
def both(request, monkeypatch, machine):
    """Run a test with the evaluator, and with the table that replaces it."""
    if request.param == "fallback":
        monkeypatch.setattr(frame, "_store", fallback.Table())
        monkeypatch.setattr(frame, "_set_callback", frame._no_callback)
    elif EVALUATOR is None:
        pytest.skip(REASON)
    return machine


needs_evaluator = pytest.mark.skipif(EVALUATOR is None, reason=REASON)


def fresh(name="f", body="return (x, y)", signature="x, y=2"):
    """A function with a code object of its own."""
    scope = {"__name__": "user"}
    exec(compile(f"def {name}({signature}):\n    {body}\n", "/user/model.py", "exec"), scope)
    return scope[name]


def test_a_frame_is_captured_once_per_guard(both):
    f = fresh()
    compiled = frame.optimize("eager")(f)
    for _ in range(3):
        assert compiled(1) == (("captured", "f"), 1)
    assert both.calls == ["f"]
    assert compiled(5) == (("captured", "f"), 5)
    assert compiled(1) == (("captured", "f"), 1)
    assert both.calls == ["f", "f"]
    assert f(1) == (1, 2)
    assert compiled.__name__ == "f" and compiled._flambeau_original is f


def test_recompiles_say_why(both):
    compiled = frame.optimize("eager")(fresh())
    compiled(1)
    compiled(5)
    log = frame.callback_for("eager").log
    assert len(log.captured) == 2 and len(log.recompiles) == 1
    text = str(log.recompiles[0])
    assert 'File "/user/model.py", line 1, in f was compiled again' in text
    assert "x: CONSTANT expected 1, found 5" in text and "x was looked at (here.py:1)" in text


def test_the_recompile_limit(both):
    compiled = frame.optimize("eager")(fresh())
    limit = frame.config.recompile_limit
    assert limit == 8
    for i in range(limit):
        assert compiled(i)[0] == ("captured", "f")
    for i in range(limit, limit + 3):
        assert compiled(i) == (i, 2)
    log = frame.callback_for("eager").log
    assert len(both.calls) == limit and len(log.exhausted) == 1
    assert len(log.exhausted[0].reasons) == limit
    assert compiled(limit - 1) == (("captured", "f"), limit - 1)


def test_the_recompile_limit_is_an_error_with_fullgraph(both, monkeypatch):
    monkeypatch.setattr(frame.config, "recompile_limit", 2)
    compiled = frame.optimize("eager", fullgraph=True)(fresh())
    compiled(0), compiled(1)
    with pytest.raises(frame.RecompileLimit, match="recompile limit 2 reached"):
        compiled(2)
    assert compiled(1) == (("captured", "f"), 1)


def test_unsupported_frames_run_as_they_are(both):
    both.raises = Unsupported("No", "because")
    compiled = frame.optimize("eager")(fresh())
    assert compiled(1) == (1, 2) and compiled(1) == (1, 2)
    assert both.calls == ["f"]
    [(code, reason)] = frame.callback_for("eager").log.skipped
    assert code.co_name == "f" and reason is both.raises


def test_unsupported_is_an_error_with_fullgraph(both):
    both.raises = Unsupported("No", "because")
    compiled = frame.optimize("eager", fullgraph=True)(fresh())
    for _ in range(2):
        with pytest.raises(Unsupported, match="No"):
            compiled(1)


def test_unexpected_errors_reach_the_user_with_a_note(both, monkeypatch):
    both.raises = ZeroDivisionError("inside the compiler")
    compiled = frame.optimize("eager")(fresh())
    with pytest.raises(ZeroDivisionError) as error:
        compiled(1)
    assert error.value.__notes__ == ['while capturing f (File "/user/model.py", line 1)']
    monkeypatch.setattr(frame.config, "suppress_errors", True)
    assert compiled(1) == (1, 2)
    assert len(frame.callback_for("eager").log.errors) == 2


def test_wrong_arguments_raise_as_python_does(both):
    compiled = frame.optimize("eager")(fresh())
    with pytest.raises(TypeError, match=r"f\(\) missing 1 required positional argument: 'x'"):
        compiled()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        compiled(1, z=2)


def test_methods_closures_and_callables(both):
    class Thing:
        def __call__(x, y=2):
            return "called"

        def method(x, y=2):
            return "method"

    thing = Thing()
    assert frame.optimize("eager")(thing)() == (("captured", "__call__"), thing)
    assert frame.optimize("eager")(thing.method)() == (("captured", "method"), thing)
    assert frame.optimize("eager")(len)([1, 2]) == 2

    def outer(k):
        def f(x):
            return x + k

        return f

    assert frame.optimize("eager")(outer(3))(1) == (("captured", "f"), 1)


def test_generators_run_as_they_are(both):
    compiled = frame.optimize("eager")(fresh("f", "yield x", "x"))
    assert list(compiled(1)) == [1] and both.calls == []


@needs_evaluator
def test_nested_frames_are_captured(machine):
    inner = fresh("inner")
    outer = fresh("outer", "return g(x)", "z, g, x")
    assert frame.optimize("eager")(outer)(0, inner, 7) == (("captured", "inner"), 7)
    assert machine.calls == ["outer", "inner"]


@needs_evaluator
def test_a_block_is_captured(machine):
    f = fresh()
    with frame.optimize("eager") as callback:
        assert f(1) == (("captured", "f"), 1)
    assert f(1) == (1, 2) and callback.log.captured
    assert not EVALUATOR.installed


@needs_evaluator
def test_exceptions_restore_the_callback(machine):
    def fails(z):
        raise KeyError(z)

    compiled = frame.optimize("eager")(fails)
    for _ in range(3):
        with pytest.raises(KeyError):
            compiled(1)
        assert not EVALUATOR.installed


@needs_evaluator
def test_disable(machine):
    inner = fresh("inner")
    off = frame.disable(inner)
    outer = fresh("outer", "return g(x)", "z, g, x")
    compiled = frame.optimize("eager")(outer)
    assert compiled(0, off, 7) == (7, 2)
    assert "inner" not in machine.calls and off._flambeau_disabled
    assert compiled(0, inner, 7) == (("captured", "inner"), 7)


@needs_evaluator
def test_disable_of_one_frame_only(machine):
    inner = fresh("inner")
    middle = frame.disable(fresh("middle", "return g(x)", "x, g"), recursive=False)
    outer = fresh("outer", "return g(x, h)", "z, g, h, x")
    assert frame.optimize("eager")(outer)(0, middle, inner, 7) == (("captured", "inner"), 7)
    assert machine.calls == ["outer", "inner"]


def test_disable_is_a_decorator(machine):
    @frame.disable(reason="it writes a file")
    def f(x):
        """Doc."""
        return x

    assert f(3) == 3 and f.__doc__ == "Doc." and f._flambeau_disabled == "it writes a file"


@needs_evaluator
def test_options_have_entries_of_their_own(machine):
    f = fresh()
    one, two = frame.optimize("eager"), frame.optimize("eager", fullgraph=True)
    assert one.callback is frame.optimize("eager").callback is not two.callback
    one(f)(1), two(f)(1), one(f)(1)
    assert machine.calls == ["f", "f"]


@needs_evaluator
def test_reset_forgets(machine):
    f = fresh()
    compiled = frame.optimize("eager")(f)
    compiled(1)
    assert EVALUATOR.entries(f.__code__)
    frame.reset()
    assert not EVALUATOR.entries(f.__code__) and compiled.__name__ == "f"
    compiled(1)
    assert machine.calls == ["f", "f"]


@needs_evaluator
def test_nothing_is_captured_while_operators_are_interpreted(machine):
    from eager import dispatch

    f = fresh()
    compiled = frame.optimize("eager")(f)
    with dispatch.push(dispatch.Interpreter()):
        assert compiled(1) == (1, 2)
    assert machine.calls == [] and compiled(1) == (("captured", "f"), 1)


@needs_evaluator
def test_threads_compile_once(machine):
    f = fresh()
    compiled = frame.optimize("eager")(f)
    started = threading.Barrier(4)
    machine.sleep = lambda: threading.Event().wait(0.05)
    results = []

    def work():
        started.wait()
        results.append(compiled(1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(("captured", "f"), 1)] * 4
    assert machine.calls == ["f"] and not EVALUATOR.installed


def test_which_files_are_skipped():
    import numpy
    import pytest as installed

    import eager
    import eager.nn.linear
    import eager.nn.module

    for module in (functools, threading, numpy, installed, frame, eager):
        assert frame.skip_reason(module.__file__), module
    assert frame.skip_reason(eager.nn.linear.__file__) == ""
    assert frame.skip_reason(eager.nn.module.__file__)
    assert frame.skip_reason("/home/user/model.py") == ""
    site = sysconfig.get_paths()["purelib"]
    assert frame.skip_reason(f"{site}/transformers/models/bert.py") == ""
    assert frame.skip_reason("<frozen importlib._bootstrap>")
    assert frame.skip_reason("<ipython-input-3>") == ""
    assert frame.skip_reason("<string>", "__init__")
    assert frame.skip_reason("<string>", "forward") == ""
    assert frame.skip_reason("<string>", "__call__") == ""


@needs_evaluator
def test_library_frames_are_skipped_unless_asked_for(machine):
    code = compile("def f(x):\n    return x\n", functools.__file__, "exec")
    scope = {}
    exec(code, scope)
    outer = fresh("outer", "return g(x)", "z, g, x")
    assert frame.optimize("eager")(outer)(0, scope["f"], 7) == 7
    EVALUATOR.reset(scope["f"].__code__)
    assert frame.optimize("eager")(scope["f"])(7) == (("captured", "f"), 7)


# --- the fallback -----------------------------------------------------------------------------


def test_the_fallback_is_said_once(monkeypatch, machine):
    monkeypatch.setattr(frame, "_store", None)
    monkeypatch.setattr(frame, "_set_callback", frame._no_callback)
    monkeypatch.setattr(frame, "load", lambda: (None, "no table for this Python"))
    monkeypatch.setattr(fallback.warn_once, "__defaults__", ([],))
    with pytest.warns(RuntimeWarning, match="not available .no table for this Python"):
        compiled = frame.optimize("eager")(fresh())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame.optimize("eager")(fresh())
        assert compiled(1) == (("captured", "f"), 1)


def test_fallback_slots():
    def f(a, b=2, /, c=3, *va, d, e=5, **kw): ...

    assert fallback.argument_slots(f, (1,), {"d": 4}) == (1, 2, 3, 4, 5, (), {})
    slots = fallback.argument_slots(f, (1, 7, 8, 9), {"d": 4, "e": 6, "q": 1})
    assert slots == (1, 7, 8, 4, 6, (9,), {"q": 1})
    assert fallback.argument_slots(f, (), {}) is None


# --- backends ---------------------------------------------------------------------------------


def test_backends_by_name(monkeypatch):
    monkeypatch.setattr(backends, "_backends", dict(backends._backends))

    @backends.register_backend
    def mine(graph_module, example_inputs): ...

    backends.register_backend(lambda g, i: None, name="other", tags=("debug",))
    assert backends.lookup("mine") is mine is backends.lookup(mine)
    assert {"eager", "mine", "other"} <= set(backends.list_backends())
    assert "other" not in backends.list_backends(exclude_tags=("debug",))
    with pytest.raises(ValueError, match="there is a backend named 'mine'"):
        backends.register_backend(lambda g, i: None, name="mine")


def test_unknown_backends_are_refused():
    with pytest.raises(backends.InvalidBackend, match="Invalid backend: 'quick'.*'eager'"):
        frame.optimize("quick")
    with pytest.raises(TypeError, match="not int"):
        frame.optimize(3)


def test_unknown_settings_are_refused():
    with pytest.raises(AttributeError):
        frame.config.recompiles = 3


@needs_evaluator
def test_statistics(machine):
    frame.optimize("eager")(fresh())(1)
    counts = frame.statistics()
    assert counts["captured"] == 1 and counts["evaluator_seen"] > 0


def test_importing_dynamo_loads_no_compiler():
    import subprocess

    program = "import dynamo.frame, sys; print('llvmlite' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        cwd=dynamo.__path__[0] + "/..",
    )  # fmt: skip
    assert done.stdout.split() == ["False"], done.stderr


def test_too_deep_for_the_compiler_runs_as_it_is(both):
    both.raises = RecursionError("maximum recursion depth exceeded")
    assert frame.optimize("eager")(fresh())(1) == (1, 2)
    [(_, reason)] = frame.callback_for("eager").log.skipped
    assert "went too deep" in reason
    with pytest.raises(RecursionError):
        frame.optimize("eager", fullgraph=True)(fresh())(1)


@needs_evaluator
def test_giving_up_is_said_with_what_changes(caplog):
    import flambeau as torch

    frame.reset()
    compiled = torch.compile(lambda x: x + 1, backend="eager")
    for size in range(1, frame.config.recompile_limit + 4):
        assert compiled(torch.ones(size)).shape == (size,)
    frame.reset()
    (record,) = caplog.records
    assert record.name == "flambeau.dynamo" and "recompile_limit" in record.getMessage()
    assert "x: TENSOR expected" in record.getMessage()
