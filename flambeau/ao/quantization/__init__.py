"""torch.ao.quantization: the marks where a model enters and leaves quantized arithmetic. Quantization itself is missing (yet)."""

from __future__ import annotations

from typing import Any

from eager.nn.module import Module
from eager.tensor import Tensor
from flambeau.missing import lookup


class QuantStub(Module):
    """Where tensors would be quantized; as long as nothing is, the identity."""

    def __init__(self, qconfig: Any = None):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class DeQuantStub(QuantStub):
    """Where tensors would be dequantized; as long as nothing is, the identity."""


__getattr__ = lookup(__name__)
