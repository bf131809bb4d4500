"""debug_nan: what made a NaN or an infinity of a result, found by the interpreter's values."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import irgrad as ig
from irgrad.errors import NonFiniteError
from irgrad.interpret import interpret
from irgrad.testing.random_graphs import random_graph

X = np.arange(12.0).reshape(3, 4) + 1
INF = float("inf")


def watched(f: Callable[..., Any], **options: Any) -> Any:
    return ig.jit(f, target="reference", debug_nan=True, **options)


def fault(f: Callable[..., Any], *args: Any, **options: Any) -> NonFiniteError:
    """The error of a call; the results of a second call without the option are unchanged."""
    with pytest.raises(NonFiniteError, match="expected") as raised:
        watched(f, **options)(*args)
    assert str(raised.value).count("\n") < 12
    return raised.value


def line_of(f: Callable[..., Any], text: str) -> int:
    """The number of the line of a function that holds a text."""
    lines, start = inspect.getsourcelines(f)
    return next(start + i for i, line in enumerate(lines) if text in line)


def assert_at(error: NonFiniteError, op: str, index: tuple[int, ...], line: int) -> None:
    """The op, the index and the line of an error, which ends with that line's text."""
    assert (error.op, error.index) == (op, index)
    location: Any = error.location
    assert location.line == line
    assert location.source() == str(error).rpartition("\n")[2].strip()


# -- planted faults --------------------------------------------------------------------------------


def layered(weights: list[Any], x: Any) -> Any:
    for number, w in enumerate(weights):
        x = np.tanh(x @ w)
        if number == 2:
            x = np.log(x + 1.0 - weights[2][0, 0])  # planted
    return (x * x).mean()


def layers() -> list[np.ndarray]:
    return [np.full((4, 4), 0.1) for _ in range(5)]


@pytest.mark.parametrize("transform", [lambda f: f, ig.value_and_grad, ig.grad])
def test_log_of_a_negative_number_in_the_third_layer(transform: Any) -> None:
    weights = layers()
    watched(transform(layered))(weights, X)
    weights[2][0, 0] = 9.0
    error = fault(transform(layered), weights, X)
    assert_at(error, "log", (0, 0), line_of(layered, "planted"))
    (at, value), = error.inputs
    assert at == (0, 0)
    assert -8 < value.real < -6
    assert "log: expected a finite result (debug_nan), got nan at index (0, 0) of f64[3,4]" in (
        str(error)
    )


def angles(x: Any, y: Any) -> Any:
    return np.arctan2(x, y).sum()  # planted


def test_a_quotient_that_only_the_backward_meets() -> None:
    x, y = X.copy(), X.copy()
    x[1, 2] = y[1, 2] = 0
    watched(angles)(x, y)
    error = fault(ig.value_and_grad(angles), x, y)
    assert_at(error, "div", (1, 2), line_of(angles, "planted"))
    location: Any = error.location
    assert location.role == "gradient of"
    assert [value for _, value in error.inputs] == [0, 0]
    assert str(error).startswith("div, in the gradient: expected a finite result")


@ig.custom_vjp
def direction(x: Any) -> Any:
    return np.abs(x)


def forward(x: Any) -> Any:
    return np.abs(x), x


def backward(x: Any, ct: Any) -> Any:
    return (ct * (x / np.abs(x)),)  # planted


direction.defvjp(forward, backward)


def test_a_fault_inside_of_a_rule() -> None:
    x = X.copy()
    x[2, 3] = 0
    watched(lambda x: direction(x).sum())(x)
    error = fault(ig.grad(lambda x: direction(x).sum()), x)
    assert_at(error, "div", (2, 3), line_of(backward, "planted"))


def test_infinities_count() -> None:
    def f(x: Any) -> Any:
        return np.exp(x * 100)  # planted

    error = fault(f, X)
    assert_at(error, "exp", (1, 3), line_of(f, "planted"))
    text = "got inf at index (1, 3) of f64[3,4] from 800.0; result[1, 3] depends on it"
    assert text in str(error)


def test_the_first_of_several_is_told() -> None:
    def f(x: Any) -> Any:
        a = np.sqrt(x - 5.0)  # first
        b = np.log(x - 5.0)
        return b, (a, {"sum": a.sum() + b.sum()})

    error = fault(f, X)
    assert_at(error, "sqrt", (0, 0), line_of(f, "# first"))
    assert "result[1]['sum'] depends on it" in str(error) or "result[1][0]" in str(error)


