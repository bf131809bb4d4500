"""Every rule: what it leaves, and equal values with the rule off."""

from __future__ import annotations

import re

import numpy as np
import pytest
from rule_cases import CASES, LIST, Case, arrays_for, expression, graph_of, matmul, ones

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ops.contract import dot_general
from irgrad.passes.simplify import Simplify
from irgrad.rewrite.drivers import rewrite_once, rewrite_to_fixpoint
from irgrad.rewrite.rule import LEVELS, Rule
from irgrad.rewrite.rules import RULES

BY_NAME = {rule.name: rule for rule in RULES}
IDS = [f"{name}-{index}" for name, index, _ in LIST]


def assert_same(old: Graph, new: Graph, exact: bool, seed: int) -> None:
    """Bit for bit on special values and whole numbers where exact, else within 1e-12 of 1 + |x|.

    The sign of a NaN does not count.
    """
    for kind in ("special", "whole") if exact else ("positive",):
        arrays = arrays_for(old, kind, seed)
        for before, after in zip(interpret(old, arrays), interpret(new, arrays), strict=True):
            assert before.dtype == after.dtype and before.shape == after.shape
            if exact:
                np.testing.assert_array_equal(before, after)
                if before.dtype.kind == "f":
                    number = ~np.isnan(before)
                    assert (np.signbit(before) == np.signbit(after))[number].all()
            else:
                np.testing.assert_allclose(before, after, rtol=1e-12, atol=1e-12)


def test_cases_and_rules_are_the_same_set() -> None:
    assert set(CASES) == set(BY_NAME)


@pytest.mark.parametrize(("name", "index", "case"), LIST, ids=IDS)
def test_rule_alone(name: str, index: int, case: Case) -> None:
    graph = graph_of(case.inputs, case.build)
    before = graph.copy()
    rule = BY_NAME[name]
    report = rewrite_to_fixpoint(graph, [rule], level="approximate")
    graph.prune()
    assert report.fired[name] >= 1
    assert expression(graph) == case.after
    assert graph.edits[-1].reason == f"rewrite: {name} ({_class(before, rule)})"
    assert_same(before, graph, _class(before, rule) == "exact", index)


def _class(graph: Graph, rule: Rule) -> str:
    values = {graph.type(value).dtype.kind for value in graph.outputs}
    values |= {graph[key].types[0].dtype.kind for key in graph.order()}
    return "exact" if rule.numerics == "stable" and values <= set("biu") else rule.numerics


@pytest.mark.parametrize(("name", "index", "case"), LIST, ids=IDS)
def test_all_rules_together(name: str, index: int, case: Case) -> None:
    graph = graph_of(case.inputs, case.build)
    before = graph.copy()
    Simplify().apply(graph)
    classes = {re.search(r"\((\w+)\)$", edit.reason)[1] for edit in graph.edits}
    assert "approximate" not in classes
    assert_same(before, graph, "stable" not in classes, index)
    again = graph.copy()
    Simplify().apply(again)
    assert not again.edits


@pytest.mark.parametrize(("name", "index", "case"), LIST, ids=IDS)
def test_exact_level_keeps_every_bit(name: str, index: int, case: Case) -> None:
    graph = graph_of(case.inputs, case.build)
    before = graph.copy()
    Simplify(numerics="exact").apply(graph)
    assert all(edit.reason.endswith("(exact)") for edit in graph.edits)
    assert_same(before, graph, True, index)


def test_every_rule_says_what_it_does() -> None:
    for rule in RULES:
        assert re.fullmatch(r"[a-z0-9_]+", rule.name)
        assert "->" in rule.doc and rule.numerics in LEVELS


