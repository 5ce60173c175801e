"""Rules of `vmap` for views and for operators with kernels of their own. An operator that treats leading dimensions alike only has
its dimensions shifted; products and convolutions join the samples with another dimension. `NotImplemented`: run sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eager.batching.tensor import holds
from eager.registry import ops
from eager.shape import normalize_dim
from eager.tensor import Tensor

RULES: dict[str, Callable] = {}


def rule(*names: str) -> Callable:
    """Declare a rule `f(batching, op, bound)` for operators of these names."""

    def declare(function: Callable) -> Callable:
        for name in names:
            RULES[name] = function
        return function

    return declare


def _shifted(dims: Any, rank: int) -> Any:
    if isinstance(dims, (tuple, list)):
        return tuple(normalize_dim(d, rank) + 1 for d in dims)
    return normalize_dim(dims, rank) + 1


# Operators of any leading dimensions: their tensors have the samples in front, and these parameters name dimensions.
_LEADING = {
    "softmax": "dim", "log_softmax": "dim", "cumsum": "dim", "cumprod": "dim", "cummax": "dim", "cummin": "dim", "logcumsumexp": "dim",
    "recurrence": "dim", "prod_others": "dim", "gather": "dim", "scatter_src": "dim", "scatter_value": "dim", "scatter_add": "dim",
    "scatter_reduce": "dim", "sort": "dim", "topk": "dim", "kthvalue": "dim", "max_dim": "dim", "min_dim": "dim", "median_dim": "dim",
    "nanmedian_dim": "dim", "mode": "dim", "flip": "dims", "cat": "dim", "fft_complex": "dims", "fft_real": "dim", "fft_half": "dim",
    "select_scatter": "dim", "slice_scatter": "dim", "transpose": "dim0 dim1", "select": "dim", "slice": "dim", "diagonal": "dim1 dim2",
    "unfold": "dimension", "clone": "", "detach": "", "alias": "", "complex": "", "tril": "", "triu": "", "zeros_like": "", "ones_like": "",
    "empty_like": "", "full_like": "", "binary_entropy": "", "view_as_real": "", "view_as_complex": "", "view_dtype": "", "constant_pad_nd": "",
    "max_pool": "", "max_pool_backward": "", "max_pool_with_indices": "", "max_pool_input_grad": "", "avg_pool": "", "avg_pool_input_grad": "",
    "adaptive_avg_pool": "", "adaptive_avg_pool_input_grad": "", "adaptive_max_pool": "", "linalg_inv_ex": "", "adjugate": "",
    "linalg_det": "", "linalg_slogdet": "", "linalg_cholesky_ex": "", "linalg_eigh": "", "linalg_qr": "", "linalg_svd": "", "linalg_eig": "",
    "matrix_exp": "", "polygamma": "",
}  # fmt: skip


def _leading(batching: Any, op: Any, bound: tuple) -> Any:
    values = [batching.front(value) for value in bound]
    first = next(value for value in bound if isinstance(value, (Tensor, tuple, list)))
    rank = (first[0] if isinstance(first, (tuple, list)) else first).ndim
    for name in _LEADING[op.name].split():
        place = op.parameters.index(name)
        if rank == 0 or values[place] is None:
            return NotImplemented
        values[place] = _shifted(bound[place], rank)
    return batching.wrap(op.call(tuple(values), {}))


for _name in _LEADING:
    RULES[_name] = _leading


@rule("permute")
def _permute(batching: Any, op: Any, bound: tuple) -> Any:
    return batching.wrap(op.call((bound[0].value, (0, *_shifted(bound[1], bound[0].ndim))), {}))


@rule("unsqueeze")
def _unsqueeze(batching: Any, op: Any, bound: tuple) -> Any:
    return batching.wrap(op.call((bound[0].value, _shifted(bound[1], bound[0].ndim + 1)), {}))


@rule("squeeze")
def _squeeze(batching: Any, op: Any, bound: tuple) -> Any:
    input, dim = bound
    if dim is None:
        dim = tuple(i for i, n in enumerate(input.shape) if n == 1)
    elif not isinstance(dim, (tuple, list)):
        dim = (dim,)
    dims = _shifted(dim, input.ndim) if input.ndim else ()
    return batching.wrap(op.call((input.value, dims), {}) if dims else ops.alias(input.value))


@rule("view")
def _view(batching: Any, op: Any, bound: tuple) -> Any:
    size = list(bound[1])
    if -1 in size:  # with no elements, or with them in front, it would be ambiguous
        known = 1
        for n in size:
            known = known * n if n != -1 else known
        size[size.index(-1)] = bound[0].numel() // max(known, 1)
    return batching.wrap(op.call((bound[0].value, (batching.size, *size)), {}))


@rule("expand")
def _expand(batching: Any, op: Any, bound: tuple) -> Any:
    input, sizes = bound
    missing = len(sizes) - input.ndim
    value = input.value
    if missing:
        value = ops.reshape(value, (batching.size, *[1] * missing, *value.shape[1:]))
    return batching.wrap(op.call((value, (batching.size, *sizes)), {}))


@rule("stack")
def _stack(batching: Any, op: Any, bound: tuple) -> Any:
    tensors = batching.front(bound[0])
    return batching.wrap(op.call((tensors, _shifted(bound[1], bound[0][0].ndim + 1)), {}))


@rule("select_backward", "slice_backward", "diagonal_backward", "unfold_backward")
def _spread(batching: Any, op: Any, bound: tuple) -> Any:
    """The derivatives of views: the shape of the whole is a parameter."""
    values, rank = list(bound), len(bound[1])
    values[0], values[1] = bound[0].value, (batching.size, *bound[1])
    for name in ("dim", "dim1", "dim2"):
        if name in op.parameters:
            place = op.parameters.index(name)
            values[place] = _shifted(bound[place], rank)
    return batching.wrap(op.call(tuple(values), {}))


@rule("var", "std", "var_mean")
def _spread_of(batching: Any, op: Any, bound: tuple) -> Any:
    input, dim = bound[:2]
    if input.ndim == 0:
        return NotImplemented
    dims = tuple(range(input.ndim)) if dim is None or dim == () or dim == [] else dim
    dims = dims if isinstance(dims, (tuple, list)) else (dims,)
    return batching.wrap(op.call((input.value, _shifted(dims, input.ndim), *bound[2:]), {}))


@rule("masked_fill")
def _masked(batching: Any, op: Any, bound: tuple) -> Any:
    values = list(bound)
    if holds(bound[2], batching):
        return NotImplemented
    batching.aligned(values, (0, 1))
    if not holds(bound[0], batching) or not holds(bound[1], batching):
        values[0] = batching.front(bound[0]) if bound[0].ndim >= bound[1].ndim else values[0]
    return batching.wrap(op.call(tuple(values), {}))


@rule("index_select", "index_add", "index_copy", "index_fill")
def _by_index(batching: Any, op: Any, bound: tuple) -> Any:
    place = op.parameters.index("index")
    if holds(bound[place], batching) or bound[0].ndim == 0:
        return NotImplemented
    values = [value if i == place else batching.front(value) for i, value in enumerate(bound)]
    if op.name == "index_fill" and isinstance(bound[3], Tensor):
        return NotImplemented
    values[1] = _shifted(bound[1], bound[0].ndim)
    return batching.wrap(op.call(tuple(values), {}))


@rule("embedding")
def _embedding(batching: Any, op: Any, bound: tuple) -> Any:
    if holds(bound[1], batching):
        return NotImplemented
    return batching.wrap(op.call((bound[0].value, *bound[1:]), {}))


@rule("native_layer_norm")
def _layer_norm(batching: Any, op: Any, bound: tuple) -> Any:
    if holds(bound[2], batching) or holds(bound[3], batching):
        return NotImplemented
    return batching.wrap(op.call((bound[0].value, *bound[1:]), {}))


# -- products and convolutions ------------------------------------------------------------------------


@rule("mm")
def _mm(batching: Any, op: Any, bound: tuple) -> Any:
    left, right = bound
    if holds(right, batching):
        return batching.wrap(ops.bmm(batching.front(left), right.value))
    value = left.value
    flat = ops.mm(ops.reshape(value, (-1, value.shape[2])), right)
    return batching.wrap(ops.reshape(flat, (batching.size, value.shape[1], right.shape[1])))


@rule("bmm")
def _bmm(batching: Any, op: Any, bound: tuple) -> Any:
    left, right = batching.front(bound[0]), batching.front(bound[1])
    size, count = batching.size, left.shape[1]
    found = ops.bmm(ops.reshape(left, (size * count, *left.shape[2:])), ops.reshape(right, (size * count, *right.shape[2:])))
    return batching.wrap(ops.reshape(found, (size, count, *found.shape[1:])))


@rule("addmm")
def _addmm(batching: Any, op: Any, bound: tuple) -> Any:
    from eager.dispatch import push

    input, first, second, beta, alpha = bound
    with push(batching):
        product = ops.mm(first, second)
        product = product if alpha == 1 else product * alpha
        return product if beta == 0 else product + (input if beta == 1 else input * beta)


def _join(tensor: Any, batching: Any, place: int) -> Any:
    """The samples as a part of dimension `place` of one tensor: channels, side by side."""
    value = batching.front(tensor)
    order = (*range(1, place + 1), 0, *range(place + 1, value.ndim))
    moved = ops.permute(value, order)
    shape = tuple(moved.shape)
    return ops.reshape(moved, (*shape[:place], shape[place] * shape[place + 1], *shape[place + 2 :]))


def _part(tensor: Any, batching: Any, place: int) -> Any:
    """The inverse of `_join`."""
    shape = tuple(tensor.shape)
    split = ops.reshape(tensor, (*shape[:place], batching.size, shape[place] // batching.size, *shape[place + 1 :]))
    return batching.wrap(ops.permute(split, (place, *range(place), *range(place + 1, split.ndim))))


@rule("convolution")
def _convolution(batching: Any, op: Any, bound: tuple) -> Any:
    input, weight, bias, *how, groups = bound
    if not holds(weight, batching) and not holds(bias, batching):
        return _part(op.call((_join(input, batching, 0), weight, bias, *how, groups), {}), batching, 0)
    joined = (_join(input, batching, 1), _join(weight, batching, 0), None if bias is None else _join(bias, batching, 0))
    return _part(op.call((*joined, *how, groups * batching.size), {}), batching, 1)


@rule("convolution_input_grad")
def _convolution_input_grad(batching: Any, op: Any, bound: tuple) -> Any:
    g, weight, *how, groups = bound
    if not holds(weight, batching):
        return _part(op.call((_join(g, batching, 0), weight, *how, groups), {}), batching, 0)
    found = op.call((_join(g, batching, 1), _join(weight, batching, 0), *how, groups * batching.size), {})
    return _part(found, batching, 1)


@rule("convolution_weight_grad")
def _convolution_weight_grad(batching: Any, op: Any, bound: tuple) -> Any:
    g, input, *how, groups = bound
    found = op.call((_join(g, batching, 1), _join(input, batching, 1), *how, groups * batching.size), {})
    return _part(found, batching, 0)
