"""torch.nn.functional: the neural network operators under their usual names. Most are operators;
the functions here only choose between operators (in place or not, training or not) or resolve a
default that needs the input.
"""

from __future__ import annotations

import warnings
from typing import Any

from eager.autograd import no_grad
from eager.dtype import bool_, uint8
from eager.nn.attention import multi_head_attention_forward
from eager.ops.activation import (
    gelu,
    glu,
    hardshrink,
    logsigmoid,
    prelu,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
)
from eager.ops.attention import scaled_dot_product_attention
from eager.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from eager.ops.ctc import ctc_loss
from eager.ops.dropout import check_probability
from eager.ops.embedding import one_hot
from eager.ops.fractional import fractional_max_pool2d, fractional_max_pool3d
from eager.ops.interpolate import (
    affine_grid,
    channel_shuffle,
    grid_sample,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
)
from eager.ops.linear import bilinear, linear
from eager.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    cosine_similarity,
    cross_entropy,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    linear_cross_entropy,
    margin_ranking_loss,
    mse_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    pairwise_distance,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
    triplet_margin_loss,
)
from eager.ops.normalization import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    normalize,
    rms_norm,
)
from eager.ops.padding import pad
from eager.ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from eager.ops.statistics import pdist
from eager.registry import ops

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "affine_grid", "alpha_dropout", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "batch_norm", "bilinear", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "celu_", "channel_shuffle", "conv1d", "conv2d",
    "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "ctc_loss", "dropout", "dropout1d", "dropout2d", "dropout3d", "elu",
    "elu_", "embedding", "embedding_bag", "feature_alpha_dropout", "fold",
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "gaussian_nll_loss",
    "gelu", "glu", "grid_sample", "group_norm", "gumbel_softmax", "hardshrink", "hardsigmoid",
    "hardswish", "hardtanh", "hardtanh_", "hinge_embedding_loss", "huber_loss", "instance_norm",
    "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_", "linear",
    "linear_cross_entropy",
    "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices", "max_pool2d",
    "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices", "max_unpool1d",
    "max_unpool2d", "max_unpool3d", "mish", "mse_loss", "multi_head_attention_forward",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss",
    "normalize", "one_hot", "pad", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "rms_norm", "rrelu", "rrelu_",
    "scaled_dot_product_attention", "selu", "selu_", "sigmoid", "silu", "smooth_l1_loss",
    "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh",
    "tanhshrink", "threshold", "threshold_", "triplet_margin_loss",
    "triplet_margin_with_distance_loss", "unfold", "upsample", "upsample_bilinear",
    "upsample_nearest",
]


# Activations that may work in place


def relu(input: Any, inplace: bool = False) -> Any:
    """The larger of zero and the input."""
    return ops.relu_(input) if inplace else ops.relu(input)


def relu6(input: Any, inplace: bool = False) -> Any:
    """The input cut off at 0 and 6."""
    return ops.relu6_(input) if inplace else ops.relu6(input)


def silu(input: Any, inplace: bool = False) -> Any:
    """The input times its sigmoid."""
    return ops.silu_(input) if inplace else ops.silu(input)


def mish(input: Any, inplace: bool = False) -> Any:
    """The input times the tanh of its softplus."""
    return ops.mish_(input) if inplace else ops.mish(input)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """The input where positive, otherwise `alpha * (exp(input) - 1)`."""
    return ops.elu_(input, alpha) if inplace else ops.elu(input, alpha)


