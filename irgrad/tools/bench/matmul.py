"""`irgrad bench matmul`: products of matrices beside NumPy, on one thread in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from ...driver import compile_graph
from ...errors import BackendError, CheckError
from ...tracing.trace import trace
from ..report import UsageError
from .process import on_measuring_core
from .rounds import Clock, batch_timer, compare_rounds, geometric_mean, interleave

SIZES = (64, 77, 128, 200, 256, 333, 512, 777, 1024)
LAYOUTS = ("NN", "NT", "TN", "TT")
DTYPES = ("f32", "f64")
BATCH_FLOPS = 2e7  # of the calls that are timed together
MAX_CALLS = 500
TOLERANCES = {"f32": 1e-5, "f64": 1e-13}  # in units of the largest element


@dataclass(frozen=True, slots=True)
class Product:
    """The times of one product by round: seconds a call of irgrad's and of NumPy's."""

    dtype: str
    layout: str
    size: int
    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """The median over the rounds of irgrad's time / NumPy's."""
        return compare_rounds(self.ours, self.theirs).ratio

    @property
    def best(self) -> float:
        """irgrad's shortest round / NumPy's."""
        return compare_rounds(self.ours, self.theirs).best


def run_matmul(
    sizes: Sequence[int], dtypes: Sequence[str], rounds: int, clock: Clock
) -> list[Product]:
    """Time square products of each size, dtype and layout.

    A layout names its operands, N as they are, T transposed. Raises UsageError for an unknown
    dtype, BackendError without threadpoolctl, CheckError where a product is wrong.
    """
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise UsageError(f"--dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise BackendError(
            "bench matmul: expected threadpoolctl to be installed, to hold NumPy to one thread; "
            "install irgrad[test]"
        ) from None
    with on_measuring_core(), threadpool_limits(1):
        return [
            _time_product(dtype, layout, size, rounds, clock)
            for dtype in dtypes
            for layout in LAYOUTS
            for size in sizes
        ]


def _product(layout: str) -> Callable[[Any, Any], Any]:
    return {
        "NN": lambda a, b: a @ b,
        "NT": lambda a, b: a @ b.T,
        "TN": lambda a, b: a.T @ b,
        "TT": lambda a, b: a.T @ b.T,
    }[layout]


def _time_product(dtype: str, layout: str, size: int, rounds: int, clock: Clock) -> Product:
    rng = np.random.default_rng(size)
    a, b = (rng.standard_normal((size, size)).astype(dtype.replace("f", "float"))
            for _ in range(2))  # fmt: skip
    product = _product(layout)
    ours = compile_graph(trace(product, a, b))
    expected = product(a.astype(np.float64), b.astype(np.float64))
    error = float(np.abs(ours(a, b) - expected).max() / np.abs(expected).max())
    if error > TOLERANCES[dtype]:
        raise CheckError(
            f"matmul {dtype} {layout} {size}: expected an error of at most "
            f"{TOLERANCES[dtype]:g}, got {error:.2g}"
        )
    calls = min(MAX_CALLS, max(1, round(BATCH_FLOPS / (2 * size**3))))
    contenders = {"irgrad": lambda: ours(a, b), "numpy": lambda: product(a, b)}
    timed = {name: batch_timer(call, calls, clock) for name, call in contenders.items()}
    for batch in timed.values():
        batch()
    found = interleave(timed, rounds)
    return Product(dtype, layout, size, found["irgrad"], found["numpy"])


# -- the report ------------------------------------------------------------------------------------

COLUMNS = ("dtype", "layout", "size", "irgrad us", "numpy us", "irgrad / numpy", "by minima",
           "irgrad GFLOP/s")


def matmul_rows(products: Sequence[Product]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    return [
        (p.dtype, p.layout, str(p.size), f"{median(p.ours) * 1e6:.1f}",
         f"{median(p.theirs) * 1e6:.1f}", f"{p.ratio:.2f}", f"{p.best:.2f}",
         f"{2 * p.size**3 / min(p.ours) / 1e9:.1f}")
        for p in products
    ]  # fmt: skip


def matmul_summary(products: Sequence[Product]) -> list[str]:
    """For each dtype the geometric mean of the ratios and the worst one."""
    lines: list[str] = []
    for dtype in dict.fromkeys(p.dtype for p in products):
        chosen = [p for p in products if p.dtype == dtype]
        worst = max(chosen, key=lambda p: p.ratio)
        mean = geometric_mean([p.ratio for p in chosen])
        slowest = max(chosen, key=lambda p: p.best)
        best = geometric_mean([p.best for p in chosen])
        lines.append(
            f"{dtype}: geometric mean of irgrad / numpy {mean:.2f}, worst {worst.ratio:.2f} "
            f"({worst.layout} {worst.size}); by minima {best:.2f}, worst {slowest.best:.2f} "
            f"({slowest.layout} {slowest.size})"
        )
    return lines


def matmul_json(products: Sequence[Product]) -> dict[str, Any]:
    """The report as data: seconds by round."""
    return {
        "products": [
            {"dtype": p.dtype, "layout": p.layout, "size": p.size, "ratio": p.ratio,
             "best": p.best, "irgrad": p.ours, "numpy": p.theirs}
            for p in products
        ]
    }  # fmt: skip
