"""Bulk random numbers: the compiled generator draws what NumPy's does."""

import numpy as np
import pytest

from eager import rng
from inductor.draw import fill


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("seed,offset", [(0, 0), (2**64 - 3, 5), (12345678901, 2**33)])
def test_same_numbers(distribution, seed, offset, monkeypatch):
    monkeypatch.setattr(rng, "filler", None)
    expected = getattr(rng, distribution)(seed, offset, 1003, np.dtype(np.float32))
    found = np.full(1003, 7, np.float32)
    assert fill(distribution, seed, offset, found) == 1000
    assert (found[1000:] == 7).all()
    # a draw of 2**-24 sits where the logarithm is steep; elsewhere the last bits may differ
    np.testing.assert_allclose(found[:1000], expected[:1000], rtol=0 if distribution == "uniform" else 2e-6, atol=1e-6)


def test_bulk_ends_in_the_middle_of_a_block(monkeypatch):
    count = rng._BULK + 3
    monkeypatch.setattr(rng, "filler", None)
    expected = rng.uniform(3, 4, count, np.dtype(np.float32))
    monkeypatch.setattr(rng, "filler", fill)
    np.testing.assert_array_equal(rng.uniform(3, 4, count, np.dtype(np.float32)), expected)