def selu(input: Any, inplace: bool = False) -> Any:
    """A scaled elu that keeps mean 0 and variance 1."""
    return ops.selu_(input) if inplace else ops.selu(input)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """The input where positive, otherwise `alpha * (exp(input / alpha) - 1)`."""
    return ops.celu_(input, alpha) if inplace else ops.celu(input, alpha)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """The input, times `negative_slope` where it is not positive."""
    op = ops.leaky_relu_ if inplace else ops.leaky_relu
    return op(input, negative_slope)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0,
             inplace: bool = False) -> Any:
    """The input cut off at `min_val` and `max_val`."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return ops.hardtanh_(input, min_val, max_val) if inplace else ops.hardtanh(
        input, min_val, max_val)


def hardswish(input: Any, inplace: bool = False) -> Any:
    """The input times its hardsigmoid."""
    return ops.hardswish_(input) if inplace else ops.hardswish(input)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """A line from 0 at -3 to 1 at 3."""
    return ops.hardsigmoid_(input) if inplace else ops.hardsigmoid(input)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """The input where it is above the threshold, otherwise `value`."""
    op = ops.threshold_ if inplace else ops.threshold
    return op(input, threshold, value)


def rrelu(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False) -> Any:
    """Leaky relu with a random slope per element in training."""
    result = ops.rrelu(input, lower, upper, training)
    return input.copy_(result) if inplace else result


def rrelu_(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3,
           training: bool = False) -> Any:
    """In-place `rrelu`."""
    return rrelu(input, lower, upper, training, True)


def relu_(input: Any) -> Any:
    """In-place `relu`."""
    return ops.relu_(input)


def elu_(input: Any, alpha: float = 1.0) -> Any:
    """In-place `elu`."""
    return ops.elu_(input, alpha)


def selu_(input: Any) -> Any:
    """In-place `selu`."""
    return ops.selu_(input)


def celu_(input: Any, alpha: float = 1.0) -> Any:
    """In-place `celu`."""
    return ops.celu_(input, alpha)


def leaky_relu_(input: Any, negative_slope: float = 0.01) -> Any:
    """In-place `leaky_relu`."""
    return ops.leaky_relu_(input, negative_slope)


def hardtanh_(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """In-place `hardtanh`."""
    return ops.hardtanh_(input, min_val, max_val)


def threshold_(input: Any, threshold: float, value: float) -> Any:
    """In-place `threshold`."""
    return ops.threshold_(input, threshold, value)


def sigmoid(input: Any) -> Any:
    """One over one more than the exponential of the negated input."""
    return ops.sigmoid(input)


def tanh(input: Any) -> Any:
    """Hyperbolic tangent."""
    return ops.tanh(input)


# Softmax, with the dimension that old code leaves out


def _implicit_dim(name: str, rank: int) -> int:
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to "
                  "include dim=X as an argument.", UserWarning, stacklevel=4)
    return 0 if rank in (0, 1, 3) else 1


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """Exponentials along a dimension, scaled to add up to one."""
    dim = _implicit_dim("softmax", input.dim()) if dim is None else dim
    return ops.softmax(input, dim, dtype)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3,
                dtype: Any = None) -> Any:
    """The logarithm of softmax."""
    dim = _implicit_dim("log_softmax", input.dim()) if dim is None else dim
    return ops.log_softmax(input, dim, dtype)


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """Softmax of the negated input."""
    dim = _implicit_dim("softmin", input.dim()) if dim is None else dim
    return ops.softmin(input, dim, dtype)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10,
                   dim: int = -1) -> Any:
    """A sample from the Gumbel-softmax distribution; `hard` rounds it to one-hot in the forward
    only."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    uniform = ops.clamp_min(ops.rand(logits.shape, dtype=logits.dtype, device=logits.device), 1e-20)
    noise = -ops.log(-ops.log(uniform))
    soft = ops.softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = ops.argmax(soft, dim, True)
    sharp = ops.scatter(ops.zeros_like(logits), dim, index, 1.0)
    return sharp - soft.detach() + soft


# Dropout


def _dropout(op: Any, input: Any, p: float, training: bool, inplace: bool) -> Any:
    check_probability(p)
    result = op(input, p, training)
    return input.copy_(result) if inplace and result is not input else result


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zeroes each element with probability p in training."""
    return _dropout(ops.dropout, input, p, training, inplace)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False,
                  inplace: bool = False) -> Any:
    """Dropout that keeps mean and variance of an input to selu."""
    return _dropout(ops.alpha_dropout, input, p, training, inplace)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False,
                          inplace: bool = False) -> Any:
    """Alpha dropout of whole channels."""
    return _dropout(ops.feature_alpha_dropout, input, p, training, inplace)


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zeroes whole lines (batch, channels, length) with probability p in training."""
    return _channel_dropout(1, input, p, training, inplace)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zeroes whole images (batch, channels, height, width) with probability p in training."""
    return _channel_dropout(2, input, p, training, inplace)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zeroes whole volumes with probability p in training."""
    return _channel_dropout(3, input, p, training, inplace)


def _channel_dropout(rank: int, input: Any, p: float, training: bool, inplace: bool) -> Any:
    if rank == 1 and input.dim() not in (2, 3):
        raise RuntimeError("dropout1d: Expected 2D or 3D input, but received a "
                           f"{input.dim()}D input. Note that dropout1d exists to provide "
                           "channel-wise dropout on inputs with 1 spatial dimension, a channel "
                           "dimension, and an optional batch dimension (i.e. 2D or 3D inputs).")
    if rank != 2 and input.dim() == rank + 1:
        found = _dropout(ops.feature_dropout, input.unsqueeze(0), p, training, inplace)
        return input if inplace else found.squeeze(0)
    return _dropout(ops.feature_dropout, input, p, training, inplace)


# Tables


def _limit_rows(weight: Any, input: Any, max_norm: float, norm_type: float) -> None:
    """Scales the rows that are looked up down to a norm, in place."""
    with no_grad():
        numbers = ops.unique(input)
        rows = ops.index_select(weight, 0, numbers)
        norms = ops.norm(rows, norm_type, 1, True)
        rows = ops.where(norms > max_norm, rows * (max_norm / (norms + 1e-7)), rows)
        weight.index_copy_(0, numbers, rows)


