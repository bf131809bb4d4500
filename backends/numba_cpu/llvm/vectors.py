"""Types, constants and memory accesses of lane groups over llvmlite.ir.

A value has `lanes` lanes; one lane is a plain scalar. A bool is i1 as a value and one byte in
memory. Masks are vectors of i1; None means that all lanes are active.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from llvmlite import ir

from irgrad.errors import LoweringError
from irgrad.ir.types import DTYPES

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
VOID = ir.VoidType()
POINTER = ir.PointerType()


@cache
def value_type(dtype: str, lanes: int) -> ir.Type:
    """The type of a value; raises LoweringError for a dtype that kernels do not compute with."""
    kind = DTYPES[dtype].kind
    if kind in "iu":
        element: ir.Type = ir.IntType(8 * DTYPES[dtype].itemsize)
    elif dtype in ("bool", "f32", "f64"):
        element = {"bool": I1, "f32": ir.FloatType(), "f64": ir.DoubleType()}[dtype]
    else:
        raise LoweringError(f"cpu kernel: expected bool, an integer, f32 or f64, got {dtype}")
    return vector_of(element, lanes)


@cache
def memory_type(dtype: str, lanes: int) -> ir.Type:
    """The type of a value in memory."""
    return vector_of(I8, lanes) if dtype == "bool" else value_type(dtype, lanes)


@cache
def vector_of(element: ir.Type, lanes: int) -> ir.Type:
    """A vector type, or the element type for one lane."""
    return element if lanes == 1 else ir.VectorType(element, lanes)


@cache
def suffix(kind: ir.Type) -> str:
    """The name of a type within an intrinsic's name, such as v16f32."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{suffix(kind.element)}"
    return kind.intrinsic_name


def constant(dtype: str, value: bool | int | float, lanes: int) -> ir.Constant:
    """A number in every lane; integers wrap around to their dtype."""
    return _constant(dtype, value, math.copysign(1.0, value), lanes)


@cache
def _constant(dtype: str, value: bool | int | float, sign: float, lanes: int) -> ir.Constant:
    """The constant; `sign` tells -0.0 from the 0.0 that equals it."""
    element = value_type(dtype, 1)
    if isinstance(element, ir.IntType):
        value = wrapped(int(value), element.width)
    else:
        value = float(value)
    if lanes == 1:
        return ir.Constant(element, value)
    return splat_constant(element, ir.Constant(element, value).get_reference(), lanes)


def wrapped(value: int, bits: int) -> int:
    """The signed number with the same low bits; for one bit 0 or 1."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if bits > 1 and value >> (bits - 1) else value


def splat_constant(element: ir.Type, text: str, lanes: int) -> ir.Constant:
    """The constant whose lanes are all the constant `text` of type `element`."""
    result = ir.FormattedConstant(element, f"splat ({element} {text})")
    # Built with the element type: llvmlite would take the text of a vector lane by lane.
    result.type = vector_of(element, lanes)
    return result


@cache
def ramp(bits: int, lanes: int, step: int = 1) -> ir.Constant:
    """0, step, 2*step, ... as integers."""
    kind = ir.IntType(bits)
    if lanes == 1:
        return ir.Constant(kind, 0)
    return ir.Constant(ir.VectorType(kind, lanes), [wrapped(i * step, bits) for i in range(lanes)])


@cache
def first_lanes(lanes: int, count: int) -> ir.Constant:
    """A mask of the first `count` lanes."""
    return ir.Constant(ir.VectorType(I1, lanes), [int(i < count) for i in range(lanes)])


@cache
def _shuffle_mask(positions: tuple[int, ...]) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(positions)), list(positions))


@cache
def integer(value: int) -> ir.Constant:
    """An i64 constant."""
    return ir.Constant(I64, value)


def shuffle(builder: ir.IRBuilder, vector: ir.Value, positions: Sequence[int]) -> ir.Value:
    """The lanes at these positions; a scalar for one."""
    if len(positions) == 1:
        return builder.extract_element(vector, ir.Constant(I32, positions[0]))
    return builder.shuffle_vector(vector, vector, _shuffle_mask(tuple(positions)))


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """`scalar` in every lane."""
    if lanes == 1:
        return scalar
    if isinstance(scalar, ir.Constant):
        return splat_constant(scalar.type, scalar.get_reference(), lanes)
    blank = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(blank, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, blank, _shuffle_mask((0,) * lanes))


def reverse(builder: ir.IRBuilder, vector: ir.Value, lanes: int) -> ir.Value:
    """The lanes in reverse order."""
    return shuffle(builder, vector, range(lanes - 1, -1, -1))


def any_lane(builder: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    """Whether any lane of a mask is set."""
    if mask.type == I1:
        return mask
    bits = mask_bits(builder, mask)
    return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))


def mask_bits(builder: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    """A mask as an integer whose lowest bit is lane 0."""
    return builder.bitcast(mask, ir.IntType(mask.type.count))


def intrinsic(
    builder: ir.IRBuilder, name: str, result: ir.Type, arguments: Sequence[ir.Value]
) -> ir.Value:
    """Call an external function or intrinsic, declared at its first use in the module."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        signature = ir.FunctionType(result, [a.type for a in arguments])
        function = ir.Function(module, signature, name)
    return builder.call(function, list(arguments))


