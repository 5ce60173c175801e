"""Subscripts: reading, writing, gradients, errors, the memory they touch, and the same answers as
NumPy and torch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eager import construct
from eager import dtype as dtypes
from eager.fake import FakeTensor
from eager.op import ops
from eager.tensor import Tensor

tensor = construct.tensor


def array_of(*shape):
    return np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)


def make(*shape):
    return Tensor._wrap(array_of(*shape))


BASIC = [
    0,
    -1,
    (0, 1),
    (slice(None), 1),
    (slice(1, None), slice(None, -1)),
    (..., 0),
    (None, 0),
    (0, None, ...),
    (slice(None, None, 2),),
    (slice(5, 2), 0),
    (slice(-100, 100),),
    (..., None),
    (),
    ...,
    None,
    (1, ..., 2),
]
ADVANCED = [
    [0, 2],
    ([0, 2], [1, 1]),
    (slice(None), [0, 2]),
    ([[0, 1], [2, 0]],),
    (0, [1, 2]),
    ([0, 1], slice(None), [1, 0]),
    (None, [0, 1], 1),
    (slice(1, 3), [1, 0], None),
    ([True, False, True],),
    ([0, -1], ..., 1),
    (0, slice(None), [0, 1]),
    np.array([2, 0]),
    (np.array([True, True, False]), 0),
    ([1, 2], [0], ...),
    ([], 0),
]


@pytest.mark.parametrize("index", BASIC, ids=repr)
def test_basic_subscript_is_a_view(index):
    x = make(3, 4, 5)
    found = x[index]
    np.testing.assert_array_equal(found.numpy(), array_of(3, 4, 5)[index])
    assert found.numel() == 0 or np.shares_memory(found._array, x._array)
    assert found._base is x


@pytest.mark.parametrize("index", BASIC + ADVANCED, ids=repr)
def test_recording_gives_the_same_values_as_the_fast_path(index):
    plain, recorded = make(3, 4, 5)[index], make(3, 4, 5).requires_grad_()[index]
    np.testing.assert_array_equal(plain.numpy(), recorded.detach().numpy())
    assert recorded.requires_grad


@pytest.mark.parametrize("index", BASIC + ADVANCED, ids=repr)
def test_gradient_goes_where_the_values_came_from(index):
    x = make(3, 4, 5).requires_grad_()
    found = x[index]
    weight = Tensor._wrap(np.random.default_rng(0).random(tuple(found.shape)))
    (found * weight).sum().backward()
    expected = np.zeros((3, 4, 5))
    places = np.arange(60).reshape(3, 4, 5)
    flat = Tensor._wrap(places)[index].numpy().reshape(-1)
    np.add.at(expected.reshape(-1), flat, weight.numpy().reshape(-1))
    np.testing.assert_allclose(x.grad.numpy(), expected)


@pytest.mark.parametrize("index", BASIC + ADVANCED, ids=repr)
@pytest.mark.parametrize("recording", [False, True])
def test_writing_writes_what_reading_reads(index, recording):
    x = make(3, 4, 5)
    target = x.clone()
    target.requires_grad_(recording)
    target = target * 1 if recording else target
    shape = tuple(x[index].shape)
    value = Tensor._wrap(-1 - np.random.default_rng(0).random(shape))
    target[index] = value
    expected = array_of(3, 4, 5)
    places = Tensor._wrap(np.arange(60).reshape(3, 4, 5))[index].numpy().reshape(-1)
    expected.reshape(-1)[places] = value.numpy().reshape(-1)
    np.testing.assert_array_equal(target.detach().numpy(), expected)


def test_writing_counts_a_version_and_a_number_is_converted():
    x = ops.zeros(3, dtype=dtypes.int64)
    before = x._version
    x[1] = 2.9
    assert x.tolist() == [0, 2, 0] and x._version == before + 1
    x[x > 1] = 7
    assert x.tolist() == [0, 7, 0]


def test_writing_into_a_leaf_that_requires_grad_is_refused():
    x = make(3).requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 1


def test_gradient_through_writing():
    x, y = make(3).requires_grad_(), make(2).requires_grad_()
    z = x * 2
    z[1:] = y * 3
    (z * make(3)).sum().backward()
    assert x.grad.tolist() == [0, 0, 0] and y.grad.tolist() == [3, 6]
    x = make(3).requires_grad_()
    z = x * 2
    z[z > 1] = 5.0
    z.sum().backward()
    assert x.grad.tolist() == [2, 0, 0]


def test_write_through_a_view_of_a_view():
    x = make(3, 4)
    x[1][2:][0] = 100
    assert x[1, 2].item() == 100


ERRORS = [
    (lambda x: x[3], IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
    (lambda x: x[0, -5], IndexError, "index -5 is out of bounds for dimension"),
    (lambda x: x[[3]], IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
    (lambda x: x[:, [4, 0]], IndexError, "index 4 is out of bounds for dimension 1 with size 4"),
    (lambda x: x[0, 0, 0], IndexError, "too many indices"),
    (lambda x: x[::-1], ValueError, "step must be greater than zero"),
    (lambda x: x[0, ..., ..., 0, 0], IndexError, "too many indices"),
    (lambda x: x[1.0], IndexError, "only integers"),
    (lambda x: x[ops.zeros(2)], IndexError, "tensors used as indices must be"),
    (lambda x: x[ops.zeros(2, dtype=dtypes.bool_)], IndexError, "shape of the mask"),
    (lambda x: x[[0, 1], [0, 1, 2]], IndexError, "could not be broadcast"),
    (lambda x: x.sum()[0], IndexError, "0-dim"),
    (lambda x: x.index_select(0, tensor([3])), IndexError, "out of range"),
    (lambda x: x.index_select(0, tensor([-1])), IndexError, "out of range"),
    (
        lambda x: x.gather(0, tensor([[3]])),
        RuntimeError,
        "index 3 is out of bounds for dimension 0 with size 3",
    ),
    (lambda x: x.gather(0, tensor([[-1]])), RuntimeError, "out of bounds"),
    (lambda x: x.gather(0, tensor([0])), RuntimeError, "same number of dimensions"),
    (lambda x: x.take(tensor([12])), IndexError, "out of range"),
    (lambda x: x.narrow(0, 2, 2), RuntimeError, "exceeds dimension size"),
    (lambda x: x.select(0, 3), IndexError, "out of"),
    (
        lambda x: ops.cat([x, x[:, :2]]),
        RuntimeError,
        "Sizes of tensors must match except in dimension 0",
    ),
    (lambda x: ops.cat([]), ValueError, "non-empty list"),
    (lambda x: ops.stack([x, x[0]]), RuntimeError, "equal size"),
    (lambda x: x.split([1, 1]), RuntimeError, "split_sizes"),
    (lambda x: x.chunk(0), RuntimeError, "greater than 0"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_reading_outside_is_an_error(number):
    call, kind, words = ERRORS[number]
    with pytest.raises(kind, match=words):
        call(make(3, 4))
    with pytest.raises(kind, match=words):
        call(make(3, 4).requires_grad_())


WRITES = [
    (lambda x: x.__setitem__(3, 1.0), IndexError),
    (lambda x: x.__setitem__([0, 3], 1.0), IndexError),
    (lambda x: x.__setitem__((0, [4]), 1.0), IndexError),
    (lambda x: x.__setitem__(0, ops.zeros(3)), RuntimeError),
    (lambda x: x.__setitem__([0, 1], ops.zeros(3, dtype=dtypes.float64)), RuntimeError),
    (lambda x: x.scatter_(0, tensor([[3]]), 1.0), RuntimeError),
    (lambda x: x.scatter_(0, tensor([[-1]]), 1.0), RuntimeError),
    (lambda x: x.scatter_add_(1, tensor([[4]]), make(1, 1)), RuntimeError),
    (lambda x: x.index_add_(0, tensor([3]), make(1, 4)), IndexError),
    (lambda x: x.index_copy_(0, tensor([0, 3]), make(2, 4)), IndexError),
    (lambda x: x.index_fill_(0, tensor([3]), 1.0), IndexError),
    (lambda x: x.index_put_((tensor([3]),), tensor(1.0, dtype=dtypes.float64)), IndexError),
    (lambda x: x.masked_fill_(tensor([1, 0, 1, 0]), 1.0), RuntimeError),
    (lambda x: x.masked_scatter_(x > -1, make(3)), RuntimeError),
    (lambda x: x.put_(tensor([12]), make(1)), IndexError),
]


@pytest.mark.parametrize("number", range(len(WRITES)))
def test_writing_outside_is_an_error_and_writes_nothing(number):
    call, kind = WRITES[number]
    x = make(3, 4)
    with pytest.raises(kind):
        call(x)
    np.testing.assert_array_equal(x.numpy(), array_of(3, 4))


def test_fake_subscripts_have_the_shape_of_real_ones():
    for index in BASIC + [a for a in ADVANCED if "True" not in repr(a)]:
        real, fake = make(3, 4, 5)[index], FakeTensor.of(make(3, 4, 5))[index]
        assert isinstance(fake, FakeTensor) and fake.shape == real.shape, index


def test_index_tensors_select_by_value_and_zero_dimensional_ones_as_numbers():
    x = make(3, 4)
    assert x[tensor(1), tensor(2)].item() == 6
    assert x[tensor([0, 1]), tensor(2)].tolist() == [2, 6]
    assert x[tensor([1], dtype=dtypes.uint8).bool()[[0, 0, 0]]].shape == (3, 4)
    assert x[True].shape == (1, 3, 4) and x[False].shape == (0, 3, 4)


# -- torch -----------------------------------------------------------------------------------------

items = st.one_of(
    st.integers(-3, 2),
    st.none(),
    st.just(Ellipsis),
    st.builds(
        slice,
        st.one_of(st.none(), st.integers(-5, 5)),
        st.one_of(st.none(), st.integers(-5, 5)),
        st.one_of(st.none(), st.integers(1, 3)),
    ),
    st.lists(st.integers(-3, 2), min_size=1, max_size=3),
    st.lists(st.lists(st.integers(-3, 2), min_size=2, max_size=2), min_size=1, max_size=2),
    st.lists(st.booleans(), min_size=3, max_size=3),
)


def outcome(call):
    try:
        return call()
    except (IndexError, RuntimeError, ValueError, TypeError) as error:
        return type(error)


@pytest.mark.torch
@settings(max_examples=400, deadline=None)
@given(
    st.lists(items, min_size=1, max_size=4)
    .map(tuple)
    .filter(lambda i: sum(p is ... for p in i) < 2)
)
def test_subscripts_agree_with_torch(index):
    torch = pytest.importorskip("torch")
    x = array_of(3, 3, 3)
    theirs_index = tuple(torch.tensor(i) if isinstance(i, list) else i for i in index)
    mine_index = tuple(tensor(i) if isinstance(i, list) else i for i in index)
    theirs = outcome(lambda: torch.from_numpy(x.copy())[theirs_index])
    mine = outcome(lambda: Tensor._wrap(x.copy())[mine_index])
    if isinstance(theirs, type):
        assert mine is theirs
        return
    assert not isinstance(mine, type), mine
    assert tuple(mine.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    target, peer = Tensor._wrap(x.copy()), torch.from_numpy(x.copy())
    target[mine_index], peer[theirs_index] = -1.0, -1.0
    np.testing.assert_array_equal(target.numpy(), peer.numpy())


@pytest.mark.torch
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce_agrees_with_torch(reduce, include_self):
    torch = pytest.importorskip("torch")
    source = np.random.default_rng(0)
    x, src, index = source.random((4, 5)), source.random((3, 5)), source.integers(0, 4, (3, 5))
    mine = Tensor._wrap(x.copy()).scatter_reduce(
        0, Tensor._wrap(index), Tensor._wrap(src), reduce, include_self=include_self
    )
    theirs = torch.from_numpy(x.copy()).scatter_reduce(
        0, torch.from_numpy(index), torch.from_numpy(src), reduce, include_self=include_self
    )
    np.testing.assert_allclose(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    "shape, count", [((7, 20), 50), ((5, 3), 30), ((4, 4, 20), 9), ((6, 16), 0), ((3,), 20)]
)
def test_adding_at_repeated_places_is_adding_one_by_one(shape, count):
    source = np.random.default_rng(0)
    index = source.integers(-shape[0], shape[0], count)
    values = source.random((count, *shape[1:]))
    expected = np.zeros(shape)
    np.add.at(expected, index, values)
    mine, places = Tensor._wrap(np.zeros(shape)), Tensor._wrap(index)
    np.testing.assert_allclose(
        mine.index_put((places,), Tensor._wrap(values), True).numpy(), expected
    )
    np.testing.assert_allclose(
        mine.index_add(0, places % shape[0], Tensor._wrap(values)).numpy(), expected
    )
    turned = Tensor._wrap(np.zeros(shape[::-1]))
    last = turned.index_add(-1, places % shape[0], Tensor._wrap(np.ascontiguousarray(values.T)))
    np.testing.assert_allclose(last.numpy(), expected.T)
    column = (
        np.full((count, *shape[1:]), 0.0) + index.reshape(-1, *[1] * (len(shape) - 1)) % shape[0]
    )
    scattered = mine.scatter_add(0, Tensor._wrap(column.astype(np.int64)), Tensor._wrap(values))
    np.testing.assert_allclose(scattered.numpy(), expected)
