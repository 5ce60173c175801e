"""How a module is called: its forward between the hooks of the module and those of every module;
and how those hooks are registered. Promises that without hooks a call is `forward` and nothing
else.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

from eager.nn.hooks import BackwardHooks, RemovableHandle, everywhere, register

REGISTRIES = ("_backward_pre_hooks", "_backward_hooks", "_forward_hooks",
              "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
              "_forward_pre_hooks_with_kwargs", "_state_dict_hooks", "_state_dict_pre_hooks",
              "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")


class _ModuleHook:
    """A hook that is called with its module first, without keeping the module alive."""

    def __init__(self, hook: Callable, module: Any) -> None:
        self.hook = hook
        self.module = None if module is None else weakref.ref(module)
        functools.update_wrapper(self, hook)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.module is None:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("a hook was called after its module had been deleted")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict:
        return {"hook": self.hook, "module": None if self.module is None else self.module()}

    def __setstate__(self, state: dict) -> None:
        self.hook = state["hook"]
        self.module = None if state["module"] is None else weakref.ref(state["module"])


class HookedCall:
    """The part of `Module` that calls `forward`, and the hooks around it."""

    _compiled_call_impl: Callable | None = None
    # The roof sets this to its `compile`; eager by itself has no compiler.
    _compiler: Callable | None = None

    forward: Callable[..., Any]
    _backward_pre_hooks: Any
    _backward_hooks: Any
    _forward_hooks: Any
    _forward_hooks_with_kwargs: Any
    _forward_hooks_always_called: Any
    _forward_pre_hooks: Any
    _forward_pre_hooks_with_kwargs: Any
    _state_dict_hooks: Any
    _state_dict_pre_hooks: Any
    _load_state_dict_pre_hooks: Any
    _load_state_dict_post_hooks: Any
    _is_full_backward_hook: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._compiled_call_impl is not None:
            return self._compiled_call_impl(*args, **kwargs)
        return self._call_impl(*args, **kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks
                or self._backward_pre_hooks or everywhere.around_call()):
            return self.forward(*args, **kwargs)
        called: set[int] = set()
        try:
            return self._call_with_hooks(called, args, kwargs)
        except Exception:
            self._run_always_called(called, args, kwargs)
            raise

    def _call_with_hooks(self, called: set[int], args: tuple, kwargs: dict) -> Any:
        args, kwargs = self._run_pre_hooks(args, kwargs)
        around = self._backward_hooks_around()
        if around is not None:
            args = around.enter(args)
        result = self.forward(*args, **kwargs)
        for key, hook, with_kwargs in self._forward_hooks_in_order():
            called.add(key)
            arguments = (args, kwargs) if with_kwargs else (args,)
            changed = hook(self, *arguments, result)
            result = result if changed is None else changed
        return result if around is None else around.leave(result)

    def _run_pre_hooks(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        for key, hook in (*everywhere.forward_pre.items(), *self._forward_pre_hooks.items()):
            if key in self._forward_pre_hooks_with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise RuntimeError("forward pre-hook must return None or a tuple of "
                                       f"(new_args, new_kwargs), but got {changed}.")
                args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _forward_hooks_in_order(self) -> list[tuple[int, Callable, bool]]:
        return [(key, hook, key in everywhere.forward_with_kwargs)
                for key, hook in everywhere.forward.items()] + [
               (key, hook, key in self._forward_hooks_with_kwargs)
                for key, hook in self._forward_hooks.items()]

    def _backward_hooks_around(self) -> BackwardHooks | None:
        hooks = [*everywhere.backward.values(), *self._backward_hooks.values()]
        pre_hooks = [*everywhere.backward_pre.values(), *self._backward_pre_hooks.values()]
        return BackwardHooks(self, hooks, pre_hooks) if hooks or pre_hooks else None

    def _run_always_called(self, called: set[int], args: tuple, kwargs: dict) -> None:
        always = {**everywhere.forward_always, **self._forward_hooks_always_called}
        for key, hook, with_kwargs in self._forward_hooks_in_order():
            if key in always and key not in called:
                hook(self, *((args, kwargs) if with_kwargs else (args,)), None)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles this module's calls in place; takes what `flambeau.compile` takes.

        Raises RuntimeError where only the eager package has been imported."""
        if HookedCall._compiler is None:
            raise RuntimeError("Module.compile needs a compiler: import flambeau first")
        compiled = HookedCall._compiler(self._call_impl, *args, **kwargs)
        self.__dict__["_compiled_call_impl"] = compiled

    # Hooks

    def register_forward_pre_hook(self, hook: Callable, *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:
        """Runs `hook(module, args[, kwargs])` before forward; what it returns replaces them."""
        flags = (self._forward_pre_hooks_with_kwargs,) if with_kwargs else ()
        return register(self._forward_pre_hooks, hook, prepend=prepend, flags=flags)

    def register_forward_hook(self, hook: Callable, *, prepend: bool = False,
                              with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """Runs `hook(module, args[, kwargs], output)` after forward; a result replaces the output.
        """
        flags = (self._forward_hooks_with_kwargs,) if with_kwargs else ()
        flags += (self._forward_hooks_always_called,) if always_call else ()
        return register(self._forward_hooks, hook, prepend=prepend, flags=flags)

    def register_full_backward_pre_hook(self, hook: Callable,
                                        prepend: bool = False) -> RemovableHandle:
        """Runs `hook(module, grad_output)` before this module's gradients are computed."""
        return register(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Runs `hook(module, grad_input, grad_output)`; a result replaces `grad_input`."""
        if self._is_full_backward_hook is False:
            raise RuntimeError("Cannot use both regular backward hooks and full backward hooks "
                               "on a single Module. Please use only one of them.")
        self._is_full_backward_hook = True
        return register(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """The old form of `register_full_backward_hook`; here it sees the full gradients too."""
        if self._is_full_backward_hook is True:
            raise RuntimeError("Cannot use both regular backward hooks and full backward hooks "
                               "on a single Module. Please use only one of them.")
        self._is_full_backward_hook = False
        return register(self._backward_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Runs `hook(module, prefix, keep_vars)` before `state_dict`."""
        return register(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Runs `hook(module, state_dict, prefix, local_metadata)` after `state_dict`."""
        hook._from_public_api = True  # type: ignore[attr-defined]
        return register(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError("Cannot register the same function as the state dict post hook that "
                               "was previously registered via register_state_dict_post_hook")
        return register(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Runs `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)` before this module loads."""
        return register(self._load_state_dict_pre_hooks, _ModuleHook(hook, self))

    def _register_load_state_dict_pre_hook(self, hook: Callable,
                                           with_module: bool = False) -> RemovableHandle:
        wrapped = _ModuleHook(hook, self if with_module else None)
        return register(self._load_state_dict_pre_hooks, wrapped)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Runs `hook(module, incompatible_keys)` after this module has loaded."""
        return register(self._load_state_dict_post_hooks, hook)
