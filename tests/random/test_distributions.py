"""Draws against their distributions, with fixed keys: these tests give the same answer each time.

Samples are drawn at once, by the interpreter, whose bits all targets have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from irgrad import random
from irgrad.ops.registry import REGISTRY

COUNT = 50_000
LEAST = 1e-4  # a p-value below it counts as a wrong distribution
KEY = random.key(5)
F32, F64 = np.float32, np.float64

CONTINUOUS: dict[str, tuple[Callable[[], Any], Any]] = {
    "uniform": (lambda: random.uniform(KEY, COUNT), stats.uniform()),
    "uniform of f64": (lambda: random.uniform(KEY, COUNT, F64, -3, 5), stats.uniform(-3, 8)),
    "normal": (lambda: random.normal(KEY, COUNT), stats.norm()),
    "normal of f64": (lambda: random.normal(KEY, COUNT, F64, 1.5, 0.3), stats.norm(1.5, 0.3)),
    "exponential": (lambda: random.exponential(KEY, COUNT), stats.expon()),
    "exponential of f64": (lambda: random.exponential(KEY, COUNT, F64, 2.5), stats.expon(0, 2.5)),
    "gumbel": (lambda: random.gumbel(KEY, COUNT), stats.gumbel_r()),
    "gumbel of f64": (lambda: random.gumbel(KEY, COUNT, F64, -1, 2), stats.gumbel_r(-1, 2)),
    "laplace": (lambda: random.laplace(KEY, COUNT), stats.laplace()),
    "truncated": (lambda: random.truncated_normal(KEY, -1, 2, COUNT), stats.truncnorm(-1, 2)),
    "truncated above 3": (
        lambda: random.truncated_normal(KEY, 3, np.inf, COUNT), stats.truncnorm(3, np.inf)),
    "truncated below -30": (
        lambda: random.truncated_normal(KEY, -np.inf, -30, COUNT, F64),
        stats.truncnorm(-np.inf, -30)),
    "gamma of 2.5": (lambda: random.gamma(KEY, 2.5, COUNT), stats.gamma(2.5)),
    "gamma of 1": (lambda: random.gamma(KEY, 1.0, COUNT, 3.0), stats.gamma(1.0, 0, 3.0)),
    "gamma of 0.3": (lambda: random.gamma(KEY, np.full(COUNT, 0.3)), stats.gamma(0.3)),
    "gamma of 70": (lambda: random.gamma(KEY, 70.0, COUNT), stats.gamma(70)),
    "beta": (lambda: random.beta(KEY, 0.7, 2.0, COUNT), stats.beta(0.7, 2.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name: str) -> None:
    """Kolmogorov and Smirnov's test, and the first two moments within 5 standard errors."""
    sample, law = CONTINUOUS[name]
    x = sample().astype(float)
    assert np.isfinite(x).all()
    assert stats.kstest(x, law.cdf).pvalue > LEAST
    mean, variance = law.stats("mv")
    kurtosis = float(law.stats("k"))
    assert abs(x.mean() - mean) < 5 * np.sqrt(variance / COUNT)
    assert abs(x.var() - variance) < 5 * variance * np.sqrt((kurtosis + 2) / COUNT)


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    return float(stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue)


def test_every_bit_is_fair() -> None:
    for dtype, width in ((np.uint8, 8), (np.uint32, 32), (np.uint64, 64)):
        words = random.bits(KEY, COUNT, dtype)
        for bit in range(width):
            ones = int((words >> dtype(bit) & dtype(1)).sum())
            assert abs(ones - COUNT / 2) < 5 * np.sqrt(COUNT) / 2, (dtype, bit)


def test_units_stay_below_1_and_reach_near_both_ends() -> None:
    for dtype in (F32, F64):
        x = random.uniform(KEY, COUNT, dtype)
        assert 0.0 <= x.min() < 1e-3 and 1 - 1e-3 < x.max() < 1.0


