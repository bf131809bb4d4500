"""The functions that samples are made of: how exact they are, and their special values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from irgrad.ops.registry import REGISTRY

DTYPES = (np.float32, np.float64)
COUNT = 40_000


def evaluate(name: str, *operands: np.ndarray) -> np.ndarray:
    (result,) = REGISTRY[name].evaluate(operands, {}, None)  # type: ignore[arg-type]
    return result


def errors(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Distances in units of the last place of what is wanted."""
    spacing = np.spacing(np.abs(wanted).astype(got.dtype)).astype(np.longdouble)
    return np.abs(got.astype(np.longdouble) - wanted) / spacing


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithm_and_exponential(dtype: type) -> None:
    rng = np.random.default_rng(1)
    wide = np.exp(rng.uniform(-80, 80, COUNT)).astype(dtype)
    near = rng.uniform(0.5, 2, COUNT).astype(dtype)
    x = np.concatenate([wide, near, [np.finfo(dtype).tiny, np.finfo(dtype).max]]).astype(dtype)
    assert errors(evaluate("stepped_log", x), np.log(x.astype(np.longdouble))).max() < 1.0
    y = rng.uniform(-80, 80, COUNT).astype(dtype)
    assert errors(evaluate("stepped_exp", y), np.exp(y.astype(np.longdouble))).max() < 1.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantiles(dtype: type) -> None:
    rng = np.random.default_rng(2)
    parts = np.exp(rng.uniform(-85, -0.7, COUNT)), rng.uniform(0.001, 0.999, COUNT)
    p = np.concatenate(parts).astype(dtype)
    wanted = special.ndtri(p.astype(float)).astype(np.longdouble)
    got = evaluate("normal_quantile", p)
    assert errors(got, wanted).max() < 8.0
    mirrored = evaluate("normal_quantile", np.array([0.25, 0.5, 0.75, 0.125, 0.875], dtype))
    np.testing.assert_array_equal(mirrored[:2], -mirrored[[2, 1]])
    assert mirrored[3] == -mirrored[4]
    v = np.exp(rng.uniform(-20, -0.01, COUNT)).astype(dtype)
    exact = -np.log(-np.log1p(-v.astype(np.longdouble)))
    error = np.abs(evaluate("gumbel_quantile", v) - exact)
    assert error.max() < 8 * np.finfo(dtype).eps * (1 + np.abs(exact).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, points, expected", [
    ("stepped_log", [0.0, -0.0, 1.0, math.inf, -1.0, -math.inf, math.nan],
     [-math.inf, -math.inf, 0.0, math.inf, math.nan, math.nan, math.nan]),
    ("stepped_exp", [0.0, -0.0, math.inf, -math.inf, 1e4, -1e4, math.nan],
     [1.0, 1.0, math.inf, 0.0, math.inf, 0.0, math.nan]),
    ("normal_quantile", [0.0, 0.5, 1.0, -0.1, 1.1, math.inf, math.nan],
     [-math.inf, 0.0, math.inf, math.nan, math.nan, math.nan, math.nan]),
])
def test_special_values(
    name: str, points: list[float], expected: list[float], dtype: type
) -> None:
    np.testing.assert_array_equal(evaluate(name, np.array(points, dtype)), expected)


def test_a_product_is_rounded_before_the_sum() -> None:
    x = np.float32(1 + 2.0**-12) * np.ones(3, np.float32)
    z = -np.ones(3, np.float32)
    exact = float(x[0]) ** 2 - 1
    got = evaluate("mul_add", x, x, z)
    np.testing.assert_array_equal(got, np.float32(x * x) + z)
    assert got[0] != np.float32(exact)


def test_rounds_of_gamma_keep_what_was_found() -> None:
    d, x = np.full(4, 2.0), np.array([0.5, 0.5, -40.0, 9.0])
    log_u = np.array([-9.0, -9.0, -9.0, -1e-9])
    found = np.array([0.0, 7.5, 0.0, 0.0])
    got = evaluate("gamma_step", d, x, log_u, found)
    assert got[0] == 2.0 * (1 + 0.5 / math.sqrt(18.0)) ** 3
    assert got[1] == 7.5 and got[2] == 0.0 and got[3] == 0.0


def test_shifts_by_the_width_and_more_give_0() -> None:
    for dtype, width in ((np.uint8, 8), (np.uint32, 32), (np.uint64, 64)):
        x = np.full(4, np.iinfo(dtype).max, dtype)
        counts = np.array([0, 1, width, width + 1], dtype)
        left, right = evaluate("shift_left", x, counts), evaluate("shift_right", x, counts)
        np.testing.assert_array_equal(left, [x[0], x[0] - dtype(1), 0, 0])
        np.testing.assert_array_equal(right, [x[0], x[0] // dtype(2), 0, 0])
