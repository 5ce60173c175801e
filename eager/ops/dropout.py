"""Dropout: random zeros in training, with the rest scaled up so that the mean stays. All through
the random operator `rand`, so that a compiled program draws what eager would have drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import rng
from eager.dtype import float32
from eager.op import composite, require
from eager.registry import ops
from eager.tensor import Tensor


def check_probability(p: float) -> None:
    """Raises ValueError for what is no probability."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _keep(shape: Any, p: float, input: Any) -> Any:
    return ops.rand(shape, dtype=float32, device=input.device) >= p


def _drop(input: Any, shape: Any, p: float) -> Any:
    require("dropout", "floating", input.dtype)
    if p == 1:
        return input * 0
    return input * _keep(shape, p, input) * (1 / (1 - p))


def _dropout_at_once(input: np.ndarray, p: float, training: bool) -> np.ndarray | None:
    found = _dropout_forth(input, p, training)
    return None if found is None else found[0]


def _dropout_forth(input: np.ndarray, p: float, training: bool) -> tuple | None:
    """In training, of single precision; None for what the operators have to see to. Also the factors."""
    if not training or not 0 < p < 1 or input.dtype != np.float32:
        return None
    count = input.size
    state = rng.default_generator.reserve(rng.advance(count, False))
    drawn = rng.uniform(*state, count, input.dtype)
    factors = (drawn >= np.float32(p)).astype(input.dtype)
    factors *= np.float32(1 / (1 - p))
    factors = factors.reshape(input.shape)
    return input * factors, factors


@composite(method=False, random=True, run=_dropout_at_once, forth=_dropout_forth, saves="",
           back=lambda g, factors, needs, *rest: (g * factors, None, None),
           again=lambda factors, input, *rest: input * Tensor._wrap(factors))
def dropout(input, p=0.5, training=True):
    """Zeroes each element with probability p."""
    check_probability(p)
    return _drop(input, input.shape, p) if training and p > 0 else input


def _channels(input: Any, leading: int) -> tuple:
    return tuple(input.shape[:leading]) + (1,) * (len(input.shape) - leading)


@composite(method=False, random=True)
def feature_dropout(input, p=0.5, training=True):
    """Zeroes whole channels, which the first two dimensions number, with probability p."""
    check_probability(p)
    if len(input.shape) < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return _drop(input, _channels(input, 2), p) if training and p > 0 else input


# An input of zero mean and unit variance keeps both: what is dropped becomes -alpha, then all is
# scaled and shifted.
_ALPHA = 1.7580993408473766


def _alpha_drop(input: Any, shape: Any, p: float) -> Any:
    require("dropout", "floating", input.dtype)
    if p == 1:
        return input * 0
    keep = _keep(shape, p, input).to(input.dtype)
    scale = ((1 - p) * (1 + p * _ALPHA**2)) ** -0.5
    shift = (keep - 1) * (_ALPHA * scale) + _ALPHA * scale * p
    return input * (keep * scale) + shift


@composite(method=False, random=True)
def alpha_dropout(input, p=0.5, training=False):
    """Dropout that keeps mean and variance of an input to selu."""
    check_probability(p)
    return _alpha_drop(input, input.shape, p) if training and p > 0 else input


@composite(method=False, random=True)
def feature_alpha_dropout(input, p=0.5, training=False):
    """Alpha dropout of whole channels."""
    check_probability(p)
    return _alpha_drop(input, _channels(input, 2), p) if training and p > 0 else input
