"""The launch program: patching, splitting, errors, threads, clones."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from inductor import native, pool, program, threads
from inductor.program import Program, Reference, Step

SCALE = """
define i32 @scale(ptr %arguments, i64 %start, i64 %stop) {
entry:
  %0 = load ptr, ptr %arguments
  %p1 = getelementptr i64, ptr %arguments, i64 1
  %1 = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %arguments, i64 2
  %2 = load i64, ptr %p2
  %any = icmp slt i64 %start, %stop
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ %start, %entry ], [ %n, %loop ]
  %a = getelementptr i64, ptr %0, i64 %i
  %v = load i64, ptr %a
  %w = mul i64 %v, %2
  %b = getelementptr i64, ptr %1, i64 %i
  store i64 %w, ptr %b
  %n = add i64 %i, 1
  %c = icmp slt i64 %n, %stop
  br i1 %c, label %loop, label %done
done:
  ret i32 0
}
"""
FAIL = """
define i32 @fail(ptr %arguments, i64 %start, i64 %stop) {
  %code = load i64, ptr %arguments
  %short = trunc i64 %code to i32
  ret i32 %short
}
"""
MARK = """
define i32 @mark(ptr %arguments, i64 %start, i64 %stop) {
  %out = load ptr, ptr %arguments
  %p1 = getelementptr i64, ptr %arguments, i64 1
  %own = load i64, ptr %p1
  %slot = getelementptr i64, ptr %out, i64 %start
  store i64 %own, ptr %slot
  ret i32 0
}
"""


@pytest.fixture(scope="module")
def scale():
    return native.compile_ir(SCALE, "scale")


def step(function, source, target, factor, total, cost=0.0, **more):
    return Step(function.address, (source, target, factor), total=total, cost=cost, **more)


def test_two_steps_through_the_workspace(scale):
    steps = [
        step(scale, program.input(0), program.workspace(64), 3, 10),
        step(scale, program.workspace(64), program.output(0), 5, 10),
    ]
    x, y = np.arange(10), np.zeros(10, np.int64)
    assert Program(steps, 1, 1, workspace=64 + 80).call((x, y)) == (0, 0)
    assert (y == 15 * x).all()


def test_run_takes_addresses_and_offsets_are_bytes(scale):
    table = Program([step(scale, program.input(0, 16), program.output(0, 8), 2, 3)], 1, 1)
    x, y = np.arange(10), np.zeros(10, np.int64)
    assert table.run([x.ctypes.data, y.ctypes.data]) == (0, 0)
    assert y.tolist() == [0, 4, 6, 8, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 2, 5, 1000, 1001])
def test_a_split_range_is_covered_once(scale, count, total):
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        table = Program(
            [step(scale, program.input(0), program.output(0), 7, total, 1e5, oversplit=4)], 1, 1
        )
        x, y = np.arange(total + 1), np.full(total + 1, -1)
        assert table.call((x, y)) == (0, 0)
        assert (y[:total] == 7 * x[:total]).all() and y[total] == -1
    finally:
        threads.set_num_threads(before)


def test_the_first_error_stops_the_program(scale):
    fail = native.compile_ir(FAIL, "fail")
    steps = [
        Step(fail.address, (0,)),
        Step(fail.address, (42,), total=100, cost=1e6),
        step(scale, program.input(0), program.output(0), 7, 4),
    ]
    x, y = np.ones(4, np.int64), np.zeros(4, np.int64)
    assert Program(steps, 1, 1).call((x, y)) == (42, 1)
    assert not y.any()


def test_each_thread_has_scratch_memory_of_its_own():
    mark = native.compile_ir(MARK, "mark")
    owned = Step(mark.address, (program.output(0), 0), 64, 1e6, 8, scratch=1000, scratch_slot=1)
    table = Program([owned], 0, 1)
    y = np.zeros(64, np.int64)
    assert table.call((y,)) == (0, 0)
    addresses = {int(v) for v in y if v}
    assert 1 <= len(addresses) <= threads.get_num_threads()
    assert all((a - min(addresses)) % 1024 == 0 for a in addresses)
    assert table.scratch_bytes() >= 1024 * threads.get_num_threads()


def test_wrong_arguments_raise(scale):
    table = Program([step(scale, program.input(0), program.output(0), 2, 1)], 1, 1)
    x = np.zeros(1, np.int64)
    for wrong in [(x,), (x, x, x), [x, x], (x, 3), (x, None), ()]:
        with pytest.raises(TypeError, match="2 arrays"):
            table.call(wrong)
    assert table.call((x, x)) == (0, 0)
    with pytest.raises(IndexError, match="1 inputs"):
        Program([step(scale, program.input(1), program.output(0), 2, 1)], 1, 1)
    with pytest.raises(IndexError, match="workspace"):
        Program([step(scale, program.workspace(1), program.output(0), 2, 1)], 1, 1)


def test_constants_and_an_empty_program(scale):
    data = np.arange(4)
    table = Program(
        [step(scale, Reference("constant", 0), program.output(0), 2, 4)], 0, 1, constants=[data]
    )
    y = np.zeros(4, np.int64)
    assert table.call((y,)) == (0, 0) and (y == 2 * data).all()
    assert Program([], 0, 0).call(()) == (0, 0)


def test_two_python_threads_in_one_program(scale):
    many = [step(scale, program.input(0), program.workspace(0), 3, 20000)] * 20
    table = Program(
        [*many, step(scale, program.workspace(0), program.output(0), 1, 20000)], 1, 1, 160000
    )
    wrong = []

    def work(seed):
        x = np.arange(20000) + seed
        for _ in range(20):
            y = np.zeros_like(x)
            if table.call((x, y)) != (0, 0) or (y != 3 * x).any():
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    assert not wrong


def test_the_slow_path_gives_the_same_answers(scale):
    table = Program([step(scale, program.input(0), program.output(0), 2, 3)], 1, 1)
    table._call = table._call_slowly
    x, y = np.arange(3), np.zeros(3, np.int64)
    assert table.call((x, y)) == (0, 0) and (y == 2 * x).all()
    with pytest.raises(TypeError):
        table.call((x,))


def test_profile_names_every_step(scale):
    steps = [step(scale, program.input(0), program.output(0), 2, 3, name=n) for n in "ab"]
    assert [n for n, _ in Program(steps, 1, 1).profile((np.arange(3), np.zeros(3, int)))] == ["a", "b"]


def test_object_code_loads_again(scale):
    again = native.load_object(scale.object_code, "scale")
    x, y = np.arange(5), np.zeros(5, np.int64)
    block = np.array([x.ctypes.data, y.ctypes.data, 4], np.int64)
    assert again(block.ctypes.data, 1, 3) == 0
    assert y.tolist() == [0, 4, 8, 0, 0]
    with pytest.raises(ValueError, match="absent"):
        native.load_object(scale.object_code, "absent")
    with pytest.raises(RuntimeError, match="no object file"):
        native.load_object(b"garbage", "scale")


def test_thread_budget():
    before = threads.get_num_threads()
    assert 1 <= before
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(RuntimeError, match="positive integer"):
            threads.set_num_threads(wrong)
    threads.set_num_threads(3)
    assert threads.get_num_threads() == 3
    threads.set_num_threads(before)
    assert pool.state()


FORK = """
import os, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from inductor import native, pool, threads
from inductor.program import Program, Step, output
threads.set_num_threads(2)
text = sys.stdin.read()
function = native.compile_ir(text, "scale")
from inductor.program import input
table = Program([Step(function.address, (input(0), output(0), 3), 1000, 1e5)], 1, 1)
x, y = np.arange(1000), np.zeros(1000, np.int64)
table.call((x, y))
child = os.fork()
if child == 0:
    y[:] = 0
    good = table.call((x, y)) == (0, 0) and (y == 3 * x).all() and pool.state() == "0 helpers"
    y[:] = 0
    again = table._clone()
    good = good and again.call((x, y)) == (0, 0) and (y == 3 * x).all() and pool.state() == "1 helpers"
    os._exit(0 if good else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not pool.available(), reason="there is no pool here")
