"""Built-in functions. Those that look at the structure of values have a handler here; the pure ones run for real on
constants and tensors; what is neither ends the graph, because only real Python knows what it does.
"""

from __future__ import annotations

import builtins
import copy
import functools
import inspect
import itertools
import logging
import math
import operator
import sys
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dynamo.source import ConstantSource
from dynamo.unsupported import NotConcrete, Raised, unsupported
from dynamo.values.base import NO_KEYWORDS, RealValue, Value
from dynamo.values.constant import Constant
from dynamo.values.container import ListValue, SequenceValue, SetValue, TupleValue
from dynamo.values.dictionary import DictValue
from dynamo.values.exception import ExceptionValue
from dynamo.values.iterator import ChainValue
from dynamo.values.klass import ClassValue, new_object
from dynamo.values.object import MISSING, ObjectValue, lookup

if TYPE_CHECKING:
    from dynamo.emit import Emitter
    from dynamo.machine import Frame

# Modules whose C functions neither have effects nor depend on anything but their arguments.
_PURE_MODULES = frozenset(
    ("builtins", "math", "cmath", "_operator", "operator", "_struct", "itertools", "_functools")
)
_IMPURE = frozenset(
    ("print", "input", "open", "exec", "eval", "compile", "globals", "locals", "vars", "dir",
     "breakpoint", "__import__", "__build_class__", "delattr", "setattr", "memoryview")
)  # fmt: skip


class BuiltinValue(RealValue):
    """A function written in C, or an unbound method of a built-in class."""

    def call(
        self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value] = NO_KEYWORDS
    ) -> Value:
        real = self.real
        handler = _find_handler(real)
        if handler is not None:
            return handler(m, *args, **kwargs)
        owner = getattr(real, "__self__", None)
        if isinstance(owner, type) and real.__name__ == "__new__":
            return new_object(m, m.wrap(owner), args, kwargs)
        if isinstance(real, _UNBOUND) and args:
            return self._unbound(m, args, kwargs)
        if isinstance(real, types.MethodWrapperType):
            return m.wrap(real.__self__).method(m, real.__name__, args, kwargs)
        if isinstance(owner, type):
            from dynamo.values.klass import ClassMethod, ClassValue

            value = m.wrap(owner)
            if isinstance(value, ClassValue):
                return ClassMethod(value, real.__name__).call(m, args, kwargs)
        if is_pure(real):
            return self._pure(m, args, kwargs)
        return m.call_real(self, args, kwargs)

    def _unbound(self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value]) -> Value:
        """`dict.get(d, k)`, `str.lower(s)`, `object.__setattr__(x, ...)`: a method with its instance first."""
        from dynamo.values.object import BuiltinMember

        owner, *rest = args
        if isinstance(owner, (ObjectValue, ExceptionValue, ClassValue)):
            member = BuiltinMember(owner, self.real, self.real.__name__)
            return member.call(m, rest, kwargs)
        return owner.method(m, self.real.__name__, rest, kwargs)

    def _pure(self, m: Frame, args: Sequence[Value], kwargs: dict[str, Value]) -> Value:
        function: Any = getattr(operator, self.real.__name__, None)
        if function is self.real and not kwargs:
            if self.real in _BINARY and len(args) == 2:
                return m.binary(self.real, *args)
            if self.real in _UNARY and len(args) == 1:
                return args[0].unary(m, self.real)
        return m.run(self.real, args, kwargs)

    def rebuild(self, e: Emitter) -> None:
        e.load_const(self.real)


_UNBOUND = (types.WrapperDescriptorType, types.MethodDescriptorType)
_UNARY = frozenset((operator.neg, operator.pos, operator.invert))
_BINARY = frozenset(
    getattr(operator, name)
    for name in (
        "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift eq ne lt le gt ge "
        "iadd isub imul itruediv ifloordiv imod ipow imatmul iand ior ixor ilshift irshift"
    ).split()
)


