"""What generated kernels say beyond plain Python: typed pointers, loads and stores, bit casts,
branch-free selects, sums that may be reordered.

Each is a few LLVM instructions, inlined where it is used. Importing this module imports numba:
import it only to compile.

Loads and stores promise LLVM that what a kernel reads it does not write in the same loop
(`alias.scope`/`noalias`), so that loops over many buffers vectorise without run-time overlap
checks. The scheduler keeps that promise: no output of a kernel shares memory with its inputs, and a
value which a kernel both writes and reads again goes through `load_again`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

TYPES = {
    "bool": types.boolean, "uint8": types.uint8, "int8": types.int8, "int16": types.int16,
    "int32": types.int32, "int64": types.int64, "uint16": types.uint16, "uint32": types.uint32,
    "uint64": types.uint64, "float32": types.float32, "float64": types.float64,
}
_INTEGER_OF = {types.float32: types.int32, types.float64: types.int64}
_FLOAT_OF = {types.int32: types.float32, types.int64: types.float64}
_LOOSE = ("reassoc", "nsz", "contract")


def _pointer_function(element: Any, name: str) -> Any:
    def pointer(typing_context, address):
        signature = types.CPointer(element)(address)

        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return signature, generate

    pointer.__name__ = f"pointer_{name}"
    return intrinsic(pointer)


POINTERS = {f"pointer_{name}": _pointer_function(element, name) for name, element in TYPES.items()}


def _scopes(module: ir.Module, name: str) -> Any:
    domain = module.add_metadata([ir.MetaDataString(module, "flambeau")])
    scope = module.add_metadata([ir.MetaDataString(module, name), domain])
    return module.add_metadata([scope])


def _address(context, builder, pointer_type, pointer, index):
    return builder.gep(pointer, [index], source_etype=context.get_data_type(pointer_type.dtype))


def _load(pointer, index, scope):
    signature = pointer.dtype(pointer, index)

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, pointer, *arguments)
        data = builder.load(address, typ=context.get_data_type(pointer.dtype))
        if scope:
            data.set_metadata("alias.scope", _scopes(builder.module, scope))
        return context.data_model_manager[pointer.dtype].from_data(builder, data)

    return signature, generate


@intrinsic
def load(typing_context, pointer, index):
    """The element at `index` of an input."""
    return _load(pointer, index, "inputs")


@intrinsic
def load_again(typing_context, pointer, index):
    """The element at `index` of a buffer that this kernel writes too."""
    return _load(pointer, index, None)


@intrinsic
def store(typing_context, pointer, index, value):
    """Write `value` to `index` of an output."""
    signature = types.void(pointer, index, value)

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, pointer, *arguments[:2])
        converted = context.cast(builder, arguments[2], value, pointer.dtype)
        data = context.data_model_manager[pointer.dtype].as_data(builder, converted)
        written = builder.store(data, address)
        written.set_metadata("noalias", _scopes(builder.module, "inputs"))
        return context.get_dummy_value()

    return signature, generate


def _scratch_function(element: Any, name: str) -> Any:
    def scratch(typing_context, count):
        if not isinstance(count, types.IntegerLiteral):
            return None
        # the literal stays in the signature: numba shares what it generates between equal
        # signatures
        signature = types.CPointer(element)(count)

        def generate(context, builder, signature, arguments):
            data = context.get_data_type(element)
            with builder.goto_entry_block():
                block = builder.alloca(ir.ArrayType(data, count.literal_value))
                block.align = 64
            return builder.bitcast(block, data.as_pointer())

        return signature, generate

    scratch.__name__ = f"scratch_{name}"
    return intrinsic(prefer_literal=True)(scratch)


SCRATCHES = {f"scratch_{name}": _scratch_function(element, name) for name, element in TYPES.items()}


@intrinsic
def select(typing_context, condition, yes, no):
    """`yes if condition else no`, both computed: never a branch."""
    unified = typing_context.unify_types(yes, no)
    signature = unified(types.boolean, unified, unified)

    def generate(context, builder, signature, arguments):
        return builder.select(*arguments)

    return signature, generate


@intrinsic
def bits(typing_context, value):
    """The integer with the bits of a float."""
    integer = _INTEGER_OF[value]

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(integer))

    return integer(value), generate


@intrinsic
def from_bits(typing_context, value):
    """The float with the bits of an integer."""
    floating = _FLOAT_OF[value]

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(floating))

    return floating(value), generate


@intrinsic
def polynomial(typing_context, x, coefficients):
    """Horner's scheme, coefficients from the constant term upwards."""
    signature = x(x, coefficients)

    def generate(context, builder, signature, arguments):
        point, values = arguments
        llvm_type = context.get_value_type(x)
        terms = [
            context.cast(builder, builder.extract_value(values, k), coefficients.dtype, x)
            for k in range(coefficients.count)
        ]
        result = terms.pop()
        assert llvm_type == result.type
        while terms:
            product = builder.fmul(result, point, flags=("contract",))
            result = builder.fadd(product, terms.pop(), flags=("contract",))
        return result

    return signature, generate


