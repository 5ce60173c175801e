"""The command `python -m tests.sweep`: sweep torch's operator database, print what fails and the summary, write the document."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--filter", default="", help="a regular expression over names")
    parser.add_argument("--family", default="", help="a family as the summary names them, such as linalg")
    parser.add_argument("--dtypes", default="float32,int64", help="default: float32,int64 (gradients are in float64)")
    parser.add_argument("--samples", type=int, default=20, help="samples of an entry and dtype at most")
    parser.add_argument("--errors", action="store_true", help="only what torch refuses")
    parser.add_argument("--gradients", action="store_true", help="only gradients")
    parser.add_argument("--values", action="store_true", help="only values, types, shapes, memory and forms")
    parser.add_argument("--seconds", type=int, default=120, help="time limit of one entry")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="every failure, not the first of each check")
    parser.add_argument("--write", metavar="FILE", help="write the table, such as docs/operators.md (a complete sweep only)")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    try:
        from tests.sweep.database import entries

        known = entries()
    except ImportError as error:
        print(f"the sweep needs torch 2.13 and expecttest: {error}", file=sys.stderr)
        return 2
    from tests.sweep import report, workers
    from tests.sweep.checks import Options
    from tests.sweep.database import family, skip_reason

    only = set(filter(None, options.only.split(",")))
    names = {
        label: op.name
        for label, op in known.items()
        if (not only or op.name in only or label in only)
        and re.search(options.filter, op.name)
        and (not options.family or family(op.name) == options.family)
    }
    everything = not (options.errors or options.gradients or options.values)
    limits = Options(
        dtypes=tuple(options.dtypes.split(",")) if everything or options.values else (),
        samples=options.samples,
        gradients=everything or options.gradients,
        errors=everything or options.errors,
        seconds=options.seconds,
    )
    complete = limits == Options(seconds=limits.seconds)
    labels = [label for label, name in names.items() if not skip_reason(name)]
    started, outcomes = time.time(), []
    for outcome in workers.run(labels, limits, options.jobs):
        outcomes.append(outcome)
        if sys.stderr.isatty():
            print(f"\r{len(outcomes)} of {len(labels)} {outcome.label:60.60}", end="", file=sys.stderr)
    table = report.rows(outcomes, names, complete)
    print(report.failures(table, options.verbose))
    for status in ("missing", "failed"):
        print(f"{status}:\n{report.grouped(table, status)}")
    print(report.summary(table), f"({time.time() - started:.0f} s)")
    if options.write:
        if not complete or len(names) != len(known):
            print("--write needs the complete sweep: no other options than -j and --seconds", file=sys.stderr)
            return 2
        Path(options.write).write_text(report.document(table, len(known), limits.samples))
    return any(row.status == "failed" for row in table)


if __name__ == "__main__":
    sys.exit(main())
