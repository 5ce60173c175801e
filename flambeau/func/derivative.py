"""Derivatives of functions: `grad`, `vjp`, `jvp`, jacobians and Hessians, which nest in each other and in `vmap`.

A call differentiates by fresh leaves that stand for its inputs: where `vmap` hides dimensions, the leaves have them, so that samples
that share a parameter have a gradient each. A gradient keeps its history only where something outside may ask for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from eager import autograd, dispatch
from eager.autograd import AccumulateGrad
from eager.batching.tensor import lift, lower
from eager.mode import enable_grad, is_grad_enabled
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.func.vectorize import levels, vmap
from flambeau.utils._pytree import tree_flatten, tree_map, tree_unflatten


class Leaves:
    """Fresh leaves for the tensors of a tree, and the results that depend on them."""

    def __init__(self, tree: Any, name: str):
        self.name, self.levels, self.recording = name, levels(), is_grad_enabled()
        leaves, self.spec = tree_flatten(tree)
        for leaf in leaves:
            if not isinstance(leaf, Tensor):
                raise ValueError(f"{name}: Expected all inputs that are differentiated to be Tensors, got {type(leaf).__name__}")
            if not (leaf.dtype.is_floating_point or leaf.dtype.is_complex):
                raise RuntimeError(f"{name}: only Tensors of floating point dtype can require gradients, got {leaf.dtype}")
        self.plain = [self._leaf(leaf) for leaf in leaves]
        self.own = {id(leaf) for leaf in self.plain}
        self.tree = tree_unflatten([lift(leaf, self.levels) for leaf in self.plain], self.spec)

    def _leaf(self, tensor: Tensor) -> Tensor:
        below = lower(tensor, self.levels)
        with dispatch.suspended(), enable_grad():
            if below.requires_grad and self.recording:
                return ops.alias(below)
            return below.detach().requires_grad_()

    def pull(self, outputs: list[Tensor], cotangents: list[Tensor]) -> list[Tensor]:
        """The cotangents of outputs brought back to the leaves; `vmap` may hide more dimensions of them than of the leaves."""
        roots = [lower(output, self.levels) for output in outputs]
        now = levels()
        newer = now[len(self.levels) :]
        kept = [i for i, root in enumerate(roots) if root.requires_grad]
        if not kept:
            return [lift(ops.zeros_like(leaf), self.levels) for leaf in self.plain]
        given = [self._exposed(cotangents[i], now, newer) for i in kept]
        found = autograd.grad(
            [roots[i] for i in kept], self.plain, given, retain_graph=True, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return [self._hidden(self.released(grad), newer) for grad in found if grad is not None]

    def _exposed(self, tensor: Tensor, now: list, newer: list) -> Tensor:
        below = lower(tensor, now)
        with dispatch.suspended():
            old, more = len(self.levels), len(newer)
            order = (*range(old, old + more), *range(old), *range(old + more, below.ndim))
            return lift(ops.permute(below, order) if more and old else below, newer)

    def _hidden(self, grad: Tensor, newer: list) -> Tensor:
        below = lower(grad, newer)
        with dispatch.suspended():
            old, more = len(self.levels), len(newer)
            order = (*range(more, more + old), *range(more), *range(old + more, below.ndim))
            return lift(ops.permute(below, order) if more and old else below, [*self.levels, *newer])

    def released(self, tensor: Tensor) -> Tensor:
        """Without history, if nothing but these leaves is behind it."""
        if not tensor.requires_grad:
            return tensor
        return tensor if self.recording and self._leads_outside(tensor) else tensor.detach()

    def _leads_outside(self, tensor: Tensor) -> bool:
        while hasattr(tensor, "value"):
            tensor = tensor.value
        edge = autograd.edge_of(tensor)
        stack, seen = [edge[0]] if edge else [], set()
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, AccumulateGrad) and id(node.variable) not in self.own:
                return True
            stack += [e[0] for e in node.edges if e is not None]
        return False

    def cut(self, tree: Any) -> Any:
        """Results for the caller: `released`."""

        def one(leaf: Any) -> Any:
            return lift(self.released(lower(leaf, self.levels)), self.levels) if isinstance(leaf, Tensor) else leaf

        return tree_map(one, tree)


def _chosen(args: tuple, argnums: Any, name: str) -> Any:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise RuntimeError(f"{name}: Got argnum={number}, but only {len(args)} positional inputs")
    return args[argnums] if isinstance(argnums, int) else tuple(args[n] for n in numbers)


def _with(args: tuple, argnums: Any, values: Any) -> tuple:
    found = list(args)
    for number, value in [(argnums, values)] if isinstance(argnums, int) else zip(argnums, values):
        found[number] = value
    return tuple(found)


def _split(result: Any, has_aux: bool, name: str) -> tuple:
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{name}: with has_aux=True the function must return (output, aux)")
    return result


def grad_and_value(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """A function that gives (gradient, value) of `func`, whose result is a tensor of one element."""

    @functools.wraps(func)
    def derived(*args: Any, **kwargs: Any) -> Any:
        leaves = Leaves(_chosen(args, argnums, "grad_and_value"), "grad")
        with enable_grad():
            output, aux = _split(func(*_with(args, argnums, leaves.tree), **kwargs), has_aux, "grad_and_value")
            if not isinstance(output, Tensor):
                raise RuntimeError(f"Expected the function passed to grad to return a tensor, got {type(output).__name__}")
            if output.ndim != 0:
                raise RuntimeError(f"Expected the function passed to grad to return a scalar tensor. Got tensor with {output.ndim} dims. "
                                   "Maybe you wanted to use the vjp or jacrev APIs instead?")
            found = leaves.pull([output], [ops.ones_like(output)])
        gradient = tree_unflatten(found, leaves.spec)
        value = leaves.cut(output)
        return (gradient, (value, leaves.cut(aux))) if has_aux else (gradient, value)

    return derived


def grad(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """A function that gives the gradient of `func` by its arguments `argnums`; with `has_aux`, (gradient, aux)."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def derived(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return derived


