"""Backends by name. A backend is `backend(graph_module, example_inputs) -> callable(*tensors)`.

`eager` is here; the roof registers what lies on floors that dynamo does not import. Any callable
with that signature is a backend without being registered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Backend = Callable[..., Callable[..., Any]]

_backends: dict[str, Backend] = {}


class InvalidBackend(RuntimeError):
    """There is no backend of that name."""

    def __init__(self, name: str) -> None:
        known = ", ".join(repr(other) for other in list_backends())
        super().__init__(
            f"Invalid backend: {name!r}. The backends are {known}; "
            "`register_backend` adds one, and any callable is a backend too."
        )


def register_backend(
    compiler_fn: Backend | None = None, name: str | None = None, tags: Sequence[str] = ()
) -> Any:
    """Give a backend a name (its own by default); a decorator too.

    Raises ValueError if another backend has that name.
    """
    if compiler_fn is None:
        return lambda function: register_backend(function, name, tags)
    chosen = name or compiler_fn.__name__
    if _backends.get(chosen, compiler_fn) is not compiler_fn:
        raise ValueError(f"there is a backend named {chosen!r} already")
    compiler_fn._tags = tuple(tags)  # type: ignore[attr-defined]
    _backends[chosen] = compiler_fn
    return compiler_fn


def list_backends(exclude_tags: Sequence[str] | None = ()) -> list[str]:
    """The names that `lookup` knows, without those of backends that have one of the tags."""
    excluded = set(exclude_tags or ())
    tags = {name: set(getattr(backend, "_tags", ())) for name, backend in _backends.items()}
    return sorted(name for name in _backends if not excluded & tags[name])


def lookup(backend: str | Backend) -> Backend:
    """The backend of that name, or the callable itself.

    Raises InvalidBackend for an unknown name and TypeError for what is not callable.
    """
    if isinstance(backend, str):
        if backend not in _backends:
            raise InvalidBackend(backend)
        return _backends[backend]
    if not callable(backend):
        raise TypeError(f"a backend is a name or a callable, not {type(backend).__name__}")
    return backend


@register_backend
def eager(graph_module: Any, example_inputs: Sequence[Any], **options: Any) -> Callable[..., Any]:
    """Run the captured graph operator by operator."""
    return graph_module.forward
