"""Patterns: what they match, in which order, and what they bind."""

from __future__ import annotations

import pytest
from rule_cases import graph_of

from irgrad.ir.graph import Graph, Value
from irgrad.rewrite.pattern import Const, Pattern, Var, depth, matches, may_match, op, same_number

x, y = Var("x"), Var("y")


def found(graph: Graph, pattern: Pattern) -> list[dict[str, Value]]:
    return list(matches(pattern, graph.outputs[0], graph, {}))


def test_commutative_operands_are_tried_in_both_orders() -> None:
    graph = graph_of("f64[3] f64[3]", lambda a, b: a + b.op("exp"))
    a, b = map(Value, graph.inputs)
    assert found(graph, op("add", x, y)) == [
        {"x": a, "y": Value(2)}, {"x": Value(2), "y": a},
    ]  # fmt: skip
    assert found(graph, op("add", op("exp", x), y)) == [{"x": b, "y": a}]
    assert found(graph, op("add", op("log", x), y)) == []


def test_order_counts_where_the_op_does_not_commute() -> None:
    graph = graph_of("f64[3] f64[3]", lambda a, b: a - b.op("exp"))
    assert found(graph, op("sub", op("exp", x), y)) == []
    assert len(found(graph, op("sub", x, op("exp", y)))) == 1


def test_same_name_asks_for_the_same_value() -> None:
    graph = graph_of("f64[3] f64[3]", lambda a, b: (a * b) + (b * a))
    assert found(graph, op("add", x, x)) == []
    both = found(graph, op("add", op("mul", x, y), op("mul", x, y)))
    assert len(both) == 4  # either product first, either factor first
    assert found(graph_of("f64[3]", lambda a: a + a), op("add", x, x)) == [{"x": Value(0)}]


def test_a_name_on_a_node_binds_it() -> None:
    graph = graph_of("f64[3]", lambda a: a.op("exp").op("log"))
    assert found(graph, op("log", op("exp", x, name="inner"))) == [
        {"x": Value(0), "inner": Value(1)}
    ]


def test_several_ops_and_any_operands() -> None:
    graph = graph_of("f64[3] f64[3]", lambda a, b: a.lt(b))
    assert found(graph, op(("lt", "gt"))) == [{}]
    assert found(graph, op("concatenate", x)) == []


def test_an_op_with_another_number_of_operands_does_not_match() -> None:
    graph = graph_of("f64[3] f64[3]", lambda a, b: a.op("concatenate", b, axis=0))
    assert found(graph, op("concatenate", x)) == []
    assert not may_match(op("concatenate", x), graph.outputs[0], graph)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (0.0, 0.0, True), (0.0, -0.0, False), (0, 0.0, True), (1, 1.0, True), (True, 1, False),
        (True, True, True), (False, 0.0, False), (float("nan"), float("nan"), False),
    ],
)  # fmt: skip
def test_same_number(a: float, b: float, same: bool) -> None:
    assert same_number(a, b) is same


def test_constants_match_by_value() -> None:
    graph = graph_of("f64[3]", lambda a: a * 2)
    assert found(graph, op("mul", x, Const(2, "c"))) == [{"x": Value(0), "c": Value(1)}]
    assert found(graph, op("mul", x, Const(3))) == []
    assert len(found(graph, op("mul", x, Const(name="c")))) == 1
    assert found(graph, op("mul", Const(2), Const(2))) == []


def test_the_guard_never_refuses_what_matches() -> None:
    graph = graph_of("f64[3] f64[3]", lambda a, b: (1 + a.op("exp")) * b)
    pattern = op("mul", x, op("add", Const(1), op("exp", y)))
    assert may_match(pattern, graph.outputs[0], graph) and found(graph, pattern)
    assert not may_match(op("mul", op("exp", x), y), graph.outputs[0], graph)


def test_depth() -> None:
    assert depth(x) == 0
    assert depth(op("add", x, y)) == 1
    assert depth(op("add", x, Const(1))) == 2
    assert depth(op("log", op("add", Const(1), op("exp", x)))) == 3
