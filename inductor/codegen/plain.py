"""Kernels as the Python that they are, for a debugger: the option `debug`, or FLAMBEAU_DEBUG=1.

`kernel(text, …)` gives a native function like `build.kernel`, but one that calls back into Python
and runs the source as it stands, line by line, on NumPy scalars: the words of the dialect are
Python (`words.py`), and so is the library of vector functions, so that a debugger steps into all of
it. Results agree to rounding, for nothing is contracted; what takes a microsecond takes seconds. An
exception, the debugger's quit included, leaves through the call of the compiled program.
"""

from __future__ import annotations

import ctypes
import linecache
from typing import Any

import numpy as np

from inductor import native


def kernel(text: str, names: dict[str, Any], file: str) -> native.NativeFunction:
    """A native function that runs the source of a kernel in this interpreter. `names` is what it may
    name when it is compiled, `file` what a debugger knows it by.
    """
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    space = dict(names)
    exec(compile(text, file, "exec"), space)
    function = space["kernel"]

    def run(arguments: int, start: int, stop: int) -> int:
        words = ctypes.cast(arguments, ctypes.POINTER(ctypes.c_int64))
        with np.errstate(all="ignore"):
            return int(function(words, start, stop))

    return native.from_python(run)
