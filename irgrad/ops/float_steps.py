"""Functions of floats by sums, products, quotients and roots alone, for samples.

Each step is rounded once, in NumPy and in every kernel alike, and no product joins a sum: so
samples have the same bits everywhere. Errors are a few ulp; the functions of `elementary.py` are
the accurate ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..ir.types import F32, F64, I32, U32, U64, DType


@dataclass(frozen=True, slots=True)
class Layout:
    """A float dtype as bits: its word, the stored bits of the fraction, the exponent's bias."""

    real: DType
    word: DType
    fraction: int
    bias: int

    @property
    def smallest_normal(self) -> float:
        """The least positive number with all digits."""
        return 2.0 ** (1 - self.bias)

    def bits(self, x: float) -> int:
        """The word of a float."""
        return int(self.real.numpy.type(x).view(self.word.numpy))


_LAYOUTS = (Layout(F32, U32, 23, 127), Layout(F64, U64, 52, 1023))
LAYOUTS: Mapping[str, Layout] = MappingProxyType({x.real.name: x for x in _LAYOUTS})

# log(2) in two parts, of which the first times any exponent is exact
LN2 = {
    "f32": (0.693145751953125, 1.428606765330187e-06),
    "f64": (0.693147180559663, 2.8235290563031577e-13),
}
# (2 atanh(s) - 2s) / s**3 in s**2 for s <= 0.1716; own Remez fits, error 2**-29.7 and 2**-51.5
LOG = {
    "f32": (0.6666666865348816, 0.4000012278556824, 0.28550729155540466, 0.23332631587982178),
    "f64": (
        0.666666666666667, 0.3999999999989831, 0.2857142862645929, 0.22222211063020422,
        0.18182893934792022, 0.1533157315395039, 0.14618166888102574,
    ),
}  # fmt: skip
EXP_TERMS = {"f32": 8, "f64": 14}  # of the series for |r| <= log(2)/2, error 2**-27.6 and 2**-57.9


def horner(k: Any, x: Any, coefficients: Sequence[Any]) -> Any:
    """The polynomial with these coefficients, constant term first: numbers or values."""
    total, *rest = (k.constant(c) if isinstance(c, float) else c for c in reversed(coefficients))
    for c in rest:
        total = k.add(k.mul(total, x), c)
    return total


# -- logarithm and exponential ---------------------------------------------------------------------


def log_of_normal(k: Any, x: Any) -> Any:
    """log(x) of positive normal numbers: n*log(2) + log(1 + f), 1 + f in [sqrt(1/2), sqrt(2)).

    With s = f/(2 + f): log(1 + f) = f - (f*f/2 - s*(f*f/2 + R(s*s))), as in fdlibm.
    """
    form = LAYOUTS[k.dtype.name]
    low = form.bits(math.sqrt(0.5))
    word = k.bitcast(x, form.word)
    shifted = k.add(word, k.constant(form.bits(1.0) - low, form.word))
    exponent = k.shr(shifted, k.constant(form.fraction, form.word))
    digits = k.and_(shifted, k.constant((1 << form.fraction) - 1, form.word))
    scaled = k.bitcast(k.add(digits, k.constant(low, form.word)), form.real)
    n = k.sub(k.cast(k.cast(exponent, I32), form.real), k.constant(form.bias))
    f = k.sub(scaled, k.constant(1))
    s = k.div(f, k.add(f, k.constant(2)))
    z = k.mul(s, s)
    half = k.mul(k.mul(f, f), k.constant(0.5))
    series = k.mul(z, horner(k, z, LOG[k.dtype.name]))
    high, rest = (k.constant(part) for part in LN2[k.dtype.name])
    lost = k.sub(half, k.add(k.mul(s, k.add(half, series)), k.mul(n, rest)))
    return k.sub(k.mul(n, high), k.sub(lost, f))


