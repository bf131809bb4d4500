"""Elementwise functions composed of several ops of the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...ir.types import BOOL, F64
from ...ops.build import Expr
from ..context import Trace
from ..dispatch import traced
from ..promotion import ufunc_loop
from ..tracer import Tracer
from .elementwise import chosen, promoted
from .operands import as_flag, as_number, broadcast_shapes, fit, kind_of, operands


def _unary(
    name: str, numpy_function: Callable[..., Any], body: Callable[[Trace, Expr], Expr]
) -> Callable[..., Any]:
    """A function of one operand that is computed in floats; the ufunc decides in which."""
    ufunc = numpy_function if isinstance(numpy_function, np.ufunc) else np.sin

    @traced(numpy_function)
    def function(t: Trace, x: Any) -> Tracer:
        (given,) = operands(t, x)
        loop = ufunc_loop(ufunc, (kind_of(given),))
        return t.wrap(body(t, fit(t, given, loop.operands[0], given.type.shape)), loop.weak)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{name}, elementwise."
    return function


def _magnitude_form(inside: Callable[[Expr], Expr]) -> Callable[[Trace, Expr], Expr]:
    """`inside` on |x| up to 1e8 and log(2|x|) above, where the two agree in float64."""

    def body(t: Trace, x: Expr) -> Expr:
        size = x.op("abs")
        large = size.gt(1e8)
        held = chosen(large, x.like(2.0), size)
        tail = chosen(large, size, x.like(2.0)).op("log") + float(np.log(2.0))
        return chosen(large, tail, inside(held))

    return body


def _asinh_of_magnitude(x: Expr) -> Expr:
    """log(x + sqrt(x^2+1)) = log1p(x + x^2/(1 + sqrt(x^2+1))), which keeps small x."""
    square = x * x
    return (x + square / ((square + 1.0).op("sqrt") + 1.0)).op("log1p")


def _acosh_of_magnitude(x: Expr) -> Expr:
    """log(x + sqrt(x^2-1)) by the distance d = x-1: log1p(d + sqrt(d*(d+2)))."""
    distance = x - 1.0
    return (distance + (distance * (distance + 2.0)).op("sqrt")).op("log1p")


def _arcsinh(t: Trace, x: Expr) -> Expr:
    result = _magnitude_form(_asinh_of_magnitude)(t, x)
    # The derivative of the sign times that of |x| is 1 at 0 only by this choice.
    return chosen(x.lt(0), -result, chosen(x.eq(0), x, result))


def _arccosh(t: Trace, x: Expr) -> Expr:
    return chosen(x.lt(1.0), x.like(float("nan")), _magnitude_form(_acosh_of_magnitude)(t, x))


def _is_negative(x: Expr) -> Expr:
    """The sign bit of a float that is not NaN, or whether an integer is below 0."""
    below = x.lt(0)
    if not x.dtype.is_float:
        return below
    return below.op("logical_or", x.eq(0).op("logical_and", x.op("reciprocal").lt(0)))


arcsinh = _unary("arcsinh", np.arcsinh, _arcsinh)
arccosh = _unary("arccosh", np.arccosh, _arccosh)
arctanh = _unary("arctanh", np.arctanh,
                 lambda t, x: (x.op("log1p") - (-x).op("log1p")) * 0.5)
degrees = _unary("degrees", np.degrees, lambda t, x: x * float(180.0 / np.pi))
radians = _unary("radians", np.radians, lambda t, x: x * float(np.pi / 180.0))


@traced(np.sinc)
def sinc(t: Trace, x: Any) -> Tracer:
    """sin(pi x)/(pi x), and 1 at 0, in the dtype of the product pi x."""
    (given,) = operands(t, x)
    loop = ufunc_loop(np.multiply, (kind_of(given), float))
    angle = fit(t, given, loop.result, given.type.shape) * float(np.pi)
    zero = angle.eq(0)
    safe = chosen(zero, angle.like(1.0), angle)
    return t.wrap(chosen(zero, angle.like(1.0), safe.op("sin") / safe), loop.weak)


@traced(np.signbit)
def signbit(t: Trace, x: Any, /) -> Tracer:
    """Whether the sign is negative, that of -0.0 included; NaN counts as positive."""
    value = t.lift(x).expr
    return t.wrap(value.op("ne", value) if value.dtype is BOOL else _is_negative(value))


def _pair(t: Trace, ufunc: np.ufunc, x1: Any, x2: Any) -> tuple[Expr, Expr, bool]:
    """Two operands in the dtype of a ufunc's loop and in their common shape."""
    given = operands(t, x1, x2)
    loop = ufunc_loop(ufunc, tuple(kind_of(x) for x in given))
    shape = broadcast_shapes(ufunc.__name__, [x.type for x in given])
    x, y = (fit(t, v, dtype, shape) for v, dtype in zip(given, loop.operands))
    return x, y, loop.weak


