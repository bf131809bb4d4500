"""`irgrad bench peers`: the same works in irgrad and in other libraries."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import BackendError, CheckError
from ..files import read_arrays, write_arrays
from .rounds import Clock, compare_rounds, interleave
from .works import Work, largest_error

OURS = "irgrad"
TOLERANCE = 1e-5


class Contender(Protocol):
    """What `process.Process` is: something that answers the requests of `worker`."""

    def ask(self, **request: Any) -> dict[str, Any]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """What one contender took for one work.

    seconds: by round. first: of the first call, compiling included. error: of its results against
    float64, in units of the largest element.
    """

    seconds: list[float]
    first: float
    error: float


@dataclass(slots=True)
class PeerReport:
    """All that was measured.

    versions: by library. missing: why a contender could not run, by its name. timings: by work and
    contender.
    """

    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    timings: dict[str, dict[str, Timing]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Turns:
    """How often and by what clock contenders are timed; see `run_peers`."""

    rounds: int
    calls: int
    clock: Clock


def run_peers(
    works: Sequence[Work],
    names: Sequence[str],
    start: Callable[[str], Contender],
    *,
    rounds: int,
    calls: int,
    clock: Clock,
) -> PeerReport:
    """Time works in all contenders that can be started.

    names: of the contenders; `start` makes one, anew for each work, as the memory that an earlier
    work leaves behind changes what fresh results cost. rounds: in each of which a contender is
    timed by the median of `calls` calls by `clock`.
    Raises CheckError where irgrad's own results are wrong, BackendError where irgrad itself fails.
    """
    report = PeerReport()
    turns = _Turns(rounds, calls, clock)
    for work in works:
        running: dict[str, Contender] = {}
        try:
            for name in names:
                if name not in report.missing:
                    running[name] = start(name)
            report.timings[work.name] = _time_work(work, running, report, turns)
        finally:
            for contender in running.values():
                contender.close()
    return report


def _time_work(
    work: Work,
    running: dict[str, Contender],
    report: PeerReport,
    turns: _Turns,
) -> dict[str, Timing]:
    inputs = work.inputs(work.shape)
    expected = work.reference([array.astype("float64") for array in inputs])
    first: dict[str, float] = {}
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "inputs.npz")
        write_arrays(path, {str(i): array for i, array in enumerate(inputs)})
        for name, contender in running.items():
            results = os.path.join(folder, f"{name}.npz")
            label = name
            try:
                report.versions.update(contender.ask(do="versions")["versions"])
                label = f"{name} ({work.name})"
                answer = contender.ask(do="prepare", work=work.name, inputs=path, results=results)
            except BackendError as error:
                if name == OURS:
                    raise
                report.missing[label] = str(error).partition(": ")[2]
                continue
            first[name] = answer["seconds"]
            errors[name] = largest_error(list(read_arrays(results).values()), expected)
    if errors.get(OURS, 0.0) > TOLERANCE:
        raise CheckError(
            f"{work.name}: expected results within {TOLERANCE:g} of float64, got an error of "
            f"{errors[OURS]:.2g}"
        )
    contenders = {name: _round(running[name], turns) for name in first}
    found = interleave(contenders, turns.rounds)
    return {name: Timing(found[name], first[name], errors[name]) for name in first}


def _round(contender: Contender, turns: _Turns) -> Callable[[], float]:
    request = {"do": "round", "calls": turns.calls, "clock": turns.clock.value}
    return lambda: contender.ask(**request)["seconds"]


# -- the report ------------------------------------------------------------------------------------

COLUMNS = ("work", "by", "median ms", "min - max", "irgrad / it", "by minima", "irgrad won",
           "first call s", "error")


def peer_rows(report: PeerReport) -> list[tuple[str, ...]]:
    """The rows of the table; irgrad comes first in each work."""
    rows: list[tuple[str, ...]] = []
    for work, timings in report.timings.items():
        for name, timing in timings.items():
            ms = [second * 1e3 for second in timing.seconds]
            ratio, best, won = "", "", ""
            if name != OURS and OURS in timings:
                found = compare_rounds(timings[OURS].seconds, timing.seconds)
                ratio, best = f"{found.ratio:.2f}", f"{found.best:.2f}"
                won = f"{found.won} of {len(ms)}"
            error = f"{timing.error:.1e}" + (" (wrong)" if timing.error > TOLERANCE else "")
            rows.append(
                (work, name, f"{statistics.median(ms):.2f}", f"{min(ms):.2f} - {max(ms):.2f}",
                 ratio, best, won, f"{timing.first:.2f}", error)
            )  # fmt: skip
    return rows


def peer_json(report: PeerReport) -> dict[str, Any]:
    """The report as data: seconds by round, and what the table shows of them."""
    works: dict[str, Any] = {}
    for work, timings in report.timings.items():
        works[work] = {}
        for name, timing in timings.items():
            entry = {"seconds": timing.seconds, "first": timing.first, "error": timing.error,
                     "median": statistics.median(timing.seconds)}
            if name != OURS and OURS in timings:
                found = compare_rounds(timings[OURS].seconds, timing.seconds)
                entry |= {"ratio": found.ratio, "best": found.best, "won": found.won}
            works[work][name] = entry
    return {"versions": report.versions, "missing": report.missing, "works": works}
