"""The benchmark harness, with fake contenders and tiny sizes: what it does, not how fast."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import error_of, run_well

from irgrad.errors import BackendError, CheckError
from irgrad.tools.bench import (
    calls,
    command,
    matmul,
    nan,
    peer_irgrad,
    peers,
    process,
    rounds,
    sizes,
    start,
    worker,
    works,
)
from irgrad.tools.bench.rounds import Clock
from irgrad.tools.files import read_arrays, write_arrays

TINY = [replace(work, shape=(8, 16)) for work in works.all_works().values()]


@dataclass
class Fake:
    """A contender that takes as long as it is told and answers with NumPy's results.

    log: receives its name at each round. fails: the request that it cannot meet. off: what it adds
    to its results.
    """

    name: str
    seconds: list[float]
    log: list[str] = field(default_factory=list)
    fails: str = ""
    off: float = 0.0
    closed: bool = False

    def ask(self, **request: Any) -> dict[str, Any]:
        if request["do"] == self.fails:
            raise BackendError(f"{self.name}: cannot {self.fails}")
        if request["do"] == "versions":
            return {"versions": {self.name: "1.0"}}
        if request["do"] == "round":
            self.log.append(self.name)
            return {"seconds": self.seconds[self.log.count(self.name) - 1]}
        inputs = [x.astype(np.float64) for x in read_arrays(request["inputs"]).values()]
        found = works.all_works()[request["work"]].reference(inputs)
        write_arrays(
            request["results"], {str(i): (x + self.off).astype("f4") for i, x in enumerate(found)}
        )
        return {"seconds": 0.5}

    def close(self) -> None:
        self.closed = True


def run_fakes(*fakes: Fake) -> peers.PeerReport:
    by_name = {fake.name: fake for fake in fakes}
    report = peers.run_peers(
        TINY[:1], list(by_name), by_name.__getitem__, rounds=3, calls=2, clock=Clock.cpu
    )
    assert all(fake.closed for fake in fakes)
    return report


# -- rounds ----------------------------------------------------------------------------------------


def test_rounds_rotate() -> None:
    log: list[str] = []

    def turn(name: str) -> Callable[[], float]:
        return lambda: log.append(name) or float(len(log))

    found = rounds.interleave({name: turn(name) for name in "abc"}, 4)
    assert "".join(log) == "abc" "bca" "cab" "abc"
    assert found["a"] == [1, 6, 8, 10]


def test_ratios_are_taken_round_by_round() -> None:
    found = rounds.compare_rounds([1.0, 10.0, 3.0], [2.0, 20.0, 2.0])
    assert found.ratio == 0.5
    assert found.best == 0.5
    assert found.won == 2


def test_a_result_is_dropped_before_the_next_call() -> None:
    alive: list[int] = []

    class Result:
        def __init__(self) -> None:
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    most: list[int] = []

    def call() -> Result:
        most.append(len(alive))
        return Result()

    assert rounds.time_calls(call, 5, Clock.wall) >= 0
    assert most == [0] * 6


def test_geometric_mean() -> None:
    assert rounds.geometric_mean([0.5, 2.0, 1.0]) == pytest.approx(1.0)


# -- peers -----------------------------------------------------------------------------------------


def test_peers_are_compared() -> None:
    log: list[str] = []
    report = run_fakes(
        Fake("irgrad", [1.0, 4.0, 3.0], log), Fake("jax", [2.0, 2.0, 2.0], log)
    )
    assert log == ["irgrad", "jax", "jax", "irgrad", "irgrad", "jax"]
    assert report.versions == {"irgrad": "1.0", "jax": "1.0"}
    ours, theirs = peers.peer_rows(report)
    assert ours[:4] == ("gelu", "irgrad", "3000.00", "1000.00 - 4000.00")
    assert theirs[4:7] == ("1.50", "0.50", "1 of 3")
    data = peers.peer_json(report)
    assert data["works"]["gelu"]["jax"]["seconds"] == [2.0, 2.0, 2.0]
    assert data["works"]["gelu"]["jax"]["ratio"] == 1.5
    assert "ratio" not in data["works"]["gelu"]["irgrad"]


def test_a_peer_that_is_not_there_is_missing() -> None:
    report = run_fakes(Fake("irgrad", [1.0] * 3), Fake("torch", [], fails="versions"))
    assert report.missing == {"torch": "cannot versions"}
    assert list(report.timings["gelu"]) == ["irgrad"]


def test_a_peer_that_fails_at_one_work_is_missing_there() -> None:
    report = run_fakes(Fake("irgrad", [1.0] * 3), Fake("torch", [], fails="prepare"))
    assert report.missing == {"torch (gelu)": "cannot prepare"}


def test_irgrad_must_not_be_missing() -> None:
    with pytest.raises(BackendError, match="irgrad: cannot versions"):
        run_fakes(Fake("irgrad", [], fails="versions"))


def test_wrong_results_are_found() -> None:
    with pytest.raises(CheckError, match="gelu: expected results within 1e-05 of float64"):
        run_fakes(Fake("irgrad", [1.0] * 3, off=1e-2))
    report = run_fakes(Fake("irgrad", [1.0] * 3), Fake("jax", [1.0] * 3, off=1e-2))
    assert peers.peer_rows(report)[1][-1].endswith(" (wrong)")


def test_errors_are_in_units_of_the_largest_element() -> None:
    want = [np.array([1.0, 100.0])]
    assert works.largest_error([np.array([2.0, 100.0])], want) == pytest.approx(0.01)
    assert works.largest_error([np.array([np.nan, 100.0])], want) == np.inf
    assert works.largest_error([np.array([[1.0, 100.0]])], want) == np.inf
    assert works.largest_error([], want) == np.inf


@pytest.mark.parametrize("work", TINY, ids=lambda work: work.name)
def test_works_in_irgrad_agree_with_their_reference(work: works.Work) -> None:
    inputs = work.inputs(work.shape)
    got = peer_irgrad.to_arrays(peer_irgrad.make_call(work.name, inputs)())
    expected = work.reference([array.astype(np.float64) for array in inputs])
    assert works.largest_error(got, expected) < 1e-6


def test_the_worker_answers(tmp_path: Path) -> None:
    inputs, results = str(tmp_path / "inputs.npz"), str(tmp_path / "results.npz")
    write_arrays(inputs, {"0": np.ones((4, 8), np.float32)})
    requests = [
        {"do": "versions"},
        {"do": "prepare", "work": "softmax", "inputs": inputs, "results": results},
        {"do": "round", "calls": 3, "clock": "wall"},
        {"do": "prepare", "work": "nosuch", "inputs": inputs, "results": results},
    ]
    answers = io.StringIO()
    worker.serve("irgrad", io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), answers)
    versions, prepared, timed, failed = map(json.loads, answers.getvalue().splitlines())
    assert list(versions["versions"]) == ["irgrad"]
    assert prepared["seconds"] > 0
    assert timed["seconds"] > 0
    assert failed == {"error": "KeyError: 'nosuch'"}
    np.testing.assert_allclose(read_arrays(results)["0"], 1 / 8)


def test_a_worker_in_a_process() -> None:
    contender = process.Process("irgrad", process.measuring_core())
    try:
        assert list(contender.ask(do="versions")["versions"]) == ["irgrad"]
        with pytest.raises(BackendError, match="irgrad: KeyError: 'work'"):
            contender.ask(do="prepare")
    finally:
        contender.close()


def test_a_worker_that_ends() -> None:
    contender = process.Process("irgrad", 10**6)  # there is no such core
    try:
        with pytest.raises(BackendError, match="irgrad: expected an answer, got the end of its"):
            contender.ask(do="versions")
    finally:
        contender.close()


def test_bench_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = {
        "irgrad": Fake("irgrad", [1.0, 1.0]),
        "jax": Fake("jax", [2.0, 2.0]),
        "torch": Fake("torch", [], fails="versions"),
    }
    monkeypatch.setattr(command, "find_works", lambda names: TINY[1:2])
    monkeypatch.setattr(command, "Process", lambda name, core: fakes[name])
    path = tmp_path / "out.json"
    text = run_well(
        "bench", "peers", "--rounds", "2", "--peer", "jax", "--peer", "torch", "--json", str(path)
    )
    assert "0.50" in text
    assert "2 of 2" in text
    assert "missing: torch (cannot versions)" in text
    assert "irgrad 1.0, jax 1.0" in text
    data = json.loads(path.read_text())
    assert data["works"]["softmax"]["jax"]["won"] == 2
    assert data["processor"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["peers", "--work", "nosuch"], "--work: expected one of gelu, softmax, layernorm"),
        (["peers", "--peer", "nosuch"], "--peer: expected one of jax, torch, torch.compile"),
        (["sizes", "--function", "nosuch"], "--function: expected one of layer, slope, weights"),
        (["nan", "--work", "nosuch"], "--work: expected one of product, cached, tanh, softmax"),
        (["matmul", "--dtype", "f16"], "--dtype: expected one of f32, f64, got 'f16'"),
    ],
)
def test_unknown_names(options: list[str], message: str) -> None:
    assert message in error_of("bench", *options, code=2)


def test_a_report_that_cannot_be_written_stops_at_once(tmp_path: Path) -> None:
    for name in ("peers", "matmul", "calls", "nan", "sizes", "start"):
        line = error_of("bench", name, "--json", str(tmp_path / "no" / "out.json"))
        assert "expected its folder to exist" in line


# -- the others ------------------------------------------------------------------------------------


def test_bench_matmul(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    text = run_well("bench", "matmul", "--size", "5", "--size", "8", "--rounds", "2",
                    "--dtype", "f32", "--json", str(path))  # fmt: skip
    products = json.loads(path.read_text())["products"]
    assert [(p["layout"], p["size"]) for p in products] == [
        (layout, size) for layout in ("NN", "NT", "TN", "TT") for size in (5, 8)
    ]
    assert all(len(p["irgrad"]) == len(p["numpy"]) == 2 for p in products)
    assert "f32: geometric mean of irgrad / numpy" in text


def test_matmul_summary() -> None:
    products = [
        matmul.Product("f32", "NN", 64, [1.0], [2.0]),
        matmul.Product("f32", "TT", 65, [4.0], [2.0]),
    ]
    assert matmul.matmul_summary(products) == [
        "f32: geometric mean of irgrad / numpy 1.00, worst 2.00 (TT 65); by minima 1.00, worst "
        "2.00 (TT 65)"
    ]


def test_bench_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CALLS", 3)
    path = tmp_path / "out.json"
    text = run_well("bench", "calls", "--rounds", "2", "--clock", "cpu", "--json", str(path))
    assert "2 rounds of 3 calls, cpu time" in text
    costs = json.loads(path.read_text())["calls"]
    assert [cost["name"] for cost in costs] == ["jit: two arrays in, one out", "bind", "bind"]
    assert all(len(cost["call"]) == len(cost["of_unit"]) == 2 for cost in costs)


def test_bench_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(nan.all_nan_works()) == list(nan.WHAT)

    def sums(a: Any, b: Any) -> Any:
        return a + b, b * 2

    given = np.ones(3, np.float32), np.ones(3, np.float32)
    monkeypatch.setattr(
        nan, "all_nan_works", lambda: {"small": nan.NanWork(sums, lambda: given, 3, (0,))}
    )
    path = tmp_path / "out.json"
    text = run_well("bench", "nan", "--work", "small", "--rounds", "2", "--json", str(path))
    assert "small: sum of two arrays of 3 f32\n2 rounds, wall time" in text
    costs = json.loads(path.read_text())["costs"]
    assert [(cost["work"], cost["call"]) for cost in costs] == [("small", "jit"), ("small", "bind")]
    assert all(len(cost["with"]) == len(cost["without"]) == 2 for cost in costs)
    assert (given[0] == 1).all()


def test_bench_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"double": (lambda x: x * 2, (("n", 3),))}
    monkeypatch.setattr(sizes, "functions", lambda: small)
    path = tmp_path / "found.json"
    text = run_well("bench", "sizes", "--batch", "2", "--rounds", "2", "--json", str(path))
    assert "double" in text and "all sizes / this size" in text
    (found,) = json.loads(path.read_text())["sizes"]
    assert (found["function"], found["batch"], len(found["named"])) == ("double", 2, 2)


def test_sizes_that_differ_are_an_error() -> None:
    with pytest.raises(CheckError, match="step of 3: expected results within 0.001"):
        sizes.check_equal("step", 3, (np.ones(2), np.ones(2)), (np.ones(2), np.zeros(2)))
    sizes.check_equal("step", 3, np.ones(2), np.ones(2))


def test_summary_of_sizes() -> None:
    found = [
        sizes.Sized("layer", 1, [4.0], [2.0], 1.0, 0.5),
        sizes.Sized("layer", 64, [1.0], [2.0], 1.0, 0.5),
    ]
    assert sizes.size_summary(found) == [
        "layer: all sizes / this size 1.00 (geometric mean), at worst 2.00 at batch 1"
    ]


def test_costs_of_nan() -> None:
    cost = nan.NanCost("tanh", "jit", [3e-6, 6e-6, 4e-6], [2e-6, 4e-6, 4e-6])
    assert nan.nan_rows([cost]) == [("tanh", "jit", "4.00", "4.00", "1.50", "1.50")]


def test_clocks() -> None:
    wall, cpu = Clock.wall.read(), Clock.cpu.read()
    time.sleep(0.05)
    assert Clock.wall.read() - wall >= 0.05
    assert Clock.cpu.read() - cpu < 0.05


def test_bench_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"off": iter((9.0, 0.5, 0.7, 0.6)), "on": iter((9.0, 0.2, 0.25, 0.3))}

    def measure(cache: str) -> start.Sample:
        t = next(seconds["off" if cache == "off" else "on"])
        return {"import": 0.1, "first": t, "total": 0.1 + t, "warm": 0.05, "kernels": 10,
                "compiles": t == 9.0, "numba": 0}  # fmt: skip

    monkeypatch.setattr(start, "measure_once", measure)
    path = tmp_path / "out.json"
    text = run_well("bench", "start", "--processes", "3", "--json", str(path))
    assert "700.0" in text
    assert "600.0 - 800.0" in text
    assert "300.0 - 400.0" in text
    assert "0, no" in text
    assert len(json.loads(path.read_text())["processes"]) == 3


def test_the_step_of_bench_start() -> None:
    sample = start.measure_once("off")
    assert sample["compiles"] == 1
    assert not sample["numba"]
    assert 0 < sample["import"] + sample["first"] <= sample["total"]
    assert sample["kernels"] >= 1


def test_a_step_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(BackendError, match="expected the training step to run, got no message"):
        start.measure_once("off")
