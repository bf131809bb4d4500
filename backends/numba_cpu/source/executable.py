"""A program in its form of Python source as something to call from Python."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from irgrad.errors import CheckError
from irgrad.ir.graph import Graph
from irgrad.kernel.program import Program, Result
from irgrad.kernel.slots import Workspace
from irgrad.runtime.backend import BoundRun
from irgrad.runtime.profiling import TimedRun

from ..runtime.call_plan import Call, Leaves, call_plan, with_copied_captures
from ..runtime.frames import ArrayFrame, FramePool
from ..runtime.kernel_texts import kernel_text
from .load import SourceCode


class SourceExecutable:
    """A program with its functions; see `irgrad.runtime.backend.Executable` for the methods."""

    def __init__(
        self, program: Program, graph: Graph, code: SourceCode, *, fresh: bool = True
    ) -> None:
        """fresh: whether the code was compiled for this very program."""
        self.workspace = Workspace(program.slots, code.arena_bytes)
        self.origin = "compiled" if fresh else "memory"
        self.seconds = dict(code.seconds) if fresh else {}
        self._program = program
        self._code = code
        self._pool = FramePool(code.arena_bytes, ArrayFrame)
        self._plan = call_plan(program, graph)
        self.call = with_copied_captures(graph, self._make_call())

    def results(self, arguments: Sequence[np.ndarray]) -> tuple[Result, ...]:
        """Where each result comes from; the same for all arguments, as shapes are fixed."""
        return self._program.results

    def object_file(self) -> None:
        """None: Numba keeps the machine code."""

    def source(self, form: str, kernel: str) -> str:
        """The code of one kernel, as Python, LLVM or assembly text."""
        return kernel_text(self._program, kernel, form)

    def numba_function(self) -> object:
        """The function that jitted code calls."""
        from ..runtime.numba_door import numba_function

        return numba_function(self._plan, self._code, self.call)

    # -- calls -----------------------------------------------------------------------------------

    def _run(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Leaves,
        frame: ArrayFrame,
        entry: Callable[..., int],
    ) -> int:
        """Run an entry on flat arrays; 0, or another number where a check failed."""
        flat = [_flat(array) for array in (*inputs, *outputs)]
        if self._code.jitted:
            return int(entry(*flat, frame.failures, frame.arena))
        with np.errstate(all="ignore"):
            return int(entry(*flat, frame.failures, frame.arena))

    def _make_call(self) -> Call:
        plan, pool, select = self._plan, self._pool, self._plan.selection()

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            inputs = plan.plain_inputs(arguments)
            if inputs is None:
                return None
            outputs = tuple([np.empty(shape, dtype) for shape, dtype in plan.outputs])
            frame = pool.take()
            status = self._run(inputs, outputs, frame, self._code.run)
            if status:
                raise self._failure(frame)
            pool.give(frame)
            return outputs if select is None else select(arguments, outputs)

        return call

    def bind(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> BoundRun:
        """Fix arguments and results; captures that have to be copied are copied at each run."""
        arrays = self._plan.bound_arrays(arguments, leaves)
        frame = ArrayFrame(self.workspace.fixed_bytes)

        def run() -> int:
            return self._run(arrays.inputs, arrays.outputs, frame, self._code.run)

        def fail() -> NoReturn:
            raise self._failure(frame)

        return BoundRun(arrays.around(run), fail, (arrays, leaves, self))

    def timed(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> TimedRun:
        """The same with timers in Python between the kernels."""
        from .timed import timed_entry  # which calls do without

        arrays = self._plan.bound_arrays(arguments, leaves)
        frame = ArrayFrame(self.workspace.fixed_bytes)
        laps: list[int] = []
        entry = timed_entry(self._program, self._code, laps)

        def run() -> int:
            return self._run(arrays.inputs, arrays.outputs, frame, entry)

        def read() -> tuple[int, list[tuple[int, int]]]:
            return laps[1] - laps[0], list(zip(laps[2::2], laps[3::2]))

        def fail() -> NoReturn:
            raise self._failure(frame)

        clock = time.perf_counter_ns
        return TimedRun(arrays.around(run), fail, read, clock, (arrays, leaves, self))

    def _failure(self, frame: ArrayFrame) -> CheckError:
        return self._plan.failure(*frame.take_failure())


def _flat(array: np.ndarray) -> np.ndarray:
    """All elements of a contiguous array in one row, writeable as kernels are compiled for that."""
    flat = array.reshape(-1)
    if flat.flags.writeable:
        return flat
    memory = (ctypes.c_uint8 * flat.nbytes).from_address(flat.__array_interface__["data"][0])
    dtype: np.dtype = flat.dtype
    return np.frombuffer(memoryview(memory), dtype) if flat.size else np.empty(0, dtype)
