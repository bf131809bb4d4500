"""Functions that act on each element: those of the op registry, conversion and choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...errors import ArgumentError, DTypeError
from ...ir.types import BOOL, F64, DType, TensorType, dtype_of
from ...ops.build import Expr
from ...ops.record import OpDef
from ...ops.registry import REGISTRY
from ..context import Trace
from ..dispatch import plain_array, refuse, traced
from ..promotion import Loop, inexact, ufunc_loop
from ..tracer import Tracer
from .operands import (
    Number,
    as_dtype,
    as_number,
    as_static_int,
    broadcast_shapes,
    common_dtype,
    fit,
    kind_of,
    operands,
    require_real,
    spread,
)

# What NumPy's loops for bool compute, for ops that are not defined on bool.
_ON_BOOL: Mapping[str, str] = MappingProxyType({
    "add": "logical_or",
    "mul": "logical_and",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
})
_IDENTITY_ON_WHOLE = frozenset({"floor", "ceil", "trunc", "abs"})
_FIXED_ON_WHOLE: Mapping[str, bool] = MappingProxyType(
    {"isnan": False, "isinf": False, "isfinite": True}
)


def _apply(t: Trace, ufunc: np.ufunc, op: str, *xs: Any) -> Tracer:
    """One elementwise op of the registry with the promotion of the NumPy ufunc of that meaning."""
    given = operands(t, *xs)
    loop = ufunc_loop(ufunc, tuple(kind_of(x) for x in given))
    shape = broadcast_shapes(ufunc.__name__, [x.type for x in given])
    exprs = [fit(t, x, dtype, shape) for x, dtype in zip(given, loop.operands)]
    return t.wrap(_emit(t, op, exprs, loop), loop.weak)


def _emit(t: Trace, op: str, exprs: list[Expr], loop: Loop) -> Expr:
    """The op on operands in the dtype of NumPy's loop, which may be one that the op lacks."""
    first = exprs[0]
    if not first.dtype.is_float:
        require_real(op, first.dtype)
        if op in _FIXED_ON_WHOLE:
            return t.builder.constant(_FIXED_ON_WHOLE[op], TensorType(BOOL, first.shape))
        if op in _IDENTITY_ON_WHOLE and (first.dtype is BOOL or op != "abs"):
            return first
        if op == "square":
            return first.op("mul", first) if first.dtype is not BOOL else first
        if op == "reciprocal":
            unit = first.eq(1)
            if first.dtype.kind == "i":
                unit = unit.op("logical_or", first.eq(-1))
            return chosen(unit, first, first.like(0))
        if first.dtype is BOOL:
            op = _ON_BOOL.get(op, op)
    if op.startswith("logical_"):
        exprs = [x if x.dtype is BOOL else x.op("cast", dtype=BOOL) for x in exprs]
    return t.builder.one(op, *exprs)


