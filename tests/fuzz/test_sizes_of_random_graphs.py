"""Random graphs with named sizes: one compile, many sizes; the survey itself."""

from __future__ import annotations

import numpy as np
import optree
import pytest
from size_survey import Survey, compare_calls, gradient_of_first, survey

import irgrad as ig
from irgrad.errors import ShapeError
from irgrad.testing.random_graphs import random_graph


def first_seeds(count: int) -> list[int]:
    """The first seeds whose graphs have named sizes."""
    found: list[int] = []
    seed = 0
    while len(found) < count:
        if random_graph(seed).dims:
            found.append(seed)
        seed += 1
    return found


def test_random_graphs_at_many_sizes() -> None:
    found = survey(first_seeds(3))
    assert found.graphs == 3 and found.calls >= 10
    assert not found.faults


def test_gradients_of_random_graphs_at_many_sizes() -> None:
    found = survey([seed for seed in first_seeds(12) if gradient_of_first(random_graph(seed).graph)
                    is not None][:1], gradients=True)  # fmt: skip
    assert found.graphs == 1 and found.calls >= 3
    assert not found.faults


def test_the_survey_sees_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that gives other numbers, or an error of another class, is listed."""
    (seed,) = first_seeds(1)
    drawn = random_graph(seed)
    graph = drawn.graph

    class Wrong:
        def __init__(self, inner: ig.Compiled) -> None:
            self.inner, self.turn = inner, 0

        def __call__(self, *arguments: np.ndarray) -> object:
            self.turn += 1
            if self.turn == 1:
                raise ShapeError("expected nothing, got a refusal")
            return optree.tree_map(lambda x: np.full_like(x, 113), self.inner(*arguments))

    compiled = ig.compile(graph, target="reference")
    found = Survey()
    monkeypatch.setattr(ig, "compile", lambda graph: Wrong(compiled))
    compare_calls(seed, graph, drawn.arguments, found)
    assert len(found.faults) >= 2
