"""Samples: arguments with which operators are tested. Kinds give their own; the rest stand in one
table by name.

`samples(op)` gives a list of `(args, kwargs)`; tensors are float64 where the operator is
differentiable, so that derivatives can be checked numerically. Values are kept away from ties and
from the edges of domains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import Op
from eager.tensor import Tensor

Sample = tuple[tuple, dict]

_source = np.random.default_rng(0)


def floats(*shape: int, low: float = -2.0, high: float = 2.0) -> Tensor:
    """Distinct float64 numbers spread over an interval, in random order."""
    count = int(np.prod(shape, dtype=int))
    values = low + (high - low) * (np.arange(count) + 0.3 + 0.4 * _source.random(count)) / max(
        count, 1
    )
    return Tensor._wrap(_source.permutation(values).reshape(shape))


def complexes(*shape: int) -> Tensor:
    return Tensor._wrap(floats(*shape)._array + 1j * floats(*shape)._array)


def integers(*shape: int, low: int = 0, high: int = 10) -> Tensor:
    return Tensor._wrap(_source.integers(low, high, shape))


def bools(*shape: int) -> Tensor:
    return Tensor._wrap(_source.random(shape) > 0.5)


def vector(*values: int) -> Tensor:
    return Tensor._wrap(np.array(values, np.int64))


def positive_definite(*shape: int) -> Tensor:
    half = floats(*shape)._array
    return Tensor._wrap(half @ np.swapaxes(half, -1, -2) + 0.5 * np.eye(shape[-1]))


def _attended(*bound: Any) -> Sample:
    """A gradient, what attention gave, and what it was given."""
    from eager.registry import ops

    out, sums = ops.attention(*bound)
    return (floats(*out.shape), out, sums, *bound), {}


# -- pointwise: domains ----------------------------------------------------------------------------

_DOMAIN = {
    **dict.fromkeys("log log2 log10 sqrt rsqrt reciprocal lgamma digamma".split(), (0.3, 3.0)),
    "log1p": (-0.7, 3.0),
    **dict.fromkeys("asin acos atanh erfinv".split(), (-0.9, 0.9)),
    "acosh": (1.2, 3.0),
    "tan": (-1.2, 1.2),
    "arcsin": (-0.9, 0.9),
    "arccos": (-0.9, 0.9),
    "arctanh": (-0.9, 0.9),
    "arccosh": (1.2, 3.0),
    "hardshrink": (-1.9, 2.1),
    "hardsigmoid": (-4.0, 4.1),
    "hardswish": (-4.0, 4.1),
    "relu6": (-1.9, 8.0),
    "i0": (0.1, 3.0),
    "special_entr": (0.2, 3.0),
    "special_xlog1py": (0.2, 3.0),
}
_INTEGER = set(
    "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift "
    "bitwise_not gcd lcm".split()
)


def _pointwise(op: Any) -> list[Sample]:
    low, high = _DOMAIN.get(op.name, (-2.0, 2.0))
    count = len(op.operands)
    if op.name in _INTEGER:
        shapes: list[tuple] = [((2, 3),) * count, ((2, 3), (3,))[:count]]
        return [(tuple(integers(*s, low=1) for s in one), {}) for one in shapes]
    if count == 1:
        return [((floats(*s, low=low, high=high),), {}) for s in ((2, 3), (), (0, 2))] + [
            ((floats(3, 2, low=low, high=high).mT,), {})
        ]
    shapes = [((2, 3),) * count, ((2, 3), (3,), (2, 1))[:count], ((2, 1), (2, 3), ())[:count]]
    return [(tuple(floats(*s, low=low, high=high) for s in one), {}) for one in shapes]


def _reduction(op: Any) -> list[Sample]:
    one = op.promote == "index"
    x = lambda *s: floats(*s)  # noqa: E731
    found: list[Sample] = [
        ((x(2, 3),), {}),
        ((x(2, 3, 2), 1), {}),
        ((x(2, 3), -1, True), {}),
        ((x(),), {}),
    ]
    return found if one else [*found, ((x(2, 3, 2), (0, 2)), {}), ((x(3, 2).mT, (0, 1), True), {})]


# -- the table -------------------------------------------------------------------------------------

_TABLE: dict[str, Callable[[], list]] = {}


def _table(**given: Callable[[], list]) -> None:
    _TABLE.update(given)


def call(*args: Any, **kwargs: Any) -> Sample:
    return args, kwargs


f, i, v, c = floats, integers, vector, call
_table(
    # pointwise with parameters of their own
    pow=lambda: [
        c(f(2, 3, low=0.3), f(3)),
        c(f(2, 3), 2),
        c(f(2, 3), 3.0),
        c(2.0, f(3)),
        c(f(2, low=0.5), 0.5),
    ],
    remainder=lambda: [c(f(2, 3), f(3, low=0.6, high=1.9)), c(f(2, 3), 0.7)],
    fmod=lambda: [c(f(2, 3), f(3, low=0.6, high=1.9)), c(f(2, 3), 0.7)],
    floor_divide=lambda: [c(f(2, 3), f(3, low=0.6, high=1.9)), c(i(2, 3), 3)],
    trunc_divide=lambda: [c(f(2, 3), f(3, low=0.6, high=1.9))],
    clamp=lambda: [
        c(f(2, 3), -0.5, 0.7),
        c(f(2, 3), None, 0.3),
        c(f(2, 3), f(3, low=-1.1, high=-0.6), f(3, low=0.55, high=0.95)),
    ],
    select_where=lambda: [c(bools(2, 3), f(2, 3), f(3)), c(bools(3), f(2, 3), 1.0)],
    convert=lambda: [
        c(f(2, 3), dtypes.float32),
        c(f(2, 3), dtypes.int64),
        c(i(2, 3), dtypes.float64),
    ],
    add=lambda: [c(f(2, 3), f(3)), c(f(2, 3), 2), c(f(2, 1), f(3), alpha=2), c(i(2, 3), 1.5)],
    sub=lambda: [c(f(2, 3), f(3)), c(f(2, 3), 2), c(f(2, 1), f(3), alpha=2), c(1, f(2))],
    round=lambda: [c(f(2, 3)), c(f(2, 3), decimals=1)],
    conj=lambda: [c(complexes(2, 3))],
    conjugate=lambda: [c(f(2, 3)), c(complexes(2, 3))],
    real_part=lambda: [c(complexes(2, 3))],
    real=lambda: [c(complexes(2, 3))],
    imag=lambda: [c(complexes(2, 3))],
    angle=lambda: [c(complexes(2, 3)), c(f(3))],
    lerp=lambda: [c(f(2, 3), f(3), 0.3), c(f(2, 3), f(3), f(2, 3))],
    addcmul=lambda: [c(f(2, 3), f(3), f(2, 3)), c(f(2, 3), f(3), f(2, 3), value=0.5)],
    addcdiv=lambda: [
        c(f(2, 3), f(3), f(2, 3, low=0.5)),
        c(f(2, 3), f(3), f(2, 3, low=0.5), value=0.5),
    ],
    true_divide=lambda: [
        c(f(2, 3), f(3, low=0.5)),
        c(f(2, 3), 3),
        c(1, f(3, low=0.5)),
        c(i(2, 3), 2),
    ],
    div=lambda: [
        c(f(2, 3), f(3, low=0.5)),
        c(f(2, 3), 0.7, rounding_mode="floor"),
        c(f(2, 3), 0.7, rounding_mode="trunc"),
    ],
    copysign=lambda: [c(f(2, 3), f(2, 3)), c(f(2, 3), -1.0)],
    nan_to_num=lambda: [c(f(2, 3))],
    # copying
    clone=lambda: [
        c(f(2, 3)),
        c(f(3, 2).mT),
        c(f(2, 3, 2, 2), memory_format="torch.channels_last"),
    ],
    copy=lambda: [c(f(2, 3), f(3)), c(f(2, 3), i(2, 3))],
    fill=lambda: [c(f(2, 3), 1.5), c(f(2, 3), f())],
    detach=lambda: [c(f(2, 3))],
    overwrite=lambda: [c(f(2, 3), f(2, 3))],
    contiguous=lambda: [c(f(3, 2).mT)],
    # views
    alias=lambda: [c(f(2, 3))],
    transpose=lambda: [c(f(2, 3, 4), 0, 2), c(f(2, 3), -1, -2)],
    permute=lambda: [c(f(2, 3, 4), (2, 0, 1))],
    expand=lambda: [c(f(2, 1), (2, 3)), c(f(3), (2, -1))],
    view=lambda: [
        c(f(2, 6), (3, 4)),
        c(f(2, 6), (-1, 2)),
        c(f(2, 3, 4).transpose(0, 1), (3, 2, 2, 2)),
    ],
    unsqueeze=lambda: [c(f(2, 3), 1), c(f(2, 3), -1), c(f(), 0)],
    squeeze=lambda: [c(f(2, 1, 3, 1)), c(f(2, 1, 3), 1), c(f(2, 1, 1), (1, 2)), c(f(2, 3), 0)],
    select=lambda: [c(f(2, 3, 4), 1, 2), c(f(2, 3), 0, -1)],
    slice=lambda: [c(f(4, 3), 0, 1, 3), c(f(2, 5), 1, 0, None, 2), c(f(4, 3), 0, -2)],
    diagonal=lambda: [c(f(3, 3)), c(f(3, 4), 1), c(f(4, 3), -1), c(f(2, 3, 3), 0, 1, 2)],
    as_strided=lambda: [c(f(2, 3), (3, 2), (1, 3)), c(f(6), (2, 2), (2, 1), 1)],
    strided_view=lambda: [c(f(2, 3), (3, 2), (1, 3), 0), c(f(6), (2, 2), (2, 1), 1)],
    strided_view_backward=lambda: [
        c(f(3, 2), (2, 3), (3, 1), (3, 2), (1, 3), 0),
        c(f(2, 2), (6,), (1,), (2, 2), (1, 1), 1),
    ],
    strided_view_scatter=lambda: [c(f(2, 3), f(2, 2), (3, 1), (2, 2), (2, 1), 1)],
    strided_view_values=lambda: [c(f(6), (1,), (2, 2), (1, 1), 1)],
    unfold=lambda: [c(f(2, 5), 1, 3, 1), c(f(6), 0, 2, 2)],
    select_backward=lambda: [c(f(3), (2, 3), 0, 1)],
    slice_backward=lambda: [c(f(2, 3), (4, 3), 0, 1, 3, 1)],
    diagonal_backward=lambda: [c(f(3), (3, 3), 0, 0, 1)],
    unfold_backward=lambda: [c(f(2, 3, 3), (2, 5), 1, 3, 1)],
    view_as_real=lambda: [c(complexes(2, 3))],
    view_as_complex=lambda: [c(f(2, 3, 2))],
    view_dtype=lambda: [c(f(2, 2), dtypes.float32)],
    reshape=lambda: [c(f(2, 6), (3, 4)), c(f(3, 2).mT, (3, 2))],
    flatten=lambda: [c(f(2, 3, 2)), c(f(2, 3, 2), 1)],
    movedim=lambda: [c(f(2, 3, 4), 0, 2), c(f(2, 3, 4), (0, 1), (2, 0))],
    unflatten=lambda: [c(f(2, 6), 1, (2, 3))],
    narrow=lambda: [c(f(4, 3), 0, 1, 2)],
    expand_as=lambda: [c(f(3), f(2, 3))],
    broadcast_to=lambda: [c(f(3), (2, 3))],
    # creation
    zeros=lambda: [c((2, 3)), c(2, 3, dtype=dtypes.int64), c(())],
    ones=lambda: [c((2, 3)), c(2, 3, dtype=dtypes.bool_)],
    full=lambda: [c((2,), 3), c((2, 2), 1.5), c((2,), True)],
    arange=lambda: [c(5), c(1, 6, 2), c(0.0, 1.0, 0.25), c(5, 1, -2)],
    linspace=lambda: [c(0, 1, 5), c(-2.0, 3.0, 1), c(0, 10, 4, dtype=dtypes.int64)],
    logspace=lambda: [c(0, 2, 5), c(0, 3, 4, base=2.0)],
    eye=lambda: [c(3), c(2, 3)],
    zeros_like=lambda: [c(f(2, 3)), c(f(3, 2).mT), c(f(2), dtype=dtypes.int32)],
    ones_like=lambda: [c(f(2, 3)), c(f(3, 2).mT)],
    full_like=lambda: [c(f(2, 3), 4), c(i(2), 3)],
    tril=lambda: [c(f(3, 3)), c(f(2, 3, 4), 1), c(f(3, 3), -1)],
    triu=lambda: [c(f(3, 3)), c(f(2, 3, 4), 1), c(f(3, 3), -1)],
    tril_indices=lambda: [c(3, 4), c(3, 3, -1)],
    triu_indices=lambda: [c(3, 4), c(4, 3, 1)],
    complex=lambda: [c(f(2, 3), f(2, 3)), c(f(2, 1), f(3))],
    polar=lambda: [c(f(2, 3, low=0.1), f(2, 3))],
    diag_embed=lambda: [c(f(3)), c(f(2, 3), 1)],
    diag=lambda: [c(f(3)), c(f(3, 3), 1)],
    diagflat=lambda: [c(f(2, 2))],
    new_zeros=lambda: [c(f(2), 2, 3), c(f(2), (2, 3))],
    new_ones=lambda: [c(f(2), 2, 3)],
    new_full=lambda: [c(f(2), (2, 3), 7.0)],
    scalar_tensor=lambda: [c(3.5)],
    vander=lambda: [c(f(3)), c(f(3), 2, True)],
    meshgrid=lambda: [c(f(2), f(3), indexing="ij"), c(f(2), f(3), indexing="xy")],
    # reductions
    prod_others=lambda: [c(f(2, 3), 1), c(f(4), 0)],
    prod=lambda: [
        c(f(2, 3)),
        c(f(2, 3), 1),
        c(Tensor._wrap(np.array([[1.5, 0.0, 2.0], [0.0, 0.0, 3.0]])), 1),
        c(f(2, 3, 2), 1, True),
    ],
    argmax=lambda: [c(f(2, 3)), c(f(2, 3), 1), c(f(2, 3), 0, True)],
    argmin=lambda: [c(f(2, 3)), c(f(2, 3), 1)],
    max_dim=lambda: [c(f(2, 3), 1), c(f(2, 3), 0, True)],
    min_dim=lambda: [c(f(2, 3), 1), c(f(2, 3), 0, True)],
    max=lambda: [c(f(2, 3)), c(f(2, 3), 1), c(f(2, 3), f(3))],
    min=lambda: [c(f(2, 3)), c(f(2, 3), 1), c(f(2, 3), f(3))],
    median_dim=lambda: [c(f(2, 5), 1), c(f(4, 2), 0, True)],
    nanmedian_dim=lambda: [c(f(2, 5), 1)],
    median=lambda: [c(f(2, 5)), c(f(2, 4), 1)],
    nanmedian=lambda: [c(f(2, 5)), c(f(2, 4), 1)],
    mode=lambda: [c(Tensor._wrap(np.array([[1.0, 2.0, 1.0], [3.0, 3.0, 1.0]])))],
    var=lambda: [
        c(f(2, 3)),
        c(f(2, 3), 1),
        c(f(2, 3), (0, 1), keepdim=True),
        c(f(2, 3), 1, correction=0),
        c(f(2, 3), False),
    ],
    std=lambda: [c(f(2, 3)), c(f(2, 3), 1), c(f(2, 3), 1, True, True), c(f(2, 3), 1, correction=0)],
    var_mean=lambda: [c(f(2, 3)), c(f(2, 3), 1), c(f(2, 3), 1, correction=0, keepdim=True)],
    std_mean=lambda: [c(f(2, 3), 1)],
    aminmax=lambda: [c(f(2, 3)), c(f(2, 3), dim=1)],
    count_nonzero=lambda: [c(i(2, 3, high=2)), c(i(2, 3, high=2), 1)],
    nansum=lambda: [c(f(2, 3)), c(f(2, 3), 1)],
    nanmean=lambda: [c(f(2, 3)), c(f(2, 3), 1)],
    logsumexp=lambda: [c(f(2, 3), 1), c(f(2, 3), (0, 1), True)],
    linalg_vector_norm=lambda: [
        c(f(2, 3)),
        c(f(2, 3), 3, 1),
        c(f(2, 3), 1, 0, True),
        c(f(2, 3), float("inf")),
    ],
    norm=lambda: [c(f(2, 3)), c(f(2, 3), 2, 1), c(f(2, 3), 1)],
    dist=lambda: [c(f(3), f(3))],
    renorm=lambda: [c(f(2, 3), 2, 0, 1.0)],
    quantile=lambda: [
        c(f(2, 5), 0.4),
        c(f(2, 5), 0.4, 1, True),
        c(f(2, 5), Tensor._wrap(np.array([0.2, 0.7])), 1),
    ],
    # scans
    cumsum=lambda: [c(f(2, 3), 1), c(f(2, 3), 0)],
    logcumsumexp=lambda: [c(f(2, 3), 1)],
    cumprod=lambda: [
        c(f(2, 3), 1),
        c(Tensor._wrap(np.array([[1.5, 0.0, 2.0, 3.0], [0.0, 2.0, 0.0, 3.0]])), 1),
    ],
    cummax=lambda: [c(f(2, 3), 1)],
    cummin=lambda: [c(f(2, 3), 0)],
    recurrence=lambda: [c(f(2, 4), f(2, 4), 1), c(f(3, 2), f(3, 2), 0)],
    diff=lambda: [c(f(2, 4)), c(f(2, 4), 2), c(f(3, 4), 1, 0)],
    trapezoid=lambda: [c(f(2, 4)), c(f(4), f(4))],
    # indexing
    getitem=lambda: [
        c(f(3, 4), (slice(None), 1)),
        c(f(3, 4), (v(0, 2), v(1, 1))),
        c(f(3, 4), (None, slice(0, 3, 2), ...)),
    ],
    index=lambda: [
        c(f(3, 4), (v(0, 2, 2),)),
        c(f(3, 4), (None, v(1, 1))),
        c(f(3, 4, 2), (v(0, 1), None, v(1, 0))),
    ],
    index_put=lambda: [
        c(f(3, 4), (v(0, 2),), f(2, 4)),
        c(f(3, 4), (v(0, 2), v(1, 1)), f(2)),
        c(f(3, 4), (v(0, 2, 0),), f(3, 4), True),
        c(f(3, 4), (Tensor._wrap(np.array([True, False, True])),), f(2, 4)),
        c(f(3, 4), (Tensor._wrap(np.array([True, False, True])),), f(4), True),
    ],
    index_select=lambda: [c(f(3, 4), 1, v(0, 3, 3)), c(f(3, 4), 0, v(2))],
    gather=lambda: [
        c(f(3, 4), 1, v(0, 3, 1, 1, 2, 0).reshape(3, 2)),
        c(f(3, 4), 0, v(0, 2, 1, 1).reshape(1, 4)),
        c(f(3, 4), 0, v(2, 1).reshape(1, 2)),
    ],
    scatter_src=lambda: [
        c(f(3, 4), 1, v(0, 3, 1, 0, 2, 0).reshape(3, 2), f(3, 2)),
        c(f(3, 4), 0, v(2, 1).reshape(1, 2), f(2, 3)),
    ],
    scatter_value=lambda: [c(f(3, 4), 1, v(0, 3, 1, 1, 2, 0).reshape(3, 2), 1.5)],
    scatter=lambda: [
        c(f(3, 4), 1, v(0, 3, 1, 0, 2, 0).reshape(3, 2), f(3, 2)),
        c(f(3, 4), 0, v(2, 1).reshape(1, 2), 2.0),
    ],
    scatter_add=lambda: [
        c(f(3, 4), 1, v(0, 3, 1, 1, 2, 0).reshape(3, 2), f(3, 2)),
        c(f(3), 0, v(0, 0, 1), f(4)),
    ],
    scatter_reduce=lambda: (
        [
            c(f(3, 4), 1, v(0, 3, 1, 1, 2, 0).reshape(3, 2), f(3, 2), how, include_self=own)
            for how in ("sum", "mean", "amax", "amin")
            for own in (True, False)
        ]
        + [c(f(3, low=0.5), 0, v(0, 0, 1), f(3, low=0.5), "prod")]
    ),
    index_add=lambda: [c(f(3, 4), 1, v(0, 3, 3), f(3, 3)), c(f(3, 4), 0, v(2), f(1, 4), alpha=2)],
    index_copy=lambda: [c(f(3, 4), 1, v(0, 3), f(3, 2))],
    index_fill=lambda: [c(f(3, 4), 1, v(0, 3), 1.5), c(f(3, 4), 0, v(1), f())],
    select_scatter=lambda: [c(f(3, 4), f(4), 0, 1)],
    slice_scatter=lambda: [c(f(4, 3), f(2, 3), 0, 1, 3), c(f(4, 3), f(4, 2), 1, 0, 3, 2)],
    diagonal_scatter=lambda: [c(f(3, 3), f(3)), c(f(3, 3), f(2), 1)],
    masked_fill=lambda: [c(f(2, 3), bools(2, 3), 1.5), c(f(2, 3), bools(3), f())],
    masked_select=lambda: [c(f(2, 3), bools(2, 3)), c(f(2, 3), bools(3))],
    masked_scatter=lambda: [c(f(2, 3), bools(2, 3), f(8)), c(f(2, 3), bools(3), f(6))],
    nonzero=lambda: [c(bools(2, 3)), c(bools(2, 3), as_tuple=True)],
    argwhere=lambda: [c(bools(2, 3))],
    nonzero_static=lambda: [c(bools(2, 3), size=4), c(bools(3), size=1, fill_value=0)],
    index_reduce=lambda: [
        c(f(3, 2, low=0.5), 0, v(0, 2, 0), f(3, 2, low=0.5), how, include_self=own)
        for how in ("prod", "mean", "amax", "amin")
        for own in (True, False)
    ],
    fft_hfft=lambda: [c(complexes(2, 3)), c(complexes(2, 3), 5)],
    fft_ihfft=lambda: [c(f(2, 4))],
    stft=lambda: [c(f(8), 4, window=f(4, low=0.5), return_complex=True), c(f(2, 8), 4, 2, window=f(4), center=False, return_complex=True)],
    istft=lambda: [c(complexes(3, 5), 4, window=f(4, low=0.5))],
    nonzero_rows=lambda: [c(bools(2, 3))],
    take=lambda: [c(f(2, 3), v(0, 5, 5, -1))],
    put=lambda: [c(f(2, 3), v(0, 5), f(2)), c(f(2, 3), v(0, 0), f(2), True)],
    take_along_dim=lambda: [c(f(2, 3), v(0, 2).reshape(2, 1), 1), c(f(2, 3), v(0, 4))],
    # joining
    cat=lambda: [
        c([f(2, 3), f(1, 3)]),
        c([f(2, 3), f(2, 1)], -1),
        c((f(2, 3, 2, 2), f(2, 1, 2, 2)), 1),
        c([f(2), i(2)]),
    ],
    stack=lambda: [c([f(2, 3), f(2, 3)]), c((f(2, 3), f(2, 3)), -1)],
    hstack=lambda: [c([f(2), f(3)]), c([f(2, 2), f(2, 3)])],
    vstack=lambda: [c([f(3), f(3)])],
    dstack=lambda: [c([f(2), f(2)]), c([f(2, 3), f(2, 3)])],
    column_stack=lambda: [c([f(2), f(2, 3)])],
    block_diag=lambda: [c(f(2, 2), f(1, 3))],
    cartesian_prod=lambda: [c(f(2), f(3))],
    combinations=lambda: [c(f(4)), c(f(3), 2, True)],
    unbind=lambda: [c(f(2, 3)), c(f(2, 3), 1)],
    split=lambda: [c(f(5, 2), 2), c(f(2, 5), (1, 4), 1)],
    chunk=lambda: [c(f(5, 2), 3), c(f(2, 4), 2, 1)],
    tensor_split=lambda: [c(f(5, 2), 3), c(f(5, 2), (1, 3))],
    hsplit=lambda: [c(f(2, 4), 2)],
    vsplit=lambda: [c(f(4, 2), 2)],
    dsplit=lambda: [c(f(2, 2, 4), 2)],
    repeat=lambda: [c(f(2, 3), (2, 1)), c(f(3), (2, 2)), c(f(2), (0, 1))],
    tile=lambda: [c(f(2, 3), (2,)), c(f(3), (2, 2))],
    repeat_interleave=lambda: [c(f(2, 3), 2), c(f(2, 3), 2, 1), c(f(2, 3), v(1, 2), 0)],
    flip=lambda: [c(f(2, 3), (0,)), c(f(2, 3), (0, 1))],
    fliplr=lambda: [c(f(2, 3))],
    flipud=lambda: [c(f(2, 3))],
    roll=lambda: [c(f(2, 3), 1), c(f(2, 3), (1, -1), (0, 1)), c(f(2, 3), 2, 1)],
    rot90=lambda: [c(f(2, 3)), c(f(2, 3), 2), c(f(2, 3), 3)],
    # Fourier transforms, windows, statistics
    fft_complex=lambda: [c(complexes(2, 3), (1,)), c(complexes(2, 3), (0, 1), 0.5, False)],
    fft_real=lambda: [c(f(2, 5), 1), c(f(4, 2), 0, 0.5)],
    fft_half=lambda: [c(complexes(2, 3), 1, 4), c(complexes(3, 2), 0, 5, 0.5)],
    fft_fft=lambda: [c(f(2, 4)), c(complexes(2, 3), 4, 0)],
    fft_ifft=lambda: [c(f(2, 4))],
    fft_fft2=lambda: [c(f(2, 4))],
    fft_fftn=lambda: [c(f(2, 3, 2))],
    fft_rfft=lambda: [c(f(2, 4)), c(f(2, 4), 3)],
    fft_irfft=lambda: [c(complexes(2, 3)), c(complexes(2, 3), 5)],
    fft_rfft2=lambda: [c(f(2, 4))],
    fft_irfft2=lambda: [c(complexes(2, 3))],
    fft_fftshift=lambda: [c(f(2, 5))],
    fft_ifftshift=lambda: [c(f(2, 5), 1)],
    fft_fftfreq=lambda: [c(5), c(4, 0.5)],
    fft_rfftfreq=lambda: [c(5)],
    cov=lambda: [c(f(2, 4)), c(f(5)), c(f(2, 3), correction=0), c(f(2, 3), aweights=f(3, low=0.1))],
    corrcoef=lambda: [c(f(2, 4))],
    cumulative_trapezoid=lambda: [c(f(2, 4))],
    pdist=lambda: [c(f(4, 3))],
    float_power=lambda: [c(f(3, low=0.2), 2.5)],
    logaddexp2=lambda: [c(f(3), f(3))],
    nanquantile=lambda: [c(f(2, 5), 0.4), c(f(2, 5), 0.4, 1, True)],
    # layers
    gelu=lambda: [c(f(2, 3)), c(f(2, 3), approximate="tanh")],
    elu=lambda: [c(f(2, 3)), c(f(2, 3), 0.5)],
    celu=lambda: [c(f(2, 3)), c(f(2, 3), 0.5)],
    leaky_relu=lambda: [c(f(2, 3)), c(f(2, 3), 0.2)],
    prelu_kernel=lambda: [c(f(2, 3), f(3, low=0.1))],
    hardtanh=lambda: [c(f(2, 3)), c(f(2, 3), -0.5, 0.75)],
    softplus=lambda: [c(f(2, 3)), c(f(2, 3), 2.0, 1.0)],
    threshold=lambda: [c(f(2, 3), 0.1, 0.5)],
    hardshrink=lambda: [c(f(2, 3)), c(f(2, 3), 0.7)],
    softshrink=lambda: [c(f(2, 3)), c(f(2, 3), 0.7)],
    softmax=lambda: [c(f(2, 3), -1), c(f(2, 3, 2), 1), c(f(2, 3), 0)],
    log_softmax=lambda: [c(f(2, 3), -1), c(f(2, 3, 2), 1)],
    attention=lambda: [
        c(f(2, 2, 3, 4), f(2, 2, 5, 4), f(2, 2, 5, 4), None, False, 0.5),
        c(f(2, 1, 3, 4), f(2, 1, 3, 4), f(2, 1, 3, 4), None, True, 0.5),
    ],
    attention_gradient=lambda: [
        _attended(f(2, 2, 3, 4), f(2, 2, 5, 4), f(2, 2, 5, 4), None, True, 0.5),
        _attended(f(2, 3, 4), f(2, 5, 4), f(5, 2), f(3, 5), False, 0.5),
    ],
    convolution=lambda: [
        c(f(2, 2, 5, 4), f(4, 2, 3, 2), f(4), (2, 1), (1, 0), (1, 1), 1),
        c(f(1, 4, 5), f(4, 2, 3), None, (1,), (2,), (2,), 2),
    ],
    convolution_input_grad=lambda: [c(f(1, 4, 3), f(4, 2, 3), (5,), (2,), (1,), (1,), 1)],
    convolution_weight_grad=lambda: [c(f(1, 4, 3), f(1, 2, 5), (3,), (2,), (1,), (1,), 1)],
    embedding=lambda: [c(i(2, 3, high=4), f(4, 2)), c(v(1, 0, 1), f(4, 2), 1)],
    embedding_weight_grad=lambda: [c(f(3, 2), v(1, 0, 1), 4, -1, False)],
    one_hot_of=lambda: [c(v(0, 2), 3)],
    nll_loss_forward=lambda: [
        c(f(3, 4), v(0, 2, 1), None, "mean", -100),
        c(f(3, 4), v(0, 2, 1), None, "sum", -100),
        c(f(3, 4), v(0, 2, 1), None, "mean", 2),
    ],
    binary_entropy=lambda: [c(f(2, 3, low=0.1, high=0.9), f(2, 3, low=0.1, high=0.9))],
    fractional_max_pool=lambda: [c(f(2, 2, 5, 6), f(2, 2, 2, low=0.1, high=0.9), (2, 2), (3, 4))],
    batch_norm_forward=lambda: [c(f(3, 2, 4), f(2), f(2), 1e-5), c(f(4, 3), None, None, 1e-3)],
    native_layer_norm=lambda: [
        c(f(2, 3, 4), (4,), f(4), f(4), 1e-5),
        c(f(2, 3), (3,), None, None, 1e-5),
        c(f(2, 3, 2), (3, 2), f(3, 2), f(3, 2), 1e-5),
    ],
    constant_pad_nd=lambda: [
        c(f(2, 3), (1, 2)),
        c(f(2, 3), (1, 0, 0, 2), 0.5),
        c(f(2, 4), (-1, 1)),
    ],
    max_pool=lambda: [c(f(2, 2, 5, 4), (2, 2), (2, 2), (1, 0), (1, 1), False)],
    max_pool_backward=lambda: [
        c(f(2, 2, 3, 2), f(2, 2, 5, 4), (2, 2), (2, 2), (1, 0), (1, 1), False)
    ],
    batch_norm_backward=lambda: [
        c(f(3, 2, 4), f(3, 2, 4), f(2), f(2, low=0.5), f(2)),
        c(f(3, 2), f(3, 2), f(2), f(2, low=0.5), None),
    ],
    layer_norm_backward=lambda: [
        c(f(3, 4), f(3, 4), f(3, 1), f(3, 1, low=0.5), f(4), 1),
        c(f(2, 3, 2), f(2, 3, 2), f(2, 1, 1), f(2, 1, 1, low=0.5), None, 1),
    ],
    max_pool_with_indices=lambda: [c(f(2, 2, 5, 4), (3, 2), (2, 2), (1, 1), (1, 1), True)],
    max_pool_input_grad=lambda: [c(f(1, 2, 2), v(0, 3, 1, 1).reshape(1, 2, 2), (4,))],
    avg_pool=lambda: [
        c(f(2, 2, 5, 4), (2, 2), (2, 2), (1, 0), False, True, None),
        c(f(2, 2, 5), (3,), (2,), (1,), True, False, None),
    ],
    avg_pool_input_grad=lambda: [c(f(2, 2, 2), (5,), (2,), (2,), (0,), False, True, None)],
    adaptive_avg_pool=lambda: [c(f(2, 2, 5, 4), (3, 2))],
    adaptive_avg_pool_input_grad=lambda: [c(f(2, 2, 3), (5,))],
    adaptive_max_pool=lambda: [c(f(2, 2, 5, 4), (3, 2))],
    sgn=lambda: [c(f(2, 3)), c(complexes(2, 3))],
    polygamma=lambda: [c(1, f(2, 3, low=0.2)), c(2, f(3, low=-1.8, high=-1.2)), c(0, f(2))],
    mvlgamma=lambda: [c(f(3, low=2.0, high=4.0), 2)],
    ctc_loss_forward=lambda: [c(f(4, 1, 3, low=-2.0, high=-0.5), v(1, 2), (4,), (2,), 0, False)],
    linalg_lstsq=lambda: [c(f(4, 2), f(4, 1))],
    linalg_triangular=lambda: [
        c(positive_definite(3, 3), f(3, 2), False),
        c(positive_definite(3, 3), f(3, 2), True, True),
    ],
    linalg_solve_triangular=lambda: [
        c(positive_definite(3, 3), f(3, 2), upper=True),
        c(positive_definite(3, 3), f(2, 3), upper=False, left=False),
    ],
    triangular_solve=lambda: [c(f(3, 2), positive_definite(3, 3))],
    cholesky_solve=lambda: [c(f(3, 2), positive_definite(3, 3))],
    cholesky_inverse=lambda: [c(positive_definite(3, 3))],
    linalg_eigvals=lambda: [c(positive_definite(2, 2))],
    linalg_vecdot=lambda: [c(f(2, 3), f(2, 3))],
    linalg_cond=lambda: [c(positive_definite(2, 2)), c(f(2, 2), 1)],
    # linear algebra
    mm=lambda: [c(f(2, 3), f(3, 4)), c(f(3, 2).mT, f(4, 3).mT), c(i(2, 3), i(3, 2))],
    bmm=lambda: [c(f(2, 3, 2), f(2, 2, 4)), c(f(2, 3, 2), f(2, 4, 2).mT)],
    matmul_stacks=lambda: [c(f(2, 2, 3, 2), f(2, 2, 2, 4)), c(f(1, 2, 3, 2), f(1, 2, 4, 2).mT)],
    matmul=lambda: [
        c(f(2, 3), f(3, 4)),
        c(f(3), f(3)),
        c(f(2, 3), f(3)),
        c(f(3), f(3, 2)),
        c(f(2, 2, 3), f(3, 2)),
        c(f(2, 1, 2, 3), f(3, 3, 2)),
        c(f(3), f(2, 3, 2)),
    ],
    mv=lambda: [c(f(2, 3), f(3))],
    dot=lambda: [c(f(3), f(3))],
    vdot=lambda: [c(f(3), f(3)), c(complexes(2), complexes(2))],
    inner=lambda: [c(f(2, 3), f(4, 3))],
    outer=lambda: [c(f(2), f(3))],
    addmm=lambda: [c(f(2, 4), f(2, 3), f(3, 4)), c(f(4), f(2, 3), f(3, 4), beta=0.5, alpha=2)],
    addmv=lambda: [c(f(2), f(2, 3), f(3))],
    addr=lambda: [c(f(2, 3), f(2), f(3))],
    baddbmm=lambda: [c(f(2, 3, 4), f(2, 3, 2), f(2, 2, 4), beta=2, alpha=0.5)],
    addbmm=lambda: [c(f(3, 4), f(2, 3, 2), f(2, 2, 4))],
    tensordot=lambda: [
        c(f(2, 3, 4), f(3, 4, 2)),
        c(f(2, 3), f(4, 3), ([1], [1])),
        c(f(2), f(3), 0),
    ],
    einsum=lambda: [
        c("ij,jk->ik", f(2, 3), f(3, 2)),
        c("bij,bjk->bik", f(2, 2, 3), f(2, 3, 2)),
        c("ii->i", f(3, 3)),
        c("ii", f(3, 3)),
        c("ij->ji", f(2, 3)),
        c("i,j->ij", f(2), f(3)),
        c("...ij,...jk->...ik", f(2, 2, 3), f(3, 2)),
        c("ij,ij", f(2, 3), f(2, 3)),
        c("bhid,bhjd->bhij", f(2, 2, 3, 2), f(2, 2, 2, 2)),
        c("a,b,c->", f(2), f(2), f(3)),
        c("ijk,k->ij", f(2, 3, 2), f(2)),
    ],
    kron=lambda: [c(f(2, 2), f(2, 3)), c(f(2), f(2, 2))],
    cross=lambda: [c(f(2, 3), f(2, 3), 1), c(f(3, 2), f(3, 2), 0)],
    linalg_cross=lambda: [c(f(2, 3), f(2, 3))],
    trace=lambda: [c(f(3, 3))],
    cdist=lambda: [c(f(2, 3), f(4, 3)), c(f(2, 3), f(4, 3), 1.0)],
    matrix_power=lambda: [c(f(3, 3), 3), c(positive_definite(2, 2), -2)],
    linalg_inv=lambda: [c(positive_definite(3, 3)), c(positive_definite(2, 2, 2))],
    linalg_det=lambda: [c(positive_definite(3, 3)), c(f(2, 2, 2))],
    linalg_slogdet=lambda: [c(positive_definite(3, 3))],
    logdet=lambda: [c(positive_definite(3, 3))],
    linalg_solve_ex=lambda: [
        c(positive_definite(3, 3), f(3, 2)),
        c(positive_definite(3, 3), f(3)),
        c(positive_definite(3, 3), f(2, 2, 3), left=False),
    ],
    linalg_inv_ex=lambda: [c(positive_definite(2, 3, 3))],
    adjugate=lambda: [c(positive_definite(3, 3)), c(f(2, 2, 2))],
    pseudo_inverse=lambda: [c(f(2, 3), None, None, False), c(f(3, 2), None, None, False)],
    linalg_cholesky_ex=lambda: [c(positive_definite(3, 3)), c(positive_definite(2, 3, 3), upper=True)],
    linalg_lu_factor_ex=lambda: [c(f(3, 3)), c(f(2, 2, 4)), c(f(4, 2))],
    linalg_lu=lambda: [c(f(3, 3)), c(f(2, 4)), c(f(4, 2))],
    permutation_matrix=lambda: [c(Tensor._wrap(np.array([2, 3, 3], np.int32)), 3, dtypes.float64)],
    linalg_ldl_factor_ex=lambda: [c(positive_definite(3, 3))],
    linalg_ldl_solve=lambda: [
        c(positive_definite(3, 3), Tensor._wrap(np.array([1, 3, 3], np.int32)), f(3, 2))
    ],
    geqrf=lambda: [c(f(4, 3)), c(f(2, 2, 3))],
    linalg_householder_product=lambda: [c(f(4, 3), f(3)), c(f(2, 3, 3), f(2, 2))],
    ormqr=lambda: [c(f(4, 3), f(3), f(4, 2)), c(f(4, 3), f(3), f(2, 4), False, True)],
    matrix_exp=lambda: [c(f(3, 3)), c(f(2, 2, 2))],
    linalg_tensorsolve=lambda: [c(positive_definite(4, 4).reshape(2, 2, 4), f(2, 2))],
    linalg_tensorinv=lambda: [c(positive_definite(4, 4).reshape(2, 2, 4))],
    linalg_vander=lambda: [c(f(2, 3)), c(f(3), N=5)],
    linalg_solve=lambda: [
        c(positive_definite(3, 3), f(3, 2)),
        c(positive_definite(3, 3), f(2, 3), left=False),
    ],
    linalg_cholesky=lambda: [c(positive_definite(3, 3))],
    linalg_qr=lambda: [c(f(3, 2)), c(f(3, 3))],
    linalg_svd=lambda: [c(f(2, 3), False), c(f(3, 2), False)],
    linalg_svdvals=lambda: [c(f(2, 3))],
    linalg_eigh=lambda: [c(positive_definite(3, 3))],
    linalg_eigvalsh=lambda: [c(positive_definite(3, 3))],
    linalg_eig=lambda: [c(positive_definite(3, 3))],
    linalg_pinv=lambda: [c(f(2, 3))],
    linalg_matrix_rank=lambda: [c(f(2, 3))],
    linalg_matrix_norm=lambda: [c(f(2, 3)), c(f(2, 3), 1), c(f(2, 3), 2), c(f(2, 3), "nuc")],
    linalg_norm=lambda: [c(f(2, 3)), c(f(2, 3), 1), c(f(2, 3), 3, 1)],
    linalg_multi_dot=lambda: [c([f(2, 3), f(3, 2), f(2, 2)])],
    # sorting
    sort=lambda: [c(f(2, 4)), c(f(2, 4), 0, True), c(f())],
    argsort=lambda: [c(f(2, 4)), c(f(2, 4), 0, True)],
    msort=lambda: [c(f(3, 2))],
    topk=lambda: [c(f(2, 4), 2), c(f(4, 2), 3, 0, False)],
    kthvalue=lambda: [c(f(2, 4), 2), c(f(4, 2), 3, 0, True)],
    distinct_values=lambda: [c(i(6, high=3))],
    distinct_runs=lambda: [c(i(6, high=2))],
    unique=lambda: [c(i(6, high=3)), c(i(6, high=3), True, True, True), c(i(4, 2, high=2), dim=0)],
    unique_consecutive=lambda: [c(i(8, high=2)), c(i(8, high=2), True, True)],
    searchsorted=lambda: [
        c(v(1, 3, 5), v(0, 3, 6)),
        c(v(1, 3, 5), v(0, 3, 6), right=True),
        c(v(1, 3, 2, 4).reshape(2, 2), v(2, 3).reshape(2, 1)),
    ],
    bucketize=lambda: [c(v(0, 3, 6), v(1, 3, 5)), c(v(0, 3, 6), v(1, 3, 5), right=True)],
    bincount=lambda: [c(v(0, 2, 2)), c(v(0, 2, 2), f(3)), c(v(1), minlength=4)],
    histc=lambda: [c(f(8), 4), c(f(8), 4, -1, 1)],
    isin=lambda: [c(i(2, 3), v(1, 2)), c(i(2, 3), v(1, 2), invert=True)],
)

_ALONG, _RIGHT = lambda: [c(f(2, 3)), c(f(3, 2).mT)], lambda: [c(f(2, 3, low=0.2, high=4.0))]
_TABLE.update({f"special_{name}": _ALONG for name in "i0e i1 i1e erfcx log_ndtr airy_ai".split()})
for _kind in ("bessel_j", "bessel_y", "modified_bessel_i", "modified_bessel_k", "scaled_modified_bessel_k"):
    _TABLE.update({f"special_{_kind}{order}": _RIGHT for order in (0, 1)})
for _kind in "t u v w".split():
    for _shift in ("", "shifted_"):
        _TABLE[f"special_{_shift}chebyshev_polynomial_{_kind}"] = lambda: [c(f(2, 3), i(3)), c(f(2), 4)]
for _kind in "hermite_polynomial_h hermite_polynomial_he laguerre_polynomial_l legendre_polynomial_p".split():
    _TABLE[f"special_{_kind}"] = lambda: [c(f(2, 3), i(3)), c(0.5, i(4))]
_table(
    frexp=lambda: [c(f(2, 3)), c(f(3, 2).mT)],
    histogram_cells=lambda: [
        c(f(8, 1), [Tensor._wrap(np.array([-2.0, 0.1, 2.0]))], None, False),
        c(f(8, 2), [Tensor._wrap(np.array([-1.0, 0.1, 1.0]))] * 2, f(8), True),
    ],
    histogram=lambda: [c(f(8), 4), c(f(2, 4), 3, range=(-1.0, 1.0), density=True)],
    hash_tensor=lambda: [c(f(2, 3)), c(i(2, 3), 1, keepdim=True)],
    gradient=lambda: [c(f(4, 3)), c(f(4, 4), spacing=[0.5, 2.0], edge_order=2)],
    special_ndtri=lambda: [c(f(2, 3, low=0.01, high=0.99))],
    special_zeta=lambda: [c(2.5, f(2, 3, low=0.3)), c(3, f(2, low=-1.8, high=-1.2))],
    igamma=lambda: [c(v(1, 2, 3).double(), f(2, 3, low=0.2, high=6.0))],
    igammac=lambda: [c(v(1, 2, 3).double(), f(2, 3, low=0.2, high=6.0))],
)

# Operators of random values: their samples test shapes and twins, not values.
RANDOM: dict[str, Callable[[], list]] = dict(
    rand=lambda: [c((2, 3)), c(2, 3, dtype=dtypes.float64)],
    randn=lambda: [c((2, 3)), c(5, dtype=dtypes.float64)],
    rand_like=lambda: [c(f(2, 3))],
    randn_like=lambda: [c(f(3, 2).mT)],
    randint=lambda: [c(5, (2, 3)), c(-2, 5, (2, 3))],
    randperm=lambda: [c(5)],
    bernoulli=lambda: [c(f(2, 3, low=0.0, high=1.0)), c(f(2, 3), 0.3)],
    uniform=lambda: [c(f(2, 3)), c(f(2, 3), -1.0, 2.0)],
    exponential=lambda: [c(f(2, 3)), c(f(2, 3), 2.0)],
    geometric=lambda: [c(f(2, 3), 0.4)],
    cauchy=lambda: [c(f(2, 3))],
    normal=lambda: [c(f(2, 3), 1.0, 2.0), c(f(2, 3), f(2, 3), 1.0)],
    multinomial=lambda: [c(f(4, low=0.1), 2), c(f(2, 4, low=0.1), 6, True)],
    poisson=lambda: [c(f(2, 3, low=0.5))],
    standard_gamma=lambda: [c(f(2, 3, low=0.5))],
)


def samples(op: Op) -> list[Sample]:
    """Arguments for an operator; none if its kind and the table have none."""
    global _source
    _source = np.random.default_rng(abs(hash_name(op.name)))
    for table in (_TABLE, RANDOM):
        if op.name in table:
            return table[op.name]()
    if op.kind == "pointwise":
        return _pointwise(op)
    return _reduction(op) if op.kind == "reduction" else []


def hash_name(name: str) -> int:
    """A number that is the same in every run."""
    return sum((n + 1) * ord(letter) for n, letter in enumerate(name))
