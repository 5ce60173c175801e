"""Sections of a document that commands write: each is a heading of the second level and what follows it up to the next."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

BEGIN = "# Performance\n\nSections that name a command are written by it; figures are of the machine that they name.\n"


def replace(path: Path, title: str, lines: Sequence[str]) -> None:
    """Put `lines` under the heading `title`, in the place of what is there; a new section comes last."""
    text = path.read_text() if path.exists() else BEGIN
    parts = ("\n" + text).split("\n## ")
    section = f"{title}\n\n" + "\n".join(lines).strip() + "\n"
    places = [number for number, part in enumerate(parts) if number and part.partition("\n")[0].strip() == title]
    if places:
        parts[places[0]] = section
    else:
        parts.append(section)
    body = [parts[0].strip("\n")] + [part.strip("\n") for part in parts[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n## ".join(body) + "\n")


def machine() -> str:
    """The processor and the interpreter in a few words."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name} ({os.cpu_count()} processors), CPython {platform.python_version()}"
