"""The page in a headless Chromium: what a click, a key, a search and a link do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_pipe import Browser, browser, find_browser
from viewed_step import Step

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium is installed (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = find_browser()
    assert path is not None
    with browser(path, str(tmp_path_factory.mktemp("profile"))) as found:
        yield found


@pytest.fixture
def page(chromium: Browser, page_file: Path) -> Iterator[Browser]:
    """The page, freshly loaded; whatever a test does, nothing is requested and nothing fails."""
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(page_file.as_uri())
    yield chromium
    assert chromium.problems == []
    assert set(chromium.requests) <= {"about:blank", page_file.as_uri()}


def marked(page: Browser, kind: str) -> list[str]:
    """The marked elements of a kind, by id or by their line of a kernel."""
    script = (
        f"[...document.querySelectorAll({json.dumps(kind)})]"
        ".filter(e => e.matches('.on, .near')).map(e => e.id || e.dataset.r || e.dataset.k)"
    )
    found: list[str] = page.run(script)
    return found


def click(page: Browser, selector: str) -> None:
    event = "new MouseEvent('click', {bubbles: true, cancelable: true})"
    page.run(f"document.querySelector({json.dumps(selector)}).dispatchEvent({event}) && 1")


def press(page: Browser, selector: str, key: str) -> None:
    event = f"new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}})"
    page.run(f"document.querySelector({json.dumps(selector)}).dispatchEvent({event}) && 1")


def hidden_line(step: Step) -> str:
    """The ident of the source line of the hidden layer."""
    (file,) = step.view.files
    return next(x.ident for block in file.blocks for x in block if "hidden = inp" in x.text)


def test_a_source_line_marks_what_came_from_it(page: Browser, step: Step) -> None:
    assert marked(page, "*") == []
    line = hidden_line(step)
    click(page, f"#{line} code")
    assert marked(page, ".s") == [line]
    traced = step.view.stages[0].graph
    assert traced is not None
    wanted = {node.ident for node in traced.nodes if line in node.lines}
    assert {i for i in marked(page, ".n") if i.startswith("n0-")} == wanted != set()
    kernels = {kernel.ident for kernel in step.view.kernels if line in kernel.lines}
    assert set(marked(page, "tr.k")) == kernels != set()
    for form in ("ir", "numba", "llvm", "asm"):
        assert marked(page, f"#k0-{form} .l"), form
    assert page.run("document.getElementById('status').textContent").startswith("Selected: 1 ")
    press(page, "body", "Escape")
    assert marked(page, "*") == []


def test_a_line_of_code_marks_its_source_line_and_its_other_forms(
    page: Browser, step: Step
) -> None:
    line = hidden_line(step)
    row = next(x.at for x in step.view.kernels[0].listings[0].lines if "= tanh(" in x.text)
    for form in ("llvm", "asm", "numba"):
        click(page, f'#k0-{form} [data-r="k0:{row}"]')
        assert line in marked(page, ".s"), form
        assert marked(page, "#k0-ir .l") == [f"k0-ir-{row}"]
        assert set(marked(page, f"#k0-{form} .l")) == {f"k0:{row}"}
        assert marked(page, "tr.k") == ["k0"]


def test_a_node_marks_its_source_lines_and_itself_in_other_stages(
    page: Browser, step: Step
) -> None:
    first, *others = [stage.graph for stage in step.view.stages if stage.graph is not None]
    node = next(n for n in first.nodes if n.op == "tanh")
    press(page, f"#{node.ident}", "Enter")
    assert marked(page, ".s") == sorted(node.lines)
    wanted = [n.ident for graph in (first, *others) for n in graph.nodes if n.key == node.key]
    assert marked(page, ".panel .n") == wanted
    assert len(wanted) > 1
    assert marked(page, "path") != [] or page.run("document.querySelectorAll('path.on').length")


def test_a_link_opens_what_it_leads_to(chromium: Browser, page_file: Path, step: Step) -> None:
    chromium.problems.clear()
    line = hidden_line(step)
    chromium.open(f"{page_file.as_uri()}#{line}")
    assert marked(chromium, ".s") == [line]
    chromium.open(f"{page_file.as_uri()}#k1-ir-3")
    assert chromium.run("document.getElementById('k1').open") is True
    assert marked(chromium, "#k1-ir .l") == ["k1-ir-3"]
    node = step.view.stages[0].graph.nodes[-1].ident  # type: ignore[union-attr]
    chromium.open(f"{page_file.as_uri()}#{node}")
    assert chromium.run("document.getElementById('stage0-tab').checked") is True
    assert node in marked(chromium, ".n")
    assert chromium.run(f"document.getElementById('{node}').getBoundingClientRect().width") > 0
    chromium.open(f"{page_file.as_uri()}#no-such-thing%27%22")
    assert marked(chromium, "*") == []
    assert chromium.problems == []


def test_links_work_without_scripts(chromium: Browser, page_file: Path, step: Step) -> None:
    chromium.problems.clear()
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        node = step.view.stages[0].graph.nodes[-1].ident  # type: ignore[union-attr]
        for ident in (hidden_line(step), "k1-ir-3", node):
            chromium.open(f"{page_file.as_uri()}#{ident}")
            assert marked(chromium, "*") == []
            assert chromium.run("document.querySelector(':target').id") == ident
            height = "document.querySelector(':target').getBoundingClientRect().height"
            assert chromium.run(height) > 0, ident
    finally:
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.problems == []


def test_the_search_keeps_what_has_the_text(page: Browser) -> None:
    page.run("document.getElementById('find').value = 'tanh'; 1")
    page.run("document.getElementById('find').dispatchEvent(new Event('input')) && 1")
    said = ""
    end = time.monotonic() + 10
    while not said.startswith("Found: ") and time.monotonic() < end:
        time.sleep(0.05)
        said = page.run("document.getElementById('status').textContent")
    assert said.startswith("Found: ")
    kept = "[...document.querySelectorAll('.panel .n:not(.away)')].map(e => e.textContent)"
    texts = page.run(kept)
    assert texts and all("tanh" in text for text in texts)
    assert page.run("document.querySelectorAll('.panel .n.away').length") > len(texts)
    rows = "[...document.querySelectorAll('tr.k:not(.away)')].map(e => e.dataset.k)"
    assert "k0" in page.run(rows)
    press(page, "body", "Escape")
    assert page.run("document.querySelectorAll('.away, .hit').length") == 0


def test_everything_fits_and_shows(page: Browser) -> None:
    """Boxes are as wide as their text, and no part of the page is wider than its place."""
    wide = (
        "[...document.querySelectorAll('#graph .panel')].filter(p => p.offsetParent)"
        ".flatMap(p => [...p.querySelectorAll('.n')]).filter(n => [...n.querySelectorAll('text')]"
        ".some(t => t.getBBox().width > n.querySelector('rect').getBBox().width)).length"
    )
    assert page.run(wide) == 0
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth") is True
    assert page.run("[...document.querySelectorAll('.panel')].filter(p => p.offsetParent).length") \
        == 1  # fmt: skip
    click(page, "label[for='stage0-tab']")
    assert page.run("document.getElementById('stage0').offsetParent !== null") is True
