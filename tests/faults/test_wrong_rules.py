"""check="all" names the rewrite rule that is wrong, its edit, and the user's line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rule_cases import CASES, graph_of

import irgrad as ig
from irgrad import driver
from irgrad.errors import CheckError, InternalError
from irgrad.ir.graph import Graph
from irgrad.ir.signature import flat_signature
from irgrad.ops.movement import transpose
from irgrad.passes import fold_constants
from irgrad.passes.base import Pass, run_passes
from irgrad.passes.pipeline import pipeline
from irgrad.passes.simplify import Simplify
from irgrad.rewrite.rule import Match, Rule
from irgrad.rewrite.rules import RULES
from irgrad.self_check import PassChecker

BY_NAME = {rule.name: rule for rule in RULES}


def off_by_three(rule: Rule) -> Rule:
    """The rule with a wrong replacement: booleans negated, 3 more of numbers."""

    def build(match: Match) -> Any:
        right = rule.build(match)
        return right.op("logical_not") if right.type.dtype.kind == "b" else right + 3

    return replace(rule, build=build)


def with_rule(wrong: Rule) -> tuple[Rule, ...]:
    return tuple(wrong if rule.name == wrong.name else rule for rule in RULES)


def changed(name: str, **fields: Any) -> Rule:
    return replace(BY_NAME[name], **fields)


def first_operand(match: Match) -> Any:
    """select(not c, x, y) -> x."""
    return match.operands("root")[1]


def exchanged(match: Match) -> Any:
    """transpose(transpose(x, p), q) -> transpose(x, p before q), as if they commuted."""
    (inner,) = match.operands("root")
    (x,) = match.builder.wrap(inner.value).node.operands
    outer = match.attr("root", "permutation")
    own = inner.node.attribute("permutation")
    return transpose(match.builder.wrap(x), tuple(outer[axis] for axis in own))


WRONG: dict[str, tuple[Rule, Callable[..., Any], tuple[str, ...]]] = {
    "a sign": (
        changed("sub_neg", build=lambda m: m["x"] - m["y"]),
        lambda x, y: np.tanh(x) - (-y),
        ("f64[5]", "f64[5]"),
    ),
    "a number": (
        changed("add_self", build=lambda m: m["x"] * 3),
        lambda x: np.exp(x) + np.exp(x),
        ("f32[5]",),
    ),
    "a predicate left out": (
        changed("cast_cast", when=()),
        lambda x: x.astype(np.int32).astype(np.float64) * 2.5,
        ("f64[5]",),
    ),
    "a relation": (
        changed("not_eq", build=lambda m: m["x"].eq(m["y"])),
        lambda x, y: np.logical_not(x == y) & (x > 1),
        ("i64[9]", "i64[9]"),
    ),
    "an operand in place of another": (
        changed("select_not", build=first_operand),
        lambda x, y: np.where(np.logical_not(x < y), x, y).sum(axis=0),
        ("f64[3,2]", "f64[3,2]"),
    ),
    "axes": (
        changed("transpose_transpose", build=exchanged),
        lambda x: np.transpose(np.transpose(x, (1, 2, 0)), (0, 2, 1)) * 2.0,
        ("f64[3,3,3]",),
    ),
}


def plant(monkeypatch: pytest.MonkeyPatch, wrong: Rule) -> None:
    """Put a wrong rule in the place of the right one, in the passes of all compiles."""

    def passes(numerics: Any) -> tuple[Pass, ...]:
        return tuple(
            replace(step, rules=with_rule(wrong)) if isinstance(step, Simplify) else step
            for step in pipeline(numerics)
        )

    monkeypatch.setattr(driver, "pipeline", passes)


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_rule_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, f, specs = WRONG[kind]
    ig.compile(f, *specs, target="reference", check="all")
    plant(monkeypatch, rule)
    with pytest.raises(CheckError) as found:
        ig.compile(f, *specs, target="reference", check="all")
    text = str(found.value)
    line = f.__code__.co_firstlineno
    assert text.startswith("pass simplify: expected result 0 ")
    assert f"'simplify: {rule.name} (" in text
    assert text.count("\n") == 2 and f'test_wrong_rules.py", line {line}, in <lambda>' in text
    assert ig.compile(f, *specs, target="reference") is not None, "found without being asked to"


def test_a_wrong_fold_of_constants_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = tuple(
        off_by_three(rule) if rule.name == "fold" else rule for rule in fold_constants.RULES
    )
    (case, *_) = CASES["fold"]
    graph = callable_graph(case.inputs, case.build)
    steps = [step for step in pipeline() if step.name == "fold_constants"]
    run_passes(graph.copy(), steps, [PassChecker(graph)])
    monkeypatch.setattr(fold_constants, "RULES", rules)
    with pytest.raises(CheckError, match=r"pass fold_constants: .*'fold_constants: fold \(exact\)"):
        run_passes(graph.copy(), steps, [PassChecker(graph)])


def callable_graph(inputs: str, build: Callable[..., Any]) -> Graph:
    graph = graph_of(inputs, build)
    graph.signature = flat_signature(len(graph.inputs), len(graph.outputs))
    return graph


@pytest.mark.parametrize("name", CASES)
def test_each_rule_is_named_where_it_is_wrong(name: str) -> None:
    """Of the rules that fire in a case, the wrong one is named; a rule that feeds itself by what it
    adds is named by the error of the exceeded budget."""
    wrong = off_by_three(BY_NAME[name])
    named = 0
    for case in CASES[name]:
        graph = callable_graph(case.inputs, case.build)
        right = Simplify(numerics="approximate" if wrong.numerics == "approximate" else "stable")
        run_passes(graph.copy(), [right], [PassChecker(graph)])
        step = replace(right, rules=with_rule(wrong), budget=1)
        try:
            run_passes(graph.copy(), [step], [PassChecker(graph)])
        except CheckError as error:
            assert f"'simplify: {name} (" in str(error)
            named += 1
        except InternalError as error:
            assert str(error).endswith(f"the last 100 were {name} (100)")
            named += 1
    assert named, "no case of the rule shows it"
