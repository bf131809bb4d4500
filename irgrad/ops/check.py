"""Verification of graphs against the registry."""

from __future__ import annotations

from collections.abc import Iterable

from ..ir import verify as rules
from ..ir.graph import Graph
from .registry import REGISTRY


def verify(graph: Graph, level: str = "traced") -> None:
    """Raise VerifyError unless the graph keeps the invariants of a level.

    level: "traced", "linear", "optimised" or "fused"; see `irgrad.ir.verify`.
    """
    rules.verify(graph, level, REGISTRY)


def verify_linear(graph: Graph, linear_inputs: Iterable[int]) -> None:
    """Raise VerifyError unless the outputs are linear in the inputs at the given positions."""
    rules.verify_linear(graph, linear_inputs, REGISTRY)
