"""Reads a printed graph back (see fx/text.py). The text is Python, so Python's own parser reads it;
an error says which line and what was expected. Functions are looked up by their qualified names,
importing their modules: read texts that you trust."""

from __future__ import annotations

import ast
import builtins
import importlib
import io
import operator
import tokenize
from typing import Any, NoReturn

from fx.graph import Graph
from fx.namespace import DTYPE_NAMES
from fx.node import Argument, Node
from fx.text import INFIX, PREFIX, find_operator, standard_globals

_BINARY = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.Pow: "pow", ast.MatMult: "matmul", ast.LShift: "lshift",
    ast.RShift: "rshift", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip
_UNARY = {ast.USub: "neg", ast.UAdd: "pos", ast.Invert: "invert"}
assert set(_BINARY.values()) == set(INFIX) and set(_UNARY.values()) == set(PREFIX)


class ParseError(ValueError):
    """A text that is not a printed graph: the line, what it holds, what was expected."""


def parse(text: str, namespace: dict[str, Any] | None = None) -> Graph:
    """The graph that a text prints.

    `namespace` gives the values of names that stand for objects without a qualified name. Types
    with numbers for sizes become fake tensors in meta["val"]; others stay text in meta["type"].
    Raises ParseError with the line at fault.
    """
    return _Reader(text, namespace or {}).read()


