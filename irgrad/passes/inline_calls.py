"""Inline calls of functions with own derivatives, which matter to differentiation alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from ..ir.graph import Graph, Value
from ..ir.location import Location, merge

REGION_OF: Mapping[str, str] = MappingProxyType(
    {"custom_jvp_call": "body", "custom_vjp_call": "body", "linear_call": "forward"}
)


@dataclass(frozen=True, slots=True)
class InlineCalls:
    """custom_jvp_call, custom_vjp_call, linear_call -> the nodes of the region that they run.

    stop_gradient(x) -> x. Calls inside regions go too. Each new node keeps its own lines first and
    gains those of the call. Run it after differentiation.
    """

    name: ClassVar[str] = "inline_calls"

    def apply(self, graph: Graph) -> None:
        """Inline every call of the graph."""
        _inline_all(graph, {})
        graph.prune()


def _inline_all(graph: Graph, flat: dict[int, Graph]) -> None:
    """Inline in place; `flat` keeps each region without its calls, by identity."""
    for key in graph.order():
        node = graph[key]
        if node.op == "stop_gradient":
            graph.replace(Value(key), node.operands[0], "inline_calls: stop_gradient (exact)")
        elif node.op in REGION_OF:
            body = _flatten(node.attribute(REGION_OF[node.op]), flat)
            call = node.locations

            def relocate(
                own: tuple[Location, ...], call: tuple[Location, ...] = call
            ) -> tuple[Location, ...]:
                return merge(own, call)

            results = graph.inline(body, node.operands, relocate)
            for index, result in enumerate(results):
                graph.replace(Value(key, index), result, f"inline_calls: {node.op} (exact)")


def _flatten(region: Graph, flat: dict[int, Graph]) -> Graph:
    if id(region) not in flat:
        body = region.copy()
        _inline_all(body, flat)
        flat[id(region)] = body
    return flat[id(region)]
