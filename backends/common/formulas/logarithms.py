"""Logarithms: log, log1p, log2, log10 and softplus.

x = 2**e * (1 + f) with 1 + f in [2/3, 4/3) for f32 and [sqrt(1/2), sqrt(2)) for f64. f32 takes a
minimax polynomial in f; f64 the series in s = f / (2 + f) of fdlibm's e_log.c. Coefficients: own
Remez fits, rounded one after another.
"""

from __future__ import annotations

import math

from .exponentials import LN2_HIGH, LN2_LOW, exp
from .lanes import Lanes, V

# (log1p(f) - f + f**2/2) / f**3 on |f| <= 1/3; relative error of log1p 2**-27.7
LOG_F32 = (
    0.3333321511745453, -0.2499980330467224, 0.20010456442832947, -0.16680192947387695,
    0.1400502473115921, -0.12188845127820969, 0.13988667726516724, -0.12869946658611298,
)  # fmt: skip

# (log((1+s) / (1-s)) - 2s) / s**3 in s**2; error relative to s 2**-58.5
LOG_F64 = (
    0.6666666666666734, 0.3999999999941656, 0.2857142874205783, 0.2222219860089985,
    0.18183563129565097, 0.15314076011395544, 0.14795739666385033,
)  # fmt: skip

# Two-part constants: log2(e), log10(e) and log10(2).
LOG2_E = {
    "f32": (1.4426950216293335, 1.925963033500011e-08),
    "f64": (1.4426950408889634, 2.0355273740931033e-17),
}
LOG10_E = {
    "f32": (0.4342944920063019, -1.0103049952192578e-08),
    "f64": (0.4342944819032518, 1.098319650216765e-17),
}
LOG10_2 = {
    "f32": (0.3010300099849701, -1.432098883924482e-08),
    "f64": (0.3010299956639812, -2.8037281277851704e-18),
}
# Bits of the least 1 + f.
START = {"f32": 0x3F2AAAAB, "f64": 0x3FE6A09E667F3BCD}
# Denormal arguments are first scaled by two to this power.
DENORMAL_SCALE = {"f32": 23, "f64": 52}


def log(m: Lanes[V], x: V) -> V:
    """The natural logarithm; -inf at 0, NaN below."""
    e, f = split(m, x)
    return _specials(m, x, _log_sum(m, e, f))


def log1p(m: Lanes[V], x: V) -> V:
    """log(1 + x), accurate near 0; -inf at -1, NaN below."""
    u = x + 1.0
    y = m.select(m.abs(x) < m.fmt.smallest_normal, x, log1p_finite(m, x, u))
    return _specials(m, u, y)


def log1p_finite(m: Lanes[V], x: V, u: V) -> V:
    """log(1 + x) for a finite u > 0, the rounded 1 + x = 2**e * (1 + f).

    f = x/2**e + (1/2**e - 1) keeps the digits of x that u lost.
    """
    fmt = m.fmt
    word = m.bits(u) + (fmt.one - START[fmt.name])
    field = word & ((1 << fmt.bits) - (1 << fmt.fraction))
    # 2**-e may be denormal, so its bits are made four times larger.
    inverse = m.real(2 * fmt.one + (2 << fmt.fraction) - field) * 0.25
    return _log_sum(m, exponent(m, word), m.fma(x, inverse, inverse - 1.0))


def softplus(m: Lanes[V], x: V) -> V:
    """log(1 + e**x) as max(x, 0) + log1p(e**-|x|)."""
    z = exp(m, -m.abs(x))
    return m.maximum(0.0, x) + log1p_finite(m, z, z + 1.0)


def log2(m: Lanes[V], x: V) -> V:
    """The logarithm of base 2, exact at powers of two; -inf at 0, NaN below."""
    e, f = split(m, x)
    return _specials(m, x, e + _log1p_times(m, f, LOG2_E))


def log10(m: Lanes[V], x: V) -> V:
    """The logarithm of base 10; -inf at 0, NaN below."""
    e, f = split(m, x)
    high, low = LOG10_2[m.fmt.name]
    y = _log1p_times(m, f, LOG10_E)
    return _specials(m, x, m.fma(e, high, m.fma(e, low, y)))


def split(m: Lanes[V], x: V) -> tuple[V, V]:
    """(e, f) of a positive finite x, the exponent e as a float."""
    fmt = m.fmt
    scale = DENORMAL_SCALE[fmt.name]
    small = x < fmt.smallest_normal
    word = m.bits(m.select(small, x * 2.0**scale, x)) + (fmt.one - START[fmt.name])
    mantissa = (word & ((1 << fmt.fraction) - 1)) + START[fmt.name]
    e = exponent(m, word)
    return m.select(small, e - float(scale), e), m.real(mantissa) - 1.0


def exponent(m: Lanes[V], word: V) -> V:
    """The exponent field of the bits `word` (sign bit clear), less the bias, as a float."""
    fmt = m.fmt
    offset = 2.0**fmt.fraction
    biased = (word >> fmt.fraction) | ((fmt.bias + fmt.fraction) << fmt.fraction)
    return m.real(biased) - (offset + fmt.bias)


def _log_sum(m: Lanes[V], e: V, f: V) -> V:
    """e * ln2 + log1p(f) for a reduced f."""
    name = m.fmt.name
    return m.fma(e, LN2_HIGH[name], f + m.fma(e, LN2_LOW[name], _log1p_rest(m, f)))


def _log1p_times(m: Lanes[V], f: V, factor: dict[str, tuple[float, float]]) -> V:
    """log1p(f) * factor for a reduced f and a factor given in two parts."""
    high, low = factor[m.fmt.name]
    return m.fma(f, high, m.fma(f, low, _log1p_rest(m, f) * high))


def _log1p_rest(m: Lanes[V], f: V) -> V:
    """log1p(f) - f for a reduced f."""
    if m.fmt.name == "f32":
        return f * f * m.fma(f, m.horner(f, LOG_F32), -0.5)
    half_square = f * f * 0.5
    s = f / (f + 2.0)
    z = s * s
    return m.fma(s, m.fma(z, m.horner(z, LOG_F64), half_square), -half_square)


def _specials(m: Lanes[V], x: V, y: V) -> V:
    """y, with infinity and NaN of x passed on, -inf where x is 0 and NaN where x is negative."""
    y = m.select(x < math.inf, y, x)
    return m.select(x <= 0.0, m.select(x < 0.0, math.nan, -math.inf), y)
