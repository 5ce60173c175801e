"""A graph as Python text. One printer writes both `GraphModule.code` and the typed form below;
fx/parser.py reads the typed form back, so that print -> parse -> print is the identity.

    # made by partition (forward)
    def graph(x: f32[s0, 64], weight: f32[64, 64]):
        matmul: f32[s0, 64] = ops.matmul(x, weight)     # model.py:14  h = x @ self.w
        silu: f32[s0, 64] = ops.silu(matmul)            # model.py:15  return F.silu(h)
        return (silu,)

A type is a dtype and sizes; a tensor that is not contiguous prints `size:stride`, one that is not
on the cpu its device, `f32.cuda[4, 4]`. `self` is the owning module; `ops` holds the operators.
"""

from __future__ import annotations
import __future__

import builtins
import keyword
import linecache
import math
import os
import re
import sys
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from eager.shape import Size
from eager.shape import is_contiguous as _is_contiguous
from fx.graph import Graph
from fx.namespace import DTYPE_NAMES, RESERVED
from fx.node import Argument, Node, is_operator

INFIX = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "lshift": "<<", "rshift": ">>", "and_": "&", "or_": "|", "xor": "^",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
}  # fmt: skip
PREFIX = {"neg": "-", "pos": "+", "invert": "~"}
COMMENT_COLUMN = 60
_fresh = count()


@dataclass
class PythonCode:
    """Source text, the globals that it needs, and the node that each of its lines came from."""

    src: str
    globals: dict[str, Any]
    lines: dict[int, Node] = field(default_factory=dict)


def print_graph(graph: Graph, name: str = "graph", *, header: bool = False) -> str:
    """The typed text of a graph; with `header` a Python file, which imports what it refers to."""
    code = write(graph, name=name, typed=True)
    return _header(code) + code.src if header else code.src


def _header(code: PythonCode) -> str:
    modules = {key for key, value in code.globals.items() if isinstance(value, type(sys))}
    imports = "".join(f"import {name}\n" for name in sorted(modules - {"__main__"}))
    return (
        f"from __future__ import annotations\n\n{imports}\n"
        "from fx.text import standard_globals\n\nglobals().update(standard_globals())\n\n\n"
    )


def write(
    graph: Graph,
    *,
    name: str = "forward",
    root: str | None = None,
    typed: bool = False,
    free: bool = False,
) -> PythonCode:
    """Prints a graph as a Python function.

    `root` names a first parameter, the owning module (None: `self`, only if the graph needs it);
    `typed` adds types, the graph's title and the user's lines; `free` drops values after their
    last use, so that memory is held no longer than in the program the graph was made from.
    """
    return _Writer(graph, root).write(name, typed, free)


def execute(code: PythonCode | str, namespace: dict[str, Any] | None = None) -> Any:
    """Runs a printed program's `def` and returns the function; tracebacks show its lines.

    A typed text runs as it is: annotations are not evaluated.
    """
    source = code if isinstance(code, str) else code.src
    scope = standard_globals()
    scope.update(namespace or {} if isinstance(code, str) else code.globals)
    filename = f"<graph {next(_fresh)}>"
    exec(compile(source, filename, "exec", __future__.annotations.compiler_flag), scope)
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    name = re.search(r"^def (\w+)\(", source, re.MULTILINE)
    if name is None:
        raise ValueError("a printed program must contain a line `def name(...):`")
    return scope[name[1]]


def standard_globals() -> dict[str, Any]:
    """What every printed program may refer to: dtypes by short names, `ops`, `operator`, …"""
    import operator

    from eager import dtype as dtypes
    from eager.device import device
    from eager.registry import ops

    scope: dict[str, Any] = {short: dtypes.from_name(name) for name, short in DTYPE_NAMES.items()}
    scope.update(device=device, operator=operator, math=math, inf=math.inf, nan=math.nan, ops=ops)
    return scope