def _loose(float_instruction: str, integer_instruction: str, name: str, flags: Any = _LOOSE) -> Any:
    def accumulate(typing_context, total, value):
        def generate(context, builder, signature, arguments):
            if isinstance(total, types.Float):
                return getattr(builder, float_instruction)(*arguments, flags=flags)
            return getattr(builder, integer_instruction)(*arguments)

        return total(total, total), generate

    accumulate.__name__ = name
    return intrinsic(accumulate)


add_up = _loose("fadd", "add", "add_up")
multiply_up = _loose("fmul", "mul", "multiply_up")
add_in_order = _loose("fadd", "add", "add_in_order", ())


def _call(builder, name, llvm_type, arguments):
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(llvm_type, [llvm_type] * len(arguments)),
        f"llvm.{name}.{llvm_type.intrinsic_name}",
    )
    return builder.call(function, arguments)


def _extremum(float_name: str, signed: str, unsigned: str, name: str) -> Any:
    def extremum(typing_context, left, right):
        unified = typing_context.unify_types(left, right)
        signature = unified(unified, unified)

        def generate(context, builder, signature, arguments):
            llvm_type = arguments[0].type
            if isinstance(unified, types.Float):
                intrinsic_name = float_name
            elif unified is types.boolean or not unified.signed:
                intrinsic_name = unsigned
            else:
                intrinsic_name = signed
            return _call(builder, intrinsic_name, llvm_type, arguments)

        return signature, generate

    extremum.__name__ = name
    return intrinsic(extremum)


maximum = _extremum("maximum", "smax", "umax", "maximum")
minimum = _extremum("minimum", "smin", "umin", "minimum")


def _float_function(intrinsic_name: str, count: int, name: str) -> Any:
    """An LLVM intrinsic of floats that is one instruction on every CPU we run on."""

    def generate(context, builder, signature, arguments):
        return _call(builder, intrinsic_name, arguments[0].type, arguments)

    if count == 1:

        def function(typing_context, x):
            return x(x), generate
    else:

        def function(typing_context, x, y):  # type: ignore[misc]
            return x(x, x), generate

    function.__name__ = name
    return intrinsic(function)


FLOATS = {
    name: _float_function(intrinsic_name, count, name)
    for name, intrinsic_name, count in (
        ("square_root", "sqrt", 1), ("absolute", "fabs", 1), ("round_down", "floor", 1),
        ("round_up", "ceil", 1), ("round_to_zero", "trunc", 1), ("round_even", "rint", 1),
        ("with_sign", "copysign", 2),
    )
}
square_root, absolute = FLOATS["square_root"], FLOATS["absolute"]
round_down, round_even, with_sign = FLOATS["round_down"], FLOATS["round_even"], FLOATS["with_sign"]
round_up, round_to_zero = FLOATS["round_up"], FLOATS["round_to_zero"]


