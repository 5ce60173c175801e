"""torch.utils.model_zoo: the older name of torch.hub's loader, and the progress bar that libraries take from here."""

from __future__ import annotations

import importlib
from typing import Any

from flambeau.hub import load_state_dict_from_url
from flambeau.missing import lookup

load_url = load_state_dict_from_url
_lookup = lookup(__name__)


def __getattr__(name: str) -> Any:
    if name != "tqdm":
        return _lookup(name)
    try:
        return importlib.import_module("tqdm").tqdm
    except ImportError:
        raise AttributeError("torch.utils.model_zoo.tqdm needs the package tqdm") from None
