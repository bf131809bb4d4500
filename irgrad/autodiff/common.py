"""What linearizing and transposing share: dependence on tangents, error text, finished graphs."""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.graph import Graph, Node, Value
from ..ir.location import describe
from ..ir.signature import flat_signature
from ..ops.registry import builder


def dependent_nodes(graph: Graph, nodes: Iterable[int], on: Iterable[Value]) -> tuple[int, ...]:
    """Those of `nodes`, listed with operands first, that depend on one of the values `on`."""
    reached = {value.node for value in on}
    found = []
    for key in nodes:
        if any(operand.node in reached for operand in graph[key].operands):
            reached.add(key)
            found.append(key)
    return tuple(found)


def located(message: str, node: Node) -> str:
    """The message, ended by the user's line that the node comes from, where that is known and the
    message does not name a line already."""
    if not node.locations or '\n  File "' in message:
        return message
    return f"{message}\n{describe(node.locations[0])}"


def remove_inputs(graph: Graph, values: Iterable[Value]) -> None:
    """Take inputs off the list; `prune` then drops their nodes, which nothing may need any more."""
    removed = {value.node for value in values}
    graph.inputs = [key for key in graph.inputs if key not in removed]


def finish(graph: Graph, outputs: Iterable[Value]) -> Graph:
    """Make a working graph a plain function: these outputs, no dead nodes, flat calling convention.

    Captures become inputs like any other.
    """
    graph.outputs = list(outputs)
    graph.prune()
    for position, key in enumerate(graph.inputs):
        graph.update(key, attributes=(("index", position),))
    graph.captures = {}
    graph.signature = flat_signature(len(graph.inputs), len(graph.outputs))
    return graph


def bind_zeros(graph: Graph, positions: Iterable[int]) -> Graph:
    """The graph without the inputs at these positions, which are zero in it."""
    bound = [Value(graph.inputs[position]) for position in positions]
    if not bound:
        return graph
    work = graph.copy()
    b = builder(work)
    for value in bound:
        work.replace(value, b.zeros(work.type(value)).value, "zero tangent")
    remove_inputs(work, bound)
    return finish(work, work.outputs)
