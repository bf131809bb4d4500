"""What batched graphs and functions are compared with: the same on each element, in a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.types import TensorType, dtype_of
from irgrad.ops.build import Expr
from irgrad.ops.record import Sample
from irgrad.ops.registry import REGISTRY, builder
from irgrad.transforms import jit

Arrays = list[np.ndarray]
Axis = int | None


def graph_of(
    function: Callable[..., Sequence[Expr] | Expr], arrays: Sequence[np.ndarray]
) -> Graph:
    """The graph of a function of expressions, with one input for each array."""
    graph = Graph("test")
    b = builder(graph)
    inputs = [b.wrap(graph.add_input(TensorType(dtype_of(x.dtype), x.shape))) for x in arrays]
    result = function(*inputs)
    graph.outputs = [x.value for x in ([result] if isinstance(result, Expr) else result)]
    return graph


def graph_of_sample(name: str, sample: Sample) -> Graph:
    """The graph that holds one node."""
    graph = Graph(name)
    b = builder(graph)
    types = [TensorType(dtype_of(x.dtype), x.shape) for x in sample.operands]
    results = b.emit(name, [b.wrap(graph.add_input(type_)) for type_ in types], **sample.attrs)
    graph.outputs = [x.value for x in results]
    if REGISTRY[name].effect:
        graph.effects.append(max(graph))
    return graph


def elements(rng: np.random.Generator, x: np.ndarray, size: int) -> Arrays:
    """`x`, then arrays of its values in another order, floats a little nearer to 0 each time."""
    found = [x]
    for _ in range(size - 1):
        mixed = rng.permutation(x.ravel()).reshape(x.shape)
        if x.dtype.kind == "f":
            mixed = np.asarray(mixed * 0.9 ** len(found), x.dtype)
        found.append(mixed)
    return found[:size]


def join(parts: Sequence[np.ndarray], axis: int, like: np.ndarray) -> np.ndarray:
    """The elements along a new axis; `like` has the type of one, should there be none."""
    if not parts:
        shape = list(like.shape)
        shape.insert(axis % (like.ndim + 1), 0)
        return np.empty(shape, like.dtype)
    return np.stack(parts, axis)


def element(arrays: Sequence[Arrays], axes: Sequence[Axis], position: int) -> Arrays:
    """The arguments of one element; those without an axis are the first for all."""
    return [x[0 if axis is None else position] for x, axis in zip(arrays, axes, strict=True)]


def loop(graph: Graph, arrays: Sequence[Arrays], axes: Sequence[Axis], size: int) -> list[Arrays]:
    """The outputs of a graph for each element, by output."""
    found = [interpret(graph, element(arrays, axes, i)) for i in range(size)]
    return [list(x) for x in zip(*found)] if found else [[] for _ in graph.outputs]


def assert_near(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal dtype and shape; equal values, but for the last digits of floats."""
    assert got.dtype == expected.dtype and got.shape == expected.shape
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected)
        return
    tolerance = 1e-5 if got.dtype == np.float32 else 1e-11
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def reference(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose traced and optimised graph is interpreted."""
    return jit(f, target="reference")
