"""Remove what has no effect on the results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph, Value


@dataclass(frozen=True, slots=True)
class RemoveDead:
    """Checks of a constant True go, then every node that no output or effect reaches.

    Inputs stay: they are the graph's calling convention.
    """

    name: ClassVar[str] = "remove_dead"

    def apply(self, graph: Graph) -> None:
        """Remove in one walk."""
        graph.effects = [key for key in graph.effects if not _never_fails(graph, key)]
        graph.prune()


def _never_fails(graph: Graph, key: int) -> bool:
    node = graph[key]
    if node.op != "check":
        return False
    predicate: Value = node.operands[0]
    source = graph[predicate.node]
    return source.op == "constant" and source.attribute("value") is True
