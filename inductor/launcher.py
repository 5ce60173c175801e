"""The native half of the launch program: LLVM IR of the functions that walk a table of steps.

Two functions are exported. `launch(header, pointers)` patches addresses, runs the steps and returns 0 or `step << 32 | code`. `call(self, arrays)`
is the body of a Python builtin (METH_O): it reads the data addresses of a tuple of NumPy arrays, releases the GIL and launches. Everything is 64-bit
words, laid out by the enumerations below; foreign functions are reached through addresses in the header, so the object code is the same everywhere.
"""

from __future__ import annotations

from enum import IntEnum


class Header(IntEnum):
    """Words of a program's header."""

    BUSY = 0  # 1 while a call is under way: the table is not reentrant
    PATCHES = 1  # address of (slot address, pointer index, byte offset) triples
    PATCH_COUNT = 2
    STEPS = 3  # address of the steps
    FIRST = 4  # steps to run: [FIRST, LAST)
    LAST = 5
    PARALLEL = 6  # address of GOMP_parallel, or 0
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
    SIZE = 18


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
    """Words that the threads of one split step share."""

    STEP = 0
    PIECES = 1
    TICKET = 2  # next piece to hand out
    WORKER = 3  # next thread's ordinal
    ERROR = 4  # the first code other than 0
    SIZE = 5


BUSY = -2
"""What `call` returns when another thread is inside the same program."""

MISMATCH = -1
"""What `call` returns when it is not given a tuple of exactly the program's number of NumPy arrays."""


def _load(name: str, base: str, word: int) -> str:
    return f"""
  %{name}.address = getelementptr i64, ptr {base}, i64 {int(word)}
  %{name} = load i64, ptr %{name}.address"""


def _worker() -> str:
    """Every thread of a step: take a piece, run it, until none is left or one failed."""
    return f"""
define internal void @worker(ptr %context) {{
entry:{_load("step.word", "%context", Context.STEP)}{_load("pieces", "%context", Context.PIECES)}
  %step = inttoptr i64 %step.word to ptr
  %ticket.address = getelementptr i64, ptr %context, i64 {int(Context.TICKET)}
  %worker.address = getelementptr i64, ptr %context, i64 {int(Context.WORKER)}
  %error.address = getelementptr i64, ptr %context, i64 {int(Context.ERROR)}
  %ordinal = atomicrmw add ptr %worker.address, i64 1 monotonic
{_load("function.word", "%step", Field.FUNCTION)}{_load("shared.word", "%step", Field.ARGUMENTS)}
{_load("count", "%step", Field.ARGUMENT_COUNT)}{_load("total", "%step", Field.TOTAL)}
{_load("slot", "%step", Field.SCRATCH_SLOT)}{_load("base", "%step", Field.SCRATCH_BASE)}
{_load("stride", "%step", Field.SCRATCH_STRIDE)}
  %function = inttoptr i64 %function.word to ptr
  %shared = inttoptr i64 %shared.word to ptr
  %plain = icmp eq i64 %stride, 0
  br i1 %plain, label %take, label %own
own:
  %copy = alloca i64, i64 %count, align 16
  %bytes = mul i64 %count, 8
  call void @llvm.memcpy.p0.p0.i64(ptr %copy, ptr %shared, i64 %bytes, i1 false)
  %skip = mul i64 %ordinal, %stride
  %scratch = add i64 %base, %skip
  %scratch.address = getelementptr i64, ptr %copy, i64 %slot
  store i64 %scratch, ptr %scratch.address
  br label %take
take:
  %arguments = phi ptr [ %shared, %entry ], [ %copy, %own ], [ %arguments, %work ]
  %ticket = atomicrmw add ptr %ticket.address, i64 1 monotonic
  %failed = load atomic i64, ptr %error.address monotonic, align 8
  %sound = icmp eq i64 %failed, 0
  %left = icmp slt i64 %ticket, %pieces
  %go = and i1 %sound, %left
  br i1 %go, label %work, label %done
work:
  %next = add i64 %ticket, 1
  %low = mul i64 %ticket, %total
  %high = mul i64 %next, %total
  %start = sdiv i64 %low, %pieces
  %stop = sdiv i64 %high, %pieces
  %code = call i32 %function(ptr %arguments, i64 %start, i64 %stop)
  %wide = zext i32 %code to i64
  %ok = icmp eq i32 %code, 0
  br i1 %ok, label %take, label %fail
fail:
  %old = cmpxchg ptr %error.address, i64 0, i64 %wide monotonic monotonic
  br label %done
done:
  ret void
}}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
"""


