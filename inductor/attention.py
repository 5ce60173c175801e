"""Attention and its gradients become one step each of generated kernels: see
`templates/attention.py` and `templates/backward.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fx.node import Node
from inductor.index import contiguous_strides
from inductor.loops import Buffer
from inductor.lower import Lowering, Step, Unsupported, lowers
from inductor.values import Lazy, Stored, Viewed, broadcast, converted

if TYPE_CHECKING:
    from inductor.templates.attention import Attention, Mask


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


def _part(node: Node, number: int) -> Node | None:
    """What takes one of several results, if anything does."""
    found = [user for user in node.users if user.args[1:] == (number,)]
    return found[0] if found else None


def _side_by_side(node: Node | None) -> bool:
    """Whether the only reader puts the heads of a row side by side."""
    users = list(node.users) if node is not None else []
    if node is None or len(users) != 1 or len(node.meta["val"].shape) != 4:
        return False
    name, arguments = getattr(users[0].target, "name", ""), users[0].args[1:]
    if name == "transpose":
        return {int(d) % 4 for d in arguments} == {1, 2}  # type: ignore[arg-type]
    return name == "permute" and tuple(arguments[0]) == (0, 2, 1, 3)  # type: ignore[arg-type]


def _step(stored: Stored) -> tuple[int, int, int]:
    """Strides of batch, head and row."""
    batch, head, row, _ = stored.strides
    return batch, head, row


def _made(
    lowering: Lowering, node: Node | None, sizes: tuple[int, int, int, int], dtype: str
) -> Stored:
    """Memory for a result of (batch, heads, rows, columns), in the order that its reader likes."""
    batch, heads, rows, width = sizes
    if _side_by_side(node):
        memory = (batch, rows, heads, width)
        strides: tuple[int, ...] = (rows * heads * width, width, heads * width, 1)
    else:
        memory, strides = sizes, tuple(contiguous_strides(sizes))
    return Stored(Buffer(lowering.name(), dtype, memory, contiguous_strides(memory)), sizes, strides)


@dataclass(frozen=True)
class _Operands:
    """Queries, keys and values in memory, with two batch dimensions, and the mask."""

    query: Stored
    key: Stored
    value: Stored
    mask: Stored | None
    layout: Mask | None
    sizes: tuple[int, int, int, int, int, int]  # batch, heads, rows, columns, depth, width
    dtype: str
    plain: bool

    @property
    def inputs(self) -> list[Stored]:
        return [self.query, self.key, self.value]

    @property
    def masks(self) -> list[Stored]:
        return [] if self.mask is None else [self.mask]

    def problem(self, out: Stored, causal: Any, scale: Any, sums: bool = False) -> Attention:
        """The kernel's sizes and strides."""
        from inductor.templates.attention import Attention

        return Attention(
            *self.sizes, _step(self.query), _step(self.key), _step(self.value), _step(out),
            float(scale), bool(causal), self.layout, self.dtype, sums, self.plain,
        )


def _operands(lowering: Lowering, bound: tuple, batches: tuple[int, ...]) -> _Operands:
    """(query, key, value, mask, causal, scale, fill) as memory, with the batch dimensions of the result."""
    from inductor.templates.attention import Mask

    query, key, value = (lowering.tensor(b) for b in bound[:3])
    mask = None if bound[3] is None else lowering.tensor(bound[3])
    dtype = "float32" if query.dtype in ("float16", "bfloat16") else query.dtype
    if dtype not in ("float32", "float64"):
        raise Unsupported(f"attention in {dtype}")
    if len(batches) > 2:
        raise Unsupported("attention with more than two batch dimensions")
    batch, heads = (1,) * (2 - len(batches)) + batches
    rows, columns, depth, width = query.shape[-2], key.shape[-2], query.shape[-1], value.shape[-1]
    q, k, v = (
        _operand(lowering, converted(x, dtype), (batch, heads, *sizes))
        for x, sizes in ((query, (rows, depth)), (key, (columns, depth)), (value, (columns, width)))
    )
    extra = layout = None
    if mask is not None:
        mask = mask if mask.dtype == "bool" else converted(mask, dtype)
        extra = _operand(lowering, mask, (batch, heads, rows, columns), (0, 1))
        fill = -math.inf if bound[6] is None else float(bound[6])
        strides = (*_step(extra), extra.strides[-1] if columns > 1 else 0)
        layout = Mask(mask.dtype, strides, fill)
    plain = mask is None or bound[6] is not None
    sizes = (batch, heads, rows, columns, depth, width)
    return _Operands(q, k, v, extra, layout, sizes, dtype, plain)


