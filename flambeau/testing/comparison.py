"""`assert_close`: values, shapes and types of tensors, numbers, and containers of them. An AssertionError says where they differ most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eager import dtype as dtypes
from eager.construct import tensor as make
from eager.tensor import Tensor

# (relative, absolute) tolerance by type, where none is given.
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5), dtypes.bfloat16: (1.6e-2, 1e-5), dtypes.float32: (1.3e-6, 1e-5), dtypes.float64: (1e-7, 1e-7),
    dtypes.complex64: (1.3e-6, 1e-5), dtypes.complex128: (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """Raises AssertionError unless the two are close: |actual - expected| <= atol + rtol * |expected|, by default as precisely as
    their type allows. `msg` replaces the message, or makes another of it. Raises ValueError for one tolerance without the other,
    TypeError for what cannot be compared."""
    if (rtol is None) != (atol is None):
        raise ValueError("rtol and atol must both be specified or both be unspecified")
    options = {
        "rtol": rtol, "atol": atol, "equal_nan": equal_nan, "dtype": check_dtype, "stride": check_stride, "device": check_device,
        "subclasses": allow_subclasses,
    }  # fmt: skip
    found = _difference(actual, expected, options, "")
    if found is not None:
        raise AssertionError(found if msg is None else msg(found) if callable(msg) else msg)


def assert_allclose(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True,
                    msg: str = "") -> None:  # fmt: skip
    """The older form of `assert_close`, which takes arrays and does not look at types."""
    actual = actual if isinstance(actual, Tensor) else make(actual)
    expected = expected if isinstance(expected, Tensor) else make(expected, dtype=actual.dtype)
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)


def _difference(actual: Any, expected: Any, options: dict, where: str) -> str | None:
    """What is wrong, or None."""
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            return f"The keys of the mappings{where} do not match: {sorted(map(str, actual))} and {sorted(map(str, expected))}"
        pairs = [(key, actual[key], expected[key]) for key in actual]
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            return f"The length of the sequences{where} mismatch: {len(actual)} != {len(expected)}"
        pairs = [(i, one, other) for i, (one, other) in enumerate(zip(actual, expected))]
    else:
        return _values(actual, expected, options, where)
    for key, one, other in pairs:
        found = _difference(one, other, options, f"{where} of item [{key!r}]")
        if found is not None:
            return found
    return None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _values(actual: Any, expected: Any, options: dict, where: str) -> str | None:
    if actual is None or expected is None:
        return None if actual is expected else f"None mismatch{where}: {actual} is not {expected}"
    if isinstance(actual, Tensor) != isinstance(expected, Tensor):
        raise TypeError(f"No comparison was able to handle inputs of type {type(actual)} and {type(expected)}{where}")
    if isinstance(actual, Tensor):
        if not options["subclasses"] and type(actual) is not type(expected):
            raise TypeError(f"allow_subclasses=False, but got {type(actual)} and {type(expected)}{where}")
        return _tensors(actual, expected, options, where)
    if isinstance(actual, (bool, int, float, complex, np.generic)) and isinstance(expected, (bool, int, float, complex, np.generic)):
        if options["dtype"] and type(actual) is not type(expected):
            return f"The types{where} do not match: {type(actual)} and {type(expected)}"
        kind = dtypes.complex128 if isinstance(actual, complex) else dtypes.float64 if isinstance(actual, float) else dtypes.int64
        return _arrays(np.asarray(actual), np.asarray(expected), _tolerance(options, kind), options, where, "Scalars")
    raise TypeError(f"No comparison was able to handle inputs of type {type(actual)} and {type(expected)}{where}")


def _tensors(actual: Tensor, expected: Tensor, options: dict, where: str) -> str | None:
    if tuple(actual.shape) != tuple(expected.shape):
        return f"The values for attribute 'shape'{where} do not match: {actual.shape} != {expected.shape}."
    if options["dtype"] and actual.dtype is not expected.dtype:
        return f"The values for attribute 'dtype'{where} do not match: {actual.dtype} != {expected.dtype}."
    if options["stride"] and actual.stride() != expected.stride():
        return f"The values for attribute 'stride()'{where} do not match: {actual.stride()} != {expected.stride()}."
    first, second = _tolerance(options, actual.dtype), _tolerance(options, expected.dtype)
    tolerance = (max(first[0], second[0]), max(first[1], second[1]))
    return _arrays(actual.detach()._array, expected.detach()._array, tolerance, options, where, "Tensor-likes")


def _tolerance(options: dict, kind: Any) -> tuple[float, float]:
    if options["rtol"] is not None:
        return options["rtol"], options["atol"]
    return _TOLERANCES.get(kind, (0.0, 0.0))


def _arrays(actual: np.ndarray, expected: np.ndarray, tolerance: tuple, options: dict, where: str, what: str) -> str | None:
    rtol, atol = tolerance
    wide = np.complex128 if "c" in (actual.dtype.kind, expected.dtype.kind) else np.float64
    if actual.dtype.kind in "iub" and expected.dtype.kind in "iub" and rtol == atol == 0:
        close = actual == expected
        away = np.abs(actual.astype(object) - expected.astype(object)).astype(np.float64) if not close.all() else np.zeros(actual.shape)
        size = np.abs(expected.astype(np.float64))
    else:
        one, other = actual.astype(wide), expected.astype(wide)
        close = np.isclose(one, other, rtol, atol, options["equal_nan"])
        with np.errstate(all="ignore"):
            away, size = np.abs(one - other), np.abs(other)
    if close.all():
        return None
    wrong = ~np.asarray(close)
    with np.errstate(all="ignore"):
        away = np.where(wrong & np.isfinite(away), away, 0)
        share = np.where(wrong & (size > 0), away / np.where(size > 0, size, 1), 0)
    places = [np.unravel_index(int(np.argmax(values)), values.shape) if values.ndim else () for values in (away, share)]
    place = [tuple(int(i) for i in p) for p in places]
    if what == "Scalars":
        return (f"{what}{where} are not close!\n\nExpected {expected} but got {actual}.\nAbsolute difference: {away} (up to {atol} allowed)"
                f"\nRelative difference: {share} (up to {rtol} allowed)")
    return (f"{what}{where} are not close!\n\nMismatched elements: {int(wrong.sum())} / {wrong.size} ({100 * wrong.mean():.1f}%)\n"
            f"Greatest absolute difference: {away[place[0]]} at index {place[0]} (up to {atol} allowed)\n"
            f"Greatest relative difference: {share[place[1]]} at index {place[1]} (up to {rtol} allowed)")
