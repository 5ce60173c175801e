"""Matrix products, and the linear algebra that LAPACK does."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops
from eager.shape import broadcast_shapes, normalize_dim, numel
from eager.spec import Spec


def _same_type(name: str, *tensors: Any) -> dtypes.dtype:
    first = tensors[0].dtype
    for tensor in tensors[1:]:
        if tensor.dtype is not first:
            raise RuntimeError(f"{name}(): expected m1 and m2 to have the same dtype, but got: {first} != {tensor.dtype}")
    return first


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A matrix product; half precision is computed in float32."""
    if left.dtype != right.dtype:
        raise ValueError("expected both to have the same dtype")
    if left.dtype.itemsize == 2 and left.dtype.kind in "fV":
        return np.matmul(left.astype(np.float32), right.astype(np.float32)).astype(left.dtype)
    return np.matmul(left, right)


def _mm_spec(input, mat2):
    if input.ndim != 2 or mat2.ndim != 2:
        what = "self" if input.ndim != 2 else "mat2"
        raise RuntimeError(f"mm: {what} must be a matrix, got {input.ndim if input.ndim != 2 else mat2.ndim}-D tensor")
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({input.shape[0]}x{input.shape[1]} and {mat2.shape[0]}x{mat2.shape[1]})"
        )
    return Spec((input.shape[0], mat2.shape[1]), _same_type("mm", input, mat2), input.device)


def _conj(x: Any) -> Any:
    return ops.conj(x) if x.is_complex() else x


def turned(x: Any) -> Any:
    """The conjugate transpose."""
    return _conj(ops.transpose(x, -2, -1))


def _mm_right(g, out, a, b):
    """The gradient by the right matrix, in that matrix's layout: a transposed weight is column-major."""
    if b.stride()[0] == 1 and b.stride()[1] == b.shape[0]:
        return ops.transpose(ops.mm(ops.transpose(g, 0, 1), _conj(a)), 0, 1)
    return ops.mm(turned(a), g)


@extern(spec=_mm_spec, saves="input mat2", vjp=(lambda g, out, a, b: ops.mm(g, turned(b)), _mm_right))
def mm(input, mat2):
    """The product of two matrices."""
    if input.ndim != 2 or mat2.ndim != 2:
        raise ValueError("mm needs matrices")
    return _product(input, mat2)


def _bmm_spec(input, mat2):
    if input.ndim != 3 or mat2.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor" if input.ndim != 3 else "batch2 must be a 3D tensor")
    b, n, k = input.shape
    if mat2.shape[0] != b or mat2.shape[1] != k:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{b}, {k}] but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return Spec((b, n, mat2.shape[2]), _same_type("bmm", input, mat2), input.device)


@extern(
    spec=_bmm_spec, saves="input mat2",
    vjp=(lambda g, out, a, b: ops.bmm(g, turned(b)), lambda g, out, a, b: ops.bmm(turned(a), g)),
)
def bmm(input, mat2):
    """The products of two stacks of matrices."""
    if input.ndim != 3 or mat2.ndim != 3 or input.shape[0] != mat2.shape[0]:
        raise ValueError("bmm needs stacks of matrices")
    return _product(input, mat2)


@composite
def mv(input, vec):
    """The product of a matrix and a vector."""
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    if input.shape[1] != vec.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({input.shape[0]}), mat ({input.shape[0]}x{input.shape[1]}), vec ({vec.shape[0]})")
    return ops.reshape(ops.mm(input, ops.unsqueeze(vec, 1)), (input.shape[0],))


def _dot_check(name: str, input: Any, other: Any) -> None:
    if input.ndim != 1 or other.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {other.ndim}D tensors")
    if input.dtype is not other.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {input.dtype} and {other.dtype}"
        )
    if input.shape[0] != other.shape[0]:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src "
            f"[{other.shape[0]}] to have the same number of elements, but got {input.shape[0]} and {other.shape[0]} elements respectively"
        )


@composite
def dot(input, tensor):
    """The inner product of two vectors."""
    _dot_check("dot", input, tensor)
    return ops.reshape(ops.mm(ops.unsqueeze(input, 0), ops.unsqueeze(tensor, 1)), ())


