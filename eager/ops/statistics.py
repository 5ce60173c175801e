"""Statistics composed of other operators, and in-place forms that PyTorch has without a functional
one."""

from __future__ import annotations

from typing import Any

from eager import dtype as dtypes
from eager.construct import tensor
from eager.op import composite, ops
from eager.ops.pointwise import tensors_only
from eager.ops.scan import areas
from eager.tensor import Tensor


@composite
def cov(input, *, correction=1, fweights=None, aweights=None):
    """The covariances of the rows (variables) over the columns (observations)."""
    if input.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input.ndim} dimensions"
        )
    rows = input if input.ndim == 2 else ops.reshape(input, (1, -1))
    if rows.dtype.category < dtypes.FLOATING:
        rows = ops.convert(rows, dtypes.get_default_dtype())
    weight = _weights(fweights, aweights, rows)
    if weight is None:
        total: Any = rows.shape[1]
        center = ops.mean(rows, 1, True)
        left = total - correction
    else:
        total = ops.sum(weight)
        center = ops.sum(rows * weight, 1, True) / total
        left = total - (
            correction * ops.sum(weight * aweights) / total if aweights is not None else correction
        )
    apart = rows - center
    scaled = apart if weight is None else apart * weight
    found = ops.mm(scaled, ops.conj(ops.transpose(apart, 0, 1))) / left
    return ops.reshape(found, ()) if rows.shape[0] == 1 else found


def _weights(fweights: Any, aweights: Any, rows: Any) -> Any:
    """The product of the weights of observations, in their own types; None without. Raises RuntimeError for wrong ones."""
    for name, given, integral in (("fweights", fweights, True), ("aweights", aweights, False)):
        if given is None:
            continue
        if given.ndim > 1 or given.numel() != rows.shape[1]:
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the input "
                f"but got {given.numel()} != {rows.shape[1]}"
            )
        if given.dtype.is_floating_point == integral:
            kind = "integral" if integral else "floating point"
            raise RuntimeError(f"cov(): expected {name} to have {kind} dtype but got {name} with {given.dtype} dtype")
        if given.numel() and bool(ops.any(given < 0)):
            raise RuntimeError(f"cov(): {name} cannot be negative")
    if fweights is None or aweights is None:
        return aweights if fweights is None else fweights
    return fweights * aweights


@composite
def corrcoef(input):
    """The correlations of the rows."""
    found = ops.cov(input)
    if found.ndim == 0:
        return found / found
    spread = ops.sqrt(ops.diagonal(found))
    found = found / ops.unsqueeze(spread, 1) / ops.unsqueeze(spread, 0)
    if found.is_complex():
        return ops.complex(ops.clamp(ops.real(found), -1, 1), ops.clamp(ops.imag(found), -1, 1))
    return ops.clamp(found, -1, 1)


@composite(method=False)
def cumulative_trapezoid(y, x=None, *, dx=1.0, dim=-1):
    """Running integrals by the trapezoidal rule."""
    found, d = areas(y, x, dim)
    return ops.cumsum(found, d) * ((dx if x is None else 1.0) / 2)


@composite(method=False)
def trapz(y, x=None, *, dx=1.0, dim=-1):
    """`trapezoid` under its old name."""
    return ops.trapezoid(y, x, dx=dx, dim=dim)


@composite(method=False)
def pdist(input, p=2.0):
    """The p-norm distances of all pairs of different rows."""
    count = input.shape[0]
    places = ops.triu_indices(count, count, 1)
    return ops.linalg_vector_norm(
        ops.index_select(input, 0, places[0]) - ops.index_select(input, 0, places[1]), p, -1
    )


@composite
def float_power(input, exponent):
    """`pow` in float64 (complex128)."""
    if not isinstance(exponent, Tensor):
        tensors_only("float_power", input=input)

    def wide(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return ops.convert(x, dtypes.complex128 if x.is_complex() else dtypes.float64)

    if not isinstance(input, Tensor):
        return ops.pow(ops.full((), input, dtype=dtypes.float64), wide(exponent))
    return ops.pow(wide(input), wide(exponent))


def _float_power_in_place(self: Tensor, exponent: Any) -> Tensor:
    """`float_power` written into this tensor, which must be of the result's type."""
    found = ops.float_power(self, exponent)
    if found.dtype is not self.dtype:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {self.dtype} but the operation's result requires dtype {found.dtype}"
        )
    return ops.copy_(self, found)


