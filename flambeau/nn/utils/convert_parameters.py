"""torch.nn.utils.convert_parameters: parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters flattened, one after the other."""
    return ops.cat([ops.reshape(parameter, (-1,)) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the values of a vector. Raises TypeError for something else."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = ops.reshape(vec[start : start + count], tuple(parameter.shape)).data
        start += count


__getattr__ = lookup(__name__)
