"""Traced values: attributes, what they refuse, and where their operations come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx
import numpy as np
import optree
import pytest

import irgrad.numpy as inp
from irgrad.errors import DimError, ShapeError, TraceError
from irgrad.interpret import interpret
from irgrad.ir.signature import LEAF, Tree
from irgrad.tracing.locations import is_user_file, user_locations
from irgrad.tracing.trace import trace
from irgrad.tracing.tracer import Tracer
from irgrad.tracing.trees import flatten, flatten_object, spec_of, tree_of, unflatten


def seen(f: Callable[..., Any], *specs: Any) -> Any:
    """What a function returns while it is traced."""
    kept: list[Any] = []

    def run(*args: Any) -> None:
        kept.append(f(*args))

    trace(run, *specs)
    return kept[0]


def test_attributes() -> None:
    def f(x: Any, y: Any) -> Any:
        return x.shape, x.dtype, x.ndim, x.size, len(x), repr(x), y.shape, y.ndim

    shape, dtype, ndim, size, length, text, y_shape, y_ndim = seen(f, "f32[3,4]", "i64[]")
    assert shape == (3, 4) and dtype == np.float32 and ndim == 2 and size == 12 and length == 3
    assert text == "traced f32[3,4]" and y_shape == () and y_ndim == 0


def test_comparison_with_what_is_no_array_is_identity() -> None:
    assert seen(lambda x: (x == None, x != "a", x is None), "f32[]") == (False, True, False)  # noqa: E711


def test_in_place_operators_rebind() -> None:
    def f(x: Any) -> Any:
        y = x
        y += 1
        y *= 2
        return x, y

    x, y = interpret(trace(f, "f32[2]"), [np.ones(2, np.float32)])
    assert x.tolist() == [1, 1] and y.tolist() == [4, 4]


def test_ndarrays_on_either_side() -> None:
    array = np.arange(3.0)
    graph = trace(lambda x: (array * x, x * array, array @ x, x @ array, array > x), "f64[3]")
    results = interpret(graph, [array + 1])
    np.testing.assert_allclose(results[0], array * (array + 1))
    np.testing.assert_allclose(results[2], array @ (array + 1))
    assert results[4].tolist() == [False] * 3


def set_element(x: Any) -> None:
    x[0] = 1.0


def write_into_array(x: Any) -> None:
    np.zeros(3)[0] = x[0]


def add_into_array(x: Any) -> None:
    y = np.zeros(3)
    y += x


@pytest.mark.parametrize("use, message", [
    (lambda x: 1 if x[0] > 0 else 2, r"bool\(\).*np.where"),
    (lambda x: x[0] in [1.0], r"bool\(\).*np.where"),
    (lambda x: float(x[0]), r"float\(\).*static="),
    (lambda x: int(x[0]), r"int\(\).*astype\(int\)"),
    (lambda x: complex(x[0]), r"complex\(\)"),
    (lambda x: np.arange(3)[x.astype(int)[0]], "an index or a size|conversion to an ndarray"),
    (lambda x: range(x.astype(int)[0]), "an index or a size"),
    (lambda x: np.array([x[0], x[1]]), r"np.stack"),
    (lambda x: np.asarray(x), "conversion to an ndarray"),
    (lambda x: {x: 1}, r"hash\(\)"),
    (lambda x: x[0].item(), r"item\(\)"),
    (lambda x: x.tolist(), r"tolist\(\)"),
    (set_element, "an assignment to elements, *|assignment to elements"),
    (add_into_array, "no array to write into"),
    (lambda x: np.add.outer(x, x), "add.outer: expected a call"),
    (lambda x: x[None, 0] @ "a", "expected an array, a traced value or a number"),
])
def test_uses_that_cannot_be_recorded_say_what_to_write(
    use: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(TraceError, match=message) as caught:
        trace(use, "f64[3]")
    assert len(str(caught.value).splitlines()) <= 12
    assert 'test_tracer.py", line' in str(caught.value)


def test_an_assignment_into_an_array_of_numpy_is_refused() -> None:
    """NumPy raises its own error; what to write is its cause."""
    with pytest.raises(ValueError, match="setting an array element") as caught:
        trace(write_into_array, "f64[3]")
    assert isinstance(caught.value.__cause__, TraceError)


def test_iteration_needs_a_fixed_size() -> None:
    graph = trace(lambda x: sum(x), "f32[3,2]")
    np.testing.assert_allclose(interpret(graph, [np.ones((3, 2), np.float32)])[0], [3, 3])
    with pytest.raises(ShapeError, match="iteration: expected a first axis of fixed size"):
        trace(lambda x: list(x), "f32[n]")
    with pytest.raises(ShapeError, match="iteration"):
        trace(lambda x: list(x), "f32[]")
    with pytest.raises(DimError, match="len: expected a first axis of fixed size"):
        trace(lambda x: len(x), "f32[n]")
    with pytest.raises(ShapeError, match="len: expected an array with axes"):
        trace(lambda x: len(x), "f32[]")


# -- sizes -----------------------------------------------------------------------------------------


def test_sizes_stay_sizes_in_sums_and_products() -> None:
    def f(x: Any) -> Any:
        n, m = x.shape
        return [str(s) for s in (n + 1, 1 + n, n - m, 3 - n, 2 * n, n * m, -n, (4 * n) // 2, n + n)]

    assert seen(f, "f32[n,m]") == ["n+1", "n+1", "-m+n", "-n+3", "2*n", "m*n", "-n", "2*n", "2*n"]
    assert seen(lambda x: x.shape[0] - x.shape[0] + 3, "f32[n]") == 3


def test_sizes_compare_where_it_is_certain() -> None:
    def f(x: Any) -> Any:
        n, m = x.shape
        return (n == n + 0, n == n + 1, n != n, n >= 0, n > -1, n < n + 1, n <= n, n + 1 < n,
                2 * n >= n, n == -1, n is None, n != None, n * m == m * n)  # noqa: E711

    assert seen(f, "f32[n,m]") == (
        True, False, False, True, True, True, True, False, True, False, False, True, True,
    )


@pytest.mark.parametrize("use", [
    lambda n: n == 3, lambda n: n != 3, lambda n: n > 1, lambda n: n < 5, lambda n: max(n, 2),
    lambda n: bool(n), lambda n: int(n), lambda n: float(n), lambda n: range(n),
    lambda n: np.zeros(n), lambda n: [1, 2][n], lambda n: np.asarray(n), lambda n: 1 if n else 2,
])
def test_sizes_refuse_what_depends_on_the_number(use: Callable[[Any], Any]) -> None:
    with pytest.raises(DimError, match="size n: expected") as caught:
        trace(lambda x: use(x.shape[0]), "f32[n]")
    assert 'test_tracer.py", line' in str(caught.value)


def test_sizes_are_numbers_beside_arrays() -> None:
    def f(x: Any) -> Any:
        n = x.shape[0]
        return (x / n, n / 2, n % 3, 7 // n, n**2, 2**n, np.sqrt(n), inp.sin(n), n * x[0],
                np.arange(3) + n, n // 2, 2.5 - n, n == x, np.float32(2) * n, 1.5 + n, 1.5 * n)

    x = np.ones(5, np.float32)
    results = interpret(trace(f, "f32[n]"), [x])
    expected = (x / 5, 2.5, 2, 1, 25, 32, np.sqrt(5), np.sin(5), 5.0, np.arange(3) + 5, 2, -2.5,
                x == 5, 10.0, 6.5, 7.5)
    for got, want in zip(results, expected):
        np.testing.assert_allclose(got, want)
    assert results[0].dtype == np.float32  # a size adapts as a Python int does


def test_numpy_fixes_the_dtype_of_numbers_from_sizes() -> None:
    def f(x: Any) -> Any:
        n = x.shape[0]
        return (x * np.sqrt(n), x * np.minimum(n, 3), x * (np.float32(2) * n), x * inp.sqrt(n),
                x * (n / 2), np.negative(n) + np.int8(1))  # fmt: skip

    x = np.ones(5, np.float32)
    for spec in ("f32[n]", "f32[5]"):
        for got, want in zip(interpret(trace(f, spec), [x]), f(x), strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=1e-6)


def test_symbolic_shapes_through_functions() -> None:
    def f(x: Any, y: Any) -> Any:
        n = x.shape[0]
        return (
            x[1:] - x[:-1], x[::-1], x[-1], x[n - 1], x[1:n], x[2:0:-1], inp.arange(n),
            inp.arange(1, n + 1), inp.zeros((n, 2)), inp.ones(n + 1, np.float32),
            inp.full((2, n), 7), inp.eye(n), inp.tri(n), x.reshape(-1), x.reshape(2 * n, 2),
            np.concatenate([x, x]), np.mean(x, 0), np.tril(x @ x.T), np.pad(y, (1, 2)),
            np.tile(y, 2), np.repeat(y, 2), np.roll(y, 1), np.diag(y), np.trace(x @ x.T),
            np.broadcast_to(y[:, None], (n, 3)), np.split(np.concatenate([y, y]), 2)[1],
            np.einsum("ij,ik->jk", x, x), np.stack([y, y]), inp.linspace(0.0, 1.0, n),
            np.var(x, 0, ddof=1), np.outer(y, y), np.full_like(y, 2), np.kron(y, y),
        )

    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    y = np.arange(5, dtype=np.float32)
    for got, want in zip(interpret(trace(f, "f32[n,4]", "f32[n]"), [x, y]), f(x, y), strict=True):
        assert got.dtype == np.asarray(want).dtype
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_symbols_never_broadcast() -> None:
    for f, cause in ((lambda x, y: x + y, "n == m"), (lambda x, y: x + np.ones(3), "n == 3")):
        with pytest.raises(ShapeError, match=f"{cause} cannot be proved"):
            trace(f, "f32[n]", "f32[m]")
    graph = trace(lambda x, y: x[:, None] + y, "f32[n]", "f32[m]")
    assert str(graph.type(graph.outputs[0])) == "f32[n,m]"


@pytest.mark.parametrize("f", [
    lambda x: x[::2], lambda x: x.reshape(3, -1), lambda x: np.split(x, 2), lambda x: x[::-2],
    lambda x: inp.arange(0, x.shape[0], 2), lambda x: np.array_split(x, [1, 2]),
])
def test_results_of_unknown_size_are_refused(f: Callable[[Any], Any]) -> None:
    with pytest.raises((ShapeError, DimError)):
        trace(f, "f32[n]")


# -- locations -------------------------------------------------------------------------------------


def helper(x: Any) -> Any:
    return np.tanh(x)  # innermost


def middle(x: Any) -> Any:
    return helper(x)


def test_nodes_carry_the_users_lines() -> None:
    def f(x: Any) -> Any:
        return middle(x) + 1

    graph = trace(f, "f32[3]")
    tanh = next(graph[key] for key in graph.order() if graph[key].op == "tanh")
    assert [(x.source(), x.function) for x in tanh.locations] == [
        ("return np.tanh(x)  # innermost", "helper"),
        ("return helper(x)", "middle"),
        ("return middle(x) + 1", "f"),
    ]
    (argument,) = [graph[key] for key in graph.inputs]
    assert argument.locations[0].function == "f"


def test_at_most_three_callers() -> None:
    def deep(n: int) -> Any:
        return user_locations() if n == 0 else deep(n - 1)

    assert len(deep(9)) == 4


def test_whose_files_are_the_users() -> None:
    for module in (np, optree, networkx):
        assert not is_user_file(module.__file__)
    assert not is_user_file(inp.__file__)
    assert is_user_file(__file__) and is_user_file("<stdin>")


# -- trees -----------------------------------------------------------------------------------------


def test_trees_of_objects_and_graphs_agree() -> None:
    value = {"b": [1, (2, None)], "a": {"y": 3, "x": ()}}
    leaves, spec = flatten_object(value)
    tree = tree_of(spec)
    assert str(tree) == "{a: {x: (), y: *}, b: [*, (*, -)]}"
    assert flatten(tree, value) == leaves == [3, 1, 2]
    assert unflatten(tree, leaves) == value
    assert spec_of(tree) == spec


@pytest.mark.parametrize("value, message", [
    ((1,), "argument: expected a tuple of 2, got tuple of 1"),
    ([1, {}], "argument: expected a tuple of 2, got list of 2"),
    ((1, {"b": 2}), r"argument.1: expected a dict with keys \['a'\], got keys \['b'\]"),
    ((1, 2), r"argument.1: expected a dict with keys \['a'\], got int"),
    ((1, {"a": 1}), "argument.1.a: expected None, got int"),
])
def test_values_of_another_structure_are_refused(value: Any, message: str) -> None:
    tree = Tree("tuple", (LEAF, Tree("dict", (Tree("none"),), ("a",))))
    with pytest.raises(TypeError, match=message):
        flatten(tree, value)


def test_tracers_are_leaves() -> None:
    assert seen(lambda x: optree.tree_leaves({"a": [x, None]}), "f32[]")[0].__class__ is Tracer
