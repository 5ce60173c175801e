"""Products and convolutions of float16 and bfloat16 are computed in float32, as in eager, and rounded once.

A parameter of an inference is widened once and kept so, and packed from that; other values are in the pass that stores them.
"""

from __future__ import annotations

from inductor.index import dense_strides, stride_order
from inductor.loops import HALF, Buffer
from inductor.lower import Lowering
from inductor.values import Lazy, Stored, converted


def widened(lowering: Lowering, value: Lazy) -> Lazy:
    """A value of half precision in single precision; any other as it is."""
    if value.dtype not in HALF:
        return value
    stored = value.stored()
    key = id(value) if stored is None else (stored.buffer, stored.shape, stored.strides, stored.offset)
    if key not in lowering.widened:
        kept = stored is not None and _is_kept(lowering, stored.buffer)
        wide = _kept(lowering, stored) if kept else converted(value, "float32")  # type: ignore[arg-type]
        lowering.widened[key] = value, wide  # the value too: its id is not to be another's
    return lowering.widened[key][1]


def _is_kept(lowering: Lowering, buffer: Buffer) -> bool:
    """Whether a buffer is a parameter without gaps."""
    dense = dense_strides(buffer.shape, stride_order(buffer.strides, buffer.shape))
    return buffer in lowering.parameters and dense == tuple(buffer.strides)


def _kept(lowering: Lowering, stored: Stored) -> Stored:
    from inductor.templates import packing
    from inductor.weights import keep

    size = stored.buffer.size
    template = packing.widen(size, stored.dtype)
    buffer = keep(lowering, stored.buffer, 0, template, size, "float32")
    return Stored(buffer, stored.shape, stored.strides, stored.offset)
