"""The native half of the launch program: LLVM IR of the functions that walk a table of steps.

Two functions are exported. `launch(header, pointers)` patches addresses, runs the steps and returns 0 or `step << 32 | code`. `call(self, arrays)`
is the body of a Python builtin (METH_O): it reads the data addresses of a tuple of NumPy arrays, releases the GIL and launches. Everything is 64-bit
words, laid out by the enumerations below; foreign functions are reached through addresses in the header, so the object code is the same everywhere.
"""

from __future__ import annotations

import platform
from enum import IntEnum


class Header(IntEnum):
    """Words of a program's header."""

    BUSY = 0  # 1 while a call is under way: the table is not reentrant
    PATCHES = 1  # address of (slot address, pointer index, byte offset) triples
    PATCH_COUNT = 2
    STEPS = 3  # address of the steps
    FIRST = 4  # steps to run: [FIRST, LAST)
    LAST = 5
    POOL = 6  # address of the pool's context, or 0 if there is none or no step is worth two threads
    THREADS = 7  # address of the thread budget's cell
    CAPACITY = 8  # threads that scratch memory was provided for
    POINTERS = 9  # address of a block for the addresses of inputs and outputs
    POINTER_COUNT = 10
    TUPLE_TYPE = 11
    ARRAY_TYPE = 12
    TUPLE_ITEMS = 13  # offset of a tuple's items
    ARRAY_DATA = 14  # offset of an array's data pointer
    SAVE_THREAD = 15  # addresses of PyEval_SaveThread, PyEval_RestoreThread, PyLong_FromLongLong
    RESTORE_THREAD = 16
    FROM_LONG_LONG = 17
    YIELD = 18  # address of sched_yield
    WAKE = 19  # 1 if there is enough to share that a sleeping helper is worth waking
    SIZE = 20


class Field(IntEnum):
    """Words of one step."""

    FUNCTION = 0
    ARGUMENTS = 1
    ARGUMENT_COUNT = 2
    TOTAL = 3  # the range is [0, TOTAL)
    GRAIN = 4  # fewest items worth a thread of their own
    OVERSPLIT = 5  # pieces per thread
    SCRATCH_SLOT = 6  # argument that receives the thread's own scratch memory
    SCRATCH_BASE = 7
    SCRATCH_STRIDE = 8  # bytes per thread, or 0 for no scratch memory
    SIZE = 9


class Context(IntEnum):
    """Words that the threads of a launch share; the pool's context is one and stays, a launch without the pool has one on its stack.

    TICKET is `threads << 52 | step << 24 | pieces of it that nobody has taken`. To take a piece is to count it down: who
    succeeds holds a piece of the launch that is under way, which cannot end before; nothing else may be touched by a helper.
    """

    HEADER = 0
    ERROR = 1  # `step << 32 | code` of the first failure, or 0
    TICKET = 8  # on cache lines of their own
    COMPLETED = 16  # pieces of the current step that are done
    WORD = 24  # what helpers sleep on
    SLEEPERS = 32
    OWNED = 40  # 1 while a launch has the pool
    HELPERS = 48  # threads besides the caller's
    SYSCALL = 49  # address of syscall, and the number of futex
    FUTEX = 50
    SIZE = 56


BUSY = -2
"""What `call` returns when another thread is inside the same program."""

MISMATCH = -1
"""What `call` returns when it is not given a tuple of exactly the program's number of NumPy arrays."""


def _load(name: str, base: str, word: int) -> str:
    return f"""
  %{name}.address = getelementptr i64, ptr {base}, i64 {int(word)}
  %{name} = load i64, ptr %{name}.address"""


def _piece() -> str:
    """Run one piece of a step on one thread, with the thread's own scratch memory."""
    return f"""
define internal i32 @piece(ptr %step, i64 %ticket, i64 %pieces, i64 %ordinal) noinline {{
entry:
{_load("function.word", "%step", Field.FUNCTION)}{_load("shared.word", "%step", Field.ARGUMENTS)}
{_load("count", "%step", Field.ARGUMENT_COUNT)}{_load("total", "%step", Field.TOTAL)}
{_load("slot", "%step", Field.SCRATCH_SLOT)}{_load("base", "%step", Field.SCRATCH_BASE)}
{_load("stride", "%step", Field.SCRATCH_STRIDE)}
  %function = inttoptr i64 %function.word to ptr
  %shared = inttoptr i64 %shared.word to ptr
  %plain = icmp eq i64 %stride, 0
  br i1 %plain, label %work, label %own
own:
  %copy = alloca i64, i64 %count, align 16
  %bytes = mul i64 %count, 8
  call void @llvm.memcpy.p0.p0.i64(ptr %copy, ptr %shared, i64 %bytes, i1 false)
  %skip = mul i64 %ordinal, %stride
  %scratch = add i64 %base, %skip
  %scratch.address = getelementptr i64, ptr %copy, i64 %slot
  store i64 %scratch, ptr %scratch.address
  br label %work
work:
  %arguments = phi ptr [ %shared, %entry ], [ %copy, %own ]
  %next = add i64 %ticket, 1
  %low = mul i64 %ticket, %total
  %high = mul i64 %next, %total
  %start = sdiv i64 %low, %pieces
  %stop = sdiv i64 %high, %pieces
  %code = call i32 %function(ptr %arguments, i64 %start, i64 %stop)
  ret i32 %code
}}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
"""


