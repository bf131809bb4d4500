"""Arguments at which errors are measured: every pattern of f32, or points where it is hard.

A block of points depends on its number alone, so a measurement can go on where it stopped.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from .functions import Array, Function

PATTERNS = 1 << 32  # of f32
# Beside these every function is measured: where tiny arguments stop to count, and small numbers.
COMMON_SPOTS = (
    2.0**-13, 2.0**-24, 2.0**-25, 2.0**-26, 2.0**-27, 2.0**-52, 2.0**-53, 2.0**-54, 2.0**-126,
    2.0**-149, 2.0**-1022, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0,
)  # fmt: skip
TRIGONOMETRIC = frozenset({"sin", "cos", "tan"})
# What x and y of pow make together: 2 to at most this power.
POWER_RANGE = {"f32": 152.0, "f64": 1080.0}


def pattern_points(first: int, count: int, stride: int) -> Array:
    """`count` numbers of f32 whose bits are first, first + stride, ... modulo 2**32."""
    bits = np.arange(count, dtype=np.uint64) * np.uint64(stride) + np.uint64(first)
    return bits.astype(np.uint32).view(np.float32)


def random_points(function: Function, dtype: str, block: int, count: int) -> list[Array]:
    """The arguments of one block, an array for each of the function's; count: at least 64."""
    seed = [zlib.crc32(function.name.encode()), 32 if dtype == "f32" else 64, block]
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        if function.arity == 2:
            return _pairs(function, dtype, rng, count)
        shares = _shares(function, count)
        x = np.concatenate([make(function, dtype, rng, n) for make, n in shares])
        return [x.astype(_numpy(dtype))]


def _numpy(dtype: str) -> np.dtype:
    return np.dtype(np.float32 if dtype == "f32" else np.float64)


Maker = Callable[[Function, str, np.random.Generator, int], Array]


def _shares(function: Function, count: int) -> list[tuple[Maker, int]]:
    """How many points each kind makes; what a function lacks goes to the whole region."""
    eighth = count // 8
    makers: list[Maker] = [_any_bits, _any_scale, _near_one, _near_spots]
    makers.append(_near_multiples if function.step else _any_bits)
    if function.name in TRIGONOMETRIC:
        makers.append(_hard_multiples)
    if function.inverse is not None:
        makers.append(_between_results)
    shares: list[tuple[Maker, int]] = [(maker, eighth) for maker in makers]
    return [*shares, (_region, count - eighth * len(makers))]


def _region(function: Function, dtype: str, rng: np.random.Generator, count: int) -> Array:
    return rng.uniform(*function.region, count)


def _near_one(function: Function, dtype: str, rng: np.random.Generator, count: int) -> Array:
    low, high = function.region
    return rng.uniform(max(low, -1.5), min(high, 1.5), count)


def _any_bits(function: Function, dtype: str, rng: np.random.Generator, count: int) -> Array:
    bits = _numpy(dtype).itemsize * 8
    patterns = rng.integers(0, 1 << bits, count, dtype=np.uint64).astype(f"u{bits // 8}")
    x = patterns.view(_numpy(dtype)).astype(np.float64)
    return np.abs(x) if function.region[0] == 0 else x


def _any_scale(function: Function, dtype: str, rng: np.random.Generator, count: int) -> Array:
    """Magnitudes from 2**-60 to the end of the region, all alike likely."""
    low, high = function.region
    x = 2.0 ** rng.uniform(-60, np.log2(max(-low, high)), count)
    return np.where(rng.random(count) < (0.5 if low < 0 else 0.0), -x, x)


def _near_spots(function: Function, dtype: str, rng: np.random.Generator, count: int) -> Array:
    spots = np.array([*COMMON_SPOTS, *function.spots * 4])
    x = rng.choice(spots, count)
    if function.region[0] < 0:
        x = np.where(rng.random(count) < 0.5, -x, x)
    if function.every_scale:
        top = np.finfo(_numpy(dtype)).maxexp
        scales = rng.integers(-top - 20, top, count)
        x = np.where(rng.random(count) < 0.5, np.ldexp(x, scales), x)
    return _beside(dtype, rng, x)


def _near_multiples(function: Function, dtype: str, rng: np.random.Generator, count: int) -> Array:
    """Beside multiples of the step, half of them within the region, half of any size."""
    low, high = function.region
    inside = rng.integers(int(low / function.step), int(high / function.step) + 1, count)
    any_size = np.round(2.0 ** rng.uniform(0, 52, count)) * rng.choice([-1.0, 1.0], count)
    factors = np.where(rng.random(count) < 0.5, inside, any_size)
    return _beside(dtype, rng, factors * function.step)


