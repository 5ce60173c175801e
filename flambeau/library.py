"""torch.library: operators that a program registers. They enter by the door of the built-in ones: one `Op`, dispatched, derived, captured."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from eager.autograd import no_grad
from eager.fake import FakeTensor
from eager.function import Context
from eager.op import Extern
from eager.spec import Spec
from eager.tensor import Tensor
from flambeau.missing import lookup
from flambeau.operators import registered

# Rules for shapes that were registered before their operators.
_waiting: dict[str, Callable] = {}


class CustomOpDef:
    """An operator made by `custom_op`: callable, with `register_fake`, `register_autograd` and `register_kernel`."""

    def __init__(self, name: str, function: Callable, mutates: str):
        space, _, short = name.partition("::")
        if not space.isidentifier() or not short.isidentifier():
            raise ValueError(f"an operator's name is 'namespace::name', got {name!r}")
        if name in registered:
            raise RuntimeError(f"the operator {name} is registered already")
        self._name, self._function, self._fake = name, function, _waiting.pop(name, None)
        self._op = Extern(
            _kernel(function), name=f"{space}_{short}", spec=self._spec, mutates=mutates, method=False
        )
        self.__name__, self.__doc__ = short, function.__doc__
        registered[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._op(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._name})>"

    def _spec(self, *bound: Any) -> Any:
        if self._fake is None:
            raise RuntimeError(
                f"{self._name} has no rule for shapes, and was called with fake tensors: give it one with "
                f"@{self.__name__}.register_fake"
            )
        found = self._fake(*[FakeTensor.of(value) if isinstance(value, Spec) else value for value in bound])
        return tuple(map(Spec.of, found)) if isinstance(found, tuple) else Spec.of(found)

    def register_fake(self, fn: Callable) -> Callable:
        """The rule for shapes: takes fake tensors, gives fake tensors, computes nothing."""
        self._fake = fn
        return fn

    def register_kernel(self, device_types: Any, fn: Callable | None = None) -> Any:
        """The kernel for a device. Raises RuntimeError for devices other than the CPU."""
        if fn is None:
            return lambda function: self.register_kernel(device_types, function)
        if device_types not in (None, "cpu"):
            raise RuntimeError(f"flambeau has no device {device_types!r} (yet)")
        self._op.function = _kernel(fn)
        return fn

    def register_autograd(self, backward: Callable, *, setup_context: Callable | None = None) -> None:
        """The derivative: `setup_context(ctx, inputs, output)`, then `backward(ctx, *gradients)`."""

        def derive(g: Any, out: Any, needs: tuple, *bound: Any) -> tuple:
            context = Context()
            context.needs_input_grad = needs
            if setup_context is not None:
                setup_context(context, bound, out)
            found = backward(context, *(g if isinstance(g, tuple) else (g,)))
            found = found if isinstance(found, tuple) else (found,)
            return tuple(grad for grad, value in zip(found, bound, strict=True) if isinstance(value, (Tensor, Spec)))

        self._op.vjp, self._op.joint = derive, True
        self._op.saves = frozenset({*self._op.parameters, "out"})


def _kernel(function: Callable) -> Callable:
    """The function over tensors as a kernel over arrays."""
    import numpy as np

    def kernel(*values: Any) -> Any:
        with no_grad():
            found = function(*[Tensor._wrap(v) if isinstance(v, np.ndarray) else v for v in values])
        if isinstance(found, (tuple, list)):
            return tuple(tensor._array for tensor in found)
        return found._array

    kernel.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    kernel.__name__, kernel.__doc__ = function.__name__, function.__doc__
    return kernel


def custom_op(
    name: str,
    fn: Callable | None = None,
    /,
    *,
    mutates_args: str | Sequence[str] = (),
    device_types: Any = None,
    schema: str | None = None,
) -> Any:
    """Make an operator of a function over tensors, `@custom_op("mylib::name", mutates_args=())`.

    Raises ValueError for a name without a namespace, RuntimeError for one that is taken, for devices other than the CPU, and
    for arguments that are written to: that flambeau does not have (yet).
    """
    if fn is None:
        return lambda function: custom_op(name, function, mutates_args=mutates_args, device_types=device_types)
    if mutates_args:
        raise RuntimeError(f"{name}: flambeau does not have custom operators that write to their arguments (yet)")
    if device_types not in (None, "cpu"):
        raise RuntimeError(f"flambeau has no device {device_types!r} (yet)")
    return CustomOpDef(name, fn, "")


def _definition(op: Any) -> CustomOpDef:
    found = op if isinstance(op, CustomOpDef) else registered.get(op)
    if found is None:
        raise RuntimeError(f"there is no operator {op}: make it first with custom_op")
    return found


def register_fake(op: Any, func: Callable | None = None, /, **kwargs: Any) -> Any:
    """`CustomOpDef.register_fake` by the operator's name; the rule of an operator that is not there yet waits for it."""
    if func is None:
        return lambda function: register_fake(op, function)
    if isinstance(op, str) and op not in registered:
        _waiting[op] = func
        return func
    return _definition(op).register_fake(func)


def register_autograd(op: Any, backward: Callable, /, *, setup_context: Callable | None = None, **kwargs: Any) -> None:
    """`CustomOpDef.register_autograd` by the operator's name. Raises RuntimeError for an unknown one."""
    _definition(op).register_autograd(backward, setup_context=setup_context)


def register_kernel(op: Any, device_types: Any, func: Callable | None = None, /, **kwargs: Any) -> Any:
    """`CustomOpDef.register_kernel` by the operator's name. Raises RuntimeError for an unknown one."""
    return _definition(op).register_kernel(device_types, func)


__getattr__ = lookup(__name__)