@composite
def vdot(input, other):
    """The inner product of two vectors, the first conjugated."""
    return ops.dot(_conj(input), other)


@composite
def inner(input, other):
    """Inner products over the last dimension."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(input.shape)} and {list(other.shape)}"
        )
    return ops.tensordot(input, other, ([-1], [-1]))


@composite
def outer(input, vec2):
    """The products of all pairs of elements of two vectors."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(f"outer: Expected 1-D argument, but got {input.ndim}-D and {vec2.ndim}-D")
    return ops.unsqueeze(input, 1) * ops.unsqueeze(vec2, 0)


@composite
def ger(input, vec2):
    """`outer` under its old name."""
    return ops.outer(input, vec2)


@composite
def matmul(input, other):
    """The matrix product with broadcasting over batch dimensions; vectors take part as in `numpy.matmul`."""
    a, b = input.ndim, other.ndim
    if a == 2 and b == 2:
        return ops.mm(input, other)
    if a == 0 or b == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {a}D and {b}D")
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
        rows = ops.mm(ops.reshape(input, (-1, input.shape[-1])) if input.numel() else _flat_rows(input), other)
        return ops.reshape(rows, (*input.shape[:-1], other.shape[1]))
    batch = broadcast_shapes(input.shape[:-2], other.shape[:-2])
    return _batched(input, other, batch)


def _flat_rows(input: Any) -> Any:
    return ops.reshape(input, (numel(input.shape[:-1]), input.shape[-1]))


def _batched(input: Any, other: Any, batch: tuple) -> Any:
    (n, k), (inner_size, m) = input.shape[-2:], other.shape[-2:]
    count = numel(batch)
    left = input if tuple(input.shape[:-2]) == batch else ops.expand(input, (*batch, n, k))
    right = other if tuple(other.shape[:-2]) == batch else ops.expand(other, (*batch, inner_size, m))
    if len(batch) != 1:
        left, right = ops.reshape(left, (count, n, k)), ops.reshape(right, (count, inner_size, m))
    product = ops.bmm(left, right)
    return product if len(batch) == 1 else ops.reshape(product, (*batch, n, m))


def _scaled(x: Any, factor: Any) -> Any:
    return x if factor == 1 else x * factor


def _addmm_spec(input, mat1, mat2, beta, alpha):
    found = _mm_spec(mat1, mat2)
    if broadcast_shapes(input.shape, found.shape) != found.shape:
        raise RuntimeError(
            f"The expanded size of the tensor ({found.shape[-1]}) must match the existing size "
            f"({input.shape[-1]}). Target sizes: {list(found.shape)}.  Tensor sizes: {list(input.shape)}"
        )
    return Spec(found.shape, _same_type("addmm", mat1, input), found.device)


@extern(
    spec=_addmm_spec, saves="mat1 mat2", inplace=True,
    vjp=(
        lambda g, out, input, a, b, beta, alpha: _scaled(g, beta),
        lambda g, out, input, a, b, beta, alpha: _scaled(ops.mm(g, turned(b)), alpha),
        lambda g, out, input, a, b, beta, alpha: _scaled(ops.mm(turned(a), g), alpha),
    ),
    decompose=lambda input, mat1, mat2, *, beta=1, alpha=1: _scaled(ops.mm(mat1, mat2), alpha) + _scaled(input, beta),
)
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """`beta * input + alpha * (mat1 @ mat2)`."""
    result = _product(mat1, mat2)
    if np.broadcast_shapes(result.shape, input.shape) != result.shape or input.dtype != result.dtype:
        raise ValueError("shapes or types do not fit")
    if alpha != 1:
        result *= alpha
    if beta == 0:
        return result
    result += input if beta == 1 else input * np.asarray(beta, result.dtype)
    return result


@composite(inplace=True)
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """`beta * input + alpha * (mat @ vec)`."""
    product = _scaled(ops.mv(mat, vec), alpha)
    return product if beta == 0 else product + _scaled(input, beta)


@composite(inplace=True)
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """`beta * input + alpha * outer(vec1, vec2)`."""
    product = _scaled(ops.outer(vec1, vec2), alpha)
    return product if beta == 0 else product + _scaled(input, beta)


