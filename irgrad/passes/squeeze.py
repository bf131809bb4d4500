"""The pass that computes without axes of size 1, so that values kept for broadcasting and values
reduced away meet in one shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.dims import Size
from ..ir.graph import Graph, Node, Value
from ..ops.build import Builder, Expr
from ..ops.registry import REGISTRY, builder


@dataclass(frozen=True)
class Squeeze:
    """op(x[n,1]) -> reshape(op(reshape(x)[n]))[n,1], for elementwise ops and reductions.

    Exact: a reshape moves nothing. Reshapes that meet cancel here or in later rewrites.
    """

    name: ClassVar[str] = "squeeze"

    def apply(self, graph: Graph) -> None:
        """Rewrite in place."""
        for key in graph.order():
            node = graph[key]
            family = "" if node.op == "input" else REGISTRY[node.op].family
            if not node.types or family not in ("elementwise", "reduce"):
                continue
            shape = graph.type(node.operands[0]).shape
            if 1 in shape:
                self._squeeze(graph, key, node, shape)
        graph.prune()

    def _squeeze(self, graph: Graph, key: int, node: Node, shape: tuple[Size, ...]) -> None:
        b = builder(graph, node.locations)
        kept = [axis for axis, size in enumerate(shape) if size != 1]
        attributes = dict(node.attributes)
        if "axes" in attributes:
            attributes["axes"] = tuple(kept.index(a) for a in attributes["axes"] if a in kept)
        elif "axis" in attributes:
            if attributes["axis"] not in kept:
                return
            attributes["axis"] = kept.index(attributes["axis"])
        smaller = tuple(shape[axis] for axis in kept)
        operands = [_without_ones(b, b.wrap(operand), smaller) for operand in node.operands]
        result = b.one(node.op, *operands, **attributes)
        restored = b.one("reshape", result, shape=graph.type(Value(key)).shape)
        graph.replace(Value(key), restored.value, self.name)


def _without_ones(b: Builder, x: Expr, shape: tuple[Size, ...]) -> Expr:
    """The value in a shape without its axes of size 1."""
    node = x.node
    if node.op == "constant":
        return b.constant(node.attribute("value"), type(x.type)(x.dtype, shape))
    if node.op == "reshape" and b.graph.type(node.operands[0]).shape == shape:
        return b.wrap(node.operands[0])
    return b.one("reshape", x, shape=shape)
