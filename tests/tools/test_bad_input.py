"""The command line on bad input: one line, an exit code, and nothing written."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cli_runs import error_of, run

BIG = 2**62
NUMBERS = ("--spec", "f32[3,4]", "--spec", "f32[4]")


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


# -- sources ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["model.py", "", "model.py:", ":f", "model.py:no name", "f.txt"])
def test_a_source_of_the_wrong_form(folder: Path, source: str) -> None:
    assert "expected file.py:function or a file" in error_of("ir", source, code=2)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nosuch.py:f", "nosuch.py: expected a Python file, got no such file"),
        ("nosuch.irg", "nosuch.irg: expected a file of IR text, got no such file"),
        ("model.py:tre", "a function that the file defines, got 'tre'; did you mean tree?"),
        ("model.py:NUMBER", "expected NUMBER to be a function, got int"),
        ("model.py:f", "expected a --spec such as 'f32[n,784]' for each of its arguments (x, y)"),
        (".:f", ".: expected a Python file, got a folder"),
        ("bad\0name.irg", "expected a file of IR text, got embedded null byte"),
    ],
)
def test_a_source_that_is_not_there(folder: Path, source: str, message: str) -> None:
    assert message in error_of("ir", source).replace("bad?name", "bad")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ValueError('one\\ntwo')", "got ValueError: one (model2.py:1)"),
        ("x = 1\nraise SystemExit(3)", "got SystemExit: 3 (model2.py:2)"),
        ("def f(:", "got SyntaxError: invalid syntax (model2.py:1)"),
        ("import no_such_module_anywhere", "got ModuleNotFoundError"),
        ("a\0b", "got SyntaxError: source code string cannot contain null bytes"),
        ("def f(x):\n    return " + "(" * 10**5, "got SyntaxError: too many nested parentheses"),
        ("f = " + "+".join("1" * 20000), "got RecursionError"),
    ],
    ids=["raises", "exits", "syntax", "import", "null", "deep", "recursion"],
)
def test_a_file_that_cannot_be_imported(folder: Path, text: str, message: str) -> None:
    (folder / "model2.py").write_text(text)
    line = error_of("ir", "model2.py:f")
    assert line.startswith("model2.py: expected a Python file that can be imported, got ")
    assert message in line
    assert not (folder / "__pycache__").exists()


def test_a_changed_file_is_read_anew(folder: Path) -> None:
    path = folder / "model2.py"
    for text in ("1", "2"):
        path.write_text(f"def f(x):\n    return x * {text}.0\n")
        os.utime(path, (1e9, 1e9))
        assert f"value={text}.0" in run("ir", "model2.py:f", "--spec", "f32[]").stdout


@pytest.mark.parametrize(
    ("name", "message", "line"),
    [
        ("broken", "got NameError: name 'undefined_name' is not defined", 26),
        ("endless", "RecursionError: maximum recursion depth exceeded", 30),
        ("misfit", "matmul: expected contracted axes of equal size", 39),
    ],
)
def test_a_function_that_cannot_be_traced(
    folder: Path, name: str, message: str, line: int
) -> None:
    text = error_of("ir", f"model.py:{name}", "--spec", "f32[3,4]")
    assert message in text
    assert text.endswith(f" (model.py:{line})")


def test_verbose_shows_all_lines(folder: Path) -> None:
    result = run("ir", "model.py:broken", "--spec", "f32[3]", "--verbose")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1:] == [
        '  File "model.py", line 26', "    return x / undefined_name"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected 'graph', got the end of the text (g.irg:1:1)"),
        (b"\xff\xfe", "g.irg: expected a file of IR text in UTF-8, got the byte 0xff at offset 0"),
        (b"\0\0", "g.irg:1:1"),
        (b"graph @f(%x: f32[4]) {\n  %0 = tan", "got the end of the text (g.irg:2:11)"),
        (b"graph @f(%x: f32[4]) {\n  %0 = tann(%x)\n return %0 }", "(is 'tan' meant?) (g.irg:2)"),
        (b"graph @f(%x: f32[4]) {\n  %0 = tan(%x): f32[5]\n return %0 }", "got f32[5] (g.irg:2)"),
        (b"graph @f(%x: ?) {\n return %x }", "%x: expected"),
        (b"graph @f(%x: f32[4]) {\n %0 = transpose(%x) {permutation=" + b"(" * 10**5,
         "expected at most 64 levels of nesting"),
        (b"graph @f(%x: f32[4]) {\n signature " + b"[" * 10**5,
         "expected at most 64 levels of nesting"),
        (b"graph @f(%x: f32[4]) {" + b"%0 = fused(%x) {body = graph (%x: f32[4]) {" * 10**5,
         "expected at most 64 levels of nesting"),
    ],
    ids=["empty", "binary", "null", "cut", "op", "type", "untyped", "tuples", "trees", "regions"],
)  # fmt: skip
def test_bad_text(folder: Path, content: bytes, message: str) -> None:
    (folder / "g.irg").write_bytes(content)
    assert message in error_of("ir", "g.irg")


def test_a_text_of_a_million_nodes(folder: Path) -> None:
    lines = "".join(f"  %{i} = tanh(%x) : f32[4]\n" for i in range(10**6))
    (folder / "g.irg").write_text("graph @f(%x: f32[4]) {\n" + lines + "  return %0\n}\n")
    assert "expected at most 131072 nodes, got more" in error_of("ir", "g.irg")


def test_a_text_that_is_too_long(folder: Path) -> None:
    with open("g.irg", "wb") as file:
        file.truncate(2**40)
    assert "g.irg: expected at most" in error_of("ir", "g.irg")


def test_no_regular_file(folder: Path) -> None:
    os.mkfifo("g.irg")
    assert "got something that is no regular file" in error_of("ir", "g.irg")


# -- specs and options -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["f99[3]", "f32", "f32[3", "f32[-1]", "f32[3] junk", "",
                                  f"f32[{2**70}]"])
def test_a_bad_spec(folder: Path, spec: str) -> None:
    assert error_of("ir", "model.py:loud", "--spec", spec, code=2).startswith(f"--spec {spec!r}: ")


@pytest.mark.parametrize(
    ("source", "specs", "message"),
    [
        ("model.py:f", ["f32[3,4]"], "f"),
        ("model.py:sized", ["f32[3,4]"], "expected one for each of the 2 arrays"),
        ("f.irg", ["f32[3,4]"], "expected one for each of the 2 arguments of f, got 1"),
        ("f.irg", ["f32[3,5]", "f32[4]"], "x: expected f32[n,4], got shape (3, 5)"),
        ("f.irg", ["f64[3,4]", "f32[4]"], "expected f32[n,4] with numbers for x, got f64[3,4]"),
        ("f.irg", ["f32[k,4]", "f32[4]"], "expected f32[n,4] with numbers for x, got f32[k,4]"),
    ],
)
def test_specs_that_do_not_fit(
    folder: Path, source: str, specs: list[str], message: str
) -> None:
    options = [part for spec in specs for part in ("--spec", spec)]
    assert message in error_of("ir", source, *options)


@pytest.mark.parametrize(
    "arguments",
    [["ir"], ["nosuch"], ["ir", "f.irg", "--nosuch"], ["ir", "f.irg", "--numerics", "fast"],
     ["compile", "f.irg"], ["bench", "peers", "--rounds", "0"]],
)  # fmt: skip
def test_wrong_use(folder: Path, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage: irgrad" in result.stderr


def test_an_unknown_stage_or_target(folder: Path) -> None:
    assert "expected one of traced, infer" in error_of("ir", "f.irg", "--stage", "nosuch")
    line = error_of("run", "f.irg", "--inputs", "a.npz", "--target", "nosuch")
    assert "got 'nosuch' (installed: cpu, reference)" in line




# -- arrays ----------------------------------------------------------------------------------------


def write_members(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_file_of_arrays_that_is_none(folder: Path) -> None:
    whole = (folder / "a.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "noise.npz").write_bytes(bytes(range(256)) * 8)
    flipped = bytearray(whole)
    flipped[140] ^= 1
    (folder / "flipped.npz").write_bytes(flipped)
    np.save("one.npy", np.ones(3))
    write_members(folder / "other.npz", {"x.txt": b"hello"})
    write_members(folder / "header.npz", {"x.npy": b"\x93NUMPY\x01\0\x10\0" + b"{" * 16})
    write_members(folder / "huge.npz", {"x.npy": header((2**40, 2**20)) + b"1234"})
    write_members(folder / "negative.npz", {"x.npy": header((-1, 4)) + b"1234"})
    np.savez("pickled.npz", x=np.array([{}], dtype=object), y=np.ones(4))
    np.savez("text.npz", x=np.ones((3, 4)), y=np.array(["a"]))
    names = ["nosuch", "cut", "empty", "noise", "flipped", "other", "header", "huge", "negative",
             "pickled", "text"]  # fmt: skip
    for name in [*(f"{name}.npz" for name in names), "one.npy", "."]:
        line = error_of("run", "model.py:f", "--inputs", name, "--output", "b.npz")
        assert line.startswith(f"{name}: "), line
        assert not (folder / "b.npz").exists()
    assert "Python objects in 'x.npy', which are never loaded" in error_of(
        "run", "model.py:f", "--inputs", "pickled.npz"
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": (3, 4)}, "expected arrays named x, y, got no array y"),
        ({"x": (3, 4), "y": (4,), "z": ()}, "expected arrays named x, y, got also z"),
        ({"x": (3, 5), "y": (4,)}, "x: expected f32[n,4], got shape (3, 5)"),
        ({"x": (3,), "y": (4,)}, "x: expected f32[n,4], got shape (3,) (rank 1)"),
        ({}, "expected arrays named x, y, got no array x, y"),
    ],
)
def test_arrays_that_do_not_fit(
    folder: Path, arrays: dict[str, tuple[int, ...]], message: str
) -> None:
    np.savez("b.npz", **{name: np.ones(shape, np.float32) for name, shape in arrays.items()})
    for source in ("model.py:sized", "f.irg"):
        assert message in error_of("run", source, "--inputs", "b.npz")


def test_arrays_of_another_dtype(folder: Path) -> None:
    np.savez("b.npz", x=np.ones((3, 4)), y=np.ones(4, np.float32))
    line = error_of("run", "f.irg", "--inputs", "b.npz")
    assert line == "x: expected f32[3,4], got f64[3,4]; convert it with astype('float32')"


def test_arrays_without_inputs(folder: Path) -> None:
    assert "expected arrays named x, y, got no array x, y" in error_of("run", "f.irg")


def test_a_failed_check_writes_nothing(folder: Path) -> None:
    np.savez("x.npz", x=np.array([1.0, -1.0]))
    line = error_of("run", "model.py:checked", "--inputs", "x.npz", "--output", "b.npz")
    assert "x must be positive" in line
    assert "(model.py:21)" in line
    assert not (folder / "b.npz").exists()


# -- outputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("sub", "expected the name of a file to write, got a folder"),
        ("no/b.npz", "expected its folder to exist, got none at"),
        ("/proc/b.npz", "/proc/b.npz: expected"),
        ("/dev/null", "got something that is no regular file"),
        ("f.irg/b.npz", "expected its folder to exist"),
        ("b" * 300, "expected to write it, got file name too long"),
    ],
)
def test_an_output_that_cannot_be_written(folder: Path, output: str, message: str) -> None:
    (folder / "sub").mkdir()
    before = sorted(folder.rglob("*"))
    assert message in error_of("run", "f.irg", "--inputs", "a.npz", "--output", output)
    assert sorted(folder.rglob("*")) == before


def test_an_output_keeps_its_old_content_on_failure(folder: Path) -> None:
    (folder / "b.npz").write_bytes(b"old")
    np.savez("x.npz", x=np.array([-1.0]))
    error_of("run", "model.py:checked", "--inputs", "x.npz", "--output", "b.npz")
    assert (folder / "b.npz").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("sub", "expected the name of a new folder, got one that exists"),
        ("a.npz", "expected the name of a new folder, got one that exists"),
        ("no/out", "expected its folder to exist, got none at"),
        ("/proc/out", "/proc/out: expected"),
        ("", "expected a path"),
    ],
)
def test_a_folder_that_cannot_be_made(folder: Path, output: str, message: str) -> None:
    (folder / "sub").mkdir()
    before = sorted(folder.rglob("*"))
    assert message in error_of("compile", "f.irg", output, *NUMBERS)
    assert sorted(folder.rglob("*")) == before


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        f"(%x: f32[]) {{ %0 = broadcast(%x) {{dims=(), shape=({BIG},)}} return %0 }}",
        f"(%x: f32[]) {{ %y = constant() {{dtype=f32, shape=({BIG},{BIG}), value=1.0}} "
        "%0 = reduce_sum(%y) {axes=(0,1)} %1 = add(%0, %x) return %1 }",
        f"(%x: f32[]) {{ %y = broadcast(%x) {{dims=(), shape=({BIG},4)}} "
        f"%0 = concatenate(%y, %y) {{axis=0}} return %0 }}",
        f"(%x: f32[]) {{ %y = iota() {{shape=({BIG},2), axis=0, dtype=f32}} return %y }}",
    ],
)
def test_sizes_beyond_any_memory(folder: Path, body: str) -> None:
    (folder / "g.irg").write_text(f"graph @f{body}\n")
    np.savez("x.npz", x=np.float32(1))
    for target in ("cpu", "reference"):
        run_line = error_of("run", "g.irg", "--inputs", "x.npz", "--target", target)
        assert "expected" in run_line
    assert "expected" in error_of("compile", "g.irg", "out")
    assert run("ir", "g.irg").exit_code in (0, 1)


def test_spec_of_a_size_beyond_any_memory(folder: Path) -> None:
    specs = ("--spec", f"f32[{BIG},4]", "--spec", "f32[4]")
    assert run("ir", "model.py:f", *specs).exit_code == 0
    line = error_of("compile", "model.py:f", "out", *specs)
    assert line.startswith("input: expected values of at most")
