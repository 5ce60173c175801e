"""Operators that make tensors from sizes and numbers. Each takes sizes one by one or as one
sequence, and is recorded in graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from eager import device as devices
from eager import dtype as dtypes
from eager.op import Extern, composite, extern, ops
from eager.op import _describe as describe
from eager.shape import like_strides, normalize_dim
from eager.spec import Spec
from eager.tensor import Tensor


class Creation(Extern):
    """An extern that makes a new leaf: `device` may be "meta" (a fake tensor), `requires_grad`
    marks the result."""

    def __init__(self, function: Any, **given: Any):
        super().__init__(function, method=False, **given)
        self.marks = self._place("requires_grad")
        self.device_at = self._place("device")
        self.of_tensors = self.parameters[0] == "input" or self.vjp is not None

    def _place(self, name: str) -> int | None:
        return self.parameters.index(name) if name in self.parameters else None

    def eager(self, bound: tuple) -> Any:
        return super().eager(bound) if self.of_tensors else self.compute(bound)

    def compute(self, bound: tuple) -> Any:
        place = bound[self.device_at] if self.device_at is not None else None
        if place is not None and devices.check(place).type == "meta":
            return self.fake(bound)
        try:
            result = Tensor._wrap(
                self.function(*[a._array if isinstance(a, Tensor) else a for a in bound])
            )
        except (ValueError, TypeError) as error:
            raise describe(self, error, bound) from None
        if self.marks is not None and bound[self.marks]:
            result.requires_grad_()
        return result

    def fake(self, bound: tuple) -> Any:
        result = super().fake(bound)
        if self.device_at is not None and bound[self.device_at] is not None:
            result._device = devices.device(bound[self.device_at])
        if self.marks is not None and bound[self.marks]:
            result.requires_grad_()
        return result


def creation(**given: Any) -> Any:
    """Declare a `Creation`."""
    return lambda function: Creation(function, **given)


def sized(place: int = 0) -> Any:
    """A front for operators that take sizes one by one from parameter `place` on."""

    def front(call: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) > place and not isinstance(args[place], (tuple, list)):
            if not kwargs:
                return call(*args[:place], args[place:])
            args = (*args[:place], args[place:])
        return call(*args, **kwargs)

    return front


def filled(shape: tuple, value: Any, kind: np.dtype) -> np.ndarray:
    """An array of one value."""
    result = np.empty(shape, kind)
    result.fill(value)
    return result


def sizes_of(size: Any) -> tuple:
    """Sizes as a tuple. Raises TypeError for what is no size, RuntimeError for a negative one."""
    if type(size) is tuple:  # the usual case
        for n in size:
            if type(n) is not int or n < 0:
                break
        else:
            return size
    if not isinstance(size, (tuple, list)):
        size = (size,)
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    for n in size:
        if isinstance(n, (float, str)):
            raise TypeError(f"sizes must be integers, but got {n!r} of type {type(n).__name__}")
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(size)}")
    return tuple(n.item() if isinstance(n, (Tensor, np.generic)) else n for n in size)


def _float(dtype: Any) -> dtypes.dtype:
    return dtypes.get_default_dtype() if dtype is None else dtype


def _sized_spec(size, dtype=None, *rest):
    return Spec(sizes_of(size), _float(dtype))


@creation(spec=_sized_spec, front=sized())
def zeros(size, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """A tensor of zeros: `zeros(2, 3)` or `zeros((2, 3))`."""
    return np.zeros(sizes_of(size), _float(dtype).numpy)


@creation(spec=_sized_spec, front=sized())
def ones(size, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """A tensor of ones."""
    return filled(sizes_of(size), 1, _float(dtype).numpy)


@creation(spec=_sized_spec, front=sized())
def empty(
    size,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
    memory_format=None,
):
    """A tensor of whatever the memory held."""
    shape = sizes_of(size)
    if memory_format is not None and "channels_last" in str(memory_format):
        order = (0, *range(2, len(shape)), 1)
        return np.empty([shape[i] for i in order], _float(dtype).numpy).transpose(np.argsort(order))
    return np.empty(shape, _float(dtype).numpy)


def _strided_spec(size, stride, dtype, *rest):
    return Spec(tuple(size), _float(dtype), devices.CPU, tuple(stride))


@creation(spec=_strided_spec)
def empty_strided(
    size, stride, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """Uninitialized memory seen with the given strides."""
    found = _float(dtype).numpy
    if len(size) != len(stride):
        raise RuntimeError(
            f"dimensionality of sizes ({len(size)}) must match dimensionality of strides "
            f"({len(stride)})"
        )
    span = 1 + sum((n - 1) * s for n, s in zip(size, stride)) if all(size) else 0
    buffer = np.empty(span, found)
    return np.lib.stride_tricks.as_strided(
        buffer, tuple(size), tuple(s * found.itemsize for s in stride)
    )


def _fill_dtype(value: Any, dtype: Any) -> dtypes.dtype:
    if dtype is not None:
        return dtype
    return value.dtype if isinstance(value, Tensor) else dtypes.of_scalar(value)


@creation(spec=lambda size, value, dtype, *rest: Spec(sizes_of(size), _fill_dtype(value, dtype)))
def full(
    size, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """A tensor of one value; its type is the value's unless `dtype` is given."""
    if isinstance(fill_value, np.ndarray):
        found = (dtype or dtypes.from_numpy(fill_value.dtype)).numpy
        return np.full(sizes_of(size), fill_value.astype(found), found)
    found = dtype or dtypes.of_scalar(fill_value)
    return filled(sizes_of(size), checked_scalar(fill_value, found), found.numpy)


