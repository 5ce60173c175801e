"""Every operator: shape rule = run, derivative = finite differences, decomposition = run, in-place
= out-of-place, agreement with torch.

Nothing here names operators but the lists of what is left out and why; samples come from
`eager.samples`.
"""

import numpy as np
import pytest

from eager import dtype as dtypes
from eager.autograd import no_grad
from eager.fake import DataDependent, FakeTensor
from eager.gradcheck import gradcheck, gradgradcheck
from eager.op import ops, registry
from eager.samples import RANDOM, samples
from eager.tensor import Tensor

OPERATORS = sorted({op.name: op for op in registry.values() if op.kind != "inplace"}.items())
SAMPLED = [(name, op) for name, op in OPERATORS if samples(op)]
CASES = [(name, number) for name, op in SAMPLED for number in range(len(samples(op)))]
WRITTEN = [
    case for case in CASES if hasattr(registry[case[0]], "in_place") and case[0] not in RANDOM
]
# Derivatives that finite differences cannot see: constant outputs, or several right answers.
NOT_DIFFERENTIATED = {
    "detach": "cut off on purpose",
    "overwrite": "the gradient is that of what was before",
    "round": "flat",
    "remainder": "jumps",
    "nextafter": "jumps",
    "histogram": "jumps",
    "histogram_cells": "jumps",
    "igamma": "none by the order, as in torch",
    "igammac": "none by the order, as in torch",
    "special_zeta": "none by the order, as in torch",
    "fmod": "jumps",
    "floor_divide": "jumps",
    "trunc_divide": "jumps",
    "nanmedian": "same as median",
    "mode": "ties",
    "convert": "rounds to float32",
    "argwhere": "integers",
    "ctc_loss_forward": "its derivative is that behind log_softmax: tests/nn",
    "embedding": "the padding row has none: tests/nn",
}


# They read one triangle: the other must move with it.
SYMMETRIC = {"linalg_cholesky", "linalg_cholesky_ex", "linalg_eigh", "linalg_eigvalsh"}


def build(name, number):
    return registry[name], *samples(registry[name])[number]


def leaves(value):
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [leaf for v in value for leaf in leaves(v)]
    return []


def mapped(value, function):
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)) and any(
        isinstance(v, (Tensor, tuple, list)) for v in value
    ):
        return type(value)(mapped(v, function) for v in value)
    return value


