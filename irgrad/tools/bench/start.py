"""`irgrad bench start`: from `import irgrad` to the first result of a training step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from statistics import median
from typing import Any

from ...config import environment_with
from ...errors import BackendError

Sample = dict[str, float]
CACHED = ("total", "import", "first", "compiles", "numba")


def run_start(processes: int, measure: Callable[[str], Sample]) -> list[Sample]:
    """What each of several fresh processes measured, after one that warms the file cache.

    Each sample is of two processes by turns: one without the disk cache, and one that finds its
    code in a cache, whose figures have the prefix "cached ".
    """
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("off", folder):
            measure(cache)
        for _ in range(processes):
            plain, cached = measure("off"), measure(folder)
            samples.append(plain | {f"cached {name}": cached[name] for name in CACHED})
    return samples


def measure_once(cache: str) -> Sample:
    """What `digits_step` prints in a fresh process, which has to import irgrad by itself.

    cache: the folder of the disk cache, or "off".
    """
    script = os.path.join(os.path.dirname(__file__), "digits_step.py")
    done = subprocess.run(
        [sys.executable, "-P", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment_with({"IRGRAD_CACHE": cache}),
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
        _row("with the disk cache: import to first result, ms", [
            s["cached total"] for s in samples
        ]),
        _row("  of which the import, ms", [s["cached import"] for s in samples]),
        _row("  of which trace, load and first call, ms", [s["cached first"] for s in samples]),
        ("  modules compiled, Numba imported", *_work_done(samples)),
    ]  # fmt: skip
    if kernels:
        rows.append(_row("warm compile a kernel, ms", [s["warm"] / kernels for s in samples]))
    return rows


def _work_done(samples: list[Sample]) -> tuple[str, str]:
    """The most that a process with the cache did of what it should not do."""
    compiles = max(s["cached compiles"] for s in samples)
    numba = max(s["cached numba"] for s in samples)
    return f"{compiles:.0f}, {'yes' if numba else 'no'}", ""


def _row(what: str, seconds: list[float]) -> tuple[str, ...]:
    ms = [s * 1e3 for s in seconds]
    return what, f"{median(ms):.1f}", f"{min(ms):.1f} - {max(ms):.1f}"


def start_json(samples: list[Sample]) -> dict[str, Any]:
    """The report as data: what each process measured."""
    return {"processes": samples}
