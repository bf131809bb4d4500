"""Profiles: a row for each kernel call with its lines, bits as ever, and nothing when not asked."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from typing import Any

import numpy as np
import optree
import pytest
from llvmlite import ir

import irgrad as ig
import irgrad.numpy as inp
from irgrad.backends.numba_cpu.llvm import timer
from irgrad.backends.numba_cpu.llvm.compile import assembly
from irgrad.backends.numba_cpu.llvm.cpu import named_cpu
from irgrad.backends.numba_cpu.llvm.entry import program_module
from irgrad.backends.numba_cpu.runtime.timed import compile_timed
from irgrad.errors import ArgumentError, BackendError, CheckError, DonationError
from irgrad.ir.location import Location
from irgrad.passes.base import run_passes
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.runtime.backend import BoundRun
from irgrad.runtime.profile import KernelTime, Profile, Timing
from irgrad.runtime.profiling import KEPT_ROUNDS, MAX_ROUNDS, TimedRun, _rounds

ROUNDS = 25
SCALE = np.linspace(0.5, 1.5, 8)


def loss(w: Any, b: Any, x: Any) -> Any:
    h = inp.tanh(x @ w + b)
    h = inp.tanh(h @ w + b)
    return (h * SCALE).sum()


def step(params: dict[str, Any], x: Any) -> Any:
    ig.check(x > 0, "x must be positive")
    value, slopes = ig.value_and_grad(loss, argnums=(0, 1))(params["w"], params["b"], x)
    changed = {name: params[name] - 0.1 * s for name, s in zip(("w", "b"), slopes)}
    return changed, value


SPECS = ({"w": "f64[8,8]", "b": "f64[8]"}, "f64[5,8]")


def arguments() -> tuple[dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng(3)
    params = {"w": random.standard_normal((8, 8)), "b": random.standard_normal(8)}
    return params, random.uniform(0.5, 2.0, (5, 8))


@pytest.fixture(scope="module")
def compiled() -> ig.Compiled:
    return ig.compile(step, *SPECS, donate=0)


@pytest.fixture(scope="module")
def profile(compiled: ig.Compiled) -> Profile:
    return compiled.profile(*arguments(), rounds=ROUNDS)


def small(x: Any) -> Any:
    return inp.sqrt(x) + 1.0, x.sum()


def small_array() -> np.ndarray:
    return np.linspace(0.0, 3.0, 7)


@pytest.fixture(scope="module")
def by_numba() -> Profile:
    return ig.compile(small, "f64[7]", emit="numba").profile(small_array(), rounds=3)


def equal_bits(a: Any, b: Any) -> bool:
    leaves = zip(optree.tree_leaves(a), optree.tree_leaves(b), strict=True)
    same_tree = optree.tree_structure(a) == optree.tree_structure(b)
    return same_tree and all(x.tobytes() == y.tobytes() and x.dtype == y.dtype for x, y in leaves)


# -- what a profile says ---------------------------------------------------------------------------


def test_each_kernel_call_has_a_row_with_lines(compiled: ig.Compiled, profile: Profile) -> None:
    kernels = {kernel.name: kernel for kernel in compiled.kernels}
    assert len(profile.kernels) == sum(kernel.calls for kernel in kernels.values()) > 3
    lines: set[int] = set()
    for row in profile.kernels:
        kernel = kernels[row.name]
        assert (row.flops, row.bytes) == (kernel.flops, kernel.bytes)
        assert row.origin in kernel.origins
        assert row.origin
        lines |= {x.line for x in row.origin if x.file == __file__}
    first = inspect.getsourcelines(loss)[1]
    assert {first + 1, first + 2} <= lines


@pytest.mark.parametrize("form", ["llvm", "numba"])
def test_kernels_take_no_longer_than_the_call(form: str, request: pytest.FixtureRequest) -> None:
    found: Profile = request.getfixturevalue("profile" if form == "llvm" else "by_numba")
    assert found.form == form
    assert 0 < found.seconds.minimum <= found.seconds.median
    assert 0 < found.ordinary.minimum <= found.ordinary.median
    assert sum(row.seconds.minimum for row in found.kernels) <= found.seconds.minimum
    assert sum(row.share for row in found.kernels) <= 1
    for row in found.kernels:
        assert 0 <= row.seconds.minimum <= row.seconds.median
    assert any(row.seconds.minimum > 0 for row in found.kernels)
    assert len(found.samples) == min(found.rounds, KEPT_ROUNDS)
    for sample in found.samples:
        assert sum(seconds for _, seconds in sample.kernels) <= sample.seconds
        end = sample.start
        for start, seconds in sample.kernels:
            assert end <= start + 1e-9
            end = start + seconds
        assert end <= sample.start + sample.seconds + 1e-9


def test_gradients_of_arguments_have_lines() -> None:
    def twice(w: Any, unused: Any, x: Any) -> Any:
        return (inp.tanh(x @ w) @ w).sum()

    specs = ("f64[4,4]", "f64[3]", "f64[2,4]")
    graph = ig.trace(ig.grad(twice, argnums=(0, 1)), *specs)
    run_passes(graph, pipeline())
    calls = lower(graph).calls
    line = inspect.getsourcelines(twice)[1] + 1
    assert len(calls) > 2
    for call in calls:
        assert (__file__, line) in {(x.file, x.line) for x in call.origin}


def test_rates() -> None:
    row = KernelTime("k", Timing(2e-6, 3e-6), 0.5, 4000, 8000, ())
    assert row.gigaflops == pytest.approx(2.0)
    assert row.gigabytes == pytest.approx(4.0)
    coarse = replace(row, seconds=Timing(0.0, 0.0))
    assert (coarse.gigaflops, coarse.gigabytes) == (0.0, 0.0)


def made() -> Profile:
    """A profile of known numbers: kernel a of line 1, b of lines 1 and 2."""
    one, two = Location("model\udc80.py", 1), Location("model\udc80.py", 2)
    call = Timing(10e-6, 12e-6)
    kernels = (
        KernelTime("a", Timing(3e-6, 4e-6), 0.3, 10, 20, (one,)),
        KernelTime("b", Timing(5e-6, 6e-6), 0.5, 10, 20, (one, two)),
    )
    phases = (("passes", 0.5), ("emit", 0.25))
    return Profile("f\udc80", "cpu", "llvm", 1, call, call, kernels, phases, "compiled", (), None)


def test_a_line_has_its_own_kernels_and_those_it_shares() -> None:
    first, second = made().lines()
    assert (first.location.line, first.kernels) == (1, ("a", "b"))
    assert (first.alone, first.shared) == pytest.approx((3e-6, 5e-6))
    assert (second.location.line, second.kernels) == (2, ("b",))
    assert (second.alone, second.shared) == pytest.approx((0.0, 5e-6))


def test_text(profile: Profile) -> None:
    text = str(profile)
    assert text == profile.text("kernel")
    rows = [line.split()[0] for line in text.splitlines()[4:-1]]
    assert rows == [row.name for row in profile.kernels]
    assert f"{len(rows)} kernel calls, {ROUNDS} rounds" in text
    assert "compile (code: compiled): trace " in text
    by_line = profile.text("line")
    for found in profile.lines():
        assert str(found.location) in by_line
    assert "h = inp.tanh(x @ w + b)" in by_line
    with pytest.raises(ArgumentError, match="expected 'kernel' or 'line', got 'op'"):
        profile.text("op")


def test_trace_is_json_of_nested_events(profile: Profile) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    trace = json.loads(profile.chrome_trace(), parse_constant=refuse)
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [e["name"] for e in events if e["cat"] == "compile"] == [n for n, _ in profile.phases]
    calls = [event for event in events if event["cat"] == "call"]
    assert len(calls) == KEPT_ROUNDS
    kernels = [event for event in events if event["cat"] == "kernel"]
    assert len(kernels) == KEPT_ROUNDS * len(profile.kernels)
    for position, event in enumerate(kernels):
        row, call = (
            profile.kernels[position % len(profile.kernels)],
            calls[position // len(profile.kernels)],
        )
        assert event["name"] == row.name
        assert event["args"] == {
            "lines": [str(x) for x in row.origin], "flops": row.flops, "bytes": row.bytes
        }  # fmt: skip
        assert event["tid"] == call["tid"]
        assert call["ts"] - 1e-3 <= event["ts"]
        assert event["ts"] + event["dur"] <= call["ts"] + call["dur"] + 1e-3
    last_phase = [e for e in events if e["cat"] == "compile"][-1]
    assert last_phase["ts"] + last_phase["dur"] <= calls[0]["ts"] + 1e-3


def test_trace_of_names_that_are_no_unicode() -> None:
    trace = made().chrome_trace()
    json.loads(trace)
    assert "\\ud" not in trace.replace("\\\\ud", "")


# -- results ---------------------------------------------------------------------------------------


def test_results_are_those_of_a_call(compiled: ig.Compiled, profile: Profile) -> None:
    assert equal_bits(profile.result, compiled(*arguments()))


def test_arguments_stay_as_they_are(compiled: ig.Compiled) -> None:
    params, x = arguments()
    found = compiled.profile(params, x=x, rounds=1)
    assert equal_bits((params, x), arguments())
    assert not any(np.shares_memory(found.result[0][name], params[name]) for name in params)
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    assert equal_bits(compiled.profile(params, strided, rounds=1).result, found.result)


def test_ordinary_code_has_no_timers(compiled: ig.Compiled) -> None:
    program = compiled._parts.program
    assert program is not None
    plain = str(program_module(program, "plain", 32))
    timed = str(program_module(program, "timed", 32, timed=True))
    reading = "CNTVCT_EL0" if timer.platform.machine() == "aarch64" else "call i64 @\"llvm.read"
    assert timed.count(reading) == timer.STARTS + len(program.calls)
    assert reading not in plain and "fence" not in plain and ".isb" not in plain
    before = compiled.object_file()
    compiled.profile(*arguments(), rounds=1)
    assert compiled.object_file() == before


def test_a_failed_check_is_that_of_a_call(compiled: ig.Compiled) -> None:
    params, x = arguments()
    x[1, 2] = -1.0
    texts = []
    for run in (compiled, compiled.profile):
        with pytest.raises(CheckError) as caught:
            run(params, x)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert "x must be positive (expected true everywhere, got false at flat index 10)" in texts[0]
    assert equal_bits(compiled.profile(*arguments(), rounds=1).result, compiled(*arguments()))


# -- the form of Python source ---------------------------------------------------------------------


def test_numba_form(by_numba: Profile) -> None:
    x = small_array()
    assert equal_bits(by_numba.result, (np.sqrt(x) + 1.0, np.asarray(x.sum())))
    assert by_numba.kernels
    assert all(row.origin for row in by_numba.kernels)
    assert "each time has a call from Python in it" in str(by_numba)


def test_a_function_without_kernels() -> None:
    found = ig.compile(lambda x: x, "f64[3]", emit="numba").profile(np.ones(3), rounds=1)
    assert found.kernels == () == found.lines()
    assert found.result.tolist() == [1.0, 1.0, 1.0]
    assert "0 kernel calls, 1 rounds" in str(found)
    json.loads(found.chrome_trace())


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [0, -1, MAX_ROUNDS + 1, 2.0, "3", None, True, [4], 10**400])
def test_rounds_that_are_none(compiled: ig.Compiled, rounds: Any) -> None:
    with pytest.raises(ArgumentError, match="expected rounds as an int from 1 to 10,000") as caught:
        compiled.profile(*arguments(), rounds=rounds)
    assert "test_profile.py" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 12


def test_arguments_that_do_not_fit(compiled: ig.Compiled) -> None:
    params, x = arguments()
    with pytest.raises(ArgumentError, match="expected 2 arguments"):
        compiled.profile(params)
    with pytest.raises(ArgumentError, match="x: expected f64"):
        compiled.profile(params, x[:2])
    with pytest.raises(ArgumentError, match="by name"):
        compiled.profile(params, y=x)
    params["w"].flags.writeable = False
    with pytest.raises(DonationError, match="read-only"):
        compiled.profile(params, x)
    shared = np.ones((8, 8))
    with pytest.raises(DonationError, match="shares no memory"):
        compiled.profile({"w": shared, "b": np.ones(8)}, shared[:5])


def test_a_target_without_kernels() -> None:
    function = ig.compile(small, "f64[7]", target="reference")
    with pytest.raises(BackendError, match="expected a target that compiles kernels, got 'refer"):
        function.profile(small_array())


def test_debug_nan(compiled: ig.Compiled) -> None:
    options = replace(compiled.options, debug_nan=True)
    other = ig.runtime.compiled.Compiled(replace(compiled._parts, options=options))
    with pytest.raises(ArgumentError, match="without debug_nan"):
        other.profile(*arguments())


def test_a_processor_without_a_clock(
    compiled: ig.Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiled._parts.program
    assert program is not None
    monkeypatch.setattr(timer.platform, "machine", lambda: "riscv64")
    with pytest.raises(BackendError, match='use emit="numba" here'):
        compile_timed(program)


@pytest.mark.parametrize(
    ("machine", "cpu", "instructions"),
    [
        ("x86_64", "x86-64-v3", ("lfence", "rdtsc", "lfence")),
        ("aarch64", "neoverse-n1", ("isb", "mrs", "isb")),
    ],
)
def test_the_clock_waits_for_what_is_under_way(
    machine: str, cpu: str, instructions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timer.platform, "machine", lambda: machine)
    module = ir.Module(name="clock")
    timer.clock_function(module, "clock")
    text = assembly(module, named_cpu(cpu))
    words = [line.split()[0] for line in text.splitlines() if line.split()]
    assert tuple(word for word in words if word in instructions) == instructions
    assert machine != "aarch64" or "CNTVCT_EL0" in text


def test_a_clock_that_stands() -> None:
    def fail() -> Any:
        raise AssertionError

    ordinary = BoundRun(lambda: 0, fail)
    timed = TimedRun(lambda: 0, fail, lambda: (0, []), lambda: 7)
    with pytest.raises(BackendError, match="a processor's clock that runs"):
        _rounds(ordinary, timed, (), 1)
