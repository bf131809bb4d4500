"""Derivatives of whole graphs: composed functions, higher orders, conventions at special points."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from derivative_checks import assert_derivatives, make_graph

from irgrad.autodiff import gradient_graph, jvp_graph, split_graph, vjp_graph
from irgrad.errors import DifferentiationError
from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.location import Location
from irgrad.ops.build import Expr

SCALAR = np.array(0.7)


def derivative(function: Callable[[Expr], Expr], x: float, order: int, modes: str) -> float:
    """The derivative of a scalar function, one mode an order: "f" forward, "r" reverse."""
    graph = make_graph(function, [np.array(x)])
    arrays = [np.array(x)]
    for mode in modes[:order]:
        if mode == "r":
            graph = gradient_graph(graph, [0], value=False)
        else:
            graph = jvp_graph(graph, [0])
            graph.outputs = graph.outputs[1:]
            arrays.append(np.array(1.0))
    return float(interpret(graph, arrays)[0])


def all_modes(order: int) -> list[str]:
    """Every sequence of modes in which each forward step comes last of what it differentiates."""
    return [""] if order == 0 else [m + k for m in all_modes(order - 1) for k in "fr"]


def sum_all(x: Expr) -> Expr:
    return x.op("reduce_sum", axes=tuple(range(x.type.rank)))


def matmul(x: Expr, y: Expr) -> Expr:
    return x.op("dot_general", y, lhs_batch=(), rhs_batch=(), lhs_contract=(1,), rhs_contract=(0,))


@pytest.mark.parametrize("modes", all_modes(3))
def test_third_derivatives(modes: str) -> None:
    x = 0.7
    t = np.tanh(x)
    s = 1 - t * t
    expected = {
        "sin": [np.cos(x), -np.sin(x), -np.cos(x)],
        "exp": [np.exp(x)] * 3,
        "tanh": [s, -2 * t * s, s * (6 * t * t - 2)],
    }
    for op, values in expected.items():
        for order in (1, 2, 3):
            got = derivative(lambda x, op=op: x.op(op), x, order, modes)
            np.testing.assert_allclose(got, values[order - 1], rtol=1e-13)


def test_logistic_regression_gradient_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    x, w, y = rng.normal(size=(7, 4)), rng.normal(size=(4, 1)), rng.integers(0, 2, (7, 1)) * 1.0
    graph = make_graph(
        lambda x, w, y: sum_all(matmul(x, w).op("softplus") - y * matmul(x, w)), [x, w, y]
    )
    loss, gradient = interpret(gradient_graph(graph, [1]), [x, w, y])
    z = x @ w
    np.testing.assert_allclose(loss, np.sum(np.logaddexp(0, z) - y * z), 1e-13)
    np.testing.assert_allclose(gradient, x.T @ (1 / (1 + np.exp(-z)) - y), 1e-12)


def test_two_layer_network_agrees_with_the_complex_step() -> None:
    rng = np.random.default_rng(1)
    x, w, v = rng.normal(size=(5, 3)), rng.normal(size=(3, 4)), rng.normal(size=(4, 2))

    def network(x: Expr, w: Expr, v: Expr) -> Expr:
        return sum_all(matmul(matmul(x, w).op("tanh"), v).op("square"))

    pulled = interpret(gradient_graph(make_graph(network, [x, w, v]), [0, 1, 2]), [x, w, v])[1:]
    h = 1e-30
    for position, gradient in enumerate(pulled):
        for index in np.ndindex(gradient.shape):
            arrays = [a.astype(complex) for a in (x, w, v)]
            arrays[position][index] += h * 1j
            step = np.sum((np.tanh(arrays[0] @ arrays[1]) @ arrays[2]) ** 2).imag / h
            np.testing.assert_allclose(gradient[index], step, rtol=1e-11)


def test_composition_to_third_order() -> None:
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))

    def softmax_loss(x: Expr, w: Expr) -> Expr:
        z = matmul(x, w)
        top = z.op("reduce_max", axes=(1,)).op("broadcast", shape=z.shape, dims=(0,))
        total = (z - top).op("exp").op("reduce_sum", axes=(1,)).op("log")
        return sum_all(total * total)

    graph, arrays = make_graph(softmax_loss, [x, w]), [x, w]
    for _ in range(3):
        graph, arrays = assert_derivatives(graph, arrays, rng)


def test_hessians_of_the_two_mixed_modes_agree_and_are_symmetric() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(0.5, 1.5, 4)
    one, seeds = np.array(1.0), np.eye(4)
    graph = make_graph(lambda x: sum_all(x.op("sin") * x.op("exp").op("flip", axes=(0,))), [x])
    forward_of_reverse = jvp_graph(vjp_graph(graph, [0]), [0])
    columns = [interpret(forward_of_reverse, [x, one, e])[3] for e in seeds]
    reverse_of_forward = vjp_graph(jvp_graph(graph, [0]), [0])
    zero = np.array(0.0)
    rows = [interpret(reverse_of_forward, [x, e, zero, one])[2] for e in seeds]
    np.testing.assert_allclose(columns, rows, rtol=1e-12)
    np.testing.assert_allclose(columns, np.transpose(columns), rtol=1e-12)


# -- conventions -----------------------------------------------------------------------------------


def where_sqrt(x: Expr) -> Expr:
    """where(x >= 0, x, sqrt(-x)), written out."""
    return x.op("ge", x.like(0)).op("select", x, (-x).op("sqrt"))


def where_log_sqrt(x: Expr) -> Expr:
    """where(x >= 0, x, log(sqrt(-x))): two guarded steps in the branch that is not taken."""
    return x.op("ge", x.like(0)).op("select", x, (-x).op("sqrt").op("log"))


@pytest.mark.parametrize("function", [where_sqrt, where_log_sqrt])
@pytest.mark.parametrize("modes", all_modes(3))
def test_where_selects_the_derivative_too(function: Callable[[Expr], Expr], modes: str) -> None:
    for x in (1.0, 2.0):
        assert derivative(function, x, 1, modes) == 1
        assert derivative(function, x, 2, modes) == 0
        assert derivative(function, x, 3, modes) == 0


@pytest.mark.parametrize("modes", all_modes(2))
def test_corners(modes: str) -> None:
    for op in ("relu", "abs", "sign"):
        assert derivative(lambda x, op=op: x.op(op), 0.0, 1, modes) == 0
        assert derivative(lambda x, op=op: x.op(op), 0.0, 2, modes) == 0


@pytest.mark.parametrize("modes", all_modes(2))
def test_the_norm_has_derivative_zero_at_zero(modes: str) -> None:
    assert derivative(lambda x: x.op("hypot", x.like(0)), 0.0, 1, modes) == 0
    assert derivative(lambda x: x.op("hypot", x.like(0)), 0.0, 2, modes) == 0


def test_ties_share_equally() -> None:
    x = np.array([2.0, 1.0, 2.0])
    top = make_graph(lambda x: x.op("reduce_max", axes=(0,)), [x])
    np.testing.assert_array_equal(interpret(gradient_graph(top, [0]), [x])[1], [0.5, 0, 0.5])
    pair = make_graph(lambda x, y: sum_all(x.op("maximum", y)), [x, x])
    for pulled in interpret(gradient_graph(pair, [0, 1]), [x, np.array([2.0, 3.0, 0.0])])[1:]:
        assert pulled[0] == 0.5


def test_sqrt_at_zero_is_infinite_but_zero_for_a_zero_cotangent() -> None:
    x = np.array([0.0, 4.0])
    pulled = vjp_graph(make_graph(lambda x: x.op("sqrt"), [x]), [0])
    np.testing.assert_array_equal(interpret(pulled, [x, np.ones(2)])[1], [np.inf, 0.25])
    np.testing.assert_array_equal(interpret(pulled, [x, np.zeros(2)])[1], [0, 0])


def test_an_op_without_derivative_is_refused_only_where_a_tangent_flows_into_it() -> None:
    body = make_graph(lambda x: x.op("sin"), [SCALAR])

    def fused(x: Expr) -> Expr:
        return x.op("fused", body=body, kind="elementwise", rows=0)

    graph = make_graph(lambda x, y: fused(x) * y, [SCALAR, SCALAR])
    key = next(key for key in graph if graph[key].op == "fused")
    graph.update(key, locations=(Location("model.py", 12, "loss"),))
    assert float(interpret(gradient_graph(graph, [1]), [SCALAR, SCALAR])[1]) == np.sin(0.7)
    with pytest.raises(DifferentiationError, match="fused: expected an operation with a derivat") \
            as caught:
        gradient_graph(graph, [0])
    assert "fusion comes after differentiation" in str(caught.value)
    assert 'File "model.py", line 12, in loss' in str(caught.value).splitlines()[-1]


# -- structure -------------------------------------------------------------------------------------


def test_unused_and_constant_arguments_get_zeros() -> None:
    x, y = np.array([1.0, 2.0]), np.ones((2, 3), np.float32)
    graph = make_graph(lambda x, y: (sum_all(x), x.like(3), y.op("lt", y.like(0))), [x, y])
    pulled = vjp_graph(graph, [0, 1])
    assert len(pulled.inputs) == 4  # the bool output has no cotangent
    results = interpret(pulled, [x, y, np.array(2.0), np.ones(2)])
    np.testing.assert_array_equal(results[3], [2, 2])
    np.testing.assert_array_equal(results[4], np.zeros((2, 3)))
    assert results[4].dtype == np.float32


def test_an_output_that_is_an_input_passes_its_cotangent() -> None:
    x = np.array([1.0, 2.0])
    graph = make_graph(lambda x: (x, x, x + x), [x])
    results = interpret(vjp_graph(graph, [0]), [x, x, 10 * x, 100 * x])
    np.testing.assert_array_equal(results[3], 211 * x)


def test_integer_arguments_are_carried_along() -> None:
    x, k = np.array([1.0, 2.0]), np.array([3, 4])
    graph = make_graph(lambda x, k: sum_all(x * k.op("cast", dtype=x.dtype)), [x, k])
    np.testing.assert_array_equal(interpret(gradient_graph(graph, [0]), [x, k])[1], [3, 4])
    with pytest.raises(DifferentiationError, match=r"input 1: expected a float type .* i64\[2\]"):
        gradient_graph(graph, [1])


def test_gradient_graph_keeps_the_inputs_and_can_pass_auxiliary_outputs() -> None:
    x = np.array([1.0, 2.0])
    graph = make_graph(lambda x: (sum_all(x * x), x + 1), [x])
    value, aux, pulled = interpret(gradient_graph(graph, [0], has_aux=True), [x])
    assert value == 5
    np.testing.assert_array_equal(aux, [2, 3])
    np.testing.assert_array_equal(pulled, [2, 4])
    bare = gradient_graph(graph, [0], value=False, has_aux=True)
    np.testing.assert_array_equal(interpret(bare, [x])[0], aux)
    assert len(bare.inputs) == 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, r"expected a scalar float output, got f64\[2\]"),
        (lambda x: x.op("argmax", axis=0), r"expected a scalar float output, got i64\[\]"),
        (lambda x: (sum_all(x), sum_all(x)), "expected one output, a scalar float, got 2 outputs"),
    ],
)
def test_gradient_needs_a_scalar_float(function: Callable[..., Expr], message: str) -> None:
    with pytest.raises(DifferentiationError, match=message):
        gradient_graph(make_graph(function, [np.ones(2)]), [0])


def test_gradient_of_a_graph_without_outputs_is_refused() -> None:
    with pytest.raises(DifferentiationError, match="expected a scalar float output, got none"):
        gradient_graph(Graph(), [], has_aux=True)


def test_the_original_graph_is_left_alone() -> None:
    graph = make_graph(lambda x: x.op("sin") * x, [SCALAR])
    before = [graph[key] for key in graph]
    for transform in (gradient_graph, vjp_graph, jvp_graph, split_graph):
        transform(graph, [0])
    assert [graph[key] for key in graph] == before


def test_new_nodes_point_at_the_line_that_they_are_the_gradient_of() -> None:
    graph = make_graph(lambda x: x.op("sin"), [SCALAR])
    line = Location("model.py", 12, "loss")
    graph.update(graph.outputs[0].node, locations=(line,))
    derived = gradient_graph(graph, [0])
    cosine = next(derived[key] for key in derived if derived[key].op == "cos")
    assert [str(x) for x in cosine.locations] == ["gradient of model.py:12"]


def test_residuals_are_listed_once_and_constants_are_repeated() -> None:
    graph = make_graph(lambda x: x.op("tanh").op("tanh") * 2, [SCALAR])
    split = split_graph(graph, [0])
    assert len(split.forward.outputs) == 1 + split.residuals == 3
    assert any(split.linear[key].op == "constant" for key in split.linear)
    assert not any(split.linear[key].op == "tanh" for key in split.linear)


def test_dead_tangent_nodes_are_pruned() -> None:
    graph = make_graph(lambda x, y: sum_all(x * y), [np.ones(3), np.ones(3)])
    derived = gradient_graph(graph, [0])
    ops = sorted(derived[key].op for key in derived)
    assert ops == ["broadcast", "constant", "input", "input", "mul", "mul", "reduce_sum"]


def chain(length: int) -> Graph:
    """A chain of `length` nodes that alternates tanh and a sum with its input."""

    def function(x: Expr) -> Expr:
        y = x
        for _ in range(length // 2):
            y = y.op("tanh") + x
        return y

    return make_graph(function, [SCALAR])


def test_long_chains_do_not_recurse() -> None:
    value, pulled = interpret(gradient_graph(chain(4000), [0]), [SCALAR])
    assert np.isfinite(value) and np.isfinite(pulled)


def test_work_grows_linearly() -> None:
    graphs = [chain(n) for n in (250, 500, 1000)]
    sizes = [len(gradient_graph(graph, [0])) for graph in graphs]
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])
    calls = [_calls(lambda graph=graph: gradient_graph(graph, [0])) for graph in graphs]
    assert calls[2] - calls[1] < 2.1 * (calls[1] - calls[0])


def _calls(function: Callable[[], object]) -> int:
    """How many functions of Python are called."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count
