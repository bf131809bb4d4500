"""What the vector math formulas become in LLVM: values of one lane count with operators.

`Lanes` knows the element format, the lane count and the builder; `Vec` is one vector value. Every
operation works lane by lane and in one fixed order, carries no fast-math flag, and a product and a
sum fuse only where `fma` is called: so the bits of a lane depend neither on the lane count nor on
the other lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import llvmlite.ir as ir

from irgrad.backends.common.formulas.lanes import Format
from irgrad.backends.numba_cpu.llvm.vector_math_payne_hanek import vector_remainder


@dataclass(frozen=True, slots=True)
class Vec:
    """One vector value; Python numbers in an operation become splats of the other's type."""

    lanes: Lanes
    value: ir.Value

    @property
    def is_float(self) -> bool:
        """Whether the lanes are floats (else integers or booleans)."""
        return self.value.type == self.lanes.float_type

    def _apply(self, method: str, other: Vec | float, swap: bool = False) -> Vec:
        a, b = self.value, self.lanes.operand(other, self.value.type)
        if swap:
            a, b = b, a
        return Vec(self.lanes, getattr(self.lanes.builder, method)(a, b))

    def _compare(self, relation: str, other: Vec | float) -> Vec:
        builder = self.lanes.builder
        method = builder.fcmp_ordered if self.is_float else builder.icmp_signed
        b = self.lanes.operand(other, self.value.type)
        return Vec(self.lanes, method(relation, self.value, b))

    def __add__(self, other: Vec | float) -> Vec:
        return self._apply("fadd" if self.is_float else "add", other)

    def __radd__(self, other: float) -> Vec:
        return self._apply("fadd" if self.is_float else "add", other, swap=True)

    def __sub__(self, other: Vec | float) -> Vec:
        return self._apply("fsub" if self.is_float else "sub", other)

    def __rsub__(self, other: float) -> Vec:
        return self._apply("fsub" if self.is_float else "sub", other, swap=True)

    def __mul__(self, other: Vec | float) -> Vec:
        return self._apply("fmul" if self.is_float else "mul", other)

    def __rmul__(self, other: float) -> Vec:
        return self._apply("fmul" if self.is_float else "mul", other, swap=True)

    def __truediv__(self, other: Vec | float) -> Vec:
        return self._apply("fdiv", other)

    def __rtruediv__(self, other: float) -> Vec:
        return self._apply("fdiv", other, swap=True)

    def __neg__(self) -> Vec:
        return Vec(self.lanes, self.lanes.builder.fneg(self.value))

    def __and__(self, other: Vec | int) -> Vec:
        return self._apply("and_", other)

    def __or__(self, other: Vec | int) -> Vec:
        return self._apply("or_", other)

    def __xor__(self, other: Vec | int) -> Vec:
        return self._apply("xor", other)

    def __lshift__(self, count: int) -> Vec:
        return self._apply("shl", count)

    def __rshift__(self, count: int) -> Vec:
        """Logical shift: zeros come in from the left."""
        return self._apply("lshr", count)

    def __lt__(self, other: Vec | float) -> Vec:
        return self._compare("<", other)

    def __le__(self, other: Vec | float) -> Vec:
        return self._compare("<=", other)

    def __gt__(self, other: Vec | float) -> Vec:
        return self._compare(">", other)

    def __ge__(self, other: Vec | float) -> Vec:
        return self._compare(">=", other)

    def equals(self, other: Vec | float) -> Vec:
        """Lane-wise equality; false where a float lane is NaN."""
        return self._compare("==", other)


