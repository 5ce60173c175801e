"""The frame evaluator as LLVM text, written for one interpreter's layout.

A frame reaches the evaluator freshly pushed: on top of the data stack, not yet linked, arguments
in its first slots, cells not yet made. On a cache hit the frame is *retargeted* in place (code,
instruction pointer, stack top, size) and the default evaluator is called as the last act, so that
CPython links, clears and pops it as always. If the new code does not fit into the chunk of the data
stack, a function made from it is called instead and the old frame is discarded.

The slot of a code object (`co_extra`) holds 0, SKIP, SKIP_RECURSIVE, or a tuple of entries. An
entry is `(guard or None, code, code with positional arguments only, callback, record)`; it belongs
to the callback that made it. The callback is off while guards and the callback itself run.
"""

from __future__ import annotations

import ctypes
import sys

from dynamo import words
from dynamo.layout import FRAME_WORDS, Layout

SKIP, SKIP_RECURSIVE = 1, 2
STATISTICS = ("seen", "callback", "hit", "miss", "recall", "error", "refused", "discard")
GLOBALS = (
    "n_active", "target", "interpreter", "force_recall", "mute", "spare_depth", "index",
    "statistics", "probe_code", "probe_hit", "probe_frame", "probe_thread", "probe_frame_words",
    "probe_thread_words", "array_type",
)  # fmt: skip
FUNCTIONS = (
    "hook", "probe", "set_callback", "get_slot", "release", "match", *words.FUNCTIONS,
)  # fmt: skip
ANY = -(1 << 63)  # a size or stride that `match` does not look at

_PLAIN_FUNCTION = 0x03  # CO_OPTIMIZED | CO_NEWLOCALS
_SUSPENDABLE = 0x20 | 0x80 | 0x100 | 0x200  # generators and coroutines
_NEW = sys.version_info >= (3, 12)

_API = (
    "Py_IncRef", "Py_DecRef", "PyObject_Vectorcall", "PyThread_tss_get", "PyThread_tss_set",
    "PyTuple_New", "PyFunction_New", "PyFunction_SetClosure", "_PyEval_EvalFrameDefault",
    "PyErr_Clear", "PyErr_NoMemory", "PyMem_RawCalloc", "PyThreadState_Get",
    "PyThreadState_EnterTracing", "PyThreadState_LeaveTracing",
    "_PyInterpreterState_SetEvalFrameFunc", "_PyInterpreterState_GetEvalFrameFunc",
)  # fmt: skip


