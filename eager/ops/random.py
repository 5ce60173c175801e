"""Random operators. Each is a pure function of a seed and an offset, its twin in terms of
`philox_uniform` and `philox_normal`.

`op.count(*bound)` says by how much a call advances the generator's offset;
`op.twin(state, extra, *bound)` is the same call with `state`, an int64 tensor (seed, offset), in
place of the generator, `extra` blocks further on. An in-place operator's twin gives the value that
is to be written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager import rng
from eager.op import composite, extern, ops
from eager.ops.creation import Creation, _like_spec, empty_array_like, sized, sizes_of
from eager.shape import like_strides, numel
from eager.spec import Spec
from eager.tensor import Tensor


def _kind(dtype: Any) -> dtypes.dtype:
    return dtypes.get_default_dtype() if dtype is None else dtype


def _state(generator: Any, count: int) -> tuple[int, int]:
    return (generator or rng.default_generator).reserve(count)


# -- the pure operators ----------------------------------------------------------------------------


def _seeded(seed: np.ndarray, extra: int) -> tuple[int, int]:
    return int(seed[0]) & (2**64 - 1), (int(seed[1]) + extra) & (2**64 - 1)


@extern(spec=lambda seed, shape, dtype, extra: Spec(shape, dtype), saves="", method=False)
def philox_uniform(seed, shape, dtype, extra=0):
    """Numbers in [0, 1) from a tensor (seed, offset), `extra` blocks after the offset."""
    return rng.uniform(*_seeded(seed, extra), numel(shape), dtype.numpy).reshape(shape)


@extern(spec=lambda seed, shape, dtype, extra: Spec(shape, dtype), saves="", method=False)
def philox_normal(seed, shape, dtype, extra=0):
    """Standard normal numbers from a tensor (seed, offset), `extra` blocks after the offset."""
    return rng.normal(*_seeded(seed, extra), numel(shape), dtype.numpy).reshape(shape)


@extern(
    spec=lambda seed, shape, low, high, dtype, extra: Spec(shape, dtype), saves="", method=False
)
def philox_randint(seed, shape, low, high, dtype, extra=0):
    """Integers in [low, high) from a tensor (seed, offset), `extra` blocks after the offset."""
    return _integers(*_seeded(seed, extra), shape, low, high, dtype.numpy)


def _integers(
    seed: int, offset: int, shape: Any, low: int, high: int, kind: np.dtype
) -> np.ndarray:
    """64-bit words modulo the range."""
    span = high - low
    found = rng.long_words(seed, offset, numel(shape))
    found = found % np.uint64(span) if span < 2**64 else found
    return (found.astype(np.int64) + np.int64(low)).reshape(shape).astype(kind)


@extern(spec=lambda seed, n, dtype, extra: Spec((n,), dtype), saves="", method=False)
def philox_permutation(seed, n, dtype, extra=0):
    """A random order of 0 to n - 1 from a tensor (seed, offset), `extra` blocks further on."""
    return _permutation(*_seeded(seed, extra), n, dtype.numpy)


def _permutation(seed: int, offset: int, n: int, kind: np.dtype) -> np.ndarray:
    return np.argsort(rng.long_words(seed, offset, n), kind="stable").astype(kind)


def _declare(op: Any, count: Callable, twin: Callable) -> Any:
    op.random, op.count, op.twin = True, count, twin
    return op


def _blocks(shape: Any, kind: dtypes.dtype) -> Any:
    count = numel(shape) * 2 if kind.is_complex else numel(shape)
    return rng.advance(count, kind.to_real() is dtypes.float64)


# -- new tensors -----------------------------------------------------------------------------------


def _check_float(name: str, dtype: Any) -> dtypes.dtype:
    found = _kind(dtype)
    if found.category < dtypes.FLOATING:
        raise RuntimeError(f'"{name}" not implemented for {found.name!r}')
    return found


def _rand_spec(size, generator, dtype, *rest):
    return Spec(sizes_of(size), _check_float("uniform", dtype))


def _fresh(name: str, draw: Callable, pure: str, doc: str) -> Creation:
    """`rand` and `randn`: sizes in, numbers out."""

    def function(
        size,
        *,
        generator=None,
        dtype=None,
        layout=None,
        device=None,
        requires_grad=False,
        pin_memory=False,
    ):
        found, shape = _check_float(name, dtype), sizes_of(size)
        return draw(*_state(generator, _blocks(shape, found)), numel(shape), found.numpy).reshape(
            shape
        )

    function.__name__, function.__doc__, function.__module__ = name, doc, __name__
    op = Creation(function, spec=_rand_spec, front=sized(), random=True)
    return _declare(
        op,
        lambda size, generator, dtype, *rest: _blocks(sizes_of(size), _kind(dtype)),
        lambda state, extra, size, generator, dtype, *rest: getattr(ops, pure)(
            state, sizes_of(size), _kind(dtype), extra
        ),
    )


rand = _fresh("rand", rng.uniform, "philox_uniform", "Numbers drawn evenly from [0, 1).")
randn = _fresh(
    "randn", rng.normal, "philox_normal", "Numbers drawn from the standard normal distribution."
)


def _fresh_like(name: str, draw: Callable, pure: str, doc: str) -> Creation:
    def function(
        input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None
    ):
        found = _check_float(name, dtype or dtypes.from_numpy(input.dtype))
        result = empty_array_like(input, found.numpy, memory_format)
        result[...] = draw(
            *_state(None, _blocks(input.shape, found)), numel(input.shape), found.numpy
        ).reshape(input.shape)
        return result

    function.__name__, function.__doc__, function.__module__ = name, doc, __name__
    op = Creation(function, spec=_like_spec, saves="", random=True)
    return _declare(
        op,
        lambda input, dtype, *rest: _blocks(input.shape, dtype or input.dtype),
        lambda state, extra, input, dtype, *rest: getattr(ops, pure)(
            state, tuple(input.shape), dtype or input.dtype, extra
        ),
    )


rand_like = _fresh_like(
    "rand_like",
    rng.uniform,
    "philox_uniform",
    "Numbers from [0, 1) in the shape of another tensor.",
)
randn_like = _fresh_like(
    "randn_like",
    rng.normal,
    "philox_normal",
    "Standard normal numbers in the shape of another tensor.",
)


def _randint_front(call, *args, **kwargs):
    """The forms `randint(high, size)` and `randint(low, high, size)`."""
    if "low" not in kwargs and (
        len(args) == 1 or (len(args) == 2 and isinstance(args[1], (tuple, list)))
    ):
        args = (0, *args)
    elif "low" not in kwargs and not args:
        kwargs["low"] = 0
    return call(*args, **kwargs)


def _span(low: Any, high: Any) -> None:
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )


def _randint_spec(low, high, size, generator, dtype, *rest):
    _span(low, high)
    return Spec(sizes_of(size), dtype or dtypes.int64)


def _randint(
    low,
    high,
    size,
    *,
    generator=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Integers drawn evenly from [low, high)."""
    _span(low, high)
    shape = sizes_of(size)
    return _integers(
        *_state(generator, rng.advance(numel(shape), True)),
        shape,
        low,
        high,
        (dtype or dtypes.int64).numpy,
    )


