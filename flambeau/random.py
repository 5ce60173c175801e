"""torch.random: the default generator, and generators of one's own."""

from __future__ import annotations

from typing import Any

from eager import rng
from eager.rng import (
    Generator,
    default_generator,
    fork_rng,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from flambeau.missing import lookup


def _fill(distribution: str, key: int, offset: int, out: Any) -> int:
    """Many numbers come from the inductor's compiled generator, loaded when they are first asked for."""
    from inductor.draw import fill

    return fill(distribution, key, offset, out)


rng.filler = _fill


__getattr__ = lookup(__name__)