def find_operator(name: str) -> Any:
    """The operator that prints as `ops.name`, or None."""
    from eager.registry import registry

    return registry.get(name)


# -- types -----------------------------------------------------------------------------------------


def type_of(node: Node) -> str:
    """The type that a node prints with: from meta["val"], else meta["type"], else empty."""
    if node.op == "output":
        return ""
    if "val" in node.meta:
        return format_type(node.meta["val"])
    return node.meta.get("type", "")


def format_type(value: Any) -> str:
    """`f32[4, 5]` for a tensor, `(f32[4], i64[4])` for a tuple, a class name for other values."""
    if isinstance(value, (tuple, list)):
        inner = ", ".join(format_type(item) or "None" for item in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner}{',' if len(value) == 1 else ''})"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _format_tensor(value)
    return "" if value is None else type(value).__name__


def _format_tensor(value: Any) -> str:
    name = getattr(value.dtype, "name", str(value.dtype))
    short = DTYPE_NAMES.get(name, name)
    device = getattr(value, "device", None)
    if device is not None and device.type != "cpu":
        short += f".{device.type}"
    shape = tuple(value.shape)
    strides = tuple(value.stride()) if callable(getattr(value, "stride", None)) else None
    if strides is None or _is_contiguous(shape, strides):
        return f"{short}[{', '.join(map(str, shape)) or '()'}]"
    return f"{short}[{', '.join(f'{n}:{s}' for n, s in zip(shape, strides, strict=True))}]"


# -- the printer -----------------------------------------------------------------------------------