def symbol(name: str) -> int:
    """The address of a function of the C API. Raises AttributeError if it is not exported."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def pointer(address: int) -> str:
    """A constant address as an LLVM operand."""
    return f"inttoptr (i64 {address} to ptr)"


def evaluator_text(layout: Layout, thread_key: int, stub: object) -> str:
    """The module: evaluator, probe, and the builtins `set_callback` and `get_slot`."""
    return _Writer(layout, thread_key, stub).module()


class _Writer:
    """Writes the functions; the names of LLVM values are unique within each function."""

    def __init__(self, layout: Layout, thread_key: int, stub: object) -> None:
        self.layout = layout
        self.key = pointer(thread_key)
        self.stub = pointer(id(stub))
        self.none, self.true, self.false = (pointer(id(v)) for v in (None, True, False))
        self.api = {name: pointer(symbol(name)) for name in _API}
        prefix = "PyUnstable_Code_" if _NEW else "_PyCode_"
        self.api["GetExtra"] = pointer(symbol(prefix + "GetExtra"))
        if _NEW:
            self.api["GetException"] = pointer(symbol("PyErr_GetRaisedException"))
            self.api["SetException"] = pointer(symbol("PyErr_SetRaisedException"))
        self.default = self.api["_PyEval_EvalFrameDefault"]
        self._counter = 0

    def module(self) -> str:
        """All functions and globals."""
        parts = [
            self.declarations(), self.probe(), self.release(), self.slots(), self.retarget(),
            self.swap(), self.discard(), self.recall(), self.lookup(), self.hook(),
            self.hook_active(), self.set_callback(), self.get_slot(), self.match(),
            words.builtins(self.api, self.true, self.false, self.none, self.layout.tuple_items),
        ]  # fmt: skip
        return "\n".join(parts)

    # -- pieces ------------------------------------------------------------------------------

    def field(self, base: str, name: str, offset: int, kind: str = "ptr") -> str:
        """%name = the field of %base at an offset"""
        return f"""
  %{name}.at = getelementptr i8, ptr %{base}, i64 {offset}
  %{name} = load {kind}, ptr %{name}.at"""

    def long(self, base: str, name: str, offset: int) -> str:
        """%name = an int field, as 64 bits"""
        return self.field(base, f"{name}.int", offset, "i32") + f"""
  %{name} = sext i32 %{name}.int to i64"""

    def put(self, base: str, name: str, offset: int, value: str) -> str:
        """Store a typed operand into a field of %base."""
        return f"""
  %{name}.put = getelementptr i8, ptr %{base}, i64 {offset}
  store {value}, ptr %{name}.put"""

    def take(self, value: str) -> str:
        return f"\n  call void {self.api['Py_IncRef']}(ptr {value})"

    def drop(self, value: str) -> str:
        return f"\n  call void {self.api['Py_DecRef']}(ptr {value})"

    def count(self, what: str) -> str:
        """Add one to a statistic."""
        self._counter += 1
        k, index = self._counter, STATISTICS.index(what)
        return f"""
  %count{k}.at = getelementptr i64, ptr @statistics, i64 {index}
  %count{k} = load i64, ptr %count{k}.at
  %count{k}.next = add i64 %count{k}, 1
  store i64 %count{k}.next, ptr %count{k}.at"""

    def framesize(self, code: str, name: str) -> str:
        """%name = words that a frame of %code takes on the data stack"""
        layout = self.layout
        if layout.code_framesize is not None:
            return self.long(code, name, layout.code_framesize)
        return (
            self.long(code, f"{name}.locals", layout.code_locals)
            + self.long(code, f"{name}.stack", layout.code_stack)
            + f"""
  %{name}.sum = add i64 %{name}.locals, %{name}.stack
  %{name} = add i64 %{name}.sum, {layout.frame_specials}"""
        )

    # -- functions ---------------------------------------------------------------------------

    def declarations(self) -> str:
        return f"""
@n_active = global i64 0
@target = global ptr null
@interpreter = global ptr null
@force_recall = global i64 0
@mute = global i64 1
@spare_depth = global i64 0
@index = global i64 0
@statistics = global [{len(STATISTICS)} x i64] zeroinitializer
@probe_code = global ptr null
@probe_hit = global i64 0
@probe_frame = global ptr null
@probe_thread = global ptr null
@probe_frame_words = global [{FRAME_WORDS} x i64] zeroinitializer
@probe_thread_words = global [64 x i64] zeroinitializer
@array_type = global ptr null
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
!0 = !{{!"branch_weights", i32 1000, i32 1}}
"""

    def probe(self) -> str:
        """Copies a frame and its thread state; relies on nothing but the PEP 523 signature."""
        return f"""
define ptr @probe(ptr %ts, ptr %f, i32 %throw) {{
entry:
  %wanted = load ptr, ptr @probe_code
  br label %head
head:
  %i = phi i64 [0, %entry], [%next, %more]
  %inside = icmp ult i64 %i, 9
  br i1 %inside, label %body, label %out
body:
  %at = getelementptr ptr, ptr %f, i64 %i
  %word = load ptr, ptr %at
  %found = icmp eq ptr %word, %wanted
  br i1 %found, label %match, label %more
more:
  %next = add i64 %i, 1
  br label %head
match:
  store i64 1, ptr @probe_hit
  store ptr %f, ptr @probe_frame
  store ptr %ts, ptr @probe_thread
  call void @llvm.memcpy.p0.p0.i64(ptr @probe_frame_words, ptr %f, i64 {8 * FRAME_WORDS}, i1 false)
  call void @llvm.memcpy.p0.p0.i64(ptr @probe_thread_words, ptr %ts,
    i64 {self.layout.chunk_limit + 8}, i1 false)
  br label %out
out:
  %result = musttail call ptr {self.default}(ptr %ts, ptr %f, i32 %throw)
  ret ptr %result
}}
"""

    def release(self) -> str:
        """CPython calls this for the slot of a code object that dies or is given another slot."""
        return f"""
