"""From a Python object and its source to a value, with the guard that makes it true next time."""

from __future__ import annotations

import collections
import functools
import types
from typing import TYPE_CHECKING, Any

from dynamo.source import AttributeSource
from dynamo.values.base import Value
from dynamo.values.builtin import BuiltinValue
from dynamo.values.constant import Constant, is_literal
from dynamo.values.container import SEQUENCES, SequenceValue, SetValue, SliceValue, TupleValue
from dynamo.values.dictionary import DICT_TYPES, DictValue
from dynamo.values.exception import ExceptionValue
from dynamo.values.function import CachedFunction, FunctionValue, MethodValue, PartialValue
from dynamo.values.klass import ClassValue
from dynamo.values.module import ModuleValue, PythonModule
from dynamo.values.object import ObjectValue
from dynamo.values.tensor import ToolValue

if TYPE_CHECKING:
    from dynamo.machine import Frame

_BOUND = (types.BuiltinFunctionType, types.MethodWrapperType)
_BUILTINS = (
    types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType,
    types.MethodWrapperType, types.ClassMethodDescriptorType,
)  # fmt: skip


def wrap(m: Frame, real: Any, source: Any) -> Value:
    """The value of `real`. Raises Unsupported for what cannot be looked at."""
    if is_literal(real):
        number = m.capture.number(m, real, source)
        if number is not None:
            return number
        m.guard("NONE" if real is None else "CONSTANT", source, real)
        return Constant(real, source)
    capture = m.capture
    known = capture.known(real)
    if known is not None:
        if known.source is not None and source != known.source:
            m.guard_same(source, known)
        return known
    value = _wrap_new(m, real, source)
    if type(real) is tuple:
        # Equal constants often are one tuple: no reason to require that they stay one.
        capture.hold(real)
    else:
        capture.remember(real, value)
    return value


def _wrap_new(m: Frame, real: Any, source: Any) -> Value:
    kind = type(real)
    if m.capture.is_tensor(real):
        return m.capture.input(m, real, source)
    if isinstance(real, type):
        m.guard("ID", source, real)
        return ClassValue(real, source)
    if isinstance(real, types.ModuleType):
        m.guard("ID", source, real)
        return PythonModule(real, source)
    if m.capture.is_tool(real):
        m.guard("ID", source, real)
        return ToolValue(real, source)
    if kind is types.FunctionType:
        return _function(m, real, source)
    if kind is types.MethodType:
        return _method(m, real, source)
    if isinstance(real, _BOUND) and not isinstance(real.__self__, (type, types.ModuleType)):
        if real.__self__ is not None:
            m.guard("TYPE", source, kind)
            m.guard("CONSTANT", AttributeSource(source, "__name__"), real.__name__)
            return m.read(real.__self__, source, "__self__").attribute(m, real.__name__)
    if isinstance(real, _BUILTINS):
        m.guard("ID", source, real)
        return BuiltinValue(real, source)
    if kind is functools._lru_cache_wrapper:
        m.guard("ID", source, real)
        if type(real.__wrapped__) is types.FunctionType:
            return CachedFunction(real, source)
    if m.capture.is_module_type(kind):
        m.guard("TYPE", source, kind)
        return ModuleValue(kind, real, source)
    return _container(m, real, kind, source) or _object(m, real, kind, source)


def _function(m: Frame, real: types.FunctionType, source: Any) -> Value:
    m.guard("FUNCTION" if real.__closure__ or real.__defaults__ else "ID", source, real)
    return FunctionValue(real, source)


def _method(m: Frame, real: types.MethodType, source: Any) -> Value:
    owner = m.read(real.__self__, source, "__self__")
    function = m.read(real.__func__, source, "__func__")
    return MethodValue(owner, function, source)


def _container(m: Frame, real: Any, kind: type, source: Any) -> Value | None:
    if kind is collections.deque:
        m.guard("CONSTANT", AttributeSource(source, "maxlen"), real.maxlen)
    if kind in SEQUENCES:
        m.guard("TYPE", source, kind)
        m.guard("LENGTH", source, len(real))
        sequence = SEQUENCES[kind](list(real), source, real, kind)
        sequence.maxlen = getattr(real, "maxlen", None)
        return sequence
    if kind in DICT_TYPES or kind is types.MappingProxyType:
        m.guard("TYPE", source, kind)
        value = DictValue(None, source, real, kind)
        factory = getattr(real, "default_factory", None)
        if factory is not None:
            value.factory = m.read(factory, source, "default_factory")
        return value
    if kind in (set, frozenset):
        m.guard("CONSTANT", source, frozenset(real) if kind is frozenset else set(real))
        return SetValue({m.wrap(i).key(): m.wrap(i) for i in real}, source, kind)
    if kind is slice:
        bounds = [m.read(getattr(real, n), source, n) for n in ("start", "stop", "step")]
        return SliceValue(*bounds)
    if kind is functools.partial:
        function = m.read(real.func, source, "func")
        args = m.read(real.args, source, "args").items(m)
        pairs = m.mapping_pairs(m.read(real.keywords, source, "keywords"))
        return PartialValue(function, args, {k.unwrap(): v for k, v in pairs}, source)
    return None


def _object(m: Frame, real: Any, kind: type, source: Any) -> Value:
    m.guard("TYPE", source, kind)
    if isinstance(real, BaseException):
        m.capture.hold(real)
        args = [m.wrap(arg) for arg in real.args]
        error = ExceptionValue(kind, args, real)
        error.source = source
        return error
    storage: Value | None = None
    if isinstance(real, tuple):
        m.guard("LENGTH", source, len(real))
        storage = TupleValue(list(tuple.__iter__(real)), source, real)
    elif isinstance(real, list):
        m.guard("LENGTH", source, len(real))
        storage = SEQUENCES[list](list(list.__iter__(real)), source, real)
    elif isinstance(real, dict):
        base = next(base for base in kind.__mro__ if base in DICT_TYPES)
        storage = DictValue(None, source, real, base)
    return ObjectValue(kind, real, source, storage)


def is_sequence(value: Value) -> bool:
    return isinstance(value, SequenceValue)
