"""torch.autograd.functional: products with the jacobian or the Hessian of a function of tensors, and the matrices themselves.

Results have the structure of their inputs: a tensor for a tensor, a tuple for a tuple. Without `create_graph` they are cut off from
history. `strict` makes an input on which the result does not depend an error instead of zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eager import autograd
from eager.mode import enable_grad
from eager.registry import ops
from eager.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(value: Any, what: str, name: str) -> tuple[bool, tuple]:
    single = not isinstance(value, tuple)
    values = (value,) if single else value
    for number, one in enumerate(values):
        if not isinstance(one, Tensor):
            raise TypeError(f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the value at index {number} "
                            f"has type {type(one)}.")
    return single, values


def _leaves(inputs: tuple, create_graph: bool) -> tuple:
    return tuple(ops.alias(x) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in inputs)


def _like(value: Any, wanted: tuple, what: str, name: str) -> tuple:
    _, given = _tuple(value, what, name)
    if len(given) != len(wanted):
        raise RuntimeError(f"{name}: {what} has {len(given)} tensors, {len(wanted)} were expected")
    for one, like in zip(given, wanted):
        if tuple(one.shape) != tuple(like.shape):
            raise RuntimeError(f"{name}: {what} has a tensor of shape {tuple(one.shape)} where {tuple(like.shape)} was expected")
    return given


def _called(func: Callable, inputs: Any, create_graph: bool, name: str) -> tuple:
    single_in, values = _tuple(inputs, "inputs", name)
    with enable_grad():
        leaves = _leaves(values, create_graph)
        result = func(*leaves)
        single_out, outputs = _tuple(result, "outputs of the user-provided function", name)
    return single_in, leaves, single_out, outputs


def _gradients(outputs: tuple, leaves: tuple, given: tuple, create_graph: bool, strict: bool, name: str) -> tuple:
    """The cotangents brought back; zeros for an input that is not on the way, or an error if `strict`."""
    kept = [i for i, out in enumerate(outputs) if out.requires_grad]
    if strict and len(kept) < len(outputs):
        number = next(i for i, out in enumerate(outputs) if not out.requires_grad)
        raise RuntimeError(f"Output {number} of the user-provided function does not require gradients. The outputs must be computed in a "
                           "differentiable manner from the input when running in strict mode.")
    found: tuple = (None,) * len(leaves)
    if kept:
        with enable_grad():
            found = autograd.grad([outputs[i] for i in kept], leaves, [given[i] for i in kept], True, create_graph, True)
    if strict and any(g is None for g in found):
        number = next(i for i, g in enumerate(found) if g is None)
        raise RuntimeError(f"{name}: the output of the user-provided function is independent of input {number}. This is not allowed in "
                           "strict mode.")
    return tuple(ops.zeros_like(x) if g is None else g for g, x in zip(found, leaves))


def _out(values: tuple, single: bool, create_graph: bool) -> Any:
    values = values if create_graph else tuple(v.detach() for v in values)
    return values[0] if single else values


def _seeds(v: Any, wanted: tuple, name: str) -> tuple:
    if v is not None:
        return _like(v, wanted, "v", name)
    if len(wanted) != 1 or wanted[0].numel() != 1:
        raise RuntimeError(f"{name}: the vector v can only be None if what it is multiplied with has a single element")
    return (ops.ones_like(wanted[0]),)


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """The value of a function, and v times its jacobian."""
    single_in, leaves, single_out, outputs = _called(func, inputs, create_graph, "vjp")
    found = _gradients(outputs, leaves, _seeds(v, outputs, "vjp"), create_graph, strict, "vjp")
    return _out(outputs, single_out, create_graph), _out(found, single_in, create_graph)


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """The value of a function, and its jacobian times v: the derivative, by the cotangent, of the cotangent brought back."""
    _, leaves, single_out, outputs = _called(func, inputs, create_graph, "jvp")
    seeds = _seeds(v, leaves, "jvp")
    with enable_grad():
        zeros = tuple(ops.zeros_like(out).requires_grad_() for out in outputs)
        back = _gradients(outputs, leaves, zeros, True, strict, "jvp")
    found = _gradients(back, zeros, seeds, create_graph, False, "jvp")
    return _out(outputs, single_out, create_graph), _out(found, single_out, create_graph)


def jacobian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False, strategy: str = "reverse-mode"
) -> Any:
    """The jacobian: for each output and each input a tensor of shape (*output, *input). `vectorize` takes all rows at once."""
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode"')
    if strict and vectorize:
        raise RuntimeError("torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together.")
    if strategy == "forward-mode" and not vectorize:
        raise NotImplementedError("torch.autograd.functional.jacobian: strategy='forward-mode' needs vectorize=True")
    single_in, leaves, single_out, outputs = _called(func, inputs, create_graph, "jacobian")
    rows = tuple(_rows(out, leaves, create_graph, strict, vectorize) for out in outputs)
    found = tuple(row[0] if single_in else row for row in rows)
    return found[0] if single_out else found


def _rows(out: Tensor, leaves: tuple, create_graph: bool, strict: bool, vectorize: bool) -> tuple:
    count = out.numel()
    units = ops.eye(count, dtype=out.dtype, device=out.device).reshape((count, *out.shape))
    if vectorize and out.requires_grad and count:
        found = autograd.grad(out, leaves, units, True, create_graph, True, is_grads_batched=True)
        columns = [ops.zeros((count, *x.shape), dtype=x.dtype) if g is None else g for g, x in zip(found, leaves)]
    elif count == 0:
        columns = [ops.zeros((0, *x.shape), dtype=x.dtype) for x in leaves]
    else:
        each = [_gradients((out,), leaves, (unit,), create_graph, strict, "jacobian") for unit in units.unbind(0)]
        columns = [ops.stack(list(column), 0) for column in zip(*each)]
    shaped = [c.reshape((*out.shape, *x.shape)) for c, x in zip(columns, leaves)]
    return tuple(c if create_graph else c.detach() for c in shaped)


def _scalar(func: Callable, name: str) -> Callable:
    def checked(*inputs: Any) -> Any:
        result = func(*inputs)
        if not isinstance(result, Tensor) or result.numel() != 1:
            raise RuntimeError(f"{name}: the function given should return a single Tensor of a single element")
        return result.reshape(())

    return checked


def hessian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The matrix of second derivatives of a function of one element: a tensor for each pair of inputs."""
    single = not isinstance(inputs, tuple)
    checked = _scalar(func, "hessian")

    def gradient(*values: Any) -> Any:
        found = jacobian(checked, values, create_graph=True, strict=strict)
        return found[0] if single else found

    return jacobian(gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)


def _second(func: Callable, inputs: Any, create_graph: bool, strict: bool, name: str) -> tuple:
    single, leaves, _, outputs = _called(_scalar(func, name), inputs, create_graph, name)
    first = _gradients(outputs, leaves, (ops.ones_like(outputs[0]),), True, strict, name)
    return single, leaves, outputs[0], first


def vhp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """The value of a function of one element, and v times its Hessian."""
    single, leaves, value, first = _second(func, inputs, create_graph, strict, "vhp")
    found = _gradients(first, leaves, _seeds(v, leaves, "vhp"), create_graph, strict, "vhp")
    return (value if create_graph else value.detach()), _out(found, single, create_graph)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """The value of a function of one element, and its Hessian times v."""
    single, leaves, value, first = _second(func, inputs, create_graph, strict, "hvp")
    seeds = _seeds(v, leaves, "hvp")
    with enable_grad():
        zeros = tuple(ops.zeros_like(g).requires_grad_() for g in first)
        back = _gradients(first, leaves, zeros, True, strict, "hvp")
    found = _gradients(back, zeros, seeds, create_graph, False, "hvp")
    return (value if create_graph else value.detach()), _out(found, single, create_graph)
