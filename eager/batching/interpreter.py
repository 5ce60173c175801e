"""The interpreter behind `vmap`. Elementwise operators broadcast against the hidden dimension, reductions and views shift their
dimensions by one, composites are opened, operators with kernels have a rule (rules.py) or run sample by sample.
"""

from __future__ import annotations

from typing import Any

from eager import dtype as dtypes
from eager.batching.tensor import Batched, holds
from eager.dispatch import Interpreter, push
from eager.registry import ops
from eager.shape import normalize_dims
from eager.tensor import Tensor

RANDOMNESS = ("error", "different", "same")


class Batching(Interpreter):
    """One call of `vmap`: `size` samples."""

    def __init__(self, size: Any, depth: int, randomness: str = "error"):
        self.size, self.depth, self.randomness = size, depth, randomness

    def wrap(self, result: Any) -> Any:
        if isinstance(result, (tuple, list)):
            return type(result)(self.wrap(r) for r in result) if type(result) in (tuple, list) else type(result)(*map(self.wrap, result))
        return Batched(result, self) if isinstance(result, Tensor) else result

    def is_batched(self, value: Any) -> bool:
        if type(value) is list or type(value) is tuple:
            return any(holds(v, self) for v in value)
        return holds(value, self)

    def front(self, tensor: Any) -> Any:
        """The tensor with the samples in front; one that is the same for all, repeated."""
        if type(tensor) is list or type(tensor) is tuple:
            return type(tensor)(self.front(t) for t in tensor)
        if not isinstance(tensor, Tensor):
            return tensor
        if holds(tensor, self):
            return tensor.value  # type: ignore[attr-defined]
        return ops.expand(tensor, (self.size, *tensor.shape))

    def interpret(self, op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if "out" in kwargs and "out" not in op.parameters:
            raise NotImplementedError(f"vmap: {op.name}(out=...) is not supported; use the result")
        bound = op.bind(args, kwargs)
        if op.kind == "composite":
            with push(self):
                return op.function(*bound)
        if not any(self.is_batched(value) for value in bound):
            return self._draw(op, bound) if op.random or _functional(op).random else op.call(bound, {})
        if op.kind == "inplace":
            return self._write(op, bound)
        if op.random:
            return self._draw(op, bound)
        if op.kind == "pointwise":
            return self._elementwise(op, bound)
        if op.kind == "reduction":
            return self._reduce(op, bound)
        from eager.batching.rules import RULES

        rule = RULES.get(op.name)
        found = rule(self, op, bound) if rule is not None else NotImplemented
        return self.each(op, bound) if found is NotImplemented else found

    # -- by kind -------------------------------------------------------------------------------------

    def aligned(self, values: list, places: Any) -> None:
        """Samples in front and ones after them, so that operands broadcast as without samples."""
        rank = max(values[i].ndim for i in places if isinstance(values[i], Tensor))
        for i in places:
            if holds(values[i], self):
                value, missing = values[i].value, rank - values[i].ndim
                values[i] = ops.reshape(value, (self.size, *[1] * missing, *value.shape[1:])) if missing else value

    def _elementwise(self, op: Any, bound: tuple) -> Any:
        values = list(bound)
        if op.promote in ("default", "float", "bool") and len(op.operands) > 1:
            target = dtypes.result_type(*[bound[i] for i in op.operands if bound[i] is not None])
            for i in op.operands:  # numbers of one element weigh less in promotion, and must not gain by their samples
                if holds(bound[i], self) and bound[i].ndim == 0 and bound[i].dtype is not target:
                    values[i] = Batched(ops.convert(bound[i].value, target), self)
        self.aligned(values, [i for i, v in enumerate(bound) if isinstance(v, Tensor)])
        return self.wrap(op.call(tuple(values), {}))

    def _reduce(self, op: Any, bound: tuple) -> Any:
        value, rank = bound[0].value, bound[0].ndim
        if rank == 0:
            value = ops.unsqueeze(value, 1)
        whole = bound[1] is None or bound[1] == () or bound[1] == []
        if whole and op.promote == "index":  # the index is of all elements in a row
            found = op.call((ops.reshape(value, (self.size, -1)), 1, False, *bound[3:]), {})
            return self.wrap(ops.reshape(found, (self.size, *[1] * rank)) if bound[2] else found)
        dims = tuple(d + 1 for d in (range(max(rank, 1)) if whole else normalize_dims(bound[1], rank)))
        dims = dims or (1,)
        found = op.call((value, dims[0] if op.promote == "index" else dims, bound[2], *bound[3:]), {})
        return self.wrap(ops.squeeze(found, 1) if rank == 0 and bound[2] else found)

    def _write(self, op: Any, bound: tuple) -> Any:
        target = bound[0]
        if not holds(target, self):
            raise RuntimeError(
                f"vmap: {op.name} would write different values for each sample into a tensor that all samples share; "
                "use the out-of-place form"
            )
        result = self.interpret(op.functional, bound, {})
        op.check(bound, result.shape, result.dtype)
        ops.copy_(target.value, self.front(result))
        return target

    def _draw(self, op: Any, bound: tuple) -> Any:
        if self.randomness == "error":
            raise RuntimeError(
                f"vmap: called random operation {op.name} while in randomness error mode. Please either use the 'same' or 'different' "
                "randomness flags on vmap or perform the randomness operation out of vmap"
            )
        batched = any(self.is_batched(value) for value in bound)
        if self.randomness == "same":
            return self.each(op, bound, same=True) if batched else op.call(bound, {})
        if op.kind == "inplace" and not holds(bound[0], self):
            raise RuntimeError(f"vmap: {op.name} would write different values for each sample into a tensor that all samples share")
        return self.each(op, bound)

    def each(self, op: Any, bound: tuple, same: bool = False) -> Any:
        """Sample by sample: what is right for every operator."""
        from eager.rng import default_generator

        state = default_generator.get_state() if same else None
        results = []
        for number in range(self.size):
            if state is not None:
                default_generator.set_state(state)
            results.append(op.call(tuple(self._sample(value, number) for value in bound), {}))
        if op.mutates:
            return bound[op.parameters.index(op.mutates[0])]
        return self._gather(results)

    def _sample(self, value: Any, number: int) -> Any:
        if type(value) is list or type(value) is tuple:
            return type(value)(self._sample(v, number) for v in value)
        return ops.select(value.value, 0, number) if holds(value, self) else value

    def _gather(self, results: list) -> Any:
        first = results[0]
        if isinstance(first, tuple):
            columns = [self._gather(list(column)) for column in zip(*results)]
            return tuple(columns) if type(first) is tuple else type(first)(*columns)
        if not isinstance(first, Tensor):
            return first
        if any(r.shape != first.shape for r in results):
            raise RuntimeError("vmap: the samples' results have different shapes, which no tensor holds")
        return Batched(ops.stack(results, 0), self)


def _functional(op: Any) -> Any:
    return op.functional if op.functional is not None else op