class _Reader:
    def __init__(self, text: str, namespace: dict[str, Any]) -> None:
        self.lines = text.splitlines()
        self.comments = _comments(text)
        self.globals = {**standard_globals(), **namespace}
        self.graph = Graph()
        self.values: dict[str, Node] = {}
        self.root = ""
        self.text = text

    def fail(self, where: ast.AST, expected: str) -> NoReturn:
        number = getattr(where, "lineno", 0)
        line = self.lines[number - 1].strip() if 0 < number <= len(self.lines) else ""
        raise ParseError(f"line {number}: {line!r}: {expected}")

    def read(self) -> Graph:
        try:
            module = ast.parse(self.text)
        except SyntaxError as error:
            raise ParseError(f"line {error.lineno}: not Python: {error.msg}") from None
        definitions = [item for item in module.body if isinstance(item, ast.FunctionDef)]
        if len(definitions) != 1:
            raise ParseError(f"expected one function definition, found {len(definitions)}")
        definition = definitions[0]
        title = [self.comments[n] for n in sorted(self.comments) if n < definition.lineno]
        self.graph.title = "\n".join(title)
        self._parameters(definition.args)
        for statement in definition.body:
            self._statement(statement)
        return self.graph

    # -- statements --------------------------------------------------------------------------------

    def _parameters(self, given: ast.arguments) -> None:
        positional = [*given.posonlyargs, *given.args]
        defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
        if positional and positional[0].arg == "self":
            self.root = "self"
            positional, defaults = positional[1:], defaults[1:]
        for parameter, default in zip(positional, defaults, strict=True):
            self._placeholder("", parameter, default)
        if given.vararg:
            self._placeholder("*", given.vararg, None)
        for parameter, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            self._placeholder("", parameter, default)
        if given.kwarg:
            self._placeholder("**", given.kwarg, None)

    def _placeholder(self, stars: str, parameter: ast.arg, default: ast.expr | None) -> None:
        args = () if default is None else (self.argument(default),)
        node = self.graph.create_node("placeholder", stars + parameter.arg, args)
        self._type(node, parameter.annotation)
        self.values[parameter.arg] = node

    def _statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Pass):
            return
        if isinstance(statement, ast.Return):
            result = None if statement.value is None else self.argument(statement.value)
            self._comment(self.graph.output(result), statement)
            return
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            self._assign(statement, statement.target, statement.value, statement.annotation)
            return
        if isinstance(statement, ast.Assign):
            value = statement.value
            if isinstance(value, ast.Constant) and value.value is None:
                return  # `x = None` frees a value
            if len(statement.targets) == 1:
                self._assign(statement, statement.targets[0], value, None)
                return
        self.fail(statement, "expected `name: type = expression`, `return value` or `pass`")

    def _assign(
        self, statement: ast.stmt, target: ast.expr, value: ast.expr, kind: ast.expr | None
    ) -> None:
        if not isinstance(target, ast.Name):
            self.fail(statement, "expected one name on the left of `=`")
        if isinstance(value, ast.Name) and value.id in self.values:
            return self._rename(target.id, value.id)
        op, function, args, kwargs = self._operation(value)
        node = self.graph.create_node(op, function, args, kwargs, target.id)
        if node.name != target.id:
            self.fail(statement, f"the name {target.id!r} is assigned twice or is reserved")
        self._type(node, kind)
        self._comment(node, statement)
        self.values[target.id] = node

    def _rename(self, name: str, parameter: str) -> None:
        """`x_1 = x` at the start of a program: the value of parameter `x` is named `x_1`."""
        node = self.values[parameter]
        if node.name != name:
            node.name = self.graph._namespace.create_name(name)
        self.values[name] = node

    def _comment(self, node: Node, statement: ast.stmt) -> None:
        if statement.lineno in self.comments:
            node.meta["comment"] = self.comments[statement.lineno]

    # -- the right-hand side -----------------------------------------------------------------------

    def _operation(self, value: ast.expr) -> tuple[str, Any, tuple, dict[str, Argument]]:
        path = self._path(value)
        if path is not None:
            return "get_attr", path, (), {}
        if isinstance(value, ast.Call):
            return self._call(value)
        if isinstance(value, ast.BinOp) and type(value.op) in _BINARY:
            return self._python(_BINARY[type(value.op)], value.left, value.right)
        if isinstance(value, ast.UnaryOp) and type(value.op) in _UNARY:
            return self._python(_UNARY[type(value.op)], value.operand)
        if isinstance(value, ast.Compare) and len(value.ops) == 1 and type(value.ops[0]) in _BINARY:
            return self._python(_BINARY[type(value.ops[0])], value.left, value.comparators[0])
        if isinstance(value, ast.Subscript):
            return self._python("getitem", value.value, value.slice)
        if isinstance(value, ast.Attribute):
            return "call_function", getattr, (self.argument(value.value), value.attr), {}
        return self.fail(value, "expected a call, an operator, a subscript or an attribute")

    def _python(self, name: str, *operands: ast.expr) -> tuple[str, Any, tuple, dict]:
        args = tuple(self.argument(operand) for operand in operands)
        return "call_function", getattr(operator, name), args, {}

    def _call(self, call: ast.Call) -> tuple[str, Any, tuple, dict[str, Argument]]:
        args = tuple(self.argument(arg) for arg in call.args)
        kwargs: dict[str, Argument] = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                kwargs.update(self.argument(keyword.value))
            else:
                kwargs[keyword.arg] = self.argument(keyword.value)
        path = self._path(call.func)
        if path is not None:
            return "call_module", path, args, kwargs
        function = call.func
        if isinstance(function, ast.Attribute) and not self._is_module(function):
            return "call_method", function.attr, (self.argument(function.value), *args), kwargs
        return "call_function", self._function(function), args, kwargs

    def _path(self, value: ast.expr) -> str | None:
        """`self.a.b` and `getattr(self.a, "0")` as dotted paths; None for anything else."""
        if isinstance(value, ast.Attribute):
            owner, atom = value.value, value.attr
        elif (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id == "getattr"
            and len(value.args) == 2
            and isinstance(value.args[1], ast.Constant)
        ):
            owner, atom = value.args[0], str(value.args[1].value)
        else:
            return None
        if isinstance(owner, ast.Name) and owner.id == self.root:
            return atom
        prefix = self._path(owner)
        return None if prefix is None else f"{prefix}.{atom}"

    def _is_module(self, function: ast.Attribute) -> bool:
        """Whether `a.b.c` starts from a module or class rather than from a value of the program."""
        owner = function.value
        while isinstance(owner, ast.Attribute):
            owner = owner.value
        return isinstance(owner, ast.Name) and owner.id not in self.values

    def _function(self, value: ast.expr) -> Any:
        name = ast.unparse(value)
        if name.startswith("ops."):
            found = find_operator(name[4:])
            return self.fail(value, f"no operator {name} is registered") if found is None else found
        if name in self.globals:
            return self.globals[name]
        if isinstance(value, ast.Name):
            if hasattr(builtins, name):
                return getattr(builtins, name)
            self.fail(value, f"{name!r} is not defined: pass it in `namespace`")
        found = _imported(name, self.globals)
        return self.fail(value, f"{name} cannot be found") if found is None else found

    # -- arguments ---------------------------------------------------------------------------------

    def argument(self, value: ast.expr) -> Argument:
        """A constant, a value of the program, or tuples, lists, dicts and slices of them."""
        if isinstance(value, ast.Constant):
            return value.value
        if isinstance(value, ast.Name):
            return self._name(value)
        if isinstance(value, ast.Tuple):
            return tuple(self.argument(item) for item in value.elts)
        if isinstance(value, ast.List):
            return [self.argument(item) for item in value.elts]
        if isinstance(value, ast.Dict):
            keys = [self.argument(key) for key in value.keys if key is not None]
            return dict(zip(keys, map(self.argument, value.values), strict=True))
        if isinstance(value, ast.Slice):
            bounds = (value.lower, value.upper, value.step)
            return slice(*[None if bound is None else self.argument(bound) for bound in bounds])
        if isinstance(value, (ast.UnaryOp, ast.BinOp)):
            return self._number(value)
        if isinstance(value, ast.Call):
            function = self._function(value.func)
            kwargs = {str(item.arg): self.argument(item.value) for item in value.keywords}
            return function(*map(self.argument, value.args), **kwargs)
        if isinstance(value, ast.Attribute):
            return self._function(value)
        return self.fail(value, f"expected a value, got {ast.unparse(value)!r}")

    def _name(self, value: ast.Name) -> Argument:
        if value.id in self.values:
            return self.values[value.id]
        return self._function(value)

    def _number(self, value: ast.UnaryOp | ast.BinOp) -> Argument:
        """`-1`, `-inf`, `(1+2j)`."""
        if isinstance(value, ast.UnaryOp):
            found = self.argument(value.operand)
            if type(value.op) in _UNARY and isinstance(found, (int, float, complex)):
                return getattr(operator, _UNARY[type(value.op)])(found)
        else:
            left, right = self.argument(value.left), self.argument(value.right)
            if type(value.op) in _BINARY and not isinstance(left, Node):
                return getattr(operator, _BINARY[type(value.op)])(left, right)
        return self.fail(value, "expected a number: an operation needs a line of its own")

    # -- types -------------------------------------------------------------------------------------

    def _type(self, node: Node, kind: ast.expr | None) -> None:
        if kind is None:
            return
        known, value = self._value_of_type(kind)
        if known:
            node.meta["val"] = value
        else:
            node.meta["type"] = ast.unparse(kind)

    def _value_of_type(self, kind: ast.expr) -> tuple[bool, Any]:
        if isinstance(kind, (ast.Tuple, ast.List)):
            parts = [self._value_of_type(item) for item in kind.elts]
            container = tuple if isinstance(kind, ast.Tuple) else list
            return all(known for known, _ in parts), container(value for _, value in parts)
        if isinstance(kind, ast.Constant) and kind.value is None:
            return True, None
        if isinstance(kind, ast.Subscript):
            return self._tensor(kind)
        return False, None

    def _tensor(self, kind: ast.Subscript) -> tuple[bool, Any]:
        from eager import dtype as dtypes
        from eager.device import device

        place, base = "cpu", kind.value
        if isinstance(base, ast.Attribute):
            place, base = base.attr, base.value
        names = {short: name for name, short in DTYPE_NAMES.items()}
        if not isinstance(base, ast.Name) or base.id not in names:
            return False, None
        items = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        shape, strides = [], []
        for item in items:
            size, stride = (item.lower, item.upper) if isinstance(item, ast.Slice) else (item, None)
            if not _is_integer(size) or not (stride is None or _is_integer(stride)):
                return False, None  # a symbolic size stays text
            shape.append(self.argument(size))  # type: ignore[arg-type]
            if stride is not None:
                strides.append(self.argument(stride))
        return True, fake(shape, strides or None, dtypes.from_name(names[base.id]), device(place))


def fake(shape: list[int], strides: list[int] | None, dtype: Any, device: Any) -> Any:
    """A fake tensor of this shape; strides None means contiguous."""
    from eager.fake import FakeTensor
    from eager.spec import Spec

    return FakeTensor.of(Spec(shape, dtype, device, None if strides is None else tuple(strides)))


def _is_integer(value: ast.expr | None) -> bool:
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        value = value.operand
    return isinstance(value, ast.Constant) and type(value.value) is int


def _imported(name: str, scope: dict[str, Any]) -> Any:
    """The object at a dotted path, importing the modules on it; None where the path ends early."""
    top, *rest = name.split(".")
    value, path = scope.get(top), top
    if value is None:
        try:
            value = importlib.import_module(top)
        except ImportError:
            return None
    for atom in rest:
        path += "." + atom
        found = getattr(value, atom, None)
        if found is None:
            try:
                found = importlib.import_module(path)
            except ImportError:
                return None
        value = found
    return value


def _comments(text: str) -> dict[int, str]:
    """Each line's comment, without the `# `."""
    found: dict[int, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string.removeprefix("#").removeprefix(" ")
    except (tokenize.TokenError, IndentationError):
        return found  # ast.parse says what is wrong
    return found