def _hard_multiples(function: Function, dtype: str, rng: np.random.Generator, count: int) -> Array:
    return _beside(dtype, rng, rng.choice(nearest_to_quarter_turns(), count))


def _between_results(function: Function, dtype: str, rng: np.random.Generator, count: int) -> Array:
    """Arguments whose results are as near as may be to the middle between two floats."""
    assert function.inverse is not None
    floats = rng.uniform(*function.results, count).astype(_numpy(dtype))
    middle = floats.astype(np.longdouble) + np.spacing(floats).astype(np.longdouble) / 2
    return function.inverse(middle.astype(np.float64))


def _beside(dtype: str, rng: np.random.Generator, x: Array) -> Array:
    """Each x as a float, or 1 to 2**40 (in f32 2**12) floats beside it, all scales alike."""
    floats = np.atleast_1d(x).astype(_numpy(dtype))
    signed = f"i{floats.dtype.itemsize}"
    span = 12.0 if dtype == "f32" else 40.0
    steps = np.floor(2.0 ** rng.uniform(-1, span, floats.size)).astype(signed)
    steps *= rng.choice(np.array([-1, 1], signed), floats.size)
    moved = (floats.view(signed) + steps).view(floats.dtype)
    # Past zero the bits would be those of a NaN.
    return np.where(np.isfinite(moved), moved, floats).astype(np.float64)


# -- pairs -----------------------------------------------------------------------------------------


def _pairs(function: Function, dtype: str, rng: np.random.Generator, count: int) -> list[Array]:
    quarter = count // 4
    near = _near_spots(function, dtype, rng, quarter), _near_spots(function, dtype, rng, quarter)
    bits = _any_bits(function, dtype, rng, quarter), _any_bits(function, dtype, rng, quarter)
    rest = count - 2 * quarter
    own = _power_pairs(dtype, rng, rest) if function.name == "pow" else _angles(rng, rest)
    pairs = [np.concatenate(parts) for parts in zip(near, bits, own, strict=True)]
    return [x.astype(_numpy(dtype)) for x in pairs]


def _power_pairs(dtype: str, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Powers within the range of the dtype: of any base, of bases near 1, and to whole powers."""
    base = 2.0 ** rng.uniform(-149 if dtype == "f32" else -1074, 128 if dtype == "f32" else 1024,
                              count)  # fmt: skip
    near = 1 + rng.choice([-1.0, 1.0], count) * 2.0 ** rng.uniform(-52, -1, count)
    base = np.where(rng.random(count) < 0.5, near, base).astype(_numpy(dtype)).astype(np.float64)
    limit = POWER_RANGE[dtype]
    exponent = rng.uniform(-limit, limit, count) / np.log2(base)
    whole = rng.random(count) < 0.25
    exponent = np.where(whole, np.round(exponent), exponent)
    return np.where(whole & (rng.random(count) < 0.5), -base, base), exponent


def _angles(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Points in all directions, half of them with coordinates of unlike sizes."""
    x = rng.uniform(-2, 2, count)
    ratio = np.where(rng.random(count) < 0.5, 2.0 ** rng.uniform(-60, 60, count), 1.0)
    return rng.uniform(-2, 2, count) * ratio, x


# -- arguments near multiples of pi / 2 ------------------------------------------------------------


@functools.cache
def nearest_to_quarter_turns() -> Array:
    """For each exponent the doubles nearest to multiples of pi/2 (W. Kahan's search, 1983).

    With x = m * 2**e, m has 53 bits; the best m are denominators of the convergents of the
    continued fraction of 2**e * 2/pi, and their multiples.
    """
    found = []
    turns = _two_over_pi(1300)
    for exponent in range(-30, 971):
        fraction = turns * Fraction(2) ** exponent
        p, q = fraction.numerator % fraction.denominator, fraction.denominator
        before, last = 0, 1  # denominators of convergents
        p, q = q, p
        while q and last < 1 << 53:
            if last << 8 > 1 << 53:
                found.append(float(np.ldexp(float(last), exponent)))
            p, (whole, q) = q, divmod(p, q)
            before, last = last, whole * last + before
    return np.array(found)


def _two_over_pi(bits: int) -> Fraction:
    """2/pi to so many bits, pi by Machin's formula."""
    one = 1 << (bits + 64)

    def arc_cotangent(n: int) -> int:
        total = term = one // n
        k, sign = 1, -1
        while term:
            term //= n * n
            k += 2
            total += sign * (term // k)
            sign = -sign
        return total

    pi = 4 * (4 * arc_cotangent(5) - arc_cotangent(239))
    return Fraction((2 << (bits + 64)) * one // pi >> 64, 1 << bits)
