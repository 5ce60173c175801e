"""The base of all optimizers: groups of parameters with their options, the state kept per
parameter, hooks, saving and loading. Promises PyTorch's `state_dict` layout, so that checkpoints
move both ways.
"""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from eager.autograd import enable_grad, set_grad_enabled
from eager.dispatch import is_compiling
from eager.nn.hooks import RemovableHandle, register
from eager.tensor import Tensor

required = object()


def number(value: Any) -> Any:
    """The Python number in a tensor; anything else as it is."""
    return value.item() if isinstance(value, Tensor) else value


def count_step(state: dict, group: dict) -> Any:
    """Counts a step and returns how many there were: a Python number, or a scalar in double precision where the step is being captured
    or the group is `capturable`, so that the number is no constant of a graph."""
    if not isinstance(state["step"], Tensor):  # of an old checkpoint
        state["step"] += 1
        return state["step"]
    state["step"].add_(1)
    in_graph = is_compiling() or group.get("capturable")
    return state["step"].double() if in_graph else state["step"].item()


def descend(param: Any, update: Any, rate: Any, size: Any = None) -> None:
    """`param -= rate * update`, or `rate * update / size`; the rate may be a scalar tensor or a number that changes between captured steps."""
    if is_compiling() or isinstance(rate, Tensor):
        param.sub_((update if size is None else update / size) * rate)
    elif size is None:
        param.add_(update, alpha=-rate)
    else:
        param.addcdiv_(update, size, value=-rate)


def check_range(name: str, value: Any, holds: bool) -> None:
    """Raises ValueError unless an option holds what it must."""
    if not holds:
        raise ValueError(f"Invalid {name}: {value}")


