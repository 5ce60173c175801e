"""Handlers of arithmetic, comparison, subscripts, formatting, and of what builds and takes containers apart."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from dynamo.bytecode import Instruction
from dynamo.unsupported import unsupported
from dynamo.values.base import NULL, Value
from dynamo.values.container import ListValue, SequenceValue, SetValue, SliceValue, TupleValue
from dynamo.values.dictionary import DictValue

# These methods become part of the machine's `Frame`.
Base: Any = object

_BINARY: dict[str, Callable] = {
    "+": operator.add, "&": operator.and_, "//": operator.floordiv, "<<": operator.lshift,
    "@": operator.matmul, "*": operator.mul, "%": operator.mod, "|": operator.or_,
    "**": operator.pow, ">>": operator.rshift, "-": operator.sub, "/": operator.truediv,
    "^": operator.xor, "+=": operator.iadd, "&=": operator.iand, "//=": operator.ifloordiv,
    "<<=": operator.ilshift, "@=": operator.imatmul, "*=": operator.imul, "%=": operator.imod,
    "|=": operator.ior, "**=": operator.ipow, ">>=": operator.irshift, "-=": operator.isub,
    "/=": operator.itruediv, "^=": operator.ixor,
}  # fmt: skip
_COMPARE: dict[str, Callable] = {
    "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_CONVERSIONS: dict[int, Callable] = {1: str, 2: repr, 3: ascii}


class Operators(Base):
    # -- arithmetic and comparison -----------------------------------------------------------------

    def BINARY_OP(self, i: Instruction) -> None:
        right, left = self.pop(), self.pop()
        function = _BINARY[i.argval]
        if function is operator.mod and left.python_type() is str:
            self.push(self._percent(left, right))
            return
        self.push(self.binary(function, left, right))

    def _percent(self, left: Value, right: Value) -> Value:
        """`"..." % values`"""
        if isinstance(right, TupleValue):
            right = TupleValue([self.formattable(item) for item in right.all(self)])
        elif not isinstance(right, DictValue):
            right = self.formattable(right)
        return self.run(operator.mod, [left, right])

    def UNARY_NEGATIVE(self, i: Instruction) -> None:
        self.push(self.pop().unary(self, operator.neg))

    def UNARY_POSITIVE(self, i: Instruction) -> None:
        self.push(self.pop().unary(self, operator.pos))

    def UNARY_INVERT(self, i: Instruction) -> None:
        self.push(self.pop().unary(self, operator.invert))

    def UNARY_NOT(self, i: Instruction) -> None:
        self.push(self.constant(not self.truth(self.pop())))

    def TO_BOOL(self, i: Instruction) -> None:
        self.push(self.constant(self.truth(self.pop())))

    def COMPARE_OP(self, i: Instruction) -> None:
        right, left = self.pop(), self.pop()
        symbol = i.argval.removeprefix("bool(").removesuffix(")")
        result = self.binary(_COMPARE[symbol], left, right)
        if self.converts_comparison(i):
            result = self.constant(self.truth(result))
        self.push(result)

    def converts_comparison(self, i: Instruction) -> bool:
        """3.13 may fold the conversion to bool into the comparison."""
        from dynamo.bytecode import VERSION

        return VERSION >= (3, 13) and bool((i.arg or 0) & 16)

    def IS_OP(self, i: Instruction) -> None:
        right, left = self.pop(), self.pop()
        self.push(self.constant(self.is_same(left, right) != bool(i.arg)))

    def CONTAINS_OP(self, i: Instruction) -> None:
        container, item = self.pop(), self.pop()
        found = self.truth(container.contains(self, item))
        self.push(self.constant(found != bool(i.arg)))

    # -- subscripts --------------------------------------------------------------------------------

    def BINARY_SUBSCR(self, i: Instruction) -> None:
        key, owner = self.pop(), self.pop()
        self.push(self.subscript(owner, key))

    def subscript(self, owner: Value, key: Value) -> Value:
        if isinstance(getattr(owner, "real", None), type):
            return self.wrap(self.evaluate(operator.getitem, owner.unwrap(), key.unwrap()))
        return owner.item(self, key)

    def STORE_SUBSCR(self, i: Instruction) -> None:
        key, owner, value = self.pop(), self.pop(), self.pop()
        owner.store_item(self, key, value)

    def DELETE_SUBSCR(self, i: Instruction) -> None:
        key, owner = self.pop(), self.pop()
        owner.delete_item(self, key)

    def BINARY_SLICE(self, i: Instruction) -> None:
        stop, start, owner = self.pop(), self.pop(), self.pop()
        self.push(owner.item(self, SliceValue(start, stop, self.constant(None))))

    def STORE_SLICE(self, i: Instruction) -> None:
        stop, start, owner, value = self.pop(), self.pop(), self.pop(), self.pop()
        owner.store_item(self, SliceValue(start, stop, self.constant(None)), value)

    def BUILD_SLICE(self, i: Instruction) -> None:
        bounds = self.pop_many(i.arg or 2)
        if len(bounds) == 2:
            bounds.append(self.constant(None))
        self.push(SliceValue(*bounds))

    # -- text --------------------------------------------------------------------------------------

    def FORMAT_VALUE(self, i: Instruction) -> None:
        flags = i.arg or 0
        spec = self.pop() if flags & 4 else self.constant("")
        self._format(self.pop(), flags & 3, spec)

    def CONVERT_VALUE(self, i: Instruction) -> None:
        self.push(self.text(self.pop(), _CONVERSIONS[i.arg or 1]))

    def FORMAT_SIMPLE(self, i: Instruction) -> None:
        self._format(self.pop(), 0, self.constant(""))

    def FORMAT_WITH_SPEC(self, i: Instruction) -> None:
        spec = self.pop()
        self._format(self.pop(), 0, spec)

    def _format(self, value: Value, conversion: int, spec: Value) -> None:
        if conversion:
            value = self.text(value, _CONVERSIONS[conversion])
        self.push(self.run(format, [self.formattable(value), spec]))

    def BUILD_STRING(self, i: Instruction) -> None:
        parts = self.pop_many(i.arg or 0)
        self.push(self.constant("".join([part.unwrap() for part in parts])))

    # -- containers --------------------------------------------------------------------------------

    def BUILD_TUPLE(self, i: Instruction) -> None:
        self.push(TupleValue(self.pop_many(i.arg or 0)))

    def BUILD_LIST(self, i: Instruction) -> None:
        self.push(ListValue(self.pop_many(i.arg or 0)))

    def BUILD_SET(self, i: Instruction) -> None:
        items = self.pop_many(i.arg or 0)
        for item in items:
            self.evaluate(item.key)
        self.push(SetValue.of(items))

    def BUILD_MAP(self, i: Instruction) -> None:
        parts = self.pop_many(2 * (i.arg or 0))
        for key in parts[::2]:
            self.evaluate(key.key)
        self.push(DictValue.of(list(zip(parts[::2], parts[1::2], strict=True))))

    def BUILD_CONST_KEY_MAP(self, i: Instruction) -> None:
        keys = self.pop().items(self)
        values = self.pop_many(i.arg or 0)
        self.push(DictValue.of(list(zip(keys, values, strict=True))))

    def LIST_APPEND(self, i: Instruction) -> None:
        item = self.pop()
        self.stack[-(i.arg or 1)].method(self, "append", [item])

    def SET_ADD(self, i: Instruction) -> None:
        item = self.pop()
        self.stack[-(i.arg or 1)].method(self, "add", [item])

    def MAP_ADD(self, i: Instruction) -> None:
        value, key = self.pop(), self.pop()
        self.stack[-(i.arg or 1)].store_item(self, key, value)

    def LIST_EXTEND(self, i: Instruction) -> None:
        items = self.pop()
        self.stack[-(i.arg or 1)].method(self, "extend", [items])

    def SET_UPDATE(self, i: Instruction) -> None:
        items = self.pop()
        self.stack[-(i.arg or 1)].method(self, "update", [items])

    def DICT_UPDATE(self, i: Instruction) -> None:
        other = self.pop()
        self.stack[-(i.arg or 1)].method(self, "update", [other])

    def DICT_MERGE(self, i: Instruction) -> None:
        other = self.pop()
        target: Any = self.stack[-(i.arg or 1)]
        for key, value in self.mapping_pairs(other):
            if key.key() in target._items:
                self.throw(TypeError, f"got multiple values for keyword argument {key!r}")
            target.store_item(self, key, value)

    def LIST_TO_TUPLE(self, i: Instruction) -> None:
        self.push(TupleValue(self.pop().items(self)))

    def UNPACK_SEQUENCE(self, i: Instruction) -> None:
        count = i.arg or 0
        items = self._unpackable(self.pop(), count)
        if len(items) != count:
            if len(items) < count:
                text = f"not enough values to unpack (expected {count}, got {len(items)})"
            else:
                text = f"too many values to unpack (expected {count})"
            self.throw(ValueError, text)
        self.stack.extend(items[::-1])

    def _unpackable(self, value: Value, count: int) -> list[Value]:
        if isinstance(value, SequenceValue):
            return value.all(self)
        items = []
        for item in self.walk(value.iterate(self)):
            items.append(item)
            if len(items) > count:
                break
        return items

    def UNPACK_EX(self, i: Instruction) -> None:
        before, after = (i.arg or 0) & 255, (i.arg or 0) >> 8
        items = self.pop().items(self)
        if len(items) < before + after:
            text = f"not enough values to unpack (expected at least {before + after}"
            self.throw(ValueError, f"{text}, got {len(items)})")
        rest = ListValue(items[before : len(items) - after])
        parts = [*items[:before], rest, *items[len(items) - after :]]
        self.stack.extend(parts[::-1])

    # -- structural pattern matching -----------------------------------------------------------------

    def GET_LEN(self, i: Instruction) -> None:
        self.push(self.stack[-1].length(self))

    def MATCH_SEQUENCE(self, i: Instruction) -> None:
        kind = self.stack[-1].python_type()
        self.push(self.constant(bool(kind.__flags__ & (1 << 5))))

    def MATCH_MAPPING(self, i: Instruction) -> None:
        kind = self.stack[-1].python_type()
        self.push(self.constant(bool(kind.__flags__ & (1 << 6))))

    def MATCH_KEYS(self, i: Instruction) -> None:
        keys, subject = self.stack[-1].items(self), self.stack[-2]
        values = []
        for key in keys:
            if not self.truth(subject.contains(self, key)):
                self.push(self.constant(None))
                return
            values.append(subject.item(self, key))
        self.push(TupleValue(values))

    def MATCH_CLASS(self, i: Instruction) -> None:
        names, kind, subject = self.pop(), self.pop(), self.pop()
        wanted = kind.unwrap()
        if not self.is_subclass(subject.python_type(), wanted):
            self.push(self.constant(None))
            return
        count = i.arg or 0
        if count and wanted in (bool, bytes, dict, float, int, list, set, str, tuple):
            self.push(TupleValue([subject]))
            return
        attributes = list(getattr(wanted, "__match_args__", ()))[:count]
        attributes += [name.unwrap() for name in names.items(self)]
        values = []
        for name in attributes:
            found = self.wrap(getattr).call(
                self, [subject, self.constant(name), NULL], {}
            )
            if found is NULL:
                self.push(self.constant(None))
                return
            values.append(found)
        self.push(TupleValue(values))

    # -- intrinsic functions of 3.12 -----------------------------------------------------------------

    def CALL_INTRINSIC_1(self, i: Instruction) -> None:
        if i.arg == 6:
            self.LIST_TO_TUPLE(i)
        elif i.arg == 5:
            self.UNARY_POSITIVE(i)
        elif i.arg == 3:
            self.stop_iteration_error()
        else:
            unsupported("Instruction that is not known", f"CALL_INTRINSIC_1 {i.arg}")

    def stop_iteration_error(self) -> None:
        """A StopIteration that leaves a generator's body becomes a RuntimeError."""
        from dynamo.values.exception import ExceptionValue

        error: Any = self.pop()
        if error.is_a(StopIteration):
            error = ExceptionValue(RuntimeError, [self.constant("generator raised StopIteration")])
        self.push(error)
