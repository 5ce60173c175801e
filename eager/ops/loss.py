"""Losses. The negative log likelihood has a kernel, which checks its targets; all others are
formulas over pointwise operators, reduced to their mean, their sum, or not at all.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from eager.blocks import BLOCK, places, row_maxima, row_sums
from eager.call import FLOATS
from eager.dtype import FLOATING, INTEGER, result_type
from eager.op import composite, extern, require
from eager.ops.activation import widen
from eager.registry import ops
from eager.shape import broadcast_shapes
from eager.spec import Spec


def _reduce(loss: Any, reduction: str) -> Any:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


def _reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction, also from its two old names."""
    if size_average is None and reduce is None:
        return reduction
    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    found = "none" if not reduce else "mean" if size_average else "sum"
    warnings.warn("size_average and reduce args will be deprecated, please use "
                  f"reduction='{found}' instead.", UserWarning, stacklevel=3)
    return found


def _warn_of_shapes(input: Any, target: Any) -> None:
    if target.shape != input.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.", UserWarning, stacklevel=4)


# Classes


def _nll_spec(input: Any, target: Any, weight: Any, reduction: str, ignore_index: int) -> tuple:
    if target.dtype.category != INTEGER:
        raise RuntimeError(f"expected scalar type Long but found {target.dtype}")
    if not 1 <= len(input.shape):
        raise ValueError(f"Expected 1 or more dimensions (got {len(input.shape)})")
    dim = 0 if len(input.shape) == 1 else 1
    wanted = tuple(input.shape[:dim]) + tuple(input.shape[dim + 1:])
    if tuple(target.shape) != wanted:
        if len(target.shape) and len(input.shape) and target.shape[0] != input.shape[0]:
            raise ValueError(f"Expected input batch_size ({input.shape[0]}) to match target "
                             f"batch_size ({target.shape[0]}).")
        raise RuntimeError(f"Expected target size {list(wanted)}, got {list(target.shape)}")
    if weight is not None and tuple(weight.shape) != (input.shape[dim],):
        raise RuntimeError("weight tensor should be defined either for all "
                           f"{input.shape[dim]} classes or no classes but got weight tensor of "
                           f"shape: {list(weight.shape)}")
    shape = target.shape if reduction == "none" else ()
    return Spec(shape, input.dtype, input.device), Spec((), input.dtype, input.device)


def _class_weights(input: Any, target: Any, weight: Any, ignore_index: int) -> tuple:
    """The class that is read for each target, and its weight: zero where the target is ignored."""
    kept = target != ignore_index
    safe = ops.where(kept, target, 0)
    if weight is None:
        return safe, kept.to(input.dtype)
    chosen = ops.index_select(weight, 0, safe.reshape((-1,))).reshape(safe.shape)
    return safe, ops.where(kept, chosen, 0)


def _nll_vjp(g: tuple, out: tuple, input: Any, target: Any, weight: Any, reduction: str,
             ignore_index: int) -> Any:
    if g[0] is None:  # the total weight is a count
        return None
    dim = 0 if len(input.shape) == 1 else 1
    safe, share = _class_weights(input, target, weight, ignore_index)
    slope = -g[0] * share
    if reduction == "mean":
        slope = slope / out[1]
    empty = ops.zeros(input.shape, dtype=input.dtype, device=input.device)
    return ops.scatter(empty, dim, safe.unsqueeze(dim), slope.unsqueeze(dim).to(input.dtype))


def _nll_steps(input: Any, target: Any, weight: Any, reduction: str, ignore_index: int) -> tuple:
    dim = 0 if len(input.shape) == 1 else 1
    safe, share = _class_weights(input, target, weight, ignore_index)
    loss = -ops.gather(input, dim, safe.unsqueeze(dim)).squeeze(dim) * share
    total = share.sum()
    if reduction == "none":
        return loss, ops.zeros((), dtype=input.dtype, device=input.device)
    return (loss.sum() / total if reduction == "mean" else loss.sum()), total