@pytest.mark.parametrize(
    ("inputs", "build", "rule"),
    [
        ("f64[5]", lambda a: a + 0.0, "add_negative_zero"),
        ("f64[5]", lambda a: a - -0.0, "sub_zero"),
        ("f64[5]", lambda a: (a * 1e-200) * 1e-200, "mul_mul_constants"),
        ("f64[5]", lambda a: a / 3, "div_power_of_two"),
        ("f64[5]", lambda a: a / 2.0**-1074, "div_power_of_two"),
        ("f64[5]", lambda a: a / 2.0**-1074, "div_constant"),
        ("f64[5]", lambda a: (a + 1.0) + 2.0, "add_add_constants"),
        ("f64[5]", lambda a: a.op("eq", a), "reflexive_true"),
        ("f64[5]", lambda a: a.op("ne", a), "unequal_self"),
        ("f64[5] f64[5]", lambda a, b: a.op("scale_or_zero", b.op("log")), "scale_finite"),
        ("f64[5] f64[5]", lambda a, b: a.op("scale_or_zero", b.op("exp")), "scale_finite"),
        ("f64[5] f64[5]", lambda a, b: a.op("scale_or_zero", b.op("sqrt").op("tanh")),
         "scale_finite"),
        ("f64[5]", lambda a: a.op("scale_or_zero", a.like(np.inf)), "scale_finite"),
        ("f64[5] f64[5]", lambda a, b: a.op("scale_or_zero", b), "scale_finite"),
        ("f64[2,5] f64[5]", lambda a, b: a.op(
            "scale_or_zero", b.builder.broadcast(b, (2, 5), (1,))), "scale_finite"),
        ("f64[n,0]", lambda a: a.like(0.1).op("reduce_sum", axes=(0,)), "fold_sum"),
        ("f64[5]", lambda a: a.like(0.1).op("reduce_sum", axes=(0,)), "fold_sum"),
        ("f64[5]", lambda a: a.like(-0.0).op("reduce_sum", axes=(0,)), "fold_sum"),
        ("f64[n]", lambda a: a.like(1.0).op("reduce_max", axes=(0,)), "fold_pick"),
        ("f64[5]", lambda a: a.like(-0.0).op("pad", low=(1,), high=(1,), interior=(0,)),
         "fold_pad"),
        ("f64[5]", lambda a: a.like(0.0).op("concatenate", a.like(-0.0), axis=0),
         "fold_concatenate"),
        ("f64[5]", lambda a: a.op("exp") + (a.op("exp") + 1).op("log"), "log1p_exp"),
        ("f64[2,3,4] f64[4,5]", lambda a, b: a.op("transpose", permutation=(1, 0, 2)).op(
            "dot_general", b, lhs_batch=(), rhs_batch=(), lhs_contract=(2,), rhs_contract=(0,)),
         "dot_of_transpose_lhs"),
        ("f64[3] f64[4]", lambda a, b: a.builder.broadcast(a, (3, 4), (0,))
         * a.builder.broadcast(b, (3, 4), (1,)), "elementwise_of_broadcast"),
        ("f64[9]", lambda a: a.op("pad", low=(2,), high=(2,), interior=(0,)).op(
            "slice", start=(1,), stop=(5,), step=(1,)), "slice_of_pad"),
        ("f64[3] f64[3]", lambda a, b: a.op("concatenate", b, axis=0).op(
            "slice", start=(2,), stop=(4,), step=(1,)), "slice_of_concatenate"),
        ("i32[5]", lambda a: a.op("cast", dtype=_dtype("f64")).op("cast", dtype=_dtype("i8")),
         "cast_cast"),
        ("f64[5]", lambda a: a.op("cast", dtype=_dtype("f32")).op("cast", dtype=_dtype("f64")),
         "cast_cast"),
        ("f64[3]", lambda a: a.builder.broadcast(a, (3, 4), (0,)).op("mul", a.builder.broadcast(
            a, (3, 4), (0,))).op("reduce_sum", axes=(0,)), "sum_of_mul"),
        ("f64[4]", lambda a: a.builder.one("iota", shape=(4,), axis=0, dtype=_dtype("i64")).lt(3),
         "compare_ranges"),
        ("f64[4,4]", lambda a: dot_general(ones(a, (4, 4)), a, ((0, 1), (0, 1))),
         "dot_of_diagonal_lhs"),
        ("f64[4,4] f64[4,2]", lambda a, b: matmul(
            ones(a, (4, 4)).op("ne", a.like(0)).op("select", a, a.like(0)), b),
         "dot_of_diagonal_lhs"),
        ("f64[n,m]", lambda a: a.builder.one("iota", shape=a.shape, axis=0, dtype=_dtype("i64")).eq(
            a.builder.one("iota", shape=a.shape, axis=1, dtype=_dtype("i64"))).op(
            "cast", dtype=a.dtype).op("dot_general", a, lhs_batch=(), rhs_batch=(),
                                      lhs_contract=(0,), rhs_contract=(0,)),
         "dot_of_diagonal_lhs"),
        ("f64[6,6]", lambda a: ones(a, (6, 6)).op(
            "slice", start=(0, 0), stop=(6, 6), step=(1, 2)), "slice_of_diagonal"),
        ("f64[3] f64[3]", lambda a, b: a.op("pad", low=(1,), high=(0,), interior=(0,))
         + b.op("pad", low=(0,), high=(1,), interior=(0,)), "add_of_pads"),
        ("f64[5,3,4] f64[4,2]", lambda a, b: dot_general(a, b, ((2,), (0,))),
         "dot_of_rows_apart"),
        ("f64[5,3,4] f64[3,2]", lambda a, b: dot_general(a, b, ((1,), (0,))),
         "dot_of_rows_apart"),
        ("f64[3]", lambda a: a.like(1.0).op("cast", dtype=_dtype("c128")), "fold"),
        ("f64[99,4] f64[5,4,3]", lambda a, b: dot_general(a, b, ((1,), (1,))),
         "dot_of_columns_apart"),
    ],
)  # fmt: skip
def test_rule_stays_out(inputs: str, build, rule: str) -> None:
    graph = graph_of(inputs, build)
    assert not rewrite_once(graph, [BY_NAME[rule]], level="approximate").fired


def _dtype(name: str):
    from irgrad.ir.types import DTYPES

    return DTYPES[name]


def test_inner_function_that_is_read_twice_stays() -> None:
    def build(a):
        inner = a.op("exp")
        return inner.op("log1p"), inner

    graph = graph_of("f64[5]", build)
    assert not rewrite_once(graph, [BY_NAME["log1p_exp"]]).fired
