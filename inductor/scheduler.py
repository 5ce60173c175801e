"""Which loops share a kernel, and in what order kernels and other steps run.

Operations are visited in an order in which dependencies come first; each loop joins the group with
which it shares the most memory, if it can: its variables must correspond one to one to the group's
(found by comparing the strides of an access that both make, splitting variables where one loop sees
one dimension and the other two), everything that it reads from the group must be what the same
point of the group has just computed, and no path through other operations may lead from the group
to it. A group with reductions has two classes of variables, those of the results and those that are
reduced; softmax, layer_norm and their like become one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inductor.codegen.kernel import Member, Plan, product
from inductor.index import ZERO, Index, Variable, split_points, symbol
from inductor.loops import ITEMSIZE, Buffer, Loop
from inductor.planner import Planner

LARGEST_GROUP = 48
MOST_BUFFERS = 64
LARGE = 1 << 20
"""Bytes of a result from which on it counts how long it lies in memory."""


@dataclass(eq=False)
class Group:
    """Loops that become one kernel, in the group's variables."""

    number: int
    members: list[Member] = field(default_factory=list)
    results: list[Variable] = field(default_factory=list)
    reduced: list[Variable] = field(default_factory=list)
    operation: Any = None

    @property
    def variables(self) -> list[Variable]:
        return self.results + self.reduced

    @property
    def loops(self) -> list[Loop]:
        return [m.loop for m in self.members]

    def replace(self, mapping: dict[Any, Index], renewed: dict[Variable, list[Variable]]) -> None:
        """Express the members in other variables."""
        for member in self.members:
            member.at = {v: i.substitute(mapping) for v, i in member.at.items()}
        for name in ("results", "reduced"):
            old = getattr(self, name)
            setattr(self, name, [new for v in old for new in renewed.get(v, [v])])


def reads_of(operation: Any) -> list[Buffer]:
    if isinstance(operation, Loop):
        found = {id(r.buffer): r.buffer for r in operation.inspect().reads.values()}
        if operation.scatter:
            found[id(operation.target)] = operation.target
        return list(found.values())
    return operation.inputs


def writes_of(operation: Any) -> list[Buffer]:
    return [operation.target] if isinstance(operation, Loop) else operation.outputs


def simplify(loop: Loop) -> None:
    """Drop dimensions of size one, and split those whose splitting removes a division or remainder.
    """
    ones = {v: ZERO for v in (*loop.dims, *loop.reduced) if v.size == 1}
    if ones:
        loop.replace(ones, {v: () for v in ones})
    for _ in range(12):
        indices = loop.inspect().all_indices()
        for v in (*loop.dims, *loop.reduced):
            factor = split_points(indices, v)
            if factor is not None:
                loop.split(v, factor)
                break
        else:
            return


def live_operations(operations: Sequence[Any], results: Iterable[Buffer]) -> list[Any]:
    """Operations that something needs, each after what it reads: what gives results in the order in
    which it was emitted, all else right before its first reader. The gradient of a weight is then
    next to that of what the weight was multiplied with, and neither waits for the other in memory.
    """
    wanted = set(results)
    writers: dict[Buffer, list[Any]] = {}
    for operation in operations:
        for buffer in writes_of(operation):
            writers.setdefault(buffer, []).append(operation)
    order: list[Any] = []
    state: dict[int, int] = {}
    stack = [(o, False) for o in reversed(operations) if not wanted.isdisjoint(writes_of(o))]
    while stack:
        operation, entered = stack.pop()
        if entered:
            if state[id(operation)] == 1:
                state[id(operation)] = 2
                order.append(operation)
            continue
        if id(operation) in state:
            continue
        state[id(operation)] = 1
        stack.append((operation, True))
        for buffer in reads_of(operation):
            stack.extend((op, False) for op in writers.get(buffer, ()) if op is not operation)
        for buffer in writes_of(operation):
            # of several writers of a buffer, earlier ones first
            for other in writers[buffer]:
                if other is operation:
                    break
                stack.append((other, False))
    return order


