"""Elementary functions of floats: exponentials, logarithms, roots, trigonometry, erf."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .build import Expr
from .elementwise import Partial, elementwise
from .record import OpDef

LN2 = math.log(2.0)
LN10 = math.log(10.0)
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


def _in_double(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """`function` on operands widened to float64; the caller rounds the result."""

    def meaning(*operands: np.ndarray) -> np.ndarray:
        return function(*(x.astype(np.float64, copy=False) for x in operands))

    return meaning


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1/(1+exp(-x)), through exp(-|x|) so that neither tail overflows or cancels."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0.0)


def _erf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf  # importing irgrad must not load scipy

    return erf(x)


def _erfc(x: np.ndarray) -> np.ndarray:
    from scipy.special import erfc  # importing irgrad must not load scipy

    return erfc(x)


def _asin_slope(x: Expr, out: Expr) -> Expr:
    """1/sqrt(1-x^2), factored so that 1-x^2 keeps its digits near +-1."""
    return ((1 - x) * (1 + x)).op("rsqrt")


def _gauss(x: Expr) -> Expr:
    return (-(x * x)).op("exp") * TWO_OVER_SQRT_PI


def _atan2_by_y(y: Expr, x: Expr, out: Expr) -> Expr:
    """x/(x^2+y^2), divided twice by the length so that no square overflows."""
    length = y.op("hypot", x)
    return (x / length) / length


def _atan2_by_x(y: Expr, x: Expr, out: Expr) -> Expr:
    length = y.op("hypot", x)
    return -((y / length) / length)


def _over_length(part: Expr, length: Expr) -> Expr:
    """part/length, and constantly 0 at length 0: all derivatives of a norm at 0 are taken as 0."""
    origin = length.eq(0)
    ratio = part / origin.op("select", length.like(1), length)
    return origin.op("select", part.like(0), ratio)


def _hypot_scalar(k: Any, x: Any, y: Any) -> Any:
    """m*sqrt(1 + (n/m)^2) with m the larger of |x|, |y|, n the smaller; infinite if either is."""
    a, b = k.abs(x), k.abs(y)
    large, small = k.maximum(a, b), k.minimum(a, b)
    zero, one, infinity = k.constant(0), k.constant(1), k.constant(math.inf)
    ratio = k.div(small, k.select(k.eq(large, zero), one, large))
    length = k.mul(large, k.sqrt(k.fma(ratio, ratio, one)))
    return k.select(k.or_(k.eq(a, infinity), k.eq(b, infinity)), infinity, length)


def _op(
    name: str,
    function: Callable[..., np.ndarray],
    *partials: Partial,
    flops: int,
    domain: tuple[float, float] = (-3.0, 3.0),
    guarded: bool = False,
    scalar: Callable[..., Any] | None = None,
    numpy: tuple[str, ...] = (),
) -> OpDef:
    """The record of an elementary function whose NumPy meaning is computed in float64."""
    return elementwise(
        name, _in_double(function), partials, domain=domain, guarded=guarded, scalar=scalar,
        flops=flops, numpy=numpy,
    )


POSITIVE = (0.2, 4.0)
OPS: tuple[OpDef, ...] = (
    _op("exp", np.exp, lambda x, out: out, flops=12, numpy=("exp",)),
    _op("exp2", np.exp2, lambda x, out: out * LN2, flops=12, numpy=("exp2",)),
    _op("expm1", np.expm1, lambda x, out: out + 1, flops=16, numpy=("expm1",)),
    _op("log", np.log, lambda x, out: 1 / x, flops=14, domain=POSITIVE, guarded=True,
        numpy=("log",)),
    _op("log2", np.log2, lambda x, out: (1 / LN2) / x, flops=14, domain=POSITIVE, guarded=True,
        numpy=("log2",)),
    _op("log1p", np.log1p, lambda x, out: 1 / (1 + x), flops=18, domain=(-0.8, 3.0), guarded=True,
        numpy=("log1p",)),
    _op("log10", np.log10, lambda x, out: (1 / LN10) / x, flops=14, domain=POSITIVE, guarded=True,
        numpy=("log10",)),
    _op("sqrt", np.sqrt, lambda x, out: 0.5 / out, flops=4, domain=POSITIVE, guarded=True,
        numpy=("sqrt",)),
    _op("rsqrt", lambda x: 1.0 / np.sqrt(x), lambda x, out: -0.5 * (out / x), flops=5,
        domain=POSITIVE, guarded=True),
    _op("cbrt", np.cbrt, lambda x, out: (1 / 3) / (out * out), flops=16, domain=POSITIVE,
        guarded=True, numpy=("cbrt",)),
    _op("tanh", np.tanh, lambda x, out: 1 - out * out, flops=16, numpy=("tanh",)),
    _op("sigmoid", _sigmoid, lambda x, out: out * (1 - out), flops=16),
    _op("softplus", _softplus, lambda x, out: x.op("sigmoid"), flops=30),
    _op("erf", _erf, lambda x, out: _gauss(x), flops=20),
    _op("erfc", _erfc, lambda x, out: -_gauss(x), flops=24),
    _op("sin", np.sin, lambda x, out: x.op("cos"), flops=14, numpy=("sin",)),
    _op("cos", np.cos, lambda x, out: -x.op("sin"), flops=14, numpy=("cos",)),
    _op("tan", np.tan, lambda x, out: 1 + out * out, flops=20, domain=(-1.2, 1.2), guarded=True,
        numpy=("tan",)),
    _op("asin", np.arcsin, _asin_slope, flops=18, domain=(-0.9, 0.9), guarded=True,
        numpy=("arcsin", "asin")),
    _op("acos", np.arccos, lambda x, out: -_asin_slope(x, out), flops=18, domain=(-0.9, 0.9),
        guarded=True, numpy=("arccos", "acos")),
    _op("atan", np.arctan, lambda x, out: 1 / (1 + x * x), flops=18, numpy=("arctan", "atan")),
    _op("sinh", np.sinh, lambda x, out: x.op("cosh"), flops=20, numpy=("sinh",)),
    _op("cosh", np.cosh, lambda x, out: x.op("sinh"), flops=18, numpy=("cosh",)),
    _op("atan2", np.arctan2, _atan2_by_y, _atan2_by_x, flops=24, domain=POSITIVE, guarded=True,
        numpy=("arctan2", "atan2")),
    _op("reciprocal", np.reciprocal, lambda x, out: -(out * out), flops=4, domain=POSITIVE,
        guarded=True, scalar=lambda k, x: k.div(k.constant(1), x), numpy=("reciprocal",)),
    _op("square", np.square, lambda x, out: x + x, flops=1, scalar=lambda k, x: k.mul(x, x),
        numpy=("square",)),
    _op("hypot", np.hypot, lambda x, y, out: _over_length(x, out),
        lambda x, y, out: _over_length(y, out), flops=12, guarded=True, scalar=_hypot_scalar,
        numpy=("hypot",)),
)
