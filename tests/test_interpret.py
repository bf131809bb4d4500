"""The interpreter: binding of sizes, errors about arguments, captures, watching, checks."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from irgrad.errors import ArgumentError, CheckError, InternalError
from irgrad.interpret import bind_dims, interpret
from irgrad.ir.dims import symbol
from irgrad.ir.graph import Graph, Value
from irgrad.ir.location import Location
from irgrad.ir.types import BOOL, F32, F64, TensorType
from irgrad.ops.registry import builder

N, M = symbol("n"), symbol("m")


def product_graph(shape: tuple = (N,)) -> Graph:
    """x*y + x."""
    graph = Graph("f")
    b = builder(graph)
    x, y = (b.wrap(graph.add_input(TensorType(F32, shape), name)) for name in "xy")
    graph.outputs = [(x * y + x).value]
    return graph


def test_values_and_symbolic_sizes() -> None:
    graph = product_graph()
    for size in (0, 1, 5):
        x = np.arange(size, dtype=np.float32)
        (got,) = interpret(graph, [x, x])
        np.testing.assert_array_equal(got, x * x + x)


def test_sizes_are_solved_then_checked() -> None:
    types = [TensorType(F32, (N + 1, N * M)), TensorType(F32, (N,)), TensorType(F64, (M * 2,))]
    assert bind_dims(types, [(4, 6), (3,), (4,)], "abc") == {"n": 3, "m": 2}
    with pytest.raises(ArgumentError, match=r"a: expected f32\[n\+1,m\*n\].*axis 1.*m=2, n=3.*7"):
        bind_dims(types, [(4, 7), (3,), (4,)], "abc")
    with pytest.raises(ArgumentError, match="c: expected sizes that determine m"):
        bind_dims(types[2:], [(5,)], "c")
    with pytest.raises(ArgumentError, match=r"x: expected f32\[n\], got shape \(2, 3\) \(rank 2\)"):
        bind_dims([TensorType(F32, (N,))], [(2, 3)], "x")


def test_a_size_that_no_axis_determines_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="x: expected sizes that determine m, n"):
        bind_dims([TensorType(F32, (N * M,))], [(6,)], "x")
    with pytest.raises(ArgumentError, match="y: expected sizes that determine m"):
        bind_dims([TensorType(F32, (N,)), TensorType(F32, (N * M,))], [(0,), (0,)], "xy")
    far = TensorType(F32, (N - sys.maxsize + 1,))
    assert bind_dims([far], [(1,)], "x") == {"n": sys.maxsize}
    with pytest.raises(ArgumentError, match="x: expected sizes that determine n"):
        bind_dims([far], [(2,)], "x")


def test_argument_errors_name_the_argument() -> None:
    graph = product_graph()
    x = np.zeros(3, np.float32)
    with pytest.raises(ArgumentError, match=r"y: expected f32\[n\], got float64\[3\]"):
        interpret(graph, [x, x.astype(np.float64)])
    with pytest.raises(ArgumentError, match=r"y: expected f32\[n\], got shape \(4,\).*n is 3"):
        interpret(graph, [x, np.zeros(4, np.float32)])
    with pytest.raises(ArgumentError, match="f: expected 2 arguments, got 1"):
        interpret(graph, [x])


def test_captures_fill_the_end_of_the_arguments() -> None:
    graph = product_graph()
    held = np.full(3, 2, np.float32)
    graph.captures = {graph.inputs[1]: held}
    x = np.ones(3, np.float32)
    assert interpret(graph, [x])[0].tolist() == [3, 3, 3]
    held[:] = 4
    assert interpret(graph, [x])[0].tolist() == [5, 5, 5]
    assert interpret(graph, [x, x])[0].tolist() == [2, 2, 2]
    with pytest.raises(ArgumentError, match="expected 2 arguments, got 0"):
        interpret(graph, [])


def test_watch_sees_each_node_in_order() -> None:
    graph = product_graph()
    x = np.ones(2, np.float32)
    seen: list[tuple[str, float]] = []
    interpret(graph, [x, x], watch=lambda key, got: seen.append((graph[key].op, got[0][0])))
    assert seen == [("mul", 1.0), ("add", 2.0)]


def test_values_are_dropped_after_their_last_reader() -> None:
    graph = Graph("chain")
    b = builder(graph)
    x = b.wrap(graph.add_input(TensorType(F64, (8,))))
    first = x.op("sin")
    second = first.op("cos")
    graph.outputs = [second.op("exp").value]
    results: list[weakref.ref[np.ndarray]] = []
    alive: list[list[bool]] = []

    def watch(key: int, got: Sequence[np.ndarray]) -> None:
        results.append(weakref.ref(got[0]))
        alive.append([x() is not None for x in results])

    interpret(graph, [np.ones(8)], watch=watch)
    assert alive == [[True], [True, True], [False, True, True]]


def test_an_output_may_be_an_input_or_occur_twice() -> None:
    graph = Graph("same")
    x = graph.add_input(TensorType(F32, (2,)))
    graph.outputs = [x, x]
    array = np.ones(2, np.float32)
    assert [got.tolist() for got in interpret(graph, [array])] == [[1, 1], [1, 1]]


def test_a_result_that_differs_from_its_type_is_an_internal_error() -> None:
    graph = product_graph()
    key = graph.outputs[0].node
    graph.update(key, types=(TensorType(F64, (N,)),))
    x = np.ones(2, np.float32)
    with pytest.raises(InternalError, match=r"add: expected results \(f64\[n\]\).*float32\[2\]"):
        interpret(graph, [x, x])


def test_a_failing_check_shows_its_line() -> None:
    graph = Graph("guarded")
    here = Location("model.py", 12, "loss")
    b = builder(graph, (here,))
    flag = b.wrap(graph.add_input(TensorType(BOOL, (2,))))
    b.emit("check", [flag], message="finite loss")
    graph.effects.append(max(graph))
    assert interpret(graph, [np.array([True, True])]) == []
    with pytest.raises(CheckError, match=r"finite loss(.|\n)*model.py\", line 12, in loss"):
        interpret(graph, [np.array([True, False])])


def test_regions_share_the_sizes_of_the_run() -> None:
    body = product_graph()
    rule = Graph("rule")
    for _ in range(4):
        rule.add_input(TensorType(F32, (N,)))
    rule.outputs = [Value(rule.inputs[2])]
    graph = Graph("outer")
    b = builder(graph)
    x = b.wrap(graph.add_input(TensorType(F32, (N,)), "x"))
    graph.outputs = [b.one("custom_jvp_call", x, x, body=body, rule=rule).value]
    array = np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(interpret(graph, [array])[0], array * array + array)
