"""What a template hands over: how its kernel is called, and how its text is written when needed.

A `Template` is known by its key, which names everything its text depends on besides the sources of
this folder. `load` finds the machine code in the process, then in the cache on disk, and only then
writes and compiles the text; `template.step(...)` makes a step of a launch program.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from inductor import native
from inductor.cache import Cache, key_of
from inductor.program import Reference, Step

READ = 40.0  # bytes of weights that a thread reads in a nanosecond, for costs of steps

_loaded: dict[str, native.NativeFunction] = {}
_lock = threading.Lock()
_nothing = native.NativeFunction(0, b"", "", None)


@dataclass(frozen=True)
class Template:
    """A generated kernel; the fields after `write` are those of `program.Step`."""

    key: str
    symbol: str
    write: Callable[[], str] = field(repr=False, compare=False)
    total: int
    cost: float
    oversplit: int = 1
    scratch: int = 0
    scratch_slot: int = 0

    @property
    def text(self) -> str:
        """The module in LLVM's language."""
        return self.write()

    def step(self, *arguments: int | Reference, name: str = "") -> Step:
        """A step on `arguments`; the thread's scratch memory is put in its slot."""
        words = list(arguments)
        if self.scratch:
            words.insert(self.scratch_slot, 0)
        return Step(
            load(self).address, tuple(words), self.total, self.cost, self.oversplit,
            self.scratch, self.scratch_slot, name or self.symbol,
        )

    def step_if(self, flag: Reference, *arguments: int | Reference, name: str = "") -> Step:
        """A step that runs only where the int32 at `flag` is not 0, on the launching thread. It is
        seldom wanted: the template is written and compiled by the first call that wants it.
        """
        words = [flag, _later(self).address, *arguments]
        if self.scratch:
            words.insert(self.scratch_slot + 2, 0)
        return Step(
            load(_GATE).address, tuple(words), self.total, 0.0, 1, self.scratch,
            self.scratch_slot + 2, name or self.symbol,
        )


_GATE = Template("gate", "gate", lambda: """
define i32 @gate(ptr %arguments, i64 %start, i64 %stop) {
  %place = load ptr, ptr %arguments
  %flag = load i32, ptr %place
  %lowered = icmp eq i32 %flag, 0
  br i1 %lowered, label %nothing, label %run
run:
  %second = getelementptr i64, ptr %arguments, i64 1
  %function = load ptr, ptr %second
  %rest = getelementptr i64, ptr %arguments, i64 2
  %code = call i32 %function(ptr %rest, i64 %start, i64 %stop)
  ret i32 %code
nothing:
  ret i32 0
}
""", 1, 0.0)
"""The kernel (flag, function, *arguments of the function)."""
_waiting: dict[str, native.NativeFunction] = {}


def _later(template: Template) -> native.NativeFunction:
    """A function that loads the template's code when it is called first."""
    if template.key not in _waiting:
        _waiting[template.key] = native.from_python(
            lambda arguments, start, stop: load(template)(arguments, start, stop)
        )
    return _waiting[template.key]


@functools.cache
def digest() -> str:
    """A digest of what writes the texts: a change of it must not find old objects."""
    from importlib.metadata import version

    from inductor.codegen import build

    # Epilogues contain functions of the math library.
    found = hashlib.sha256(f"{version('llvmlite')} {build._library_digest()}".encode())
    folder = Path(__file__).parent
    # epilogues call the library of vector math
    library = ("native.py", "vectormath.py", "trigonometry.py", "specialmath.py")
    for path in (*sorted(folder.glob("*.py")), *(folder.parent / name for name in library)):
        found.update(path.read_bytes())
    return found.hexdigest()


def _cache() -> Cache | None:
    from inductor.compile import open_cache

    return open_cache()


class _Gathering(threading.local):
    found: dict[str, Template] | None = None


_gathering = _Gathering()


@contextmanager
def gathered() -> Iterator[dict[str, Template]]:
    """The templates, by key, of the steps that are made meanwhile in this thread. None is loaded:
    the steps cannot run.
    """
    found: dict[str, Template] = {}
    _gathering.found = found
    try:
        yield found
    finally:
        _gathering.found = None


def is_missing(template: Template, cache: Cache) -> bool:
    """Whether a template is neither in the process nor, by the look of it, in the cache."""
    return template.key not in _loaded and not cache.path(_cache_key(template)).exists()


def load(template: Template) -> native.NativeFunction:
    """The template's machine code, made at most once per process."""
    if _gathering.found is not None:
        _gathering.found[template.key] = template
        return _nothing
    with _lock:
        function = _loaded.get(template.key)
        if function is None:
            function = _loaded[template.key] = _fetch(template, _cache())
    return function


def _cache_key(template: Template) -> str:
    return key_of(template.key, template.symbol, digest(), *native.host())


def _fetch(template: Template, cache: Cache | None) -> native.NativeFunction:
    from inductor.codegen import build
    from inductor.codegen.build import counters

    begin = time.perf_counter()
    key = _cache_key(template)
    entry = cache.get(key) if cache is not None else None
    function = None
    if entry is not None:
        try:
            function = native.load_object(*entry)
            counters.loaded += 1
        except (RuntimeError, ValueError):
            function = None
    if function is None:
        function = native.compile_ir(template.text, template.symbol, vectorize=False)
        counters.compiled += 1
        if cache is not None:
            note = {"kind": "template", **build.about(digest())}
            cache.put(key, function.object_code, function.symbol, note)
    counters.seconds += time.perf_counter() - begin
    return function
