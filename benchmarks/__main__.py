"""`python -m benchmarks`: models compiled against eager, with torch as a peer in the same run.

The flags and the columns follow PyTorch's dynamo runner. Threads are set before NumPy is imported, equally for every library.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


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
    made.add_argument("--chart", type=Path, metavar="FILE.png|svg", help="draw the rows here (needs matplotlib)")
    made.add_argument("--peer", choices=("torch",), help="run torch eager and torch.compile beside flambeau")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a model failed."""
    options = parser().parse_args(arguments)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    from benchmarks import case
    from benchmarks.report import ACCURACY_COLUMNS, COLUMNS, Progress, Rows, geometric_mean, table

    names = chosen(case.names(), options)
    if options.list or not names:
        print("\n".join(names) or "no model matches")
        return 0 if names else 2
    modes = [mode for mode in ("inference", "training") if getattr(options, mode)] or ["inference"]
    libraries = [case.Library("flambeau", options.threads)]
    if options.peer:
        libraries.append(case.Library("torch", options.threads))
    rows = Rows(options.output, ACCURACY_COLUMNS if options.accuracy else COLUMNS)
    progress = Progress(len(names) * len(modes))
    for mode in modes:
        for name in names:
            row = attempt(name, mode, libraries, options, progress)
            rows.add(row)
            progress.finish(f"{name} {mode}: {row['status']}")
    print()
    if options.accuracy:
        for row in rows.rows:
            print(f"{row['name']:>10} {row['mode']:>9}: {row.get('accuracy', row['status'])}  {detail(row)}")
    else:
        print(table(rows.rows))
        speedups = [row["speedup"] for row in rows.rows if row.get("speedup")]
        print(f"\nspeedup over flambeau eager, geometric mean: {geometric_mean(speedups):.2f}x of {len(speedups)}")
        if options.chart:
            from benchmarks.chart import draw

            draw(rows.rows, options.chart)
    return 0 if all(row["status"] == "ok" for row in rows.rows) else 1


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


def attempt(name: str, mode: str, libraries: list, options: argparse.Namespace, progress: Any) -> dict[str, Any]:
    """One row; a failure becomes its status, and the run goes on."""
    from benchmarks import run

    row: dict[str, Any] = {"dev": "cpu", "name": name, "mode": mode, "backend": options.backend, "status": "ok"}
    try:
        work = run.accuracy if options.accuracy else run.performance
        work(row, libraries, options, progress)
    except Exception as error:
        import traceback

        traceback.print_exc()
        text = str(error).strip().splitlines()
        row["status"] = f"{type(error).__name__}: {text[0][:120] if text else ''}"
    return row


if __name__ == "__main__":
    sys.exit(main())
