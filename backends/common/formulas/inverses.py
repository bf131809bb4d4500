"""Inverse trigonometric functions: asin, acos, atan, atan2. Coefficients: own Remez fits."""

from __future__ import annotations

import math

from .lanes import Lanes, V

# pi/4 in two parts
PI_4 = {
    "f32": (0.7853981852531433, -2.1855694143368964e-08),
    "f64": (0.7853981633974483, 3.061616997868383e-17),
}

# (atan(q) - q) / q**3 in q**2 on |q| <= 1/2; relative error 2**-27.5 and 2**-57.8
ATAN = {
    "f32": (
        -0.333332359790802, 0.19994285702705383, -0.1417565494775772, 0.10162805765867233,
        -0.05136793106794357,
    ),
    "f64": (
        -0.33333333333332993, 0.19999999999905613, -0.14285714276584033, 0.11111110667491149,
        -0.09090896426024765, 0.07692076546301789, -0.06663835694866518, 0.05858457735223337,
        -0.05122668707075087, 0.04188256239617668, -0.027461513584250058, 0.01013445221787912,
    ),
}  # fmt: skip

# (asin(w) - w) / w**3 in w**2 on |w| <= 1/2; relative error 2**-27.6 and 2**-55.9
ASIN = {
    "f32": (
        0.16666753590106964, 0.07495249062776566, 0.045476656407117844, 0.024148164317011833,
        0.042219746857881546,
    ),
    "f64": (
        0.16666666666665378, 0.07500000000344402, 0.04464285682224606, 0.030381959386072924,
        0.022371752130697878, 0.01735979313387053, 0.013884371942069667, 0.012174819360891695,
        0.0065039858839992404, 0.019593220023331404, -0.016325139355877875, 0.03198074788131125,
    ),
}  # fmt: skip


def asin(m: Lanes[V], x: V) -> V:
    """pi/2 - 2 asin(sqrt((1 - |x|) / 2)) above 1/2; NaN outside [-1, 1]."""
    small, w, rest = _asin_parts(m, x)
    high, low = PI_4[m.fmt.name]
    factor = m.select(small, 1.0, -2.0)
    base = m.select(small, 0.0, 2.0 * high)
    angle = w * factor
    total = base + angle
    lost = angle - (total - base)
    y = total + (lost + m.fma(rest, factor, m.select(small, 0.0, 2.0 * low)))
    return m.flip_sign(y, m.sign(x))


def acos(m: Lanes[V], x: V) -> V:
    """2 asin(sqrt((1 - |x|) / 2)) above 1/2, pi minus it below -1/2, pi/2 - asin(x) between."""
    small, w, rest = _asin_parts(m, x)
    negative = x < 0.0
    factor = m.select(small, m.select(negative, 1.0, -1.0), m.select(negative, -2.0, 2.0))
    count = m.select(small, 2.0, m.select(negative, 4.0, 0.0))
    return _quarters(m, count, w * factor, rest * factor)


def atan(m: Lanes[V], x: V) -> V:
    """The arc tangent."""
    magnitude = m.abs(x)
    inverted = magnitude > 1.0
    numerator, divisor = m.select(inverted, 1.0, magnitude), m.select(inverted, magnitude, 1.0)
    count, q, rest = _atan_parts(m, numerator, divisor)
    y = _mirror(m, inverted, 2.0, count, q, rest)
    return m.flip_sign(_quarters(m, *y), m.sign(x))


def atan2(m: Lanes[V], y: V, x: V) -> V:
    """The angle of (x, y) in [-pi, pi] with the special values of C99's atan2."""
    a, b = m.abs(y), m.abs(x)
    inverted = a > b
    smaller, larger = m.select(inverted, b, a), m.select(inverted, a, b)
    # The sum of both may not overflow; 0/0 counts as 0/1 and inf/inf as 1/1.
    scale = m.select(larger > 2.0 ** (m.fmt.bias - 1), 0.25, 1.0)
    infinite = smaller.equals(math.inf)
    numerator = m.select(infinite, 1.0, smaller * scale)
    divisor = m.select(infinite | larger.equals(0.0), 1.0, larger * scale)
    angle = _mirror(m, inverted, 2.0, *_atan_parts(m, numerator, divisor))
    angle = _mirror(m, m.negative(x), 4.0, *angle)
    return m.select(m.ordered(x, y), m.flip_sign(_quarters(m, *angle), m.sign(y)), x + y)


def _asin_parts(m: Lanes[V], x: V) -> tuple[V, V, V]:
    """(|x| < 1/2, w, asin(w) - w) with w = |x| there, else sqrt((1 - |x|) / 2)."""
    a = m.abs(x)
    small = a < 0.5
    half = m.fma(a, -0.5, 0.5)
    z = m.select(small, a * a, half)
    w = m.select(small, a, m.sqrt(half))
    return small, w, w * (z * m.horner(z, ASIN[m.fmt.name]))


def _atan_parts(m: Lanes[V], a: V, b: V) -> tuple[V, V, V]:
    """(n, q, rest): atan(a/b) = n * pi/4 + q + rest for 0 <= a <= b, b > 0.

    Above 1/2 q is the ratio (a - b) / (a + b), whose numerator is exact.
    """
    big = a + a > b
    q = m.select(big, a - b, a) / m.select(big, a + b, b)
    z = q * q
    return m.select(big, 1.0, 0.0), q, q * (z * m.horner(z, ATAN[m.fmt.name]))


def _mirror(m: Lanes[V], where: V, total: float, *angle: V) -> tuple[V, V, V]:
    """total * pi/4 - angle where the condition holds, for an angle in three parts."""
    count, q, rest = angle
    return (
        m.select(where, total - count, count),
        m.select(where, -q, q),
        m.select(where, -rest, rest),
    )


def _quarters(m: Lanes[V], count: V, angle: V, rest: V) -> V:
    """count * pi/4 + angle + rest."""
    high, low = PI_4[m.fmt.name]
    return m.fma(count, high, angle) + m.fma(count, low, rest)