def is_pure(function: Any) -> bool:
    """Whether a C function may be called for real while interpreting."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "")
    if isinstance(owner, types.ModuleType) or owner is None:
        module = getattr(function, "__module__", None)
        return module in _PURE_MODULES and name not in _IMPURE
    return False


# -- handlers --------------------------------------------------------------------------------------

_HANDLERS: dict[Any, Callable] = {}


def _find_handler(function: Any) -> Callable | None:
    try:
        return _HANDLERS.get(function)
    except TypeError:
        return None


def handler_of(function: Any) -> Callable | None:
    """The handler of a function, which may also be written in Python (`copy.copy`)."""
    return _find_handler(function)


def handles(*functions: Any) -> Callable:
    def register(handler: Callable) -> Callable:
        for function in functions:
            _HANDLERS[function] = handler
        return handler

    return register


@handles(len)
def _len(m: Frame, value: Value) -> Value:
    return value.length(m)


@handles(isinstance)
def _isinstance(m: Frame, value: Value, kinds: Value) -> Value:
    return m.constant(_is_instance(m, value, _kinds(m, kinds)))


def _kinds(m: Frame, kinds: Value) -> tuple:
    if isinstance(kinds, SequenceValue):
        return tuple(kind for item in kinds.all(m) for kind in _kinds(m, item))
    return (kinds.unwrap(),)


def _is_instance(m: Frame, value: Value, kinds: tuple) -> bool:
    kind = value.python_type()
    for wanted in kinds:
        if isinstance(wanted, types.UnionType):
            if _is_instance(m, value, wanted.__args__):
                return True
            continue
        if not isinstance(wanted, type):
            found = m.evaluate(issubclass, kind, wanted)
        elif isinstance(value, (Constant, ClassValue)):
            found = isinstance(value.unwrap(), wanted)
        elif getattr(wanted, "_is_protocol", False) and getattr(value, "real", None) is not None:
            found = m.evaluate(isinstance, value.real, wanted)  # type: ignore[attr-defined]
        else:
            found = m.is_subclass(kind, wanted)
        if found:
            return True
    return False


@handles(issubclass)
def _issubclass(m: Frame, kind: Value, kinds: Value) -> Value:
    return m.constant(m.evaluate(issubclass, kind.unwrap(), _kinds(m, kinds)))


@handles(getattr)
def _getattr(m: Frame, owner: Value, name: Value, default: Value | None = None) -> Value:
    try:
        return owner.attribute(m, name.unwrap())
    except Raised as raised:
        if default is None or not raised.value.is_a(AttributeError):
            raise
        m.guard_missing(owner, name.unwrap())
        return default


@handles(hasattr)
def _hasattr(m: Frame, owner: Value, name: Value) -> Value:
    try:
        owner.attribute(m, name.unwrap())
    except Raised as raised:
        if not raised.value.is_a(AttributeError):
            raise
        m.guard_missing(owner, name.unwrap())
        return m.constant(False)
    return m.constant(True)


@handles(setattr)
def _setattr(m: Frame, owner: Value, name: Value, value: Value) -> Value:
    owner.store_attribute(m, name.unwrap(), value)
    return m.constant(None)


@handles(delattr)
def _delattr(m: Frame, owner: Value, name: Value) -> Value:
    owner.delete_attribute(m, name.unwrap())
    return m.constant(None)


@handles(callable)
def _callable(m: Frame, value: Value) -> Value:
    return m.constant(lookup(value.python_type(), "__call__") is not MISSING)


@handles(id)
def _id(m: Frame, value: Value) -> Value:
    real = getattr(value, "real", None)
    if real is None:
        unsupported("id() of an object made in the frame", "the address is not known yet")
    return m.constant(id(real))


@handles(hash)
def _hash(m: Frame, value: Value) -> Value:
    if isinstance(value, ObjectValue):
        found = value.special(m, "__hash__")
        if found is not None:
            return found
    return m.constant(m.evaluate(hash, value.key()))


@handles(iter)
def _iter(m: Frame, value: Value, *sentinel: Value) -> Value:
    if sentinel:
        unsupported("iter() with a sentinel", "iter(callable, sentinel) is called")
    return value.iterate(m)


@handles(next)
def _next(m: Frame, iterator: Value, *default: Value) -> Value:
    try:
        return iterator.next(m)
    except Raised as raised:
        if default and raised.value.is_a(StopIteration):
            return default[0]
        raise


@handles(any)
def _any(m: Frame, items: Value) -> Value:
    return m.constant(any(m.truth(item) for item in m.walk(items.iterate(m))))


@handles(all)
def _all(m: Frame, items: Value) -> Value:
    return m.constant(all(m.truth(item) for item in m.walk(items.iterate(m))))


@handles(sum)
def _sum(m: Frame, items: Value, start: Value | None = None) -> Value:
    total = m.constant(0) if start is None else start
    for item in m.walk(items.iterate(m)):
        total = m.binary(operator.add, total, item)
    return total


def _extreme(compare: Callable) -> Callable:
    def handler(
        m: Frame, *args: Value, key: Value | None = None, default: Value | None = None
    ) -> Value:
        items = args[0].items(m) if len(args) == 1 else list(args)
        if not items:
            if default is None:
                name = "max" if compare is operator.gt else "min"
                m.throw(ValueError, f"{name}() iterable argument is empty")
            return default
        if key is not None and key.is_constant():
            key = None
        best = items[0]
        rank = best if key is None else key.call(m, [best], {})
        for item in items[1:]:
            other = item if key is None else key.call(m, [item], {})
            if m.truth(m.binary(compare, other, rank)):
                best, rank = item, other
        return best

    return handler


_HANDLERS[max] = _extreme(operator.gt)
_HANDLERS[min] = _extreme(operator.lt)


@handles(sorted)
def _sorted(
    m: Frame, items: Value, key: Value | None = None, reverse: Value | None = None
) -> Value:
    return ListValue(m.sorted(items.items(m), key, reverse))


@handles(operator.getitem)
def _getitem(m: Frame, owner: Value, key: Value) -> Value:
    return owner.item(m, key)


@handles(operator.setitem)
def _setitem(m: Frame, owner: Value, key: Value, value: Value) -> Value:
    owner.store_item(m, key, value)
    return m.constant(None)


@handles(operator.contains)
def _contains(m: Frame, owner: Value, item: Value) -> Value:
    return owner.contains(m, item)


@handles(operator.is_)
def _is(m: Frame, left: Value, right: Value) -> Value:
    return m.constant(m.is_same(left, right))


@handles(operator.is_not)
def _is_not(m: Frame, left: Value, right: Value) -> Value:
    return m.constant(not m.is_same(left, right))


@handles(operator.not_)
def _not(m: Frame, value: Value) -> Value:
    return m.constant(not m.truth(value))


@handles(operator.truth)
def _truth(m: Frame, value: Value) -> Value:
    return m.constant(m.truth(value))


@handles(operator.index)
def _index(m: Frame, value: Value) -> Value:
    return m.constant(m.index_of(value))


@handles(repr)
def _repr(m: Frame, value: Value) -> Value:
    return m.text(value, repr)


@handles(format)
def _format(m: Frame, value: Value, spec: Value | None = None) -> Value:
    return m.run(format, [m.formattable(value), *([] if spec is None else [spec])])


@handles(abs)
def _abs(m: Frame, value: Value) -> Value:
    return value.unary(m, operator.abs)


@handles(divmod)
def _divmod(m: Frame, left: Value, right: Value) -> Value:
    quotient = m.binary(operator.floordiv, left, right)
    return TupleValue([quotient, m.binary(operator.mod, left, right)])


@handles(pow)
def _pow(m: Frame, base: Value, exponent: Value, modulus: Value | None = None) -> Value:
    if modulus is not None:
        return m.run(pow, [base, exponent, modulus])
    return m.binary(operator.pow, base, exponent)


@handles(functools.reduce)
def _reduce(m: Frame, function: Value, items: Value, *initial: Value) -> Value:
    iterator = items.iterate(m)
    total = initial[0] if initial else iterator.next(m)
    for item in m.walk(iterator):
        total = function.call(m, [total, item], {})
    return total


@handles(itertools.chain.from_iterable)
def _chain(m: Frame, items: Value) -> Value:
    return ChainValue(items.iterate(m))


@handles(globals)
def _globals(m: Frame) -> Value:
    return m.globals_value()


@handles(vars)
def _vars(m: Frame, value: Value) -> Value:
    return value.attribute(m, "__dict__")


@handles(copy.copy)
def _copy(m: Frame, value: Value) -> Value:
    if isinstance(value, (ListValue, DictValue, SetValue)):
        return value.method(m, "copy", [])
    if value.is_constant() or isinstance(value, (TupleValue, ClassValue)):
        return value
    if isinstance(value, ObjectValue):
        found = value.special(m, "__copy__")
        if found is not None:
            return found
        if value.storage is None and lookup(value.kind, "__reduce_ex__") is lookup(
            object, "__reduce_ex__"
        ):
            made = ObjectValue(value.kind)
            for name, part in value.dictionary(m):
                made.plain_store(m, name, part)
            return made
    return unsupported("Copy of an object", f"copy.copy({value!r})")


@handles(copy.deepcopy)
def _deepcopy(m: Frame, value: Value, memo: Value | None = None) -> Value:
    if value.is_constant() or isinstance(value, ClassValue):
        return value
    if isinstance(value, ListValue):
        return value.like([_deepcopy(m, item) for item in value.all(m)])
    if isinstance(value, TupleValue) and value.kind is tuple:
        return TupleValue([_deepcopy(m, item) for item in value.all(m)])
    if isinstance(value, DictValue):
        pairs = [(key, _deepcopy(m, item)) for key, item in value.pairs(m)]
        return DictValue.of(pairs, value.kind)
    return unsupported("Copy of an object", f"copy.deepcopy({value!r})")


@handles(inspect.signature)
def _signature(m: Frame, function: Value, **kwargs: Value) -> Value:
    owner = getattr(function, "owner", None)
    if owner is not None and hasattr(function, "function"):
        bound = types.MethodType(function.function.unwrap(), object())
        return m.wrap(inspect.signature(bound))
    return m.wrap(m.evaluate(inspect.signature, function.unwrap()))


@handles(math.prod)
def _prod(m: Frame, items: Value, start: Value | None = None) -> Value:
    total = m.constant(1) if start is None else start
    for item in m.walk(items.iterate(m)):
        total = m.binary(operator.mul, total, item)
    return total


@handles(print)
def _print(m: Frame, *args: Value, **kwargs: Value) -> Value:
    return unsupported(
        "Call of print",
        "printing is an effect outside the graph",
        "the output is kept: the graph ends before the call and the next one begins after it",
    )


@handles(input, open, builtins.exec, builtins.eval, builtins.compile)
def _outside(m: Frame, *args: Value, **kwargs: Value) -> Value:
    return unsupported(
        "Call of a built-in function with effects",
        "it reads, writes or runs something outside the program's values",
        "move it out of the compiled region",
    )


@handles(sys.exc_info)
def _exc_info(m: Frame) -> Value:
    if m.active:
        unsupported("Traceback of an exception", "sys.exc_info() in an except block")
    return m.tuple_of([_exception(m)] * 3)


@handles(sys.exception)
def _exception(m: Frame) -> Value:
    if m.active:
        return m.active[-1]
    if sys.exception() is not None:
        unsupported("Call while an exception is handled", "what is handled depends on the caller")
    m.guard("EXPRESSION", None, ("{0}.exception() is None", (ConstantSource(sys),)))
    return m.constant(None)


def _logs(function: Any, level: int) -> None:
    """Logging below a logger's level does nothing; anything else is an effect outside the graph."""

    @handles(function)
    def log(m: Frame, logger: Value, *args: Value, **kwargs: Value) -> Value:
        real = getattr(logger, "real", None)
        if real is None or real.isEnabledFor(level):
            m.capture.check_call(function)
        text = f"not {{0}}.isEnabledFor({level})"
        m.guard("EXPRESSION", None, (text, (logger.source or ConstantSource(real),)))
        return m.constant(None)


for _name in ("debug", "info", "warning", "error", "critical"):
    _logs(getattr(logging.Logger, _name), getattr(logging, _name.upper()))


@handles(logging.getLogger)
def _get_logger(m: Frame, name: Value | None = None) -> Value:
    return m.wrap(logging.getLogger(None if name is None else name.unwrap()))


def concrete(values: Sequence[Value]) -> bool:
    """Whether all values have Python objects behind them."""
    try:
        for value in values:
            value.unwrap()
    except NotConcrete:
        return False
    return True
