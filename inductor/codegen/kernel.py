"""A group of fused loops as the source of one kernel.

A `Plan` has the loops (`members`), each with its variables expressed in the kernel's: `outer`
variables are flattened into the range [start, stop) of the native signature, `inner` ones are loops
inside a row. Of the inner variables, `reduced` ones are combined over. Members are put into
*phases*, one nest of loops each: what a reduction gives is known after its phase. A value that a
later phase needs stays in a register where it does not vary inside the row, is computed again where
that is cheap, and is kept in a scratch array on the stack, or in its buffer, otherwise. `lane`, the
innermost variable, is what LLVM vectorises over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from inductor.codegen.scalar import ScalarCode, Scope, literal_text
from inductor.index import Index, Variable, symbol
from inductor.loops import HALF, ITEMSIZE, Buffer, Loop, Value, is_float

SCRATCH_BYTES = 32_768
ROW = Variable("row", 1)
WIDE = ("float32", "float64", "int32", "int64")
CHEAP = 8
"""Operations that are rather repeated than kept."""


@dataclass(eq=False)
class Member:
    """A loop in a kernel: `at` gives its variables in terms of the kernel's."""

    loop: Loop
    at: dict[Any, Index]

    @property
    def write(self) -> Index:
        return self.loop.write.substitute(self.at)


@dataclass(eq=False)
class Plan:
    """What to generate: see the module's docstring. `stores` are the buffers that others read; in
    a `crossed` plan, the two inner variables are the sides of a tile that some reads see turned.
    """

    members: list[Member]
    outer: tuple[Variable, ...]
    inner: tuple[Variable, ...]
    reduced: frozenset[Variable]
    stores: set[Buffer]
    crossed: bool = False

    @property
    def rows(self) -> int:
        return product(self.outer)


@dataclass(eq=False)
class Source:
    """A kernel's text, and what a step needs to call it: `offsets` are of the arguments, in elements."""

    text: str
    arguments: list[Buffer]
    offsets: list[int]
    written: list[Buffer]
    rows: int
    cost: float
    members: list[Member] = field(repr=False, default_factory=list)


def product(variables: Sequence[Variable]) -> int:
    count = 1
    for v in variables:
        count *= v.size
    return count


_START = {
    "sum": 0, "prod": 1, "any": False, "all": True,
}


def start_value(combine: str, dtype: str) -> Any:
    """The neutral element."""
    if combine in _START:
        return _START[combine]
    low = combine in ("max", "argmax")
    if is_float(dtype):
        return float("-inf") if low else float("inf")
    if dtype == "bool":
        return not low
    bits = ITEMSIZE[dtype] * 8
    if dtype.startswith("u"):
        return 0 if low else 2**bits - 1
    return -(2 ** (bits - 1)) if low else 2 ** (bits - 1) - 1


def combination(combine: str, dtype: str, total: str, value: str) -> str:
    """One step of a reduction as text."""
    if combine in ("any", "all") or dtype == "bool":
        low = combine in ("all", "min", "prod")
        return f"to_{dtype}({total} {'&' if low else '|'} {value})"
    if combine in ("max", "min"):
        return f"{combine}imum({total}, {value})"
    if is_float(dtype):
        return f"{'add_up' if combine == 'sum' else 'multiply_up'}({total}, {value})"
    return f"to_{dtype}({total} {'+' if combine == 'sum' else '*'} {value})"


def in_order(loop: Loop) -> bool:
    """Whether a maximum or minimum is taken of integers that are ordered like the floats they stand
    for.
    """
    return loop.combine in ("max", "min") and is_float(loop.accumulate)


def total_type(loop: Loop) -> str:
    """The type of the accumulator."""
    if in_order(loop):
        return "int32" if loop.accumulate == "float32" else "int64"
    return loop.accumulate