REDUCTIONS: dict[str, tuple[Callable[[Any], Any], float, str, tuple[int, ...]]] = {
    "sum": (lambda x: x.sum(1), 3e38, "reduce_sum", (1,)),
    "prod": (lambda x: x.prod(1), 3e38, "reduce_prod", (1,)),
    "contraction": (lambda x: x @ x.T, 3e19, "dot_general", (1, 1)),
    "product": (lambda x: x * x[::-1], 3e19, "mul", (1, 0)),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_overflow_of_a_row(name: str) -> None:
    f, large, op, index = REDUCTIONS[name]
    x = X.astype(np.float32)
    x[1] = large
    error = fault(f, x)
    assert (error.op, error.index) == (op, index)
    assert all(1 in at for at, _ in error.inputs)
    assert {value for _, value in error.inputs} == {float(np.float32(large))}


# -- what came from outside ------------------------------------------------------------------------


def test_arguments_and_captures_that_hold_it() -> None:
    table = X.copy()

    def f(params: Any, x: Any) -> Any:
        return np.tanh(x @ params["w"][0]).sum() + (table * x[0, 0]).sum()

    params = {"w": [np.ones((4, 2)), np.ones(3)]}
    x = X.copy()
    x[2, 1] = np.nan
    error = fault(f, params, x)
    assert (error.op, error.index, error.inputs) == ("argument x", (2, 1), ())
    assert str(error).startswith("argument x: expected finite elements (debug_nan), got nan at")
    params["w"][0][3, 1] = np.nan
    assert fault(f, params, X).op.startswith("argument params")
    params["w"][0][3, 1] = 1
    table[1, 1] = np.nan
    error = fault(f, params, X)
    assert error.op.startswith("captured array")
    assert error.index == (1, 1)
    assert fault(lambda x: (x, np.full(2, np.inf)), X).op == "captured array"


def test_infinities_that_are_given() -> None:
    def f(x: Any, mask: Any) -> Any:
        scores = x + mask
        return np.exp(scores - scores.max(1, keepdims=True))  # planted

    mask = np.where(X > 6, -INF, 0.0)
    error = fault(f, X, mask)  # the last row is masked as a whole
    assert_at(error, "sub", (2, 0), line_of(f, "planted"))
    assert [value for _, value in error.inputs] == [-INF, -INF]
    assert fault(lambda x, m: x + m, X, mask).op == "argument m"
    assert fault(lambda x: np.where(x > 6, -INF, x), X).op == "constant"
    assert fault(lambda x: x * 0 + np.nan, X).op == "constant"


# -- no alarms -------------------------------------------------------------------------------------


def attention(q: Any, k: Any, mask: Any) -> Any:
    scores = q @ k.T + mask
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True) @ k).sum()