def _emit(
    lowering: Lowering, name: str, given: list[Stored], results: list[Stored], template: Any,
    order: Any,
) -> None:
    """A step of a template; `order(inputs, outputs)` gives its words from references."""

    def make(reference: Any) -> list[Any]:
        inputs = [reference(x.buffer, x.offset) for x in given]
        outputs = [reference(x.buffer) for x in results]
        return [template().step(*order(inputs, outputs), name=name)]

    step_name = name.replace(" ", "_")
    lowering.emit(Step(step_name, [x.buffer for x in given], [x.buffer for x in results], make))


@lowers("attention")
def lower_attention(lowering: Lowering, node: Node, bound: tuple) -> list[Lazy]:
    from inductor.templates.attention import forward

    whole = node.meta["val"][0]
    shape = tuple(map(int, whole.shape))
    found = _operands(lowering, bound, shape[:-2])
    batch, heads, rows, columns, depth, width = found.sizes
    out = _made(lowering, _part(node, 0), (batch, heads, rows, width), found.dtype)
    wanted = _part(node, 1) is not None
    problem = found.problem(out, bound[4], bound[5], wanted)
    sums = _made(lowering, None, (batch, heads, rows, 2), found.dtype)
    _emit(
        lowering, f"attention {rows}x{columns}x{depth}", [*found.inputs, *found.masks],
        [out, sums] if wanted else [out], lambda: forward(problem),
        lambda i, o: [*i[:3], o[0], *i[3:], *o[1:]],
    )
    result = Stored(out.buffer, shape, out.strides[4 - len(shape) :])
    pairs = (*shape[:-1], 2)
    totals = Stored(sums.buffer, pairs, contiguous_strides(pairs))
    return [converted(result, whole.dtype.name), totals]


@lowers("attention_gradient")
def lower_attention_gradient(lowering: Lowering, node: Node, bound: tuple) -> list[Lazy]:
    from inductor.templates.backward import Gradient, backward

    gradient, out, sums, *others = bound
    batches = tuple(map(int, out.meta["val"].shape[:-2]))
    found = _operands(lowering, tuple(others), batches)
    batch, heads, rows, columns, depth, width = found.sizes
    given, result = (
        _operand(lowering, converted(lowering.tensor(x), found.dtype), (batch, heads, rows, width))
        for x in (gradient, out)
    )
    totals = lowering.contiguous(converted(lowering.tensor(sums), found.dtype))
    lengths = ((rows, depth), (columns, depth), (columns, width))
    made = [
        _made(lowering, _part(node, n), (batch, heads, *sizes), found.dtype)
        for n, sizes in enumerate(lengths)
    ]
    problem = Gradient(
        found.problem(result, others[4], others[5]), _step(given), *(_step(one) for one in made)
    )
    _emit(
        lowering, f"attention gradient {rows}x{columns}x{depth}",
        [*found.inputs, result, given, totals, *found.masks], made, lambda: backward(problem),
        lambda i, o: [*i[:6], *o, *i[6:]],
    )
    return [
        converted(
            Stored(one.buffer, (*batches, *sizes), one.strides[2 - len(batches) :]), value.dtype.name
        )
        for one, sizes, value in zip(made, lengths, node.meta["val"], strict=True)
    ]
