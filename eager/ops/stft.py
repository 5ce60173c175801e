"""Short-time Fourier transforms: spectra of overlapping windows of a signal, and the signal from them."""

from __future__ import annotations

from typing import Any

from eager import dtype as dtypes
from eager.op import composite, ops
from eager.tensor import Tensor


def _lengths(name: str, n_fft: Any, hop_length: Any, win_length: Any, window: Any) -> tuple:
    """The step and the length of windows. Raises RuntimeError for what makes no sense."""
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if n_fft <= 0:
        raise RuntimeError(f"{name}(): expected n_fft > 0, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(f"{name}(): expected hop_length > 0, but got hop_length={hop}")
    if not 0 < width <= n_fft:
        raise RuntimeError(f"{name}(): expected 0 < win_length <= n_fft, but got win_length={width}")
    if window is not None and tuple(window.shape) != (width,):
        raise RuntimeError(
            f"{name}(): expected a 1D window tensor of size equal to win_length={width}, but got window with size {list(window.shape)}"
        )
    return hop, width


def _window(window: Any, width: Any, n_fft: Any, kind: Any) -> Any:
    """The window in the middle of `n_fft` elements."""
    window = ops.ones((width,), dtype=kind) if window is None else window
    left = (n_fft - width) // 2
    return window if width == n_fft else ops.constant_pad_nd(window, (left, n_fft - width - left), 0)


def _frames(input: Any, n_fft: Any, center: Any, pad_mode: str, align: Any) -> Any:
    """A batch of signals, padded so that windows stand around their places."""
    rows = ops.reshape(input, (1, -1)) if input.ndim == 1 else input
    if center:
        if align is not None:
            raise RuntimeError("stft align_to_window should only be set when center = false")
        half = n_fft // 2
        rows = ops.squeeze(ops.pad(ops.unsqueeze(rows, 1), (half, half), mode=pad_mode), 1)
    if not n_fft <= rows.shape[-1]:
        raise RuntimeError(f"stft(): expected 0 < n_fft <= {rows.shape[-1]}, but got n_fft={n_fft}")
    return rows


@composite
def stft(
    input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect", normalized=False, onesided=None,
    return_complex=None, align_to_window=None,
):
    """The spectra of windows of `n_fft` elements every `hop_length` (a quarter of it): frequencies by time."""
    hop, width = _lengths("stft", n_fft, hop_length, win_length, window)
    if input.ndim not in (1, 2) or input.dtype.category < dtypes.FLOATING:
        raise RuntimeError(f"stft(): expected a 1D or 2D tensor of floating types, but got {input.ndim}D of {input.dtype}")
    spectral = input.is_complex() or (window is not None and window.is_complex())
    onesided = not spectral if onesided is None else onesided
    if onesided and spectral:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if return_complex is None and not spectral:
        raise RuntimeError("stft requires the return_complex parameter be given for real inputs: pass return_complex=True")
    rows = _frames(input, n_fft, center, pad_mode, align_to_window)
    frames = ops.unfold(rows, 1, n_fft, hop) * _window(window, width, n_fft, input.dtype)
    norm = "ortho" if normalized else None
    found = ops.fft_rfft(frames, norm=norm) if onesided else ops.fft_fft(frames, norm=norm)
    found = ops.transpose(found, 1, 2)
    found = ops.squeeze(found, 0) if input.ndim == 1 else found
    return ops.view_as_real(found) if return_complex is False else found


def _spectra(input: Any, n_fft: Any, onesided: bool) -> Any:
    """A batch of spectra, time by frequencies. Raises RuntimeError for another number of frequencies."""
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if input.ndim not in (2, 3) or not input.numel():
        raise RuntimeError(f"istft(): expected a non-empty tensor with 2 or 3 dimensions, but got {list(input.shape)}")
    rows = ops.unsqueeze(input, 0) if input.ndim == 2 else input
    wanted = n_fft // 2 + 1 if onesided else n_fft
    if rows.shape[1] != wanted:
        raise RuntimeError(
            f"istft(): expected the frequency dimension (3rd to the last) of the input tensor to match n_fft{' / 2 + 1' if onesided else ''} "
            f"when onesided={onesided}, but got {rows.shape[1]}"
        )
    return ops.transpose(rows, 1, 2)


@composite
def istft(
    input, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False, onesided=None, length=None,
    return_complex=False,
):
    """The signal whose `stft` is nearest to the input. Raises RuntimeError where windows leave a gap."""
    hop, width = _lengths("istft", n_fft, hop_length, win_length, window)
    if hop > width:
        raise RuntimeError(f"istft(): expected 0 < hop_length <= win_length, but got hop_length={hop}")
    onesided = input.ndim > 1 and input.shape[-2] != n_fft if onesided is None else onesided
    if return_complex and onesided:
        raise RuntimeError("cannot have onesided output if window or input is complex")
    rows = _spectra(input, n_fft, onesided)
    shaped = _window(window, width, n_fft, input.dtype if return_complex else input.dtype.to_real())
    norm = "ortho" if normalized else None
    if return_complex:
        frames = ops.fft_ifft(rows, norm=norm)
    else:  # of a whole spectrum the second half says nothing more about real numbers
        frames = ops.fft_irfft(ops.slice(rows, 2, 0, n_fft // 2 + 1, 1), n_fft, norm=norm)
    count = frames.shape[1]
    total = n_fft + hop * (count - 1)
    signal = ops.unfold_backward(frames * shaped, (frames.shape[0], total), 1, n_fft, hop)
    squares = ops.expand(ops.reshape(shaped * shaped, (1, 1, n_fft)), (1, count, n_fft))
    envelope = ops.unfold_backward(squares, (1, total), 1, n_fft, hop)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - n_fft // 2 if center else total
    signal, envelope = (ops.slice(x, 1, start, end, 1) for x in (signal, envelope))
    _check_envelope(envelope)
    signal = signal / envelope
    if length is not None and end > total:
        signal = ops.constant_pad_nd(signal, (0, end - total), 0)
    return ops.squeeze(signal, 0) if input.ndim == 2 else signal


def _check_envelope(envelope: Any) -> None:
    smallest = ops.amin(ops.abs(envelope.detach())) if envelope.numel() else None
    if type(smallest) is Tensor and not smallest._array > 1e-11:  # what is only traced has no values
        raise RuntimeError(f"istft(): window overlap add min: {float(smallest)}; the windows leave a gap")
