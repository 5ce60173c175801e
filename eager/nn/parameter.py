"""Parameter and Buffer: tensors that a module registers when they are assigned to it; and the
uninitialized ones that lazy modules fill in later. Promises that a Parameter shares its data's memory."""

from typing import Any

from eager.tensor import Tensor


class Parameter(Tensor):
    """A tensor that is a module's parameter: a leaf that gets a gradient by default."""

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> "Parameter":
        data = Tensor([]) if data is None else data
        return data.detach()._as_subclass(cls, requires_grad)

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict) -> "Parameter":
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self, *args: Any, **kwargs: Any) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return type(self), (self.detach(), self.requires_grad)


class Buffer(Tensor):
    """A tensor that is part of a module's state but not a parameter."""

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> "Buffer":
        data = Tensor([]) if data is None else data
        buffer = data.detach()._as_subclass(cls, data.requires_grad)
        buffer.persistent = persistent
        return buffer

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict) -> "Buffer":
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), persistent=self.persistent)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _rebuild_buffer, (type(self), self.detach(), self.persistent)


def _rebuild_buffer(kind: type, data: Tensor, persistent: bool) -> Buffer:
    return kind(data, persistent=persistent)
