"""Index expressions: sums of integer multiples of loop variables, divisions and remainders,
simplified by the ranges of the variables.

An `Index` is immutable and hashable. Its atoms are a `Variable` (0 <= v < size), a `Divided` or
`Remainder` by a positive constant, and an `Indirect` (a value computed at run time that the kernel
has checked to be in its range). Division rounds down, as Python's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variable:
    """A loop variable: 0 <= value < size."""

    name: str
    size: int

    def bounds(self) -> tuple[int, int]:
        return 0, max(self.size - 1, 0)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Indirect:
    """A value computed in the kernel and checked there: 0 <= value < size."""

    name: str
    size: int

    def bounds(self) -> tuple[int, int]:
        return 0, max(self.size - 1, 0)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Divided:
    """`inner // by`."""

    inner: Index
    by: int

    def bounds(self) -> tuple[int, int]:
        low, high = self.inner.bounds()
        return low // self.by, high // self.by

    def __str__(self) -> str:
        return f"{_atomic(self.inner)} // {self.by}"


@dataclass(frozen=True)
class Remainder:
    """`inner % by`."""

    inner: Index
    by: int

    def bounds(self) -> tuple[int, int]:
        return 0, self.by - 1

    def __str__(self) -> str:
        return f"{_atomic(self.inner)} % {self.by}"


def _atomic(index: Index) -> str:
    text = str(index)
    return f"({text})" if " " in text else text


Atom = Variable | Indirect | Divided | Remainder


class Index:
    """constant + sum of coefficient * atom."""

    __slots__ = ("terms", "constant", "_hash", "_bounds")

    def __init__(self, terms: Mapping[Atom, int], constant: int = 0):
        self.terms = {atom: k for atom, k in terms.items() if k != 0}
        self.constant = constant
        self._hash: int | None = None
        self._bounds: tuple[int, int] | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((frozenset(self.terms.items()), self.constant))
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Index):
            return NotImplemented
        return self.constant == other.constant and self.terms == other.terms

    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest value, if atoms were independent of each other."""
        if self._bounds is None:
            low = high = self.constant
            for atom, k in self.terms.items():
                a, b = atom.bounds()
                low += k * (a if k > 0 else b)
                high += k * (b if k > 0 else a)
            self._bounds = low, high
        return self._bounds

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return _index(self.terms, self.constant + other) if other else self
        if not other.terms:
            return self + other.constant
        terms = dict(self.terms)
        _accumulate(terms, other.terms, 1)
        return _joined(_index(terms, self.constant + other.constant))

    __radd__ = __add__

    def __sub__(self, other: Index | int) -> Index:
        return self + other * -1

    def __mul__(self, k: int) -> Index:
        if k == 0:
            return ZERO
        if k == 1:
            return self
        return _index({atom: k * c for atom, c in self.terms.items()}, k * self.constant)

    __rmul__ = __mul__

    def __floordiv__(self, n: int) -> Index:
        if n == 1:
            return self
        quotient, rest = self._split(n)
        return quotient + _divided(rest, n)

    def __mod__(self, n: int) -> Index:
        if n == 1:
            return ZERO
        return _remainder(self._split(n)[1], n)

    def _split(self, n: int) -> tuple[Index, Index]:
        """`quotient` and `rest` with self = n * quotient + rest."""
        whole = {atom: k // n for atom, k in self.terms.items() if k % n == 0}
        rest = {atom: k for atom, k in self.terms.items() if k % n}
        return Index(whole, self.constant // n), Index(rest, self.constant % n)

    def substitute(self, mapping: Mapping[Atom, Index]) -> Index:
        """The expression with atoms replaced, simplified again."""
        if not mapping or not self.terms:
            return self
        terms: dict[Atom, int] = {}
        constant = self.constant
        for atom, k in self.terms.items():
            if atom in mapping:
                part = mapping[atom]
            elif isinstance(atom, Divided):
                part = atom.inner.substitute(mapping) // atom.by
            elif isinstance(atom, Remainder):
                part = atom.inner.substitute(mapping) % atom.by
            else:
                terms[atom] = terms.get(atom, 0) + k
                continue
            _accumulate(terms, part.terms, k)
            constant += part.constant * k
        return _joined(Index(terms, constant))

    def variables(self) -> set[Variable]:
        """Every loop variable that occurs."""
        found: set[Variable] = set()
        for atom in self.terms:
            if isinstance(atom, Variable):
                found.add(atom)
            elif isinstance(atom, (Divided, Remainder)):
                found |= atom.inner.variables()
        return found

    def leaves(self) -> set[Variable | Indirect]:
        """Every loop variable and run-time value that occurs."""
        found: set[Variable | Indirect] = set()
        for atom in self.terms:
            if isinstance(atom, (Divided, Remainder)):
                found |= atom.inner.leaves()
            else:
                found.add(atom)
        return found

    def is_affine(self) -> bool:
        """No division, remainder or indirection."""
        return all(isinstance(atom, Variable) for atom in self.terms)

    def stride(self, variable: Variable) -> int | None:
        """Change when the variable grows by one; None where that is not the same everywhere."""
        for atom in self.terms:
            if not isinstance(atom, Variable) and isinstance(atom, (Divided, Remainder)) and (
                variable in atom.inner.variables()
            ):
                return None
        return self.terms.get(variable, 0)

    def __str__(self) -> str:
        parts = []
        for atom, k in sorted(self.terms.items(), key=lambda item: (-abs(item[1]), str(item[0]))):
            text = str(atom)
            if k != 1:
                text = f"({text}) * {k}" if " " in text else f"{text} * {k}"
            elif " " in text:
                text = f"({text})"
            parts.append(text)
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__


def _index(terms: dict[Atom, int], constant: int) -> Index:
    """An Index of terms that are known to have no coefficient 0 (or whose dict is shared)."""
    result = Index.__new__(Index)
    result.terms, result.constant, result._hash, result._bounds = terms, constant, None, None
    return result


def _accumulate(terms: dict[Atom, int], more: Mapping[Atom, int], factor: int) -> None:
    """Add `factor` times some terms, dropping those that cancel."""
    for atom, k in more.items():
        total = terms.get(atom, 0) + k * factor
        if total:
            terms[atom] = total
        else:
            terms.pop(atom, None)


ZERO = Index({})


def constant(value: int) -> Index:
    return Index({}, value)


def symbol(atom: Atom) -> Index:
    return Index({atom: 1})


def _coarse(index: Index, n: int) -> tuple[int, Index, Index] | None:
    """index as g * whole + fine, with g a divisor of n and 0 <= fine < g: fine does not matter to
    index // n.
    """
    for g in sorted({math.gcd(k, n) for k in index.terms.values()} - {1}):
        fine = Index({a: k for a, k in index.terms.items() if k % g}, index.constant % g)
        low, high = fine.bounds()
        if low >= 0 and high < g:
            whole = {a: k // g for a, k in index.terms.items() if k % g == 0}
            return g, Index(whole, index.constant // g), fine
    return None


def _divided(rest: Index, n: int) -> Index:
    """rest // n, where no term of rest is a multiple of n and 0 <= its constant < n."""
    low, high = rest.bounds()
    if low // n == high // n:
        return constant(low // n)
    coarse = _coarse(rest, n)
    if coarse is not None:
        g, whole, _ = coarse
        return whole // (n // g)
    if len(rest.terms) == 1 and rest.constant == 0:
        (atom, k), = rest.terms.items()
        if k == 1 and isinstance(atom, Divided):
            return atom.inner // (atom.by * n)
        if k == 1 and isinstance(atom, Remainder) and atom.by % n == 0:
            return (atom.inner // n) % (atom.by // n)
    return Index({Divided(rest, n): 1})


def _remainder(rest: Index, n: int) -> Index:
    """rest % n, likewise."""
    low, high = rest.bounds()
    if low // n == high // n:
        return rest - (low // n) * n
    coarse = _coarse(rest, n)
    if coarse is not None:
        g, whole, fine = coarse
        return (whole % (n // g)) * g + fine
    if len(rest.terms) == 1 and rest.constant == 0:
        (atom, k), = rest.terms.items()
        if k == 1 and isinstance(atom, Remainder) and atom.by % n == 0:
            return atom.inner % n
    return Index({Remainder(rest, n): 1})


def _joined(index: Index) -> Index:
    """(x // n) n k + (x % n) k becomes x k; ((x // n) % m) n k + (x % n) k becomes (x % (n m)) k.
    """
    if len(index.terms) < 2:
        return index
    for atom, k in index.terms.items():
        if type(atom) is not Remainder:
            continue
        n, x = atom.by, atom.inner
        others = {a: c for a, c in index.terms.items() if a is not atom}
        whole = x // n
        if len(whole.terms) != 1 or whole.constant:
            continue
        (above, one), = whole.terms.items()
        if one == 1 and others.get(above) == n * k:
            del others[above]
            return _index(others, index.constant) + x * k
        for other, c in others.items():
            if isinstance(other, Remainder) and c == n * k and other.inner == whole:
                del others[other]
                return _index(others, index.constant) + (x % (n * other.by)) * k
    return index


def linear(indices: Sequence[Index], strides: Sequence[int], offset: int = 0) -> Index:
    """offset + sum of index * stride."""
    terms: dict[Atom, int] = {}
    for index, stride in zip(indices, strides, strict=True):
        if stride:
            _accumulate(terms, index.terms, stride)
            offset += index.constant * stride
    return _joined(_index(terms, offset))


def delinearize(index: Index, shape: Sequence[int]) -> tuple[Index, ...]:
    """The coordinates, in a row-major array of `shape`, of the element at a linear index."""
    result: list[Index] = []
    step = 1
    count = 1
    for n in shape:
        count *= n
    for n in reversed(shape):
        if n == 1:
            result.append(ZERO)
            continue
        coordinate = index // step
        # the outermost needs no remainder
        result.append(coordinate if step * n == count else coordinate % n)
        step *= n
    return tuple(reversed(result))


def split_points(indices: Iterable[Index], variable: Variable) -> int | None:
    """A factor by which splitting the variable removes a division or remainder; None if there is
    none.
    """
    found: int | None = None

    def visit(index: Index) -> None:
        nonlocal found
        for atom in index.terms:
            if not isinstance(atom, (Divided, Remainder)):
                continue
            k = atom.inner.terms.get(variable)
            if k and atom.by % k == 0:
                n = atom.by // k
                if 1 < n < variable.size and variable.size % n == 0:
                    found = n if found is None else min(found, n)
            visit(atom.inner)

    for index in indices:
        visit(index)
    return found


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def channels_last(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a packed tensor whose second dimension varies fastest."""
    batch, channels, *space = shape
    outer, *inner = contiguous_strides((batch, *space, channels))
    return (outer, 1, *inner[:-1])


def dense_strides(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Packed strides with dimensions in `order`, the outermost first."""
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


def stride_order(strides: Sequence[int], shape: Sequence[int]) -> list[int]:
    """Dimensions from the outermost in memory to the innermost; those of size 1 keep their place.
    """
    return sorted(
        range(len(shape)), key=lambda d: (-abs(strides[d]) if shape[d] > 1 else -abs(strides[d]), d)
    )


def evaluate(index: Index, values: Mapping[Any, int]) -> int:
    """The number that an expression is for values of its variables: for tests and the interpreter.
    """
    total = index.constant
    for atom, k in index.terms.items():
        if isinstance(atom, Divided):
            total += k * (evaluate(atom.inner, values) // atom.by)
        elif isinstance(atom, Remainder):
            total += k * (evaluate(atom.inner, values) % atom.by)
        else:
            total += k * values[atom]
    return total
