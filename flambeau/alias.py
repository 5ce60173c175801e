"""The alias: within it `import torch` is `import flambeau`, so third-party source that knows only torch runs unchanged.

A module that was loaded against one of the two must never be seen by code that runs against the other. On entry, the real torch and the
packages that hold it are set aside; on exit, what was imported under the alias and came to depend on it is set aside in turn, kept for the
next time, and the real ones are put back. Modules that are running at that moment stay where they are.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import FrameType, ModuleType
from typing import Any

ROOF = __name__.partition(".")[0]
FLOORS = frozenset({ROOF, "eager", "fx", "aot", "inductor", "dynamo"})
# Packages that are part of an installed torch.
COMPANIONS = {"torch": frozenset({"torch", "functorch", "torchgen"})}


class alias:
    """`with flambeau.alias("torch"):` runs code that says `import torch` on flambeau.

    Use it also as `flambeau.alias("torch").start()` for the rest of the process. It holds for the whole process, all threads
    included. An import inside a function is answered when it runs, so call such functions under the alias too. Raises
    ValueError for a name that is not a plain module name, RuntimeError if it is entered twice.
    """

    _worlds: dict[str, dict[str, ModuleType]] = {}  # what was imported under each alias, while it is not active
    _active: dict[str, alias] = {}

    def __init__(self, name: str = "torch"):
        if not name.isidentifier() or name in FLOORS:
            raise ValueError(f"an alias needs a plain module name that is not flambeau's own, got {name!r}")
        self.name = name

    def start(self) -> alias:
        if self.name in self._active:
            raise RuntimeError(f"the alias {self.name!r} is already active")
        self.aside = _take_out(_holders(self.name))
        world = self._worlds.pop(self.name, {})
        self.bound = {self.name} | _packages(world)
        self.before = _packages(sys.modules)
        sys.modules.update(world)
        self.needs: dict[str, set[str]] = {}
        self.finder = Finder(self.name)
        sys.meta_path.insert(0, self.finder)
        self.original, builtins.__import__ = builtins.__import__, self._import
        self._active[self.name] = self
        return self

    def stop(self) -> None:
        self._active.pop(self.name, None)
        builtins.__import__ = self.original
        sys.meta_path.remove(self.finder)
        self.bound |= _closure(self.needs, {self.name}) - self.before
        self._worlds[self.name] = _take_out(self.bound)
        sys.modules.update(self.aside)

    def __enter__(self) -> alias:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _import(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
    ) -> ModuleType:
        """`__import__`, noting who needs whom, and naming flambeau where it lacks a module."""
        importer = ((globals or {}).get("__name__") or "").partition(".")[0]
        if importer in FLOORS:
            return self.original(name, globals, locals, fromlist, level)
        if not level and importer:
            self.needs.setdefault(importer, set()).add(name.partition(".")[0])
        try:
            return self.original(name, globals, locals, fromlist, level)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.partition(".")[0] != self.name or "flambeau" in str(error):
                raise
            raise ModuleNotFoundError(
                f"No module named {missing!r}: flambeau does not have it (yet)", name=missing
            ) from None


class Finder(importlib.abc.MetaPathFinder):
    """Answers imports of `torch` and `torch.*` with flambeau's modules, and questions after torch's version."""

    def __init__(self, name: str):
        self.name = name

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        top, dot, rest = fullname.partition(".")
        if top != self.name:
            return None
        real = importlib.util.find_spec(ROOF + dot + rest)
        if real is None:
            return None
        found = importlib.machinery.ModuleSpec(
            fullname, Loader(real.name), origin=real.origin, is_package=real.submodule_search_locations is not None
        )
        found.submodule_search_locations = real.submodule_search_locations
        return found

    def find_distributions(
        self, context: Any = None
    ) -> Iterator[importlib.metadata.Distribution]:
        if context is None or context.name in (None, self.name):
            yield Distribution(self.name)


class Loader(importlib.abc.Loader):
    """Gives the roof's module itself: `torch.nn is flambeau.nn`."""

    def __init__(self, name: str):
        self.real = name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.real)
        self.kept = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.kept  # the import system has just written its own over it


class Distribution(importlib.metadata.Distribution):
    """What `importlib.metadata.version("torch")` reads under the alias."""

    def __init__(self, name: str):
        self.alias = name

    def read_text(self, filename: str) -> str | None:
        from flambeau.version import __version__

        if filename == "METADATA":
            return f"Metadata-Version: 2.1\nName: {self.alias}\nVersion: {__version__}\n"
        return f"{self.alias}\n" if filename == "top_level.txt" else None

    def locate_file(self, path: Any) -> Any:
        from pathlib import Path

        return Path(__file__).parent / path


def _packages(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _take_out(packages: Iterable[str]) -> dict[str, ModuleType]:
    packages = set(packages)
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}


def _closure(needs: dict[str, set[str]], bound: set[str]) -> set[str]:
    """The packages that need a bound one, directly or through others."""
    bound = set(bound)
    while True:
        more = {package for package, used in needs.items() if used & bound} - bound - FLOORS - {"__main__"}
        if not more:
            return bound
        bound |= more


def _holders(name: str) -> set[str]:
    """Packages loaded against the real torch: those with a name in one of their modules that refers to it, or to such a package."""
    roots = set(COMPANIONS.get(name, {name}))
    if not roots & _packages(sys.modules):
        return roots
    fixed = FLOORS | roots | sys.stdlib_module_names | _running() | {"__main__", "numpy"}
    refers: dict[str, set[str]] = {}
    for module_name, module in list(sys.modules.items()):
        top = module_name.partition(".")[0]
        if top not in fixed and isinstance(module, ModuleType):
            refers.setdefault(top, set()).update(_homes(module))
    return _closure(refers, roots) - (fixed - roots)


def _homes(module: ModuleType) -> Iterator[str]:
    for value in list(vars(module).values()):
        kind = type(value)  # not isinstance, which asks the value, and some values answer with a warning
        if issubclass(kind, ModuleType):
            yield str(vars(value).get("__name__", "")).partition(".")[0]
        elif issubclass(kind, type):
            yield str(vars(value).get("__module__", "")).partition(".")[0]


def _running() -> set[str]:
    """The packages whose code is on the stack."""
    names = set()
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        names.add(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        frame = frame.f_back
    return names
