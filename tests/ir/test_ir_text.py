"""Printing and parsing: inverses of one another, canonical, linear in time, within limits."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from irgrad.errors import LimitError, ParseError, VerifyError
from irgrad.ir import Graph, TensorType, Value, parse, parse_type, print_graph, symbol
from irgrad.ir import lexer as lexer_module
from irgrad.ir import parser as parser_module
from irgrad.ir.graph import attributes
from irgrad.ir.location import Location
from irgrad.ir.signature import LEAF, Signature, Tree, flat_tree
from irgrad.ir.types import BF16, BOOL, DTYPES, F32, I64
from irgrad.ops.check import verify
from irgrad.ops.registry import builder
from irgrad.passes.infer import Infer

ROOT = Path(__file__).parents[2]
GOOD = sorted((Path(__file__).parent / "good").glob("*.txt"))
N, M = symbol("n"), symbol("m")


def one_node(**attrs: Any) -> Graph:
    """A graph of one input and one node with the given attributes."""
    graph = Graph()
    x = graph.add_input(TensorType(F32, (N,)), "x")
    graph.outputs = [Value(graph.add("op", [x], [TensorType(F32, (N,))], attributes(attrs)))]
    return graph


def round_trip(graph: Graph) -> Graph:
    """The graph read back from its text, after checking that the text stays the same."""
    text = str(graph)
    again = parse(text)
    assert str(again) == text
    assert again == graph
    return again


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_golden(path: Path) -> None:
    """The files are canonical text of valid graphs."""
    text = path.read_text()
    graph = round_trip(parse(text, str(path)))
    Infer().apply(graph)
    verify(graph)
    assert str(graph) == text


@pytest.mark.parametrize("value", [
    True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.0, 0.1, 1e-320, 1e300, 1e16, 2.5,
    math.inf, -math.inf, math.nan, "", "a\"\\\n\té\u2028\ud800\x7f", "}", "# no comment", F32, BF16,
    N, N * 2 - 1, N * N * M - 3, -N, -M * 7 + 2, N * (2**62), (), (1,), (1, 2.0, True, "x"),
    ((), (0,), (N, (M - 1, -0.0))), tuple(range(300)), tuple(DTYPES.values()),
], ids=repr)
def test_attribute_round_trip(value: Any) -> None:
    """Every kind of attribute comes back with its type and bits."""
    again = round_trip(one_node(value=value, other=1))
    got = again[again.outputs[0].node].attribute("value")
    assert type(got) is type(value)
    assert repr(got) == repr(value)


def test_attribute_kinds_stay_apart() -> None:
    """1, 1.0, true and "1" are four values; 0.0 and -0.0 are two."""
    graphs = [one_node(value=value) for value in (1, 1.0, True, "1", 0.0, -0.0, (1,), ((1,),))]
    assert len({str(graph) for graph in graphs}) == len(graphs)


def test_attribute_without_text_is_refused() -> None:
    """An object that is no attribute value raises instead of printing something."""
    with pytest.raises(VerifyError, match="attribute: expected bool, int.* got object"):
        str(one_node(value=object()))


def test_symbolic_sizes_of_types() -> None:
    """Types with polynomials come back equal."""
    texts = ("f32[n,784]", "i64[]", "bool[2*m*n+n-1,0]", "c128[n*n]", f"bf16[{2**63 - 1}]")
    for text in texts:
        assert str(parse_type(text)) == text
    assert parse_type("f32[1+n*2-1]").shape == (N * 2,)
    assert parse_type(" f32 [ 3*4 , ] # twelve") == TensorType(F32, (12,))


@pytest.mark.parametrize("text", [
    "", "f32", "f32[", "f32[2", "f32[-1]", "f32[2]x", "f9[2]", "f32[n n]", "f32[n,,m]", "f32[f32]",
    "f32[n-]", "f32[*]", "f32[1.0]", f"f32[{2**63}]", f"f32[{2**62}*n*2]", "f32[" + "1," * 65 + "]",
    "f32[" + "*".join(["n"] * 65) + "]", "f32[" + "+".join("abcdefgh" * 9) + "]",
])
def test_bad_types(text: str) -> None:
    """Text that is no type raises ParseError with its place."""
    with pytest.raises(ParseError) as caught:
        parse_type(text)
    assert (caught.value.line, caught.value.column > 0) == (1, True)


def test_interface_round_trip() -> None:
    """Trees, donation, names, captures, effects and several results."""
    graph = Graph("step")
    x = graph.add_input(TensorType(F32, (N,)), "params.w 1")
    y = graph.add_input(TensorType(BOOL, (N,)), "params.w 1")
    c = graph.add_input(TensorType(F32, ()), "")
    graph.captures[c.node] = object()
    graph.effects = [graph.add("check", [y], (), attributes({"message": "first"}))]
    pair = graph.add("pair", [x, c], [TensorType(F32, (N,)), TensorType(I64, ())])
    graph.outputs = [Value(pair, 1), Value(pair, 0), x]
    inner = Tree("dict", (LEAF, Tree("none"), Tree("list", ())), ("plain", "not a name", "é"))
    graph.signature = Signature(
        Tree("tuple", (inner, Tree("list", (LEAF,)))), flat_tree(3), ("w", "ok"),
        frozenset({1, 0}), ("mode='a'",),
    )
    again = round_trip(graph)
    assert again.signature == graph.signature
    assert again.name == "step"
    assert [again[key].name for key in again.inputs] == ["params.w_1", "params.w_1_2", "a2"]
    assert list(again.captures) == [again.inputs[2]]
    assert [again[key].op for key in again.effects] == ["check"]
    assert str(graph).splitlines()[1:] == [
        "graph @step(%params.w_1: f32[n], %params.w_1_2: bool[n]; captures %a2: f32[]) -> "
        "(i64[], f32[n], f32[n]) {",
        '  signature ({plain: *, "not a name": -, "\\u00e9": []}, [*]) -> (*, *, *) donated [0, 1] '
        'names ["w", "ok"] static ["mode=\'a\'"]',
        '  effect check(%params.w_1_2) {message="first"}',
        "  %0, %1 = pair(%params.w_1, %a2) : f32[n], i64[]",
        "  return %1, %0, %params.w_1",
        "}",
    ]


def test_unset_signature_is_flat() -> None:
    """A graph built by hand equals the one read from its text, which has a signature."""
    graph = round_trip(one_node())
    assert graph.signature == Signature(flat_tree(1), flat_tree(1), ("x",))


def test_untyped_text() -> None:
    """Types may be left out, in part too; `?` stands for one."""
    text = (
        "irgrad 1\ngraph @main(%x) -> (?, f32[n]) {\n  %0, %1 = pair(%x) : ?, f32[n]\n"
        "  %2 = op(%0)\n  return %2, %1\n}\n"
    )
    graph = parse(text)
    assert str(graph) == text
    assert graph[graph.outputs[1].node].types == (None, TensorType(F32, (N,)))
    annotated = parse(text.replace("(?, ", "(i64[], "))
    assert annotated[annotated.outputs[0].node].types == (TensorType(I64, ()),)


def test_layout_and_comments_mean_nothing() -> None:
    """The same tokens in another layout give the same graph."""
    text = GOOD[0].read_text()
    spread = text.replace(",", " , # comment } ]\n").replace("\n", "\r\n\t")
    assert "static" in text
    assert parse(spread) == parse(text)


def test_locations_and_names_of_values() -> None:
    """Both print on request and parse back; neither is part of equality."""
    graph = Graph()
    x = graph.add_input(TensorType(F32, (N,)), "x", (Location("/far/away/net/model.py", 3, "f"),))
    lines = (
        Location("model.py", 7, "<lambda>"),
        Location("we ird.py", 8, "", "gradient of"),
    )
    h = graph.add("neg", [x], [TensorType(F32, (N,))], (), "hidden", lines)
    graph.outputs = [Value(graph.add("neg", [Value(h)], [TensorType(F32, (N,))], (), "hidden"))]
    text = print_graph(graph, locations=True, names=True)
    assert text.splitlines()[1:4] == [
        'graph @main(%x: f32[n] loc("net/model.py":3 in f)) -> (f32[n]) {',
        '  %hidden = neg(%x) : f32[n] loc("model.py":7 in "<lambda>", '
        '"we ird.py":8 as "gradient of")',
        "  %hidden_2 = neg(%hidden) : f32[n]",
    ]
    again = parse(text, "file.irg")
    assert again[again.inputs[0]].locations == (Location("net/model.py", 3, "f"),)
    assert again[again[again.outputs[0].node].operands[0].node].locations == lines
    assert again[again.outputs[0].node].locations == (Location("file.irg", 4),)
    assert again == graph
    assert str(again) == str(graph)


def test_keys_and_dead_nodes_do_not_show() -> None:
    """Text depends on structure alone, not on the order in which nodes were added."""
    def build(swap: bool) -> Graph:
        graph = Graph()
        b = builder(graph)
        x = b.wrap(graph.add_input(TensorType(F32, (N,)), "x"))
        first, second = (x.op("cos"), x.op("sin")) if swap else (None, None)
        if first is None or second is None:
            second = x.op("sin")
            x.op("exp")
            first = x.op("cos")
        graph.outputs = [(first * second).value, second.value]
        return graph

    assert str(build(True)) == str(build(False))


def test_bytes_do_not_depend_on_the_process() -> None:
    """Two processes with other hash seeds print the same."""
    script = (
        "import sys; from irgrad.ir import parse\n"
        "from irgrad.passes.infer import Infer\n"
        "for path in sys.argv[1:]:\n"
        "    graph = parse(open(path).read()); Infer(renew=True).apply(graph); print(graph)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, *map(str, GOOD)], cwd=ROOT, check=True,
            capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {b"\n".join(path.read_bytes() for path in GOOD) + b"\n"}


def chain(count: int) -> str:
    """Text of a graph with `count` nodes, each reading two before it."""
    lines = ["irgrad 1", "graph @main(%x: f32[n,784]) -> (f32[n,784]) {",
             "  %0 = neg(%x) : f32[n,784]", "  %1 = neg(%0) : f32[n,784]"]
    lines += [f"  %{i} = op(%{i - 2}, %{i - 1}) {{a=(1, {i}), b=0.5}} : f32[n,784]"
              for i in range(2, count)]
    return "\n".join([*lines, f"  return %{count - 1}", "}", ""])


def test_work_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the nodes take ten times the tokens read and nodes visited, to 5,000 nodes."""
    counts: Counter[str] = Counter()
    advance, get = lexer_module.Lexer.advance, Graph.__getitem__

    def counted_advance(self: lexer_module.Lexer) -> None:
        counts["tokens"] += 1
        advance(self)

    def counted_get(self: Graph, node: int) -> Any:
        counts["visits"] += 1
        return get(self, node)

    monkeypatch.setattr(lexer_module.Lexer, "advance", counted_advance)
    monkeypatch.setattr(Graph, "__getitem__", counted_get)
    seen = []
    for size in (500, 5000):
        counts.clear()
        text = chain(size)
        assert str(parse(text)) == text
        seen.append(dict(counts))
    for what in ("tokens", "visits"):
        assert seen[1][what] < 10.5 * seen[0][what]


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much of anything is a LimitError or a ParseError, never a Python error."""
    deep = "(" * 100_000
    with pytest.raises(LimitError, match="levels of nesting"):
        parse(f"graph() {{ %0 = op() {{a={deep}")
    with pytest.raises(LimitError, match="levels of nesting"):
        parse(f"graph() {{ signature {deep}")
    with pytest.raises(LimitError, match="levels of nesting"):
        parse("graph() { %0 = op() {a = " * 1000)
    with pytest.raises(ParseError, match="name of at most"):
        parse(f"graph(%{'x' * 257}) {{ return }}")
    with pytest.raises(ParseError, match="fits 64 bits"):
        parse(f"graph() {{ %0 = op() {{a={'9' * 10_000}}} return }}")
    with pytest.raises(LimitError, match="characters of text"):
        parse(" " * (lexer_module.MAX_TEXT + 1))
    monkeypatch.setattr(parser_module, "MAX_NODES", 100)
    assert len(parse(chain(99))) == 100
    with pytest.raises(LimitError, match="at most 100 nodes"):
        parse(chain(100))


def test_nesting_up_to_the_limit() -> None:
    """What prints also parses; one more level is refused by both."""
    def nested(levels: int) -> Graph:
        graph = one_node()
        for _ in range(levels - 1):
            graph = one_node(body=graph)
        return graph

    round_trip(nested(lexer_module.MAX_DEPTH))
    with pytest.raises(LimitError, match="levels of regions"):
        str(nested(lexer_module.MAX_DEPTH + 1))


def test_names_at_the_limit() -> None:
    """Long and repeated names of inputs still give text that parses."""
    graph = Graph()
    for _ in range(300):
        graph.add_input(TensorType(F32, ()), "long" * 100)
    graph.add_input(TensorType(F32, ()), "0")
    again = round_trip(graph)
    assert len({again[key].name for key in again.inputs}) == 301
