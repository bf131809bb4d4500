"""Broken graphs are refused with the node, what was expected, and the user's line."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from irgrad.errors import ArgumentError, VerifyError
from irgrad.ir import Graph, TensorType, Value, parse, symbol
from irgrad.ir.dims import Dim
from irgrad.ir.graph import attributes
from irgrad.ir.location import Location
from irgrad.ir.types import F32, F64, I64
from irgrad.ir.verify import LEVELS
from irgrad.ops.check import verify, verify_linear
from irgrad.ops.registry import REGISTRY, builder
from irgrad.passes.infer import Infer

X = TensorType(F32, (symbol("n"), 3))


def sample() -> Graph:
    """exp(x) * y + c for arguments x and y and a capture c, with a check; keys 0 to 6."""
    graph = Graph()
    b = builder(graph)
    x, y, c = (b.wrap(graph.add_input(X, name)) for name in "xyc")
    graph.captures[c.value.node] = None
    graph.outputs = [(x.op("exp") * y + c).value]
    finite = b.one("isfinite", y)
    b.emit("check", [finite], message="finite")
    graph.effects = [max(graph)]
    return graph


def typed(text: str) -> Graph:
    """The graph of a text, inferred."""
    graph = parse(text)
    Infer().apply(graph)
    return graph


QUIET = typed("graph(%x: f32[n,3]) { %0 = neg(%x) return %0 }")


def unlink(graph: Graph) -> None:
    graph.nx.remove_edge(0, 3)


def miscount(graph: Graph) -> None:
    graph.nx[0][3]["uses"] = 2


def forget(graph: Graph) -> None:
    graph.nx.add_node(99)


def cycle(graph: Graph) -> None:
    graph.update(3, operands=(Value(5),))


def lose_operand(graph: Graph) -> None:
    graph._nodes[3] = replace(graph[3], operands=(Value(77),))


def lose_result(graph: Graph) -> None:
    graph._nodes[3] = replace(graph[3], operands=(Value(0, 1),))


def change(key: int, **fields: Any) -> Callable[[Graph], object]:
    """Change fields of a node."""
    return lambda graph: graph.update(key, **fields)


def assign(name: str, value: Any) -> Callable[[Graph], object]:
    """Set an attribute of the graph."""
    return lambda graph: setattr(graph, name, value)


def add(op: str, types: tuple[TensorType | None, ...], **attrs: Any) -> Callable[[Graph], object]:
    """Add a node that reads nothing."""
    return lambda graph: graph.add(op, (), types, attributes(attrs))


SCALAR = (TensorType(F32, ()),)
CASES: list[tuple[str, Callable[[Graph], object]]] = [
    ("graph: expected an entry in nx for each node", forget),
    (r"exp: expected edges \{0: 1\} as in its operands, got \{\}", unlink),
    (r"exp: expected edges \{0: 1\} as in its operands, got \{0: 2\}", miscount),
    ("exp|mul|add: expected no cycle, got one", cycle),
    (r"exp: expected operands that exist, got \(77, 0\)", lose_operand),
    (r"exp: expected operands that exist, got \(0, 1\)", lose_result),
    (r"return: expected values that exist, got \(5, 1\)", assign("outputs", [Value(5, 1)])),
    (r"return: expected values that exist, got \(50, 0\)", assign("outputs", [Value(50)])),
    ("graph: expected input 3 to be a node of op 'input', got 'exp'", lambda g: g.inputs.append(3)),
    ("graph: expected input 3 to be .*, got a missing node", lambda g: g.inputs.append(33)),
    ("input: expected no operands, one type and the attribute index=0", change(0, attributes=())),
    ("input: expected no operands, .* index=1", assign("inputs", [0, 0, 1, 2])),
    ("input: expected to be listed in the inputs", lambda g: g.add("input", (), (X,))),
    ("input: result 0: expected a type, got none", change(1, types=(None,))),
    ("exp: result 0: expected a type, got none", change(3, types=(None,))),
    ("exp: result 0: expected sizes that are integers >= 0 or made of names, got -2",
     change(3, types=(TensorType(F32, (-2,)),))),
    ("exp: result 0: expected sizes", change(3, types=(TensorType(F32, (symbol("f32"),)),))),
    ("exp: result 0: expected sizes",
     change(3, types=(TensorType(F32, (Dim((((("a b", 1),), 1),)),)),))),
    ("exp: result 0: expected at most 64 axes, got 65",
     change(3, types=(TensorType(F32, (1,) * 65),))),
    (r"exp: expected result 0 of type f32\[n,3\], got f32\[3\]",
     change(3, types=(TensorType(F32, (3,)),))),
    ("exp: expected 1 results, got 2", change(3, types=(X, X))),
    ("mul: expected operands of equal dtype", change(1, types=(TensorType(F64, X.shape),))),
    ("expp: expected the name of an op, got an unknown one", change(3, op="expp")),
    (r"exp: expected the attributes \(\), got \(k\)", change(3, attributes=(("k", 1),))),
    (r"cast: expected the attributes \(dtype\), got \(dtype, dtype\)",
     change(3, op="cast", attributes=(("dtype", F32), ("dtype", F32)))),
    (r"constant: expected the attributes \(dtype, shape, value\), got \(value, shape, dtype\)",
     change(3, op="constant", operands=(), attributes=(
         ("value", 1.0), ("shape", ()), ("dtype", F32)))),
    ("constant: expected 'value' to be a bool or a number, got <object>",
     add("constant", SCALAR, value=object(), dtype=F32, shape=())),
    ("constant: expected 'shape' to be a tuple of sizes, got <list>",
     add("constant", SCALAR, value=1.0, dtype=F32, shape=[])),
    ("constant: expected 'shape' to be a tuple of sizes",
     add("constant", SCALAR, value=1.0, dtype=F32, shape=(2**63,))),
    ("iota: expected 'axis' to be an integer of 64 bits, got true",
     add("iota", SCALAR, axis=True, dtype=F32, shape=(3,))),
    ("iota: expected 'dtype' to be a dtype, got \"f32\"",
     add("iota", SCALAR, axis=0, dtype="f32", shape=(3,))),
    ("dim_size: expected 'size' to be a size, got 1.5", add("dim_size", SCALAR, size=1.5)),
    ("check: expected 'message' to be a string, got 3", change(7, attributes=(("message", 3),))),
    ("check: expected to be listed as an effect, got a plain node", assign("effects", [])),
    ("add: expected no effect, got it listed as one", lambda g: g.effects.append(5)),
    ("graph: expected effects that exist, got node 70", lambda g: g.effects.append(70)),
    ("graph: expected each effect once, got one again", lambda g: g.effects.append(7)),
    ("check: expected effects after those they depend on, got one before",
     assign("effects", [7, 6])),
    ("graph: expected the captures to be the last inputs", assign("captures", {0: None})),
    ("fused: expected an op of this level, got one that it excludes", change(
        3, op="fused", attributes=attributes({"body": QUIET, "kind": "loop", "rows": 0}))),
    ("custom_jvp_call: expected region 'body' to have no captures, got some", change(
        3, op="custom_jvp_call", attributes=attributes({"body": sample(), "rule": sample()}))),
]


@pytest.mark.parametrize(("message", "break_it"), CASES, ids=[message for message, _ in CASES])
def test_broken_graph(message: str, break_it: Callable[[Graph], object]) -> None:
    """Each invariant, broken alone, is named; the message stays short."""
    graph = sample()
    verify(graph)
    break_it(graph)
    with pytest.raises(VerifyError, match=f"^({message})") as caught:
        verify(graph)
    assert len(str(caught.value).split("\n")) <= 12


def test_message_shows_the_neighbourhood(tmp_path: Path) -> None:
    """The message, five lines with the node marked, the user's line."""
    path = tmp_path / "model.py"
    path.write_text("def f(x):\n    return g(x)\n")
    linecache.checkcache(str(path))
    graph = Graph()
    b = builder(graph, (Location(str(path), 2, "f"),))
    value = b.wrap(graph.add_input(X, "x"))
    for _ in range(8):
        value = value.op("tanh")
    graph.outputs = [value.value]
    graph.update(4, types=(TensorType(I64, ()),))
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    lines = str(caught.value).split("\n")
    assert lines[:6] == [
        "tanh: expected result 0 of type f32[n,3], got i64[]",
        "    %1 = tanh(%0) : f32[n,3]",
        "    %2 = tanh(%1) : f32[n,3]",
        "  > %3 = tanh(%2) : i64[]",
        "    %4 = tanh(%3) : f32[n,3]",
        "    %5 = tanh(%4) : f32[n,3]",
    ]
    assert lines[6].endswith('model.py", line 2, in f')
    assert lines[7:] == ["    return g(x)"]


