"""The drivers: counts of uses, what is visited again, budgets, locations and linear cost."""

from __future__ import annotations

from collections import Counter

import pytest
from rule_cases import expression, graph_of

from irgrad.errors import InternalError
from irgrad.ir.graph import Graph, Value
from irgrad.ir.location import Location
from irgrad.ops.build import Expr
from irgrad.rewrite.drivers import Uses, rewrite_once, rewrite_to_fixpoint
from irgrad.rewrite.pattern import Const, Var, op
from irgrad.rewrite.rule import Rule, index_rules
from irgrad.rewrite.rules import RULES

x, y = Var("x"), Var("y")
BY_NAME = {rule.name: rule for rule in RULES}


def test_uses_follow_replacements() -> None:
    graph = graph_of("f64[3] f64[3]", lambda a, b: ((a * b) + 1, a * b))
    uses = Uses(graph)
    a, b = map(Value, graph.inputs)
    first, one, total, second = (Value(key) for key in graph.order()[2:])
    assert [uses.count(v) for v in (a, b, first, one, total, second)] == [2, 2, 1, 1, 1, 1]
    graph.replace(second, first, "test")
    assert uses.move(second, first) == []
    assert [uses.count(v) for v in (a, b, first, second)] == [1, 1, 2, 0]
    assert not uses.alive(second.node) and uses.alive(first.node)
    new = Value(graph.add("neg", [b], graph[first.node].types))
    graph.replace(total, new, "test")
    assert uses.move(total, new) == [new.node]
    assert [uses.count(v) for v in (b, new, total, one)] == [2, 1, 0, 0]
    fresh = Uses(graph)
    values = [Value(key) for key in graph]
    assert [uses.count(v) for v in values] == [fresh.count(v) for v in values]
    assert [uses.alive(v.node) for v in values] == [fresh.alive(v.node) for v in values]


def test_one_walk_sees_what_it_made_below_but_not_above() -> None:
    rules = [BY_NAME["mul_one"], BY_NAME["add_negative_zero"], BY_NAME["add_neg"]]
    graph = graph_of("f64[3] f64[3]", lambda a, b: (a * 1 + -0.0) + (-b) * 1)
    report = rewrite_once(graph, rules)
    assert expression(graph) == "sub(a, b)" and report.visits == 10
    graph = graph_of("f64[3] f64[3]", lambda a, b: -(a * -b))
    assert rewrite_once(graph, [BY_NAME["mul_neg"]]).fired == Counter(mul_neg=1)
    assert expression(graph) == "neg(neg(mul(b, a)))"


def test_fixpoint_visits_new_nodes_again() -> None:
    rules = [BY_NAME[name] for name in ("mul_neg", "neg_neg", "sub_neg")]
    graph = graph_of("f64[3] f64[3]", lambda a, b: a - (-a) * b)
    rewrite_to_fixpoint(graph, rules)
    assert expression(graph) == "add(a, mul(a, b))"


def test_readers_further_up_are_visited_again() -> None:
    deep = Rule("deep", "log(1 + -x) -> x", op("log", op("add", Const(1), op("neg", x))),
                lambda m: m["x"])  # fmt: skip
    first = Rule("first", "abs(x) -> relu(x)", op("abs", x), lambda m: m["x"].op("relu"))
    late = Rule("late", "relu(x) -> -x", op("relu", x), lambda m: -m["x"])
    graph = graph_of("f64[3]", lambda a: (1 + a.op("abs")).op("log"))
    report = rewrite_to_fixpoint(graph, [first, late, deep])
    assert expression(graph) == "a" and report.fired == Counter(first=1, late=1, deep=1)


def test_rules_that_undo_each_other_are_named() -> None:
    there = Rule("there", "x + y -> y + x", op("add", x, y), lambda m: m["y"] + m["x"])
    graph = graph_of("f64[3] f64[3]", lambda a, b: a + b)
    with pytest.raises(InternalError, match=r"at most 2 firings a node.*there \(100\)"):
        rewrite_to_fixpoint(graph, [there], budget=2)


def test_levels() -> None:
    rules = [BY_NAME["add_zero"], BY_NAME["div_constant"]]

    def build(a: Expr) -> Expr:
        return (a + 0.0) / 3

    fired = {}
    for level in ("exact", "stable", "approximate"):
        fired[level] = set(rewrite_once(graph_of("f64[3]", build), rules, level=level).fired)
    assert fired == {
        "exact": set(), "stable": {"add_zero"}, "approximate": {"add_zero", "div_constant"},
    }  # fmt: skip
    integers = graph_of("i32[3]", lambda a: a + 0)
    assert rewrite_once(integers, rules, level="exact").fired == Counter(add_zero=1)
    assert integers.edits[0].reason == "rewrite: add_zero (exact)"


def test_the_first_rule_wins_and_names_are_unique() -> None:
    one = Rule("one", "x + y -> x", op("add", x, y), lambda m: m["x"])
    two = Rule("two", "x + y -> y", op("add", x, y), lambda m: m["y"])
    graph = graph_of("f64[3] f64[3]", lambda a, b: a + b)
    assert rewrite_once(graph, [two, one]).fired == Counter(two=1)
    with pytest.raises(AssertionError, match="two rules of one name"):
        index_rules([one, one])


def test_a_replacement_of_another_type_is_refused() -> None:
    wrong = Rule("wrong", "x < y -> x", op("lt", x, y), lambda m: m["x"])
    with pytest.raises(AssertionError, match="rule wrong: expected bool"):
        rewrite_once(graph_of("f64[3] f64[3]", lambda a, b: a.lt(b)), [wrong])


def test_locations_of_all_matched_nodes_are_kept() -> None:
    graph = graph_of("f64[3] f64[3]", lambda a, b: a + -b)
    negated, total = graph.order()[2:]
    graph.update(negated, locations=(Location("f.py", 1),))
    graph.update(total, locations=(Location("f.py", 2),))
    rewrite_once(graph, [BY_NAME["add_neg"]])
    made = graph[graph.outputs[0].node]
    assert made.op == "sub"
    assert made.locations == (Location("f.py", 2), Location("f.py", 1))


def layers(count: int) -> Graph:
    """About 12 nodes for each layer, of which most are rewritten away."""

    def build(a: Expr, b: Expr) -> Expr:
        for _ in range(count):
            inner = (a * 1 - -b) * 2 / 2
            a = inner.op("relu").op("relu") * b.op("square") + 0.0
        return a

    return graph_of("f64[3] f64[3]", build)


def test_visits_grow_with_the_size_of_the_graph() -> None:
    visits, sizes = [], []
    for count in (40, 400):
        graph = layers(count)
        sizes.append(len(graph))
        visits.append(rewrite_to_fixpoint(graph, RULES).visits)
    assert sizes[0] >= 500 and sizes[1] >= 5000
    assert visits[1] / visits[0] <= 1.2 * sizes[1] / sizes[0]
    assert visits[1] <= 5 * sizes[1]
