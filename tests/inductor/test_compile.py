"""Whole graphs: layers forward and backward against eager, one native call per graph, dumps,
threads, warm starts.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from eager.registry import ops, registry
from inductor import config
from inductor.compile import STAGES, keep
from inductor.dump import LOGS
from inductor.lower import LOWERINGS

ROOT = Path(__file__).resolve().parents[2]


def test_an_mlp_forward_and_backward(harness):
    def mlp(x, w1, b1, w2, b2, target):
        hidden = ops.relu(ops.linear(x, w1, b1))
        return ops.mse_loss(ops.linear(hidden, w2, b2), target)

    make = harness.tensor
    harness.check(
        mlp, make(8, 12), make(16, 12, grad=True), make(16, grad=True), make(4, 16, grad=True),
        make(4, grad=True), make(8, 4),
    )
    assert harness.fallbacks == []
    assert [report.segments for report in harness.reports] == [1, 1]


def transformer_block(x, wqkv, wo, w1, b1, w2, b2, g1, h1, g2, h2):
    batch, length, width = x.shape
    normed = ops.layer_norm(x, (width,), g1, h1)
    parts = ops.linear(normed, wqkv).split(width, -1)
    q, k, v = (p.view(batch, length, 2, width // 2).transpose(1, 2) for p in parts)
    mixed = ops.scaled_dot_product_attention(q, k, v, None, 0.0, True)
    x = x + ops.linear(mixed.transpose(1, 2).reshape(batch, length, width), wo)
    normed = ops.layer_norm(x, (width,), g2, h2)
    return x + ops.linear(ops.gelu(ops.linear(normed, w1, b1)), w2, b2)


def test_a_transformer_block_forward_and_backward(harness):
    width = 16
    shapes = [
        (2, 6, width), (3 * width, width), (width, width), (4 * width, width), (4 * width,),
        (width, 4 * width), (width,), (width,), (width,), (width,), (width,),
    ]
    harness.check(transformer_block, *[harness.tensor(*s, grad=True) for s in shapes], tolerance=1e-4)
    assert harness.fallbacks == []
    assert [report.segments for report in harness.reports] == [1, 1]


def test_a_resnet_block_forward_and_backward(harness):
    def block(x, w1, g1, b1, w2, g2, b2, wd):
        y = ops.conv2d(x, w1, None, 2, 1)
        y = ops.relu(ops.batch_norm(y, None, None, g1, b1, True))
        y = ops.batch_norm(ops.conv2d(y, w2, None, 1, 1), None, None, g2, b2, True)
        return ops.relu(y + ops.conv2d(x, wd, None, 2, 0))

    shapes = [(2, 4, 8, 8), (8, 4, 3, 3), (8,), (8,), (8, 8, 3, 3), (8,), (8,), (8, 4, 1, 1)]
    harness.check(block, *[harness.tensor(*s, grad=True) for s in shapes], tolerance=1e-4)
    assert harness.fallbacks == []


def test_equal_results_are_made_once_and_inputs_are_passed_through(harness):
    from fx.graph_module import GraphModule
    from inductor.compile import compile_graph

    x = harness.tensor(3)
    module = conftest_capture(lambda a: (a, a * 2), x)
    module = GraphModule({}, module.graph, "Pass")
    same, doubled = compile_graph(module, [x])(x)
    assert same is x
    np.testing.assert_array_equal(doubled.numpy(), x.numpy() * 2)


def conftest_capture(function, *examples):
    """A graph of whole operators, as the tests' harness makes it."""
    from aot.recorder import Recorder
    from eager import dispatch
    from eager.fake import FakeTensor
    from fx.graph_module import GraphModule

    recorder = Recorder()
    recorder.interpret = lambda op, args, kwargs: recorder.record(op, op.bind(args, kwargs))
    inputs = [recorder.input(f"x{k}", FakeTensor.of(x)) for k, x in enumerate(examples)]
    with dispatch.push(recorder):
        results = function(*inputs)
    recorder.graph.output(tuple(recorder.node_of(r) for r in results))
    return GraphModule({}, recorder.graph, "Captured")


def test_programs_run_in_several_python_threads_at_once(harness):
    w = harness.tensor(64, 64)
    run = harness.compile(lambda x, w: ops.softmax(ops.tanh(x @ w) @ w, -1), harness.tensor(32, 64), w)
    inputs = [harness.tensor(32, 64) for _ in range(8)]
    expected = [run(x, w)[0].numpy().copy() for x in inputs]
    failures = []

    def work(x, want):
        for _ in range(30):
            if not np.array_equal(run(x, w)[0].numpy(), want):
                failures.append(x)

    workers = [threading.Thread(target=work, args=pair) for pair in zip(inputs, expected, strict=True)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_the_dump_holds_every_stage(harness, tmp_path):
    config.set("dump", str(tmp_path))
    try:
        harness.compile(lambda x: ops.softmax(x * 2, -1), harness.tensor(4, 8))
    finally:
        config.set("dump", None)
    (folder,) = tmp_path.iterdir()
    names = {path.name for path in folder.iterdir()}
    stages = {f"{name}.txt" for name in LOGS if name not in ("kernels", "report")}
    assert stages | {"kernel_0.py", "report.json"} <= names
    assert "max[8](" in (folder / "loops.txt").read_text()
    assert "def kernel(arguments, start, stop):" in (folder / "kernel_0.py").read_text()
    report = json.loads((folder / "report.json").read_text())
    assert report["kernels"] == 1 and set(report["seconds"]) == set(STAGES)


def test_logs_print_what_was_asked_for(harness, capsys):
    config.set("logs", "kernels")
    try:
        harness.compile(lambda x: x * 3, harness.tensor(4))
    finally:
        config.set("logs", None)
    printed = capsys.readouterr().err
    assert "--- kernel 0 ---" in printed and "--- graph ---" not in printed


def test_a_log_that_does_not_exist_is_named(harness):
    config.set("logs", "kernel")
    try:
        with pytest.warns(RuntimeWarning, match="there are graph, loops"):
            harness.compile(lambda x: x * 3, harness.tensor(4))
    finally:
        config.set("logs", None)


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(KeyError, match="no setting"):
        config.set("nonsense", "1")


def test_lowerings_are_of_operators_that_exist():
    """Every declared lowering names an operator, or is a name that a graph of an earlier stage can
    hold.
    """
    unknown = set(LOWERINGS) - set(registry)
    assert unknown <= {
        "concat", "concatenate", "constant_pad", "lift_fresh", "_unsafe_index", "index_get", "scalar_tensor",
        "new_empty_strided", "tensor",
    }
    assert all(op.name in LOWERINGS for op in keep())


WARM = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import numpy as np
from inductor import config
config.set("cache", {folder!r})
import importlib.util
spec = importlib.util.spec_from_file_location("harness", {tests!r} + "/conftest.py")
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
from eager.registry import ops
h = module.Harness()
h.check(lambda x, w: ops.softmax(x @ w, -1), h.tensor(8, 16), h.tensor(16, 16))
from inductor.codegen.build import counters
print(counters.compiled > 0, counters.loaded > 0)
"""


def test_a_warm_start_compiles_nothing(tmp_path):
    program = WARM.format(root=str(ROOT), tests=str(ROOT / "tests/inductor"), folder=str(tmp_path / "k"))

    def run():
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert run() == ["True", "False"]
    assert run() == ["False", "True"]
