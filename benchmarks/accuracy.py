"""Two runs of the same model compared: outputs, loss and gradients, each relative to its own size."""

from __future__ import annotations

import numpy as np


def worst(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[float, str]:
    """The largest difference relative to the largest expected magnitude, and where it is. Raises ValueError if names differ."""
    if found.keys() != expected.keys():
        raise ValueError(f"only one of the runs has {sorted(found.keys() ^ expected.keys())[:5]}")
    error, place = 0.0, ""
    for name, value in expected.items():
        if not value.size:
            continue
        if found[name].shape != value.shape or not np.isfinite(found[name]).all():
            return float("inf"), name
        scale = max(float(np.abs(value).max()), 1e-6)
        here = float(np.abs(found[name].astype(np.float64) - value).max()) / scale
        if here > error:
            error, place = here, name
    return error, place
