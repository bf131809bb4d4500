"""The helpers of generated sources: exact, and of one meaning in jitted and plain runs."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from irgrad.backends.numba_cpu.source import functions
from irgrad.backends.numba_cpu.source.functions import (
    bits_f32,
    bits_f64,
    ceil,
    fabs,
    floor,
    fma,
    maximum,
    minimum,
    pi_2_remainder_f32,
    pi_2_remainder_f64,
    real_f32,
    real_f64,
    round,
    select,
    sign,
    sqrt,
    trunc,
)

FLOATS = {"f32": np.float32, "f64": np.float64}
INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)


def _specials(kind: Any) -> list[Any]:
    info = np.finfo(kind)
    found = [0.0, 1.0, 0.5, 1.5, 2.5, 3.7, info.eps, info.max, info.tiny, info.smallest_subnormal,
             info.max / 2, 1 + float(info.eps), math.inf, math.nan]  # fmt: skip
    return [kind(s * float(x)) for x in found for s in (1, -1)]


def _random(kind: Any, count: int, seed: int) -> np.ndarray:
    """Floats of any bits."""
    unsigned = np.dtype(f"u{np.dtype(kind).itemsize}")
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(unsigned).max, count, unsigned, endpoint=True).view(kind)


def _same(a: Any, b: Any) -> bool:
    """Equal types and bits; a NaN is as good as another."""
    return type(a) is type(b) and (a.tobytes() == b.tobytes() or (a != a and b != b))


def _assert_both_same(jitted: Any, kind: Any, arguments: Iterable[tuple[Any, ...]]) -> None:
    """A jitted function of a type gives what its plain form gives; results are arrays of 1."""
    with np.errstate(all="ignore"):
        for operands in arguments:
            got, plain = np.empty(1, kind), np.empty(1, kind)
            jitted(got, *operands)
            jitted.py_func(plain, *operands)
            assert _same(got[0], plain[0]), f"{operands}: {got[0]!r} jitted, {plain[0]!r} plain"


# -- fma -------------------------------------------------------------------------------------------


def _near_ties(kind: Any, count: int) -> list[tuple[Any, Any, Any]]:
    """Products and sums next to the middle of two floats, to 0, to denormals and to overflow."""
    rng = np.random.default_rng(5)
    info = np.finfo(kind)
    digits = int(info.nmant)
    found = []
    for _ in range(count):
        a, b = (kind(1 + int(rng.integers(0, 1 << digits)) * 2.0**-digits) for _ in range(2))
        gap = int(rng.integers(digits - 3, 2 * digits + 4))
        tiny = kind(math.ldexp(float(rng.choice([-1, 1])), -gap))
        found += [(a, b, -(a * b)), (a, kind(1), tiny), (tiny, b, a), (a, b, tiny)]
        small = kind(math.ldexp(1.0, int(info.minexp) // 2 - int(rng.integers(0, digits // 2 + 3))))
        least, most = info.smallest_subnormal, info.max
        found += [(a * small, b * small, kind(0)), (a * small, -b * small, least)]
        found += [(most, kind(1) + tiny, tiny * kind(2.0**digits)), (most, b, -most)]
    return found


def _exact_fma(a: Any, b: Any, c: Any, kind: Any) -> Any:
    """a * b + c of finite numbers by fractions, rounded to the nearest, of two the even float."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return a * b + c if 0 in (a, b) else kind(0)
    info = np.finfo(kind)
    exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent
    unit = Fraction(2) ** (max(exponent, int(info.minexp)) - int(info.nmant))
    rounded = _nearest(exact / unit) * unit
    side = 1 if exact > 0 else -1
    if abs(rounded) > Fraction(float(info.max)):
        return kind(math.copysign(math.inf, side))
    return kind(math.copysign(float(rounded), side))


def _nearest(x: Fraction) -> int:
    """The nearest integer, of two the even one."""
    return x.__round__()


@njit(error_model="numpy")
def _fma(out: Any, a: Any, b: Any, c: Any) -> None:
    out[0] = fma(a, b, c)