@composite(inplace=True)
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """`beta * input + alpha * (batch1 @ batch2)`."""
    product = _scaled(ops.bmm(batch1, batch2), alpha)
    return product if beta == 0 else product + _scaled(input, beta)


@composite(inplace=True)
def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """`beta * input + alpha * sum(batch1 @ batch2)`."""
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
        if a.shape[i] != b.shape[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has size {b.shape[j]} in dim {j}"
            )
    keep_a = [i for i in range(a.ndim) if i not in left]
    keep_b = [i for i in range(b.ndim) if i not in right]
    size = numel([a.shape[i] for i in left])
    rows, columns = tuple(a.shape[i] for i in keep_a), tuple(b.shape[i] for i in keep_b)
    first = ops.reshape(ops.permute(a, (*keep_a, *left)), (numel(rows), size))
    second = ops.reshape(ops.permute(b, (*right, *keep_b)), (size, numel(columns)))
    return ops.reshape(ops.mm(first, second), (*rows, *columns))


# -- einsum ----------------------------------------------------------------------------------------


def _einsum_front(call, equation, *operands):
    if not isinstance(equation, str):
        return _einsum_lists(call, (equation, *operands))
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else operands
    return call(equation, tuple(given))


def _einsum_lists(call, args):
    """The form einsum(a, [0, 1], b, [1, 2], [0, 2])."""
    def letters(places):
        return "".join("..." if p is Ellipsis else (chr(ord("a") + p) if p < 26 else chr(ord("A") + p - 26)) for p in places)

    tensors, terms = args[0 : len(args) - len(args) % 2 : 2], [letters(p) for p in args[1::2]]
    equation = ",".join(terms) + ("->" + letters(args[-1]) if len(args) % 2 else "")
    return call(equation, tuple(tensors))


