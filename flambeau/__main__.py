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
    cache.add_argument("action", choices=("info", "ls", "why-miss", "clear"))
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
    home = str(Path(__file__).resolve().parents[1])
    sys.path[0] = "" if module else str(Path(script).resolve().parent)
    if home not in sys.path:  # run from a checkout that is not installed
        sys.path.append(home)
    alias("torch").start()
    if module:
        runpy.run_module(script, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(script, run_name="__main__")
    return 0


def cache_command(action: str) -> int:
    """Show or clear the kernel cache, or say why what is in it would not be found."""
    from inductor.config import cache_folder

    folder = cache_folder()
    if folder is None:
        print("the cache is off (FLAMBEAU_CACHE_DIR=0)")
        return 0
    if action == "clear":
        return _clear(folder)
    from inductor.cache import Cache

    entries = Cache(folder).describe() if folder.is_dir() else []
    size = sum(entry[1] for entry in entries)
    if action == "ls":
        for key, length, written, about in entries:
            made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(written))
            print(f"{length:10}  {made}  {about.get('kind', ''):8}  {key}")
    if action == "why-miss":
        for reason, count in _misses(entries).items():
            print(f"{count:6} {reason}")
    print(f"{len(entries)} kernels, {size} bytes in {folder}")
    return 0


def _clear(folder: Path) -> int:
    files = list(folder.glob("*.object")) if folder.is_dir() else []
    size = sum(file.stat().st_size for file in files)
    for file in [*files, *(folder.glob(".*.part") if folder.is_dir() else ())]:
        file.unlink(missing_ok=True)
    print(f"{len(files)} kernels, {size} bytes removed from {folder}")
    return 0


def _misses(entries: list) -> dict[str, int]:
    """How many entries this flambeau on this machine can find, and what hides each of the others."""
    from inductor.codegen import build
    from inductor.templates import template

    of_templates = build.about(template.digest())
    now = {
        "kernel": build.about(build._library_digest()), "template": of_templates,
        "tuning": of_templates,
    }
    found: dict[str, int] = {}
    for *_, about in entries:
        wanted = now.get(about.get("kind", ""))
        if wanted is None:
            reason = "are of an older flambeau, which did not say what they depend on"
        else:
            changes = [
                "the sources of flambeau's compiler or math library" if name == "flambeau"
                else f"{name} ({about.get(name)}, now {value})"
                for name, value in wanted.items()
                if about.get(name) != value
            ]
            reason = f"cannot be found: {' and '.join(changes)} changed" if changes else (
                "can be found; a program that compiles anew has another graph, other shapes or dtypes"
            )
        found[reason] = found.get(reason, 0) + 1
    return found


if __name__ == "__main__":
    sys.exit(main())
