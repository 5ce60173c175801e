"""torch.distributions against torch: densities, moments, entropies, divergences, gradients; samples by their statistics."""

import warnings

import pytest

import flambeau
from flambeau import distributions

torch = pytest.importorskip("torch")

A, B = [0.4, 1.3, 2.1], [0.7, 0.6, 1.9]
SHARES = [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]
MATRIX = [[2.0, 0.5], [0.5, 1.0]]
FAMILIES = {
    "Normal": (A, B), "LogNormal": (A, B), "Laplace": (A, B), "Gumbel": (A, B), "Cauchy": (A, B), "Exponential": (A,), "Gamma": (A, B),
    "Beta": (A, B), "Dirichlet": ([A, B],), "Uniform": ([0.0, -1.0, 0.2], [0.5, 3.0, 2.1]), "Bernoulli": ([0.2, 0.7, 0.9],),
    "Geometric": ([0.2, 0.7, 0.9],), "Poisson": (A,), "Categorical": (SHARES,), "OneHotCategorical": (SHARES,),
    "MultivariateNormal": ([0.3, -0.4], MATRIX),
    "StudentT": ([3.4, 4.3, 5.1], A, B), "Chi2": (A,), "FisherSnedecor": ([2.4, 5.0, 3.3], [4.7, 6.5, 5.9]), "VonMises": (A, B),
    "ContinuousBernoulli": ([0.2, 0.5, 0.9],), "HalfNormal": (B,), "HalfCauchy": (B,),
    "Pareto": (B, [2.4, 3.3, 5.1]), "Weibull": (B, [1.4, 2.3, 3.1]), "Kumaraswamy": ([1.4, 2.3, 1.1], [1.7, 1.6, 1.9]),
    "InverseGamma": ([3.4, 4.3, 5.1], B), "LogisticNormal": (A, B), "NegativeBinomial": ([2.0, 5.0, 3.0], [0.2, 0.7, 0.4]),
    "OneHotCategoricalStraightThrough": (SHARES,),
    "LowRankMultivariateNormal": ([0.3, -0.4], [[0.5], [0.2]], [1.0, 0.7]),
}  # fmt: skip
OTHERS = {
    "Normal": (B, A), "Laplace": (B, A), "Exponential": (B,), "Gamma": (B, A), "Beta": (B, A), "Dirichlet": ([B, A],), "Poisson": (B,),
    "Uniform": ([-1.0, -1.0, 0.3], [0.6, 4.0, 2.1]), "Bernoulli": ([0.3, 0.6, 0.5],), "Categorical": (SHARES[::-1],),
    "OneHotCategorical": (SHARES[::-1],), "MultivariateNormal": ([0.1, 0.2], [[1.0, 0.1], [0.1, 3.0]]),
}  # fmt: skip


def made(t, name, given):
    parameters = [t.tensor(values, dtype=t.float64).requires_grad_() for values in given]
    return getattr(t.distributions, name)(*parameters), parameters


