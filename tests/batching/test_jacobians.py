"""jacobian and hessian against complex steps, differences and one another; trees, modes, chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from batch_checks import assert_near, reference

import irgrad.jacobians
import irgrad.numpy as np
from irgrad.batching import vmap
from irgrad.custom_rules import custom_vjp
from irgrad.differentiation import grad, hvp
from irgrad.errors import ArgumentError, DifferentiationError, TraceError
from irgrad.ir import parse
from irgrad.jacobians import hessian, jacobian
from irgrad.jitted import Plan
from irgrad.nn import relu, softplus
from irgrad.runtime.compiled import Compiled
from irgrad.tracing.trace import trace

RNG = numpy.random.default_rng(1)
A = RNG.normal(size=(4, 3))
V = RNG.normal(size=3)
MODES = ("forward", "reverse")


def run(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return reference(lambda *x, **k: f(*x, **k))(*args, **kwargs)


def complex_step(f: Callable[..., Any], x: numpy.ndarray) -> numpy.ndarray:
    """The Jacobian of an analytic NumPy function, exact to rounding."""
    rows = []
    for direction in numpy.eye(x.size):
        moved = x + 1e-30j * direction.reshape(x.shape)
        rows.append(numpy.imag(f(moved)) / 1e-30)
    return numpy.moveaxis(numpy.array(rows).reshape(x.shape + rows[0].shape),
                          tuple(range(x.ndim)), tuple(range(-x.ndim, 0)))  # fmt: skip


def differences(gradient: Callable[..., Any], x: numpy.ndarray, step: float = 1e-4) -> Any:
    """Central differences of fourth order of a gradient, the direction first."""
    rows = []
    for unit in numpy.eye(x.size):
        at = [gradient(x + k * step * unit.reshape(x.shape)) for k in (1, -1, 2, -2)]
        rows.append((8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * step))
    return numpy.array(rows).reshape(x.shape + x.shape)


# -- jacobian --------------------------------------------------------------------------------------

ANALYTIC: dict[str, tuple[Callable[..., Any], Any]] = {
    "elementwise": (lambda np, x: np.sin(x) * np.exp(x) / (2 + x * x), V),
    "matrix": (lambda np, x: np.tanh(A @ x), V),
    "outer": (lambda np, x: np.sin(x)[:, None] * np.cos(x), V),
    "matrix in": (lambda np, x: np.exp(x @ V) * np.sum(x), A),
    "matrix to matrix": (lambda np, x: (x @ x.T)[1:] * x[1:, :1], A),
    "scalar": (lambda np, x: np.sum(x * x * x), A),
    "slices": (lambda np, x: np.concatenate([x[1:] * x[:-1], x[::2] ** 3]), V),
    "number in": (lambda np, x: np.sin(x * V), numpy.array(0.7)),
    "sums": (lambda np, x: np.sum(x * x, axis=0) * np.mean(x), A),
}


@pytest.mark.parametrize("name", ANALYTIC)
def test_jacobian_is_that_of_a_complex_step_in_both_modes(name: str) -> None:
    f, x = ANALYTIC[name]
    expected = complex_step(lambda x: f(numpy, x), x)
    for mode in (*MODES, None):
        assert_near(run(jacobian(lambda x: f(np, x), mode=mode), x), expected)


def tree_function(p: Any, x: Any, k: Any) -> Any:
    y = np.tanh(p["w"] @ x + p["b"][0])
    return {"y": y * k, "s": (np.sum(y) * p["b"][1], x)}


PARAMS = {"w": A, "b": [RNG.normal(size=4), numpy.array(0.5)]}


@pytest.mark.parametrize("chunk", [None, 1, 4, 100])
@pytest.mark.parametrize("mode", [*MODES, None])
def test_trees_of_arguments_and_results(mode: Any, chunk: int | None) -> None:
    derive = jacobian(tree_function, (0, -2), mode, chunk)
    # Chunks are a loop over calls, which a trace does not have.
    found = derive(PARAMS, V, 2) if chunk else run(derive, PARAMS, V, 2)
    assert set(found) == {"y", "s"} and isinstance(found["s"], tuple)
    by_p, by_x = found["y"]
    slope = 2 * (1 - numpy.tanh(A @ V + PARAMS["b"][0]) ** 2)
    assert_near(by_x, slope[:, None] * A)
    assert_near(by_p["w"], numpy.einsum("i,ij,k->ijk", slope, numpy.eye(4), V))
    assert_near(by_p["b"][0], numpy.diag(slope))
    assert_near(by_p["b"][1], numpy.zeros(4))
    assert_near(found["s"][0][0]["b"][1], numpy.tanh(A @ V + PARAMS["b"][0]).sum())
    assert_near(found["s"][0][0]["b"][0], slope / 4)
    assert_near(found["s"][1][1], numpy.eye(3))
    assert_near(found["s"][1][0]["w"], numpy.zeros((3, 4, 3)))


def test_blocks_have_the_dtype_of_the_output() -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(x) * y, x * 2

    x, y = V.astype("f4"), V
    for mode in MODES:
        blocks = run(jacobian(f, (0, 1), mode), x, y)
        chunked = jacobian(f, (0, 1), mode, chunk=2)(x, y)
        for (a, b), (c, d) in (blocks, chunked):
            assert [z.dtype for z in (a, b, c, d)] == ["f8", "f8", "f4", "f4"]
            numpy.testing.assert_allclose(a, numpy.outer(y, numpy.ones(3)), 1e-6)
            numpy.testing.assert_allclose(b, x.sum() * numpy.eye(3), 1e-6)


def test_the_mode_with_fewer_directions_is_chosen() -> None:
    def widest(mode: Any, f: Any, x: Any) -> int:
        graph = trace(jacobian(f, mode=mode), x)
        return max(int(graph.type(v).size) for k in graph.order() for v in graph[k].operands)

    def narrow(x: Any) -> Any:
        return np.sum(np.sin(np.exp(x)).reshape(2, -1), 1)

    def wide(x: Any) -> Any:
        return np.sum(np.sin(x)[:, None] * np.exp(np.ones(50)), 0)

    assert widest(None, narrow, V.repeat(20)) == widest("reverse", narrow, V.repeat(20))
    assert widest("forward", narrow, V.repeat(20)) > widest("reverse", narrow, V.repeat(20))
    assert widest(None, wide, V) == widest("forward", wide, V) < widest("reverse", wide, V)


@pytest.mark.parametrize("mode", MODES)
def test_chunks_are_calls_of_one_code_as_large_as_a_chunk(
    mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Compiled] = []

    class Recording(Plan):
        def __init__(self, f: Callable[..., Any]) -> None:
            super().__init__(f, target="reference")

        def compile(self, *given: Any) -> Compiled:
            compiled.append(super().compile(*given))
            return compiled[-1]

    monkeypatch.setattr(irgrad.jacobians, "Plan", Recording)
    x = RNG.normal(size=30)
    derive = jacobian(lambda x: np.sin(np.outer(x, x)).sum(0), mode=mode, chunk=4)
    weight = numpy.cos(numpy.outer(x, x))
    for _ in range(2):
        assert_near(derive(x), weight * x[:, None] + numpy.diag(weight @ x))
    shared, chunk = (parse(c.ir("traced")) for c in compiled)
    assert "cos" in {shared[key].op for key in shared}
    alive = [chunk[key] for key in chunk.order()]
    assert "cos" not in {node.op for node in alive}
    assert max(int(t.size) for node in alive for t in node.types) <= 4 * 30 * 30


KINKS: dict[str, tuple[Callable[..., Any], Any]] = {
    "abs": (np.abs, numpy.zeros((3, 3))),
    "relu": (relu, numpy.zeros((3, 3))),
    "norm": (lambda x: np.linalg.norm(x)[None], numpy.zeros((1, 3))),
    "maximum": (lambda x: np.maximum(x, 0), numpy.eye(3) / 2),
    "max": (lambda x: np.max(x)[None], numpy.ones((1, 3)) / 3),
    "root beside": (lambda x: np.where(x >= 0, x, np.sqrt(-x)), numpy.eye(3)),
    "quotient beside": (lambda x: np.where(x == 0, 1.0, np.sin(x) / x), numpy.zeros((3, 3))),
    "root": (np.sqrt, numpy.diag(numpy.full(3, numpy.inf))),
}


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("mode", MODES)
def test_kinks_and_borders_of_domains(name: str, mode: Any) -> None:
    """An infinite slope stays with its own direction, and out of where it is not selected."""
    f, expected = KINKS[name]
    at_zero = numpy.zeros(3)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        for chunk in (None, 2):
            found = jacobian(f, mode=mode, chunk=chunk)(at_zero)
            numpy.testing.assert_array_equal(found, expected)


def test_kinks_in_second_derivatives() -> None:
    functions: list[tuple[Callable[..., Any], Any]] = [
        (lambda x: np.sum(np.abs(x)), 0.0), (np.linalg.norm, 0.0), (np.max, 0.0),
        (lambda x: np.sum(np.where(x >= 0, x * x, np.sqrt(-x))), 2.0),
        (lambda x: np.sum(x**2), 2.0), (lambda x: np.sum(x**1 + x**3), 0.0),
    ]  # fmt: skip
    with numpy.errstate(divide="ignore", invalid="ignore"):
        for f, diagonal in functions:
            for chunk in (None, 2):
                found = hessian(f, chunk=chunk)(numpy.zeros(3))
                numpy.testing.assert_array_equal(found, diagonal * numpy.eye(3))


def test_arguments_without_elements() -> None:
    for mode in MODES:
        assert run(jacobian(lambda x: np.sin(x), mode=mode), V[:0]).shape == (0, 0)
        assert run(jacobian(lambda x: np.sum(x) * V, mode=mode), V[:0]).shape == (3, 0)
        assert jacobian(lambda x: np.sin(x), mode=mode, chunk=2)(V[:0]).shape == (0, 0)


def test_what_a_function_closes_over_is_shared() -> None:
    def outer(x: Any, y: Any) -> Any:
        return jacobian(lambda x: np.sin(x) * y * A[0])(x)

    assert_near(run(outer, V, V), numpy.diag(numpy.cos(V) * V * A[0]))
    pair = run(vmap(jacobian(lambda x: x * x)), A)
    assert_near(pair, numpy.stack([numpy.diag(2 * row) for row in A]))
    third = run(jacobian(jacobian(jacobian(lambda x: x**3))), V)
    expected = numpy.zeros((3, 3, 3, 3))
    expected[(numpy.arange(3),) * 4] = 6
    assert_near(third, expected)


# -- hessian ---------------------------------------------------------------------------------------


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def network(p: Any, x: Any, y: Any) -> Any:
    hidden = np.tanh(x @ p["w1"] + p["b1"])
    return np.mean((hidden @ p["w2"] - y) ** 2)


def logistic(w: Any, x: Any, y: Any) -> Any:
    z = x @ w[:-1] + w[-1]
    return np.mean(softplus(z) - y * z) + 0.01 * np.sum(w * w)


X = RNG.normal(size=(8, 3))
Y = RNG.normal(size=(8, 2))
NETWORK = {"w1": RNG.normal(size=(3, 4)), "b1": RNG.normal(size=4), "w2": RNG.normal(size=(4, 2))}
SCALARS: dict[str, tuple[Callable[..., Any], numpy.ndarray]] = {
    "rosenbrock": (rosenbrock, RNG.normal(size=6)),
    "logistic": (lambda w: logistic(w, X, (Y > 0)[:, 0] * 1.0), RNG.normal(size=4)),
    "quadratic": (lambda x: x @ (A.T @ A) @ x, V),
    "matrix": (lambda x: np.sum(np.tanh(x @ X.T) ** 3), A),
    "max": (lambda x: np.max(np.sin(x) * x) + np.sum(np.sqrt(x * x + 1)), V),
    "number": (lambda x: np.exp(x) * x, numpy.array(0.3)),
}


@pytest.mark.parametrize("name", SCALARS)
def test_hessian_is_symmetric_and_that_of_differences(name: str) -> None:
    f, x = SCALARS[name]
    found = run(hessian(f), x)
    assert found.shape == x.shape + x.shape
    square = found.reshape(x.size, x.size)
    assert_near(square, numpy.ascontiguousarray(square.T))
    gradient = reference(grad(f))
    numpy.testing.assert_allclose(found, differences(gradient, x), rtol=1e-6, atol=1e-7)
    assert_near(hessian(f, chunk=2)(x), found)
    for mode in MODES:
        assert_near(run(jacobian(grad(f), mode=mode), x), found)
    directions = numpy.eye(x.size).reshape(-1, *x.shape)
    products = run(vmap(lambda d: hvp(f, (x,), (d,))), directions)
    assert_near(products.reshape(found.shape), found)


def test_hessian_of_trees_and_of_several_arguments() -> None:
    found = run(hessian(network), NETWORK, X, Y)
    assert set(found) == set(found["w1"]) == {"w1", "b1", "w2"}
    size = sum(x.size for x in NETWORK.values())
    rows = [
        numpy.concatenate([b.reshape(NETWORK[i].size, -1) for b in found[i].values()], 1)
        for i in found
    ]
    whole = numpy.concatenate(rows)
    assert whole.shape == (size, size)
    assert_near(whole, numpy.ascontiguousarray(whole.T))
    gradient = reference(grad(lambda w: network({**NETWORK, "w1": w}, X, Y)))
    numpy.testing.assert_allclose(
        found["w1"]["w1"], differences(gradient, NETWORK["w1"]), rtol=1e-6, atol=1e-8
    )
    by_p, by_x = run(hessian(network, (0, 1)), NETWORK, X, Y)
    assert_near(by_p["b1"][0]["w2"], found["b1"]["w2"])
    assert by_p["w1"][1].shape == (3, 4, 8, 3) and by_x[1].shape == (8, 3, 8, 3)
    chunked = hessian(network, (0, 1), chunk=7)(NETWORK, X, Y)
    assert_near(chunked[0]["w1"][1], by_p["w1"][1])
    assert_near(chunked[1][1], by_x[1])


def test_second_derivatives_by_other_ways_of_nesting() -> None:
    f, x = SCALARS["logistic"]
    expected = run(hessian(f), x)
    assert_near(run(jacobian(jacobian(f)), x), expected)
    assert_near(run(jacobian(jacobian(f, mode="forward"), mode="reverse"), x), expected)
    each = run(vmap(hessian(f)), numpy.stack([x, 2 * x]))
    assert_near(each, numpy.stack([expected, run(hessian(f), 2 * x)]))


def test_order_of_axes_shows_where_derivatives_contradict_one_another() -> None:
    """The derivative by the first axes is taken last."""

    @custom_vjp
    def f(x: Any, y: Any) -> Any:
        return x * y

    f.defvjp(lambda x, y: (x * y, (x, y)), lambda kept, ct: (2 * ct * kept[1], ct * kept[0]))
    (_, above), (below, _) = run(hessian(f, (0, 1)), numpy.array(3.0), numpy.array(4.0))
    assert (above, below) == (1.0, 2.0)


# -- errors ----------------------------------------------------------------------------------------

ERRORS: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (ArgumentError, "jacobian: expected a function, got 3",
     lambda: jacobian(3)),  # type: ignore[arg-type]
    (ArgumentError, "hessian: expected a function", lambda: hessian(None)),  # type: ignore[arg-type]
    (ArgumentError, "mode 'forward', 'reverse' or None, got 'fwd'",
     lambda: jacobian(np.sin, mode="fwd")),  # type: ignore[arg-type]
    (ArgumentError, "hessian: expected chunk as an integer >= 1, got 0",
     lambda: hessian(np.sum, chunk=0)),
    (ArgumentError, "chunk as an integer >= 1, got True",
     lambda: jacobian(np.sum, chunk=True)),
    (ArgumentError, "hessian: expected argnums as distinct argument positions, got 'x'",
     lambda: hessian(np.sum, "x")),  # type: ignore[arg-type]
    (ArgumentError, "jacobian: expected argnums below the 1 positional arguments, got 1",
     lambda: jacobian(np.sin, 1)(V)),
    (DifferentiationError, r"jacobian: expected argument 0\['a'\] of float type",
     lambda: jacobian(lambda x: x["a"] * 1.0)({"a": 3})),
    (DifferentiationError, r"outputs of float type, got bool\[3\] as the result\['b'\]",
     lambda: jacobian(lambda x: {"a": x, "b": x > 1})(V)),
    (DifferentiationError, r"a scalar float output, got f64\[3\]", lambda: hessian(np.sin)(V)),
    (TraceError, "hessian: expected chunk=None inside of a trace, got 2",
     lambda: trace(lambda x: hessian(np.sum, chunk=2)(x), V)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "call"), ERRORS)
def test_errors_name_what_is_wrong_and_the_line(
    kind: type[Exception], message: str, call: Callable[[], Any]
) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "test_jacobians.py" in str(caught.value)
