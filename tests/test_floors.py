"""The floor plan: an import may only point downwards, imports inside functions included."""

import ast
from pathlib import Path

import pytest

BELOW = {
    "eager": set(),
    "fx": {"eager"},
    "aot": {"eager", "fx"},
    "inductor": {"eager", "fx", "aot"},
    "dynamo": {"eager", "fx"},
    "flambeau": {"eager", "fx", "aot", "inductor", "dynamo"},
}
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("floor", BELOW)
def test_imports_point_downwards(floor):
    for file in sorted((ROOT / floor).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for target in {name.split(".")[0] for name in names} & BELOW.keys():
                assert target in BELOW[floor] | {floor}, f"{file}:{node.lineno}: imports {target}"
