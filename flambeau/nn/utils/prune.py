"""torch.nn.utils.prune: parameters with elements left out. `NAME_orig` is the parameter then, `NAME_mask` a buffer, and NAME their
product, made anew before each forward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.registry import ops
from eager.tensor import Tensor
from flambeau.missing import lookup


class BasePruningMethod(ABC):
    """A rule that says which elements are left out: `compute_mask(t, default_mask)`."""

    _tensor_name: str
    PRUNING_TYPE = "unstructured"

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Ones where elements stay."""

    def apply_mask(self, module: Module) -> Tensor:
        """The parameter times its mask."""
        mask = getattr(module, self._tensor_name + "_mask")
        whole = getattr(module, self._tensor_name + "_orig")
        return mask.to(dtype=whole.dtype) * whole

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any) -> BasePruningMethod:
        """Prune a parameter of a module; once more on top of what pruned it before."""
        before = [(key, hook) for key, hook in module._forward_pre_hooks.items()
                  if isinstance(hook, BasePruningMethod) and hook._tensor_name == name]
        assert len(before) <= 1, f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}"
        method: BasePruningMethod = cls(*args, **kwargs)
        if before:
            container = PruningContainer(before[0][1])
            container.add_pruning_method(method)
            method = container
            del module._forward_pre_hooks[before[0][0]]
        method._tensor_name = name
        whole = getattr(module, name) if not before else getattr(module, name + "_orig")
        if importance_scores is not None and tuple(importance_scores.shape) != tuple(whole.shape):
            raise AssertionError("importance_scores should have the same shape as parameter "
                                 f"{name} of {module}")
        scores = getattr(module, name).detach() if importance_scores is None else importance_scores
        default = getattr(module, name + "_mask") if before else ops.ones_like(whole.detach())
        mask = method.compute_mask(scores, default)
        if not before:
            module.register_parameter(name + "_orig", whole)
            del module._parameters[name]
        module.register_buffer(name + "_mask", mask.detach())
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """The tensor with elements left out, without a module."""
        scores = t if importance_scores is None else importance_scores
        if tuple(scores.shape) != tuple(t.shape):
            raise AssertionError("importance_scores should have the same shape as tensor t")
        default = ops.ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default)

    def remove(self, module: Module) -> None:
        """The pruned parameter becomes an ordinary one again, with zeros."""
        name = self._tensor_name
        assert name is not None, f"Module {module} has to be pruned before pruning can be removed"
        pruned, whole = self.apply_mask(module), module._parameters[name + "_orig"]
        if hasattr(module, name):
            delattr(module, name)
        whole.data = pruned.detach()
        del module._parameters[name + "_orig"], module._buffers[name + "_mask"]
        module.register_parameter(name, whole)


class PruningContainer(BasePruningMethod):
    """Rules one after the other."""

    def __init__(self, *args: Any):
        self._pruning_methods: tuple = ()
        if not args:
            return
        given = list(args[0]) if len(args) == 1 and isinstance(args[0], Iterable) and not isinstance(args[0], BasePruningMethod) else args
        self._tensor_name = given[0]._tensor_name
        for method in given:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """One more rule for the same parameter. Raises TypeError for what is none, ValueError for another's."""
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != getattr(method, "_tensor_name", self._tensor_name):
            raise ValueError(f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to PruningContainer "
                             f"{self}. Found '{method._tensor_name}'")
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: int) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The last rule applied to what the others have left."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(dtype=t.dtype)
        if method.PRUNING_TYPE == "unstructured":
            left: Any = mask == 1
        elif method.PRUNING_TYPE == "structured":
            dim = method.dim % t.ndim
            others = tuple(d for d in range(t.ndim) if d != dim)
            left = (slice(None),) * dim + (mask.sum(others) != 0,)
        elif method.PRUNING_TYPE == "global":
            left = (slice(None),) * t.ndim
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        result = mask.clone()
        result[left] = method.compute_mask(t[left], default_mask=mask[left]).to(mask.dtype)
        return result


