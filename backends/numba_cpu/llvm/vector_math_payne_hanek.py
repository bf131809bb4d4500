"""The remainder of huge arguments by pi/2 (Payne and Hanek 1983), one lane at a time.

x = w * 2**k with an integer w of 53 bits. Of 2/pi only 192 bits matter: those above give multiples
of 4, those below next to nothing. The integer product of w and these bits holds the quadrant in its
two top bits and the fraction below them, so nothing cancels; the fraction becomes two floats.
"""

from __future__ import annotations

from itertools import pairwise

import llvmlite.ir as ir

from irgrad.backends.common.formulas.lanes import Format
from irgrad.backends.common.formulas.two_over_pi import PI_2, TWO_OVER_PI_WORDS

I64, I128, F64 = ir.IntType(64), ir.IntType(128), ir.DoubleType()
REMAINDER = ir.LiteralStructType([I64, F64, F64])
PI_2_HIGH, PI_2_LOW = PI_2


def vector_remainder(
    module: ir.Module, fmt: Format, float_type: ir.VectorType, int_type: ir.VectorType
) -> ir.Function:
    """The function {quadrant, r, low}(x) over vectors of a format, made once a module.

    x = quadrant * pi/2 + r + low modulo 2*pi, for 2 <= |x| < inf. A loop over the lanes; not
    inlined, since it is rarely called.
    """
    symbol = f"irg_pi_2_remainder_v{float_type.count}{fmt.name}"
    if symbol in module.globals:
        return module.globals[symbol]
    scalar = _scalar_remainder(module)
    types = [int_type, float_type, float_type]
    signature = ir.FunctionType(ir.LiteralStructType(types), [float_type])
    function = _internal(module, signature, symbol)
    entry, loop, done = (function.append_basic_block(n) for n in ("entry", "loop", "done"))
    b = ir.IRBuilder(entry)
    b.branch(loop)
    b.position_at_end(loop)
    lane = b.phi(I64)
    lane.add_incoming(I64(0), entry)
    parts = [b.phi(t) for t in types]
    x = b.extract_element(function.args[0], lane)
    result = b.call(scalar, [x if fmt.name == "f64" else b.fpext(x, F64)])
    values = [b.extract_value(result, i) for i in range(3)]
    if fmt.name == "f32":
        values = _narrow(b, values[0], values[1])
    for part, value in zip(parts, values, strict=True):
        part.add_incoming(ir.Constant(part.type, None), entry)
        part.add_incoming(b.insert_element(part, value, lane), loop)
    following = b.add(lane, I64(1))
    lane.add_incoming(following, loop)
    b.cbranch(b.icmp_unsigned("<", following, I64(float_type.count)), loop, done)
    b.position_at_end(done)
    whole = ir.Constant(function.return_value.type, ir.Undefined)
    for i, part in enumerate(parts):
        whole = b.insert_value(whole, part.incomings[1][0], i)
    b.ret(whole)
    return function


def _narrow(b: ir.IRBuilder, quadrant: ir.Value, r: ir.Value) -> list[ir.Value]:
    """The remainder for f32: r as two floats."""
    f32 = ir.FloatType()
    high = b.fptrunc(r, f32)
    low = b.fptrunc(b.fsub(r, b.fpext(high, F64)), f32)
    return [b.trunc(quadrant, ir.IntType(32)), high, low]


def _scalar_remainder(module: ir.Module) -> ir.Function:
    """The function {quadrant, r, low}(double x) for 2 <= |x| < inf."""
    symbol = "irg_pi_2_remainder"
    if symbol in module.globals:
        return module.globals[symbol]
    function = _internal(module, ir.FunctionType(REMAINDER, [F64]), symbol)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    bits = b.bitcast(function.args[0], I64)
    fraction = b.or_(b.and_(bits, I64((1 << 52) - 1)), I64(1 << 52))
    # x = fraction * 2**(exponent - 1075); the window starts two bits above the point.
    exponent = b.and_(b.lshr(bits, I64(52)), I64(0x7FF))
    start = b.add(exponent, I64(64 - 2 - 1075))
    high, low = _fixed_point(b, fraction, _window(b, module, start))
    quadrant = b.lshr(b.add(high, I64(1 << 61)), I64(62))
    r, rest = _to_floats(b, b.or_(b.shl(high, I64(2)), b.lshr(low, I64(62))), b.shl(low, I64(2)))
    negative = b.icmp_signed("<", bits, I64(0))
    quadrant = b.select(negative, b.neg(quadrant), quadrant)
    r, rest = b.select(negative, b.fneg(r), r), b.select(negative, b.fneg(rest), rest)
    result = ir.Constant(REMAINDER, ir.Undefined)
    for i, part in enumerate((quadrant, r, rest)):
        result = b.insert_value(result, part, i)
    b.ret(result)
    return function


