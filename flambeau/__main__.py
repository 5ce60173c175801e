"""`python -m flambeau run script.py ARGS`: a script that says `import torch`, run on flambeau; and `cache`, to look after compiled code."""

from __future__ import annotations

import argparse
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the result is the exit status."""
    parser = argparse.ArgumentParser("python -m flambeau", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a script, with flambeau in torch's place")
    run.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module's name, as in python -m")
    run.add_argument("script", metavar="SCRIPT")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    cache = commands.add_parser("cache", help="compiled kernels on disk")
    cache.add_argument("action", choices=("info", "ls", "clear"))
    commands.add_parser("version", help="the versions of flambeau and of the API that it follows")
    parsed = parser.parse_args(arguments)
    if parsed.command == "run":
        return run_script(parsed.script, parsed.arguments, parsed.module)
    if parsed.command == "cache":
        return cache_command(parsed.action)
    from flambeau.version import api, flambeau

    print(f"flambeau {flambeau}, with the API of torch {api}")
    return 0


def run_script(script: str, arguments: Sequence[str], module: bool = False) -> int:
    """Run a script, or a module by name, as `__main__` under the alias."""
    from flambeau.alias import alias

    if not module and not Path(script).exists():
        print(f"flambeau: there is no file {script}", file=sys.stderr)
        return 2
    sys.argv = [script, *arguments]
    sys.path[0] = "" if module else str(Path(script).resolve().parent)
    alias("torch").start()
    if module:
        runpy.run_module(script, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(script, run_name="__main__")
    return 0


def cache_command(action: str) -> int:
    """Show or clear the kernel cache."""
    from inductor.config import cache_folder

    folder = cache_folder()
    if folder is None:
        print("the cache is off (FLAMBEAU_CACHE_DIR=0)")
        return 0
    files = sorted(folder.glob("*.object")) if folder.is_dir() else []
    size = sum(file.stat().st_size for file in files)
    if action == "ls":
        for file in files:
            made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(file.stat().st_mtime))
            print(f"{file.stat().st_size:10}  {made}  {file.stem}")
    if action == "clear":
        for file in [*files, *(folder.glob(".*.part") if folder.is_dir() else ())]:
            file.unlink(missing_ok=True)
    verb = "removed from" if action == "clear" else "in"
    print(f"{len(files)} kernels, {size} bytes {verb} {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
