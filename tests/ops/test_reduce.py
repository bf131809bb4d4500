"""Reductions: type rules, NumPy meaning, derivatives at ties and zeros."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from irgrad.errors import DTypeError, ShapeError
from irgrad.interpret import interpret
from irgrad.ir.dims import Size, symbol
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import BOOL, F32, F64, I32, I64, TensorType, dtype_of
from irgrad.ops import reduce
from irgrad.ops.build import Builder, Expr
from irgrad.ops.record import OpDef, RuleContext
from irgrad.ops.registry import REGISTRY, builder

N, M = symbol("n"), symbol("m")
NO_DIMS = SimpleNamespace(dims={})
MEANING = {
    "reduce_sum": np.sum, "reduce_prod": np.prod, "reduce_max": np.max, "reduce_min": np.min,
    "reduce_any": np.any, "reduce_all": np.all, "argmax": np.argmax, "argmin": np.argmin,
}


def f32(*shape: Size) -> TensorType:
    return TensorType(F32, shape)


def evaluate(op: str, x: np.ndarray, **attrs: Any) -> np.ndarray:
    return REGISTRY[op].evaluate([x], attrs, NO_DIMS)[0]


def push(b: Builder, root: Expr, seeds: dict[Value, Expr]) -> Expr:
    """The tangent of `root`, from the tangents of inputs, by the rules of the nodes in between."""
    graph = b.graph
    graph.outputs = [root.value]
    tangents: dict[Value, Expr | None] = dict(seeds)
    for key in graph.order():
        node = graph[key]
        if node.op == "input":
            continue
        results = tuple(b.wrap(Value(key, i)) for i in range(len(node.types)))
        context = RuleContext(b, tuple(map(b.wrap, node.operands)), results, dict(node.attributes))
        given = tuple(tangents.get(value) for value in node.operands)
        out = REGISTRY[node.op].jvp(context, given) if any(given) else (None,) * len(results)
        tangents.update(zip((r.value for r in results), out))
    found = tangents[root.value]
    assert found is not None
    return found


def derivative(
    op: str, x: np.ndarray, directions: Sequence[np.ndarray], shape: tuple[Size, ...], **attrs: Any
) -> np.ndarray:
    """The mixed derivative of a reduction along the directions, by its jvp rule."""
    graph = Graph()
    b = builder(graph)
    type_ = TensorType(dtype_of(x.dtype), shape)
    given = b.wrap(graph.add_input(type_))
    result = b.one(op, given, **attrs)
    for _ in directions:
        result = push(b, result, {given.value: b.wrap(graph.add_input(type_))})
    graph.outputs = [result.value]
    return interpret(graph, [x, *directions])[0]


@pytest.mark.parametrize("op", reduce.OPS, ids=lambda op: op.name)
def test_samples_against_numpy(op: OpDef) -> None:
    samples = op.samples(np.random.default_rng(0))
    assert len(samples) >= 10
    for sample in samples:
        (x,) = sample.operands
        (expected,) = op.infer((TensorType(dtype_of(x.dtype), x.shape),), sample.attrs)
        (result,) = op.evaluate([x], sample.attrs, NO_DIMS)
        assert (result.dtype, result.shape) == (expected.dtype.numpy, expected.shape)
        axis = sample.attrs.get("axes", sample.attrs.get("axis"))
        np.testing.assert_allclose(
            result, MEANING[op.name](x, axis=axis), rtol=1e-5, atol=1e-5
        )


def test_accumulation() -> None:
    ones = np.full(2**24 + 2, 1, np.float32)
    assert evaluate("reduce_sum", ones, axes=(0,)) == np.float32(2**24 + 2)
    big = np.array([2**31 - 1, 1], np.int32)
    assert evaluate("reduce_sum", big, axes=(0,)) == np.int32(-(2**31))
    assert evaluate("reduce_prod", np.array([2**30, 4], np.int32), axes=(0,)) == 0
    large = evaluate("reduce_sum", np.array([3e38, 3e38], np.float32), axes=(0,))
    assert large.dtype == np.float32 and np.isposinf(large)
    none = np.zeros((0, 2), np.float32)
    np.testing.assert_array_equal(evaluate("reduce_sum", none, axes=(0,)), [0, 0])
    np.testing.assert_array_equal(evaluate("reduce_prod", none, axes=(0,)), [1, 1])


def test_nan_and_ties() -> None:
    x = np.array([1.0, np.nan, 3.0, np.nan])
    assert np.isnan(evaluate("reduce_max", x, axes=(0,)))
    assert np.isnan(evaluate("reduce_min", x, axes=(0,)))
    assert evaluate("argmax", x, axis=0) == 1
    assert evaluate("argmin", x, axis=0) == 1
    tied = np.array([2, 5, 5, 2], np.int32)
    assert evaluate("argmax", tied, axis=0) == 1
    assert evaluate("argmin", tied, axis=0) == 0


def test_symbolic_types() -> None:
    assert REGISTRY["reduce_sum"].infer((f32(N, 3, M),), {"axes": (0, 1)}) == (f32(M),)
    assert REGISTRY["reduce_max"].infer((f32(N, M),), {"axes": (0,)}) == (f32(M),)
    assert REGISTRY["argmax"].infer((f32(N, M),), {"axis": 1}) == (TensorType(I64, (N,)),)


@pytest.mark.parametrize("op", ["reduce_max", "reduce_min", "argmax", "argmin"])
def test_nothing_to_choose_from(op: str) -> None:
    attrs = {"axes": (0,)} if op.startswith("reduce") else {"axis": 0}
    with pytest.raises(ShapeError, match=rf"{op}: .*at least 1 element along axis 0, got f32\[0,2"):
        REGISTRY[op].infer((f32(0, 2),), attrs)
    graph = Graph()
    b = builder(graph)
    graph.outputs = [b.one(op, b.wrap(graph.add_input(f32(N, 2))), **attrs).value]
    with pytest.raises(ShapeError, match=f"{op}: expected at least 1 element along axis 0"):
        interpret(graph, [np.zeros((0, 2), np.float32)])


@pytest.mark.parametrize(
    ("op", "type_", "attrs", "error", "message"),
    [
        ("reduce_sum", TensorType(BOOL, (2,)), {"axes": (0,)}, DTypeError,
         "reduce_sum: expected operand 0 of signed integer or unsigned integer or float type, got "
         "bool[2]"),
        ("reduce_any", f32(2), {"axes": (0,)}, DTypeError,
         "reduce_any: expected operand 0 of bool type, got f32[2]"),
        ("reduce_sum", f32(2, 3), {"axes": (1, 0)}, ShapeError,
         "reduce_sum: expected 'axes' strictly increasing, got (1, 0)"),
        ("reduce_max", f32(2, 3), {"axes": (2,)}, ShapeError,
         "reduce_max: expected an axis in 0..1, got 2 (rank 2)"),
        ("argmax", f32(2, 3), {"axis": -1}, ShapeError,
         "argmax: expected an axis in 0..1, got -1 (rank 2)"),
    ],
)
def test_errors(
    op: str, type_: TensorType, attrs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        REGISTRY[op].infer((type_,), attrs)
    assert str(caught.value) == message


def test_sum_transpose_is_the_adjoint() -> None:
    rng = np.random.default_rng(4)
    for shape, axes in (((3, N, 2), (0, 2)), ((N, 4), ()), ((N, 1), (1,)), ((5, N), (0, 1))):
        graph = Graph()
        b = builder(graph)
        x = b.wrap(graph.add_input(TensorType(F64, shape)))
        out = b.one("reduce_sum", x, axes=axes)
        ct = b.wrap(graph.add_input(out.type))
        context = RuleContext(b, (x,), (out,), {"axes": axes})
        (pulled,) = REGISTRY["reduce_sum"].transpose(context, (ct,), (True,))
        graph.outputs = [out.value, pulled.value]
        array = rng.normal(size=[3 if size is N else size for size in shape])
        cotangent = rng.normal(size=array.sum(axis=axes).shape)
        value, back = interpret(graph, [array, cotangent])
        np.testing.assert_allclose(np.sum(cotangent * value), np.sum(array * back), rtol=1e-12)


@pytest.mark.parametrize("op", ["reduce_sum", "reduce_prod", "reduce_max", "reduce_min"])
@pytest.mark.parametrize(
    ("shape", "axes"), [((5,), (0,)), ((2, 3, 4), (1,)), ((2, 3, 4), (0, 2)), ((2, 3), ())]
)
def test_jvp_against_differences(op: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    x, t = rng.normal(size=shape), rng.normal(size=shape)
    step = 1e-6
    high, low = (evaluate(op, x + sign * step * t, axes=axes) for sign in (1, -1))
    expected = (high - low) / (2 * step)
    got = derivative(op, x, [t], shape, axes=axes)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)
    named = derivative(op, x, [t], (N, *shape[1:]), axes=axes)
    np.testing.assert_array_equal(named, got)


def test_ties_share_equally() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]])
    t = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    np.testing.assert_array_equal(derivative("reduce_max", x, [t], (2, 3), axes=(1,)), [3, 8])
    np.testing.assert_array_equal(derivative("reduce_min", x, [t], (2, 3), axes=(1,)), [1, 16])
    same = np.ones((2, 3))
    assert derivative("reduce_max", same, [t], (2, 3), axes=(0, 1)) == pytest.approx(63 / 6)


@pytest.mark.parametrize(
    "x", [[0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [1.5, -2.0, 0.5], [4.0]]
)
def test_product_derivatives_at_zeros(x: list[float]) -> None:
    """Against the sums of products of the other elements, up to the third order."""
    rng = np.random.default_rng(6)
    point = np.array(x)
    u, v, w = (np.round(rng.normal(size=point.shape), 2) for _ in range(3))
    first, second, third = (
        derivative("reduce_prod", point, directions, point.shape, axes=(0,))
        for directions in ([u], [u, v], [u, v, w])
    )
    count = len(point)
    others = [np.delete(point, i) for i in range(count)]
    assert first == pytest.approx(sum(u[i] * np.prod(others[i]) for i in range(count)))
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    assert second == pytest.approx(
        sum(u[i] * v[j] * np.prod(np.delete(point, [i, j])) for i, j in pairs)
    )
    triples = [(i, j, 3 - i - j) for i, j in pairs] if count == 3 else []
    assert third == pytest.approx(sum(u[i] * v[j] * w[k] for i, j, k in triples))


def test_integer_results_have_no_tangent() -> None:
    graph = Graph()
    b = builder(graph)
    x = b.wrap(graph.add_input(TensorType(F64, (3,))))
    t = b.wrap(graph.add_input(TensorType(F64, (3,))))
    context = RuleContext(b, (x,), b.emit("argmax", (x,), axis=0), {"axis": 0})
    assert REGISTRY["argmax"].jvp(context, (t,)) == (None,)
    n = b.wrap(graph.add_input(TensorType(I32, (3,))))
    for op in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min"):
        whole = RuleContext(b, (n,), b.emit(op, (n,), axes=(0,)), {"axes": (0,)})
        assert REGISTRY[op].jvp(whole, (None,)) == (None,)