PATIENCE = 256
"""How often a waiting thread looks before it begins to give its processor away at every look."""

AWAKE = 8192
"""How often a helper with nothing to do looks before it sleeps: about a millisecond where yielding is quick. Virtual processors
are slow to wake, and shorter than that it slept between the calls of a loop.
"""

STOLEN = 200_000
"""Cycles of a yield after which others evidently want the processor: a helper sleeps at once."""

FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129
STEP_SHIFT, THREADS_SHIFT = 24, 52
LEFT_MASK, STEP_MASK = (1 << STEP_SHIFT) - 1, (1 << (THREADS_SHIFT - STEP_SHIFT)) - 1


def _address(name: str, base: str, word: int) -> str:
    return f"""
  %{name} = getelementptr i64, ptr {base}, i64 {int(word)}"""


def _pieces() -> str:
    """Into how many pieces a step is cut."""
    return f"""
define internal i64 @pieces(ptr %step, i64 %threads) {{
entry:
{_load("total", "%step", Field.TOTAL)}{_load("grain", "%step", Field.GRAIN)}
{_load("oversplit", "%step", Field.OVERSPLIT)}
  %round = add i64 %total, %grain
  %round.less = sub i64 %round, 1
  %worth = sdiv i64 %round.less, %grain
  %fine = mul i64 %threads, %oversplit
  %alone = icmp eq i64 %threads, 1
  %most = select i1 %alone, i64 1, i64 %fine
  %several = call i64 @llvm.smin.i64(i64 %worth, i64 %most)
  %pieces = call i64 @llvm.smax.i64(i64 %several, i64 1)
  ret i64 %pieces
}}
"""


def _publish() -> str:
    """Open a step to whoever takes its pieces, or close the launch behind the last one. The program may be gone once that is seen."""
    return f"""
define internal void @publish(ptr %context, ptr %header, i64 %to, i64 %threads) {{
entry:{_address("ticket.address", "%context", Context.TICKET)}
{_load("last", "%header", Header.LAST)}{_load("steps.word", "%header", Header.STEPS)}
  %step.field = shl i64 %to, {STEP_SHIFT}
  %threads.field = shl i64 %threads, {THREADS_SHIFT}
  %closed = or i64 %step.field, %threads.field
  %more = icmp slt i64 %to, %last
  br i1 %more, label %open, label %close
close:
  store atomic i64 %closed, ptr %ticket.address release, align 8
  ret void
open:
  %steps = inttoptr i64 %steps.word to ptr
  %offset = mul i64 %to, {int(Field.SIZE)}
  %step = getelementptr i64, ptr %steps, i64 %offset
  %pieces = call i64 @pieces(ptr %step, i64 %threads)
  %ticket = or i64 %closed, %pieces
{_load("wake", "%header", Header.WAKE)}
  store atomic i64 %ticket, ptr %ticket.address seq_cst, align 8
  %several = icmp sgt i64 %pieces, 1
  %worth = icmp ne i64 %wake, 0
  %call = and i1 %several, %worth
  br i1 %call, label %look, label %done
look:{_address("sleepers.address", "%context", Context.SLEEPERS)}
  %sleepers = load atomic i64, ptr %sleepers.address seq_cst, align 8
  %any = icmp sgt i64 %sleepers, 0
  br i1 %any, label %rouse, label %done
rouse:{_address("word.address", "%context", Context.WORD)}
{_load("syscall.word", "%context", Context.SYSCALL)}{_load("futex", "%context", Context.FUTEX)}
  %syscall = inttoptr i64 %syscall.word to ptr
  %old = atomicrmw add ptr %word.address, i64 1 seq_cst
  %helpers = sub i64 %threads, 1
  %ignored = call i64 (i64, ...) %syscall(i64 %futex, ptr %word.address, i64 {FUTEX_WAKE_PRIVATE}, i64 %helpers, i64 0, i64 0, i64 0)
  br label %done
done:
  ret void
}}
"""


