"""The frame evaluator as a Python object: compiled once, proven against live frames, then used.

`load` gives the process's evaluator, or the reason why there is none. The evaluator is in place
only while some thread has a callback set, because any PEP 523 evaluator makes Python calls recurse
in C. A callback is `callback(function, code, arguments) -> entry or None`; the callback False means
that this thread only runs entries which are there. Promise: a layout that does not fit is refused
before anything is written through it.
"""

from __future__ import annotations

import atexit
import ctypes
import dis
import os
import struct
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dynamo import layout as layouts
from dynamo import native, structure, words
from dynamo.instruction import CO_VARARGS, CO_VARKEYWORDS, argument_count
from dynamo.layout import Layout, LayoutError, Snapshot
from dynamo.native import SKIP, SKIP_RECURSIVE, STATISTICS

_SUSPENDABLE = 0x20 | 0x80 | 0x100 | 0x200
_PLAIN_FUNCTION = 0x03
_METH_O = 0x08

Entry = tuple  # (guard, code, positional twin, callback, record)


class _MethodDefinition(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class _Interface:
    """Functions of the C API that are called from Python; each is one step under the GIL."""

    def __init__(self) -> None:
        new = sys.version_info >= (3, 12)
        pointer, size = ctypes.c_void_p, ctypes.c_ssize_t
        prefix = "PyUnstable_" if new else "_Py"
        self.key_allocate = self._function("PyThread_tss_alloc", pointer)
        self.key_create = self._function("PyThread_tss_create", ctypes.c_int, pointer)
        self.request_index = self._function(
            prefix + "Eval_RequestCodeExtraIndex", size, pointer
        )
        self.set_extra = self._function(
            prefix + "Code_SetExtra", ctypes.c_int, ctypes.py_object, size, pointer
        )
        self.interpreter = self._function("PyInterpreterState_Get", pointer)
        self.thread = self._function("PyThreadState_Get", pointer)
        self.evaluator = self._function("_PyInterpreterState_GetEvalFrameFunc", pointer, pointer)
        self.set_evaluator = self._function(
            "_PyInterpreterState_SetEvalFrameFunc", None, pointer, pointer
        )
        self.new_builtin = self._function(
            "PyCFunction_NewEx", ctypes.py_object, pointer, ctypes.py_object, pointer
        )
        self.take = self._function("Py_IncRef", None, ctypes.py_object)

    @staticmethod
    def _function(name: str, result: Any, *arguments: Any) -> Any:
        return ctypes.PYFUNCTYPE(result, *arguments)(native.symbol(name))


def _stub_code() -> types.CodeType:
    """`return None` without RESUME: it is never traced and checks for no signals."""

    def stub() -> None:
        return None

    code = stub.__code__
    kept = [i for i in dis.get_instructions(code) if i.opname not in ("RESUME", "CACHE")]
    units = b"".join(bytes((i.opcode, i.arg or 0)) for i in kept)
    return code.replace(co_code=units, co_linetable=b"", co_name="<discarded frame>")


class Evaluator:
    """Compiles and checks the evaluator. Raises LayoutError, or what llvmlite raises."""

    def __init__(self, layout: Layout | None = None) -> None:
        self.layout = layout or layouts.current()
        layouts.verify_static(self.layout)
        self._api = _Interface()
        self._stub = _stub_code()
        key = self._api.key_allocate()
        if not key or self._api.key_create(key):
            raise LayoutError("no thread-specific storage left")
        self.text = native.evaluator_text(self.layout, key, self._stub)
        self._compile()
        self._index = self._api.request_index(self._functions["release"])
        if self._index < 0:
            raise LayoutError("no extra slot for code objects left")
        layouts.verify_extra(self.layout, self._index, self._api.set_extra)
        self._put("index", self._index)
        self._interpreter = self._api.interpreter()
        self._put("interpreter", self._interpreter)
        self._put("target", native.symbol("_PyEval_EvalFrameDefault"))
        self._put("spare_depth", _spare_depth())
        self._verify()
        self.set_callback: Callable[[Any], Any] = self._builtin("set_callback")
        self._get_slot: Callable[[types.CodeType], Any] = self._builtin("get_slot")
        self.matcher = self._make_matcher()
        self.watch = self._make_watch()
        atexit.register(self._leave)

    def _compile(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module = llvm.parse_assembly(self.text)
        module.verify()
        target = llvm.Target.from_default_triple()
        machine = target.create_target_machine(opt=2, codemodel="jitdefault", jit=True)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        self._functions = {n: engine.get_function_address(n) for n in native.FUNCTIONS}
        self._globals = {n: engine.get_global_value_address(n) for n in native.GLOBALS}
        # Code objects die after Python has been torn down, and call `release`: never free it.
        self._engine = engine
        engine.detach()

    def _put(self, name: str, value: int) -> None:
        ctypes.c_uint64.from_address(self._globals[name]).value = value

    def _get(self, name: str) -> int:
        return ctypes.c_uint64.from_address(self._globals[name]).value

    def _builtin(self, name: str) -> Any:
        definition = _MethodDefinition(name.encode(), self._functions[name], _METH_O, b"")
        setattr(self, f"_{name}_definition", definition)  # CPython keeps a pointer to it
        return self._api.new_builtin(ctypes.addressof(definition), None, None)

    def _make_matcher(self) -> Callable[..., Any] | None:
        """`array_check`, unless arrays are not laid out as NumPy's headers say."""
        import numpy

        self._put("array_type", id(numpy.ndarray))
        self._match = _MethodDefinition(b"match", self._functions["match"], _METH_O, b"")
        base = numpy.arange(24, dtype=numpy.int16).reshape(2, 3, 4)
        for array in (base, base.T, base[::-1, 1:], base[0, 0, 0:1], base[0, 0, 0, ...]):
            number, shape, strides = array.dtype.num, array.shape, array.strides
            wrong = [(number + 1, shape, strides), (number, (*shape, 1), (*strides, 1))]
            if shape:
                wrong += [(number, (9, *shape[1:]), strides), (number, shape, (1, *strides[1:]))]
            if not self.array_check(number, shape, strides)(array):
                return None
            if any(self.array_check(*row)(array) for row in wrong):
                return None
        return self.array_check

    def _make_watch(self) -> Callable[[bytes], tuple] | None:
        """What makes the builtins `unchanged` and `gather` of a table, if memory is laid out as believed."""
        if self.matcher is None or not structure.supported():
            return None
        definitions = []
        for name in words.FUNCTIONS:
            row = _MethodDefinition(name.encode(), self._functions[name], _METH_O, b"")
            definitions.append(row)
        self._watching = definitions  # CPython keeps pointers to them
        addresses = [ctypes.addressof(row) for row in definitions]

        def watch(table: bytes) -> tuple:
            return tuple(self._api.new_builtin(at, table, None) for at in addresses)

        return watch

    def array_check(
        self, number: int, shape: tuple[int | None, ...], strides: tuple[int, ...] | None
    ) -> Callable[[Any], bool]:
        """A builtin that says whether a NumPy array has this type number, shape and strides.

        None stands for any size, or any strides.
        """
        strides = (native.ANY,) * len(shape) if strides is None else strides
        sizes = [native.ANY if size is None else size for size in shape]
        row = struct.pack(f"<{2 + 2 * len(shape)}q", len(shape), number, *sizes, *strides)
        return self._api.new_builtin(ctypes.addressof(self._match), row, None)

    def _verify(self) -> None:
        """Look at the frame of a call and of a generator with the probe, and compare."""
        values = (object(), object(), object())

        def probed(a, b, c):
            x, y, z = a, b, c
            return x, y, z, values

        def suspended():
            yield 1

        function = types.FunctionType(probed.__code__, {}, "probed", None, probed.__closure__)
        call = self._snapshot(function.__code__, lambda: function(*values))
        generator = self._snapshot(suspended.__code__, lambda: next(suspended()))
        if call.thread != self._api.thread():
            raise LayoutError("the evaluator's first argument is not the thread state")
        layouts.verify_frames(self.layout, call, function, values, generator)

    def _snapshot(self, code: types.CodeType, run: Callable[[], Any]) -> Snapshot:
        self._put("probe_code", id(code))
        self._put("probe_hit", 0)
        before = self._api.evaluator(self._interpreter)
        self._api.set_evaluator(self._interpreter, self._functions["probe"])
        try:
            run()
        finally:
            self._api.set_evaluator(self._interpreter, before)
        if not self._get("probe_hit"):
            raise LayoutError(f"the frame of {code.co_name} did not reach the probe")
        return Snapshot(
            self._get("probe_frame"),
            self._get("probe_thread"),
            self._words("probe_frame_words", layouts.FRAME_WORDS),
            self._words("probe_thread_words", 64),
        )

    def _words(self, name: str, count: int) -> list[int]:
        return list((ctypes.c_uint64 * count).from_address(self._globals[name]))

    def _leave(self) -> None:
        """At exit: frames of the teardown run as Python would have run them."""
        self._put("n_active", 0)
        if self.installed:
            self._api.set_evaluator(self._interpreter, self._get("target"))

    # -- what the rest of dynamo uses --------------------------------------------------------

    @property
    def installed(self) -> bool:
        """Whether the evaluator is in place right now."""
        return self._api.evaluator(self._interpreter) == self._functions["hook"]

    @contextmanager
    def active(self, callback: Any) -> Iterator[None]:
        """Set this thread's callback for the duration of a `with` block."""
        before = self.set_callback(callback)
        try:
            yield
        finally:
            self.set_callback(before)

    @contextmanager
    def removed(self) -> Iterator[None]:
        """Take the evaluator out while a callback compiles, if no other thread needs it.

        Python calls then do not recurse in C, which CPython 3.12 allows only about 750 of.
        """
        if self._get("n_active") != 1 or not self.installed:
            yield
            return
        self._api.set_evaluator(self._interpreter, self._get("target"))
        try:
            yield
        finally:
            self._api.set_evaluator(self._interpreter, self._functions["hook"])

    def statistics(self) -> dict[str, int]:
        """How often each thing happened since the process began."""
        values = (ctypes.c_uint64 * len(STATISTICS)).from_address(self._globals["statistics"])
        return dict(zip(STATISTICS, values, strict=True))

    def mute(self, quiet: bool) -> None:
        """Whether trace and profile functions are kept from seeing guards and the compiler."""
        self._put("mute", int(quiet))

    def skip(self, code: types.CodeType, recursive: bool = False) -> None:
        """Never look at frames of `code` again; with `recursive`, nor at what they call."""
        self._api.set_extra(code, self._index, SKIP_RECURSIVE if recursive else SKIP)

    def skipped(self, code: types.CodeType) -> bool:
        """Whether `skip` was called for this code object."""
        return self._get_slot(code) in (SKIP, SKIP_RECURSIVE)

    def reset(self, code: types.CodeType) -> None:
        """Forget entries and marks of a code object."""
        self._api.set_extra(code, self._index, None)

    def entries(self, code: types.CodeType) -> tuple[Entry, ...]:
        """The entries of a code object, first the one that is tried first."""
        slot = self._get_slot(code)
        return slot if isinstance(slot, tuple) else ()

    def set_entries(self, code: types.CodeType, entries: tuple[Entry, ...]) -> None:
        """Replace the entries. The tuple is never changed in place: a thread may be walking it."""
        self._api.take(entries)  # the slot owns this reference; `release` drops it
        self._api.set_extra(code, self._index, id(entries))

    def make_entry(
        self,
        code: types.CodeType,
        guard: types.FunctionType | None,
        replacement: types.CodeType,
        callback: Any,
        record: Any = None,
    ) -> Entry:
        """An entry for `code`. Raises ValueError if the replacement cannot stand in for it."""
        check_replacement(code, replacement)
        if guard is not None:
            self.skip(guard.__code__)
        twin = positional(replacement)
        self.skip(twin)
        self.skip(replacement)
        return (guard, replacement, twin, callback, record)

    def add(self, code: types.CodeType, entry: Entry) -> None:
        """Put an entry in front of the others. Hold the compile lock."""
        self.set_entries(code, (entry, *self.entries(code)))


def positional(code: types.CodeType) -> types.CodeType:
    """The same code with every argument slot positional, starred ones included."""
    return code.replace(
        co_argcount=argument_count(code),
        co_posonlyargcount=0,
        co_kwonlyargcount=0,
        co_flags=code.co_flags & ~(CO_VARARGS | CO_VARKEYWORDS),
    )


def check_replacement(old: types.CodeType, new: types.CodeType) -> None:
    """Raise ValueError unless a frame of `old` can be turned into one of `new`."""
    if (old.co_flags | new.co_flags) & _SUSPENDABLE:
        raise ValueError(f"{old.co_qualname}: generators and coroutines cannot be replaced")
    if old.co_flags & new.co_flags & _PLAIN_FUNCTION != _PLAIN_FUNCTION:
        raise ValueError(f"{old.co_qualname}: only the code of functions can be replaced")
    count = argument_count(old)
    stars = CO_VARARGS | CO_VARKEYWORDS
    same = (
        count == argument_count(new)
        and old.co_varnames[:count] == new.co_varnames[:count]
        and old.co_flags & stars == new.co_flags & stars
        and old.co_argcount == new.co_argcount
        and old.co_kwonlyargcount == new.co_kwonlyargcount
    )
    if not same:
        raise ValueError(f"{old.co_qualname}: the replacement has other arguments")
    if old.co_freevars != new.co_freevars:
        raise ValueError(f"{old.co_qualname}: the replacement has other free variables")


def _spare_depth() -> int:
    """C recursion to add while a thread is active.

    3.12.1 counts 800 levels, and each Python call takes one under an evaluator, so that programs
    would fail before their own recursion limit. A stack of 8 MiB carries far more (3.13 counts
    10000).
    """
    if sys.version_info[:2] != (3, 12):
        return 0
    try:
        import resource
    except ImportError:
        return 0
    size, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return 3000 if size >= 8 << 20 else 0


_loaded: tuple[Evaluator | None, str] | None = None


def load() -> tuple[Evaluator | None, str]:
    """The process's evaluator and "", or None and the reason why there is none."""
    global _loaded
    if _loaded is None:
        _loaded = _load()
    return _loaded


def _load() -> tuple[Evaluator | None, str]:
    if os.environ.get("FLAMBEAU_EVALUATOR", "1").lower() in ("0", "off", "false", "no"):
        return None, "switched off by FLAMBEAU_EVALUATOR"
    try:
        return Evaluator(), ""
    except Exception as error:  # no table, no llvmlite, no memory for generated code …
        return None, f"{type(error).__name__}: {error}"
