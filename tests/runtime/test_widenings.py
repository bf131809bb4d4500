"""Widened floats are listed once for each line, whichever way a function is compiled."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad.errors import DTypeError
from irgrad.runtime import cache_key

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
WIDE = np.ones((2, 3))
PLAIN: dict[str, Any] = {"target": "reference"}


def product(x: Any) -> Any:
    return (x * WIDE).sum()  # widens


@ig.custom_jvp
def ruled(x: Any) -> Any:
    return x * 2


def rule(primals: Any, tangents: Any) -> Any:
    wide = tangents[0] * WIDE  # widens in the rule
    return primals[0] * 2, wide.astype(np.float32)


ruled.defjvp(rule)


@ig.custom_vjp
def pulled(x: Any) -> Any:
    return x * 2


def back(residual: Any, ct: Any) -> Any:
    wide = ct * WIDE  # widens in the rule
    return (wide.astype(np.float32),)


pulled.defvjp(lambda x: (x * 2, None), back)


def lines(graph: Any) -> list[str]:
    """The source lines of the widenings of a graph."""
    return [w.location.source() for w in graph.widenings]


WAYS: dict[str, Callable[[Any], Any]] = {
    "plain": product,
    "inner jit": lambda x: ig.jit(product)(x),
    "grad": ig.grad(product),
    "second": lambda x: ig.grad(lambda x: (ig.grad(product)(x) * x).sum())(x),
    "value_and_grad": ig.value_and_grad(product),
    "jvp": lambda x: ig.jvp(product, (x,), (x,)),
    "vjp": lambda x: ig.vjp(product, x)[1](np.float64(1)),
    "jacobian": ig.jacobian(product),
    "hvp": lambda x: ig.hvp(product, (x,), (x,)),
    "loop": lambda x: [product(x) for _ in range(5)],
}


@pytest.mark.parametrize("way", WAYS)
def test_once_for_a_line_in_every_way(way: str) -> None:
    graph = ig.trace(WAYS[way], X)
    assert lines(graph) == ["return (x * WIDE).sum()  # widens"]
    assert str(graph.widenings[0]).startswith("f32 is widened to f64\n")


def test_under_vmap() -> None:
    def rows(x: Any) -> Any:
        return ig.vmap(lambda row: row * WIDE[0])(x)

    assert lines(ig.trace(rows, X)) == ["return ig.vmap(lambda row: row * WIDE[0])(x)"]


def linear(x: Any) -> Any:
    return ig.linear_call(lambda r, a: a * 2, lambda r, ct: back(r, ct)[0], (), x)


@pytest.mark.parametrize("f", [ruled, pulled, linear])
def test_those_of_a_rule_count_where_it_is_used(f: Any) -> None:
    assert lines(ig.trace(f, X)) == []
    (line,) = lines(ig.trace(ig.grad(lambda x: f(x).sum()), X))
    assert line.endswith("# widens in the rule")


def test_both_dtypes_of_a_line_and_each_line() -> None:
    def f(x: Any, i: Any) -> Any:
        a = x * i + x * WIDE
        b = inp.concatenate([x, WIDE])
        c = inp.where(x > 0, x, np.float64(0))
        return a, b, c, x * 2.0, x + 1, x.astype(np.float64), i.mean(), i * 0.5, x * (i > 0)

    graph = ig.trace(f, X, np.ones((2, 3), np.int32))
    assert lines(graph) == [
        "a = x * i + x * WIDE", "b = inp.concatenate([x, WIDE])",
        "c = inp.where(x > 0, x, np.float64(0))",
    ]  # fmt: skip


def test_what_numbers_of_python_do_not_widen() -> None:
    def step(p: Any, state: Any, x: Any) -> Any:
        def loss(p: Any) -> Any:
            hidden = ig.nn.layer_norm(ig.nn.gelu(x @ p), 1.0, 0.0)
            return ig.nn.cross_entropy(hidden, inp.zeros(2, dtype=np.int64)) + 0.1 * (p * p).mean()

        return ig.optim.adam(1e-3).update(ig.grad(loss)(p), state, p)

    p = np.ones((3, 3), np.float32)
    assert ig.compile(step, p, ig.optim.adam(1e-3).init(p), X, strict=True, **PLAIN)
    assert lines(ig.trace(lambda x, s: x * s / 3, X, 2.0)) == []
    assert len(lines(ig.trace(lambda x, s: x * s / 3, X, np.float64(2)))) == 1


def test_strict_names_the_lines() -> None:
    def f(x: Any) -> Any:
        a = x * WIDE
        for _ in range(3):
            a = x - WIDE
        b = x / WIDE
        return a + b, x + WIDE, WIDE - x

    calls: list[Callable[[], Any]] = [
        lambda: ig.jit(f, strict=True)(X), lambda: ig.compile(f, X, strict=True),
        lambda: ig.jit(ig.jit(f), strict=True)(X), lambda: ig.compile(f, X, strict=True, **PLAIN),
        lambda: ig.jit(lambda x: ig.jvp(f, (x,), (x,)), strict=True)(X),
        lambda: ig.compile(ig.vmap(f), X[None], strict=True),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(DTypeError, match=r"expected no widened float array") as caught:
            call()
        message = str(caught.value).split("\n")
        first = f.__code__.co_firstlineno + 1
        others = ", ".join(f"{_here()}:{first + n}" for n in (2, 3, 4))
        assert message[0].endswith(f"got 4 (others at {others}): f32 is widened to f64")
        assert message[1].endswith(f'{Path(__file__).name}", line {first}, in f')
        assert message[2] == "    a = x * WIDE"
        assert len(message) == 3


def _here() -> str:
    """This file as locations name it."""
    return str(ig.trace(product, X).widenings[0].location).rpartition(":")[0]


def test_pickles_and_reports_keep_them() -> None:
    compiled = ig.compile(WAYS["loop"], X, **PLAIN)
    wanted = "widened floats:\n  f32 is widened to f64\n    File "
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(compiled))))
    for one in (compiled, again):
        report = one.report()
        assert wanted in report
        assert report.count("is widened") == 1
    assert again.graph.widenings == compiled.graph.widenings


def test_a_hit_of_the_disk_cache_lists_and_refuses_them(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_key, "process_start", lambda: math.inf)  # whoever edits the source
    monkeypatch.setenv("IRGRAD_CACHE", str(tmp_path))
    made = ig.compile(product, X)
    notes = made.cache_info().disk
    del made
    found = ig.compile(product, X)
    assert (notes, found.cache_info().disk) == ("miss", "hit")
    assert lines(found.graph) == ["return (x * WIDE).sum()  # widens"]
    assert "return (x * WIDE).sum()  # widens" in found.report()
    with pytest.raises(DTypeError, match="strict=True"):
        ig.compile(product, X, strict=True)
