"""torch.types: names for annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Union

from eager.device import device
from eager.dtype import dtype
from eager.shape import Size
from eager.tensor import Tensor
from flambeau.missing import lookup

_dtype = dtype
_device = device
_size = Union[Size, list[int], tuple[int, ...]]  # noqa: UP007
_int, _float, _bool = int, float, bool
Number = Union[int, float, bool]  # noqa: UP007
Device = Union[device, str, int, None]  # noqa: UP007
FileLike = Union[str, "os.PathLike[str]"]  # noqa: UP007
_TensorOrTensors = Union[Tensor, Sequence[Tensor]]  # noqa: UP007
__getattr__ = lookup(__name__)
