"""Canonical text of graphs; the grammar is in `parser`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ArgumentError, LimitError, VerifyError, brief
from .dims import Dim
from .graph import Graph, Node, Value
from .lexer import MAX_DEPTH, MAX_NAME
from .location import Location, relative_path
from .signature import Signature, Tree, flat_signature
from .types import DType, TensorType

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]")


@dataclass(frozen=True, slots=True)
class Style:
    """What a text shows.

    locations: the source lines of nodes. names: the user's names of single results instead of
    numbers. anonymous: no name of graph, inputs or arguments, and no static arguments.
    brief: regions as `graph (...)` and unknown attribute values by their class, for errors.
    depth: how many graphs hold the one that is shown; a region has no name and no signature.
    """

    locations: bool = False
    names: bool = False
    anonymous: bool = False
    brief: bool = False
    depth: int = 0


def print_graph(graph: Graph, *, locations: bool = False, names: bool = False) -> str:
    """The text of a graph, which `parse` reads back to an equal graph.

    Equal graphs whose inputs have the same names give the same bytes, in any process. Nodes stand
    in canonical order; those that no output or effect needs are left out. locations: add each
    node's source lines, with relative paths. names: show names of values where they have one.
    Raises LimitError for regions nested too deeply, VerifyError for an attribute that has no text
    and for a graph that is not well-formed, ArgumentError for an argument of another kind.
    """
    require_graph("print_graph", graph)
    for name, value in (("locations", locations), ("names", names)):
        if not isinstance(value, bool):
            raise ArgumentError(f"print_graph: expected {name} as a bool, got {brief(value)}")
    lines = ["irgrad 1", *graph_lines(graph, Style(locations=locations, names=names))]
    return "\n".join(lines) + "\n"


def require_graph(what: str, graph: object) -> None:
    """Raise ArgumentError, starting with `what`, for anything but a graph."""
    if not isinstance(graph, Graph):
        raise ArgumentError(f"{what}: expected a graph, got {brief(graph)}")


def canonical_text(graph: Graph) -> str:
    """The text without any name or location: the key under which graphs are equal."""
    return "\n".join(graph_lines(graph, Style(anonymous=True)))


def graph_lines(graph: Graph, style: Style) -> list[str]:
    """The lines of a whole graph."""
    if style.depth >= MAX_DEPTH:
        raise LimitError(f"print: expected at most {MAX_DEPTH} levels of regions, got more")
    order = graph.order()
    labels = value_labels(graph, order, style)
    lines = [header(graph, labels, style) + " {", *signature_lines(graph, labels, style)]
    inputs, effects = set(graph.inputs), frozenset(graph.effects)
    for key in order:
        if key not in inputs:
            lines += node_lines(graph, key, labels, style, effects)
    return [*lines, return_line(graph, labels), "}"]


def header(graph: Graph, labels: Mapping[Value, str], style: Style) -> str:
    """The line up to the block: name, inputs, types of the results."""
    arguments = [key for key in graph.inputs if key not in graph.captures]
    captures = [key for key in graph.inputs if key in graph.captures]

    def listed(keys: Iterable[int]) -> str:
        return ", ".join(_input_text(graph, key, labels, style) for key in keys)

    name = "" if style.anonymous or style.depth else f"@{legal_name(graph.name) or 'main'}"
    inner = listed(arguments) + (f"; captures {listed(captures)}" if captures else "")
    results = ", ".join(type_text(_known_type(graph, value)) for value in graph.outputs)
    return f"graph {name}({inner}) -> ({results})"


def signature_lines(graph: Graph, labels: Mapping[Value, str], style: Style) -> list[str]:
    """The line of the calling convention, or none where it is the default."""
    if style.depth:
        return []
    signature = calling_convention(graph)
    arguments = len(graph.inputs) - len(graph.captures)
    default = flat_signature(arguments, len(graph.outputs))
    names = tuple(labels[Value(key)][1:] for key in graph.inputs[:arguments])
    if style.anonymous:
        signature = replace(signature, names=(), static=())
    elif signature.names == names:
        signature = replace(signature, names=())
    if signature == default:
        return []
    line = f"  signature {_tree(signature.inputs)} -> {_tree(signature.outputs)}"
    if signature.donated:
        line += f" donated [{', '.join(map(str, sorted(signature.donated)))}]"
    if signature.names:
        line += f" names [{', '.join(map(json.dumps, signature.names))}]"
    if signature.static:
        line += f" static [{', '.join(map(json.dumps, signature.static))}]"
    return [line]


def calling_convention(graph: Graph) -> Signature:
    """The signature of a graph; where it was never set, flat tuples of arguments and results."""
    if graph.signature != flat_signature(0, 0):
        return graph.signature
    return flat_signature(len(graph.inputs) - len(graph.captures), len(graph.outputs))


def value_labels(graph: Graph, order: Sequence[int], style: Style) -> dict[Value, str]:
    """The name of each value: those of inputs made legal and unique, numbers for the others."""
    labels: dict[Value, str] = {}
    taken: dict[str, int] = {}
    for position, key in enumerate(graph.inputs):
        name = "" if style.anonymous else legal_name(graph[key].name)
        labels[Value(key)] = "%" + _unique(name or f"a{position}", taken)
    number = 0
    for key in order:
        if Value(key) in labels:
            continue
        node = graph[key]
        if style.names and node.name and len(node.types) == 1:
            labels[Value(key)] = "%" + _unique(legal_name(node.name), taken)
            continue
        for result in range(len(node.types)):
            labels[Value(key, result)] = f"%{number}"
            number += 1
    return labels


def legal_name(name: str) -> str:
    """The name with what the grammar refuses replaced by `_`; never a number."""
    legal = _NOT_IN_NAMES.sub("_", name[: MAX_NAME // 2])
    return f"_{legal}" if legal[:1].isdecimal() else legal


def node_lines(
    graph: Graph,
    key: int,
    labels: Mapping[Value, str],
    style: Style,
    effects: frozenset[int] = frozenset(),
) -> list[str]:
    """The lines of a node: one, unless it holds regions."""
    node = graph[key]
    lines = [node_start(graph, key, labels, effects)]
    if not style.brief and any(True for _ in node.regions()):
        lines[0] += " {"
        for name, value in node.attributes:
            if isinstance(value, Graph):
                inner = graph_lines(value, replace(style, depth=style.depth + 1))
                lines += [f"    {name} = {inner[0]}", *(f"    {line}" for line in inner[1:])]
                lines[-1] += ","
            else:
                lines.append(f"    {name} = {value_text(value)},")
        lines.append("  }")
    elif node.attributes:
        text = brief_text if style.brief else value_text
        inner_text = ", ".join(f"{name}={text(value)}" for name, value in node.attributes)
        lines[0] += f" {{{inner_text}}}"
    lines[-1] += node_end(node, style)
    return lines


def node_start(
    graph: Graph, key: int, labels: Mapping[Value, str], effects: frozenset[int] = frozenset()
) -> str:
    """Results, op and operands."""
    node = graph[key]
    operands = ", ".join([labels.get(value, f"%?{value.node}") for value in node.operands])
    mark = "effect " if key in effects else ""
    if not node.types:
        return f"  {mark}{node.op}({operands})"
    results = ", ".join([labels[Value(key, i)] for i in range(len(node.types))])
    return f"  {results} = {mark}{node.op}({operands})"


def node_end(node: Node, style: Style) -> str:
    """Result types and locations."""
    text = ""
    if any(type_ is not None for type_ in node.types):
        text = " : " + ", ".join([type_text(type_) for type_ in node.types])
    if style.locations and node.locations:
        text += " " + locations_text(node.locations)
    return text


def return_line(graph: Graph, labels: Mapping[Value, str]) -> str:
    """The line of the returned values."""
    outputs = ", ".join(labels.get(value, f"%?{value.node}") for value in graph.outputs)
    return f"  return {outputs}".rstrip()


def type_text(type_: TensorType | None) -> str:
    """A type, or `?` where there is none yet."""
    return "?" if type_ is None else str(type_)


def value_text(value: Any) -> str:
    """An attribute value other than a graph."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, int | DType | Dim):
        return str(value)
    if isinstance(value, tuple):
        inner = ", ".join([value_text(item) for item in value])
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise VerifyError(
        "attribute: expected bool, int, float, str, dtype, size, a tuple of those or a graph, "
        f"got {type(value).__name__}"
    )


