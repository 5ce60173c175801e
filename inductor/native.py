"""Machine code: LLVM IR in, a callable address and relocatable object code out.

`compile_ir` optimises a module for this very CPU and loads it; `load_object` loads object code that was compiled before, in this process or
in another one. An object must be self-contained: addresses of foreign functions arrive in its arguments, never as relocations,
so that the same bytes are good in every process on the same CPU.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KERNEL = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
"""The one native signature of a step, as a ctypes prototype (a call through it releases the GIL)."""

RAISED = 1 << 20
"""The code of a kernel that ran as Python and raised: `reraise` has the exception."""
_raised: list[BaseException] = []


@dataclass(frozen=True)
class NativeFunction:
    """A loaded function: its address, and the object code from which another process can load it again."""

    address: int
    object_code: bytes = field(repr=False)
    symbol: str
    engine: Any = field(repr=False, compare=False)  # owns the memory the code lives in

    def other(self, symbol: str) -> NativeFunction:
        """Another function of the same object, which is loaded once more for it."""
        return load_object(self.object_code, symbol)

    def __call__(self, arguments: int, start: int, stop: int) -> int:
        """Call a kernel directly, outside any program: for tests and measurements."""
        return KERNEL(self.address)(arguments, start, stop)


def from_python(function: Callable[[int, int, int], int]) -> NativeFunction:
    """A native function that calls back into Python. What it raises leaves by the code RAISED."""

    def guarded(arguments: int, start: int, stop: int) -> int:
        try:
            return function(arguments, start, stop)
        except BaseException as error:  # it cannot cross the native program
            _raised.append(error)
            return RAISED

    callback = KERNEL(guarded)
    address = ctypes.cast(callback, ctypes.c_void_p).value or 0
    return NativeFunction(address, b"", function.__name__, callback)


def reraise() -> None:
    """Raise what a kernel raised, without the frames in between."""
    raise _raised.pop()


@functools.cache
def host() -> tuple[str, str]:
    """The CPU's name and features as LLVM spells them: part of the key of everything compiled here."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    # Server chips of one generation ask for 256-bit vectors by default; our loops are long enough for 512.
    if features.get("avx512f"):
        features["prefer-256-bit"] = False
        # as single loads they are never much slower, and several times faster on processors whose
        # microcode keeps gathers from leaking data
        features["prefer-no-gather"] = features["prefer-no-scatter"] = True
    return binding.get_host_cpu_name(), features.flatten()


@functools.cache
def vector_bits() -> int:
    """Width of the widest float vector the CPU computes with: 512, 256 or 128."""
    features = host()[1].split(",")
    if "+avx512f" in features and "+avx512vl" in features and "+avx512bw" in features:
        return 512
    if "+avx2" in features and "+fma" in features:
        return 256
    return 128


def vector_registers() -> int:
    """How many of those vectors the CPU has registers for."""
    return 32 if vector_bits() == 512 else 16


@functools.cache
def target_machine() -> Any:
    """The code generator for this CPU."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    name, features = host()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(
        cpu=name, features=features, opt=3, reloc="pic", codemodel="jitdefault"
    )


def compile_ir(module: Any, symbol: str, vectorize: bool = True) -> NativeFunction:
    """Compile `module` (an `llvmlite.ir.Module` or its text) and load its function `symbol`.

    `vectorize=False` is for IR that is written in vectors already: it compiles much faster.

    Raises RuntimeError where LLVM rejects the module.
    """
    return load_object(_object(str(module), vectorize, None), symbol)


def object_of(module: str, symbol: str) -> bytes:
    """Object code of a module of which only `symbol` is called from outside.

    Raises RuntimeError where LLVM rejects the module.
    """
    return _object(module, True, symbol)


def assembly_of(module: str, symbol: str) -> str:
    """What `object_of` would give, to be read."""
    return target_machine().emit_assembly(_optimized(module, True, symbol))


def _object(module: str, vectorize: bool, symbol: str | None) -> bytes:
    return target_machine().emit_object(_optimized(module, vectorize, symbol))


def _optimized(module: str, vectorize: bool, symbol: str | None) -> Any:
    from llvmlite import binding

    machine = target_machine()
    parsed = binding.parse_assembly(module)
    parsed.triple = machine.triple
    parsed.data_layout = str(machine.target_data)
    parsed.verify()
    if symbol is not None:
        for function in parsed.functions:
            if not function.is_declaration and function.name != symbol:
                function.linkage = "internal"
    if vectorize:
        _optimize(parsed, machine)
    else:
        _tidy(parsed, machine)
    return parsed


def _optimize(module: Any, machine: Any) -> None:
    """The whole pipeline: level 3 with vectorisation of loops and straight lines."""
    from llvmlite import binding

    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


def _tidy(module: Any, machine: Any) -> None:
    """What IR needs that a template wrote as it should be: measured as fast as the whole pipeline."""
    from llvmlite import binding

    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(1))
    manager = binding.create_new_module_pass_manager()
    manager.add_loop_rotate_pass()
    manager.add_simplify_cfg_pass()
    manager.add_new_gvn_pass()
    manager.run(module, builder)


def load_object(object_code: bytes, symbol: str) -> NativeFunction:
    """Load relocatable object code that was made on the same CPU.

    Raises RuntimeError where the bytes are no object file, ValueError where they do not define `symbol`.
    """
    from llvmlite import binding

    if not object_code.startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe")):
        raise RuntimeError(f"load_object: no object file in {len(object_code)} bytes given for {symbol!r}")
    library = binding.JITLibraryBuilder().add_object_img(object_code).add_current_process()
    try:
        loaded = library.export_symbol(symbol).link(_linker(), f"library {next(_libraries)}")
    except RuntimeError as error:
        raise ValueError(f"load_object: {symbol!r} cannot be linked: {error}") from None
    return NativeFunction(loaded[symbol], object_code, symbol, loaded)


@functools.cache
def _linker() -> Any:
    """Loads objects, each a library of its own: a quarter of the time of an engine for each of them."""
    from llvmlite import binding

    return binding.create_lljit_compiler(target_machine())


_libraries = itertools.count()
