"""torch.distributions.transforms: functions with inverses, and the logarithm of how much each stretches space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from eager.nn import functional as F
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


class Transform:
    """A function `_call` with inverse `_inverse`; `domain_dim` and `codomain_dim` say of how many dimensions its events are."""

    bijective = False
    sign = 0
    domain_dim = codomain_dim = 0

    def __init__(self, cache_size: int = 0):
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size = cache_size

    def __call__(self, x: Tensor) -> Tensor:
        return self._call(x)

    @property
    def inv(self) -> Transform:
        """The inverse transform."""
        return _Inverse(self)

    def _call(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}._call")

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The logarithm of the stretch from x to y."""
        raise NotImplementedError(f"{type(self).__name__}.log_abs_det_jacobian")

    def forward_shape(self, shape: Any) -> tuple:
        return tuple(shape)

    def inverse_shape(self, shape: Any) -> tuple:
        return tuple(shape)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and type(self).__init__ is Transform.__init__)

    def __hash__(self) -> int:
        return id(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Inverse(Transform):
    def __init__(self, transform: Transform):
        super().__init__()
        self.transform = transform
        self.bijective, self.sign = transform.bijective, transform.sign
        self.domain_dim, self.codomain_dim = transform.codomain_dim, transform.domain_dim

    @property
    def inv(self) -> Transform:
        return self.transform

    def _call(self, x: Tensor) -> Tensor:
        return self.transform._inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.transform._call(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.transform.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> tuple:
        return self.transform.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> tuple:
        return self.transform.forward_shape(shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Inverse) and self.transform == other.transform

    def __hash__(self) -> int:
        return hash(self.transform) + 1

    def __repr__(self) -> str:
        return f"_InverseTransform({self.transform!r})"


def summed(value: Tensor, count: int) -> Tensor:
    """The sum over the last dimensions."""
    return value.sum(tuple(range(-count, 0))) if count > 0 else value


class ComposeTransform(Transform):
    """Transforms one after the other."""

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0):
        super().__init__(cache_size)
        self.parts = list(parts)
        self.bijective = all(part.bijective for part in self.parts)
        self.sign = math.prod(part.sign for part in self.parts)
        self.domain_dim = self._dims(reversed(self.parts), "codomain_dim", "domain_dim")
        self.codomain_dim = self._dims(self.parts, "domain_dim", "codomain_dim")

    @staticmethod
    def _dims(parts: Any, enters: str, leaves: str) -> int:
        dims = 0
        for part in parts:
            dims = max(dims, getattr(part, enters)) + getattr(part, leaves) - getattr(part, enters)
        return dims

    @property
    def inv(self) -> Transform:
        return ComposeTransform([part.inv for part in reversed(self.parts)])

    def _call(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part._inverse(y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.parts:
            return ops.zeros_like(x)
        dims, total = self.domain_dim, None
        for part in self.parts:
            after = part(x)
            stretch = summed(part.log_abs_det_jacobian(x, after), dims - part.domain_dim)
            total = stretch if total is None else total + stretch
            dims, x = dims + part.codomain_dim - part.domain_dim, after
        assert total is not None
        return total

    def forward_shape(self, shape: Any) -> tuple:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return tuple(shape)

    def inverse_shape(self, shape: Any) -> tuple:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return tuple(shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComposeTransform) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(tuple(self.parts))

    def __repr__(self) -> str:
        return "ComposeTransform(\n    " + ",\n    ".join(map(repr, self.parts)) + "\n)"


identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """A transform whose last batch dimensions belong to the event."""

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0):
        super().__init__(cache_size)
        self.base_transform, self.reinterpreted_batch_ndims = base_transform, reinterpreted_batch_ndims
        self.bijective, self.sign = base_transform.bijective, base_transform.sign
        self.domain_dim = base_transform.domain_dim + reinterpreted_batch_ndims
        self.codomain_dim = base_transform.codomain_dim + reinterpreted_batch_ndims

    def _call(self, x: Tensor) -> Tensor:
        if x.ndim < self.domain_dim:
            raise ValueError("Too few dimensions on input")
        return self.base_transform(x)

    def _inverse(self, y: Tensor) -> Tensor:
        if y.ndim < self.codomain_dim:
            raise ValueError("Too few dimensions on input")
        return self.base_transform._inverse(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return summed(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Any) -> tuple:
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Any) -> tuple:
        return self.base_transform.inverse_shape(shape)

    def __repr__(self) -> str:
        return f"IndependentTransform({self.base_transform!r}, {self.reinterpreted_batch_ndims})"


class ReshapeTransform(Transform):
    """Another shape of the event."""

    bijective = True

    def __init__(self, in_shape: Any, out_shape: Any, cache_size: int = 0):
        super().__init__(cache_size)
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ValueError("in_shape, out_shape have different numbers of elements")
        self.domain_dim, self.codomain_dim = len(self.in_shape), len(self.out_shape)

    def _call(self, x: Tensor) -> Tensor:
        return x.reshape((*x.shape[: x.ndim - self.domain_dim], *self.out_shape))

    def _inverse(self, y: Tensor) -> Tensor:
        return y.reshape((*y.shape[: y.ndim - self.codomain_dim], *self.in_shape))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.zeros(tuple(x.shape[: x.ndim - self.domain_dim]), dtype=x.dtype)

    def forward_shape(self, shape: Any) -> tuple:
        return (*tuple(shape)[: len(shape) - self.domain_dim], *self.out_shape)

    def inverse_shape(self, shape: Any) -> tuple:
        return (*tuple(shape)[: len(shape) - self.codomain_dim], *self.in_shape)


class ExpTransform(Transform):
    """The exponential."""

    bijective, sign = True, 1

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class PowerTransform(Transform):
    """A power of positive numbers."""

    bijective = True

    def __init__(self, exponent: Any, cache_size: int = 0):
        super().__init__(cache_size)
        self.exponent = exponent if isinstance(exponent, Tensor) else ops.full((), float(exponent))

    @property
    def sign(self) -> Any:  # type: ignore[override]
        return self.exponent.sign()

    def _call(self, x: Tensor) -> Tensor:
        return x**self.exponent

    def _inverse(self, y: Tensor) -> Tensor:
        return y ** (1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.exponent * y / x).abs().log()


class SigmoidTransform(Transform):
    """The logistic function."""

    bijective, sign = True, 1

    def _call(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x).clamp(1e-37, 1 - 1.2e-7) if x.element_size() < 8 else ops.sigmoid(x).clamp(1e-307, 1 - 2.3e-16)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log() - ops.log1p(-y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -F.softplus(-x) - F.softplus(x)


class SoftplusTransform(Transform):
    """`log(1 + exp(x))`."""

    bijective, sign = True, 1

    def _call(self, x: Tensor) -> Tensor:
        return F.softplus(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return ops.log(-ops.expm1(-y)) + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -F.softplus(-x)


class TanhTransform(Transform):
    """The hyperbolic tangent."""

    bijective, sign = True, 1

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return ops.atanh(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return 2.0 * (math.log(2.0) - x - F.softplus(-2.0 * x))


class AbsTransform(Transform):
    """The magnitude."""

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """`loc + scale * x`."""

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0):
        super().__init__(cache_size)
        self.loc, self.scale = loc, scale
        self.event_dim = self.domain_dim = self.codomain_dim = event_dim

    @property
    def sign(self) -> Any:  # type: ignore[override]
        return self.scale.sign() if isinstance(self.scale, Tensor) else (self.scale > 0) - (self.scale < 0)

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        scale = self.scale
        size = scale.abs().log() if isinstance(scale, Tensor) else ops.full((), math.log(abs(scale)), dtype=x.dtype)
        return summed(size.expand(ops.broadcast_tensors(x, size)[0].shape), self.event_dim)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AffineTransform) and all(
            bool(ops.all(ops.eq(*(v if isinstance(v, Tensor) else ops.full((), float(v)) for v in pair))))
            for pair in ((self.loc, other.loc), (self.scale, other.scale))
        )

    def __hash__(self) -> int:
        return hash(AffineTransform)


class SoftmaxTransform(Transform):
    """Softmax over the last dimension; its inverse is one of many."""

    domain_dim = codomain_dim = 1

    def _call(self, x: Tensor) -> Tensor:
        return ops.softmax(x, -1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()


class StickBreakingTransform(Transform):
    """K numbers to K + 1 shares: each breaks off a part of what is left."""

    bijective = True
    domain_dim = codomain_dim = 1

    def _offset(self, x: Tensor) -> Tensor:
        count = x.shape[-1]
        return count + 1 - ops.arange(1, count + 1, dtype=x.dtype)

    def _call(self, x: Tensor) -> Tensor:
        part = SigmoidTransform()(x - self._offset(x).log())
        left = (1 - part).cumprod(-1)
        return F.pad(part, [0, 1], value=1) * F.pad(left, [1, 0], value=1)

    def _inverse(self, y: Tensor) -> Tensor:
        part = y[..., :-1]
        tiny = 1.1754943508222875e-38 if y.element_size() < 8 else 2.2250738585072014e-308
        left = (1 - part.cumsum(-1)).clamp(min=tiny)
        return part.log() - left.log() + self._offset(part).log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        x = x - self._offset(x).log()
        return (-x + F.logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> tuple:
        return (*tuple(shape)[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Any) -> tuple:
        return (*tuple(shape)[:-1], shape[-1] - 1)


class LowerCholeskyTransform(Transform):
    """Matrices to lower triangular ones with a positive diagonal."""

    domain_dim = codomain_dim = 2

    def _call(self, x: Tensor) -> Tensor:
        return ops.tril(x, -1) + ops.diag_embed(ops.diagonal(x, dim1=-2, dim2=-1).exp())

    def _inverse(self, y: Tensor) -> Tensor:
        return ops.tril(y, -1) + ops.diag_embed(ops.diagonal(y, dim1=-2, dim2=-1).log())


class PositiveDefiniteTransform(Transform):
    """Matrices to positive definite ones."""

    domain_dim = codomain_dim = 2

    def _call(self, x: Tensor) -> Tensor:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform()._inverse(ops.linalg_cholesky(y))


class CumulativeDistributionTransform(Transform):
    """The cumulative distribution function of a distribution."""

    bijective, sign = True, 1

    def __init__(self, distribution: Any, cache_size: int = 0):
        super().__init__(cache_size)
        self.distribution = distribution

    def _call(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distribution.log_prob(x)


class _Parts(Transform):
    """Transforms of parts along a dimension."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None, cache_size: int = 0):
        super().__init__(cache_size)
        self.transforms, self.dim = list(tseq), dim
        self.bijective = all(t.bijective for t in self.transforms)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        return ops.split(x, self.lengths, self.dim)

    def _join(self, parts: list) -> Tensor:
        return ops.cat(parts, self.dim)

    def _call(self, x: Tensor) -> Tensor:
        return self._join([t(part) for t, part in zip(self.transforms, self._split(x), strict=True)])

    def _inverse(self, y: Tensor) -> Tensor:
        return self._join([t._inverse(part) for t, part in zip(self.transforms, self._split(y), strict=True)])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        pairs = zip(self.transforms, self._split(x), self._split(y), strict=True)
        return self._join([t.log_abs_det_jacobian(a, b) for t, a, b in pairs])


class CatTransform(_Parts):
    """Transforms of parts of the given lengths along a dimension."""


class StackTransform(_Parts):
    """Transforms of slices along a dimension."""

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        return ops.unbind(x, self.dim)

    def _join(self, parts: list) -> Tensor:
        return ops.stack(parts, self.dim)


__getattr__ = lookup(__name__)
