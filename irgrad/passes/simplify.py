"""Apply the rewrite rules until none fires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph
from ..rewrite.drivers import rewrite_to_fixpoint
from ..rewrite.rule import Numerics, Rule
from ..rewrite.rules import RULES


@dataclass(frozen=True, slots=True)
class Simplify:
    """Rewrites that are never dearer; constants are folded on the way.

    numerics: the highest class of rule that may fire. rules: tried in order at each node.
    budget: firings allowed for each node before InternalError names the rules that kept firing.
    Each firing is in `graph.edits` as "simplify: <rule> (<class>)".
    """

    name: ClassVar[str] = "simplify"
    numerics: Numerics = "stable"
    rules: tuple[Rule, ...] = RULES
    budget: int = 20

    def apply(self, graph: Graph) -> None:
        """Rewrite the graph to a fixpoint and drop what nothing reads any more."""
        rewrite_to_fixpoint(
            graph, self.rules, level=self.numerics, label=self.name, budget=self.budget
        )
        graph.prune()
