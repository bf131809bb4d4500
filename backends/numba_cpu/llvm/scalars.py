"""Kernel primitives as LLVM instructions, lane by lane, with the meaning that NumPy gives them.

No instruction carries a fast-math flag, integer arithmetic wraps, and a product and a sum fuse only
in the primitive `fma`. Nothing traps: lanes that are not active may hold any value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llvmlite import ir

from irgrad.backends.common.formulas.table import FUNCTIONS
from irgrad.backends.numba_cpu.llvm.scalar_division import (
    float_floor_divide,
    float_remainder,
    integer_floor_divide,
    integer_remainder,
)
from irgrad.backends.numba_cpu.llvm.vector_math import math_function
from irgrad.backends.numba_cpu.llvm.vectors import (
    any_lane,
    call_lanes,
    constant,
    intrinsic,
    suffix,
    value_type,
)
from irgrad.errors import LoweringError
from irgrad.ir.types import DTYPES

MATH_NAMES: Mapping[str, str] = MappingProxyType({"power": "pow"})
INTRINSICS: Mapping[str, str] = MappingProxyType(
    {
        "sqrt": "llvm.sqrt",
        "floor": "llvm.floor",
        "ceil": "llvm.ceil",
        "round": "llvm.roundeven",
        "trunc": "llvm.trunc",
        "fma": "llvm.fma",
    }
)


@dataclass(frozen=True, slots=True)
class Site:
    """What an emitter of a primitive sees: dtype of the operands and of the result, lane count."""

    builder: ir.IRBuilder
    operand_dtype: str
    dtype: str
    lanes: int

    @property
    def kind(self) -> str:
        """The kind of the operands' dtype."""
        return DTYPES[self.operand_dtype].kind

    def number(self, value: bool | int | float) -> ir.Constant:
        """A number of the operands' dtype in every lane."""
        return constant(self.operand_dtype, value, self.lanes)


def emit_primitive(
    builder: ir.IRBuilder,
    op: str,
    operands: list[ir.Value],
    operand_dtype: str,
    dtype: str,
    lanes: int,
) -> ir.Value:
    """The result of a primitive; `operand_dtype` is that of the last operand.

    Raises LoweringError for a primitive that the dtype does not have.
    """
    site = Site(builder, operand_dtype, dtype, lanes)
    if site.kind == "f":
        name = MATH_NAMES.get(op, op)
        if op in INTRINSICS:
            return _float_intrinsic(site, INTRINSICS[op], operands)
        if name in FUNCTIONS:
            return _math(site, name, operands)
    emitter = PRIMITIVES.get(op)
    if emitter is None:
        raise LoweringError(f"cpu kernel: expected a primitive of {operand_dtype}, got {op}")
    return emitter(site, *operands)


def combine(
    builder: ir.IRBuilder, kind: str, dtype: str, lanes: int, a: ir.Value, b: ir.Value
) -> ir.Value:
    """The combination of two values by a reduction that is not a position."""
    op = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}.get(kind)
    op = op or {"any": "or", "all": "and"}[kind]
    return emit_primitive(builder, op, [a, b], dtype, dtype, lanes)


def neutral(kind: str, dtype: str, lanes: int) -> ir.Constant:
    """The value whose combination with any x is x, bit for bit."""
    type_ = DTYPES[dtype]
    if kind == "sum":
        return constant(dtype, -0.0 if type_.is_float else 0, lanes)
    if kind == "prod":
        return constant(dtype, 1, lanes)
    if kind in ("any", "all"):
        return constant(dtype, kind == "all", lanes)
    largest = kind in ("min", "argmin")
    if type_.is_float:
        return constant(dtype, float("inf") if largest else float("-inf"), lanes)
    bits = 8 * type_.itemsize
    if type_.kind != "i":
        bits = 1 if type_.kind == "b" else bits
        return constant(dtype, (1 << bits) - 1 if largest else 0, lanes)
    return constant(dtype, (1 << (bits - 1)) - 1 if largest else -(1 << (bits - 1)), lanes)


# -- floats ----------------------------------------------------------------------------------------


def _float_intrinsic(site: Site, name: str, operands: list[ir.Value]) -> ir.Value:
    kind = operands[0].type
    return intrinsic(site.builder, f"{name}.{suffix(kind)}", kind, operands)


