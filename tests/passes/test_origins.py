"""Every kernel names the source lines that it computes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad import nn
from irgrad.ir.graph import Graph, Value
from irgrad.ir.location import Location
from irgrad.ir.parser import parse
from irgrad.ir.types import TensorType, dtype_of
from irgrad.kernel.program import Program
from irgrad.ops.registry import REGISTRY, builder
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.random_graphs import random_graph

SEEDS = 150
HERE = inspect.getfile(inspect.currentframe())  # type: ignore[arg-type]


def lowered(graph: Graph) -> Program:
    work = graph.copy()
    run_passes(work, pipeline())
    return lower(work)


def locations(graph: Graph) -> Iterator[Location]:
    """All lines of a graph and of the graphs inside of it."""
    for key in graph:
        yield from graph[key].locations
        for _, value in graph[key].attributes:
            if isinstance(value, Graph):
                yield from locations(value)


def check_origins(graph: Graph) -> int:
    """Each kernel and each call has lines, all of them of the graph. Gives how many kernels."""
    program = lowered(graph)
    known = {(x.file, x.line) for x in locations(graph)}
    for origin in (*(k.origin for k in program.kernels), *(c.origin for c in program.calls)):
        assert origin
        assert {(x.file, x.line) for x in origin} <= known
    for number, kernel in enumerate(program.kernels):
        own = {x for call in program.calls if call.kernel == number for x in call.origin}
        assert own == set(kernel.origin)
    return len(program.kernels)


def test_kernels_of_random_graphs_have_lines() -> None:
    kernels = 0
    for seed in range(SEEDS):
        graph = parse(str(random_graph(seed).graph))  # parsed nodes have the lines of the text
        kernels += check_origins(graph)
    assert kernels > 5 * SEEDS


@pytest.mark.parametrize("name", [name for name in REGISTRY if name != "fused"])
def test_kernels_of_each_op_have_lines(name: str) -> None:
    here = (Location("model.py", 7, "step"),)
    for sample in REGISTRY[name].samples(np.random.default_rng(3)):
        graph = Graph(name)
        b = builder(graph, here)
        operands = [
            b.wrap(graph.add_input(TensorType(dtype_of(x.dtype), x.shape), "", here))
            for x in sample.operands
        ]
        results = b.emit(name, operands, **sample.attrs)
        graph.outputs = [x.value for x in results] or [Value(graph.inputs[0])]
        if REGISTRY[name].effect:
            graph.effects.append(max(graph))
        check_origins(graph)


# -- programs --------------------------------------------------------------------------------------


def loss(w: Any, x: Any, labels: Any) -> Any:
    hidden = inp.tanh(x @ w["a"])
    return nn.cross_entropy(hidden @ w["b"], labels)


SPECS = ({"a": "f32[6,5]", "b": "f32[5,3]"}, "f32[4,6]", "i64[4]")


def lines_of(function: Any) -> range:
    source, first = inspect.getsourcelines(function)
    return range(first, first + len(source))


def test_gradients_say_so() -> None:
    forward = ig.trace(loss, *SPECS)
    both = ig.trace(ig.value_and_grad(loss), *SPECS)
    assert check_origins(forward) < check_origins(both)
    roles = {x.role for kernel in lowered(forward).kernels for x in kernel.origin}
    assert roles == {""}
    origins = [kernel.origin for kernel in lowered(both).kernels]
    own = [x for origin in origins for x in origin if x.line in lines_of(loss)]
    assert {x.role for x in own} == {"", "gradient of"}
    backward = [origin for origin in origins if any(x.role == "gradient of" for x in origin)]
    assert len(backward) > 2
    products = {x.line for origin in backward for x in origin}
    assert lines_of(loss)[1] in products and lines_of(loss)[2] in products
    gradient_only = ig.trace(ig.grad(lambda x: (inp.sin(x) * inp.exp(x)).sum()), "f64[7]")
    for kernel in lowered(gradient_only).kernels:
        assert any(x.role == "gradient of" for x in kernel.origin)


def test_equal_kernels_are_one_and_keep_their_lines() -> None:
    def products(x: Any, y: Any) -> Any:
        first = x @ x
        second = y @ y
        return first, second

    lines = lines_of(products)
    graph = ig.trace(products, "f64[4,4]", "f64[4,4]")
    check_origins(graph)
    program = lowered(graph)
    assert len(program.kernels) == 1
    assert [call.kernel for call in program.calls] == [0, 0]
    assert [[x.line for x in call.origin] for call in program.calls] == [[lines[1]], [lines[2]]]
    assert [x.line for x in program.kernels[0].origin] == [lines[1], lines[2]]
    assert all(x.file == HERE for x in program.kernels[0].origin)


def test_results_that_are_copied_have_lines() -> None:
    def again(x: Any) -> Any:
        y = inp.exp(x)
        return y, y, x.reshape(2, 3), y

    program = lowered(ig.trace(again, "f32[6]"))
    copies = [kernel for kernel in program.kernels if kernel.name.endswith("copy")]
    assert copies
    check_origins(ig.trace(again, "f32[6]"))


def test_compiled_functions_tell_the_lines_of_each_call() -> None:
    def products(x: Any, y: Any) -> Any:
        first = x @ x
        return first, y @ y

    compiled = ig.compile(products, "f64[4,4]", "f64[4,4]")
    (kernel,) = compiled.kernels
    lines = lines_of(products)
    assert [[x.line for x in origin] for origin in kernel.origins] == [[lines[1]], [lines[2]]]
    assert [x.line for x in kernel.origin] == [lines[1], lines[2]]
    assert kernel.calls == 2
    other = ig.compile(lambda x, y: (x @ x, y @ y), "f64[4,4]", "f64[4,4]")
    assert other.cache_info().origin == "memory"
    assert {x.line for x in other.kernels[0].origin}.isdisjoint(lines)
