"""irgrad.nn.functional: values on arrays and traced, special values, derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import irgrad.numpy as inp
from irgrad.differentiation import grad, jvp
from irgrad.errors import DTypeError, ShapeError
from irgrad.interpret import interpret
from irgrad.nn import functional
from irgrad.tracing.trace import trace

X = np.random.default_rng(0).normal(size=(4, 5)) * 3
# A row of -inf, one with inf, one with NaN, one with some -inf.
WITH_SPECIAL = X.copy()
WITH_SPECIAL[0], WITH_SPECIAL[1, 2], WITH_SPECIAL[2, 1], WITH_SPECIAL[3, 0] = (
    -np.inf, np.inf, np.nan, -np.inf,
)
LABELS = np.array([0, 4, 2, 1])

FORMULAS: tuple[tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]], ...] = (
    (functional.relu, lambda x: np.maximum(x, 0)),
    (functional.sigmoid, scipy.special.expit),
    (functional.softplus, lambda x: np.logaddexp(x, 0)),
    (functional.tanh, np.tanh),
    (functional.erf, scipy.special.erf),
    (functional.erfc, scipy.special.erfc),
    (functional.silu, lambda x: x * scipy.special.expit(x)),
    (lambda x: functional.gelu(x, False), lambda x: x * scipy.special.ndtr(x)),
    (functional.gelu, lambda x: 0.5 * x * (
        1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    (functional.elu, lambda x: np.where(x > 0, x, np.expm1(x))),
    (lambda x: functional.elu(x, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    (functional.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
    (functional.softmax, lambda x: scipy.special.softmax(x, -1)),
    (lambda x: functional.softmax(x, (0, 1)), lambda x: scipy.special.softmax(x, (0, 1))),
    (functional.log_softmax, lambda x: scipy.special.log_softmax(x, -1)),
    (functional.logsumexp, scipy.special.logsumexp),
    (lambda x: functional.logsumexp(x, 0), lambda x: scipy.special.logsumexp(x, 0)),
    (lambda x: functional.logsumexp(x, -1, True),
     lambda x: scipy.special.logsumexp(x, -1, keepdims=True)),
    (functional.layer_norm, lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True) + 1e-5)),
    (lambda x: functional.layer_norm(x, x[0], x[1], axis=(0, 1), eps=0.1),
     lambda x: (x - x.mean()) / np.sqrt(x.var() + 0.1) * x[0] + x[1]),
    (lambda x: functional.mse_loss(x, 2 * x[0]), lambda x: ((x - 2 * x[0]) ** 2).mean()),
    (lambda x: functional.cross_entropy(x, LABELS),
     lambda x: -scipy.special.log_softmax(x, -1)[np.arange(4), LABELS].mean()),
    (lambda x: functional.cross_entropy(x, LABELS[[0, 1, 2, 3, 0]] % 4, axis=0),
     lambda x: -scipy.special.log_softmax(x, 0)[LABELS[[0, 1, 2, 3, 0]] % 4, np.arange(5)].mean()),
    (lambda x: functional.cross_entropy(x, np.eye(5, dtype=x.dtype)[LABELS]),
     lambda x: -scipy.special.log_softmax(x, -1)[np.arange(4), LABELS].mean()),
    (functional.norm, np.linalg.norm),
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", range(len(FORMULAS)))
def test_formula_on_arrays_and_traced(case: int, dtype: type) -> None:
    function, formula = FORMULAS[case]
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    x = X.astype(dtype)
    expected = formula(x)
    at_once = function(x)
    (traced,) = interpret(trace(function, x), [x])
    for got in (at_once, traced):
        assert got.dtype == dtype and got.shape == np.shape(expected)
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_infinities_as_scipy_has_them(name: str) -> None:
    function, reference = getattr(functional, name), getattr(scipy.special, name)
    with np.errstate(all="ignore"):
        expected = reference(WITH_SPECIAL, -1)
        at_once = function(WITH_SPECIAL, -1)
    (traced,) = interpret(trace(lambda x: function(x, -1), WITH_SPECIAL), [WITH_SPECIAL])
    np.testing.assert_allclose(at_once, expected, rtol=1e-12)
    np.testing.assert_allclose(traced, expected, rtol=1e-12)


def test_large_logits_do_not_overflow() -> None:
    x = np.array([[1000.0, 0.0, -1000.0]])
    for function in (functional.softmax, functional.log_softmax, functional.logsumexp):
        assert np.isfinite(interpret(trace(function, x), [x])[0]).all()


def test_integer_logits_become_float64() -> None:
    x = np.arange(6).reshape(2, 3)
    (got,) = interpret(trace(functional.softmax, x), [x])
    np.testing.assert_allclose(got, scipy.special.softmax(x, -1))


def test_probabilities_of_zero_count_nothing() -> None:
    logits = np.array([[0.0, -np.inf]])
    p = np.array([[1.0, 0.0]])
    assert interpret(trace(functional.cross_entropy, logits, p), [logits, p])[0] == 0.0


@pytest.mark.parametrize("labels, error", [
    (np.zeros(3, np.int32), ShapeError), (np.zeros((4, 5), np.int32), ShapeError),
    (np.zeros(4), DTypeError), (np.zeros((4, 5), bool), DTypeError),
])
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, error: type[Exception]) -> None:
    for run in (lambda: functional.cross_entropy(X, labels),
                lambda: trace(functional.cross_entropy, X, labels)):
        with pytest.raises(error, match="cross_entropy: expected"):
            run()


# -- derivatives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(FORMULAS)))
def test_derivatives_by_central_differences(case: int) -> None:
    function, _ = FORMULAS[case]
    direction = np.random.default_rng(1).normal(size=X.shape)
    weights = np.random.default_rng(2).normal(size=np.shape(function(X)))

    def f(x: Any) -> Any:
        return inp.sum(function(x) * weights)

    step = 1e-6
    expected = (f(X + step * direction) - f(X - step * direction)) / (2 * step)
    forward = jvp(f, (X,), (direction,))[1]
    reverse = np.sum(grad(f)(X) * direction)
    np.testing.assert_allclose([forward, reverse], expected, rtol=1e-6, atol=1e-6)


def test_norm_has_derivative_0_at_0_in_every_order() -> None:
    zero, x = np.zeros(3), np.array([3.0, 4.0])
    np.testing.assert_array_equal(grad(functional.norm)(zero), 0)
    np.testing.assert_allclose(grad(functional.norm)(x), x / 5)

    def directional(x: Any) -> Any:
        return inp.sum(grad(functional.norm)(x) * np.array([1.0, 2.0, 3.0])[: x.shape[0]])

    np.testing.assert_array_equal(grad(directional)(zero), 0)
    projection = np.eye(2) - np.outer(x, x) / 25
    np.testing.assert_allclose(grad(directional)(x), projection @ [1, 2] / 5)
    third = grad(lambda x: inp.sum(grad(directional)(x)))
    np.testing.assert_array_equal(third(zero), 0)
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    by_row = grad(lambda x: inp.sum(inp.linalg.norm(x, axis=1)))
    np.testing.assert_allclose(by_row(rows), rows / [[1], [5]])


def test_derivatives_at_borders() -> None:
    half = grad(lambda x: inp.sum(inp.logaddexp(x, np.array([1.0, -np.inf]))))
    np.testing.assert_allclose(half(np.array([1.0, 3.0])), [0.5, 1.0])
    np.testing.assert_array_equal(grad(functional.logsumexp)(np.full(3, -np.inf)), 0)
    np.testing.assert_allclose(grad(lambda x: inp.sum(inp.arcsinh(x)))(np.array([0.0, 1e200])),
                               [1.0, 1e-200])
    np.testing.assert_allclose(grad(lambda x: inp.sum(inp.sinc(x)))(np.zeros(2)), 0)
    np.testing.assert_allclose(grad(lambda x: inp.sum(inp.nan_to_num(x)))(
        np.array([np.nan, np.inf, 1.0])), [0, 0, 1])
    safe = grad(lambda x: inp.sum(inp.where(x >= 0, x, inp.sqrt(-x))))
    np.testing.assert_allclose(safe(np.array([0.0, 4.0, -4.0])), [1, 1, -0.25])


def test_no_derivative_flows_through_stop_gradient() -> None:
    f = grad(lambda x: inp.sum(x * functional.stop_gradient(x)))
    np.testing.assert_allclose(f(np.array([2.0, 3.0])), [2, 3])
    assert functional.stop_gradient(2.0) == 2.0
