"""Which nodes become one kernel: groups grown along the data flow, kept acyclic.

A loop group has a *domain*, the index space of its largest members, cut into outer axes and the
last `rows` axes. A member computes at one of two places:

- "full": at every point of the domain;
- "row": once for each point of the outer axes.

Its result is "full", "row" (an elementwise op at a row, or a reduction over exactly the last
`rows` axes) or "closed": a reduction over other axes, complete only when the kernel ends, so that
no member may read it. Each reduction limits the possible values of `rows`; a group keeps those that
all of its members allow. A contract group holds one contraction and elementwise ops on its result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..ir.dims import Size
from ..ir.graph import Graph, Value
from ..ops.record import OpDef
from .views import (
    GENERATORS,
    VIEW_OPS,
    View,
    apply_movement,
    collect_views,
    generator_view,
    merged_stride,
    view_of,
)

MAX_MEMBERS = 160
ROW_ONLY = frozenset({"argmax", "argmin"})  # reductions that cannot be accumulated in memory


@dataclass(slots=True)
class Group:
    """A kernel under construction.

    kind: "loop", "contract" or "lone" (never merged). bits: one for itself and each group merged
    into it; ancestors: the bits of all groups that it depends on.
    """

    number: int
    kind: str
    domain: tuple[Size, ...]
    members: list[int]
    rows: set[int]
    bits: int
    ancestors: int = 0
    predecessors: set[int] = field(default_factory=set)
    successors: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Member:
    """Where a node computes ("full" or "row") and what its result is ("full", "row", "closed")."""

    place: str
    result: str


class Reads:
    """The graph's operands seen through movement ops, down to values that have memory.

    copies: the movement ops and generators that get memory of their own. stored: those of them
    that are read from there; readers look through the others, which are outputs alone.
    is_region: whether the graph is that of a kernel, which has to write each of its outputs.
    """

    def __init__(self, graph: Graph, is_region: bool = False) -> None:
        self.graph = graph
        self.order = graph.order()
        self.views, self.copies = collect_views(graph, self.order)
        self.stored = frozenset(self.copies)
        for value in graph.outputs:
            op = graph[value.node].op
            moves = op in VIEW_OPS and (is_region or not self.is_alias(value.node))
            if op in GENERATORS or moves:
                self.copies.add(value.node)

    def is_real(self, key: int) -> bool:
        """Whether the node's value has memory of its own: it is no view and no generator."""
        return key in self.copies or self.graph[key].op not in VIEW_OPS | GENERATORS

    def is_source(self, key: int) -> bool:
        """Whether views end at the node: its readers read its memory, or it is a generator."""
        return key in self.stored or self.graph[key].op not in VIEW_OPS

    def is_alias(self, key: int) -> bool:
        """Whether the node is a reshape whose bytes are those of a real value in the same order."""
        node = self.graph[key]
        if node.op != "reshape" or key in self.copies:
            return False
        below = node.operands[0].node
        return self.is_real(below) or self.is_alias(below)

    def of(self, key: int) -> list[View]:
        """What a computing node reads; for a copied view, the view as its own operand gives it."""
        node = self.graph[key]
        if node.op in GENERATORS:
            return [generator_view(Value(key), node)]
        if node.op in VIEW_OPS:
            moved = apply_movement(node, view_of(self.graph, self.views, node.operands[0]))
            assert moved is not None, "the operand of a reshape that needs a copy has memory"
            return [moved]
        return [view_of(self.graph, self.views, operand) for operand in node.operands]