def stepped_log(k: Any, x: Any) -> Any:
    """log(x), -inf for x = 0 and all smaller than the least normal number, NaN for x < 0."""
    form = LAYOUTS[k.dtype.name]
    infinity = k.constant(math.inf)
    inside = k.and_(k.ge(x, k.constant(form.smallest_normal)), k.lt(x, infinity))
    value = log_of_normal(k, k.select(inside, x, k.constant(1)))
    small = k.and_(k.ge(x, k.constant(0)), k.lt(x, infinity))
    below = k.select(k.lt(x, k.constant(0)), k.constant(math.nan), x)
    return k.select(inside, value, k.select(small, k.neg(infinity), below))


def stepped_exp(k: Any, x: Any) -> Any:
    """exp(x) by x = n*log(2) + r; 0 below the least normal number, inf from 2**bias * 1.4 on."""
    form = LAYOUTS[k.dtype.name]
    limit = math.log(form.smallest_normal) + 1e-3
    top = (form.bias + 1) * math.log(2.0) - 0.4
    low, high = k.lt(x, k.constant(limit)), k.gt(x, k.constant(top))
    held = k.select(k.or_(low, high), k.constant(0), x)
    # The sum with 1.5 * 2**fraction is rounded to a whole number, held in its low bits.
    shift = k.constant(1.5 * 2.0**form.fraction)
    rounded = k.add(k.mul(held, k.constant(1 / math.log(2.0))), shift)
    n = k.sub(rounded, shift)
    first, rest = (k.constant(part) for part in LN2[k.dtype.name])
    r = k.sub(k.sub(held, k.mul(n, first)), k.mul(n, rest))
    terms = [1.0 / math.factorial(i) for i in range(EXP_TERMS[k.dtype.name])]
    biased = k.add(k.bitcast(rounded, form.word), k.constant(form.bias, form.word))
    power = k.shl(biased, k.constant(form.fraction, form.word))
    value = k.mul(horner(k, r, terms), k.bitcast(power, form.real))
    return k.select(low, k.constant(0), k.select(high, k.constant(math.inf), value))


# -- quantiles -------------------------------------------------------------------------------------

# The scheme of AS 241 (M. J. Wichura, "The percentage points of the normal distribution", 1988):
# quotients of polynomials for |p - 1/2| <= 0.425 and for sqrt(-log(tail)) from there on, in f64 up
# to 5 and above. f64: his coefficients; f32: own fits, error 2**-26.0 and 2**-26.9.
CENTRAL, OUTER, SPLIT = 0.425, 1.6, 5.0
Regions = tuple[tuple[float, ...], ...]
NUMERATORS: Mapping[str, Regions] = MappingProxyType({
    "f32": (
        (
            3.3871328830718994, 58.61565399169922, 244.9672393798828, 172.3770294189453,
            -25.889263153076172,
        ),
        (
            1.4234371185302734, 3.130964756011963, 1.9956140518188477, 0.4568311870098114,
            0.030548425391316414,
        ),
    ),
    "f64": (
        (
            3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427,
            13731.693765509461125, 45921.953931549871457, 67265.770927008700853,
            33430.575583588128105, 2509.0809287301226727,
        ),
        (
            1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
            3.64784832476320460504, 1.27045825245236838258, 0.241780725177450611770,
            0.0227238449892691845833, 7.74545014278341407640e-4,
        ),
        (
            6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
            0.296560571828504891230, 0.0265321895265761230930, 1.24266094738807843860e-3,
            2.71155556874348757815e-5, 2.01033439929228813265e-7,
        ),
    ),
})  # fmt: skip
DENOMINATORS: Mapping[str, Regions] = MappingProxyType({
    "f32": (
        (1.0, 20.310638427734375, 111.30509948730469, 145.55250549316406),
        (1.0, 0.9998453259468079, 0.2888704836368561, 0.021596034988760948),
    ),
    "f64": (
        (
            1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
            21213.794301586595867, 39307.895800092710610, 28729.085735721942674,
            5226.4952788528545610,
        ),
        (
            1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
            0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4,
            1.05075007164441684324e-9,
        ),
        (
            1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
            7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
            2.04426310338993978564e-15,
        ),
    ),
})  # fmt: skip