def _window(b: ir.IRBuilder, module: ir.Module, start: ir.Value) -> list[ir.Value]:
    """192 bits of 2/pi from bit `start`, as three words."""
    table = _table(module)
    index = b.lshr(start, I64(6))
    shift = b.and_(start, I64(63))
    inverse = b.xor(shift, I64(63))
    words = [b.load(b.gep(table, [I64(0), b.add(index, I64(i))]), typ=I64) for i in range(4)]
    # A shift by 64 - shift would be undefined at 0: one step, then 63 - shift.
    return [b.or_(b.shl(a, shift), b.lshr(b.lshr(c, I64(1)), inverse)) for a, c in pairwise(words)]


def _fixed_point(
    b: ir.IRBuilder, fraction: ir.Value, window: list[ir.Value]
) -> tuple[ir.Value, ir.Value]:
    """The top 128 of the 192 low bits of fraction * window, as two words."""
    wide = b.zext(fraction, I128)
    total = b.shl(b.zext(b.mul(fraction, window[0]), I128), I128(64))
    total = b.add(total, b.mul(wide, b.zext(window[1], I128)))
    total = b.add(total, b.lshr(b.mul(wide, b.zext(window[2], I128)), I128(64)))
    return b.trunc(b.lshr(total, I128(64)), I64), b.trunc(total, I64)


def _to_floats(b: ir.IRBuilder, high: ir.Value, low: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(r, rest): the signed fraction high:low / 2**128 times pi/2, in two floats."""

    def scaled(word: ir.Value, power: int) -> ir.Value:
        return b.fmul(b.sitofp(word, F64), F64(2.0**power))

    middle = b.or_(b.shl(b.and_(high, I64(0x7FF)), I64(42)), b.lshr(low, I64(22)))
    first = scaled(b.and_(high, I64(~0x7FF)), -64)
    second = scaled(middle, -106)
    third = scaled(b.and_(low, I64((1 << 22) - 1)), -128)
    total = b.fadd(first, second)
    lost = b.fadd(b.fsub(second, b.fsub(total, first)), third)
    fma = _scalar_fma(b.module)
    product = b.fmul(total, F64(PI_2_HIGH))
    error = b.call(fma, [total, F64(PI_2_HIGH), b.fneg(product)])
    error = b.call(fma, [total, F64(PI_2_LOW), error])
    error = b.call(fma, [lost, F64(PI_2_HIGH), error])
    r = b.fadd(product, error)
    return r, b.fsub(error, b.fsub(r, product))


def _scalar_fma(module: ir.Module) -> ir.Function:
    existing = module.globals.get("llvm.fma.f64")
    return existing or ir.Function(module, ir.FunctionType(F64, [F64] * 3), "llvm.fma.f64")


def _table(module: ir.Module) -> ir.GlobalVariable:
    """The words of 2/pi as a constant of the module."""
    symbol = "irg_two_over_pi"
    if symbol in module.globals:
        return module.globals[symbol]
    typ = ir.ArrayType(I64, len(TWO_OVER_PI_WORDS))
    table = ir.GlobalVariable(module, typ, symbol)
    table.linkage = "internal"
    table.global_constant = True
    table.initializer = ir.Constant(typ, list(TWO_OVER_PI_WORDS))
    return table


def _internal(module: ir.Module, signature: ir.FunctionType, symbol: str) -> ir.Function:
    function = ir.Function(module, signature, symbol)
    function.linkage = "internal"
    # Rarely called: not worth the time to optimise it.
    function.attributes.add("noinline")
    function.attributes.add("optnone")
    function.attributes.add("nounwind")
    return function
