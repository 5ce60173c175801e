"""Real sizes: ResNet-18 on 224x224 from timm's own source, and GPT-2, inference and training step: one graph, torch's outputs and
gradients within 1e-3 of their largest value.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest

import flambeau
from benchmarks.case import Case, Library


class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules with whatever class is asked of them, for what timm imports beside the models: data sets, downloads."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] != self.package:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: self._class(module, name)
        module.__all__ = []
        return module

    @staticmethod
    def _class(module, name):
        if name.startswith("__"):
            raise AttributeError(name)
        found = type(name, (), {"__module__": module.__name__, "NEAREST": 0, "BILINEAR": 2, "BICUBIC": 3, "BOX": 4, "HAMMING": 5, "LANCZOS": 1})
        setattr(module, name, found)
        return found

    def exec_module(self, module):
        pass


def importable(name):
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.fixture
def timm_needs():
    """Stand-ins for what timm imports and is not installed here, or is built for another torch."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    kept = dict(sys.modules)
    finders = []
    for package, probe in (
        ("torchvision", "torchvision.datasets"),
        ("huggingface_hub", "huggingface_hub.hf_api"),
    ):
        if not importable(probe):
            for name in [n for n in sys.modules if n.partition(".")[0] == package]:
                del sys.modules[name]
            finders.append(StandIn(package))
    sys.meta_path[:0] = finders
    yield
    for finder in finders:
        sys.meta_path.remove(finder)
    for world in (sys.modules, flambeau.alias._worlds.get("torch", {})):
        for name in list(world):
            if name.partition(".")[0] in ("timm", *(f.package for f in finders)):
                if kept.get(name) is not world[name]:
                    del world[name]


def build(library, name, training, batch=1, layers=None):
    """A case; GPT-2 with fewer layers and words than the published one where the test has to be quick."""
    source = library.source(name)
    if layers is None:
        return Case(library, name, training, batch)
    original = library.source
    source.build = lambda: source.GPT2(vocabulary=5003, layers=layers)
    made = source.inputs
    source.inputs = lambda size: tuple(array % 5003 for array in made(size))
    library.source = lambda _: source
    try:
        return Case(library, name, training, batch)
    finally:
        library.source = original


def relative(found, expected):
    """The largest difference of any output or gradient, relative to the largest value of it."""
    assert found.keys() == expected.keys()
    largest = {}
    for name, value in expected.items():
        assert found[name].shape == value.shape and np.isfinite(found[name]).all(), name
        largest[name] = np.abs(found[name] - value).max() / max(np.abs(value).max(), 1e-12)
    worst = max(largest, key=largest.get)
    return largest[worst], worst


def check(name, training, backend, batch=1, layers=None):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    case = build(Library("flambeau"), name, training, batch, layers)
    state = {key: value.clone() for key, value in case.model.state_dict().items()}
    peer = build(Library("torch"), name, training, batch, layers)
    peer.copy_weights(case)
    expected = peer.outputs(peer.forward)
    compiled = flambeau.compile(case.forward, backend=backend, fullgraph=True)
    for _ in range(2):
        case.model.load_state_dict(state)  # running statistics move with every step
        found = case.outputs(compiled)
        difference, where = relative(found, expected)
        assert difference <= 1e-3, where
    assert flambeau.compiler.counts()["unique_graphs"] == 1
    assert flambeau.compiler.counts()["graph_breaks"] == 0
    buffers = dict(peer.model.named_buffers())
    for key, value in case.model.named_buffers():
        np.testing.assert_allclose(value.numpy(), buffers[key].numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_gpt2(backend, training):
    check("gpt2", training, backend, layers=1)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_resnet18(training, timm_needs):
    check("resnet18", training, "aot_eager", batch=2 if training else 1)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_resnet18_native(training, timm_needs):
    check("resnet18", training, "inductor", batch=2 if training else 1)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_gpt2_of_published_size(training):
    check("gpt2", training, "inductor")
