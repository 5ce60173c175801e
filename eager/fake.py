"""Fake tensors: shape, strides, offset, dtype and device without values. Operators on them run
their shape rules only.
"""

from __future__ import annotations

from typing import Any

from eager.device import CPU, device
from eager.dtype import dtype as DType
from eager.shape import Size, contiguous_strides, is_contiguous, numel
from eager.spec import Spec
from eager.storage import Storage
from eager.tensor import Tensor


class DataDependent(RuntimeError):
    """Raised where the values of a fake tensor are asked for (`item()`, `bool()`, `numpy()`, a
    data-dependent shape).
    """


class FakeTensor(Tensor, plain=False):
    """A tensor without values. `FakeTensor.of(x)` describes a tensor or a `Spec`; aliases share a
    fake storage.
    """

    _proxy: Any = None  # a recorder's mark: the node that computes this value
    _leaf: bool = False  # of a program's input: whether autograd knows it as a leaf
    _known: Any = None  # the array, where a recorder knows that it is always this one

    def __init__(
        self,
        shape: Any,
        strides: Any,
        dtype: DType,
        device: device = CPU,
        offset: int = 0,
        storage: Storage | None = None,
        requires_grad: bool = False,
    ):
        self._shape, self._strides, self._offset = Size(shape), tuple(strides), offset
        self._dtype, self._device = dtype, device
        self._storage = storage or Storage(None, numel(shape) * dtype.itemsize)
        self._requires_grad = requires_grad

    def __new__(cls, *args: Any, **kwargs: Any) -> FakeTensor:
        return object.__new__(cls)

    @staticmethod
    def of(source: Any, storages: dict[int, Storage] | None = None) -> FakeTensor:
        """A fresh fake of a tensor or Spec. With `storages` (a memo), fakes of aliases alias."""
        storage = None
        if storages is not None and isinstance(source, Tensor):
            real = source.untyped_storage()
            storage = storages.get(id(real))
            if storage is None:
                storage = storages[id(real)] = Storage(None, real.nbytes())
        strides = source.stride()
        offset = source.storage_offset() if isinstance(source, Tensor) else 0
        return FakeTensor(
            source.shape,
            strides,
            source.dtype,
            source.device,
            offset,
            storage,
            getattr(source, "requires_grad", False),
        )

    @property
    def _array(self) -> Any:  # type: ignore[override]
        if self._known is not None:
            return self._known
        raise DataDependent(
            "the values of a fake tensor were asked for: only its shape, strides and dtype are"
            " known here"
        )

    @property
    def shape(self) -> Size:  # type: ignore[override]
        return self._shape

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self._dtype

    @property
    def device(self) -> device:  # type: ignore[override]
        return self._device

    @property
    def ndim(self) -> int:  # type: ignore[override]
        return len(self._shape)

    def dim(self) -> int:
        return len(self._shape)

    def size(self, dim: int | None = None) -> Any:
        return self._shape if dim is None else self._size(dim)

    def stride(self, dim: int | None = None) -> Any:
        return self._strides if dim is None else self._strides[dim]

    def storage_offset(self) -> int:
        return self._offset

    def numel(self) -> int:
        return numel(self._shape)

    def untyped_storage(self) -> Storage:
        return self._storage  # type: ignore[return-value]

    def data_ptr(self) -> int:
        raise DataDependent("data_ptr() of a fake tensor")

    def _spec(self) -> Spec:
        return Spec(self._shape, self._dtype, self._device, self._strides)

    def _is_packed(self) -> bool:
        return is_contiguous(self._shape, self._strides)

    def _fake_alias(
        self, shape: Any, strides: Any, offset: int, op: Any, params: tuple
    ) -> FakeTensor:
        result = FakeTensor(shape, strides, self._dtype, self._device, offset, self._storage)
        result._base = self if self._base is None else self._base
        result._view = (self._view or ()) + ((op, params),)
        return result

    def _shallow(self) -> FakeTensor:
        result = FakeTensor(
            self._shape, self._strides, self._dtype, self._device, self._offset, self._storage
        )
        result._proxy = self._proxy
        return result

    def __repr__(self, **given: Any) -> str:  # type: ignore[override]
        grad = ", requires_grad=True" if self._requires_grad else ""
        return f"FakeTensor({tuple(self._shape)}, {self._dtype}{grad})"

    def __deepcopy__(self, memo: dict) -> FakeTensor:
        return FakeTensor(
            self._shape, self._strides, self._dtype, self._device, 0, None, self._requires_grad
        )


def empty(shape: Any, dtype: DType, device: device = CPU) -> FakeTensor:
    """A contiguous fake tensor."""
    return FakeTensor(shape, contiguous_strides(shape), dtype, device)
