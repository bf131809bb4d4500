"""Merging of nodes that compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph, Value
from irgrad.ir.parser import parse
from irgrad.ir.spec import parse_type
from irgrad.ir.types import F32, F64
from irgrad.ops.registry import builder
from irgrad.passes.merge_common import MergeCommon, attribute_key

V = parse_type("f64[3]")


def graph_with(count: int = 2) -> tuple[Graph, list]:
    graph = Graph()
    b = builder(graph)
    return graph, [b.wrap(graph.add_input(V)) for _ in range(count)]


def merged(graph: Graph, *outputs) -> list[Value]:
    graph.outputs = [x.value for x in outputs]
    arrays = [np.arange(3.0) + k for k in range(len(graph.inputs))]
    before = interpret(graph, arrays)
    MergeCommon().apply(graph)
    for old, new in zip(before, interpret(graph, arrays), strict=True):
        np.testing.assert_array_equal(old, new)
    return graph.outputs


def test_equal_chains_become_one() -> None:
    graph, (a, b) = graph_with()
    first, second = merged(graph, (a - b).op("exp") * 2, (a - b).op("exp") * 2)
    assert first == second and len(graph) == 6
    assert {edit.reason for edit in graph.edits} >= {"merge_common: exp (exact)"}


@pytest.mark.parametrize("op", ["add", "mul", "eq", "ne"])
def test_symmetric_operands_count_in_any_order(op: str) -> None:
    graph, (a, b) = graph_with()
    first, second = merged(graph, a.op(op, b), b.op(op, a))
    assert first == second


@pytest.mark.parametrize("op", ["sub", "div", "maximum", "minimum", "lt", "power"])
def test_other_operands_count_in_order(op: str) -> None:
    graph, (a, b) = graph_with()
    first, second = merged(graph, a.op(op, b), b.op(op, a))
    assert first != second


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (0.0, -0.0, False), (True, 1, False), (1, 1.0, False), (float("nan"), float("nan"), True),
        (1.5, 1.5, True), ((1, (2, 3)), (1, (2, 3)), True), ((1, 2), (1, True), False),
        (F32, F64, False), ("1", 1, False),
    ],
)  # fmt: skip
def test_attributes_are_compared_by_canonical_text(a, b, same: bool) -> None:
    assert (attribute_key(a) == attribute_key(b)) is same


def test_constants_of_another_sign_or_dtype_stay_apart() -> None:
    graph, (a,) = graph_with(1)
    nan = float("nan")
    b = a.builder
    outputs = merged(graph, a.like(0.0), a.like(-0.0), a.like(nan), a.like(nan), b.constant(
        0, parse_type("f32[3]")), b.constant(False, parse_type("bool[3]")))  # fmt: skip
    assert outputs[2] == outputs[3] and len(set(outputs)) == 5


def region(name: str, op: str) -> Graph:
    return parse(f"irgrad 1\ngraph @{name}(%a: f64[3]) {{ %0 = {op}(%a) : f64[3] return %0 }}")


def test_regions_are_compared_by_their_text() -> None:
    graph, (a,) = graph_with(1)

    def call(op: str):
        rule = parse("irgrad 1\ngraph (%a: f64[3], %t: f64[3]) { return %t }")
        (result,) = a.builder.emit("custom_jvp_call", [a], body=region("f", op), rule=rule)
        return result

    outputs = merged(graph, call("exp"), call("exp"), call("sin"))
    assert outputs[0] == outputs[1] != outputs[2]


def test_effects_and_inputs_stay_apart() -> None:
    graph, (a, b) = graph_with()
    for _ in range(2):
        a.builder.emit("check", [a.eq(a)], message="m")
        graph.effects.append(max(graph))
    merged(graph, a, b)
    assert len(graph.effects) == 2 and len(set(graph.effects)) == 2
    assert [graph[key].op for key in graph.order()] == ["input", "input", "eq", "check", "check"]


def test_every_result_of_a_merged_node_is_replaced() -> None:
    graph, (a,) = graph_with(1)
    body = parse("irgrad 1\ngraph (%a: f64[3]) { %0 = neg(%a) : f64[3] return %a, %0 }")
    rule = parse("irgrad 1\ngraph (%a: f64[3], %t: f64[3]) { return %t, %t }")
    calls = [a.builder.emit("custom_jvp_call", [a], body=body, rule=rule) for _ in range(2)]
    outputs = merged(graph, *calls[0], *calls[1])
    assert outputs[:2] == outputs[2:] and outputs[0] != outputs[1]
