"""What values ask of the machine: making values, running real code, comparing, converting, throwing, reading with guards, calling.
A mixin of `Frame`, so that every value can say `m.binary(...)` without knowing who `m` is.
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from dynamo.source import (
    AttributeSource,
    ChildSource,
    ConstantSource,
    DefaultSource,
    DictItemSource,
    ItemSource,
    KeyedSource,
    TypeSource,
)
from dynamo.unsupported import NotConcrete, Raised, Unsupported, unsupported
from dynamo.values import derivative as _derivative  # noqa: F401  its handler is registered
from dynamo.values.base import NO_KEYWORDS, Value, unwrap_all
from dynamo.values.builtin import handler_of
from dynamo.values.constant import Constant, is_literal
from dynamo.values.container import ListValue, SequenceValue, SetValue, SliceValue, TupleValue
from dynamo.values.dictionary import DictValue
from dynamo.values.exception import ExceptionValue
from dynamo.values.klass import ClassValue
from dynamo.values.module import ModuleValue
from dynamo.values.object import MISSING, ObjectValue, SuperValue, lookup
from dynamo.values.tensor import TensorValue, ToolValue
from dynamo.values.wrap import wrap

if TYPE_CHECKING:
    from dynamo.capture import Capture
    from dynamo.effects import Effects
    from dynamo.unsupported import Position


class Services:
    """Operations over values; mixed into `Frame`."""

    capture: Capture
    effects: Effects
    code: types.CodeType
    globals: dict[str, Any]
    variables: dict[str, Value]
    cells: dict[str, Any]

    def position(self) -> Position:
        raise NotImplementedError

    def variable(self, name: str) -> Value | None:
        raise NotImplementedError

    # -- making values -----------------------------------------------------------------------------

    def constant(self, value: Any) -> Constant:
        return Constant(value)

    def wrap(self, real: Any, source: Any = None) -> Value:
        """The value of a Python object; without a source it is a constant of the new code."""
        return wrap(self, real, ConstantSource(real) if source is None else source)  # type: ignore[arg-type]

    def wrap_result(self, real: Any) -> Value:
        """The value of what real code has just made."""
        kind = type(real)
        if kind is tuple:
            return TupleValue([self.wrap_result(item) for item in real])
        if kind is list:
            return ListValue([self.wrap_result(item) for item in real])
        if kind is dict:
            pairs = [(self.wrap(key), self.wrap_result(item)) for key, item in real.items()]
            return DictValue.of(pairs)
        if kind in (set, frozenset):
            return SetValue.of([self.wrap(item) for item in real], kind)
        if isinstance(real, tuple) and hasattr(real, "_fields"):
            storage = TupleValue([self.wrap_result(item) for item in real])
            return ObjectValue(kind, storage=storage)
        return self.wrap(real)

    def wrap_values(self, item: Any) -> Value:
        """What an iterator over opaque values gave: a value, or a tuple of them, or a number."""
        if isinstance(item, Value):
            return item
        if isinstance(item, (tuple, list)):
            return TupleValue([self.wrap_values(part) for part in item])
        return self.wrap(item)

    def new_object(self, kind: type) -> ObjectValue:
        """An instance of a class, allocated and not initialized."""
        made = ModuleValue if self.capture.is_module_type(kind) else ObjectValue
        return made(kind)

    def list_of(self, items: list[Value]) -> ListValue:
        return ListValue(items)

    def tuple_of(self, items: list[Value]) -> TupleValue:
        return TupleValue(list(items))

    def dict_of(self, pairs: Sequence[tuple[Value, Value]]) -> DictValue:
        return DictValue.of(pairs)

    # -- reading from outside, with guards -----------------------------------------------------------

    def read(self, real: Any, base: Any, name: str) -> Value:
        """The value of an attribute of an object from outside."""
        if base is None or isinstance(base, ConstantSource):
            return self.wrap(real)
        return self.wrap(real, AttributeSource(base, name))

    def read_item(self, real: Any, base: Any, key: Any, is_dict: bool = False) -> Value:
        if base is None or isinstance(base, ConstantSource):
            return self.wrap(real)
        return self.wrap(real, (DictItemSource if is_dict else ItemSource)(base, key))

    def read_keyed(self, real: Any, base: Any, key: Value) -> Value:
        """An item of a dict from outside, under a tensor."""
        if base is None or isinstance(base, ConstantSource):
            return self.wrap(real)
        return self.wrap(real, KeyedSource(base, key.source))

    def read_child(self, real: Any, base: Any, registry: str, name: str) -> Value:
        if base is None or isinstance(base, ConstantSource):
            return self.wrap(real)
        return self.wrap(real, ChildSource(base, registry, name))

    def read_cell(self, real: Any, source: Any) -> Value:
        return self.wrap(real, source)

    def read_default(self, source: Any, key: int | str, real: Any) -> Value:
        if source is None or isinstance(source, ConstantSource):
            return self.wrap(real)
        return self.wrap(real, DefaultSource(source, key))

    def guard(self, kind: str, source: Any, payload: Any = None) -> None:
        """Require something of a value from outside; a constant of the new code needs no guard."""
        if source is None and kind != "EXPRESSION":
            return
        if source is None or not isinstance(source.root, ConstantSource):
            self.capture.guard(kind, source, payload, self.position())

    def check_owner(self, value: Value) -> None:
        """Raises Unsupported where code of the library is about to change its own state."""
        owned = isinstance(value.source, ConstantSource)
        if owned and self.capture.is_library_file(self.code.co_filename):
            unsupported(
                "State of the library is changed",
                f"{self.code.co_qualname} sets what later operations depend on",
                "call it outside the compiled region",
            )

    def guard_same(self, source: Any, known: Value) -> None:
        if isinstance(source, ConstantSource):
            return
        if isinstance(known.source, ConstantSource):
            self.guard("ID", source, known.source.value)
        else:
            self.guard("DUPLICATE_INPUT", source, known.source)

    def guard_missing(self, owner: Value, name: str, own: bool = False) -> None:
        """Require that an attribute stays absent, unless the program itself took it away."""
        real = getattr(owner, "real", None)
        there = vars(real) if own and hasattr(real, "__dict__") else ()
        if name in there or (not own and real is not None and hasattr(real, name)):
            return
        if own and owner.source is not None:
            source = AttributeSource(owner.source, "__dict__")
            if not isinstance(owner.source, ConstantSource):
                self.guard("DICT_CONTAINS", source, (name, False))
        elif owner.source is not None and not isinstance(owner, TensorValue):
            self.guard("HASATTR", owner.source, (name, False))

    # -- running real code -------------------------------------------------------------------------

    def run(
        self,
        function: Callable,
        args: Sequence[Value],
        kwargs: dict[str, Value] = NO_KEYWORDS,
        what: str = "",
    ) -> Value:
        """Call real code on the Python objects behind the values, under the recorder."""
        try:
            real_args = [self.concrete(arg) for arg in args]
            real_kwargs = {name: self.concrete(arg) for name, arg in kwargs.items()}
        except NotConcrete as error:
            name = what or getattr(function, "__qualname__", repr(function))
            unsupported(
                "Call of real code with a value that exists only in the program",
                f"{name} gets {error.value!r}",
                "such a value can only be passed to Python functions",
            )
        return self.capture.execute(self, function, real_args, real_kwargs, what)

    def concrete(self, value: Value) -> Any:
        """The Python object behind a value; what is in a container from outside is read first."""
        m: Any = self
        if isinstance(value, SequenceValue):
            for item in value.all(m):
                self.concrete(item)
        elif isinstance(value, DictValue):
            for _, item in value.pairs(m):
                self.concrete(item)
        return value.unwrap()

    def evaluate(self, function: Callable, *args: Any) -> Any:
        """Call `function` on Python objects; what it raises is raised in the program."""
        try:
            return function(*args)
        except (Unsupported, Raised):
            raise
        except NotConcrete as error:
            unsupported("Value that is known only at run time", f"{error.value!r} is needed now")
        except Exception as error:
            raise Raised(self.exception_of(error)) from None

    def real_getattr(self, real: Any, name: str) -> Any:
        return self.evaluate(getattr, real, name)

    def exception_of(self, error: BaseException) -> ExceptionValue:
        args: list[Value] = []
        for arg in error.args:
            try:
                args.append(self.wrap(arg))
            except Unsupported:
                args.append(self.constant(repr(arg)))
        self.capture.hold(error)
        return ExceptionValue(type(error), args, error)

    def throw(self, kind: type[BaseException], *args: Any) -> NoReturn:
        """Raise an exception in the program."""
        values = [arg if isinstance(arg, Value) else self.constant(arg) for arg in args]
        raise Raised(ExceptionValue(kind, values))

    def expand_concrete(self, value: Value) -> TupleValue:
        """The items of a concrete value by real iteration."""
        result = self.run(tuple, [value])
        assert isinstance(result, TupleValue)
        return result

    def call_real(
        self, callee: Value, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        """A call that only real Python can do: it ends the graph."""
        real = getattr(callee, "real", None)
        module = getattr(real, "__module__", None) or type(real).__module__
        unsupported(
            "Call of a function that is not Python code",
            f"{callee!r} of module {module} is written in C or depends on state outside",
            "it runs as it is, between two graphs; move it out of the compiled region to avoid that",
        )

    def call_numpy(
        self, callee: Value, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        """A function of NumPy: computed now if it takes and gives plain numbers, else it ends the graph."""
        try:
            values = [*unwrap_all(args), *unwrap_all(list(kwargs.values()))]
        except NotConcrete:
            return self.call_real(callee, args, kwargs)
        if not all(map(_is_numeric, values)):
            return self.call_real(callee, args, kwargs)
        names = dict(zip(kwargs, values[len(args) :], strict=True))
        result = self.evaluate(functools.partial(callee.real, **names), *values[: len(args)])  # type: ignore[attr-defined]
        if not _is_numeric(result):
            return self.call_real(callee, args, kwargs)
        return self.wrap_result(result)

    def call_real_method(
        self, owner: Value, name: str, args: Sequence[Value], kwargs: dict[str, Value]
    ) -> Value:
        unsupported(
            "Call of a function that is not Python code",
            f"method {name} of {owner!r} is written in C",
            "it runs as it is, between two graphs; move it out of the compiled region to avoid that",
        )

    # -- operations --------------------------------------------------------------------------------

    def truth(self, value: Value) -> bool:
        return value.truth(self)  # type: ignore[arg-type]

    def binary(self, function: Callable, left: Value, right: Value) -> Value:
        m: Any = self
        if not isinstance(left, ObjectValue):
            right = getattr(right, "storage", None) or right
        result = left.binary(m, function, right)
        if result is NotImplemented:
            result = right.reflected(m, function, left)
        if result is not NotImplemented:
            return result
        try:
            left.unwrap(), right.unwrap()
        except NotConcrete:
            if function in (operator.eq, operator.ne):
                same = left.identity() is right.identity()
                return self.constant(same == (function is operator.eq))
            names = f"'{left.python_type().__name__}' and '{right.python_type().__name__}'"
            symbol = _SYMBOLS.get(function.__name__, function.__name__)
            self.throw(TypeError, f"unsupported operand type(s) for {symbol}: {names}")
        return self.run(function, [left, right])

    def same(self, left: Value, right: Value) -> bool:
        """What `in` and `==` of containers ask: identical or equal."""
        if left is right or left.identity() is right.identity():
            return True
        return self.truth(self.binary(operator.eq, left, right))

    def is_same(self, left: Value, right: Value) -> bool:
        """`left is right`"""
        if left is right:
            return True
        a, b = left.identity(), right.identity()
        if isinstance(left, Constant) and isinstance(right, Constant):
            return a is b or (type(a) is type(b) and type(a) in (int, str, bytes) and a == b)
        return a is b

    def index_of(self, value: Value) -> Any:
        """An integer, or a slice of integers, for indexing a sequence of values."""
        if isinstance(value, SliceValue):
            return slice(*[self._bound(bound) for bound in value.bounds])
        if isinstance(value, Constant):
            if isinstance(value.value, slice):
                return value.value
            return self.evaluate(operator.index, value.value)
        return self.run(operator.index, [value]).unwrap()

    def _bound(self, value: Value) -> int | None:
        if value.is_constant() and value.unwrap() is None:
            return None
        return self.index_of(value)

    def walk(self, iterator: Value) -> Iterator[Value]:
        """The items of an iterator value, one at a time."""
        m: Any = self
        while True:
            try:
                item = iterator.next(m)
            except Raised as raised:
                if raised.value.is_a(StopIteration):
                    return
                raise
            yield item

    def mapping_pairs(self, value: Value) -> list[tuple[Value, Value]]:
        """The pairs of a dict, or of anything with `keys()`, or of an iterable of pairs."""
        m: Any = self
        storage = getattr(value, "storage", None)
        if isinstance(storage, DictValue):
            value = storage
        if isinstance(value, DictValue):
            return value.pairs(m)
        if value.python_type() is dict or (
            isinstance(value, ObjectValue) and lookup(value.kind, "keys") is not MISSING
        ):
            keys = value.method(m, "keys", []).items(m)
            return [(key, value.item(m, key)) for key in keys]
        pairs = []
        for item in value.items(m):
            key, part = item.items(m)
            pairs.append((key, part))
        return pairs

    def sorted(self, items: list[Value], key: Value | None, reverse: Value | None) -> list[Value]:
        m: Any = self
        if key is not None and key.is_constant():
            key = None
        ranks = items if key is None else [key.call(m, [item], {}) for item in items]

        def compare(left: tuple, right: tuple) -> int:
            if self.truth(self.binary(operator.lt, left[0], right[0])):
                return -1
            return int(self.truth(self.binary(operator.lt, right[0], left[0])))

        backwards = reverse is not None and self.truth(reverse)
        pairs = list(zip(ranks, items, strict=True))
        pairs.sort(key=functools.cmp_to_key(compare), reverse=backwards)
        return [item for _, item in pairs]

    def text(self, value: Value, function: Callable) -> Constant:
        """`str(value)` or `repr(value)`."""
        m: Any = self
        if isinstance(value, TensorValue):
            unsupported("Text of a tensor", "a tensor is turned into a string", "print outside")
        if isinstance(value, SequenceValue) and value.kind in (list, tuple):
            inner = ", ".join(self.text(item, repr).value for item in value.all(m))
            if value.kind is list:
                return self.constant(f"[{inner}]")
            return self.constant(f"({inner}{',' if len(value._items) == 1 else ''})")
        if isinstance(value, DictValue) and value.kind is dict:
            pairs = value.pairs(m)
            rows = [f"{self.text(k, repr).value}: {self.text(v, repr).value}" for k, v in pairs]
            return self.constant("{" + ", ".join(rows) + "}")
        if isinstance(value, ObjectValue) and not value.constant_like:
            for name in ("__str__", "__repr__") if function is str else ("__repr__",):
                member = lookup(value.kind, name)
                if isinstance(member, types.FunctionType):
                    found = value.special(m, name)
                    assert isinstance(found, Constant)
                    return found
        if isinstance(value, ExceptionValue):
            member = lookup(value.kind, "__str__")
            if isinstance(member, types.FunctionType) and function is str:
                return self.wrap(member).call(m, [value], {})  # type: ignore[return-value]
        found = self.run(function, [value], what=function.__name__)
        assert isinstance(found, Constant)
        return found

    def formattable(self, value: Value) -> Value:
        """A value that real formatting can take."""
        if value.is_constant():
            return value
        return self.text(value, str)

    # -- classes and attributes ----------------------------------------------------------------------

    def is_subclass(self, kind: type, wanted: type) -> bool:
        return self.evaluate(issubclass, kind, wanted)

    def has_own(self, real: Any, name: str) -> bool:
        """Whether an object from outside has an attribute of its own, in its dictionary or a slot."""
        if name in getattr(real, "__dict__", ()):
            return True
        member = lookup(type(real), name)
        return isinstance(member, types.MemberDescriptorType) and hasattr(real, name)

    def class_of(self, value: Value) -> Value:
        kind = value.python_type()
        source = value.source
        if source is None or isinstance(source, ConstantSource):
            return self.wrap(kind)
        found = self.capture.known(kind)
        return found if found is not None else self.wrap(kind, TypeSource(source))

    def wrap_class_member(self, function: Any, owner: Value, name: str) -> Value:
        """A function of a class; the type's guard stands for it."""
        return self.wrap(function)

    def class_attribute(self, owner: Value, kind: type, name: str) -> Value:
        """A plain class attribute seen through an instance."""
        real = self.real_getattr(kind, name)
        if callable(real) or owner.source is None:
            return self.wrap(real)
        return self.read(real, owner.source, name)

    def class_dictionary(self, owner: ClassValue) -> Value:
        """`X.__dict__`"""
        return self.wrap(types.MappingProxyType(dict(vars(owner.real))))

    def is_library_code(self, function: Any) -> bool:
        code = getattr(function, "__code__", None)
        return code is not None and self.capture.is_library_file(code.co_filename)

    def is_stable(self, module: types.ModuleType, value: Any) -> bool:
        """Whether an attribute of a module needs no guard: code of a library does not change."""
        if self.capture.is_library_file(getattr(module, "__file__", None) or "<built-in>"):
            return True
        if isinstance(value, (types.ModuleType, types.BuiltinFunctionType)):
            return True
        # Installed packages keep their functions and classes, but switch flags.
        if self.capture.is_standard(module):
            return True
        return self.capture.is_installed(module) and not is_literal(value)

    def globals_value(self) -> Value:
        unsupported("globals() in the frame", "the dictionary of globals is asked for")

    def zero_argument_super(self) -> Value:
        """`super()`: the class comes from the cell `__class__`, the object is the first argument."""
        cell = self.cells.get("__class__")
        contents = None if cell is None else cell.contents(self)
        if contents is None:
            self.throw(RuntimeError, "super(): __class__ cell not found")
        name = self.code.co_varnames[0]
        owner = self.variable(name)
        if owner is None and name in self.cells:
            owner = self.cells[name].contents(self)
        if owner is None:
            self.throw(RuntimeError, "super(): arg[0] deleted")
        kind = owner.real if isinstance(owner, ClassValue) else owner.python_type()
        return SuperValue(contents.unwrap(), owner, kind)

    # -- exceptions --------------------------------------------------------------------------------

    def is_exception(self, value: Value) -> bool:
        return isinstance(value, ExceptionValue)

    def as_exception(self, value: Value) -> ExceptionValue:
        """An exception instance from what `raise` was given."""
        m: Any = self
        if isinstance(value, ClassValue):
            value = value.call(m, [], {})
        if not isinstance(value, ExceptionValue):
            self.throw(TypeError, "exceptions must derive from BaseException")
        return value

    # -- calls -------------------------------------------------------------------------------------

    def call_function(
        self, function: Any, args: Sequence[Value], kwargs: dict[str, Value]
    ) -> Value:
        """A call of an existing Python function: a handler's, the library's own, or inlined."""
        real = function.real
        handler = handler_of(real)
        if handler is not None:
            return handler(self, *args, **kwargs)
        if self.capture.asks_for_capture(real):
            return self.constant(True)
        self.capture.check_call(real)
        original = getattr(real, "_flambeau_original", None)
        if original is not None:
            return self.wrap(original).call(self, args, kwargs)  # type: ignore[arg-type]
        if self.capture.is_tool(real):
            return self.call_library(ToolValue(real), args, kwargs)
        return self.inline(function, args, kwargs)

    def call_library(
        self, tool: Any, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        """A function of the tensor library: it runs for real on fakes, or is inlined if it cannot."""
        real = tool.real
        special = self.capture.special_tool(real)
        if special is not None:
            return special(self, *args, **kwargs)
        try:
            for value in [*args, *kwargs.values()]:
                value.realize(self)  # type: ignore[arg-type]
                value.unwrap()
        except NotConcrete:
            if isinstance(real, types.FunctionType):
                from dynamo.values.function import FunctionValue

                return self.inline(FunctionValue(real, tool.source), args, kwargs)
        return self.run(real, args, kwargs, what=getattr(real, "__name__", ""))

    def make_tensor(
        self, kind: ClassValue, args: Sequence[Value], kwargs: dict[str, Value]
    ) -> Value:
        """`Tensor(...)`, `Parameter(...)`: what a tensor class gives."""
        if self.capture.is_plain_tensor_type(kind.real):
            return self.run(kind.real, args, kwargs)
        unsupported(
            "Construction of a parameter",
            f"{kind.real.__name__}(...) is called",
            "make parameters in __init__, outside the compiled region",
        )

    def inline(self, function: Any, args: Sequence[Value], kwargs: dict[str, Value]) -> Value:
        """Interpret a Python function's bytecode in place of the call; `Frame` does it."""
        raise NotImplementedError

    def is_module(self, value: Value) -> bool:
        return isinstance(value, ModuleValue)


def _is_numeric(value: Any) -> bool:
    """Numbers, NumPy's own included, and tuples and lists of them."""
    if isinstance(value, (tuple, list)):
        return all(map(_is_numeric, value))
    return value is None or (is_literal(value) and not isinstance(value, (str, bytes)))


_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "** or pow()",
    "matmul": "@", "and_": "&", "or_": "|", "xor": "^", "lshift": "<<", "rshift": ">>", "iadd": "+=",
}  # fmt: skip
