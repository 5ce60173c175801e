"""Matrix products and what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.call import FLOATS
from eager.lapack import conjugate, same_type, turned
from eager.op import composite, extern, ops
from eager.shape import broadcast_shapes, normalize_dim, numel
from eager.spec import Spec


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A matrix product; half precision is computed in float32."""
    if left.dtype != right.dtype:
        raise ValueError("expected both to have the same dtype")
    if left.dtype.itemsize == 2 and left.dtype.kind in "fV":
        return np.matmul(left.astype(np.float32), right.astype(np.float32)).astype(left.dtype)
    return left.dot(right) if left.ndim == 2 and right.ndim == 2 else np.matmul(left, right)


def _mm_spec(input, mat2):
    if input.ndim != 2 or mat2.ndim != 2:
        what = "self" if input.ndim != 2 else "mat2"
        raise RuntimeError(
            f"mm: {what} must be a matrix, got {input.ndim if input.ndim != 2 else mat2.ndim}-D "
            "tensor"
        )
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({input.shape[0]}x{input.shape[1]} and "
            f"{mat2.shape[0]}x{mat2.shape[1]})"
        )
    return Spec((input.shape[0], mat2.shape[1]), same_type("mm", input, mat2), input.device)


def _mm_right(g, out, a, b):
    """The gradient by the right matrix, in that matrix's layout: a transposed weight is column-
    major."""
    if b.stride()[0] == 1 and b.stride()[1] == b.shape[0]:
        return ops.transpose(ops.mm(ops.transpose(g, 0, 1), conjugate(a)), 0, 1)
    return ops.mm(turned(a), g)


@extern(
    spec=_mm_spec, saves="input mat2", vjp=(lambda g, out, a, b: ops.mm(g, turned(b)), _mm_right)
)
def mm(input, mat2):
    """The product of two matrices."""
    if input.ndim != 2 or mat2.ndim != 2:
        raise ValueError("mm needs matrices")
    return _product(input, mat2)


def _bmm_spec(input, mat2):
    if input.ndim != 3 or mat2.ndim != 3:
        raise RuntimeError(
            "batch1 must be a 3D tensor" if input.ndim != 3 else "batch2 must be a 3D tensor"
        )
    b, n, k = input.shape
    if mat2.shape[0] != b or mat2.shape[1] != k:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{b}, {k}] but got: "
            f"[{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return Spec((b, n, mat2.shape[2]), same_type("bmm", input, mat2), input.device)


@extern(
    spec=_bmm_spec,
    saves="input mat2",
    vjp=(lambda g, out, a, b: ops.bmm(g, turned(b)), lambda g, out, a, b: ops.bmm(turned(a), g)),
)
def bmm(input, mat2):
    """The products of two stacks of matrices."""
    if input.ndim != 3 or mat2.ndim != 3 or input.shape[0] != mat2.shape[0]:
        raise ValueError("bmm needs stacks of matrices")
    return _product(input, mat2)


def _stacks_spec(input, other):
    batch, (n, k) = tuple(input.shape[:-2]), input.shape[-2:]
    if other.shape[-2] != k:
        _bmm_spec(Spec((numel(batch), n, k), input.dtype), Spec(
            (numel(batch), *other.shape[-2:]), other.dtype))
    return Spec((*batch, n, other.shape[-1]), same_type("matmul", input, other), input.device)


@extern(
    spec=_stacks_spec,
    saves="input other",
    method=False,
    vjp=(lambda g, out, a, b: ops.matmul(g, turned(b)), lambda g, out, a, b: ops.matmul(turned(a), g)),
    decompose=lambda input, other: _batched(input, other, tuple(input.shape[:-2])),
)
def matmul_stacks(input, other):
    """The products of matrices in two tensors with the same leading dimensions."""
    return _product(input, other)


@composite
def mv(input, vec):
    """The product of a matrix and a vector."""
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    if input.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({input.shape[0]}), mat "
            f"({input.shape[0]}x{input.shape[1]}), vec ({vec.shape[0]})"
        )
    return ops.reshape(ops.mm(input, ops.unsqueeze(vec, 1)), (input.shape[0],))


def _dot_check(name: str, input: Any, other: Any) -> None:
    if input.ndim != 1 or other.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {other.ndim}D tensors")
    if input.dtype is not other.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {input.dtype} and "
            f"{other.dtype}"
        )
    if input.shape[0] != other.shape[0]:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src "
            f"[{other.shape[0]}] to have the same number of elements, but got {input.shape[0]} "
            f"and {other.shape[0]} elements respectively"
        )


