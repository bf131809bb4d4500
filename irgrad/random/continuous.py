"""Normal, exponential and extreme-value variables, bit for bit the same on every target.

Derivatives: keys have none; loc and scale have theirs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ArgumentError, brief
from ..ir.types import DType
from ..ops.build import Expr
from ..tracing.context import Trace
from ..tracing.functions.elementwise import chosen
from ..tracing.functions.operands import as_number
from ..tracing.tracer import Tracer
from .draws import (
    Draw,
    as_float,
    as_key,
    as_shape,
    draw,
    drawn,
    leftover_bit,
    positive_unit,
    shifted_and_scaled,
)


def standard_normal(words: Draw, dtype: DType) -> Expr:
    """Normal variables: the quantile of a probability in (0, 1/2], and a fair sign."""
    x = (positive_unit(words, dtype) * 0.5).op("normal_quantile")
    return chosen(leftover_bit(words), x, -x)


def standard_exponential(words: Draw, dtype: DType) -> Expr:
    """-log(u), of u < 1, so that it is above 0."""
    unit = positive_unit(words, dtype)
    return -unit.op("minimum", unit.like(_below_one(dtype))).op("stepped_log")


def standard_gumbel(words: Draw, dtype: DType) -> Expr:
    """The quantile -log(-log(1 - v)), whose upper tail has all digits of v."""
    unit = positive_unit(words, dtype)
    return unit.op("minimum", unit.like(_below_one(dtype))).op("gumbel_quantile")


def _below_one(dtype: DType) -> float:
    return float(np.nextafter(dtype.numpy.type(1), dtype.numpy.type(0)))


@drawn
def normal(
    t: Trace, key: Any, shape: Any = (), dtype: Any = np.float32, loc: Any = 0.0, scale: Any = 1.0
) -> Tracer:
    """Normal variables of mean `loc` and standard deviation `scale`, by the inverse distribution.

    loc, scale: numbers, or arrays that broadcast to `shape`. The magnitude is at most 6.3 in f32
    (it would be above with probability 2**-32), 9.1 in f64, before scaling.
    """
    found = as_float("normal", dtype)
    words = draw(t, as_key(t, "normal", key), as_shape(t, "normal", shape))
    x = standard_normal(words, found)
    return t.wrap(shifted_and_scaled(t, "normal", x, loc, scale))


@drawn
def exponential(
    t: Trace, key: Any, shape: Any = (), dtype: Any = np.float32, scale: Any = 1.0
) -> Tracer:
    """Exponential variables of mean `scale`, all above 0."""
    found = as_float("exponential", dtype)
    words = draw(t, as_key(t, "exponential", key), as_shape(t, "exponential", shape))
    x = standard_exponential(words, found)
    return t.wrap(shifted_and_scaled(t, "exponential", x, 0.0, scale))


@drawn
def gumbel(
    t: Trace, key: Any, shape: Any = (), dtype: Any = np.float32, loc: Any = 0.0, scale: Any = 1.0
) -> Tracer:
    """Gumbel variables loc - scale*log(E), E exponential."""
    found = as_float("gumbel", dtype)
    words = draw(t, as_key(t, "gumbel", key), as_shape(t, "gumbel", shape))
    x = standard_gumbel(words, found)
    return t.wrap(shifted_and_scaled(t, "gumbel", x, loc, scale))


@drawn
def laplace(
    t: Trace, key: Any, shape: Any = (), dtype: Any = np.float32, loc: Any = 0.0, scale: Any = 1.0
) -> Tracer:
    """Laplace variables loc + scale*E with a fair sign, E exponential."""
    found = as_float("laplace", dtype)
    words = draw(t, as_key(t, "laplace", key), as_shape(t, "laplace", shape))
    size = standard_exponential(words, found)
    x = chosen(leftover_bit(words), size, -size)
    return t.wrap(shifted_and_scaled(t, "laplace", x, loc, scale))


# -- truncated -------------------------------------------------------------------------------------


@drawn
def truncated_normal(
    t: Trace, key: Any, lower: Any, upper: Any, shape: Any = (), dtype: Any = np.float32
) -> Tracer:
    """Standard normal variables on condition that they lie in [lower, upper].

    lower, upper: numbers known while tracing, of which one may be infinite; far from 0 too, as long
    as the probability between them is a normal number of the dtype.
    Raises ArgumentError for bounds that are not increasing or too far out.
    """
    found = as_float("truncated_normal", dtype)
    low = as_number("truncated_normal", "the lower bound", lower)
    high = as_number("truncated_normal", "the upper bound", upper)
    if not low < high:
        raise ArgumentError(
            f"truncated_normal: expected lower < upper, got {brief(lower)} and {brief(upper)}"
        )
    # Small probabilities have more digits: the side on which the bounds lie further out is below.
    mirrored = low + high > 0
    start, stop = (_below(-high), _below(-low)) if mirrored else (_below(low), _below(high))
    info = np.finfo(found.numpy)
    if not stop - start >= float(info.tiny):
        raise ArgumentError(
            f"truncated_normal: expected bounds with a probability that {found} holds between "
            f"them, got {brief(lower)} and {brief(upper)}"
        )
    words = draw(t, as_key(t, "truncated_normal", key), as_shape(t, "truncated_normal", shape))
    unit = positive_unit(words, found)
    chance = unit.op("mul_add", unit.like(stop - start), unit.like(start))
    x = chance.op("maximum", unit.like(float(info.tiny))).op("normal_quantile")
    x = -x if mirrored else x
    held = x.op("maximum", x.like(low)) if math.isfinite(low) else x
    return t.wrap(held.op("minimum", x.like(high)) if math.isfinite(high) else held)


def _below(x: float) -> float:
    """The probability of a normal variable below x."""
    return 0.5 * math.erfc(-x * math.sqrt(0.5))
