"""torch.ops: operators by namespace, `ops.NAME.operator`. A program's own come from `flambeau.library`; `aten` names flambeau's."""

from __future__ import annotations

from typing import Any, NoReturn

# "namespace::name" -> the callable
registered: dict[str, Any] = {}


class Namespace:
    """The operators of one namespace; AttributeError for one that is not registered."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _aten(name) if self._name == "aten" else registered.get(f"{self._name}::{name}")
        if found is None:
            raise AttributeError(f"flambeau does not have torch.ops.{self._name}.{name} (yet)")
        return found


def _aten(name: str) -> Any:
    """The operator with torch's order of parameters; None where there is none."""
    from flambeau import _VF

    return getattr(_VF, name, None)


class Operators:
    """`torch.ops`: attributes are namespaces."""

    def __getattr__(self, name: str) -> Namespace:
        if name.startswith("__"):
            raise AttributeError(name)
        space = Namespace(name)
        setattr(self, name, space)
        return space

    def load_library(self, path: str) -> NoReturn:
        """Raises OSError: a library compiled for PyTorch cannot be loaded here."""
        raise OSError(f"flambeau cannot load {path}: it was compiled for PyTorch's own C++ interface")


ops = Operators()
