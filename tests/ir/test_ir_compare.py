"""Equality of graphs and readable differences."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from irgrad.ir import Graph, diff, equal, parse
from irgrad.ir.compare import _match

GOOD = [path.read_text() for path in sorted((Path(__file__).parent / "good").glob("*.txt"))]
BASE = """\
graph(%x: f32[4], %y: f32[4]) {
  %a = exp(%x)
  %b = sin(%y)
  %c = mul(%a, %b)
  %d = add(%c, %x)
  %e = neg(%d)
  return %e
}
"""


def marked(text: str) -> list[str]:
    """The lines of a difference that are not shared."""
    return [line for line in text.splitlines() if line[:1] in "+-"]


def changed(*pairs: tuple[str, str]) -> list[str]:
    """The marked lines of the difference between the base and the base with replacements."""
    text = BASE
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return marked(diff(parse(BASE), parse(text)))


def test_equal_ignores_names_and_locations() -> None:
    """Names of the graph, inputs and arguments, locations and static arguments do not count."""
    a = parse('graph @f(%x: f32[]) { signature (*) -> * names ["q"] return %x }')
    b = parse('graph @g(%z: f32[] loc("a.py":1)) { signature (*) -> * static ["k"] return %z }')
    assert equal(a, b)
    assert a == b
    assert diff(a, b) == ""


@pytest.mark.parametrize(("old", "new"), [
    ("%x: f32[4]", "%x: f64[4]"), ("exp(%x)", "exp(%y)"), ("exp(%x)", "exp(%x) : f32[4]"),
    ("return %e", "return %e, %e"), ("%a = exp", "signature (*, [*]) -> (*) %a = exp"),
    ("%a = exp", "signature (*, *) -> (*) donated [0] %a = exp"), ("%y: f32[4]", "%y: f32[n]"),
    (", %y: f32[4]", "; captures %y: f32[4]"), ("sin(%y)", "sin(%y) {axis=1}"),
    ("return", "effect check(%a) return"), ("add(%c, %x)", "add(%x, %c)"),
])
def test_unequal(old: str, new: str) -> None:
    """Each part that counts makes graphs unequal, and the difference shows lines of both."""
    a, b = parse(BASE), parse(BASE.replace(old, new))
    assert a != b
    lines = marked(diff(a, b))
    assert lines
    assert diff(b, a) != ""


def test_node_exchanged() -> None:
    """Another op in the same place shows as one line out and one in."""
    assert changed(("sin(%y)", "cos(%y)")) == ["-   %1 = sin(%y)", "+   %1 = cos(%y)"]
    assert changed(("mul(%a", "sub(%a")) == ["-   %2 = mul(%0, %1)", "+   %2 = sub(%0, %1)"]


def test_attribute_changed() -> None:
    """A change deep down does not mark the nodes above it."""
    assert changed(("exp(%x)", "exp(%x) {k=1}")) == ["-   %0 = exp(%x)", "+   %0 = exp(%x) {k=1}"]


def test_renumbering_is_silent() -> None:
    """A node added early shifts all numbers, yet it and its reader alone are marked."""
    assert changed(("%a = exp(%x)", "%z = log(%x)\n  %a = exp(%z)")) == [
        "+   %+0 = log(%x)", "-   %0 = exp(%x)", "+   %0 = exp(%+0)",
    ]


def test_removed_node() -> None:
    """A node that is gone shows with its number."""
    assert changed(("%e = neg(%d)", ""), ("return %e", "return %d")) == [
        "-   %4 = neg(%3)", "-   return %4", "+   return %3",
    ]


def test_change_inside_a_region() -> None:
    """The difference goes into regions and marks the inner line alone."""
    text = GOOD[1]
    new = text.replace("%1 = sinh(%a0)", "%1 = cosh(%a0)")
    assert new != text
    lines = marked(diff(parse(text), parse(new)))
    assert [line.split() for line in lines] == [
        ["-", "%1", "=", "sinh(%a0)", ":", "f64[n]"], ["+", "%1", "=", "cosh(%a0)", ":", "f64[n]"],
    ]
    lines = marked(diff(parse(text), parse(text.replace("residuals = 1", "residuals = 2"))))
    assert lines == ["-     residuals = 1,", "+     residuals = 2,"]


def test_order_of_effects() -> None:
    """The same effects in another order are a difference."""
    text = "graph(%x: bool[]) {{ effect check(%x) {{m={}}} effect check(%x) {{m={}}} return }}"
    lines = marked(diff(parse(text.format(1, 2)), parse(text.format(2, 1))))
    assert [line[0] for line in lines] == ["-", "-", "+", "+"]


def test_difference_shows_context() -> None:
    """Unchanged lines around a change appear, others as dots."""
    text = diff(parse(BASE), parse(BASE.replace("neg", "abs")), context=1)
    assert text.splitlines() == [
        "  ...", "    %3 = add(%2, %x)", "-   %4 = neg(%3)", "+   %4 = abs(%3)", "    return %4",
        "  ...",
    ]


def random_graph(rng: random.Random, count: int) -> list[str]:
    """Statements of a random graph."""
    return [
        f"%{i} = {rng.choice(['add', 'mul', 'sub'])}(%{rng.randrange(max(0, i - 9), i)}, "
        f"%{rng.randrange(i)})" for i in range(2, count)
    ]


def as_graph(statements: list[str]) -> Graph:
    """The graph of statements; every value that nothing reads is returned."""
    text = "\n".join(statements)
    unread = [s.split(" ")[0] for s in statements
              if text.count(f"({s.split(' ')[0]},") + text.count(f" {s.split(' ')[0]})") == 0]
    return parse(f"graph(%0: f32[], %1: f32[]) {{\n{text}\nreturn {', '.join(unread)}\n}}")


def test_one_change_in_a_large_graph_stays_small() -> None:
    """A changed op among 2,000 marks that line, wherever it is."""
    rng = random.Random(5)
    statements = random_graph(rng, 2000)
    a = as_graph(statements)
    for _ in range(5):
        place = rng.randrange(len(statements))
        edited = list(statements)
        edited[place] = edited[place].replace("= ", "= un", 1)
        lines = marked(diff(a, as_graph(edited)))
        assert len(lines) == 2
        assert lines[0].replace("= ", "= un")[1:] == lines[1][1:]


def test_matching_is_one_to_one() -> None:
    """No node is matched twice, and equal graphs match completely."""
    rng = random.Random(6)
    a, b = as_graph(random_graph(rng, 300)), as_graph(random_graph(rng, 300))
    pairs = _match(a, b, a.order(), b.order())
    assert len(set(pairs.values())) == len(pairs)
    assert set(_match(a, a.copy(), a.order(), a.order())) == set(a.order())
