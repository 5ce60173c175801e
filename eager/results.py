"""Results with names: the tuples that operators with several outputs give, as torch.return_types."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def named(name: str, fields: str) -> Any:
    """A tuple type that prints as `torch.return_types.name(…)`."""
    kind: Any = namedtuple(name, fields)  # type: ignore[misc]

    def show(self: Any) -> str:
        parts = ",\n".join(f"{f}={v!r}" for f, v in zip(self._fields, self))
        return f"torch.return_types.{name}(\n{parts})"

    # in a file it is a plain tuple
    pickled = {"__repr__": show, "__reduce__": lambda self: (tuple, (tuple(self),))}
    return type(name, (kind,), {**pickled, "__slots__": (), "__module__": "torch.return_types"})