def _convert_function(target: Any, name: str) -> Any:
    def convert(typing_context, value):
        def generate(context, builder, signature, arguments):
            number = arguments[0]
            goal = context.get_value_type(target)
            if value == target:
                return number
            if target is types.boolean:
                zero = ir.Constant(number.type, 0)
                if isinstance(value, types.Float):
                    return builder.fcmp_unordered("!=", number, zero)
                return builder.icmp_unsigned("!=", number, zero)
            if isinstance(value, types.Float) and isinstance(target, types.Integer):
                # through 64 bits, like C on x86: a negative number wraps around in an unsigned type
                wide = builder.fptosi(number, ir.IntType(64 if target.bitwidth > 32 else 32))
                return wide if wide.type == goal else builder.trunc(wide, goal) \
                    if goal.width < wide.type.width else builder.zext(wide, goal)
            return context.cast(builder, number, value, target)

        return target(value), generate

    convert.__name__ = f"to_{name}"
    return intrinsic(convert)


CONVERSIONS = {f"to_{name}": _convert_function(target, name) for name, target in TYPES.items()}


@intrinsic
def multiply_high(typing_context, left, right):
    """The high 32 bits of the product of two uint32."""

    def generate(context, builder, signature, arguments):
        wide = [builder.zext(argument, ir.IntType(64)) for argument in arguments]
        product = builder.lshr(builder.mul(*wide), ir.Constant(ir.IntType(64), 32))
        return builder.trunc(product, ir.IntType(32))

    return types.uint32(types.uint32, types.uint32), generate


def _half(builder, number, narrow):
    return builder.bitcast(builder.fptrunc(number, narrow), ir.IntType(16))


@intrinsic
def from_float16(typing_context, value):
    """float32 of the 16 bits of a half."""

    def generate(context, builder, signature, arguments):
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def to_float16(typing_context, value):
    """The 16 bits of the half nearest to a float32."""

    def generate(context, builder, signature, arguments):
        return _half(builder, arguments[0], ir.HalfType())

    return types.uint16(types.float32), generate


@intrinsic
def from_bfloat16(typing_context, value):
    """float32 of the 16 bits of a bfloat16."""

    def generate(context, builder, signature, arguments):
        wide = builder.zext(arguments[0], ir.IntType(32))
        shifted = builder.shl(wide, ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(shifted, ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def to_bfloat16(typing_context, value):
    """The 16 bits of the bfloat16 nearest to a float32, ties to even, NaN kept."""

    def generate(context, builder, signature, arguments):
        integer = ir.IntType(32)
        raw = builder.bitcast(arguments[0], integer)
        odd = builder.and_(builder.lshr(raw, ir.Constant(integer, 16)), ir.Constant(integer, 1))
        rounded = builder.add(builder.add(raw, ir.Constant(integer, 0x7FFF)), odd)
        is_nan = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        quiet = builder.or_(raw, ir.Constant(integer, 0x400000))
        kept = builder.select(is_nan, quiet, rounded)
        return builder.trunc(builder.lshr(kept, ir.Constant(integer, 16)), ir.IntType(16))

    return types.uint16(types.float32), generate


NAMES: dict[str, Any] = {
    **POINTERS, **SCRATCHES, **FLOATS, **CONVERSIONS, "load": load, "load_again": load_again,
    "store": store, "select": select, "bits": bits, "from_bits": from_bits, "add_up": add_up,
    "multiply_up": multiply_up, "add_in_order": add_in_order, "maximum": maximum, "minimum": minimum,
    "multiply_high": multiply_high, "from_float16": from_float16, "to_float16": to_float16,
    "from_bfloat16": from_bfloat16, "to_bfloat16": to_bfloat16,
}
