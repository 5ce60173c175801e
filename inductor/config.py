"""The compiler's settings: each is read from the environment when it is asked for, and may be set
in the process.

FLAMBEAU_CACHE_DIR  folder of the object-code cache; "0" turns it off (default: the user's cache
                    folder)
FLAMBEAU_DUMP       folder into which each compilation writes its stages (default: none)
FLAMBEAU_LOGS       comma-separated names of stages to print to standard error (default: none)
FLAMBEAU_DEBUG      "1" runs kernels as Python, so that a debugger can step through them
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLES = {
    "cache": "FLAMBEAU_CACHE_DIR", "dump": "FLAMBEAU_DUMP", "logs": "FLAMBEAU_LOGS",
    "debug": "FLAMBEAU_DEBUG",
}
_set: dict[str, str] = {}


def set(name: str, value: str | None) -> None:
    """Override a setting in this process ("cache", "dump", "logs", "debug"); None gives it back to the
    environment.

    Raises KeyError for a name that is no setting.
    """
    if name not in VARIABLES:
        raise KeyError(f"no setting {name!r}: there are cache, dump, logs and debug")
    if value is None:
        _set.pop(name, None)
    else:
        _set[name] = value


def _get(name: str) -> str:
    return _set.get(name, os.environ.get(VARIABLES[name], ""))


def cache_folder() -> Path | None:
    """Where object code is kept, or None where the cache is off."""
    wish = _get("cache")
    if wish == "0":
        return None
    if wish:
        return Path(wish)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "flambeau" / "kernels"


def dump_folder() -> Path | None:
    wish = _get("dump")
    return Path(wish) if wish else None


def logs() -> frozenset[str]:
    return frozenset(name.strip() for name in _get("logs").split(",") if name.strip())


def debug() -> bool:
    return _get("debug") not in ("", "0")
