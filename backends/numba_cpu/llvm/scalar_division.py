"""Division with a floor, and its remainder, as NumPy has them; the remainder has the divisor's sign.

An integer divisor of 0 gives 0, and the smallest integer divided by -1 wraps around. Of floats, the
quotient comes from the exact remainder, as in NumPy and Python.
"""

from __future__ import annotations

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.vectors import constant, intrinsic, suffix
from irgrad.ir.types import DTYPES


def integer_floor_divide(
    builder: ir.IRBuilder, dtype: str, lanes: int, a: ir.Value, b: ir.Value
) -> ir.Value:
    """floor(a / b)."""
    zero = constant(dtype, 0, lanes)
    safe = _safe_divisor(builder, dtype, lanes, b)
    if DTYPES[dtype].kind == "i":
        quotient = builder.sdiv(a, safe)
        rest = builder.sub(a, builder.mul(quotient, safe))
        down = builder.sub(quotient, constant(dtype, 1, lanes))
        quotient = builder.select(_signs_differ(builder, rest, safe, zero), down, quotient)
        minus_one = builder.icmp_unsigned("==", b, constant(dtype, -1, lanes))
        quotient = builder.select(minus_one, builder.neg(a), quotient)
    else:
        quotient = builder.udiv(a, safe)
    return builder.select(builder.icmp_unsigned("==", b, zero), zero, quotient)


def integer_remainder(
    builder: ir.IRBuilder, dtype: str, lanes: int, a: ir.Value, b: ir.Value
) -> ir.Value:
    """a - b * floor(a / b)."""
    zero = constant(dtype, 0, lanes)
    safe = _safe_divisor(builder, dtype, lanes, b)
    if DTYPES[dtype].kind == "i":
        rest = builder.srem(a, safe)
        up = builder.add(rest, safe)
        rest = builder.select(_signs_differ(builder, rest, safe, zero), up, rest)
    else:
        rest = builder.urem(a, safe)
    return builder.select(builder.icmp_unsigned("==", b, zero), zero, rest)


def _safe_divisor(builder: ir.IRBuilder, dtype: str, lanes: int, b: ir.Value) -> ir.Value:
    """The divisor, 1 where it is 0 or -1: those two may trap and are treated apart."""
    one, zero = constant(dtype, 1, lanes), constant(dtype, 0, lanes)
    unsafe = builder.icmp_unsigned("==", b, zero)
    if DTYPES[dtype].kind == "i":
        minus_one = builder.icmp_unsigned("==", b, constant(dtype, -1, lanes))
        unsafe = builder.or_(unsafe, minus_one)
    return builder.select(unsafe, one, b)


def _signs_differ(
    builder: ir.IRBuilder, rest: ir.Value, divisor: ir.Value, zero: ir.Value
) -> ir.Value:
    """Whether a remainder is not 0 and has another sign than the divisor."""
    other = builder.icmp_signed("<", builder.xor(rest, divisor), zero)
    return builder.and_(builder.icmp_unsigned("!=", rest, zero), other)


def float_remainder(
    builder: ir.IRBuilder, dtype: str, lanes: int, a: ir.Value, b: ir.Value
) -> ir.Value:
    """fmod moved to the divisor's sign; NaN for a divisor of 0, and a zero has the divisor's sign."""
    rest = builder.frem(a, b)
    moved, _ = _move_to_divisor(builder, dtype, lanes, rest, b)
    return moved


def float_floor_divide(
    builder: ir.IRBuilder, dtype: str, lanes: int, a: ir.Value, b: ir.Value
) -> ir.Value:
    """(a - remainder) / b, rounded to the nearest integer; a / b for a divisor of 0."""
    zero, one = constant(dtype, 0, lanes), constant(dtype, 1, lanes)
    rest = builder.frem(a, b)
    plain = builder.fdiv(a, b)
    _, moves = _move_to_divisor(builder, dtype, lanes, rest, b)
    quotient = builder.fdiv(builder.fsub(a, rest), b)
    quotient = builder.select(moves, builder.fsub(quotient, one), quotient)
    floor = _call(builder, "llvm.floor", quotient)
    half = constant(dtype, 0.5, lanes)
    above = builder.fcmp_ordered(">", builder.fsub(quotient, floor), half)
    floor = builder.select(above, builder.fadd(floor, one), floor)
    signed_zero = _call(builder, "llvm.copysign", zero, plain)
    is_zero = builder.fcmp_ordered("==", quotient, zero)
    result = builder.select(is_zero, signed_zero, floor)
    return builder.select(builder.fcmp_ordered("==", b, zero), plain, result)


def _move_to_divisor(
    builder: ir.IRBuilder, dtype: str, lanes: int, rest: ir.Value, b: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """(remainder with the divisor's sign, where it was moved)."""
    zero = constant(dtype, 0, lanes)
    negative_rest = builder.fcmp_ordered("<", rest, zero)
    negative_divisor = builder.fcmp_ordered("<", b, zero)
    nonzero = builder.fcmp_unordered("!=", rest, zero)
    moves = builder.and_(nonzero, builder.xor(negative_rest, negative_divisor))
    moved = builder.select(moves, builder.fadd(rest, b), rest)
    signed_zero = _call(builder, "llvm.copysign", zero, b)
    return builder.select(nonzero, moved, signed_zero), moves


def _call(builder: ir.IRBuilder, name: str, *operands: ir.Value) -> ir.Value:
    kind = operands[-1].type
    return intrinsic(builder, f"{name}.{suffix(kind)}", kind, operands)
