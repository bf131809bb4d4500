"""The timed entry of a program in its form of Python source."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from irgrad.kernel.program import Program

from .load import SourceCode
from .program_text import CLOCK, ENTRY, LAPS, timed_entry_text


def timed_entry(program: Program, code: SourceCode, laps: list[int]) -> Callable[..., int]:
    """The entry of a loaded program with timers in nanoseconds; laps: receives the readings.

    It calls the kernels that are loaded already, and so has no code of its own but the entry.
    """
    names: dict[str, Any] = dict(code.run.__globals__)
    exec(compile(timed_entry_text(program), f"{code.name} timed", "exec"), names)
    return partial(names[ENTRY], **{CLOCK: time.perf_counter_ns, LAPS: laps})
