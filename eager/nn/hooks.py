"""Hooks of modules: the handle that removes one, the registries that every module consults, and the
pair of identity operators around a call that lets a hook see and replace the gradients crossing it.
Promises that a module without hooks pays for one truth test only."""

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from eager.function import Function
from eager.tensor import Tensor


class RemovableHandle:
    """Removes one hook: call `remove()`, or use the handle as a context manager."""

    next_id = 0

    def __init__(self, hooks: Any, *, extra_dict: Any = None) -> None:
        self.hooks_ref = weakref.ref(hooks)
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        extra = extra_dict if isinstance(extra_dict, (list, tuple)) else [extra_dict]
        self.extra_refs = tuple(weakref.ref(one) for one in extra if one is not None)

    def remove(self) -> None:
        """Forgets the hook; a second call does nothing."""
        for ref in (self.hooks_ref, *self.extra_refs):
            registry = ref()
            if registry is not None:
                registry.pop(self.id, None)

    def __getstate__(self) -> tuple:
        return self.hooks_ref(), self.id

    def __setstate__(self, state: tuple) -> None:
        hooks = OrderedDict() if state[0] is None else state[0]
        self.hooks_ref = weakref.ref(hooks)
        self.id = state[1]
        self.extra_refs = ()
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)

    def __enter__(self) -> "RemovableHandle":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


def register(registry: OrderedDict, hook: Callable, *, prepend: bool = False,
             flags: tuple[OrderedDict, ...] = ()) -> RemovableHandle:
    """Adds `hook` to a registry; in each registry of `flags` its id is marked true."""
    handle = RemovableHandle(registry, extra_dict=list(flags))
    registry[handle.id] = hook
    for flag in flags:
        flag[handle.id] = True
    if prepend:
        registry.move_to_end(handle.id, last=False)
    return handle


class GlobalHooks:
    """The hooks that every module in the process runs, one registry per kind."""

    def __init__(self) -> None:
        self.forward: OrderedDict[int, Callable] = OrderedDict()
        self.forward_with_kwargs: OrderedDict[int, bool] = OrderedDict()
        self.forward_always: OrderedDict[int, bool] = OrderedDict()
        self.forward_pre: OrderedDict[int, Callable] = OrderedDict()
        self.backward: OrderedDict[int, Callable] = OrderedDict()
        self.backward_pre: OrderedDict[int, Callable] = OrderedDict()
        self.parameter_registration: OrderedDict[int, Callable] = OrderedDict()
        self.buffer_registration: OrderedDict[int, Callable] = OrderedDict()
        self.module_registration: OrderedDict[int, Callable] = OrderedDict()

    def around_call(self) -> bool:
        """True if any call of any module has to run a hook of these."""
        return bool(self.forward or self.forward_pre or self.backward or self.backward_pre)


everywhere = GlobalHooks()


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Runs `hook(module, args)` before every module's forward."""
    return register(everywhere.forward_pre, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Runs `hook(module, args, output)` after every module's forward."""
    flags: tuple = (everywhere.forward_with_kwargs,) if with_kwargs else ()
    flags += (everywhere.forward_always,) if always_call else ()
    return register(everywhere.forward, hook, flags=flags)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Runs `hook(module, grad_output)` before the gradients of every module."""
    return register(everywhere.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Runs `hook(module, grad_input, grad_output)` after the gradients of every module."""
    return register(everywhere.backward, hook)


register_module_backward_hook = register_module_full_backward_hook


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Runs `hook(module, name, parameter)` at every registration of a parameter."""
    return register(everywhere.parameter_registration, hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Runs `hook(module, name, buffer)` at every registration of a buffer."""
    return register(everywhere.buffer_registration, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Runs `hook(module, name, submodule)` at every registration of a submodule."""
    return register(everywhere.module_registration, hook)


class _Crossing(Function):
    """The identity on several tensors; its backward hands all their gradients to a callback at
    once."""

    @staticmethod
    def forward(ctx: Any, callback: Callable[[tuple], tuple], *tensors: Tensor) -> Any:
        ctx.callback = callback
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None, *ctx.callback(grads))


class BackwardHooks:
    """The backward hooks around one call of a module: `enter` its arguments, `leave` its result."""

    def __init__(self, module: Any, hooks: list[Callable], pre_hooks: list[Callable]) -> None:
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.arguments = 0
        self.results = 0
        self.watches_input = False
        self.grad_outputs: tuple = ()

    def enter(self, args: tuple) -> tuple:
        """The arguments, wired so that their gradients run the hooks."""
        self.arguments = len(args)
        args, where = self._cross(args, self._at_input)
        self.watches_input = bool(where)
        return args

    def leave(self, result: Any) -> Any:
        """The result, wired so that its gradients run the hooks first."""
        results = result if isinstance(result, tuple) else (result,)
        self.results = len(results)
        wired, _ = self._cross(results, self._at_output)
        return wired if isinstance(result, tuple) else wired[0]

    def _cross(self, values: tuple, callback: Callable) -> tuple[tuple, list[int]]:
        where = [i for i, value in enumerate(values)
                 if isinstance(value, Tensor) and value.requires_grad]
        if not where:
            return values, where
        crossed = _Crossing.apply(lambda grads: callback(where, grads), *[values[i] for i in where])
        wired = list(values)
        for i, tensor in zip(where, crossed):
            wired[i] = tensor
        return tuple(wired), where

    def _at_output(self, where: list[int], grads: tuple) -> tuple:
        self.grad_outputs = _spread(where, grads, self.results)
        for hook in self.pre_hooks:
            changed = hook(self.module, self.grad_outputs)
            if changed is not None:
                self.grad_outputs = _as_gradients(changed, self.results, "grad_output")
        if not self.watches_input:
            self._run((None,) * self.arguments)
        return tuple(self.grad_outputs[i] for i in where)

    def _at_input(self, where: list[int], grads: tuple) -> tuple:
        changed = self._run(_spread(where, grads, self.arguments))
        return tuple(changed[i] for i in where)

    def _run(self, grad_inputs: tuple) -> tuple:
        for hook in self.hooks:
            changed = hook(self.module, grad_inputs, self.grad_outputs)
            if changed is None:
                continue
            if not self.watches_input:
                raise RuntimeError(
                    f"a backward hook of {type(self.module).__name__} returned gradients, but none "
                    "of the module's inputs requires a gradient")
            grad_inputs = _as_gradients(changed, self.arguments, "grad_input")
        return grad_inputs


def _spread(where: list[int], grads: tuple, count: int) -> tuple:
    spread: list[Any] = [None] * count
    for i, grad in zip(where, grads):
        spread[i] = grad
    return tuple(spread)


def _as_gradients(changed: Any, count: int, name: str) -> tuple:
    gradients = changed if isinstance(changed, tuple) else (changed,)
    if len(gradients) != count:
        raise RuntimeError(
            f"Backward hook returned an invalid number of {name}, got {len(gradients)}, "
            f"but expected {count}")
    return gradients
