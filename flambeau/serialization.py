"""torch.serialization, and flambeau's own functions for safetensors files."""

from eager.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    load,
    load_safetensors,
    read_metadata,
    safe_globals,
    save,
    save_safetensors,
)
from flambeau.missing import lookup

__getattr__ = lookup(__name__)
