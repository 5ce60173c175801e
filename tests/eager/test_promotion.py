"""Type promotion: every pair of types, zero-dimensional tensors and numbers, against torch; and the
lattice's own laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eager import dtype as dtypes
from eager.op import ops
from eager.tensor import Tensor

TYPES = [d for d in dtypes.ALL if d.name not in ("uint16", "uint32", "uint64")]
NUMBERS = [True, 2, 1.5, 1 + 2j]


def make(dtype, shape):
    return ops.ones(shape, dtype=dtype)


def name(result):
    return str(result.dtype)


@pytest.mark.parametrize("a", TYPES, ids=str)
def test_laws_of_the_lattice(a):
    assert dtypes.promote(a, a) is a
    for b in TYPES:
        top = dtypes.promote(a, b)
        assert top is dtypes.promote(b, a)
        assert dtypes.promote(a, top) is top and dtypes.promote(b, top) is top
        assert top.category == max(a.category, b.category)


@pytest.mark.torch
@pytest.mark.parametrize("a", dtypes.ALL, ids=str)
def test_promote_types_agrees_with_torch(a):
    torch = pytest.importorskip("torch")
    for b in dtypes.ALL:
        try:
            expected = str(torch.promote_types(getattr(torch, a.name), getattr(torch, b.name)))
        except RuntimeError:
            continue  # torch refuses mixtures of its wide unsigned types
        assert str(dtypes.promote(a, b)) == expected, (a, b)


operand = st.one_of(
    st.tuples(st.sampled_from(TYPES), st.sampled_from([(), (2,)])), st.sampled_from(NUMBERS)
)
OPERATORS = [
    "add",
    "sub",
    "mul",
    "div",
    "eq",
    "lt",
    "maximum",
    "where",
    "pow",
    "floor_divide",
    "atan2",
    "remainder",
]


@pytest.mark.torch
@settings(max_examples=600, deadline=None)
@given(st.sampled_from(OPERATORS), operand, operand)
def test_results_of_operators_agree_with_torch(operator, left, right):
    torch = pytest.importorskip("torch")
    if not isinstance(left, tuple) and not isinstance(right, tuple):
        return
    if operator in ("maximum", "atan2") and not (
        isinstance(left, tuple) and isinstance(right, tuple)
    ):
        return

    def call(library, make, names):
        a, b = (make(*o) if isinstance(o, tuple) else o for o in (left, right))
        if operator == "where":
            return library.where(make(names("bool"), (2,)), a, b)
        return getattr(library, operator)(a, b)

    if "float16" in (both := repr((left, right))) and ("complex" in both or "j" in both):
        return  # torch's complex numbers of half precision
    try:
        theirs = call(
            torch,
            lambda d, s: torch.ones(s, dtype=getattr(torch, getattr(d, "name", d))),
            lambda n: n,
        )
    except (RuntimeError, TypeError, NotImplementedError):
        return  # what torch does not implement for a type is not ours to copy
    mine = call(ops, make, lambda n: dtypes.bool_)
    assert (name(mine), tuple(mine.shape)) == (str(theirs.dtype), tuple(theirs.shape)), (
        left,
        right,
    )


@pytest.mark.torch
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    "operator",
    "sum prod cumsum cumprod exp sqrt abs neg floor argmax any sigmoid square relu mean isnan "
    "sign".split(),
)
def test_types_of_one_operand_agree_with_torch(dtype, operator):
    torch = pytest.importorskip("torch")
    more = (0,) if operator.startswith("cum") else ()
    peer = getattr(torch, operator, None)
    try:
        theirs = peer(torch.ones(3, dtype=getattr(torch, dtype.name)), *more)
    except (RuntimeError, NotImplementedError):
        return
    assert name(getattr(ops, operator)(make(dtype, 3), *more)) == str(theirs.dtype)


@pytest.mark.parametrize("dtype", [dtypes.int64, dtypes.int32, dtypes.uint8, dtypes.bool_], ids=str)
def test_in_place_keeps_the_type_or_refuses(dtype):
    x = ops.ones(2, dtype=dtype)
    with pytest.raises(RuntimeError, match="can't be cast"):
        x.add_(1.5)
    assert ops.ones(2).add_(x).dtype is dtypes.float32


def test_integers_wrap_as_in_c():
    x = Tensor._wrap(np.array([250], np.uint8))
    assert (x + 10).tolist() == [4]
    assert (Tensor._wrap(np.array([100], np.int8)) * 2).tolist() == [-56]


def test_default_type_is_what_numbers_become():
    assert (ops.arange(2) * 1.5).dtype is dtypes.float32
    dtypes.set_default_dtype(dtypes.float64)
    try:
        assert (ops.arange(2) * 1.5).dtype is dtypes.float64
        assert ops.zeros(1).dtype is dtypes.float64
    finally:
        dtypes.set_default_dtype(dtypes.float32)
