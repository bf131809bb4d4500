"""Derivatives of plain programs: compiled, interpreted, in forward and reverse mode, of second
order, and through every way to ask for them."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradient_programs
import numpy as np
import pytest
from program import Program

import irgrad as ig

PROGRAMS = {
    name: value for name, value in vars(gradient_programs).items() if isinstance(value, Program)
}
ARGS = {name: value.args[0] for name, value in PROGRAMS.items()}
RNG = np.random.default_rng(5)
DIRECTIONS = {name: RNG.standard_normal(x.shape) for name, x in ARGS.items()}


def differences(name: str) -> np.ndarray:
    """The gradient by central differences of fourth order."""
    f, x, h = PROGRAMS[name], ARGS[name], 1e-4
    found = np.zeros(x.shape)
    for place in np.ndindex(*x.shape):
        step = np.zeros(x.shape)
        step[place] = h
        near, far = f(x + step) - f(x - step), f(x + 2 * step) - f(x - 2 * step)
        found[place] = (8 * float(near) - float(far)) / (12 * h)
    return found


EXPECTED = {name: differences(name) for name in PROGRAMS}


def gradients(args: Any) -> Any:
    return {name: ig.grad(PROGRAMS[name])(x) for name, x in args.items()}


@pytest.mark.parametrize("options", [
    {"target": "cpu"}, {"target": "reference"}, {"target": "cpu", "numerics": "exact"},
])
def test_gradients(options: dict[str, str]) -> None:
    got = ig.jit(gradients, **options)(ARGS)
    for name, expected in EXPECTED.items():
        assert got[name].dtype == np.float64
        np.testing.assert_allclose(got[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)


def test_directions_and_second_derivatives() -> None:
    """Forward mode, and products with the Hessian, against gradients beside the argument."""
    h = 1e-5

    def forward(args: Any, directions: Any) -> Any:
        pairs = {name: ((x,), (directions[name],)) for name, x in args.items()}
        slopes = {name: ig.jvp(PROGRAMS[name], *pair) for name, pair in pairs.items()}
        return slopes, {name: ig.hvp(PROGRAMS[name], *pair) for name, pair in pairs.items()}

    slopes, products = ig.jit(forward)(ARGS, DIRECTIONS)
    gradient = ig.jit(gradients)
    above, below = (
        gradient({name: x + sign * h * DIRECTIONS[name] for name, x in ARGS.items()})
        for sign in (1, -1)
    )
    for name in PROGRAMS:
        value, slope = slopes[name]
        np.testing.assert_allclose(value, PROGRAMS[name](ARGS[name]), rtol=1e-9, err_msg=name)
        along = float((EXPECTED[name] * DIRECTIONS[name]).sum())
        np.testing.assert_allclose(slope, along, rtol=1e-6, atol=1e-6, err_msg=name)
        second = (above[name] - below[name]) / (2 * h)
        np.testing.assert_allclose(products[name], second, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.interpreted
def test_all_ways_to_a_gradient_agree() -> None:
    f, x = PROGRAMS["contractions"], ARGS["contractions"]
    expected, jit = EXPECTED["contractions"], partial(ig.jit, target="reference")
    one = np.float64(1)
    ways = {
        "grad": ig.grad(f)(x),
        "value_and_grad": ig.value_and_grad(f)(x)[1],
        "vjp": ig.vjp(f, x)[1](one)[0],
        "grad of jit": ig.grad(jit(f))(x),
        "jit of grad of jit": jit(ig.grad(jit(f)))(x),
        "jit of vjp": jit(lambda x: ig.vjp(f, x)[1](one)[0])(x),
        "aux": ig.grad(lambda x: (f(x), {"x": x}), has_aux=True)(x)[0],
        "keyword": ig.grad(lambda scale, x: f(x) * scale, argnums=1)(1.0, x),
        "tree": ig.grad(lambda p: f(p["x"][0]))({"x": [x]})["x"][0],
    }
    for name, got in ways.items():
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6, err_msg=name)
    pushed = ig.linearize(f, x)[1]
    direction = DIRECTIONS["contractions"]
    np.testing.assert_allclose(pushed(direction), (expected * direction).sum(), rtol=1e-6)


def test_powers_of_zero() -> None:
    """d(x**y)/dx is 0 at x = y = 0, also where nothing but exact rewrites may say so."""
    x, y = np.array([0.0, 0, 0, 2, -2]), np.array([0.0, 1, 2, 0, 3])

    def both(x: Any, y: Any) -> Any:
        constant = ig.grad(lambda x: (x**0 + x**2).sum())
        return ig.grad(lambda x, y: (x**y).sum())(x, y), constant(x)

    for numerics in ("exact", "stable"):
        slopes = ig.jit(both, numerics=numerics)
        by_base, constant = slopes(x, y)
        np.testing.assert_array_equal(by_base, [0, 1, 0, 0, 12])
        np.testing.assert_array_equal(constant, 2 * x)


def test_float32_stays_float32() -> None:
    x = ARGS["kernel_density"].astype(np.float32)
    got = ig.jit(ig.grad(PROGRAMS["kernel_density"]))(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, EXPECTED["kernel_density"], rtol=1e-3, atol=1e-4)
