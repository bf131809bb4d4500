"""Exponentials and what is made of them: exp, exp2, expm1, sigmoid, tanh, sinh, cosh.

All start from x = n*ln2 + r with |r| <= ln2/2 (two-part Cody-Waite reduction) and a minimax
polynomial for expm1(r); the coefficients were fitted by the Remez exchange at 240 bits and rounded
one after another, each time refitting the rest.
"""

from __future__ import annotations

from .lanes import Lanes, V

LOG2_E = 1.4426950408889634
LN2_HIGH = {"f32": 0.6931471824645996, "f64": 0.6931471805599453}
LN2_LOW = {"f32": -1.9046542121259336e-09, "f64": 2.3190468138462996e-17}

# (expm1(r) - r) / r**2 on |r| <= ln2/2; relative error of expm1 2**-26.1 and 2**-55.5
EXPM1 = {
    "f32": (
        0.4999999701976776, 0.16666539013385773, 0.04166774824261665,
        0.008366975001990795, 0.00138419633731246,
    ),
    "f64": (
        0.5000000000000006, 0.16666666666666619, 0.041666666666573704, 0.008333333333370612,
        0.0013888888932357673, 0.0001984126976022362, 2.4801504455854474e-05,
        2.755737061937294e-06, 2.762632962039496e-07, 2.5065488535164687e-08,
    ),
}  # fmt: skip

# (2**r - 1) / r on |r| <= 1/2; relative error of 2**r 2**-28.1 and 2**-57.4
EXP2 = {
    "f32": (
        0.6931471824645996, 0.24022644758224487, 0.05550362914800644, 0.009618793614208698,
        0.001338950009085238, 0.0001525828120065853,
    ),
    "f64": (
        0.6931471805599453, 0.24022650695910133, 0.055504108664822256, 0.009618129107591787,
        0.0013333558146329213, 0.00015403530460775383, 1.5252733901178487e-05,
        1.321543332217578e-06, 1.0178031901358643e-07, 7.0741240812387124e-09,
        4.459884580884579e-10,
    ),
}  # fmt: skip

# Outside these bounds exp is 0 or infinity already at the bound.
EXP_RANGE = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}
EXP2_RANGE = {"f32": (-151.0, 129.0), "f64": (-1076.0, 1025.0)}
# expm1 is -1 below the first bound; above the second the power of two passes the largest exponent.
EXPM1_RANGE = {"f32": (-18.0, 89.0), "f64": (-38.0, 710.0)}
# Where -x is outside these bounds, sigmoid(x) is 1 or 0 already at the bound.
SIGMOID_RANGE = {"f32": (-40.0, 104.0), "f64": (-40.0, 746.0)}
# The exponent of the scale of sigmoid's divisor.
SIGMOID_SCALE = -60
# Above it tanh rounds to 1.
TANH_LIMIT = {"f32": 9.1, "f64": 19.1}
# Below it expm1(x) rounds to x.
EXPM1_TINY = {"f32": 2.0**-25, "f64": 2.0**-54}

# (tanh(r) - r) / r**3 in r**2 on |r| <= ln2/4; relative error of tanh 2**-32.5 and 2**-57.7
TANH = {
    "f32": (-0.33333322405815125, 0.1333114206790924, -0.05271529778838158),
    "f64": (
        -0.33333333333332477, 0.13333333332778569, -0.05396825277258334, 0.021869369994120334,
        -0.008857284325492038, 0.003444533772200767,
    ),
}  # fmt: skip

# (sinh(x) - x) / x**3 as a polynomial in x**2 on |x| <= 1; relative error 2**-25.2 and 2**-61.7
SINH = {
    "f32": (0.166667178273201, 0.008330223150551319, 0.00020376646716613322),
    "f64": (
        0.16666666666666669, 0.008333333333332915, 0.00019841269841589247,
        2.7557319108484836e-06, 2.5052130675382177e-08, 1.605668714256338e-10,
        7.775689486023434e-13,
    ),
}  # fmt: skip
# Above it sinh and cosh overflow.
SINH_LIMIT = {"f32": 90.0, "f64": 711.0}


