"""Equality of graphs, and their differences as text that renumbering does not disturb."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..errors import ArgumentError, brief
from .graph import Graph, Value
from .printer import (
    Style,
    canonical_text,
    graph_lines,
    header,
    node_end,
    node_lines,
    node_start,
    require_graph,
    return_line,
    signature_lines,
    value_labels,
    value_text,
)

Line = tuple[str, str]  # (" ", "-" or "+", text)
Pairs = dict[int, int]  # nodes of one graph by the nodes of another that they correspond to
Side = tuple[Graph, int, Mapping[Value, str], frozenset[int]]  # a node, and what labels it


def equal(a: Graph, b: Graph) -> bool:
    """Whether two graphs compute the same by the same nodes under the same calling convention.

    Compared are the canonical texts: ops, operands, attributes, types, regions, the order of
    inputs, outputs and effects, which inputs are captures, argument trees and donation. Names of
    graphs, inputs, arguments and values, static arguments, locations, keys, and nodes that nothing
    needs do not count. Raises ArgumentError for anything but graphs.
    """
    for graph in (a, b):
        require_graph("equal", graph)
    return a is b or canonical_text(a) == canonical_text(b)


def diff(a: Graph, b: Graph, context: int = 2, pairs: Mapping[int, int] | None = None) -> str:
    """The lines that differ, `-` from `a` and `+` from `b`, between lines that they share.

    Nodes are matched by structure, and a matched node shows the number that it has in `a` on both
    sides; a node of `b` alone shows its number in `b` after a `+`. context: unchanged lines around
    each change; `...` stands for others. pairs: the keys in `b` of nodes of `a` that live on, where
    they are known; inputs are matched by position. Empty where the graphs are equal. Raises
    ArgumentError for anything but graphs and a number of lines.
    """
    for graph in (a, b):
        require_graph("diff", graph)
    if type(context) is not int or context < 0:
        raise ArgumentError(f"diff: expected context as an integer >= 0, got {brief(context)}")
    if equal(a, b):
        return ""
    known = None if pairs is None else {**pairs, **dict(zip(a.inputs, b.inputs))}
    lines = _graph_diff(a, b, Style(), known)
    context = min(context, len(lines))
    near = {
        place
        for i, (mark, _) in enumerate(lines)
        if mark != " "
        for place in range(i - context, i + context + 1)
    }
    shown: list[str] = []
    for i, (mark, line) in enumerate(lines):
        if i in near:
            shown.append(f"{mark} {line}")
        elif i - 1 in near or not i:
            shown.append("  ...")
    return "\n".join(shown) + "\n"


def _graph_diff(a: Graph, b: Graph, style: Style, known: Pairs | None = None) -> list[Line]:
    order_a, order_b = a.order(), b.order()
    pairs = _match(a, b, order_a, order_b) if known is None else known
    labels_a = value_labels(a, order_a, style)
    labels_b = _shared_labels(a, b, pairs, labels_a, value_labels(b, order_b, style))
    lines = _pair([header(a, labels_a, style) + " {"], [header(b, labels_b, style) + " {"])
    lines += _pair(signature_lines(a, labels_a, style), signature_lines(b, labels_b, style))
    effects_a, effects_b = frozenset(a.effects), frozenset(b.effects)
    for key_a, key_b in _merged(a, b, order_a, order_b, pairs):
        if key_a is not None and key_b is not None:
            sides = ((a, key_a, labels_a, effects_a), (b, key_b, labels_b, effects_b))
            lines += _node_diff(*sides, style)
        elif key_a is not None:
            lines += [("-", line) for line in node_lines(a, key_a, labels_a, style, effects_a)]
        elif key_b is not None:
            lines += [("+", line) for line in node_lines(b, key_b, labels_b, style, effects_b)]
    lines += _pair([return_line(a, labels_a)], [return_line(b, labels_b)])
    lines.append((" ", "}"))
    effects = [pairs.get(key, -1) for key in a.effects]
    if effects != b.effects and sorted(effects) == sorted(b.effects):  # in another order
        lines += _pair(_effect_lines(a, labels_a, style), _effect_lines(b, labels_b, style))
    return lines


def _node_diff(side_a: Side, side_b: Side, style: Style) -> list[Line]:
    """The lines of a matched node; where it holds regions, the differences inside them."""
    sides = (side_a, side_b)
    nodes = [graph[key] for graph, key, *_ in sides]
    regions_a, regions_b = (dict(node.regions()) for node in nodes)
    if not regions_a or regions_a.keys() != regions_b.keys():
        return _pair(*(node_lines(g, key, labels, style, fx) for g, key, labels, fx in sides))
    lines = _pair(*([node_start(*side) + " {"] for side in sides))
    values = [dict(node.attributes) for node in nodes]
    for name in sorted(values[0].keys() | values[1].keys()):
        if name not in regions_a:
            lines += _pair(*(
                [f"    {name} = {value_text(attrs[name])},"] if name in attrs else []
                for attrs in values
            ))
            continue
        inner_style = replace(style, depth=style.depth + 1)
        inner = _region_diff(regions_a[name], regions_b[name], inner_style)
        heads = sum(text.startswith("graph ") for _, text in inner)
        for i, (mark, text) in enumerate(inner):
            start = f"{name} = " if i < heads else ""
            end = "," if i == len(inner) - 1 else ""
            lines.append((mark, f"    {start}{text}{end}"))
    return lines + _pair(*([f"  }}{node_end(node, style)}"] for node in nodes))


def _region_diff(a: Graph, b: Graph, style: Style) -> list[Line]:
    if equal(a, b):
        return [(" ", line) for line in graph_lines(a, style)]
    return _graph_diff(a, b, style)


def _pair(a: list[str], b: list[str]) -> list[Line]:
    if a == b:
        return [(" ", line) for line in a]
    return [*(("-", line) for line in a), *(("+", line) for line in b)]


def _effect_lines(graph: Graph, labels: Mapping[Value, str], style: Style) -> list[str]:
    effects = frozenset(graph.effects)
    return [
        line for key in graph.effects for line in node_lines(graph, key, labels, style, effects)
    ]


def _shared_labels(
    a: Graph, b: Graph, pairs: Pairs, labels_a: Mapping[Value, str], labels_b: Mapping[Value, str]
) -> dict[Value, str]:
    """Labels for `b`: those of `a` for matched nodes, else its own, numbers after a `+`."""
    back = {key_b: key_a for key_a, key_b in pairs.items()}
    shared: dict[Value, str] = {}
    for value, label in labels_b.items():
        twin = Value(back[value.node], value.result) if value.node in back else None
        own = f"%+{label[1:]}"
        shared[value] = own if twin is None else labels_a.get(twin, own)
    return shared


def _merged(
    a: Graph, b: Graph, order_a: list[int], order_b: list[int], pairs: Pairs
) -> Iterator[tuple[int | None, int | None]]:
    """Nodes of both graphs in the order of `a`; one of `b` alone stands before its successor."""
    back = {key_b: key_a for key_a, key_b in pairs.items()}
    inputs = {*b.inputs}
    before: dict[int | None, list[int]] = defaultdict(list)
    waiting: list[int] = []
    for key in order_b:
        if key in inputs:
            continue
        if key in back:
            before[back[key]], waiting = waiting, []
        else:
            waiting.append(key)
    inputs = {*a.inputs}
    for key in order_a:
        if key in inputs:
            continue
        yield from ((None, extra) for extra in before[key])
        yield key, pairs.get(key)
    yield from ((None, extra) for extra in waiting)


# -- matching --------------------------------------------------------------------------------------


def _match(a: Graph, b: Graph, order_a: list[int], order_b: list[int]) -> Pairs:
    """Which node of `b` corresponds to each node of `a`.

    Nodes that compute the same from the inputs are matched first. Then, from the outputs and
    effects down, the operands of matched nodes are matched by position where their ops agree; then,
    from the inputs up, nodes of one op that read matched operands; and last, nodes between matched
    readers and operands whose ops differ (one op was exchanged for another).
    """
    pairs: Pairs = dict(zip(a.inputs, b.inputs))
    by_structure: dict[int, list[int]] = defaultdict(list)
    table: dict[object, int] = {}
    for key, number in _structures(b, order_b, table).items():
        by_structure[number].append(key)
    for candidates in by_structure.values():
        candidates.reverse()
    for key, number in _structures(a, order_a, table).items():
        if key not in pairs and by_structure[number]:
            pairs[key] = by_structure[number].pop()
    taken = set(pairs.values())
    outputs = list(zip((v.node for v in a.outputs), (v.node for v in b.outputs)))
    effects = list(zip(a.effects, b.effects))
    _match_down(a, b, [*effects, *outputs], order_a, pairs, taken, same_op=True)
    _match_up(a, b, order_a, order_b, pairs, taken)
    _match_down(a, b, [*effects, *outputs], order_a, pairs, taken, same_op=False)
    return pairs


def _structures(graph: Graph, order: Iterable[int], table: dict[object, int]) -> dict[int, int]:
    """A number for each node; equal numbers mean equal computations from the inputs."""
    numbers: dict[int, int] = {}
    inputs = {key: position for position, key in enumerate(graph.inputs)}
    for key in order:
        if key in inputs:
            form: object = ("input", inputs[key])
        else:
            node = graph[key]
            operands = tuple((numbers[v.node], v.result) for v in node.operands)
            form = (node.op, operands, node.types, _attribute_text(graph, key))
        numbers[key] = table.setdefault(form, len(table))
    return numbers


def _attribute_text(graph: Graph, key: int) -> str:
    return ";".join(
        f"{name}={canonical_text(value) if isinstance(value, Graph) else value_text(value)}"
        for name, value in graph[key].attributes
    )


def _match_down(
    a: Graph,
    b: Graph,
    roots: list[tuple[int, int]],
    order_a: list[int],
    pairs: Pairs,
    taken: set[int],
    same_op: bool,
) -> None:
    """Match operands of matched nodes by position, readers before what they read."""

    def try_match(key_a: int, key_b: int) -> None:
        if key_a in pairs or key_b in taken:
            return
        x, y = a[key_a], b[key_b]
        alike = x.op == y.op if same_op else "input" not in (x.op, y.op)
        if alike and len(x.types) == len(y.types):
            pairs[key_a] = key_b
            taken.add(key_b)

    for key_a, key_b in roots:
        try_match(key_a, key_b)
    for key_a in reversed(order_a):
        if key_a in pairs:
            operands_a, operands_b = a[key_a].operands, b[pairs[key_a]].operands
            if len(operands_a) == len(operands_b):
                for value_a, value_b in zip(operands_a, operands_b):
                    try_match(value_a.node, value_b.node)


def _match_up(
    a: Graph, b: Graph, order_a: list[int], order_b: list[int], pairs: Pairs, taken: set[int]
) -> None:
    """Match nodes of one op whose operands are matched to each other."""
    waiting: dict[object, list[int]] = defaultdict(list)
    for key in reversed(order_b):
        if key not in taken:
            waiting[(b[key].op, b[key].operands, len(b[key].types))].append(key)
    for key in order_a:
        node = a[key]
        if key in pairs or not all(value.node in pairs for value in node.operands):
            continue
        operands = tuple(Value(pairs[value.node], value.result) for value in node.operands)
        candidates = waiting[(node.op, operands, len(node.types))]
        while candidates:
            found = candidates.pop()
            if found not in taken:
                pairs[key] = found
                taken.add(found)
                break