define void @release(ptr %slot) {{
  %bits = ptrtoint ptr %slot to i64
  %owned = icmp ugt i64 %bits, 15
  br i1 %owned, label %drop, label %out
drop:{self.drop("%slot")}
  br label %out
out:
  ret void
}}
"""

    def slots(self) -> str:
        """Number of argument slots of a code object."""
        layout = self.layout
        return f"""
define internal i64 @slots(ptr %code) alwaysinline {{{self.long("code", "a", layout.code_arguments)}
{self.long("code", "k", layout.code_keywords)}{self.long("code", "flags", layout.code_flags)}
  %args1 = lshr i64 %flags, 2
  %args = and i64 %args1, 1
  %kwargs1 = lshr i64 %flags, 3
  %kwargs = and i64 %kwargs1, 1
  %sum1 = add i64 %a, %k
  %sum2 = add i64 %sum1, %args
  %sum = add i64 %sum2, %kwargs
  ret i64 %sum
}}
"""

    def retarget(self) -> str:
        """Point a frame at %code. The frame must own a reference to it; the size was checked."""
        layout = self.layout
        start = layout.code_units + layout.instruction_bias
        return f"""
define internal void @retarget(ptr %ts, ptr %f, ptr %code) alwaysinline {{
{self.framesize("code", "need")}
  %top = getelementptr ptr, ptr %f, i64 %need{self.put("ts", "top", layout.chunk_top, "ptr %top")}
{self.put("f", "code", layout.frame_code, "ptr %code")}
{self.field("code", "locals", layout.code_locals, "i32")}
{self.put("f", "stacktop", layout.frame_stacktop, "i32 %locals")}
  %start = getelementptr i8, ptr %code, i64 {start}
{self.put("f", "instruction", layout.frame_instruction, "ptr %start")}
  ret void
}}
"""

    def swap(self) -> str:
        """1: retargeted to %new; 0: no room in this chunk; 2: not on top, left alone."""
        layout = self.layout
        return f"""
define internal i32 @swap(ptr %ts, ptr %f, ptr %new) {{
entry:{self.field("f", "old", layout.frame_code)}{self.framesize("old", "oldsize")}
{self.framesize("new", "need")}{self.field("ts", "top", layout.chunk_top)}
{self.field("ts", "limit", layout.chunk_limit)}
  %end = getelementptr ptr, ptr %f, i64 %oldsize
  %ontop = icmp eq ptr %end, %top
  br i1 %ontop, label %measure, label %refuse
refuse:{self.count("refused")}
  ret i32 2
measure:
  %f.bits = ptrtoint ptr %f to i64
  %limit.bits = ptrtoint ptr %limit to i64
  %available = sub i64 %limit.bits, %f.bits
  %bytes = shl i64 %need, 3
  %fits = icmp slt i64 %bytes, %available
  %force = load i64, ptr @force_recall
  %free = icmp eq i64 %force, 0
  %ok = and i1 %fits, %free
  br i1 %ok, label %go, label %full
full:
  ret i32 0
go:{self.long("old", "oldlocals", layout.code_locals)}
{self.long("new", "newlocals", layout.code_locals)}
  %locals = getelementptr i8, ptr %f, i64 {layout.frame_locals}
{self.take("%new")}
  call void @retarget(ptr %ts, ptr %f, ptr %new)
  br label %head
head:
  %i = phi i64 [%oldlocals, %go], [%next, %clear]
  %more = icmp slt i64 %i, %newlocals
  br i1 %more, label %clear, label %done
clear:
  %at = getelementptr ptr, ptr %locals, i64 %i
  store ptr null, ptr %at
  %next = add i64 %i, 1
  br label %head
done:{self.drop("%old")}
  ret i32 1
}}
"""

    def discard(self) -> str:
        """Let CPython clear and pop a frame that will not run: it runs `return None` instead."""
        if not self.layout.callee_clears:
            return "define internal void @discard(ptr %ts, ptr %f) noinline { ret void }\n"
        layout = self.layout
        return f"""
