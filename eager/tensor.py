"""Tensor: a NumPy view with PyTorch's face. Methods that are operators are attached by `eager.op` when they are declared.

`_array` has the tensor's shape and strides. A view points to its root through `_base` and remembers in `_view` the operators that
lead there; storage and version counter belong to the root.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from eager import device as devices
from eager import dtype as dtypes
from eager.registry import ops
from eager.shape import Size, channels_last_strides, contiguous_strides, normalize_dim
from eager.spec import Spec
from eager.storage import Storage, owner

if TYPE_CHECKING:
    from eager.autograd import Node

Number = (int, float, complex, np.generic)


_SPECS: dict[tuple, Spec] = {}  # the descriptions of arrays, which nobody changes
# The classes of tensors that have an array: all but FakeTensor.
PLAIN: set[type] = set()
_FIELDS = (
    "_array", "_storage", "_requires_grad", "_base", "_view", "_node", "_output_nr", "grad",
    "_accumulator", "_exclusive", "_seen", "_hooks", "_post_hooks", "_retains",
)  # fmt: skip


class Tensor:
    """A multi-dimensional array with gradients. Made by `tensor`, `zeros`, …; `Tensor(2, 3)` is PyTorch's legacy form."""

    _array: np.ndarray
    _requires_grad: bool = False
    grad: Tensor | None = None
    _node: Node | None = None  # where this tensor's gradient goes (None for leaves)
    _output_nr: int = 0
    _storage: Storage | None = None
    _base: Tensor | None = None
    _view: tuple | None = None
    _seen: Any = None  # the base's node when this view's own was made
    _hooks: dict | None = None
    _accumulator: Any = None
    _post_hooks: dict | None = None
    _retains: bool = False
    _exclusive: bool = False  # fresh from a compiled program: no other tensor has this memory
    __array_priority__ = 1000
    layout = "torch.strided"
    is_sparse = is_quantized = is_mkldnn = is_nested = is_cuda = is_xla = is_mps = False
    is_sparse_csr = is_xpu = is_ipu = is_maia = is_mtia = is_vulkan = is_hpu = False
    names: tuple = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        from eager.construct import legacy

        made = legacy(*args, **kwargs)
        if cls is not Tensor:
            plain, made = made, object.__new__(cls)
            made._array = plain._array
        return made

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __init_subclass__(cls, plain: bool = True, **given: Any) -> None:
        super().__init_subclass__(**given)
        if plain:
            PLAIN.add(cls)
            _lay_out(cls)

    @staticmethod
    def _wrap(array: np.ndarray) -> Tensor:
        result = object.__new__(Tensor)
        result._array = array
        return result

    @staticmethod
    def _over(array: np.ndarray) -> Tensor:
        """A tensor over memory that is NumPy's own."""
        result = Tensor._wrap(array)
        result._storage = Storage(array).borrowed()
        return result

    def _alias(self, array: np.ndarray, op: Any, params: tuple) -> Tensor:
        """A differentiable view of this tensor made by `op(self, *params)`."""
        result = object.__new__(Tensor)
        result._array = array
        base = self._base
        if base is None:
            result._base, result._view = self, ((op, params),)
        else:
            result._base, result._view = base, self._view + ((op, params),)  # type: ignore[operator]
        return result

    def _shallow(self) -> Tensor:
        """Another tensor over the same memory and version counter, without history."""
        result = Tensor._wrap(self._array)
        result._storage = self.untyped_storage()
        return result

    def _spec(self) -> Spec:
        array = self._array
        key = (array.shape, array.strides, array.dtype)
        found = _SPECS.get(key)
        return _described(self, key) if found is None else found

    if TYPE_CHECKING:  # methods that are operators are attached when they are declared

        def __getattr__(self, name: str) -> Any: ...

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __iadd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __isub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __imul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __itruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __ifloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __imod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __ipow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __rand__(self, other: Any) -> Tensor: ...
        def __iand__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __ror__(self, other: Any) -> Tensor: ...
        def __ior__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __rxor__(self, other: Any) -> Tensor: ...
        def __ixor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rlshift__(self, other: Any) -> Tensor: ...
        def __ilshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __rrshift__(self, other: Any) -> Tensor: ...
        def __irshift__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...

    # -- what it is ------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self._array.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes._BY_NUMBER[self._array.dtype.num]

    @property
    def device(self) -> devices.device:
        return devices.CPU

    @property
    def ndim(self) -> int:
        return self._array.ndim

    def dim(self) -> int:
        return self._array.ndim

    ndimension = dim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension. Raises IndexError for a dimension out of range."""
        if dim is None:
            return self.shape
        try:
            return self._array.shape[dim]
        except (IndexError, TypeError):
            return self._size(dim)

    def _size(self, dim: int) -> Any:
        if not self.ndim:
            raise IndexError("Dimension specified as 0 but tensor has no dimensions")
        return self.shape[normalize_dim(dim, self.ndim)]

    def stride(self, dim: int | None = None) -> Any:
        """Strides in elements. NumPy's free choice for empty dimensions is normalized as PyTorch does."""
        array = self._array
        if array.size == 0:
            strides = contiguous_strides(array.shape)
        else:
            size = array.itemsize
            strides = tuple([s // size for s in array.strides])
        return strides if dim is None else strides[dim]

    def storage_offset(self) -> int:
        array = self._array
        if array.base is None or array.size == 0:
            return 0
        root = self._base._array if self._base is not None else array
        buffer = self._storage.buffer if self._storage is not None else root
        start = np.lib.array_utils.byte_bounds(owner(buffer))[0]  # type: ignore[arg-type]
        return (array.__array_interface__["data"][0] - start) // array.itemsize

    def numel(self) -> int:
        return self._array.size

    nelement = numel

    def element_size(self) -> int:
        return self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.numel() * self.itemsize

    def data_ptr(self) -> int:
        return self._array.__array_interface__["data"][0]

    def untyped_storage(self) -> Storage:
        """The storage, shared by all views."""
        root = self if self._base is None else self._base
        if root._storage is None:
            root._storage = Storage(root._array)
        return root._storage

    storage = _typed_storage = untyped_storage

    @property
    def _version(self) -> int:
        root = self if self._base is None else self._base
        storage = root._storage
        return 0 if storage is None else storage.version

    def _see(self, array: np.ndarray) -> None:
        """Be a tensor over this array from now on."""
        self._array = array
        Storage.changes = object()

    def _bump(self) -> None:
        self.untyped_storage().bump()

    def _is_packed(self) -> bool:
        return self._array.flags.c_contiguous

    def is_contiguous(self, memory_format: Any = None) -> bool:
        if memory_format is not None and "channels_last" in str(memory_format):
            return self.ndim in (4, 5) and self.stride() == channels_last_strides(self.shape)
        return self._is_packed()

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def is_meta(self) -> bool:
        return self.device.type == "meta"

    def is_floating_point(self) -> bool:
        return self.dtype.category == dtypes.FLOATING

    def is_complex(self) -> bool:
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        return self.dtype.is_signed

    def get_device(self) -> int:
        return -1

    def is_pinned(self) -> bool:
        return False

    def is_shared(self) -> bool:
        return False

    def is_same_size(self, other: Tensor) -> bool:
        return self.shape == other.shape

    def is_set_to(self, other: Tensor) -> bool:
        return self.data_ptr() == other.data_ptr() and self.shape == other.shape and self.stride() == other.stride()

    def type(self, dtype: Any = None) -> Any:
        """The legacy type name, or a conversion if a dtype is given."""
        from eager.construct import LEGACY_NAMES, legacy_dtype

        return LEGACY_NAMES[self.dtype] if dtype is None else self.to(legacy_dtype(dtype))

    # -- gradients -------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad or (self._base is not None and self._base._requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Whether autograd records operations on this leaf. Raises RuntimeError for types without gradients or non-leaves."""
        if requires_grad and self.dtype.category < dtypes.FLOATING:
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        if not requires_grad and self._node is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable "
                "in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        self._requires_grad = bool(requires_grad)
        return self

    @property
    def grad_fn(self) -> Node | None:
        from eager import autograd

        return autograd.node_of(self) if self.requires_grad else None

    @property
    def is_leaf(self) -> bool:
        return self.grad_fn is None

    @property
    def output_nr(self) -> int:
        return self._output_nr

    @property
    def retains_grad(self) -> bool:
        return self._retains

    def backward(self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
        """Accumulate the gradient of this tensor into the leaves (`torch.Tensor.backward`)."""
        from eager import autograd

        autograd.backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self) -> Tensor:
        return ops.detach(self)

    def detach_(self) -> Tensor:
        if self._base is not None:
            raise RuntimeError("Can't detach views in-place; use detach() instead")
        self._node, self._requires_grad, self._output_nr = None, False, 0
        return self

    @property
    def data(self) -> Tensor:
        return self._shallow()

    @data.setter
    def data(self, value: Tensor) -> None:
        self._see(value._array)
        self._storage, self._base, self._view = value.untyped_storage(), None, None

    def register_hook(self, hook: Callable) -> Any:
        """Call `hook(grad)` when this tensor's gradient is computed; what it returns replaces it."""
        from eager import autograd

        return autograd.register_tensor_hook(self, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable) -> Any:
        from eager import autograd

        return autograd.register_post_accumulate_hook(self, hook)

    def retain_grad(self) -> None:
        from eager import autograd

        autograd.retain_grad(self)

    # -- values ----------------------------------------------------------------------------------

    def item(self) -> Any:
        """The only element as a Python number. Raises RuntimeError if there is not exactly one."""
        if self.numel() != 1:
            raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        value = self._array.item()
        return value if isinstance(value, (bool, int, float, complex)) else float(value)

    def tolist(self) -> Any:
        array = self._array
        return array.astype(np.float32).tolist() if self.dtype is dtypes.bfloat16 else array.tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The memory as a NumPy array, not copied. Raises RuntimeError if the tensor requires grad, unless `force`."""
        if self.requires_grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.untyped_storage().lend(self._array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Tensor:
        return Tensor._over(np.asarray(array))

    def __dlpack__(self, **given: Any) -> Any:
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self.untyped_storage().lend(self._array).__dlpack__(**given)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __bool__(self) -> bool:
        if self.numel() != 1:
            if self.numel() == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._array.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.category > dtypes.INTEGER or self.numel() != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(ops.unbind(self, 0))

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, (Tensor, numbers.Number)):
            return bool(ops.any(ops.eq(self, element)))
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from eager.formatting import format_tensor

        return format_tensor(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 and spec else object.__format__(str(self), spec)

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        ops.setitem(self, index, value)

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]
        if self._node is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment"
            )
        import copy

        result = object.__new__(type(self))
        memo[id(self)] = result
        for key, value in self.__dict__.items():
            if key not in ("_array", "_storage", "_base", "_view", "_accumulator", "_hooks", "_seen"):
                result.__dict__[key] = copy.deepcopy(value, memo)
        result._array = self._array.copy(order="K")
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._node is not None:
            raise RuntimeError("Only leaf tensors can be pickled; use tensor.detach()")
        state = {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k != "grad"}
        array = self._array if self.dtype is not dtypes.bfloat16 else self._array.view(np.uint16)
        return (_rebuild, (type(self), np.ascontiguousarray(array), self.dtype.name, self._requires_grad, state))

    @property
    def T(self) -> Tensor:
        return ops.permute(self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Tensor:
        return ops.transpose(self, -2, -1)

    @property
    def H(self) -> Tensor:
        return ops.conj(ops.transpose(self, 0, 1)) if self.is_complex() else ops.transpose(self, 0, 1)

    @property
    def mH(self) -> Tensor:
        return ops.conj(self.mT) if self.is_complex() else self.mT

    @property
    def real(self) -> Tensor:
        return ops.real(self) if self.is_complex() else self

    @property
    def imag(self) -> Tensor:
        return ops.imag(self)


def _lay_out(kind: type[Tensor]) -> None:
    """Make room for all fields in what CPython shares among the instances of a class.

    The room shrinks with each instance: a field that is first set after some thirty of them, as `grad` would be, moves every tensor
    that gets it to a dictionary of its own, which is slower and which `dynamo.structure` cannot watch.
    """
    try:
        probe: Any = object.__new__(kind)
    except TypeError:  # a class that is also something else, with its own layout
        return
    for name in _FIELDS:
        if not hasattr(type(getattr(kind, name, None)), "__set__"):
            object.__setattr__(probe, name, None)


PLAIN.add(Tensor)
_lay_out(Tensor)


def _described(tensor: Tensor, key: tuple) -> Spec:
    if len(_SPECS) >= 4096:
        _SPECS.clear()
    strides = tensor.stride() if tensor._array.size else None
    found = _SPECS[key] = Spec(tensor._array.shape, tensor.dtype, devices.CPU, strides)
    return found


def _rebuild(kind: type, array: np.ndarray, name: str, requires_grad: bool, state: dict) -> Tensor:
    result: Any = object.__new__(kind)
    found = dtypes.from_name(name)
    result._array = array if array.dtype == found.numpy else array.view(found.numpy)
    result._requires_grad = requires_grad
    result.__dict__.update(state)
    return result


def _varargs(name: str, wanted: str) -> Callable:
    """A method that takes sizes or dims one by one or as one sequence."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            args = (*args, *kwargs.values())
        if len(args) == 1 and isinstance(args[0], (tuple, list)):
            args = tuple(args[0])
        return getattr(ops, name).straight(self, args)

    method.__name__, method.__qualname__ = name, f"Tensor.{name}"
    method.__doc__ = f"`{name}({wanted})`, or with one sequence."
    return method


_OPERANDS = (Tensor, *Number)


def _operator(name: str, swapped: bool = False) -> Callable:
    def method(self: Tensor, other: Any) -> Any:
        if not isinstance(other, _OPERANDS):
            if not isinstance(other, np.ndarray):
                return NotImplemented
            other = Tensor._wrap(other)
        op = getattr(ops, name)
        return op(other, self) if swapped else op(self, other)

    return method


def _unary(name: str) -> Callable:
    return lambda self: getattr(ops, name)(self)


for _name in ("add", "sub", "mul", "pow", "matmul", "floordiv", "truediv", "mod", "and", "or", "xor", "lshift", "rshift"):
    _op = {
        "floordiv": "floor_divide", "truediv": "div", "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or",
        "xor": "bitwise_xor", "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
    }.get(_name, _name)
    setattr(Tensor, f"__{_name}__", _operator(_op))
    setattr(Tensor, f"__r{_name}__", _operator(_op, swapped=True))
    if _name != "matmul":
        setattr(Tensor, f"__i{_name}__", _operator(_op + "_"))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Tensor, f"__{_name}__", _operator(_name))
Tensor.__hash__ = lambda self: id(self)  # type: ignore[method-assign]
for _name, _op in (("neg", "neg"), ("pos", "positive"), ("abs", "abs"), ("invert", "bitwise_not")):
    setattr(Tensor, f"__{_name}__", _unary(_op))
for _name, _op in (
    ("view", "*shape or dtype"),
    ("reshape", "*shape"),
    ("permute", "*dims"),
    ("expand", "*sizes"),
    ("repeat", "*sizes"),
    ("flip", "*dims"),
    ("tile", "*dims"),
):
    setattr(Tensor, _name, _varargs(_name, _op))