@traced(np.logaddexp)
def logaddexp(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """log(exp(x1) + exp(x2)) as the larger one plus softplus(smaller - larger)."""
    x, y, weak = _pair(t, np.logaddexp, x1, x2)
    return t.wrap(_log_sum(x, y), weak)


@traced(np.logaddexp2)
def logaddexp2(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """log2(2**x1 + 2**x2)."""
    x, y, weak = _pair(t, np.logaddexp2, x1, x2)
    ln2 = float(np.log(2.0))
    return t.wrap(_log_sum(x * ln2, y * ln2) / ln2, weak)


def _log_sum(x: Expr, y: Expr) -> Expr:
    first = x.gt(y)
    large, small = chosen(first, x, y), chosen(first, y, x)
    same = large.op("isinf").op("logical_and", large.eq(small))
    gap = chosen(same, large.like(0), small - large)
    return large + gap.op("softplus")


def _ignoring_nan(t: Trace, ufunc: np.ufunc, op: str, x1: Any, x2: Any) -> Tracer:
    x, y, weak = _pair(t, ufunc, x1, x2)
    both = x.op(op, y)
    if not x.dtype.is_float:
        return t.wrap(both, weak)
    return t.wrap(chosen(x.op("isnan"), y, chosen(y.op("isnan"), x, both)), weak)


@traced(np.fmax)
def fmax(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """The larger element, the other one where one is NaN."""
    return _ignoring_nan(t, np.fmax, "maximum", x1, x2)


@traced(np.fmin)
def fmin(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """The smaller element, the other one where one is NaN."""
    return _ignoring_nan(t, np.fmin, "minimum", x1, x2)


@traced(np.copysign)
def copysign(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """The magnitude of `x1` with the sign of `x2`, where NaN counts as positive."""
    x, y, weak = _pair(t, np.copysign, x1, x2)
    size = x.op("abs")
    return t.wrap(chosen(_is_negative(y), -size, size), weak)


@traced(np.heaviside)
def heaviside(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """0 below 0, 1 above, `x2` at 0."""
    x, y, weak = _pair(t, np.heaviside, x1, x2)
    step = chosen(x.lt(0), x.like(0), chosen(x.op("isnan"), x, x.like(1)))
    return t.wrap(chosen(x.eq(0), y, step), weak)


@traced(np.fmod)
def fmod(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """The remainder of a division rounded towards 0: it has the sign of `x1`."""
    x, y, weak = _pair(t, np.fmod, x1, x2)
    size = x.op("abs").op("remainder", y.op("abs"))
    return t.wrap(chosen(_is_negative(x), -size, size), weak)


@traced(np.divmod)
def divmod_(t: Trace, x1: Any, x2: Any, /) -> tuple[Tracer, Tracer]:
    """The floor of the quotient, and the remainder."""
    x, y, weak = _pair(t, np.floor_divide, x1, x2)
    return t.wrap(x.op("floor_divide", y), weak), t.wrap(x.op("remainder", y), weak)


@traced(np.isclose)
def isclose(
    t: Trace, a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tracer:
    """Whether |a - b| <= atol + rtol*|b|; infinities are close to themselves alone."""
    relative = as_number("isclose", "rtol", rtol)
    absolute = as_number("isclose", "atol", atol)
    (x, y), _ = promoted(t, "isclose", a, b)
    if not x.dtype.is_float:
        x, y = x.op("cast", dtype=F64), y.op("cast", dtype=F64)
    near = (x - y).op("abs").op("le", y.op("abs") * relative + absolute)
    close = near.op("logical_and", y.op("isfinite")).op("logical_or", x.eq(y))
    if as_flag("isclose", "equal_nan", equal_nan):
        close = close.op("logical_or", x.op("isnan").op("logical_and", y.op("isnan")))
    return t.wrap(close)


def _all_true(t: Trace, x: Expr) -> Tracer:
    return t.wrap(x.op("reduce_all", axes=tuple(range(x.type.rank))))


@traced(np.allclose)
def allclose(
    t: Trace, a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tracer:
    """Whether all elements are close."""
    return _all_true(t, isclose(t.lift(a), b, rtol, atol, equal_nan).expr)


@traced(np.array_equal)
def array_equal(t: Trace, a1: Any, a2: Any) -> Tracer:
    """Whether two arrays have one shape and equal elements."""
    x, y = t.lift(a1), t.lift(a2)
    if x.type.shape != y.type.shape:
        return t.lift(np.bool_(False))
    (left, right), _ = promoted(t, "array_equal", x, y)
    return _all_true(t, left.eq(right))


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "arcsinh": arcsinh, "arccosh": arccosh, "arctanh": arctanh, "degrees": degrees,
    "radians": radians, "rad2deg": degrees, "deg2rad": radians, "sinc": sinc, "signbit": signbit,
    "logaddexp": logaddexp, "logaddexp2": logaddexp2, "fmax": fmax, "fmin": fmin,
    "copysign": copysign, "heaviside": heaviside, "fmod": fmod, "divmod": divmod_,
    "isclose": isclose, "allclose": allclose, "array_equal": array_equal,
})
