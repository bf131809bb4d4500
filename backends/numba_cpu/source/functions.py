"""The helpers that generated sources import: the same bits run by Python and compiled by Numba.

Run by Python, each takes and gives NumPy scalars; in jitted code it is the LLVM instruction of the
same meaning. Operands of one call have one dtype.
"""

from __future__ import annotations

import math
from math import inf, nan
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import register_jitable
from numpy import bool_ as boolean
from numpy import float32 as f32
from numpy import float64 as f64
from numpy import int8 as i8
from numpy import int16 as i16
from numpy import int32 as i32
from numpy import int64 as i64
from numpy import uint8 as u8
from numpy import uint16 as u16
from numpy import uint32 as u32
from numpy import uint64 as u64

from irgrad.backends.common.formulas.two_over_pi import PI_2, TWO_OVER_PI_WORDS

from . import lowered as emit
from .lowered import lowered

__all__ = [
    "bits_f32", "bits_f64", "boolean", "ceil", "f32", "f64", "fabs", "floor", "fma", "i16", "i32",
    "i64", "i8", "inf", "maximum", "minimum", "nan", "pi_2_remainder_f32", "pi_2_remainder_f64",
    "real_f32", "real_f64", "round", "select", "sign", "sqrt", "trunc", "u16", "u32", "u64", "u8",
]  # fmt: skip

T = TypeVar("T", bound=Any)

_LOW_32 = (1 << 32) - 1
_PI_2_HIGH, _PI_2_LOW = PI_2
_TWO_OVER_PI = np.array(
    [half for word in TWO_OVER_PI_WORDS for half in (word >> 32, word & _LOW_32)], np.uint64
)
_TWO_OVER_PI.setflags(write=False)


@lowered(emit.three_floats, emit.intrinsic("llvm.fma"))
def fma(a: T, b: T, c: T) -> T:
    """a * b + c, rounded once, of f32 or f64."""
    return _fma_f32(a, b, c) if type(a) is f32 else _fma_f64(a, b, c)


def _fma_f32(a: Any, b: Any, c: Any) -> Any:
    """The product is exact in f64; the sum is rounded to odd there, then once to f32.

    An inexact sum with an odd last bit lies on the same side of every f32 and of every midpoint of
    two as the exact one (Boldo and Melquiond 2008).
    """
    product, addend = float(a) * float(b), float(c)
    total = product + addend
    if not math.isfinite(total):
        return f32(total)
    # What the sum lost (Knuth's TwoSum).
    rest = total - product
    lost = (product - (total - rest)) + (addend - rest)
    if lost and not int(f64(total).view(u64)) & 1:
        total = math.nextafter(total, math.copysign(inf, lost))
    return f32(total)


def _fma_f64(a: Any, b: Any, c: Any) -> Any:
    """By a quotient of integers, which Python rounds once."""
    factor, other, addend = float(a), float(b), float(c)
    if not (math.isfinite(factor) and math.isfinite(other) and factor and other):
        return f64(factor * other + addend)
    if not math.isfinite(addend):
        return f64(addend)
    (n, d), (m, e), (k, f) = (x.as_integer_ratio() for x in (factor, other, addend))
    numerator, denominator = n * m * f + k * d * e, d * e * f
    try:
        return f64(numerator / denominator)
    except OverflowError:
        return f64(inf if numerator > 0 else -inf)


@lowered(emit.chosen, emit.select)
def select(condition: Any, a: T, b: T) -> T:
    """`a` where the condition holds, else `b`; both are computed."""
    return a if condition else b


@lowered(emit.one_float, emit.intrinsic("llvm.sqrt"))
def sqrt(x: T) -> T:
    """The correctly rounded square root."""
    return np.sqrt(x)


@lowered(emit.one_float, emit.intrinsic("llvm.floor"))
def floor(x: T) -> T:
    """The largest whole number not above x."""
    return np.floor(x)


@lowered(emit.one_float, emit.intrinsic("llvm.ceil"))
def ceil(x: T) -> T:
    """The least whole number not below x."""
    return np.ceil(x)


@lowered(emit.one_float, emit.intrinsic("llvm.roundeven"))
def round(x: T) -> T:
    """The nearest whole number, of two the even one."""
    return np.rint(x)


@lowered(emit.one_float, emit.intrinsic("llvm.trunc"))
def trunc(x: T) -> T:
    """x without its fraction."""
    return np.trunc(x)


@lowered(emit.one_float, emit.intrinsic("llvm.fabs"))
def fabs(x: T) -> T:
    """x with the sign bit cleared, NaN included."""
    return np.fabs(x)


@lowered(emit.two_numbers, emit.extremum(">"))
def maximum(a: T, b: T) -> T:
    """The larger number: `a` where they are equal, NaN where either is NaN."""
    if a != a or b != b:
        return a if a != a else b
    return a if a >= b else b


