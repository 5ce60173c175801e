"""Operators: the kinds, the registry, and everything that a kind derives from a declaration.

An `Op` is declared once, with one of the decorators `pointwise`, `reduction`, `view`, `composite`, `extern`, and is what users call.
What each decorator takes and what it derives stands in docs/architecture.md. Kernels see NumPy arrays, derivatives and
decompositions see tensors, shape rules see tensors or `Spec`s; all of them get every parameter, positionally, in signature order.
"""

from __future__ import annotations

import dis
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eager import autograd, call, dispatch, whole
from eager import dtype as dtypes
from eager.algebra import NUMPY
from eager.blocks import in_blocks, weigh
from eager.call import MISSING, is_default
from eager.fake import DataDependent, FakeTensor
from eager.outputs import EXACT, FITTING, TYPED_BY_OUT
from eager.recording import record_call, record_list
from eager.registry import ops as ops
from eager.registry import registry
from eager.shape import broadcast_shapes, contiguous_strides, like_strides, normalize_dims
from eager.spec import Spec
from eager.tensor import PLAIN, Tensor

# Kernels that a floor above registered for an operator: name -> function over arrays, or NotImplemented from it to decline.
faster: dict[str, Callable] = {}

_SAME_NAME = {"axis": "dim", "keepdims": "keepdim", "x": "input", "self": "input", "x1": "input", "x2": "other"}
_MODE = autograd._MODE
_new = object.__new__
_SIMPLE = frozenset((int, float, bool, str, type(None)))  # types of arguments that hold no tensors

