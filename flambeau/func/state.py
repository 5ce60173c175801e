"""Models as functions of their state: the parameters of several models as one batch, batch norms without running statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eager.nn.module import Module
from eager.nn.normalization import _BatchNorm
from eager.registry import ops


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of models of one class, stacked, for `vmap` over `functional_call`.

    Raises RuntimeError for no models, models in different modes or of different classes."""
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(members: str) -> dict[str, Any]:
        rows = [dict(getattr(m, members)()) for m in models]
        found = {}
        for name, first in rows[0].items():
            value = ops.stack([row[name].detach() for row in rows], 0)
            found[name] = value.requires_grad_(first.requires_grad) if first.requires_grad else value
        return found

    return stacked("named_parameters"), stacked("named_buffers")


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Batch norms stop keeping running statistics, which `vmap` could not update; returns the module."""
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root
