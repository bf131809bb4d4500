"""Checks of derivative graphs against differences and against one another, on random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from irgrad.autodiff import jvp_graph, split_graph, transpose_graph, vjp_graph
from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.types import TensorType, dtype_of
from irgrad.ir.verify import verify
from irgrad.ops.build import Expr
from irgrad.ops.registry import REGISTRY, builder

Arrays = list[np.ndarray]


def make_graph(
    function: Callable[..., Sequence[Expr] | Expr], arrays: Sequence[np.ndarray]
) -> Graph:
    """The graph of a function of expressions, with one input for each array."""
    graph = Graph("test")
    b = builder(graph)
    types = [TensorType(dtype_of(x.dtype), x.shape) for x in arrays]
    result = function(*[b.wrap(graph.add_input(type_)) for type_ in types])
    outputs = [result] if isinstance(result, Expr) else list(result)
    graph.outputs = [x.value for x in outputs]
    return graph


def floats(arrays: Sequence[np.ndarray]) -> list[int]:
    """The positions of the float arrays."""
    return [i for i, x in enumerate(arrays) if x.dtype.kind == "f"]


def random_like(rng: np.random.Generator, arrays: Sequence[np.ndarray]) -> Arrays:
    return [rng.uniform(-1, 1, x.shape).astype(x.dtype) for x in arrays]


def dot(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float:
    pairs = zip(left, right, strict=True)
    return float(sum(np.sum(a.astype("f8") * b.astype("f8")) for a, b in pairs))


def differences(graph: Graph, arrays: Arrays, direction: Arrays, step: float = 1e-5) -> Arrays:
    """Central differences of the float outputs, of fourth order in the step."""

    def moved(scale: float) -> Arrays:
        at = list(arrays)
        for position, d in zip(floats(arrays), direction, strict=True):
            at[position] = arrays[position] + scale * step * d
        return [x for x in interpret(graph, at) if x.dtype.kind == "f"]

    parts = zip(moved(1), moved(-1), moved(2), moved(-2))
    return [(8 * (a - b) - (c - d)) / (12 * step) for a, b, c, d in parts]


def assert_derivatives(
    graph: Graph, arrays: Arrays, rng: np.random.Generator
) -> tuple[Graph, Arrays]:
    """Compare all derivatives of a float64 graph; returns its vjp graph and arrays to run that on.

    jvp with differences; vjp with jvp by the dot test; the split function and its transpose with
    both. All graphs are verified, the linear part at level "linear".
    """
    active = floats(arrays)
    direction = random_like(rng, [arrays[i] for i in active])
    count = len(graph.outputs)
    jvp = jvp_graph(graph, active)
    verify(jvp, "traced", REGISTRY)
    moved = interpret(jvp, [*arrays, *direction])
    outputs, tangents = moved[:count], moved[count:]
    for tangent, expected in zip(tangents, differences(graph, arrays, direction), strict=True):
        np.testing.assert_allclose(tangent, expected, rtol=2e-6, atol=2e-7)
    cotangents = random_like(rng, tangents)
    vjp = vjp_graph(graph, active)
    verify(vjp, "traced", REGISTRY)
    pulled = interpret(vjp, [*arrays, *cotangents])[count:]
    np.testing.assert_allclose(dot(tangents, cotangents), dot(direction, pulled), 1e-9, 1e-11)
    split = split_graph(graph, active)
    verify(split.forward, "traced", REGISTRY)
    forward = interpret(split.forward, arrays)
    for a, b in zip(forward, outputs):
        np.testing.assert_array_equal(a, b)
    residuals = forward[count:]
    for a, b in zip(interpret(split.linear, [*residuals, *direction]), tangents, strict=True):
        np.testing.assert_allclose(a, b, 1e-12)
    last = len(split.linear.inputs)
    verify(split.linear, "linear", REGISTRY, range(split.residuals, last))
    transposed = transpose_graph(split.linear, range(split.residuals, last))
    verify(transposed, "linear", REGISTRY, range(split.residuals, len(transposed.inputs)))
    for a, b in zip(interpret(transposed, [*residuals, *cotangents]), pulled, strict=True):
        np.testing.assert_allclose(a, b, 1e-12)
    return vjp, [*arrays, *cotangents]
