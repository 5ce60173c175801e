"""The Kullback-Leibler divergence of two distributions, by a formula for each pair of families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eager.nn import functional as F
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.distributions.continuous import (
    Beta,
    Dirichlet,
    Exponential,
    Gamma,
    Laplace,
    MultivariateNormal,
    Normal,
    Uniform,
)
from flambeau.distributions.discrete import (
    Bernoulli,
    Categorical,
    Independent,
    OneHotCategorical,
    Poisson,
)

_FORMULAS: dict[tuple[type, type], Callable] = {}


def register_kl(type_p: type, type_q: type) -> Callable:
    """Decorates the formula for a pair of families."""

    def declare(function: Callable) -> Callable:
        _FORMULAS[type_p, type_q] = function
        return function

    return declare


def kl_divergence(p: Any, q: Any) -> Any:
    """How much q differs from p. Raises NotImplementedError for a pair without a formula."""
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            found = _FORMULAS.get((kind_p, kind_q))
            if found is not None:
                return found(p, q)
    raise NotImplementedError(f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}")


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Any:
    ratio = (p.scale / q.scale) ** 2
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Any:
    return F.binary_cross_entropy_with_logits(q.logits, p.probs, reduction="none") - p.entropy()


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Any:
    part = p.probs * (p.logits - q.logits)
    part = ops.where((q.probs == 0).expand_as(part), float("inf"), part)
    return ops.where((p.probs == 0).expand_as(part), 0, part).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: Any, q: Any) -> Any:
    return _categorical(p._classes, q._classes)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("No KL(p || q) for Independent distributions of different event dimensions")
    return p._summed(kl_divergence(p.base_dist, q.base_dist))


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Any:
    found = ops.log((q.high - q.low) / (p.high - p.low))
    return ops.where((q.low > p.low) | (q.high < p.high), float("inf"), found)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Any:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Any:
    ratio, away = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + away / q.scale + ratio * ops.exp(-away / p.scale) - 1


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Any:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Any:
    a, b = p.concentration, q.concentration
    return (b * ops.log(p.rate / q.rate) + ops.lgamma(b) - ops.lgamma(a) + (a - b) * ops.digamma(a) + (q.rate - p.rate) * (a / p.rate))


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Any:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    sizes = ops.lgamma(total) - ops.lgamma(b.sum(-1)) - (ops.lgamma(a) - ops.lgamma(b)).sum(-1)
    return sizes + ((a - b) * (ops.digamma(a) - ops.digamma(total).unsqueeze(-1))).sum(-1)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Any:
    return _dirichlet(p._shares(), q._shares())


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: MultivariateNormal, q: MultivariateNormal) -> Any:
    turned = ops.linalg_solve_triangular(q.scale_tril, p.scale_tril, upper=False)
    away = ops.linalg_solve_triangular(q.scale_tril, (q.loc - p.loc).unsqueeze(-1), upper=False).squeeze(-1)
    return q._size() - p._size() + 0.5 * ((turned * turned).sum((-2, -1)) + (away * away).sum(-1) - p.loc.shape[-1])
