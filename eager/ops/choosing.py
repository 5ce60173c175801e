"""Random operators whose results depend on weights, rates or shapes: multinomial, Poisson, Gamma. As in random.py, each has a twin that
is a pure function of a seed and an offset.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eager import dtype as dtypes
from eager import rng
from eager.op import extern, ops
from eager.ops.random import _declare, _same_spec, _seeded, _state, _zero_vjp
from eager.shape import numel
from eager.spec import Spec


def _multinomial_spec(input, num_samples, replacement, generator):
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {input.dtype}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    return Spec((*input.shape[:-1], num_samples), dtypes.int64, input.device)


def _choose(shares: np.ndarray, num_samples: int, replacement: bool, draw: Callable) -> np.ndarray:
    shares = shares.astype(np.float64)
    if not np.isfinite(shares).all() or (shares < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (shares.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if replacement:
        edges = np.cumsum(shares, -1)
        edges /= edges[..., -1:]
        places = draw((*shares.shape[:-1], num_samples))
        return (places[..., None] >= edges[..., None, :]).sum(-1).astype(np.int64)
    if (np.count_nonzero(shares, -1) < num_samples).any():
        raise RuntimeError(
            "invalid multinomial distribution (with replacement=False, not enough non-negative "
            "category to sample)"
        )
    # the smallest of exponential times at rates `shares`: a race that each category wins with its
    # share
    times = -np.log1p(-draw(shares.shape)) / np.where(shares > 0, shares, 1)
    times = np.where(shares > 0, times, np.inf)
    return np.argsort(times, -1, kind="stable")[..., :num_samples]


def _multinomial_count(input, num_samples, replacement, generator):
    shape = (*input.shape[:-1], num_samples) if replacement else tuple(input.shape)
    return rng.advance(numel(shape), True)


@extern(spec=_multinomial_spec, saves="", random=True)
def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Indices drawn with the probabilities that each row's weights say."""
    if (
        input.ndim not in (1, 2)
        or not dtypes.from_numpy(input.dtype).is_floating_point
        or num_samples <= 0
        or (not replacement and num_samples > input.shape[-1])
    ):
        raise ValueError
    seed, offset = _state(generator, _multinomial_count(input, num_samples, replacement, generator))
    return _choose(
        input,
        num_samples,
        replacement,
        lambda shape: rng.uniform(seed, offset, numel(shape), np.dtype(np.float64)).reshape(shape),
    )


@extern(
    spec=lambda seed, input, num_samples, replacement, extra: _multinomial_spec(
        input, num_samples, replacement, None
    ),
    saves="",
    method=False,
)
def philox_multinomial(seed, input, num_samples, replacement=False, extra=0):
    """`multinomial` from a tensor (seed, offset), `extra` blocks after the offset."""
    first, offset = _seeded(seed, extra)
    return _choose(
        input,
        num_samples,
        replacement,
        lambda shape: rng.uniform(first, offset, numel(shape), np.dtype(np.float64)).reshape(shape),
    )


_declare(
    multinomial,
    _multinomial_count,
    lambda state, extra, input, num_samples, replacement, generator: ops.philox_multinomial(
        state, input, num_samples, replacement, extra
    ),
)


def _poisson(rate: np.ndarray, seed: int, offset: int) -> np.ndarray:
    if rate.size and rate.min() < 0:
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    source = np.random.Generator(np.random.Philox(key=[seed, offset]))
    return np.asarray(source.poisson(rate)).astype(rate.dtype)


@extern(spec=_same_spec, vjp=_zero_vjp, saves="", random=True, method=False)
def poisson(input, generator=None):
    """Numbers of Poisson distributions with the rates that the input says."""
    return _poisson(input, *_state(generator, 1))


@extern(spec=lambda seed, input, extra: _same_spec(input), saves="", method=False)
def philox_poisson(seed, input, extra=0):
    """`poisson` from a tensor (seed, offset), `extra` blocks after the offset."""
    return _poisson(input, *_seeded(seed, extra))


_declare(
    poisson,
    lambda *bound: 1,
    lambda state, extra, input, generator: ops.philox_poisson(state, input, extra),
)


def _gamma(shape: np.ndarray, seed: int, offset: int) -> np.ndarray:
    if shape.size and not shape.min() > 0:
        raise RuntimeError("standard_gamma: expected shapes to be positive")
    source = np.random.Generator(np.random.Philox(key=[seed, offset]))
    found = np.asarray(source.standard_gamma(shape.astype(np.float64))).astype(shape.dtype)
    return np.maximum(found, np.finfo(shape.dtype).tiny) if shape.dtype.kind == "f" else found


@extern(spec=_same_spec, saves="", random=True, method=False, takes="floating")
def standard_gamma(input, generator=None):
    """Numbers of Gamma distributions with the shapes that the input says, and rate 1."""
    return _gamma(input, *_state(generator, 1))


@extern(spec=lambda seed, input, extra: _same_spec(input), saves="", method=False)
def philox_gamma(seed, input, extra=0):
    """`standard_gamma` from a tensor (seed, offset), `extra` blocks after the offset."""
    return _gamma(input, *_seeded(seed, extra))


_declare(
    standard_gamma,
    lambda *bound: 1,
    lambda state, extra, input, generator: ops.philox_gamma(state, input, extra),
)