def embedding(input: Any, weight: Any, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Any:
    """The rows of a table with these numbers. Gradients are dense, whatever `sparse` says.

    Raises IndexError for a number out of range."""
    if padding_idx is not None and not -weight.size(0) <= padding_idx < weight.size(0):
        raise AssertionError("Padding_idx must be within num_embeddings")
    if max_norm is not None:
        _limit_rows(weight, input, max_norm, norm_type)
    return ops.embedding(input, weight, padding_idx, scale_grad_by_freq)


def embedding_bag(input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None,
                  norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = "mean",
                  sparse: bool = False, per_sample_weights: Any = None,
                  include_last_offset: bool = False, padding_idx: int | None = None) -> Any:
    """Sums, means or maxima of bags of rows of a table."""
    if max_norm is not None:
        _limit_rows(weight, input, max_norm, norm_type)
    return ops.embedding_bag(input, weight, offsets, None, norm_type, scale_grad_by_freq, mode,
                             sparse, per_sample_weights, include_last_offset, padding_idx)


# Pooling under its longer names, resizing under its older ones


def max_pool1d_with_indices(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
                            dilation: Any = 1, ceil_mode: bool = False,
                            return_indices: bool = False) -> Any:
    """The largest value of each window, and where it is."""
    return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
                            dilation: Any = 1, ceil_mode: bool = False,
                            return_indices: bool = False) -> Any:
    """The largest value of each window, and where it is."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
                            dilation: Any = 1, ceil_mode: bool = False,
                            return_indices: bool = False) -> Any:
    """The largest value of each window, and where it is."""
    return max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def adaptive_max_pool1d_with_indices(input: Any, output_size: Any,
                                     return_indices: bool = False) -> Any:
    """The largest values of windows that cover a line, and where they are."""
    return adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(input: Any, output_size: Any,
                                     return_indices: bool = False) -> Any:
    """The largest values of windows that cover an image, and where they are."""
    return adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(input: Any, output_size: Any,
                                     return_indices: bool = False) -> Any:
    """The largest values of windows that cover a volume, and where they are."""
    return adaptive_max_pool3d(input, output_size, True)


def fractional_max_pool2d_with_indices(
        input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Any = None) -> Any:
    """The largest values of randomly placed windows, and where they are."""
    return fractional_max_pool2d(input, kernel_size, output_size, output_ratio, True,
                                 _random_samples)


def fractional_max_pool3d_with_indices(
        input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Any = None) -> Any:
    """The largest values of randomly placed windows, and where they are."""
    return fractional_max_pool3d(input, kernel_size, output_size, output_ratio, True,
                                 _random_samples)


def upsample(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Any:
    """Another name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` by nearest neighbours."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` linearly, with aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


def _blocks(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> list:
    return [tuple(v) if isinstance(v, (tuple, list)) else (v, v)
            for v in (kernel_size, dilation, padding, stride)]


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
           stride: Any = 1) -> Any:
    """The patches of an image as columns: (batch, channels * kernel, patches)."""
    kernel, dilation, padding, stride = _blocks(kernel_size, dilation, padding, stride)
    if input.dim() == 3:
        return unfold(input.unsqueeze(0), kernel, dilation, padding, stride).squeeze(0)
    if input.dtype is bool_:
        return unfold(input.to(uint8), kernel, dilation, padding, stride).to(bool_)
    batch, channels = input.shape[0], input.shape[1]
    count = channels * kernel[0] * kernel[1]
    # each output channel of this convolution picks one element of the patch
    pick = ops.eye(count, dtype=input.dtype, device=input.device)
    found = ops.convolution(input, pick.reshape((count, channels, *kernel)), None, stride, padding,
                            dilation, 1)
    return found.reshape((batch, count, found.shape[2] * found.shape[3]))


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
         stride: Any = 1) -> Any:
    """Columns of patches added up into an image."""
    kernel, dilation, padding, stride = _blocks(kernel_size, dilation, padding, stride)
    if input.dim() == 2:
        return fold(input.unsqueeze(0), output_size, kernel, dilation, padding, stride).squeeze(0)
    size = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    batch, count = input.shape[0], input.shape[1]
    channels = count // (kernel[0] * kernel[1])
    blocks = [(n + 2 * p - d * (k - 1) - 1) // s + 1
              for n, p, d, k, s in zip(size, padding, dilation, kernel, stride)]
    if blocks[0] * blocks[1] != input.shape[2]:
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={dilation}, padding="
            f"{padding}, stride={stride}, expected size of input's dimension 2 to match the "
            f"calculated number of sliding blocks {blocks[0]} * {blocks[1]} = "
            f"{blocks[0] * blocks[1]}, but got input.size(2)={input.shape[2]}.")
    pick = ops.eye(count, dtype=input.dtype, device=input.device)
    return ops.convolution_input_grad(
        input.reshape((batch, count, *blocks)), pick.reshape((count, channels, *kernel)), size,
        stride, padding, dilation, 1)


def triplet_margin_with_distance_loss(anchor: Any, positive: Any, negative: Any, *,
                                      distance_function: Any = None, margin: float = 1.0,
                                      swap: bool = False, reduction: str = "mean") -> Any:
    """`triplet_margin_loss` by any distance."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = ops.minimum(far, distance(positive, negative))
    loss = ops.clamp_min(margin + near - far, 0)
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss
