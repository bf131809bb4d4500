"""`irgrad profile` on good and on bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import error_of, run, run_well

SPECS = ("--spec", "f32[3,4]", "--spec", "f32[4]")


def test_help_has_an_example() -> None:
    assert "irgrad profile" in run_well("profile", "--help").split("Example", 1)[1]


def test_table_and_trace(folder: Path) -> None:
    arguments = ("--inputs", "a.npz", "--rounds", "3", "--output", "trace.json")
    text = run_well("profile", "model.py:f", *arguments, "--by", "line")
    assert text.startswith("f for cpu (llvm): ")
    assert " 3 rounds\n" in text
    assert "model.py:9 " in text
    assert "return np.tanh(x) @ y\n" in text
    trace = json.loads((folder / "trace.json").read_text())
    kernels = [event for event in trace["traceEvents"] if event.get("cat") == "kernel"]
    assert kernels
    for event in kernels:
        assert event["args"]["lines"] == ["model.py:9"]


@pytest.mark.parametrize("source", ["model.py:f", "f.irg"])
def test_without_inputs_arguments_are_random(folder: Path, source: str) -> None:
    text = run_well("profile", source, *SPECS, "--emit", "numba", "--rounds", "1")
    assert text.startswith("f for cpu (numba): ")


def test_errors_are_one_line(folder: Path) -> None:
    for rounds in ("0", "-3", "10001"):
        found = error_of("profile", "model.py:f", *SPECS, "--rounds", rounds, code=2)
        assert found == f"--rounds: expected 1 to 10,000, got {rounds}"
    assert error_of("profile", "model.py:sized") == (
        "x: expected a type with numbers, or --inputs, got f32[n,4]"
    )
    found = error_of("profile", "model.py:f", *SPECS, "--target", "reference")
    assert found.startswith("profile: expected a target that compiles kernels, got 'reference'")
    found = error_of("profile", "model.py:checked", "--inputs", "missing.npz")
    assert found == "missing.npz: expected a .npz file of arrays, got no such file"
    for name in ("model.py", "a.npz"):
        before = (folder / name).read_bytes()
        found = error_of(
            "profile", "model.py:f", "--inputs", "a.npz", "--output", name, code=2
        )
        assert found == f"--output: expected a file beside what is read, got '{name}' itself"
        assert (folder / name).read_bytes() == before
    assert "no/trace.json: expected its folder to exist" in error_of(
        "profile", "model.py:f", *SPECS, "--output", "no/trace.json"
    )
    for wrong in (("--rounds", "many"), ("--by", "op")):
        assert run("profile", "model.py:f", *SPECS, *wrong).exit_code == 2


def test_a_failed_check_leaves_no_trace(folder: Path) -> None:
    found = run(
        "profile", "model.py:checked", "--spec", "f64[3]", "--emit", "numba", "--output", "t.json"
    )
    assert found.exit_code == 0
    (folder / "t.json").unlink()
    (folder / "small.py").write_text(
        "import irgrad as ig\n\n\ndef f(x):\n    ig.check(x > 9, 'large')\n    return x\n"
    )
    arguments = ("--spec", "f64[3]", "--emit", "numba", "--output", "t.json")
    assert error_of("profile", "small.py:f", *arguments).startswith("check: large (expected true")
    assert not (folder / "t.json").exists()
