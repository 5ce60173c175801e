"""Devices: `cpu`, `cuda` and `meta` by name and index, as PyTorch writes them."""

from __future__ import annotations

from typing import Any

TYPES = ("cpu", "cuda", "meta")


class device:
    """A device, `device("cpu")` or `device("cuda", 0)`. Raises RuntimeError for names that flambeau
    does not know.
    """

    __slots__ = ("type", "index")

    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None):
        if isinstance(type, device):
            type, index = type.type, type.index
        if isinstance(type, int):
            type, index = "cuda", type
        if ":" in type:
            type, _, number = type.partition(":")
            if not number.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}:{number}'")
            index = int(number)
        if type not in TYPES:
            raise RuntimeError(
                f"Expected one of {', '.join(TYPES)} device type at start of device string: {type}"
            )
        self.type, self.index = type, index

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (
            f", index={self.index})" if self.index is not None else ")"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self):
        return (device, (self.type, self.index))

    def __enter__(self) -> device:
        check(self)
        return self

    def __exit__(self, *error: object) -> None:
        return None


CPU = device("cpu")
META = device("meta")


def check(place: device | str | int | None) -> device:
    """The device that is meant; raises RuntimeError if this installation cannot compute there."""
    if place is None:
        return CPU
    found = place if isinstance(place, device) else device(place)
    if found.type == "cuda":
        raise RuntimeError(
            "flambeau computes on the CPU here: no CUDA device is available (use device='cpu')"
        )
    return found
