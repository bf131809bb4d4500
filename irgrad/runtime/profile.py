"""What a profile says: the time of each kernel, joined to source lines, as data, text and trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import ArgumentError, brief
from ..ir.location import Location
from ..ir.shown import how_many, short, shown_html
from .report import first_line, table_lines

VIEWS = ("kernel", "line")


@dataclass(frozen=True, slots=True)
class Timing:
    """The least and the median time over the rounds, in seconds."""

    minimum: float
    median: float


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One kernel call.

    seconds: without what reading the clock costs; below some 20 ns they mean little, as a processor
    overlaps what is that short. share: the part of the whole call, by the least times. flops,
    bytes: of the call, as counted from the kernel. origin: the source lines that it computes, the
    main one first.
    """

    name: str
    seconds: Timing
    share: float
    flops: int
    bytes: int
    origin: tuple[Location, ...]

    @property
    def gigaflops(self) -> float:
        """10**9 flops per second at the least time; 0 where the clock is too coarse to tell."""
        return _rate(self.flops, self.seconds.minimum)

    @property
    def gigabytes(self) -> float:
        """10**9 bytes per second at the least time; 0 where the clock is too coarse to tell."""
        return _rate(self.bytes, self.seconds.minimum)


@dataclass(frozen=True, slots=True)
class LineTime:
    """What is known of one source line: it takes from `alone` to `alone + shared` seconds.

    alone: least times of the kernel calls that compute this line and no other. shared: of those
    that compute it together with others; no kernel is timed inside. kernels: the names of all.
    """

    location: Location
    alone: float
    shared: float
    kernels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: when it started, in seconds from the first one, how long it took, and the start
    and duration of each kernel call."""

    start: float
    seconds: float
    kernels: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of a compiled function goes.

    seconds: of a whole call with timers, without the checks and the allocation that a bound call
    does without. ordinary: the same without timers, in the same rounds. kernels: in the order of
    their calls. phases: of the compile, in seconds by name. origin: where the code came from, as in
    `CacheInfo`. samples: the first rounds one by one. result: what the function returned.
    """

    name: str
    target: str
    form: str
    rounds: int
    seconds: Timing
    ordinary: Timing
    kernels: tuple[KernelTime, ...]
    phases: tuple[tuple[str, float], ...]
    origin: str
    samples: tuple[Sample, ...] = field(repr=False)
    result: Any = field(repr=False, compare=False)

    @property
    def overhead(self) -> float:
        """What the timers cost one call, in seconds: the difference of the least times, which is
        below 0 where it drowns in the noise."""
        return self.seconds.minimum - self.ordinary.minimum

    def lines(self) -> tuple[LineTime, ...]:
        """What is known of each source line, those with the most time first."""
        alone: dict[Location, float] = {}
        shared: dict[Location, float] = {}
        names: dict[Location, dict[str, None]] = {}
        for kernel in self.kernels:
            for location in kernel.origin:
                times = alone if len(kernel.origin) == 1 else shared
                times[location] = times.get(location, 0.0) + kernel.seconds.minimum
                names.setdefault(location, {})[kernel.name] = None
        found = [
            LineTime(x, alone.get(x, 0.0), shared.get(x, 0.0), tuple(names[x])) for x in names
        ]
        return tuple(sorted(found, key=lambda x: -(x.alone + x.shared)))

    def __repr__(self) -> str:
        calls = how_many(len(self.kernels), "kernel call")
        rounds = how_many(self.rounds, "round")
        return f"Profile({short(self.name)}, {short(self.target)}, {calls}, {rounds})"

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """Its tables by kernel and by line in a notebook."""
        return shown_html(self)

    def text(self, by: str = "kernel") -> str:
        """A table with a row for each kernel call, or for each source line with by="line".

        Raises ArgumentError for another word.
        """
        if by not in VIEWS:
            raise ArgumentError(f"profile: expected 'kernel' or 'line', got {brief(by)}")
        return "\n".join([*_head(self), *(_VIEW[by](self)), *_compile(self)]) + "\n"

    def chrome_trace(self) -> str:
        """The compile and the first rounds as JSON for Perfetto or chrome://tracing."""
        trace = {
            "traceEvents": list(_events(self)),
            "displayTimeUnit": "ns",
            "otherData": {
                "function": _plain(self.name),
                "target": self.target,
                "form": self.form,
                "rounds": self.rounds,
                "call_min_us": self.seconds.minimum * 1e6,
                "call_median_us": self.seconds.median * 1e6,
                "call_without_timers_min_us": self.ordinary.minimum * 1e6,
                "call_without_timers_median_us": self.ordinary.median * 1e6,
            },
        }
        return json.dumps(trace, allow_nan=False)


