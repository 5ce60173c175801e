"""Where the frame evaluator is refused, only the decorated function itself is captured.

`Table` keeps entries as the evaluator does; `capture_call` finds or makes one for a call and runs
it. Frames below a graph break then run as Python runs them.
"""

from __future__ import annotations

import inspect
import threading
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from dynamo.evaluator import Entry, check_replacement, positional
from dynamo.instruction import CO_VARARGS, CO_VARKEYWORDS

_busy = threading.local()


class Table:
    """Entries and marks of code objects; the same methods as `Evaluator` has."""

    installed = False
    matcher = None  # guards look at arrays in Python
    watch = None  # and at everything else

    def __init__(self) -> None:
        self._slots: dict[int, tuple[weakref.ref, Any]] = {}

    def _set(self, code: types.CodeType, value: Any) -> None:
        key = id(code)
        reference = weakref.ref(code, lambda _: self._slots.pop(key, None))
        self._slots[key] = (reference, value)

    def _get(self, code: types.CodeType) -> Any:
        found = self._slots.get(id(code))
        return found[1] if found is not None and found[0]() is code else None

    def set_callback(self, callback: Any) -> None:
        """There is no evaluator that would ask a callback."""

    def skip(self, code: types.CodeType, recursive: bool = False) -> None:
        self._set(code, "skip")

    def skipped(self, code: types.CodeType) -> bool:
        return self._get(code) == "skip"

    def reset(self, code: types.CodeType) -> None:
        self._slots.pop(id(code), None)

    def entries(self, code: types.CodeType) -> tuple[Entry, ...]:
        slot = self._get(code)
        return slot if isinstance(slot, tuple) else ()

    def set_entries(self, code: types.CodeType, entries: tuple[Entry, ...]) -> None:
        self._set(code, entries)

    def add(self, code: types.CodeType, entry: Entry) -> None:
        self._set(code, (entry, *self.entries(code)))

    def make_entry(
        self, code: types.CodeType, guard: Any, replacement: types.CodeType, callback: Any,
        record: Any = None,
    ) -> Entry:  # fmt: skip
        check_replacement(code, replacement)
        return (guard, replacement, positional(replacement), callback, record)


def warn_once(reason: str, _said: list[str] = []) -> None:  # noqa: B006
    """Say that the evaluator was refused, the first time."""
    if not _said:
        _said.append(reason)
        warnings.warn(
            f"the frame evaluator is not available ({reason}); only compiled functions themselves "
            "are captured, not what they call after a graph break",
            RuntimeWarning,
            stacklevel=4,
        )


def plain_function(callee: Any) -> tuple[types.FunctionType | None, tuple]:
    """The Python function that a call of `callee` runs, and the arguments that come before."""
    function: Any = inspect.getattr_static(type(callee), "__call__", None)
    first: tuple = (callee,)
    if isinstance(callee, types.MethodType):
        function, first = callee.__func__, (callee.__self__,)
    elif isinstance(callee, types.FunctionType):
        function, first = callee, ()
    if not isinstance(function, types.FunctionType):
        return None, ()
    return function, first


def argument_slots(function: types.FunctionType, args: tuple, kwargs: dict) -> tuple | None:
    """The values of the argument slots as the frame would have them; None if the call is wrong."""
    code = function.__code__
    signature = inspect.signature(function, follow_wrapped=False)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    values = dict(bound.arguments)
    count = code.co_argcount + code.co_kwonlyargcount
    names = list(code.co_varnames[:count])
    for flag in (CO_VARARGS, CO_VARKEYWORDS):
        if code.co_flags & flag:
            names.append(code.co_varnames[len(names)])
    return tuple(values[name] for name in names)


def capture_call(table: Table, callback: Any, callee: Any, args: tuple, kwargs: dict) -> Any:
    """Call `callee(*args, **kwargs)` through an entry, made now if there is none that fits."""
    function, first = plain_function(callee)
    if function is None or getattr(_busy, "on", False) or table.skipped(function.__code__):
        return callee(*args, **kwargs)
    slots = argument_slots(function, (*first, *args), kwargs)
    if slots is None:
        return callee(*args, **kwargs)
    _busy.on = True
    try:
        entry = find_entry(table.entries(function.__code__), callback, function, slots)
        if entry is None and not _is_suspendable(function):
            entry = callback(function, function.__code__, slots)
    finally:
        _busy.on = False
    if entry is None:
        return callee(*args, **kwargs)
    run = types.FunctionType(
        entry[2], function.__globals__, function.__name__, None, function.__closure__
    )
    return run(*slots)


def find_entry(
    entries: tuple[Entry, ...], callback: Callable, function: types.FunctionType, slots: tuple
) -> Entry | None:
    """The first entry of this callback whose guard holds."""
    for entry in entries:
        if entry[3] is callback and (entry[0] is None or entry[0](function, *slots) is True):
            return entry
    return None


def _is_suspendable(function: types.FunctionType) -> bool:
    return bool(function.__code__.co_flags & (0x20 | 0x80 | 0x100 | 0x200))
