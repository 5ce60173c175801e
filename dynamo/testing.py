"""A program as its own test: `@program(inputs, graphs=1)` makes a function a test that runs it eagerly and compiled, each time on
fresh inputs, and asserts that results, exceptions, printed text and what became of the inputs are the same, and how many graphs and
breaks there were. It runs the compiled program twice: the second call must find the first one's code.
"""

from __future__ import annotations

import contextlib
import io
import math
import types
from collections.abc import Callable
from typing import Any

from dynamo import frame
from dynamo.translate import translate_frame
from dynamo.unsupported import Unsupported
from eager import autograd
from eager.tensor import Tensor


class Outcome:
    """What one run of a program did."""

    def __init__(self, function: Callable, inputs: Callable[[], tuple]) -> None:
        self.inputs = inputs()
        self.error: BaseException | None = None
        self.result: Any = None
        out = io.StringIO()
        mode = autograd.is_grad_enabled()
        with contextlib.redirect_stdout(out):
            try:
                self.result = function(*self.inputs)
            except Exception as error:
                self.error = error
        assert autograd.is_grad_enabled() == mode, "grad mode was left changed"
        self.printed = out.getvalue()

    def check(self, other: Outcome, what: str) -> None:
        if other.error is not None and self.error is None:
            raise AssertionError(f"{what}: raised {other.error!r}") from other.error
        assert type(self.error) is type(other.error), (what, self.error, other.error)
        assert str(self.error) == str(other.error), (what, self.error, other.error)
        assert_same(self.result, other.result, f"{what}: result")
        assert_same(self.inputs, other.inputs, f"{what}: inputs")
        assert self.printed == other.printed, (what, self.printed, other.printed)


def program(
    inputs: Callable[[], tuple] = lambda: (),
    *,
    graphs: int | None = 1,
    breaks: int | None = 0,
    skipped: int | None = 0,
    fullgraph: bool = False,
    again: bool = True,
) -> Callable[[Callable], Callable]:
    """Make a test of a function; None for a count leaves it open; `again` is the second call."""

    def decorate(function: Callable) -> Callable:
        def test() -> None:
            run(function, inputs, graphs, breaks, skipped, fullgraph, again)

        test.__name__ = function.__name__
        test.__doc__ = function.__doc__
        test.__module__ = function.__module__
        test.program = function, inputs  # type: ignore[attr-defined]
        return test

    return decorate


def run(
    function: Callable,
    inputs: Callable[[], tuple],
    graphs: int | None = 1,
    breaks: int | None = 0,
    skipped: int | None = 0,
    fullgraph: bool = False,
    again: bool = True,
) -> frame.Log:
    """Run a program eagerly and twice compiled, compare, count; gives the log of the compilation."""
    frame.reset()
    eager = Outcome(function, inputs)
    optimized = frame.optimize("eager", fullgraph=fullgraph)
    compiled = optimized(function)
    log = optimized.callback.log
    first = Outcome(compiled, inputs)
    assert not log.errors, log.errors
    eager.check(first, "first compiled run")
    captured = [record for _, record in log.captured]
    found = [broken for record in captured for broken in record.breaks]
    titles = [f"{b.reason} ({b.file}:{b.line})" for b in found]
    assert breaks is None or len(found) == breaks, titles
    count = sum(len(record.graphs) for record in captured)
    assert graphs is None or count == graphs, (count, titles, log.skipped)
    reasons = [str(reason) for _, reason in log.skipped]
    assert skipped is None or len(reasons) == skipped, reasons
    if not again:
        return log
    eager.check(Outcome(compiled, inputs), "second compiled run")
    changes = [str(recompile) for recompile in log.recompiles]
    assert len(log.captured) == len(captured), changes
    return log


def run_with_break(function: Any, inputs: Callable[[], tuple], step: int) -> str | None:
    """Break the graph before one step of a function's frame, and compare what happens then.

    None where the frame ends before that step; else what kind of break it was.
    """
    eager = Outcome(function, inputs)
    mode = autograd.is_grad_enabled()
    try:
        record = translate_frame(
            function, function.__code__, inputs(), frame.backends.eager, break_at=step
        )
    except Unsupported as error:
        assert autograd.is_grad_enabled() == mode
        return error.title
    assert record is not None
    if not record.breaks:
        return None
    broken = types.FunctionType(
        record.code, function.__globals__, None, function.__defaults__, function.__closure__
    )
    eager.check(Outcome(broken, inputs), f"break at step {step}")
    return "resumed" if record.breaks[0].resumed else "continued"


def assert_same(left: Any, right: Any, what: str) -> None:
    """Raises AssertionError where two objects differ in type, structure or values."""
    assert type(left) is type(right), (what, type(left), type(right))
    if isinstance(left, Tensor):
        _assert_same_tensor(left, right, what)
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right), (what, left, right)
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{what}[{index}]")
        _assert_same_attributes(left, right, what)
    elif isinstance(left, dict):
        assert list(left) == list(right), (what, list(left), list(right))
        for key in left:
            assert_same(left[key], right[key], f"{what}[{key!r}]")
        _assert_same_attributes(left, right, what)
    elif isinstance(left, float) and math.isnan(left):
        assert math.isnan(right), (what, right)
    elif hasattr(left, "__dict__") and not isinstance(left, type) and not callable(left):
        _assert_same_attributes(left, right, what)
    elif hasattr(left, "__eq__") and type(left).__eq__ is not object.__eq__ and not callable(left):
        assert left == right, (what, left, right)


def _assert_same_attributes(left: Any, right: Any, what: str) -> None:
    mine, others = getattr(left, "__dict__", {}), getattr(right, "__dict__", {})
    assert list(mine) == list(others), (what, list(mine), list(others))
    for name in mine:
        assert_same(mine[name], others[name], f"{what}.{name}")


def _assert_same_tensor(left: Tensor, right: Tensor, what: str) -> None:
    assert left.dtype == right.dtype, (what, left.dtype, right.dtype)
    assert tuple(left.shape) == tuple(right.shape), (what, left.shape, right.shape)
    assert left.requires_grad == right.requires_grad, (what, left.requires_grad)
    with autograd.no_grad():
        a, b = left.detach().numpy(), right.detach().numpy()
    close = abs(a - b) <= 1e-5 + 1e-5 * abs(a) if a.dtype.kind in "fc" else a == b
    assert bool((close | ((a != a) & (b != b))).all()), (what, left, right)
