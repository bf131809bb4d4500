"""The error functions erf and erfc.

Below `SPLIT` erf(x) = x + x * p(x**2). Above it, with t = |x|, erf(t) = 1 - q(t)**4 in f32, and
1 - exp(t * q(t)) in f64 (the scheme of N. Juffa's erff); both q are weighted by what they do to
erf. erfc(t) follows Shepherd and Laframboise (1981): (1 + 2t) * exp(t**2) * erfc(t) as a polynomial
in (t-k) / (t+k). Coefficients: own Remez fits, rounded one after another.
"""

from __future__ import annotations

from collections.abc import Sequence

from .exponentials import exp_normal, expm1_parts, scale_wide
from .lanes import Lanes, V

SPLIT = {"f32": 0.925, "f64": 1.0}
# Above it erf rounds to 1.
LIMIT = {"f32": 3.95, "f64": 5.94}

# erf(x)/x - 1 in x**2; relative error 2**-25.8 and 2**-56.0
SMALL = {
    "f32": (
        0.12837915122509003, -0.37612488865852356, 0.11281730234622955, -0.026762913912534714,
        0.0049872505478560925, -0.0005958980764262378,
    ),
    "f64": (
        0.12837916709551256, -0.37612638903183454, 0.1128379167094489, -0.026866170643553424,
        0.005223977611292535, -0.0008548326218571887, 0.00012055302878250302,
        -1.4924896793316184e-05, 1.644942965352575e-06, -1.6223847077318466e-07,
        1.3785922866717728e-08, -7.917006141435335e-10,
    ),
}  # fmt: skip

# erfc(t)**(1/4); relative error of erf 2**-26.3
LARGE_F32 = (
    1.001413345336914, -0.2899121344089508, -0.10086449980735779, -0.008863039314746857,
    0.037786975502967834, -0.010120047256350517, 7.600295793963596e-05, 0.00028174181352369487,
    -2.88346109300619e-05,
)  # fmt: skip

# log(erfc(t)) / t; relative error of erf 2**-57.9
LARGE_F64 = (
    -1.128379118195966, -0.6366201856024909, -0.10277111168896765, 0.019125708989793832,
    0.00021069296617685164, -0.0016908321130052323, 0.000572878909414563,
    2.3562344469237002e-06, -9.632709672517033e-05, 5.644175307158161e-05,
    -2.0503857019677678e-05, 5.430446292194363e-06, -1.0885014924246519e-06,
    1.6482801180139742e-07, -1.8360379507661777e-08, 1.422581863756445e-09,
    -6.853758065629283e-11, 1.5461807247017778e-12,
)  # fmt: skip

# (1 + 2t) * exp(t**2) * erfc(t) - 1 in (t-k) / (t+k) for t >= 3/4; error of erfc 2**-27.0, 2**-55.3
COMPLEMENT_SPLIT = 0.75
COMPLEMENT_CENTRE = {"f32": 2.0, "f64": 3.0}
COMPLEMENT = {
    "f32": (
        0.27697837352752686, -0.09276379644870758, -0.16602955758571625, 0.16404961049556732,
        -0.05423272028565407, -0.008003930561244488, 0.008782884106040001, 0.0010741252917796373,
        -0.0015029195928946137,
    ),
    "f64": (
        0.25300805826972966, -0.13562110612458142, -0.04756229435344793, 0.12964515870280946,
        -0.11927366341563211, 0.0683080273418841, -0.023770514907719417, 0.0025293918542501313,
        0.001888690184004468, -0.0007798326323758018, -0.00010515822452461793,
        0.00012510123916939506, 4.940929989254275e-06, -2.010594626606899e-05,
        -7.027165064509195e-07, 3.479078611748727e-06, 2.974934422517866e-07,
        -6.13704370289487e-07, -7.101289743213069e-08, 8.508210717722534e-08,
    ),
}  # fmt: skip
# Above it erfc rounds to 0.
COMPLEMENT_LIMIT = {"f32": 10.2, "f64": 27.3}


def erf(m: Lanes[V], x: V) -> V:
    """The error function."""
    name = m.fmt.name
    s = x * x
    t = m.minimum(LIMIT[name], m.abs(x))
    below = t < SPLIT[name]
    if name == "f32":
        p = _either_horner(m, below, m.select(below, s, t), SMALL[name], LARGE_F32)
        square = p * p
        small, large = m.fma(x, p, x), m.fma(-square, square, 1.0)
    else:
        small = m.fma(x, m.horner(s, SMALL[name]), x)
        large = 1.0 - exp_normal(m, t * m.horner(t, LARGE_F64))
    return m.select(below, small, m.flip_sign(large, m.sign(x)))


def _either_horner(
    m: Lanes[V], where: V, x: V, first: Sequence[float], second: Sequence[float]
) -> V:
    """The polynomial `first` where the condition holds, else `second`, which is no shorter.

    One chain with chosen coefficients: a choice takes less than a product and a sum.
    """
    missing = [0.0] * (len(second) - len(first))
    pairs = list(zip((*first, *missing), second, strict=True))
    total = m.select(where, *pairs[-1])
    for a, b in reversed(pairs[:-1]):
        total = m.fma(total, x, m.select(where, a, b))
    return total


def erfc(m: Lanes[V], x: V) -> V:
    """1 - erf(x), accurate for large x; 2 - erfc(-x) where x < 0."""
    name = m.fmt.name
    linear = 1.0 - x
    small = linear + m.fma(-x, m.horner(x * x, SMALL[name]), (1.0 - linear) - x)
    t = m.minimum(COMPLEMENT_LIMIT[name], m.abs(x))
    centre = COMPLEMENT_CENTRE[name]
    p = m.horner((t - centre) / (t + centre), COMPLEMENT[name])
    # (1 + p) / (1 + 2t) in two floats: r, and what it lacks
    inverse = 1.0 / m.fma(t, 2.0, 1.0)
    r = m.fma(p, inverse, inverse)
    lost = m.fma(m.fma(r, -t, 0.5), 2.0, p - r) * inverse
    square = t * t
    shifted, e, rest = expm1_parts(m, -square, m.fma(-t, t, square), 2 * m.fmt.bias)
    rest = m.fma(r, rest, m.fma(lost, e, lost))
    y = scale_wide(m, r + m.fma(r, e, rest), shifted)
    y = m.select(x < 0.0, 2.0 - y, y)
    return m.select(t < COMPLEMENT_SPLIT, small, y)
