"""Numerical checks of derivatives: `gradcheck` and `gradgradcheck`, as in torch.autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from eager import autograd
from eager import dtype as dtypes
from eager.tensor import Tensor


class GradcheckError(RuntimeError):
    """The derivative of a function differs from its finite differences."""


def _tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _differentiable(outputs: Any) -> list[Tensor]:
    return [o for o in _tuple(outputs) if isinstance(o, Tensor) and o.requires_grad]


def _units(array: np.ndarray) -> Iterator[tuple[tuple, complex | float]]:
    """The places of an array with the directions in which it may be moved: 1, and 1j for complex
    numbers."""
    for place in np.ndindex(array.shape):
        yield place, 1.0
        if array.dtype.kind == "c":
            yield place, 1j


def _numeric(function: Callable, inputs: Sequence[Any], target: Tensor, eps: float) -> np.ndarray:
    """Row k: how the outputs (real and imaginary parts, flat) move with direction k of target."""
    array, rows = target._array, []
    for place, unit in _units(array):
        kept = array[place]
        moved = []
        for step in (eps, -eps):
            array[place] = kept + step * unit
            with autograd.enable_grad():  # the same outputs as in the analytic pass
                outputs = [o for o in _differentiable(function(*inputs)) if o.numel()]
            moved.append(
                np.concatenate([_flat(o._array.copy()) for o in outputs])
                if outputs
                else np.zeros(0)
            )
        array[place] = kept
        rows.append((moved[0] - moved[1]) / (2 * eps))
    return np.array(rows).reshape(len(rows), -1)


def _flat(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "c":
        return array.reshape(-1)
    return np.ascontiguousarray(array).view(array.real.dtype).reshape(-1)


def _analytic(outputs: list[Tensor], targets: list[Tensor]) -> list[np.ndarray]:
    """For each target the matrix that `_numeric` gives, from the derivatives."""
    columns: list[list[np.ndarray]] = [[] for _ in targets]
    for output in outputs:
        for place, unit in _units(output._array):
            seed = np.zeros_like(output._array)
            seed[place] = unit
            grads = autograd.grad(
                output, targets, Tensor._wrap(seed), retain_graph=True, allow_unused=True
            )
            for column, grad, target in zip(columns, grads, targets, strict=True):
                column.append(
                    _flat(np.zeros_like(target._array) if grad is None else grad.detach()._array)
                )
    return [np.array(c).reshape(len(c), -1).T for c in columns]


def gradcheck(
    func: Callable,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_batched_grad: bool = False,
    fast_mode: bool = False,
) -> bool:
    """Compare derivatives of `func` with central differences, for every input that requires grad
    (use float64).

    Returns True, or raises GradcheckError (returns False with `raise_exception=False`) where they
    differ; ValueError if no input requires grad.
    """
    given = _tuple(inputs)
    targets = [t for t in given if isinstance(t, Tensor) and t.requires_grad]
    if not targets:
        raise ValueError("gradcheck expects at least one input tensor to require gradient")
    for target in targets:
        if target.dtype not in (dtypes.float64, dtypes.complex128):
            raise ValueError(
                f"gradcheck needs inputs of type float64 or complex128, got {target.dtype}"
            )
    outputs = [o for o in _differentiable(func(*given)) if o.numel()]
    targets = [t for t in targets if t.numel()]
    if not outputs or not targets:
        return True
    analytic = _analytic(outputs, targets)
    for place, (target, found) in enumerate(zip(targets, analytic, strict=True)):
        expected = _numeric(func, given, target, eps)
        if found.shape == expected.shape and np.allclose(
            found, expected, rtol=rtol, atol=atol, equal_nan=True
        ):
            continue
        if not raise_exception:
            return False
        raise GradcheckError(
            f"Jacobian mismatch for input {place} of shape {tuple(target.shape)} (rows: input "
            "elements, columns: output elements)\n"
            f"numerical:\n{expected}\nanalytical:\n{found}"
        )
    return True


def gradgradcheck(
    func: Callable,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    fast_mode: bool = False,
) -> bool:
    """`gradcheck` of the derivative of `func`, with respect to the inputs and to the gradients of
    the outputs."""
    given = _tuple(inputs)
    outputs = _differentiable(func(*given))
    if grad_outputs is None:
        source = np.random.default_rng(0)
        seeds = [_random_like(o, source) for o in outputs]
    else:
        seeds = [g.detach().requires_grad_() for g in _tuple(grad_outputs)]

    def derivative(*values: Any) -> tuple:
        front, back = values[: len(given)], values[len(given) :]
        found = _differentiable(func(*front))
        targets = [t for t in front if isinstance(t, Tensor) and t.requires_grad]
        grads = autograd.grad(
            tuple(found), targets, tuple(back), create_graph=True, allow_unused=True
        )
        return tuple(g for g in grads if g is not None)

    return gradcheck(
        derivative, (*given, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )


def _random_like(tensor: Tensor, source: np.random.Generator) -> Tensor:
    values = source.standard_normal(tuple(tensor.shape))
    if tensor.is_complex():
        values = values + 1j * source.standard_normal(tuple(tensor.shape))
    return Tensor._wrap(np.array(values, dtype=tensor._array.dtype)).requires_grad_()
