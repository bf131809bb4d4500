"""Ops with derivatives of their own: their rules are used, in every mode and order, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from derivative_checks import assert_derivatives, make_graph

from irgrad.autodiff import gradient_graph, jvp_graph, split_graph, transpose_graph, vjp_graph
from irgrad.errors import DifferentiationError
from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ops.build import Expr
from irgrad.ops.registry import REGISTRY

X = np.array([0.3, -0.8, 1.2])
OPS = ("custom_jvp_call", "custom_vjp_call", "linear_call")


def custom_vjp(forward: Graph, backward: Graph, body: Graph, *operands: Expr) -> tuple[Expr, ...]:
    return operands[0].builder.emit(
        "custom_vjp_call", operands, body=body, forward=forward, backward=backward
    )


def reversal_graph() -> Graph:
    """3*x + f(x), where f is the identity whose backward negates."""
    region = make_graph(lambda x: x, [X])
    backward = make_graph(lambda ct: -ct, [X])
    return make_graph(lambda x: 3 * x + custom_vjp(region, backward, region, x)[0], [X])


@pytest.mark.parametrize("name", OPS)
def test_own_derivatives_to_third_order_in_every_mode(name: str) -> None:
    rng = np.random.default_rng(4)
    for sample in REGISTRY[name].samples(rng):
        graph = make_graph(
            lambda *x, attrs=sample.attrs: x[0].builder.emit(
                name, [y.op("tanh") for y in x], **attrs
            ),
            sample.operands,
        )
        arrays = list(sample.operands)
        for _ in range(3):
            graph, arrays = assert_derivatives(graph, arrays, rng)


def test_the_rule_counts_and_not_the_derivative_of_the_body() -> None:
    body = make_graph(lambda x: x.op("sin"), [X])
    rule = make_graph(lambda x, t: 5 * t, [X, X])
    graph = make_graph(lambda x: x.builder.emit("custom_jvp_call", [x], body=body, rule=rule), [X])
    np.testing.assert_array_equal(interpret(jvp_graph(graph, [0]), [X, X])[1], 5 * X)
    np.testing.assert_array_equal(interpret(vjp_graph(graph, [0]), [X, X])[1], 5 * X)
    forward = make_graph(lambda x: (x.op("sin"), x), [X])
    backward = make_graph(lambda x, ct: 7 * x * ct, [X, X])
    graph = make_graph(lambda x: custom_vjp(forward, backward, body, x), [X])
    np.testing.assert_allclose(interpret(jvp_graph(graph, [0]), [X, X])[1], 7 * X * X)
    np.testing.assert_allclose(interpret(vjp_graph(graph, [0]), [X, X])[1], 7 * X * X)


def test_a_forward_that_returns_its_operand_keeps_the_tangents_apart() -> None:
    graph = reversal_graph()
    np.testing.assert_allclose(interpret(jvp_graph(graph, [0]), [X, X])[1], 2 * X)
    np.testing.assert_allclose(interpret(vjp_graph(graph, [0]), [X, X])[1], 2 * X)


def test_a_forward_may_return_one_value_twice() -> None:
    body = make_graph(lambda x: (x.op("exp"),) * 2, [X])
    backward = make_graph(lambda a, b: a - b, [X, X])
    graph = make_graph(lambda x: custom_vjp(body, backward, body, x), [X])
    result = interpret(vjp_graph(graph, [0]), [X, 5 * X, 2 * X])
    np.testing.assert_allclose(result[2], 3 * X)


def test_the_forward_region_is_computed_once_and_stands_for_the_results() -> None:
    body = make_graph(lambda x: x.op("exp"), [X])
    forward = make_graph(lambda x: (x.op("exp"),) * 2, [X])
    backward = make_graph(lambda y, ct: y * ct, [X, X])
    graph = make_graph(lambda x: custom_vjp(forward, backward, body, x), [X])
    derived = vjp_graph(graph, [0])
    ops = [derived[key].op for key in derived]
    assert ops.count("exp") == 1 and "custom_vjp_call" not in ops


def test_integer_primals_and_residuals_have_no_tangents() -> None:
    k = np.array([1, 2, 3])
    body = make_graph(lambda x, k: x * k.op("cast", dtype=x.dtype), [X, k])
    forward = make_graph(lambda x, k: (x * k.op("cast", dtype=x.dtype), k), [X, k])
    backward = make_graph(lambda k, ct: ct * k.op("cast", dtype=ct.dtype), [k, X])
    graph = make_graph(lambda x, k: custom_vjp(forward, backward, body, x, k), [X, k])
    np.testing.assert_allclose(interpret(vjp_graph(graph, [0]), [X, k, X])[1], X * k)
    np.testing.assert_allclose(interpret(jvp_graph(graph, [0]), [X, k, X])[1], X * k)


def test_a_linear_call_is_transposed_by_its_own_backward() -> None:
    forward = make_graph(lambda r, x: r * x, [X, X])
    wrong = make_graph(lambda r, ct: 2 * r * ct, [X, X])  # shows which region was used
    graph = make_graph(
        lambda r, x: r.builder.emit(
            "linear_call", [r, x], forward=forward, backward=wrong, residuals=1
        ),
        [X, X],
    )
    np.testing.assert_allclose(interpret(vjp_graph(graph, [1]), [X, X, X])[1], 2 * X * X)
    twice = transpose_graph(transpose_graph(split_graph(graph, [1]).linear, [1]), [1])
    np.testing.assert_allclose(interpret(twice, [X, X])[0], X * X)


def test_a_backward_that_is_not_linear_is_refused() -> None:
    body = make_graph(lambda x: x.op("sin"), [X])
    forward = make_graph(lambda x: (x.op("sin"), x), [X])
    for backward in (
        make_graph(lambda x, ct: x * ct * ct, [X, X]),
        make_graph(lambda x, ct: ct + 1, [X, X]),
        make_graph(lambda x, ct: ct.op("tanh"), [X, X]),
        make_graph(lambda x, ct: x, [X, X]),
    ):
        graph = make_graph(lambda x, b=backward: custom_vjp(forward, b, body, x), [X])
        for transform in (jvp_graph, vjp_graph):
            with pytest.raises(DifferentiationError, match="linear"):
                transform(graph, [0])


def test_a_tangent_rule_that_is_not_linear_is_refused() -> None:
    body = make_graph(lambda x: x.op("sin"), [X])
    rule = make_graph(lambda x, t: t * t, [X, X])
    graph = make_graph(lambda x: x.builder.emit("custom_jvp_call", [x], body=body, rule=rule), [X])
    with pytest.raises(DifferentiationError, match="linear"):
        jvp_graph(graph, [0])


def test_gradient_through_a_momentum_loop_of_20_steps() -> None:
    """The loss after 20 steps of gradient descent with momentum, by the learning rate and start."""
    start, rate = np.array([1.5, -0.7, 0.4]), np.array(0.05)
    sample = make_graph(lambda w: (w.op("square") * w.op("cos")).op("reduce_sum", axes=(0,)), [X])
    slope = gradient_graph(sample, [0], value=False)

    def descend(w: Expr, rate: Expr) -> Expr:
        velocity = w.like(0)
        for _ in range(20):
            (g,) = w.builder.graph.inline(slope, [w.value])
            velocity = 0.9 * velocity + w.builder.wrap(g)
            w = w - velocity * rate.op("broadcast", shape=w.shape, dims=())
        return (w.op("square")).op("reduce_sum", axes=(0,))

    graph = make_graph(descend, [start, rate])
    assert_derivatives(graph, [start, rate], np.random.default_rng(6))