class _Writer:
    def __init__(self, graph: Graph, root: str | None) -> None:
        self.graph = graph
        needs_root = any(node.op in ("get_attr", "call_module") for node in graph.nodes)
        self.parameter = root or ("self" if needs_root else None)
        self.root = root or "self"
        self.names = {node.name for node in graph.nodes}
        # A parameter of such a name would hide what the program refers to.
        called = {getattr(node.target, "__name__", "") for node in graph.nodes}
        self.hiding = {*RESERVED, self.parameter, *(called & set(dir(builtins)))}
        self.globals: dict[str, Any] = {}

    def write(self, name: str, typed: bool, free: bool) -> PythonCode:
        rows, parameters = self._rows(typed, free)
        head = [f"# {line}" for line in self.graph.title.splitlines()] if typed else []
        head.append(f"def {name}({', '.join(parameters)}):")
        width = min(COMMENT_COLUMN, max((len(text) for text, _ in rows), default=0))
        lines: list[str] = []
        nodes: dict[int, Node] = {}
        last = ""
        for text, node in rows:
            if node is not None:
                nodes[len(head) + len(lines) + 1] = node
            comment = _comment(node) if typed and node is not None else ""
            if comment and comment != last:
                text, last = f"{text.ljust(width)}  # {comment}", comment
            lines.append(f"    {text}")
        source = "\n".join([*head, *(lines or ["    pass"])]) + "\n"
        return PythonCode(source, {**standard_globals(), **self.globals}, nodes)

    def _rows(self, typed: bool, free: bool) -> tuple[list[tuple[str, Node | None]], list[str]]:
        dying = _last_uses(self.graph) if free else {}
        parameters = [self.parameter] if self.parameter else []
        rows: list[tuple[str, Node | None]] = []
        for node in self.graph.nodes:
            kind = type_of(node) if typed else ""
            if node.op == "placeholder":
                parameter, raw = self._parameter(node, kind)
                parameters.append(parameter)
                if raw != node.name:
                    rows.append((f"{node.name} = {raw}", None))
                continue
            if node.op == "output":
                rows.append((f"return {self.value(node.args[0]) if node.args else None}", node))
                continue
            text = f"{node.name}{': ' + kind if kind else ''} = {self.expression(node)}"
            dead = [value.name for value in dying.get(node, ())]
            if dead:
                text += f";  {' = '.join(dead)} = None"
            rows.append((text, node))
        return rows, parameters

    def _parameter(self, node: Node, kind: str) -> tuple[str, str]:
        target = str(node.target)
        stars = target[: len(target) - len(target.lstrip("*"))]
        raw = target[len(stars) :]
        if raw in self.hiding or not raw.isidentifier() or keyword.iskeyword(raw):
            raw = node.name
        text = stars + raw + (f": {kind}" if kind else "")
        if node.args:
            text += (" = " if kind else "=") + self.value(node.args[0])
        return text, raw

    # -- expressions -------------------------------------------------------------------------------

    def expression(self, node: Node) -> str:
        """The right-hand side of a node's line."""
        if node.op == "get_attr":
            return self.path(str(node.target))
        if node.op == "call_module":
            return f"{self.path(str(node.target))}({self.arguments(node.args, node.kwargs)})"
        if node.op == "call_method":
            owner = self.value(node.args[0])
            if not isinstance(node.args[0], Node):
                owner = f"({owner})"
            return f"{owner}.{node.target}({self.arguments(node.args[1:], node.kwargs)})"
        special = None if node.kwargs else self._special(node)
        if special is not None:
            return special
        return f"{self.function(node.target)}({self.arguments(node.args, node.kwargs)})"

    def _special(self, node: Node) -> str | None:
        """Operators of Python, subscripts and attributes as they are usually written."""
        target, args = node.target, node.args
        if target is builtins.getattr and len(args) == 2 and isinstance(args[0], Node):
            attribute = args[1]
            if isinstance(attribute, str) and attribute.isidentifier():
                return f"{args[0]}.{attribute}"
            return None
        if getattr(target, "__module__", None) != "_operator":
            return None
        name = getattr(target, "__name__", "")
        if name == "getitem" and len(args) == 2 and isinstance(args[0], Node):
            return f"{args[0]}[{self.index(args[1])}]"
        if not all(map(_is_plain, args)) or not any(isinstance(arg, Node) for arg in args):
            return None
        if name in INFIX and len(args) == 2:
            return f"{self.operand(args[0])} {INFIX[name]} {self.operand(args[1])}"
        if name in PREFIX and len(args) == 1:
            return f"{PREFIX[name]}{self.operand(args[0])}"
        return None

    def operand(self, value: Argument) -> str:
        text = self.value(value)
        return f"({text})" if text.startswith("-") else text

    def index(self, value: Argument) -> str:
        """A subscript: slices in short form."""
        if isinstance(value, tuple) and type(value) is tuple and value:
            inner = ", ".join(self._slice(item) for item in value)
            return inner + ("," if len(value) == 1 else "")
        return self._slice(value)

    def _slice(self, value: Argument) -> str:
        if type(value) is not slice:
            return self.value(value)
        start, stop, step = (
            "" if bound is None else self.value(bound)
            for bound in (value.start, value.stop, value.step)
        )
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"

    def arguments(self, args: tuple, kwargs: dict[str, Argument]) -> str:
        parts = [self.value(arg) for arg in args]
        if all(key.isidentifier() and not keyword.iskeyword(key) for key in kwargs):
            parts += [f"{key}={self.value(value)}" for key, value in kwargs.items()]
        else:
            parts.append(f"**{self.value(dict(kwargs))}")
        return ", ".join(parts)

    def path(self, target: str) -> str:
        text = self.root
        for atom in target.split("."):
            plain = atom.isidentifier() and not keyword.iskeyword(atom)
            text = f"{text}.{atom}" if plain else f'getattr({text}, "{atom}")'
        return text

    def value(self, value: Argument) -> str:
        """An argument as an expression that evaluates to it."""
        if isinstance(value, Node):
            return value.name
        if value is None or isinstance(value, (bool, str, bytes)) or type(value) is int:
            return repr(value)
        if type(value) is float:
            return repr(value)  # inf and nan are names of the printed program
        if value is Ellipsis:
            return "..."
        if isinstance(value, tuple):
            return self._tuple(value)
        if isinstance(value, list):
            return f"[{', '.join(map(self.value, value))}]"
        if isinstance(value, dict):
            pairs = (f"{self.value(key)}: {self.value(item)}" for key, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        if type(value) is slice:
            return f"slice({', '.join(map(self.value, (value.start, value.stop, value.step)))})"
        if type(value) in (range, complex):
            return repr(value)
        if type(value) in (set, frozenset):
            inner = ", ".join(sorted(map(self.value, value)))
            return f"{type(value).__name__}([{inner}])"
        return self._object(value)

    def _tuple(self, value: tuple) -> str:
        inner = ", ".join(map(self.value, value))
        if type(value) in (tuple, Size):
            return f"({inner}{',' if len(value) == 1 else ''})"
        if hasattr(value, "_fields"):
            return f"{self.function(type(value))}({inner})"
        return f"{self.function(type(value))}(({inner}{',' if len(value) == 1 else ''}))"

    def _object(self, value: Any) -> str:
        from eager.device import device
        from eager.dtype import dtype

        if isinstance(value, dtype):
            return DTYPE_NAMES[value.name]
        if isinstance(value, device):
            return f"device({str(value)!r})"
        if callable(value):
            return self.function(value)
        return self._global(f"_{type(value).__name__}", value)

    def function(self, target: Any) -> str:
        """A function's qualified name, or the name of a global where it has none that finds it."""
        if is_operator(target):
            return self._operator(target)
        name = str(getattr(target, "__qualname__", None) or getattr(target, "__name__", ""))
        module = getattr(target, "__module__", None) or "builtins"
        module = "operator" if module == "_operator" else module
        if module == "builtins" and getattr(builtins, name, None) is target:
            return name
        top = module.split(".")[0]
        if top not in self.names and top in sys.modules and find(f"{module}.{name}") is target:
            self.globals[top] = sys.modules[top]
            return f"{module}.{name}"
        return self._global(name.replace(".", "_") or type(target).__name__, target)

    def _operator(self, target: Any) -> str:
        name = target.__name__ if hasattr(target, "__name__") else target.name
        if name.isidentifier() and find_operator(name) is target:
            return f"ops.{name}"
        return self._global(name, target)

    def _global(self, name: str, value: Any) -> str:
        name = "".join(c if c.isalnum() or c == "_" else "_" for c in name) or "value"
        taken = self.names | RESERVED
        for number in count():
            candidate = f"{name}_{number}" if number else name
            if candidate in self.globals:
                if self.globals[candidate] is value:
                    return candidate
            elif candidate not in taken and not hasattr(builtins, candidate):
                self.globals[candidate] = value
                return candidate
        raise AssertionError("count() does not end")


def find(path: str) -> Any:
    """The object at a dotted path of loaded modules and their attributes, or None."""
    atoms = path.split(".")
    for split in range(len(atoms), 0, -1):
        value: Any = sys.modules.get(".".join(atoms[:split]))
        if value is None:
            continue
        for atom in atoms[split:]:
            value = getattr(value, atom, None)
        return value
    return None


def _is_plain(value: Argument) -> bool:
    return isinstance(value, (Node, int, float, str, type(None)))


def _last_uses(graph: Graph) -> dict[Node, list[Node]]:
    seen: set[Node] = set()
    last: dict[Node, list[Node]] = {}
    for node in reversed(graph.nodes):
        dead = [value for value in node.all_input_nodes if value not in seen]
        seen.update(dead)
        if node not in seen and node.op not in ("placeholder", "output"):
            dead.append(node)  # nothing uses it: it dies where it is born
        if node.op != "output":
            last[node] = dead
    return last


def _comment(node: Node) -> str:
    """The user's line: `file:line  source`."""
    frames = node.meta.get("stack")
    if not frames:
        return node.meta.get("comment", "")
    file, line = frames[-1][:2]
    source = linecache.getline(file, line).strip()
    return f"{os.path.basename(file)}:{line}" + (f"  {source}" if source else "")