class Op:
    """One operator. Calling it dispatches; `compute` runs its kernel, `fake` its shape rule."""

    kind = "extern"
    functional: Op | None = None  # for in-place forms: the operator that they are the form of
    hidden = 0  # leading parameters of the declaring function that callers do not pass
    leading: tuple[str, ...] = ()  # parameters that the declaring function does not name

    def __init__(
        self,
        function: Callable,
        *,
        name: str | None = None,
        vjp: Any = None,
        joint: bool = False,
        saves: str | None = None,
        run: Callable | None = None,
        back: Callable | None = None,
        decompose: Callable | None = None,
        mutates: str = "",
        method: bool = True,
        inplace: bool | Callable = False,
        random: bool = False,
        front: Callable | None = None,
        takes: str = "",
    ):
        self.name = self.__name__ = self.__qualname__ = name or function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self._read_signature(function)
        self.function, self.vjp, self.joint = positional(function), vjp, joint
        self.decompose, self.run = positional(decompose), positional(run)
        self.back = back  # back(g, kept, needs, *values): the gradients over arrays, where nothing more is derived
        self.mutates = tuple(mutates.split())
        self.random = random
        self.takes = takes  # the types of the first tensor: "", or a key of `TAKES`
        self._saved_for: dict[tuple[int, ...], frozenset[str]] = {}
        self.keeps: dict[int, Any] = {}  # what nodes keep: see `eager.node.keeping`
        if front is not None:
            self.__class__ = _fronted(type(self))  # type: ignore[arg-type]
            self.front = front
        self.saves = frozenset(self.parameters if saves is None else saves.split())
        self.recorded = vjp is not None or bool(self.saves)
        if self.name in registry:
            raise ValueError(f"operator {self.name!r} is declared twice")
        registry[self.name] = self
        if method:
            _attach(self.name, self)
        if inplace:
            InPlace(self, inplace if callable(inplace) else None)

    def _read_signature(self, function: Callable) -> None:
        names, defaults, named = _parameters(function)
        self.parameters = (*self.leading, *names[self.hidden :])
        self.defaults = (*(MISSING,) * len(self.leading), *defaults[self.hidden :])
        self.places = {name: place for place, name in enumerate(self.parameters)}
        self.arity = len(self.parameters)
        self.positionals = self.arity - named
        self.required = sum(d is MISSING for d in self.defaults)

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        return call.signature(self)

    @functools.cached_property
    def straight(self) -> Callable:
        """The function that a call of this operator is."""
        return call.straight(self)

    def __repr__(self) -> str:
        return f"ops.{self.name}"

    def __reduce__(self):
        return (_lookup, (self.name,))

    @property
    def default(self) -> Op:
        """The operator itself, as `torch.ops.aten.NAME.default` asks for: here it has one form."""
        return self

    def __copy__(self) -> Op:
        return self

    def __deepcopy__(self, memo: dict) -> Op:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # the first call: from then on the operator's class has the operator's own
        kind = type(self)
        own = {"__call__": staticmethod(self.entry), "__module__": kind.__module__}
        self.__class__ = type(kind.__name__, (kind,), own)
        return self.entry(*args, **kwargs)

    @property
    def entry(self) -> Callable:
        """What a call by the operator's name runs."""
        return self.straight

    def call(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A call of any form: through the interpreters if there are any."""
        if "out" in kwargs and "out" not in self.parameters:
            return self._call_out(args, kwargs)
        if dispatch.active[0] and dispatch.stack():
            return dispatch.interpret(self, args, kwargs)
        return self.eager(self.bind(args, kwargs))

    def eager(self, bound: tuple) -> Any:
        """Compute now, and record a node if gradients are needed."""
        try:
            result = self.compute(bound)
        except DataDependent:
            result = _described(self, bound)
        if self.recorded and _MODE.grad and autograd.needs_grad(bound):
            return autograd.record(self, bound, result)
        return result

    def _call_out(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        kwargs = dict(kwargs)
        out = kwargs.pop("out")
        if self.name in TYPED_BY_OUT and out is not None and kwargs.get("dtype") is None:
            kwargs["dtype"] = out.dtype
        result = self(*args, **kwargs)
        if out is None:
            return result
        pairs = [(out, result)] if isinstance(out, Tensor) else list(zip(out, result, strict=True))
        for target, value in pairs:
            refuse_overlap(target)
            if target.requires_grad or (value.requires_grad and autograd.is_grad_enabled()):
                raise RuntimeError(
                    f"{self.name}(): functions with out=... arguments don't support automatic "
                    "differentiation, but one of the arguments requires grad."
                )
            if value.dtype.category > target.dtype.category:
                raise RuntimeError(f"result type {value.dtype} can't be cast to the output type {target.dtype}")
            if value.dtype is not target.dtype and self.name in EXACT:
                raise RuntimeError(
                    f"{self.name}(): Expected out tensor to have dtype {value.dtype}, but got {target.dtype} instead"
                )
            target.resize_(value.shape) if target.shape != value.shape else None
            target.copy_(value)
        return out

    def bind(self, args: tuple, kwargs: dict[str, Any]) -> tuple:
        """All parameters in signature order, defaults filled in. Raises TypeError as a Python call would."""
        given = len(args)
        if given > self.arity:
            raise TypeError(f"{self.name}() takes {self.arity} arguments but {given} were given")
        if not kwargs:
            if given < self.required:
                missing = self.parameters[given : self.required]
                raise TypeError(f"{self.name}() missing required arguments: {', '.join(missing)}")
            return args + self.defaults[given:]
        bound = list(args) + list(self.defaults[given:])
        for key, value in kwargs.items():
            name = key if key in self.parameters else _SAME_NAME.get(key, key)
            if name not in self.parameters:
                raise TypeError(f"{self.name}() got an unexpected keyword argument {key!r}")
            place = self.parameters.index(name)
            if place < given:
                raise TypeError(f"{self.name}() got multiple values for argument {key!r}")
            bound[place] = dtypes.of_type(value) if type(value) is type else value
        for name, value in zip(self.parameters, bound, strict=True):
            if value is MISSING:
                raise TypeError(f"{self.name}() missing required argument: {name}")
        return tuple(bound)

    def trim(self, bound: Sequence[Any]) -> tuple:
        """The shortest positional arguments that bind to the same values (for graphs and printing)."""
        end = len(bound)
        while end > self.required and is_default(bound[end - 1], self.defaults[end - 1]):
            end -= 1
        return tuple(bound[:end])

    def saved_for(self, wanted: tuple[int, ...]) -> frozenset[str]:
        """The names, of `saves`, whose values the derivatives of the parameters numbered in `wanted` read."""
        known = self._saved_for.get(wanted)
        if known is None:
            known = self.saves
            if isinstance(self.vjp, tuple):
                read: set[str] = set()
                for i in wanted:
                    if i < len(self.vjp) and self.vjp[i] is not None:
                        read |= _read_by(self.vjp[i], ("g", "out", *self.parameters))
                known = self.saves & read
            self._saved_for[wanted] = known
        return known

    def compute(self, bound: tuple) -> Any:
        """The kernel over the arrays of real tensors; gives tensors. Records nothing."""
        raise NotImplementedError

    def spec(self, bound: tuple) -> Any:
        """The shape rule: a `Spec` or a tuple of them. Raises what the kernel would."""
        raise NotImplementedError

    def fake(self, bound: tuple) -> Any:
        """The result as fake tensors."""
        found = self.spec(bound)
        return tuple(map(FakeTensor.of, found)) if isinstance(found, tuple) else FakeTensor.of(found)


TAKES: dict[str, frozenset] = {
    "ordered": frozenset((dtypes.BOOL, dtypes.INTEGER, dtypes.FLOATING)),
    "floating": frozenset((dtypes.FLOATING,)),
    "inexact": frozenset((dtypes.FLOATING, dtypes.COMPLEX)),
    "real": frozenset((dtypes.INTEGER, dtypes.FLOATING)),
    "number": frozenset((dtypes.INTEGER, dtypes.FLOATING, dtypes.COMPLEX)),
}


def require(name: str, takes: str, found: dtypes.dtype) -> None:
    """Raises NotImplementedError for a type that the operator does not take, in PyTorch's words."""
    if found.category in TAKES[takes]:
        return
    advice = "convert it with .to(torch.float32)" if takes in ("floating", "inexact") else "convert it"
    raise NotImplementedError(
        f'"{name}_cpu" not implemented for {_type_name(found)!r}: the input has to be {takes}; {advice}'
    )


@functools.cache
def _fronted(kind: type[Op]) -> type[Op]:
    """A kind whose operators are called through `front(call, *args, **kwargs)`, where `call` is the operator proper: the front
    brings PyTorch's other forms of a call into the declared one (`zeros(2, 3)`) or names the results."""

    class Fronted(kind):  # type: ignore[misc, valid-type]
        @property
        def entry(self) -> Callable:
            return functools.partial(self.front, self.straight)

    Fronted.__name__ = kind.__name__
    return Fronted


def _parameters(function: Callable) -> tuple[tuple[str, ...], tuple, int]:
    """The parameters of a function, their defaults, and how many of the last are by name only."""
    code = function.__code__
    if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):  # a wrapper may tell
        found = list(inspect.signature(function).parameters.values())
        return (
            tuple(p.name for p in found),
            tuple(MISSING if p.default is p.empty else p.default for p in found),
            sum(p.kind is p.KEYWORD_ONLY for p in found),
        )
    count, named = code.co_argcount, code.co_kwonlyargcount
    names, given = code.co_varnames[: count + named], function.__defaults__ or ()
    by_name = function.__kwdefaults__ or {}
    rest = (by_name.get(name, MISSING) for name in names[count:])
    return names, (*(MISSING,) * (count - len(given)), *given, *rest), named