class Identity(BasePruningMethod):
    """Leaves nothing out."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, (int, float)) or isinstance(amount, bool):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (isinstance(amount, float) and amount > 1.0):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Any, size: int) -> int:
    """How many of `size` are left out. Raises ValueError for more than there are."""
    if isinstance(amount, int) and amount > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return amount if isinstance(amount, int) else round(amount * size)


class RandomUnstructured(BasePruningMethod):
    """Leaves elements out at random."""

    def __init__(self, amount: Any):
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count, mask = _count(self.amount, t.numel()), default_mask.clone()
        if count:
            mask.reshape(-1)[ops.topk(ops.rand_like(t).reshape(-1), count)[1]] = 0
        return mask


class L1Unstructured(RandomUnstructured):
    """Leaves out the elements that are smallest."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count, mask = _count(self.amount, t.numel()), default_mask.clone()
        if count:
            mask.reshape(-1)[ops.topk(ops.abs(t).reshape(-1), count, largest=False)[1]] = 0
        return mask


class RandomStructured(BasePruningMethod):
    """Leaves out slices along a dimension at random."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1):
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def _sizes(self, t: Tensor) -> Tensor:
        return ops.rand((t.shape[self.dim],))

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if t.ndim <= 1:
            raise ValueError("Structured pruning can only be applied to a multidimensional tensor (found tensor of dimension "
                             f"{t.ndim})")
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {tuple(t.shape)}")
        count = _count(self.amount, t.shape[self.dim])
        if count == 0:
            return default_mask
        kept = ops.topk(self._sizes(t), t.shape[self.dim] - count)[1]
        slices = ops.zeros((t.shape[self.dim],), dtype=default_mask.dtype)
        slices[kept] = 1
        shape = [1] * t.ndim
        shape[self.dim] = -1
        return default_mask * slices.reshape(shape)


class LnStructured(RandomStructured):
    """Leaves out the slices along a dimension that have the smallest norms."""

    def __init__(self, amount: Any, n: Any, dim: int = -1):
        super().__init__(amount, dim)
        self.n = n

    def _sizes(self, t: Tensor) -> Tensor:
        others = tuple(d for d in range(t.ndim) if d != self.dim % t.ndim)
        return ops.norm(t, self.n, others)


class CustomFromMask(BasePruningMethod):
    """Leaves out what a mask says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor):
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        assert tuple(default_mask.shape) == tuple(self.mask.shape), "the mask has another shape than the parameter"
        return default_mask * self.mask.to(dtype=default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Mark a parameter as pruned, with nothing left out."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: Any) -> Module:
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: Any, importance_scores: Tensor | None = None) -> Module:
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: Any, dim: int) -> Module:
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: Module, name: str, amount: Any, n: Any, dim: int, importance_scores: Tensor | None = None) -> Module:
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable, pruning_method: Any, importance_scores: dict | None = None, **kwargs: Any
) -> None:
    """Prune several parameters, pairs (module, name), as if they were one."""
    pairs: Sequence = list(parameters)
    scores = importance_scores or {}
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be a dict")
    values = [scores.get(pair, getattr(*pair)).detach().reshape(-1) for pair in pairs]
    masks = [getattr(m, n + "_mask", ops.ones_like(getattr(m, n))).detach().reshape(-1) for m, n in pairs]
    container = PruningContainer()
    container._tensor_name = "temp"
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError("Only \"unstructured\" PRUNING_TYPE supported for the `pruning_method`. Found method "
                        f"{pruning_method} of type {method.PRUNING_TYPE}")
    container.add_pruning_method(method)
    mask, start = container.compute_mask(ops.cat(values), ops.cat(masks)), 0
    for module, name in pairs:
        whole = getattr(module, name)
        custom_from_mask(module, name, mask[start : start + whole.numel()].reshape(whole.shape))
        start += whole.numel()


def remove(module: Module, name: str) -> Module:
    """Make the pruning of a parameter permanent. Raises ValueError for a parameter that is not pruned."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Module) -> bool:
    """Whether a module or one of its parts has a pruned parameter."""
    return any(isinstance(hook, BasePruningMethod) for part in module.modules() for hook in part._forward_pre_hooks.values())


__getattr__ = lookup(__name__)
