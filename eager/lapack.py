"""Calling LAPACK through NumPy: what the operators of linear algebra check of their matrices, and the exception for a matrix that
has no such decomposition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.registry import ops

_TYPES = frozenset(np.dtype(t) for t in (np.float32, np.float64, np.complex64, np.complex128))


class LinAlgError(RuntimeError):
    """A matrix that has no such decomposition, e.g. a singular one."""


def lapack(name: str, function: Callable, *arrays: np.ndarray) -> Any:
    """Call a function of numpy.linalg. Raises ValueError for types that LAPACK does not have, LinAlgError for what it refuses."""
    for array in arrays:
        if array.dtype not in _TYPES:
            raise ValueError("not a type of LAPACK")
    try:
        return function(*arrays)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {error}") from None


def each(function: Callable, array: np.ndarray, *others: np.ndarray) -> None:
    """Call `function(matrix, …)` for the matrices of a batch; the other arrays are indexed alike."""
    for place in np.ndindex(*array.shape[:-2]):
        function(array[place], *(other[place] for other in others))


def refuse(name: str, info: np.ndarray, why: str) -> None:
    """Raises LinAlgError for the first matrix whose `info` is not 0."""
    bad = np.argwhere(info)
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        where = f"(Batch element {place[0] if len(place) == 1 else place}): " if place else ""
        raise LinAlgError(f"linalg.{name}: {where}{why.format(int(info[place]))}")


def naming(kind: Any) -> Callable:
    """A front that names the results of an operator."""
    return lambda call, *args, **kwargs: kind(*call(*args, **kwargs))


def matrix(name: str, input: Any) -> tuple:
    """The shape of a batch of matrices of a floating type. Raises RuntimeError for what is none."""
    if input.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if input.dtype.category < dtypes.FLOATING:
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {input.dtype}")
    if input.dtype.numpy not in _TYPES:
        raise RuntimeError(f"linalg.{name}: Low precision dtypes not supported. Got {input.dtype}")
    return tuple(input.shape)


def square(name: str, input: Any) -> tuple:
    """`matrix` for square ones."""
    shape = matrix(name, input)
    if shape[-1] != shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {shape[-2]} by {shape[-1]} matrices"
        )
    return shape


def same_type(name: str, *tensors: Any) -> dtypes.dtype:
    """The one type of several tensors. Raises RuntimeError where they differ."""
    first = tensors[0].dtype
    for tensor in tensors[1:]:
        if tensor.dtype is not first:
            raise RuntimeError(f"{name}(): expected m1 and m2 to have the same dtype, but got: {first} != {tensor.dtype}")
    return first


def is_vector(A: Any, B: Any) -> bool:
    """Whether the right-hand side of a system is one vector, or a vector for each matrix."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))


def conjugate(x: Any) -> Any:
    return ops.conj(x) if x.is_complex() else x


def turned(x: Any) -> Any:
    """The conjugate transpose."""
    return conjugate(ops.transpose(x, -2, -1))


def like_real(gradient: Any, input: Any) -> Any:
    """The gradient of a real input through complex numbers."""
    return gradient if input.dtype.is_complex else ops.real(gradient)