def _read_by(function: Callable, names: tuple[str, ...]) -> set[str]:
    """Which of its positional arguments, called `names` here, a function reads at all."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return set(names)
    loaded: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("LOAD_") and instruction.argval is not None:
            found = instruction.argval
            loaded.update(found if isinstance(found, tuple) else (found,))
    return {n for n, local in zip(names, code.co_varnames[: code.co_argcount], strict=False) if local in loaded}


def positional(function: Any) -> Any:
    """The function with its keyword-only parameters made positional: kernels get every parameter in order."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_kwonlyargcount:
        return function
    plain = code.replace(co_argcount=code.co_argcount + code.co_kwonlyargcount, co_kwonlyargcount=0)
    result = type(function)(plain, function.__globals__, function.__name__, None, function.__closure__)
    result.__doc__, result.__module__, result.__qualname__ = function.__doc__, function.__module__, function.__qualname__
    return result


def _lookup(name: str) -> Op:
    return registry[name]


def kernel(op: Op, bound: tuple) -> Any:
    """What lies below autograd by default: compute, on fake tensors by the shape rule."""
    try:
        return op.compute(bound)
    except DataDependent:
        return _described(op, bound)


def _described(op: Op, bound: tuple) -> Any:
    """What the shape rule says of a call on fake tensors. Raises DataDependent for other calls."""
    if op.kind != "composite" and any_fake(bound):
        return op.fake(bound)
    raise


def any_fake(bound: Sequence[Any]) -> bool:
    for a in bound:
        if isinstance(a, FakeTensor) or (type(a) in (list, tuple) and any(isinstance(b, FakeTensor) for b in a)):
            return True
    return False


def refuse_overlap(target: Tensor) -> None:
    """RuntimeError for a tensor of which several elements have one place in memory, as of an expanded one, before it is written."""
    if any(s == 0 and n > 1 for s, n in zip(target.stride(), target.shape)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )


def unwrap(value: Any) -> Any:
    """Arrays instead of tensors, in lists too."""
    if isinstance(value, Tensor):
        return value._array
    if type(value) in (list, tuple):
        return type(value)(unwrap(v) for v in value)
    return value


def wrap(result: Any) -> Any:
    if type(result) is tuple:
        return tuple(wrap(r) for r in result)
    return Tensor._wrap(result if type(result) is np.ndarray else np.asarray(result))


def _attach(name: str, op: Op) -> None:
    """Make the operator a method of Tensor, unless Tensor has one of that name by hand."""
    if name in Tensor.__dict__:
        return

    if not hasattr(op, "front"):
        setattr(Tensor, name, op.straight)
        return

    def method(self, *args, **kwargs):
        return op(self, *args, **kwargs)

    method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", op.__doc__
    method.op = op  # type: ignore[attr-defined]
    setattr(Tensor, name, method)


def _describe(op: Op, error: Exception, bound: tuple) -> Exception:
    """PyTorch's exception for what a kernel raised: the shape rule is asked first, for it knows the words."""
    try:
        op.spec(bound)
    except NotImplementedError as better:
        if better.args:  # without words: there is no rule
            return better
    except DataDependent:
        pass  # no words about what is wrong
    except Exception as better:
        return better
    if isinstance(error, OverflowError):
        return RuntimeError(f"{op.name}(): value cannot be converted without overflow: {error}")
    if isinstance(error, (ValueError, TypeError)):
        return RuntimeError(f"{op.name}(): {error}")
    return error


