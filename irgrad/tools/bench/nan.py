"""`irgrad bench nan`: what calls cost with `debug_nan`, measured in calls without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from ...nn import softmax
from ...transforms import jit
from ..report import UsageError
from . import digits_step
from .process import on_measuring_core
from .rounds import Clock, batch_timer, compare_rounds, interleave

LARGE, CACHED, SMALL = 1 << 22, 1 << 12, 3  # elements
ROWS = 1024
PARAMETERS = 1 << 17
KINDS = ("jit", "bind")


@dataclass(frozen=True, slots=True)
class NanWork:
    """A function, the arrays it is timed on, those it overwrites, and how many calls are timed
    together."""

    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    calls: int
    donate: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NanCost:
    """The seconds of a call of a work by round; kind: "jit" or "bind"."""

    work: str
    kind: str
    watched: list[float]
    plain: list[float]

    @property
    def ratio(self) -> float:
        """The median over the rounds of the time with `debug_nan` / that without."""
        return compare_rounds(self.watched, self.plain).ratio

    @property
    def best(self) -> float:
        """The shortest round with it / that without."""
        return compare_rounds(self.watched, self.plain).best


def all_nan_works() -> dict[str, NanWork]:
    """The works by name."""
    return {
        "product": NanWork(np.multiply, lambda: _normal((LARGE,), (LARGE,)), 5),
        "cached": NanWork(np.multiply, lambda: _normal((CACHED,), (CACHED,)), 1000),
        "tanh": NanWork(np.tanh, lambda: _normal((ROWS, ROWS)), 20),
        "softmax": NanWork(softmax, lambda: _normal((ROWS, ROWS)), 20),
        "digits": NanWork(digits_step.step_of(2e-3), digits_step.arguments, 100, (0, 1)),
        "update": NanWork(_update, lambda: _normal(*[(PARAMETERS,)] * 4), 50, (0, 1, 2)),
        "small": NanWork(np.add, lambda: _normal((SMALL,), (SMALL,)), 2000),
    }


WHAT = {
    "product": f"product of two arrays of {LARGE} f32",
    "cached": f"product of two arrays of {CACHED} f32",
    "tanh": f"tanh of {ROWS}x{ROWS} f32",
    "softmax": f"softmax of {ROWS}x{ROWS} f32",
    "digits": "training step of a small network, which overwrites parameters and state",
    "update": f"Adam on {PARAMETERS} f32 alone, which overwrites parameters and state",
    "small": f"sum of two arrays of {SMALL} f32",
}


def find_nan_works(names: list[str] | None) -> dict[str, NanWork]:
    """The works of such names, all where there are none; UsageError for an unknown name."""
    works = all_nan_works()
    for name in names or ():
        if name not in works:
            raise UsageError(f"--work: expected one of {', '.join(works)}, got {name!r}")
    return {name: works[name] for name in names or works}


def run_nan(works: dict[str, NanWork], rounds: int, clock: Clock) -> list[NanCost]:
    """Time jitted and bound calls of works with `debug_nan` and without."""
    with on_measuring_core():
        return [
            cost for name, work in works.items() for cost in _time_work(name, work, rounds, clock)
        ]


def _time_work(name: str, work: NanWork, rounds: int, clock: Clock) -> list[NanCost]:
    given = work.arguments()
    timed: dict[str, Callable[[], float]] = {}
    for debug_nan in (False, True):
        jitted = jit(work.function, donate=work.donate, debug_nan=debug_nan)
        # Donated arrays are results too, so the same arguments serve again.
        calls = (_on(jitted, deepcopy(given)), jitted.compiled(*given).bind(*deepcopy(given)))
        for kind, call in zip(KINDS, calls):
            call()
            timed[f"{kind} {debug_nan}"] = batch_timer(call, work.calls, clock)
    found = interleave(timed, rounds)
    return [NanCost(name, kind, found[f"{kind} True"], found[f"{kind} False"]) for kind in KINDS]


def _on(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[], Any]:
    return lambda: call(*arguments)


def _update(p: Any, mean: Any, square: Any, gradient: Any) -> tuple[Any, Any, Any]:
    """A step of Adam, nothing but memory being read and written."""
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.99 * square + 0.01 * gradient * gradient
    return p - 1e-3 * mean / (np.sqrt(np.abs(square)) + 1e-8), mean, square


def _normal(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


# -- the report ------------------------------------------------------------------------------------

COLUMNS = ("work", "call", "us", "with debug_nan", "with / without", "by minima")


def nan_rows(costs: Sequence[NanCost]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    return [
        (c.work, c.kind, f"{median(c.plain) * 1e6:.2f}", f"{median(c.watched) * 1e6:.2f}",
         f"{c.ratio:.2f}", f"{c.best:.2f}")
        for c in costs
    ]  # fmt: skip


def nan_json(costs: Sequence[NanCost]) -> dict[str, Any]:
    """The report as data: seconds by round."""
    return {
        "costs": [
            {"work": c.work, "call": c.kind, "ratio": c.ratio, "best": c.best,
             "with": c.watched, "without": c.plain}
            for c in costs
        ]
    }  # fmt: skip
