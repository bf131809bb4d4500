"""What a pass is, and how a list of them is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ..ir.graph import Graph


class Pass(Protocol):
    """One step over a graph: a frozen dataclass whose fields are its options.

    A pass edits in place and does nothing else: dumping, timing and verifying are callbacks.
    """

    @property
    def name(self) -> str:
        """The name in dumps and reports."""
        ...

    def apply(self, graph: Graph) -> None:
        """Edit the graph."""
        ...


OnPass = Callable[[Pass, Graph], None]


def run_passes(graph: Graph, passes: Iterable[Pass], on_pass: Sequence[OnPass] = ()) -> None:
    """Apply passes in order; after each one call every callback with the pass and the graph."""
    for step in passes:
        step.apply(graph)
        for callback in on_pass:
            callback(step, graph)