@pytest.mark.parametrize("scalar", FLOATS)
def test_fma_rounds_once(scalar: str) -> None:
    kind = FLOATS[scalar]
    with np.errstate(all="ignore"):
        finite = [x for x in _specials(kind) if np.isfinite(x)]
        cases = list(itertools.product(finite[::2], finite, finite)) + _near_ties(kind, 150)
        random = [_random(kind, 600, seed) for seed in range(3)]
        cases += [t for t in zip(*random, strict=True) if np.isfinite(t).all()]
        for a, b, c in cases:
            got, wanted = fma(a, b, c), _exact_fma(a, b, c, kind)
            assert _same(got, wanted), f"fma({a!r}, {b!r}, {c!r}): {got!r}, wanted {wanted!r}"
    _assert_both_same(_fma, kind, cases)


@pytest.mark.parametrize("scalar", FLOATS)
def test_fma_of_infinities_and_nan(scalar: str) -> None:
    kind = FLOATS[scalar]
    _assert_both_same(_fma, kind, itertools.product(_specials(kind), repeat=3))
    with np.errstate(all="ignore"):
        big = np.finfo(kind).max
        assert fma(big, big, kind(-math.inf)) == -math.inf
        assert fma(big, -big, kind(1)) == -math.inf
        assert math.isnan(fma(kind(math.inf), kind(0), kind(1)))
        assert math.isnan(fma(kind(math.inf), kind(1), kind(-math.inf)))


# -- the others ------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _of_two_floats(out: Any, which: int, a: Any, b: Any) -> None:
    if which == 0:
        out[0] = maximum(a, b)
    elif which == 1:
        out[0] = minimum(a, b)
    elif which == 2:
        out[0] = sign(a)
    elif which == 3:
        out[0] = round(a)
    elif which == 4:
        out[0] = floor(a)
    elif which == 5:
        out[0] = ceil(a)
    elif which == 6:
        out[0] = trunc(a)
    elif which == 7:
        out[0] = fabs(a)
    elif which == 8:
        out[0] = sqrt(a)
    elif which == 9:
        out[0] = select(a < b, a, b)


@njit(error_model="numpy")
def _of_two_integers(out: Any, which: int, a: Any, b: Any) -> None:
    if which == 0:
        out[0] = maximum(a, b)
    elif which == 1:
        out[0] = minimum(a, b)
    elif which == 2:
        out[0] = sign(a)
    elif which == 3:
        out[0] = select(a < b, a, b)


@pytest.mark.parametrize("scalar", FLOATS)
def test_helpers_of_floats_are_the_same_jitted_and_plain(scalar: str) -> None:
    kind = FLOATS[scalar]
    values = [*_specials(kind), *_random(kind, 20, 1)]
    _assert_both_same(_of_two_floats, kind, itertools.product(range(10), values, values))


@pytest.mark.parametrize("kind", INTEGERS)
def test_helpers_of_integers_are_the_same_jitted_and_plain(kind: Any) -> None:
    info = np.iinfo(kind)
    values = [kind(x) for x in {0, 1, 5, info.max, info.min, info.max - 1}]
    _assert_both_same(_of_two_integers, kind, itertools.product(range(4), values, values))


@pytest.mark.parametrize("scalar", FLOATS)
def test_values_of_helpers(scalar: str) -> None:
    kind = FLOATS[scalar]
    zero, one, nan = kind(0), kind(1), kind(math.nan)
    assert np.signbit(maximum(-zero, zero)) and not np.signbit(minimum(zero, -zero))
    for extremum in (maximum, minimum):
        assert np.isnan(extremum(nan, one)) and np.isnan(extremum(one, nan))
    assert maximum(one, -one) == minimum(one, kind(2)) == 1
    assert np.isnan(sign(nan)) and [sign(kind(x)) for x in (-3, 0, 7)] == [-1, 0, 1]
    rounded = [float(round(kind(x))) for x in (0.5, 1.5, 2.5, -0.5, -2.6)]
    assert rounded == [0, 2, 2, 0, -3] and np.signbit(round(kind(-0.5)))
    assert [trunc(kind(-1.5)), floor(kind(-1.5)), ceil(kind(-1.5))] == [-1, -2, -1]


