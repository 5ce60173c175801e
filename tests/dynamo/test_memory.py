"""What a compilation keeps alive: neither the inputs it was made for, nor the objects that it looked at."""

import gc
import weakref

from dynamo.frame import optimize, reset
from eager.construct import tensor
from eager.nn.linear import Linear


class Holder:
    def __init__(self):
        self.items = [tensor([1.0])]


def _run(function, *args):
    references = [weakref.ref(arg) for arg in args]
    optimize("eager")(function)(*args)
    return references


def _alive(references):
    return [reference() for reference in references if reference() is not None]


def test_captured_frame_lets_go_of_inputs():
    reset()
    gc.collect()
    gc.disable()
    try:
        references = _run(lambda x, holder: x + holder.items[0], tensor([1.0]), Holder())
        assert not _alive(references)
    finally:
        gc.enable()


def _prints(x, holder):
    y = x + holder.items[0]
    print(end="")
    return y * 2


def test_broken_frame_lets_go_of_inputs():
    reset()
    references = _run(_prints, tensor([1.0]), Holder())
    gc.collect()
    assert not _alive(references)


def _loops(x, holder):
    for _ in range(2):
        print(end="")
        x = x + holder.items[0]
    return x


def test_skipped_frame_lets_go_of_inputs():
    reset()
    references = _run(_loops, tensor([1.0]), Holder())
    gc.collect()
    assert not _alive(references)


def test_module_is_not_kept_alive():
    reset()
    references = _run(lambda module, x: module(x), Linear(2, 2), tensor([[1.0, 2.0]]))
    gc.collect()
    assert not _alive(references)