class Lanes:
    """Builds operations on vectors of `width` lanes of the format `fmt`."""

    def __init__(self, module: ir.Module, builder: ir.IRBuilder, fmt: Format, width: int) -> None:
        self.module = module
        self.builder = builder
        self.fmt = fmt
        self.width = width
        self.float_type, self.int_type = vector_types(fmt, width)

    def operand(self, x: Vec | float, typ: ir.Type) -> ir.Value:
        """The LLVM value of `x`, a splat of type `typ` where `x` is a Python number."""
        if isinstance(x, Vec):
            return x.value
        element = typ.element
        if typ == self.float_type:
            text = element.format_constant(float(x))
        else:
            text = str(x - (1 << element.width) if x >> (element.width - 1) == 1 else x)
        splat = ir.FormattedConstant(element, f"splat ({element} {text})")
        # Built with the element type: llvmlite would take the text of a vector lane by lane.
        splat.type = typ
        return splat

    def constant(self, x: float) -> Vec:
        """All lanes the float `x`."""
        return Vec(self, self.operand(x, self.float_type))

    def fma(self, a: Vec | float, b: Vec | float, c: Vec | float) -> Vec:
        """a * b + c, rounded once."""
        return self._intrinsic("llvm.fma", a, b, c)

    def sqrt(self, x: Vec) -> Vec:
        """The correctly rounded square root."""
        return self._intrinsic("llvm.sqrt", x)

    def floor(self, x: Vec) -> Vec:
        """The largest integer not above x, as a float."""
        return self._intrinsic("llvm.floor", x)

    def _intrinsic(self, name: str, *operands: Vec | float) -> Vec:
        symbol = f"{name}.v{self.width}{self.fmt.name}"
        function = self.module.globals.get(symbol)
        if function is None:
            signature = ir.FunctionType(self.float_type, [self.float_type] * len(operands))
            function = ir.Function(self.module, signature, symbol)
        values = [self.operand(x, self.float_type) for x in operands]
        return Vec(self, self.builder.call(function, values))

    def select(self, condition: Vec, a: Vec | float, b: Vec | float) -> Vec:
        """Lane-wise `a` where `condition` holds, else `b`; two Python numbers make floats."""
        typ = next((x.value.type for x in (a, b) if isinstance(x, Vec)), self.float_type)
        chosen = self.builder.select(condition.value, self.operand(a, typ), self.operand(b, typ))
        return Vec(self, chosen)

    def minimum(self, limit: float, x: Vec) -> Vec:
        """min(limit, x), NaN where x is NaN; one instruction on x86."""
        bound = self.constant(limit)
        return self.select(bound < x, bound, x)

    def maximum(self, limit: float, x: Vec) -> Vec:
        """max(limit, x), NaN where x is NaN; one instruction on x86."""
        bound = self.constant(limit)
        return self.select(bound > x, bound, x)

    def horner(self, x: Vec, coefficients: Sequence[float]) -> Vec:
        """The polynomial with these coefficients, constant term first, by Horner's rule in fma."""
        total: Vec | float = coefficients[-1]
        for c in reversed(coefficients[:-1]):
            total = self.fma(total, x, c)
        assert isinstance(total, Vec), "a polynomial needs at least two coefficients"
        return total

    def even_odd(self, x: Vec, square: Vec, coefficients: Sequence[float]) -> Vec:
        """The same from x and its square: two chains of half the length, as many operations."""
        odd, even = self.horner(square, coefficients[1::2]), self.horner(square, coefficients[::2])
        return self.fma(odd, x, even)

    def bits(self, x: Vec) -> Vec:
        """The lanes' bits as integers."""
        return Vec(self, self.builder.bitcast(x.value, self.int_type))

    def real(self, bits: Vec) -> Vec:
        """The floats with these bits."""
        return Vec(self, self.builder.bitcast(bits.value, self.float_type))

    def abs(self, x: Vec) -> Vec:
        """x with the sign bit cleared, NaN included."""
        return self.real(self.bits(x) & (self.fmt.sign_mask - 1))

    def sign(self, x: Vec) -> Vec:
        """The sign bits of x as integers."""
        return self.bits(x) & self.fmt.sign_mask

    def flip_sign(self, x: Vec, sign: Vec) -> Vec:
        """x negated in the lanes whose bit is set in `sign` (as from `sign`)."""
        return self.real(self.bits(x) ^ sign)

    def odd(self, x: Vec) -> Vec:
        """Whether the integer lanes are odd."""
        return Vec(self, self.builder.trunc(x.value, ir.VectorType(ir.IntType(1), self.width)))

    def any(self, condition: Vec) -> ir.Value:
        """An i1: whether any lane of the condition holds."""
        word = ir.IntType(self.width)
        return self.builder.icmp_unsigned(
            "!=", self.builder.bitcast(condition.value, word), word(0)
        )

    def negative(self, x: Vec) -> Vec:
        """Whether the sign bit of x is set."""
        return self.bits(x) < 0

    def ordered(self, a: Vec, b: Vec) -> Vec:
        """Whether neither lane is NaN."""
        return Vec(self, self.builder.fcmp_ordered("ord", a.value, b.value))

    def remainder_above(self, limit: float, x: Vec, parts: Sequence[Vec]) -> tuple[Vec, ...]:
        """`parts`, or the exact remainder of x by pi/2 in the lanes where limit < |x| < inf.

        The remainder (quadrant, r, low), as much of it as there are parts, is found by a branch
        that is taken where any lane needs it.
        """
        builder = self.builder
        magnitude = self.abs(x)
        large = (magnitude > limit) & (magnitude < math.inf)
        before = builder.block
        slow = builder.append_basic_block("large")
        done = builder.append_basic_block("reduced")
        builder.cbranch(self.any(large), slow, done).set_weights([1, 1 << 20])
        builder.position_at_end(slow)
        remainder = vector_remainder(self.module, self.fmt, self.float_type, self.int_type)
        exact = builder.call(remainder, [self.select(large, x, limit).value])
        values = [Vec(self, builder.extract_value(exact, i)) for i in range(3)]
        merged = [self.select(large, a, b) for a, b in zip(values, parts)]
        builder.branch(done)
        builder.position_at_end(done)
        phis = [builder.phi(part.value.type) for part in parts]
        for phi, part, other in zip(phis, parts, merged, strict=True):
            phi.add_incoming(part.value, before)
            phi.add_incoming(other.value, slow)
        return tuple(Vec(self, phi) for phi in phis)


def vector_types(fmt: Format, width: int) -> tuple[ir.VectorType, ir.VectorType]:
    """The float and the integer vector type of a format and a lane count."""
    element = ir.FloatType() if fmt.name == "f32" else ir.DoubleType()
    return ir.VectorType(element, width), ir.VectorType(ir.IntType(fmt.bits), width)
