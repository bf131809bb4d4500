"""Arithmetic on the numbers of constants, with the rounding and wrapping of their dtype."""

from __future__ import annotations

import math

import numpy as np

from ..ir.dims import Size
from ..ir.types import DType
from ..ops.build import as_scalar
from .pattern import same_number

Number = bool | int | float


def rounded_product(dtype: DType, a: Number, b: Number) -> Number:
    """a*b as a constant of `dtype`: wrapped for integers, rounded once for floats."""
    if dtype.is_integer:
        return wrapped(int(a) * int(b), dtype)
    with np.errstate(all="ignore"):
        return as_scalar(dtype.numpy.type(a) * dtype.numpy.type(b), dtype)


def rounded_inverse(dtype: DType, value: Number) -> float:
    """1/value as a constant of float `dtype`; value is not 0."""
    with np.errstate(all="ignore"):
        return float(as_scalar(1.0 / value, dtype))


def is_normal(value: Number, dtype: DType) -> bool:
    """Neither 0, subnormal, infinite nor NaN in `dtype`."""
    return float(np.finfo(dtype.numpy).tiny) <= abs(value) < math.inf


def repeated_sum(value: Number, count: Size, dtype: DType) -> Number | None:
    """The sum of `count` equal numbers where it is the same in every order of summation, else None.

    Integers wrap around. A float m * 2**e with odd m has exact partial sums while k*|m| stays
    within the significand; sums of -0.0 depend on the start of the accumulation and are left.
    """
    if not isinstance(count, int):
        return None
    if count == 0:
        return as_scalar(0, dtype)
    if dtype.is_integer:
        return wrapped(int(value) * count, dtype)
    if not math.isfinite(value):
        return value
    if value == 0:
        return value if same_number(value, 0.0) else None
    mantissa, _ = float(value).as_integer_ratio()
    odd = abs(mantissa) // (mantissa & -mantissa)
    digits = np.finfo(dtype.numpy).nmant + 1
    total = float(value) * count
    if odd * count > 2**digits or abs(total) > float(np.finfo(dtype.numpy).max):
        return None
    return as_scalar(total, dtype)


def repeated_product(value: Number, count: Size, dtype: DType) -> Number | None:
    """The product of `count` equal numbers for integers, 0.0 and 1.0; None for the others."""
    if not isinstance(count, int):
        return None
    if count == 0:
        return as_scalar(1, dtype)
    if dtype.is_integer:
        modulus = 1 << (8 * dtype.itemsize)
        return wrapped(pow(int(value), count, modulus), dtype)
    return value if value == 1 or same_number(value, 0.0) else None


def wrapped(value: int, dtype: DType) -> int:
    """An integer reduced to the range of `dtype`."""
    modulus = 1 << (8 * dtype.itemsize)
    value %= modulus
    return value - modulus if dtype.kind == "i" and value >= modulus // 2 else value


def negated(value: Number, dtype: DType) -> Number:
    """-value; the smallest signed integer is its own negative."""
    return wrapped(-int(value), dtype) if dtype.is_integer else -value
