"""`irgrad passes` and `irgrad diff`: what each pass did, and what changed between two stages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from cli_runs import error_of, run_well

import irgrad as ig
from irgrad.passes.pipeline import pipeline

TEXT = """
graph @d(%x: f32[4,4]) -> (f32[4,4]) {
  %0 = transpose(%x) {permutation=(1,0)}
  %1 = transpose(%0) {permutation=(1,0)}
  %2 = exp(%1)
  %3 = exp(%x)
  %4 = add(%2, %3)
  return %4
}
"""
COMMANDS = ("passes", "diff")


@pytest.fixture
def source(folder: Path) -> str:
    (folder / "d.irg").write_text(TEXT)
    return "d.irg"


def test_every_pass_has_a_row_with_what_it_did(source: str) -> None:
    text, rest = run_well("passes", source).split("\n\n")
    head, *rows = text.splitlines()
    assert head.split() == ["pass", "nodes", "edits", "ms", "rules"]
    names = [row.split()[0] for row in rows]
    assert [name.removesuffix(".2") for name in names] == [step.name for step in pipeline()]
    assert names.count("simplify.2") == 1
    by_name = dict(zip(names, rows))
    assert re.search(r" 6 -> 4 +1 +\d+\.\d  transpose_transpose \(exact\) x1$", by_name["simplify"])
    assert re.search(r" 4 -> 3 +1 +\d+\.\d  exp \(exact\) x1$", by_name["merge_common"])
    counts = [re.search(r" (\d+) -> (\d+) ", row) for row in rows]
    assert all(a and b and a[2] == b[1] for a, b in zip(counts, counts[1:]))
    assert re.search(r"^ +1  simplify: transpose_transpose \(exact\)", rest, re.MULTILINE)


def test_the_names_are_those_of_stages(source: str) -> None:
    for row in run_well("passes", source).split("\n\n")[0].splitlines()[1:]:
        assert ig.ir.parse(run_well("ir", source, "--stage", row.split()[0])).name == "d"


def test_passes_of_a_class_of_numerics(source: str) -> None:
    assert "form_fma" in run_well("passes", source)
    assert "form_fma" not in run_well("passes", source, "--numerics", "exact")


def test_lines_of_the_source_are_named(folder: Path) -> None:
    (folder / "m.py").write_text("def f(x):\n    y = -(-x)\n    return y * y\n")
    assert "neg_neg (exact) x1" in run_well("passes", "m.py:f", "--spec", "f32[n]")


# -- diff ------------------------------------------------------------------------------------------


def test_a_difference_names_rules_and_keeps_numbers(source: str) -> None:
    lines = run_well("diff", source, "traced", "remove_dead").splitlines()
    assert "-   %0 = transpose(%x) {permutation=(1, 0)} : f32[4,4]  # gone after simplify" in lines
    assert (
        "-   %1 = transpose(%0) {permutation=(1, 0)} : f32[4,4]"
        "  # simplify: transpose_transpose (exact): now %x"
    ) in lines
    assert "+   %2 = exp(%x) : f32[4,4]" in lines
    assert "-   %3 = exp(%x) : f32[4,4]  # merge_common: exp (exact): now %2" in lines
    assert any(line.startswith("+   %4 = mul(%2, ") for line in lines)
    assert any(
        line.startswith("-   %4 = add(") and line.endswith("# simplify: add_self (exact): now mul")
        for line in lines
    )


def test_stages_are_the_first_and_last_by_default(source: str) -> None:
    text = run_well("diff", source)
    assert text == run_well("diff", source, "traced", "fuse")
    assert "fused(" in text and "# fuse: in a kernel" in text


def test_equal_stages_and_the_way_back(source: str) -> None:
    assert run_well("diff", source, "traced", "traced") == (
        "no difference between traced and traced\n"
    )
    back = run_well("diff", source, "simplify", "traced")
    assert "+   %+0 = transpose(%x)" in back and "#" not in back


def test_context_is_the_number_of_unchanged_lines(folder: Path) -> None:
    (folder / "m.py").write_text(
        "import irgrad.numpy as np\ndef f(x):\n    y = np.exp(x) * 1.0\n"
        "    return np.sin(np.cos(np.tanh(np.tan(np.exp(y)))))\n"
    )
    options = ("m.py:f", "traced", "simplify", "--spec", "f32[n]")
    none, all_ = (run_well("diff", *options, "--context", n).splitlines() for n in ("0", "99"))
    assert {line[0] for line in none if line != "  ..."} == {"-", "+"}
    assert "  ..." not in all_ and sum(line[0] == " " for line in all_) > 5


def test_unknown_stages(source: str) -> None:
    assert "diff: expected stages among traced, infer, " in error_of("diff", source, "none")
    assert "got 'fuze'" in error_of("diff", source, "traced", "fuze")


# -- sources ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    text = run_well(command, "--help")
    assert f"irgrad {command}" in text.split("Example", 1)[1]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nosuch.irg", "expected a file of IR text, got no such file"),
        ("m.py:f", "expected a --spec such as 'f32[n,784]' for each of its arguments"),
        ("raises.py:f", "got ValueError: ?[2Jx"),
        ("deep.irg", "expected at most 64 levels of nesting"),
    ],
)
def test_sources_that_cannot_be_read(
    folder: Path, command: str, source: str, message: str
) -> None:
    (folder / "m.py").write_text("def f(x, y):\n    return x\n")
    (folder / "raises.py").write_text("raise ValueError('\\x1b[2Jx')")
    (folder / "deep.irg").write_text("graph @f(%x: f32[4]) {\n %0 = transpose(%x) {p=" + "(" * 9999)
    assert message in error_of(command, source)


@pytest.mark.parametrize("command", COMMANDS)
def test_texts_with_changed_bytes(source: str, folder: Path, command: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(25):
        data = bytearray(TEXT.encode())
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(32, 127)
        (folder / "e.irg").write_bytes(data)
        try:
            run_well(command, "e.irg")
        except AssertionError:
            assert len(error_of(command, "e.irg")) < 600