@composite
def dot(input, tensor):
    """The inner product of two vectors."""
    _dot_check("dot", input, tensor)
    return ops.reshape(ops.mm(ops.unsqueeze(input, 0), ops.unsqueeze(tensor, 1)), ())


@composite
def vdot(input, other):
    """The inner product of two vectors, the first conjugated."""
    return ops.dot(conjugate(input), other)


@composite
def inner(input, other):
    """Inner products over the last dimension."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return ops.tensordot(input, other, ([-1], [-1]))


@composite
def outer(input, vec2):
    """The products of all pairs of elements of two vectors."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(
            f"outer: Expected 1-D argument, but got {input.ndim}-D and {vec2.ndim}-D"
        )
    return ops.unsqueeze(input, 1) * ops.unsqueeze(vec2, 0)


@composite
def ger(input, vec2):
    """`outer` under its old name."""
    return ops.outer(input, vec2)


def _matmul_at_once(input: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """Matrices, or stacks of them with the same leading dimensions, of one type; None for what the operators have to
    see to."""
    kind, rank = input.dtype, input.ndim
    if kind not in FLOATS or rank < 2 or other.dtype is not kind:
        return None
    if rank == 2 == other.ndim:
        return input.dot(other)
    if other.ndim == 2 and input.size:
        product = input.reshape(-1, input.shape[-1]).dot(other)
        return product.reshape(*input.shape[:-1], other.shape[1])
    if rank != other.ndim or input.shape[:-2] != other.shape[:-2]:
        return None
    return np.matmul(input, other)


def _matmul_back(g: np.ndarray, kept: Any, needs: tuple, input: Any, other: Any) -> tuple:
    by_input = by_other = None
    if needs[0]:
        by_input = _matmul_at_once(g, other.swapaxes(-1, -2))
        by_input = np.zeros(input.shape, g.dtype) if by_input is None else by_input
    if needs[1]:
        if len(input.shape) > len(other.shape):
            g, input = g.reshape(-1, g.shape[-1]), input.reshape(-1, input.shape[-1])
        if g.ndim == 2 and other.strides and other.strides[0] == 1 < other.strides[1]:
            by_other = g.T.dot(input).T  # in the layout of that matrix: a transposed weight is column-major
        else:
            by_other = _matmul_at_once(input.swapaxes(-1, -2), g)
    return by_input, by_other


@composite(run=_matmul_at_once, back=_matmul_back, saves="input:other other:input")
def matmul(input, other):
    """The matrix product with broadcasting over batch dimensions; vectors take part as in
    `numpy.matmul`."""
    if not hasattr(other, "ndim"):
        raise TypeError(
            "matmul(): argument 'other' (position 2) must be Tensor, not " + type(other).__name__
        )
    a, b = input.ndim, other.ndim
    if a == 2 and b == 2:
        return ops.mm(input, other)
    if a == 0 or b == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {a}D and {b}D"
        )
    if a == 1 and b == 1:
        return ops.dot(input, other)
    if a == 2 and b == 1:
        return ops.mv(input, other)
    if a == 1 and b == 2:
        return ops.squeeze(ops.mm(ops.unsqueeze(input, 0), other), 0)
    if a == 1:
        return ops.squeeze(ops.matmul(ops.unsqueeze(input, 0), other), -2)
    if b == 1:
        return ops.squeeze(ops.matmul(input, ops.unsqueeze(other, 1)), -1)
    if b == 2:  # one large product instead of many small ones
        rows = ops.mm(
            ops.reshape(input, (-1, input.shape[-1])) if input.numel() else _flat_rows(input), other
        )
        return ops.reshape(rows, (*input.shape[:-1], other.shape[1]))
    batch = broadcast_shapes(input.shape[:-2], other.shape[:-2])
    if len(batch) > 1 and tuple(input.shape[:-2]) == tuple(other.shape[:-2]):
        return ops.matmul_stacks(input, other)
    return _batched(input, other, batch)


def _flat_rows(input: Any) -> Any:
    return ops.reshape(input, (numel(input.shape[:-1]), input.shape[-1]))


