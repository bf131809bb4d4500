"""The pass `Infer` and the specialisation of sizes."""

from __future__ import annotations

import pytest

from irgrad.errors import DTypeError, ShapeError
from irgrad.ir import Graph, TensorType, parse, symbol
from irgrad.ir.dims import substitute
from irgrad.ir.types import F32, F64
from irgrad.ops.check import verify
from irgrad.passes.infer import Infer, specialise

CALL = """graph(%x: f32[n,2]) {
  %0 = custom_vjp_call(%x) {
    body = graph(%x) { %0 = exp(%x) return %0 },
    forward = graph(%x) { %0 = exp(%x) return %0, %0 },
    backward = graph(%y, %c) { %0 = mul(%y, %c) return %0 }
  }
  %1 = custom_jvp_call(%0) {
    body = graph(%x) { %0 = sin(%x) return %0 },
    rule = graph(%x, %t) { %0 = cos(%x) %1 = mul(%0, %t) return %1 }
  }
  %2 = linear_call(%1, %0) {
    forward = graph(%r, %t) { %0 = mul(%r, %t) return %0 },
    backward = graph(%r, %c) { %0 = mul(%r, %c) return %0 },
    residuals = 1
  }
  %3 = reduce_sum(%2) {axes=(0,)}
  return %3
}"""


def types(graph: Graph) -> set[str]:
    """All types of a graph and its regions."""
    found = {str(type_) for key in graph for type_ in graph[key].types}
    for key in graph:
        for _, region in graph[key].regions():
            found |= types(region)
    return found


def test_regions_take_the_types_of_operands() -> None:
    """Also the inputs that a region op implies: tangents, residuals, cotangents."""
    graph = parse(CALL)
    Infer().apply(graph)
    verify(graph)
    assert types(graph) == {"f32[n,2]", "f32[2]"}
    before = str(graph)
    Infer().apply(graph)
    assert str(graph) == before


def test_inference_leaves_shared_regions_alone() -> None:
    """A copy of the graph keeps its untyped regions."""
    graph = parse(CALL)
    other = graph.copy()
    Infer().apply(graph)
    assert str(other) == str(parse(CALL))


def test_renew_follows_new_input_types() -> None:
    """After a change of an input's type, every annotation is stale."""
    graph = parse(CALL)
    Infer().apply(graph)
    graph.update(graph.inputs[0], types=(TensorType(F64, (7, 2)),))
    with pytest.raises(DTypeError, match="custom_vjp_call: inputs of body: expected"):
        Infer().apply(graph.copy())
    Infer(renew=True).apply(graph)
    verify(graph)
    assert types(graph) == {"f64[7,2]", "f64[2]"}


def test_partly_typed_nodes() -> None:
    """Given types are checked and the others filled in."""
    graph = parse("graph(%x: f32[n]) -> (f32[n]) { %0 = neg(%x) %1 = exp(%0) : f32[n] return %1 }")
    Infer().apply(graph)
    assert types(graph) == {"f32[n]"}


def test_nodes_that_nothing_needs_are_typed() -> None:
    """Dead nodes are inferred and checked too."""
    graph = parse("graph(%x: f32[n]) { %0 = neg(%x) %1 = exp(%0) return %x }")
    Infer().apply(graph)
    verify(graph)
    with pytest.raises(ShapeError, match="transpose: expected a permutation of the 1 axes"):
        Infer().apply(parse(
            "graph(%x: f32[n]) { %0 = transpose(%x) {permutation=(1, 0)} return %x }"
        ))


def test_specialise() -> None:
    """Names of sizes become numbers in types, attributes and regions."""
    graph = parse(CALL.replace("%3 = reduce_sum(%2) {axes=(0,)}",
                               "%3 = reshape(%2) {shape=(n*2,)} %4 = dim_size() {size=n*n}"))
    Infer().apply(graph)
    specialise(graph, {"n": 5})
    verify(graph)
    assert types(graph) == {"f32[5,2]", "f32[10]", "i64[]"}
    assert {graph[key].attribute("size") for key in graph if graph[key].op == "dim_size"} == {25}


def test_specialise_to_another_name() -> None:
    """A size may become a polynomial of other names."""
    graph = parse("graph(%x: f32[n,m]) { %0 = neg(%x) return %0 }")
    Infer().apply(graph)
    specialise(graph, {"n": symbol("k") * 2 + symbol("m")})
    assert types(graph) == {"f32[2*k+m,m]"}


def test_specialise_refuses_sizes_that_do_not_fit() -> None:
    """A slice that runs out of its operand is found when the size is known."""
    graph = parse("graph(%x: f32[n]) "
                  "{ %0 = slice(%x) {start=(0,), stop=(4,), step=(1,)} return %0 }")
    Infer().apply(graph)
    with pytest.raises(ShapeError, match="slice: expected stop <= size at axis 0"):
        specialise(graph, {"n": 3})


def test_substitute() -> None:
    """Polynomials are rebuilt in canonical form."""
    n, m = symbol("n"), symbol("m")
    assert substitute(n * n * m - n + 3, {"n": 2}) == m * 4 + 1
    assert substitute(n - m, {"n": m}) == 0
    assert substitute(7, {"n": 2}) == 7
    assert TensorType(F32, (substitute(n + m, {"m": n}),)) == TensorType(F32, (n * 2,))
