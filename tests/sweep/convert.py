"""torch's values as flambeau's. A tensor keeps its memory layout (strides, offset, expanded dimensions) over a copy of its memory; a
function that torch's database wrote over `torch` runs over flambeau instead.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import ml_dtypes
import numpy as np
import torch

import flambeau
from eager.tensor import Tensor


class Unconvertible(Exception):
    """A value that has no counterpart: a sparse tensor, a dtype that flambeau lacks."""


class Missing(Exception):
    """flambeau has nothing of this name."""


def dtype(value: torch.dtype) -> Any:
    found = getattr(flambeau, str(value).removeprefix("torch."), None)
    if found is None:
        raise Unconvertible(f"dtype {value}")
    return found


def array(value: torch.Tensor) -> np.ndarray:
    """The memory behind a tensor's detached values as an array of the same strides, without copying."""
    dtype(value.dtype)
    value = value.detach().resolve_conj().resolve_neg()
    if value._is_zerotensor():
        value = value.clone()
    if value.dtype is torch.bfloat16:
        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def tensor(value: torch.Tensor, requires_grad: bool | None = None) -> Tensor:
    """A flambeau tensor over a copy of the memory, with the same strides."""
    if value.layout is not torch.strided or value.is_quantized or type(value) not in (torch.Tensor, torch.nn.Parameter):
        raise Unconvertible(f"{value.layout} {type(value).__name__}")
    if value.device.type != "cpu":
        raise Unconvertible(f"a tensor on {value.device.type}")
    if value.ndim > 64:
        raise Unconvertible("NumPy's arrays have 64 dimensions at most")
    dtype(value.dtype)
    source = array(value)
    memory = array(torch.empty(0, dtype=value.dtype).set_(value.detach().resolve_conj().resolve_neg().untyped_storage())).copy()
    start = value.storage_offset() if source.size else 0
    copied = np.lib.stride_tricks.as_strided(memory[start:], source.shape, source.strides)
    result = Tensor._wrap(copied)
    if value.requires_grad if requires_grad is None else requires_grad:
        result.requires_grad_()
    return result


def value(given: Any) -> Any:
    """A sample's argument for flambeau. Raises Unconvertible."""
    if isinstance(given, torch.Tensor):
        return tensor(given)
    if isinstance(given, torch.dtype):
        return dtype(given)
    if isinstance(given, torch.device):
        return flambeau.device(str(given))
    if isinstance(given, torch.layout | torch.memory_format):
        found = getattr(flambeau, str(given).removeprefix("torch."), None)
        if found is None:
            raise Unconvertible(str(given))
        return found
    if isinstance(given, dict):
        return {k: value(v) for k, v in given.items()}
    if isinstance(given, tuple) and hasattr(given, "_fields"):
        return type(given)(*map(value, given))
    if isinstance(given, tuple | list):
        return (tuple if isinstance(given, tuple) else list)(map(value, given))
    if isinstance(given, slice):
        return slice(value(given.start), value(given.stop), value(given.step))
    if isinstance(given, types.FunctionType) and given.__module__.startswith("torch"):
        return over_flambeau(given)
    if type(given).__module__.startswith("torch"):
        raise Unconvertible(type(given).__name__)
    return given


def over_flambeau(function: Any) -> Any:
    """The same Python code with `torch` meaning flambeau."""
    if isinstance(function, functools.partial):
        return functools.partial(over_flambeau(function.func), *function.args, **function.keywords)
    return with_names(function, {"torch": flambeau, "F": flambeau.nn.functional, **_UNSEEDED})


def of_torch(op: Any) -> Any:
    """torch's callable for an entry. The database's own lambdas fix the seed of what is random: here they do not."""
    return with_names(op.op, _UNSEEDED) if is_of_database(op.op) else op.op


def is_of_database(function: Any) -> bool:
    return (getattr(function, "__module__", None) or "").startswith("torch.testing._internal") and hasattr(function, "__code__")


def is_seeded(op: Any) -> bool:
    """Whether the database itself says, by fixing the seed, that an entry is random."""
    return is_of_database(op.op) and "wrapper_set_seed" in op.op.__code__.co_names


_UNSEEDED = {"wrapper_set_seed": lambda op, *args, **kwargs: op(*args, **kwargs)}


def with_names(function: Any, changed: dict[str, Any]) -> Any:
    """The same Python code with other globals."""
    names = {**function.__globals__, **changed}
    result = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    result.__kwdefaults__ = function.__kwdefaults__
    return result


def follow(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part, None)
        if root is None:
            return None
    return root


def function(op: Any) -> Any:
    """flambeau's callable for an entry: the entry's own lambda over flambeau, or what has its name. Raises Missing."""
    if is_of_database(op.op):
        return over_flambeau(op.op)
    path = op.name.removeprefix("torch.").removesuffix(".default")
    of_tensors = follow(torch, path) is not op.op and follow(torch.Tensor, path) is op.op
    found = follow(Tensor if of_tensors else flambeau, path)
    if found is None and hasattr(torch, own := getattr(op.op, "__name__", "")):  # an entry with a name of its own
        found = getattr(flambeau, own, None)
    if found is None:
        raise Missing(f"torch.{path}")
    return found


def form(op: Any, theirs: Any) -> Any:
    """flambeau's callable for another form of an entry: a method, an operator, a lambda of the database. Raises Missing."""
    if is_of_database(theirs):
        return over_flambeau(theirs)
    if isinstance(theirs, functools.partial):
        return functools.partial(function(op), *theirs.args, **theirs.keywords)
    if getattr(theirs, "__module__", None) in ("operator", "_operator"):
        return theirs
    found = getattr(Tensor, theirs.__name__, None)
    if found is None:
        raise Missing(f"Tensor.{theirs.__name__}")
    return found