class Scheduler:
    """Groups the operations of one graph; `groups` in an order in which they can run."""

    def __init__(self, operations: Sequence[Any], results: Iterable[Buffer]):
        self.results = set(results)
        self.groups: list[Group] = []
        self.depends: list[int] = []  # all that a group needs, as bits
        self.direct: list[set[int]] = []
        self.owner: dict[Buffer, list[Group]] = {}
        self.readers: dict[Buffer, list[Group]] = {}
        for operation in live_operations(operations, self.results):
            if isinstance(operation, Loop):
                simplify(operation)
            self._place(operation)

    # -- placing
    # ------------------------------------------------------------------------------------

    def _place(self, operation: Any) -> None:
        needed = [g for b in reads_of(operation) for g in self.owner.get(b, ())]
        needed += [g for b in writes_of(operation) for g in self.owner.get(b, ())]
        fusible = isinstance(operation, Loop) and not operation.scatter
        group = self._join(operation, needed) if fusible else None
        if group is None:
            group = self._alone(operation)
        bits = 0
        for other in needed:
            if other is not group:
                bits |= 1 << other.number | self.depends[other.number]
                self.direct[group.number].add(other.number)
        self.depends[group.number] |= bits
        mark = 1 << group.number
        for number, known in enumerate(self.depends):
            if known & mark:
                self.depends[number] |= bits
        for buffer in writes_of(operation):
            self.owner.setdefault(buffer, []).append(group)
        for buffer in reads_of(operation):
            self.readers.setdefault(buffer, []).append(group)

    def _alone(self, operation: Any) -> Group:
        group = Group(len(self.groups), operation=operation)
        self.groups.append(group)
        self.depends.append(0)
        self.direct.append(set())
        if isinstance(operation, Loop):
            self._add_first(group, operation)
        return group

    def _add_first(self, group: Group, loop: Loop) -> None:
        mapping = {}
        for v in (*loop.dims, *loop.reduced):
            mapping[v] = self._fresh(v.size)
        group.results = [mapping[v] for v in loop.dims]
        group.reduced = [mapping[v] for v in loop.reduced]
        group.members.append(Member(loop, {v: symbol(new) for v, new in mapping.items()}))

    def _fresh(self, size: int) -> Variable:
        self._counter = getattr(self, "_counter", 0) + 1
        return Variable(f"v{self._counter}", size)

    def _join(self, loop: Loop, needed: list[Group]) -> Group | None:
        """The best group that the loop may join, joined; or None."""
        scores: dict[int, int] = {}
        for read in loop.inspect().reads.values():
            size = min(read.buffer.size * ITEMSIZE[read.buffer.dtype], 1 << 30)
            for group in self.owner.get(read.buffer, ()):
                scores[group.number] = scores.get(group.number, 0) + 2 * size
            for group in self.readers.get(read.buffer, ()):
                scores[group.number] = scores.get(group.number, 0) + size
        for number in sorted(scores, key=lambda n: (-scores[n], -n))[:8]:
            group = self.groups[number]
            if not group.members or group.members[0].loop.scatter:
                continue
            if self._path_around(group, needed):
                continue
            if len(group.members) >= LARGEST_GROUP or loop.target in self._touched(group):
                continue
            if len(self._touched(group)) >= MOST_BUFFERS:
                continue
            if self._swells(group, loop):
                continue
            if Fusion(self, group, loop).attempt():
                return group
        return None

    def _swells(self, group: Group, loop: Loop) -> bool:
        """Whether the loop's result would lie in memory over other work, and is larger than what
        lies there for the loop otherwise: of a gradient that expands what it needs, with the forward half.
        """
        written = product(loop.dims) * ITEMSIZE[loop.target.dtype]
        if written < LARGE or all(g.members for g in self.groups[group.number :]):
            return False
        read = {r.buffer for r in loop.inspect().reads.values() if r.buffer.kind == "temporary"}
        return written > sum(buffer.bytes for buffer in read)

    def _touched(self, group: Group) -> set[Buffer]:
        found = {b for m in group.members for b in reads_of(m.loop)}
        return found | {m.loop.target for m in group.members}

    def _path_around(self, group: Group, needed: list[Group]) -> bool:
        mark = 1 << group.number
        return any(g is not group and self.depends[g.number] & mark for g in needed)

    # -- results
    # ------------------------------------------------------------------------------------

    def ordered(self) -> list[Group]:
        """The groups, each after those that it depends on and otherwise as late as may be: what
        gives results in the order in which that was asked for, all else right before its first
        reader, so that values live briefly.
        """
        order: list[Group] = []
        state = [0] * len(self.groups)  # 1: its dependencies are under way, 2: done
        roots = [g for g in self.groups if any(b in self.results for b in self._written(g))]
        stack = [g for g in reversed([*roots, *self.groups])]
        while stack:
            group = stack[-1]
            if state[group.number]:
                stack.pop()
                if state[group.number] == 1:
                    state[group.number] = 2
                    order.append(group)
                continue
            state[group.number] = 1
            # what itself needs nothing can be made last; the stack turns the order round
            needed = sorted(self.direct[group.number], key=lambda n: (bool(self.direct[n]), -n))
            if any(state[number] == 1 for number in needed):
                raise RuntimeError("the scheduler made a cycle of kernels")
            stack.extend(self.groups[number] for number in needed if not state[number])
        return order

    def _written(self, group: Group) -> list[Buffer]:
        operations = group.loops if group.members else [group.operation]
        return [b for operation in operations for b in writes_of(operation)]

    def plan(self, group: Group) -> Plan:
        """The kernel of a group."""
        stores = set()
        for member in group.members:
            target = member.loop.target
            outside = [g for g in self.readers.get(target, ()) if g is not group]
            if target in self.results or outside:
                stores.add(target)
        return Planner(group, stores).plan()