def _attempt() -> str:
    """Take a piece of the current step, if there is one for this thread, and run it; who ends a step's last piece opens the next."""
    return f"""
define internal i1 @attempt(ptr %context, i64 %ordinal) {{
entry:{_address("ticket.address", "%context", Context.TICKET)}
  %ticket = load atomic i64, ptr %ticket.address seq_cst, align 8
  %left = and i64 %ticket, {LEFT_MASK}
  %threads = lshr i64 %ticket, {THREADS_SHIFT}
  %shifted = lshr i64 %ticket, {STEP_SHIFT}
  %number = and i64 %shifted, {STEP_MASK}
  %some = icmp ne i64 %left, 0
  %ours = icmp slt i64 %ordinal, %threads
  %offered = and i1 %some, %ours
  br i1 %offered, label %take, label %nothing
nothing:
  ret i1 false
take:
  %less = sub i64 %ticket, 1
  %pair = cmpxchg ptr %ticket.address, i64 %ticket, i64 %less acq_rel monotonic
  %taken = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %taken, label %work, label %again
again:
  ret i1 true
work:{_address("error.address", "%context", Context.ERROR)}
{_address("completed.address", "%context", Context.COMPLETED)}
{_load("header.word", "%context", Context.HEADER)}
  %header = inttoptr i64 %header.word to ptr
{_load("steps.word", "%header", Header.STEPS)}{_load("last", "%header", Header.LAST)}
  %steps = inttoptr i64 %steps.word to ptr
  %offset = mul i64 %number, {int(Field.SIZE)}
  %step = getelementptr i64, ptr %steps, i64 %offset
  %pieces = call i64 @pieces(ptr %step, i64 %threads)
  %part = sub i64 %pieces, %left
  %code = call i32 @piece(ptr %step, i64 %part, i64 %pieces, i64 %ordinal)
  %sound = icmp eq i32 %code, 0
  br i1 %sound, label %count, label %fail
fail:
  %wide = zext i32 %code to i64
  %high = shl i64 %number, 32
  %both = or i64 %high, %wide
  %old = cmpxchg ptr %error.address, i64 0, i64 %both monotonic monotonic
  br label %count
count:
  %before = atomicrmw add ptr %completed.address, i64 1 acq_rel
  %after = add i64 %before, 1
  %all = icmp eq i64 %after, %pieces
  br i1 %all, label %open, label %done
open:
  %failure = load atomic i64, ptr %error.address monotonic, align 8
  %good = icmp eq i64 %failure, 0
  %following = add i64 %number, 1
  %to = select i1 %good, i64 %following, i64 %last
  store atomic i64 0, ptr %completed.address monotonic, align 8
  call void @publish(ptr %context, ptr %header, i64 %to, i64 %threads)
  br label %done
done:
  ret i1 true
}}
"""


def _team(pause: str) -> str:
    """The thread that launched: take pieces until the launch is over. It never waits for a helper that holds no piece."""
    return f"""
define internal void @team(ptr %context, ptr %header) {{
entry:{_address("ticket.address", "%context", Context.TICKET)}
{_load("last", "%header", Header.LAST)}{_load("yield.word", "%header", Header.YIELD)}
  %yield = inttoptr i64 %yield.word to ptr
  %can.yield = icmp ne i64 %yield.word, 0
  br label %take
take:
  %looks = phi i64 [ 0, %entry ], [ 0, %take ], [ %looks.next, %again ]
  %did = call i1 @attempt(ptr %context, i64 0)
  br i1 %did, label %take, label %look
look:
  %ticket = load atomic i64, ptr %ticket.address acquire, align 8
  %shifted = lshr i64 %ticket, {STEP_SHIFT}
  %number = and i64 %shifted, {STEP_MASK}
  %over = icmp eq i64 %number, %last
  br i1 %over, label %done, label %hold
hold:
  {pause}
  %looks.next = add i64 %looks, 1
  %long = icmp sgt i64 %looks.next, {PATIENCE}
  %politely = and i1 %long, %can.yield
  br i1 %politely, label %give, label %again
give:
  %ignored = call i32 %yield()
  br label %again
again:
  br label %take
done:
  ret void
}}
"""


