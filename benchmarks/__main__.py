"""`python -m benchmarks`: models compiled against eager, with torch and other peers in the same run.

The flags and the columns follow PyTorch's dynamo runner. Threads are set before NumPy is imported, equally for every library, and
the process is held to as many processors.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


PEERS = ("torch", "onnxruntime", "openvino", "jax")


def peer_names(text: str) -> list[str]:
    """The peers of a flag. Raises ArgumentTypeError for a name that there is not."""
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"there is no peer {name!r}; there are {', '.join(PEERS)}")
    return [name for name in PEERS if name in names]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    made.add_argument("--only", metavar="NAME", action="append", help="run this model (may be repeated)")
    made.add_argument("--filter", "-k", metavar="REGEX", action="append", help="run models whose name matches")
    made.add_argument("--exclude", "-x", metavar="REGEX", action="append", help="leave out models whose name matches")
    made.add_argument("--list", action="store_true", help="print the names of the models and stop")
    made.add_argument("--training", action="store_true", help="measure training steps")
    made.add_argument("--inference", action="store_true", help="measure inference (with --training: both)")
    made.add_argument("--performance", action="store_true", help="measure time and memory (the default)")
    made.add_argument("--accuracy", action="store_true", help="compare outputs and gradients instead")
    made.add_argument("--tolerance", type=float, default=1e-3, help="relative error that --accuracy allows")
    made.add_argument("--backend", default="inductor", help="flambeau's backend (default: inductor)")
    made.add_argument("--batch-size", type=int, help="instead of the model's own")
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of every library")
    made.add_argument("--repeat", type=int, default=20, help="timed calls of each variant, interleaved")
    made.add_argument("--budget", type=float, default=30.0, help="seconds of timing per model at most")
    made.add_argument("--output", type=Path, metavar="FILE.csv", help="write the rows here")
    made.add_argument("--write", type=Path, metavar="FILE.md", help='put the tables into this file\'s section "Whole models"')
    made.add_argument("--chart", type=Path, metavar="FILE.png|svg", help="draw the rows here (needs matplotlib)")
    made.add_argument(
        "--peer", dest="peers", type=peer_names, default=[], metavar="NAME,...",
        help=f"run these beside flambeau: {', '.join(PEERS)} (torch: eager and torch.compile)",
    )
    made.add_argument("--cold", action="store_true", help="compile with empty caches, flambeau and torch alike")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a model failed."""
    options = parser().parse_args(arguments)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    pin(options.threads)
    if options.cold:
        empty_caches()
    from benchmarks import case
    from benchmarks.report import ACCURACY_COLUMNS, COLUMNS, Progress, Rows, summary, table

    names = chosen(case.names(), options)
    if options.list or not names:
        print("\n".join(names) or "no model matches")
        return 0 if names else 2
    modes = [mode for mode in ("inference", "training") if getattr(options, mode)] or ["inference"]
    libraries = [case.Library("flambeau", options.threads)]
    if options.peers:  # the others take their models, and the right results, from torch
        libraries.append(case.Library("torch", options.threads))
    rows = Rows(options.output, ACCURACY_COLUMNS if options.accuracy else COLUMNS)
    progress = Progress(len(names) * len(modes))
    for mode in modes:
        for name in names:
            row, refusals = attempt(name, mode, libraries, options, progress)
            for each in (row, *refusals):
                rows.add(each)
            if options.write and not options.accuracy:
                write(rows.rows, options, arguments)
            progress.finish(f"{name} {mode}: {row['status']}")
    print()
    if options.accuracy:
        for row in rows.rows:
            print(f"{row['name']:>10} {row['mode']:>9}: {row.get('accuracy', row['status'])}  {detail(row)}")
    else:
        print(table(rows.rows))
        print()
        print("\n".join(summary(rows.rows)))
        if options.chart:
            from benchmarks.chart import draw

            draw(rows.rows, options.chart)
    ours = [row for row in rows.rows if row["backend"] == options.backend]
    return 0 if all(row["status"] == "ok" for row in ours) else 1


