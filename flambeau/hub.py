"""torch.hub: weights from a URL into a folder, and from there through flambeau's own loader."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from eager.serialization import load
from flambeau.missing import lookup

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
_folder: list[str] = []


def _get_torch_home() -> str:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder for downloads."""
    return _folder[-1] if _folder else os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike) -> None:
    """Choose the folder for downloads."""
    _folder.append(os.path.expanduser(os.fspath(d)))


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Download a file, whole or not at all. Raises RuntimeError if its SHA-256 does not start with `hash_prefix`."""
    import hashlib
    import tempfile
    from urllib.request import Request, urlopen

    digest, target = hashlib.sha256(), Path(dst).expanduser()
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
        try:
            with urlopen(Request(url, headers={"User-Agent": "flambeau"})) as answer:
                while block := answer.read(1 << 20):
                    part.write(block)
                    digest.update(block)
            if hash_prefix and not digest.hexdigest().startswith(hash_prefix):
                raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")')
            part.close()
            os.replace(part.name, target)
        finally:
            if os.path.exists(part.name):
                os.remove(part.name)


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = True,
) -> Any:
    """The object in a `.pt` file at a URL, downloaded once. Raises as `load` and `download_url_to_file` do."""
    folder = Path(model_dir or os.path.join(get_dir(), "checkpoints"))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (file_name or Path(urlparse(url).path).name)
    if not target.exists():
        sys.stderr.write(f'Downloading: "{url}" to {target}\n')
        found = HASH_REGEX.search(target.name) if check_hash else None
        download_url_to_file(url, str(target), found.group(1) if found else None, progress)
    return load(target, map_location=map_location, weights_only=weights_only)


__getattr__ = lookup(__name__)
