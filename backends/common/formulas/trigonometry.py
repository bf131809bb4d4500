"""sin, cos and tan for every float.

Moderate arguments are reduced by a three-part Cody-Waite scheme in fma, which leaves the remainder
of x / (pi/2), with its low part where that counts; lanes above `MODERATE` take `remainder_above`.
The polynomials on |r| <= pi/4 are own Remez fits, rounded one coefficient after another.
"""

from __future__ import annotations

from .lanes import Lanes, V

TWO_OVER_PI = 0.6366197723675814
# pi/2 in three positive parts: then x = -0.0 keeps its sign through the reduction.
PI_2 = {
    "f32": (1.570796251296997, 7.549789415861596e-08, 5.390302529957765e-15),
    "f64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
# Up to here the quadrant number is right and the first product of the reduction is exact.
MODERATE = {"f32": 2.0**17, "f64": 2.0**30}
# Below it sin(x) and tan(x) round to x.
TINY = 2.0**-27

# (sin(r) - r) / r**3 in r**2; error relative to r 2**-27.7 and 2**-58.0
SIN = {
    "f32": (-0.16666652262210846, 0.008332008495926857, -0.00019494422303978354),
    "f64": (
        -0.16666666666666632, 0.008333333333322463, -0.00019841269829823642,
        2.755731369178518e-06, -2.505075744364484e-08, 1.589672711766094e-10,
    ),
}  # fmt: skip

# (cos(r) - 1) / r**2 in r**2, its first term exact; absolute error of cos 2**-32.7 and 2**-64.2
COS = {
    "f32": (-0.5, 0.04166664183139801, -0.001388711971230805, 2.4410057449131273e-05),
    "f64": (
        -0.5, 0.0416666666666666, -0.0013888888888874448, 2.480158728964306e-05,
        -2.7557314389983385e-07, 2.087572746054332e-09, -1.1359825806350388e-11,
    ),
}  # fmt: skip


def sin(m: Lanes[V], x: V) -> V:
    """The sine."""
    return _keep_tiny(m, x, _quadrant_sine(m, *_reduce(m, x)))


def cos(m: Lanes[V], x: V) -> V:
    """The cosine: the sine one quadrant further."""
    quadrant, r, low = _reduce(m, x)
    return _quadrant_sine(m, quadrant + 1, r, low)


def tan(m: Lanes[V], x: V) -> V:
    """sin(r) / cos(r), or -cos(r) / sin(r) in odd quadrants.

    Sine and cosine are sums of a large and a small part. What rounding these sums loses is put back
    by one correction step of the quotient.
    """
    quadrant, r, low = _reduce(m, x, keep_low=True)
    assert low is not None
    sine, sine_lost = _fast_sum(r, _sine_rest(m, r, low))
    cosine, cosine_lost = _fast_sum(m.constant(1.0), r * _cosine_rest(m, r, low))
    odd = m.odd(quadrant)
    numerator, numerator_lost = m.select(odd, -cosine, sine), m.select(odd, -cosine_lost, sine_lost)
    divisor, divisor_lost = m.select(odd, sine, cosine), m.select(odd, sine_lost, cosine_lost)
    inverse = 1.0 / divisor
    q = numerator * inverse
    residual = m.fma(-q, divisor, numerator) + m.fma(-q, divisor_lost, numerator_lost)
    return m.select(m.abs(x) < TINY, x, m.fma(residual, inverse, q))


def _fast_sum(a: V, b: V) -> tuple[V, V]:
    """(s, e): s = a + b rounded and e what it lost, for |a| >= |b| (Dekker 1971)."""
    s = a + b
    return s, b - (s - a)


def _keep_tiny(m: Lanes[V], x: V, y: V) -> V:
    """x where it is tiny, else y: the low part of f64 loses the sign of -0.0, f32 keeps it."""
    return y if m.fmt.name == "f32" else m.select(m.abs(x) < TINY, x, y)


def _quadrant_sine(m: Lanes[V], quadrant: V, r: V, low: V | None) -> V:
    """sin(quadrant * pi/2 + r + low)."""
    if low is None:
        s = r * r
        # Added to 0.0 so that p is +0.0, not -0.0, at r = 0: then fma(p, r, r) has the sign of r.
        p = m.fma(s, m.horner(s, SIN[m.fmt.name]), 0.0)
        sine, cosine = m.fma(p, r, r), m.fma(s, m.horner(s, COS[m.fmt.name]), 1.0)
    else:
        sine = r + _sine_rest(m, r, low)
        cosine = m.fma(r, _cosine_rest(m, r, low), 1.0)
    y = m.select(m.odd(quadrant), cosine, sine)
    return m.flip_sign(y, (quadrant << (m.fmt.bits - 2)) & m.fmt.sign_mask)


def _sine_rest(m: Lanes[V], r: V, low: V) -> V:
    """sin(r + low) - r on the reduced range."""
    s = r * r
    return m.fma(s * m.horner(s, SIN[m.fmt.name]), r, low)


def _cosine_rest(m: Lanes[V], r: V, low: V) -> V:
    """(cos(r + low) - 1) / r on the reduced range."""
    return m.fma(r, m.horner(r * r, COS[m.fmt.name]), -low)


def _reduce(m: Lanes[V], x: V, keep_low: bool = False) -> tuple[V, V, V | None]:
    """(quadrant, r, low): x = quadrant * pi/2 + r + low modulo 2*pi; f32 has a low part on demand.

    Only the two lowest bits of the quadrant mean anything. NaN and infinity give NaN.
    """
    moderate = [v for v in _reduce_moderate(m, x, keep_low) if v is not None]
    parts = m.remainder_above(MODERATE[m.fmt.name], x, moderate)
    return parts[0], parts[1], parts[2] if len(parts) > 2 else None


def _reduce_moderate(m: Lanes[V], x: V, keep_low: bool) -> tuple[V, V, V | None]:
    """The reduction for |x| <= MODERATE."""
    first, second, third = PI_2[m.fmt.name]
    shifted = m.fma(x, TWO_OVER_PI, m.fmt.round_shift)
    n = shifted - m.fmt.round_shift
    r = m.fma(n, -first, x)
    if m.fmt.name == "f32" and not keep_low:
        return m.bits(shifted), m.fma(n, -third, m.fma(n, -second, r)), None
    product = n * second
    high = r - product
    # What the product and the difference lost.
    lost = m.fma(n, -second, product) + ((r - high) - product)
    return m.bits(shifted), high, m.fma(n, -third, lost)
