"""Searches along any axis become searches along the last one, read through strides."""

from __future__ import annotations

import numpy as np
import pytest
from fused_programs import check_values, fuse, graph_of, total

from irgrad.interpret import interpret
from irgrad.ops.build import Expr
from irgrad.ops.check import verify
from irgrad.passes.arrange_reductions import ArrangeReductions

TIES = np.array([[2, 1, 2, 2], [2, 2, 1, 2], [1, 2, 2, 1]], np.float32)
NANS = np.array([[1, np.nan, 0, 5], [np.nan, np.nan, 9, -5], [7, 0, np.nan, 5]], np.float32)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_axis_moves_to_the_end(name: str, axis: int) -> None:
    graph = graph_of("f32[3,4,5]", lambda x: x.op(name, axis=axis))
    work = graph.copy()
    ArrangeReductions().apply(work)
    verify(work, "optimised")
    (search,) = [key for key in work if work[key].op == name]
    assert work[search].attribute("axis") == 2
    moved = [key for key in work if work[key].op == "transpose"]
    assert len(moved) == (axis != 2) and len(work.edits) == (axis != 2)
    array = np.random.default_rng(axis).integers(0, 3, (3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(interpret(graph, [array])[0], interpret(work, [array])[0])


@pytest.mark.parametrize("array", [TIES, NANS], ids=["ties", "nans"])
def test_the_first_of_equals_and_of_nans(array: np.ndarray) -> None:
    def build(x: Expr) -> tuple[Expr, ...]:
        y = x * 2
        return tuple(y.op(name, axis=a) for name in ("argmax", "argmin") for a in (0, 1))

    check_values(fuse(graph_of("f32[3,4]", build), "exact"), [array])


def test_long_searches() -> None:
    """Longer than the lanes that a reduction has, with the extreme in any lane."""
    found = fuse(graph_of("f32[3,201]", lambda x: (x.op("argmax", axis=1), x.op("argmin", axis=1))))
    for at in (0, 63, 64, 65, 128, 200):
        array = np.zeros((3, 201), np.float32)
        array[1, at] = 1
        array[2, at:] = -1
        check_values(found, [array])


def test_the_transpose_takes_no_kernel() -> None:
    found = fuse(graph_of("f32[3,4]", lambda x: (x.op("tanh").op("argmax", axis=0),)))
    assert len(found.kernels()) == 2
    given = fuse(graph_of("f32[3,4]", lambda x: (x.op("argmax", axis=0), total(x, 1))))
    assert not [ops for ops in given.regions() if ops == {"transpose"}]
    check_values(found)
    check_values(given)


def test_other_reductions_are_left_alone() -> None:
    work = graph_of("f32[3,4]", lambda x: (total(x, 0), x.op("reduce_max", axes=(0,))))
    ArrangeReductions().apply(work)
    assert not work.edits
