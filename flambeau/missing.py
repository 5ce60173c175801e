"""What flambeau does not have: an AttributeError that names it, in place of a half-working stub."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

ROOF = __name__.partition(".")[0]


def lookup(name: str, *sources: ModuleType) -> Callable[[str], Any]:
    """A module's `__getattr__`: the first of `sources` that has the attribute, else an AttributeError that says what is missing."""
    public = "torch" + name[len(ROOF) :]

    def __getattr__(attribute: str) -> Any:
        for source in sources:
            found = vars(source).get(attribute, _ABSENT)
            if found is not _ABSENT:
                return found
        if attribute.startswith("__"):
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        raise AttributeError(f"flambeau does not have {public}.{attribute} (yet)")

    return __getattr__


_ABSENT = object()
