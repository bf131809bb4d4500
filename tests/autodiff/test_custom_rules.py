"""custom_jvp, custom_vjp, linear_call: right ones in all modes and orders, wrong ones refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import irgrad.numpy as np
from irgrad.custom_rules import custom_jvp, custom_vjp, linear_call
from irgrad.differentiation import grad, hvp, jvp, vjp
from irgrad.errors import DifferentiationError
from irgrad.interpret import interpret
from irgrad.ir.verify import verify
from irgrad.ops.registry import REGISTRY
from irgrad.testing import check_grads
from irgrad.tracing.trace import trace

X = numpy.array([0.3, -0.8, 1.2])
W = numpy.array([0.5, 2.0, -1.0])
close = numpy.testing.assert_allclose


def make_jvp(function: Callable[..., Any], rule: Callable[..., Any]) -> custom_jvp:
    made = custom_jvp(function)
    made.defjvp(rule)
    return made


def make_vjp(
    function: Callable[..., Any], forward: Callable[..., Any], backward: Callable[..., Any]
) -> custom_vjp:
    made = custom_vjp(function)
    made.defvjp(forward, backward)
    return made


# -- right ones ------------------------------------------------------------------------------------


def test_custom_jvp_with_trees_captures_and_a_rule_that_calls_the_function() -> None:
    @custom_jvp
    def f(p: Any, k: Any) -> Any:
        """Documented."""
        return {"y": np.exp(p["x"]) * W * k, "k": k}

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        out = f(*primals)
        assert tangents[1] is None
        return out, {"y": out["y"] * tangents[0]["x"], "k": None}

    assert f.__doc__ == "Documented." and f.__name__ == "f"
    close(f({"x": X}, 2)["y"], numpy.exp(X) * W * 2)
    check_grads(lambda x: f({"x": x}, 2)["y"], (X,), order=4)
    check_grads(lambda x, k: f({"x": x}, k)["y"], (X, numpy.array([1, 2, 3])), order=2)


def test_the_rule_counts() -> None:
    f = make_jvp(np.sin, lambda p, t: (np.sin(p[0]), 5 * t[0]))
    close(grad(lambda x: np.sum(f(x)))(X), numpy.full(3, 5.0))
    close(jvp(f, (X,), (W,))[1], 5 * W)
    g = make_vjp(np.sin, lambda x: (np.sin(x), x), lambda x, ct: (7 * x * ct,))
    close(vjp(g, X)[1](W)[0], 7 * X * W)
    close(jvp(g, (X,), (W,))[1], 7 * X * W)
    close(hvp(lambda x: np.sum(g(x)), (X,), (W,)), 7 * W)


def test_none_stands_for_a_zero_tangent() -> None:
    f = make_jvp(lambda x, y: (x * y, y), lambda p, t: ((p[0] * p[1], p[1]), (p[1] * t[0], None)))
    a, b = grad(lambda x, y: np.sum(f(x, y)[0] + f(x, y)[1]), argnums=(0, 1))(X, W)
    close(a, W)
    close(b, numpy.zeros(3))
    g = make_vjp(
        lambda x, y: x * y, lambda x, y: (x * y, y), lambda y, ct: (ct * y, None)
    )
    a, b = grad(lambda x, y: np.sum(g(x, y)), argnums=(0, 1))(X, W)
    close(a, W)
    close(b, numpy.zeros(3))


def test_custom_vjp_with_static_residuals_integers_and_captures() -> None:
    def forward(p: Any, k: Any) -> Any:
        return f(p, k), {"x": p["x"], "k": k, "axis": 0, "mode": "plain"}

    def backward(kept: Any, ct: Any) -> Any:
        assert kept["mode"] == "plain" and kept["axis"] == 0 and ct["k"] is None
        x = np.flip(np.flip(kept["x"], kept["axis"]), kept["axis"])
        return {"x": ct["y"] * np.cos(x) * W * kept["k"]}, None

    f = make_vjp(lambda p, k: {"y": np.sin(p["x"]) * W * k, "k": k}, forward, backward)
    check_grads(lambda x: f({"x": x}, 3)["y"], (X,), order=3)
    check_grads(lambda x, k: f({"x": x}, k)["y"], (X, numpy.array([1, 2, 3])), order=2)


def test_backward_may_use_integers_that_are_traced_outside() -> None:
    k = numpy.array([1, 2, 3])

    def outer(x: Any, k: Any) -> Any:
        f = make_vjp(lambda x: x * k, lambda x: (x * k, ()), lambda _, ct: (ct * k,))
        return np.sum(f(x) * x)

    close(grad(outer)(X, k), 2 * k * X)


def test_straight_through_rounding_and_gradient_reversal() -> None:
    through = make_jvp(np.round, lambda p, t: (np.round(p[0]), t[0]))
    close(grad(lambda x: np.sum(through(x) * x))(X), numpy.round(X) + X)
    reverse = make_vjp(lambda x: x, lambda x: (x, ()), lambda _, ct: (-ct,))
    close(grad(lambda x: np.sum(3 * x + reverse(x)))(X), numpy.full(3, 2.0))


def test_what_has_no_float_argument_is_the_plain_function() -> None:
    f = make_jvp(lambda k: k + 1, lambda p, t: (p[0] + 1, None))
    g = make_vjp(lambda k: k + 1, lambda k: (k + 1, ()), lambda _, ct: (None,))
    graph = trace(lambda k: f(k) + g(k), "i64[3]")
    assert not any(graph[key].op.startswith("custom") for key in graph)


def test_linear_call_uses_both_functions_and_all_derivatives() -> None:
    def f(r: Any, x: Any, y: Any) -> Any:
        out = linear_call(
            lambda r, o: {"s": r * o[0] * W + y * o[1]},
            lambda r, ct: (r * W * ct["s"], y * ct["s"]),
            r,
            (np.sin(x), x),
        )
        return out["s"]

    close(f(X, X, W), X * numpy.sin(X) * W + W * X)
    check_grads(f, (X, X, W), order=3)
    marked = lambda x: linear_call(lambda _, o: 2 * o, lambda _, ct: 5 * ct, (), x)  # noqa: E731
    close(vjp(marked, X)[1](W)[0], 5 * W)
    close(jvp(marked, (X,), (W,))[1], 2 * W)


def test_regions_are_valid_and_keep_the_users_line() -> None:
    f = make_jvp(np.sin, lambda p, t: (f(*p), np.cos(p[0]) * t[0]))
    g = make_vjp(np.sin, lambda x: (g(x), x), lambda x, ct: (np.cos(x) * ct,))
    graph = trace(lambda x: f(x) + g(x) + linear_call(lambda _, o: o, lambda _, c: c, (), x),
                  "f64[n]")
    verify(graph, "traced", REGISTRY)
    calls = [graph[key] for key in graph if "_call" in graph[key].op]
    assert len(calls) == 3
    assert all("test_custom_rules.py" in str(call.locations[0]) for call in calls)
    close(interpret(graph, [X])[0], 2 * numpy.sin(X) + X)


# -- wrong ones ------------------------------------------------------------------------------------


def double(x: Any) -> Any:
    return 2 * x


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda p, t: 2 * t[0], r"custom_jvp double: rule: expected a pair"),
        (lambda p, t: (double(*p), t[0][:2]), r"rule: tangent 0: expected f64\[3\], got f64\[2\]"),
        (lambda p, t: (double(*p), t[0].astype("f4")), r"expected f64\[3\], got f32\[3\]"),
        (lambda p, t: (p[0][0], t[0]), r"rule: output 0: expected f64\[3\], got f64\[\]"),
        (lambda p, t: (double(*p), (t[0], t[0])), r"rule: tangent"),
        (lambda p, t: (double(*p), t[0] * t[0]), r"region 'rule' to be linear in its tangents"),
        (lambda p, t: (double(*p), np.abs(t[0])), r"region 'rule' to be linear in its tangents"),
        (lambda p, t: (double(*p), t[0] + 1), r"region 'rule' to be linear in its tangents"),
        (lambda p, t: (double(*p), p[0]), r"region 'rule' to be linear in its tangents"),
    ],
)
def test_wrong_tangent_rules(rule: Callable[..., Any], message: str) -> None:
    check_refused(make_jvp(double, rule), message)


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda kept, ct: 2 * ct, r"custom_vjp double: backward: expected a tuple of 1 cotangents"),
        (lambda kept, ct: (ct, ct), r"backward: expected a tuple of 1 cotangents, got \("),
        (lambda kept, ct: (ct[0],), r"cotangent 0: expected f64\[3\], got f64\[\]"),
        (lambda kept, ct: ((ct, ct),), r"backward: cotangent"),
        (lambda kept, ct: (ct * ct,), r"region 'backward' to be linear in its cotangents"),
        (lambda kept, ct: (np.exp(ct),), r"region 'backward' to be linear in its cotangents"),
        (lambda kept, ct: (kept + ct,), r"region 'backward' to be linear in its cotangents"),
        (lambda kept, ct: (kept,), r"region 'backward' to be linear in its cotangents"),
    ],
)
def test_wrong_backward_functions(backward: Callable[..., Any], message: str) -> None:
    check_refused(make_vjp(double, lambda x: (2 * x, x), backward), message)


def test_wrong_forward_functions() -> None:
    check_refused(make_vjp(double, double, lambda _, ct: (ct,)), "forward: expected a pair")
    check_refused(
        make_vjp(double, lambda x: (x[0], ()), lambda _, ct: (ct,)),
        r"forward: output 0: expected f64\[3\], got f64\[\]",
    )


def test_missing_rules() -> None:
    check_refused(custom_jvp(double), "custom_jvp double: expected a rule given by defjvp")
    check_refused(custom_vjp(double), "custom_vjp double: expected two functions given by defvjp")


def test_traced_floats_have_to_be_arguments() -> None:
    def by_jvp(x: Any) -> Any:
        return np.sum(make_jvp(lambda y: y * x, lambda p, t: (p[0] * x, t[0] * x))(2 * x))

    def by_vjp(x: Any) -> Any:
        f = make_vjp(lambda y: y * x, lambda y: (y * x, ()), lambda _, ct: (ct * x,))
        return np.sum(f(2 * x))

    for function in (by_jvp, by_vjp):
        with pytest.raises(DifferentiationError, match="expected every traced float value to be"):
            grad(function)(X)


def test_wrong_linear_calls() -> None:
    def call(forward: Any, backward: Any, operand: Any = X) -> Any:
        return lambda x: linear_call(forward, backward, (), operand if operand is not X else x)

    cases = [
        (call(lambda _, o: o, lambda _, ct: ct[:2]), r"cotangent 0: expected f64\[3\], got f64"),
        (call(lambda _, o: np.argmax(o), lambda _, ct: ct), "expected results of float type"),
        (lambda x: linear_call(lambda r, o: o, lambda r, c: c, x, 3), "operands of float type"),
        (lambda x: linear_call(lambda r, o: r, lambda r, c: c, x, ()), "float type, got none"),
    ]
    for function, message in cases:
        check_refused(function, message)


def check_refused(function: Callable[..., Any], message: str) -> None:
    """Differentiating raises a named error of at most 12 lines that ends with the user's line."""
    with pytest.raises(DifferentiationError, match=message) as caught:
        grad(lambda x: np.sum(function(x)))(X)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 12 and "test_custom_rules.py" in lines[-2]