class Fusion:
    """One attempt to put a loop into a group."""

    def __init__(self, scheduler: Scheduler, group: Group, loop: Loop):
        self.scheduler, self.group, self.loop = scheduler, group, loop
        # pieces into which variables are split, outermost first
        self.group_pieces: dict[Variable, list[Variable]] = {v: [v] for v in group.variables}
        self.loop_pieces: dict[Variable, list[Variable]] = {
            v: [v] for v in (*loop.dims, *loop.reduced)
        }
        self.pairs: dict[Variable, Variable] = {}  # a piece of the loop -> a piece of the group
        self.used: set[Variable] = set()

    def attempt(self) -> bool:
        if not self._match_accesses() or not self._match_rest():
            return False
        classes = self._classes()
        if classes is None:
            return False
        mapping = self._mapping()
        if not self._consistent(mapping) or not self._worthwhile(classes):
            return False
        self._commit(mapping, classes)
        return True

    # -- correspondence
    # -----------------------------------------------------------------------------

    def _match_accesses(self) -> bool:
        """Pair variables by the accesses that both make; False if they contradict each other."""
        produced = {m.loop.target: m.write for m in self.group.members}
        shared: dict[Buffer, list[Index]] = {b: [w] for b, w in produced.items()}
        for member in self.group.members:
            for read in member.loop.inspect().reads.values():
                if read.buffer not in produced:
                    index = read.index.substitute(member.at)
                    shared.setdefault(read.buffer, []).append(index)
        reads = sorted(
            self.loop.inspect().reads.values(),
            key=lambda r: (r.buffer not in produced, -r.buffer.size),
        )
        for read in reads:
            if read.buffer not in shared:
                continue
            must = read.buffer in produced
            if not any(self._match(index, read.index) for index in shared[read.buffer]) and must:
                return False
        return True

    def _match(self, ours: Index, theirs: Index) -> bool:
        """Pair pieces by stride; undoes itself where the two accesses do not correspond."""
        if not ours.is_affine() or not theirs.is_affine() or ours.constant != theirs.constant:
            return False
        saved = (
            {v: list(p) for v, p in self.group_pieces.items()},
            {v: list(p) for v, p in self.loop_pieces.items()},
            dict(self.pairs), set(self.used),
        )
        left = self._strides(ours, self.group_pieces)
        right = self._strides(theirs, self.loop_pieces)
        while left and right:
            (a_step, a), (b_step, b) = left.pop(), right.pop()
            if a_step != b_step:
                break
            if a.size > b.size and a.size % b.size == 0:
                outer, a = self._split(self.group_pieces, a, b.size)
                left.append((a_step * b.size, outer))
            elif b.size > a.size and b.size % a.size == 0:
                outer, b = self._split(self.loop_pieces, b, a.size)
                right.append((b_step * a.size, outer))
            if a.size != b.size or self.pairs.get(b, a) != a or (a in self.used) != (b in self.pairs):
                break
            self.pairs[b] = a
            self.used.add(a)
        else:
            if not left and not right:
                return True
        self.group_pieces, self.loop_pieces, self.pairs, self.used = saved
        return False

    def _strides(
        self, index: Index, pieces: dict[Variable, list[Variable]]
    ) -> list[tuple[int, Variable]]:
        """(stride, piece) of an access, the smallest stride last."""
        found = []
        for v, step in index.terms.items():
            for piece in reversed(pieces[v]):  # type: ignore[index]
                found.append((step, piece))
                step *= piece.size
        return sorted(found, key=lambda item: (-item[0], -item[1].size))

    def _split(
        self, pieces: dict[Variable, list[Variable]], piece: Variable, size: int
    ) -> tuple[Variable, Variable]:
        outer = self.scheduler._fresh(piece.size // size)
        inner = self.scheduler._fresh(size)
        for parts in pieces.values():
            if piece in parts:
                place = parts.index(piece)
                parts[place : place + 1] = [outer, inner]
        # a piece that was paired before it was split would have to be split on the other side too
        if piece in self.used or piece in self.pairs:
            self.pairs[piece] = Variable("impossible", 0)
        return outer, inner

    def _match_rest(self) -> bool:
        """Pair what no common access covers: in order, by size."""
        rest = [p for v in (*self.loop.dims, *self.loop.reduced) for p in self.loop_pieces[v]
                if p not in self.pairs]
        free = [p for v in self.group.variables for p in self.group_pieces[v] if p not in self.used]
        if not rest:
            return True
        if not self.pairs and not self._same_sizes(rest, free):
            return False
        for piece in rest:
            for candidate in free:
                if candidate.size == piece.size:
                    self.pairs[piece] = candidate
                    self.used.add(candidate)
                    free.remove(candidate)
                    break
        return True

    def _same_sizes(self, rest: list[Variable], free: list[Variable]) -> bool:
        return [p.size for p in rest] == [p.size for p in free]

    # -- legality
    # -----------------------------------------------------------------------------------

    def _classes(self) -> tuple[list[Variable], list[Variable]] | None:
        """Result and reduced pieces of the group with the loop in it; None where they do not fit.
        """
        group, loop = self.group, self.loop
        results = [p for v in group.results for p in self.group_pieces[v]]
        reduced = [p for v in group.reduced for p in self.group_pieces[v]]
        theirs = [p for v in loop.dims for p in self.loop_pieces[v]]
        over = [p for v in loop.reduced for p in self.loop_pieces[v]]
        has_reduction = any(m.loop.is_reduction for m in group.members)
        met = {self.pairs[p] for p in theirs if p in self.pairs}
        met_over = {self.pairs[p] for p in over if p in self.pairs}
        if not loop.is_reduction:
            if len(met) != len(theirs):
                return None
            if met == set(results) | set(reduced):
                return results, reduced
            return (results, reduced) if has_reduction and met == set(results) else None
        if len(met) != len(theirs):
            return None
        if has_reduction:
            fits = met == set(results) and met_over == set(reduced) and len(met_over) == len(over)
            return (results, reduced) if fits else None
        if met | met_over == set(results):
            if len(met_over) != len(over):
                return None
            return [p for p in results if p in met], [p for p in results if p in met_over]
        if met == set(results) and not met_over:
            for p in over:
                self.pairs[p] = self.scheduler._fresh(p.size)
            return results, [self.pairs[p] for p in over]
        return None

    def _mapping(self) -> dict[Any, Index]:
        """The loop's variables in the group's pieces."""
        return {v: self._join_pieces([self.pairs[p] for p in pieces])
                for v, pieces in self.loop_pieces.items()}

    def _join_pieces(self, pieces: list[Variable]) -> Index:
        result = ZERO
        for p in pieces:
            result = result * p.size + symbol(p)
        return result

    def _group_mapping(self) -> dict[Any, Index]:
        return {v: self._join_pieces(pieces) for v, pieces in self.group_pieces.items()
                if pieces != [v]}

    def _consistent(self, mapping: dict[Any, Index]) -> bool:
        """Every read of what the group computes is of the very point that has been computed."""
        finer = self._group_mapping()
        written = {m.loop.target: m.write.substitute(finer) for m in self.group.members}
        for read in self.loop.inspect().reads.values():
            wanted = written.get(read.buffer)
            if wanted is not None and read.index.substitute(mapping) != wanted:
                return False
        return True

    def _worthwhile(self, classes: tuple[list[Variable], list[Variable]]) -> bool:
        """Not where few long rows would leave nothing to split over threads."""
        rows, length = product(classes[0]), product(classes[1])
        if not classes[1] or rows >= 8 or rows * length < 50_000:
            return True
        pointwise = [m for m in self.group.members if not m.loop.is_reduction]
        return not pointwise and self.loop.is_reduction

    def _commit(
        self, mapping: dict[Any, Index], classes: tuple[list[Variable], list[Variable]]
    ) -> None:
        group = self.group
        group.replace(self._group_mapping(), {})
        group.results, group.reduced = list(classes[0]), list(classes[1])
        group.members.append(Member(self.loop, mapping))
