"""Forked workers: jobs are all done, by this process or another, whatever becomes of a worker."""

import os
import sys
import threading
import time

import pytest

from inductor.codegen import crew

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are forked on Linux")


def test_few_jobs_or_one_core_need_no_workers():
    assert crew.workers_for(3, 8) == 1
    assert crew.workers_for(30, 1) == 1
    assert crew.share([lambda: 1 / 0] * 2, 8) == 0


def test_no_worker_is_forked_beside_other_threads():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert crew.workers_for(30, 4) == 1
    finally:
        stop.set()
        thread.join()


@linux
def test_jobs_are_shared(tmp_path):
    def job(number):
        (tmp_path / str(number)).write_text(str(os.getpid()))
        time.sleep(0.05)  # long enough for the others to take theirs

    assert crew.share([lambda n=n: job(n) for n in range(12)], 3) == 2
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(made) == {str(n) for n in range(12)}
    assert len(set(made.values())) >= 2 and str(os.getpid()) in made.values()


@linux
def test_a_failing_or_killed_worker_harms_nobody(tmp_path, monkeypatch):
    parent = os.getpid()

    def fail():
        raise RuntimeError("no such kernel")

    def die():
        if os.getpid() != parent:
            os.kill(os.getpid(), 9)

    assert crew.share([fail, die] * 4, 2) == 1
    monkeypatch.setattr(crew, "PATIENCE", 0.2)
    begin = time.monotonic()

    def hang():
        if os.getpid() != parent:
            time.sleep(60)

    assert crew.share([hang] * 4, 2) == 1
    assert time.monotonic() - begin < 20


@linux
def test_the_caller_hears_how_far_it_is():
    heard = []
    crew.share([lambda: time.sleep(0.01)] * 8, 2, heard.append)
    assert heard == sorted(heard) and set(heard) <= set(range(8)) and heard


def test_templates_are_gathered_once_and_not_loaded():
    from inductor.program import input
    from inductor.templates import template
    from inductor.templates.convolution import transpose

    made = [transpose(5, 7, "float32"), transpose(5, 7, "float32"), transpose(7, 5, "float32")]
    with template.gathered() as found:
        steps = [one.step(input(0), input(1)) for one in made]
    assert list(found) == [made[0].key, made[2].key]
    assert not any(step.function for step in steps)
    assert made[0].step(input(0), input(1)).function