def _regional(k: Any, r: Any, central: Any, far: Any, regions: Regions) -> Any:
    """The polynomial of the region that each element lies in."""

    def chosen(inner: float, outer: float, *beyond: float) -> Any:
        if inner == outer:
            return inner
        tail = k.constant(outer)
        if beyond:
            tail = k.select(far, k.constant(beyond[0]), tail)
        return k.select(central, k.constant(inner), tail)

    return horner(k, r, [chosen(*parts) for parts in zip(*regions, strict=True)])


def normal_quantile(k: Any, p: Any) -> Any:
    """The x below which a standard normal variable lies with probability p; NaN outside [0, 1]."""
    name = k.dtype.name
    least = k.constant(LAYOUTS[name].smallest_normal)
    q = k.sub(p, k.constant(0.5))
    negative = k.lt(q, k.constant(0))
    tail = k.select(negative, p, k.sub(k.constant(1), p))
    root = k.sqrt(k.neg(log_of_normal(k, k.select(k.gt(tail, least), tail, least))))
    central, far = k.le(k.abs(q), k.constant(CENTRAL)), None
    outer = k.sub(root, k.constant(OUTER))
    if len(NUMERATORS[name]) > 2:
        far = k.gt(root, k.constant(SPLIT))
        outer = k.select(far, k.sub(root, k.constant(SPLIT)), outer)
    r = k.select(central, k.sub(k.constant(CENTRAL**2), k.mul(q, q)), outer)
    side = k.select(negative, k.constant(-1), k.constant(1))
    above = _regional(k, r, central, far, NUMERATORS[name])
    below = _regional(k, r, central, far, DENOMINATORS[name])
    value = k.div(k.mul(above, k.select(central, q, side)), below)
    value = k.select(k.gt(tail, k.constant(0)), value, k.mul(side, k.constant(math.inf)))
    inside = k.and_(k.ge(p, k.constant(0)), k.le(p, k.constant(1)))
    return k.select(inside, value, k.constant(math.nan))


def gumbel_quantile(k: Any, v: Any) -> Any:
    """-log(-log(1 - v)) for v in (0, 1): above it a Gumbel variable lies with probability v.

    log(1 - v) is log(u) with u = 1 - v rounded, plus the rounding error over u.
    """
    u = k.sub(k.constant(1), v)
    lost = k.div(k.sub(v, k.sub(k.constant(1), u)), u)
    return k.neg(log_of_normal(k, k.sub(lost, log_of_normal(k, u))))


# -- gamma -----------------------------------------------------------------------------------------


def gamma_step(k: Any, d: Any, x: Any, log_u: Any, found: Any) -> Any:
    """One round of Marsaglia and Tsang ("A simple method for generating gamma variables", 2000).

    `found` where it is positive; else d*v with v = (1 + x/sqrt(9d))**3 for a standard normal x
    where it is accepted, log_u < x*x/2 + d - d*v + d*log(v); else 0.
    """
    one, zero = k.constant(1), k.constant(0)
    t = k.add(one, k.div(x, k.sqrt(k.mul(d, k.constant(9)))))
    positive = k.gt(t, k.constant(2.0**-20))
    held = k.select(positive, t, one)
    v = k.mul(k.mul(held, held), held)
    log_v = k.mul(log_of_normal(k, held), k.constant(3))
    spread = k.mul(d, k.add(k.sub(one, v), log_v))
    accepted = k.lt(log_u, k.add(k.mul(k.mul(x, x), k.constant(0.5)), spread))
    drawn = k.select(k.and_(positive, accepted), k.mul(d, v), zero)
    return k.select(k.gt(found, zero), found, drawn)


def mul_add(k: Any, x: Any, y: Any, z: Any) -> Any:
    """x*y + z, the product rounded before the sum."""
    return k.add(k.mul(x, y), z)
