"""Measuring a compiled function: its kernels, each timed where it runs, and the call as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NoReturn, Protocol, runtime_checkable

import numpy as np

from ..errors import ArgumentError, BackendError, brief
from ..interpret import graph_dims
from ..ir.dims import evaluate
from .bound import make_result_arrays
from .profile import KernelTime, Profile, Sample, Timing

if TYPE_CHECKING:
    from ..ir.location import Location
    from .backend import BoundRun
    from .compiled import Compiled, Parts

MAX_ROUNDS = 10_000
WARM_UPS = 1  # rounds that do not count: pages and caches are cold
KEPT_ROUNDS = 20  # whose kernels the trace shows
CALIBRATION = 50_000_000  # ns between the two readings that relate the clocks, at least
TRIES = 9
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TimedRun:
    """A call whose arrays are fixed and whose kernels are timed by a clock of any unit.

    run, fail, keep: as in `BoundRun`. laps: for the last run, what the clock needed to be read once
    and, for each kernel call, the readings before and after it. clock: reads the clock.
    """

    run: Callable[[], int]
    fail: Callable[[], NoReturn]
    laps: Callable[[], tuple[int, list[Span]]]
    clock: Callable[[], int]
    keep: tuple[object, ...] = ()


@runtime_checkable
class TimingExecutable(Protocol):
    """An executable whose kernels can be timed."""

    def timed(self, arguments: tuple[np.ndarray, ...], leaves: Sequence[np.ndarray]) -> TimedRun:
        """As `Executable.bind`, with timers between the kernels; may have to compile."""
        ...


@dataclass(frozen=True, slots=True)
class _Round:
    """One run: its start in ns, ns without timers and with them, and readings of the clock."""

    start: int
    ordinary: int
    timed: int
    reading: int
    spans: list[Span]


def check_rounds(rounds: object) -> int:
    """The number of rounds; raises ArgumentError for anything that is none."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= MAX_ROUNDS:
        raise ArgumentError(
            f"profile: expected rounds as an int from 1 to {MAX_ROUNDS:,}, got {brief(rounds)}"
        )
    return rounds


def profile_call(
    compiled: Compiled, parts: Parts, arrays: Sequence[np.ndarray], rounds: int
) -> Profile:
    """Run a compiled function on admitted arguments and say where the time goes.

    Donated arguments are copied, so that the caller's stay as they are and each round starts from
    the same numbers. Raises BackendError for a target without kernels, ArgumentError under
    debug_nan, CheckError as a call does.
    """
    executable, program = parts.executable, parts.program
    if compiled.options.debug_nan:
        raise ArgumentError(
            "profile: expected a function compiled without debug_nan, whose calls do more than run "
            "kernels, got debug_nan=True"
        )
    if program is None or not isinstance(executable, TimingExecutable):
        raise BackendError(
            f"profile: expected a target that compiles kernels, got {compiled.target!r}"
        )
    donated = sorted(compiled.signature.donated)
    work = tuple(a.copy() if i in donated else a for i, a in enumerate(arrays))
    captures = list(compiled.graph.captures.values())
    results = executable.results(work)
    dims = graph_dims(compiled.graph, [*work, *captures])
    made = make_result_arrays(results, [None] * len(results), work, captures)
    ordinary, timed = executable.bind(work, made), executable.timed(work, made)
    renewed = [(work[i], arrays[i]) for i in donated]
    found, ticks, at = _rounds(ordinary, timed, renewed, rounds)
    origins = [call.origin or program.kernels[call.kernel].origin for call in program.calls]
    kernels = [program.kernels[call.kernel] for call in program.calls]
    reading = min(one.reading for one in found)
    whole = _timing([one.timed for one in found], 1e-9)
    return Profile(
        name=compiled.graph.name,
        target=compiled.target,
        form=compiled.options.emit,
        rounds=rounds,
        seconds=whole,
        ordinary=_timing([one.ordinary for one in found], 1e-9),
        kernels=tuple(
            _kernel_time(
                k.name, (evaluate(k.flops, dims), evaluate(k.bytes, dims)), origin,
                [max(0, one.spans[i][1] - one.spans[i][0] - reading) for one in found],
                1 / ticks, whole.minimum,
            )
            for i, (k, origin) in enumerate(zip(kernels, origins))
        ),
        phases=tuple(parts.seconds.items()),
        origin=executable.origin,
        samples=tuple(_samples(found[:KEPT_ROUNDS], ticks, at, reading)),
        result=compiled.finish(made),
    )  # fmt: skip


def _rounds(
    ordinary: BoundRun,
    timed: TimedRun,
    renewed: Sequence[tuple[np.ndarray, np.ndarray]],
    rounds: int,
) -> tuple[list[_Round], float, Span]:
    """The rounds, then what relates the clocks: ticks in a second, and (ns, ticks) of one moment.

    renewed: (target, source) of copies before each run, which do not count.
    """
    now = time.perf_counter_ns
    found: list[_Round] = []
    first = _moment(timed.clock)
    for number in range(WARM_UPS + rounds):
        _copy(renewed)
        start = now()
        status = ordinary.run()
        without = now() - start
        if status:
            ordinary.fail()
        _copy(renewed)
        start = now()
        status = timed.run()
        with_timers = now() - start
        if status:
            timed.fail()
        if number >= WARM_UPS:
            found.append(_Round(start, without, with_timers, *timed.laps()))
    missing = CALIBRATION - (now() - first[0])
    if missing > 0:
        time.sleep(missing * 1e-9)
    last = _moment(timed.clock)
    if last[1] <= first[1]:
        raise BackendError("profile: expected a processor's clock that runs, got one that stands")
    return found, (last[1] - first[1]) / (last[0] - first[0]) * 1e9, first


def _copy(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    for target, source in pairs:
        np.copyto(target, source)


def _moment(clock: Callable[[], int]) -> Span:
    """One moment by both clocks, in ns and in ticks: the least uncertain of some tries."""
    tries: list[tuple[int, int, int]] = []
    for _ in range(TRIES):
        before = time.perf_counter_ns()
        ticks = clock()
        after = time.perf_counter_ns()
        tries.append((after - before, (before + after) // 2, ticks))
    return min(tries)[1:]


# -- what the rounds say ---------------------------------------------------------------------------


def _timing(counts: Sequence[int], unit: float) -> Timing:
    return Timing(min(counts) * unit, median(counts) * unit)


def _kernel_time(
    name: str,
    work: tuple[int, int],
    origin: tuple[Location, ...],
    counts: Sequence[int],
    unit: float,
    whole: float,
) -> KernelTime:
    """A row; work: flops and bytes; counts: of each round, in `unit` seconds."""
    seconds = _timing(counts, unit)
    return KernelTime(name, seconds, seconds.minimum / whole, *work, origin)


def _samples(found: Sequence[_Round], ticks: float, at: Span, reading: int) -> list[Sample]:
    """The rounds on one axis of seconds, from the start of the first one."""
    samples: list[Sample] = []
    for one in found:
        start = (one.start - found[0].start) * 1e-9
        stop = start + one.timed * 1e-9
        kernels: list[tuple[float, float]] = []
        for first, last in one.spans:
            begun = (first - at[1]) / ticks + (at[0] - found[0].start) * 1e-9
            begun = min(max(begun, start), stop)
            took = max(0, last - first - reading) / ticks
            kernels.append((begun, min(took, stop - begun)))
        samples.append(Sample(start, one.timed * 1e-9, tuple(kernels)))
    return samples
