"""How tensors print: PyTorch's format."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eager import dtype as dtypes

THRESHOLD, EDGE, PRECISION, WIDTH = [1000], [3], [4], [80]


def _formatter(values: np.ndarray) -> Any:
    """A function from a value to text, all of one width."""
    kind = values.dtype.kind
    if kind == "b":
        texts = {True: "True", False: "False"}
        width = max((len(texts[bool(v)]) for v in values), default=0)
        return lambda v: texts[bool(v)].rjust(width)
    if kind in "iu":
        width = max((len(str(int(v))) for v in values), default=0)
        return lambda v: str(int(v)).rjust(width)
    finite = [abs(float(v)) for v in values if math.isfinite(v) and v != 0]
    digits = PRECISION[0]
    if all(float(v).is_integer() for v in finite) and (not finite or max(finite) < 1e8):
        plain = lambda v: f"{v:.0f}." if math.isfinite(v) else str(v)  # noqa: E731
    elif finite and (max(finite) / min(finite) > 1000.0 or max(finite) > 1e8 or min(finite) < 1e-4):
        plain = lambda v: f"{v:.{digits}e}" if math.isfinite(v) else str(v)  # noqa: E731
    else:
        plain = lambda v: f"{v:.{digits}f}" if math.isfinite(v) else str(v)  # noqa: E731
    width = max((len(plain(float(v))) for v in values), default=0)
    return lambda v: plain(float(v)).rjust(width)


def _complex_formatter(values: np.ndarray) -> Any:
    real, imag = _formatter(values.real), _formatter(np.abs(values.imag))
    return lambda v: (
        f"{real(v.real)}{'-' if np.signbit(v.imag) else '+'}{imag(abs(v.imag)).strip()}j"
    )


def _shown(array: np.ndarray) -> np.ndarray:
    """The values that will be printed, for the common width."""
    if array.size <= THRESHOLD[0]:
        return array.reshape(-1)
    for axis, n in enumerate(array.shape):
        if n > 2 * EDGE[0]:
            array = np.take(array, [*range(EDGE[0]), *range(n - EDGE[0], n)], axis)
    return array.reshape(-1)


def _body(array: np.ndarray, text: Any, indent: int, brief: bool) -> str:
    if array.ndim == 0:
        return text(array[()])
    if array.ndim == 1:
        items = (
            [text(v) for v in array]
            if not brief or array.size <= 2 * EDGE[0]
            else (
                [text(v) for v in array[: EDGE[0]]] + ["..."] + [text(v) for v in array[-EDGE[0] :]]
            )
        )
        width = max((len(i) for i in items), default=1) + 2
        per_line = max(1, (WIDTH[0] - indent) // width)
        lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows: list[str] = []
    picked = range(len(array))
    if brief and len(array) > 2 * EDGE[0]:
        rows = [_body(array[i], text, indent + 1, brief) for i in range(EDGE[0])] + ["..."]
        picked = range(len(array) - EDGE[0], len(array))
    rows += [_body(array[i], text, indent + 1, brief) for i in picked]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


def format_tensor(tensor: Any) -> str:
    """`tensor([[1., 2.]], requires_grad=True)`"""
    prefix = "Parameter containing:\n" if type(tensor).__name__ == "Parameter" else ""
    array, found = tensor._array, tensor.dtype
    plain = array.astype(np.float32) if found is dtypes.bfloat16 else array
    if array.size:
        shown = _shown(plain)
        text = _complex_formatter(shown) if found.is_complex else _formatter(shown)
        if array.ndim == 0:
            body = text(plain[()]).strip()
            if (
                found.is_floating_point
                and float(plain).is_integer() is False
                and math.isfinite(plain)
            ):
                body = text(plain[()]).strip()
        else:
            body = _body(plain, text, 7, array.size > THRESHOLD[0])
    else:
        body = "[]"
    notes = []
    if array.size == 0 and array.ndim != 1:
        notes.append(f"size={tuple(array.shape)}")
    default = dtypes.get_default_dtype()
    if found not in (default, default.to_complex(), dtypes.int64, dtypes.bool_):
        notes.append(f"dtype={found}")
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    return prefix + f"tensor({', '.join([body, *notes])})"


def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How many digits and elements tensors print (`torch.set_printoptions`)."""
    for slot, value in (
        (PRECISION, precision),
        (THRESHOLD, threshold),
        (EDGE, edgeitems),
        (WIDTH, linewidth),
    ):
        if value is not None:
            slot[0] = int(value)