_BOOL = np.dtype(np.bool_)
# Where a `quick` function is right without conversions, by the promotion rule.
_KINDS = {
    "default": call.NUMBERS,
    "float": call.FLOATS,
    "keep": call.NUMBERS,
    "bool": call.NUMBERS | call.INTEGERS,
}


class Pointwise(Op):
    """Elementwise with broadcasting and type promotion."""

    kind = "pointwise"
    hidden = 1

    def __init__(
        self,
        function: Callable,
        *,
        promote: str = "default",
        operands: str | None = None,
        result: Any = "",
        inplace: Any = True,
        quick: Any = None,
        kinds: frozenset | None = None,
        refuse: Callable | None = None,
        numbers: str = "any",
        **given: Any,
    ):
        self.promote, self.result = promote, "bool" if promote == "bool" else result
        self.quick = quick  # a function of arrays, right where all operands have one of `kinds`
        self.kinds = _KINDS[promote] if kinds is None else kinds
        self.numbers = numbers  # which operands may be Python numbers: "any", "one" of them, the "right", "none"
        self.scalars = call.scalars(self.kinds if numbers != "none" else frozenset())
        self.lefts = self.scalars if numbers != "right" else call.scalars(frozenset())
        self.refuse = refuse  # refuse(dtype, *bound) raises for a type that the operator does not take
        self.operands: tuple[int, ...] = ()
        super().__init__(function, inplace=inplace if promote != "bool" else False, **given)
        names = operands.split() if operands else self.parameters[: self.required]
        self.operands = tuple(self.parameters.index(n) for n in names)
        self.tail = self.defaults[self.required :]
        self.body = body = self.function
        if self.run is None:
            self.run = in_blocks(body)

    def _refuse_numbers(self, bound: tuple) -> None:
        """TypeError for a Python number where the operator takes tensors only."""
        plain = [not hasattr(bound[i], "shape") for i in self.operands]
        if plain[0] and (self.numbers != "one" or all(plain)) or self.numbers == "none" and any(plain):
            place = self.operands[plain.index(True)]
            raise TypeError(
                f"{self.name}(): argument '{self.parameters[place]}' (position {place + 1}) must be Tensor, not {type(bound[place]).__name__}"
            )

    def compute_dtype(self, bound: tuple) -> dtypes.dtype:
        """The type in which the body computes, by the promotion rule."""
        if self.promote == "keep":
            found = next(bound[i] for i in self.operands if hasattr(bound[i], "shape")).dtype
        else:
            found = dtypes.result_type(*[bound[i] for i in self.operands])
        if self.takes:
            require(self.name, self.takes, found)
        if self.refuse is not None:
            self.refuse(found, *bound)
        if self.promote == "float" and found.category < dtypes.FLOATING:
            return dtypes.get_default_dtype()
        return found

    def result_dtype(self, bound: tuple) -> dtypes.dtype:
        if self.result == "bool":
            return dtypes.bool_
        if callable(self.result):
            return self.result(*bound)
        found = self.compute_dtype(bound)
        return found.to_real() if self.result == "real" else found

    def compute(self, bound: tuple) -> Tensor:
        if self.numbers != "any":
            self._refuse_numbers(bound)
        values = [a._array if isinstance(a, Tensor) else a for a in bound]
        want = self._settled(values)
        if want is None:
            target = self._convert(bound, values)
            want = target.numpy if not self.result else self.result_dtype(bound).numpy
        quick = faster.get(self.name)
        try:
            result = quick(*values) if quick is not None else NotImplemented
            if result is NotImplemented:
                result = self.run(*values)
        except (ValueError, TypeError, OverflowError) as error:
            raise _describe(self, error, bound) from None
        if type(result) is not np.ndarray:
            result = np.asarray(result)
        if result.dtype != want:
            result = result.astype(want)
        for value in values:
            if value is result:  # a body that returns its argument must not alias it
                result = result.copy()
                break
        return Tensor._wrap(result)

    def _settled(self, values: list) -> np.dtype | None:
        """The type of the result where operands of one floating type, and numbers, need no
        conversion; None where the rules must be asked."""
        if self.result and self.result != "bool" or self.refuse is not None:
            return None
        kind = None
        for i in self.operands:
            value = values[i]
            if type(value) is np.ndarray:
                if kind is None:
                    kind = value.dtype
                elif value.dtype is not kind:
                    return None
            elif type(value) is not float and type(value) is not int and value is not None:
                return None
        if kind not in call.FLOATS:
            return None
        for i in self.operands:
            if type(values[i]) is int:
                values[i] = float(values[i])
        return _BOOL if self.result else kind

    def _convert(self, bound: tuple, values: list) -> dtypes.dtype:
        """Operands in the type in which the body computes, which is the result."""
        target = self.compute_dtype(bound)
        if self.name in FITTING:
            for value in values:
                if type(value) in (int, float):
                    dtypes.fitting(value, target)
        for i in self.operands:
            value = values[i]
            if type(value) is np.ndarray:
                if value.dtype != target.numpy:
                    values[i] = value.astype(target.numpy)
            elif value is not None:
                values[i] = coerce(value, target)
        return target

    def spec(self, bound: tuple) -> Spec:
        if self.numbers != "any":
            self._refuse_numbers(bound)
        tensors = [a for a in bound if hasattr(a, "shape")]
        if not tensors:
            raise TypeError(f"{self.name}(): argument '{self.parameters[0]}' must be Tensor, not {type(bound[0]).__name__}")
        shape = broadcast_shapes(*[t.shape for t in tensors])
        return Spec(shape, self.result_dtype(bound), tensors[0].device, like_strides(shape, tensors))


