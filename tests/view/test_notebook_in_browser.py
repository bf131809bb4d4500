"""Elements for notebooks in a headless Chromium: what the pointer shows, and a page left as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pipe import Browser, browser, find_browser
from viewed_step import Step

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium is installed (apt-get install chromium)"
)
AROUND = (
    "<p id=p>text <code id=code>code</code> <a id=a href='#x'>link</a></p><details id=d><summary "
    "id=s>more</summary>x</details><table id=t><tr><td id=td class=num>1</td></tr></table>"
    "<pre id=pre class=scroll>pre</pre><svg id=svg><text id=text>t</text></svg>"
    "<div id=l class='l n span memory'>row</div>"
)
# Widths change with the bar that scrolls a longer page.
STYLES = """JSON.stringify([...document.querySelectorAll("[id]")]
    .filter(e => !e.closest(".irgrad-view"))
    .map(e => [e.id, [...getComputedStyle(e)]
        .filter(n => !/^(width|inline-size|.*-origin)$/.test(n))
        .map(n => n + ":" + getComputedStyle(e)[n])]))"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = find_browser()
    assert path is not None
    with browser(path, str(tmp_path_factory.mktemp("profile"))) as found:
        yield found


def opened(chromium: Browser, path: Path, inside: str) -> Browser:
    """A page of the user's own with elements in it, as a notebook has them."""
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{AROUND}{inside}</body>")
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(path.as_uri())
    return chromium


def test_the_page_around_is_as_before(chromium: Browser, step: Step, tmp_path: Path) -> None:
    compiled = step.compiled
    shown = [compiled, compiled.graph, compiled.plan, compiled.kernels[0], compiled._parts.program]
    html = "".join(one._repr_html_() for one in shown)  # type: ignore[union-attr]
    before = opened(chromium, tmp_path / "plain.html", "").run(STYLES)
    after = opened(chromium, tmp_path / "shown.html", html).run(STYLES)
    assert json.loads(after) == json.loads(before)
    assert len(json.loads(before)) == AROUND.count(" id=")
    assert chromium.problems == []
    assert set(chromium.requests) <= {"about:blank", (tmp_path / "shown.html").as_uri()}


def test_the_pointer_shows_what_belongs_together(
    chromium: Browser, step: Step, tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path / "graph.html", step.compiled.graph._repr_html_())
    row = '[...document.querySelectorAll(".l")].find(e => e.textContent.includes("= tanh("))'
    line: str = page.run(f"{row}.dataset.l.split(' ')[0]")
    source = f"document.querySelector('[data-s=\"{line}\"]')"
    assert "tanh" in page.run(f"{source}.textContent")
    plain = colour(page, row)
    assert colour(page, source) == plain
    point(page, row)
    assert colour(page, source) != plain
    point(page, source)
    lit: list[str] = page.run(
        "[...document.querySelectorAll('.l')].filter(e => getComputedStyle(e).backgroundColor != "
        f"{json.dumps(plain)}).map(e => e.dataset.l || '')"
    )
    assert lit and all(line in lines.split() for lines in lit)
    point(page, "document.querySelector('#p')")
    assert colour(page, source) == plain


def colour(page: Browser, element: str) -> str:
    found: str = page.run(f"getComputedStyle({element}).backgroundColor")
    return found


def point(page: Browser, element: str) -> None:
    """Move the pointer over an element."""
    page.run(f"{element}.scrollIntoView({{block: 'center'}})")
    box: dict[str, Any] = page.run(f"{element}.getBoundingClientRect().toJSON()")
    x, y = box["x"] + min(box["width"], 80) / 2, box["y"] + box["height"] / 2
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