def _vjp(func: Callable, primals: tuple, has_aux: bool) -> tuple:
    leaves = Leaves(primals, "vjp")
    with enable_grad():
        output, aux = _split(func(*leaves.tree), has_aux, "vjp")
    outputs, spec = tree_flatten(output)
    for leaf in outputs:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"vjp: Expected the function to return tensors, got {type(leaf).__name__}")

    def pull(*cotangents: Any, **unused: Any) -> Any:
        given, given_spec = tree_flatten(cotangents[0] if len(cotangents) == 1 else tuple(cotangents))
        if len(given) != len(outputs):
            raise RuntimeError(f"vjp: Expected {len(outputs)} cotangents, as the function returns, got {len(given)}")
        with enable_grad():
            return tree_unflatten(leaves.pull(outputs, given), leaves.spec)

    return output, aux, pull, leaves


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """The value of `func`, and a function from cotangents of it to those of the primals."""
    output, aux, pull, leaves = _vjp(func, primals, has_aux)

    def one_or_all(*cotangents: Any, **unused: Any) -> Any:
        return pull(*cotangents)

    value = leaves.cut(output)
    return (value, one_or_all, leaves.cut(aux)) if has_aux else (value, one_or_all)


def _transposed(func: Callable, primals: tuple, has_aux: bool = False) -> tuple:
    """The value of `func`, aux, and a function from tangents of the primals to that of the value: the derivative of the derivative
    by its cotangent, in which it is linear."""
    output, aux, pull, leaves = _vjp(func, primals, has_aux)
    outputs, spec = tree_flatten(output)
    zeros = [ops.zeros_like(leaf) for leaf in outputs]
    _, _, again, inner = _vjp(lambda *cotangents: pull(tree_unflatten(list(cotangents), spec)), tuple(zeros), False)

    def push(*tangents: Any) -> Any:
        found = again(tuple(tangents))
        return tree_map(inner.released, tree_unflatten(list(found), spec))

    return leaves.cut(output), leaves.cut(aux), push