def coerce(value: Any, target: dtypes.dtype) -> Any:
    """A Python number as a value of the category of `target`; integers wrap as in C."""
    if target.category == dtypes.FLOATING:
        return float(value) if not isinstance(value, complex) else value
    if target.category == dtypes.INTEGER:
        value = int(value)
        if not -(2**63) <= value < 2**64:
            raise OverflowError(f"int too big to convert: {value} is no integer of 64 bits")
        low, high = np.iinfo(target.numpy).min, np.iinfo(target.numpy).max
        return value if low <= value <= high else int(np.array(value & (2**64 - 1), np.uint64).astype(target.numpy))
    if target.category == dtypes.BOOL:
        return bool(value)
    return complex(value)


_MONOIDS: dict[str, Callable] = {
    "sum": np.add.reduce,
    "prod": np.multiply.reduce,
    "max": np.maximum.reduce,
    "min": np.minimum.reduce,
    "any": np.logical_or.reduce,
    "all": np.logical_and.reduce,
}


_SAME = frozenset(("keep", "sum", "float"))  # rules that leave floating types as they are


class Reduction(Op):
    """Combines the values along dimensions by a named monoid: sum, prod, max, min, any, all, argmax, argmin.

    The signature begins `(input, dim=None, keepdim=False, …)`. The declaring function is the body that prepares one element; `finish`
    is a body over the combined value and the number of elements. `run(array, axes, keepdim, *rest)` overrides the kernel.
    """

    kind = "reduction"
    hidden = 1

    def __init__(self, function: Callable, *, combine: str, promote: str = "keep", finish: Callable | None = None, empty: bool = True, **given: Any):
        self.combine, self.promote, self.finish, self.empty = combine, promote, finish, empty
        super().__init__(function, **given)
        self.body = self.function
        self.dtype_at = self.parameters.index("dtype") if "dtype" in self.parameters else None

    def dims(self, bound: tuple) -> tuple[int, ...]:
        """The reduced dimensions, sorted; raises IndexError for one that is out of range."""
        dim, rank = bound[1], bound[0].ndim
        if type(dim) is int and -rank <= dim < rank:
            return (dim % rank,)
        return normalize_dims(dim, rank)

    def compute_dtype(self, bound: tuple) -> dtypes.dtype:
        """The type that values are cast to before they are combined."""
        wanted = bound[self.dtype_at] if self.dtype_at is not None else None
        found = wanted or bound[0].dtype
        if self.takes:
            require(self.name, self.takes, found)
        if self.promote == "sum" and found.category < dtypes.FLOATING and wanted is None:
            return dtypes.int64
        if self.promote == "float" and found.category < dtypes.FLOATING:
            raise RuntimeError(
                f"{self.name}(): could not infer output dtype. Input dtype must be either a floating "
                f"point or complex dtype. Got: {found.name.capitalize()}"
            )
        return found

    def result_dtype(self, bound: tuple) -> dtypes.dtype:
        if self.promote == "bool":  # PyTorch's exception: bytes stay bytes
            return dtypes.uint8 if bound[0].dtype is dtypes.uint8 else dtypes.bool_
        if self.promote == "index":
            return dtypes.int64
        return self.compute_dtype(bound)

    def check(self, bound: tuple, dims: tuple[int, ...]) -> None:
        if self.empty:
            return
        shape = bound[0].shape
        if any(shape[d] == 0 for d in dims):
            whole = bound[1] is None or bound[1] == () or bound[1] == []
            error = RuntimeError if whole and self.promote != "index" else IndexError
            raise error(f"{self.name}(): Expected reduction dim to be specified for input.numel() == 0 or to have non-zero size.")

    def eager(self, bound: tuple) -> Any:
        input = bound[0]
        if type(input) not in PLAIN:
            return super().eager(bound)
        result = self.compute(bound)
        base = input._base
        if not (input._requires_grad or (base is not None and base._requires_grad)):
            return result
        return record_call(self, bound, 1, result) if self.recorded and _MODE.grad else result

    def compute(self, bound: tuple) -> Tensor:
        array, axes, keepdim = bound[0]._array, self.dims(bound), bool(bound[2])
        if not self.empty:
            self.check(bound, axes)
        want = array.dtype
        if want not in call.FLOATS or self.promote not in _SAME or self._asks(bound):
            target, want = self.compute_dtype(bound).numpy, self.result_dtype(bound).numpy
            if array.dtype != target:
                array = array.astype(target)
        quick = faster.get(self.name)
        result = quick(array, axes, keepdim, *bound[3:]) if quick is not None else NotImplemented
        if result is NotImplemented:
            result = self._run(array, axes, keepdim, bound[3:])
        if type(result) is not np.ndarray:
            result = np.asarray(result)
        if result.dtype != want:
            result = result.astype(want)
        return Tensor._wrap(result)

    def _asks(self, bound: tuple) -> bool:
        """Whether the call says in which type to compute."""
        return self.dtype_at is not None and bound[self.dtype_at] is not None

    def _run(self, array: np.ndarray, axes: tuple[int, ...], keepdim: bool, rest: tuple) -> Any:
        if self.run is not None:
            return self.run(array, axes, keepdim, *rest)
        value = self.body(NUMPY, array, axes, keepdim, *rest)
        value = _MONOIDS[self.combine](value, axis=axes, keepdims=keepdim)
        if self.finish is None:
            return value
        count = 1
        for axis in axes:
            count *= array.shape[axis]
        return self.finish(NUMPY, value, count)

    def spec(self, bound: tuple) -> Spec:
        dims = self.dims(bound)
        self.check(bound, dims)
        shape = tuple(1 if i in dims else n for i, n in enumerate(bound[0].shape) if bound[2] or i not in dims)
        return Spec(shape, self.result_dtype(bound), bound[0].device)


