"""Shrinking finds the small graph behind a planted fault."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph, Value
from irgrad.ops.check import verify
from irgrad.testing.bounds import condition_bound, within
from irgrad.testing.random_graphs import random_graph
from irgrad.testing.shrink import shrink


def fails(graph: Graph, arguments: Sequence[np.ndarray]) -> bool:
    """Whether subtracting the wrong way round changes a result."""
    exact, bounds = condition_bound(graph, arguments)
    work = graph.copy()
    for key in work.order():
        if work[key].op == "sub":
            x, y = work[key].operands
            work.update(key, operands=(y, x))
    got = interpret(work, arguments)
    return not all(within(a, b, bound) for a, b, bound in zip(exact, got, bounds))


def failing_seeds(count: int) -> list[int]:
    found: list[int] = []
    seed = 0
    while len(found) < count:
        drawn = random_graph(seed, style="mixed")
        if not drawn.special and fails(drawn.graph, drawn.arguments):
            found.append(seed)
        seed += 1
    return found


@pytest.mark.parametrize("seed", failing_seeds(3))
def test_a_planted_fault_is_isolated(seed: int) -> None:
    drawn = random_graph(seed, style="mixed")
    before = str(drawn.graph)
    graph, arguments = shrink(drawn.graph, drawn.arguments, fails)
    print(f"seed {seed}\n{graph}")
    assert str(drawn.graph) == before
    verify(graph, "traced")
    assert fails(graph, arguments)
    assert [key for key in graph if graph[key].op == "sub"]
    assert len(graph) <= 3 and len(graph.outputs) == 1
    shapes = [graph.type(Value(key)).shape for key in graph.inputs]
    assert all(size == 1 for shape in shapes for size in shape)
    assert [a.shape for a in arguments] == shapes
