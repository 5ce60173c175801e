"""The wheel: it installs exactly the six packages, and nothing of the tests, benchmarks or examples."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"flambeau", "eager", "fx", "aot", "inductor", "dynamo"}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    pytest.importorskip("setuptools", minversion="77")
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in PACKAGES:  # a copy: the build leaves a folder behind, and would take stale files from one
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "--wheel-dir", folder, source], capture_output=True, text=True, cwd=folder
    )
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = folder.glob("flambeau-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_installs_the_six_packages(names):
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_wheel_has_every_source_file(names):
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            assert file.relative_to(ROOT).as_posix() in names
    assert "flambeau/py.typed" in names
