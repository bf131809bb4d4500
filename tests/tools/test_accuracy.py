"""`irgrad bench accuracy`: what it counts as an error, where it looks, and that it can stop."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import error_of, run, run_well

from irgrad.errors import BackendError, FileError
from irgrad.tools.accuracy import command, errors, exact, measure, points, progress
from irgrad.tools.accuracy.functions import Function, all_functions
from irgrad.tools.accuracy.measure import Job, Reference

F32, F64 = np.float32, np.float64
INF, NAN = np.inf, np.nan
TOP = 2.0**128  # after the largest number of f32
FUNCTIONS = all_functions()


def job(name: str, dtype: str, reference: Reference, count: int) -> Job:
    return Job(FUNCTIONS[name], dtype, reference, count)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [np.float64, np.longdouble])
@pytest.mark.parametrize(
    ("got", "wanted", "error"),
    [
        (1.0, 1.0, 0.0),
        (1.0, 1.0 + 2.0**-24, 0.5),
        (1.0, 1.0 - 2.0**-25, 0.5),  # below a power of two an ulp is half as large
        (-3.0, -3.0 - 2.0**-21, 2.0),
        (2.0**-149, 0.25 * 2.0**-149, 0.75),
        (0.0, 0.25 * 2.0**-149, 0.25),
        (-0.0, -1e-300, 0.0),
        (INF, INF, 0.0),
        (INF, 1e300, 0.0),
        (INF, TOP - 2.0**103, 0.5),
        (np.finfo(F32).max, TOP, 1.0),
        (np.finfo(F32).max, 1e300, 1.0),
        (NAN, NAN, 0.0),
        (NAN, 1.0, INF),
        (1.0, NAN, INF),
        (0.0, -0.0, INF),
        (-0.0, 1e-300, INF),
        (2.0**-149, 0.0, INF),
        (-INF, INF, 2 * 2.0**24),
    ],
)
def test_errors_in_ulp(got: float, wanted: float, error: float, wide: Any) -> None:
    found = errors.ulp_errors(np.array([got, 1.0], F32), np.array([wanted, 1.0], wide))
    assert found[0] == pytest.approx(error, abs=1e-30)
    assert found[1] == 0


def test_errors_of_f64() -> None:
    wanted = np.array([1.0, 1e-310], np.longdouble)
    wanted[0] += np.longdouble(2.0) ** -54
    found = errors.ulp_errors(np.array([1.0, 1e-310 + 2.0**-1073]), wanted)
    assert found.tolist() == [0.25, 2.0]


def test_a_tally_counts() -> None:
    got = np.ones(5, F32)
    wanted = 1 + np.array([0.0, 0.75, 1.75, -1.25, 3.0]) * 2.0**-23
    x = np.arange(5, dtype=F32)
    tally = errors.tally_of([x], got, wanted)
    assert tally.points == 5
    # Below 1 an ulp is half as large: the fourth error is 2.5.
    assert tally.over == (4, 3, 3, 2)
    assert (tally.worst, tally.at, tally.wrong) == (3.0, (float(4).hex(),), 0)
    wrong = errors.tally_of([x], got, np.array([1, 1, NAN, 1, NAN]))
    both = tally.joined(wrong)
    assert (both.points, both.over, both.wrong) == (10, (6, 5, 5, 4), 2)
    assert (both.worst, both.at) == (INF, (float(2).hex(),))
    assert errors.Tally.from_json(both.to_json()) == both


# -- points ----------------------------------------------------------------------------------------


def test_patterns_cover_every_number_once() -> None:
    stride = (points.PATTERNS // 1000) | 1
    found = points.pattern_points(7 * stride, 5, stride).view(np.uint32)
    assert found.tolist() == [(7 + i) * stride % 2**32 for i in range(5)]
    last = points.pattern_points(points.PATTERNS - 2, 2, 1).view(np.uint32)
    assert last.tolist() == [2**32 - 2, 2**32 - 1]
    every = job("exp", "f32", Reference.float64, points.PATTERNS)
    assert every.exhaustive
    first = measure.job_points(every, points.PATTERNS // 2, 3)[0]
    np.testing.assert_array_equal(first, -np.array([0, 1, 2], F32) * F32(2.0**-149))


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_points_depend_on_the_number_of_the_block(name: str, dtype: str) -> None:
    function = FUNCTIONS[name]
    first, again, second = (points.random_points(function, dtype, k, 4096) for k in (3, 3, 4))
    assert len(first) == function.arity
    for a, b, c in zip(first, again, second):
        assert a.shape == (4096,)
        assert a.dtype == measure.DTYPES[dtype]
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c, equal_nan=True)
    low, high = function.region
    inside = np.isfinite(first[0]) & (first[0] > low) & (first[0] < high)
    assert inside.mean() > 0.3


def test_points_near_multiples_of_a_quarter_turn() -> None:
    hard = points.nearest_to_quarter_turns()
    # Of all doubles the one nearest to a multiple of pi/2 (Muller, Elementary Functions, 11.2).
    assert 6381956970095103.0 * 2.0**797 in hard
    assert np.abs(exact.exact_values("cos", hard) * exact.exact_values("sin", hard)).max() < 2e-2
    assert hard.size > 3000


# -- references ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, f in FUNCTIONS.items() if f.long_double])
def test_references_agree(name: str) -> None:
    arguments = points.random_points(FUNCTIONS[name], "f64", 0, 2048)
    wanted = exact.exact_values(name, *arguments)
    assert wanted.dtype == np.longdouble
    with np.errstate(all="ignore"):
        got = FUNCTIONS[name].reference(*(a.astype(np.longdouble) for a in arguments))
    assert errors.ulp_errors(got, wanted, np.dtype(F64)).max() < 0.01


@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_references_in_float64_agree(name: str) -> None:
    (x,) = points.random_points(FUNCTIONS[name], "f32", 0, 2048)
    got = FUNCTIONS[name].reference(x.astype(F64)).astype(np.longdouble)
    assert errors.ulp_errors(got, exact.exact_values(name, x), np.dtype(F32)).max() < 1e-6


def test_exact_values_keep_zeros_and_denormal_numbers() -> None:
    x = np.array([-0.0, 2.0**-1074, -INF, NAN, 3.0])
    found = exact.exact_values("sinh", x)
    assert np.signbit(found[0])
    assert found[0] == 0
    assert found[1] == 2.0**-1074
    assert found[2] == -INF
    assert np.isnan(found[3])
    assert float(found[4]) == pytest.approx(np.sinh(3.0), rel=1e-15)
    assert float(exact.exact_values("pow", np.array([3.0]), np.array([5.0]))[0]) == 243


def test_without_gmpy2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gmpy2", None)
    with pytest.raises(BackendError, match=r"expected gmpy2 .* install irgrad\[accuracy\]"):
        exact.exact_values("exp", np.ones(1))
    assert measure.reference_error(job("exp", "f32", Reference.float64, 1)) is None


# -- measuring -------------------------------------------------------------------------------------


def measured(work: Job, stop_after: int | None = None, start: Any = None) -> measure.Progress:
    """The last progress of a job, or that after so many blocks."""
    compiled = measure.compile_function(work.function, work.dtype)
    begin = start or measure.Progress(measure.code_of(compiled))
    return list(itertools.islice(measure.run_job(work, compiled, begin), stop_after))[-1]


@pytest.mark.parametrize(
    "work",
    [
        job("log", "f32", Reference.float64, 70_000),
        job("pow", "f32", Reference.float64, 70_000),
        job("exp", "f64", Reference.longdouble, 70_000),
        job("atan2", "f64", Reference.mpfr, 40_000),
    ],
    ids=lambda work: work.key,
)
def test_a_job_that_stops_goes_on(work: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measure.BLOCKS, work.reference, measure.CHUNK)
    whole = measured(work)
    part = measured(work, stop_after=1)
    assert part.done == measure.CHUNK
    assert measured(work, start=part) == whole
    assert whole.done == whole.tally.points == work.points
    assert 0.4 < whole.tally.worst <= 2


def test_faults_are_found() -> None:
    """The code of another function, and of one that is right at most points."""
    work = job("sin", "f64", Reference.longdouble, measure.CHUNK)
    other = measure.compile_function(FUNCTIONS["cos"], "f64")
    (found,) = measure.run_job(work, other, measure.Progress(""))
    assert found.tally.worst > 1e10
    truncated = replace(FUNCTIONS["expm1"], reference=lambda x: np.exp(x) - 1)
    work = Job(truncated, "f64", Reference.longdouble, measure.CHUNK)
    (found,) = measure.run_job(
        work, measure.compile_function(truncated, "f64"), measure.Progress("")
    )
    assert found.tally.worst > 2


def test_progress_files(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    file = progress.open_progress(str(path))
    assert not file.jobs
    file.jobs["a"] = measure.Progress("code", 5, errors.Tally(5, INF, ("0x1p0",), "nan", "inf"))
    file.jobs["b"] = measure.Progress("code", 7, errors.Tally(), 0.5)
    file.save()
    assert progress.open_progress(str(path)).jobs == file.jobs
    for text in ("", "{}", '{"format": "other"}', "[" * 10**5,
                 path.read_text().replace("0x1p0", "one"), path.read_text().replace("5", "-5")):
        path.write_text(text)
        with pytest.raises(FileError, match=r"p.json: expected a progress file of"):
            progress.open_progress(str(path))


# -- the command -----------------------------------------------------------------------------------

SMALL = ("bench", "accuracy", "--function", "tanh", "--points", "40000")


def test_bench_accuracy(tmp_path: Path) -> None:
    path = str(tmp_path / "p.json")
    text = run_well(*SMALL, "--progress", path)
    rows = [line for line in text.splitlines() if "tanh" in line]
    assert [row.split()[3:7:2] for row in rows] == [
        ["f32", "float64"], ["f64", "longdouble"], ["f64", "mpfr"]
    ]  # fmt: skip
    assert all("4e+04" in row for row in rows)
    before = Path(path).read_bytes()
    assert run_well(*SMALL, "--progress", path) == text
    assert Path(path).read_bytes() == before


def test_an_interrupted_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measure.BLOCKS, Reference.mpfr, measure.CHUNK)
    path = str(tmp_path / "p.json")
    options = (*SMALL, "--reference", "mpfr", "--dtype", "f64", "--progress", path)
    run_well(*options)
    wanted = progress.open_progress(path).jobs
    os.remove(path)
    evaluations: list[int] = []
    original = measure.exact_values

    def interrupted(*arguments: Any) -> np.ndarray:
        evaluations.append(1)
        if len(evaluations) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(measure, "exact_values", interrupted)
    result = run(*options)
    assert result.exit_code == command.INTERRUPTED
    assert "1.64e+04 of 4e+04" in result.stdout
    assert "stopped; the same command goes on from" in result.stdout
    (part,) = progress.open_progress(path).jobs.values()
    assert part.done == measure.CHUNK
    evaluations.append(1)
    run_well(*options)
    assert len(evaluations) == 5  # two before, and of three blocks the last two
    assert progress.open_progress(path).jobs == wanted


def test_other_code_starts_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "p.json")
    options = (*SMALL, "--dtype", "f32", "--progress", path)
    run_well(*options)
    file = progress.open_progress(path)
    ((key, found),) = file.jobs.items()
    file.jobs[key] = replace(found, code="other", tally=replace(found.tally, worst=1.999))
    file.save()
    run_well(*options)
    assert progress.open_progress(path).jobs[key] == found


def test_a_large_error_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(function: Function, dtype: str) -> Any:
        return measure.compile_function(FUNCTIONS["sigmoid"], dtype)

    monkeypatch.setattr(command, "compile_function", other)
    result = run(*SMALL, "--dtype", "f32", "--progress", str(tmp_path / "p.json"))
    assert result.exit_code == 1
    assert "tanh f32: expected errors of at most 2 ulp, got" in result.stderr
    assert "tanh" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--function", "sqrt"], "--function: expected one of exp, exp2"),
        (["--dtype", "f16"], "--dtype: expected one of f32, f64, got 'f16'"),
        (["--dtype", "f32", "--reference", "mpfr"], "--reference: expected float64 for f32"),
    ],
)
def test_unknown_names(options: list[str], message: str) -> None:
    assert message in error_of("bench", "accuracy", *options, code=2)


def test_a_progress_file_that_cannot_be_written_stops_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "no" / "p.json")
    assert "expected its folder to exist" in error_of(*SMALL, "--progress", path)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_a_signal_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    child = subprocess.Popen(
        [sys.executable, "-m", "irgrad.tools.cli", "bench", "accuracy", "--function", "exp",
         "--dtype", "f32", "--progress", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not path.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == command.INTERRUPTED, err
    assert "of 4.29e+09" in out
    (found,) = progress.open_progress(str(path)).jobs.values()
    assert 0 < found.done < points.PATTERNS
    assert found.tally.points == found.done
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]
