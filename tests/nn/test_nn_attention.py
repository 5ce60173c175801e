"""Attention and the Transformer against torch."""

import numpy as np
import pytest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaled_dot_product(compare, random, dtype):
    q, k, v = (random(2, 3, n, 8, dtype=dtype) for n in (5, 7, 7))
    attend = lambda **how: (
        lambda t, q, k, v: t.F.scaled_dot_product_attention(  # noqa: E731
            q, k, v, **how
        )
    )
    compare(attend(), q, k, v)
    compare(attend(is_causal=True), q, k, v)
    compare(attend(scale=0.3), q, k, v)
    compare(
        lambda t, q, k, v, m: t.F.scaled_dot_product_attention(q, k, v, m),
        q,
        k,
        v,
        random(5, 7, dtype=dtype),
    )
    allowed = random(2, 1, 5, 7) > 0
    allowed[0, 0, 2] = False  # a row that may attend to nothing
    compare(lambda t, q, k, v, m: t.F.scaled_dot_product_attention(q, k, v, m), q, k, v, allowed)
    compare(
        lambda t, q, k, v: t.F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        ),
        random(2, 5, 3, 8),
        random(2, 7, 3, 8),
        random(2, 7, 3, 8),
    )


def test_grouped_queries(compare, random):
    compare(
        lambda t, q, k, v: t.F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        random(2, 4, 5, 8),
        random(2, 2, 7, 8),
        random(2, 2, 7, 8),
    )


def test_second_derivative(compare, random):
    def function(t, q, k, v):
        grad = (
            __import__("eager.autograd", fromlist=["grad"]).grad
            if not hasattr(t, "torch")
            else t.torch.autograd.grad
        )
        y = t.F.scaled_dot_product_attention(q * 1, k * 1, v * 1, is_causal=True)
        return grad(y.sin().sum(), (q, k, v), create_graph=True)

    torch = pytest.importorskip("torch")
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        compare(function, *(random(2, 4, 3, dtype=np.float64) for _ in range(3)), tolerance=1e-7)


def test_mask_and_causal_exclude_each_other(ours, random):
    q = ours.tensor(random(1, 2, 4))
    with pytest.raises(RuntimeError, match="is_causal=True"):
        ours.F.scaled_dot_product_attention(q, q, q, attn_mask=q[0] @ q[0].t(), is_causal=True)


def _fill(module):
    """The same numbers in every parameter, in both libraries."""
    for i, parameter in enumerate(module.parameters()):
        numbers = np.sin(np.arange(parameter.numel()) * 0.37 + i) * 0.2
        parameter.data.copy_(_like(parameter, numbers.reshape(tuple(parameter.shape))))
    return module


def _like(parameter, array):
    array = array.astype(str(parameter.dtype).removeprefix("torch."))
    if type(parameter).__module__.startswith("torch"):
        import torch

        return torch.from_numpy(array)
    from eager.construct import from_numpy

    return from_numpy(array)


@pytest.mark.parametrize(
    "how",
    [
        dict(),
        dict(batch_first=True),
        dict(add_bias_kv=True),
        dict(add_zero_attn=True),
        dict(kdim=6, vdim=4),
        dict(bias=False),
    ],
    ids=str,
)
def test_multihead(compare, random, how):
    def function(t, q, k, v):
        module = _fill(t.nn.MultiheadAttention(8, 2, **how))
        out, weights = module(q, k, v)
        without, nothing = module(q, k, v, need_weights=False)
        assert nothing is None
        each = module(q, k, v, average_attn_weights=False)[1]
        return out, weights, without, each

    q, k, v = random(4, 2, 8), random(5, 2, how.get("kdim", 8)), random(5, 2, how.get("vdim", 8))
    if how.get("batch_first"):
        q, k, v = (x.transpose(1, 0, 2) for x in (q, k, v))
    compare(function, q, k, v)


def test_multihead_masks_and_single(compare, random):
    padding = np.array([[False, False, True], [False, True, True]])
    mask = np.triu(np.ones((3, 3), bool), 1)

    def function(t, x, padding, mask):
        module = _fill(t.nn.MultiheadAttention(8, 2))
        first = module(x, x, x, key_padding_mask=padding, attn_mask=mask)
        second = module(x, x, x, attn_mask=mask, need_weights=False, is_causal=True)[0]
        single = module(x[:, 0], x[:, 0], x[:, 0])
        return (*first, second, *single)

    compare(function, random(3, 2, 8), padding, mask)


@pytest.mark.parametrize(
    "how",
    [dict(), dict(norm_first=True), dict(activation="gelu"), dict(batch_first=True, bias=False)],
    ids=str,
)
def test_transformer(compare, random, how):
    padding = np.array([[False, False, False], [False, False, True]])

    def function(t, src, tgt, padding):
        options = dict(dim_feedforward=16, dropout=0.0, **how)
        model = _fill(t.nn.Transformer(8, 2, 2, 2, **options))
        mask = t.nn.Transformer.generate_square_subsequent_mask(4)
        plain = model(
            src, tgt, tgt_mask=mask, src_key_padding_mask=padding, memory_key_padding_mask=padding
        )
        layer = _fill(t.nn.TransformerEncoderLayer(8, 2, **options))
        return plain, t.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)(src)

    src, tgt = random(3, 2, 8), random(4, 2, 8)
    if how.get("batch_first"):
        src, tgt = src.transpose(1, 0, 2), tgt.transpose(1, 0, 2)
    compare(function, src, tgt, padding)
