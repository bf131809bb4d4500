"""`irgrad bench sizes`: code for all batch sizes beside code for each of them, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from ...driver import compile_graph
from ...errors import CheckError
from ...runtime.compiled import Compiled
from ...tracing.trace import trace
from ..report import UsageError
from .process import on_measuring_core
from .rounds import Clock, batch_timer, compare_rounds, geometric_mean, interleave

BATCHES = (1, 2, 7, 16, 31, 64, 257, 1024)
WIDTH, HIDDEN, CLASSES = 784, 256, 10
BATCH_SECONDS = 0.01  # of the calls that are timed together
MAX_CALLS = 2000
TOLERANCE = 1e-3  # in units of the largest element
Function = Callable[..., Any]
Shapes = tuple[tuple[str | int, ...], ...]


@dataclass(frozen=True, slots=True)
class Sized:
    """The times of one function at one batch size by round: seconds a call of the code for all
    sizes and of that for this one. Compile seconds of both."""

    function: str
    batch: int
    named: list[float]
    numbers: list[float]
    named_compile: float
    numbers_compile: float

    @property
    def ratio(self) -> float:
        """The median over the rounds of the time for all sizes / the time for one."""
        return compare_rounds(self.named, self.numbers).ratio


def functions() -> dict[str, tuple[Function, Shapes]]:
    """The functions with the shapes of their float32 arguments, in which "n" is the batch."""
    import irgrad as ig  # the facade, which this layer does not import at its top
    import irgrad.numpy as inp

    def layer(x: Any, w: Any, b: Any) -> Any:
        return inp.tanh(x @ w + b)

    def slope(g: Any, w: Any) -> Any:
        return g @ w.T

    def weights(x: Any, g: Any) -> Any:
        return x.T @ g

    def softmax(x: Any) -> Any:
        return ig.nn.softmax(x, axis=1)

    def loss(w: Any, b: Any, v: Any, x: Any, y: Any) -> Any:
        logits = inp.tanh(x @ w + b) @ v
        return -(ig.nn.log_softmax(logits, axis=1) * y).mean()

    def step(w: Any, b: Any, v: Any, x: Any, y: Any) -> Any:
        slopes = ig.grad(loss, argnums=(0, 1, 2))(w, b, v, x, y)
        return tuple(p - 0.1 * s for p, s in zip((w, b, v), slopes))

    parameters = (WIDTH, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES)
    return {
        "layer": (layer, (("n", WIDTH), *parameters[:2])),
        "slope": (slope, (("n", HIDDEN), (WIDTH, HIDDEN))),
        "weights": (weights, (("n", WIDTH), ("n", HIDDEN))),
        "softmax": (softmax, (("n", WIDTH),)),
        "step": (step, (*parameters, ("n", WIDTH), ("n", CLASSES))),
    }


def run_sizes(
    names: Sequence[str] | None, batches: Sequence[int], rounds: int, clock: Clock
) -> list[Sized]:
    """Time functions at batch sizes, compiled once for all of them and once for each.

    Raises UsageError for an unknown function, CheckError where the two differ.
    """
    known = functions()
    for name in names or ():
        if name not in known:
            raise UsageError(f"--function: expected one of {', '.join(known)}, got {name!r}")
    with on_measuring_core():
        return [
            sized
            for name in dict.fromkeys(names or known)
            for sized in _time_function(name, *known[name], batches, rounds, clock)
        ]


def _time_function(
    name: str, function: Function, shapes: Shapes, batches: Sequence[int], rounds: int, clock: Clock
) -> Iterator[Sized]:
    named, named_seconds = _compile(function, shapes)
    for batch in batches:
        sized = [[s if isinstance(s, int) else batch for s in shape] for shape in shapes]
        numbers, seconds = _compile(function, sized)
        rng = np.random.default_rng(batch)
        arrays = [rng.standard_normal(shape, np.float32) for shape in sized]
        check_equal(name, batch, named(*arrays), numbers(*arrays))
        begin = time.perf_counter()
        numbers(*arrays)
        once = max(time.perf_counter() - begin, 1e-7)
        calls = min(MAX_CALLS, max(1, round(BATCH_SECONDS / once)))
        timed = {
            "named": batch_timer(partial(named, *arrays), calls, clock),
            "numbers": batch_timer(partial(numbers, *arrays), calls, clock),
        }
        found = interleave(timed, rounds)
        yield Sized(name, batch, found["named"], found["numbers"], named_seconds, seconds)


def _compile(function: Function, shapes: Sequence[Sequence[str | int]]) -> tuple[Compiled, float]:
    begin = time.perf_counter()
    specs = [f"f32[{','.join(map(str, shape))}]" for shape in shapes]
    return compile_graph(trace(function, *specs)), time.perf_counter() - begin


def check_equal(name: str, batch: int, named: Any, numbers: Any) -> None:
    """Raise CheckError where results differ by more than another order of sums can make them."""
    several = named if isinstance(named, tuple) else (named,)
    others = numbers if isinstance(numbers, tuple) else (numbers,)
    for got, expected in zip(several, others, strict=True):
        scale = float(np.abs(expected).max(initial=0)) or 1.0
        error = float(np.abs(got - expected).max(initial=0)) / scale
        if not error <= TOLERANCE:
            raise CheckError(
                f"{name} of {batch}: expected results within {TOLERANCE:g} of one another, got "
                f"{error:.2g}"
            )


# -- the report ------------------------------------------------------------------------------------

COLUMNS = ("function", "batch", "all sizes us", "this size us", "all / this", "compile all ms",
           "compile this ms")  # fmt: skip


def size_rows(found: Sequence[Sized]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    return [
        (s.function, str(s.batch), f"{median(s.named) * 1e6:.1f}",
         f"{median(s.numbers) * 1e6:.1f}", f"{s.ratio:.2f}", f"{s.named_compile * 1e3:.0f}",
         f"{s.numbers_compile * 1e3:.0f}")
        for s in found
    ]  # fmt: skip


def size_summary(found: Sequence[Sized]) -> list[str]:
    """For each function the geometric mean of the ratios and the worst one."""
    lines: list[str] = []
    for name in dict.fromkeys(s.function for s in found):
        chosen = [s for s in found if s.function == name]
        worst = max(chosen, key=lambda s: s.ratio)
        mean = geometric_mean([s.ratio for s in chosen])
        lines.append(
            f"{name}: all sizes / this size {mean:.2f} (geometric mean), at worst "
            f"{worst.ratio:.2f} at batch {worst.batch}"
        )
    return lines


def size_json(found: Sequence[Sized]) -> dict[str, Any]:
    """The measurements as JSON takes them."""
    return {
        "sizes": [
            {
                "function": s.function, "batch": s.batch, "named": s.named, "numbers": s.numbers,
                "named_compile": s.named_compile, "numbers_compile": s.numbers_compile,
            }
            for s in found
        ]
    }  # fmt: skip
