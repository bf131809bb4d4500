"""Which products and sums are joined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.location import Location
from irgrad.ir.spec import parse_type
from irgrad.ops.registry import builder
from irgrad.passes.form_fma import FormFma


def formed(build: Callable, type_: str = "f64[5]") -> tuple[Graph, str]:
    """The graph of a function of a, b, c, d after the pass, and its text as nested calls."""
    graph = Graph()
    b = builder(graph)
    inputs = [b.wrap(graph.add_input(parse_type(type_), name)) for name in "abcd"]
    result = build(*inputs)
    graph.outputs = [x.value for x in (result if isinstance(result, tuple) else (result,))]
    before = graph.copy()
    FormFma().apply(graph)
    rng = np.random.default_rng(0)
    dtype = parse_type(type_).dtype.numpy
    arrays = [rng.uniform(1, 9, 5).astype(dtype) for _ in inputs]
    for old, new in zip(interpret(before, arrays), interpret(graph, arrays), strict=True):
        assert old.dtype == new.dtype
        np.testing.assert_allclose(old, new, rtol=1e-6 if dtype == np.float32 else 1e-14)
    text: dict[int, str] = {}
    for key in graph.order():
        node = graph[key]
        operands = ", ".join(text[v.node] for v in node.operands)
        text[key] = node.name or f"{node.op}({operands})"
    return graph, "; ".join(text[v.node] for v in graph.outputs)


@pytest.mark.parametrize(
    ("build", "after"),
    [
        (lambda a, b, c, d: a * b + c, "fma(a, b, c)"),
        (lambda a, b, c, d: c + a * b, "fma(a, b, c)"),
        (lambda a, b, c, d: a * b - c, "fma(a, b, neg(c))"),
        (lambda a, b, c, d: c - a * b, "fma(neg(a), b, c)"),
        (lambda a, b, c, d: a * b + c * d, "fma(a, b, mul(c, d))"),
        (lambda a, b, c, d: a * b + c * d + a, "add(fma(a, b, mul(c, d)), a)"),
        (lambda a, b, c, d: (a * b + c) * d + a, "fma(fma(a, b, c), d, a)"),
        (lambda a, b, c, d: a + b, "add(a, b)"),
        (lambda a, b, c, d: (a * b).op("exp") + c, "add(exp(mul(a, b)), c)"),
    ],
)
def test_forms(build: Callable, after: str) -> None:
    graph, text = formed(build)
    assert text == after
    assert all(edit.reason in ("form_fma: add (stable)", "form_fma: sub (stable)")
               for edit in graph.edits)  # fmt: skip


def test_a_product_that_is_read_elsewhere_stays() -> None:
    def build(a, b, c, d):
        product = a * b
        return product + c, product

    assert formed(build)[1] == "add(mul(a, b), c); mul(a, b)"

    def twice(a, b, c, d):
        product = a * b
        return product + product

    assert formed(twice)[1] == "add(mul(a, b), mul(a, b))"


def test_a_product_whose_other_reader_is_dead_is_joined() -> None:
    def build(a, b, c, d):
        product = a * b
        product.op("exp")
        return product + c

    assert formed(build)[1] == "fma(a, b, c)"


def test_dtypes() -> None:
    assert formed(lambda a, b, c, d: a * b + c, "f32[5]")[1] == "fma(a, b, c)"
    assert formed(lambda a, b, c, d: a * b + c, "i32[5]")[1] == "add(mul(a, b), c)"


def test_both_lines_are_kept() -> None:
    graph = Graph()
    b = builder(graph)
    x = b.wrap(graph.add_input(parse_type("f64[2]")))
    b.locations = (Location("f.py", 1),)
    product = x * x
    b.locations = (Location("f.py", 2),)
    graph.outputs = [(product + x).value]
    FormFma().apply(graph)
    made = graph[graph.outputs[0].node]
    assert made.op == "fma" and [place.line for place in made.locations] == [2, 1]
