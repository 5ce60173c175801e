"""torch.distributions: random variables with densities, samples, entropies and divergences.

distribution.py   the base
continuous.py     normal, uniform, exponential, Gamma and their relatives
tails.py          Student's, chi-squared, F, von Mises and others; normal vectors of low rank
discrete.py       counts and classes; `Independent`
counts.py         counts in several tries; mixtures
transforms.py     functions with inverses
transformed.py    distributions through transforms: Pareto, Weibull, relaxed classes and others
kl.py             divergences by pairs
constraints.py    what parameters and values may be
"""

from flambeau.distributions import constraints, kl, transforms
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
from flambeau.distributions.counts import (
    Binomial,
    MixtureSameFamily,
    Multinomial,
    NegativeBinomial,
    OneHotCategoricalStraightThrough,
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
from flambeau.distributions.tails import (
    Chi2,
    ContinuousBernoulli,
    FisherSnedecor,
    GeneralizedPareto,
    LowRankMultivariateNormal,
    StudentT,
    VonMises,
)
from flambeau.distributions.transformed import (
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Kumaraswamy,
    LogisticNormal,
    Pareto,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    TransformedDistribution,
    Weibull,
)
from flambeau.distributions.transforms import (
    AbsTransform,
    AffineTransform,
    CatTransform,
    ComposeTransform,
    CumulativeDistributionTransform,
    ExpTransform,
    IndependentTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    PowerTransform,
    ReshapeTransform,
    SigmoidTransform,
    SoftmaxTransform,
    SoftplusTransform,
    StackTransform,
    StickBreakingTransform,
    TanhTransform,
    Transform,
    identity_transform,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
