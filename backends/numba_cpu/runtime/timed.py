"""The timed form of a program compiled by LLVM: other code, which ordinary calls never meet."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import numpy as np

from irgrad.errors import BackendError, CheckError
from irgrad.kernel.program import Program
from irgrad.runtime.profiling import Span, TimedRun
from irgrad.runtime.progress import no_progress

from ..llvm.compile import compile_module, load_object
from ..llvm.cpu import host_cpu
from ..llvm.entry import program_module
from ..llvm.interrupt import interruptible
from ..llvm.timer import STARTS, clock_function, has_counter
from .call_plan import BoundArrays
from .door import FRAME_HEADER
from .frames import Frame

NAME = "timed"
CLOCK = "irg_clock"


@dataclass(frozen=True, slots=True, eq=False)
class TimedCode:
    """Loaded machine code: the timed entry, the function that reads its clock, and their owner."""

    entry: Callable[..., int]
    clock: Callable[[], int]
    owner: object


def compile_timed(program: Program) -> TimedCode:
    """Compile a program once more, with timers between its kernels.

    Raises BackendError on a processor whose clock programs cannot read.
    """
    if not has_counter():
        raise BackendError(
            "profile: expected an x86-64 or ARM64 processor, whose clock programs can read; use "
            'emit="numba" here'
        )
    cpu = host_cpu()
    module = program_module(program, NAME, cpu.vector_bytes, timed=True)
    clock_function(module, CLOCK)
    data = interruptible(
        lambda: compile_module(module, cpu), lambda: no_progress("optimise", 0, 1)
    )
    loaded = load_object(data)
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, *(ctypes.c_void_p,) * 5)
    clock = ctypes.CFUNCTYPE(ctypes.c_int64)
    return TimedCode(
        entry(loaded.address(f"irg_{NAME}")), clock(loaded.address(CLOCK)), loaded
    )


def timed_run(
    code: TimedCode,
    arrays: BoundArrays,
    dims: np.ndarray,
    buffers: ctypes.Array[ctypes.c_void_p],
    frame: Frame,
    calls: int,
    failure: Callable[[Frame], CheckError],
) -> TimedRun:
    """The timed call on fixed arrays.

    dims: the numbers behind named sizes. buffers: the addresses of the arrays. calls: how many
    kernels it runs.
    """
    laps = np.zeros(STARTS + calls, np.int64)
    run = partial(
        code.entry, frame.address, dims.__array_interface__["data"][0], buffers,
        frame.address + FRAME_HEADER,
        laps.__array_interface__["data"][0],
    )  # fmt: skip

    def read() -> tuple[int, list[Span]]:
        first, *readings = laps.tolist()
        return readings[0] - first, list(zip(readings, readings[1:]))

    def fail() -> NoReturn:
        raise failure(frame)

    return TimedRun(
        arrays.around(run), fail, read, code.clock, (laps, code, arrays, dims, buffers, frame)
    )
