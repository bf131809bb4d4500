"""Division with a floor and its remainder, as NumPy has them.

An integer divisor of 0 gives 0, and the smallest integer divided by -1 wraps around. Of floats, the
quotient comes from the exact remainder, as in NumPy and Python.
"""

from __future__ import annotations

import math

from llvmlite import ir

from irgrad.backends.common.formulas.lanes import FORMATS
from irgrad.backends.numba_cpu.llvm.vector_math_builder import Lanes, Vec
from irgrad.backends.numba_cpu.llvm.vectors import (
    call_lanes,
    constant,
    intrinsic,
    suffix,
    value_type,
)
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
    """a - b * floor(a / b), exact; NaN for a divisor of 0, and a zero has the divisor's sign."""
    rest = _truncated_remainder(builder, dtype, lanes, a, b)
    moved, _ = _move_to_divisor(builder, dtype, lanes, rest, b)
    return moved


def float_floor_divide(
    builder: ir.IRBuilder, dtype: str, lanes: int, a: ir.Value, b: ir.Value
) -> ir.Value:
    """(a - remainder) / b, rounded to the nearest integer; a / b for a divisor of 0."""
    zero, one = constant(dtype, 0, lanes), constant(dtype, 1, lanes)
    rest = _truncated_remainder(builder, dtype, lanes, a, b)
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


def _truncated_remainder(
    builder: ir.IRBuilder, dtype: str, lanes: int, a: ir.Value, b: ir.Value
) -> ir.Value:
    """The exact remainder with the sign of `a` (C's fmod), by one function of the module."""
    module = builder.module
    symbol = f"irg_fmod_v{lanes}{dtype}"
    function = module.globals.get(symbol)
    if function is None:
        kind = ir.VectorType(value_type(dtype, 1), lanes)
        function = ir.Function(module, ir.FunctionType(kind, [kind, kind]), symbol)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        m = Lanes(module, inner, FORMATS[dtype], lanes)
        inner.ret(_fmod(m, *(Vec(m, x) for x in function.args)).value)
    return call_lanes(builder, function, [a, b])


def _fmod(m: Lanes, a: Vec, b: Vec) -> Vec:
    """Long division in steps of as many bits as a quotient is exact in.

    x and y are |a| and |b|. A step takes y times the power of two that makes the quotient fit; both
    are scaled up once x is below 1, so that this multiple is a normal number.
    """
    builder = m.builder
    divides = m.abs(b) > 0.0
    starts = m.abs(a), m.select(divides, m.abs(b), math.nan), m.constant(1.0)
    before = builder.block
    head, step, done = (builder.append_basic_block(n) for n in ("head", "step", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    x, y, scale = (Vec(m, builder.phi(v.value.type)) for v in starts)
    builder.cbranch(m.any(x >= y), step, done)
    builder.position_at_end(step)
    following = _division_step(m, x, y, scale)
    builder.branch(head)
    for phi, start, value in zip((x, y, scale), starts, following, strict=True):
        phi.value.add_incoming(start.value, before)
        phi.value.add_incoming(value.value, step)
    builder.position_at_end(done)
    rest = m.select(divides, x / scale, math.nan)
    return m.flip_sign(m.abs(rest), m.sign(a))


def _division_step(m: Lanes, x: Vec, y: Vec, scale: Vec) -> tuple[Vec, Vec, Vec]:
    """(x less a multiple of y, y, scale) in the lanes where x >= y."""
    fraction = m.fmt.fraction
    up = 2.0 ** (fraction + 2)
    grows = m.select(x < 1.0, 1.0, 0.0) * m.select(scale < 2.0, 1.0, 0.0) > 0.0
    x, y, scale = (m.select(grows, v * up, v) for v in (x, y, scale))
    tiny = y < m.fmt.smallest_normal
    normal = m.select(tiny, y * up, y)
    exponent = m.bits(normal) >> fraction
    exponent = m.select(tiny, exponent - (fraction + 2), exponent)
    bits = fraction - 2
    top = m.bits(x) >> fraction
    mantissa = m.bits(normal) & ((1 << fraction) - 1)
    multiple = m.real(mantissa | ((top - bits) << fraction))
    divisor = m.select(top - exponent > bits, multiple, y)
    quotient = Vec(m, _call(m.builder, "llvm.trunc", (x / divisor).value))
    rest = m.fma(-quotient, divisor, x)
    rest = m.select(rest < 0.0, rest + divisor, rest)
    return m.select(x >= y, rest, x), y, scale