def test_a_forked_child_does_without_helpers_until_it_has_its_own():
    folder = str(Path(program.__file__).parents[1])
    command = [sys.executable, "-c", FORK, folder]
    done = subprocess.run(command, input=SCALE, text=True, timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_without_a_pool_steps_run_serially(scale, monkeypatch):
    monkeypatch.setattr(pool, "_FUTEX", {})
    table = Program([step(scale, program.input(0), program.output(0), 7, 1000, 1e5)], 1, 1)
    x, y = np.arange(1000), np.zeros(1000, np.int64)
    assert table.call((x, y)) == (0, 0) and (y == 7 * x).all()
    assert pool.state().startswith("serial")


@pytest.mark.skipif(not pool.available(), reason="there is no pool here")
def test_helpers_take_pieces_of_many_small_launches(scale):
    """Sleeping, woken and spinning helpers in turn: every launch is whole, whoever came."""
    before = threads.get_num_threads()
    threads.set_num_threads(3)
    try:
        steps = [
            step(scale, program.input(0), program.workspace(0), 3, 64, 1e5, oversplit=2),
            step(scale, program.workspace(0), program.workspace(512), 5, 64),
            step(scale, program.workspace(512), program.output(0), 7, 64, 1e5),
        ]
        table = Program(steps, 1, 1, workspace=1024)
        x = np.arange(64)
        for turn in range(3000):
            y = np.zeros(64, np.int64)
            assert table.call((x, y)) == (0, 0)
            assert (y == 105 * x).all()
            if turn % 500 == 0:
                time.sleep(0.005)
        assert int(pool.state().split()[0]) >= 2
    finally:
        threads.set_num_threads(before)


@pytest.mark.skipif(not pool.available(), reason="there is no pool here")
def test_a_smaller_budget_keeps_helpers_out():
    mark = native.compile_ir(MARK, "mark")
    before = threads.get_num_threads()
    threads.set_num_threads(4)
    try:
        owned = Step(mark.address, (program.output(0), 0), 64, 1e6, 8, scratch=64, scratch_slot=1)
        table = Program([owned], 0, 1)
        for budget, most in ((4, 4), (2, 2), (1, 1)):
            threads.set_num_threads(budget)
            for _ in range(50):
                y = np.zeros(64, np.int64)
                assert table.call((y,)) == (0, 0)
                assert 1 <= len({int(v) for v in y if v}) <= most
    finally:
        threads.set_num_threads(before)