def checked_scalar(value: Any, found: dtypes.dtype) -> Any:
    """A number as NumPy will store it. Raises RuntimeError if the type cannot hold it; in half precision it becomes infinite."""
    if type(value) not in (int, float, bool) or found in (dtypes.float16, dtypes.bfloat16):
        return value
    return dtypes.fitting(value, found)


# -- like another tensor ---------------------------------------------------------------------------


def _like_spec(
    input, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None
):
    text = str(memory_format)
    if "channels_last" in text:
        from eager.shape import channels_last_strides

        strides: Any = channels_last_strides(input.shape)
    else:
        strides = None if "contiguous" in text else like_strides(input.shape, [input])
    return Spec(input.shape, dtype or input.dtype, input.device, strides)


def empty_array_like(input: np.ndarray, found: np.dtype, memory_format: Any = None) -> np.ndarray:
    """Uninitialized memory with the strides that `memory_format` says, by default those of the
    input."""
    if memory_format is not None and "preserve" not in str(memory_format):
        if "channels_last" not in str(memory_format):
            return np.empty(input.shape, found)
        order = (0, *range(2, input.ndim), 1)
        return np.empty([input.shape[i] for i in order], found).transpose(np.argsort(order))
    return np.empty_like(input, found)


def _like(value: Any) -> Any:
    def fill(input, dtype, memory_format):
        found = input.dtype if dtype is None else dtype.numpy
        result = empty_array_like(input, found, memory_format)
        if value is not None:
            result.fill(value)
        return result

    return fill


_zeros, _ones, _empty = _like(0), _like(1), _like(None)


@creation(spec=_like_spec, saves="")
def zeros_like(
    input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None
):
    """Zeros in the shape of another tensor."""
    return _zeros(input, dtype, memory_format)


@creation(spec=_like_spec, saves="")
def ones_like(
    input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None
):
    """Ones in the shape of another tensor."""
    return _ones(input, dtype, memory_format)


@creation(spec=_like_spec, saves="")
def empty_like(
    input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None
):
    """Uninitialized memory in the shape of another tensor."""
    return _empty(input, dtype, memory_format)


@creation(spec=lambda input, value, *rest: _like_spec(input, *rest), saves="")
def full_like(
    input,
    fill_value,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    memory_format=None,
):
    """One value in the shape and type of another tensor."""
    found = dtypes.from_numpy(input.dtype) if dtype is None else dtype
    result = empty_array_like(input, found.numpy, memory_format)
    result[...] = (
        fill_value if isinstance(fill_value, np.ndarray) else checked_scalar(fill_value, found)
    )
    return result