def _parse(equation: str, operands: tuple) -> tuple[list[list[str]], list[str]]:
    """The labels of every operand and of the result; dimensions of an ellipsis are labelled "0", "1", … from the left."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            f"einsum(): {'more' if len(operands) > len(terms) else 'fewer'} operands were provided than specified in the equation"
        )
    widest, labels = 0, []
    for number, (term, tensor) in enumerate(zip(terms, operands)):
        named = len(term.replace("...", ""))
        hidden = tensor.ndim - named
        if hidden < 0 or (hidden and "..." not in term):
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({named}) does not match the "
                f"number of dimensions ({tensor.ndim}) for operand {number} and no ellipsis was given"
            )
        widest = max(widest, hidden)
        labels.append((term, hidden))
    parsed = []
    for term, hidden in labels:
        before, dots, after = term.partition("...")
        parsed.append([*before, *(str(widest - hidden + i) for i in range(hidden)), *after] if dots else list(term))
    for letter in {c for p in parsed for c in p if not c.isdigit() and not c.isalpha()}:
        raise RuntimeError(f"einsum(): invalid subscript given: {letter!r}, subscripts must be in [a-zA-Z]")
    if arrow:
        before, dots, after = right.partition("...")
        result = [*before, *(str(i) for i in range(widest)), *after] if dots else list(right)
    else:
        flat = [c for p in parsed for c in p if c.isalpha()]
        result = [str(i) for i in range(widest)] + sorted(c for c in set(flat) if flat.count(c) == 1)
    for label in result:
        if all(label not in p for p in parsed):
            raise RuntimeError(f"einsum(): output subscript {label} does not appear in the equation for any input operand")
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
                    f"einsum(): subscript {label} is repeated for operand but the sizes don't match, {tensor.shape[j]} != {tensor.shape[i]}"
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
                f"einsum(): operands do not broadcast with remapped shapes: subscript {label} has sizes {sizes[label]} and {n}"
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

    count = {name: numel([sizes[c] for c in group]) for name, group in (("b", batch), ("l", left), ("r", right), ("s", summed))}
    if not summed:
        order_a, order_b = batch + left, batch + right
        x, y = arranged(a, la, order_a), arranged(b, lb, order_b)
        x = ops.reshape(x, (*x.shape, *(1 for _ in right)))
        y = ops.reshape(y, (*y.shape[: len(batch)], *(1 for _ in left), *y.shape[len(batch) :]))
        return x * y, batch + left + right
    x = ops.reshape(arranged(a, la, batch + left + summed), (count["b"], count["l"], count["s"]))
    y = ops.reshape(arranged(b, lb, batch + summed + right), (count["b"], count["s"], count["r"]))
    product = ops.bmm(x, y) if batch else ops.mm(ops.reshape(x, x.shape[1:]), ops.reshape(y, y.shape[1:]))
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


# -- small products --------------------------------------------------------------------------------


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
    d = normalize_dim(dim, max(input.ndim, other.ndim))
    if input.shape[d] != 3 or other.shape[d] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[d]} and {other.shape[d]}"
        )
    a, b = ([ops.select(x, d, i) for i in range(3)] for x in (input, other))
    return ops.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], d)


@composite
def cross(input, other, dim=None):
    """The cross product of vectors of length 3, by default along the first dimension of that size."""
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
    return ops.linalg_vector_norm(ops.unsqueeze(x1, -2) - ops.unsqueeze(x2, -3), p, -1)


@composite
def matrix_power(input, n):
    """A matrix multiplied with itself n times; a negative n means its inverse."""
    if n < 0:
        return ops.matrix_power(ops.linalg_inv(input), -n)
    if n == 0:
        return ops.expand(ops.eye(input.shape[-1], dtype=input.dtype), tuple(input.shape)).clone()
    result, power = None, input
    while n:
        if n % 2:
            result = power if result is None else ops.matmul(result, power)
        n //= 2
        power = ops.matmul(power, power) if n else power
    return result


# -- decompositions --------------------------------------------------------------------------------


def _square(name: str, input: Any) -> tuple:
    if input.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if input.shape[-1] != input.shape[-2]:
        raise RuntimeError(f"linalg.{name}: A must be batches of square matrices, but they are {input.shape[-2]} by {input.shape[-1]} matrices")
    return tuple(input.shape)


def _lapack(name: str, function: Any, *arrays: np.ndarray) -> Any:
    """Call numpy.linalg. Raises RuntimeError (as torch's LinAlgError is one) for what LAPACK refuses."""
    try:
        return function(*arrays)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {error}") from None


class LinAlgError(RuntimeError):
    """A matrix that has no such decomposition, e.g. a singular one."""


def _inv_vjp(g, out, A):
    return -ops.matmul(turned(out), ops.matmul(g, turned(out)))


@extern(spec=lambda A: Spec(_square("inv", A), A.dtype, A.device), vjp=_inv_vjp, saves="out", method=False)
def linalg_inv(A):
    """The inverse of square matrices. Raises LinAlgError for singular ones."""
    return _lapack("inv", np.linalg.inv, A)


@composite
def inverse(input):
    """`linalg.inv`."""
    return ops.linalg_inv(input)


def _det_vjp(g, out, A):
    return ops.unsqueeze(ops.unsqueeze(g * _conj(out), -1), -1) * turned(ops.linalg_inv(A))


@extern(spec=lambda A: Spec(_square("det", A)[:-2], A.dtype, A.device), vjp=_det_vjp, saves="A out", method=False)
def linalg_det(A):
    """The determinant of square matrices."""
    return np.asarray(np.linalg.det(A), A.dtype)


@composite
def det(input):
    """`linalg.det`."""
    return ops.linalg_det(input)


def _slogdet_spec(A):
    shape = _square("slogdet", A)[:-2]
    return Spec(shape, A.dtype, A.device), Spec(shape, A.dtype.to_real(), A.device)


_Slogdet = namedtuple("slogdet", "sign logabsdet")


@extern(
    spec=_slogdet_spec, saves="A", method=False, front=lambda call, A: _Slogdet(*call(A)),
    vjp=lambda g, out, A: None if g[1] is None else ops.unsqueeze(ops.unsqueeze(g[1], -1), -1) * turned(ops.linalg_inv(A)),
)
def linalg_slogdet(A):
    """The sign and the logarithm of the absolute value of the determinant."""
    sign, log = np.linalg.slogdet(A)
    return np.asarray(sign, A.dtype), np.asarray(log, A.real.dtype)


@composite
def slogdet(input):
    """`linalg.slogdet`."""
    return ops.linalg_slogdet(input)


@composite
def logdet(input):
    """The logarithm of the determinant; NaN where it is negative."""
    sign, log = ops.linalg_slogdet(input)
    return ops.where(sign < 0, float("nan"), log)


def _is_vector(A: Any, B: Any) -> bool:
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))