def exp(m: Lanes[V], x: V) -> V:
    """e**x."""
    shifted, r = _reduce(m, _clamp(m, x, EXP_RANGE), 2 * m.fmt.bias)
    return scale_wide(m, _expm1_poly(m, r) + 1.0, shifted)


def exp_normal(m: Lanes[V], x: V) -> V:
    """e**x for x so bounded that the result is a normal number."""
    shifted, r = _reduce(m, x, m.fmt.bias)
    power = _power_of_two(m, shifted)
    return m.fma(power, _expm1_poly(m, r), power)


def exp2(m: Lanes[V], x: V) -> V:
    """2**x."""
    shifted, r = _reduce_exp2(m, x)
    return scale_wide(m, m.fma(r, m.horner(r, EXP2[m.fmt.name]), 1.0), shifted)


def exp2_pair(m: Lanes[V], x: V, low: V) -> V:
    """2**(x + low) for a low part below the last digit of x.

    The first two terms of the polynomial and their sum are kept in two floats: what can be
    represented comes out exact.
    """
    shifted, high = _reduce_exp2(m, x)
    r = high + low
    lost = low - (r - high)
    slope, *rest = EXP2[m.fmt.name]
    linear = r * slope
    small = m.fma(lost, slope, m.fma(r, slope, -linear))
    small = m.fma(r * r, m.horner(r, rest), small)
    total = linear + 1.0
    return scale_wide(m, total + (linear - (total - 1.0) + small), shifted)


def _reduce_exp2(m: Lanes[V], x: V) -> tuple[V, V]:
    """(s, r) with x = n + r, |r| <= 1/2; the low bits of s hold n + 2*bias."""
    x = _clamp(m, x, EXP2_RANGE)
    shift = m.fmt.round_shift + 2 * m.fmt.bias
    shifted = x + shift
    return shifted, x - (shifted - shift)


def expm1(m: Lanes[V], x: V) -> V:
    """e**x - 1, accurate near 0: 2 * (2**(n-1) * expm1(r) + (2**(n-1) - 1/2)).

    expm1(r) has two parts, and the larger joins the difference first: where that is small, the sum
    is exact.
    """
    shifted, high, rest = expm1_parts(m, _clamp(m, x, EXPM1_RANGE), 0.0, m.fmt.bias - 1)
    half = _power_of_two(m, shifted)
    y = m.fma(half, rest, m.fma(half, high, half - 0.5))
    return m.select(m.abs(x) < EXPM1_TINY[m.fmt.name], x, y + y)


def sigmoid(m: Lanes[V], x: V) -> V:
    """c / (c + c * e**-x) with a power of two c so small that the divisor stays finite.

    With c * e**-x = power * (1 + p) the divisor is (c + power) + power * p, where what the first
    sum loses joins the product: one rounding that counts. The division makes denormal results.
    """
    shifted, r = _reduce(m, _clamp(m, -x, SIGMOID_RANGE), m.fmt.bias + SIGMOID_SCALE)
    power = _power_of_two(m, shifted)
    c = 2.0**SIGMOID_SCALE
    total = power + c
    lost = c - (total - power)
    return c / (m.fma(power, _expm1_poly(m, r), lost) + total)


def tanh(m: Lanes[V], x: V) -> V:
    """tanh(n*ln2/2 + r) by the addition theorem, and the sign of x.

    With t = tanh(r) and z = 2**-n it is ((1-z) + (1+z)*t) / ((1+z) + (1-z)*t), which is near
    (1-z)**2: the quotient only makes the difference from it,
    (1-z)**2 + z * (z*(1-z) + (4-3z+z**2)*t) / ((1+z) + (1-z)*t). For n = 0 this is t itself.
    """
    name = m.fmt.name
    y = m.minimum(TANH_LIMIT[name], m.abs(x))
    shift = m.fmt.round_shift + m.fmt.bias
    shifted = m.fma(y, -2.0 * LOG2_E, shift)
    minus_n = shifted - shift
    r = m.fma(minus_n, 0.5 * LN2_HIGH[name], y)
    s = r * r
    if name == "f32":
        t = m.fma(r * s, m.horner(s, TANH[name]), r)
    else:
        low = minus_n * (0.5 * LN2_LOW[name])
        t = r + m.fma(r * s, m.horner(s, TANH[name]), low)
    z = _power_of_two(m, shifted)
    rest = 1.0 - z
    numerator = m.fma(m.fma(z, z - 3.0, 4.0), t, z * rest)
    divisor = m.fma(rest, t, 1.0 + z)
    y = m.fma(rest, rest, z * (numerator / divisor))
    return m.flip_sign(y, m.sign(x))


