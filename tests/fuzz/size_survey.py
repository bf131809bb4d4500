"""Random graphs with named sizes, compiled once and called at many sizes, against the interpreter.

`python tests/fuzz/size_survey.py FIRST LAST` goes through the seeds and prints what differs; with
`--gradients` it compiles the gradients of their first scalar results in place of the graphs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import optree

import irgrad as ig
from irgrad.autodiff import gradient_graph
from irgrad.errors import IrgradError
from irgrad.ir.dims import evaluate
from irgrad.ir.graph import Graph, Value
from irgrad.ir.signature import flat_signature
from irgrad.ops.size_guards import named_sizes
from irgrad.testing.bounds import condition_bound, within
from irgrad.testing.random_graphs import random_graph

SIZES = (0, 1, 2, 3, 5, 8, 17, 33, 64, 70)
MAX_ELEMENTS = 300_000  # of a value, which the interpreter has to compute several times


@dataclass(slots=True)
class Survey:
    """What was found: graphs and calls, calls that both refuse, and a line for each difference."""

    graphs: int = 0
    calls: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)


def survey(seeds: Sequence[int], gradients: bool = False) -> Survey:
    """Compile the graphs of some seeds that have named sizes and compare their calls."""
    found = Survey()
    for seed in seeds:
        drawn = random_graph(seed)
        graph = gradient_of_first(drawn.graph) if gradients and drawn.dims else drawn.graph
        if drawn.dims and graph is not None:
            found.graphs += 1
            compare_calls(seed, graph, drawn.arguments, found)
    return found


def gradient_of_first(graph: Graph) -> Graph | None:
    """The gradient of the first float scalar that a graph gives by its float inputs; None where
    there is none."""
    for output in graph.outputs:
        type_ = graph.type(output)
        if type_.shape == () and type_.dtype.is_float:
            alone = graph.copy()
            alone.outputs, alone.signature = [output], flat_signature(len(graph.inputs), 1)
            alone.prune()
            floats = [graph.type(Value(key)).dtype.is_float for key in graph.inputs]
            return gradient_graph(alone, [i for i, is_float in enumerate(floats) if is_float])
    return None


def compare_calls(seed: int, graph: Graph, drawn: Sequence[np.ndarray], found: Survey) -> None:
    compiled = ig.compile(graph)
    count = len(graph.inputs) - len(graph.captures)
    for dims in _choices(graph):
        arguments = _resized(graph, drawn, dims)
        where = f"seed {seed}, {dims}"
        expected = None
        try:
            expected, bounds = condition_bound(graph, arguments)
        except IrgradError as error:
            refusal = error
        try:
            got = optree.tree_leaves(compiled(*[x.copy() for x in arguments[:count]]))
        except IrgradError as error:
            if expected is None and type(error) is type(refusal):
                found.refused += 1
            else:
                found.faults.append(f"{where}: refused: {error}")
            continue
        if expected is None:
            found.faults.append(f"{where}: not refused: {refusal}")
            continue
        found.calls += 1
        for i, (a, b, bound) in enumerate(zip(expected, got, bounds, strict=True)):
            if a.shape != b.shape or not within(a, b, bound):
                found.faults.append(f"{where}: result {i}: expected {a}, got {b}")


def _choices(graph: Graph) -> Iterator[dict[str, int]]:
    """Numbers for the named sizes for which the graph's arrays exist and are not large."""
    for size in SIZES:
        dims = {name: (size + 3 * i) % 71 for i, name in enumerate(named_sizes(graph))}
        shapes = [_shape(graph, key, dims) for key in graph.inputs]
        everything = (
            math.prod(max(evaluate(size, dims), 1) for size in type_.shape)
            for key in graph for type_ in graph[key].types if type_ is not None
        )
        if min(map(min, filter(None, shapes)), default=0) >= 0 and (
            max(everything, default=0) <= MAX_ELEMENTS
        ):
            yield dims


def _shape(graph: Graph, key: int, dims: dict[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(size, dims) for size in graph.type(Value(key)).shape)


def _resized(
    graph: Graph, drawn: Sequence[np.ndarray], dims: dict[str, int]
) -> list[np.ndarray]:
    """Arrays of the sizes that repeat the values of those drawn."""
    return [
        np.resize(x.reshape(-1) if x.size else np.ones(1, x.dtype), _shape(graph, key, dims))
        for x, key in zip(drawn, graph.inputs, strict=True)
    ]


def main() -> None:
    """Survey the seeds of the command line."""
    found = survey(range(*map(int, sys.argv[1:3])), "--gradients" in sys.argv[3:])
    print("\n".join(found.faults))
    print(
        f"{found.graphs} graphs, {found.calls} calls within the bound or listed above, "
        f"{found.refused} refused by both"
    )
    sys.exit(bool(found.faults))


if __name__ == "__main__":
    main()