def _batched(input: Any, other: Any, batch: tuple) -> Any:
    (n, k), (inner_size, m) = input.shape[-2:], other.shape[-2:]
    count = numel(batch)
    left = input if tuple(input.shape[:-2]) == batch else ops.expand(input, (*batch, n, k))
    right = (
        other if tuple(other.shape[:-2]) == batch else ops.expand(other, (*batch, inner_size, m))
    )
    if len(batch) != 1:
        left, right = ops.reshape(left, (count, n, k)), ops.reshape(right, (count, inner_size, m))
    product = ops.bmm(left, right)
    return product if len(batch) == 1 else ops.reshape(product, (*batch, n, m))


def _scaled(x: Any, factor: Any) -> Any:
    """A tensor times a number, which is cut to the tensor's type."""
    if x.dtype is dtypes.bool_:
        return x if factor else ops.zeros_like(x)
    if x.dtype.category == dtypes.INTEGER:
        factor = int(factor)
    return x if factor == 1 else x * factor


def _addmm_spec(input, mat1, mat2, beta, alpha):
    found = _mm_spec(mat1, mat2)
    if broadcast_shapes(input.shape, found.shape) != found.shape:
        raise RuntimeError(
            f"The expanded size of the tensor ({found.shape[-1]}) must match the existing size "
            f"({input.shape[-1]}). Target sizes: {list(found.shape)}.  Tensor sizes: "
            f"{list(input.shape)}"
        )
    return Spec(found.shape, same_type("addmm", mat1, input), found.device)


@extern(
    spec=_addmm_spec,
    saves="mat1 mat2",
    inplace=True,
    vjp=(
        lambda g, out, input, a, b, beta, alpha: _scaled(g, beta.conjugate()),
        lambda g, out, input, a, b, beta, alpha: _scaled(ops.mm(g, turned(b)), alpha.conjugate()),
        lambda g, out, input, a, b, beta, alpha: _scaled(ops.mm(turned(a), g), alpha.conjugate()),
    ),
    decompose=lambda input, mat1, mat2, *, beta=1, alpha=1: (
        _scaled(ops.mm(mat1, mat2), alpha) + _scaled(input, beta)
    ),
)
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """`beta * input + alpha * (mat1 @ mat2)`."""
    if input.dtype == mat1.dtype == mat2.dtype and _is_half(input.dtype):
        return _added(*(x.astype(np.float32) for x in (input, mat1, mat2)), beta, alpha).astype(input.dtype)
    return _added(input, mat1, mat2, beta, alpha)


def _is_half(kind: np.dtype) -> bool:
    return kind.itemsize == 2 and kind.kind in "fV"


def _added(input: np.ndarray, mat1: np.ndarray, mat2: np.ndarray, beta: Any, alpha: Any) -> np.ndarray:
    result = _product(mat1, mat2)
    if (
        np.broadcast_shapes(result.shape, input.shape) != result.shape
        or input.dtype != result.dtype
    ):
        raise ValueError("shapes or types do not fit")
    if alpha != 1:
        result *= alpha
    if beta == 0:
        return result
    result += input if beta == 1 else input * np.asarray(beta, result.dtype)
    return result


def _in_single(name: str, input: Any, a: Any, b: Any, beta: Any, alpha: Any) -> Any:
    """An operator of this file on half precision, rounded once; None for other types."""
    if not input.dtype is a.dtype is b.dtype or input.dtype not in (dtypes.float16, dtypes.bfloat16):
        return None
    wide = (x.to(dtypes.float32) for x in (input, a, b))
    return getattr(ops, name)(*wide, beta=beta, alpha=alpha).to(input.dtype)


@composite(inplace=True)
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """`beta * input + alpha * (mat @ vec)`."""
    if (found := _in_single("addmv", input, mat, vec, beta, alpha)) is not None:
        return found
    product = _scaled(ops.mv(mat, vec), alpha)
    return product if beta == 0 else product + _scaled(input, beta)


@composite(inplace=True)
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """`beta * input + alpha * outer(vec1, vec2)`."""
    if (found := _in_single("addr", input, vec1, vec2, beta, alpha)) is not None:
        return found
    product = _scaled(ops.outer(vec1, vec2), alpha)
    return product if beta == 0 else product + _scaled(input, beta)


@composite(inplace=True)
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """`beta * input + alpha * (batch1 @ batch2)`."""
    if (found := _in_single("baddbmm", input, batch1, batch2, beta, alpha)) is not None:
        return found
    product = _scaled(ops.bmm(batch1, batch2), alpha)
    return product if beta == 0 else product + _scaled(input, beta)


