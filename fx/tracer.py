"""symbolic_trace: runs a function or a module's forward on proxies; the graph says what it did."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import math
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from eager import dispatch
from eager.device import device
from eager.dtype import dtype
from eager.nn.module import Module
from eager.nn.parameter import Parameter
from eager.tensor import Tensor
from fx.graph import Graph
from fx.graph_module import GraphModule
from fx.node import Argument, Node, Target, has_side_effect, leaves
from fx.proxy import Proxy, refuse, user_frames, user_location

_PLAIN = (
    str, int, float, bool, complex, bytes, type(None), type(...), dtype, device, enum.Enum,
)  # fmt: skip
_STARRED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
# Functions that `wrap` named: (the globals they are called from, the name).
_wrapped: list[tuple[dict[str, Any], str]] = []


def wrap(fn_or_name: str | Callable) -> str | Callable:
    """Calls of this global function on traced values are recorded, not entered.

    Say it at the top of a module, `wrap("len")`, or use it as a decorator of a function there.
    Raises NotImplementedError elsewhere, RuntimeError for what is neither a name nor a function.
    """
    name = fn_or_name if isinstance(fn_or_name, str) else getattr(fn_or_name, "__name__", None)
    if not isinstance(name, str):
        raise RuntimeError("wrap: expected a global function or its name")
    frame = sys._getframe(1)
    if frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _wrapped.append((frame.f_globals, name))
    return fn_or_name


@has_side_effect
def check_specialized(value: Any, expected: Any, name: str) -> None:
    """Raises AssertionError unless `value` is what `concrete_args` promised for the parameter."""
    if value is not expected and value != expected:
        raise AssertionError(
            f"{name} has been specialized to have value {expected!r} but got another value, "
            f"{value!r}: trace again for it"
        )


class _Recorder(dispatch.Interpreter):
    """Records operators that get a proxy; the others compute."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def interpret(self, op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if any(isinstance(leaf, Proxy) for leaf in leaves((args, kwargs))):
            return self.tracer.create_proxy("call_function", op, args, kwargs)
        return op(*args, **kwargs)


