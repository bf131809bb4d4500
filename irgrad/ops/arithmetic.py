"""Arithmetic: sums, products, quotients, powers, rounding, extrema, and what gradients use."""

from __future__ import annotations

import numpy as np

from .build import Expr
from .elementwise import Partial, add_tangents, elementwise, linear_jvp
from .record import OpDef, RuleContext
from .rules import NUMERIC

Parts = tuple[Expr | None, ...]
SIGNED = "if"


def _integer_safe_divide(x: np.ndarray, y: np.ndarray, floor: bool) -> np.ndarray:
    """Division where an integer divisor of 0 gives 0."""
    if x.dtype.kind not in "iu":  # the kind of bf16 is "V"
        return np.floor_divide(x, y) if floor else np.remainder(x, y)
    safe = np.where(y == 0, 1, y)
    result = np.floor_divide(x, safe) if floor else np.remainder(x, safe)
    return np.where(y == 0, 0, result)


def _integer_power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """NumPy's power; an integer to a negative integer power is 1/x truncated, and 0**-n is 0."""
    if x.dtype.kind not in "iu":  # the kind of bf16 is "V"
        # Of arrays without axes NumPy takes roots by sqrt, which differs at -0.0 and -inf.
        return np.power(np.atleast_1d(x), np.atleast_1d(y)).reshape(x.shape)
    base = np.power(x, np.maximum(y, 0))
    inverse = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0))
    return np.where(y >= 0, base, inverse)


