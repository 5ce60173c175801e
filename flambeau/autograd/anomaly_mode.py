"""Anomaly mode: an error of the backward names the forward call that recorded it, and a NaN among gradients is an error."""

from __future__ import annotations

import warnings
from typing import Any

from eager.node import anomaly


def is_anomaly_enabled() -> bool:
    return anomaly[0]


def is_anomaly_check_nan_enabled() -> bool:
    return anomaly[1]


class set_detect_anomaly:
    """Switch anomaly mode on or off at once; as a context manager, until its end."""

    def __init__(self, mode: bool, check_nan: bool = True):
        self.before = list(anomaly)
        anomaly[:] = [bool(mode), bool(check_nan)]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: Any) -> None:
        anomaly[:] = self.before


class detect_anomaly:
    """Anomaly mode inside a `with` block."""

    def __init__(self, check_nan: bool = True):
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.", stacklevel=2
        )

    def __enter__(self) -> None:
        self.before = list(anomaly)
        anomaly[:] = [True, bool(self.check_nan)]

    def __exit__(self, *error: Any) -> None:
        anomaly[:] = self.before
