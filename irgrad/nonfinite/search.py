"""The search for the operation that made a non-finite element of a result.

A graph is interpreted once and all of its values are kept. From the element the search goes back
to those elements of operands that it is not finite because of. That is found by trying, for any
op: non-finite elements are replaced by finite numbers, and the op is evaluated anew. An element
that stays NaN, or the infinity that it was, was made by the op itself. What no result depends on is
never reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..errors import LimitError
from ..interpret import graph_dims, input_names, interpret
from ..ir.dims import evaluate
from ..ir.graph import Graph, Node, Value
from ..ir.location import Location, merge
from ..ops.contract import free_axes
from ..ops.reduce import kept_axes
from ..ops.registry import REGISTRY
from ..passes.inline_calls import REGION_OF

MAX_BYTES = 2**31  # of all values of a graph that is searched
REPLACEMENTS = (0.5, 1.0, 2.0)  # together in the domain of every function
Index = tuple[int, ...]
Element = tuple[Value, Index]
Reading = tuple[Index, np.generic]


@dataclass(frozen=True, slots=True)
class Origin:
    """What made an element that is not finite.

    op: its name, or that of an argument. given: whether the element came from outside or stands in
    the program. index, value: of the element; type: of its array. readings: elements of operands
    that it was made of, with their indices. result: the element of the result, by leaf and index,
    that the search started from.
    """

    op: str
    given: bool
    index: Index
    value: np.generic
    type: str
    readings: tuple[Reading, ...]
    locations: tuple[Location, ...]


def is_inexact(array: np.ndarray) -> bool:
    """Whether the elements of an array can be NaN or infinite."""
    return array.dtype.kind in "fcV"  # bfloat16 is of kind V


def first_nonfinite(array: np.ndarray) -> Index | None:
    """The index of the first element in C order that is not finite."""
    if not is_inexact(array):
        return None
    flat = np.flatnonzero(~np.isfinite(array))
    return _unravel(int(flat[0]), array.shape) if flat.size else None


def extremes(array: np.ndarray) -> list[Reading]:
    """The smallest and the largest element with their indices, one where they are the same."""
    if not array.size or array.dtype.kind == "c":
        return []
    with np.errstate(invalid="ignore"):  # of NaN
        flat = dict.fromkeys((int(np.argmin(array)), int(np.argmax(array))))
    return [(_unravel(i, array.shape), array.reshape(-1)[i]) for i in flat]


def find_origin(
    graph: Graph, inputs: Sequence[np.ndarray], bad: Sequence[tuple[int, Index]]
) -> tuple[Origin, tuple[int, Index]] | None:
    """The first operation that made a result of a graph NaN or infinite, and such an element.

    inputs: for all inputs of the graph. bad: the leaf and the index of elements of results that
    were found. None where the interpreter gives finite results. Raises LimitError where the values
    of the graph need more than MAX_BYTES together, or do not fit in memory.
    """
    search = _Search(flattened(graph), inputs)
    starts = []
    for leaf, index in bad:
        array = search.values[search.graph.outputs[leaf]]
        at = index if not np.isfinite(array[index]) else first_nonfinite(array)
        if at is not None:
            starts.append((leaf, at))
    found = search.origins([(search.graph.outputs[leaf], at) for leaf, at in starts])
    if not found:
        return None
    (value, index), number = min(found.items(), key=lambda item: item[0][0].node)
    return search.describe(value, index), starts[number]


def flattened(graph: Graph) -> Graph:
    """The graph without its effects, calls of regions replaced by what they run.

    Keys follow the order of the trace, which is that of the program.
    """
    flat = Graph(graph.name)
    arguments = [
        flat.add_input(graph.type(Value(key)), _described(graph, key, name), graph[key].locations)
        for key, name in zip(graph.inputs, input_names(graph))
    ]
    flat.outputs = _copy_nodes(graph, flat, arguments, ())
    return flat


def _described(graph: Graph, key: int, name: str) -> str:
    """What an input is, in words."""
    nameless = name.startswith("argument ")
    if key in graph.captures:
        return "captured array" if nameless else f"captured array {name}"
    return name if nameless else f"argument {name}"


def _copy_nodes(
    graph: Graph, flat: Graph, arguments: Sequence[Value], call: tuple[Location, ...]
) -> list[Value]:
    """Add the nodes of a graph, each with its own lines first, then those of the call."""
    known = {Value(key): value for key, value in zip(graph.inputs, arguments)}
    for key in _trace_order(graph):
        node = graph[key]
        if node.op in ("input", "check"):
            continue
        operands = [known[value] for value in node.operands]
        lines = merge(node.locations, call)
        if node.op in REGION_OF:
            results = _copy_nodes(node.attribute(REGION_OF[node.op]), flat, operands, lines)
        else:
            new = flat.add(node.op, operands, node.types, node.attributes, node.name, lines)
            results = [Value(new, r) for r in range(len(node.types))]
        known.update((Value(key, r), value) for r, value in enumerate(results))
    return [known[value] for value in graph.outputs]


def _trace_order(graph: Graph) -> list[int]:
    """The nodes in the order they were recorded in, or in canonical order where edits changed it.
    """
    order = graph.order()
    recorded = sorted(order)
    ordered = all(v.node < key for key in recorded for v in graph[key].operands)
    return recorded if ordered else order


@dataclass(frozen=True, slots=True)
class _Near:
    """The part of a node's operands that one element of its results is computed from.

    starts: where each part begins in its operand; index: of the element among what they give.
    """

    parts: tuple[np.ndarray, ...]
    starts: tuple[Index, ...]
    index: Index

    def place(self, position: int, flat: int) -> Index:
        """The index in the operand of an element of its part."""
        inside = _unravel(flat, self.parts[position].shape)
        return tuple(a + b for a, b in zip(inside, self.starts[position], strict=True))


def _require_room(graph: Graph, dims: Mapping[str, int]) -> None:
    """Raise LimitError for a graph whose values are too large to keep them all."""
    types = [graph.type(Value(key, r)) for key in graph for r in range(len(graph[key].types))]
    total = sum(evaluate(type_.size, dims) * type_.dtype.itemsize for type_ in types)
    if total > MAX_BYTES:
        raise LimitError(f"{graph.name}: expected values of at most {MAX_BYTES} bytes, got {total}")


class _Regions:
    """What ops may ask of an interpreter; flattened graphs have no regions to run."""

    def __init__(self, graph: Graph, inputs: Sequence[np.ndarray]) -> None:
        self.dims: Mapping[str, int] = graph_dims(graph, inputs)

    def run(self, graph: Graph, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run a region on arrays."""
        return interpret(graph, arguments)


