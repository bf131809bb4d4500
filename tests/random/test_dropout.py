"""Dropout, and derivatives of draws by what moves and scales them."""

from __future__ import annotations

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad import random

KEY = random.key(8)
X = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)


@pytest.mark.parametrize("rate", [0, 0.25, 0.9, 1])
def test_what_is_kept_is_scaled(rate: float) -> None:
    got = ig.nn.dropout(KEY, X, rate)
    kept = random.bernoulli(KEY, 1 - rate, X.shape)
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / X.size) + 1e-9
    scale = 1 / (1 - rate) if rate < 1 else 1.0
    np.testing.assert_array_equal(got, np.where(kept, X * np.float32(scale), 0))
    assert got.dtype == np.float32


def test_forward_and_backward_are_one_kernel_without_a_stored_mask() -> None:
    def loss(x: object, key: object) -> object:
        return inp.sum(inp.tanh(ig.nn.dropout(key, inp.sin(x), 0.25)) ** 2)

    call = ig.compile(ig.value_and_grad(loss), "f32[40,50]", "u32[2]")
    value, gradient = call(X, KEY)
    kept = random.bernoulli(KEY, 0.75, X.shape)
    inner = np.tanh(np.where(kept, np.sin(X.astype(float)) / 0.75, 0))
    np.testing.assert_allclose(value, (inner**2).sum(), rtol=1e-6)
    expected = np.where(kept, 2 * inner * (1 - inner**2) / 0.75 * np.cos(X), 0)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    assert len(call.kernels) == 1
    assert "bool" not in call.kernels[0].text.splitlines()[0]


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_gradient_at_the_ends(rate: float) -> None:
    gradient = ig.jit(
        ig.grad(lambda x: inp.sum(ig.nn.dropout(KEY, x, rate))), target="reference"
    )(X)
    np.testing.assert_array_equal(gradient, np.full(X.shape, 1 - rate, np.float32))


def derivative(f: object, at: float) -> float:
    return float(ig.jit(ig.grad(f), target="reference")(at))  # type: ignore[arg-type]


def test_draws_have_derivatives_by_what_moves_and_scales_them() -> None:
    noise = random.normal(KEY, 9, np.float64)
    scaled = lambda s: inp.sum(random.normal(KEY, 9, np.float64, 0.0, s))  # noqa: E731
    assert derivative(scaled, 2.0) == pytest.approx(noise.sum())
    moved = lambda m: inp.sum(random.gumbel(KEY, 9, np.float64, m))  # noqa: E731
    assert derivative(moved, 2.0) == pytest.approx(9)
    unit = random.uniform(KEY, 9, np.float64)
    low = lambda a: inp.sum(random.uniform(KEY, 9, np.float64, a, 3.0))  # noqa: E731
    assert derivative(low, 2.0) == pytest.approx((1 - unit).sum())
    wide = lambda s: inp.sum(random.gamma(KEY, np.full(9, 2.0), scale=s))  # noqa: E731
    assert derivative(wide, 1.5) == pytest.approx(random.gamma(KEY, np.full(9, 2.0)).sum())
    counted = lambda p: inp.sum(random.bernoulli(KEY, p, (9,)) * p)  # noqa: E731
    count = int(random.bernoulli(KEY, 0.5, (9,)).sum())
    assert derivative(counted, 0.5) == pytest.approx(count)