def _picked_rows(input: np.ndarray, target: np.ndarray, reduction: str,
                 ignore_index: int) -> tuple | None:
    """The usual case: rows of logarithms, every target a class and none ignored. None elsewhere."""
    count = input.shape[0]
    if input.dtype not in FLOATS or np.minimum.reduce(target) < 0:
        return None
    if np.maximum.reduce(target) >= input.shape[1]:
        return None
    if ignore_index >= 0 and (target == ignore_index).any():
        return None
    loss = -np.add.reduce(input[np.arange(count), target])
    total = input.dtype.type(count)
    return np.asarray(loss / total if reduction == "mean" else loss), np.asarray(total)


@extern(spec=_nll_spec, vjp=_nll_vjp, saves="target weight out", decompose=_nll_steps,
        method=False, takes="floating")
def nll_loss_forward(input, target, weight, reduction, ignore_index):
    """The negated log probabilities of the targets, weighted and reduced; and the sum of the
    weights."""
    dim = 0 if input.ndim == 1 else 1
    if target.dtype.kind not in "iu" or target.shape != input.shape[:dim] + input.shape[dim + 1:]:
        raise TypeError("the target does not fit")
    if dim and input.ndim == 2 and weight is None and reduction != "none" and len(target):
        found = _picked_rows(input, target, reduction, ignore_index)
        if found is not None:
            return found
    kept = target != ignore_index
    wrong = kept & ((target < 0) | (target >= input.shape[dim]))
    if wrong.any():
        raise IndexError(f"Target {target[wrong].flat[0]} is out of bounds.")
    safe = np.where(kept, target, 0)
    picked = np.take_along_axis(widen(input), np.expand_dims(safe, dim), dim).squeeze(dim)
    share = kept.astype(picked.dtype)
    if weight is not None:
        share = np.where(kept, weight[safe], share)
    loss, total = -picked * share, share.sum()
    if reduction == "none":
        return loss.astype(input.dtype), np.zeros((), input.dtype)
    summed = loss.sum() / total if reduction == "mean" else loss.sum()
    return np.asarray(summed, input.dtype), np.asarray(total, input.dtype)


@composite(method=False)
def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
             reduction="mean"):
    """The negative log likelihood of class numbers under log probabilities (batch, classes, ...).
    """
    reduction = _check_reduction(_reduction(size_average, reduce, reduction))
    return ops.nll_loss_forward(input, target, weight, reduction, ignore_index)[0]


def _check_reduction(reduction: str) -> str:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def _entropy_forth(input: np.ndarray, target: np.ndarray, weight: Any, size_average: Any,
                   ignore_index: int, reduce: Any, reduction: str, label_smoothing: float) -> Any:
    """Rows of logits and classes, none ignored; None for what the operators have to see to. Also the
    probabilities."""
    likely = np.empty(input.shape, input.dtype)
    found = _entropy_at_once(input, target, weight, size_average, ignore_index, reduce, reduction,
                             label_smoothing, likely)
    return None if found is None else (found, likely)