class _Search:
    """A graph with all its values."""

    def __init__(self, graph: Graph, inputs: Sequence[np.ndarray]) -> None:
        self.graph = graph
        self.values = dict(zip(map(Value, graph.inputs), inputs, strict=True))
        self._regions = _Regions(graph, inputs)
        _require_room(graph, self._regions.dims)

        def keep(key: int, results: Sequence[np.ndarray]) -> None:
            self.values.update((Value(key, r), array) for r, array in enumerate(results))

        interpret(graph, inputs, watch=keep)

    def origins(self, starts: Sequence[Element]) -> dict[Element, int]:
        """Where elements that are not finite come from, each with the number of its start.

        Ops that made one of finite operands, or NaN of infinities that were given; arguments and
        constants that hold NaN; where there are none of these, those that hold infinities.
        """
        made: dict[Element, int] = {}
        infinite: dict[Element, int] = {}
        stack = [(*start, number) for number, start in enumerate(starts)][::-1]
        seen: set[Value] = set()
        while stack:
            value, index, number = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            is_nan = bool(np.isnan(self.values[value][index]))
            if self._is_given(value):
                (made if is_nan else infinite)[value, index] = number
                continue
            blamed = self._blamed(value, index)
            turned = is_nan and not any(np.isnan(self.values[v][i]) for v, i in blamed)
            if turned or not blamed:
                made[value, index] = number
            stack += [(*element, number) for element in reversed(blamed)]
        return made or infinite

    def describe(self, value: Value, index: Index) -> Origin:
        """The record of an element where the search ended."""
        node = self.graph[value.node]
        array = self.values[value]
        op = node.name if node.op == "input" else node.op
        readings: list[Reading] = []
        if not self._is_given(value):
            near = self._near(node, value, index)
            for position, part in enumerate(near.parts):
                start = near.starts[position]
                readings += [
                    (tuple(a + b for a, b in zip(at, start)), x) for at, x in extremes(part)
                ]
        return Origin(
            op, self._is_given(value), index, array[index], str(self.graph.type(value)),
            tuple(readings), node.locations,
        )  # fmt: skip

    def _is_given(self, value: Value) -> bool:
        return self.graph[value.node].op in ("input", "constant")

    # -- one node --------------------------------------------------------------------------------

    def _blamed(self, value: Value, index: Index) -> list[Element]:
        """The elements of operands that make an element non-finite; none where the op does it."""
        node = self.graph[value.node]
        near = self._near(node, value, index)
        bad = {
            position: np.flatnonzero(~np.isfinite(part))
            for position, part in enumerate(near.parts)
            if is_inexact(part)
        }
        bad = {position: flat for position, flat in bad.items() if flat.size}
        found_kind = _kind(self.values[value][index])
        kind = partial(self._kind_with, node, value.result, near, bad)
        kinds = {kind(x, {}): x for x in REPLACEMENTS[::-1]} if bad else {}
        harmless = kinds.get("finite", next((x for k, x in kinds.items() if k != found_kind), None))
        if harmless is None:
            return []
        found: list[Element] = []
        for position, flat in bad.items():
            if kind(harmless, {position: flat}) != found_kind:
                continue  # alone it does no harm
            while flat.size > 1:
                half = len(flat) // 2
                left, right = flat[:half], flat[half:]
                if kind(harmless, {position: left}) == found_kind:
                    flat = left
                elif kind(harmless, {position: right}) == found_kind:
                    flat = right
                else:
                    break  # they do it together
            found.append((node.operands[position], near.place(position, int(flat[0]))))
        together = [(node.operands[p], near.place(p, int(flat[0]))) for p, flat in bad.items()]
        return found or together

    def _kind_with(
        self,
        node: Node,
        result: int,
        near: _Near,
        bad: dict[int, np.ndarray],
        replacement: float,
        left: dict[int, np.ndarray],
    ) -> str:
        """What the element is with the bad elements replaced, but for some that are left alone."""
        parts = list(near.parts)
        for position, flat in bad.items():
            part = np.array(parts[position], order="C")
            part.reshape(-1)[flat] = replacement
            if position in left:
                kept = left[position]
                part.reshape(-1)[kept] = near.parts[position].reshape(-1)[kept]
            parts[position] = part
        with np.errstate(all="ignore"):
            results = REGISTRY[node.op].evaluate(parts, dict(node.attributes), self._regions)
        return _kind(results[result][near.index])

    def _near(self, node: Node, value: Value, index: Index) -> _Near:
        """Operands cut down to what the element needs; whole where the op says no more."""
        operands = [self.values[operand] for operand in node.operands]
        shape = self.values[value].shape
        attrs = dict(node.attributes)
        family = REGISTRY[node.op].family
        if family == "elementwise" and all(x.shape == shape for x in operands):
            wanted = [dict(enumerate(index)) for _ in operands]
        elif family == "reduce" and "axes" in attrs:
            wanted = [dict(zip(kept_axes(operands[0].ndim, attrs["axes"]), index, strict=True))]
        elif family == "contract":
            wanted = _dot_axes(attrs, operands, index)
        else:
            starts = tuple((0,) * x.ndim for x in operands)
            return _Near(tuple(operands), starts, index)
        parts = tuple(
            x[tuple(slice(at[i], at[i] + 1) if i in at else slice(None) for i in range(x.ndim))]
            for x, at in zip(operands, wanted, strict=True)
        )
        starts = tuple(
            tuple(at.get(i, 0) for i in range(x.ndim)) for x, at in zip(operands, wanted)
        )
        return _Near(parts, starts, (0,) * len(index))


def _kind(value: np.generic) -> str:
    """Whether a number is finite, NaN, or which infinity."""
    return "finite" if np.isfinite(value) else str(value)


def _dot_axes(
    attrs: dict[str, Iterable[int]], operands: Sequence[np.ndarray], index: Index
) -> list[dict[int, int]]:
    """The axes of each operand of a contraction that an index of its result fixes."""
    sides: list[dict[int, int]] = []
    taken = len(tuple(attrs["lhs_batch"]))
    for side, x in zip(("lhs", "rhs"), operands, strict=True):
        batch = tuple(attrs[f"{side}_batch"])
        free = free_axes(x.ndim, batch, tuple(attrs[f"{side}_contract"]))
        fixed = dict(zip(batch, index)) | dict(zip(free, index[taken : taken + len(free)]))
        taken += len(free)
        sides.append(fixed)
    return sides


def _unravel(flat: int, shape: Sequence[int]) -> Index:
    return tuple(int(i) for i in np.unravel_index(flat, tuple(shape)))
