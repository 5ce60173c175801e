"""Parameter and Buffer: tensors that a module registers when they are assigned to it. Promises
that both share the memory of the tensor they are made from.
"""

from __future__ import annotations

from typing import Any

from eager.construct import tensor
from eager.registry import ops
from eager.tensor import Tensor


def _share(kind: type, data: Tensor | None, requires_grad: bool) -> Any:
    """A leaf of another class over the same memory."""
    data = tensor([]) if data is None else data
    made: Any = object.__new__(kind)
    made._array, made._storage = data._array, data.untyped_storage()
    return made.requires_grad_(True) if requires_grad else made


class Parameter(Tensor):
    """A tensor that is a module's parameter: a leaf that gets a gradient by default."""

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        return _share(cls, data, requires_grad)

    def __deepcopy__(self, memo: dict) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _rebuild_parameter, (type(self), self.data, self.requires_grad)


class Buffer(Tensor):
    """A tensor that is part of a module's state but not a parameter."""

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        made = _share(cls, data, data is not None and data.requires_grad)
        made.persistent = persistent
        return made

    def __deepcopy__(self, memo: dict) -> Buffer:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), persistent=self.persistent)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _rebuild_buffer, (type(self), self.data, self.persistent)


def _rebuild_parameter(kind: type, data: Tensor, requires_grad: bool) -> Parameter:
    return kind(data, requires_grad)


def _rebuild_buffer(kind: type, data: Tensor, persistent: bool) -> Buffer:
    return kind(data, persistent=persistent)


class _Uninitialized:
    """A tensor without a size, until `materialize` gives it one."""

    is_uninitialized = True
    _becomes: type

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes.")

    def materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives it memory of a shape, and makes it an ordinary parameter or buffer."""
        made = ops.empty(tuple(shape), dtype=dtype or self.dtype, device=device)
        self.__class__ = self._becomes
        self.data = made

    def __deepcopy__(self: Any, memo: dict) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(dtype=self.dtype)
        return memo[id(self)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):  # type: ignore[misc]
    """A parameter of a lazy module."""

    _becomes = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None,
                dtype: Any = None) -> UninitializedParameter:
        return _share(cls, ops.empty((0,), dtype=dtype, device=device), requires_grad)


class UninitializedBuffer(_Uninitialized, Buffer):  # type: ignore[misc]
    """A buffer of a lazy module."""

    _becomes = Buffer

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
                persistent: bool = True) -> UninitializedBuffer:
        made = _share(cls, ops.empty((0,), dtype=dtype, device=device), requires_grad)
        made.persistent = persistent
        return made
