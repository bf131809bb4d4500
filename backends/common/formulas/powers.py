"""Powers and roots: pow, cbrt, rsqrt."""

from __future__ import annotations

import math

from .exponentials import exp2_pair
from .lanes import Lanes, V
from .logarithms import DENORMAL_SCALE, LOG2_E, exponent, split

TWO_THIRDS = {
    "f32": (0.6666666865348816, -1.9868215517249155e-08),
    "f64": (0.6666666666666666, 3.700743415417188e-17),
}
# (log((1+s) / (1-s)) / s - 2 - 2/3 s**2) / s**4 in s**2, own Remez fit
LOG_REST = {
    "f32": (0.3999999463558197, 0.2857246398925781, 0.22155731916427612, 0.1991756558418274),
    "f64": (
        0.3999999999999998, 0.2857142857144384, 0.2222222221778951, 0.18181818844055028,
        0.15384558421972652, 0.1333626483626064, 0.11675772273136042, 0.11981835918996497,
    ),
}  # fmt: skip
# x**(-1/3) on [1/2, 4), relative error 2**-7.1
INVERSE_CUBE_ROOT = (
    1.6854521036148071, -1.1109445095062256, 0.5469057559967041, -0.13091862201690674,
    0.011800654232501984,
)  # fmt: skip
# ((1 - h)**(-1/3) - 1) / h
CUBE_ROOT_SERIES = {
    "f32": (1.0 / 3.0, 2.0 / 9.0, 14.0 / 81.0),
    "f64": (1.0 / 3.0, 2.0 / 9.0, 14.0 / 81.0, 35.0 / 243.0),
}


def rsqrt(m: Lanes[V], x: V) -> V:
    """1 / sqrt(x); inf at 0.0, -inf at -0.0, NaN below."""
    return 1.0 / m.sqrt(x)


def cbrt(m: Lanes[V], x: V) -> V:
    """The cube root: x = 2**(3n) * a with 1/2 <= a < 4, and the sign of x.

    y approximates a**(-1/3) by a polynomial and one step of its series, c = a * y**2 the cube root;
    one Newton step with the exact residual a - c**3 finishes it.
    """
    fmt = m.fmt
    magnitude = m.abs(x)
    a, n = _split_thirds(m, magnitude)
    y = m.horner(a, INVERSE_CUBE_ROOT)
    h = m.fma(-(y * y * y), a, 1.0)
    y = m.fma(y * h, m.horner(h, CUBE_ROOT_SERIES[fmt.name]), y)
    square = y * y
    c = a * square
    c_square = c * c
    residual = m.fma(-c_square, c, a) - m.fma(c, c, -c_square) * c
    c = m.fma(residual, square * (1.0 / 3.0), c)
    shifted = n + (fmt.round_shift + fmt.bias)
    c = c * m.real(m.bits(shifted) << fmt.fraction)
    c = m.select(magnitude < math.inf, m.select(magnitude > 0.0, c, magnitude), magnitude)
    return m.flip_sign(c, m.sign(x))


def power(m: Lanes[V], x: V, y: V) -> V:
    """x**y with the special values of C99's pow: 2**(y * log2 |x|), the product in two floats."""
    magnitude = m.abs(x)
    high, low = _log2_pair(m, magnitude)
    high = m.select(magnitude < math.inf, high, magnitude)
    high = m.select(magnitude > 0.0, high, m.select(magnitude.equals(0.0), -math.inf, high))
    product = y * high
    lost = m.fma(y, high, -product) + y * low
    lost = m.select(m.abs(product) < 4.0 * m.fmt.bias, lost, 0.0)
    product = m.select(magnitude.equals(1.0) | y.equals(0.0), 0.0, product)
    return _power_sign(m, x, y, exp2_pair(m, product, lost))


def _power_sign(m: Lanes[V], x: V, y: V, result: V) -> V:
    """|x|**y with the sign of x where y is odd, NaN where x < 0 is finite and y no integer."""
    half = y * 0.5
    whole = m.floor(y).equals(y)
    even = m.floor(half).equals(half)
    signed = m.select(whole, m.select(even, result, m.flip_sign(result, m.sign(x))), result)
    whole_or_nan = m.select(whole, signed, math.nan)
    return m.select((x < 0.0) & (x > -math.inf), whole_or_nan, signed)


def _log2_pair(m: Lanes[V], x: V) -> tuple[V, V]:
    """log2 of a positive finite x in two floats.

    log(1+f) = 2s + s * s**2 * (2/3 + ...) with s = f / (2+f), all in two floats but the last terms.
    """
    name = m.fmt.name
    e, f = split(m, x)
    divisor = f + 2.0
    divisor_lost = f - (divisor - 2.0)
    inverse = 1.0 / divisor
    s = f * inverse
    s_lost = m.fma(-s, divisor_lost, m.fma(-s, divisor, f)) * inverse
    z = s * s
    z_lost = m.fma(s, s_lost + s_lost, m.fma(s, s, -z))
    third_high, third_low = TWO_THIRDS[name]
    rest = z * m.horner(z, LOG_REST[name])
    q = rest + third_high
    q_lost = rest - (q - third_high) + third_low
    u, u_lost = _times(m, z, z_lost, q, q_lost)
    w, w_lost = _times(m, s, s_lost, u, u_lost)
    twice = s + s
    total = twice + w
    total_lost = w - (total - twice) + (w_lost + s_lost + s_lost)
    factor_high, factor_low = LOG2_E[name]
    t, t_lost = _times(m, total, total_lost, m.constant(factor_high), m.constant(factor_low))
    high = e + t
    return high, t - (high - e) + t_lost


def _times(m: Lanes[V], a: V, a_low: V, b: V, b_low: V) -> tuple[V, V]:
    """The product of two numbers in two floats each (Dekker 1971, with fma)."""
    high = a * b
    return high, m.fma(a, b_low, m.fma(a_low, b, m.fma(a, b, -high)))


def _split_thirds(m: Lanes[V], x: V) -> tuple[V, V]:
    """(a, n): x = 2**(3n) * a with 1/2 <= a < 4 and the integer n as a float, for positive x."""
    fmt = m.fmt
    scale = 3 * (DENORMAL_SCALE[fmt.name] // 3 + 1)
    small = x < fmt.smallest_normal
    word = m.bits(m.select(small, x * 2.0**scale, x))
    e = exponent(m, word)
    n = m.fma(e, 1.0 / 3.0, fmt.round_shift) - fmt.round_shift
    d = m.fma(n, -3.0, e)
    # 2**d for d in (-1, 0, 1)
    factor = m.fma(d, m.fma(d, 0.25, 0.75), 1.0)
    mantissa = m.real((word & ((1 << fmt.fraction) - 1)) | fmt.one)
    return mantissa * factor, m.select(small, n - float(scale // 3), n)