Tensor.float_power_ = _float_power_in_place  # type: ignore[attr-defined]


@composite
def logaddexp2(input, other):
    """`log2(2**input + 2**other)` without overflow."""
    tensors_only("logaddexp2", input=input, other=other)
    top = ops.maximum(input, other)
    gap = ops.where(input == other, ops.zeros_like(top), ops.minimum(input, other) - top)
    return top + ops.log2(1 + ops.exp2(gap))


@composite
def isreal(input):
    """Whether the imaginary part is zero."""
    return input.imag == 0 if input.is_complex() else ops.ones_like(input, dtype=dtypes.bool_)


def _sum_to_size_front(call, input, *size):
    return call(input, tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size)


@composite(front=_sum_to_size_front)
def sum_to_size(input, size):
    """The sum over the dimensions that `size` lacks or has as 1."""
    from eager.autograd import sum_to

    shape, rank = tuple(input.shape), len(size)
    if rank > len(shape) or any(n not in (1, m) for n, m in zip(size, shape[len(shape) - rank :])):
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}.")
    return sum_to(input, size) if size else ops.sum(input)


@composite(method=False)
def _is_all_true(input):
    """Whether all of a tensor of bools is true."""
    return ops.all(input)


@composite(method=False)
def is_nonzero(input):
    """The truth of a tensor of one element."""
    return bool(input)


def _fill_diagonal(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write one value on the main diagonal."""
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    ops.fill_(ops.diagonal(self) if self.ndim == 2 else _long_diagonal(self), fill_value)
    return self


def _long_diagonal(self: Tensor) -> Tensor:
    size = min(self.shape)
    return ops.as_strided(self, (size,), (sum(self.stride()),))


Tensor.fill_diagonal_ = _fill_diagonal  # type: ignore[attr-defined]
Tensor.resolve_conj = Tensor.resolve_neg = lambda self: self  # type: ignore[attr-defined]
Tensor.is_conj = Tensor.is_neg = lambda self: False  # type: ignore[attr-defined]
Tensor.is_nonzero = lambda self: bool(self)  # type: ignore[attr-defined]


def _compared(name: str) -> None:
    """In-place comparisons write 0 and 1 in the type of the tensor."""

    def method(self: Tensor, *args: Any) -> Tensor:
        return ops.copy_(self, getattr(ops, name)(self, *args))

    method.__name__, method.__doc__ = name + "_", f"`{name}` written into this tensor."
    setattr(Tensor, name + "_", method)


for _name in (
    "eq ne lt le gt ge logical_and logical_or logical_xor logical_not not_equal less less_equal greater greater_equal".split()
):
    _compared(_name)


def _over_elements(self: Tensor, function: Any, *others: Any) -> Tensor:
    """Each element becomes what a Python function makes of it, and of those of other tensors."""
    if self.requires_grad:
        raise RuntimeError("Can't call apply_() or map_() on a Variable that requires grad. Use var.detach().apply_()")
    if not all(isinstance(other, Tensor) and other.dtype is self.dtype for other in others):
        raise TypeError(f"map_(): expected tensors of type {self.dtype}")
    values = [ops.expand(other, tuple(self.shape)).reshape((-1,)).tolist() for other in others]
    found = [function(*row) for row in zip(self.reshape((-1,)).tolist(), *values)]
    return ops.copy_(self, tensor(found, dtype=self.dtype).reshape(self.shape))


Tensor.apply_ = lambda self, callable: _over_elements(self, callable)  # type: ignore[attr-defined]
Tensor.map_ = lambda self, tensor, callable: _over_elements(self, callable, tensor)  # type: ignore[attr-defined]
Tensor.map2_ = lambda self, x, y, callable: _over_elements(self, callable, x, y)  # type: ignore[attr-defined]
