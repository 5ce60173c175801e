"""Watching memory: two native builtins over a table of addresses and the words that were found there. `unchanged(root)` says whether
all of them are still there; `gather(root)` gives the objects that the table lists, if the words that lead to them are.

A table is a bytes object of int64: the address of the root, how often `unchanged` held, how many rows lead to the objects, how many
rows there are, how many objects; then the rows (address, word), then the addresses of the objects. Rows are in order: the address of a
row is readable when the rows before it hold. Promise: nothing is read when the argument is not the root, and no reference is taken
to an object unless it is alive.
"""

from __future__ import annotations

HEADER = 5
FUNCTIONS = ("unchanged", "gather")


def builtins(api: dict[str, str], true: str, false: str, none: str, tuple_items: int) -> str:
    """Both functions as LLVM text. `api` names functions of the C API, the rest are operands."""
    return f"""
define internal i64 @rows_hold(ptr %table, ptr %root, i64 %rows) {{
entry:
  %wanted = load i64, ptr %table
  %given = ptrtoint ptr %root to i64
  %same = icmp eq i64 %wanted, %given
  br i1 %same, label %start, label %no
start:
  %first = getelementptr i64, ptr %table, i64 {HEADER}
  br label %head
head:
  %i = phi i64 [0, %start], [%next, %row]
  %more = icmp slt i64 %i, %rows
  br i1 %more, label %row, label %yes
row:
  %pair = shl i64 %i, 1
  %at = getelementptr i64, ptr %first, i64 %pair
  %address = load i64, ptr %at
  %expected.at = getelementptr i64, ptr %at, i64 1
  %expected = load i64, ptr %expected.at
  %place = inttoptr i64 %address to ptr
  %found = load i64, ptr %place
  %next = add i64 %i, 1
  %equal = icmp eq i64 %found, %expected
  br i1 %equal, label %head, label %no
yes:
  ret i64 1
no:
  ret i64 0
}}

define ptr @unchanged(ptr %self, ptr %root) {{
entry:
  %table = getelementptr i8, ptr %self, i64 32
  %count.at = getelementptr i64, ptr %table, i64 3
  %count = load i64, ptr %count.at
  %hold = call i64 @rows_hold(ptr %table, ptr %root, i64 %count)
  %ok = icmp ne i64 %hold, 0
  br i1 %ok, label %yes, label %no
yes:
  %hits.at = getelementptr i64, ptr %table, i64 1
  %hits = load i64, ptr %hits.at
  %hits.next = add i64 %hits, 1
  store i64 %hits.next, ptr %hits.at
  call void {api["Py_IncRef"]}(ptr {true})
  ret ptr {true}
no:
  call void {api["Py_IncRef"]}(ptr {false})
  ret ptr {false}
}}

define ptr @gather(ptr %self, ptr %root) {{
entry:
  %table = getelementptr i8, ptr %self, i64 32
  %chain.at = getelementptr i64, ptr %table, i64 2
  %chain = load i64, ptr %chain.at
  %hold = call i64 @rows_hold(ptr %table, ptr %root, i64 %chain)
  %ok = icmp ne i64 %hold, 0
  br i1 %ok, label %make, label %no
make:
  %rows.at = getelementptr i64, ptr %table, i64 3
  %rows = load i64, ptr %rows.at
  %count.at = getelementptr i64, ptr %table, i64 4
  %count = load i64, ptr %count.at
  %pairs = shl i64 %rows, 1
  %skip = add i64 %pairs, {HEADER}
  %first = getelementptr i64, ptr %table, i64 %skip
  %made = call ptr {api["PyTuple_New"]}(i64 %count)
  %failed = icmp eq ptr %made, null
  br i1 %failed, label %error, label %fill
fill:
  %items = getelementptr i8, ptr %made, i64 {tuple_items}
  br label %head
head:
  %i = phi i64 [0, %fill], [%next, %item]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %item, label %done
item:
  %at = getelementptr ptr, ptr %first, i64 %i
  %object = load ptr, ptr %at
  call void {api["Py_IncRef"]}(ptr %object)
  %place = getelementptr ptr, ptr %items, i64 %i
  store ptr %object, ptr %place
  %next = add i64 %i, 1
  br label %head
done:
  ret ptr %made
error:
  ret ptr null
no:
  call void {api["Py_IncRef"]}(ptr {none})
  ret ptr {none}
}}
"""