def pin(threads: int) -> None:
    """Hold this process, and so every library in it, to as many processors as threads."""
    if not hasattr(os, "sched_setaffinity"):
        return
    usable = sorted(os.sched_getaffinity(0))
    if threads < len(usable):
        os.sched_setaffinity(0, usable[:threads])


def empty_caches() -> None:
    """Fresh cache folders for this process, removed at its end."""
    import atexit
    import shutil
    import tempfile

    for variable in ("FLAMBEAU_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ[variable] = tempfile.mkdtemp(prefix="benchmarks-")
        atexit.register(shutil.rmtree, os.environ[variable], ignore_errors=True)


def write(rows: list[dict[str, Any]], options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
    """The tables as a section of a document."""
    from benchmarks.document import machine, replace
    from benchmarks.report import document

    loads = [row["loadavg"] for row in rows if row.get("loadavg") is not None] or [0.0]
    versions = dict.fromkeys(v for row in rows for v in (row.get("peers") or "").split("; ") if v)
    count = f"{options.threads} thread{'s' if options.threads != 1 else ''}"
    given = list(sys.argv[1:] if arguments is None else arguments)
    for flag in ("--output", "--chart"):  # where else the rows went is nobody's business
        if flag in given:
            del given[given.index(flag) : given.index(flag) + 2]
    words = " ".join(given)
    introduction = (
        f"Written by `python -m benchmarks {words}` on {machine()}; {count} for every library, all variants in turn; load of the "
        f"machine while it ran {min(loads):.1f} to {max(loads):.1f}. {', '.join(versions)}. Medians in milliseconds; \"times it\" is the best "
        "peer's time over ours. Memory is what a call needs beyond parameters and inputs, at its peak: for eager what NumPy "
        "and Python hold (tracemalloc); for compiled code that, and what its programs hold between calls, less the copies of weights "
        "that an inference keeps packed, which have a column of their own."
    )
    replace(options.write, f"Whole models, {count}", [introduction, "", *document(rows)])


def detail(row: dict[str, Any]) -> str:
    """The errors of an accuracy row, in words."""
    parts = [
        f"{label} {row[error]:.2e} at {row[where] or 'nowhere'}"
        for label, error, where in (
            ("compiled against eager", "error", "where"),
            ("against torch", "torch_error", "torch_where"),
        )
        if row.get(error) is not None
    ]
    if row.get("double_error") is not None:
        parts.append(f"from double precision {row['double_error']:.2e}, eager {row['eager_double_error']:.2e}")
    return ", ".join(parts)


def chosen(names: list[str], options: argparse.Namespace) -> list[str]:
    """The models that the flags ask for. Raises SystemExit for a name that there is not."""
    unknown = set(options.only or ()) - set(names)
    if unknown:
        raise SystemExit(f"there is no model {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return [
        name
        for name in names
        if (not options.only or name in options.only)
        and (not options.filter or any(re.search(pattern, name) for pattern in options.filter))
        and not any(re.search(pattern, name) for pattern in options.exclude or ())
    ]


def attempt(
    name: str, mode: str, libraries: list, options: argparse.Namespace, progress: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One row, and those of peers that cannot run the model; a failure becomes its status, and the run goes on."""
    from benchmarks import run

    row: dict[str, Any] = {"dev": "cpu", "name": name, "mode": mode, "backend": options.backend, "status": "ok"}
    try:
        work = run.accuracy if options.accuracy else run.performance
        return row, work(row, libraries, options, progress)
    except Exception as error:
        import traceback

        traceback.print_exc()
        text = str(error).strip().splitlines()
        row["status"] = f"{type(error).__name__}: {text[0][:120] if text else ''}"
    return row, []


if __name__ == "__main__":
    sys.exit(main())
