"""The failures that are known, by label and check, each with its reason. A listed check that fails nowhere is itself a failure."""

from __future__ import annotations

EXPECTED: dict[str, dict[str, str]] = {}
