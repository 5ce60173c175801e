"""Tensors in files: `.pt` archives (both ways with PyTorch) and safetensors, and never a way to run code.

In the order in which a file flows through them:

archive.py    the zip around a `.pt` file: records checked before they are read, aligned when written
legacy.py     the files from before PyTorch 1.6, which are read
pickler.py    objects -> the pickle inside the archive, with PyTorch's names for what tensors need
unpickler.py  the pickle -> objects: a machine of its own that knows an allow-list and nothing else
load.py       `save`, `load`, and the list of classes a program trusts (`add_safe_globals`)
weights.py    safetensors: headers that lie are refused, data is mapped and not copied
"""

from eager.serialization.load import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    load,
    safe_globals,
    save,
)
from eager.serialization.weights import load_safetensors, read_metadata, save_safetensors

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "load",
    "load_safetensors",
    "read_metadata",
    "safe_globals",
    "save",
    "save_safetensors",
]