def call_lanes(
    builder: ir.IRBuilder, function: ir.Function, operands: Sequence[ir.Value]
) -> ir.Value:
    """Call a function of vectors; scalars go in and come out as vectors of one lane."""
    if isinstance(operands[0].type, ir.VectorType):
        return builder.call(function, list(operands))
    zero = ir.Constant(I32, 0)
    blank = ir.Constant(ir.VectorType(operands[0].type, 1), ir.Undefined)
    vectors = [builder.insert_element(blank, x, zero) for x in operands]
    return builder.extract_element(builder.call(function, vectors), zero)


# -- memory ----------------------------------------------------------------------------------------


def to_memory(builder: ir.IRBuilder, dtype: str, value: ir.Value, lanes: int) -> ir.Value:
    """A value as it lies in memory."""
    return builder.zext(value, memory_type(dtype, lanes)) if dtype == "bool" else value


def from_memory(builder: ir.IRBuilder, dtype: str, value: ir.Value, lanes: int) -> ir.Value:
    """The value of what lies in memory."""
    if dtype != "bool":
        return value
    return builder.icmp_unsigned("!=", value, _zero(memory_type(dtype, lanes)))


@cache
def _zero(kind: ir.Type) -> ir.Constant:
    result = ir.FormattedConstant(I8, "zeroinitializer")
    result.type = kind
    return result if isinstance(kind, ir.VectorType) else ir.Constant(kind, 0)


def element_pointer(
    builder: ir.IRBuilder, dtype: str, pointer: ir.Value, offset: ir.Value | int
) -> ir.Value:
    """`pointer + offset` elements, as an opaque pointer."""
    if isinstance(offset, int):
        if offset == 0 and pointer.type.is_opaque:
            return pointer
        offset = integer(offset)
    result = builder.gep(pointer, [offset], inbounds=True, source_etype=memory_type(dtype, 1))
    result.type = POINTER
    return result


