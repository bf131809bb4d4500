"""The pass that brings the axis of an argmax or argmin to the end, where kernels can search it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph, Value
from ..ops import movement
from ..ops.registry import builder


@dataclass(frozen=True)
class ArrangeReductions:
    """argmax(x, axis) -> argmax(transpose(x), last axis), where the axis is not the last.

    The transpose is read through strides and costs no copy.
    """

    name: ClassVar[str] = "arrange_reductions"

    def apply(self, graph: Graph) -> None:
        """Rewrite in place."""
        for key in graph.order():
            node = graph[key]
            if node.op not in ("argmax", "argmin"):
                continue
            rank = graph.type(node.operands[0]).rank
            axis = node.attribute("axis")
            if axis == rank - 1:
                continue
            b = builder(graph, node.locations)
            order = tuple(i for i in range(rank) if i != axis) + (axis,)
            moved = movement.transpose(b.wrap(node.operands[0]), order)
            found = b.one(node.op, moved, axis=rank - 1)
            graph.replace(Value(key), found.value, self.name)
        graph.prune()
