"""Graphs taken through the pipeline to planned programs, and run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from irgrad.autodiff import gradient_graph
from irgrad.ir.graph import Graph, Value
from irgrad.ir.signature import flat_signature
from irgrad.ir.spec import parse_type
from irgrad.ir.types import TensorType
from irgrad.kernel.program import Program
from irgrad.kernel.verify import verify_kernel
from irgrad.ops.build import Expr
from irgrad.ops.check import verify
from irgrad.ops.contract import dot_general
from irgrad.ops.registry import builder
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.bounds import condition_bound, within
from irgrad.testing.programs import Outcome, run_program
from irgrad.tracing.trace import trace


@dataclass(frozen=True)
class Fused:
    """A graph, the same one fused, and its program."""

    graph: Graph
    fused: Graph
    program: Program

    def kernels(self) -> list[str]:
        """The names of the kernels in order of call, without their numbers."""
        names = [self.program.kernels[call.kernel].name for call in self.program.calls]
        return [name.partition("_")[2] for name in names]

    def regions(self) -> list[set[str]]:
        """The ops inside of each fused node, in order."""
        fused = self.fused
        bodies = [fused[k].attribute("body") for k in fused.order() if fused[k].op == "fused"]
        return [{body[key].op for key in body} - {"input"} for body in bodies]


def graph_of(
    inputs: str,
    build: Callable[..., Expr | tuple[Expr, ...]],
    donated: Collection[int] = (),
) -> Graph:
    """The graph of a function of expressions; inputs: their types, separated by spaces."""
    graph = Graph()
    b = builder(graph)
    arguments = [
        b.wrap(graph.add_input(parse_type(text), name))
        for text, name in zip(inputs.split(), "abcdefgh")
    ]
    made = build(*arguments)
    graph.outputs = [x.value for x in (made if isinstance(made, tuple) else (made,))]
    signature = flat_signature(len(arguments), len(graph.outputs))
    graph.signature = replace(signature, donated=frozenset(donated))
    return graph


def fuse(graph: Graph, numerics: str = "stable") -> Fused:
    """Run the pipeline on a copy, verify, lower, and verify the kernels."""
    work = graph.copy()
    for step in pipeline(numerics):
        step.apply(work)
    verify(work, "fused")
    program = lower(work)
    for kernel in program.kernels:
        verify_kernel(kernel)
    return Fused(graph, work, program)


def traced(function: Callable[..., object], *arguments: np.ndarray) -> Fused:
    """A function of arrays, traced and fused."""
    return fuse(trace(function, *arguments))


def gradient(
    function: Callable[..., object], wrt: Sequence[int], *arguments: np.ndarray
) -> Fused:
    """Value and gradients of a function of arrays, traced and fused as one graph."""
    return fuse(gradient_graph(trace(function, *arguments), list(wrt)))


def random_arguments(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Normal numbers, small integers, and bools."""
    rng = np.random.default_rng(seed)

    def draw(type_: TensorType) -> np.ndarray:
        shape = tuple(int(size) for size in type_.shape)  # type: ignore[arg-type]
        if type_.dtype.kind == "b":
            return np.asarray(rng.random(shape) < 0.5)
        if type_.dtype.is_integer:
            return np.asarray(rng.integers(-5, 6, shape), type_.dtype.numpy)
        return np.asarray(rng.standard_normal(shape), type_.dtype.numpy)

    return [draw(graph.type(Value(key))) for key in graph.inputs]


def check_values(found: Fused, arguments: Sequence[np.ndarray] | None = None) -> Outcome:
    """Assert that the program's results are the interpreter's, and undonated inputs unchanged."""
    given = random_arguments(found.graph) if arguments is None else list(arguments)
    exact, bounds = condition_bound(found.graph, given)
    outcome = run_program(found.program, given)
    for i, (a, b, bound) in enumerate(zip(exact, outcome.results, bounds, strict=True)):
        assert within(a, b, bound), f"output {i}: expected {a}, got {b}"
    for i, (before, after) in enumerate(zip(given, outcome.inputs)):
        if i not in found.graph.signature.donated:
            np.testing.assert_array_equal(before, after)
    return outcome


def bc(x: Expr, shape: Sequence[int], *dims: int) -> Expr:
    return x.builder.broadcast(x, tuple(shape), dims)


def total(x: Expr, *axes: int) -> Expr:
    return x.op("reduce_sum", axes=axes)


def flipped(x: Expr) -> Expr:
    """A matrix transposed."""
    return x.op("transpose", permutation=(1, 0))


def matmul(x: Expr, y: Expr) -> Expr:
    return dot_general(x, y, ((x.type.rank - 1,), (0,)))
