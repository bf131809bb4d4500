"""Gamma variables, and those that are quotients of them."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, DTypeError, ShapeError, brief
from ..ir.dims import Size
from ..ir.types import F32, F64, DType
from ..ops.build import Expr
from ..ops.movement import broadcast
from ..ops.reduce import reduce_sum
from ..tracing.context import Trace
from ..tracing.functions.elementwise import chosen
from ..tracing.functions.operands import broadcast_shapes, operand, operands
from ..tracing.tracer import Tracer
from .continuous import standard_normal
from .draws import (
    ROUNDS,
    Key,
    as_key,
    as_parameter,
    as_plain_number,
    as_shape,
    draw,
    drawn,
    positive_unit,
)

MAX_ROUNDS = 14  # each is refused with probability at most 0.049, all of them below 2**-60
LEAST_POWER = -1e30  # whose exponential is 0, and differences of which are finite


def _dtype_of(function: str, *parameters: Any) -> DType:
    """f64 where a parameter is of float64, else f32."""
    if any(x.type.dtype is F64 and not x.weak for x in parameters):
        return F64
    for x in parameters:
        if x.type.dtype is not F32 and not x.weak:
            raise DTypeError(f"{function}: expected parameters of f32 or f64, got {x.type}")
    return F32


def _require_positive(function: str, x: Any) -> None:
    number = as_plain_number(x)
    if number is not None and not 0.0 < number < float("inf"):
        raise ArgumentError(f"{function}: expected parameters above 0, got {brief(x)}")


def gamma_parts(t: Trace, key: Key, a: Expr, tag: int = ROUNDS) -> tuple[Expr, Expr]:
    """Numbers s and l of gamma variables s * exp(l) of shape parameter a > 0.

    Marsaglia and Tsang's rounds for a, or for a + 1 where a < 1, and then times u**(1/a): where a
    is small that is far below the least float, so l is given apart; it is 0 where a >= 1.
    """
    small = a.lt(1.0)
    d = chosen(small, a + 1.0, a) - 1.0 / 3.0
    found = a.like(0)
    for number in range(MAX_ROUNDS):
        words = draw(t, key, a.shape, tag + 2 * number)
        x = standard_normal(words, a.dtype)
        if a.dtype is F32:
            # The normal variable is made of the first word.
            second = words.word1.op("shift_right", words.word1.like(8))
            unit = (second.op("cast", dtype=F32) + 0.5) * 2.0**-24
        else:
            unit = positive_unit(draw(t, key, a.shape, tag + 2 * number + 1), F64)
        found = d.op("gamma_step", x, unit.op("stepped_log"), found)
    sample = chosen(found.eq(0), d, found)
    unit = positive_unit(draw(t, key, a.shape, tag + 2 * MAX_ROUNDS), a.dtype)
    power = (unit.op("stepped_log") / a).op("maximum", a.like(LEAST_POWER))
    return sample, chosen(small, power, a.like(0))


def standard_gamma(t: Trace, key: Key, a: Expr) -> Expr:
    """Gamma variables of shape parameter a > 0, one for each of its elements."""
    sample, power = gamma_parts(t, key, a)
    return sample * power.op("stepped_exp")


@drawn
def gamma(t: Trace, key: Any, a: Any, shape: Any = None, scale: Any = 1.0) -> Tracer:
    """Gamma variables of shape parameter a > 0, times `scale`.

    a: a number, or an array that broadcasts to `shape` (None for its own shape); float64 gives
    float64. 14 rounds of rejection at most: with probability below 2**-60 an element is the
    distribution's mode instead. There is no derivative by `a` (DifferentiationError).
    """
    source = as_key(t, "gamma", key)
    _require_positive("gamma", a)
    given = operand(t, a)
    dtype = _dtype_of("gamma", given)
    sizes = given.type.shape if shape is None else as_shape(t, "gamma", shape)
    x = standard_gamma(t, source, as_parameter(t, "gamma", a, dtype, sizes))
    if as_plain_number(scale) == 1.0:
        return t.wrap(x)
    return t.wrap(x * as_parameter(t, "gamma", scale, dtype, sizes))


@drawn
def beta(t: Trace, key: Any, a: Any, b: Any, shape: Any = None) -> Tracer:
    """Beta variables x/(x + y) of gamma variables x, y of shape parameters a, b > 0.

    The larger power of x and y is taken out of both, so that not both are 0 for small a and b.
    """
    source = as_key(t, "beta", key)
    for x in (a, b):
        _require_positive("beta", x)
    given = operands(t, a, b)
    dtype = _dtype_of("beta", *given)
    sizes: tuple[Size, ...] = broadcast_shapes("beta", [x.type for x in given])
    sizes = sizes if shape is None else as_shape(t, "beta", shape)
    first, second = (as_parameter(t, "beta", x, dtype, sizes) for x in (a, b))
    one, power = gamma_parts(t, source, first, ROUNDS)
    other, power_of_other = gamma_parts(t, source, second, ROUNDS + 32)
    most = power.op("maximum", power_of_other)
    one = one * (power - most).op("stepped_exp")
    other = other * (power_of_other - most).op("stepped_exp")
    return t.wrap(one / (one + other))


@drawn
def dirichlet(t: Trace, key: Any, alpha: Any, shape: Any = ()) -> Tracer:
    """Points of the simplex: gamma variables of shape parameters `alpha` over their sum.

    alpha: an array f32[..., k] or f64[..., k]; shape: of independent draws, in front of its axes.
    The largest power of the gamma variables is taken out of all, so that some are above 0. The
    sum's last bit depends on the order of its terms, which the interpreter has as NumPy does.
    """
    source = as_key(t, "dirichlet", key)
    given = t.lift(alpha)
    dtype = _dtype_of("dirichlet", given)
    if not given.type.shape:
        raise ShapeError(f"dirichlet: expected parameters along an axis, got {given.type}")
    sizes = (*as_shape(t, "dirichlet", shape), *given.type.shape)
    x, power = gamma_parts(t, source, as_parameter(t, "dirichlet", given, dtype, sizes))
    last = len(sizes) - 1
    if sizes[last] != 0:
        most = power.op("reduce_max", axes=(last,))
        x = x * (power - broadcast(most, sizes, range(last))).op("stepped_exp")
    total = reduce_sum(x, (last,))
    return t.wrap(x / broadcast(total, sizes, range(last)))

