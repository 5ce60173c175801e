"""Kernels as Python: the same results as compiled, lines that a debugger sees, exceptions that get
out.
"""

import sys

import numpy as np
import pytest

from eager.dtype import bfloat16, int32
from eager.registry import ops
from eager.rng import manual_seed
from inductor import config
from inductor.codegen import build


@pytest.fixture
def plainly(tmp_path):
    """Nothing is compiled; the folder of the dump."""
    config.set("debug", "1")
    config.set("dump", str(tmp_path))
    before = build.counters.compiled + build.counters.loaded + build.counters.shared
    yield tmp_path
    config.set("debug", None)
    config.set("dump", None)
    assert build.counters.compiled + build.counters.loaded + build.counters.shared == before


PROGRAMS = {
    "softmax": lambda x: ops.softmax(x, -1),
    "layer_norm": lambda x: ops.layer_norm(x, (7,)),
    "gelu": lambda x: ops.gelu(x) * ops.erf(x) + ops.tanh(x),
    "trigonometry": lambda x: ops.sin(x) * ops.cos(x * 100) + ops.atan2(x, x + 1),
    "special": lambda x: ops.lgamma(x) + ops.expm1(x) + ops.log1p(x * x),
    "half": lambda x: ops.convert(ops.convert(x, bfloat16), x.dtype) * 2,
    "integers": lambda x: ops.floor_divide(ops.convert(x * 10, int32), 3) % 4,
    "maximum": lambda x: ops.amax(x, 1) + ops.argmin(x, 0).sum(),
    "gather": lambda x: ops.index_select(x, 0, ops.argsort(x[:, 0])),
    "random": lambda x: ops.dropout(x, 0.5, True),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_results(harness, plainly, name):
    x = harness.tensor(5, 7)
    run = harness.compile(PROGRAMS[name], x)
    manual_seed(3)
    got = run(x)[0]
    manual_seed(3)
    want = PROGRAMS[name](x)
    assert got.dtype is want.dtype
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=2e-6, atol=2e-6)


def test_gradients(harness, plainly):
    x = harness.tensor(4, 6, grad=True)
    harness.check(lambda x: ops.log_softmax(x, -1) * ops.sigmoid(x), x)


def test_a_debugger_sees_the_lines_of_the_dumped_kernel(harness, plainly):
    x = harness.tensor(3)
    run = harness.compile(lambda x: ops.exp(x) + 1, x)
    lines = set()

    def trace(frame, event, argument):
        file = frame.f_code.co_filename
        if event == "line" and file.startswith(str(plainly)):
            with open(file) as source:
                lines.add(source.read().splitlines()[frame.f_lineno - 1].strip())
        return trace

    sys.settrace(trace)
    try:
        run(x)
    finally:
        sys.settrace(None)
    assert any("exp_float32" in line for line in lines)


def test_an_exception_leaves_through_the_call(harness, plainly, monkeypatch):
    x = harness.tensor(3)
    run = harness.compile(lambda x: ops.exp(x) + 1, x)

    def stop(**given):
        raise KeyboardInterrupt("stopped in the kernel")

    monkeypatch.setattr(np, "errstate", stop)
    with pytest.raises(KeyboardInterrupt, match="stopped in the kernel"):
        run(x)
    monkeypatch.undo()
    np.testing.assert_allclose(run(x)[0].numpy(), np.exp(x.numpy()) + 1, rtol=1e-6)


def test_an_index_out_of_range_is_an_error(harness, plainly):
    x, places = harness.tensor(4, 3), harness.tensor(2, dtype="int64", below=4)
    run = harness.compile(lambda x, places: ops.index_select(x, 0, places) + 1, x, places)
    places.fill_(9)
    with pytest.raises(IndexError):
        run(x, places)
