"""What is in a page, and that it holds together, without a browser."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from page_parts import Element, elements
from viewed_step import Step, compile_step

import irgrad as ig
import irgrad.numpy as inp
from irgrad.ir.location import Location
from irgrad.kernel.text import print_kernel
from irgrad.view import draw
from irgrad.view.layout import arrange, count_bends
from irgrad.view.sources import Sources


@pytest.fixture(scope="module")
def parts(step: Step) -> list[Element]:
    return elements(step.page)


def test_every_node_of_every_stage_is_there_once(step: Step, parts: list[Element]) -> None:
    count = Counter(e.ident for e in parts if e.ident)
    assert max(count.values()) == 1
    shown = {e.ident: e for e in parts if "n" in e.classes}
    before = ""
    for number, name in enumerate(step.compiled.stages):
        graph = step.compiled.stage(name)
        found = {i for i in shown if re.fullmatch(rf"n{number}-\d+", i)}
        wanted = {f"n{number}-{key}" for key in graph.order()}
        assert found == (set() if str(graph) == before else wanted), name
        for ident in found:
            node = graph[int(ident.split("-")[1])]
            assert node.op in shown[ident].text
            assert len(shown[ident].lines) == len({(x.file, x.line) for x in node.locations})
        before = str(graph)


def test_every_edge_of_a_drawing_is_one_of_its_graph(step: Step) -> None:
    graph = step.compiled.stage("traced")
    drawn = step.view.stages[0].graph
    assert drawn is not None
    assert set(drawn.edges) == {(a, b) for a, b in graph.nx.edges if b in set(graph.order())}
    assert len(drawn.edges) == len(set(drawn.edges))


def test_nodes_of_all_stages_know_their_kernel(step: Step) -> None:
    numbers = range(len(step.compiled.kernels))
    for stage in step.view.stages:
        for node in stage.graph.nodes if stage.graph else ():
            assert node.kernel is None or node.kernel in numbers
    traced = step.view.stages[0].graph
    fused = step.view.stages[-1].graph
    assert traced is not None and fused is not None
    assert {n.kernel for n in fused.nodes if n.op == "fused"} == set(numbers)
    products = [n for n in traced.nodes if n.op == "dot_general"]
    texts = [step.compiled.kernels[n.kernel].text for n in products if n.kernel is not None]
    assert len(texts) == len(products) >= 2
    assert all("sum(a" in text for text in texts)


def test_every_kernel_has_its_texts(step: Step, parts: list[Element]) -> None:
    by_id = {e.ident: e for e in parts}
    assert len(step.compiled.kernels) >= 2
    for number, kernel in enumerate(step.compiled.kernels):
        assert by_id[f"k{number}"].tag == "details"
        shown = {form: by_id[f"k{number}-{form}"] for form in ("ir", "numba", "llvm", "asm")}
        assert _code(shown["ir"]) == kernel.text
        for form in ("numba", "llvm", "asm"):
            text = re.sub(r"\s*\.cfi_.*", "", kernel.source(form)) if form == "asm" else (
                kernel.source(form)
            )
            assert _code(shown[form]).rstrip() == text.rstrip(), form


def _code(element: Element) -> str:
    """The text of a listing without the numbers beside it; these are no text of lines."""
    lines = element.text.split("\n")
    return "\n".join(re.sub(r"^\d{1,5}(?=\D|$)", "", line, count=1) for line in lines)


def test_links_lead_somewhere_and_back(step: Step, parts: list[Element]) -> None:
    idents = {e.ident for e in parts if e.ident}
    links = [e.attributes["href"] for e in parts if "href" in e.attributes]
    assert links and all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= idents
    sources = {e.ident for e in parts if "s" in e.classes}
    marked = {e.ident for e in parts if "marked" in e.classes}
    linked = {line for e in parts for line in e.lines}
    assert linked == marked <= sources
    rows = {e.attributes["data-r"] for e in parts if e.lines and "data-r" in e.attributes}
    assert {e.attributes["data-r"] for e in parts if "data-r" in e.attributes} == rows
    kernels = {e.attributes["data-k"] for e in parts if "data-k" in e.attributes}
    assert kernels == {f"k{i}" for i in range(len(step.compiled.kernels))}
    labels = {e.attributes["for"] for e in parts if "for" in e.attributes}
    assert labels == {e.ident for e in parts if e.attributes.get("type") == "radio"}


def test_code_lines_come_from_the_right_source_lines(step: Step) -> None:
    """The line of the hidden layer has its product and its tanh in every form of a kernel, that of
    the update its constant."""
    (file,) = step.view.files
    texts = {line.text.strip(): line.ident for block in file.blocks for line in block}
    hidden = texts['hidden = inp.tanh(x @ params["w"] + params["b"])']
    update = next(i for t, i in texts.items() if t.startswith("return value, {name:"))
    first = step.view.kernels[0]
    ir, numba, llvm, asm = (listing.lines for listing in first.listings)
    assert [line.lines[0] for line in ir if "= tanh(" in line.text] == [hidden]
    assert [line.lines[0] for line in ir if "= sum(a" in line.text] == [hidden]
    row = next(line.at for line in ir if "= tanh(" in line.text)
    assert any("tanh_f32(" in line.text for line in numba if line.at == row)
    assert any("tanh" in line.text and "call" in line.text for line in llvm if line.at == row)
    assert sum(line.at == row for line in asm) > 5  # it is inlined
    updates = [k for k in step.view.kernels if update in k.lines]
    assert updates
    for kernel in updates:
        lines = [line for line in kernel.listings[0].lines if "0.1234" in line.text]
        assert lines and all(line.lines[0] == update for line in lines)


def test_most_code_lines_are_attributed(step: Step) -> None:
    for kernel in step.view.kernels:
        ir, numba, llvm, asm = (listing.lines for listing in kernel.listings)
        assert all(line.lines for line in ir if not line.text.strip().startswith(("kernel", "}")))
        inner = [line for line in numba if line.text.startswith("    ") and line.at]
        assert len(inner) >= sum(" = " in line.text for line in ir) // 2
        assert {line.at for line in (*numba, *llvm, *asm)} <= {0, *(line.at for line in ir)}
        assert any(line.at for line in asm)


def test_listings_are_the_plain_texts(step: Step) -> None:
    for info in step.compiled.kernels:
        for form in ("llvm", "asm"):
            rows = info.source(f"{form}-lines").rstrip("\n").split("\n")
            plain = info.source(form).rstrip("\n").split("\n")
            assert [row.split(" | ", 1)[1] for row in rows] == [
                row for row in plain if not row.lstrip().startswith(".cfi_")
            ]
    program = step.compiled._parts.program
    assert program is not None
    assert [print_kernel(kernel) for kernel in program.kernels] == [
        kernel.text for kernel in step.compiled.kernels
    ]


def test_memory_is_that_of_the_plan(step: Step) -> None:
    memory, program = step.view.memory, step.compiled._parts.program
    assert program is not None
    assert memory.arena_bytes + memory.workspace == step.compiled.plan.peak_bytes
    assert len(memory.steps) == len(memory.live) == len(program.calls)
    assert 0 < max(memory.live) <= memory.arena_bytes
    for span in memory.spans:
        assert 0 <= span.offset <= span.offset + span.bytes <= memory.arena_bytes
        assert 0 <= span.first <= span.last < len(memory.steps)
    for i, a in enumerate(memory.spans):
        for b in memory.spans[:i]:
            apart = a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset
            assert apart or a.first > b.last or b.first > a.last, (a, b)
    donated = [row.label for row in memory.outside if row.kind == "donated"]
    assert donated == ["params.b: f32[24]", "params.w: f32[480]"]
    assert all(row.writes for row in memory.outside)


def test_nothing_is_loaded_and_nothing_else_runs(step: Step, parts: list[Element]) -> None:
    (policy,) = (e.attributes["content"] for e in parts if "http-equiv" in e.attributes)
    assert policy.startswith("default-src 'none'; ")
    for kind, tag in (("style", "style"), ("script", "script")):
        (text,) = (e.text for e in parts if e.tag == tag)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not {"link", "img", "iframe", "object", "embed"} & {e.tag for e in parts}
    names = {name for e in parts for name in e.attributes}
    assert not {"src", "style", "srcset", "xlink:href"} & names
    assert not [name for name in names if name.startswith("on")]
    assert "http://" not in step.page and "https://" not in step.page


def test_values_of_arrays_and_paths_of_this_machine_are_not_shown(step: Step) -> None:
    here = str(Path(__file__).parent)
    assert here not in step.page
    assert os.path.expanduser("~") + os.sep not in step.page
    secret = np.full(7, np.exp(-0.3125))
    compiled = ig.compile(lambda x: x * secret, np.ones(7), target="reference")
    page = compiled.report(html=True)
    assert "captured:\n  secret f64[7]" in page
    assert f"{secret[0]:.4f}" not in page


HOSTILE = '"><script>alert(1)<'


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Names of files, arguments and messages come from the user's world."""
    path = tmp_path / f"{HOSTILE}.py"
    path.write_text(
        "import irgrad as ig\n"
        "def f(p):  # </code><script>alert(2)</script>\n"
        f"    ig.check(p[{HOSTILE!r}].sum() > 0, '<img src=x onerror=alert(3)>')\n"
        f"    return p[{HOSTILE!r}] * 2\n"
    )
    scope: dict[str, object] = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    f = scope["f"]
    f.__name__ = f"f{HOSTILE}"  # type: ignore[attr-defined]
    argument = {HOSTILE: np.ones(3, np.float32)}
    page = ig.compile(f, argument, donate=(0,)).report(html=True)
    found = elements(page)
    assert sum(e.tag == "script" for e in found) == 1
    assert "img" not in {e.tag for e in found}
    assert not [n for e in found for n in e.attributes if n.startswith("on")]
    assert any(HOSTILE in e.text and e.tag == "h3" for e in found)
    assert any("</code><script>alert(2)</script>" in e.text for e in found if e.tag == "code")
    titles = [e.text for e in found if e.tag == "title"]
    assert any("<img src=x onerror=alert(3)>" in text for text in titles)
    assert any(HOSTILE in text and "donated" in text for text in titles)


