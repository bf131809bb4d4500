"""Join products and sums into fused multiply-adds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph, Node, Value
from ..ir.location import merge
from ..ops.build import Builder
from ..ops.registry import builder

FUSED_DTYPES = frozenset(("f32", "f64"))


@dataclass(frozen=True, slots=True)
class FormFma:
    """A product that is read once, by a sum, is joined with it; one rounding less (class stable).

    a*b + c -> fma(a, b, c); a*b - c -> fma(a, b, -c); c - a*b -> fma(-a, b, c). Where both
    operands are such products the first one is taken. It runs before fusion, so that every backend
    and every grouping of kernels computes the same bits.
    """

    name: ClassVar[str] = "form_fma"

    def apply(self, graph: Graph) -> None:
        """Form them in one walk and drop the products."""
        order = graph.order()
        reads = Counter(value for key in order for value in graph[key].operands)
        reads.update(graph.outputs)
        for key in order:
            node = graph[key]
            if node.op not in ("add", "sub"):
                continue
            if graph.type(Value(key)).dtype.name not in FUSED_DTYPES:
                continue
            position = next(
                (
                    index
                    for index, value in enumerate(node.operands)
                    if graph[value.node].op == "mul" and reads[value] == 1
                ),
                None,
            )
            if position is not None:
                _join(graph, key, node, position)
        graph.prune()


def _join(graph: Graph, key: int, node: Node, position: int) -> None:
    product = graph[node.operands[position].node]
    build: Builder = builder(graph, merge(node.locations, product.locations))
    first, second = map(build.wrap, product.operands)
    other = build.wrap(node.operands[1 - position])
    if node.op == "sub" and position == 0:
        other = -other
    elif node.op == "sub":
        first = -first
    joined = first.op("fma", second, other)
    graph.replace(Value(key), joined.value, f"form_fma: {node.op} (stable)")