def _fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x*y + z in one rounding where a wider type holds the product exactly, else within 1 ulp."""
    if x.dtype == np.float32:
        return (x.astype(np.float64) * y + z).astype(np.float32)
    if x.dtype == np.float64:
        wide = np.longdouble
        return (x.astype(wide) * y.astype(wide) + z.astype(wide)).astype(np.float64)
    return x * y + z


def _add_jvp(ctx: RuleContext, t: Parts) -> Parts:
    return (add_tangents(t),)


def _sub_jvp(ctx: RuleContext, t: Parts) -> Parts:
    return (add_tangents([t[0], None if t[1] is None else -t[1]]),)


def _neg_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None
    return (-ct[0],)


def _sub_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None
    return (ct[0] if linear[0] else None, -ct[0] if linear[1] else None)


def _mul_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None and not all(linear)
    x, y = ctx.inputs
    return (ct[0] * y, None) if linear[0] else (None, ct[0] * x)


def _div_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None and not linear[1]
    return (ct[0] / ctx.inputs[1], None)


def _scale_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None and not linear[1]
    return (ct[0].op("scale_or_zero", ctx.inputs[1]), None)


def _product_or_zero(linear: Expr, factor: Expr) -> Expr:
    """linear*factor, 0 where either is 0, whatever the other is; linear in its first operand."""
    product = linear.op("scale_or_zero", factor)
    return factor.eq(0).op("select", factor.like(0), product)


def _scale_jvp(ctx: RuleContext, t: Parts) -> Parts:
    """d(ct*s) = dct*s + ct*ds, each product 0 where one of its linear factors is 0."""
    ct, scale = ctx.inputs
    first = None if t[0] is None else t[0].op("scale_or_zero", scale)
    second = None if t[1] is None else _product_or_zero(t[1], ct)
    return (add_tangents([first, second]),)


def _extremum_partial(sign: int, first: bool) -> Partial:
    """1 for the operand that is taken, 1/2 each at a tie."""

    def partial(x: Expr, y: Expr, out: Expr) -> Expr:
        mine, other = (x, y) if first else (y, x)
        wins = mine.gt(other) if sign > 0 else mine.lt(other)
        half = mine.eq(other).op("select", mine.like(0.5), mine.like(0))
        return wins.op("select", mine.like(1), half)

    return partial


def _power_by_base(x: Expr, y: Expr, out: Expr) -> Expr:
    """y * x**(y - 1), and 0 for y == 0, where x may be 0 too."""
    return y.eq(0).op("select", y.like(0), y * x.op("power", y - 1))


def _power_by_exponent(x: Expr, y: Expr, out: Expr) -> Expr:
    """out * log(x), and 0 at x == 0 where the power is 0 for every positive exponent."""
    safe = x.eq(0).op("select", x.like(1), x)
    return out * safe.op("log")


def _div_by_divisor(x: Expr, y: Expr, out: Expr) -> Expr:
    return -(out / y)


def _fma_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None and not (linear[0] and linear[1])
    x, y, _ = ctx.inputs
    return (
        ct[0] * y if linear[0] else None,
        ct[0] * x if linear[1] else None,
        ct[0] if linear[2] else None,
    )


ZERO = None
OPS: tuple[OpDef, ...] = (
    elementwise("neg", np.negative, [ZERO], kinds=SIGNED, jvp=linear_jvp("neg"),
                transpose=_neg_transpose, numpy=("negative",)),
    elementwise("add", np.add, [ZERO, ZERO], kinds=NUMERIC, jvp=_add_jvp,
                transpose=lambda ctx, ct, linear: tuple(ct[0] if k else None for k in linear),
                numpy=("add",)),
    elementwise("sub", np.subtract, [ZERO, ZERO], kinds=NUMERIC, jvp=_sub_jvp,
                transpose=_sub_transpose, numpy=("subtract",)),
    elementwise("mul", np.multiply, [lambda x, y, out: y, lambda x, y, out: x], kinds=NUMERIC,
                transpose=_mul_transpose, numpy=("multiply",)),
    elementwise("div", np.divide, [lambda x, y, out: x.like(1) / y, _div_by_divisor],
                guarded=True, transpose=_div_transpose, flops=4, numpy=("divide", "true_divide")),
    elementwise("floor_divide", lambda x, y: _integer_safe_divide(x, y, True), [ZERO, ZERO],
                kinds=NUMERIC, flops=5, numpy=("floor_divide",)),
    elementwise("remainder", lambda x, y: _integer_safe_divide(x, y, False),
                [lambda x, y, out: x.like(1), lambda x, y, out: -x.op("floor_divide", y)],
                kinds=NUMERIC, guarded=True, flops=6, numpy=("remainder", "mod")),
    elementwise("power", _integer_power, [_power_by_base, _power_by_exponent], kinds="if",
                guarded=True, domain=(0.1, 3.0), flops=40, numpy=("power", "pow")),
    elementwise("abs", np.abs, [lambda x, out: x.op("sign")], kinds=SIGNED,
                numpy=("abs", "absolute", "fabs")),
    elementwise("sign", np.sign, [ZERO], kinds=SIGNED, numpy=("sign",)),
    elementwise("floor", np.floor, [ZERO], numpy=("floor",)),
    elementwise("ceil", np.ceil, [ZERO], numpy=("ceil",)),
    elementwise("round", np.rint, [ZERO], numpy=("rint", "round")),
    elementwise("trunc", np.trunc, [ZERO], numpy=("trunc", "fix")),
    elementwise("maximum", np.maximum, [_extremum_partial(1, True), _extremum_partial(1, False)],
                kinds="iufb", numpy=("maximum",)),
    elementwise("minimum", np.minimum, [_extremum_partial(-1, True), _extremum_partial(-1, False)],
                kinds="iufb", numpy=("minimum",)),
    elementwise("relu", lambda x: np.maximum(x, x.dtype.type(0)),
                [lambda x, out: x.gt(0).op("select", x.like(1), x.like(0))],
                scalar=lambda k, x: k.maximum(x, k.constant(0)), kinds=SIGNED),
    elementwise("fma", _fma,
                [lambda x, y, z, out: y, lambda x, y, z, out: x, lambda x, y, z, out: x.like(1)],
                transpose=_fma_transpose, flops=2),
    elementwise("scale_or_zero", lambda ct, s: np.where(ct == 0, ct.dtype.type(0), ct * s),
                [ZERO, ZERO], jvp=_scale_jvp, transpose=_scale_transpose, flops=2,
                scalar=lambda k, ct, s: k.select(k.eq(ct, k.constant(0)), k.constant(0),
                                                 k.mul(ct, s))),
)
