"""The floor as a whole, through the frame evaluator: frames after a break, threads, lifetimes, errors, fallback."""

import gc
import sys
import threading
import traceback
import weakref

import numpy as np
import pytest

from dynamo import evaluator, fallback, frame
from eager import autograd
from eager.construct import tensor
from eager.nn.linear import Linear
from eager.nn.module import Module
from eager.registry import ops
from eager.tensor import Tensor

EVALUATOR, REASON = evaluator.load()
needs_evaluator = pytest.mark.skipif(EVALUATOR is None, reason=REASON)


@pytest.fixture(autouse=True)
def clean():
    frame.reset()
    yield
    frame.reset()
    assert EVALUATOR is None or not EVALUATOR.installed


def compiled(function, **options):
    return frame.optimize("eager", **options)(function)


def captured():
    return [
        (code.co_name, len(record.graphs), len(record.breaks))
        for code, record in frame.callback_for("eager").log.captured
    ]


def helper(x):
    return ops.tanh(x) * 2


def breaks_then_calls(x):
    y = x + 1
    total = y.sum().item()
    return helper(y) - 1, total


def same(left, right):
    return np.allclose(left[0].numpy(), right[0].numpy()) and left[1:] == right[1:]


@needs_evaluator
def test_frames_after_a_break_are_captured(capsys):
    def inner(x):
        print("inner")
        return helper(x)

    def outer(x):
        return inner(x) + 1

    x = tensor([1.0, 2.0])
    result = compiled(outer)(x)
    assert np.allclose(result.numpy(), outer(x).numpy())
    assert ("inner", 0, 1) in captured() and capsys.readouterr().out == "inner\n" * 2
    resumed = [record for code, record in frame.callback_for("eager").log.captured if record.graphs]
    assert sum(len(record.graphs) for record in resumed) >= 1


@needs_evaluator
def test_break_and_resume():
    x = tensor([1.0, 2.0])
    run = compiled(breaks_then_calls)
    for _ in range(3):
        assert same(run(x), breaks_then_calls(x))
    assert captured() == [("breaks_then_calls", 1, 1), ("breaks_then_calls", 1, 0)]


@needs_evaluator
def test_threads_share_what_one_compiled():
    layer = Linear(4, 3)
    run = compiled(layer)
    failures = []

    def work(seed):
        try:
            random = np.random.default_rng(seed)
            for k in range(30):
                rows = 1 + (k + seed) % 3
                x = Tensor._wrap(random.standard_normal((rows, 4)).astype(np.float32))
                with autograd.no_grad():
                    assert np.allclose(run(x).numpy(), layer(x).numpy(), atol=1e-6)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    assert len(captured()) == 3  # one per number of rows


def test_nothing_is_kept_alive():
    class Local(Module):
        def __init__(self):
            super().__init__()
            self.layer = Linear(2, 2)
            self.scale = 3
            self.note = Note()

        def forward(self, x):
            if self.note.loud:
                return self.layer(x)
            return self.layer(x) * self.scale

    class Note:
        loud = False

    model = Local()
    x = tensor([[1.0, 2.0]])
    assert np.allclose(compiled(model)(x).detach().numpy(), model(x).detach().numpy())
    things = [weakref.ref(thing) for thing in (model, model.layer.weight, model.note, x)]
    del model, x
    gc.collect()
    assert [thing() for thing in things] == [None] * 4


def test_train_and_eval_have_entries_of_their_own():
    class Model(Module):
        def forward(self, x):
            return x * 2 if self.training else x * 3

    model, x = Model(), tensor([1.0])
    run = compiled(model)
    assert [run(x).item(), model.eval() and run(x).item(), model.train() and run(x).item()] == [
        2.0, 3.0, 2.0
    ]  # fmt: skip
    log = frame.callback_for("eager").log
    assert len(log.captured) == 2
    assert "self.training: CONSTANT expected True, found False" in str(log.recompiles[0])


def test_recompiles_name_the_shape():
    run = compiled(helper)
    run(tensor([1.0, 2.0])), run(tensor([1.0]))
    text = str(frame.callback_for("eager").log.recompiles[0])
    assert "x: TENSOR expected Tensor torch.float32 [2]" in text
    assert "found Tensor torch.float32 [1]" in text


def test_equal_code_of_two_files_keeps_its_file():
    source = "def f(x):\n    y = x + 1\n    print('between')\n    return y.missing\n"
    places = []
    for name in ("/one/model.py", "/two/model.py"):
        scope = {}
        exec(compile(source, name, "exec"), scope)
        with pytest.raises(AttributeError) as error:
            compiled(scope["f"])(tensor([1.0]))
        last = traceback.extract_tb(error.value.__traceback__)[-1]
        places.append((last.filename, last.lineno))
    assert places == [("/one/model.py", 4), ("/two/model.py", 4)]


def test_errors_are_those_of_the_program():
    def f(a, b):
        c = a * 2
        return ops.matmul(c, b)

    a, b = tensor([[1.0, 2.0]]), tensor([[1.0, 2.0]])
    messages = []
    for run in (f, compiled(f)):
        with pytest.raises(RuntimeError) as error:
            run(a, b)
        frames = traceback.extract_tb(error.value.__traceback__)
        mine = [entry for entry in frames if entry.filename == __file__ and "f" in entry.name]
        messages.append((str(error.value), mine[-1].lineno))
    assert messages[0] == messages[1]


def test_compiled_functions_nest():
    inner = compiled(helper)

    def outer(x):
        return inner(x) + inner(x + 1)

    x = tensor([1.0])
    assert np.allclose(compiled(outer)(x).numpy(), outer(x).numpy())


def test_recursive_program():
    def power(x, n):
        return x if n == 0 else power(x * 2, n - 1)

    assert compiled(power)(tensor([1.0]), 6).item() == 64.0


def test_generator_functions_are_left_alone():
    def f(x):
        for k in range(3):
            yield x * k

    assert [y.item() for y in compiled(f)(tensor([2.0]))] == [0.0, 2.0, 4.0]


def test_without_the_evaluator_the_function_itself_is_captured(monkeypatch):
    monkeypatch.setattr(frame, "_store", fallback.Table())
    monkeypatch.setattr(frame, "_set_callback", frame._no_callback)
    x = tensor([1.0, 2.0])
    run = compiled(breaks_then_calls)
    for _ in range(2):
        assert same(run(x), breaks_then_calls(x))
    assert captured() == [("breaks_then_calls", 1, 1)]
    layer = Linear(2, 2)
    assert np.allclose(compiled(layer)(x).detach().numpy(), layer(x).detach().numpy())
    assert len(captured()) == 2
