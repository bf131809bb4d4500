"""`irgrad view`: the file that it writes, and how it fails."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from irgrad.tools.cli import make_app

MODEL = """
import irgrad.numpy as np


def f(x, y):
    return np.tanh(x) @ y
"""
TEXT = 'irgrad 1\ngraph @g(%x: f32[3]) -> (f32[3]) {\n  %0 = tanh(%x) : f32[3]\n  return %0\n}\n'
SPECS = ("--spec", "f32[3,4]", "--spec", "f32[4]", "--target", "reference")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "viewed.py").write_text(MODEL)
    (tmp_path / "g.irg").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def view(*arguments: str) -> Result:
    return CliRunner().invoke(make_app(), ["view", *arguments])


def test_it_writes_a_page_named_as_the_function(folder: Path) -> None:
    done = view("viewed.py:f", *SPECS)
    assert done.exit_code == 0, done.output
    page = (folder / "f.html").read_text()
    assert done.output == f"f.html: {len(page.encode()):,} bytes, 0 kernels\n"
    assert page.startswith("<!DOCTYPE html>")
    assert "return np.tanh(x) @ y" in page
    assert "viewed.py" in page and str(folder) not in page


def test_named_sizes_have_a_page(folder: Path) -> None:
    done = view("viewed.py:f", "--spec", "f32[n,4]", "--spec", "f32[4]")
    assert done.exit_code == 0, done.output
    assert "f32[4*n]" in (folder / "f.html").read_text()


def test_ir_text_is_a_source_and_a_page_is_replaced(folder: Path) -> None:
    (folder / "page.html").write_text("old")
    for _ in range(2):
        done = view("g.irg", "--output", "page.html", "--target", "reference")
        assert done.exit_code == 0, done.output
    assert "tanh" in (folder / "page.html").read_text()
    assert view("g.irg", "--target", "reference").exit_code == 0
    assert (folder / "g.html").read_text() == (folder / "page.html").read_text()
    assert sorted(p.name for p in folder.iterdir()) == ["g.html", "g.irg", "page.html", "viewed.py"]


def test_a_browser_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or True)
    assert view("viewed.py:f", *SPECS).exit_code == 0
    assert asked == []
    assert view("viewed.py:f", *SPECS, "--open").exit_code == 0
    assert asked == [(folder / "f.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    done = view("viewed.py:f", *SPECS, "--open")
    assert done.exit_code == 1
    assert "irgrad: error: --open: expected a browser, got none; the page is f.html" in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("viewed.py:f", *SPECS, "--output", "viewed.py"), 2, "expected a file beside the source"),
        (("viewed.py:f", *SPECS, "--output", "no/page.html"), 1, "expected its folder to exist"),
        (("viewed.py:f", *SPECS, "--output", "."), 1, "expected the name of a file to write"),
        (("viewed.py:f",), 1, "expected a --spec"),
        (("viewed.py:g", *SPECS), 1, "expected a function that the file defines"),
        (("viewed.py", *SPECS), 2, "SOURCE: expected file.py:function"),
        (("viewed.py:f", *SPECS[:-1], "none"), 1, "expected the name of a backend"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(
    folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = view(*arguments)
    assert done.exit_code == code
    assert said in done.output
    assert done.output.startswith("irgrad: error: ")
    assert done.output.count("\n") == 1
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_help_has_an_example() -> None:
    done = view("--help")
    assert done.exit_code == 0
    assert "irgrad view model.py:loss" in done.output
