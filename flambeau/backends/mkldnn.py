"""torch.backends.mkldnn: not part of flambeau; the switches can be set and mean nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flambeau.missing import lookup

enabled = False
deterministic = False
benchmark = False
allow_tf32 = False


def is_available() -> bool:
    return False


def version() -> None:
    return None


@contextmanager
def flags(**switches: Any) -> Iterator[None]:
    """Nothing to switch."""
    yield


__getattr__ = lookup(__name__)
