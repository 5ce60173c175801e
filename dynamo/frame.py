"""From a call to a cache entry: which frames are captured, what is kept about them, and for whom.

`optimize` makes a `Callback` for one backend and one set of options, and sets it in this thread
while the function runs. The frame evaluator asks the callback for every frame that no entry fits;
the callback skips frames of libraries, has `translate` capture the others, and keeps the entries
bounded. Promise: what cannot be captured runs as Python would have run it, and is written down.
"""

from __future__ import annotations

import functools
import os
import random
import sysconfig
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dynamo import backends, fallback
from dynamo.evaluator import Entry, Evaluator, load
from dynamo.source import LocalSource
from dynamo.unsupported import Unsupported
from fx import collector


@dataclass(slots=True)
class Config:
    """Settings; assigning a name that is not one raises AttributeError."""

    recompile_limit: int = 8  # entries per code object and callback
    suppress_errors: bool = False  # run a frame as it is when capturing it fails unexpectedly
    mute_tracing: bool = True  # hide guards and the compiler from trace and profile functions


config = Config()


class RecompileLimit(RuntimeError):
    """A frame reached `config.recompile_limit`, and `fullgraph=True` forbids giving up."""


@dataclass(frozen=True)
class Recompile:
    """A frame that was compiled again, and why each of its entries did not fit."""

    code: types.CodeType
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        where = f'File "{self.code.co_filename}", line {self.code.co_firstlineno}'
        lines = [f"{where}, in {self.code.co_qualname} was compiled again:"]
        return "\n  ".join([*lines, *self.reasons])


@dataclass
class Log:
    """What happened to frames; one per callback."""

    captured: list[tuple[types.CodeType, Any]] = field(default_factory=list)
    skipped: list[tuple[types.CodeType, Any]] = field(default_factory=list)
    empty: list[types.CodeType] = field(default_factory=list)  # no tensor operations in them
    recompiles: list[Recompile] = field(default_factory=list)
    exhausted: list[Recompile] = field(default_factory=list)
    errors: list[tuple[types.CodeType, BaseException]] = field(default_factory=list)


# --- state ------------------------------------------------------------------------------------

_lock = threading.RLock()
_callbacks: dict[Any, Callback] = {}
_codes: dict[int, weakref.ref] = {}  # code objects with entries or marks made by a callback
_roots: dict[int, weakref.ref] = {}  # code objects the user asked for: no skip rule applies
_store: Evaluator | fallback.Table | None = None


def _no_callback(callback: Any) -> None:
    """Before the evaluator is loaded no thread can have a callback."""


_set_callback: Callable[[Any], Any] = _no_callback


def store() -> Evaluator | fallback.Table:
    """Where entries live: the evaluator, or a table where the evaluator is refused (said once)."""
    global _store, _set_callback
    if _store is None:
        with _lock:
            evaluator, reason = load()
            if evaluator is None:
                fallback.warn_once(reason)
                _store = fallback.Table()
            else:
                evaluator.mute(config.mute_tracing)
                for code in _own_codes():
                    evaluator.skip(code)
                _store, _set_callback = evaluator, evaluator.set_callback
    return _store


def _remember(table: dict[int, weakref.ref], code: types.CodeType) -> None:
    key = id(code)
    table[key] = weakref.ref(code, lambda _: table.pop(key, None))


def _knows(table: dict[int, weakref.ref], code: types.CodeType) -> bool:
    reference = table.get(id(code))
    return reference is not None and reference() is code


def reset() -> None:
    """Forget every entry, mark and log."""
    with _lock:
        if _store is not None:
            for reference in list(_codes.values()):
                code = reference()
                if code is not None:
                    _store.reset(code)
        _codes.clear()
        for callback in list(_callbacks.values()):
            callback.log = Log()
        _callbacks.clear()


# --- which frames -----------------------------------------------------------------------------


# Files of layers that hold no layer: how modules are called, what they hold. Captured by itself,
# such code would have an entry for every class of module; `forward` is captured on its own instead.
_SHARED = frozenset(
    ("module.py", "calling.py", "hooks.py", "state.py", "parameter.py", "init.py", "clip.py",
     "functional.py")
)