def _step() -> str:
    """One step: decide how many threads it is worth, run it, return its code."""
    return f"""
define internal i64 @step(ptr %header, ptr %step) {{
entry:
  %context = alloca [{int(Context.SIZE)} x i64], align 64
  %step.word = ptrtoint ptr %step to i64
{_load("total", "%step", Field.TOTAL)}{_load("grain", "%step", Field.GRAIN)}
{_load("oversplit", "%step", Field.OVERSPLIT)}{_load("cell", "%header", Header.THREADS)}
{_load("capacity", "%header", Header.CAPACITY)}{_load("parallel.word", "%header", Header.PARALLEL)}
  %cell.pointer = inttoptr i64 %cell to ptr
  %threads = load i64, ptr %cell.pointer
  %round = add i64 %total, %grain
  %round.less = sub i64 %round, 1
  %worth = sdiv i64 %round.less, %grain
  %serial = icmp eq i64 %parallel.word, 0
  %wanted = call i64 @llvm.smin.i64(i64 %threads, i64 %capacity)
  %allowed = select i1 %serial, i64 1, i64 %wanted
  %bounded = call i64 @llvm.smin.i64(i64 %worth, i64 %allowed)
  %workers = call i64 @llvm.smax.i64(i64 %bounded, i64 1)
  %fine = mul i64 %workers, %oversplit
  %several = call i64 @llvm.smin.i64(i64 %worth, i64 %fine)
  %alone = icmp eq i64 %workers, 1
  %pieces = select i1 %alone, i64 1, i64 %several
  store i64 %step.word, ptr %context
  %c1 = getelementptr i64, ptr %context, i64 {int(Context.PIECES)}
  store i64 %pieces, ptr %c1
  %c2 = getelementptr i64, ptr %context, i64 {int(Context.TICKET)}
  store i64 0, ptr %c2
  %c3 = getelementptr i64, ptr %context, i64 {int(Context.WORKER)}
  store i64 0, ptr %c3
  %c4 = getelementptr i64, ptr %context, i64 {int(Context.ERROR)}
  store i64 0, ptr %c4
  br i1 %alone, label %here, label %team
here:
  call void @worker(ptr %context)
  br label %done
team:
  %parallel = inttoptr i64 %parallel.word to ptr
  %team.size = trunc i64 %workers to i32
  call void %parallel(ptr @worker, ptr %context, i32 %team.size, i32 0)
  br label %done
done:
  %code = load atomic i64, ptr %c4 monotonic, align 8
  ret i64 %code
}}
"""


def _launch() -> str:
    """Patch the addresses, run the steps in order, stop at the first error."""
    return f"""
define i64 @launch(ptr %header, ptr %pointers) {{
entry:{_load("patch.word", "%header", Header.PATCHES)}{_load("patches", "%header", Header.PATCH_COUNT)}
{_load("steps.word", "%header", Header.STEPS)}{_load("first", "%header", Header.FIRST)}
{_load("last", "%header", Header.LAST)}
  %patch.base = inttoptr i64 %patch.word to ptr
  %steps = inttoptr i64 %steps.word to ptr
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
  %any.step = icmp slt i64 %first, %last
  br i1 %any.step, label %run, label %good
run:
  %s = phi i64 [ %first, %begin ], [ %s.next, %next ]
  %s.offset = mul i64 %s, {int(Field.SIZE)}
  %step = getelementptr i64, ptr %steps, i64 %s.offset
  %code = call i64 @step(ptr %header, ptr %step)
  %sound = icmp eq i64 %code, 0
  br i1 %sound, label %next, label %bad
next:
  %s.next = add i64 %s, 1
  %again = icmp slt i64 %s.next, %last
  br i1 %again, label %run, label %good
good:
  ret i64 0
bad:
  %high = shl i64 %s, 32
  %low = and i64 %code, 4294967295
  %both = or i64 %high, %low
  ret i64 %both
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
    return _worker() + _step() + _launch() + call
