"""check="all": right compiles pass, wrong passes are named; how results are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import irgrad as ig
from irgrad import driver
from irgrad.ir.graph import Graph
from irgrad.runtime.compare import compare, random_inputs


def f(x: Any, y: Any, n: Any) -> Any:
    ig.check(x < 100, "x is small")
    return np.log(np.abs(x) + 1.5) * y, np.where(n > 1, x, y).sum(axis=0), np.sqrt(x - 0.5)


SPECS = ("f32[5,3]", "f32[5,3]", "i32[3]")


def test_right_compiles_pass() -> None:
    compiled = ig.compile(f, *SPECS, target="reference", check="all")
    x = np.full((5, 3), 2, np.float32)
    assert compiled(x, x, np.ones(3, np.int32))[1].tolist() == [10, 10, 10]


def test_captures_and_donations_are_covered() -> None:
    weights = np.linspace(0, 1, 6)[::2]
    x = np.zeros(3)
    compiled = ig.compile(lambda x: x + weights, "f64[3]", donate=0, check="all")
    assert compiled(x) is x
    np.testing.assert_array_equal(x, weights)


@dataclass(frozen=True)
class SwapOperands:
    """A wrong pass: subtracts the other way round."""

    name: str = "swap_operands"

    def apply(self, graph: Graph) -> None:
        """Edit in place."""
        for key in graph.order():
            if graph[key].op == "sub":
                graph.update(key, operands=graph[key].operands[::-1])


@dataclass(frozen=True)
class Break:
    """A pass that fails."""

    name: str = "break"

    def apply(self, graph: Graph) -> None:
        """Look up what is not there."""
        {}[len(graph)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (SwapOperands(), "pass swap_operands: expected result 0 equal to .*'update': sub "),
        (Break(), "pass break: expected a graph, got KeyError"),
    ],
)
def test_a_wrong_pass_is_named(wrong: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = driver.pipeline()
    broken = (*passes[:2], wrong, *passes[2:])
    monkeypatch.setattr(driver, "pipeline", lambda numerics: broken)
    with pytest.raises(ig.errors.CheckError, match=message):
        ig.compile(lambda x, y: x - y, "f64[4]", "f64[4]", target="reference", check="all")


def test_comparison_follows_the_dtype() -> None:
    one = np.ones(2)
    compare("same", [one, np.array([np.nan, np.inf])], [one, np.array([np.nan, np.inf])])
    compare("close", [one.astype(np.float32)], [(one + 1e-5).astype(np.float32)])
    for bad in (one + 1e-5, one.astype(np.float32), np.ones(3), np.array([1, np.nan])):
        with pytest.raises(ig.errors.CheckError, match="^step: expected result 0"):
            compare("step", [one], [bad])
    with pytest.raises(ig.errors.CheckError, match="^step: expected 1 results, got 2"):
        compare("step", [one], [one, one])
    with pytest.raises(ig.errors.CheckError, match="True instead of False at flat index 1"):
        compare("step", [np.array([True, False])], [np.array([True, True])])


def test_random_inputs_have_the_types_of_the_graph() -> None:
    graph = ig.trace(lambda x, y, b: x + y.sum(), "f32[n,2]", "i64[n]", "bool[3]")
    x, y, b = random_inputs(graph, 1, 2.0)
    assert (x.dtype, y.dtype, b.dtype) == (np.float32, np.int64, np.bool_)
    assert x.shape == (y.shape[0], 2)
    assert ((x >= 2) & (x <= 3)).all()
