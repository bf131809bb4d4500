"""Merge nodes that compute the same value."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.floats import exact_text, nan_bits
from ..ir.graph import Graph, Node, Value
from ..ops.registry import REGISTRY

# Same bits in either order; maximum and minimum are left out for zeros of either sign.
SYMMETRIC = frozenset(
    ("add", "mul", "eq", "ne", "logical_and", "logical_or", "logical_xor", "bitwise_and",
     "bitwise_or", "bitwise_xor")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MergeCommon:
    """Two nodes of equal op, operands and attributes -> the one that comes first.

    Inputs and ops with an effect stay apart. Operands of symmetric ops count in any order.
    """

    name: ClassVar[str] = "merge_common"

    def apply(self, graph: Graph) -> None:
        """Merge in one walk, operands before readers."""
        seen: dict[Hashable, int] = {}
        for key in graph.order():
            node = graph[key]
            if node.op == "input" or REGISTRY[node.op].effect:
                continue
            first = seen.setdefault(node_key(node), key)
            if first != key:
                for index in range(len(node.types)):
                    graph.replace(
                        Value(key, index), Value(first, index), f"merge_common: {node.op} (exact)"
                    )
        graph.prune()


def node_key(node: Node) -> Hashable:
    """What two nodes must share to compute the same."""
    operands = sorted(node.operands) if node.op in SYMMETRIC else node.operands
    attributes = tuple((name, attribute_key(value)) for name, value in node.attributes)
    return node.op, tuple(operands), attributes


def attribute_key(value: Any) -> Hashable:
    """A key by text and bits: True, 1 and 1.0 differ, 0.0 and -0.0, and NaNs of other bits."""
    if isinstance(value, tuple):
        return tuple(map(attribute_key, value))
    if isinstance(value, float):
        return "float", exact_text(value)
    if isinstance(value, Graph):
        return "graph", str(value), *nan_bits(value)
    return type(value).__name__, str(value)
