"""A line on the terminal while compiling takes long: after a second, once in a while, and gone at the end.

Where standard error is no terminal there is none, unless FLAMBEAU_LOGS asks for logs: then a line of its own each time.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from inductor import config

PATIENCE, EVERY = 1.0, 0.25
"""Seconds before the first line, and between two on a terminal (between two in a log: PATIENCE)."""


class Progress:
    """`done(number)` of `total` kernels; to be used as a context."""

    def __init__(self, total: int, stream: Any = None):
        self.total, self.stream = total, stream or sys.stderr
        self.live = bool(getattr(self.stream, "isatty", lambda: False)())
        self.shown = False
        self.next = time.monotonic() + PATIENCE

    def __enter__(self) -> Progress:
        return self

    def done(self, number: int) -> None:
        """So many are done, or under way."""
        now = time.monotonic()
        if now < self.next or not (self.live or config.logs()):
            return
        self.next = now + (EVERY if self.live else PATIENCE)
        text = f"flambeau: compiling kernels, {min(number, self.total)} of {self.total}"
        self.stream.write(f"\r\x1b[K{text}" if self.live else f"{text}\n")
        self.stream.flush()
        self.shown = True

    def __exit__(self, *error: object) -> None:
        if self.shown and self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
