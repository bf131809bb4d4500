"""What objects show of themselves in a notebook: elements of HTML that hold together by themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any
from unittest import mock

import llvmlite.binding as llvm
import numpy as np
import pytest
from page_parts import Element, elements
from viewed_step import Step

import irgrad as ig
import irgrad.numpy as inp
from irgrad.driver import stage_graphs
from irgrad.ir.location import Location
from irgrad.kernel.program import Program
from irgrad.kernel.slots import Workspace
from irgrad.passes.lower import lower
from irgrad.runtime.compiled import MemoryPlan

LIMIT = 300_000  # bytes of an element, whatever it shows
X = np.linspace(0, 1, 6).reshape(2, 3)
HOSTILE = "\"'><script>alert(1)</script></style><style>*{color:red}</style>\ue000&#x3c;"


def fused(f: Callable[..., Any], *specs: str) -> ig.ir.Graph:
    return list(stage_graphs(ig.trace(f, *specs), ig.Options()).values())[-1]


def shared(x: Any) -> Any:
    """As many kernels as rounds, most of them the same."""
    for _ in range(250):
        x = x / (1 + abs(x).sum(axis=0))
    return x


def long(x: Any, rounds: int = 1700) -> Any:
    for i in range(rounds):
        x = np.sin(x) * 1.5 + i
    return x


def body(x: Any) -> Any:
    """Kernels with hundreds of statements."""
    return long(x, 400)


def plan_of(lowered: Callable[[], tuple[ig.ir.Graph, Program]]) -> MemoryPlan:
    program = lowered()[1]
    return MemoryPlan(program.dims, Workspace(program.slots, program.arena_bytes), lowered)


@cache
def program_of(f: Callable[..., Any], spec: str) -> tuple[ig.ir.Graph, Program]:
    graph = fused(f, spec)
    return graph, lower(graph)


@pytest.fixture(scope="module")
def shown(step: Step) -> dict[str, Any]:
    """An object of each kind that shows itself."""
    compiled = step.compiled
    program = compiled._parts.program
    assert program is not None
    jitted = ig.jit(lambda x, factor=1: inp.tanh(x) * factor, target="reference")
    unused = ig.jit(lambda x: x)
    for x in (X, X[0], X.astype(np.float32)):
        jitted(x, factor=2.0)
    params = {"w": np.ones((20, 24), np.float32), "b": np.ones(24, np.float32)}
    x, wanted = np.ones((48, 20), np.float32), np.ones((48, 24), np.float32)
    return {
        "graph": compiled.graph,
        "fused graph": compiled.stage("fuse"),
        "empty graph": ig.ir.Graph(),
        "kernel": program.kernels[0],
        "kernel of a function": compiled.kernels[1],
        "program": program,
        "plan": compiled.plan,
        "compiled": compiled,
        "interpreted": jitted.compiled(X, factor=2.0),
        "plan without kernels": jitted.compiled(X, factor=2.0).plan,
        "profile": compiled.profile(params, x, wanted, rounds=2),
        "jitted": jitted,
        "not called": unused,
        "history": jitted.history,
    }


KINDS = (
    "graph", "fused graph", "empty graph", "kernel", "kernel of a function", "program", "plan",
    "compiled", "interpreted", "plan without kernels", "profile", "jitted", "not called", "history",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_element_needs_nothing_else_and_leaves_the_page_alone(
    shown: dict[str, Any], kind: str
) -> None:
    assert set(shown) == set(KINDS)
    with mock.patch.object(llvm.TargetMachine, "emit_object", side_effect=AssertionError):
        html = shown[kind]._repr_html_()
    assert html == shown[kind]._repr_html_()
    check_element(html)


def check_element(html: str) -> list[Element]:
    """The parts of an element that is closed, bounded, without requests, scripts and styles of
    others; its links lead to its own parts."""
    parts = elements(html)
    assert len(html.encode()) < LIMIT
    assert parts[0].classes == ["irgrad-view"]
    assert {e.tag for e in parts} <= {
        "div", "style", "p", "b", "span", "i", "code", "pre", "a", "details", "summary", "table",
        "thead", "tbody", "tr", "th", "td", "svg", "g", "rect", "text", "path", "line", "circle",
        "title",
    }  # fmt: skip
    names = {name for e in parts for name in e.attributes}
    assert not [n for n in names if n.startswith("on") or n in ("src", "style", "srcset")]
    (style,) = (e.text for e in parts if e.tag == "style")
    assert not re.search(r"@|url|\\|expression", style)
    for rule in style.split("}")[:-1]:
        selectors = rule.partition("{")[0]
        for selector in re.split(r",(?![^(]*\))", selectors):
            assert selector.strip().startswith(".irgrad-view"), selector
    idents = Counter(e.ident for e in parts if e.ident)
    assert not idents or max(idents.values()) == 1
    links = [e.attributes["href"] for e in parts if "href" in e.attributes]
    assert {link for link in links if link[0] != "#"} == set()
    assert {link[1:] for link in links} <= set(idents)
    assert all(ident.startswith("irg") for ident in idents)
    return parts


def rows(parts: list[Element]) -> dict[str, Element]:
    """The rows of code by their text."""
    return {e.text.lstrip("0123456789"): e for e in parts if "l" in e.classes}


def source_line(parts: list[Element], ident: str) -> str:
    (line,) = (e for e in parts if e.attributes.get("data-s") == ident)
    return line.text.lstrip("0123456789").strip()


def test_a_graph_is_text_beside_its_source_lines(step: Step) -> None:
    parts = elements(step.compiled.graph._repr_html_())
    found = rows(parts)
    (product,) = (e for text, e in found.items() if " = dot_general(%x, %params.w)" in text)
    assert source_line(parts, product.lines[0]) == (
        'hidden = inp.tanh(x @ params["w"] + params["b"])'
    )
    assert "viewed_step.py" in product.attributes["title"]
    graph = step.compiled.graph
    count = sum(graph[key].op != "input" for key in graph.order())
    assert len([text for text in found if " = " in text]) == count
    drawn = [e for e in parts if "n" in e.classes]
    assert len(drawn) == len(graph.order())
    (style,) = (e.text for e in parts if e.tag == "style")
    for line in {line for e in parts for line in e.lines}:
        assert f'[data-s="{line}"]:hover) [data-l~="{line}"]' in style


def test_a_kernel_is_text_with_its_lines(step: Step) -> None:
    for kernel in step.compiled.kernels:
        parts = elements(kernel._repr_html_())
        shown = [e for e in parts if "l" in e.classes]
        texts = [e.text for e in parts if e.tag == "code"][-len(shown) :]
        assert "\n".join(texts) + "\n" == kernel.text
        lines = {source_line(parts, e.lines[0]) for e in shown if e.lines}
        assert lines <= {x.source() for x in kernel.origin}
        assert kernel.origin[0].source() in lines
    first = step.compiled.kernels[0]
    parts = elements(first._repr_html_())
    for op, text in (("tanh", "hidden = inp.tanh"), ("mul", "return (error * error).mean()")):
        lines = [e.lines[0] for row, e in rows(parts).items() if f"= {op}(" in row]
        assert any(source_line(parts, line).startswith(text) for line in lines)


def test_a_plan_is_bars_of_lifetimes(step: Step) -> None:
    program = step.compiled._parts.program
    assert program is not None
    parts = elements(step.compiled.plan._repr_html_())
    steps = [e.text for e in parts if "step" in e.classes]
    assert steps == [f"{i}: k{call.kernel}" for i, call in enumerate(program.calls)]
    spans = [e for e in parts if "span" in e.classes]
    lines = str(step.compiled.plan).splitlines()
    assert lines[0] == f"memory of a run: {step.compiled.plan.peak_bytes:,} bytes, " + (
        f"{len(program.calls)} kernel calls"
    )
    table = lines[lines.index(next(x for x in lines if x.startswith("buffer"))) + 1 :]
    assert len(table) == len(spans) >= 2
    for line, span in zip(table, spans, strict=True):
        assert line.split("  ")[0] in span.text
        assert line.rpartition("  ")[2] in span.text


def test_a_profile_and_a_history_are_tables(shown: dict[str, Any]) -> None:
    calls = len(shown["profile"].kernels)
    assert repr(shown["profile"]) == f"Profile(step, cpu, {calls} kernel calls, 2 rounds)"
    profile = elements(shown["profile"]._repr_html_())
    names = [e.text for e in profile if e.tag == "td"]
    assert [k.name for k in shown["profile"].kernels] == [x for x in names if x.startswith("k")]
    history = elements(shown["jitted"]._repr_html_())
    cells = [e.text for e in history if e.tag == "td"]
    assert len(shown["jitted"].cache_info().reasons) == 3
    for reason in shown["jitted"].cache_info().reasons:
        assert any(cell.startswith(reason) for cell in cells), reason
    assert "jitted(x, factor=2.0)" in {source_line(history, e.lines[0])
                                       for e in history if e.lines}  # fmt: skip
    assert "not called" in shown["not called"]._repr_html_()


# -- size ------------------------------------------------------------------------------------------


def test_what_is_too_large_is_left_out_in_words() -> None:
    graph = ig.trace(long, "f64[4]")
    parts = check_element(graph._repr_html_())
    assert len(graph) > 5000
    (gap,) = (e.text for e in parts if "gap" in e.classes)
    shown = len([text for text in rows(parts) if " = " in text])
    assert gap == f"{len(graph) - 1 - shown:,} nodes left out"
    assert len(graph._repr_html_()) < 100_000
    assert shown >= 200


BIG: dict[str, Callable[[], Any]] = {
    "inputs": lambda: ig.trace(lambda *xs: sum(xs), *["f64[3]"] * 3000),
    "operands": lambda: ig.trace(lambda *xs: inp.concatenate(xs), *["f64[3]"] * 3000),
    "lines": lambda: many_lines(),
    "kernels": lambda: program_of(shared, "f64[8,30]")[0],
    "program": lambda: program_of(shared, "f64[8,30]")[1],
    "plan": lambda: plan_of(lambda: program_of(shared, "f64[8,30]")),
    "body": lambda: program_of(body, "f64[4]")[1],
    "kernel": lambda: max(program_of(body, "f64[4]")[1].kernels, key=lambda k: len(k.body)),
    "regions": lambda: program_of(body, "f64[4]")[0],
    "compiled": lambda: ig.compile(body, "f64[4]", target="reference"),
    "results": lambda: lower(fused(lambda x: [x * i for i in range(500)], "f64[3]")),
}


def many_lines() -> ig.ir.Graph:
    """Nodes that each come from hundreds of lines."""
    graph = ig.trace(lambda x: np.sin(np.cos(x)), "f64[3]")
    for key in graph.order():
        lines = tuple(Location(__file__, line) for line in range(1, 900))
        graph.update(key, locations=lines)
    return graph


@pytest.mark.parametrize("kind", BIG)
def test_elements_are_bounded(kind: str) -> None:
    parts = check_element(BIG[kind]()._repr_html_())
    left = [e.text for e in parts if "gap" in e.classes or "note" in e.classes]
    assert any("left out" in text for text in left) or kind in ("inputs", "operands", "kernel")
    assert len([e for e in parts if e.tag == "rect"]) < 1500


def test_a_long_run_is_shown_around_its_peak() -> None:
    def tail(x: Any) -> Any:
        for i in range(200):
            x = x / (1 + abs(x).sum(axis=0))
            if i == 150:
                x = (x @ inp.ones((30, 400))) / (1 + x.sum(axis=1, keepdims=True)) @ inp.ones(
                    (400, 30)
                )
        return x

    graph = fused(tail, "f64[8,30]")
    program = lower(graph)
    parts = check_element(plan_of(lambda: (graph, program))._repr_html_())
    steps = [int(e.text.split(":")[0]) for e in parts if "step" in e.classes]
    assert steps == list(range(steps[0], steps[0] + 48))
    (peak,) = (e.text for e in parts if "label" in e.classes and e.text.startswith("peak"))
    assert steps[0] < int(peak.split()[-1]) < steps[-1]
    assert f"{len(program.calls) - 48:,} kernel calls left out" in {
        e.text for e in parts if "gap" in e.classes
    }


# -- whatever is shown -----------------------------------------------------------------------------


def test_nothing_of_the_user_becomes_markup(tmp_path: Any) -> None:
    graph = ig.ir.Graph(HOSTILE)
    place = Location(str(tmp_path / HOSTILE.replace("/", "")), 3, HOSTILE, HOSTILE)
    x = graph.add_input(ig.ir.parse_type("f64[3]"), HOSTILE, (place,))
    y = graph.add("sin", [x], [ig.ir.parse_type("f64[3]")], (), HOSTILE, (place,))
    graph.outputs = [ig.ir.Value(y)]
    compiled = ig.compile(graph, target="reference")
    for one in (graph, compiled, lower(list(stage_graphs(graph, ig.Options()).values())[-1])):
        html = one._repr_html_()
        check_element(html)
        assert "<script" not in html
        assert html.count("</style>") == 1
        assert "\ue000" not in html
        assert "\n" not in repr(one)
        assert str(one)


def test_a_graph_that_is_not_well_formed_says_so() -> None:
    graph = ig.trace(lambda x: np.sin(x) + 1, "f64[3]")
    graph.outputs = [ig.ir.Value(99)]
    assert repr(graph) == "Graph(main, 4 nodes)"
    parts = check_element(graph._repr_html_())
    (note,) = (e.text for e in parts if "note" in e.classes)
    assert note.startswith("return: expected values that exist, got (99, 0)")


def normed(x: Any, w: Any) -> Any:
    hidden = inp.tanh(x @ w)
    return hidden / (1 + (hidden * hidden).sum(axis=0)), hidden.sum()


def test_programs_with_named_sizes() -> None:
    compiled = ig.compile(normed, "f32[n,4]", "f32[4,m]")
    program, plan = compiled._parts.program, compiled.plan
    assert program is not None and program.slots
    shown = (compiled, compiled.graph, program, plan, *program.kernels, *compiled.kernels)
    for one in shown:
        check_element(one._repr_html_())
        assert "\n" not in repr(one)
        assert "n" in str(one)
    for info in compiled.kernels:
        assert info.name in info.source("llvm") and "ret" in info.source("asm")
    page = compiled.report(html=True)
    assert elements(page)
    assert page.count("4*m*n") > 3
    assert re.fullmatch(r"Program\(\d+ kernels, \d+ calls, \d+ slots\)", repr(program))
    assert "slot 0: 4*m*n bytes" in str(plan)
    assert "slot 0: 4*m*n bytes" in str(program)
    labels = [e.text for e in elements(plan._repr_html_()) if "label" in e.classes]
    assert "slot 0: 4*m*n B" in labels


def test_sources_that_are_gone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gone.py"
    path.write_text("def f(x):\n    return x * 2 + 1\n")
    scope: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    graph = ig.trace(scope["f"], "f64[3]")
    path.unlink()
    parts = check_element(graph._repr_html_())
    (row,) = (e for text, e in rows(parts).items() if " = mul(" in text)
    assert source_line(parts, row.lines[0]) == ""
    assert "gone.py:2" in row.attributes["title"]
