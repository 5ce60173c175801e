"""Tiles of a matrix product: which part of the result is kept in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Rows and vectors of columns of C that are kept in registers."""

    rows: int
    vectors: int


def highest_tile(vectors: int, lanes: int, registers: int) -> int:
    """Rows of the tallest tile of a width: beside it a line of B and an element of A are in registers."""
    return min(lanes, (registers - 1 - vectors) // vectors)


def even_rows(m: int, highest: int) -> int:
    """Rows of tiles that are as even as they go."""
    return -(-m // -(-m // highest))


def choose_tile(m: int, n: int, lanes: int, registers: int) -> Tile:
    """The tile that covers C in the fewest cycles per k step.

    Bounds are two FMA ports, two load ports, the latency of an FMA, and the second cache level, from
    which the columns stream at a third of a vector per cycle. Tiles of one height and without a narrower
    last panel are preferred: they are as fast, and half the code.
    """

    def cycles(rows: int, vectors: int) -> float:
        return max(rows * vectors / 2, (rows + vectors) / 2, 3.3 * vectors, 4.0)

    best, winner = math.inf, Tile(1, 1)
    for vectors in (2, 3, 4, 1):
        highest = highest_tile(vectors, lanes, registers)
        if highest < 1 or (vectors > 1 and (vectors - 1) * lanes >= n):
            continue
        for limit in range(highest, highest // 2, -1):
            tiles = -(-m // limit)
            rows = -(-m // tiles)
            whole, rest = divmod(-(-n // lanes), vectors)
            time = tiles * (whole * cycles(rows, vectors) + (cycles(rows, rest) if rest else 0))
            time *= 1 + 0.05 * (m % tiles > 0) + 0.02 * (rest > 0) + 0.2 * (1 / rows + 1 / vectors)
            if time < best:
                best, winner = time, Tile(rows, vectors)
    return winner


def possible_tiles(m: int, n: int, lanes: int, registers: int) -> list[Tile]:
    """The tallest tile of every width, as even as it goes: what may be worth timing."""
    found = []
    for vectors in (1, 2, 3, 4):
        highest = highest_tile(vectors, lanes, registers)
        if highest >= 1 and (vectors == 1 or (vectors - 1) * lanes < n):
            found.append(Tile(even_rows(m, highest), vectors))
    return found


def packed_tile(m: int, n: int, lanes: int, registers: int) -> Tile:
    """The tile for columns that come packed: as wide for every m, so that products share a copy."""
    vectors = choose_tile(1 << 10, n, lanes, registers).vectors
    return Tile(even_rows(m, max(1, highest_tile(vectors, lanes, registers))), vectors)
