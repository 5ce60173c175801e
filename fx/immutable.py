"""Lists and dicts that a node holds: reading is as usual, writing raises, because a node's users
are kept by assignment to its args."""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    kind = type(self).__name__.removeprefix("immutable_")
    raise NotImplementedError(
        f"a {kind} inside a node's arguments cannot be modified in place: build a new one and "
        "assign it (node.args = ..., node.kwargs = ..., or node.update_arg(i, value))"
    )


class immutable_list(list):  # noqa: N801 (the name is torch.fx's)
    """A list that raises NotImplementedError when it is modified."""

    __delitem__ = __iadd__ = __imul__ = __setitem__ = _refuse  # type: ignore[assignment]
    append = clear = extend = insert = _refuse  # type: ignore[assignment]
    pop = remove = reverse = sort = _refuse  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> tuple:
        return immutable_list, (list(self),)


class immutable_dict(dict):  # noqa: N801 (the name is torch.fx's)
    """A dict that raises NotImplementedError when it is modified."""

    __delitem__ = __ior__ = __setitem__ = _refuse  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple:
        return immutable_dict, (dict(self),)