class KernelCode(ScalarCode):
    """Writes one kernel."""

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan
        self.arguments: list[Buffer] = []
        self.offsets: list[int] = []
        self.pointers: dict[Buffer, str] = {}
        self.producers = {m.loop.target: m for m in plan.members}
        # ROW stands for what is known only inside a row though no variable says so
        self.row = Scope(frozenset((*plan.outer, ROW)))
        self.carried: dict[Buffer, tuple[str, str, Index]] = {}
        self.again: set[Buffer] = set()
        self.lanes = tuple(v for v in plan.inner if v not in plan.reduced)
        self.tiles: dict[tuple[int, Index], tuple[str, Index]] = {}

    # -- buffers
    # ------------------------------------------------------------------------------------

    def address(self, buffer: Buffer, prefix: str, index: Index) -> tuple[str, Index]:
        """A pointer and an index from there. The pointer is moved to what is used first, so that
        kernels which differ only in where they read, as steps in time do, have equal text.
        """
        name = self.pointers.get(buffer)
        if name is None:
            place = len(self.arguments)
            self.arguments.append(buffer)
            self.offsets.append(index.constant)
            name = self.pointers[buffer] = f"{prefix}{place}"
            element = "uint16" if buffer.dtype in HALF else buffer.dtype
            line = f"{name} = pointer_{element}(arguments[{place}])"
            self.scopes[0].lines.append(line)
        return name, index - self.offsets[self.arguments.index(buffer)]

    def operation(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        if name == "div" and ROW in values[1].depends and values[0].depends - values[1].depends:
            # one division per row instead of one per element
            one = self.literal(1, dtype)
            return super().operation("mul", dtype, (values[0], self.operation("div", dtype, (one, values[1]))))
        return super().operation(name, dtype, values)

    def load(self, buffer: Buffer, index: Index) -> Value:
        if buffer in self.producers:
            # the scheduler lets members read only the very point that has been computed
            for scope in reversed(self.scopes):
                if id(buffer) in scope.written:
                    return scope.written[id(buffer)]
        register = "float32" if buffer.dtype in HALF else buffer.dtype
        if buffer in self.carried:
            scratch, dtype, place = self.carried[buffer]
            return self.fetch("load_again", scratch, place, dtype)
        if (id(buffer), index) in self.tiles:
            return self.fetch("load_again", *self.tiles[id(buffer), index], buffer.dtype)
        if buffer not in self.producers:
            return self.fetch("load", *self.address(buffer, "in", index), buffer.dtype)
        if buffer in self.again:
            member = self.producers[buffer]
            value = member.loop.result(self, member.at)
            return self.cast_to(value, register)
        if buffer not in self.plan.stores:
            raise RuntimeError(f"{buffer.name} is read in a kernel that does not keep it")
        return self.fetch("load_again", *self.address(buffer, "out", index), buffer.dtype)

    def store(self, buffer: Buffer, index: Index, value: Value) -> None:
        if buffer.dtype in HALF:
            code = f"to_{buffer.dtype}({value.code})"
        else:
            code = value.code
        pointer, index = self.address(buffer, "out", index)
        depends = self.depends(index) | value.depends
        # a store belongs into the innermost open scope even where the value is known further out
        self.scopes[-1].lines.append(f"store({pointer}, {index}, {code})")
        assert depends is not None

    # -- phases
    # -------------------------------------------------------------------------------------

    def nest(self, member: Member) -> tuple[Variable, ...]:
        """The inner variables that a member's loop runs over."""
        if member.loop.is_reduction or member.loop.scatter:
            return self.plan.inner
        used: set[Any] = set(member.write.variables())
        for c in member.at.values():
            used |= c.variables()
        return self.plan.inner if used & self.plan.reduced else self.lanes

    def phases(self) -> list[tuple[tuple[Variable, ...], list[Member]]]:
        """Members grouped into nests, in an order in which everything is known when it is needed.
        """
        result: list[tuple[tuple[Variable, ...], list[Member]]] = []
        place: dict[Buffer, int] = {}
        for member in self.plan.members:
            nest = self.nest(member)
            earliest = 0
            for read in member.loop.inspect().reads.values():
                producer = self.producers.get(read.buffer)
                if producer is None or producer is member:
                    continue
                same = self.nest(producer) == nest and not producer.loop.is_reduction
                earliest = max(earliest, place[read.buffer] + (0 if same else 1))
            for position in range(earliest, len(result)):
                if result[position][0] == nest:
                    break
            else:
                position = len(result)
                result.append((nest, []))
            result[position][1].append(member)
            place[member.loop.target] = position
        self.place = place
        return result

    def decide_carrying(self, phases: list) -> None:
        """How each value reaches the later phases that read it."""
        needed: set[Buffer] = set()
        for position, (_, members) in enumerate(phases):
            for member in members:
                for read in member.loop.inspect().reads.values():
                    if self.place.get(read.buffer, position) < position:
                        needed.add(read.buffer)
        used, waiting = 0, sorted(needed, key=lambda b: self.place[b])
        for buffer in waiting:  # which grows
            member = self.producers[buffer]
            if member.loop.is_reduction or buffer in self.plan.stores or not self.nest(member):
                continue
            inspection = member.loop.inspect()
            if inspection.weight <= CHEAP and len(inspection.reads) <= 2:
                self.again.add(buffer)
                # and what it is computed from is needed there too
                reads = dict.fromkeys(read.buffer for read in inspection.reads.values())
                waiting += [b for b in reads if b in self.producers and b not in needed]
                needed.update(b for b in reads if b in self.producers)
                continue
            nest = self.nest(member)
            size = product(nest) * ITEMSIZE[buffer.dtype]
            if used + size <= SCRATCH_BYTES:
                used += size
                self._carry(buffer, nest)
            else:
                self.plan.stores.add(buffer)

    def _carry(self, buffer: Buffer, nest: tuple[Variable, ...]) -> str:
        dtype = "float32" if buffer.dtype in HALF else buffer.dtype
        name = f"kept{len(self.carried)}"
        self.scopes[0].lines.append(f"{name} = scratch_{dtype}({max(product(nest), 1)})")
        place, step = Index({}), 1
        for v in reversed(nest):
            place = place + symbol(v) * step
            step *= v.size
        self.carried[buffer] = name, dtype, place
        return name

    def turn(self) -> None:
        """Bring what lies across into tiles on the stack, read along the lines of memory: to stride
        through a power of two would use a few sets of the cache only.
        """
        across, lane = self.plan.inner
        width = across.size + 1
        place = symbol(lane) * width + symbol(across)
        for member in self.plan.members:
            for read in member.loop.inspect().reads.values():
                buffer, index = read.buffer, read.index.substitute(member.at)
                turned = index.is_affine() and index.stride(across) == 1
                if buffer in self.producers or (id(buffer), index) in self.tiles or not turned:
                    continue
                if abs(index.stride(lane) or 0) < 16 or buffer.dtype not in WIDE:
                    continue
                name = f"tile{len(self.tiles)}"
                pointer, there = self.address(buffer, "in", index)
                line = f"{name} = scratch_{buffer.dtype}({lane.size * width})"
                self.scopes[0].lines.append(line)
                self.row.lines.extend([
                    f"for {lane.name} in range({lane.size}):",
                    f"    for {across.name} in range({across.size}):",
                    f"        store({name}, {place}, load({pointer}, {there}))",
                ])
                self.tiles[id(buffer), index] = name, place

    # -- writing
    # ------------------------------------------------------------------------------------

    def open(self, nest: Sequence[Variable]) -> None:
        for v in nest:
            self.scopes.append(Scope(frozenset((v,))))

    def close(self, nest: Sequence[Variable]) -> None:
        """Put the open loops, with their lines, behind the lines of the row."""
        lines: list[str] = []
        for v in reversed(nest):
            scope = self.scopes.pop()
            body = scope.lines + lines
            lines = [f"for {v.name} in range({v.size}):", *indented(body)] if body else []
        self.row.lines.extend(lines)
        if nest:
            self.memo.clear()

    def pointwise(self, member: Member) -> None:
        loop, write = member.loop, member.write
        buffer = loop.target
        value = loop.result(self, member.at)
        if buffer in self.carried:
            scratch, _, place = self.carried[buffer]
            self.scopes[-1].lines.append(f"store({scratch}, {place}, {value.code})")
        if buffer in self.plan.stores:
            self.store(buffer, write, value)
        self.scopes[-1].written[id(buffer)] = value

    def scatter(self, member: Member) -> None:
        """Write, or add, at a computed place of a buffer that holds something already."""
        loop, buffer = member.loop, member.loop.target
        value = self.cast_to(loop.element(self, member.at), buffer.dtype)
        assert loop.place is not None
        coordinates = tuple(c.substitute(member.at) for c in loop.coordinates)
        index = buffer.index(loop.place(self, coordinates))
        if loop.scatter == "add":
            register = "float32" if buffer.dtype in HALF else buffer.dtype
            pointer, place = self.address(buffer, "out", index)
            text = f"load_again({pointer}, {place})"
            if buffer.dtype in HALF:
                text = f"from_{buffer.dtype}({text})"
            combined = combination("any" if register == "bool" else "sum", register, text, value.code)
            value = Value(self, combined.replace("add_up(", "add_in_order("), register)
            value.depends = frozenset()
        self.store(buffer, index, value)

    def begin_reduction(self, member: Member) -> str:
        """Make the accumulator, in the row."""
        loop = member.loop
        start = literal_text(start_value(loop.combine or "", loop.accumulate), loop.accumulate)
        if in_order(loop):
            start = f"ordered_{loop.combine}_{loop.accumulate}({start})"
        name = f"total{self.names}"
        self.names += 1
        if not self.lanes:
            self.row.lines.append(f"{name} = {start}")
            if loop.combine in ("argmax", "argmin"):
                self.row.lines.append(f"{name}_at = int64(0x7fffffffffffffff)")
            return name
        size = product(self.lanes)
        self.scopes[0].lines.append(f"{name} = scratch_{total_type(loop)}({size})")
        fill = [f"store({name}, k, {start})"]
        if loop.combine in ("argmax", "argmin"):
            self.scopes[0].lines.append(f"{name}_at = scratch_int64({size})")
            fill.append(f"store({name}_at, k, int64(0x7fffffffffffffff))")
        self.row.lines.extend([f"for k in range({size}):", *indented(fill)])
        return name

    def lane(self) -> str:
        place, step = Index({}), 1
        for v in reversed(self.lanes):
            place = place + symbol(v) * step
            step *= v.size
        return str(place)

    def step(self, member: Member, total: str) -> None:
        """One step of a reduction, in the innermost loop."""
        loop = member.loop
        value = self.cast_to(loop.element(self, member.at), loop.accumulate)
        lines = self.scopes[-1].lines
        if loop.combine in ("argmax", "argmin"):
            self._step_position(member, total, value)
            return
        code = f"ordered_{loop.combine}_{value.dtype}({value.code})" if in_order(loop) else value.code
        if not self.lanes:
            combined = combination(loop.combine or "", total_type(loop), total, code)
            lines.append(f"{total} = {combined}")
            return
        before = f"load_again({total}, {self.lane()})"
        combined = combination(loop.combine or "", total_type(loop), before, code)
        lines.append(f"store({total}, {self.lane()}, {combined})")

    def _step_position(self, member: Member, total: str, value: Value) -> None:
        """argmax and argmin: the first NaN wins, then the best value, then the lowest position."""
        loop, lines = member.loop, self.scopes[-1].lines
        position = Index({})
        count = len(loop.coordinates) - loop.rank
        for c, n in zip(loop.coordinates[-count:], loop.reduced_shape, strict=True):
            position = position * n + c.substitute(member.at)
        at = f"{total}_at"
        best, where = total, at
        if self.lanes:
            best, where = f"best{self.names}", f"where{self.names}"
            self.names += 1
            lines.append(f"{best} = load_again({total}, {self.lane()})")
            lines.append(f"{where} = load_again({at}, {self.lane()})")
        sign = ">" if loop.combine == "argmax" else "<"
        v, better = value.code, f"better{self.names}"
        self.names += 1
        place = self.index(position).code
        if is_float(value.dtype):
            lines.append(
                f"{better} = (({v} {sign} {best}) & ({best} == {best})) | (({v} != {v}) & ({best} == {best})) "
                f"| ((({v} == {best}) | (({v} != {v}) & ({best} != {best}))) & ({place} < {where}))"
            )
        else:
            lines.append(f"{better} = ({v} {sign} {best}) | (({v} == {best}) & ({place} < {where}))")
        if self.lanes:
            lines.append(f"store({total}, {self.lane()}, select({better}, {v}, {best}))")
            lines.append(f"store({at}, {self.lane()}, select({better}, {place}, {where}))")
        else:
            lines.append(f"{total} = select({better}, {v}, {best})")
            lines.append(f"{at} = select({better}, {place}, {where})")

    def finish_reductions(self, members: Sequence[tuple[Member, str]]) -> None:
        """After the nest: what the reductions of a phase give, as values of the row or its lanes.
        """
        self.open(self.lanes)
        for member, total in members:
            loop, buffer, write = member.loop, member.loop.target, member.write
            name = f"{total}_at" if loop.combine in ("argmax", "argmin") else total
            dtype = "int64" if name.endswith("_at") else total_type(loop)
            depends = frozenset((*self.lanes, *self.plan.outer, ROW))
            if self.lanes:
                value = self.emit(f"load_again({name}, {self.lane()})", dtype, depends)
            else:
                value = Value(self, name, dtype, frozenset((*self.plan.outer, ROW)))
            if in_order(loop):
                text = f"from_order_{loop.accumulate}({value.code})"
                value = self.emit(text, loop.accumulate, value.depends)
            if loop.finish is not None:
                value = loop.finish(self, value)
            value = self.cast_to(value, buffer.dtype)
            if self.lanes:
                kept = self.carried.get(buffer) or (self._carry(buffer, self.lanes),)
                self.scopes[-1].lines.append(f"store({kept[0]}, {self.lane()}, {value.code})")
            if buffer in self.plan.stores:
                self.store(buffer, write, value)
            if not self.lanes:
                self.row.written[id(buffer)] = value
        self.close(self.lanes)

    def write(self) -> list[str]:
        """The lines of the kernel's body."""
        plan = self.plan
        phases = self.phases()
        self.scopes.append(self.row)
        self.decide_carrying(phases)
        if plan.crossed:
            self.turn()
        for nest, members in phases:
            reductions = [(m, self.begin_reduction(m)) for m in members if m.loop.is_reduction]
            totals = {m.loop.target: name for m, name in reductions}
            self.open(nest)
            for member in members:
                if member.loop.scatter:
                    self.scatter(member)
                elif member.loop.is_reduction:
                    self.step(member, totals[member.loop.target])
                else:
                    self.pointwise(member)
            self.close(nest)
            if reductions:
                self.finish_reductions(reductions)
        return self._assemble(plan)

    def _assemble(self, plan: Plan) -> list[str]:
        # before everything: an index that no loop variable changes is checked outside the loops
        lines = ["error = int64(0)"] if self.fails else []
        lines.extend(self.scopes[0].lines)
        if len(plan.outer) == 1:
            lines.append(f"for {plan.outer[0].name} in range(start, stop):")
            lines.extend(indented(self.row.lines))
        elif not plan.outer:
            lines.append("for row in range(start, stop):")
            lines.extend(indented(self.row.lines))
        else:
            lines.append("for row in range(start, stop):")
            rest, split = "row", []
            for v in reversed(plan.outer[1:]):
                split.append(f"{v.name} = {rest} % {v.size}")
                split.append(f"rest = {rest} // {v.size}")
                rest = "rest"
            split.append(f"{plan.outer[0].name} = {rest}")
            lines.extend(indented(split + self.row.lines))
        lines.append("return int32(error)" if self.fails else "return int32(0)")
        return lines


def indented(lines: Sequence[str]) -> list[str]:
    return ["    " + line for line in lines]


def generate(plan: Plan) -> Source:
    """The kernel's source, its arguments in order, and an estimate of a row's cost in nanoseconds.
    """
    code = KernelCode(plan)
    lines = code.write()
    text = "\n".join(["def kernel(arguments, start, stop):", *indented(lines), ""])
    written = [b for b in code.arguments if b in code.producers]
    return Source(text, code.arguments, code.offsets, written, plan.rows, _cost(plan), plan.members)


def _cost(plan: Plan) -> float:
    """Nanoseconds of one row: bytes moved and operations, per element."""
    total = 0.0
    for member in plan.members:
        inspection = member.loop.inspect()
        size = product(plan.inner)
        moved = sum(ITEMSIZE[r.buffer.dtype] for r in inspection.reads.values())
        total += size * (0.015 * moved + 0.008 * inspection.weight + 0.03)
    return max(total, 0.05)
