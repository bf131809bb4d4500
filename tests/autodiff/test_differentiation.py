"""The public transforms on functions of arrays and trees, outside and inside of a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import irgrad.numpy as np
from irgrad.autodiff import gradient_graph
from irgrad.differentiation import grad, hvp, jvp, linearize, stop_gradient, value_and_grad, vjp
from irgrad.errors import ArgumentError, DifferentiationError
from irgrad.interpret import interpret
from irgrad.ir.verify import verify
from irgrad.ops.registry import REGISTRY
from irgrad.testing import check_grads
from irgrad.tracing.trace import trace

X = numpy.array([0.3, -0.8, 1.2])
W = numpy.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
close = numpy.testing.assert_allclose


def scalar(x: Any) -> Any:
    return np.sum(np.sin(x) * x)


def slope(x: numpy.ndarray) -> numpy.ndarray:
    return numpy.cos(x) * x + numpy.sin(x)


# -- grad and value_and_grad -----------------------------------------------------------------------


def test_gradient_and_value() -> None:
    close(grad(scalar)(X), slope(X), 1e-14)
    value, gradient = value_and_grad(scalar)(X)
    close(value, scalar(X), 1e-14)
    close(gradient, slope(X), 1e-14)


def test_argnums_choose_arguments_and_shape_the_result() -> None:
    def f(x: Any, k: Any, y: Any) -> Any:
        return np.sum(x * y * k)

    k = numpy.array([1, 2, 3])
    close(grad(f)(X, k, 2 * X), 2 * X * k)
    close(grad(f, argnums=-1)(X, k, 2 * X), X * k)
    first, second = grad(f, argnums=(2, 0))(X, k, 2 * X)
    close(first, X * k)
    close(second, 2 * X * k)
    assert isinstance(grad(f, argnums=[0])(X, k, X), tuple)


def test_trees_in_trees_out() -> None:
    params = {"w": W, "layers": [(X, numpy.array(2.0)), None]}

    def f(p: Any, x: Any) -> Any:
        scale, shift = p["layers"][0]
        return np.sum(np.tanh(p["w"] @ (scale * x)) * shift)

    found = grad(f)(params, X)
    t = numpy.tanh(W @ (X * X))
    s = 2 * (1 - t * t)
    assert set(found) == {"w", "layers"} and found["layers"][1] is None
    close(found["w"], numpy.outer(s, X * X), 1e-11)  # 1 - t*t cancels
    close(found["layers"][0][0], (W.T @ s) * X, 1e-13)
    close(found["layers"][0][1], t.sum(), 1e-13)


def test_keyword_arguments_are_carried_along() -> None:
    close(grad(lambda x, *, k: np.sum(x * k))(X, k=W[0]), W[0])


def test_auxiliary_output() -> None:
    def f(x: Any) -> Any:
        return np.sum(x * x), {"double": 2 * x, "n": 3}

    gradient, aux = grad(f, has_aux=True)(X)
    close(gradient, 2 * X)
    close(aux["double"], 2 * X)
    (value, again), gradient = value_and_grad(f, has_aux=True)(X)
    assert value == pytest.approx(numpy.sum(X * X)) and again["n"] == 3
    close(gradient, 2 * X)


def test_dtypes_are_kept() -> None:
    x = X.astype("f4")
    value, gradient = value_and_grad(lambda x: np.sum(np.exp(x) / 3) + 1.0)(x)
    assert value.dtype == gradient.dtype == numpy.float32
    a, b = grad(lambda x, y: np.sum(x * y), argnums=(0, 1))(x, X)
    assert a.dtype == numpy.float32 and b.dtype == numpy.float64


def test_unused_and_integer_parts() -> None:
    a, b = grad(lambda x, y: np.sum(x), argnums=(0, 1))(X, W)
    close(a, numpy.ones(3))
    close(b, numpy.zeros((2, 3)))
    close(grad(lambda x: np.sum(x * np.argmax(x)))(X), numpy.full(3, 2.0))
    close(grad(lambda x: 1.0)(X), numpy.zeros(3))


def test_python_numbers_are_arguments_too() -> None:
    assert grad(lambda x: x**3)(2.0) == 12
    assert grad(grad(lambda x: x**3))(2.0) == 12
    assert grad(grad(grad(np.sin)))(0.5) == pytest.approx(-numpy.cos(0.5))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (grad(scalar), (numpy.arange(3),), r"grad: expected argument 0 of float type .* i64\[3\]"),
        (grad(lambda p: p["w"]), ({"w": True},), r"argument 0\['w'\] of float type .* got bool"),
        (value_and_grad(scalar, 1), (X, 3), r"value_and_grad: expected argument 1 .* i64\[\]"),
        (grad(lambda x: 2 * x), (X,), r"expected a scalar float output, got f64\[3\]"),
        (grad(lambda x: np.argmax(x)), (X,), r"expected a scalar float output, got i64\[\]"),
        (grad(lambda x: (x[0], x[1])), (X,), "got 2 values; return the others with has_aux"),
        (grad(lambda x: x[0], has_aux=True), (X,), "grad: expected a pair"),
        (grad(lambda x: (x, x), has_aux=True), (X,), r"scalar float output, got f64\[3\]"),
    ],
)
def test_what_has_no_gradient(
    function: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(DifferentiationError, match=message) as caught:
        function(*arguments)
    text = str(caught.value)
    assert len(text.splitlines()) <= 12
    assert "test_differentiation.py" in text.splitlines()[-2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grad(scalar, argnums=()), "distinct argument positions"),
        (lambda: grad(scalar, argnums=(0, 0)), "distinct argument positions"),
        (lambda: grad(scalar, argnums=1)(X), "expected argnums below the 1 positional arguments"),
        (lambda: grad(scalar)("text"), "expected an array or a number, got str"),
        (lambda: jvp(scalar, X, X), "jvp: primals: expected a tuple"),
        (lambda: jvp(scalar, (X,), (X[:2],)), r"jvp: tangent 0: expected f64\[3\], got f64\[2\]"),
        (lambda: jvp(scalar, (X,), (X.astype("f4"),)), r"expected f64\[3\], got f32\[3\]"),
        (lambda: jvp(scalar, (X,), (X, X)), "jvp: tangent: expected the tree"),
        (lambda: jvp(scalar, (X,), ("x",)), r"jvp: tangent 0: expected f64\[3\], got str"),
        (lambda: jvp(lambda k: k, (3,), (1,)), r"tangent 0: expected None .* i64\[\]"),
        (lambda: vjp(np.sin, X)[1](X[:1]), r"vjp: cotangent 0: expected f64\[3\], got f64\[1\]"),
        (lambda: vjp(np.sin, X)[1]((X, X)), "vjp: cotangent: expected the tree|got tuple"),
        (lambda: linearize(np.sin, X)[1](W), r"linearize: tangent 0: expected f64\[3\]"),
    ],
)
def test_arguments_that_do_not_fit(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


# -- jvp, vjp, linearize, hvp ----------------------------------------------------------------------


def several(x: Any, k: Any, p: Any) -> Any:
    """Float and integer results of float and integer arguments."""
    return {"y": np.sin(x) * p[0] * k, "k": k + 1, "z": np.sum(p[0])}


def test_forward_mode() -> None:
    k = numpy.array([1, 2, 3])
    out, tangent = jvp(several, (X, k, [X]), (W[0], None, [W[1]]))
    close(out["y"], numpy.sin(X) * X * k)
    close(tangent["y"], k * (numpy.cos(X) * W[0] * X + numpy.sin(X) * W[1]), 1e-14)
    close(tangent["z"], W[1].sum())
    assert tangent["k"] is None and out["k"].dtype == numpy.int64


def test_a_tangent_may_be_none_for_zero() -> None:
    k = numpy.array([1, 2, 3])
    tangent = jvp(several, (X, k, [X]), (None, None, [W[1]]))[1]
    close(tangent["y"], k * numpy.sin(X) * W[1], 1e-14)
    tangent = linearize(several, X, k, [X])[1](None, None, [W[1]])
    close(tangent["y"], k * numpy.sin(X) * W[1], 1e-14)


def test_reverse_mode() -> None:
    k = numpy.array([1, 2, 3])
    out, pullback = vjp(several, X, k, [X])
    close(out["z"], X.sum())
    dx, dk, dp = pullback({"y": W[0], "k": None, "z": 2.0})
    close(dx, W[0] * k * numpy.cos(X) * X, 1e-14)
    close(dp[0], W[0] * k * numpy.sin(X) + 2, 1e-14)
    assert dk is None
    dx, _, dp = pullback({"y": None, "k": None, "z": numpy.array(1.0)})
    close(dx, numpy.zeros(3))
    close(dp[0], numpy.ones(3))


def test_linearize_agrees_with_jvp() -> None:
    k = numpy.array([1, 2, 3])
    out, push = linearize(several, X, k, [X])
    for direction in W:
        expected = jvp(several, (X, k, [X]), (direction, None, [X]))
        found = push(direction, None, [X])
        close(found["y"], expected[1]["y"], 1e-14)
        close(out["y"], expected[0]["y"], 1e-14)
        assert found["k"] is None


def test_pullbacks_do_not_see_later_writes() -> None:
    x = X.copy()
    _, pullback = vjp(lambda x: x * x, x)
    _, push = linearize(lambda x: x * x, x)
    x[:] = 0
    close(pullback(numpy.ones(3))[0], 2 * X)
    close(push(numpy.ones(3)), 2 * X)


def test_hessian_vector_products() -> None:
    expected = (2 * numpy.cos(X) - X * numpy.sin(X)) * W[0]
    close(hvp(scalar, (X,), (W[0],)), expected, 1e-14)
    close(jvp(grad(scalar), (X,), (W[0],))[1], expected, 1e-14)
    close(grad(lambda x: np.sum(grad(scalar)(x) * W[0]))(X), expected, 1e-14)
    close(vjp(grad(scalar), X)[1](W[0])[0], expected, 1e-14)
    close(linearize(grad(scalar), X)[1](W[0]), expected, 1e-14)
    reverse_of_forward = grad(lambda x: jvp(scalar, (x,), (W[0],))[1])
    close(reverse_of_forward(X), expected, 1e-14)


def test_hessian_vector_products_of_several_arguments() -> None:
    def f(x: Any, k: Any, y: Any) -> Any:
        return np.sum(k * x * x * y)

    k = numpy.array([1, 2, 3])
    a, b, c = hvp(f, (X, k, W[0]), (W[1], None, X))
    close(a, 2 * k * (W[0] * W[1] + X * X), 1e-14)
    assert b is None
    close(c, 2 * k * X * W[1], 1e-14)
    with pytest.raises(DifferentiationError, match="hvp: expected an argument of float type"):
        hvp(f, (3,), (None,))


# -- conventions -----------------------------------------------------------------------------------


def test_where_selects() -> None:
    def f(x: Any) -> Any:
        return np.where(x >= 0, x, np.sqrt(-x))

    assert grad(f)(1.0) == 1 and grad(f)(-4.0) == -0.25
    assert jvp(f, (1.0,), (1.0,))[1] == 1
    assert grad(grad(f))(1.0) == 0
    assert hvp(f, (1.0,), (1.0,)) == 0
    assert grad(lambda x: jvp(f, (x,), (1.0,))[1])(1.0) == 0


def test_norm_and_corners_at_zero() -> None:
    zero = numpy.zeros(3)
    close(grad(np.linalg.norm)(zero), zero)
    close(hvp(np.linalg.norm, (zero,), (X,)), zero)
    close(grad(lambda x: np.sum(grad(np.linalg.norm)(x) * X))(zero), zero)
    close(grad(lambda x: np.sum(np.abs(x)))(zero), zero)
    close(grad(lambda x: np.sum(np.maximum(x, 0.0)))(zero), numpy.full(3, 0.5))


def test_a_root_of_squares_is_no_norm_at_zero() -> None:
    """The root's slope there is infinite, and times the cotangent 1 it stays that; the product of
    it and x = 0 is NaN, as in JAX and PyTorch. `norm` is the op that has derivative 0 at 0. Forward
    the tangent is 0 before it meets the root."""
    zero = numpy.zeros(3)

    def root(x: Any) -> Any:
        return np.sqrt(np.sum(x * x))

    assert numpy.isnan(grad(root)(zero)).all()
    assert jvp(root, (zero,), (X,)) == (0, 0)
    close(grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x * x), 0.0)))(zero), zero)
    close(grad(np.linalg.norm)(zero), zero)


def test_stop_gradient() -> None:
    close(grad(lambda x: np.sum(stop_gradient(x) * x))(X), X)
    close(grad(lambda p: np.sum(stop_gradient(p)["w"] * p["w"]))({"w": X})["w"], X)
    assert stop_gradient(X) is X
    close(hvp(lambda x: np.sum(stop_gradient(x) * x * x), (X,), (W[0],)), 2 * X * W[0], 1e-14)


# -- inside a trace --------------------------------------------------------------------------------


def test_transforms_inline_into_a_trace_with_symbolic_sizes() -> None:
    def step(x: Any) -> Any:
        value, gradient = value_and_grad(scalar)(x)
        return value, x - 0.1 * gradient

    graph = trace(step, "f64[n]")
    verify(graph, "traced", REGISTRY)
    for x in (X, numpy.linspace(0, 1, 5)):
        value, moved = interpret(graph, [x])
        close(value, scalar(x), 1e-14)
        close(moved, x - 0.1 * slope(x), 1e-14)


def test_a_pullback_inside_a_trace_shares_the_forward_values() -> None:
    def f(x: Any) -> Any:
        out, pullback = vjp(lambda x: np.tanh(np.exp(x)), x)
        return out, pullback(out)[0], pullback(x)[0]

    graph = trace(f, "f64[3]")
    ops = [graph[key].op for key in graph.order()]
    assert ops.count("tanh") == 1 and ops.count("exp") == 1
    out, first, second = interpret(graph, [X])
    d = (1 - out * out) * numpy.exp(X)
    close(first, d * out, 1e-14)
    close(second, d * X, 1e-14)


def test_functions_may_close_over_traced_values_and_arrays() -> None:
    def outer(x: Any) -> Any:
        return np.sum(grad(lambda y: np.sum(y * y * x * W[0]))(x) * x)

    # d/dx of sum 2 w x^3, the inner derivative being by y alone
    close(grad(outer)(X), 6 * W[0] * X * X, 1e-14)


def test_the_gradient_graph_of_a_traced_function_is_called_as_it_was() -> None:
    weights = W[0].copy()
    graph = trace(lambda p, k: np.sum(np.exp(p["x"]) * weights * k), {"x": "f64[3]"}, "i64[]")
    derived = gradient_graph(graph, [0])
    verify(derived, "traced", REGISTRY)
    assert derived.signature.inputs == graph.signature.inputs
    assert derived.signature.names == graph.signature.names == ("p.x", "k")
    value, gradient = interpret(derived, [X, numpy.array(2)])  # the capture is filled in
    close(gradient, numpy.exp(X) * weights * 2, 1e-14)
    close(value, gradient.sum(), 1e-14)


def test_a_derivative_by_a_closed_over_value_at_constant_arguments() -> None:
    close(grad(lambda x: np.sum(grad(lambda y: np.sum(y * y * x))(W[0])))(X), 2 * W[0])
    close(grad(lambda x: np.sum(vjp(lambda y: y * x, W[0])[1](W[1])[0]))(X), W[1])
    close(grad(lambda x: np.sum(jvp(lambda y: y * x, (W[0],), (W[1],))[1]))(X), W[1])


def test_nodes_of_a_gradient_name_the_line_they_come_from() -> None:
    graph = trace(grad(scalar), "f64[3]")
    cosine = next(graph[key] for key in graph if graph[key].op == "cos")
    assert cosine.locations[0].role == "gradient of"
    assert cosine.locations[0].function == "scalar"


def test_gradient_through_momentum_steps_agrees_with_differences() -> None:
    def after(rate: Any, w: Any) -> Any:
        velocity = np.zeros_like(w)
        for _ in range(20):
            velocity = 0.9 * velocity + grad(lambda w: np.sum(w * w * np.cos(w)))(w)
            w = w - rate * velocity
        return np.sum(w * w)

    start = numpy.array([1.5, -0.7, 0.4])
    check_grads(after, (0.05, start), order=1)
    graph = trace(grad(after, argnums=(0, 1)), "f64[]", "f64[3]")
    d_rate, d_start = interpret(graph, [numpy.array(0.05), start])
    h = 1e-6
    rise = after(0.05 + h, start) - after(0.05 - h, start)
    close(d_rate, rise / (2 * h), 1e-6)
    assert d_start.shape == (3,)
