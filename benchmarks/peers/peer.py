"""What a peer is: something that prepares a call of a model, or says why it cannot."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.case import Case

NAMES = ("onnxruntime", "openvino", "jax")


class Unsupported(Exception):
    """This peer cannot run this model; the text says why."""


class Prepared(NamedTuple):
    """A model on a peer: `call()` runs it once, `outputs(result)` are its results as arrays, by name."""

    call: Callable[[], Any]
    outputs: Callable[[Any], dict[str, np.ndarray]]
    version: str
    seconds: float


class Peer(Protocol):
    """A library that runs models of torch."""

    name: str

    def prepare(self, case: Case, threads: int, folder: Path) -> Prepared:
        """Make a case of torch ready to run, writing into `folder`. Raises Unsupported."""
        ...


def load(name: str) -> Peer:
    """A peer by name. Raises ImportError where it is not installed."""
    importlib.import_module(name)
    return importlib.import_module(f"benchmarks.peers.{name}").PEER


def reason(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__
