"""torch.nn.utils.parametrizations.orthogonal: a weight with orthonormal rows or columns."""

from __future__ import annotations

from typing import Any

from eager.autograd import no_grad
from eager.nn.module import Module
from eager.nn.parametrization import register_parametrization
from eager.registry import ops
from eager.tensor import Tensor


class _Orthogonal(Module):
    """An orthogonal matrix from any: the exponential or Cayley's map of its antisymmetric part, or products of Householder's
    reflections; times a base that makes the first value the weight itself."""

    base: Tensor

    def __init__(self, weight: Tensor, kind: str, use_trivialization: bool):
        super().__init__()
        if weight.is_complex() and kind == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape, self.kind = tuple(weight.shape), kind
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        n, k = X.shape[-2:]
        wide = n < k
        X = X.mT if wide else X
        n, k = (k, n) if wide else (n, k)
        if self.kind == "householder":
            found = _reflections(X)
        else:
            lower = X.tril()
            if n != k:
                lower = ops.cat([lower, ops.zeros((*X.shape[:-2], n, n - k), dtype=X.dtype)], -1)
            turn = lower - lower.mH
            if self.kind == "matrix_exp":
                found = ops.matrix_exp(turn)
            else:
                unit = ops.eye(n, dtype=X.dtype)
                found = ops.linalg_solve(unit + turn * -0.5, unit + turn * 0.5)
            found = found[..., :k]
        base = getattr(self, "base", None)
        found = found if base is None else base @ found
        return found.mT if wide else found

    @no_grad()
    def right_inverse(self, Q: Tensor) -> Tensor:
        """What gives this weight: its orthogonal factor becomes the base. Raises ValueError for another shape, NotImplementedError
        without a base."""
        if tuple(Q.shape) != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {tuple(Q.shape)}.")
        n, k = Q.shape[-2:]
        wide = n < k
        matrix = Q.mT if wide else Q
        n, k = (k, n) if wide else (n, k)
        if not hasattr(self, "base"):
            if self.kind in ("cayley", "matrix_exp"):
                raise NotImplementedError("It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                                          "use_trivialization=False.")
            tall, _ = ops.geqrf(matrix)
            ones = ops.diagonal(tall, dim1=-2, dim2=-1).sign()
            lower = tall.tril(-1) + ops.pad(ops.diag_embed(ones), (0, 0, 0, n - k))
            return lower.mT if wide else lower
        filled = matrix if n == k else ops.cat([matrix, ops.randn((*Q.shape[:-2], n, n - k), dtype=Q.dtype)], -1)
        self.base = _orthonormal(filled)
        # with reflections by nothing on it, and a diagonal that turns the sign of each, all maps give the identity
        return -ops.eye(*Q.shape[-2:], dtype=Q.dtype).expand(tuple(Q.shape)).clone()


def _orthonormal(matrix: Tensor) -> Tensor:
    """The orthogonal factor of a QR decomposition whose triangle has positive numbers on its diagonal."""
    q, r = ops.linalg_qr(matrix)
    return q * ops.diagonal(r, dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def _reflections(X: Tensor) -> Tensor:
    lower = X.tril(-1)
    tau = 2.0 / (1.0 + (lower * lower).sum(-2))
    found = ops.linalg_householder_product(lower, tau)
    return found * ops.diagonal(X, dim1=-2, dim2=-1).int().unsqueeze(-2)


def orthogonal(module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True) -> Module:
    """Keep a weight orthogonal: a parametrization by "matrix_exp", "cayley" or "householder".

    Raises ValueError for what is no matrix, or another map."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] or weight.is_complex() else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}')
    made: Any = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