class View(Op):
    """Another view of the same memory. The declaring function maps `(shape, strides, offset, *params)` to the view's."""

    kind = "view"
    hidden = 3
    leading = ("input",)

    def __init__(self, function: Callable, **given: Any):
        super().__init__(function, **given)
        self.geometry = self.function

    def eager(self, bound: tuple) -> Any:
        base = bound[0]
        if type(base) not in PLAIN:
            return autograd.apply(self, bound, kernel)
        params = bound[1:]
        result = object.__new__(Tensor)
        result._array = self._seen(base._array, bound)
        root = base._base
        if root is None:
            result._base, result._view = base, ((self, params),)
        else:
            result._base, result._view = root, base._view + ((self, params),)
        if base._requires_grad or (root is not None and root._requires_grad):
            if self.vjp is None or not _MODE.grad:
                return autograd.finish_view(self, bound, result)
            return autograd.record_view(self, bound, result)
        return result

    def compute(self, bound: tuple) -> Tensor:
        return bound[0]._alias(self._seen(bound[0]._array, bound), self, bound[1:])

    def _seen(self, array: np.ndarray, bound: tuple) -> np.ndarray:
        """The view of the base's array."""
        if self.run is not None:
            try:
                return self.run(array, *bound[1:])
            except (ValueError, TypeError, IndexError) as error:
                raise _describe(self, error, bound) from None
        size = array.itemsize
        steps = tuple([s // size for s in array.strides])
        return strided(array, *self.geometry(array.shape, steps, 0, *bound[1:]))

    def fake(self, bound: tuple) -> Any:
        base = bound[0]
        shape, strides, offset = self.geometry(tuple(base.shape), base.stride(), base.storage_offset(), *bound[1:])
        return base._fake_alias(shape, strides, offset, self, bound[1:])

    def spec(self, bound: tuple) -> Spec:
        base = bound[0]
        strides = base.stride() if isinstance(base, Tensor) else base.strides or contiguous_strides(base.shape)
        shape, strides, _ = self.geometry(tuple(base.shape), strides, 0, *bound[1:])
        return Spec(tuple(shape), base.dtype, base.device, tuple(strides))


def strided(array: np.ndarray, shape: Sequence[int], strides: Sequence[int], offset: int) -> np.ndarray:
    """A view at `offset` elements after the first element of `array`; strides in elements."""
    size = array.itemsize
    steps = tuple(s * size for s in strides)
    if offset == 0 or 0 in shape:
        return placed(array, tuple(shape), steps)
    from eager.storage import owner

    whole = owner(array)
    start = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0] + offset * size
    return np.ndarray(tuple(shape), array.dtype, whole.reshape(-1).view(np.uint8).data, start, steps)


def placed(array: np.ndarray, shape: Sequence[int], steps: Sequence[int]) -> np.ndarray:
    """A view from the first element of `array` on; strides in bytes."""
    if array.flags.c_contiguous and array.size:
        try:
            return np.ndarray(shape, array.dtype, array, 0, steps)
        except (ValueError, TypeError):
            pass  # a type that has no buffer, or strides that go beyond this array
    return np.lib.stride_tricks.as_strided(array, tuple(shape), tuple(steps))


class Composite(Op):
    """Defined by other operators: the function is the kernel, the derivative and the decomposition."""

    kind = "composite"

    def __init__(self, function: Callable, *, forth: Callable | None = None, again: Callable | None = None, **given: Any):
        self.again = again  # again(kept, *bound): what `back` is the derivative of, where that is not the function
        super().__init__(function, **given)
        self.forth = positional(forth)  # `run`, giving what `back` reads besides
        self.written = tuple(map(self.parameters.index, self.mutates))

    def eager(self, bound: tuple) -> Any:
        if self.run is not None:
            found = self._at_once(bound)
            if found is not None:
                return found
        return self.function(*bound)

    def _at_once(self, bound: tuple) -> Any:
        """`run` over arrays, recorded whole where gradients are needed; None where it does not apply."""
        wanted, bit = 0, 1
        values = [*bound]
        i = 0
        for value in bound:
            kind = type(value)
            if kind in PLAIN:
                values[i] = value._array
                base = value._base
                if value._requires_grad or (base is not None and base._requires_grad):
                    wanted += bit
            elif kind not in _SIMPLE and isinstance(value, Tensor):
                return None
            i += 1
            bit += bit
        for i in self.written:  # with their version counters
            values[i] = bound[i]
        recorded = wanted and _MODE.grad
        if recorded and self.back is None:
            return None
        kept = None
        try:
            if recorded and self.forth is not None:
                both = self.forth(*values)
                if both is None:
                    return None
                found, kept = both
            else:
                found = self.run(*values)  # type: ignore[misc]
        except (ValueError, TypeError, IndexError, RuntimeError):
            return None  # the operators know the words
        if found is None:
            return None
        if type(found) is tuple:
            return wrap(found)
        result = _new(Tensor)
        result._array = found if type(found) is np.ndarray else np.asarray(found)
        if recorded:
            whole.record(self, bound, wanted, result, kept)
        return result

    def compute(self, bound: tuple) -> Any:
        return self.function(*bound)

    def spec(self, bound: tuple) -> Any:
        found = self.function(*[FakeTensor.of(b) if isinstance(b, Spec) else b for b in bound])
        return tuple(map(Spec.of, found)) if isinstance(found, tuple) else Spec.of(found)

    def fake(self, bound: tuple) -> Any:
        return self.function(*bound)


class Extern(Op):
    """A kernel over arrays of its own, with a shape rule `spec(*bound) -> Spec | tuple[Spec, …]`."""

    kind = "extern"

    def __init__(self, function: Callable, *, spec: Callable, **given: Any):
        super().__init__(function, **given)
        self.rule = positional(spec)
        self.plain = type(self).compute is Extern.compute  # computes as all do

    def eager(self, bound: tuple) -> Any:
        """In one loop where no argument is a list."""
        if not self.plain or self.name in faster:
            return super().eager(bound)
        wanted, bit, i, lists = 0, 1, 0, []
        values = [*bound]
        for value in bound:
            kind = type(value)
            if kind in PLAIN:
                values[i] = value._array
                base = value._base
                if value._requires_grad or (base is not None and base._requires_grad):
                    wanted += bit
            elif kind in _SIMPLE:
                pass
            elif isinstance(value, Tensor):
                return super().eager(bound)
            elif (kind is list or kind is tuple) and autograd.holds_tensors(value):
                arrays = []
                lists.append(i)
                for item in value:
                    if type(item) not in PLAIN:
                        return super().eager(bound)
                    arrays.append(item._array)
                    base = item._base
                    if item._requires_grad or (base is not None and base._requires_grad):
                        wanted |= bit
                values[i] = arrays if type(value) is list else tuple(arrays)
            i += 1
            bit += bit
        if self.takes:
            require(self.name, self.takes, bound[0].dtype)
        try:
            result = self.function(*values)
        except (ValueError, TypeError, OverflowError) as error:
            raise _describe(self, error, bound) from None
        recorded = wanted and self.recorded and _MODE.grad
        if type(result) is not np.ndarray:
            result = wrap(result)
            return autograd.record(self, bound, result) if recorded else result
        made = _new(Tensor)
        made._array = result
        if not recorded:
            return made
        if not lists:
            return record_call(self, bound, wanted, made)
        if self.saves or wanted != 1 << lists[0] or type(bound[1]) not in _SIMPLE or self.arity > 2:
            return autograd.record(self, bound, made)
        return record_list(self, bound, lists[0], made)

    def compute(self, bound: tuple) -> Any:
        if self.takes:
            require(self.name, self.takes, bound[0].dtype)
        values = list(bound)
        for i, value in enumerate(bound):
            if isinstance(value, Tensor):
                values[i] = value._array
            elif (type(value) is list or type(value) is tuple) and autograd.holds_tensors(value):
                values[i] = unwrap(value)
        quick = faster.get(self.name)
        try:
            result = quick(*values) if quick is not None else NotImplemented
            if result is NotImplemented:
                result = self.function(*values)
        except (ValueError, TypeError, OverflowError) as error:
            raise _describe(self, error, bound) from None
        if type(result) is np.ndarray:
            made = object.__new__(Tensor)
            made._array = result
            return made
        return wrap(result)

    def spec(self, bound: tuple) -> Any:
        if self.takes:
            require(self.name, self.takes, bound[0].dtype)
        return self.rule(*bound)


class InPlace(Op):
    """The in-place form of another operator: computes it and writes the result into the first parameter.

    `direct(target, *values)`, if given, writes into the array itself and saves the temporary.
    """

    kind = "inplace"

    def __init__(self, functional: Op, direct: Callable | None = None):
        self.functional, self.direct = functional, direct
        super().__init__(functional.function, name=functional.name + "_", mutates=functional.parameters[0])
        self.functional = functional
        functional.in_place = self  # type: ignore[attr-defined]
        self.__doc__ = f"In-place version of `{functional.name}`: writes into its first argument and returns it."

    def _read_signature(self, function: Callable) -> None:
        of: Op = self.functional  # type: ignore[assignment]
        self.parameters, self.defaults, self.positionals = of.parameters, of.defaults, of.positionals
        self.places = of.places
        self.arity, self.required = of.arity, of.required

    def check(self, bound: tuple, shape: tuple[int, ...], found: dtypes.dtype) -> None:
        target = bound[0]
        if tuple(shape) != tuple(target.shape):
            raise RuntimeError(
                f"output with shape {list(target.shape)} doesn't match the broadcast shape {list(shape)}"
            )
        if found.category > target.dtype.category and self.name not in ("copy_", "fill_"):
            raise RuntimeError(
                f"result type {_type_name(found)} can't be cast to the desired output type {_type_name(target.dtype)}"
            )

    def eager(self, bound: tuple) -> Any:
        target = bound[0]
        if type(target) in PLAIN and not (_MODE.grad and autograd.needs_grad(bound)):
            if self._quickly(bound) or self._surely(bound):
                target._bump()
                return target
        return autograd.apply_in_place(self, bound, kernel)

    def _surely(self, bound: tuple) -> bool:
        """Write where `direct` has a test `sure` that says that nothing needs to be checked."""
        sure = getattr(self.direct, "sure", None)
        if sure is None:
            return False
        values = [unwrap(a) for a in bound]
        if not sure(*values) or not values[0].flags.writeable or 0 in values[0].strides:
            return False
        self.direct(*values)  # type: ignore[misc]
        return True

    def _quickly(self, bound: tuple) -> bool:
        """Write what `quick`, a ufunc, gives straight into the target; False where it does not
        apply."""
        functional: Any = self.functional
        quick = getattr(functional, "quick", None)
        if type(quick) is not np.ufunc:
            return False
        tail = bound[functional.required :]
        weighted = tail != functional.tail
        if weighted and not (functional.parameters[-1] == "alpha" and type(tail[-1]) is float):
            return False
        array = bound[0]._array
        kind = array.dtype
        if kind not in functional.kinds or 0 in array.strides:
            return False
        values = [array]
        for value in bound[1 : functional.required]:
            if type(value) in PLAIN:
                value = value._array
                if value.dtype is not kind:
                    return False
            elif kind not in functional.scalars[type(value)]:
                return False
            values.append(value)
        if weighted and type(values[1]) is not np.ndarray:
            return False
        try:
            if weighted:
                weigh(quick, array, values[1], tail[-1])
            else:
                quick(*values, out=array)
        except (ValueError, OverflowError):
            return False  # the long way knows the words
        return True

    def compute(self, bound: tuple) -> Tensor:
        target = bound[0]
        if self._quickly(bound) or self._surely(bound):
            return target
        refuse_overlap(target)
        if not target._array.flags.writeable:
            raise RuntimeError("this tensor is a read-only view of NumPy memory; clone() it before writing in place")
        if self.direct is not None:
            self.spec(bound)
            self.direct(*[unwrap(a) for a in bound])
            return target
        result = self.functional.compute(bound)  # type: ignore[union-attr]
        self.check(bound, result._array.shape, result.dtype)
        np.copyto(target._array, result._array, casting="unsafe")
        return target

    def spec(self, bound: tuple) -> Spec:
        found = self.functional.spec(bound)  # type: ignore[union-attr]
        self.check(bound, found.shape, found.dtype)
        return Spec.of(bound[0])

    def fake(self, bound: tuple) -> Tensor:
        self.spec(bound)
        return bound[0]


def _type_name(found: dtypes.dtype) -> str:
    names = {"float32": "Float", "float64": "Double", "int64": "Long", "int32": "Int", "float16": "Half", "uint8": "Byte"}
    return names.get(found.name, re.sub(r"^\w", lambda m: m[0].upper(), found.name))


def _decorator(kind: type[Op]) -> Callable:
    def declare(function: Callable | None = None, **given: Any) -> Any:
        if function is not None:
            return kind(function, **given)
        return lambda function: kind(function, **given)

    declare.__name__ = kind.__name__.lower()
    declare.__doc__ = kind.__doc__
    return declare


pointwise = _decorator(Pointwise)
reduction = _decorator(Reduction)
view = _decorator(View)
composite = _decorator(Composite)
extern = _decorator(Extern)
