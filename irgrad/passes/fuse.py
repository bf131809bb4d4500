"""The pass that puts each group of nodes into one `fused` node, whose region becomes one kernel."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.graph import Graph, Value, attributes
from ..ir.location import Location, merge
from ..ir.signature import flat_signature
from ..ops.registry import REGISTRY
from .fusion_groups import Group, Grouping
from .views import GENERATORS

_EFFECT = -1  # in place of a result's number: the node as an effect


@dataclass(frozen=True)
class Fuse:
    """Replace the computing nodes of a graph by `fused` nodes.

    Afterwards the graph holds inputs, fused nodes, and reshapes that only rename the shape of a
    value. A fused node's region reads its operands through movement ops of its own; the attribute
    `kind` is the group's, and `rows` the number of row axes of a loop group.
    """

    name: str = "fuse"

    def apply(self, graph: Graph) -> None:
        """Fuse in place."""
        grouping = Grouping(graph, REGISTRY)
        position = {key: i for i, key in enumerate(grouping.reads.order)}
        outputs = _needed_outside(graph, grouping)
        replaced: dict[Value, Value] = {}
        for group in _ordered(grouping):
            members = sorted(group.members, key=position.__getitem__)
            _fuse_group(graph, grouping, group, members, outputs, replaced)
        for old, new in replaced.items():
            if old.result != _EFFECT:
                graph.replace(old, new, "fuse")
        graph.effects = [
            fused
            for fused in dict.fromkeys(
                replaced.get(Value(key, _EFFECT), Value(key)).node for key in graph.effects
            )
        ]
        graph.prune()


def fused_members(graph: Graph) -> list[tuple[int, ...]]:
    """The nodes that each fused node stands for once a graph is fused, in the order of their keys.

    Movement ops and constants that kernels read through or make for themselves are left out.
    """
    groups = _ordered(Grouping(graph, REGISTRY))
    return [tuple(sorted(group.members)) for group in groups]


def _needed_outside(graph: Graph, grouping: Grouping) -> set[Value]:
    """The values that outputs or members of other groups read, through movement ops or directly."""
    needed: set[Value] = set()
    for key in grouping.group_of:
        for view in grouping.reads.of(key):
            source = view.source
            if grouping.group_of.get(source.node) != grouping.group_of[key]:
                needed.add(source)
    for value in graph.outputs:
        while not grouping.reads.is_real(value.node):
            value = graph[value.node].operands[0]
        needed.add(value)
    return needed


def _ordered(grouping: Grouping) -> list[Group]:
    """Groups in an order that runs producers first, by their first member otherwise."""
    waiting = {n: len(g.predecessors) for n, g in grouping.groups.items()}
    ready = sorted((n for n, count in waiting.items() if count == 0), reverse=True)
    result = []
    while ready:
        group = grouping.groups[ready.pop()]
        result.append(group)
        for number in sorted(group.successors, reverse=True):
            waiting[number] -= 1
            if waiting[number] == 0:
                ready.append(number)
    assert len(result) == len(grouping.groups), "groups form a cycle"
    return result


def _fuse_group(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    members: list[int],
    outputs: set[Value],
    replaced: dict[Value, Value],
) -> None:
    """Add the fused node of one group and note which values its results replace."""
    body = _Body(graph, grouping, set(members), replaced)
    for key in members:
        body.member(key)
    results = [
        Value(key, r)
        for key in members
        for r in range(len(graph[key].types))
        if Value(key, r) in outputs
    ]
    region = body.region
    region.outputs = [body.inside[value] for value in results]
    region.signature = flat_signature(len(region.inputs), len(results))
    rows = max(group.rows) if _reduces(graph, members) else 0
    fused = graph.add(
        "fused",
        body.operands,
        [graph.type(value) for value in results],
        attributes({"body": region, "kind": _kind(graph, group, members), "rows": rows}),
        _name(graph, members),
        _lines(graph, members),
    )
    replaced.update((value, Value(fused, i)) for i, value in enumerate(results))
    for key in members:
        if key in graph.effects:
            replaced[Value(key, _EFFECT)] = Value(fused)


def _lines(graph: Graph, members: list[int]) -> tuple[Location, ...]:
    """The source lines of all members, the last ones first, those that only gradients come from
    after the others."""
    lines = merge(*(graph[key].locations for key in reversed(members)))
    return tuple(sorted(lines, key=lambda line: line.role != ""))


def _reduces(graph: Graph, members: list[int]) -> bool:
    return any(REGISTRY[graph[key].op].family == "reduce" for key in members)


def _kind(graph: Graph, group: Group, members: list[int]) -> str:
    return group.kind if group.kind != "lone" else graph[members[0]].op


def _name(graph: Graph, members: list[int]) -> str:
    """A readable name: the last distinct ops of the group."""
    ops = list(dict.fromkeys(graph[key].op for key in reversed(members)))
    plain = [op for op in ops if op not in ("constant", "select", "cast")] or ops
    return "_".join(reversed(plain[:3]))


class _Body:
    """The region of one fused node while it is being filled."""

    def __init__(
        self, graph: Graph, grouping: Grouping, members: set[int], replaced: dict[Value, Value]
    ) -> None:
        self.graph = graph
        self.reads = grouping.reads
        self.members = members
        self.replaced = replaced
        self.region = Graph("body")
        self.operands: list[Value] = []
        self.inside: dict[Value, Value] = {}
        self.region_node: dict[int, int] = {}

    def member(self, key: int) -> None:
        """Copy a member, and first the movement ops through which it reads."""
        operands = [self.read(operand) for operand in self.graph[key].operands]
        self._copy(key, operands)
        if key in self.graph.effects:
            self.region.effects.append(self.region_node[key])

    def read(self, value: Value) -> Value:
        """The region's value for one of the graph, as an input or through copied movement ops."""
        chain: list[int] = []
        at = value
        while at not in self.inside and not self.reads.is_source(at.node):
            chain.append(at.node)
            at = self.graph[at.node].operands[0]
        if at not in self.inside:
            self._enter(at)
        for key in reversed(chain):
            self._copy(key, [self.inside[self.graph[key].operands[0]]])
        return self.inside[value]

    def _enter(self, value: Value) -> None:
        node = self.graph[value.node]
        if node.op in GENERATORS and value.node not in self.reads.stored:
            self._copy(value.node, [])
            return
        self.operands.append(self.replaced.get(value, value))
        type_ = self.graph.type(value)
        self.inside[value] = self.region.add_input(type_, node.name, node.locations)

    def _copy(self, key: int, operands: list[Value]) -> None:
        node = self.graph[key]
        new = self.region.add(
            node.op, operands, node.types, node.attributes, node.name, node.locations
        )
        for result in range(len(node.types)):
            self.inside[Value(key, result)] = Value(new, result)
        self.region_node[key] = new
