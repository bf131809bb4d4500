"""Bad programs in files: the class of the error, its place and its first line."""

from __future__ import annotations

from pathlib import Path

import pytest

from irgrad.errors import IrgradError, ParseError
from irgrad.ir import parse
from irgrad.ops.check import verify
from irgrad.passes.infer import Infer

FOLDER = Path(__file__).parent / "bad"
CASES = [
    (f"{path.stem}-{number}", text)
    for path in sorted(FOLDER.glob("*.txt"))
    for number, text in enumerate(path.read_text().split("-----\n"))
]


@pytest.mark.parametrize(("name", "text"), CASES, ids=[name for name, _ in CASES])
def test_bad_program(name: str, text: str) -> None:
    """Each part of a file starts with `# expect: Class line:column: start of the message`."""
    expected = text.split("\n", 1)[0].removeprefix("# expect: ")
    with pytest.raises(IrgradError) as caught:
        graph = parse(text)
        Infer().apply(graph)
        verify(graph)
    error = caught.value
    place = (error.line, error.column) if isinstance(error, ParseError) else (0, 0)
    first = str(error).split("\n", 1)[0]
    got = f"{type(error).__name__} {place[0]}:{place[1]}: {first}"
    assert got.startswith(expected)
    assert len(str(error).split("\n")) <= 12


def test_parse_error_shows_line_and_caret() -> None:
    """The message ends with file, line and column, the line, and a caret below the place."""
    with pytest.raises(ParseError) as caught:
        parse("graph(%a: f32[2]) {\n\t%0 = neg(%b)\n}", file="net.irg")
    assert str(caught.value).split("\n") == [
        "%b: expected a value defined above, got an undefined one",
        '  File "net.irg", line 2, column 11',
        "     %0 = neg(%b)",
        "              ^",
    ]


def test_parse_error_clips_long_lines() -> None:
    """The caret stays below the place."""
    text = "graph(" + ", ".join(f"%input{i}: f32[]" for i in range(500)) + ", $) { return }"
    with pytest.raises(ParseError) as caught:
        parse(text)
    lines = str(caught.value).split("\n")
    assert max(map(len, lines)) < 120
    assert lines[2][lines[3].index("^")] == "$"


def test_error_of_a_node_ends_with_its_source(tmp_path: Path) -> None:
    """Inference and verification show the IR around a node, then its line of the file."""
    path = tmp_path / "net.irg"
    path.write_text(
        "graph(%x: f32[2], %y: f32[3]) {\n  %h = exp(%x)\n  %bad = add(%h, %y)\n"
        "  %z = neg(%bad)\n  return %z\n}\n"
    )
    graph = parse(path.read_text(), str(path))
    with pytest.raises(IrgradError) as caught:
        Infer().apply(graph)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("add: expected operands of equal shape")
    assert lines[1] == "    %h = exp(%x) : f32[2]"
    assert lines[2:4] == ["  > %bad = add(%h, %y)", "    %z = neg(%bad)"]
    assert lines[4].endswith('net.irg", line 3')
    assert lines[5:] == ["    %bad = add(%h, %y)"]