MASKED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "where": (lambda x: np.where(x > 5, np.log(x - 5), 0.0).sum(), (X,)),
    "where division": (lambda x: np.where(x > 0, 1 / x, 0.0).sum(), (X - 3,)),
    "relu": (lambda x: ig.nn.relu(x).sum(), (X - 5,)),
    "given mask": (attention, (X, X, np.triu(np.full((3, 3), -INF), 1))),
    "literal mask": (
        lambda x, keep: attention(x, x, np.where(keep, 0.0, -INF)), (X, np.tri(3, dtype=bool))
    ),
    "softmax": (lambda x: ig.nn.softmax(np.where(x > 2, -INF, x), axis=0)[0].sum(), (X.T % 5,)),
    "extremum": (lambda x: np.minimum(x, INF).max(), (X,)),
    "slice": (lambda x: np.sqrt(x)[1:].sum(), (np.where(X < 4, -1, X),)),
    "exp of -inf": (lambda x: np.exp(np.log(x)).sum(), (np.abs(X - 3),)),
    "empty": (lambda x: np.sqrt(x), (np.zeros((0, 4)),)),
    "positions": (lambda x: np.argmax(np.log(x - 5), 1), (X,)),
    "integers": (lambda x: (x // 2, x > 3), (X.astype(np.int32),)),
    "large squares": (lambda x: x * 1e300, (X,)),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED)
def test_masked_faults_raise_nothing(name: str) -> None:
    f, args = MASKED[name]
    got = watched(f)(*args)
    plain = ig.jit(f, target="reference")(*args)
    for a, b in zip(np.atleast_1d(got), np.atleast_1d(plain), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("name", ["where", "where division", "relu", "slice", "given mask"])
def test_masked_faults_of_gradients_raise_nothing(name: str) -> None:
    f, args = MASKED[name]
    watched(ig.value_and_grad(f))(*args)


def test_the_index_is_not_that_of_a_masked_element() -> None:
    def f(x: Any, keep: Any) -> Any:
        return np.where(keep, np.log(x), 0.0).sum()

    x, keep = -X, np.zeros((3, 4), bool)
    watched(f)(x, keep)
    keep[1, 3] = True
    assert fault(f, x, keep).index == (1, 3)


# -- more of it ------------------------------------------------------------------------------------


MOVED: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "reshape": (lambda x: np.log(x).reshape(2, 6)[1].sum(), (2, 1)),
    "transpose": (lambda x: (np.log(x).T @ x).sum(), (2, 1)),
    "concatenate": (lambda x: np.concatenate([x, np.log(x)])[::-1].mean(), (2, 1)),
    "broadcast": (lambda x: (np.log(x)[:, None] + x).max(), (2, 1)),
    "max": (lambda x: np.log(x).max(1), (2, 1)),
    "scan": (lambda x: np.stack([np.log(x), x]).sum(0)[2], (2, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_faults_are_followed_through_movements(name: str) -> None:
    f, index = MOVED[name]
    x = X.copy()
    x[2, 1] = -1
    error = fault(f, x)
    assert (error.op, error.index) == ("log", index)


def test_symbolic_sizes() -> None:
    compiled = ig.compile(
        lambda x: np.sqrt(x).sum(1), "f64[n,m]", target="reference", debug_nan=True
    )
    assert compiled(X[:2]).shape == (2,)
    x = X.copy()
    x[1, 2] = -4
    with pytest.raises(NonFiniteError, match=r"got nan at index \(1, 2\) of f64\[n,m\] from -4.0"):
        compiled(x)


def test_long_chains_and_large_arrays() -> None:
    def f(x: Any) -> Any:
        for _ in range(300):
            x = np.sin(np.log(x) + 3)
        return x

    assert fault(f, np.array([1.0, -1.0])).index == (1,)
    x = np.ones(300_000)
    x[123_456:] = -1
    error = fault(lambda x: np.log(x).reshape(300, 1000).T.sum(0).sum(), x)
    assert error.index == (123_456,)


def test_errors_travel() -> None:
    error = fault(lambda x: np.log(-x), X)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.op, copy.index, copy.inputs) == ("log", (0, 0), (((0, 0), -1.0),))
    assert copy.location == error.location
    assert isinstance(error, FloatingPointError)


def test_pickled_functions_go_on_watching() -> None:
    compiled = pickle.loads(pickle.dumps(ig.compile(np.log, X, target="reference", debug_nan=True)))
    with pytest.raises(NonFiniteError, match="^log: .* from -1.0; result"):
        compiled(-X)


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_graphs_with_special_numbers(first: int) -> None:
    raised = 0
    for seed in range(first, first + 10):
        drawn = random_graph(seed)
        graph, rng = drawn.graph, np.random.default_rng(seed)
        arrays = [np.array(array, order="C") for array in drawn.arguments]
        for array in arrays:
            if array.dtype.kind == "f" and array.size:
                array.reshape(-1)[rng.integers(array.size)] = rng.choice([np.nan, INF, -INF, 0, -1])
        expected = interpret(graph, arrays)
        finite = all(np.isfinite(array).all() for array in expected)
        before = [array.tobytes() for array in arrays]
        # Rewrites that assume finite inputs may hide one.
        compiled = ig.compile(graph, target="reference", numerics="exact", debug_nan=True)
        try:
            compiled(*arrays[: len(graph.inputs) - len(graph.captures)])
        except NonFiniteError as error:
            assert not finite
            assert [array.tobytes() for array in arrays] == before
            assert "computed again" not in str(error)
            raised += 1
        else:
            assert finite
    assert raised
