"""Whole training programs in source that says `import torch`: flambeau, eager and compiled, follows
the losses of torch.
"""

import runpy
from pathlib import Path

import numpy as np
import pytest

import flambeau

SOURCE = str(Path(__file__).with_name("programs.py"))
NAMES = [
    "variational_autoencoder", "adversarial", "packed_sequences", "graph_network",
    "policy_gradient", "differential_equation", "transformer", "segmentation", "meta_learning",
    "own_derivative",
]


@pytest.fixture(scope="module")
def here():
    with flambeau.alias("torch"):
        return runpy.run_path(SOURCE)


@pytest.fixture(scope="module")
def there():
    pytest.importorskip("torch")
    return runpy.run_path(SOURCE)


def test_every_program_is_tested(here):
    assert list(here["PROGRAMS"]) == NAMES


def losses(world, name, compiled=lambda model: model):
    return np.array(world["PROGRAMS"][name](world["Data"](), compiled))


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_eager_follows_torch(here, there, name):
    np.testing.assert_allclose(losses(here, name), losses(there, name), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_follows_eager(here, name):
    found = losses(here, name, flambeau.compile)
    np.testing.assert_allclose(found, losses(here, name), rtol=2e-4, atol=2e-5)
