"""The graph: frozen nodes in a networkx store, edited in place through three operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import networkx as nx

from .location import Location
from .signature import Signature, flat_signature
from .types import TensorType

Attributes = tuple[tuple[str, Any], ...]


class Value(NamedTuple):
    """One result of one node."""

    node: int
    result: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    op: name in the registry. operands: the values it reads. types: of its results, None where not
    yet inferred. attributes: sorted (name, value) pairs; values are bool, int, float, str, DType,
    sizes, tuples of those, or a Graph for the regions of region ops. name and locations stand
    outside equality of graphs.
    """

    op: str
    operands: tuple[Value, ...]
    types: tuple[TensorType | None, ...]
    attributes: Attributes = ()
    name: str = ""
    locations: tuple[Location, ...] = ()

    def attribute(self, name: str) -> Any:
        """The value of an attribute; KeyError where the node has none of that name."""
        for key, value in self.attributes:
            if key == name:
                return value
        raise KeyError(name)

    def regions(self) -> Iterator[tuple[str, Graph]]:
        """The graphs that the node holds, by attribute name."""
        for key, value in self.attributes:
            if isinstance(value, Graph):
                yield key, value


class Edit(NamedTuple):
    """One entry of a graph's history: `old` was replaced by `new` because of `reason`."""

    reason: str
    old: Value
    new: Value


def attributes(values: Mapping[str, Any]) -> Attributes:
    """The canonical form of attributes given as a mapping."""
    return tuple(sorted(values.items()))