def test_equal_programs_give_equal_pages(step: Step) -> None:
    assert compile_step().report(html=True) == step.page
    script = Path(__file__).parent / "viewed_step.py"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    code = (
        f"import sys; sys.path.insert(0, {str(script.parent)!r}); import hashlib, viewed_step; "
        "page = viewed_step.compile_step().report(html=True); "
        "print(hashlib.sha256(page.encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(step.page.encode()).hexdigest()


@pytest.mark.parametrize("limit", ["MAX_NODES", "MAX_BENDS"])
def test_large_graphs_are_listed(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, limit, 20)

    def f(x):
        start = x
        for i in range(20):
            x = inp.sin(x) + i * start
        return x

    page = ig.compile(f, np.ones(3), target="reference").report(html=True)
    found = elements(page)
    traced = [e for e in found if e.ident.startswith("n0-")]
    assert len(traced) > 40
    assert {e.tag for e in traced} == {"li"}
    assert "are too many to draw" in page
    assert "There are no kernels" in page


def test_a_layout_has_layers_apart_and_nodes_beside_each_other() -> None:
    random = np.random.default_rng(3)
    widths = {key: float(random.integers(30, 160)) for key in range(90)}
    edges = [(a, b) for a in range(90) for b in range(a + 1, 90) if random.random() < 0.03]
    found = arrange(widths, edges)
    assert count_bends(widths, edges) == sum(map(len, found.routes.values()))
    for a, b in edges:
        heights = [y for _, y in (found.positions[a], *found.routes[a, b], found.positions[b])]
        assert heights == list(range(int(heights[0]), int(heights[-1]) + 1))
    for a in widths:
        x, y = found.positions[a]
        assert widths[a] / 2 <= x + 1e-6 <= found.width - widths[a] / 2 + 2e-6
        for b in widths:
            other, height = found.positions[b]
            if a < b and height == y:
                assert abs(x - other) >= (widths[a] + widths[b]) / 2
    assert found == arrange(widths, edges)
    assert arrange({}, []).layers == 0


def test_symbolic_sizes_and_programs_without_nodes() -> None:
    page = ig.compile(lambda x: x + 1, ig.spec("f32[n,3]"), target="reference").report(html=True)
    assert "f32[n,3]" in page
    elements(page)
    elements(ig.compile(lambda x: x, np.ones(3), target="reference").report(html=True))
    elements(ig.compile(lambda: 1.5, target="reference").report(html=True))


def test_files_that_are_no_python_show_no_more_than_the_named_lines(tmp_path: Path) -> None:
    path = tmp_path / "secrets.txt"
    path.write_text("first line\nsecond: line of words\nthird line\n")
    sources = Sources()
    sources.idents([Location(str(path), 2)])
    (file,) = sources.files_shown({})
    assert [[line.text for line in block] for block in file.blocks] == [["second: line of words"]]
    gone = Sources()
    gone.idents([Location(str(tmp_path / "none.py"), 4)])
    (file,) = gone.files_shown({})
    assert [[(line.number, line.text) for line in block] for block in file.blocks] == [[(4, "")]]


def test_report_takes_a_bool(step: Step) -> None:
    assert not step.compiled.report().startswith("<!DOCTYPE")
    with pytest.raises(ig.errors.ArgumentError, match="report: expected html as a bool, got 1"):
        step.compiled.report(html=1)  # type: ignore[arg-type]