def _rate(count: int, seconds: float) -> float:
    return count / seconds * 1e-9 if seconds else 0.0


# -- text ------------------------------------------------------------------------------------------


def _head(profile: Profile) -> Iterator[str]:
    kernels = sum(kernel.seconds.minimum for kernel in profile.kernels)
    share = kernels / profile.seconds.minimum
    yield (
        f"{profile.name} for {profile.target} ({profile.form}): {len(profile.kernels)} kernel "
        f"calls, {profile.rounds} rounds"
    )
    yield f"call: {_both(profile.seconds)}, of which kernels {share:.1%}"
    yield f"call without timers: {_both(profile.ordinary)}"


def _both(timing: Timing) -> str:
    return f"least {_us(timing.minimum)} us, median {_us(timing.median)} us"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.2f}"


def _kernel_rows(profile: Profile) -> Iterator[str]:
    head = ("kernel", "least us", "median us", "share", "flops", "bytes", "GFLOP/s", "GB/s", "line")
    rows = [
        (
            k.name, _us(k.seconds.minimum), _us(k.seconds.median), f"{k.share:.1%}",
            f"{k.flops:,}", f"{k.bytes:,}", _rate_text(k.gigaflops), _rate_text(k.gigabytes),
            first_line(k.origin),
        )
        for k in profile.kernels
    ]  # fmt: skip
    yield from table_lines(head, rows)
    if profile.form == "numba":
        yield "each time has a call from Python in it"


def _rate_text(rate: float) -> str:
    return f"{rate:,.2f}" if rate else "-"


def _line_rows(profile: Profile) -> Iterator[str]:
    head = ("line", "alone us", "with others us", "kernels", "source")
    rows = [
        (str(x.location), _us(x.alone), _us(x.shared), str(len(x.kernels)), x.location.source())
        for x in profile.lines()
    ]
    yield from table_lines(head, rows)
    if rows:
        yield "alone: kernels of this line only; with others: fused kernels, shown at each line"


def _compile(profile: Profile) -> Iterator[str]:
    phases = ", ".join(f"{phase} {seconds * 1e3:.1f} ms" for phase, seconds in profile.phases)
    yield f"compile (code: {profile.origin}): {phases}"


_VIEW = {"kernel": _kernel_rows, "line": _line_rows}


# -- trace -----------------------------------------------------------------------------------------


def _events(profile: Profile) -> Iterator[dict[str, Any]]:
    """The events of the trace: phases of the compile from 0 on, the rounds behind them."""
    for thread, name in enumerate(("compile", "calls")):
        yield {"name": "thread_name", "ph": "M", "pid": 0, "tid": thread, "args": {"name": name}}
    at = 0.0
    for phase, seconds in profile.phases:
        yield _event(phase, "compile", 0, at, seconds, {})
        at += seconds
    arguments = [
        {"lines": [_plain(str(x)) for x in k.origin], "flops": k.flops, "bytes": k.bytes}
        for k in profile.kernels
    ]
    for number, sample in enumerate(profile.samples):
        start = at + sample.start
        yield _event(profile.name, "call", 1, start, sample.seconds, {"round": number})
        for kernel, found, (begun, seconds) in zip(profile.kernels, arguments, sample.kernels):
            yield _event(kernel.name, "kernel", 1, at + begun, seconds, found)


def _event(
    name: str, kind: str, thread: int, start: float, seconds: float, arguments: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": _plain(name), "cat": kind, "ph": "X", "pid": 0, "tid": thread,
        "ts": start * 1e6, "dur": seconds * 1e6, "args": arguments,
    }  # fmt: skip


def _plain(text: str) -> str:
    """Text that every reader of JSON takes: no half of a surrogate pair, as file names may hold."""
    return text.encode(errors="backslashreplace").decode()
