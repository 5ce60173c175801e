"""The loop IR: buffers, and loops that fill them.

A `Loop` computes one buffer: for every point of its dimensions the value of its body, or, for a
reduction, the combination of the body over the reduced dimensions. A body is define-by-run: a
function `body(s, coordinates)` of an algebra `s` and one `Index` per dimension. Running it under
one handler emits code, under another lists what it reads (`Inspection`), under a third prints it.
`TypedAlgebra` is what the handlers share: the scalar algebra of eager/algebra.py, with NumPy's
rules for the types of results.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from inductor.index import Index, Indirect, Variable, contiguous_strides, linear, symbol

HALF = ("float16", "bfloat16")
ITEMSIZE = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
    "int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8,
    "complex64": 8, "complex128": 16,
}


@dataclass(eq=False)
class Buffer:
    """Memory for `size` elements; `kind` is "input", "temporary", "output", "constant", "exchanged"
    for a temporary that fallbacks see, or "kept" for a packed weight (`weights.Kept`).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: str = "temporary"
    size: int = -1
    value: Any = None
    readers: int = 0

    def __post_init__(self) -> None:
        if self.size < 0:
            self.size = span(self.shape, self.strides)

    @property
    def bytes(self) -> int:
        return self.size * ITEMSIZE[self.dtype]

    def index(self, coordinates: Sequence[Index]) -> Index:
        """Where in the memory the element at some coordinates is."""
        return linear(coordinates, self.strides)

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype}{list(self.shape)}"


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last of a strided array, both included."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0)


Body = Callable[["TypedAlgebra", tuple[Index, ...]], "Value"]

COMBINE = ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin")


