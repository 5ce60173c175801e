"""What acceptance tests share: a compiler that starts fresh, both backends, and comparison of whatever programs give back."""

import numpy as np
import pytest

import flambeau


@pytest.fixture(autouse=True)
def fresh_compiler():
    flambeau.compiler.reset()
    yield
    flambeau.compiler.reset()


@pytest.fixture(params=["aot_eager", "inductor"])
def backend(request):
    return request.param


def _assert_same(left, right, rtol, atol, where="result"):
    if hasattr(left, "detach") and hasattr(right, "detach"):
        assert str(left.dtype).split(".")[-1] == str(right.dtype).split(".")[-1], where
        assert tuple(left.shape) == tuple(right.shape), where
        assert left.requires_grad == right.requires_grad, where
        a, b = left.detach().numpy(), right.detach().numpy()
        if a.dtype.kind in "fc":
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=where)
        else:
            np.testing.assert_array_equal(a, b, err_msg=where)
        return
    assert type(left) is type(right), where
    if isinstance(left, (tuple, list)):
        assert len(left) == len(right), where
        for place, (a, b) in enumerate(zip(left, right)):
            _assert_same(a, b, rtol, atol, f"{where}[{place}]")
    elif isinstance(left, dict):
        assert list(left) == list(right), where
        for key in left:
            _assert_same(left[key], right[key], rtol, atol, f"{where}[{key!r}]")
    else:
        assert left == right or left != left and right != right, where


@pytest.fixture
def same():
    """same(left, right): equal in structure, type, dtype, shape, and to the last few bits in value."""

    def check(left, right, rtol=1e-5, atol=1e-6):
        _assert_same(left, right, rtol, atol)

    return check
