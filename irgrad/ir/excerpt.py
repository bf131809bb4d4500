"""A node in its surroundings, for error messages."""

from __future__ import annotations

import networkx as nx

from .graph import Graph
from .location import Location, describe
from .printer import Style, header, node_lines, value_labels

_WIDTH = 110  # characters of a line that an error shows
_STYLE = Style(names=True, brief=True)


def fault(graph: Graph, node: int | None, message: str, context: int = 2) -> str:
    """A message followed by lines of IR with the node marked `>`, and the user's source line last.

    node: None for a fault of the graph as a whole, which shows its first line. context: nodes shown
    before and after.
    """
    lines = [message, *excerpt(graph, node, context)]
    location = where(graph, node)
    if location is not None:
        lines.append(describe(location))
    return "\n".join(lines)


def where(graph: Graph, node: int | None) -> Location | None:
    """The primary source line of a node, if it has one."""
    if node is None or node not in graph or not graph[node].locations:
        return None
    return graph[node].locations[0]


def excerpt(graph: Graph, node: int | None, context: int = 2) -> list[str]:
    """The lines of a node and its neighbours in the text; regions are left out."""
    if not all(key in graph for key in graph.inputs):
        return []
    order = _printable_order(graph)
    if node is not None and node not in order:
        order = [*order, node]
    labels = value_labels(graph, order, _STYLE)
    if node is None or node in graph.inputs:
        return [_clip(f"  > {header(graph, labels, _STYLE)}")]
    inputs = set(graph.inputs)
    keys = [key for key in order if key not in inputs]
    place = keys.index(node)
    first = max(0, min(place - context, len(keys) - 2 * context - 1))
    effects = frozenset(graph.effects)
    lines = []
    for key in keys[first : first + 2 * context + 1]:
        (line,) = node_lines(graph, key, labels, _STYLE, effects)
        lines.append(_clip(f"  {'>' if key == node else ' '} {line.strip()}"))
    return lines


def _printable_order(graph: Graph) -> list[int]:
    """The canonical order; the order of keys where the graph is too broken to have one."""
    known = all(value.node in graph for key in graph for value in graph[key].operands)
    roots = all(key in graph for key in graph.roots())
    if known and roots and nx.is_directed_acyclic_graph(graph.nx):
        return graph.order()
    return list(graph)


def _clip(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."