def brief_text(value: Any) -> str:
    """Any attribute value for an error: regions and values without text are only named."""
    if isinstance(value, Graph):
        return "graph (...)"
    if isinstance(value, tuple):
        inner = ", ".join(map(brief_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, str | bool | int | float | DType | Dim):
        return value_text(value)
    return f"<{type(value).__name__}>"


def locations_text(locations: Iterable[Location]) -> str:
    """The source lines of a node."""
    parts = []
    for location in locations:
        text = f"{json.dumps(relative_path(location.file))}:{location.line}"
        if location.function:
            text += f" in {_name_text(location.function)}"
        if location.role:
            text += f" as {json.dumps(location.role)}"
        parts.append(text)
    return f"loc({', '.join(parts)})"


def _input_text(graph: Graph, key: int, labels: Mapping[Value, str], style: Style) -> str:
    node = graph[key]
    text = labels[Value(key)]
    if node.types and node.types[0] is not None:
        text += f": {node.types[0]}"
    if style.locations and node.locations:
        text += " " + locations_text(node.locations)
    return text


def _known_type(graph: Graph, value: Value) -> TensorType | None:
    types = graph[value.node].types if value.node in graph else ()
    return types[value.result] if value.result < len(types) else None


def _unique(name: str, taken: dict[str, int]) -> str:
    """The name, or the first of name_2, name_3 and so on that is free.

    taken: the names given out, each with the number to try next.
    """
    candidate = name
    while candidate in taken:
        taken[name] += 1
        candidate = f"{name}_{taken[name]}"
    taken[candidate] = 1
    return candidate


def _name_text(name: str) -> str:
    plain = len(name) <= MAX_NAME and _NAME.fullmatch(name)
    return name if plain else json.dumps(name)


def _tree(tree: Tree) -> str:
    if tree.kind == "leaf":
        return "*"
    if tree.kind == "none":
        return "-"
    children = [_tree(child) for child in tree.children]
    if tree.kind == "dict":
        pairs = [f"{_name_text(key)}: {text}" for key, text in zip(tree.keys, children)]
        return "{" + ", ".join(pairs) + "}"
    return f"({', '.join(children)})" if tree.kind == "tuple" else f"[{', '.join(children)}]"
