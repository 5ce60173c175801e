"""What the compiler's tests share: a function over tensors is captured, compiled through aot, and
compared with eager.
"""

import numpy as np
import pytest

import eager  # noqa: F401
from aot.compile import compile as aot_compile
from aot.recorder import Recorder
from eager import dispatch
from eager.fake import FakeTensor
from eager.tensor import Tensor
from fx.graph_module import GraphModule
from inductor import config
from inductor.compile import compile_graph, keep


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory):
    """Kernels compiled once for all tests, in a folder of their own."""
    config.set("cache", str(tmp_path_factory.mktemp("kernels")))
    yield
    config.set("cache", None)


class Capture(Recorder):
    """Records whole operators."""

    def interpret(self, op, args, kwargs):
        return self.record(op, op.bind(args, kwargs))


def capture(function, examples):
    recorder = Capture()
    inputs = [recorder.input(f"x{k}", FakeTensor.of(x)) for k, x in enumerate(examples)]
    for fake, real in zip(inputs, examples, strict=True):
        fake._requires_grad = real.requires_grad
    with dispatch.push(recorder):
        result = function(*inputs)
    result = result if isinstance(result, tuple) else (result,)
    recorder.graph.output(tuple(recorder.node_of(r) for r in result))
    return GraphModule(dict(recorder.constants), recorder.graph, "Captured")


class Harness:
    """`check(function, *tensors)` compiles and compares results and gradients; `reports` are of the
    last compilation.
    """

    def __init__(self):
        self.reports, self.runs = [], []
        self.random = np.random.default_rng(7)

    def tensor(self, *shape, grad=False, dtype="float32", below=None):
        if below is None:
            array = self.random.standard_normal(shape).astype(dtype)
        else:
            array = self.random.integers(0, below, shape).astype(dtype)
        result = Tensor._wrap(np.asarray(array))
        return result.requires_grad_() if grad else result

    def compile(self, function, *examples):
        self.reports, self.runs = [], []

        def compiler(module, fakes):
            run = compile_graph(module, fakes)
            self.reports.append(run.report)
            self.runs.append(run)
            return run

        return aot_compile(
            capture(function, examples), list(examples), forward_compiler=compiler, keep=keep(),
        )

    @property
    def fallbacks(self):
        return [name for report in self.reports for name, _ in report.fallbacks]

    @property
    def kernels(self):
        return [report.kernels for report in self.reports]

    def check(self, function, *examples, tolerance=1e-5):
        run = self.compile(function, *examples)
        got, want = run(*examples), function(*examples)
        want = want if isinstance(want, tuple) else (want,)
        for a, b in zip(got, want, strict=True):
            assert tuple(a.shape) == tuple(b.shape) and a.dtype is b.dtype
            close(a.detach().numpy(), b.detach().numpy(), tolerance)
        if any(x.requires_grad for x in examples):
            weights = [self.random.standard_normal(tuple(w.shape)).astype("float32") for w in want]
            mine, theirs = (self._gradients(r, examples, weights) for r in (got, want))
            for a, b in zip(mine, theirs, strict=True):
                close(a, b, max(10 * tolerance, 1e-4))
        return run

    def _gradients(self, results, examples, weights):
        for x in examples:
            x.grad = None
        total = None
        for result, weight in zip(results, weights, strict=True):
            if result.requires_grad:
                part = (result * Tensor._wrap(weight.astype(result.detach().numpy().dtype))).sum()
                total = part if total is None else total + part
        total.backward()
        return [x.grad.numpy().copy() for x in examples if x.requires_grad]


def close(a, b, tolerance):
    if a.dtype.kind in "biu":
        np.testing.assert_array_equal(a, b)
    else:
        scale = np.abs(b[np.isfinite(b)]).max(initial=1.0)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@pytest.fixture
def harness():
    return Harness()


@pytest.fixture
def steps(monkeypatch):
    """The names of the templates' steps in all programs compiled in the test, none of which falls back."""
    import flambeau
    from inductor import compile as inductor_compile

    found = []
    stage = inductor_compile.STAGES["lower"]

    def lower(c):
        stage(c)
        assert not c.lowered.fallbacks
        found.extend(o.name for o in c.lowered.operations if hasattr(o, "make"))

    monkeypatch.setitem(inductor_compile.STAGES, "lower", lower)
    flambeau.compiler.reset()
    return found
