"""The command line on hostile sources, arrays, paths and streams: one line, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cli_runs import error_of, run, run_well

REFERENCE = ("--target", "reference")

# -- sources ---------------------------------------------------------------------------------------

RAISED = {
    "SyntaxError": "SyntaxError",
    "SyntaxError(3)": "SyntaxError",
    "SyntaxError('m', ('f', 'x', 1, 't'))": "SyntaxError: m",
    "SyntaxError('m', (1, 2, 3, 4))": "SyntaxError: m",
    "SyntaxError('m', ('/dev/zero', 1, 1, 't'))": "SyntaxError: m",
    "BaseException('b')": "BaseException: b",
    "GeneratorExit": "GeneratorExit",
    "EOFError": "EOFError",
    "MemoryError": "MemoryError",
    "BrokenPipeError(32, 'x')": "BrokenPipeError: [Errno 32] x",
    "StopIteration": "StopIteration",
    "ValueError('x' * 10**6)": "ValueError: " + "x" * 300,
    "ValueError('\\udcff\\x1b[2J')": "ValueError: ??[2J",
    "type('E', (Exception,), {'__str__': lambda self: 3})()": "E",
    "type('E', (Exception,), {'__str__': lambda self: self.none})()": "E",
    "ExceptionGroup('g', [ValueError(1)])": "ExceptionGroup: g (1 sub-exception)",
}


@pytest.mark.parametrize("command", ["passes", "diff", "grad", "bisect"])
def test_other_commands_read_sources_the_same_way(folder: Path, command: str) -> None:
    """What is raised while a file or function runs, sizes beyond memory, and long texts."""
    (folder / "raises.py").write_text("def f(x):\n    raise ValueError('\\udcff\\x1b[2J')\n")
    (folder / "exits.py").write_text("raise SystemExit(3)")
    with open("large.py", "wb") as file:
        file.truncate(2**40)
    for source, message in (
        ("raises.py:f", "got ValueError: ??[2J (raises.py:2)"),
        ("exits.py:f", "got SystemExit: 3 (exits.py:1)"),
        ("large.py:f", "large.py: expected at most 16777216 bytes"),
        ("model.py:" + "x" * 10**4, "expected a function that the file defines, got 'xx"),
    ):
        line = error_of(command, source, "--spec", "f32[3]")
        assert message in line
        assert len(line) < 500
    line = error_of(command, "model.py:f", "--spec", "f32[" + "9" * 10**4, code=2)
    assert len(line) < 500
    (folder / "stops.py").write_text("def f(x): raise KeyboardInterrupt")
    assert run(command, "stops.py:f", "--spec", "f32[3]").exit_code == 130


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("form", ["raise {}", "def f(x):\n    raise {}"], ids=["file", "function"])
def test_whatever_a_source_raises(folder: Path, form: str, raised: str) -> None:
    (folder / "m.py").write_text(form.format(raised))
    line = error_of("ir", "m.py:f", "--spec", "f32[3]")
    assert f", got {RAISED[raised]} (" in line
    assert len(line) < 500


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("def __getattr__(name): raise ValueError(name)", "f", "got ValueError: f (m.py:1)"),
        ("def __getattr__(name): raise SystemExit(5)", "f", "got SystemExit: 5 (m.py:1)"),
        ("globals()[1] = len", "f", "a function that the file defines, got 'f'"),
        ("x = 1", "x.y", "a function that the file defines, got 'x.y'"),
        ("x = 1", "__builtins__.y", "a function that the file defines, got '__builtins__.y'"),
        ("x = 1", "x.real", "expected x.real to be a function, got int"),
        ("f = dict", "f", "got f32[]"),
        ("f = lambda x: 2**70", "f", "got 1180591620717411303424"),
        ("# coding: utf-16\nf = 1", "f", "got SyntaxError"),
        ("class F:\n  @property\n  def __signature__(self): raise KeyError\n"
         "  def __call__(self): pass\nf = F()", "f", "got KeyError (m.py:3)"),
    ],
)  # fmt: skip
def test_sources_that_answer_wrongly(folder: Path, text: str, name: str, message: str) -> None:
    (folder / "m.py").write_text(text)
    line = error_of("ir", f"m.py:{name}", "--spec", "f32[3]")
    assert message in line
    assert "typer" not in line


def test_a_signature_that_raises(folder: Path) -> None:
    (folder / "m.py").write_text(
        "class F:\n    @property\n    def __signature__(self): raise KeyError\n"
        "    def __call__(self): pass\nf = F()\n"
    )
    assert "expected a function with a signature, got KeyError (m.py:3)" in error_of("ir", "m.py:f")


def test_a_source_of_a_terabyte(folder: Path) -> None:
    with open("m.py", "wb") as file:
        file.truncate(2**40)
    assert "m.py: expected at most 16777216 bytes" in error_of("ir", "m.py:f")


def test_ctrl_c_is_no_error_of_the_source(folder: Path) -> None:
    (folder / "m.py").write_text("def f(x): raise KeyboardInterrupt")
    assert run("ir", "m.py:f", "--spec", "f32[3]").exit_code == 130


def test_results_go_where_the_command_line_started(folder: Path) -> None:
    (folder / "away").mkdir()
    (folder / "m.py").write_text("import os\nos.chdir('away')\ndef f(x): return x\n")
    np.savez("x.npz", x=np.ones(2))
    run_well("run", "m.py:f", "--inputs", "x.npz", "--output", "b.npz", *REFERENCE)
    os.chdir(folder)
    run_well("compile", "m.py:f", "out", "--spec", "f32[2]", *REFERENCE)
    assert (folder / "b.npz").exists()
    assert (folder / "out" / "report.txt").exists()
    assert list((folder / "away").iterdir()) == []


def test_long_texts_are_cut(folder: Path) -> None:
    for arguments in (["ir", "x" * 10**4], ["ir", "model.py:" + "x" * 10**4],
                      ["ir", "model.py:f", "--spec", "f32[" + "9" * 10**4]):  # fmt: skip
        assert len(run(*arguments).stderr) < 500
    np.savez("many.npz", **{f"{'n' * 200}{i}": np.ones(()) for i in range(100)})
    line = error_of("run", "model.py:f", "--inputs", "many.npz")
    assert line.endswith("80 more")
    assert len(line) < 2500


@pytest.mark.parametrize(
    "options",
    [("--all", "--kernels"), ("--stage", "fuse", "--all"), ("--kernels", "--locations")],
)
def test_options_that_exclude_each_other(folder: Path, options: tuple[str, ...]) -> None:
    line = error_of("ir", "f.irg", *options, code=2)
    assert line.startswith("expected one of --")


# -- arrays ----------------------------------------------------------------------------------------

SHAPES = [
    "(2**70, 0)", f"({2**70}, 0)", f"(0, {2**63})", "(0, -5)", "(-1, -4)", "(True,)", "(1.0,)",
    "None", "'a'", "[1]", f"({2**62},)", "(" + "1," * 99 + ")", "(" * 3000, "9" * 5000,
]  # fmt: skip
DESCRS = [
    "'V0'", "'S0'", "'U0'", "[]", "[('a', '<f4')]", "('<f4', (4,))", f"('<f4', ({2**70},))", "{}",
    "1", "None", "b'f4'", "'<M8[s]'", "'O'", "'<g'", "'<f8,<f8'", "'f4' * 3000", "'bfloat16'",
]  # fmt: skip


def member(descr: str, shape: str, order: str = "False") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + bytes(16)


@pytest.mark.parametrize(
    "content",
    [member("'<f4'", shape) for shape in SHAPES]
    + [member(descr, count) for descr in DESCRS for count in ("1", "(4611686018427387904,)")]
    + [member("'<f4'", "(4,)", "3"), member("'<f4'", "(3,)"), b"", b"\x93NUMPY\x03\0"],
)
def test_headers_that_lie(folder: Path, content: bytes) -> None:
    with zipfile.ZipFile("x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    line = error_of("run", "model.py:loud", "--inputs", "x.npz", *REFERENCE)
    assert line.startswith("x.npz: ")
    assert len(line) < 500


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_files_of_arrays_with_changed_bytes(folder: Path, method: int) -> None:
    np.save("x.npy", np.arange(3.0))
    with zipfile.ZipFile("x.npz", "w", method) as archive:
        archive.write("x.npy")
    whole = (folder / "x.npz").read_bytes()
    rng = np.random.default_rng(method)
    for _ in range(40):
        data = bytearray(whole)
        data[rng.integers(len(data))] = rng.integers(256)
        (folder / "y.npz").write_bytes(data[: rng.integers(len(data) // 2, 2 * len(data))])
        result = run("run", "model.py:loud", "--inputs", "y.npz", *REFERENCE)
        if result.exit_code == 0:  # the change was in what is not read
            assert result.stdout.splitlines()[1] == "[0. 2. 4.]"
        else:
            assert result.exit_code == 1
            assert result.stderr.startswith(("irgrad: error: y.npz: ", "irgrad: error: inputs: "))


def test_more_arrays_than_memory(folder: Path) -> None:
    info = zipfile.ZipInfo("x.npy")
    with zipfile.ZipFile("x.npz", "w") as archive:
        archive.writestr(info, member("'<f4'", "(4,)"))
        info.file_size = 2**60  # as the directory of the file tells it
    assert "x.npz: expected arrays of at most" in error_of(
        "run", "model.py:loud", "--inputs", "x.npz"
    )


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (("arr_0",), [102.0]),
        (("arr_0", "arr_1"), [103.0]),
        (("arr_0", "arr_1", "arr_2"), [303.0]),
        (("a", "b", "c"), [303.0]),
        (("a", "b"), [103.0]),
        (("a", "c"), "expected arrays named a, b, c, got no array b"),
        (("b",), "expected arrays named a, b, got no array a"),
        (("a", "d"), "expected arrays named a, got also d"),
        (("arr_0", "arr_2"), "expected arrays named a, got no array a and also arr_0, arr_2"),
    ],
)
def test_arguments_with_defaults(
    folder: Path, arrays: tuple[str, ...], expected: list[float] | str
) -> None:
    (folder / "m.py").write_text("def f(a, b=2.0, c=1.0): return a * b + 100 * c\n")
    values = {"a": 1.0, "b": 3.0, "c": 3.0, "d": 0.0, "arr_0": 1.0, "arr_1": 3.0, "arr_2": 3.0}
    np.savez("x.npz", **{name: np.full(1, values[name]) for name in arrays})
    arguments = ("run", "m.py:f", "--inputs", "x.npz", *REFERENCE)
    if isinstance(expected, str):
        assert expected in error_of(*arguments)
    else:
        assert run_well(*arguments, "--output", "b.npz") == ""
        with np.load("b.npz") as results:
            assert results["result"].tolist() == expected


def test_arguments_of_one_name(folder: Path) -> None:
    (folder / "m.py").write_text(
        "import irgrad as ig\n"
        "f = ig.jit(lambda p: p['a']['b'] + 10 * p['a.b'],\n"
        "           specs=({'a': {'b': 'f64[1]'}, 'a.b': 'f64[1]'},))\n"
    )
    np.savez("x.npz", **{"p.a.b": np.ones(1)})
    line = error_of("run", "m.py:f", "--inputs", "x.npz", *REFERENCE)
    assert "expected arrays named arr_0, arr_1, ... as p.a.b names several arguments" in line
    np.savez("x.npz", np.ones(1), np.full(1, 2.0))
    assert run_well("run", "m.py:f", "--inputs", "x.npz", *REFERENCE).endswith("[21.]\n")


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("{'a.b': x, 'a': {'b': x + 1}}", "expected results of unlike names, got 'result.a.b'"),
        ("{'a\\0b': x, 'a\\0c': x + 1}", "a name that a .npz file can hold, got 'result.a\\x00b'"),
        ("{'\\ud800': x}", "a name that a .npz file can hold, got 'result.\\ud800'"),
        ("{'q' * 70000: x}", "a name that a .npz file can hold, got 'result.qq"),
        ("x.astype(ml_dtypes.bfloat16)", "result: expected a dtype that a .npz file can hold"),
    ],
)
def test_results_that_a_file_cannot_hold(folder: Path, results: str, message: str) -> None:
    (folder / "m.py").write_text(f"import ml_dtypes\ndef f(x): return {results}\n")
    np.savez("x.npz", x=np.ones(2))
    arguments = ("run", "m.py:f", "--inputs", "x.npz", *REFERENCE)
    assert message in error_of(*arguments, "--output", "b.npz")
    assert not (folder / "b.npz").exists()


def test_results_of_any_other_name(folder: Path) -> None:
    (folder / "m.py").write_text("def f(x): return {'a\\nb': x, '/': x, '..': x, '': x, 1: x}\n")
    np.savez("x.npz", x=np.ones(2))
    run_well("run", "m.py:f", "--inputs", "x.npz", "--output", "b.npz", *REFERENCE)
    with np.load("b.npz") as results:
        assert set(results.files) == {f"result.{key}" for key in ("a\nb", "/", "..", "", "1")}


# -- paths -----------------------------------------------------------------------------------------


def _state(path: Path) -> tuple[int, ...]:
    """What writing changes of a file, and reading does not."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize(
    ("output", "got", "code"),
    [
        ("", "output: expected a path, got ''", 1),
        ("new/", "got the name of a folder", 1),
        ("b.npz/.", "got the name of a folder", 1),
        ("loop", "got a symbolic link to itself", 1),
        ("f.irg", "--output: expected a file beside the source, got 'f.irg' itself", 2),
        ("link.irg", "got 'link.irg' itself", 2),
        ("pipe", "got something that is no regular file", 1),
        ("/dev/full", "got something that is no regular file", 1),
        ("no\nsuch/b.npz", "no?such/b.npz: expected its folder to exist", 1),
    ],
)
def test_outputs_that_would_lose_something(
    folder: Path, output: str, got: str, code: int
) -> None:
    os.symlink("loop", "loop")
    os.symlink("f.irg", "link.irg")
    os.mkfifo("pipe")
    before = {path: _state(path) for path in folder.rglob("*")}
    arguments = ("run", "f.irg", "--inputs", "a.npz", *REFERENCE, "--output", output)
    assert got in error_of(*arguments, code=code)
    changed = [p for p in folder.rglob("*") if p not in before or _state(p) != before[p]]
    assert [p for p in changed if p.name not in ("a.npz", "f.irg")] == []


