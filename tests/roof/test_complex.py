"""Gradients and second gradients of complex numbers against torch, which follow the conjugate convention."""

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
RANDOM = np.random.default_rng(0)
FIRST, SECOND = (RANDOM.standard_normal((3, 4)) + 1j * RANDOM.standard_normal((3, 4)) for _ in range(2))

EXPRESSIONS = """
a * b | a / b | a.abs() | a.angle() | a.real * b.imag | a.exp() | a.exp2() | a.expm1() | a.log() | a.log1p() | a.log2() | a.log10()
a.sqrt() | a.rsqrt() | a.sin() * b.cos() | a.tan() | a.asin() | a.acos() | a.atan() | a.sinh() | a.cosh() | a.tanh() | a.asinh()
a.acosh() | a.atanh() | a.sigmoid() | a.square() | a.reciprocal() | a ** 2.5 | a ** b | a ** 3 | a.conj() * b | a.sgn() | a.sinc()
1 - a * 2j | l.add(a, b, alpha=2j) | l.sub(a, b, alpha=1 - 2j) | l.addcmul(a, a, b, value=2j) | l.addcdiv(a, a, b, value=2j)
l.lerp(a, b, 0.3) | l.addmm(a[:, :3], a, b.t(), beta=2j, alpha=1 - 1j) | a @ b.t() | a @ b.mH | l.bmm(a[None], b.t()[None])
(a * b).sum(0) | a.mean() | a.prod(1) | a.cumsum(1) | a.cumprod(1) | a.logcumsumexp(1) | a.logsumexp(1) | a.var() | a.std(0)
l.einsum("ij,kj->ik", a, b) | l.vdot(a[0], b[0]) | l.dot(a[0], b[0]) | l.kron(a, b) | l.linalg.cross(a.t(), b.t())
l.fft.fft(a) | l.fft.ifft2(a * b) | l.fft.irfft(a) | l.linalg.norm(a) | l.linalg.inv(a @ b.mH) | l.linalg.det(a @ b.mH)
l.linalg.solve(a @ b.mH, a) | l.linalg.svdvals(a) | l.linalg.eigvalsh(a @ a.mH) | l.linalg.matrix_exp(a[:, :3])
l.view_as_real(a) | l.complex(a.real, b.imag) | l.polar(a.abs(), b.angle()) | l.where(a.real > 0, a, b) | a[[0, 0, 2]] * b
l.nn.functional.conv1d(a[None], b[None, :, :2]) | l.nn.functional.conv_transpose1d(a[None], b[:, None, :2])
l.nn.functional.softsign(a) | l.nn.functional.tanhshrink(a) | a.scatter_add(1, l.zeros(3, 4, dtype=l.int64), b) | l.corrcoef(a)
"""
NAMES = [part.strip() for line in EXPRESSIONS.strip().splitlines() for part in line.split("|")]


def derivatives(library, expression):
    """The value, and the gradients and second gradients by both inputs."""
    made = flambeau.from_numpy if library is flambeau else torch.from_numpy
    a, b = (made(x.copy()).requires_grad_() for x in (FIRST, SECOND))
    out = eval(expression, {"l": library, "a": a, "b": b})
    total = (out * out.conj()).real.sum() + out.real.sum() if out.is_complex() else out.sin().sum()
    first = library.autograd.grad(total, (a, b), create_graph=True, allow_unused=True)
    square = sum((g * g * (1 + 1j)).real.sum() for g in first if g is not None)
    second = library.autograd.grad(square, (a, b), allow_unused=True) if square.requires_grad else (None, None)
    return [out, *(library.zeros_like(a) if g is None else g for g in (*first, *second))]


@pytest.mark.parametrize("expression", NAMES)
def test_complex_gradients(expression):
    for mine, theirs in zip(derivatives(flambeau, expression), derivatives(torch, expression), strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().resolve_conj().numpy(), rtol=1e-7, atol=1e-8)
