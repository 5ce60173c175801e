"""What an operator declares of itself must agree: the shape rule and the decomposition with the
kernel, for fake tensors too.
"""

import numpy as np
import pytest

from eager.construct import from_numpy
from eager.fake import FakeTensor
from eager.registry import ops, registry
from eager.spec import Spec
from eager.tensor import Tensor

R = np.random.default_rng(1)


def _x(*shape):
    return from_numpy(R.standard_normal(shape).astype(np.float32))


def _i(values):
    return from_numpy(np.array(values))


HOW = ((2, 1), (1, 1), (1, 2), 2)
POOL = ((3, 2), (2, 2), (1, 0), (1, 2), True)
AVG = ((3, 2), (2, 2), (1, 1), True, False, None)
def _attended(*bound):
    """A gradient, what attention gave, and what it was given."""
    out, sums = ops.attention(*bound)
    return (out.cos(), out, sums, *bound)


SAMPLES = {
    "softmax": [(_x(2, 3, 4), 1, None), (_x(2, 3).t(), -1, None)],
    "log_softmax": [(_x(2, 3, 4), 1, None), (_x(3), 0, None)],
    "convolution": [
        (_x(2, 4, 7, 8), _x(6, 2, 3, 2), _x(6), *HOW),
        (_x(2, 7, 4).transpose(1, 2), _x(6, 4, 1), None, (1,), (0,), (1,), 1),
    ],
    "convolution_input_grad": [(_x(2, 6, 4, 7), _x(6, 2, 3, 2), (7, 7), *HOW)],
    "convolution_weight_grad": [(_x(2, 6, 4, 7), _x(2, 4, 7, 7), (3, 2), *HOW)],
    "max_pool": [(_x(2, 3, 7, 8), *POOL)],
    "max_pool_backward": [
        (_x(2, 3, 4, 4), _x(2, 3, 7, 8), *POOL),
        (_x(2, 3, 4, 4), _x(2, 3, 7, 8).round(), *POOL),
    ],
    "max_pool_with_indices": [(_x(2, 3, 7, 8), *POOL)],
    "max_pool_input_grad": [(_x(2, 3, 2), _i([[[0, 3], [1, 1], [2, 0]]] * 2), (4,))],
    "avg_pool": [(_x(2, 3, 7, 8), *AVG)],
    "avg_pool_input_grad": [(_x(2, 3, 4, 5), (7, 8), *AVG)],
    "adaptive_avg_pool": [(_x(2, 3, 7, 8), (3, 5))],
    "adaptive_avg_pool_input_grad": [(_x(2, 3, 3, 5), (7, 8))],
    "adaptive_max_pool": [(_x(2, 3, 7, 8), (3, 5))],
    "batch_norm_forward": [(_x(4, 3, 5), _x(3), _x(3), 1e-5), (_x(4, 3), None, None, 1e-5)],
    "native_layer_norm": [
        (_x(4, 3, 5), (3, 5), _x(3, 5), _x(3, 5), 1e-5),
        (_x(5, 4).t(), (5,), None, None, 1e-5),
    ],
    "batch_norm_backward": [(_x(4, 3, 5), _x(4, 3, 5), _x(3), _x(3).exp(), _x(3))],
    "layer_norm_backward": [
        (_x(4, 3, 5), _x(4, 3, 5), _x(4, 1, 1), _x(4, 1, 1).exp(), _x(3, 5), 1)
    ],
    "attention": [
        (_x(2, 5, 4), _x(2, 6, 4), _x(2, 6, 3), None, True, 0.5),
        (_x(2, 5, 4), _x(2, 6, 4), _x(2, 6, 3), _x(5, 6), False, 0.5),
        (_x(2, 5, 4), _x(2, 6, 4), _x(2, 6, 3), from_numpy(R.random((5, 6)) > 0.5), False, 0.5),
    ],
    "attention_gradient": [
        _attended(_x(2, 5, 4), _x(2, 6, 4), _x(2, 6, 3), None, True, 0.5),
        _attended(_x(2, 5, 4), _x(2, 6, 4), _x(6, 3), _x(5, 6), False, 0.5),
    ],
    "embedding": [(_i([[1, 2], [0, 5]]), _x(6, 3), None, False)],
    "embedding_weight_grad": [(_x(2, 2, 3), _i([[1, 2], [1, 5]]), 6, 1, False)],
    "one_hot_of": [(_i([[1, 2], [0, 5]]), 6)],
    "nll_loss_forward": [
        (_x(4, 3), _i([0, 2, -100, 1]), w, r, -100)
        for w in (None, _x(3))
        for r in ("mean", "sum", "none")
    ],
    "ctc_loss_forward": [
        (_x(5, 2, 4).log_softmax(-1), _i([[1, 2, 2], [3, 1, 0]]), (5, 4), (3, 2), 0, True)
    ],
    "binary_entropy": [(_x(4, 3).sigmoid(), _x(4, 3).sigmoid())],
    "constant_pad_nd": [(_x(2, 3, 4), (1, -1, 2, 0), 1.5)],
}
CASES = [
    pytest.param(name, sample, id=f"{name}-{n}")
    for name, samples in SAMPLES.items()
    for n, sample in enumerate(samples)
]


