"""What a program sets once or asks about: default device, threads, determinism, memory formats; and small questions after tensors."""

from __future__ import annotations

from typing import Any

from eager import dtype as dtypes
from eager import threads
from eager.construct import legacy_dtype
from eager.device import check, device
from eager.storage import Storage
from eager.tensor import Tensor


class memory_format:
    """An order of dimensions in memory; compare with `is`."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __eq__(self, other: object) -> bool:
        return self is other or str(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __reduce__(self) -> str:
        return self.name


class layout(memory_format):
    """How a tensor's elements are kept: flambeau has strided tensors only."""


contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")
strided = layout("strided")
sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc = (layout(f"sparse_{name}") for name in "coo csr csc bsr bsc".split())

_interop = [1]
_precision = ["highest"]
_deterministic = [False]


def set_num_threads(num: int) -> None:
    """Threads of NumPy's BLAS and of compiled programs. Raises RuntimeError for less than one, TypeError for no number."""
    if not isinstance(num, int):
        raise TypeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    import threadpoolctl

    threads.set_num_threads(num)
    threadpoolctl.threadpool_limits(num)


def get_num_threads() -> int:
    """The threads that an operator or a compiled program may use."""
    return threads.get_num_threads()


def set_num_interop_threads(num: int) -> None:
    """Remembered; flambeau runs one operator at a time."""
    _interop[0] = num


def get_num_interop_threads() -> int:
    return _interop[0]


def get_default_device() -> device:
    return device("cpu")


def set_default_device(place: Any) -> None:
    """Where new tensors are made. Raises RuntimeError for what is not the CPU."""
    if check(place).type != "cpu":
        raise RuntimeError("flambeau makes new tensors on the CPU: the default device cannot be another (yet)")


def set_default_tensor_type(t: Any) -> None:
    """The legacy way to say `set_default_dtype`."""
    dtypes.set_default_dtype(legacy_dtype(t))


def get_float32_matmul_precision() -> str:
    return _precision[0]


def set_float32_matmul_precision(precision: str) -> None:
    """Remembered; products of float32 are always computed in float32. Raises RuntimeError for an unknown name."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"Invalid float32 matmul precision: {precision}")
    _precision[0] = precision


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remembered; every algorithm here is deterministic."""
    _deterministic[0] = bool(mode)


def are_deterministic_algorithms_enabled() -> bool:
    return _deterministic[0]


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """False: flambeau does not have autocast (yet)."""
    return False


def is_autocast_cpu_enabled() -> bool:
    return False


def is_autocast_cache_enabled() -> bool:
    return False


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    return isinstance(obj, Storage)


def is_floating_point(input: Tensor) -> bool:
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    return input.is_complex()


def is_nonzero(input: Tensor) -> bool:
    """Whether a tensor of one element is not zero. Raises RuntimeError for another size."""
    return bool(input)


def numel(input: Tensor) -> int:
    return input.numel()


def typename(obj: Any) -> str:
    """The name of an object's type; for tensors the legacy one, "torch.FloatTensor"."""
    return obj.type() if isinstance(obj, Tensor) else f"{type(obj).__module__}.{type(obj).__qualname__}"


def _assert(condition: Any, message: str) -> None:
    """`assert` as a call. Raises AssertionError."""
    assert condition, message
