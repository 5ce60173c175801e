"""torch.distributions: random variables with densities, samples, entropies and divergences.

distribution.py   the base
continuous.py     normal, uniform, exponential, Gamma and their relatives
discrete.py       counts and classes; `Independent`
kl.py             divergences by pairs
constraints.py    what parameters and values may be
"""

from flambeau.distributions import constraints, kl
from flambeau.distributions.continuous import (
    Beta,
    Cauchy,
    Dirichlet,
    Exponential,
    Gamma,
    Gumbel,
    Laplace,
    LogNormal,
    MultivariateNormal,
    Normal,
    Uniform,
)
from flambeau.distributions.discrete import (
    Bernoulli,
    Categorical,
    Geometric,
    Independent,
    OneHotCategorical,
    Poisson,
)
from flambeau.distributions.distribution import Distribution
from flambeau.distributions.kl import kl_divergence, register_kl
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