def test_bounds_that_are_numbers_hold() -> None:
    for low, high in ((1.0, 1 + 2.0**-22), (-1e30, 3e30), (2.0**24 - 1, 2.0**24)):
        x = random.uniform(KEY, COUNT, F32, low, high)
        assert (x >= F32(low)).all() and (x < F32(high)).all()


@pytest.mark.parametrize("p", [0.0, 1e-4, 0.3, 0.5, 1.0])
def test_bernoulli(p: float) -> None:
    for chance in (p, np.full(COUNT, p)):
        count = int(random.bernoulli(KEY, chance, (COUNT,)).sum())
        assert abs(count - COUNT * p) <= 5 * np.sqrt(COUNT * p * (1 - p))


def test_bernoulli_of_probabilities_outside_of_0_and_1() -> None:
    p = np.array([-1.0, -0.0, -1e-30, 0.0, 1.0, 2.0, np.inf, -np.inf, np.nan])
    wanted = [False] * 4 + [True] * 3 + [False] * 2
    for dtype in (F32, F64):
        many = random.bernoulli(KEY, p.astype(dtype), (200, p.size))
        assert (many == wanted).all()


def test_randint() -> None:
    x = random.randint(KEY, (COUNT,), -3, 8)
    assert x.dtype == np.int32 and x.min() == -3 and x.max() == 7
    assert chi_square(np.bincount(x + 3), np.ones(11)) > LEAST
    wide = random.randint(KEY, (COUNT,), -(2**31), 2**31)
    assert stats.kstest(wide / 2.0**32 + 0.5, "uniform").pvalue > LEAST
    words = [int(x) for x in random.bits(KEY, 50, np.uint64)]
    for count in (2, 1000, 2**32, 2**32 + 1, 2**40 + 7, 2**63, 2**64 - 1):
        got = random.randint(KEY, 50, 0, count, np.uint64)
        assert [int(x) for x in got] == [x * count >> 64 for x in words]
    huge = random.randint(KEY, 50, np.array(-(2**63)), np.array(2**63 - 1), np.int64)
    assert [int(x) for x in huge] == [(x * (2**64 - 1) >> 64) - 2**63 for x in words]
    bounds = np.array([[0], [7]]), np.array([[5], [7]])
    low, empty = random.randint(KEY, (2, COUNT), *bounds)
    assert chi_square(np.bincount(low), np.ones(5)) > LEAST and (empty == 7).all()


def test_categorical() -> None:
    p = np.array([[0.1, 0.2, 0.7], [0.5, 0.0, 0.5]])
    with np.errstate(divide="ignore"):
        logits = np.log(p)
    for dtype in (F32, F64):
        x = random.categorical(KEY, logits.astype(dtype), shape=(COUNT,))
        assert x.shape == (COUNT, 2) and x.dtype == np.int64
        assert chi_square(np.bincount(x[:, 0]), p[0]) > LEAST
        assert chi_square(np.bincount(x[:, 1])[[0, 2]], np.ones(2)) > LEAST
        assert not (x[:, 1] == 1).any()
    columns = random.categorical(KEY, logits.T, axis=0, shape=(COUNT,))
    np.testing.assert_array_equal(columns.shape, (COUNT, 2))


def test_choice() -> None:
    x = random.choice(KEY, 6, (COUNT,))
    assert chi_square(np.bincount(x), np.ones(6)) > LEAST
    weights = np.array([1.0, 0.0, 5.0, 2.0])
    x = random.choice(KEY, 4, (COUNT,), p=weights)
    counts = np.bincount(x, minlength=4)
    assert counts[1] == 0 and chi_square(counts[[0, 2, 3]], weights[[0, 2, 3]]) > LEAST
    assert len(set(random.choice(KEY, 50, (5, 10), replace=False).ravel().tolist())) == 50


