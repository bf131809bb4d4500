"""Every command of the command line on good input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run, run_well

import irgrad as ig

SPECS = ("--spec", "f32[n,4]", "--spec", "f32[4]")
NUMBERS = ("--spec", "f32[3,4]", "--spec", "f32[4]")


def expected() -> np.ndarray:
    with np.load("a.npz") as arrays:
        return np.tanh(arrays["x"].astype(np.float64)) @ arrays["y"]


def test_alone_shows_help() -> None:
    result = run()
    assert "Usage: irgrad" in result.output
    for command in ("ir", "run", "passes", "diff", "grad", "compile", "bisect", "bench"):
        assert command in result.output


@pytest.mark.parametrize("command", ["ir", "run", "compile", "bench peers", "bench matmul",
                                     "bench calls", "bench nan", "bench sizes", "bench start"])
def test_help_has_an_example(command: str) -> None:
    text = run_well(*command.split(), "--help")
    assert f"irgrad {command}" in text.split("Example", 1)[1]


def test_version() -> None:
    assert run_well("--version") == f"irgrad {ig.__version__}\n"


# -- ir --------------------------------------------------------------------------------------------


def test_ir_of_a_function_is_read_back(folder: Path) -> None:
    text = run_well("ir", "model.py:f", *SPECS)
    assert str(ig.ir.parse(text)) == text
    (folder / "copy.irg").write_text(text)
    assert run_well("ir", "copy.irg") == text


@pytest.mark.parametrize("source", ["model.py:sized", "model.py:graph", "f.irg"])
def test_ir_of_sources_that_have_types(folder: Path, source: str) -> None:
    assert run_well("ir", source) == run_well("ir", "model.py:f", *SPECS)


def test_specs_replace_those_of_the_source(folder: Path) -> None:
    text = run_well("ir", "model.py:f", *NUMBERS)
    assert "f32[3,4]" in text
    assert run_well("ir", "model.py:sized", *NUMBERS) == text
    assert run_well("ir", "f.irg", *NUMBERS) == text


def test_ir_of_nested_arguments(folder: Path) -> None:
    text = run_well("ir", "model.py:nested")
    assert "signature ({b: *, w: *}) -> {pair: (*, *), sum: *} donated [0, 1]" in text
    assert "(%params.b: f32[n], %params.w: f32[n])" in text


def test_ir_of_a_compiled_function(folder: Path) -> None:
    assert "f32[2,4]" in run_well("ir", "model.py:ready")


def test_stages(folder: Path) -> None:
    everything = run_well("ir", "model.py:f", *NUMBERS, "--all")
    blocks = dict(block.split("\n", 1) for block in everything.removeprefix("# ").split("\n# "))
    assert list(blocks)[0] == "traced"
    assert list(blocks)[-1] == "fuse"
    for name, text in blocks.items():
        assert ig.ir.parse(text).name == "f"
        assert run_well("ir", "model.py:f", *NUMBERS, "--stage", name).strip() == text.strip()
    assert "fused" in blocks["fuse"]


def test_kernels(folder: Path) -> None:
    text = run_well("ir", "f.irg", *NUMBERS, "--kernels")
    assert "kernel k0_" in text
    assert "tanh" in text


def test_locations(folder: Path) -> None:
    assert 'loc("model.py":9' in run_well("ir", "model.py:f", *SPECS, "--locations")


def test_numerics_is_an_option(folder: Path) -> None:
    text = run_well("ir", "f.irg", *NUMBERS, "--all", "--numerics", "exact")
    assert "# form_fma" not in text
    assert "# form_fma" in run_well("ir", "f.irg", *NUMBERS, "--all")


def test_what_the_model_prints_stays_out_of_the_text(folder: Path) -> None:
    result = run("ir", "model.py:loud", "--spec", "f32[3]")
    assert result.stderr == "loud\n"
    assert ig.ir.parse(result.stdout).name == "loud"


# -- run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["cpu", "reference"])
@pytest.mark.parametrize("source", ["model.py:f", "model.py:sized", "f.irg"])
def test_run(folder: Path, source: str, target: str) -> None:
    done = run_well(
        "run", source, "--inputs", "a.npz", "--output", "b.npz", "--target", target
    )
    assert done == ""
    with np.load("b.npz") as results:
        assert results.files == ["result"]
        assert results["result"].dtype == np.float32
        np.testing.assert_allclose(results["result"], expected(), rtol=1e-5)


def test_run_prints_without_an_output(folder: Path) -> None:
    lines = run_well("run", "model.py:f", "--inputs", "a.npz").splitlines()
    assert lines[0] == "result: f32[3]"
    np.testing.assert_allclose(
        np.array(lines[1].strip("[]").split(), dtype=float), expected(), rtol=1e-5
    )


def test_run_takes_numbered_arrays(folder: Path) -> None:
    with np.load("a.npz") as arrays:
        np.savez("n.npz", arrays["x"], arrays["y"])
    assert run_well("run", "model.py:f", "--inputs", "n.npz") == run_well(
        "run", "model.py:f", "--inputs", "a.npz"
    )


def test_run_of_nested_arguments(folder: Path) -> None:
    w, b = np.arange(3, dtype=np.float32), np.ones(3, np.float32)
    np.savez("p.npz", **{"params.w": w, "params.b": b})
    run_well("run", "model.py:nested", "--inputs", "p.npz", "--output", "r.npz")
    with np.load("r.npz") as results:
        assert set(results.files) == {"result.sum", "result.pair.0", "result.pair.1"}
        assert results["result.sum"] == 6
        assert results["result.pair.0"].tolist() == [1, 2, 3]
        assert results["result.pair.1"].tolist() == [1, 1, 1]


def test_run_of_a_gradient_and_of_captures(folder: Path) -> None:
    np.savez("x.npz", x=np.arange(4.0))
    assert run_well("run", "model.py:slope", "--inputs", "x.npz").splitlines()[1] == "[0. 2. 4. 6.]"
    text = run_well("run", "model.py:captures", "--inputs", "x.npz")
    assert text.splitlines()[1] == "[ 0.  2.  6. 12.]"


def test_captures_of_text_are_arguments(folder: Path) -> None:
    text = run_well("ir", "model.py:captures", "--spec", "f64[4]")
    assert "; captures %TABLE" in text
    (folder / "captures.irg").write_text(text)
    np.savez("x.npz", x=np.arange(4.0), TABLE=np.full(4, 2.0))
    done = run_well("run", "captures.irg", "--inputs", "x.npz")
    assert done.splitlines()[1] == "[0. 2. 4. 6.]"
    assert "1 kernels" in run_well("compile", "captures.irg", "out")


def test_an_argument_of_any_name(folder: Path) -> None:
    (folder / "odd.py").write_text("def f(file):\n    return {'file': file}\n")
    np.savez("x.npz", np.ones(2))
    run_well("run", "odd.py:f", "--inputs", "x.npz", "--output", "y.npz")
    with np.load("y.npz") as results:
        assert results["result.file"].tolist() == [1, 1]


def test_equal_results_are_equal_files(folder: Path) -> None:
    for name in ("b.npz", "c.npz"):
        run_well("run", "model.py:f", "--inputs", "a.npz", "--output", name)
    assert (folder / "b.npz").read_bytes() == (folder / "c.npz").read_bytes()


# -- compile ---------------------------------------------------------------------------------------


def test_compile_writes_a_folder(folder: Path) -> None:
    done = run_well("compile", "model.py:f", "out", *NUMBERS)
    files = sorted(str(p.relative_to(folder / "out")) for p in (folder / "out").rglob("*.*"))
    assert done == f"out: {len(files)} files, 2 kernels\n"
    stages = [name for name in files if name.startswith("stages/")]
    assert stages[0] == "stages/00_traced.irg"
    assert stages[-1].endswith("_fuse.irg")
    for name in stages:
        assert ig.ir.parse((folder / "out" / name).read_text()).name == "f"
    kernels = [name for name in files if name.startswith("kernels/")]
    assert sorted({name.rpartition(".")[2] for name in kernels}) == ["ll", "py", "s", "txt"]
    assert len(kernels) == 8
    assert "define" in (folder / "out" / kernels[0]).read_text()
    assert (folder / "out" / "f.o").read_bytes()[:4] == b"\x7fELF"
    assert "2 kernels" in (folder / "out" / "report.txt").read_text()
    assert "edits" in (folder / "out" / "rewrites.txt").read_text()


def test_compile_for_named_sizes(folder: Path) -> None:
    run_well("compile", "f.irg", "out")
    report = (folder / "out" / "report.txt").read_text()
    assert "n: axis 0 of x f32[n,4]" in report
    assert "k0_tanh[n](" in (folder / "out" / "kernels" / "k0_tanh.txt").read_text()


def test_compile_for_the_interpreter(folder: Path) -> None:
    run_well("compile", "model.py:sized", "out", "--target", "reference")
    assert sorted(p.name for p in (folder / "out").iterdir()) == [
        "report.txt", "rewrites.txt", "stages",
    ]  # fmt: skip


# -- as a program ----------------------------------------------------------------------------------


def test_as_a_program(folder: Path) -> None:
    command = [sys.executable, "-m", "irgrad.tools.cli", "ir", "nosuch.irg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "irgrad: error: nosuch.irg: expected a file of IR text, got no such file\n"
    )
