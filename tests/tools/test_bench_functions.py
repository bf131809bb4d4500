"""`irgrad bench functions`, with fake contenders and tiny sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import error_of, run_well

import irgrad as ig
from irgrad.errors import BackendError
from irgrad.tools.accuracy.functions import all_functions
from irgrad.tools.bench import command, functions, peer_irgrad, works
from irgrad.tools.files import read_arrays, write_arrays

SIZE = 8
COMPILED = ("exp f32", "pow f64")


@dataclass
class Fake:
    """A contender that takes the same time in each round and answers with NumPy's results."""

    name: str
    seconds: float
    missing: bool = False

    def ask(self, **request: Any) -> dict[str, Any]:
        if request["do"] == "versions":
            if self.missing:
                raise BackendError(f"{self.name}: no such module")
            return {"versions": {self.name: "1.0"}}
        if request["do"] == "round":
            return {"seconds": self.seconds}
        name, dtype = request["work"].split()
        (work,) = functions.function_works([name], [dtype], SIZE)
        inputs = list(read_arrays(request["inputs"]).values())
        assert all(x.shape == (SIZE, SIZE) for x in inputs)
        (result,) = work.reference([x.astype(np.float64) for x in inputs])
        write_arrays(request["results"], {"0": result.astype(inputs[0].dtype)})
        return {"seconds": 0.5}

    def close(self) -> None:
        pass


def test_every_measured_function_is_timed() -> None:
    assert set(functions.RANGES) == {"negative", *all_functions()}
    names = [work.name for work in functions.function_works(None, None)]
    assert names[:3] == ["negative f32", "negative f64", "exp f32"]
    assert len(names) == 2 * len(functions.RANGES)
    assert functions.function_works(["exp"], ["f64"])[0].shape == (2048, 2048)


@pytest.mark.parametrize(
    "work", functions.function_works(None, None, SIZE), ids=lambda work: work.name
)
def test_functions_in_irgrad_agree_with_their_reference(
    work: works.Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each name means to the worker; what it is compiled to, for a few names alone."""
    inputs = work.inputs(work.shape)
    if work.name not in COMPILED:
        monkeypatch.setattr(peer_irgrad.ig, "jit", partial(ig.jit, target="reference"))
    assert {str(x.dtype) for x in inputs} == {work.name.split()[1].replace("f", "float")}
    got = peer_irgrad.to_arrays(peer_irgrad.make_call(work.name, inputs)())
    expected = work.reference([array.astype(np.float64) for array in inputs])
    assert works.largest_error(got, expected) < 1e-6
    assert got[0].dtype == inputs[0].dtype


def test_a_function_that_no_namespace_has() -> None:
    with pytest.raises(KeyError, match="nosuch f32"):
        peer_irgrad.make_call("nosuch f32", [np.ones(1, np.float32)])


def run_fakes(monkeypatch: pytest.MonkeyPatch, *options: str, jax: Fake) -> str:
    fakes = {"irgrad": Fake("irgrad", 0.5), "jax": jax}
    monkeypatch.setattr(command, "Process", lambda name, core: fakes[name])
    return run_well(
        "bench", "functions", "--rounds", "2", "--size", str(SIZE), "--function", "exp",
        "--function", "pow", *options,
    )  # fmt: skip


def test_bench_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    text = run_fakes(
        monkeypatch, "--dtype", "f32", "--dtype", "f64", "--json", str(path), jax=Fake("jax", 2.0)
    )
    rows = [line.split() for line in text.splitlines() if "2 of 2" in line]
    assert [(row[1], row[3]) for row in rows] == [
        ("exp", "f32"), ("exp", "f64"), ("pow", "f32"), ("pow", "f64")
    ]  # fmt: skip
    assert all(row[5:12:2] == ["500.00", "2000.00", "0.25", "0.25"] for row in rows)
    assert "f32: geometric mean of irgrad / jax 0.25, worst 0.25 (exp)" in text
    assert "irgrad 1.0, jax 1.0" in text
    assert json.loads(path.read_text())["works"]["pow f64"]["jax"]["won"] == 2


def test_without_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    text = run_fakes(monkeypatch, "--dtype", "f32", jax=Fake("jax", 1.0, missing=True))
    assert "500.00" in text
    assert "geometric mean" not in text
    assert "missing: jax (no such module)" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--function", "sqrt"], "--function: expected one of negative, exp"),
        (["--dtype", "f16"], "--dtype: expected one of f32, f64, got 'f16'"),
    ],
)
def test_unknown_names(options: list[str], message: str) -> None:
    assert message in error_of("bench", "functions", *options, code=2)