def test_region_is_verified() -> None:
    """A fault inside a region is found and shown with the region's lines."""
    graph = typed(
        "graph(%x: f32[2]) { %0 = custom_jvp_call(%x) {body = graph(%x) { %0 = sin(%x) return %0 },"
        " rule = graph(%x, %t) { %0 = cos(%x) %1 = mul(%0, %t) return %1 }} return %0 }"
    )
    verify(graph)
    (key,) = [key for key in graph if graph[key].op == "custom_jvp_call"]
    rule = graph[key].attribute("rule")
    rule.update(rule.outputs[0].node, types=(TensorType(F64, (2,)),))
    with pytest.raises(VerifyError, match=r"mul: expected result 0 of type f32\[2\], got f64\[2\]"):
        verify(graph)


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_levels(level: str) -> None:
    """Ops that are gone or not there yet at a level; forbidden ones exist in the registry."""
    assert LEVELS[level].forbidden <= set(REGISTRY)
    stop = typed("graph(%x: f32[2]) { %0 = stop_gradient(%x) return %0 }")
    fused = typed("graph(%x: f32[2]) { %0 = fused(%x) {kind=\"loop\", rows=0, "
                  "body = graph(%x) { %0 = neg(%x) return %0 }} return %0 }")
    allowed = []
    for name, graph in (("stop", stop), ("fused", fused)):
        try:
            verify(graph, level)
            allowed.append(name)
        except VerifyError as error:
            assert "expected" in str(error)
    assert allowed == {"traced": ["stop"], "linear": [], "optimised": [], "fused": ["fused"]}[level]


