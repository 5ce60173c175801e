"""Attention becomes one step of a generated kernel: see `templates/attention.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fx.node import Node
from inductor.index import contiguous_strides
from inductor.loops import Buffer
from inductor.lower import Lowering, Step, Unsupported, lowers
from inductor.values import Computed, Lazy, Stored, Viewed, broadcast


def _converted(value: Lazy, dtype: str) -> Lazy:
    if value.dtype == dtype:
        return value
    return Computed(value.shape, dtype, lambda s, c: s.cast_to(value.at(s, c), dtype), "convert")


def _expanded(value: Lazy, shape: tuple[int, ...]) -> Stored | None:
    """The value as strided memory of a shape that it broadcasts to, if it is that."""
    if value.shape == shape:
        return value.stored()
    return Viewed(value, shape, broadcast(value, shape)).stored()


def _operand(
    lowering: Lowering, value: Lazy, shape: tuple[int, ...], steps: tuple[int, ...] = (1,)
) -> Stored:
    """The value as memory of this shape, neighbours in a row `steps` apart."""
    if value.stored() is None:
        value = lowering.realize(value, strides=contiguous_strides(value.shape))
    found = _expanded(value, shape)
    if found is None or (found.strides[-1] not in steps and shape[-1] > 1):
        found = _expanded(lowering.copy(value, contiguous_strides(value.shape)), shape)
    assert found is not None
    return found


def _side_by_side(node: Node) -> bool:
    """Whether the only reader puts the heads of a row side by side."""
    users = list(node.users)
    if len(users) != 1 or len(node.meta["val"].shape) != 4:
        return False
    name, arguments = getattr(users[0].target, "name", ""), users[0].args[1:]
    if name == "transpose":
        return {int(d) % 4 for d in arguments} == {1, 2}  # type: ignore[arg-type]
    return name == "permute" and tuple(arguments[0]) == (0, 2, 1, 3)  # type: ignore[arg-type]


def _step(stored: Stored) -> tuple[int, int, int]:
    """Strides of batch, head and row."""
    batch, head, row, _ = stored.strides
    return batch, head, row


@lowers("attention")
def lower_attention(lowering: Lowering, node: Node, bound: tuple) -> Lazy:
    from inductor.templates.attention import Attention, Mask, forward

    query, key, value = (lowering.tensor(b) for b in bound[:3])
    mask = None if bound[3] is None else lowering.tensor(bound[3])
    shape = tuple(map(int, node.meta["val"].shape))
    dtype = "float32" if query.dtype in ("float16", "bfloat16") else query.dtype
    if dtype not in ("float32", "float64"):
        raise Unsupported(f"attention in {dtype}")
    if len(shape) > 4:
        raise Unsupported("attention with more than two batch dimensions")
    batch, heads = (1,) * (4 - len(shape)) + shape[:-2]
    rows, columns, depth, width = shape[-2], key.shape[-2], query.shape[-1], shape[-1]
    q, k, v = (
        _operand(lowering, _converted(x, dtype), (batch, heads, *sizes))
        for x, sizes in ((query, (rows, depth)), (key, (columns, depth)), (value, (columns, width)))
    )
    extra = layout = None
    if mask is not None:
        mask = mask if mask.dtype == "bool" else _converted(mask, dtype)
        extra = _operand(lowering, mask, (batch, heads, rows, columns), (0, 1))
        layout = Mask(mask.dtype, (*_step(extra), extra.strides[-1] if columns > 1 else 0))
    if _side_by_side(node):
        memory = (batch, rows, heads, width)
        strides: Sequence[int] = (rows * heads * width, width, heads * width, 1)
    else:
        memory = (batch, heads, rows, width)
        strides = contiguous_strides(memory)
    out = Buffer(lowering.name(), dtype, memory, contiguous_strides(memory))
    problem = Attention(
        batch, heads, rows, columns, depth, width, _step(q), _step(k), _step(v), tuple(strides[:3]),  # type: ignore[arg-type]
        float(bound[5]), bool(bound[4]), layout, dtype,
    )
    inputs = [q, k, v, *([extra] if extra is not None else [])]

    def make(reference: Any) -> list[Any]:
        words = [reference(x.buffer, x.offset) for x in inputs]
        words.insert(3, reference(out))
        return [forward(problem).step(*words, name=f"attention {rows}x{columns}x{depth}")]

    name = f"attention_{rows}x{columns}x{depth}"
    lowering.emit(Step(name, [x.buffer for x in inputs], [out], make))
    result = Stored(out, shape, tuple(strides[4 - len(shape) :]))
    return _converted(result, query.dtype)
