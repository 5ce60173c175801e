"""The alias: source that says `import torch` runs on flambeau; nothing loaded against one is seen by code that runs on the other."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau

SOURCE = '''
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from importlib import import_module

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x))

def late():
    import torch.nn.init
    return torch.nn.init
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that knows only torch, and one that uses it; gone afterwards, from every world."""
    folder = tmp_path / "needs_torch"
    folder.mkdir()
    (folder / "__init__.py").write_text("from needs_torch.net import Net\n")
    (folder / "net.py").write_text(SOURCE)
    (tmp_path / "uses_net.py").write_text("from needs_torch import Net\n")
    (tmp_path / "plain_neighbour.py").write_text("value = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for world in (sys.modules, flambeau.alias._worlds.get("torch", {})):
        for name in [name for name in world if name.split(".")[0] in ("needs_torch", "uses_net", "plain_neighbour")]:
            del world[name]


def test_modules_are_the_roofs_own():
    with flambeau.alias("torch"):
        import torch
        import torch.nn.functional
        from torch.utils.data import DataLoader

        assert torch is flambeau
        assert torch.nn is flambeau.nn and torch.nn.functional is flambeau.nn.functional
        assert DataLoader is flambeau.utils.data.DataLoader
        assert sys.modules["torch.nn"] is flambeau.nn
    assert flambeau.__spec__.name == "flambeau" and flambeau.nn.__spec__.name == "flambeau.nn"
    assert sys.modules.get("torch") is not flambeau


def test_third_party_source_runs(package):
    with flambeau.alias("torch"):
        import uses_net

        net = uses_net.Net()
        assert isinstance(net, flambeau.nn.Module)
        assert net(flambeau.ones(1, 3)).shape == (1, 2)
        assert sys.modules["needs_torch.net"].late() is flambeau.nn.init


def test_what_was_imported_is_set_aside_and_comes_back(package):
    with flambeau.alias("torch"):
        import needs_torch
        import plain_neighbour

        first = needs_torch
    assert "needs_torch" not in sys.modules and "needs_torch.net" not in sys.modules
    assert "uses_net" not in sys.modules, "it needs a module that needs torch"
    assert sys.modules["plain_neighbour"] is plain_neighbour
    with flambeau.alias("torch"):
        import needs_torch

        assert needs_torch is first
    assert "needs_torch" not in sys.modules


def test_the_finder_and_the_import_function_are_gone_afterwards():
    import builtins

    original, finders = builtins.__import__, list(sys.meta_path)
    with pytest.raises(KeyError), flambeau.alias("torch"):
        raise KeyError
    assert builtins.__import__ is original and sys.meta_path == finders


def test_real_torch_is_kept_apart(package):
    torch = pytest.importorskip("torch")
    import needs_torch

    real = needs_torch
    assert issubclass(real.Net, torch.nn.Module)
    with flambeau.alias("torch"):
        import needs_torch
        import torch as here

        assert here is flambeau and needs_torch is not real
        assert issubclass(needs_torch.Net, flambeau.nn.Module)
    assert sys.modules["torch"] is torch and sys.modules["needs_torch"] is real
    assert torch.ones(2).sum().item() == 2


def test_missing_modules_say_so():
    with flambeau.alias("torch"):
        with pytest.raises(ModuleNotFoundError, match="flambeau does not have it") as caught:
            import torch.nonexistent.thing  # noqa: F401
        assert caught.value.name == "torch.nonexistent"
        with pytest.raises(ImportError, match="nonexistent"):
            from torch import nonexistent  # noqa: F401
        assert importlib.util.find_spec("torch.nonexistent") is None
        assert importlib.util.find_spec("torch") is not None


def test_version_is_found():
    with flambeau.alias("torch"):
        assert importlib.metadata.version("torch") == flambeau.__version__
        assert flambeau.__version__.startswith("2.13.0+flambeau")


def test_misuse():
    for name in ("a.b", "", "eager", "flambeau"):
        with pytest.raises(ValueError):
            flambeau.alias(name)
    with flambeau.alias("torch"), pytest.raises(RuntimeError, match="already active"):
        flambeau.alias("torch").start()


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "flambeau", *arguments], capture_output=True, text=True, **options
    )


def test_run_script(tmp_path):
    (tmp_path / "beside.py").write_text("import torch\nname = torch.__name__\n")
    (tmp_path / "script.py").write_text(
        "import sys, torch, beside\n"
        "if __name__ == '__main__':\n"
        "    print(torch.__name__, beside.name, sys.argv[1:], torch.ones(2).sum().item())\n"
        "    sys.exit(3)\n"
    )
    done = run("run", str(tmp_path / "script.py"), "--flag", "x")
    assert done.stdout == "flambeau flambeau ['--flag', 'x'] 2.0\n", done.stderr
    assert done.returncode == 3


def test_run_where_nothing_is_installed(tmp_path):
    (tmp_path / "script.py").write_text(
        "import torch\nprint(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item())\n"
    )
    home = Path(flambeau.__file__).parents[1]
    done = run("run", str(tmp_path / "script.py"), cwd=home)
    assert done.stdout == "2.0\n", done.stderr


def test_run_reports(tmp_path):
    assert run("run", str(tmp_path / "none.py")).returncode == 2
    assert run("version").stdout.startswith("flambeau 0.1.0")
    assert run().returncode == 2
