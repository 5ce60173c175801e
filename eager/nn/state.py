"""What a module saves and loads: `state_dict` and `load_state_dict`, over the tree of modules.
Promises that nothing is loaded silently: what is missing, left over or of another shape is named
in one error.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from eager.autograd import no_grad
from eager.nn.parameter import Parameter
from eager.tensor import Tensor

_EXTRA_STATE = "_extra_state"


class IncompatibleKeys(NamedTuple("_IncompatibleKeys", [
        ("missing_keys", list), ("unexpected_keys", list)])):
    """What `load_state_dict` did not find and did not use."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class SavedState:
    """The part of `Module` that writes and reads state dicts."""

    _version: int = 1
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: Any
    _state_dict_pre_hooks: Any
    _load_state_dict_pre_hooks: Any
    _load_state_dict_post_hooks: Any

    def get_extra_state(self) -> Any:
        """To be overridden together with `set_extra_state` by modules with more to save."""
        raise RuntimeError("Reached a code path in Module.get_extra_state() that should never be "
                           "called: override it together with set_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Restores what `get_extra_state` returned."""
        raise RuntimeError("Reached a code path in Module.set_extra_state() that should never be "
                           "called: override it together with get_extra_state()")

    def _has_extra_state(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(SavedState, method)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, tensor in self._persistent_state():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if self._has_extra_state("get_extra_state"):
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    def _persistent_state(self) -> list[tuple[str, Tensor]]:
        state = [*self._parameters.items()]
        state += [(name, buffer) for name, buffer in self._buffers.items()
                  if name not in self._non_persistent_buffers_set]
        return [(name, tensor) for name, tensor in state if tensor is not None]

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "",
                   keep_vars: bool = False) -> Any:
        """All persistent parameters and buffers by their dotted names, sharing memory with them."""
        if args:  # the old positional form: destination, prefix, keep_vars
            given = (*args, *(destination, prefix, keep_vars)[len(args):])
            destination, prefix, keep_vars = given  # type: ignore[misc]
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.",
                                  keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            changed = hook(self, destination, prefix, metadata)
            if getattr(hook, "_from_public_api", False):
                if changed is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif changed is not None:
                destination = changed
        return destination

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True,
                        assign: bool = False) -> IncompatibleKeys:
        """Copies (or with `assign` puts) the tensors of a state dict into this module.

        Raises TypeError if it is no mapping, RuntimeError if something does not fit."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        state_dict = OrderedDict(state_dict)
        if metadata is not None:
            state_dict._metadata = metadata  # type: ignore[attr-defined]
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        self._load_tree(state_dict, "", metadata, assign, missing, unexpected, errors)
        if strict and unexpected:
            errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if strict and missing:
            errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if errors:
            raise RuntimeError("Error(s) in loading state_dict for {}:\n\t{}".format(
                type(self).__name__, "\n\t".join(errors)))
        return IncompatibleKeys(missing, unexpected)

    def _load_tree(self, state: dict, prefix: str, metadata: Any, assign: bool, missing: list,
                   unexpected: list, errors: list) -> None:
        local_metadata = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
        if assign:
            local_metadata["assign_to_params_buffers"] = True
        self._load_from_state_dict(state, prefix, local_metadata, True, missing, unexpected, errors)
        for name, child in self._modules.items():
            if child is None:
                continue
            below = f"{prefix}{name}."
            child._load_tree({key: value for key, value in state.items() if key.startswith(below)},
                             below, metadata, assign, missing, unexpected, errors)
        keys = IncompatibleKeys(missing, unexpected)
        for hook in self._load_state_dict_post_hooks.values():
            if hook(self, keys) is not None:
                raise AssertionError("Hooks registered with register_load_state_dict_post_hook are "
                                     "not expected to return new values: change incompatible_keys "
                                     "in place")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict,
                              strict: bool, missing_keys: list, unexpected_keys: list,
                              error_msgs: list) -> None:
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                 error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, own in self._persistent_state():
            key = prefix + name
            if key in state_dict:
                error = self._load_tensor(name, key, own, state_dict[key], assign)
                if error:
                    error_msgs.append(error)
            elif strict:
                missing_keys.append(key)
        self._load_extra_state(state_dict, prefix, strict, missing_keys, unexpected_keys)
        if strict:
            unexpected_keys += self._unexpected(state_dict, prefix)

    def _load_tensor(self, name: str, key: str, own: Tensor, given: Any,
                     assign: bool) -> str | None:
        if not isinstance(given, Tensor):
            return (f'While copying the parameter named "{key}", expected torch.Tensor or '
                    f"Tensor-like object from checkpoint but received {type(given)}")
        if own.ndim == 0 and tuple(given.shape) == (1,):  # written before scalars existed
            given = given[0]
        if tuple(given.shape) != tuple(own.shape) and not getattr(own, "is_uninitialized", False):
            return (f"size mismatch for {key}: copying a param with shape {given.shape} from "
                    f"checkpoint, the shape in current model is {own.shape}.")
        if not assign:
            with no_grad():
                own.copy_(given)
        elif name in self._parameters:
            if not isinstance(given, Parameter):
                given = Parameter(given, requires_grad=own.requires_grad)
            else:
                given.requires_grad_(own.requires_grad)
            self._parameters[name] = given
        else:
            self._buffers[name] = given
        return None

    def _load_extra_state(self, state: dict, prefix: str, strict: bool, missing: list,
                          unexpected: list) -> None:
        key = prefix + _EXTRA_STATE
        if self._has_extra_state("set_extra_state"):
            if key in state:
                self.set_extra_state(state[key])
            elif strict:
                missing.append(key)
        elif strict and key in state:
            unexpected.append(key)

    def _unexpected(self, state: dict, prefix: str) -> list[str]:
        own = {name for name, _ in self._persistent_state()}
        found = []
        for key in state:
            if not key.startswith(prefix) or key == prefix + _EXTRA_STATE:
                continue
            first, _, rest = key[len(prefix):].partition(".")
            if first not in (self._modules if rest else own):
                found.append(key)
        return found


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