def sinh(m: Lanes[V], x: V) -> V:
    """e**|x|/2 - e**-|x|/2 above 1, a polynomial below; the sign of x."""
    magnitude = m.abs(x)
    a = _half_exp(m, magnitude)
    s = x * x
    small = m.fma(magnitude * s, m.horner(s, SINH[m.fmt.name]), magnitude)
    return m.flip_sign(m.select(magnitude < 1.0, small, a - 0.25 / a), m.sign(x))


def cosh(m: Lanes[V], x: V) -> V:
    """e**|x|/2 + e**-|x|/2."""
    a = _half_exp(m, m.abs(x))
    return a + 0.25 / a


def _half_exp(m: Lanes[V], magnitude: V) -> V:
    """e**x / 2 for x >= 0, infinite only where it overflows itself."""
    x = m.minimum(SINH_LIMIT[m.fmt.name], magnitude)
    shifted, r = _reduce(m, x, 2 * m.fmt.bias - 1)
    return scale_wide(m, _expm1_poly(m, r) + 1.0, shifted)


def _clamp(m: Lanes[V], x: V, bounds: dict[str, tuple[float, float]]) -> V:
    """x held between the format's bounds; NaN stays."""
    low, high = bounds[m.fmt.name]
    return m.minimum(high, m.maximum(low, x))


def _reduce(m: Lanes[V], x: V, bias: int) -> tuple[V, V]:
    """(s, r) with x = n*ln2 + r; the low bits of s hold n + bias."""
    shift = m.fmt.round_shift + bias
    shifted = m.fma(x, LOG2_E, shift)
    n = shifted - shift
    r = m.fma(n, -LN2_HIGH[m.fmt.name], x)
    return shifted, m.fma(n, -LN2_LOW[m.fmt.name], r)


def expm1_parts(m: Lanes[V], x: V, low: V | float, bias: int) -> tuple[V, V, V]:
    """(s, p, q) with e**(x + low) = 2**n * (1 + p + q), |q| < |p|; the low bits of s hold n + bias.

    x - n*ln2_high is exact; the small parts join the small terms of the polynomial.
    """
    name = m.fmt.name
    shift = m.fmt.round_shift + bias
    shifted = m.fma(x, LOG2_E, shift)
    n = shifted - shift
    high = m.fma(n, -LN2_HIGH[name], x)
    low = m.fma(n, -LN2_LOW[name], low)
    r = high + low
    s = r * r
    return shifted, high, m.fma(s, m.even_odd(r, s, EXPM1[name]), low)


def _expm1_poly(m: Lanes[V], r: V) -> V:
    """expm1(r) on the reduced range."""
    s = r * r
    return m.fma(s, m.even_odd(r, s, EXPM1[m.fmt.name]), r)


def _power_of_two(m: Lanes[V], shifted: V) -> V:
    """2**n from an s of `_reduce` with the format's bias, n a normal exponent."""
    return m.real(m.bits(shifted) << m.fmt.fraction)


def scale_wide(m: Lanes[V], p: V, shifted: V) -> V:
    """p * 2**n from an s whose low bits hold n + 2*bias.

    Two factors of half the exponent each: the first product is exact, so results overflow and
    become denormal with one rounding.
    """
    word = m.bits(shifted)
    mask = (1 << m.fmt.bits) - (1 << m.fmt.fraction)
    first = (word << (m.fmt.fraction - 1)) & mask
    second = (word << m.fmt.fraction) - first
    return p * m.real(first) * m.real(second)
