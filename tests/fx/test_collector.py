"""The pause of the garbage collector: nested, from several threads, and as it was before."""

import gc
import threading

import pytest

from fx import collector


@pytest.fixture(autouse=True)
def enabled():
    gc.enable()
    yield
    gc.enable()


def test_a_pause_ends_with_the_outermost():
    with collector.paused():
        assert not gc.isenabled()
        with collector.paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_who_had_it_off_finds_it_off():
    gc.disable()
    with collector.paused():
        pass
    assert not gc.isenabled()


def test_an_exception_ends_a_pause():
    with pytest.raises(KeyError), collector.paused():
        raise KeyError
    assert gc.isenabled()


def test_pauses_of_threads_overlap():
    inside, go = threading.Event(), threading.Event()

    def other():
        with collector.paused():
            inside.set()
            go.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with collector.paused():
        pass
    assert not gc.isenabled()
    go.set()
    thread.join()
    assert gc.isenabled()


def test_compiling_pauses_it():
    import flambeau as fl

    seen = []

    def backend(module, inputs):
        seen.append(gc.isenabled())
        return module.forward

    fl.compile(lambda x: x + 1, backend=backend)(fl.ones(2))
    assert seen == [False] and gc.isenabled()
