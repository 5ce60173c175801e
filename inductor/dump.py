"""What a compilation leaves to look at: one folder per compilation (FLAMBEAU_DUMP), stages printed
to standard error (FLAMBEAU_LOGS).
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from inductor import config

_numbers = itertools.count()

LOGS = ("graph", "loops", "fusion", "kernels", "memory", "timing", "fallbacks", "report")
"""What this floor prints under FLAMBEAU_LOGS."""

ELSEWHERE = frozenset({"guards", "breaks", "recompiles", "joint", "source", "cache"})
"""Names of the same switch that other floors may print under."""


class Dump:
    """Collects the texts of one compilation; writes and prints what the settings ask for."""

    def __init__(self) -> None:
        base = config.dump_folder()
        self.logs = config.logs()
        unknown = self.logs - set(LOGS) - ELSEWHERE
        if unknown:
            warnings.warn(
                f"FLAMBEAU_LOGS names {', '.join(sorted(unknown))}: there are {', '.join(LOGS)}",
                RuntimeWarning,
                stacklevel=3,
            )
        self.folder: Path | None = None
        if base is not None:
            self.folder = base / f"compilation_{os.getpid()}_{next(_numbers)}"
            self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def active(self) -> bool:
        return self.folder is not None or bool(self.logs)

    def text(self, name: str, content: str, suffix: str = "txt") -> None:
        """Keep a stage's text under its name."""
        if self.folder is not None:
            (self.folder / f"{name}.{suffix}").write_text(content)
        if name in self.logs:
            print(f"--- {name} ---\n{content}", file=sys.stderr)

    def kernel(self, number: int, content: str) -> str | None:
        """A kernel's source; the file that keeps it, if one does."""
        if "kernels" in self.logs:
            print(f"--- kernel {number} ---\n{content}", file=sys.stderr)
        if self.folder is None:
            return None
        path = self.folder / f"kernel_{number}.py"
        path.write_text(content)
        return str(path)

    def record(self, name: str, content: Any) -> None:
        self.text(name, json.dumps(content, indent=1, default=str), "json")
