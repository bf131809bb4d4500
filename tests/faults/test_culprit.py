"""The search for the first wrong edit of a pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import irgrad as ig
from irgrad.interpret import interpret
from irgrad.ir.graph import Graph, Value
from irgrad.ops.registry import builder
from irgrad.passes.base import Pass
from irgrad.passes.culprit import find_culprit
from irgrad.self_check import differ_of, problem_of, samples

COUNT = 13


def chain() -> Graph:
    """A sum of COUNT different functions of an input."""

    def f(x: np.ndarray) -> np.ndarray:
        return sum(np.tanh(x * (i + 2)) for i in range(COUNT))

    return ig.trace(f, "f64[4]")


@dataclass(frozen=True)
class TanhTwice:
    """Replaces each tanh by another equal one; the one of number `wrong` by its negative."""

    wrong: int
    name: str = "tanh_twice"

    def apply(self, graph: Graph) -> None:
        """Edit in place."""
        keys = [key for key in graph.order() if graph[key].op == "tanh"]
        for number, key in enumerate(keys, 1):
            b = builder(graph, graph[key].locations)
            again = b.wrap(graph[key].operands[0]).op("tanh")
            new = -again if number == self.wrong else again
            graph.replace(Value(key), new.value, f"tanh_twice: rule_{number} (exact)")
        graph.prune()


@dataclass(frozen=True)
class LoseOutput:
    """Makes right edits, and then exchanges the output."""

    name: str = "lose_output"

    def apply(self, graph: Graph) -> None:
        """Edit in place."""
        TanhTwice(0).apply(graph)
        graph.outputs = [graph[graph.outputs[0].node].operands[0]]


def problem(graph: Graph) -> Callable[[Graph], str]:
    return problem_of(samples(graph), 8)


@pytest.mark.parametrize("wrong", range(1, COUNT + 1))
def test_the_wrong_edit_is_found_by_bisection(wrong: int) -> None:
    graph = chain()
    text = str(graph)
    asked = []
    wanted = problem(graph)

    def counted(now: Graph) -> str:
        asked.append(now)
        return wanted(now)

    culprit = find_culprit(TanhTwice(wrong), graph, counted)
    assert culprit is not None
    assert (culprit.number, culprit.count, culprit.rule) == (wrong, COUNT, f"rule_{wrong}")
    assert culprit.old is not None and culprit.old.op == "tanh"
    assert culprit.new is not None and culprit.new.op == "neg"
    assert f"from edit {wrong} of {COUNT}, 'tanh_twice: rule_{wrong} (exact)'" in str(culprit)
    assert "np.tanh(x * (i + 2))" in str(culprit).splitlines()[-1]
    assert len(asked) <= 3 + math.ceil(math.log2(COUNT))
    assert str(graph) == text and not graph.edits and graph.on_edit is None


def test_a_right_pass_has_no_culprit() -> None:
    graph = chain()
    assert find_culprit(TanhTwice(0), graph, problem(graph)) is None


def test_what_a_pass_does_besides_its_edits_is_said() -> None:
    graph = chain()
    culprit = find_culprit(LoseOutput(), graph, problem(graph))
    assert culprit is not None and (culprit.number, culprit.count) == (0, COUNT)
    assert culprit.rule == ""
    assert str(culprit).endswith(f", from what it does besides its {COUNT} edits")


def test_the_last_straw_is_not_blamed() -> None:
    """The results differ visibly only some right edits after the wrong one."""
    graph = chain()
    differ = differ_of(samples(graph), 8)

    def late(now: Graph) -> str:
        return "expected it right, got it wrong" if len(now.edits) >= 9 else ""

    named = [find_culprit(TanhTwice(wrong), graph, late, differ) for wrong in (3, 9, 11, 0)]
    assert [culprit and culprit.number for culprit in named] == [3, 9, 9, 9]
    blind = find_culprit(TanhTwice(3), graph, late)
    assert blind is not None and blind.number == 9


def test_a_graph_that_cannot_run_is_a_problem() -> None:
    graph = chain()
    broken = graph.copy()
    broken.update(broken.outputs[0].node, op="select")
    assert "expected a graph that runs, got" in problem(graph)(broken)
    assert problem(graph)(graph) == ""


@pytest.mark.parametrize("step", [TanhTwice(3), LoseOutput()])
def test_every_edit_is_told_to_the_observer(step: Pass) -> None:
    graph = chain()
    seen: list[str] = []
    graph.on_edit = lambda edit: seen.append(edit.reason)
    step.apply(graph)
    assert seen == [edit.reason for edit in graph.edits]
    graph.update(graph.outputs[0].node, name="named")
    assert seen[-1] == "update" and len(seen) == COUNT + 1
    assert graph.copy().on_edit is None
    x = np.linspace(-1, 1, 4)
    assert interpret(graph, [x])[0].shape == (4,)
