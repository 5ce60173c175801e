"""The short way of selecting gives what NumPy gives, to the bit."""

import numpy as np
import pytest

from eager.selection import select

SOURCE = np.random.default_rng(0)
MASK = SOURCE.random((300, 200)) > 0.5


def _numbers(kind, shape=(300, 200)):
    values = SOURCE.standard_normal(shape) * 100
    return values.astype(kind)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.int64, np.float16, np.uint8])
def test_select_is_where(kind):
    x, y = _numbers(kind), _numbers(kind)
    if x.dtype.kind == "f":
        x[0, :5] = [np.nan, np.inf, -np.inf, 0.0, -0.0]
    number = kind(3)
    for a, b in [(x, y), (x, 0), (0, y), (x, number), (True, y), (x, x), (2, 3), (x, y[0]),
                 (x, np.asarray(number)), (x, 1.5), (x, np.float64(1.5))]:
        for mask in (MASK, MASK[::-1].T.reshape(300, 200), np.asfortranarray(MASK), MASK[:, :1]):
            found, expected = select(mask, a, b), np.where(mask, a, b)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            assert found.tobytes() == expected.tobytes()


def test_layouts_and_sizes():
    x = _numbers(np.float32)
    for view in (np.s_[:, ::2], np.s_[::-1], np.s_[:0], np.s_[:1, :1], np.s_[:, :, None]):
        found = select(MASK[view], x[view], 0.0)
        assert found.tobytes() == np.where(MASK[view], x[view], 0.0).tobytes()
    assert (select(MASK.T, x.T, 1.0) == np.where(MASK.T, x.T, 1.0)).all()
    large = np.tile(x, (3, 1))
    mask = np.tile(MASK, (3, 1))
    assert select(mask, large, -1.0).tobytes() == np.where(mask, large, -1.0).tobytes()