class Graph:
    """A directed acyclic graph of nodes with dense integer keys.

    The operands of the nodes are the truth; `nx` is derived from them: an edge (producer, consumer)
    with the attribute `uses`, the number of operands that read the producer. `inputs` are nodes of
    op "input" in order (arguments first, then captures); `outputs` are values; `effects` are nodes
    kept for what they do, in order; `widenings` lists the float arrays that promotion widened while
    tracing. Only `add`, `replace`, `update` and `prune` change nodes.
    """

    def __init__(self, name: str = "main") -> None:
        self.name = name
        self.nx: nx.DiGraph = nx.DiGraph()
        self.inputs: list[int] = []
        self.outputs: list[Value] = []
        self.effects: list[int] = []
        self.signature: Signature = flat_signature(0, 0)
        self.captures: dict[int, Any] = {}
        self.edits: list[Edit] = []
        self.widenings: list[Any] = []
        self._nodes: dict[int, Node] = {}
        self._next = 0

    # -- reading ---------------------------------------------------------------------------------

    def __getitem__(self, node: int) -> Node:
        return self._nodes[node]

    def __contains__(self, node: int) -> bool:
        return node in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._nodes)

    def type(self, value: Value) -> TensorType:
        """The type of a value, which must be inferred."""
        found = self._nodes[value.node].types[value.result]
        assert found is not None, f"value {value} has no type yet"
        return found

    def users(self, node: int) -> list[int]:
        """The nodes that read a node, in order of key."""
        return sorted(self.nx.successors(node))

    def use_count(self, value: Value) -> int:
        """How often a value is read by operands and outputs."""
        reads = sum(
            operand == value
            for user in self.nx.successors(value.node)
            for operand in self._nodes[user].operands
        )
        return reads + sum(output == value for output in self.outputs)

    def roots(self) -> list[int]:
        """The nodes that keep others alive: effects, then those of the outputs."""
        return list(dict.fromkeys([*self.effects, *(v.node for v in self.outputs)]))

    def order(self) -> list[int]:
        """Nodes in canonical order: inputs, then depth-first post-order from the roots.

        Independent of the keys, linear in the size of the graph. Nodes that no root reaches are
        left out.
        """
        done = dict.fromkeys(self.inputs)
        for root in self.roots():
            stack = [(root, iter(self._nodes[root].operands))] if root not in done else []
            open_nodes = {root}
            while stack:
                node, operands = stack[-1]
                below = next((v.node for v in operands if v.node not in done), None)
                if below is None:
                    done[node] = None
                    stack.pop()
                elif below in open_nodes:
                    raise AssertionError(f"graph {self.name}: cycle through node {below}")
                else:
                    open_nodes.add(below)
                    stack.append((below, iter(self._nodes[below].operands)))
        return list(done)

    # -- editing ---------------------------------------------------------------------------------

    def add(
        self,
        op: str,
        operands: Iterable[Value] = (),
        types: Iterable[TensorType | None] = (),
        attrs: Attributes = (),
        name: str = "",
        locations: tuple[Location, ...] = (),
    ) -> int:
        """Add a node and return its key. Operands must exist."""
        key = self._next
        self._next += 1
        node = Node(op, tuple(operands), tuple(types), attrs, name, locations)
        self._nodes[key] = node
        self.nx.add_node(key)
        self._link(key, node)
        return key

    def add_input(
        self, type_: TensorType | None, name: str = "", locations: tuple[Location, ...] = ()
    ) -> Value:
        """Append an input and return its value."""
        key = self.add("input", (), (type_,), (("index", len(self.inputs)),), name, locations)
        self.inputs.append(key)
        return Value(key)

    def replace(self, old: Value, new: Value, reason: str) -> None:
        """Let every reader of `old` read `new`; the pair is kept in `edits` with its reason.

        `new` must not depend on a reader of `old` (that would close a cycle).
        """
        if old == new:
            return
        for user in list(self.nx.successors(old.node)):
            node = self._nodes[user]
            if old in node.operands:
                self._set(user, replace(node, operands=tuple(
                    new if operand == old else operand for operand in node.operands
                )))
        self.outputs = [new if value == old else value for value in self.outputs]
        before = self._nodes[old.node]
        after = self._nodes[new.node]
        if before.locations and after.op != "input":
            merged = tuple(dict.fromkeys(after.locations + before.locations))
            self._nodes[new.node] = replace(after, locations=merged)
        self.edits.append(Edit(reason, old, new))

    def update(self, node: int, **changes: Any) -> None:
        """Change fields of a node's record in place: types, attributes, operands, locations."""
        self._set(node, replace(self._nodes[node], **changes))

    def prune(self) -> int:
        """Remove the nodes that no root reaches, inputs excepted; return how many went."""
        alive = set(self.order())
        dead = [key for key in self._nodes if key not in alive]
        for key in dead:
            del self._nodes[key]
        self.nx.remove_nodes_from(dead)
        return len(dead)

    def copy(self) -> Graph:
        """An independent copy with the same keys; regions are shared until edited by `update`."""
        other = Graph(self.name)
        other.nx = self.nx.copy()
        other._nodes = dict(self._nodes)
        other._next = self._next
        other.inputs = list(self.inputs)
        other.outputs = list(self.outputs)
        other.effects = list(self.effects)
        other.signature = self.signature
        other.captures = dict(self.captures)
        other.widenings = list(self.widenings)
        return other

    def inline(
        self,
        body: Graph,
        arguments: Iterable[Value],
        relocate: Callable[[tuple[Location, ...]], tuple[Location, ...]] | None = None,
    ) -> list[Value]:
        """Add the nodes of `body` with its inputs bound to `arguments`; return its outputs here."""
        bound = dict(zip(body.inputs, arguments, strict=True))
        mapping: dict[Value, Value] = {Value(key): value for key, value in bound.items()}
        for key in body.order():
            if key in bound:
                continue
            node = body[key]
            new = self.add(
                node.op,
                [mapping[operand] for operand in node.operands],
                node.types,
                node.attributes,
                node.name,
                relocate(node.locations) if relocate else node.locations,
            )
            if key in body.effects:
                self.effects.append(new)
            mapping.update((Value(key, r), Value(new, r)) for r in range(len(node.types)))
        return [mapping[value] for value in body.outputs]

    def _set(self, key: int, node: Node) -> None:
        old = self._nodes[key]
        self._nodes[key] = node
        if old.operands != node.operands:
            self.nx.remove_edges_from([(v.node, key) for v in set(old.operands)])
            self._link(key, node)

    def _link(self, key: int, node: Node) -> None:
        uses: dict[int, int] = {}
        for operand in node.operands:
            assert operand.node in self._nodes, f"operand {operand} of {node.op} does not exist"
            uses[operand.node] = uses.get(operand.node, 0) + 1
        self.nx.add_edges_from((source, key, {"uses": count}) for source, count in uses.items())

    # -- text ------------------------------------------------------------------------------------

    def __str__(self) -> str:
        from .printer import print_graph  # the printer needs this module's types

        return print_graph(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        from .compare import equal  # compare is built on the printer

        return equal(self, other)

    __hash__ = None  # type: ignore[assignment]
