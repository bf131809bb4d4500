"""Interleaved rounds: every contender has its turn in each, so that noise hits all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Clock(StrEnum):
    """What is counted: time that passes, or time that a processor works for this process, which
    leaves out what other programs take on a shared machine."""

    wall = "wall"
    cpu = "cpu"

    @property
    def read(self) -> Callable[[], float]:
        """The function that gives the time in seconds."""
        return time.perf_counter if self is Clock.wall else time.process_time


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rounds of one contender beside those of another, by round.

    ratio: the median over the rounds of ours / theirs, so below 1 ours is faster. best: that of our
    shortest round to their shortest. won: rounds in which ours was faster.
    """

    ratio: float
    best: float
    won: int


def interleave(
    contenders: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """What each contender gives in each round; the order within a round rotates."""
    names = list(contenders)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names) if names else 0
        for name in names[first:] + names[:first]:
            found[name].append(contenders[name]())
    return found


def compare_rounds(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Compare times round by round."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    won = sum(ratio < 1 for ratio in ratios)
    return Comparison(statistics.median(ratios), min(ours) / min(theirs), won)


def time_calls(call: Callable[[], Any], calls: int, clock: Clock) -> float:
    """The median seconds of a call, after one that is not counted.

    Each result is dropped before the next call, outside of the time: a library whose results pile
    up would pay for fresh memory in every call.
    """
    seconds: list[float] = []
    read = clock.read
    held = [call()]
    for _ in range(calls):
        held.clear()
        begin = read()
        held.append(call())
        seconds.append(read() - begin)
    return statistics.median(seconds)


def time_batch(call: Callable[[], Any], calls: int, clock: Clock) -> float:
    """Seconds a call, over a batch of calls that are too short to be timed one by one."""
    repeats, read = range(calls), clock.read
    begin = read()
    for _ in repeats:
        call()
    return (read() - begin) / calls


def batch_timer(call: Callable[[], Any], calls: int, clock: Clock) -> Callable[[], float]:
    """What `time_batch` gives, as a contender of `interleave`."""
    return lambda: time_batch(call, calls, clock)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers."""
    return math.exp(statistics.fmean(map(math.log, values)))