define internal void @discard(ptr %ts, ptr %f) noinline {{
entry:{self.count("discard")}
  %exception = call ptr {self.api["GetException"]}()
{self.field("f", "old", layout.frame_code)}{self.long("old", "n", layout.code_locals)}
  %locals = getelementptr i8, ptr %f, i64 {layout.frame_locals}
  br label %head
head:
  %i = phi i64 [0, %entry], [%next, %following]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %run
body:
  %at = getelementptr ptr, ptr %locals, i64 %i
  %value = load ptr, ptr %at
  store ptr null, ptr %at
  %unset = icmp eq ptr %value, null
  br i1 %unset, label %following, label %release
release:{self.drop("%value")}
  br label %following
following:
  %next = add i64 %i, 1
  br label %head
run:{self.take(self.stub)}
  call void @retarget(ptr %ts, ptr %f, ptr {self.stub}){self.drop("%old")}
  %result = call ptr {self.default}(ptr %ts, ptr %f, i32 0)
  %failed = icmp eq ptr %result, null
  br i1 %failed, label %bad, label %good
bad:
  call void {self.api["PyErr_Clear"]}()
  br label %out
good:{self.drop("%result")}
  br label %out
out:
  call void {self.api["SetException"]}(ptr %exception)
  ret void
}}
"""

    def recall(self) -> str:
        """Call a new function of the entry's positional code, then discard the frame."""
        layout, api = self.layout, self.api
        return f"""
define internal ptr @recall(ptr %ts, ptr %f, ptr %hit) noinline {{
entry:{self.count("recall")}{self.field("hit", "twin", layout.tuple_items + 16)}
{self.field("f", "globals", layout.frame_globals)}
{self.field("f", "function", layout.frame_function)}{self.field("f", "code", layout.frame_code)}
  %made = call ptr {api["PyFunction_New"]}(ptr %twin, ptr %globals)
  %failed = icmp eq ptr %made, null
  br i1 %failed, label %out, label %close
close:{self.field("function", "closure", layout.function_closure)}
  %open = icmp eq ptr %closure, null
  br i1 %open, label %call, label %setclosure
setclosure:
  %ignored = call i32 {api["PyFunction_SetClosure"]}(ptr %made, ptr %closure)
  br label %call
call:
  %n = call i64 @slots(ptr %code)
  %arguments = getelementptr i8, ptr %f, i64 {layout.frame_locals}
  %value = call ptr {api["PyObject_Vectorcall"]}(ptr %made, ptr %arguments, i64 %n, ptr null)
{self.drop("%made")}
  br label %out
out:
  %result = phi ptr [null, %entry], [%value, %call]
  call void @discard(ptr %ts, ptr %f)
  ret ptr %result
}}
"""

    def lookup(self) -> str:
        """A new reference to the entry to run; 1: run as it is; null: an exception is set."""
        return f"""
define internal ptr @lookup(ptr %ts, ptr %f, ptr %code, ptr %state, ptr %slot) noinline {{
entry:
  %callback = load ptr, ptr %state
  store ptr null, ptr %state
  %mute = load i64, ptr @mute
  %muted = icmp ne i64 %mute, 0
  br i1 %muted, label %quiet, label %prepare
quiet:  ; the user's trace and profile functions do not see guards and the compiler
  call void {self.api["PyThreadState_EnterTracing"]}(ptr %ts)
  br label %prepare
prepare:
  %n = call i64 @slots(ptr %code){self.field("f", "function", self.layout.frame_function)}
  %n1 = add i64 %n, 1
  %n2 = add i64 %n, 4
  %vector = alloca ptr, i64 %n2
  %arguments = getelementptr ptr, ptr %vector, i64 1
  store ptr %function, ptr %vector
  %locals = getelementptr i8, ptr %f, i64 {self.layout.frame_locals}
  %bytes = shl i64 %n, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %arguments, ptr %locals, i64 %bytes, i1 false)
  %runonly = icmp eq ptr %callback, {self.false}
  %bits = ptrtoint ptr %slot to i64
  %cached = icmp ugt i64 %bits, 15
  br i1 %cached, label %walk, label %miss
{self.walk()}{self.compile()}
out:
  %result = phi ptr [%e, %hit], [null, %guardfailed], [{pointer(1)}, %miss], [null, %compile],
    [%answer, %docall], [{pointer(1)}, %noentry]
  ; an unbalanced set_callback in a guard or in the callback must not leak
  %left = load ptr, ptr %state
  %clean = icmp eq ptr %left, null
  br i1 %clean, label %restore, label %mend
mend:{self.drop("%left")}
  %active = load i64, ptr @n_active
  %active.less = sub i64 %active, 1
  store i64 %active.less, ptr @n_active
  br label %restore
restore:
  store ptr %callback, ptr %state
  br i1 %muted, label %loud, label %leave
loud:
  call void {self.api["PyThreadState_LeaveTracing"]}(ptr %ts)
  br label %leave
leave:
  ret ptr %result
}}
"""

    def walk(self) -> str:
        """The first entry of this callback whose guard holds; `lookup` continues at hit or miss."""
        items = self.layout.tuple_items
        return f"""
walk:{self.take("%slot")}{self.field("slot", "length", 16, "i64")}
  %items = getelementptr i8, ptr %slot, i64 {items}
  br label %head
head:
  %i = phi i64 [0, %walk], [%i.next, %next]
  %more = icmp slt i64 %i, %length
  br i1 %more, label %body, label %walked
body:
  %item = getelementptr ptr, ptr %items, i64 %i
  %e = load ptr, ptr %item{self.field("e", "guard", items)}{self.field("e", "owner", items + 24)}
  %mine1 = icmp eq ptr %owner, %callback
  %mine = or i1 %mine1, %runonly
  br i1 %mine, label %check, label %next
check:
  %unguarded = icmp eq ptr %guard, {self.none}
  br i1 %unguarded, label %hit, label %callguard
callguard:
  %verdict = call ptr {self.api["PyObject_Vectorcall"]}(ptr %guard, ptr %vector, i64 %n1, ptr null)
  %raised = icmp eq ptr %verdict, null
  br i1 %raised, label %guardfailed, label %judge
judge:{self.drop("%verdict")}
  %holds = icmp eq ptr %verdict, {self.true}
  br i1 %holds, label %hit, label %next
next:
  %i.next = add i64 %i, 1
  br label %head
hit:{self.count("hit")}{self.take("%e")}{self.drop("%slot")}
  br label %out
guardfailed:{self.drop("%slot")}
  br label %out
walked:{self.drop("%slot")}
  br label %miss
"""

    def compile(self) -> str:
        """Ask the callback, with the arguments in a tuple, unless the thread only runs entries."""
        return f"""
miss:{self.count("miss")}
  br i1 %runonly, label %out, label %compile
compile:{self.count("callback")}
  %row = call ptr {self.api["PyTuple_New"]}(i64 %n)
  %norow = icmp eq ptr %row, null
  br i1 %norow, label %out, label %fill
fill:
  %cells = getelementptr i8, ptr %row, i64 {self.layout.tuple_items}
  br label %fillhead
fillhead:
  %j = phi i64 [0, %fill], [%j.next, %fillbody]
  %j.more = icmp slt i64 %j, %n
  br i1 %j.more, label %fillbody, label %docall
fillbody:
  %from = getelementptr ptr, ptr %arguments, i64 %j
  %value = load ptr, ptr %from{self.take("%value")}
  %to = getelementptr ptr, ptr %cells, i64 %j
  store ptr %value, ptr %to
  %j.next = add i64 %j, 1
  br label %fillhead
docall:
  %second = getelementptr ptr, ptr %vector, i64 1
  store ptr %code, ptr %second
  %third = getelementptr ptr, ptr %vector, i64 2
  store ptr %row, ptr %third
  %answer = call ptr {self.api["PyObject_Vectorcall"]}(ptr %callback, ptr %vector, i64 3, ptr null)
{self.drop("%row")}
  %isnone = icmp eq ptr %answer, {self.none}
  br i1 %isnone, label %noentry, label %out
noentry:{self.drop(self.none)}
  br label %out
"""

    def hook(self) -> str:
        """The evaluator. Idle it costs one load and one comparison; both halves are jumps."""
        return """
define ptr @hook(ptr %ts, ptr %f, i32 %throw) {
  %active = load i64, ptr @n_active
  %idle = icmp eq i64 %active, 0
  br i1 %idle, label %fast, label %slow, !prof !0
fast:
  %target = load ptr, ptr @target
  %result = musttail call ptr %target(ptr %ts, ptr %f, i32 %throw)
  ret ptr %result
slow:
  %result2 = musttail call ptr @hook_active(ptr %ts, ptr %f, i32 %throw)
  ret ptr %result2
}
"""

    def hook_active(self) -> str:
        """Some thread has a callback: is it this one, and is this frame one to look at?"""
        layout = self.layout
        return f"""
define internal ptr @hook_active(ptr %ts, ptr %f, i32 %throw) noinline {{
mark:{self.field("f", "code", layout.frame_code)}{self.field("code", "extra", layout.code_extra)}
  %noextra = icmp eq ptr %extra, null
  br i1 %noextra, label %have, label %size
size:
  %index = load i64, ptr @index
  %length = load i64, ptr %extra
  %inside = icmp ugt i64 %length, %index
  br i1 %inside, label %load, label %have
load:
  %rows = getelementptr i8, ptr %extra, i64 8
  %row = getelementptr ptr, ptr %rows, i64 %index
  %stored = load ptr, ptr %row
  br label %have
have:
  %slot = phi ptr [null, %mark], [null, %size], [%stored, %load]
  %skip = icmp eq ptr %slot, {pointer(SKIP)}
  br i1 %skip, label %fast, label %thread
fast:
  %target = load ptr, ptr @target
  %result = musttail call ptr %target(ptr %ts, ptr %f, i32 %throw)
  ret ptr %result
thread:
  %state = call ptr {self.api["PyThread_tss_get"]}(ptr {self.key})
  %nostate = icmp eq ptr %state, null
  br i1 %nostate, label %fast, label %callback
callback:
  %wanted = load ptr, ptr %state
  %off = icmp eq ptr %wanted, null
  br i1 %off, label %fast, label %recursive
recursive:
  %deep = icmp eq ptr %slot, {pointer(SKIP_RECURSIVE)}
  br i1 %deep, label %skipall, label %eligible
skipall:
  store ptr null, ptr %state
  %target2 = load ptr, ptr @target
  %result2 = call ptr %target2(ptr %ts, ptr %f, i32 %throw)
  store ptr %wanted, ptr %state
  ret ptr %result2
eligible:{self.field("f", "owner", layout.frame_owner, "i8")}
{self.field("code", "flags", layout.code_flags, "i32")}
  %owner.int = zext i8 %owner to i32
  %bad1 = or i32 %owner.int, %throw
  %kind = and i32 %flags, {_SUSPENDABLE | _PLAIN_FUNCTION}
  %bad2 = xor i32 %kind, {_PLAIN_FUNCTION}
  %bad = or i32 %bad1, %bad2
  %plain = icmp eq i32 %bad, 0
  br i1 %plain, label %look, label %fast
look:{self.count("seen")}
  %entry = call ptr @lookup(ptr %ts, ptr %f, ptr %code, ptr %state, ptr %slot)
  %failed = icmp eq ptr %entry, null
  br i1 %failed, label %error, label %decide
error:{self.count("error")}
  call void @discard(ptr %ts, ptr %f)
  ret ptr null
decide:
  %asis = icmp eq ptr %entry, {pointer(1)}
  br i1 %asis, label %fast, label %replace
replace:{self.field("entry", "new", layout.tuple_items + 8)}
  %done = call i32 @swap(ptr %ts, ptr %f, ptr %new)
  %full = icmp eq i32 %done, 0
  br i1 %full, label %callagain, label %swapped
swapped:{self.drop("%entry")}
  br label %fast
callagain:
  %value = call ptr @recall(ptr %ts, ptr %f, ptr %entry){self.drop("%entry")}
  ret ptr %value
}}
"""

    def deepen(self, name: str, operation: str) -> str:
        """Give this thread more C recursion while it is active, or take it back (3.12 only)."""
        if self.layout.recursion is None:
            return ""
        return f"""
  %{name}.ts = call ptr {self.api["PyThreadState_Get"]}()
{self.field(f"{name}.ts", f"{name}.depth", self.layout.recursion, "i32")}
  %{name}.spare = load i64, ptr @spare_depth
  %{name}.spare32 = trunc i64 %{name}.spare to i32
  %{name}.new = {operation} i32 %{name}.depth, %{name}.spare32
  store i32 %{name}.new, ptr %{name}.depth.at"""

    def set_callback(self) -> str:
        """builtin: set_callback(None | False | callable) -> what was set before"""
        api = self.api
        return f"""
define ptr @set_callback(ptr %self, ptr %argument) {{
entry:
  %known = call ptr {api["PyThread_tss_get"]}(ptr {self.key})
  %unknown = icmp eq ptr %known, null
  br i1 %unknown, label %allocate, label %go
allocate:
  %fresh = call ptr {api["PyMem_RawCalloc"]}(i64 1, i64 64)
  %nomemory = icmp eq ptr %fresh, null
  br i1 %nomemory, label %fail, label %remember
fail:
  %raised = call ptr {api["PyErr_NoMemory"]}()
  ret ptr null
remember:
  %ignored = call i32 {api["PyThread_tss_set"]}(ptr {self.key}, ptr %fresh)
  br label %go
go:
  %state = phi ptr [%known, %entry], [%fresh, %remember]
  %old = load ptr, ptr %state
  %wasoff = icmp eq ptr %old, null
  %stop = icmp eq ptr %argument, {self.none}
  br i1 %stop, label %off, label %on
on:{self.take("%argument")}
  store ptr %argument, ptr %state
  br i1 %wasoff, label %more, label %answer
more:
  %n = load i64, ptr @n_active
  %n.more = add i64 %n, 1
  store i64 %n.more, ptr @n_active{self.deepen("up", "add")}
  ; also if others are active: it is taken out while one of them compiles
  %interpreter = load ptr, ptr @interpreter
  %before = call ptr {api["_PyInterpreterState_GetEvalFrameFunc"]}(ptr %interpreter)
  %already = icmp eq ptr %before, @hook
  br i1 %already, label %answer, label %chain
chain:
  store ptr %before, ptr @target
  call void {api["_PyInterpreterState_SetEvalFrameFunc"]}(ptr %interpreter, ptr @hook)
  br label %answer
off:
  store ptr null, ptr %state
  br i1 %wasoff, label %answer, label %less
less:
  %m = load i64, ptr @n_active
  %m.less = sub i64 %m, 1
  store i64 %m.less, ptr @n_active{self.deepen("down", "sub")}
  %last = icmp eq i64 %m.less, 0
  br i1 %last, label %remove, label %answer
remove:
  %interpreter2 = load ptr, ptr @interpreter
  %target = load ptr, ptr @target
  %now = call ptr {api["_PyInterpreterState_GetEvalFrameFunc"]}(ptr %interpreter2)
  %ours = icmp eq ptr %now, @hook
  br i1 %ours, label %restore, label %answer
restore:
  call void {api["_PyInterpreterState_SetEvalFrameFunc"]}(ptr %interpreter2, ptr %target)
  br label %answer
answer:
  br i1 %wasoff, label %none, label %some
none:{self.take(self.none)}
  ret ptr {self.none}
some:
  ret ptr %old
}}
"""

    def get_slot(self) -> str:
        """builtin: get_slot(code) -> the tuple of entries, an int mark, or None, in one step"""
        return f"""
define ptr @get_slot(ptr %self, ptr %code) {{
  %out = alloca ptr
  store ptr null, ptr %out
  %index = load i64, ptr @index
  %status = call i32 {self.api["GetExtra"]}(ptr %code, i64 %index, ptr %out)
  %bad = icmp ne i32 %status, 0
  br i1 %bad, label %error, label %ok
error:
  ret ptr null
ok:
  %slot = load ptr, ptr %out
  %bits = ptrtoint ptr %slot to i64
  %is = icmp ugt i64 %bits, 15
  br i1 %is, label %entries, label %mark
entries:{self.take("%slot")}
  ret ptr %slot
mark:
  %zero = icmp eq i64 %bits, 0
  %one = icmp eq i64 %bits, {SKIP}
  %small = select i1 %one, ptr {pointer(id(SKIP))}, ptr {pointer(id(SKIP_RECURSIVE))}
  %answer = select i1 %zero, ptr {self.none}, ptr %small
{self.take("%answer")}
  ret ptr %answer
}}
"""

    def match(self) -> str:
        """builtin: match(array) -> whether it is a NumPy array of the bound description

        `self` is a bytes object of int64: dimensions, type number, sizes, strides in bytes.
        The fields of arrays and their types are part of NumPy's stable interface.
        """
        return f"""
define ptr @match(ptr %self, ptr %array) {{
entry:{self.field("array", "kind", 8)}
  %wanted.kind = load ptr, ptr @array_type
  %isarray = icmp eq ptr %kind, %wanted.kind
  br i1 %isarray, label %rank, label %no
rank:
  %spec = getelementptr i8, ptr %self, i64 32{self.long("array", "rank.found", 24)}
{self.field("spec", "rank.wanted", 0, "i64")}
  %samerank = icmp eq i64 %rank.found, %rank.wanted
  br i1 %samerank, label %dtype, label %no
dtype:{self.field("array", "descriptor", 56)}{self.long("descriptor", "number", 28)}
{self.field("spec", "number.wanted", 8, "i64")}
  %samedtype = icmp eq i64 %number, %number.wanted
  br i1 %samedtype, label %sizes, label %no
sizes:{self.field("array", "shape", 32)}{self.field("array", "strides", 40)}
  %shape.wanted = getelementptr i8, ptr %spec, i64 16
  %strides.wanted = getelementptr i64, ptr %shape.wanted, i64 %rank.found
  br label %head
head:
  %i = phi i64 [0, %sizes], [%i.next, %next]
  %more = icmp slt i64 %i, %rank.found
  br i1 %more, label %size, label %yes
size:
  %size.at = getelementptr i64, ptr %shape, i64 %i
  %size.found = load i64, ptr %size.at
  %size.wat = getelementptr i64, ptr %shape.wanted, i64 %i
  %size.wanted = load i64, ptr %size.wat
  %size.same = icmp eq i64 %size.found, %size.wanted
  %size.any = icmp eq i64 %size.wanted, {ANY}
  %size.ok = or i1 %size.same, %size.any
  br i1 %size.ok, label %stride, label %no
stride:
  %stride.at = getelementptr i64, ptr %strides, i64 %i
  %stride.found = load i64, ptr %stride.at
  %stride.wat = getelementptr i64, ptr %strides.wanted, i64 %i
  %stride.wanted = load i64, ptr %stride.wat
  %stride.same = icmp eq i64 %stride.found, %stride.wanted
  %stride.any = icmp eq i64 %stride.wanted, {ANY}
  %stride.ok = or i1 %stride.same, %stride.any
  br i1 %stride.ok, label %next, label %no
next:
  %i.next = add i64 %i, 1
  br label %head
yes:{self.take(self.true)}
  ret ptr {self.true}
no:{self.take(self.false)}
  ret ptr {self.false}
}}
"""
