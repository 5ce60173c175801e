"""Multi-head attention as a function over its weights, and as a module."""

from __future__ import annotations

from typing import Any

from eager.dtype import bool_
from eager.nn import init
from eager.nn.linear import NonDynamicallyQuantizableLinear
from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.registry import ops


def _as_added(mask: Any, dtype: Any) -> Any:
    """A mask to be added to the scores: minus infinity where a boolean one forbids."""
    if mask is None or mask.dtype != bool_:
        return mask
    return ops.where(mask, float("-inf"), ops.zeros(mask.shape, dtype=dtype, device=mask.device))


def _project(query: Any, key: Any, value: Any, width: int, weight: Any, bias: Any) -> tuple:
    """The three projections by one stacked weight; in one product where the inputs are one."""
    if query is key and key is value:
        return tuple(ops.chunk(ops.linear(query, weight, bias), 3, -1))
    weights = ops.chunk(weight, 3, 0)
    biases = (None,) * 3 if bias is None else ops.chunk(bias, 3, 0)
    return tuple(ops.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))


def _masks(attn_mask: Any, key_padding_mask: Any, is_causal: bool, need_weights: bool,
           dtype: Any, batch: Any, heads: int, positions: Any, sources: Any) -> Any:
    attn_mask, key_padding_mask = _as_added(attn_mask, dtype), _as_added(key_padding_mask, dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if attn_mask is not None:
        wanted = ((positions, sources) if attn_mask.dim() == 2
                  else (batch * heads, positions, sources))
        if attn_mask.dim() not in (2, 3) or tuple(attn_mask.shape) != wanted:
            raise RuntimeError(f"The shape of the {attn_mask.dim()}D attn_mask is "
                               f"{attn_mask.shape}, but should be {wanted}.")
        attn_mask = (attn_mask.unsqueeze(0).unsqueeze(0) if attn_mask.dim() == 2
                     else attn_mask.reshape((batch, heads, positions, sources)))
    if key_padding_mask is None:
        return attn_mask
    if tuple(key_padding_mask.shape) != (batch, sources):
        raise AssertionError(f"expecting key_padding_mask shape of {(batch, sources)}, but got "
                             f"{key_padding_mask.shape}")
    padding = key_padding_mask.reshape((batch, 1, 1, sources))
    return padding if attn_mask is None else attn_mask + padding


def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Any, in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool,
    dropout_p: float, out_proj_weight: Any, out_proj_bias: Any, training: bool = True,
    key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple:
    """Attention in several heads over (positions, batch, features); gives the output and the
    weights.

    Raises AssertionError or RuntimeError for sizes that do not fit."""
    single = query.dim() == 2
    if single:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    positions, batch, width = query.shape
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got "
                             f"{width}")
    if width % num_heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        biases = (None,) * 3 if in_proj_bias is None else ops.chunk(in_proj_bias, 3, 0)
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = (ops.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))
    else:
        q, k, v = _project(query, key, value, width, in_proj_weight, in_proj_bias)
    mask = _masks(attn_mask, key_padding_mask, is_causal, need_weights, q.dtype, batch, num_heads,
                  positions, k.shape[0])
    added = 0
    if bias_k is not None and bias_v is not None:
        k = ops.cat([k, bias_k.expand((1, batch, -1))], 0)
        v = ops.cat([v, bias_v.expand((1, batch, -1))], 0)
        added += 1
    head = width // num_heads
    q, k, v = (x.reshape((x.shape[0], batch, num_heads, head)).permute((1, 2, 0, 3))
               for x in (q, k, v))
    k = k if static_k is None else static_k.reshape((batch, num_heads, -1, head))
    v = v if static_v is None else static_v.reshape((batch, num_heads, -1, head))
    if add_zero_attn:
        zeros = ops.zeros((batch, num_heads, 1, head), dtype=k.dtype, device=k.device)
        k, v = ops.cat([k, zeros], 2), ops.cat([v, zeros], 2)
        added += 1
    if mask is not None and added:
        mask = ops.constant_pad_nd(mask, (0, added), 0)
    dropout_p = dropout_p if training else 0.0
    shares: Any = None
    if need_weights:
        result, shares = _weighted(q, k, v, mask, dropout_p)
    else:
        result = ops.scaled_dot_product_attention(q, k, v, mask, dropout_p)
    result = result.permute((2, 0, 1, 3)).reshape((positions * batch, width))
    result = ops.linear(result, out_proj_weight, out_proj_bias)
    result = result.reshape((positions, batch, result.shape[1]))
    if shares is not None and average_attn_weights:
        shares = shares.mean(1)
    if single:
        return result.squeeze(1), None if shares is None else shares.squeeze(0)
    return result, shares


def _weighted(q: Any, k: Any, v: Any, mask: Any, dropout_p: float) -> tuple:
    scores = ops.matmul(q * (q.shape[-1] ** -0.5), ops.transpose(k, -2, -1))
    weights = ops.softmax(scores if mask is None else scores + mask, -1)
    if dropout_p > 0:
        weights = ops.dropout(weights, dropout_p, True)
    return ops.matmul(weights, v), weights


class MultiheadAttention(Module):
    """Attention in several heads, with projections of queries, keys, values and of the result.

    Raises ValueError for sizes that cannot be split."""

    __constants__ = ["batch_first"]
    bias_k: Any
    bias_v: Any

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError("embed_dim and num_heads must be greater than 0, got embed_dim="
                             f"{embed_dim} and num_heads={num_heads} instead")
        super().__init__()
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.dropout, self.batch_first = dropout, batch_first
        self.head_dim = embed_dim // num_heads

        def made(*shape: int) -> Parameter:
            return Parameter(ops.empty(shape, dtype=dtype, device=device))

        if self._qkv_same_embed_dim:
            self.in_proj_weight = made(3 * embed_dim, embed_dim)
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = made(embed_dim, embed_dim)
            self.k_proj_weight = made(embed_dim, self.kdim)
            self.v_proj_weight = made(embed_dim, self.vdim)
            self.register_parameter("in_proj_weight", None)
        if bias:
            self.in_proj_bias = made(3 * embed_dim)
        else:
            self.register_parameter("in_proj_bias", None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias,
                                                        device=device, dtype=dtype)
        self.bias_k = made(1, 1, embed_dim) if add_bias_kv else None
        self.bias_v = made(1, 1, embed_dim) if add_bias_kv else None
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight,
                       self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
        if self.bias_v is not None:
            init.xavier_normal_(self.bias_v)

    def forward(
        self, query: Any, key: Any, value: Any, key_padding_mask: Any = None,
        need_weights: bool = True, attn_mask: Any = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple:
        if query.dim() not in (2, 3):
            raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received "
                                 f"{query.dim()}-D query tensor")
        turned = self.batch_first and query.dim() == 3
        if turned:
            same = key is query, value is key
            query = query.transpose(1, 0)
            key = query if same[0] else key.transpose(1, 0)
            value = key if same[1] else value.transpose(1, 0)
        result, weights = multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, training=self.training,
            key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight, k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight, average_attn_weights=average_attn_weights,
            is_causal=is_causal)
        return result.transpose(1, 0) if turned else result, weights
