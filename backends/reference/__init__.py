"""The reference backend: runs a graph through the interpreter."""

from __future__ import annotations

from dataclasses import dataclass

from irgrad.ir.graph import Graph
from irgrad.kernel.program import Program
from irgrad.runtime.options import Options

from .executable import ReferenceExecutable


@dataclass(frozen=True, slots=True)
class ReferenceBackend:
    """Interprets the optimised graph, symbolic sizes included."""

    name: str = "reference"
    lowers: bool = False

    def compile(
        self, program: Program | None, graph: Graph, options: Options
    ) -> ReferenceExecutable:
        """Keep the graph; there is nothing to compile."""
        return ReferenceExecutable(graph)


BACKEND = ReferenceBackend()
