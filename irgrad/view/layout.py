"""Where the nodes of a graph are drawn: in layers, edges downwards, with few crossings.

Layers are the longest paths from the sources. Edges over several layers pass through a bend in each
layer between. The order within a layer is found by barycentres, the coordinates by isotonic
regression: as near as possible to the mean of the neighbours at the least distance from each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import networkx as nx

BEND_WIDTH = 10
GAP = 18
SWEEPS = 12

Point = tuple[float, float]


class Bend(NamedTuple):
    """Where an edge passes through a layer."""

    source: int
    target: int
    layer: int


Vertex = int | Bend


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of nodes and bends of edges; y counts layers."""

    positions: Mapping[int, Point]
    routes: Mapping[tuple[int, int], tuple[Point, ...]]
    width: float
    layers: int


def count_bends(keys: Iterable[int], edges: Sequence[tuple[int, int]]) -> int:
    """How many bends the edges of a graph take: what a layout costs."""
    layer = _layers(keys, edges)
    return sum(layer[b] - layer[a] - 1 for a, b in edges)


def arrange(widths: Mapping[int, float], edges: Sequence[tuple[int, int]]) -> Layout:
    """The layout of an acyclic graph: widths of its nodes by key, and its edges, each once."""
    layer = _layers(widths, edges)
    bends = {
        (a, b): [Bend(a, b, y) for y in range(layer[a] + 1, layer[b])] for a, b in edges
    }
    sizes: dict[Vertex, float] = {}
    sizes.update((key, width) for key, width in widths.items())
    below: dict[Vertex, list[Vertex]] = {}
    above: dict[Vertex, list[Vertex]] = {}
    rows: list[list[Vertex]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for key in widths:
        rows[layer[key]].append(key)
    for (source, target), between in bends.items():
        for bend in between:
            sizes[bend] = BEND_WIDTH
            rows[bend.layer].append(bend)
        chain: list[Vertex] = [source, *between, target]
        for a, b in zip(chain, chain[1:]):
            below.setdefault(a, []).append(b)
            above.setdefault(b, []).append(a)
    _order(rows, above, below)
    x = _coordinates(rows, sizes, above, below)
    left = min((x[v] - sizes[v] / 2 for v in x), default=0.0)
    place = {v: (x[v] - left, float(y)) for y, row in enumerate(rows) for v in row}
    width = max((place[v][0] + sizes[v] / 2 for v in place), default=0.0)
    return Layout(
        {key: place[key] for key in widths},
        {edge: tuple(place[bend] for bend in between) for edge, between in bends.items()},
        width,
        len(rows),
    )


def _layers(keys: Iterable[int], edges: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The layer of each node: as high as its operands let it, then down to its first reader where
    that makes no more edges longer than shorter."""
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(keys)
    graph.add_edges_from(edges)
    rows = list(nx.topological_generations(graph))
    layer = {key: y for y, row in enumerate(rows) for key in row}
    follows = {key for key in graph if graph.in_degree(key) == 0 and graph.out_degree(key) == 1}
    for key in [key for row in reversed(rows) for key in row]:
        readers = [layer[user] for user in graph.successors(key)]
        longer = sum(operand not in follows for operand in graph.predecessors(key))
        if readers and len(readers) >= longer:
            layer[key] = min(readers) - 1
    return layer


def _order(
    rows: list[list[Vertex]],
    above: Mapping[Vertex, Sequence[Vertex]],
    below: Mapping[Vertex, Sequence[Vertex]],
) -> None:
    """Sort each row by the mean place of its neighbours, downwards and upwards in turn."""
    place = {v: float(i) for row in rows for i, v in enumerate(row)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near = above if down else below
        for row in rows if down else reversed(rows):
            mean = {
                v: sum(place[u] for u in near[v]) / len(near[v]) if near.get(v) else place[v]
                for v in row
            }
            row.sort(key=mean.__getitem__)
            place.update((v, float(i)) for i, v in enumerate(row))


def _coordinates(
    rows: Sequence[Sequence[Vertex]],
    sizes: Mapping[Vertex, float],
    above: Mapping[Vertex, Sequence[Vertex]],
    below: Mapping[Vertex, Sequence[Vertex]],
) -> dict[Vertex, float]:
    """The centre of each vertex, pulled towards its neighbours."""
    x: dict[Vertex, float] = {}
    offsets: list[list[float]] = []
    for row in rows:
        at, places = 0.0, []
        for i, v in enumerate(row):
            at += (sizes[row[i - 1]] + sizes[v]) / 2 + GAP if i else 0.0
            places.append(at)
        offsets.append(places)
        x.update((v, p - at / 2) for v, p in zip(row, places))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for y in range(len(rows)) if down else range(len(rows) - 1, -1, -1):
            wanted = []
            for v in rows[y]:
                near = [*above.get(v, ()), *below.get(v, ())] if sweep > SWEEPS // 2 else (
                    above.get(v, ()) if down else below.get(v, ())
                )
                wanted.append(sum(x[u] for u in near) / len(near) if near else x[v])
            placed = _isotonic([w - p for w, p in zip(wanted, offsets[y])])
            x.update((v, s + p) for v, s, p in zip(rows[y], placed, offsets[y]))
    return x


def _isotonic(values: Sequence[float]) -> list[float]:
    """The nearest sequence that never falls (least squares, pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        total, count = value, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before, size = pools.pop()
            total, count = total + before, count + size
        pools.append((total, count))
    return [total / count for total, count in pools for _ in range(count)]