randint = _declare(
    Creation(_randint, name="randint", spec=_randint_spec, front=_randint_front, random=True),
    lambda low, high, size, *rest: rng.advance(numel(sizes_of(size)), True),
    lambda state, extra, low, high, size, generator, dtype, *rest: ops.philox_randint(
        state, sizes_of(size), low, high, dtype or dtypes.int64, extra
    ),
)


def _randint_like_front(call, input, *args, **kwargs):
    return call(input, *((0, *args) if len(args) == 1 and "high" not in kwargs else args), **kwargs)


@composite(method=False, front=_randint_like_front)
def randint_like(
    input,
    low,
    high,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    memory_format=None,
):
    """Integers from [low, high) in the shape and type of another tensor."""
    return ops.randint(
        low, high, tuple(input.shape), dtype=dtype or input.dtype, requires_grad=requires_grad
    )


def _randperm(
    n,
    *,
    generator=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """A random order of 0 to n - 1."""
    _randperm_spec(n, generator, dtype)
    return _permutation(*_state(generator, rng.advance(n, True)), n, (dtype or dtypes.int64).numpy)


def _randperm_spec(n, generator, dtype, *rest):
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    return Spec((n,), dtype or dtypes.int64)


randperm = _declare(
    Creation(_randperm, name="randperm", spec=_randperm_spec, random=True),
    lambda n, *rest: rng.advance(n, True),
    lambda state, extra, n, generator, dtype, *rest: ops.philox_permutation(
        state, n, dtype or dtypes.int64, extra
    ),
)


# -- distributions over tensors --------------------------------------------------------------------


def _same_spec(input, *rest):
    return Spec(input.shape, input.dtype, input.device, like_strides(input.shape, [input]))


def _check_shares(array: np.ndarray) -> None:
    if array.size and not (0 <= array.min() and array.max() <= 1):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")


def _unit(generator: Any, shape: Any, kind: np.dtype) -> np.ndarray:
    """Uniform numbers to compare with shares or to transform, in float64 for doubles and float32
    otherwise."""
    wide = np.dtype(np.float64 if kind == np.float64 else np.float32)
    seed, offset = _state(generator, rng.advance(numel(shape), rng.is_wide(wide)))
    return rng.uniform(seed, offset, numel(shape), wide).reshape(shape)


def _unit_kind(dtype: dtypes.dtype) -> dtypes.dtype:
    if dtype.is_complex:
        return dtype
    return dtypes.float64 if dtype is dtypes.float64 else dtypes.float32


def _unit_blocks(input, *rest):
    return _blocks(input.shape, _unit_kind(input.dtype))


def _unit_twin(state: Any, extra: Any, input: Any) -> Any:
    return ops.philox_uniform(state, tuple(input.shape), _unit_kind(input.dtype), extra)


def _bernoulli_spec(input, p, generator):
    if p is None and not input.dtype.is_floating_point:
        raise RuntimeError(
            f"bernoulli() expects probabilities of a floating point type, got {input.dtype}"
        )
    return _same_spec(input)


def _bernoulli_vjp(g, out, input, p, generator):
    return ops.zeros_like(g)


def _bernoulli_front(call, input, p=None, generator_=None, *, generator=None, out=None):
    found = call(input, p, generator_ or generator)
    if out is None:
        return found
    out.resize_(found.shape) if out.shape != found.shape else None
    return out.copy_(found)


def _bernoulli_kernel(input, p, generator):
    share = input if p is None else p
    _check_shares(np.asarray(share))
    return _unit(generator, input.shape, input.dtype) < share


def _bernoulli_into(target, p, generator):
    target[...] = _bernoulli_kernel(target, p, generator)


@extern(
    spec=_bernoulli_spec,
    vjp=_bernoulli_vjp,
    saves="",
    random=True,
    method=False,
    front=_bernoulli_front,
    inplace=_bernoulli_into,
)
def bernoulli(input, p=None, generator=None):
    """1 with the probability that the input says (or `p` everywhere), else 0."""
    return _bernoulli_kernel(input, p, generator).astype(input.dtype)


_declare(
    bernoulli,
    _unit_blocks,
    lambda state, extra, input, p, generator: ops.convert(
        _unit_twin(state, extra, input) < (input if p is None else p), input.dtype
    ),
)
Tensor.bernoulli = lambda self, p=None, *, generator=None: bernoulli(self, p, generator=generator)  # type: ignore[attr-defined]


def _bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Overwrite with 1 (with probability `p`, a number or a tensor) and 0."""
    return ops.bernoulli_(self, p, generator)


Tensor.bernoulli_ = _bernoulli_  # type: ignore[attr-defined]


def _drawn(transform: Callable) -> tuple[Callable, Callable]:
    """A kernel and an in-place kernel that transform uniform numbers: `transform(numbers,
    *parameters)`."""

    def run(input, *rest):
        *parameters, generator = rest
        return np.asarray(
            transform(_unit(generator, input.shape, input.dtype), *parameters)
        ).astype(input.dtype)

    def into(target, *rest):
        target[...] = run(target, *rest)

    return run, into


def _zero_vjp(g, out, *bound):
    return ops.zeros_like(g)


def _overwriting(transform: Callable, pure: Callable) -> Callable:
    """Declare an operator that has the shape and type of its input and random values; `x.name_()`
    overwrites x with them.

    `transform` works on arrays of uniform numbers, `pure` is the same in operators.
    """
    run, into = _drawn(transform)

    def declare(function: Callable) -> Any:
        op = extern(
            function,
            spec=_same_spec,
            vjp=_zero_vjp,
            saves="",
            random=True,
            method=False,
            inplace=into,
        )
        op.function = run
        twin = lambda state, extra, input, *rest: ops.convert(
            pure(_unit_twin(state, extra, input), *rest[:-1]), input.dtype
        )  # noqa: E731
        op.in_place.random = True
        return _declare(op, _unit_blocks, twin)

    return declare


def _demand(holds: bool, words: str) -> None:
    if not holds:
        raise RuntimeError(words)


def _exponential(u, rate):
    _demand(rate > 0, f"exponential_ expects lambda > 0.0, but found lambda={rate}")
    return -np.log1p(-u) / u.dtype.type(rate)


def _geometric(u, p):
    _demand(0 < p < 1, f"geometric_ expects p to be in (0, 1), but got p={p}")
    return np.ceil(np.log1p(-u) / np.log1p(-u.dtype.type(p))).clip(1)


def _cauchy(u, median, sigma):
    _demand(sigma > 0, f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return median + sigma * np.tan(np.pi * (u - u.dtype.type(0.5)))


def _uniform(u, low, high):
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}"
        )
    return u * u.dtype.type(high - low) + u.dtype.type(low)


@_overwriting(_uniform, lambda u, low, high: u * (high - low) + low)
def uniform(input, from_=0.0, to=1.0, generator=None):
    """Numbers drawn evenly from [from, to), in the shape and type of the input."""


@_overwriting(
    _exponential,
    lambda u, rate: ops.log1p(u * -1) * (-1 / rate),
)
def exponential(input, lambd=1.0, generator=None):
    """Numbers of the exponential distribution."""


@_overwriting(
    _geometric,
    lambda u, p: ops.clamp(ops.ceil(ops.log1p(u * -1) / float(np.log1p(-p))), 1),
)
def geometric(input, p, generator=None):
    """Numbers of the geometric distribution: how many trials until the first success."""


@_overwriting(
    _cauchy,
    lambda u, median, sigma: ops.tan((u - 0.5) * float(np.pi)) * sigma + median,
)
def cauchy(input, median=0.0, sigma=1.0, generator=None):
    """Numbers of the Cauchy distribution."""


def _normal_values(input: np.ndarray, mean: Any, std: Any, generator: Any) -> np.ndarray:
    if (
        not isinstance(std, np.ndarray)
        and std < 0
        or isinstance(std, np.ndarray)
        and std.size
        and std.min() < 0
    ):
        raise RuntimeError(
            f"normal expects std >= 0.0, but found std {std if np.ndim(std) == 0 else np.min(std)}"
        )
    kind = _unit_kind(dtypes.from_numpy(input.dtype))
    wide = kind.numpy
    seed, offset = _state(generator, _blocks(input.shape, kind))
    values = rng.normal(seed, offset, input.size, wide).reshape(input.shape)
    if isinstance(mean, np.ndarray) or isinstance(std, np.ndarray):
        return (values * std + mean).astype(input.dtype)
    if std != 1:
        values *= wide.type(std)
    if mean != 0:
        values += wide.type(mean)
    return values.astype(input.dtype, copy=False)


def _normal_into(target, mean, std, generator):
    target[...] = _normal_values(target, mean, std, generator)


def _normal_front(
    call,
    mean,
    std=None,
    size=None,
    generator_=None,
    *,
    generator=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
    out=None,
):
    """PyTorch's forms `(mean, std, size)`, `(mean, std)` with tensors; the declared form is
    `(input, mean, std, generator)`."""
    if isinstance(mean, Tensor) and size is not None and not isinstance(size, (tuple, list)):
        return call(mean, std, size, generator_ or generator)
    std = 1.0 if std is None else std
    if size is not None:
        result = call(ops.empty(sizes_of(size), dtype=dtype), mean, std, generator)
        return result.requires_grad_() if requires_grad else result
    tensors = [t for t in (mean, std) if isinstance(t, Tensor)]
    if not tensors:
        raise TypeError("normal(): needs tensors of means or deviations, or a size")
    shape = np.broadcast_shapes(*(tuple(t.shape) for t in tensors))
    result = call(ops.empty(shape, dtype=tensors[0].dtype), mean, std, generator)
    return result if out is None else out.copy_(result)


@extern(
    spec=_same_spec,
    vjp=(_zero_vjp, None, None),
    saves="",
    random=True,
    method=False,
    inplace=_normal_into,
    front=_normal_front,
)
def normal(input, mean, std, generator=None):
    """Normally distributed numbers in the shape and type of the input; also `normal(mean, std)` and
    `normal(mean, std, size)`."""
    return _normal_values(input, mean, std, generator)


def _normal_twin(state, extra, input, mean, std, generator):
    return ops.convert(
        ops.philox_normal(state, tuple(input.shape), _unit_kind(input.dtype), extra) * std + mean,
        input.dtype,
    )


_declare(normal, _unit_blocks, _normal_twin)
normal.in_place.random = True


def _normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Overwrite with normally distributed numbers."""
    return ops.normal_(self, mean, std, generator)


def _uniform_(
    self: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Any = None, **given: Any
) -> Tensor:
    """`uniform_(from=0, to=1)`: overwrite with numbers drawn evenly."""
    return ops.uniform_(self, given.pop("from", a), given.pop("to", b), generator)


def _exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Overwrite with numbers of the exponential distribution."""
    return ops.exponential_(self, lambd, generator)


def _geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Overwrite with numbers of the geometric distribution."""
    return ops.geometric_(self, p, generator)


def _cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None
) -> Tensor:
    """Overwrite with numbers of the Cauchy distribution."""
    return ops.cauchy_(self, median, sigma, generator)


def _log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None
) -> Tensor:
    """Overwrite with numbers whose logarithms are normally distributed."""
    _demand(std > 0, f"log_normal_ expects std > 0.0, but found std={std}")
    return ops.normal_(self, mean, std, generator).exp_()


def _random_(self: Tensor, *bounds: Any, generator: Any = None, **given: Any) -> Tensor:
    """`random_()`, `random_(to)`, `random_(from, to)`: overwrite with integers."""
    low = given.pop("from", bounds[0] if len(bounds) == 2 else 0)
    high = given.pop("to", bounds[-1] if bounds else None)
    if high is None:
        kind = self.dtype
        digits = {dtypes.float16: 11, dtypes.bfloat16: 8, dtypes.float32: 24, dtypes.float64: 53}
        high = (
            2 ** digits[kind] + 1
            if kind in digits
            else 2
            if kind is dtypes.bool_
            else int(np.iinfo(kind.numpy).max)
        )
    return ops.copy_(self, ops.randint(low, high, tuple(self.shape), generator=generator))


for _method in (_normal_, _uniform_, _exponential_, _geometric_, _cauchy_, _log_normal_, _random_):
    _method.__name__ = _method.__name__[1:]
    setattr(Tensor, _method.__name__, _method)