class Grouping:
    """Grows groups over the nodes of a graph in canonical order."""

    def __init__(self, graph: Graph, registry: Mapping[str, OpDef]) -> None:
        self.graph = graph
        self.registry = registry
        self.reads = Reads(graph)
        self.groups: dict[int, Group] = {}
        self.group_of: dict[int, int] = {}
        self.members: dict[int, Member] = {}
        self._bits = 0
        for key in self.reads.order:
            if graph[key].op != "input" and self.reads.is_real(key):
                self._place(key)

    # -- one node --------------------------------------------------------------------------------

    def _place(self, key: int) -> None:
        group = self._new_group(key)
        sources = dict.fromkeys(view.source.node for view in self.reads.of(key))
        for source in sources:
            self._depend(group, source)
        if group.kind != "loop" or key in self.reads.copies:
            return
        for source in sources:
            other = self.groups.get(self.group_of.get(source, -1))
            mine = self.groups[self.group_of[key]]
            if other is not None and other is not mine:
                self._try_merge(other, mine)

    def _new_group(self, key: int) -> Group:
        node = self.graph[key]
        family = "copy" if key in self.reads.copies else self.registry[node.op].family
        domain: tuple[Size, ...] = ()
        if family == "reduce":
            domain = self.graph.type(node.operands[0]).shape
            rows, result = reduction_rows(reduced_axes(self.graph, key), len(domain))
        else:
            if node.types:
                domain = self.graph.type(Value(key)).shape
            rows, result = set(range(len(domain) + 1)), "full"
        kinds = {"contract": "contract", "elementwise": "loop", "reduce": "loop", "copy": "loop"}
        number = self._bits
        self._bits += 1
        group = Group(number, kinds.get(family, "lone"), domain, [key], rows, 1 << number)
        self.groups[number] = group
        self.group_of[key] = number
        self.members[key] = Member("full", result)
        return group

    def _depend(self, group: Group, source: int) -> None:
        below = self.groups.get(self.group_of.get(source, -1))
        if below is None or below is group:
            return
        group.predecessors.add(below.number)
        below.successors.add(group.number)
        self._spread(group, below.bits | below.ancestors)

    def _spread(self, group: Group, bits: int) -> None:
        """Add ancestors to a group and to all that follow it."""
        work = [group]
        while work:
            current = work.pop()
            if current.ancestors | bits != current.ancestors:
                current.ancestors |= bits
                work.extend(self.groups[number] for number in current.successors)

    # -- merging ---------------------------------------------------------------------------------

    def _try_merge(self, other: Group, mine: Group) -> None:
        """Merge a group with one that it reads, where that is legal."""
        count = len(other.members) + len(mine.members)
        if count > MAX_MEMBERS or "lone" in (other.kind, mine.kind):
            return
        if "contract" in (other.kind, mine.kind):
            if self._is_epilogue(other, mine) and not self._would_cycle(other, mine):
                self._absorb(*((other, mine) if other.kind == "contract" else (mine, other)))
            return
        moved = self._moved_members(other, mine)
        rows = set() if moved is None else self._merged_rows(other, mine, moved)
        if moved is None or not rows or self._would_cycle(other, mine):
            return
        first, second = (other, mine) if len(other.domain) >= len(mine.domain) else (mine, other)
        self.members.update(moved)
        first.rows = rows
        self._absorb(first, second)

    def _moved_members(self, other: Group, mine: Group) -> dict[int, Member] | None:
        """The members that compute elsewhere once two loop groups are one; None where they cannot
        be one.

        A group over the outer axes of a row kernel's domain moves to its rows as a whole.
        """
        if other.domain == mine.domain:
            return {} if self._all_match(other, mine) and self._all_match(mine, other) else None
        small, big = sorted((other, mine), key=lambda group: len(group.domain))
        is_outer = small.domain == big.domain[: len(small.domain)]
        if len(small.domain) == len(big.domain) or not is_outer or not self._has_rows(big):
            return None
        moved = {key: self._at_row(key) for key in small.members}
        if any(member is None for member in moved.values()):
            return None
        found = {key: member for key, member in moved.items() if member is not None}
        rank = len(small.domain)
        for reader in (*small.members, *big.members):
            crosses = reader in found or small.number in big.predecessors
            if crosses and not self._row_reads_match(reader, found, big, rank):
                return None
        return found

    def _has_rows(self, group: Group) -> bool:
        return any(self.members[key].result == "row" for key in group.members)

    def _at_row(self, key: int) -> Member | None:
        """A full member of a smaller group as a member at the rows of a larger one."""
        op = self.graph[key].op
        if self.members[key].place == "row" or op in ROW_ONLY or key in self.reads.copies:
            return None
        return Member("row", "closed" if self.registry[op].family == "reduce" else "row")

    def _row_reads_match(
        self, reader: int, moved: Mapping[int, Member], big: Group, rank: int
    ) -> bool:
        """Whether a node reads row results alone of what is moved, and of the larger group too
        where it is itself moved."""
        for view in self.reads.of(reader):
            source = view.source.node
            from_big = reader in moved and self.group_of.get(source) == big.number
            if source not in moved and not from_big:
                continue
            result = moved[source].result if source in moved else self.members[source].result
            if result != "row" or not _runs_along(view, rank):
                return False
        return True

    def _merged_rows(self, other: Group, mine: Group, moved: Mapping[int, Member]) -> set[int]:
        rank = max(len(other.domain), len(mine.domain))
        if moved:
            big = other if len(other.domain) == rank else mine
            rows = big.rows & {rank - min(len(other.domain), len(mine.domain))}
        else:
            rows = other.rows & mine.rows
        for reader, group in ((mine, other), (other, mine)):
            for view in self._reads_across(reader, group):
                source = view.source.node
                if moved.get(source, self.members[source]).result == "row":
                    rows = rows & {rank - self.graph.type(view.source).rank}
        return rows

    def _reads_across(self, reader: Group, group: Group) -> Iterator[View]:
        """What the members of one group read of the values of another."""
        if group.number in reader.predecessors:
            for member in reader.members:
                for view in self.reads.of(member):
                    if self.group_of.get(view.source.node) == group.number:
                        yield view

    def _all_match(self, group: Group, reader: Group) -> bool:
        """Whether every member of `reader` finds what it reads of the group where it computes."""
        return group.number not in reader.predecessors or all(
            self._reads_match(group, member, self.members[member].place)
            for member in reader.members
        )

    def _reads_match(self, group: Group, key: int, place: str) -> bool:
        """Whether a node computing at `place` finds what it reads of the group at that place."""
        for view in self.reads.of(key):
            source = view.source.node
            if self.group_of.get(source) != group.number:
                continue
            result = self.members[source].result
            if result == "closed" or (place == "row" and result != "row"):
                return False
            if not _runs_along(view, self.graph.type(view.source).rank):
                return False
        return True

    def _is_epilogue(self, other: Group, mine: Group) -> bool:
        """Whether the two groups are one contraction and elementwise ops on its result's points."""
        if other.kind == mine.kind or other.domain != mine.domain:
            return False
        contract = other if other.kind == "contract" else mine
        contraction = contract.members[0]
        loop = mine if contract is other else other
        if any(self.group_of.get(v.source.node) == loop.number for v in self.reads.of(contraction)):
            return False
        if not (self._all_match(contract, loop) and self._all_match(loop, contract)):
            return False
        return all(
            self.registry[self.graph[member].op].family == "elementwise"
            and self._walks_rows(member, contraction)
            for member in loop.members
        )

    def _walks_rows(self, key: int, contraction: int) -> bool:
        """Whether one row and one column stride reach every point of what a node reads."""
        batch, m = contraction_split(self.graph, contraction)
        for view in self.reads.of(key):
            if self.graph[view.source.node].op == "iota":
                return False
            for part in (slice(batch, m), slice(m, None)):
                if merged_stride(view.shape[part], view.strides[part]) is None:
                    return False
        return True

    def _would_cycle(self, a: Group, b: Group) -> bool:
        """Whether a third group lies between two, and would have to run inside the merged one."""
        for first, second in ((a, b), (b, a)):
            for number in second.predecessors:
                between = self.groups[number]
                if between is not first and between.ancestors & first.bits:
                    return True
        return False

    def _absorb(self, first: Group, second: Group) -> None:
        first.members += second.members
        first.bits |= second.bits
        for key in second.members:
            self.group_of[key] = first.number
        for number in second.predecessors - {first.number}:
            first.predecessors.add(number)
            self.groups[number].successors.add(first.number)
        for number in second.successors - {first.number}:
            first.successors.add(number)
            self.groups[number].predecessors.add(first.number)
        for number in second.predecessors:
            self.groups[number].successors.discard(second.number)
        for number in second.successors:
            self.groups[number].predecessors.discard(second.number)
        del self.groups[second.number]
        first.ancestors = (first.ancestors | second.ancestors) & ~first.bits
        for number in first.successors:
            self._spread(self.groups[number], first.bits | first.ancestors)


