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
    PARALLEL = 6  # address of GOMP_parallel, or 0 if there is none or no step is worth two threads
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
    SIZE = 19


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
    """Words that the threads of one launch share. TICKET is `step << 32 | piece`: the next piece to hand out."""

    HEADER = 0
    THREADS = 1  # how many threads a step may be split for
    WORKER = 2  # next thread's ordinal
    ERROR = 3  # `step << 32 | code` of the first failure, or 0
    TICKET = 8  # on cache lines of their own
    COMPLETED = 16  # pieces of the current step that are done
    SIZE = 24


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


PATIENCE = 4096
"""How often a waiting thread looks before it begins to give its processor away."""


def _team(pause: str) -> str:
    """Every thread of a launch: take a piece of the current step and run it; who ends a step's last piece opens the next step; wait for
    that when no piece is left. Nobody waits for a thread that has not come yet, so a late one costs nothing."""
    return f"""
define internal void @team(ptr %context) {{
entry:{_load("header.word", "%context", Context.HEADER)}{_load("threads", "%context", Context.THREADS)}
  %header = inttoptr i64 %header.word to ptr
  %worker.address = getelementptr i64, ptr %context, i64 {int(Context.WORKER)}
  %error.address = getelementptr i64, ptr %context, i64 {int(Context.ERROR)}
  %ticket.address = getelementptr i64, ptr %context, i64 {int(Context.TICKET)}
  %completed.address = getelementptr i64, ptr %context, i64 {int(Context.COMPLETED)}
  %ordinal = atomicrmw add ptr %worker.address, i64 1 monotonic
{_load("steps.word", "%header", Header.STEPS)}{_load("last", "%header", Header.LAST)}
{_load("yield.word", "%header", Header.YIELD)}
  %steps = inttoptr i64 %steps.word to ptr
  %yield = inttoptr i64 %yield.word to ptr
  %can.yield = icmp ne i64 %yield.word, 0
  br label %take
take:
  %ticket = atomicrmw add ptr %ticket.address, i64 1 acq_rel
  %number = lshr i64 %ticket, 32
  %part = and i64 %ticket, 4294967295
  %more = icmp slt i64 %number, %last
  br i1 %more, label %look, label %done
look:
  %offset = mul i64 %number, {int(Field.SIZE)}
  %step = getelementptr i64, ptr %steps, i64 %offset
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
  %left = icmp slt i64 %part, %pieces
  br i1 %left, label %work, label %wait
work:
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
  br i1 %all, label %open, label %take
open:
  %failure = load atomic i64, ptr %error.address monotonic, align 8
  %good = icmp eq i64 %failure, 0
  %following = add i64 %number, 1
  %to = select i1 %good, i64 %following, i64 %last
  store atomic i64 0, ptr %completed.address monotonic, align 8
  %gate = shl i64 %to, 32
  store atomic i64 %gate, ptr %ticket.address release, align 8
  br label %take
wait:
  %looks = phi i64 [ 0, %look ], [ %looks.next, %again ], [ %looks.next, %give ]
  %now = load atomic i64, ptr %ticket.address acquire, align 8
  %now.step = lshr i64 %now, 32
  %same = icmp eq i64 %now.step, %number
  br i1 %same, label %hold, label %take
hold:
  {pause}
  %looks.next = add i64 %looks, 1
  %long = icmp sgt i64 %looks.next, {PATIENCE}
  %politely = and i1 %long, %can.yield
  br i1 %politely, label %give, label %again
give:
  %ignored = call i32 %yield()
  br label %wait
again:
  br label %wait
done:
  ret void
}}
"""


def _launch() -> str:
    """Patch the addresses, run the steps in order on one team of threads, stop at the first error."""
    return f"""
define i64 @launch(ptr %header, ptr %pointers) {{
entry:
  %context = alloca [{int(Context.SIZE)} x i64], align 64
{_load("patch.word", "%header", Header.PATCHES)}{_load("patches", "%header", Header.PATCH_COUNT)}
{_load("first", "%header", Header.FIRST)}{_load("cell", "%header", Header.THREADS)}
{_load("capacity", "%header", Header.CAPACITY)}{_load("parallel.word", "%header", Header.PARALLEL)}
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
  %cell.pointer = inttoptr i64 %cell to ptr
  %budget = load i64, ptr %cell.pointer
  %bounded = call i64 @llvm.smin.i64(i64 %budget, i64 %capacity)
  %wanted = call i64 @llvm.smax.i64(i64 %bounded, i64 1)
  %serial = icmp eq i64 %parallel.word, 0
  %threads = select i1 %serial, i64 1, i64 %wanted
  %header.word = ptrtoint ptr %header to i64
  store i64 %header.word, ptr %context
  %c1 = getelementptr i64, ptr %context, i64 {int(Context.THREADS)}
  store i64 %threads, ptr %c1
  %c2 = getelementptr i64, ptr %context, i64 {int(Context.WORKER)}
  store i64 0, ptr %c2
  %c3 = getelementptr i64, ptr %context, i64 {int(Context.ERROR)}
  store i64 0, ptr %c3
  %c4 = getelementptr i64, ptr %context, i64 {int(Context.TICKET)}
  %gate = shl i64 %first, 32
  store i64 %gate, ptr %c4
  %c5 = getelementptr i64, ptr %context, i64 {int(Context.COMPLETED)}
  store i64 0, ptr %c5
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %here, label %together
here:
  call void @team(ptr %context)
  br label %done
together:
  %parallel = inttoptr i64 %parallel.word to ptr
  %team.size = trunc i64 %threads to i32
  call void %parallel(ptr @team, ptr %context, i32 %team.size, i32 0)
  br label %done
done:
  %result = load atomic i64, ptr %c3 monotonic, align 8
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
    declare = "declare void @llvm.x86.sse2.pause()\n" if x86 else ""
    return declare + _piece() + _team(pause) + _launch() + call
