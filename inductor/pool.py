"""The pool: native threads that help launch programs, made when the first program wants them.

A helper looks for pieces of work in one block of memory (`launcher.Context`), a short while after the last one
more often than it sleeps, and is woken through a futex. A launch never waits for a helper that holds no piece, so one that the
system has put aside costs nothing; two launches at once share by the second one doing without. A forked child has none of its
parent's helpers, and makes its own. Linux only: elsewhere steps run serially, and `state()` says so.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from typing import Any

from inductor.launcher import Context

_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
MOST = 4000
"""Threads that fit into a ticket."""

_memory = (ctypes.c_int64 * (Context.SIZE + 8))()
_context = ctypes.addressof(_memory) + -ctypes.addressof(_memory) % 64
_words = (ctypes.c_int64 * Context.SIZE).from_address(_context)
_blocks: list[Any] = []


def available() -> bool:
    """Whether this system has what the pool needs."""
    return sys.platform == "linux" and platform.machine() in _FUTEX


def state() -> str:
    """What shares the work of a launch: the number of helpers, or why there are none."""
    if not available():
        return "serial: helpers need Linux's futex"
    return f"{_words[Context.HELPERS]} helpers"


def address(count: int, helper: Any) -> int:
    """The pool's context, with `count` helpers at least if the system grants them; 0 where there is no pool.

    `helper` is what they run, which stays loaded for good: helpers are never stopped.
    """
    if not available():
        return 0
    if not _blocks:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(helper.engine))
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_memory))
    _words[Context.SYSCALL] = _symbol("syscall")
    _words[Context.FUTEX] = _FUTEX[platform.machine()]
    while _words[Context.HELPERS] < min(count, MOST):
        if not _start(helper.address):
            break
    return _context


def _symbol(name: str) -> int:
    return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0


def _start(function: int) -> bool:
    """One more helper, which takes no signals: those are the interpreter's."""
    ordinal = _words[Context.HELPERS] + 1
    block = (ctypes.c_int64 * 3)(_context, ordinal, _symbol("sched_yield"))
    _blocks.append(block)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(block))
    library = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        failed = library.pthread_create(
            ctypes.byref(thread), None, ctypes.c_void_p(function), ctypes.byref(block)
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if failed:
        return False
    library.pthread_detach(thread)
    _words[Context.HELPERS] = ordinal
    return True


def _after_fork() -> None:
    """No helper came along, and a launch that another thread had begun will not end here."""
    for word in (Context.HELPERS, Context.TICKET, Context.SLEEPERS, Context.OWNED):
        _words[word] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