@functools.cache
def _folders() -> tuple[tuple[str, ...], ...]:
    """Folders of layers, of libraries, of installed packages, and of the standard library.

    Layers are programs like the user's. The folder of packages lies within the standard library's.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    own = ("eager", "fx", "aot", "inductor", "dynamo", "flambeau")
    others = ("numpy", "llvmlite", "networkx", "ml_dtypes", "threadpoolctl", "scipy",
              "pytest", "_pytest", "pluggy", "IPython", "torch")  # fmt: skip
    paths = sysconfig.get_paths()
    sites = {paths["purelib"], paths["platlib"]}
    groups = (
        [os.path.join(here, "eager", "nn")],
        [os.path.join(here, name) for name in own]
        + [os.path.join(site, name) for site in sites for name in others],
        sites,
        [paths["stdlib"], paths["platstdlib"]],
    )
    return tuple(tuple(folder + os.sep for folder in group) for group in groups)


@functools.lru_cache(maxsize=4096)
def skip_reason(filename: str, name: str = "") -> str:
    """Why frames of this file are not captured by themselves; "" if they are.

    They may still be inlined into a captured frame. Code without a file may be the user's (`exec`); methods of dataclasses and
    named tuples, by their names, are not.
    """
    if filename.startswith("<"):
        generated = filename.startswith(("<frozen", "<guards>", "<__array_function__"))
        generated |= filename == "<string>" and name[:2] == "__" and name != "__call__"
        return f"generated code {filename}" if generated else ""
    layers, libraries, packages, standard = _folders()
    if filename.startswith(layers):
        return "what all modules share" if os.path.basename(filename) in _SHARED else ""
    if filename.startswith(libraries):
        return f"library code in {filename}"
    if filename.startswith(standard) and not filename.startswith(packages):
        return f"the standard library's {filename}"
    return ""


def _is_shared(code: types.CodeType) -> bool:
    return skip_reason(code.co_filename) == "what all modules share"


# --- the callback -----------------------------------------------------------------------------


class Callback:
    """Captures frames for one backend and one set of options."""

    def __init__(self, backend: Any, fullgraph: bool, options: dict[str, Any]) -> None:
        self.backend = backend
        self.fullgraph = fullgraph
        self.options = options
        self.log = Log()
        # Of each code object, the sources of numbers that were not what an entry was made for.
        self._varying: dict[int, set[Any]] = {}

    def __call__(self, function: Any, code: types.CodeType, arguments: tuple) -> Entry | None:
        """The entry for a frame that no entry fitted, or None to run it as it is."""
        where = store()
        if _interpreting():
            return None
        if not _knows(_roots, code) and skip_reason(code.co_filename, code.co_name):
            where.skip(code)
            _remember(_codes, code)
            return None
        with _lock:
            # Another thread may have compiled it while this one waited.
            entries = where.entries(code)
            entry = fallback.find_entry(entries, self, function, arguments)
            if entry is not None:
                return entry
            if not self._may_compile(function, code, arguments, entries):
                return None
            if isinstance(where, Evaluator):
                with where.removed():
                    return self._capture(where, function, code, arguments)
            return self._capture(where, function, code, arguments)

    def _may_compile(
        self, function: Any, code: types.CodeType, arguments: tuple, entries: tuple[Entry, ...]
    ) -> bool:
        mine = [entry for entry in entries if entry[3] is self]
        if not mine:
            return True
        reasons = tuple(_why_not(entry, function, arguments) for entry in mine)
        self._note_numbers(function, code, arguments, mine)
        recompile = Recompile(code, reasons)
        if len(mine) < config.recompile_limit:
            self.log.recompiles.append(recompile)
            return True
        if not any(known.code is code for known in self.log.exhausted):
            self.log.exhausted.append(recompile)
            if not self.fullgraph:
                _say_exhausted(recompile)
        if self.fullgraph:
            raise RecompileLimit(f"recompile limit {config.recompile_limit} reached. {recompile}")
        return False

    def _note_numbers(
        self, function: Any, code: types.CodeType, arguments: tuple, entries: list[Entry]
    ) -> None:
        """Numbers for which an entry did not fit are read at every call from now on."""
        for entry in entries:
            guards = getattr(entry[4], "guards", None)
            guard = None if guards is None else guards.failing(function, arguments)
            if guard is not None and guard.kind == "CONSTANT" and _is_number(guard.payload):
                self._varying.setdefault(id(code), set()).add(guard.source)

    def _varies(self, code: types.CodeType) -> Callable[[Any], bool]:
        """Whether a number is read at every call: what `dynamic` of `compile` decides."""
        dynamic = self.options.get("dynamic")
        known = self._varying.get(id(code), ())
        if dynamic is False:
            return lambda source: False
        if dynamic:
            return lambda source: source in known or isinstance(source, LocalSource)
        return lambda source: source in known

    @collector.paused()
    def _capture(
        self, where: Any, function: Any, code: types.CodeType, arguments: tuple
    ) -> Entry | None:
        from dynamo import translate

        _remember(_codes, code)
        try:
            with _random_state_kept():
                frame = translate.translate_frame(
                    function, code, arguments, self.backend, fullgraph=self.fullgraph,
                    varying=self._varies(code), **self.options,
                )  # fmt: skip
        except Unsupported as error:
            if self.fullgraph:
                raise
            self._skip(where, code, error)
            return None
        except RecursionError as error:
            if self.fullgraph:
                raise
            self._skip(where, code, f"the compiler's own recursion went too deep: {error}")
            return None
        except Exception as error:
            self.log.errors.append((code, error))
            if not config.suppress_errors:
                place = f'File "{code.co_filename}", line {code.co_firstlineno}'
                error.add_note(f"while capturing {code.co_qualname} ({place})")
                raise
            self._skip(where, code, error)
            return None
        if frame is None or not (frame.graphs or frame.breaks):
            self.log.empty.append(code)
            if not where.entries(code):
                where.skip(code)
            return None
        if _knows(_roots, code):
            # What the user asked for goes on in resume functions.
            for resumed in getattr(frame, "resumed", ()):
                _remember(_roots, resumed)
        guard = frame.guards.compile(where.matcher, where.watch, function, arguments)
        entry = where.make_entry(code, guard, frame.code, self, frame)
        where.add(code, entry)
        self.log.captured.append((code, frame))
        return entry

    def _skip(self, where: Any, code: types.CodeType, reason: Any) -> None:
        """Run this code as it is from now on; entries made for other arguments stay."""
        if isinstance(reason, BaseException):
            # The traceback would keep the frames of the translation, and with them the user's tensors.
            reason.__traceback__ = reason.__cause__ = reason.__context__ = None
        self.log.skipped.append((code, reason))
        if not where.entries(code):
            where.skip(code)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Whatever the compiler draws or runs for real, the program draws what it would have drawn."""
    from eager.rng import default_generator

    state, python_state = default_generator.get_state(), random.getstate()
    try:
        yield
    finally:
        default_generator.set_state(state)
        random.setstate(python_state)