def _math(site: Site, name: str, operands: list[ir.Value]) -> ir.Value:
    function = math_function(site.builder.module, name, site.operand_dtype, site.lanes)
    return call_lanes(site.builder, function, operands)


# -- arithmetic ------------------------------------------------------------------------------------


def _arithmetic(integer: str, real: str, boolean: str = "") -> Callable[..., ir.Value]:
    def emit(site: Site, a: ir.Value, b: ir.Value) -> ir.Value:
        method = {"f": real, "b": boolean}.get(site.kind, integer)
        if not method:
            raise LoweringError(f"cpu kernel: expected numbers, got {site.operand_dtype}")
        return getattr(site.builder, method)(a, b)

    return emit


def _neg(site: Site, x: ir.Value) -> ir.Value:
    return site.builder.fneg(x) if site.kind == "f" else site.builder.neg(x)


def _abs(site: Site, x: ir.Value) -> ir.Value:
    if site.kind == "f":
        return _float_intrinsic(site, "llvm.fabs", [x])
    if site.kind != "i":
        return x
    negative = site.builder.icmp_signed("<", x, site.number(0))
    return site.builder.select(negative, site.builder.neg(x), x)


def _sign(site: Site, x: ir.Value) -> ir.Value:
    builder, zero = site.builder, site.number(0)
    positive = _compare(">")(site, x, zero)
    negative = _compare("<")(site, x, zero)
    result = builder.select(negative, site.number(-1), zero)
    result = builder.select(positive, site.number(1), result)
    return builder.select(_isnan(site, x), x, result) if site.kind == "f" else result


def _extremum(first_wins: str, boolean: str) -> Callable[..., ir.Value]:
    """`a` where it wins or equals, NaN where either is NaN."""

    def emit(site: Site, a: ir.Value, b: ir.Value) -> ir.Value:
        builder = site.builder
        if site.kind == "b":
            return getattr(builder, boolean)(a, b)
        if site.kind != "f":
            return builder.select(_compare(first_wins)(site, a, b), a, b)
        # One min or max instruction gives `a` where the operands are equal or either is NaN.
        result = builder.select(builder.fcmp_ordered(first_wins, b, a), b, a)
        return builder.select(_isnan(site, b), b, result)

    return emit


def _integer_power(site: Site, x: ir.Value, y: ir.Value) -> ir.Value:
    """Powers of integers by repeated squaring, in one function of the module for each type."""
    module = site.builder.module
    symbol = f"irg_power_v{site.lanes}{site.operand_dtype}"
    function = module.globals.get(symbol)
    if function is None:
        function = ir.Function(module, ir.FunctionType(x.type, [x.type, x.type]), symbol)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        _power_body(Site(builder, site.operand_dtype, site.dtype, site.lanes), *function.args)
    return site.builder.call(function, [x, y])


def _power_body(site: Site, x: ir.Value, y: ir.Value) -> None:
    """A negative exponent gives 1/x truncated: 1 and -1 by parity, else 0."""
    builder, one, zero = site.builder, site.number(1), site.number(0)
    before = builder.block
    loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
    negative = _compare("<")(site, y, zero)
    start = builder.select(negative, zero, y)
    builder.branch(loop)
    builder.position_at_end(loop)
    left, base, result = (builder.phi(x.type) for _ in range(3))
    odd = builder.icmp_unsigned("!=", builder.and_(left, one), zero)
    product = builder.select(odd, builder.mul(result, base), result)
    rest, square = builder.lshr(left, one), builder.mul(base, base)
    for phi, first, following in ((left, start, rest), (base, x, square), (result, one, product)):
        phi.add_incoming(first, before)
        phi.add_incoming(following, loop)
    builder.cbranch(any_lane(builder, builder.icmp_unsigned("!=", rest, zero)), loop, done)
    builder.position_at_end(done)
    minus = site.number(-1)
    even = builder.icmp_unsigned("==", builder.and_(y, one), zero)
    alternating = builder.select(even, one, minus)
    inverse = builder.select(builder.icmp_unsigned("==", x, minus), alternating, zero)
    inverse = builder.select(builder.icmp_unsigned("==", x, one), one, inverse)
    builder.ret(builder.select(negative, inverse, product))