def _several(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name, sample", CASES)
def test_shape_rule(name, sample):
    op = registry[name]
    found, said = _several(op(*sample)), _several(op.spec(op.bind(sample, {})))
    faked = _several(op(*[FakeTensor.of(a) if isinstance(a, Tensor) else a for a in sample]))
    assert len(found) == len(said) == len(faked)
    for real, spec, fake in zip(found, said, faked):
        assert isinstance(fake, FakeTensor)
        for other in (spec, fake):
            assert tuple(other.shape) == tuple(real.shape) and other.dtype is real.dtype
            strides = (
                Spec(real.shape, real.dtype).stride() if other.stride() is None else other.stride()
            )
            assert [s for s, n in zip(strides, real.shape) if n != 1] == [
                s for s, n in zip(real.stride(), real.shape) if n != 1
            ]
        assert all(real.data_ptr() != a.data_ptr() for a in sample if isinstance(a, Tensor))


@pytest.mark.parametrize("name, sample", [c for c in CASES if registry[c.values[0]].decompose])
def test_decomposition(name, sample):
    op = registry[name]
    found, steps = _several(op(*sample)), _several(op.decompose(*sample))
    assert len(found) == len(steps)
    for i, (real, other) in enumerate(zip(found, steps)):
        if name == "nll_loss_forward" and i == 1 and sample[3] == "none":
            continue  # the sum of the weights is not used then
        assert other.dtype is real.dtype and other.shape == real.shape
        np.testing.assert_allclose(other.numpy(), real.numpy(), rtol=1e-4, atol=1e-5)


def test_every_operator_with_a_kernel_has_a_sample():
    files = (
        "activation attention convolution ctc embedding loss moments normalization padding pooling".split()
    )
    mine = {
        name
        for name, op in registry.items()
        if op.kind == "extern" and op.__module__ in {f"eager.ops.{f}" for f in files}
    }
    assert mine == set(SAMPLES)


COMPOSITES = {
    "conv2d": lambda x: ops.conv2d(x, ops.ones((4, 3, 3, 3)), None, 2, 1),
    "max_pool2d": lambda x: ops.max_pool2d(x, 3, 2, 1),
    "batch_norm": lambda x: ops.batch_norm(x, None, None, training=True),
    "layer_norm": lambda x: ops.layer_norm(x, (8,)),
    "group_norm": lambda x: ops.group_norm(x, 3),
    "adaptive_avg_pool2d": lambda x: ops.adaptive_avg_pool2d(x, (2, 3)),
    "interpolate": lambda x: ops.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "pad": lambda x: ops.pad(x, (1, 2, 0, 1), "reflect"),
    "dropout": lambda x: ops.dropout(x, 0.5, True),
    "cross_entropy": lambda x: ops.cross_entropy(x, ops.softmax(x, 1)),
    "attention": lambda x: ops.scaled_dot_product_attention(x, x, x, is_causal=True),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_composites_run_on_fake_tensors(name):
    x = _x(2, 3, 8, 8)
    real, fake = COMPOSITES[name](x), COMPOSITES[name](FakeTensor.of(x))
    assert isinstance(fake, FakeTensor)
    assert tuple(fake.shape) == tuple(real.shape) and fake.dtype is real.dtype
