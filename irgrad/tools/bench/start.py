"""`irgrad bench start`: from `import irgrad` to the first result of a training step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

from ...errors import BackendError

Sample = dict[str, float]


def run_start(processes: int, measure: Callable[[], Sample]) -> list[Sample]:
    """What each of several fresh processes measured, after one that warms the file cache."""
    measure()
    return [measure() for _ in range(processes)]


def measure_once() -> Sample:
    """What `digits_step` prints in a fresh process, which has to import irgrad by itself."""
    script = os.path.join(os.path.dirname(__file__), "digits_step.py")
    done = subprocess.run(
        [sys.executable, "-P", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.splitlines() or ["no message"])[-1]
        raise BackendError(f"bench start: expected the training step to run, got {last}")
    return json.loads(done.stdout)


# -- the report ------------------------------------------------------------------------------------

COLUMNS = ("what", "median", "min - max")


def start_rows(samples: list[Sample]) -> list[tuple[str, ...]]:
    """The rows of the table; times in milliseconds."""
    kernels = samples[0]["kernels"]
    rows = [
        _row("import irgrad to first result, ms", [s["total"] for s in samples]),
        _row("  of which the import, ms", [s["import"] for s in samples]),
        _row("  of which trace, compile and first call, ms", [s["first"] for s in samples]),
        _row("compile in a warm process, ms", [s["warm"] for s in samples]),
        ("kernels", f"{kernels:.0f}", ""),
    ]
    if kernels:
        rows.append(_row("warm compile a kernel, ms", [s["warm"] / kernels for s in samples]))
    return rows


def _row(what: str, seconds: list[float]) -> tuple[str, ...]:
    ms = [s * 1e3 for s in seconds]
    return what, f"{median(ms):.1f}", f"{min(ms):.1f} - {max(ms):.1f}"


def start_json(samples: list[Sample]) -> dict[str, Any]:
    """The report as data: what each process measured."""
    return {"processes": samples}