def _interpreting() -> bool:
    """Whether operators mean something else than "compute" now: nothing is to be captured."""
    from eager import dispatch

    return bool(dispatch.stack())


def _say_exhausted(recompile: Recompile) -> None:
    """A frame is given up: say so where the program's log is, with what keeps changing."""
    import logging

    logging.getLogger("flambeau.dynamo").warning(
        "%s was compiled %d times (dynamo.frame.config.recompile_limit) and now runs as it is for "
        "what is new; what changed last:\n  %s",
        recompile.code.co_qualname, len(recompile.reasons), recompile.reasons[0],
    )  # fmt: skip


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _why_not(entry: Entry, function: Any, arguments: tuple) -> str:
    guards = getattr(entry[4], "guards", None)
    if guards is None:
        return "the guard of an entry without a record did not hold"
    return guards.explain_failure(function, arguments) or "the guards hold now"


def callback_for(
    backend: Any = "inductor", fullgraph: bool = False, **options: Any
) -> Callback:
    """The callback of a backend and options; equal ones are the same, so that they share entries.

    Raises InvalidBackend for an unknown name.
    """
    compiler = backends.lookup(backend)
    try:
        key = (compiler, fullgraph, tuple(sorted((k, repr(v)) for k, v in options.items())))
        hash(key)
    except TypeError:
        return Callback(compiler, fullgraph, options)
    with _lock:
        if key not in _callbacks:
            _callbacks[key] = Callback(compiler, fullgraph, options)
        return _callbacks[key]


# --- entering and leaving ---------------------------------------------------------------------


