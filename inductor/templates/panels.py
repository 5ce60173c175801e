"""Weights packed once for many matrix products: the order in which `gemm.py` reads the columns of B.

A problem says `packed=True`; `pack(problem)` is the kernel (B, packed) that packs,
`size(problem)` the number of elements it fills. Panels follow one another, each with all its k steps,
each step as wide as the tile; the last panel is only as wide as it must be.
"""

from __future__ import annotations

from dataclasses import replace

from llvmlite import ir

from inductor.templates.emit import Emitter
from inductor.templates.gemm import Gemm
from inductor.templates.problem import Problem, normalized
from inductor.templates.template import Template


class Panels(Gemm):
    """Writes the kernel that packs the B of a problem."""

    def template(self) -> Template:
        p = self.problem
        return Template(
            self.key(), "pack", self.write, self.panels, self.width * p.k / 4, oversplit=4
        )

    def key(self) -> str:
        """Everything the text depends on: equal keys, equal layouts."""
        p = self.problem
        return f"Panels {p.n} {p.k} {p.b} {p.dtype} {self.tile.vectors} {self.lanes}"

    def write(self) -> str:
        """The module's text."""
        self.module = ir.Module("pack")
        self.main = e = Emitter(self.module, "pack", dtype=self.problem.dtype)
        _, start, stop = e.arguments
        source, target = e.pointer(0), e.pointer(1)
        widths = [self.tile.vectors] * (self.full_panels > 0) + [self.tail] * (self.tail > 0)
        copies = {v: self.copy_columns(v) for v in widths}
        k = self.problem.k

        def pack(panel: ir.Value, vectors: int) -> None:
            place = e.at(target, e.multiply(panel, self.width * k))
            column = e.multiply(panel, self.width)
            e.call(copies[vectors], source, place, column, e.integer(0), e.integer(k))

        self._each_panel(e, start, stop, pack)
        e.finish()
        return str(self.module)

    def size(self) -> int:
        """Elements of the packed columns, with room for the vectors that end a panel."""
        columns = self.full_panels * self.width + self.tail * self.lanes
        return columns * self.problem.k + self.lanes * self.width


def pack(problem: Problem) -> Template:
    """The kernel (B, packed)."""
    return _panels(problem).template()


def size(problem: Problem) -> int:
    """Elements that `pack` fills."""
    return _panels(problem).size()


def _panels(problem: Problem) -> Panels:
    return Panels(replace(normalized(problem), packed=True))
