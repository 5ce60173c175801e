"""torch.multiprocessing: Python's own. Tensors travel between processes as copies."""

from __future__ import annotations

import multiprocessing as _multiprocessing
from multiprocessing import *

from flambeau.missing import lookup

_sharing = ["file_system"]


def get_all_sharing_strategies() -> set[str]:
    return {"file_system", "file_descriptor"}


def get_sharing_strategy() -> str:
    return _sharing[0]


def set_sharing_strategy(new_strategy: str) -> None:
    """Remembered; tensors are copied between processes either way. Raises AssertionError for an unknown one."""
    assert new_strategy in get_all_sharing_strategies()
    _sharing[0] = new_strategy


__getattr__ = lookup(__name__, _multiprocessing)
