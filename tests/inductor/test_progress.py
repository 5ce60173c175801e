"""The line on the terminal while compiling takes long: not before a second, not where nobody looks."""

import io

import pytest

from inductor import config, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_short_compilation_says_nothing(clock):
    stream = Terminal()
    with progress.Progress(10, stream) as line:
        clock[0] += 0.9
        line.done(5)
    assert stream.getvalue() == ""


def test_a_long_one_says_so_and_cleans_up(clock):
    stream = Terminal()
    with progress.Progress(10, stream) as line:
        for number in range(3):
            clock[0] += 1.1
            line.done(number)
            line.done(number)
    shown = stream.getvalue()
    assert shown.count("compiling kernels") == 3 and "2 of 10" in shown
    assert shown.endswith("\r\x1b[K")


def test_a_file_gets_lines_only_if_logs_are_wanted(clock, monkeypatch):
    for wanted, count in ((None, 0), ("fusion", 1)):
        config.set("logs", wanted)
        try:
            stream = io.StringIO()
            with progress.Progress(4, stream) as line:
                clock[0] += 2
                line.done(1)
            assert stream.getvalue() == "flambeau: compiling kernels, 1 of 4\n" * count
        finally:
            config.set("logs", None)
