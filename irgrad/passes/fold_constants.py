"""Evaluate what depends on constants alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph
from ..rewrite.drivers import rewrite_once
from ..rewrite.rule import Numerics
from ..rewrite.rules.constants import RULES


@dataclass(frozen=True, slots=True)
class FoldConstants:
    """An op of constants -> a constant, wherever the result has one value for all elements.

    numerics: "exact" leaves exp, log and their like to the kernels. Operands come before their
    readers, so one walk folds whole expressions.
    """

    name: ClassVar[str] = "fold_constants"
    numerics: Numerics = "stable"

    def apply(self, graph: Graph) -> None:
        """Fold in one walk and drop what nothing reads any more."""
        rewrite_once(graph, RULES, level=self.numerics, label=self.name)
        graph.prune()