def _registry_function(name: str, ufunc: np.ufunc, op: OpDef) -> Callable[..., Any]:
    """The traced function of a registry op that is a NumPy ufunc."""

    def function(t: Trace, /, *xs: Any, out: None = None, dtype: Any = None) -> Tracer:
        refuse(name, out=out, dtype=dtype)
        if len(xs) != ufunc.nin:
            raise ArgumentError(f"{name}: expected {ufunc.nin} operands, got {len(xs)}")
        return _apply(t, ufunc, op.name, *xs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{ufunc.__name__}, elementwise."
    return traced(ufunc)(function)


def registry_functions() -> dict[str, Callable[..., Any]]:
    """A function for each NumPy name of an elementwise op that is a ufunc of one result."""
    found: dict[str, Callable[..., Any]] = {}
    for op in REGISTRY.values():
        for name in op.numpy if op.family == "elementwise" else ():
            ufunc = getattr(np, name, None)
            if isinstance(ufunc, np.ufunc) and ufunc.nout == 1:
                found[name] = _registry_function(name, ufunc, op)
    return found


def op_function(name: str, meaning: str) -> Callable[[Any], Any]:
    """A function of one float operand that NumPy lacks, from its op; integers become float64.

    meaning: the function's docstring.
    """

    def outside(x: Any) -> Any:
        array = plain_array(name, x)
        dtype = dtype_of(array.dtype)
        require_real(name, dtype)
        array = array.astype(inexact(dtype).numpy)
        (result,) = REGISTRY[name].evaluate([array], {}, None)  # type: ignore[arg-type]
        return result[()]

    @traced(outside)
    def function(t: Trace, x: Any) -> Tracer:
        traced_x = t.lift(x)
        require_real(name, traced_x.type.dtype)
        converted = t.convert(traced_x, inexact(traced_x.type.dtype))
        return t.wrap(converted.op(name), traced_x.weak)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = meaning
    return function


erf = op_function("erf", "The error function, 2 / sqrt(pi) * integral of exp(-t**2) from 0 to x.")
erfc = op_function("erfc", "1 - erf(x), with the digits of small results.")
sigmoid = op_function("sigmoid", "1 / (1 + exp(-x)).")
softplus = op_function("softplus", "log(1 + exp(x)), without overflow.")
relu = op_function("relu", "x above 0, else 0, as is the derivative at 0.")
rsqrt = op_function("rsqrt", "1 / sqrt(x).")


@traced(lambda x: x)
def stop_gradient(t: Trace, x: Any) -> Tracer:
    """The value itself, with derivative zero."""
    traced_x = t.lift(x)
    return t.wrap(traced_x.expr.op("stop_gradient"), traced_x.weak)


# -- conversion and choice -------------------------------------------------------------------------


def cast(t: Trace, x: Any, dtype: DType) -> Tracer:
    """An explicit conversion, which is no widening."""
    traced_x = t.lift(x)
    if traced_x.type.dtype is dtype:
        return t.wrap(traced_x.expr)
    return t.wrap(traced_x.expr.op("cast", dtype=dtype))


@traced(lambda x, dtype, /, **options: np.asanyarray(x).astype(dtype, **options))
def astype(t: Trace, x: Any, dtype: Any, /, *, copy: bool = True) -> Tracer:
    """Convert to another dtype. Floats to integers saturate, NaN becomes 0."""
    return cast(t, x, as_dtype(dtype))


def promoted(t: Trace, function: str, *xs: Any) -> tuple[list[Expr], bool]:
    """Operands in their common dtype and shape, and whether all of them are weak."""
    given = operands(t, *xs)
    dtype, weak = common_dtype(function, given)
    shape = broadcast_shapes(function, [x.type for x in given])
    return [fit(t, x, dtype, shape) for x in given], weak


def chosen(condition: Expr, x: Expr, y: Expr) -> Expr:
    """Elements of `x` where the condition holds and of `y` elsewhere, all of one shape."""
    return condition.op("select", x, y)


def as_condition(t: Trace, x: Any) -> Expr:
    """The truth value of each element."""
    return cast(t, x, BOOL).expr


@traced(np.where)
def where(t: Trace, condition: Any, x: Any = None, y: Any = None, /) -> Tracer:
    """Elements of `x` where the condition holds and of `y` elsewhere."""
    if x is None or y is None:
        raise ArgumentError(
            "where: expected a condition and two values, got the condition alone, whose result has "
            "a shape that depends on the data; write np.where(condition, x, y)"
        )
    given = operands(t, x, y)
    dtype, weak = common_dtype("where", given)
    test = as_condition(t, condition)
    shape = broadcast_shapes("where", [test.type, *(v.type for v in given)])
    taken, other = (fit(t, v, dtype, shape) for v in given)
    return t.wrap(spread(test, shape).op("select", taken, other), weak)


@traced(np.clip)
def clip(
    t: Trace, a: Any, a_min: Any = None, a_max: Any = None, out: None = None, *,
    min: Any = None, max: Any = None,
) -> Tracer:
    """Elements held between two bounds, of which either may be None."""
    refuse("clip", out=out)
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise ArgumentError("clip: expected each bound once, got it by position and by name")
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    bounds = [bound for bound in (low, high) if bound is not None]
    (x, *limits), weak = promoted(t, "clip", a, *bounds)
    if low is not None:
        x = x.op("maximum", limits.pop(0))
    if high is not None:
        x = x.op("minimum", limits.pop(0))
    return t.wrap(x, weak)


@traced(np.nan_to_num)
def nan_to_num(
    t: Trace, x: Any, copy: bool = True, nan: float = 0.0, posinf: float | None = None,
    neginf: float | None = None,
) -> Tracer:
    """NaN and infinities replaced by numbers, by default 0 and the largest finite ones."""
    traced_x = t.lift(x)
    value = traced_x.expr
    require_real("nan_to_num", value.dtype)
    limits = np.finfo(value.dtype.numpy) if value.dtype.is_float else np.finfo(np.float64)
    high = float(limits.max) if posinf is None else as_number("nan_to_num", "posinf", posinf)
    low = float(limits.min) if neginf is None else as_number("nan_to_num", "neginf", neginf)
    number = as_number("nan_to_num", "nan", nan)
    if not value.dtype.is_float:
        return traced_x
    infinite = value.op("isinf")
    positive = infinite.op("logical_and", value.gt(0))
    negative = infinite.op("logical_and", value.lt(0))
    result = value.op("isnan").op("select", value.like(number), value)
    result = positive.op("select", value.like(high), result)
    return t.wrap(negative.op("select", value.like(low), result), traced_x.weak)


# -- numbers --------------------------------------------------------------------------------------


@traced(np.positive)
def positive(t: Trace, x: Any) -> Tracer:
    """The value itself, of numeric dtype."""
    traced_x = t.lift(x)
    ufunc_loop(np.positive, (kind_of(traced_x),))
    return traced_x


@traced(np.conj)
def conjugate(t: Trace, x: Any) -> Tracer:
    """The complex conjugate, which is the value itself for real dtypes."""
    traced_x = t.lift(x)
    require_real("conjugate", traced_x.type.dtype)
    ufunc_loop(np.conjugate, (kind_of(traced_x),))
    return traced_x


@traced(np.real)
def real(t: Trace, val: Any) -> Tracer:
    """The real part, which is the value itself for real dtypes."""
    traced_val = t.lift(val)
    require_real("real", traced_val.type.dtype)
    return traced_val


@traced(np.imag)
def imag(t: Trace, val: Any) -> Tracer:
    """The imaginary part, which is 0 for real dtypes."""
    value = t.lift(val).expr
    require_real("imag", value.dtype)
    return t.wrap(value.like(0))


@traced(np.invert)
def invert(t: Trace, x: Any) -> Tracer:
    """Each bit inverted; the logical negation of bool."""
    traced_x = t.lift(x)
    value = traced_x.expr
    if value.dtype is BOOL:
        return t.wrap(value.op("logical_not"))
    ufunc_loop(np.invert, (kind_of(traced_x),))
    ones = int(np.iinfo(value.dtype.numpy).max) if value.dtype.kind == "u" else -1
    return t.wrap(value.op("bitwise_xor", value.like(ones)), traced_x.weak)


@traced(np.fix)
def fix(t: Trace, x: Any) -> Tracer:
    """Rounded towards 0."""
    return _apply(t, np.trunc, "trunc", x)


@traced(np.round)
def round_(t: Trace, a: Any, decimals: int = 0, out: None = None) -> Tracer:
    """Rounded to a number of decimals, halves to even."""
    refuse("round", out=out)
    places = as_static_int("round", "decimals", decimals)
    traced_a = t.lift(a)
    value = traced_a.expr
    require_real("round", value.dtype)
    ufunc_loop(np.rint, (kind_of(traced_a),))
    if value.dtype.is_integer:
        if places < 0:
            raise DTypeError("round: expected decimals >= 0 for integers, got a negative number")
        return traced_a
    if places == 0:
        return t.wrap(value.op("round"), traced_a.weak)
    scale = 10.0 ** abs(places)
    if places > 0:
        return t.wrap((value * scale).op("round") / scale, traced_a.weak)
    return t.wrap((value / scale).op("round") * scale, traced_a.weak)


@traced(np.power)
def power(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """`x1` to the power `x2`; constant exponents 2, 1/2 and -1 become their own functions.

    Raises DTypeError for integers to a negative constant power, as NumPy does.
    """
    base, exponent = operands(t, x1, x2)
    loop = ufunc_loop(np.power, (kind_of(base), kind_of(exponent)))
    dtype = loop.operands[0]
    number = exponent.value if isinstance(exponent, Number) else None
    if number is not None:
        if dtype.is_integer and number < 0:
            raise DTypeError(
                f"power: expected an exponent >= 0 for integers, got {number}; convert the base "
                "with astype(float)"
            )
        named = _named_power(float(number), dtype)
        if named is not None:
            x = fit(t, base, dtype, base.type.shape)
            return t.wrap(named(x), loop.weak)
    shape = broadcast_shapes("power", [base.type, exponent.type])
    return t.wrap(
        fit(t, base, dtype, shape).op("power", fit(t, exponent, dtype, shape)), loop.weak
    )


def _named_power(exponent: float, dtype: DType) -> Callable[[Expr], Expr] | None:
    if exponent == 1.0:
        return lambda x: x
    if exponent == 2.0:
        return (lambda x: x.op("square")) if dtype.is_float else (lambda x: x.op("mul", x))
    if exponent == 0.5 and dtype.is_float:
        return lambda x: x.op("sqrt")
    if exponent == -1.0 and dtype.is_float:
        return lambda x: x.op("reciprocal")
    return None


@traced(np.float_power)
def float_power(t: Trace, x1: Any, x2: Any, /) -> Tracer:
    """`x1` to the power `x2` in float64."""
    return power(cast(t, x1, F64), cast(t, x2, F64))


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "astype": astype, "where": where, "clip": clip, "nan_to_num": nan_to_num,
    "positive": positive, "conjugate": conjugate, "real": real, "imag": imag, "invert": invert,
    "fix": fix, "round": round_, "power": power, "float_power": float_power,
})
