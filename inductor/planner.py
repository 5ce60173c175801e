"""How the loops of one group are nested: what is innermost, what is merged, what runs in parallel.

The innermost variable is the one over which most memory is contiguous. If it is reduced, each row is a
result; if not, results are accumulated side by side, a block of them at a time. Transpositions go tile by
tile, scatters are parallel only where no two writes can meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inductor.codegen.kernel import Plan, product
from inductor.index import Index, Variable, symbol
from inductor.loops import Buffer, Inspection

if TYPE_CHECKING:
    from inductor.scheduler import Group


SHORT = 8
"""Elements below which an innermost loop is not worth vectors."""
TILE = 64
"""Elements of a side of a tile, at most, where memory is read crosswise."""
PAGES = 512
"""Of a side of a block of tiles: as many pages are visited in turn."""


class Planner:
    """Chooses the order of a group's loops: which variable is innermost, what is merged, what runs
    in parallel.
    """

    def __init__(self, group: Group, stores: set[Buffer]):
        self.group, self.stores = group, stores
        self.crossed = False
        self.accesses: list[tuple[Index, int]] = []
        self.indices: list[Index] = []
        for member in group.members:
            inspection = member.loop.inspect()
            for read in inspection.reads.values():
                self.accesses.append((read.index.substitute(member.at), read.buffer.size))
            if not member.loop.scatter:
                self.accesses.append((member.write, member.loop.target.size))
            self.indices.extend(i.substitute(member.at) for i in inspection.all_indices())
            self.indices.append(member.write)

    def plan(self) -> Plan:
        group = self.group
        results, reduced = list(group.results), list(group.reduced)
        lane = self._lane(results + reduced)
        results, reduced = self._sorted(results, lane), self._sorted(reduced, lane)
        results, reduced = self._merged(results), self._merged(reduced)
        if group.members[0].loop.scatter:
            outer, inner = self._scattered(results)
        elif not reduced:
            outer, inner = self._pointwise(results)
        elif lane is not None and lane not in group.results:
            outer, inner = results, reduced
        else:
            outer, inner = self._columns(results, reduced)
        return self._named(outer, inner, reduced)

    def _lane(self, variables: list[Variable]) -> Variable | None:
        """The variable over which most memory is contiguous."""
        best, winner = 0.0, None
        for v in variables:
            score = 0.0
            for index, size in self.accesses:
                step = index.stride(v)
                if step == 1:
                    score += size * min(v.size, 16) / 16
                elif step:
                    score -= 0.1 * size
            if winner is None or score > best:
                best, winner = score, v
        return winner

    def _sorted(self, variables: list[Variable], lane: Variable | None) -> list[Variable]:
        """By the strides of the accesses, the largest first; `lane` last."""

        def weight(v: Variable) -> tuple:
            steps = sum(abs(i.stride(v) or 0) * size for i, size in self.accesses)
            return (v is lane, -steps)

        return sorted(variables, key=weight)

    def _merged(self, variables: list[Variable]) -> list[Variable]:
        """Neighbours become one where every index sees them as one."""
        result: list[Variable] = []
        for v in variables:
            if result and self._mergeable(result[-1], v):
                outer = result.pop()
                v = self._merge(outer, v)
            result.append(v)
        return result

    def _mergeable(self, outer: Variable, inner: Variable) -> bool:
        for index in self.indices:
            a, b = index.stride(outer), index.stride(inner)
            if a is None or b is None or a != b * inner.size:
                return False
        return True

    def _merge(self, outer: Variable, inner: Variable) -> Variable:
        merged = Variable(f"{outer.name}_{inner.name}", outer.size * inner.size)
        whole = symbol(merged)
        self._replace({outer: whole // inner.size, inner: whole % inner.size})
        return merged

    def _replace(self, mapping: dict[Any, Index]) -> None:
        for member in self.group.members:
            member.at = {v: i.substitute(mapping) for v, i in member.at.items()}
        self.indices = [i.substitute(mapping) for i in self.indices]

    def _pointwise(self, results: list[Variable]) -> tuple[list[Variable], list[Variable]]:
        if len(results) <= 1:
            return results, []
        other = self._crosswise(results)
        if other is None:
            # a short innermost loop is unrolled, and the one around it runs in vectors
            count = 2 if results[-1].size < SHORT <= results[-2].size <= 1024 else 1
            return results[:-count], results[-count:]
        # a transposition goes tile by tile, so that both sides use whole cache lines
        self.crossed = True
        lane = results[-1]
        writes = [m.write for m in self.group.members]
        if sum(w.stride(other) == 1 for w in writes) > sum(w.stride(lane) == 1 for w in writes):
            other, lane = lane, other  # what is read can be turned on the way
        outer = [v for v in results if v not in (other, lane)]
        parts = [self._cut(v) for v in (other, lane)]
        # blocks of tiles, of which both sides' pages are known to the processor
        return [*outer, *(p[0] for p in parts), *(p[1] for p in parts)], [p[2] for p in parts]

    def _cut(self, v: Variable) -> tuple[Variable, Variable, Variable]:
        """A variable as blocks, of tiles, of a piece that is a side of a tile."""
        width = max(d for d in range(1, TILE + 1) if v.size % d == 0)
        count = max(d for d in range(1, PAGES // width + 1) if v.size // width % d == 0)
        block = Variable(f"{v.name}o", v.size // width // count)
        tile, piece = Variable(f"{v.name}t", count), Variable(f"{v.name}i", width)
        self._replace({v: (symbol(block) * count + symbol(tile)) * width + symbol(piece)})
        return block, tile, piece

    def _crosswise(self, results: list[Variable]) -> Variable | None:
        """A variable over which something large is contiguous that the innermost one strides through."""
        lane = results[-1]
        for v in results[:-1]:
            crossed = sum(i.stride(v) == 1 and abs(i.stride(lane) or 0) >= 16 for i in self.indices)
            divisible = v.size % 4 == 0 and lane.size % 8 == 0
            if crossed and divisible and v.size * lane.size >= 1024:
                return v
        return None

    def _scattered(self, results: list[Variable]) -> tuple[list[Variable], list[Variable]]:
        """Parallel only over variables that are coordinates of the target themselves: no two points
        meet.
        """
        member = self.group.members[0]
        loop = member.loop
        found = Inspection()
        assert loop.place is not None
        places = loop.place(found, tuple(c.substitute(member.at) for c in loop.coordinates))
        safe = []
        for v in results:
            own = [p for p in places if v in p.variables()]
            if len(own) == 1 and own[0].is_affine() and not _hides(places, v):
                safe.append(v)
        outer = [v for v in results if v in safe]
        inner = [v for v in results if v not in safe]
        if outer and results and outer[-1] is results[-1] and inner:
            lane = outer.pop()
            fits = [d for d in range(1, lane.size + 1) if lane.size % d == 0 and d <= 512]
            good = [d for d in fits if lane.size // d >= 4 and d >= 16] or fits
            width = lane.size if outer and product(outer) >= 4 and lane.size <= 512 else max(good)
            if width == lane.size:
                return outer, [*inner, lane]
            block = Variable(f"{lane.name}o", lane.size // width)
            piece = Variable(f"{lane.name}i", width)
            self._replace({lane: symbol(block) * width + symbol(piece)})
            return [*outer, block], [*inner, piece]
        return outer, inner

    def _columns(
        self, results: list[Variable], reduced: list[Variable]
    ) -> tuple[list[Variable], list[Variable]]:
        """Results vary fastest in memory: blocks of them are accumulated side by side."""
        if not results:
            return [], reduced
        lane, rows = results[-1], product(results[:-1])
        size = lane.size
        fits = [d for d in range(1, min(size, 512) + 1) if size % d == 0]
        good = [d for d in fits if rows * (size // d) >= 4 and d >= 16] or \
            [d for d in fits if d >= 64] or fits
        width = max(good)
        if width == size:
            return results[:-1], [*reduced, lane]
        outer = Variable(f"{lane.name}o", size // width)
        inner = Variable(f"{lane.name}i", width)
        self._replace({lane: symbol(outer) * width + symbol(inner)})
        return [*results[:-1], outer], [*reduced, inner]

    def _named(
        self, outer: list[Variable], inner: list[Variable], reduced: list[Variable]
    ) -> Plan:
        """Names by position, so that equal kernels have equal text."""
        names: dict[Variable, Variable] = {}
        for k, v in enumerate(outer):
            names[v] = Variable(f"i{k}", v.size)
        for v in inner:
            letter = "r" if v in reduced else "j"
            names[v] = Variable(f"{letter}{len(names) - len(outer)}", v.size)
        self._replace({v: symbol(new) for v, new in names.items()})
        return Plan(
            self.group.members, tuple(names[v] for v in outer), tuple(names[v] for v in inner),
            frozenset(names[v] for v in reduced if v in names), self.stores, self.crossed,
        )


def _hides(places: Sequence[Index], variable: Variable) -> bool:
    """Whether a place is a division or remainder of the variable: then two points may meet."""
    return any(p.stride(variable) is None for p in places)
