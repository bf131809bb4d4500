"""Random graphs through the native kernels, many programs in one module."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from graph_survey import check_inputs_kept, compare

from irgrad.backends.numba_cpu import compile_code
from irgrad.ir.graph import Graph
from irgrad.ir.types import DTYPES
from irgrad.kernel.instantiate import instantiate
from irgrad.kernel.program import Program
from irgrad.kernel.verify import verify_kernel
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.bounds import condition_bound
from irgrad.testing.programs import FILL, collect_results, join_programs
from irgrad.testing.random_graphs import RandomGraph, random_graph

ALIGNMENT = 64
CONTEXT_WORDS = 8


@dataclass(frozen=True)
class Case:
    """A random graph with its program, the interpreter's results and their bounds."""

    drawn: RandomGraph
    program: Program
    exact: list[np.ndarray]
    bounds: list[np.ndarray]


def prepared(drawn: RandomGraph) -> Case:
    exact, bounds = condition_bound(drawn.graph, drawn.arguments)
    work: Graph = drawn.graph.copy()
    for step in pipeline("exact" if drawn.special else "stable"):
        step.apply(work)
    return Case(drawn, instantiate(lower(work), drawn.dims), exact, bounds)


def run_native(
    program: Program, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> int:
    """Compile a program, run it on flat arrays, and return the status of its checks."""
    code = compile_code(program)
    arena = np.full(code.arena_bytes + ALIGNMENT, FILL, np.uint8)
    start = -(-arena.ctypes.data // ALIGNMENT) * ALIGNMENT
    addresses = [array.ctypes.data for array in (*inputs, *outputs)]
    buffers = (ctypes.c_void_p * len(addresses))(*addresses)
    context = (ctypes.c_int64 * CONTEXT_WORDS)()
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, *(ctypes.c_void_p,) * 4)(code.address)
    entry(ctypes.addressof(context), None, ctypes.addressof(buffers), start)
    return context[0]


def check_natively(cases: Sequence[Case]) -> None:
    """Compile all programs into one module and compare every result with the interpreter's."""
    joined, places = join_programs([case.program for case in cases])
    for kernel in joined.kernels:
        verify_kernel(kernel)
    flat = [np.array(a, order="C").reshape(-1) for c in cases for a in c.drawn.arguments]
    outputs = [np.empty(count, DTYPES[dtype].numpy) for dtype, count in joined.outputs]
    assert run_native(joined, flat, outputs) == 0
    for case, place in zip(cases, places):
        graph, arguments = case.drawn.graph, case.drawn.arguments
        inputs = flat[place.input : place.input + len(arguments)]
        own = outputs[place.output : place.output + len(case.program.outputs)]
        got = collect_results(case.program, inputs, own)
        compare(f"seed {case.drawn.seed}", case.exact, got, case.bounds)
        after = [x.reshape(a.shape) for x, a in zip(inputs, arguments)]
        check_inputs_kept(graph, arguments, after)


@pytest.mark.parametrize("first", [0, 75, 150])
def test_random_graphs_natively(first: int) -> None:
    check_natively([prepared(random_graph(seed)) for seed in range(first, first + 75)])


def test_fusion_natively() -> None:
    """Graphs that are all about fusion: related shapes, reductions, contractions."""
    check_natively([prepared(random_graph(seed, style="fusion")) for seed in range(10_000, 10_040)])