def _entropy_at_once(input: np.ndarray, target: np.ndarray, weight: Any, size_average: Any,
                     ignore_index: int, reduce: Any, reduction: str, label_smoothing: float,
                     likely: np.ndarray | None = None) -> Any:
    if weight is not None or size_average is not None or reduce is not None or label_smoothing:
        return None
    if input.ndim != 2 or target.ndim != 1 or len(target) != len(input) or not input.size:
        return None
    if target.dtype.kind not in "iu" or reduction not in ("mean", "sum"):
        return None
    if not input.flags.c_contiguous or input.dtype not in FLOATS:
        return None
    count, step = len(input), max(1, BLOCK // input.shape[1])
    total = input.dtype.type(0)
    for start in range(0, count, step):
        rows, classes = input[start : start + step], target[start : start + step]
        if np.minimum.reduce(classes) < 0 or ignore_index >= 0 and (classes == ignore_index).any():
            return None
        apart = np.subtract(rows, row_maxima(rows), None if likely is None else likely[start : start + step])
        picked = apart[places(len(classes)), classes]
        sums = row_sums(np.exp(apart, apart))
        if likely is not None:
            apart /= sums[:, None]
        np.log(sums, sums)
        sums -= picked
        total = total + np.add.reduce(sums)
    return total / input.dtype.type(count) if reduction == "mean" else total


def _entropy_back(g: np.ndarray, likely: np.ndarray, needs: tuple, input: Any, target: np.ndarray,
                  weight: Any, size_average: Any, ignore_index: int, reduce: Any, reduction: str,
                  label_smoothing: float) -> tuple:
    share = g / g.dtype.type(len(target)) if reduction == "mean" else g
    by_input = likely * share
    by_input[places(len(target)), target] -= share
    return by_input, *(None,) * 7


@composite(method=False, run=_entropy_at_once, forth=_entropy_forth, back=_entropy_back,
           saves="input target")
def cross_entropy(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
                  reduction="mean", label_smoothing=0.0):
    """The negative log likelihood of class numbers, or of class probabilities, under logits."""
    reduction = _check_reduction(_reduction(size_average, reduce, reduction))
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError("label_smoothing must be between 0.0 and 1.0. Got: "
                           f"{label_smoothing}")
    dim = 0 if len(input.shape) == 1 else 1
    likely = ops.log_softmax(input, dim)
    if tuple(target.shape) == tuple(input.shape):
        return _probability_entropy(likely, target, weight, reduction, label_smoothing, dim)
    loss, total = ops.nll_loss_forward(likely, target, weight, reduction, ignore_index)
    if label_smoothing == 0:
        return loss
    every = likely if weight is None else likely * _class_shape(weight, likely, dim)
    smooth = ops.where(target != ignore_index, -every.sum(dim), 0)
    if reduction != "none":
        smooth = smooth.sum()
    if reduction == "mean":
        smooth = smooth / total
    share = label_smoothing / input.shape[dim]
    return loss * (1 - label_smoothing) + smooth * share


@composite(method=False)
def linear_cross_entropy(input, linear_weight, target, *, linear_bias=None, weight=None,
                         reduction="mean", ignore_index=None, label_smoothing=0.0, options=None):
    """`cross_entropy` of `linear(input, linear_weight, linear_bias)`. A weight of more than two
    dimensions, (classes, ..., features), gives one loss for each point of the dimensions between.

    `options` is how PyTorch saves memory; the loss is the same."""
    if len(input.shape) not in (1, 2):
        raise RuntimeError("expected input with dimensionality 1 or 2, got "
                           f"{len(input.shape)}: reshape it to (batch, features)")
    features, inner = linear_weight.shape[-1], tuple(linear_weight.shape[:-1])
    if len(inner) > 1 and len(input.shape) == 1:
        raise RuntimeError("linear_cross_entropy: a weight of more than 2 dimensions needs batched input")
    logits = ops.linear(input, linear_weight.reshape((-1, features)))
    if linear_bias is not None:
        logits = logits + linear_bias.reshape((-1,))
    logits = logits.reshape((*input.shape[:-1], *inner))
    if ignore_index is not None and target.dtype.is_floating_point:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    ignored = -100 if ignore_index is None else ignore_index
    return ops.cross_entropy(logits, target, weight, None, ignored, None, reduction, label_smoothing)


def _class_shape(weight: Any, like: Any, dim: int) -> Any:
    return weight.reshape((-1,) + (1,) * (len(like.shape) - 1 - dim))


def _probability_entropy(likely: Any, target: Any, weight: Any, reduction: str, smoothing: float,
                         dim: int) -> Any:
    if target.dtype.category < FLOATING:
        raise RuntimeError("Expected floating point type for target with class probabilities, got "
                           f"{target.dtype}")
    classes = likely.shape[dim]
    if smoothing > 0:
        target = target * (1 - smoothing) + smoothing / classes
    products = likely * target
    if weight is not None:
        products = products * _class_shape(weight, likely, dim)
    if reduction == "none":
        return -products.sum(dim)
    if reduction == "sum":
        return -products.sum()
    count = likely.numel() // classes
    return -products.sum() / count


@composite(method=False)
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None,
                         reduction="mean"):
    """The negative log likelihood of targets in [0, 1] under probabilities; logarithms end at
    -100."""
    if target.shape != input.shape:
        raise ValueError(f"Using a target size ({target.shape}) that is different to the input "
                         f"size ({input.shape}) is deprecated. Please ensure they have the same "
                         "size.")
    loss = ops.binary_entropy(input, target)
    loss = loss if weight is None else loss * weight
    return _reduce(loss, _reduction(size_average, reduce, reduction))