def _floor_divide(site: Site, a: ir.Value, b: ir.Value) -> ir.Value:
    function = float_floor_divide if site.kind == "f" else integer_floor_divide
    return function(site.builder, site.operand_dtype, site.lanes, a, b)


def _remainder(site: Site, a: ir.Value, b: ir.Value) -> ir.Value:
    function = float_remainder if site.kind == "f" else integer_remainder
    return function(site.builder, site.operand_dtype, site.lanes, a, b)


# -- truth values ----------------------------------------------------------------------------------


def _compare(relation: str) -> Callable[..., ir.Value]:
    def emit(site: Site, a: ir.Value, b: ir.Value) -> ir.Value:
        builder = site.builder
        if site.kind == "f":
            ordered = relation != "!="
            method = builder.fcmp_ordered if ordered else builder.fcmp_unordered
        else:
            method = builder.icmp_signed if site.kind == "i" else builder.icmp_unsigned
        return method(relation, a, b)

    return emit


def _isnan(site: Site, x: ir.Value) -> ir.Value:
    if site.kind != "f":
        return constant("bool", False, site.lanes)
    return site.builder.fcmp_unordered("uno", x, x)


def _bits(method: str) -> Callable[..., ir.Value]:
    return lambda site, a, b: getattr(site.builder, method)(a, b)


def _shift(method: str) -> Callable[..., ir.Value]:
    """The bits moved by a count modulo the width, zeros coming in."""

    def emit(site: Site, x: ir.Value, count: ir.Value) -> ir.Value:
        last = site.number(8 * DTYPES[site.operand_dtype].itemsize - 1)
        return getattr(site.builder, method)(x, site.builder.and_(count, last))

    return emit


def _select(site: Site, condition: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
    return site.builder.select(condition, a, b)


# -- conversion ------------------------------------------------------------------------------------


def _cast(site: Site, x: ir.Value) -> ir.Value:
    builder, source, target = site.builder, DTYPES[site.operand_dtype], DTYPES[site.dtype]
    if source is target:
        return x
    kind = value_type(site.dtype, site.lanes)
    if target.kind == "b":
        return _compare("!=")(site, x, site.number(0))
    if source.is_float and target.is_float:
        return (builder.fpext if target.itemsize > source.itemsize else builder.fptrunc)(x, kind)
    if source.is_float:
        method = "llvm.fptosi.sat" if target.kind == "i" else "llvm.fptoui.sat"
        return intrinsic(builder, f"{method}.{suffix(kind)}.{suffix(x.type)}", kind, [x])
    signed = source.kind == "i"
    if target.is_float:
        return (builder.sitofp if signed else builder.uitofp)(x, kind)
    if source.kind != "b" and target.itemsize < source.itemsize:
        return builder.trunc(x, kind)
    if source.kind != "b" and target.itemsize == source.itemsize:
        return x
    return (builder.sext if signed else builder.zext)(x, kind)


def _bitcast(site: Site, x: ir.Value) -> ir.Value:
    kind = value_type(site.dtype, site.lanes)
    return x if x.type == kind else site.builder.bitcast(x, kind)


PRIMITIVES: Mapping[str, Callable[..., ir.Value]] = MappingProxyType(
    {
        "neg": _neg,
        "add": _arithmetic("add", "fadd", "or_"),
        "sub": _arithmetic("sub", "fsub"),
        "mul": _arithmetic("mul", "fmul", "and_"),
        "div": _arithmetic("", "fdiv"),
        "floor_divide": _floor_divide,
        "remainder": _remainder,
        "power": _integer_power,
        "abs": _abs,
        "sign": _sign,
        "maximum": _extremum(">", "or_"),
        "minimum": _extremum("<", "and_"),
        "fma": lambda site, a, b, c: site.builder.add(site.builder.mul(a, b), c),
        "eq": _compare("=="),
        "ne": _compare("!="),
        "lt": _compare("<"),
        "le": _compare("<="),
        "gt": _compare(">"),
        "ge": _compare(">="),
        "and": _bits("and_"),
        "or": _bits("or_"),
        "xor": _bits("xor"),
        "not": lambda site, x: site.builder.not_(x),
        "shl": _shift("shl"),
        "shr": _shift("lshr"),
        "select": _select,
        "cast": _cast,
        "bitcast": _bitcast,
        "isnan": _isnan,
    }
)
