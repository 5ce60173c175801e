"""torch.nn.attention.flex_attention: attention whose scores a function of the program changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable | None = None,
    block_mask: Any = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: Any = None,
) -> Any:
    """Softmax of the changed scores times `value`; `score_mod(score, batch, head, query_index, key_index)` gets whole tensors of each.

    Raises RuntimeError for a `block_mask`, which flambeau does not have (yet).
    """
    if block_mask is not None:
        raise RuntimeError("flambeau does not have flex_attention's block_mask (yet): express it in score_mod")
    if enable_gqa:
        groups = query.shape[1] // key.shape[1]
        key, value = ops.repeat_interleave(key, groups, 1), ops.repeat_interleave(value, groups, 1)
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = ops.mul(ops.matmul(query, key.mT), factor)
    if score_mod is not None:
        places = []
        for dim in range(4):
            shape = [1] * 4
            shape[dim] = scores.shape[dim]
            places.append(ops.reshape(ops.arange(scores.shape[dim]), shape))
        scores = score_mod(scores, *places)
    result = ops.matmul(ops.softmax(scores, -1), value)
    return (result, ops.logsumexp(scores, -1)) if return_lse else result


__getattr__ = lookup(__name__)
