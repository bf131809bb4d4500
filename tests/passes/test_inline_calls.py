"""Calls with own derivatives are inlined, nested ones too, with the lines of both places."""

from __future__ import annotations

import numpy as np

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.location import Location
from irgrad.ir.parser import parse
from irgrad.ir.spec import parse_type
from irgrad.ops.registry import builder
from irgrad.passes.inline_calls import InlineCalls

F = parse_type("f64[3]")
CALL, INSIDE = Location("call.py", 1), Location("body.py", 2)


def region(text: str) -> Graph:
    return parse(f"irgrad 1\ngraph {text}")


def double() -> Graph:
    return region("(%a: f64[3]) { %0 = add(%a, %a) : f64[3] return %0 }")


def same_rule() -> Graph:
    return region("(%a: f64[3], %t: f64[3]) { %0 = add(%t, %t) : f64[3] return %0 }")


def with_call(op: str, operands: int, **attrs: object) -> Graph:
    graph = Graph()
    b = builder(graph)
    arguments = [b.wrap(graph.add_input(F)) for _ in range(operands)]
    b.locations = (CALL,)
    graph.outputs = [x.value for x in b.emit(op, arguments, **attrs)]
    return graph


def ops(graph: Graph) -> list[str]:
    return [graph[key].op for key in graph.order() if graph[key].op != "input"]


def test_custom_jvp_runs_its_body() -> None:
    graph = with_call("custom_jvp_call", 1, body=double(), rule=same_rule())
    InlineCalls().apply(graph)
    assert ops(graph) == ["add"] and len(graph) == 2
    assert graph.edits[0].reason == "inline_calls: custom_jvp_call (exact)"


def test_custom_vjp_runs_its_body() -> None:
    forward = region("(%a: f64[3]) { %0 = add(%a, %a) : f64[3] return %0, %a }")
    backward = region("(%r: f64[3], %c: f64[3]) { %0 = mul(%c, %r) : f64[3] return %0 }")
    graph = with_call("custom_vjp_call", 1, body=double(), forward=forward, backward=backward)
    InlineCalls().apply(graph)
    assert ops(graph) == ["add"]


def test_linear_call_runs_forward() -> None:
    forward = region("(%r: f64[3], %x: f64[3]) { %0 = mul(%x, %r) : f64[3] return %0 }")
    graph = with_call("linear_call", 2, forward=forward, backward=forward, residuals=1)
    before = graph.copy()
    InlineCalls().apply(graph)
    assert ops(graph) == ["mul"]
    arrays = [np.array([1.0, 2.0, np.nan]), np.array([3.0, -0.0, 1.0])]
    np.testing.assert_array_equal(interpret(before, arrays), interpret(graph, arrays))


def test_stop_gradient_goes() -> None:
    graph = with_call("stop_gradient", 1)
    InlineCalls().apply(graph)
    assert ops(graph) == [] and graph.outputs[0].node == graph.inputs[0]


def test_a_region_that_returns_its_input_and_one_value_twice() -> None:
    body = region("(%a: f64[3]) { %0 = neg(%a) : f64[3] return %a, %0, %0 }")
    rule = region("(%a: f64[3], %t: f64[3]) { return %t, %t, %t }")
    graph = with_call("custom_jvp_call", 1, body=body, rule=rule)
    InlineCalls().apply(graph)
    assert ops(graph) == ["neg"]
    first, second, third = graph.outputs
    assert first.node == graph.inputs[0] and second == third != first


def test_nested_calls_are_inlined_and_the_regions_stay_as_they_were() -> None:
    inner = with_call("custom_jvp_call", 1, body=double(), rule=same_rule())
    outer = with_call("custom_jvp_call", 1, body=inner, rule=same_rule())
    b = builder(outer)
    (again,) = b.emit("custom_jvp_call", [b.wrap(outer.outputs[0])], body=inner, rule=same_rule())
    outer.outputs = [again.value]
    text = str(inner)
    before = outer.copy()
    InlineCalls().apply(outer)
    assert ops(outer) == ["add", "add"] and str(inner) == text
    arrays = [np.array([1.0, -2.0, np.inf])]
    np.testing.assert_array_equal(interpret(before, arrays), interpret(outer, arrays))


def test_own_lines_come_first_then_those_of_the_call() -> None:
    body = double()
    for key in body.order():
        if body[key].op == "add":
            body.update(key, locations=(INSIDE,))
    graph = with_call("custom_jvp_call", 1, body=body, rule=same_rule())
    InlineCalls().apply(graph)
    assert graph[graph.outputs[0].node].locations == (INSIDE, CALL)


def test_effects_of_a_region_are_kept() -> None:
    body = region(
        '(%a: f64[3]) { %0 = gt(%a, %a) : bool[3] effect check(%0) {message="m"} return %a }'
    )
    graph = with_call("custom_jvp_call", 1, body=body, rule=same_rule())
    InlineCalls().apply(graph)
    assert ops(graph) == ["gt", "check"] and len(graph.effects) == 1