def assert_equal(found, expected, exact=False):
    found, expected = leaves(found), leaves(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.dtype is b.dtype and tuple(a.shape) == tuple(b.shape)
        if exact:
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        else:
            np.testing.assert_allclose(
                a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12
            )


def test_every_operator_of_a_kind_without_definition_has_samples():
    missing = [name for name, op in OPERATORS if op.kind != "composite" and not samples(op)]
    pure = {name for name in missing if name.startswith("philox_")}  # tested as twins
    undefined = {"empty", "empty_like", "empty_strided"}  # their values
    # with_derivative calls a graph and its derivative: tests/dynamo/test_derivative.py
    assert set(missing) - pure == undefined | {"with_derivative"}


@pytest.mark.parametrize("name, number", CASES)
def test_shape_rule_is_what_running_gives(name, number):
    op, args, kwargs = build(name, number)
    try:
        fake = op(*mapped(args, FakeTensor.of), **mapped_values(kwargs, FakeTensor.of))
    except DataDependent:
        if op.kind == "composite":
            pytest.skip("composes operators whose shapes depend on values")
        with pytest.raises(DataDependent):
            op.spec(op.bind(*plain(op, args, kwargs)))
        return
    real = op(*args, **kwargs)
    assert type(fake) is type(real) or isinstance(fake, Tensor)
    for a, b in zip(leaves(fake), leaves(real), strict=True):
        assert isinstance(a, FakeTensor) or not leaves(args) or op.kind == "composite"
        assert tuple(a.shape) == tuple(b.shape)
        assert a.dtype is b.dtype
        if b.numel() > 0:
            wanted = [s for s, n in zip(b.stride(), b.shape) if n > 1]
            assert [s for s, n in zip(a.stride(), a.shape) if n > 1] == wanted


def mapped_values(kwargs, function):
    return {k: mapped(v, function) for k, v in kwargs.items()}


def plain(op, args, kwargs):
    """The arguments behind the operator's front."""
    caught = []

    def call(*a, **k):
        caught.append((a, k))
        raise StopIteration

    front = getattr(op, "front", None)
    if front is None:
        return args, kwargs
    with pytest.raises(StopIteration):
        front(call, *args, **kwargs)
    return caught[0]


def differentiable(name, number):
    """The sample as a function of its floating tensors, which require grad."""
    op, args, kwargs = build(name, number)
    takes = lambda t: t.dtype in (dtypes.float64, dtypes.complex128)  # noqa: E731
    inputs = [t for t in leaves((args, tuple(kwargs.values()))) if takes(t)]
    inputs = [t.detach().clone().requires_grad_() for t in inputs]

    def function(*given):
        if name in SYMMETRIC:
            given = [(t + t.mT) / 2 for t in given]
        rest = iter(given)
        take = lambda t: next(rest) if takes(t) else t  # noqa: E731
        return op(*mapped(args, take), **mapped_values(kwargs, take))

    return function, inputs


def smooth(name):
    op = registry[name]
    if op.random:
        return False
    return name not in NOT_DIFFERENTIATED and (op.vjp is not None or op.kind == "composite")


@pytest.mark.parametrize("name, number", [case for case in CASES if smooth(case[0])])
def test_derivative_is_the_limit_of_differences(name, number):
    function, inputs = differentiable(name, number)
    if not inputs or not any(t.requires_grad for t in leaves(function(*inputs))):
        pytest.skip("nothing to differentiate")
    assert gradcheck(function, inputs, atol=2e-5)


@pytest.mark.parametrize("name", [name for name, _ in SAMPLED if smooth(name)])
def test_derivative_of_the_derivative(name):
    function, inputs = differentiable(name, 0)
    if not inputs or not any(t.requires_grad for t in leaves(function(*inputs))):
        pytest.skip("nothing to differentiate")
    assert gradgradcheck(function, inputs, atol=2e-4)


@pytest.mark.parametrize(
    "name, number", [case for case in CASES if registry[case[0]].decompose is not None]
)
def test_decomposition_is_what_running_gives(name, number):
    op, args, kwargs = build(name, number)
    args, kwargs = plain(op, args, kwargs)
    assert_equal(op.decompose(*op.bind(args, kwargs)), op(*args, **kwargs))


@pytest.mark.parametrize("name, number", WRITTEN)
def test_in_place_is_out_of_place(name, number):
    op, args, kwargs = build(name, number)
    args, kwargs = plain(op, args, kwargs)
    if not isinstance(args[0], Tensor):
        pytest.skip("writes into a number")
    expected = op(*args, **kwargs)
    if (
        tuple(expected.shape) != tuple(args[0].shape)
        or expected.dtype.category > args[0].dtype.category
    ):
        with pytest.raises(RuntimeError):
            op.in_place(args[0].clone(), *args[1:], **kwargs)
        return
    target = args[0].clone()
    version = target._version
    assert op.in_place(target, *args[1:], **kwargs) is target
    assert target._version > version
    assert_equal(target, ops.convert(expected, target.dtype))


@pytest.mark.parametrize(
    "name, number", [case for case in CASES if registry[case[0]].kind == "view"]
)
def test_view_shares_memory_and_its_geometry_is_what_running_gives(name, number):
    op, args, kwargs = build(name, number)
    base = args[0]
    view = op(*args, **kwargs)
    fake_base = FakeTensor.of(base)
    fake = op(fake_base, *args[1:], **kwargs)
    assert view.numel() == 0 or np.shares_memory(view._array, base._array)
    assert view._base is (base if base._base is None else base._base)
    assert fake.untyped_storage() is fake_base.untyped_storage()
    assert fake.storage_offset() == view.storage_offset()


@pytest.mark.parametrize("name, number", CASES)
def test_kernel_does_not_write_its_arguments(name, number):
    op, args, kwargs = build(name, number)
    if op.mutates:
        pytest.skip("writes its argument by declaration")
    before = [t._array.copy() for t in leaves(args)]
    result = op(*args, **kwargs)
    for tensor, kept in zip(leaves(args), before, strict=True):
        np.testing.assert_array_equal(tensor._array, kept)
    if op.kind in ("pointwise", "reduction", "extern") and name != "detach":
        for out in leaves(result):
            assert not any(np.shares_memory(out._array, t._array) for t in leaves(args))


# -- random operators ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, number", [(name, n) for name in RANDOM for n in range(len(RANDOM[name]()))]
)
def test_random_operator_is_its_twin(name, number):
    from eager import rng

    op, args, kwargs = build(name, number)
    args, kwargs = plain(op, args, kwargs)
    bound = op.bind(args, kwargs)
    for seed, skip in ((1, 0), (2**63 + 5, 7)):
        rng.manual_seed(seed)
        rng.default_generator.set_offset(skip)
        drawn = op(*args, **kwargs)
        assert rng.default_generator.get_offset() == skip + op.count(*bound)
        state = Tensor._wrap(
            np.array([seed, skip - 3], np.uint64 if skip > 2 else np.int64).view(np.int64)
        )
        found = op.twin(state, 3, *bound)
        assert found.dtype is drawn.dtype and found.shape == drawn.shape
        np.testing.assert_allclose(found.numpy(), drawn.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_random_operator_has_the_shape_it_says(name):
    op, args, kwargs = build(name, 0)
    with no_grad():
        real = op(*args, **kwargs)
    args, kwargs = plain(op, args, kwargs)
    found = op.fake(op.bind(args, kwargs))
    assert (
        found.shape == real.shape and found.dtype is real.dtype and found.stride() == real.stride()
    )


# -- agreement with torch --------------------------------------------------------------------------

WITHOUT_PEER = set(
    """
    histogram_cells real_part conjugate prod_others recurrence convert trunc_divide select_where euclidean_norm max_dim min_dim
    median_dim nanmedian_dim scatter_src scatter_value nonzero_rows distinct_values distinct_runs
    view_dtype slice_backward diagonal_backward unfold_backward
    strided_view strided_view_backward
    strided_view_scatter strided_view_values fill copy getitem slice alias new_zeros new_ones new_full as_strided index
    fft_complex fft_real fft_half select_backward adaptive_avg_pool adaptive_avg_pool_input_grad
    adaptive_max_pool attention attention_gradient avg_pool avg_pool_input_grad binary_entropy convolution
    convolution_input_grad convolution_weight_grad embedding_weight_grad max_pool
    fractional_max_pool max_pool_input_grad max_pool_with_indices batch_norm_forward native_layer_norm nll_loss_forward
    one_hot_of prelu_kernel constant_pad_nd embedding ctc_loss_forward gelu_backward silu_backward
    max_pool_backward batch_norm_backward layer_norm_backward
    matmul_stacks linalg_triangular linalg_lstsq triangular_solve adjugate pseudo_inverse permutation_matrix
    index_reduce overwrite
    """.split()
)
SIGN_FREE = {"linalg_svd", "linalg_qr", "linalg_eigh", "linalg_eig"}


def peer_of(torch, name):
    for part in ("linalg", "fft", "special"):
        if name.startswith(part + "_"):
            return getattr(getattr(torch, part), name[len(part) + 1 :], None)
    places = (torch, torch.Tensor, torch.nn.functional)
    return next((getattr(p, name) for p in places if hasattr(p, name)), None)


def to_torch(torch, value):
    from eager.dtype import dtype

    if isinstance(value, Tensor):
        return torch.from_numpy(value._array.copy())
    if isinstance(value, dtype):
        return getattr(torch, value.name)
    if isinstance(value, str) and value.startswith("torch."):
        return getattr(torch, value[6:])
    if isinstance(value, (tuple, list)):
        return type(value)(to_torch(torch, v) for v in value)
    return value


@pytest.mark.torch
@pytest.mark.parametrize(
    "name, number", [case for case in CASES if case[0] not in WITHOUT_PEER | set(RANDOM)]
)
def test_agreement_with_torch(name, number):
    torch = pytest.importorskip("torch")
    op, args, kwargs = build(name, number)
    peer = peer_of(torch, name)
    assert peer is not None, f"torch has no {name}: list it in WITHOUT_PEER"
    expected = peer(*to_torch(torch, args), **{k: to_torch(torch, v) for k, v in kwargs.items()})
    found = op(*args, **kwargs)
    expected = list(expected) if isinstance(expected, (tuple, list)) else [expected]
    found = list(found) if isinstance(found, (tuple, list)) else [found]
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected):
        if not isinstance(theirs, torch.Tensor):
            assert mine == theirs
            continue
        assert str(mine.dtype) == str(theirs.dtype)
        assert tuple(mine.shape) == tuple(theirs.shape)
        a, b = mine.detach().numpy(), theirs.detach().resolve_conj().numpy()
        if name in SIGN_FREE:
            a, b = np.abs(a), np.abs(b)
        np.testing.assert_allclose(a, b, rtol=1e-6 if a.dtype == np.float32 else 1e-9, atol=1e-9)


@pytest.mark.parametrize("k", [0, 1, 3, 30, 100])
@pytest.mark.parametrize("largest", [True, False])
def test_topk_by_parts_is_topk_by_sorting(k, largest):
    source = np.random.default_rng(0)
    x = Tensor._wrap(source.permuted(np.tile(np.arange(100.0), (4, 1)), axis=1))
    values, indices = ops.topk(x, k, 1, largest)
    ordered, places = ops.sort(x, 1, largest)
    assert values.tolist() == ordered[:, :k].tolist() and indices.tolist() == places[:, :k].tolist()
