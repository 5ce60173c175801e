"""The registry: every operator by name, and `ops`, through which code reaches them (`ops.add`). A
leaf, so that all may import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eager.op import Op

registry: dict[str, Op] = {}


class Namespace:
    """`ops.add` is the operator named "add"; AttributeError for one that does not exist."""

    def __getattr__(self, name: str) -> Any:
        found = registry.get(name)
        if found is None:
            raise AttributeError(f"flambeau does not have an operator {name!r} (yet)")
        setattr(self, name, found)
        return found


ops = Namespace()
