"""From a kernel's source text to a loaded native function: the cache, then Numba and LLVM.

Kernels with the same text are one kernel in a process, and one entry of the cache on disk. A text
found in the cache is loaded without importing numba.
"""

from __future__ import annotations

import contextlib
import functools
import linecache
import threading
import time
from collections.abc import Iterator
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
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("numba", "llvmlite"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} missing")
    return (*found, _library_digest())


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
    numba, llvmlite = _versions()[:2]
    return {
        "numba": numba, "llvmlite": llvmlite, "cpu": name, "features": key_of(features)[:16],
        "flambeau": library[:16],
    }


def prepare() -> None:
    """Import what compiling needs: before workers are forked, so that it is done once."""
    _prepare()
    _namespace()


@functools.cache
def _namespace() -> dict[str, Any]:
    """Everything generated text may name."""
    import math

    import numba

    from inductor import specialmath, trigonometry, vectormath
    from inductor.codegen import intrinsics, philox

    names: dict[str, Any] = {"inf": math.inf, "nan": math.nan}
    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"):
        names[dtype] = getattr(numba, dtype)
    names |= intrinsics.NAMES | vectormath.FUNCTIONS | specialmath.FUNCTIONS
    assert "sin_float32" in names, trigonometry
    return names | philox.NAMES


@functools.cache
def _prepare() -> None:
    """Point numba at the features that native.py compiles for (full vector width), unless it has
    started already.
    """
    import numba
    from numba.core import config as numba_config

    config: Any = numba_config
    name, features = native.host()
    if not config.CPU_NAME:
        config.CPU_NAME, config.CPU_FEATURES = name, features
    assert numba is not None


@functools.cache
def _pipeline() -> Any:
    """Numba's pipeline less the passes that our plain kernels have no use for."""
    from numba.core import typed_passes, untyped_passes
    from numba.core.compiler import CompilerBase
    from numba.core.compiler_machinery import PassManager

    passes = (
        untyped_passes.TranslateByteCode, untyped_passes.FixupArgs, untyped_passes.IRProcessing,
        untyped_passes.ReconstructSSA, typed_passes.NopythonTypeInference,
        typed_passes.PreLowerStripPhis, typed_passes.IRLegalization, typed_passes.NativeLowering,
        typed_passes.NoPythonBackend,
    )

    class KernelCompiler(CompilerBase):
        def define_pipelines(self) -> list[PassManager]:
            manager = PassManager("kernel")
            for step in passes:
                manager.add_pass(step, step.__name__)
            manager.finalize()
            return [manager]

    return KernelCompiler


@contextlib.contextmanager
def _remembered_types() -> Iterator[None]:
    """Let numba work out the type of a call once: kernels say the same few things again and again.

    To be entered with numba's compiler lock held, which every compilation takes.
    """
    from numba.core.registry import cpu_target

    context: Any = cpu_target.typing_context
    resolve = context.resolve_function_type

    def remember(function: Any, arguments: tuple, keywords: dict) -> Any:
        key = (function, arguments, tuple(dict(keywords).items()))
        if key not in _signatures:
            _signatures[key] = resolve(function, arguments, keywords)
        return _signatures[key]

    context.resolve_function_type = remember
    try:
        yield
    finally:
        del context.resolve_function_type


_signatures: dict[Any, Any] = {}


def _front(function: Any) -> tuple[str, str]:
    """A kernel's module as numba writes it, with all that it calls, and the symbol; LLVM is left to native.py, which takes half as
    long as numba's rounds of it.
    """
    from numba import types
    from numba.core.ccallback import CFunc
    from numba.core.compiler_lock import global_compiler_lock

    signature = (types.CPointer(types.int64), types.int64, types.int64), types.int32
    options = {"fastmath": {"contract"}, "error_model": "numpy"}
    callback: Any = CFunc(function, signature, {}, options, pipeline_class=_pipeline())
    with global_compiler_lock:
        with _remembered_types():
            result = callback._compile_uncached()
        module = result.library._final_module
        for library in dict.fromkeys(result.library._linking_libraries):
            module.link_in(library._get_module_for_linking(), preserve=True)
        return str(module), result.fndesc.llvm_cfunc_wrapper_name


def compile_source(text: str) -> tuple[bytes, str]:
    """Object code and the kernel's symbol. Raises numba's errors for text outside its dialect."""
    _prepare()
    name = f"<flambeau kernel {key_of(text)[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    namespace = dict(_namespace())
    exec(compile(text, name, "exec"), namespace)
    module, symbol = _front(namespace["kernel"])
    return native.object_of(module, symbol), symbol