def jvp(func: Callable, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> tuple:
    """The value of `func` at the primals and its change along the tangents."""
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise RuntimeError("jvp: Expected primals and tangents to be tuples. E.g. it should be valid to call f(*primals)")
    for primal, tangent in zip(tree_flatten(primals)[0], tree_flatten(tangents)[0]):
        if tuple(primal.shape) != tuple(tangent.shape):
            raise RuntimeError(f"jvp: primal of shape {tuple(primal.shape)} has a tangent of shape {tuple(tangent.shape)}")
    value, aux, push = _transposed(func, primals, has_aux)
    tangent = push(*tangents)
    return (value, tangent, aux) if has_aux else (value, tangent)


def linearize(func: Callable, *primals: Any) -> tuple:
    """The value of `func`, and its derivative as a function of tangents that can be called again and again."""
    value, _, push = _transposed(func, primals)
    return value, push


def _basis(leaves: list[Tensor]) -> list[Tensor]:
    """For each leaf, all unit vectors of all leaves: (total, *shape)."""
    total = sum(leaf.numel() for leaf in leaves)
    found, start = [], 0
    for leaf in leaves:
        count = leaf.numel()
        rows = ops.zeros((total, count), dtype=leaf.dtype, device=leaf.device)
        rows[start : start + count].copy_(ops.eye(count, dtype=leaf.dtype, device=leaf.device))
        found.append(rows.reshape((total, *leaf.shape)))
        start += count
    return found


def jacrev(func: Callable, argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None) -> Callable:
    """A function that gives the jacobian of `func` by its arguments `argnums`, row by row: for each element of the result, of each
    tensor in it, the gradient."""

    @functools.wraps(func)
    def derived(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen(args, argnums, "jacrev")
        output, aux, pull, leaves = _vjp(lambda values: func(*_with(args, argnums, values), **kwargs), (chosen,), has_aux)
        outputs, spec = tree_flatten(output)
        rows = vmap(lambda *unit: pull(tree_unflatten(list(unit), spec)), chunk_size=chunk_size)(*_basis(outputs))
        columns, in_spec = tree_flatten(rows[0])
        found, start = [], 0
        for leaf in outputs:
            part = [ops.narrow(c, 0, start, leaf.numel()).reshape((*leaf.shape, *c.shape[1:])) for c in columns]
            found.append(tree_unflatten(part, in_spec))
            start += leaf.numel()
        jacobian = tree_unflatten(found, spec)
        return (jacobian, leaves.cut(aux)) if has_aux else jacobian

    return derived


def jacfwd(func: Callable, argnums: Any = 0, has_aux: bool = False, *, chunk_size: int | None = None, randomness: str = "error") -> Callable:
    """The jacobian as `jacrev` gives it, column by column: for each element of the arguments, the change of the result."""

    @functools.wraps(func)
    def derived(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen(args, argnums, "jacfwd")
        value, aux, push = _transposed(lambda values: func(*_with(args, argnums, values), **kwargs), (chosen,), has_aux)
        inputs, in_spec = tree_flatten(chosen)
        columns = vmap(lambda *unit: push(tree_unflatten(list(unit), in_spec)), chunk_size=chunk_size, randomness=randomness)(*_basis(inputs))
        outputs, spec = tree_flatten(columns)
        found = []
        for column in outputs:
            part, start = [], 0
            for leaf in inputs:
                piece = ops.movedim(ops.narrow(column, 0, start, leaf.numel()), 0, -1)
                part.append(piece.reshape((*piece.shape[:-1], *leaf.shape)))
                start += leaf.numel()
            found.append(tree_unflatten(part, in_spec))
        jacobian = tree_unflatten(found, spec)
        return (jacobian, aux) if has_aux else jacobian

    return derived


def hessian(func: Callable, argnums: Any = 0) -> Callable:
    """A function that gives the matrix of second derivatives of `func`."""
    return jacfwd(jacrev(func, argnums), argnums)
