"""`irgrad bench functions`: mathematical functions over large arrays beside JAX."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from ..accuracy.functions import all_functions
from ..report import UsageError
from .peers import OURS, PeerReport
from .rounds import compare_rounds, geometric_mean
from .works import Arrays, Work

JAX = "jax"
DTYPES = ("f32", "f64")
SIZE = 2048  # rows and columns
# The functions, and where their arguments lie; beside them the least that any of them could take:
# a pass over memory.
RANGES = {
    "negative": (-5.0, 5.0), "exp": (-5.0, 5.0), "exp2": (-5.0, 5.0), "expm1": (-5.0, 5.0),
    "log": (0.01, 10.0), "log2": (0.01, 10.0), "log10": (0.01, 10.0), "log1p": (-0.9, 10.0),
    "tanh": (-5.0, 5.0), "sigmoid": (-5.0, 5.0), "softplus": (-5.0, 5.0), "erf": (-3.0, 3.0),
    "erfc": (-3.0, 3.0), "sin": (-10.0, 10.0), "cos": (-10.0, 10.0), "tan": (-10.0, 10.0),
    "asin": (-1.0, 1.0), "acos": (-1.0, 1.0), "atan": (-5.0, 5.0), "atan2": (-5.0, 5.0),
    "pow": (0.01, 10.0), "cbrt": (-5.0, 5.0), "rsqrt": (0.01, 10.0), "sinh": (-5.0, 5.0),
    "cosh": (-5.0, 5.0),
}  # fmt: skip


def function_works(
    names: list[str] | None, dtypes: list[str] | None, size: int = SIZE
) -> list[Work]:
    """A work for each function and dtype of such names, named `exp f32`; all where there are none.

    size: rows and columns. Raises UsageError for an unknown name.
    """
    for name in names or ():
        if name not in RANGES:
            raise UsageError(f"--function: expected one of {', '.join(RANGES)}, got {name!r}")
    for dtype in dtypes or ():
        if dtype not in DTYPES:
            raise UsageError(f"--dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    return [
        Work(f"{name} {dtype}", name, (size, size), _inputs(name, dtype), _reference(name))
        for name in dict.fromkeys(names or RANGES)
        for dtype in dict.fromkeys(dtypes or DTYPES)
    ]


def _inputs(name: str, dtype: str) -> Callable[[tuple[int, int]], Arrays]:
    def inputs(shape: tuple[int, int]) -> Arrays:
        rng = np.random.default_rng(0)
        arity = 2 if name in ("atan2", "pow") else 1
        return [
            rng.uniform(*RANGES[name], shape).astype(dtype.replace("f", "float"))
            for _ in range(arity)
        ]

    return inputs


def _reference(name: str) -> Callable[[Arrays], Arrays]:
    if name == "negative":
        return lambda arrays: [-arrays[0]]
    function = all_functions()[name].reference
    return lambda arrays: [np.asarray(function(*arrays))]


# -- the report ------------------------------------------------------------------------------------

COLUMNS = ("function", "dtype", "irgrad ms", "jax ms", "irgrad / jax", "by minima", "irgrad won")


def function_rows(report: PeerReport) -> list[tuple[str, ...]]:
    """The rows of the table."""
    rows: list[tuple[str, ...]] = []
    for work, timings in report.timings.items():
        name, dtype = work.split()
        ours = timings[OURS].seconds
        row: tuple[str, ...] = (name, dtype, f"{statistics.median(ours) * 1e3:.2f}")
        if JAX in timings:
            theirs = timings[JAX].seconds
            found = compare_rounds(ours, theirs)
            row += (f"{statistics.median(theirs) * 1e3:.2f}", f"{found.ratio:.2f}",
                    f"{found.best:.2f}", f"{found.won} of {len(ours)}")  # fmt: skip
        else:
            row += ("", "", "", "")
        rows.append(row)
    return rows


def function_summary(report: PeerReport) -> list[str]:
    """For each dtype the geometric mean of the ratios and the worst one, of what JAX has."""
    lines: list[str] = []
    for dtype in DTYPES:
        ratios = {
            work.split()[0]: compare_rounds(timings[OURS].seconds, timings[JAX].seconds).ratio
            for work, timings in report.timings.items()
            if work.split()[1] == dtype and JAX in timings
        }
        if ratios:
            worst = max(ratios, key=lambda name: ratios[name])
            lines.append(
                f"{dtype}: geometric mean of irgrad / jax "
                f"{geometric_mean(list(ratios.values())):.2f}, worst {ratios[worst]:.2f} ({worst})"
            )
    return lines


# -- the contenders --------------------------------------------------------------------------------


def find_function(work: str, *namespaces: Any) -> Callable[..., Any]:
    """The function of a work in the first of a library's namespaces that has it."""
    name = work.split()[0]
    for namespace in namespaces:
        found = getattr(namespace, name, None)
        if found is not None:
            return found
    raise KeyError(work)
