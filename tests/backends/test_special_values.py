"""Special values and exact cases of the mathematical functions, as a user calls them.

Expected values are those of C99 (Annex F) where it has the function, else limits.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

import irgrad as ig
from irgrad.tools.accuracy.errors import ulp_errors
from irgrad.tools.accuracy.functions import all_functions
from irgrad.tools.accuracy.measure import CHUNK, DTYPES

INF, NAN, PI = math.inf, math.nan, math.pi

# Arguments whose results hold in f32 and f64 without any error, signs of zeros included.
EXACT: dict[str, list[tuple[float, float]]] = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (-INF, 0.0), (INF, INF), (1e4, INF), (-1e4, 0.0)],
    "exp2": [(0.0, 1.0), (-0.0, 1.0), (-INF, 0.0), (INF, INF), (1e4, INF), (-1e4, 0.0),
             (-1.0, 0.5), (10.0, 1024.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (-INF, -1.0), (INF, INF), (1e4, INF), (-1e4, -1.0)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log2": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log10": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (-INF, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1e30, 1.0), (-30.0, -1.0)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e30, 1.0), (-1e30, 0.0)],
    "softplus": [(INF, INF), (-INF, 0.0), (1e30, 1e30), (-1e30, 0.0), (2.0**60, 2.0**60)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1e30, 1.0), (-1e30, -1.0)],
    "erfc": [(0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0), (1e30, 0.0), (-1e30, 2.0)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN)],
    "acos": [(1.0, 0.0), (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0)],
    "cbrt": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (27.0, 3.0), (-0.125, -0.5)],
    "rsqrt": [(0.0, INF), (-0.0, -INF), (INF, 0.0), (-1.0, NAN), (-INF, NAN), (4.0, 0.5)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e4, INF), (-1e4, -INF)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF), (1e4, INF), (-1e4, INF)],
}  # fmt: skip

# Multiples of pi, rounded to the dtype.
ROUNDED: dict[str, list[tuple[tuple[float, ...], float]]] = {
    "asin": [((1.0,), PI / 2), ((-1.0,), -PI / 2)],
    "acos": [((-1.0,), PI), ((0.0,), PI / 2), ((-0.0,), PI / 2)],
    "atan": [((INF,), PI / 2), ((-INF,), -PI / 2), ((1e30,), PI / 2), ((1.0,), PI / 4)],
    "atan2": [
        ((0.0, -0.0), PI), ((-0.0, -0.0), -PI), ((0.0, 0.0), 0.0), ((-0.0, 0.0), -0.0),
        ((0.0, -2.0), PI), ((-0.0, -2.0), -PI), ((0.0, 2.0), 0.0), ((-0.0, 2.0), -0.0),
        ((-3.0, 0.0), -PI / 2), ((-3.0, -0.0), -PI / 2), ((3.0, 0.0), PI / 2),
        ((3.0, -0.0), PI / 2), ((2.0, -INF), PI), ((-2.0, -INF), -PI), ((2.0, INF), 0.0),
        ((-2.0, INF), -0.0), ((INF, 2.0), PI / 2), ((-INF, 2.0), -PI / 2),
        ((INF, -INF), 3 * PI / 4), ((-INF, -INF), -3 * PI / 4), ((INF, INF), PI / 4),
        ((-INF, INF), -PI / 4), ((NAN, 1.0), NAN), ((1.0, NAN), NAN), ((NAN, INF), NAN),
        ((1.0, 1.0), PI / 4), ((1e30, 1e-30), PI / 2), ((1e-30, -1e30), PI),
    ],
    "pow": [
        ((0.0, -3.0), INF), ((-0.0, -3.0), -INF), ((0.0, -2.0), INF), ((-0.0, -2.0), INF),
        ((-0.0, -0.5), INF), ((0.0, -INF), INF), ((-0.0, -INF), INF), ((0.0, 3.0), 0.0),
        ((-0.0, 3.0), -0.0), ((-0.0, 2.0), 0.0), ((-0.0, 0.5), 0.0), ((-0.0, INF), 0.0),
        ((-1.0, INF), 1.0), ((-1.0, -INF), 1.0), ((1.0, NAN), 1.0), ((1.0, INF), 1.0),
        ((1.0, -7.5), 1.0), ((NAN, 0.0), 1.0), ((NAN, -0.0), 1.0), ((-2.5, 0.0), 1.0),
        ((INF, -0.0), 1.0), ((-2.0, 0.5), NAN), ((-2.0, -1.5), NAN), ((0.5, -INF), INF),
        ((-0.5, -INF), INF), ((2.0, -INF), 0.0), ((-2.0, -INF), 0.0), ((0.5, INF), 0.0),
        ((-0.5, INF), 0.0), ((2.0, INF), INF), ((-2.0, INF), INF), ((-INF, -3.0), -0.0),
        ((-INF, -2.0), 0.0), ((-INF, -0.5), 0.0), ((-INF, 3.0), -INF), ((-INF, 2.0), INF),
        ((-INF, 0.5), INF), ((INF, -0.5), 0.0), ((INF, 0.5), INF), ((NAN, 1.0), NAN),
        ((2.0, NAN), NAN), ((-1.0, NAN), NAN), ((INF, NAN), NAN), ((-2.0, 3.0), -8.0),
        ((-2.0, 16777215.0), -INF), ((-2.0, 16777216.0), INF), ((-2.0, -16777215.0), -0.0),
        ((4.0, 0.5), 2.0), ((10.0, 2.0), 100.0), ((-3.0, -1.0), -1 / 3),
    ],
}  # fmt: skip


@cache
def _compiled(dtype: str) -> ig.Compiled:
    """All functions over vectors of CHUNK elements, each from inputs of its own."""
    type_ = f"{dtype}[{CHUNK}]"
    inputs, nodes = [], []
    for number, function in enumerate(all_functions().values()):
        operands = [f"%{name}_{function.name}" for name in "xy"[: function.arity]]
        inputs += [f"{operand}: {type_}" for operand in operands]
        nodes.append(f"  %{number} = {function.op}({', '.join(operands)}) : {type_}\n")
    results = ", ".join(f"%{number}" for number in range(len(nodes)))
    return ig.compile(ig.ir.parse(
        f"irgrad 1\ngraph @all({', '.join(inputs)}) {{\n{''.join(nodes)}  return {results}\n}}\n"
    ))


def _apply(name: str, dtype: str, *arguments: object) -> np.ndarray:
    """The compiled function over at most CHUNK values."""
    arrays = [np.asarray(a, dtype=DTYPES[dtype]) for a in arguments]
    count = arrays[0].size
    assert 0 < count <= CHUNK
    given = [np.resize(a, CHUNK) for a in arrays]
    ones = np.ones(CHUNK, DTYPES[dtype])
    every: list[np.ndarray] = []
    for function in all_functions().values():
        every += given if function.name == name else [ones] * function.arity
    result = _compiled(dtype)(*every)[list(all_functions()).index(name)]
    return np.asarray(result)[:count]


def _assert_same(got: np.ndarray, wanted: np.ndarray, where: list[object]) -> None:
    """Equal values, NaN where NaN is wanted, and equal signs of zeros."""
    same = (got == wanted) & (np.signbit(got) == np.signbit(wanted))
    same |= np.isnan(got) & np.isnan(wanted)
    wrong = [(where[i], got[i], wanted[i]) for i in np.flatnonzero(~same)]
    assert not wrong


def test_every_function_has_special_values() -> None:
    assert set(EXACT) | {"atan2", "pow"} == set(all_functions())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_special_values(name: str, dtype: str) -> None:
    cases = [*EXACT[name], (NAN, NAN)]
    wanted = np.array([w for _, w in cases], DTYPES[dtype])
    _assert_same(_apply(name, dtype, [x for x, _ in cases]), wanted, list(cases))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROUNDED)
def test_special_values_that_are_rounded(name: str, dtype: str) -> None:
    cases = ROUNDED[name]
    wanted = np.array([w for _, w in cases], DTYPES[dtype])
    got = _apply(name, dtype, *zip(*(arguments for arguments, _ in cases)))
    _assert_same(got, wanted, list(cases))


# -- exact cases -----------------------------------------------------------------------------------


def _exponents(dtype: str) -> np.ndarray:
    info = np.finfo(DTYPES[dtype])
    return np.arange(info.minexp - info.nmant, info.maxexp)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_two(dtype: str) -> None:
    n = _exponents(dtype)
    powers = np.ldexp(DTYPES[dtype].type(1), n)
    np.testing.assert_array_equal(_apply("exp2", dtype, n), powers)
    np.testing.assert_array_equal(_apply("log2", dtype, powers), n)
    np.testing.assert_array_equal(_apply("pow", dtype, np.full(n.size, 2.0), n), powers)
    np.testing.assert_array_equal(_apply("pow", dtype, powers, np.ones(n.size)), powers)
    cubes = n[(n % 3 == 0) & (abs(n) < 126)]
    roots = np.ldexp(1.0, cubes // 3)
    np.testing.assert_array_equal(_apply("cbrt", dtype, np.ldexp(1.0, cubes)), roots)
    even = n[n % 2 == 0]
    roots = np.ldexp(1.0, -even // 2)
    np.testing.assert_array_equal(_apply("rsqrt", dtype, np.ldexp(1.0, even)), roots)


@pytest.mark.parametrize("dtype", DTYPES)
def test_roots_of_cubes(dtype: str) -> None:
    limit = int(2.0 ** (24 / 3 if dtype == "f32" else 53 / 3))
    roots = np.unique(np.linspace(-limit, limit, CHUNK).astype(np.int64))
    np.testing.assert_array_equal(_apply("cbrt", dtype, roots.astype(float) ** 3), roots)


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_powers_are_exact_where_they_can_be(dtype: str) -> None:
    limit = 2**24 if dtype == "f32" else 2**53
    cases = [(x, y) for x in range(-99, 100) for y in range(55) if x and abs(x**y) <= limit]
    got = _apply("pow", dtype, *zip(*cases))
    np.testing.assert_array_equal(got, [float(x**y) for x, y in cases])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_power_is_the_base(dtype: str) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 8 * DTYPES[dtype].itemsize, CHUNK, dtype=np.uint64)
    x = bits.astype(f"u{DTYPES[dtype].itemsize}").view(DTYPES[dtype])
    np.testing.assert_array_equal(_apply("pow", dtype, x, np.ones(x.size)), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_of_powers_of_ten(dtype: str) -> None:
    n = np.arange(11 if dtype == "f32" else 23)
    np.testing.assert_array_equal(_apply("log10", dtype, [10.0**k for k in n.tolist()]), n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", ["asin", "atan", "cbrt", "erf", "expm1", "log1p", "sin", "sinh", "tan", "tanh"]
)
def test_odd_functions_keep_signs_of_denormal_numbers(name: str, dtype: str) -> None:
    tiny = np.finfo(DTYPES[dtype]).smallest_subnormal * np.array([1.0, 2.0, 3.0, 1e5])
    positive, negative = _apply(name, dtype, tiny), _apply(name, dtype, -tiny)
    assert (positive > 0).all()
    np.testing.assert_array_equal(positive, -negative)
    if name not in ("erf", "cbrt"):  # whose slope at 0 is not 1
        np.testing.assert_array_equal(positive, tiny.astype(DTYPES[dtype]))


# -- huge arguments --------------------------------------------------------------------------------

# (x, sine, cosine, tangent), x exact in f64; found with MPFR at 200 bits. The third x is, of all
# doubles, the nearest to a multiple of pi/2.
HUGE = [
    (1e22, -0.8522008497671888, 0.523214785395139, -1.6287782256068988),
    (2.0**1023, 0.563127779850884, -0.826369834614148, -0.6814476476066215),
    (6381956970095103.0 * 2.0**797, 1.0, -4.687165924254628e-19, -2.133485385753704e18),
    (1e308, 0.4533964905016491, -0.8913089376870335, -0.5086861259107568),
]  # fmt: skip


@pytest.mark.parametrize(("x", "sine", "cosine", "tangent"), HUGE)
def test_huge_arguments(x: float, sine: float, cosine: float, tangent: float) -> None:
    for name, wanted in (("sin", sine), ("cos", cosine), ("tan", tangent)):
        for sign in (1.0, -1.0):
            got = _apply(name, "f64", [sign * x])
            expected = wanted if name == "cos" else sign * wanted
            # Half an ulp of the expected value is lost in writing it down.
            assert ulp_errors(got, np.array([expected], np.longdouble))[0] <= 2.5, (name, x)


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_huge_arguments_of_f32_agree_with_f64(name: str) -> None:
    x = (np.linspace(1, 2, 1024).astype(np.float32)[None] * np.ldexp(np.float32(1), [
        [18], [31], [64], [100], [126]
    ])).ravel()  # fmt: skip
    assert ulp_errors(_apply(name, "f32", x), _apply(name, "f64", x)).max() <= 2