def _runs_along(view: View, rank: int) -> bool:
    """Whether the first `rank` axes of a view are its source's own and the others repeat it."""
    if view.axes is None:
        return False
    return all(
        found == (axis if axis < rank else None)
        for axis, (found, size) in enumerate(zip(view.axes, view.shape))
        if size != 1
    )


def reduced_axes(graph: Graph, key: int) -> tuple[int, ...]:
    """The axes that a reduction removes."""
    attributes = dict(graph[key].attributes)
    return tuple(attributes["axes"]) if "axes" in attributes else (attributes["axis"],)


def reduction_rows(axes: tuple[int, ...], rank: int) -> tuple[set[int], str]:
    """The numbers of row axes that a reduction allows, and what its result is.

    Reduced trailing axes can be row axes; where the last axis is kept, the row axes are kept axes
    behind the last reduced one, and the result is accumulated over the outer axes.
    """
    trailing = 0
    while trailing < rank and rank - 1 - trailing in axes:
        trailing += 1
    if trailing == 0:
        return set(range(1, rank - max(axes))), "closed"
    return set(range(1, trailing + 1)), "row" if trailing == len(axes) else "closed"


def contraction_split(graph: Graph, key: int) -> tuple[int, int]:
    """In the result of a contraction: number of batch axes, and of batch and lhs axes together."""
    node = graph[key]
    batch = len(node.attribute("lhs_batch"))
    lhs = graph.type(node.operands[0]).rank
    return batch, lhs - len(node.attribute("lhs_contract"))
