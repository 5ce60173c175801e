"""Fourier transforms: three kernels (complex, real to half a spectrum, half a spectrum to real) and
torch.fft's functions over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.op import composite, extern, ops
from eager.shape import normalize_dim
from eager.spec import Spec


def _narrow(result: np.ndarray, input: np.ndarray) -> np.ndarray:
    """The result in the precision of the input."""
    single = input.dtype in (np.complex64, np.float32)
    if result.dtype.kind == "c":
        return result.astype(np.complex64 if single else np.complex128, copy=False)
    return result.astype(np.float32 if single else np.float64, copy=False)


@extern(
    spec=lambda input, dims, scale, forward: Spec(input.shape, input.dtype, input.device),
    saves="",
    vjp=lambda g, out, input, dims, scale, forward: ops.fft_complex(g, dims, scale, not forward),
    method=False,
)
def fft_complex(input, dims, scale=1.0, forward=True):
    """The transform of complex numbers along dimensions, times `scale`."""
    run, norm = (np.fft.fftn, "backward") if forward else (np.fft.ifftn, "forward")
    found = run(input, axes=dims, norm=norm)
    return np.ascontiguousarray(_narrow(found * scale if scale != 1 else found, input))


def _half_shape(input: Any, dim: int) -> tuple:
    d = normalize_dim(dim, input.ndim)
    return (*input.shape[:d], input.shape[d] // 2 + 1, *input.shape[d + 1 :])


def _real_vjp(g, out, input, dim, scale):
    d = normalize_dim(dim, input.ndim)
    missing = input.shape[d] - g.shape[d]
    pads = (0, 0) * (input.ndim - 1 - d) + (0, missing)
    return ops.real(ops.fft_complex(ops.constant_pad_nd(g, pads, 0), (d,), scale, False))


@extern(
    spec=lambda input, dim, scale: Spec(
        _half_shape(input, dim), input.dtype.to_complex(), input.device
    ),
    saves="",
    vjp=_real_vjp,
    method=False,
)
def fft_real(input, dim, scale=1.0):
    """The first half of the spectrum of real numbers along a dimension, times `scale`."""
    return np.ascontiguousarray(_narrow(np.fft.rfft(input, axis=dim) * scale, input))


def _inverse_vjp(g, out, input, dim, n, scale):
    d = normalize_dim(dim, input.ndim)
    size = input.shape[d]
    # all but the first (and for even n the last) stand for two elements of the whole spectrum
    places = ops.arange(size)
    single = places == 0
    if n % 2 == 0:
        single = single | (places == n // 2)
    weight = ops.where(single, 1.0, 2.0)
    weight = ops.convert(ops.reshape(weight, (size,) + (1,) * (input.ndim - d - 1)), g.dtype)
    return ops.fft_real(g, d, scale) * weight


@extern(
    spec=lambda input, dim, n, scale: Spec(
        (
            *input.shape[: normalize_dim(dim, input.ndim)],
            n,
            *input.shape[normalize_dim(dim, input.ndim) + 1 :],
        ),
        input.dtype.to_real(),
        input.device,
    ),
    saves="",
    vjp=_inverse_vjp,
    method=False,
)
def fft_half(input, dim, n, scale=1.0):
    """`n` real numbers from the first half of their spectrum along a dimension, times `scale`."""
    return np.ascontiguousarray(_narrow(np.fft.irfft(input, n, dim, norm="forward") * scale, input))


# -- torch.fft -------------------------------------------------------------------------------------


def _scale(norm: Any, count: Any, forward: bool) -> float:
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return 1 / float(count) ** 0.5
    return 1 / count if (norm == "forward") == forward else 1.0


def _places(input: Any, s: Any, dim: Any) -> tuple[tuple, tuple]:
    """The transformed dimensions and the sizes wanted there."""
    if dim is None:
        dims = (
            tuple(range(input.ndim)) if s is None else tuple(range(input.ndim - len(s), input.ndim))
        )
    else:
        dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    dims = tuple(normalize_dim(d, input.ndim) for d in dims)
    if len(set(dims)) != len(dims):
        raise RuntimeError("FFT dims must be unique")
    sizes = tuple(input.shape[d] for d in dims) if s is None else tuple(s)
    return dims, tuple(input.shape[d] if n == -1 else n for d, n in zip(dims, sizes))


def _resized(input: Any, dims: tuple, sizes: tuple) -> Any:
    """Cut or padded with zeros at the ends."""
    for d, n in zip(dims, sizes):
        if n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")
        have = input.shape[d]
        if n < have:
            input = ops.slice(input, d, 0, n, 1)
        elif n > have:
            input = ops.constant_pad_nd(input, (0, 0) * (input.ndim - 1 - d) + (0, n - have), 0)
    return input


def _float(input: Any) -> Any:
    return (
        ops.convert(input, dtypes.get_default_dtype())
        if input.dtype.category < dtypes.FLOATING
        else input
    )


def _count(sizes: tuple) -> Any:
    count = 1
    for n in sizes:
        count = count * n
    return count


def _complex(input: Any, s: Any, dim: Any, norm: Any, forward: bool) -> Any:
    input = _float(input)
    dims, sizes = _places(input, s, dim)
    if not input.is_complex():
        input = ops.complex(input, ops.zeros_like(input))
    return ops.fft_complex(
        _resized(input, dims, sizes), dims, _scale(norm, _count(sizes), forward), forward
    )


def _last(dims: tuple) -> int:
    if not dims:
        raise RuntimeError("a transform of real numbers must be over at least one axis")
    return dims[-1]


def _real(input: Any, s: Any, dim: Any, norm: Any, forward: bool = True) -> Any:
    """Half the spectrum of real numbers; backwards, half the inverse transform of them."""
    input = _float(input)
    if input.is_complex():
        raise RuntimeError(f"{'rfft' if forward else 'ihfft'} expects a real input tensor, but got {input.dtype}")
    dims, sizes = _places(input, s, dim)
    scale = _scale(norm, _count(sizes), forward)
    half = ops.fft_real(_resized(input, dims, sizes), _last(dims), scale)
    half = half if forward else ops.conj(half)
    return ops.fft_complex(half, dims[:-1], 1.0, forward) if len(dims) > 1 else half


def _half(input: Any, s: Any, dim: Any, norm: Any, forward: bool = False) -> Any:
    """Real numbers from half of their spectrum; forwards, the spectrum of half a Hermitian signal."""
    input = _float(input)
    if not input.is_complex():
        input = ops.complex(input, ops.zeros_like(input))
    dims, sizes = _places(input, s, dim)
    last = sizes[-1] if s is not None and s[-1] != -1 else 2 * (input.shape[_last(dims)] - 1)
    if last < 1:
        raise RuntimeError(f"Invalid number of data points ({last}) specified")
    input = _resized(input, dims, (*sizes[:-1], last // 2 + 1))
    scale = _scale(norm, _count((*sizes[:-1], last)), forward)
    if len(dims) > 1:
        input = ops.fft_complex(input, dims[:-1], 1.0, forward)
    input = ops.conj(input) if forward else input
    return ops.fft_half(input, dims[-1], last, scale)


def _one(n: Any) -> Any:
    return None if n is None else (n,)


@composite(method=False)
def fft_fft(input, n=None, dim=-1, norm=None):
    """The discrete Fourier transform along a dimension."""
    return _complex(input, _one(n), (dim,), norm, True)


@composite(method=False)
def fft_ifft(input, n=None, dim=-1, norm=None):
    """The inverse of `fft`."""
    return _complex(input, _one(n), (dim,), norm, False)


@composite(method=False)
def fft_fft2(input, s=None, dim=(-2, -1), norm=None):
    """`fft` along two dimensions."""
    return _complex(input, s, dim, norm, True)


@composite(method=False)
def fft_ifft2(input, s=None, dim=(-2, -1), norm=None):
    """The inverse of `fft2`."""
    return _complex(input, s, dim, norm, False)


@composite(method=False)
def fft_fftn(input, s=None, dim=None, norm=None):
    """`fft` along several dimensions, by default all."""
    return _complex(input, s, dim, norm, True)


@composite(method=False)
def fft_ifftn(input, s=None, dim=None, norm=None):
    """The inverse of `fftn`."""
    return _complex(input, s, dim, norm, False)


@composite(method=False)
def fft_rfft(input, n=None, dim=-1, norm=None):
    """The first half of the spectrum of real numbers."""
    return _real(input, _one(n), (dim,), norm)


@composite(method=False)
def fft_irfft(input, n=None, dim=-1, norm=None):
    """The inverse of `rfft`."""
    return _half(input, _one(n), (dim,), norm)


@composite(method=False)
def fft_rfft2(input, s=None, dim=(-2, -1), norm=None):
    """`rfft` along two dimensions."""
    return _real(input, s, dim, norm)


@composite(method=False)
def fft_irfft2(input, s=None, dim=(-2, -1), norm=None):
    """The inverse of `rfft2`."""
    return _half(input, s, dim, norm)


@composite(method=False)
def fft_rfftn(input, s=None, dim=None, norm=None):
    """`rfft` along several dimensions, by default all."""
    return _real(input, s, dim, norm)


@composite(method=False)
def fft_irfftn(input, s=None, dim=None, norm=None):
    """The inverse of `rfftn`."""
    return _half(input, s, dim, norm)


@composite(method=False)
def fft_hfft(input, n=None, dim=-1, norm=None):
    """The real spectrum of a Hermitian signal of which the first half is given."""
    return _half(input, _one(n), (dim,), norm, True)


@composite(method=False)
def fft_ihfft(input, n=None, dim=-1, norm=None):
    """The inverse of `hfft`."""
    return _real(input, _one(n), (dim,), norm, False)


@composite(method=False)
def fft_hfft2(input, s=None, dim=(-2, -1), norm=None):
    """`hfft` along two dimensions."""
    return _half(input, s, dim, norm, True)


@composite(method=False)
def fft_ihfft2(input, s=None, dim=(-2, -1), norm=None):
    """The inverse of `hfft2`."""
    return _real(input, s, dim, norm, False)


@composite(method=False)
def fft_hfftn(input, s=None, dim=None, norm=None):
    """`hfft` along several dimensions, by default all."""
    return _half(input, s, dim, norm, True)


@composite(method=False)
def fft_ihfftn(input, s=None, dim=None, norm=None):
    """The inverse of `hfftn`."""
    return _real(input, s, dim, norm, False)


def _shift(input: Any, dim: Any, forward: bool) -> Any:
    dims = (
        tuple(range(input.ndim))
        if dim is None
        else tuple(dim)
        if isinstance(dim, (tuple, list))
        else (dim,)
    )
    sizes = [input.shape[d] for d in dims]
    return ops.roll(input, tuple(n // 2 if forward else (n + 1) // 2 for n in sizes), dims)


@composite(method=False)
def fft_fftshift(input, dim=None):
    """The zero frequency moved to the middle."""
    return _shift(input, dim, True)


@composite(method=False)
def fft_ifftshift(input, dim=None):
    """The inverse of `fftshift`."""
    return _shift(input, dim, False)


@composite(method=False)
def fft_fftfreq(n, d=1.0, *, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of a spectrum of `n` elements sampled every `d`."""
    places = ops.arange(n, dtype=dtype or dtypes.get_default_dtype())
    return ops.where(places < (n + 1) // 2, places, places - n) / (n * d)


@composite(method=False)
def fft_rfftfreq(n, d=1.0, *, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of half a spectrum."""
    return ops.arange(n // 2 + 1, dtype=dtype or dtypes.get_default_dtype()) / (n * d)
