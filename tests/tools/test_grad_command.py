"""`irgrad grad`: IR text of derivatives, which the interpreter runs to what `ig.grad` gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cli_runs import error_of, run_well

import irgrad as ig
from irgrad.interpret import interpret
from irgrad.ir import Graph
from irgrad.ops.check import verify
from irgrad.passes.infer import specialise

MODEL = """
import irgrad as ig
import irgrad.numpy as np

TABLE = np.asarray([1.0, 2.0, 4.0])


def loss(w, x):
    return (np.tanh(x @ w) ** 2).sum()


def rows(x, y):
    return np.sin(x) @ y, (x * x).sum(), x > y


def nested(p, n):
    return (p["w"] * p["b"] * n).sum()


def whole(n):
    return n + 1


def closes(x):
    return x * TABLE


def cut(x):
    return np.floor(ig.stop_gradient(x)).sum()


def rounds(x):
    ig.check(x > 0, "positive")
    return np.log(x).sum()


sized = ig.jit(loss, specs=("f64[3]", "f64[n,3]"), donate=0)
"""
W, X = np.array([0.5, -1.0, 2.0]), np.linspace(-1, 1, 12).reshape(4, 3)


@pytest.fixture(autouse=True)
def model(folder: Path) -> None:
    (folder / "g.py").write_text(MODEL)


def derived(*arguments: str) -> Graph:
    """The graph of a command line, with numbers for its sizes."""
    text = run_well("grad", *arguments)
    graph = ig.ir.parse(text)
    assert str(graph) == text
    specialise(graph, {"n": 4})
    verify(graph, "traced")
    return graph


def slope(x: np.ndarray) -> np.ndarray:
    """The gradient of sum(tanh(x @ W) ** 2) by the argument of tanh."""
    t = np.tanh(x @ W)
    return np.asarray(2 * t * (1 - t * t))


@pytest.mark.parametrize("source", ["g.py:loss", "g.py:sized", "loss.irg"])
def test_of_a_scalar_function(source: str) -> None:
    Path("loss.irg").write_text(run_well("ir", "g.py:sized"))
    specs = ("--spec", "f64[3]", "--spec", "f64[n,3]") if source.endswith(":loss") else ()
    graph = derived(source, *specs)
    by_w, by_x = interpret(graph, [W, X])
    np.testing.assert_allclose(by_w, slope(X) @ X, rtol=1e-12)
    np.testing.assert_allclose(by_x, slope(X)[:, None] * W, rtol=1e-12)
    assert graph.signature.donated == frozenset()


def test_wrt_gives_the_order_and_value_comes_first() -> None:
    value, by_x, by_w = interpret(derived("g.py:sized", "--wrt", "x,w", "--value"), [W, X])
    assert value == pytest.approx((np.tanh(X @ W) ** 2).sum())
    np.testing.assert_allclose(by_w, slope(X) @ X, rtol=1e-12)
    np.testing.assert_allclose(by_x, slope(X)[:, None] * W, rtol=1e-12)
    (alone,) = interpret(derived("g.py:sized", "--wrt", "w"), [W, X])
    assert (alone == by_w).all()


ROWS = ("g.py:rows", "--spec", "f64[n,3]", "--spec", "f64[3]")


def test_seeds_of_ones() -> None:
    graph = derived(*ROWS, "--seed", "ones")
    by_x, by_y = interpret(graph, [X, W])
    np.testing.assert_allclose(by_x, np.cos(X) * W + 2 * X, rtol=1e-12)
    np.testing.assert_allclose(by_y, np.sin(X).sum(axis=0), atol=1e-12)


def test_seeds_that_are_arguments() -> None:
    graph = derived(*ROWS, "--seed", "input", "--wrt", "y", "--value")
    assert [graph[key].name for key in graph.inputs] == ["x", "y", "ct_0", "ct_1"]
    assert str(graph.signature.outputs) == "((*, *, *), *)"
    seeds = np.arange(4.0), np.asarray(3.0)
    *values, by_y = interpret(graph, [X, W, *seeds])
    assert (values[0] == np.sin(X) @ W).all() and values[2].dtype == bool
    np.testing.assert_allclose(by_y, seeds[0] @ np.sin(X), rtol=1e-12)


def test_the_text_can_be_differentiated_again() -> None:
    Path("first.irg").write_text(run_well("grad", *ROWS, "--seed", "input", "--wrt", "x"))
    twice = derived("first.irg", "--seed", "input", "--wrt", "y")
    assert [twice[key].name for key in twice.inputs][-3:] == ["ct_0", "ct_1", "ct_2"]
    Path("g.irg").write_text(run_well("grad", "g.py:sized", "--wrt", "w"))
    (hessian,) = interpret(derived("g.irg", "--wrt", "w", "--seed", "ones"), [W, X])
    t = np.tanh(X @ W)
    second = 2 * (1 - t * t) * (1 - 3 * t * t)
    np.testing.assert_allclose(hessian, X.T @ (second * X.sum(axis=1)), rtol=1e-12)


def test_names_of_trees_and_arguments_that_are_not_float() -> None:
    (Path("n.py")).write_text(
        MODEL + "\ntree = ig.jit(nested, specs=({'w': 'f64[3]', 'b': 'f64[3]'}, 'i64[]'))\n"
    )
    both = interpret(derived("n.py:tree", "--wrt", "p"), [W, 2 * W, np.asarray(3)])
    assert [x.tolist() for x in both] == [(6 * W).tolist(), (3 * W).tolist()]
    assert len(derived("n.py:tree").outputs) == 2
    (one,) = interpret(derived("n.py:tree", "--wrt", "p.w"), [W, 2 * W, np.asarray(3)])
    assert one.tolist() == (3 * W).tolist()
    assert "expected a float type to differentiate by, got i64[]" in error_of(
        "grad", "n.py:tree", "--wrt", "n"
    )


def test_captures_stay_captures_and_checks_stay_checks() -> None:
    text = run_well("grad", "g.py:closes", "--spec", "f64[3]", "--seed", "input")
    assert "(%x: f64[3], %ct_0: f64[3]; captures %TABLE: f64[3])" in text
    assert "check(" in run_well("grad", "g.py:rounds", "--spec", "f64[3]", "--value")


def test_lines_are_shown_on_demand() -> None:
    assert "loc(" not in run_well("grad", "g.py:sized")
    text = run_well("grad", "g.py:sized", "--locations")
    assert 'loc("g.py":9 in loss as "gradient of")' in text


def test_output_is_written_whole_or_not_at_all(folder: Path) -> None:
    assert run_well("grad", "g.py:sized", "--output", "b.irg").startswith("b.irg: ")
    text = (folder / "b.irg").read_text()
    assert text == run_well("grad", "g.py:sized")
    for arguments, message, code in (
        (("b.irg", "--seed", "ones", "--output", "b.irg"), "expected a file beside the source", 2),
        (("b.irg", "--seed", "ones", "--output", "c.txt"), "a file that ends in .irg", 2),
        (("b.irg", "--output", "no/c.irg"), "expected its folder to exist", 1),
        (("b.irg", "--output", "b2.irg"), "expected one output, a scalar float", 1),
    ):
        assert message in error_of("grad", *arguments, code=code)
    assert (folder / "b.irg").read_text() == text
    assert not [name for name in os.listdir() if name.endswith((".part", "c.txt", "b2.irg"))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("g.py:rows", "--spec", "f64[4,3]", "--spec", "f64[3]"),
         "got 3 outputs; give --seed ones or --seed input"),
        (("g.py:closes", "--spec", "f64[3]"), "got f64[3]; give --seed ones or --seed input"),
        (("g.py:sized", "--wrt", "ww"), "expected names among w, x, got 'ww'; did you mean w?"),
        (("g.py:sized", "--wrt", ""), "expected names among w, x, got ''"),
        (("g.py:sized", "--wrt", "w,,x"), "got ''"),
        (("g.py:whole", "--spec", "i64[3]"), "expected an argument of float type, got none"),
        (("nosuch.irg",), "expected a file of IR text, got no such file"),
        (("g.py:loss",), "expected a --spec such as"),
    ],
)  # fmt: skip
def test_what_has_no_gradient(arguments: tuple[str, ...], message: str) -> None:
    assert message in error_of("grad", *arguments)


def test_zero_gradients_are_zeros() -> None:
    (found,) = interpret(derived("g.py:cut", "--spec", "f64[3]"), [W])
    assert found.tolist() == [0, 0, 0]


def test_help_has_an_example() -> None:
    assert "irgrad grad model.py:loss" in run_well("grad", "--help").split("Example", 1)[1]


def test_texts_with_changed_bytes(folder: Path) -> None:
    whole = run_well("grad", "g.py:sized").encode()
    rng = np.random.default_rng(5)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(32, 127)
        (folder / "e.irg").write_bytes(data)
        try:
            run_well("grad", "e.irg", "--seed", "ones")
        except AssertionError:
            assert len(error_of("grad", "e.irg", "--seed", "ones")) < 600
