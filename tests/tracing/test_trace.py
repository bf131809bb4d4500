"""Tracing whole functions: arguments, results, captures, static and donated arguments, nesting."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest

import irgrad.numpy as inp
from irgrad.errors import ArgumentError, DTypeError, ParseError, ShapeError, TraceError
from irgrad.interpret import interpret
from irgrad.ir.dims import symbol
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import BOOL, F32, F64, I64, TensorType
from irgrad.tracing.context import Trace
from irgrad.tracing.trace import (
    FlatTrace,
    at_user_line,
    find_trace,
    inline_graph,
    trace,
    trace_flat,
    trace_program,
)
from irgrad.tracing.tracer import Tracer

VECTOR = TensorType(F32, (3,))
Pair = namedtuple("Pair", "low high")
WEIGHTS = np.ones((3, 2), np.float32)


def input_types(graph: Graph) -> list[str]:
    return [str(graph.type(Value(key))) for key in graph.inputs]


# -- arguments and results -------------------------------------------------------------------------


def test_specs_of_all_kinds_become_inputs() -> None:
    def f(types: Any, arrays: Any, numbers: Any) -> Any:
        return types["a"] + types["b"].sum() + arrays[0] * numbers[0]

    graph = trace(
        f,
        {"b": TensorType(F32, (symbol("n"),)), "a": "f32[n,4]"},
        [np.zeros(4), np.float32(2)],
        (3, 2.5, True),
    )
    assert input_types(graph) == [
        "f32[n,4]", "f32[n]", "f64[4]", "f32[]", "i64[]", "f64[]", "bool[]",
    ]
    assert graph.signature.names == (
        "types.a", "types.b", "arrays.0", "arrays.1", "numbers.0", "numbers.1", "numbers.2",
    )
    assert str(graph.signature.inputs) == "({a: *, b: *}, [*, *], (*, *, *))"
    assert [graph[key].name for key in graph.inputs] == list(graph.signature.names)
    assert str(graph.type(graph.outputs[0])) == "f64[n,4]"


def test_results_of_all_kinds_become_outputs() -> None:
    kept = np.arange(3)

    def f(x: Any) -> Any:
        return {"b": (x, None), "a": [1.5, np.float32(2), True, kept, x.shape[0]]}

    graph = trace(f, "f32[n]")
    assert str(graph.signature.outputs) == "{a: [*, *, *, *, *], b: (*, -)}"
    assert [str(graph.type(v)) for v in graph.outputs] == [
        "f64[]", "f32[]", "bool[]", "i64[3]", "i64[]", "f32[n]",
    ]
    results = interpret(graph, [np.zeros(7, np.float32)])
    assert [x.tolist() for x in results[:5]] == [1.5, 2.0, True, [0, 1, 2], 7]


def test_named_tuples_survive_in_the_program() -> None:
    def f(p: Any) -> Any:
        return OrderedDict(z=p.high, a=Pair(p.low, 1))

    program = trace_program(f, Pair("f32[]", "f32[]"))
    assert str(program.graph.signature.inputs) == "((*, *))"
    assert str(program.graph.signature.outputs) == "{z: *, a: (*, *)}"
    assert program.graph.signature.names == ("p.low", "p.high")
    assert program.outputs.unflatten([1, 2, 3]) == OrderedDict(z=1, a=Pair(2, 3))


@pytest.mark.parametrize("bad", ["text", object(), {1, 2}, 2j])
def test_results_that_are_no_arrays_name_their_position(bad: Any) -> None:
    def f(x: Any) -> Any:
        return {"loss": [x, bad]}

    with pytest.raises(TraceError, match=r"output\['loss'\]\[1\]: expected arrays") as caught:
        trace(f, "f32[]")
    assert "in f" in str(caught.value)


@pytest.mark.parametrize("bad, error", [
    (object(), ArgumentError), ("f32[n", ParseError), (np.array(["a"]), DTypeError),
    (2j, ArgumentError),
])
def test_specs_that_are_no_types_are_refused(bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        trace(lambda x: x, bad)


def test_static_arguments_stand_where_the_signature_has_them() -> None:
    def f(kind: str, x: Any, power: int, y: Any, *, scale: float = 1.0) -> Any:
        assert kind == "sum"
        return scale * x**power + y

    graph = trace(f, "f32[3]", "f32[3]", static={0: "sum", "power": 3, "scale": 2.0})
    assert graph.signature.names == ("x", "y")
    assert graph.signature.static == ("0='sum'", "power=3", "scale=2.0")
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_allclose(interpret(graph, [x, x])[0], 2 * x**3 + x)
    for static in ({"unknown": 1}, {9: 1}):
        with pytest.raises(ArgumentError):
            trace(f, "f32[3]", "f32[3]", static=static)


def test_text_of_static_arguments_does_not_depend_on_addresses() -> None:
    graph = trace(lambda x, f, o: x, "f32[]", static={"f": np.sin, "o": (object(), None, "a")})
    assert graph.signature.static == ("f=sin", "o=(object, None, 'a')")


def test_donated_arguments_by_position_and_name() -> None:
    def f(params: Any, x: Any, state: Any) -> Any:
        return params, state

    specs = ({"w": "f32[3]", "b": "f32[]"}, "f32[3]", ["f32[3]"])
    assert trace(f, *specs, donate=(0, "state")).signature.donated == {0, 1, 3}
    assert trace(f, *specs).signature.donated == frozenset()
    with pytest.raises(ArgumentError, match="donate: expected one of params, x, state, got 'y'"):
        trace(f, *specs, donate=("y",))


def test_graph_is_named_after_the_function() -> None:
    def loss(x: Any) -> Any:
        return x

    assert trace(loss, "f32[]").name == "loss"
    assert trace(lambda x: x, "f32[]").name == "main"


# -- captures --------------------------------------------------------------------------------------


def test_every_array_that_is_no_argument_is_one_captured_input() -> None:
    local = np.full(3, 2.0, np.float32)
    zero_rank = np.array(2.0, np.float32)

    def f(x: Any) -> Any:
        return (x * local * zero_rank + local) @ WEIGHTS

    graph = trace(f, "f32[3]")
    captured = [graph.captures[key] for key in graph.inputs[1:]]
    assert [id(x) for x in captured] == [id(local), id(zero_rank), id(WEIGHTS)]
    assert [graph[key].name for key in graph.inputs[1:]] == ["local", "zero_rank", "WEIGHTS"]
    local[:] = 3.0  # read at each run
    x = np.ones(3, np.float32)
    np.testing.assert_allclose(interpret(graph, [x])[0], f(x))


def test_numbers_of_numpy_are_constants_of_their_dtype() -> None:
    graph = trace(lambda x: (x + np.float32(1), x + np.float64(1), x + np.int64(1)), "f32[]")
    assert not graph.captures
    assert [graph.type(v).dtype.name for v in graph.outputs] == ["f32", "f64", "f64"]


def test_arrays_made_by_irgrad_numpy_are_captures_and_like_makes_constants() -> None:
    assert len(trace(lambda x: x + inp.zeros(3), "f64[3]").captures) == 1
    makers = (lambda x: inp.zeros(3, like=x), lambda x: inp.zeros_like(x),
              lambda x: inp.eye(3, like=x)[0], lambda x: np.arange(3, like=x),
              lambda x: inp.full(x.shape, 2.0, like=x))
    for make in makers:
        assert not trace(lambda x, make=make: x + make(x), "f64[3]").captures


# -- nested traces and inlining --------------------------------------------------------------------


def inner_trace(function: Any, *types: TensorType) -> FlatTrace:
    return trace_flat(function, types)


def test_inner_traces_close_over_outer_values_and_arrays() -> None:
    array = np.arange(3, dtype=np.float32)

    def f(x: Any, w: Any) -> Any:
        flat = inner_trace(lambda v: (v * w + array, w, v * w.shape[0]), VECTOR)
        assert [type(c) for c in flat.closed] == [Tracer, np.ndarray]
        assert len(flat.graph.inputs) == 3 and not flat.graph.captures
        owner = find_trace([x, *flat.closed])
        assert owner is x.context
        return inline_graph(owner, flat.graph, [x, *flat.closed])

    graph = trace(f, "f32[3]", "f32[3]")
    x, w = np.ones(3, np.float32), np.full(3, 2.0, np.float32)
    first, second, third = interpret(graph, [x, w])
    np.testing.assert_allclose(first, x * w + array)
    np.testing.assert_allclose(second, w)
    np.testing.assert_allclose(third, x * 3)


def test_the_innermost_trace_records_an_operation() -> None:
    def f(x: Any) -> Any:
        def middle(y: Any) -> Any:
            inner = inner_trace(lambda z: x + y + z, VECTOR)
            assert find_trace([x, y]) is y.context
            return inline_graph(y.context, inner.graph, [y, *inner.closed])[0]

        flat = inner_trace(middle, VECTOR)
        return inline_graph(x.context, flat.graph, [x, *flat.closed])[0]

    (result,) = interpret(trace(f, "f32[3]"), [np.ones(3, np.float32)])
    np.testing.assert_allclose(result, 3.0)


def test_inner_symbolic_sizes_need_no_closing_over() -> None:
    def f(x: Any) -> Any:
        flat = trace_flat(lambda y: y / x.shape[0], [x.type])
        assert not flat.closed
        return inline_graph(x.context, flat.graph, [x])[0]

    (result,) = interpret(trace(f, "f32[n]"), [np.ones(4, np.float32)])
    np.testing.assert_allclose(result, 0.25)


def test_values_of_an_ended_trace_are_refused() -> None:
    kept: list[Any] = []
    trace(lambda x: kept.extend([x, x.shape[0]]), "f32[n]")
    for use in (lambda: kept[0] + 1, lambda: np.sin(kept[0]), lambda: kept[0][0],
                lambda: trace(lambda y: y + kept[0], "f32[3]"), lambda: kept[1] * np.ones(3)):
        with pytest.raises(TraceError, match="the trace has ended"):
            use()


def test_a_program_may_not_use_values_of_another_trace() -> None:
    with pytest.raises(TraceError, match="uses no value of another trace"):
        trace(lambda x: trace(lambda y: y + x, "f32[3]"), "f32[3]")


def test_a_failed_trace_is_ended() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        trace(f, "f32[]")
    assert not kept[0].context.live


def test_inlining_checks_count_and_types() -> None:
    square = trace(lambda x: x * x, "f32[3]")

    def f(x: Any, y: Any) -> Any:
        with pytest.raises(ArgumentError, match="expected 1 operands, got 2"):
            inline_graph(x.context, square, [x, x])
        with pytest.raises(ShapeError, match=r"expected f32\[3\] as operand 0, got f32\[4\]"):
            inline_graph(x.context, square, [y])
        return inline_graph(x.context, square, [np.ones(3, np.float32)])

    graph = trace(f, "f32[3]", "f32[4]")
    assert len(graph.captures) == 1


def test_any_op_can_be_emitted() -> None:
    def body(t: Trace, x: Any) -> Any:
        assert t.builder.locations
        (checked,) = [t.emit("check", [x > 0], message="positive")]
        assert checked == []
        return t.one("fma", x, x, np.float32(1))

    graph = trace(lambda x: at_user_line(x.context, body, x), "f32[]")
    assert [graph[key].op for key in graph.order()][-1] == "fma"


def test_weak_results_are_reported() -> None:
    flat = trace_flat(lambda s, x: (s * 2, s * x, x), [TensorType(F64, ()), VECTOR], weak=[True])
    assert flat.weak == (True, False, False)
    assert [flat.graph.type(v).dtype for v in flat.graph.outputs] == [F64, F32, F32]


def test_booleans_and_integers_as_arguments() -> None:
    graph = trace(lambda b, i: (b, i, np.where(b, i, 0)), True, 3)
    assert [graph.type(v).dtype for v in graph.outputs] == [BOOL, I64, I64]
