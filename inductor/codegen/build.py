"""From a kernel's source text to a loaded native function: the cache, then `translate` and LLVM.

Kernels with the same text are one kernel in a process, and one entry of the cache on disk.
"""

from __future__ import annotations

import functools
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from inductor import native
from inductor.cache import Cache, key_of


@dataclass
class Counters:
    """What compiling has cost in this process."""

    compiled: int = 0
    loaded: int = 0
    shared: int = 0
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


counters = Counters()
_kernels: dict[str, native.NativeFunction] = {}


@functools.cache
def _versions() -> tuple[str, ...]:
    """What the meaning of a source text depends on, besides the CPU."""
    from importlib.metadata import version

    return f"llvmlite {version('llvmlite')}", _library_digest()


@functools.cache
def _library_digest() -> str:
    """A digest of the source of what kernels call: a change of it must not find old objects."""
    import hashlib
    from pathlib import Path

    digest = hashlib.sha256()
    folder = Path(__file__).parent
    library = ("vectormath.py", "trigonometry.py", "specialmath.py")
    for path in (*sorted(folder.glob("*.py")), *(folder.parent / name for name in library)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(text: str, cache: Cache | None = None) -> native.NativeFunction:
    """The native function of a source text; compiled where neither the process nor the cache has
    it.
    """
    found = _kernels.get(text)
    if found is not None:
        counters.shared += 1
        return found
    key = _key(text)
    entry = cache.get(key) if cache is not None else None
    begin = time.perf_counter()
    loaded = None
    if entry is not None:
        try:
            loaded = native.load_object(*entry)
            counters.loaded += 1
        except (RuntimeError, ValueError):
            loaded = None
    if loaded is None:
        object_code, symbol = compile_source(text)
        loaded = native.load_object(object_code, symbol)
        counters.compiled += 1
        if cache is not None:
            cache.put(key, object_code, symbol, {"kind": "kernel", **about(_library_digest())})
    counters.seconds += time.perf_counter() - begin
    _kernels[text] = loaded
    return loaded


def plain_kernel(text: str, file: str) -> native.NativeFunction:
    """A kernel that runs as Python, for a debugger that knows its source as `file`."""
    from inductor.codegen import plain

    return plain.kernel(text, _namespace(), file)


def is_missing(text: str, cache: Cache) -> bool:
    """Whether a kernel is neither in the process nor, by the look of it, in the cache."""
    return text not in _kernels and not cache.path(_key(text)).exists()


def _key(text: str) -> str:
    return key_of(text, *_versions(), *native.host())


def about(library: str) -> dict[str, str]:
    """What an entry of the cache depends on besides its text, in words; `library` is the digest of what wrote or is called by it."""
    name, features = native.host()
    return {
        "llvmlite": _versions()[0], "cpu": name, "features": key_of(features)[:16],
        "flambeau": library[:16],
    }


def prepare() -> None:
    """Import what compiling needs: before workers are forked, so that it is done once."""
    from inductor.codegen import translate

    assert translate
    native.target_machine()
    _namespace()


@functools.cache
def library() -> dict[str, Any]:
    """The functions that generated text may call, besides words."""
    from inductor import specialmath, trigonometry, vectormath
    from inductor.codegen import philox

    assert trigonometry  # enters its functions into the table of vectormath
    return vectormath.FUNCTIONS | specialmath.FUNCTIONS | philox.NAMES


@functools.cache
def _namespace() -> dict[str, Any]:
    """Everything generated text may name."""
    import math

    from inductor.codegen import words

    return {"inf": math.inf, "nan": math.nan} | words.WORDS | library()


def compile_source(text: str) -> tuple[bytes, str]:
    """Object code and the kernel's symbol. Raises TextError for text outside the dialect."""
    from inductor.codegen import translate

    module, symbol = translate.translate(text, _namespace())
    return native.object_of(module, symbol), symbol