@composite(front=sized(1))
def new_zeros(
    input, size, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """Zeros of the type of this tensor."""
    return ops.zeros(
        sizes_of(size), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


@composite(front=sized(1))
def new_ones(
    input, size, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """Ones of the type of this tensor."""
    return ops.ones(
        sizes_of(size), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


@composite(front=sized(1))
def new_empty(
    input, size, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """Uninitialized memory of the type of this tensor."""
    return ops.empty(
        sizes_of(size), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


@composite
def new_empty_strided(
    input,
    size,
    stride,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """Uninitialized memory of the type of this tensor, seen with the given strides."""
    return ops.empty_strided(
        size, stride, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


@composite
def new_full(
    input,
    size,
    fill_value,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """One value, in the type of this tensor."""
    return ops.full(
        sizes_of(size),
        fill_value,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


def _new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **unused: Any,
) -> Tensor:
    """`tensor(data)` in the type of this tensor."""
    from eager.construct import tensor

    return tensor(data, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


def _new(self: Tensor, *args: Any) -> Tensor:
    """The legacy `x.new(2, 3)` and `x.new(data)`."""
    from eager.construct import legacy

    return legacy(*args, dtype=self.dtype)


Tensor.new_tensor = _new_tensor  # type: ignore[attr-defined]
Tensor.new = _new  # type: ignore[attr-defined]


# -- ranges ----------------------------------------------------------------------------------------


def _arange_front(call, *args, out=None, **kwargs):
    if out is not None:
        wanted = kwargs.get("dtype")
        if wanted is not None and wanted is not out.dtype:
            raise RuntimeError(f"dtype {wanted} does not match dtype of out parameter ({out.dtype})")
        found = _arange_front(call, *args, **{"dtype": out.dtype, **kwargs})
        out.resize_(found.shape) if out.shape != found.shape else None
        return out.copy_(found)
    if len(args) == 1 and not kwargs and type(args[0]) is int:
        return call(0, args[0])
    if len(args) == 1 and "end" not in kwargs:
        args = (0, args[0])
    elif not args and "start" not in kwargs:
        args = (0,)
    return call(*(_number(a) for a in args), **{k: _number(v) for k, v in kwargs.items()})


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, (Tensor, np.generic, np.ndarray)) else value


def _range_dtype(dtype: Any, *numbers: Any) -> dtypes.dtype:
    if dtype is not None:
        return dtype
    return (
        dtypes.get_default_dtype() if any(isinstance(n, float) for n in numbers) else dtypes.int64
    )


def _arange_bounds(start, end, step, dtype):
    """The numbers that an integer range is made of: PyTorch drops their fractions first."""
    if dtype is dtypes.int64:
        if step != 0 and int(step) == 0:
            raise ValueError("step must be nonzero")
        return int(start), int(end), int(step)
    return start, end, step


def _arange_count(start, end, step):
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if any(isinstance(n, float) for n in (start, end, step)):
        if not math.isfinite(start) or not math.isfinite(end):
            raise RuntimeError(f"unsupported range: {start} -> {end}")
        return math.ceil((end - start) / step)
    return (end - start + step - 1) // step if step > 0 else (start - end - step - 1) // -step


@creation(
    spec=lambda start, end, step, dtype, *rest: Spec(
        (_arange_count(*_arange_bounds(start, end, step, dtype)),),
        _range_dtype(dtype, start, end, step),
    ),
    front=_arange_front,
)
def arange(
    start,
    end,
    step=1,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """`start`, `start + step`, … before `end`; `arange(end)` starts at 0."""
    if dtype is None and start == 0 and step == 1 and type(end) is int and end >= 0:
        return np.arange(end)
    found = _range_dtype(dtype, start, end, step)
    start, end, step = _arange_bounds(start, end, step, dtype)
    count = _arange_count(start, end, step)
    if (
        not any(isinstance(n, float) for n in (start, end, step))
        and found.category == dtypes.INTEGER
    ):
        return np.arange(start, start + count * step, step, dtype=found.numpy)
    return (np.arange(count) * step + start).astype(found.numpy)


def _check_steps(steps: Any) -> int:
    if isinstance(steps, float):
        raise TypeError(f"the number of steps must be an int, not float: {steps}")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    return steps


def _linear(start: Any, end: Any, steps: int, kind: np.dtype) -> np.ndarray:
    if np.ndim(start) or np.ndim(end):
        raise RuntimeError("linspace and logspace only support 0-dimensional start and end tensors, "
                           f"but got start with {np.ndim(start)} dimension(s) and end with "
                           f"{np.ndim(end)} dimension(s).")
    start, end, steps = _number(start), _number(end), _check_steps(steps)
    if kind.kind in "iu":  # PyTorch drops the fractions of the ends first
        start, end = int(start), int(end)
    if np.iscomplexobj(start) or np.iscomplexobj(end):
        return np.linspace(start, end, steps)
    if steps == 1:
        return np.array([start], np.float64)
    place = np.arange(steps, dtype=np.float64)
    step = (end - start) / max(steps - 1, 1)
    return np.where(place < steps // 2, start + step * place, end - step * (steps - 1 - place))


@creation(spec=lambda start, end, steps, dtype, *rest: Spec((_check_steps(steps),), _float(dtype)))
def linspace(
    start,
    end,
    steps,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """`steps` values evenly spaced from `start` to `end`, both included."""
    kind = _float(dtype).numpy
    return _linear(start, end, steps, kind).astype(kind)


@creation(
    spec=lambda start, end, steps, base, dtype, *rest: Spec((_check_steps(steps),), _float(dtype))
)
def logspace(
    start,
    end,
    steps,
    base=10.0,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad=False,
    pin_memory=False,
):
    """`steps` values from `base**start` to `base**end`, evenly spaced on a logarithmic scale."""
    kind = _float(dtype).numpy
    exponents = _linear(start, end, steps, kind)
    return np.power(float(base), exponents).astype(kind)


# -- matrices --------------------------------------------------------------------------------------


@creation(spec=lambda n, m, dtype, *rest: Spec((n, n if m is None else m), _float(dtype)))
def eye(n, m=None, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """Ones on the diagonal, zeros elsewhere."""
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n and m must be greater or equal to 0, got {n} and {m}")
    return np.eye(n, m, dtype=_float(dtype).numpy)


def _triangle_spec(input, diagonal):
    if input.ndim < 2:
        raise RuntimeError("tril and triu need a tensor of at least 2 dimensions")
    return Spec(input.shape, input.dtype, input.device)


def _triangle_mask(shape: Sequence[int], diagonal: int) -> np.ndarray:
    return np.tri(shape[-2], shape[-1], diagonal, bool)


@extern(
    spec=_triangle_spec,
    vjp=lambda g, out, input, diagonal: ops.tril(g, diagonal),
    saves="",
    inplace=True,
)
def tril(input, diagonal=0):
    """The part of matrices on and below a diagonal, zeros above."""
    if input.ndim < 2:
        raise ValueError
    return np.where(_triangle_mask(input.shape, diagonal), input, np.zeros((), input.dtype))


@extern(
    spec=_triangle_spec,
    vjp=lambda g, out, input, diagonal: ops.triu(g, diagonal),
    saves="",
    inplace=True,
)
def triu(input, diagonal=0):
    """The part of matrices on and above a diagonal, zeros below."""
    if input.ndim < 2:
        raise ValueError
    return np.where(_triangle_mask(input.shape, diagonal - 1), np.zeros((), input.dtype), input)


def _triangle_count(row, col, offset):
    """How many places of a row x col matrix lie on and below a diagonal."""
    return sum(min(max(i + offset + 1, 0), col) for i in range(row))


@creation(
    spec=lambda row, col, offset, dtype, *rest: Spec(
        (2, _triangle_count(row, col, offset)), dtype or dtypes.int64
    )
)
def tril_indices(row, col, offset=0, *, dtype=None, device=None, layout=None):
    """Row and column numbers of the lower triangle."""
    return np.stack(np.tril_indices(row, offset, col)).astype((dtype or dtypes.int64).numpy)


@creation(
    spec=lambda row, col, offset, dtype, *rest: Spec(
        (2, row * col - _triangle_count(row, col, offset - 1)), dtype or dtypes.int64
    )
)
def triu_indices(row, col, offset=0, *, dtype=None, device=None, layout=None):
    """Row and column numbers of the upper triangle."""
    return np.stack(np.triu_indices(row, offset, col)).astype((dtype or dtypes.int64).numpy)


@composite
def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """Matrices with the last dimension on a diagonal."""
    rank = input.ndim + 1
    a, b = normalize_dim(dim1, rank), normalize_dim(dim2, rank)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = input.shape[-1] + (offset if offset >= 0 else -offset)
    shape = list(input.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, size)
    return ops.diagonal_backward(input, tuple(shape), offset, a, b)


@composite
def diag(input, diagonal=0):
    """A matrix with a vector on its diagonal, or a copy of the diagonal of a matrix."""
    if input.ndim == 1:
        return ops.diag_embed(input, diagonal)
    if input.ndim == 2:
        return ops.clone(ops.diagonal(input, diagonal))
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")


@composite
def diagflat(input, offset=0):
    """A matrix with all elements of a tensor on its diagonal."""
    return ops.diag_embed(ops.reshape(input, (-1,)), offset)


@composite
def vander(x, N=None, increasing=False):
    """Powers of a vector's elements as the columns of a matrix."""
    count = x.shape[0] if N is None else N
    powers = ops.arange(count) if increasing else ops.arange(count - 1, -1, -1)
    return ops.pow(ops.unsqueeze(x, -1), powers)


def _meshgrid_front(call, *tensors, indexing=None):
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    return call(tuple(given), indexing="ij" if indexing is None else indexing)


@composite(method=False, front=_meshgrid_front)
def meshgrid(tensors, *, indexing="ij"):
    """Coordinate tensors from vectors: `meshgrid(x, y)`."""
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    swap = indexing == "xy" and len(tensors) >= 2
    given = (tensors[1], tensors[0], *tensors[2:]) if swap else tensors
    sizes = tuple(t.numel() for t in given)
    grids = []
    for place, vector in enumerate(given):
        shape = tuple(n if i == place else 1 for i, n in enumerate(sizes))
        grids.append(ops.expand(ops.reshape(vector, shape), sizes))
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def _parts(name: str, **parts: Any) -> None:
    """TypeError for a part of a complex number that is no tensor."""
    for place, (part, value) in enumerate(parts.items(), start=1):
        if not hasattr(value, "dtype"):
            raise TypeError(f"{name}(): argument {part!r} (position {place}) must be Tensor, not "
                            f"{type(value).__name__}")


def _complex_run(real, imag):
    _parts("complex", real=real, imag=imag)
    if real.dtype != imag.dtype or real.dtype.kind not in "fV":
        raise ValueError
    real, imag = np.broadcast_arrays(real, imag)
    result = np.empty(real.shape, np.complex128 if real.dtype == np.float64 else np.complex64)
    result.real, result.imag = real, imag
    return result


def _complex_spec(real, imag):
    from eager.shape import broadcast_shapes

    _parts("complex", real=real, imag=imag)
    if real.dtype is not imag.dtype or not real.dtype.is_floating_point:
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {real.dtype} and "
            f"{imag.dtype}"
        )
    return Spec(broadcast_shapes(real.shape, imag.shape), real.dtype.to_complex(), real.device)


@extern(
    spec=_complex_spec,
    vjp=(lambda g, out, real, imag: ops.real(g), lambda g, out, real, imag: ops.imag(g)),
    saves="",
    method=False,
)
def complex(real, imag):
    """Complex numbers from real and imaginary parts."""
    return _complex_run(real, imag)


@composite(method=False)
def polar(abs, angle):
    """Complex numbers from magnitudes and angles."""
    _parts("polar", abs=abs, angle=angle)
    return ops.complex(abs * ops.cos(angle), abs * ops.sin(angle))


@composite(method=False)
def scalar_tensor(
    s, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """A zero-dimensional tensor of a number."""
    return ops.full((), s, dtype=_float(dtype), device=device, requires_grad=requires_grad)
