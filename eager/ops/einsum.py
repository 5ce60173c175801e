"""Sums of products in Einstein's notation, by way of batched matrix products."""

from __future__ import annotations

from typing import Any

from eager.op import composite, ops
from eager.shape import numel


def _einsum_front(call, equation, *operands):
    if not isinstance(equation, str):
        return _einsum_lists(call, (equation, *operands))
    given = (
        operands[0] if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else operands
    )
    return call(equation, tuple(given))


def _einsum_lists(call, args):
    """The form einsum(a, [0, 1], b, [1, 2], [0, 2])."""

    def letters(places):
        return "".join(
            "..." if p is Ellipsis else (chr(ord("a") + p) if p < 26 else chr(ord("A") + p - 26))
            for p in places
        )

    tensors, terms = args[0 : len(args) - len(args) % 2 : 2], [letters(p) for p in args[1::2]]
    equation = ",".join(terms) + ("->" + letters(args[-1]) if len(args) % 2 else "")
    return call(equation, tuple(tensors))


def _parse(equation: str, operands: tuple) -> tuple[list[list[str]], list[str]]:
    """The labels of every operand and of the result; dimensions of an ellipsis are labelled "0",
    "1", … from the left."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            f"einsum(): {'more' if len(operands) > len(terms) else 'fewer'} operands were "
            "provided than specified in the equation"
        )
    widest, labels = 0, []
    for number, (term, tensor) in enumerate(zip(terms, operands)):
        named = len(term.replace("...", ""))
        hidden = tensor.ndim - named
        if hidden < 0 or (hidden and "..." not in term):
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({named}) does not match the "
                f"number of dimensions ({tensor.ndim}) for operand {number} and no ellipsis was "
                "given"
            )
        widest = max(widest, hidden)
        labels.append((term, hidden))
    parsed = []
    for term, hidden in labels:
        before, dots, after = term.partition("...")
        parsed.append(
            [*before, *(str(widest - hidden + i) for i in range(hidden)), *after]
            if dots
            else list(term)
        )
    for letter in {c for p in parsed for c in p if not c.isdigit() and not c.isalpha()}:
        raise RuntimeError(
            f"einsum(): invalid subscript given: {letter!r}, subscripts must be in [a-zA-Z]"
        )
    if arrow:
        before, dots, after = right.partition("...")
        result = [*before, *(str(i) for i in range(widest)), *after] if dots else list(right)
    else:
        flat = [c for p in parsed for c in p if c.isalpha()]
        result = [str(i) for i in range(widest)] + sorted(
            c for c in set(flat) if flat.count(c) == 1
        )
    for label in result:
        if all(label not in p for p in parsed):
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any "
                "input operand"
            )
    return parsed, result


def _diagonals(tensor: Any, labels: list[str]) -> tuple[Any, list[str]]:
    """Repeated labels of one operand mean its diagonal."""
    labels = list(labels)
    for label in sorted(set(labels)):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if tensor.shape[i] != tensor.shape[j]:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for operand but the sizes don't "
                    f"match, {tensor.shape[j]} != {tensor.shape[i]}"
                )
            tensor = ops.diagonal(tensor, 0, i, j)
            labels = [c for k, c in enumerate(labels) if k not in (i, j)] + [label]
    return tensor, labels


def _sum_out(tensor: Any, labels: list[str], wanted: set[str]) -> tuple[Any, list[str]]:
    gone = tuple(i for i, c in enumerate(labels) if c not in wanted)
    if not gone:
        return tensor, labels
    return ops.sum(tensor, gone), [c for c in labels if c in wanted]


def _pair(a: Any, la: list[str], b: Any, lb: list[str], wanted: set[str]) -> tuple[Any, list[str]]:
    """Contract two operands to the labels in `wanted`, as one batched matrix product."""
    a, la = _sum_out(a, la, wanted | set(lb))
    b, lb = _sum_out(b, lb, wanted | set(la))
    sizes: dict[str, Any] = {}
    for label, n in [*zip(la, a.shape), *zip(lb, b.shape)]:
        if label in sizes and sizes[label] != n and 1 not in (sizes[label], n):
            raise RuntimeError(
                f"einsum(): operands do not broadcast with remapped shapes: subscript {label} has "
                f"sizes {sizes[label]} and {n}"
            )
        sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    # a contracted dimension of size 1 in one operand is summed in the other before
    summed = [c for c in la if c in lb and c not in wanted]
    batch = [c for c in la if c in lb and c in wanted]
    left, right = [c for c in la if c not in lb], [c for c in lb if c not in la]

    def arranged(x, labels, order):
        x = ops.permute(x, tuple(labels.index(c) for c in order)) if labels != order else x
        shape = tuple(sizes[c] for c in order)
        return x if tuple(x.shape) == shape else ops.expand(x, shape)

    count = {
        name: numel([sizes[c] for c in group])
        for name, group in (("b", batch), ("l", left), ("r", right), ("s", summed))
    }
    if not summed:
        order_a, order_b = batch + left, batch + right
        x, y = arranged(a, la, order_a), arranged(b, lb, order_b)
        x = ops.reshape(x, (*x.shape, *(1 for _ in right)))
        y = ops.reshape(y, (*y.shape[: len(batch)], *(1 for _ in left), *y.shape[len(batch) :]))
        return x * y, batch + left + right
    x = ops.reshape(arranged(a, la, batch + left + summed), (count["b"], count["l"], count["s"]))
    y = ops.reshape(arranged(b, lb, batch + summed + right), (count["b"], count["s"], count["r"]))
    product = (
        ops.bmm(x, y) if batch else ops.mm(ops.reshape(x, x.shape[1:]), ops.reshape(y, y.shape[1:]))
    )
    return ops.reshape(product, tuple(sizes[c] for c in batch + left + right)), batch + left + right


@composite(method=False, front=_einsum_front)
def einsum(equation, operands):
    """Sums of products in Einstein's notation: `einsum("bij,bjk->bik", x, y)`."""
    parsed, result = _parse(equation, operands)
    found = [_diagonals(t, labels) for t, labels in zip(operands, parsed)]
    current, labels = found[0]
    for place in range(1, len(found)):
        rest = {c for _, other in found[place + 1 :] for c in other}
        current, labels = _pair(current, labels, *found[place], set(result) | rest)
    current, labels = _sum_out(current, labels, set(result))
    order = tuple(labels.index(c) for c in result)
    return current if order == tuple(range(len(order))) else ops.permute(current, order)