def close(mine, theirs, tolerance=1e-7):
    wanted, found = theirs.detach(), torch.tensor(mine.detach().numpy())
    assert tuple(mine.shape) == tuple(theirs.shape)
    assert torch.allclose(found.double(), wanted.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_densities_moments_and_gradients(name):
    (mine, my_parameters), (theirs, their_parameters) = made(flambeau, name, FAMILIES[name]), made(torch, name, FAMILIES[name])
    assert tuple(mine.batch_shape) == tuple(theirs.batch_shape) and tuple(mine.event_shape) == tuple(theirs.event_shape)
    torch.manual_seed(0)
    values = theirs.sample((4,))
    wanted, found = theirs.log_prob(values), mine.log_prob(flambeau.tensor(values.numpy()))
    close(found, wanted, 1e-6)
    wanted.sum().backward()
    found.sum().backward()
    for one, other in zip(my_parameters, their_parameters):
        close(one.grad, other.grad, 1e-5)
    for member in ("mean", "variance", "mode", "entropy"):
        try:
            wanted = getattr(theirs, member)
            wanted = wanted() if callable(wanted) else wanted
        except NotImplementedError:
            continue
        if name in ("Beta", "Dirichlet", "MultivariateNormal", "Kumaraswamy") and member == "mode":
            continue  # torch's mode of Kumaraswamy is NaN
        found = getattr(mine, member)
        close(found() if callable(found) else found, wanted, 1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_divergences(name):
    pairs = [(made(t, name, FAMILIES[name])[0], made(t, name, OTHERS[name])[0]) for t in (flambeau, torch)]
    close(distributions.kl_divergence(*pairs[0]), torch.distributions.kl_divergence(*pairs[1]), 1e-6)


@pytest.mark.parametrize("name", [n for n in FAMILIES if n not in ("Cauchy", "HalfCauchy", "VonMises", "LogisticNormal")])
def test_samples_have_the_moments(name):
    flambeau.manual_seed(3)
    mine, _ = made(flambeau, name, FAMILIES[name])
    found = mine.sample((40_000,)).double()
    assert tuple(found.shape) == (40_000, *mine.batch_shape, *mine.event_shape) and not found.requires_grad
    if name == "Categorical":
        found, mean = distributions.constraints.ops.one_hot(found.long(), 3).double(), mine.probs
    else:
        mean = mine.mean
    spread = found.var(0).sqrt() + 1e-3
    assert ((found.mean(0) - mean).abs() < 0.05 * spread + 0.03).all()


def test_samples_differentiate():
    loc, scale = (flambeau.tensor([0.5, 1.0], requires_grad=True) for _ in range(2))
    distributions.Normal(loc, scale).rsample((3,)).sum().backward()
    assert loc.grad.tolist() == [3.0, 3.0] and scale.grad is not None
    with pytest.raises(NotImplementedError, match="use sample"):
        distributions.Gamma(loc, scale).rsample()


def test_independent_and_logits():
    base = distributions.Normal(flambeau.zeros(2, 3), flambeau.ones(2, 3))
    joint = distributions.Independent(base, 1)
    assert joint.log_prob(flambeau.ones(2, 3)).shape == (2,) and tuple(joint.event_shape) == (3,)
    assert joint.expand((5, 2)).sample((4,)).shape == (4, 5, 2, 3)
    assert distributions.OneHotCategorical(flambeau.ones(3)).expand((4,)).sample().shape == (4, 3)
    for name, logits in (("Bernoulli", [0.3, -1.0]), ("Categorical", [[0.1, 0.4], [2.0, -1.0]])):
        mine = getattr(distributions, name)(logits=flambeau.tensor(logits))
        theirs = getattr(torch.distributions, name)(logits=torch.tensor(logits))
        close(mine.probs, theirs.probs, 1e-6)
        close(mine.entropy(), theirs.entropy(), 1e-6)
        close(mine.enumerate_support(), theirs.enumerate_support())
        assert tuple(mine.expand((5, 2)).batch_shape) == (5, 2)


def test_what_is_refused():
    with pytest.raises(ValueError, match="scale"):
        distributions.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="within the support"):
        distributions.Categorical(flambeau.ones(3)).log_prob(flambeau.tensor(3))
    with pytest.raises(ValueError, match="not both"):
        distributions.Bernoulli(0.5, 0.5)
    with pytest.raises(NotImplementedError, match="No KL"):
        distributions.kl_divergence(distributions.Normal(0.0, 1.0), distributions.Poisson(1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distributions.Normal(0.0, -1.0, validate_args=False)


def through(t, name):
    one, two = (t.tensor(values, dtype=t.float64) for values in (A, B))
    d, x = t.distributions, t.distributions.transforms
    return {
        "affine": lambda: d.TransformedDistribution(d.Normal(one, two), [x.AffineTransform(1.0, -2.0), x.TanhTransform()]),
        "power": lambda: d.TransformedDistribution(d.Gamma(one, two), x.PowerTransform(t.tensor(3.0, dtype=t.float64))),
        "stick": lambda: d.TransformedDistribution(d.Normal(one, two), x.StickBreakingTransform()),
        "softplus": lambda: d.TransformedDistribution(d.Normal(one, two), [x.SoftplusTransform(), x.ExpTransform()]),
        "reshape": lambda: d.TransformedDistribution(d.Independent(d.Normal(one, two), 1), x.ReshapeTransform((3,), (3, 1))),
        "event": lambda: d.TransformedDistribution(d.Normal(one, two), x.IndependentTransform(x.SigmoidTransform(), 1)),
        "binomial": lambda: d.Binomial(7, two / 2),
        "multinomial": lambda: d.Multinomial(5, t.tensor(SHARES, dtype=t.float64)),
        "relaxed": lambda: d.RelaxedBernoulli(t.tensor(0.7, dtype=t.float64), two / 2),
        "relaxed class": lambda: d.RelaxedOneHotCategorical(t.tensor(0.7, dtype=t.float64), t.tensor(SHARES, dtype=t.float64)),
        "mixture": lambda: d.MixtureSameFamily(d.Categorical(two), d.Normal(one, two)),
        "mixture of vectors": lambda: d.MixtureSameFamily(
            d.Categorical(two), d.Independent(d.Normal(one.unsqueeze(-1).expand(3, 2), two.unsqueeze(-1)), 1)),
    }[name]()  # fmt: skip


@pytest.mark.parametrize(
    "name", "affine power stick softplus reshape event binomial multinomial relaxed mixture".split() + ["relaxed class", "mixture of vectors"]
)
def test_transforms_mixtures_and_counts(name):
    mine, theirs = through(flambeau, name), through(torch, name)
    assert tuple(mine.batch_shape) == tuple(theirs.batch_shape) and tuple(mine.event_shape) == tuple(theirs.event_shape)
    torch.manual_seed(0)
    values = theirs.sample((5,))
    close(mine.log_prob(flambeau.tensor(values.numpy())), theirs.log_prob(values), 1e-6)
    assert mine.sample((5,)).shape == tuple(values.shape)
    for member in ("mean", "variance", "entropy", "cdf"):
        try:
            wanted = getattr(theirs, member)
            wanted = wanted(values) if member == "cdf" else wanted() if callable(wanted) else wanted
        except (NotImplementedError, AttributeError):
            continue
        found = getattr(mine, member)
        close(found(flambeau.tensor(values.numpy())) if member == "cdf" else found() if callable(found) else found, wanted, 1e-6)


@pytest.mark.parametrize("name", ["LogNormal", "Laplace", "Gumbel", "Cauchy", "Exponential", "HalfNormal", "HalfCauchy", "Pareto",
                                  "Weibull", "Kumaraswamy", "ContinuousBernoulli"])  # fmt: skip
def test_cumulative_distributions_and_their_inverses(name):
    mine, theirs = made(flambeau, name, FAMILIES[name])[0], made(torch, name, FAMILIES[name])[0]
    shares = [[0.1] * 3, [0.5] * 3, [0.97] * 3]
    points = theirs.icdf(torch.tensor(shares, dtype=torch.float64))
    close(mine.icdf(flambeau.tensor(shares, dtype=flambeau.float64)), points, 1e-6)
    close(mine.cdf(flambeau.tensor(points.detach().numpy())), theirs.cdf(points), 1e-6)


def test_generalized_pareto():
    given = (A, B, [0.1, 0.0, 0.4])  # in single precision: torch's own formulas refuse double
    mine, theirs = (t.distributions.GeneralizedPareto(*map(t.tensor, given)) for t in (flambeau, torch))
    shares = [[0.1] * 3, [0.5] * 3, [0.97] * 3]
    points = theirs.icdf(torch.tensor(shares))
    close(mine.icdf(flambeau.tensor(shares)), points, 1e-5)
    close(mine.cdf(flambeau.tensor(points.numpy())), theirs.cdf(points), 1e-5)
    close(mine.log_prob(flambeau.tensor(points.numpy())), theirs.log_prob(points), 1e-5)
    for member in ("mean", "variance"):
        close(getattr(mine, member), getattr(theirs, member), 1e-5)
    close(mine.entropy(), theirs.entropy(), 1e-5)


def test_angles_gather_around_their_mean():
    flambeau.manual_seed(0)
    d = distributions.VonMises(flambeau.tensor([0.5, 3.0]), flambeau.tensor([0.8, 5.0]))
    angles = d.sample((20_000,))
    assert bool((angles.abs() <= 3.1416).all())
    along = (angles - d.loc).cos().mean(0)
    assert ((along - (1 - d.variance)).abs() < 0.02).all() and ((angles - d.loc).sin().mean(0).abs() < 0.02).all()
    shares = distributions.LogisticNormal(flambeau.zeros(3), flambeau.ones(3)).sample((500,))
    assert shares.shape == (500, 4) and ((shares.sum(-1) - 1).abs() < 1e-5).all()
