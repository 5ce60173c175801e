"""A product of matrices, as its kernel must know it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from inductor.templates.tile import Tile

ITEMSIZE = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class Problem:
    """Sizes and element strides; `batch` holds (size, stride of A, of B, of C) per batch dimension.

    `accumulate` adds to C instead of overwriting it. `packed` says that B comes as `panels.py` lays
    it out; its strides are then what they were before. `tile` stands in for the one that rules choose.
    """

    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    c: tuple[int, int]
    batch: tuple[tuple[int, int, int, int], ...] = ()
    accumulate: bool = False
    dtype: str = "float32"
    packed: bool = False
    tile: Tile | None = None

    @property
    def count(self) -> int:
        """The number of products."""
        return math.prod(size for size, *_ in self.batch)


def normalized(problem: Problem) -> Problem:
    """Strides of dimensions of size one do not matter: make them convenient."""

    def tidy(strides: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
        if columns <= 1:
            return strides[0], 1
        if rows <= 1 and strides[1] != 1:
            return 1, strides[1]
        return strides

    p = problem
    return replace(p, a=tidy(p.a, p.m, p.k), b=tidy(p.b, p.k, p.n), c=tidy(p.c, p.m, p.n))
