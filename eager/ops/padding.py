"""Padding: by a constant (one operator, negative widths cut off), or by reflecting, repeating or
wrapping the input, which are selections along one dimension after another.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from eager.dtype import fitting, from_numpy
from eager.op import composite, extern
from eager.registry import ops
from eager.spec import Spec


def _widths(rank: int, pad: tuple) -> list:
    """(left, right) per dimension; PyTorch counts from the last dimension."""
    if len(pad) % 2:
        raise RuntimeError("Length of pad must be even but instead it equals " + str(len(pad)))
    if len(pad) > 2 * rank:
        raise RuntimeError("Length of pad should be no more than twice the number of dimensions of "
                           f"the input. Pad length is {len(pad)} while the input has {rank} "
                           "dimensions.")
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]


def _padded_shape(shape: Any, pad: tuple) -> tuple:
    result = tuple(n + left + right for n, (left, right) in zip(shape, _widths(len(shape), pad)))
    if any(n < 0 for n in result):
        raise RuntimeError(f"The input size {list(shape)}, plus negative padding {list(pad)}, "
                           "resulted in a negative output size")
    return result


@functools.lru_cache(256)
def _places(shape: tuple, pad: tuple) -> tuple:
    """The padded shape, and which part of it shows which part of the input; None for the whole."""
    inner, outer, result = [], [], _padded_shape(shape, pad)
    for n, (left, right) in zip(shape, _widths(len(shape), pad)):
        inner.append(slice(max(-left, 0), n - max(-right, 0)))
        outer.append(slice(max(left, 0), max(left, 0) + n - max(-left, 0) - max(-right, 0)))
    return (result, tuple(outer) if any(n > 0 for n in pad) else None,
            tuple(inner) if any(n <= 0 for n in pad) else None)


@extern(spec=lambda input, pad, value: Spec(_padded_shape(input.shape, pad), input.dtype,
                                            input.device),
        vjp=lambda g, out, input, pad, value: ops.constant_pad_nd(g, tuple(-n for n in pad), 0),
        saves="", method=False)
def constant_pad_nd(input, pad, value=0):
    """The input with constants around it; a negative width cuts off."""
    shape, outer, inner = _places(input.shape, pad)
    if outer is None:
        return input[inner].copy()
    if type(value) in (int, float):
        value = fitting(value, from_numpy(input.dtype))
    result = np.zeros(shape, input.dtype) if value == 0 else np.full(shape, value, input.dtype)
    result[outer] = input if inner is None else input[inner]
    return result


def _source(mode: str, n: Any, left: Any, right: Any, device: Any) -> Any:
    """For each position of a padded dimension, the position of the input that it shows."""
    position = ops.arange(-left, n + right, device=device)
    if mode == "reflect":
        return (n - 1) - ops.abs((n - 1) - ops.abs(position))
    if mode == "replicate":
        return ops.clamp(position, 0, n - 1)
    return ops.remainder(position, n)


def _check_mode(mode: str, shape: Any, widths: list, count: int) -> None:
    if len(shape) - count not in (1, 2):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are "
                                  f"supported for now: {mode} padding of {count} dimensions needs "
                                  f"{count + 1}D or {count + 2}D input, got {len(shape)}D")
    for n, (left, right) in zip(shape, widths):
        if mode == "reflect" and (left >= n or right >= n) and (left or right):
            raise RuntimeError("Argument #4: Padding size should be less than the corresponding "
                               f"input dimension, but got: padding ({left}, {right}) at dimension "
                               f"of size {n} of input {list(shape)}")
        if mode == "circular" and (left > n or right > n):
            raise RuntimeError("Padding value causes wrapping around more than once.")


def _pad_at_once(input: np.ndarray, pad: Any, mode: str, value: Any) -> np.ndarray | None:
    """By a constant; None for what the operators have to see to."""
    if mode != "constant":
        return None
    return constant_pad_nd.function(input, tuple(pad), 0 if value is None else value)


def _pad_back(g: np.ndarray, kept: Any, needs: tuple, input: Any, pad: Any, *how: Any) -> tuple:
    return (constant_pad_nd.function(g, tuple([-n for n in pad]), 0),)


@composite(method=False, run=_pad_at_once, back=_pad_back, saves="")
def pad(input, pad, mode="constant", value=None):
    """Pads the last dimensions: `pad` holds (left, right) for the last, then for the one before,
    and so on."""
    pad = tuple(pad)
    if mode == "constant":
        return ops.constant_pad_nd(input, pad, 0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    widths = _widths(len(input.shape), pad)
    _check_mode(mode, input.shape, widths, len(pad) // 2)
    if mode == "circular" and any(n < 0 for n in pad):  # what is cut off is not wrapped around
        input = ops.constant_pad_nd(input, tuple(min(n, 0) for n in pad), 0)
        widths = [(max(left, 0), max(right, 0)) for left, right in widths]
    for dim, (left, right) in enumerate(widths):
        if left != 0 or right != 0:
            source = _source(mode, input.shape[dim], left, right, input.device)
            input = ops.index_select(input, dim, source)
    return input
