"""Samples into a batch: tensors stacked, numbers as tensors, containers member by member."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eager.construct import as_tensor, tensor
from eager.dtype import float64
from eager.registry import ops
from eager.tensor import Tensor

default_collate_fn_map: dict = {}


def default_convert(data: Any) -> Any:
    """Arrays as tensors, inside containers too; everything else as it is."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray) and data.dtype.kind not in "SUO":
        return as_tensor(data)
    if isinstance(data, np.generic) and not isinstance(data, (np.str_, np.bytes_)):
        return as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like(data, [default_convert(value) for value in data])
    return data


def _like(model: Any, made: Any) -> Any:
    """`made` in the container type of the model, if that type lets itself be built."""
    try:
        if isinstance(model, dict):
            clone = copy.copy(model)
            clone.update(made)
            return clone
        return type(model)(made)
    except TypeError:
        return made


def collate(batch: Any, *, collate_fn_map: dict | None = None) -> Any:
    """A batch by functions for the types of its samples, then by the rules of `default_collate`."""
    first = batch[0]
    for kind, function in (collate_fn_map or {}).items():
        if isinstance(first, kind):
            return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        return _like(first, {key: collate([sample[key] for sample in batch],
                                          collate_fn_map=collate_fn_map) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(collate(list(values), collate_fn_map=collate_fn_map)
                             for values in zip(*batch)))
    if isinstance(first, Sequence) and not isinstance(first, (str, bytes)):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [collate(list(values), collate_fn_map=collate_fn_map) for values in zip(*batch)]
        return columns if isinstance(first, tuple) else _like(first, columns)
    raise TypeError("default_collate: batch must contain tensors, numpy arrays, numbers, dicts or "
                    f"lists; found {type(first)}")


def _tensors(batch: Any, **_: Any) -> Any:
    return ops.stack(list(batch), 0)


def _arrays(batch: Any, **_: Any) -> Any:
    if batch[0].dtype.kind in "SUO":
        raise TypeError("default_collate: batch must contain tensors, numpy arrays, numbers, dicts "
                        f"or lists; found {batch[0].dtype}")
    return ops.stack([as_tensor(array) for array in batch], 0)


default_collate_fn_map.update({
    Tensor: _tensors,
    np.ndarray: _arrays,
    (np.bool_, np.number): lambda batch, **_: as_tensor(np.asarray(batch)),
    float: lambda batch, **_: tensor(batch, dtype=float64),
    int: lambda batch, **_: tensor(batch),
    str: lambda batch, **_: batch,
    bytes: lambda batch, **_: batch,
})


def default_collate(batch: Any) -> Any:
    """Samples into a batch with a new first dimension; containers keep their form.

    Raises TypeError for samples it does not know, RuntimeError for lists of different lengths."""
    return collate(batch, collate_fn_map=default_collate_fn_map)
