"""Random graphs: text, verification, inference and every pass agree with the interpreter."""

from __future__ import annotations

from graph_survey import Survey

from irgrad.ops.registry import REGISTRY
from irgrad.rewrite.rules import RULES
from irgrad.testing.random_graphs import random_graph

LEAST = 20  # seeds in which each op occurs and each rule fires
TRAITS = {
    "special": 100, "symbolic": 100, "empty": 100, "nan": 80, "infinity": 80, "donated": 300,
    "check": 100,
}  # fmt: skip


def test_all_graphs_hold(survey: Survey) -> None:
    count = len(survey.failures)
    assert not count, f"{count} of {survey.seeds} failed\n" + "\n".join(survey.failures[:5])


def test_every_op_occurs(survey: Survey) -> None:
    names = [name for name in REGISTRY if name != "fused"]
    rare = {name: survey.ops[name] for name in names if survey.ops[name] < LEAST}
    assert not rare


def test_every_rule_fires(survey: Survey) -> None:
    names = [rule.name for rule in RULES if rule.numerics != "approximate"]
    rare = {name: survey.rules[name] for name in names if survey.rules[name] < LEAST}
    assert not rare


def test_unusual_graphs_occur(survey: Survey) -> None:
    rare = {name: survey.traits[name] for name in TRAITS if survey.traits[name] < TRAITS[name]}
    assert not rare


def test_a_seed_gives_one_graph() -> None:
    for seed in range(40):
        first, second = random_graph(seed), random_graph(seed)
        assert str(first.graph) == str(second.graph)
        assert [a.tobytes() for a in first.arguments] == [a.tobytes() for a in second.arguments]