def _helper(pause: str, clock: str) -> str:
    """A thread of the pool: help as long as there is something, look for more, sleep soon."""
    return f"""
define ptr @helper(ptr %block) {{
entry:{_load("context.word", "%block", 0)}{_load("ordinal", "%block", 1)}{_load("yield.word", "%block", 2)}
  %context = inttoptr i64 %context.word to ptr
  %yield = inttoptr i64 %yield.word to ptr
{_load("syscall.word", "%context", Context.SYSCALL)}{_load("futex", "%context", Context.FUTEX)}
  %syscall = inttoptr i64 %syscall.word to ptr
{_address("sleepers.address", "%context", Context.SLEEPERS)}
{_address("word.address", "%context", Context.WORD)}
  br label %look
look:
  %looks = phi i64 [ 0, %entry ], [ 0, %look ], [ %looks.next, %idle ], [ %looks.next, %give ], [ 0, %woken ]
  %did = call i1 @attempt(ptr %context, i64 %ordinal)
  br i1 %did, label %look, label %idle
idle:
  {pause}
  %looks.next = add i64 %looks, 1
  %long = icmp sgt i64 %looks.next, {PATIENCE}
  br i1 %long, label %give, label %look
give:
  %begin = {clock}
  %ignored = call i32 %yield()
  %end = {clock}
  %passed = sub i64 %end, %begin
  %stolen = icmp sgt i64 %passed, {STOLEN}
  %tired = icmp sgt i64 %looks.next, {AWAKE}
  %enough = or i1 %stolen, %tired
  br i1 %enough, label %sleep, label %look
sleep:
  %sleeping = atomicrmw add ptr %sleepers.address, i64 1 seq_cst
  %seen = load atomic i64, ptr %word.address seq_cst, align 8
  %last.chance = call i1 @attempt(ptr %context, i64 %ordinal)
  br i1 %last.chance, label %woken, label %wait
wait:
  %expected = and i64 %seen, 4294967295
  %result = call i64 (i64, ...) %syscall(i64 %futex, ptr %word.address, i64 {FUTEX_WAIT_PRIVATE}, i64 %expected, i64 0, i64 0, i64 0)
  br label %woken
woken:
  %awake = atomicrmw sub ptr %sleepers.address, i64 1 seq_cst
  br label %look
}}
"""


def _launch() -> str:
    """Patch the addresses, run the steps in order with the pool's help, stop at the first error."""
    return f"""
define i64 @launch(ptr %header, ptr %pointers) {{
entry:
  %own = alloca [{int(Context.SIZE)} x i64], align 64
{_load("patch.word", "%header", Header.PATCHES)}{_load("patches", "%header", Header.PATCH_COUNT)}
{_load("first", "%header", Header.FIRST)}{_load("cell", "%header", Header.THREADS)}
{_load("capacity", "%header", Header.CAPACITY)}{_load("pool.word", "%header", Header.POOL)}
  %patch.base = inttoptr i64 %patch.word to ptr
  %any.patch = icmp sgt i64 %patches, 0
  br i1 %any.patch, label %patch, label %begin
patch:
  %p = phi i64 [ 0, %entry ], [ %p.next, %patch ]
  %triple = mul i64 %p, 3
  %record = getelementptr i64, ptr %patch.base, i64 %triple
{_load("slot.word", "%record", 0)}{_load("index", "%record", 1)}{_load("offset", "%record", 2)}
  %source = getelementptr i64, ptr %pointers, i64 %index
  %address = load i64, ptr %source
  %patched = add i64 %address, %offset
  %slot = inttoptr i64 %slot.word to ptr
  store i64 %patched, ptr %slot
  %p.next = add i64 %p, 1
  %more = icmp slt i64 %p.next, %patches
  br i1 %more, label %patch, label %begin
begin:
  %pool = inttoptr i64 %pool.word to ptr
  %no.pool = icmp eq i64 %pool.word, 0
  br i1 %no.pool, label %alone, label %size
size:
  %cell.pointer = inttoptr i64 %cell to ptr
  %budget = load i64, ptr %cell.pointer
{_load("helpers", "%pool", Context.HELPERS)}
  %most = add i64 %helpers, 1
  %bounded = call i64 @llvm.smin.i64(i64 %budget, i64 %capacity)
  %threads = call i64 @llvm.smin.i64(i64 %bounded, i64 %most)
  %few = icmp slt i64 %threads, 2
  br i1 %few, label %alone, label %own.pool
own.pool:{_address("owned.address", "%pool", Context.OWNED)}
  %was = atomicrmw xchg ptr %owned.address, i64 1 acquire
  %free = icmp eq i64 %was, 0
  br i1 %free, label %run, label %alone
alone:
  br label %run
run:
  %context = phi ptr [ %pool, %own.pool ], [ %own, %alone ]
  %team.size = phi i64 [ %threads, %own.pool ], [ 1, %alone ]
  %header.word = ptrtoint ptr %header to i64
  store i64 %header.word, ptr %context
{_address("error.address", "%context", Context.ERROR)}
{_address("completed.address", "%context", Context.COMPLETED)}
  store i64 0, ptr %error.address
  store i64 0, ptr %completed.address
  call void @publish(ptr %context, ptr %header, i64 %first, i64 %team.size)
  call void @team(ptr %context, ptr %header)
  %result = load atomic i64, ptr %error.address monotonic, align 8
  %shared = icmp eq ptr %context, %pool
  br i1 %shared, label %release, label %done
release:{_address("owned.address.again", "%pool", Context.OWNED)}
  store atomic i64 0, ptr %owned.address.again release, align 8
  br label %done
done:
  ret i64 %result
}}
"""


