"""Views: NumPy's view and the geometry agree, memory is shared, fakes have the same strides."""

import numpy as np
import pytest

from eager.construct import tensor
from eager.fake import FakeTensor
from eager.op import ops
from eager.tensor import Tensor

CASES = [
    ("transpose", (0, 1)), ("transpose", (-1, 0)), ("permute", ((2, 0, 1),)), ("unsqueeze", (0,)), ("unsqueeze", (-1,)),  # noqa: E501
    ("squeeze", ()), ("squeeze", (1,)), ("select", (0, 1)), ("select", (-1, -1)), ("slice", (0, 1, None, 1)),  # noqa: E501
    ("slice", (2, None, -1, 2)), ("slice", (2, 3, 1, 1)), ("view", ((12, 1, 2),)), ("view", ((-1,),)), ("diagonal", (0, 0, 2)),  # noqa: E501
    ("diagonal", (1, 0, 2)), ("unfold", (2, 2, 1)), ("expand", ((5, 4, 3, 2),)), ("expand", ((4, -1, 2),)),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize("name,params", CASES)
def test_geometry_matches_the_view(name, params):
    op = getattr(ops, name)
    shape = (4, 1, 6) if name == "squeeze" else (4, 3, 2)
    x = Tensor._wrap(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    y = op(x, *params)
    fake = op(FakeTensor.of(x), *params)
    assert tuple(fake.shape) == tuple(y.shape)
    assert fake.numel() == 0 or fake.stride() == y.stride() or _same(fake, y)
    assert fake.storage_offset() == y.storage_offset() or y.numel() == 0
    assert y.numel() == 0 or np.shares_memory(x._array, y._array)
    assert y._base is x


def _same(fake, y):
    """Strides of dimensions of size 1 mean nothing."""
    return all(a == b or n == 1 for a, b, n in zip(fake.stride(), y.stride(), y.shape, strict=True))


@pytest.mark.parametrize("name,params", CASES)
def test_gradient_of_a_view(name, params):
    op = getattr(ops, name)
    shape = (4, 1, 6) if name == "squeeze" else (4, 3, 2)
    x = Tensor._wrap(np.arange(np.prod(shape), dtype=np.float64).reshape(shape)).requires_grad_()
    y = op(x, *params)
    weights = Tensor._wrap(np.random.default_rng(0).standard_normal(y.shape))
    if y.numel():
        ops.sum(y * weights).backward()
        expected = np.zeros(x.numel())
        np.add.at(expected, y._array.astype(int).reshape(-1), weights._array.reshape(-1))
        np.testing.assert_allclose(x.grad.numpy().reshape(-1), expected)


def test_view_of_incompatible_strides_is_an_error():
    x = tensor([[1.0, 2.0], [3.0, 4.0]]).T
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        x.view(4)
    assert x.reshape(4).tolist() == [1.0, 3.0, 2.0, 4.0]
    with pytest.raises(RuntimeError, match="invalid for input of size 4"):
        x.reshape(3)


def test_writes_through_views_bump_one_version():
    x = tensor([[1.0, 2.0], [3.0, 4.0]])
    x.T[0].add_(10)
    assert x.tolist() == [[11.0, 2.0], [13.0, 4.0]]
    assert x._version == 1


def test_index_out_of_range():
    x = tensor([1.0, 2.0])
    with pytest.raises(IndexError, match="out of bounds|out of range"):
        ops.select(x, 0, 2)
    with pytest.raises(IndexError, match="Dimension out of range"):
        ops.transpose(x, 0, 2)