def frozen(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same value; LLVM moves no load that gives it to where it is used."""
    instruction = ir.Instruction(builder.block, value.type, "freeze", [value])
    builder._insert(instruction)
    return instruction


def load_lanes(
    builder: ir.IRBuilder, dtype: str, pointer: ir.Value, lanes: int, mask: ir.Value | None
) -> ir.Value:
    """Adjacent elements; 0 in lanes that are not active."""
    return from_memory(builder, dtype, _load_raw(builder, dtype, pointer, lanes, mask), lanes)


def _load_raw(
    builder: ir.IRBuilder, dtype: str, pointer: ir.Value, lanes: int, mask: ir.Value | None
) -> ir.Value:
    kind = memory_type(dtype, lanes)
    size = DTYPES[dtype].itemsize
    if mask is None:
        return builder.load(pointer, typ=kind, align=size)
    name = f"llvm.masked.load.{suffix(kind)}.p0"
    arguments = [pointer, ir.Constant(I32, size), mask, _zero(kind)]
    return intrinsic(builder, name, kind, arguments)


def store_lanes(
    builder: ir.IRBuilder,
    dtype: str,
    value: ir.Value,
    pointer: ir.Value,
    lanes: int,
    mask: ir.Value | None,
) -> None:
    """Store active lanes to adjacent elements."""
    value = to_memory(builder, dtype, value, lanes)
    size = DTYPES[dtype].itemsize
    if mask is None:
        builder.store(value, pointer, align=size)
        return
    name = f"llvm.masked.store.{suffix(value.type)}.p0"
    intrinsic(builder, name, VOID, [value, pointer, ir.Constant(I32, size), mask])


def _lane_pointers(
    builder: ir.IRBuilder, dtype: str, pointer: ir.Value, lanes: int, stride: int
) -> ir.Value:
    bits = 32 if abs(stride) * lanes * DTYPES[dtype].itemsize < 1 << 31 else 64
    pointers = builder.gep(
        pointer, [ramp(bits, lanes, stride)], inbounds=True, source_etype=memory_type(dtype, 1)
    )
    # llvmlite gives such a gep the type of its base; LLVM takes it as a vector of pointers.
    pointers.type = ir.VectorType(POINTER, lanes)
    return pointers


def load_strided(
    builder: ir.IRBuilder, dtype: str, pointer: ir.Value, lanes: int, stride: int
) -> ir.Value:
    """Elements at a small distance > 1, picked from adjacent ones; reads nothing past the last."""
    kind = memory_type(dtype, lanes)
    elements = [lane * stride for lane in range(lanes)]
    total: ir.Value | None = None
    for k in range(stride):
        at = element_pointer(builder, dtype, pointer, k * lanes)
        reached = elements[-1] + 1 - k * lanes
        mask = None if reached >= lanes else first_lanes(lanes, reached)
        part = _load_raw(builder, dtype, at, lanes, mask)
        if total is None:
            total = part
            continue
        # Lanes of earlier parts are in place, except at first, when they still lie as loaded.
        positions = tuple(
            lanes + x % lanes if x // lanes == k else x % lanes if k == 1 else lane
            for lane, x in enumerate(elements)
        )
        total = builder.shuffle_vector(total, part, _shuffle_mask(positions))
    assert total is not None and total.type == kind
    return from_memory(builder, dtype, total, lanes)


def gather(
    builder: ir.IRBuilder,
    dtype: str,
    pointer: ir.Value,
    lanes: int,
    stride: int,
    mask: ir.Value | None,
) -> ir.Value:
    """Elements at a constant distance; 0 in lanes that are not active."""
    kind = memory_type(dtype, lanes)
    pointers = _lane_pointers(builder, dtype, pointer, lanes, stride)
    active = first_lanes(lanes, lanes) if mask is None else mask
    size = ir.Constant(I32, DTYPES[dtype].itemsize)
    name = f"llvm.masked.gather.{suffix(kind)}.v{lanes}p0"
    value = intrinsic(builder, name, kind, [pointers, size, active, _zero(kind)])
    return from_memory(builder, dtype, value, lanes)


def scatter(
    builder: ir.IRBuilder,
    dtype: str,
    value: ir.Value,
    pointer: ir.Value,
    lanes: int,
    stride: int,
    mask: ir.Value | None,
) -> None:
    """Store active lanes at a constant distance."""
    value = to_memory(builder, dtype, value, lanes)
    pointers = _lane_pointers(builder, dtype, pointer, lanes, stride)
    active = first_lanes(lanes, lanes) if mask is None else mask
    size = ir.Constant(I32, DTYPES[dtype].itemsize)
    name = f"llvm.masked.scatter.{suffix(value.type)}.v{lanes}p0"
    intrinsic(builder, name, VOID, [value, pointers, size, active])