def _binary_vjp(g: Any, out: Any, input: Any, target: Any) -> Any:
    return g * (input - target) / ops.clamp_min(input * (1 - input), 1e-12)


def _binary_target_vjp(g: Any, out: Any, input: Any, target: Any) -> Any:
    return g * (ops.clamp_min(ops.log1p(-input), -100) - ops.clamp_min(ops.log(input), -100))


def _binary_spec(input: Any, target: Any) -> Spec:
    return Spec(input.shape, input.dtype, input.device)


@extern(spec=_binary_spec, vjp=(_binary_vjp, _binary_target_vjp), method=False, takes="floating",
        decompose=lambda input, target: (target - 1) * ops.clamp_min(ops.log1p(-input), -100)
        - target * ops.clamp_min(ops.log(input), -100))
def binary_entropy(input, target):
    """The elements of `binary_cross_entropy`."""
    if ((input < 0) | (input > 1)).any():
        raise RuntimeError("all elements of input should be between 0 and 1")
    positive = np.maximum(np.log(input), -100)
    negative = np.maximum(np.log1p(-input), -100)
    return ((target - 1) * negative - target * positive).astype(input.dtype, copy=False)


@composite(method=False)
def binary_cross_entropy_with_logits(input, target, weight=None, size_average=None, reduce=None,
                                     reduction="mean", pos_weight=None):
    """`binary_cross_entropy` of the sigmoid of the input, computed without leaving the range."""
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size "
                         f"({input.shape})")
    require("binary_cross_entropy_with_logits", "floating", input.dtype)
    negative = -ops.logsigmoid(input)
    if pos_weight is None:
        loss = (1 - target) * input + negative
    else:
        loss = (1 - target) * input + ((pos_weight - 1) * target + 1) * negative
    loss = loss if weight is None else loss * weight
    return _reduce(loss, _reduction(size_average, reduce, reduction))


# Distances


@composite(method=False)
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """Squared differences."""
    _warn_of_shapes(input, target)
    require("mse", "floating", result_type(input, target))
    difference = input - target
    loss = difference * difference
    reduction = _reduction(size_average, reduce, reduction)
    return _weighted(loss, weight, reduction)


def _weighted(loss: Any, weight: Any, reduction: str) -> Any:
    if weight is None:
        return _reduce(loss, reduction)
    loss = loss * weight
    if reduction == "mean":
        return loss.sum() / weight.expand(loss.shape).sum()
    return _reduce(loss, reduction)


@composite(method=False)
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """Absolute differences."""
    _warn_of_shapes(input, target)
    return _weighted(ops.abs(input - target), weight, _reduction(size_average, reduce, reduction))


@composite(method=False)
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """Absolute differences, squared over `2 beta` where smaller than `beta`."""
    _warn_of_shapes(input, target)
    require("smooth_l1", "floating", result_type(input, target))
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    size = ops.abs(input - target)
    if beta != 0:
        size = ops.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)
    return _reduce(size, _reduction(size_average, reduce, reduction))


