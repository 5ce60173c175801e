"""torch.testing and torch.functional against torch's own."""

import itertools

import numpy as np
import pytest

import flambeau
from flambeau import functional, testing

torch = pytest.importorskip("torch")

VALUES = [
    np.float32([1.0, 2.0]), np.float32([1.0, 2.000001]), np.float32([1.0, 2.1]), np.float32([[1.0, 2.0]]), np.float64([1.0, 2.0]),
    np.int64([1, 2]), np.int64([1, 3]), np.float32([np.nan, 2.0]), np.float32([np.inf, 2.0]), np.bool_([True, False]),
]  # fmt: skip
OPTIONS = [{}, {"check_dtype": False}, {"rtol": 0.1, "atol": 0.0}, {"equal_nan": True}]


def verdict(t, one, other, options, wrap=lambda x: x):
    try:
        t.testing.assert_close(wrap(t.tensor(one)), wrap(t.tensor(other)), **options)
    except AssertionError:
        return "differ"
    return "close"


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
def test_closeness_is_that_of_torch(options):
    for (i, one), (j, other) in itertools.product(enumerate(VALUES), repeat=2):
        assert verdict(flambeau, one, other, options) == verdict(torch, one, other, options), (i, j)


def test_containers_and_messages():
    pair = lambda x: {"a": [x, 1.0], "b": (2, None)}  # noqa: E731
    assert verdict(flambeau, VALUES[0], VALUES[0], {}, pair) == "close"
    with pytest.raises(AssertionError, match=r"of item \['a'\] of item \[0\] are not close!\n\nMismatched elements: 1 / 2 \(50.0%\)"):
        testing.assert_close(pair(flambeau.tensor(VALUES[0])), pair(flambeau.tensor(VALUES[2])))
    with pytest.raises(AssertionError, match="mine: Scalars are not close"):
        testing.assert_close(1.0, 2.0, msg=lambda text: "mine: " + text)
    with pytest.raises(AssertionError, match="length of the sequences"):
        testing.assert_close([1], [1, 2])
    with pytest.raises(ValueError, match="both be specified"):
        testing.assert_close(1.0, 1.0, rtol=0.1)
    with pytest.raises(TypeError, match="No comparison"):
        testing.assert_close(flambeau.ones(1), "one")


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", "int64", "uint8", "bool", "complex64"])
def test_made_tensors_are_in_their_range(kind):
    mine = testing.make_tensor(40, 30, dtype=getattr(flambeau, kind))
    theirs = torch.testing.make_tensor(40, 30, dtype=getattr(torch, kind), device="cpu")
    assert mine.shape == (40, 30) and str(mine.dtype) == str(theirs.dtype) and mine.is_contiguous()
    part = (lambda x: x.real) if kind == "complex64" else (lambda x: x)
    assert abs(float(part(mine).double().min()) - float(part(theirs).double().min())) < 1.0
    assert abs(float(part(mine).double().max()) - float(part(theirs).double().max())) < 1.0
    assert not testing.make_tensor(4, 4, dtype=getattr(flambeau, kind), noncontiguous=True).is_contiguous()


def test_made_tensors_with_options():
    made = testing.make_tensor((200,), dtype=flambeau.int64, low=-1, high=2, exclude_zero=True)
    assert set(made.tolist()) == {-1, 1}
    assert testing.make_tensor(2, dtype=flambeau.float32, requires_grad=True).requires_grad
    with pytest.raises(ValueError, match="must be less than"):
        testing.make_tensor(2, dtype=flambeau.int64, low=3, high=1)
    with pytest.raises(ValueError, match="not supported for boolean"):
        testing.make_tensor(2, dtype=flambeau.int64, requires_grad=True)


def test_older_paths():
    assert functional.einsum is flambeau.einsum and functional.split is flambeau.split
    from flambeau.utils.dlpack import from_dlpack, to_dlpack
    from flambeau.utils.hooks import RemovableHandle

    x = flambeau.arange(3)
    assert from_dlpack(x).data_ptr() == x.data_ptr() and to_dlpack(x) is not None
    hooks = {}
    assert RemovableHandle.__name__ == "RemovableHandle" and not hooks
