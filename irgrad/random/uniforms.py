"""Random bits, uniform numbers and integers, and truth values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, brief
from ..ir.dims import Size
from ..ir.types import F32, F64, I64, U32, U64, TensorType
from ..ops.build import Expr
from ..tracing.context import Trace
from ..tracing.functions.operands import as_dtype, operand
from ..tracing.tracer import Tracer
from .draws import (
    Draw,
    as_float,
    as_key,
    as_parameter,
    as_plain_number,
    as_probability,
    as_shape,
    draw,
    drawn,
    half_open_unit,
    small_float,
)


@drawn
def bits(t: Trace, key: Any, shape: Any = (), dtype: Any = np.uint32) -> Tracer:
    """Random words of an unsigned dtype, every one of them equally likely."""
    found = as_dtype(dtype)
    if found.kind != "u":
        raise DTypeError(f"bits: expected an unsigned integer dtype, got {found}")
    words = draw(t, as_key(t, "bits", key), as_shape(t, "bits", shape))
    if found is not U64:
        return t.wrap(words.word0.op("cast", dtype=found) if found is not U32 else words.word0)
    high = words.word1.op("cast", dtype=U64)
    high = high.op("shift_left", high.like(32))
    return t.wrap(high.op("bitwise_or", words.word0.op("cast", dtype=U64)))


@drawn
def uniform(
    t: Trace, key: Any, shape: Any = (), dtype: Any = np.float32, minval: Any = 0.0,
    maxval: Any = 1.0,
) -> Tracer:
    """Uniform floats in [minval, maxval): k/2**24 in [0, 1) of f32, k/2**53 of f64, k whole.

    minval, maxval: numbers, or arrays that broadcast to `shape`. Between arrays a result may be
    rounded to maxval, between numbers it never is.
    """
    found = as_float("uniform", dtype)
    sizes = as_shape(t, "uniform", shape)
    unit = half_open_unit(draw(t, as_key(t, "uniform", key), sizes), found)
    low, high = as_plain_number(minval), as_plain_number(maxval)
    if low == 0.0 and high == 1.0:
        return t.wrap(unit)
    start = as_parameter(t, "uniform", minval, found, sizes)
    if low is None or high is None:
        return t.wrap(unit.op("mul_add", _span(t, maxval, start), start))
    with np.errstate(over="ignore"):
        first, last = found.numpy.type(low), found.numpy.type(high)
    if not first < last or not high - low <= float(np.finfo(found.numpy).max):
        raise ArgumentError(
            f"uniform: expected finite bounds minval < maxval of {found}, got {brief(minval)} and "
            f"{brief(maxval)}"
        )
    below = start.like(float(np.nextafter(last, first)))
    return t.wrap(unit.op("mul_add", start.like(high - low), start).op("minimum", below))


def _span(t: Trace, maxval: Any, start: Expr) -> Expr:
    return as_parameter(t, "uniform", maxval, start.dtype, start.shape) - start


@drawn
def bernoulli(t: Trace, key: Any, p: Any = 0.5, shape: Any = None) -> Tracer:
    """True with probability p, up to 2**-48 (2**-53 where p is of float64).

    p: a number in [0, 1], taken as float32, or an array that broadcasts to `shape` (None for its
    own shape). Elements below 0 and NaN count as 0, those above 1 as 1.
    """
    source = as_key(t, "bernoulli", key)
    as_probability("bernoulli", p)
    given = operand(t, p)
    if given.type.dtype not in (F32, F64) and as_plain_number(p) is None:
        raise DTypeError(f"bernoulli: expected probabilities of f32 or f64, got {given.type}")
    single = given.type.dtype is not F64 or given.weak
    sizes = given.type.shape if shape is None else as_shape(t, "bernoulli", shape)
    chance = as_parameter(t, "bernoulli", p, F32 if single else F64, sizes)
    words = draw(t, source, sizes)
    if not single:
        return t.wrap(half_open_unit(words, F64).lt(chance))
    # The first 24 bits decide, and the next 24 where they equal those of p.
    scaled = chance * 2.0**24
    whole = scaled.op("floor")
    rest = (scaled - whole) * 2.0**24
    high, low = small_float(words.word0, 8, F32), small_float(words.word1, 8, F32)
    tie = high.eq(whole).op("logical_and", low.lt(rest))
    return t.wrap(high.lt(whole).op("logical_or", tie))


@drawn
def randint(
    t: Trace, key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = np.int32
) -> Tracer:
    """Uniform integers in [minval, maxval), of which there may be 2**64 - 1.

    The upper half of the product of 64 random bits and the count n = maxval - minval: no value's
    probability differs from 1/n by more than 2**-64. minval, maxval: integers, or integer arrays
    that broadcast to `shape`; where they are arrays and maxval <= minval the result is minval.
    """
    found = as_dtype(dtype)
    if not found.is_integer:
        raise DTypeError(f"randint: expected an integer dtype, got {found}")
    source, sizes = as_key(t, "randint", key), as_shape(t, "randint", shape)
    if all(isinstance(x, (int, np.integer)) for x in (minval, maxval)):
        first, last = int(minval), int(maxval)
        info = np.iinfo(found.numpy)
        if not (info.min <= first < last <= int(info.max) + 1 and last - first < 1 << 64):
            raise ArgumentError(
                f"randint: expected minval < maxval in the range of {found}, less than 2**64 "
                f"apart, got {brief(minval)} and {brief(maxval)}"
            )
        wide = TensorType(U64, sizes)
        start, count = t.constant(first % 2**64, wide), t.constant(last - first, wide)
    else:
        start, stop = (_wide(t, x, sizes) for x in (minval, maxval))
        count = start.lt(stop).op("select", stop - start, start.like(0))
        start, count = (x.op("cast", dtype=U64) for x in (start, count))
    chosen = _upper_half(draw(t, source, sizes), count) + start
    return t.wrap(chosen.op("cast", dtype=found) if found is not U64 else chosen)


def _upper_half(words: Draw, count: Expr) -> Expr:
    """floor(x * count / 2**64) of 64 random bits x, in products of 32 bits each."""
    mask = count.like(2**32 - 1)
    low, high = (x.op("cast", dtype=U64) for x in (words.word0, words.word1))
    count_low, count_high = count.op("bitwise_and", mask), _shifted(count)
    first = high * count_low + _shifted(low * count_low)
    second = low * count_high + first.op("bitwise_and", mask)
    return high * count_high + _shifted(first) + _shifted(second)


def _shifted(x: Expr) -> Expr:
    return x.op("shift_right", x.like(32))


def _wide(t: Trace, x: Any, shape: tuple[Size, ...]) -> Expr:
    """A bound of integers as i64."""
    given = operand(t, x)
    if given.type.dtype.kind not in "iu" or given.type.dtype is U64:
        raise DTypeError(f"randint: expected integer bounds of at most i64, got {given.type}")
    return as_parameter(t, "randint", x, I64, shape)