def test_outputs_of_unusual_names(folder: Path) -> None:
    os.symlink("gone.npz", "link.npz")
    for output in ("\udcff.npz", "\u00e9" * 125, "-", "x\n.npz", "link.npz"):
        run_well("run", "f.irg", "--inputs", "a.npz", *REFERENCE, f"--output={output}")
        with np.load(output) as results:
            assert results["result"].shape == (3,)
    assert os.path.islink("link.npz")
    run_well("compile", "model.py:f", "\udcff", "--spec", "f32[3,4]", "--spec", "f32[4]",
             *REFERENCE)  # fmt: skip
    assert (folder / "\udcff" / "report.txt").exists()


def test_an_output_keeps_its_permissions(folder: Path) -> None:
    (folder / "b.npz").touch()
    os.chmod("b.npz", 0o640)
    run_well("run", "f.irg", "--inputs", "a.npz", *REFERENCE, "--output", "b.npz")
    assert os.stat("b.npz").st_mode & 0o777 == 0o640


def test_inputs_of_no_name(folder: Path) -> None:
    assert "expected the path of a .npz file" in error_of("run", "f.irg", "--inputs", "")


@pytest.mark.parametrize(
    "options",
    [("matmul", "--size", str(2**70)), ("matmul", "--rounds", str(2**70)),
     ("calls", "--rounds", "-1"), ("start", "--processes", str(2**70)),
     ("peers", "--calls", str(2**70))],
)  # fmt: skip
def test_measurements_without_end(options: tuple[str, ...]) -> None:
    result = run("bench", *options)
    assert result.exit_code == 2
    assert f"Invalid value for '{options[1]}'" in result.stderr