@composite(inplace=True)
def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """`beta * input + alpha * sum(batch1 @ batch2)`."""
    if (found := _in_single("addbmm", input, batch1, batch2, beta, alpha)) is not None:
        return found
    product = _scaled(ops.sum(ops.bmm(batch1, batch2), 0), alpha)
    return product if beta == 0 else product + _scaled(input, beta)


def _dims_of(dims: Any, a: Any, b: Any) -> tuple[list, list]:
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, (tuple, list)):
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    else:
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have same length")
    return [normalize_dim(d, a.ndim) for d in left], [normalize_dim(d, b.ndim) for d in right]


@composite(method=False)
def tensordot(a, b, dims=2):
    """The sum over pairs of dimensions of products."""
    left, right = _dims_of(dims, a, b)
    for i, j in zip(left, right):
        if a.shape[i] == 1 or b.shape[j] == 1:  # one that is broadcast: sum the other before
            a = ops.sum(a, i, True) if a.shape[i] != 1 else a
            b = ops.sum(b, j, True) if b.shape[j] != 1 else b
        if a.shape[i] != b.shape[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} "
                f"and second has size {b.shape[j]} in dim {j}"
            )
    keep_a = [i for i in range(a.ndim) if i not in left]
    keep_b = [i for i in range(b.ndim) if i not in right]
    size = numel([a.shape[i] for i in left])
    rows, columns = tuple(a.shape[i] for i in keep_a), tuple(b.shape[i] for i in keep_b)
    first = ops.reshape(ops.permute(a, (*keep_a, *left)), (numel(rows), size))
    second = ops.reshape(ops.permute(b, (*right, *keep_b)), (size, numel(columns)))
    return ops.reshape(ops.mm(first, second), (*rows, *columns))


@composite
def kron(input, other):
    """The Kronecker product."""
    rank = input.ndim if input.ndim > other.ndim else other.ndim
    a = ops.reshape(input, (1,) * (rank - input.ndim) + tuple(input.shape))
    b = ops.reshape(other, (1,) * (rank - other.ndim) + tuple(other.shape))
    first, second = [], []
    for n, m in zip(a.shape, b.shape):
        first += [n, 1]
        second += [1, m]
    product = ops.reshape(a, tuple(first)) * ops.reshape(b, tuple(second))
    return ops.reshape(product, tuple(n * m for n, m in zip(a.shape, b.shape)))


def _cross(input, other, dim):
    if input.ndim != other.ndim:
        raise RuntimeError(
            f"linalg.cross: inputs must have the same number of dimensions, but got {input.ndim} and {other.ndim}"
        )
    d = normalize_dim(dim, input.ndim)
    if input.shape[d] != 3 or other.shape[d] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[d]} and "
            f"{other.shape[d]}"
        )
    a, b = ([ops.select(x, d, i) for i in range(3)] for x in (input, other))
    return ops.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], d
    )


@composite
def cross(input, other, dim=None):
    """The cross product of vectors of length 3, by default along the first such dimension."""
    if dim is None:
        dim = next((i for i, n in enumerate(input.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    return _cross(input, other, dim)


@composite(method=False)
def linalg_cross(input, other, *, dim=-1):
    """The cross product along a dimension of length 3."""
    return _cross(input, other, dim)


@composite
def trace(input):
    """The sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise RuntimeError("trace: expected a matrix")
    return ops.sum(ops.diagonal(input))


@composite(method=False)
def cdist(x1, x2, p=2.0, compute_mode=None):
    """The p-norm distances of all pairs of rows."""
    if compute_mode not in (None, "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    if x1.ndim < 2 or x2.ndim < 2:
        raise RuntimeError(f"cdist only supports at least 2D tensors, got: {x1.ndim}D and {x2.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    apart = ops.unsqueeze(x1, -2) - ops.unsqueeze(x2, -3)
    if p == 0:  # a number of places, flat in them
        return ops.sum(ops.copy(apart, apart != 0), -1)
    return ops.linalg_vector_norm(apart, p, -1)


@composite
def matrix_power(input, n):
    """A matrix multiplied with itself n times; a negative n means its inverse."""
    if n < 0:
        return ops.matrix_power(ops.linalg_inv(input), -n)
    if n == 0:
        return ops.copy(input, ops.eye(input.shape[-1], dtype=input.dtype))
    result, power = None, input
    while n:
        if n % 2:
            result = power if result is None else ops.matmul(result, power)
        n //= 2
        power = ops.matmul(power, power) if n else power
    return result
