"""Parameters computed from others: `register_parametrization` puts a module between a parameter and
its use; weight and spectral normalization are such modules. Known to users as
`torch.nn.utils.parametrize` and `torch.nn.utils.parametrizations`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eager.autograd import no_grad
from eager.nn.container import ModuleDict, ModuleList
from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.registry import ops
from eager.tensor import Tensor

_cache: dict[tuple[int, str], Any] = {}
_caching = [0]


@contextmanager
def cached() -> Iterator[None]:
    """Inside, a parametrized tensor is computed once and kept."""
    _caching[0] += 1
    try:
        yield
    finally:
        _caching[0] -= 1
        if not _caching[0]:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The modules that compute one tensor, and the parameters (`original…`) they start from."""

    def __init__(self, modules: list, original: Any, unsafe: bool = False) -> None:
        super().__init__(modules)
        self.unsafe = unsafe
        found: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        found = module.right_inverse(found)
                    except NotImplementedError:  # the value is what the module computes from
                        continue
        self.is_tensor = isinstance(found, Tensor)
        self.ntensors = 1 if self.is_tensor else len(found)
        if self.is_tensor:
            self._keep("original", original, found)
        else:
            for i, part in enumerate(found):
                self._keep(f"original{i}", original, part)

    def _keep(self, name: str, original: Any, value: Any) -> None:
        if not isinstance(original, Parameter):
            self.register_buffer(name, value)
        elif name == "original":
            original.data = value.data if value is not original else original.data
            self.register_parameter(name, original)
        else:
            self.register_parameter(name, Parameter(value.detach(), original.requires_grad))

    def originals(self) -> list:
        """What the tensor is computed from."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Any) -> None:
        """Sets the originals so that the tensor becomes `value`."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not "
                                       "implement right_inverse.")
                value = module.right_inverse(value)
            parts = [value] if self.is_tensor else value
            for original, part in zip(self.originals(), parts):
                original.copy_(part)

    def forward(self) -> Any:  # type: ignore[override]
        first, *rest = list(self)
        value = first(*self.originals())
        for module in rest:
            value = module(value)
        return value


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module, or one of its tensors, is computed from others."""
    lists = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(lists, ModuleDict):
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        if not _caching[0]:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def put(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *,
                             unsafe: bool = False) -> Module:
    """Lets `parametrization` compute a parameter or buffer of a module from now on.

    Raises ValueError for a name that is neither, or for a result of another shape or type."""
    if is_parametrized(module, tensor_name):
        lists: Any = module.parametrizations
        lists[tensor_name].append(parametrization)
        return module
    if tensor_name not in module._parameters and tensor_name not in module._buffers:
        raise ValueError(f"Module '{module}' does not have a parameter, a buffer, or a "
                         f"parametrized element with name '{tensor_name}'")
    original = getattr(module, tensor_name)
    shape, dtype = original.shape, original.dtype
    made = ParametrizationList([parametrization], original, unsafe)
    made.train(module.training)
    if not unsafe:
        with no_grad():
            result = made()
        if not isinstance(result, Tensor) or result.shape != shape or result.dtype != dtype:
            raise ValueError("Registering a parametrization may not change the shape or the type "
                             f"of the tensor. {tensor_name} has shape {tuple(shape)}, the "
                             f"parametrization gives {getattr(result, 'shape', type(result))}")
    delattr(module, tensor_name)
    if not is_parametrized(module):
        kind = type(module)
        own = type(f"Parametrized{kind.__name__}", (kind,), {"_unparametrized": kind})
        module.__class__ = own
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = made
    setattr(type(module), tensor_name, _property(tensor_name))
    return module


def remove_parametrizations(module: Module, tensor_name: str,
                            leave_parametrized: bool = True) -> Module:
    """Makes a tensor plain again, with its computed value or with what it was computed from.

    Raises ValueError if it is not computed."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    lists: Any = module.parametrizations
    made = lists[tensor_name]
    originals = made.originals()
    if not leave_parametrized and not made.is_tensor:
        raise ValueError("Cannot leave unparametrized (`leave_parametrized=False`) a tensor that "
                         "is parametrized in terms of a sequence of tensors.")
    value = made().detach() if leave_parametrized else originals[0]
    is_parameter = isinstance(originals[0], Parameter)
    needs = originals[0].requires_grad
    delattr(type(module), tensor_name)
    del lists[tensor_name]
    if not len(lists):
        delattr(module, "parametrizations")
        module.__class__ = type(module)._unparametrized  # type: ignore[attr-defined]
    if is_parameter:
        module.register_parameter(tensor_name, value if isinstance(value, Parameter)
                                  else Parameter(value, needs))
    else:
        module.register_buffer(tensor_name, value)
    return module


def norm_except_dim(weight: Any, dim: int | None) -> Any:
    """The norm over all dimensions but one, which may be None."""
    if dim is None:
        return ops.norm(weight)
    others = [d for d in range(weight.dim()) if d != dim % weight.dim()]
    return ops.sqrt((weight * weight).sum(others, keepdim=True))


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = None if dim == -1 else dim

    def forward(self, size: Any, direction: Any) -> Any:
        return direction * (size / norm_except_dim(direction, self.dim))

    def right_inverse(self, weight: Any) -> tuple:
        """The size and direction of a weight."""
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """Computes a weight from its size and its direction."""
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    _u: Any
    _v: Any

    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0,
                 eps: float = 1e-12) -> None:
        super().__init__()
        if n_power_iterations <= 0:
            raise ValueError("Expected n_power_iterations to be positive, but got "
                             f"n_power_iterations={n_power_iterations}")
        self.dim = dim % weight.dim()
        self.eps, self.n_power_iterations = eps, n_power_iterations
        if weight.dim() > 1:
            with no_grad():
                matrix = self._matrix(weight)
                self.register_buffer("_u", self._unit(ops.randn((matrix.shape[0],),
                                                                dtype=weight.dtype)))
                self.register_buffer("_v", self._unit(ops.randn((matrix.shape[1],),
                                                                dtype=weight.dtype)))
                self._iterate(matrix, 15)

    def _unit(self, vector: Any) -> Any:
        return ops.normalize(vector, dim=0, eps=self.eps)

    def _matrix(self, weight: Any) -> Any:
        return weight.transpose(0, self.dim).flatten(1) if self.dim else weight.flatten(1)

    def _iterate(self, matrix: Any, times: int) -> None:
        for _ in range(times):
            self._u.copy_(self._unit(matrix @ self._v))
            self._v.copy_(self._unit(matrix.t() @ self._u))

    def forward(self, weight: Any) -> Any:
        if weight.dim() == 1:
            return self._unit(weight)
        matrix = self._matrix(weight)
        if self.training:
            with no_grad():
                self._iterate(matrix.detach(), self.n_power_iterations)
        size = ops.dot(self._u.clone(), matrix @ self._v.clone())
        return weight / size

    def right_inverse(self, value: Any) -> Any:
        """The value itself: it is taken as normalized already."""
        return value


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> Module:
    """Divides a weight by its largest singular value."""
    weight = getattr(module, name)
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    made = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return register_parametrization(module, name, made)
