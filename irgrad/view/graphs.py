"""The graphs of a page: the stages of a compile, and what each kernel computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..ir.graph import Edit, Graph, Node, Value
from ..ir.printer import Style, canonical_text, type_text, value_labels, value_text
from ..passes.fuse import fused_members
from .data import Drawing, Stage, ViewNode
from .sources import Sources

MAX_ITEMS = 8  # of a tuple among a node's attributes
_STYLE = Style(names=True, brief=True)


def stages_shown(
    stages: Mapping[str, Graph],
    kernels: Mapping[int, int],
    edits: Sequence[Edit],
    sources: Sources,
) -> tuple[Stage, ...]:
    """All stages in order. kernels: the kernel of each fused node; edits: of the whole compile."""
    found: list[Stage] = []
    before = ""
    of_node = kernels_of_nodes(stages, kernels, edits)
    for number, (name, graph) in enumerate(stages.items()):
        text = canonical_text(graph)
        ident = f"stage{number}"
        drawn = None if text == before else drawing(graph, f"n{number}", of_node, sources)
        found.append(Stage(ident, name, drawn))
        before = text
    return tuple(found)


def kernels_of_nodes(
    stages: Mapping[str, Graph], kernels: Mapping[int, int], edits: Sequence[Edit]
) -> dict[int, int]:
    """The kernel of each node of any stage: that of its group, or of what has replaced it."""
    *earlier, fused = stages.values()
    found = dict(kernels)
    made = sorted(key for key in fused if fused[key].op == "fused")
    if kernels:
        groups = fused_members(earlier[-1])
        assert len(groups) == len(made)
        for key, members in zip(made, groups):
            if key in kernels:
                found.update((member, kernels[key]) for member in members)
    for edit in reversed(edits):
        if edit.old.node not in found and edit.new.node in found:
            found[edit.old.node] = found[edit.new.node]
    return found


def drawing(
    graph: Graph, prefix: str, kernels: Mapping[int, int], sources: Sources
) -> Drawing:
    """The nodes and edges of a graph. prefix: of the idents of its nodes."""
    order = graph.order()
    labels = value_labels(graph, order, _STYLE)
    kernels = _with_feeders(graph, order, kernels)
    nodes = tuple(
        ViewNode(
            f"{prefix}-{key}",
            key,
            graph[key].op,
            _label(graph[key], kernels.get(key)),
            ", ".join(map(type_text, graph[key].types)),
            node_text(graph, key, labels),
            tuple(map(str, graph[key].locations)),
            sources.idents(graph[key].locations),
            kernels.get(key),
        )
        for key in order
    )
    edges = dict.fromkeys((value.node, key) for key in order for value in graph[key].operands)
    return Drawing(nodes, tuple(edges))


def _with_feeders(
    graph: Graph, order: Sequence[int], kernels: Mapping[int, int]
) -> dict[int, int]:
    """Kernels also for nodes that only nodes of one kernel read: it computes them on the way."""
    found = dict(kernels)
    kept = {value.node for value in graph.outputs}
    for key in reversed(order):
        readers = {found.get(user) for user in graph.users(key)}
        if key not in found and key not in kept and graph[key].op != "input" and len(readers) == 1:
            (kernel,) = readers
            if kernel is not None:
                found[key] = kernel
    return found


def _label(node: Node, kernel: int | None) -> str:
    """What a box is called: inputs and kernels by their names, constants by their value."""
    if node.op == "input":
        return node.name or "input"
    if node.op == "fused":
        return node.name if kernel is None else f"k{kernel} {node.name}"
    if node.op == "constant":
        return _brief(node.attribute("value"))
    return node.op


def node_text(graph: Graph, key: int, labels: Mapping[Value, str]) -> str:
    """The node as a line of IR, with few digits and items of its attributes."""
    node = graph[key]
    results = ", ".join(labels[Value(key, i)] for i in range(len(node.types)))
    operands = ", ".join(labels[value] for value in node.operands)
    head = f"{results} = {node.op}({operands})" if node.types else f"{node.op}({operands})"
    types = ", ".join(map(type_text, node.types))
    return f"{head}{_attributes(node)}" + (f" : {types}" if types else "")


def _attributes(node: Node) -> str:
    if node.op == "input":
        return ""
    inner = ", ".join(f"{name}={_brief(value)}" for name, value in node.attributes)
    return f" {{{inner}}}" if inner else ""


def _brief(value: Any) -> str:
    if isinstance(value, Graph):
        return f"graph of {len(value)} nodes"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        more = [f"... {len(value)} in all"] if len(value) > MAX_ITEMS else []
        inner = ", ".join([*map(_brief, value[:MAX_ITEMS]), *more])
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return value_text(value)
