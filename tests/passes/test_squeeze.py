"""Axes of size 1 leave elementwise ops and reductions, exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fused_programs import bc, check_values, fuse, graph_of, random_arguments, total

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph, Value
from irgrad.ops.build import Expr
from irgrad.ops.check import verify
from irgrad.ops.registry import REGISTRY
from irgrad.passes.merge_common import MergeCommon
from irgrad.passes.simplify import Simplify
from irgrad.passes.squeeze import Squeeze


def squeezed(graph: Graph) -> Graph:
    """The graph after the pass; results keep their types and bits."""
    work = graph.copy()
    Squeeze().apply(work)
    verify(work, "optimised")
    arrays = random_arguments(graph)
    for before, after in zip(interpret(graph, arrays), interpret(work, arrays), strict=True):
        np.testing.assert_array_equal(before, after)
    for old, new in zip(graph.outputs, work.outputs, strict=True):
        assert graph.type(old) == work.type(new)
    return work


def shapes(graph: Graph) -> dict[str, tuple]:
    """The shape of the first operand of each elementwise op and reduction."""
    return {
        graph[key].op: graph.type(graph[key].operands[0]).shape
        for key in graph.order()
        if graph[key].op != "input" and REGISTRY[graph[key].op].family in ("elementwise", "reduce")
    }


@pytest.mark.parametrize(
    "inputs, build, expected",
    [
        ("f64[3,1]", lambda a: a.op("exp"), {"exp": (3,)}),
        ("f64[1,1]", lambda a: a.op("exp"), {"exp": ()}),
        ("f64[1,3,1,4]", lambda a: a * a, {"mul": (3, 4)}),
        ("f64[3,1]", lambda a: a + 2, {"add": (3,)}),
        ("bool[1,3] f64[1,3] f64[1,3]", lambda a, b, c: a.op("select", b, c), {"select": (3,)}),
        ("f64[3,1,4]", lambda a: total(a, 1, 2), {"reduce_sum": (3, 4)}),
        ("f64[3,1,4]", lambda a: total(a, 1), {"reduce_sum": (3, 4)}),
        ("f64[1,4]", lambda a: a.op("argmax", axis=1), {"argmax": (4,)}),
        ("f64[3,4]", lambda a: a.op("exp"), {"exp": (3, 4)}),
        ("f64[0,1]", lambda a: a.op("exp"), {"exp": (0,)}),
    ],
)  # fmt: skip
def test_ops_compute_without_ones(
    inputs: str, build: Callable[..., Expr], expected: dict[str, tuple]
) -> None:
    assert shapes(squeezed(graph_of(inputs, build))) == expected


def test_a_search_along_an_axis_of_one_stays() -> None:
    """Its answer is 0 everywhere, for the shape that it has."""
    work = squeezed(graph_of("f64[4,1]", lambda a: a.op("argmin", axis=1)))
    assert shapes(work) == {"argmin": (4, 1)}


def test_a_chain_keeps_one_reshape_at_each_end() -> None:
    def build(x: Expr) -> Expr:
        for _ in range(5):
            x = (x.op("tanh") * x + 1).op("exp").op("sin")
        return x

    work = squeezed(graph_of("f64[3,1]", build))
    MergeCommon().apply(work)
    Simplify().apply(work)
    assert [work[key].op for key in work.order()].count("reshape") == 2


def test_kept_and_dropped_axes_meet() -> None:
    """sum(keepdims) and sum, which differ by an axis of 1, become one value."""

    def build(x: Expr) -> tuple[Expr, Expr]:
        kept = bc(total(x, 1), (4, 1), 0)
        return x / bc(kept.op("exp"), (4, 6), 0, 1), total(x, 1).op("exp")

    found = fuse(graph_of("f64[4,6]", build))
    assert len(found.kernels()) == 1
    (ops,) = found.regions()
    assert ops >= {"reduce_sum", "exp", "div"}
    check_values(found)


def test_named_sizes_that_may_be_one_stay() -> None:
    work = graph_of("f64[n,1]", lambda a: a.op("exp"))
    Squeeze().apply(work)
    ((name, shape),) = shapes(work).items()
    assert name == "exp" and [str(size) for size in shape] == ["n"]
    for rows in (1, 3):
        array = np.random.default_rng(0).standard_normal((rows, 1))
        np.testing.assert_array_equal(interpret(work, [array])[0], np.exp(array))


def test_checks_are_left_alone() -> None:
    def build(x: Expr) -> Expr:
        graph = x.builder.graph
        graph.effects.append(graph.add("check", [x.gt(-9).value], (), (("message", "m"),)))
        return x

    work = squeezed(graph_of("f64[3,1]", build))
    (effect,) = work.effects
    assert work.type(work[effect].operands[0]).shape == (3, 1)


def test_each_edit_is_recorded() -> None:
    graph = graph_of("f64[3,1]", lambda a: a.op("exp"))
    old = graph.outputs[0]
    work = graph.copy()
    Squeeze().apply(work)
    assert [(edit.reason, edit.old) for edit in work.edits] == [("squeeze", old)]
    assert isinstance(work.edits[0].new, Value)
