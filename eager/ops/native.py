"""ATen's own spellings: the operators under `torch.nn.functional` once more, as `torch.ops.aten` and
exported graphs name and order their parameters. Each calls the operator that is its home.
"""

from __future__ import annotations

from typing import Any

from eager.dtype import bool_, float32, uint8
from eager.op import composite, require
from eager.ops.dropout import check_probability
from eager.ops.interpolate import antialiased
from eager.registry import ops

# Normalization


@composite(mutates="running_mean running_var", method=False)
def _batch_norm_with_update(input, weight, bias, running_mean, running_var, momentum, eps):
    """Training's `batch_norm`, the means, one over the deviations, and an empty reserve."""
    found = ops.native_batch_norm(input, weight, bias, running_mean, running_var, True, momentum,
                                  eps)
    return *found, ops.empty((0,), dtype=uint8, device=input.device)


@composite(method=False)
def _batch_norm_no_update(input, weight, bias, running_mean, running_var, momentum, eps):
    """Evaluation's `batch_norm`, two empty statistics and an empty reserve."""
    found = ops.native_batch_norm(input, weight, bias, running_mean, running_var, False, momentum,
                                  eps)
    return *found, ops.empty((0,), dtype=uint8, device=input.device)


def _legit_front(call: Any, input: Any, weight: Any, bias: Any, *rest: Any, **named: Any) -> Any:
    """A call without running statistics."""
    if (rest and isinstance(rest[0], bool)) or (not rest and "running_mean" not in named):
        return call(input, weight, bias, None, None, *rest, **named)
    return call(input, weight, bias, *rest, **named)


@composite(mutates="running_mean running_var", method=False, front=_legit_front)
def _native_batch_norm_legit(input, weight, bias, running_mean, running_var, training, momentum,
                             eps):
    """`native_batch_norm`; the running statistics may be left out."""
    return ops.native_batch_norm(input, weight, bias, running_mean, running_var, training,
                                 momentum, eps)


@composite(method=False)
def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """`group_norm`, and the mean and one over the deviation of each group."""
    if group <= 0 or C % group:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, "
                           f"but got input of shape {list(input.shape)} and num_groups={group}")
    size = C // group * HxW
    rows = input.reshape((N, group, size))
    result, mean, rstd = ops.native_layer_norm(rows, (size,), None, None, eps)
    result, shape = result.reshape(input.shape), (1, C) + (1,) * (input.ndim - 2)
    result = result if weight is None else result * weight.reshape(shape)
    result = result if bias is None else result + bias.reshape(shape)
    return result, mean.reshape((N, group)), rstd.reshape((N, group))


@composite(method=False)
def norm_except_dim(v, pow=2, dim=0):
    """The norms over all dimensions but one; -1 leaves none out."""
    if dim == -1:
        return ops.norm(v, pow)
    dim = dim % v.ndim
    shape = tuple(n if i == dim else 1 for i, n in enumerate(v.shape))
    rows = ops.transpose(v, 0, dim).reshape((v.shape[dim], -1))
    return ops.norm(rows, pow, 1).reshape(shape)


# Softmax and dropout


@composite(method=False)
def _softmax_backward_data(grad_output, output, dim, input_dtype):
    """The gradient of `softmax` by its input."""
    slope = grad_output * output
    return (slope - output * slope.sum(dim, keepdim=True)).to(input_dtype)


@composite(method=False)
def _log_softmax_backward_data(grad_output, output, dim, input_dtype):
    """The gradient of `log_softmax` by its input."""
    return (grad_output - ops.exp(output) * grad_output.sum(dim, keepdim=True)).to(input_dtype)


@composite(method=False)
def _safe_softmax(input, dim, dtype=None):
    """`softmax` with zeros where all elements are minus infinity."""
    input = input if dtype is None else input.to(dtype)
    input = input if input.is_floating_point() else input.to(float32)
    hidden = ops.all(input == -float("inf"), dim, keepdim=True)
    return ops.masked_fill(ops.softmax(ops.masked_fill(input, hidden, 0), dim), hidden, 0)


@composite(method=False, random=True)
def native_dropout(input, p, train):
    """`dropout`, and the mask of what is kept."""
    check_probability(p)
    if train is False or p == 0:
        return input.clone(), ops.ones_like(input, dtype=bool_)
    mask = ops.rand(input.shape, dtype=float32, device=input.device) >= p
    return input * mask * (0 if p == 1 else 1 / (1 - p)), mask


@composite(method=False)
def native_dropout_backward(grad_output, mask, scale):
    """The gradient of `native_dropout` by its input."""
    return grad_output * mask * scale


# Sampling, resizing, pooling


def _mode(name: str, number: int, known: tuple) -> str:
    if not 0 <= number < len(known):
        raise RuntimeError(f"grid_sampler(): {name} must be a number below {len(known)}, one for "
                           f"each of {', '.join(known)}, but got {number}")
    return known[number]


