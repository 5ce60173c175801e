"""`vmap`: a function written for one sample, called with all of them at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from eager import dispatch
from eager.batching.interpreter import RANDOMNESS, Batching
from eager.batching.tensor import Batched, holds
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.utils._pytree import tree_flatten, tree_unflatten


def levels() -> list[Batching]:
    """The calls of `vmap` that are running, the outermost first."""
    return [interpreter for interpreter in dispatch.stack() if isinstance(interpreter, Batching)]


def _is_dims(value: Any) -> bool:
    return value is None or isinstance(value, int)


def _broadcast(dims: Any, tree: Any, name: str) -> list:
    """One dimension, or None, for each leaf of a tree: `dims` is a prefix of it."""
    if _is_dims(dims):
        return [dims] * len(tree_flatten(tree)[0])
    if isinstance(tree, dict) and isinstance(dims, dict) and set(tree) == set(dims):
        return [d for key in tree for d in _broadcast(dims[key], tree[key], name)]
    if isinstance(tree, (tuple, list)) and isinstance(dims, (tuple, list)) and len(tree) == len(dims):
        return [d for part, dim in zip(tree, dims) for d in _broadcast(dim, part, name)]
    raise ValueError(f"vmap: {name} is not compatible with the structure of the values: got {dims} for {type(tree).__name__}")


def _size_of(leaves: list, dims: list) -> int:
    sizes = []
    for leaf, dim in zip(leaves, dims):
        if dim is None:
            continue
        if not isinstance(leaf, Tensor):
            raise ValueError(f"vmap: got in_dim={dim} for an input, but it is {type(leaf).__name__}, not a Tensor; use None as its in_dim")
        if not -leaf.ndim <= dim < leaf.ndim:
            raise ValueError(f"vmap: got in_dim={dim} for an input of dimension {leaf.ndim}, so expected -{leaf.ndim} <= in_dim < {leaf.ndim}")
        sizes.append(leaf.shape[dim])
    if not sizes:
        raise ValueError("vmap: at least one input has to be mapped over, but in_dims are all None")
    if any(size != sizes[0] for size in sizes):
        raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the mapped dimension")
    return sizes[0]


def vmap(func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None) -> Callable:
    """`func` over dimension `in_dims` of its inputs at once; results have the samples in dimension `out_dims`.

    Random operators raise unless `randomness` says that samples draw "different" numbers or the "same". With `chunk_size`, so many
    samples at a time. Raises ValueError for dimensions that do not fit the inputs."""
    if randomness not in RANDOMNESS:
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten(args)
        named, named_spec = tree_flatten(kwargs)
        if isinstance(in_dims, (tuple, list)) and len(in_dims) != len(args):
            raise ValueError(f"vmap: in_dims has {len(in_dims)} entries for {len(args)} inputs")
        dims = _broadcast(in_dims if _is_dims(in_dims) else list(in_dims), list(args), "in_dims")
        dims += [0 if isinstance(leaf, Tensor) else None for leaf in named]
        leaves = leaves + named
        dims = [dim if isinstance(leaf, Tensor) or dim != 0 or not _is_dims(in_dims) else None for leaf, dim in zip(leaves, dims)]
        size = _size_of(leaves, dims)

        def call(chosen: list, count: int) -> tuple:
            given = tree_unflatten(chosen[: len(chosen) - len(named)], spec)
            more = tree_unflatten(chosen[len(chosen) - len(named) :], named_spec)
            return _run(func, given, more, count, randomness, out_dims, chosen_dims)

        fronts = [ops.movedim(leaf, dim, 0) if dim is not None else leaf for leaf, dim in zip(leaves, dims)]
        chosen_dims = dims
        if chunk_size is None or chunk_size >= size:
            return _together([call(fronts, size)], out_dims)
        parts = []
        for start in range(0, size, chunk_size):
            count = min(chunk_size, size - start)
            part = [f if d is None else ops.narrow(f, 0, start, count) for f, d in zip(fronts, dims)]
            parts.append(call(part, count))
        return _together(parts, out_dims)

    return mapped


def _run(func: Callable, args: Any, kwargs: Any, size: int, randomness: str, out_dims: Any, dims: list) -> tuple:
    """The leaves of the result with the samples in front, and its structure."""
    level = Batching(size, len(levels()) + 1, randomness)
    leaves, spec = tree_flatten((args, kwargs))
    hidden = [Batched(leaf, level) if dim is not None else leaf for leaf, dim in zip(leaves, dims)]
    args, kwargs = tree_unflatten(hidden, spec)
    with dispatch.push(level):
        result = func(*args, **kwargs)
    found, out_spec = tree_flatten(result)
    wanted = _broadcast(out_dims, result, "out_dims")
    values = []
    for leaf, dim in zip(found, wanted):
        if not isinstance(leaf, Tensor):
            raise ValueError(f"vmap({getattr(func, '__name__', func)}): must only return Tensors, got type {type(leaf).__name__}")
        if dim is None and holds(leaf, level):
            raise ValueError("vmap: can not return a BatchedTensor when out_dim is None")
        values.append(leaf if dim is None else level.front(leaf))
    return values, wanted, out_spec


def _together(parts: list[tuple], out_dims: Any) -> Any:
    values, wanted, spec = parts[0]
    if len(parts) > 1:
        columns = zip(*[part[0] for part in parts])
        values = [column[0] if dim is None else ops.cat(list(column), 0) for column, dim in zip(columns, wanted)]
    values = [value if dim in (0, None) else ops.movedim(value, 0, dim) for value, dim in zip(values, wanted)]
    return tree_unflatten(values, spec)
