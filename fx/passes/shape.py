"""Shape propagation: runs a graph on fake tensors and writes what every node gives to its meta."""

from __future__ import annotations

from typing import Any, NamedTuple

from eager.fake import FakeTensor
from eager.tensor import Tensor
from fx.interpreter import Interpreter
from fx.node import Node, map_aggregate


class TensorMetadata(NamedTuple):
    """What meta["tensor_meta"] says of a tensor, under torch.fx's names."""

    shape: Any
    dtype: Any
    requires_grad: bool
    stride: tuple[int, ...]


def fake(value: Any, storages: dict[int, Any] | None = None) -> Any:
    """A fake tensor in place of every tensor; other values as they are. Aliases stay aliases."""
    memo = {} if storages is None else storages

    def of(item: Any) -> Any:
        if not isinstance(item, Tensor) or isinstance(item, FakeTensor):
            return item
        return FakeTensor.of(item, memo)

    return map_aggregate(value, of)


class ShapeProp(Interpreter):
    """Sets meta["val"] (fake tensors, tuples of them, or other values) and meta["tensor_meta"].

    Inputs, parameters and buffers are replaced by fake tensors, so an operation whose shape depends
    on values raises, naming its node. A module that the graph calls is run as it is on fake inputs.
    """

    def __init__(self, gm: Any, **options: Any) -> None:
        options.setdefault("garbage_collect_values", True)
        super().__init__(gm, **options)
        self.storages: dict[int, Any] = {}

    def propagate(self, *args: Any) -> Any:
        """Runs on fake copies of `args`; the result is the graph's, in fake tensors."""
        return self.run(*fake(args, self.storages))

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n.op == "output":
            return result
        n.meta["val"] = result
        found: list[bool] = []

        def describe(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            found.append(True)
            return TensorMetadata(item.shape, item.dtype, item.requires_grad, item.stride())

        metadata = map_aggregate(result, describe)
        if found:
            n.meta["tensor_meta"] = metadata
        return result

    def get_attr(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return fake(super().get_attr(target, args, kwargs), self.storages)
