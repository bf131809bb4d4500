"""The graph: frozen nodes in a networkx store, edited in place through three operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import networkx as nx

from ..errors import ArgumentError, VerifyError, brief
from .fields import Attributes, Value, as_tuple, graph_problem, is_value, require_node
from .location import Location
from .shown import how_many, short, shown_html
from .signature import Signature, flat_signature
from .types import TensorType

__all__ = ["Attributes", "Edit", "Graph", "Node", "Value", "attributes"]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    op: name in the registry. operands: the values it reads. types: of its results, None where not
    yet inferred. attributes: sorted (name, value) pairs; values are bool, int, float, str, DType,
    sizes, tuples of those, or a Graph for the regions of region ops. name and locations stand
    outside equality of graphs.

    Raises ArgumentError for a field of another kind.
    """

    op: str
    operands: tuple[Value, ...]
    types: tuple[TensorType | None, ...]
    attributes: Attributes = ()
    name: str = ""
    locations: tuple[Location, ...] = ()

    def __post_init__(self) -> None:
        require_node(
            self.op, self.operands, self.types, self.attributes, self.name, self.locations
        )

    def attribute(self, name: str) -> Any:
        """The value of an attribute; ArgumentError where the node has none of that name."""
        for key, value in self.attributes:
            if key == name:
                return value
        raise ArgumentError(f"{self.op}: expected the name of an attribute, got {brief(name)}")

    def __repr__(self) -> str:
        types = ", ".join("?" if type_ is None else str(type_) for type_ in self.types)
        return f"Node({self.op}: {short(types)})" if types else f"Node({self.op})"

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
    tracing. Only `add`, `replace`, `update` and `prune` change nodes. `on_edit`, where set, is
    called after each `replace` and `update`; copies do without.

    Methods raise ArgumentError for keys, values and fields of nodes that do not fit, and leave the
    graph as it was; those that walk the graph raise VerifyError where it is not well-formed.
    """

    __array_ufunc__ = None  # arrays leave a comparison with a graph to the graph

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
        self.on_edit: Callable[[Edit], None] | None = None
        self._nodes: dict[int, Node] = {}
        self._next = 0
        # The last order with the roots and inputs that it was made for; None once operands change.
        self._ordered: tuple[object, tuple[int, ...]] | None = None

    # -- reading ---------------------------------------------------------------------------------

    def __getitem__(self, node: int) -> Node:
        try:
            return self._nodes[node]
        except (KeyError, TypeError):
            raise ArgumentError(f"graph: expected the key of a node, got {brief(node)}") from None

    def __contains__(self, node: int) -> bool:
        return isinstance(node, int) and node in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._nodes)

    def type(self, value: Value) -> TensorType:
        """The type of a value, which must be inferred."""
        try:
            found = self._nodes[value.node].types[value.result]
        except (AttributeError, KeyError, IndexError, TypeError):
            found = None
        if found is None:
            self._require_value(value)
            raise VerifyError(
                f"{self._nodes[value.node].op}: expected a type of result {value.result}, got none "
                "(the pass infer gives types)"
            )
        return found

    def users(self, node: int) -> list[int]:
        """The nodes that read a node, in order of key."""
        self._require_key(node)
        return sorted(self.nx.successors(node))

    def use_count(self, value: Value) -> int:
        """How often a value is read by operands and outputs."""
        self._require_value(value)
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
        left out. Raises VerifyError for a cycle, and for fields of the graph that are of another
        kind or name what it does not hold.
        """
        self._require_fields()
        ends = (*self.inputs, None, *self.effects, None, *self.outputs)
        if self._ordered is None or self._ordered[0] != ends:
            self._ordered = (ends, tuple(self._walk()))
        return list(self._ordered[1])

    def _walk(self) -> Iterable[int]:
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
                    raise VerifyError(
                        f"{self._nodes[below].op}: expected no cycle in graph {self.name}, got one"
                    )
                else:
                    open_nodes.add(below)
                    stack.append((below, iter(self._nodes[below].operands)))
        return done

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
        values, known = as_tuple(op, "operands", operands), as_tuple(op, "types", types)
        node = Node(op, values, known, attrs, name, locations)
        self._require_operands(node)
        key = self._next
        self._next += 1
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
        self._require_value(old)
        self._require_value(new)
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
        if self.on_edit is not None:
            self.on_edit(self.edits[-1])

    def update(self, node: int, **changes: Any) -> None:
        """Change fields of a node's record in place: types, attributes, operands, locations."""
        self._require_key(node)
        unknown = changes.keys() - Node.__dataclass_fields__.keys()
        if unknown:
            raise ArgumentError(
                f"update: expected fields of a node, got {brief(sorted(unknown)[0])}"
            )
        self._set(node, replace(self._nodes[node], **changes))
        if self.on_edit is not None:
            self.on_edit(Edit("update", Value(node), Value(node)))

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
        other._ordered = self._ordered
        other.inputs = list(self.inputs)
        other.outputs = list(self.outputs)
        other.effects = list(self.effects)
        other.signature = self.signature
        other.captures = dict(self.captures)
        other.widenings = list(self.widenings)
        return other

    def note_widenings(self, found: Iterable[Any]) -> None:
        """Add to `widenings` what is not in it yet: one entry for each line and pair of dtypes."""
        self.widenings.extend(x for x in dict.fromkeys(found) if x not in self.widenings)

    def inline(
        self,
        body: Graph,
        arguments: Iterable[Value],
        relocate: Callable[[tuple[Location, ...]], tuple[Location, ...]] | None = None,
    ) -> list[Value]:
        """Add the nodes of `body` with its inputs bound to `arguments`, and its widenings; return
        its outputs here."""
        values = as_tuple("inline", "arguments", arguments)
        if not isinstance(body, Graph) or len(values) != len(body.inputs):
            count = len(body.inputs) if isinstance(body, Graph) else None
            raise ArgumentError(
                f"inline: expected a graph and a value for each of its inputs, got {brief(body)} "
                f"with {count} inputs and {len(values)} values"
            )
        for value in values:
            self._require_value(value)
        bound = dict(zip(body.inputs, values))
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
        self.note_widenings(body.widenings)
        return [mapping[value] for value in body.outputs]

    def _set(self, key: int, node: Node) -> None:
        old = self._nodes[key]
        if old.operands != node.operands:
            self._require_operands(node)
            self.nx.remove_edges_from([(v.node, key) for v in set(old.operands)])
            self._link(key, node)
            self._ordered = None
        self._nodes[key] = node

    def _link(self, key: int, node: Node) -> None:
        uses: dict[int, int] = {}
        for operand in node.operands:
            uses[operand.node] = uses.get(operand.node, 0) + 1
        self.nx.add_edges_from((source, key, {"uses": count}) for source, count in uses.items())

    # -- what must hold --------------------------------------------------------------------------

    def _holds(self, value: Value) -> bool:
        source = self._nodes.get(value.node)
        return source is not None and 0 <= value.result < len(source.types)

    def _require_key(self, key: object) -> None:
        if type(key) is not int or key not in self._nodes:
            raise ArgumentError(f"graph: expected the key of a node, got {brief(key)}")

    def _require_value(self, value: object) -> None:
        if not is_value(value) or not self._holds(value):  # type: ignore[arg-type]
            raise ArgumentError(f"graph: expected a value of the graph, got {brief(value)}")

    def _require_operands(self, node: Node) -> None:
        for operand in node.operands:
            if not self._holds(operand):
                raise ArgumentError(
                    f"{node.op}: expected operands that exist, got {tuple(operand)}"
                )

    def _require_fields(self) -> None:
        """Raise VerifyError unless inputs, effects and outputs are what the graph holds."""
        problem = graph_problem(vars(self))
        if problem is not None:
            raise VerifyError(f"graph: {problem}")
        for what, keys in (("inputs", self.inputs), ("effects", self.effects)):
            for key in keys:
                if key not in self._nodes:
                    raise VerifyError(f"graph: expected {what} that exist, got node {key}")
        for value in self.outputs:
            if not self._holds(value):
                raise VerifyError(f"return: expected values that exist, got {tuple(value)}")

    # -- text ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Graph({short(self.name)}, {how_many(len(self), 'node')})"

    def _repr_html_(self) -> str:
        """Its text in a notebook, with source lines and a drawing; bounded for large graphs."""
        return shown_html(self)

    def __str__(self) -> str:
        from .printer import print_graph  # the printer needs this module's types

        return print_graph(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        from .compare import equal  # compare is built on the printer

        return equal(self, other)

    __hash__ = None  # type: ignore[assignment]