class Tracer:
    """Traces programs; subclasses decide what is a leaf and how nodes and proxies are made.

    trace(root, concrete_args)
      create_args_for_root     a placeholder for every parameter
      recording                operators, module calls, parameters, math and wrapped functions
        call_module              is_leaf_module: one node; otherwise the module is entered
        getattr                  parameters become get_attr nodes
        create_proxy             create_arg for every argument, create_node, proxy
      to_bool, iter, keys      what a traced value cannot answer: TraceError with the user's line
    """

    record_stack_traces = True

    def __init__(
        self,
        autowrap_modules: tuple[types.ModuleType, ...] = (math,),
        autowrap_functions: tuple[Callable, ...] = (),
    ) -> None:
        self.graph = Graph(tracer_cls=type(self))
        self.root: Any = Module()
        self.module_stack: dict[str, tuple[str, type]] = {}
        self._autowrap_modules = autowrap_modules
        self._autowrap_functions = autowrap_functions
        self._paths: dict[int, str] = {}
        self._attributes: dict[int, str] = {}
        self._parameters: dict[int, Proxy] = {}

    # -- tracing -----------------------------------------------------------------------------------

    def trace(
        self, root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
    ) -> Graph:
        """The graph of `root`. A parameter named in `concrete_args` has that value while tracing,
        and the graph raises AssertionError when it is called with another.

        Raises TraceError, with the user's line, where control flow depends on a traced value.
        """
        self.graph = Graph(tracer_cls=type(self))
        if isinstance(root, Module):
            self.root, function = root, type(root).forward
        else:
            self.root, function = Module(), root
        self._paths = {id(module): name for name, module in self.root.named_modules()}
        self._attributes = _tensor_attributes(self.root)
        self._parameters = {}
        function, args, kwargs = self.create_args_for_root(
            function, isinstance(root, Module), concrete_args
        )
        with self.recording(function):
            result = self.create_arg(function(*args, **kwargs))
        kind = getattr(function, "__annotations__", {}).get("return")
        self.create_node("output", "output", (result,), {}, type_expr=kind)
        return self.graph

    def create_args_for_root(
        self, root_fn: Callable, is_module: bool, concrete_args: dict[str, Any] | None = None
    ) -> tuple[Callable, list[Any], dict[str, Any]]:
        """Makes the placeholders; the function to call and its positional and keyword arguments."""
        function = inspect.unwrap(root_fn)
        code = function.__code__
        concrete = concrete_args or {}
        parameters = list(inspect.signature(function).parameters.values())
        args: list[Any] = [self.root] if is_module else []
        kwargs: dict[str, Any] = {}
        by_name: dict[str, Any] = {}
        for parameter in parameters[1:] if is_module else parameters:
            by_name[parameter.name] = value = self._placeholder(parameter, concrete)
            if parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        if not code.co_flags & _STARRED:
            return root_fn, args, kwargs
        total = code.co_argcount + code.co_kwonlyargcount
        total += bin(code.co_flags & _STARRED).count("1")
        names = code.co_varnames[1 if is_module else 0 : total]
        args = ([self.root] if is_module else []) + [by_name[name] for name in names]
        return _without_stars(function, total), args, {}

    def _placeholder(self, parameter: inspect.Parameter, concrete: dict[str, Any]) -> Any:
        stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}
        name = stars.get(parameter.kind.name, "") + parameter.name
        default = () if parameter.default is parameter.empty else (parameter.default,)
        kind = None if parameter.annotation is parameter.empty else parameter.annotation
        proxy = self.create_proxy("placeholder", name, default, {}, type_expr=kind)
        if parameter.name not in concrete:
            return proxy
        expected = concrete[parameter.name]
        if not isinstance(expected, Tensor):
            args = (proxy, expected, parameter.name)
            self.create_proxy("call_function", check_specialized, args, {})
        return expected

    @contextmanager
    def recording(self, function: Callable | None = None) -> Iterator[None]:
        """Inside, operators, module calls, parameters and wrapped functions are recorded."""
        with ExitStack() as stack:
            stack.enter_context(_patched(Module, "__call__", self._on_call))
            stack.enter_context(_patched(Module, "__getattr__", self._on_getattr))
            for module in self._autowrap_modules:
                for name, value in list(vars(module).items()):
                    if not name.startswith("_") and callable(value):
                        stack.enter_context(_patched(module, name, self._on_function))
            scopes = [(scope, name) for scope, name in _wrapped]
            own = getattr(function, "__globals__", {})
            scopes += [(own, f.__name__) for f in self._autowrap_functions if f.__name__ in own]
            for scope, name in scopes:
                stack.enter_context(_patched_global(scope, name, self._on_function))
            stack.enter_context(dispatch.push(_Recorder(self)))
            yield

    # -- what is recorded, and how -----------------------------------------------------------------

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether a call of `m` is one node: by default, eager's own modules but Sequential."""
        from eager.nn.container import Sequential

        return type(m).__module__.startswith("eager.nn") and not isinstance(m, Sequential)

    def path_of_module(self, mod: Module) -> str:
        """The dotted path of a module. Raises NameError unless it is a submodule of the root."""
        path = self._paths.get(id(mod))
        if path is None:
            raise NameError(
                f"module {type(mod).__name__} is not installed as a submodule of the traced module "
                f"{user_location()}"
            )
        return path

    def call_module(
        self, m: Module, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]
    ) -> Any:
        """A call of a module while tracing; `forward` enters it."""
        path = self.path_of_module(m)
        self.module_stack[path] = (path, type(m))
        try:
            if self.is_leaf_module(m, path):
                return self.create_proxy("call_module", path, args, kwargs)
            return forward(*args, **kwargs)
        finally:
            self.module_stack.pop(path, None)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[int, Proxy]) -> Any:
        """A module's attribute while tracing: parameters become proxies, the rest is as it is."""
        path = self._attributes.get(id(attr_val))
        if not isinstance(attr_val, Parameter) or path is None:
            return attr_val
        found = parameter_proxy_cache.get(id(attr_val))
        if found is None:
            found = self.create_proxy("get_attr", path, (), {})
            parameter_proxy_cache[id(attr_val)] = found
        return found

    def create_node(
        self,
        kind: str,
        target: Target,
        args: tuple[Argument, ...],
        kwargs: dict[str, Argument],
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Adds a node, with the user's frames and the modules it is in."""
        node = self.graph.create_node(kind, target, args, kwargs, name, type_expr)
        if self.record_stack_traces and kind not in ("placeholder", "output"):
            node.meta["stack"] = user_frames()
        if self.module_stack:
            node.meta["nn_module_stack"] = dict(self.module_stack)
        return node

    def proxy(self, node: Node) -> Proxy:
        """The value that stands for a node."""
        return Proxy(node, self)

    def create_proxy(
        self,
        kind: str,
        target: Target,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
    ) -> Proxy:
        """Records an operation on proxies and other values."""
        node = self.create_node(
            kind, target, self.create_arg(args), self.create_arg(kwargs), name, type_expr
        )
        return self.proxy(node)

    def create_arg(self, a: Any) -> Argument:
        """A value as an argument of a node. Raises NotImplementedError for types that cannot be."""
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            return type(a)(*[self.create_arg(item) for item in a])
        if isinstance(a, (tuple, list)):
            items = [self.create_arg(item) for item in a]
            return items if isinstance(a, list) else tuple(items)
        if isinstance(a, dict):
            return {self._constant_key(key): self.create_arg(item) for key, item in a.items()}
        if isinstance(a, slice):
            return slice(*[self.create_arg(bound) for bound in (a.start, a.stop, a.step)])
        if isinstance(a, range):
            return range(*[self.create_arg(bound) for bound in (a.start, a.stop, a.step)])
        if isinstance(a, Tensor):
            return self._tensor(a)
        if isinstance(a, (*_PLAIN, Node)) or callable(a):
            return a
        if dataclasses.is_dataclass(a) and not isinstance(a, type):
            kwargs = {f.name: self.create_arg(getattr(a, f.name)) for f in dataclasses.fields(a)}
            return self.create_node("call_function", type(a), (), kwargs)
        raise NotImplementedError(
            f"argument of type {type(a).__name__} cannot be recorded {user_location()}"
        )

    def _constant_key(self, key: Any) -> Any:
        if isinstance(key, Proxy):
            raise RuntimeError(f"a traced value cannot be a dict key {user_location()}")
        return key

    def _tensor(self, value: Tensor) -> Node:
        """A get_attr for a parameter, buffer or other tensor; a stranger is put into the root."""
        path = self._attributes.get(id(value))
        if path is None:
            if isinstance(value, Parameter):
                raise NameError(
                    f"a parameter is not a member of the traced module {user_location()}"
                )
            number = 0
            while hasattr(self.root, f"_tensor_constant{number}"):
                number += 1
            path = f"_tensor_constant{number}"
            setattr(self.root, path, value)
            self._attributes[id(value)] = path
        return self.create_node("get_attr", path, (), {})

    # -- what a traced value cannot answer ---------------------------------------------------------

    def to_bool(self, obj: Proxy) -> bool:
        """Called for the truth of a traced value."""
        raise refuse("the truth")

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """Called when a traced value is iterated over, other than unpacked into names."""
        raise refuse("iteration over (its length is unknown)")

    def keys(self, obj: Proxy) -> Any:
        """Called when a traced value is spread by `**`."""
        from fx.proxy import Attribute

        return Attribute(obj, "keys")()

    # -- the hooks that recording installs ---------------------------------------------------------

    def _on_call(self, original: Callable) -> Callable:
        def call(module: Module, *args: Any, **kwargs: Any) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                return original(module, *args, **kwargs)

            return self.call_module(module, forward, args, kwargs)

        return call

    def _on_getattr(self, original: Callable) -> Callable:
        def get(module: Module, name: str) -> Any:
            return self.getattr(name, original(module, name), self._parameters)

        return get

    def _on_function(self, original: Callable) -> Callable:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if any(isinstance(leaf, Proxy) for leaf in leaves((args, kwargs))):
                return self.create_proxy("call_function", original, args, kwargs)
            return original(*args, **kwargs)

        return call


def symbolic_trace(
    root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
) -> GraphModule:
    """Traces a module or a function into a GraphModule. See Tracer.trace."""
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else root.__name__
    return GraphModule(tracer.root, graph, name)


def _tensor_attributes(root: Module) -> dict[int, str]:
    """The dotted path of every parameter, buffer and other tensor attribute, by identity."""
    found: dict[int, str] = {}
    for prefix, module in root.named_modules():
        named = {**vars(module), **module._buffers, **module._parameters}
        for name, value in named.items():
            if isinstance(value, Tensor):
                found.setdefault(id(value), f"{prefix}.{name}" if prefix else name)
    return found


def _without_stars(function: Any, total: int) -> types.FunctionType:
    """The same function with `*args` and `**kwargs` as ordinary parameters: they may be proxies."""
    code = function.__code__.replace(
        co_flags=function.__code__.co_flags & ~_STARRED,
        co_argcount=total, co_posonlyargcount=0, co_kwonlyargcount=0,
    )  # fmt: skip
    scope, closure = function.__globals__, function.__closure__
    made = types.FunctionType(code, scope, function.__name__, None, closure)
    made.__annotations__ = function.__annotations__
    return made


@contextmanager
def _patched(owner: Any, name: str, hook: Callable[[Callable], Callable]) -> Iterator[None]:
    """Inside, `owner.name` is `hook(original)` for this thread."""
    had, original = name in vars(owner), getattr(owner, name)
    setattr(owner, name, _this_thread(original, hook(original)))
    try:
        yield
    finally:
        if had:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


@contextmanager
def _patched_global(
    scope: dict[str, Any], name: str, hook: Callable[[Callable], Callable]
) -> Iterator[None]:
    import builtins

    had = name in scope
    original = scope[name] if had else getattr(builtins, name)
    scope[name] = _this_thread(original, hook(original))
    try:
        yield
    finally:
        if had:
            scope[name] = original
        else:
            del scope[name]


def _this_thread(original: Callable, hooked: Callable) -> Callable:
    """Other threads do not notice that this one is tracing."""
    owner = threading.get_ident()

    @functools.wraps(original)
    def choose(*args: Any, **kwargs: Any) -> Any:
        return (hooked if threading.get_ident() == owner else original)(*args, **kwargs)

    return choose