def check_betas(betas: Any) -> None:
    """Raises ValueError unless both decay rates are in [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= number(beta) < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def _hooked(step: Callable) -> Callable:
    """A step that runs the optimizer's hooks around itself."""

    @functools.wraps(step)
    def run(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        for hook in self._optimizer_step_pre_hooks.values():
            changed = hook(self, args, kwargs)
            if changed is None:
                continue
            if not isinstance(changed, tuple) or len(changed) != 2:
                raise RuntimeError(f"{hook} must return None or a tuple of (new_args, new_kwargs), "
                                   f"but got {changed}.")
            args, kwargs = changed
        result = step(self, *args, **kwargs)
        for hook in self._optimizer_step_post_hooks.values():
            hook(self, args, kwargs)
        return result

    run.hooked = True  # type: ignore[attr-defined]
    return run


class Optimizer:
    """Updates parameters from their gradients. A subclass defines `_update` for one parameter,
    or its own `step`.

    Raises TypeError or ValueError for parameters that cannot be optimized."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        step = cls.__dict__.get("step")
        if step is not None and not getattr(step, "hooked", False):
            cls.step = _hooked(step)  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if defaults.get("fused") and defaults.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        if defaults.get("fused") and defaults.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        self.defaults = defaults
        self._start_hooks()
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of "
                            f"Tensors or dicts, but got {type(params).__name__}")
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    def _start_hooks(self) -> None:
        self._optimizer_step_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_step_post_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_state_dict_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_state_dict_post_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_load_state_dict_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_load_state_dict_post_hooks: OrderedDict[int, Callable] = OrderedDict()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own.

        Raises TypeError, ValueError for what is no leaf tensor or already in a group."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        _name_parameters(param_group)
        for param in param_group["params"]:
            if not isinstance(param, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is "
                                f"{type(param).__name__}")
            if not self.defaults.get("differentiable") and not (
                    param.is_leaf or getattr(param, "retains_grad", False)):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError("parameter group didn't specify a value of required "
                                 f"optimization parameter {name}")
            param_group.setdefault(name, default)
        ids = [id(param) for param in param_group["params"]]
        known = {id(param) for group in self.param_groups for param in group["params"]}
        if len(set(ids)) < len(ids):
            raise ValueError("optimizer contains a parameter group with duplicate parameters")
        if not known.isdisjoint(ids):
            raise ValueError("some parameters appear in more than one parameter group")
        if any(("param_names" in group) != ("param_names" in param_group)
               for group in self.param_groups):
            raise ValueError("all optimizer param groups should be with/without names. "
                             "cannot add param group with a different choice")
        self.param_groups.append(param_group)

    # Stepping

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets (or zeroes) the gradients of all parameters."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    param.grad = param.grad.detach()
                    param.grad.zero_()

    @_hooked
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns the closure's loss."""
        loss = None
        with set_grad_enabled(bool(self.defaults.get("differentiable", False))):
            if closure is not None:
                with enable_grad():
                    loss = closure()
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is None:
                        continue
                    grad = -param.grad if group.get("maximize") else param.grad
                    state = self.state.get(param, {})
                    self._update(param, grad, state, group)
                    if state and param not in self.state:
                        self.state[param] = state
        return loss

    def _update(self, param: Any, grad: Any, state: dict, group: dict) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define step() or _update()")

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Runs `hook(optimizer, args, kwargs)` before each step."""
        return register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Runs `hook(optimizer, args, kwargs)` after each step."""
        return register(self._optimizer_step_post_hooks, hook)

    # Saving and loading

    def state_dict(self) -> dict[str, Any]:
        """The state by the number of its parameter, and the groups with numbers for parameters."""
        for pre_hook in self._optimizer_state_dict_pre_hooks.values():
            pre_hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                numbers.setdefault(id(param), len(numbers))
            packed = {name: value for name, value in group.items() if name != "params"}
            packed["params"] = [numbers[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {numbers[id(key)] if isinstance(key, Tensor) else key: value
                 for key, value in self.state.items()}
        saved: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, saved)
            saved = saved if changed is None else changed
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the state and the groups' options of a `state_dict`.

        Raises ValueError if its groups have other sizes than these."""
        state_dict = dict(state_dict)
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = pre_hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(own["params"]) != len(other["params"])
               for own, other in zip(self.param_groups, saved)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the "
                             "size of optimizer's group")
        by_number = {number: param for own, other in zip(self.param_groups, saved)
                     for number, param in zip(other["params"], own["params"])}
        self.state = defaultdict(dict)
        for key, value in state_dict["state"].items():
            param = by_number.get(key)
            self.state[key if param is None else param] = _cast(param, value)
        groups = []
        for own, other in zip(self.param_groups, saved):
            options = copy.deepcopy({k: v for k, v in other.items() if k != "params"})
            if "param_names" in own:
                options["param_names"] = own["param_names"]
            groups.append({"params": own["params"], **options})
        self.__setstate__({"param_groups": groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def register_state_dict_pre_hook(self, hook: Callable,
                                     prepend: bool = False) -> RemovableHandle:
        """Runs `hook(optimizer)` before `state_dict`."""
        return register(self._optimizer_state_dict_pre_hooks, hook, prepend=prepend)

    def register_state_dict_post_hook(self, hook: Callable,
                                      prepend: bool = False) -> RemovableHandle:
        """Runs `hook(optimizer, state_dict)` after `state_dict`; a result replaces it."""
        return register(self._optimizer_state_dict_post_hooks, hook, prepend=prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable,
                                          prepend: bool = False) -> RemovableHandle:
        """Runs `hook(optimizer, state_dict)` before loading; a result replaces it."""
        return register(self._optimizer_load_state_dict_pre_hooks, hook, prepend=prepend)

    def register_load_state_dict_post_hook(self, hook: Callable,
                                           prepend: bool = False) -> RemovableHandle:
        """Runs `hook(optimizer)` after loading."""
        return register(self._optimizer_load_state_dict_post_hooks, hook, prepend=prepend)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            self._start_hooks()
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += ["", f"Parameter Group {i}"] if i else [f"Parameter Group {i}"]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines) + "\n)"


def _name_parameters(group: dict[str, Any]) -> None:
    params = group["params"]
    if isinstance(params, Tensor):
        group["params"] = [params]
        return
    if isinstance(params, set):
        raise TypeError("optimizer parameters need to be organized in ordered collections, but the "
                        "ordering of tensors in sets will change between runs. Please use a list "
                        "instead.")
    group["params"] = list(params)
    named = [isinstance(param, tuple) for param in group["params"]]
    if not any(named):
        return
    if not all(named):
        raise ValueError("all optimizer params should be with/without names. "
                         "Some param names are missing")
    group["param_names"] = [name for name, _ in group["params"]]
    group["params"] = [param for _, param in group["params"]]


def _cast(param: Any, value: Any, key: str | None = None) -> Any:
    """State for a parameter, in the parameter's floating point type; the step count stays as it
    is."""
    if isinstance(value, Tensor):
        if key == "step" or param is None or not param.is_floating_point():
            return value.clone()
        return value.to(dtype=param.dtype, device=param.device, copy=True)
    if isinstance(value, dict):
        return {name: _cast(param, one, name) for name, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return type(value)(_cast(param, one) for one in value)  # type: ignore[call-arg]
    return value
