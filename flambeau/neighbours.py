"""The check at import: the five packages with plain names are the roof's own neighbours, not others that shadow them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGES = ("eager", "fx", "aot", "inductor", "dynamo")


def check(packages: tuple[str, ...] = PACKAGES) -> None:
    """Raises ImportError, naming the file, if a package would be imported from elsewhere."""
    home = Path(__file__).resolve().parent.parent
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ImportError(f"flambeau's package {name!r} is missing beside {home / 'flambeau'}: install flambeau again")
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
        if not any(home / name in (Path(place).resolve(), *Path(place).resolve().parents) for place in places):
            raise ImportError(
                f"flambeau needs its own package {name!r} from {home}, but {places[0] if places else '?'} shadows it: "
                "rename that file or folder, or take it off sys.path"
            )
