"""`python -m benchmarks.first`: how long a new process takes to a compiled model's first result, with empty and with full caches.

Every measurement is a process of its own: importing the library, building the model, the first call of the compiled model (tracing,
guards, compiling or loading). Flambeau and torch take turns, each with cache folders of its own that start empty.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.__main__ import THREAD_VARIABLES

NAMES = ("mlp", "lenet", "minilm", "resnet18", "resnet50", "gpt2")
FOLDER = Path(__file__).parents[1]
PACKAGES = ("eager", "fx", "dynamo", "aot", "inductor", "flambeau", "benchmarks")
LIMIT = 900.0
"""Seconds after which a process is given up."""


def measure(library: str, model: str, training: bool, threads: int) -> dict[str, float]:
    """In this process: seconds of the import, of building the model, and of the first call of the compiled one."""
    from benchmarks.case import Case, Library

    start = time.perf_counter()
    loaded = Library(library, threads)
    imported = time.perf_counter()
    case = Case(loaded, model, training)
    built = time.perf_counter()
    call = case.compiled("inductor")
    with loaded.context():  # some sources import torch when they are called
        call()
    done = time.perf_counter()
    call()
    again = time.perf_counter()
    return {
        "import": imported - start, "build": built - imported, "first": done - built, "second": again - done,
    }


def process(library: str, model: str, mode: str, threads: int, folder: Path) -> dict[str, Any]:
    """The figures of a new process; a failure is its last line of text."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    environment["FLAMBEAU_CACHE_DIR"] = str(folder / "flambeau")
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "torch")
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    command = [sys.executable, "-m", "benchmarks.first", "--measure", library, "--only", model]
    command += [f"--{mode}", "--threads", str(threads)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"status": f"longer than {LIMIT:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"status": lines[-1][:120] if lines else f"exit {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def rows_of(names: Sequence[str], modes: Sequence[str], libraries: Sequence[str], threads: int) -> list[dict]:
    """A row per model and mode: cold and warm, flambeau and its peers."""
    for package in PACKAGES:
        compileall.compile_dir(FOLDER / package, quiet=2)
    rows = []
    for mode in modes:
        for name in names:
            row: dict[str, Any] = {"model": name, "mode": mode, "load": os.getloadavg()[0]}
            with tempfile.TemporaryDirectory() as folder:
                for temperature in ("cold", "warm"):
                    for library in libraries:
                        print(f"{name} {mode}: {library}, {temperature}", file=sys.stderr, flush=True)
                        row[f"{library} {temperature}"] = process(library, name, mode, threads, Path(folder))
            rows.append(row)
    return rows


def seconds(found: dict[str, Any], *parts: str) -> str:
    """A sum of figures as a cell, or why there is none."""
    if "status" in found:
        return found["status"]
    return f"{sum(found[part] for part in parts):.2f}"


def lines_of(rows: list[dict], libraries: Sequence[str]) -> list[str]:
    """The rows as a table in Markdown, seconds."""
    titles = ["model", "mode"]
    for library in libraries:
        titles += [f"{library} first call, cold", f"{library} warm: import", "first call"]
    if "torch" in libraries:
        titles.append("cold, torch / flambeau")
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for row in rows:
        cells = [row["model"], row["mode"]]
        for library in libraries:
            cold, warm = row[f"{library} cold"], row[f"{library} warm"]
            cells += [seconds(cold, "first"), seconds(warm, "import"), seconds(warm, "first")]
        if "torch" in libraries:
            ours, theirs = row["flambeau cold"].get("first"), row["torch cold"].get("first")
            cells.append(f"{theirs / ours:.1f}" if ours and theirs else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the section "Compile time" if asked to."""
    parser = argparse.ArgumentParser("python -m benchmarks.first", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help=f"these models (default: {' '.join(NAMES)})")
    parser.add_argument("--training", action="store_true", help="measure training steps")
    parser.add_argument("--inference", action="store_true", help="measure inference (with --training: both)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peer", choices=("torch",), help="torch.compile beside flambeau")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="put the table into this file's section")
    parser.add_argument("--measure", metavar="LIBRARY", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    modes = [mode for mode in ("inference", "training") if getattr(options, mode)] or ["inference"]
    names = options.only or list(NAMES)
    if options.measure:
        print(json.dumps(measure(options.measure, names[0], modes[0] == "training", options.threads)))
        return 0
    libraries = ["flambeau", *([options.peer] if options.peer else [])]
    rows = rows_of(names, modes, libraries, options.threads)
    lines = lines_of(rows, libraries)
    print("\n".join(lines))
    if options.write:
        from benchmarks.document import machine, replace

        loads = [row["load"] for row in rows]
        text = [
            f"Written by `python -m benchmarks.first {' '.join(arguments or sys.argv[1:])}` on {machine()}, {options.threads} threads; "
            f"load of the machine while it ran {min(loads):.1f} to {max(loads):.1f}. Seconds. Every figure is of a new process; \"first call\" "
            "is tracing, guards, compiling or loading, and the call itself.",
            "",
        ]
        replace(options.write, "Compile time", [*text, *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