@composite(method=False)
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """Half squared differences, growing linearly beyond `delta`."""
    require("huber", "floating", result_type(input, target))
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    _warn_of_shapes(input, target)
    size = ops.abs(input - target)
    loss = ops.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))
    return _weighted(loss, weight, reduction)


# Likelihoods


@composite(method=False)
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """The divergence of log probabilities `input` from probabilities `target`."""
    require("kl_div", "floating", result_type(input, target))
    if log_target:
        loss = ops.exp(target) * (target - input)
    else:
        # 0 log 0 is 0
        safe = ops.where(target > 0, target, 1)
        loss = ops.where(target > 0, target * ops.log(safe), 0) - target * input
    reduction = _reduction(size_average, reduce, reduction)
    if reduction == "batchmean":
        return loss.sum() / input.shape[0]
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            UserWarning, stacklevel=3)
    return _reduce(loss, reduction)


@composite(method=False)
def poisson_nll_loss(input, target, log_input=True, full=False, size_average=None, eps=1e-8,
                     reduce=None, reduction="mean"):
    """The negative log likelihood of counts under a Poisson rate, or its logarithm."""
    if log_input:
        loss = ops.exp(input) - target * input
    else:
        loss = input - target * ops.log(input + eps)
    if full:
        stirling = target * ops.log(target) - target + 0.5 * ops.log(2 * math.pi * target)
        loss = loss + ops.where(target <= 1, 0, stirling)
    return _reduce(loss, _check_reduction(_reduction(size_average, reduce, reduction)))


@composite(method=False)
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """The negative log likelihood of targets under a normal distribution."""
    if not hasattr(var, "shape"):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = ops.ones_like(input) * var
    if tuple(var.shape) != tuple(input.shape):
        if tuple(input.shape[:-1]) == tuple(var.shape):
            var = var.unsqueeze(-1)
        elif not (tuple(input.shape[:-1]) == tuple(var.shape[:-1]) and var.shape[-1] == 1):
            raise ValueError("var is of incorrect size")
    var = var + (ops.clamp_min(var, eps) - var).detach()
    difference = input - target
    loss = 0.5 * (ops.log(var) + difference * difference / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce(loss, _check_reduction(reduction))


# Margins


@composite(method=False)
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """`log(1 + exp(-target * input))`."""
    require("soft_margin_loss", "floating", result_type(input, target))
    return _reduce(ops.softplus(-target * input, 1.0, 1e30),
                   _reduction(size_average, reduce, reduction))


@composite(method=False)
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None,
                         reduction="mean"):
    """The input where the target is 1, its distance below the margin where it is -1."""
    loss = (ops.where(target == 1, 0, ops.clamp_min(margin - input, 0))
            + ops.where(target == -1, 0, input))
    return _reduce(loss, _reduction(size_average, reduce, reduction))


@composite(method=False)
def margin_ranking_loss(input1, input2, target, margin=0.0, size_average=None, reduce=None,
                        reduction="mean"):
    """How far the first input is from exceeding the second, or the other way round for target -1.
    """
    if not len(input1.shape) == len(input2.shape) == len(target.shape):
        raise RuntimeError("margin_ranking_loss : All input tensors should have same dimension but "
                           f"got sizes: input1: {input1.shape}, input2: {input2.shape}, target: "
                           f"{target.shape} ")
    loss = ops.clamp_min(-target * (input1 - input2) + margin, 0)
    return _reduce(loss, _reduction(size_average, reduce, reduction))


@composite(method=False)
def cosine_embedding_loss(input1, input2, target, margin=0.0, size_average=None, reduce=None,
                          reduction="mean"):
    """One less the cosine where the target is 1, the cosine above the margin where it is -1."""
    dim = 0 if len(target.shape) == 0 else 1
    tiny = 1e-12
    product = (input1 * input2).sum(dim)
    size1 = (input1 * input1).sum(dim) + tiny
    size2 = (input2 * input2).sum(dim) + tiny
    cosine = product / ops.sqrt(size1 * size2)
    loss = (ops.where(target == 1, 1 - cosine, 0)
            + ops.where(target == -1, ops.clamp_min(cosine - margin, 0), 0))
    return _reduce(loss, _reduction(size_average, reduce, reduction))