@lowered(emit.two_numbers, emit.extremum("<"))
def minimum(a: T, b: T) -> T:
    """The smaller number: `a` where they are equal, NaN where either is NaN."""
    if a != a or b != b:
        return a if a != a else b
    return a if a <= b else b


@lowered(emit.one_number, emit.sign)
def sign(x: T) -> T:
    """-1, 0 or 1 by the sign of x; NaN passes."""
    return np.sign(x)


@lowered(emit.conversion(types.float32, types.uint32), emit.bitcast(ir.IntType(32)))
def bits_f32(x: f32) -> u32:
    """The bits of a float."""
    return x.view(u32)


@lowered(emit.conversion(types.float64, types.uint64), emit.bitcast(ir.IntType(64)))
def bits_f64(x: f64) -> u64:
    """The bits of a float."""
    return x.view(u64)


@lowered(emit.conversion(types.uint32, types.float32), emit.bitcast(ir.FloatType()))
def real_f32(bits: u32) -> f32:
    """The float with these bits."""
    return bits.view(f32)


@lowered(emit.conversion(types.uint64, types.float64), emit.bitcast(ir.DoubleType()))
def real_f64(bits: u64) -> f64:
    """The float with these bits."""
    return bits.view(f64)


@register_jitable
def pi_2_remainder_f32(x: f32) -> tuple[u32, f32, f32]:
    """(quadrant, r, low): x = quadrant * pi/2 + r + low modulo 2*pi, for 2 <= |x| < inf."""
    quadrant, r, _ = pi_2_remainder_f64(f64(x))
    high = f32(r)
    return u32(quadrant), high, f32(r - f64(high))


@register_jitable
def pi_2_remainder_f64(x: f64) -> tuple[u64, f64, f64]:
    """(quadrant, r, low): x = quadrant * pi/2 + r + low modulo 2*pi, for 2 <= |x| < inf.

    The method of Payne and Hanek (1983): x = w * 2**k with an integer w of 53 bits. Of 2/pi only
    192 bits matter: those above give multiples of 4, those below next to nothing. The product of w
    and these bits holds the quadrant in its two top bits and the fraction below them.
    """
    bits = bits_f64(x)
    fraction = (bits & u64((1 << 52) - 1)) | u64(1 << 52)
    # x = fraction * 2**(exponent - 1075); the window starts two bits above the point.
    exponent = (bits >> u64(52)) & u64(0x7FF)
    high, low = _window_product(fraction, exponent - u64(1075 + 2 - 64))
    quadrant = (((high >> u64(61)) + u64(1)) >> u64(1)) & u64(3)
    r, rest = _signed_fraction((high << u64(2)) | (low >> u64(62)), low << u64(2))
    if x < f64(0.0):
        return (u64(4) - quadrant) & u64(3), -r, -rest
    return quadrant, r, rest


@register_jitable
def _window_product(fraction: u64, start: u64) -> tuple[u64, u64]:
    """The top 128 of the 192 low bits of fraction * (192 bits of 2/pi from bit `start`).

    Multiplied by halves of 32 bits, the least first, so that no sum passes 64 bits.
    """
    index, shift = i64(start >> u64(5)), start & u64(31)
    mask = u64(_LOW_32)
    fraction_high, fraction_low = fraction >> u64(32), fraction & mask
    carry, below, high, low = u64(0), u64(0), u64(0), u64(0)
    for i in range(5, -1, -1):
        first, second = _TWO_OVER_PI[index + i], _TWO_OVER_PI[index + i + 1]
        window = ((first << shift) | (second >> (u64(32) - shift))) & mask
        product = fraction_low * window
        total = (product & mask) + fraction_high * below + carry
        carry = (product >> u64(32)) + (total >> u64(32))
        low = (low >> u64(32)) | (high << u64(32))
        high = (high >> u64(32)) | (total << u64(32))
        below = window
    return high, low


@register_jitable
def _signed_fraction(high: u64, low: u64) -> tuple[f64, f64]:
    """(r, rest): the signed fraction high:low / 2**128 times pi/2, in two floats."""
    middle = ((high & u64(0x7FF)) << u64(42)) | (low >> u64(22))
    first = f64(high >> u64(11)) * f64(2.0**-53) - f64(high >> u64(63))
    second = f64(middle) * f64(2.0**-106)
    third = f64(low & u64((1 << 22) - 1)) * f64(2.0**-128)
    total = first + second
    lost = (second - (total - first)) + third
    product = total * f64(_PI_2_HIGH)
    error = fma(total, f64(_PI_2_HIGH), -product)
    error = fma(total, f64(_PI_2_LOW), error)
    error = fma(lost, f64(_PI_2_HIGH), error)
    r = product + error
    return r, error - (r - product)