def test_unknown_level() -> None:
    """A level that does not exist is the caller's error."""
    with pytest.raises(ArgumentError, match="expected a level of traced, linear, .* got 'last'"):
        verify(sample(), "last")


def test_dim_of_illegal_name_is_refused() -> None:
    """A size whose name would not parse back cannot get into a graph."""
    graph = Graph()
    graph.outputs = [graph.add_input(TensorType(F32, (Dim((((("true", 1),), 1),)),)))]
    with pytest.raises(VerifyError, match="input: result 0: expected sizes"):
        verify(graph)


LINEAR = [
    ("%0 = neg(%t) %1 = add(%0, %t) return %1", None),
    ("%0 = sin(%x) %1 = mul(%0, %t) return %1", None),
    ("%0 = mul(%t, %x) %1 = mul(%t, %0) return %0, %1", "mul: expected one linear operand of"),
    ("%0 = mul(%t, %u) return %0", "mul: expected one linear operand of"),
    ("%0 = exp(%t) return %0", "exp: expected a linear op as operand 0 is linear"),
    ("%0 = add(%t, %x) return %0", "add: expected operand 1 to be linear or zero"),
    ("%0 = sub(%x, %t) return %0", "sub: expected operand 0 to be linear or zero"),
    ("%0 = div(%t, %x) return %0", None),
    ("%0 = div(%x, %t) return %0", "div: expected operand 1 not to be linear"),
    ("%0 = scale_or_zero(%t, %x) return %0", None),
    ("%0 = scale_or_zero(%x, %t) return %0", "scale_or_zero: expected operand 1 not to be linear"),
    ("%0 = fma(%x, %t, %u) return %0", None),
    ("%0 = fma(%t, %u, %u) return %0", "fma: expected one linear operand of"),
    ("%0 = fma(%x, %t, %x) return %0", "fma: expected operand 2 to be linear or zero"),
    ("%0 = fma(%x, %x, %t) return %0", "fma: expected operand 0 to be linear or zero"),
    ("%0 = gt(%x, %x) %1 = select(%0, %t, %u) return %1", None),
    ("%0 = gt(%x, %x) %1 = select(%0, %t, %x) return %1", "select: expected operand 2 to be lin"),
    ("%0 = gt(%t, %x) return %0", "gt: expected a linear op as operand 0 is linear"),
    ("%z = constant() {value=0.0, dtype=f32, shape=(4,)} %0 = gt(%x, %x) "
     "%1 = select(%0, %z, %t) %2 = add(%1, %z) return %2, %z", None),
    ("%z = constant() {value=1.0, dtype=f32, shape=(4,)} %0 = add(%t, %z) return %0",
     "add: expected operand 1 to be linear or zero"),
    ("%z = constant() {value=0.0, dtype=f32, shape=()} %0 = broadcast(%z) {shape=(4,), dims=()} "
     "%1 = concatenate(%0, %t) {axis=0} return %1", None),
    ("%1 = concatenate(%x, %t) {axis=0} return %1", "concatenate: expected operand 0 to be linear"),
    ("%0 = cast(%t) {dtype=f64} return %0", None),
    ("%0 = cast(%t) {dtype=i64} return %0", "cast: expected linear results of float type"),
    ("%0 = dot_general(%t, %x) {lhs_batch=(), lhs_contract=(0,), rhs_batch=(), rhs_contract=(0,)} "
     "return %0", None),
    ("%0 = dot_general(%t, %t) {lhs_batch=(), lhs_contract=(0,), rhs_batch=(), rhs_contract=(0,)} "
     "return %0", "dot_general: expected one linear operand of"),
    ("return %x", "return: expected output 0 to be linear in the linear inputs or zero"),
    ("%0 = stop_gradient(%t) return %0", "stop_gradient: expected a linear op"),
    ("%0 = linear_call(%x, %t) {residuals=1, forward=graph(%r, %t) { %0 = mul(%r, %t) return %0 }, "
     "backward=graph(%r, %c) { %0 = mul(%r, %c) return %0 }} return %0", None),
    ("%0 = linear_call(%t, %u) {residuals=1, forward=graph(%r, %t) { %0 = mul(%r, %t) return %0 }, "
     "backward=graph(%r, %c) { %0 = mul(%r, %c) return %0 }} return %0",
     "linear_call: expected operand 0 not to be linear"),
    ("%0 = linear_call(%x, %t) {residuals=1, forward=graph(%r, %t) { %0 = add(%r, %t) return %0 }, "
     "backward=graph(%r, %c) { return %c }} return %0", "add: expected operand 0 to be linear"),
]


@pytest.mark.parametrize(("body", "message"), LINEAR)
def test_linear(body: str, message: str | None) -> None:
    """Linearity in the last two of three inputs."""
    graph = typed(f"graph(%x: f32[4], %t: f32[4], %u: f32[4]) {{ {body} }}")
    verify(graph)
    if message is None:
        verify_linear(graph, (1, 2))
        return
    with pytest.raises(VerifyError) as caught:
        verify_linear(graph, (1, 2))
    assert str(caught.value).startswith(message)


def test_level_linear() -> None:
    """The level takes all float inputs as linear."""
    graph = typed("graph(%p: bool[4], %t: f32[4], %u: f32[4]) "
                  "{ %0 = select(%p, %t, %u) return %0 }")
    verify(graph, "linear")
    graph = typed("graph(%x: f32[4], %t: f32[4]) { %0 = mul(%x, %t) return %0 }")
    with pytest.raises(VerifyError, match="mul: expected one linear operand"):
        verify(graph, "linear")