def _grid_sample(input: Any, grid: Any, mode: int, padding: int, align_corners: bool) -> Any:
    return ops.grid_sample(input, grid,
                           _mode("interpolation_mode", mode, ("bilinear", "nearest", "bicubic")),
                           _mode("padding_mode", padding, ("zeros", "border", "reflection")),
                           align_corners)


@composite(method=False)
def grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sample` with numbers for its modes."""
    return _grid_sample(input, grid, interpolation_mode, padding_mode, align_corners)


@composite(method=False)
def grid_sampler_2d(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sampler` of images."""
    return _grid_sample(input, grid, interpolation_mode, padding_mode, align_corners)


@composite(method=False)
def grid_sampler_3d(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sampler` of volumes."""
    return _grid_sample(input, grid, interpolation_mode, padding_mode, align_corners)


@composite(method=False)
def affine_grid_generator(theta, size, align_corners):
    """`affine_grid`."""
    return ops.affine_grid(theta, size, align_corners)


def _aa_front(call: Any, *args: Any, scale_factors: Any = None, **named: Any) -> Any:
    """A call with the scales as a list, as the operator's other form has them."""
    return call(*args, **named) if scale_factors is None else call(*args, scales_h=scale_factors, **named)


@composite(method=False, front=_aa_front)
def _upsample_bilinear2d_aa(input, output_size, align_corners, scales_h=None, scales_w=None):
    """`interpolate` of an image, linear and without aliasing."""
    return _without_aliasing(False, input, output_size, align_corners, scales_h, scales_w)


@composite(method=False, front=_aa_front)
def _upsample_bicubic2d_aa(input, output_size, align_corners, scales_h=None, scales_w=None):
    """`interpolate` of an image, cubic and without aliasing."""
    return _without_aliasing(True, input, output_size, align_corners, scales_h, scales_w)


def _without_aliasing(cubic: bool, input: Any, size: Any, align_corners: bool, down: Any,
                      across: Any) -> Any:
    """The scales, or a list of both, say the size where none is given; beside a size they are the
    steps between its elements."""
    if input.ndim != 4:
        raise RuntimeError(f"It is expected input_size equals to 4, but got size {input.ndim}")
    scales = list(down) if isinstance(down, (tuple, list)) else [down, across]
    mode = "bicubic" if cubic else "bilinear"
    if size is None:
        return ops.interpolate(input, None, tuple(scales), mode, align_corners, None, True)
    if min(size) <= 0:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got {size}")
    if scales == [None, None]:
        return ops.interpolate(input, tuple(size), None, mode, align_corners, None, True)
    require(f"_upsample_{mode}2d_aa", "floating", input.dtype)
    for dim, m, scale in zip((2, 3), size, scales):
        input = antialiased(input, dim, m, scale, align_corners, cubic)
    return input


@composite(method=False)
def native_channel_shuffle(input, groups):
    """`channel_shuffle`."""
    return ops.channel_shuffle(input, groups)


@composite(method=False)
def conv_tbc(input, weight, bias, pad=0):
    """A convolution along time of (time, batch, channels) with weights (width, in, out)."""
    if input.ndim != 3 or weight.ndim != 3 or bias.ndim != 1:
        raise RuntimeError("Input must have 3 dims: time, batch, in_channel; the weight 3: "
                           "kernel_width, in_channels, out_channels; the bias 1")
    found = ops.conv1d(input.permute((1, 2, 0)), weight.permute((2, 1, 0)), bias, padding=pad)
    return found.permute((2, 0, 1))


@composite(method=False)
def max_pool2d_with_indices_backward(grad_output, input, kernel_size, stride, padding, dilation,
                                     ceil_mode, indices):
    """The gradient of `max_pool2d` by its input, from where the largest values were."""
    if grad_output.shape != indices.shape:
        raise RuntimeError("expected a gradient of the indices' shape, but got "
                           f"{list(grad_output.shape)} and {list(indices.shape)}")
    return ops.max_pool_input_grad(grad_output, indices, input.shape[input.ndim - 2:])


@composite(method=False)
def max_pool2d_with_indices(input, kernel_size, stride=(), padding=0, dilation=1,
                            ceil_mode=False):
    """`max_pool2d`, and where in its plane each largest value is."""
    return ops.max_pool2d(input, kernel_size, stride or None, padding, dilation, ceil_mode, True)


@composite(method=False)
def max_pool1d_with_indices(input, kernel_size, stride=(), padding=0, dilation=1,
                            ceil_mode=False):
    """`max_pool1d`, and where each largest value is."""
    return ops.max_pool1d(input, kernel_size, stride or None, padding, dilation, ceil_mode, True)