def test_dirichlet() -> None:
    alpha = np.array([0.5, 1.0, 3.0])
    x = random.dirichlet(KEY, alpha, COUNT // 5)
    np.testing.assert_allclose(x.sum(-1), 1.0, rtol=1e-12)
    for i, a in enumerate(alpha):
        assert stats.kstest(x[:, i], stats.beta(a, alpha.sum() - a).cdf).pvalue > LEAST


def test_samples_of_related_keys_are_uncorrelated() -> None:
    keys = [KEY, *random.split(KEY, 3), *(random.fold_in(KEY, n) for n in (0, 1, 2**32)),
            *(random.key(seed) for seed in (0, 1, -1, 2**64))]  # fmt: skip
    samples = np.stack([random.normal(key, COUNT, F64) for key in keys])
    correlations = np.corrcoef(samples) - np.eye(len(keys))
    assert np.abs(correlations).max() < 5 / np.sqrt(COUNT)
    shifted = np.corrcoef(samples[0, 1:], samples[0, :-1])[0, 1]
    assert abs(shifted) < 5 / np.sqrt(COUNT)


# -- permutations ----------------------------------------------------------------------------------


def test_permutations_of_every_length() -> None:
    for n in range(301):
        for order in many_permutations(n, 3):
            np.testing.assert_array_equal(np.sort(order), np.arange(n), str(n))
    for n in (0, 1, 2, 3, 5, 16, 17, 300, 1023, 1024, 1025, 65537):
        order = random.permutation(random.fold_in(KEY, n), n)
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(n), str(n))


def many_permutations(n: int, count: int) -> np.ndarray:
    """Permutations of n by `count` keys, by the op itself."""
    keys = random.bits(KEY, (2, count, 1))
    shape = (count, n)
    width = max((n.bit_length() - 1) // 2, 1)
    scalars = (np.full(shape, x, np.uint32) for x in (n, width))
    index = np.broadcast_to(np.arange(n, dtype=np.uint32), shape)
    words = (np.array(np.broadcast_to(key, shape)) for key in keys)
    operands = [np.array(index), *scalars, *words]
    (found,) = REGISTRY["shuffled_index"].evaluate(operands, {}, None)  # type: ignore[arg-type]
    return found.astype(np.int64)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_all_orders_are_equally_likely(n: int) -> None:
    orders = many_permutations(n, 60_000) @ (n ** np.arange(n))
    counts = np.unique(orders, return_counts=True)[1]
    assert counts.size == np.prod(np.arange(1, n + 1))
    assert chi_square(counts, np.ones(counts.size)) > LEAST


@pytest.mark.parametrize("n", [7, 16, 33, 100])
def test_places_neighbours_and_fixed_points_of_orders(n: int) -> None:
    count = 10_000
    orders = many_permutations(n, count)
    places = np.stack([np.bincount(column, minlength=n) for column in orders.T])
    # Rows and columns sum to `count`, so (n - 1)**2 of the cells are free.
    deviation = float(((places - count / n) ** 2 / (count / n)).sum())
    assert stats.chi2.sf(deviation, (n - 1) ** 2) > LEAST
    fixed = (orders == np.arange(n)).sum(1)
    assert abs(fixed.mean() - 1) < 5 / np.sqrt(count)
    follows = (np.diff(orders, axis=1) == 1).sum(1)
    assert abs(follows.mean() - (n - 1) / n) < 5 / np.sqrt(count)
    above = (orders[:, :-1] > orders[:, 1:]).sum(1)
    assert abs(above.mean() - (n - 1) / 2) < 5 * np.sqrt((n + 1) / 12 / count)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_parameters_give_points_near_the_corners(dtype: type) -> None:
    key = random.key(1)
    for a in (0.01, 1e-3, 1e-8, 1e-20):
        x = random.beta(key, dtype(a), dtype(a), (2000,))
        assert ((x >= 0) & (x <= 1)).all()
        assert abs(x.mean() - 0.5) < 0.05
        points = random.dirichlet(key, np.full(3, a, dtype), (2000,))
        assert points.dtype == dtype
        assert (np.abs(points.sum(-1) - 1) < 1e-6).all()
        assert (np.abs(points.mean(0) - 1 / 3) < 0.05).all()
    assert random.dirichlet(key, np.zeros(0, dtype)).shape == (0,)