@njit(error_model="numpy")
def _bits_f32(x: Any) -> Any:
    return bits_f32(x), real_f32(bits_f32(x))


@njit(error_model="numpy")
def _bits_f64(x: Any) -> Any:
    return bits_f64(x), real_f64(bits_f64(x))


@pytest.mark.parametrize(("scalar", "function"), [("f32", _bits_f32), ("f64", _bits_f64)])
def test_bits_go_there_and_back(scalar: str, function: Any) -> None:
    kind = FLOATS[scalar]
    for x in (x for x in _specials(kind) if x == x):
        bits, back = function.py_func(x)
        assert bits.dtype == f"u{x.itemsize}" and bits.tobytes() == x.tobytes()
        assert _same(back, x)
        jitted_bits, jitted_back = function(x)
        assert jitted_bits == int(bits) and _same(kind(jitted_back), x)


def test_operands_of_two_types_are_refused() -> None:
    @njit(error_model="numpy")
    def mixed(a: Any, b: Any) -> Any:
        return maximum(a, b)

    with pytest.raises(TypingError, match="maximum"):
        mixed(np.float32(1), np.float64(1))


# -- the remainder by pi/2 -------------------------------------------------------------------------


def _half_pi(bits: int) -> int:
    """pi/2 * 2**bits by Machin's formula, a few last bits wrong."""

    def inverse_tangent(n: int) -> int:
        power = total = (1 << bits) // n
        for k in itertools.count(3, 2):
            power //= -n * n
            if power in (0, -1):
                return total
            total += power // k
        raise AssertionError

    return 2 * (4 * inverse_tangent(5) - inverse_tangent(239))


@pytest.mark.parametrize(
    ("function", "scalar", "bound"),
    [(pi_2_remainder_f32, "f32", 2.0**-49), (pi_2_remainder_f64, "f64", 2.0**-104)],
)
def test_remainder_of_huge_arguments(
    function: Callable[..., Any], scalar: str, bound: float
) -> None:
    kind = FLOATS[scalar]
    values = [x for x in np.abs(_random(kind, 500, 2)) if 2 <= x < math.inf]
    values += [np.finfo(kind).max, kind(2), kind(355)]
    if scalar == "f64":
        # The double next to a multiple of pi/2 (Kahan's program nearpi).
        values.append(kind(math.ldexp(6381956970095103.0, 797)))
    values = [s * x for x in values for s in (kind(1), kind(-1))]
    unit = 1 << 1400
    half_pi = Fraction(_half_pi(1400), unit)
    jitted = njit(error_model="numpy")(lambda x: function(x))
    for x in values:
        quadrant, r, low = function(x)
        whole = _nearest(Fraction(float(x)) / half_pi)
        error = Fraction(float(x)) - whole * half_pi - Fraction(float(r)) - Fraction(float(low))
        assert int(quadrant) % 4 == whole % 4, x
        assert abs(error) <= bound, f"{x!r}: off by 2**{math.log2(abs(error)):.1f}"
        assert abs(r) <= math.pi / 4 * (1 + 1e-7)
        assert [type(v) for v in (r, low)] == [kind, kind]
        assert (int(quadrant), float(r), float(low)) == jitted(x)


# -- the module ------------------------------------------------------------------------------------


def test_helpers_work_with_the_compiler_switched_off_and_change_nothing() -> None:
    code = (
        "import sys, warnings, os\n"
        "import numba, numpy as np\n"
        "before = list(warnings.filters), dict(os.environ), np.geterr()\n"
        f"from {functions.__name__} import *\n"
        "assert before == (list(warnings.filters), dict(os.environ), np.geterr())\n"
        "print(fma(f32(3), f32(4), f32(5)), bits_f64(f64(1)), pi_2_remainder_f32(f32(1e10))[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["17.0", "4607182418800017408", "0"]