def _solve_spec(A, B):
    shape = _square("solve", A)
    if _is_vector(A, B):
        if B.shape[-1] != shape[-1]:
            raise RuntimeError(f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({list(shape)} and {list(B.shape)})")
        return Spec((*broadcast_shapes(shape[:-2], B.shape[:-1]), shape[-1]), _same_type("linalg.solve", A, B), A.device)
    if B.shape[-2] != shape[-1]:
        raise RuntimeError(f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({shape[-2]}x{shape[-1]} and {B.shape[-2]}x{B.shape[-1]})")
    batch = broadcast_shapes(shape[:-2], B.shape[:-2])
    return Spec((*batch, *B.shape[-2:]), _same_type("linalg.solve", A, B), A.device)


def _solve_vjp(g, out, needs, A, B):
    adjoint = ops.linalg_solve_plain(turned(A), g)
    if not needs[0]:
        return None, adjoint
    if _is_vector(A, B):
        return -ops.matmul(ops.unsqueeze(adjoint, -1), _conj(ops.unsqueeze(out, -2))), adjoint
    return -ops.matmul(adjoint, turned(out)), adjoint


@extern(spec=_solve_spec, vjp=_solve_vjp, joint=True, saves="A out", method=False)
def linalg_solve_plain(A, B):
    """The solution X of A X = B."""
    vector = _is_vector(A, B)
    result = _lapack("solve", np.linalg.solve, A, B[..., None] if vector else B)
    return result[..., 0] if vector else result


@composite(method=False)
def linalg_solve(A, B, *, left=True):
    """The solution X of `A X = B` (or `X A = B`). Raises LinAlgError if A is singular."""
    if left:
        return ops.linalg_solve_plain(A, B)
    return ops.transpose(ops.linalg_solve_plain(ops.transpose(A, -2, -1), ops.transpose(B, -2, -1)), -2, -1)


def _cholesky_vjp(g, out, A, upper):
    L = turned(out) if upper else out
    gL = turned(g) if upper else g
    inner_part = ops.tril(ops.matmul(turned(L), gL))
    phi = inner_part - ops.diag_embed(ops.diagonal(inner_part, 0, -2, -1)) * 0.5
    inverse_L = ops.linalg_inv(L)
    grad = ops.matmul(turned(inverse_L), ops.matmul(phi, inverse_L))
    return (grad + turned(grad)) * 0.5


@extern(spec=lambda A, upper: Spec(_square("cholesky", A), A.dtype, A.device), vjp=_cholesky_vjp, saves="out", method=False)
def linalg_cholesky(A, *, upper=False):
    """The triangular L with `A = L L^H`. Raises LinAlgError if A is not positive definite."""
    found = _lapack("cholesky", np.linalg.cholesky, A)
    return np.ascontiguousarray(np.swapaxes(found, -2, -1).conj()) if upper else found


@composite
def cholesky(input, upper=False):
    """`linalg.cholesky`."""
    return ops.linalg_cholesky(input, upper=upper)


_QR, _SVD, _Eigh, _Eig = namedtuple("qr", "Q R"), namedtuple("svd", "U S Vh"), namedtuple("eigh", "eigenvalues eigenvectors"), namedtuple("eig", "eigenvalues eigenvectors")


def _qr_spec(A, mode):
    *batch, n, m = A.shape
    k = min(n, m)
    if mode == "complete":
        return Spec((*batch, n, n), A.dtype, A.device), Spec((*batch, n, m), A.dtype, A.device)
    return Spec((*batch, n, k), A.dtype, A.device), Spec((*batch, k, m), A.dtype, A.device)


def _qr_vjp(g, out, A, mode):
    if mode != "reduced" or A.shape[-2] < A.shape[-1]:
        raise NotImplementedError("the derivative of qr is implemented for mode='reduced' and at least as many rows as columns")
    (gQ, gR), (Q, R) = g, out
    total = ops.zeros_like(R)
    if gR is not None:
        total = total + ops.matmul(R, turned(gR))
    if gQ is not None:
        total = total - ops.matmul(turned(gQ), Q)
    low = ops.tril(total, -1)
    sym = low + turned(low) + ops.diag_embed(ops.diagonal(total, 0, -2, -1))
    inner_part = ops.matmul(Q, sym)
    if gQ is not None:
        inner_part = inner_part + gQ
    return ops.matmul(inner_part, turned(ops.linalg_inv(R)))


@extern(spec=_qr_spec, vjp=_qr_vjp, saves="out", method=False, front=lambda call, *a, **k: _QR(*call(*a, **k)))
def linalg_qr(A, mode="reduced"):
    """Orthogonal Q and triangular R with `A = Q R`."""
    return tuple(np.linalg.qr(A, mode))


def _svd_spec(A, full_matrices):
    *batch, n, m = A.shape
    k = min(n, m)
    return (
        Spec((*batch, n, n if full_matrices else k), A.dtype, A.device), Spec((*batch, k), A.dtype.to_real(), A.device),
        Spec((*batch, m if full_matrices else k, m), A.dtype, A.device),
    )


def _inverse_gaps(values: Any) -> Any:
    """1 / (v[j] - v[i]) off the diagonal, 0 on it."""
    gap = ops.unsqueeze(values, -2) - ops.unsqueeze(values, -1)
    same = ops.eye(values.shape[-1], dtype=dtypes.bool_)
    return ops.where(same, ops.zeros_like(gap), 1 / ops.where(same, ops.ones_like(gap), gap))


def _svd_vjp(g, out, A, full_matrices):
    if full_matrices:
        raise NotImplementedError("the derivative of svd needs full_matrices=False")
    (gU, gS, gV), (U, S, Vh) = g, out
    gaps = _inverse_gaps(S * S)
    row, column = ops.unsqueeze(S, -2), ops.unsqueeze(S, -1)
    middle = ops.diag_embed(gS) if gS is not None else ops.zeros_like(gaps)
    if gU is not None:
        skew = ops.matmul(turned(U), gU)
        middle = middle + (skew - turned(skew)) * gaps * row
    if gV is not None:
        skew = ops.matmul(Vh, turned(gV))
        middle = middle + column * ((skew - turned(skew)) * gaps)
    result = ops.matmul(ops.matmul(U, middle), Vh)
    if gU is not None and A.shape[-2] > A.shape[-1]:
        scaled = gU / row
        result = result + ops.matmul(scaled - ops.matmul(U, ops.matmul(turned(U), scaled)), Vh)
    if gV is not None and A.shape[-1] > A.shape[-2]:
        scaled = gV / column
        result = result + ops.matmul(U, scaled - ops.matmul(ops.matmul(scaled, turned(Vh)), Vh))
    return result


@extern(spec=_svd_spec, vjp=_svd_vjp, saves="out", method=False, front=lambda call, *a, **k: _SVD(*call(*a, **k)))
def linalg_svd(A, full_matrices=True):
    """Singular values S and orthogonal U, Vh with `A = U diag(S) Vh`."""
    return tuple(_lapack("svd", lambda a: np.linalg.svd(a, full_matrices), A))


@composite(method=False)
def linalg_svdvals(A):
    """The singular values, largest first."""
    return ops.linalg_svd(A, False)[1]


@composite
def svd(input, some=True, compute_uv=True):
    """Singular values with V in place of its transpose (the older form)."""
    U, S, Vh = ops.linalg_svd(input, not some)
    return namedtuple("svd", "U S V")(U, S, turned(Vh))


def _eigh_vjp(g, out, A, UPLO):
    (gw, gv), (w, v) = g, out
    middle = ops.diag_embed(gw) if gw is not None else ops.zeros_like(v)
    if gv is not None:
        skew = ops.matmul(turned(v), gv)
        middle = middle + (skew - turned(skew)) * 0.5 * _inverse_gaps(w)
    return ops.matmul(ops.matmul(v, middle), turned(v))


@extern(
    spec=lambda A, UPLO: (Spec(_square("eigh", A)[:-1], A.dtype.to_real(), A.device), Spec(A.shape, A.dtype, A.device)),
    vjp=_eigh_vjp, saves="out", method=False, front=lambda call, *a, **k: _Eigh(*call(*a, **k)),
)
def linalg_eigh(A, UPLO="L"):
    """Eigenvalues (ascending) and eigenvectors of symmetric matrices."""
    return tuple(_lapack("eigh", lambda a: np.linalg.eigh(a, UPLO), A))


@composite(method=False)
def linalg_eigvalsh(A, UPLO="L"):
    """The eigenvalues of symmetric matrices."""
    return ops.linalg_eigh(A, UPLO)[0]


def _eig_spec(A):
    found = A.dtype.to_complex()
    return Spec(_square("eig", A)[:-1], found, A.device), Spec(A.shape, found, A.device)


@extern(spec=_eig_spec, method=False, front=lambda call, A: _Eig(*call(A)))
def linalg_eig(A):
    """Complex eigenvalues and eigenvectors."""
    kind = np.complex128 if A.dtype.itemsize // (2 if A.dtype.kind == "c" else 1) == 8 else np.complex64
    return tuple(np.asarray(x, kind) for x in _lapack("eig", np.linalg.eig, A))


@extern(spec=lambda A, rtol: Spec((*A.shape[:-2], A.shape[-1], A.shape[-2]), A.dtype, A.device), method=False)
def linalg_pinv(A, rtol=1e-15):
    """The Moore-Penrose inverse."""
    return np.linalg.pinv(A, rtol)


@composite
def pinverse(input, rcond=1e-15):
    """`linalg.pinv`."""
    return ops.linalg_pinv(input, rcond)


@extern(spec=lambda A, tol: Spec(A.shape[:-2], dtypes.int64, A.device), method=False)
def linalg_matrix_rank(A, tol=None):
    """The number of singular values that are not negligible."""
    return np.asarray(np.linalg.matrix_rank(A, tol))


_Lstsq = namedtuple("lstsq", "solution residuals rank singular_values")


def linalg_lstsq(A: Any, B: Any, rcond: Any = None, *, driver: Any = None) -> Any:
    """The least squares solution of A X = B (for one system; not differentiable)."""
    wrap = type(A)._wrap
    return _Lstsq(*(wrap(np.asarray(x)) for x in np.linalg.lstsq(A.detach().numpy(), B.detach().numpy(), rcond)))


@composite(method=False)
def linalg_matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False):
    """Norms of matrices: "fro", "nuc", 1, -1, 2, -2, inf, -inf."""
    a, b = (normalize_dim(d, A.ndim) for d in dim)
    if ord == "fro":
        return ops.linalg_vector_norm(A, 2, (a, b), keepdim)
    if ord in ("nuc", 2, -2):
        values = ops.linalg_svdvals(ops.movedim(A, (a, b), (-2, -1)))
        found = ops.sum(values, -1) if ord == "nuc" else ops.amax(values, -1) if ord == 2 else ops.amin(values, -1)
    elif ord in (1, -1, math.inf, -math.inf):
        summed, other = (a, b) if abs(ord) == 1 else (b, a)
        lines = ops.sum(ops.abs(A), summed, True)
        found = ops.squeeze((ops.amax if ord > 0 else ops.amin)(lines, other, True), (a, b))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return found if not keepdim else ops.reshape(found, tuple(1 if i in (a, b) else n for i, n in enumerate(A.shape)))


@composite(method=False)
def linalg_norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """Vector norms, and matrix norms where two dimensions and an order are given."""
    if dtype is not None:
        A = ops.convert(A, dtype)
    two = (isinstance(dim, (tuple, list)) and len(dim) == 2) or (dim is None and ord is not None and A.ndim == 2)
    if ord is None or not two:
        return ops.linalg_vector_norm(A, 2 if ord is None else ord, dim, keepdim)
    return ops.linalg_matrix_norm(A, ord, (-2, -1) if dim is None else tuple(dim), keepdim)


@composite(method=False)
def linalg_multi_dot(tensors):
    """The product of several matrices, from left to right."""
    result = tensors[0]
    for matrix in tensors[1:]:
        result = ops.matmul(result, matrix)
    return result