def _call() -> str:
    """The builtin: a tuple of arrays in, a Python integer out; the GIL is released for the launch."""
    return f"""
define ptr @call(ptr %self, ptr %arrays) {{
entry:
  %self.data = getelementptr i8, ptr %self, i64 DATA_OFFSET
  %header = load ptr, ptr %self.data
{_load("tuple.type", "%header", Header.TUPLE_TYPE)}{_load("array.type", "%header", Header.ARRAY_TYPE)}
{_load("items", "%header", Header.TUPLE_ITEMS)}{_load("data", "%header", Header.ARRAY_DATA)}
{_load("count", "%header", Header.POINTER_COUNT)}{_load("pointers.word", "%header", Header.POINTERS)}
{_load("save.word", "%header", Header.SAVE_THREAD)}{_load("restore.word", "%header", Header.RESTORE_THREAD)}
{_load("long.word", "%header", Header.FROM_LONG_LONG)}
  %save = inttoptr i64 %save.word to ptr
  %restore = inttoptr i64 %restore.word to ptr
  %long = inttoptr i64 %long.word to ptr
  %pointers = inttoptr i64 %pointers.word to ptr
{_load("type", "%arrays", 1)}{_load("size", "%arrays", 2)}
  %is.tuple = icmp eq i64 %type, %tuple.type
  %is.size = icmp eq i64 %size, %count
  %fits = and i1 %is.tuple, %is.size
  br i1 %fits, label %enter, label %mismatch
enter:
  %busy = atomicrmw xchg ptr %header, i64 1 acquire
  %free = icmp eq i64 %busy, 0
  br i1 %free, label %begin, label %occupied
begin:
  %first = getelementptr i8, ptr %arrays, i64 %items
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %read, label %go
read:
  %i = phi i64 [ 0, %begin ], [ %i.next, %good ]
  %item.address = getelementptr i64, ptr %first, i64 %i
  %item = load ptr, ptr %item.address
{_load("item.type", "%item", 1)}
  %is.array = icmp eq i64 %item.type, %array.type
  br i1 %is.array, label %good, label %release
good:
  %item.data = getelementptr i8, ptr %item, i64 %data
  %address = load i64, ptr %item.data
  %pointer = getelementptr i64, ptr %pointers, i64 %i
  store i64 %address, ptr %pointer
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, %count
  br i1 %more, label %read, label %go
go:
  %state = call ptr %save()
  %code = call i64 @launch(ptr %header, ptr %pointers)
  call void %restore(ptr %state)
  store atomic i64 0, ptr %header release, align 8
  %result = call ptr %long(i64 %code)
  ret ptr %result
release:
  store atomic i64 0, ptr %header release, align 8
  br label %mismatch
mismatch:
  %wrong = call ptr %long(i64 {MISMATCH})
  ret ptr %wrong
occupied:
  %later = call ptr %long(i64 {BUSY})
  ret ptr %later
}}
"""


def text(data_offset: int) -> str:
    """The module's LLVM IR, for arrays that keep their data pointer at `data_offset`."""
    call = _call().replace("DATA_OFFSET", str(data_offset))
    x86 = platform.machine() in ("x86_64", "AMD64")
    pause = "call void @llvm.x86.sse2.pause()" if x86 else ""
    # elsewhere the counter may be out of a program's reach
    clock = "call i64 @llvm.readcyclecounter()" if x86 else "add i64 0, 0"
    declare = "declare void @llvm.x86.sse2.pause()\ndeclare i64 @llvm.readcyclecounter()\n" if x86 else ""
    parts = (_piece(), _pieces(), _publish(), _attempt(), _team(pause), _helper(pause, clock), _launch())
    return declare + "".join(parts) + call
