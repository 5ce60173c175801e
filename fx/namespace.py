"""Names for the values of a graph: legal Python identifiers, unique, and never one that the printed
program needs for itself."""

from __future__ import annotations

import builtins
import keyword
import re

# What printed programs refer to: a value of that name would hide it (see fx/text.py).
DTYPE_NAMES = {
    "float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64",
    "complex64": "c64", "complex128": "c128", "bool": "b8",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
}  # fmt: skip
RESERVED = frozenset(
    {"self", "ops", "operator", "math", "inf", "nan", "device", "torch", "flambeau"}
    | set(DTYPE_NAMES.values())
)


class Namespace:
    """Hands out names, `add`, `add_1`, `add_2`, each once."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._count: dict[str, int] = {}

    def create_name(self, candidate: str) -> str:
        """A free name made from `candidate`, which is returned as it is when legal and free."""
        name = re.sub(r"\W", "_", candidate, flags=re.ASCII) or "_unnamed"
        if name[0].isdigit():
            name = "_" + name
        if self._is_free(name):
            self._used.add(name)
            return name
        match = re.fullmatch(r"(.*?)_(\d+)", name)
        base, number = (match[1], int(match[2])) if match else (name, 0)
        number = max(number, self._count.get(base, 0))
        while True:
            number += 1
            name = f"{base}_{number}"
            if self._is_free(name):
                break
        self._count[base] = number
        self._used.add(name)
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._used

    def _is_free(self, name: str) -> bool:
        if name in self._used or name in RESERVED:
            return False
        return not keyword.iskeyword(name) and not hasattr(builtins, name)