@dataclass(eq=False)
class Loop:
    """Fills `target` at `write`, an index over `dims`; a reduction combines over `reduced` by
    `combine`.

    `coordinates` say, in the loop's variables, at which point the body is to be run; they start as
    the variables themselves and follow when a dimension is split. `finish(s, value)` maps the
    combined value to the result.

    A scatter ("set" or "add") writes into a buffer that another loop has filled, at coordinates
    that `place` computes; its `dims` are those of what is written, and `write` is not used.
    """

    target: Buffer
    dims: tuple[Variable, ...]
    write: Index
    body: Body
    reduced: tuple[Variable, ...] = ()
    combine: str | None = None
    accumulate: str = "float32"
    finish: Callable[[TypedAlgebra, Value], Value] | None = None
    coordinates: tuple[Index, ...] = ()
    name: str = ""
    origins: tuple[str, ...] = ()
    scatter: str = ""
    place: Callable[[TypedAlgebra, tuple[Index, ...]], tuple[Index, ...]] | None = None
    rank: int = -1
    reduced_shape: tuple[int, ...] = ()
    _inspection: Inspection | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.coordinates:
            self.coordinates = tuple(symbol(v) for v in (*self.dims, *self.reduced))
        if self.rank < 0:
            self.rank = len(self.dims)
            self.reduced_shape = tuple(v.size for v in self.reduced)
        self.name = self.name or self.target.name

    @property
    def is_reduction(self) -> bool:
        return self.combine is not None

    def element(self, s: TypedAlgebra, at: dict[Any, Index]) -> Value:
        """The body at a point: the loop's variables replaced by indices."""
        return self.body(s, tuple(c.substitute(at) for c in self.coordinates))

    def result(self, s: TypedAlgebra, at: dict[Any, Index]) -> Value:
        """The value that a pointwise loop stores."""
        return s.cast_to(self.element(s, at), self.target.dtype)

    def inspect(self) -> Inspection:
        """What the body reads and how much it computes, in terms of the loop's own variables."""
        if self._inspection is None:
            found = Inspection()
            self.element(found, {})
            if self.place is not None:
                self.place(found, self.coordinates)
            self._inspection = found
        return self._inspection

    def split(self, variable: Variable, factor: int) -> None:
        """Replace a dimension of size n by two of sizes n / factor and factor."""
        outer = Variable(f"{variable.name}a", variable.size // factor)
        inner = Variable(f"{variable.name}b", factor)
        self.replace({variable: symbol(outer) * factor + symbol(inner)}, {variable: (outer, inner)})

    def replace(
        self, mapping: dict[Any, Index], renewed: dict[Variable, tuple[Variable, ...]]
    ) -> None:
        """Express everything in other variables."""

        def renew(variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
            return tuple(new for v in variables for new in renewed.get(v, (v,)))

        self.dims, self.reduced = renew(self.dims), renew(self.reduced)
        self.write = self.write.substitute(mapping)
        self.coordinates = tuple(c.substitute(mapping) for c in self.coordinates)
        self._inspection = None


class Value:
    """A scalar of one point of a loop, under one handler; `code` is what the handler knows it by.
    """

    __slots__ = ("s", "code", "dtype", "depends")

    def __init__(self, s: TypedAlgebra, code: Any, dtype: str, depends: Any = None):
        self.s, self.code, self.dtype, self.depends = s, code, dtype, depends

    def __repr__(self) -> str:
        return f"Value({self.code}: {self.dtype})"

    def __bool__(self) -> bool:
        raise TypeError("a scalar of a compiled loop has no truth value: use where(condition, a, b)")


_OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_div",
    "mod": "remainder", "pow": "pow", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}
for _python, _name in _OPERATORS.items():
    def _forward(self, other, _name=_name):
        return getattr(self.s, _name)(self, other)

    def _backward(self, other, _name=_name):
        return getattr(self.s, _name)(other, self)

    setattr(Value, f"__{_python}__", _forward)
    setattr(Value, f"__r{_python}__", _backward)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    def _compare(self, other, _name=_name):
        return getattr(self.s, _name)(self, other)

    setattr(Value, f"__{_name}__", _compare)
Value.__hash__ = object.__hash__  # type: ignore[method-assign]
Value.__neg__ = lambda self: self.s.neg(self)  # type: ignore[attr-defined,operator]
Value.__invert__ = lambda self: self.s.bitwise_not(self)  # type: ignore[attr-defined,operator]
Value.__abs__ = lambda self: self.s.abs(self)  # type: ignore[attr-defined]

FLOAT_FUNCTIONS = (
    "exp exp2 expm1 log log1p log2 log10 sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "erf erfc erfinv lgamma digamma sigmoid i0 reciprocal"
).split()
SAME_TYPE = "floor ceil round trunc abs sign neg square".split()
TESTS = "isnan isinf isfinite signbit".split()
COMPARISONS = "eq ne lt le gt ge".split()
LOGIC = "logical_and logical_or logical_xor".split()
ARITHMETIC = (
    "add sub mul floor_div remainder fmod pow maximum minimum fmax fmin bitwise_and bitwise_or bitwise_xor left_shift "
    "right_shift gcd lcm int_div"
).split()
FLOAT_BINARY = "div atan2 hypot copysign nextafter ldexp".split()


@functools.cache
def promoted(a: str, b: str) -> str:
    """NumPy's type of `a op b`; half types are computed in float32."""
    if a == b:
        return a
    if a in HALF or b in HALF:
        return promoted("float32" if a in HALF else a, "float32" if b in HALF else b)
    return np.promote_types(a, b).name


def is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


def is_integer(dtype: str) -> bool:
    return dtype.startswith(("int", "uint"))


class TypedAlgebra:
    """The scalar algebra over `Value`s; a handler implements `operation`, `literal`, `load`,
    `index` and `indirect`.

    `operation(name, dtype, values)` gets operands that have been converted to one type.
    """

    def __init__(self) -> None:
        self.memo: dict[Any, Any] = {}

    if TYPE_CHECKING:  # the primitives that `_install` adds

        def __getattr__(self, name: str) -> Callable[..., Value]: ...

    # -- what a handler implements
    # ------------------------------------------------------------------

    def operation(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        raise NotImplementedError

    def literal(self, value: Any, dtype: str) -> Value:
        raise NotImplementedError

    def load(self, buffer: Buffer, index: Index) -> Value:
        raise NotImplementedError

    def index(self, index: Index, dtype: str = "int64") -> Value:
        """An index as a number."""
        raise NotImplementedError

    def indirect(self, value: Value, size: int, wrap: bool = False) -> Index:
        """A computed number as an index into a dimension of `size`; the kernel fails where it is
        out of range.

        With `wrap`, negative numbers count from the end.
        """
        raise NotImplementedError

    def clamped(self, value: Value, condition: Value, size: int) -> Index:
        """A number as an index where the condition holds, 0 elsewhere: what is read there is not
        used.
        """
        raise NotImplementedError

    def convert(self, value: Value, dtype: str) -> Value:
        raise NotImplementedError

    def random(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        """A random number, a pure function of seed, offset and position: see codegen/philox.py."""
        raise NotImplementedError

    # -- shared
    # -------------------------------------------------------------------------------------

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """`compute()`, or what it gave for an equal key before."""
        found = self.memo.get(key)
        if found is None:
            found = self.memo[key] = compute()
        return found

    def cast_to(self, value: Any, dtype: str) -> Value:
        """The value in a type; values in half precision stay float32 until they are stored."""
        if not isinstance(value, Value):
            return self.literal(value, "float32" if dtype in HALF else dtype)
        if value.dtype == dtype or (dtype in HALF and value.dtype == "float32"):
            return value
        if dtype in HALF:
            return self.convert(value, "float32")
        return self.convert(value, dtype)

    def cast(self, value: Any, dtype: Any) -> Value:
        name = getattr(dtype, "name", dtype)
        if name in HALF and isinstance(value, Value):
            return self.operation(f"round_{name}", "float32", (self.cast_to(value, "float32"),))
        return self.cast_to(value, name)

    def constant(self, value: Any, dtype: Any) -> Value:
        name = getattr(dtype, "name", dtype)
        return self.literal(value, "float32" if name in HALF else name)

    def common(self, values: Sequence[Any], floating: bool = False) -> tuple[Value, ...]:
        """The operands in their common type; Python numbers take the type of their partners."""
        dtype: str | None = None
        for value in values:
            if isinstance(value, Value):
                dtype = value.dtype if dtype is None else promoted(dtype, value.dtype)
        for value in values:
            if not isinstance(value, Value):
                dtype = _with_number(dtype, value)
        assert dtype is not None
        if floating and not is_float(dtype):
            dtype = "float64"
        return tuple(self.cast_to(value, dtype) for value in values)

    def _unary_float(self, name: str, value: Any) -> Value:
        (x,) = self.common((value,), floating=True)
        return self.operation(name, x.dtype, (x,))

    def _unary_same(self, name: str, value: Any) -> Value:
        (x,) = self.common((value,))
        if not is_float(x.dtype) and name in ("floor", "ceil", "round", "trunc"):
            return x
        return self.operation(name, x.dtype, (x,))

    def _test(self, name: str, value: Any) -> Value:
        (x,) = self.common((value,))
        if is_float(x.dtype) or name == "signbit":
            return self.operation(name, "bool", (x,))
        return self.literal(name == "isfinite", "bool")

    def _compare(self, name: str, left: Any, right: Any) -> Value:
        return self.operation(name, "bool", self.common((left, right)))

    def _logic(self, name: str, left: Any, right: Any) -> Value:
        values = self.cast_to(left, "bool"), self.cast_to(right, "bool")
        return self.operation(name, "bool", values)

    def _arithmetic(self, name: str, left: Any, right: Any) -> Value:
        values = self.common((left, right))
        dtype = values[0].dtype
        if name == "int_div" and is_float(dtype):
            return self.trunc(self.operation("div", dtype, values))
        if dtype == "bool" and name in ("add", "mul", "maximum", "minimum", "fmax", "fmin"):
            simple = "bitwise_or" if name in ("add", "maximum", "fmax") else "bitwise_and"
            return self.operation(simple, dtype, values)
        if dtype == "bool" and not name.startswith("bitwise"):
            values = tuple(self.cast_to(v, "int8") for v in values)
            dtype = "int8"
        return self.operation(name, dtype, values)

    def _binary_float(self, name: str, left: Any, right: Any) -> Value:
        values = self.common((left, right), floating=True)
        return self.operation(name, values[0].dtype, values)

    def pow(self, left: Any, right: Any) -> Value:
        """left ** right; small constant exponents become products."""
        if isinstance(left, Value) and not isinstance(right, (Value, complex)):
            x, _ = self.common((left, right))
            if right == 2:
                return self.mul(x, x)
            if right == 3:
                return self.mul(self.mul(x, x), x)
            if right == 1:
                return x
            if is_float(x.dtype) and right in (0.5, -0.5, -1):
                name = {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}[right]
                return getattr(self, name)(x)
        return self._arithmetic("pow", left, right)

    def where(self, condition: Any, yes: Any, no: Any) -> Value:
        picked = self.common((yes, no))
        condition = self.cast_to(condition, "bool")
        return self.operation("where", picked[0].dtype, (condition, *picked))

    def logical_not(self, value: Any) -> Value:
        return self.operation("logical_not", "bool", (self.cast_to(value, "bool"),))

    def bitwise_not(self, value: Value) -> Value:
        name = "logical_not" if value.dtype == "bool" else "bitwise_not"
        return self.operation(name, value.dtype, (value,))

    def conj(self, value: Value) -> Value:
        return value

    real = conj

    def imag(self, value: Value) -> Value:
        return self.literal(0, value.dtype)

    def angle(self, value: Any) -> Value:
        (x,) = self.common((value,), floating=True)
        turned = self.where(self.lt(x, 0), np.pi, 0.0)
        return self.where(self.isnan(x), x, self.cast_to(turned, x.dtype))


def _with_number(dtype: str | None, number: Any) -> str:
    if isinstance(number, (bool, np.bool_)):
        return dtype or "bool"
    if isinstance(number, (int, np.integer)):
        return "int64" if dtype in (None, "bool") else dtype  # type: ignore[return-value]
    if isinstance(number, complex):
        raise NotImplementedError("complex numbers have no compiled form")
    return dtype if dtype is not None and is_float(dtype) else "float64"


def _install(names: Sequence[str], rule: str, count: int) -> None:
    for name in names:
        if name in TypedAlgebra.__dict__:
            continue
        if count == 1:
            def method(self, value, _name=name):
                return getattr(self, rule)(_name, value)
        else:
            def method(self, left, right, _name=name):  # type: ignore[misc]
                return getattr(self, rule)(_name, left, right)
        method.__name__ = name
        setattr(TypedAlgebra, name, method)


_install(FLOAT_FUNCTIONS, "_unary_float", 1)
_install(SAME_TYPE, "_unary_same", 1)
_install(TESTS, "_test", 1)
_install(COMPARISONS, "_compare", 2)
_install(LOGIC, "_logic", 2)
_install(ARITHMETIC, "_arithmetic", 2)
_install(FLOAT_BINARY, "_binary_float", 2)

OPERATIONS = frozenset(
    (*FLOAT_FUNCTIONS, *SAME_TYPE, *TESTS, *COMPARISONS, *LOGIC, *ARITHMETIC, *FLOAT_BINARY,
     "where", "logical_not", "bitwise_not", "round_float16", "round_bfloat16")
)
"""Every name that a handler's `operation` is called with."""

WEIGHTS = {name: 12 for name in FLOAT_FUNCTIONS} | {
    "sqrt": 4, "rsqrt": 5, "reciprocal": 3, "div": 3, "floor_div": 6, "remainder": 6, "fmod": 8, "pow": 25,
    "erf": 20, "atan2": 25, "random": 60, "int_div": 6,
}


@dataclass(frozen=True)
class Read:
    """One load of a body."""

    buffer: Buffer
    index: Index


class Inspection(TypedAlgebra):
    """A handler that computes nothing: it lists the loads and counts the operations."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: dict[tuple[int, Index], Read] = {}
        self.weight = 0
        self.indices: list[Index] = []
        self.checks = 0
        self._seen: set[Any] = set()

    def operation(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        key = (name, *(v.code for v in values))
        if key not in self._seen:
            self._seen.add(key)
            self.weight += WEIGHTS.get(name, 1)
        return Value(self, key, dtype)

    def literal(self, value: Any, dtype: str) -> Value:
        return Value(self, ("literal", repr(value), dtype), dtype)

    def load(self, buffer: Buffer, index: Index) -> Value:
        self.reads[id(buffer), index] = Read(buffer, index)
        return Value(self, ("load", id(buffer), index), _register(buffer.dtype))

    def index(self, index: Index, dtype: str = "int64") -> Value:
        self.indices.append(index)
        return Value(self, ("index", index), dtype)

    def indirect(self, value: Value, size: int, wrap: bool = False) -> Index:
        self.checks += 1
        return symbol(Indirect(f"checked_{hash((value.code, wrap)) & 0xFFFFFFFFFFFF}", size))

    def clamped(self, value: Value, condition: Value, size: int) -> Index:
        name = f"clamped_{hash((value.code, condition.code)) & 0xFFFFFFFFFFFF}"
        return symbol(Indirect(name, size))

    def convert(self, value: Value, dtype: str) -> Value:
        return Value(self, ("convert", value.code, dtype), dtype)

    def random(self, name: str, dtype: str, values: tuple[Value, ...]) -> Value:
        return self.operation("random", dtype, values)

    def all_indices(self) -> list[Index]:
        """Every index expression that occurs, of loads and of numbers."""
        return [*(r.index for r in self.reads.values()), *self.indices]


def _register(dtype: str) -> str:
    return "float32" if dtype in HALF else dtype


def pointwise(target: Buffer, body: Body, **rest: Any) -> Loop:
    """A loop over the whole of `target`."""
    dims = tuple(Variable(f"i{k}", n) for k, n in enumerate(target.shape))
    return Loop(target, dims, target.index([symbol(v) for v in dims]), body, **rest)


def reduction(
    target: Buffer, shape: Sequence[int], combine: str, body: Body, **rest: Any
) -> Loop:
    """A loop that fills `target` by combining the body over further dimensions of `shape`."""
    dims = tuple(Variable(f"i{k}", n) for k, n in enumerate(target.shape))
    reduced = tuple(Variable(f"r{k}", n) for k, n in enumerate(shape))
    write = target.index([symbol(v) for v in dims])
    return Loop(target, dims, write, body, reduced=reduced, combine=combine, **rest)


def temporary(name: str, dtype: str, shape: Sequence[int]) -> Buffer:
    """A contiguous buffer: for tests and simple lowerings."""
    return Buffer(name, dtype, tuple(shape), contiguous_strides(shape))
