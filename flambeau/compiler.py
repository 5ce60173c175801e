"""`flambeau.compile` and `flambeau.explain`, and torch.compiler: what code says to, and asks of, the compiler.

The floors below are loaded on the first use: importing flambeau loads no compiler.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from eager.dispatch import is_compiling
from eager.nn.calling import HookedCall
from eager.nn.module import Module
from flambeau.missing import lookup
from flambeau.optimized import OptimizedModule

OPTIONS = frozenset({"debug", "max_autotune"})
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def aot_eager(graph_module: Any, example_inputs: Any) -> Callable:
    """Derive ahead of time, then run both graphs as they are."""
    from aot.compile import compile as compile_ahead

    return compile_ahead(graph_module, example_inputs)


def inductor(
    graph_module: Any, example_inputs: Any, debug: bool = False, max_autotune: bool = False
) -> Callable:
    """Derive ahead of time, then compile both graphs to native programs.

    With `debug` the generated kernels run as Python, so that a debugger can step through them;
    with FLAMBEAU_DUMP they have files, in which it can set breakpoints. With `max_autotune` the ways
    of convolutions are chosen by timing.
    """
    from aot.compile import compile as compile_ahead
    from inductor.compile import compile_graph, keep

    return compile_ahead(
        graph_module, example_inputs, keep=keep(),
        forward_compiler=functools.partial(compile_graph, debug=debug, tuned=max_autotune),
    )


@functools.cache
def _dynamo() -> Any:
    """The capture floor, with the backends of the floors beside it registered."""
    from dynamo import backends, frame

    for backend in (aot_eager, inductor):
        backends.register_backend(backend)
    return frame


def compile(
    model: Callable | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """A module or function that computes the same, compiled when it is first called; as a decorator too.

    Shapes are static: a new shape compiles again. A Python number that changed is from then on read at every call where it only
    meets arithmetic and tensors; with `dynamic=True` arguments are so from the first call, with False none ever is. With the mode "max-autotune"
    (or the option `max_autotune`) the inductor times the ways of a convolution and takes the quickest; the other modes change nothing.
    `backend` is a name of `list_backends()` or a callable `(graph_module, example_inputs) -> callable`. With `fullgraph` a
    break in capture is an error. Raises RuntimeError for an unknown mode, and for `mode` and `options` together; what the
    backend raises for an unknown name or option.
    """
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable
        )
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if not callable(model):
        raise TypeError(f"compile() needs a module or a function, got {type(model).__name__}")
    if disable:
        return model
    _dynamo()
    from dynamo.frame import optimize

    given = {} if dynamic is None else {"dynamic": dynamic}
    if mode is not None and mode.startswith("max-autotune") and backend == "inductor":
        options = {"max_autotune": True}
    decorate = optimize(_with_options(backend, options), fullgraph=fullgraph, **given)
    if not isinstance(model, Module):
        return decorate(model)
    return OptimizedModule(model, decorate, {"fullgraph": fullgraph, "dynamic": dynamic, "backend": backend, "options": options})


HookedCall._compiler = staticmethod(compile)


def _with_options(backend: str | Callable, options: dict[str, Any] | None) -> str | Callable:
    """The backend that gets `options`; the inductor's are its parameters, the other names have none."""
    if not options:
        return backend
    if callable(backend):
        return functools.partial(backend, options=options)
    known = OPTIONS if backend == "inductor" else frozenset()
    unknown = [name for name in options if name not in known]
    if unknown:
        raise RuntimeError(
            f"Unexpected optimization option {', '.join(unknown)}: the backend {backend!r} has "
            + (f"the options {', '.join(sorted(known))}" if known else "none (yet)")
        )
    return functools.partial(inductor, **options)


def explain(model: Callable, *args: Any, **kwargs: Any) -> Any:
    """What capture makes of a call: `explain(model)(*inputs)` gives graphs, breaks with reasons and hints, and guards."""
    _dynamo()
    from dynamo.explain import explain as explain_calls

    explained = explain_calls(model)
    return explained(*args, **kwargs) if args or kwargs else explained


def list_backends(exclude_tags: Any = None) -> list[str]:
    """The names that `compile(backend=…)` takes."""
    from dynamo import backends

    _dynamo()
    return backends.list_backends(exclude_tags)


def reset() -> None:
    """Forget everything that was compiled."""
    from dynamo.frame import reset as forget

    forget()


def counts() -> dict[str, int]:
    """How much was captured since the last `reset`: graphs, the operators in them, breaks, and distinct places of breaks."""
    frames = [record for log in _dynamo().logs() for _, record in log.captured]
    breaks = [(place.file, place.line, place.title) for record in frames for place in record.breaks]
    return {
        "calls_captured": sum(sum(record.operator_counts.values()) for record in frames),
        "unique_graphs": sum(len(record.graphs) for record in frames),
        "graph_breaks": len(breaks),
        "unique_graph_breaks": len(set(breaks)),
    }


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Run this function as Python does: capture neither it nor, with `recursive`, what it calls."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    from dynamo.frame import disable as disable_frame

    return disable_frame(fn, recursive=recursive, reason=reason)


def allow_in_graph(fn: Any) -> Any:
    """Put calls of this function into graphs as they are. Raises RuntimeError: that flambeau does not have (yet)."""
    raise RuntimeError("flambeau does not have allow_in_graph (yet): make an operator of the function with flambeau.library.custom_op")


is_dynamo_compiling = is_compiling


def is_exporting() -> bool:
    """Whether the program is being exported: flambeau has no export."""
    return False

__getattr__ = lookup(__name__)
