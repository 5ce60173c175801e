"""What becomes of a result while it is still in the first cache level: epilogues of templates.

An `Epilogue` writes IR that changes a vector of the result C once it is complete; a `Place` says
where the vector belongs, and loads what is fused with it. `write_finish` makes the function that
applies an epilogue to a tile. Kernels with an epilogue take the arguments (A, B, C, scratch, *extra).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from llvmlite import ir

from inductor.templates.emit import I8, I64, POINTER, Emitter, Value

A, B, C, SCRATCH, EXTRA = range(5)
"""The kernel's argument words; those of the epilogue start at EXTRA."""


@dataclass(frozen=True)
class Place:
    """Where a vector of C belongs.

    `image` is the batch it belongs to, `row` and `column` the indices of its first lane, `offset`
    the number of elements from the start of C, `mask` the lanes that exist, `arguments` the kernel's
    argument block.
    """

    emitter: Emitter
    image: Value
    row: Value
    column: Value
    offset: Value
    mask: ir.Value
    arguments: ir.Value

    def pointer(self, word: int) -> ir.Value:
        """Argument `word` as an address."""
        return self.emitter.builder.inttoptr(self.emitter.load(self.arguments, word, I64), POINTER)

    def like_output(self, word: int) -> ir.Value:
        """The same lanes of a tensor laid out as C, whose address is argument `word`."""
        return self.emitter.load_masked(self.pointer(word), self.offset, self.mask)

    def _element(self, image: int, row: int, column: int, constant: int) -> Value:
        e = self.emitter
        column_part = e.multiply(self.column, column) if column else 0
        return e.sum(e.multiply(self.image, image), e.multiply(self.row, row), column_part, constant)

    def read(self, word: int, image: int, row: int, column: int, constant: int) -> ir.Value:
        """Elements of any tensor that lies along the columns (stride 1), or is the same for all (0)."""
        e, index = self.emitter, self._element(image, row, column, constant)
        if column:
            return e.load_masked(self.pointer(word), index, self.mask)
        return e.splat(e.load(self.pointer(word), index))

    def read_bool(self, word: int, image: int, row: int, column: int, constant: int) -> ir.Value:
        """Likewise, of truth values."""
        e, index = self.emitter, self._element(image, row, column, constant)
        if column:
            value = e.load_masked(self.pointer(word), index, self.mask, kind=I8)
        else:
            value = e.splat(e.load(self.pointer(word), index, I8))
        return e.builder.icmp_unsigned("!=", value, ir.Constant(value.type, None))

    def by_row(self, word: int) -> ir.Value:
        """The element for this row of a vector over m."""
        return self.emitter.splat(self.emitter.load(self.pointer(word), self.row))

    def by_column(self, word: int) -> ir.Value:
        """The elements for these columns of a vector over n."""
        return self.emitter.load_masked(self.pointer(word), self.column, self.mask)


class Epilogue(Protocol):
    """What is done to C: `for_row` once per row, then a call per vector, with what `for_row` gave.

    Equal keys promise equal code, so that compiled code can be found without writing it.
    """

    key: str

    def for_row(self, e: Emitter, place: Place) -> Any: ...

    def __call__(self, e: Emitter, value: Any, place: Place, shared: Any) -> Any: ...


def write_finish(
    module: ir.Module, epilogue: Epilogue | None, dtype: str, row_stride: int, length: int
) -> ir.Function | None:
    """A function that applies the epilogue to a tile of C while it is in the first cache level.

    Its arguments are C, the tile's offset in it, rows, columns, and the place of the first element.
    `length` is that of a whole row; a tile is some vectors of it, or all that is left.
    """
    if epilogue is None:
        return None
    kind = ir.FunctionType(ir.VoidType(), [POINTER] + [I64] * 6 + [POINTER])
    e = Emitter(module, "finish", kind, dtype)
    c, offset, rows, columns, image, row, column, block = e.arguments
    with e.loop(0, rows) as i:
        line = e.add(offset, e.multiply(i.index, row_stride))
        place = Place(e, image, e.add(row, i.index), column, line, e.whole, block)
        shared = epilogue.for_row(e, place)
        with e.loop(0, columns, e.lanes) as lane:
            mask = e.mask(e.subtract(columns, lane.index)) if length % e.lanes else e.whole
            here = e.add(line, lane.index)
            there = replace(place, column=e.add(column, lane.index), offset=here, mask=mask)
            value = epilogue(e, e.load_masked(c, here, mask), there, shared)
            e.store_masked(value, c, here, mask)
    e.finish()
    return e.function


@dataclass(frozen=True)
class Bias:
    """Add a vector over n (or over m), whose address is argument `word`."""

    word: int = EXTRA
    by_rows: bool = False

    @property
    def key(self) -> str:
        return repr(self)

    def for_row(self, e: Emitter, place: Place) -> Any:
        return place.by_row(self.word) if self.by_rows else None

    def __call__(self, e: Emitter, value: Any, place: Place, shared: Any) -> Any:
        return e.builder.fadd(value, shared if self.by_rows else place.by_column(self.word))


@dataclass(frozen=True)
class Add:
    """Add a tensor laid out as C, whose address is argument `word`."""

    word: int = EXTRA

    @property
    def key(self) -> str:
        return repr(self)

    def for_row(self, e: Emitter, place: Place) -> None:
        return None

    def __call__(self, e: Emitter, value: Any, place: Place, shared: Any) -> Any:
        return e.builder.fadd(value, place.like_output(self.word))


class Relu:
    """max(value, 0); NaN stays NaN."""

    key = "relu"

    def for_row(self, e: Emitter, place: Place) -> None:
        return None

    def __call__(self, e: Emitter, value: Any, place: Place, shared: Any) -> Any:
        negative = e.builder.fcmp_ordered("<", value, e.constant(0.0))
        return e.builder.select(negative, e.constant(0.0), value)


class Chain:
    """One epilogue after another."""

    def __init__(self, parts: Sequence[Epilogue]) -> None:
        self.parts = tuple(parts)
        self.key = " then ".join(part.key for part in parts)

    def for_row(self, e: Emitter, place: Place) -> list[Any]:
        return [part.for_row(e, place) for part in self.parts]

    def __call__(self, e: Emitter, value: Any, place: Place, shared: Any) -> Any:
        for part, own in zip(self.parts, shared, strict=True):
            value = part(e, value, place, own)
        return value


bias, add, relu = Bias, Add, Relu()


def chain(*epilogues: Epilogue) -> Epilogue:
    """One epilogue after another."""
    return epilogues[0] if len(epilogues) == 1 else Chain(epilogues)
