"""Running lists of passes, dead code, folding levels, and linear cost."""

from __future__ import annotations

import dataclasses
from collections import UserDict
from collections.abc import Callable

import numpy as np
import pytest

from irgrad.errors import InternalError
from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.spec import parse_type
from irgrad.ops.build import Expr
from irgrad.ops.registry import builder
from irgrad.passes.base import Pass, run_passes
from irgrad.passes.fold_constants import FoldConstants
from irgrad.passes.form_fma import FormFma
from irgrad.passes.inline_calls import InlineCalls
from irgrad.passes.merge_common import MergeCommon
from irgrad.passes.remove_dead import RemoveDead
from irgrad.passes.simplify import Simplify
from irgrad.rewrite.pattern import Var, op
from irgrad.rewrite.rule import Rule

ALL: tuple[Pass, ...] = (
    InlineCalls(), FoldConstants(), Simplify(), MergeCommon(), FormFma(), RemoveDead(),
)  # fmt: skip


def graph_of(build: Callable[[Expr], Expr]) -> Graph:
    graph = Graph()
    b = builder(graph)
    graph.outputs = [build(b.wrap(graph.add_input(parse_type("f64[3]"), "a"))).value]
    return graph


def ops(graph: Graph) -> list[str]:
    return [graph[key].op for key in graph.order()]


def test_passes_are_frozen_and_named() -> None:
    assert [step.name for step in ALL] == [
        "inline_calls", "fold_constants", "simplify", "merge_common", "form_fma", "remove_dead",
    ]  # fmt: skip
    for step in ALL:
        assert dataclasses.is_dataclass(step) and step.__dataclass_params__.frozen


def test_callbacks_run_after_each_pass_in_order() -> None:
    seen: list[tuple[str, str, int]] = []
    graph = graph_of(lambda a: a * 1 + a * 1)
    run_passes(
        graph,
        (MergeCommon(), Simplify()),
        (
            lambda step, g: seen.append(("first", step.name, len(g))),
            lambda step, g: seen.append(("second", step.name, len(g))),
        ),
    )
    assert seen == [
        ("first", "merge_common", 4), ("second", "merge_common", 4),
        ("first", "simplify", 3), ("second", "simplify", 3),
    ]  # fmt: skip


def test_all_passes_keep_the_values() -> None:
    def build(a: Expr) -> Expr:
        kept = (a.like(2) * 3).op("exp") * a.op("stop_gradient")
        return kept + (a * a) - -a.op("relu") * 4 / 2

    graph = graph_of(build)
    array = np.array([0.5, -2.0, 3.0])
    (before,) = interpret(graph, [array])
    run_passes(graph, ALL)
    np.testing.assert_allclose(interpret(graph, [array])[0], before, rtol=1e-14)
    assert ops(graph).count("exp") == 0 and ops(graph).count("fma") == 2


def test_folding_by_level() -> None:
    graph = graph_of(lambda a: a * (a.like(2) * 3).op("exp"))
    exact = graph.copy()
    FoldConstants(numerics="exact").apply(exact)
    assert ops(exact) == ["input", "constant", "exp", "mul"]
    FoldConstants().apply(graph)
    assert ops(graph) == ["input", "constant", "mul"]
    assert graph[graph.order()[1]].attribute("value") == np.exp(6.0)
    assert [edit.reason for edit in graph.edits] == [
        "fold_constants: fold (exact)", "fold_constants: fold_rounded (stable)",
    ]  # fmt: skip


def test_simplify_by_level() -> None:
    graph = graph_of(lambda a: (a * 1 + 0.0) / 3)
    for level, left in (
        ("exact", ["input", "constant", "add", "constant", "div"]),
        ("stable", ["input", "constant", "div"]),
        ("approximate", ["input", "constant", "mul"]),
    ):
        other = graph.copy()
        Simplify(numerics=level).apply(other)
        assert ops(other) == left


def test_simplify_says_which_rules_kept_firing() -> None:
    x, y = Var("x"), Var("y")
    swap = Rule("swap", "x * y -> y * x", op("mul", x, y), lambda m: m["y"] * m["x"])
    with pytest.raises(InternalError, match="simplify: .* swap"):
        Simplify(rules=(swap,), budget=1).apply(graph_of(lambda a: a * a.op("exp")))


def test_dead_nodes_and_checks_of_true_go() -> None:
    graph = graph_of(lambda a: a.op("exp"))
    b = builder(graph)
    a = b.wrap(graph.outputs[0])
    a.op("log")
    true = b.constant(True, parse_type("bool[3]"))
    for predicate in (a.gt(0), true, b.constant(False, parse_type("bool[3]"))):
        b.emit("check", [predicate], message="m")
        graph.effects.append(max(graph))
    RemoveDead().apply(graph)
    assert ops(graph) == [
        "input", "exp", "constant", "gt", "check", "constant", "check",
    ]  # fmt: skip
    assert len(graph) == 7 and len(graph.effects) == 2


class CountedNodes(UserDict):
    """The nodes of a graph, counting how often one is looked up."""

    reads = 0

    def __getitem__(self, key: int) -> object:
        self.reads += 1
        return super().__getitem__(key)


def layers(count: int) -> Graph:
    """About 12 nodes a layer: work for every pass."""

    def build(a: Expr) -> Expr:
        for _ in range(count):
            other = a.op("stop_gradient") * 1 + (a.like(2) * 3)
            a = (a.op("exp") * other + a.op("exp") * other) - -a
        return a

    return graph_of(build)


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.name)
def test_cost_is_linear(step: Pass) -> None:
    """Node reads per node do not grow from 500 to 5,000 nodes."""
    reads = []
    for count in (40, 400):
        graph = layers(count)
        size = len(graph)
        assert size >= 13 * count
        graph._nodes = counted = CountedNodes(graph._nodes)
        step.apply(graph)
        reads.append(counted.reads / size)
    assert 0 < reads[1] <= 1.1 * reads[0]
    assert reads[1] <= 150