@composite(method=False)
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """The cosine of the angle between vectors along a dimension."""
    shape = broadcast_shapes(tuple(x1.shape), tuple(x2.shape))
    x1, x2 = x1.expand(shape), x2.expand(shape)
    size1 = ops.clamp_min(ops.norm(x1, 2, dim, True), eps)
    size2 = ops.clamp_min(ops.norm(x2, 2, dim, True), eps)
    return (x1 / size1 * (x2 / size2)).sum(dim)


@composite(method=False)
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """The p-norm of the differences along the last dimension."""
    return ops.norm(x1 - x2 + eps, p, -1, keepdim)


@composite(method=False)
def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False,
                        size_average=None, reduce=None, reduction="mean"):
    """How much closer the anchor is to the negative than, by a margin, to the positive."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    near = ops.pairwise_distance(anchor, positive, p, eps)
    far = ops.pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = ops.minimum(far, ops.pairwise_distance(positive, negative, p, eps))
    return _reduce(ops.clamp_min(margin + near - far, 0),
                   _reduction(size_average, reduce, reduction))


@composite(method=False)
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None,
                      reduction="mean"):
    """How far each wrong class is from being, by a margin, below the right one."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and len(weight.shape) != 1:
        raise ValueError("weight must be one-dimensional")
    reduction = _check_reduction(_reduction(size_average, reduce, reduction))
    single = len(input.shape) < 2
    rows = _as_row(input)
    numbers = target.reshape((-1,)).unsqueeze(1)
    short = ops.clamp_min(margin - ops.gather(rows, 1, numbers) + rows, 0)
    short = short if p == 1 else short * short
    if weight is not None:
        short = short * ops.index_select(weight, 0, numbers.reshape((-1,))).unsqueeze(1)
    right = ops.arange(rows.shape[1], device=rows.device) == numbers
    loss = ops.where(right, 0, short).sum(1) / rows.shape[1]
    return _reduce(loss.squeeze(0) if single else loss, reduction)


def _as_row(tensor: Any) -> Any:
    """A number or a line as one row; rows as they are."""
    return tensor.reshape((1, -1)) if len(tensor.shape) < 2 else tensor


@composite(method=False)
def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None,
                                reduction="mean"):
    """The mean over classes of the binary cross entropy with logits."""
    loss = -(target * ops.logsigmoid(input) + (1 - target) * ops.logsigmoid(-input))
    loss = loss if weight is None else loss * weight
    return _reduce(loss.mean(-1), _reduction(size_average, reduce, reduction))


@composite(method=False)
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """Margins of every class that is no target below every one that is; a row of targets ends at
    -1."""
    reduction = _check_reduction(_reduction(size_average, reduce, reduction))
    single = len(input.shape) < 2
    if input.shape and input.shape[-1] == 0:
        raise RuntimeError("Expected non-empty vector or matrix with optional 0-dim batch size, but "
                           f"got: {list(input.shape)}")
    rows, numbers = _as_row(input), _as_row(target)
    kept = ops.cumsum((numbers < 0).to(numbers.dtype), 1) == 0
    safe = ops.where(kept, numbers, 0)
    classes = ops.arange(rows.shape[1], device=rows.device)
    named = ((safe.unsqueeze(2) == classes) & kept.unsqueeze(2)).any(1)
    short = ops.clamp_min(1 - ops.gather(rows, 1, safe).unsqueeze(2) + rows.unsqueeze(1), 0)
    short = ops.where(kept.unsqueeze(2) & ops.logical_not(named).unsqueeze(1), short, 0)
    loss = short.sum((1, 2)) / rows.shape[1]
    return _reduce(loss.squeeze(0) if single else loss, reduction)
