"""The two compressed tables of a code object: exception table and location table.

Both are sequences of variable-length integers (`Objects/exception_handling_notes.txt` and
`Objects/locations.md` in CPython). Offsets here are in code units of two bytes. Promise: what
`encode_exceptions` and `encode_locations` write, CPython reads back unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Handler(NamedTuple):
    """One row of an exception table: `[start, stop)` is handled at `target`."""

    start: int
    stop: int
    target: int
    depth: int
    lasti: bool


class Location(NamedTuple):
    """Where code units come from; a `line` of None means no location at all."""

    line: int | None
    end_line: int | None = None
    column: int | None = None
    end_column: int | None = None


def decode_exceptions(table: bytes) -> list[Handler]:
    """Read an exception table."""
    numbers = _exception_numbers(table)
    handlers = []
    for start in numbers:
        length, target, depth_lasti = next(numbers), next(numbers), next(numbers)
        depth, lasti = depth_lasti >> 1, bool(depth_lasti & 1)
        handlers.append(Handler(start, start + length, target, depth, lasti))
    return handlers


def _exception_numbers(table: bytes) -> Iterator[int]:
    value = 0
    for byte in table:
        value = value << 6 | byte & 63
        if not byte & 64:
            yield value
            value = 0


def encode_exceptions(handlers: Iterable[Handler]) -> bytes:
    """Write an exception table; `handlers` must be sorted and must not overlap."""
    out = bytearray()
    for handler in handlers:
        first = len(out)
        _put_exception_number(out, handler.start)
        out[first] |= 128
        _put_exception_number(out, handler.stop - handler.start)
        _put_exception_number(out, handler.target)
        _put_exception_number(out, handler.depth << 1 | handler.lasti)
    return bytes(out)


def _put_exception_number(out: bytearray, value: int) -> None:
    """Most significant six bits first; bit 6 says that more follow."""
    groups = [value & 63]
    while value := value >> 6:
        groups.append(value & 63 | 64)
    out.extend(reversed(groups))


def encode_locations(spans: Iterable[tuple[int, Location]], first_line: int) -> bytes:
    """Write a location table for consecutive spans of `(code units, location)`."""
    out = bytearray()
    line = first_line
    for units, location in spans:
        while units > 0:
            line = _put_location(out, min(units, 8), location, line)
            units -= 8
    return bytes(out)


def _put_location(out: bytearray, units: int, location: Location, previous: int) -> int:
    """Append one entry and return the line that the next entry counts from."""
    line, end_line, column, end_column = location
    if line is None:
        out.append(0x80 | 15 << 3 | units - 1)
        return previous
    delta = line - previous
    if column is None or end_column is None or end_line is None:
        out.append(0x80 | 13 << 3 | units - 1)
        _put_signed(out, delta)
        return line
    if end_line == line and column < 80 and 0 <= end_column - column < 16 and delta == 0:
        out.append(0x80 | column >> 3 << 3 | units - 1)
        out.append((column & 7) << 4 | end_column - column)
        return line
    if end_line == line and 0 <= delta <= 2 and column < 128 and end_column < 128:
        out.append(0x80 | 10 + delta << 3 | units - 1)
        out += bytes((column, end_column))
        return line
    out.append(0x80 | 14 << 3 | units - 1)
    _put_signed(out, delta)
    _put_unsigned(out, end_line - line)
    _put_unsigned(out, column + 1)
    _put_unsigned(out, end_column + 1)
    return line


def _put_unsigned(out: bytearray, value: int) -> None:
    """Least significant six bits first; bit 6 says that more follow."""
    while value >= 64:
        out.append(value & 63 | 64)
        value >>= 6
    out.append(value)


def _put_signed(out: bytearray, value: int) -> None:
    _put_unsigned(out, -value << 1 | 1 if value < 0 else value << 1)
