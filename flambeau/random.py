"""torch.random: the default generator, and generators of one's own."""

from __future__ import annotations

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

__getattr__ = lookup(__name__)
