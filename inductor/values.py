"""What a tensor of the graph is while it is being lowered: stored memory, or a computation that
nobody has needed to store yet.

A `Lazy` gives its element at any coordinates as a scalar of the handler `s`. Views wrap another
value and only rewrite coordinates; computations are inlined into whoever reads them until
`Lowering.realize` gives them a buffer and a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inductor.index import Index, Variable, delinearize, linear, symbol
from inductor.loops import Buffer, Inspection, Read, TypedAlgebra, Value

Coordinates = tuple[Index, ...]
Shape = tuple[int, ...]


class Lazy:
    """A value with a shape and a dtype; `at(s, coordinates)` is an element."""

    def __init__(self, shape: Sequence[int], dtype: str):
        self.shape, self.dtype = tuple(shape), dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        count = 1
        for n in self.shape:
            count *= n
        return count

    def at(self, s: TypedAlgebra, coordinates: Coordinates) -> Value:
        raise NotImplementedError

    def stored(self) -> Stored | None:
        """This value as strided memory, if it is that already."""
        return None

    def variables(self) -> tuple[Variable, ...]:
        return tuple(Variable(f"i{k}", n) for k, n in enumerate(self.shape))


class Stored(Lazy):
    """Elements of a buffer, strided."""

    def __init__(
        self, buffer: Buffer, shape: Sequence[int], strides: Sequence[int], offset: int = 0
    ):
        super().__init__(shape, buffer.dtype)
        self.buffer, self.strides, self.offset = buffer, tuple(strides), offset

    @staticmethod
    def whole(buffer: Buffer) -> Stored:
        return Stored(buffer, buffer.shape, buffer.strides)

    def at(self, s: TypedAlgebra, coordinates: Coordinates) -> Value:
        return s.load(self.buffer, linear(coordinates, self.strides, self.offset))

    def stored(self) -> Stored:
        return self


class Computed(Lazy):
    """`body(s, coordinates)`; once realized, a load."""

    def __init__(
        self,
        shape: Sequence[int],
        dtype: str,
        body: Callable[[TypedAlgebra, Coordinates], Value],
        name: str = "",
    ):
        super().__init__(shape, dtype)
        self.body, self.name = body, name
        self.realized: Stored | None = None
        self.order: list[int] | None = None  # in which its dimensions had best lie in memory
        self._inspection: Inspection | None = None

    def at(self, s: TypedAlgebra, coordinates: Coordinates) -> Value:
        if self.realized is not None:
            return self.realized.at(s, coordinates)
        return s.once((id(self), coordinates), lambda: self._run(s, coordinates))

    def _run(self, s: TypedAlgebra, coordinates: Coordinates) -> Value:
        return s.cast_to(self.body(s, coordinates), self.dtype)

    def stored(self) -> Stored | None:
        return self.realized

    def inspect(self) -> Inspection:
        """Reads and work of an element, at coordinates i0, i1, …"""
        if self._inspection is None or self.realized is not None:
            found = Inspection()
            self.at(found, tuple(symbol(v) for v in self.variables()))
            if self.realized is not None:
                return found
            self._inspection = found
        return self._inspection

    def reads(self) -> list[Read]:
        return list(self.inspect().reads.values())


class Viewed(Lazy):
    """Another value at rewritten coordinates."""

    def __init__(
        self, base: Lazy, shape: Sequence[int], rewrite: Callable[[Coordinates], Coordinates]
    ):
        super().__init__(shape, base.dtype)
        self.base, self.rewrite = base, rewrite
        self.copy: Stored | None = None

    def at(self, s: TypedAlgebra, coordinates: Coordinates) -> Value:
        if self.copy is not None:
            return self.copy.at(s, coordinates)
        return self.base.at(s, self.rewrite(coordinates))

    def stored(self) -> Stored | None:
        """Strided memory, where what lies under all views is memory and the coordinates are affine."""
        if self.copy is not None:
            return self.copy
        found = self.place()
        if found is None or not found[1].is_affine():
            return None
        buffer, index, variables = found
        strides = [index.terms.get(v, 0) for v in variables]
        return Stored(buffer, self.shape, strides, index.constant)

    def place(self) -> tuple[Buffer, Index, tuple[Variable, ...]] | None:
        """The buffer under all views, and where in it an element at i0, i1, … lies."""
        variables = self.variables()
        coordinates = self.rewrite(tuple(symbol(v) for v in variables))
        base = self.base
        while isinstance(base, Viewed) and base.copy is None:
            coordinates, base = base.rewrite(coordinates), base.base
        root = base.stored()
        if root is None:
            return None
        return root.buffer, linear(coordinates, root.strides, root.offset), variables

    def source(self) -> Lazy:
        """The value under all views."""
        return self.base.source() if isinstance(self.base, Viewed) else self.base


def converted(value: Lazy, dtype: str) -> Lazy:
    """A value in another type."""
    if value.dtype == dtype:
        return value
    return Computed(value.shape, dtype, lambda s, c: s.cast_to(value.at(s, c), dtype), "convert")


def broadcast(value: Lazy, shape: Sequence[int]) -> Callable[[Coordinates], Coordinates]:
    """Coordinates of `value` for coordinates of a shape that it broadcasts to."""
    skip = len(shape) - value.ndim
    fixed = [n == 1 and m != 1 for n, m in zip(value.shape, shape[skip:], strict=True)]
    zero = Index({})

    def rewrite(coordinates: Coordinates) -> Coordinates:
        return tuple(
            zero if one else c for one, c in zip(fixed, coordinates[skip:], strict=True)
        )

    return rewrite


def strided_in_order(value: Stored, order: Sequence[int]) -> bool:
    """Whether the value is packed with its dimensions in `order`, outermost first."""
    step = 1
    for d in reversed(order):
        if value.shape[d] != 1:
            if value.strides[d] != step:
                return False
            step *= value.shape[d]
    return True


def node_values(argument: Any) -> Any:
    """The fake tensor of a node, or the argument itself."""
    return argument.meta["val"] if hasattr(argument, "meta") else argument


def frozen(value: Lazy) -> Any:
    """The computation of a value as it is now, before it knows the buffer that it is about to fill.
    """
    if isinstance(value, Computed) and value.realized is None:
        return value._run
    if isinstance(value, Viewed) and value.copy is None:
        return lambda s, c: value.base.at(s, value.rewrite(c))
    return value.at


def view(base: Lazy, shape: Sequence[int], strides: Sequence[int], offset: int) -> Lazy:
    """A view given by strides over the row-major elements of `base`, as a rewriting of coordinates.
    """
    shape, strides = tuple(map(int, shape)), tuple(map(int, strides))

    def rewrite(coordinates: Coordinates) -> Coordinates:
        return delinearize(linear(coordinates, strides, offset), base.shape)

    return Viewed(base, shape, rewrite)