# -- streams ---------------------------------------------------------------------------------------

COMMAND = "python=$1; shift; exec \"$python\" -m irgrad.tools.cli "


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", COMMAND + line, "bash", sys.executable],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ir f.irg >/dev/full", "standard output: expected to write it, got no space left"),
        ("--help >/dev/full", "standard output: expected to write it, got no space left"),
        ("passes f.irg >/dev/full", "standard output: expected to write it, got no space left"),
        ("ir f.irg >&-", "standard output: expected to write it, got a closed file"),
        ("ir nosuch.irg 2>&-", ""),
        ("ir closes.py:f", ""),
    ],
)
def test_streams_that_fail(folder: Path, line: str, message: str) -> None:
    (folder / "closes.py").write_text("import sys\nsys.stderr.close()\nf = 1\n")
    done = shell(line)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "" if not message else message in done.stderr
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize(
    "line",
    ["run f.irg --inputs a.npz --target reference --output b.npz",
     "grad f.irg --seed ones --output b.irg",
     "compile f.irg out --spec 'f32[3,4]' --spec 'f32[4]' --target reference"],
)  # fmt: skip
def test_a_disk_that_is_full(folder: Path, line: str) -> None:
    (folder / "b.npz").write_bytes(b"old")
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        ["bash", "-c", "ulimit -f 0; " + COMMAND + line, "bash", sys.executable],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "expected to write it, got file too large" in done.stderr
    assert sorted(folder.rglob("*")) == before
    assert (folder / "b.npz").read_bytes() == b"old"
