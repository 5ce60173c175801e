"""torch.nn.utils.fusion: a batch normalization folded into the convolution before it, for inference."""

from __future__ import annotations

import copy
from typing import Any

from eager.nn.parameter import Parameter
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A convolution that computes what both compute in eval mode. Raises AssertionError in training mode."""
    assert not (conv.training or bn.training), "Fusion only for eval!"
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight and bias of the folded convolution."""
    scale = ops.rsqrt(ops.add(bn_rv, bn_eps))
    scale = scale if bn_w is None else ops.mul(scale, bn_w)
    bias = ops.neg(bn_rm) if conv_b is None else ops.sub(conv_b, bn_rm)
    bias = ops.mul(bias, scale)
    bias = bias if bn_b is None else ops.add(bias, bn_b)
    shape = (1, -1) if transpose else (-1, 1)
    weight = ops.mul(conv_w, ops.reshape(scale, (*shape, *[1] * (conv_w.ndim - 2))))
    return Parameter(weight.detach(), conv_w.requires_grad), Parameter(bias.detach(), conv_w.requires_grad)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A linear layer that computes what both compute in eval mode. Raises AssertionError in training mode or for other sizes."""
    assert not (linear.training or bn.training), "Fusion only for eval!"
    assert linear.out_features == bn.num_features or bn.num_features == 1, "To fuse, linear.out_features == bn.num_features or bn.num_features == 1"
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None, bn_b: Tensor | None
) -> tuple[Parameter, Parameter]:
    """The weight and bias of the folded layer."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


__getattr__ = lookup(__name__)
