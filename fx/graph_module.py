"""GraphModule: an nn.Module whose forward is generated from a graph: read it, edit it, save it."""

from __future__ import annotations

import copy
import sys
from typing import Any

from eager.nn.module import Module
from fx.attribute import assign, fetch, has
from fx.graph import Graph
from fx.interpreter import explain
from fx.text import PythonCode, execute, write


class GraphModule(Module):
    """A module that owns a graph.

    `root` gives what the graph reads: a module, whose attributes named by the graph's targets are
    shared, or a dict from such targets to values. Assign `graph`, or change it and call
    `recompile()`, for a new forward; `code` is its source.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> GraphModule:
        # Every instance has a class of its own, which holds its generated forward.
        while "_holds_forward" in cls.__dict__:
            cls = cls.__bases__[0]

        class GraphModuleImpl(cls):  # type: ignore[valid-type, misc]
            _holds_forward = True

        return super().__new__(GraphModuleImpl)

    def __init__(
        self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule"
    ) -> None:
        super().__init__()
        type(self).__name__ = class_name
        self._class_name = class_name
        self.training = getattr(root, "training", True)
        for target in _targets(graph):
            assign(self, target, fetch(root, target))
        if isinstance(root, dict):
            for target, value in root.items():
                if not has(self, target):
                    assign(self, target, value)
        self.meta: dict[str, Any] = dict(getattr(root, "meta", {}) or {})
        self._tracer_cls = graph._tracer_cls
        self.graph = graph

    @property
    def graph(self) -> Graph:
        """The graph that forward is generated from."""
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        if not isinstance(graph, Graph):
            raise AssertionError(f"Expected a Graph, got {type(graph).__name__}")
        object.__setattr__(self, "_graph", graph)
        graph.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The source of forward."""
        return self._code.src

    def recompile(self) -> PythonCode:
        """Generates forward again, after the graph was changed; returns its source and globals."""
        code = self._graph.python_code()
        object.__setattr__(self, "_code", code)
        type(self).forward = execute(code)  # type: ignore[method-assign]
        return code

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        """Notes the node, and the user's line, at which the innermost generated frame stopped."""
        trace, line = error.__traceback__, None
        while trace is not None:
            if trace.tb_frame.f_code is type(self).forward.__code__:
                line = trace.tb_lineno
            trace = trace.tb_next
        node = self._code.lines.get(line) if line is not None else None
        if node is not None:
            explain(error, node)

    def print_readable(
        self,
        print_output: bool = True,
        include_stride: bool = False,
        include_device: bool = False,
        colored: bool = False,
    ) -> str:
        """The typed text of the graph and of the graph modules inside, printed and returned.

        Strides and devices print where they are not the usual ones, whatever is asked.
        """
        parts = [write(self._graph, name="forward", root="self", typed=True).src]
        for name, module in self.named_modules():
            if name and isinstance(module, GraphModule):
                parts.append(f"# self.{name}\n" + module.print_readable(print_output=False))
        text = "\n".join(parts)
        if print_output:
            sys.stdout.write(text)
        return text

    # -- submodules --------------------------------------------------------------------------------

    def add_submodule(self, target: str, m: Module) -> bool:
        """Puts a module at a dotted path, making empty modules on the way; whether it could."""
        *prefix, name = target.split(".")
        owner: Any = self
        for atom in prefix:
            if not hasattr(owner, atom):
                owner.add_module(atom, Module())
            owner = getattr(owner, atom)
            if not isinstance(owner, Module):
                return False
        owner.add_module(name, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Removes the module at a dotted path; whether it was there."""
        *prefix, name = target.split(".")
        owner: Any = self
        for atom in prefix:
            owner = getattr(owner, atom, None)
        if not isinstance(getattr(owner, name, None), Module):
            return False
        delattr(owner, name)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Removes the modules that no node of the graph reads or calls."""
        used: set[str] = set()
        for node in self._graph.nodes:
            if node.op not in ("call_module", "get_attr"):
                continue
            atoms = str(node.target).split(".")
            used.update(".".join(atoms[:stop]) for stop in range(1, len(atoms) + 1))
            if node.op == "call_module":
                inner = self.get_submodule(str(node.target))
                used.update(f"{node.target}.{name}" for name, _ in inner.named_modules() if name)
        for name in [name for name, _ in self.named_modules() if name and name not in used]:
            self.delete_submodule(name)

    # -- copying and printing ----------------------------------------------------------------------

    def __deepcopy__(self, memo: dict) -> GraphModule:
        memo[id(self)] = made = _rebuild(*self._parts(copy.deepcopy, memo))
        return made

    def __copy__(self) -> GraphModule:
        return _rebuild(*self._parts(lambda value, memo: value, {}))

    def _parts(self, take: Any, memo: dict) -> tuple:
        kept = {k: v for k, v in self.__dict__.items() if k not in ("_graph", "_code")}
        base = type(self).__bases__[0]
        return base, take(kept, memo), copy.deepcopy(self._graph), self._class_name

    def __reduce__(self) -> tuple:
        from fx.text import print_graph

        kept = {k: v for k, v in self.__dict__.items() if k not in ("_graph", "_code")}
        standard = set(write(Graph()).globals)
        code = write(self._graph, typed=True)
        extra = {
            k: v for k, v in code.globals.items()
            if k not in standard and not isinstance(v, type(sys))
        }  # fmt: skip
        text = print_graph(self._graph)
        return _rebuild_from_text, (type(self).__bases__[0], kept, text, extra, self._class_name)

    def __str__(self) -> str:
        return f"{super().__repr__()}\n\n{self.code}"


def _rebuild(cls: Any, state: dict, graph: Graph, class_name: str) -> GraphModule:
    made = cls.__new__(cls)
    made.__dict__.update(state)
    type(made).__name__ = class_name
    made.graph = graph
    return made


def _rebuild_from_text(
    cls: type, state: dict, text: str, extra: dict[str, Any], class_name: str
) -> GraphModule:
    from fx.parser import parse

    return _rebuild(cls, state, parse(text, extra), class_name)


def _targets(graph: Graph) -> list[str]:
    """What the graph reads from its module, outer paths first."""
    found = {str(node.target) for node in graph.nodes if node.op in ("get_attr", "call_module")}
    return sorted(found, key=lambda target: target.count("."))