class optimize:  # noqa: N801
    """Capture what runs: a decorator for one callable, or a context for a block.

    Raises InvalidBackend for an unknown backend.
    """

    def __init__(self, backend: Any = "inductor", *, fullgraph: bool = False, **options: Any):
        self.callback = callback_for(backend, fullgraph, **options)
        self._before: list[Any] = []

    def __enter__(self) -> Callback:
        store()
        self._before.append(_set_callback(self.callback))
        return self.callback

    def __exit__(self, *error: object) -> None:
        _set_callback(self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        where = store()
        run = _calling(function) if _is_from_library(function) else function
        root, _ = fallback.plain_function(run)
        is_fallback = isinstance(where, fallback.Table)
        if root is not None and (is_fallback or not _is_shared(root.__code__)):
            _remember(_roots, root.__code__)
        if is_fallback:
            return _wrapped(_fallback_wrapper(where, self.callback, run), function)
        return _wrapped(_wrapper(self.callback, run), function)


def _is_from_library(function: Any) -> bool:
    """Whether a callable has no frame of its own that would be captured: an operator, a function of
    the library, what is written in C. Not modules: their `forward` is captured."""
    if hasattr(function, "forward"):
        return False
    root, _ = fallback.plain_function(function)
    if root is None:
        return True
    _, libraries, *_ = _folders()
    return root.__code__.co_filename.startswith(libraries) or _is_shared(root.__code__)


def _calling(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls another one, into which a capture follows."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    # of its own, so that entries of what other functions call are not in its way
    call.__code__ = call.__code__.replace(co_name=getattr(function, "__name__", "call"))
    return call


def _wrapped(wrapper: Any, function: Any) -> Any:
    if hasattr(function, "__name__"):
        functools.update_wrapper(wrapper, function)
    wrapper._flambeau_original = function
    return wrapper


def _wrapper(callback: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    set_callback = _set_callback

    def compiled(*args: Any, **kwargs: Any) -> Any:
        before = set_callback(callback)
        try:
            return function(*args, **kwargs)
        finally:
            set_callback(before)

    return compiled


def _fallback_wrapper(table: Any, callback: Any, function: Callable) -> Callable[..., Any]:
    def compiled(*args: Any, **kwargs: Any) -> Any:
        return fallback.capture_call(table, callback, function, args, kwargs)

    return compiled


def disable(
    fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None
) -> Any:
    """Never capture `fn`; with `recursive`, nor anything that it calls. A decorator too."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    if recursive:
        disabled = _wrapped(_disabled_wrapper(fn), fn)
    else:
        disabled = fn
        function, _ = fallback.plain_function(fn)
        if function is not None:
            store().skip(function.__code__)
    disabled._flambeau_disabled = reason or "disabled by the user"
    return disabled


def _disabled_wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    def disabled(*args: Any, **kwargs: Any) -> Any:
        before = _set_callback(None)
        try:
            return function(*args, **kwargs)
        finally:
            _set_callback(before)

    return disabled


def shield(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """What a backend made, so that none of its frames is looked at.

    Runtime and generated code is marked, which costs nothing per call; other code is wrapped.
    """
    where = store()
    function, _ = fallback.plain_function(compiled)
    if function is None or not isinstance(where, Evaluator):
        return disable(compiled)
    filename = function.__code__.co_filename
    if not (filename.startswith("<") or skip_reason(filename)):
        return disable(compiled)
    where.skip(function.__code__, recursive=True)
    _remember(_codes, function.__code__)
    return compiled


def _own_codes() -> list[types.CodeType]:
    """Wrappers that run while a callback may be set, and are no frames to look at."""
    return [
        _wrapper(None, _no_callback).__code__,
        _disabled_wrapper(_no_callback).__code__,
        optimize.__enter__.__code__,
        optimize.__exit__.__code__,
    ]


def logs() -> list[Log]:
    """What happened to frames since the last `reset`, one log per callback."""
    return [callback.log for callback in _callbacks.values()]


def statistics() -> dict[str, int]:
    """Counts over all callbacks, with those of the evaluator itself."""
    counts = {
        name: sum(len(getattr(log, name)) for log in logs())
        for name in ("captured", "skipped", "empty", "recompiles", "exhausted", "errors")
    }
    if isinstance(_store, Evaluator):
        counts |= {f"evaluator_{k}": v for k, v in _store.statistics().items()}
    return counts
