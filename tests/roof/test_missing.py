"""What is missing raises an AttributeError that names it; what shadows a package is named by the ImportError."""

import subprocess
import sys
from pathlib import Path

import pytest

import flambeau
from flambeau import neighbours

ROOT = Path(flambeau.__file__).parent.parent


@pytest.mark.parametrize(
    "path", ["", "nn", "nn.functional", "nn.init", "optim", "utils", "utils.data", "cuda", "jit", "fx", "autograd", "linalg", "special",
             "backends", "distributed", "library", "amp"]
)  # fmt: skip
def test_missing_names_are_named(path):
    module = flambeau
    for name in filter(None, path.split(".")):
        module = getattr(module, name)
    place = ".".join(filter(None, ["torch", path, "never_there"]))
    with pytest.raises(AttributeError, match=rf"flambeau does not have {place} \(yet\)"):
        module.never_there
    assert not hasattr(module, "never_there") and not hasattr(module, "__never__")


def test_missing_operators_are_named():
    with pytest.raises(AttributeError, match=r"torch\.ops\.library\.thing"):
        flambeau.ops.library.thing
    with pytest.raises(OSError, match="compiled for PyTorch"):
        flambeau.ops.load_library("x.so")


def test_shadowed_packages_are_named(tmp_path):
    (tmp_path / "fx.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import flambeau"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "ImportError" in done.stderr and str(tmp_path / "fx.py") in done.stderr


def test_absent_packages_are_named():
    with pytest.raises(ImportError, match="never_there"):
        neighbours.check(("never_there",))


def test_cuda_is_not_there():
    assert not flambeau.cuda.is_available() and flambeau.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match="no CUDA device"):
        flambeau.cuda.current_device()
    with pytest.raises(RuntimeError):
        flambeau.ones(2).cuda()
    with pytest.raises(RuntimeError):
        flambeau.ones(2, device="cuda")


def test_torchscript_is_refused_for_modules_only():
    assert flambeau.jit.script(len) is len
    with pytest.raises(RuntimeError, match="TorchScript"):
        flambeau.jit.script(flambeau.nn.Identity())
    assert not flambeau.jit.is_scripting() and not flambeau.jit.is_tracing()


def test_autocast_is_refused_where_it_would_matter():
    with flambeau.autocast("cpu", enabled=False):
        pass
    with pytest.raises(RuntimeError, match="autocast"):
        flambeau.autocast("cpu")
    with pytest.warns(UserWarning, match="not available"):
        flambeau.autocast("cuda")
